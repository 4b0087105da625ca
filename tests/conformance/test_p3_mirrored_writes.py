"""P3 and P6 at the sockets: what a mirrored write tells the journal, and its client, when either side of it fails.

The mirror is the honest one in memory (tests/support/forward_world.py): it keeps in order what it was told.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from proxy.errors import JournalFullError
from proxy.model import Limits, MirrorAnswer
from tests.support.fake_upstream import Answer, FakeUpstream, Link, Request, answer, closed_port
from tests.support.forward_world import FakeMirror, Proxy, proxy, snapshot
from tests.support.raw_http import RawClient, ask

POST = b"POST /api/orders HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
CREATED = answer(b'{"id": 1}', "201 Created", b"Turnout-Version: 18; base=none\r\n")


async def created(_: Request, __: Link) -> Answer:
    return CREATED


async def until_told(it: Proxy, what: str) -> list[str]:
    """All that the journal was told, once ``what`` is among it."""
    await it.mirror.until(what)
    return it.mirror.names()


@pytest.mark.parametrize("way", ["ends", "resets"])
@pytest.mark.parametrize(
    "framing", [b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n4\r\n"]
)
async def test_p3_an_upload_whose_client_leaves_is_in_doubt_and_never_looks_whole(
    way: str, framing: bytes
) -> None:
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def handler(_: Request, link: Link) -> Answer:
        data = b""
        try:
            while piece := await link.reader.read(1000):
                data += piece
        except ConnectionError:
            pass
        got.set_result(data)
        return None

    async with FakeUpstream(handler, reads_body=False) as upstream:
        async with proxy(snapshot(upstream.port, upstream.port, mirror=True)) as it:
            client = await RawClient.connect(it.port)
            client.send(b"POST /api/orders HTTP/1.1\r\nHost: a\r\n" + framing + b"half")
            await upstream.request()
            client.reset() if way == "resets" else client.writer.close()
            data = await asyncio.wait_for(got, 5)
            assert b"half" in data
            assert b"0\r\n\r\n" not in data
            assert await until_told(it, "doubtful") == ["intend", "doubtful"]


async def test_p3_a_client_that_leaves_before_its_intent_is_on_disk_has_asked_for_nothing() -> None:
    async with FakeUpstream(created) as upstream:
        async with proxy(snapshot(upstream.port, upstream.port, mirror=True)) as it:
            it.mirror.is_disk_slow = True
            client = await RawClient.connect(it.port)
            client.send(POST)
            await it.mirror.until("intend")
            client.reset()
            assert await until_told(it, "never_sent") == ["intend", "never_sent"]
            it.mirror.flush()
            await asyncio.sleep(0.05)
    assert upstream.requests == []


async def test_p3_a_client_that_leaves_after_its_last_byte_changes_nothing() -> None:
    """The primary has the whole of it: its answer counts, and is mirrored."""
    go = asyncio.Event()

    async def handler(_: Request, __: Link) -> Answer:
        await go.wait()
        return CREATED

    async with FakeUpstream(handler) as upstream:
        async with proxy(snapshot(upstream.port, upstream.port, mirror=True)) as it:
            client = await RawClient.connect(it.port)
            client.send(POST)
            await upstream.request()
            client.reset()
            await asyncio.sleep(0.05)
            go.set()
            assert await until_told(it, "accepted") == ["intend", "accepted"]
            assert it.mirror.answers[1].body == b'{"id": 1}'


async def test_p3_a_mirrored_write_on_a_kept_connection_that_dies_is_sent_once_and_in_doubt() -> None:
    async def handler(request: Request, link: Link) -> Answer:
        if request.method == "POST":
            link.reset()
            return None
        return answer()

    async with FakeUpstream(handler) as upstream:
        async with proxy(snapshot(upstream.port, upstream.port, mirror=True)) as it:
            assert (await ask(it.port, b"GET /api/orders HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
            assert (await ask(it.port, POST)).status == 502
            assert it.mirror.names() == ["intend", "doubtful"]
    assert [request.method for request in upstream.requests] == ["GET", "POST"]


async def test_p3_a_write_that_found_no_connection_was_never_sent() -> None:
    async with proxy(snapshot(await closed_port(), 1, mirror=True)) as it:
        assert (await ask(it.port, POST)).status == 502
        assert it.mirror.names() == ["intend", "never_sent"]


@pytest.mark.parametrize(
    ("raw", "status", "outcome"),
    [
        pytest.param(CREATED, 201, "accepted", id="201"),
        pytest.param(answer(b"", "303 See Other"), 303, "accepted", id="303"),
        pytest.param(answer(b"no", "422 Unprocessable Content"), 422, "rejected", id="422"),
        pytest.param(answer(b"late", "408 Request Timeout"), 408, "doubtful", id="408"),
        pytest.param(answer(b"oh", "500 Internal Server Error"), 500, "doubtful", id="500"),
        pytest.param(b"nonsense\r\n\r\n", 502, "doubtful", id="nonsense"),
        pytest.param(b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{", 502, "doubtful", id="cut"),
        pytest.param(
            b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
            502,
            "doubtful",
            id="cut-chunk",
        ),
        pytest.param(
            b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            502,
            "doubtful",
            id="bad-chunk",
        ),
        pytest.param(b"HTTP/1.1 201 Created\r\n\r\n{}", 201, "accepted", id="ends-by-close"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", 204, "accepted", id="204"),
    ],
)
async def test_p3_what_the_primary_answers_is_told_before_the_client_reads_it(
    raw: bytes, status: int, outcome: str
) -> None:
    async def handler(_: Request, link: Link) -> Answer:
        link.send(raw)
        await link.writer.drain()
        link.writer.close()
        return None

    async with FakeUpstream(handler) as upstream:
        async with proxy(snapshot(upstream.port, upstream.port, mirror=True)) as it:
            async with await RawClient.connect(it.port) as client:
                client.send(POST)
                if outcome == "accepted":
                    it.mirror.is_disk_slow = False
                got = await client.response("POST")
            assert got.status == status
            assert it.mirror.names() == ["intend", outcome]


async def test_p3_an_accepted_answer_waits_for_the_disk_and_interim_ones_do_not() -> None:
    disk = FakeMirror()

    async def handler(_: Request, link: Link) -> Answer:
        disk.is_disk_slow = True  # the intent is on disk by now
        link.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        return CREATED

    async with FakeUpstream(handler) as upstream:
        async with proxy(snapshot(upstream.port, upstream.port, mirror=True), mirror=disk) as it:
            async with await RawClient.connect(it.port) as client:
                client.send(POST)
                assert (await client.response(interim=True)).status == 103
                await disk.until("accepted")
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(client.reader.read(1), 0.1)
                disk.flush()
                assert (await client.response("POST")).status == 201


async def test_p6_a_full_disk_stops_a_write_before_the_primary_has_seen_it() -> None:
    async with FakeUpstream(created) as upstream:
        async with proxy(snapshot(upstream.port, upstream.port, mirror=True)) as it:
            it.mirror.disk_error = JournalFullError("no room", "free some")
            got = await ask(it.port, POST)
            assert (got.status, got.get("retry-after")) == (503, "1")
            assert b"journal-full" in got.body
    assert upstream.requests == []


async def test_p3_a_write_that_hangs_at_the_primary_is_504_and_in_doubt() -> None:
    async def handler(_: Request, link: Link) -> Answer:
        await link.reader.read()
        return None

    limits = Limits(response_timeout_s=0.3)
    async with FakeUpstream(handler) as upstream:
        async with proxy(snapshot(upstream.port, upstream.port, mirror=True, limits=limits)) as it:
            assert (await ask(it.port, POST)).status == 504
            assert it.mirror.names() == ["intend", "doubtful"]
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("body", [b"zz\r\n", b"3\r\nabcX\r\n", b"0\r\nX : 1\r\n\r\n"])
async def test_p3_a_write_whose_body_is_malformed_is_400_and_in_doubt(body: bytes) -> None:
    async with FakeUpstream(created) as upstream:
        async with proxy(snapshot(upstream.port, upstream.port, mirror=True)) as it:
            async with await RawClient.connect(it.port) as client:
                client.send(
                    b"POST /api/orders HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
                )
                await it.mirror.until("intend")
                async with asyncio.timeout(5):
                    while not upstream.connections:
                        await asyncio.sleep(0.01)
                client.send(body)
                assert (await client.response("POST")).status == 400
            assert it.mirror.names()[-1] in ("doubtful", "never_sent")
            assert len(it.mirror.names()) == 2
    assert upstream.requests == []


async def test_p3_expect_reaches_the_primary_only_after_the_intent_is_on_disk() -> None:
    async def handler(request: Request, link: Link) -> Answer:
        assert request.get("expect") == "100-continue"
        link.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await link.reader.readexactly(2) == b"hi"
        return CREATED

    async with FakeUpstream(handler, reads_body=False) as upstream:
        async with proxy(snapshot(upstream.port, upstream.port, mirror=True)) as it:
            async with await RawClient.connect(it.port) as client:
                it.mirror.is_disk_slow = True
                client.send(POST.removesuffix(b"\r\n\r\nhi") + b"\r\nExpect: 100-continue\r\n\r\n")
                await it.mirror.until("intend")
                await asyncio.sleep(0.05)
                assert upstream.requests == []
                it.mirror.flush()
                assert (await client.response(interim=True)).status == 100
                client.send(b"hi")
                assert (await client.response("POST")).status == 201
            assert it.mirror.answers[1].request_body == b"hi"


async def test_p6_an_upload_waits_for_the_intent_within_its_bounds() -> None:
    """A disk that is slow stops the client's socket, it does not fill the memory."""
    async with FakeUpstream(created) as upstream:
        async with proxy(snapshot(upstream.port, upstream.port, mirror=True)) as it:
            it.mirror.is_disk_slow = True
            async with await RawClient.connect(it.port) as client:
                client.send(
                    b"POST /api/orders HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n",
                    bytes(50_000_000),
                )
                await it.mirror.until("intend")
                await asyncio.sleep(0.2)
                [connection] = it.forwarder.connections
                assert connection.exchange is not None
                assert connection.exchange.pending_bytes < 2 << 20
                it.mirror.flush()
                assert (await client.response("POST")).status == 201
    assert len(upstream.requests[0].body) == 50_000_000


async def test_p1_a_canary_clients_write_is_answered_by_the_secondary_with_the_same_framing() -> None:
    from proxy.model import Canary

    async with FakeUpstream(created) as upstream:
        first = snapshot(
            upstream.port, upstream.port, mirror=True, canary=Canary(enabled=True, weight_bp=10_000)
        )
        async with proxy(replace(first)) as it:
            it.mirror.secondary_answer = MirrorAnswer(
                201, (("Content-Type", "application/json"), ("Transfer-Encoding", "chunked"), ("Connection", "close"),
                      ("Turnout-Version", "18; base=none")), b'{"id": 1}'
            )  # fmt: skip
            async with await RawClient.connect(it.port) as client:
                for _ in range(2):
                    got = await client.ask(POST)
                    assert (got.status, got.body, got.get("x-served-by")) == (201, b'{"id": 1}', "postgres")
                    assert (
                        got.get("transfer-encoding")
                        is got.get("connection")
                        is got.get("turnout-version")
                        is None
                    )
