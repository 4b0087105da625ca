"""Upstreams for bodies of any size: they keep what a versioned upstream must, and of a body its length and its hash."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator

from tests.support.fake_upstream import Answer, FakeUpstream, Link, Request, answer

READ_BYTES = 256 << 10
PIECE = bytes(range(256)) * 256
"""64 KiB that are not all the same."""


async def body_pieces(request: Request, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """A request's body as it arrives, whatever its framing."""
    if request.get("transfer-encoding") == "chunked":
        while size := int(await reader.readuntil(b"\r\n"), 16):
            yield await reader.readexactly(size)
            assert await reader.readexactly(2) == b"\r\n"
        assert await reader.readuntil(b"\r\n") == b"\r\n"
        return
    left = int(request.get("content-length") or 0)
    while left:
        piece = await reader.read(min(left, READ_BYTES))
        if not piece:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(piece)
        yield piece


class BulkUpstream(FakeUpstream):
    """A versioned upstream (docs/protocol.md: E1, E2, W2, V1, R1, M2) whose records are ``{"id", "bytes", "sha256"}`` of what was sent."""

    def __init__(self) -> None:
        super().__init__(self._answer, reads_body=False)
        self.epoch: dict[str, object] = {"epoch": 0, "role": "none", "journal": None}
        self.records: dict[str, bytes] = {}
        self.versions: dict[str, int] = {}
        self.number = 0
        self.read_bytes = 0
        self.changed = asyncio.Event()
        """Set with each record that is stored."""
        self.sent_bytes = 0
        """Of the download that runs: what this server could write so far."""

    async def _answer(self, request: Request, link: Link) -> Answer:
        path = request.target.split("?")[0]
        if request.method == "GET" and path.startswith("/download/"):
            await self._download(int(path.removeprefix("/download/")), link)
            return None
        digest, kept, size = hashlib.sha256(), b"", 0
        async for piece in body_pieces(request, link.reader):
            digest.update(piece)
            size += len(piece)
            self.read_bytes += len(piece)
            if len(kept) < 1024:
                kept += piece
        if path == "/healthz":
            return answer()
        if path == "/_turnout/epoch":
            return self._announced(kept)
        if path == "/_turnout/void":
            return answer(b'{"state": "never"}')
        if request.method == "GET":
            return self._record(path)
        if request.get("turnout-mirror") == "repair":
            return self._repaired(path, kept, request.get("turnout-version") or "")
        return self._created(path, size, digest.hexdigest())

    def _announced(self, body: bytes) -> Answer:
        if body:
            said = json.loads(body)
            self.epoch = {name: said[name] for name in ("epoch", "role", "journal")}
            self.number = max(self.number, int(said["epoch"]) << 40)
        return answer(
            json.dumps({"turnout": 1, **self.epoch, "number": self.number, "counters": {}}).encode()
        )

    def _record(self, path: str) -> Answer:
        body = self.records.get(path)
        if body is None:
            return answer(b"", "404 Not Found", b"Turnout-Version: none; at=%d\r\n" % self.number)
        version = self.versions[path]
        return answer(body, headers=b"Turnout-Version: %d; at=%d\r\n" % (version, self.number))

    def _created(self, path: str, size: int, sha256: str) -> Answer:
        self.number += 1
        name = str(self.number & 0xFFFF)
        body = json.dumps({"id": name, "bytes": size, "sha256": sha256}).encode()
        self._store(f"{path}/{name}", body, self.number)
        lines = f"Location: {path}/{name}\r\nTurnout-Version: {self.number}; base=none\r\n"
        return answer(body, "201 Created", lines.encode())

    def _repaired(self, path: str, body: bytes, version: str) -> Answer:
        self._store(path, body, int(version.split(";", maxsplit=1)[0]))
        return answer(body, headers=b"Turnout-Version: %b\r\n" % version.encode())

    def _store(self, path: str, body: bytes, version: int) -> None:
        self.records[path] = body
        self.versions[path] = version
        self.changed.set()

    async def _download(self, size: int, link: Link) -> None:
        link.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        self.sent_bytes = 0
        while self.sent_bytes < size:
            piece = PIECE[: size - self.sent_bytes]
            link.send(piece)
            await link.writer.drain()
            self.sent_bytes += len(piece)
