"""The PostgreSQL store: a table a collection, one writer that commits in batches, reads over a pool.

Joins the parts: postgres_owner (who may write), postgres_writer (the queue and its batches), postgres_batch and
postgres_operations (what a change makes of what is there; pure), postgres_statements (the SQL).

Pushed down to PostgreSQL are single records, windows of the order of creation and their count. A list with filters, a
search, a sort or ``after`` streams the collection in the order of creation through backends.query in bounded steps
(what certainly does not match is left out in SQL: see postgres_query), so that both stores answer alike.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import asyncpg

from backends import postgres_alone as alone
from backends import postgres_query
from backends import postgres_statements as statements
from backends.errors import StartError
from backends.postgres_batch import Batch
from backends.postgres_connection import Connection, Pool, is_lost, make_pool, open_pool, translate
from backends.postgres_gets import Gets
from backends.postgres_operations import Apply, Change, KeepAnswers, Look, Void
from backends.postgres_owner import Owner, TakenError
from backends.postgres_writer import Writer
from backends.query import Query, Selection
from backends.steady import STEADY
from backends.store import (
    Answer,
    Applied,
    ApplyLine,
    Changed,
    Decide,
    Done,
    Epoch,
    EpochState,
    Idempotency,
    KeptAnswer,
    Page,
    RequestId,
    Role,
    State,
    UnavailableError,
)

POOL_MAX = 16
ROWS_A_STEP = 500
"""Rows of a stream that are fetched and looked at before other requests go on."""
READ_PATIENCE_S = 8.0
"""How long a read waits for a PostgreSQL that is being restarted; below the ten seconds after which the mirror gives up."""
READ_RETRY_S = 0.05
READ_RETRY_S_MAX = 0.5
HEALTH_TIMEOUT_S = 2.0
CLOSE_TIMEOUT_S = 5.0

T = TypeVar("T")


class PostgresStore:
    """A backends.store.Store over one PostgreSQL database. Made by :meth:`open`."""

    def __init__(self, pool: Pool, writer: Writer, wall: Callable[[], float]) -> None:
        self._pool = pool
        self._writer = writer
        self._wall = wall
        self._gets = Gets(self._read)
        self._running_keys: set[str] = set()
        """Idempotency-Keys whose first request is still being executed."""

    @classmethod
    async def open(
        cls, url: str, *, pool_max: int = POOL_MAX, wall: Callable[[], float] = STEADY
    ) -> PostgresStore:
        """Take the database, bring its schema up to date, and serve it. ``wall`` is seconds since 1970, for what expires.

        StartError says why not: it cannot be reached, another server writes to it, it may not be written to.
        """
        owner = Owner(url)
        try:
            connection, ledger = await owner.take()
        except TakenError as error:
            raise StartError(
                f"PostgreSQL: {error}.", "Stop that server, or choose another database (--database-url)."
            ) from None
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise StartError(
                f"PostgreSQL cannot be used: {error or type(error).__name__}.",
                "Look at DATABASE_URL (postgresql://user:password@host:port/database) and whether the server runs.",
            ) from error
        pool = make_pool(url, pool_max)
        await open_pool(pool)
        return cls(pool, Writer(owner, connection, ledger, wall), wall)

    async def close(self) -> None:
        """End what runs, and let the database go."""
        await self._writer.close()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._pool.close()
        except Exception as error:
            self._pool.terminate()
            if not is_lost(error):
                raise

    async def healthy(self) -> bool:
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                await self._writer.ask(Look(lambda _batch: None))
                await self._read(lambda connection: connection.fetchval("select 1"))
        except (UnavailableError, TimeoutError):
            return False
        return True

    # reads

    async def get(self, collection: str, record_id: str) -> tuple[State, int]:
        ledger = self._writer.ledger
        watermark, floor, table = ledger.number, ledger.floor(collection), ledger.table(collection)
        row = None
        if table is not None:
            row = await self._gets.get(table, record_id)
        if row is None:
            return State(None, None, floor), watermark
        body: str | None = row["body"]
        state = State(None if body is None else body.encode(), row["version"], max(row["at"], floor))
        return state, watermark

    async def page(self, collection: str, query: Query) -> Page:
        table = self._writer.ledger.table(collection)
        if table is None:
            selection = Selection(query)
            bodies, total = selection.page()
            return Page(bodies, total)
        if query.is_plain:
            text = statements.page(table)
            row = await self._read(
                lambda connection: connection.fetchrow(text, query.offset, query.limit, collection)
            )
            return Page([body.encode() for body in row["bodies"]], row["total"])
        return await self._read(lambda connection: self._select(connection, table, query))

    async def scan(self, collection: str) -> AsyncIterator[tuple[str, bytes]]:
        """A stream of one moment. It keeps a connection until its end; one that is cut raises UnavailableError."""
        table = self._writer.ledger.table(collection)
        if table is None:
            return
        try:
            async with (
                self._pool.acquire() as connection,
                aclosing(_stream(connection, statements.everything(table))) as steps,
            ):
                async for rows in steps:
                    for row in rows:
                        yield row["id"], row["body"].encode()
        except Exception as error:
            failure = translate(error)
            if failure is error:
                raise
            raise failure from error

    async def answers(self, key: str | None, after: str) -> tuple[Sequence[KeptAnswer], bool]:
        text = statements.answers_page(of_key=key is not None)
        arguments: list[object] = [after, int(self._wall() * 1000), *([] if key is None else [key])]
        rows = await self._read(lambda connection: connection.fetch(text, *arguments))
        return [statements.kept_of(row) for row in rows], bool(rows) and rows[0]["found"] > len(rows)

    async def collections(self) -> Mapping[str, int]:
        return await self._writer.ask(Look(_counts))

    async def epoch(self) -> EpochState:
        """Known without asking while the writing connection, and with it the right to write, is held."""
        if self._writer.is_owner:
            return self._writer.ledger.epoch_state()
        return await self._writer.ask(Look(lambda batch: batch.ledger.epoch_state()))

    async def checkpoint(self) -> int:
        return await self._writer.ask(Look(lambda batch: batch.ledger.number))

    # changes

    async def change(
        self,
        collection: str,
        record_id: str | None,
        decide: Decide,
        *,
        epoch: Epoch | None = None,
        request: RequestId | None = None,
        idempotency: Idempotency | None = None,
        answer: Callable[[Changed], Answer] | None = None,
    ) -> Changed | Answer:
        key = None if idempotency is None or idempotency.only_kept else idempotency.key
        is_second = key in self._running_keys
        change = Change(
            collection,
            record_id,
            decide,
            epoch,
            request,
            idempotency,
            answer,
            is_second,
            os.urandom(10) if record_id is None else b"",
        )
        if key is None or is_second:
            return await self._writer.ask(change)
        self._running_keys.add(key)
        try:
            return await self._writer.ask(change)
        finally:
            self._running_keys.discard(key)

    async def void(self, epoch: Epoch | None, request_id: int) -> Done | None:
        return await self._writer.ask(Void(epoch, request_id))

    async def announce(
        self, epoch: int, role: Role, journal: str, counters: Mapping[str, int], *, adopt: bool
    ) -> EpochState:
        return await self._writer.alone(alone.announcement(epoch, role, journal, counters, adopt=adopt))

    async def apply(self, epoch: Epoch | None, collection: str, lines: Sequence[ApplyLine]) -> Applied:
        return await self._writer.ask(Apply(epoch, collection, lines))

    async def keep_answers(self, epoch: Epoch | None, answers: Sequence[KeptAnswer]) -> int:
        return await self._writer.ask(KeepAnswers(epoch, answers))

    async def raise_floor(self, epoch: Epoch | None, collection: str, at: int) -> int:
        return await self._writer.alone(alone.sweep(epoch, collection, at))

    # helpers

    async def _select(self, connection: Connection, table: str, query: Query) -> Page:
        selection = Selection(query)
        condition, arguments = postgres_query.candidates(query)
        text = statements.in_order(table, condition)
        async with aclosing(_stream(connection, text, *arguments)) as steps:
            async for rows in steps:
                for row in rows:
                    selection.add(row["body"].encode())
        bodies, total = selection.page()
        return Page(bodies, total)

    async def _read(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Read; again over a fresh connection where the old one was cut, waiting a little for a server that restarts.

        A server that says nothing (a time-out) is asked twice only: that takes longer than a restart.
        """
        deadline = time.monotonic() + READ_PATIENCE_S
        pause_s, attempts = READ_RETRY_S, 0
        while True:
            attempts += 1
            try:
                async with self._pool.acquire() as connection:
                    return await work(connection)
            except Exception as error:
                failure = translate(error)
                if failure is error:
                    raise
                is_silent = isinstance(error, TimeoutError) and attempts > 1
                if not is_lost(error) or is_silent or time.monotonic() > deadline:
                    raise failure from error
                if attempts == 1:
                    await self._pool.expire_connections()
                else:
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, READ_RETRY_S_MAX)


async def _stream(connection: Connection, text: str, *arguments: object) -> AsyncGenerator[Sequence[Any]]:
    """The rows of a statement in steps, all of one moment."""
    async with connection.transaction(readonly=True):
        cursor = await connection.cursor(text, *arguments)
        while rows := await cursor.fetch(ROWS_A_STEP):
            yield rows


def _counts(batch: Batch) -> Mapping[str, int]:
    shelves = batch.ledger.shelves.values()
    return {
        shelf.name: shelf.live for shelf in shelves if shelf.table is not None and (shelf.name or shelf.live)
    }
