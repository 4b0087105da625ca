"""The production backfill and validation, over simulated connections."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from multidict import CIMultiDict
from yarl import URL

from backends.migrate import backfill as backfill_module
from backends.migrate import validate as validate_module
from proxy.control import controller, filing, pursuit
from proxy.errors import UpstreamError
from tests.simulation.loop import PROCESS
from tests.simulation.network import NAMES, Network, SimulatedSender
from tests.simulation.proxy_process import load_once

TIMEOUT_S = 3.0
_NETWORKS: list[Network] = []


class _Response:
    def __init__(self, status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> None:
        self.status = status
        self.headers = CIMultiDict(headers)
        self._body = body

    async def read(self) -> bytes:
        return self._body


class _Session:
    """What backends.migrate.client asks of aiohttp's ClientSession."""

    def __init__(self, sender: SimulatedSender) -> None:
        self._sender = sender

    @asynccontextmanager
    async def request(
        self, method: str, url: URL, *, headers: dict[str, str], data: bytes | None, **_: Any
    ) -> AsyncGenerator[_Response]:
        try:
            reply = await self._sender.send(
                NAMES[url.port or 0],
                method,
                url.raw_path_qs,
                tuple(headers.items()),
                data or b"",
                timeout_s=TIMEOUT_S,
            )
        except UpstreamError as error:
            raise OSError(str(error)) from error
        yield _Response(reply.status, reply.headers, reply.body)


@asynccontextmanager
async def _session(_connections: int = 0) -> AsyncGenerator[Any]:
    process = PROCESS.get()
    assert process is not None, "a tool belongs to a program"
    yield _Session(SimulatedSender(process, _NETWORKS[-1]))


@contextmanager
def simulated_tools(network: Network, *, is_long: bool = False) -> Iterator[None]:
    """Within it the tools reach this network, and no other. ``is_long``: of a run of hours, whose wishes are looked at less often."""
    stands_in: tuple[tuple[Any, str, Any], ...] = (
        (backfill_module, "session", _session),
        (validate_module, "session", _session),
        (filing, "load", load_once),
        (controller, "load", load_once),
        (pursuit, "LOOK_S", 10.0 if is_long else pursuit.LOOK_S),
    )
    kept = [getattr(module, name) for module, name, _ in stands_in]
    _NETWORKS.append(network)
    for module, name, stand_in in stands_in:
        setattr(module, name, stand_in)
    try:
        yield
    finally:
        _NETWORKS.pop()
        for (module, name, _), original in zip(stands_in, kept, strict=True):
            setattr(module, name, original)
