"""The mirror when the primary is dead for good: what it holds is settled without it, what it cannot settle is named (ports.Salvager).

Owns the sending of what the journal holds, and what the lanes become when the roles have changed. The order of things, and
whether they may go on, is control's.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog

from proxy.errors import UpstreamError
from proxy.failpoints import hit
from proxy.journal.entry import BASE_UNKNOWN, Entry, EntryState
from proxy.journal.store import DeadLetter, GapMark, JournalStore
from proxy.limits import MIRROR_LANES_AT_ONCE_MAX, MIRROR_REQUEST_TIMEOUT_S
from proxy.mirror import settle
from proxy.mirror.replayer import Replayer
from proxy.mirror.salvage import Kept, Salvage, counters_of, salvage_of
from proxy.mirror.settle import Verdict
from proxy.mirror.state import MirrorState
from proxy.ports import Clock, Lost, Sender
from proxy.protocol import path_of

log = structlog.get_logger("mirror")

LOOK_S = 0.02
CAUSE = "left-behind"


@dataclass(frozen=True, slots=True)
class LostKey:
    """What goes on without. ``key`` is empty where it is no single one: a write that had no key yet, a gap."""

    name: str
    why: str
    key: str = ""
    prefixes: tuple[str, ...] = ()
    is_doubt_only: bool = False
    """Nothing that a client saw accepted is lost with it, as far as the journal knows."""


class LeftBehind:
    """A ports.Salvager over the state that all halves of the mirror share."""

    def __init__(
        self, state: MirrorState, replayer: Replayer, journal: JournalStore, sender: Sender, clock: Clock
    ) -> None:
        self._state = state
        self._replayer = replayer
        self._journal = journal
        self._sender = sender
        self._clock = clock

    # -- before the roles change ---------------------------------------------------------------------

    async def still(self, timeout_s: float) -> bool:
        """Begin nothing more; wait until all that was begun, and every write at the primary, has come to an end."""
        lanes = self._state.lanes
        lanes.is_halted = True
        deadline_s = self._clock.now() + timeout_s
        while not lanes.is_still() or lanes.in_flight():
            if self._clock.now() >= deadline_s:
                return False
            await asyncio.sleep(LOOK_S)
        return True

    def go_on(self) -> None:
        """It was called off, or is done: the lanes begin again."""
        self._state.lanes.is_halted = False
        self._replayer.wake()

    async def assess(self) -> list[LostKey]:
        """What would be lost, without sending anything; the secondary may still refuse more."""
        return [*self._named(await self._salvages()), *self._nameless()]

    async def salvage(self) -> list[LostKey]:
        """Bring every state that the journal holds to the secondary; what is lost all the same. UpstreamError where it is away."""
        found = await self._salvages()
        slots = asyncio.Semaphore(MIRROR_LANES_AT_ONCE_MAX)

        async def send(one: Salvage, kept: Kept) -> LostKey | None:
            async with slots:
                refused = await self._send(one.key, kept)
            return LostKey(one.key, refused, one.key) if refused else None

        try:
            async with asyncio.TaskGroup() as group:
                sent = [
                    (one, group.create_task(send(one, one.kept))) for one in found if one.kept is not None
                ]
        except* UpstreamError as errors:
            raise errors.exceptions[0] from None
        # Of a key that is named anyway an older state was brought: a true one, and better than none.
        refused = [lost for one, task in sent if not one.why_lost and (lost := task.result()) is not None]
        hit("salvaged")
        return [*refused, *self._named(found), *self._nameless()]

    async def _salvages(self) -> list[Salvage]:
        found: list[Salvage] = []
        for key, lane in list(self._state.lanes.lanes.items()):
            entries = list(lane.entries.values())
            answers = {entry.seq: (await self._journal.bodies(entry.seq))[1] for entry in entries}
            found.append(salvage_of(key, entries, answers))
        return found

    @staticmethod
    def _named(found: Iterable[Salvage]) -> list[LostKey]:
        return [
            LostKey(one.key, one.why_lost, one.key, is_doubt_only="in doubt" in one.why_lost)
            for one in found
            if one.why_lost
        ]

    def _nameless(self) -> list[LostKey]:
        """Writes whose keys only the primary could tell, and what the mirror never carried."""
        doubts = [
            LostKey(
                f"{entry.marks[0] if entry.marks else entry.prefix}/ ({entry.method} {entry.seq})",
                "an acknowledged write that names no single record"
                if entry.state is EntryState.ACCEPTED
                else "in doubt: whether it took effect, and its key, are not known",
                prefixes=entry.marks or (entry.prefix,),
                is_doubt_only=entry.state is not EntryState.ACCEPTED,
            )
            for entry in self._state.lanes.entries.values()
            if entry.key is None
        ]
        gaps = [
            LostKey(mark.prefix or "/", f"unproven: {mark.why}", prefixes=(mark.prefix,))
            for mark in self._state.gaps.marks
        ]
        return doubts + gaps

    async def _send(self, key: str, kept: Kept) -> str:
        """Why the secondary refuses it for good; empty where it has it now, or something newer."""
        roles = self._state.roles
        headers = [
            roles.epoch_header,
            ("Turnout-Mirror", "repair"),
            ("Turnout-Version", kept.turnout_version),
        ]
        if kept.body is not None:
            headers.append(("Content-Type", "application/json"))
        headers += self._state.settings.given_credentials
        method, body = ("DELETE", b"") if kept.body is None else ("PUT", kept.body)
        reply = await self._sender.send(
            roles.secondary, method, path_of(key), headers, body, timeout_s=MIRROR_REQUEST_TIMEOUT_S
        )
        code = settle.problem_code(reply.body)
        match settle.judge_repair(reply.status, code):
            case Verdict.SETTLED:
                return ""
            case Verdict.DEAD:
                return f"{roles.secondary} refuses it: {reply.status} {code or ''}".rstrip()
            case _:
                raise UpstreamError(
                    f"{roles.secondary} answers {reply.status} {code or ''} to {key}", "is it running?"
                )

    # -- the roles change ----------------------------------------------------------------------------

    def doubts(self) -> list[tuple[int, str]]:
        """Request ids that only the old primary can tell of, each with its key (empty where it had none yet)."""
        entries = self._state.lanes.entries.values()
        return [(entry.seq, entry.key or "") for entry in entries if entry.state is not EntryState.ACCEPTED]

    def counters(self) -> dict[str, int]:
        return counters_of(key for key in self._state.lanes.lanes)

    def leave(
        self, lost: Sequence[Lost], detail: str, why: str
    ) -> tuple[Callable[[object], None], Callable[[], None]]:
        """What is to happen in the transaction that changes the roles, and what after it.

        Nothing unsettled remains but one mark for each lost key, which is a dead letter; everything is unproven.
        """
        wall_s = self._clock.wall()
        marks = self._marks(sorted({one.key for one in lost if one.key}), wall_s)
        letters = [DeadLetter(entry.key or "", wall_s, CAUSE, detail) for entry in marks]

        gap_ids: list[int] = []

        def work(db: object) -> None:
            assert isinstance(db, sqlite3.Connection)
            db.execute("delete from entries")
            db.execute("delete from dead")
            _insert(db, marks, letters)
            cursor = db.execute("insert into gaps (prefix, since, why) values ('', ?, ?)", (wall_s, why))
            gap_ids.append(cursor.lastrowid or 0)

        def after() -> None:
            state = self._state
            for seq in state.lanes.give_up_all():
                state.settled(seq)
            state.dead.clear()
            self._bury(marks, letters)
            state.gaps.add(GapMark(gap_ids[-1], "", wall_s, why))

        return work, after

    async def bury(self, keys: Iterable[str], detail: str) -> None:
        """Keys that the returned upstream may hold in a state that the primary never had; durable, and in force, on return."""
        wall_s = self._clock.wall()
        new = [key for key in sorted(set(keys)) if key not in self._state.dead]
        marks = self._marks(new, wall_s)
        letters = [DeadLetter(entry.key or "", wall_s, CAUSE, detail) for entry in marks]
        if marks:
            await self._journal.transact(lambda db: _insert(db, marks, letters))
            self._bury(marks, letters)

    def unsettled_keys(self) -> set[str]:
        """Keys of which the secondary is known to lack something, dead ones included."""
        return set(self._state.lanes.lanes)

    def first_base(self, key: str) -> str:
        """What the key's first unsettled write was made from. A mark stands for writes of which the first is not known any more,
        and one without an answer may have come before."""
        lane = self._state.lanes.lanes.get(key)
        entries = [] if lane is None else list(lane.entries.values())
        if not all(
            one.state is EntryState.ACCEPTED and one.version is not None and one.writes == 1
            for one in entries
        ):
            return BASE_UNKNOWN
        return min(entries, key=lambda one: one.version or 0).base if entries else BASE_UNKNOWN

    def _marks(self, keys: Sequence[str], wall_s: float) -> list[Entry]:
        state = self._state
        first, state.next_seq = state.next_seq, state.next_seq + len(keys)
        return [
            Entry(
                seq=first + place,
                method="PUT",
                target=path_of(key),
                headers=(),
                key=key,
                prefix=key.rpartition("/")[0],
                born_wall_s=wall_s,
                state=EntryState.ACCEPTED,
            )
            for place, key in enumerate(keys)
        ]

    def _bury(self, marks: Sequence[Entry], letters: Sequence[DeadLetter]) -> None:
        state = self._state
        if marks:
            state.stats.add("accepted", len(marks))
            self._journal.ended((), {"accepted": len(marks)})
        for entry, letter in zip(marks, letters, strict=True):
            state.lanes.recovered(entry, self._clock.now())
            state.lanes.bury(letter.key)
            state.dead[letter.key] = letter
            log.error(
                "dead_letter",
                key=letter.key,
                detail=letter.detail,
                next=f"turnout dead-letters show {letter.key}",
            )


def _insert(db: sqlite3.Connection, marks: Sequence[Entry], letters: Sequence[DeadLetter]) -> None:
    if not marks:
        return
    db.executemany(
        "insert into entries (seq, method, target, headers, key, prefix, born, state) values (?, ?, ?, '[]', ?, ?, ?, 'accepted')",
        [(one.seq, one.method, one.target, one.key, one.prefix, one.born_wall_s) for one in marks],
    )
    # No seq is given twice, also not one that never was an intent.
    db.execute(
        "update meta set value=max(cast(value as integer), ?) where name='seq_ceiling'", (marks[-1].seq,)
    )
    db.executemany(
        "insert or replace into dead (key, since, cause, detail) values (?, ?, ?, ?)",
        [(one.key, one.since_wall_s, one.cause, one.detail) for one in letters],
    )
