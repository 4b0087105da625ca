"""P3 at the JSON server: kill -9 at any step of bringing a write to disk, or at any moment, loses no acknowledged write.

One folder lives through a row of seeded kills. Each round starts the server with a failpoint (or none, and a kill from
outside), puts load on it until it is dead, starts it again, and asks for everything that was ever acknowledged. The
next round goes on from there. TURNOUT_KILLS=50 makes more rows (make faults).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from backends.failpoints import NAMES
from tests.support.processes import Process

KILLS_A_ROW = 5
ROWS = max(1, int(os.environ.get("TURNOUT_KILLS", "5")) // KILLS_A_ROW)
WRITERS = 12
JOURNAL = "5f0c"
PADDING = "x" * 300_000
"""Of a few records, so that the journal grows beyond what a state file must cover."""

pytestmark = pytest.mark.slow


@dataclass
class Known:
    """What clients were told, and what they asked for without an answer."""

    acknowledged: dict[str, bytes | None] = field(default_factory=dict)
    """key → body of the record; None: deleted"""
    versions: dict[str, int] = field(default_factory=dict)
    doubtful: dict[str, list[int]] = field(default_factory=dict)
    """key → request ids whose answer was cut off"""
    answers: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """Idempotency-Key → (collection, body)"""
    requests: int = 0
    given: set[int] = field(default_factory=set)
    """Numbers that an answer showed."""


@pytest.mark.parametrize("row", range(ROWS))
async def test_p3_kill_9_loses_no_acknowledged_write_of_the_json_server(row: int, tmp_path: Path) -> None:
    data = tmp_path / "data.json"
    data.write_text("{}")
    known = Known()
    for kill in range(KILLS_A_ROW):
        seed = row * KILLS_A_ROW + kill
        dice = random.Random(seed)
        failpoint = [*NAMES, None][seed * 5 % (len(NAMES) + 1)]
        often = failpoint is None or failpoint.startswith("journal")
        passes = dice.randint(1, 60) if often else dice.randint(1, 2)
        where = f"seed {seed}: {failpoint}:{passes}"
        env = {"TURNOUT_STORE_FAILPOINT": f"{failpoint}:{passes}"} if failpoint else {}
        server = Process("serve", "json", "--data", str(data), "--listen", ":0", env=env)
        try:
            await server.spawn()
            await load_until_dead(server, known, dice, None if failpoint else passes * 5, failpoint)
            assert server.returncode == -9, f"{where}: {server.output}"
        finally:
            await server.kill()
        json.loads(data.read_bytes())
        async with Process("serve", "json", "--data", str(data), "--listen", ":0") as again:
            await check(again, known, where)
            if dice.random() < 0.5:
                assert await again.stop() == 0
                assert_file_holds(data, known, where)


async def load_until_dead(
    server: Process, known: Known, dice: random.Random, acks_max: int | None, failpoint: str | None
) -> None:
    """Twelve clients write until the server is gone; without a failpoint it is killed after so many answers."""
    dead = asyncio.create_task(server.wait(120))
    ready = asyncio.create_task(server._is_ready.wait())
    await asyncio.wait({dead, ready}, return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    if dead.done():
        return
    base = f"http://127.0.0.1:{server.ready['port']}"
    is_heavy = failpoint is not None and not failpoint.startswith(("journal", "data"))
    acks = 0

    async def writer(session: aiohttp.ClientSession, number: int) -> None:
        nonlocal acks
        place = 0
        while not dead.done():
            place += 1
            collection = f"c{number % 3}"
            key = f"/api/{collection}/w{number}-{dice.randrange(6)}"
            if not await write(session, base, known, dice, key, collection, is_heavy):
                return
            acks += 1
            if acks_max is not None and acks >= acks_max and not dead.done():
                os.kill(server.pid, 9)

    async with aiohttp.ClientSession() as session:
        announced = {"epoch": 1, "role": "primary", "journal": JOURNAL}
        try:
            async with session.post(f"{base}/_turnout/epoch", json=announced) as reply:
                assert reply.status == 200, await reply.read()
        except (aiohttp.ClientError, ConnectionError):
            await dead
            return
        await asyncio.gather(*(writer(session, number) for number in range(WRITERS)))
        await dead


async def write(
    session: aiohttp.ClientSession,
    base: str,
    known: Known,
    dice: random.Random,
    key: str,
    collection: str,
    is_heavy: bool,
) -> bool:
    """One write of a key that is this client's alone; whether an answer came."""
    known.requests += 1
    request = known.requests
    headers = {"Turnout-Epoch": f"1 {JOURNAL}", "Turnout-Request": f"{request}; open=0"}
    there = known.acknowledged.get(key)
    body: dict[str, object] | None = {"n": request, "pad": PADDING if is_heavy else "x"}
    name = f"k{request}"
    if key in known.doubtful:
        method, target = "PUT", key  # whether it is there is not known: 404 and 200 both are answers
    elif there is None:
        method, target = "POST", f"/api/{collection}"
        body = {"id": key.rpartition("/")[2], **(body or {})}
        if not is_heavy:
            headers["Idempotency-Key"] = name
    elif dice.random() < 0.2:
        method, target, body = "DELETE", key, None
    else:
        method, target = "PATCH", key
    try:
        async with session.request(method, base + target, json=body, headers=headers) as reply:
            answer, status = await reply.read(), reply.status
            version = reply.headers.get("Turnout-Version", "")
    except (aiohttp.ClientError, ConnectionError):
        known.doubtful.setdefault(key, []).append(request)
        return False
    assert status in (200, 201, 404), (status, answer[:300])
    known.doubtful.pop(key, None)
    if status == 404:
        known.acknowledged[key] = None
        return True
    known.acknowledged[key] = None if method == "DELETE" else answer
    known.versions[key] = int(version.partition(";")[0])
    assert known.versions[key] not in known.given, "a number was given twice"
    known.given.add(known.versions[key])
    if "Idempotency-Key" in headers:
        known.answers[name] = (collection, answer)
    return True


async def check(server: Process, known: Known, where: str) -> None:
    """All that was acknowledged is so; what was doubtful happened wholly or not at all, and the server says which."""
    base = f"http://127.0.0.1:{server.ready['port']}"
    async with aiohttp.ClientSession() as session:
        for key, requests in list(known.doubtful.items()):
            for request in requests:
                async with session.post(f"{base}/_turnout/void", json={"request": request}) as reply:
                    done = await reply.json()
                async with session.get(base + key) as reply:
                    body = await reply.read() if reply.status == 200 else None
                    version = reply.headers["Turnout-Version"].partition(";")[0]
                if done["state"] == "done":
                    assert done["key"] == key, where
                    assert str(done["version"]) == version, f"{where}: {key}"
                    known.acknowledged[key], known.versions[key] = body, done["version"]
                    known.given.add(done["version"])
            del known.doubtful[key]
        for key, expected in known.acknowledged.items():
            async with session.get(base + key) as reply:
                body = await reply.read() if reply.status == 200 else None
                assert body == expected, f"{where}: {key} was acknowledged and is lost"
                if key in known.versions:
                    assert reply.headers["Turnout-Version"].startswith(f"{known.versions[key]}; "), where
        async with session.get(f"{base}/_turnout/epoch") as reply:
            assert (await reply.json())["number"] >= max(known.given, default=0), (
                f"{where}: a number would be given twice"
            )
        for name, (collection, answer) in list(known.answers.items())[-20:]:
            target = f"{base}/_turnout/answers?key=/api/{collection}/{json.loads(answer)['id']}"
            async with session.get(target) as reply:
                kept = {one["idempotency_key"]: one["body"] for one in (await reply.json())["answers"]}
            assert kept[name] == answer.decode(), f"{where}: the answer under {name} is lost"


def assert_file_holds(data: Path, known: Known, where: str) -> None:
    """data.json as a clean stop leaves it: exactly what is acknowledged, byte for byte."""
    raw = data.read_bytes()
    content = json.loads(raw)
    there = {f"/api/{name}/{record['id']}" for name, records in content.items() for record in records}
    live = {key: body for key, body in known.acknowledged.items() if body is not None}
    assert there == set(live), where
    assert all(body in raw for body in live.values()), where
