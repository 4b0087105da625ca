"""The admin API's part for the mirror and the dead letters: what an operator may say of them, in JSON."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import unquote

from aiohttp import web

from proxy.control.bodies import actor_of, answer, fields_of, integer, reason, seconds, text
from proxy.control.panel import Panel
from proxy.errors import UsageError
from proxy.model import key_segment

LISTED, LISTED_MAX = 1_000, 100_000
"""Dead letters in one answer, unless it is said and at most."""


def add_routes(app: web.Application, panel: Panel) -> None:
    """Every path below /api/v1/mirror and /api/v1/dead-letters."""
    handlers = MirrorAdmin(panel)
    get, post = app.router.add_get, app.router.add_post
    get("/api/v1/mirror", handlers.mirror)
    post("/api/v1/mirror/pause", handlers.pause)
    post("/api/v1/mirror/resume", handlers.resume)
    post("/api/v1/mirror/drain", handlers.drain)
    post("/api/v1/mirror/enable", handlers.enable)
    post("/api/v1/mirror/disable", handlers.disable)
    post("/api/v1/mirror/mark-gap", handlers.mark_gap)
    get("/api/v1/dead-letters", handlers.dead_letters)
    get("/api/v1/dead-letters/show", handlers.show)
    post("/api/v1/dead-letters/retry", handlers.retry)
    post("/api/v1/dead-letters/drop", handlers.drop)


class MirrorAdmin:
    """The handlers. A body's fields are checked here; what they mean is control's."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel

    async def mirror(self, _: web.Request) -> web.Response:
        return answer(self._panel.mirror())

    async def pause(self, request: web.Request) -> web.Response:
        body = await fields_of(request, {"reason"})
        await self._panel.operating.pause(actor=actor_of(request), reason=text(body, "reason", ""))
        return answer(self._panel.mirror())

    async def resume(self, request: web.Request) -> web.Response:
        body = await fields_of(request, {"reason"})
        await self._panel.operating.resume(actor=actor_of(request), reason=text(body, "reason", ""))
        return answer(self._panel.mirror())

    async def drain(self, request: web.Request) -> web.Response:
        body = await fields_of(request, {"wait_s"})
        await self._panel.operating.drain(seconds(body.get("wait_s")))
        return answer(self._panel.mirror())

    async def enable(self, request: web.Request) -> web.Response:
        body = await fields_of(request, {"reason"})
        await self._panel.controller.enable_mirror(actor=actor_of(request), reason=text(body, "reason", ""))
        return answer(self._panel.mirror())

    async def disable(self, request: web.Request) -> web.Response:
        body = await fields_of(request, {"reason", "wait_s"})
        await self._panel.controller.disable_mirror(
            actor=actor_of(request),
            reason=reason(body, "to disable the mirror"),
            wait_s=seconds(body.get("wait_s")),
        )
        return answer(self._panel.mirror())

    async def mark_gap(self, request: web.Request) -> web.Response:
        body = await fields_of(request, {"prefix", "reason"})
        prefix = prefix_of(text(body, "prefix", ""))
        await self._panel.operating.mark_gap(
            prefix, actor=actor_of(request), reason=reason(body, "a gap mark")
        )
        return answer({"unproven": prefix or "/", "next": "turnout validate"})

    async def dead_letters(self, request: web.Request) -> web.Response:
        count = integer(request.query.get("count", str(LISTED)), 1, LISTED_MAX)
        letters = self._panel.letters
        return answer({"dead_letters": letters.first(count), "total": letters.total})

    async def show(self, request: web.Request) -> web.Response:
        key = request.query.get("key", "")
        return answer(await self._panel.letters.show(key, self._panel.controller.roles))

    async def retry(self, request: web.Request) -> web.Response:
        body = await fields_of(request, {"key", "all"})
        letters, actor = self._panel.letters, actor_of(request)
        if body.get("all") is True:
            if "key" in body:
                raise UsageError("either a `key`, or `all`")
            return answer({"retrying": await letters.retry_all(actor=actor)})
        key = text(body, "key", "")
        await letters.retry(key, actor=actor)
        return answer({"retrying": [key]})

    async def drop(self, request: web.Request) -> web.Response:
        body = await fields_of(request, {"key", "reason"})
        why = reason(body, "to drop a dead letter")
        key = text(body, "key", "")
        path = await self._panel.letters.drop(
            key, actor=actor_of(request), reason=why, upstreams=self._panel.controller.roles
        )
        return answer({"dropped": key, "exported": str(path), "next": "turnout validate"})


def prefix_of(path: str) -> str:
    """A path as gap marks name it: decoded, without a slash at its end; ``""`` is everything. UsageError where it is none."""
    try:
        decoded = unquote(path, errors="strict") if path.isascii() else path
    except UnicodeDecodeError as error:
        raise UsageError(f"{path!r} is no UTF-8", "write it as /api/orders, or / for everything") from error
    if not decoded.startswith("/") or "?" in path or "//" in decoded or "%2f" in path.lower():
        raise UsageError(f"{path!r} is no path prefix", "write it as /api/orders, or / for everything")
    if any(part in (".", "..") for part in PurePosixPath(decoded).parts):
        raise UsageError(f"{path!r} has dot segments", "write it as the upstream sees it")
    return "/".join(map(key_segment, decoded.rstrip("/").split("/")))
