"""P5 and canary writes: what a client is answered, by whom, and how long it waits. Real processes, both upstreams proved equal first."""

import asyncio
import signal
import time
from pathlib import Path

import pytest

from tests.support.line import ROUTING, Line

pytestmark = pytest.mark.slow

CANARY = ROUTING.replace(
    "  enabled: false\n  weight: 10",
    '  enabled: true\n  always: [{{header: X-Canary, exact: "yes"}}]\n  weight: 0',
)


async def ready(line: Line) -> None:
    """Nothing is unproven: reads may go to the secondary."""
    await line.open_for_writes()
    assert (await line.validate())["state"] == "equal"


async def ask(line: Line, method: str, path: str, body: dict | None = None) -> tuple[int, str, dict, float]:
    """As the canary's client: status, who answered, the answer, and how long it took."""
    began = time.monotonic()
    async with line.session.request(
        method, line.url("proxy") + path, json=body, headers={"X-Canary": "yes"}
    ) as response:
        answer = await response.json()
        return response.status, response.headers["X-Served-By"], answer, time.monotonic() - began


async def test_p5_a_canary_write_is_executed_at_the_primary_and_answered_by_the_secondary(
    tmp_path: Path, database_url: str
) -> None:
    async with Line(tmp_path, database_url=database_url, data={"orders": []}, routing=CANARY) as line:
        await ready(line)
        status, served, made, _ = await ask(line, "POST", "/api/orders", {"n": 1})
        assert (status, served) == (201, "postgres")
        assert (await ask(line, "GET", f"/api/orders/{made['id']}"))[1:3] == ("postgres", made)
        status, served, changed, _ = await ask(line, "PATCH", f"/api/orders/{made['id']}", {"n": 2})
        assert (status, served, changed["n"]) == (200, "postgres", 2)
        assert await line.records("json") == await line.records("postgres")
        assert (await line.status())["mirror"]["replayed"] == 2


async def test_p5_every_read_after_a_write_shows_it_whoever_answers(
    tmp_path: Path, database_url: str
) -> None:
    """Writes by others, reads by the canary's client: the barrier waits, or the primary answers."""
    async with Line(tmp_path, database_url=database_url, data={"orders": []}, routing=CANARY) as line:
        await ready(line)
        assert (await ask(line, "POST", "/api/orders", {"n": 0}))[0] == 201
        by: dict[str, int] = {}
        for number in range(1, 60):
            async with line.session.put(line.url("proxy") + "/api/orders/1", json={"n": number}) as response:
                assert response.status == 200
            path = "/api/orders/1" if number % 2 else "/api/orders"
            _, served, shown, _ = await ask(line, "GET", path)
            record = shown if number % 2 else shown[0]  # type: ignore[index]
            assert record["n"] == number, f"{served} showed an older state"
            by[served] = by.get(served, 0) + 1
        assert by.get("postgres", 0) > 30, "the secondary answers as a rule"


async def test_p5_a_read_waits_for_the_barrier_and_then_asks_the_primary(
    tmp_path: Path, database_url: str
) -> None:
    async with Line(tmp_path, database_url=database_url, data={"orders": []}, routing=CANARY) as line:
        await ready(line)
        assert (await ask(line, "POST", "/api/orders", {"n": 0}))[0] == 201
        line.processes["postgres"].signal(signal.SIGSTOP)
        try:
            async with line.session.put(line.url("proxy") + "/api/orders/1", json={"n": 1}) as response:
                assert response.status == 200
            status, served, shown, took_s = await ask(line, "GET", "/api/orders/1")
            assert (status, served, shown["n"]) == (200, "json", 1)
            assert 0.05 <= took_s < 1.0
        finally:
            line.processes["postgres"].signal(signal.SIGCONT)


async def test_p6_a_canary_write_waits_for_a_slow_secondary_no_longer_than_it_may(
    tmp_path: Path, database_url: str
) -> None:
    async with Line(tmp_path, database_url=database_url, data={"orders": []}, routing=CANARY) as line:
        await ready(line)
        assert (await ask(line, "POST", "/api/orders", {"n": 0}))[1] == "postgres"
        line.processes["postgres"].signal(signal.SIGSTOP)
        try:
            status, served, _, took_s = await ask(line, "POST", "/api/orders", {"n": 1})
            assert (status, served) == (201, "json")
            assert 0.5 <= took_s < 2.0, "answer_timeout"
            _, served, _, took_s = await ask(line, "PATCH", "/api/orders/2", {"n": 2})
            assert served == "json"
            assert took_s < 0.4, "its lane is busy: nobody waits"
            async with asyncio.timeout(10):
                while (await line.status())["mirror"]["lag_seconds"] <= 1.0:
                    await asyncio.sleep(0.05)
            _, served, _, took_s = await ask(line, "POST", "/api/orders", {"n": 3})
            assert served == "json"
            assert took_s < 0.4, "lag_seconds is above 1: nobody waits"
        finally:
            line.processes["postgres"].signal(signal.SIGCONT)
        await line.settled()
        assert await line.records("json") == await line.records("postgres")


async def test_p6_a_canary_write_does_not_wait_for_a_secondary_that_is_down(
    tmp_path: Path, database_url: str
) -> None:
    async with Line(tmp_path, database_url=database_url, data={"orders": []}, routing=CANARY) as line:
        await ready(line)
        await line.processes["postgres"].kill()
        assert (await ask(line, "POST", "/api/orders", {"n": 0}))[1] == "json"
        async with asyncio.timeout(10):
            while not (await line.status())["mirror"]["secondary_trouble"]:
                await asyncio.sleep(0.02)
        status, served, _, took_s = await ask(line, "POST", "/api/orders", {"n": 1})
        assert (status, served) == (201, "json")
        assert took_s < 0.4


async def test_p5_a_canary_write_that_differs_is_answered_by_the_primary_and_repaired(
    tmp_path: Path, database_url: str
) -> None:
    """The record was never backfilled: its first write cannot be replayed."""
    data = {"orders": [{"id": 1, "n": 0}]}
    async with Line(tmp_path, database_url=database_url, data=data, routing=CANARY) as line:
        await line.open_for_writes()
        status, served, shown, _ = await ask(line, "PATCH", "/api/orders/1", {"n": 1})
        assert (status, served, shown["n"]) == (200, "json", 1)
        mirror = await line.settled()
        assert (mirror["replayed"], mirror["repaired"]) == (0, 1)
        assert await line.records("json") == await line.records("postgres")
