"""The forwarding side of the proxy in one object: what listens, what is pooled, what runs, and the tick that watches it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from email.utils import formatdate
from typing import Any, Final, cast

import structlog

from proxy.forward import respond
from proxy.forward.answering import Answering
from proxy.forward.listener import LINGER_S, ClientConnection
from proxy.forward.mirrored import HeldWrite, MirroredWrite
from proxy.forward.pipeline import Exchange
from proxy.forward.pool import Pools
from proxy.forward.request_ids import RequestIds
from proxy.forward.sockets import FILES_UNBOUNDED, TICK_S, Tick, clients_for
from proxy.limits import SHUTDOWN_S_MAX
from proxy.model import Decision, Kind, Reason, Snapshot
from proxy.observe import Metrics, make_metrics
from proxy.ports import Clock, Dice, MirrorPort, Snapshots
from proxy.routing.decide import decide, row_of
from proxy.routing.paths import decoded
from proxy.routing.place import place_of
from proxy.routing.table import READ_METHODS
from proxy.wire.body import Framer
from proxy.wire.request import RequestHead

log = structlog.get_logger("forward")

NO_UPSTREAM: Final = "none"
"""The upstream label of a request that the proxy answered by itself."""

BACKLOG: Final = 4096
STOP_LOOK_S: Final = 0.02


class Forwarder:
    """Accepts clients and forwards their requests by the snapshot that is current when each begins (P8)."""

    def __init__(
        self,
        *,
        snapshots: Snapshots,
        mirror: MirrorPort,
        dice: Dice,
        clock: Clock,
        metrics: Metrics | None = None,
        open_files: int = FILES_UNBOUNDED,
    ) -> None:
        """``open_files``: how many the process may have (sockets.raise_open_files)."""
        # for the life of the process
        self.snapshots = snapshots
        self.mirror = mirror
        self.dice = dice
        self.clock = clock
        self.now = clock.now
        self.metrics = metrics or make_metrics()
        self.traffic = self.metrics.traffic
        self._errors = self.metrics.counter("turnout_upstream_errors_total")
        self.tick = Tick(clock.now())
        self.proto = b"http"
        """What clients speak: the value of X-Forwarded-Proto."""
        self.pools = Pools(self.tick)
        self.request_ids = RequestIds()
        # what runs
        self.connections: set[ClientConnection] = set()
        self.detached: set[Answering] = set()
        """Writes whose client has left before their outcome was known."""
        self.in_flight = 0
        """Exchanges under way, tunnels too."""
        self.is_stopping = False
        self._open_files = open_files
        self.clients_max = clients_for(open_files)
        """What open files allow; ``limits.connections`` may allow less."""
        self._server: asyncio.Server | None = None
        self._ticker: asyncio.TimerHandle | None = None
        # kept because they are the same for many requests
        self._followed: Snapshot | None = None
        self.answer_tails: dict[str, bytes] = {}
        """``answer_tail`` for an upstream that spoke HTTP/1.1, once it was asked for."""
        self._date: tuple[int, bytes] = (0, b"")

    # -- starting and stopping ----------------------------------------------------------------------

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen; returns the real port. OSError where that cannot be."""
        loop = asyncio.get_running_loop()
        self._tell_bound()
        self._on_tick()
        if tls is None:
            self._server = await loop.create_server(self._accept, host, port, backlog=BACKLOG)
        else:
            self.proto = b"https"
            self._server = await loop.create_server(
                self._accept,
                host,
                port,
                backlog=BACKLOG,
                ssl=tls,
                ssl_handshake_timeout=self.snapshots.current.limits.header_timeout_s,
                ssl_shutdown_timeout=LINGER_S,
            )
        listening: Any = self._server  # uvloop keeps a list where asyncio's types promise a tuple
        return int(listening.sockets[0].getsockname()[1])

    def _tell_bound(self) -> None:
        wanted = self.snapshots.current.limits.connections
        if self.clients_max < wanted:
            log.warning(
                "connections_bounded",
                connections=self.clients_max,
                wanted=wanted,
                open_files=self._open_files,
                next="raise the hard limit of open files (ulimit -Hn, LimitNOFILE), or lower limits.connections",
            )

    def _accept(self) -> asyncio.Protocol:
        return cast("asyncio.Protocol", ClientConnection(self))

    async def stop(self, grace_s: float = SHUTDOWN_S_MAX) -> None:
        """Accept nobody, let what runs end within ``grace_s``, then break off the rest (tunnels among it). Once."""
        if self.is_stopping:
            return
        self.is_stopping = True
        if self._server is not None:
            self._server.close()
        for connection in tuple(self.connections):
            connection.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                # Connections too: what was answered last may still be on its way to a client that reads slowly.
                while self.in_flight or self.connections:  # noqa: ASYNC110 - an event would cost every request
                    await asyncio.sleep(STOP_LOOK_S)
        for connection in tuple(self.connections):
            connection.abort()
        for exchange in tuple(self.detached):
            if exchange.upstream is not None:
                exchange.upstream.abort()
        await self.pools.close()
        await asyncio.sleep(0)  # the transports' last callbacks
        if self._ticker is not None:
            self._ticker.cancel()

    def _on_tick(self) -> None:
        now_s = self.tick.now_s = self.clock.now()
        self._ticker = asyncio.get_running_loop().call_later(TICK_S, self._on_tick)
        for connection in tuple(self.connections):
            connection.tick(now_s)
        for exchange in tuple(self.detached):
            if now_s >= exchange.deadline_s:
                exchange.on_deadline()
        self.pools.sweep()

    # -- exchanges ----------------------------------------------------------------------------------

    def open(
        self, client: ClientConnection, head: RequestHead, pieces: list[bytes] | None, framer: Framer | None
    ) -> None:
        """A head has come, with ``pieces`` of its body; ``framer`` finds the body's end (None: it is whole, or there is none)."""
        exchange = self._exchange(client, head)
        if pieces is not None:
            exchange.pending = pieces
            for piece in pieces:
                exchange.pending_bytes += len(piece)
            if framer is not None:
                exchange.is_request_done = framer.is_done
                exchange.trailers = framer.trailers
        self.in_flight += 1
        client.exchange = exchange
        path = head.path
        if (not head.is_ordinary or "_turnout" in path) and self._is_forbidden(path):
            exchange.answer_problem(respond.not_for_clients())
        elif head.fields.max_forwards == 0 and head.method in ("OPTIONS", "TRACE"):
            exchange.answer_problem(respond.last_hop(head.method))
        else:
            exchange.begin()

    def reopen(self, client: ClientConnection, old: Exchange) -> None:
        """``old`` has waited, and begins anew with what is current now; what came of its body goes along."""
        exchange = self._exchange(client, old.head)
        exchange.pending = old.pending
        exchange.pending_bytes = old.pending_bytes
        exchange.is_request_done = old.is_request_done
        exchange.trailers = old.trailers
        exchange.started_s = old.started_s
        old.retire()
        client.exchange = exchange
        exchange.begin()

    def _exchange(self, client: ClientConnection, head: RequestHead) -> Exchange:
        """Fence, decision and the kind of exchange, in one step of the loop; ``begin`` follows in the same step."""
        snapshot = self.snapshots.current
        if snapshot is not self._followed:
            self._followed = snapshot
            self.pools.follow(snapshot)
        if self.mirror.is_fenced:
            row = row_of(head, snapshot)
            if row.kind is Kind.WRITE or (row.kind is None and head.method not in READ_METHODS):
                undecided = Decision(snapshot.primary, Reason.PRIMARY, snapshot.routes[-1], is_write=True)
                return HeldWrite(self, client, head, snapshot, undecided)
        decision = decide(head, snapshot, self.dice)
        if decision.is_write and decision.route.is_mirrored and snapshot.mirror.enabled:
            place = place_of(decision.route, head.path)
            return MirroredWrite(self, client, head, snapshot, decision, place)
        return Exchange(self, client, head, snapshot, decision)

    def writes_under_way(self) -> int:
        """Writes that an upstream may have a byte of, and whose answer is not there yet."""
        exchanges = [connection.exchange for connection in self.connections]
        return sum(
            exchange.decision.is_write and not isinstance(exchange, HeldWrite)
            for exchange in (*exchanges, *self.detached)
            if exchange is not None
        )

    def _is_forbidden(self, path: str) -> bool:
        """/_turnout in any spelling that an upstream could take for it."""
        plain = "/" + decoded(path)[0].lstrip("/")
        return plain == "/_turnout" or plain.startswith("/_turnout/")

    # -- counting -----------------------------------------------------------------------------------

    def moved(self, old: str, new: str) -> None:
        """An exchange is under way at another upstream than before ("": at none)."""
        in_flight = self.traffic.in_flight
        if old:
            in_flight[old] -= 1
        if new:
            in_flight[new] = in_flight.get(new, 0) + 1

    def closed(self, exchange: Answering) -> None:
        """An exchange is over."""
        name = exchange.upstream_name
        traffic = self.traffic
        if name:
            traffic.in_flight[name] -= 1
        traffic.add(
            name or NO_UPSTREAM,
            exchange.reason,
            exchange.method,
            exchange.status,
            self.now() - exchange.started_s,
        )
        self.in_flight -= 1

    def count_refused(self, status: int) -> None:
        """What was never an exchange: nobody knows its method."""
        self.traffic.add(NO_UPSTREAM, Reason.PRIMARY, "", status, 0.0)

    def count_error(self, upstream: str, kind: str) -> None:
        self._errors.labels(upstream, kind).inc()

    # -- lines for heads ----------------------------------------------------------------------------

    def answer_tail(self, upstream: str, minor: bytes) -> bytes:
        """X-Served-By and Via for an answer; Via names the version that the upstream spoke (RFC 9110 section 7.6.3)."""
        tail = b"X-Served-By: %b\r\nVia: 1.%b turnout\r\n" % (upstream.encode("latin-1", "replace"), minor)
        if minor == b"1":
            self.answer_tails[upstream] = tail
        return tail

    def date_line(self) -> bytes:
        """For an answer without Date (RFC 9110 section 6.6.1)."""
        second = int(self.clock.wall())
        if second != self._date[0]:
            self._date = (second, f"Date: {formatdate(second, usegmt=True)}\r\n".encode())
        return self._date[1]
