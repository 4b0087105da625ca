"""The lanes' rules one by one, by their names in proxy/mirror/lanes.py."""

import random
from dataclasses import replace

from proxy.journal.entry import Entry, EntryEvent, EntryState
from proxy.limits import MIRROR_BACKOFF_S_MAX, MIRROR_REPLAYS_PER_LANE_MAX
from proxy.mirror.lanes import Lanes, Repair, Replay, Void, backoff_s

KEY = "/api/orders/1"


def intent(lanes: Lanes, seq: int, key: str | None = KEY) -> Entry:
    entry = Entry(seq, "PUT", "/api/orders/1", (), key, "/api/orders", float(seq))
    lanes.intent(entry)
    return entry


def accepted(
    lanes: Lanes, seq: int, version: int | None = None, *, key: str = KEY, is_replayable: bool = True
) -> Entry:
    entry = lanes.entries.get(seq) or intent(lanes, seq, key)
    entry.key, entry.version, entry.is_replayable = key, version or seq, is_replayable
    entry.request_body = entry.answer_body = b"{}"
    lanes.accepted(seq)
    return entry


def test_one_at_a_time_a_lane_has_one_command_under_way() -> None:
    lanes = Lanes()
    accepted(lanes, 1)
    accepted(lanes, 2)
    assert list(lanes.commands(0)) == [Replay(1)]
    assert list(lanes.commands(0)) == []
    lanes.replayed(1, is_equal=True)
    assert list(lanes.commands(0)) == [Replay(2)]


def test_version_order_the_lowest_version_goes_first_whatever_its_seq() -> None:
    lanes = Lanes()
    intent(lanes, 1)
    intent(lanes, 2)
    accepted(lanes, 1, version=19)
    accepted(lanes, 2, version=18)
    assert list(lanes.commands(0)) == [Replay(2)]


def test_replay_once_an_unequal_answer_is_repaired_not_replayed() -> None:
    lanes = Lanes()
    accepted(lanes, 1)
    list(lanes.commands(0))
    assert lanes.replayed(1, is_equal=False) == []
    assert list(lanes.commands(0)) == [Repair(KEY, (1,))]


def test_repair_covers_what_was_accepted_before_its_read_and_nothing_later() -> None:
    lanes = Lanes()
    accepted(lanes, 1, is_replayable=False)
    intent(lanes, 2)
    assert list(lanes.commands(0)) == [Repair(KEY, (1,))]
    accepted(lanes, 2)
    assert [entry.seq for entry in lanes.repaired(KEY, (1,))] == [1]
    assert list(lanes.commands(0)) == [Replay(2)]


def test_dead_waits_and_other_keys_go_on() -> None:
    lanes = Lanes()
    accepted(lanes, 1, is_replayable=False)
    list(lanes.commands(0))
    lanes.dead(KEY)
    accepted(lanes, 2)
    accepted(lanes, 3, key="/api/orders/2")
    assert list(lanes.commands(0)) == [Replay(3)]
    lanes.replayed(3, is_equal=True)
    assert lanes.is_idle(), "a dead letter does not hold up a drain"
    lanes.revive(KEY)
    assert list(lanes.commands(0)) == [Repair(KEY, (1, 2))]


def test_dead_waits_from_a_start_on_though_its_entries_were_found_before_its_letter() -> None:
    lanes = Lanes()
    lanes.recovered(Entry(1, "PUT", KEY, (), KEY, "/api/orders", 1.0, state=EntryState.ACCEPTED), 0.0)
    lanes.bury(KEY)
    assert list(lanes.commands(0.0)) == []
    lanes.revive(KEY)
    assert list(lanes.commands(0.0)) == [Repair(KEY, (1,))]


def test_what_waits_for_a_person_is_counted_apart_whatever_happens() -> None:
    """The figures are kept along; here they are counted anew after each step."""
    for seed in range(200):
        dice = random.Random(seed)
        lanes = Lanes()
        for seq in range(1, 121):
            key = f"/api/orders/{dice.randrange(3)}"
            lane = lanes.lanes.get(key)
            match dice.randrange(8):
                case 0 | 1:
                    intent(lanes, seq, key)
                case 2:
                    accepted(lanes, seq, key=key, is_replayable=False)
                case 3 if lane is not None:
                    for entry in list(lane.entries.values()):
                        if entry.state is EntryState.INTENT:
                            accepted(lanes, entry.seq, key=key)
                case 4:
                    for command in list(lanes.commands(seq)):
                        match command:
                            case Repair(key=at) if dice.random() < 0.5:
                                lanes.dead(at)
                            case Repair(key=at, covers=covers):
                                lanes.repaired(at, covers)
                            case Replay(seq=at):
                                lanes.replayed(at, is_equal=dice.random() < 0.5)
                case 5:
                    lanes.revive(key)
                case 6:
                    lanes.drop(key)
                case 7:
                    lanes.collapse(key)
            living = [
                entry
                for entry in lanes.entries.values()
                if not (entry.state is EntryState.ACCEPTED and lanes.lanes[entry.key or ""].is_dead)
            ]
            assert lanes.unsettled_writes() == sum(entry.writes for entry in living), seed
            assert lanes.is_idle() == (not living)
            oldest = min(living, key=lambda entry: entry.seq, default=None)
            assert lanes.oldest_unsettled_s() == (None if oldest is None else oldest.born_wall_s), seed


def test_ten_thousand_dead_keys_are_not_looked_at_for_the_figures() -> None:
    lanes = Lanes(lanes_at_once_max=10_000)
    for seq in range(1, 10_001):
        accepted(lanes, seq, key=f"/api/orders/{seq}", is_replayable=False)
    for command in list(lanes.commands(0)):
        assert isinstance(command, Repair)
        lanes.dead(command.key)
    lanes.entries = lanes.lanes = Unseen()
    assert (lanes.unsettled_writes(), lanes.is_idle(), lanes.oldest_unsettled_s()) == (0, True, None)


class Unseen(dict):
    def _refuse(self, *_: object) -> object:
        raise AssertionError("looked at one by one")

    __getitem__ = __iter__ = __len__ = __contains__ = get = items = keys = values = _refuse


def test_a_dropped_dead_key_leaves_nothing_behind() -> None:
    lanes = Lanes()
    accepted(lanes, 1, is_replayable=False)
    list(lanes.commands(0))
    lanes.dead(KEY)
    assert [entry.seq for entry in lanes.drop(KEY)] == [1]
    assert (lanes.entries, lanes.lanes, lanes.by_prefix) == ({}, {}, {})
    accepted(lanes, 2)
    assert list(lanes.commands(0)) == [Replay(2)]


def test_collapse_makes_the_waiting_entries_one_mark_that_stands_for_all() -> None:
    lanes = Lanes()
    for seq in (1, 2, 3):
        accepted(lanes, seq)
    list(lanes.commands(0))
    collapsed = lanes.collapse(KEY)
    assert collapsed is not None
    mark, gone = collapsed
    assert (mark.seq, [entry.seq for entry in gone], mark.writes) == (3, [2], 2)
    assert mark.born_wall_s == 2.0, "as old as the oldest"
    assert lanes.unsettled_writes() == 3
    lanes.replayed(1, is_equal=True)
    assert list(lanes.commands(0)) == [Repair(KEY, (3,))]
    lanes.repaired(KEY, (3,))
    assert (lanes.unsettled_writes(), lanes.body_bytes) == (0, 0)


def test_collapse_keeps_the_record_as_it_was_last_answered_where_bodies_have_room() -> None:
    """A move away from a dead primary brings it over (salvage)."""
    for keeps_newest, kept in ((True, b"{}"), (False, None)):
        lanes = Lanes()
        for seq in (1, 2):
            accepted(lanes, seq)
        collapsed = lanes.collapse(KEY, keeps_newest=keeps_newest)
        assert collapsed is not None
        mark, _ = collapsed
        assert (mark.request_body, mark.answer_body) == (None, kept)
        assert lanes.body_bytes == len(kept or b"")


def test_a_long_lane_is_repaired_once_instead_of_replayed_one_by_one() -> None:
    lanes = Lanes()
    lanes.is_secondary_up = False
    seqs = tuple(range(1, MIRROR_REPLAYS_PER_LANE_MAX + 2))
    for seq in seqs:
        accepted(lanes, seq)
    assert list(lanes.commands(0)) == []
    lanes.secondary_up()
    assert list(lanes.commands(0)) == [Repair(KEY, seqs)]


def test_barrier_an_entry_counts_from_its_intent_until_it_is_settled() -> None:
    lanes = Lanes()
    intent(lanes, 1)
    assert not lanes.is_key_settled(KEY)
    assert list(lanes.unsettled_seqs(None, ["/api/orders"])) == [1]
    accepted(lanes, 1)
    list(lanes.commands(0))
    assert not lanes.is_key_settled(KEY)
    lanes.replayed(1, is_equal=True)
    assert lanes.is_key_settled(KEY)


def test_a_rejected_write_leaves_nothing_behind() -> None:
    lanes = Lanes()
    intent(lanes, 1)
    lanes.ended(1, EntryEvent.REJECTED)
    assert (lanes.entries, lanes.lanes, lanes.in_flight()) == ({}, {}, 0)
    lanes.end_durable((1,))
    assert lanes.lowest_open() is None


def test_a_doubtful_entry_is_voided_before_anything_else_happens_to_it() -> None:
    lanes = Lanes()
    intent(lanes, 1)
    lanes.doubtful(1, 5.0)
    assert list(lanes.commands(5.0)) == [Void(1)]
    assert list(lanes.commands(5.0)) == []
    lanes.void_failed(1, 5.0, 1)
    assert list(lanes.commands(5.0)) == []
    assert list(lanes.commands(5.0 + backoff_s(1))) == [Void(1)]
    lanes.voided_done(1, KEY, 18)
    assert list(lanes.commands(6.0)) == [Repair(KEY, (1,))]


def test_the_lowest_open_id_covers_what_has_no_durable_outcome_or_end_and_nothing_else() -> None:
    lanes = Lanes()
    for seq in (1, 2, 3):
        intent(lanes, seq)
    accepted(lanes, 1)
    assert lanes.lowest_open() == 2
    lanes.doubtful(2, 0.0)
    assert lanes.lowest_open() == 2
    list(lanes.commands(0.0))
    lanes.voided_never(2)
    assert lanes.lowest_open() == 2, "a start might still find it and ask the primary after it"
    lanes.end_durable((2,))
    assert lanes.lowest_open() == 3


def test_after_a_crash_known_outcomes_are_repaired_and_unknown_ones_voided() -> None:
    lanes = Lanes()
    fresh = Entry(1, "POST", "/api/orders", (), None, "/api/orders", 0.0)
    known = replace(
        fresh, seq=2, key=KEY, state=EntryState.ACCEPTED, version=18, base="17", is_replayable=True
    )
    lanes.recovered(fresh, 0.0)
    lanes.recovered(known, 0.0)
    assert list(lanes.commands(0.0)) == [Void(1), Repair(KEY, (2,))]


def test_waiting_doubles_up_to_its_bound_and_ends_at_once_when_the_secondary_returns() -> None:
    assert backoff_s(1) < backoff_s(2) < backoff_s(3)
    assert backoff_s(1000) == MIRROR_BACKOFF_S_MAX
    lanes = Lanes()
    accepted(lanes, 1, is_replayable=False)
    list(lanes.commands(0.0))
    lanes.repair_failed(KEY, 0.0)
    assert list(lanes.commands(0.0)) == []
    assert lanes.next_at_s() == backoff_s(1)
    lanes.secondary_up()
    assert list(lanes.commands(0.0)) == [Repair(KEY, (1,))]


def test_a_pause_journals_and_sends_nothing() -> None:
    lanes = Lanes()
    lanes.is_paused = True
    accepted(lanes, 1)
    assert list(lanes.commands(0.0)) == []
    assert lanes.unsettled_writes() == 1


def test_at_most_so_many_lanes_are_under_way_at_once() -> None:
    lanes = Lanes(lanes_at_once_max=2)
    for seq in (1, 2, 3):
        accepted(lanes, seq, key=f"/api/orders/{seq}")
    assert list(lanes.commands(0.0)) == [Replay(1), Replay(2)]
    lanes.replayed(1, is_equal=True)
    assert list(lanes.commands(0.0)) == [Replay(3)]
