"""The checker finds what it is for, and accuses nobody of what may be."""

from __future__ import annotations

import json

from tests.support.checker import State, Verdict, judge
from tests.support.load import Log, Told, Write, told_by
from tests.support.raw_http import Response

ACKNOWLEDGED, REFUSED, NOTHING = Told.ACKNOWLEDGED, Told.REFUSED, Told.NOTHING


def create(value: str, identity: str | None, began: int = 1, told: Told = ACKNOWLEDGED) -> Write:
    register = f"orders/{identity}/v" if identity else ""
    return Write(0, "POST", register, value, began, None if told is NOTHING else began + 1, told=told)


def put(value: str | None, began: int, ended: int | None, told: Told = ACKNOWLEDGED) -> Write:
    return Write(0, "PUT" if value else "DELETE", "stock/s1/v", value, began, ended, told=told)


def state(orders: dict[str, dict] | None = None, stock: dict[str, dict] | None = None) -> State:
    def raw(records: dict[str, dict] | None) -> dict[str, bytes]:
        return {identity: json.dumps(record).encode() for identity, record in (records or {}).items()}

    return {"orders": raw(orders), "stock": raw(stock), "settings": {}}


def verdict(writes: list[Write], one: State, other: State | None = None) -> Verdict:
    return judge(Log(writes), {"json": one, "postgres": one if other is None else other})


ORDER = {"tag": "a", "v": "a"}


def test_a_write_that_is_on_both_is_clean() -> None:
    assert verdict([create("a", "1")], state({"1": ORDER})).is_clean


def test_an_acknowledged_create_that_is_nowhere_is_lost_on_both() -> None:
    found = verdict([create("a", "1")], state())
    assert len(found.lost) == 2
    assert found.lost[0].startswith("json")


def test_an_acknowledged_create_that_the_secondary_lacks_is_lost_and_unequal() -> None:
    found = verdict([create("a", "1")], state({"1": ORDER}), state())
    assert [one.split(":")[0] for one in found.lost] == ["postgres"]
    assert found.unequal == ['orders/1: json {"tag": "a", "v": "a"}, postgres nothing']


def test_a_create_found_twice_is_doubled() -> None:
    found = verdict([create("a", None, told=NOTHING)], state({"1": ORDER, "2": ORDER}))
    assert found.doubled == ["json: 2 records of a", "postgres: 2 records of a"]


def test_a_create_under_another_id_than_answered_is_doubled() -> None:
    assert verdict([create("a", "1"), put("x", 5, 6)], state({"2": ORDER})).doubled


def test_a_create_without_an_answer_may_be_there_or_not() -> None:
    writes = [create("a", None, told=NOTHING)]
    assert verdict(writes, state({"1": ORDER})).is_clean
    assert verdict(writes, state()).is_clean


def test_a_refused_create_that_is_there_is_unasked() -> None:
    assert verdict([create("a", None, told=REFUSED)], state({"1": ORDER})).unasked


def test_a_record_of_nobody_is_unasked() -> None:
    assert verdict([], state({"1": {"tag": "b", "v": "b"}})).unasked
    assert verdict([], state({"1": {"v": "b"}})).unasked
    assert verdict([], state({}, {"s9": {"v": "b"}})).unasked


def test_an_older_value_after_a_newer_was_acknowledged_is_lost() -> None:
    writes = [put("old", 1, 2), put("new", 3, 4)]
    assert verdict(writes, state({}, {"s1": {"v": "old"}})).lost
    assert verdict(writes, state({}, {"s1": {"v": "new"}})).is_clean


def test_of_two_writes_that_overlapped_either_may_be_last() -> None:
    writes = [put("one", 1, 4), put("two", 2, 3)]
    assert verdict(writes, state({}, {"s1": {"v": "one"}})).is_clean
    assert verdict(writes, state({}, {"s1": {"v": "two"}})).is_clean


def test_a_write_without_an_answer_may_come_after_a_later_one() -> None:
    writes = [put("cut", 1, None, NOTHING), put("new", 3, 4)]
    assert verdict(writes, state({}, {"s1": {"v": "cut"}})).is_clean


def test_the_value_of_a_refused_write_is_lost_or_unasked() -> None:
    assert verdict([put("no", 1, 2, REFUSED)], state({}, {"s1": {"v": "no"}})).unasked
    assert verdict([put("yes", 1, 2), put("no", 3, 4, REFUSED)], state({}, {"s1": {"v": "no"}})).lost


def test_a_deleted_order_that_is_there_again_is_lost() -> None:
    gone = Write(0, "DELETE", "orders/1/v", None, 3, 4, told=ACKNOWLEDGED)
    assert verdict([create("a", "1"), gone], state({"1": ORDER})).lost
    assert verdict([create("a", "1"), gone], state()).is_clean


def test_a_deletion_without_an_answer_may_have_happened() -> None:
    gone = Write(0, "DELETE", "orders/1/v", None, 3, told=NOTHING)
    assert verdict([create("a", "1"), gone], state()).is_clean
    assert verdict([create("a", "1"), gone], state({"1": ORDER})).is_clean


def test_a_repeat_under_the_same_key_that_is_answered_otherwise_counts_as_doubled() -> None:
    log = Log([create("a", "1")], ["key-a: 201 other"])
    one = state({"1": ORDER})
    assert judge(log, {"json": one, "postgres": one}).doubled == ["key-a: 201 other"]


def test_an_answer_promises_only_what_it_says() -> None:
    def said(status: int, *headers: tuple[str, str], body: bytes = b"") -> Told:
        return told_by(Response(status, b"", list(headers), body))

    assert said(201) is ACKNOWLEDGED
    assert said(404) is REFUSED
    assert said(503, ("Retry-After", "1")) is REFUSED
    assert said(503) is NOTHING
    assert said(503, ("Retry-After", "1"), ("X-Served-By", "json")) is NOTHING
    assert said(408) is NOTHING
    assert said(502) is NOTHING
    assert said(409, body=b'{"code":"idempotency-running"}') is NOTHING
