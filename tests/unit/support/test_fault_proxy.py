"""Each fault does what it says, to a small server that counts what reaches it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.fault_proxy import Fault, FaultProxy, Kind
from tests.support.raw_http import RawClient

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
REQUEST = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"


class Server:
    """Answers each request with ANSWER, and keeps what came."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.arrived = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                self.got.append(data)
                self.arrived.set()
                if data.endswith(b"body"):
                    writer.write(ANSWER)
        except OSError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def world() -> AsyncIterator[tuple[FaultProxy, Server]]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with FaultProxy(port) as proxy:
        yield proxy, server
    listening.close()


async def test_without_a_fault_bytes_pass_both_ways_on_one_connection() -> None:
    async with world() as (proxy, server), await RawClient.connect(proxy.port) as client:
        for _ in range(2):
            assert (await client.ask(REQUEST)).body == b"hello"
        assert b"".join(server.got) == REQUEST * 2


async def test_refuse_takes_the_listener_away_and_gives_it_back() -> None:
    async with world() as (proxy, _), await RawClient.connect(proxy.port) as client:
        await client.ask(REQUEST)
        await proxy.set(Fault(Kind.REFUSE))
        with pytest.raises(ConnectionRefusedError):
            await RawClient.connect(proxy.port)
        assert await client.rest() == b""
        await proxy.clear()
        async with await RawClient.connect(proxy.port) as again:
            assert (await again.ask(REQUEST)).status == 200


async def test_reset_lets_nothing_through() -> None:
    async with world() as (proxy, server), await RawClient.connect(proxy.port) as client:
        await proxy.set(Fault(Kind.RESET))
        client.send(REQUEST)
        with pytest.raises(ConnectionResetError):
            await client.reader.read(1)
        assert server.got == []
        assert proxy.hits == 1


async def test_a_black_hole_swallows_and_its_connections_end_when_it_closes() -> None:
    async with world() as (proxy, server), await RawClient.connect(proxy.port) as client:
        await proxy.set(Fault(Kind.BLACK_HOLE))
        client.send(REQUEST)
        await proxy.acted()
        assert server.got == []
        await proxy.clear()
        assert await client.rest() == b""


async def test_a_request_is_cut_after_so_many_bytes() -> None:
    async with world() as (proxy, server), await RawClient.connect(proxy.port) as client:
        await proxy.set(Fault(Kind.CUT_REQUEST, after_bytes=10))
        client.send(REQUEST)
        assert await client.rest() == b""
        await proxy.acted()
        assert b"".join(server.got) in (REQUEST[:10], b"")  # a reset may overtake what was sent before it


async def test_an_answer_is_cut_after_so_many_bytes_and_the_request_has_passed() -> None:
    async with world() as (proxy, server), await RawClient.connect(proxy.port) as client:
        await proxy.set(Fault(Kind.CUT_ANSWER, after_bytes=12))
        client.send(REQUEST)
        assert (await client.rest()) in (ANSWER[:12], b"")
        assert b"".join(server.got) == REQUEST


async def test_slow_delays_each_chunk_and_changes_none() -> None:
    async with world() as (proxy, server), await RawClient.connect(proxy.port) as client:
        await proxy.set(Fault(Kind.SLOW, delay_s=0.02))
        began = time.monotonic()
        assert (await client.ask(REQUEST)).body == b"hello"
        assert time.monotonic() - began >= 0.04
        assert b"".join(server.got) == REQUEST


async def test_a_wrong_answer_comes_back_although_the_request_was_executed() -> None:
    async with world() as (proxy, server), await RawClient.connect(proxy.port) as client:
        await proxy.set(Fault(Kind.WRONG_ANSWER, answer=b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"))
        assert (await client.ask(REQUEST)).status == 500
        assert b"".join(server.got) == REQUEST


async def test_late_resets_the_sender_and_delivers_the_whole_request_afterwards() -> None:
    async with world() as (proxy, server), await RawClient.connect(proxy.port) as client:
        await proxy.set(Fault(Kind.LATE, delay_s=0.05))
        client.send(REQUEST[:60])
        await asyncio.sleep(0)
        client.send(REQUEST[60:])
        assert await client.rest() == b""
        assert server.got == []
        await asyncio.wait_for(server.arrived.wait(), 5)
        assert b"".join(server.got) == REQUEST
