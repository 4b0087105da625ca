"""Writes without a key, rule by rule (proxy/mirror/sweeps.py), at the lanes as the driver meets them."""

from dataclasses import replace

from proxy.journal.entry import Entry, EntryEvent, EntryState
from proxy.mirror.lanes import Gap, Lanes, List, Repair, Replay, Void

ORDERS = "/api/orders"


def key(number: int, collection: str = ORDERS) -> str:
    return f"{collection}/{number}"


def write(lanes: Lanes, seq: int, at: str, *, accepted: bool = True) -> Entry:
    """A PUT of one key."""
    entry = Entry(seq, "PUT", at, (), at, at.rpartition("/")[0], float(seq))
    lanes.intent(entry)
    if accepted:
        accept(lanes, seq)
    return entry


def accept(lanes: Lanes, seq: int) -> None:
    entry = lanes.entries[seq]
    entry.version, entry.base, entry.is_replayable = seq, str(seq - 1), not entry.marks
    lanes.accepted(seq)


def bulk(lanes: Lanes, seq: int, *prefixes: str, accepted: bool = True) -> Entry:
    """A write that marks its prefixes."""
    entry = Entry(seq, "DELETE", ORDERS, (), None, prefixes[0], float(seq), marks=prefixes)
    lanes.intent(entry)
    if accepted:
        accept(lanes, seq)
    return entry


def seqs(entries: list[Entry]) -> list[int]:
    return [entry.seq for entry in entries]


def test_mark_sweeps_both_listings_and_what_is_older_and_unsettled() -> None:
    lanes = Lanes()
    write(lanes, 1, key(1))
    bulk(lanes, 2, ORDERS)
    began = list(lanes.commands(0))
    assert began == [List(2), Repair(key(1), (1,))], "the older entry is repaired, not replayed"
    assert lanes.listed(2, [key(1), key(7)]) == []
    assert list(lanes.commands(0)) == [Repair(key(7), ())]
    assert seqs(lanes.repaired(key(1), (1,))) == [1]
    assert lanes.unsettled_writes() == 1
    assert seqs(lanes.repaired(key(7), ())) == [2], "the last key settles the mark"
    assert (lanes.entries, lanes.lanes, lanes.by_prefix, lanes.is_idle()) == ({}, {}, {}, True)


def test_a_mark_over_nothing_is_settled_by_the_listing_itself() -> None:
    lanes = Lanes()
    bulk(lanes, 1, ORDERS)
    assert list(lanes.commands(0)) == [List(1)]
    assert seqs(lanes.listed(1, [])) == [1]


def test_younger_wait_under_a_mark_from_its_intent_on_and_others_go_on() -> None:
    lanes = Lanes()
    bulk(lanes, 1, ORDERS, accepted=False)
    write(lanes, 2, key(2))
    write(lanes, 3, "/api/stock/3")
    assert list(lanes.commands(0)) == [Replay(3)]
    lanes.ended(1, EntryEvent.REJECTED)
    assert list(lanes.commands(0)) == [Replay(2)], "a rejected mark lets go of what waited"


def test_overlap_repairs_what_was_under_way_together_with_a_mark() -> None:
    """A POST whose record the mark deleted must not be created again at the secondary by its own replay."""
    lanes = Lanes()
    write(lanes, 1, key(1), accepted=False)
    bulk(lanes, 2, ORDERS, accepted=False)
    write(lanes, 3, key(3))
    accept(lanes, 2)
    assert list(lanes.commands(0)) == [List(2), Repair(key(1), ())]
    lanes.listed(2, [])
    assert seqs(lanes.repaired(key(1), ())) == [2]
    assert list(lanes.commands(0)) == [Repair(key(3), (3,))]
    accept(lanes, 1)
    assert list(lanes.commands(0)) == [Repair(key(1), (1,))], "it was in flight: a further repair settles it"


def test_a_write_begun_after_the_mark_was_accepted_is_replayed_once_it_is_settled() -> None:
    lanes = Lanes()
    bulk(lanes, 1, ORDERS)
    write(lanes, 2, key(2))
    assert list(lanes.commands(0)) == [List(1)]
    lanes.listed(1, [])
    assert list(lanes.commands(0)) == [Replay(2)]


def test_two_marks_that_touch_go_one_after_the_other() -> None:
    lanes = Lanes()
    bulk(lanes, 1, ORDERS)
    bulk(lanes, 2, "/api")
    bulk(lanes, 3, "/api/stock")
    assert list(lanes.commands(0)) == [List(1)]
    lanes.listed(1, [])
    assert list(lanes.commands(0)) == [List(2)]
    lanes.listed(2, [])
    assert list(lanes.commands(0)) == [List(3)]


def test_a_repair_that_began_before_the_mark_does_not_serve_it() -> None:
    lanes = Lanes()
    write(lanes, 1, key(1)).is_replayable = False
    lanes.entries[1].is_replayable = False
    assert list(lanes.commands(0)) == [Repair(key(1), (1,))]
    bulk(lanes, 2, ORDERS)
    assert list(lanes.commands(0)) == [List(2)]
    lanes.listed(2, [key(1)])
    assert seqs(lanes.repaired(key(1), (1,))) == [1], (
        "its read of the primary may lie before the mark's write"
    )
    assert list(lanes.commands(0)) == [Repair(key(1), ())]
    assert seqs(lanes.repaired(key(1), ())) == [2]


def test_a_failed_repair_of_a_swept_key_is_tried_again_for_the_mark() -> None:
    lanes = Lanes()
    bulk(lanes, 1, ORDERS)
    list(lanes.commands(0))
    lanes.listed(1, [key(1)])
    assert list(lanes.commands(0)) == [Repair(key(1), ())]
    lanes.repair_failed(key(1), 0)
    assert list(lanes.commands(10)) == [Repair(key(1), ())]
    assert seqs(lanes.repaired(key(1), ())) == [1]


def test_a_dead_key_keeps_no_mark_from_being_settled() -> None:
    lanes = Lanes()
    write(lanes, 1, key(1))
    lanes.entries[1].is_replayable = False
    list(lanes.commands(0))
    lanes.dead(key(1))
    bulk(lanes, 2, ORDERS)
    assert list(lanes.commands(0)) == [List(2)]
    assert seqs(lanes.listed(2, [key(1)])) == [2]


def test_a_key_that_dies_under_a_sweep_settles_it_if_it_was_the_last() -> None:
    lanes = Lanes()
    write(lanes, 1, key(1))
    bulk(lanes, 2, ORDERS)
    list(lanes.commands(0))
    lanes.listed(2, [key(1)])
    assert seqs(lanes.dead(key(1))) == [2]
    lanes.revive(key(1))
    assert list(lanes.commands(0)) == [Repair(key(1), (1,))]


def test_barrier_a_reader_waits_for_the_marks_over_its_key() -> None:
    lanes = Lanes()
    bulk(lanes, 1, ORDERS, "/api/stock", accepted=False)
    assert not lanes.is_key_settled(key(5))
    assert not lanes.is_key_settled("/api/stock/1")
    assert lanes.is_key_settled("/api/customers/1")
    assert list(lanes.unsettled_seqs(key(5), None)) == [1]
    assert list(lanes.unsettled_seqs(None, ["/api/stock"])) == [1]
    accept(lanes, 1)
    list(lanes.commands(0))
    lanes.listed(1, [])
    assert lanes.is_key_settled(key(5))


def test_a_listing_that_failed_is_asked_again_later() -> None:
    lanes = Lanes()
    bulk(lanes, 1, ORDERS)
    list(lanes.commands(0))
    lanes.list_failed(1, 0.0)
    assert list(lanes.commands(0)) == []
    at_s = lanes.next_at_s()
    assert at_s is not None
    assert list(lanes.commands(at_s)) == [List(1)]


def test_unlistable_gap_what_cannot_be_listed_is_left_to_a_gap_mark() -> None:
    lanes = Lanes()
    bulk(lanes, 1, "/checkout")
    write(lanes, 2, "/checkout/2")
    list(lanes.commands(0))
    lanes.needs_gap(1)
    assert list(lanes.commands(0)) == [Gap(1, ("/checkout",))]
    assert seqs(lanes.gapped(1)) == [1]
    assert list(lanes.commands(0)) == [Replay(2)]


def test_a_gap_mark_needs_no_secondary() -> None:
    lanes = Lanes()
    lanes.recovered(Entry(1, "POST", "/rpc", (), None, "/rpc", 0.0, state=EntryState.ACCEPTED), 0.0)
    lanes.is_secondary_up = False
    assert list(lanes.commands(0)) == [Gap(1, ("/rpc",))]


def test_a_mark_that_a_start_found_is_swept_again() -> None:
    mark = Entry(4, "DELETE", ORDERS, (), None, ORDERS, 0.0, marks=(ORDERS,))
    lanes = Lanes()
    lanes.recovered(replace(mark), 0.0)
    lanes.recovered(replace(mark, seq=5, state=EntryState.ACCEPTED), 0.0)
    assert list(lanes.commands(0)) == [Void(4)], (
        "the older one may have been done or not: the younger waits for it"
    )
    lanes.voided_done(4, "", None)
    assert list(lanes.commands(0)) == [List(4)]


def test_at_most_so_many_keys_of_a_sweep_are_under_way() -> None:
    lanes = Lanes(lanes_at_once_max=4)
    bulk(lanes, 1, ORDERS)
    list(lanes.commands(0))
    lanes.listed(1, [key(number) for number in range(1000)])
    assert len(lanes.lanes) == 32, "lanes exist for what is under way, not for all that was listed"
    done = 0
    settled: list[Entry] = []
    while commands := list(lanes.commands(0)):
        assert len(commands) <= 4
        for command in commands:
            assert isinstance(command, Repair)
            settled += lanes.repaired(command.key, command.covers)
            done += 1
    assert done == 1000
    assert seqs(settled) == [1]


def test_affects_beside_a_learned_key_sweeps_that_key_too() -> None:
    lanes = Lanes()
    entry = Entry(1, "POST", ORDERS, (), None, ORDERS, 0.0, marks=("/api/stock",), can_learn_key=True)
    lanes.intent(entry)
    entry.key = key(9)
    lanes.accepted(1)
    assert list(lanes.commands(0)) == [List(1), Repair(key(9), ())]
    assert lanes.listed(1, []) == []
    assert seqs(lanes.repaired(key(9), ())) == [1]
