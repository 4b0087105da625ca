"""The journal's last commits (proxy/journal/fresh.py): whatever way an entry took, a start finds what was committed."""

import random
import sqlite3
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.errors import JournalError
from proxy.journal.entry import Entry, EntryState
from proxy.journal.fresh import INSERT, Fresh, encode
from proxy.journal.opening import recover
from proxy.journal.rows import intent_row, outcome_row
from tests.simulation.disk import JournalDisk

PATH = Path("/simulated/journal.db")


class Writer:
    """Commits as the journal's writer does, and remembers in the plainest way what should be there."""

    def __init__(self) -> None:
        self.db = JournalDisk().db
        self.fresh = Fresh()
        self.totals: dict[str, int] = {}
        self.expected: dict[int, tuple[EntryState, str | None, int | None]] = {}
        self.next_seq = 1

    def append(self, intents: list[int], outcomes: list[int], ended: list[int]) -> None:
        made = [intent_row(entry(seq)) for seq in intents]
        told = [outcome_row(entry(seq, version=seq * 10)) for seq in outcomes]
        self.totals = {"accepted": self.totals.get("accepted", 0) + len(outcomes)}
        row = self.fresh.next_row(encode(made, told, ended, self.totals))
        self.db.execute(INSERT, row)
        self.fresh.added(row, made, told, ended)
        for seq in intents:
            self.expected[seq] = (EntryState.INTENT, None, None)
        for seq in outcomes:
            if seq in self.expected:
                self.expected[seq] = (EntryState.ACCEPTED, f"/api/orders/{seq}", seq * 10)
        for seq in ended:
            self.expected.pop(seq, None)

    def move(self, upto: int | None = None) -> None:
        self.db.execute("begin immediate")
        self.fresh.move(self.db, upto)
        self.db.execute("commit")
        self.fresh.moved(upto)

    def found(self) -> dict[int, tuple[EntryState, str | None, int | None]]:
        """What a start finds after a kill at this moment."""
        copy = sqlite3.connect(":memory:", isolation_level=None)
        self.db.backup(copy)
        fresh = Fresh()
        recovered = recover(copy, PATH, fresh)
        assert fresh.is_empty
        assert copy.execute("select count(*) from fresh").fetchone() == (0,)
        if self.rows():
            assert recovered.meta.totals == self.totals
        return {one.seq: (one.state, one.key, one.version) for one in recovered.entries}

    def rows(self) -> int:
        return int(self.db.execute("select count(*) from fresh").fetchone()[0])


def entry(seq: int, *, version: int | None = None) -> Entry:
    key = None if version is None else f"/api/orders/{seq}"
    return Entry(
        seq, "POST", "/api/orders", (("X-A", 'ü"'),), key, "/api/orders", 1.5, version=version,
        request_body=None if version is None else b"\x00\xff" * 50,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_a_start_finds_what_was_committed_whatever_lies_where(seed: int) -> None:
    dice = random.Random(seed)
    writer = Writer()
    without_outcome: list[int] = []
    for _ in range(60):
        intents = [writer.next_seq + number for number in range(dice.randrange(4))]
        writer.next_seq += len(intents)
        outcomes = [seq for seq in without_outcome if dice.random() < 0.6]
        ended = [seq for seq in writer.expected if dice.random() < 0.3]
        writer.append(intents, outcomes, ended)
        without_outcome = [
            seq for seq in without_outcome + intents if seq not in outcomes and seq in writer.expected
        ]
        if dice.random() < 0.1:
            writer.move()
        upto = writer.fresh.oldest(bytes_max=400, entries_max=8) if dice.random() < 0.5 else None
        if upto is not None:
            writer.move(upto)
            assert writer.fresh.oldest(bytes_max=400, entries_max=1000) is None
        assert writer.found() == writer.expected


def test_the_rows_of_settled_entries_go_without_being_moved() -> None:
    writer = Writer()
    for seq in range(1, 200):
        writer.append([seq], [seq - 1] if seq > 1 else [], [seq - 2] if seq > 2 else [])
    assert writer.rows() <= 4
    assert len(writer.fresh) == 2
    assert writer.fresh.bytes < 2000
    assert writer.db.execute("select count(*) from entries").fetchone() == (0,)


def test_one_old_entry_moves_alone_and_the_young_ones_stay() -> None:
    writer = Writer()
    writer.append([1], [], [])
    for seq in range(2, 100):
        writer.append([seq], [seq - 1] if seq > 2 else [], [seq - 2] if seq > 3 else [])
    assert writer.rows() == 99, "the first entry is unsettled"
    upto = writer.fresh.oldest(writer.fresh.bytes, 1000)
    assert upto is not None
    writer.move(upto)
    assert writer.db.execute("select seq from entries").fetchall() == [(1,)]
    writer.append([100], [], [])
    assert writer.rows() <= 4
    assert writer.found() == writer.expected


def test_a_row_that_cannot_be_read_stops_the_start_and_changes_nothing() -> None:
    writer = Writer()
    writer.append([1], [], [])
    writer.db.execute("update fresh set data=?", (b"\x93\x01",))
    with pytest.raises(JournalError, match="damaged"):
        recover(writer.db, PATH, Fresh())
    assert writer.rows() == 1


def test_a_start_on_a_full_disk_finds_everything_and_leaves_it_where_it_is(tmp_path: Path) -> None:
    writer = Writer()
    writer.append([1, 2], [1], [2])
    path = tmp_path / "journal.db"
    db = sqlite3.connect(path, isolation_level=None)
    writer.db.backup(db)
    db.execute("pragma journal_mode=wal")

    class Full(sqlite3.Connection):
        def execute(self, sql: str, *values: object) -> sqlite3.Cursor:  # type: ignore[override]
            if sql == "commit":
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(sql, *values)  # type: ignore[arg-type]

    full = sqlite3.connect(path, isolation_level=None, factory=Full)
    fresh = Fresh()
    with capture_logs() as said:
        assert [(one.seq, one.version) for one in recover(full, path, fresh).entries] == [(1, 10)]
    assert [line["event"] for line in said] == ["journal_not_moved"]
    assert (len(fresh), full.execute("select count(*) from fresh").fetchone()) == (1, (1,))
    full.close()
    assert [(one.seq, one.version) for one in recover(db, path, Fresh()).entries] == [(1, 10)]
    db.close()
