"""The protocol's suite as a third party runs it: against a server that is known by its URL alone."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT, Process

TOKEN = "a token of this test"


@pytest.mark.slow
async def test_the_suite_finds_a_server_at_a_url_right_and_one_without_the_protocol_wrong(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data.json"
    data.write_text('{"orders": [{"id": 1}]}')
    args = ("serve", "json", "--data", str(data), "--listen", ":0")
    async with Process(*args, env={"TURNOUT_MIRROR_TOKEN": TOKEN}) as server:
        url = f"http://127.0.0.1:{server.ready['port']}"
        code, output = await suite(url, TOKEN)
        assert code == 0, output
        code, output = await suite(url, "another token", "-k", "test_r1_a_404")
        assert code == 1
        assert "mirror-token" in output


async def suite(url: str, token: str, *more: str) -> tuple[int, str]:
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "tests/protocol", "-p", "no:cacheprovider", *more,
        cwd=ROOT, env={**os.environ, "TURNOUT_PROTOCOL_URL": url, "TURNOUT_MIRROR_TOKEN": token},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(run.communicate(), 120)
    return run.returncode or 0, output.decode()[-4000:]
