"""The admin API on aiohttp (DESIGN section 7): routes, their bodies in and out. Every wish goes to the controller."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from importlib import resources
from typing import Any, cast

import structlog
from aiohttp import web

from proxy.control.guard import AdminTokens, refusal
from proxy.control.panel import Panel
from proxy.errors import TurnoutError, UsageError

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
    app = web.Application(middlewares=[_guard(tokens), _problems], client_max_size=BODY_BYTES_MAX)
    get, post = app.router.add_get, app.router.add_post
    get("/healthz", admin.healthz)
    get("/readyz", admin.readyz)
    get("/metrics", admin.metrics)
    get("/api/v1/status", admin.status)
    get("/api/v1/history", admin.history)
    get("/api/v1/mirror", admin.mirror)
    get("/api/v1/routing", admin.routing)
    get("/api/v1/events", admin.events)
    post("/api/v1/explain", admin.explain)
    post("/api/v1/canary", admin.canary)
    post("/api/v1/switch", admin.switch)
    post("/api/v1/rollback", admin.rollback)
    get("/api/v1/validations", admin.validations)
    post("/api/v1/validations", admin.validate)
    get("/api/v1/dead-letters", admin.dead_letters)
    post("/api/v1/dead-letters/retry", admin.retry)
    post("/api/v1/dead-letters/drop", admin.drop)
    get("/api/dual-write/stats", admin.stats)
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
        return _json(await self._panel.status(), headers={"ETag": self._panel.controller.etag})

    async def history(self, request: web.Request) -> web.Response:
        count = _integer(request.query.get("count", "50"), 1, 1000)
        return _json({"history": await self._panel.history(count)})

    async def mirror(self, _: web.Request) -> web.Response:
        return _json(self._panel.mirror())

    async def stats(self, _: web.Request) -> web.Response:
        return _json(self._panel.stats())

    async def routing(self, _: web.Request) -> web.Response:
        controller = self._panel.controller
        return web.Response(
            text=controller.text, content_type="application/yaml", headers={"ETag": controller.etag}
        )

    async def explain(self, request: web.Request) -> web.Response:
        body = await _body(request, {"method", "target", "headers", "client_ip"})
        headers = body.get("headers", {})
        if not isinstance(headers, dict):
            raise UsageError("headers must be an object of names and values")
        fields = {str(name): str(value) for name, value in cast("dict[object, object]", headers).items()}
        return _json(
            self._panel.explain(
                _text(body, "method", "GET"),
                _text(body, "target", "/"),
                fields,
                _text(body, "client_ip", "127.0.0.1"),
            )
        )

    async def canary(self, request: web.Request) -> web.Response:
        body = await _body(request, {"enabled", "weight", "header", "value", "force", "reason"})
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
            weight=_weight(body.get("weight")),
            match=None if header is None else (str(header), str(value)),
            force=body.get("force") is True,
            actor=_actor(request),
            reason=_text(body, "reason", ""),
            if_match=request.headers.get("If-Match"),
        )
        return _json(await self._panel.status(), headers={"ETag": self._panel.controller.etag})

    async def switch(self, request: web.Request) -> web.Response:
        body = await _body(request, {"to", "reason", "force", "dry_run", "wait_s"})
        if "to" not in body or not _text(body, "reason", ""):
            raise UsageError("a switch needs `to` and a `reason`")
        return _json(
            await self._panel.controller.switch(
                _text(body, "to", ""),
                reason=_text(body, "reason", ""),
                actor=_actor(request),
                force=body.get("force") is True,
                dry_run=body.get("dry_run") is True,
                wait_s=_seconds(body.get("wait_s")),
            )
        )

    async def rollback(self, request: web.Request) -> web.Response:
        body = await _body(request, {"reason", "wait_s"})
        if not _text(body, "reason", ""):
            raise UsageError("a rollback needs a `reason`")
        return _json(
            await self._panel.controller.rollback(
                reason=_text(body, "reason", ""), actor=_actor(request), wait_s=_seconds(body.get("wait_s"))
            )
        )

    async def validations(self, _: web.Request) -> web.Response:
        return _json({"validations": [run.as_json() for run in reversed(self._panel.validations.runs)]})

    async def validate(self, request: web.Request) -> web.Response:
        body = await _body(request, {"wait"})
        run = self._panel.validations.begin(_actor(request))
        if body.get("wait") is True:
            await self._panel.validations.wait()
        return _json(run.as_json(), status=200 if run.state != "running" else 202)

    async def dead_letters(self, _: web.Request) -> web.Response:
        return _json({"dead_letters": self._panel.dead_letters()})

    async def retry(self, request: web.Request) -> web.Response:
        body = await _body(request, {"key"})
        await self._panel.retry(_text(body, "key", ""), _actor(request))
        return _json({"retrying": body["key"]})

    async def drop(self, request: web.Request) -> web.Response:
        body = await _body(request, {"key", "reason"})
        if not _text(body, "reason", ""):
            raise UsageError("to drop a dead letter, give a `reason`")
        await self._panel.drop(_text(body, "key", ""), _text(body, "reason", ""), _actor(request))
        return _json({"dropped": body["key"], "next": "turnout validate"})

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


# -- bodies ----------------------------------------------------------------------------------------


def problem(status: int, code: str, detail: str, hint: str = "") -> web.Response:
    """RFC 9457 problem+json, with ``code`` and what to do."""
    body = {
        "type": "about:blank",
        "title": code.replace("-", " "),
        "status": status,
        "detail": detail,
        "code": code,
    }
    if hint:
        body["hint"] = hint
    return web.Response(
        status=status, body=json.dumps(body).encode(), headers={"Content-Type": "application/problem+json"}
    )


def _json(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response(body, status=status, headers=headers)


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


async def _body(request: web.Request, allowed: set[str]) -> dict[str, object]:
    """The JSON object of a request; UsageError names what is wrong with it."""
    raw = await request.read()
    if not raw:
        return {}
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise UsageError(f"the body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise UsageError("the body must be a JSON object")
    fields = cast("dict[str, object]", body)
    unknown = sorted(fields.keys() - allowed)
    if unknown:
        raise UsageError(f"unknown field {unknown[0]!r}", f"known are {', '.join(sorted(allowed))}")
    return fields


def _actor(request: web.Request) -> str:
    return str(request.get("actor", "admin"))


def _text(body: Mapping[str, object], name: str, default: str) -> str:
    value = body.get(name, default)
    if not isinstance(value, str):
        raise UsageError(f"{name} must be a string")
    return value


def _weight(value: object) -> str | None:
    """Percent with at most two decimals, as text for the file; its range is the settings' to check."""
    if value is None:
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value <= 100
        or round(value, 2) != value
    ):
        raise UsageError(
            f"weight must be a percentage from 0 to 100 with at most two decimals, not {value!r}"
        )
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _seconds(value: object, default: float = 30.0) -> float:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 3600:
        raise UsageError(f"wait_s must be a number of seconds from 0 to 3600, not {value!r}")
    return float(value)


def _integer(value: str, low: int, high: int) -> int:
    if not value.isdigit() or not low <= int(value) <= high:
        raise UsageError(f"count must be a whole number from {low} to {high}, not {value!r}")
    return int(value)
