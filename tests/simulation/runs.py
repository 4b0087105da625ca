"""`make simulate SEED=… RUNS=…`: many seeds, resumable; or one, with its trace.

python -m tests.simulation --runs 100000      seeds 0 … 99,999; goes on where it stopped
python -m tests.simulation --seed 330         that one, with its trace
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.simulation.world import Result, run_seed

PROGRESS = Path(".turnout/simulate.json")
BLOCK = 50
TRACE_LINES_MAX = 400


def failure(result: Result) -> str:
    """All that a person needs of a failed seed."""
    seed = result.plan.seed
    traced = run_seed(seed, is_traced=True)
    hidden = max(0, len(traced.trace) - TRACE_LINES_MAX)
    return "\n".join(
        [
            f"seed {seed} failed",
            f"  {result.plan}",
            *([f"  … {hidden} lines before"] if hidden else []),
            *(f"  {line[:400]}" for line in traced.trace[hidden:]),
            *(f"  FAULT {fault}" for fault in result.faults),
            f"  replay: make simulate SEED={seed}",
        ]
    )


def _block(first: int, count: int) -> tuple[list[int], Counter[str]]:
    failed: list[int] = []
    marks: Counter[str] = Counter()
    for seed in range(first, first + count):
        result = run_seed(seed)
        marks += result.marks
        if result.faults:
            failed.append(seed)
    return failed, marks


def _one(arguments: argparse.Namespace) -> int:
    result = run_seed(arguments.seed, is_traced=True)
    if arguments.digest:
        print(hashlib.sha256("\n".join([*result.trace, *result.faults]).encode()).hexdigest())
        return 0
    print(result.plan, *result.trace, sep="\n")
    for fault in result.faults:
        print(f"FAULT {fault}")
    print(f"seed {arguments.seed}: {'FAILED' if result.faults else 'kept every promise'}")
    return bool(result.faults)


def _many(first: int, runs: int, jobs: int, progress: Path | None) -> int:
    state = {"first": first, "runs": runs, "done": 0, "failed": [], "marks": {}, "seconds": 0.0}
    if progress is not None and progress.exists():
        found = json.loads(progress.read_text())
        if (found["first"], found["runs"]) == (first, runs) and found["done"] < runs:
            state = found
            print(f"goes on after {state['done']:,} of {runs:,} runs ({progress})")
    began, before_s = time.monotonic(), float(state["seconds"])
    marks: Counter[str] = Counter(state["marks"])
    for failed, seen in _blocks(first + state["done"], first + runs, jobs):
        state["done"] = min(runs, state["done"] + BLOCK)
        marks += seen
        state["failed"] += failed
        state["marks"] = dict(sorted(marks.items()))
        state["seconds"] = round(before_s + time.monotonic() - began, 1)
        if progress is not None:
            progress.parent.mkdir(exist_ok=True)
            fresh = progress.with_suffix(".new")
            fresh.write_text(json.dumps(state))
            fresh.replace(progress)
            if state["done"] % 1000 == 0 or failed:
                print(f"{state['done']:,} runs, {len(state['failed'])} failed {failed or ''}", flush=True)
    for seed in state["failed"][:3]:
        print(failure(run_seed(seed)))
    print(
        f"{runs:,} runs from seed {first}, {len(state['failed'])} failed: {state['failed'][:20]}; {state['seconds']:.0f} s"
    )
    print(json.dumps(state["marks"]))
    return bool(state["failed"])


def _blocks(first: int, end: int, jobs: int) -> Iterator[tuple[list[int], Counter[str]]]:
    """Results in order of the blocks, so that what is done is always a prefix."""
    blocks = [(seed, min(BLOCK, end - seed)) for seed in range(first, end, BLOCK)]
    if jobs == 1:
        yield from (_block(*block) for block in blocks)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from (pending for pending in pool.imap(_of_block, blocks))


def _of_block(block: tuple[int, int]) -> tuple[list[int], Counter[str]]:
    return _block(*block)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make simulate", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--seed", type=int, default=None, help="the first seed; without --runs that one, with its trace"
    )
    parser.add_argument("--runs", type=int, default=None, help="how many seeds (2000)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--no-progress", action="store_true", help="begin anew, and remember nothing")
    parser.add_argument("--digest", action="store_true", help="only the hash of one seed's trace")
    arguments = parser.parse_args()
    if arguments.seed is not None and arguments.runs is None:
        return _one(arguments)
    progress = None if arguments.no_progress else PROGRESS
    return _many(arguments.seed or 0, arguments.runs or 2000, arguments.jobs, progress)
