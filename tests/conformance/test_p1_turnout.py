"""P1 and P2 at both ends of the proxy, in raw bytes: what Turnout adds and removes beside what any gateway must."""

from __future__ import annotations

import re

import pytest

from proxy.model import Canary, Sticky, StickyBy
from tests.support.fake_upstream import Answer, FakeUpstream, Link, Request, answer
from tests.support.forward_world import proxy, snapshot
from tests.support.raw_http import RawClient, ask


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
