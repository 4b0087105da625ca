"""T1: who may speak the protocol."""

from __future__ import annotations

import pytest

from tests.protocol.server import Server


@pytest.fixture
def guarded(server: Server) -> Server:
    if server.token is None:
        pytest.skip("the server has no token; set TURNOUT_MIRROR_TOKEN here and there")
    return server


@pytest.mark.parametrize("token", [None, "wrong", ""])
async def test_t1_tools_paths_need_the_token(guarded: Server, token: str | None) -> None:
    headers = {} if token is None else {"Turnout-Token": token}
    reply = await guarded.send("GET", "/_turnout/epoch", headers=headers)
    assert (reply.status, reply.code) == (403, "mirror-token")


@pytest.mark.parametrize(
    ("name", "value"),
    [("Turnout-Mirror", "repair"), ("Turnout-Request", "1; open=0"), ("Turnout-Epoch", "1 a"),
     ("turnout-version", "1; at=1"), ("Turnout-Whatever", "1")],
)  # fmt: skip
async def test_t1_a_turnout_header_without_the_token_is_refused_never_ignored(
    guarded: Server, collection: str, name: str, value: str
) -> None:
    reply = await guarded.send("POST", f"/api/{collection}", {"id": "a"}, {name: value})
    assert (reply.status, reply.code) == (403, "mirror-token")
    assert (await guarded.send("GET", f"/api/{collection}")).json == []


async def test_t1_clients_need_no_token(guarded: Server, collection: str) -> None:
    await guarded.become("primary")
    assert (await guarded.send("POST", f"/api/{collection}", {"id": "a"})).status == 201
    assert (await guarded.send("GET", f"/api/{collection}/a")).status == 200
