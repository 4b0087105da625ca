"""Nonsense at the admin's port: whatever is sent, the answer is problem+json with a code and a hint, never a fault of ours."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest

from tests.support.line import Line
from tests.support.raw_http import RawClient

pytestmark = pytest.mark.slow

EMPTY = {"settings": {"open": True}, "orders": []}
CHANGES = (
    "canary", "switch", "rollback", "validations", "explain", "mirror/pause", "mirror/resume", "mirror/enable",
    "mirror/disable", "mirror/mark-gap", "dead-letters/retry", "dead-letters/drop",
)  # fmt: skip
BODIES = (
    b"{", b"[]", b"1", b"null", b'"x"', b"\xff\xfe", b"[" * 20_000, b'{"unknown": 1}', b"x" * 70_000,
    b'{"reason": "\\ud800", "to": "\\ud800", "target": "\\ud800", "key": "\\ud800", "header": "\\ud800", "value": "x"}',
)  # fmt: skip
PREFIXES = ("/%ff", "/%zz?", "//", "../..", "orders", "/a/../b")
DEAD = 10_000


async def sent(line: Line, method: str, path: str, data: object = None, **headers: str) -> tuple[int, dict]:
    named = {"Content-Type": "application/json", **{n.replace("_", "-"): v for n, v in headers.items()}}
    async with line.session.request(method, line.url("admin") + path, data=data, headers=named) as response:
        raw = await response.read()
        told = json.loads(raw) if raw and "json" in response.content_type else {}
        if response.status >= 400 and method != "HEAD":
            assert response.content_type == "application/problem+json", (path, data, raw[:200])
            assert told["code"], told
            assert told["detail"], told
            assert told["hint"], told
        assert response.status < 500, (path, data, told)
        return response.status, told


async def test_no_nonsense_is_a_fault_of_ours(tmp_path: Path, database_url: str) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        await line.open_for_writes()
        before = line.config.read_bytes()
        for path in CHANGES:
            for body in BODIES:
                status, told = await sent(line, "POST", f"/api/v1/{path}", body)
                assert 400 <= status < 500, (path, body[:60], told)
        for body in BODIES:
            assert (await sent(line, "PATCH", "/api/v1/routing", body, If_Match="*"))[0] >= 400
        for prefix in PREFIXES:
            body = json.dumps({"prefix": prefix, "reason": "x"})
            assert (await sent(line, "POST", "/api/v1/mirror/mark-gap", body))[0] == 400, prefix
        for query in (
            "history?count=x",
            "history?count=²",
            "history?count=0",
            f"history?count={10**400}",
            "dead-letters?count=-1",
        ):
            assert (await sent(line, "GET", f"/api/v1/{query}"))[0] == 400, query
        for method in ("PUT", "DELETE", "PATCH", "TRACE"):
            assert (await sent(line, method, "/api/v1/status", b"{}"))[0] >= 400
        assert (await sent(line, "POST", "/api/v1/rollback", b"{}", Content_Type="text/plain"))[0] == 415
        assert (await sent(line, "GET", "/api/v1/status", Host="evil.example"))[0] == 421
        assert line.config.read_bytes() == before, "and nothing changed"
        assert line.processes["proxy"].events("admin_failed") == []


NO_REQUESTS = (
    b"FOO /api/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n", b"nonsense\r\n\r\n", b"GET /\x00 HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n", b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
)  # fmt: skip
HEAD = b"POST /api/v1/rollback HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


async def test_what_is_no_http_is_answered_as_a_problem_and_leaves_no_trace(
    tmp_path: Path, database_url: str
) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        proxy, port = line.processes["proxy"], line.ports["admin"]

        async def problem(client: RawClient) -> dict:
            got = await client.response()
            assert (got.status, got.get("content-type")) == (400, "application/problem+json"), got
            return json.loads(got.body)

        for data in NO_REQUESTS:
            async with await RawClient.connect(port) as client:
                client.send(data)
                told = await problem(client)
                assert (told["code"], bool(told["hint"])) == ("bad-request", True), data
        async with await RawClient.connect(port) as client:
            client.send(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc")
            assert "no JSON" in (await problem(client))["detail"]
        async with await RawClient.connect(port) as client:
            client.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 300\r\n\r\n{")
            await client.response(interim=True)
            client.reset()
        for value in (b"Bearer \xff", b"Bearer \xed\xa0\x80", b"Bearer"):
            async with await RawClient.connect(port) as client:
                got = await client.ask(
                    b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: %b\r\n\r\n" % value
                )
                assert got.status == 200, "without a token in force, none is looked at"
        assert await proxy.stop() == 0
        assert "Traceback" not in "".join(proxy.text), proxy.output


async def test_a_token_of_any_bytes_is_told_from_the_right_one(tmp_path: Path, database_url: str) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        await line.processes["proxy"].stop()
        await line.start("proxy", {"TURNOUT_ADMIN_TOKEN": "s3cr\udcff"})
        for token, status in ((b"s3cr\xff", 200), (b"s3cr\xfe", 401), (b"\xed\xa0\x80", 401)):
            async with await RawClient.connect(line.ports["admin"]) as client:
                got = await client.ask(
                    b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n\r\n"
                    % token
                )
                assert got.status == status, token


async def test_a_reason_in_any_script_is_kept_as_it_was_said(tmp_path: Path, database_url: str) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        await line.open_for_writes()
        why = "störung 💥 данные \u202e\t"
        body = json.dumps({"reason": why})
        assert (await sent(line, "POST", "/api/v1/mirror/pause", body, X_Turnout_Actor="zoë"))[0] == 200
        (found,) = [one for one in (await line.status())["history"] if one["verb"] == "mirror pause"]
        assert (found["reason"], found["actor"]) == (why, "zoë")


async def test_without_its_token_nothing_but_the_public_paths_answers(
    tmp_path: Path, database_url: str
) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        await line.processes["proxy"].stop()
        await line.start("proxy", {"TURNOUT_ADMIN_TOKEN": "s3cret"})
        for method, path in (("GET", "status"), ("GET", "mirror"), ("POST", "rollback"), ("GET", "events")):
            for token in ("", "Bearer", "Bearer wrong", "Basic s3cret", "Bearer " + "x" * 4000):
                status, told = await sent(line, method, f"/api/v1/{path}", b"{}", Authorization=token)
                assert (status, told["code"]) == (401, "unauthorized")
        assert (await sent(line, "GET", "/api/v1/status", Authorization="Bearer s3cret"))[0] == 200
        assert (await sent(line, "GET", "/healthz"))[0] == 200


async def test_switches_asked_for_at_once_end_with_one_primary(tmp_path: Path, database_url: str) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        await line.open_for_writes()
        await line.secondary_known()
        async with line.session.put(line.url("proxy") + "/api/settings", json={"open": True}) as response:
            assert response.status == 200
        await line.settled()
        assert (await line.validate())["state"] == "equal"
        wishes = [{"to": to, "reason": "x", "force": True} for to in ("postgres", "json") * 4]
        answers = await asyncio.gather(
            *(sent(line, "POST", "/api/v1/switch", json.dumps(wish)) for wish in wishes)
        )
        assert {status for status, _ in answers} <= {200, 409}
        status = await line.status()
        roles = sorted(one["role"] for one in status["upstreams"].values())
        assert roles == ["primary", "secondary"]
        assert status["mirror"]["writes_held"] == ""
        async with line.session.put(line.url("proxy") + "/api/settings", json={"open": False}) as response:
            assert response.status == 200


async def test_ten_thousand_dead_letters_are_listed_in_parts_and_hold_nobody_up(
    tmp_path: Path, database_url: str
) -> None:
    async with Line(tmp_path, database_url=database_url, data=EMPTY) as line:
        await line.open_for_writes()
        await line.processes["proxy"].stop()
        with sqlite3.connect(line.state / "journal.db") as db:
            rows = [(number, f"/api/widgets/{number}") for number in range(1, DEAD + 1)]
            db.executemany(
                "insert into entries (seq, method, target, headers, key, prefix, born, state)"
                " values (?, 'PUT', ?2, '[]', ?2, '/api/widgets', 1, 'accepted')", rows,
            )  # fmt: skip
            db.executemany(
                "insert into dead (key, since, cause, detail) values (?, 1, 'repair-refused', 'by hand')",
                [(key,) for _, key in rows],
            )
            db.execute("update meta set value=? where name='seq_ceiling'", (str(DEAD + 10_000),))
        db.close()
        await line.start("proxy")
        await line.open_for_writes()
        await line.secondary_known()
        _, listed = await sent(line, "GET", "/api/v1/dead-letters")
        assert (len(listed["dead_letters"]), listed["total"]) == (1000, DEAD)
        assert listed["dead_letters"][0]["key"] == "/api/widgets/1"
        _, listed = await sent(line, "GET", f"/api/v1/dead-letters?count={DEAD}")
        assert len(listed["dead_letters"]) == DEAD
        _, mirror = await sent(line, "GET", "/api/v1/mirror")
        assert (len(mirror["letters"]), mirror["dead_letters"], mirror["lag_entries"]) == (20, DEAD, 0)
        status, told = await sent(
            line, "POST", "/api/v1/switch", json.dumps({"to": "postgres", "reason": "x"})
        )
        assert (status, f"{DEAD} dead letter(s)" in told["detail"]) == (409, True)
        async with line.session.post(line.url("proxy") + "/api/orders", json={"n": 1}) as response:
            assert response.status == 201
        await line.settled()
        assert len(await line.records("postgres")) == 1, "all others go on"
        status, answer = await sent(line, "POST", "/api/v1/dead-letters/retry", b'{"all": true}')
        assert (status, len(answer["retrying"])) == (200, DEAD)
        assert (await sent(line, "GET", "/healthz"))[0] == 200
