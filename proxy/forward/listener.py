"""One client's connection: requests in, in order; answers out, in order. Knows how a request is framed, not where it goes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from proxy.forward import respond
from proxy.forward.peers import Peer
from proxy.forward.respond import Problem
from proxy.forward.sockets import can_half_close, keep_alive, pause, reset, resume
from proxy.limits import BUFFER_HIGH_BYTES, BUFFER_LOW_BYTES, PIPELINED_BYTES_MAX
from proxy.wire.body import ChunkedFramer, Framer, LengthFramer
from proxy.wire.fault import WireFault
from proxy.wire.request import RequestFields, is_hopeless, parse_request, whole_request

if TYPE_CHECKING:
    from proxy.forward.forwarder import Forwarder
    from proxy.forward.pipeline import Exchange
    from proxy.forward.tunnel import Tunnel

LINGER_S: Final = 2.0
"""After an answer to a request that was not read to its end: how long the client may still send before the socket closes.
Closing at once would reset the connection, and the client would lose the answer."""
EMPTY_LINES_MAX: Final = 4


class ClientConnection:
    """Carries one exchange at a time; what comes meanwhile waits, up to a bound. An asyncio.Protocol by its methods."""

    __slots__ = (
        "_buffer", "_deadline_s", "_fields", "_forwarder", "_framer", "_has_ended", "_holds", "_is_lingering",
        "_is_parsing", "_searched", "_unsent", "exchange", "is_full", "is_open", "peer", "transport", "tunnel",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, forwarder: Forwarder) -> None:
        # for the life of the connection
        self._forwarder = forwarder
        self.peer = Peer("", forwarder.proto)
        self.is_open = False
        self.is_full = False
        """The client does not read: more is buffered for it than BUFFER_HIGH_BYTES."""
        self._has_ended = False
        """The client has said all that it will say."""
        self._is_lingering = False
        self._unsent = 0
        self.tunnel: Tunnel | None = None
        # kept from one request to the next
        self._buffer = b""
        """Bytes of no exchange yet: an incomplete head, or requests that came early."""
        self._searched = 0
        self._fields: RequestFields | None = None
        self._is_parsing = False
        self._deadline_s = 0.0
        # for one exchange
        self.exchange: Exchange | None = None
        self._framer: Framer | None = None
        """While the body is not whole."""
        self._holds = False

    def __repr__(self) -> str:
        return f"<ClientConnection {self.peer.ip} {'open' if self.is_open else 'closed'} {self.exchange!r}>"

    @property
    def is_held(self) -> bool:
        """Reading is stopped because what is here must go on first."""
        return self._holds

    # -- transport callbacks ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the interface, and are no subclass
        self.transport = cast("asyncio.Transport", transport)
        self.is_open = True
        peer = transport.get_extra_info("peername")
        self.peer.ip = str(peer[0]) if peer else "127.0.0.1"
        forwarder = self._forwarder
        limits = forwarder.snapshots.current.limits
        self._deadline_s = forwarder.tick.now_s + limits.idle_timeout_s
        self.transport.set_write_buffer_limits(BUFFER_HIGH_BYTES, BUFFER_LOW_BYTES)
        keep_alive(self.transport)
        if len(forwarder.connections) >= min(limits.connections, forwarder.clients_max):
            self.refuse(respond.crowded())
            return
        forwarder.connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self.tunnel is not None:
            self.tunnel.from_client(data)
        elif self._framer is not None:
            self._body(self._framer, data)
        elif self._is_lingering or not self.is_open:
            pass
        elif self.exchange is not None or self.is_full:
            self._buffer += data
            if len(self._buffer) > PIPELINED_BYTES_MAX:
                self.hold()
        elif self._buffer or not self._take_whole(data):
            self._parse(data)

    def eof_received(self) -> bool:
        self._has_ended = True
        if self.tunnel is not None:
            return self.tunnel.client_ended()
        exchange = self.exchange
        if exchange is not None and self._framer is None and self.is_open and can_half_close(self.transport):
            return True  # it may still read: the answer goes out before the connection ends
        if exchange is not None:
            self.exchange = None
            exchange.on_client_lost()
        self.is_open = False
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.is_open = False
        self._forwarder.connections.discard(self)
        if self.tunnel is not None:
            self.tunnel.client_lost()
            return
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.on_client_lost()

    def pause_writing(self) -> None:
        self.is_full = True
        self._unsent = self.transport.get_write_buffer_size()
        if self.tunnel is not None:
            self.tunnel.client_full()
        elif self.exchange is not None:
            self.exchange.on_client_full()

    def resume_writing(self) -> None:
        self.is_full = False
        if self.tunnel is not None:
            self.tunnel.client_writable()
        elif self.exchange is not None:
            self.exchange.on_client_writable()
        elif self._buffer and not self._is_parsing:
            self._parse(b"")

    # -- requests -----------------------------------------------------------------------------------

    def _parse(self, data: bytes) -> None:
        """Heads, for as long as exchanges end as fast as they begin."""
        self._is_parsing = True
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        while data and self.is_open and not self._is_lingering:
            if self.exchange is not None or self.is_full or self._framer is not None:
                self._buffer = data
                break
            if data[0] in b"\r\n":
                data = self._without_empty_lines(data)
                if self._buffer or not data:
                    break
            end = data.find(b"\r\n\r\n", self._searched)
            if end < 0:
                self._wait_for_head(data)
                break
            self._searched = 0
            data = self._take_head(data, end)
        self._is_parsing = False
        if self._has_ended and self.exchange is None and not self._buffer:
            self._end(is_request_whole=True)

    def _take_whole(self, data: bytes) -> bool:
        """The usual case: one whole ordinary request in one read. False, and nothing done: a case for ``_parse``."""
        found = whole_request(data, self._fields)
        if found is None:
            return False
        head, body_at = found
        forwarder = self._forwarder
        snapshot = forwarder.snapshots.current
        limits, parsed = snapshot.limits, head.fields
        if body_at - 4 > limits.header_bytes:
            return False
        if parsed is not self._fields:
            if len(parsed.raw) > 3 * limits.header_count and parsed.raw.count(b"\r\n") > limits.header_count:
                return False
            self._fields = parsed
        peer, blocks = self.peer, snapshot.trusted_proxies
        head.client_ip = peer.client_ip(parsed, blocks) if blocks else peer.ip
        forwarder.open(self, head, [data[body_at:]] if parsed.length else None, None)
        return True

    def _without_empty_lines(self, data: bytes) -> bytes:
        """A few of them before a request are skipped (RFC 9112 section 2.2); a CR or LF by itself is none."""
        rest = data.lstrip(b"\r\n")
        lines = data[: len(data) - len(rest)]
        if len(lines) > 2 * EMPTY_LINES_MAX or lines.replace(b"\r\n", b"") not in (b"", b"\r"):
            self.refuse(respond.refused(400, "no request line"))
            return b""
        if lines.endswith(b"\r"):
            if rest:
                self.refuse(respond.refused(400, "a CR by itself"))
                return b""
            if not self._has_ended:
                self._buffer = data
        return rest

    def _wait_for_head(self, data: bytes) -> None:
        limits = self._forwarder.snapshots.current.limits
        if not self._searched:
            self._deadline_s = self._forwarder.tick.now_s + limits.header_timeout_s
        if len(data) > limits.header_bytes:
            self.refuse(_too_large(data, limits.header_bytes))
        elif is_hopeless(data, self._searched):
            self.refuse(respond.refused(400, "that is not an HTTP request"))
        elif self._has_ended:
            self._end(is_request_whole=True)
        else:
            self._buffer = data
            self._searched = max(1, len(data) - 3)

    def _take_head(self, data: bytes, end: int) -> bytes:
        """Begin the exchange of the head that ends at ``end``; returns what follows its message."""
        forwarder = self._forwarder
        limits = forwarder.snapshots.current.limits
        line_end = data.find(b"\r\n")
        section = data[line_end + 2 : end + 2]
        known = self._fields
        try:
            if end > limits.header_bytes:
                self.refuse(_too_large(data, limits.header_bytes))
                return b""
            head = parse_request(data[:line_end], section, known)
            parsed = head.fields
            if parsed is not known:
                if section.count(b"\r\n") > limits.header_count:
                    self.refuse(respond.refused(431, f"more than {limits.header_count} header lines"))
                    return b""
                self._fields = parsed
            head.client_ip = self.peer.client_ip(parsed, forwarder.snapshots.current.trusted_proxies)
            rest = data[end + 4 :]
            if parsed.is_chunked:
                self._framer = ChunkedFramer()
            elif parsed.length:
                self._framer = LengthFramer(parsed.length)
            framer = self._framer
            if framer is None:
                forwarder.open(self, head, None, None)
                return rest
            pieces: list[bytes] = []
            used = framer.feed(rest, pieces) if rest else 0
            if framer.is_done:
                self._framer = None
            elif self._has_ended:  # its rest can never come: no upstream sees a part of it
                self._end(is_request_whole=True)
                return b""
        except WireFault as fault:
            self._framer = None
            self.refuse(respond.refused(fault.status, fault.detail))
            return b""
        forwarder.open(self, head, pieces, framer)
        return rest[used:]

    def _body(self, framer: Framer, data: bytes) -> None:
        exchange = self.exchange
        pieces: list[bytes] = []
        try:
            used = framer.feed(data, pieces)
        except WireFault as fault:
            if exchange is not None:  # with the framer in place: the request is not whole, so the end lingers
                exchange.on_client_fault(respond.refused(fault.status, fault.detail))
            self._framer = None
            return
        if framer.is_done:
            self._framer = None
            self._buffer = data[used:]
        if exchange is not None:
            exchange.on_request_pieces(pieces, framer.is_done, framer.trailers)

    # -- for the exchange ---------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self.is_open:
            self.transport.write(data)

    def writelines(self, parts: list[bytes]) -> None:
        if self.is_open:
            self.transport.writelines(parts)

    def hold(self) -> None:
        """Stop reading until ``resume``."""
        if not self._holds and self.is_open:
            self._holds = True
            pause(self.transport)

    def resume(self) -> None:
        if self._holds:
            self._holds = False
            if self.is_open:
                resume(self.transport)

    def start_tunnel(self, tunnel: Tunnel) -> bytes:
        """Bytes belong to the tunnel from now on; returns those that came early."""
        self.exchange = None
        self.tunnel = tunnel
        early, self._buffer = self._buffer, b""
        self.resume()
        return early

    def exchange_done(self, *, closes: bool) -> None:
        """Its answer is written: the next request, if the connection goes on."""
        self.exchange = None
        forwarder = self._forwarder
        if closes or forwarder.is_stopping or (self._has_ended and not self._buffer and not self._is_parsing):
            self._end(is_request_whole=self._framer is None)
            return
        if self._holds:
            self.resume()
        self._deadline_s = forwarder.tick.now_s + forwarder.snapshots.current.limits.idle_timeout_s
        if self._buffer and not self._is_parsing:
            self._parse(b"")

    def refuse(self, problem: Problem) -> None:
        """Answer what was never an exchange, and end the connection."""
        self._forwarder.count_refused(problem.status)
        self.write(problem.render(self._forwarder.date_line() + b"Connection: close\r\n", is_head=False))
        self._end(is_request_whole=False)

    def _end(self, *, is_request_whole: bool) -> None:
        self._buffer = b""
        self._framer = None
        if not self.is_open:
            return
        if is_request_whole or self._has_ended or not can_half_close(self.transport):
            # (Closing TLS lingers by itself: it says so, and reads until the client has said the same.)
            self.is_open = False
            self.transport.close()
            return
        self._is_lingering = True
        self._deadline_s = self._forwarder.tick.now_s + LINGER_S
        self.resume()
        self.transport.write_eof()

    def cut(self, *, is_reset: bool) -> None:
        """End the connection in the middle of an answer."""
        self.exchange = None
        self._framer = None
        if self.is_open:
            self.is_open = False
            reset(self.transport) if is_reset else self.transport.close()

    def abort(self) -> None:
        """The end of all patience, also with a close that is under way."""
        self.is_open = False
        self.transport.abort()

    # -- time ---------------------------------------------------------------------------------------

    def is_stuck(self) -> bool:
        """Whether the client has read nothing since this was last asked."""
        unsent = self.transport.get_write_buffer_size()
        was, self._unsent = self._unsent, unsent
        return unsent >= was > 0

    def tick(self, now_s: float) -> None:
        """Look at the deadline of whatever the connection is doing."""
        exchange = self.exchange
        if exchange is not None:
            if now_s >= exchange.deadline_s:
                exchange.on_deadline()
            return
        if now_s < self._deadline_s or self.tunnel is not None or not self.is_open:
            return
        if self.is_full:
            self._deadline_s = now_s + self._forwarder.snapshots.current.limits.idle_timeout_s
            if self.is_stuck():
                self.abort()
        elif self._buffer and not self._is_lingering:
            self.refuse(respond.refused(408, "the head did not come in time"))
        else:
            self.is_open = False
            self.transport.close()

    def stop(self) -> None:
        """No further request; one that runs ends first."""
        if self.exchange is None and self.tunnel is None and self.is_open and not self._is_lingering:
            self.is_open = False
            self.transport.close()


def _too_large(data: bytes, bytes_max: int) -> Problem:
    if b"\r\n" not in data[:bytes_max]:
        return respond.refused(414, f"the request line is longer than {bytes_max} bytes")
    return respond.refused(431, f"the head is longer than {bytes_max} bytes")
