"""A write's passage through the production gate, over a journal whose disk does as it is told."""

import asyncio
import random
from collections.abc import Callable, Coroutine

from structlog.testing import capture_logs

from proxy.errors import TurnoutError
from proxy.mirror.gate import Gate
from proxy.mirror.state import MirrorState, Roles
from proxy.model import MirrorSettings, Place, PrimaryAnswer, WriteHead
from tests.simulation.disk import JournalDisk, SimulatedJournal
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.proxy_process import SimulatedClock

SYNC_S = 0.01
WRITE = WriteHead("PUT", "/api/orders/1", Place("/api/orders/1", "/api/orders"), ())
RPC = WriteHead("POST", "/api/checkout", Place(None, "/api/checkout"), ())
ANSWER = PrimaryAnswer(200, (("Turnout-Version", "18; base=17"),), b"{}", b"{}")


def run(story: Coroutine[None, None, None]) -> None:
    loop = VirtualLoop()
    try:
        loop.run_until_complete(story)
    finally:
        loop.end([])


def open_gate(fails: Callable[[], bool] = lambda: False) -> tuple[MirrorState, Gate]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    clock = SimulatedClock(loop)
    journal = SimulatedJournal(Process("proxy"), JournalDisk(), random.Random(1), sync_s=SYNC_S, fails=fails)
    state = MirrorState(
        journal.recovered, MirrorSettings(), Roles("json", "postgres", 1, "journal"), clock.now()
    )
    state.lanes.is_secondary_up = False
    return state, Gate(state, journal, clock, wake=lambda: None, bodies_bytes_max=1 << 20, hold_timeout_s=1.0)


async def write(
    gate: Gate, head: WriteHead, before_the_answer: Callable[[], None] = lambda: None
) -> TurnoutError | None:
    """Accepted by the primary; what its client is told."""
    over: asyncio.Future[TurnoutError | None] = asyncio.get_running_loop().create_future()

    def answered(error: TurnoutError | None) -> None:
        assert error is None, "the intent is durable"
        before_the_answer()
        gate.accepted(seq, ANSWER, over.set_result)

    seq = gate.intend(head, answered)
    return await over


def test_p3_a_write_whose_outcome_cannot_be_written_is_in_doubt_and_told() -> None:
    async def story() -> None:
        broken: list[bool] = []
        state, gate = open_gate(lambda: bool(broken))
        with capture_logs() as lines:
            error = await write(gate, WRITE, lambda: broken.append(True))
        assert error is not None
        assert error.code == "journal-full" or error.code == "journal"
        assert state.lanes.in_doubt() == 1, "the primary has it: it is asked later"
        (told,) = [one for one in lines if one["event"] == "outcome_not_written"]
        assert (told["log_level"], told["seq"]) == ("error", 1)

    run(story())


def test_writes_that_name_nothing_leave_one_mark_on_their_path_however_many_they_are() -> None:
    async def story() -> None:
        state, gate = open_gate()
        with capture_logs() as lines:
            for _ in range(50):
                assert await write(gate, RPC) is None
        assert [mark.prefix for mark in state.gaps.marks] == ["/api/checkout"]
        assert [one["event"] for one in lines].count("write_without_key") == 1
        assert state.lanes.entries == {}

    run(story())


def test_a_write_that_names_nothing_during_a_validation_leaves_a_mark_that_outlives_it() -> None:
    async def story() -> None:
        state, gate = open_gate()
        assert await write(gate, RPC) is None
        (first,) = state.gaps.marks
        state.gaps.validation_begins(first.id)
        assert await write(gate, RPC) is None
        assert state.gaps.clear_upto(first.id) == [first]
        (second,) = state.gaps.marks
        assert second.id > first.id

    run(story())
