"""Connections to PostgreSQL, with types (asyncpg has none), settings and bounds; and what its errors mean to a store.

The read pool's connections and the writer's are made here alike, so that durability never depends on a server's defaults.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, cast

import asyncpg

from backends.store import StorageFullError, UnavailableError

CONNECT_TIMEOUT_S = 5.0
STATEMENT_TIMEOUT_S = 30.0
"""No statement of the store takes as long; one that does is ended by the server."""
COMMAND_TIMEOUT_S = STATEMENT_TIMEOUT_S + 5
"""For a server that says nothing any more: then the connection is given up."""

SETTINGS = {
    "application_name": "turnout",
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    "statement_timeout": f"{STATEMENT_TIMEOUT_S:.0f}s",
    "idle_in_transaction_session_timeout": "10min",
    "jit": "off",
    "client_min_messages": "warning",
    "search_path": "turnout",
}

LOST_ERRORS = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
"""The connection is gone, or cannot be made now; what ran on it may have been done or not."""


class Connection(Protocol):
    """What is used of an asyncpg connection."""

    async def execute(self, query: str, *args: object) -> str: ...
    async def fetch(self, query: str, *args: object) -> list[Any]: ...
    async def fetchrow(self, query: str, *args: object) -> Any: ...
    async def fetchval(self, query: str, *args: object) -> Any: ...
    def cursor(self, query: str, *args: object, prefetch: int) -> AsyncIterator[Any]: ...
    def transaction(self, *, isolation: str | None = None, readonly: bool = False) -> Any: ...
    def is_closed(self) -> bool: ...
    def terminate(self) -> None: ...
    def get_server_pid(self) -> int: ...
    async def close(self) -> None: ...
    def add_termination_listener(self, callback: Callable[[Any], None]) -> None: ...


class Pool(Protocol):
    """What is used of an asyncpg pool."""

    def acquire(self) -> AbstractAsyncContextManager[Connection]: ...
    async def expire_connections(self) -> None: ...
    async def close(self) -> None: ...
    def terminate(self) -> None: ...


class _Reader(asyncpg.Connection):
    """Reads leave no state in a session, so giving one back to the pool costs no round trip."""

    def get_reset_query(self) -> str:
        return ""


async def connect(url: str, *, timeout_s: float = CONNECT_TIMEOUT_S) -> Connection:
    """One connection, outside the pool. Raises as asyncpg does."""
    options: dict[str, Any] = {
        "timeout": timeout_s,
        "command_timeout": COMMAND_TIMEOUT_S,
        "server_settings": SETTINGS,
    }
    return cast("Connection", await cast("Any", asyncpg).connect(url, **options))


def make_pool(url: str, size_max: int) -> Pool:
    """A pool that makes its first connection when one is asked for; not yet opened (``await open_pool``)."""
    pool: object = asyncpg.create_pool(
        url,
        min_size=0,
        max_size=size_max,
        connection_class=_Reader,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S,
        server_settings=SETTINGS,
    )
    return cast("Pool", pool)


async def open_pool(pool: Pool) -> None:
    """Let the pool belong to this event loop."""
    await cast("Any", pool)


def is_lost(error: BaseException) -> bool:
    """Whether the connection is gone or cannot be made: a read may be tried again on another one."""
    return isinstance(error, LOST_ERRORS)


def translate(error: BaseException) -> Exception:
    """The store's error for one of PostgreSQL's; the same one where it is a fault of ours."""
    if isinstance(error, asyncpg.DiskFullError):
        return StorageFullError(str(error))
    if isinstance(error, LOST_ERRORS):
        return UnavailableError(f"PostgreSQL cannot be reached: {error or type(error).__name__}")
    if isinstance(
        error,
        asyncpg.InsufficientResourcesError
        | asyncpg.QueryCanceledError
        | asyncpg.ReadOnlySQLTransactionError
        | asyncpg.InvalidPasswordError
        | asyncpg.InvalidAuthorizationSpecificationError
        | asyncpg.InvalidCatalogNameError,
    ):
        return UnavailableError(f"PostgreSQL refuses: {error}")
    assert isinstance(error, Exception), "cancellation passes untranslated"
    return error
