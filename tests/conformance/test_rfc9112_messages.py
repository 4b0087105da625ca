"""RFC 9112 at both ends of the proxy, in raw bytes: framing, persistence, and what is refused before an upstream sees it."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fake_upstream import Answer, FakeUpstream, Link, Request, answer
from tests.support.forward_world import proxy, snapshot
from tests.support.raw_http import RawClient, Response, ask

HOST = b"Host: shop\r\n"


async def echo(request: Request, _: Link) -> Answer:
    return answer(request.body)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4x\r\n\r\nabcd", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\nb\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"G\xc3T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1 x\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"garbage\r\n", 400),
    ],
)
async def test_9112_a_message_without_one_reading_is_refused_and_reaches_no_upstream(
    raw: bytes, status: int
) -> None:
    async with FakeUpstream() as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        async with await RawClient.connect(it.port) as client:
            got = await client.ask(raw)
            assert (got.status, got.get("connection")) == (status, "close")
            assert await client.rest() == b""
            assert got.get("content-type") == "application/problem+json"
    assert upstream.requests == []


async def test_9112_7_1_a_bad_chunk_in_mid_body_never_looks_like_a_whole_request() -> None:
    whole = asyncio.Event()

    async def handler(_: Request, link: Link) -> Answer:
        try:
            await link.reader.readuntil(b"0\r\n\r\n")
            whole.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        return None

    async with (
        FakeUpstream(handler, reads_body=False) as upstream,
        proxy(snapshot(upstream.port, upstream.port)) as it,
        await RawClient.connect(it.port) as client,
    ):
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await upstream.request()
        client.send(b"zz\r\n")
        assert (await client.response()).status == 400
    assert not whole.is_set()


async def test_9112_7_1_chunked_requests_are_framed_anew_with_their_trailers() -> None:
    async with FakeUpstream(echo) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        got = await ask(
            it.port,
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nTrailer: X-Sum\r\n\r\n"
            b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 9\r\nContent-Length: 7\r\n\r\n",
        )
    assert got.body == b"abcde"
    request = upstream.requests[0]
    assert request.all("transfer-encoding") == ["chunked"]
    assert request.get("content-length") is None
    assert request.trailers == [("X-Sum", "9")]


async def test_9112_7_1_chunked_answers_pass_with_their_trailers() -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 9\r\n\r\n"

    async with FakeUpstream(handler) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        async with await RawClient.connect(it.port) as client:
            for _ in range(2):
                got = await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert (got.body, got.trailers) == (b"abcde", [("X-Sum", "9")])
    assert upstream.connections == 1


async def test_9112_6_1_an_http_1_0_client_never_sees_chunked() -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"

    async with FakeUpstream(handler) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        async with await RawClient.connect(it.port) as client:
            got = await client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert got.get("transfer-encoding") is None
            assert (got.get("connection"), got.body) == ("close", b"abcde")


async def test_9112_9_3_an_http_1_0_client_may_keep_its_connection() -> None:
    async with FakeUpstream() as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        async with await RawClient.connect(it.port) as client:
            for _ in range(2):
                got = await client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                assert (got.get("connection"), got.body) == ("keep-alive", b"ok")
        async with await RawClient.connect(it.port) as client:
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert b"Connection: close\r\n" in await client.rest()


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_9112_6_3_a_body_that_ends_by_close_is_passed_whole(version: bytes) -> None:
    async def handler(_: Request, link: Link) -> Answer:
        link.send(b"HTTP/1.1 200 OK\r\n\r\nuntil ")
        await link.writer.drain()
        link.send(b"the end")
        link.writer.close()
        return None

    async with FakeUpstream(handler) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        got = await ask(it.port, b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version)
    assert got.body == b"until the end"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
)
async def test_9112_an_upstream_that_has_no_one_reading_makes_a_502(raw: bytes) -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return raw

    async with FakeUpstream(handler) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        got = await ask(it.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert got.status == 502
    assert b'"upstream": "json"' in got.body


async def test_9112_8_an_answer_cut_by_its_upstream_never_looks_complete() -> None:
    cut = {
        "/length": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    }

    async def handler(request: Request, link: Link) -> Answer:
        link.send(cut[request.target])
        await link.writer.drain()
        link.writer.close()
        return None

    async with FakeUpstream(handler) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        for path in cut:
            async with await RawClient.connect(it.port) as client:
                client.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode())
                with pytest.raises(asyncio.IncompleteReadError):
                    await client.response()
        async with await RawClient.connect(it.port) as client:  # close-delimited: only a reset can tell
            client.send(b"GET /chunked HTTP/1.0\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                await client.reader.read()


async def test_9112_9_3_2_pipelined_requests_are_answered_in_order() -> None:
    async def handler(request: Request, _: Link) -> Answer:
        return answer(request.target.encode())

    async with FakeUpstream(handler) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        async with await RawClient.connect(it.port) as client:
            client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(50)))
            client.send(b"POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
            client.send(b"GET /_turnout HTTP/1.1\r\nHost: a\r\n\r\nGET /last HTTP/1.1\r\nHost: a\r\n\r\n")
            bodies = [(await client.response()).body for _ in range(51)]
            assert bodies == [b"/%d" % n for n in range(50)] + [b"/post"]
            assert (await client.response()).status == 404
            assert (await client.response()).body == b"/last"


async def test_9112_9_6_a_half_closed_client_gets_every_answer() -> None:
    async def handler(request: Request, _: Link) -> Answer:
        return answer(request.target.encode())

    async with FakeUpstream(handler) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        async with await RawClient.connect(it.port) as client:
            client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
            client.writer.write_eof()
            assert [(await client.response()).body for _ in range(2)] == [b"/1", b"/2"]
            assert await client.rest() == b""


async def test_9112_2_2_empty_lines_before_a_request_are_skipped() -> None:
    async with FakeUpstream() as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        async with await RawClient.connect(it.port) as client:
            assert (
                await client.ask(
                    b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"
                )
            ).body == b"ok"
            assert (await client.response()).body == b"ok"


async def test_9112_3_2_2_an_absolute_target_is_reduced_and_names_the_host() -> None:
    async with FakeUpstream() as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        await ask(it.port, b"GET http://real:81/a?b HTTP/1.1\r\nHost: false\r\n\r\n")
    request = upstream.requests[0]
    assert (request.target, request.all("host"), request.get("x-forwarded-host")) == (
        "/a?b",
        ["real:81"],
        "real:81",
    )


async def test_9112_9_6_the_connection_ends_after_an_answer_to_a_request_that_asked_for_it() -> None:
    async with FakeUpstream() as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        async with await RawClient.connect(it.port) as client:
            got = await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert got.get("connection") == "close"
            assert await client.rest() == b""
    assert upstream.requests[0].get("connection") is None


SCRIPT = (
    b"\r\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
    b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    b"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;e\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n"
    b"PUT /4 HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"
    b"GET /5 HTTP/1.1\r\nHost: a\r\n\r\n"
)


async def _play(parts: list[bytes]) -> tuple[list[tuple[str, bytes]], list[Response]]:
    async with FakeUpstream(echo) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        async with await RawClient.connect(it.port) as client:
            for part in parts:
                client.send(part)
                await client.writer.drain()
                await asyncio.sleep(0)
            answers = [await client.response() for _ in range(5)]
        return [(request.target, request.body) for request in upstream.requests], answers


async def test_9112_byte_by_byte_arrival_gives_the_same_result() -> None:
    requests, answers = await _play([bytes([one]) for one in SCRIPT])
    assert requests == [("/1", b""), ("/2", b"hello"), ("/3", b"abcde"), ("/4", b""), ("/5", b"")]
    assert [one.body for one in answers] == [b"", b"hello", b"abcde", b"", b""]


@given(st.lists(st.integers(1, len(SCRIPT) - 1), unique=True, max_size=12))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_9112_split_arrival_gives_the_same_result(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(SCRIPT)]
    requests, answers = asyncio.run(_play([SCRIPT[a:b] for a, b in itertools.pairwise(edges)]))
    assert [body for _, body in requests] == [b"", b"hello", b"abcde", b"", b""]
    assert [one.body for one in answers] == [b"", b"hello", b"abcde", b"", b""]
