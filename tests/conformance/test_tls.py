"""TLS at both ends of the proxy: what passes over plain TCP passes over TLS, and no certificate is believed unseen."""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from proxy.errors import UsageError
from proxy.model import Canary, Endpoint, Limits, Snapshot, Upstream, UpstreamTls
from proxy.tls import Certificate, upstream_context
from tests.conformance import test_rfc6455_tunnels as tunnels
from tests.support.certificates import Authority
from tests.support.fake_upstream import Answer, FakeUpstream, Link, Request, answer
from tests.support.forward_world import Proxy, proxy, snapshot
from tests.support.raw_http import RawClient, ask

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def secured(upstream_port: int, tls: UpstreamTls | None, **more: object) -> Snapshot:
    """Both upstreams behind TLS at that port."""
    plain = snapshot(upstream_port, upstream_port, **more)  # type: ignore[arg-type]
    endpoint = Endpoint("127.0.0.1", upstream_port, is_tls=True)
    first, second = (replace(one, endpoints=(endpoint,), tls=tls) for one in plain.upstreams)
    return replace(plain, upstreams=(first, second))


@asynccontextmanager
async def both_ends(authority: Authority, upstream_port: int) -> AsyncIterator[Proxy]:
    """A proxy with TLS towards clients and upstreams."""
    certificate = Certificate(authority.sign())
    async with proxy(secured(upstream_port, UpstreamTls(ca=authority.ca)), tls=certificate.entrance) as it:
        yield it


def on_both_loops(case: Callable[[Authority], Awaitable[None]]) -> Callable[[Authority, str], None]:
    """uvloop is what runs in production; its TLS is not asyncio's."""

    @pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
    def test(authority: Authority, loop: str) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(20):
                await case(authority)

        (uvloop.run if loop == "uvloop" else asyncio.run)(bounded())

    return test


async def _requests_of_all_kinds(authority: Authority) -> None:
    async def handler(request: Request, _: Link) -> Answer:
        if request.target == "/chunked":
            return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n"
        return answer(request.body or request.target.encode())

    body = os.urandom(2_000_000)
    async with FakeUpstream(handler, tls=authority.serving("127.0.0.1")) as upstream:
        async with both_ends(authority, upstream.port) as it:
            async with await RawClient.connect(it.port, authority.trusting()) as client:
                assert (await client.ask(GET)).body == b"/"
                got = await client.ask(b"GET /chunked HTTP/1.1\r\nHost: a\r\n\r\n")
                assert (got.body, got.trailers) == (b"abc", [("T", "1")])
                client.send(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body), body)
                assert (await client.response("POST")).body == body
                client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(20)))
                assert [(await client.response()).body for _ in range(20)] == [b"/%d" % n for n in range(20)]
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert (await client.response()).get("connection") == "close"
                assert await client.rest() == b""
        assert upstream.connections == 1
        assert {request.get("x-forwarded-proto") for request in upstream.requests} == {"https"}


test_requests_of_all_kinds_pass_over_tls_at_both_ends = on_both_loops(_requests_of_all_kinds)


async def _refusals(authority: Authority) -> None:
    async with FakeUpstream(tls=authority.serving("127.0.0.1")) as upstream:
        async with both_ends(authority, upstream.port) as it:
            async with await RawClient.connect(it.port, authority.trusting()) as client:
                client.send(b"POST / HTTP/1.1\r\nHost : a\r\n\r\n" + bytes(100_000))
                assert (await client.response("POST")).status == 400
                assert await client.rest() == b""
            async with await RawClient.connect(it.port) as client:  # plain HTTP to a TLS port
                client.send(GET)
                assert b"200 OK" not in await client.rest()
            assert (upstream.requests, it.forwarder.in_flight) == ([], 0)


test_what_is_refused_over_tcp_is_refused_over_tls = on_both_loops(_refusals)


async def _tunnel(authority: Authority) -> None:
    async with FakeUpstream(tunnels.echo, tls=authority.serving("127.0.0.1")) as upstream:
        async with both_ends(authority, upstream.port) as it:
            async with await RawClient.connect(it.port, authority.trusting()) as client:
                client.send(tunnels.ASK)
                assert (await client.response(interim=True)).status == 101
                for piece in (b"hello", os.urandom(1_000_000)):
                    client.send(piece)
                    assert await client.reader.readexactly(len(piece)) == piece
            async with asyncio.timeout(5):
                while it.forwarder.in_flight:  # the client closed: the tunnel ends
                    await asyncio.sleep(0.01)


test_a_websocket_passes_over_tls_at_both_ends = on_both_loops(_tunnel)


async def _slow_reader(authority: Authority) -> None:
    sent = 0

    async def handler(_: Request, link: Link) -> Answer:
        nonlocal sent
        link.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
        while not link.writer.is_closing():
            link.send(bytes(1 << 16))
            await link.writer.drain()
            await asyncio.sleep(0)  # asyncio's TLS may take all of it at once, and let nobody else run
            sent += 1 << 16

    async with FakeUpstream(handler, tls=authority.serving("127.0.0.1")) as upstream:
        async with both_ends(authority, upstream.port) as it:
            async with await RawClient.connect(it.port, authority.trusting()) as client:
                client.writer.transport.pause_reading()  # type: ignore[attr-defined]
                client.send(GET)
                await upstream.request()
                before = -1
                while before != sent or not sent:
                    before = sent
                    await asyncio.sleep(0.2)
                assert sent < 64 << 20
                client.writer.transport.resume_reading()  # type: ignore[attr-defined]
                await client.reader.readuntil(b"\r\n\r\n")
                for _ in range(200):
                    await client.reader.readexactly(1 << 16)


test_a_slow_reader_stops_its_writer_over_tls = on_both_loops(_slow_reader)


def _answers_and_ends(context: ssl.SSLContext, *, says_so: bool) -> tuple[int, threading.Thread]:
    """A blocking server for one request, whose answer ends by close: with TLS's own end, or without."""
    import socket

    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)

    def serve() -> None:
        with listener:
            plain, _ = listener.accept()
        connection = context.wrap_socket(plain, server_side=True)
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it, or a part")
        if says_so:
            connection.settimeout(2)
            try:
                connection.unwrap().close()
            except OSError:
                connection.close()
        else:
            connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    return listener.getsockname()[1], thread


async def _ends(authority: Authority) -> None:
    for says_so in (True, False):
        port, thread = _answers_and_ends(authority.serving("127.0.0.1"), says_so=says_so)
        try:
            async with proxy(secured(port, UpstreamTls(ca=authority.ca))) as it:
                async with await RawClient.connect(it.port) as client:
                    client.send(GET)
                    if says_so:
                        assert (await client.response()).body == b"all of it, or a part"
                    else:
                        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                            await client.response()
        finally:
            await asyncio.to_thread(thread.join)


test_9112_9_8_a_body_that_ends_without_the_end_of_tls_is_cut = on_both_loops(_ends)


@pytest.mark.parametrize(
    ("names", "tls", "status"),
    [
        pytest.param(("127.0.0.1",), "own-ca", 200, id="own-ca"),
        pytest.param(("shop.internal",), "own-ca", 502, id="another-name"),
        pytest.param(("shop.internal",), "server-name", 200, id="server-name"),
        pytest.param(("127.0.0.1",), "system", 502, id="unknown-ca"),
    ],
)
async def test_an_upstreams_certificate_is_verified(
    authority: Authority, names: tuple[str, ...], tls: str, status: int
) -> None:
    chosen = {
        "own-ca": UpstreamTls(ca=authority.ca),
        "server-name": UpstreamTls(ca=authority.ca, server_name="shop.internal"),
        "system": None,
    }[tls]
    async with FakeUpstream(tls=authority.serving(*names)) as upstream:
        async with proxy(secured(upstream.port, chosen)) as it:
            got = await ask(it.port, GET)
    assert got.status == status
    if status == 502:
        assert b"certificate verify failed" in got.body
        assert b'"upstream": "json"' in got.body
        assert b"upstreams.json.tls" in got.body
        assert upstream.requests == []


async def test_p2_a_canary_with_a_bad_certificate_hurts_no_client(authority: Authority) -> None:
    async with FakeUpstream() as good, FakeUpstream(tls=authority.serving("shop.internal")) as bad:
        first = snapshot(good.port, bad.port, canary=Canary(enabled=True, weight_bp=10_000))
        endpoint = Endpoint("127.0.0.1", bad.port, is_tls=True)
        first = replace(
            first,
            upstreams=(
                first.upstreams[0],
                Upstream("postgres", (endpoint,), tls=UpstreamTls(ca=authority.ca)),
            ),
        )
        async with proxy(first) as it:
            got = await ask(it.port, GET)
    assert (got.status, got.get("x-served-by")) == (200, "json")


def _name_of(certificate: dict) -> set[str]:
    return {value for _, value in certificate["subjectAltName"]}


async def test_a_renewed_certificate_is_shown_to_the_next_client(authority: Authority) -> None:
    async def names_seen(port: int) -> set[str]:
        context = authority.trusting()
        context.check_hostname = False
        async with await RawClient.connect(port, context) as client:
            assert (await client.ask(GET)).status == 200
            return _name_of(client.writer.get_extra_info("peercert"))

    files = authority.sign("127.0.0.1")
    certificate = Certificate(files)
    async with FakeUpstream() as upstream:
        async with proxy(snapshot(upstream.port, upstream.port), tls=certificate.entrance) as it:
            async with await RawClient.connect(it.port, authority.trusting()) as old:
                assert (await old.ask(GET)).status == 200
                assert not certificate.look(files)
                assert await names_seen(it.port) == {"127.0.0.1"}
                authority.sign("127.0.0.1", "renewed.example")
                assert certificate.look(files)
                assert await names_seen(it.port) == {"127.0.0.1", "renewed.example"}
                assert (await old.ask(GET)).status == 200  # who was there stays
                Path(files.certificate).write_text("half a certificate")
                with pytest.raises(UsageError):
                    certificate.look(files)
                assert not certificate.look(files)  # told once
                assert await names_seen(it.port) == {"127.0.0.1", "renewed.example"}


def test_an_upstreams_ca_is_read_again_when_it_changes(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = Authority(tmp_path / "one"), Authority(tmp_path / "two")
    settings = UpstreamTls(ca=one.ca)
    first = upstream_context(settings)
    assert upstream_context(settings) is first
    Path(one.ca).write_bytes(Path(two.ca).read_bytes() + b"\n")
    second = upstream_context(settings)
    assert second is not first
    Path(one.ca).unlink()
    assert upstream_context(settings) is second  # the last good one stays


async def test_a_client_that_never_ends_its_handshake_is_let_go(authority: Authority) -> None:
    limits = Limits(header_timeout_s=0.3)
    async with FakeUpstream() as upstream:
        first = snapshot(upstream.port, upstream.port, limits=limits)
        async with proxy(first, tls=Certificate(authority.sign()).entrance) as it:
            async with await RawClient.connect(it.port) as client:
                client.send(b"\x16\x03\x01")
                assert await client.rest() == b""
