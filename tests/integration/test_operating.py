"""An operator's word on the mirror, against real servers: each takes effect, is in the history, and holds over a restart."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.support.line import ROUTING, Line

pytestmark = pytest.mark.slow

EMPTY = {"settings": {"open": True}, "orders": []}


async def post(line: Line, body: object) -> tuple[int, bytes]:
    async with line.session.post(line.url("proxy") + "/api/orders", json=body) as response:
        return response.status, await response.read()


async def say(line: Line, word: str, **body: object) -> dict:
    status, answer = await line.admin("POST", f"/api/v1/mirror/{word}", body, X_Turnout_Actor="ann")
    assert status == 200, answer
    return answer


async def lag_becomes(line: Line, lag: int) -> None:
    async with asyncio.timeout(10):
        while (await line.status())["mirror"]["lag_entries"] != lag:
            await asyncio.sleep(0.02)


async def proven(line: Line) -> None:
    """Nothing is unproven: the two were equal, and a validation said so."""
    await line.open_for_writes()
    await line.settled()
    assert (await line.validate())["state"] == "equal"


async def test_p3_a_paused_mirror_keeps_every_write_over_a_restart_and_carries_it_when_resumed(
    tmp_path: Path, database_url: str
) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        await line.open_for_writes()
        await say(line, "pause", reason="a new disk")
        first = await post(line, {"customer": "ann"})
        await lag_becomes(line, 1)
        await line.processes["proxy"].stop()
        await line.start("proxy")
        await line.open_for_writes()
        status = await line.status()
        assert (status["mirror"]["paused"]["actor"], status["mirror"]["paused"]["reason"]) == (
            "ann",
            "a new disk",
        )
        second = await post(line, {"customer": "bob"})
        assert (first[0], second[0]) == (201, 201)
        assert (await line.status())["mirror"]["lag_entries"] == 2
        assert await line.records("postgres") == {}
        refused, problem = await line.admin("POST", "/api/v1/mirror/drain", {"wait_s": 1})
        assert (refused, problem["code"]) == (409, "refused")
        assert "paused" in problem["detail"]
        switch, problem = await line.admin("POST", "/api/v1/switch", {"to": "postgres", "reason": "x"})
        assert switch == 409
        assert "paused" in problem["detail"]
        await say(line, "resume")
        await say(line, "drain", wait_s=20)
        assert await line.records("postgres") == await line.records("json")
        assert len(await line.records("json")) == 2
        lines = [(one["verb"], one["actor"], one["reason"]) for one in (await line.status())["history"]]
        assert ("mirror pause", "ann", "a new disk") in lines
        assert ("mirror resume", "ann", "") in lines


async def test_p8_the_mirror_is_disabled_and_enabled_while_the_proxy_runs_and_a_gap_stands_until_a_validation(
    tmp_path: Path, database_url: str
) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        await proven_from_nothing(line)
        await line.admin("POST", "/api/v1/canary", {"enabled": True, "weight": 25})
        await post(line, {"customer": "before"})
        answer = await say(line, "disable", reason="put off", wait_s=10)
        assert answer["enabled"] is False
        assert answer["unproven"] == ["/"]
        assert answer["lag_entries"] == 0
        status = await line.status()
        assert (status["stage"], status["canary"]["weight"]) == ("off", 0)
        assert "enabled: false" in line.config.read_text()
        unmirrored = await post(line, {"customer": "while off"})
        assert unmirrored[0] == 201
        assert len(await line.records("postgres")) == 1
        # Also after a restart it is off.
        await line.processes["proxy"].stop()
        await line.start("proxy")
        assert (await line.status())["mirror"]["enabled"] is False
        refused, problem = await line.admin("POST", "/api/v1/validations", {"wait": True})
        assert (refused, problem["code"]) == (409, "refused")
        await say(line, "enable", reason="on again")
        after = await post(line, {"customer": "after"})
        await line.settled()
        assert after[1] in (await line.records("postgres")).values()
        run = await line.validate()
        assert run["state"] == "different", "what was written meanwhile is missing over there, and told"
        assert [one["id"] for one in run["report"]["differences"]] == [str(json.loads(unmirrored[1])["id"])]
        assert (await line.status())["mirror"]["unproven"] == ["/"]


async def proven_from_nothing(line: Line) -> None:
    """Both are empty but for the settings, which are written once through the proxy."""
    await line.open_for_writes()
    async with line.session.put(line.url("proxy") + "/api/settings", json={"open": True}) as response:
        assert response.status == 200, await response.text()
    await proven(line)


async def test_an_edit_of_the_file_turns_the_mirror_off_and_on(tmp_path: Path, database_url: str) -> None:
    routing = ROUTING + "mirror: {{enabled: true}}\n"
    async with Line(tmp_path, database_url=database_url, data=EMPTY, routing=routing) as line:
        await line.open_for_writes()
        text = line.config.read_text()

        async def mirror_becomes(enabled: bool) -> None:
            async with asyncio.timeout(10):
                while (await line.status())["mirror"]["enabled"] is not enabled:
                    await asyncio.sleep(0.02)

        line.config.write_text(text.replace("{enabled: true}", "{enabled: false}"))
        await mirror_becomes(False)
        assert (await post(line, {"customer": "off"}))[0] == 201
        line.config.write_text(text)
        await mirror_becomes(True)
        await line.open_for_writes()
        answer = await post(line, {"customer": "on"})
        await line.settled()
        assert list((await line.records("postgres")).values()) == [answer[1]]
        verbs = [one["verb"] for one in (await line.status())["history"]]
        assert verbs[:2] == ["mirror enable", "mirror disable"]


async def test_a_disable_that_cannot_drain_changes_nothing(tmp_path: Path, database_url: str) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        await line.open_for_writes()
        await line.processes["postgres"].kill()
        assert (await post(line, {"customer": "ann"}))[0] == 201
        refused, problem = await line.admin("POST", "/api/v1/mirror/disable", {"reason": "x", "wait_s": 0.3})
        assert refused == 409
        assert "nothing has changed" in problem["detail"]
        assert (await line.status())["mirror"]["enabled"] is True
        assert (await post(line, {"customer": "bob"}))[0] == 201, "writes go on"
        await line.start("postgres")
        await line.settled()
        assert await line.records("json") == await line.records("postgres")


async def test_a_marked_gap_is_unproven_until_a_validation(tmp_path: Path, database_url: str) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        await proven_from_nothing(line)
        answer = await say(line, "mark-gap", prefix="/api/orders/", reason="restored by hand")
        assert answer["unproven"] == "/api/orders"
        await line.processes["proxy"].kill()
        await line.start("proxy")
        await line.open_for_writes()
        mirror = (await line.admin("GET", "/api/v1/mirror"))[1]
        assert [(gap["prefix"], gap["why"]) for gap in mirror["gaps"]] == [
            ("/api/orders", "ann: restored by hand")
        ]
        assert (await line.validate())["state"] == "equal"
        assert (await line.status())["mirror"]["unproven"] == []
        for wrong in ("orders", "/a/../b", "/a?b", "/a//b"):
            assert (await line.admin("POST", "/api/v1/mirror/mark-gap", {"prefix": wrong, "reason": "x"}))[
                0
            ] == 400, wrong


# -- who decides ---------------------------------------------------------------------------------------

VARIABLES = ROUTING.replace("primary: json", "primary: ${{DATA_BACKEND:-json}}").replace(
    "weight: 10", 'weight: "${{WEIGHT:-10}}"'
)


async def test_where_the_file_cannot_say_it_a_change_is_an_override_until_the_file_says_otherwise(
    tmp_path: Path, database_url: str
) -> None:
    routing = ROUTING + "mirror: {{enabled: '${{DUAL_WRITE:-true}}'}}\n"
    routing = routing.replace("'${{DUAL_WRITE:-true}}'", "${{DUAL_WRITE:-true}}").replace(
        "mirror: {{enabled: ${{DUAL_WRITE:-true}}}}", "mirror:\n  enabled: ${{DUAL_WRITE:-true}}"
    )
    async with Line(tmp_path, database_url=database_url, data=EMPTY, routing=routing) as line:
        await line.open_for_writes()
        assert (await line.status())["sources"]["mirror.enabled"] == "environment: DUAL_WRITE"
        before = line.config.read_text()
        await say(line, "disable", reason="x", wait_s=10)
        status = await line.status()
        assert status["overrides"] == [{"path": "mirror.enabled", "value": "false", "file": "true"}]
        assert status["sources"]["mirror.enabled"] == "override"
        assert line.config.read_text() == before.replace("weight: 10", "weight: 0"), "only what it can say"
        # An edit of anything else leaves it; a restart too.
        line.config.write_text(line.config.read_text() + "# a remark\nshadow: {sample: 0}\n")
        await line.processes["proxy"].stop()
        await line.start("proxy")
        assert (await line.status())["mirror"]["enabled"] is False
        # It ends when the resolved value of that scalar changes; then the file decides again.
        await line.processes["proxy"].stop()
        await line.start("proxy", {"DUAL_WRITE": "false"})
        assert (await line.status())["overrides"] == []
        await line.processes["proxy"].stop()
        await line.start("proxy", {"DUAL_WRITE": "true"})
        await line.open_for_writes()
        assert (await line.status())["mirror"]["enabled"] is True


async def test_a_read_only_file_refuses_no_operator(tmp_path: Path, database_url: str) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        await proven_from_nothing(line)
        before = line.config.read_text()
        line.config.chmod(0o444)
        status, answer = await line.admin(
            "POST",
            "/api/v1/canary",
            {"enabled": True, "weight": 40, "header": "X-Canary", "value": "canary=true"},
        )
        assert status == 200, answer
        assert answer["canary"]["enabled"] is True
        assert answer["canary"]["weight"] == 40
        assert answer["canary"]["always"] == ["header x-canary exact canary=true"]
        assert {one["path"] for one in answer["overrides"]} == {
            "canary.enabled",
            "canary.weight",
            "canary.always",
        }
        assert line.config.read_text() == before
        assert line.processes["proxy"].events("file_not_edited")
        async with line.session.get(
            line.url("proxy") + "/api/orders", headers={"X-Canary": "canary=true"}
        ) as response:
            assert response.headers["X-Served-By"] == "postgres"
        status, answer = await line.admin("POST", "/api/v1/rollback", {"reason": "emergency"})
        assert (status, answer["changed"]) == (200, True)
        await line.processes["proxy"].stop()
        await line.start("proxy")
        canary = (await line.status())["canary"]
        assert (canary["enabled"], canary["weight"]) == (False, 40)


async def test_the_second_of_two_operators_is_told(tmp_path: Path, database_url: str) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        await line.open_for_writes()
        async with line.session.get(line.url("admin") + "/api/v1/routing") as response:
            etag = response.headers["ETag"]
        change = {"canary": {"weight": 12.5}, "limits": {"read_barrier": "80ms"}}
        assert (await line.admin("PATCH", "/api/v1/routing", change))[0] == 428
        status, answer = await line.admin("PATCH", "/api/v1/routing", change, **{"If-Match": etag})
        assert (status, answer["canary"]["weight"]) == (200, 12.5)
        assert "weight: 12.5" in line.config.read_text()
        assert "80ms" in line.config.read_text()
        status, problem = await line.admin("PATCH", "/api/v1/routing", change, **{"If-Match": etag})
        assert (status, problem["code"]) == (412, "precondition-failed")
        now = {"If-Match": "*"}
        for bad, code in (
            ({"canary": {"weight": 101}}, "bad-settings"),
            ({"canary": {"wait": 1}}, "bad-settings"),
            ({"canary": {"always": []}}, "usage"),
            ({"canary": {"weight": None}}, "usage"),
            ({}, "usage"),
        ):
            status, problem = await line.admin("PATCH", "/api/v1/routing", bad, **now)
            assert problem["code"] == code, (bad, problem)
        assert (await line.status())["canary"]["weight"] == 12.5


async def test_p8_edits_in_quick_succession_are_never_undone_by_a_look_at_the_file_that_came_between(
    tmp_path: Path, database_url: str
) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        await proven_from_nothing(line)
        for turn in range(40):
            weight = turn % 2 * 50 + 10
            status, answer = await line.admin(
                "POST", "/api/v1/canary", {"enabled": True, "weight": weight, "force": True}
            )
            assert status == 200, answer
            # The file's watcher looks at about this pace: what it saw before the edit comes after it.
            for _ in range(turn % 8):
                assert (await line.status())["canary"]["weight"] == weight
                await asyncio.sleep(0.01)
