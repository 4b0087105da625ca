"""``turnout serve``, both servers as processes: what they log, their pages for operators, --read-only, and how they end."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.processes import ROOT, Process, free_port

pytestmark = pytest.mark.slow


def command(name: str, folder: Path, database_url: str, *more: str) -> tuple[str, ...]:
    if name == "json":
        data = folder / "data.json"
        if not data.exists():
            data.write_text('{"orders": [{"id": 1}]}')
        return ("serve", "json", "--data", str(data), "--listen", ":0", *more)
    return ("serve", "postgres", "--database-url", database_url, "--listen", ":0", *more)


@pytest.fixture(params=["json", "postgres"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


def base(server: Process) -> str:
    return f"http://127.0.0.1:{server.ready['port']}"


async def get(session: aiohttp.ClientSession, url: str) -> tuple[int, bytes]:
    async with session.get(url) as reply:
        return reply.status, await reply.read()


async def test_a_server_has_pages_for_operators_logs_json_lines_and_ends_cleanly(
    name: str, tmp_path: Path, database_url: str, session: aiohttp.ClientSession
) -> None:
    async with Process(*command(name, tmp_path, database_url)) as server:
        assert await get(session, f"{base(server)}/healthz") == (
            200,
            b'{"status":"ok","server":"%b"}' % name.encode(),
        )
        assert await get(session, f"{base(server)}/readyz") == (
            200,
            b'{"status":"ready","server":"%b"}' % name.encode(),
        )
        await get(session, f"{base(server)}/api/orders/4711")
        status, text = await get(session, f"{base(server)}/metrics")
        assert status == 200
        assert b'backend_requests_total{code="404",method="GET"} 1.0' in text
        assert await server.stop() == 0
        assert all(line.startswith("{") for line in server.text), server.output
        assert {"ready", "stopping", "stopped"} <= {json.loads(line)["event"] for line in server.text}


async def test_a_clock_set_ahead_by_days_forgets_no_idempotency_key(
    name: str, tmp_path: Path, database_url: str, session: aiohttp.ClientSession
) -> None:
    offset = tmp_path / "offset"
    offset.write_text("0")
    env = {
        "PYTHONPATH": f"{ROOT / 'tests/support/clock'}:{ROOT}",
        "TURNOUT_TEST_CLOCK": str(offset),
    }

    async with Process(*command(name, tmp_path, database_url), env=env) as server:

        async def post(key: str) -> dict:
            headers = {"Idempotency-Key": key}
            async with session.post(f"{base(server)}/api/parcels", json={}, headers=headers) as reply:
                assert reply.status == 201
                return await reply.json()

        first = await post("a")
        offset.write_text(str(3 * 86400))
        other = await post("b")
        assert other["id"] != first["id"]
        assert other["created_at"][:10] > first["created_at"][:10], "what the server tells is the clock's"
        assert (await post("a"), await post("b")) == (first, other)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_what_was_answered_while_the_server_ends_is_there_after_a_start(
    name: str, tmp_path: Path, database_url: str, session: aiohttp.ClientSession, number: signal.Signals
) -> None:
    created: list[str] = []

    async def create(record_id: str) -> None:
        try:
            async with session.post(f"{base(server)}/api/orders", json={"id": record_id}) as reply:
                assert reply.status == 201
        except (aiohttp.ClientError, ConnectionError):
            return  # never accepted, or cut: nobody was told that it is there
        created.append(record_id)
        if len(created) == 5:
            server.signal(number)

    async with Process(*command(name, tmp_path, database_url)) as server:
        await asyncio.gather(*(create(f"r{place}") for place in range(60)))
        assert await server.wait() == 0
    assert len(created) >= 5
    async with Process(*command(name, tmp_path, database_url)) as server:
        for record_id in created:
            assert (await get(session, f"{base(server)}/api/orders/{record_id}"))[0] == 200


async def test_a_server_that_only_reads_refuses_every_write(
    name: str, tmp_path: Path, database_url: str, session: aiohttp.ClientSession
) -> None:
    async with Process(*command(name, tmp_path, database_url)) as server:
        async with session.post(f"{base(server)}/api/orders", json={"id": "a"}) as reply:
            assert reply.status == 201
        assert await server.stop() == 0
    async with Process(*command(name, tmp_path, database_url, "--read-only")) as server:
        assert (await get(session, f"{base(server)}/api/orders/a"))[0] == 200
        for method, path, body in (
            ("POST", "/api/orders", {"id": "b"}),
            ("PUT", "/api/orders/a", {}),
            ("PATCH", "/api/orders/a", {}),
            ("DELETE", "/api/orders/a", None),
            ("POST", "/_turnout/void", {"request": 1}),
            ("POST", "/_turnout/epoch", {"epoch": 1, "role": "primary", "journal": "a"}),
        ):
            async with session.request(method, base(server) + path, json=body) as reply:
                assert (reply.status, (await reply.json(content_type=None))["code"]) == (403, "read-only"), (
                    path
                )
        assert (await get(session, f"{base(server)}/readyz"))[0] == 200
        assert await server.stop() == 0


async def test_a_second_server_on_the_same_data_is_refused_by_name(
    name: str, tmp_path: Path, database_url: str
) -> None:
    async with Process(*command(name, tmp_path, database_url)) as server:
        second = await Process(*command(name, tmp_path, database_url)).spawn()
        assert await second.wait(40) == 1
        assert str(server.pid) in second.output, second.output
        assert "already" in second.output


async def test_the_embedded_server_listens_where_it_is_told_and_the_log_says_its_url(tmp_path: Path) -> None:
    port = free_port()
    words = (
        "serve",
        "postgres",
        "--embedded",
        str(tmp_path / "pg"),
        "--embedded-port",
        str(port),
        "--listen",
        ":0",
    )
    async with Process(*words) as server:
        (started,) = server.events("postgres_started")
        assert started["url"] == f"postgresql://turnout@127.0.0.1:{port}/pickup_dev"
        assert Path(started["password_file"]).read_text().strip() not in "".join(server.text)
        from backends.postgres_connection import connect

        password = Path(started["password_file"]).read_text().strip()
        connection = await connect(started["url"].replace("turnout@", f"turnout:{password}@"))
        assert await connection.fetchval("select count(*) from turnout.migrations") >= 2
        await connection.close()
        assert await server.stop(40) == 0
