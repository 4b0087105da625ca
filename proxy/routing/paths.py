"""Raw request paths made comparable: percent-decoded once, dot segments taken out. Never guesses.

A path that could mean different things to different servers (``%2F``, ``//``, a bad percent, bad UTF-8) is still given
a form to match routes with, and is marked unclean, so that nobody takes it for the name of a resource.
"""

from __future__ import annotations

import re
from typing import Final

_BAD_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PERCENT: Final = re.compile(rb"%([0-9A-Fa-f]{2})")


def is_ordinary(raw_path: str) -> bool:
    """Whether the raw path is its own decoded form: the quick way for nearly every request."""
    return "%" not in raw_path and "/." not in raw_path and raw_path.isascii()


def decoded(raw_path: str) -> tuple[str, bool]:
    """The decoded path without dot segments, and whether it is clean. A trailing slash stays.

    ``raw_path`` is latin-1 text, one character a byte. Unclean segments keep their raw form where decoding would
    change the structure (``%2F``); bytes that are not UTF-8 become U+FFFD.
    """
    if is_ordinary(raw_path):
        return raw_path, "//" not in raw_path
    segments: list[str] = []
    is_clean = "//" not in raw_path
    raw_segments = raw_path.split("/")
    last = len(raw_segments) - 1
    for index, raw in enumerate(raw_segments):
        segment, segment_is_clean = _segment(raw)
        is_clean = is_clean and segment_is_clean
        # RFC 3986 section 5.2.4; `%2E` is the same as `.` (section 6.2.2.2).
        if segment == ".." and len(segments) > 1:
            segments.pop()
        if segment in (".", ".."):
            if index == last:
                segments.append("")
            continue
        segments.append(segment)
    return "/".join(segments), is_clean


def _segment(raw: str) -> tuple[str, bool]:
    if "%" not in raw and raw.isascii():
        return raw, True
    if _BAD_PERCENT.search(raw) is not None:
        return raw, False
    octets = _PERCENT.sub(lambda found: bytes((int(found[1], 16),)), raw.encode("latin-1", "replace"))
    if b"/" in octets:
        return raw, False
    try:
        return octets.decode("utf-8"), True
    except UnicodeDecodeError:
        return octets.decode("utf-8", "replace"), False


def covers(prefix: str, key_or_prefix: str) -> bool:
    """Whether ``prefix`` covers a key or a longer prefix, by whole segments; "" covers all."""
    if not prefix or prefix == key_or_prefix:
        return True
    return key_or_prefix.startswith(prefix) and key_or_prefix[len(prefix)] == "/"
