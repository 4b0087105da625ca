"""A switch away from a primary that is dead for good, by the table FORCED of control/switch.py (DESIGN section 5, "Primary dead").

What the journal holds is brought to the living upstream first. What it cannot settle is counted, and left behind only if the
operator said that number. The dead one learns of it when it returns (control/returning.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from proxy.control import epochs
from proxy.control.actual import Actual
from proxy.control.switch import FORCED, Came, Refusal, Step
from proxy.control.switching import Passage, Switching
from proxy.errors import NotYetError, RefusedError, TurnoutError, UpstreamError
from proxy.failpoints import hit
from proxy.journal.store import Returning
from proxy.kinds import Kinds
from proxy.ports import Clock, Lost, MirrorControl, Salvager, Sender

log = structlog.get_logger("control")

LOST_SHOWN_MAX = 20


class Leaving:
    """Runs one passage without the primary. Epochs are taken under the same lock as any other's."""

    def __init__(
        self,
        *,
        switching: Switching,
        actual: Actual,
        mirror: MirrorControl,
        salvager: Salvager,
        sender: Sender,
        clock: Clock,
        publish: Callable[[], None],
        kinds: Kinds,
        names: Callable[[], tuple[str, str]],
    ) -> None:
        self._switching = switching
        self._actual = actual
        self._mirror = mirror
        self._salvager = salvager
        self._sender = sender
        self._clock = clock
        self._publish = publish
        self._kinds = kinds
        self._names = names

    async def plan(self, old: str, trouble: str) -> tuple[Refusal, Sequence[Lost]]:
        """Without a number nothing goes on: what would be lost, as far as it can be told without sending anything."""
        self._demand_versioned(old)
        lost = await self._salvager.assess()
        refusal = Refusal(
            f"the primary {old} does not answer: {trouble}; {loss_text(lost)}",
            f"start {old} again; only if it is lost for good, go on without it: --accept-loss {len(lost)}",
        )
        return refusal, lost

    async def run(self, passage: Passage) -> None:
        """Away from a primary that is dead, to DONE; RefusedError with nothing changed but that more is settled."""
        self._demand_versioned(passage.secondary)
        await asyncio.shield(asyncio.ensure_future(self._walk_alone(passage)))
        if passage.step is not Step.DONE:
            raise RefusedError(f"called off: {passage.why}", "look at `turnout status`, then try again")

    def _demand_versioned(self, old: str) -> None:
        if not all(self._kinds.is_versioned(name) for name in self._names()):
            raise NotYetError(
                f"the primary {old} does not answer, and an upstream is plain: leaving it behind is not yet built",
                f"start {old} again",
            )

    async def _walk_alone(self, passage: Passage) -> None:
        async with self._switching.alone():
            self._switching.demand_roles(passage)
            await self._walk(passage)

    async def _walk(self, passage: Passage) -> None:
        acts: dict[Step, Callable[[Passage], Awaitable[bool]]] = {
            Step.FENCE: self._fence,
            Step.STILL: self._still,
            Step.SALVAGE: self._salvage,
            Step.BURN: self._switching.burn,
            Step.ANNOUNCE: self._announce,
            Step.COMMIT: self._commit,
            Step.RENEW: self._renew,
        }
        passage.step = Step.FENCE
        was_open = self._switching.is_open
        # Two hands that take epochs at once could commit in the wrong order: the start's ends first.
        await self._switching.stop()
        began_s = self._clock.now()
        try:
            while passage.step in acts:
                step = passage.step
                try:
                    ok = await acts[step](passage)
                except TurnoutError as error:
                    ok, passage.why = False, str(error)
                came = Came.OK if ok else Came.FAILED
                passage.trail.append(f"{step}:{came}")
                passage.step = FORCED[step][came]
        finally:
            self._salvager.go_on()
            passage.held_s = self._clock.now() - began_s
            is_renewing = f"{Step.RENEW}:{Came.OK}" in passage.trail
            if passage.step is Step.DONE:
                self._switching.is_open = True
                self._mirror.release()
            elif was_open and not is_renewing:
                self._mirror.release()
            elif not is_renewing:
                self._switching.open_again()
            log.warning(
                "passage_without_primary",
                to=passage.primary,
                end=str(passage.step),
                lost=len(passage.lost),
                held_s=round(passage.held_s, 3),
                why=passage.why,
            )

    async def _fence(self, passage: Passage) -> bool:
        self._mirror.fence(f"the primary becomes {passage.primary}, without {passage.secondary}")
        return True

    async def _still(self, passage: Passage) -> bool:
        if await self._salvager.still(passage.wait_s):
            return True
        passage.why = (
            f"writes still wait for {passage.secondary}'s answer after {passage.wait_s:.0f} s"
            " (limits.response_timeout bounds that); nothing has changed"
        )
        return False

    async def _salvage(self, passage: Passage) -> bool:
        if self._actual.meta.burned > self._actual.meta.epoch:
            await self._take_back(passage)
        await epochs.ensure(
            self._sender,
            passage.primary,
            self._kinds,
            epoch=self._actual.meta.epoch,
            role="secondary",
            journal_id=self._actual.meta.journal_id,
            burned=self._actual.meta.burned,
        )
        passage.lost = await self._salvager.salvage()  # named-or-nothing
        if len(passage.lost) == passage.accept_loss:
            return True
        passage.why = (
            f"{loss_text(passage.lost)}: say --accept-loss {len(passage.lost)}; nothing else has changed"
        )
        return False

    async def _take_back(self, passage: Passage) -> None:
        """An earlier try burned an epoch, and may have told the living upstream that it is primary: the next one, with the roles
        that the database names. Writes stay held, so the dead one may learn it later."""
        meta = self._actual.meta
        epoch = meta.burned + 1
        await self._actual.burn(epoch)
        await epochs.announce(
            self._sender,
            passage.primary,
            epoch=epoch,
            role="secondary",
            journal_id=meta.journal_id,
            counters={},
        )
        await self._actual.commit(primary=meta.primary, epoch=epoch, overrides=None, line=None)
        self._mirror.set_roles(meta.primary, passage.primary, epoch, is_secondary_told=True)

    async def _announce(self, passage: Passage) -> bool:
        """At the living upstream; the other one learns it when it returns (learns-later; DESIGN section 9, Epoch)."""
        known = await epochs.look(self._sender, passage.primary, self._kinds)
        if known is None:
            raise UpstreamError(f"{passage.primary} does not say what it knows", "is it the right server?")
        counters = dict(known.counters)
        for name, value in self._salvager.counters().items():
            counters[name] = max(value, counters.get(name, 0))
        await epochs.announce(
            self._sender,
            passage.primary,
            epoch=passage.epoch,
            role="primary",
            journal_id=self._actual.meta.journal_id,
            counters=counters,
        )
        hit("switch-announced")
        return True

    async def _commit(self, passage: Passage) -> bool:
        old = passage.secondary
        returning = Returning(
            upstream=old,
            since_wall_s=self._clock.wall(),
            epoch=self._actual.meta.epoch,
            keys=tuple(sorted({one.key for one in passage.lost if one.key and not one.is_doubt_only})),
            doubts=tuple(self._salvager.doubts()),
            prefixes=tuple(sorted({prefix for one in passage.lost for prefix in one.prefixes})),
        )
        detail = f"{old} was left behind dead, and may hold a state of it that {passage.primary} never had"
        work, after = self._salvager.leave(passage.lost, detail, f"{old} was left behind dead")
        overrides = None if passage.overrides is None else list(passage.overrides())
        await self._actual.commit(
            primary=passage.primary,
            epoch=passage.epoch,
            overrides=overrides,
            line=passage.line,
            returning=returning,
            work=work,
        )
        hit("switch-committed")
        after()
        self._mirror.set_roles(passage.primary, old, passage.epoch, is_secondary_told=False)
        self._publish()
        return True

    async def _renew(self, _: Passage) -> bool:
        """The primary that the database names is dead: writes wait for it, or for the next try."""
        self._switching.is_open = False
        self._switching.open_again()
        return True


def loss_text(lost: Sequence[Lost]) -> str:
    """How much cannot be settled from the journal, and what of it, in words."""
    if not lost:
        return "everything can be settled from the journal, nothing is lost"
    listed = ", ".join(f"{one.name} ({one.why})" for one in lost[:LOST_SHOWN_MAX])
    more = f", and {len(lost) - LOST_SHOWN_MAX} more" if len(lost) > LOST_SHOWN_MAX else ""
    return f"{len(lost)} cannot be settled from the journal: {listed}{more}"


def lost_json(lost: Sequence[Lost]) -> list[dict[str, object]]:
    """Each by name, with why."""
    return [{"name": one.name, "why": one.why} for one in lost]
