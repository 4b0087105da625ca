"""What others ask of the journal, run in its writer's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any


def attempt(
    db: sqlite3.Connection, work: Callable[[sqlite3.Connection], Any]
) -> tuple[Any, Exception | None]:
    """A work that refuses (raises) is undone alone; the batch around it stands."""
    db.execute("savepoint work")
    try:
        result = work(db)
    except sqlite3.Error:
        raise
    except Exception as error:  # noqa: BLE001 - it is the caller's, who gets it back
        db.execute("rollback to work")
        db.execute("release work")
        return None, error
    db.execute("release work")
    return result, None
