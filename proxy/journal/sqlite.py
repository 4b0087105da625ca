"""The journal on SQLite: WAL, synchronous=FULL, one writer thread that commits whatever is queued.

Owns the file, its lock and its one writer. Group commit: the thread takes all that waits, runs it in one
transaction, syncs once, and wakes the event loop once for the whole batch. Nothing is ever committed on the
event loop: reads would stall behind the disk.

Checkpoints copy the WAL back into the database and sync twice. They run beside the writer, on a connection of their
own that takes no lock the writer needs; inside the writer only when the WAL has outgrown WAL_BYTES_MAX under
unbroken load.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import queue
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import structlog

from proxy.errors import JournalError, JournalFullError, TurnoutError
from proxy.journal.entry import Entry, EntryState
from proxy.journal.formats import FORMAT, upgrade
from proxy.journal.rows import (
    DELETE_ENTRIES,
    INSERT_INTENTS,
    UPDATE_OUTCOMES,
    execute_rows,
    intent_row,
    outcome_row,
)
from proxy.journal.store import DeadLetter, GapMark, JournalMeta, Override, Pause, Recovered, Returning
from proxy.limits import JOURNAL_BATCH_MAX, JOURNAL_RESERVE_BYTES
from proxy.ports import Done

T = TypeVar("T")

log = structlog.get_logger("journal")

SEQ_BLOCK = 10_000
"""Seqs are reserved on disk in blocks, so that none is given twice although settled rows are deleted."""

LAZY_S_MAX = 0.05
WAL_BYTES_BESIDE = 4 << 20
WAL_BYTES_MAX = 64 << 20
FULL_ERRORS = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)
CHECKPOINT_PAUSE_S = 0.2
"""Between two checkpoints: they share the disk with the writer."""

EXIT_FSYNC = 74
"""sysexits.h EX_IOERR."""


class _Batch:
    """What the writer commits together, by kind; the kinds of one entry always run in this order."""

    __slots__ = ("callbacks", "intents", "outcomes", "works")

    def __init__(self) -> None:
        self.intents: list[tuple[Entry, Done]] = []
        self.outcomes: list[tuple[Entry, Done]] = []
        self.works: list[
            tuple[Callable[[sqlite3.Connection], Any], Callable[[Any, Exception | None], None]]
        ] = []
        self.callbacks: list[tuple[Done, TurnoutError | None]] = []


class SqliteJournal:
    """A JournalStore. ``fatal`` is called (in the writer thread) when the disk can no longer be believed; it must not return to service."""

    def __init__(self, folder: Path, *, fatal: Callable[[str], None] | None = None) -> None:
        self._folder = folder
        self._path = folder / "journal.db"
        self._fatal = fatal or _end_process
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[list[tuple[str, Any, Any]] | None] = queue.SimpleQueue()
        self._submitted: list[tuple[str, Any, Any]] = []
        """What this step of the event loop asks for; the writer gets it in one piece, and is woken once."""
        self._lazy_seqs: list[int] = []
        self._lazy_totals: dict[str, int] = {}
        self._lazy_done: list[Done] = []
        self._lazy_lock = threading.Lock()
        self.fsync_observe: Callable[[float], None] = _ignore_duration
        folder.mkdir(parents=True, exist_ok=True)
        self._lock_fd = _lock(folder)
        try:
            _copy_after_failed_sync(self._path)
            self._db = _open(self._path)
            self.recovered = _recover(self._db)
        except BaseException:
            os.close(self._lock_fd)
            raise
        self._seq_ceiling = self.recovered.next_seq - 1
        self._totals = dict(self.recovered.meta.totals)
        self._reserve_bytes = min(JOURNAL_RESERVE_BYTES, _disk_bytes(folder) // 10)
        self._free_checked_s = 0.0
        self._is_full = False
        self._checkpoint_due = threading.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()
        self._checkpointer = threading.Thread(
            target=self._checkpoint_beside, name="journal-checkpoint", daemon=True
        )
        self._checkpointer.start()

    # -- submitting: on the event loop -------------------------------------------------------------

    def intent(self, entry: Entry, done: Done) -> None:
        self._submit(("intent", entry, done))

    def outcome(self, entry: Entry, done: Done) -> None:
        self._submit(("outcome", entry, done))

    def ended(
        self, seqs: Sequence[int], totals: dict[str, int] | None = None, done: Done | None = None
    ) -> None:
        with self._lazy_lock:
            was_empty = not self._lazy_seqs and not self._lazy_totals
            self._lazy_seqs.extend(seqs)
            for name, count in (totals or {}).items():
                self._lazy_totals[name] = self._lazy_totals.get(name, 0) + count
            if done is not None:
                self._lazy_done.append(done)
        if was_empty:
            self._loop.call_later(LAZY_S_MAX, self._submit, ("lazy", None, None))

    def _submit(self, item: tuple[str, Any, Any]) -> None:
        self._submitted.append(item)
        if len(self._submitted) == 1:
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        items, self._submitted = self._submitted, []
        if items:
            self._queue.put(items)

    async def bodies(self, seq: int) -> tuple[bytes | None, bytes | None]:
        def read(db: sqlite3.Connection) -> tuple[bytes | None, bytes | None]:
            row = db.execute("select request_body, answer_body from entries where seq=?", (seq,)).fetchone()
            return (row[0], row[1]) if row else (None, None)

        return await self.transact(read)

    async def transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        future: asyncio.Future[T] = self._loop.create_future()

        def finish(result: T, error: Exception | None) -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        self._submit(("work", work, finish))
        return await future

    def size_bytes(self) -> int:
        return sum(_size(path) for path in (self._path, self._wal))

    async def close(self) -> None:
        self._hand_over()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._is_closing = True
        self._checkpoint_due.set()
        await asyncio.to_thread(self._checkpointer.join)
        self._db.close()
        os.close(self._lock_fd)

    @property
    def _wal(self) -> Path:
        return self._path.with_name(self._path.name + "-wal")

    # -- the writer thread -------------------------------------------------------------------------

    def _run(self) -> None:
        get, get_nowait = self._queue.get, self._queue.get_nowait
        is_open = True
        while is_open:
            items = get()
            batch = _Batch()
            taken = 0
            while True:
                if items is None:
                    is_open = False
                else:
                    for item in items:
                        _sort(item, batch)
                    taken += len(items)
                if taken >= JOURNAL_BATCH_MAX or not is_open:
                    break
                try:
                    items = get_nowait()
                except queue.Empty:
                    break
            try:
                self._commit(batch)
            except Exception as error:  # noqa: BLE001 - a writer that dies silently would hang every client
                self._fatal(f"the journal's writer failed: {error!r}")
                return
            if batch.callbacks:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    self._loop.call_soon_threadsafe(_call_all, batch.callbacks)
            self._maybe_checkpoint()

    def _commit(self, batch: _Batch) -> None:
        with self._lazy_lock:
            seqs, self._lazy_seqs = self._lazy_seqs, []
            totals, self._lazy_totals = self._lazy_totals, {}
            dones, self._lazy_done = self._lazy_done, []
        if batch.intents and self._is_low():
            full = JournalFullError(
                "the journal's disk is nearly full: no new writes", f"free space below {self._folder}"
            )
            batch.callbacks.extend((done, full) for _, done in batch.intents)
            batch.intents = []
        try:
            self._write(batch, seqs, totals)
            batch.callbacks.extend((done, None) for done in dones)
        except sqlite3.Error as error:
            self._rollback()
            if _is_sync_failure(error):
                _mark_failed_sync(self._path)
                self._fatal(f"the journal could not be synced ({error}): the disk can no longer be believed")
                raise
            with self._lazy_lock:
                self._lazy_seqs[:0] = seqs
                self._lazy_done[:0] = dones
                for name, count in totals.items():
                    self._lazy_totals[name] = self._lazy_totals.get(name, 0) + count
            self._commit_apart(batch, error)

    def _commit_apart(self, batch: _Batch, error: sqlite3.Error) -> None:
        """A batch that failed whole goes again without its intents: outcomes may use the space that is left."""
        log.error("journal_write_failed", error=str(error), path=str(self._path))
        failed = _translate(error, self._folder)
        batch.callbacks = [(done, failed) for _, done in batch.intents]
        rest = _Batch()
        rest.outcomes, rest.works = batch.outcomes, batch.works
        try:
            if rest.outcomes or rest.works:
                self._write(rest, [], {})
                batch.callbacks.extend(rest.callbacks)
        except sqlite3.Error as again:
            self._rollback()
            batch.callbacks.extend((done, _translate(again, self._folder)) for _, done in rest.outcomes)
            batch.callbacks.extend(
                (_bind(finish, None, _translate(again, self._folder)), None) for _, finish in rest.works
            )

    def _write(self, batch: _Batch, seqs: list[int], totals: dict[str, int]) -> None:
        db = self._db
        if not (batch.intents or batch.outcomes or batch.works or seqs or totals):
            return
        results: list[tuple[Done, TurnoutError | None]] = []
        began = time.perf_counter()
        db.execute("begin immediate")
        if batch.intents:
            top = batch.intents[-1][0].seq
            if top > self._seq_ceiling:
                ceiling = top + SEQ_BLOCK
                db.execute("update meta set value=? where name='seq_ceiling'", (str(ceiling),))
            execute_rows(db, INSERT_INTENTS, [intent_row(entry) for entry, _ in batch.intents])
        if batch.outcomes:
            # Of several outcomes of one entry (a mark that has grown) only the last one: one statement takes them in no order.
            last = {entry.seq: entry for entry, _ in batch.outcomes}
            execute_rows(db, UPDATE_OUTCOMES, [outcome_row(entry) for entry in last.values()])
        for work, finish in batch.works:
            results.append((_bind(finish, *_attempt(db, work)), None))
        if seqs:
            execute_rows(db, DELETE_ENTRIES, [(seq,) for seq in seqs])
        if totals:
            merged = {
                name: self._totals.get(name, 0) + totals.get(name, 0) for name in {*self._totals, *totals}
            }
            db.execute("update meta set value=? where name='totals'", (json.dumps(merged),))
        db.execute("commit")
        self.fsync_observe(time.perf_counter() - began)
        if batch.intents and batch.intents[-1][0].seq > self._seq_ceiling:
            self._seq_ceiling = batch.intents[-1][0].seq + SEQ_BLOCK
        for name, count in totals.items():
            self._totals[name] = self._totals.get(name, 0) + count
        batch.callbacks.extend((done, None) for _, done in batch.intents)
        batch.callbacks.extend((done, None) for _, done in batch.outcomes)
        batch.callbacks.extend(results)

    def _rollback(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._db.in_transaction:
                self._db.execute("rollback")

    def _is_low(self) -> bool:
        """Whether free space is below the reserve that outcomes and settling may still use; looked at once a second."""
        now = time.monotonic()
        if now - self._free_checked_s > 1.0:
            self._free_checked_s = now
            stat = os.statvfs(self._folder)
            self._is_full = stat.f_bavail * stat.f_frsize < self._reserve_bytes
        return self._is_full

    def _maybe_checkpoint(self) -> None:
        size = _size(self._wal)
        if size > WAL_BYTES_MAX:
            with contextlib.suppress(sqlite3.Error):  # a full disk: the WAL stays, and the next try may work
                self._db.execute("pragma wal_checkpoint(truncate)").fetchall()
        elif size > WAL_BYTES_BESIDE:
            self._checkpoint_due.set()

    # -- the checkpoint thread ---------------------------------------------------------------------

    def _checkpoint_beside(self) -> None:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        db.execute("pragma synchronous=full")
        try:
            while True:
                self._checkpoint_due.wait()
                if self._is_closing:
                    return
                self._checkpoint_due.clear()
                try:
                    db.execute("pragma wal_checkpoint(passive)").fetchall()
                except sqlite3.Error as error:
                    if _is_sync_failure(error):
                        _mark_failed_sync(self._path)
                        self._fatal(
                            f"the journal could not be synced ({error}): the disk can no longer be believed"
                        )
                time.sleep(CHECKPOINT_PAUSE_S)
        finally:
            db.close()


# -- helpers ---------------------------------------------------------------------------------------


def _sort(item: tuple[str, Any, Any], batch: _Batch) -> None:
    kind, what, done = item
    if kind == "intent":
        batch.intents.append((what, done))
    elif kind == "outcome":
        batch.outcomes.append((what, done))
    elif kind == "work":
        batch.works.append((what, done))


def _attempt(
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


def _bind(finish: Callable[[Any, Exception | None], None], result: Any, error: Exception | None) -> Done:
    return lambda _: finish(result, error)


def _call_all(callbacks: list[tuple[Done, TurnoutError | None]]) -> None:
    for done, error in callbacks:
        try:
            done(error)
        except Exception:
            log.exception("journal_callback_failed")


def _translate(error: sqlite3.Error, folder: Path) -> JournalError:
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF == sqlite3.SQLITE_FULL or code in FULL_ERRORS:
        return JournalFullError("the journal's disk is full: no new writes", f"free space below {folder}")
    return JournalError(f"the journal cannot be written: {error}", f"look at {folder} and the system's log")


def _is_sync_failure(error: sqlite3.Error) -> bool:
    codes = (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC)
    return getattr(error, "sqlite_errorcode", 0) in codes


def _end_process(why: str) -> None:
    log.critical(
        "journal_failed", why=why, next="restart the proxy; it copies the journal to a new file first"
    )
    os._exit(EXIT_FSYNC)


def _ignore_duration(_: float) -> None:
    """Stands in until the metrics are bound."""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _disk_bytes(folder: Path) -> int:
    stat = os.statvfs(folder)
    return stat.f_blocks * stat.f_frsize


def _lock(folder: Path) -> int:
    """One process a journal. The lock is the kernel's: it ends with the process, however that ends."""
    path = folder / "journal.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(fd, 32).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise JournalError(
                f"cannot lock {path}: {error}", "use --state with a folder on a local disk"
            ) from error
        raise JournalError(
            f"the journal in {folder} is in use by process {holder}",
            "stop that proxy, or give this one another --state folder",
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _failed_sync_marker(path: Path) -> Path:
    return path.with_name("journal.sync-failed")


def _mark_failed_sync(path: Path) -> None:
    with contextlib.suppress(OSError):
        _failed_sync_marker(path).touch(mode=0o600)


def _copy_after_failed_sync(path: Path) -> None:
    """After a failed sync the page cache may hold what the disk does not: read it all into a new, synced file, and go on with that."""
    marker = _failed_sync_marker(path)
    if not marker.exists() or not path.exists():
        return
    fresh = path.with_name("journal.fresh.db")
    fresh.unlink(missing_ok=True)
    source = sqlite3.connect(path)
    try:
        source.execute("vacuum into ?", (str(fresh),))
    except sqlite3.DatabaseError as error:
        raise _corrupt(path, error) from error
    finally:
        source.close()
    fresh.chmod(0o600)
    _sync(fresh)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    shutil.move(fresh, path)
    _sync(path.parent)
    marker.unlink()
    log.warning("journal_copied", path=str(path), why="an earlier sync failed")


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


def _open(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    try:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
        db.execute("pragma busy_timeout=5000")
        db.execute("pragma journal_mode=wal")
        db.execute("pragma synchronous=full")
        db.execute("pragma wal_autocheckpoint=0")
        faults = [row[0] for row in db.execute("pragma quick_check(3)")]
        if faults != ["ok"]:
            raise _corrupt(path, "; ".join(faults))
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


def _recover(db: sqlite3.Connection) -> Recovered:
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
