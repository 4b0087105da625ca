"""The one connection that writes, and the right to: a database belongs to one server process at a time.

The right is an advisory lock held by the writing connection itself. PostgreSQL frees it when that session has ended, its
last commit done or undone; so whoever holds it knows that no earlier write can still arrive, and may believe what it
reads. Every connection made here therefore reads the ledger anew.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import socket
import time
from importlib import resources

import asyncpg
import structlog

from backends import postgres_statements as statements
from backends.errors import StartError
from backends.postgres_connection import Connection, connect
from backends.postgres_ledger import Ledger, Shelf
from backends.store import Role

LOCK = 0x7475726E6F7574
"""The advisory lock's key: "turnout"."""
PATIENCE_S = 5.0
"""How long a session that is about to end (its process was killed) is waited for."""
POLL_S = 0.02

HOLDER = (
    "select l.pid, coalesce(a.application_name, '') as name from pg_locks l left join pg_stat_activity a on a.pid = l.pid"
    " where l.locktype = 'advisory' and l.granted and l.database = (select oid from pg_database where datname ="
    " current_database()) and ((l.classid::bigint << 32) | l.objid::bigint) = $1 and l.objsubid = 1"
)

_FILE = re.compile(r"([0-9]{3})_[a-z0-9_]+\.sql\Z")
_log = structlog.stdlib.get_logger("backends.postgres")


class TakenError(Exception):
    """Another server process writes to this database; the message names it."""


class Owner:
    """Makes the writing connection, again after it was lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._name = f"turnout {os.getpid()}@{socket.gethostname()[:30]} {secrets.token_hex(4)}"

    async def take(self) -> tuple[Connection, Ledger]:
        """A connection that alone may write, the schema brought up to date, and all that it knows.

        TakenError where another process has the right, StartError for a schema from the future, else as asyncpg does.
        """
        connection = await connect(self._url, name=self._name)
        try:
            await self._lock(connection)
            await _migrate(connection)
            return connection, await _load(connection)
        except BaseException:
            connection.terminate()
            raise

    async def _lock(self, connection: Connection) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not await connection.fetchval("select pg_try_advisory_lock($1)", LOCK):
            holder = await connection.fetchrow(HOLDER, LOCK)
            if holder is not None and holder["name"] == self._name:
                # our own lost session: what it was committing is decided once it has ended
                await connection.fetchval("select pg_terminate_backend($1)", holder["pid"])
            elif holder is not None and time.monotonic() > deadline:
                raise TakenError(
                    f"this database is written by another server already: {holder['name'] or 'unknown'}"
                    f" (PostgreSQL session {holder['pid']})"
                )
            await asyncio.sleep(POLL_S)


async def _migrate(connection: Connection) -> None:
    """Bring the schema up to date, one transaction a step."""
    await connection.execute("create schema if not exists turnout")
    await connection.execute(
        "create table if not exists migrations"
        " (number integer primary key, name text not null, applied_at timestamptz not null default now())"
    )
    applied: set[int] = {
        record["number"] for record in await connection.fetch("select number from migrations")
    }
    known = migrations()
    future = applied - set(known)
    if future:
        raise StartError(
            f"This database was made by a newer version (its schema has step {max(future)}).",
            "Start that version, or choose another database.",
        )
    for number in sorted(set(known) - applied):
        name, text = known[number]
        async with connection.transaction():
            await connection.execute(text)
            await connection.execute("insert into migrations (number, name) values ($1, $2)", number, name)
        _log.info("schema_migrated", step=name)


def migrations() -> dict[int, tuple[str, str]]:
    """The steps in backends/sql: number → (file name, text)."""
    steps: dict[int, tuple[str, str]] = {}
    for file in (resources.files("backends") / "sql").iterdir():
        found = _FILE.match(file.name)
        if found is not None:
            steps[int(found[1])] = (file.name, file.read_text(encoding="utf-8"))
    return steps


async def _load(connection: Connection) -> Ledger:
    meta = await connection.fetchrow(statements.LOAD_META)
    ledger = Ledger(
        number=meta["number"],
        newest=meta["newest"],
        arrival=meta["arrival"],
        lowest_open=meta["lowest_open"],
        epoch=meta["epoch"],
        role=Role(meta["role"]),
        journal=meta["journal"],
    )
    for record in await connection.fetch(statements.LOAD_SHELVES):
        ledger.shelves[record["name"]] = Shelf(
            record["name"],
            record["slot"],
            record["table_name"],
            record["counter"],
            record["floor"],
            record["live"],
            record["odd"],
        )
    for record in await connection.fetch(statements.LOAD_REQUESTS, ledger.lowest_open):
        ledger.requests[record["id"]] = statements.done_of(record)
    return ledger


START_ERRORS = (OSError, asyncio.TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, TakenError)
"""Why a first connection can fail, to be told to the person who starts the server."""
