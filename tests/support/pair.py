"""Both servers at once for clients that block (schemathesis, a state machine): they run on a loop in a thread of its own."""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import Generator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.api import Api, Clock, serving
from tests.support.stores import STORES

START_S = 30.0


@dataclass(frozen=True)
class Heard:
    """An answer, as bytes."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str | None:
        return self.headers.get(name.lower())


class Pair:
    """Asks both and demands that they say the same."""

    def __init__(self, servers: dict[str, Api]) -> None:
        self.bases = {name: server.base for name, server in servers.items()}
        self.clock = next(iter(servers.values())).clock
        self._connections = {
            name: http.client.HTTPConnection(base.removeprefix("http://"), timeout=20)
            for name, base in self.bases.items()
        }

    def ask(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Heard:
        heard = [self._ask(name, method, target, body, headers or {}) for name in self._connections]
        first, second = heard
        shown = (method, target, body, headers)
        assert (first.status, first.body) == (second.status, second.body), shown
        for name in ("etag", "location", "link", "x-total-count", "content-type", "allow", "content-length"):
            assert first.header(name) == second.header(name), (name, shown)
        return first

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()

    def _ask(
        self, name: str, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Heard:
        connection = self._connections[name]
        sent = {"Content-Type": "application/json", **headers} if body is not None else dict(headers)
        connection.request(method, target, body, sent)
        response = connection.getresponse()
        got = {key.lower(): value for key, value in response.getheaders()}
        return Heard(response.status, got, response.read())


@contextmanager
def both_servers(folder: Path) -> Generator[Pair]:
    """A server over each store, on one clock, until the block ends.

    The session's PostgreSQL must run already (the fixture ``database_url``): it dies with the thread that started it.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="servers")
    thread.start()
    stack = AsyncExitStack()

    async def start() -> dict[str, Api]:
        clock, servers = Clock(), {}
        for name, opened in STORES.items():
            (folder / name).mkdir(parents=True)
            store = await stack.enter_async_context(opened(folder / name))
            servers[name] = await stack.enter_async_context(serving(store, wall=clock))
        return servers

    try:
        pair = Pair(asyncio.run_coroutine_threadsafe(start(), loop).result(START_S))
        try:
            yield pair
        finally:
            pair.close()
            asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(START_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(START_S)
        loop.close()
