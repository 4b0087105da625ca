"""The embedded server's folder: whose it is now, and what a dead server left in it.

The lock is a flock that every process of the server inherits, so it is free exactly when none of them lives any more.
Only then is a left-behind postmaster.pid removed, which PostgreSQL itself would trust although its pid may be a zombie
or somebody else by now.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import time
from pathlib import Path

from backends.errors import StartError

ORPHANS_TIMEOUT_S = 10.0
"""Processes of a killed server notice that it is gone and end; this long is waited for them."""
POLL_S = 0.02


async def take(folder: Path) -> int:
    """Lock the folder; the descriptor is to be closed in the end. StartError naming the pid of a server that lives on it."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + ORPHANS_TIMEOUT_S
    try:
        holder = await _until_locked(descriptor, folder / "data", deadline)
    except BaseException:
        os.close(descriptor)
        raise
    if holder is None:
        return descriptor
    os.close(descriptor)
    raise _is_taken(folder, holder)


def remove_stale_pid_file(data: Path) -> None:
    """Only with the lock held: no process that we started lives on the folder. One started by hand may: StartError."""
    pid = _recorded_pid(data)
    if pid is not None and _is_at_work_in(pid, data):
        raise _is_taken(data, pid)
    (data / "postmaster.pid").unlink(missing_ok=True)


def password(folder: Path, data: Path) -> str:
    """The password kept in the folder (0600), made where there is no data yet. StartError where data has lost its own."""
    path = folder / "password"
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip()
    if data.exists():
        raise StartError(
            f"{path} is missing, and the database in {data} cannot be opened without it.",
            "Put the file back, or choose another folder.",
        )
    made = secrets.token_urlsafe(24)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(made + "\n")
        file.flush()
        os.fsync(descriptor)
    return made


async def _until_locked(descriptor: int, data: Path, deadline: float) -> int | None:
    """None once it is ours, else the pid that holds it (0: unknown)."""
    while not _is_locked(descriptor):
        pid = _recorded_pid(data)
        if pid is not None and _is_running(pid):
            return pid
        if time.monotonic() > deadline:
            return 0
        await asyncio.sleep(POLL_S)
    return None


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_taken(folder: Path, pid: int) -> StartError:
    owner = f" (process {pid})" if pid else ""
    return StartError(
        f"A PostgreSQL server{owner} is running on {folder} already.", "Stop it, or choose another folder."
    )


def _recorded_pid(data: Path) -> int | None:
    try:
        return int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in ("Z", "X")


def _is_at_work_in(pid: int, data: Path) -> bool:
    """Whether a living process has the data folder as its own: PostgreSQL's do."""
    try:
        return _is_running(pid) and Path(f"/proc/{pid}/cwd").readlink() == data.resolve()
    except OSError:
        return False
