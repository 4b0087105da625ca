"""Without the primary: the newest state that the journal holds is the one to bring, and whatever it cannot tell is named."""

import pytest

from proxy.journal.entry import Entry, EntryState
from proxy.mirror.salvage import Kept, counters_of, kept_of, salvage_of

KEY = "/api/orders/17"


def entry(seq: int, version: int | None, method: str = "PATCH", **more: object) -> Entry:
    made = Entry(
        seq, method, KEY, (), KEY, "/api/orders", 0.0, state=EntryState.ACCEPTED, status=200, version=version
    )
    for name, value in more.items():
        setattr(made, name, value)
    return made


def body(n: int) -> bytes:
    return b'{"id":17,"n":%d}' % n


def test_the_highest_version_is_brought_whatever_arrived_last() -> None:
    found = salvage_of(KEY, [entry(1, 9), entry(2, 8)], {1: body(9), 2: body(8)})
    assert found.kept == Kept(1, 9, body(9))
    assert found.why_lost == ""
    assert found.kept.turnout_version == "9; at=9"


def test_a_delete_is_a_state_too() -> None:
    found = salvage_of(KEY, [entry(1, 8), entry(2, 9, "DELETE")], {1: body(8), 2: None})
    assert found.kept == Kept(2, 9, None)


def test_named_or_nothing_where_the_newest_is_lost_the_older_one_is_still_brought_and_the_key_named() -> None:
    found = salvage_of(KEY, [entry(1, 8), entry(2, 9)], {1: body(8), 2: None})
    assert found.kept == Kept(1, 8, body(8))
    assert "acknowledged" in found.why_lost


@pytest.mark.parametrize("state", [EntryState.INTENT, EntryState.DOUBT])
def test_a_write_without_an_outcome_is_named_beside_what_is_brought(state: EntryState) -> None:
    found = salvage_of(KEY, [entry(1, 8), entry(2, None, "PUT", state=state)], {1: body(8)})
    assert found.kept == Kept(1, 8, body(8))
    assert "PUT in doubt" in found.why_lost


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b'{"id":18}', "another record"),
        (b"[]", "no record"),
        (b"{", "no JSON"),
        (b"", "nothing"),
        (b'{"ok":true}', "no id"),
        (b'{"id":true}', "no id of a record"),
    ],
)
def test_an_answer_that_is_not_that_record_is_never_brought(answer: bytes, why: str) -> None:
    assert kept_of(KEY, entry(1, 8), answer) is None, why


def test_without_a_version_nothing_is_brought() -> None:
    assert kept_of(KEY, entry(1, None), body(1)) is None


def test_text_ids_are_compared_decoded_and_a_singleton_needs_none() -> None:
    made = entry(1, 8)
    made.prefix = "/api/orders"
    assert kept_of("/api/orders/a b", made, b'{"id":"a b"}') is not None
    made.prefix = "/api/settings"
    assert kept_of("/api/settings", made, b'{"open":true}') is not None


def test_the_counters_are_the_highest_integer_ids() -> None:
    keys = ["/api/orders/9", "/api/orders/10", "/api/orders/x", "/api/users/3", "/api/settings"]
    assert counters_of(keys) == {"orders": 10, "users": 3}
