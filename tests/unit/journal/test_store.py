"""The promises of journal/store.py: one suite for the journal on SQLite and for the simulation's."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.errors import TurnoutError
from proxy.journal.entry import Entry, EntryState
from proxy.journal.sqlite import SqliteJournal
from tests.simulation.disk import JournalDisk, SimulatedJournal
from tests.simulation.loop import Process


def entry(seq: int, key: str | None = "/api/orders/1") -> Entry:
    return Entry(
        seq, "PUT", "/api/orders/1?x=%41", (("Content-Type", "application/json"),), key, "/api/orders", 12.5
    )


class Opener:
    """Opens journals on one disk, and closes what a test left open."""

    def __init__(self, make: Callable[[], SqliteJournal]) -> None:
        self._make = make
        self.opened: list[SqliteJournal] = []

    def open(self) -> SqliteJournal:
        journal = self._make()
        self.opened.append(journal)
        return journal

    async def close(self, journal: SqliteJournal) -> None:
        self.opened.remove(journal)
        await journal.close()


@pytest.fixture(params=["sqlite", "simulated"])
async def journals(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opener]:
    disk = JournalDisk()

    def simulated() -> SqliteJournal:
        return SimulatedJournal(Process("proxy"), disk, random.Random(1), sync_s=0.0001)

    made = Opener(simulated if request.param == "simulated" else lambda: SqliteJournal(tmp_path / "state"))
    yield made
    for journal in list(made.opened):
        await made.close(journal)


async def durable(submit: Callable[[Callable[[TurnoutError | None], None]], None]) -> TurnoutError | None:
    future: asyncio.Future[TurnoutError | None] = asyncio.get_running_loop().create_future()
    submit(future.set_result)
    return await asyncio.wait_for(future, 5)


async def test_an_intent_is_found_again_after_its_callback(journals: Opener) -> None:
    journal = journals.open()
    assert await durable(lambda done: journal.intent(entry(1, None), done)) is None
    await journals.close(journal)
    found = journals.open().recovered.entries
    assert found == [entry(1, None)]
    assert found[0].state is EntryState.INTENT


async def test_an_outcome_is_found_again_with_its_bodies(journals: Opener) -> None:
    journal = journals.open()
    journal.intent(entry(1, None), lambda _: None)
    accepted = replace(
        entry(1, "/api/orders/7"), state=EntryState.ACCEPTED, status=201, version=18, base="none",
        request_body=b'{"a":1}', answer_body=b'{"id":7,"a":1}', is_replayable=True,
    )  # fmt: skip
    assert await durable(lambda done: journal.outcome(accepted, done)) is None
    assert await journal.bodies(1) == (b'{"a":1}', b'{"id":7,"a":1}')
    await journals.close(journal)
    (found,) = journals.open().recovered.entries
    assert (found.key, found.state, found.version, found.base) == (
        "/api/orders/7",
        EntryState.ACCEPTED,
        18,
        "none",
    )
    assert not found.is_replayable, "after a crash only a repair may settle it"


async def test_an_ended_entry_is_gone_after_a_close(journals: Opener) -> None:
    journal = journals.open()
    await durable(lambda done: journal.intent(entry(1), done))
    journal.ended([1], {"replayed": 1})
    journal.ended([], {"replayed": 2})
    await journals.close(journal)
    recovered = journals.open().recovered
    assert recovered.entries == []
    assert recovered.meta.totals == {"replayed": 3}


async def test_callbacks_come_in_the_order_of_submission(journals: Opener) -> None:
    journal = journals.open()
    order: list[int] = []
    for seq in range(1, 1500):
        journal.intent(entry(seq), lambda _, seq=seq: order.append(seq))
    await durable(lambda done: journal.intent(entry(1500), done))
    assert order == list(range(1, 1500))


async def test_no_seq_is_given_twice_although_settled_rows_are_deleted(journals: Opener) -> None:
    journal = journals.open()
    first = journal.recovered.next_seq
    await durable(lambda done: journal.intent(entry(first + 5), done))
    journal.ended([first + 5])
    await journals.close(journal)
    assert journals.open().recovered.next_seq > first + 5


async def test_a_work_that_raises_is_undone_alone(journals: Opener) -> None:
    journal = journals.open()

    def refuse(db: sqlite3.Connection) -> None:
        db.execute("insert into gaps (prefix, since, why) values ('/x', 1, 'test')")
        raise ValueError("no")

    def count(db: sqlite3.Connection) -> int:
        return int(db.execute("select count(*) from gaps").fetchone()[0])

    with pytest.raises(ValueError, match="no"):
        await journal.transact(refuse)
    assert await journal.transact(count) == 0


async def test_an_end_is_told_once_it_is_on_disk(journals: Opener) -> None:
    journal = journals.open()
    await durable(lambda done: journal.intent(entry(1), done))
    assert await durable(lambda done: journal.ended([1], None, done)) is None
    await journals.close(journal)
    assert journals.open().recovered.entries == []
