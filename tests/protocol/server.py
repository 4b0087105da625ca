"""A client that speaks the protocol to one server, over nothing but HTTP."""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from tests.support.api import Reply


class Server:
    """Requests as clients, the mirror and the tools send them. Made by :meth:`at`, in an epoch of its own."""

    def __init__(self, base: str, session: aiohttp.ClientSession, token: str | None) -> None:
        self.base = base
        self.session = session
        self.token = token
        self.journal = secrets.token_hex(8)
        self.epoch = 0

    @classmethod
    async def at(cls, base: str, session: aiohttp.ClientSession, token: str | None) -> Server:
        server = cls(base, session, token)
        known = await server.tool("GET", "/_turnout/epoch")
        assert known.status == 200, known.body
        server.epoch = known.json["epoch"]
        return server

    async def send(
        self, method: str, target: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """As a client sends it. ``body`` bytes go as they are, anything else as JSON."""
        sent = dict(headers or {})
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        async with self.session.request(
            method,
            URL(self.base + target, encoded=True),
            data=None if data is None else io.BytesIO(data),
            headers=sent,
            allow_redirects=False,
        ) as response:
            return Reply(response.status, response.headers, await response.read())

    async def tool(
        self, method: str, target: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """With the token, where there is one: as the mirror and the tools send it."""
        token = {} if self.token is None else {"Turnout-Token": self.token}
        return await self.send(method, target, body, {**token, **(headers or {})})

    async def announce(self, role: str, epoch: int | None = None, **more: object) -> Reply:
        """E2. Without ``epoch``: the next one."""
        body = {
            "epoch": self.epoch + 1 if epoch is None else epoch,
            "role": role,
            "journal": self.journal,
            "adopt": True,
        }
        reply = await self.tool("POST", "/_turnout/epoch", {**body, **more})
        if reply.status == 200:
            self.epoch = reply.json["epoch"]
        return reply

    async def become(self, role: str) -> None:
        reply = await self.announce(role)
        assert reply.status == 200, reply.body

    @property
    def in_epoch(self) -> dict[str, str]:
        return {"Turnout-Epoch": f"{self.epoch} {self.journal}"}

    async def write(
        self, method: str, target: str, body: object, request: int, lowest_open: int = 0, **headers: str
    ) -> Reply:
        """A client's write as the proxy passes it on (W1)."""
        passed = {**self.in_epoch, "Turnout-Request": f"{request}; open={lowest_open}"}
        return await self.tool(method, target, body, {**passed, **named(headers)})

    async def replay(self, method: str, target: str, body: object, version: str, **headers: str) -> Reply:
        """M1."""
        mirror = {"Turnout-Mirror": "replay", "Turnout-Version": version}
        return await self.tool(method, target, body, {**self.in_epoch, **mirror, **named(headers)})

    async def repair(self, target: str, body: bytes | None, version: str) -> Reply:
        """M2."""
        mirror = {"Turnout-Mirror": "repair", "Turnout-Version": version}
        return await self.tool("DELETE" if body is None else "PUT", target, body, {**self.in_epoch, **mirror})

    async def void(self, request: int) -> Any:
        """V1."""
        reply = await self.tool("POST", "/_turnout/void", {"request": request}, self.in_epoch)
        assert reply.status == 200, reply.body
        return reply.json

    async def apply(self, target: str, *lines: Mapping[str, Any]) -> Any:
        """B2. ``target`` is the query: collection=… or name=…"""
        raw = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        reply = await self.tool("POST", f"/_turnout/apply?{target}", raw, self.in_epoch)
        assert reply.status == 200, reply.body
        return reply.json

    async def answers(self, key: str) -> list[Any]:
        """A2: all of one key."""
        reply = await self.tool("GET", f"/_turnout/answers?key={quote(key, safe='')}")
        assert reply.status == 200, reply.body
        return reply.json["answers"]

    async def state(self, target: str) -> str:
        """``version; at`` of a record (R1)."""
        version = (await self.send("GET", target)).version
        assert version is not None, f"GET {target} says no Turnout-Version"
        return version


def named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def version_of(reply: Reply) -> tuple[int, str]:
    """(version, base) of an accepted write (W2)."""
    assert reply.version is not None, f"{reply.status} without Turnout-Version: {reply.body!r}"
    version, _, base = reply.version.partition("; base=")
    return int(version), base
