"""What a Forwarder needs around it: a snapshot over two upstreams, a clock, dice, and an honest mirror in memory."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from proxy.errors import TurnoutError
from proxy.forward.forwarder import Forwarder
from proxy.forward.no_mirror import NoMirror
from proxy.forward.sockets import FILES_UNBOUNDED
from proxy.model import (
    Canary,
    Endpoint,
    KeyTemplate,
    Limits,
    MirrorAnswer,
    MirrorSettings,
    Place,
    PrimaryAnswer,
    Route,
    Snapshot,
    Upstream,
    WriteHead,
)
from proxy.ports import Done, MirrorPort
from proxy.routing.dice import EvenDice


class SystemClock:
    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)


@dataclass
class Holder:
    """A ports.Snapshots."""

    current: Snapshot


TEMPLATE = KeyTemplate("/api/{collection}/{id}", ("api", None, None), frozenset({"settings"}))


def endpoint(port: int) -> Endpoint:
    return Endpoint("127.0.0.1", port)


def route(
    path: str = "/*",
    *,
    canary: Canary | None = None,
    upstream: str | None = None,
    is_mirrored: bool = True,
    template: KeyTemplate | None = TEMPLATE,
) -> Route:
    prefix = path.removesuffix("/*").rstrip("/")
    return Route(
        path, prefix, not path.endswith("*"), None, None, upstream, canary or Canary(), template, is_mirrored
    )


def snapshot(
    primary_port: int,
    secondary_port: int,
    *,
    canary: Canary | None = None,
    routes: tuple[Route, ...] = (),
    limits: Limits | None = None,
    mirror: bool = False,
    trusted: tuple[str, ...] = (),
    revision: int = 0,
) -> Snapshot:
    canary = canary or Canary()
    return Snapshot(
        upstreams=(
            Upstream("json", (endpoint(primary_port),)),
            Upstream("postgres", (endpoint(secondary_port),)),
        ),
        primary="json",
        secondary="postgres",
        canary=canary,
        routes=(*routes, route(canary=canary)),
        mirror=MirrorSettings(enabled=mirror),
        limits=limits or Limits(),
        trusted_proxies=trusted,
        revision=revision,
    )


@dataclass
class FakeMirror:
    """A ports.MirrorPort that keeps everything in memory, and calls back on the loop's next iteration.

    ``calls`` tells in order what was asked of it. A test may hold back what becomes durable (``is_disk_slow``; then
    ``flush`` lets it go), fail it (``disk_error``), raise the fence, and say what the secondary answers.
    """

    calls: list[tuple[str, object]] = field(default_factory=list)
    is_fenced: bool = False
    is_disk_slow: bool = False
    disk_error: TurnoutError | None = None
    secondary_answer: MirrorAnswer | None = None
    gaps: set[str] = field(default_factory=set)
    unsettled: set[str] = field(default_factory=set)
    writes: dict[int, WriteHead] = field(default_factory=dict)
    answers: dict[int, PrimaryAnswer] = field(default_factory=dict)
    _held: list[Done] = field(default_factory=list)
    _waiting: list[Callable[[], object]] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def _note(self, what: str, value: object) -> None:
        self.calls.append((what, value))
        self._changed.set()

    def _soon(self, what: Callable[[], object]) -> None:
        if self.is_disk_slow:
            self._waiting.append(what)
        else:
            asyncio.get_running_loop().call_soon(what)

    async def until(self, what: str) -> object:
        """Wait until something was asked; its value."""
        async with asyncio.timeout(5):
            while True:
                for name, value in self.calls:
                    if name == what:
                        return value
                self._changed.clear()
                await self._changed.wait()

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def flush(self) -> None:
        """The disk has done all that it was asked."""
        self.is_disk_slow = False
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            asyncio.get_running_loop().call_soon(one)

    def release(self) -> None:
        self.is_fenced = False
        held, self._held = self._held, []
        for resume in held:
            resume(None)

    # -- ports.MirrorPort ---------------------------------------------------------------------------

    def hold(self, resume: Done) -> Callable[[], None]:
        self._note("hold", None)
        self._held.append(resume)

        def cancel() -> None:
            if resume in self._held:
                self._held.remove(resume)
                self._note("cancel", None)

        return cancel

    def intend(self, write: WriteHead, durable: Done) -> int:
        assert not self.is_fenced
        seq = len(self.writes) + 1
        self.writes[seq] = write
        self._note("intend", seq)
        self._soon(lambda: durable(self.disk_error))
        return seq

    def headers_for(self, seq: int) -> bytes:
        return b"Turnout-Request: %d; open=1\r\nTurnout-Epoch: 1 test\r\n" % seq

    def write_headers(self) -> bytes:
        return b"Turnout-Epoch: 1 test\r\n"

    def accepted(self, seq: int, answer: PrimaryAnswer, durable: Done) -> None:
        self.answers[seq] = answer
        self._note("accepted", seq)
        self._soon(lambda: durable(self.disk_error))

    def rejected(self, seq: int) -> None:
        self._note("rejected", seq)

    def doubtful(self, seq: int) -> None:
        self._note("doubtful", seq)

    def never_sent(self, seq: int) -> None:
        self._note("never_sent", seq)

    def await_secondary(
        self, seq: int, timeout_s: float, done: Callable[[MirrorAnswer | None], None]
    ) -> None:
        self._note("await_secondary", seq)
        done(self.secondary_answer)

    def note_unmirrored(self, place: Place, durable: Done) -> bool:
        if place.prefix in self.gaps:
            return True
        self.gaps.add(place.prefix)
        self._note("gap", place.prefix)
        self._soon(lambda: durable(self.disk_error))
        return False

    def is_unproven(self, place: Place) -> bool:
        return place.prefix in self.gaps

    def is_settled(self, place: Place) -> bool:
        return not (place.key in self.unsettled or place.prefix in self.unsettled)

    def await_settled(self, place: Place, timeout_s: float, done: Callable[[bool], None]) -> None:
        self._note("await_settled", place.key or place.prefix)
        asyncio.get_running_loop().call_later(timeout_s, lambda: done(self.is_settled(place)))


@dataclass
class Proxy:
    """A Forwarder that listens, and everything around it."""

    forwarder: Forwarder
    port: int
    holder: Holder
    mirror: FakeMirror


@asynccontextmanager
async def proxy(
    first: Snapshot,
    *,
    mirror: MirrorPort | None = None,
    tls: ssl.SSLContext | None = None,
    open_files: int = FILES_UNBOUNDED,
) -> AsyncIterator[Proxy]:
    """A proxy on a free port until the block ends; with ``snapshot(mirror=True)`` on a FakeMirror."""
    fake = FakeMirror()
    holder = Holder(first)
    port_of_mirror = mirror or (fake if first.mirror.enabled else NoMirror())
    forwarder = Forwarder(
        snapshots=holder, mirror=port_of_mirror, dice=EvenDice(), clock=SystemClock(), open_files=open_files
    )
    port = await forwarder.start("127.0.0.1", 0, tls)
    try:
        yield Proxy(forwarder, port, holder, fake)
    finally:
        await forwarder.stop(0.2)
