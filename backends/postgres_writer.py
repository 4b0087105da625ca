"""The writer: takes what waits in the queue, decides it as one batch, and commits that in one statement.

Two round trips to PostgreSQL and one sync serve all the changes that gathered during the last ones, so many clients cost
little more than one, and each record sees its changes one after the other. A lone change waits for nobody.

A commit whose answer was cut off is never sent again: its callers get UnavailableError, the connection is made anew,
and what is then read says whether it happened (a ``void`` that follows tells it).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar, cast

import asyncpg
import structlog

from backends import postgres_statements as statements
from backends.postgres_batch import Batch, Key, Row
from backends.postgres_connection import Connection, is_lost, translate
from backends.postgres_ledger import Ledger, Shelf
from backends.postgres_operations import Operation, Refusal
from backends.postgres_owner import Owner, TakenError
from backends.store import KeptAnswer, StaleEpochError, StaleRequestError, UnavailableError

OPERATIONS_MAX = 256
BODY_CHARS_MAX = 16 << 20
"""A batch is cut where its bodies have reached this."""
FORGET_EVERY = 1000
"""Forgotten request ids are deleted when they are this many."""
EXPIRE_EVERY_S = 600.0
CLOSE_TIMEOUT_S = 5.0

T = TypeVar("T")
_log = structlog.stdlib.get_logger("backends.postgres")

Alone = Callable[[Connection, Ledger], Awaitable[tuple[T, Callable[[Ledger], None]]]]
"""A change that has the writer to itself: runs in a transaction and gives its answer, and what the commit makes of the ledger."""


class _Waiting(Generic[T]):
    """An operation in the queue, and who waits for it. Exactly one of ``operation`` and ``alone`` is there."""

    __slots__ = ("alone", "future", "operation")

    def __init__(self, operation: Operation[T] | None, alone: Alone[T] | None) -> None:
        self.operation = operation
        self.alone = alone
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def answer(self, result: T | Refusal) -> None:
        if isinstance(result, Refusal):
            self.fail(result.error)
        elif not self.future.done():
            self.future.set_result(result)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Writer:
    """Owns the writing connection and the ledger."""

    def __init__(
        self, owner: Owner, connection: Connection, ledger: Ledger, wall: Callable[[], float]
    ) -> None:
        # for the store's life
        self._owner = owner
        self._wall = wall
        self._queue: deque[_Waiting[Any]] = deque()
        self._awake = asyncio.Event()
        self._is_closing = False
        self._task = asyncio.get_running_loop().create_task(self._run())
        # for one connection
        self._connection: Connection | None = connection
        self.ledger = ledger
        """What is durable. Replaced whole when the connection is."""
        self._forgotten = 0
        self._expire_at = 0.0

    @property
    def is_owner(self) -> bool:
        """Whether nobody else can have changed the database since the ledger was read: the lock goes with the connection."""
        return self._connection is not None and not self._connection.is_closed()

    async def ask(self, operation: Operation[T]) -> T:
        """Have it run in its turn; its answer, once that is durable. It runs to its end even if nobody waits any more."""
        return await self._wait(_Waiting(operation, None))

    async def alone(self, change: Alone[T]) -> T:
        """Have it run in a transaction of its own."""
        return await self._wait(_Waiting(None, change))

    async def close(self) -> None:
        """Finish what waits, then let the database go."""
        self._is_closing = True
        self._awake.set()
        await self._task
        if self._connection is not None:
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._connection.close()
            except Exception as error:
                if not is_lost(error):
                    raise
                self._connection.terminate()
            self._connection = None

    async def _wait(self, waiting: _Waiting[T]) -> T:
        if self._is_closing:
            raise UnavailableError("the store is being closed")
        self._queue.append(waiting)
        self._awake.set()
        return await waiting.future

    async def _run(self) -> None:
        while self._queue or not self._is_closing:
            if not self._queue:
                self._awake.clear()
                await self._awake.wait()
                continue
            turn = self._take()
            try:
                await self._perform(turn)
            except (asyncpg.DataError, asyncpg.ProgramLimitExceededError) as error:
                await self._perform_singly(turn, error)
            except Exception as error:  # noqa: BLE001 - the loop goes on; who waits is told
                _fail(turn, error)

    async def _perform_singly(self, turn: list[_Waiting[Any]], error: Exception) -> None:
        """One of them holds what PostgreSQL cannot: the others shall not fail with it."""
        if len(turn) == 1:
            _fail(turn, error)
            return
        for waiting in list(turn):
            try:
                await self._perform([waiting])
            except Exception as its_own:  # noqa: BLE001 - the loop goes on; who waits is told
                _fail([waiting], its_own)

    def _take(self) -> list[_Waiting[Any]]:
        """The next batch: all that waits up to a bound, or one that has the writer to itself."""
        turn = [self._queue.popleft()]
        while (
            turn[0].operation is not None
            and self._queue
            and self._queue[0].operation is not None
            and len(turn) < OPERATIONS_MAX
        ):
            turn.append(self._queue.popleft())
        return turn

    async def _perform(self, turn: list[_Waiting[Any]]) -> None:
        connection = await self._connected()
        try:
            if turn[0].alone is not None:
                await self._perform_alone(connection, turn[0])
            else:
                await self._perform_batch(connection, turn)
        except Exception as error:
            if is_lost(error):
                self._drop(connection)
            raise

    async def _perform_batch(self, connection: Connection, turn: list[_Waiting[Any]]) -> None:
        operations = [cast("Operation[Any]", waiting.operation) for waiting in turn]
        try:
            rows, answers = await self._fetch(connection, operations)
        except Exception as error:
            if not is_lost(error):
                raise
            self._drop(connection)  # nothing was written: look again over a fresh one
            connection = await self._connected()
            rows, answers = await self._fetch(connection, operations)
        batch = Batch(self.ledger, rows, answers, int(self._wall() * 1000))
        results: list[Any] = []
        for operation in operations:
            if batch.body_chars >= BODY_CHARS_MAX:
                break
            try:
                results.append(operation.run(batch))
            except Exception as error:  # noqa: BLE001 - whatever its rule raises is its caller's, and nobody else's
                results.append(Refusal(error))
        later = turn[len(results) :]
        del turn[len(results) :]
        self._queue.extendleft(reversed(later))
        if not batch.is_empty:
            await self._commit(connection, batch)
        for waiting, result in zip(turn, results, strict=True):
            waiting.answer(result)
        await self._tidy(connection)

    async def _commit(self, connection: Connection, batch: Batch) -> None:
        tables: dict[str, str] = {}
        for collection in batch.rows:
            tables[collection] = await make_table(connection, self.ledger, collection)
            if collection in batch.shelves:
                made = self.ledger.shelves[collection]
                batch.shelves[collection].slot, batch.shelves[collection].table = made.slot, made.table
        text, arguments = statements.write(batch, tables)
        await connection.execute(text, *arguments)
        self._forgotten += batch.commit()

    async def _fetch(
        self, connection: Connection, operations: Sequence[Operation[Any]]
    ) -> tuple[dict[Key, Row], dict[str, KeptAnswer]]:
        """What the operations must know, in at most one round trip for rows and one for kept answers."""
        tables = {name: shelf.table for name, shelf in self.ledger.shelves.items() if shelf.table is not None}
        keys = [key for operation in operations for key in operation.reads]
        rows: dict[Key, Row] = {}
        text, arguments, order = statements.fetch_rows(tables, keys)
        if order:
            for record in await connection.fetch(text, *arguments):
                rows[order[record["place"]], record["id"]] = statements.row_of(record)
        answer_keys = [name for operation in operations for name in operation.answer_keys]
        answers: dict[str, KeptAnswer] = {}
        if answer_keys:
            for record in await connection.fetch(statements.ANSWERS, answer_keys):
                kept = statements.kept_of(record)
                answers[kept.idempotency_key] = kept
        return rows, answers

    async def _perform_alone(self, connection: Connection, waiting: _Waiting[Any]) -> None:
        assert waiting.alone is not None, "chosen by its kind"
        try:
            async with connection.transaction():
                result, apply = await waiting.alone(connection, self.ledger)
        except (StaleEpochError, StaleRequestError):
            raise
        except BaseException:
            self._drop(connection)  # it may have made a table that is gone again: read the ledger anew
            raise
        apply(self.ledger)
        waiting.answer(result)

    async def _tidy(self, connection: Connection) -> None:
        """Delete what nobody will ask for any more. Its failure is nobody's but the connection's."""
        try:
            if self._forgotten >= FORGET_EVERY:
                await connection.execute(statements.FORGET_REQUESTS, self.ledger.lowest_open)
                self._forgotten = 0
            if time.monotonic() >= self._expire_at:
                await connection.execute(statements.EXPIRE_ANSWERS, int(self._wall() * 1000))
                self._expire_at = time.monotonic() + EXPIRE_EVERY_S
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            _log.warning("tidying_failed", error=str(error))
            if is_lost(error):
                self._drop(connection)

    async def _connected(self) -> Connection:
        connection = self._connection
        if connection is None or connection.is_closed():
            connection, self.ledger = await self._owner.take()
            self._connection = connection
            self._forgotten = 0
        return connection

    def _drop(self, connection: Connection) -> None:
        connection.terminate()
        self._connection = None


def _fail(turn: Sequence[_Waiting[Any]], error: Exception) -> None:
    failure = UnavailableError(str(error)) if isinstance(error, TakenError) else translate(error)
    if failure is error and not isinstance(error, StaleEpochError | StaleRequestError):
        _log.error("write_failed", exc_info=error)
    for waiting in turn:
        waiting.fail(failure)


async def make_table(connection: Connection, ledger: Ledger, collection: str) -> str:
    """The table of a collection, made where it is missing. Durable on return, unless within a transaction."""
    known = ledger.table(collection)
    if known is not None:
        return known
    async with connection.transaction():
        slot: int = await connection.fetchval(statements.NEW_SHELF, collection)
        table = statements.table_name(slot, collection)
        await connection.execute(statements.create_table(table))
        await connection.execute(statements.NAME_TABLE, collection, table)
    shelf = ledger.shelves.setdefault(collection, Shelf(collection))
    shelf.slot, shelf.table = slot, table
    return table
