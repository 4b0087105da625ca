"""Columns answer every list exactly as backends.query does, whatever has changed in between."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from backends.json_columns import Columns
from backends.json_text import cannot_hold
from backends.query import Filter, Matcher, Operator, Query, Selection, SortBy
from backends.store import State

FIELDS = ("a", "b", "a_gte", "c.d", "id")
SCALARS = st.one_of(
    st.sampled_from([None, True, False, 0, 1, -1, 10, 2**60, 1.0, 0.5, 10.0, "", "1", "10", "a", "b", "true", "null", "ä"]),
    st.integers(-3, 3),
)  # fmt: skip
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(st.just("d"), SCALARS))
UNIFORM = st.sampled_from(
    [st.integers(-3, 12) | st.sampled_from([0.5, 10.0]), st.sampled_from(["a", "b", "1", "ä"])]
)


@st.composite
def records(draw: st.DrawFn) -> dict[str, object]:
    return draw(st.dictionaries(st.sampled_from(["a", "b", "a_gte", "c"]), VALUES, max_size=3))


FILTERS = st.builds(
    lambda field, operator, values, is_suffixed: Filter(
        f"{field}_{operator}" if operator is not Operator.EQ or is_suffixed else field, field, operator, tuple(values)
    ),
    st.sampled_from(FIELDS),
    st.sampled_from(list(Operator)),
    st.lists(st.sampled_from(["1", "10", "0.5", "a", "true", "null", "", "1,10", "ä", "1e1"]), min_size=1, max_size=2),
    st.just(False),
)  # fmt: skip
QUERIES = st.builds(
    Query,
    filters=st.lists(FILTERS, max_size=2).map(tuple),
    sort=st.lists(st.builds(SortBy, st.sampled_from(FIELDS), st.booleans()), max_size=2).map(tuple),
    offset=st.integers(0, 3),
    limit=st.integers(0, 6),
)


def expected(live: dict[str, State], query: Query) -> tuple[list[bytes], int]:
    selection = Selection(query)
    for state in live.values():
        selection.add(state.body or b"")
    bodies, total = selection.page()
    return list(bodies), total


def answered(columns: Columns, query: Query) -> tuple[list[bytes], int]:
    columns.need(query)
    while not columns.catch_up(2):
        pass
    assert columns.has(query)
    return columns.page(query)


IDS = st.sampled_from(["1", "2", "3", "10", "x", "y"])
STEPS = st.lists(st.tuples(IDS, st.none() | records()), max_size=12)


def change(live: dict[str, State], columns: Columns | None, record_id: str, record: dict | None) -> None:
    if record is None:
        live.pop(record_id, None)
    else:
        own_id: object = int(record_id) if record_id.isdigit() else record_id
        live[record_id] = State(json.dumps({"id": own_id, **record}).encode(), None, 0)
    if columns is not None:
        columns.touch(record_id)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.lists(st.tuples(QUERIES, STEPS), min_size=1, max_size=4))
def test_a_list_from_columns_is_the_list_from_the_records(first: list, rounds: list) -> None:
    live: dict[str, State] = {}
    for record_id, record in first:
        change(live, None, record_id, record)
    columns = Columns(live)
    for query, steps in rounds:
        assert answered(columns, query) == expected(live, query)
        for record_id, record in steps:
            change(live, columns, record_id, record)
        assert answered(columns, query) == expected(live, query)


@settings(max_examples=150, deadline=None)
@given(UNIFORM.flatmap(lambda values: st.lists(values, min_size=1, max_size=8)), QUERIES)
def test_columns_of_one_kind_are_compared_alike(values: list, query: Query) -> None:
    live: dict[str, State] = {}
    for place, value in enumerate(values):
        change(live, None, str(place), {"a": value, "b": value})
    assert answered(Columns(live), query) == expected(live, query)


def test_places_of_the_deleted_are_closed_up_and_nothing_is_lost() -> None:
    live: dict[str, State] = {}
    for number in range(4000):
        change(live, None, str(number), {"a": number % 7})
    columns = Columns(live)
    query = Query(filters=(Filter("a", "a", Operator.EQ, ("3",)),), sort=(SortBy("id", True),), limit=1000)
    assert answered(columns, query) == expected(live, query)
    for number in range(0, 4000, 2):
        change(live, columns, str(number), None)
    change(live, columns, "0", {"a": 3})
    change(live, columns, "5001", {"a": 3})
    assert answered(columns, query) == expected(live, query)
    assert len(columns._ids) == len(live)


def test_more_fields_than_there_is_room_for_are_answered_all_the_same() -> None:
    live: dict[str, State] = {}
    change(live, None, "1", {f"f{at}": at for at in range(40)})
    columns = Columns(live)
    for at in range(40):
        query = Query(filters=(Filter(f"f{at}", f"f{at}", Operator.EQ, (str(at),)),))
        assert answered(columns, query)[1] == 1
    assert len(columns._columns) == 16


TEXTS = st.text(st.sampled_from('abKß\\"1-.e\u212aſ\n'), min_size=1, max_size=3)


@settings(max_examples=300, deadline=None)
@given(
    TEXTS,
    st.dictionaries(TEXTS, TEXTS | st.integers() | st.floats(allow_nan=False, allow_infinity=False)),
    st.booleans(),
)
def test_a_record_that_is_left_out_of_a_search_holds_no_such_text(
    text: str, record: dict, is_ascii: bool
) -> None:
    is_out = cannot_hold(text)
    body = json.dumps(record, ensure_ascii=is_ascii).encode()
    if is_out is not None and is_out(body):
        assert not Matcher(Query(text=text))(record)


def test_a_search_does_leave_records_out() -> None:
    is_out = cannot_hold("Bob")
    assert is_out is not None
    assert [is_out(body) for body in (b'{"a":"BOBBY"}', b'{"a":"ann"}', b'{"a":"\\n"}')] == [
        False,
        True,
        False,
    ]
