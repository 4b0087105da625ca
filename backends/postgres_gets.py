"""Reads of single records, those that wait at the same time in one statement.

A lone read leaves at once. What comes while IN_FLIGHT_MAX statements of a table are under way waits for the next one, and
all that waited go together: many clients cost one round trip, and little more than one client. A read never joins a
statement that has left already, so each sees all that was committed before it was asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from backends import postgres_statements as statements
from backends.postgres_connection import Connection

IN_FLIGHT_MAX = 2
"""Statements of one table at a time."""
RECORDS_MAX = 32
"""Of one statement: a record may have ten MiB."""

Read = Callable[[Callable[[Connection], Awaitable[Any]]], Awaitable[Any]]
"""Runs some work on a connection, again where that was lost."""


class Gets:
    """Owns what waits. ``read`` brings connections, and raises as the store does."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._waiting: dict[str, dict[str, asyncio.Future[Any]]] = {}
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}

    async def get(self, table: str, record_id: str) -> Any:
        """The row, or None."""
        waiting = self._waiting.setdefault(table, {})
        future = waiting.get(record_id)
        if future is None:
            loop = asyncio.get_running_loop()
            future = waiting[record_id] = loop.create_future()
            tasks = self._tasks.setdefault(table, set())
            if len(tasks) < IN_FLIGHT_MAX:
                tasks.add(loop.create_task(self._run(table, waiting, tasks)))
        return await asyncio.shield(future)

    async def _run(
        self, table: str, waiting: dict[str, asyncio.Future[Any]], tasks: set[asyncio.Task[None]]
    ) -> None:
        try:
            await self._serve(statements.get_many(table), waiting)
        finally:
            # In the same step in which nothing waited any more: who comes in the next one must not count on this task.
            tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _serve(self, text: str, waiting: dict[str, asyncio.Future[Any]]) -> None:
        while waiting:
            ids = list(waiting)[:RECORDS_MAX]
            batch = {record_id: waiting.pop(record_id) for record_id in ids}
            try:
                rows = await self._read(lambda connection, ids=ids: connection.fetch(text, ids))
            except asyncio.CancelledError:
                for future in [*batch.values(), *waiting.values()]:
                    future.cancel()
                waiting.clear()
                raise
            except Exception as error:  # noqa: BLE001 - each of those who wait is told
                for future in batch.values():
                    future.set_exception(error)
                    future.exception()  # seen: whoever waited may have left
                continue
            found = {row["id"]: row for row in rows}
            for record_id, future in batch.items():
                future.set_result(found.get(record_id))
