"""Connections to the endpoints of an upstream: which one a request gets. Decisions are plain methods; only a dial is a task."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final, Protocol, cast

from proxy.errors import UsageError
from proxy.forward.sockets import Tick
from proxy.forward.upstream import UpstreamConnection
from proxy.limits import POOL_IDLE_PER_ENDPOINT_MAX, POOL_IDLE_S_MAX
from proxy.model import Endpoint, Snapshot, Upstream
from proxy.tls import secure_for

BACK_OFF_S_MIN: Final = 0.1
BACK_OFF_S_MAX: Final = 2.0
"""Of an endpoint that accepts no connection: a try costs little, as the next endpoint is dialled in the same breath."""
UNANSWERED_BACK_OFF_S_MIN: Final = 1.0
UNANSWERED_BACK_OFF_S_MAX: Final = 10.0
"""Of an endpoint that took a request and gave no answer: each try costs a client its answer."""


class Caller(Protocol):
    """Who asked for a fresh connection. Exactly one of the two is called."""

    def on_dialed(self, connection: UpstreamConnection) -> None: ...

    def on_dial_failed(self, kind: str, detail: str) -> None:
        """``kind`` is connect, tls or timeout. No byte was sent."""
        ...


class EndpointPool:
    """Idle connections of one endpoint, newest on top, and its health."""

    __slots__ = ("back_off_s", "busy", "endpoint", "host", "idle", "is_gone", "is_up", "not_before_s", "tick")

    def __init__(self, endpoint: Endpoint, tick: Tick) -> None:
        self.endpoint = endpoint
        self.tick = tick
        self.host = str(endpoint).encode("latin-1", "replace")
        self.idle: list[UpstreamConnection] = []
        self.busy = 0
        # health: what the active checks say, and what the last dials taught
        self.is_up = True
        self.back_off_s = 0.0
        self.not_before_s = 0.0
        self.is_gone = False
        """No longer in the routing: its connections end with their exchange."""

    def __repr__(self) -> str:
        return f"<EndpointPool {self.endpoint} busy={self.busy} idle={len(self.idle)} up={self.is_up}>"

    def take(self) -> UpstreamConnection | None:
        """An idle connection that is young enough, or None."""
        idle = self.idle
        if not idle:
            return None
        connection = idle.pop()
        if self.tick.now_s - connection.idle_since_s <= POOL_IDLE_S_MAX:
            connection.is_idle = False
            self.busy += 1
            return connection
        # The one on top is the youngest: the others are too old as well, and the sweep closes them.
        connection.close()
        return None

    def put(self, connection: UpstreamConnection) -> None:
        """Its exchange is over and it can carry another."""
        self.busy -= 1
        connection.is_idle = True
        if self.is_gone or len(self.idle) >= POOL_IDLE_PER_ENDPOINT_MAX:
            connection.close()
            return
        connection.idle_since_s = self.tick.now_s
        self.idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        """It is closed."""
        if connection.is_idle:
            if connection in self.idle:
                self.idle.remove(connection)
        else:
            self.busy -= 1

    def dropped(self) -> list[UpstreamConnection]:
        """Take out those that are too old; the caller closes them. The stack's oldest are at the bottom."""
        idle = self.idle
        keep_from = 0
        while keep_from < len(idle) and (
            self.is_gone or self.tick.now_s - idle[keep_from].idle_since_s > POOL_IDLE_S_MAX
        ):
            keep_from += 1
        old = idle[:keep_from]
        del idle[:keep_from]
        return old

    @property
    def is_available(self) -> bool:
        return self.is_up and self.tick.now_s >= self.not_before_s

    def dial_failed(self) -> None:
        """Passive health: the others are preferred for a moment, longer each time."""
        self._back_off(BACK_OFF_S_MIN, BACK_OFF_S_MAX)

    def unanswered(self) -> None:
        """A fresh connection gave no byte of an answer: it hung up, or took too long."""
        self._back_off(UNANSWERED_BACK_OFF_S_MIN, UNANSWERED_BACK_OFF_S_MAX)

    def _back_off(self, least_s: float, most_s: float) -> None:
        self.back_off_s = min(most_s, max(least_s, self.back_off_s * 2))
        self.not_before_s = self.tick.now_s + self.back_off_s

    def answered(self) -> None:
        """A whole answer came: it is as good as any."""
        self.back_off_s = self.not_before_s = 0.0

    def dial_done(self) -> None:
        self.busy += 1


class UpstreamPool:
    """All endpoints of one upstream, used in turn."""

    __slots__ = ("_loop", "_tasks", "_turn", "connect_timeout_s", "endpoints", "upstream")

    def __init__(self, upstream: Upstream, endpoints: list[EndpointPool]) -> None:
        self.upstream = upstream
        self.endpoints = endpoints
        self.connect_timeout_s = 1.0
        self._turn = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        return f"<UpstreamPool {self.upstream.name} {self.endpoints!r}>"

    def in_turn(self) -> list[EndpointPool]:
        """The order to try: healthy ones first, from the present turn; the others last, as an only endpoint is never taken out."""
        endpoints = self.endpoints
        turned = endpoints[self._turn :] + endpoints[: self._turn]
        return sorted(turned, key=lambda one: not one.is_available)

    @property
    def is_failing(self) -> bool:
        """Nothing has been heard of any endpoint since it failed, by a check or by a request."""
        return all(not one.is_up or one.back_off_s > 0 for one in self.endpoints)

    def take(self) -> UpstreamConnection | None:
        """An idle connection of the endpoint whose turn it is; None: dial."""
        endpoints = self.endpoints
        if len(endpoints) == 1:
            return endpoints[0].take()
        self._turn = (self._turn + 1) % len(endpoints)
        return self.in_turn()[0].take()

    def dial(self, caller: Caller) -> None:
        """A fresh connection for ``caller``, from the first endpoint that accepts one; it begins where ``take`` looked last."""
        task = self._loop.create_task(self._dial(caller, self.in_turn()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _dial(self, caller: Caller, order: list[EndpointPool]) -> None:
        kind, detail = "connect", "it has no endpoint"
        for pool in order:
            endpoint = pool.endpoint
            connection = UpstreamConnection(pool)
            try:
                async with asyncio.timeout(self.connect_timeout_s):
                    context, name = secure_for(self.upstream, endpoint) or (None, None)
                    await self._loop.create_connection(
                        lambda made=connection: cast("asyncio.Protocol", made),
                        endpoint.host,
                        endpoint.port,
                        ssl=context,
                        server_hostname=name,
                    )
            except TimeoutError:
                kind, detail = "timeout", f"no connection to {endpoint} within {self.connect_timeout_s:g} s"
            except ssl.SSLError as error:
                kind, detail = "tls", f"{endpoint}: {error.strerror or error}"
            except UsageError as error:
                kind, detail = "tls", error.message
            except OSError as error:
                kind, detail = "connect", f"{endpoint}: {error.strerror or error}"
            else:
                pool.dial_done()
                caller.on_dialed(connection)
                return
            pool.dial_failed()
        caller.on_dial_failed(kind, detail)

    async def stop(self) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Pools:
    """The pools of both upstreams; follows the snapshots."""

    def __init__(self, tick: Tick) -> None:
        self._tick = tick
        self.by_name: dict[str, UpstreamPool] = {}
        self._health: dict[tuple[str, Endpoint], bool] = {}

    def __repr__(self) -> str:
        return f"<Pools {list(self.by_name.values())!r}>"

    def named(self, upstream: str) -> UpstreamPool:
        return self.by_name[upstream]

    def follow(self, snapshot: Snapshot) -> None:
        """Endpoints that come get a pool, those that go end with their exchanges; the others notice nothing."""
        for upstream in snapshot.upstreams:
            pool = self.by_name.get(upstream.name)
            known = {one.endpoint: one for one in pool.endpoints} if pool is not None else {}
            endpoints: list[EndpointPool] = []
            for endpoint in upstream.endpoints:
                one = known.pop(endpoint, None) or EndpointPool(endpoint, self._tick)
                one.is_up = self._health.get((upstream.name, endpoint), True)
                endpoints.append(one)
            for gone in known.values():
                gone.is_gone = True
                for connection in gone.dropped():
                    connection.close()
            if pool is None:
                pool = self.by_name[upstream.name] = UpstreamPool(upstream, endpoints)
            pool.upstream, pool.endpoints = upstream, endpoints
            pool.connect_timeout_s = snapshot.limits.connect_timeout_s

    def set_up(self, upstream: str, endpoint: Endpoint, is_up: bool) -> None:
        """What an active check found."""
        self._health[upstream, endpoint] = is_up
        pool = self.by_name.get(upstream)
        for one in pool.endpoints if pool is not None else ():
            if one.endpoint == endpoint:
                one.is_up = is_up
                if is_up:
                    one.back_off_s = one.not_before_s = 0.0

    def sweep(self) -> None:
        """Close idle connections that nobody may use any more."""
        for pool in self.by_name.values():
            for one in pool.endpoints:
                for connection in one.dropped():
                    connection.close()

    async def close(self) -> None:
        for pool in self.by_name.values():
            await pool.stop()
            for one in pool.endpoints:
                while one.idle:
                    one.idle.pop().close()
