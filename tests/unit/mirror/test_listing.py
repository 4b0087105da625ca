"""A listing of what lies under a mark, where the secondary does not know the present epoch."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from proxy.journal.entry import Entry, EntryState
from proxy.kinds import Kind, Kinds
from proxy.mirror.listing import Listing, UnlistableError
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


class Plain:
    """Two servers that know nothing of Turnout; one has a record with a slash in its id."""

    async def send(
        self, upstream: str, method: str, target: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"", *, timeout_s: float
    ) -> Reply:  # fmt: skip
        return Reply(200, (), b'[{"id": "a"}, {"id": "b/c"}]' if upstream == "json" else b"[]")


async def test_unlistable_gap_where_a_plain_server_lists_an_id_with_a_slash() -> None:
    """It was left out of the list: what the write had changed there was not repaired, and nobody was told."""
    journal = SimulatedJournal(Process("proxy"), JournalDisk(), random.Random(1), sync_s=0.001)
    roles = Roles("json", "postgres", 2, "journal")
    state = MirrorState(journal.recovered, MirrorSettings(), roles, 0.0, kinds=Kinds())
    for upstream in ("json", "postgres"):
        state.kinds.shown(upstream, Kind.PLAIN)
    with pytest.raises(UnlistableError):
        await Listing(state, Plain()).keys(("/api/orders",))
