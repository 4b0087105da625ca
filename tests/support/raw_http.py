"""A client that sees bytes: it sends what a test says, and reads one response at a time without interpreting more than its framing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from dataclasses import dataclass, field
from typing import Self

WAIT_S = 10.0


@dataclass
class Response:
    """As it came. ``headers`` keep order, case and duplicates; ``body`` is decoded from its framing."""

    status: int
    line: bytes
    headers: list[tuple[str, str]]
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        return next(iter(self.all(name)), None)


def parse_lines(raw: bytes) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for line in raw.split(b"\r\n"):
        if line:
            name, _, value = line.decode("latin-1").partition(":")
            pairs.append((name, value.strip(" \t")))
    return pairs


async def read_head(reader: asyncio.StreamReader) -> tuple[bytes, list[tuple[str, str]]]:
    raw = await reader.readuntil(b"\r\n\r\n")
    line, _, rest = raw.partition(b"\r\n")
    return line, parse_lines(rest)


async def read_body(
    reader: asyncio.StreamReader, headers: list[tuple[str, str]], *, until_close: bool
) -> tuple[bytes, list[bytes], list[tuple[str, str]]]:
    """Body, its chunks as framed, trailers."""
    named = {name.lower(): value for name, value in headers}
    if named.get("transfer-encoding", "").lower() == "chunked":
        chunks: list[bytes] = []
        while True:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            if size == 0:
                break
            chunks.append(await reader.readexactly(size))
            assert await reader.readexactly(2) == b"\r\n"
        trailers = b""
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            trailers += line
        return b"".join(chunks), chunks, parse_lines(trailers)
    if "content-length" in named:
        return await reader.readexactly(int(named["content-length"])), [], []
    return (await reader.read(), [], []) if until_close else (b"", [], [])


class RawClient:
    """One TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, tls: ssl.SSLContext | None = None) -> RawClient:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 22, ssl=tls))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def reset(self) -> None:
        """Gone for certain: an orderly end could be that of a client that still reads."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def send(self, *data: bytes) -> None:
        for one in data:
            self.writer.write(one)

    async def response(self, method: str = "GET", *, interim: bool = False) -> Response:
        """The next final response; with ``interim`` the next one of any kind."""
        async with asyncio.timeout(WAIT_S):
            while True:
                line, headers = await read_head(self.reader)
                answer = Response(int(line.split()[1]), line, headers)
                if answer.status >= 200 or interim:
                    break
            if method != "HEAD" and answer.status not in (204, 304) and answer.status >= 200:
                answer.body, answer.chunks, answer.trailers = await read_body(
                    self.reader, headers, until_close=True
                )
            return answer

    async def ask(self, data: bytes) -> Response:
        self.send(data)
        return await self.response(data.split(b" ", 1)[0].decode("latin-1"))

    async def rest(self) -> bytes:
        """All that comes until the peer closes (a reset counts as its end)."""
        got = b""
        async with asyncio.timeout(WAIT_S):
            try:
                while data := await self.reader.read(1 << 16):
                    got += data
            except ConnectionError:
                pass
        return got


async def ask(port: int, data: bytes) -> Response:
    """One request on a connection of its own."""
    async with await RawClient.connect(port) as client:
        return await client.ask(data)
