"""A1–A4: what is kept under an Idempotency-Key, and how it moves to the other server."""

from __future__ import annotations

import secrets
import time

import pytest

from tests.protocol.server import Server, named

DAY_S = 24 * 3600


def new_key() -> str:
    return f"k{secrets.token_hex(8)}"


async def post(server: Server, collection: str, name: str, body: object, **headers: str):
    return await server.send("POST", f"/api/{collection}", body, {"Idempotency-Key": name, **named(headers)})


def moved(answer: dict, **changes: object) -> dict:
    return {**answer, **changes}


async def one_answer(server: Server, collection: str) -> tuple[dict, object]:
    """What a first server holds of one create, and what its client read."""
    name = new_key()
    reply = await post(server, collection, name, {"id": "a", "n": 1})
    assert reply.status == 201
    (answer,) = await server.answers(f"/api/{collection}/a")
    assert answer["idempotency_key"] == name
    return answer, reply


async def test_a1_the_same_request_gets_the_first_answer_again(server: Server, collection: str) -> None:
    await server.become("primary")
    name = new_key()
    first = await post(server, collection, name, {"n": 1})
    again = await post(server, collection, name, {"n": 1})
    assert (again.status, again.body, again.headers["Location"]) == (
        201,
        first.body,
        first.headers["Location"],
    )
    assert len((await server.send("GET", f"/api/{collection}")).json) == 1


async def test_a1_another_request_under_the_same_key_is_refused(server: Server, collection: str) -> None:
    await server.become("primary")
    name = new_key()
    await post(server, collection, name, {"n": 1})
    other = await post(server, collection, name, {"n": 2})
    assert (other.status, other.code) == (422, "idempotency-mismatch")


async def test_a1_a_conflict_is_not_kept(server: Server, collection: str) -> None:
    await server.become("primary")
    name = new_key()
    await post(server, collection, new_key(), {"id": "a"})
    assert (await post(server, collection, name, {"id": "a"})).status == 409
    await server.send("DELETE", f"/api/{collection}/a")
    assert (await post(server, collection, name, {"id": "a"})).status == 201


async def test_a1_a_replays_answer_is_kept_for_the_clients_retry(server: Server, collection: str) -> None:
    await server.become("secondary")
    name, version = new_key(), server.epoch * 2**40 + 7
    stamps = {"created_at": "2025-01-01T00:00:00.000Z", "updated_at": "2025-01-01T00:00:00.000Z"}
    replayed = await server.replay(
        "POST",
        f"/api/{collection}",
        {"id": 5, "n": 1, **stamps},
        f"{version}; base=none",
        Idempotency_Key=name,
    )
    assert replayed.status == 201, replayed.body
    await server.become("primary")
    retry = await post(server, collection, name, {"n": 1})
    assert (retry.status, retry.body) == (201, replayed.body)


async def test_a1_a_replay_is_judged_by_its_version_not_by_a_kept_answer(
    server: Server, collection: str
) -> None:
    await server.become("primary")
    answer, _ = await one_answer(server, collection)
    await server.become("secondary")
    replayed = await server.replay(
        "POST",
        f"/api/{collection}",
        {"id": "a", "n": 1},
        f"{server.epoch * 2**40 + 9}; base=none",
        Idempotency_Key=answer["idempotency_key"],
    )
    assert (replayed.status, replayed.code) == (409, "version-conflict")


async def test_a2_the_answers_of_one_key_are_listed_and_no_others(server: Server, collection: str) -> None:
    await server.become("primary")
    made = await post(server, collection, new_key(), {"id": "a/b ü", "n": 1})
    other = await post(server, collection, new_key(), {"id": "b"})
    assert (made.status, other.status) == (201, 201)
    (answer,) = await server.answers(f"/api/{collection}/a%2Fb ü")
    assert answer["key"] == f"/api/{collection}/a%2Fb ü"
    assert (answer["status"], answer["body"]) == (201, made.body.decode())
    assert ["Location", made.headers["Location"]] in answer["headers"]
    assert DAY_S / 2 < answer["expires"] - time.time() < 2 * DAY_S
    assert await server.answers(f"/api/{collection}/nothing") == []


async def test_a2_a_rejection_and_a_deletion_are_kept_with_their_key(server: Server, collection: str) -> None:
    await server.become("primary")
    missing = await server.send("PATCH", f"/api/{collection}/a", {"n": 1}, {"Idempotency-Key": new_key()})
    await server.send("POST", f"/api/{collection}", {"id": "a"})
    gone = await server.send("DELETE", f"/api/{collection}/a", None, {"Idempotency-Key": new_key()})
    kept = await server.answers(f"/api/{collection}/a")
    assert sorted(one["status"] for one in kept) == [200, 404]
    assert {one["body"] for one in kept} == {missing.body.decode(), gone.body.decode()}


async def test_a2_all_are_listed_in_pages_that_go_on_where_the_last_ended(
    server: Server, collection: str
) -> None:
    await server.become("primary")
    names = {new_key() for _ in range(3)}
    for name in names:
        assert (await post(server, collection, name, {})).status == 201
    seen: list[str] = []
    after = ""
    while True:
        page = (await server.tool("GET", f"/_turnout/answers?after={after}")).json
        seen.extend(one["idempotency_key"] for one in page["answers"])
        if "next" not in page:
            break
        after = page["next"]
    assert seen == sorted(set(seen))
    assert names <= set(seen)


async def test_a3_a_line_brings_its_answers_and_a_retry_finds_them(server: Server, collection: str) -> None:
    await server.become("primary")
    answer, first = await one_answer(server, collection)
    there = f"{collection}x"
    await server.become("secondary")
    body = {"id": "a", "n": 1}
    line = {"id": "a", "body": body, "at": 9, "version": 9}
    name = new_key()
    brought = moved(answer, idempotency_key=name, key=f"/api/{there}/a")
    applied = await server.apply(f"collection={there}", {**line, "answers": [brought]})
    assert applied == {"applied": 1, "kept": 0, "rejected": []}
    assert await server.answers(f"/api/{there}/a") == [brought]
    await server.become("primary")
    retry = await post(server, collection, name, {"id": "a", "n": 1})
    assert (retry.status, retry.body) == (first.status, first.body)


async def test_a3_answers_are_kept_also_where_the_line_is_older(server: Server, collection: str) -> None:
    await server.become("primary")
    answer, _ = await one_answer(server, collection)
    await server.become("secondary")
    name = new_key()
    line = {"id": "a", "body": {"id": "a", "n": 0}, "at": 0}
    brought = moved(answer, idempotency_key=name)
    applied = await server.apply(f"collection={collection}", {**line, "answers": [brought]})
    assert applied == {"applied": 0, "kept": 1, "rejected": []}
    assert brought in await server.answers(f"/api/{collection}/a")
    assert (await server.send("GET", f"/api/{collection}/a")).json["n"] == 1


async def test_a3_what_a_line_brings_replaces_what_was_there(server: Server, collection: str) -> None:
    await server.become("primary")
    answer, _ = await one_answer(server, collection)
    await server.become("secondary")
    brought = moved(answer, status=202, body="{}", headers=[["Content-Type", "application/json"]])
    line = {"id": "a", "body": {"id": "a"}, "at": 0, "answers": [brought]}
    await server.apply(f"collection={collection}", line)
    assert await server.answers(f"/api/{collection}/a") == [brought]


async def test_a3_an_answer_that_is_over_is_left_out(server: Server, collection: str) -> None:
    await server.become("primary")
    answer, _ = await one_answer(server, collection)
    await server.become("secondary")
    brought = moved(answer, idempotency_key=new_key(), expires=1000)
    line = {"id": "z", "deleted": True, "at": 9, "answers": [brought]}
    assert (await server.apply(f"collection={collection}", line))["applied"] == 1
    assert await server.answers(f"/api/{collection}/a") == [answer]


async def test_a3_an_answer_that_cannot_be_kept_rejects_its_line_alone(
    server: Server, collection: str
) -> None:
    await server.become("primary")
    answer, _ = await one_answer(server, collection)
    await server.become("secondary")
    good = {"id": "g", "body": {"id": "g"}, "at": 9}
    split = moved(answer, idempotency_key=new_key(), headers=[["X-A", "b\r\nSet-Cookie: c"]])
    applied = await server.apply(
        f"collection={collection}", {"id": "b", "body": {"id": "b"}, "at": 9, "answers": [split]}, good
    )
    assert (applied["applied"], [one["line"] for one in applied["rejected"]]) == (1, [1])
    assert await server.answers(f"/api/{collection}/a") == [answer]


async def test_a4_only_what_is_lacking_is_stored(server: Server, collection: str) -> None:
    await server.become("primary")
    answer, _ = await one_answer(server, collection)
    await server.become("secondary")
    lacking = moved(answer, idempotency_key=new_key())
    other = moved(answer, status=202)
    reply = await server.tool("POST", "/_turnout/answers", {"answers": [other, lacking]}, server.in_epoch)
    assert (reply.status, reply.json) == (200, {"stored": 1})
    kept = await server.answers(f"/api/{collection}/a")
    assert sorted(kept, key=str) == sorted([answer, lacking], key=str)


async def test_a4_is_refused_at_a_primary_and_in_another_epoch(server: Server, collection: str) -> None:
    await server.become("primary")
    answer, _ = await one_answer(server, collection)
    body = {"answers": [moved(answer, idempotency_key=new_key())]}
    at_primary = await server.tool("POST", "/_turnout/answers", body, server.in_epoch)
    assert (at_primary.status, at_primary.code) == (409, "stale-epoch")
    stale = server.in_epoch
    await server.become("secondary")
    late = await server.tool("POST", "/_turnout/answers", body, stale)
    assert (late.status, late.code) == (409, "stale-epoch")
    assert await server.answers(f"/api/{collection}/a") == [answer]


@pytest.mark.parametrize(
    "fault",
    [{"status": 409}, {"status": 500}, {"fingerprint": "ab"}, {"idempotency_key": ""}, {"key": "/orders/1"},
     {"expires": -1}, {"headers": [["a b", "c"]]}, {"more": 1}],
)  # fmt: skip
async def test_a4_what_is_no_answer_is_refused_whole(server: Server, collection: str, fault: dict) -> None:
    await server.become("primary")
    answer, _ = await one_answer(server, collection)
    await server.become("secondary")
    good = moved(answer, idempotency_key=new_key())
    body = {"answers": [good, {**answer, "idempotency_key": new_key(), **fault}]}
    reply = await server.tool("POST", "/_turnout/answers", body, server.in_epoch)
    assert (reply.status, reply.code) == (400, "bad-json")
    assert await server.answers(f"/api/{collection}/a") == [answer]
