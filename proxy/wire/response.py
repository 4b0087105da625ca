"""Response heads: bytes → ResponseHead, or a WireFault, which makes the client's answer a 502."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from proxy.wire import fields
from proxy.wire.fault import WireFault
from proxy.wire.fields import SPANS, VALUE

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: (" + VALUE + rb"*))?")
_WATCHED: Final = re.compile(
    rb"\n(date|con(?:tent-length|nection)|t(?:ransfer-encoding|e|urnout-[^:]*)|keep-alive|proxy-connection|upgrade|x-served-by)"
    rb":[\t ]*([^\r]*)"
)
_PASSING: Final = frozenset({b"date", b"content-length"})
_KEPT_ALIVE: Final = {b"connection": b"keep-alive"}


@lru_cache(maxsize=512)
def _status(line: bytes) -> tuple[int, bytes, bytes]:
    """Status, its text (code and reason, as sent), and the minor version that it was said in: one above 1 is read as 1 (RFC 9110 section 2.5)."""
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise WireFault(502, "the status line is malformed")
    text = line[9:] if match[3] is not None else line[9:] + b" "
    return int(match[2]), text, match[1]


class ResponseHead:
    """An upstream's answer: its framing, and the lines that go on to the client."""

    __slots__ = (
        "_front", "forward", "has_date", "is_chunked", "is_http11", "is_plain", "keeps_alive", "length", "minor", "raw", "status", "text", "upgrade",
    )  # fmt: skip

    def __init__(self, line: bytes, section: bytes) -> None:
        self.status, self.text, self.minor = _status(line)
        self.is_http11 = self.minor != b"0"
        fields.check_section(section)
        self.raw = section
        self.forward = section
        """Without hop-by-hop lines, Turnout-* and X-Served-By."""
        self._front = b""
        self.is_plain = False
        """Nothing has to be added that depends on it but a date: HTTP/1.1, and a body of known length, if any."""
        self.is_chunked = False
        self.keeps_alive = self.is_http11
        self.upgrade = b""
        self.length: int | None = None
        low = b"\n" + section.lower()
        found = _WATCHED.findall(low)
        watched: dict[bytes, bytes] = dict(found)
        self.has_date = b"date" in watched
        if len(watched) == len(found) and self.status >= 200 and self.status != 204:
            self.has_date = watched.pop(b"date", None) is not None
            length = watched.pop(b"content-length", None)
            if length is not None:
                self.length = (
                    int(length)
                    if length.isdigit() and len(length) < 19
                    else fields.length_of([length.strip(b" \t")])
                )
            self.is_plain = self.minor == b"1" and (self.length is not None or self.status == 304)
            if not watched:
                return
            if watched == _KEPT_ALIVE:
                # What most servers add. (`low` has one byte more in front: its index of a line break is the next line's here.)
                at = low.index(b"\nconnection:")
                self.forward = section[:at] + section[low.index(b"\n", at + 1) :]
                self.keeps_alive = True
                return
            if all(
                name.startswith(b"turnout-") or (name == b"connection" and value == b"keep-alive")
                for name, value in watched.items()
            ):  # a versioned upstream's answer to a write
                gone = [span for name in watched for span in fields.spans(low, b"\n" + name + b":")]
                self.forward = fields.cut(section, gone)
                self.keeps_alive = self.is_http11 or b"connection" in watched
                return
        self.is_plain = False
        self._study({name for name, _ in found}, low)

    def _study(self, names: set[bytes], low: bytes) -> None:
        section = self.raw
        found = {name: fields.values(section, low, b"\n" + name + b":") for name in names}
        gone: SPANS = []
        for name in found:
            if name not in _PASSING:
                gone += fields.spans(low, b"\n" + name + b":")
        self.length = fields.length_of(found.get(b"content-length", []))
        self.is_chunked = fields.is_chunked(found.get(b"transfer-encoding", []))
        if self.is_chunked and (self.length is not None or not self.is_http11):
            raise WireFault(502, "Transfer-Encoding beside Content-Length or in HTTP/1.0")
        options = fields.tokens(found.get(b"connection", []))
        if b"content-length" in options:
            raise WireFault(502, "Connection names Content-Length")
        for option in options - {b"close"}:
            gone += fields.spans(low, b"\n" + option + b":")
        self.keeps_alive = b"close" not in options and (self.is_http11 or b"keep-alive" in options)
        if b"upgrade" in options:
            self.upgrade = b", ".join(found.get(b"upgrade", [])).lower()
        if self.status < 200 or self.status == 204:
            gone += fields.spans(low, b"\ncontent-length:")
        if b"date" in options:
            self.has_date = False
        self.forward = fields.cut(section, gone)
        if self.status == 426 and self.upgrade == b"websocket":
            # RFC 9110 section 15.5.22: the answer must say to what; and this one protocol can be had through us.
            self.forward += b"Upgrade: websocket\r\nConnection: Upgrade\r\n"

    @property
    def front(self) -> bytes:
        """Status line and ``forward``, as they go on; made once."""
        if not self._front:
            self._front = b"HTTP/1.1 %b\r\n%b" % (self.text, self.forward)
        return self._front

    def has_body(self, method: str) -> bool:
        """RFC 9112 section 6.3, rules 1 and 2."""
        return not (method == "HEAD" or self.status in (204, 304) or self.status < 200)

    def header(self, name: str) -> str | None:
        """The first value by lower-case name, of what the upstream sent."""
        found = fields.values(self.raw, fields.lowered(self.raw), fields.needle(name))
        return found[0].decode("latin-1") if found else None
