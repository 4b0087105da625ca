"""Where a backfill's records come from: a pinned data.json, or the primary over HTTP. Both in the order of creation."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Iterator
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from backends.migrate.client import Scope
from backends.migrate.datafile import Named, Part, Record, read
from backends.migrate.faults import SourceFileError
from backends.migrate.pair import Pair

BATCH_BYTES_MAX: Final = 4 << 20
PAGE_RECORDS: Final = 500
READS_AT_ONCE: Final = 8


class Source(Protocol):
    """Records in steps of bounded size."""

    bytes_read: int
    bytes_total: int
    """0 where it is not known."""

    def parts(self, records_max: int) -> AsyncGenerator[list[Part], None]:
        """All of it, once. SourceFileError where it cannot be read as a whole."""
        ...

    def close(self) -> None: ...


class FileSource:
    """A data.json, pinned: opened once, so that a server which replaces it by a new one leaves this one as it is.

    Open it only after the checkpoint: then it holds every number up to the checkpoint's watermark.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise SourceFileError(f"{path} cannot be read: {error.strerror}") from None
        self._path = path
        self._look = _look(self._file.fileno())
        self.bytes_total = self._look[0]
        self.bytes_read = 0

    async def parts(self, records_max: int) -> AsyncGenerator[list[Part], None]:
        """The parsing runs on a thread beside the event loop."""
        waiting = read(self._file)
        while step := await asyncio.to_thread(_take, waiting, records_max):
            self.bytes_read = self._file.tell()
            yield step
        if _look(self._file.fileno()) != self._look:
            raise SourceFileError(
                f"{self._path} was written in place while it was read",
                "stop what writes it, or give the file that the primary itself writes; then run it again",
            )

    def close(self) -> None:
        self._file.close()


class ServerSource:
    """The primary itself. Lists give the records in their order; the ids are looked through after, for what a list skipped
    because records before it were deleted meanwhile.
    """

    bytes_total = 0

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self.bytes_read = 0

    async def parts(self, records_max: int) -> AsyncGenerator[list[Part], None]:
        upstream, in_epoch = self._pair.source, self._pair.in_epoch
        catalog = await in_epoch(upstream.catalog)
        for name in catalog.collections:
            scope = Scope(name)
            yield [Named(scope)]
            seen: set[str] = set()
            start, is_more = 0, True
            while is_more:
                page = await in_epoch(partial(upstream.page, scope, start, min(records_max, PAGE_RECORDS)))
                start, is_more = start + len(page), bool(page)
                seen.update(record_id for record_id, _ in page)
                self.bytes_read += sum(len(body) for _, body in page)
                yield [Record(scope, record_id, body) for record_id, body in page]
            ids = await in_epoch(partial(upstream.ids, scope))
            missed = [record_id for record_id in ids if record_id not in seen]
            for place in range(0, len(missed), READS_AT_ONCE):
                yield await self._reads(scope, missed[place : place + READS_AT_ONCE])
        for name in catalog.singletons:
            scope = Scope(name, is_singleton=True)
            yield [Named(scope), *await self._reads(scope, [""])]

    def close(self) -> None:
        """Nothing is held open."""

    async def _reads(self, scope: Scope, ids: list[str]) -> list[Part]:
        """One by one; what was deleted meanwhile is left out."""
        upstream, in_epoch = self._pair.source, self._pair.in_epoch
        bodies = await asyncio.gather(
            *(in_epoch(partial(upstream.record, scope, record_id)) for record_id in ids)
        )
        self.bytes_read += sum(len(body) for body in bodies if body is not None)
        return [
            Record(scope, record_id, body)
            for record_id, body in zip(ids, bodies, strict=True)
            if body is not None
        ]


def _look(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_size, found.st_mtime_ns


def _take(waiting: Iterator[Part], records_max: int) -> list[Part]:
    """The next parts: bounded in number and in bytes. Blocks."""
    taken: list[Part] = []
    size = 0
    for part in waiting:
        taken.append(part)
        if isinstance(part, Record):
            size += len(part.body)
        if len(taken) >= records_max or size >= BATCH_BYTES_MAX:
            break
    return taken
