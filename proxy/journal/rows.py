"""Entries as rows of the journal, many in one statement. What is in a row is said here, when it is written in sqlite.py."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from proxy.journal.entry import Entry

ROWS_AT_ONCE_MAX = 64
"""Rows in one statement. Each step of SQLite gives the interpreter's lock away, and the writer then waits for the event
loop to get it back: a statement a row would wait once a row."""

INSERT_INTENTS = (
    "insert into entries (seq, method, target, headers, key, prefix, born, marks, state) values ",
    "(?,?,?,?,?,?,?,?,'intent')",
    "",
)
UPDATE_OUTCOMES = (
    """update entries set key=v.column2, prefix=v.column3, marks=v.column4, state=v.column5, status=v.column6, version=v.column7,
    base=v.column8, replayable=v.column9, writes=v.column10, request_body=v.column11, answer_body=v.column12 from (values """,
    "(?,?,?,?,?,?,?,?,?,?,?,?)",
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


def intent_row(entry: Entry) -> tuple[Any, ...]:
    headers = json.dumps(entry.headers)
    return (
        entry.seq,
        entry.method,
        entry.target,
        headers,
        entry.key,
        entry.prefix,
        entry.born_wall_s,
        json.dumps(entry.marks),
    )


def outcome_row(entry: Entry, *, is_lean: bool = False) -> tuple[Any, ...]:
    """``is_lean``: without the bodies, where the disk has no room for them."""
    return (
        entry.seq,
        entry.key,
        entry.prefix,
        json.dumps(entry.marks),
        str(entry.state),
        entry.status,
        entry.version,
        entry.base,
        int(entry.is_replayable),
        entry.writes,
        None if is_lean else entry.request_body,
        None if is_lean else entry.answer_body,
    )
