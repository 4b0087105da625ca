"""What an operator says of the mirror beside switching it on and off: pause, resume, drain, mark a gap. All of it in the history."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from proxy.control.actual import Actual
from proxy.errors import RefusedError
from proxy.journal.store import Pause
from proxy.ports import Clock, MirrorControl

log = structlog.get_logger("control")


class Operating:
    """Each word is durable before it acts, and holds over a restart until another takes it back."""

    def __init__(
        self, *, mirror: MirrorControl, actual: Actual, clock: Clock, is_on: Callable[[], bool]
    ) -> None:
        self._mirror = mirror
        self._actual = actual
        self._clock = clock
        self._is_on = is_on

    async def pause(self, *, actor: str, reason: str) -> None:
        """Keep journaling, send nothing. RefusedError where it is paused, or off."""
        self._demand_on()
        paused = self._actual.meta.paused
        if paused is not None:
            raise RefusedError(
                f"{paused.actor} has paused the mirror already", "look at `turnout mirror status`"
            )
        line = self._actual.line(actor, "mirror pause", "", reason)
        await self._actual.pause(Pause(self._clock.wall(), actor, reason), line)
        self._mirror.set_paused(True)
        log.warning("mirror_paused", actor=actor, reason=reason, next="turnout mirror resume")

    async def resume(self, *, actor: str, reason: str) -> None:
        """Go on where it stopped. RefusedError where it is not paused."""
        if self._actual.meta.paused is None:
            raise RefusedError("the mirror is not paused", "look at `turnout mirror status`")
        await self._actual.pause(None, self._actual.line(actor, "mirror resume", "", reason))
        self._mirror.set_paused(False)
        log.info("mirror_resumed", actor=actor, lag_entries=self._mirror.lag_entries())

    async def drain(self, wait_s: float) -> None:
        """Until nothing is unsettled but dead letters; RefusedError after the wait, or where it cannot be."""
        self._demand_on()
        if self._actual.meta.paused is not None and self._mirror.lag_entries():
            raise RefusedError(
                "the mirror is paused, so it cannot drain", "run `turnout mirror resume` first"
            )
        if not await self._mirror.drained(wait_s):
            why = self._mirror.secondary_trouble()
            raise RefusedError(
                f"not drained in {wait_s:g} s: {self._mirror.lag_entries()} entries left{f'; {why}' if why else ''}",
                "nothing is lost: it goes on. Wait longer, or look at `turnout mirror status`",
            )

    async def mark_gap(self, prefix: str, *, actor: str, reason: str) -> None:
        """A person knows of writes that went past the proxy: the prefix is unproven until a validation."""
        await self._mirror.mark_gap(prefix, f"{actor}: {reason}")
        await self._actual.remember(actor, "mirror mark-gap", prefix or "/", reason)

    def _demand_on(self) -> None:
        if not self._is_on():
            raise RefusedError("the mirror is off", "run `turnout mirror enable` first")
