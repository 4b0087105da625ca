"""The arrangements that the contract's suite runs over: each server alone, and each as the primary behind a proxy.

Behind the proxy every write is mirrored, so at its end such a test also proves that both servers hold the same bytes.
All in this process: two servers, and the proxy as `turnout proxy` composes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from backends.store import Store
from proxy.app import Options, run
from tests.support.api import Api, Clock, serving
from tests.support.stores import STORES

ARRANGEMENTS = ("only-json", "only-postgres", "behind-json", "behind-postgres")
"""In this order, so that the first of each test is the quickest."""

START_S = 10.0
SETTLE_S = 20.0

ROUTING = """\
version: 1
upstreams:
  json:     {{endpoints: ["{json}"], health: {{path: /healthz, interval: 200ms}}}}
  postgres: {{endpoints: ["{postgres}"], health: {{path: /healthz, interval: 200ms}}}}
primary: {primary}
routes:
  - {{path: "/api/*", key: "/api/{{collection}}/{{id}}", singletons: [settings]}}
limits: {{hold_timeout: 5s}}
"""


@asynccontextmanager
async def arranged(name: str, folder: Path) -> AsyncGenerator[Api]:
    """The arrangement of that name; at its end, if all went well, both stores are compared."""
    place, _, store_name = name.partition("-")
    if place == "only":
        async with STORES[store_name](folder) as store, serving(store) as api:
            yield api
        return
    clock = Clock()
    async with AsyncExitStack() as stack:
        stores: dict[str, Store] = {}
        servers: dict[str, Api] = {}
        for each in STORES:
            (folder / each).mkdir()
            stores[each] = await stack.enter_async_context(STORES[each](folder / each))
            servers[each] = await stack.enter_async_context(serving(stores[each], wall=clock))
        line = await stack.enter_async_context(_proxied(servers, store_name, folder))
        api = servers[store_name]
        yield Api(line.proxy, api.session, clock, api.store, stores=tuple(stores.values()))
        await line.settled(api.session)
        ours, theirs = [await content(store) for store in stores.values()]
        assert ours == theirs, "the mirror left the two servers with different records"


async def content(store: Store) -> dict[tuple[str, str], bytes]:
    """Every record, by collection and id."""
    names = await store.collections()
    return {(name, key): body for name in names for key, body in [row async for row in store.scan(name)]}


class _Line:
    def __init__(self, proxy: str, admin: str) -> None:
        self.proxy = proxy
        self._admin = admin

    async def mirror(self, session: aiohttp.ClientSession) -> dict:
        async with session.get(self._admin + "/api/v1/status") as response:
            return (await response.json())["mirror"]

    async def settled(self, session: aiohttp.ClientSession) -> None:
        async with asyncio.timeout(SETTLE_S):
            while True:
                mirror = await self.mirror(session)
                if mirror["lag_entries"] == 0 and mirror["in_doubt"] == 0 and not mirror["writes_held"]:
                    return
                await asyncio.sleep(0.01)


@asynccontextmanager
async def _proxied(servers: dict[str, Api], primary: str, folder: Path) -> AsyncGenerator[_Line]:
    config = folder / "routing.yaml"
    config.write_text(
        ROUTING.format(primary=primary, **{name: server.base for name, server in servers.items()})
    )
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[tuple[int, int]] = loop.create_future()
    options = Options(config, folder / "state", ("127.0.0.1", 0), ("127.0.0.1", 0), env={})
    running = asyncio.create_task(
        run(options, None, on_ready=lambda proxy, admin: ready.set_result((proxy, admin)))
    )
    try:
        await asyncio.wait({running, ready}, timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        assert ready.done(), f"the proxy did not start: {running}"
        proxy, admin = ready.result()
        line = _Line(f"http://127.0.0.1:{proxy}", f"http://127.0.0.1:{admin}")
        await line.settled(next(iter(servers.values())).session)
        yield line
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
