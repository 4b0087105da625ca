"""What a mirrored write adds to an exchange: the fence, the intent before the first byte, the outcome before the answer.

    hold (fence) → intend → durable → the primary → accepted → durable → [the secondary's answer] → the client
                                          ├──▶ rejected (4xx but 408): answered at once
                                          ├──▶ never_sent: no byte of it left
                                          └──▶ doubtful: 5xx, 408, a cut, a time-out, a client gone in mid-upload

Exactly one outcome is told for each intent, and the primary is asked once. Rules of DESIGN section 5, "A write's life".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from proxy.errors import TurnoutError
from proxy.forward import respond
from proxy.forward.answering import NEVER_S
from proxy.forward.pipeline import Exchange
from proxy.forward.respond import Problem
from proxy.forward.upstream import UpstreamConnection
from proxy.limits import HEADER_SETS_KEPT_MAX, KEPT_ANSWER_BYTES_MAX, KEPT_BODY_BYTES_MAX
from proxy.model import Decision, MirrorAnswer, Place, PrimaryAnswer, Reason, Snapshot, WriteHead
from proxy.routing.place import marks_of
from proxy.wire import fields
from proxy.wire.heads import made_head
from proxy.wire.request import RequestHead
from proxy.wire.response import ResponseHead

if TYPE_CHECKING:
    from proxy.forward.forwarder import Forwarder
    from proxy.forward.listener import ClientConnection

_NOT_REPEATED: Final = frozenset({"host", "content-length", "expect"})
"""End-to-end headers that a replay makes anew."""


@lru_cache(maxsize=HEADER_SETS_KEPT_MAX)
def _repeated(section: bytes) -> tuple[tuple[str, str], ...]:
    """The end-to-end headers that a replay repeats. A connection's requests say the same again and again."""
    return tuple((name, value) for name, value in fields.pairs(section) if name.lower() not in _NOT_REPEATED)


class HeldWrite(Exchange):
    """A write that waits at the fence: no intent yet, and forgotten if its client leaves."""

    __slots__ = ("_cancel",)

    _cancel: Callable[[], None]

    def begin(self) -> None:
        self._cancel = self.forwarder.mirror.hold(self._on_released)

    def _on_released(self, error: TurnoutError | None) -> None:
        client = self.client
        if self._is_over or client is None:
            return
        if error is not None:
            self.answer_problem(respond.from_error(error))
        else:
            self.forwarder.reopen(client, self)

    def finish(self) -> None:
        self._cancel()
        super().finish()


class MirroredWrite(Exchange):
    """A write of which the journal knows."""

    __slots__ = (
        "_answer_bytes", "_answer_head", "_answer_pieces", "_answer_trailers", "_is_answer_whole", "_is_broken",
        "_is_outcome_told", "_is_sent", "_kept", "_kept_bytes", "_mirror", "_place", "seq",
    )  # fmt: skip

    def __init__(
        self,
        forwarder: Forwarder,
        client: ClientConnection,
        head: RequestHead,
        snapshot: Snapshot,
        decision: Decision,
        place: Place,
    ) -> None:
        super().__init__(forwarder, client, head, snapshot, decision)
        self._mirror = forwarder.mirror
        self._place = place
        self.seq = 0
        # the request
        self._is_sent = False
        """A byte of it may have reached the primary."""
        self._kept: list[bytes] | None = []
        """The body so far, for the replay; None once it is larger than may be kept."""
        self._kept_bytes = 0
        # the outcome
        self._is_outcome_told = False
        self._is_broken = False
        # the primary's accepted answer, held back
        self._answer_head: ResponseHead | None = None
        self._answer_pieces: list[bytes] = []
        self._answer_bytes = 0
        self._answer_trailers = b""
        self._is_answer_whole = False

    # -- the intent ---------------------------------------------------------------------------------

    def begin(self) -> None:
        """In the same step of the loop as the fence check and the decision."""
        self._keep(self.pending)
        if self.decision.upstream != self.snapshot.primary:
            # Until the secondary has answered: what the primary refuses or fails is not the canary's.
            self.reason = Reason.PRIMARY
        route = self.decision.route
        write = WriteHead(
            self.method,
            self.head.target.decode("latin-1"),
            self._place,
            _repeated(self.head.fields.forward),
            marks_of(route, self._place, self.method),
            route.is_state,
        )
        self.seq = self._mirror.intend(write, self._on_intent_durable)

    def _on_intent_durable(self, error: TurnoutError | None) -> None:
        if self._is_over:
            return
        if error is not None:
            self._is_outcome_told = True  # there is no entry to tell it of
            self.answer_problem(respond.from_error(error))
            return
        self.extra = self._mirror.headers_for(self.seq)
        self.go(self.snapshot.primary)

    # -- the request --------------------------------------------------------------------------------

    def send(self, connection: UpstreamConnection) -> None:
        self._is_sent = True
        super().send(connection)

    def on_request_pieces(self, pieces: list[bytes], is_done: bool, trailers: bytes) -> None:
        self._keep(pieces)
        super().on_request_pieces(pieces, is_done, trailers)

    def _keep(self, pieces: list[bytes]) -> None:
        kept = self._kept
        if kept is not None:
            kept += pieces
            self._kept_bytes += sum(map(len, pieces))
            if self._kept_bytes > KEPT_BODY_BYTES_MAX:
                self._kept = None

    # -- outcomes without an accepted answer --------------------------------------------------------

    def _give_outcome_up(self) -> None:
        """The write will have no answer: in doubt, unless no byte of it can have arrived. One refused before its intent has no entry."""
        if self._is_outcome_told or not self.seq:
            return
        self._is_outcome_told = True
        if self._is_sent:
            self._mirror.doubtful(self.seq)
        else:
            self._mirror.never_sent(self.seq)

    def answer_problem(self, problem: Problem) -> None:
        self._give_outcome_up()
        super().answer_problem(problem)

    def on_upstream_failed(self, kind: str, detail: str, *, is_untouched: bool) -> None:
        if self._answer_head is not None and self._is_outcome_told and not self._has_answered:
            # Accepted and too large to be held; it broke off before its outcome was on disk.
            self.forwarder.count_error(self.upstream_name, kind)
            self._is_broken = True
            return
        self._give_outcome_up()
        super().on_upstream_failed(kind, detail, is_untouched=is_untouched)

    def on_client_lost(self) -> None:
        if self._is_sent and self.is_request_done and not self._is_outcome_told:
            self.client = None
            self.forwarder.detached.add(self)  # the primary has the whole of it: what it answers still counts
            return
        self._give_outcome_up()
        super().on_client_lost()

    def finish(self) -> None:
        self.forwarder.detached.discard(self)
        super().finish()

    # -- the primary's answer -----------------------------------------------------------------------

    def on_response(self, head: ResponseHead, pieces: list[bytes], is_done: bool, trailers: bytes) -> None:
        if head.status < 400:
            self._answer_head = head
            self.status = head.status
            self._hold_back(pieces, is_done, trailers)
            return
        self._is_outcome_told = True
        if head.status < 500 and head.status != 408:
            self._mirror.rejected(self.seq)
        else:
            self._mirror.doubtful(self.seq)
        super().on_response(head, pieces, is_done, trailers)

    def on_pieces(self, pieces: list[bytes], is_done: bool, trailers: bytes) -> None:
        if self._has_answered:
            super().on_pieces(pieces, is_done, trailers)
        else:
            self._hold_back(pieces, is_done, trailers)

    def _hold_back(self, pieces: list[bytes], is_done: bool, trailers: bytes) -> None:
        """The client may read an accepted answer only once its outcome is on disk (P3)."""
        self._answer_pieces += pieces
        self._answer_bytes += sum(map(len, pieces))
        self._is_answer_whole = is_done
        self._answer_trailers = trailers
        if self._is_outcome_told:
            return
        if self._answer_bytes > KEPT_ANSWER_BYTES_MAX:
            if self.upstream is not None:
                self.upstream.pause()
            self._accept(None)
        elif is_done:
            self._accept(b"".join(self._answer_pieces))
        else:
            self.deadline_s = self.forwarder.tick.now_s + self.snapshot.limits.response_timeout_s

    def _accept(self, body: bytes | None) -> None:
        head = self._answer_head
        assert head is not None
        self._is_outcome_told = True
        self.deadline_s = NEVER_S
        request_body = b"".join(self._kept) if self._kept is not None and self.is_request_done else None
        answer = PrimaryAnswer(head.status, tuple(fields.pairs(head.raw)), body, request_body)
        self._kept = None
        self._mirror.accepted(self.seq, answer, self._on_outcome_durable)

    def _on_outcome_durable(self, error: TurnoutError | None) -> None:
        if self._is_over:
            return
        if error is not None:
            self.answer_problem(respond.outcome_unknown(self.snapshot.primary, error))
        elif self.client is None:
            if self.upstream is not None:
                self.upstream.abort()
            self.finish()
        elif self.decision.upstream != self.snapshot.primary and self._is_answer_whole:
            self._mirror.await_secondary(self.seq, self.snapshot.mirror.answer_timeout_s, self._on_secondary)
        else:
            self._answer_by_primary()

    # -- the client's answer ------------------------------------------------------------------------

    def _on_secondary(self, answer: MirrorAnswer | None) -> None:
        if self._is_over:
            return
        if answer is None:
            self._answer_by_primary()
            return
        self.forwarder.moved(self.upstream_name, self.snapshot.secondary)
        self.upstream_name = self.snapshot.secondary
        self.reason = self.decision.reason
        self.status = answer.status
        self._has_answered = True
        has_date = any(name.lower() == "date" for name, _ in answer.headers)
        tail = self._tail(b"1", has_date=has_date) + self._connection_line()
        client = self.client
        if client is not None:
            client.write(made_head(answer.status, answer.headers, len(answer.body), tail) + answer.body)
        self.finish()

    def _answer_by_primary(self) -> None:
        head = self._answer_head
        assert head is not None
        if self.decision.upstream != self.snapshot.primary:
            self.reason = Reason.FALLBACK
        pieces, self._answer_pieces = self._answer_pieces, []
        if self._is_broken:
            self.answer(head, pieces, False, b"")
            self.cut()
            return
        super().on_response(head, pieces, self._is_answer_whole, self._answer_trailers)
        client = self.client
        if self.upstream is not None and (client is None or not client.is_full):
            self.upstream.resume()
