"""Runs the table of control/switch.py against the real world: fence, drain, announcements, one commit."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

from proxy.control import epochs
from proxy.control.actual import Actual
from proxy.control.switch import TRANSITIONS, Came, Step
from proxy.errors import RefusedError, TurnoutError
from proxy.failpoints import hit
from proxy.journal.store import HistoryLine, Override
from proxy.kinds import Kinds
from proxy.observe import is_worth_saying
from proxy.ports import Clock, Lost, MirrorControl, Sender

log = structlog.get_logger("control")

CALM_LAG_S = 0.25
"""Before the fence goes up the mirror is this close: the rest fits in the hold."""

FENCE_SHARE = 0.8
"""The part of ``hold_timeout`` that draining at the fence may use; the rest is for the announcements."""

RETRY_S = 0.2

RENEW_S = 5.0
"""How long a passage itself waits for the primary to take the next epoch; then that goes on beside, and an
operator may leave a primary that is dead behind."""


@dataclass(slots=True)
class Passage:
    """One change of epoch under way: a switch, or a validation's new epoch with the same primary."""

    primary: str
    secondary: str
    wait_s: float
    overrides: Callable[[], Iterable[Override]] | None = None
    """Those that a switch stores; None leaves them as they are."""
    line: HistoryLine | None = None
    step: Step = Step.DRAIN
    why: str = ""
    held_s: float = 0.0
    epoch: int = 0
    trail: list[str] = field(default_factory=list[str])
    accept_loss: int | None = None
    """Of a passage away from a dead primary: how much may be lost."""
    lost: Sequence[Lost] = ()

    @property
    def decided_under(self) -> str:
        """Who was primary when this was decided: a switch makes the old one the secondary, a validation changes nobody."""
        return self.primary if self.overrides is None else self.secondary


class Switching:
    """The one place where an epoch is burned, announced and committed while the proxy runs. One passage at a time."""

    def __init__(
        self,
        *,
        actual: Actual,
        mirror: MirrorControl,
        sender: Sender,
        clock: Clock,
        hold_timeout_s: Callable[[], float],
        publish: Callable[[], None],
        secondary: Callable[[], str],
        kinds: Kinds,
    ) -> None:
        self._kinds = kinds
        self._actual = actual
        self._mirror = mirror
        self._sender = sender
        self._clock = clock
        self._hold_timeout_s = hold_timeout_s
        self._publish = publish
        self._secondary = secondary
        self._opening: asyncio.Task[None] | None = None
        self._open: Callable[[], Coroutine[None, None, None]] | None = None
        self._lock = asyncio.Lock()
        self.is_running = False
        self.is_open = False
        """The start has made the present epoch known to the primary (startup.open_for_writes). Until then epochs are its alone:
        of two that renew at once, the one with the lower epoch could commit last."""

    async def run(self, passage: Passage) -> None:
        """To DONE, or RefusedError with nothing changed."""
        if not self.is_open:
            raise RefusedError(
                f"{self._actual.meta.primary} has not taken this start's epoch yet",
                "wait until it answers: `turnout status` shows why writes wait",
            )
        # A client of the admin API that hangs up must not stop a switch half way.
        await asyncio.shield(asyncio.ensure_future(self._walk_alone(passage)))
        if passage.step is not Step.DONE:
            raise RefusedError(
                f"called off: {passage.why}; nothing has changed", "look at `turnout status`, then try again"
            )

    def begin_opening(self, opening: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run startup.open_for_writes beside; a passage away from a dead primary ends it, and begins it anew if it fails."""
        self._open = opening
        self.open_again()

    def open_again(self) -> None:
        """Begin it anew; also where the mirror came on later, and no start opened anything."""
        opening = self._open or self._until_renewed
        self._opening = asyncio.get_running_loop().create_task(opening())

    async def stop(self) -> None:
        """End what runs beside."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        """Nobody else takes an epoch meanwhile. RefusedError where somebody is about to."""
        if self.is_running:
            raise RefusedError("another switch or validation is taking a new epoch", "try again in a second")
        async with self._lock:
            self.is_running = True
            try:
                yield
            finally:
                self.is_running = False

    @asynccontextmanager
    async def still(self, reason: str) -> AsyncGenerator[None]:
        """Writes are held, and none is under way: for what must be read in one piece. RefusedError where that lasts too long."""
        timeout_s = self._hold_timeout_s() * FENCE_SHARE
        too_long = RefusedError(
            f"{reason}, and that was not done within {timeout_s * 1000:.0f} ms of holding writes",
            "validate at a quieter time, or raise limits.hold_timeout",
        )
        async with self.alone():
            if not self.is_open:
                raise RefusedError("writes wait for the primary", "try again when it answers")
            self._mirror.fence(reason)
            try:
                async with asyncio.timeout(timeout_s):
                    await self._demand_drained(timeout_s, too_long)
                    yield
            except TimeoutError:
                raise too_long from None
            finally:
                if self._actual.meta.burned == self._actual.meta.epoch:
                    self._mirror.release()

    async def _demand_drained(self, timeout_s: float, error: RefusedError) -> None:
        if not await self._mirror.drained(timeout_s):
            raise error

    async def _walk_alone(self, passage: Passage) -> None:
        async with self.alone():
            self.demand_roles(passage)
            await self._walk(passage)

    def demand_roles(self, passage: Passage) -> None:
        """RefusedError where another passage has changed the primary since this one was decided; in the lock, before its first step."""
        primary = self._actual.meta.primary
        if passage.decided_under != primary or passage.primary == passage.secondary:
            passage.step = Step.CALLED_OFF
            raise RefusedError(
                f"{primary} has become the primary meanwhile", "look at `turnout status`, then decide again"
            )

    async def _walk(self, passage: Passage) -> None:
        acts = {
            Step.DRAIN: self._drain,
            Step.FENCE: self._fence,
            Step.REST: self._rest,
            Step.BURN: self.burn,
            Step.ANNOUNCE: self._announce,
            Step.COMMIT: self._commit,
            Step.RENEW: self._renew,
        }
        fenced_at_s: float | None = None
        try:
            while passage.step in acts:
                step = passage.step
                if step is Step.FENCE:
                    fenced_at_s = self._clock.now()
                try:
                    ok = await acts[step](passage)
                except TurnoutError as error:
                    ok, passage.why = False, str(error)
                came = Came.OK if ok else Came.FAILED
                passage.trail.append(f"{step}:{came}")
                passage.step = TRANSITIONS[step][came]
        finally:
            # Also when this is cancelled: held writes must never wait for somebody who has gone.
            if fenced_at_s is not None:
                passage.held_s = self._clock.now() - fenced_at_s
                if self._actual.meta.burned == self._actual.meta.epoch:
                    self._mirror.release()
            log.info(
                "passage",
                to=passage.primary,
                end=str(passage.step),
                held_s=round(passage.held_s, 3),
                why=passage.why,
            )

    async def _drain(self, passage: Passage) -> bool:
        if await self._mirror.calm(CALM_LAG_S, passage.wait_s):
            return True
        passage.why = f"the mirror could not be drained in {passage.wait_s:.0f} s ({self._mirror.lag_entries()} entries left)"
        return False

    async def _fence(self, passage: Passage) -> bool:
        self._mirror.fence(f"the primary becomes {passage.primary}")
        return True

    async def _rest(self, passage: Passage) -> bool:
        timeout_s = self._hold_timeout_s() * FENCE_SHARE
        if await self._mirror.drained(timeout_s):
            passage.why = "" if passage.primary == self._actual.meta.primary else self._came_up()
            return not passage.why
        passage.why = f"{self._mirror.lag_entries()} entries were not settled within {timeout_s * 1000:.0f} ms of holding writes"
        return False

    def _came_up(self) -> str:
        """What would have been refused before, and came up since then; behind the fence nothing more does."""
        for what, where in (
            ("the mirror did not carry everything under", self._mirror.unproven()),
            ("there is a dead letter for", self._mirror.dead_keys()),
        ):
            if where:
                return f"meanwhile {what} {where[0] or '/'}" + (
                    f" and {len(where) - 1} more" if where[1:] else ""
                )
        return ""

    async def burn(self, passage: Passage) -> bool:
        passage.epoch = self._actual.meta.burned + 1
        await self._actual.burn(passage.epoch)
        hit("switch-burned")
        return True

    async def _announce(self, passage: Passage) -> bool:
        timeout_s = max(0.2, self._hold_timeout_s() / 2)
        roles = {passage.primary: "primary", passage.secondary: "secondary"}
        looks = await asyncio.gather(
            *(epochs.look(self._sender, name, self._kinds, timeout_s=timeout_s) for name in roles)
        )
        told = {name: answer for name, answer in zip(roles, looks, strict=True) if answer is not None}
        counters: dict[str, int] = {}
        for answer in told.values():
            for name, value in answer.counters.items():
                counters[name] = max(value, counters.get(name, 0))
        await asyncio.gather(
            *(
                epochs.announce(
                    self._sender,
                    name,
                    epoch=passage.epoch,
                    role=roles[name],
                    journal_id=self._actual.meta.journal_id,
                    counters=counters,
                    timeout_s=timeout_s,
                )
                for name in told
            )
        )
        hit("switch-announced")
        return True

    async def _commit(self, passage: Passage) -> bool:
        overrides = None if passage.overrides is None else list(passage.overrides())
        await self._actual.commit(
            primary=passage.primary, epoch=passage.epoch, overrides=overrides, line=passage.line
        )
        hit("switch-committed")
        self._mirror.set_roles(passage.primary, passage.secondary, passage.epoch, is_secondary_told=True)
        self._publish()
        return True

    async def _renew(self, _: Passage) -> bool:
        """An upstream may know the burned epoch: the next one, with the primary that the journal names, durable there before writes go on.

        Not for ever: nobody else could take an epoch meanwhile, and the primary may be dead.
        """
        try:
            await asyncio.wait_for(self.renew(), RENEW_S)
        except (TurnoutError, TimeoutError) as error:
            _say_renew_failed(error, 1)
            self.is_open = False
            self.open_again()
        return True

    async def _until_renewed(self) -> None:
        for failures in itertools.count(2):
            try:
                await self.renew()
            except TurnoutError as error:
                _say_renew_failed(error, failures)
                await asyncio.sleep(RETRY_S * 5)
            else:
                self.is_open = True
                self._mirror.release()
                return

    async def renew(self) -> None:
        """Until the journal's primary has taken an epoch above every burned one. Writes stay fenced meanwhile."""
        meta = self._actual.meta
        self._mirror.fence(f"{meta.primary} has not been told the new epoch yet")
        epoch = meta.burned + 1
        await self._actual.burn(epoch)
        await self._until_announced(meta.primary, epoch)
        await self._actual.commit(primary=meta.primary, epoch=epoch, overrides=None, line=None)
        self._mirror.set_roles(meta.primary, self._secondary(), epoch, is_secondary_told=False)

    async def _until_announced(self, upstream: str, epoch: int) -> None:
        for failures in itertools.count(1):
            try:
                if await epochs.look(self._sender, upstream, self._kinds) is None:
                    return
                await epochs.announce(
                    self._sender,
                    upstream,
                    epoch=epoch,
                    role="primary",
                    journal_id=self._actual.meta.journal_id,
                    counters={},
                )
            except epochs.ForeignJournalError:
                raise
            except TurnoutError as error:
                if is_worth_saying(failures):
                    log.warning(
                        "announce_failed",
                        upstream=upstream,
                        epoch=epoch,
                        failures=failures,
                        error=str(error),
                    )
                await asyncio.sleep(RETRY_S)
            else:
                return


def _say_renew_failed(error: Exception, failures: int) -> None:
    if is_worth_saying(failures):
        log.error(
            "renew_failed",
            error=str(error),
            failures=failures,
            next="writes stay held until the primary takes the next epoch",
        )
