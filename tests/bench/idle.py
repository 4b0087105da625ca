"""What connections cost that do nothing, and what a long run leaves behind: memory that is the proxy's own."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.forwarding import CASES, check_rule, started_proxy, started_upstreams
from tests.bench.load import Load, measure
from tests.bench.mirroring import load, mirrored_line
from tests.bench.peers import MIRRORING, ROUTING, SMALL
from tests.bench.running import BrokenError, Running

CONNECTIONS = 1_000
SETTLE_S = 1.0
_REQUEST = f"GET {SMALL} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


@dataclass(frozen=True, slots=True)
class IdleRow:
    """Memory of one proxy."""

    proxy: str
    base_mib: float
    idle_kib: float
    """For each of the connections, after a request on each."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Memory of Turnout under one load, at some moments of it."""

    case: str
    minutes: list[float]
    mib: list[float]
    per_second: float


def idle(names: list[str], folder: Path) -> list[IdleRow]:
    """1,000 connections to each, one request on each, then silence."""
    rows: list[IdleRow] = []
    with started_upstreams(folder) as ports:
        for name in names:
            with started_proxy(f"{name}-idle", ROUTING[name], ports, folder) as (one, port):
                check_rule(one, port)
                time.sleep(SETTLE_S)
                before = one.memory_bytes()
                with _connections(port):
                    time.sleep(SETTLE_S)
                    after = one.memory_bytes()
                rows.append(IdleRow(name, before / 2**20, (after - before) / CONNECTIONS / 1024))
    return rows


def growth_of_reads(folder: Path, *, minutes: int) -> Growth:
    """GET 200 B without a pause, all features on."""
    with (
        started_upstreams(folder) as ports,
        started_proxy("turnout-long", ROUTING["turnout"], ports, folder) as (one, port),
    ):
        check_rule(one, port)
        return _growth("GET 200 B", CASES["GET 200 B"], one, port, folder, minutes)


def growth_of_writes(folder: Path, *, minutes: int) -> Growth:
    """Mirrored PUTs of 1 KiB over 10,000 keys without a pause: journal, lanes and replays. ``folder`` is on a disk."""
    with mirrored_line("turnout-long", folder, MIRRORING["turnout"]) as (one, port, _):
        return _growth("mirrored PUT 1 KiB, 32 connections", load("PUT", 32), one, port, folder, minutes)


def _growth(case: str, wanted: Load, one: Running, port: int, folder: Path, minutes: int) -> Growth:
    """Memory after each minute (the first one fills pools and caches)."""
    marks, sizes, answered, took_s = [0.0], [one.memory_bytes() / 2**20], 0, 0.0
    for minute in range(1, minutes + 1):
        measured = measure(wanted, port, one, folder, seconds=60)
        answered, took_s = answered + measured.requests, took_s + measured.seconds
        marks.append(float(minute))
        sizes.append(one.memory_bytes() / 2**20)
    return Growth(case, marks, sizes, answered / took_s)


@contextlib.contextmanager
def _connections(port: int) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            one.sendall(_REQUEST)
            answer = b""
            while b"\r\n\r\n" not in answer:
                piece = one.recv(65536)
                if not piece:
                    raise BrokenError(f"port {port} closed a connection after {answer!r}")
                answer += piece
        yield
