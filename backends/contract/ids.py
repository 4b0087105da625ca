"""What an id may be, how it is read from a URL, and how new ones are made."""

from __future__ import annotations

import re

from backends.query import id_text

ID_BYTES_MAX = 512
"""PostgreSQL's index rows hold at most 2,704 bytes (research/data-at-rest.md); this leaves room."""

_COUNTED = re.compile(r"(?:0|[1-9][0-9]{0,17})\Z")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\Z")

__all__ = ["ID_BYTES_MAX", "id_of_text", "id_text", "integer_of", "is_usable_id", "uuid7"]


def integer_of(record_id: str) -> int | None:
    """The number that raises a collection's counter, or None where the id is not of the counter's kind.

    At most 18 digits, so that it fits PostgreSQL's bigint; a longer one could never be followed by another.
    """
    return int(record_id) if _COUNTED.match(record_id) else None


def id_of_text(text: str) -> str | int:
    """The id that a record made under this URL segment or by the store's counter gets: integers keep their type."""
    return int(text) if _INTEGER.match(text) and text != "-0" else text


def is_usable_id(text: str) -> bool:
    """Whether an id can be stored and addressed: 1–512 bytes of UTF-8, no NUL, no dot segment."""
    if not text or "\x00" in text or text in (".", ".."):
        return False
    try:
        return len(text.encode()) <= ID_BYTES_MAX
    except UnicodeEncodeError:
        return False


def uuid7(now_ms: int, random: bytes) -> str:
    """A UUIDv7 (RFC 9562) of a time in milliseconds since 1970 and 10 random bytes."""
    number = (now_ms & ((1 << 48) - 1)) << 80 | int.from_bytes(random[:10], "big")
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
