"""Faults planted in production code, one at a time: what the simulation is worth is what it catches.

Each takes one rule out of the code that keeps it. ``seed`` is one on which it was seen to fail, tried first; where
that no longer shows it, all seeds are tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from backends.contract.numbers import Repair
from backends.contract.writes import Numbering, RepairWrite
from backends.json_changes import Changes
from backends.json_state import Memory
from backends.migrate import backfill as backfill_module
from proxy.control.actual import Actual
from proxy.control.returning import Returns
from proxy.control.switching import Passage, Switching
from proxy.errors import TurnoutError
from proxy.journal.entry import Entry, EntryEvent, EntryState
from proxy.journal.sqlite import SqliteJournal
from proxy.mirror import lane as lane_module
from proxy.mirror import left_behind
from proxy.mirror.gate import Gate
from proxy.mirror.lanes import Lanes
from proxy.mirror.left_behind import LeftBehind
from proxy.mirror.listing import Listing
from proxy.mirror.replayer import Replayer
from proxy.mirror.salvage import salvage_of
from proxy.mirror.settle import Verdict
from proxy.mirror.sweeps import Sweeps

Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True)
class Mutation:
    name: str
    plant: Patch
    seed: int | None = None


MUTATIONS: list[Mutation] = []


def mutation(seed: int | None = None) -> Callable[[Patch], Patch]:
    def keep(plant: Patch) -> Patch:
        MUTATIONS.append(Mutation(plant.__name__.strip("_"), plant, seed))
        return plant

    return keep


# -- durability --------------------------------------------------------------------------------------------


@mutation(seed=23)
def the_intent_is_not_synced(patch: pytest.MonkeyPatch) -> None:
    """The primary is asked before the intent is on disk."""
    original = Gate.intend

    def intend(self: Gate, write: Any, durable: Any) -> int:
        seq = original(self, write, lambda _: None)
        self._loop.call_soon(durable, None)
        return seq

    patch.setattr(Gate, "intend", intend)


@mutation(seed=2)
def the_outcome_is_not_written(patch: pytest.MonkeyPatch) -> None:
    """The client is answered, and the id closed, with nothing on disk."""

    def outcome(self: SqliteJournal, entry: Entry, done: Any) -> None:
        self._loop.call_soon(done, None)

    patch.setattr(SqliteJournal, "outcome", outcome)


@mutation(seed=5)
def a_start_forgets_writes_in_doubt(patch: pytest.MonkeyPatch) -> None:
    original = Lanes.recovered

    def recovered(self: Lanes, entry: Entry, now_s: float) -> None:
        if entry.state is EntryState.ACCEPTED:
            original(self, entry, now_s)

    patch.setattr(Lanes, "recovered", recovered)


# -- doubt -------------------------------------------------------------------------------------------------


@mutation(seed=1)
def a_write_in_doubt_is_taken_for_one_that_never_was(patch: pytest.MonkeyPatch) -> None:
    async def void(self: Replayer, seq: int) -> None:
        entry = self._lanes.entries[seq]
        self._lanes.voided_never(seq)
        self._settle([entry], None)

    patch.setattr(Replayer, "_void", void)


@mutation(seed=189)
def a_void_is_not_remembered_by_the_primary(patch: pytest.MonkeyPatch) -> None:
    async def void(self: Changes, epoch: Any, request_id: int) -> Any:
        return self._memory.requests.get(request_id)

    patch.setattr(Changes, "void", void)


@mutation(seed=15)
def a_request_id_may_be_executed_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Changes, "_check_request", lambda self, request_id: None)


# -- replay and repair -------------------------------------------------------------------------------------


@mutation(seed=222)
def a_replay_is_sent_twice(patch: pytest.MonkeyPatch) -> None:
    """A versioned secondary refuses the second one; a plain one takes it."""
    original = Replayer._send_replay

    def send(self: Replayer, entry: Entry, done: Any) -> None:
        original(self, entry, lambda first: original(self, entry, lambda _: done(first)))

    patch.setattr(Replayer, "_send_replay", send)


@mutation(seed=15)
def a_replay_settles_whatever_came_back(patch: pytest.MonkeyPatch) -> None:
    original = Lanes.replayed
    patch.setattr(Lanes, "replayed", lambda self, seq, *, is_equal: original(self, seq, is_equal=True))


@mutation(seed=2)
def a_repair_settles_before_it_is_answered(patch: pytest.MonkeyPatch) -> None:
    original = Replayer._send_repair

    async def send(self: Replayer, key: str) -> tuple[Verdict, str, Any]:
        verdict, detail, reply = await original(self, key)
        return (Verdict.SETTLED if verdict in (Verdict.AWAY, Verdict.AGAIN) else verdict), detail, reply

    patch.setattr(Replayer, "_send_repair", send)


@mutation(seed=61)
def a_repair_settles_what_was_accepted_after_its_read(patch: pytest.MonkeyPatch) -> None:
    original = Lanes.repaired

    def repaired(self: Lanes, key: str, covers: tuple[int, ...]) -> list[Entry]:
        return original(self, key, tuple(entry.seq for entry in self.lanes[key].accepted()))

    patch.setattr(Lanes, "repaired", repaired)


@mutation(seed=41)
def a_repair_is_taken_however_old_it_is(patch: pytest.MonkeyPatch) -> None:
    original = RepairWrite.__call__

    def call(self: RepairWrite, record_id: str, state: Any, /) -> Any:
        newest = replace(self._repair, at=max(self._repair.at, state.at))
        return original(RepairWriteOf(self, newest), record_id, state)

    class RepairWriteOf(RepairWrite):
        def __init__(self, old: RepairWrite, repair: Repair) -> None:
            super().__init__(old._body, repair)
            old.has_applied = True

    patch.setattr(RepairWrite, "__call__", call)


@mutation(seed=0)
def the_base_of_a_replay_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Numbering, "admit", lambda self, state: None)


@mutation(seed=0)
def the_latest_entry_of_a_lane_goes_first(patch: pytest.MonkeyPatch) -> None:
    """With the secondary's own check of the base out of the way, which hides it."""
    patch.setattr(Numbering, "admit", lambda self, state: None)
    patch.setattr(lane_module, "_order", lambda entry: (-(entry.version or 0), -entry.seq))


@mutation(seed=4)
def readers_wait_for_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Gate, "is_settled", lambda self, place: True)


@mutation(seed=15)
def reads_under_a_gap_go_to_the_secondary(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Gate, "is_unproven", lambda self, place: False)


# -- backfill ----------------------------------------------------------------------------------------------


@mutation(seed=41)
def a_backfill_sets_no_floor(patch: pytest.MonkeyPatch) -> None:
    original = Memory._raise_floor

    def raise_floor(self: Memory, name: str, at: int) -> None:
        original(self, name, at)
        self.collections[name].floor = 0

    patch.setattr(Memory, "_raise_floor", raise_floor)


@mutation(seed=252)
def a_backfill_takes_its_watermark_after_the_read(patch: pytest.MonkeyPatch) -> None:
    original = backfill_module._Run._apply

    async def apply(self: Any, scope: Any, records: Any) -> None:
        self._report.watermark = await self._pair.in_epoch(self._pair.source.checkpoint)
        await original(self, scope, records)

    patch.setattr(backfill_module._Run, "_apply", apply)


# -- a change of primary -----------------------------------------------------------------------------------


@mutation(seed=9)
def a_switch_puts_up_no_fence(patch: pytest.MonkeyPatch) -> None:
    """That of a start stays."""

    async def nothing(self: Switching, passage: Passage) -> bool:
        return True

    patch.setattr(Switching, "_fence", nothing)


@mutation(seed=85)
def a_passage_may_begin_before_the_start_is_over(patch: pytest.MonkeyPatch) -> None:
    original = Switching.run

    async def run(self: Switching, passage: Passage) -> None:
        self.is_open = True
        await original(self, passage)

    patch.setattr(Switching, "run", run)


@mutation(seed=4)
def a_switch_does_not_drain(patch: pytest.MonkeyPatch) -> None:
    async def at_once(self: Switching, passage: Passage) -> bool:
        return True

    patch.setattr(Switching, "_drain", at_once)
    patch.setattr(Switching, "_rest", at_once)


@mutation(seed=62)
def the_epoch_of_a_request_is_not_checked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Changes, "_check", lambda self, epoch: None)


@mutation(seed=211)
def a_switch_announces_to_the_new_primary_alone(patch: pytest.MonkeyPatch) -> None:
    """And goes on although the old one, which did not hear of it, still takes writes."""
    from proxy.control import epochs, switching

    original = epochs.announce

    async def announce(sender: Any, upstream: str, **said: Any) -> Any:
        try:
            return await original(sender, upstream, **said)
        except TurnoutError:
            return None

    patch.setattr(switching.epochs, "announce", announce)


@mutation(seed=0)
def an_epoch_is_announced_without_being_burned(patch: pytest.MonkeyPatch) -> None:
    async def burn(self: Actual, epoch: int) -> None:
        self.meta.burned = epoch

    patch.setattr(Actual, "burn", burn)


# -- writes without a key ----------------------------------------------------------------------------------


@mutation(seed=22)
def a_mark_settles_without_a_look_at_what_lies_under_it(patch: pytest.MonkeyPatch) -> None:
    async def keys(self: Listing, prefixes: tuple[str, ...]) -> dict[str, None]:
        return {}

    patch.setattr(Listing, "keys", keys)


@mutation(seed=158)
def readers_do_not_wait_for_marks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Sweeps, "covering", lambda self, key: iter(()))


@mutation(seed=1288)
def a_write_that_names_no_key_leaves_no_gap(patch: pytest.MonkeyPatch) -> None:
    def accepted(self: Gate, entry: Entry, durable: Any) -> None:
        self._end(entry.seq, EntryEvent.REJECTED)
        self._loop.call_soon(durable, None)

    patch.setattr(Gate, "_accepted_without_key", accepted)


# -- an upstream away for long -----------------------------------------------------------------------------


@mutation(seed=63)
def nothing_collapses(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Gate, "_collapse", lambda self, key, *, keeps_newest: None)


# -- a primary left behind ---------------------------------------------------------------------------------


@mutation(seed=961)
def a_key_in_doubt_is_not_named(patch: pytest.MonkeyPatch) -> None:
    def salvage(key: str, entries: Any, answers: Any) -> Any:
        return salvage_of(key, [one for one in entries if one.state is EntryState.ACCEPTED], answers)

    patch.setattr(left_behind, "salvage_of", salvage)


@mutation(seed=338)
def nothing_is_salvaged(patch: pytest.MonkeyPatch) -> None:
    async def send(self: LeftBehind, key: str, kept: Any) -> str:
        return ""

    patch.setattr(LeftBehind, "_send", send)


@mutation(seed=1660)
def an_old_primary_is_mirrored_to_before_it_is_compared(patch: pytest.MonkeyPatch) -> None:
    async def settle(self: Returns, upstream: str) -> None:
        if self._actual.meta.returning is not None:
            await self._actual.returned()

    patch.setattr(Returns, "settle", settle)
