"""The bench's own arithmetic: medians, ratios, a page that only grows, and a disturbed measurement that is never a figure."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.bench import load, report
from tests.bench.forwarding import Row, middle
from tests.bench.load import Load, Measured
from tests.bench.mirroring import MirrorRow
from tests.bench.running import BrokenError


def test_one_disturbed_round_changes_nothing():
    rounds = [
        Measured(100, 1.0, 1.0, 2.0, 20.0),
        Measured(10, 1.0, 9.0, 90.0, 70.0),
        Measured(110, 1.0, 1.1, 2.1, 21.0),
    ]
    assert middle("GET", "turnout", rounds) == Row("GET", "turnout", 100.0, 1.1, 2.1, 21.0)


def test_ratios_are_turnouts_figure_over_the_peers():
    rows = [Row("GET", "turnout", 80.0, 1.0, 3.0, 25.0), Row("GET", "nginx", 100.0, 1.0, 2.0, 20.0)]
    assert (
        report.routing_table(rows).splitlines()[-1]
        == "| nginx | 100 | 1.00 | 2.00 | 20.0 | 0.80 × | 1.25 × | 1.50 × |"
    )


def test_each_load_of_the_mirror_has_a_table_whose_rows_fit_its_head():
    rows = [
        MirrorRow("POST", connections, name, 100.0, 1.0, 2.0, 50.0, 0.9876, 0.2)
        for connections in (32, 256)
        for name in ("turnout", "nginx")
    ]
    text = report.mirror_tables(rows, (0.2, 1.0))
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len(tables) == 2 * (2 + 2)
    assert {line.count("|") for line in tables} == {10}
    assert "| 98.760% |" in text


def test_the_page_only_grows(tmp_path: Path):
    page = tmp_path / "benchmarks.md"
    page.write_text("## Runs\n")
    report.append("first\n", page)
    report.append("second\n\n", page)
    assert page.read_text() == "## Runs\n\nfirst\n\nsecond\n"


@pytest.mark.parametrize(
    "told",
    [
        "",
        '@@{"requests":0,"duration_us":1000000,"p50_us":1,"p99_us":2,"broken":0,"wrong":0}',
        '@@{"requests":9,"duration_us":1000000,"p50_us":1,"p99_us":2,"broken":1,"wrong":0}',
        '@@{"requests":9,"duration_us":1000000,"p50_us":1,"p99_us":2,"broken":0,"wrong":2}',
    ],
)
def test_wrong_or_missing_answers_end_the_bench(told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(load, "find", lambda program: program)
    monkeypatch.setattr(
        load.subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(command, 0, stdout=told, stderr=""),
    )
    with pytest.raises(BrokenError):
        load.measure(Load("/"), 1, None, tmp_path, seconds=1)
