"""The tables of a run, as they are printed and appended to docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.catching_up import CatchUp
from tests.bench.forwarding import Row
from tests.bench.idle import CONNECTIONS, Growth, IdleRow
from tests.bench.mirroring import MirrorRow

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"


def heading(versions: dict[str, str], command: str, now: datetime | None = None) -> str:
    """Date, commit, machine, versions: what a figure needs to mean something."""
    when = (now or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC")
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"### {when}, commit {_commit()}\n`{command}` on {_machine()}. Load average at the start {os.getloadavg()[0]:.1f}. {told}.\n"


def routing_table(rows: list[Row], ours: str = "turnout") -> str:
    """One case; the ratios are Turnout's requests per second, CPU and p99 over the peer's."""
    own = next(row for row in rows if row.proxy == ours)
    lines = [
        f"| {own.case} | req/s | p50 ms | p99 ms | CPU µs | Turnout's req/s | its CPU | its p99 |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {row.proxy} | {row.per_second:,.0f} | {row.p50_ms:.2f} | {row.p99_ms:.2f} | {row.cpu_us:.1f} "
        f"| {_ratio(own.per_second, row.per_second)} | {_ratio(own.cpu_us, row.cpu_us)} | {_ratio(own.p99_ms, row.p99_ms)} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def price_table(rows: list[Row]) -> str:
    """Turnout alone; the last column is the share of the first row's rate."""
    lines = [f"| {rows[0].case}, Turnout | req/s | p99 ms | CPU µs | rate |", "|---|--:|--:|--:|--:|"]
    lines += [
        f"| {row.proxy} | {row.per_second:,.0f} | {row.p99_ms:.2f} | {row.cpu_us:.1f} | {row.per_second / rows[0].per_second:.0%} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def mirror_tables(rows: Iterable[MirrorRow], sync: tuple[float, float], ours: str = "turnout") -> str:
    """A table a load. Turnout's answers wait for two syncs of its journal; the others' for none."""
    by_load: dict[tuple[str, int], list[MirrorRow]] = {}
    for row in rows:
        by_load.setdefault((row.method, row.connections), []).append(row)
    texts = [
        f"""Mirrored writes. This disk's own write and fdatasync of 4 KiB: {sync[0]:.2f} ms, p99 {sync[1]:.2f} ms. Turnout's answers
wait for two of its journal's; the others wait for none, and forget a copy that fails.
"""
    ]
    for (method, connections), several in by_load.items():
        own = next(row for row in several if row.proxy == ours)
        lines = [
            f"""| {method} 1 KiB, {connections} connections | writes/s | p50 ms | p99 ms | CPU µs | reached the secondary \
| after s | Turnout's writes/s | its p99 |""",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        ]
        lines += [
            f"| {row.proxy} | {row.per_second:,.0f} | {row.p50_ms:.2f} | {row.p99_ms:.2f} | {row.cpu_us:.1f} | {row.arrived:.3%} "
            f"| {row.settled_s:.1f} | {_ratio(own.per_second, row.per_second)} | {_ratio(own.p99_ms, row.p99_ms)} |"
            for row in several
        ]
        texts.append("\n".join(lines) + "\n")
    return "\n".join(texts)


def idle_table(rows: list[IdleRow]) -> str:
    lines = [f"| {CONNECTIONS:,} idle connections | KiB each | MiB without them |", "|---|--:|--:|"]
    lines += [f"| {row.proxy} | {row.idle_kib:.1f} | {row.base_mib:.1f} |" for row in rows]
    return "\n".join(lines) + "\n"


def growth_table(found: Growth) -> str:
    lines = [
        f"| Turnout under load: {found.case} ({found.per_second:,.0f} req/s), minute | MiB |",
        "|---|--:|",
    ]
    lines += [f"| {minute:g} | {mib:.1f} |" for minute, mib in zip(found.minutes, found.mib, strict=True)]
    return "\n".join(lines) + "\n"


def catch_up_table(found: CatchUp) -> str:
    """What clients notice while a secondary catches up; and whether the expected end was right."""
    lines = [
        f"Catching up {found.keys:,} keys took {found.took_s:.0f} s ({found.keys / found.took_s:,.0f} a second) beside these clients.",
        "",
        "| clients, paced | req/s | quiet p50 ms | p99 | catching up p50 ms | p99 | p99 over quiet |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {row.case} | {row.per_second:,.0f} | {row.quiet_p50_ms:.2f} | {row.quiet_p99_ms:.2f} "
        f"| {row.p50_ms:.2f} | {row.p99_ms:.2f} | {row.ratio:.2f} × |"
        for row in found.rows
    ]
    lines += ["", "| left s, in truth | told by `mirror status` | keys at once |", "|--:|--:|--:|"]
    lines += [f"| {left_s:.0f} | {told_s:.0f} | {at_once:.0f} |" for left_s, told_s, at_once in found.told]
    return "\n".join(lines) + "\n"


def append(text: str, page: Path = PAGE) -> None:
    """The page only grows."""
    with page.open("a", encoding="utf-8") as file:
        file.write("\n" + text.rstrip() + "\n")


def _ratio(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f} ×" if theirs else "–"


def _commit() -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or "unknown"


def _machine() -> str:
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{os.cpu_count()} cores of {model}, Linux {platform.release()}"
