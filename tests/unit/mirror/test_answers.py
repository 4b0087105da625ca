"""The line of a batch that a repair with answers is sent as."""

import json

import msgspec

from proxy.mirror.answers import Spot, batch_line, spot_of
from proxy.protocol import ReadVersion, parse_answers

READ = ReadVersion(18, 52)


def test_a_key_has_its_place_in_a_batch_only_in_the_protocols_form() -> None:
    assert spot_of("/api/orders/a b") == Spot("orders", "a b")
    assert spot_of("/api/settings") == Spot("", "settings")
    assert spot_of("/api/orders/a b").query == "collection=orders"  # type: ignore[union-attr]
    assert spot_of("/v2/orders/17") is None
    assert spot_of("/api/shop/orders/17") is None


def test_the_record_and_the_answers_are_verbatim() -> None:
    body = b'{"id":17, "n":1.0}'
    answers = [msgspec.Raw(b'{"idempotency_key":"a","body":"\\n"}')]
    line = batch_line(Spot("orders", "17"), READ, body, answers)
    assert line is not None
    assert line.count(b"\n") == 1
    assert body in line
    assert json.loads(line) == {
        "id": "17", "at": 52, "version": 18, "body": {"id": 17, "n": 1.0}, "answers": [{"idempotency_key": "a", "body": "\n"}],
    }  # fmt: skip


def test_a_deleted_record_without_version_says_so() -> None:
    line = batch_line(Spot("orders", "17"), ReadVersion(None, 52), None, [])
    assert line is not None
    assert json.loads(line) == {"id": "17", "at": 52, "deleted": True, "answers": []}


def test_what_would_break_the_line_is_not_sent_as_one() -> None:
    assert batch_line(Spot("orders", "17"), READ, b'{\n"id":17}', []) is None


def test_a_page_of_answers_outlives_the_body_that_it_came_in() -> None:
    page = parse_answers(b'{"answers": [{"a": 1}], "next": "k"}')
    assert page is not None
    assert (bytes(page.answers[0]), page.next) == (b'{"a": 1}', "k")
    assert parse_answers(b'{"answers": 1}') is None
