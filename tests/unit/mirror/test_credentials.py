"""Upstreams that let nobody in without mirror.credentials: the mirror's own looks carry them too."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace

from proxy.journal.entry import Entry, EntryState
from proxy.mirror.replayer import Replayer
from proxy.mirror.state import MirrorState, Roles
from proxy.model import MirrorSettings, Reply
from tests.simulation.disk import JournalDisk, SimulatedJournal
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.proxy_process import SimulatedClock

KEY = "/api/orders/1"


class Guarded:
    """Both upstreams, versioned."""

    def __init__(self) -> None:
        self.repaired: list[bytes] = []

    async def send(
        self, upstream: str, method: str, target: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"", *, timeout_s: float
    ) -> Reply:  # fmt: skip
        if ("Authorization", "Bearer mirror") not in headers and not target.startswith("/_turnout/"):
            return Reply(401, (), b"")
        if method == "GET":
            return Reply(
                200, (("Turnout-Version", "3; at=9"),), b'{"id":1}' if target == KEY else b'{"answers":[]}'
            )
        self.repaired.append(body)
        return Reply(200, (), b"")


def test_a_repair_reads_the_primary_with_the_credentials() -> None:
    """It was refused with 401, and asked again for ever."""
    upstreams = Guarded()

    async def story() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        clock = SimulatedClock(loop)
        journal = SimulatedJournal(Process("proxy"), JournalDisk(), random.Random(1), sync_s=0.001)
        settings = MirrorSettings(credentials=(("Authorization", "Bearer mirror"), ("X-Empty", "")))
        roles = Roles("json", "postgres", 2, "journal")
        state = MirrorState(journal.recovered, settings, roles, clock.now())
        replayer = Replayer(state, journal, upstreams, clock)
        entry = Entry(1, "PUT", KEY, (), KEY, "/api/orders", 0.0)
        state.lanes.recovered(replace(entry, state=EntryState.ACCEPTED, version=3), clock.now())
        replayer.start()
        assert await replayer.drained(30.0)
        await replayer.stop()

    loop = VirtualLoop()
    try:
        loop.run_until_complete(story())
    finally:
        loop.end([])
    assert upstreams.repaired == [b'{"id":1}']
