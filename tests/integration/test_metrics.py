"""Each metric of the proxy is there by its name, type and labels, and moves for the right reason: between real servers, through real faults."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from proxy import observe
from tests.support.fault_proxy import Fault, Kind
from tests.support.line import ROUTING, TOKEN, Line
from tests.support.scrape import Samples, moving, scrape

pytestmark = pytest.mark.slow

PROMISED: dict[str, tuple[str, set[str]]] = {
    "turnout_requests_total": ("counter", {"upstream", "reason", "method", "code"}),
    "turnout_request_duration_seconds": ("histogram", {"upstream", "reason"}),
    "turnout_requests_in_flight": ("gauge", {"upstream"}),
    "turnout_upstream_up": ("gauge", {"upstream", "endpoint"}),
    "turnout_upstream_errors_total": ("counter", {"upstream", "kind"}),
    "turnout_canary_weight_percent": ("gauge", set()),
    "turnout_primary": ("gauge", {"upstream"}),
    "turnout_stage": ("gauge", {"stage"}),
    "turnout_mirror_writes_total": ("counter", {"result"}),
    "turnout_mirror_lag_entries": ("gauge", set()),
    "turnout_mirror_lag_seconds": ("gauge", set()),
    "turnout_mirror_in_doubt": ("gauge", set()),
    "turnout_dead_letters": ("gauge", set()),
    "turnout_journal_fsync_duration_seconds": ("histogram", set()),
    "turnout_journal_bytes": ("gauge", set()),
    "turnout_shadow_comparisons_total": ("counter", {"result"}),
    "turnout_switches_total": ("counter", {"to", "result"}),
    "turnout_switch_held_seconds": ("histogram", set()),
    "turnout_rollout_step": ("gauge", set()),
    "turnout_config_reloads_total": ("counter", {"result"}),
    "turnout_config_last_reload_successful": ("gauge", set()),
    "turnout_config_last_reload_success_timestamp_seconds": ("gauge", set()),
    "turnout_routing_override": ("gauge", set()),
    "turnout_unproven": ("gauge", set()),
    "turnout_build_info": ("gauge", {"version"}),
}
"""What users build alerts and dashboards on. A name here never changes; there may be more."""

FIRST_COME_LATER = {"turnout_shadow_comparisons_total"}
"""Not a sample yet: no reads are shadowed in this version."""

STORY = ROUTING.replace(
    "routes:\n",
    'routes:\n  - {{path: "/api/settings", methods: [GET], upstream: primary}}\n'
    '  - {{path: "/api/notes/*", key: "/api/notes/{{id}}", mode: state}}\n',
).replace("weight: 10", "weight: ${{WEIGHT:-10}}")
EMPTY = {"settings": {"open": True}, "orders": [], "notes": []}


async def call(line: Line, method: str, path: str, body: object = None, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with line.session.request(method, line.url("proxy") + path, json=body, headers=named) as response:
        await response.read()
        return response.status


async def until(line: Line, holds: Callable[[Samples], bool], timeout_s: float = 15.0) -> Samples:
    async with asyncio.timeout(timeout_s):
        while not holds(samples := await scrape(line)):
            await asyncio.sleep(0.02)
    return samples


async def patch(line: Line, change: dict) -> None:
    status, answer = await line.admin("PATCH", "/api/v1/routing", change, If_Match="*")
    assert status == 200, answer


async def canary(line: Line, **wish: object) -> None:
    status, answer = await line.admin("POST", "/api/v1/canary", {**wish, "force": True})
    assert status == 200, answer


async def proven(line: Line) -> None:
    """Both hold the same, and a validation has said so."""
    await line.open_for_writes()
    await line.secondary_known()
    assert await call(line, "PUT", "/api/settings", {"open": True}) == 200
    await line.settled()
    assert (await line.validate())["state"] == "equal"


def all_as_promised(samples: Samples) -> None:
    kinds = {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in samples.families
    }
    for name, (kind, labels) in PROMISED.items():
        assert kinds[name] == kind, name
        seen = samples.labelled(name + ("_count" if kind == "histogram" else ""))
        assert seen or name in FIRST_COME_LATER, name
        for one in seen:
            assert {label for label, _ in one} == labels, name


def all_served_are_declared(samples: Samples) -> None:
    declared = {name for name, *_ in (*observe.METRICS, *observe.TRAFFIC_METRICS)}
    served = {family.name + ("_total" if family.type == "counter" else "") for family in samples.families}
    assert served == declared, "docs/reference/metrics.md lists what is declared"


def no_label_tells_who_asked_for_what(samples: Samples) -> None:
    for name, labels in samples.values:
        for label, value in labels:
            if label != "endpoint":
                assert "/" not in value, (name, label, value)
                assert "127.0.0.1" not in value, (name, label, value)


async def test_every_metric_moves_for_its_reason(tmp_path: Path, database_url: str) -> None:
    """One line for all of them, since each takes seconds to start; a chapter for each concern."""
    async with Line(
        tmp_path, database_url=database_url, data=EMPTY, routing=STORY, faults=("json", "postgres")
    ) as line:
        at_first = await scrape(line)
        assert at_first.get("turnout_unproven") == 1
        assert at_first.get("turnout_stage", stage="dual-write") == 1
        await proven(line)
        assert (await scrape(line)).get("turnout_unproven") == 0
        for chapter in CHAPTERS:
            await chapter(line)
            await line.settled()
        at_last = await scrape(line)
        all_as_promised(at_last)
        all_served_are_declared(at_last)
        no_label_tells_who_asked_for_what(at_last)
        versions = [dict(labels)["version"] for labels in at_last.labelled("turnout_build_info")]
        assert versions == [(await line.status())["version"]]


async def requests_by_reason(line: Line) -> None:
    async with moving(line) as moved:
        assert await call(line, "GET", "/api/orders") == 200
        assert await call(line, "GET", "/api/orders/none") == 404
        assert await call(line, "GET", "/api/settings") == 200
    counted = {"upstream": "json", "reason": "primary", "method": "GET"}
    assert moved.by("turnout_requests_total", **counted, code="200") == 1
    assert moved.by("turnout_requests_total", **counted, code="404") == 1
    assert moved.by("turnout_requests_total", **{**counted, "reason": "route"}, code="200") == 1
    durations = "turnout_request_duration_seconds"
    assert moved.by(f"{durations}_count", upstream="json", reason="primary") == 2
    assert 0 < moved.by(f"{durations}_sum", upstream="json", reason="primary") < 10
    assert moved.by(f"{durations}_bucket", upstream="json", reason="primary", le="+Inf") == 2


async def canary_reasons_and_weight(line: Line) -> None:
    await canary(line, enabled=True, weight=100, header="X-Canary", value="canary=true")
    samples = await scrape(line)
    assert samples.get("turnout_canary_weight_percent") == 100
    assert samples.get("turnout_stage", stage="canary") == 1
    assert samples.get("turnout_stage", stage="dual-write") == 0
    assert samples.get("turnout_routing_override") == 1, "the file's weight is a variable"
    read = {"upstream": "postgres", "method": "GET", "code": "200"}
    async with moving(line) as moved:
        assert await call(line, "GET", "/api/orders") == 200
        assert await call(line, "GET", "/api/orders", X_Canary="canary=true") == 200
    assert moved.by("turnout_requests_total", **read, reason="weight") == 1
    assert moved.by("turnout_requests_total", **read, reason="always") == 1
    async with moving(line) as moved:
        assert await call(line, "POST", "/api/orders", {"n": 0}) == 201
    written = {"upstream": "postgres", "reason": "weight", "method": "POST", "code": "201"}
    assert moved.by("turnout_requests_total", **written) == 1, "the secondary answered it"
    await canary(line, weight=50)
    text = line.config.read_text()
    sticky = "  sticky: cookie\n  never:\n    - {header: X-Canary, exact: never}\n"
    line.config.write_text(text.replace("canary:\n", f"canary:\n{sticky}"))
    await until(line, lambda samples: samples.get("turnout_config_reloads_total", result="success") > 3)
    async with moving(line) as moved:
        assert await call(line, "GET", "/api/orders", Cookie="turnout-bucket=1") == 200
        assert await call(line, "GET", "/api/orders", Cookie="turnout-bucket=9999") == 200
        assert await call(line, "GET", "/api/orders", X_Canary="never") == 200
    assert moved.by("turnout_requests_total", **read, reason="sticky") == 1
    at_primary = {**read, "upstream": "json"}
    assert moved.by("turnout_requests_total", **at_primary, reason="sticky") == 1
    assert moved.by("turnout_requests_total", **at_primary, reason="never") == 1
    line.config.write_text(text)
    await canary(line, weight=100)


async def barrier_and_lag(line: Line) -> None:
    assert (await line.admin("POST", "/api/v1/mirror/pause", {}))[0] == 200
    async with moving(line) as moved:
        assert await call(line, "PUT", "/api/settings", {"open": False}) == 200
        assert await call(line, "POST", "/api/orders", {"n": 1}) == 201
        assert await call(line, "GET", "/api/orders") == 200
    assert (
        moved.by("turnout_requests_total", upstream="json", reason="barrier", method="GET", code="200") == 1
    )
    assert moved.after.get("turnout_mirror_lag_entries") == 2
    assert moved.after.get("turnout_mirror_lag_seconds") > 0
    assert moved.by("turnout_mirror_writes_total", result="replayed") == 0
    assert moved.by("turnout_journal_fsync_duration_seconds_count") >= 4, "intent and outcome of each"
    assert moved.after.get("turnout_journal_bytes") > 0
    assert moved.after.get("turnout_journal_free_bytes") > 0
    async with moving(line) as moved:
        assert (await line.admin("POST", "/api/v1/mirror/resume", {}))[0] == 200
        await line.settled()
    assert moved.by("turnout_mirror_writes_total", result="replayed") == 2
    assert moved.after.get("turnout_mirror_lag_entries") == 0
    assert moved.after.get("turnout_mirror_lag_seconds") == 0


async def fallback_errors_and_health(line: Line) -> None:
    await line.faults["postgres"].set(Fault(Kind.REFUSE))
    endpoint = f"http://127.0.0.1:{line.faults['postgres'].port}"
    up = {"upstream": "postgres", "endpoint": endpoint.removeprefix("http://")}
    async with moving(line) as moved:
        assert await call(line, "GET", "/api/orders") == 200
    assert (
        moved.by("turnout_requests_total", upstream="json", reason="fallback", method="GET", code="200") == 1
    )
    assert moved.by("turnout_upstream_errors_total", upstream="postgres", kind="connect") >= 1
    labels = {frozenset(up.items())} & moved.after.labelled("turnout_upstream_up")
    assert labels, moved.after.labelled("turnout_upstream_up")
    await until(line, lambda samples: samples.get("turnout_upstream_up", **up) == 0)
    await line.faults["postgres"].clear()
    await until(line, lambda samples: samples.get("turnout_upstream_up", **up) == 1)


async def in_flight(line: Line) -> None:
    await line.faults["json"].set(Fault(Kind.BLACK_HOLE))
    asked = asyncio.create_task(call(line, "GET", "/api/settings"))
    await until(line, lambda samples: samples.get("turnout_requests_in_flight", upstream="json") == 1)
    await line.faults["json"].clear()  # what was swallowed is reset, and a read is sent again
    assert await asked == 200
    assert (await scrape(line)).get("turnout_requests_in_flight", upstream="json") == 0


async def in_doubt(line: Line) -> None:
    """The primary does it and its answer is lost; it cannot be asked after either."""
    await line.faults["json"].set(Fault(Kind.CUT_ANSWER))
    async with moving(line) as moved:
        assert await call(line, "POST", "/api/orders", {"n": "doubtful"}) == 502
    assert moved.by("turnout_upstream_errors_total", upstream="json", kind="reset") >= 1
    assert (
        moved.by("turnout_requests_total", upstream="json", reason="primary", method="POST", code="502") == 1
    )
    assert moved.after.get("turnout_mirror_in_doubt") == 1
    async with moving(line) as moved:
        await line.faults["json"].clear()
        await line.settled()
    assert moved.after.get("turnout_mirror_in_doubt") == 0
    assert moved.by("turnout_mirror_writes_total", result="repaired") == 1


async def rejected_and_repaired(line: Line) -> None:
    async with moving(line) as moved:
        assert await call(line, "PUT", "/api/orders/none", {"n": 1}) == 404
        assert await call(line, "POST", "/api/notes", {"n": 1}) == 201
        await line.settled()
    assert moved.by("turnout_mirror_writes_total", result="rejected") == 1
    assert moved.by("turnout_mirror_writes_total", result="repaired") == 1, "mode: state"


async def apply(line: Line, record: dict) -> None:
    """Past the proxy: while the secondary has a singleton `widgets`, it can store no record of that name."""
    url = f"{line.url('postgres')}/_turnout/apply?name=widgets"
    async with line.session.post(url, json=record, headers={"Turnout-Token": TOKEN}) as response:
        assert (await response.json())["applied"] == 1


async def dead_letters(line: Line) -> None:
    await apply(line, {"id": "widgets", "body": {"by": "hand"}, "at": 1})
    async with moving(line) as moved:
        assert await call(line, "POST", "/api/widgets", {"n": 1}) == 201
        await until(line, lambda samples: samples.get("turnout_dead_letters") == 1)
    assert moved.by("turnout_mirror_writes_total", result="dead") == 1
    assert moved.after.get("turnout_mirror_lag_entries") == 0, "a dead letter is no lag"
    async with moving(line) as moved:
        assert (await line.admin("POST", "/api/v1/switch", {"to": "postgres", "reason": "x"}))[0] == 409
    assert moved.by("turnout_switches_total", to="postgres", result="refused") == 1
    await apply(line, {"id": "widgets", "deleted": True, "at": 2})
    assert (await line.admin("POST", "/api/v1/dead-letters/retry", {"all": True}))[0] == 200
    await until(line, lambda samples: samples.get("turnout_dead_letters") == 0)


async def reloads(line: Line) -> None:
    good = line.config.read_text()
    async with moving(line) as moved:
        line.config.write_text(good + "oops: 1\n")
        await until(line, lambda samples: samples.get("turnout_config_last_reload_successful") == 0)
    assert moved.by("turnout_config_reloads_total", result="failure") == 1
    assert moved.by("turnout_config_reloads_total", result="success") == 0
    assert moved.by("turnout_config_last_reload_success_timestamp_seconds") == 0
    async with moving(line) as moved:
        line.config.write_text(good)
        await until(line, lambda samples: samples.get("turnout_config_last_reload_successful") == 1)
    assert moved.by("turnout_config_reloads_total", result="success") == 1
    assert moved.by("turnout_config_last_reload_success_timestamp_seconds") > 0


async def gaps(line: Line) -> None:
    wish = {"prefix": "/api/orders", "reason": "restored by hand"}
    assert (await line.admin("POST", "/api/v1/mirror/mark-gap", wish))[0] == 200
    assert (await scrape(line)).get("turnout_unproven") == 1
    assert (await line.validate())["state"] == "equal"
    assert (await scrape(line)).get("turnout_unproven") == 0


async def switches(line: Line) -> None:
    async with moving(line) as moved:
        status, answer = await line.admin("POST", "/api/v1/switch", {"to": "postgres", "reason": "done"})
        assert status == 200, answer
    assert moved.by("turnout_switches_total", to="postgres", result="done") == 1
    assert moved.by("turnout_switch_held_seconds_count") == 1
    assert moved.by("turnout_switch_held_seconds_sum") == pytest.approx(answer["held_ms"] / 1000, abs=1e-3)
    assert moved.after.get("turnout_primary", upstream="postgres") == 1
    assert moved.after.get("turnout_primary", upstream="json") == 0
    assert moved.after.get("turnout_stage", stage="switched") == 1
    assert moved.after.get("turnout_canary_weight_percent") == 0, "a switch turns the canary off"


CHAPTERS: tuple[Callable[[Line], Awaitable[None]], ...] = (
    requests_by_reason,
    canary_reasons_and_weight,
    barrier_and_lag,
    fallback_errors_and_health,
    in_flight,
    in_doubt,
    rejected_and_repaired,
    dead_letters,
    reloads,
    gaps,
    switches,
)
