"""The disks: what is synced outlives a kill, what only waits does not, and of what was being written either may be true.

The proxy's journal is the production SqliteJournal without its thread: the same submitting, batching, SQL and recovery over a
database in memory, whose commits happen when the simulated disk says so. An upstream's journal is frames of bytes,
written and read by the production code of the JSON store's journal; a kill may tear the last one.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from backends.json_entries import Entry as StoreEntry
from backends.json_entries import unpack
from backends.json_frames import frame, frames
from backends.json_journal import Commit
from backends.store import StorageFullError
from proxy.journal import fresh
from proxy.journal.batch import Batch, call_all
from proxy.journal.opening import open_database, recover
from proxy.journal.sqlite import SqliteJournal
from tests.simulation.loop import Process

BATCH_MAX = 64
FRESH_BYTES_MAX = 4096
"""So little that a run sees both ways of the writer, many times."""


class JournalDisk:
    """What outlives the proxy: its journal's database."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(
            ":memory:", isolation_level=None, cached_statements=64, check_same_thread=False
        )
        _new_journal().backup(self.db)
        self.is_full = False


@cache
def _new_journal() -> sqlite3.Connection:
    """A new journal as production makes it, but for its random id and the time."""
    with tempfile.TemporaryDirectory() as folder:
        made = open_database(Path(folder) / "journal.db", had_log=False)
        db = sqlite3.connect(":memory:", check_same_thread=False)
        made.backup(db)
        made.close()
    db.execute("update meta set value='journal' where name='journal_id'")
    db.execute("update meta set value='0' where name='since'")
    db.commit()
    return db


class SimulatedJournal(SqliteJournal):
    """A JournalStore over a JournalDisk, for one life of the proxy."""

    def __init__(
        self,
        process: Process,
        disk: JournalDisk,
        dice: random.Random,
        *,
        sync_s: float,
        fails: Callable[[], bool] = lambda: False,
    ) -> None:
        self._process = process
        self._disk = disk
        self._dice = dice
        self._sync_s = sync_s
        self._fails = fails
        self._waiting: list[Any] = []
        self._under_sync: Any = None
        process.last_words.append(self._die)
        # what SqliteJournal has of its own
        self._folder = Path("/simulated")
        self._path = self._folder / "journal.db"
        self._fatal = lambda _: process.kill()
        self._loop = asyncio.get_running_loop()
        self._queue = self  # type: ignore[assignment]
        self._submitted = []
        self._lazy = None
        self._is_lazy_due = False
        self._left = None
        self._has_said_log = True
        self.fsync_observe = lambda _: None
        self._db = disk.db
        self._fresh = fresh.Fresh()
        self._fresh_bytes_max = FRESH_BYTES_MAX
        self.recovered = recover(self._db, self._path, self._fresh)
        self._seq_ceiling = self.recovered.next_seq - 1
        self._totals = dict(self.recovered.meta.totals)

    def put(self, items: Any) -> None:
        """The queue's."""
        if self._process.step():
            self._waiting += items
            if self._under_sync is None:
                self._under_sync = ()
                self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        if not self._process.step():
            return
        taken, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
        batch = self._under_sync = Batch()
        batch.take(taken)
        self._loop.call_later(self._sync_s * self._dice.uniform(0.5, 2.0), self._synced, batch)

    def _synced(self, batch: Any) -> None:
        if not self._process.step():
            return
        self._under_sync = None
        self._commit(batch)
        if batch.callbacks and self._process.step():
            self._loop.call_soon(call_all, batch.callbacks)
        if self._waiting:
            self._under_sync = ()
            self._loop.call_soon(self._begin)

    def _die(self) -> None:
        """What was being synced is there or is not; a transaction is never torn."""
        if self._under_sync and self._dice.random() < 0.5:
            self._commit(self._under_sync)
        self._db.rollback()

    def _append(self, batch: Any) -> None:
        self._may_fail(batch)
        super()._append(batch)

    def _write(self, batch: Any, *, is_lean: bool) -> None:
        self._may_fail(batch)
        super()._write(batch, is_lean=is_lean)

    def _may_fail(self, batch: Any) -> None:
        if (batch.intents or batch.outcomes) and self._fails():
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
            raise error

    def _is_tight(self) -> bool:
        return self._disk.is_full

    def _limit_growth(self, batch: Any, *, is_lean: bool) -> bool:
        return not self._disk.is_full

    def _set_pages_max(self, pages: int) -> None:
        """This disk's database may have any."""

    def _outgrows_ballast(self) -> bool:
        return False

    def _is_low(self) -> bool:
        return self._disk.is_full

    def _make_room(self) -> bool:
        """There is no log of the database to fold."""
        return False

    def _try_in_ballast(self, batch: Any, *, is_lean: bool = False) -> sqlite3.Error | None:
        return self._try(batch, is_lean=is_lean)

    def size_bytes(self) -> int:
        return 0

    async def close(self) -> None:
        """Write what waits; the disk stays."""
        self._hand_over()
        while self._waiting or self._under_sync is not None:
            await asyncio.sleep(self._sync_s)
        self._commit(Batch())


class StoreDisk:
    """What outlives an upstream: its journal's bytes."""

    def __init__(self) -> None:
        self.data = bytearray(frame(0, b""))
        self.place = 1

    def append(self, payload: bytes) -> None:
        self.data += frame(self.place, payload)
        self.place += 1

    def entries(self) -> list[StoreEntry]:
        """All that is whole on disk, in order; a torn tail is cut off, as at a start."""
        whole = list(frames(bytes(self.data)))
        del self.data[whole[-1].end :]
        self.place = len(whole)
        return [entry for one in whole[1:] for entry in unpack(one.payload)]


class StoreJournal:
    """Stands in for backends.json_journal.Journal: batches, one sync each."""

    is_broken = False

    def __init__(
        self,
        process: Process,
        disk: StoreDisk,
        wake: Callable[[list[Commit], Exception | None], None],
        dice: random.Random,
        *,
        sync_s: float,
        is_full: Callable[[], bool],
    ) -> None:
        self._process = process
        self._disk = disk
        self._wake = wake
        self._dice = dice
        self._sync_s = sync_s
        self._is_full = is_full
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Commit] = []
        self._under_sync: list[Commit] | None = None
        process.last_words.append(self._die)

    def submit(self, commit: Commit) -> None:
        if self._process.step():
            self._waiting.append(commit)
            if self._under_sync is None:
                self._begin()

    def _begin(self) -> None:
        batch, self._waiting = self._waiting, []
        self._under_sync = batch
        self._loop.call_later(self._sync_s * self._dice.uniform(0.5, 2.0), self._synced, batch)

    def _synced(self, batch: list[Commit]) -> None:
        if not self._process.step():
            return
        error: Exception | None = None
        if self._is_full():
            error = StorageFullError()
        else:
            self._disk.append(b"".join(commit.payload for commit in batch))
        self._under_sync = None
        if self._process.step():
            self._wake(batch, error)
            if self._waiting:
                self._begin()

    def _die(self) -> None:
        """The last record is torn anywhere, or whole."""
        if self._under_sync:
            record = frame(self._disk.place, b"".join(commit.payload for commit in self._under_sync))
            if self._dice.random() < 0.5:
                record = record[: self._dice.randrange(len(record))]
            self._disk.data += record
