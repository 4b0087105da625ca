"""What a start looks at before it opens the journal for writing: damage that SQLite would mend by forgetting.

SQLite reads its log (the WAL) up to the first frame that does not add up, and drops the rest, silently: after a
power cut that is the tail of one commit that nobody was told of. Anything else there is damage, and acknowledged writes
would be lost with it. Nothing is changed here: the database is opened for reading only, so that closing it copies nothing.

A log cut off exactly behind one of its commits cannot be told from one that ends there.
"""

from __future__ import annotations

import mmap
import sqlite3
import struct
from pathlib import Path

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
MAGICS = (0x377F0682, 0x377F0683)
_MAX_FRAME = struct.Struct("=I")
_MAX_FRAME_AT = 16
"""In the shared-memory file: how many frames SQLite believes (walformat.html, WAL-index header)."""
_PAGES_AT = 20
"""Behind it: how many pages the database has."""


def find_damage(path: Path, *, had_log: bool) -> str:
    """What is wrong with the journal at ``path``; "" where nothing is. ``had_log``: its last process ended with a log that held something."""
    log = path.with_name(path.name + "-wal")
    is_there = has_frames(log)
    if had_log and not (is_there and path.exists()):
        return f"its last process left a log, and {log.name if path.exists() else path.name} is not there"
    if is_there and (fault := _header_fault(log)):
        return fault
    if not path.exists() or path.stat().st_size == 0:
        return f"{log.name} belongs to a database that is not there" if is_there else ""
    try:
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            faults = [str(row[0]) for row in db.execute("pragma quick_check(3)")]
            if faults != ["ok"]:
                return "; ".join(faults)
            return _dropped(path, log) if is_there else ""
        finally:
            db.close()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        return str(error)


def has_frames(log: Path) -> bool:
    """Whether the log holds more than its head."""
    return log.exists() and log.stat().st_size > HEADER_BYTES


def log_frames(index: mmap.mmap) -> int:
    """How many frames the log holds that belong to it, by its shared-memory file (walformat.html, WAL-index header)."""
    return int(_MAX_FRAME.unpack_from(index, _MAX_FRAME_AT)[0])


def database_pages(index: mmap.mmap) -> int:
    """How many pages the database has as of the last commit in the log; 0 where the log has held nothing yet."""
    return int(_MAX_FRAME.unpack_from(index, _PAGES_AT)[0])


def _header_fault(log: Path) -> str:
    with log.open("rb") as file:
        head = file.read(HEADER_BYTES)
    magic = int.from_bytes(head[:4], "big")
    if magic not in MAGICS:
        return f"{log.name} does not begin as a log"
    words = struct.unpack((">" if magic & 1 else "<") + "6I", head[:24])
    first, second = 0, 0
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return (
        "" if struct.pack(">2I", first, second) == head[24:32] else f"the head of {log.name} does not add up"
    )


def _dropped(path: Path, log: Path) -> str:
    """Whether a commit that was synced lies behind the last frame that SQLite believes.

    Each commit is synced before the next one is written. So a frame that follows a commit's last frame proves that this
    commit was whole on disk once.
    """
    with path.with_name(path.name + "-shm").open("rb") as shared:
        shared.seek(_MAX_FRAME_AT)
        (believed,) = _MAX_FRAME.unpack(shared.read(_MAX_FRAME.size))
    with log.open("rb") as file:
        head = file.read(HEADER_BYTES)
        page_bytes = int.from_bytes(head[8:12], "big")
        salts = head[16:24]
        frame_bytes = FRAME_HEADER_BYTES + page_bytes
        at = HEADER_BYTES + believed * frame_bytes
        is_behind_commit = False
        while True:
            file.seek(at)
            frame = file.read(FRAME_HEADER_BYTES)
            if len(frame) < FRAME_HEADER_BYTES:
                return ""
            if frame[8:16] == salts:
                if is_behind_commit:
                    return f"{log.name} is damaged at its frame {believed + 1}, and commits follow"
                is_behind_commit = frame[4:8] != b"\0\0\0\0"
            at += frame_bytes
