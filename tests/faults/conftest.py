"""What the fault tests add up to, as the last line of a run; and how many seeded runs there are.

``RUNS`` and ``SEED`` come from the environment (`make faults RUNS=200 SEED=1`).
"""

from __future__ import annotations

import os

import pytest

from tests.support.checker import Verdict, judge, read_state
from tests.support.line import Line
from tests.support.load import Log

RUNS_IN_TEST = 10
"""Of `make test`; `make faults` does more."""


class Tally:
    """All verdicts of a session."""

    def __init__(self) -> None:
        self.runs = 0
        self.total = Verdict()

    def add(self, verdict: Verdict) -> None:
        self.runs += 1
        self.total.acknowledged += verdict.acknowledged
        for name in ("lost", "doubled", "unequal", "unasked"):
            getattr(self.total, name).extend(getattr(verdict, name))

    def __str__(self) -> str:
        total = self.total
        return (
            f"faults: runs {self.runs}, acknowledged writes {total.acknowledged}, lost {len(total.lost)},"
            f" doubled {len(total.doubled)}, unequal keys {len(total.unequal)}, unasked {len(total.unasked)}"
        )


TALLY = pytest.StashKey[Tally]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TALLY] = Tally()


@pytest.fixture
def tally(pytestconfig: pytest.Config) -> Tally:
    """Where a test adds its verdict before it asserts it."""
    return pytestconfig.stash[TALLY]


async def verdict_on(line: Line, log: Log, tally: Tally) -> Verdict:
    """After the lag is 0: what became of the log's writes."""
    await line.open_for_writes()
    await line.settled()
    sides = {name: await read_state(line.session, line.url(name)) for name in ("json", "postgres")}
    verdict = judge(log, sides)
    tally.add(verdict)
    return verdict


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    tally = config.stash[TALLY]
    if tally.runs:
        terminalreporter.write_line(str(tally))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        first = int(os.environ.get("SEED") or 1)
        runs = int(os.environ.get("RUNS") or RUNS_IN_TEST)
        metafunc.parametrize("seed", range(first, first + runs))
