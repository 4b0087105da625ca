"""The look for a secondary that is thought away."""

import asyncio
from dataclasses import replace
from typing import Any, cast

from proxy.journal.store import JournalMeta, Recovered
from proxy.kinds import Kind, Kinds
from proxy.mirror.replayer import Replayer
from proxy.mirror.state import MirrorState, Roles
from proxy.model import MirrorSettings


class Clock:
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return 0.0


async def test_a_secondary_that_was_told_an_epoch_which_is_over_by_now_is_told_the_present_one() -> None:
    """A renewal came between the question and its answer: nothing else would tell it before the next write."""
    kinds = Kinds()
    for name in ("old", "new"):
        kinds.shown(name, Kind.VERSIONED)
    state = MirrorState(
        Recovered(JournalMeta("j"), 1, [], [], [], []),
        MirrorSettings(),
        Roles("old", "new", 11, "j"),
        0.0,
        kinds=kinds,
        late_s=0.0,
    )
    replayer = Replayer(state, cast("Any", None), cast("Any", None), Clock())
    told: list[int] = []
    is_done = asyncio.Event()

    async def ensure_announced(_: str) -> bool:
        told.append(state.roles.epoch)
        if len(told) == 1:
            state.roles = replace(state.roles, epoch=13)
            replayer.look_for_secondary("the epoch is another")
        else:
            is_done.set()
        return True

    replayer.ensure_announced = ensure_announced
    replayer.start()
    replayer.look_for_secondary("a start")
    await asyncio.wait_for(is_done.wait(), 10)
    await asyncio.sleep(0)
    assert told == [11, 13]
    assert state.secondary_trouble == ""
    await replayer.stop()
