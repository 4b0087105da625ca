"""P3: a write survives kill -9 of the proxy at each of its steps. Real processes, a real PostgreSQL, the checker reads both upstreams."""

from pathlib import Path

import aiohttp
import pytest

from tests.support.line import Line

pytestmark = pytest.mark.slow

STEPS_OF_A_CREATE = (
    "intent-queued",
    "intent-durable",
    "primary-answered",
    "outcome-durable",
    "client-answered",
    "replay-sent",
    "replay-answered",
)
STEPS_OF_A_REPAIR = ("repair-read", "repair-answered")


async def send(line: Line, method: str, path: str, body: dict) -> tuple[int, bytes] | None:
    """The answer, or None where the connection was cut before there was one."""
    try:
        async with line.session.request(method, line.url("proxy") + path, json=body) as response:
            return response.status, await response.read()
    except (aiohttp.ClientError, ConnectionError):
        return None


async def restart_after_the_kill(line: Line, env: dict[str, str] | None = None) -> None:
    assert await line.processes["proxy"].wait() == -9, line.processes["proxy"].output
    await line.start("proxy", env)


@pytest.mark.parametrize("step", STEPS_OF_A_CREATE)
async def test_p3_a_create_survives_kill_9_at(step: str, tmp_path: Path, database_url: str) -> None:
    async with Line(tmp_path, database_url=database_url) as line:
        await line.open_for_writes()
        await line.processes["proxy"].stop()
        await line.start("proxy", {"TURNOUT_FAILPOINT": step})
        await line.open_for_writes()
        answer = await send(line, "POST", "/api/orders", {"customer": "ann", "total": 12.5})
        await restart_after_the_kill(line)
        await line.settled()
        ours, theirs = await line.records("json"), await line.records("postgres")
        assert ours == theirs
        if answer is not None:
            assert answer[0] == 201
            assert answer[1] in ours.values(), "an acknowledged write was lost"
        assert len(ours) <= 1, "a write took effect twice"
        # And the line goes on: the next write reaches both.
        again = await send(line, "POST", "/api/orders", {"customer": "bob"})
        assert again is not None
        assert again[0] == 201
        await line.settled()
        assert await line.records("json") == await line.records("postgres")
        assert again[1] in (await line.records("postgres")).values()


@pytest.mark.parametrize("step", STEPS_OF_A_REPAIR)
async def test_p3_a_repair_survives_kill_9_at(step: str, tmp_path: Path, database_url: str) -> None:
    data = {"orders": [{"id": 1, "customer": "ann"}]}
    async with Line(tmp_path, database_url=database_url, data=data) as line:
        await line.open_for_writes()
        await line.processes["proxy"].stop()
        await line.start("proxy", {"TURNOUT_FAILPOINT": step})
        await line.open_for_writes()
        # The record has no version yet, so its first write can settle only by repair.
        answer = await send(line, "PATCH", "/api/orders/1", {"customer": "bea"})
        assert answer is not None
        assert answer[0] == 200
        await restart_after_the_kill(line)
        await line.settled()
        assert await line.records("json") == await line.records("postgres") == {"1": answer[1]}


async def test_p3_a_write_in_doubt_survives_a_second_kill_while_it_is_asked_after(
    tmp_path: Path, database_url: str
) -> None:
    async with Line(tmp_path, database_url=database_url) as line:
        await line.open_for_writes()
        await line.processes["proxy"].stop()
        await line.start("proxy", {"TURNOUT_FAILPOINT": "primary-answered"})
        await line.open_for_writes()
        assert await send(line, "POST", "/api/orders", {"customer": "ann"}) is None
        await restart_after_the_kill(line, {"TURNOUT_FAILPOINT": "void-answered"})
        await restart_after_the_kill(line)
        await line.settled()
        ours = await line.records("json")
        assert len(ours) == 1, "the primary had executed it"
        assert ours == await line.records("postgres")


async def test_p3_a_write_that_the_primary_executes_only_after_the_kill_is_carried_or_refused(
    tmp_path: Path, database_url: str
) -> None:
    """The primary is stopped (SIGSTOP) with the request in its socket; the proxy dies; the primary goes on."""
    import asyncio
    import signal

    async with Line(tmp_path, database_url=database_url) as line:
        await line.open_for_writes()
        line.processes["json"].signal(signal.SIGSTOP)
        write = asyncio.create_task(send(line, "POST", "/api/orders", {"customer": "late"}))
        async with asyncio.timeout(5):
            while (await line.status())["mirror"]["in_flight"] == 0:
                await asyncio.sleep(0.02)
        await asyncio.sleep(
            0.2
        )  # the request leaves for the primary; nothing tells when it lies in its socket
        await line.processes["proxy"].kill()
        assert await write is None
        await line.start("proxy")
        line.processes["json"].signal(signal.SIGCONT)
        await line.open_for_writes()
        await line.settled()
        assert await line.records("json") == await line.records("postgres")
