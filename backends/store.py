"""What a store keeps, and what it promises: the seam between the contract and the two stores.

A store keeps bytes under (collection, id) with their numbers; it parses no record and knows no HTTP.
Everything that decides (is this PATCH allowed, what does the record become) is a pure `decide`
function handed to :meth:`Store.change`, which the store runs under the record's lock.

Names in capitals and digits (N3, W1 …) are the rules of docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from backends.query import Query

ANSWERS_A_PAGE = 500
ANSWER_BYTES_A_PAGE = 8 << 20

EPOCH_SHIFT = 40
"""Numbers of epoch e start at e * 2**40 (N1)."""


class Role(StrEnum):
    """What the last announced epoch made of this server (E1)."""

    NONE = "none"
    PRIMARY = "primary"
    SECONDARY = "secondary"


@dataclass(frozen=True, slots=True)
class State:
    """What is known of one id. Singletons live in the collection ``""`` under their name.

    ``body`` is the canonical record, None where no live record is. ``at`` of an id never seen is the floor.
    """

    body: bytes | None
    version: int | None
    at: int


@dataclass(frozen=True, slots=True)
class Stamp:
    """Numbers that a change brings along (replay, repair, apply, foreign writes)."""

    version: int | None
    at: int


@dataclass(frozen=True, slots=True)
class Put:
    """The record becomes ``body``. Without ``stamp`` the store takes the next number for version and at (N3)."""

    body: bytes
    stamp: Stamp | None = None


@dataclass(frozen=True, slots=True)
class Remove:
    """The record becomes a tombstone. Without ``stamp`` the store takes the next number."""

    stamp: Stamp | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """Nothing changes (a rejection, a failed precondition, a repair that is too old)."""


Verdict = Put | Remove | Keep


@dataclass(frozen=True, slots=True)
class Answer:
    """A response kept under an Idempotency-Key: replayed byte for byte to the same request."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An Answer under its Idempotency-Key (A1), until ``expires_ms`` (since 1970). ``key`` is the record's: /api/orders/17."""

    idempotency_key: str
    fingerprint: bytes
    key: str
    expires_ms: int
    answer: Answer


@dataclass(frozen=True, slots=True)
class Idempotency:
    """An Idempotency-Key with the fingerprint (SHA-256) of the request that it belongs to.

    With ``only_kept`` (a replay) the answer is kept, replacing an earlier one, but none is looked for: a replay
    is judged by its version alone (DESIGN section 9).
    """

    key: str
    fingerprint: bytes
    only_kept: bool = False


@dataclass(frozen=True, slots=True)
class RequestId:
    """``Turnout-Request: id; open=lowest_open`` (W1)."""

    id: int
    lowest_open: int


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of a change.

    ``id`` is the record's id (made by the store where none was given), ``before`` and ``after`` its states;
    ``after`` is ``before`` where nothing changed. Returned only once all of it is durable.
    """

    id: str
    before: State
    after: State


class Decide(Protocol):
    """Makes the verdict from what is there. Pure, quick, and may be run again (a retried transaction).

    Called with the id and the state under the record's lock. Whatever else the caller wants to know of the
    decision (an error to answer, say), it keeps in its own closure; the last run counts.
    """

    def __call__(self, record_id: str, state: State, /) -> Verdict: ...


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of a list: canonical bodies in order, and how many match in all."""

    bodies: Sequence[bytes]
    total: int


@dataclass(frozen=True, slots=True)
class EpochState:
    """What the server was told, and its counters (E1). ``number`` is the last number taken."""

    epoch: int = 0
    role: Role = Role.NONE
    journal: str | None = None
    number: int = 0
    counters: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class Done:
    """A request id that was accepted: what it changed and the version that it made (V1)."""

    collection: str
    id: str
    version: int | None


@dataclass(frozen=True, slots=True)
class ApplyLine:
    """One line of a backfill or repair batch (B2); ``body`` None deletes. ``answers`` are kept whether the line applies or not (A3)."""

    id: str
    body: bytes | None
    stamp: Stamp
    answers: tuple[KeptAnswer, ...] = ()


@dataclass(frozen=True, slots=True)
class Applied:
    """How a batch went: lines that applied, and lines older than what was there."""

    applied: int
    kept: int


class StaleEpochError(Exception):
    """The request's epoch or journal is not the known one (E2, E3)."""

    def __init__(self, known: EpochState) -> None:
        super().__init__(f"this server is in epoch {known.epoch} of journal {known.journal}")
        self.known = known


class StaleRequestError(Exception):
    """The request id was decided, voided or forgotten before (W1)."""


class StorageFullError(Exception):
    """No room on disk: nothing was changed."""


class UnavailableError(Exception):
    """The store cannot be reached now; nothing was changed, as far as is known."""


class IdempotencyMismatchError(Exception):
    """The Idempotency-Key was used before with another request."""


class IdempotencyRunningError(Exception):
    """The first request with this Idempotency-Key is still being executed."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """``Turnout-Epoch: epoch journal`` (E3)."""

    epoch: int
    journal: str


class Store(Protocol):
    """Bytes under (collection, id), with numbers. One suite, tests/contract/test_store.py, runs over every store.

    Every method may raise UnavailableError. Methods that change raise StorageFullError where the disk is full.
    """

    async def get(self, collection: str, record_id: str) -> tuple[State, int]:
        """The state of an id, and the watermark taken before it was read (R1)."""
        ...

    async def page(self, collection: str, query: Query) -> Page:
        """The rows that a query asks for; an unknown collection is empty. Order of creation without a sort.

        Raises backends.query.QueryError as Selection.page does.
        """
        ...

    async def change(
        self,
        collection: str,
        record_id: str | None,
        decide: Decide,
        *,
        epoch: Epoch | None = None,
        request: RequestId | None = None,
        idempotency: Idempotency | None = None,
        answer: Callable[[Changed], Answer] | None = None,
    ) -> Changed | Answer:
        """Run ``decide`` under the record's lock and keep what it says; durable on return.

        With ``record_id`` None the store makes an id: the collection's counter where all ids are integers or there
        are none yet, else a UUIDv7. The counter is persisted and never gives an id twice; any integer id that is stored raises it.
        Integer ids are those of backends.contract.ids.integer_of; uuid7 is there too.

        ``epoch`` is compared in the same step (StaleEpochError). ``request`` is recorded with the verdict in
        one commit, rejections too (StaleRequestError for a copy). With ``idempotency``, ``answer(changed)`` is kept in the
        same commit for 24 hours, and an earlier answer to the same request is returned instead of a Changed;
        IdempotencyMismatchError and IdempotencyRunningError as they say. Answers with a status of 409 or 5xx are not kept.
        """
        ...

    async def void(self, epoch: Epoch | None, request_id: int) -> Done | None:
        """What that request did, or None and from now on, durably, it is refused (V1)."""
        ...

    async def epoch(self) -> EpochState: ...

    async def announce(
        self, epoch: int, role: Role, journal: str, counters: Mapping[str, int], *, adopt: bool
    ) -> EpochState:
        """E2; StaleEpochError where it is refused. Durable on return."""
        ...

    async def checkpoint(self) -> int:
        """The watermark, once whatever file others read holds all up to it (B1)."""
        ...

    async def apply(self, epoch: Epoch | None, collection: str, lines: Sequence[ApplyLine]) -> Applied:
        """Each line applies if its ``at`` is not below what is there (B2); one commit. A line whose record has the same ``at`` applies.

        The lines' answers are kept in the same commit, in the place of an earlier one under the same Idempotency-Key.
        """
        ...

    async def answers(self, key: str | None, after: str) -> tuple[Sequence[KeptAnswer], bool]:
        """Unexpired answers in the order of their Idempotency-Keys (code points), those above ``after``: of one key, or all (A2).

        At most ANSWERS_A_PAGE, and ended early once their bodies have ANSWER_BYTES_A_PAGE; whether there are more.
        """
        ...

    async def keep_answers(self, epoch: Epoch | None, answers: Sequence[KeptAnswer]) -> int:
        """Keep those under whose Idempotency-Key there is no unexpired one (A4); how many. One commit."""
        ...

    async def raise_floor(self, epoch: Epoch | None, collection: str, at: int) -> int:
        """Sweep live records with a lower ``at``, raise the floor; how many were swept (B3)."""
        ...

    async def collections(self) -> Mapping[str, int]:
        """Live records of each collection; singletons are counted under ``""``."""
        ...

    def scan(self, collection: str) -> AsyncIterator[tuple[str, bytes]]:
        """Every live record as (id, body), any order, in bounded memory (buckets, ids, backup)."""
        ...

    async def healthy(self) -> bool:
        """Whether reads and writes would work now."""
        ...

    async def close(self) -> None:
        """Finish what runs; everything acknowledged is durable already."""
        ...
