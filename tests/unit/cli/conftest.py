"""A verb in this process, against a real HTTP server that answers what was recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import Result
from typer.testing import CliRunner

from proxy.cli.main import app

Verb = Callable[..., Awaitable[Result]]


@dataclass
class RecordedAdmin:
    """``answers`` by method and path; a list is answered one by one, its last for ever. ``asked`` is what came."""

    url: str = ""
    answers: dict[str, list[tuple[int, object]]] = field(default_factory=dict)
    asked: list[tuple[str, object]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def on(self, method_and_path: str, *answers: tuple[int, object]) -> None:
        self.answers[method_and_path] = list(answers)

    async def answer(self, request: web.Request) -> web.Response:
        name = f"{request.method} {request.path_qs}"
        self.asked.append((name, await request.json() if request.can_read_body else None))
        self.headers.append(dict(request.headers))
        waiting = self.answers[name]
        status, body = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(body, str):
            return web.Response(status=status, text=body)
        return web.json_response(body, status=status)


@pytest.fixture
async def admin(monkeypatch: pytest.MonkeyPatch, tmp_path) -> AsyncIterator[RecordedAdmin]:
    recorded = RecordedAdmin()
    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", recorded.answer)
    server = TestServer(application)
    await server.start_server()
    recorded.url = f"http://127.0.0.1:{server.port}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TURNOUT_ADMIN", recorded.url)
    monkeypatch.delenv("TURNOUT_ADMIN_TOKEN", raising=False)
    yield recorded
    await server.close()


@pytest.fixture
def turnout() -> Verb:
    """``await turnout("canary", "weight", "5")``; the server's loop goes on meanwhile."""

    async def run(*words: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, list(words))

    return run


@pytest.fixture
def status() -> dict:
    """A status as a proxy in the canary stage tells it."""
    return {
        "version": "0.1.0", "stage": "canary", "primary": "json", "secondary": "postgres", "epoch": 3, "journal": "5f0c",
        "addresses": {"proxy": "http://127.0.0.1:3000"},
        "upstreams": {
            "json": {"role": "primary", "endpoints": [{"url": "http://127.0.0.1:3002", "up": True}], "requests": 900},
            "postgres": {"role": "secondary", "endpoints": [{"url": "http://127.0.0.1:3003", "up": False}], "requests": 100},
        },
        "canary": {
            "enabled": True, "weight": 10.0, "sticky": "none", "cookie": "turnout-bucket",
            "always": ["header X-Canary exact canary=true"], "never": ["header X-Canary exact never"],
        },
        "sources": {"primary": "override", "canary.enabled": "config/routing.yaml", "mirror.enabled": "environment: DUAL_WRITE"},
        "overrides": [{"path": "primary", "value": "postgres", "file": "json"}],
        "pending": ["primary: postgres is wanted, json is: switching"],
        "mirror": {
            "enabled": True, "paused": {"since": "2026-01-02T03:00:00.000Z", "actor": "ann", "reason": "disk"}, "writes_held": "", "secondary_trouble": "connection refused", "unproven": ["/api/orders"],
            "accepted": 40, "replayed": 30, "repaired": 8, "rejected": 1, "pending": 2, "in_flight": 0, "in_doubt": 1,
            "dead_letters": 1, "success_rate": 0.95, "lag_entries": 2, "lag_seconds": 1.25, "since": 0.0,
        },
        "validated": None,
        "routing": {"revision": 4, "etag": '"abc"', "faults": [], "reloaded": "2026-01-02T03:04:05.000Z"},
        "history": [
            {"id": 2, "time": "2026-01-02T03:04:05.678Z", "actor": "ann", "verb": "canary", "detail": "enabled true", "reason": "try it"},
            {"id": 1, "time": "2026-01-02T03:00:00.000Z", "actor": "proxy", "verb": "start", "detail": "[b]json[/b]", "reason": ""},
        ],
    }  # fmt: skip
