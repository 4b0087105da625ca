"""Opening a journal on SQLite: one process at a time, nothing damaged, nothing that a failed sync left in doubt; then what it holds.

Beside the database stand ``journal.lock`` (its holder, and whether the log holds anything), ``journal.sync-failed`` (the
last process ended after a failed sync) and, for a moment, ``journal.copied.db``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import sqlite3
from pathlib import Path
from typing import cast

import msgspec
import structlog

from proxy.errors import JournalError
from proxy.journal.damage import find_damage
from proxy.journal.entry import Entry, EntryState
from proxy.journal.formats import FORMAT, upgrade
from proxy.journal.fresh import Fresh
from proxy.journal.store import DeadLetter, GapMark, JournalMeta, Override, Pause, Recovered, Returning

log = structlog.get_logger("journal")

CACHE_BYTES = 32 << 20
"""Holds all that ``fresh`` may hold, and a move of it: nothing is read back, and a transaction is written in one piece."""

LOG_AT = 16
LOG_THERE, LOG_EMPTY = b"log\n", b"---\n"
"""In the lock's file, behind the holder's process id."""


def lock(folder: Path) -> tuple[int, bool]:
    """One process a journal. The lock is the kernel's: it ends with the process, however that ends.

    Also whether the last holder ended with something in its log. What the file says of that stays until the start has looked.
    """
    path = folder / "journal.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(fd, LOG_AT).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise JournalError(
                f"cannot lock {path}: {error}", "use --state with a folder on a local disk"
            ) from error
        raise JournalError(
            f"the journal in {folder} is in use by process {holder}",
            "stop that proxy, or give this one another --state folder",
        ) from None
    had_log = os.pread(fd, len(LOG_THERE), LOG_AT) == LOG_THERE
    os.pwrite(fd, f"{os.getpid()}".ljust(LOG_AT - 1).encode() + b"\n", 0)
    return fd, had_log


def say_log(lock_fd: int, *, is_there: bool) -> None:
    """Note beside the lock whether the log holds anything, so that a start finds out when it is gone. On disk before the log is cut."""
    os.pwrite(lock_fd, LOG_THERE if is_there else LOG_EMPTY, LOG_AT)
    if not is_there:
        os.fsync(lock_fd)


def _failed_sync_marker(path: Path) -> Path:
    return path.with_name("journal.sync-failed")


def mark_failed_sync(path: Path) -> None:
    with contextlib.suppress(OSError):
        _failed_sync_marker(path).touch(mode=0o600)


def copy_after_failed_sync(path: Path, *, had_log: bool, lock_fd: int) -> bool:
    """After a failed sync the page cache may hold what the disk does not: read it all into a new, synced file, and go on with that.

    A crash anywhere in between loses nothing: the copy takes its final name only when it is whole and synced, and from then
    on it, not the old file, is the journal. Returns whether that was done: there is no log then.
    """
    marker, copied = _failed_sync_marker(path), path.with_name("journal.copied.db")
    if not copied.exists():
        if not marker.exists() or not path.exists():
            return False
        if damage := find_damage(path, had_log=had_log):
            raise _corrupt(path, damage)
        _copy(path, copied)
    say_log(lock_fd, is_there=False)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    _sync(path.parent)
    copied.replace(path)
    _sync(path.parent)
    marker.unlink(missing_ok=True)
    log.warning("journal_copied", path=str(path), why="an earlier sync failed")
    return True


def _copy(path: Path, to: Path) -> None:
    fresh = path.with_name("journal.fresh.db")
    fresh.unlink(missing_ok=True)
    source = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        source.execute("vacuum into ?", (str(fresh),))
    except sqlite3.DatabaseError as error:
        raise _corrupt(path, error) from error
    finally:
        source.close()
    fresh.chmod(0o600)
    _sync(fresh)
    fresh.replace(to)
    _sync(path.parent)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _corrupt(path: Path, error: object) -> JournalError:
    return JournalError(
        f"the journal {path} is damaged: {error}",
        "nothing was changed. Restore it from a copy, or move it away and start anew: then run `turnout validate`, "
        "since what it held is not known",
    )


def open_database(path: Path, *, had_log: bool) -> sqlite3.Connection:
    try:
        if damage := find_damage(path, had_log=had_log):
            raise _corrupt(path, damage)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
        db.execute("pragma busy_timeout=5000")
        db.execute("pragma journal_mode=wal")
        db.execute("pragma synchronous=full")
        # Debian's SQLite writes zeros over all that is deleted: each commit then puts twice its pages into the log. The file is the owner's alone.
        db.execute("pragma secure_delete=off")
        db.execute("pragma wal_autocheckpoint=0")
        db.execute(f"pragma cache_size=-{CACHE_BYTES >> 10}")
        version = int(db.execute("pragma user_version").fetchone()[0])
        if version > FORMAT:
            raise JournalError(
                f"the journal {path} has format {version}, this version reads up to {FORMAT}",
                "use the version that wrote it",
            )
        upgrade(db, version)
    except sqlite3.OperationalError as error:
        raise JournalError(
            f"the journal {path} cannot be opened: {error}", "look at the folder's rights and free space"
        ) from error
    except sqlite3.DatabaseError as error:
        raise _corrupt(path, error) from error
    return db


def recover(db: sqlite3.Connection, path: Path, fresh: Fresh) -> Recovered:
    """What a start finds. What is in ``fresh`` moves into ``entries`` first; where the disk has no room for that it is read
    as if it had, and stays: ``fresh`` knows of it."""
    try:
        totals = fresh.load(db)
        if totals is None:
            return _read(db)
        db.execute("begin immediate")
        fresh.move(db)
        db.execute("update meta set value=? where name='totals'", (json.dumps(totals),))
        found = _read(db)
    except (sqlite3.DatabaseError, ValueError) as error:
        raise _corrupt(path, error) from error
    try:
        db.execute("commit")
    except sqlite3.OperationalError as error:
        db.execute("rollback")
        log.warning("journal_not_moved", path=str(path), error=str(error), next="make room on its disk")
    else:
        fresh.moved()
    return found


def _read(db: sqlite3.Connection) -> Recovered:
    raw = dict(cast("list[tuple[str, str]]", db.execute("select name, value from meta").fetchall()))
    meta = JournalMeta(
        journal_id=raw["journal_id"],
        primary=raw["primary"],
        first_primary=raw["first_primary"],
        epoch=int(raw["epoch"]),
        burned=int(raw["burned"]),
        validated_wall_s=float(raw["validated"]),
        versioned=frozenset(json.loads(raw["versioned"])),
        totals=json.loads(raw["totals"]),
        since_wall_s=float(raw["since"]),
        paused=msgspec.json.decode(raw["paused"], type=Pause) if raw["paused"] else None,
        returning=msgspec.json.decode(raw["returning"], type=Returning) if raw["returning"] else None,
    )
    columns = "seq, method, target, headers, key, prefix, born, state, status, version, base, writes, marks"
    entries = [
        Entry(
            seq=row[0],
            method=row[1],
            target=row[2],
            headers=tuple((str(name), str(value)) for name, value in json.loads(row[3])),
            key=row[4],
            prefix=row[5],
            born_wall_s=row[6],
            state=EntryState(row[7]),
            status=row[8],
            version=row[9],
            base=row[10],
            writes=row[11],
            marks=tuple(json.loads(row[12])),
        )
        for row in db.execute(f"select {columns} from entries order by seq")  # noqa: S608 - a constant
    ]
    gaps = [GapMark(*row) for row in db.execute("select id, prefix, since, why from gaps order by id")]
    dead = [
        DeadLetter(*row)
        for row in db.execute(
            "select key, since, cause, detail, answer_status, answer_body from dead order by since"
        )
    ]
    overrides = [Override(*row) for row in db.execute("select path, value, file_value from overrides")]
    return Recovered(meta, int(raw["seq_ceiling"]) + 1, entries, gaps, dead, overrides)
