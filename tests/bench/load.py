"""Load from wrk: one thread on the load's core; what it counted, as data."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.running import LOAD_CORE, BrokenError, Running
from tests.bench.tools import find

_DONE = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\n@@{"requests":%d,"duration_us":%d,"p50_us":%.0f,"p99_us":%.0f,"broken":%d,"wrong":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.timeout, e.status))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of request. ``script`` is Lua for wrk, run before anything else."""

    path: str
    method: str = "GET"
    headers: Mapping[str, str] | None = None
    body: str = ""
    connections: int = 32
    script: str = ""
    pause_ms: int = 0
    """Each connection waits up to twice this before each request, so that all proxies get the same load."""

    def lua(self) -> str:
        lines = [f"wrk.method = {_text(self.method)}"]
        lines += [
            f"wrk.headers[{_text(name)}] = {_text(value)}" for name, value in (self.headers or {}).items()
        ]
        if self.body:
            lines.append(f"wrk.body = {_text(self.body)}")
        if self.pause_ms:
            lines.append(f"delay = function() return math.random(0, {2 * self.pause_ms}) end")
        return "\n".join([*lines, self.script, _DONE])


@dataclass(frozen=True, slots=True)
class Measured:
    """One round of one proxy."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Of the proxy, for one request."""

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def measure(load: Load, port: int, proxy: Running | None, folder: Path, *, seconds: float) -> Measured:
    """Load for ``seconds``. BrokenError where an answer was wrong or missing: such a figure would mean nothing."""
    script = folder / "load.lua"
    script.write_text(load.lua())
    command: Sequence[str] = (
        find("taskset"), "-c", str(LOAD_CORE), find("wrk"), "-t1", f"-c{load.connections}", f"-d{seconds:g}s",
        "--timeout", "10s", "-s", str(script), f"http://127.0.0.1:{port}{load.path}",
    )  # fmt: skip
    before_s = proxy.cpu_s() if proxy is not None else 0.0
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 30)
    after_s = proxy.cpu_s() if proxy is not None else 0.0
    name = proxy.name if proxy is not None else "the upstream itself"
    line = next((line for line in done.stdout.splitlines() if line.startswith("@@")), None)
    if line is None:
        raise BrokenError(f"wrk against {name} failed:\n{done.stdout}\n{done.stderr}")
    told = json.loads(line[2:])
    if told["broken"] or told["wrong"] or not told["requests"]:
        raise BrokenError(
            f"{name}, {load.method} {load.path}: of {told['requests']} answers {told['wrong']} were wrong, {told['broken']} broken off"
            + (f"\n{proxy.tail()}" if proxy is not None else "")
        )
    return Measured(
        told["requests"],
        told["duration_us"] / 1e6,
        told["p50_us"] / 1e3,
        told["p99_us"] / 1e3,
        (after_s - before_s) / told["requests"] * 1e6,
    )


def _text(value: str) -> str:
    return json.dumps(value)
