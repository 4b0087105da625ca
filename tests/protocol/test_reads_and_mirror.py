"""R1 and M1–M4: what a read says, and what a replay and a repair do."""

from __future__ import annotations

import json

import pytest

from tests.protocol.server import Server, version_of

STAMPS = {"created_at": "2025-01-01T00:00:00.000Z", "updated_at": "2025-01-02T00:00:00.000Z"}


async def brought(server: Server, collection: str, record_id: str = "a", **line: object) -> None:
    """A secondary whose record ``a`` is at version 18, at 18."""
    await server.become("secondary")
    body = {"id": record_id, "n": 1, **STAMPS}
    whole = {"id": record_id, "body": body, "at": 18, "version": 18, **line}
    assert (await server.apply(f"collection={collection}", whole))["applied"] == 1


async def test_r1_a_read_at_the_primary_says_how_new_it_is_known_to_be(
    server: Server, collection: str
) -> None:
    await server.become("primary")
    version, _ = version_of(await server.send("POST", f"/api/{collection}", {"id": "a"}))
    later, _ = version_of(await server.send("POST", f"/api/{collection}", {"id": "b"}))
    assert await server.state(f"/api/{collection}/a") == f"{version}; at={later}"
    head = await server.send("HEAD", f"/api/{collection}/a")
    assert head.version == f"{version}; at={later}"


async def test_r1_a_404_says_the_tombstones_version(server: Server, collection: str) -> None:
    await server.become("primary")
    await server.send("POST", f"/api/{collection}", {"id": "a"})
    gone, _ = version_of(await server.send("DELETE", f"/api/{collection}/a"))
    reply = await server.send("GET", f"/api/{collection}/a")
    assert (reply.status, reply.version) == (404, f"{gone}; at={gone}")
    assert (await server.send("GET", f"/api/{collection}/b")).version == f"none; at={gone}"


async def test_r1_a_read_at_the_secondary_says_the_records_at(server: Server, collection: str) -> None:
    await brought(server, collection, at=52)
    assert await server.state(f"/api/{collection}/a") == "18; at=52"


async def test_r1_a_singleton_is_read_alike(server: Server, collection: str) -> None:
    await server.become("secondary")
    await server.apply(f"name={collection}", {"id": collection, "body": {"a": 1}, "at": 9, "version": 8})
    assert await server.state(f"/api/{collection}") == "8; at=9"


async def test_m1_a_replay_applies_to_the_version_that_it_was_made_from(
    server: Server, collection: str
) -> None:
    await brought(server, collection)
    reply = await server.replay("PATCH", f"/api/{collection}/a", {"n": 2}, "20; base=18")
    assert (reply.status, reply.json["n"], reply.version) == (200, 2, "20; base=18")
    assert await server.state(f"/api/{collection}/a") == "20; at=20"
    gone = await server.replay("DELETE", f"/api/{collection}/a", None, "22; base=20")
    assert gone.status == 200
    assert await server.state(f"/api/{collection}/a") == "22; at=22"


@pytest.mark.parametrize("version", ["20; base=17", "20; base=19", "20; base=none", "20; base=unknown"])
async def test_m1_a_replay_on_another_version_does_nothing(
    server: Server, collection: str, version: str
) -> None:
    await brought(server, collection)
    before = await server.send("GET", f"/api/{collection}/a")
    reply = await server.replay("PATCH", f"/api/{collection}/a", {"n": 2}, version)
    assert (reply.status, reply.code) == (409, "version-conflict")
    after = await server.send("GET", f"/api/{collection}/a")
    assert (after.body, after.version) == (before.body, before.version)


async def test_m1_a_create_applies_only_where_nothing_as_new_is(server: Server, collection: str) -> None:
    await server.become("secondary")
    await server.apply(f"collection={collection}", {"id": "a", "deleted": True, "at": 30, "version": 30})
    late = await server.replay("POST", f"/api/{collection}", {"id": "a", **STAMPS}, "30; base=none")
    assert (late.status, late.code) == (409, "version-conflict")
    new = await server.replay("POST", f"/api/{collection}", {"id": "a", **STAMPS}, "31; base=none")
    assert (new.status, await server.state(f"/api/{collection}/a")) == (201, "31; at=31")
    twice = await server.replay("POST", f"/api/{collection}", {"id": "a", **STAMPS}, "31; base=none")
    assert (twice.status, twice.code) == (409, "version-conflict")


async def test_m1_a_put_that_created_creates(server: Server, collection: str) -> None:
    await server.become("secondary")
    reply = await server.replay(
        "PUT", f"/api/{collection}/a", {"id": "a", **STAMPS}, "31; base=none", If_None_Match="*"
    )
    assert reply.status == 201


async def test_m1_the_fields_that_the_primary_chose_are_taken_as_sent(
    server: Server, collection: str
) -> None:
    await server.become("secondary")
    sent = {"id": 7, "n": 1, **STAMPS}
    reply = await server.replay("POST", f"/api/{collection}", sent, "20; base=none")
    assert (reply.status, reply.json) == (201, sent)
    later = {"n": 2, "created_at": STAMPS["created_at"], "updated_at": "2025-01-03T00:00:00.000Z"}
    changed = await server.replay("PATCH", f"/api/{collection}/7", later, "21; base=20")
    assert changed.json == {"id": 7, **later}


async def test_m2_a_repair_is_kept_byte_for_byte(server: Server, collection: str) -> None:
    await server.become("secondary")
    body = '{ "n":1.0e2 , "id":"a", "ü": "\\u00fc" }'.encode()
    reply = await server.repair(f"/api/{collection}/a", body, "18; at=52")
    assert (reply.status in (200, 201), reply.body, reply.version) == (True, body, "18; at=52")
    read = await server.send("GET", f"/api/{collection}/a")
    assert (read.body, read.version) == (body, "18; at=52")


async def test_m2_a_repair_that_is_not_older_applies_and_an_older_one_is_told_what_is_there(
    server: Server, collection: str
) -> None:
    await brought(server, collection, at=52)
    older = await server.repair(f"/api/{collection}/a", b'{"id":"a","n":0}', "17; at=51")
    assert (older.status, older.json["n"], older.version) == (200, 1, "18; at=52")
    gone = await server.repair(f"/api/{collection}/a", None, "17; at=51")
    assert (gone.status, gone.json["n"], gone.version) == (200, 1, "18; at=52")
    same = await server.repair(f"/api/{collection}/a", b'{"id":"a","n":2}', "19; at=52")
    assert (same.json["n"], same.version) == (2, "19; at=52")


async def test_m2_a_repair_may_remove_also_what_never_was(server: Server, collection: str) -> None:
    await server.become("secondary")
    reply = await server.repair(f"/api/{collection}/a", None, "none; at=52")
    assert reply.status == 200
    assert await server.state(f"/api/{collection}/a") == "none; at=52"
    late = await server.replay("POST", f"/api/{collection}", {"id": "a"}, "50; base=none")
    assert (late.status, late.code) == (409, "version-conflict")


async def test_m2_nothing_below_the_floor_applies_row_or_no_row(server: Server, collection: str) -> None:
    await server.become("secondary")
    await server.tool("POST", "/_turnout/floor", {"collection": collection, "at": 60}, server.in_epoch)
    await server.repair(f"/api/{collection}/a", b'{"id":"a"}', "18; at=59")
    assert (await server.send("GET", f"/api/{collection}/a")).status == 404
    await server.repair(f"/api/{collection}/a", b'{"id":"a"}', "18; at=60")
    assert (await server.send("GET", f"/api/{collection}/a")).status == 200


async def test_m2_a_record_that_its_path_does_not_name_is_refused(server: Server, collection: str) -> None:
    await server.become("secondary")
    reply = await server.repair(f"/api/{collection}/a", b'{"id":"b"}', "18; at=52")
    assert reply.status == 400
    assert (await server.send("GET", f"/api/{collection}")).json == []


async def test_m3_replays_and_repairs_take_no_number_and_raise_the_id_counter(
    server: Server, collection: str
) -> None:
    await server.become("secondary")
    before = (await server.tool("GET", "/_turnout/epoch")).json["number"]
    await server.replay("POST", f"/api/{collection}", {"id": 40, **STAMPS}, "20; base=none")
    await server.repair(f"/api/{collection}/500", json.dumps({"id": 500}).encode(), "21; at=21")
    await server.repair(f"/api/{collection}/700", None, "22; at=22")
    assert (await server.tool("GET", "/_turnout/epoch")).json["number"] == before
    await server.become("primary")
    assert (await server.send("POST", f"/api/{collection}", {})).json["id"] == 701


async def test_m4_replay_and_repair_are_refused_at_a_primary(server: Server, collection: str) -> None:
    await server.become("primary")
    await server.send("POST", f"/api/{collection}", {"id": "a", "n": 1})
    for reply in (
        await server.replay("PATCH", f"/api/{collection}/a", {"n": 2}, "99; base=1"),
        await server.repair(f"/api/{collection}/a", b'{"id":"a","n":2}', f"none; at={2**62}"),
        await server.repair(f"/api/{collection}/a", None, f"none; at={2**62}"),
    ):
        assert (reply.status, reply.code) == (409, "stale-epoch")
    assert (await server.send("GET", f"/api/{collection}/a")).json["n"] == 1
