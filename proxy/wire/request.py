"""Request heads: bytes → RequestHead, or a WireFault. Nearly every head takes the short way; all others the full one.

The short way is one pattern for the request line and one for the header section, for heads in which nothing needs
thought. All others are read by ``_full``: our own rules first, then httptools (llhttp) reads the same head, and what
the two do not read alike is refused. A test proves that both ways agree wherever the short one says yes.
"""

from __future__ import annotations

import re
from typing import Final

import httptools

from proxy.model import HeadView
from proxy.wire import fields
from proxy.wire.fault import WireFault
from proxy.wire.fields import SPANS, TOKEN

_ORDINARY_LINE: Final = re.compile(
    rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[!\"$->@-~]*+)(?:\?([!\"$-~]*+))? HTTP/1\.1"
)
_ANY_LINE: Final = re.compile(rb"(" + TOKEN + rb"{1,24}) ([!\"$-~\x80-\xff]+) HTTP/([0-9])\.([0-9])")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE | re.DOTALL)

_LINE_BEGUN: Final = re.compile(TOKEN + rb"{1,24}(?: [!\"$-~\x80-\xff]*(?: [HTP/0-9.]{0,8}\r?)?)?")
_LONE_LF: Final = re.compile(rb"(?<!\r)\n")
_LINE_LOOKED_AT_BYTES_MAX: Final = 1024

# After `\n` a group of names by their first letters: a third of the time of one flat list of them.
_WATCHED: Final = re.compile(
    rb"\n(host|con(?:tent-length|nection)|t(?:ransfer-encoding|e|urnout-[^:]*)|keep-alive|proxy-connection|upgrade"
    rb"|expect|x-(?:forwarded-(?:for|proto|host)|request-id)|max-forwards):"
)
_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"}
)
"""RFC 9110 section 7.6.1. Trailer and Proxy-Authorization are end-to-end there, and pass."""

_NOT_FOR_CONNECTION: Final = frozenset({b"host", b"content-length"})
"""A Connection header that names one of these would change what the message is."""

_JUST_HOST: Final = [b"host"]

_line_of: Final = re.compile(_ORDINARY_LINE.pattern + rb"\r\n").match
_section_at: Final = re.compile(fields.SECTION + rb"\r\n").match
"""A header section with the empty line after it."""

METHODS: Final = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
}


class RequestFields:
    """A checked header section, and what forwarding asks of it. Immutable: a connection's next request may share it."""

    __slots__ = (
        "closes", "expects_continue", "forward", "forwarded_for", "forwarded_host", "forwarded_proto",
        "has_request_id", "host", "hosts", "is_chunked", "is_plain", "keeps_alive", "length", "low", "max_forwards", "raw", "rest",
        "upgrade",
    )  # fmt: skip

    def __init__(self, raw: bytes, *, is_checked: bool = False) -> None:
        if not is_checked:
            fields.check_section(raw)
        self.raw = raw
        self.rest = raw + b"\r\n"
        """To the head's end."""
        self.low = low = fields.lowered(raw)
        self.length: int | None = None
        self.is_chunked = False
        self.closes = False
        self.keeps_alive = False
        self.expects_continue = False
        self.has_request_id = False
        self.upgrade = b""
        """The lower-case protocols, where Connection names the header too."""
        self.forwarded_for = b""
        self.forwarded_proto = b""
        self.forwarded_host = b""
        self.max_forwards: int | None = None
        self.forward = raw
        """The lines that go on: end-to-end ones, without Turnout-* and X-Forwarded-*."""
        names = _WATCHED.findall(low)
        if names != _JUST_HOST:
            self._study(names)
        self.hosts = fields.values(raw, low, b"\nhost:") if b"host" in names else []
        self.host = self.hosts[0] if self.hosts else b""
        self.is_plain = self._is_plain()
        """After an ordinary request line nothing here needs the full way, and nothing but ``forward`` and ``length`` matters."""

    def _is_plain(self) -> bool:
        return len(self.hosts) == 1 and not self.is_chunked and not self.upgrade and self.max_forwards is None

    def _study(self, names: list[bytes]) -> None:
        raw, low = self.raw, self.low
        found = {name: fields.values(raw, low, b"\n" + name + b":") for name in set(names)}
        gone: SPANS = []
        for name in found:
            if name in _HOP_BY_HOP or name.startswith((b"turnout-", b"x-forwarded-")):
                gone += fields.spans(low, b"\n" + name + b":")
        options = fields.tokens(found.get(b"connection", []))
        if options & _NOT_FOR_CONNECTION:
            raise WireFault(400, "Connection names a header that says what the message is")
        self.closes = b"close" in options
        self.keeps_alive = b"keep-alive" in options
        for option in options - _HOP_BY_HOP - {b"close"}:
            gone += fields.spans(low, b"\n" + option + b":")
        self.length = fields.length_of(found.get(b"content-length", []))
        self.is_chunked = fields.is_chunked(found.get(b"transfer-encoding", []))
        if self.is_chunked and self.length is not None:
            raise WireFault(400, "Content-Length beside Transfer-Encoding (RFC 9112 section 6.1)")
        if b"upgrade" in options:
            self.upgrade = b", ".join(found.get(b"upgrade", [])).lower()
        self.expects_continue = b"100-continue" in fields.tokens(found.get(b"expect", []))
        self.has_request_id = b"x-request-id" in found and b"x-request-id" not in options
        self.forwarded_for = b", ".join(value for value in found.get(b"x-forwarded-for", []) if value)
        self.forwarded_proto = b"".join(found.get(b"x-forwarded-proto", [])[:1])
        self.forwarded_host = b"".join(found.get(b"x-forwarded-host", [])[:1])
        if b"max-forwards" in found:
            hops = found[b"max-forwards"][0]
            self.max_forwards = int(hops) if hops.isdigit() and len(hops) < 10 else None
        self.forward = fields.cut(raw, gone)

    def get(self, name: str) -> str | None:
        """A value by lower-case name; several are joined."""
        found = fields.values(self.raw, self.low, fields.needle(name))
        if not found:
            return None
        separator = b"; " if name == "cookie" else b", "
        return (found[0] if len(found) == 1 else separator.join(found)).decode("latin-1")


class RequestHead(HeadView):
    """One request's head: what routing sees of it, and what forwarding needs beside it."""

    __slots__ = ("_query", "authority", "fields", "is_http11", "line", "minor")

    def __init__(
        self,
        method: str,
        path: bytes,
        query: bytes | None,
        minor: bytes,
        section: RequestFields,
        authority: bytes | None = None,
        line: bytes | None = None,
    ) -> None:
        super().__init__(method, path.decode("latin-1"), "")
        self._query = query
        """None: there is no question mark."""
        self.line = line
        """The request line with its line break, where it goes on as it came."""
        self.minor = minor
        """Of the version that the client said. One above 1 is served as HTTP/1.1 (RFC 9110 section 2.5), and stands in Via."""
        self.is_http11 = minor != b"0"
        self.fields = section
        self.authority = authority
        """Of an absolute-form target: it replaces Host (RFC 9112 section 3.2.2)."""

    def header(self, name: str) -> str | None:
        section = self.fields
        # `in` asks first whether it is given a number, by an error that it makes and throws away: three times as slow.
        return None if section.low.find(fields.needle(name)) < 0 else section.get(name)

    @property
    def query(self) -> str:
        return self._query.decode("latin-1") if self._query else ""

    @property
    def target(self) -> bytes:
        """As it goes on: origin-form or ``*``."""
        path = self.path.encode("latin-1")
        return path if self._query is None else b"%b?%b" % (path, self._query)

    @property
    def has_body(self) -> bool:
        return self.fields.is_chunked or bool(self.fields.length)

    @property
    def wants_websocket(self) -> bool:
        """RFC 6455 section 4.1 and RFC 9110 section 7.8: a GET of HTTP/1.1. One with a body is not upgraded: the body and
        the tunnel's first bytes could be taken for each other."""
        return (
            self.is_http11
            and self.method == "GET"
            and not self.has_body
            and b"websocket" in fields.tokens([self.fields.upgrade])
        )

    @property
    def keeps_alive(self) -> bool:
        """What the client asks for (RFC 9112 section 9.3)."""
        section = self.fields
        return not section.closes and (self.is_http11 or section.keeps_alive)


def parse_request(line: bytes, section: bytes, known: RequestFields | None = None) -> RequestHead:
    """A request line without its CRLF and the header lines with theirs.

    ``known`` are the fields of the connection's last request: clients say the same again and again.
    Raises WireFault (400, 501, 505).
    """
    parsed = known if known is not None and known.raw == section else RequestFields(section)
    match = _ORDINARY_LINE.fullmatch(line)
    if match is None or not parsed.is_plain:
        return _full(line, parsed)
    if parsed is not known and not fields.is_host(parsed.host):
        raise WireFault(400, "Host is malformed")
    method, path, query = match.groups()
    return RequestHead(METHODS[method], path, query, b"1", parsed, None, line + b"\r\n")


def whole_request(data: bytes, known: RequestFields | None) -> tuple[RequestHead, int] | None:
    """The shortest way: the head of ``data`` that is one whole ordinary request, body and all, and where its body begins.

    ``known`` is as for ``parse_request``: lines that are byte for byte the same are not looked at again. None: no such
    request, for whatever reason; ``parse_request`` finds out.
    """
    match = _line_of(data)
    if match is None:
        return None
    line_end = match.end()
    parsed = known
    if parsed is None or not data.startswith(parsed.rest, line_end):
        found = _section_at(data, line_end)
        if found is None:
            return None
        try:
            parsed = RequestFields(data[line_end : found.end() - 2], is_checked=True)
        except WireFault:
            return None
        if not fields.is_host(parsed.host):
            return None
    body_at = line_end + len(parsed.rest)
    if not parsed.is_plain or len(data) - body_at != (parsed.length or 0):
        return None
    method, path, query = match.groups()
    return RequestHead(METHODS[method], path, query, b"1", parsed, None, data[:line_end]), body_at


def is_hopeless(data: bytes, looked_at: int) -> bool:
    """Whether the beginning of a head can never become one, so that nobody waits for its end: a LF by itself, or a
    request line that is none. ``looked_at``: up to where it was found good before."""
    if _LONE_LF.search(data, max(0, looked_at - 1)) is not None:
        return True
    if looked_at > _LINE_LOOKED_AT_BYTES_MAX:
        return False
    line, newline, _ = data[:_LINE_LOOKED_AT_BYTES_MAX].partition(b"\r\n")
    return (_ANY_LINE if newline else _LINE_BEGUN).fullmatch(line) is None


def _full(line: bytes, section: RequestFields) -> RequestHead:
    """Every rule in turn, then the second opinion."""
    match = _ANY_LINE.fullmatch(line)
    if match is None:
        raise WireFault(400, "the request line is malformed")
    method, target, major, minor = match.groups()
    if major != b"1":
        raise WireFault(505, "only HTTP/1 is spoken here")
    is_http11 = minor != b"0"
    if method == b"CONNECT":
        raise WireFault(501, "CONNECT is not for a reverse proxy")
    authority = None
    if target == b"*":
        if method != b"OPTIONS":
            raise WireFault(400, "the target * is for OPTIONS alone")
    elif not target.startswith(b"/"):
        target, authority = _reduced(method, target)
    if len(section.hosts) > 1:
        raise WireFault(400, "more than one Host")
    if section.hosts and not fields.is_host(section.host):
        raise WireFault(400, "Host is malformed")
    if not section.hosts and is_http11:
        raise WireFault(400, "no Host")
    if section.is_chunked and not is_http11:
        raise WireFault(400, "a transfer coding in HTTP/1.0 (RFC 9112 section 6.1)")
    if method == b"TRACE" and (section.is_chunked or section.length):
        raise WireFault(400, "TRACE has no body (RFC 9110 section 9.3.8)")
    _second_opinion(is_http11, section)
    path, mark, query = target.partition(b"?")
    return RequestHead(
        METHODS.get(method) or method.decode("ascii"),
        path,
        query if mark else None,
        minor,
        section,
        authority,
    )


def _reduced(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    """Absolute-form to origin-form, and its authority."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not fields.is_host(match[1]):
        raise WireFault(400, "the request target is malformed")
    authority, rest = match.groups()
    if not rest:
        return (b"*" if method == b"OPTIONS" else b"/"), authority
    return (rest if rest.startswith(b"/") else b"/" + rest), authority


class _Witness:
    """What httptools sees of a head."""

    def __init__(self) -> None:
        self.lines: list[tuple[bytes, bytes]] = []
        self.is_complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.lines.append((name, value))

    def on_headers_complete(self) -> None:
        self.is_complete = True


def _second_opinion(is_http11: bool, section: RequestFields) -> None:
    """httptools must read the same header section. It gets a plain request line: it knows no other methods and no
    target bytes above 0x7f; and never a body, since it would swallow what follows."""
    witness = _Witness()
    parser = httptools.HttpRequestParser(witness)
    line = b"POST / HTTP/1.1\r\n" if is_http11 else b"POST / HTTP/1.0\r\n"
    try:
        parser.feed_data(line + section.raw + b"\r\n")
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise WireFault(400, f"the head is malformed: {error}") from error
    ours = [(name, value.strip(" \t")) for name, value in fields.pairs(section.raw)]
    theirs = [(name.decode("latin-1"), value.decode("latin-1").strip(" \t")) for name, value in witness.lines]
    if not witness.is_complete or ours != theirs:
        raise WireFault(400, "the head has more than one reading")
