"""The whole line in processes: json, postgres, proxy; with a checker that looks at both upstreams and nothing else."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from tests.support.fault_proxy import FaultProxy
from tests.support.processes import Process, free_port

TOKEN = "test-token"

ROUTING = """\
version: 1
upstreams:
  json:     {{endpoints: ["{json}"], health: {{path: /healthz, interval: 200ms}}}}
  postgres: {{endpoints: ["{postgres}"], health: {{path: /healthz, interval: 200ms}}}}
primary: json
canary:
  enabled: false
  weight: 10
routes:
  - {{path: "/api/*", key: "/api/{{collection}}/{{id}}", singletons: [settings]}}
limits: {{hold_timeout: 5s}}
"""


class Line:
    """Starts in order, stops in reverse. Ports stay the same over restarts, so that clients and upstreams find each other again."""

    def __init__(
        self,
        folder: Path,
        *,
        database_url: str,
        data: dict | None = None,
        routing: str = ROUTING,
        faults: tuple[str, ...] = (),
        state: Path | None = None,
    ) -> None:
        """``faults``: the upstreams that the proxy reaches only through a FaultProxy. ``state``: the journal's folder."""
        self.folder = folder
        self.state = state or folder / "state"
        self.database_url = database_url
        self.data = folder / "data.json"
        self.data.write_text(json.dumps(data or {"settings": {"open": True}, "orders": []}))
        self.ports = {name: free_port() for name in ("proxy", "admin", "json", "postgres")}
        self.faults = {name: FaultProxy(self.ports[name]) for name in faults}
        self.config = folder / "routing.yaml"
        self.config.write_text(routing.format(**{name: self._seen(name) for name in ("json", "postgres")}))
        self.env = {"TURNOUT_MIRROR_TOKEN": TOKEN}
        """Of every process."""
        self.adopt = False
        """The proxy's next starts take the upstreams over from another journal."""
        self.processes: dict[str, Process] = {}
        self._session: aiohttp.ClientSession | None = None

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def _seen(self, name: str) -> str:
        """Where the proxy finds an upstream."""
        return f"http://127.0.0.1:{self.faults[name].port}" if name in self.faults else self.url(name)

    def make(self, name: str, env: dict[str, str] | None = None) -> Process:
        listen = ["--listen", f"127.0.0.1:{self.ports[name]}"]
        args = {
            "json": ["serve", "json", "--data", str(self.data), *listen],
            "postgres": ["serve", "postgres", "--database-url", self.database_url, *listen],
            "proxy": [
                "proxy", "--config", str(self.config), "--state", str(self.state), *listen,
                "--admin", f"127.0.0.1:{self.ports['admin']}", *(["--adopt"] if self.adopt else []),
            ],
        }[name]  # fmt: skip
        process = Process(*args, env={**self.env, **(env or {})}, cwd=self.folder)
        self.processes[name] = process
        return process

    async def start(self, name: str, env: dict[str, str] | None = None) -> Process:
        return await self.make(name, env).start()

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20))
        return self._session

    async def __aenter__(self) -> Self:
        try:
            for fault_proxy in self.faults.values():
                await fault_proxy.__aenter__()
            await asyncio.gather(self.start("json"), self.start("postgres"))
            await self.start("proxy")
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
        for name in ("proxy", "postgres", "json"):
            if name in self.processes:
                await self.processes[name].kill()
        for fault_proxy in self.faults.values():
            await fault_proxy.__aexit__(None, None, None)

    # -- what tests ask ----------------------------------------------------------------------------

    async def status(self) -> dict:
        async with self.session.get(self.url("admin") + "/api/v1/status") as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def admin(
        self, method: str, path: str, body: dict | None = None, **headers: str
    ) -> tuple[int, dict]:
        async with self.session.request(
            method,
            self.url("admin") + path,
            json=body,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        ) as response:
            return response.status, await response.json()

    async def open_for_writes(self, timeout_s: float = 15.0) -> None:
        async with asyncio.timeout(timeout_s):
            while (await self.status())["mirror"]["writes_held"]:
                await asyncio.sleep(0.02)

    async def secondary_known(self, timeout_s: float = 15.0) -> None:
        """Until the secondary has answered, and knows its role."""
        async with asyncio.timeout(timeout_s):
            while (await self.status())["mirror"]["secondary_trouble"]:
                await asyncio.sleep(0.02)

    async def settled(self, timeout_s: float = 30.0) -> dict:
        """Wait until the lag is 0; the mirror's figures then. Too late: what it waits for, and why."""
        mirror: dict = {}
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    mirror = (await self.status())["mirror"]
                    if mirror["lag_entries"] == 0 and mirror["in_doubt"] == 0:
                        return mirror
                    await asyncio.sleep(0.05)
        except TimeoutError:
            log = "\n".join(self.processes["proxy"].output.splitlines()[-30:])
            raise AssertionError(f"not settled after {timeout_s} s: {mirror}\n{log}") from None

    async def validate(self) -> dict:
        status, run = await self.admin("POST", "/api/v1/validations", {"wait": True})
        assert status == 200, run
        return run

    async def records(self, name: str, collection: str = "orders") -> dict[str, bytes]:
        """Every record of an upstream, by id, as bytes; read from the server itself, past the proxy."""
        found: dict[str, bytes] = {}
        page = 1
        while True:
            url = f"{self.url(name)}/api/{collection}?_page={page}&_per_page=1000"
            async with self.session.get(url) as response:
                assert response.status == 200, await response.text()
                rows = await response.json()
            for row in rows:
                async with self.session.get(f"{self.url(name)}/api/{collection}/{row['id']}") as one:
                    found[str(row["id"])] = await one.read()
            if len(rows) < 1000:
                return found
            page += 1
