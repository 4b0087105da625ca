"""A server of ours in this process, and a client that sends exactly what it is told."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDictProxy
from yarl import URL

from backends.app import ServerOptions, make_server
from backends.contract.batches import parse_batch
from backends.store import Store

JSON = "application/json"
JOURNAL = "5f0c"
START = 1_763_980_000.0


class Clock:
    """Seconds since 1970 that pass only when told."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Reply:
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        assert self.headers["Content-Type"] == "application/problem+json", self.body
        return self.json["code"]

    @property
    def version(self) -> str | None:
        return self.headers.get("Turnout-Version")


class Api:
    """Requests to one server. ``body`` bytes go as they are; anything else goes as JSON."""

    def __init__(
        self,
        base: str,
        session: aiohttp.ClientSession,
        clock: Clock,
        store: Store,
        *,
        stores: tuple[Store, ...] = (),
    ) -> None:
        self.base = base
        self.session = session
        self.clock = clock
        self.store = store
        self.stores = stores or (store,)
        """All stores that are to hold the same: more than one behind a proxy."""
        self.exchanges: list[tuple[str, str, Reply]] = []
        """All that was asked, as (method, target, reply)."""

    async def send(
        self, method: str, target: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        sent = dict(headers or {})
        data: bytes | None = None
        if isinstance(body, bytes):
            data = body
        elif body is not None:
            data = json.dumps(body).encode()
        if data is not None and not any(name.lower() == "content-type" for name in sent):
            sent["Content-Type"] = JSON
        url = URL(self.base + target, encoded=True)
        async with self.session.request(
            method, url, data=None if data is None else io.BytesIO(data), headers=sent, allow_redirects=False
        ) as response:
            reply = Reply(response.status, response.headers, await response.read())
        self.exchanges.append((method, target, reply))
        return reply

    async def seed(self, collection: str, lines: bytes) -> None:
        """Put records under every store, past HTTP, as a backfill brings them; singletons with the collection ``""``."""
        batch, rejected = parse_batch(lines, is_singleton=not collection)
        assert rejected == []
        for store in self.stores:
            await store.apply(None, collection, batch)

    async def get(self, target: str, **headers: str) -> Reply:
        return await self.send("GET", target, headers=_named(headers))

    async def post(self, target: str, body: object, **headers: str) -> Reply:
        return await self.send("POST", target, body, _named(headers))

    async def put(self, target: str, body: object, **headers: str) -> Reply:
        return await self.send("PUT", target, body, _named(headers))

    async def patch(self, target: str, body: object, **headers: str) -> Reply:
        return await self.send("PATCH", target, body, _named(headers))

    async def delete(self, target: str, **headers: str) -> Reply:
        return await self.send("DELETE", target, headers=_named(headers))

    async def become(self, role: str, epoch: int = 1, **more: object) -> None:
        """Announce an epoch."""
        reply = await self.post("/_turnout/epoch", {"epoch": epoch, "role": role, "journal": JOURNAL, **more})
        assert reply.status == 200, reply.body

    async def replay(self, method: str, target: str, body: object, version: str) -> Reply:
        return await self.send(method, target, body, {"Turnout-Mirror": "replay", "Turnout-Version": version})

    async def repair(self, target: str, body: bytes | None, version: str) -> Reply:
        method = "DELETE" if body is None else "PUT"
        return await self.send(method, target, body, {"Turnout-Mirror": "repair", "Turnout-Version": version})


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


@asynccontextmanager
async def serving(store: Store, **options: Any) -> AsyncGenerator[Api]:
    """A server over the store, which stays open when the server ends."""
    clock = options.pop("wall", None) or Clock()
    runner = web.ServerRunner(make_server(store, ServerOptions(**{"name": "test", "wall": clock, **options})))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            yield Api(f"http://127.0.0.1:{runner.addresses[0][1]}", session, clock, store)
    finally:
        await runner.cleanup()
