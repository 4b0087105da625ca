"""`turnout demo` as a user runs it: in a folder of its own, on four free ports, ended by Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import psutil

from tests.support.documents import free_port_base

ROOT = Path(__file__).resolve().parents[2]
READY_S = 60.0


class Demo:
    """Started when entered; `said` is all that it printed."""

    def __init__(self, folder: Path, *words: str, port_base: int | None = None) -> None:
        self.folder = folder
        self.port_base = port_base or free_port_base()
        self.words = words
        self.said: list[str] = []
        self.children: list[psutil.Process] = []
        self._process: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None

    def url(self, name: str) -> str:
        offset = ("proxy", "admin", "json", "postgres").index(name)
        return f"http://127.0.0.1:{self.port_base + offset}"

    @property
    def env(self) -> dict[str, str]:
        keep = {
            name: value for name, value in os.environ.items() if not name.startswith(("TURNOUT_", "DATA"))
        }
        return {**keep, "TURNOUT_ADMIN": self.url("admin"), "PYTHONPATH": str(ROOT), "COLUMNS": "200"}

    async def turnout(self, *words: str) -> tuple[int, str]:
        """Run a verb against this demo: its exit code, and what it printed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "proxy.cli", *words, env=self.env, cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await process.communicate()
        return process.returncode or 0, out.decode()

    @property
    def session(self) -> aiohttp.ClientSession:
        assert self._session is not None
        return self._session

    async def get(self, name: str, target: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        async with self.session.get(self.url(name) + target, headers=named) as response:
            return response.status, await response.read(), dict(response.headers)

    async def send(self, method: str, target: str, body: object) -> tuple[int, dict]:
        async with self.session.request(method, self.url("proxy") + target, json=body) as response:
            return response.status, await response.json()

    async def spawn(self) -> None:
        self._session = aiohttp.ClientSession()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "proxy.cli", "demo", "--dir", str(self.folder / ".turnout"),
            "--port-base", str(self.port_base), *self.words,
            env=self.env, cwd=self.folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    async def until_said(self, word: str) -> None:
        """Read on until a line holds ``word``."""
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(READY_S):
            while True:
                line = (await self._process.stdout.readline()).decode()
                assert line, "the demo ended:\n" + "".join(self.said)
                self.said.append(line)
                if word in line:
                    return

    async def ended(self) -> tuple[int, str]:
        """Exit code and everything it said, once it has ended by itself."""
        assert self._process is not None
        async with asyncio.timeout(READY_S):
            out, _ = await self._process.communicate()
        self.said.append(out.decode())
        return self._process.returncode or 0, "".join(self.said)

    async def interrupt(self) -> tuple[int, str]:
        """Ctrl-C."""
        assert self._process is not None
        self.children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.send_signal(signal.SIGINT)
        return await self.ended()

    async def kill(self) -> None:
        """kill -9 of the parent alone."""
        assert self._process is not None
        self.children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        await self._process.wait()

    async def __aenter__(self) -> Self:
        try:
            await self.spawn()
            await self.until_said("ready in")
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)
            await self.ended()
