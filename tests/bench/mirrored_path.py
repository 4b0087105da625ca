"""Microseconds of processor time of one mirrored write without sockets: ``python -m tests.bench.mirrored_path [--profile]``.

The real forwarder, gate, lanes, replayer and journal between transports that keep what was written; the event loop's share and that
of the journal's threads are told apart, the quickest tenth of the rounds. What the sockets cost is what tests/bench measures beside them.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import sys
import tempfile
import time
from pathlib import Path
from statistics import quantiles
from typing import Any, cast

import uvloop

from proxy.forward.forwarder import Forwarder
from proxy.forward.listener import ClientConnection
from proxy.forward.sending import PoolSender
from proxy.forward.upstream import UpstreamConnection
from proxy.journal.sqlite import SqliteJournal
from proxy.kinds import Kinds
from proxy.mirror.gate import Gate
from proxy.mirror.replayer import Replayer
from proxy.mirror.state import MirrorState, Roles
from proxy.model import MirrorSettings
from proxy.routing.dice import EvenDice
from tests.support.forward_world import Holder, SystemClock, snapshot
from tests.support.wires import Transport

ROUNDS = 300
AT_ONCE = 16
BODY = b'{"note":"' + b"x" * 1013 + b'"}'
POST = (
    b"POST /api/items HTTP/1.1\r\nHost: 127.0.0.1:3000\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    % len(BODY)
) + BODY
PUT = POST.replace(b"POST /api/items ", b"PUT /api/orders/k%d ")


class Side:
    """The connections of one kind: full when each of them has been written to."""

    def __init__(self) -> None:
        self.left = AT_ONCE
        self.is_full = asyncio.Event()

    def written(self) -> None:
        self.left -= 1
        if not self.left:
            self.is_full.set()

    async def full(self) -> None:
        await asyncio.wait_for(self.is_full.wait(), 5)
        self.is_full.clear()
        self.left = AT_ONCE


class Counted(Transport):
    def __init__(self, side: Side) -> None:
        super().__init__()
        self._side = side

    def write(self, data: bytes) -> None:
        super().write(data)
        self._side.written()


class World:
    """A proxy with AT_ONCE clients, and as many idle connections to each upstream."""

    def __init__(self, folder: Path) -> None:
        clock = SystemClock()
        self.journal = SqliteJournal(folder)
        state = MirrorState(
            self.journal.recovered, MirrorSettings(), Roles("json", "postgres", 1, "journal"), clock.now(),
            kinds=Kinds(("json", "postgres")),
        )  # fmt: skip
        sender = PoolSender()
        replayer = Replayer(state, self.journal, sender, clock)
        gate = Gate(
            state, self.journal, clock, wake=replayer.wake, bodies_bytes_max=256 << 20, hold_timeout_s=1.0
        )
        replayer.gate = gate
        replayer.start()
        self.lanes = state.lanes
        forwarder = Forwarder(
            snapshots=Holder(snapshot(1, 2, mirror=True)), mirror=gate, dice=EvenDice(), clock=clock
        )
        forwarder.pools.follow(forwarder.snapshots.current)
        sender.pools = forwarder.pools
        self.sides = {name: Side() for name in ("client", "json", "postgres")}
        self.clients: list[ClientConnection] = []
        self.upstreams: dict[str, list[UpstreamConnection]] = {"json": [], "postgres": []}
        for _ in range(AT_ONCE):
            client = ClientConnection(forwarder)
            client.connection_made(cast("asyncio.Transport", Counted(self.sides["client"])))
            self.clients.append(client)
            for name, those in self.upstreams.items():
                pool = forwarder.pools.named(name).endpoints[0]
                one = UpstreamConnection(pool)
                one.connection_made(cast("asyncio.Transport", Counted(self.sides[name])))
                pool.dial_done()
                pool.put(one)
                those.append(one)
        self.number = 1
        self.own_s = 0.0
        """Spent by the bench itself."""

    async def writes(self, request: bytes) -> None:
        """One write of each client, from its first byte to its settlement."""
        for client in self.clients:
            client.data_received(request % self.number if b"%d" in request else request)
            self.number += 1
        for name in ("json", "postgres"):
            await self.sides[name].full()
            began_s = time.thread_time()
            answers = [(one, self._answer(one)) for one in self.upstreams[name]]
            self.own_s += time.thread_time() - began_s
            for one, answer in answers:
                one.data_received(answer)
        await self.sides["client"].full()
        began_s = time.thread_time()
        for one in self.clients:
            assert cast("Any", one.transport).taken().startswith(b"HTTP/1.1 20"), "it is answered"
        self.own_s += time.thread_time() - began_s
        while self.lanes.entries:
            await asyncio.sleep(0)

    def _answer(self, one: UpstreamConnection) -> bytes:
        sent = cast("Any", one.transport).taken()
        head, _, body = sent.partition(b"\r\n\r\n")
        self.number += 1
        if b"Turnout-Mirror" in head:
            return (
                b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (
                    len(_record(body)),
                    _record(body),
                )
            )
        location = b"Location: /api/items/%d\r\n" % self.number if head.startswith(b"POST") else b""
        record = b'{"id":"%d",%b' % (self.number, body[1:])
        return (
            b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%bTurnout-Version: %d; base=none\r\n\r\n%b"
            % (len(record), location, self.number, record)
        )


def _record(body: bytes) -> bytes:
    """As the primary answered: the id, which the replay brings at its end, comes first."""
    rest, _, made = body[:-1].rpartition(b',"id":')
    return b'{"id":%b,%b}' % (made, rest[1:])


async def main() -> None:
    for name, request in {"POST 1 KiB": POST, "PUT 1 KiB": PUT}.items():
        with tempfile.TemporaryDirectory(prefix=".bench-", dir=Path(__file__).parent) as folder:
            world = World(Path(folder))
            if "--profile" in sys.argv:
                with cProfile.Profile() as profile:
                    for _ in range(ROUNDS):
                        await world.writes(request)
                pstats.Stats(profile).sort_stats("tottime").print_stats(60)
                return
            found: list[tuple[float, float]] = []
            for _ in range(ROUNDS):
                world.own_s = 0.0
                loop_s, all_s = time.thread_time(), time.process_time()
                await world.writes(request)
                loop_s, all_s = time.thread_time() - loop_s, time.process_time() - all_s
                found.append((loop_s - world.own_s, all_s - loop_s))
            loop_us, writer_us = (
                quantiles(times, n=10)[0] / AT_ONCE * 1e6 for times in zip(*found, strict=True)
            )
            print(f"mirrored {name}: event loop {loop_us:6.2f} µs, journal's threads {writer_us:6.2f} µs")
            await world.journal.close()


if __name__ == "__main__":
    uvloop.run(main())
