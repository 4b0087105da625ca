"""`turnout check --probe` asks both upstreams of a file, and changes nothing at either."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.support.plain_line import ROUTING, PlainLine
from tests.support.processes import Process

pytestmark = pytest.mark.slow


async def check(line: PlainLine, *more: str) -> tuple[int, str]:
    process = await Process("check", str(line.config), "--probe", *more, cwd=line.folder).spawn()
    return await process.wait(), process.output


async def test_it_tells_a_plain_upstream_from_a_versioned_one(tmp_path: Path) -> None:
    routing = ROUTING.replace("{{collection}}", "items")
    line = PlainLine(tmp_path, old="strict", new="json", routing=routing)
    try:
        await asyncio.gather(line.start("old"), line.start("new"))
        await line.send("POST", "/items", {"n": 1}, at="old")
        code, text = await check(line)
        assert code == 0, text
        assert "old: plain: P4 and P7 by time" in text
        assert "new: versioned: P1 to P9 hold in full" in text
        assert "yes lists /api/items: 1 records" in text
        assert "yes shows a record by its id" in text
        assert set(await line.records("old")) == {"1"}, "nothing was written"
        code, text = await check(line, "--json")
        told = json.loads(text)
        assert [one["kind"] for one in told["upstreams"]] == ["plain", "versioned"]
    finally:
        await line.__aexit__(None, None, None)


async def test_an_upstream_that_is_away_fails_the_check(tmp_path: Path) -> None:
    line = PlainLine(tmp_path, old="strict", new="strict")
    try:
        await line.start("old")
        code, text = await check(line)
        assert code == 1, text
        assert "new: unknown" in text
        assert "NO  answers" in text
    finally:
        await line.__aexit__(None, None, None)
