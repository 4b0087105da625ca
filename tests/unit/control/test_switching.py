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


def test_a_passage_that_was_decided_under_another_primary_is_refused() -> None:
    """Of two switches to the same upstream the second one once announced it as primary and as secondary of one epoch."""

    async def story() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        clock = SimulatedClock(loop)
        actual = Actual(
            SimulatedJournal(Process("proxy"), JournalDisk(), random.Random(1), sync_s=0.001), clock
        )
        await actual.begin("postgres")
        switching = Switching(
            actual=actual, mirror=None, sender=None, clock=clock, hold_timeout_s=lambda: 1.0, publish=lambda: None,
            secondary=lambda: "json", kinds=Kinds(("json", "postgres")),
        )  # fmt: skip
        switching.is_open = True
        for late in (
            Passage("postgres", "json", wait_s=1.0, overrides=list),
            Passage("postgres", "postgres", wait_s=1.0, overrides=list),
            Passage("json", "postgres", wait_s=1.0),
        ):
            with pytest.raises(RefusedError, match="postgres has become the primary meanwhile"):
                await switching.run(late)
        assert actual.meta.burned == actual.meta.epoch == 1

    loop = VirtualLoop()
    try:
        loop.run_until_complete(story())
    finally:
        loop.end([])
