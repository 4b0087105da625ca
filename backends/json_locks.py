"""Who may change what, when: a lock for each record, and a gate for what concerns all of them. One event loop, no threads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

Key = tuple[str, str]


class KeyLocks:
    """A lock for each (collection, id), handed over in the order of asking. Not tied to a task: whoever has it releases it."""

    def __init__(self) -> None:
        self._waiting: dict[Key, deque[asyncio.Future[None]]] = {}

    async def acquire(self, key: Key) -> None:
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = deque()
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(key)
            raise

    def release(self, key: Key) -> None:
        waiting = self._waiting[key]
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._waiting[key]


class Gate:
    """Changes of single records pass together; one that concerns all (an epoch, a batch, a floor) has the store to itself."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._inside = 0

    async def passed(self) -> None:
        """Wait until nothing has the store to itself. What follows in the same step of the loop is inside."""
        while not self._open.is_set():
            await self._open.wait()

    def enter(self) -> None:
        """A commit is under way."""
        self._inside += 1
        self._empty.clear()

    def leave(self) -> None:
        self._inside -= 1
        if not self._inside:
            self._empty.set()

    async def emptied(self) -> None:
        """Wait until no commit is under way."""
        while self._inside:
            await self._empty.wait()

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        await self.passed()
        self._open.clear()
        try:
            await self.emptied()
            yield
        finally:
            self._open.set()
