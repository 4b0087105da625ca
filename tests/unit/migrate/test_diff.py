"""The difference of two JSON values: every one is found, at its place, of its kind, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.migrate.diff import SHOWN_CHARS_MAX, Difference, Kind, differences, record_differences

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.sampled_from(
    ["a", "b", "a/b", "~1", "10", ""]
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


def encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def resolve(value: Any, pointer: str) -> tuple[bool, Any]:
    """Whether a pointer leads somewhere in a value, and to what (RFC 6901)."""
    for segment in pointer.split("/")[1:]:
        name = segment.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return False, None
    return True, value


@pytest.mark.parametrize(
    ("primary", "secondary", "pointer", "kind"),
    [
        ('{"a":{"b":[1,2]}}', '{"a":{"b":[1,3]}}', "/a/b/1", Kind.VALUE),
        ('{"a":1}', '{"a":"1"}', "/a", Kind.TYPE),
        ('{"a":{}}', '{"a":[]}', "/a", Kind.TYPE),
        ('{"a":true}', '{"a":1}', "/a", Kind.TYPE),
        ('{"a":1,"b":2}', '{"a":1}', "/b", Kind.MISSING),
        ('{"a":[1]}', '{"a":[1,2]}', "/a/1", Kind.EXTRA),
        ('{"a":null}', "{}", "/a", Kind.NULL_VS_MISSING),
        ("{}", '{"a":null}', "/a", Kind.NULL_VS_MISSING),
        ('{"a":1.0}', '{"a":1}', "/a", Kind.NUMBER_TEXT),
        ('{"a":1e22}', '{"a":10000000000000000000000}', "/a", Kind.NUMBER_TEXT),
        ('{"a":9007199254740993}', '{"a":9007199254740992}', "/a", Kind.VALUE),
        ('{"a":18446744073709551617}', '{"a":18446744073709551616.0}', "/a", Kind.VALUE),
        ('{"a":1,"b":2}', '{"b":2,"a":1}', "", Kind.KEY_ORDER),
        ('{"~/":1}', '{"~/":2}', "/~0~1", Kind.VALUE),
        ('{"a":"é"}', '{"a":"e\u0301"}', "/a", Kind.VALUE),
        ('{"a": 1}', '{"a":1}', "", Kind.ENCODING),
        ('{"a":"\\u00e9"}', '{"a":"é"}', "", Kind.ENCODING),
    ],
)
def test_a_difference_is_named_by_its_place_and_kind(
    primary: str, secondary: str, pointer: str, kind: Kind
) -> None:
    assert [(one.pointer, one.kind) for one in record_differences(primary.encode(), secondary.encode())] == [
        (pointer, kind)
    ]


def test_both_texts_are_shown_as_they_are_written() -> None:
    assert record_differences(b'{"a":{"n":1.10}}', b'{"a":[]}') == [
        Difference("/a", Kind.TYPE, '{"n":1.10}', "[]")
    ]


def test_a_side_that_has_nothing_shows_nothing() -> None:
    told = record_differences(b'{"a":null}', b"{}")[0].as_json()
    assert told == {"pointer": "/a", "kind": "null-vs-missing", "primary": "null"}


def test_fields_that_only_one_side_has_do_not_count_as_reordered() -> None:
    found = record_differences(b'{"a":1,"x":0,"b":2}', b'{"a":1,"b":2,"y":0}')
    assert {(one.pointer, one.kind) for one in found} == {("/x", Kind.MISSING), ("/y", Kind.EXTRA)}


def test_long_values_are_cut_and_the_number_of_differences_is_bounded() -> None:
    primary = {str(number): "x" * 5000 for number in range(300)}
    found = record_differences(encoded(primary), b"{}", limit=20)
    assert len(found) == 20
    assert all(len(one.primary or "") <= SHOWN_CHARS_MAX for one in found)


def test_a_value_nested_deeper_than_the_stack_is_still_told_apart() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    assert record_differences(b'{"a":' + deep + b"}", b'{"a":1}')[0].kind == Kind.VALUE
    assert differences(_nested(900, 1), _nested(900, 2))[0].pointer == "/0" * 900


def _nested(levels: int, inner: Any) -> Any:
    for _ in range(levels):
        inner = [inner]
    return inner


@given(values, values)
def test_no_difference_is_found_exactly_where_the_bytes_are_equal(primary: Any, secondary: Any) -> None:
    left, right = encoded({"v": primary}), encoded({"v": secondary})
    assert (record_differences(left, right) == []) == (left == right)


@given(values)
def test_a_value_does_not_differ_from_itself(value: Any) -> None:
    assert differences(value, value) == []


@given(values, values)
def test_the_other_way_round_the_same_places_differ(primary: Any, secondary: Any) -> None:
    turned = {Kind.MISSING: Kind.EXTRA, Kind.EXTRA: Kind.MISSING}
    there = differences(primary, secondary, limit=10_000)
    back = differences(secondary, primary, limit=10_000)
    assert {(one.pointer, turned.get(one.kind, one.kind), one.secondary, one.primary) for one in there} == {
        (one.pointer, one.kind, one.primary, one.secondary) for one in back
    }


@given(values, values)
def test_each_pointer_leads_to_what_it_says(primary: Any, secondary: Any) -> None:
    for one in differences(primary, secondary, limit=10_000):
        in_primary, left = resolve(primary, one.pointer)
        in_secondary, right = resolve(secondary, one.pointer)
        assert (in_primary, in_secondary) == (one.primary is not None, one.secondary is not None)
        assert in_primary or in_secondary
        if one.kind == Kind.NULL_VS_MISSING:
            assert (left if in_primary else right) is None
        if one.kind in (Kind.MISSING, Kind.EXTRA):
            assert in_primary == (one.kind == Kind.MISSING)


@given(st.dictionaries(keys, values, min_size=1, max_size=5), st.data())
def test_one_changed_field_is_the_only_one_named(record: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(record)))
    changed = {**record, name: {"not": "there before"}}
    pointer = "/" + name.replace("~", "~0").replace("/", "~1")
    found = differences(record, changed)
    assert found
    assert all(one.pointer == pointer or one.pointer.startswith(pointer + "/") for one in found)
