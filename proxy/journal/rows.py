"""Entries as rows of the journal, many in one statement. What is in a row is said here, when it is written in sqlite.py."""

from __future__ import annotations

import json
import sqlite3
from functools import lru_cache
from typing import Any

from proxy.journal.entry import BASE_UNKNOWN, Entry
from proxy.limits import HEADER_SETS_KEPT_MAX

ROWS_AT_ONCE_MAX = 64
"""Rows in one statement. Each step of SQLite gives the interpreter's lock away, and the writer then waits for the event
loop to get it back: a statement a row would wait once a row."""

INSERT_INTENTS = (
    "insert into entries (seq, method, target, headers, key, prefix, born, marks, state) values ",
    "(?,?,?,?,?,?,?,?,'intent')",
    "",
)
INSERT_ENTRIES = (
    """insert into entries (seq, method, target, headers, key, prefix, born, marks, state, status, version, base, replayable, writes,
    request_body, answer_body) values """,
    "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    "",
)
UPDATE_OUTCOMES = (
    """update entries set key=v.column2, prefix=v.column3, marks=v.column4, state='accepted', status=v.column5, version=v.column6,
    base=v.column7, replayable=v.column8, writes=v.column9, request_body=v.column10, answer_body=v.column11 from (values """,
    "(?,?,?,?,?,?,?,?,?,?,?)",
    ") as v where entries.seq=v.column1",
)
DELETE_ENTRIES = ("delete from entries where seq in (", "?", ")")


def execute_rows(
    db: sqlite3.Connection, statement: tuple[str, str, str], rows: list[tuple[Any, ...]]
) -> None:
    """All rows in few statements; their sizes are powers of two, so that each is prepared once."""
    before, one, after = statement
    at, size = 0, ROWS_AT_ONCE_MAX
    while at < len(rows):
        while size > len(rows) - at:
            size //= 2
        values = [value for row in rows[at : at + size] for value in row]
        db.execute(before + ",".join([one] * size) + after, values)
        at += size


IntentRow = tuple[int, str, str, tuple[tuple[str, str], ...], str | None, str, float, tuple[str, ...]]
"""seq, method, target, headers, key, prefix, born, marks."""

OutcomeRow = tuple[
    int, str | None, str, tuple[str, ...], int, int | None, str, bool, int, bytes | None, bytes | None
]
"""seq, key, prefix, marks, status, version, base, is_replayable, writes, request_body, answer_body."""


def intent_row(entry: Entry) -> IntentRow:
    """As it is now: what becomes of the entry later is another row's."""
    return (
        entry.seq,
        entry.method,
        entry.target,
        entry.headers,
        entry.key,
        entry.prefix,
        entry.born_wall_s,
        entry.marks,
    )


def outcome_row(entry: Entry) -> OutcomeRow:
    return (
        entry.seq,
        entry.key,
        entry.prefix,
        entry.marks,
        entry.status,
        entry.version,
        entry.base,
        entry.is_replayable,
        entry.writes,
        entry.request_body,
        entry.answer_body,
    )


def intent_values(row: IntentRow) -> tuple[Any, ...]:
    """For INSERT_INTENTS."""
    seq, method, target, headers, key, prefix, born_wall_s, marks = row
    return seq, method, target, _json(headers), key, prefix, born_wall_s, _json(marks)


def entry_values(intent: IntentRow, outcome: OutcomeRow | None, *, is_lean: bool = False) -> tuple[Any, ...]:
    """For INSERT_ENTRIES: what is known of an entry that is not in the table yet."""
    made = intent_values(intent)
    if outcome is None:
        return *made, "intent", 0, None, BASE_UNKNOWN, 0, 1, None, None
    seq, key, prefix, marks, *rest = outcome_values(outcome, is_lean=is_lean)
    return seq, *made[1:4], key, prefix, made[6], marks, "accepted", *rest


def outcome_values(row: OutcomeRow, *, is_lean: bool = False) -> tuple[Any, ...]:
    """For UPDATE_OUTCOMES. ``is_lean``: without the bodies, where the disk has no room for them."""
    seq, key, prefix, marks, *rest = row
    if is_lean:
        rest[-2:] = None, None
    return seq, key, prefix, _json(marks), *rest


@lru_cache(maxsize=HEADER_SETS_KEPT_MAX)
def _json(values: tuple[str, ...] | tuple[tuple[str, str], ...]) -> str:
    """Entries have the same headers again and again, and seldom marks."""
    return json.dumps(values)
