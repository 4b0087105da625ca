"""The rule asked-until-durable, on the production gate and replayer over a journal whose disk takes its time."""

import asyncio
import random
from collections.abc import Coroutine, Sequence
from pathlib import Path

from proxy.journal.entry import Entry, EntryState
from proxy.journal.fresh import Fresh
from proxy.journal.opening import recover
from proxy.mirror.gate import Gate
from proxy.mirror.replayer import Replayer
from proxy.mirror.state import MirrorState, Roles
from proxy.model import MirrorSettings, Place, Reply, WriteHead
from proxy.protocol import VOID_PATH
from tests.simulation.disk import JournalDisk, SimulatedJournal
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.proxy_process import SimulatedClock

SYNC_S = 1.0
WRITE = WriteHead("PUT", "/api/orders/1", Place("/api/orders/1", "/api/orders"), ())


class Primary:
    """Answers every void with the same words, at once."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self.voided = asyncio.Event()

    async def send(
        self, upstream: str, method: str, target: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"", *, timeout_s: float
    ) -> Reply:  # fmt: skip
        if target == VOID_PATH:
            self.voided.set()
        return Reply(200, (), self._answer)


def run(story: Coroutine[None, None, None]) -> None:
    loop = VirtualLoop()
    try:
        loop.run_until_complete(story)
    finally:
        loop.end([])


def open_mirror(disk: JournalDisk, primary: Primary) -> tuple[MirrorState, Gate, Replayer]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    clock = SimulatedClock(loop)
    journal = SimulatedJournal(Process("proxy"), disk, random.Random(1), sync_s=SYNC_S)
    state = MirrorState(
        journal.recovered, MirrorSettings(), Roles("json", "postgres", 1, "journal"), clock.now()
    )
    replayer = Replayer(state, journal, primary, clock)
    gate = Gate(state, journal, clock, wake=replayer.wake, bodies_bytes_max=1 << 20, hold_timeout_s=1.0)
    return state, gate, replayer


def found_by_a_start(disk: JournalDisk) -> list[Entry]:
    return recover(disk.db, Path("/simulated/journal.db"), Fresh()).entries


def test_a_voided_write_stays_open_until_its_outcome_is_on_disk() -> None:
    async def story() -> None:
        disk = JournalDisk()
        primary = Primary(b'{"state": "done", "key": "/api/orders/1", "version": 18}')
        state, gate, replayer = open_mirror(disk, primary)
        state.lanes.is_secondary_up = False
        seq = gate.intend(WRITE, lambda _: gate.doubtful(seq))
        replayer.start()
        await primary.voided.wait()
        await asyncio.sleep(0.01)
        assert state.lanes.lowest_open() == seq, "a crash now asks the primary again: it must remember"
        await asyncio.sleep(3 * SYNC_S)
        assert state.lanes.lowest_open() is None
        assert state.lanes.entries[seq].state is EntryState.ACCEPTED
        assert [(one.seq, one.state, one.version) for one in found_by_a_start(disk)] == [
            (seq, EntryState.ACCEPTED, 18)
        ]
        await replayer.stop()

    run(story())


def test_a_rejected_write_stays_open_until_its_end_is_on_disk() -> None:
    async def story() -> None:
        disk = JournalDisk()
        state, gate, _ = open_mirror(disk, Primary(b""))
        seq = gate.intend(WRITE, lambda _: None)
        await asyncio.sleep(3 * SYNC_S)
        gate.rejected(seq)
        assert state.lanes.entries == dict[int, Entry]()
        assert state.lanes.lowest_open() == seq
        await asyncio.sleep(3 * SYNC_S)
        assert state.lanes.lowest_open() is None
        assert found_by_a_start(disk) == []

    run(story())
