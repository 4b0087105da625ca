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
    """The old primary: write 5 changed /api/orders/1, write 6 many records, and it names none of them; write 7 never came.

    Of each record it says the version that ``versions`` has."""

    def __init__(self, **versions: str) -> None:
        self.versions = versions

    async def send(
        self, upstream: str, method: str, target: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"", *, timeout_s: float
    ) -> Reply:  # fmt: skip
        if method == "GET":
            version = self.versions[target.rpartition("/")[2]]
            return Reply(404 if "gone" in target else 200, (("Turnout-Version", f"{version}; at=99"),), b"{}")
        if body == b'{"request":7}':
            return Reply(200, (), b'{"state": "never"}')
        key = b"/api/orders/1" if body == b'{"request":5}' else b""
        return Reply(200, (), b'{"state": "done", "key": "%b", "version": 18}' % key)


class Buried:
    """What is a dead letter, and what was written since, from which version."""

    def __init__(self, *dead: str, **since: str) -> None:
        self.keys = list(dead)
        self.since = {f"/api/orders/{name}": base for name, base in since.items()}

    async def bury(self, keys: Iterable[str], detail: str) -> None:
        self.keys += [key for key in keys if key not in self.keys]

    def unsettled_keys(self) -> set[str]:
        return {*self.keys, *self.since}

    def first_base(self, key: str) -> str:
        return self.since.get(key, "unknown")

    def dead_keys(self) -> tuple[str, ...]:
        return tuple(self.keys)

    async def retry(self, key: str) -> None:
        self.keys.remove(key)


def returned(returning: Returning, old: Old, buried: Buried, *differing: str) -> list[str]:
    """The dead letters in the end."""

    async def differ(*_: object, **__: object) -> Sequence[str]:
        return [f"/api/orders/{name}" for name in differing]

    async def story() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        clock = SimulatedClock(loop)
        journal = SimulatedJournal(Process("proxy"), JournalDisk(), random.Random(1), sync_s=0.001)
        actual = Actual(journal, clock)
        await actual.begin("postgres")
        actual.meta.returning = returning
        returns = Returns(
            actual=actual, mirror=buried, salvager=buried, sender=old, differ=differ, url_of=str, secure=dict, token="",
        )  # fmt: skip
        await returns.settle("json")
        assert actual.meta.returning is None

    loop = VirtualLoop()
    try:
        loop.run_until_complete(story())
    finally:
        loop.end([])
    return buried.keys


def test_a_doubtful_write_that_named_no_key_is_no_dead_letter_of_its_own() -> None:
    """There was once a dead letter whose key was empty; what such a write changed is found by the comparison."""
    returning = Returning("json", 0.0, 1, (), ((5, "/api/orders/1"), (6, "")))
    assert returned(returning, Old(), Buried(), "2") == ["/api/orders/1", "/api/orders/2"]


def test_a_record_that_was_written_since_is_no_dead_letter_if_it_was_made_from_the_old_copy() -> None:
    returning = Returning("json", 0.0, 1, (), (), ("/api/orders",))
    old = Old(same="17", gone="18", never="none")
    since = {"same": "17", "gone": "none", "never": "none"}
    assert returned(returning, old, Buried(**since), *since) == []


def test_an_old_copy_that_a_lost_write_without_a_key_had_made_is_a_dead_letter() -> None:
    """It was overwritten: the record had been written since, and so it had a reason to differ."""
    returning = Returning("json", 0.0, 1, (), (), ("/api/orders",))
    old = Old(changed="18", untold="18", made="18", gone="18")
    since = {"changed": "17", "untold": "unknown", "made": "none", "gone": "17"}
    assert returned(returning, old, Buried(**since), *since) == [f"/api/orders/{name}" for name in since]


def test_elsewhere_what_was_written_since_is_repaired_without_a_question() -> None:
    returning = Returning("json", 0.0, 1, (), (), ("/api/stock",))
    assert returned(returning, Old(changed="18"), Buried(changed="17"), "changed") == []


def test_a_write_in_doubt_that_never_was_takes_its_dead_letter_back_unless_another_one_was_lost_there() -> (
    None
):
    doubt = ((7, "/api/orders/x"),)
    elsewhere = Returning("json", 0.0, 1, (), doubt, ("/api/stock",))
    assert returned(elsewhere, Old(), Buried("/api/orders/x"), "x") == []
    under = Returning("json", 0.0, 1, (), doubt, ("/api/orders",))
    assert returned(under, Old(x="18"), Buried("/api/orders/x"), "x") == ["/api/orders/x"]
    assert returned(under, Old(), Buried("/api/orders/x")) == [], "it is equal"
