"""One connection to an endpoint: requests out, answers in. Knows how a response is framed, not what it is for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from proxy.forward.sockets import is_tls_cut, keep_alive, pause, resume
from proxy.limits import BUFFER_HIGH_BYTES, BUFFER_LOW_BYTES, HEAD_BYTES_DEFAULT
from proxy.wire.body import ChunkedFramer, CloseFramer, Framer, LengthFramer
from proxy.wire.fault import WireFault
from proxy.wire.response import ResponseHead

if TYPE_CHECKING:
    from proxy.forward.pool import EndpointPool
    from proxy.forward.tunnel import Tunnel

KNOWN_HEAD_BYTES_MAX: Final = 2048
"""An answer's head up to this is kept for the next one: a pool holds many connections."""

INTERIM_MAX: Final = 32
"""1xx answers to one request; more is an upstream gone wrong."""


class Asker:
    """The exchange that a connection works for. When the last piece is handed over, the connection has left it already.

    A base, not a protocol: see proxy.model.HeadView.
    """

    __slots__ = ("is_request_done", "method", "upstream")

    def __init__(self, method: str) -> None:
        self.method = method
        self.is_request_done = True
        self.upstream: UpstreamConnection | None = None

    def on_interim(self, head: ResponseHead) -> None:
        """A 1xx other than 101."""
        raise NotImplementedError

    def on_switch(self, head: ResponseHead, early: bytes) -> None:
        """101, with what followed it. The exchange takes the connection over, or refuses."""
        raise NotImplementedError

    def on_response(self, head: ResponseHead, pieces: list[bytes], is_done: bool, trailers: bytes) -> None:
        """The final answer's head, and as much of its body as came with it."""
        raise NotImplementedError

    def on_pieces(self, pieces: list[bytes], is_done: bool, trailers: bytes) -> None:
        raise NotImplementedError

    def on_upstream_failed(self, kind: str, detail: str, *, is_untouched: bool) -> None:
        """No whole answer will come: ``kind`` is reset, timeout or protocol; ``is_untouched``: no byte of one came."""
        raise NotImplementedError

    def on_upstream_full(self) -> None:
        raise NotImplementedError

    def on_upstream_writable(self) -> None:
        raise NotImplementedError


class UpstreamConnection:
    """Carries one exchange at a time. An asyncio.Protocol by its methods."""

    __slots__ = (
        "_buffer", "_framer", "_has_ended", "_interims", "_is_paused", "_is_reusable", "_last_bytes", "_last_head", "exchange",
        "has_answered", "idle_since_s", "is_idle", "is_open",
        "is_reused", "pool", "transport", "tunnel",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, pool: EndpointPool) -> None:
        # for the life of the connection
        self.pool = pool
        self.is_open = False
        self.is_idle = False
        self.idle_since_s = 0.0
        self._has_ended = False
        """The endpoint has said that it sends nothing more."""
        self.is_reused = False
        """It has carried an exchange before: the endpoint may close it at any moment."""
        self.tunnel: Tunnel | None = None
        # kept from one answer to the next
        self._last_bytes = b""
        """The head of the last whole answer, with its empty line: servers say the same again and again."""
        self._last_head: ResponseHead | None = None
        # for one exchange
        self.exchange: Asker | None = None
        self.has_answered = False
        """A byte of an answer to this exchange has come."""
        self._buffer = b""
        self._framer: Framer | None = None
        self._is_reusable = False
        self._is_paused = False
        self._interims = 0

    def __repr__(self) -> str:
        state = "closed" if not self.is_open else "idle" if self.is_idle else "busy"
        return f"<UpstreamConnection {self.pool.endpoint} {state}>"

    # -- for the exchange ---------------------------------------------------------------------------

    def start(self, exchange: Asker) -> None:
        """From now on bytes belong to ``exchange``."""
        self.exchange = exchange
        self.has_answered = False
        self._interims = 0

    def close(self) -> None:
        if self.is_open:
            self.transport.close()

    def pause(self) -> None:
        """The client does not read: nor do we."""
        self._is_paused = True
        pause(self.transport)

    def resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            resume(self.transport)

    def abort(self) -> None:
        """The exchange gives up: whatever was not sent is not sent, and no answer is heard."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.upstream = None
        if self.is_open:
            self.transport.abort()

    # -- transport callbacks ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the interface, and are no subclass
        self.transport = cast("asyncio.Transport", transport)
        self.is_open = True
        self.transport.set_write_buffer_limits(BUFFER_HIGH_BYTES, BUFFER_LOW_BYTES)
        keep_alive(self.transport)

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            if self.tunnel is not None:
                self.tunnel.from_upstream(data)
            else:
                self.abort()  # an answer that nobody asked for: the next exchange must not get it
            return
        self.has_answered = True
        try:
            if self._framer is not None:
                self._body(exchange, self._framer, data)
            elif self._buffer or not self._answer_again(exchange, data):
                self._head(exchange, data)
        except WireFault as fault:
            self.abort()
            exchange.on_upstream_failed("protocol", fault.detail, is_untouched=False)

    def eof_received(self) -> bool:
        if self.tunnel is not None:
            return self.tunnel.upstream_ended()
        # RFC 9112 section 9.8: without TLS's own end, a body that ends by close may have been cut by anybody.
        self._has_ended = not is_tls_cut(self.transport)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self.pool.forget(self)
        if self.tunnel is not None:
            self.tunnel.upstream_lost()
            return
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            return
        exchange.upstream = None
        if isinstance(self._framer, CloseFramer) and exc is None and self._has_ended:
            exchange.on_pieces([], True, b"")
        else:
            if not (self.has_answered or self.is_reused) and exchange.is_request_done:
                self.pool.unanswered()
            detail = str(exc) if exc is not None else "it closed the connection"
            exchange.on_upstream_failed("reset", detail, is_untouched=not self.has_answered)

    def pause_writing(self) -> None:
        if self.tunnel is not None:
            self.tunnel.upstream_full()
        elif self.exchange is not None:
            self.exchange.on_upstream_full()

    def resume_writing(self) -> None:
        if self.tunnel is not None:
            self.tunnel.upstream_writable()
        elif self.exchange is not None:
            self.exchange.on_upstream_writable()

    # -- the answer ---------------------------------------------------------------------------------

    def _answer_again(self, exchange: Asker, data: bytes) -> bool:
        """The usual case: a whole answer in one read, with the head of the one before, byte for byte (so it ends where
        that one did). Everything else is left to ``_head``."""
        head = self._last_head
        if head is None or not data.startswith(self._last_bytes) or exchange.method == "HEAD":
            return False
        at = len(self._last_bytes)
        length = head.length
        if len(data) - at != length:
            return False
        self.exchange = None
        exchange.upstream = None
        if self._is_paused:
            self.resume()
        if exchange.is_request_done:
            self.is_reused = True
            self.pool.put(self)
        else:
            self.close()
        exchange.on_response(head, [data[at:]] if length else [], True, b"")
        return True

    def _head(self, exchange: Asker, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > HEAD_BYTES_DEFAULT:
                    raise WireFault(502, f"a head of more than {HEAD_BYTES_DEFAULT} bytes")
                self._buffer = data
                return
            if end > HEAD_BYTES_DEFAULT:
                raise WireFault(502, f"a head of more than {HEAD_BYTES_DEFAULT} bytes")
            line_end = data.find(b"\r\n")
            head = ResponseHead(data[:line_end], data[line_end + 2 : end + 2])
            if head.status >= 200:
                break
            self._interims += 1
            if self._interims > INTERIM_MAX:
                raise WireFault(502, "more interim answers than anybody needs")
            data = data[end + 4 :]
            if head.status == 101:
                exchange.on_switch(head, data)
                return
            exchange.on_interim(head)
            if self.exchange is None or not data:
                return
        at = end + 4
        size = len(data)
        length = head.length
        self._is_reusable = head.keeps_alive
        if not head.has_body(exchange.method):
            self._done(exchange, size > at)
            exchange.on_response(head, [], True, b"")
        elif length is not None and size - at >= length:
            body = data[at : at + length]
            if head.is_http11 and head.keeps_alive and at <= KNOWN_HEAD_BYTES_MAX:
                self._last_bytes, self._last_head = data[:at], head
            self._done(exchange, size - at > length)
            exchange.on_response(head, [body] if length else [], True, b"")
        else:
            framer: Framer
            if length is not None:
                framer = LengthFramer(length)
            elif head.is_chunked:
                framer = ChunkedFramer()
            else:
                framer = CloseFramer()
                self._is_reusable = False
            self._framer = framer
            pieces: list[bytes] = []
            rest = data[at:]
            used = framer.feed(rest, pieces) if rest else 0
            if framer.is_done:
                self._done(exchange, used < len(rest))
            exchange.on_response(head, pieces, framer.is_done, framer.trailers)

    def _body(self, exchange: Asker, framer: Framer, data: bytes) -> None:
        pieces: list[bytes] = []
        used = framer.feed(data, pieces)
        if framer.is_done:
            self._done(exchange, used < len(data))
        exchange.on_pieces(pieces, framer.is_done, framer.trailers)

    def _done(self, exchange: Asker, has_more: bool) -> None:
        """The answer is whole: part from the exchange first, so that its client's next request may use this connection."""
        self.exchange = None
        exchange.upstream = None
        self._framer = None
        if self.pool.back_off_s:
            self.pool.answered()
        self.resume()
        if self._is_reusable and exchange.is_request_done and not has_more:
            self.is_reused = True
            self.pool.put(self)
        else:
            self.close()
