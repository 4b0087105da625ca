"""Child processes of the demo: started, waited for until they are well, watched, stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import signal
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

from proxy.cli.demo_plan import ChildPlan
from proxy.errors import TurnoutError

T = TypeVar("T")

HEALTHY_S_MAX = 60.0
HEALTHY_LOOK_S = 0.05
HEALTH_TIMEOUT_S = 1.0
STOP_S_MAX = 15.0
"""A child that has not ended this long after SIGTERM is killed. Above limits.SHUTDOWN_S_MAX."""

TAIL_LINES = 12
TAIL_BYTES = 16 << 10


class ChildError(TurnoutError):
    """A child ended, or never came up: which one, and the end of its log."""

    code = "child"


class StoppedError(Exception):
    """Ctrl-C or SIGTERM came."""


class Child:
    """One process with its log file."""

    def __init__(self, plan: ChildPlan, process: asyncio.subprocess.Process, log: Path) -> None:
        self.plan = plan
        self.log = log
        self._process = process
        self.ended = asyncio.ensure_future(process.wait())
        """Resolves to the exit code."""

    @classmethod
    async def start(cls, plan: ChildPlan, env: Mapping[str, str], log: Path) -> Child:
        """In a process group of its own: Ctrl-C in the terminal reaches the demo alone, which stops the others in order."""
        with _new_log(log) as out:
            process = await asyncio.create_subprocess_exec(
                *plan.argv,
                env=dict(env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        return cls(plan, process, log)

    async def until_healthy(self) -> None:
        """Until /healthz answers 200; ChildError after HEALTHY_S_MAX."""
        try:
            async with asyncio.timeout(HEALTHY_S_MAX):
                while not await asyncio.to_thread(_is_healthy, self.plan.health_url):  # noqa: ASYNC110 - another process tells no event of ours
                    await asyncio.sleep(HEALTHY_LOOK_S)
        except TimeoutError as error:
            raise ChildError(
                f"{self.plan.name} is not well after {HEALTHY_S_MAX:.0f} s ({self.plan.health_url})",
                self.tail(),
            ) from error

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL to its whole group."""
        if self.ended.done():
            return
        self._signal(signal.SIGTERM)
        done, _ = await asyncio.wait([self.ended], timeout=STOP_S_MAX)
        if not done:
            self.kill()
            await self.ended

    def kill(self) -> None:
        """At once, with everything that it started in its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def tail(self) -> str:
        """The last lines of its log, and where the whole is."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
        return "\n  ".join([*(lines or ["(it wrote nothing)"]), f"the whole log: {self.log}"])


class Family:
    """All children of one demo, and the wish to stop."""

    def __init__(self) -> None:
        self.children: list[Child] = []
        self._stop = asyncio.Event()

    def listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.ask_to_stop)

    def ask_to_stop(self) -> None:
        """The first time: in order. The second time: at once."""
        if self._stop.is_set():
            for child in self.children:
                child.kill()
        self._stop.set()

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """Do ``work``, unless somebody stops us (StoppedError) or a child ends (ChildError)."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait(
                [task, stop, *(child.ended for child in self.children)], return_when=asyncio.FIRST_COMPLETED
            )
            if stop.done():
                raise StoppedError
            for child in self.children:
                if child.ended.done():
                    raise ChildError(f"{child.plan.name} ended {_how(child.ended.result())}", child.tail())
            return task.result()
        finally:
            for one in (task, stop):
                one.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)

    async def forever(self) -> None:
        """Until StoppedError or ChildError."""
        await self.during(asyncio.Event().wait())

    async def end(self) -> None:
        """The last one started first: the proxy while both upstreams still answer it; then the rest together."""
        if not self.children:
            return
        *servers, last = self.children
        await last.stop()
        await asyncio.gather(*(child.stop() for child in servers))


def _new_log(log: Path) -> BinaryIO:
    """The last run's log stays beside it."""
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    return log.open("wb")


def _is_healthy(url: str) -> bool:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=HEALTH_TIMEOUT_S)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _how(code: int) -> str:
    if code < 0:
        return f"by signal {signal.Signals(-code).name}"
    return f"with exit code {code}"
