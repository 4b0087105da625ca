"""``python -m tests.bench``: every comparison in one run, printed and appended to docs/benchmarks.md.

--parts routing,prices,idle,mirror,catching-up   only these
--peers nginx,envoy                  only these, beside Turnout
--cases "GET 200 B;POST 1 KiB"       only these      --no-append           print only
--rounds 3 --seconds 3               how long        --long reads,writes   10 minutes of each beside, memory watched
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench import idle as idling
from tests.bench import mirroring, report, tools
from tests.bench.catching_up import catch_up
from tests.bench.forwarding import CASES, compare, prices
from tests.bench.peers import MIRRORING, ROUTING
from tests.bench.running import BrokenError

PARTS = ("routing", "prices", "idle", "mirror", "catching-up")
LOADS = [("POST", 1), ("POST", 32), ("PUT", 32), ("POST", 256), ("PUT", 256)]
LONG = ("reads", "writes")
LONG_MINUTES = 10


def main() -> int:
    options = _options()
    # SIGTERM ends as Ctrl-C does: by unwinding, which stops every process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        tools.ensure()
        with tempfile.TemporaryDirectory(prefix="turnout-bench-") as folder:
            text = _run(options, Path(folder))
    except (tools.MissingError, BrokenError) as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.append:
        report.append(text)
        print(f"appended to {report.PAGE.relative_to(report.ROOT)}")
    return 0


def _run(options: argparse.Namespace, folder: Path) -> str:
    parts: list[str] = []

    def tell(text: str) -> None:
        parts.append(text)
        print(text, flush=True)

    tell(report.heading(tools.versions(), " ".join(["python -m tests.bench", *sys.argv[1:]])))
    names = ["turnout", *options.peers]
    rounds, seconds = options.rounds, options.seconds
    if "routing" in options.parts:
        for rows in compare(names, options.cases, folder, rounds=rounds, seconds=seconds):
            tell(report.routing_table(rows))
    if "prices" in options.parts:
        tell(report.price_table(prices(folder, rounds=rounds, seconds=seconds)))
    if "idle" in options.parts:
        tell(report.idle_table(idling.idle(names, folder)))
    if "mirror" in options.parts:
        with on_disk() as disk:
            tell(report.price_table(mirroring.reads(disk, rounds=rounds, seconds=seconds)))
            sync = mirroring.sync_ms(disk)
            mirrors = [name for name in names if name in MIRRORING]
            tell(
                report.mirror_tables(
                    mirroring.compare(mirrors, LOADS, disk, rounds=rounds, seconds=seconds), sync
                )
            )
    if "catching-up" in options.parts:
        with on_disk() as disk:
            tell(report.catch_up_table(catch_up(disk)))
    if "reads" in options.long:
        tell(report.growth_table(idling.growth_of_reads(folder, minutes=LONG_MINUTES)))
    if "writes" in options.long:
        with on_disk() as disk:
            tell(report.growth_table(idling.growth_of_writes(disk, minutes=LONG_MINUTES)))
    return "\n".join(parts)


@contextlib.contextmanager
def on_disk() -> Iterator[Path]:
    """Where journals lie: on the disk of the checkout, for /tmp may be memory."""
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=report.ROOT / "tests" / "bench") as folder:
        yield Path(folder)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--cases", type=lambda text: text.split(";"), default=list(CASES))
    parser.add_argument(
        "--peers", type=lambda text: text.split(","), default=[name for name in ROUTING if name != "turnout"]
    )
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS))
    parser.add_argument("--long", type=lambda text: text.split(","), nargs="?", const=list(LONG), default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--no-append", dest="append", action="store_false")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
