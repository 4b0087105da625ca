"""P3 and P4 under load: processes are killed at seeded random moments while many clients write; the checker reads both upstreams."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.conftest import Tally
from tests.support.checker import Verdict, judge, read_state
from tests.support.line import Line
from tests.support.load import Load, Log

pytestmark = pytest.mark.slow


async def verdict_on(line: Line, log: Log, tally: Tally) -> Verdict:
    """After the lag is 0: what became of the log's writes."""
    await line.open_for_writes()
    await line.settled()
    sides = {name: await read_state(line.session, line.url(name)) for name in ("json", "postgres")}
    verdict = judge(log, sides)
    tally.add(verdict)
    return verdict


async def test_p3_every_acknowledged_write_survives_kills_at_random_moments(
    seed: int, tmp_path: Path, database_url: str, tally: Tally
) -> None:
    dice = random.Random(seed)
    async with Line(tmp_path, database_url=database_url) as line:
        await line.open_for_writes()
        load = Load(line.ports["proxy"], seed, clients=dice.randrange(4, 25)).start()
        for _ in range(dice.randrange(1, 4)):
            await load.acknowledged_more(dice.randrange(1, 150))
            victim = dice.choice(["proxy", "proxy", "proxy", "json", "postgres"])
            await line.processes[victim].kill()
            await line.start(victim)
        await load.acknowledged_more(20)
        log = await load.stop()
        verdict = await verdict_on(line, log, tally)
    assert verdict.is_clean, f"SEED={seed} RUNS=1: {verdict}"
