"""Requests of the mirror's own, on the connections that clients' requests use: a ports.ReplaySender without a client library.

A replay costs the proxy about what a client's request does; aiohttp's client took four times as long, which was most of a
mirrored write. Each request is sent once: a connection that breaks under it is an error, whatever its method.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from proxy.errors import UpstreamError
from proxy.forward.pool import Pools
from proxy.forward.sockets import TICK_S
from proxy.forward.upstream import Asker, UpstreamConnection
from proxy.model import Reply
from proxy.ports import Answered
from proxy.wire import fields
from proxy.wire.response import ResponseHead

_NO_BODY: Final = ("GET", "HEAD", "DELETE")
"""Without one they say no length (RFC 9110 section 8.6)."""


class PoolSender:
    """A ports.ReplaySender over ``pools``, which whoever builds it sets before the first request."""

    pools: Pools

    def __init__(self, *, token: str = "") -> None:
        self._token_line = f"Turnout-Token: {token}\r\n".encode("latin-1") if token else b""
        self._loop = asyncio.get_running_loop()
        self._under_way: dict[_Asking, float] = {}
        """Requests without an answer yet → when each is given up. Looked at each TICK_S, for a timer of its own costs more than its answer."""
        self._ticker: asyncio.TimerHandle | None = None

    async def send(
        self,
        upstream: str,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        timeout_s: float,
    ) -> Reply:
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers]).encode("latin-1")
        came: asyncio.Future[Answered] = self._loop.create_future()

        def done(answer: Answered | UpstreamError) -> None:
            if came.done():
                return
            if isinstance(answer, UpstreamError):
                came.set_exception(answer)
            else:
                came.set_result(answer)

        cancel = self.ask(upstream, method, target, lines, body, timeout_s=timeout_s, done=done)
        try:
            answer = await came
        finally:
            cancel()
        return Reply(answer.status, answer.headers, answer.body)

    def ask(
        self,
        upstream: str,
        method: str,
        target: str,
        lines: bytes,
        body: bytes,
        *,
        timeout_s: float,
        done: Callable[[Answered | UpstreamError], None],
    ) -> Callable[[], None]:
        pool = self.pools.by_name[upstream]
        length = b"Content-Length: %d\r\n" % len(body) if body or method not in _NO_BODY else b""
        asking = _Asking(upstream, method, done, self._under_way)
        asking.front = f"{method} {target} HTTP/1.1\r\nHost: ".encode("latin-1")
        asking.rest = b"".join((b"\r\n", lines, self._token_line, length, b"\r\n", body))
        asking.timeout_s = timeout_s
        self._under_way[asking] = self._loop.time() + timeout_s
        if self._ticker is None:
            self._ticker = self._loop.call_later(TICK_S, self._on_tick)
        connection = pool.take()
        if connection is None:
            pool.dial(asking)
        else:
            asking.on_dialed(connection)
        return asking.cancel

    def _on_tick(self) -> None:
        now_s = self._loop.time()
        for asking in [asking for asking, at_s in self._under_way.items() if at_s <= now_s]:
            asking.on_timeout()
        self._ticker = self._loop.call_later(TICK_S, self._on_tick) if self._under_way else None


class _Whole:
    """A ports.Answered."""

    __slots__ = ("_section", "body", "status")

    def __init__(self, status: int, section: bytes, body: bytes) -> None:
        self.status = status
        self._section = section
        self.body = body

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        return tuple(fields.pairs(self._section))


class _Asking(Asker):
    """One request under way: what a connection works for, and who waits for a fresh one."""

    __slots__ = (
        "_done",
        "_head",
        "_name",
        "_pieces",
        "_under_way",
        "front",
        "rest",
        "timeout_s",
    )

    def __init__(
        self,
        name: str,
        method: str,
        done: Callable[[Answered | UpstreamError], None],
        under_way: dict[_Asking, float],
    ) -> None:
        super().__init__(method)
        self._name = name
        self._under_way = under_way
        self.timeout_s = 0.0
        self._done: Callable[[Answered | UpstreamError], None] | None = done
        """None once nobody waits any more."""
        self.front = b""
        """The request up to the value of Host."""
        self.rest = b""
        self._head: ResponseHead | None = None
        self._pieces: list[bytes] = []

    # -- the connection ----------------------------------------------------------------------------

    def on_dialed(self, connection: UpstreamConnection) -> None:
        if self._done is None:
            connection.pool.put(connection)
            return
        connection.start(self)
        self.upstream = connection
        connection.transport.write(b"".join((self.front, connection.pool.host, self.rest)))

    def on_dial_failed(self, kind: str, detail: str) -> None:  # noqa: ARG002 - pool.Caller's
        self._fail(detail)

    def on_timeout(self) -> None:
        self._end()
        self._fail(f"no answer within {self.timeout_s:g} s")

    def cancel(self) -> None:
        self._done = None
        self._under_way.pop(self, None)
        self._end()

    def _end(self) -> None:
        """An answer that is still to come must not be taken for another's."""
        if self.upstream is not None:
            self.upstream.abort()

    # -- the answer --------------------------------------------------------------------------------

    def on_interim(self, head: ResponseHead) -> None:
        """A 1xx tells the mirror nothing."""

    def on_switch(self, head: ResponseHead, early: bytes) -> None:  # noqa: ARG002 - upstream.Asker's
        self._end()
        self._fail("it answers 101 to a request that asked for nothing of the kind")

    def on_response(self, head: ResponseHead, pieces: list[bytes], is_done: bool, trailers: bytes) -> None:
        self._head = head
        self.on_pieces(pieces, is_done, trailers)

    def on_pieces(self, pieces: list[bytes], is_done: bool, trailers: bytes) -> None:  # noqa: ARG002 - upstream.Asker's
        self._pieces += pieces
        head = self._head
        if is_done and head is not None:
            self._tell(_Whole(head.status, head.raw, b"".join(self._pieces)))

    def on_upstream_failed(self, kind: str, detail: str, *, is_untouched: bool) -> None:  # noqa: ARG002 - upstream.Asker's
        self._fail(detail)

    def on_upstream_full(self) -> None:
        """What is sent is kept already."""

    def on_upstream_writable(self) -> None: ...

    def _fail(self, detail: str) -> None:
        self._tell(UpstreamError(f"{self._name} does not answer: {detail}", f"is {self._name} running?"))

    def _tell(self, answer: Answered | UpstreamError) -> None:
        done, self._done = self._done, None
        if done is not None:
            del self._under_way[self]
            done(answer)
