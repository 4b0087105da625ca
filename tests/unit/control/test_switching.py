"""Epochs are taken by one hand at a time."""

import asyncio
import random

import pytest

from proxy.control.actual import Actual
from proxy.control.switching import Passage, Switching
from proxy.errors import RefusedError
from proxy.kinds import Kinds
from tests.simulation.disk import JournalDisk, SimulatedJournal
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.proxy_process import SimulatedClock


def test_no_passage_begins_before_the_start_has_made_its_epoch_known() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        clock = SimulatedClock(loop)
        actual = Actual(
            SimulatedJournal(Process("proxy"), JournalDisk(), random.Random(1), sync_s=0.001), clock
        )
        await actual.begin("json")
        switching = Switching(
            actual=actual, mirror=None, sender=None, clock=clock, hold_timeout_s=lambda: 1.0, publish=lambda: None,
            secondary=lambda: "postgres", kinds=Kinds(("json", "postgres")),
        )  # fmt: skip
        with pytest.raises(RefusedError, match="json has not taken this start's epoch yet"):
            await switching.run(Passage("postgres", "json", wait_s=1.0))
        assert actual.meta.burned == actual.meta.epoch == 1

    loop = VirtualLoop()
    try:
        loop.run_until_complete(story())
    finally:
        loop.end([])
