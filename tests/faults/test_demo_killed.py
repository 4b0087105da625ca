"""The demo's parent is killed: nothing of it goes on running, and the next start has every acknowledged write."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.demo import Demo

pytestmark = pytest.mark.slow


async def test_p3_kill_9_of_the_demo_takes_its_children_along_and_the_next_start_has_every_write(
    tmp_path: Path,
) -> None:
    async with Demo(tmp_path) as demo:
        told = [await demo.send("POST", "/api/orders", {"note": f"n{number}"}) for number in range(20)]
        assert {status for status, _ in told} == {201}
        await demo.kill()
        assert len(demo.children) >= 3
        async with asyncio.timeout(20):
            while any(child.is_running() for child in demo.children):
                await asyncio.sleep(0.05)
    async with Demo(tmp_path, port_base=demo.port_base) as again:
        for _, order in told:
            target = f"/api/orders/{order['id']}"
            async with asyncio.timeout(20):
                while (await again.get("postgres", target))[0] != 200:
                    await asyncio.sleep(0.02)
            assert (await again.get("json", target))[1] == (await again.get("postgres", target))[1]
