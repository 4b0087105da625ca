"""Bytes that nobody would send: whatever comes in, what goes on has one reading, and the proxy stands."""

from __future__ import annotations

import asyncio
import re

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.fake_upstream import Answer, FakeUpstream, Link, Request, answer
from tests.support.forward_world import proxy, snapshot
from tests.support.raw_http import RawClient

GOOD = (
    b"GET /1?q=%2F HTTP/1.1\r\nHost: shop\r\nX-A: 1\r\n\r\n",
    b"POST /2 HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /3 HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\n0\r\nT: 1\r\n\r\n",
    b"GET http://shop/4 HTTP/1.1\r\nHost: x\r\nConnection: X-A, keep-alive\r\nX-A: 1\r\n\r\n",
    b"PUT /5 HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
)
ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\nuntil the end",
)
TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
HEAD = re.compile(
    TOKEN + rb" (?:/[!-~\x80-\xff]*|\*) HTTP/1\.1\r\n(?:" + TOKEN + rb":[\t -~\x80-\xff]*\r\n)+\r\n"
)
ANSWER_HEAD = re.compile(
    rb"HTTP/1\.1 [1-9][0-9][0-9] [\t -~\x80-\xff]*\r\n(?:" + TOKEN + rb":[\t -~\x80-\xff]*\r\n)*\r\n"
)
BITS = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b":", b"\x00", b"\x0b", b"\xff", b",", b";", b"0", b"9", b"-",
     b"chunked", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 3\r\n", b"Host: b\r\n", b"GET / HTTP/1.1\r\n",
     b"Upgrade: websocket\r\nConnection: upgrade\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n"]
)  # fmt: skip


@st.composite
def spoiled(draw: st.DrawFn, good: tuple[bytes, ...]) -> bytes:
    """Some good messages, with bits put in, taken out or doubled at random."""
    raw = b"".join(draw(st.lists(st.sampled_from(good), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(raw)))
        until = min(len(raw), at + draw(st.integers(0, 4)))
        raw = raw[:at] + draw(st.one_of(BITS, st.just(b""), st.just(raw[at:until] * 2))) + raw[until:]
    return raw


class Loop:
    """Runs one try, and fails it for whatever nobody caught."""

    def __init__(self) -> None:
        self.faults: list[dict] = []

    def run(self, raw: bytes, reply: bytes | None) -> None:
        asyncio.run(self._bounded(raw, reply))
        assert self.faults == []

    async def _bounded(self, raw: bytes, reply: bytes | None) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, fault: self.faults.append(fault))
        async with asyncio.timeout(10):
            await self._try(raw, reply)

    async def _try(self, raw: bytes, reply: bytes | None) -> None:
        async def handler(_: Request, link: Link) -> Answer:
            if reply is None:
                return answer(b"ok")
            link.send(reply)
            await link.writer.drain()
            link.writer.close()
            return None

        async with FakeUpstream(handler) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
            async with await RawClient.connect(it.port) as client:
                client.send(raw)
                client.writer.write_eof()
                got = await client.rest()
            async with await RawClient.connect(
                it.port
            ) as other:  # it stands, and nothing is left over for others
                other.send(b"GET /_turnout HTTP/1.1\r\nHost: a\r\n\r\n")
                assert (await other.response()).status == 404
            while it.forwarder.in_flight:
                await asyncio.sleep(0.01)
            for request in upstream.requests:
                assert HEAD.fullmatch(request.raw), request.raw
                names = [name.lower() for name, _ in request.headers]
                assert names.count("host") == 1, request.raw
                assert names.count("content-length") + names.count("transfer-encoding") <= 1, request.raw
            if got and reply is not None:
                assert ANSWER_HEAD.match(got), got
            assert got.count(b"\r\nX-Served-By: json\r\n") <= len(upstream.requests)


@given(raw=spoiled(GOOD))
@example(raw=GOOD[0] + b"\r")
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_client_sends_what_goes_on_has_one_reading(raw: bytes) -> None:
    Loop().run(raw, None)


@given(reply=spoiled(ANSWERS))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_an_upstream_sends_what_goes_on_has_one_reading(reply: bytes) -> None:
    Loop().run(GOOD[0], reply)
