"""Bounds of what a client may take, and of how long an upstream may take; each is a setting of `limits` in routing.yaml."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from proxy.forward.sockets import CLIENTS_MIN, clients_for
from proxy.model import Canary, Limits, Snapshot, Upstream
from tests.support.fake_upstream import Answer, FakeUpstream, Link, Request, answer, closed_port
from tests.support.forward_world import endpoint, proxy, snapshot
from tests.support.raw_http import RawClient, Response, ask

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as one:
        yield one


def limited(port: int, **limits: float) -> Snapshot:
    return snapshot(port, port, limits=Limits(**limits))  # type: ignore[arg-type]


def problem_of(got: Response) -> dict:
    assert got.get("content-type") == "application/problem+json"
    problem = json.loads(got.body)
    assert problem["status"] == got.status
    return problem


# -- what a head may be ---------------------------------------------------------------------------------


@pytest.mark.parametrize("is_whole", [True, False])
async def test_a_head_of_too_many_bytes_is_431(upstream: FakeUpstream, is_whole: bool) -> None:
    raw = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 2000 + (b"\r\n\r\n" if is_whole else b"")
    async with proxy(limited(upstream.port, header_bytes=1024)) as it:
        async with await RawClient.connect(it.port) as client:
            got = await client.ask(raw)
            assert (got.status, problem_of(got)["code"]) == (431, "head-too-large")
            assert await client.rest() == b""
    assert upstream.requests == []


async def test_too_many_header_lines_are_431(upstream: FakeUpstream) -> None:
    lines = b"".join(b"X-%d: 1\r\n" % number for number in range(10))
    async with proxy(limited(upstream.port, header_count=10)) as it:
        async with await RawClient.connect(it.port) as client:
            got = await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")
            assert (got.status, problem_of(got)["code"]) == (431, "head-too-large")
            assert await client.rest() == b""
        assert (await ask(it.port, b"GET / HTTP/1.1\r\nHost: a\r\n" + lines[9:] + b"\r\n")).status == 200


async def test_a_target_that_is_too_long_is_414(upstream: FakeUpstream) -> None:
    async with proxy(limited(upstream.port, header_bytes=1024)) as it:
        async with await RawClient.connect(it.port) as client:
            got = await client.ask(b"GET /" + b"x" * 2000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (got.status, problem_of(got)["code"]) == (414, "target-too-long")
            assert await client.rest() == b""
    assert upstream.requests == []


# -- how long a client may take -------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [b"G", b"GET / HTTP/1.1\r\nHost: a\r\nX: "])
async def test_a_head_that_does_not_end_in_time_is_408(upstream: FakeUpstream, begun: bytes) -> None:
    async with proxy(limited(upstream.port, header_timeout_s=0.3)) as it:
        async with await RawClient.connect(it.port) as client:
            began = time.monotonic()
            client.send(begun)
            got = await client.response()
            assert 0.2 < time.monotonic() - began < 3
            assert (got.status, problem_of(got)["code"]) == (408, "request-timeout")
            assert await client.rest() == b""


async def test_a_head_that_trickles_in_gains_no_time_by_it(upstream: FakeUpstream) -> None:
    """The slow-loris attack: a byte now and then, for ever."""
    async with proxy(limited(upstream.port, header_timeout_s=0.4)) as it:
        async with await RawClient.connect(it.port) as client:

            async def trickle() -> None:
                for byte in GET[:-4] * 100:
                    client.send(bytes([byte]))
                    await asyncio.sleep(0.05)

            trickling = asyncio.create_task(trickle())
            got = await client.response()
            trickling.cancel()
            assert got.status == 408
    assert upstream.requests == []


async def test_a_second_head_that_does_not_end_in_time_is_408_too(upstream: FakeUpstream) -> None:
    async with proxy(limited(upstream.port, header_timeout_s=0.3)) as it:
        async with await RawClient.connect(it.port) as client:
            client.send(GET + b"GET /half HTTP/1.1\r\n")
            assert (await client.response()).status == 200
            assert (await client.response()).status == 408


async def test_a_connection_without_a_request_ends_silently(upstream: FakeUpstream) -> None:
    async with proxy(limited(upstream.port, idle_timeout_s=0.3)) as it:
        async with await RawClient.connect(it.port) as fresh, await RawClient.connect(it.port) as used:
            assert (await used.ask(GET)).status == 200
            assert await asyncio.gather(fresh.rest(), used.rest()) == [b"", b""]


async def test_a_body_that_stops_is_408_and_never_looks_whole(upstream: FakeUpstream) -> None:
    upstream.reads_body = False
    ended = asyncio.Event()

    async def handler(_: Request, link: Link) -> Answer:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await link.reader.readexactly(100)
        ended.set()
        return None

    upstream.handler = handler
    async with proxy(limited(upstream.port, idle_timeout_s=0.3)) as it:
        async with await RawClient.connect(it.port) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
            assert (await client.response("POST")).status == 408
            await asyncio.wait_for(ended.wait(), 5)


async def test_a_client_that_does_not_read_its_answer_is_let_go() -> None:
    gone = asyncio.Event()

    async def handler(_: Request, link: Link) -> Answer:
        link.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
        try:
            while True:
                link.send(bytes(1 << 16))
                await link.writer.drain()
        except ConnectionError:
            gone.set()
        return None

    async with FakeUpstream(handler) as upstream:
        async with proxy(limited(upstream.port, idle_timeout_s=0.3, response_timeout_s=0.3)) as it:
            async with await RawClient.connect(it.port) as client:
                client.writer.transport.pause_reading()  # type: ignore[attr-defined]
                client.send(GET)
                await asyncio.wait_for(gone.wait(), 8)
                assert it.forwarder.in_flight == 0


async def test_one_connection_too_many_is_503_and_the_others_stay(upstream: FakeUpstream) -> None:
    async with proxy(limited(upstream.port, connections=2)) as it:
        async with await RawClient.connect(it.port) as one, await RawClient.connect(it.port) as two:
            assert (await one.ask(GET)).status == (await two.ask(GET)).status == 200
            async with await RawClient.connect(it.port) as third:
                got = await third.response()
                assert (got.status, got.get("retry-after")) == (503, "1")
                assert problem_of(got)["code"] == "unavailable"
                assert await third.rest() == b""
            assert (await one.ask(GET)).status == 200
        async with await RawClient.connect(it.port) as again:
            async with asyncio.timeout(5):
                while len(it.forwarder.connections) > 1:
                    await asyncio.sleep(0.01)
            assert (await again.ask(GET)).status in (200, 503)


async def test_open_files_bound_the_clients_so_that_each_can_be_given_an_upstream(
    upstream: FakeUpstream, capsys: pytest.CaptureFixture[str]
) -> None:
    """With as many idle clients as files, no request had a connection to an upstream: 502 for everybody."""
    async with proxy(snapshot(upstream.port, upstream.port), open_files=160) as it:
        assert "connections_bounded" in capsys.readouterr().out
        idle = [await RawClient.connect(it.port) for _ in range(CLIENTS_MIN)]
        async with await RawClient.connect(it.port) as one_more:
            assert (await one_more.response()).status == 503
        assert (await idle[0].ask(GET)).status == 200
        for one in idle:
            await one.close()


@pytest.mark.parametrize(("files", "clients"), [(1024, 448), (20_128, 10_000), (64, CLIENTS_MIN)])
def test_two_files_are_counted_for_a_client(files: int, clients: int) -> None:
    assert clients_for(files) == clients


async def test_pipelined_requests_are_kept_up_to_a_bound() -> None:
    """A client that pipelines for ever, and reads nothing, is stopped by its own socket."""
    go = asyncio.Event()

    async def handler(_: Request, __: Link) -> Answer:
        await go.wait()
        return answer()

    async with FakeUpstream(handler) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        async with await RawClient.connect(it.port) as client:
            client.writer.transport.set_write_buffer_limits(1 << 16)
            sent, is_stopped = 0, False
            while not is_stopped:
                client.send(GET * 1000)
                sent += 1000 * len(GET)
                try:
                    await asyncio.wait_for(client.writer.drain(), 0.5)
                except TimeoutError:
                    is_stopped = True
                assert sent < 64 << 20
            [connection] = it.forwarder.connections
            assert len(connection._buffer) < 1 << 20
            go.set()
            for _ in range(1000):
                assert (await client.response()).body == b"ok"


# -- how long an upstream may take ----------------------------------------------------------------------


async def test_an_upstream_that_is_not_there_is_502_that_names_it() -> None:
    port = await closed_port()
    async with proxy(limited(port)) as it:
        got = await ask(it.port, GET)
    problem = problem_of(got)
    assert (got.status, problem["code"], problem["upstream"]) == (502, "upstream-unreachable", "json")
    assert f"127.0.0.1:{port}" in problem["detail"]
    assert problem["hint"] == "is json running?"


async def test_an_upstream_that_does_not_accept_in_time_is_504_that_names_it() -> None:
    import socket

    with socket.socket() as full:  # its queue of connections is full: the kernel answers no further one
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        async with proxy(limited(full.getsockname()[1], connect_timeout_s=0.2)) as it:
            got = await ask(it.port, GET)
        for filler in fillers:
            filler.close()
    problem = problem_of(got)
    assert (got.status, problem["code"], problem["upstream"]) == (504, "upstream-timeout", "json")


async def _never(_: Request, link: Link) -> Answer:
    await link.reader.read()
    return None


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_an_upstream_that_does_not_answer_in_time_is_504_that_names_it(method: bytes) -> None:
    async with FakeUpstream(_never) as upstream, proxy(limited(upstream.port, response_timeout_s=0.3)) as it:
        async with await RawClient.connect(it.port) as client:
            got = await client.ask(b"%b / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" % method)
            problem = problem_of(got)
            assert (got.status, problem["code"], problem["upstream"]) == (504, "upstream-timeout", "json")
            assert "0.3 s" in problem["detail"]
        assert len(upstream.requests) == 1  # asked once, whatever it was


async def test_an_answer_that_stops_in_its_middle_is_cut_after_the_timeout() -> None:
    async def handler(_: Request, link: Link) -> Answer:
        link.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await link.reader.read()
        return None

    async with FakeUpstream(handler) as upstream, proxy(limited(upstream.port, response_timeout_s=0.3)) as it:
        async with await RawClient.connect(it.port) as client:
            client.send(GET)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.response()


async def test_a_stream_of_events_may_be_silent_for_longer_than_any_timeout() -> None:
    async def handler(_: Request, link: Link) -> Answer:
        link.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await asyncio.sleep(0.8)
        return b"4\r\nlast\r\n0\r\n\r\n"

    async with FakeUpstream(handler) as upstream:
        async with proxy(limited(upstream.port, response_timeout_s=0.2, idle_timeout_s=0.2)) as it:
            assert (await ask(it.port, GET)).body == b"firstlast"


async def test_an_upload_that_the_upstream_does_not_read_is_504() -> None:
    async def handler(_: Request, __: Link) -> Answer:
        await asyncio.sleep(20)
        return None

    async with FakeUpstream(handler, reads_body=False) as upstream:
        async with proxy(limited(upstream.port, idle_timeout_s=0.4)) as it:
            async with await RawClient.connect(it.port) as client:
                client.send(
                    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n" + bytes(50_000_000)
                )
                got = await client.response("POST")
    assert (got.status, problem_of(got)["upstream"]) == (504, "json")


# -- several endpoints, health, fallback ----------------------------------------------------------------


def with_endpoints(first: Snapshot, *ports: int) -> Snapshot:
    """The primary has these endpoints."""
    endpoints = tuple(endpoint(port) for port in ports)
    return replace(first, upstreams=(Upstream("json", endpoints), first.upstreams[1]))


async def test_several_endpoints_share_the_load() -> None:
    async with FakeUpstream() as one, FakeUpstream() as two, FakeUpstream() as three:
        async with proxy(with_endpoints(snapshot(1, one.port), one.port, two.port, three.port)) as it:
            async with await RawClient.connect(it.port) as client:
                for _ in range(30):
                    assert (await client.ask(GET)).status == 200
        assert [len(each.requests) for each in (one, two, three)] == [10, 10, 10]


async def test_an_endpoint_that_is_gone_costs_no_request() -> None:
    async with FakeUpstream() as one, FakeUpstream() as two:
        async with proxy(with_endpoints(snapshot(1, one.port), one.port, two.port)) as it:
            async with await RawClient.connect(it.port) as client:
                for number in range(40):
                    if number == 10:
                        await two.stop()
                    method = b"POST" if number % 2 else b"GET"
                    got = await client.ask(b"%b / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" % method)
                    assert got.status == 200
    assert len(one.requests) + len(two.requests) == 40


async def test_an_endpoint_that_never_answers_is_asked_less_and_less() -> None:
    """Passive health: after a time-out the other is preferred, so that not every second request waits in vain."""
    async with FakeUpstream() as good, FakeUpstream(_never) as hung:
        first = with_endpoints(limited(good.port, response_timeout_s=0.2), good.port, hung.port)
        async with proxy(first) as it:
            async with await RawClient.connect(it.port) as client:
                answers = [(await client.ask(GET)).status for _ in range(30)]
    assert 1 <= answers.count(504) <= 4, answers


async def test_an_endpoint_that_active_checks_find_down_is_not_asked_until_it_is_up() -> None:
    async with FakeUpstream() as one, FakeUpstream() as two:
        async with proxy(with_endpoints(snapshot(1, one.port), one.port, two.port)) as it:
            async with await RawClient.connect(it.port) as client:
                assert (await client.ask(GET)).status == 200
                before = len(two.requests)
                it.forwarder.pools.set_up("json", endpoint(two.port), False)
                for _ in range(10):
                    await client.ask(GET)
                assert len(two.requests) == before
                it.forwarder.pools.set_up("json", endpoint(two.port), True)
                for _ in range(10):
                    await client.ask(GET)
                assert len(two.requests) == before + 5


async def test_an_only_endpoint_is_asked_also_when_checks_find_it_down(upstream: FakeUpstream) -> None:
    async with proxy(snapshot(upstream.port, upstream.port)) as it:
        assert (await ask(it.port, GET)).status == 200
        it.forwarder.pools.set_up("json", endpoint(upstream.port), False)
        assert (await ask(it.port, GET)).status == 200


def canary_of_all(primary: int, secondary: int, **limits: float) -> Snapshot:
    canary = Canary(enabled=True, weight_bp=10_000)
    return snapshot(primary, secondary, canary=canary, limits=Limits(**limits))  # type: ignore[arg-type]


async def test_p2_a_read_at_a_canary_that_is_gone_is_answered_by_the_primary(upstream: FakeUpstream) -> None:
    async with proxy(canary_of_all(upstream.port, await closed_port())) as it:
        for method in (b"GET", b"HEAD", b"OPTIONS"):
            got = await ask(it.port, b"%b / HTTP/1.1\r\nHost: a\r\n\r\n" % method)
            assert (got.status, got.get("x-served-by")) == (200, "json")
        answered = {
            (sample.labels["method"], sample.value)
            for family in it.forwarder.metrics.registry.collect()
            for sample in family.samples
            if sample.name == "turnout_requests_total" and sample.labels["reason"] == "fallback"
        }
        assert answered == {("GET", 1), ("HEAD", 1), ("OPTIONS", 1)}


@pytest.mark.parametrize("way", ["hangs", "resets", "cut-head"])
async def test_p2_a_read_at_a_canary_that_fails_is_answered_by_the_primary_if_no_byte_came(
    upstream: FakeUpstream, way: str
) -> None:
    async def handler(_: Request, link: Link) -> Answer:
        if way == "hangs":
            await link.reader.read()
        elif way == "cut-head":
            link.send(b"HTTP/1.1 200 OK\r\nX:")
            await link.writer.drain()
            link.writer.close()
        else:
            link.reset()
        return None

    async with FakeUpstream(handler) as bad:
        async with proxy(canary_of_all(upstream.port, bad.port, response_timeout_s=0.3)) as it:
            got = await ask(it.port, GET)
    if way == "cut-head":
        assert (got.status, problem_of(got)["upstream"]) == (502, "postgres")
    else:
        assert (got.status, got.get("x-served-by")) == (200, "json")


async def test_p2_an_answer_of_the_canary_is_an_answer_also_when_it_is_500(upstream: FakeUpstream) -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return answer(b"mine", "500 Internal Server Error")

    async with FakeUpstream(handler) as bad, proxy(canary_of_all(upstream.port, bad.port)) as it:
        got = await ask(it.port, GET)
    assert (got.status, got.get("x-served-by"), upstream.requests) == (500, "postgres", [])


async def test_p2_a_write_at_an_upstream_that_fails_is_never_sent_to_the_other(
    upstream: FakeUpstream,
) -> None:
    """With the mirror off and `writes: follow`, the canary answers writes too; there is no fallback for them."""

    async def handler(_: Request, link: Link) -> Answer:
        link.reset()
        return None

    async with FakeUpstream(handler) as bad:
        first = canary_of_all(upstream.port, bad.port)
        first = replace(first, mirror=replace(first.mirror, writes_follow=True))
        async with proxy(first) as it:
            got = await ask(it.port, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
    assert (got.status, problem_of(got)["upstream"]) == (502, "postgres")
    assert (len(bad.requests), upstream.requests) == (1, [])


# -- the end --------------------------------------------------------------------------------------------


async def test_a_stop_lets_end_what_runs_and_accepts_nobody() -> None:
    go = asyncio.Event()

    async def handler(_: Request, __: Link) -> Answer:
        await go.wait()
        return answer(b"in time")

    async with FakeUpstream(handler) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        async with await RawClient.connect(it.port) as busy, await RawClient.connect(it.port) as idle:
            busy.send(GET)
            await upstream.request()
            stopping = asyncio.create_task(it.forwarder.stop(5))
            assert await idle.rest() == b""
            with pytest.raises(ConnectionError):
                await RawClient.connect(it.port)
            go.set()
            got = await busy.response()
            assert (got.body, got.get("connection")) == (b"in time", "close")
            await asyncio.wait_for(stopping, 5)


async def test_a_stop_waits_for_a_client_that_reads_slowly() -> None:
    async def handler(_: Request, __: Link) -> Answer:
        return answer(bytes(8_000_000))

    async with FakeUpstream(handler) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        async with await RawClient.connect(it.port) as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.send(GET)
            await upstream.request()
            stopping = asyncio.create_task(it.forwarder.stop(5))
            await asyncio.sleep(0.3)
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert (await client.response()).body == bytes(8_000_000)
            await asyncio.wait_for(stopping, 5)


async def test_a_stop_waits_no_longer_than_it_is_told() -> None:
    async with FakeUpstream(_never) as upstream, proxy(snapshot(upstream.port, upstream.port)) as it:
        async with await RawClient.connect(it.port) as client:
            client.send(GET)
            await upstream.request()
            began = time.monotonic()
            await it.forwarder.stop(0.3)
            assert 0.25 < time.monotonic() - began < 3
            assert await client.rest() == b""
