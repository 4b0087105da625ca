"""Plain upstreams, rule by rule: the lanes' part without I/O, the repair's part against two servers in memory."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from proxy.errors import UpstreamError
from proxy.journal.entry import Entry, EntryState
from proxy.journal.store import JournalMeta, Recovered
from proxy.kinds import Kind, Kinds, kind_shown
from proxy.mirror.lanes import Lanes, List, Repair, Replay, Void
from proxy.mirror.plain import PlainRepair
from proxy.mirror.settle import Verdict, is_same_value
from proxy.mirror.state import MirrorState, Roles
from proxy.model import MirrorSettings, Reply

KEY = "/items/1"
LATE_S = 60.0


# -- the lanes ---------------------------------------------------------------------------------------


def plain_lanes() -> Lanes:
    lanes = Lanes()
    lanes.is_plain = True
    lanes.late_s = LATE_S
    return lanes


def intent(lanes: Lanes, seq: int, key: str | None = KEY, *, learns: bool = False) -> Entry:
    entry = Entry(seq, "POST" if key is None else "PUT", KEY, (), key, "/items", 0.0, can_learn_key=learns)
    lanes.intent(entry)
    return entry


def accept(lanes: Lanes, seq: int, key: str = KEY) -> None:
    entry = lanes.entries[seq]
    entry.key, entry.is_replayable = key, True
    lanes.accepted(seq)


def test_overlap_plain_two_writes_of_one_key_under_way_together_are_repaired() -> None:
    lanes = plain_lanes()
    intent(lanes, 1)
    intent(lanes, 2)
    accept(lanes, 2)
    assert list(lanes.commands(0)) == [Repair(KEY, (2,))]
    accept(lanes, 1)
    lanes.repaired(KEY, (2,))
    assert list(lanes.commands(0)) == [Repair(KEY, (1,))]


def test_overlap_plain_one_after_the_other_they_are_replayed() -> None:
    lanes = plain_lanes()
    for seq in (1, 2):
        intent(lanes, seq)
        accept(lanes, seq)
    assert list(lanes.commands(0)) == [Replay(1)]
    lanes.replayed(1, is_equal=True)
    assert list(lanes.commands(0)) == [Replay(2)]


def test_overlap_plain_counts_for_a_post_whose_key_is_known_late() -> None:
    """Its record was changed, and that was mirrored already, before the POST's own answer came: a replay would undo it."""
    lanes = plain_lanes()
    intent(lanes, 1, None, learns=True)
    intent(lanes, 2)
    accept(lanes, 2)
    list(lanes.commands(0))
    lanes.replayed(2, is_equal=True)
    accept(lanes, 1)
    assert list(lanes.commands(0)) == [Repair(KEY, (1,))]


def test_between_versioned_upstreams_overlapping_writes_are_replayed_in_version_order() -> None:
    lanes = Lanes()
    intent(lanes, 1)
    intent(lanes, 2)
    for seq in (1, 2):
        accept(lanes, seq)
    assert list(lanes.commands(0)) == [Replay(1)]


def test_presumed_done_a_key_in_doubt_is_repaired_and_settles_only_when_nothing_can_arrive() -> None:
    lanes = plain_lanes()
    intent(lanes, 1)
    lanes.doubtful(1, 5.0)
    assert list(lanes.commands(5.0)) == [Void(1)]
    lanes.presumed_done(1, 5.0)
    assert list(lanes.commands(5.0)) == [Repair(KEY, (1,))]
    assert lanes.lanes[KEY].look_from_s == 5.0 + LATE_S
    lanes.repair_waits(KEY)
    assert list(lanes.commands(6.0)) == []
    assert lanes.next_at_s() == 5.0 + LATE_S
    assert list(lanes.commands(5.0 + LATE_S)) == [Repair(KEY, (1,))]


def test_presumed_done_a_post_marks_its_collection_which_is_listed_when_it_must_have_arrived() -> None:
    lanes = plain_lanes()
    intent(lanes, 1, None, learns=True)
    lanes.doubtful(1, 0.0)
    list(lanes.commands(0.0))
    lanes.presumed_done(1, 0.0)
    assert list(lanes.commands(1.0)) == []
    assert not lanes.is_key_settled("/items/77"), "a reader of any key there waits"
    assert list(lanes.commands(LATE_S)) == [List(1)]


def test_late_look_holds_for_what_a_start_finds_too() -> None:
    """The process before may have sent what is still under way."""
    lanes = plain_lanes()
    lanes.recovered(Entry(1, "PUT", KEY, (), KEY, "/items", 0.0, state=EntryState.ACCEPTED), 7.0)
    assert lanes.lanes[KEY].look_from_s == 7.0 + LATE_S


# -- the repair --------------------------------------------------------------------------------------


@dataclass
class Clock:
    now_s: float = 0.0

    def now(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return self.now_s


@dataclass
class Servers:
    """A ports.Sender over two stores; the secondary's ways can be chosen."""

    old: dict[str, dict] = field(default_factory=dict)
    new: dict[str, dict] = field(default_factory=dict)
    makes_by_put: bool = False
    renumbers: bool = False
    adds: dict = field(default_factory=dict)
    is_cut: bool = False
    hides: bool = False
    """It answers 404 to a look, and 409 to a POST: the record is there, or was until now."""
    sent: list[str] = field(default_factory=list)

    async def send(
        self,
        upstream: str,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        timeout_s: float,
    ) -> Reply:
        assert not any(name.startswith("Turnout-") and name != "Turnout-Mirror" for name, _ in headers)
        store = self.old if upstream == "old" else self.new
        self.sent.append(f"{upstream} {method} {target}")
        if self.hides and upstream == "new":
            return Reply(409 if method == "POST" else 404, (), b"")
        if method == "GET":
            return Reply(404, (), b"") if target not in store else self._shown(store[target])
        assert upstream == "new", "the primary is only looked at"
        if self.is_cut:
            raise UpstreamError("cut")
        if method == "DELETE":
            return Reply(404 if store.pop(target, None) is None else 204, (), b"")
        if method == "PUT" and target not in store and not self.makes_by_put:
            return Reply(404, (), b"")
        record = {**json.loads(body), **self.adds}
        if method == "POST":
            record["id"] = 900 if self.renumbers else record["id"]
            target = f"{target}/{record['id']}"
        store[target] = record
        return self._shown(record, 201 if method == "POST" else 200)

    def _shown(self, record: dict, status: int = 200) -> Reply:
        return Reply(status, (("Content-Type", "application/json"),), json.dumps(record).encode())


def repairer(servers: Servers, **settings: object) -> tuple[PlainRepair, MirrorState, Clock]:
    clock = Clock()
    entry = Entry(1, "PUT", KEY, (), KEY, "/items", 0.0, state=EntryState.ACCEPTED)
    recovered = Recovered(JournalMeta("j"), 2, [entry], [], [], [])
    kinds = Kinds()
    kinds.shown("old", Kind.PLAIN)
    kinds.shown("new", Kind.PLAIN)
    state = MirrorState(
        recovered,
        MirrorSettings(**settings),
        Roles("old", "new", 1, "j", "secret"),
        0.0,
        kinds=kinds,
        late_s=0.0,  # type: ignore[arg-type]
    )
    list(state.lanes.commands(0.0))
    return PlainRepair(state, servers, clock), state, clock


async def test_look_settles_what_is_equal_is_settled_without_a_write() -> None:
    servers = Servers({KEY: {"id": 1, "n": 1}}, {KEY: {"n": 1.0, "id": 1}})
    repair, _, _ = repairer(servers)
    assert (await repair.run(KEY)).verdict is Verdict.SETTLED
    assert servers.sent == [f"old GET {KEY}", f"new GET {KEY}"]


async def test_look_settles_after_a_write_both_are_looked_at_again() -> None:
    servers = Servers({KEY: {"id": 1, "n": 2}}, {KEY: {"id": 1, "n": 1}})
    repair, _, _ = repairer(servers)
    assert (await repair.run(KEY)).verdict is Verdict.SETTLED
    looks = [f"old GET {KEY}", f"new GET {KEY}"]
    assert servers.sent == [*looks, f"new PUT {KEY}", *looks]


async def test_a_missing_record_is_made_by_post_where_put_is_404() -> None:
    servers = Servers({KEY: {"id": 1}})
    repair, _, _ = repairer(servers)
    assert (await repair.run(KEY)).verdict is Verdict.SETTLED
    assert servers.new == servers.old


async def test_a_conflict_says_that_an_earlier_try_has_arrived_so_the_key_is_looked_at_again() -> None:
    servers = Servers({KEY: {"id": 1, "n": 2}}, {KEY: {"id": 1, "n": 1}}, hides=True)
    repair, _, _ = repairer(servers)
    assert (await repair.run(KEY)).verdict is Verdict.AGAIN
    servers.hides = False
    assert (await repair.run(KEY)).verdict is Verdict.SETTLED
    assert servers.new == servers.old


async def test_same_difference_a_server_that_neither_shows_a_record_nor_takes_it_is_no_case_for_ever() -> (
    None
):
    servers = Servers({KEY: {"id": 1}}, hides=True)
    repair, _, _ = repairer(servers)
    assert [(await repair.run(KEY)).verdict for _ in range(3)] == [Verdict.AGAIN, Verdict.AGAIN, Verdict.DEAD]


async def test_what_is_gone_is_deleted() -> None:
    servers = Servers({}, {KEY: {"id": 1}})
    repair, _, _ = repairer(servers)
    assert (await repair.run(KEY)).verdict is Verdict.SETTLED
    assert servers.new == {}


async def test_late_look_an_equal_look_that_began_too_early_waits() -> None:
    servers = Servers({KEY: {"id": 1}}, {KEY: {"id": 1}})
    repair, state, clock = repairer(servers)
    state.lanes.lanes[KEY].look_from_s = 10.0
    clock.now_s = 9.9
    assert (await repair.run(KEY)).verdict is Verdict.WAIT
    clock.now_s = 10.0
    assert (await repair.run(KEY)).verdict is Verdict.SETTLED


async def test_late_look_a_write_without_an_answer_is_waited_out() -> None:
    servers = Servers({KEY: {"id": 1, "n": 2}}, {KEY: {"id": 1, "n": 1}}, is_cut=True)
    repair, state, clock = repairer(servers)
    state.lanes.late_s, clock.now_s = LATE_S, 100.0
    assert (await repair.run(KEY)).verdict is Verdict.AWAY
    assert state.lanes.lanes[KEY].look_from_s == 100.0 + LATE_S


async def test_same_difference_a_server_with_a_way_of_its_own_makes_a_dead_letter_that_names_the_fields() -> (
    None
):
    servers = Servers({KEY: {"id": 1, "n": 2}}, {KEY: {"id": 1}}, adds={"touched": "now"})
    repair, _, _ = repairer(servers)
    verdicts = [(await repair.run(KEY)).verdict for _ in range(2)]
    assert verdicts == [Verdict.AGAIN, Verdict.AGAIN]
    last = await repair.run(KEY)
    assert last.verdict is Verdict.DEAD
    assert "touched" in last.detail
    assert "mirror.compare.ignore" in last.detail


async def test_a_field_that_is_named_to_be_ignored_makes_no_difference() -> None:
    servers = Servers({KEY: {"id": 1, "n": 2}}, {KEY: {"id": 1}}, adds={"touched": "now"})
    repair, _, _ = repairer(servers, ignore=frozenset({"touched"}))
    assert (await repair.run(KEY)).verdict is Verdict.SETTLED


async def test_stray_mended_a_renumbered_record_is_deleted_and_the_key_is_dead() -> None:
    servers = Servers({KEY: {"id": 1}}, renumbers=True)
    repair, _, _ = repairer(servers)
    came = await repair.run(KEY)
    assert (came.verdict, servers.new) == (Verdict.DEAD, {})
    assert "/items/900" in came.detail


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (b'{"a": 1, "b": [1, 2]}', b'{"b":[1,2],"a":1}', True),
        (b'{"a": 1}', b'{"a": 1.0}', True),
        (b'{"a": 0.1}', b'{"a": 0.10}', True),
        (b'{"a": 1}', b'{"a": true}', False),
        (b'{"a": null}', b"{}", False),
        (b"[1, 2]", b"[2, 1]", False),
        (b"x", b"y", False),
        (b"", b"{}", False),
        (b'{"a": 12345678901234567890.1}', b'{"a": 12345678901234567890.2}', False),
        (b'{"a": 1, "t": 2}', b'{"a": 1, "t": 3}', True),
        (b'{"a": {"t": 2}}', b'{"a": {"t": 3}}', False),
    ],
)
def test_equal_value_compares_json_by_what_it_says(left: bytes, right: bytes, same: bool) -> None:
    assert is_same_value(left, right, frozenset({"t"})) is same


EPOCH = b'{"turnout":1,"epoch":3,"role":"primary","journal":"j","number":1,"counters":{}}'


@pytest.mark.parametrize(
    ("status", "body", "was_versioned", "kind"),
    [
        (200, EPOCH, False, Kind.VERSIONED),
        (200, EPOCH, True, Kind.VERSIONED),
        (404, b"", False, Kind.PLAIN),
        (200, b"<html>", False, Kind.PLAIN),
        (302, b"", False, Kind.PLAIN),
        (405, b"", False, Kind.PLAIN),
        (503, b"", False, Kind.UNKNOWN),
        (401, b"", False, Kind.UNKNOWN),
        (403, b'{"code": "mirror-token"}', False, Kind.UNKNOWN),
        (400, b'{"code": "mirror-token"}', False, Kind.UNKNOWN),
        (404, b"", True, Kind.UNKNOWN),
        (200, b"<html>", True, Kind.UNKNOWN),
    ],
)
def test_never_plain_again_what_an_answer_proves(
    status: int, body: bytes, was_versioned: bool, kind: Kind
) -> None:
    assert kind_shown(status, body, was_versioned=was_versioned)[0] is kind


def test_never_plain_again_a_versioned_upstream_stays_so_and_a_plain_one_may_become_it() -> None:
    kinds = Kinds({"new"})
    kinds.shown("new", Kind.PLAIN)
    kinds.shown("old", Kind.PLAIN)
    kinds.shown("old", Kind.UNKNOWN)
    assert (kinds.of("new"), kinds.of("old")) == (Kind.VERSIONED, Kind.PLAIN)
    kinds.shown("old", Kind.VERSIONED)
    assert kinds.versioned == {"old", "new"}
