"""One request's life: decide, ask, answer. This module tells it for reads and for writes that are not mirrored;
proxy.forward.mirrored tells what a mirrored write adds.

    client ──head──▶ open_exchange ──▶ begin ──▶ go ──▶ send ──▶ on_response ──▶ on_pieces … ──▶ finish
                     fence, decision   barrier   pool   head and   head and       the rest        counted, the
                                       or gap    or     the body   the body       of the body     client goes on
                                       mark      dial   so far     so far

A read whose upstream fails before the first byte of an answer goes to the primary (fallback, P2); one on a pooled
connection that died is asked again once. A write is sent once, whatever happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.errors import TurnoutError
from proxy.forward import respond
from proxy.forward.answering import JOIN_BYTES_MAX, Answering
from proxy.forward.upstream import UpstreamConnection
from proxy.limits import BUFFER_HIGH_BYTES, BUFFER_LOW_BYTES
from proxy.model import Decision, Reason, Snapshot
from proxy.routing.place import place_of
from proxy.wire.body import chunk, last_chunk
from proxy.wire.heads import request_head, upgrade_lines
from proxy.wire.request import RequestHead
from proxy.wire.response import ResponseHead

if TYPE_CHECKING:
    from proxy.forward.forwarder import Forwarder
    from proxy.forward.listener import ClientConnection


class Exchange(Answering):
    """A read, or a write that goes nowhere but to its upstream."""

    __slots__ = (
        "_has_fallen_back", "_has_retried", "_is_resendable", "_was_reused", "extra", "pending", "pending_bytes", "trailers",
    )  # fmt: skip

    upstream: UpstreamConnection | None

    def __init__(
        self,
        forwarder: Forwarder,
        client: ClientConnection,
        head: RequestHead,
        snapshot: Snapshot,
        decision: Decision,
    ) -> None:
        super().__init__(forwarder, client, head, snapshot, decision)
        self.pending: list[bytes] = []
        """Body pieces that no connection has taken yet; of a resendable request, those that one has taken too."""
        self.pending_bytes = 0
        self.trailers = b""
        self.extra = b""
        """Header lines for the upstream, beside the usual ones."""
        self._is_resendable = not decision.is_write
        self._was_reused = False
        self._has_retried = False
        self._has_fallen_back = False

    # -- the beginning ------------------------------------------------------------------------------

    def begin(self) -> None:
        """Everything before the first upstream is asked: for a read at the secondary, P5's barrier."""
        decision, snapshot = self.decision, self.snapshot
        name = decision.upstream
        if decision.is_write:
            self._begin_write(name)
            return
        if name == snapshot.secondary:
            mirror = self.forwarder.mirror
            place = place_of(decision.route, self.head.path)
            if mirror.is_unproven(place):
                self.reason = Reason.PRIMARY
                name = snapshot.primary
            elif not mirror.is_settled(place):
                mirror.await_settled(place, snapshot.limits.read_barrier_s, self._on_settled)
                return
        self.go(name)

    def _on_settled(self, is_settled: bool) -> None:
        if self._is_over:
            return
        if is_settled:
            self.go(self.snapshot.secondary)
        else:
            self.reason = Reason.BARRIER
            self.go(self.snapshot.primary)

    def _begin_write(self, name: str) -> None:
        """A write that the mirror does not carry leaves a gap mark first (DESIGN section 5, "Gaps")."""
        mirror = self.forwarder.mirror
        if mirror.note_unmirrored(place_of(self.decision.route, self.head.path), self._on_gap_marked):
            self.extra = mirror.write_headers()
            self.go(name)

    def _on_gap_marked(self, error: TurnoutError | None) -> None:
        if self._is_over:
            return
        if error is not None:
            self.answer_problem(respond.from_error(error))
            return
        client = self.client
        assert client is not None
        self.forwarder.reopen(client, self)  # a fence may stand by now, or another routing

    # -- towards the upstream -----------------------------------------------------------------------

    def go(self, name: str) -> None:
        """Ask this upstream, on an idle connection or a fresh one."""
        forwarder = self.forwarder
        if self.upstream_name:
            forwarder.moved(self.upstream_name, "")
        in_flight = forwarder.traffic.in_flight
        in_flight[name] = in_flight.get(name, 0) + 1
        self.upstream_name = name
        pool = forwarder.pools.by_name[name]
        connection = pool.take()
        if connection is None:
            pool.dial(self)
        else:
            self.send(connection)

    def on_dialed(self, connection: UpstreamConnection) -> None:
        if self._is_over:
            connection.pool.put(connection)
        else:
            self.send(connection)

    def on_dial_failed(self, kind: str, detail: str) -> None:
        if not self._is_over:
            self.forwarder.count_error(self.upstream_name, kind)
            self._unanswered(kind, detail, is_untouched=True)

    def send(self, connection: UpstreamConnection) -> None:
        """The head, and as much of the body as is there, in one write."""
        connection.start(self)
        self.upstream = connection
        self._was_reused = connection.is_reused
        head = self.head
        section = head.fields
        client = self.client
        if (
            head.line is not None and client is not None and self.is_request_done and self.pending_bytes <= JOIN_BYTES_MAX
        ):  # fmt: skip
            own = b"" if section.has_request_id else self.forwarder.request_ids.line()
            parts = [
                head.line,
                client.peer.onward(head, self.snapshot.trusted_proxies),
                self.extra,
                own,
                b"\r\n",
            ]
            if self.pending_bytes:
                parts += self.pending
                if not self._is_resendable:
                    self.pending = []
                    self.pending_bytes = 0
            connection.transport.write(b"".join(parts))
            self.deadline_s = self.forwarder.tick.now_s + self.snapshot.limits.response_timeout_s
            return
        tail = self.extra
        if client is not None:
            tail = client.peer.forwarded(head, self.snapshot.trusted_proxies) + tail
        if not section.has_request_id:
            tail += self.forwarder.request_ids.line()
        if section.upgrade and head.wants_websocket:
            tail += upgrade_lines(b"websocket")
        first = request_head(head, tail, connection.pool.host)
        if self.pending or section.is_chunked:
            if client is not None and not self.is_request_done:
                client.resume()  # before the write, which may say at once that it is too much
            self._write_body(connection, [first], self.pending, self.is_request_done)
            if not self._is_resendable:
                self.pending = []
                self.pending_bytes = 0
        else:
            connection.transport.write(first)
        limits = self.snapshot.limits
        self.deadline_s = self.forwarder.tick.now_s + (
            limits.response_timeout_s if self.is_request_done else limits.idle_timeout_s
        )

    def _write_body(
        self, connection: UpstreamConnection, parts: list[bytes], pieces: list[bytes], is_done: bool
    ) -> None:
        if self.head.fields.is_chunked:
            for piece in pieces:
                parts += chunk(piece)
            if is_done:
                parts.append(last_chunk(self.trailers))
        else:
            parts += pieces
        if len(parts) == 1:
            connection.transport.write(parts[0])
        elif parts:
            connection.transport.writelines(parts)

    def on_request_pieces(self, pieces: list[bytes], is_done: bool, trailers: bytes) -> None:
        """More of the client's body. The client stops reading while too much of it waits here."""
        self.is_request_done = is_done
        self.trailers = trailers
        connection = self.upstream
        if connection is None or self._is_resendable:
            self.pending += pieces
            self.pending_bytes += sum(map(len, pieces))
        if connection is not None:
            if self._is_resendable and self.pending_bytes > BUFFER_LOW_BYTES:
                self._is_resendable = False  # too much to keep: from now on it is sent once, like a write
                self.pending = []
                self.pending_bytes = 0
            self._write_body(connection, [], pieces, is_done)
        elif self.pending_bytes > BUFFER_HIGH_BYTES and self.client is not None:
            self.client.hold()
        if connection is not None and not self._has_answered:
            limits = self.snapshot.limits
            self.deadline_s = self.forwarder.tick.now_s + (
                limits.response_timeout_s if is_done else limits.idle_timeout_s
            )

    def on_upstream_full(self) -> None:
        if self.client is not None and not self.is_request_done:
            self.client.hold()

    def on_upstream_writable(self) -> None:
        if self.client is not None and not self.is_request_done:
            self.client.resume()

    def on_interim(self, head: ResponseHead) -> None:
        self._is_resendable = False  # the client has heard of this try
        super().on_interim(head)

    # -- where there is no answer -------------------------------------------------------------------

    def on_upstream_failed(self, kind: str, detail: str, *, is_untouched: bool) -> None:
        self.forwarder.count_error(self.upstream_name, kind)
        if self._has_answered:
            self.cut()
        else:
            self._unanswered(kind, detail, is_untouched=is_untouched)

    def _unanswered(self, kind: str, detail: str, *, is_untouched: bool) -> None:
        """A fresh connection, the primary, or a problem: the order in which a read is saved (P2)."""
        name, snapshot = self.upstream_name, self.snapshot
        if self._is_resendable and is_untouched:
            if kind == "reset" and self._was_reused and not self._has_retried:
                self._has_retried = True
                self.forwarder.pools.named(name).dial(self)
                return
            if name == snapshot.secondary and not self._has_fallen_back:
                self._has_fallen_back = True
                self.reason = Reason.FALLBACK
                self.go(snapshot.primary)
                return
        self.answer_problem(respond.failed(name, kind, detail))
