"""Microseconds of one decision: ``python -m tests.bench.decide``. The default routing with the canary on, one core."""

from __future__ import annotations

import timeit

from proxy.model import COOKIE_NAME
from proxy.routing.decide import decide
from proxy.routing.dice import EvenDice
from proxy.routing.head import SimpleHead
from proxy.routing.place import place_of
from proxy.settings.compile import compile_snapshot
from proxy.settings.default import default_text
from proxy.settings.load import load

CALLS = 200_000
COOKIE = ("Cookie", f"session=8c1f; {COOKIE_NAME}=4711; theme=dark")


def main() -> None:
    """Print one line a case: the best of five runs."""
    plain = SimpleHead.of("GET", "/api/orders/17")
    with_cookie = SimpleHead.of("GET", "/api/orders/17", [COOKIE])
    tester = SimpleHead.of("GET", "/api/orders/17", [("X-Canary", "canary=true")])
    encoded = SimpleHead.of("GET", "/api/orders/a%20b")
    off = default_text()
    on = off.replace("enabled: false", "enabled: true", 1)
    for name, text, head in (
        ("canary off", off, plain),
        ("weight 10", on, plain),
        ("weight 10, encoded path", on, encoded),
        ("always, by header", on, tester),
        ("sticky cookie, known client", on.replace("sticky: none", "sticky: cookie"), with_cookie),
        ("sticky cookie, new client", on.replace("sticky: none", "sticky: cookie"), plain),
        ("sticky ip", on.replace("sticky: none", "sticky: ip"), plain),
    ):
        settings = load(text, {}, name)
        snapshot = compile_snapshot(settings, primary=settings.primary)
        dice = EvenDice()
        best = min(timeit.repeat(lambda: decide(head, snapshot, dice), number=CALLS, repeat=5))  # noqa: B023 - called at once
        print(f"decide  {name:28} {best / CALLS * 1e6:5.2f} µs")
    route = snapshot.routes[0]
    best = min(timeit.repeat(lambda: place_of(route, "/api/orders/17"), number=CALLS, repeat=5))
    print(f"place   {'one item':28} {best / CALLS * 1e6:5.2f} µs")


if __name__ == "__main__":
    main()
