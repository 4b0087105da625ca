"""P7: switches and rollbacks under load, with kill -9 at each of their steps: one primary, and nothing lost."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import aiohttp
import pytest

from tests.faults.conftest import Tally, verdict_on
from tests.support.line import TOKEN, Line
from tests.support.load import Load, Log

pytestmark = pytest.mark.slow

STEPS = ("switch-burned", "switch-announced", "switch-committed")


async def proved_equal(line: Line) -> Log:
    """A line that may switch: written to, settled, validated."""
    await line.open_for_writes()
    async with Load(line.ports["proxy"], 1) as load:
        await load.acknowledged(40)
        await load.touched_settings()
        log = await load.stop()
    await line.settled()
    run = await line.validate()
    assert run["state"] == "equal", run
    return log


async def switch(line: Line, to: str) -> tuple[int, dict] | None:
    """None where the proxy died of it."""
    try:
        return await line.admin("POST", "/api/v1/switch", {"to": to, "reason": "test", "wait_s": 20})
    except (aiohttp.ClientError, ConnectionError):
        return None


async def roles(line: Line) -> dict[str, tuple[str, int]]:
    """What each upstream itself says it is, in which epoch."""
    found: dict[str, tuple[str, int]] = {}
    for name in ("json", "postgres"):
        url = line.url(name) + "/_turnout/epoch"
        async with line.session.get(url, headers={"Turnout-Token": TOKEN}) as response:
            said = await response.json()
        found[name] = said["role"], said["epoch"]
    return found


async def there_is_one_primary(line: Line) -> str:
    """The journal, and both upstreams, agree; the secondary learns of it soon after."""
    status = await line.status()
    primary, epoch = status["primary"], status["epoch"]
    other = "postgres" if primary == "json" else "json"
    async with asyncio.timeout(20):
        while await roles(line) != {primary: ("primary", epoch), other: ("secondary", epoch)}:
            await asyncio.sleep(0.05)
    return primary


async def test_p7_a_switch_and_a_rollback_under_load_lose_nothing(
    tmp_path: Path, database_url: str, tally: Tally
) -> None:
    async with Line(tmp_path, database_url=database_url) as line:
        log = await proved_equal(line)
        async with Load(line.ports["proxy"], 2, log=log) as load:
            for to in ("postgres", "json", "postgres"):
                await load.acknowledged_more(40)
                answer = await switch(line, to)
                assert answer is not None
                assert answer[0] == 200, answer
                assert await there_is_one_primary(line) == to
            status, said = await line.admin("POST", "/api/v1/rollback", {"reason": "back"})
            assert status == 200, said
            assert await there_is_one_primary(line) == "json"
            await load.acknowledged_more(40)
            log = await load.stop()
        verdict = await verdict_on(line, log, tally)
    assert verdict.is_clean, str(verdict)
    assert {write.status for write in log.writes} <= {200, 201, 404, 412}, "a client saw a switch"


@pytest.mark.parametrize("step", STEPS)
async def test_p7_a_switch_killed_at_its_step_leaves_one_primary_and_loses_nothing(
    step: str, tmp_path: Path, database_url: str, tally: Tally
) -> None:
    async with Line(tmp_path, database_url=database_url) as line:
        log, kills = await proved_equal(line), 0
        async with Load(line.ports["proxy"], 3, log=log) as load:
            for to in ("postgres", "json"):
                await line.processes["proxy"].stop()
                await line.start("proxy", {"TURNOUT_FAILPOINT": step})
                await load.acknowledged_more(30)
                before = (await line.status())["primary"]
                killed = await switch(line, to)
                if killed is None:
                    kills += 1
                    assert await line.processes["proxy"].wait() == -9, line.processes["proxy"].output
                    await line.start("proxy")
                    await line.open_for_writes()
                    after = await there_is_one_primary(line)
                    assert after == (to if step == "switch-committed" else before)
                else:
                    assert (killed[0], before) == (200, to), killed  # the first switch did not come to pass
                await load.acknowledged_more(30)
            log = await load.stop()
        verdict = await verdict_on(line, log, tally)
    assert kills == (2 if step == "switch-committed" else 1)
    assert verdict.is_clean, str(verdict)


async def test_p7_switches_with_kills_at_random_moments_lose_nothing(
    tmp_path: Path, database_url: str, tally: Tally
) -> None:
    dice = random.Random(7)
    async with Line(tmp_path, database_url=database_url) as line:
        log = await proved_equal(line)
        async with Load(line.ports["proxy"], 4, log=log) as load:
            for _ in range(4):
                await load.acknowledged_more(20)
                primary = (await line.status())["primary"]
                acting = asyncio.create_task(switch(line, "json" if primary == "postgres" else "postgres"))
                victim = dice.choice(["proxy", "proxy", "json", "postgres"])
                await asyncio.sleep(dice.random() * 0.2)
                await line.processes[victim].kill()
                await line.start(victim)
                await acting
                await line.open_for_writes()
                await there_is_one_primary(line)
            await load.acknowledged_more(30)
            log = await load.stop()
        verdict = await verdict_on(line, log, tally)
    assert verdict.is_clean, str(verdict)
