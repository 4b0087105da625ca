"""The journal's last commits, each one row: the short way for entries that are settled soon.

A commit of the usual kind (intents, outcomes, ends) is one statement with one blob: SQLite is entered once, gives the interpreter's
lock away once, and writes pages that are full. An entry that is settled while its row is still here never costs more.
What grows old moves into ``entries`` (``move``), in one transaction with the emptying of the table: so ``entries`` is what the
rest of the journal reads and changes, and ``fresh`` is only ever added to. A start moves everything, if the disk has room.

The rows of a table in order are the history: intents, then outcomes, then ends. An end of an entry whose intent is in here takes
both along; one of an entry in ``entries`` stays until it has been carried out there.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from proxy.journal.rows import (
    DELETE_ENTRIES,
    INSERT_INTENTS,
    UPDATE_OUTCOMES,
    IntentRow,
    OutcomeRow,
    execute_rows,
    intent_values,
    outcome_values,
)

INSERT = "insert into fresh (id, low, data) values (?, ?, ?)"

Commit = tuple[list[IntentRow], list[OutcomeRow], list[int], dict[str, int]]
"""Intents, outcomes, seqs of entries that go, and all totals as they are then."""

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Commit)


def encode(
    intents: Sequence[IntentRow], outcomes: Sequence[OutcomeRow], ended: Sequence[int], totals: dict[str, int]
) -> bytes:
    return _ENCODER.encode((intents, outcomes, ended, totals))


class Fresh:
    """What the table holds, as its one writer knows it."""

    def __init__(self) -> None:
        self.bytes = 0
        self._next_id = 1
        self._rows: deque[tuple[int, int]] = deque()
        """Of each row: its id and its length."""
        self._intents: dict[int, IntentRow] = {}
        self._outcomes: dict[int, OutcomeRow] = {}
        self._ended: dict[int, None] = {}
        """Of entries that are in ``entries``."""
        self._since: dict[int, int] = {}
        """Seq → the first row that tells of it. In order of those rows."""

    def __len__(self) -> int:
        """Seqs of which the table tells."""
        return len(self._since)

    def load(self, db: sqlite3.Connection) -> dict[str, int] | None:
        """What a start finds; all totals, None where the table is empty. ValueError where it cannot be read."""
        totals: dict[str, int] | None = None
        found: list[tuple[int, bytes]] = db.execute("select id, data from fresh order by id").fetchall()
        for number, data in found:
            intents, outcomes, ended, totals = _decode(data)
            self.added((number, 0, data), intents, outcomes, ended)
        return totals

    @property
    def is_empty(self) -> bool:
        return not self._rows

    def next_row(self, data: bytes) -> tuple[int, int, bytes]:
        """For INSERT. Once it is committed, ``added`` is due."""
        return self._next_id, next(iter(self._since.values()), self._next_id), data

    def added(
        self,
        row: tuple[int, int, bytes],
        intents: list[IntentRow],
        outcomes: list[OutcomeRow],
        ended: list[int],
    ) -> None:
        """The row is on disk."""
        number, low, data = row
        self._next_id = number + 1
        self._rows.append((number, len(data)))
        self.bytes += len(data)
        while self._rows[0][0] < low:
            self.bytes -= self._rows.popleft()[1]
        self._apply(number, intents, outcomes, ended)

    def _apply(
        self, number: int, intents: list[IntentRow], outcomes: list[OutcomeRow], ended: list[int]
    ) -> None:
        since = self._since
        for intent in intents:
            self._intents[intent[0]] = intent
            since[intent[0]] = number
        for outcome in outcomes:
            self._outcomes[outcome[0]] = outcome
            since.setdefault(outcome[0], number)
        for seq in ended:
            self._outcomes.pop(seq, None)
            if self._intents.pop(seq, None) is None:
                self._ended[seq] = None
                since.setdefault(seq, number)
            else:
                del since[seq]

    def move(self, db: sqlite3.Connection, *, is_lean: bool = False) -> None:
        """Into ``entries``, in the caller's transaction; once that is committed, ``moved`` is due. ``is_lean``: without bodies."""
        db.execute("delete from fresh")
        if self._intents:
            execute_rows(db, INSERT_INTENTS, [intent_values(row) for row in self._intents.values()])
        if self._outcomes:
            rows = [outcome_values(row, is_lean=is_lean) for row in self._outcomes.values()]
            execute_rows(db, UPDATE_OUTCOMES, rows)
        if self._ended:
            execute_rows(db, DELETE_ENTRIES, [(seq,) for seq in self._ended])

    def moved(self) -> None:
        self.bytes = 0
        for one in (self._rows, self._intents, self._outcomes, self._ended, self._since):
            one.clear()


def _decode(data: Any) -> Commit:
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, TypeError) as error:
        raise ValueError(f"a commit in it cannot be read: {error}") from error
