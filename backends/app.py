"""The HTTP application of both servers: from a request to a handler, and from an Answer to a response.

Routing is our own, over the raw target, so that each segment is decoded exactly once. Every error leaves as
problem+json; what was not foreseen is logged and answered 500 without a trace.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping

import prometheus_client
import structlog
from aiohttp import hdrs, web

from backends.calls import Call, ServerOptions
from backends.contract import problems
from backends.contract.answers import JSON_TYPE
from backends.contract.problems import Problem
from backends.http_server import HttpServer, response_of
from backends.openapi import describe
from backends.protocol_routes import ProtocolRoutes
from backends.query import QueryError
from backends.resources import Names, Resources
from backends.store import (
    Answer,
    IdempotencyMismatchError,
    IdempotencyRunningError,
    StaleEpochError,
    StaleRequestError,
    StorageFullError,
    Store,
    UnavailableError,
)

__all__ = ["ServerOptions", "make_server"]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
EXPOSED = "ETag, Link, Location, X-Total-Count, Retry-After, Turnout-Version"
PREFLIGHT_S = "600"

_log = structlog.stdlib.get_logger("backends.app")


class Metrics:
    """What /metrics shows of one server."""

    def __init__(self) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        self._requests = prometheus_client.Counter(
            "backend_requests_total", "Requests answered.", ["method", "code"], registry=self.registry
        )
        self._duration = prometheus_client.Histogram(
            "backend_request_duration_seconds",
            "From the head to the answer.",
            ["method"],
            registry=self.registry,
        )
        self._children: dict[
            tuple[str, int], tuple[prometheus_client.Counter, prometheus_client.Histogram]
        ] = {}
        """Looked up once for each method and status, of which there are few: the look-up costs more than counting."""

    def count(self, method: str, status: int, seconds: float) -> None:
        children = self._children.get((method, status))
        if children is None:
            name = method if method in METHODS else "other"
            children = (self._requests.labels(name, str(status)), self._duration.labels(name))
            if name == method:
                self._children[method, status] = children
        children[0].inc()
        children[1].observe(seconds)


class Front:
    """Sends a request to who answers it."""

    def __init__(self, store: Store, options: ServerOptions) -> None:
        names = Names(store)
        self._store = store
        self._options = options
        self._resources = Resources(store, options, names)
        self._protocol = ProtocolRoutes(store, options, names)
        self._metrics = Metrics()

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        began = time.perf_counter()
        call = Call(request, self._options)
        try:
            answer = await self._answer(call)
        except Problem as problem:
            answer = problem.answer()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the last line of defence: a client never sees a trace
            answer = _answer_of(error, call)
        self._metrics.count(call.method, answer.status, time.perf_counter() - began)
        return _response(call, answer)

    async def _answer(self, call: Call) -> Answer:
        call.demand_http()
        if call.method not in METHODS:
            raise problems.method_not_allowed(", ".join(sorted(METHODS)))
        segments = call.segments()
        if segments is None:
            raise problems.not_found("The path does not decode to names.")
        if segments[:1] == ["_turnout"]:
            return await self._protocol.answer(call, segments[1:])
        if segments[:1] == ["api"] and len(segments) in (2, 3) and segments[1:] != ["openapi.json"]:
            return await self._resources.answer(call, segments[1:])
        return await self._page(call, segments)

    async def _page(self, call: Call, segments: list[str]) -> Answer:
        pages: dict[tuple[str, ...], Callable[[], Awaitable[Answer]]] = {
            ("healthz",): self._healthz,
            ("readyz",): self._readyz,
            ("metrics",): self._show_metrics,
            ("api", "openapi.json"): self._openapi,
        }
        page = pages.get(tuple(segments))
        if page is None:
            raise problems.not_found()
        if call.method == "OPTIONS":
            return Answer(204, (("Allow", "GET, HEAD, OPTIONS"),), b"")
        if call.method not in ("GET", "HEAD"):
            raise problems.method_not_allowed("GET, HEAD, OPTIONS")
        return await page()

    async def _healthz(self) -> Answer:
        return _json(200, {"status": "ok", "server": self._options.name})

    async def _readyz(self) -> Answer:
        if not await self._store.healthy():
            raise problems.unavailable()
        return _json(200, {"status": "ready", "server": self._options.name})

    async def _show_metrics(self) -> Answer:
        text = prometheus_client.generate_latest(self._metrics.registry)
        return Answer(200, (("Content-Type", prometheus_client.CONTENT_TYPE_LATEST),), text)

    async def _openapi(self) -> Answer:
        collections = [name for name in await self._store.collections() if name]
        singletons = [name async for name, _ in self._store.scan("")]
        return _json(200, describe(collections, singletons))


def make_server(store: Store, options: ServerOptions) -> HttpServer:
    """The server over an open store, which stays its caller's to close. Needs a running loop."""
    return HttpServer(Front(store, options).serve)


def _answer_of(error: Exception, call: Call) -> Answer:
    """The store's errors as the contract words them."""
    match error:
        case QueryError():
            problem = problems.bad_query(str(error))
        case StaleEpochError():
            known = error.known
            problem = problems.stale_epoch(
                known.epoch, known.journal, "The epoch or journal is another one; nothing was done."
            )
        case StaleRequestError():
            problem = problems.stale_request()
        case IdempotencyMismatchError():
            problem = problems.idempotency_mismatch()
        case IdempotencyRunningError():
            problem = problems.idempotency_running()
        case StorageFullError():
            problem = problems.storage_full()
        case UnavailableError():
            _log.warning("unavailable", method=call.method, error=str(error))
            problem = problems.unavailable()
        case _:
            _log.exception("request_failed", method=call.method, exc_info=error)
            problem = problems.internal()
    return problem.answer()


def _response(call: Call, answer: Answer) -> web.Response:
    response = response_of(answer)
    headers = response.headers
    if not call.path.startswith("/_turnout"):
        headers["Access-Control-Allow-Origin"] = "*"
        headers["Access-Control-Expose-Headers"] = EXPOSED
        if call.method == "OPTIONS" and answer.status == 204:
            _allow_preflight(call, headers)
    return response


def _allow_preflight(call: Call, headers: MutableMapping[str, str]) -> None:
    """What a page of another origin may send; never the mirror's headers."""
    wanted = [name.strip() for name in (call.header(hdrs.ACCESS_CONTROL_REQUEST_HEADERS) or "").split(",")]
    allowed = [name for name in wanted if name and not name.lower().startswith("turnout-")]
    headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = headers["Allow"]
    headers[hdrs.ACCESS_CONTROL_MAX_AGE] = PREFLIGHT_S
    if allowed:
        headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = ", ".join(allowed)


def _json(status: int, value: object) -> Answer:
    return Answer(status, (JSON_TYPE,), json.dumps(value, separators=(",", ":")).encode())
