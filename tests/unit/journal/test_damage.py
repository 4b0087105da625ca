"""What a power cut may leave is no damage; what it cannot have left is."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.journal.damage import FRAME_HEADER_BYTES, HEADER_BYTES, find_damage

FRAME_BYTES = FRAME_HEADER_BYTES + 4096
COMMITS = 6
WRITER = f"""
import os, sqlite3
db = sqlite3.connect("journal.db", isolation_level=None)
for say in ("journal_mode=wal", "synchronous=full", "wal_autocheckpoint=0"):
    db.execute(f"pragma {{say}}")
db.execute("create table t (a)")
for n in range({COMMITS}):
    db.execute("insert into t values (?)", (os.urandom(9000),))
os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database whose writer was killed: all of it is in the log."""
    folder = tmp_path_factory.mktemp("killed")
    subprocess.run([sys.executable, "-c", WRITER], cwd=folder, check=False)
    return folder


@pytest.fixture
def journal(killed: Path, tmp_path: Path) -> Path:
    shutil.copytree(killed, tmp_path / "state")
    return tmp_path / "state" / "journal.db"


def log_of(journal: Path) -> Path:
    return journal.with_name("journal.db-wal")


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


def commits(journal: Path) -> list[int]:
    """Offsets of the frames that end a commit."""
    content = log_of(journal).read_bytes()
    return [
        at for at in range(HEADER_BYTES, len(content), FRAME_BYTES) if content[at + 4 : at + 8] != b"\0\0\0\0"
    ]


def test_a_killed_writers_journal_is_whole(journal: Path) -> None:
    assert find_damage(journal, had_log=True) == ""


def test_nothing_at_all_is_whole(tmp_path: Path) -> None:
    assert find_damage(tmp_path / "journal.db", had_log=False) == ""


def test_a_last_commit_that_is_torn_anywhere_is_no_damage(journal: Path) -> None:
    *_, before, last = commits(journal)
    whole = log_of(journal).read_bytes()
    for at in range(before + FRAME_BYTES, last + FRAME_BYTES, 997):
        log_of(journal).write_bytes(whole[:at])
        assert find_damage(journal, had_log=True) == "", at
        log_of(journal).write_bytes(whole)
        flip(log_of(journal), at)  # its frames may reach the disk in any order
        assert find_damage(journal, had_log=True) == "", at


@pytest.mark.parametrize("part", [0, 8, 16, FRAME_HEADER_BYTES + 100])
def test_a_flip_in_any_earlier_commit_is_damage(journal: Path, part: int) -> None:
    ends = commits(journal)
    whole = log_of(journal).read_bytes()
    for at in range(HEADER_BYTES, ends[-2], FRAME_BYTES):
        log_of(journal).write_bytes(whole)
        flip(log_of(journal), at + part)
        assert "is damaged at its frame" in find_damage(journal, had_log=True), at


@pytest.mark.parametrize("at", [0, 3, 8, 16, 24, 31])
def test_a_flip_in_the_logs_head_is_damage(journal: Path, at: int) -> None:
    flip(log_of(journal), at)
    assert "log" in find_damage(journal, had_log=True) or "head" in find_damage(journal, had_log=True)


def test_frames_left_from_before_the_log_began_anew_are_no_damage(journal: Path) -> None:
    db = sqlite3.connect(journal, isolation_level=None)
    db.execute("pragma wal_autocheckpoint=0")
    db.execute("pragma wal_checkpoint(restart)")
    db.execute("insert into t values (1)")
    copy = journal.parent.parent / "copy"
    shutil.copytree(journal.parent, copy)
    db.close()
    assert os.path.getsize(copy / "journal.db-wal") > HEADER_BYTES + 5 * FRAME_BYTES
    assert find_damage(copy / "journal.db", had_log=True) == ""


def test_a_log_that_is_gone_is_damage_where_it_held_something(journal: Path) -> None:
    log_of(journal).unlink()
    assert find_damage(journal, had_log=True)
    log_of(journal).touch()
    assert find_damage(journal, had_log=True)
    log_of(journal).unlink()
    journal.write_bytes(b"")
    assert find_damage(journal, had_log=False) == ""


def test_a_log_without_its_database_is_damage(journal: Path) -> None:
    journal.unlink()
    assert find_damage(journal, had_log=False)


def test_looking_changes_nothing(journal: Path) -> None:
    flip(log_of(journal), HEADER_BYTES + FRAME_HEADER_BYTES + 5)
    before = journal.read_bytes(), log_of(journal).read_bytes()
    assert find_damage(journal, had_log=True)
    assert (journal.read_bytes(), log_of(journal).read_bytes()) == before
