"""X-Request-Id for requests that bring none: 64 random bits of this process, then a count."""

from __future__ import annotations

import os
from typing import Final

_LAST: Final = tuple(b"%02x\r\n" % number for number in range(256))
"""The last two digits and the line's end: formatting a whole number costs four times as much."""


class RequestIds:
    """Each line once, in the life of the process and, but for one chance in 2^64, in any other's."""

    __slots__ = ("_count", "_front", "_random")

    def __init__(self) -> None:
        self._random = os.urandom(8).hex()
        self._count = 0
        self._front = b""

    def line(self) -> bytes:
        count = self._count
        self._count = count + 1
        last = count & 0xFF
        if not last:
            self._front = f"X-Request-Id: {self._random}{count >> 8:06x}".encode()
        return self._front + _LAST[last]
