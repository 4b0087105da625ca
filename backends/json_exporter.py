"""Keeps data.json and the state file near to what is durable, in the background, at a bounded share of time.

It never overwrites an edit: before each rewrite the file must be what was last put there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import structlog

from backends.failpoints import hit
from backends.json_data_file import DataFile, Staged, render
from backends.json_entries import Entry, Exported
from backends.json_journal import Commit, Journal, drop_segments
from backends.json_recovery import Files
from backends.json_snapshot import write_state
from backends.json_state import Memory

INTERVAL_S = 1.0
SHARE = 20
"""Between two rewrites at least INTERVAL_S passes, and this many times what the last one took."""

RETRY_S = 5.0
LOOK_S = 2.0
"""How often it is looked whether somebody edited the file while nothing is written."""

SEGMENT_BYTES_MAX = 32 << 20
"""A journal beyond this, and beyond the last state file's size, is covered by a new one: that bounds disk and the next
start, and what is written for it is never more than what the journal itself writes."""

TAKE_IN = "stop this server and start it again before the next write: the edit is taken in then"
GIVE_WAY = (
    "move the edited file away: it is written again at once; send the edits through the API, or make them while the"
    " server is stopped"
)

_log = structlog.stdlib.get_logger("backends.json")


class EditedError(Exception):
    """Somebody else edited data.json; it is not overwritten."""


class Exporter:
    """Writes the two files. ``commit`` makes entries durable and applies them."""

    def __init__(
        self,
        files: Files,
        memory: Memory,
        data: DataFile,
        journal: Journal,
        commit: Callable[[Sequence[Entry]], Awaitable[None]],
    ) -> None:
        self._files = files
        self._memory = memory
        self._data = data
        self._journal = journal
        self._commit = commit
        self._turn = asyncio.Lock()
        self._covering = asyncio.Lock()
        self._dirty = asyncio.Event()
        self._grown = asyncio.Event()
        self._cover_at = SEGMENT_BYTES_MAX
        self._told: str | None = None
        """What the log last said of an edit by somebody else; None while there is none."""
        self._tasks: list[asyncio.Task[None]] = []
        self._working: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin the background work."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._keep_data()), loop.create_task(self._keep_state())]
        self.touch()

    async def stop(self) -> None:
        """End the background work, after the rewrites that are under way."""
        async with self._turn, self._covering:
            for task in self._tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    @property
    def is_current(self) -> bool:
        """Whether data.json holds every change."""
        exports = self._memory.exports
        return len(exports) == 1 and exports[0].is_installed and exports[0].changes == self._memory.changes

    def touch(self) -> None:
        """Something may be new."""
        if not self.is_current:
            self._dirty.set()
        if self._journal.size >= self._cover_at:
            self._grown.set()

    async def export(self) -> None:
        """Bring data.json up to all that is durable now. EditedError, OSError, or what ``commit`` raises.

        A rewrite that has begun goes on to its end also when its caller leaves: two at once would share a file.
        """
        work = asyncio.get_running_loop().create_task(self._export_in_turn())
        self._working.add(work)
        work.add_done_callback(self._worked)
        await asyncio.shield(work)

    def _worked(self, work: asyncio.Task[None]) -> None:
        self._working.discard(work)
        if not work.cancelled():
            work.exception()  # seen: whoever waited may have left

    async def _keep_state(self) -> None:
        while True:
            await self._grown.wait()
            try:
                await self.cover()
            except Exception as error:  # noqa: BLE001 - the segments go on being the truth; the next round tries again
                _log.error("state_file_not_written", path=str(self._files.state), error=repr(error))
                await asyncio.sleep(RETRY_S)

    async def _keep_data(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wait_for_news()
            began = loop.time()
            pause_s = INTERVAL_S
            try:
                await self.export()
            except (EditedError, OSError) as error:
                self._tell(error)
                pause_s = RETRY_S
            except Exception as error:  # noqa: BLE001 - the journal goes on being the truth; the next round tries again
                _log.error("data_file_not_written", path=str(self._files.data), error=repr(error))
                pause_s = RETRY_S
            await asyncio.sleep(max(pause_s, SHARE * (loop.time() - began)))

    async def _wait_for_news(self) -> None:
        """Until something is to be written; meanwhile an edit by somebody else is noticed, and told at once."""
        while not self._dirty.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._dirty.wait()
            if await asyncio.to_thread(self._is_ours):
                self._told = None
            elif not self._dirty.is_set():
                self._tell(EditedError())

    async def _export_in_turn(self) -> None:
        async with self._turn:
            self._dirty.clear()
            if self.is_current:
                return
            try:
                await self._export()
            except BaseException:
                self._dirty.set()
                raise
            self._told = None

    async def cover(self) -> None:
        """Begin a new segment, write the state file, and drop the segments that it covers."""
        async with self._covering:
            self._grown.clear()
            copy, segment = await self._rotate()
            size = await asyncio.to_thread(write_state, self._files.state, copy, segment)
            self._cover_at = max(SEGMENT_BYTES_MAX, size)
            await asyncio.to_thread(self._drop_segments, segment)

    async def _export(self) -> None:
        names = list(self._memory.names.items())
        rows = {
            name: [
                state.body for state in self._memory.collections[name].live.values() if state.body is not None
            ]
            for name, is_singleton in names
            if not is_singleton
        }
        singletons = {
            name: state.body
            for name, is_singleton in names
            if is_singleton and (state := self._memory.state("", name)).body is not None
        }
        changes = self._memory.changes
        staged = await asyncio.to_thread(lambda: self._data.stage(render(names, rows, singletons)))
        hit("data-staged")
        if not await asyncio.to_thread(self._is_ours):
            staged.path.unlink(missing_ok=True)
            raise EditedError
        await self._commit([Exported(staged.digest, changes, is_installed=False)])
        hit("data-announced")
        await asyncio.to_thread(self._install, staged)
        hit("data-installed")
        await self._commit([Exported(staged.digest, changes, is_installed=True)])

    def _is_ours(self) -> bool:
        return self._data.is_one_of([export.digest for export in self._memory.exports])

    def _install(self, staged: Staged) -> None:
        if not self._is_ours():
            staged.path.unlink(missing_ok=True)
            raise EditedError
        self._data.install(staged)

    async def _rotate(self) -> tuple[Memory, int]:
        """Begin a new segment; a copy of the memory as it is at exactly that boundary, and the number of the last segment."""
        loop = asyncio.get_running_loop()
        boundary: asyncio.Future[Memory] = loop.create_future()

        def done(error: Exception | None) -> None:
            if boundary.done():
                return
            if error is None:
                boundary.set_result(self._memory.copy())
            else:
                boundary.set_exception(error)

        self._journal.submit(Commit(b"", done, rotate=True))
        copy = await boundary
        return copy, self._journal.number - 1

    def _drop_segments(self, covered: int) -> None:
        drop_segments(self._files.journal, covered)
        hit("segments-dropped")

    def _tell(self, error: Exception) -> None:
        if not isinstance(error, EditedError):
            _log.error("data_file_not_written", path=str(self._files.data), error=str(error), retry_s=RETRY_S)
            return
        do = TAKE_IN if self.is_current else GIVE_WAY
        if do != self._told:
            self._told = do
            _log.error(
                "data_file_edited",
                path=str(self._files.data),
                action="not overwritten; every write stays safe in the journal beside it",
                do=do,
            )
