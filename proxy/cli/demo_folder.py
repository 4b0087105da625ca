"""The folder of a demo: who uses it, its sample data, its routing.yaml and its secret. Made once, found again."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import socket
import time
from collections.abc import Generator
from pathlib import Path

from proxy.cli.demo_plan import HOST, PORTS, Plan
from proxy.errors import TurnoutError
from proxy.settings.default import default_text

PORT_WAIT_S = 3.0
"""Processes of a demo that was just killed need a moment to let go of their ports."""

PORT_LOOK_S = 0.1

_PACKAGED = Path("assets/data/data.json")


class DemoError(TurnoutError):
    """The demo cannot start: what is in its way."""

    code = "demo"


@contextlib.contextmanager
def locked(folder: Path) -> Generator[None]:
    """Only one demo uses a folder. The lock is the kernel's: it ends with the process. DemoError names the other one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder / "demo.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DemoError(
            f"cannot use the folder {folder}: {error.strerror}", "give another with --dir"
        ) from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise DemoError(
                    f"cannot lock {folder}: {error.strerror}", "give a folder on a local disk with --dir"
                ) from error
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            raise DemoError(
                f"the folder {folder} is in use by process {holder}",
                "stop that demo (Ctrl-C there), or give another folder with --dir and other ports with --port-base",
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def check_ports(plan: Plan) -> None:
    """DemoError names a port that something else listens on."""
    deadline_s = time.monotonic() + PORT_WAIT_S
    while busy := [name for name in PORTS if not _is_free(plan.port(name))]:
        if time.monotonic() >= deadline_s:
            name = busy[0]
            raise DemoError(
                f"port {plan.port(name)} (for {name}) is in use",
                f"stop what listens there, or take other ports: --port-base {_other_base(plan.port_base)}",
            )
        time.sleep(PORT_LOOK_S)


def prepare(plan: Plan, *, is_empty: bool) -> bool:
    """Put into the folder what is not there yet; whether this is its first use."""
    is_first = not (plan.folder / "state").exists()
    plan.log("proxy").parent.mkdir(exist_ok=True)
    try:
        if not plan.data.exists():
            _write(plan.data, b"{}\n" if is_empty else sample_data().read_bytes())
        if not plan.routing.exists():
            _write(plan.routing, default_text().encode())
    except OSError as error:
        raise DemoError(
            f"cannot write into {plan.folder}: {error}", "give another folder with --dir"
        ) from error
    return is_first


def token(folder: Path) -> str:
    """The secret between proxy and servers (docs/protocol.md, T1): made once, readable by its owner only."""
    file = folder / "mirror-token"
    with contextlib.suppress(FileNotFoundError):
        if found := file.read_text(encoding="ascii").strip():
            return found
    made = secrets.token_urlsafe(32)
    _write(file, f"{made}\n".encode(), mode=0o600)
    return made


def sample_data() -> Path:
    """The sample data: from the installed package, or from a checkout."""
    import backends

    package = Path(backends.__file__).parent
    for found in (package / _PACKAGED, package.parent / _PACKAGED):
        if found.exists():
            return found
    raise DemoError("the sample data is not installed", "install turnout anew, or start with --empty")


def _write(file: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Whole or not at all: a start that is stopped half way leaves nothing that looks finished."""
    part = file.with_name(f".{file.name}.part")
    part.unlink(missing_ok=True)
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    part.replace(file)


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections are still ending may be listened on.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _other_base(base: int) -> int:
    return base + 1000 if base + 1000 < 60000 else 4000
