"""Bodies larger than memory through a real proxy process: what is under way costs what back-pressure lets through, and no more."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.bulk import PIECE, BulkUpstream
from tests.support.processes import Process
from tests.support.raw_http import RawClient

pytestmark = pytest.mark.slow

GIB = 1 << 30
UPLOAD_BYTES_MAX = 8 << 20
"""What an upload of any size may cost beside what the proxy has at rest: a kept body of 1 MiB, a pair of buffers, and slack."""

SLOW_READER_BYTES_MAX = 2 << 20
"""What a download that nobody reads may cost: a pair of buffers with a high-water mark of 256 KiB, and the allocator's slack."""

ROUTING = """\
version: 1
upstreams:
  json:     {{endpoints: ["http://127.0.0.1:{json}"]}}
  postgres: {{endpoints: ["http://127.0.0.1:{postgres}"]}}
primary: json
routes:
  - {{path: "/plain/*", mirror: false}}
  - {{path: "/api/*", key: "/api/{{collection}}/{{id}}"}}
"""


@dataclass
class Place:
    primary: BulkUpstream
    secondary: BulkUpstream
    proxy: Process
    port: int
    at_rest: int

    def memory(self, field: str = "VmRSS") -> int:
        """Bytes; VmHWM is the highest RSS since ``forget_peak``."""
        status = Path(f"/proc/{self.proxy.pid}/status").read_text()
        found = re.search(rf"{field}:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) << 10

    @property
    def cost(self) -> int:
        """The highest so far, above what it had at rest."""
        return self.memory("VmHWM") - self.at_rest

    def forget_peak(self) -> None:
        Path(f"/proc/{self.proxy.pid}/clear_refs").write_text("5")


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with BulkUpstream() as primary, BulkUpstream() as secondary:
        config = tmp_path / "routing.yaml"
        config.write_text(ROUTING.format(json=primary.port, postgres=secondary.port))
        args = ["proxy", "--config", str(config), "--state", str(tmp_path / "state")]
        async with Process(
            *args, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", cwd=tmp_path
        ) as process:
            port = int(process.ready["proxy"].rsplit(":", 1)[1])
            made = Place(primary, secondary, process, port, 0)
            # One small write first: what every proxy loads and buffers once is not the body's cost.
            await upload(made, "/api/uploads", 1000, is_chunked=False)
            made.at_rest = made.memory()
            made.forget_peak()
            yield made


async def upload(place: Place, path: str, size: int, *, is_chunked: bool) -> tuple[dict, str]:
    """The answer's record, and the hash of what was sent."""
    digest, sent = hashlib.sha256(), 0
    async with await RawClient.connect(place.port) as client:
        framing = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % size
        client.send(b"POST %b HTTP/1.1\r\nHost: shop\r\n%b\r\n\r\n" % (path.encode(), framing))
        while sent < size:
            piece = PIECE[: size - sent]
            digest.update(piece)
            sent += len(piece)
            client.send(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
            await client.writer.drain()
        if is_chunked:
            client.send(b"0\r\n\r\n")
        got = await client.response("POST")
    assert got.status == 201, got.body
    return json.loads(got.body), digest.hexdigest()


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_mirrored_upload_of_1_gib_costs_a_few_mib(place: Place, is_chunked: bool) -> None:
    record, sha256 = await upload(place, "/api/uploads", GIB, is_chunked=is_chunked)
    assert (record["bytes"], record["sha256"]) == (GIB, sha256)
    assert place.cost < UPLOAD_BYTES_MAX
    # The mirror carries it all the same: by repair, as its body is too large to be kept (docs/mirror.md).
    path = f"/api/uploads/{record['id']}"
    async with asyncio.timeout(10):
        while path not in place.secondary.records:
            place.secondary.changed.clear()
            await place.secondary.changed.wait()
    assert place.secondary.records[path] == place.primary.records[path]
    assert place.secondary.read_bytes < 1 << 20


async def test_an_upload_of_1_gib_on_a_plain_route_costs_a_few_mib(place: Place) -> None:
    record, sha256 = await upload(place, "/plain/uploads", GIB, is_chunked=True)
    assert (record["bytes"], record["sha256"]) == (GIB, sha256)
    assert place.cost < UPLOAD_BYTES_MAX


async def test_a_slow_reader_of_a_1_gib_download_costs_kilobytes(place: Place) -> None:
    async with await RawClient.connect(place.port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(b"GET /download/%d HTTP/1.1\r\nHost: shop\r\n\r\n" % GIB)
        await place.primary.request(len(place.primary.requests))
        before = -1
        while before != place.primary.sent_bytes or not before:  # until nothing more can be sent
            before = place.primary.sent_bytes
            await asyncio.sleep(0.3)
        assert before < GIB // 10  # the rest: what the kernel's own buffers took
        assert place.cost < SLOW_READER_BYTES_MAX
        # It still flows: whoever begins to read gets it on and on.
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await client.reader.readuntil(b"\r\n\r\n")
        for _ in range(1000):
            assert await client.reader.readexactly(len(PIECE)) == PIECE
        assert place.primary.sent_bytes > before
        assert place.cost < SLOW_READER_BYTES_MAX
