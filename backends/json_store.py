"""The JSON store: records in memory, every write in a synced journal first, data.json rewritten soon after.

Memory holds exactly what is durable (json_changes.py says how), so a read answers from it at once. The cost of a write
does not depend on how many records there are; that of a list with filters or a sort does, as it reads them all.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import gc
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import structlog

from backends.json_changes import Changes
from backends.json_columns import Columns
from backends.json_exporter import EditedError, Exporter
from backends.json_journal import Journal
from backends.json_recovery import Files, Recovered, recover, take_lock
from backends.json_state import Collection
from backends.json_text import cannot_hold
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
    StorageFullError,
    UnavailableError,
)

ROWS_A_STEP = 500
"""Records that a filtered list looks at before it lets other requests go on."""

COLUMN_TRIES_MAX = 3
M_ARENA_MAX = -8
"""Of mallopt(3)."""

_log = structlog.stdlib.get_logger("backends.json")


class JsonStore:
    """A backends.store.Store over one data.json. Made by :meth:`open`."""

    def __init__(self, files: Files, recovered: Recovered, lock: int, wall: Callable[[], float]) -> None:
        self._lock = lock
        self._memory = recovered.memory
        self._journal: Journal | None = None
        self._exporter: Exporter | None = None
        segment = recovered.segment
        if segment is None:
            self._changes = Changes(recovered.memory, None, wall)
            return
        self._changes = Changes(recovered.memory, lambda changes: Journal(segment, changes.wake), wall)
        self._journal = self._changes.journal
        assert self._journal is not None
        self._exporter = Exporter(
            files, recovered.memory, recovered.data, self._journal, self._changes.commit
        )
        self._changes.touched = self._exporter.touch
        self._exporter.start()

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        read_only: bool = False,
        id_field: str | None = None,
        wall: Callable[[], float] = STEADY,
    ) -> JsonStore:
        """Recover what is there and serve it. ``wall`` is seconds since 1970, for what expires. StartError says why not.

        ``id_field`` is where records of another server's file that have no ``id`` have one (see json_ids).
        """
        files = Files.beside(path)
        _share_one_heap()
        lock = await asyncio.to_thread(lambda: take_lock(files.lock, is_shared=read_only))
        try:
            recovered = await asyncio.to_thread(
                lambda: recover(files, read_only=read_only, id_field=id_field)
            )
            _give_memory_back()
            for event, facts in recovered.notes:
                _log.warning(event, **facts)
            return cls(files, recovered, lock, wall)
        except BaseException:
            _release(lock)
            raise

    async def close(self) -> None:
        await self._changes.close()
        if self._exporter is not None and self._journal is not None:
            await self._exporter.stop()
            try:
                await self._exporter.export()
            except EditedError:
                _log.error(
                    "data_file_edited", action="not overwritten; every write is safe in the journal beside it"
                )
            except (OSError, StorageFullError, UnavailableError) as error:
                _log.error(
                    "data_file_not_written", error=str(error), action="it is written at the next start"
                )
            await asyncio.to_thread(self._journal.close)
        _release(self._lock)

    async def healthy(self) -> bool:
        return not self._changes.is_closing and (self._journal is None or not self._journal.is_broken)

    async def get(self, collection: str, record_id: str) -> tuple[State, int]:
        return self._memory.state(collection, record_id), self._changes.watermark

    async def page(self, collection: str, query: Query) -> Page:
        found = self._memory.collections.get(collection)
        if found is None:
            return Page(*Selection(query).page())
        if query.is_plain:
            rows = islice(found.live.values(), query.offset, query.offset + query.limit)
            return Page([state.body for state in rows if state.body is not None], len(found.live))
        if Columns.can_answer(query):
            page = await _page_of_columns(found, query)
            if page is not None:
                return page
        selection = Selection(query)
        # the record to go on after need not match itself
        is_out = cannot_hold(query.text) if query.text and query.after is None else None
        for place, state in enumerate(list(found.live.values())):
            if place % ROWS_A_STEP == ROWS_A_STEP - 1:
                await asyncio.sleep(0)
            body = state.body or b"{}"
            if is_out is None or not is_out(body):
                selection.add(body)
        return Page(*selection.page())

    async def scan(self, collection: str) -> AsyncIterator[tuple[str, bytes]]:
        found = self._memory.collections.get(collection)
        for record_id, state in [] if found is None else list(found.live.items()):
            yield record_id, state.body or b"{}"

    async def collections(self) -> Mapping[str, int]:
        memory = self._memory
        counts = {
            name: len(memory.collections[name].live)
            for name, is_singleton in memory.names.items()
            if not is_singleton
        }
        singletons = sum(memory.names.values())
        return {**counts, "": singletons} if singletons else counts

    async def epoch(self) -> EpochState:
        return self._memory.epoch_state()

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
        return await self._changes.change(collection, record_id, decide, epoch, request, idempotency, answer)

    async def void(self, epoch: Epoch | None, request_id: int) -> Done | None:
        return await self._changes.void(epoch, request_id)

    async def announce(
        self, epoch: int, role: Role, journal: str, counters: Mapping[str, int], *, adopt: bool
    ) -> EpochState:
        return await self._changes.announce(epoch, role, journal, counters, adopt=adopt)

    async def apply(self, epoch: Epoch | None, collection: str, lines: Sequence[ApplyLine]) -> Applied:
        return await self._changes.apply(epoch, collection, lines)

    async def answers(self, key: str | None, after: str) -> tuple[Sequence[KeptAnswer], bool]:
        return self._changes.answers(key, after)

    async def keep_answers(self, epoch: Epoch | None, answers: Sequence[KeptAnswer]) -> int:
        return await self._changes.keep_answers(epoch, answers)

    async def raise_floor(self, epoch: Epoch | None, collection: str, at: int) -> int:
        return await self._changes.raise_floor(epoch, collection, at)

    async def checkpoint(self) -> int:
        watermark = self._changes.watermark
        if self._exporter is None:
            return watermark
        try:
            await self._exporter.export()
        except EditedError:
            raise UnavailableError(
                "data.json was edited by somebody while this server runs, and is not overwritten; its log says what to do."
            ) from None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFullError from error
            raise UnavailableError(f"data.json cannot be written: {error}.") from error
        return watermark


async def _page_of_columns(collection: Collection, query: Query) -> Page | None:
    """From columns, at one moment; None where other lists take their room too often."""
    for _ in range(COLUMN_TRIES_MAX):
        columns = collection.columns
        if columns is None:
            columns = collection.columns = Columns(collection.live)
        columns.need(query)
        while not columns.catch_up(ROWS_A_STEP):  # noqa: ASYNC110 - it works, and lets others work between its steps
            await asyncio.sleep(0)
        if columns is collection.columns and columns.has(query):
            return Page(*columns.page(query))
    return None


def _share_one_heap() -> None:
    """glibc would give the thread that reads the file a heap of its own, and keep much of it for ever."""
    set_option: Any = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(M_ARENA_MAX, 1)


def _give_memory_back() -> None:
    """What parsing the file took is free, but the C library would keep it: more than the records themselves need."""
    gc.collect()
    trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's own
    if trim is not None:
        trim(0)


def _release(lock: int) -> None:
    if lock >= 0:
        os.close(lock)
