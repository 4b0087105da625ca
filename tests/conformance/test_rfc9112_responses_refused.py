"""RFC 9112: an upstream's answer with no reading, or more than one, becomes a 502, and its connection is not used again."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.support.fake_upstream import Answer, FakeUpstream, Link, Request, answer
from tests.support.gateways import Gateway
from tests.support.raw_http import RawClient, ask

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def says(*lines: bytes, body: bytes = b"abc", status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return status + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(says(b"Content-Length: 3", b"Content-Length: 4"), id="lengths-that-differ"),
        pytest.param(says(b"Content-Length: 3, 4"), id="list-of-lengths"),
        pytest.param(says(b"Content-Length: 3x"), id="length-no-number"),
        pytest.param(says(b"Content-Length: -3"), id="length-negative"),
        pytest.param(says(b"Content-Length: +3"), id="length-plus"),
        pytest.param(says(b"Content-Length:"), id="length-empty"),
        pytest.param(says(b"Content-Length: 99999999999999999999999999"), id="length-beyond-64-bits"),
        pytest.param(
            says(b"Content-Length: 3", b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n"),
            id="length-and-chunked",
        ),
        pytest.param(says(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), id="gzip-chunked"),
        pytest.param(says(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), id="xchunked"),
        pytest.param(says(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"), id="chunked-identity"),
        pytest.param(
            says(b"Transfer-Encoding: chunked", status=b"HTTP/1.0 200 OK", body=b"0\r\n\r\n"),
            id="chunked-in-1.0",
        ),
        pytest.param(says(b"X : 1", b"Content-Length: 3"), id="space-before-colon"),
        pytest.param(says(b"X: 1", b" folded", b"Content-Length: 3"), id="folded"),
        pytest.param(says(b"X: a\x00b", b"Content-Length: 3"), id="nul"),
        pytest.param(says(b"X: a\rb", b"Content-Length: 3"), id="bare-cr"),
        pytest.param(says(b"X: a\nContent-Length: 1", b"Content-Length: 3"), id="bare-lf"),
        pytest.param(says(b": 1", b"Content-Length: 3"), id="no-name"),
        pytest.param(says(b"X", b"Content-Length: 3"), id="no-colon"),
        pytest.param(says(b"Content-Length: 3", status=b"HTTP/2.0 200 OK"), id="http-2"),
        pytest.param(says(b"Content-Length: 3", status=b"HTTP/1.1 20 OK"), id="status-of-two-digits"),
        pytest.param(says(b"Content-Length: 3", status=b"HTTP/1.1 2000 OK"), id="status-of-four-digits"),
        pytest.param(says(b"Content-Length: 3", status=b"HTTP/1.1 abc OK"), id="status-no-number"),
        pytest.param(says(b"Content-Length: 3", status=b"HTTP/1.1  200 OK"), id="two-spaces"),
        pytest.param(says(b"Content-Length: 3", status=b"ICY 200 OK"), id="icy"),
        pytest.param(b"nonsense\r\n\r\n", id="nonsense"),
        pytest.param(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            id="101-that-nobody-asked-for",
        ),
    ],
)
async def test_9112_an_answer_without_one_reading_makes_a_502(gateway: Gateway, raw: bytes) -> None:
    async def handler(_: Request, link: Link) -> Answer:
        link.send(raw)
        await link.writer.drain()
        link.writer.close()
        return None

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        assert (await ask(port, GET)).status == 502


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(b"zz\r\nabc\r\n0\r\n\r\n", id="no-size"),
        pytest.param(b"4\r\nabc\r\n0\r\n\r\n", id="shorter-than-its-size"),
        pytest.param(b"3\r\nabcX\r\n0\r\n\r\n", id="longer-than-its-size"),
        pytest.param(b"FFFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n", id="size-beyond-64-bits"),
        pytest.param(b"3\r\nabc\r\n0\r\nX : 1\r\n\r\n", id="bad-trailer"),
    ],
)
async def test_9112_7_1_a_malformed_chunk_never_makes_a_whole_answer(gateway: Gateway, chunks: bytes) -> None:
    async def handler(_: Request, link: Link) -> Answer:
        link.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await link.writer.drain()
        link.send(chunks)
        await link.writer.drain()
        link.writer.close()
        return None

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(GET)
            with contextlib.suppress(
                asyncio.IncompleteReadError, ConnectionError
            ):  # it had begun, and was cut
                assert (await client.response()).status == 502


@pytest.mark.parametrize("is_at_once", [True, False])
async def test_9112_6_3_what_an_upstream_sends_behind_its_answer_reaches_nobody(
    gateway: Gateway, is_at_once: bool
) -> None:
    async def handler(request: Request, link: Link) -> Answer:
        if request.target != "/first":
            return answer(b"mine")
        link.send(answer(b"one"))
        if not is_at_once:
            await link.writer.drain()
            await asyncio.sleep(0.05)  # by now the connection waits in a pool
        link.send(answer(b"for somebody else"))
        return None

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            assert (await client.ask(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")).body == b"one"
            if not is_at_once:
                await asyncio.sleep(0.1)
            for _ in range(3):
                assert (await client.ask(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")).body == b"mine"


CUT = {
    "/length": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
    "/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    "/in-a-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
    "/before-trailers-end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
}


async def cut_handler(request: Request, link: Link) -> Answer:
    link.send(CUT[request.target])
    await link.writer.drain()
    link.writer.close()
    return None


@pytest.mark.parametrize("path", CUT)
async def test_9112_8_an_answer_cut_by_its_upstream_never_looks_complete(gateway: Gateway, path: str) -> None:
    async with FakeUpstream(cut_handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode())
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.response()


async def test_9112_8_a_cut_shows_also_where_the_body_ends_by_close(gateway: Gateway) -> None:
    """To an HTTP/1.0 client the coding is lost: only a reset tells a cut from an end."""
    async with FakeUpstream(cut_handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(b"GET /chunked HTTP/1.0\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                await client.reader.read()


async def test_9112_8_a_head_cut_in_its_middle_is_a_502(gateway: Gateway) -> None:
    async def handler(_: Request, link: Link) -> Answer:
        link.send(b"HTTP/1.1 200 OK\r\nContent-Le")
        await link.writer.drain()
        link.writer.close()
        return None

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        assert (await ask(port, GET)).status == 502


@pytest.mark.parametrize("line", [b"X: " + b"y" * 200_000, b"\r\n".join(b"X: %d" % n for n in range(20_000))])
async def test_an_answer_with_a_head_beyond_bounds_is_a_502(gateway: Gateway, line: bytes) -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return says(line, b"Content-Length: 3")

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        assert (await ask(port, GET)).status == 502


async def test_an_answer_of_nothing_but_interim_answers_is_a_502(gateway: Gateway) -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        assert (await ask(port, GET)).status == 502
