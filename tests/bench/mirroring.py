"""Writes mirrored: Turnout, which has each on disk twice before it answers and brings it to the secondary, beside proxies that
send a copy and forget it. How many writes the secondary got in the end is asked of the upstreams themselves."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles

from tests.bench.forwarding import JSON, ONE_KIB, Row, middle, started_proxy
from tests.bench.load import Load, Measured, measure
from tests.bench.peers import MIRRORING, Maker, turnout, versioned
from tests.bench.running import LOAD_CORE, BrokenError, Running, free_ports, running

KEYS = 10_000
SETTLED_WITHIN_S = 60.0
SYNCS = 200

_PUTS = (
    "local n = math.random(1, 10000)\n"
    f"request = function() n = n % {KEYS} + 1; return wrk.format(nil, '/api/orders/k' .. n) end"
)


def load(method: str, connections: int) -> Load:
    script = _PUTS if method == "PUT" else ""
    return Load("/api/items", method, JSON, ONE_KIB, connections, script)


@dataclass(frozen=True, slots=True)
class MirrorRow:
    """One proxy at one load, the median of its rounds."""

    method: str
    connections: int
    proxy: str
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    arrived: float
    """Share of the writes that the primary took which the secondary took too, once the proxy had settled."""
    settled_s: float
    """How long after the load that was."""


def compare(
    names: list[str], loads: list[tuple[str, int]], folder: Path, *, rounds: int, seconds: float
) -> list[MirrorRow]:
    """Each proxy between two upstreams of its own, so that what one leaves behind troubles no other."""
    rows: list[MirrorRow] = []
    with contextlib.ExitStack() as stack:
        lines = {name: stack.enter_context(mirrored_line(name, folder, MIRRORING[name])) for name in names}
        for method, connections in loads:
            found: dict[str, list[tuple[Measured, float, float]]] = {name: [] for name in names}
            for _ in range(rounds):
                for name, (one, port, ends) in lines.items():
                    found[name].append(_round(load(method, connections), one, port, ends, folder, seconds))
            for name, several in found.items():
                measured = [one for one, _, _ in several]
                rows.append(
                    MirrorRow(
                        method,
                        connections,
                        name,
                        median(one.per_second for one in measured),
                        median(one.p50_ms for one in measured),
                        median(one.p99_ms for one in measured),
                        median(one.cpu_us for one in measured),
                        median(arrived for _, arrived, _ in several),
                        median(settled_s for _, _, settled_s in several),
                    )
                )
    return rows


def reads(folder: Path, *, rounds: int, seconds: float) -> list[Row]:
    """GET of a record, the mirror off, and on with nothing to do: what it costs those who only read."""
    makers: dict[str, Maker] = {
        "mirror off": partial(turnout, canary=False),
        "mirror on, idle": partial(turnout, canary=False, mirror=True),
    }
    found: dict[str, list[Measured]] = {name: [] for name in makers}
    with contextlib.ExitStack() as stack:
        lines = {
            name: stack.enter_context(mirrored_line(f"reads-{number}", folder, maker))
            for number, (name, maker) in enumerate(makers.items())
        }
        for _ in range(rounds):
            for name, (one, port, _) in lines.items():
                found[name].append(measure(Load("/api/items/1"), port, one, folder, seconds=seconds))
    return [middle("GET of a record", name, several) for name, several in found.items()]


@contextlib.contextmanager
def mirrored_line(name: str, folder: Path, maker: Maker) -> Iterator[tuple[Running, int, tuple[int, int]]]:
    """A proxy and its two upstreams."""
    with contextlib.ExitStack() as stack:
        ends = free_ports(2)
        for role, port in zip(("primary", "secondary"), ends, strict=True):
            setup = versioned(port)
            stack.enter_context(
                running(
                    f"{name}-{role}", setup.command, core=LOAD_CORE, ports=(port,), folder=folder / f"mirror-{name}",
                    environment=setup.environment,
                )
            )  # fmt: skip
        one, port = stack.enter_context(started_proxy(f"mirror-{name}", maker, (ends[0], ends[1]), folder))
        _await_writes(one, port)
        yield one, port, (ends[0], ends[1])


def _round(
    wanted: Load, one: Running, port: int, ends: tuple[int, int], folder: Path, seconds: float
) -> tuple[Measured, float, float]:
    before = [_count(end) for end in ends]
    measured = measure(wanted, port, one, folder, seconds=seconds)
    began_s = time.monotonic()
    deadline_s = began_s + SETTLED_WITHIN_S
    last = (-1, -1)
    while True:
        taken = [now - was for now, was in zip((_count(end) for end in ends), before, strict=True)]
        still = (taken[0], taken[1]) == last
        if taken[1] >= taken[0] or still or time.monotonic() > deadline_s:
            return measured, taken[1] / max(1, taken[0]), time.monotonic() - began_s
        last = (taken[0], taken[1])
        time.sleep(0.25)


def _count(port: int) -> int:
    """Writes that it took; a repair stands for one."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/_bench/count")
        counts = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return counts["writes"] + counts["replays"] + counts["repairs"]


def _await_writes(one: Running, port: int) -> None:
    deadline_s = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("POST", "/api/items", ONE_KIB, JSON)
            answer = connection.getresponse()
            answer.read()
            connection.close()
            if answer.status == 201:
                return
        if time.monotonic() > deadline_s:
            raise BrokenError(f"{one.name} takes no write:\n{one.tail()}")
        time.sleep(0.05)


def sync_ms(folder: Path) -> tuple[float, float]:
    """The disk's own write and fdatasync of 4 KiB: median and 99th percentile, in milliseconds."""
    path = folder / "sync"
    took: list[float] = []
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        for turn in range(SYNCS):
            began_s = time.perf_counter()
            os.pwrite(fd, b"x" * 4096, turn * 4096)
            os.fdatasync(fd)
            took.append((time.perf_counter() - began_s) * 1e3)
    finally:
        os.close(fd)
        path.unlink()
    return median(took), quantiles(took, n=100)[98]
