"""The journal on SQLite: WAL, synchronous=FULL, one writer thread that commits what has gathered.

Owns the file, its lock and its one writer. Group commit: the thread takes all that waits (and waits a little for those who come back:
proxy/journal/gathering.py), runs it in one transaction, syncs once, and wakes the event loop once for the whole batch. Nothing is ever committed on the
event loop: reads would stall behind the disk.

Checkpoints copy the WAL back into the database and sync twice. They run beside the writer, on a connection of their
own that takes no lock the writer needs; what little came meanwhile is copied by the writer, and then the WAL begins anew in
the same file. It is cut off, which gives its space back, when it has outgrown WAL_BYTES_MAX, or the disk is nearly full.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import mmap
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import structlog

from proxy.errors import JournalError, JournalFullError
from proxy.journal import fresh
from proxy.journal.ballast import Ballast
from proxy.journal.batch import Batch, Lazy, Told, call_all
from proxy.journal.damage import FRAME_HEADER_BYTES, database_pages, has_frames, log_frames
from proxy.journal.entry import Entry
from proxy.journal.gathering import Gathering, Item
from proxy.journal.opening import (
    copy_after_failed_sync,
    lock,
    mark_failed_sync,
    open_database,
    recover,
    say_log,
)
from proxy.journal.room import LOG_BYTES_MIN, PAGE_BYTES, Room, growth_bytes, must_fold
from proxy.journal.rows import (
    DELETE_ENTRIES,
    INSERT_INTENTS,
    UPDATE_OUTCOMES,
    execute_rows,
    intent_row,
    intent_values,
    outcome_row,
    outcome_values,
)
from proxy.journal.space import disk_bytes, file_bytes, free_bytes
from proxy.journal.works import attempt
from proxy.limits import JOURNAL_BATCH_MAX, JOURNAL_RESERVE_BYTES
from proxy.ports import Done

T = TypeVar("T")

log = structlog.get_logger("journal")

SEQ_BLOCK = 10_000
"""Seqs are reserved on disk in blocks, so that none is given twice although settled rows are deleted."""

LAZY_S_MAX = 0.05
LAZY_AGAIN_S = 1.0
WAL_BYTES_BESIDE = 16 << 20
WAL_BYTES_MAX = 64 << 20
FREE_IS_FAR = 64
"""With so many times the reserve free, once a second is often enough to look, and any commit has room: twice all bodies that are kept."""
PAGES_MAX = 1_073_741_823
"""SQLite's own limit."""
FULL_ERRORS = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)
CHECKPOINT_PAUSE_S = 0.2
"""Between two checkpoints: they share the disk with the writer."""

EXIT_FSYNC = 74
"""sysexits.h EX_IOERR."""

STEP_ENTRIES = 8
"""Settled entries that go in one transaction while the disk is nearly full."""

FRESH_BYTES_MAX = 16 << 20
FRESH_ENTRIES_MAX = 20_000
"""What may lie in ``fresh`` before the oldest of it moves; on a small disk less."""


class SqliteJournal:
    """A JournalStore. ``fatal`` is called (in the writer thread) when the disk can no longer be believed; it must not return to service."""

    def __init__(self, folder: Path, *, fatal: Callable[[str], None] | None = None) -> None:
        self._folder = folder
        self._path = folder / "journal.db"
        self._fatal = fatal or _end_process
        self._loop = asyncio.get_running_loop()
        self._queue = Gathering()
        self._submitted: list[Item] = []
        """What this step of the event loop asks for; the writer gets it in one piece, and is woken once."""
        self._lazy: Lazy | None = None
        """What may wait for somebody else's commit."""
        self._is_lazy_due = False
        self._left: Lazy | None = None
        """The writer's: what found no room, for its next commit."""
        self.fsync_observe: Callable[[float], None] = _ignore_duration
        folder.mkdir(parents=True, exist_ok=True)
        self._lock_fd, had_log = lock(folder)
        self._has_said_log = False
        try:
            if copy_after_failed_sync(self._path, had_log=had_log, lock_fd=self._lock_fd):
                had_log = False
            self._db = open_database(self._path, had_log=had_log)
            self._fresh = fresh.Fresh()
            self.recovered = recover(self._db, self._path, self._fresh)
        except BaseException:
            os.close(self._lock_fd)
            raise
        self._seq_ceiling = self.recovered.next_seq - 1
        self._totals = dict(self.recovered.meta.totals)
        whole_bytes = disk_bytes(folder)
        self._reserve_bytes = min(JOURNAL_RESERVE_BYTES, whole_bytes // 10)
        self._wal_bytes_beside = min(WAL_BYTES_BESIDE, whole_bytes // 16)
        self._fresh_bytes_max = min(FRESH_BYTES_MAX, whole_bytes // 64)
        self._ballast = Ballast(folder / "journal.ballast", self._reserve_bytes)
        self._free_checked_s = 0.0
        self._free_bytes = 0
        self._database_bytes = file_bytes(self._path)
        """As of the last fold. It never gets smaller."""
        self._pages_max = PAGES_MAX
        # Open until the database is closed: closing any descriptor of that file would release SQLite's locks on it. Mapped, for a read
        # of the file would give the interpreter's lock away after each commit.
        self._index_fd = os.open(self._path.with_name(self._path.name + "-shm"), os.O_RDONLY | os.O_CLOEXEC)
        self._index = mmap.mmap(self._index_fd, mmap.PAGESIZE, prot=mmap.PROT_READ)
        self._checkpoint_due = threading.Event()
        self._is_copied = False
        """The log has just been copied, but for what came meanwhile."""
        self._is_closing = False
        self._writer = threading.Thread(target=self._run, name="journal", daemon=True)
        self._writer.start()
        self._checkpointer = threading.Thread(
            target=self._checkpoint_beside, name="journal-checkpoint", daemon=True
        )
        self._checkpointer.start()

    # -- submitting: on the event loop -------------------------------------------------------------

    def intent(self, entry: Entry, done: Done) -> None:
        self._submit(("intent", intent_row(entry), done))

    def outcome(self, entry: Entry, done: Done) -> None:
        self._submit(("outcome", outcome_row(entry), done))

    def ended(
        self, seqs: Sequence[int], totals: dict[str, int] | None = None, done: Done | None = None
    ) -> None:
        lazy = self._lazy
        if lazy is None:
            lazy = self._lazy = Lazy()
            if not self._is_lazy_due:
                self._is_lazy_due = True
                self._loop.call_later(LAZY_S_MAX, self._lazy_is_due)
        lazy.add(seqs, totals, done)

    def _lazy_is_due(self) -> None:
        self._is_lazy_due = False
        if self._lazy is not None:
            self._hand_over()

    def _submit(self, item: Item) -> None:
        self._submitted.append(item)
        if len(self._submitted) == 1:
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        items, self._submitted = self._submitted, []
        if self._lazy is not None:
            items.append(("lazy", self._lazy, None))
            self._lazy = None
        if items and self._queue.put(items):
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        """Whether this step of the event loop has brought anything."""
        if not self._submitted:
            self._queue.quiet()

    def _release(self, callbacks: list[Told]) -> None:
        call_all(callbacks)
        self._loop.call_soon(self._look)

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
        return sum(file_bytes(path) for path in (self._path, self._wal))

    def room(self) -> tuple[int, int, int]:
        """Bytes free on its disk, those below which no new intent is taken, and all that the disk has."""
        reserve = self._reserve_bytes + self._ballast.missing_bytes
        return free_bytes(self._folder), reserve, disk_bytes(self._folder)

    async def close(self) -> None:
        self._hand_over()
        self._queue.put(None)
        await asyncio.to_thread(self._writer.join)
        self._is_closing = True
        self._checkpoint_due.set()
        await asyncio.to_thread(self._checkpointer.join)
        self._say_log(is_there=False)
        self._db.close()
        if self._is_far():
            self._ballast.throw()  # only a disk that is filling up must keep it for the next start
        self._index.close()
        os.close(self._index_fd)
        os.close(self._lock_fd)

    @property
    def _wal(self) -> Path:
        return self._path.with_name(self._path.name + "-wal")

    # -- the writer thread -------------------------------------------------------------------------

    def _run(self) -> None:
        self._is_tight()  # which lays in the ballast
        is_open = True
        while is_open:
            batch = Batch()
            for items in self._queue.take(JOURNAL_BATCH_MAX):
                if items is None:
                    is_open = False
                else:
                    batch.take(items)
            waiting, began_s = batch.waiting, time.perf_counter()
            try:
                self._commit(batch)
            except Exception as error:  # noqa: BLE001 - a writer that dies silently would hang every client
                self._fatal(f"the journal's writer failed: {error!r}")
                return
            if batch.callbacks:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    self._queue.released(waiting, time.perf_counter() - began_s)
                    self._loop.call_soon_threadsafe(self._release, batch.callbacks)
            self._maybe_checkpoint()
        if not self._fresh.is_empty:
            self._try(Batch())

    def _commit(self, batch: Batch) -> None:
        if self._left is not None:
            left, self._left = self._left, None
            batch.add(left)
        is_tight = self._is_tight()
        if is_tight or self._outgrows_ballast():
            self._make_room()
        if is_tight:
            if not self._fresh.is_empty and self._try(Batch()) is not None:
                self._try_in_ballast(Batch(), is_lean=True)
            if batch.intents and self._is_low():
                full = JournalFullError(
                    "the journal's disk is nearly full: no new writes", f"free space below {self._folder}"
                )
                batch.refuse_intents(full)
            self._settle_in_steps(batch)
        error = self._try(batch, may_append=True)
        if error is not None and self._make_room():
            error = self._try(batch)
        if error is not None:
            log.error("journal_write_failed", error=str(error), path=str(self._path))
            self._commit_apart(batch, error)

    def _commit_apart(self, batch: Batch, error: sqlite3.Error) -> None:
        """A batch that failed whole goes again without its intents, each kind by itself: what frees space first."""
        failed = _translate(error, self._folder)
        batch.refuse_intents(failed)
        self._make_room()
        self._settle_in_steps(batch)
        outcomes = Batch()
        outcomes.outcomes, outcomes.outcome_dones = batch.outcomes, batch.outcome_dones
        again = self._try(outcomes)
        if again is not None:
            # Without their bodies they take next to nothing; a repair settles them as well.
            again = self._try(outcomes, is_lean=True)
        if again is not None:
            again = self._try_in_ballast(outcomes, is_lean=True)
        if again is not None:
            failed = _translate(again, self._folder)
            outcomes.refuse_outcomes(failed)
        batch.callbacks += outcomes.callbacks
        for work, finish in batch.works:
            one = Batch()
            one.works = [(work, finish)]
            again = self._try(one)
            if again is not None and not self._read(one):
                one.callbacks.append((_bind(finish, None, _translate(again, self._folder)), None))
            batch.callbacks += one.callbacks

    def _read(self, one: Batch) -> bool:
        """Whether its work only reads: that needs no room. It sees what is fresh as if it had moved, and that is taken back."""
        (work, finish), db = one.works[0], self._db
        try:
            self._set_pages_max(PAGES_MAX)  # none of it stays
            db.execute("begin immediate")
            self._fresh.move(db)
            before = db.total_changes
            result, error = attempt(db, work)
            has_changed = db.total_changes != before
        except sqlite3.Error:
            return False
        finally:
            self._rollback()
        if not has_changed:
            one.callbacks.append((_bind(finish, result, error), None))
        return not has_changed

    def _settle_in_steps(self, batch: Batch) -> None:
        """Takes what has ended out of the batch, a few entries at a time: each step needs little room, and gives some back."""
        lazy, step = Batch(), Batch()
        lazy.seqs, lazy.totals, lazy.dones = batch.seqs, batch.totals, batch.dones
        batch.seqs, batch.totals, batch.dones = [], {}, []
        step.totals, lazy.totals = lazy.totals, {}
        entries = STEP_ENTRIES
        while True:
            step.seqs, lazy.seqs = lazy.seqs[:entries], lazy.seqs[entries:]
            if self._try(step) is not None:
                lazy.seqs[:0] = step.seqs[1:]
                step.seqs, entries = step.seqs[:1], 1
                if self._try_in_ballast(step) is not None:
                    lazy.seqs[:0], lazy.totals = step.seqs, step.totals
                    self._put_back(lazy)
                    return
            if not lazy.seqs:
                batch.callbacks.extend((done, None) for done in lazy.dones)
                return
            step = Batch()
            self._make_room()

    def _put_back(self, lazy: Batch) -> None:
        """For a later commit; one comes also where nobody writes."""
        left = self._left = Lazy()
        left.seqs, left.totals, left.dones = lazy.seqs, lazy.totals, lazy.dones
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._look_again)

    def _look_again(self) -> None:
        self._loop.call_later(LAZY_AGAIN_S, self._submit, ("lazy", None, None))

    def _try(self, batch: Batch, *, is_lean: bool = False, may_append: bool = False) -> sqlite3.Error | None:
        """Why it could not be written, or None. A failed sync ends the process."""
        try:
            is_roomy = self._limit_growth(batch, is_lean=is_lean)
            if may_append and is_roomy and not batch.works:
                self._append(batch)
            else:
                self._write(batch, is_lean=is_lean)
        except sqlite3.Error as error:
            self._rollback()
            self._demand_sync(error)
            return error
        return None

    def _try_in_ballast(self, batch: Batch, *, is_lean: bool = False) -> sqlite3.Error | None:
        """The last resort, for what makes room: with the ballast given back. The database does not grow meanwhile."""
        self._fold()
        self._ballast.throw()
        try:
            return self._try(batch, is_lean=is_lean)
        finally:
            self._fold()

    def _demand_sync(self, error: sqlite3.Error) -> None:
        """A failed sync ends the process."""
        if _is_sync_failure(error):
            mark_failed_sync(self._path)
            self._fatal(f"the journal could not be synced ({error}): the disk can no longer be believed")
            raise error

    def _append(self, batch: Batch) -> None:
        """The short way: one row, which is a transaction by itself, synced; then the callbacks are due."""
        if not batch.has_rows:
            batch.committed()
            return
        known, totals = self._fresh, batch.totals
        upto = known.oldest(self._fresh_bytes_max, FRESH_ENTRIES_MAX)
        if upto is not None:
            self._db.execute("begin immediate")
            known.move(self._db, upto)
            self._db.execute("commit")
            known.moved(upto)
        intents, outcomes = batch.intents, batch.outcomes
        row = known.next_row(fresh.encode(intents, outcomes, batch.seqs, self._with(totals)))
        began = time.perf_counter()
        if intents and intents[-1][0] > self._seq_ceiling:
            self._db.execute("begin immediate")
            self._reserve_seqs(intents[-1][0])
            self._db.execute(fresh.INSERT, row)
            self._db.execute("commit")
        else:
            self._db.execute(fresh.INSERT, row)
        self._written(batch, began)
        known.added(row, intents, outcomes, batch.seqs)

    def _write(self, batch: Batch, *, is_lean: bool) -> None:
        """Into ``entries``, all that is fresh before it, in one synced transaction; then the callbacks are due.

        ``is_lean``: outcomes without their bodies.
        """
        db, seqs, totals, known = self._db, batch.seqs, batch.totals, self._fresh
        has_fresh = not known.is_empty
        if not (batch.has_rows or batch.works or has_fresh):
            batch.committed()
            return
        results: list[Told] = []
        began, changed = time.perf_counter(), db.total_changes
        db.execute("begin immediate")
        if has_fresh:
            known.move(db, is_lean=is_lean)
        if batch.intents:
            top = batch.intents[-1][0]
            if top > self._seq_ceiling:
                self._reserve_seqs(top)
            execute_rows(db, INSERT_INTENTS, [intent_values(row) for row in batch.intents])
        if batch.outcomes:
            # Of several outcomes of one entry (a mark that has grown) only the last one: one statement takes them in no order.
            last = {row[0]: row for row in batch.outcomes}
            execute_rows(db, UPDATE_OUTCOMES, [outcome_values(row, is_lean=is_lean) for row in last.values()])
        for work, finish in batch.works:
            results.append((_bind(finish, *attempt(db, work)), None))
        if seqs:
            execute_rows(db, DELETE_ENTRIES, [(seq,) for seq in seqs])
        if totals or has_fresh:
            db.execute("update meta set value=? where name='totals'", (json.dumps(self._with(totals)),))
        db.execute("commit")
        known.moved()
        self._written(batch, began, results, is_synced=db.total_changes != changed)

    def _reserve_seqs(self, top: int) -> None:
        self._db.execute("update meta set value=? where name='seq_ceiling'", (str(top + SEQ_BLOCK),))

    def _with(self, totals: dict[str, int]) -> dict[str, int]:
        """All totals, once these are added."""
        known = self._totals
        return {name: known.get(name, 0) + totals.get(name, 0) for name in {**known, **totals}}

    def _written(
        self,
        batch: Batch,
        began: float,
        results: list[Told] | None = None,
        *,
        is_synced: bool = True,
    ) -> None:
        """It is on disk: note that, and let it be told."""
        if is_synced:  # one that only read syncs nothing
            self.fsync_observe(time.perf_counter() - began)
        if not self._has_said_log and has_frames(self._wal):  # a transaction that only read leaves no log
            self._say_log(is_there=True)
        if batch.intents and batch.intents[-1][0] > self._seq_ceiling:
            self._seq_ceiling = batch.intents[-1][0] + SEQ_BLOCK
        for name, count in batch.totals.items():
            self._totals[name] = self._totals.get(name, 0) + count
        batch.committed(results)

    def _rollback(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._db.in_transaction:
                self._db.execute("rollback")

    def _is_tight(self) -> bool:
        """Whether free space is below the reserve that outcomes and settling may still use. Near it, looked at each time."""
        now = time.monotonic()
        if now - self._free_checked_s > 1.0 or not self._is_far():
            self._free_checked_s = now
            self._free_bytes = free_bytes(self._folder)
            missing = self._ballast.missing_bytes
            if missing and self._free_bytes >= self._reserve_bytes + missing:
                self._ballast.lay_in()
                self._free_bytes = free_bytes(self._folder)
        return self._free_bytes < self._reserve_bytes + self._ballast.missing_bytes

    def _is_far(self) -> bool:
        return self._free_bytes >= FREE_IS_FAR * self._reserve_bytes

    def _is_low(self) -> bool:
        """Whether a new intent is refused: it may use pages that are free inside the database, if the log has room."""
        if not self._is_tight():
            return False
        inside = self._db.execute("pragma freelist_count").fetchone()[0] * PAGE_BYTES
        wanted = self._reserve_bytes + self._ballast.missing_bytes
        return self._free_bytes < self._reserve_bytes // 4 or self._free_bytes + inside < wanted

    def _growth_bytes(self) -> int:
        return growth_bytes(database_pages(self._index), self._database_bytes)

    def _outgrows_ballast(self) -> bool:
        return not self._is_far() and must_fold(self._growth_bytes(), self._reserve_bytes)

    def _limit_growth(self, batch: Batch, *, is_lean: bool) -> bool:
        """Tells SQLite how far it may grow (room.py); whether it may do so freely."""
        if self._is_far():
            self._set_pages_max(PAGES_MAX)
            return True
        room = Room(
            free_bytes(self._folder),
            self._reserve_bytes,
            self._ballast.bytes,
            self._database_bytes,
            database_pages(self._index),
            file_bytes(self._wal),
        )
        is_roomy = room.is_roomy(batch.body_bytes + self._fresh.bytes)
        self._set_pages_max(PAGES_MAX if is_roomy else room.pages_max(is_lean=is_lean))
        return is_roomy

    def _set_pages_max(self, pages: int) -> None:
        """Where the database has more already, SQLite takes that."""
        if pages != self._pages_max:
            self._db.execute(f"pragma max_page_count={pages}").fetchall()
            self._pages_max = pages

    def _make_room(self) -> bool:
        """Give back what the log holds twice; whether it held much, and all of it is in the database now."""
        return file_bytes(self._wal) > LOG_BYTES_MIN and self._fold()

    def _fold(self) -> bool:
        """Fold the log into the database, with the ballast given back if it must be (room.py); whether all of it is there now."""
        is_cut = self._cut_log() or (self._ballast.throw() and self._cut_log())
        self._ballast.lay_in()
        return is_cut

    def _cut_log(self) -> bool:
        """Whether all of it is in the database now."""
        self._say_log(is_there=False)
        try:
            is_busy = self._db.execute("pragma wal_checkpoint(truncate)").fetchone()[0]
        except sqlite3.Error as error:
            self._demand_sync(error)  # a full disk: the log stays, and the next try may work
            return False
        finally:
            self._database_bytes = file_bytes(self._path)
        return not is_busy

    def _maybe_checkpoint(self) -> None:
        if self._is_copied:
            # Little is left. With that copied too the next commit begins the log anew, over the blocks that the file has already: to
            # sync those costs less than half of what it costs to make a file longer.
            self._is_copied = False
            self._checkpoint()
            return
        used = log_frames(self._index) * (FRAME_HEADER_BYTES + PAGE_BYTES)
        if used > WAL_BYTES_MAX:
            self._cut_log()
        elif (
            used > self._wal_bytes_beside or must_fold(self._growth_bytes(), self._reserve_bytes)
        ) and not self._checkpoint_due.is_set():
            self._checkpoint_due.set()

    def _checkpoint(self) -> None:
        try:
            self._db.execute("pragma wal_checkpoint(passive)").fetchall()
        except sqlite3.Error as error:
            self._demand_sync(error)
        self._database_bytes = file_bytes(self._path)

    def _say_log(self, *, is_there: bool) -> None:
        self._has_said_log = is_there
        say_log(self._lock_fd, is_there=is_there)

    # -- the checkpoint thread ---------------------------------------------------------------------

    def _checkpoint_beside(self) -> None:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        db.execute("pragma synchronous=full")
        try:
            while True:
                self._checkpoint_due.wait()
                if self._is_closing:
                    return
                try:
                    db.execute("pragma wal_checkpoint(passive)").fetchall()
                except sqlite3.Error as error:
                    with contextlib.suppress(sqlite3.Error):
                        self._demand_sync(error)
                self._is_copied = True
                time.sleep(CHECKPOINT_PAUSE_S)
                self._checkpoint_due.clear()
                if self._is_closing:  # said during the pause, and just cleared
                    return
        finally:
            db.close()


# -- helpers ---------------------------------------------------------------------------------------


def _bind(finish: Callable[[Any, Exception | None], None], result: Any, error: Exception | None) -> Done:
    return lambda _: finish(result, error)


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
