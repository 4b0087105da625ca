"""B1–B6: moving the data, and proving that it is the same."""

from __future__ import annotations

import hashlib

from tests.protocol.server import Server, version_of


def digest(record_id: str, body: bytes) -> int:
    return int.from_bytes(hashlib.sha256(record_id.encode() + b"\x00" + body).digest()[:8], "big")


def bucket(record_id: str) -> str:
    return str(int.from_bytes(hashlib.sha256(record_id.encode()).digest()[:2], "big") >> 4)


async def floor(server: Server, collection: str, at: int) -> int:
    reply = await server.tool(
        "POST", "/_turnout/floor", {"collection": collection, "at": at}, server.in_epoch
    )
    assert reply.status == 200, reply.body
    return reply.json["swept"]


async def test_b1_a_checkpoint_covers_what_was_acknowledged(server: Server, collection: str) -> None:
    await server.become("primary")
    version, _ = version_of(await server.send("POST", f"/api/{collection}", {}))
    reply = await server.tool("POST", "/_turnout/checkpoint", None, server.in_epoch)
    assert (reply.status, list(reply.json)) == (200, ["watermark"])
    assert reply.json["watermark"] >= version


async def test_b2_each_line_applies_where_it_is_not_older(server: Server, collection: str) -> None:
    await server.become("secondary")
    one = {"id": "1", "body": {"id": 1, "n": "new"}, "at": 52}
    assert await server.apply(f"collection={collection}", one, {**one, "id": "2", "body": {"id": 2}}) == {
        "applied": 2,
        "kept": 0,
        "rejected": [],
    }
    again = await server.apply(
        f"collection={collection}",
        {"id": "1", "body": {"id": 1, "n": "old"}, "at": 51},
        {"id": "2", "body": {"id": 2, "n": "same at"}, "at": 52},
        {"id": "3", "deleted": True, "at": 60, "version": 58},
    )
    assert (again["applied"], again["kept"]) == (2, 1)
    assert (await server.send("GET", f"/api/{collection}/1")).json["n"] == "new"
    assert (await server.send("GET", f"/api/{collection}/2")).json["n"] == "same at"
    assert await server.state(f"/api/{collection}/1") == "none; at=52"
    assert await server.state(f"/api/{collection}/3") == "58; at=60"


async def test_b2_a_record_without_version_is_no_base_for_a_replay(server: Server, collection: str) -> None:
    await server.become("secondary")
    await server.apply(f"collection={collection}", {"id": "a", "body": {"id": "a"}, "at": 52})
    reply = await server.replay("PATCH", f"/api/{collection}/a", {"n": 1}, "53; base=52")
    assert (reply.status, reply.code) == (409, "version-conflict")


async def test_b2_what_cannot_be_kept_is_named_and_the_rest_applies(server: Server, collection: str) -> None:
    await server.become("secondary")
    told = await server.apply(
        f"collection={collection}",
        {"id": "a", "body": {"id": "b"}, "at": 1},
        {"id": "c", "body": {"id": "c"}, "at": 1},
        {"id": "d", "at": 1},
        {"id": "", "body": {"id": ""}, "at": 1},
        {"id": "e", "body": {"id": "e"}, "at": -1},
    )
    assert (told["applied"], [one["line"] for one in told["rejected"]]) == (1, [1, 3, 4, 5])
    assert all(one["reason"] for one in told["rejected"])
    assert [record["id"] for record in (await server.send("GET", f"/api/{collection}")).json] == ["c"]


async def test_b2_singletons_come_by_their_name(server: Server, collection: str) -> None:
    await server.become("secondary")
    body = {"theme": "dark"}
    told = await server.apply(f"name={collection}", {"id": collection, "body": body, "at": 4})
    assert told["applied"] == 1
    assert (await server.send("GET", f"/api/{collection}")).json == body


async def test_b2_data_never_moves_into_a_primary(server: Server, collection: str) -> None:
    await server.become("primary")
    for target, body in (
        (f"/_turnout/apply?collection={collection}", b'{"id":"a","body":{"id":"a"},"at":1}'),
        ("/_turnout/floor", {"collection": collection, "at": 1}),
    ):
        reply = await server.tool("POST", target, body, server.in_epoch)
        assert (reply.status, reply.code) == (409, "stale-epoch")
    assert (await server.send("GET", f"/api/{collection}")).json == []


async def test_b3_a_sweep_removes_what_is_below_and_nothing_comes_back(
    server: Server, collection: str
) -> None:
    await server.become("secondary")
    await server.apply(
        f"collection={collection}",
        *({"id": str(n), "body": {"id": n}, "at": at} for n, at in ((1, 51), (2, 52), (3, 53))),
    )
    assert await floor(server, collection, 52) == 1
    assert await server.state(f"/api/{collection}/1") == "none; at=52"
    records = (await server.send("GET", f"/api/{collection}")).json
    assert [record["id"] for record in records] == [2, 3]
    late = await server.apply(f"collection={collection}", {"id": "1", "body": {"id": 1}, "at": 51})
    assert late["kept"] == 1
    assert await floor(server, collection, 40) == 0, "a floor never falls"
    assert await server.state(f"/api/{collection}/9") == "none; at=52"


async def test_b4_collections_and_singletons_are_told_apart(server: Server, collection: str) -> None:
    await server.become("secondary")
    name = f"{collection}s"
    await server.apply(f"name={name}", {"id": name, "body": {}, "at": 1})
    await server.apply(f"collection={collection}", {"id": "a", "body": {"id": "a"}, "at": 1})
    told = (await server.tool("GET", "/_turnout/collections")).json
    assert told["collections"][collection] == 1
    assert name in told["singletons"]
    assert name not in told["collections"]


async def test_b5_buckets_hold_count_xor_and_sum_of_the_records_hashes(
    server: Server, collection: str
) -> None:
    await server.become("primary")
    bodies: dict[str, bytes] = {}
    for n in range(60):
        reply = await server.send("POST", f"/api/{collection}", {"id": f"ü{n}", "n": n})
        bodies[f"ü{n}"] = reply.body
    await server.send("DELETE", f"/api/{collection}/%C3%BC7")
    del bodies["ü7"]
    sums: dict[str, list[int]] = {}
    for record_id, body in bodies.items():
        one = sums.setdefault(bucket(record_id), [0, 0, 0])
        one[0] += 1
        one[1] ^= digest(record_id, body)
        one[2] = (one[2] + digest(record_id, body)) % 2**64
    told = (await server.tool("GET", f"/_turnout/buckets?collection={collection}")).json
    assert told == {
        "count": 59,
        "buckets": {at: [n, f"{xor:016x}", f"{total:016x}"] for at, (n, xor, total) in sums.items()},
    }


async def test_b5_a_singleton_counts_with_an_empty_id(server: Server, collection: str) -> None:
    await server.become("secondary")
    await server.apply(f"name={collection}", {"id": collection, "body": {"a": 1}, "at": 1})
    body = (await server.send("GET", f"/api/{collection}")).body
    told = (await server.tool("GET", f"/_turnout/buckets?name={collection}")).json
    hashed = f"{digest('', body):016x}"
    assert told == {"count": 1, "buckets": {bucket(""): [1, hashed, hashed]}}


async def test_b6_the_ids_of_a_bucket_come_with_their_hashes(server: Server, collection: str) -> None:
    await server.become("primary")
    bodies = {
        f"a{n}": (await server.send("POST", f"/api/{collection}", {"id": f"a{n}"})).body for n in range(30)
    }
    wanted = bucket("a3")
    told = (await server.tool("GET", f"/_turnout/ids?collection={collection}&bucket={wanted}")).json
    assert told == {
        "ids": {
            record_id: f"{digest(record_id, body):016x}"
            for record_id, body in bodies.items()
            if bucket(record_id) == wanted
        }
    }
    assert "a3" in told["ids"]


async def test_b6_ids_of_several_buckets_or_of_all_come_in_one_answer(
    server: Server, collection: str
) -> None:
    await server.become("primary")
    for n in range(30):
        await server.send("POST", f"/api/{collection}", {"id": f"a{n}"})
    some = {bucket("a3"), bucket("a4")}
    told = (
        await server.tool("GET", f"/_turnout/ids?collection={collection}&bucket={','.join(sorted(some))}")
    ).json
    assert set(told["ids"]) == {f"a{n}" for n in range(30) if bucket(f"a{n}") in some}
    everything = (await server.tool("GET", f"/_turnout/ids?collection={collection}")).json
    assert set(everything["ids"]) == {f"a{n}" for n in range(30)}
    assert (await server.tool("GET", f"/_turnout/ids?collection={collection}&bucket=17,x")).status == 400
