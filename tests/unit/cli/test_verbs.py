"""Each operating verb: what it asks, what it says, and its exit code. Refusals first."""

from __future__ import annotations

import json
import socket

import pytest

UNPROVEN = {
    "type": "about:blank", "title": "refused", "status": 409, "code": "refused",
    "detail": "unproven: the mirror did not carry everything under /", "hint": "run `turnout validate`",
}  # fmt: skip
EVERY_VERB = [
    ("status",), ("canary", "enable"), ("canary", "weight", "5"), ("canary", "disable"), ("switch", "postgres", "why"),
    ("rollback", "why"), ("validate",), ("history",), ("mirror", "status"), ("dead-letters", "list"),
    ("dead-letters", "show", "/api/orders/1"),
    ("dead-letters", "retry", "/api/orders/1"), ("dead-letters", "drop", "/api/orders/1", "why"),
    ("mirror", "pause"), ("mirror", "resume"), ("mirror", "drain"), ("mirror", "enable"), ("mirror", "disable", "why"),
    ("mirror", "mark-gap", "/api/orders", "why"),
]  # fmt: skip


@pytest.mark.parametrize("words", EVERY_VERB, ids=" ".join)
async def test_an_unreachable_proxy_is_one_clear_line_and_exit_1(words, turnout, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with socket.socket() as bound:  # bound, and nobody listens
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        monkeypatch.setenv("TURNOUT_ADMIN", url)
        result = await turnout(*words)
    assert result.exit_code == 1
    assert result.stdout == ""
    first, hint = result.stderr.splitlines()
    assert first == f"error: no proxy answers at {url}: connection refused"
    assert "turnout proxy" in hint
    assert "TURNOUT_ADMIN" in hint


@pytest.mark.parametrize(
    ("words", "asks"),
    [
        (("canary", "enable"), "POST /api/v1/canary"),
        (("canary", "weight", "5"), "POST /api/v1/canary"),
        (("switch", "postgres", "why"), "POST /api/v1/switch"),
        (("rollback", "why"), "POST /api/v1/rollback"),
        (("validate",), "POST /api/v1/validations"),
        (("dead-letters", "retry", "/api/orders/1"), "POST /api/v1/dead-letters/retry"),
        (("mirror", "pause"), "POST /api/v1/mirror/pause"),
        (("mirror", "disable", "why"), "POST /api/v1/mirror/disable"),
        (("mirror", "drain"), "POST /api/v1/mirror/drain"),
        (("dead-letters", "drop", "/api/orders/1", "why"), "POST /api/v1/dead-letters/drop"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
async def test_a_refusal_is_told_with_its_hint_and_exit_1(words, asks, admin, turnout):
    admin.on(asks, (409, UNPROVEN))
    result = await turnout(*words)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [f"error: {UNPROVEN['detail']}", f"  {UNPROVEN['hint']}"]


async def test_with_json_a_refusal_is_an_object_on_stdout_too(admin, turnout):
    admin.on("POST /api/v1/canary", (409, UNPROVEN))
    result = await turnout("canary", "enable", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "error": "refused",
        "detail": UNPROVEN["detail"],
        "hint": UNPROVEN["hint"],
    }


async def test_an_upstream_that_is_not_there_is_wrong_use(admin, turnout):
    problem = {
        "code": "usage",
        "detail": "there is no upstream 'mysql'",
        "hint": "there are json and postgres",
    }
    admin.on("POST /api/v1/switch", (400, problem))
    result = await turnout("switch", "mysql", "why")
    assert result.exit_code == 2
    assert "there are json and postgres" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("canary",),
        ("canary", "enable", "X-Canary"),
        ("canary", "weight"),
        ("canary", "weight", "101"),
        ("canary", "weight", "-1"),
        ("canary", "weight", "0.001"),
        ("canary", "weight", "nan"),
        ("canary", "weight", "many"),
        ("switch", "postgres"),
        ("switch", "postgres", "why", "--wait", "30"),
        ("switch", "postgres", "why", "--wait", "soon"),
        ("rollback",),
        ("history", "--count", "0"),
        ("dead-letters", "drop", "/api/orders/1"),
        ("dead-letters", "retry"),
        ("dead-letters", "retry", "/api/orders/1", "--all"),
        ("mirror", "disable"),
        ("mirror", "mark-gap", "/api/orders"),
        ("validate", "--quick"),
        ("no-such-verb",),
        ("demo", "--port-base", "70000"),
        ("proxy", "--listen", "1:2:3"),
        ("proxy", "--admin", "localhost"),
        ("proxy", "--log-level", "loud"),
    ],
    ids=" ".join,
)
async def test_wrong_use_is_exit_2_and_asks_nobody(words, admin, turnout):
    result = await turnout(*words)
    assert result.exit_code == 2, result.output
    assert admin.asked == []


@pytest.mark.parametrize("url", ["3001", "ftp://127.0.0.1", "http://", "http://127.0.0.1:many"])
async def test_an_admin_address_that_is_no_url_is_wrong_use(url, turnout, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TURNOUT_ADMIN", url)
    result = await turnout("status")
    assert result.exit_code == 2
    assert "http://127.0.0.1:3001" in result.stderr


async def test_something_else_at_the_admin_address_is_named_as_such(admin, turnout):
    admin.on("GET /api/v1/status", (200, "<html>hello</html>"))
    result = await turnout("status")
    assert result.exit_code == 1
    assert "is no admin API of Turnout" in result.stderr


async def test_canary_enable_sends_header_value_and_weight_in_one_change(admin, turnout, status):
    admin.on("POST /api/v1/canary", (200, status))
    result = await turnout("canary", "enable", "X-Canary", "canary=true", "10")
    assert result.exit_code == 0, result.output
    body = {"enabled": True, "force": False, "header": "X-Canary", "value": "canary=true", "weight": 10.0}
    assert admin.asked == [("POST /api/v1/canary", body)]
    assert "canary on: postgres answers 10 % of the requests that no rule chooses" in result.stdout


async def test_canary_weight_takes_two_decimals_and_force(admin, turnout, status):
    admin.on("POST /api/v1/canary", (200, status))
    assert (await turnout("canary", "weight", "0.25", "--force")).exit_code == 0
    assert admin.asked == [("POST /api/v1/canary", {"weight": 0.25, "force": True})]


async def test_canary_disable_sends_nothing_but_that(admin, turnout, status):
    status["canary"]["enabled"] = False
    admin.on("POST /api/v1/canary", (200, status))
    result = await turnout("canary", "disable")
    assert admin.asked == [("POST /api/v1/canary", {"enabled": False})]
    assert result.stdout.startswith("canary off: json answers everything")


async def test_switch_sends_its_reason_and_wait(admin, turnout):
    admin.on(
        "POST /api/v1/switch",
        (200, {"changed": True, "detail": "postgres is the primary; writes were held for 12 ms"}),
    )
    result = await turnout("switch", "postgres", "Full migration", "--wait", "5s")
    assert result.exit_code == 0, result.output
    body = {"to": "postgres", "reason": "Full migration", "force": False, "dry_run": False, "wait_s": 5.0}
    assert admin.asked == [("POST /api/v1/switch", body)]
    assert result.stdout == "postgres is the primary; writes were held for 12 ms\n"


async def test_a_dry_run_names_what_stands_against_the_switch_and_exits_1(admin, turnout):
    refusals = [{"text": "2 dead letter(s) wait", "hint": "retry or drop them first", "forcible": False}]
    admin.on(
        "POST /api/v1/switch",
        (200, {"changed": False, "would": "refuse", "refusals": refusals, "lag_entries": 0}),
    )
    result = await turnout("switch", "postgres", "why", "--dry-run")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == ["error: 2 dead letter(s) wait", "  retry or drop them first"]


async def test_a_dry_run_with_nothing_against_it_exits_0(admin, turnout):
    admin.on(
        "POST /api/v1/switch", (200, {"changed": False, "would": "switch", "refusals": [], "lag_entries": 3})
    )
    result = await turnout("switch", "postgres", "why", "--dry-run")
    assert result.exit_code == 0
    assert "nothing stands against a switch to postgres; 3 entries" in result.stdout


async def test_rollback_tells_what_it_did(admin, turnout):
    admin.on(
        "POST /api/v1/rollback", (200, {"changed": True, "detail": "the canary is off; the mirror goes on"})
    )
    result = await turnout("rollback", "Emergency rollback")
    assert result.exit_code == 0
    assert admin.asked == [("POST /api/v1/rollback", {"reason": "Emergency rollback", "wait_s": 30.0})]
    assert result.stdout == "the canary is off; the mirror goes on\n"


DIFFERENT = {
    "id": 7, "state": "different", "gaps_cleared": 0, "error": None,
    "report": {
        "equal": False, "compared": 5012, "different": 12, "not_looked_at": 0,
        "differences": [
            {"collection": "orders", "id": str(n), "kind": "differs", "fields": [{"pointer": "/total", "kind": "value"}]}
            for n in range(12)
        ],
    },
}  # fmt: skip


async def test_validate_waits_for_the_end_and_names_ten_differences(admin, turnout):
    admin.on("POST /api/v1/validations", (202, {"id": 7, "state": "running"}))
    admin.on(
        "GET /api/v1/validations",
        (200, {"validations": [{"id": 7, "state": "running"}]}),
        (200, {"validations": [DIFFERENT]}),
    )
    result = await turnout("validate")
    assert result.exit_code == 1
    assert "different: 5,012 records compared, 12 differ" in result.stderr
    assert result.stdout.splitlines() == [
        *(f"orders/{n}: differs" for n in range(10)),
        "… the first 10 of 12: turnout validate --verbose lists 12",
    ]


async def test_validate_verbose_names_every_field(admin, turnout):
    admin.on("POST /api/v1/validations", (200, DIFFERENT))
    result = await turnout("validate", "--verbose")
    assert result.stdout.count("  /total value") == 12
    assert "…" not in result.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "… the first 10 of 4,512: turnout validate --verbose lists 12"),
        (("--verbose",), "… the first 12 of 4,512"),
    ],
)
async def test_validate_says_how_many_it_does_not_list(admin, turnout, options, said):
    report = {**DIFFERENT["report"], "different": 112, "not_looked_at": 4400}
    admin.on("POST /api/v1/validations", (200, {**DIFFERENT, "report": report}))
    result = await turnout("validate", *options)
    assert "5,012 records compared, 112 differ, and 4,400 more by their hashes" in result.stderr
    assert result.stdout.splitlines()[-1] == said


async def test_validate_says_equal_and_exits_0(admin, turnout):
    run = {"id": 1, "state": "equal", "gaps_cleared": 2, "report": {"equal": True, "compared": 5012}}
    admin.on("POST /api/v1/validations", (200, run))
    result = await turnout("validate")
    assert result.exit_code == 0
    assert result.stdout == "equal: 5,012 records compared; 2 gap(s) cleared\n"


async def test_a_validation_that_failed_exits_1_with_its_error(admin, turnout):
    admin.on(
        "POST /api/v1/validations",
        (200, {"id": 1, "state": "failed", "error": "postgres does not answer", "report": {}}),
    )
    result = await turnout("validate")
    assert result.exit_code == 1
    assert "postgres does not answer" in result.stderr


async def test_a_validation_lost_in_a_restart_is_told(admin, turnout):
    admin.on("POST /api/v1/validations", (202, {"id": 7, "state": "running"}))
    admin.on("GET /api/v1/validations", (200, {"validations": []}))
    result = await turnout("validate")
    assert result.exit_code == 1
    assert "was it restarted?" in result.stderr


async def test_status_shows_what_waits_for_a_person_with_the_next_command(admin, turnout, status):
    admin.on("GET /api/v1/status", (200, status))
    result = await turnout("status")
    assert result.exit_code == 0, result.output
    for words in (
        "[canary]", "primary", "http://127.0.0.1:3003 DOWN", "postgres answers 10 % of the rest", "lag_entries 2",
        "1 in doubt", "connection refused", "/api/orders: run turnout validate", "turnout dead-letters list",
        "primary: postgres is wanted, json is: switching", "primary is postgres; the file says json",
        "mirror.enabled from DUAL_WRITE", "paused", "by ann", "turnout mirror resume", "“try it”", "[b]json[/b]",
    ):  # fmt: skip
        assert words in result.stdout


async def test_status_as_json_is_what_the_proxy_said(admin, turnout, status):
    admin.on("GET /api/v1/status", (200, status))
    assert json.loads((await turnout("status", "--json")).stdout) == status


async def test_history_lists_moment_actor_verb_and_reason(admin, turnout, status):
    admin.on("GET /api/v1/history?count=5", (200, {"history": status["history"]}))
    result = await turnout("history", "--count", "5")
    assert (
        result.stdout.splitlines()[0] == "2026-01-02 03:04:05  ann         canary      enabled true  “try it”"
    )


async def test_mirror_status_names_each_dead_letter(admin, turnout, status):
    dead = [{"key": "/api/orders/17", "detail": "422 unstorable"}]
    figures = status["mirror"] | {"letters": dead, "dead_letters": 10_000}
    admin.on("GET /api/v1/mirror", (200, figures))
    result = await turnout("mirror", "status")
    assert result.exit_code == 0, result.output
    assert "lag_seconds   1.250" in result.stdout
    assert "/api/orders/17: 422 unstorable" in result.stdout
    assert "and 9999 more: turnout dead-letters list" in result.stdout


async def test_dead_letters_are_listed_retried_and_dropped(admin, turnout):
    letter = {
        "key": "/api/orders/17",
        "since": "2026-01-02T03:04:05.000Z",
        "cause": "refused",
        "detail": "422",
        "next": "turnout dead-letters retry /api/orders/17",
    }
    admin.on("GET /api/v1/dead-letters?count=1000", (200, {"dead_letters": [letter]}))
    admin.on("POST /api/v1/dead-letters/retry", (200, {"retrying": "/api/orders/17"}))
    admin.on("POST /api/v1/dead-letters/drop", (200, {"dropped": "/api/orders/17"}))
    assert "/api/orders/17  since" in (await turnout("dead-letters", "list")).stdout
    assert (await turnout("dead-letters", "retry", "/api/orders/17")).exit_code == 0
    assert "turnout validate" in (await turnout("dead-letters", "drop", "/api/orders/17", "twice")).stdout
    assert admin.asked[1:] == [
        ("POST /api/v1/dead-letters/retry", {"key": "/api/orders/17"}),
        ("POST /api/v1/dead-letters/drop", {"key": "/api/orders/17", "reason": "twice"}),
    ]


async def test_the_token_comes_from_env_local_and_the_real_environment_wins(
    admin, turnout, status, monkeypatch, tmp_path
):
    admin.on("GET /api/v1/status", (200, status))
    (tmp_path / ".env.local").write_text(
        "# of this machine\nTURNOUT_ADMIN_TOKEN='from file'\nTURNOUT_ADMIN=http://127.0.0.1:1\n"
    )
    assert (await turnout("status")).exit_code == 0
    assert admin.headers[-1]["Authorization"] == "Bearer from file"
    monkeypatch.setenv("TURNOUT_ADMIN_TOKEN", "from environment")
    assert (await turnout("status")).exit_code == 0
    assert admin.headers[-1]["Authorization"] == "Bearer from environment"


async def test_without_the_token_the_hint_says_where_to_put_it(admin, turnout):
    admin.on(
        "GET /api/v1/status", (401, {"code": "unauthorized", "detail": "send Authorization: Bearer <token>"})
    )
    result = await turnout("status")
    assert result.exit_code == 1
    assert "TURNOUT_ADMIN_TOKEN" in result.stderr


async def test_each_change_names_who_asked(admin, turnout, status, monkeypatch):
    monkeypatch.setenv("LOGNAME", "ann")
    admin.on("POST /api/v1/canary", (200, status))
    await turnout("canary", "disable")
    assert admin.headers[-1]["X-Turnout-Actor"] == "ann"


async def test_mirror_status_tells_the_progress_and_when_it_will_be_done(admin, turnout, status):
    mirror = {
        **status["mirror"],
        "settled_per_second": 250.0,
        "accepted_per_second": 50.0,
        "expected_end_s": 400.0,
    }
    admin.on("GET /api/v1/mirror", (200, mirror))
    result = await turnout("mirror", "status")
    assert "250/s settled, 50/s accepted: done in about 7 min" in result.stdout
    assert "paused        by ann since 2026-01-02T03:00:00.000Z: disk" in result.stdout
    admin.on("GET /api/v1/mirror", (200, {**mirror, "expected_end_s": None}))
    assert "no end to be seen yet" in (await turnout("mirror", "status")).stdout


async def test_dead_letters_show_tells_the_requests_the_refusal_and_both_records(admin, turnout):
    letter = {
        "key": "/api/orders/1", "since": "2026-01-02T03:04:05.678Z", "cause": "repair-refused", "detail": "postgres answers 422",
        "requests": [{"method": "POST", "target": "/api/orders", "born": "2026-01-02T03:04:04.000Z", "body": '{"n":1}', "status": 201, "answer": '{"id":1,"n":1}'}],
        "repair_answer": {"status": 422, "body": '{"code":"unstorable"}'},
        "records": {"json": {"status": 200, "body": '{"id":1,"n":1}'}, "postgres": {"error": "does not answer"}},
        "next": "turnout dead-letters retry /api/orders/1",
    }  # fmt: skip
    admin.on("GET /api/v1/dead-letters/show?key=%2Fapi%2Forders%2F1", (200, letter))
    result = await turnout("dead-letters", "show", "/api/orders/1")
    for words in (
        'POST /api/orders  {"n":1}', "answered 201", 'refused  422 {"code":"unstorable"}', 'json     200 {"id":1,"n":1}',
        "postgres does not answer", "next     turnout dead-letters retry",
    ):  # fmt: skip
        assert words in result.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--ca", "ca.pem"), "--ca is for https"),
        (("--to-server-name", "shop.internal"), "--to-server-name is for https"),
        (("--from-server-name", "shop.internal"), "--from-server-name is for https"),
    ],
)
async def test_backfill_refuses_tls_options_that_would_mean_nothing(turnout, options, words):
    result = await turnout("backfill", "--from", "http://127.0.0.1:1", "--to", "http://127.0.0.1:2", *options)
    assert (result.exit_code, words in result.stderr) == (2, True), result.output


@pytest.mark.parametrize(
    ("target", "words"), [("https://127.0.0.1:2", "cannot be used"), ("https://", "names no server")]
)
async def test_backfill_says_which_ca_or_url_cannot_be_used(turnout, target, words):
    result = await turnout("backfill", "--from", "http://127.0.0.1:1", "--to", target, "--ca", "no-such.pem")
    assert (result.exit_code, words in result.stderr) == (2, True), result.output
