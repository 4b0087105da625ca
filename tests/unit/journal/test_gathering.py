"""For whom the journal's writer waits before it commits: a real thread takes, the test is the event loop."""

import asyncio
import time

from proxy.journal.gathering import SHARE_MIN, WAIT_S_MAX, Gathering, Item

MOST = 512
LONG_S = 10.0
"""A commit that takes so long makes a wait that a test would notice."""


def asked(count: int = 1) -> list[Item]:
    return [("intent", number, None) for number in range(count)]


async def taking(gathering: Gathering) -> asyncio.Future[list[list[Item] | None]]:
    """A writer that has begun to take."""
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def take() -> list[list[Item] | None]:
        loop.call_soon_threadsafe(begun.set)
        return gathering.take(MOST)

    writer = asyncio.ensure_future(asyncio.to_thread(take))
    await begun.wait()
    return writer


async def ask_in_turn(gathering: Gathering, times: int) -> None:
    for _ in range(times):
        gathering.put(asked())
        await asyncio.sleep(0)


def count(found: list[list[Item] | None]) -> int:
    return sum(len(items) for items in found if items is not None)


async def test_what_is_asked_for_wakes_the_writer() -> None:
    gathering = Gathering()
    writer = await taking(gathering)
    gathering.put(asked())
    assert count(await writer) == 1


async def test_a_single_client_is_never_waited_for() -> None:
    gathering = Gathering()
    gathering.put(asked())
    assert count(gathering.take(MOST)) == 1
    gathering.released(1, LONG_S)
    gathering.put(asked())
    began_s = time.monotonic()
    assert count(gathering.take(MOST)) == 1
    assert time.monotonic() - began_s < WAIT_S_MAX


async def test_those_whom_a_commit_released_are_waited_for() -> None:
    gathering = Gathering(LONG_S)
    gathering.released(20, LONG_S)
    writer = await taking(gathering)
    await ask_in_turn(gathering, 20)
    assert count(await writer) == 20


async def test_those_who_asked_during_a_commit_are_waited_for_with_those_whom_it_released() -> None:
    gathering = Gathering(LONG_S)
    gathering.put(asked(10))
    gathering.released(10, LONG_S)
    writer = await taking(gathering)
    await ask_in_turn(gathering, 10)
    assert count(await writer) == 20


async def test_nobody_is_waited_for_longer_than_a_commit_would_take() -> None:
    gathering = Gathering()
    gathering.released(3, 0.001)
    gathering.quiet()
    gathering.put(asked())
    gathering.quiet()
    assert count(gathering.take(MOST)) == 1


async def test_the_wait_has_a_bound_whatever_a_commit_takes_and_while_the_event_loop_is_at_work() -> None:
    for is_quiet in (False, True):
        gathering = Gathering()
        gathering.released(3, LONG_S)
        gathering.put(asked())
        if is_quiet:
            gathering.quiet()
        began_s = time.monotonic()
        assert count(gathering.take(MOST)) == 1
        assert time.monotonic() - began_s < LONG_S / 2


async def test_a_wait_that_does_not_pay_time_after_time_becomes_short() -> None:
    gathering = Gathering()
    commit_s = WAIT_S_MAX / 2
    for _ in range(10):
        gathering.put(asked())
        gathering.released(2, commit_s)
        gathering.quiet()
        assert count(gathering.take(MOST)) == 1
    took: list[float] = []
    for _ in range(9):
        gathering.put(asked())
        gathering.released(2, commit_s)
        gathering.quiet()
        began_s = time.monotonic()
        gathering.take(MOST)
        took.append(time.monotonic() - began_s)
    assert min(took) < commit_s / 4, f"it was {SHARE_MIN} of a commit's time that was to be waited"


async def test_the_last_word_ends_every_wait() -> None:
    gathering = Gathering(LONG_S)
    gathering.released(3, LONG_S)
    gathering.put(asked())
    gathering.put(None)
    found = gathering.take(MOST)
    assert count(found) == 1
    assert found[-1] is None
    idle = Gathering()
    writer = await taking(idle)
    idle.put(None)
    assert await writer == [None]


async def test_more_than_a_batch_is_left_for_the_next_one() -> None:
    gathering = Gathering()
    for _ in range(4):
        gathering.put(asked(200))
    assert count(gathering.take(MOST)) == 600
    assert count(gathering.take(MOST)) == 200
