"""Writes that name no single key, `affects:` and `mode: state`, through real processes; the checker reads both upstreams."""

import io
import json
from pathlib import Path
from urllib.parse import quote

import pytest
from yarl import URL

from tests.support.line import ROUTING, Line

pytestmark = pytest.mark.slow

KEYED = '  - {{path: "/api/*", key: "/api/{{collection}}/{{id}}", singletons: [settings]}}\n'


def routing(*routes: str, more: str = "") -> str:
    """The line's routing with these routes before the usual one."""
    return ROUTING.replace(KEYED, "".join(f"  - {{{{{route}}}}}\n" for route in routes) + KEYED) + more


async def send(line: Line, method: str, path: str, body: dict | None = None) -> tuple[int, bytes]:
    data = None if body is None else io.BytesIO(json.dumps(body).encode())
    headers = {"Content-Type": "application/json"}
    async with line.session.request(method, line.url("proxy") + path, data=data, headers=headers) as response:
        return response.status, await response.read()


async def equal(line: Line, *collections: str) -> dict[str, dict[str, bytes]]:
    """Everything of both, once the mirror has nothing left to do."""
    await line.settled()
    found = {}
    for name in collections:
        found[name] = await line.records("json", name)
        assert found[name] == await line.records("postgres", name)
    return found


async def test_p4_a_write_without_a_key_is_repaired_over_both_listings(
    tmp_path: Path, database_url: str
) -> None:
    """The route has no template: the proxy knows of the write only that something under /api/orders changed."""
    data = {"orders": [{"id": number, "customer": "ann"} for number in range(1, 41)]}
    config = routing('path: "/api/orders/*", methods: [PUT]')
    async with Line(tmp_path, database_url=database_url, data=data, routing=config) as line:
        await line.open_for_writes()
        status, _ = await send(line, "PUT", "/api/orders/7", {"customer": "bea"})
        assert status == 200
        orders = (await equal(line, "orders"))["orders"]
        assert len(orders) == 40, "every key of the primary's listing came along, though nobody backfilled"
        assert b'"bea"' in orders["7"]
        mirror = (await line.status())["mirror"]
        assert (mirror["replayed"], mirror["repaired"], mirror["unproven"]) == (0, 1, ["/"])


async def test_p4_affects_repairs_what_another_path_changes(tmp_path: Path, database_url: str) -> None:
    """A write at /api/orders says that it changes /api/stock: a foreign difference there is found and mended."""
    config = routing('path: "/api/orders/*", key: "/api/{{collection}}/{{id}}", affects: ["/api/stock"]')
    async with Line(tmp_path, database_url=database_url, routing=config) as line:
        await line.open_for_writes()
        assert (await send(line, "POST", "/api/stock", {"left": 5}))[0] == 201
        await line.settled()
        # What the checkout would do inside the primary, past the proxy.
        async with line.session.put(line.url("json") + "/api/stock/1", json={"left": 4}) as response:
            assert response.status == 200
        status, body = await send(line, "POST", "/api/orders", {"customer": "ann"})
        assert status == 201
        found = await equal(line, "orders", "stock")
        assert b'"left":4' in found["stock"]["1"]
        assert list(found["orders"].values()) == [body]


async def test_p5_readers_below_a_mark_wait_for_it(tmp_path: Path, database_url: str) -> None:
    config = routing('path: "/api/orders/*", methods: [PUT]', more="mirror: {{mode: state}}\n").replace(
        "enabled: false\n  weight: 10", "enabled: true\n  weight: 100"
    )
    async with Line(tmp_path, database_url=database_url, data={"orders": []}, routing=config) as line:
        await line.open_for_writes()
        for number in range(1, 4):
            assert (await send(line, "POST", "/api/orders", {"n": number}))[0] == 201
        await line.settled()
        assert (await line.validate())["state"] == "equal"
        for number in range(20):
            assert (await send(line, "PUT", "/api/orders/2", {"n": number}))[0] == 200
            for path in ("/api/orders/2", "/api/orders?n=" + str(number)):
                async with line.session.get(line.url("proxy") + path) as response:
                    assert f'"n":{number}'.encode() in await response.read(), response.headers["X-Served-By"]


async def test_p3_a_mark_survives_kill_9_while_it_is_swept(tmp_path: Path, database_url: str) -> None:
    data = {"orders": [{"id": number, "customer": "ann"} for number in range(1, 4)]}
    config = routing('path: "/api/orders/*", methods: [PUT]')
    async with Line(tmp_path, database_url=database_url, data=data, routing=config) as line:
        await line.open_for_writes()
        await line.processes["proxy"].stop()
        await line.start("proxy", {"TURNOUT_FAILPOINT": "prefix-listed"})
        await line.open_for_writes()
        assert (await send(line, "PUT", "/api/orders/2", {"customer": "bea"}))[0] == 200
        assert await line.processes["proxy"].wait() == -9
        await line.start("proxy")
        assert (await line.status())["mirror"]["lag_entries"] == 1
        assert len((await equal(line, "orders"))["orders"]) == 3


async def test_mode_state_settles_by_repair_alone(tmp_path: Path, database_url: str) -> None:
    config = routing('path: "/api/orders/*", key: "/api/{{collection}}/{{id}}", mode: state')
    async with Line(tmp_path, database_url=database_url, routing=config) as line:
        await line.open_for_writes()
        assert (await send(line, "POST", "/api/orders", {"customer": "ann"}))[0] == 201
        assert (await send(line, "PATCH", "/api/orders/1", {"customer": "bea"}))[0] == 200
        await line.settled()
        assert (await send(line, "POST", "/api/customers", {"name": "ann"}))[0] == 201
        await equal(line, "orders", "customers")
        mirror = (await line.status())["mirror"]
        assert (mirror["replayed"], mirror["repaired"]) == (1, 2), "the other route is replayed as ever"


async def test_mode_state_for_all_routes_is_said_once(tmp_path: Path, database_url: str) -> None:
    config = routing(
        'path: "/api/orders/*", key: "/api/{{collection}}/{{id}}", mode: replay',
        more="mirror: {{mode: state}}\n",
    )
    async with Line(tmp_path, database_url=database_url, routing=config) as line:
        await line.open_for_writes()
        assert (await send(line, "POST", "/api/orders", {"customer": "ann"}))[0] == 201
        assert (await send(line, "POST", "/api/customers", {"name": "ann"}))[0] == 201
        await equal(line, "orders", "customers")
        mirror = (await line.status())["mirror"]
        assert (mirror["replayed"], mirror["repaired"]) == (1, 1)


async def test_a_body_above_1_mib_settles_by_repair(tmp_path: Path, database_url: str) -> None:
    async with Line(tmp_path, database_url=database_url) as line:
        await line.open_for_writes()
        status, body = await send(line, "POST", "/api/orders", {"notes": "x" * (1 << 20)})
        assert status == 201
        assert list((await equal(line, "orders"))["orders"].values()) == [body]
        mirror = (await line.status())["mirror"]
        assert (mirror["replayed"], mirror["repaired"]) == (0, 1)


async def test_a_post_that_names_no_key_leaves_a_gap_on_its_prefix(tmp_path: Path, database_url: str) -> None:
    """Without a template even a POST to a collection names nothing that the proxy knows."""
    config = routing('path: "/api/orders", methods: [POST]')
    async with Line(tmp_path, database_url=database_url, data={"orders": []}, routing=config) as line:
        await line.open_for_writes()
        assert (await line.validate())["state"] == "equal"
        assert (await send(line, "POST", "/api/orders", {"customer": "ann"}))[0] == 201
        assert (await line.status())["mirror"]["unproven"] == ["/api/orders"]
        proxy = line.processes["proxy"]
        assert (await proxy.told("write_without_key"))["prefix"] == "/api/orders"
        assert (await proxy.told("gap", prefix="/api/orders"))["next"] == "turnout validate"
        assert (await line.validate())["state"] == "different"


async def test_p4_records_whose_ids_hold_a_slash_are_carried_by_marks(
    tmp_path: Path, database_url: str
) -> None:
    """Such a path names no key, so the write marks its prefix. That mark was swept for ever: the record's key was taken for a
    path of one segment more, which neither server has, and all younger writes waited behind it."""
    ids = ["a/b", "a%2Fb", "a%25b", "50%", "c"]
    data = {"files": [{"id": one, "n": 1} for one in ids]}

    async def both(record_id: str) -> list[tuple[int, bytes]]:
        await line.settled()
        found = []
        for name in ("json", "postgres"):
            async with line.session.get(
                URL(f"{line.url(name)}/api/files/{quote(record_id, safe='')}", encoded=True)
            ) as response:
                found.append((response.status, await response.read()))
        return found

    async def write(method: str, record_id: str, body: dict | None = None) -> int:
        url = URL(f"{line.url('proxy')}/api/files/{quote(record_id, safe='')}", encoded=True)
        async with line.session.request(method, url, json=body) as response:
            return response.status

    async with Line(tmp_path, database_url=database_url, data=data) as line:
        await line.open_for_writes()
        assert await write("PUT", "a/b", {"n": 2}) == 200
        for one in ids:
            primary, secondary = await both(one)
            assert primary == secondary
            assert primary[0] == 200, one
        for one in ids:
            assert await write("PATCH", one, {"n": 3}) == 200
            primary, secondary = await both(one)
            assert primary == secondary
            assert b'"n":3' in primary[1], one
        assert await write("DELETE", "a/b") == 200
        primary, secondary = await both("a/b")
        assert (primary[0], secondary[0]) == (404, 404)
        assert (await both("a%2Fb"))[1][0] == 200, "that is another record"
        assert (await line.validate())["state"] == "equal"

        assert (await send(line, "POST", "/api/files", {"id": "x/y"}))[0] == 201
        assert (await line.status())["mirror"]["unproven"] == ["/api/files"], "it names no key either"
        assert await write("PATCH", "x/y", {"n": 1}) == 200
        primary, secondary = await both("x/y")
        assert primary == secondary
        assert primary[0] == 200
        assert (await line.validate())["state"] == "equal"
