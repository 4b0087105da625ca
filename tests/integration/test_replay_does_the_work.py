"""In an ordinary run the secondary's own write path does the work: replays, not repairs, counted as it answers them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.checker import judge, read_state
from tests.support.line import Line
from tests.support.load import Load, Told

pytestmark = pytest.mark.slow

SHARE_MIN = 0.99


async def test_of_the_creates_and_later_writes_99_in_100_settle_as_replayed(
    tmp_path: Path, database_url: str
) -> None:
    async with Line(tmp_path, database_url=database_url, faults=("postgres",)) as line:
        await line.open_for_writes()
        await line.secondary_known()
        async with Load(line.ports["proxy"], 1, clients=8, pause_s=0.02, repeats=False) as load:
            await load.touched_settings()
            await load.acknowledged(600)
            log = await load.stop()
        mirror = await line.settled()
        applied = line.faults["postgres"].applied
        sides = {name: await read_state(line.session, line.url(name)) for name in ("json", "postgres")}
    verdict = judge(log, sides)
    assert verdict.is_clean, str(verdict)
    # The singleton stood in data.json: its first write has no version to build on, and settles by repair.
    first, *_ = [write for write in log.writes if write.register.startswith("settings/")]
    due = [write for write in log.writes if write.told is Told.ACKNOWLEDGED and write is not first]
    assert applied["replay"] >= SHARE_MIN * len(due), f"{applied} of {len(due)} due; {mirror}"
    assert mirror["replayed"] == applied["replay"]
