"""Requests and answers whose head lines were seen before take a shorter way: nothing may come of it that the long way would not."""

from __future__ import annotations

import re
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.forward.listener import ClientConnection
from proxy.forward.upstream import UpstreamConnection
from tests.support.wires import Transport, asked, world

ANSWER = b"HTTP/1.1 200 OK\r\nDate: today\r\nContent-Length: 2\r\n\r\nok"

LINES = st.sampled_from(
    [
        b"GET / HTTP/1.1", b"GET /a?b=%41 HTTP/1.1", b"PUT /a%2Fb/../c?? HTTP/1.1", b"POST /a? HTTP/1.1", b"HEAD /a HTTP/1.1",
        b"OPTIONS /x HTTP/1.1", b"PROPFIND /x HTTP/1.1", b"GET http://other/x HTTP/1.1", b"GET /x HTTP/1.0", b"TRACE /x HTTP/1.1",
        b"CONNECT /x HTTP/1.1", b"GET /_turnout/epoch HTTP/1.1", b"GET /%5fturnout/x HTTP/1.1", b"GET /a b HTTP/1.1",
    ]
)  # fmt: skip
FIELDS = st.lists(
    st.sampled_from(
        [
            b"X-A: 1\r\n", b"x-a:2\r\n", b"Cookie: turnout-bucket=17\r\n", b"Connection: close\r\n", b"Connection: X-A\r\n",
            b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Expect: 100-continue\r\n", b"X-Request-Id: mine\r\n",
            b"X-Forwarded-For: 9.9.9.9\r\n", b"Turnout-Mirror: replay\r\n", b"Max-Forwards: 0\r\n", b"Host: second\r\n",
            b"Upgrade: websocket\r\n", b"X-Canary: canary=true\r\n", b"Transfer-Encoding: chunked\r\n", b"Bad\r\n",
        ]
    ),
    max_size=4,
)  # fmt: skip
ANSWERS = st.lists(
    st.sampled_from(
        [
            b"Date: today\r\n", b"Content-Length: 2\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"ETag: x\r\n",
            b"Turnout-Version: 5; base=4\r\n", b"X-Served-By: me\r\n", b"Set-Cookie: a=b\r\n", b"Transfer-Encoding: chunked\r\n",
        ]
    ),
    unique=True,
    max_size=6,
)  # fmt: skip


def section_of(lines: list[bytes]) -> bytes:
    return b"Host: shop\r\n" + b"".join(lines) + b"\r\n"


def request_of(line: bytes, lines: list[bytes]) -> bytes:
    section = section_of(lines)
    body = b"abc" if b"Content-Length: 3\r\n" in section else b""
    if b"Transfer-Encoding" in section:
        body = b"1\r\na\r\n0\r\n\r\n"  # one byte: a chunk goes on in the pieces that it comes in
    return line + b"\r\n" + section + body


def said(
    client: ClientConnection, upstreams: list[UpstreamConnection], pieces: list[bytes], answer: list[bytes]
) -> tuple[bytes, bytes]:
    """What one request sends to the upstream, and back to the client; its id, which is never the same, is left out."""
    for piece in pieces:
        client.data_received(piece)
    busy = [one for one in upstreams if one.exchange is not None]
    forwarded = b""
    if busy:
        forwarded = cast("Transport", busy[0].transport).taken()
        for piece in answer:
            busy[0].data_received(piece)
    forwarded = re.sub(rb"X-Request-Id: [0-9a-f]{24}\r\n", b"", forwarded)
    answered = re.sub(rb"Date: [^\r]*\r\n", b"", cast("Transport", client.transport).taken())
    # A problem's words may tell of the byte at which it was seen.
    return forwarded, answered.partition(b"\r\n")[0] if b"problem+json" in answered else answered


def one_by_one(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@given(LINES, FIELDS, LINES)
@settings(deadline=None, max_examples=300)
async def test_a_request_said_again_is_read_as_one_that_comes_byte_by_byte(
    line: bytes, lines: list[bytes], other: bytes
) -> None:
    quick, slow = world(weight_bp=0), world(weight_bp=0)
    for request in (request_of(line, lines), request_of(line, lines), request_of(other, lines)):
        at_once = said(*quick, [request], [ANSWER])
        if not at_once[0] and not request.endswith(section_of(lines)):
            return  # refused before its body came, or after: the connection goes on in one of the two cases alone
        assert at_once == said(*slow, one_by_one(request), [ANSWER])
        assert (
            cast("Transport", quick[0].transport).is_closed == cast("Transport", slow[0].transport).is_closed
        )


@given(ANSWERS, ANSWERS, st.sampled_from([b"200 OK", b"204 No Content", b"304 Not Modified", b"201 Created"]))
@settings(deadline=None, max_examples=300)
async def test_an_answer_said_again_is_read_as_one_that_comes_in_two_parts(
    lines: list[bytes], others: list[bytes], status: bytes
) -> None:
    quick, slow = world(weight_bp=0), world(weight_bp=0)
    for section in (lines, lines, others, lines):
        head = b"HTTP/1.1 " + status + b"\r\n" + b"".join(section) + b"\r\n"
        body = (
            b"ok"
            if status[:1] == b"2" and status[:3] != b"204" and b"Content-Length: 2\r\n" in section
            else b""
        )
        if b"Transfer-Encoding: chunked\r\n" in section and status[:3] not in (b"204", b"304"):
            body = b"2\r\nok\r\n0\r\n\r\n"
        request = b"GET /a HTTP/1.1\r\nHost: shop\r\n\r\n"
        if slow[0].exchange is not None or not any(one.is_idle and one.is_open for one in slow[1][:1]):
            return  # an answer that ends with its connection, or took it along
        assert said(*quick, [request], [head + body]) == said(*slow, [request], [head[:9], head[9:] + body])


async def test_a_body_longer_than_before_is_still_waited_for() -> None:
    client, upstreams = world(weight_bp=0)
    request = b"POST /a HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\n\r\n"
    said(client, upstreams, [request + b"abc"], [ANSWER])
    client.data_received(request + b"a")
    busy = asked(upstreams)
    assert not busy.exchange.is_request_done  # type: ignore[union-attr]
    client.data_received(b"bc")
    assert cast("Transport", busy.transport).taken().endswith(b"abc")


async def test_two_requests_in_one_read_are_answered_in_order() -> None:
    client, upstreams = world(weight_bp=0)
    request = b"GET /%d HTTP/1.1\r\nHost: shop\r\n\r\n"
    said(client, upstreams, [request % 1], [ANSWER])
    client.data_received(request % 2 + request % 3)
    for number in (2, 3):
        busy = asked(upstreams)
        assert cast("Transport", busy.transport).taken().startswith(b"GET /%d " % number)
        busy.data_received(ANSWER)
