"""What needs a person is told in the log, in a line that a program can read: where it happens, between real servers.

Lines whose story is long have it elsewhere: those of the journal's disk and of a dead primary in tests/faults, of plain upstreams
and of certificates beside this file. docs/operating/logs.md lists them all, and a test looks whether each is shown.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from tests.support.fault_proxy import Fault, Kind
from tests.support.line import ROUTING, TOKEN, Line

pytestmark = pytest.mark.slow

EMPTY = {"settings": {"open": True}, "orders": []}
BY_LIST = ROUTING.replace("routes:\n", 'routes:\n  - {{path: "/api/stock/*", methods: [PUT]}}\n')


async def send(line: Line, method: str, path: str, body: object) -> int:
    async with line.session.request(method, line.url("proxy") + path, json=body) as response:
        await response.read()
        return response.status


async def say(line: Line, path: str, **body: object) -> dict:
    status, answer = await line.admin("POST", f"/api/v1/{path}", body)
    assert status == 200, answer
    return answer


async def proven(line: Line) -> None:
    await line.open_for_writes()
    await line.secondary_known()
    assert await send(line, "PUT", "/api/settings", {"open": True}) == 200
    await line.settled()
    assert (await line.validate())["state"] == "equal"


async def test_a_primary_that_is_away_is_told_with_all_that_waits_for_it(
    tmp_path: Path, database_url: str
) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY, faults=("json",)) as line:
        await line.open_for_writes()
        assert await send(line, "POST", "/api/orders", {"n": 1}) == 201
        await line.settled()
        await line.faults["json"].set(Fault(Kind.CUT_ANSWER))
        assert await send(line, "POST", "/api/orders", {"n": 2}) == 502
        proxy = line.processes["proxy"]
        assert (await proxy.told("void_failed"))["failures"] == 1
        assert (await proxy.told("health", up=False))["upstream"] == "json"
        away = await proxy.told("primary_away", level="error")
        assert (away["upstream"], "runbook" in away["next"]) == ("json", True)

        # A start finds it away, too; and what has lasted is told, however the process began.
        await proxy.stop()
        proxy = await line.start("proxy")
        assert (await proxy.told("upstream_away"))["upstream"] == "json"
        waiting = await proxy.told("writes_wait", level="error")
        assert waiting["primary"] == "json"
        stuck = await proxy.told("fence_stuck", level="error")
        assert "json" in stuck["why"]
        assert stuck["held_s"] >= 5
        doubt = await proxy.told("in_doubt", level="error")
        assert doubt["entries"] == 1
        assert doubt["oldest_s"] >= 10

        await line.faults["json"].clear()
        for event in ("primary_back", "writes_open", "fence_open", "in_doubt_over"):
            await proxy.told(event)
        await line.settled()
        assert await line.records("json") == await line.records("postgres")
        assert len(await line.records("json")) == 2
        for event in ("primary_away", "writes_wait", "fence_stuck", "in_doubt"):
            assert len(proxy.events(event)) == 1, "once, however long it lasts"


async def test_what_the_secondary_lacks_or_refuses_is_told(tmp_path: Path, database_url: str) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        proxy = line.processes["proxy"]
        assert (await proxy.told("gap"))["why"] == "first start"
        await proven(line)
        before = len(proxy.events("secondary_away"))
        await line.processes["postgres"].kill()
        assert await send(line, "POST", "/api/orders", {"n": 1}) == 201
        async with asyncio.timeout(20):
            while len(proxy.events("secondary_away")) == before:
                await asyncio.sleep(0.02)
        run = await line.validate()
        assert run["state"] == "failed"
        assert (await proxy.told("validation_ended"))["error"] == run["error"]
        await line.start("postgres")
        assert (await proxy.told("secondary_back", lag_entries=1))["upstream"] == "postgres"
        await line.settled()

        url = line.url("postgres") + "/api/orders/1"
        async with line.session.patch(url, json={"n": "by hand"}) as response:
            assert response.status == 200
        assert (await line.validate())["state"] == "different"
        differs = await proxy.told("validation_differs", level="error")
        assert (differs["different"], differs["not_looked_at"]) == (1, 0)
        assert "turnout validate" in differs["next"]

        apply = f"{line.url('postgres')}/_turnout/apply?name=widgets"
        refused = json.dumps({"id": "widgets", "body": {"by": "hand"}, "at": 1})
        async with line.session.post(apply, data=refused, headers={"Turnout-Token": TOKEN}) as response:
            assert (await response.json())["applied"] == 1
        assert await send(line, "POST", "/api/widgets", {"n": 1}) == 201
        dead = await proxy.told("dead_letter", level="error")
        assert (dead["key"], dead["next"]) == ("/api/widgets/1", "turnout dead-letters show /api/widgets/1")

        # The file wants another primary, which a dead letter forbids.
        good = line.config.read_text()
        line.config.write_text(good.replace("primary: json", "primary: postgres"))
        wanted = await proxy.told("wanted_not_yet")
        assert wanted["primary"] == "postgres"
        assert "/api/widgets/1" in wanted["error"]
        line.config.write_text(good + "oops: 1\n")
        assert "oops" in (await proxy.told("reload_refused", level="error"))["fault"]
        line.config.write_text(good)

        await say(line, "dead-letters/drop", key="/api/widgets/1", reason="entered twice")
        assert (await proxy.told("dead_letter_dropped"))["reason"] == "entered twice"
        assert "entered twice" in (await proxy.told("gap", prefix="/api/widgets/1"))["why"]

        await say(line, "mirror/pause", reason="a new disk")
        assert (await proxy.told("mirror_paused"))["next"] == "turnout mirror resume"
        await say(line, "mirror/resume")
        await say(line, "mirror/disable", reason="put off", wait_s=10)
        assert (await proxy.told("mirror_disabled"))["reason"] == "put off"
        await say(line, "mirror/enable")
        assert (await proxy.told("mirror_enabled"))["next"] == "turnout validate"


async def test_a_list_that_cannot_be_had_is_told_and_asked_for_again(
    tmp_path: Path, database_url: str
) -> None:
    async with Line(
        tmp_path, database_url=database_url, data={**EMPTY, "stock": [{"id": 1}]}, routing=BY_LIST, faults=("json",)
    ) as line:  # fmt: skip
        await line.open_for_writes()
        await line.secondary_known()
        await say(line, "mirror/pause")
        assert await send(line, "PUT", "/api/stock/1", {"left": 4}) == 200
        await line.faults["json"].set(Fault(Kind.REFUSE))
        await say(line, "mirror/resume")
        proxy = line.processes["proxy"]
        failed = await proxy.told("listing_failed")
        assert (failed["prefixes"], failed["failures"]) == (["/api/stock"], 1)
        await line.faults["json"].clear()
        await line.settled()
        assert await line.records("json", "stock") == await line.records("postgres", "stock")


async def test_epochs_that_cannot_be_announced_are_told(tmp_path: Path, database_url: str) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        await proven(line)

        # Killed in the middle of a switch, then a start without the primary.
        await line.processes["proxy"].stop()
        proxy = await line.start("proxy", {"TURNOUT_FAILPOINT": "switch-burned"})
        await line.open_for_writes()
        await line.secondary_known()
        with pytest.raises(aiohttp.ClientError):
            await say(line, "switch", to="postgres", reason="x", force=True)
        assert await proxy.wait() == -9
        await line.processes["json"].kill()
        proxy = await line.start("proxy")
        assert (await proxy.told("announce_failed"))["upstream"] == "json"
        await line.start("json")
        await proxy.told("writes_open")
        await line.secondary_known()

        # Another proxy takes the primary: a switch is called off, and the way back is barred as well.
        told = {"epoch": 99, "role": "primary", "journal": "other", "counters": {}, "adopt": True}
        url = line.url("json") + "/_turnout/epoch"
        async with line.session.post(url, json=told, headers={"Turnout-Token": TOKEN}) as response:
            assert response.status == 200, await response.text()
        wish = {"to": "postgres", "reason": "x", "force": True}
        switching = asyncio.create_task(line.admin("POST", "/api/v1/switch", wish))
        failed = await proxy.told("renew_failed", level="error")
        assert "another proxy speaks to it" in failed["error"]
        await proxy.kill()
        await asyncio.gather(switching, return_exceptions=True)
        line.adopt = True
        proxy = await line.start("proxy")
        assert (await proxy.told("adopted"))["next"] == "turnout validate"
        assert (await proxy.told("gap", why="adopted from another journal"))["prefix"] == "/"
        await proxy.told("writes_open")
