"""RFC 9110 section 7.8 and RFC 6455 section 4: WebSockets are tunnelled byte for byte; no other upgrade is passed on."""

from __future__ import annotations

import asyncio

import pytest

from proxy.model import Limits
from tests.support.fake_upstream import Answer, FakeUpstream, Link, Request, answer
from tests.support.forward_world import proxy, snapshot
from tests.support.gateways import Gateway
from tests.support.raw_http import RawClient

KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
ASK = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + KEY + b"\r\n"
YES = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


async def echo(request: Request, link: Link) -> Answer:
    """Says yes, and sends back whatever comes, until the other side has ended."""
    link.send(YES)
    while data := await link.reader.read(1 << 16):
        link.send(data)
        await link.writer.drain()
    link.send(b"bye")
    await link.writer.drain()
    link.writer.close()
    return None


async def say_ok(_: Request, __: Link) -> Answer:
    return answer()


async def test_9110_7_8_a_websocket_is_tunnelled_both_ways(gateway: Gateway) -> None:
    async with FakeUpstream(echo) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(ASK)
            got = await client.response(interim=True)
            assert (got.status, (got.get("upgrade") or "").lower()) == (101, "websocket")
            assert "upgrade" in (got.get("connection") or "").lower()
            assert got.get("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
            for piece in (b"\x81\x05hello", b"\x00\xff" * 50_000):
                client.send(piece)
                assert await client.reader.readexactly(len(piece)) == piece
    request = upstream.requests[0]
    assert ((request.get("upgrade") or "").lower(), (request.get("connection") or "").lower()) == (
        "websocket",
        "upgrade",
    )
    assert request.get("sec-websocket-key") == "dGhlIHNhbXBsZSBub25jZQ=="


async def test_9110_7_8_bytes_that_come_early_are_kept_in_order(gateway: Gateway) -> None:
    """The upstream's first frame comes with its 101, the client's behind its request, before it has read the 101."""

    async def handler(_: Request, link: Link) -> Answer:
        link.send(YES + b"early")
        link.send(await link.reader.readexactly(10))
        return None

    async with FakeUpstream(handler, reads_body=False) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(ASK + b"first")
            assert (await client.response(interim=True)).status == 101
            client.send(b"later")
            assert await client.reader.readexactly(15) == b"earlyfirstlater"


async def test_9110_7_8_a_client_that_has_ended_still_reads(gateway: Gateway) -> None:
    async with FakeUpstream(echo) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(ASK)
            assert (await client.response(interim=True)).status == 101
            client.send(b"last words")
            client.writer.write_eof()
            assert await client.rest() == b"last wordsbye"


async def test_9110_7_8_an_upstream_that_has_ended_still_reads(gateway: Gateway) -> None:
    heard = asyncio.get_running_loop().create_future()

    async def handler(_: Request, link: Link) -> Answer:
        link.send(YES + b"that is all")
        link.writer.write_eof()
        heard.set_result(await link.reader.read(-1))
        link.writer.close()
        return None

    async with FakeUpstream(handler, reads_body=False) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(ASK)
            assert (await client.response(interim=True)).status == 101
            assert await client.rest() == b"that is all"
            client.send(b"I heard you")
            client.writer.write_eof()
            assert await asyncio.wait_for(heard, 5) == b"I heard you"


async def test_9110_7_8_when_one_side_is_lost_the_other_is_told(gateway: Gateway) -> None:
    lost = asyncio.Event()

    async def handler(_: Request, link: Link) -> Answer:
        link.send(YES)
        try:
            while await link.reader.read(1000):
                pass
        except ConnectionError:
            pass
        lost.set()
        link.writer.close()
        return None

    async with FakeUpstream(handler, reads_body=False) as upstream, gateway(upstream.port) as port:
        client = await RawClient.connect(port)
        client.send(ASK)
        assert (await client.response(interim=True)).status == 101
        client.reset()
        await asyncio.wait_for(lost.wait(), 5)


async def test_9110_7_8_an_upgrade_that_is_refused_is_an_ordinary_answer(gateway: Gateway) -> None:
    async with FakeUpstream(say_ok) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            assert (await client.ask(ASK)).body == b"ok"
            assert (await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).body == b"ok"


@pytest.mark.parametrize("protocol", [b"h2c", b"foo/2", b"TLS/1.2, IRC/6.9"])
async def test_9110_7_8_an_upgrade_other_than_websocket_is_not_forwarded(
    gateway: Gateway, protocol: bytes
) -> None:
    async with FakeUpstream(say_ok) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            got = await client.ask(
                b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\n"
                b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n" % protocol
            )
    assert got.status == 200
    seen = {name.lower() for name, _ in upstream.requests[0].headers}
    assert not {"upgrade", "http2-settings"} & seen


async def test_9110_7_8_of_several_protocols_websocket_alone_is_passed_on(gateway: Gateway) -> None:
    async with FakeUpstream(echo) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(ASK.replace(b"Upgrade: websocket", b"Upgrade: h2c, WebSocket"))
            assert (await client.response(interim=True)).status == 101
    assert [value.lower() for value in upstream.requests[0].all("upgrade")] == ["websocket"]


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(ASK.replace(b"HTTP/1.1", b"HTTP/1.0"), id="http-1.0"),
        pytest.param(ASK.replace(b"Connection: Upgrade\r\n", b""), id="not-named-by-connection"),
    ],
)
async def test_9110_7_8_an_upgrade_that_does_not_count_is_not_forwarded(gateway: Gateway, raw: bytes) -> None:
    async with FakeUpstream(say_ok) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            assert (await client.ask(raw)).status == 200
    assert upstream.requests[0].get("upgrade") is None


async def test_a_websocket_that_is_asked_for_with_a_body_is_not_upgraded() -> None:
    """The body and the tunnel's first bytes could be taken for each other."""
    async with FakeUpstream(say_ok) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        async with await RawClient.connect(it.port) as client:
            raw = ASK.replace(b"GET", b"POST").replace(KEY, KEY + b"Content-Length: 5\r\n")
            assert (await client.ask(raw + b"hello")).status == 200
    assert (upstream.requests[0].body, upstream.requests[0].get("upgrade")) == (b"hello", None)


async def test_9110_15_5_22_a_demand_to_upgrade_names_the_protocol(gateway: Gateway) -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return answer(b"", "426 Upgrade Required", b"Upgrade: websocket\r\nConnection: Upgrade\r\n")

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            got = await client.ask(b"GET /chat HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (got.status, got.get("upgrade")) == (426, "websocket")


async def test_a_silent_tunnel_outlives_every_timeout_of_requests() -> None:
    limits = Limits(idle_timeout_s=0.2, response_timeout_s=0.2, header_timeout_s=0.2)
    async with FakeUpstream(echo) as upstream:
        async with proxy(snapshot(upstream.port, upstream.port, limits=limits)) as it:
            async with await RawClient.connect(it.port) as client:
                client.send(ASK)
                assert (await client.response(interim=True)).status == 101
                await asyncio.sleep(0.8)
                client.send(b"still here")
                assert await client.reader.readexactly(10) == b"still here"


async def test_a_tunnel_lives_through_a_change_of_routing() -> None:
    """P8: a good edit drops no WebSocket, even where its endpoint is no longer in the routing."""
    async with FakeUpstream(echo) as upstream, FakeUpstream(say_ok) as other:
        async with proxy(snapshot(upstream.port, upstream.port)) as it:
            async with await RawClient.connect(it.port) as client:
                client.send(ASK)
                assert (await client.response(interim=True)).status == 101
                it.holder.current = snapshot(other.port, other.port, revision=2)
                async with await RawClient.connect(it.port) as second:
                    assert (await second.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).body == b"ok"
                client.send(b"still here")
                assert await client.reader.readexactly(10) == b"still here"
    assert len(other.requests) == 1


async def test_a_tunnel_whose_reader_is_slow_stops_its_writer() -> None:
    sent = 0

    async def handler(_: Request, link: Link) -> Answer:
        nonlocal sent
        link.send(YES)
        while True:
            link.send(bytes(1 << 16))
            await link.writer.drain()
            sent += 1 << 16

    async with FakeUpstream(handler, reads_body=False) as upstream:
        async with proxy(snapshot(upstream.port, upstream.port)) as it:
            async with await RawClient.connect(it.port) as client:
                client.writer.transport.pause_reading()  # type: ignore[attr-defined]
                client.send(ASK)
                await upstream.request()
                before = -1
                while before != sent or not sent:
                    before = sent
                    await asyncio.sleep(0.1)
                assert sent < 64 << 20  # the rest: what the kernel's own buffers took
                client.writer.transport.resume_reading()  # type: ignore[attr-defined]
                assert (await client.response(interim=True)).status == 101
                for _ in range(100):
                    await client.reader.readexactly(1 << 16)
