"""An upstream made of a test's own words: real sockets, and every byte that it got is kept."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

from tests.support.raw_http import parse_lines, read_body


@dataclass
class Request:
    """As it arrived."""

    line: str
    headers: list[tuple[str, str]]
    raw: bytes
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    connection: int = 0

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        return next(iter(self.all(name)), None)


@dataclass
class Link:
    """One connection, for handlers that do more than answer."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def reset(self) -> None:
        self.writer.transport.abort()


Answer = bytes | None
Handler = Callable[[Request, Link], Awaitable[Answer]]
"""Returns the raw response to write, or None where it has written (or refused to) itself."""


def answer(body: bytes = b"ok", status: str = "200 OK", headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status.encode(), headers, len(body), body)


async def say_ok(_: Request, __: Link) -> Answer:
    return answer()


class FakeUpstream:
    """``async with FakeUpstream(handler) as upstream``: listens on a free port until the block ends."""

    def __init__(
        self, handler: Handler = say_ok, *, reads_body: bool = True, tls: ssl.SSLContext | None = None
    ) -> None:
        self.tls = tls
        self.handler = handler
        self.reads_body = reads_body
        self.requests: list[Request] = []
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._came = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=1 << 20, ssl=self.tls
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(3):
            await asyncio.sleep(0)  # the transports' last callbacks

    async def request(self, number: int = 0) -> Request:
        """Wait until the request of this number has come."""
        async with asyncio.timeout(10):
            while len(self.requests) <= number:
                self._came.clear()
                await self._came.wait()
        return self.requests[number]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        number = self.connections
        try:
            while await self._one(reader, writer, number):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        raw = await reader.readuntil(b"\r\n\r\n")
        line, _, rest = raw.partition(b"\r\n")
        request = Request(line.decode("latin-1"), parse_lines(rest), raw, connection=number)
        if self.reads_body:
            request.body, _, request.trailers = await read_body(reader, request.headers, until_close=False)
        self.requests.append(request)
        self._came.set()
        data = await self.handler(request, Link(reader, writer))
        if data is not None:
            writer.write(data)
            await writer.drain()
        return not writer.transport.is_closing()


async def closed_port() -> int:
    """A port of this machine on which nobody listens."""
    server = await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port
