"""P3, P4 and P5 over 2,000 seeds of the simulated world, and the world's own honesty."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.runs import failure
from tests.simulation.world import run_seed

SEEDS = 2000
JOBS = 2
KEPT = Path(__file__).with_name("seeds.txt")


def _simulate(*arguments: str, **env: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.Popen(
        command, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.slow
def test_p3_p4_p5_hold_under_every_fault_that_two_thousand_seeds_make() -> None:
    share = SEEDS // JOBS
    runs = [
        _simulate("--seed", str(number * share), "--runs", str(share), "--jobs", "1", "--no-progress")
        for number in range(JOBS)
    ]
    told = [run.communicate(timeout=600)[0] for run in runs]
    failed = [text for run, text in zip(runs, told, strict=True) if run.returncode != 0]
    assert not failed, "\n".join(failed)


@pytest.mark.slow
def test_p3_p4_p5_hold_on_each_seed_that_failed_once() -> None:
    for line in KEPT.read_text().splitlines():
        seed = line.partition("#")[0].strip()
        if seed:
            result = run_seed(int(seed))
            assert not result.faults, failure(result)


@pytest.mark.slow
def test_many_seeds_are_shared_by_several_processes() -> None:
    told = _simulate("--seed", "0", "--runs", "4", "--jobs", "2", "--no-progress").communicate(timeout=120)[0]
    assert "4 runs from seed 0, 0 failed" in told


@pytest.mark.slow
def test_one_seed_gives_one_trace_in_any_process() -> None:
    runs = [_simulate("--seed", "7", "--digest", PYTHONHASHSEED=salt) for salt in ("0", "1")]
    first, second = [run.communicate(timeout=60)[0] for run in runs]
    assert first == second


@pytest.mark.slow
def test_the_runs_contain_what_they_are_there_for() -> None:
    marks: Counter[str] = Counter()
    for seed in range(60):
        marks += run_seed(seed).marks
    for wanted in (
        "replay", "repair", "/_turnout/void", "kill proxy", "kill json", "kill postgres", "validate equal", "switch done",
        "writes acknowledged", "reads by json", "reads by postgres",
    ):  # fmt: skip
        assert marks[wanted] > 0, f"no {wanted} in 60 runs: {marks}"
