"""The way back to the client: heads, bodies, problems, cuts, tunnels, and the time an answer may take.

One half of an exchange; proxy.forward.pipeline is the other. Knows the client's connection, and of the upstream only
how to pause it and let it go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.forward import respond
from proxy.forward.respond import Problem
from proxy.forward.tunnel import Tunnel
from proxy.forward.upstream import Asker
from proxy.model import COOKIE_NAME, Decision, Snapshot
from proxy.wire.body import chunk, last_chunk
from proxy.wire.heads import response_head, upgrade_lines
from proxy.wire.request import RequestHead
from proxy.wire.response import ResponseHead

if TYPE_CHECKING:
    from proxy.forward.forwarder import Forwarder
    from proxy.forward.listener import ClientConnection

NEVER_S: Final = float("inf")
JOIN_BYTES_MAX: Final = 16 << 10
"""A body up to this is copied behind its head, which is cheaper than a second buffer in the write; never a larger one."""

CLIENT_LEFT: Final = 499
"""The code that is counted for a request whose client did not wait for an answer (nginx's)."""

_COOKIE_AGE_S: Final = 365 * 24 * 3600


_COOKIE_FRONT: Final = f"Set-Cookie: {COOKIE_NAME}=".encode()
_COOKIE_END: Final = f"; Path=/; Max-Age={_COOKIE_AGE_S}; HttpOnly; SameSite=Lax\r\n".encode()
_NUMBERS: Final = tuple(b"%d" % number for number in range(100))
_LAST_TWO: Final = tuple(b"%02d" % number for number in range(100))


def cookie_line(bucket: int) -> bytes:
    """Put together from two small tables: 10,000 lines that were kept would not stay in the processor's cache."""
    number = _NUMBERS[bucket] if bucket < 100 else _NUMBERS[bucket // 100] + _LAST_TWO[bucket % 100]
    return _COOKIE_FRONT + number + _COOKIE_END


class Answering(Asker):
    """What an exchange tells its client. Counted once, in ``finish``."""

    __slots__ = (
        "_chunks", "_counts_down", "_has_answered", "_is_over", "client", "closes", "deadline_s", "decision", "forwarder",
        "head", "reason", "snapshot", "started_s", "status", "upstream_name",
    )  # fmt: skip

    def __init__(
        self,
        forwarder: Forwarder,
        client: ClientConnection,
        head: RequestHead,
        snapshot: Snapshot,
        decision: Decision,
    ) -> None:
        super().__init__(head.method)
        self.forwarder = forwarder
        self.client: ClientConnection | None = client
        """None once the client has left and only the outcome matters."""
        self.head = head
        self.snapshot = snapshot
        self.decision = decision
        self.reason = decision.reason
        self.started_s = forwarder.now()
        self.deadline_s = NEVER_S
        """Looked at each tick; in the clock's seconds."""
        self.upstream_name = ""
        self.status = 0
        self.closes = head.fields.closes if head.is_http11 else not head.keeps_alive
        """The client's connection ends with this answer."""
        self._has_answered = False
        """The client has a byte of the final answer."""
        self._chunks = False
        self._counts_down = False
        """The rest of the answer is of a known length, so an upstream that pauses for long has failed."""
        self._is_over = False

    # -- an upstream's answer -----------------------------------------------------------------------

    def on_response(self, head: ResponseHead, pieces: list[bytes], is_done: bool, trailers: bytes) -> None:
        """An ordinary answer, whole and small, goes out in one step; every other one takes ``answer``."""
        client, forwarder = self.client, self.forwarder
        if (
            not is_done or not head.is_plain or client is None or self.closes or forwarder.is_stopping
            or not self.head.is_http11 or (pieces and len(pieces[0]) > JOIN_BYTES_MAX)
        ):  # fmt: skip
            self.answer(head, pieces, is_done, trailers)
            return
        self.status = head.status
        self._has_answered = True
        tail = forwarder.answer_tails.get(self.upstream_name) or forwarder.answer_tail(
            self.upstream_name, b"1"
        )
        if not head.has_date:
            tail += forwarder.date_line()
        bucket = self.decision.new_bucket
        if bucket is not None:
            tail += cookie_line(bucket)
        if client.is_open:
            parts = [head.front, tail, b"\r\n"]
            parts += pieces
            client.transport.write(b"".join(parts))
        self.finish()

    def on_pieces(self, pieces: list[bytes], is_done: bool, trailers: bytes) -> None:
        self._write([], pieces, is_done, trailers)
        if is_done:
            self.finish()
        elif self._counts_down:
            self.deadline_s = self.forwarder.tick.now_s + self.snapshot.limits.response_timeout_s

    def answer(self, head: ResponseHead, pieces: list[bytes], is_done: bool, trailers: bytes) -> None:
        """The head, and as much of the body as is there, in one write."""
        self.status = head.status
        self._has_answered = True
        tail = self._tail(head.minor, has_date=head.has_date)
        if head.length is None and head.has_body(self.method):
            if self.head.is_http11:
                self._chunks = True
                tail += b"Transfer-Encoding: chunked\r\n"
            else:
                self.closes = True
        first = response_head(head, tail + self._connection_line())
        client = self.client
        if is_done and not self._chunks and (not pieces or len(pieces[0]) <= JOIN_BYTES_MAX):
            if client is not None:
                client.write(first + pieces[0] if len(pieces) == 1 else b"".join((first, *pieces)))
        else:
            self._write([first], pieces, is_done, trailers)
        if is_done:
            self.finish()
            return
        self._counts_down = head.length is not None
        self.deadline_s = (
            self.forwarder.tick.now_s + self.snapshot.limits.response_timeout_s
            if self._counts_down
            else NEVER_S
        )
        if client is not None and client.is_full and self.upstream is not None:
            self.upstream.pause()

    def _write(self, parts: list[bytes], pieces: list[bytes], is_done: bool, trailers: bytes) -> None:
        client = self.client
        if client is None:
            return
        if self._chunks:
            for piece in pieces:
                parts += chunk(piece)
            if is_done:
                parts.append(last_chunk(trailers))
        else:
            parts += pieces
        if len(parts) == 1:
            client.write(parts[0])
        elif parts:
            client.writelines(parts)

    def _tail(self, minor: bytes, *, has_date: bool) -> bytes:
        """The lines that the proxy adds to an upstream's answer."""
        tail = self.forwarder.answer_tail(self.upstream_name, minor)
        if not has_date:
            tail += self.forwarder.date_line()
        bucket = self.decision.new_bucket
        if bucket is not None:
            tail += cookie_line(bucket)
        return tail

    def _connection_line(self) -> bytes:
        if self.forwarder.is_stopping:
            self.closes = True
        if self.closes:
            return b"Connection: close\r\n"
        return b"" if self.head.is_http11 else b"Connection: keep-alive\r\n"

    def on_interim(self, head: ResponseHead) -> None:
        """1xx answers pass at once (RFC 9110 section 15.2), but not to a client that knows none."""
        if self.client is not None and self.head.is_http11:
            self.client.write(response_head(head, b""))

    def on_switch(self, head: ResponseHead, early: bytes) -> None:
        """101: from here on bytes go both ways, those that came early first."""
        connection, client = self.upstream, self.client
        assert connection is not None
        if client is None or head.upgrade != b"websocket" or not self.head.wants_websocket:
            connection.abort()
            self.on_upstream_failed(
                "protocol", "101 to a request that asked for something else", is_untouched=False
            )
            return
        self.status = 101
        self._has_answered = True
        self.closes = True
        self.deadline_s = NEVER_S
        tunnel = Tunnel(client.transport, connection.transport, self._on_tunnel_end)
        connection.exchange = None
        self.upstream = None
        client.write(response_head(head, self._tail(head.minor, has_date=True) + upgrade_lines(head.upgrade)))
        if early:
            client.write(early)
        from_client = client.start_tunnel(tunnel)
        connection.tunnel = tunnel
        if from_client:
            connection.transport.write(from_client)

    def _on_tunnel_end(self) -> None:
        self.client = None
        self.finish()

    # -- answers of our own -------------------------------------------------------------------------

    def answer_problem(self, problem: Problem) -> None:
        """A problem in place of an answer; where an answer has begun already, it is cut."""
        if self.upstream is not None:
            self.upstream.abort()
        if self._has_answered:
            self.cut()
            return
        self.status = problem.status
        self._has_answered = True
        if not self.is_request_done:
            self.closes = True  # nobody reads the rest of the request
        client = self.client
        if client is not None:
            tail = self.forwarder.date_line() + self._connection_line()
            client.write(problem.render(tail, is_head=self.method == "HEAD"))
        self.finish()

    def cut(self) -> None:
        """The upstream broke off: the client must not take what it has for the whole answer."""
        client, self.client = self.client, None
        if client is not None:
            # A body that ends with the connection can only be told from a whole one by a reset.
            client.cut(is_reset=not (self._chunks or self._counts_down))
        self.finish()

    # -- the client's side --------------------------------------------------------------------------

    def on_client_full(self) -> None:
        if self.upstream is not None and self._has_answered:
            self.upstream.pause()

    def on_client_writable(self) -> None:
        if self.upstream is not None:
            self.upstream.resume()

    def on_client_lost(self) -> None:
        """It hung up: nobody reads the answer, and an upload that was not whole is not made to look so."""
        self.client = None
        if self.upstream is not None:
            self.upstream.abort()
        if not self._has_answered:
            self.status = CLIENT_LEFT
        self.finish()

    # -- time and the end ---------------------------------------------------------------------------

    def on_deadline(self) -> None:
        """Something that must not take for ever did."""
        client, limits = self.client, self.snapshot.limits
        if self._has_answered:
            if client is not None and client.is_full:
                self.deadline_s = self.forwarder.tick.now_s + limits.idle_timeout_s
                if client.is_stuck():
                    client.abort()
                return
            self._give_up(f"its answer stopped for {limits.response_timeout_s:g} s")
        elif self.is_request_done:
            self._give_up(f"no answer within {limits.response_timeout_s:g} s")
        elif client is not None and client.is_held:
            self._give_up(f"it read nothing of the request for {limits.idle_timeout_s:g} s")
        else:
            self.on_client_silent()

    def on_client_fault(self, problem: Problem) -> None:
        """Its body is malformed: what came of it must not look whole."""
        self.answer_problem(problem)

    def on_client_silent(self) -> None:
        self.answer_problem(
            respond.refused(408, f"no more of the body within {self.snapshot.limits.idle_timeout_s:g} s")
        )

    def _give_up(self, detail: str) -> None:
        connection = self.upstream
        self.deadline_s = NEVER_S
        is_untouched = connection is None or not connection.has_answered
        if connection is not None:
            if is_untouched:
                connection.pool.unanswered()
            connection.abort()
        self.on_upstream_failed("timeout", detail, is_untouched=is_untouched)

    def retire(self) -> None:
        """Another exchange takes this one's place, and is the one that counts."""
        self._is_over = True
        self.client = None

    def finish(self) -> None:
        """The end, whatever it was: counted, and the client's next request may come."""
        if self._is_over:
            return
        self._is_over = True
        self.forwarder.closed(self)
        client, self.client = self.client, None
        if client is not None:
            client.exchange_done(closes=self.closes or not self.is_request_done)
