"""The mirror's own requests: once each, whole answers, and no connection that could still say something is used again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.errors import UpstreamError
from proxy.forward.pool import Pools
from proxy.forward.sending import PoolSender
from proxy.forward.sockets import Tick
from tests.support.fake_upstream import FakeUpstream, Handler, Link, Request, answer, say_ok
from tests.support.forward_world import snapshot


@asynccontextmanager
async def sending(
    handler: Handler = say_ok, *, token: str = ""
) -> AsyncIterator[tuple[PoolSender, FakeUpstream]]:
    async with FakeUpstream(handler) as upstream:
        sender = PoolSender(token=token)
        sender.pools = Pools(Tick(0.0))
        sender.pools.follow(snapshot(upstream.port, upstream.port))
        try:
            yield sender, upstream
        finally:
            await sender.pools.close()


async def test_a_request_arrives_as_it_was_asked_for() -> None:
    async with sending(token="secret") as (sender, upstream):
        await sender.send(
            "json",
            "PUT",
            "/api/orders/a%20b?x=1",
            [("X-A", "1"), ("Turnout-Mirror", "replay")],
            b"{}",
            timeout_s=5,
        )
        request = upstream.requests[0]
        assert request.line == "PUT /api/orders/a%20b?x=1 HTTP/1.1"
        assert request.headers == [
            ("Host", f"127.0.0.1:{upstream.port}"), ("X-A", "1"), ("Turnout-Mirror", "replay"), ("Turnout-Token", "secret"),
            ("Content-Length", "2"),
        ]  # fmt: skip
        assert request.body == b"{}"


@pytest.mark.parametrize(
    ("method", "length"), [("GET", None), ("DELETE", None), ("POST", "0"), ("PATCH", "0")]
)
async def test_a_method_that_expects_a_body_says_that_there_is_none(method: str, length: str | None) -> None:
    async with sending() as (sender, upstream):
        await sender.send("json", method, "/", timeout_s=5)
        assert upstream.requests[0].get("content-length") == length


async def test_an_answer_in_chunks_with_an_interim_one_before_it_is_whole() -> None:
    async def chunks(_: Request, link: Link) -> bytes | None:
        link.send(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n")
        return (
            b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nTurnout-Version: 5; at=5\r\n\r\n"
            b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"
        )

    async with sending(chunks) as (sender, _):
        reply = await sender.send("json", "GET", "/", timeout_s=5)
        assert (reply.status, reply.body, reply.header("turnout-version")) == (201, b"abcde", "5; at=5")


async def test_requests_share_a_connection() -> None:
    async with sending() as (sender, upstream):
        for _ in range(3):
            await sender.send("json", "GET", "/", timeout_s=5)
        assert upstream.connections == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_request_on_a_connection_that_breaks_is_not_sent_again(method: str) -> None:
    async def once(request: Request, link: Link) -> bytes | None:
        if request.target == "/break":
            link.reset()
            return None
        return answer()

    async with sending(once) as (sender, upstream):
        await sender.send("json", "GET", "/", timeout_s=5)
        with pytest.raises(UpstreamError, match="json does not answer"):
            await sender.send("json", method, "/break", timeout_s=5)
        assert [request.target for request in upstream.requests] == ["/", "/break"]


async def test_after_a_time_out_the_connection_is_never_used_again() -> None:
    async def only_later(request: Request, _: Link) -> bytes | None:
        return None if request.target == "/slow" else answer(b"second")

    async with sending(only_later) as (sender, upstream):
        with pytest.raises(UpstreamError, match=r"no answer within 0\.01 s"):
            await sender.send("json", "GET", "/slow", timeout_s=0.01)
        reply = await sender.send("json", "GET", "/", timeout_s=5)
        assert reply.body == b"second"
        assert upstream.requests[-1].connection == 2


async def test_an_upstream_that_is_not_there_is_named() -> None:
    async with sending() as (sender, upstream):
        await upstream.stop()
        with pytest.raises(UpstreamError, match="json does not answer"):
            await sender.send("json", "GET", "/", timeout_s=5)
