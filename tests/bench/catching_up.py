"""Catching up beside clients: what it costs them while a secondary that was away gets all that it lacks.

Between two real `turnout serve json`. The mirror is paused, a backlog of so many keys is written, each of which settles by a
repair (a read of the primary, then a write at the secondary), as after a long outage. Then the mirror goes on, and the
primary's clients are measured meanwhile: a paced load of reads, and one of mirrored writes, in turn.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.forwarding import JSON, ONE_KIB
from tests.bench.load import Load, Measured, measure
from tests.bench.peers import ROOT, Place
from tests.bench.running import LOAD_CORE, PROXY_CORE, BrokenError, Running, free_ports, running

KEYS = 20_000
WRITERS = 8
RECORDS = 1_000
"""Of the clients' own collection; they are no part of the backlog."""

ROUND_S = 2.0
QUIET_ROUNDS = 4
GOAL = 3.0
"""Of p99, catching up over quiet."""

ROUTING = """\
version: 1
upstreams:
  json: {{endpoints: ["http://127.0.0.1:{primary}"]}}
  postgres: {{endpoints: ["http://127.0.0.1:{secondary}"]}}
primary: json
routes:
  - {{path: "/api/backlog/*", key: "/api/backlog/{{id}}", mode: state}}
  - {{path: "/api/*", key: "/api/{{collection}}/{{id}}"}}
"""

_ANY_ITEM = f"request = function() return wrk.format(nil, '/api/items/' .. math.random(1, {RECORDS})) end"
LOADS = {
    "GET 1 KiB": Load("/api/items/1", connections=16, pause_ms=10, script=_ANY_ITEM),
    "PUT 1 KiB, mirrored": Load("/api/items/1", "PUT", JSON, ONE_KIB, 16, _ANY_ITEM, pause_ms=40),
}


@dataclass(frozen=True, slots=True)
class CatchUpRow:
    """One kind of client: the medians of its rounds."""

    case: str
    per_second: float
    quiet_p50_ms: float
    quiet_p99_ms: float
    p50_ms: float
    p99_ms: float
    rounds: int
    """While catching up."""

    @property
    def ratio(self) -> float:
        return self.p99_ms / self.quiet_p99_ms


@dataclass(frozen=True, slots=True)
class CatchUp:
    """One run."""

    rows: list[CatchUpRow]
    keys: int
    took_s: float
    told: list[tuple[float, float, float]]
    """Looks at the mirror: seconds that were left in truth, seconds that it expected, keys at once."""


def catch_up(folder: Path) -> CatchUp:
    """``folder`` is on a disk: journals and data files lie there."""
    with _line(folder) as (one, port, admin):
        _write(port, "items", RECORDS)
        _settled(admin, one)
        found: dict[str, tuple[list[Measured], list[Measured]]] = {name: ([], []) for name in LOADS}

        def quiet() -> None:
            for _ in range(QUIET_ROUNDS // 2):
                for name, wanted in LOADS.items():
                    found[name][0].append(measure(wanted, port, one, folder, seconds=ROUND_S))
                    _settled(admin, one)

        quiet()
        _ask(admin, "POST", "/api/v1/mirror/pause", {})
        _write(port, "backlog", KEYS)
        looks: list[tuple[float, float, float]] = []
        began_s = time.monotonic()
        _ask(admin, "POST", "/api/v1/mirror/resume", {})
        while True:
            for name, wanted in LOADS.items():
                measured = measure(wanted, port, one, folder, seconds=ROUND_S)
                mirror = _ask(admin, "GET", "/api/v1/mirror")
                if mirror["lag_entries"] > KEYS * 0.02:  # else part of the round was quiet
                    found[name][1].append(measured)
                    if mirror["expected_end_s"] is not None:
                        looks.append((time.monotonic(), mirror["expected_end_s"], mirror["keys_at_once"]))
            if mirror["lag_entries"] <= KEYS * 0.02:
                break
        ended_s = _settled(admin, one)
        quiet()
    return CatchUp(
        [_row(name, *rounds) for name, rounds in found.items()],
        KEYS,
        ended_s - began_s,
        [(ended_s - at_s, expected_s, at_once) for at_s, expected_s, at_once in looks],
    )


def _row(name: str, quiet: list[Measured], busy: list[Measured]) -> CatchUpRow:
    if not busy:
        raise BrokenError(f"{name}: it caught up within a round; make KEYS larger")
    return CatchUpRow(
        name,
        median(one.per_second for one in busy),
        median(one.p50_ms for one in quiet),
        median(one.p99_ms for one in quiet),
        median(one.p50_ms for one in busy),
        median(one.p99_ms for one in busy),
        len(busy),
    )


@contextlib.contextmanager
def _line(folder: Path) -> Iterator[tuple[Running, int, int]]:
    """The proxy alone on its core; both servers and the clients share the other."""
    listen, admin, primary, secondary = free_ports(4)
    place = Place(listen, admin, primary, secondary, folder / "catching-up")
    place.folder.mkdir()
    turnout = [sys.executable, "-m", "proxy.cli.main"]
    environment = {"PYTHONPATH": str(ROOT)}
    with contextlib.ExitStack() as stack:
        for name, port in (("primary", primary), ("secondary", secondary)):
            data = place.folder / f"{name}.json"
            data.write_text('{"items": [], "backlog": []}')
            serve = [*turnout, "serve", "json", "--data", str(data), "--listen", f"127.0.0.1:{port}"]
            stack.enter_context(
                running(
                    name, serve, core=LOAD_CORE, ports=(port,), folder=place.folder, environment=environment
                )
            )
        config = place.folder / "routing.yaml"
        config.write_text(ROUTING.format(primary=primary, secondary=secondary))
        proxy = [
            *turnout, "proxy", "--config", str(config), "--state", str(place.folder / "state"),
            "--listen", f"127.0.0.1:{listen}", "--admin", f"127.0.0.1:{admin}",
        ]  # fmt: skip
        one = stack.enter_context(
            running(
                "turnout", proxy, core=PROXY_CORE, ports=(listen, admin), folder=place.folder, environment=environment
            )
        )  # fmt: skip
        _settled(admin, one)
        yield one, listen, admin


def _write(port: int, collection: str, count: int) -> None:
    """So many new records, through the proxy."""
    faults: list[str] = []

    def writer(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for _ in range(first, count, WRITERS):
            connection.request("POST", f"/api/{collection}", ONE_KIB, JSON)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 201:
                faults.append(f"POST /api/{collection} is answered {answer.status}")
                return
        connection.close()

    threads = [threading.Thread(target=writer, args=(first,)) for first in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise BrokenError(faults[0])


def _settled(admin: int, one: Running) -> float:
    """When nothing is left to do, and writes are let in."""
    deadline_s = time.monotonic() + 120
    while time.monotonic() < deadline_s:
        mirror = _ask(admin, "GET", "/api/v1/mirror")
        if not (mirror["lag_entries"] or mirror["writes_held"] or mirror["secondary_trouble"]):
            return time.monotonic()
        time.sleep(0.05)
    raise BrokenError(f"{one.name} did not settle:\n{one.tail()}")


def _ask(admin: int, method: str, path: str, body: Mapping[str, object] | None = None) -> dict:
    connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=30)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), JSON)
        answer = connection.getresponse()
        told = json.loads(answer.read())
    finally:
        connection.close()
    if answer.status != 200:
        raise BrokenError(f"{method} {path} is answered {answer.status}: {told}")
    return told
