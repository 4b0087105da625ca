"""``python -m tests.bench.stores``: both reference servers beside json-server, and the Postgres one beside bare asyncpg.

One run, printed and appended to docs/benchmarks.md. json-server comes from npm into a folder outside the repository.

--rounds 3 --seconds 3   how long          --no-append   print only
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench import report, tools
from tests.bench.load import Load, Measured, measure
from tests.bench.running import LOAD_CORE, PROXY_CORE, BrokenError, Running, free_ports, running

SIZES = (100, 10_000, 100_000)
VERSIONS = {"json-server 1.x": "1.0.0-beta.3", "json-server 0.17": "0.17.4"}
NPM = Path(tempfile.gettempdir()) / "turnout-bench-json-server"
OURS = "turnout json"
READERS, LISTERS, WRITERS = 16, 1, 2
"""Connections. A write of json-server takes 700 ms at 100,000 records: with more, wrk would give up waiting."""
POSTS = 3
"""Writes are measured this many times as long: our server writes data.json anew between them, now and then."""
SLOW = 6
"""json-server's writes and lists at the largest size are measured this many times as long: else there are none to count."""

GET, LIST, POST = "GET by id", "filtered, sorted, paged list", "POST"


ABOUT = (
    "**Servers**: both reference servers beside json-server, and the PostgreSQL one beside asyncpg alone"
    " (`make bench-servers`).\n"
)


@dataclass(frozen=True, slots=True)
class Kind:
    """How one server names what is asked of all."""

    prefix: str
    listing: str


KINDS = {
    OURS: Kind("/api", "author=bob&_sort=-price&_page=3&_per_page=20"),
    "json-server 1.x": Kind("", "author=bob&_sort=-price&_page=3&_per_page=20"),
    "json-server 0.17": Kind("", "author=bob&_sort=price&_order=desc&_page=3&_limit=20"),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.stores", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--no-append", dest="append", action="store_false")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.sched_setaffinity(
        0, {LOAD_CORE}
    )  # and PostgreSQL with it: the server under measurement has a core to itself
    try:
        programs = {name: json_server(name) for name in VERSIONS}
        with tempfile.TemporaryDirectory(prefix="turnout-bench-") as folder:
            text = run(Path(folder), programs, options.rounds, options.seconds)
    except (tools.MissingError, BrokenError) as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.append:
        report.append(text)
    return 0


def json_server(name: str) -> Path:
    """The program, installed where it is missing."""
    folder = NPM / VERSIONS[name]
    program = folder / "node_modules" / ".bin" / "json-server"
    if not program.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise tools.MissingError("npm is not here: apt-get install npm")
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), f"json-server@{VERSIONS[name]}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise tools.MissingError(f"npm could not install json-server: {done.stderr[-400:]}")
    return program


def run(folder: Path, programs: dict[str, Path], rounds: int, seconds: float) -> str:
    parts: list[str] = []

    def tell(text: str) -> None:
        parts.append(text)
        print(text, flush=True)

    versions = {**VERSIONS, "python": sys.version.split()[0], "node": _node()}
    tell(report.heading(versions, " ".join(["python -m tests.bench.stores", *sys.argv[1:]])))
    tell(ABOUT)
    own_posts: dict[int, Measured] = {}
    for size in SIZES:
        rows, posts, memory = beside_json_server(folder / str(size), programs, size, rounds, seconds)
        own_posts[size] = posts
        tell(rows)
        if size == SIZES[-1]:
            tell(memory)
    ratio = own_posts[SIZES[-1]].cpu_us / own_posts[SIZES[0]].cpu_us
    rate = own_posts[SIZES[-1]].per_second / own_posts[SIZES[0]].per_second
    tell(
        f"Our POST at {SIZES[-1]:,} records beside our own at {SIZES[0]}: {rate:.2f} × the rate, {ratio:.2f} × the CPU.\n"
    )
    tell(asyncio.run(beside_asyncpg(folder / "postgres", rounds, seconds)))
    return "\n".join(parts)


def _is_slow(what: str, name: str, size: int) -> bool:
    return what != GET and name != OURS and size == SIZES[-1]


def records(size: int) -> list[dict[str, object]]:
    dice = random.Random(1)
    return [
        {
            "id": number,
            "title": f"post {number}",
            "author": dice.choice(["ann", "bob", "cat", "dan"]),
            "price": dice.randint(1, 10_000) / 100,
            "stock": dice.randint(0, 500),
            "tags": dice.sample(["a", "b", "c", "d", "e"], 2),
            "text": "x" * 80,
        }
        for number in range(1, size + 1)
    ]


def loads(kind: Kind, size: int) -> dict[str, Load]:
    path = f"{kind.prefix}/posts"
    anywhere = f'request = function() return wrk.format(nil, "{path}/" .. math.random(1, {size})) end'
    body = json.dumps({"title": "hello", "author": "ann", "price": 1.5, "text": "x" * 80})
    return {
        GET: Load(f"{path}/1", connections=READERS, script=anywhere),
        LIST: Load(f"{path}?{kind.listing}", connections=LISTERS),
        POST: Load(path, "POST", {"Content-Type": "application/json"}, body, connections=WRITERS),
    }


def beside_json_server(
    folder: Path, programs: dict[str, Path], size: int, rounds: int, seconds: float
) -> tuple[str, Measured, str]:
    """A table of one size, our own POST, and what memory each server needs for the file."""
    content = json.dumps({"posts": records(size)})
    with ExitStack() as stack:
        started: dict[str, tuple[Running, int]] = {}
        for name in KINDS:
            place = folder / name.replace(" ", "-")
            place.mkdir(parents=True)
            (place / "data.json").write_text(content)
            (port,) = free_ports(1)
            command = (
                _serve_json(port) if name == OURS else [str(programs[name]), "data.json", "--port", str(port)]
            )
            if name == "json-server 0.17":
                command.append("--quiet")
            one = running(
                name.replace(" ", "-"),
                command,
                core=PROXY_CORE,
                ports=[port],
                folder=place,
                environment=_path(),
            )
            started[name] = (stack.enter_context(one), port)
        _await_answers(started, listing=False)
        memory = {name: one.memory_bytes() / len(content) for name, (one, _) in started.items()}
        _await_answers(started, listing=True)
        found = {
            (what, name): _median(
                lambda name=name, what=what: measure(
                    loads(KINDS[name], size)[what],
                    started[name][1],
                    started[name][0],
                    folder,
                    seconds=seconds * (SLOW if _is_slow(what, name, size) else POSTS if what == POST else 1),
                ),
                rounds if what != POST and not _is_slow(what, name, size) else 1,
            )
            for what in (GET, LIST, POST)
            for name in KINDS
        }
    lines = [
        f"| {size:,} records | server | req/s | p99 ms | CPU µs | Turnout's req/s | its CPU |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for (what, name), row in found.items():
        own = found[what, OURS]
        lines.append(
            f"| {what} | {name} | {row.per_second:,.0f} | {row.p99_ms:,.1f} | {row.cpu_us:,.0f} "
            f"| {own.per_second / row.per_second:.1f} × | {own.cpu_us / row.cpu_us:.2f} × |"
        )
    told = ", ".join(f"{name} {ratio:.1f} ×" for name, ratio in memory.items())
    return (
        "\n".join(lines) + "\n",
        found[POST, OURS],
        f"Memory after the start, of the file's {len(content):,} bytes: {told}.\n",
    )


async def beside_asyncpg(folder: Path, rounds: int, seconds: float) -> str:
    """GET by id over HTTP beside asyncpg alone, 16 at a time, on the same PostgreSQL and table."""
    from backends.embedded import EmbeddedPostgres

    size = 10_000
    folder.mkdir(parents=True)
    async with EmbeddedPostgres(folder / "pg", database="bench") as server:
        url = server.url
        (port,) = free_ports(1)
        command = [
            sys.executable, "-m", "proxy.cli.main", "serve", "postgres", "--database-url", url,
            "--listen", f"127.0.0.1:{port}",
        ]  # fmt: skip
        with running(
            "turnout-postgres", command, core=PROXY_CORE, ports=[port], folder=folder, environment=_path()
        ) as one:
            await asyncio.to_thread(_fill, port, size)
            http = await asyncio.to_thread(
                _median,
                lambda: measure(loads(KINDS[OURS], size)[GET], port, one, folder, seconds=seconds),
                rounds,
            )
        bare = [await _bare(url, size, seconds) for _ in range(rounds)]
    rate = median(rate for rate, _ in bare)
    cpu_us = median(cpu for _, cpu in bare)
    return (
        f"| PostgreSQL, {size:,} records, GET by id | req/s | CPU µs |\n|---|--:|--:|\n"
        f"| turnout postgres | {http.per_second:,.0f} | {http.cpu_us:,.0f} |\n"
        f"| asyncpg alone, no HTTP | {rate:,.0f} | {cpu_us:,.0f} |\n"
        f"| ratio | {http.per_second / rate:.2f} × | {http.cpu_us / cpu_us:.2f} × |\n"
    )


async def _bare(url: str, size: int, seconds: float) -> tuple[float, float]:
    """(reads a second, CPU µs a read) of tests/bench/bare_asyncpg.py on the servers' core."""
    command = [
        tools.find("taskset"), "-c", str(PROXY_CORE),
        sys.executable, "-m", "tests.bench.bare_asyncpg", url, str(size), str(seconds), str(READERS),
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env={**os.environ, **_path()}
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise BrokenError("asyncpg alone failed")
    told = json.loads(output)
    return told["per_second"], told["cpu_us"]


def _fill(port: int, size: int) -> None:
    rows = records(size)
    for start in range(0, size, 2000):
        lines = b"".join(
            json.dumps({"id": str(row["id"]), "body": row, "at": 1}).encode() + b"\n"
            for row in rows[start : start + 2000]
        )
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/_turnout/apply?collection=posts", data=lines, method="POST"
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            if json.load(reply)["applied"] != len(rows[start : start + 2000]):
                raise BrokenError("the records were not taken")


def _median(look: Callable[[], Measured], rounds: int) -> Measured:
    """Each figure's median by itself."""
    several = [look() for _ in range(rounds)]
    return Measured(
        int(median(one.requests for one in several)),
        median(one.seconds for one in several),
        median(one.p50_ms for one in several),
        median(one.p99_ms for one in several),
        median(one.cpu_us for one in several),
    )


def _await_answers(started: dict[str, tuple[Running, int]], *, listing: bool) -> None:
    """A port that accepts may belong to a server that still reads its file. The list too: ours builds its columns at the first."""
    for name, (one, port) in started.items():
        deadline_s = time.monotonic() + 60
        while True:
            one.check_alive()
            try:
                target = f"posts?{KINDS[name].listing}" if listing else "posts/1"
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{port}{KINDS[name].prefix}/{target}", timeout=30
                ):
                    break
            except OSError:
                if time.monotonic() > deadline_s:
                    raise BrokenError(f"{name} does not answer:\n{one.tail()}") from None
                time.sleep(0.1)


def _serve_json(port: int) -> list[str]:
    words: Sequence[str] = ("serve", "json", "--data", "data.json", "--listen", f"127.0.0.1:{port}")
    return [sys.executable, "-m", "proxy.cli.main", *words]


def _path() -> dict[str, str]:
    return {"PYTHONPATH": str(report.ROOT)}


def _node() -> str:
    return subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
