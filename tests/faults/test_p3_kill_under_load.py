"""P3 and P4 under load: processes are killed while many clients write; the checker reads both upstreams afterwards."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from tests.faults.conftest import Tally, verdict_on
from tests.support.line import Line
from tests.support.load import Load

pytestmark = pytest.mark.slow

OF_A_WRITE = (
    "intent-queued",
    "intent-durable",
    "primary-answered",
    "outcome-durable",
    "client-answered",
    "replay-sent",
    "replay-answered",
)
OF_A_RECOVERY = ("void-answered", "repair-read", "repair-answered")


async def test_p3_every_acknowledged_write_survives_kills_at_random_moments(
    seed: int, tmp_path: Path, database_url: str, tally: Tally
) -> None:
    dice = random.Random(seed)
    async with Line(tmp_path, database_url=database_url) as line:
        await line.open_for_writes()
        async with Load(line.ports["proxy"], seed, clients=dice.randrange(4, 25)) as load:
            for _ in range(dice.randrange(1, 4)):
                await load.acknowledged_more(dice.randrange(1, 150))
                victim = dice.choice(["proxy", "proxy", "proxy", "json", "postgres"])
                await line.processes[victim].kill()
                await line.start(victim)
            await load.acknowledged_more(20)
            log = await load.stop()
        verdict = await verdict_on(line, log, tally)
    assert verdict.is_clean, f"make faults SEED={seed} RUNS=1: {verdict}"


async def test_p3_every_acknowledged_write_survives_a_kill_at_each_step_under_load(
    tmp_path: Path, database_url: str, tally: Tally
) -> None:
    """One line, killed at each step of a write in turn, while the clients never stop."""
    dice = random.Random(1)
    async with Line(tmp_path, database_url=database_url) as line:
        async with Load(line.ports["proxy"], 1) as load:
            for step in OF_A_WRITE:
                await line.processes["proxy"].kill()
                proxy = await line.start("proxy", {"TURNOUT_FAILPOINT": f"{step}:{dice.randrange(5, 60)}"})
                assert await proxy.wait() == -9, f"{step} was not passed: {proxy.output}"
                await line.start("proxy")
                await load.acknowledged_more(10)
            log = await load.stop()
        verdict = await verdict_on(line, log, tally)
    assert verdict.is_clean, str(verdict)


async def test_p3_every_acknowledged_write_survives_kills_during_the_recovery_itself(
    tmp_path: Path, database_url: str, tally: Tally
) -> None:
    async with Line(tmp_path, database_url=database_url) as line:
        await line.open_for_writes()
        async with Load(line.ports["proxy"], 2) as load:
            await load.acknowledged(5)
            await line.processes["postgres"].kill()
            await load.acknowledged_more(60)  # they wait in the journal
            line.processes["json"].signal(signal.SIGSTOP)
            await load.under_way(8)  # they will be in doubt
            await line.processes["proxy"].kill()
            line.processes["json"].signal(signal.SIGCONT)
            log = await load.stop()
        await line.start("postgres")
        for step in OF_A_RECOVERY:
            proxy = await line.start("proxy", {"TURNOUT_FAILPOINT": f"{step}:3"})
            assert await proxy.wait() == -9, f"{step} was not passed: {proxy.output}"
        await line.start("proxy")
        verdict = await verdict_on(line, log, tally)
    assert verdict.is_clean, str(verdict)


@pytest.mark.parametrize("upstream", ["json", "postgres"])
async def test_p3_every_acknowledged_write_survives_kill_9_of(
    upstream: str, tmp_path: Path, database_url: str, tally: Tally
) -> None:
    async with Line(tmp_path, database_url=database_url) as line:
        await line.open_for_writes()
        async with Load(line.ports["proxy"], 3) as load:
            for _ in range(3):
                await load.acknowledged_more(40)
                await line.processes[upstream].kill()
                if upstream == "postgres":
                    await load.acknowledged_more(40)  # P6: the primary's answers go on
                await line.start(upstream)
            await load.acknowledged_more(20)
            log = await load.stop()
        verdict = await verdict_on(line, log, tally)
    assert verdict.is_clean, str(verdict)


@pytest.mark.parametrize("upstream", ["json", "postgres"])
async def test_p3_every_acknowledged_write_survives_a_stopped(
    upstream: str, tmp_path: Path, database_url: str, tally: Tally
) -> None:
    """SIGSTOP: connections stay open, and nothing is answered."""
    async with Line(tmp_path, database_url=database_url) as line:
        await line.open_for_writes()
        async with Load(line.ports["proxy"], 4) as load:
            await load.acknowledged_more(40)
            line.processes[upstream].signal(signal.SIGSTOP)
            if upstream == "postgres":
                await load.acknowledged_more(80)
            else:
                await load.under_way(8)
                await line.processes[
                    "proxy"
                ].kill()  # what lies in the primary's socket is executed after that
                await line.start("proxy")
            line.processes[upstream].signal(signal.SIGCONT)
            await load.acknowledged_more(40)
            log = await load.stop()
        verdict = await verdict_on(line, log, tally)
    assert verdict.is_clean, str(verdict)


async def test_p3_postgres_away_during_writes_shows_no_client_an_error_and_ends_equal(
    tmp_path: Path, database_url: str, tally: Tally
) -> None:
    async with Line(tmp_path, database_url=database_url) as line:
        await line.open_for_writes()
        async with Load(line.ports["proxy"], 5) as load:
            await load.acknowledged(20)
            await line.processes["postgres"].kill()
            await load.acknowledged_more(200)
            log = await load.stop()
        assert {write.status for write in log.writes} <= {200, 201, 404, 412}, "a client saw an error"
        mirror = (await line.status())["mirror"]
        assert mirror["lag_entries"] > 0
        assert mirror["secondary_trouble"]
        await line.start("postgres")
        verdict = await verdict_on(line, log, tally)
    assert verdict.is_clean, str(verdict)


async def test_p3_kill_9_during_a_thousand_writes_loses_none(
    tmp_path: Path, database_url: str, tally: Tally
) -> None:
    async with Line(tmp_path, database_url=database_url) as line:
        await line.open_for_writes()
        async with Load(line.ports["proxy"], 6, clients=32, pause_s=0.0) as load:
            await load.acknowledged(500)
            await line.processes["proxy"].kill()
            await line.start("proxy")
            await load.acknowledged(1000)
            log = await load.stop()
        verdict = await verdict_on(line, log, tally)
    assert verdict.is_clean, str(verdict)
    assert verdict.acknowledged >= 1000
