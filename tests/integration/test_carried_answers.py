"""A client that repeats a write with its Idempotency-Key after a switch finds the answer of the first one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.line import Line

pytestmark = pytest.mark.slow


async def send(line: Line, method: str, path: str, body: dict | None, key: str) -> tuple[int, bytes]:
    async with line.session.request(
        method, line.url("proxy") + path, json=body, headers={"Idempotency-Key": key}
    ) as response:
        return response.status, await response.read()


async def say(line: Line, path: str, **body: object) -> dict:
    status, answer = await line.admin("POST", path, body)
    assert status == 200, answer
    return answer


async def test_p4_a_repair_and_a_validation_carry_the_kept_answers_along(
    tmp_path: Path, database_url: str
) -> None:
    data = {"settings": {"open": True}, "orders": [{"id": 1, "customer": "ann"}]}
    async with Line(tmp_path, database_url=database_url, data=data) as line:
        await line.open_for_writes()
        # While nothing is mirrored: an answer without a record that would bring it along.
        await say(line, "/api/v1/mirror/disable", reason="x", wait_s=10)
        gone = await send(line, "POST", "/api/orders", {"customer": "gone"}, "before")
        made = f"/api/orders/{json.loads(gone[1])['id']}"
        assert (await send(line, "DELETE", made, None, "before-deleted"))[0] == 200
        await say(line, "/api/v1/mirror/enable")
        # The first write of a record that has no version is settled by repair, never by replay.
        changed = await send(line, "PATCH", "/api/orders/1", {"customer": "bea"}, "by-repair")
        async with line.session.put(line.url("proxy") + "/api/settings", json={"open": False}) as response:
            assert response.status == 200
        created = await send(line, "POST", "/api/orders", {"customer": "new"}, "by-replay")
        figures = await line.settled()
        assert figures["repaired"] >= 2
        run = await line.validate()
        assert run["state"] == "equal", run
        await say(line, "/api/v1/switch", to="postgres", reason="x")
        await line.processes["json"].kill()
        before = await line.records("postgres")
        assert await send(line, "PATCH", "/api/orders/1", {"customer": "bea"}, "by-repair") == changed
        assert await send(line, "POST", "/api/orders", {"customer": "new"}, "by-replay") == created
        assert await send(line, "POST", "/api/orders", {"customer": "gone"}, "before") == gone
        assert await line.records("postgres") == before, "nothing was done twice"
        status, problem = await send(line, "POST", "/api/orders", {"customer": "other"}, "by-replay")
        assert (status, json.loads(problem)["code"]) == (422, "idempotency-mismatch")
