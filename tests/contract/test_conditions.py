"""Conditional requests (RFC 9110, section 13): strong tags, equal on both servers, judged under the record's lock."""

from __future__ import annotations

import asyncio

import pytest

from backends.contract.conditions import etag
from tests.support.api import Api

NOT_IT = '"00000000000000000000000000000000"'


async def made(api: Api) -> str:
    reply = await api.post("/api/orders", {"id": 1, "n": 0})
    tag = reply.headers["ETag"]
    assert tag == etag(reply.body)
    return tag


FITTING = [
    ("{tag}", True), ("*", True), ("{other}, {tag}", True), ("{tag},{other}", True), (" ,, {tag} ,", True), ("W/{tag}", False),
    ("{other}", False), ("W/{tag}, {other}", False), ('"a,b", {tag}', True), ('"é"', False),
]  # fmt: skip


async def test_if_match_fits_one_strong_tag_of_its_list(server: Api, subtests: pytest.Subtests) -> None:
    await made(server)
    for form, fits in FITTING:
        with subtests.test(form):
            before = await server.get("/api/orders/1")
            value = form.format(tag=before.headers["ETag"], other=NOT_IT)
            server.clock.now += 1
            got = await server.get("/api/orders/1", If_Match=value)
            assert got.status == (200 if fits else 412)
            replaced = await server.put("/api/orders/1", {"n": 1}, If_Match=value)
            assert replaced.status == (200 if fits else 412)
            if not fits:
                assert replaced.code == got.code == "precondition-failed"
            assert ((await server.get("/api/orders/1")).body == before.body) is not fits


HOLDING = [
    ("{tag}", True), ("*", True), ("W/{tag}", True), ('"x", W/{tag}', True), ("{other}", False), ('"x","y"', False),
]  # fmt: skip


async def test_if_none_match_compares_weakly(server: Api, subtests: pytest.Subtests) -> None:
    await made(server)
    for form, holds_it in HOLDING:
        with subtests.test(form):
            tag = (await server.get("/api/orders/1")).headers["ETag"]
            value = form.format(tag=tag, other=NOT_IT)
            got = await server.get("/api/orders/1", If_None_Match=value)
            assert (got.status, bool(got.body)) == ((304, False) if holds_it else (200, True))
            assert got.headers["ETag"] == tag
            changed = await server.patch("/api/orders/1", {"n": 1}, If_None_Match=value)
            assert changed.status == (412 if holds_it else 200)


async def test_what_is_no_list_of_tags_is_refused(server: Api, subtests: pytest.Subtests) -> None:
    await made(server)
    for value in ("", ",", "abc", "*, *", '"a" "b"', '"open', 'w/"a"', '*, "a"', "'a'"):
        with subtests.test(value):
            for name in ("If-Match", "If-None-Match"):
                for method, target in (
                    ("GET", "/api/orders/1"), ("PUT", "/api/orders/1"), ("PATCH", "/api/orders/1"),
                    ("DELETE", "/api/orders/1"), ("POST", "/api/orders"), ("GET", "/api/orders"),
                ):  # fmt: skip
                    body = None if method in ("GET", "DELETE") else {"n": 1}
                    reply = await server.send(method, target, body, {name: value})
                    assert (reply.status, reply.code) == (400, "bad-header")


async def test_a_delete_goes_by_the_tag_too(api: Api) -> None:
    tag = await made(api)
    assert (await api.delete("/api/orders/1", If_Match=NOT_IT)).status == 412
    assert (await api.delete("/api/orders/1", If_Match=tag)).status == 200
    assert (await api.delete("/api/orders/1", If_Match=tag)).status == 404


async def test_a_put_creates_only_where_nothing_is_and_nothing_else_was_asked(api: Api) -> None:
    await made(api)
    assert (await api.put("/api/orders/1", {}, If_None_Match="*")).status == 412
    assert (await api.put("/api/orders/2", {}, If_Match="*")).status == 404
    both = await api.put("/api/orders/2", {}, If_None_Match="*", If_Match=NOT_IT)
    assert (both.status, both.code) == (412, "precondition-failed"), "no tag fits nothing"
    assert (await api.put("/api/orders/2", {}, If_None_Match="*")).status == 201


async def test_conditions_of_a_post_are_asked_of_the_record_that_it_is_to_make(api: Api) -> None:
    tag = await made(api)
    assert (await api.post("/api/orders", {"id": 1}, If_None_Match="*")).code == "precondition-failed"
    assert (await api.post("/api/orders", {"id": 1}, If_None_Match=tag)).code == "precondition-failed"
    assert (await api.post("/api/orders", {"id": 1}, If_Match=tag)).code == "conflict"
    assert (await api.post("/api/orders", {"id": 1}, If_Match=NOT_IT)).code == "precondition-failed"
    assert (await api.post("/api/orders", {"id": 5}, If_Match="*")).code == "precondition-failed"
    assert (await api.post("/api/orders", {}, If_Match="*")).code == "precondition-failed"
    assert (await api.post("/api/orders", {"id": 5}, If_None_Match="*")).status == 201
    assert (await api.post("/api/orders", {}, If_None_Match="*")).json["id"] == 6, (
        "what was refused spent no id"
    )


async def test_a_list_has_a_tag_of_its_own_for_each_question(api: Api) -> None:
    await made(api)
    whole, some = await api.get("/api/orders"), await api.get("/api/orders?n=5")
    assert whole.headers["ETag"] != some.headers["ETag"]
    unchanged = await api.get("/api/orders", If_None_Match=whole.headers["ETag"])
    assert (unchanged.status, unchanged.headers["X-Total-Count"]) == (304, "1")
    await api.post("/api/orders", {})
    assert (await api.get("/api/orders", If_None_Match=whole.headers["ETag"])).status == 200
    assert (await api.get("/api/orders", If_Match=whole.headers["ETag"])).status == 412


async def test_a_singleton_goes_by_its_tag(api: Api) -> None:
    await api.seed("", b'{"id":"settings","body":{"a":1},"at":0}')
    tag = (await api.get("/api/settings")).headers["ETag"]
    assert (await api.patch("/api/settings", {"a": 2}, If_Match=NOT_IT)).status == 412
    assert (await api.patch("/api/settings", {"a": 2}, If_Match=tag)).json == {"a": 2}
    assert (await api.put("/api/settings", {}, If_Match=tag)).status == 412


@pytest.mark.races
async def test_of_twenty_at_once_with_one_tag_exactly_one_wins(api: Api) -> None:
    tag = await made(api)
    replies = await asyncio.gather(
        *(api.patch("/api/orders/1", {"n": n}, If_Match=tag) for n in range(1, 21))
    )
    assert sorted(reply.status for reply in replies) == [200] + [412] * 19
    winner = next(reply for reply in replies if reply.status == 200)
    assert (await api.get("/api/orders/1")).body == winner.body
