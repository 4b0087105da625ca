"""Plain upstreams: servers that know nothing of Turnout. Real processes; the checker reads both and nothing else."""

import asyncio
import contextlib
import json
from pathlib import Path

import aiohttp
import pytest

from tests.support.plain_line import PlainLine

pytestmark = pytest.mark.slow


async def equal(line: PlainLine) -> dict[str, object]:
    await line.settled()
    ours = await line.records("old")
    assert ours == await line.records("new")
    return ours


async def test_p4_writes_are_mirrored_between_two_plain_servers(tmp_path: Path) -> None:
    async with PlainLine(tmp_path, old="strict", new="strict") as line:
        await line.open_for_writes()
        for number in range(1, 8):
            status, body = await line.send("POST", "/items", {"n": number})
            assert (status, json.loads(body)["id"]) == (201, number)
        assert (await line.send("PUT", "/items/3", {"n": 30}))[0] == 200
        assert (await line.send("PATCH", "/items/4", {"m": 1.50}))[0] == 200
        assert (await line.send("DELETE", "/items/5"))[0] == 204
        assert set(await equal(line)) == {"1", "2", "3", "4", "6", "7"}
        status = await line.status()
        assert {one["kind"] for one in status["upstreams"].values()} == {"plain"}
        assert status["mirror"]["replayed"] == 10, (
            "one after the other they are replayed, as between our own servers"
        )


async def test_p4_a_bulk_write_is_repaired_over_both_lists_page_by_page(tmp_path: Path) -> None:
    async with PlainLine(tmp_path, old="strict", new="strict") as line:
        await line.open_for_writes()
        for number in range(10):
            assert (await line.send("POST", "/items", {"color": "red" if number % 2 else "blue"}))[0] == 201
        assert (await line.send("DELETE", "/items?color=red"))[0] == 200
        assert len(await equal(line)) == 5


async def test_p4_writes_that_overlapped_are_repaired_and_end_equal(tmp_path: Path) -> None:
    async with PlainLine(tmp_path, old="strict", new="strict") as line:
        await line.open_for_writes()
        assert (await line.send("POST", "/items", {"n": 0}))[0] == 201
        await line.settled()
        before = (await line.status())["mirror"]
        await asyncio.gather(
            *(
                line.send("PUT", "/items/1", {"n": n}, X_Slow_Seconds=f"{0.05 * (5 - n):.2f}")
                for n in range(1, 5)
            )
        )
        await equal(line)
        after = (await line.status())["mirror"]
        assert after["replayed"] == before["replayed"], "their order at the primary is not known"
        assert after["repaired"] == before["repaired"] + 4


async def test_an_rpc_settles_by_an_equal_replay(tmp_path: Path) -> None:
    async with PlainLine(tmp_path, old="strict", new="strict") as line:
        await line.open_for_writes()
        assert (await line.send("POST", "/ping", {}))[0] == 200
        mirror = await line.settled()
        assert (mirror["replayed"], mirror["unproven"]) == (1, ["/"])


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_a_body_that_is_not_json_settles_by_repair(tmp_path: Path, kind: str) -> None:
    async with PlainLine(tmp_path, old="strict", new="strict") as line:
        await line.open_for_writes()
        body = (
            b"a=1&b=2"
            if "form-urlencoded" in kind
            else b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n'
        )
        status, _ = await line.send("POST", "/items", body, Content_Type=kind)
        assert status == 201
        (record,) = (await equal(line)).values()
        assert record["bytes"] == len(body)  # type: ignore[index]
        mirror = (await line.status())["mirror"]
        assert (mirror["replayed"], mirror["repaired"]) == (0, 1)


async def test_p3_a_write_in_doubt_at_a_plain_primary_is_presumed_done_and_found(tmp_path: Path) -> None:
    """The primary executes the POST and answers too late: which record it made is found in its list, once it must have arrived."""
    async with PlainLine(tmp_path, old="strict", new="strict", late="500ms") as line:
        await line.open_for_writes()
        assert (await line.send("POST", "/items", {"n": 1}, X_Slow_Seconds="3"))[0] == 504
        assert set(await line.records("old")) == {"1"}
        assert (await line.status())["mirror"]["sweeping"] == ["/items"]
        assert set(await equal(line)) == {"1"}
        assert (await line.send("PUT", "/items/1", {"n": 2}, X_Slow_Seconds="3"))[0] == 504
        assert (await equal(line))["1"] == {"id": 1, "n": 2}
        proxy = line.processes["proxy"]
        assert {one["upstream"] for one in proxy.events("upstream_plain")} == {"old", "new"}
        assert (await proxy.told("in_doubt_at_plain", method="POST"))["repairs"] == ["/items"]


async def test_a_write_in_doubt_under_a_path_that_is_no_list_is_left_to_a_gap(tmp_path: Path) -> None:
    async with PlainLine(tmp_path, old="strict", new="strict", late="300ms") as line:
        await line.open_for_writes()
        assert (await line.send("POST", "/ping", {}, X_Slow_Seconds="3"))[0] == 504
        proxy = line.processes["proxy"]
        assert "no list of records" in (await proxy.told("unlistable"))["error"]
        assert (await line.settled())["unproven"] == ["/"], "the first start's mark covers it"


async def test_p3_kill_9_between_plain_servers_loses_nothing(tmp_path: Path) -> None:
    async with PlainLine(tmp_path, old="strict", new="strict", late="300ms") as line:
        await line.open_for_writes()
        for step in ("primary-answered", "outcome-durable", "replay-sent", "replay-answered"):
            await line.processes["proxy"].stop()
            await line.start("proxy", {"TURNOUT_FAILPOINT": step})
            await line.open_for_writes()
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                await line.send("POST", "/items", {"step": step})
            assert await line.processes["proxy"].wait() == -9
            await line.start("proxy")
            steps = [record["step"] for record in (await equal(line)).values()]  # type: ignore[index]
            assert steps.count(step) == 1


async def test_a_secondary_that_was_away_catches_up_by_put_and_post(tmp_path: Path) -> None:
    """PUT on a missing record is 404 there: repair makes it by POST with its id."""
    async with PlainLine(tmp_path, old="strict", new="strict", late="300ms") as line:
        await line.open_for_writes()
        assert (await line.send("POST", "/items", {"n": 1}))[0] == 201
        await line.settled()
        await line.processes["new"].kill()
        assert (await line.send("POST", "/items", {"n": 2}))[0] == 201
        assert (await line.send("PUT", "/items/2", {"n": 22}))[0] == 200
        assert (await line.send("DELETE", "/items/1"))[0] == 204
        await line.start("new")
        assert await equal(line) == {"2": {"id": 2, "n": 22}}


async def test_a_secondary_that_renumbers_keeps_no_stray_and_names_each_key(tmp_path: Path) -> None:
    async with PlainLine(tmp_path, old="strict", new="renumbering", late="300ms") as line:
        await line.open_for_writes()
        assert (await line.send("POST", "/items", {"id": 50, "n": 1}))[0] == 201
        assert (await line.send("POST", "/items", {"id": 60, "n": 2}))[0] == 201
        await line.settled()
        status = (await line.status())["mirror"]
        async with line.session.get(line.url("admin") + "/api/v1/dead-letters") as response:
            letters = (await response.json())["dead_letters"]
        assert {letter["key"] for letter in letters} == {"/items/50", "/items/60"}
        assert all("ids of its own" in letter["detail"] for letter in letters)
        assert await line.records("new") == {}, "what it made under other ids was deleted again"
        strays = line.processes["proxy"].events("secondary_renumbers")
        assert {one["asked"] for one in strays} == {"/items/50", "/items/60"}
        assert status["dead_letters"] == 2


async def test_p4_a_versioned_secondary_follows_a_plain_primary(tmp_path: Path) -> None:
    async with PlainLine(tmp_path, old="strict", new="json", late="300ms") as line:
        await line.open_for_writes()
        for number in range(1, 5):
            assert (await line.send("POST", "/items", {"n": number}))[0] == 201
        assert (await line.send("PUT", "/items/3", {"n": 30}))[0] == 200
        assert (await line.send("DELETE", "/items/2"))[0] == 204
        assert (await line.send("DELETE", "/items?n=4"))[0] == 200
        assert await equal(line) == {"1": {"id": 1, "n": 1}, "3": {"id": 3, "n": 30}}
        kinds = {name: one["kind"] for name, one in (await line.status())["upstreams"].items()}
        assert kinds == {"old": "plain", "new": "versioned"}


async def test_p4_a_plain_secondary_follows_a_versioned_primary(tmp_path: Path) -> None:
    async with PlainLine(tmp_path, old="json", new="strict", late="300ms") as line:
        await line.open_for_writes()
        for number in range(1, 4):
            assert (await line.send("POST", "/items", {"n": number}))[0] == 201
        assert (await line.send("PUT", "/items/3", {"n": 30}))[0] == 200
        assert (await line.send("DELETE", "/items/2"))[0] == 200
        assert set(await equal(line)) == {"1", "3"}


async def test_never_plain_again_a_versioned_upstream_that_answers_otherwise_is_in_trouble(
    tmp_path: Path,
) -> None:
    async with PlainLine(tmp_path, old="strict", new="json", late="300ms") as line:
        await line.open_for_writes()
        assert (await line.send("POST", "/items", {"n": 1}))[0] == 201
        await equal(line)
        await line.processes["proxy"].stop()
        await line.processes["new"].kill()
        line.kinds["new"] = "strict"
        await line.start("new")
        await line.start("proxy")
        await line.open_for_writes()
        assert (await line.send("POST", "/items", {"n": 2}))[0] == 201
        async with asyncio.timeout(10):
            while "kept the protocol before" not in (await line.status())["mirror"]["secondary_trouble"]:
                await asyncio.sleep(0.05)
        assert await line.records("new") == {}, "nothing was sent to it"
