"""The frames that the JSON store's journal and state file are made of, pure: bytes to payloads and back.

A frame is one commit: a header (magic, place in its file, length, CRC-32) and a payload. It is written by one call
and synced before the next one, so only the last frame of a file can be torn; a bad one with a good one behind
it is damage.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = b"TnJ1"
_HEADER = struct.Struct(">4sIII")
HEADER_BYTES = _HEADER.size


class DamageError(Exception):
    """A frame is broken though later ones are whole: not a torn tail. ``offset`` is where."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"damaged at byte {offset}")
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame: its payload, and where the next one begins."""

    payload: bytes
    end: int


def frame(place: int, payload: bytes) -> bytes:
    """The bytes of the ``place``-th frame of a file."""
    return _HEADER.pack(MAGIC, place, len(payload), _checksum(place, payload)) + payload


def frames(data: bytes) -> Iterator[Frame]:
    """Every whole frame from the start. Ends at zeros (space taken ahead) or a torn tail; DamageError else."""
    offset, place = 0, 0
    while True:
        found = _whole(data, offset, place)
        if found is None:
            break
        yield found
        offset, place = found.end, place + 1
    if _has_frame_behind(data, offset, place):
        raise DamageError(offset)


def is_clean_end(data: bytes, offset: int) -> bool:
    """Whether only zeros follow, so that nothing was torn."""
    return not data[offset:].strip(b"\x00")


def _whole(data: bytes, offset: int, place: int) -> Frame | None:
    if len(data) - offset < HEADER_BYTES:
        return None
    magic, number, length, checksum = _HEADER.unpack_from(data, offset)
    end = offset + HEADER_BYTES + length
    if magic != MAGIC or number != place or end > len(data):
        return None
    payload = data[offset + HEADER_BYTES : end]
    return Frame(payload, end) if _checksum(place, payload) == checksum else None


def _has_frame_behind(data: bytes, offset: int, place: int) -> bool:
    at = data.find(MAGIC, offset + 1)
    while at >= 0:
        if len(data) - at >= HEADER_BYTES:
            number = _HEADER.unpack_from(data, at)[1]
            if number > place and _whole(data, at, number) is not None:
                return True
        at = data.find(MAGIC, at + 1)
    return False


def _checksum(place: int, payload: bytes) -> int:
    return zlib.crc32(payload, place & 0xFFFFFFFF)
