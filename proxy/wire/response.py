"""Response heads: bytes → ResponseHead, or a WireFault, which makes the client's answer a 502."""

from __future__ import annotations

import re

from proxy.wire import fields
from proxy.wire.fault import WireFault
from proxy.wire.fields import SPANS, VALUE

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: (" + VALUE + rb"*))?")
_WATCHED = re.compile(
    rb"\n(date|con(?:tent-length|nection)|t(?:ransfer-encoding|e|urnout-[^:]*)|keep-alive|proxy-connection|upgrade|x-served-by):"
)
_PASSING = frozenset({b"date", b"content-length"})
_PLAIN = ([b"content-length"], [b"date", b"content-length"], [b"content-length", b"date"])
"""What nearly every answer has of the watched names: nothing to take out."""


class ResponseHead:
    """An upstream's answer: its framing, and the lines that go on to the client."""

    __slots__ = (
        "forward", "has_date", "is_chunked", "is_http11", "keeps_alive", "length", "raw", "status", "text", "upgrade",
    )  # fmt: skip

    def __init__(self, line: bytes, section: bytes) -> None:
        match = _STATUS_LINE.fullmatch(line)
        if match is None:
            raise WireFault(502, "the status line is malformed")
        fields.check_section(section)
        self.status = int(match[2])
        self.text = line[9:] if match[3] is not None else line[9:] + b" "
        """Status code and reason, as sent."""
        self.is_http11 = match[1] == b"1"
        self.raw = section
        self.forward = section
        """Without hop-by-hop lines, Turnout-* and X-Served-By."""
        self.is_chunked = False
        self.keeps_alive = self.is_http11
        self.upgrade = b""
        low = fields.lowered(section)
        names = _WATCHED.findall(low)
        self.has_date = b"date" in names
        if names in _PLAIN:
            start = low.index(b"\ncontent-length:") + 16
            self.length = fields.length_of([section[start - 1 : low.index(b"\r", start) - 1].strip(b" \t")])
        else:
            self.length = None
            self._study(names, low)

    def _study(self, names: list[bytes], low: bytes) -> None:
        section = self.raw
        found = {name: fields.values(section, low, b"\n" + name + b":") for name in set(names)}
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
        self.forward = fields.cut(section, gone)

    def has_body(self, method: str) -> bool:
        """RFC 9112 section 6.3, rules 1 and 2."""
        return not (method == "HEAD" or self.status in (204, 304) or self.status < 200)

    def header(self, name: str) -> str | None:
        """The first value by lower-case name, of what the upstream sent."""
        found = fields.values(self.raw, fields.lowered(self.raw), fields.needle(name))
        return found[0].decode("latin-1") if found else None
