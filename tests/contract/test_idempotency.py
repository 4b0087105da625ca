"""`Idempotency-Key`: the answer is kept with the write, and given again to the same request, whatever happened in between."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.api import Api, Reply, serving
from tests.support.arrangements import line
from tests.support.stores import STORES

SAME = ("Content-Type", "ETag", "Location", "Content-Length")


def assert_same(again: Reply, first: Reply) -> None:
    assert (again.status, again.body) == (first.status, first.body)
    assert [again.headers.get(name) for name in SAME] == [first.headers.get(name) for name in SAME]


async def test_a_post_sent_twice_makes_one_record(api: Api) -> None:
    first = await api.post("/api/orders", {"n": 1}, Idempotency_Key="k1")
    await api.patch("/api/orders/1", {"n": 2})
    again = await api.post("/api/orders", {"n": 1}, Idempotency_Key="k1")
    assert_same(again, first)
    assert (await api.get("/api/orders")).headers["X-Total-Count"] == "1"
    assert (await api.get("/api/orders/1")).json["n"] == 2


async def test_every_write_replays_its_own_answer(api: Api) -> None:
    await api.seed("", b'{"id":"settings","body":{"a":1},"at":0}')
    await api.post("/api/orders", {"id": 1, "n": 1})
    wishes = [
        ("PUT", "/api/orders/1", {"n": 2}),
        ("PATCH", "/api/orders/1", {"n": 3}),
        ("DELETE", "/api/orders/1", None),
        ("PATCH", "/api/settings", {"a": 2}),
    ]
    firsts = [
        await api.send(method, target, body, {"Idempotency-Key": f"{n}"})
        for n, (method, target, body) in enumerate(wishes)
    ]
    assert [reply.status for reply in firsts] == [200] * 4
    for n, (method, target, body) in enumerate(wishes):
        assert_same(await api.send(method, target, body, {"Idempotency-Key": f"{n}"}), firsts[n])
    assert (await api.get("/api/orders/1")).status == 404, "a replayed answer does nothing again"


async def test_the_same_payload_may_be_spelled_otherwise(api: Api) -> None:
    first = await api.post("/api/orders", b'{"a":1.0,"b":"x"}', Idempotency_Key="k")
    again = await api.post("/api/orders", b' { "a" : 1.00, "b":"\\u0078" } ', Idempotency_Key="k")
    assert_same(again, first)


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/api/orders", {"n": 2}),
        ("POST", "/api/orders", {"n": 1, "m": None}),
        ("POST", "/api/orders", {"id": 9, "n": 1}),
        ("POST", "/api/others", {"n": 1}),
        ("PUT", "/api/orders/1", {"n": 1}),
        ("PATCH", "/api/orders/1", {"n": 1}),
        ("DELETE", "/api/orders/1", None),
    ],
)
async def test_another_request_with_the_key_is_a_mismatch_and_does_nothing(
    server: Api, method: str, target: str, body: object
) -> None:
    first = await server.post("/api/orders", {"n": 1}, Idempotency_Key="k")
    reply = await server.send(method, target, body, {"Idempotency-Key": "k"})
    assert (reply.status, reply.code) == (422, "idempotency-mismatch")
    assert (await server.get("/api/orders")).body == b"[" + first.body + b"]"


async def test_a_merge_patch_is_another_request_than_a_patch(server: Api) -> None:
    await server.post("/api/orders", {"id": 1})
    await server.patch("/api/orders/1", {"n": 1}, Idempotency_Key="k")
    merge = {"Idempotency-Key": "k", "Content-Type": "application/merge-patch+json"}
    assert (await server.send("PATCH", "/api/orders/1", {"n": 1}, merge)).code == "idempotency-mismatch"


async def test_what_was_refused_for_what_is_there_is_replayed_but_for_a_conflict(server: Api) -> None:
    missing = await server.patch("/api/orders/1", {"n": 1}, Idempotency_Key="patch")
    assert missing.status == 404
    await server.post("/api/orders", {"id": 1})
    assert_same(await server.patch("/api/orders/1", {"n": 1}, Idempotency_Key="patch"), missing)
    taken = await server.post("/api/orders", {"id": 1}, Idempotency_Key="post")
    assert taken.status == 409
    await server.delete("/api/orders/1")
    assert (await server.post("/api/orders", {"id": 1}, Idempotency_Key="post")).status == 201


async def test_what_was_no_request_at_all_spends_no_key(server: Api) -> None:
    for body, code in ((b"{", "bad-json"), (b'{"a":1e400}', "unstorable")):
        assert (await server.post("/api/orders", body, Idempotency_Key="k")).code == code
    assert (await server.post("/api/orders", {}, Idempotency_Key="k")).status == 201


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_of_no_usable_length_is_refused(server: Api, key: str) -> None:
    assert (await server.post("/api/orders", {}, Idempotency_Key=key)).code == "bad-header"
    assert (await server.get("/api/orders")).body == b"[]"


@pytest.mark.races
async def test_a_copy_that_comes_while_the_first_runs_is_told_so_and_nothing_is_done_twice(api: Api) -> None:
    replies = await asyncio.gather(
        *(api.post("/api/orders", {"n": 1}, Idempotency_Key="k") for _ in range(30))
    )
    done = [reply for reply in replies if reply.status == 201]
    told = [reply for reply in replies if reply.status != 201]
    assert done
    assert {reply.body for reply in done} == {done[0].body}
    assert {(reply.status, reply.code, reply.headers["Retry-After"]) for reply in told} <= {
        (409, "idempotency-running", "1")
    }
    assert_same(await api.post("/api/orders", {"n": 1}, Idempotency_Key="k"), done[0])
    assert len((await api.get("/api/orders")).json) == 1


async def test_a_kept_answer_survives_a_restart(store_name: str, tmp_path: Path) -> None:
    async with STORES[store_name](tmp_path) as store, serving(store) as api:
        first = await api.post("/api/orders", {"n": 1}, Idempotency_Key="k")
        gone = await api.delete("/api/orders/1", Idempotency_Key="d")
    async with STORES[store_name](tmp_path) as store, serving(store) as api:
        assert_same(await api.post("/api/orders", {"n": 1}, Idempotency_Key="k"), first)
        assert_same(await api.delete("/api/orders/1", Idempotency_Key="d"), gone)
        assert (await api.post("/api/orders", {"n": 2}, Idempotency_Key="k")).code == "idempotency-mismatch"
        assert (await api.get("/api/orders")).body == b"[]"


async def test_a_get_takes_no_notice_of_a_key(server: Api) -> None:
    await server.post("/api/orders", {"n": 1}, Idempotency_Key="k")
    assert (await server.get("/api/orders/1", Idempotency_Key="k")).status == 200


@pytest.mark.parametrize("upstream", ["postgres", "json"])
async def test_p7_a_retry_after_a_switch_finds_its_answer_at_the_other_server(
    tmp_path: Path, upstream: str
) -> None:
    first_primary = "json" if upstream == "postgres" else "postgres"
    async with line(first_primary, tmp_path) as whole:
        assert (await whole.validate())["state"] == "equal"
        wishes: list[tuple[str, str, object]] = [
            ("POST", "/api/orders", {"n": 1}),
            ("POST", "/api/orders", {"id": "given", "n": 1}),
            ("PUT", "/api/orders/1", {"n": 2}),
            ("PATCH", "/api/orders/given", {"n": 3}),
            ("DELETE", "/api/orders/given", None),
        ]
        firsts = [
            await whole.api.send(method, target, body, {"Idempotency-Key": f"{n}"})
            for n, (method, target, body) in enumerate(wishes)
        ]
        await whole.switch(upstream)
        for n, (method, target, body) in enumerate(wishes):
            again = await whole.api.send(method, target, body, {"Idempotency-Key": f"{n}"})
            assert again.headers["X-Served-By"] == upstream
            assert_same(again, firsts[n])
        mismatch = await whole.api.post("/api/orders", {"n": 9}, Idempotency_Key="0")
        assert mismatch.code == "idempotency-mismatch"
        await whole.settled()
        await whole.demand_equal()
