"""Connections to PostgreSQL, with types (asyncpg has none), settings and bounds; and what its errors mean to a store.

The read pool's connections and the writer's are made here alike, so that durability never depends on a server's defaults.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, cast

import asyncpg

from backends.store import StorageFullError, UnavailableError

CONNECT_TIMEOUT_S = 5.0
STATEMENT_TIMEOUT_S = 30.0
"""No statement of the store takes as long; one that does is ended by the server."""
COMMAND_TIMEOUT_S = STATEMENT_TIMEOUT_S + 5
"""For a server that says nothing any more: then the connection is given up."""
STATEMENTS_KEPT = 500
"""Prepared statements of the writer: one for each set of tables that a batch touches."""

SETTINGS = {
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    "statement_timeout": f"{STATEMENT_TIMEOUT_S:.0f}s",
    "idle_in_transaction_session_timeout": "10min",
    "jit": "off",
    "client_min_messages": "warning",
    "search_path": "turnout",
    # A prepared plan lives long, and one made while a table was small must not read it whole once it is large.
    "enable_seqscan": "off",
    # A session whose process or network is gone ends soon, and with it its right to write.
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
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
"""The connection is gone, or cannot be made now; what ran on it may have been done or not. (asyncpg raises an
InterfaceError that is a ValueError for a wrong URL: that one is not meant.)"""


class Connection(Protocol):
    """What is used of an asyncpg connection."""

    async def execute(self, query: str, *args: object) -> str: ...
    async def fetch(self, query: str, *args: object) -> list[Any]: ...
    async def fetchrow(self, query: str, *args: object, timeout: float | None = None) -> Any: ...  # noqa: ASYNC109 - asyncpg's own
    async def fetchval(self, query: str, *args: object) -> Any: ...
    def cursor(self, query: str, *args: object) -> Any: ...
    def transaction(self, *, isolation: str | None = None, readonly: bool = False) -> Any: ...
    def is_closed(self) -> bool: ...
    def terminate(self) -> None: ...
    async def close(self) -> None: ...


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


async def connect(url: str, *, name: str = "turnout") -> Connection:
    """One connection, outside the pool, under a name that pg_stat_activity shows. Raises as asyncpg does."""
    options: dict[str, Any] = {
        "timeout": CONNECT_TIMEOUT_S,
        "command_timeout": COMMAND_TIMEOUT_S,
        "statement_cache_size": STATEMENTS_KEPT,
        "max_cacheable_statement_size": 0,
        "server_settings": {
            **SETTINGS,
            "application_name": name,
            "plan_cache_mode": "force_generic_plan",
        },
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
        server_settings={**SETTINGS, "application_name": "turnout reads"},
    )
    return cast("Pool", pool)


async def open_pool(pool: Pool) -> None:
    """Let the pool belong to this event loop."""
    await cast("Any", pool)


def is_lost(error: BaseException) -> bool:
    """Whether the connection is gone or cannot be made: a read may be tried again on another one."""
    return isinstance(error, LOST_ERRORS) and not isinstance(error, ValueError)


def translate(error: BaseException) -> Exception:
    """The store's error for one of PostgreSQL's; the same one where it is a fault of ours."""
    if isinstance(error, asyncpg.DiskFullError):
        return StorageFullError(str(error))
    if is_lost(error):
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
