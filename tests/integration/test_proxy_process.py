"""A real `turnout proxy` over upstreams of the test's own: its end, its health checks, and edits under traffic."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.conformance import test_rfc6455_tunnels as tunnels
from tests.support.fake_upstream import Answer, FakeUpstream, Handler, Link, Request, answer
from tests.support.processes import Process
from tests.support.raw_http import RawClient

pytestmark = pytest.mark.slow

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"

ROUTING = """\
version: 1
upstreams:
  json:     {{endpoints: [{json}], health: {{path: /healthz, interval: 100ms}}}}
  postgres: {{endpoints: [{postgres}]}}
primary: json
canary: {{enabled: true, weight: {weight}}}
mirror: {{enabled: false}}
"""


def routing(json: list[FakeUpstream], postgres: FakeUpstream | None = None, weight: int = 0) -> str:
    urls = ", ".join(f'"http://127.0.0.1:{one.port}"' for one in json)
    return ROUTING.format(
        json=urls, postgres=f'"http://127.0.0.1:{postgres.port if postgres else 1}"', weight=weight
    )


@asynccontextmanager
async def turnout(folder: Path, text: str) -> AsyncIterator[tuple[Process, int, Path]]:
    config = folder / "routing.yaml"
    config.write_text(text)
    args = ["proxy", "--config", str(config), "--state", str(folder / "state")]
    listen = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    async with Process(*args, *listen, cwd=folder) as process:
        yield process, int(process.ready["proxy"].rsplit(":", 1)[1]), config


async def test_a_start_takes_the_open_files_that_it_may_have(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        async with FakeUpstream() as upstream, turnout(tmp_path, routing([upstream])) as (process, _, _):
            assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_sigterm_accepts_nobody_lets_end_what_runs_and_exits_0(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def handler(request: Request, _: Link) -> Answer:
        if request.target == "/x":
            await go.wait()
        return answer(b"in time")

    async with FakeUpstream(handler) as upstream:
        async with turnout(tmp_path, routing([upstream])) as (process, port, _):
            async with await RawClient.connect(port) as busy, await RawClient.connect(port) as idle:
                busy.send(GET)
                async with asyncio.timeout(10):
                    while not any(request.target == "/x" for request in upstream.requests):
                        await asyncio.sleep(0.01)
                process.signal(15)
                assert await idle.rest() == b""  # the stop has begun
                with pytest.raises(ConnectionError):
                    await RawClient.connect(port)
                assert process.returncode is None
                go.set()
                got = await busy.response()
                assert (got.body, got.get("connection")) == (b"in time", "close")
            assert await process.wait() == 0


def checked(is_well: dict[str, bool], name: str) -> Handler:
    async def handler(request: Request, _: Link) -> Answer:
        if request.target == "/healthz":
            return answer() if is_well[name] else answer(b"", "503 Service Unavailable")
        return answer(name.encode())

    return handler


async def answered_by(port: int, requests: int = 6) -> set[bytes]:
    async with await RawClient.connect(port) as client:
        return {(await client.ask(GET)).body for _ in range(requests)}


async def test_an_endpoint_whose_health_check_fails_is_left_out_until_it_is_well(tmp_path: Path) -> None:
    is_well = {"one": True, "two": True}
    async with FakeUpstream(checked(is_well, "one")) as one, FakeUpstream(checked(is_well, "two")) as two:
        async with turnout(tmp_path, routing([one, two])) as (process, port, _):
            for state, wanted in ((True, {b"one", b"two"}), (False, {b"one"}), (True, {b"one", b"two"})):
                is_well["two"] = state
                async with asyncio.timeout(10):
                    while await answered_by(port) != wanted:
                        await asyncio.sleep(0.05)
            assert [line["up"] for line in process.events("health")] == [False, True]


async def test_p8_an_edit_acts_within_a_second_and_drops_no_connection_websocket_or_stream(
    tmp_path: Path,
) -> None:
    async def handler(request: Request, link: Link) -> Answer:
        if request.target == "/chat":
            return await tunnels.echo(request, link)
        if request.target == "/events":
            link.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
            await streaming.wait()
            return b"3\r\nend\r\n0\r\n\r\n"
        return answer(b"json")

    async def other(_: Request, __: Link) -> Answer:
        return answer(b"postgres")

    streaming = asyncio.Event()
    async with FakeUpstream(handler) as json, FakeUpstream(other) as postgres:
        async with turnout(tmp_path, routing([json], postgres)) as (process, port, config):
            async with (
                await RawClient.connect(port) as kept,
                await RawClient.connect(port) as chat,
                await RawClient.connect(port) as events,
            ):
                assert (await kept.ask(GET)).body == b"json"
                chat.send(tunnels.ASK)
                assert (await chat.response(interim=True)).status == 101
                events.send(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
                await events.reader.readuntil(b"hi")

                config.write_text(routing([json], postgres, weight=101))  # a bad edit changes nothing
                async with asyncio.timeout(5):
                    while not process.events("reload_refused"):
                        await asyncio.sleep(0.01)
                assert (await kept.ask(GET)).body == b"json"

                config.write_text(routing([json], postgres, weight=100))
                async with asyncio.timeout(1.5):  # a second, and the looks themselves
                    while (await kept.ask(GET)).body != b"postgres":
                        await asyncio.sleep(0.01)

                chat.send(b"still here")
                assert await chat.reader.readexactly(10) == b"still here"
                streaming.set()
                await events.reader.readuntil(b"0\r\n\r\n")
