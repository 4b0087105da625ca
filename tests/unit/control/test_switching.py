"""Epochs are taken by one hand at a time."""

import asyncio
import random
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from proxy.control.actual import Actual
from proxy.control.switching import Passage, Switching
from proxy.errors import RefusedError, UpstreamError
from proxy.kinds import Kinds
from proxy.model import Reply
from tests.simulation.disk import JournalDisk, SimulatedJournal
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.proxy_process import SimulatedClock


async def begun(primary: str, mirror: Any, sender: Any) -> tuple[Actual, Switching]:
    """The switching of a proxy that has just started."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    clock = SimulatedClock(loop)
    journal = SimulatedJournal(Process("proxy"), JournalDisk(), random.Random(1), sync_s=0.001)
    actual = Actual(journal, clock)
    await actual.begin(primary)
    secondary = {"json": "postgres", "postgres": "json"}[primary]
    switching = Switching(
        actual=actual, mirror=mirror, sender=sender, clock=clock, hold_timeout_s=lambda: 1.0, publish=lambda: None,
        secondary=lambda: secondary, kinds=Kinds(("json", "postgres")),
    )  # fmt: skip
    return actual, switching


def told(story: Coroutine[Any, Any, None]) -> None:
    """Run in virtual time."""
    loop = VirtualLoop()
    try:
        loop.run_until_complete(story)
    finally:
        loop.end([])


def test_no_passage_begins_before_the_start_has_made_its_epoch_known() -> None:
    async def story() -> None:
        actual, switching = await begun("json", None, None)
        with pytest.raises(RefusedError, match="json has not taken this start's epoch yet"):
            await switching.run(Passage("postgres", "json", wait_s=1.0))
        assert actual.meta.burned == actual.meta.epoch == 1

    told(story())


def test_a_passage_that_was_decided_under_another_primary_is_refused() -> None:
    """Of two switches to the same upstream the second one once announced it as primary and as secondary of one epoch."""

    async def story() -> None:
        actual, switching = await begun("postgres", None, None)
        switching.is_open = True
        for late in (
            Passage("postgres", "json", wait_s=1.0, overrides=list),
            Passage("postgres", "postgres", wait_s=1.0, overrides=list),
            Passage("json", "postgres", wait_s=1.0),
        ):
            with pytest.raises(RefusedError, match="postgres has become the primary meanwhile"):
                await switching.run(late)
        assert actual.meta.burned == actual.meta.epoch == 1

    told(story())


class Held:
    """A mirror with nothing to carry."""

    def __init__(self) -> None:
        self.is_fenced = False
        self.gaps: tuple[str, ...] = ()
        self.dead: tuple[str, ...] = ()

    def unproven(self) -> tuple[str, ...]:
        return self.gaps

    def dead_keys(self) -> tuple[str, ...]:
        return self.dead

    async def calm(self, lag_s: float, timeout_s: float) -> bool:
        return True

    async def drained(self, timeout_s: float) -> bool:
        return True

    def fence(self, reason: str) -> None:
        self.is_fenced = True

    def release(self) -> None:
        self.is_fenced = False

    def set_roles(self, primary: str, secondary: str, epoch: int, *, is_secondary_told: bool) -> None: ...


class DyingPrimary:
    """json does not answer while it is dead; postgres takes whatever it is told."""

    is_dead = True

    async def send(
        self, upstream: str, method: str, target: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"", *, timeout_s: float
    ) -> Reply:  # fmt: skip
        if upstream == "json" and self.is_dead:
            raise UpstreamError("json does not answer")
        return Reply(
            200,
            (),
            b'{"turnout":1,"epoch":1,"role":"none","journal":"journal","number":1,"counters":{}}',
        )


def test_a_passage_whose_primary_dies_under_it_lets_go_of_the_epochs() -> None:
    """It once waited for the dead primary for ever, and an operator could not leave that one behind."""

    async def story() -> None:
        mirror, sender = Held(), DyingPrimary()
        actual, switching = await begun("json", mirror, sender)
        switching.is_open = True
        with pytest.raises(RefusedError, match="json does not answer"):
            await switching.run(Passage("json", "postgres", wait_s=1.0))
        assert mirror.is_fenced, "the primary may know the burned epoch"
        async with switching.alone():
            pass  # an operator's hand is free
        sender.is_dead = False
        while mirror.is_fenced:
            await asyncio.sleep(0.1)
        assert switching.is_open
        assert actual.meta.burned == actual.meta.epoch > 1

    loop = VirtualLoop()
    try:
        loop.run_until_complete(asyncio.wait_for(story(), 60.0))
    finally:
        loop.end([])


@pytest.mark.parametrize(
    ("gaps", "dead", "why"),
    [
        (("/legacy",), (), "meanwhile the mirror did not carry everything under /legacy"),
        (
            (),
            ("/api/items/1", "/api/items/2"),
            "meanwhile there is a dead letter for /api/items/1 and 1 more",
        ),
    ],
)
def test_p7_what_comes_up_while_the_mirror_is_drained_calls_the_switch_off(
    gaps: tuple[str, ...], dead: tuple[str, ...], why: str
) -> None:
    """The new primary would lack it: a write of a route with `mirror: false` that came behind the preflight, say."""

    class Leaving(Held):
        async def drained(self, timeout_s: float) -> bool:
            self.gaps, self.dead = gaps, dead
            return True

    async def story() -> None:
        mirror, sender = Leaving(), DyingPrimary()
        sender.is_dead = False
        actual, switching = await begun("json", mirror, sender)
        switching.is_open = True
        with pytest.raises(RefusedError, match=why):
            await switching.run(Passage("postgres", "json", wait_s=1.0, overrides=list))
        assert (actual.meta.primary, mirror.is_fenced) == ("json", False)
        await switching.run(Passage("json", "postgres", wait_s=1.0))  # a new epoch alone, for a validation

    told(story())
