"""The clients: what each sent, when, and what it was told. The checker believes only this log and the two disks."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.simulation.loop import VirtualLoop
from tests.simulation.network import PORTS

IF_THERE = ("post", "put", "patch", "append", "append", "append", "append", "delete")
IF_NOT = ("post", "put", "put")
MARKED = (
    ("PATCH", "/api/items"),
    ("PATCH", "/api/items"),
    ("POST", "/api/restock"),
    ("DELETE", "/api/items"),
)
UNNAMED = ("POST", "/api/items?each")
BULK = frozenset((*MARKED, UNNAMED))
PATIENCE_S = 4.0
REFUSED_S = 0.4
"""After a refused connection: the proxy is being started again."""


@dataclass(slots=True)
class Said:
    """One exchange. ``status`` 0: no whole answer came."""

    label: str
    method: str
    path: str
    is_canary: bool
    began_s: float
    body: bytes = b""
    ended_s: float = 0.0
    status: int = 0
    answer: bytes = b""
    served_by: str = ""
    location: str = ""

    @property
    def is_write(self) -> bool:
        return self.method != "GET"

    @property
    def is_bulk(self) -> bool:
        """A write that names no single record."""
        return (self.method, self.path) in BULK

    @property
    def changed(self) -> dict[str, int]:
        """Of an acknowledged bulk write: the keys that it changed, each with its number."""
        if not self.is_bulk or self.status != 200:
            return {}
        return {f"/api/items/{one}": number for one, number in json.loads(self.answer)["changed"].items()}

    @property
    def key(self) -> str | None:
        """``/api/items/3``; None for the collection, unless the answer named the record."""
        path = self.path.partition("?")[0]
        if self.is_bulk:
            return None
        if path != "/api/items":
            return path
        return self.location or None

    def __str__(self) -> str:
        return (
            f"{self.method} {self.path}{' (canary)' if self.is_canary else ''} {self.body.decode()} → "
            f"{self.status} {self.served_by} {self.answer[:160].decode(errors='replace')}"
        )


class Connection(asyncio.Protocol):
    """One request, one answer."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.came: asyncio.Future[tuple[int, dict[str, str], bytes] | None] = loop.create_future()
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self.came.done():
            return
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = self._buffer[end + 4 :]
        assert "transfer-encoding" not in headers, "every answer here has a length"
        if len(body) >= int(headers.get("content-length", 0)):
            self.came.set_result((int(first.split(" ")[1]), headers, body))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.came.done():
            self.came.set_result(None)


class Client:
    """Writes and reads one after the other."""

    def __init__(
        self, number: int, loop: VirtualLoop, dice: random.Random, note: Callable[[str], None]
    ) -> None:
        self.name = f"c{number}"
        self.log: list[Said] = []
        self._loop = loop
        self._dice = dice
        self._note = note
        self._count = 0

    def label(self) -> str:
        self._count += 1
        return f"{self.name}-{self._count}"

    async def ask(
        self, method: str, path: str, fields: dict[str, Any] | None = None, *, label: str = "",
        is_canary: bool = False, idempotency_key: str = "", creates: bool = False,
    ) -> Said:  # fmt: skip
        body = b"" if fields is None else json.dumps(fields, separators=(",", ":")).encode()
        said = Said(label, method, path, is_canary, self._loop.time(), body)
        self.log.append(said)
        self._note(f"{self.name} begins {method} {path} {body.decode()}")
        lines = [f"{method} {path} HTTP/1.1", "Host: shop", f"Content-Length: {len(body)}"]
        if body:
            lines.append("Content-Type: application/json")
        if is_canary:
            lines.append("X-Canary: always")
        if idempotency_key:
            lines.append(f"Idempotency-Key: {idempotency_key}")
        if creates:
            lines.append("If-None-Match: *")
        try:
            pipe, connection = await self._loop.create_connection(
                lambda: Connection(self._loop), "proxy", PORTS["proxy"]
            )
        except OSError:
            said.ended_s = self._loop.time()
            await asyncio.sleep(REFUSED_S)
            return said
        pipe.write("\r\n".join([*lines, "", ""]).encode() + body)
        patience_s = PATIENCE_S if self._dice.random() < 0.95 else self._dice.random() * 0.1
        try:
            async with asyncio.timeout(patience_s):
                came = await connection.came
        except TimeoutError:
            came = None
        pipe.abort() if self._dice.random() < 0.1 else pipe.close()
        said.ended_s = self._loop.time()
        if came is not None:
            said.status, headers, said.answer = came
            said.served_by = headers.get("x-served-by", "")
            said.location = headers.get("location", "")
        self._note(f"{self.name} {said}")
        return said

    async def write(self, ids: list[str], alive: set[str], *, retries: bool, canary_share: float) -> Said:
        """One write of a random kind; a copy of it, with its Idempotency-Key, where its fate is not known."""
        dice = self._dice
        label = self.label()
        is_canary = dice.random() < canary_share
        record_id = dice.choice(ids)
        path = f"/api/items/{record_id}"
        is_there = record_id in alive
        kind = dice.choice(IF_THERE if is_there or dice.random() < 0.1 else IF_NOT)
        key = f"key-{label}" if kind != "delete" and dice.random() < 0.6 else ""
        fields: dict[str, Any] | None = {"by": label}
        creates = False
        match kind:
            case "post":
                method, path = "POST", "/api/items"
                if dice.random() < 0.5:
                    fields = {"id": int(dice.choice(ids)), "by": label}
            case "put":
                method = "PUT"
                creates = not is_there
            case "patch":
                method, fields = "PATCH", {"by": label, f"f{dice.randint(1, 3)}": label}
            case "append":
                method, path = "PATCH", path + "?append"
            case _:
                method, fields = "DELETE", None
        for _ in range(3 if key and retries else 1):
            said = await self.ask(
                method, path, fields, label=label, is_canary=is_canary, idempotency_key=key, creates=creates
            )
            if 0 < said.status < 500:
                break
            await asyncio.sleep(dice.random())
        if said.status == 201 and said.location:
            record_id = said.location.rpartition("/")[2]
            if record_id not in ids:
                ids.append(record_id)
        if said.status == 404 or (method == "DELETE" and said.status == 200):
            alive.discard(record_id)
        elif 0 < said.status < 500:
            alive.add(record_id)
        return said

    async def write_bulk(self, alive: set[str], *, is_unnamed: bool) -> Said:
        """One write that names no single record; it has no Idempotency-Key, and is sent once."""
        label = self.label()
        method, path = UNNAMED if is_unnamed else self._dice.choice(MARKED)
        fields = None if method == "DELETE" else {"by": label}
        said = await self.ask(method, path, fields, label=label)
        if said.status == 200:
            gone = method == "DELETE"
            for key in said.changed:
                record_id = key.rpartition("/")[2]
                alive.discard(record_id) if gone else alive.add(record_id)
        return said

    async def read(self, ids: list[str], *, canary_share: float) -> Said:
        path = "/api/items" if self._dice.random() < 0.25 else f"/api/items/{self._dice.choice(ids)}"
        return await self.ask("GET", path, is_canary=self._dice.random() < canary_share)
