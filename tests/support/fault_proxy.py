"""A TCP proxy that breaks what passes through it, as told, while it runs.

    proxy under test ──► FaultProxy ──► upstream

A fault is data; each connection asks for the present one at each chunk. A connection that a fault has spoilt stays
spoilt, and is reset when the fault is taken away: what was swallowed cannot be given back.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

from tests.support.processes import free_port
from tests.support.raw_http import parse_lines

CHUNK_BYTES = 1 << 16
MIRRORED = re.compile(rb"\r\nTurnout-Mirror: (\w+)\r\n", re.IGNORECASE)
RESET = struct.pack("ii", 1, 0)


class Kind(StrEnum):
    """What may happen to a connection."""

    NONE = "none"
    REFUSE = "refuse"
    """Nobody listens; open connections are reset."""
    RESET = "reset"
    """Accepted, and reset at the first byte of a request."""
    BLACK_HOLE = "black-hole"
    """Accepted and read; nothing is passed on, nothing comes back."""
    CUT_REQUEST = "cut-request"
    """Reset both ways after so many bytes of requests."""
    CUT_ANSWER = "cut-answer"
    """Requests pass; reset after so many bytes of answers."""
    SLOW = "slow"
    """Each chunk waits, both ways."""
    WRONG_ANSWER = "wrong-answer"
    """The request passes and is executed; other bytes come back than the upstream's, and the connection ends."""
    LATE = "late"
    """The sender is reset at once; the request arrives all the same, whole, later."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, until another is set."""

    kind: Kind = Kind.NONE
    after_bytes: int = 0
    delay_s: float = 0.0
    answer: bytes = b""


NONE = Fault()


class FaultProxy:
    """In front of one port of 127.0.0.1, on a port that stays the same."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.target_port = target_port
        self.fault = NONE
        self.hits = 0
        """How often the present fault has acted."""
        self.applied: Counter[str] = Counter()
        """Mirrored requests that were answered 2xx, by what Turnout-Mirror said."""
        self._acted = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def set(self, fault: Fault) -> None:
        """From the next chunk on. Connections that the last one spoilt are reset."""
        self.fault = fault
        self.hits = 0
        for link in list(self._links):
            if link.is_spoilt or fault.kind is Kind.REFUSE:
                link.reset()
            link.sent_up = link.sent_down = 0
        if fault.kind is Kind.REFUSE:
            await self._stop_listening()
        elif self._server is None:
            await self._listen()

    async def clear(self) -> None:
        await self.set(NONE)

    async def acted(self, count: int = 1, timeout_s: float = 20.0) -> None:
        """Until the present fault has acted so often (a refused connection is seen by nobody)."""
        async with asyncio.timeout(timeout_s), self._acted:
            await self._acted.wait_for(lambda: self.hits >= count)

    async def delivered(self) -> None:
        """Until all that was held back has arrived."""
        if self._tasks:
            await asyncio.gather(*self._tasks)

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop_listening()
        for link in list(self._links):
            link.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=1 << 22)

    async def _stop_listening(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def hit(self) -> None:
        async with self._acted:
            self.hits += 1
            self._acted.notify_all()

    async def deliver_later(self, request: bytes, delay_s: float) -> None:
        """The rest of a late delivery: nobody waits for its answer."""
        task = asyncio.create_task(self._deliver(request, delay_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, request: bytes, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.target_port)
            writer.write(request)
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(5):
                    await reader.read(CHUNK_BYTES)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self, reader, writer)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)


class _Link:
    """One accepted connection, and the one behind it."""

    def __init__(self, owner: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._owner = owner
        self._reader = reader
        self._writer = writer
        self._up: asyncio.StreamWriter | None = None
        self.is_spoilt = False
        self._mirrored = ""
        """What the request under way is to the mirror."""
        self.sent_up = 0
        self.sent_down = 0

    async def run(self) -> None:
        try:
            down, self._up = await asyncio.open_connection(
                "127.0.0.1", self._owner.target_port, limit=1 << 22
            )
        except OSError:
            self.reset()
            return
        pumps = [asyncio.create_task(self._upwards()), asyncio.create_task(self._downwards(down))]
        try:
            # One side's end is the other's.
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._writer.close()
            self._up.close()

    def reset(self) -> None:
        for writer in (self._writer, self._up):
            if writer is not None:
                _reset(writer)

    async def _upwards(self) -> None:
        owner = self._owner
        while chunk := await _read(self._reader):
            fault = owner.fault
            match fault.kind:
                case Kind.RESET:
                    self.reset()
                    await owner.hit()
                    return
                case Kind.BLACK_HOLE:
                    self.is_spoilt = True
                    await owner.hit()
                    continue
                case Kind.CUT_REQUEST:
                    left = fault.after_bytes - self.sent_up
                    self.sent_up += len(chunk)
                    if len(chunk) > left:
                        await self._pass(self._up, chunk[: max(0, left)])
                        self.reset()
                        await owner.hit()
                        return
                case Kind.LATE:
                    request = await self._whole(chunk)
                    await owner.deliver_later(request, fault.delay_s)
                    self.reset()
                    await owner.hit()
                    return
                case Kind.SLOW:
                    await owner.hit()
                    await asyncio.sleep(fault.delay_s)
                case _:
                    pass
            if self.is_spoilt:
                continue
            if found := MIRRORED.search(chunk):
                self._mirrored = found[1].decode()
            await self._pass(self._up, chunk)

    async def _downwards(self, down: asyncio.StreamReader) -> None:
        owner = self._owner
        while chunk := await _read(down):
            fault = owner.fault
            match fault.kind:
                case Kind.BLACK_HOLE:
                    self.is_spoilt = True
                    continue
                case Kind.CUT_ANSWER:
                    left = fault.after_bytes - self.sent_down
                    self.sent_down += len(chunk)
                    if len(chunk) > left:
                        await self._pass(self._writer, chunk[: max(0, left)])
                        self.reset()
                        await owner.hit()
                        return
                case Kind.WRONG_ANSWER:
                    await self._pass(self._writer, fault.answer)
                    await owner.hit()
                    return
                case Kind.SLOW:
                    await asyncio.sleep(fault.delay_s)
                case _:
                    pass
            if self.is_spoilt:
                continue
            if self._mirrored and chunk.startswith(b"HTTP/1.1 2"):
                owner.applied[self._mirrored] += 1
            self._mirrored = ""
            await self._pass(self._writer, chunk)

    async def _whole(self, request: bytes) -> bytes:
        """The request to its end: a head, and the body that its Content-Length says."""
        while b"\r\n\r\n" not in request:
            request += await _read(self._reader)
        head, _, body = request.partition(b"\r\n\r\n")
        named = {name.lower(): value for name, value in parse_lines(head.partition(b"\r\n")[2])}
        missing = int(named.get("content-length", 0)) - len(body)
        return request if missing <= 0 else request + await self._reader.readexactly(missing)

    async def _pass(self, writer: asyncio.StreamWriter | None, chunk: bytes) -> None:
        if writer is not None and chunk:
            with contextlib.suppress(OSError):
                writer.write(chunk)
                await writer.drain()


async def _read(reader: asyncio.StreamReader) -> bytes:
    """The next bytes; nothing at the end, however it came."""
    try:
        return await reader.read(CHUNK_BYTES)
    except OSError:
        return b""


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST, not FIN."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
