"""POST, GET, PUT, PATCH, DELETE of records and singletons, on both servers (DESIGN section 8)."""

from __future__ import annotations

import asyncio
import json

import pytest

from backends.contract import canonical
from tests.support.api import Api

STAMP = "2025-11-24T10:26:40.000Z"
LATER = "2025-11-24T10:26:41.500Z"


async def singleton(api: Api, name: str, value: dict) -> None:
    await api.seed("", b'{"id":"%b","body":%b,"at":0}' % (name.encode(), canonical.encode(value)))


async def test_post_answers_201_with_the_record_its_place_and_its_etag(api: Api) -> None:
    reply = await api.post("/api/orders", {"note": "hello", "lines": [{"sku": "a", "n": 1}]})
    assert reply.status == 201
    assert reply.headers["Location"] == "/api/orders/1"
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
    assert reply.body.decode() == (
        '{"id":1,"note":"hello","lines":[{"sku":"a","n":1}],"created_at":"'
        + STAMP
        + '","updated_at":"'
        + STAMP
        + '"}'
    )
    read = await api.get("/api/orders/1")
    assert (read.status, read.body, read.headers["ETag"]) == (200, reply.body, reply.headers["ETag"])


async def test_the_id_comes_first_and_the_times_are_the_servers(api: Api) -> None:
    sent = b'{"z":1,"updated_at":"mine","id":"a","created_at":"mine","b":2}'
    reply = await api.post("/api/things", sent)
    assert list(reply.json) == ["id", "z", "b", "created_at", "updated_at"]
    assert reply.json["created_at"] == reply.json["updated_at"] == STAMP


async def test_a_taken_id_is_a_conflict_also_as_another_type(api: Api) -> None:
    assert (await api.post("/api/orders", {"id": 7, "a": 1})).status == 201
    for taken in (7, "7"):
        reply = await api.post("/api/orders", {"id": taken})
        assert (reply.status, reply.code) == (409, "conflict")
    assert (await api.get("/api/orders/7")).json["id"] == 7


async def test_generated_ids_go_on_from_the_highest_and_are_never_given_again(api: Api) -> None:
    await api.post("/api/orders", {"id": 41})
    assert (await api.post("/api/orders", {})).json["id"] == 42
    await api.delete("/api/orders/42")
    assert (await api.post("/api/orders", {})).json["id"] == 43


async def test_a_collection_with_a_word_as_id_gets_uuids(api: Api) -> None:
    await api.post("/api/tags", {"id": "red"})
    made = (await api.post("/api/tags", {})).json["id"]
    assert len(made) == 36
    assert made[14] == "7"
    assert (await api.get(f"/api/tags/{made}")).status == 200


async def test_an_id_that_is_no_id_is_refused(server: Api, subtests: pytest.Subtests) -> None:
    for bad in (1.5, True, None, "", [], {}, ".", "..", "x" * 513):
        with subtests.test(repr(bad)):
            reply = await server.post("/api/orders", {"id": bad})
            assert (reply.status, reply.code) == (400, "bad-json")
    assert (await server.get("/api/orders")).body == b"[]"


@pytest.mark.races
async def test_fifty_creates_of_one_id_have_one_winner(api: Api) -> None:
    replies = await asyncio.gather(*(api.post("/api/orders", {"id": "x", "n": n}) for n in range(50)))
    assert sorted(reply.status for reply in replies) == [201] + [409] * 49
    winner = next(reply for reply in replies if reply.status == 201)
    assert (await api.get("/api/orders/x")).body == winner.body


async def test_put_replaces_and_keeps_id_type_and_creation_time(api: Api) -> None:
    await api.post("/api/orders", {"id": 5, "a": 1, "b": 2})
    api.clock.now += 1.5
    reply = await api.put("/api/orders/5", {"id": "other", "c": 3})
    assert reply.status == 200
    assert reply.body.decode() == '{"id":5,"c":3,"created_at":"' + STAMP + '","updated_at":"' + LATER + '"}'


async def test_put_of_a_missing_record_is_404_unless_it_says_that_it_creates(api: Api) -> None:
    assert (await api.put("/api/orders/5", {"a": 1})).status == 404
    reply = await api.put("/api/orders/5", {"a": 1}, If_None_Match="*")
    assert (reply.status, reply.json["id"], reply.headers["Location"]) == (201, 5, "/api/orders/5")
    again = await api.put("/api/orders/5", {"a": 2}, If_None_Match="*")
    assert (again.status, again.code) == (412, "precondition-failed")
    assert (await api.get("/api/orders/5")).json["a"] == 1


async def test_patch_merges_shallowly_and_stores_null(api: Api) -> None:
    await api.post("/api/orders", {"id": 5, "a": {"x": 1}, "b": 2})
    reply = await api.patch("/api/orders/5", {"a": {"y": 1}, "b": None, "c": 3, "id": 9})
    assert reply.status == 200
    assert list(reply.json.items())[:4] == [("id", 5), ("a", {"y": 1}), ("b", None), ("c", 3)]


async def test_merge_patch_merges_deeply_and_removes_what_is_null(api: Api) -> None:
    await api.post("/api/orders", {"id": 5, "a": {"x": 1, "z": 2}, "b": 2})
    reply = await api.patch(
        "/api/orders/5", {"a": {"y": 1, "z": None}, "b": None}, Content_Type="application/merge-patch+json"
    )
    record = reply.json
    assert (record["a"], "b" in record) == ({"x": 1, "y": 1}, False)


async def test_delete_answers_the_record_that_was(api: Api) -> None:
    made = await api.post("/api/orders", {"id": 5})
    reply = await api.delete("/api/orders/5")
    assert (reply.status, reply.body) == (200, made.body)
    gone = await api.get("/api/orders/5")
    assert (gone.status, gone.code) == (404, "not-found")
    assert (await api.delete("/api/orders/5")).status == 404


async def test_a_deleted_id_may_be_made_again(api: Api) -> None:
    await api.post("/api/orders", {"id": "x", "n": 1})
    await api.delete("/api/orders/x")
    assert (await api.post("/api/orders", {"id": "x", "n": 2})).status == 201
    assert (await api.get("/api/orders/x")).json["n"] == 2


async def test_head_has_the_headers_of_get_and_no_body(api: Api) -> None:
    await api.post("/api/orders", {"id": 5})
    for target in ("/api/orders/5", "/api/orders", "/api/orders/6"):
        got, head = await api.get(target), await api.send("HEAD", target)
        assert (head.status, head.body) == (got.status, b"")
        assert head.headers["Content-Length"] == str(len(got.body))
        assert head.headers.get("ETag") == got.headers.get("ETag")
        assert head.headers.get("X-Total-Count") == got.headers.get("X-Total-Count")


@pytest.mark.parametrize(
    ("segment", "record_id"),
    [
        ("a%2Fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("caf%C3%A9", "café"),
        ("%F0%9F%8D%95", "🍕"),
        ("a%20b", "a b"),
        ("a+b", "a+b"),
    ],
)
async def test_an_id_is_decoded_exactly_once(server: Api, segment: str, record_id: str) -> None:
    made = await server.post("/api/odd%20names", {"id": record_id})
    assert made.status == 201
    assert (await server.get(f"/api/odd%20names/{segment}")).body == made.body
    assert (await server.get(made.headers["Location"])).body == made.body


NOTHING = ["/api/orders/%zz", "/api/orders/%", "/api/orders/%ff", "/api//1", "/api/orders/%00", "/api/orders/%2e%2e",
 "/api/a/b/c", "/api", "/", "/nothing", "/api/" + "x" * 513]  # fmt: skip


async def test_a_path_that_names_nothing_is_404(server: Api, subtests: pytest.Subtests) -> None:
    for target in NOTHING:
        with subtests.test(target[:40]):
            reply = await server.get(target)
            assert (reply.status, reply.code) == (404, "not-found")


async def test_a_singleton_is_read_replaced_and_patched(api: Api) -> None:
    await singleton(api, "settings", {"open": True, "id": "kept"})
    assert (await api.get("/api/settings")).body == b'{"open":true,"id":"kept"}'
    replaced = await api.put("/api/settings", {"b": 1, "a": {"x": 1}})
    assert (replaced.status, replaced.body) == (200, b'{"b":1,"a":{"x":1}}')
    assert (await api.patch("/api/settings", {"a": None, "c": 2})).body == b'{"b":1,"a":null,"c":2}'
    merged = await api.patch("/api/settings", {"a": None}, Content_Type="application/merge-patch+json")
    assert merged.body == b'{"b":1,"c":2}'
    assert (await api.get("/api/settings")).body == b'{"b":1,"c":2}'


async def test_a_singleton_takes_no_post_and_no_delete(api: Api) -> None:
    await singleton(api, "settings", {"open": True})
    for method in ("POST", "DELETE"):
        reply = await api.send(method, "/api/settings", {} if method == "POST" else None)
        assert (reply.status, reply.code) == (405, "method-not-allowed")
        assert reply.headers["Allow"] == "GET, HEAD, PUT, PATCH, OPTIONS"


async def test_a_name_is_either_a_collection_or_a_singleton(server: Api) -> None:
    await singleton(server, "settings", {"open": True})
    await server.post("/api/orders", {})
    assert (await server.put("/api/settings/1", {}, If_None_Match="*")).code == "conflict"
    line = json.dumps({"id": "orders", "body": {}, "at": 0}).encode()
    assert (await server.post("/_turnout/apply?name=orders", line)).code == "conflict"
    line = json.dumps({"id": "1", "body": {"id": 1}, "at": 0}).encode()
    assert (await server.post("/_turnout/apply?collection=settings", line)).code == "conflict"


async def test_options_says_what_is_allowed_and_lets_pages_of_other_origins_in(api: Api) -> None:
    reply = await api.send(
        "OPTIONS",
        "/api/orders/1",
        headers={
            "Origin": "http://shop",
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "content-type, turnout-mirror, if-match",
        },
    )
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["Allow"] == "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert reply.headers["Access-Control-Allow-Headers"] == "content-type, if-match"


@pytest.mark.races
async def test_many_writes_of_many_records_at_once_all_stand(api: Api) -> None:
    replies = await asyncio.gather(*(api.post("/api/orders", {"n": n}) for n in range(120)))
    ids = [reply.json["id"] for reply in replies]
    assert sorted(ids) == list(range(1, 121))
    await asyncio.gather(*(api.patch(f"/api/orders/{record_id}", {"seen": True}) for record_id in ids))
    records = (await api.get("/api/orders")).json
    assert len(records) == 120
    assert all(record["seen"] for record in records)
