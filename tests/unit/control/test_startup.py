"""Whom a start believes to be what."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from proxy.control import startup
from proxy.control.actual import Actual
from proxy.errors import UpstreamError
from proxy.kinds import Kinds
from proxy.model import Reply
from tests.simulation.disk import JournalDisk, SimulatedJournal
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.proxy_process import SimulatedClock


class PrimaryAway:
    """The secondary answers as a versioned one, the primary not at all."""

    async def send(
        self, upstream: str, method: str, target: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"", *, timeout_s: float
    ) -> Reply:  # fmt: skip
        if upstream == "json":
            raise UpstreamError("json does not answer")
        return Reply(
            200,
            (),
            b'{"turnout":1,"epoch":1,"role":"secondary","journal":"journal","number":1,"counters":{}}',
        )


def test_nothing_is_mirrored_before_the_primary_has_shown_what_it_is() -> None:
    """A versioned primary that was silent at a start was once mirrored from as if it were plain."""

    async def story() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        journal = SimulatedJournal(Process("proxy"), JournalDisk(), random.Random(1), sync_s=0.001)
        actual = Actual(journal, SimulatedClock(loop))
        await actual.begin("json")
        with pytest.raises(UpstreamError, match="json does not answer"):
            await startup.ensure_secondary(PrimaryAway(), actual, "postgres", Kinds())
        assert await startup.ensure_secondary(PrimaryAway(), actual, "postgres", Kinds(["json"]))

    loop = VirtualLoop()
    try:
        loop.run_until_complete(story())
    finally:
        loop.end([])
