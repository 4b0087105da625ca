"""How the JSON store changes: locks, numbers, claims, and the commit that makes all of a change durable at once.

A change keeps its record's lock until its commit is on disk, and is applied to memory only then. So no answer can show a
state that is not durable (N3), a failed commit leaves nothing to undo, and reads never wait; the price is that
writes to one record follow each other at the pace of the disk's sync. Writes to different records share a sync.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from backends import json_entries as journaled
from backends.contract.answers import key_of
from backends.contract.ids import integer_of, uuid7
from backends.failpoints import hit
from backends.json_entries import Announced, Decided, Entry, Floored, Voided, pack
from backends.json_journal import Commit, Journal
from backends.json_locks import Gate, Key, KeyLocks
from backends.json_state import Memory
from backends.store import (
    EPOCH_SHIFT,
    Answer,
    Applied,
    ApplyLine,
    Changed,
    Decide,
    Done,
    Epoch,
    EpochState,
    Idempotency,
    IdempotencyMismatchError,
    IdempotencyRunningError,
    Keep,
    KeptAnswer,
    Put,
    RequestId,
    Role,
    StaleEpochError,
    StaleRequestError,
    State,
    UnavailableError,
    Verdict,
)

KEPT_MS = 24 * 3600 * 1000
"""How long an answer is kept under its Idempotency-Key."""

_T = TypeVar("_T")


@dataclass(slots=True, eq=False)
class _Turn:
    """What a running change holds: its record's lock, its request id and its Idempotency-Key, until its commit ends."""

    request: int | None = None
    key: str | None = None
    record: Key | None = None
    is_committing: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Changes:
    """The writing half of the store. ``connect`` makes the journal; None: opened only to be read."""

    def __init__(
        self, memory: Memory, connect: Callable[[Changes], Journal] | None, wall: Callable[[], float]
    ) -> None:
        # for the store's life
        self._loop = asyncio.get_running_loop()
        self._memory = memory
        self._wall = wall
        self.is_closing = False
        self.touched: Callable[[], None] = lambda: None
        """Called when records changed."""
        # for the changes under way
        self._locks = KeyLocks()
        self._gate = Gate()
        self._number = memory.number
        self._taken: deque[int] = deque()
        """Numbers taken and not yet durable, ascending: commits end in the order in which they began."""
        self._running: dict[int, _Turn] = {}
        self._running_keys: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.journal = None if connect is None else connect(self)

    @property
    def watermark(self) -> int:
        """One below the lowest number that is taken and not yet durable (N4)."""
        return self._taken[0] - 1 if self._taken else self._number

    async def close(self) -> None:
        """Refuse what comes, wait for what is under way."""
        self.is_closing = True
        await self._gate.emptied()

    def wake(self, commits: list[Commit], error: Exception | None) -> None:
        """The journal's thread says that a batch is on disk, or is not."""
        self._loop.call_soon_threadsafe(self._on_written, commits, error)

    async def change(
        self,
        collection: str,
        record_id: str | None,
        decide: Decide,
        epoch: Epoch | None,
        request: RequestId | None,
        idempotency: Idempotency | None,
        answer: Callable[[Changed], Answer] | None,
    ) -> Changed | Answer:
        """Store.change."""
        await self._gate.passed()
        self._check(epoch)
        if request is not None:
            self._check_request(request.id)
        kept = self._kept_answer(idempotency)
        if kept is not None and request is None:
            return kept
        turn = self._begin(request, idempotency if kept is None else None)
        try:
            if kept is not None and request is not None:
                await self._settled(self._submit([Decided(request.id, request.lowest_open, None)], turn))
                return kept
            turn.record = await self._lock(collection, record_id)
            await self._gate.passed()
            self._check(epoch)
            changed, entries, number = self._run(turn.record, decide, request)
            if idempotency is not None and answer is not None:
                key = key_of(collection, changed.id)
                entries.extend(self._to_keep(idempotency, key, answer(changed)))
            if entries:
                await self._settled(self._submit(entries, turn, number))
            return changed
        finally:
            if not turn.is_committing:
                self._end(turn)

    async def void(self, epoch: Epoch | None, request_id: int) -> Done | None:
        """Store.void. A running request is waited for."""
        while True:
            await self._gate.passed()
            self._check(epoch)
            running = self._running.get(request_id)
            if running is None:
                break
            await running.over.wait()
        if request_id in self._memory.requests:
            return self._memory.requests[request_id]
        self._check_request(request_id)
        turn = self._begin(RequestId(request_id, 0), None)
        await self._settled(self._submit([Voided(request_id)], turn))
        return None

    async def announce(
        self, epoch: int, role: Role, journal: str, counters: Mapping[str, int], *, adopt: bool
    ) -> EpochState:
        """Store.announce."""

        def decide() -> tuple[list[Entry], None]:
            memory = self._memory
            is_other_journal = memory.journal is not None and memory.journal != journal
            is_same_epoch = epoch == memory.epoch and memory.journal is not None
            if (
                epoch < memory.epoch
                or (is_other_journal and not adopt)
                or (is_same_epoch and (is_other_journal or role is not memory.role))
            ):
                raise StaleEpochError(memory.epoch_state())
            self._number = max(self._number, epoch << EPOCH_SHIFT)
            return [Announced(epoch, role, journal, self._number, dict(counters), is_other_journal)], None

        await self._alone(None, decide)
        return self._memory.epoch_state()

    async def apply(self, epoch: Epoch | None, collection: str, lines: Sequence[ApplyLine]) -> Applied:
        """Store.apply."""

        def decide() -> tuple[list[Entry], Applied]:
            entries: list[Entry] = []
            newest: dict[str, int] = {}
            applied, now_ms = 0, self._now_ms()
            for line in lines:
                at = newest.get(line.id)
                if line.stamp.at >= (self._memory.state(collection, line.id).at if at is None else at):
                    newest[line.id] = line.stamp.at
                    applied += 1
                    entries.append(
                        journaled.Changed(
                            collection, line.id, line.body, line.stamp.version, line.stamp.at, self._number
                        )
                    )
                entries.extend(kept for kept in line.answers if kept.expires_ms > now_ms)
            return entries, Applied(applied, len(lines) - applied)

        return await self._alone(epoch, decide)

    def answers(self, key: str | None, after: str) -> tuple[list[KeptAnswer], bool]:
        """Store.answers."""
        self._memory.kept.expire(self._now_ms())
        return self._memory.kept.page(key, after)

    async def keep_answers(self, epoch: Epoch | None, answers: Sequence[KeptAnswer]) -> int:
        """Store.keep_answers."""

        def decide() -> tuple[list[Entry], int]:
            now_ms = self._now_ms()
            self._memory.kept.expire(now_ms)
            lacking: dict[str, KeptAnswer] = {}
            for kept in answers:
                if kept.expires_ms > now_ms and self._memory.kept.get(kept.idempotency_key) is None:
                    lacking.setdefault(kept.idempotency_key, kept)
            return list(lacking.values()), len(lacking)

        return await self._alone(epoch, decide)

    async def raise_floor(self, epoch: Epoch | None, collection: str, at: int) -> int:
        """Store.raise_floor."""

        def decide() -> tuple[list[Entry], int]:
            return [Floored(collection, at)], self._memory.swept_by(collection, at)

        return await self._alone(epoch, decide)

    async def commit(self, entries: Sequence[Entry]) -> None:
        """Make entries durable that change no record (the exporter's)."""
        await self._settled(self._submit(entries, None))

    def _run(
        self, record: Key, decide: Decide, request: RequestId | None
    ) -> tuple[Changed, list[Entry], int | None]:
        """The decision under the record's lock: what changed, what the journal must say, and the number taken."""
        collection, record_id = record
        before = self._memory.state(collection, record_id)
        verdict = decide(record_id, before)
        after, number = self._after(verdict, before)
        entries: list[Entry] = []
        if not isinstance(verdict, Keep):
            self._count(collection, record_id)
            entries.append(
                journaled.Changed(
                    collection, record_id, after.body, after.version, after.at, number or self._number
                )
            )
        if request is not None:
            done = None if isinstance(verdict, Keep) else Done(collection, record_id, after.version)
            entries.append(Decided(request.id, request.lowest_open, done))
        return Changed(record_id, before, after), entries, number

    def _after(self, verdict: Verdict, before: State) -> tuple[State, int | None]:
        if isinstance(verdict, Keep):
            return before, None
        body = verdict.body if isinstance(verdict, Put) else None
        if verdict.stamp is not None:
            return State(body, verdict.stamp.version, verdict.stamp.at), None
        number = self._number = self._number + 1
        return State(body, number, number), number

    def _submit(
        self, entries: Sequence[Entry], turn: _Turn | None, number: int | None = None
    ) -> asyncio.Future[None]:
        """Queue a commit. From here on it ends by itself, whoever still waits for it. Nothing may await between decision and this."""
        if self.journal is None:
            raise UnavailableError("This store was opened only to be read.")
        settled: asyncio.Future[None] = self._loop.create_future()
        if number is not None:
            self._taken.append(number)
        if turn is not None:
            turn.is_committing = True
        self._gate.enter()

        def done(error: Exception | None) -> None:
            if number is not None:
                self._taken.popleft()
            if error is None:
                for entry in entries:
                    self._memory.apply(entry)
                self.touched()
            if turn is not None:
                self._end(turn)
            self._gate.leave()
            if error is None:
                settled.set_result(None)
            else:
                settled.set_exception(error)
                settled.exception()  # seen: whoever waited may have left

        self.journal.submit(Commit(pack(entries), done))
        return settled

    def _on_written(self, commits: list[Commit], error: Exception | None) -> None:
        for commit in commits:
            commit.done(error)
        hit("journal-applied")

    async def _settled(self, settled: asyncio.Future[None]) -> None:
        await asyncio.shield(settled)

    async def _alone(self, epoch: Epoch | None, decide: Callable[[], tuple[list[Entry], _T]]) -> _T:
        """Decide and commit while no other change is under way. Goes on to its end if its caller leaves."""

        async def run() -> _T:
            async with self._gate.alone():
                self._check(epoch)
                entries, result = decide()
                if entries:
                    await self._submit(entries, None)
                return result

        return await self._uncancelled(run())

    async def _uncancelled(self, work: Coroutine[Any, Any, _T]) -> _T:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _lock(self, collection: str, record_id: str | None) -> Key:
        key = (collection, self._new_id(collection) if record_id is None else record_id)
        await self._locks.acquire(key)
        return key

    def _new_id(self, collection: str) -> str:
        if not self._memory.has_integer_ids(collection):
            return uuid7(self._now_ms(), os.urandom(10))
        counter = self._memory.counters[collection] = self._memory.counters.get(collection, 0) + 1
        return str(counter)

    def _count(self, collection: str, record_id: str) -> None:
        """An integer id that is about to be stored raises the counter now, so that no id made meanwhile is the same."""
        integer = integer_of(record_id)
        if integer is not None and integer > self._memory.counters.get(collection, 0):
            self._memory.counters[collection] = integer

    def _check(self, epoch: Epoch | None) -> None:
        if self.is_closing or self.journal is None:
            raise UnavailableError(
                "This store is shutting down." if self.is_closing else "This store is only read."
            )
        memory = self._memory
        if epoch is not None and (epoch.epoch, epoch.journal) != (memory.epoch, memory.journal):
            raise StaleEpochError(memory.epoch_state())

    def _check_request(self, request_id: int) -> None:
        memory = self._memory
        if request_id in self._running or request_id in memory.requests or request_id < memory.lowest_open:
            raise StaleRequestError

    def _kept_answer(self, idempotency: Idempotency | None) -> Answer | None:
        if idempotency is None or idempotency.only_kept:
            return None
        self._memory.kept.expire(self._now_ms())
        kept = self._memory.kept.get(idempotency.key)
        if kept is None:
            if idempotency.key in self._running_keys:
                raise IdempotencyRunningError
            return None
        if kept.fingerprint != idempotency.fingerprint:
            raise IdempotencyMismatchError
        return kept.answer

    def _to_keep(self, idempotency: Idempotency, key: str, answer: Answer) -> list[Entry]:
        if answer.status == 409 or answer.status >= 500:
            return []
        expires_ms = self._now_ms() + KEPT_MS
        return [KeptAnswer(idempotency.key, idempotency.fingerprint, key, expires_ms, answer)]

    def _now_ms(self) -> int:
        return int(self._wall() * 1000)

    def _begin(self, request: RequestId | None, idempotency: Idempotency | None) -> _Turn:
        turn = _Turn()
        if request is not None:
            turn.request = request.id
            self._running[request.id] = turn
        if idempotency is not None and not idempotency.only_kept:
            turn.key = idempotency.key
            self._running_keys.add(idempotency.key)
        return turn

    def _end(self, turn: _Turn) -> None:
        if turn.record is not None:
            self._locks.release(turn.record)
        if turn.request is not None:
            del self._running[turn.request]
        if turn.key is not None:
            self._running_keys.discard(turn.key)
        turn.over.set()
