"""Message bodies (RFC 9112 sections 6 and 7): where one ends, and the pieces that it is made of. Never copies more than a slice."""

from __future__ import annotations

import re
from typing import Final, Protocol

from proxy.wire import fields
from proxy.wire.fault import WireFault
from proxy.wire.fields import SPANS, VALUE

CHUNK_LINE_BYTES_MAX: Final = 1024
"""A chunk's size with its extensions; nobody real comes near."""
EXTENSION_BYTES_MAX: Final = 16 << 10
"""All extensions of one message: they are dropped, so a sender must not be able to make us read them for ever."""
TRAILER_BYTES_MAX: Final = 16 << 10

_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;" + VALUE + rb"*)?")
_CHUNK_LINE_BEGUN: Final = re.compile(rb"[0-9A-Fa-f]{1,15}+(?:[ \t]*+(?:;" + VALUE + rb"*+)?)\r?")
_NO_TRAILERS: Final = (
    b"connection", b"content-length", b"host", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"trailer",
    b"upgrade", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host",
)  # fmt: skip
"""RFC 9110 section 6.5.1: what frames or routes a message, or says who sent it, is no trailer; it is dropped, like Turnout-*."""

_TURNOUT: Final = re.compile(rb"\n(turnout-[^:]*:)")


class Framer(Protocol):
    """Finds the end of one body in a stream of bytes."""

    is_done: bool
    trailers: bytes
    """Trailer lines that may go on, each with its CRLF; complete when ``is_done``."""

    def feed(self, data: bytes, pieces: list[bytes]) -> int:
        """Append the body's pieces in ``data``; returns how many bytes of ``data`` were this message's. Raises WireFault 400."""
        ...


class LengthFramer:
    """A body of a known number of bytes."""

    __slots__ = ("is_done", "left", "trailers")

    def __init__(self, length: int) -> None:
        self.left = length
        self.is_done = length == 0
        self.trailers = b""

    def feed(self, data: bytes, pieces: list[bytes]) -> int:
        size = len(data)
        if size < self.left:
            self.left -= size
            pieces.append(data)
            return size
        used = self.left
        self.left = 0
        self.is_done = True
        if used:
            pieces.append(data if used == size else data[:used])
        return used


class CloseFramer:
    """A response body that ends with the connection."""

    __slots__ = ("is_done", "trailers")

    def __init__(self) -> None:
        self.is_done = False
        self.trailers = b""

    def feed(self, data: bytes, pieces: list[bytes]) -> int:
        pieces.append(data)
        return len(data)


class ChunkedFramer:
    """The chunked coding. Extensions are dropped; trailers are kept and checked."""

    __slots__ = ("_extensions", "_left", "_rest", "_state", "is_done", "trailers")

    _SIZE = 0
    _DATA = 1
    _DATA_END = 2
    _TRAILERS = 3

    def __init__(self) -> None:
        self.is_done = False
        self.trailers = b""
        self._state = self._SIZE
        self._left = 0
        self._rest = b""
        """An incomplete line (or CRLF) from the last feed."""
        self._extensions = 0

    def feed(self, data: bytes, pieces: list[bytes]) -> int:
        held = len(self._rest)
        if held:
            data = self._rest + data
            self._rest = b""
        at = 0
        size = len(data)
        while at < size:
            if self._state == self._DATA:
                end = at + self._left
                if end > size:
                    pieces.append(data[at:] if at else data)
                    self._left -= size - at
                    return size - held
                pieces.append(data[at:end])
                at = end
                self._state = self._DATA_END
            elif self._state == self._DATA_END:
                if size - at < 2:
                    if data[at:] != b"\r":
                        raise WireFault(400, "a chunk does not end with CRLF")
                    break
                if data[at : at + 2] != b"\r\n":
                    raise WireFault(400, "a chunk does not end with CRLF")
                at += 2
                self._state = self._SIZE
            else:
                bound = CHUNK_LINE_BYTES_MAX if self._state == self._SIZE else TRAILER_BYTES_MAX
                end = data.find(b"\r\n", at, at + bound + 2)
                if end < 0:
                    if size - at > bound:
                        raise WireFault(400, "a chunk's size line or a trailer is too long")
                    self._check_open_line(data, at)
                    break
                if self._state == self._SIZE:
                    self._size_line(data[at:end])
                elif self._trailer_line(data[at:end]):
                    return end + 2 - held
                at = end + 2
        self._rest = data[at:]
        return size - held

    def _check_open_line(self, data: bytes, at: int) -> None:
        """A line that has not ended yet: refuse early what can never become one."""
        if self._state == self._SIZE and _CHUNK_LINE_BEGUN.fullmatch(data, at) is None:
            raise WireFault(400, "a chunk's size line is malformed")

    def _size_line(self, line: bytes) -> None:
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise WireFault(400, "a chunk's size line is malformed")
        self._extensions += len(line) - len(match[1])
        if self._extensions > EXTENSION_BYTES_MAX:
            raise WireFault(400, "too many chunk extensions")
        self._left = int(match[1], 16)
        self._state = self._DATA if self._left else self._TRAILERS

    def _trailer_line(self, line: bytes) -> bool:
        """Whether it was the empty line that ends the message."""
        if line:
            self.trailers += line + b"\r\n"
            if len(self.trailers) > TRAILER_BYTES_MAX:
                raise WireFault(400, "the trailers are too long")
            return False
        if self.trailers:
            self.trailers = _passing_trailers(self.trailers)
        self.is_done = True
        return True


def _passing_trailers(section: bytes) -> bytes:
    fields.check_section(section)
    low = fields.lowered(section)
    gone: SPANS = []
    for name in _NO_TRAILERS:
        gone += fields.spans(low, b"\n" + name + b":")
    for name in set(_TURNOUT.findall(low)):
        gone += fields.spans(low, b"\n" + name)
    return fields.cut(section, gone)


def chunk(piece: bytes) -> list[bytes]:
    """A piece as one chunk, to be written without joining."""
    return [b"%x\r\n" % len(piece), piece, b"\r\n"]


def last_chunk(trailers: bytes) -> bytes:
    return b"0\r\n%b\r\n" % trailers
