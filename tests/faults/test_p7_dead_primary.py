"""P7 away from a primary that is dead for good: what the journal holds reaches the other upstream, what it cannot settle is named,
and the old one is looked at whole before anything is mirrored to it. Real processes, a real PostgreSQL, kill -9 under load."""

from __future__ import annotations

import asyncio
import io
import json
import random
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tests.support.line import Line

pytestmark = pytest.mark.slow

JSON = {"Content-Type": "application/json"}
EMPTY = {"settings": {"open": True}, "orders": []}


@dataclass
class Acknowledged:
    """What clients were told. One client writes a key at a time, so its last acknowledged state is the one to be found."""

    last: dict[str, bytes | None] = field(default_factory=dict)
    """Key → the record as it was answered; None: deleted."""
    in_doubt: set[str] = field(default_factory=set)
    """Keys whose last write had no answer."""
    writes: int = 0


async def client(line: Line, number: int, told: Acknowledged, until: asyncio.Event) -> None:
    """Creates, changes and deletes records of its own until the primary is gone."""
    dice = random.Random(number)
    mine: list[str] = []
    while not until.is_set():
        method, path = "POST", "/api/orders"
        if mine and dice.random() < 0.6:
            path = dice.choice(mine)
            method = dice.choice(("PATCH", "PATCH", "PUT", "DELETE"))
        body = None if method == "DELETE" else {"client": number, "n": dice.randrange(10**9)}
        try:
            async with line.session.request(method, line.url("proxy") + path, json=body) as response:
                raw = await response.read()
        except (aiohttp.ClientError, ConnectionError, TimeoutError):
            told.in_doubt.add(path)
            return
        if response.status >= 500:
            told.in_doubt.add(path)
            return
        assert response.status in (200, 201), raw
        told.writes += 1
        key = f"/api/orders/{json.loads(raw)['id']}"
        told.last[key] = None if method == "DELETE" else raw
        if method == "POST":
            mine.append(key)
        elif method == "DELETE":
            mine.remove(key)


async def load_until_the_primary_dies(line: Line, *, writes: int, clients: int = 12) -> Acknowledged:
    told, over = Acknowledged(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(client(line, number, told, over))
        while told.writes < writes:
            await asyncio.sleep(0.005)
        await line.processes["json"].kill()
        over.set()
    return told


async def switch(line: Line, to: str, **more: object) -> tuple[int, dict]:
    return await line.admin("POST", "/api/v1/switch", {"to": to, "reason": "it burned", **more})


async def record(line: Line, name: str, key: str) -> bytes | None:
    async with line.session.get(line.url(name) + key) as response:
        return await response.read() if response.status == 200 else None


async def missing_at(line: Line, name: str, told: Acknowledged, but: set[str]) -> list[str]:
    """Keys whose last acknowledged state is not there."""
    found = []
    for key, wanted in told.last.items():
        if key not in but and key not in told.in_doubt and await record(line, name, key) != wanted:
            found.append(key)
    return found


async def put(line: Line, key: str, body: object) -> tuple[int, bytes]:
    async with line.session.put(line.url("proxy") + key, json=body) as response:
        return response.status, await response.read()


async def begun(line: Line) -> None:
    """Proven equal, then the mirror lags: it is paused."""
    await line.open_for_writes()
    assert (await put(line, "/api/settings", {"open": False}))[0] == 200
    await line.settled()
    assert (await line.validate())["state"] == "equal"
    assert (await line.admin("POST", "/api/v1/mirror/pause", {}))[0] == 200


async def test_p7_a_dead_primary_is_left_behind_and_nothing_but_what_was_named_is_lost(
    tmp_path: Path, database_url: str
) -> None:
    """The rules salvage, named-or-nothing and learns-later."""
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        await begun(line)
        # A record that is too large for the journal: acknowledged, and only the primary holds it.
        scan = json.dumps({"scan": "x" * (1 << 20)}).encode()
        async with line.session.post(
            line.url("proxy") + "/api/orders", data=io.BytesIO(scan), headers=JSON
        ) as response:
            assert response.status == 201
            large = f"/api/orders/{json.loads(await response.read())['id']}"
        told = await load_until_the_primary_dies(line, writes=400)
        assert await line.records("postgres") == {}, "the mirror lags behind"

        status, problem = await switch(line, "postgres")
        assert status == 409
        assert "the primary json does not answer" in problem["detail"]
        _, plan = await switch(line, "postgres", dry_run=True)
        names = {one["name"] for one in plan["lost"]}
        assert large in names
        count = len(plan["lost"])
        assert f"--accept-loss {count}" in problem["hint"]
        assert count <= 1 + 12, "at most one write in doubt for each client"
        status, problem = await switch(line, "postgres", accept_loss=count + 1)
        assert status == 409, "the number must match"
        assert f"--accept-loss {count}" in problem["detail"]
        assert (await line.status())["primary"] == "json"

        status, answer = await switch(line, "postgres", accept_loss=count)
        assert status == 200, answer
        assert (answer["primary"], {one["name"] for one in answer["lost"]}) == ("postgres", names)
        assert (await line.processes["proxy"].told("passage_without_primary", end="done"))["lost"] == count
        assert await missing_at(line, "postgres", told, names) == []
        after = await line.status()
        assert after["primary"] == "postgres"
        assert after["mirror"]["returning"]["upstream"] == "json"
        assert after["mirror"]["returning"]["keys"] == [large]
        assert after["mirror"]["unproven"] == ["/"]
        assert (await put(line, "/api/settings", {"open": True, "after": 1}))[0] == 200, "writes go on"
        async with line.session.post(line.url("proxy") + "/api/orders", json={"new": 1}) as response:
            assert response.status == 201
            new = await response.read()
        assert f"/api/orders/{json.loads(new)['id']}" not in told.last, "no id is given twice"

        # The proxy dies too, and comes back; then the old primary does (learns-later).
        await line.processes["proxy"].kill()
        await line.start("proxy")
        await line.open_for_writes()
        again = (await line.status())["mirror"]["returning"]
        assert again == after["mirror"]["returning"]
        assert again["in_doubt"] == count - 1, "all but the large one"
        assert (await line.admin("POST", "/api/v1/mirror/resume", {}))[0] == 200
        await line.start("json")
        await returned(line)
        await line.settled()
        assert (await line.processes["proxy"].told("returned"))["upstream"] == "json"
        assert (await line.processes["proxy"].told("return_settled"))["dead_letters"] >= 1
        letters = {one["key"] for one in (await line.admin("GET", "/api/v1/dead-letters"))[1]["dead_letters"]}
        assert large in letters
        assert letters - {large} <= await keys_that_differ(line), (
            "a letter for each doubt that it had taken, and no other"
        )
        assert await record(line, "json", large) is not None, (
            "its copy is not overwritten before a person chooses"
        )
        assert await record(line, "postgres", large) is None
        assert await record(line, "json", "/api/settings") == await record(line, "postgres", "/api/settings")

        # A person keeps json's copy of the large one, by writing it through the proxy, and takes postgres' word for the rest.
        kept = await record(line, "json", large) or b""
        async with line.session.put(
            line.url("proxy") + large, data=io.BytesIO(kept), headers={**JSON, "If-None-Match": "*"}
        ) as response:
            assert response.status == 201, await response.text()
        assert (await line.admin("POST", "/api/v1/dead-letters/retry", {"all": True}))[0] == 200
        await line.settled()
        assert (await line.validate())["state"] == "equal"
        assert await missing_at(line, "json", told, names) == []
        # And the way back is the ordinary switch.
        status, answer = await switch(line, "json")
        assert status == 200, answer


async def returned(line: Line) -> None:
    """The old primary has been looked at whole, and is mirrored to."""
    for _ in range(300):
        mirror = (await line.status())["mirror"]
        if mirror["returning"] is None:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{mirror['secondary_trouble']}\n{line.processes['proxy'].output}")


async def keys_that_differ(line: Line) -> set[str]:
    ours, theirs = await line.records("json"), await line.records("postgres")
    return {f"/api/orders/{one}" for one in ours.keys() | theirs.keys() if ours.get(one) != theirs.get(one)}


@pytest.mark.parametrize("step", ["salvaged", "switch-burned", "switch-announced", "switch-committed"])
async def test_p7_leaving_a_dead_primary_behind_survives_kill_9_at(
    step: str, tmp_path: Path, database_url: str
) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        await begun(line)
        await line.processes["proxy"].stop()
        await line.start("proxy", {"TURNOUT_FAILPOINT": step})
        await line.open_for_writes()
        told = await load_until_the_primary_dies(line, writes=60, clients=4)
        _, plan = await switch(line, "postgres", dry_run=True)
        count = len(plan["lost"])
        with pytest.raises(aiohttp.ClientError):
            await switch(line, "postgres", accept_loss=count)
        assert await line.processes["proxy"].wait() == -9
        await line.start("proxy")
        names = {one["name"] for one in plan["lost"]}
        if (await line.status())["primary"] == "json":
            # There is always one primary; it is dead, so writes wait, and the next try goes through.
            _, again = await switch(line, "postgres", dry_run=True)
            assert len(again["lost"]) == count
            status, answer = await switch(line, "postgres", accept_loss=count)
            assert status == 200, answer
        else:
            assert step == "switch-committed"
        await line.open_for_writes()
        assert await missing_at(line, "postgres", told, names) == []
        assert (await put(line, "/api/settings", {"open": True}))[0] == 200


async def test_p7_a_primary_that_answers_is_never_left_behind(tmp_path: Path, database_url: str) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        await begun(line)
        status, problem = await switch(line, "postgres", accept_loss=0)
        assert (status, problem["code"]) == (409, "refused")
        await line.processes["postgres"].kill()
        await line.processes["json"].kill()
        status, problem = await switch(line, "postgres", accept_loss=0)
        assert status == 409
        assert "neither upstream answers" in problem["detail"]
