"""The arrangements that the contract's suite runs over: each server alone, and each as the primary behind a proxy.

Behind the proxy every write is mirrored, so at its end such a test also proves that both servers hold the same bytes.
All in this process: two servers, and the proxy as `turnout proxy` composes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from backends.store import Store
from proxy.app import Options, run
from proxy.cli.tools import validator
from proxy.ports import Tools
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
    async with line(store_name, folder) as whole:
        yield whole.api
        await whole.settled()
        await whole.demand_equal()


class Line:
    """Two servers and the proxy before them."""

    def __init__(self, api: Api, servers: dict[str, Api], admin: str) -> None:
        self.api = api
        """Through the proxy."""
        self.servers = servers
        self._admin = admin

    async def admin(self, method: str, path: str, body: object = None) -> dict:
        async with self.api.session.request(method, self._admin + path, json=body) as response:
            answer = await response.json()
            assert response.status < 300, answer
            return answer

    async def settled(self) -> None:
        """Until nothing is under way in the mirror, and writes are let in."""
        async with asyncio.timeout(SETTLE_S):
            while True:
                mirror = (await self.admin("GET", "/api/v1/status"))["mirror"]
                if mirror["lag_entries"] == 0 and mirror["in_doubt"] == 0 and not mirror["writes_held"]:
                    return
                await asyncio.sleep(0.01)

    async def validate(self) -> dict:
        return await self.admin("POST", "/api/v1/validations", {"wait": True})

    async def switch(self, upstream: str) -> None:
        await self.settled()
        await self.admin("POST", "/api/v1/switch", {"to": upstream, "reason": "a test", "wait_s": 10})

    async def demand_equal(self) -> dict[tuple[str, str], bytes]:
        """Both stores hold the same bytes; which."""
        ours, theirs = [await content(store) for store in self.api.stores]
        assert ours == theirs, "the two servers hold different records"
        return ours


async def content(store: Store) -> dict[tuple[str, str], bytes]:
    """Every record, by collection and id."""
    names = await store.collections()
    return {(name, key): body for name in names for key, body in [row async for row in store.scan(name)]}


@asynccontextmanager
async def line(primary: str, folder: Path, data: str = "{}") -> AsyncGenerator[Line]:
    """Two servers and the proxy, with one of them as primary; ``data`` is the JSON server's file."""
    clock = Clock()
    async with AsyncExitStack() as stack:
        servers: dict[str, Api] = {}
        for name, opened in STORES.items():
            (folder / name).mkdir()
            if name == "json":
                (folder / name / "data.json").write_text(data)
            store = await stack.enter_async_context(opened(folder / name))
            servers[name] = await stack.enter_async_context(serving(store, wall=clock))
        proxy, admin = await stack.enter_async_context(_proxied(servers, primary, folder))
        stores = tuple(server.store for server in servers.values())
        own = servers[primary]
        whole = Line(Api(proxy, own.session, clock, own.store, stores=stores), servers, admin)
        await whole.settled()
        yield whole


@asynccontextmanager
async def _proxied(servers: dict[str, Api], primary: str, folder: Path) -> AsyncGenerator[tuple[str, str]]:
    config = folder / "routing.yaml"
    config.write_text(
        ROUTING.format(primary=primary, **{name: server.base for name, server in servers.items()})
    )
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[tuple[int, int]] = loop.create_future()
    options = Options(config, folder / "state", ("127.0.0.1", 0), ("127.0.0.1", 0), env={})
    running = asyncio.create_task(
        run(options, Tools(validator), on_ready=lambda proxy, admin: ready.set_result((proxy, admin)))
    )
    try:
        await asyncio.wait({running, ready}, timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        assert ready.done(), f"the proxy did not start: {running}"
        proxy, admin = ready.result()
        yield f"http://127.0.0.1:{proxy}", f"http://127.0.0.1:{admin}"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
