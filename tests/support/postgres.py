"""One embedded PostgreSQL for the whole test session, and an empty database for each folder that asks for one.

The server is started by the first test that needs it; tests/conftest.py takes the databases back after each test and
stops the server at the end.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from backends.embedded import EmbeddedPostgres
from backends.postgres_connection import connect


class Databases:
    """The session's server, and which database belongs to which folder now."""

    def __init__(self) -> None:
        self._home: tempfile.TemporaryDirectory[str] | None = None
        self._server: EmbeddedPostgres | None = None
        self._url = ""
        self._made = 0
        self._free: list[str] = []
        self._by_folder: dict[Path, str] = {}

    async def url_for(self, folder: Path) -> str:
        """The database of a folder: the same at each call during one test, empty at the first."""
        if self._server is None:
            self._home = tempfile.TemporaryDirectory(prefix="turnout-test-pg-")
            self._server = EmbeddedPostgres(Path(self._home.name), database="tests")
            self._url = await self._server.start()
        name = self._by_folder.get(folder)
        if name is None:
            name = self._by_folder[folder] = self._free.pop() if self._free else await self._make()
        return self._database(name)

    def take_back(self) -> None:
        """After a test: its databases are emptied for the next ones."""
        if self._by_folder:
            _run(self._empty())

    def stop(self) -> None:
        if self._server is not None:
            _run(self._server.stop())
            self._server = None
        if self._home is not None:
            self._home.cleanup()
            self._home = None

    def _database(self, name: str) -> str:
        return self._url.rpartition("/")[0] + "/" + name

    async def _make(self) -> str:
        self._made += 1
        name = f"test_{self._made}"
        connection = await connect(self._url)
        try:
            await connection.execute(f"create database {name}")
        finally:
            await connection.close()
        return name

    async def _empty(self) -> None:
        while self._by_folder:
            _, name = self._by_folder.popitem()
            connection = await connect(self._database(name))
            try:
                await connection.execute("set lock_timeout = '5s'")
                await connection.execute("drop schema if exists turnout cascade")
            finally:
                await connection.close()
            self._free.append(name)


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Outside any test's event loop, and without becoming the current one."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(work)
    finally:
        loop.close()


DATABASES = Databases()
