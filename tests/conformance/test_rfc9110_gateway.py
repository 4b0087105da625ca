"""RFC 9110 at both ends of the proxy, in raw bytes: what a gateway must change, and all that it must leave alone."""

from __future__ import annotations

import re

import pytest

from proxy.model import Canary, Sticky, StickyBy
from tests.support.fake_upstream import Answer, FakeUpstream, Link, Request, answer
from tests.support.forward_world import proxy, snapshot
from tests.support.raw_http import RawClient, ask


async def test_9110_7_6_1_hop_by_hop_lines_are_stripped_both_ways() -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return answer(
            headers=b"Connection: X-Gone\r\nX-Gone: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nX-Stays: 1\r\n"
        )

    async with FakeUpstream(handler) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        got = await ask(
            it.port,
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


async def test_9110_7_6_3_via_names_the_version_that_was_received() -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return b"HTTP/1.0 200 OK\r\nVia: 1.1 inner\r\nContent-Length: 0\r\n\r\n"

    async with FakeUpstream(handler) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        got = await ask(it.port, b"GET / HTTP/1.0\r\nHost: shop\r\nVia: 1.1 front\r\n\r\n")
    assert upstream.requests[0].all("via") == ["1.1 front", "1.0 turnout"]
    assert got.all("via") == ["1.1 inner", "1.0 turnout"]


async def test_9110_5_3_order_case_and_duplicates_stay() -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return answer(
            headers=b"sEt-Cookie: a=1\r\nX-Z: 1\r\nSet-Cookie: b=2\r\nx-a: 2\r\nX-Z: 3\r\nDate: now\r\n"
        )

    async with FakeUpstream(handler) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        got = await ask(
            it.port,
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
async def test_9110_7_6_the_raw_target_goes_through_byte_for_byte(target: bytes) -> None:
    async with FakeUpstream() as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        await ask(it.port, b"GET %b HTTP/1.1\r\nHost: shop\r\n\r\n" % target)
    assert upstream.requests[0].target.encode("latin-1") == target


async def test_x_forwarded_is_said_anew_for_a_peer_that_is_not_trusted() -> None:
    async with FakeUpstream() as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        await ask(
            it.port,
            b"GET / HTTP/1.1\r\nHost: shop\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\r\n",
        )
    request = upstream.requests[0]
    assert request.all("x-forwarded-for") == ["127.0.0.1"]
    assert request.all("x-forwarded-proto") == ["http"]
    assert request.all("x-forwarded-host") == ["shop"]


async def test_x_forwarded_of_a_trusted_peer_is_appended_to() -> None:
    first = snapshot(0, 0)
    async with FakeUpstream() as upstream:
        first = snapshot(upstream.port, upstream.port, trusted=("127.0.0.0/8",))
        async with proxy(first) as it:
            await ask(
                it.port,
                b"GET / HTTP/1.1\r\nHost: shop\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\r\n",
            )
    request = upstream.requests[0]
    assert request.all("x-forwarded-for") == ["6.6.6.6, 127.0.0.1"]
    assert request.all("x-forwarded-proto") == ["https"]
    assert request.all("x-forwarded-host") == ["shop"]


async def test_a_request_id_is_kept_if_sent_and_else_made_and_never_twice() -> None:
    async with FakeUpstream() as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        async with await RawClient.connect(it.port) as client:
            await client.ask(b"GET / HTTP/1.1\r\nHost: shop\r\nX-Request-ID: mine\r\n\r\n")
            for _ in range(3):
                await client.ask(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
    ids = [request.all("x-request-id") for request in upstream.requests]
    assert ids[0] == ["mine"]
    assert len({one[0] for one in ids}) == 4
    assert all(len(one) == 1 for one in ids)


async def test_turnout_headers_of_clients_are_removed_and_those_of_answers_too() -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return answer(headers=b"Turnout-Version: 18; at=52\r\n")

    async with FakeUpstream(handler) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        got = await ask(
            it.port, b"GET / HTTP/1.1\r\nHost: shop\r\nTurnout-Mirror: repair\r\nturnout-token: x\r\n\r\n"
        )
    assert not [name for name, _ in upstream.requests[0].headers if name.lower().startswith("turnout-")]
    assert got.get("turnout-version") is None


@pytest.mark.parametrize(
    "path",
    [
        b"/_turnout",
        b"/_turnout/epoch",
        b"/%5Fturnout/epoch",
        b"/x/../_turnout/epoch",
        b"/./_turnout",
        b"//_turnout/void",
        b"/_turnout?x",
    ],
)
async def test_the_protocol_of_upstreams_is_never_for_clients(path: bytes) -> None:
    async with FakeUpstream() as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        got = await ask(it.port, b"GET %b HTTP/1.1\r\nHost: shop\r\n\r\n" % path)
    assert got.status == 404
    assert upstream.requests == []


async def test_9110_9_3_2_a_head_answer_keeps_its_length_and_the_connection() -> None:
    async def handler(request: Request, _: Link) -> Answer:
        if request.method == "HEAD":
            return b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
        return answer(b"next")

    async with FakeUpstream(handler) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        async with await RawClient.connect(it.port) as client:
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
async def test_9110_15_answers_that_have_no_body_end_with_their_head(raw: bytes) -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return raw

    async with FakeUpstream(handler) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        async with await RawClient.connect(it.port) as client:
            for _ in range(2):
                got = await client.ask(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
                assert got.status == int(raw.split()[1])
    assert upstream.connections == 1


async def test_9110_15_2_interim_answers_pass_at_once_and_in_order() -> None:
    async def handler(_: Request, link: Link) -> Answer:
        link.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
        return answer(b"final")

    async with FakeUpstream(handler) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        async with await RawClient.connect(it.port) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
            hints = await client.response(interim=True)
            assert (hints.status, hints.get("link")) == (103, "</a.css>")
            assert (await client.response(interim=True)).status == 102
            assert (await client.response()).body == b"final"


async def test_9110_15_2_an_http_1_0_client_hears_no_interim_answer() -> None:
    async def handler(_: Request, link: Link) -> Answer:
        link.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        return answer(b"final")

    async with FakeUpstream(handler) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        async with await RawClient.connect(it.port) as client:
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await client.response(interim=True)).status == 200


async def test_9110_10_1_1_expect_waits_for_the_upstreams_word() -> None:
    async def handler(request: Request, link: Link) -> Answer:
        assert request.get("expect") == "100-continue"
        link.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return answer(await link.reader.readexactly(4))

    async with (
        FakeUpstream(handler, reads_body=False) as upstream,
        proxy(snapshot(upstream.port, upstream.port)) as it,
        await RawClient.connect(it.port) as client,
    ):
        client.send(b"POST / HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert (await client.response(interim=True)).status == 100
        client.send(b"body")
        assert (await client.response()).body == b"body"


async def test_9110_10_1_1_a_refusal_reaches_a_client_that_waits_with_its_body() -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return answer(b"no", "413 Content Too Large")

    async with (
        FakeUpstream(handler, reads_body=False) as upstream,
        proxy(snapshot(upstream.port, upstream.port)) as it,
        await RawClient.connect(it.port) as client,
    ):
        client.send(
            b"POST / HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 4000000\r\n\r\n"
        )
        got = await client.response(interim=True)
        assert got.status == 413
        assert await client.rest() == b""  # nobody waits for the body: the connection ends


async def test_9110_7_6_2_max_forwards_ends_options_here_and_counts_down_otherwise() -> None:
    async with FakeUpstream() as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        got = await ask(it.port, b"OPTIONS * HTTP/1.1\r\nHost: shop\r\nMax-Forwards: 0\r\n\r\n")
        assert (got.status, upstream.requests) == (200, [])
        assert (
            await ask(it.port, b"TRACE / HTTP/1.1\r\nHost: shop\r\nMax-Forwards: 0\r\n\r\n")
        ).status == 501
        await ask(it.port, b"OPTIONS * HTTP/1.1\r\nHost: shop\r\nMax-Forwards: 5\r\n\r\n")
    assert upstream.requests[0].get("max-forwards") == "4"
    assert upstream.requests[0].target == "*"


async def test_9110_7_8_an_upgrade_other_than_websocket_is_not_forwarded() -> None:
    async with FakeUpstream() as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        got = await ask(
            it.port,
            b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n",
        )
    assert got.status == 200
    assert not {"upgrade", "connection", "http2-settings"} & {
        name.lower() for name, _ in upstream.requests[0].headers
    }


async def test_9110_6_6_1_an_answer_without_date_gets_one() -> None:
    async with FakeUpstream() as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        got = await ask(it.port, b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", got.get("date") or "")


async def test_the_answering_upstream_is_named_once_whatever_it_says_itself() -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return answer(headers=b"X-Served-By: somebody\r\n")

    async with FakeUpstream(handler) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        got = await ask(it.port, b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
    assert got.all("x-served-by") == ["json"]


async def test_a_new_sticky_client_gets_its_bucket_in_a_cookie() -> None:
    canary = Canary(enabled=True, weight_bp=5000, sticky=Sticky(StickyBy.COOKIE))
    async with FakeUpstream() as upstream, proxy(snapshot(upstream.port, upstream.port, canary=canary)) as it:
        got = await ask(it.port, b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
        cookie = got.get("set-cookie") or ""
        assert re.fullmatch(
            r"turnout-bucket=\d{1,4}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax", cookie
        )
        again = await ask(
            it.port, b"GET / HTTP/1.1\r\nHost: shop\r\nCookie: %b\r\n\r\n" % cookie.split(";")[0].encode()
        )
    assert again.get("set-cookie") is None
    assert again.get("x-served-by") == got.get("x-served-by")
