"""The formats of the journal's file, and the way from each to the next."""

from __future__ import annotations

import sqlite3
import time
import uuid
from importlib import resources

SCRIPTS = ("001_schema.sql", "002_operating.sql", "003_marks.sql", "004_fresh.sql")
"""Each leads to the next format; an older journal runs those that it lacks when it is opened."""

FORMAT = len(SCRIPTS)


def upgrade(db: sqlite3.Connection, version: int) -> None:
    """Run what a journal of that format lacks, each step whole or not at all. 0: a new file."""
    scripts = resources.files("proxy.journal").joinpath("sql")
    for number, name in enumerate(SCRIPTS[version:], version + 1):
        script = scripts.joinpath(name).read_text()
        first = _first_values() if number == 1 else ""
        db.executescript(f"begin immediate; {script}; {first} pragma user_version={number}; commit;")


def _first_values() -> str:
    """The meta of a new journal, as SQL."""
    values = {
        "journal_id": uuid.uuid4().hex,
        "seq_ceiling": "0",
        "primary": "",
        "first_primary": "",
        "epoch": "0",
        "burned": "0",
        "validated": "0",
        "versioned": "[]",
        "totals": "{}",
        "since": str(time.time()),
    }
    rows = ", ".join(f"('{name}', '{value}')" for name, value in values.items())
    return f"insert into meta (name, value) values {rows};"  # noqa: S608 - constants, a uuid and a number
