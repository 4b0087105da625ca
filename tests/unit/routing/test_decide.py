"""decide: the precedence of the rules, one test a rule, and the words they are told in."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import (
    BUCKETS,
    COOKIE_NAME,
    Kind,
    MatchHow,
    MatchOn,
    MirrorSettings,
    Reason,
    Sticky,
    StickyBy,
)
from proxy.routing.decide import bucket_of, bucket_of_cookie, decide
from proxy.routing.dice import EvenDice
from proxy.routing.explain import explain
from proxy.routing.head import SimpleHead
from tests.unit.routing.routings import COOKIE, FixedDice, ForbiddenDice, canary, match, route, snapshot

NEVER = match("x-canary", "never", line=9)
ALWAYS = match("x-canary", "canary=true", line=11)
GET = SimpleHead.of("GET", "/api/orders/1")
POST = SimpleHead.of("POST", "/api/orders")


def get(*headers: tuple[str, str], target: str = "/", client_ip: str = "127.0.0.1") -> SimpleHead:
    return SimpleHead.of("GET", target, headers, client_ip)


def test_the_primary_answers_while_the_canary_is_off() -> None:
    found = decide(GET, snapshot(canary(10_000, enabled=False, always=(ALWAYS,))), ForbiddenDice())
    assert (found.upstream, found.reason, found.is_write) == ("json", Reason.PRIMARY, False)


def test_a_routes_upstream_beats_every_match() -> None:
    rule = canary(10_000, always=(ALWAYS,))
    routing = snapshot(rule, route("/legacy/*", rule, upstream="primary", line=17))
    found = decide(get(("X-Canary", "canary=true"), target="/legacy/x"), routing, ForbiddenDice())
    assert (found.upstream, found.reason, found.line) == ("json", Reason.ROUTE, 17)


@pytest.mark.parametrize(
    ("named", "upstream"), [("secondary", "postgres"), ("postgres", "postgres"), ("json", "json")]
)
def test_a_routes_upstream_may_be_a_role_or_a_name(named: str, upstream: str) -> None:
    assert (
        decide(get(), snapshot(canary(), route("/*", upstream=named)), ForbiddenDice()).upstream == upstream
    )


def test_an_opt_out_beats_an_opt_in() -> None:
    both = match("x-tester", how=MatchHow.PRESENT, line=12)
    routing = snapshot(canary(10_000, never=(NEVER,), always=(both, ALWAYS)))
    found = decide(get(("X-Tester", "1"), ("X-Canary", "never")), routing, ForbiddenDice())
    assert (found.upstream, found.reason, found.line) == ("json", Reason.NEVER, 9)


def test_a_testers_header_beats_the_weight_and_the_cookie() -> None:
    routing = snapshot(canary(1, always=(ALWAYS,), sticky=COOKIE))
    head = get(("X-Canary", "canary=true"), ("Cookie", f"{COOKIE_NAME}=9999"))
    found = decide(head, routing, ForbiddenDice())
    assert (found.upstream, found.reason, found.line, found.new_bucket) == (
        "postgres",
        Reason.ALWAYS,
        11,
        None,
    )


def test_weight_zero_asks_neither_dice_nor_cookies() -> None:
    found = decide(get(("Cookie", f"{COOKIE_NAME}=0")), snapshot(canary(0, sticky=COOKIE)), ForbiddenDice())
    assert (found.upstream, found.reason) == ("json", Reason.WEIGHT)


def test_weight_hundred_takes_everybody() -> None:
    found = decide(GET, snapshot(canary(10_000, sticky=COOKIE)), ForbiddenDice())
    assert (found.upstream, found.reason) == ("postgres", Reason.WEIGHT)


def test_ten_percent_is_ten_of_every_hundred_requests() -> None:
    routing, dice = snapshot(canary(1000)), EvenDice()
    for _ in range(10):
        assert sum(decide(GET, routing, dice).upstream == "postgres" for _ in range(100)) == 10


def test_the_dice_are_asked_with_the_slot_and_the_weight_of_the_route() -> None:
    dice = FixedDice(answer=True)
    found = decide(GET, snapshot(canary(), route("/api/*", canary(250, sequence=3, weight_line=16))), dice)
    assert (found.upstream, found.reason, found.line, dice.asked) == (
        "postgres",
        Reason.WEIGHT,
        16,
        [(3, 250)],
    )


@pytest.mark.parametrize(
    ("bucket", "upstream"), [(0, "postgres"), (999, "postgres"), (1000, "json"), (9999, "json")]
)
def test_a_client_with_a_cookie_stays_where_its_bucket_is(bucket: int, upstream: str) -> None:
    head = get(("Cookie", f"a=b; {COOKIE_NAME}={bucket}; c=d"))
    found = decide(head, snapshot(canary(1000, sticky=COOKIE)), ForbiddenDice())
    assert (found.upstream, found.reason, found.new_bucket) == (upstream, Reason.STICKY, None)


@pytest.mark.parametrize("forged", ["", "x", "-1", "10000", "0001", "1.5", "٣", "99999999999", "1 2"])
def test_a_forged_cookie_is_ignored_and_replaced(forged: str) -> None:
    head = SimpleHead("GET", "/", "", "127.0.0.1", {"cookie": f"{COOKIE_NAME}={forged}"})
    dice = FixedDice(bucket=4321)
    found = decide(head, snapshot(canary(1000, sticky=COOKIE)), dice)
    assert (found.upstream, found.reason, found.new_bucket, dice.buckets) == ("json", Reason.STICKY, 4321, 1)


@given(st.integers(0, BUCKETS - 1), st.integers(1, 9998), st.data())
def test_raising_the_weight_only_adds_clients(bucket: int, weight_bp: int, data: st.DataObject) -> None:
    higher = data.draw(st.integers(weight_bp + 1, 9999))
    head = get(("Cookie", f"{COOKIE_NAME}={bucket}"))
    before = decide(head, snapshot(canary(weight_bp, sticky=COOKIE)), ForbiddenDice()).upstream
    after = decide(head, snapshot(canary(higher, sticky=COOKIE)), ForbiddenDice()).upstream
    assert (before, after) != ("postgres", "json")


def test_sticky_by_address_needs_no_cookie_and_spreads() -> None:
    routing = snapshot(canary(5000, sticky=Sticky(StickyBy.IP)))
    found = [
        decide(get(client_ip=f"10.0.{i // 256}.{i % 256}"), routing, ForbiddenDice()) for i in range(2000)
    ]
    assert found == [
        decide(get(client_ip=f"10.0.{i // 256}.{i % 256}"), routing, ForbiddenDice()) for i in range(2000)
    ]
    assert all(one.new_bucket is None and one.reason is Reason.STICKY for one in found)
    assert 900 < sum(one.upstream == "postgres" for one in found) < 1100


def test_a_bucket_of_a_text_is_the_same_in_every_process() -> None:
    assert [bucket_of("alice"), bucket_of("203.0.113.9"), bucket_of("")] == [4729, 2242, 9876]


def test_sticky_by_header_without_the_header_is_plain_weight() -> None:
    routing = snapshot(canary(5000, sticky=Sticky(StickyBy.HEADER, "x-user-id")))
    assert decide(get(("X-User-Id", "alice")), routing, ForbiddenDice()).reason is Reason.STICKY
    dice = FixedDice(answer=True)
    found = decide(get(), routing, dice)
    assert (found.upstream, found.reason, len(dice.asked)) == ("postgres", Reason.WEIGHT, 1)


def test_the_first_route_that_matches_wins_by_path_and_method() -> None:
    search = route("/api/search", methods=frozenset({"POST"}), kind=Kind.READ, line=1)
    routing = snapshot(canary(), search, route("/api/*", line=2), route("/api/search", line=3))
    searched = decide(SimpleHead.of("POST", "/api/search"), routing, ForbiddenDice())
    assert (searched.route.line, searched.is_write) == (1, False)
    assert decide(SimpleHead.of("GET", "/api/search"), routing, ForbiddenDice()).route.line == 2


@pytest.mark.parametrize(
    ("target", "is_below"),
    [
        ("/api", True), ("/api/", True), ("/api/x/y", True), ("/apix", False), ("/", False), ("/API/x", False),
        ("/%61pi/x", True), ("/x/../api/y", True), ("/./api", True), ("/api/%2e%2e/x", False), ("/api%2Fx", False),
        ("//api/x", False), ("*", False),
    ],
)  # fmt: skip
def test_a_glob_takes_the_folder_and_all_below_however_the_path_is_written(
    target: str, is_below: bool
) -> None:
    found = decide(SimpleHead.of("GET", target), snapshot(canary(), route("/api/*", line=5)), ForbiddenDice())
    assert (found.route.line == 5) is is_below


def test_an_exact_path_matches_nothing_below_it() -> None:
    routing = snapshot(canary(), route("/caf\u00e9", line=5))
    lines = [
        decide(SimpleHead.of("GET", t), routing, ForbiddenDice()).route.line
        for t in ("/café", "/caf%C3%A9", "/café/x")
    ]
    assert lines == [5, 5, 0]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "get", "PROPFIND"])
def test_every_method_that_is_not_safe_writes(method: str) -> None:
    assert decide(SimpleHead.of(method, "/"), snapshot(), ForbiddenDice()).is_write


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
def test_safe_methods_read_unless_the_route_says_otherwise(method: str) -> None:
    head = SimpleHead.of(method, "/")
    assert not decide(head, snapshot(), ForbiddenDice()).is_write
    assert decide(head, snapshot(canary(), route(kind=Kind.WRITE)), ForbiddenDice()).is_write


def test_the_canary_chooses_who_answers_a_mirrored_write() -> None:
    found = decide(POST, snapshot(canary(10_000)), ForbiddenDice())
    assert (found.upstream, found.is_write, found.reason) == ("postgres", True, Reason.WEIGHT)


OFF_MIRROR = MirrorSettings(enabled=False)
FOLLOWING = MirrorSettings(enabled=False, writes_follow=True)


def test_without_a_mirror_all_writes_go_to_the_primary() -> None:
    routing = snapshot(canary(10_000, always=(ALWAYS,)), mirror=OFF_MIRROR)
    head = SimpleHead.of("POST", "/api/orders", [("X-Canary", "canary=true")])
    found = decide(head, routing, ForbiddenDice())
    assert (found.upstream, found.reason) == ("json", Reason.PRIMARY)
    assert decide(GET, routing, ForbiddenDice()).upstream == "postgres"


def test_without_a_mirror_a_mirrored_routes_upstream_does_not_move_its_writes() -> None:
    routing = snapshot(canary(), route(upstream="secondary"), mirror=OFF_MIRROR)
    assert decide(POST, routing, ForbiddenDice()).upstream == "json"


def test_writes_may_follow_the_canary_without_a_mirror() -> None:
    assert decide(POST, snapshot(canary(10_000), mirror=FOLLOWING), ForbiddenDice()).upstream == "postgres"


def test_a_route_out_of_the_mirror_never_splits_its_writes() -> None:
    rule = canary(10_000)
    routing = snapshot(rule, route("/api/*", rule, is_mirrored=False))
    assert decide(POST, routing, ForbiddenDice()).upstream == "json"


def test_a_route_out_of_the_mirror_with_an_upstream_lives_there() -> None:
    routing = snapshot(canary(), route("/api/*", is_mirrored=False, upstream="secondary"))
    assert decide(POST, routing, ForbiddenDice()).upstream == "postgres"


@pytest.mark.parametrize(
    ("rule", "head", "holds"),
    [
        (match("x", "a"), get(("X", "a")), True),
        (match("x", "a"), get(("X", "A")), False),
        (match("x", "a, b"), get(("X", "a"), ("x", "b")), True),
        (match("x", "a", MatchHow.PREFIX), get(("X", "abc")), True),
        (match("x", "c", MatchHow.SUFFIX), get(("X", "abc")), True),
        (match("x", "b", MatchHow.CONTAINS), get(("X", "abc")), True),
        (match("x", "^a.c$", MatchHow.REGEX), get(("X", "abc")), True),
        (match("x", "^a.c$", MatchHow.REGEX), get(("X", "abcd")), False),
        (match("x", "a*", MatchHow.REGEX), get(("X", "a" * 5000)), False),
        (match("x", how=MatchHow.PRESENT), get(("X", "")), True),
        (match("x", how=MatchHow.PRESENT), get(), False),
        (match("s", "1", on=MatchOn.COOKIE), get(("Cookie", "t=0;s=1")), True),
        (match("s", "1", on=MatchOn.COOKIE), get(("Cookie", "t=0"), ("Cookie", 's="1"')), True),
        (match("s", "1", on=MatchOn.COOKIE), get(("Cookie", "s=2; s=1")), False),
        (match("s", "1", on=MatchOn.COOKIE), get(("Cookie", "ss=1; xs=1")), False),
        (match("s", "1", on=MatchOn.COOKIE), get(), False),
        (match("beta", "ja ä", on=MatchOn.QUERY), get(target="/?x=1&beta=ja+%C3%A4"), True),
        (match("beta", how=MatchHow.PRESENT, on=MatchOn.QUERY), get(target="/?beta"), True),
        (match("beta", "1", on=MatchOn.QUERY), get(target="/?beta=0&beta=1"), True),
        (match("beta", "1", on=MatchOn.QUERY), get(target="/?alpha=1"), False),
        (match("", "10.0.0.0/8", MatchHow.CIDR, MatchOn.CLIENT_IP), get(client_ip="10.9.8.7"), True),
        (match("", "10.0.0.0/8", MatchHow.CIDR, MatchOn.CLIENT_IP), get(client_ip="::ffff:10.9.8.7"), True),
        (match("", "10.0.0.0/8", MatchHow.CIDR, MatchOn.CLIENT_IP), get(client_ip="11.0.0.1"), False),
        (match("", "fe80::/10", MatchHow.CIDR, MatchOn.CLIENT_IP), get(client_ip="fe80::1%eth0"), True),
        (match("", "::/0", MatchHow.CIDR, MatchOn.CLIENT_IP), get(client_ip="no address"), False),
    ],
)  # fmt: skip
def test_a_match_holds_for_what_it_says_and_for_nothing_else(rule, head: SimpleHead, holds: bool) -> None:
    found = decide(head, snapshot(canary(always=(rule,))), ForbiddenDice())
    assert (found.reason is Reason.ALWAYS) is holds


class Noting(dict[str, str]):
    """Headers that note which of them were looked at."""

    def __init__(self) -> None:
        self.looked_at: list[str] = []

    def get(self, name: str) -> str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.looked_at.append(name)
        return None


def test_an_ordinary_request_is_asked_once_for_each_header_that_a_rule_names() -> None:
    headers = Noting()
    head = SimpleHead("GET", "/", "", "127.0.0.1", headers)
    decide(head, snapshot(canary(1000, never=(NEVER,), always=(ALWAYS, match("x-beta", "1")))), FixedDice())
    assert headers.looked_at == ["x-canary", "x-beta"]
    headers.looked_at.clear()
    decide(head, snapshot(canary(enabled=False, never=(NEVER,))), ForbiddenDice())
    assert headers.looked_at == []


def test_one_request_sees_one_routing_also_when_two_alternate() -> None:
    first, second = snapshot(canary(10_000)), snapshot(canary(0))
    found = [decide(GET, routing, ForbiddenDice()).upstream for routing in (first, second, first, second)]
    assert found == ["postgres", "json", "postgres", "json"]


def test_a_bucket_cookie_is_read_as_it_was_given() -> None:
    assert [bucket_of_cookie(f"{COOKIE_NAME}={bucket}") for bucket in (0, 7, 9999)] == [0, 7, 9999]
    assert bucket_of_cookie(None) is None


def test_explain_asks_the_same_rules_and_moves_no_dice() -> None:
    rule = canary(1000, never=(NEVER,), always=(ALWAYS,), sticky=COOKIE, weight_line=12)
    routing = snapshot(rule, route("/api/*", rule, line=18))
    opted_in = explain(get(("X-Canary", "canary=true"), target="/api/orders"), routing)
    assert (opted_in.upstream, opted_in.line, opted_in.secondary_percent) == ("postgres", 11, 100.0)
    assert "x-canary exact 'canary=true'" in opted_in.rule
    new_client = explain(GET, routing)
    assert (new_client.upstream, new_client.reason, new_client.secondary_percent) == (
        "json",
        Reason.STICKY,
        10.0,
    )
    assert new_client.line == 12
    known = explain(get(("Cookie", f"{COOKIE_NAME}=1"), target="/api/x"), routing)
    assert (known.upstream, known.secondary_percent) == ("postgres", 100.0)


def test_explain_tells_who_executes_a_write_that_the_secondary_answers() -> None:
    told = explain(POST, snapshot(canary(10_000)))
    assert (told.upstream, told.executed_by, told.is_mirrored, told.kind) == (
        "postgres",
        "json",
        True,
        Kind.WRITE,
    )
    unmirrored = explain(POST, snapshot(canary(10_000), mirror=OFF_MIRROR))
    assert (unmirrored.upstream, unmirrored.executed_by, unmirrored.is_mirrored) == ("json", "json", False)
    assert "mirror" in unmirrored.rule


def test_every_reason_of_a_decision_has_words() -> None:
    heads = [GET, POST, get(("X-Canary", "never")), get(("X-Canary", "canary=true"))]
    rules = [
        canary(w, never=(NEVER,), always=(ALWAYS,), sticky=s)
        for w in (0, 50, 10_000)
        for s in (Sticky(), COOKIE)
    ]
    told = [
        explain(head, snapshot(rule))
        for head in heads
        for rule in [*rules, dataclasses.replace(rules[0], enabled=False)]
    ]
    told.append(explain(GET, snapshot(canary(), route(upstream="primary"))))
    assert {one.reason for one in told} == set(Reason) - {Reason.FALLBACK, Reason.BARRIER}
    assert all(one.rule for one in told)
