"""Whether the mirror runs, and how it starts and ends while the proxy serves (DESIGN section 5, "Gaps").

    off ─ enable ─► the primary in a new epoch, behind a fence ─► on (a gap stands until a validation)
    on ─ disable ─► drained ─► fence ─► the rest drained ─► gap marked, durably ─► off

Both refuse with nothing changed, or go through. What is *wanted* the settings say; this is what is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

import structlog

from proxy.control import epochs, startup
from proxy.control.actual import Actual
from proxy.control.switching import CALM_LAG_S, FENCE_SHARE, Switching
from proxy.errors import RefusedError
from proxy.failpoints import hit
from proxy.kinds import Kinds
from proxy.ports import Clock, MirrorControl, Sender

log = structlog.get_logger("control")

LOOK_S = 0.01


class Mirroring:
    """One process's mirror: on or off. One change at a time."""

    def __init__(
        self,
        *,
        actual: Actual,
        mirror: MirrorControl,
        sender: Sender,
        clock: Clock,
        names: tuple[str, str],
        kinds: Kinds,
        hold_timeout_s: Callable[[], float],
        give_writes: Callable[[bool], None],
        writes_under_way: Callable[[], int],
        is_on: bool,
    ) -> None:
        self._actual = actual
        self._mirror = mirror
        self._sender = sender
        self._clock = clock
        self._names = names
        self._kinds = kinds
        self._hold_timeout_s = hold_timeout_s
        self._give_writes = give_writes
        """True: the hot path meets the mirror; False: it does not."""
        self._writes_under_way = writes_under_way
        self._switching: Switching | None = None
        self._publish: Callable[[], None] = _nothing
        self._is_busy = False
        self.is_on = is_on

    def bind(self, switching: Switching, publish: Callable[[], None]) -> None:
        """What stands above, known only once it is built."""
        self._switching, self._publish = switching, publish

    async def enable(self, say_so: Callable[[], Awaitable[None]] | None = None) -> None:
        """Start. RefusedError, UpstreamError or ForeignJournalError with nothing changed."""
        if self.is_on:
            raise RefusedError("the mirror is on already", "look at `turnout mirror status`")
        await self._alone(self._enable(say_so))

    async def disable(
        self, reason: str, *, wait_s: float, say_so: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """End, with everything settled and a gap marked. ``say_so`` stores the wish while writes are still held."""
        if not self.is_on:
            raise RefusedError("the mirror is off already", "look at `turnout mirror status`")
        if self._actual.meta.paused is not None:
            raise RefusedError(
                "the mirror is paused, so it cannot drain", "run `turnout mirror resume` first"
            )
        await self._alone(self._disable(reason, wait_s, say_so))

    async def _alone(self, act: Coroutine[None, None, None]) -> None:
        switching = self._switching
        assert switching is not None, "bound before anybody asks"
        if self._is_busy or switching.is_running:
            act.close()
            raise RefusedError(
                "a switch, or another change of the mirror, is under way", "try again in a second"
            )
        self._is_busy = switching.is_running = True
        try:
            # Whoever asked may hang up; the act goes on to its end.
            await asyncio.shield(asyncio.ensure_future(act))
        finally:
            self._is_busy = switching.is_running = False

    async def _enable(self, say_so: Callable[[], Awaitable[None]] | None) -> None:
        switching = self._switching
        assert switching is not None
        await startup.check_upstreams(self._sender, self._actual, self._names, self._kinds)
        await epochs.look(self._sender, self._actual.meta.primary, self._kinds)
        self._give_writes(True)
        self._mirror.fence("the mirror is being enabled")
        try:
            # A write that left without the mirror's headers could arrive after the new epoch: it must be over first.
            if not await self._until_no_write():
                raise RefusedError(
                    f"{self._writes_under_way()} writes that are not mirrored are still under way",
                    "try again when they have ended",
                )
            if "" not in self._mirror.unproven():
                await self._mirror.mark_gap("", "the mirror was off")
            self._mirror.start()
            await switching.renew()
            switching.is_open = True
            self.is_on = True
            if say_so is not None:
                await say_so()
            self._publish()
        finally:
            if not self.is_on:
                self._give_writes(False)
            if self._actual.meta.burned == self._actual.meta.epoch:
                self._mirror.release()
        log.warning("mirror_enabled", epoch=self._actual.meta.epoch, next="turnout validate")

    async def _disable(
        self, reason: str, wait_s: float, say_so: Callable[[], Awaitable[None]] | None
    ) -> None:
        if not await self._mirror.calm(CALM_LAG_S, wait_s):
            raise self._not_drained(wait_s)
        self._mirror.fence("the mirror is being disabled")
        try:
            rest_s = self._hold_timeout_s() * FENCE_SHARE
            if not await self._mirror.drained(rest_s):
                raise self._not_drained(rest_s)
            await self._mirror.mark_gap("", f"the mirror was disabled: {reason}")
            hit("mirror-gap-marked")
            self.is_on = False
            if say_so is not None:
                try:
                    await say_so()
                except BaseException:
                    self.is_on = True
                    raise
            self._publish()
            self._give_writes(False)
            await self._mirror.stop()
        finally:
            self._mirror.release()
        log.warning("mirror_disabled", reason=reason, next="turnout mirror enable, then turnout validate")

    def _not_drained(self, waited_s: float) -> RefusedError:
        why = self._mirror.secondary_trouble()
        return RefusedError(
            f"the mirror could not be drained in {waited_s:.1f} s ({self._mirror.lag_entries()} entries left"
            f"{f'; {why}' if why else ''}); nothing has changed",
            "look at `turnout mirror status`; `turnout mirror pause` keeps journaling and sends nothing",
        )

    async def _until_no_write(self) -> bool:
        deadline_s = self._clock.now() + self._hold_timeout_s() * FENCE_SHARE
        while self._writes_under_way():
            if self._clock.now() >= deadline_s:
                return False
            await asyncio.sleep(LOOK_S)
        return True


def _nothing() -> None:
    """Until it is bound."""
