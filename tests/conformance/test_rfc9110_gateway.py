"""RFC 9110 at both ends of the proxy, in raw bytes: what a gateway must change, and all that it must leave alone."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.support.fake_upstream import Answer, FakeUpstream, Link, Request, answer
from tests.support.gateways import Gateway
from tests.support.raw_http import RawClient, ask


async def test_9110_7_6_1_hop_by_hop_lines_are_stripped_both_ways(gateway: Gateway) -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return answer(
            headers=b"Connection: X-Gone\r\nX-Gone: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nX-Stays: 1\r\n"
        )

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        got = await ask(
            port,
            b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: X-Secret, keep-alive\r\nX-Secret: 1\r\nKeep-Alive: 5\r\n"
            b"TE: trailers\r\nProxy-Connection: keep-alive\r\nX-Stays: 1\r\n\r\n",
        )
    seen = {name.lower() for name, _ in upstream.requests[0].headers}
    assert "x-stays" in seen
    assert not seen & {"connection", "x-secret", "keep-alive", "te", "proxy-connection", "upgrade"}
    assert got.get("x-stays") == "1"
    assert not {name.lower() for name, _ in got.headers} & {
        "connection",
        "x-gone",
        "keep-alive",
        "proxy-connection",
    }


async def test_9110_7_6_3_via_names_the_version_that_was_received(gateway: Gateway) -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return b"HTTP/1.0 200 OK\r\nVia: 1.1 inner\r\nContent-Length: 0\r\n\r\n"

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        got = await ask(port, b"GET / HTTP/1.0\r\nHost: shop\r\nVia: 1.1 front\r\n\r\n")
    assert upstream.requests[0].all("via") == ["1.1 front", "1.0 turnout"]
    assert got.all("via") == ["1.1 inner", "1.0 turnout"]


@pytest.mark.parametrize("version", [b"1.2", b"1.9"])
async def test_9110_2_5_a_higher_minor_version_is_served_as_1_1(gateway: Gateway, version: bytes) -> None:
    async def handler(request: Request, link: Link) -> Answer:
        link.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
            len(request.body),
            request.body,
        )

    chunked = b"POST /%b HTTP/%b\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            for number, said in enumerate((b"1.1", version, b"1.1", version)):
                client.send(chunked % (b"%d" % number, said))
                assert (await client.response(interim=True)).status == 103
                got = await client.response()
                assert (got.status, got.get("connection"), got.body) == (200, None, b"abc")
    assert [request.line for request in upstream.requests] == [f"POST /{n} HTTP/1.1" for n in range(4)]


async def test_9110_7_6_3_via_names_a_higher_minor_version_too(gateway: Gateway) -> None:
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            for said in (b"1.1", b"1.2", b"1.1", b"1.9"):
                await client.ask(b"GET / HTTP/%b\r\nHost: shop\r\n\r\n" % said)
    said = [request.all("via") for request in upstream.requests]
    assert said == [["1.1 turnout"], ["1.2 turnout"], ["1.1 turnout"], ["1.9 turnout"]]


async def test_9110_2_5_an_answer_of_a_higher_minor_version_is_read_as_1_1(gateway: Gateway) -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return b"HTTP/1.2 200 OK\r\nDate: now\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            for _ in range(2):
                got = await client.ask(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
                assert (got.line, got.body) == (b"HTTP/1.1 200 OK", b"abc")
    assert upstream.connections == 1


async def test_9110_7_6_3_an_answers_via_names_a_higher_minor_version_too(gateway: Gateway) -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok"

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            for _ in range(2):  # the second head is known byte for byte
                assert (await client.ask(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")).all("via") == [
                    "1.2 turnout"
                ]


async def test_9110_5_3_order_case_and_duplicates_stay(gateway: Gateway) -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return answer(
            headers=b"sEt-Cookie: a=1\r\nX-Z: 1\r\nSet-Cookie: b=2\r\nx-a: 2\r\nX-Z: 3\r\nDate: now\r\n"
        )

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        got = await ask(
            port,
            b"GET / HTTP/1.1\r\nx-b: 1\r\nhOsT: shop\r\nX-A: 2\r\nX-b:3\r\nCookie: a\r\nCookie: b\r\n\r\n",
        )
    assert upstream.requests[0].headers[:6] == [
        ("x-b", "1"), ("hOsT", "shop"), ("X-A", "2"), ("X-b", "3"), ("Cookie", "a"), ("Cookie", "b"),
    ]  # fmt: skip
    assert got.headers[:5] == [
        ("sEt-Cookie", "a=1"),
        ("X-Z", "1"),
        ("Set-Cookie", "b=2"),
        ("x-a", "2"),
        ("X-Z", "3"),
    ]


@pytest.mark.parametrize(
    "target", [b"/a%2Fb/../c//d?x=%zz", b"/./", b"/%5Fturnout-no", b"/?a=b?c", b"/caf\xc3\xa9", b"//x"]
)
async def test_9110_7_6_the_raw_target_goes_through_byte_for_byte(gateway: Gateway, target: bytes) -> None:
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        await ask(port, b"GET %b HTTP/1.1\r\nHost: shop\r\n\r\n" % target)
    assert upstream.requests[0].target.encode("latin-1") == target


async def test_9110_9_3_2_a_head_answer_keeps_its_length_and_the_connection(gateway: Gateway) -> None:
    async def handler(request: Request, _: Link) -> Answer:
        if request.method == "HEAD":
            return b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
        return answer(b"next")

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            got = await client.ask(b"HEAD / HTTP/1.1\r\nHost: shop\r\n\r\n")
            assert got.get("content-length") == "1000"
            assert (await client.ask(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")).body == b"next"
    assert upstream.connections == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n",
        b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n',
    ],
)
async def test_9110_15_answers_that_have_no_body_end_with_their_head(gateway: Gateway, raw: bytes) -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return raw

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            for _ in range(2):
                got = await client.ask(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
                assert got.status == int(raw.split()[1])
    assert upstream.connections == 1


async def test_9110_15_2_interim_answers_pass_at_once_and_in_order(gateway: Gateway) -> None:
    async def handler(_: Request, link: Link) -> Answer:
        link.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
        return answer(b"final")

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
            hints = await client.response(interim=True)
            assert (hints.status, hints.get("link")) == (103, "</a.css>")
            assert (await client.response(interim=True)).status == 102
            assert (await client.response()).body == b"final"


async def test_9110_15_2_an_http_1_0_client_hears_no_interim_answer(gateway: Gateway) -> None:
    async def handler(_: Request, link: Link) -> Answer:
        link.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        return answer(b"final")

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await client.response(interim=True)).status == 200


async def test_9110_10_1_1_expect_waits_for_the_upstreams_word(gateway: Gateway) -> None:
    async def handler(request: Request, link: Link) -> Answer:
        assert request.get("expect") == "100-continue"
        link.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return answer(await link.reader.readexactly(4))

    async with (
        FakeUpstream(handler, reads_body=False) as upstream,
        gateway(upstream.port) as port,
        await RawClient.connect(port) as client,
    ):
        client.send(b"POST / HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert (await client.response(interim=True)).status == 100
        client.send(b"body")
        assert (await client.response()).body == b"body"


async def test_9110_10_1_1_a_refusal_reaches_a_client_that_waits_with_its_body(gateway: Gateway) -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return answer(b"no", "413 Content Too Large")

    async with (
        FakeUpstream(handler, reads_body=False) as upstream,
        gateway(upstream.port) as port,
        await RawClient.connect(port) as client,
    ):
        client.send(
            b"POST / HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 4000000\r\n\r\n"
        )
        got = await client.response(interim=True)
        assert got.status == 413
        assert await client.rest() == b""  # nobody waits for the body: the connection ends


async def test_9110_7_6_2_max_forwards_ends_options_here_and_counts_down_otherwise(gateway: Gateway) -> None:
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        got = await ask(port, b"OPTIONS * HTTP/1.1\r\nHost: shop\r\nMax-Forwards: 0\r\n\r\n")
        assert (got.status, upstream.requests) == (200, [])
        assert (await ask(port, b"TRACE / HTTP/1.1\r\nHost: shop\r\nMax-Forwards: 0\r\n\r\n")).status == 501
        await ask(port, b"OPTIONS * HTTP/1.1\r\nHost: shop\r\nMax-Forwards: 5\r\n\r\n")
    assert upstream.requests[0].get("max-forwards") == "4"
    assert upstream.requests[0].target == "*"


async def test_9110_6_6_1_an_answer_without_date_gets_one(gateway: Gateway) -> None:
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        got = await ask(port, b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", got.get("date") or "")


async def test_9110_7_6_1_connection_may_name_headers_in_any_spelling(gateway: Gateway) -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return answer(
            headers=b"connection: ,X-One ,,\r\nX-ONE: 1\r\nConnection: x-two\r\nX-Two: 2\r\nX-Three: 3\r\n"
        )

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        got = await ask(
            port,
            b"GET / HTTP/1.1\r\nHost: shop\r\nCONNECTION: ,X-One ,,\r\nx-one: 1\r\nX-Three: 3\r\nX-ONE: 4\r\n"
            b"Connection:x-two\r\nX-Two: 2\r\n\r\n",
        )
    for headers in (upstream.requests[0].headers, got.headers):
        names = {name.lower() for name, _ in headers}
        assert "x-three" in names
        assert not {"x-one", "x-two"} & names


@pytest.mark.parametrize("name", [b"Host", b"Content-Length"])
async def test_9110_7_6_1_connection_cannot_change_what_the_message_is(gateway: Gateway, name: bytes) -> None:
    raw = b"POST / HTTP/1.1\r\nHost: shop\r\nConnection: %b\r\nContent-Length: 4\r\n\r\nbody" % name
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        got = await ask(port, raw)
        if got.status != 400:
            assert (upstream.requests[0].body, upstream.requests[0].all("host")) == (b"body", ["shop"])


@pytest.mark.parametrize(
    "value", [b"", b"a", b"a  b", b"a\tb", b'"q, r"', b"caf\xc3\xa9", b"\xff\xfe", b"y" * 4000]
)
async def test_9110_5_5_a_headers_value_is_not_touched(gateway: Gateway, value: bytes) -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return answer(headers=b"X-Answer: %b\r\n" % value)

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        got = await ask(port, b"GET / HTTP/1.1\r\nHost: shop\r\nX-Ask: %b\r\n\r\n" % value)
    assert upstream.requests[0].all("x-ask") == [value.decode("latin-1")]
    assert got.all("x-answer") == [value.decode("latin-1")]


@pytest.mark.parametrize("last", [b"voil\xc3\xa0", b"\xc3\x85", b"\xa0", b"\x85 \xa0"])
async def test_9110_5_5_a_value_may_end_with_any_byte_above_ascii(gateway: Gateway, last: bytes) -> None:
    """The white space around a value is space and tab, not what Unicode calls so: the bytes of an à end with A0."""
    raw = b"POST / HTTP/1.1\r\nHost: shop\r\nX-Ask: \t%b \r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        assert (await ask(port, raw % last)).status == 200
    assert upstream.requests[0].all("x-ask") == [last.decode("latin-1")]


@pytest.mark.parametrize(
    "method", [b"PUT", b"PATCH", b"DELETE", b"PURGE", b"M-SEARCH", b"get", b"X!#$%&'*+.^_`|~9"]
)
async def test_9110_9_1_any_token_is_a_method_and_passes(gateway: Gateway, method: bytes) -> None:
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        got = await ask(port, b"%b /x HTTP/1.1\r\nHost: shop\r\nContent-Length: 2\r\n\r\nhi" % method)
    assert got.status == 200
    assert (upstream.requests[0].method.encode(), upstream.requests[0].body) == (method, b"hi")


async def test_9110_9_3_1_a_get_with_a_body_passes(gateway: Gateway) -> None:
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        await ask(port, b"GET / HTTP/1.1\r\nHost: shop\r\nContent-Length: 2\r\n\r\nhi")
    assert upstream.requests[0].body == b"hi"


@pytest.mark.parametrize("framing", [b"", b"Content-Length: 0\r\n"])
async def test_9110_8_6_a_post_without_a_body_stays_one(gateway: Gateway, framing: bytes) -> None:
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        assert (await ask(port, b"POST / HTTP/1.1\r\nHost: shop\r\n%b\r\n" % framing)).status == 200
    request = upstream.requests[0]
    assert (request.get("content-length") or "0", request.get("transfer-encoding")) == ("0", None)


async def test_9110_9_3_7_options_for_the_whole_server_passes(gateway: Gateway) -> None:
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        assert (await ask(port, b"OPTIONS * HTTP/1.1\r\nHost: shop\r\n\r\n")).status == 200
    assert upstream.requests[0].target == "*"


async def test_9110_9_3_8_a_trace_passes_without_being_answered_here(gateway: Gateway) -> None:
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        got = await ask(port, b"TRACE / HTTP/1.1\r\nHost: shop\r\nMax-Forwards: 3\r\n\r\n")
    assert got.status == 200
    assert upstream.requests[0].get("max-forwards") == "2"


async def test_9110_9_3_8_a_trace_with_a_body_is_refused(gateway: Gateway) -> None:
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        got = await ask(port, b"TRACE / HTTP/1.1\r\nHost: shop\r\nContent-Length: 2\r\n\r\nhi")
    assert got.status in (400, 405, 501)


async def test_9112_3_a_target_of_8000_bytes_passes(gateway: Gateway) -> None:
    target = b"/" + b"x" * 7999
    async with FakeUpstream() as upstream, gateway(upstream.port) as port:
        assert (await ask(port, b"GET %b HTTP/1.1\r\nHost: shop\r\n\r\n" % target)).status == 200
    assert upstream.requests[0].target.encode() == target


@pytest.mark.parametrize("status", [b"200 ", b"200 Fine, thanks", b"299 Odd", b"418 I'm a teapot", b"599 ?"])
async def test_9110_15_any_status_passes_with_its_reason(gateway: Gateway, status: bytes) -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return b"HTTP/1.1 %b\r\nContent-Length: 2\r\n\r\nok" % status

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        got = await ask(port, b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
    assert (got.line.rstrip(), got.body) == (b"HTTP/1.1 " + status.rstrip(), b"ok")


async def test_9110_15_2_1_a_100_that_nobody_asked_for_ends_nothing(gateway: Gateway) -> None:
    async def handler(_: Request, link: Link) -> Answer:
        link.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return answer(b"final")

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            for _ in range(2):
                assert (await client.ask(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")).body == b"final"


async def test_9110_10_1_1_a_client_that_does_not_wait_is_served_too(gateway: Gateway) -> None:
    async def handler(request: Request, link: Link) -> Answer:
        return answer(request.body)

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        got = await ask(
            port, b"POST / HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody"
        )
    assert got.body == b"body"


async def test_9110_10_1_1_an_http_1_0_client_is_never_told_to_continue(gateway: Gateway) -> None:
    async def handler(request: Request, link: Link) -> Answer:
        if request.get("expect"):
            link.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return answer(request.body)

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(
                b"POST / HTTP/1.0\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody"
            )
            got = await client.response(interim=True)
    assert (got.status, got.body) == (200, b"body")


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", id="chunked"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", id="no-framing"),
        pytest.param(b"HTTP/1.1 404 Not Found\r\nContent-Length: 99\r\n\r\n", id="404-with-length"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", id="204"),
    ],
)
async def test_9110_9_3_2_an_answer_to_head_ends_with_its_head(gateway: Gateway, raw: bytes) -> None:
    async def handler(request: Request, _: Link) -> Answer:
        return raw if request.method == "HEAD" else answer(b"next")

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            assert (await client.ask(b"HEAD / HTTP/1.1\r\nHost: shop\r\n\r\n")).status == int(raw[9:12])
            assert (await client.ask(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")).body == b"next"


@pytest.mark.parametrize("status", [b"204 No Content", b"103 Early Hints"])
async def test_9110_8_6_an_answer_that_cannot_have_a_body_names_no_length(
    gateway: Gateway, status: bytes
) -> None:
    async def handler(_: Request, link: Link) -> Answer:
        link.send(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status)
        return answer() if status.startswith(b"1") else None

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
            got = await client.response(interim=True)
    assert (got.status, got.get("content-length"), got.get("transfer-encoding")) == (
        int(status[:3]),
        None,
        None,
    )


async def test_9110_6_5_1_trailers_that_would_frame_or_route_are_dropped_both_ways(gateway: Gateway) -> None:
    bad = b"Content-Length: 7\r\nTransfer-Encoding: chunked\r\nHost: evil\r\nConnection: close\r\n"

    async def handler(_: Request, __: Link) -> Answer:
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + bad + b"X-Sum: 9\r\n\r\n"

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        got = await ask(
            port,
            b"POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
            + bad
            + b"X-Sum: 9\r\n\r\n",
        )
    assert {name.lower() for name, _ in upstream.requests[0].trailers} <= {"x-sum"}
    assert {name.lower() for name, _ in got.trailers} <= {"x-sum"}


async def test_events_leave_at_once(gateway: Gateway) -> None:
    """Server-sent events: the client has each one before the next is sent."""
    heard = asyncio.Event()

    async def handler(_: Request, link: Link) -> Answer:
        link.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            heard.clear()
            link.send(b"%x\r\ndata: %d\n\n\r\n" % (9, number))
            await link.writer.drain()
            await asyncio.wait_for(heard.wait(), 5)
        return b"0\r\n\r\n"

    async with FakeUpstream(handler) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(b"GET /events HTTP/1.1\r\nHost: shop\r\n\r\n")
            await client.reader.readuntil(b"\r\n\r\n")
            for number in range(5):
                await asyncio.wait_for(client.reader.readuntil(b"data: %d\n\n" % number), 5)
                heard.set()
            assert (await client.reader.readuntil(b"0\r\n\r\n")).endswith(b"0\r\n\r\n")


async def test_a_part_of_an_upload_leaves_at_once(gateway: Gateway) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def handler(_: Request, link: Link) -> Answer:
        for _ in range(5):
            heard.put_nowait(await link.reader.readexactly(4))
        return answer()

    async with FakeUpstream(handler, reads_body=False) as upstream, gateway(upstream.port) as port:
        async with await RawClient.connect(port) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 20\r\n\r\n")
            for number in range(5):
                client.send(b"%4d" % number)
                assert await asyncio.wait_for(heard.get(), 5) == b"%4d" % number
            assert (await client.response("POST")).status == 200
