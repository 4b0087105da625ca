"""RFC 9112 section 9 at both ends: what persists, what is sent again, and what a side that leaves does to the other."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.fake_upstream import Answer, FakeUpstream, Link, Request, answer
from tests.support.gateways import Gateway
from tests.support.raw_http import RawClient, ask

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    ("framing", "part"),
    [
        pytest.param(b"Content-Length: 1000", b"half of it", id="length"),
        pytest.param(b"Transfer-Encoding: chunked", b"a\r\nhalf of it\r\n", id="chunked"),
        pytest.param(b"Transfer-Encoding: chunked", b"ff\r\nhalf of it", id="in-a-chunk"),
        pytest.param(b"Transfer-Encoding: chunked", b"a\r\nhalf of it\r\n0\r\n", id="before-trailers-end"),
    ],
)
@pytest.mark.parametrize("way", ["ends", "resets"])
async def test_9112_8_an_upload_whose_client_leaves_never_looks_whole(
    gateway: Gateway, framing: bytes, part: bytes, way: str
) -> None:
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def handler(_: Request, link: Link) -> Answer:
        data = b""
        try:
            while piece := await link.reader.read(1000):
                data += piece
        except ConnectionError:
            pass
        got.set_result(data)
        return None

    async with FakeUpstream(handler, reads_body=False) as upstream, gateway(upstream.port) as port:
        client = await RawClient.connect(port)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n" + part)
        await upstream.request()
        client.reset() if way == "resets" else client.writer.close()
        data = await asyncio.wait_for(got, 8)
    assert not data.endswith(b"0\r\n\r\n")
    assert len(data) < 1000


async def test_9112_9_5_a_client_that_is_gone_frees_the_upstream(gateway: Gateway) -> None:
    """Nobody reads the answer: the upstream must not go on making it."""
    gone = asyncio.Event()

    async def handler(_: Request, link: Link) -> Answer:
        link.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                link.send(b"5\r\nhello\r\n")
                await link.writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            gone.set()
        return None

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        client = await RawClient.connect(port)
        client.send(GET)
        await client.reader.readuntil(b"hello")
        client.reset()
        await asyncio.wait_for(gone.wait(), 5)


async def test_9112_9_3_one_upstream_connection_serves_many_requests(gateway: Gateway) -> None:
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        for _ in range(5):
            async with await RawClient.connect(port) as client:
                for _ in range(5):
                    assert (await client.ask(GET)).body == b"ok"
    assert upstream.connections <= 2


async def test_9112_9_3_1_a_read_on_a_kept_connection_that_dies_is_sent_again(gateway: Gateway) -> None:
    async def handler(request: Request, link: Link) -> Answer:
        if request.connection == 1 and len(upstream.requests) > 1:
            link.reset()
            return None
        return answer(b"mine")

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            assert (await client.ask(GET)).body == b"mine"
            assert (await client.ask(GET)).body == b"mine"
    assert [request.connection for request in upstream.requests] == [1, 1, 2]


@pytest.mark.parametrize("method", [b"POST", b"PATCH"])
async def test_9110_9_2_2_a_write_on_a_kept_connection_that_dies_is_not_sent_again(
    gateway: Gateway, method: bytes
) -> None:
    async def handler(request: Request, link: Link) -> Answer:
        if request.method != "GET":
            link.reset()
            return None
        return answer()

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            assert (await client.ask(GET)).status == 200
            got = await client.ask(b"%b / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi" % method)
            assert got.status == 502
    assert [request.method for request in upstream.requests] == ["GET", method.decode()]


async def test_9112_9_5_a_kept_connection_that_its_upstream_closed_costs_no_write(gateway: Gateway) -> None:
    """The close has been seen before the request came, so a fresh connection is used."""
    closed = asyncio.Event()

    async def handler(request: Request, link: Link) -> Answer:
        if request.connection == 1:
            link.send(answer())
            await link.writer.drain()
            link.writer.close()
            closed.set()
            return None
        return answer()

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            await client.ask(GET)
            await closed.wait()
            await asyncio.sleep(0.05)
            got = await client.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
    assert got.status == 200


async def test_9112_9_3_2_pipelined_requests_of_all_kinds_are_answered_in_order(gateway: Gateway) -> None:
    async def handler(request: Request, link: Link) -> Answer:
        if request.method == "HEAD":
            return b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n"
        if request.target == "/204":
            return b"HTTP/1.1 204 No Content\r\n\r\n"
        if request.target == "/chunked":
            return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        return answer(request.body or request.target.encode())

    script = (
        b"HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n"
        b"GET /204 HTTP/1.1\r\nHost: a\r\n\r\n"
        b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
        b"GET /chunked HTTP/1.1\r\nHost: a\r\n\r\n"
        b"PUT /q HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nyou"
        b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(script)
            assert (await client.response("HEAD")).get("content-length") == "77"
            assert (await client.response()).status == 204
            assert [(await client.response()).body for _ in range(4)] == [b"hi", b"abc", b"you", b"/last"]
            assert await client.rest() == b""
    assert "/never" not in [request.target for request in upstream.requests]


async def test_9112_9_3_2_a_slow_answer_is_not_overtaken(gateway: Gateway) -> None:
    go = asyncio.Event()

    async def handler(request: Request, _: Link) -> Answer:
        if request.target == "/slow":
            await asyncio.wait_for(go.wait(), 5)
        return answer(request.target.encode())

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /fast HTTP/1.1\r\nHost: a\r\n\r\n")
            await upstream.request()
            async with await RawClient.connect(port) as other:
                assert (await other.ask(b"GET /other HTTP/1.1\r\nHost: a\r\n\r\n")).body == b"/other"
            go.set()
            assert [(await client.response()).body for _ in range(2)] == [b"/slow", b"/fast"]


async def test_9112_9_3_an_early_answer_reaches_a_client_that_still_sends(gateway: Gateway) -> None:
    async def handler(_: Request, link: Link) -> Answer:
        link.send(answer(b"too much", "413 Content Too Large", b"Connection: close\r\n"))
        await link.writer.drain()
        await link.reader.read(1 << 20)
        return None

    async with FakeUpstream(handler, reads_body=False) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + bytes(100_000))
            got = await client.response("POST")
    assert (got.status, got.body) == (413, b"too much")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_9112_9_3_an_http_1_0_upstream_is_understood(gateway: Gateway, version: bytes) -> None:
    async def handler(_: Request, link: Link) -> Answer:
        link.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold")
        await link.writer.drain()
        link.writer.close()
        return None

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        for _ in range(2):
            got = await ask(port, b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version)
            assert (got.status, got.body) == (200, b"old")


async def test_9112_7_1_1_chunk_extensions_go_no_further(gateway: Gateway) -> None:
    raw: list[bytes] = []

    async def handler(_: Request, link: Link) -> Answer:
        raw.append(await link.reader.readuntil(b"0\r\n\r\n"))
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;secret=1\r\nabc\r\n0;secret\r\n\r\n"

    async with FakeUpstream(handler, reads_body=False) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(
                b'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3 ; secret\r\nabc\r\n0;secret="x"\r\n\r\n'
            )
            await client.reader.readuntil(b"\r\n\r\n")
            raw.append(await client.reader.readuntil(b"0\r\n\r\n"))
    assert [one.lower().replace(b" ", b"") for one in raw] == [b"3\r\nabc\r\n0\r\n\r\n"] * 2


@pytest.mark.parametrize(
    ("target", "seen"),
    [
        (b"http://real", "/"),
        (b"http://real/", "/"),
        (b"http://real?x=1", "/?x=1"),
        (b"HTTP://real:80/a/%2F/../b?c=%zz", "/a/%2F/../b?c=%zz"),
        (b"http://[::1]:80/a", "/a"),
    ],
)
async def test_9112_3_2_2_the_absolute_form_is_understood(gateway: Gateway, target: bytes, seen: str) -> None:
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        assert (await ask(port, b"GET %b HTTP/1.1\r\nHost: other\r\n\r\n" % target)).status == 200
    request = upstream.requests[0]
    assert request.target == seen
    assert request.all("host") == [target.split(b"//")[1].split(b"/")[0].split(b"?")[0].decode()]


async def test_9112_3_2_4_options_of_a_bare_authority_is_options_of_the_server(gateway: Gateway) -> None:
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        await ask(port, b"OPTIONS http://real:80 HTTP/1.1\r\nHost: other\r\n\r\n")
    assert upstream.requests[0].target == "*"


async def test_9112_3_2_4_the_asterisk_is_for_options_alone(gateway: Gateway) -> None:
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        assert (await ask(port, b"GET * HTTP/1.1\r\nHost: a\r\n\r\n")).status == 400
        assert upstream.requests == []
