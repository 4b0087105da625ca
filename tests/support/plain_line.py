"""A proxy between two upstreams of which at least one is plain (tests/support/foreign.py), all of them processes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from tests.support.processes import Process, free_port

ROUTING = """\
version: 1
upstreams:
  old: {{endpoints: ["{old}"]}}
  new: {{endpoints: ["{new}"]}}
primary: old
routes:
  - {{path: "/ping", methods: [POST]}}
  - {{path: "{base}/*", key: "{base}/{{collection}}/{{id}}"}}
limits: {{response_timeout: {late}, hold_timeout: 5s}}
"""


class PlainLine:
    """``old`` and ``new`` are kinds of foreign servers, or "json" for our own (versioned) one."""

    def __init__(self, folder: Path, *, old: str, new: str, late: str = "1s", routing: str = ROUTING) -> None:
        self.folder = folder
        self.kinds = {"old": old, "new": new}
        self.base = "/api" if "json" in (old, new) else ""
        self.ports = {name: free_port() for name in ("old", "new", "proxy", "admin")}
        self.config = folder / "routing.yaml"
        self.config.write_text(
            routing.format(old=self.url("old"), new=self.url("new"), base=self.base, late=late)
        )
        self.processes: dict[str, Process] = {}
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20))

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def items(self, name: str) -> str:
        return f"{self.url(name)}{self.base}/items"

    async def start(self, name: str, env: dict[str, str] | None = None) -> None:
        port = str(self.ports[name])
        if name == "proxy":
            process = Process(
                "proxy", "--config", str(self.config), "--state", str(self.folder / "state"),
                "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{self.ports['admin']}", env=env, cwd=self.folder,
            )  # fmt: skip
        elif self.kinds[name] == "json":
            data = self.folder / f"{name}.json"
            if not data.exists():
                data.write_text('{"items": []}')
            process = Process(
                "serve", "json", "--data", str(data), "--listen", f"127.0.0.1:{port}", cwd=self.folder
            )
        else:
            file = str(self.folder / f"{name}.foreign")
            args = (self.kinds[name], port, file, self.base)
            process = Process(*args, module="tests.support.foreign")
        self.processes[name] = process
        await process.start()

    async def __aenter__(self) -> Self:
        await asyncio.gather(self.start("old"), self.start("new"))
        await self.start("proxy")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session.close()
        for process in self.processes.values():
            await process.kill()

    async def send(
        self, method: str, path: str, body: object = None, *, at: str = "proxy", **headers: str
    ) -> tuple[int, bytes]:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **{n.replace("_", "-"): v for n, v in headers.items()}}
        async with self.session.request(
            method, self.url(at) + self.base + path, data=data, headers=headers
        ) as response:
            return response.status, await response.read()

    async def status(self) -> dict:
        async with self.session.get(self.url("admin") + "/api/v1/status") as response:
            return await response.json()

    async def open_for_writes(self) -> None:
        async with asyncio.timeout(15):
            while (await self.status())["mirror"]["writes_held"]:
                await asyncio.sleep(0.02)

    async def settled(self, timeout_s: float = 20.0) -> dict:
        async with asyncio.timeout(timeout_s):
            while True:
                mirror = (await self.status())["mirror"]
                if mirror["lag_entries"] == 0 and mirror["in_doubt"] == 0:
                    return mirror
                await asyncio.sleep(0.05)

    async def records(self, name: str) -> dict[str, object]:
        """By id, as values: two servers may write the same JSON in their own ways."""
        found: dict[str, object] = {}
        start = 0
        while True:
            query = f"?_start={start}" if self.kinds[name] == "json" else f"?start={start}"
            async with self.session.get(self.items(name) + query) as response:
                assert response.status == 200, await response.text()
                rows = await response.json()
            if not rows:
                return found
            found |= {str(row["id"]): row for row in rows}
            start += len(rows)
