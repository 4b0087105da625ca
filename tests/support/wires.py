"""The forwarder between two transports that keep what is written to them: no sockets, no waiting, every byte seen."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from proxy.forward.forwarder import Forwarder
from proxy.forward.listener import ClientConnection
from proxy.forward.no_mirror import NoMirror
from proxy.forward.upstream import UpstreamConnection
from proxy.model import Canary, Match, MatchHow, MatchOn, Sticky, StickyBy
from proxy.routing.dice import EvenDice
from tests.support.forward_world import Holder, SystemClock, snapshot


class Transport:
    """Takes what is written, and has room for everything."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def writelines(self, parts: list[bytes]) -> None:
        self.written.append(b"".join(parts))

    def taken(self) -> bytes:
        """All that was written since this was last asked."""
        written, self.written = self.written, []
        return b"".join(written)

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 40000) if name == "peername" else None

    def set_write_buffer_limits(self, high: int, low: int) -> None: ...

    def is_closing(self) -> bool:
        return self.is_closed


def world(weight_bp: int = 1000) -> tuple[ClientConnection, list[UpstreamConnection]]:
    """A client's connection, and one idle connection to each upstream."""
    canary = Canary(
        enabled=True,
        always=(Match(MatchOn.HEADER, "x-canary", MatchHow.EXACT, "canary=true"),),
        weight_bp=weight_bp,
        sticky=Sticky(StickyBy.COOKIE),
    )
    forwarder = Forwarder(
        snapshots=Holder(snapshot(1, 2, canary=canary)),
        mirror=NoMirror(),
        dice=EvenDice(),
        clock=SystemClock(),
    )
    forwarder.pools.follow(forwarder.snapshots.current)
    client = ClientConnection(forwarder)
    client.connection_made(cast("asyncio.Transport", Transport()))
    upstreams: list[UpstreamConnection] = []
    for name in ("json", "postgres"):
        pool = forwarder.pools.named(name).endpoints[0]
        one = UpstreamConnection(pool)
        one.connection_made(cast("asyncio.Transport", Transport()))
        pool.dial_done()
        pool.put(one)
        upstreams.append(one)
    return client, upstreams


def asked(upstreams: list[UpstreamConnection]) -> UpstreamConnection:
    """The one that has a request to answer."""
    return next(one for one in upstreams if one.exchange is not None)
