"""A validation where an upstream is plain: real processes; foreign servers that know nothing of Turnout. It reports, and clears nothing."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.plain_line import ROUTING, PlainLine
from tests.support.processes import ROOT

pytestmark = pytest.mark.slow

CANARY = "primary: old\ncanary: {{enabled: true, always: [{{header: X-Canary, exact: always}}]}}"
NAMED = ROUTING.replace("primary: old", CANARY) + 'mirror: {{compare: {{collections: ["{base}/items"]}}}}\n'


def line_of(folder: Path, *, old: str = "strict", new: str = "strict", routing: str = NAMED) -> PlainLine:
    return PlainLine(folder, old=old, new=new, late="300ms", routing=routing)


async def validate(line: PlainLine, *, wait: bool = True) -> dict:
    async with line.session.post(line.url("admin") + "/api/v1/validations", json={"wait": wait}) as response:
        assert response.status == (200 if wait else 202), await response.text()
        return await response.json()


async def refused(line: PlainLine, path: str, body: dict) -> tuple[int, str]:
    async with line.session.post(line.url("admin") + path, json=body) as response:
        answer = await response.json()
        assert response.status >= 400, answer
        return response.status, f"{answer['detail']} {answer.get('hint', '')}"


async def gaps(line: PlainLine) -> list[dict]:
    async with line.session.get(line.url("admin") + "/api/v1/mirror") as response:
        return (await response.json())["gaps"]


async def filled(line: PlainLine, count: int) -> None:
    await line.open_for_writes()
    for number in range(1, count + 1):
        assert (await line.send("POST", "/items", {"n": number}))[0] == 201
    await line.settled()


async def test_p9_two_plain_servers_with_equal_pages_are_equal_and_nothing_is_cleared(tmp_path: Path) -> None:
    async with line_of(tmp_path) as line:
        await filled(line, 7)
        before, gaps_before = await line.status(), await gaps(line)
        run = await validate(line)
        assert (run["state"], run["report"]["compared"]) == ("equal", 7), run
        assert run["report"]["collections"]["/items"] == {
            "primary": 7, "secondary": 7, "different": 0, "not_looked_at": 0, "equal": True,
        }  # fmt: skip
        assert (run["gaps_cleared"], "gaps stay" in run["note"]) == (0, True)
        after = await line.status()
        assert await gaps(line) == gaps_before != []
        assert (after["validated"], after["epoch"]) == (None, before["epoch"])
        async with line.session.get(line.items("proxy"), headers={"X-Canary": "always"}) as response:
            assert response.headers["X-Served-By"] == "old", "a canary reader waits for the gap"
        for force in (False, True):
            body = {"to": "new", "reason": "test", "force": force}
            status, said = await refused(line, "/api/v1/switch", body)
            assert (status, "gaps stay in this version" in said) == (409, True), said


async def test_p9_each_difference_is_named_by_field_also_what_is_missing_or_too_much(tmp_path: Path) -> None:
    async with line_of(tmp_path) as line:
        await filled(line, 5)
        assert (await line.send("PATCH", "/items/2", {"n": 99}, at="new"))[0] == 200
        assert (await line.send("DELETE", "/items/3", at="new"))[0] == 204
        assert (await line.send("POST", "/items", {"id": 77}, at="new"))[0] == 201
        run = await validate(line)
        assert (run["state"], run["report"]["different"], run["report"]["compared"]) == ("different", 3, 6), (
            run
        )
        found = {one["id"]: one for one in run["report"]["differences"]}
        assert {key: one["kind"] for key, one in found.items()} == {
            "2": "differs",
            "3": "missing",
            "77": "extra",
        }
        (field,) = found["2"]["fields"]
        assert field == {"pointer": "/n", "kind": "value", "primary": "2", "secondary": "99"}
        # Looked at only: neither side was changed by it.
        assert set(await line.records("new")) == {"1", "2", "4", "5", "77"}
        assert set(await line.records("old")) == {"1", "2", "3", "4", "5"}


async def test_p9_own_get_a_list_that_abbreviates_its_records_hides_no_difference(tmp_path: Path) -> None:
    async with line_of(tmp_path, old="abbreviating", new="abbreviating") as line:
        await filled(line, 4)
        assert (await validate(line))["state"] == "equal"
        assert (await line.send("PATCH", "/items/4", {"n": 0}, at="new"))[0] == 200
        run = await validate(line)
        assert [one["id"] for one in run["report"]["differences"]] == ["4"], run


async def test_p9_an_ignored_field_may_differ(tmp_path: Path) -> None:
    routing = NAMED.replace("compare: {{", "compare: {{ignore: [n], ")
    async with line_of(tmp_path, routing=routing) as line:
        await filled(line, 2)
        assert (await line.send("PATCH", "/items/1", {"n": 0}, at="new"))[0] == 200
        assert (await validate(line))["state"] == "equal"
        assert (await line.send("PATCH", "/items/1", {"m": 0, "n": 5}, at="new"))[0] == 200
        (found,) = (await validate(line))["report"]["differences"]
        assert [field["pointer"] for field in found["fields"]] == ["/m"]


async def test_p9_whole_list_and_settled_look_writes_that_go_on_are_no_differences(tmp_path: Path) -> None:
    async with line_of(tmp_path) as line:
        await filled(line, 10)
        until = asyncio.Event()
        made: list[int] = []

        async def write() -> None:
            while not until.is_set():
                status, _ = await line.send("PATCH", f"/items/{len(made) % 5 + 1}", {"n": len(made)})
                made.append(status)
                assert (await line.send("POST", "/items", {"n": 0}))[0] == 201
                await asyncio.sleep(0.02)

        writer = asyncio.create_task(write())
        try:
            run = await validate(line)
        finally:
            until.set()
            await writer
        assert (run["state"], run["report"]["different"]) == ("equal", 0), run
        assert run["report"]["compared"] >= 10
        assert len(made) > 5
        assert set(made) == {200}
        # A true difference is found all the same while they go on.
        await line.settled()
        assert (await line.send("DELETE", "/items/9", at="new"))[0] == 204
        until.clear()
        writer = asyncio.create_task(write())
        try:
            run = await validate(line)
        finally:
            until.set()
            await writer
        assert [(one["id"], one["kind"]) for one in run["report"]["differences"]] == [("9", "missing")], run


@pytest.mark.parametrize(("old", "new"), [("json", "strict"), ("strict", "json")])
async def test_p9_a_versioned_upstream_names_its_collections_itself(
    tmp_path: Path, old: str, new: str
) -> None:
    async with line_of(tmp_path, old=old, new=new, routing=ROUTING) as line:
        await filled(line, 5)
        before = await gaps(line)
        run = await validate(line)
        assert (run["state"], run["report"]["compared"]) == ("equal", 5), run
        assert list(run["report"]["collections"]) == ["/api/items"]
        assert await gaps(line) == before != []
        assert (await line.send("PUT", "/items/4", {"id": 4, "n": 0}, at="old"))[0] == 200
        (found,) = (await validate(line))["report"]["differences"]
        assert (found["collection"], found["id"], found["kind"]) == ("/api/items", "4", "differs")


async def test_what_cannot_be_read_as_a_list_is_not_proved_and_says_why(tmp_path: Path) -> None:
    routing = NAMED.replace('"{base}/items"', '"{base}/items", "{base}/itms", "{base}/items/1"')
    async with line_of(tmp_path, routing=routing) as line:
        await filled(line, 2)
        run = await validate(line)
        assert (run["state"], run["report"]["compared"]) == ("unproved", 3), run
        (told,) = run["report"]["not_proved"]
        assert told["collection"] == "/itms"
        assert "neither upstream has /itms" in told["why"]
        assert run["report"]["equal"] is False
        assert run["report"]["collections"]["/items/1"]["equal"], "a single key is compared by itself"
        assert line.processes["proxy"].events("validation_unproved")[0]["not_proved"] == [told]
        code, said = await asyncio.to_thread(command, line)
        assert (code, "/itms: not proved: neither upstream has /itms" in said) == (1, True), said


async def test_a_secondary_that_is_away_makes_the_validation_fail(tmp_path: Path) -> None:
    async with line_of(tmp_path) as line:
        await filled(line, 2)
        await line.processes["new"].kill()
        run = await validate(line)
        assert (run["state"], "new" in run["error"]) == ("failed", True), run


async def test_neither_lists_and_nothing_is_named_is_refused_with_what_to_write(tmp_path: Path) -> None:
    async with line_of(tmp_path, routing=ROUTING) as line:
        await line.open_for_writes()
        status, said = await refused(line, "/api/v1/validations", {"wait": True})
        assert status == 409
        assert "mirror: {compare: {collections: [/api/orders]}}" in said


async def test_a_named_path_without_a_key_template_is_refused(tmp_path: Path) -> None:
    routing = NAMED.replace('["{base}/items"]', "[/deep/down/below/things]")
    async with line_of(tmp_path, routing=routing) as line:
        await line.open_for_writes()
        status, said = await refused(line, "/api/v1/validations", {"wait": True})
        assert status == 409
        assert "/deep/down/below/things" in said
        assert 'key: "/deep/down/below/things/{id}"' in said


async def test_the_command_says_that_equal_clears_nothing_here(tmp_path: Path) -> None:
    async with line_of(tmp_path) as line:
        await filled(line, 3)
        code, told = await asyncio.to_thread(command, line)
        assert code == 0, told
        assert "equal: 3 records compared" in told
        assert "gaps stay in this version: canary reads and a switch still wait" in told
        assert (await line.send("DELETE", "/items/1", at="new"))[0] == 204
        code, told = await asyncio.to_thread(command, line)
        assert (code, "/items/1: missing" in told) == (1, True), told


def command(line: PlainLine) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "proxy.cli", "validate"],
        env={**os.environ, "TURNOUT_ADMIN": line.url("admin"), "PYTHONPATH": str(ROOT)}, cwd=line.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr
