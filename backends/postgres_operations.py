"""What can be asked of the writer: each runs on a batch in its turn, and is answered once that batch is durable. Pure.

``run`` raises to fail without a trace, or returns a :class:`Refusal` for an error that is itself to be recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from backends.contract.answers import key_of
from backends.contract.ids import integer_of, uuid7
from backends.postgres_batch import Batch, Key
from backends.store import (
    Answer,
    Applied,
    ApplyLine,
    Changed,
    Decide,
    Done,
    Epoch,
    Idempotency,
    IdempotencyMismatchError,
    IdempotencyRunningError,
    Keep,
    KeptAnswer,
    Put,
    Remove,
    RequestId,
)

KEPT_MS = 24 * 3600 * 1000
"""How long an answer is kept under its Idempotency-Key."""

STATUS_CONFLICT = 409
STATUS_FAULT = 500

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer is this error, and it is recorded that it was given."""

    error: Exception


class Operation(Protocol[T_co]):
    """One wish. ``reads`` and ``answer_keys`` are fetched before ``run``."""

    @property
    def reads(self) -> Sequence[Key]: ...
    @property
    def answer_keys(self) -> Sequence[str]: ...
    def run(self, batch: Batch) -> T_co | Refusal: ...


@dataclass(frozen=True, slots=True)
class Look(Generic[T]):
    """Ask what is so, after all that was asked before."""

    question: Callable[[Batch], T]

    @property
    def reads(self) -> Sequence[Key]:
        return ()

    @property
    def answer_keys(self) -> Sequence[str]:
        return ()

    def run(self, batch: Batch) -> T | Refusal:
        return self.question(batch)


@dataclass(frozen=True, slots=True)
class Change:
    """Store.change. ``is_second``: the first request with its Idempotency-Key is still being executed."""

    collection: str
    record_id: str | None
    decide: Decide
    epoch: Epoch | None
    request: RequestId | None
    idempotency: Idempotency | None
    answer: Callable[[Changed], Answer] | None
    is_second: bool
    random: bytes
    """For the id of a new record, where it is to be a UUIDv7."""

    @property
    def reads(self) -> Sequence[Key]:
        return () if self.record_id is None else ((self.collection, self.record_id),)

    @property
    def answer_keys(self) -> Sequence[str]:
        idempotency = self.idempotency
        return () if idempotency is None or idempotency.only_kept else (idempotency.key,)

    def run(self, batch: Batch) -> Changed | Answer | Refusal:
        batch.check_epoch(self.epoch)
        if self.request is not None:
            batch.check_request(self.request.id)
        earlier = self._earlier(batch)
        if earlier is not None:
            self._decided(batch, None)
            return earlier
        record_id = self.record_id if self.record_id is not None else self._new_id(batch)
        key = (self.collection, record_id)
        before = batch.state(key)
        verdict = self.decide(record_id, before)
        step = None if isinstance(verdict, Keep) else batch.weigh(key, before, verdict)
        changed = Changed(record_id, before, before if step is None else step.after)
        answer = self.answer(changed) if self.idempotency is not None and self.answer is not None else None
        if step is not None:
            batch.make(step)
        self._decided(batch, None if step is None else Done(*key, step.after.version))
        if self.idempotency is not None and answer is not None and _is_kept(answer.status):
            idempotency, expires_ms = self.idempotency, batch.now_ms + KEPT_MS
            batch.keep(KeptAnswer(idempotency.key, idempotency.fingerprint, key_of(*key), expires_ms, answer))
        return changed

    def _earlier(self, batch: Batch) -> Answer | Refusal | None:
        """What an earlier request with the same Idempotency-Key says to this one."""
        if self.idempotency is None or self.idempotency.only_kept:
            return None
        if self.is_second:
            return Refusal(IdempotencyRunningError(self.idempotency.key))
        kept = batch.kept(self.idempotency.key)
        if kept is None:
            return None
        if kept.fingerprint != self.idempotency.fingerprint:
            return Refusal(IdempotencyMismatchError(self.idempotency.key))
        return kept.answer

    def _decided(self, batch: Batch, done: Done | None) -> None:
        if self.request is not None:
            batch.decide(self.request.id, self.request.lowest_open, done)

    def _new_id(self, batch: Batch) -> str:
        """Never seen before: the counter is above every integer id ever stored."""
        shelf = batch.shelf(self.collection)
        text = str(shelf.counter + 1)
        if shelf.odd == 0 and integer_of(text) is not None:
            return text
        return uuid7(batch.now_ms, self.random)


@dataclass(frozen=True, slots=True)
class Void:
    """Store.void: whatever ran before it in the queue has been decided by now."""

    epoch: Epoch | None
    request: int

    @property
    def reads(self) -> Sequence[Key]:
        return ()

    @property
    def answer_keys(self) -> Sequence[str]:
        return ()

    def run(self, batch: Batch) -> Done | Refusal | None:
        batch.check_epoch(self.epoch)
        is_decided, done = batch.decided(self.request)
        if not is_decided:
            batch.check_request(self.request)  # one that is forgotten may have been anything
            batch.decide(self.request, 0, None)
        return done


@dataclass(frozen=True, slots=True)
class Apply:
    """Store.apply."""

    epoch: Epoch | None
    collection: str
    lines: Sequence[ApplyLine]

    @property
    def reads(self) -> Sequence[Key]:
        return [(self.collection, line.id) for line in self.lines]

    @property
    def answer_keys(self) -> Sequence[str]:
        return ()

    def run(self, batch: Batch) -> Applied | Refusal:
        batch.check_epoch(self.epoch)
        for line in self.lines:
            if line.body is not None:
                line.body.decode()  # a fault is found before anything is made
        applied = 0
        for line in self.lines:
            for kept in line.answers:
                batch.keep(kept)
            key = (self.collection, line.id)
            before = batch.state(key)
            if line.stamp.at < before.at:
                continue
            verdict = Remove(line.stamp) if line.body is None else Put(line.body, line.stamp)
            batch.make(batch.weigh(key, before, verdict))
            applied += 1
        return Applied(applied, len(self.lines) - applied)


@dataclass(frozen=True, slots=True)
class KeepAnswers:
    """Store.keep_answers."""

    epoch: Epoch | None
    answers: Sequence[KeptAnswer]

    @property
    def reads(self) -> Sequence[Key]:
        return ()

    @property
    def answer_keys(self) -> Sequence[str]:
        return [kept.idempotency_key for kept in self.answers]

    def run(self, batch: Batch) -> int | Refusal:
        batch.check_epoch(self.epoch)
        lacking = {
            kept.idempotency_key: kept
            for kept in reversed(self.answers)
            if kept.expires_ms > batch.now_ms and batch.kept(kept.idempotency_key) is None
        }
        for kept in lacking.values():
            batch.keep(kept)
        return len(lacking)


def _is_kept(status: int) -> bool:
    return status != STATUS_CONFLICT and status < STATUS_FAULT
