"""A listing of what lies under a mark, where the secondary does not know the present epoch."""

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

CATALOG = b'{"collections": {"orders": 0}, "singletons": []}'
STALE = b'{"code": "stale-epoch", "epoch": 1, "journal": "journal"}'


class Upstreams:
    """The secondary refuses everything until it is told the epoch."""

    def __init__(self) -> None:
        self.is_told = False

    async def send(
        self, upstream: str, method: str, target: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"", *, timeout_s: float
    ) -> Reply:  # fmt: skip
        if upstream == "postgres" and not self.is_told:
            return Reply(409, (), STALE)
        return Reply(200, (), CATALOG if target.endswith("/collections") else b'{"count": 0, "buckets": {}}')


def test_a_secondary_that_refuses_a_listing_for_its_epoch_is_told_the_present_one() -> None:
    """It was once asked again every two seconds, for ever, and nothing under the mark was mirrored."""

    async def story() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        clock = SimulatedClock(loop)
        journal = SimulatedJournal(Process("proxy"), JournalDisk(), random.Random(1), sync_s=0.001)
        state = MirrorState(
            journal.recovered, MirrorSettings(), Roles("json", "postgres", 2, "journal"), clock.now()
        )
        upstreams = Upstreams()
        replayer = Replayer(state, journal, upstreams, clock)

        async def tell(upstream: str) -> bool:
            upstreams.is_told = upstream == "postgres"
            return True

        replayer.ensure_announced = tell
        mark = Entry(1, "PATCH", "/api/orders", (), None, "/api/orders", 0.0, marks=("/api/orders",))
        state.lanes.recovered(replace(mark, state=EntryState.ACCEPTED), clock.now())
        replayer.start()
        assert await replayer.drained(30.0)
        await replayer.stop()

    loop = VirtualLoop()
    try:
        loop.run_until_complete(story())
    finally:
        loop.end([])
