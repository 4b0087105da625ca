"""N1–N4: the one counter, and what a record's numbers say."""

from __future__ import annotations

import asyncio

from tests.protocol.server import Server, version_of


def at_of(state: str) -> int:
    return int(state.partition("; at=")[2])


async def test_n1_numbers_start_with_the_epoch_and_rise_over_all_records(
    server: Server, collection: str
) -> None:
    await server.become("primary")
    seen = [server.epoch * 2**40]
    for place in range(4):
        reply = await server.send("POST", f"/api/{collection}{place % 2}", {"n": place})
        seen.append(version_of(reply)[0])
    assert seen == sorted(set(seen))
    assert seen[-1] < (server.epoch + 1) * 2**40


async def test_n1_no_number_is_given_twice_to_writes_that_run_at_once(
    server: Server, collection: str
) -> None:
    await server.become("primary")
    replies = await asyncio.gather(*(server.send("POST", f"/api/{collection}", {"n": n}) for n in range(40)))
    assert len({version_of(reply)[0] for reply in replies}) == 40


async def test_n2_an_id_never_seen_has_no_version_and_the_floor_as_at(
    server: Server, collection: str
) -> None:
    await server.become("secondary")
    assert await server.state(f"/api/{collection}/a") == "none; at=0"
    floor = {"collection": collection, "at": 52}
    assert (await server.tool("POST", "/_turnout/floor", floor, server.in_epoch)).status == 200
    assert await server.state(f"/api/{collection}/a") == "none; at=52"


async def test_n3_writes_of_one_record_follow_each_other(server: Server, collection: str) -> None:
    await server.become("primary")
    made = await server.send("POST", f"/api/{collection}", {"id": "a"})
    replies = await asyncio.gather(
        *(server.send("PATCH", f"/api/{collection}/a", {f"f{n}": n}) for n in range(20))
    )
    chain = dict(sorted(version_of(reply) for reply in replies))
    bases = [version_of(made)[0], *chain]
    assert [int(base) for base in chain.values()] == bases[:-1], "each was made from the one before it"
    record = (await server.send("GET", f"/api/{collection}/a")).json
    assert all(record[f"f{n}"] == n for n in range(20))


async def test_n4_the_watermark_is_not_below_what_was_acknowledged_before(
    server: Server, collection: str
) -> None:
    await server.become("primary")
    await server.send("POST", f"/api/{collection}", {"id": "a"})
    version, _ = version_of(await server.send("POST", f"/api/{collection}", {"id": "b"}))
    for name in ("a", "b", "missing"):
        assert at_of(await server.state(f"/api/{collection}/{name}")) >= version


async def test_n4_the_watermark_never_passes_a_write_that_a_later_read_does_not_show(
    server: Server, collection: str
) -> None:
    """While others write: a read with ``at`` N shows every state of that record numbered N or below."""
    await server.become("primary")
    await server.send("POST", f"/api/{collection}", {"id": "a", "n": 0})
    looks: list[tuple[int, int]] = []

    async def look() -> None:
        for _ in range(40):
            state = await server.state(f"/api/{collection}/a")
            looks.append((int(state.partition(";")[0]), at_of(state)))

    async def write() -> list[int]:
        return [
            version_of(await server.send("PATCH", f"/api/{collection}/a", {"n": n}))[0] for n in range(40)
        ]

    _, versions = await asyncio.gather(look(), write())
    for version, at in looks:
        assert version == max((one for one in versions if one <= at), default=version)
