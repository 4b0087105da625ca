"""The JSON store's journal: commits appended and synced by one thread, as many at once as are waiting.

Segments: ``data.json.journal`` is written; ``data.json.journal.<n>`` are older ones that no state file
covers yet. One fdatasync and one wake-up of the loop serve a whole batch. Space is taken ahead, so that a sync
seldom has to change the file's size.

After an error of a sync nothing that the page cache says can be believed: the journal is *broken*, and every commit
is refused until the server is started again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import queue
import struct
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from backends.errors import StartError
from backends.failpoints import hit
from backends.json_entries import Entry, unpack
from backends.json_frames import DamageError, Frame, frame, frames, is_clean_end
from backends.store import StorageFullError, UnavailableError

BATCH_BYTES_MAX = 16 << 20
BATCH_COMMITS_MAX = 1024
AHEAD_BYTES = 1 << 20
"""Disk space taken at once."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(slots=True)
class Commit:
    """What is to be written: a payload, and who waits for it. ``rotate`` begins a new segment in place of writing."""

    payload: bytes
    done: Callable[[Exception | None], None]
    rotate: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment as it was found: its number, frames and good length."""

    path: Path
    number: int
    frames: int
    end: int
    torn_bytes: int


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def removed_on_failure(fresh: Path) -> Generator[None]:
    """A file that could not be written whole must not keep its room on a disk that is full."""
    try:
        yield
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def create_segment(path: Path, number: int) -> Segment:
    """A new, durable segment with nothing in it."""
    fresh = path.with_name(path.name + ".new")
    head = frame(0, json.dumps({"turnout_journal": 1, "segment": number}).encode())
    with removed_on_failure(fresh):
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(fd, head)
            os.fsync(fd)
        finally:
            os.close(fd)
    fresh.rename(path)
    sync_folder(path.parent)
    return Segment(path, number, 1, len(head), 0)


def segment_paths(journal: Path) -> list[Path]:
    """The files of a journal: older segments by their number, then the one that is written."""
    found: list[tuple[int, Path]] = []
    for path in journal.parent.glob(journal.name + ".*"):
        number = path.name.removeprefix(journal.name + ".")
        if number.isdigit():
            found.append((int(number), path))
    older = [path for _, path in sorted(found)]
    return [*older, journal] if journal.exists() else older


def drop_segments(journal: Path, covered: int) -> None:
    """Remove older segments that a state file covers."""
    for path in segment_paths(journal):
        number = path.name.removeprefix(journal.name + ".")
        if number.isdigit() and int(number) <= covered:
            path.unlink()


def read_segment(path: Path, *, is_newest: bool) -> tuple[Segment, Iterator[Entry]]:
    """A segment and its entries. StartError where it is damaged: only the newest one's tail may be torn."""
    data = path.read_bytes()
    try:
        whole, torn = _whole_frames(data)
        _expect(not torn or is_newest, len(data) - torn)
    except DamageError as damage:
        raise StartError(
            f"{path} is damaged at byte {damage.offset}: acknowledged writes after it cannot be trusted to be whole.",
            "Nothing was changed. Put back a good copy of it and of the files beside it; or, to go on with what data.json "
            f"holds alone, move {path.name}* and the .state file beside it away, start, and repair from the other upstream.",
        ) from None

    def entries() -> Iterator[Entry]:
        for part in whole[1:]:
            yield from known_entries(path, part.payload)

    number = int(json.loads(whole[0].payload)["segment"])
    return Segment(path, number, len(whole), whole[-1].end, torn), entries()


def known_entries(path: Path, payload: bytes) -> list[Entry]:
    """The entries of a frame that is whole. StartError where they are of another form than this version writes."""
    try:
        return list(unpack(payload))
    except (ValueError, KeyError, TypeError, IndexError, struct.error) as error:
        raise StartError(
            f"{path} was written by another version of this server ({error}).",
            "Nothing was changed. Start the version that wrote it.",
        ) from None


def _whole_frames(data: bytes) -> tuple[list[Frame], int]:
    """The frames of a segment, its head first, and how many torn bytes follow them. DamageError where there is no head."""
    whole = list(frames(data))
    _expect(bool(whole) and json.loads(whole[0].payload).get("turnout_journal") == 1, 0)
    end = whole[-1].end
    return whole, 0 if is_clean_end(data, end) else len(data) - end


def _expect(holds: bool, offset: int) -> None:
    if not holds:
        raise DamageError(offset)


class Journal:
    """The segment that is written, and the thread that writes it. ``done`` callbacks run in that thread, by batch.

    ``wake`` is called once for a batch, with its commits and the error that they share, in the thread.
    """

    def __init__(self, segment: Segment, wake: Callable[[list[Commit], Exception | None], None]) -> None:
        self._path = segment.path
        self._fd = os.open(segment.path, os.O_RDWR)
        if os.fstat(self._fd).st_size != segment.end:
            os.ftruncate(self._fd, segment.end)
            os.fsync(self._fd)
        self.number = segment.number
        self._end = segment.end
        self._taken = segment.end
        self._place = segment.frames
        self._wake = wake
        self._queue: queue.SimpleQueue[Commit | None] = queue.SimpleQueue()
        self._broken: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def is_broken(self) -> bool:
        return self._broken is not None

    @property
    def size(self) -> int:
        """Bytes of the segment that is written."""
        return self._end

    def submit(self, commit: Commit) -> None:
        """Queue a commit; it is durable, or has failed, when it is handed to ``wake``. In order."""
        self._queue.put(commit)

    def close(self) -> None:
        """Write what is queued, then end. Blocks."""
        self._queue.put(None)
        self._thread.join()
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, self._end)
        os.close(self._fd)

    def _run(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            if first.rotate:
                self._wake([first], self._guarded(self._rotate))
                continue
            batch, follower, is_last = self._gather(first)
            payload = b"".join(commit.payload for commit in batch)
            self._wake(batch, self._guarded(lambda data=payload: self._append(data)))
            if follower is not None:
                self._wake([follower], self._guarded(self._rotate))
            if is_last:
                return

    def _gather(self, first: Commit) -> tuple[list[Commit], Commit | None, bool]:
        """All that waits, up to a rotation (which is not part of the batch) or the end."""
        batch, size = [first], len(first.payload)
        while len(batch) < BATCH_COMMITS_MAX and size < BATCH_BYTES_MAX:
            try:
                commit = self._queue.get_nowait()
            except queue.Empty:
                break
            if commit is None:
                return batch, None, True
            if commit.rotate:
                return batch, commit, False
            batch.append(commit)
            size += len(commit.payload)
        return batch, None, False

    def _guarded(self, act: Callable[[], None]) -> Exception | None:
        """The error of an act as the store's callers know it."""
        if self._broken is not None:
            return self._broken
        try:
            act()
        except StorageFullError as error:
            return error
        except OSError as error:
            self._broken = UnavailableError(
                f"{self._path} could not be written ({error}); start the server again."
            )
            return self._broken
        return None

    def _append(self, payload: bytes) -> None:
        data = frame(self._place, payload)
        hit("journal-append")
        try:
            self._take_ahead(len(data))
            written = 0
            while written < len(data):
                written += os.pwrite(self._fd, data[written:] if written else data, self._end + written)
        except OSError as error:
            os.ftruncate(self._fd, self._end)  # half a frame must not stand where the next one goes
            self._taken = self._end
            if error.errno in _FULL:
                raise StorageFullError from error
            raise
        hit("journal-written")
        os.fdatasync(self._fd)
        self._end += len(data)
        self._place += 1
        hit("journal-synced")

    def _take_ahead(self, needed: int) -> None:
        if self._end + needed <= self._taken:
            return
        want = max(needed, AHEAD_BYTES)
        try:
            os.posix_fallocate(self._fd, self._end, want)
        except OSError:
            return  # no such call on this file system, or no room for that much: the write itself will tell
        self._taken = self._end + want

    def _rotate(self) -> None:
        os.ftruncate(self._fd, self._end)
        self._taken = self._end
        os.fsync(self._fd)
        older = self._path.with_name(f"{self._path.name}.{self.number}")
        self._path.rename(older)
        hit("segment-closed")
        try:
            segment = create_segment(self._path, self.number + 1)
        except OSError as error:
            older.rename(self._path)
            if error.errno in _FULL:
                raise StorageFullError from error
            raise
        hit("segment-created")
        fd = os.open(self._path, os.O_RDWR)
        os.close(self._fd)
        self._fd = fd
        self.number, self._end, self._taken, self._place = (
            segment.number,
            segment.end,
            segment.end,
            segment.frames,
        )
