"""The server under test: each of ours, or, with TURNOUT_PROTOCOL_URL, the one that listens there (make protocol URL=…).

A server at a URL keeps what earlier tests did, so each test works in a collection of its own and in an epoch above
all before. The suite changes the server's epoch and fills collections: never point it at one with real data.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.protocol.server import Server
from tests.support.api import serving
from tests.support.stores import STORES

URL = os.environ.get("TURNOUT_PROTOCOL_URL", "")
TOKEN = os.environ.get("TURNOUT_MIRROR_TOKEN")


@pytest.fixture(params=["url"] if URL else list(STORES))
async def server(request: pytest.FixtureRequest, tmp_path) -> AsyncIterator[Server]:
    if URL:
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            yield await Server.at(URL.rstrip("/"), session, TOKEN)
        return
    token = secrets.token_hex(8)
    async with STORES[request.param](tmp_path) as store, serving(store, mirror_token=token) as api:
        yield await Server.at(api.base, api.session, token)


@pytest.fixture
def collection(server: Server) -> str:
    """A name that no other test uses."""
    return f"c{secrets.token_hex(6)}"
