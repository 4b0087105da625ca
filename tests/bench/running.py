"""Processes of a bench: pinned to a core, waited for, measured, and never left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.tools import find

READY_S = 20.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PROXY_CORE, LOAD_CORE = 0, 1
"""The proxy has one core to itself; load and upstreams share the other."""


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, each another."""
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        for _ in range(count):
            probe = stack.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            ports.append(int(probe.getsockname()[1]))
        return ports


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Running:
    """One program under measurement, with all its processes and threads."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def pids(self) -> list[int]:
        """Itself and its descendants."""
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, IndexError, ValueError):
                    children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
        found, waiting = list[int](), [self.process.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            waiting += children.get(pid, [])
        return found

    def cpu_s(self) -> float:
        """Processor time used so far, in user and kernel, by all of it."""
        ticks = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                stat = _stat(pid)
                ticks += int(stat[11]) + int(stat[12])
        return ticks / TICKS_PER_S

    def memory_bytes(self) -> int:
        """Resident memory that is its own (not files, not shared with others)."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("RssAnon:"):
                        total += int(line.split()[1]) << 10
        return total

    def check_alive(self) -> None:
        if self.process.poll() is not None:
            raise BrokenError(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


class BrokenError(Exception):
    """A program of the bench did not do what it was asked."""


def _stat(pid: int) -> list[str]:
    """The fields after the name: index 0 is the state, 1 the parent, 11 and 12 user and kernel time."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


@contextlib.contextmanager
def running(
    name: str,
    command: Sequence[str],
    *,
    core: int,
    ports: Sequence[int],
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """The program until the block ends: ready once all its ``ports`` accept."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            [find("taskset"), "-c", str(core), *command],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=folder,
            env={**os.environ, **(environment or {})}, start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - the bench has one thread
        )  # fmt: skip
    one = Running(name, process, path)
    try:
        _await_ports(one, ports)
        yield one
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to its whole group, then SIGKILL."""
    for number, patience_s in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
            if number == signal.SIGKILL:
                return
    # After an orderly end the second signal takes along whatever child did not follow.


def _await_ports(one: Running, ports: Sequence[int]) -> None:
    deadline_s = time.monotonic() + READY_S
    for port in ports:
        while True:
            one.check_alive()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if time.monotonic() > deadline_s:
                raise BrokenError(f"{one.name} does not listen on {port}:\n{one.tail()}")
            time.sleep(0.05)
