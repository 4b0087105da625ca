"""W1–W4 and V1: writes at the primary, foreign writes, and what became of one in doubt."""

from __future__ import annotations

import asyncio

import pytest

from tests.protocol.server import Server, version_of


async def test_w1_a_copy_of_an_accepted_write_is_refused(server: Server, collection: str) -> None:
    await server.become("primary")
    assert (await server.write("POST", f"/api/{collection}", {"n": 1}, 5)).status == 201
    copy = await server.write("POST", f"/api/{collection}", {"n": 1}, 5)
    assert (copy.status, copy.code) == (409, "stale-request")
    assert len((await server.send("GET", f"/api/{collection}")).json) == 1


async def test_w1_a_rejection_is_decided_too(server: Server, collection: str) -> None:
    await server.become("primary")
    assert (await server.write("PATCH", f"/api/{collection}/a", {"n": 1}, 5)).status == 404
    await server.send("POST", f"/api/{collection}", {"id": "a", "n": 0})
    copy = await server.write("PATCH", f"/api/{collection}/a", {"n": 1}, 5)
    assert (copy.status, copy.code) == (409, "stale-request")
    assert (await server.send("GET", f"/api/{collection}/a")).json["n"] == 0


async def test_w1_ids_below_the_lowest_open_are_refused(server: Server, collection: str) -> None:
    await server.become("primary")
    assert (await server.write("POST", f"/api/{collection}", {"id": "a"}, 8, 6)).status == 201
    for request in (1, 5):
        reply = await server.write("POST", f"/api/{collection}", {"id": "b"}, request)
        assert (reply.status, reply.code) == (409, "stale-request")
    assert (await server.write("POST", f"/api/{collection}", {"id": "b"}, 6, 6)).status == 201


async def test_w1_of_many_copies_at_once_one_is_decided(server: Server, collection: str) -> None:
    await server.become("primary")
    replies = await asyncio.gather(
        *(server.write("POST", f"/api/{collection}", {"n": n}, 5) for n in range(20))
    )
    assert sorted(reply.status for reply in replies) == [201, *[409] * 19]


async def test_w2_an_answer_names_the_new_version_and_the_one_it_was_made_from(
    server: Server, collection: str
) -> None:
    await server.become("primary")
    place = f"/api/{collection}/a"
    made = version_of(await server.write("POST", f"/api/{collection}", {"id": "a"}, 1))
    assert made[1] == "none"
    changed = version_of(await server.write("PATCH", place, {"n": 1}, 2))
    assert changed[1] == str(made[0])
    replaced = version_of(await server.write("PUT", place, {"n": 2}, 3))
    assert replaced[1] == str(changed[0])
    gone = version_of(await server.write("DELETE", place, None, 4))
    assert gone[1] == str(replaced[0])
    assert (await server.state(place)).startswith(f"{gone[0]}; "), "the tombstone's version"
    again = version_of(await server.write("PUT", place, {"n": 3}, 5, If_None_Match="*"))
    assert again[1] == "none"
    assert made[0] < changed[0] < replaced[0] < gone[0] < again[0]


async def test_w2_a_write_on_a_record_without_version_says_so(server: Server, collection: str) -> None:
    await server.become("secondary")
    await server.apply(f"collection={collection}", {"id": "a", "body": {"id": "a"}, "at": 3})
    await server.become("primary")
    reply = await server.write("PATCH", f"/api/{collection}/a", {"n": 1}, 1)
    assert version_of(reply)[1] == "unknown"


async def test_w2_a_rejected_write_has_no_version(server: Server, collection: str) -> None:
    await server.become("primary")
    await server.send("POST", f"/api/{collection}", {"id": "a"})
    for method, target in (("POST", f"/api/{collection}"), ("PATCH", f"/api/{collection}/b")):
        reply = await server.write(method, target, {"id": "a"}, 1 if method == "POST" else 2)
        assert (reply.status in (404, 409), reply.version) == (True, None)


async def test_w3_a_foreign_write_clears_the_version_and_keeps_at(server: Server, collection: str) -> None:
    await server.become("secondary")
    body = {"id": "a", "n": 1}
    await server.apply(f"collection={collection}", {"id": "a", "body": body, "at": 52, "version": 18})
    before = (await server.tool("GET", "/_turnout/epoch")).json["number"]
    reply = await server.send("PATCH", f"/api/{collection}/a", {"n": 2})
    assert (reply.status, reply.version) == (200, None)
    assert await server.state(f"/api/{collection}/a") == "none; at=52"
    assert (await server.send("DELETE", f"/api/{collection}/a")).version is None
    assert await server.state(f"/api/{collection}/a") == "none; at=52"
    assert (await server.tool("GET", "/_turnout/epoch")).json["number"] == before


async def test_w3_a_foreign_create_stands_at_the_tombstones_at(server: Server, collection: str) -> None:
    await server.become("secondary")
    await server.apply(f"collection={collection}", {"id": "a", "deleted": True, "at": 52, "version": 50})
    reply = await server.send("POST", f"/api/{collection}", {"id": "a"})
    assert (reply.status, reply.version) == (201, None)
    assert await server.state(f"/api/{collection}/a") == "none; at=52"
    assert (await server.send("POST", f"/api/{collection}", {"id": "b"})).status == 201
    assert await server.state(f"/api/{collection}/b") == "none; at=0"


async def test_w4_a_write_without_request_id_takes_a_number_like_any(server: Server, collection: str) -> None:
    await server.become("primary")
    made = version_of(await server.send("POST", f"/api/{collection}", {"id": "a"}))
    assert version_of(await server.send("PATCH", f"/api/{collection}/a", {})) > made


async def test_v1_an_accepted_request_is_done_with_its_key_and_version(
    server: Server, collection: str
) -> None:
    await server.become("primary")
    made = await server.write("POST", f"/api/{collection}", {"id": "a b/ü"}, 1)
    place = made.headers["Location"]
    await server.write("PATCH", place, {"n": 1}, 2)
    key = f"/api/{collection}/a b%2Fü"
    assert await server.void(1) == {"state": "done", "key": key, "version": version_of(made)[0]}
    gone = await server.write("DELETE", place, None, 3)
    assert await server.void(3) == {"state": "done", "key": key, "version": version_of(gone)[0]}


@pytest.mark.parametrize(
    ("record_id", "written"), [("a/b", "a%2Fb"), ("a%2Fb", "a%252Fb"), ("50%/2", "50%25%2F2"), ("50%", "50%")]
)
async def test_v1_a_key_holds_one_segment_for_each_of_the_path(
    server: Server, collection: str, record_id: str, written: str
) -> None:
    await server.become("primary")
    made = await server.write("POST", f"/api/{collection}", {"id": record_id}, 1)
    assert made.status == 201
    assert (await server.void(1))["key"] == f"/api/{collection}/{written}"


async def test_v1_a_rejected_request_never_was(server: Server, collection: str) -> None:
    await server.become("primary")
    assert (await server.write("PATCH", f"/api/{collection}/a", {}, 1)).status == 404
    assert await server.void(1) == {"state": "never"}


async def test_v1_an_unknown_request_is_refused_from_then_on(server: Server, collection: str) -> None:
    await server.become("primary")
    assert await server.void(7) == {"state": "never"}
    assert await server.void(7) == {"state": "never"}
    late = await server.write("POST", f"/api/{collection}", {"id": "a"}, 7)
    assert (late.status, late.code) == (409, "stale-request")
    assert (await server.send("GET", f"/api/{collection}")).json == []


@pytest.mark.parametrize("run", range(5))
async def test_v1_void_and_the_write_that_it_asks_for_agree_however_they_race(
    server: Server, collection: str, run: int
) -> None:
    await server.become("primary")
    tries = [
        asyncio.gather(
            server.write("POST", f"/api/{collection}", {"id": f"r{number}"}, number), server.void(number)
        )
        for number in range(1, 21)
    ]
    for number, (written, voided) in enumerate(await asyncio.gather(*tries), 1):
        assert (written.status == 201) == (voided["state"] == "done")
        read = await server.send("GET", f"/api/{collection}/r{number}")
        assert (read.status == 200) == (voided["state"] == "done")
