"""``python -m tests.bench``: every comparison in one run, printed and appended to docs/benchmarks.md.

--cases "GET 200 B;POST 1 KiB"   only these          --peers nginx,envoy   only these, beside Turnout
--rounds 3 --seconds 3           how long            --no-append           print only
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.bench import report, tools
from tests.bench.forwarding import CASES, compare, prices
from tests.bench.peers import ROUTING
from tests.bench.running import BrokenError


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
    for case in options.cases:
        tell(
            report.routing_tables(
                compare(names, [case], folder, rounds=options.rounds, seconds=options.seconds)
            )
        )
    tell(report.price_table(prices(folder, rounds=options.rounds, seconds=options.seconds)))
    return "\n".join(parts)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--cases", type=lambda text: text.split(";"), default=list(CASES))
    parser.add_argument(
        "--peers", type=lambda text: text.split(","), default=[name for name in ROUTING if name != "turnout"]
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--no-append", dest="append", action="store_false")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
