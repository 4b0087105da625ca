"""Header sections (RFC 9110 section 5, 6.4, 7.6.1): one strict grammar, and lines cut out of bytes that otherwise stay as they came.

A section is kept as it arrived, so that order, case and duplicates survive. Beside it goes a lower-case copy,
in which a header is found by a plain search: the grammar has ruled out before that a line break lies inside a value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from proxy.wire.fault import WireFault

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
VALUE: Final = rb"[\t -~\x80-\xff]"

SECTION: Final = rb"(?:" + TOKEN + rb"++:" + VALUE + rb"*+\r\n)*+"
_SECTION: Final = re.compile(SECTION)
_LINE: Final = re.compile(TOKEN + rb"+:" + VALUE + rb"*")
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+(?:%25[0-9A-Za-z\-._~]+)?\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+)(?::[0-9]{0,5})?"
)
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_TOKENS: Final = re.compile(TOKEN + rb"+")

_PAIR = re.compile(r"([^:\r]+):[\t ]*+([^\r]*)\r\n")
_BLANK_END = re.compile(rb"[\t ]\r")

SPANS = list[tuple[int, int]]
"""Stretches of a section, as offsets: whole lines with their CRLF."""


def check_section(raw: bytes) -> None:
    """Refuse what the grammar of field lines does not allow (RFC 9112 section 5): WireFault 400 says which line and why."""
    if _SECTION.fullmatch(raw) is not None:
        return
    for number, line in enumerate(raw.split(b"\r\n"), 1):
        if line and _LINE.fullmatch(line) is None:
            raise WireFault(400, f"header line {number}: {_what_is_wrong(line)}")
    raise WireFault(400, "an empty line inside the header section")


def _what_is_wrong(line: bytes) -> str:
    if line[:1] in b" \t":
        return "folded over two lines (obs-fold, RFC 9112 section 5.2)"
    if b"\r" in line or b"\n" in line:
        return "a CR or LF by itself (RFC 9112 section 2.2)"
    if b"\x00" in line:
        return "a NUL byte"
    name, colon, _ = line.partition(b":")
    if not colon:
        return "no colon"
    if not name:
        return "no name before the colon"
    if name[-1:] in b" \t":
        return "white space before the colon (RFC 9112 section 5.1)"
    return "a character that is not allowed in a header"


def lowered(raw: bytes) -> bytes:
    """The copy to search in: every line, the first too, begins after a ``\\n``, so offsets are one higher than in ``raw``."""
    return b"\n" + raw.lower()


def needle(name: str) -> bytes:
    """What to search for in a ``lowered`` section; ``name`` in lower case."""
    known = _needles.get(name)
    if known is None:
        if len(_needles) >= _NEEDLES_MAX:
            _needles.clear()
        known = _needles[name] = b"\n" + name.encode("latin-1") + b":"
    return known


_NEEDLES_MAX: Final = 1024
_needles: Final[dict[str, bytes]] = {}
"""A memo of ``needle``: less than half of what functools' asks."""


def values(raw: bytes, low: bytes, wanted: bytes) -> list[bytes]:
    """The values of every line that begins with ``wanted`` (see ``needle``), in order, without white space around them."""
    found: list[bytes] = []
    at = low.find(wanted)
    while at >= 0:
        start = at + len(wanted)
        end = low.index(b"\r\n", start)
        found.append(raw[start - 1 : end - 1].strip(b" \t"))
        at = low.find(wanted, end)
    return found


def spans(low: bytes, wanted: bytes) -> SPANS:
    """Where the lines are that begin with ``wanted``."""
    found: SPANS = []
    at = low.find(wanted)
    while at >= 0:
        end = low.index(b"\r\n", at + 1)
        found.append((at, end + 1))
        at = low.find(wanted, end)
    return found


def cut(raw: bytes, lines: SPANS) -> bytes:
    """The section without some of its lines."""
    if not lines:
        return raw
    kept: list[bytes] = []
    last = 0
    for start, end in sorted(lines):
        if start > last:
            kept.append(raw[last:start])
        last = max(last, end)
    kept.append(raw[last:])
    return b"".join(kept)


def pairs(raw: bytes) -> Sequence[tuple[str, str]]:
    """Every line as (name as sent, value), latin-1. ``raw`` has passed check_section, or is of our own making."""
    found: list[tuple[str, str]] = _PAIR.findall(raw.decode("latin-1"))
    if _BLANK_END.search(raw) is not None:
        return [(name, value.rstrip(" \t")) for name, value in found]
    return found


def length_of(found: list[bytes]) -> int | None:
    """Content-Length (RFC 9112 section 6.3); two of them are refused even if equal, as one of them would have to be chosen."""
    if not found:
        return None
    if len(found) > 1 or _LENGTH.fullmatch(found[0]) is None:
        raise WireFault(400, "Content-Length must be one decimal number")
    return int(found[0])


def is_chunked(found: list[bytes]) -> bool:
    """Transfer-Encoding: exactly ``chunked``, once. Other codings are 501, what is no coding 400 (RFC 9112 section 6.1)."""
    if not found:
        return False
    if len(found) == 1 and found[0].lower() == b"chunked":
        return True
    if len(found) == 1 and all(_TOKENS.fullmatch(coding.strip(b" \t")) for coding in found[0].split(b",")):
        raise WireFault(501, "the only transfer coding understood here is chunked")
    raise WireFault(400, "Transfer-Encoding must be chunked, once")


def tokens(found: list[bytes]) -> set[bytes]:
    """The lower-case members of a list header such as Connection."""
    return {member for value in found for part in value.lower().split(b",") if (member := part.strip(b" \t"))}


@lru_cache(maxsize=256)
def is_host(value: bytes) -> bool:
    """A host with or without a port (RFC 9110 section 7.2)."""
    return _HOST.fullmatch(value) is not None
