"""The journal's last commits, each one row: the short way for entries that are settled soon.

A commit of the usual kind (intents, outcomes, ends) is one statement with one blob: SQLite is entered once, gives the interpreter's
lock away once, and writes pages that are full. An entry that is settled while its row is still here never costs more.
What grows old moves into ``entries`` (``move``), in one transaction with the end of its rows; all of it does, before anybody else
works on the journal: so ``entries`` is what the rest of the journal reads and changes, and ``fresh`` is only ever added to. A start moves everything, if the disk has room.

The rows of a table in order are the history: intents, then outcomes, then ends. An end of an entry whose intent is in here takes
both along; one of an entry in ``entries`` stays until it has been carried out there.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import msgspec

from proxy.journal.rows import (
    DELETE_ENTRIES,
    INSERT_ENTRIES,
    UPDATE_OUTCOMES,
    IntentRow,
    OutcomeRow,
    entry_values,
    execute_rows,
    outcome_values,
)

STEPS = 64
"""In so many the whole table would move."""

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

    def oldest(self, bytes_max: int, entries_max: int) -> int | None:
        """The row up to which things must move for the table to stay within its bounds; None while it is.

        Little is made free at a time: the writer has other things to do than to move.
        """
        if self.bytes < bytes_max and len(self._since) < entries_max:
            return None
        left = self.bytes
        for rows, (number, length) in enumerate(self._rows, 1):
            left -= length
            if left <= bytes_max - bytes_max // STEPS and rows >= len(self._rows) // STEPS:
                return number
        return self._rows[-1][0]

    def move(self, db: sqlite3.Connection, upto: int | None = None, *, is_lean: bool = False) -> None:
        """Into ``entries``, in the caller's transaction; once that is committed, ``moved`` is due. ``is_lean``: without bodies.

        ``upto``: only what rows up to this one began to tell of, with the newest that is known of it; what younger rows say of those
        entries is carried out again by the next move, and changes nothing.
        """
        seqs = self._upto(upto)
        db.execute("delete from fresh where id <= ?", (self._next_id if upto is None else upto,))
        made: list[tuple[Any, ...]] = []
        told: list[tuple[Any, ...]] = []
        gone: list[tuple[int]] = []
        for seq in seqs:
            intent, outcome = self._intents.get(seq), self._outcomes.get(seq)
            if intent is not None:
                made.append(entry_values(intent, outcome, is_lean=is_lean))
            elif outcome is not None:
                told.append(outcome_values(outcome, is_lean=is_lean))
            if seq in self._ended:
                gone.append((seq,))
        execute_rows(db, INSERT_ENTRIES, made)
        execute_rows(db, UPDATE_OUTCOMES, told)
        execute_rows(db, DELETE_ENTRIES, gone)

    def moved(self, upto: int | None = None) -> None:
        if upto is None:
            self.bytes = 0
            for one in (self._rows, self._intents, self._outcomes, self._ended, self._since):
                one.clear()
            return
        for seq in self._upto(upto):
            del self._since[seq]
            for one in (self._intents, self._outcomes, self._ended):
                one.pop(seq, None)
        while self._rows and self._rows[0][0] <= upto:
            self.bytes -= self._rows.popleft()[1]

    def _upto(self, upto: int | None) -> list[int]:
        if upto is None:
            return list(self._since)
        return [one[0] for one in takewhile(lambda one: one[1] <= upto, self._since.items())]


def _decode(data: Any) -> Commit:
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, TypeError) as error:
        raise ValueError(f"a commit in it cannot be read: {error}") from error
