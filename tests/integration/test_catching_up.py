"""A secondary that was away catches up: `turnout mirror status` tells how fast, and when it will be over. What it costs clients is
measured (tests/bench/catching_up.py), since a test cannot know how busy its machine is."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.support.fault_proxy import Fault, Kind
from tests.support.line import Line
from tests.support.processes import ROOT

pytestmark = pytest.mark.slow

KEYS = 240
EMPTY = {"settings": {"open": True}, "orders": []}
GOING = re.compile(
    r"^catching up +([\d.]+)/s settled, ([\d.]+)/s accepted: (?:done in about (\d+) s|no end)", re.MULTILINE
)


async def mirror_status(line: Line) -> str:
    """As an operator sees it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxy.cli.main", "mirror", "status",
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "TURNOUT_ADMIN": line.url("admin")},
        cwd=line.folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


def lag(said: str) -> int:
    found = re.search(r"^lag_entries +(\d+)$", said, re.MULTILINE)
    assert found is not None, said
    return int(found[1])


async def test_mirror_status_tells_progress_and_the_expected_end(tmp_path: Path, database_url: str) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY, faults=("postgres",)) as line:
        await line.open_for_writes()
        await line.secondary_known()
        assert (await line.admin("POST", "/api/v1/mirror/pause", {"reason": "a new disk"}))[0] == 200
        for number in range(KEYS):
            async with line.session.post(line.url("proxy") + "/api/orders", json={"n": number}) as response:
                assert response.status == 201
        paused = await mirror_status(line)
        assert lag(paused) == KEYS
        assert re.search(
            r"^paused +by admin since .*: a new disk; `turnout mirror resume`$", paused, re.MULTILINE
        )
        found = GOING.search(paused)
        assert found is not None, paused
        assert (found[1], found[3]) == ("0", None), "nothing is settled, so no end is to be seen"

        await line.faults["postgres"].set(
            Fault(Kind.SLOW, delay_s=0.5)
        )  # seconds, not milliseconds: there is time to look
        assert (await line.admin("POST", "/api/v1/mirror/resume", {}))[0] == 200
        async with asyncio.timeout(60):
            while True:
                going = await mirror_status(line)
                found = GOING.search(going)
                if found is not None and found[3] is not None:
                    break
        assert 0 < lag(going) < KEYS, "some of it is done"
        assert float(found[1]) > float(found[2]), "more is settled than comes"
        stats = (await line.admin("GET", "/api/dual-write/stats"))[1]
        assert stats["expected_end_s"] is None or 0 <= stats["expected_end_s"] < 600
        assert 1 <= stats["keys_at_once"] <= 32
        await line.faults["postgres"].clear()
        await line.settled()
        over = await mirror_status(line)
        assert lag(over) == 0
        assert GOING.search(over) is None
        assert f"replayed      {KEYS}" in over
        assert await line.records("json") == await line.records("postgres")


async def test_dual_write_stats_add_up_over_a_restart(tmp_path: Path, database_url: str) -> None:
    """accepted = settled + pending + dead, since the journal began; the success rate leaves out what is still to come."""
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        await line.open_for_writes()
        await line.secondary_known()
        since = (await line.admin("GET", "/api/dual-write/stats"))[1]["since"]
        for number in range(5):
            async with line.session.post(line.url("proxy") + "/api/orders", json={"n": number}) as response:
                assert response.status == 201
        async with line.session.put(line.url("proxy") + "/api/orders/none", json={}) as response:
            assert response.status == 404
        await line.settled()
        assert (await line.admin("POST", "/api/v1/mirror/pause", {}))[0] == 200
        for number in range(3):
            async with line.session.post(line.url("proxy") + "/api/orders", json={"n": number}) as response:
                assert response.status == 201
        wanted = {
            "accepted": 8, "replayed": 5, "repaired": 0, "rejected": 1, "pending": 3, "in_doubt": 0, "dead": 0,
            "dead_letters": 0, "success_rate": 1.0, "since": since,
        }  # fmt: skip
        for _ in range(2):
            stats = (await line.admin("GET", "/api/dual-write/stats"))[1]
            assert {name: stats[name] for name in wanted} == wanted
            mirror = (await line.admin("GET", "/api/v1/mirror"))[1]
            assert {name: mirror[name] for name in wanted} == wanted
            await line.processes["proxy"].stop()
            await line.start("proxy")
            await line.open_for_writes()
        assert (await line.admin("POST", "/api/v1/mirror/resume", {}))[0] == 200
        stats = await line.settled()
        assert (stats["accepted"], stats["pending"], stats["success_rate"]) == (8, 0, 1.0)
        assert (stats["replayed"], stats["repaired"]) == (5, 3), "what a start finds is repaired"
