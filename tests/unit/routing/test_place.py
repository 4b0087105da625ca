"""place_of, key_of_answer, covers: which resource a path names, and when none."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract.answers import key_of
from proxy.model import KeyTemplate, Place, Route, key_segment, segment_of_key
from proxy.protocol import path_of
from proxy.routing.made import key_of_answer
from proxy.routing.paths import covers, decoded
from proxy.routing.place import place_of
from tests.unit.routing.routings import TEMPLATE, route

API = route("/api/*", template=TEMPLATE)
ORDERS = Place(None, "/api/orders", is_collection=True)


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        ("/api/orders/17", Place("/api/orders/17", "/api/orders")),
        ("/api/orders/17/", Place("/api/orders/17", "/api/orders")),
        ("/api/./orders/../orders/17", Place("/api/orders/17", "/api/orders")),
        ("/%61pi/%6Frders/%31%37", Place("/api/orders/17", "/api/orders")),
        ("/api/orders/a%20b", Place("/api/orders/a b", "/api/orders")),
        ("/api/orders/%C3%A9", Place("/api/orders/é", "/api/orders")),
        ("/api/orders/\u00c3\u00a9", Place("/api/orders/é", "/api/orders")),
        ("/api/orders/a%2Eb", Place("/api/orders/a.b", "/api/orders")),
        ("/api/orders/50%25", Place("/api/orders/50%", "/api/orders")),
        ("/api/orders/a%252Fb", Place("/api/orders/a%252Fb", "/api/orders")),
        ("/api/orders", ORDERS),
        ("/api/orders/", ORDERS),
        ("/api/settings", Place("/api/settings", "/api/settings")),
        ("/api/settings/", Place("/api/settings", "/api/settings")),
    ],
)  # fmt: skip
def test_a_key_is_the_decoded_path_by_the_template(raw: str, place: Place) -> None:
    assert place_of(API, raw) == place


@pytest.mark.parametrize(
    "raw",
    [
        "/api/orders/a%2Fb", "/api/orders/a%2fb", "/api//orders/17", "/api/orders//", "//api/orders/17", "/api/orders/%",
        "/api/orders/%zz", "/api/orders/%2", "/api/orders/%ff", "/api/orders/%C3", "/api/orders/\u00e9",
        "/api/orders/17/lines", "/api/settings/theme", "/api", "/api/", "/", "*",
    ],
)  # fmt: skip
def test_what_does_not_name_one_resource_cleanly_has_no_key_and_the_routes_prefix(raw: str) -> None:
    assert place_of(API, raw) == Place(None, "/api")


def test_a_route_without_a_template_has_no_keys() -> None:
    assert place_of(route("/legacy/*"), "/legacy/x/1") == Place(None, "/legacy")
    assert place_of(route("/*"), "/anything") == Place(None, "")


def test_a_template_with_a_literal_collection_knows_no_other() -> None:
    orders: Route = route("/api/*", template=KeyTemplate("/api/orders/{id}", ("api", "orders", None)))
    assert place_of(orders, "/api/orders/1") == Place("/api/orders/1", "/api/orders")
    assert place_of(orders, "/api/orders") == ORDERS
    assert place_of(orders, "/api/stores/1") == Place(None, "/api")


@given(st.text(alphabet=st.characters(exclude_characters="/", exclude_categories=("Cs",)), min_size=1))
def test_every_id_finds_its_key_however_it_is_encoded(name: str) -> None:
    raw = "/api/orders/" + quote(name, safe="")
    everything = "/api/orders/" + "".join(f"%{octet:02x}" for octet in name.encode())
    if name in (".", ".."):
        return
    key = place_of(API, raw).key
    assert key == f"/api/orders/{key_segment(name)}"
    assert place_of(API, path_of(key)).key == key, "and the key its path"
    assert place_of(API, everything) == place_of(API, raw)


@given(st.text(alphabet="/%25Ffa"), st.text(alphabet="/%25Ffa"))
def test_no_two_segments_are_written_alike_in_a_key_and_none_holds_a_slash(one: str, other: str) -> None:
    assert (key_segment(one) == key_segment(other)) == (one == other)
    assert segment_of_key(key_segment(one)) == one
    assert "/" not in key_segment(one)
    assert key_of("orders", one) == f"/api/orders/{key_segment(one)}", "as the servers write it (V1)"


def test_a_key_whose_id_holds_a_slash_has_the_path_that_names_the_record() -> None:
    assert path_of("/api/orders/a%2Fb") == "/api/orders/a%2Fb"
    assert path_of("/api/orders/a%252Fb") == "/api/orders/a%252Fb"
    assert path_of("/api/orders/50%") == "/api/orders/50%25"


@given(st.text(alphabet="/.%2Fe0aé\u00ff", max_size=30))
def test_decoding_never_fails_and_a_clean_path_has_no_odd_segment(raw: str) -> None:
    path, is_clean = decoded("/" + raw)
    segments = path.split("/")[1:]
    assert "." not in segments
    assert ".." not in segments
    if is_clean:
        assert "" not in segments[:-1]


@pytest.mark.parametrize(
    ("location", "key"),
    [
        ("/api/orders/17", "/api/orders/17"),
        ("/api/orders/17/", "/api/orders/17"),
        ("/api/orders/17?x=1#y", "/api/orders/17"),
        ("https://shop.example/api/orders/17", "/api/orders/17"),
        ("//shop.example/api/orders/17", "/api/orders/17"),
        ("orders/17", "/api/orders/17"),
        (" ./orders/a%20b ", "/api/orders/a b"),
        ("/api/stores/17", None),
        ("/v2/api/orders/17", None),
        ("/api/orders/17/lines", None),
        ("/api/orders", None),
        ("/api/orders/a%2Fb", None),
        ("http://[bad/api/orders/17", None),
    ],
)  # fmt: skip
def test_a_post_learns_its_key_from_location_before_the_body(location: str, key: str | None) -> None:
    assert key_of_answer(ORDERS, location, b'{"id": 99}') == key


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"id":17,"total":1e400,"lines":[{"id":3}]}', "/api/orders/17"),
        (b'{"lines":[],"id":"a b"}', "/api/orders/a b"),
        (b'{"id":123456789012345678901234567890}', "/api/orders/123456789012345678901234567890"),
        (b'{"id":"a/b"}', None), (b'{"id":".."}', None), (b'{"id":""}', None), (b'{"id":true}', None),
        (b'{"id":null}', None), (b'{"id":1.5}', None), (b"{}", None), (b"[]", None), (b"", None), (b"\xff", None),
        (b"[" * 100_000, None), (b'{"x":' + b"[" * 100_000, None), (None, None),
    ],
)  # fmt: skip
def test_without_location_a_post_learns_its_key_from_the_bodys_id(
    body: bytes | None, key: str | None
) -> None:
    assert key_of_answer(ORDERS, None, body) == key


def test_an_item_keeps_its_own_key_whatever_the_answer_says() -> None:
    assert (
        key_of_answer(Place("/api/orders/1", "/api/orders"), "/api/orders/2", b'{"id":3}') == "/api/orders/1"
    )


def test_a_collection_with_letters_beyond_ascii_still_finds_its_keys() -> None:
    place = Place(None, "/api/größen", is_collection=True)
    assert key_of_answer(place, "/api/gr%C3%B6%C3%9Fen/1", None) == "/api/größen/1"
    assert key_of_answer(place, "größen/1".encode().decode("latin-1"), None) == "/api/größen/1"
    ends_with_a0 = " /api/größen/voilà\t".encode().decode("latin-1")
    assert key_of_answer(place, ends_with_a0, None) == "/api/größen/voilà"


@pytest.mark.parametrize(
    ("prefix", "key", "is_covered"),
    [
        ("", "/api/orders/1", True), ("", "", True), ("/api", "/api/orders/1", True), ("/api/orders", "/api/orders", True),
        ("/api/orders/1", "/api/orders/1", True), ("/api/orders", "/api/orders2", False),
        ("/api/orders/1", "/api/orders", False), ("/api/orders/1", "/api/orders/10", False), ("/api", "", False),
    ],
)  # fmt: skip
def test_a_prefix_covers_by_whole_segments(prefix: str, key: str, is_covered: bool) -> None:
    assert covers(prefix, key) is is_covered
