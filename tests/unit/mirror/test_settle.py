"""What a replay sends, when an answer is equal, and what a refusal means."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.journal.entry import Entry, EntryState
from proxy.mirror import settle
from proxy.mirror.settle import Verdict
from proxy.model import PrimaryAnswer
from proxy.wire.fields import pairs

JSON = (("Content-Type", "application/json"),)


def entry(method: str = "POST", headers: tuple[tuple[str, str], ...] = JSON, base: str = "none") -> Entry:
    return Entry(
        1,
        method,
        "/api/orders",
        headers,
        "/api/orders/7",
        "/api/orders",
        0.0,
        EntryState.ACCEPTED,
        201,
        18,
        base,
    )


def repeated(one: Entry, credentials: tuple[tuple[str, str], ...] = ()) -> list[tuple[str, str]]:
    return list(pairs(settle.replay_lines(one, credentials)))


def test_replay_verbatim_keeps_the_clients_bytes_and_adds_what_the_primary_chose() -> None:
    body = b'{ "name" : "caf\\u00e9",  "price": 1.10 }'
    fields = settle.carried(
        b'{"id":7,"name":"x","created_at":"2026-01-01T00:00:00.000Z"}', ("id", "created_at", "updated_at")
    )
    spliced = settle.splice(body, fields)
    assert (
        spliced == b'{ "name" : "caf\\u00e9",  "price": 1.10 ,"id":7,"created_at":"2026-01-01T00:00:00.000Z"}'
    )


def test_a_field_that_the_client_sent_otherwise_is_replaced() -> None:
    assert settle.splice(b'{"id": 3, "a": 1e2}', {"id": b"7"}) == b'{"id":7,"a":1e2}'


def test_an_empty_object_takes_the_carried_fields() -> None:
    assert settle.splice(b"{}", {"id": b"7"}) == b'{"id":7}'


@pytest.mark.parametrize("body", [b"[1]", b"7", b"nonsense", b""])
def test_what_is_no_object_cannot_be_spliced(body: bytes) -> None:
    assert settle.splice(body, {"id": b"7"}) is None


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    ),
    st.dictionaries(st.sampled_from(["id", "created_at", "updated_at"]), st.integers(0, 99)),
)
def test_a_spliced_body_says_what_both_said(body: dict[str, object], carry: dict[str, int]) -> None:
    spliced = settle.splice(
        json.dumps(body).encode(), {name: str(value).encode() for name, value in carry.items()}
    )
    assert spliced is not None
    assert json.loads(spliced) == body | carry


def test_replay_undecided_preconditions_were_decided_at_the_primary_and_are_not_sent() -> None:
    headers = (
        *JSON,
        ("If-Match", '"x"'),
        ("Host", "shop"),
        ("Idempotency-Key", "k"),
        ("Turnout-Epoch", "9 x"),
        ("X-User", "u"),
    )
    assert repeated(entry(headers=headers)) == [
        *JSON,
        ("Idempotency-Key", "k"),
        ("X-User", "u"),
    ]


def test_a_put_that_created_keeps_its_if_none_match() -> None:
    assert ("If-None-Match", "*") in repeated(entry("PUT", base="none"))
    assert ("If-None-Match", "*") not in repeated(entry("PUT", base="17"))


def test_the_mirrors_own_credentials_replace_the_clients() -> None:
    headers = (*JSON, ("Authorization", "Bearer client"))
    assert repeated(entry(headers=headers), (("Authorization", "Bearer mirror"),)) == [
        *JSON,
        ("Authorization", "Bearer mirror"),
    ]
    assert ("Authorization", "Bearer client") in repeated(entry(headers=headers), (("Authorization", ""),))


@pytest.mark.parametrize(
    ("base", "request_body", "answer_body", "headers", "expected"),
    [
        ("17", b"{}", b"{}", JSON, True),
        ("none", b"{}", b"{}", JSON, True),
        ("unknown", b"{}", b"{}", JSON, False),
        ("17", None, b"{}", JSON, False),
        ("17", b"{}", None, JSON, False),
        ("17", b"x", b"{}", (("Content-Type", "text/plain"),), False),
        ("17", b"x", b"{}", (*JSON, ("Content-Encoding", "gzip")), False),
        ("17", b"", b"{}", (), True),
    ],
)
def test_only_a_write_that_is_known_whole_is_replayed(
    base: str,
    request_body: bytes | None,
    answer_body: bytes | None,
    headers: tuple[tuple[str, str], ...],
    expected: bool,
) -> None:
    answer = PrimaryAnswer(200, (), answer_body, request_body)
    assert settle.is_replayable(entry(headers=headers, base=base), answer) is expected


def test_repeat_repairs_what_a_versioned_primary_says_again_is_never_replayed_at_a_plain_secondary() -> None:
    """To an Idempotency-Key that it knows it answers as it did before; newer writes may have been mirrored since."""
    answer = PrimaryAnswer(200, (), b'{"id":7}', b"{}")
    assert not settle.is_replayable(entry(base="unknown"), answer, is_exact=False)
    assert settle.is_replayable(entry(base="17"), answer, is_exact=False)


def test_repeat_repairs_a_plain_primary_cannot_say_so_and_a_write_with_a_key_is_looked_at_after_its_replay() -> (
    None
):
    answer = PrimaryAnswer(200, (), b'{"id":7}', b"{}")
    with_key = entry(headers=(*JSON, ("Idempotency-Key", "k")), base="unknown")
    assert settle.is_replayable(with_key, answer, is_exact=False, is_numbered=False)
    assert settle.may_be_repeated(with_key)
    assert not settle.may_be_repeated(entry())


def test_equal_answers_are_so_byte_for_byte_or_but_for_the_ignored_fields() -> None:
    assert settle.is_equal(201, b'{"a":1}', 200, b'{"a":1}', frozenset())
    assert not settle.is_equal(201, b'{"a":1}', 409, b'{"a":1}', frozenset())
    assert not settle.is_equal(201, b'{"a":1}', 201, b'{"a":2}', frozenset())
    assert settle.is_equal(201, b'{"a":1,"at":5}', 201, b'{"at":6,"a":1}', frozenset({"at"}))
    assert not settle.is_equal(201, b'{"a":1,"at":5}', 201, b'{"at":6}', frozenset({"at"}))


@pytest.mark.parametrize(
    ("status", "code", "verdict"),
    [
        (200, None, Verdict.SETTLED), (201, None, Verdict.SETTLED),
        (422, "unstorable", Verdict.DEAD), (413, "too-large", Verdict.DEAD), (409, "conflict", Verdict.DEAD),
        (409, "stale-epoch", Verdict.AWAY), (403, "mirror-token", Verdict.AWAY), (401, None, Verdict.AWAY),
        (503, "unavailable", Verdict.AWAY), (507, "storage-full", Verdict.AWAY), (502, None, Verdict.AWAY),
        (500, None, Verdict.AGAIN), (429, None, Verdict.AGAIN), (408, None, Verdict.AGAIN),
    ],
)  # fmt: skip
def test_judge_a_refusal_that_speaks_of_the_key_is_final_and_one_that_speaks_of_the_server_is_not(
    status: int, code: str | None, verdict: Verdict
) -> None:
    assert settle.judge_repair(status, code) is verdict
