"""RFC 9112: a request with no reading, or more than one, is refused and reaches no upstream (request smuggling, section 11.2)."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.fake_upstream import Answer, FakeUpstream, Link, Request, answer
from tests.support.gateways import Gateway
from tests.support.raw_http import RawClient

NEXT = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def get(*lines: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


async def refused(gateway: Gateway, raw: bytes, statuses: tuple[int, ...] = (400,)) -> None:
    """One of the statuses, the connection ends, and no upstream has seen anything: not even the request that was hidden behind."""
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            got = await client.ask(raw)
            assert got.status in statuses
            rest = await client.rest()
            assert b"HTTP/1.1" not in rest, "the connection went on behind it"
        assert upstream.requests == []


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param((b"Content-Length: 4", b"Transfer-Encoding: chunked"), id="length-then-chunked"),
        pytest.param((b"Transfer-Encoding: chunked", b"Content-Length: 4"), id="chunked-then-length"),
        pytest.param((b"Transfer-Encoding: chunked", b"content-length:5"), id="other-case"),
        pytest.param((b"Content-Length: 0", b"Transfer-Encoding: chunked"), id="length-0"),
    ],
)
async def test_9112_6_3_a_length_beside_a_transfer_coding_is_refused(
    gateway: Gateway, lines: tuple[bytes, ...]
) -> None:
    await refused(gateway, post(*lines, body=b"0\r\n\r\n" + NEXT))


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param((b"Content-Length: 4", b"Content-Length: 5"), id="two-that-differ"),
        pytest.param((b"Content-Length: 4, 5",), id="a-list-that-differs"),
        pytest.param((b"Content-Length: 4x",), id="letter"),
        pytest.param((b"Content-Length: 0x4",), id="hexadecimal"),
        pytest.param((b"Content-Length: +4",), id="plus"),
        pytest.param((b"Content-Length: -4",), id="minus"),
        pytest.param((b"Content-Length: 4 4",), id="two-numbers"),
        pytest.param((b"Content-Length: 4.0",), id="fraction"),
        pytest.param((b"Content-Length: 4;",), id="semicolon"),
        pytest.param((b"Content-Length:",), id="empty"),
        pytest.param((b"Content-Length: ,4",), id="empty-member"),
        pytest.param((b"Content-Length: \xb2",), id="not-ascii"),
        pytest.param((b"Content-Length: 99999999999999999999999999",), id="beyond-64-bits"),
    ],
)
async def test_9112_6_3_a_length_that_is_no_single_number_is_refused(
    gateway: Gateway, lines: tuple[bytes, ...]
) -> None:
    await refused(gateway, post(*lines, body=b"abcd" + NEXT))


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param((b"Transfer-Encoding: xchunked",), id="xchunked"),
        pytest.param((b"Transfer-Encoding: chunkedx",), id="chunkedx"),
        pytest.param((b"Transfer-Encoding: gzip",), id="gzip"),
        pytest.param((b"Transfer-Encoding: gzip, chunked",), id="gzip-chunked"),
        pytest.param((b"Transfer-Encoding: chunked, gzip",), id="chunked-gzip"),
        pytest.param((b"Transfer-Encoding: chunked, identity",), id="chunked-identity"),
        pytest.param((b"Transfer-Encoding: identity",), id="identity"),
        pytest.param((b"Transfer-Encoding: chunked, chunked",), id="twice-in-one"),
        pytest.param((b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), id="twice-in-two"),
        pytest.param((b"Transfer-Encoding: chunked", b"Transfer-encoding: cow"), id="cow"),
        pytest.param((b"Transfer-Encoding: cow", b"Transfer-Encoding: chunked"), id="cow-first"),
        pytest.param((b"Transfer-Encoding: \x0bchunked",), id="vertical-tab"),
        pytest.param((b"Transfer-Encoding: chunked\x0c",), id="form-feed"),
        pytest.param((b"Transfer-Encoding: chunked\x00",), id="nul"),
        pytest.param((b"Transfer-Encoding: \xa0chunked",), id="no-break-space"),
        pytest.param((b'Transfer-Encoding: "chunked"',), id="quoted"),
        pytest.param((b"Transfer-Encoding: chunked;q=1",), id="parameter"),
        pytest.param((b"Transfer-Encoding: chun ked",), id="space-inside"),
        pytest.param((b"Transfer-Encoding: ,",), id="empty-members"),
        pytest.param((b"Transfer-Encoding:",), id="empty"),
        pytest.param((b"Transfer-Encoding:\r\n chunked",), id="folded"),
        pytest.param((b"X: 1\nTransfer-Encoding: chunked",), id="behind-a-bare-lf"),
        pytest.param((b"X: 1\rTransfer-Encoding: chunked",), id="behind-a-bare-cr"),
        pytest.param((b"Transfer-Encoding : chunked",), id="space-before-colon"),
        pytest.param((b"Transfer-Encoding\t: chunked",), id="tab-before-colon"),
        pytest.param((b" Transfer-Encoding: chunked",), id="space-before-name"),
        pytest.param((b"\x00Transfer-Encoding: chunked",), id="nul-before-name"),
        pytest.param((b"Transfer\xadEncoding: chunked",), id="not-ascii-in-name"),
    ],
)
async def test_9112_6_1_any_transfer_coding_but_chunked_and_every_disguise_of_it_is_refused(
    gateway: Gateway, lines: tuple[bytes, ...]
) -> None:
    await refused(gateway, post(*lines, body=b"0\r\n\r\n" + NEXT), (400, 501))


async def test_9112_6_1_a_transfer_coding_in_http_1_0_is_refused(gateway: Gateway) -> None:
    raw = (
        b"POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    await refused(gateway, raw + NEXT)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(get(b"X: a", b" b"), id="space"),
        pytest.param(get(b"X: a", b"\tb"), id="tab"),
        pytest.param(get(b"X:", b" "), id="empty-fold"),
        pytest.param(b"GET / HTTP/1.1\r\n folded: 1\r\nHost: a\r\n\r\n", id="first-line"),
    ],
)
async def test_9112_5_2_a_folded_line_is_refused(gateway: Gateway, raw: bytes) -> None:
    await refused(gateway, raw)


@pytest.mark.parametrize("line", [b"X : a", b"X\t: a", b"Host : b", b"Content-Length : 4"])
async def test_9112_5_1_white_space_before_the_colon_is_refused(gateway: Gateway, line: bytes) -> None:
    await refused(gateway, get(line))


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(get(b"X: a\rb"), id="cr-in-value"),
        pytest.param(get(b"X: a\nb"), id="lf-in-value"),
        pytest.param(get(b"X: a\r"), id="cr-at-the-end"),
        pytest.param(b"GET / HTTP/1.1\nHost: a\n\n", id="lf-ends-lines"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\n", id="lf-ends-head"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\n\r\n", id="lf-ends-a-line"),
        pytest.param(b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", id="cr-in-request-line"),
        pytest.param(b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", id="cr-before"),
    ],
)
async def test_9112_2_2_a_cr_or_lf_by_itself_is_refused(gateway: Gateway, raw: bytes) -> None:
    await refused(gateway, raw)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"X: a\x00b", id="nul"),
        pytest.param(b"X: a\x01b", id="control"),
        pytest.param(b"X: a\x7fb", id="del"),
        pytest.param(b"X\x00: a", id="nul-in-name"),
        pytest.param(b": a", id="no-name"),
        pytest.param(b"X", id="no-colon"),
        pytest.param(b"X(y): a", id="parenthesis-in-name"),
        pytest.param(b"X y: a", id="space-in-name"),
    ],
)
async def test_9110_5_5_what_is_no_header_line_is_refused(gateway: Gateway, line: bytes) -> None:
    await refused(gateway, get(line))


@pytest.mark.parametrize(
    ("raw", "statuses"),
    [
        pytest.param(b"G\xc3T / HTTP/1.1\r\nHost: a\r\n\r\n", (400,), id="method-not-ascii"),
        pytest.param(b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", (400,), id="method-no-token"),
        pytest.param(b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", (400,), id="space-before-method"),
        pytest.param(b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", (400,), id="two-spaces"),
        pytest.param(b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", (400,), id="space-at-the-end"),
        pytest.param(b"GET / HTTP/1.1 x\r\nHost: a\r\n\r\n", (400,), id="four-words"),
        pytest.param(b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", (400,), id="space-in-target"),
        pytest.param(b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", (400,), id="tabs"),
        pytest.param(b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", (400,), id="nul-in-target"),
        pytest.param(b"GET / http/1.1\r\nHost: a\r\n\r\n", (400, 505), id="lower-case-version"),
        pytest.param(b"GET / HTTP/1.1.1\r\nHost: a\r\n\r\n", (400, 505), id="three-numbers"),
        pytest.param(b"GET / HTTP/11\r\nHost: a\r\n\r\n", (400, 505), id="no-dot"),
        pytest.param(b"GET / HTTP/01.1\r\nHost: a\r\n\r\n", (400, 505), id="leading-zero"),
        pytest.param(b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", (400, 505), id="http-3"),
        pytest.param(b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", (400, 505), id="http-0.9"),
        pytest.param(b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", (400, 505), id="two-digits"),
        pytest.param(b"GET / ICY/1.1\r\nHost: a\r\n\r\n", (400, 505), id="icy"),
        pytest.param(b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", (400,), id="target-without-slash"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 405, 505), id="http-2-preface"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", (400,), id="tls"),
        pytest.param(b"garbage\r\n\r\n", (400,), id="garbage"),
    ],
)
async def test_9112_3_a_request_line_that_is_none_is_refused(
    gateway: Gateway, raw: bytes, statuses: tuple[int, ...]
) -> None:
    await refused(gateway, raw, statuses)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="none"),
        pytest.param(b"GET http://a/ HTTP/1.1\r\n\r\n", id="none-beside-absolute-form"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", id="two-that-differ"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", id="two-alike"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", id="list"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", id="slash"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", id="userinfo"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", id="space"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a:x\r\n\r\n", id="port-no-number"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", id="query"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a#b\r\n\r\n", id="fragment"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", id="open-bracket"),
        pytest.param(b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", id="userinfo-in-absolute-form"),
        pytest.param(b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", id="absolute-form-without-host"),
    ],
)
async def test_9112_3_2_a_request_without_one_good_host_is_refused(gateway: Gateway, raw: bytes) -> None:
    await refused(gateway, raw)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"x\r\nabc\r\n0\r\n\r\n", id="no-number"),
        pytest.param(b"\r\n0\r\n\r\n", id="empty-size"),
        pytest.param(b"0x3\r\nabc\r\n0\r\n\r\n", id="0x"),
        pytest.param(b"-3\r\nabc\r\n0\r\n\r\n", id="minus"),
        pytest.param(b"+3\r\nabc\r\n0\r\n\r\n", id="plus"),
        pytest.param(b" 3\r\nabc\r\n0\r\n\r\n", id="space-before-size"),
        pytest.param(b"3 x\r\nabc\r\n0\r\n\r\n", id="word-behind-size"),
        pytest.param(b"3\nabc\r\n0\r\n\r\n", id="size-ends-by-lf"),
        pytest.param(b"3\rabc\r\n0\r\n\r\n", id="size-ends-by-cr"),
        pytest.param(b"3\r\nabcd\r\n0\r\n\r\n", id="chunk-longer-than-its-size"),
        pytest.param(b"3\r\nabc\n0\r\n\r\n", id="chunk-ends-by-lf"),
        pytest.param(b"3\r\nabc0\r\n\r\n", id="chunk-without-end"),
        pytest.param(b"3\r\nabcXX0\r\n\r\n", id="chunk-with-other-end"),
        pytest.param(b"FFFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n", id="size-beyond-64-bits"),
        pytest.param(b"3;a\nb\r\nabc\r\n0\r\n\r\n", id="lf-in-extension"),
        pytest.param(b"3;a\rb\r\nabc\r\n0\r\n\r\n", id="cr-in-extension"),
        pytest.param(b"3;a\x00\r\nabc\r\n0\r\n\r\n", id="nul-in-extension"),
        pytest.param(b"0\r\nX : 1\r\n\r\n", id="space-in-trailer-name"),
        pytest.param(b"0\r\nX: 1\r\n folded\r\n\r\n", id="folded-trailer"),
        pytest.param(b"0\r\nX: 1\nY: 2\r\n\r\n", id="lf-in-trailer"),
    ],
)
async def test_9112_7_1_a_malformed_chunk_never_makes_a_whole_request(gateway: Gateway, body: bytes) -> None:
    """The head may have gone on by then; its end never does, and nothing that stood behind is taken for a request."""
    whole: list[Request] = []

    async def handler(request: Request, link: Link) -> Answer:
        await link.reader.readuntil(b"0\r\n\r\n")
        whole.append(request)
        return answer()

    async with FakeUpstream(handler, reads_body=False) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(post(b"Transfer-Encoding: chunked", body=body + NEXT))
            assert (await client.response("POST")).status == 400
            assert b"HTTP/1.1" not in await client.rest()
        assert whole == []
        assert [request.target for request in upstream.requests if request.target != "/"] == []


async def test_9112_7_1_1_chunk_extensions_are_bounded(gateway: Gateway) -> None:
    """A client that sends extensions for ever is stopped; a gateway that counted only the data would read on."""
    async with FakeUpstream(reads_body=True) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(post(b"Transfer-Encoding: chunked"))
            one = b"1;" + b"x" * 200 + b"\r\na\r\n"
            for _ in range(1000):
                client.send(one)
                await asyncio.sleep(0)
            assert (await client.response("POST")).status == 400


async def test_9112_2_3_what_follows_a_good_request_is_refused_after_its_answer(gateway: Gateway) -> None:
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(
                b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nX : 1\r\nHost: a\r\n\r\n" + NEXT
            )
            assert (await client.response()).body == b"ok"
            assert (await client.response()).status == 400
            assert b"HTTP/1.1" not in await client.rest()
        assert [request.target for request in upstream.requests] == ["/1"]


async def test_9110_9_3_6_connect_is_not_for_a_gateway(gateway: Gateway) -> None:
    await refused(gateway, b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", (400, 405, 501))
