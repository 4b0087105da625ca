"""Heads going out: what a gateway must change (RFC 9110 section 7.6), and all else as it came."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from proxy.wire import fields
from proxy.wire.request import RequestFields, RequestHead
from proxy.wire.response import ResponseHead

_REASONS: Final = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
_OWN_FRAMING: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade", "content-length"}
    | {"x-served-by"}
)


def forwarded(
    section: RequestFields,
    peer_ip: bytes,
    *,
    host: bytes,
    is_trusted: bool,
    minor: bytes,
    proto: bytes = b"http",
) -> bytes:
    """The lines that tell the upstream who asked: appended to those of a trusted peer, else said anew."""
    client = peer_ip
    if is_trusted:
        client = b"%b, %b" % (section.forwarded_for, peer_ip) if section.forwarded_for else peer_ip
        proto = section.forwarded_proto or proto
        host = section.forwarded_host or host
    return b"".join(
        (
            b"X-Forwarded-For: ", client,
            b"\r\nX-Forwarded-Proto: ", proto,
            b"\r\nX-Forwarded-Host: " + host if host else b"",
            b"\r\nVia: 1.", minor, b" turnout\r\n",
        )
    )  # fmt: skip


def request_head(head: RequestHead, tail: bytes, default_host: bytes) -> bytes:
    """The head for the upstream. ``tail``: further lines. ``default_host`` for an HTTP/1.0 request without one."""
    section = head.fields
    forward = section.forward
    if head.authority is not None:
        forward = _with_host(forward, head.authority)
    elif not section.hosts:
        forward = b"Host: %b\r\n%b" % (default_host, forward)
    if section.expects_continue and not head.is_http11:
        # RFC 9110 section 10.1.1: an HTTP/1.0 client cannot be answered 100, so nobody must be asked for it.
        forward = fields.cut(forward, fields.spans(fields.lowered(forward), b"\nexpect:"))
    target = head.target
    if section.max_forwards is not None and head.method in ("OPTIONS", "TRACE"):
        forward = _with_max_forwards(forward, section.max_forwards - 1)
    if section.is_chunked:
        tail += b"Transfer-Encoding: chunked\r\n"
    return b"".join((head.method.encode(), b" ", target, b" HTTP/1.1\r\n", forward, tail, b"\r\n"))


def upgrade_lines(protocol: bytes) -> bytes:
    return b"Connection: Upgrade\r\nUpgrade: %b\r\n" % protocol


def _with_host(section: bytes, authority: bytes) -> bytes:
    found = fields.spans(fields.lowered(section), b"\nhost:")
    if not found:
        return b"Host: %b\r\n%b" % (authority, section)
    start, end = found[0]
    return b"%bHost: %b\r\n%b" % (section[:start], authority, section[end:])


def _with_max_forwards(section: bytes, hops: int) -> bytes:
    lines = fields.spans(fields.lowered(section), b"\nmax-forwards:")
    return b"%bMax-Forwards: %d\r\n" % (fields.cut(section, lines), hops)


def response_head(head: ResponseHead, tail: bytes) -> bytes:
    """The head for the client. ``tail``: further lines."""
    return b"".join((head.front, tail, b"\r\n"))


def made_head(status: int, headers: tuple[tuple[str, str], ...], length: int | None, tail: bytes) -> bytes:
    """A head from values (an answer that the mirror kept, a problem of our own), framed by ``length``."""
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b""))]
    lines += [
        f"{name}: {value}\r\n".encode("latin-1")
        for name, value in headers
        if name.lower() not in _OWN_FRAMING and not name.lower().startswith("turnout-")
    ]
    if length is not None and status != 204:
        lines.append(b"Content-Length: %d\r\n" % length)
    lines += (tail, b"\r\n")
    return b"".join(lines)
