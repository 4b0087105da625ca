"""The whole mirror in one hand: what control and the status page ask of it (ports.MirrorControl)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping

from proxy.errors import RefusedError
from proxy.journal.store import DeadLetter, JournalStore
from proxy.mirror.gate import Gate
from proxy.mirror.meter import expected_end_s
from proxy.mirror.replayer import Replayer
from proxy.mirror.state import MirrorState, Roles
from proxy.ports import Clock

WAITING_SHOWN_MAX = 20
"""Writes of one key that are shown: the newest."""

SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
"""A dead letter is read by people, and exported to a file."""

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
        self.state.follow_kinds()
        if is_secondary_told:
            self.replayer.secondary_is_back()
        else:
            self.replayer.look_for_secondary(f"{secondary} has not been told epoch {epoch} yet")

    def unproven(self) -> tuple[str, ...]:
        """The prefixes that a validation must clear."""
        return tuple(mark.prefix for mark in self.state.gaps.marks)

    def fence_reason(self) -> str:
        return self.gate.fence_reason if self.gate.is_fenced else ""

    def in_doubt(self) -> tuple[int, float]:
        lanes = self.state.lanes
        return lanes.in_doubt(), lanes.oldest_in_doubt_s() or 0.0

    def body_bytes(self) -> int:
        return self.state.lanes.body_bytes

    def dead_letters(self) -> list[DeadLetter]:
        return list(self.state.dead.values())

    def dead_keys(self) -> tuple[str, ...]:
        return tuple(self.state.dead)

    def secondary_trouble(self) -> str:
        return self.state.secondary_trouble

    def set_paused(self, is_paused: bool) -> None:
        """An operator's word; the journal keeps it."""
        self.state.lanes.is_paused = is_paused
        self.replayer.wake()

    def start(self) -> None:
        self.replayer.start()

    async def stop(self) -> None:
        await self.replayer.stop()

    async def mark_gap(self, prefix: str, why: str) -> None:
        await self.gate.mark_gap(prefix, why)

    def validation_begins(self, last_gap: int) -> None:
        """From now on what is not carried is marked anew, whatever marks there are."""
        self.state.gaps.validation_begins(last_gap)

    def cleared(self, last_id: int) -> int:
        """The gaps from before are cleared in memory, as they are in the journal."""
        return len(self.state.gaps.clear_upto(last_id))

    async def retry(self, *keys: str) -> None:
        """A person says: try the dead keys again. Refused once more, one is buried once more."""
        for key in keys:
            self._demand_dead(key)

        def forget(db: sqlite3.Connection) -> None:
            for key in keys:
                _delete_dead(db, key)

        await self._journal.transact(forget)
        for key in keys:
            self.state.dead.pop(key, None)
            self.state.lanes.revive(key)
        self.replayer.wake()

    async def drop(self, key: str, reason: str) -> None:
        """A person gives a dead key up: its entries go, a gap mark takes their place."""
        self._demand_dead(key)
        await self.gate.mark_gap(key, f"dead letter dropped: {reason}")
        gone = self.state.lanes.drop(key)

        def forget(db: sqlite3.Connection) -> None:
            _delete_dead(db, key)
            db.executemany("delete from entries where seq=?", [(entry.seq,) for entry in gone])

        await self._journal.transact(forget)
        self.state.dead.pop(key, None)
        for entry in gone:
            self.state.settled(entry.seq)

    def _demand_dead(self, key: str) -> None:
        if key not in self.state.dead:
            raise RefusedError(f"{key} is no dead letter", "look at `turnout dead-letters list`")

    def gaps(self) -> list[tuple[str, float, str]]:
        return [(mark.prefix, mark.since_wall_s, mark.why) for mark in self.state.gaps.marks]

    async def waiting(self, key: str) -> list[dict[str, object]]:
        """What is unsettled of a key, oldest first; its bodies come from the journal."""
        lane = self.state.lanes.lanes.get(key)
        entries = [] if lane is None else list(lane.entries.values())[-WAITING_SHOWN_MAX:]
        found: list[dict[str, object]] = []
        for entry in entries:
            asked, answered = await self._journal.bodies(entry.seq)
            found.append(
                {
                    "seq": entry.seq,
                    "born": entry.born_wall_s,
                    "state": str(entry.state),
                    "method": entry.method,
                    "target": entry.target,
                    "headers": [
                        [name, value] for name, value in entry.headers if name.lower() not in SECRET_HEADERS
                    ],
                    "body": asked,
                    "status": entry.status or None,
                    "version": entry.version,
                    "answer": answered,
                    "writes": entry.writes,
                }
            )
        return found

    def stats(self) -> Mapping[str, object]:
        """Counted since ``since`` (seconds since 1970): what `/api/dual-write/stats` shows."""
        state = self.state
        lanes = state.lanes
        totals = state.stats.totals
        accepted = totals.get("accepted", 0)
        settled = totals.get("replayed", 0) + totals.get("repaired", 0)
        lag = lanes.unsettled_writes()
        pending = max(0, lag - lanes.in_flight() - lanes.in_doubt())
        due = accepted - pending
        now_s = self._clock.now()
        settled_per_s = state.settled_rate.per_second(now_s)
        accepted_per_s = state.accepted_rate.per_second(now_s)
        end_s = expected_end_s(lag, settled_per_s, accepted_per_s)
        return {
            "accepted": accepted,
            "replayed": totals.get("replayed", 0),
            "repaired": totals.get("repaired", 0),
            "rejected": totals.get("rejected", 0),
            "pending": pending,
            "in_flight": lanes.in_flight(),
            "in_doubt": lanes.in_doubt(),
            "sweeping": sorted(
                {prefix or "/" for one in lanes.sweeps.running.values() for prefix in one.entry.marks}
            ),
            "dead": totals.get("dead", 0),
            "dead_letters": len(state.dead),
            "success_rate": 1.0 if due <= 0 else min(1.0, settled / due),
            "lag_entries": lag,
            "lag_seconds": round(self.lag_seconds(), 3),
            "since": state.stats.since_wall_s,
            "journal_bytes": self._journal.size_bytes(),
            "body_bytes": lanes.body_bytes,
            "accepted_per_second": round(accepted_per_s, 1),
            "settled_per_second": round(settled_per_s, 1),
            "keys_at_once": lanes.lanes_at_once_max,
            "expected_end_s": None if end_s is None else round(end_s, 1),
        }


def _delete_dead(db: sqlite3.Connection, key: str) -> None:
    db.execute("delete from dead where key=?", (key,))
