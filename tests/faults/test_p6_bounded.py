"""P6: with the secondary away the journal and the memory are bounded by the number of keys, not by that of writes.

The gate and the real journal, without sockets: `make faults` sends 1,000,000 writes to 10,000 keys, `make test` fewer.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import psutil
import pytest

from proxy.clock import SystemClock
from proxy.errors import TurnoutError
from proxy.journal.sqlite import WAL_BYTES_MAX, SqliteJournal
from proxy.limits import MIRROR_ENTRIES_IN_MEMORY_MAX, MIRROR_REPLAYS_PER_LANE_MAX
from proxy.mirror.gate import Gate
from proxy.mirror.state import MirrorState, Roles
from proxy.model import MirrorSettings, Place, PrimaryAnswer, WriteHead

pytestmark = pytest.mark.slow

IS_LONG = "RUNS" in os.environ
WRITES, KEYS = (1_000_000, 10_000) if IS_LONG else (15_000, 200)
BODIES_BYTES_MAX = 256 << 20 if IS_LONG else 512 << 10
AT_ONCE = 200
HEADERS = (
    ("Content-Type", "application/json"),
    ("User-Agent", "a client of some length/1.0"),
    ("Cookie", "s=" + "x" * 200),
)


class Writes:
    """Acknowledged writes of many keys: what forward tells the gate, and nothing else."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.version = 0
        self.open = asyncio.Semaphore(AT_ONCE)
        self.errors: list[TurnoutError] = []

    async def one(self, key: int, body: bytes) -> None:
        await self.open.acquire()
        head = WriteHead("PUT", f"/api/orders/{key}", Place(f"/api/orders/{key}", "/api/orders"), HEADERS)
        seq = 0

        def durable(error: TurnoutError | None) -> None:
            if error is not None:
                self.errors.append(error)
            self.version += 1
            version = (
                ("Turnout-Version", f"{self.version}; base={self.version - 1}"),
                ("Content-Type", "application/json"),
            )
            self.gate.accepted(seq, PrimaryAnswer(200, version, body, body), done)

        def done(error: TurnoutError | None) -> None:
            if error is not None:
                self.errors.append(error)
            self.open.release()

        seq = self.gate.intend(head, durable)

    async def over(self) -> None:
        for _ in range(AT_ONCE):
            await self.open.acquire()


async def test_p6_the_journal_and_the_memory_are_bounded_by_the_keys_while_the_secondary_is_away(
    tmp_path: Path,
) -> None:
    journal = SqliteJournal(tmp_path)
    state = MirrorState(
        journal.recovered,
        MirrorSettings(),
        Roles("json", "postgres", 1, "5f0c"),
        asyncio.get_running_loop().time(),
    )
    state.lanes.is_secondary_up = False
    gate = Gate(
        state,
        journal,
        SystemClock(),
        wake=lambda: None,
        bodies_bytes_max=BODIES_BYTES_MAX,
        hold_timeout_s=1.0,
    )
    writes, dice = Writes(gate), random.Random(1)
    most_entries = most_bytes = most_memory = 0
    process = psutil.Process()
    at_first = process.memory_info().rss
    for number in range(WRITES):
        key = dice.randrange(KEYS)
        await writes.one(key, b'{"id":%d,"n":%d,"text":"%s"}' % (key, number, b"x" * dice.randrange(400)))
        if number % 1000 == 0:
            most_entries = max(most_entries, len(state.lanes.entries))
            most_bytes = max(most_bytes, journal.size_bytes())
            most_memory = max(most_memory, process.memory_info().rss - at_first)
            assert state.lanes.body_bytes <= BODIES_BYTES_MAX + AT_ONCE * 1000
    await writes.over()
    assert writes.errors == []
    assert state.lanes.unsettled_writes() == WRITES, "each write still counts"
    in_lanes = KEYS * (MIRROR_REPLAYS_PER_LANE_MAX + 1)
    assert most_entries <= min(MIRROR_ENTRIES_IN_MEMORY_MAX + KEYS, in_lanes) + AT_ONCE < WRITES
    # On disk: the bodies' bound, a row of headers and paths for each entry, and the write-ahead log.
    assert most_bytes <= BODIES_BYTES_MAX + most_entries * 2048 + WAL_BYTES_MAX + (8 << 20)
    assert most_memory <= (32 << 20) + most_entries * 4096 + (64 << 20)
    await journal.close()

    # What is left after a restart is one mark for some keys, a few entries for others, and never less than every key.
    again = SqliteJournal(tmp_path)
    found = again.recovered.entries
    assert {entry.key for entry in found} == {f"/api/orders/{key}" for key in range(KEYS)}
    assert sum(entry.writes for entry in found) == WRITES
    await again.close()
