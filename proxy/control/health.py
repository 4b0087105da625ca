"""Active health checks: GET the configured path of each endpoint, and say what changed. No checks where none are configured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import aiohttp
import structlog

from proxy.errors import UsageError
from proxy.model import Endpoint, Health, Snapshot, Upstream
from proxy.tls import secure_for

log = structlog.get_logger("control")

CHECK_TIMEOUT_S = 1.0

OnChange = Callable[[str, Endpoint, bool], None]


class HealthChecks:
    """Follows the snapshots: endpoints that come are checked, those that go are forgotten."""

    def __init__(self, on_change: OnChange) -> None:
        self._on_change = on_change
        self._tasks: dict[tuple[Upstream, Endpoint], asyncio.Task[None]] = {}
        self._session: aiohttp.ClientSession | None = None
        self.up: dict[tuple[str, Endpoint], bool] = {}

    def follow(self, snapshot: Snapshot) -> None:
        """Called with each new snapshot, on the event loop."""
        wanted = {
            # How an endpoint is checked does not depend on which others there are.
            (replace(upstream, endpoints=()), endpoint): upstream.health
            for upstream in snapshot.upstreams
            if upstream.health is not None
            for endpoint in upstream.endpoints
        }
        for gone in self._tasks.keys() - wanted.keys():
            self._tasks.pop(gone).cancel()
            self.up.pop((gone[0].name, gone[1]), None)
        loop = asyncio.get_running_loop()
        for (upstream, endpoint), health in wanted.items():
            if (upstream, endpoint) not in self._tasks:
                task = loop.create_task(self._check(upstream, endpoint, health))
                self._tasks[upstream, endpoint] = task

    async def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _check(self, upstream: Upstream, endpoint: Endpoint, health: Health) -> None:
        name = upstream.name
        while True:
            is_up = await self._ask(upstream, endpoint, health)
            if self.up.get((name, endpoint)) is not is_up:
                was_known = (name, endpoint) in self.up
                self.up[name, endpoint] = is_up
                if was_known or not is_up:
                    log.warning("health", upstream=name, endpoint=str(endpoint), up=is_up)
                self._on_change(name, endpoint, is_up)
            await asyncio.sleep(health.interval_s)

    async def _ask(self, upstream: Upstream, endpoint: Endpoint, health: Health) -> bool:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CHECK_TIMEOUT_S))
        try:
            context, name = secure_for(upstream, endpoint) or (True, None)
            async with self._session.get(
                endpoint.url + health.path, allow_redirects=False, ssl=context, server_hostname=name
            ) as response:
                return 200 <= response.status < 300
        except (TimeoutError, aiohttp.ClientError, OSError, UsageError):
            return False
