"""Runs the commands that a document shows, in one shell, as a reader would type them.

A fence ```` ```sh tried ```` is run line by line; ``# → text`` behind a command says what its output must hold. One that
says ``sh runs`` has a long-running process in each line; it is started in the background, and is up once it
listens on the ports that its line names. Ports 3000–3003 stand for a free range.
"""

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
"""Where `turnout` is, as installed for the tests."""

LINE_BYTES_MAX = 16 << 20
"""A whole collection is one line of JSON."""

FENCE = re.compile(r"^```sh(?: (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXPECTED = "# → "
LISTENS = re.compile(r"(?:--listen|--admin) \S*?:(\d+)")
COMMAND_S_MAX = 60.0
START_S_MAX = 30.0
STOP_S_MAX = 20.0


@dataclass(frozen=True)
class Step:
    """One line of a document: a command, and what its output must hold."""

    command: str
    expected: str
    line: int


@dataclass(frozen=True)
class Block:
    """One fence: ``kind`` is ``tried``, ``runs``, or empty."""

    kind: str
    steps: tuple[Step, ...]


def blocks(text: str) -> list[Block]:
    """The ``sh`` fences of a document, in order."""
    return [
        Block(found[1] or "", _steps(found[2], text[: found.start(2)].count("\n") + 1))
        for found in FENCE.finditer(text)
    ]


def _steps(body: str, first_line: int) -> tuple[Step, ...]:
    steps: list[Step] = []
    for number, line in enumerate(body.splitlines(), first_line):
        command, _, expected = line.partition(EXPECTED)
        if command.strip():
            steps.append(Step(command.strip(), expected.strip(), number))
    return tuple(steps)


def free_port_base() -> int:
    """The first of four free ports in a row, above those that the kernel hands out for port 0 elsewhere."""
    for base in range(21000 + os.getpid() % 500 * 10, 31000, 10):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(base, base + 4):
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return base
    raise AssertionError("no four free ports in a row")


class Shell:
    """One bash that keeps its variables and background jobs from block to block."""

    def __init__(self, process: asyncio.subprocess.Process, port_base: int) -> None:
        self._process = process
        self._port_base = port_base
        self._count = 0

    async def run(self, block: Block) -> None:
        """Each step must succeed, and show what the document says."""
        for step in block.steps:
            command = at_ports(step.command, self._port_base)
            if block.kind == "runs":
                await self._start(command, step)
            else:
                status, output = await self._say(command)
                where = f"line {step.line}: {step.command}\n{output}"
                assert status == 0, f"{where}\nexit status {status}"
                assert at_ports(step.expected, self._port_base) in output, (
                    f"{where}\nexpected: {step.expected}"
                )

    async def _start(self, command: str, step: Step) -> None:
        status, output = await self._say(f"{command} >job-{step.line}.log 2>&1 &")
        assert status == 0, output
        for port in LISTENS.findall(command):
            status, output = await self._say(_wait_for(int(port), f"job-{step.line}.log"))
            assert status == 0, f"line {step.line}: {step.command} does not listen on {port}\n{output}"

    async def _say(self, command: str) -> tuple[int, str]:
        """(status, what it printed). One line in, everything up to the marker out."""
        self._count += 1
        marker = f"@@{os.getpid()}-{self._count}@@"
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{{ {command}\n}} 2>&1 </dev/null\nprintf '\\n{marker} %s\\n' $?\n".encode())
        await stdin.drain()
        output: list[str] = []
        async with asyncio.timeout(COMMAND_S_MAX):
            while True:
                line = (await stdout.readline()).decode(errors="replace")
                assert line, f"the shell ended: {''.join(output)}"
                if line.startswith(marker):
                    return int(line.split()[1]), "".join(output)
                output.append(line)


def at_ports(text: str, base: int) -> str:
    """With the four documented ports moved to a free range."""
    return re.sub(r"(?<=:)300([0-3])\b", lambda found: str(base + int(found[1])), text)


def _wait_for(port: int, log: str) -> str:
    tries = int(START_S_MAX * 10)
    return (
        f"for i in $(seq {tries}); do (: </dev/tcp/127.0.0.1/{port}) 2>/dev/null && break; "
        f'[ -n "$(jobs -r)" ] || break; sleep 0.1; done; (: </dev/tcp/127.0.0.1/{port}) || {{ tail -20 {log}; false; }}'
    )


@contextlib.asynccontextmanager
async def shell(folder: Path, port_base: int) -> AsyncIterator[Shell]:
    """In ``folder``, with ``turnout`` on the path; whatever it started has ended afterwards."""
    keep = {
        name: value for name, value in os.environ.items() if not name.startswith(("TURNOUT_", "DATA", "DUAL"))
    }
    environment = {
        **keep,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "TURNOUT_ADMIN": f"http://127.0.0.1:{port_base + 1}",
    }
    process = await asyncio.create_subprocess_exec(
        "bash", "--norc", "--noprofile",
        cwd=folder, env=environment, start_new_session=True,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE_BYTES_MAX,
    )  # fmt: skip
    try:
        yield Shell(process, port_base)
        status, _ = await Shell(process, port_base)._say("kill $(jobs -rp) 2>/dev/null; wait; true")
        assert status == 0
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """The shell and all of its session: asked first, then made to."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        if process.stdin is not None:
            process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S_MAX):
                await process.wait()
