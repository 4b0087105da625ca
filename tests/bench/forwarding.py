"""Requests forwarded: Turnout and its peers, the same rule, the same upstreams, in turn on the same core."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from proxy.model import COOKIE_NAME
from tests.bench.load import Load, Measured, measure
from tests.bench.peers import HEADERS, LARGE, MANY, ROOT, ROUTING, SMALL, Maker, Place, turnout, upstreams
from tests.bench.running import LOAD_CORE, PROXY_CORE, READY_S, BrokenError, Running, free_ports, running

ONE_KIB = '{"note":"' + "x" * 1013 + '"}'
JSON = {"Content-Type": "application/json"}

CASES: dict[str, Load] = {
    "GET 200 B": Load(SMALL),
    # wrk keeps no cookies: above, each request is a new client's, and is given its bucket. This is one that came before.
    "GET 200 B, known client": Load(SMALL, headers={"Cookie": f"{COOKIE_NAME}=4711"}),
    "POST 1 KiB": Load(SMALL, "POST", JSON, ONE_KIB),
    "20 headers each way": Load(MANY, headers=HEADERS),
    "GET 64 KiB": Load("/large"),
    "each request's headers differ": Load(
        SMALL,
        script="local n = 0\nlocal made = {}\n"
        "init = function() for i = 1, 100 do made[i] = wrk.format(nil, nil, {['Cookie'] = 'session=' .. i * 7919}) end end\n"
        "request = function() n = n % 100 + 1; return made[n] end",
    ),
    "GET 200 B, paced": Load(SMALL, connections=64, pause_ms=10),
}
assert CASES["GET 64 KiB"].path == LARGE

PRICES: dict[str, Maker] = {
    "all features on": turnout,
    "sticky off": partial(turnout, sticky="none"),
    "canary off": partial(turnout, canary=False),
    "all on, interpreted": partial(turnout, root=ROOT),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One proxy in one case: the median of its rounds."""

    case: str
    proxy: str
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


def compare(
    names: list[str], cases: list[str], folder: Path, *, rounds: int, seconds: float
) -> Iterator[list[Row]]:
    """Every proxy in every case, a case at a time; rounds go around, so that a disturbance hits them all."""
    with contextlib.ExitStack() as stack:
        ports = stack.enter_context(started_upstreams(folder))
        started = {
            name: stack.enter_context(started_proxy(name, ROUTING[name], ports, folder)) for name in names
        }
        for one, port in started.values():
            check_rule(one, port)
        for case in cases:
            found: dict[str, list[Measured]] = {name: [] for name in names}
            for _ in range(rounds):
                for name, (one, port) in started.items():
                    found[name].append(measure(CASES[case], port, one, folder, seconds=seconds))
            yield [middle(case, name, several) for name, several in found.items()]


def prices(folder: Path, *, rounds: int, seconds: float) -> list[Row]:
    """What each feature costs: GET 200 B with one of them changed."""
    case = "GET 200 B"
    with contextlib.ExitStack() as stack:
        ports = stack.enter_context(started_upstreams(folder))
        started = {
            name: stack.enter_context(started_proxy(f"turnout-{number}", maker, ports, folder))
            for number, (name, maker) in enumerate(PRICES.items())
        }
        found: dict[str, list[Measured]] = {name: [] for name in started}
        for _ in range(rounds):
            for name, (one, port) in started.items():
                found[name].append(measure(CASES[case], port, one, folder, seconds=seconds))
    return [middle(case, name, several) for name, several in found.items()]


def middle(case: str, proxy: str, several: list[Measured]) -> Row:
    """The median of each figure by itself: one disturbed round changes nothing."""
    return Row(
        case,
        proxy,
        median(one.per_second for one in several),
        median(one.p50_ms for one in several),
        median(one.p99_ms for one in several),
        median(one.cpu_us for one in several),
    )


@contextlib.contextmanager
def started_upstreams(folder: Path) -> Iterator[tuple[int, int]]:
    primary, secondary = free_ports(2)
    place = Place(0, 0, primary, secondary, folder / "upstreams")
    setup = upstreams(place)
    with running("upstreams", setup.command, core=LOAD_CORE, ports=(primary, secondary), folder=place.folder):
        yield primary, secondary


@contextlib.contextmanager
def started_proxy(
    name: str, maker: Maker, ports: tuple[int, int], folder: Path
) -> Iterator[tuple[Running, int]]:
    listen, admin = free_ports(2)
    place = Place(listen, admin, *ports, folder / name)
    setup = maker(place)
    with running(
        name,
        setup.command,
        core=PROXY_CORE,
        ports=(listen,),
        folder=place.folder,
        environment=setup.environment,
    ) as one:
        yield one, listen


def check_rule(one: Running, port: int) -> None:
    """Whether it does what all do: a figure of a proxy that routes otherwise would be none."""
    _await_answer(one, port)
    asked = 400
    for headers, least, most in (({"X-Canary": "canary=true"}, 1.0, 1.0), ({}, 0.04, 0.18)):
        share = _share_of_secondary(port, headers, asked) / asked
        if not least <= share <= most:
            raise BrokenError(
                f"{one.name} sends {share:.0%} to the secondary where {least:.0%} to {most:.0%} are due"
            )


def _await_answer(one: Running, port: int) -> None:
    """Some listen before they know their rule."""
    deadline_s = time.monotonic() + READY_S
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException, BrokenError):
            _share_of_secondary(port, {}, 1)
            return
        if time.monotonic() > deadline_s:
            raise BrokenError(f"{one.name} does not answer GET {SMALL}:\n{one.tail()}")
        time.sleep(0.05)


def _share_of_secondary(port: int, headers: Mapping[str, str], asked: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    found = 0
    try:
        for _ in range(asked):
            connection.request("GET", SMALL, headers=dict(headers))
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise BrokenError(f"port {port} answers {answer.status}")
            found += answer.headers["X-Upstream"] == "secondary"
    finally:
        connection.close()
    return found
