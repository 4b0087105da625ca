"""Room that is taken so that it can be given back: a file beside the journal (why: room.py)."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Final

AGAIN_S: Final = 1.0
"""Where it could not be laid in, although there seemed to be room (a quota)."""


class Ballast:
    """A file of ``size_bytes``, which a start finds again. The writer's."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._again_s = 0.0
        self.is_there = path.exists() and path.stat().st_size >= size_bytes

    @property
    def bytes(self) -> int:
        return self._size_bytes if self.is_there else 0

    @property
    def missing_bytes(self) -> int:
        return self._size_bytes - self.bytes

    def lay_in(self) -> None:
        """Take the room, truly: a file with holes would take none. Where that cannot be, it is not there."""
        if self.is_there or time.monotonic() < self._again_s:
            return
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, self._size_bytes)
            finally:
                os.close(fd)
        except OSError:
            self._again_s = time.monotonic() + AGAIN_S
            self.throw()
        else:
            self.is_there = True

    def throw(self) -> bool:
        """Give the room back; whether there was any."""
        was_there, self.is_there = self.is_there, False
        if was_there:
            self._again_s = 0.0
        with contextlib.suppress(OSError):
            self._path.unlink()
        return was_there
