"""The JSON server on a disk that fills up: writes are refused whole, reads go on, and with room again writes do too."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.processes import Process

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system"),
]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "turnout-test", str(place)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


async def test_p3_a_full_disk_refuses_writes_whole_and_reads_go_on(small_disk: Path) -> None:
    data = small_disk / "data.json"
    data.write_text('{"orders": []}')
    args = ("serve", "json", "--data", str(data), "--listen", ":0")
    stored: dict[str, bytes] = {}
    async with Process(*args) as server, aiohttp.ClientSession() as session:
        base = f"http://127.0.0.1:{server.ready['port']}"

        async def create(record_id: str) -> tuple[int, bytes]:
            body = {"id": record_id, "pad": "x" * 60_000}
            async with session.post(f"{base}/api/orders", json=body) as reply:
                return reply.status, await reply.read()

        status, place = 201, 0
        while status == 201:
            place += 1
            status, body = await create(f"r{place}")
            if status == 201:
                stored[f"r{place}"] = body
            assert place < 200
        assert (status, json.loads(body)["code"]) == (507, "storage-full")
        assert len(stored) > 5
        for record_id, body in stored.items():
            async with session.get(f"{base}/api/orders/{record_id}") as reply:
                assert await reply.read() == body
        async with session.get(f"{base}/api/orders/r{place}") as reply:
            assert reply.status == 404
        async with session.get(f"{base}/readyz") as reply:
            assert reply.status == 200, "what is refused for want of room is not broken"
        # Somebody makes room.
        subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
        status, body = await create("after")
        assert status == 201
        stored["after"] = body
        await server.kill()
    async with Process(*args) as server, aiohttp.ClientSession() as session:
        base = f"http://127.0.0.1:{server.ready['port']}"
        async with session.get(f"{base}/api/orders?_limit=1000") as reply:
            records = await reply.read()
        assert records == b"[" + b",".join(stored.values()) + b"]"
        assert await server.stop() == 0
    assert all(body in data.read_bytes() for body in stored.values())
