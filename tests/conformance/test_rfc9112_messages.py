"""RFC 9112 at both ends of the proxy, in raw bytes: framing, persistence, and what is refused before an upstream sees it."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fake_upstream import Answer, FakeUpstream, Link, Request, answer
from tests.support.gateways import Gateway
from tests.support.raw_http import RawClient, Response, ask

HOST = b"Host: shop\r\n"


async def echo(request: Request, _: Link) -> Answer:
    return answer(request.body)


async def test_9112_7_1_chunked_requests_are_framed_anew_with_their_trailers(gateway: Gateway) -> None:
    async with FakeUpstream(echo) as upstream, gateway(upstream.port) as port:
        got = await ask(
            port,
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nTrailer: X-Sum\r\n\r\n"
            b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 9\r\nContent-Length: 7\r\n\r\n",
        )
    assert got.body == b"abcde"
    request = upstream.requests[0]
    assert request.all("transfer-encoding") == ["chunked"]
    assert request.get("content-length") is None
    assert request.trailers == [("X-Sum", "9")]


async def test_9112_7_1_chunked_answers_pass_with_their_trailers(gateway: Gateway) -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 9\r\n\r\n"

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            for _ in range(2):
                got = await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert (got.body, got.trailers) == (b"abcde", [("X-Sum", "9")])
    assert upstream.connections == 1


async def test_9112_6_1_an_http_1_0_client_never_sees_chunked(gateway: Gateway) -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            got = await client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert got.get("transfer-encoding") is None
            assert (got.get("connection"), got.body) == ("close", b"abcde")


async def test_9112_9_3_an_http_1_0_client_may_keep_its_connection(gateway: Gateway) -> None:
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            for _ in range(2):
                got = await client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                assert (got.get("connection"), got.body) == ("keep-alive", b"ok")
        async with await RawClient.connect(port) as client:
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert b"Connection: close\r\n" in await client.rest()


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_9112_6_3_a_body_that_ends_by_close_is_passed_whole(gateway: Gateway, version: bytes) -> None:
    async def handler(_: Request, link: Link) -> Answer:
        link.send(b"HTTP/1.1 200 OK\r\n\r\nuntil ")
        await link.writer.drain()
        link.send(b"the end")
        link.writer.close()
        return None

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        got = await ask(port, b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version)
    assert got.body == b"until the end"


async def test_9112_9_3_2_pipelined_requests_are_answered_in_order(gateway: Gateway) -> None:
    async def handler(request: Request, _: Link) -> Answer:
        return answer(request.target.encode())

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(50)))
            client.send(b"POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
            client.send(b"GET /last HTTP/1.1\r\nHost: a\r\n\r\n")
            bodies = [(await client.response()).body for _ in range(51)]
            assert bodies == [b"/%d" % n for n in range(50)] + [b"/post"]
            assert (await client.response()).body == b"/last"


async def test_9112_9_6_a_half_closed_client_gets_every_answer(gateway: Gateway) -> None:
    async def handler(request: Request, _: Link) -> Answer:
        return answer(request.target.encode())

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
            client.writer.write_eof()
            assert [(await client.response()).body for _ in range(2)] == [b"/1", b"/2"]
            assert await client.rest() == b""


async def test_9112_2_2_empty_lines_before_a_request_are_skipped(gateway: Gateway) -> None:
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            assert (
                await client.ask(
                    b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"
                )
            ).body == b"ok"
            assert (await client.response()).body == b"ok"


async def test_9112_3_2_2_an_absolute_target_is_reduced_and_names_the_host(gateway: Gateway) -> None:
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        await ask(port, b"GET http://real:81/a?b HTTP/1.1\r\nHost: false\r\n\r\n")
    request = upstream.requests[0]
    assert (request.target, request.all("host"), request.get("x-forwarded-host")) == (
        "/a?b",
        ["real:81"],
        "real:81",
    )


async def test_9112_9_6_the_connection_ends_after_an_answer_to_a_request_that_asked_for_it(
    gateway: Gateway,
) -> None:
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
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


async def _play(gateway: Gateway, parts: list[bytes]) -> tuple[list[tuple[str, bytes]], list[Response]]:
    async with FakeUpstream(echo) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            for part in parts:
                client.send(part)
                await client.writer.drain()
                await asyncio.sleep(0)
            answers = [await client.response() for _ in range(5)]
        return [(request.target, request.body) for request in upstream.requests], answers


async def test_9112_6_byte_by_byte_arrival_gives_the_same_result(gateway: Gateway) -> None:
    requests, answers = await _play(gateway, [bytes([one]) for one in SCRIPT])
    assert requests == [("/1", b""), ("/2", b"hello"), ("/3", b"abcde"), ("/4", b""), ("/5", b"")]
    assert [one.body for one in answers] == [b"", b"hello", b"abcde", b"", b""]


@given(cuts=st.lists(st.integers(1, len(SCRIPT) - 1), unique=True, max_size=12))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_9112_6_split_arrival_gives_the_same_result(gateway: Gateway, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(SCRIPT)]
    parts = [SCRIPT[a:b] for a, b in itertools.pairwise(edges)]
    requests, answers = asyncio.run(_play(gateway, parts))
    assert [body for _, body in requests] == [b"", b"hello", b"abcde", b"", b""]
    assert [one.body for one in answers] == [b"", b"hello", b"abcde", b"", b""]


ANSWERS = {
    "/length": b"HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 5\r\n\r\nhello",
    "/chunked": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\nhel\r\n2\r\nlo\r\n0\r\nT: 1\r\n\r\n",
    "/none": b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
    "/close": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
}


async def _answered(gateway: Gateway, cuts: list[int]) -> list[tuple[int, bytes]]:
    async def handler(request: Request, link: Link) -> Answer:
        raw = ANSWERS[request.target]
        edges = [0, *sorted({cut % len(raw) for cut in cuts} - {0}), len(raw)]
        for a, b in itertools.pairwise(edges):
            link.send(raw[a:b])
            await link.writer.drain()
            await asyncio.sleep(0)
        if request.target == "/close":
            link.writer.close()
        return None

    got: list[tuple[int, bytes]] = []
    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            for path in ANSWERS:
                one = await client.ask(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode())
                got.append((one.status, one.body))
    return got


@given(cuts=st.lists(st.integers(1, 400), unique=True, max_size=12))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_9112_6_an_answer_that_comes_in_pieces_is_the_same_answer(gateway: Gateway, cuts: list[int]) -> None:
    got = asyncio.run(_answered(gateway, cuts))
    assert got == [(200, b"hello"), (200, b"hello"), (204, b""), (200, b"hello")]


async def test_9112_6_an_answer_that_comes_byte_by_byte_is_the_same_answer(gateway: Gateway) -> None:
    got = await _answered(gateway, list(range(1, 400)))
    assert got == [(200, b"hello"), (200, b"hello"), (204, b""), (200, b"hello")]
