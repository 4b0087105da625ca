"""An upstream that was left behind is back: what becomes of the writes that were in doubt."""

import asyncio
import random
from collections.abc import Iterable, Sequence

from proxy.control.actual import Actual
from proxy.control.returning import Returns
from proxy.journal.store import Returning
from proxy.model import Reply
from tests.simulation.disk import JournalDisk, SimulatedJournal
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.proxy_process import SimulatedClock


class Old:
    """The old primary: write 5 changed /api/orders/1, write 6 many records, and it names none of them."""

    async def send(
        self, upstream: str, method: str, target: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"", *, timeout_s: float
    ) -> Reply:  # fmt: skip
        key = b"/api/orders/1" if body == b'{"request":5}' else b""
        return Reply(200, (), b'{"state": "done", "key": "%b", "version": 18}' % key)


class Buried:
    """What became a dead letter."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    async def bury(self, keys: Iterable[str], detail: str) -> None:
        self.keys += keys

    def unsettled_keys(self) -> set[str]:
        return set()

    def dead_keys(self) -> tuple[str, ...]:
        return tuple(self.keys)


async def differ(*_: object, **__: object) -> Sequence[str]:
    return ["/api/orders/2"]


def test_a_doubtful_write_that_named_no_key_is_no_dead_letter_of_its_own() -> None:
    """There was once a dead letter whose key was empty; what such a write changed is found by the comparison."""

    async def story() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        clock = SimulatedClock(loop)
        journal = SimulatedJournal(Process("proxy"), JournalDisk(), random.Random(1), sync_s=0.001)
        actual = Actual(journal, clock)
        await actual.begin("postgres")
        actual.meta.returning = Returning("json", 0.0, 1, (), ((5, "/api/orders/1"), (6, "")))
        buried = Buried()
        returns = Returns(
            actual=actual, mirror=buried, salvager=buried, sender=Old(), differ=differ, url_of=str, secure=dict, token="",
        )  # fmt: skip
        await returns.settle("json")
        assert buried.keys == ["/api/orders/1", "/api/orders/2"]
        assert actual.meta.returning is None

    loop = VirtualLoop()
    try:
        loop.run_until_complete(story())
    finally:
        loop.end([])
