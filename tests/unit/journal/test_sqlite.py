"""What the journal on SQLite promises beside journal/store.py (test_store.py): its files, its lock, its format."""

import asyncio
import os
import shutil
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import JournalError, JournalFullError, TurnoutError
from proxy.journal import sqlite
from proxy.journal.entry import Entry
from proxy.journal.sqlite import SqliteJournal


def entry(seq: int, key: str | None = "/api/orders/1") -> Entry:
    return Entry(
        seq, "PUT", "/api/orders/1?x=%41", (("Content-Type", "application/json"),), key, "/api/orders", 12.5
    )


class Journals:
    """Opens journals in one folder, and closes what a test left open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.opened: list[SqliteJournal] = []

    def open(self) -> SqliteJournal:
        journal = SqliteJournal(self.folder)
        self.opened.append(journal)
        return journal

    async def close(self, journal: SqliteJournal) -> None:
        self.opened.remove(journal)
        await journal.close()


@pytest.fixture
async def journals(tmp_path: Path) -> AsyncIterator[Journals]:
    made = Journals(tmp_path / "state")
    yield made
    for journal in list(made.opened):
        await made.close(journal)


async def durable(submit: Callable[[Callable[[TurnoutError | None], None]], None]) -> TurnoutError | None:
    future: asyncio.Future[TurnoutError | None] = asyncio.get_running_loop().create_future()
    submit(future.set_result)
    return await asyncio.wait_for(future, 5)


async def test_a_second_process_on_the_journal_is_refused_and_told_who_has_it(journals: Journals) -> None:
    journals.open()
    with pytest.raises(JournalError, match=str(os.getpid())):
        journals.open()


async def test_the_files_are_the_owners_alone(journals: Journals) -> None:
    journal = journals.open()
    await durable(lambda done: journal.intent(entry(1), done))
    for path in journals.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


async def test_a_damaged_journal_stops_the_start_and_is_left_alone(journals: Journals) -> None:
    journal = journals.open()
    for seq in range(1, 200):
        journal.intent(entry(seq), lambda _: None)
    await journals.close(journal)
    path = journals.folder / "journal.db"
    content = bytearray(path.read_bytes())
    content[4096:8192] = b"\xa5" * 4096
    path.write_bytes(content)
    with pytest.raises(JournalError, match="damaged"):
        journals.open()
    assert path.read_bytes() == content


async def test_after_a_failed_sync_the_start_copies_to_a_new_file(journals: Journals) -> None:
    journal = journals.open()
    await durable(lambda done: journal.intent(entry(1), done))
    await journals.close(journal)
    path = journals.folder / "journal.db"
    inode = path.stat().st_ino
    (journals.folder / "journal.sync-failed").touch()
    assert [one.seq for one in journals.open().recovered.entries] == [1]
    assert path.stat().st_ino != inode
    assert not (journals.folder / "journal.sync-failed").exists()


async def test_a_copy_that_was_whole_before_a_crash_is_the_journal_from_then_on(journals: Journals) -> None:
    """The crash came between the removal of the old log and the renaming of the copy: what the log held is in the copy alone."""
    journal = journals.open()
    await durable(lambda done: journal.intent(entry(1), done))
    await journals.close(journal)
    path = journals.folder / "journal.db"
    path.rename(journals.folder / "journal.copied.db")
    path.write_bytes(b"")
    (journals.folder / "journal.sync-failed").touch()
    (journals.folder / "journal.lock").write_bytes(b"4711".ljust(15) + b"\nlog\n")
    assert [one.seq for one in journals.open().recovered.entries] == [1]
    assert not (journals.folder / "journal.sync-failed").exists()
    assert not (journals.folder / "journal.copied.db").exists()


async def test_a_journal_of_format_1_is_taken_over_with_all_that_it_holds(journals: Journals) -> None:
    from importlib import resources

    journals.folder.mkdir()
    old = sqlite3.connect(journals.folder / "journal.db")
    old.executescript(resources.files("proxy.journal").joinpath("sql/001_schema.sql").read_text())
    meta = {
        "journal_id": "5f0c", "seq_ceiling": "10000", "primary": "json", "first_primary": "json", "epoch": "3", "burned": "3",
        "validated": "0", "versioned": "[]", "totals": '{"accepted": 7}', "since": "1.5",
    }  # fmt: skip
    old.executemany("insert into meta values (?, ?)", list(meta.items()))
    old.execute("insert into dead values ('/api/orders/1', 2.5, 'repair-refused', 'postgres answers 422')")
    old.execute("pragma user_version=1")
    old.commit()
    old.close()
    found = journals.open().recovered
    assert (found.meta.journal_id, found.meta.epoch, found.meta.totals) == ("5f0c", 3, {"accepted": 7})
    assert found.meta.paused is None
    assert found.meta.returning is None
    assert [(letter.key, letter.answer_status) for letter in found.dead] == [("/api/orders/1", 0)]


async def test_a_journal_of_a_later_version_is_refused_and_left_alone(journals: Journals) -> None:
    await journals.close(journals.open())
    later = sqlite3.connect(journals.folder / "journal.db")
    later.execute("pragma user_version=99")
    later.commit()
    later.close()
    with pytest.raises(JournalError, match="format 99"):
        journals.open()


async def test_a_process_that_only_read_and_was_killed_leaves_no_log_to_be_missed(
    journals: Journals, tmp_path: Path
) -> None:
    await journals.close(journals.open())
    reader = journals.open()
    await reader.transact(lambda db: db.execute("select count(*) from entries").fetchone())
    crashed = tmp_path / "crashed"
    shutil.copytree(journals.folder, crashed)
    again = SqliteJournal(crashed)
    await again.close()


async def test_a_process_that_was_killed_right_after_its_log_was_cut_misses_no_log(
    journals: Journals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "WAL_BYTES_MAX", 0)  # it is cut after each commit
    journal = journals.open()
    for seq in (1, 2):
        assert await durable(lambda done, seq=seq: journal.intent(entry(seq), done)) is None
    for _ in range(
        2
    ):  # the first moves what is fresh, and writes; its cut comes after its answer, and before the next one's
        await journal.transact(lambda _: None)
    assert (journals.folder / "journal.db-wal").stat().st_size == 0
    killed = shutil.copytree(journals.folder, journals.folder.with_name("killed"))
    again = Journals(killed)
    found = again.open()
    assert [one.seq for one in found.recovered.entries] == [1, 2]
    await again.close(found)


async def test_a_journal_that_is_closed_while_its_log_is_copied_ends(
    journals: Journals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The word to end came in the pause between two copies, and was cleared with the word that a copy is due."""
    monkeypatch.setattr(sqlite, "WAL_BYTES_BESIDE", 1)
    journal = journals.open()
    for seq in range(1, 4):
        await durable(lambda done, seq=seq: journal.intent(entry(seq), done))
    await asyncio.wait_for(journals.close(journal), 5)


@pytest.mark.slow
async def test_the_log_begins_anew_in_the_same_file(
    journals: Journals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "WAL_BYTES_BESIDE", 40_000)
    monkeypatch.setattr(sqlite, "CHECKPOINT_PAUSE_S", 0.0)
    journal = journals.open()
    for seq in range(1, 41):
        await durable(lambda done, seq=seq: journal.intent(entry(seq), done))
        await durable(lambda done, seq=seq: journal.ended([seq], None, done))
    log_bytes = (journals.folder / "journal.db-wal").stat().st_size
    assert 40_000 < log_bytes < 400_000, "80 commits of some 9 kB each passed through it"
    last = entry(41)
    await durable(lambda done: journal.intent(last, done))
    copied = journals.folder.with_name("copied")
    shutil.copytree(journals.folder, copied)
    (copied / "journal.lock").write_bytes((journals.folder / "journal.lock").read_bytes())
    found = SqliteJournal(copied)
    assert found.recovered.entries == [last]
    await found.close()


async def test_on_a_full_disk_what_only_reads_is_answered(journals: Journals) -> None:
    """What was committed last could not move for want of room, and each look at the status was answered 503."""
    journal = journals.open()
    await durable(lambda done: journal.intent(entry(1), done))

    def count(db: sqlite3.Connection) -> int:
        return int(db.execute("select count(*) from entries").fetchone()[0])

    class Full:
        """A disk without room: nothing that must be written can be committed."""

        def __init__(self, db: sqlite3.Connection) -> None:
            self._db = db

        def __getattr__(self, name: str) -> Any:
            return getattr(self._db, name)

        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if sql == "commit" or sql.startswith("insert into fresh"):
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            return self._db.execute(sql, *values)

    journal._db = Full(journal._db)  # type: ignore[assignment]
    assert isinstance(await durable(lambda done: journal.intent(entry(2), done)), JournalFullError)
    assert await journal.transact(count) == 1
    with pytest.raises(JournalFullError):
        await journal.transact(
            lambda db: db.execute("insert into gaps (prefix, since, why) values ('/', 1, '')")
        )
