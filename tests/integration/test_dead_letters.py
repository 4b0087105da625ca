"""A key that the secondary refuses for good: it alone waits, is shown whole, survives restarts, and ends by a person's word."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

import pytest

from tests.support.line import TOKEN, Line

pytestmark = pytest.mark.slow

EMPTY = {"settings": {"open": True}, "orders": []}


async def place(line: Line, name: str, record: dict) -> None:
    """Past the proxy: the secondary has a singleton of that name, or (``deleted``) has it no more."""
    applied = json.dumps({"id": name, **record})
    url = f"{line.url('postgres')}/_turnout/apply?name={name}"
    async with line.session.post(url, data=applied, headers={"Turnout-Token": TOKEN}) as response:
        assert (await response.json())["applied"] == 1, await response.text()


async def bury(line: Line, name: str = "widgets") -> bytes:
    """The secondary has a singleton of that name, so no record can be stored under it."""
    await place(line, name, {"body": {"by": "hand"}, "at": 1})
    async with line.session.post(f"{line.url('proxy')}/api/{name}", json={"n": 1}) as response:
        assert response.status == 201, "the primary is not hurt"
        body = await response.read()
    async with asyncio.timeout(10):
        while f"/api/{name}/1" not in [one["key"] for one in await letters(line)]:
            await asyncio.sleep(0.02)
    return body


async def letters(line: Line) -> list[dict]:
    return (await line.admin("GET", "/api/v1/dead-letters"))[1]["dead_letters"]


async def mend(line: Line, name: str = "widgets") -> None:
    await place(line, name, {"deleted": True, "at": 2})


async def test_p4_only_the_dead_key_waits_and_everything_about_it_is_shown(
    tmp_path: Path, database_url: str
) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        await line.open_for_writes()
        body = await bury(line)
        async with line.session.post(line.url("proxy") + "/api/orders", json={"n": 2}) as response:
            order = await response.read()
        figures = await line.settled()
        assert order in (await line.records("postgres")).values(), "all others go on"
        assert (figures["dead_letters"], figures["lag_entries"]) == (1, 0)
        assert figures["success_rate"] == 0.5, "one of two accepted writes is settled, none pends"
        await line.processes["proxy"].kill()
        await line.start("proxy")
        await line.open_for_writes()
        (letter,) = await letters(line)
        assert (letter["key"], letter["cause"]) == ("/api/widgets/1", "repair-refused")
        assert "turnout dead-letters retry /api/widgets/1" in letter["next"]
        status, shown = await line.admin("GET", "/api/v1/dead-letters/show?key=/api/widgets/1")
        assert status == 200, shown
        (request,) = shown["requests"]
        assert (request["method"], request["target"], request["status"]) == ("POST", "/api/widgets", 201)
        assert json.loads(request["body"]) == {"n": 1}
        assert request["answer"] == body.decode()
        assert shown["repair_answer"]["status"] in range(400, 500)
        assert json.loads(shown["repair_answer"]["body"])["code"]
        assert shown["records"]["json"] == {
            "status": 200,
            "version": shown["records"]["json"]["version"],
            "body": body.decode(),
        }
        assert shown["records"]["postgres"]["status"] == 404
        assert (await line.admin("GET", "/api/v1/dead-letters/show?key=/api/orders/1"))[0] == 409
        switch, problem = await line.admin("POST", "/api/v1/switch", {"to": "postgres", "reason": "x"})
        assert switch == 409
        assert "/api/widgets/1" in problem["detail"]


async def test_a_dead_letter_is_retried_also_over_a_restart_and_settles_once_its_cause_is_gone(
    tmp_path: Path, database_url: str
) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        await line.open_for_writes()
        body = await bury(line)
        assert (await line.admin("POST", "/api/v1/dead-letters/retry", {"key": "/api/widgets/1"}))[0] == 200
        async with asyncio.timeout(10):
            while not await letters(line):
                await asyncio.sleep(0.02)  # refused again, so dead again
        await mend(line)
        await line.processes["postgres"].stop()
        status, answer = await line.admin("POST", "/api/v1/dead-letters/retry", {"all": True})
        assert (status, answer["retrying"]) == (200, ["/api/widgets/1"])
        await line.processes["proxy"].kill()
        await line.start("proxy")
        await line.start("postgres")
        await line.settled()
        assert await letters(line) == []
        assert await line.records("postgres", "widgets") == {"1": body}


async def test_a_dropped_dead_letter_is_exported_first_and_leaves_a_gap(
    tmp_path: Path, database_url: str
) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        await line.open_for_writes()
        await line.validate()
        body = await bury(line)
        assert (await line.admin("POST", "/api/v1/dead-letters/drop", {"key": "/api/widgets/1"}))[0] == 400
        wish = {"key": "/api/widgets/1", "reason": "entered twice"}
        status, answer = await line.admin("POST", "/api/v1/dead-letters/drop", wish, X_Turnout_Actor="ann")
        assert status == 200, answer
        exported = Path(answer["exported"])
        assert exported.parent == tmp_path / "state" / "dead-letters"
        assert stat.S_IMODE(exported.stat().st_mode) == 0o600
        kept = json.loads(exported.read_text())
        assert (kept["key"], kept["reason"], kept["actor"]) == ("/api/widgets/1", "entered twice", "ann")
        assert kept["requests"][0]["answer"] == body.decode()
        assert kept["records"]["json"]["body"] == body.decode()
        await line.processes["proxy"].kill()
        await line.start("proxy")
        await line.open_for_writes()
        await line.settled()
        assert await letters(line) == []
        status = await line.status()
        assert "/api/widgets/1" in status["mirror"]["unproven"]
        assert ("dead-letter drop", "ann", "entered twice") in [
            (one["verb"], one["actor"], one["reason"]) for one in status["history"]
        ]
