"""The whole mirror in one hand: what control and the status page ask of it (ports.MirrorControl)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping

from proxy.errors import RefusedError
from proxy.journal.store import DeadLetter, JournalStore
from proxy.mirror.gate import Gate
from proxy.mirror.replayer import Replayer
from proxy.mirror.state import MirrorState, Roles
from proxy.ports import Clock

LOOK_S = 0.02
"""How often `calm` looks; it waits for an age to pass, which no event tells."""


class MirrorHandle:
    """Gate, replayer and state of one process."""

    def __init__(
        self, state: MirrorState, gate: Gate, replayer: Replayer, journal: JournalStore, clock: Clock
    ) -> None:
        self.state = state
        self.gate = gate
        self.replayer = replayer
        self._journal = journal
        self._clock = clock

    def fence(self, reason: str) -> None:
        self.gate.fence(reason)

    def release(self) -> None:
        self.gate.release()

    async def calm(self, lag_s: float, timeout_s: float) -> bool:
        deadline_s = self._clock.now() + timeout_s
        while not self.state.lanes.is_idle() and self.state.lag_seconds(self._clock.wall()) > lag_s:
            if self._clock.now() >= deadline_s:
                return False
            await asyncio.sleep(LOOK_S)
        return True

    async def drained(self, timeout_s: float) -> bool:
        return await self.replayer.drained(timeout_s)

    def lag_entries(self) -> int:
        return self.state.lanes.unsettled_writes()

    def lag_seconds(self) -> float:
        return self.state.lag_seconds(self._clock.wall())

    def set_roles(self, primary: str, secondary: str, epoch: int, *, is_secondary_told: bool) -> None:
        old = self.state.roles
        self.state.roles = Roles(primary, secondary, epoch, old.journal_id, old.token)
        if is_secondary_told:
            self.replayer.secondary_is_back()
        else:
            self.replayer.look_for_secondary(f"{secondary} has not been told epoch {epoch} yet")

    def unproven(self) -> tuple[str, ...]:
        """The prefixes that a validation must clear."""
        return tuple(mark.prefix for mark in self.state.gaps.marks)

    def fence_reason(self) -> str:
        return self.gate.fence_reason if self.gate.is_fenced else ""

    def dead_letters(self) -> list[DeadLetter]:
        return list(self.state.dead.values())

    def dead_keys(self) -> tuple[str, ...]:
        return tuple(self.state.dead)

    def secondary_trouble(self) -> str:
        return self.state.secondary_trouble

    async def mark_gap(self, prefix: str, why: str) -> None:
        await self.gate.mark_gap(prefix, why)

    def cleared(self, began_wall_s: float) -> int:
        """The gaps from before are cleared in memory, as they are in the journal."""
        return len(self.state.gaps.clear_before(began_wall_s))

    async def retry(self, key: str) -> None:
        """A person says: try the dead key again. It is alive as soon as its repair settles."""
        if key not in self.state.dead:
            raise RefusedError(f"{key} is no dead letter", "look at `turnout status`")
        self.state.lanes.revive(key)
        self.replayer.wake()

    async def drop(self, key: str, reason: str) -> None:
        """A person gives a dead key up: its entries go, a gap mark takes their place."""
        if key not in self.state.dead:
            raise RefusedError(f"{key} is no dead letter", "look at `turnout status`")
        await self.gate.mark_gap(key, f"dead letter dropped: {reason}")
        gone = self.state.lanes.drop(key)
        self._journal.ended([entry.seq for entry in gone])
        for entry in gone:
            self.state.settled(entry.seq)
        del self.state.dead[key]

        def forget(db: sqlite3.Connection) -> None:
            db.execute("delete from dead where key=?", (key,))

        await self._journal.transact(forget)

    def stats(self) -> Mapping[str, object]:
        """Counted since ``since`` (seconds since 1970): what `/api/dual-write/stats` shows."""
        state = self.state
        totals = state.stats.totals
        accepted = totals.get("accepted", 0)
        settled = totals.get("replayed", 0) + totals.get("repaired", 0)
        pending = state.lanes.unsettled_writes() - state.lanes.in_flight() - state.lanes.in_doubt()
        dead = sum(entry.writes for lane in state.lanes.dead_lanes() for entry in lane.accepted())
        due = settled + dead
        return {
            "accepted": accepted,
            "replayed": totals.get("replayed", 0),
            "repaired": totals.get("repaired", 0),
            "rejected": totals.get("rejected", 0),
            "pending": max(0, pending),
            "in_flight": state.lanes.in_flight(),
            "in_doubt": state.lanes.in_doubt(),
            "dead": totals.get("dead", 0),
            "dead_letters": len(state.dead),
            "success_rate": 1.0 if due == 0 else settled / due,
            "lag_entries": state.lanes.unsettled_writes(),
            "lag_seconds": round(self.lag_seconds(), 3),
            "since": state.stats.since_wall_s,
        }
