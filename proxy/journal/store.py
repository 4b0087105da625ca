"""What the journal promises, whatever keeps it.

Order: operations take effect in the order they were submitted. Durability: a callback with None comes only after
everything submitted before it, and the operation itself, is synced to disk. Each callback is called once, on
the event loop, in order. ``ended`` and ``settled`` are lazy: they ride on the next commit, since losing
them in a crash only repeats a repair that changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from proxy.journal.entry import Entry
from proxy.ports import Done

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GapMark:
    """A stretch that the mirror did not carry: ``prefix`` (or one key) is unproven until a validation begun later clears it."""

    id: int
    prefix: str
    since_wall_s: float
    why: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A key that repair cannot settle, and why; its entries wait."""

    key: str
    since_wall_s: float
    cause: str
    detail: str
    answer_status: int = 0
    """What the secondary answered to the repair; 0 where it was not asked."""
    answer_body: bytes | None = None
    """Its beginning, limits.DEAD_ANSWER_BYTES_MAX at most."""


@dataclass(frozen=True, slots=True)
class Override:
    """A setting that an act put in place of the file's (DESIGN section 4). It ends when the file's resolved value is no longer ``file_value``."""

    path: str
    value: str
    file_value: str


@dataclass(frozen=True, slots=True)
class HistoryLine:
    wall_s: float
    actor: str
    verb: str
    detail: str
    reason: str
    id: int = 0


@dataclass(frozen=True, slots=True)
class Pause:
    """An operator's word that nothing is to be sent to the secondary; entries are journaled all the same."""

    since_wall_s: float
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Returning:
    """What must happen before an upstream that was left behind dead is mirrored to (DESIGN section 5, "Primary dead").

    ``keys`` lack an acknowledged write; ``doubts`` are the request ids that it is asked about (void) when it returns, each
    with its key, which is empty where only the upstream knows it. ``prefixes`` are the paths under which something is lost that
    names no single key.
    """

    upstream: str
    since_wall_s: float
    epoch: int
    """The epoch in which it was left."""
    keys: tuple[str, ...]
    doubts: tuple[tuple[int, str], ...]
    prefixes: tuple[str, ...] = ()


@dataclass(slots=True)
class JournalMeta:
    """What is actual: kept in the journal, believed over everything else."""

    journal_id: str
    primary: str = ""
    """Empty in a new journal."""
    first_primary: str = ""
    epoch: int = 0
    burned: int = 0
    """The highest epoch that may have been announced."""
    validated_wall_s: float = 0.0
    """When the last validation that found equal began; 0: never."""
    versioned: frozenset[str] = frozenset()
    """Upstreams that have shown a well-formed epoch answer: never plain again."""
    totals: dict[str, int] = field(default_factory=dict[str, int])
    """Writes since ``since_wall_s``: accepted, replayed, repaired, rejected, dead."""
    since_wall_s: float = 0.0
    paused: Pause | None = None
    returning: Returning | None = None


@dataclass(slots=True)
class Recovered:
    """What a start finds."""

    meta: JournalMeta
    next_seq: int
    entries: list[Entry]
    """Unsettled ones in order of seq, without bodies."""
    gaps: list[GapMark]
    dead: list[DeadLetter]
    overrides: list[Override]


class JournalStore(Protocol):
    recovered: Recovered

    def intent(self, entry: Entry, done: Done) -> None:
        """Durable before ``done(None)``. JournalFullError where it cannot be: then it never was."""
        ...

    def outcome(self, entry: Entry, done: Done) -> None:
        """The accepted (or in doubt) entry with its key, version, base and bodies. Durable before ``done(None)``."""
        ...

    def ended(
        self, seqs: Sequence[int], totals: dict[str, int] | None = None, done: Done | None = None
    ) -> None:
        """Settled or ended entries go; ``totals`` are added to the meta totals. Lazy; ``done(None)`` once it is on disk."""
        ...

    async def bodies(self, seq: int) -> tuple[bytes | None, bytes | None]:
        """Request and answer body of an unsettled entry."""
        ...

    async def transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in the writer, in its turn, in one durable transaction."""
        ...

    def size_bytes(self) -> int:
        """On disk, the write-ahead log included. Pages that settled entries left free are used again, not given back."""
        ...

    async def close(self) -> None: ...
