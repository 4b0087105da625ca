"""The contract suite's servers: one application over each store, alone and as the primary behind a proxy.

Whatever a test asks, all arrangements must answer with the same bytes: what the first one said is kept, and the others are
held to it when the test ends.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.api import Api, Reply
from tests.support.arrangements import ARRANGEMENTS, arranged
from tests.support.stores import STORES

HEADERS = (
    "Content-Type", "ETag", "Location", "Link", "X-Total-Count", "Allow", "Accept-Patch", "Accept-Encoding",
    "Retry-After", "Access-Control-Allow-Origin", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods",
    "Access-Control-Expose-Headers", "Access-Control-Max-Age",
)  # fmt: skip
"""What the contract says; the proxy adds its own beside them."""

UUID7 = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
Said = list[tuple[object, ...]]


@pytest.fixture(params=sorted(STORES))
def store_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def said_before() -> dict[str, Said]:
    """What each test was answered under its first arrangement."""
    return {}


@pytest.fixture(params=ARRANGEMENTS)
async def api(
    request: pytest.FixtureRequest, tmp_path: Path, said_before: dict[str, Said]
) -> AsyncIterator[Api]:
    """A server under each arrangement. A test where requests race marks itself ``races``: its answers come in any order."""
    async with arranged(request.param, tmp_path) as served:
        yield served
    if request.node.get_closest_marker("races") is None:
        name = request.node.nodeid.replace(request.param, "*")
        said = [_normal(method, target, reply) for method, target, reply in served.exchanges]
        assert said == said_before.setdefault(name, said)


@pytest.fixture(params=["only-json", "only-postgres"])
async def server(
    request: pytest.FixtureRequest, tmp_path: Path, said_before: dict[str, Said]
) -> AsyncIterator[Api]:
    """As ``api``, without a proxy: for what a proxy answers itself, or never lets through."""
    async with arranged(request.param, tmp_path) as served:
        yield served
    name = request.node.nodeid.replace(request.param, "*")
    said = [_normal(method, target, reply) for method, target, reply in served.exchanges]
    assert said == said_before.setdefault(name, said)


def _normal(method: str, target: str, reply: Reply) -> tuple[object, ...]:
    """What must be equal everywhere. Only an id that is random by its kind may differ, and the tag of a body that holds it."""
    headers = {name: reply.headers.get(name) for name in HEADERS}
    body = UUID7.sub(b"<uuid>", reply.body)
    if body != reply.body:
        headers["ETag"] = headers["Location"] = None
    if method == "GET" and target == "/metrics":
        body = b""
    return method, UUID7.sub(b"<uuid>", target.encode()), reply.status, headers, body
