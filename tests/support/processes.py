"""Real processes for tests: started, waited for by their own ready line, killed as hard as wanted, never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import random
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
READY_S = 20.0

PORTS = range(15_000, 32_000)
"""Below those that the system gives to outgoing connections: a port that a killed server has to get back must not go to one of them."""


def free_port() -> int:
    """A port that was free a moment ago. For processes that must keep it over a restart."""
    for _ in range(100):
        port = random.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"no free port in {PORTS}")


def die_with_parent() -> None:
    """In the child: a test run that is killed takes its processes along."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Process:
    """One `turnout …` process. Its JSON log lines are kept; `ready` is the line that said so."""

    def __init__(
        self,
        *args: str,
        module: str = "proxy.cli.main",
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> None:
        self.module = module
        self.args = args
        self.cwd = cwd
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "PYTHONPATH": str(ROOT),
            **(env or {}),
        }
        self.lines: list[dict] = []
        self.text: list[str] = []
        self.ready: dict = {}
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._is_ready = asyncio.Event()
        self._news = asyncio.Condition()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return None if self._process is None else self._process.returncode

    async def spawn(self) -> Process:
        """Start it, without waiting for its ready line."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self.module, *self.args,
            env=self.env, cwd=self.cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            preexec_fn=die_with_parent, limit=1 << 20,
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read(self._process))
        return self

    async def start(self) -> Process:
        await self.spawn()
        ready = asyncio.create_task(self._is_ready.wait())
        assert self._process is not None
        ended = asyncio.create_task(self._process.wait())
        await asyncio.wait({ready, ended}, timeout=READY_S, return_when=asyncio.FIRST_COMPLETED)
        for task in (ready, ended):
            task.cancel()
        if not self._is_ready.is_set():
            await self.kill()
            raise AssertionError(f"{self.args} did not become ready:\n{self.output}")
        return self

    @property
    def output(self) -> str:
        return "\n".join(self.text[-60:])

    def events(self, name: str) -> list[dict]:
        return [line for line in self.lines if line.get("event") == name]

    async def told(self, name: str, timeout_s: float = 20.0, **fields: object) -> dict:
        """The first line of that event with these fields, waited for."""

        def found() -> list[dict]:
            return [one for one in self.events(name) if fields.items() <= one.items()]

        try:
            async with asyncio.timeout(timeout_s), self._news:
                await self._news.wait_for(found)
        except TimeoutError:
            raise AssertionError(f"no {name} {fields or ''} within {timeout_s} s:\n{self.output}") from None
        return found()[0]

    async def wait(self, timeout_s: float = 20.0) -> int:
        """Until it ends by itself; its exit code."""
        assert self._process is not None
        code = await asyncio.wait_for(self._process.wait(), timeout_s)
        await self._end_reader()
        return code

    async def stop(self, timeout_s: float = 15.0) -> int:
        """SIGTERM, and its exit code."""
        if self._process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            return await self.wait(timeout_s)
        except TimeoutError:
            await self.kill()
            raise AssertionError(f"{self.args} did not stop within {timeout_s} s:\n{self.output}") from None

    async def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self.wait()

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for raw in process.stdout:
            text = raw.decode(errors="replace").rstrip()
            self.text.append(text)
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict):
                async with self._news:
                    self.lines.append(line)
                    self._news.notify_all()
                if line.get("event") == "ready":
                    self.ready = line
                    self._is_ready.set()

    async def _end_reader(self) -> None:
        if self._reader is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._reader, 2)
            self._reader = None
