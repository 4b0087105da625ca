"""The admin API on aiohttp (DESIGN section 7): routes, their bodies in and out. Every wish goes to the controller."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from importlib import resources
from typing import Any, cast

import structlog
from aiohttp import web

from proxy.control.admin_mirror import add_routes
from proxy.control.bodies import (
    actor_of,
    answer,
    count_of,
    fields_of,
    integer,
    printable,
    problem,
    seconds,
    text,
    weight,
)
from proxy.control.guard import AdminTokens, refusal
from proxy.control.panel import Panel
from proxy.errors import PreconditionError, TurnoutError, UsageError
from proxy.settings.overrides import spoken

log = structlog.get_logger("admin")

PAGE = (
    ("/", "index.html", "text/html"),
    ("/app.js", "app.js", "text/javascript"),
    ("/app.css", "app.css", "text/css"),
    ("/icon.svg", "icon.svg", "image/svg+xml"),
)
"""Path, file in web/, media type. The page asks for the token itself, so it is open to all."""

PUBLIC = frozenset({"/healthz", "/readyz", "/metrics", *(path for path, _, _ in PAGE)})
PAGE_POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
EVENT_S = 1.0
BODY_BYTES_MAX = 64 << 10

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_admin(panel: Panel, tokens: AdminTokens) -> web.Application:
    """The application; ``panel`` is all that it knows of the rest."""
    admin = Admin(panel)
    app = web.Application(middlewares=[_problems, _guard(tokens)], client_max_size=BODY_BYTES_MAX)
    get, post = app.router.add_get, app.router.add_post
    get("/healthz", admin.healthz)
    get("/readyz", admin.readyz)
    get("/metrics", admin.metrics)
    get("/api/v1/status", admin.status)
    get("/api/v1/history", admin.history)
    get("/api/v1/routing", admin.routing)
    app.router.add_patch("/api/v1/routing", admin.patch)
    get("/api/v1/events", admin.events)
    post("/api/v1/explain", admin.explain)
    post("/api/v1/canary", admin.canary)
    post("/api/v1/switch", admin.switch)
    post("/api/v1/rollback", admin.rollback)
    get("/api/v1/validations", admin.validations)
    post("/api/v1/validations", admin.validate)
    get("/api/dual-write/stats", admin.stats)
    add_routes(app, panel)
    for path, name, media in PAGE:
        get(path, _page(name, media))
    app.on_shutdown.append(admin.stop)
    return app


class Admin:
    """The handlers. A body's fields are checked here; what they mean is the controller's."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._is_stopping = False
        self._news = asyncio.Event()
        """Set once, at the next change; then another takes its place."""
        panel.controller.on_publish.append(lambda _: self._wake())

    async def stop(self, _: web.Application) -> None:
        """Streams end, so that a shutdown need not wait for them."""
        self._is_stopping = True
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def healthz(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(self, _: web.Request) -> web.Response:
        trouble = await self._panel.readiness()
        if not trouble:
            return web.json_response({"status": "ready"})
        return problem(503, "not-ready", trouble)

    async def metrics(self, _: web.Request) -> web.Response:
        body, content_type = self._panel.metrics()
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def status(self, _: web.Request) -> web.Response:
        return answer(await self._panel.status(), headers={"ETag": self._panel.controller.etag})

    async def history(self, request: web.Request) -> web.Response:
        count = integer(request.query.get("count", "50"), 1, 1000)
        return answer({"history": await self._panel.history(count)})

    async def stats(self, _: web.Request) -> web.Response:
        return answer(self._panel.stats())

    async def routing(self, _: web.Request) -> web.Response:
        controller = self._panel.controller
        return web.Response(
            text=controller.text, content_type="application/yaml", headers={"ETag": controller.etag}
        )

    async def patch(self, request: web.Request) -> web.Response:
        """RFC 7396 in spirit: an object of the values to set, nested as in the file. Single values only."""
        if_match = request.headers.get("If-Match")
        if if_match is None:
            raise PreconditionError(
                "a change of the routing says what it was made from",
                "send If-Match with the ETag of GET /api/v1/routing",
            )
        changes = dict(_leaves(await fields_of(request, None)))
        if not changes:
            raise UsageError(
                "nothing to change", 'send values as the file nests them: {"canary": {"weight": 25}}'
            )
        await self._panel.controller.patch(
            changes,
            actor=actor_of(request),
            reason=printable(request.headers.get("X-Turnout-Reason", "")[:500]),
            if_match=if_match,
        )
        return answer(await self._panel.status(), headers={"ETag": self._panel.controller.etag})

    async def explain(self, request: web.Request) -> web.Response:
        body = await fields_of(request, {"method", "target", "headers", "client_ip"})
        headers = body.get("headers", {})
        if not isinstance(headers, dict):
            raise UsageError("headers must be an object of names and values")
        fields = {str(name): str(value) for name, value in cast("dict[object, object]", headers).items()}
        return answer(
            self._panel.explain(
                text(body, "method", "GET"),
                text(body, "target", "/"),
                fields,
                text(body, "client_ip", "127.0.0.1"),
            )
        )

    async def canary(self, request: web.Request) -> web.Response:
        body = await fields_of(request, {"enabled", "weight", "header", "value", "force", "reason"})
        enabled = body.get("enabled")
        if enabled is not None and not isinstance(enabled, bool):
            raise UsageError("enabled must be true or false")
        header, value = body.get("header"), body.get("value")
        if (header is None) != (value is None):
            raise UsageError("header and value go together")
        if enabled is None and header is None and "weight" not in body:
            raise UsageError("nothing to change", "give enabled, weight, or header and value")
        await self._panel.controller.canary(
            enabled=enabled,
            weight=weight(body.get("weight")),
            match=None if header is None else (str(header), str(value)),
            force=body.get("force") is True,
            actor=actor_of(request),
            reason=text(body, "reason", ""),
            if_match=request.headers.get("If-Match"),
        )
        return answer(await self._panel.status(), headers={"ETag": self._panel.controller.etag})

    async def switch(self, request: web.Request) -> web.Response:
        body = await fields_of(request, {"to", "reason", "force", "dry_run", "wait_s", "accept_loss"})
        if "to" not in body or not text(body, "reason", ""):
            raise UsageError("a switch needs `to` and a `reason`")
        return answer(
            await self._panel.controller.switch(
                text(body, "to", ""),
                reason=text(body, "reason", ""),
                actor=actor_of(request),
                force=body.get("force") is True,
                dry_run=body.get("dry_run") is True,
                wait_s=seconds(body.get("wait_s")),
                accept_loss=count_of(body.get("accept_loss")),
            )
        )

    async def rollback(self, request: web.Request) -> web.Response:
        body = await fields_of(request, {"reason", "wait_s", "accept_loss"})
        if not text(body, "reason", ""):
            raise UsageError("a rollback needs a `reason`")
        return answer(
            await self._panel.controller.rollback(
                reason=text(body, "reason", ""),
                actor=actor_of(request),
                wait_s=seconds(body.get("wait_s")),
                accept_loss=count_of(body.get("accept_loss")),
            )
        )

    async def validations(self, _: web.Request) -> web.Response:
        return answer({"validations": [run.as_json() for run in reversed(self._panel.validations.runs)]})

    async def validate(self, request: web.Request) -> web.Response:
        body = await fields_of(request, {"wait"})
        run = self._panel.validations.begin(actor_of(request))
        if body.get("wait") is True:
            await self._panel.validations.wait()
        return answer(run.as_json(), status=200 if run.state != "running" else 202)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: the status, each second and after each change."""
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        async for status in self._statuses():
            try:
                await response.write(b"data: " + json.dumps(status).encode() + b"\n\n")
            except ConnectionError:
                break
        return response

    async def _statuses(self) -> AsyncIterator[Mapping[str, object]]:
        while not self._is_stopping:
            news = self._news
            yield await self._panel.status()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), EVENT_S)


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except TurnoutError as error:
        return problem(error.status, error.code, error.message, error.hint)
    except web.HTTPException as error:
        return problem(
            error.status,
            "not-found" if error.status == web.HTTPNotFound.status_code else "refused",
            error.reason,
        )
    except asyncio.CancelledError:
        raise
    except Exception:
        log.exception("admin_failed", path=request.path)
        return problem(500, "internal", "a fault in the proxy; its log has the trace")


def _guard(tokens: AdminTokens) -> Any:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = refusal(
            method=request.method,
            host=request.host,
            origin=request.headers.get("Origin"),
            content_type=request.headers.get("Content-Type", ""),
            authorization=request.headers.get("Authorization"),
            tokens=tokens,
            is_public=request.path in PUBLIC,
        )
        if refused is not None:
            return problem(*refused)
        who = tokens.who(request.headers.get("Authorization"))
        request["actor"] = who[0] if who else request.headers.get("X-Turnout-Actor", "admin")[:64]
        return await handler(request)

    return guard


def _leaves(value: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    """Dotted path and text of every single value. UsageError for a list, for null, and for a name with a dot."""
    for name, inner in value.items():
        path = f"{above}{name}"
        if "." in name:
            raise UsageError(f"{name!r}: nest it as in the file", '{"canary": {"weight": 25}}')
        if isinstance(inner, dict):
            yield from _leaves(cast("dict[str, object]", inner), f"{path}.")
        elif isinstance(inner, list) or inner is None:
            raise UsageError(
                f"{path}: only single values can be set here",
                "lists, and what is to be taken out, are edited in the file",
            )
        else:
            yield path, spoken(inner)


def _page(name: str, media: str) -> Handler:
    async def page(_: web.Request) -> web.Response:
        text = resources.files("proxy.control").joinpath("web", name).read_text(encoding="utf-8")
        headers = {
            "Cache-Control": "no-cache",
            "Content-Security-Policy": PAGE_POLICY,
            "X-Content-Type-Options": "nosniff",
        }
        return web.Response(text=text, content_type=media, charset="utf-8", headers=headers)

    return page
