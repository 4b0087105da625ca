"""compile_snapshot: what a file means once every inherited word is spelled out."""

from __future__ import annotations

import pytest

from proxy.errors import UsageError
from proxy.model import Health, KeyTemplate, Kind, Limits, MatchHow, MatchOn, MirrorSettings, Snapshot
from proxy.routing.decide import decide
from proxy.routing.dice import EvenDice
from proxy.routing.head import SimpleHead
from proxy.settings.compile import compile_snapshot
from proxy.settings.load import load

HEAD = """\
version: 1
upstreams:
  json: {endpoints: ["http://127.0.0.1:3002"], health: {path: /ok, interval: 500ms}}
  postgres: {endpoints: ["http://127.0.0.1:3003"]}
primary: json
"""


def compiled(text: str = "", *, primary: str = "json", canary_enabled: bool | None = None) -> Snapshot:
    settings = load(HEAD + text, {}, "routing.yaml")
    return compile_snapshot(settings, primary=primary, canary_enabled=canary_enabled, revision=7)


def test_what_is_left_out_has_the_defaults_of_the_model() -> None:
    made = compiled()
    assert (made.mirror, made.limits, made.trusted_proxies, made.revision) == (
        MirrorSettings(),
        Limits(),
        (),
        7,
    )
    assert made.upstream("json").health == Health("/ok", 0.5)
    assert made.upstream("postgres").health is None
    assert not made.canary.enabled


def test_the_journals_primary_counts_and_not_the_files() -> None:
    made = compiled(primary="postgres")
    assert (made.primary, made.secondary) == ("postgres", "json")


def test_a_primary_that_the_file_no_longer_has_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"`mongo` is primary, and routing.yaml has only json and postgres"):
        compiled(primary="mongo")


def test_the_last_route_is_always_the_default_one() -> None:
    for made in (compiled(), compiled('routes: [{path: "/api/*"}]\n')):
        last = made.routes[-1]
        assert (last.path, last.prefix, last.is_exact, last.methods, last.template) == (
            "/*",
            "",
            False,
            None,
            None,
        )
        assert (last.canary, last.is_mirrored, last.line) == (made.canary, True, 0)


ROUTES = """\
canary:
  enabled: true
  never: [{header: X-Canary, exact: never}]
  always: [{header: X-Canary, exact: "canary=true"}]
  weight: 12.5
  sticky: cookie
routes:
  - {path: "/api/search", methods: [POST], kind: read}
  - path: "/api/reports/*"
    canary:
      weight: 0
  - {path: "/legacy/*", upstream: primary, mirror: false}
  - {path: "/api/*", key: "/api/{collection}/{id}", singletons: [settings], canary: {always: [], sticky: none}}
  - {path: "/x/*", canary: {enabled: false}}
"""


def test_a_route_inherits_what_it_does_not_say() -> None:
    made = compiled(ROUTES)
    search, reports, legacy, api, off, default = made.routes
    assert search.canary is made.canary is default.canary
    assert (search.methods, search.kind, search.line) == (frozenset({"POST"}), Kind.READ, 13)
    assert (reports.canary.weight_bp, reports.canary.weight_line, reports.canary.always) == (
        0,
        16,
        made.canary.always,
    )
    assert (legacy.upstream, legacy.is_mirrored, legacy.prefix) == ("primary", False, "/legacy")
    assert api.template == KeyTemplate("/api/{collection}/{id}", ("api", None, None), frozenset({"settings"}))
    assert (api.canary.always, api.canary.never, api.canary.weight_bp) == ((), made.canary.never, 1250)
    assert (off.canary.enabled, made.canary.enabled) == (False, True)


def test_routes_that_inherit_the_weight_share_its_even_sequence() -> None:
    made = compiled(ROUTES)
    slots = [route.canary.sequence for route in made.routes]
    assert slots == [0, 2, 0, 0, 0, 0]
    mixed = compiled(
        'canary: {enabled: true, weight: 10}\nroutes: [{path: "/a"}, {path: "/b", canary: {sticky: none}}]\n'
    )
    dice = EvenDice()
    found = [decide(SimpleHead.of("GET", f"/{'abc'[i % 3]}"), mixed, dice).upstream for i in range(100)]
    assert found.count("postgres") == 10


def test_the_canary_switched_off_takes_every_routes_canary_out() -> None:
    text = 'canary: {enabled: true}\nroutes: [{path: "/a", canary: {enabled: true, weight: 100}}]\n'
    assert [route.canary.enabled for route in compiled(text).routes] == [True, True]
    assert [route.canary.enabled for route in compiled(text, canary_enabled=False).routes] == [False, False]


def test_an_override_switches_on_what_the_file_has_off_but_no_route_that_says_no() -> None:
    made = compiled('routes: [{path: "/a", canary: {enabled: false}}]\n', canary_enabled=True)
    assert [route.canary.enabled for route in made.routes] == [False, True]


def test_matches_keep_their_lines_for_explanations() -> None:
    made = compiled("""\
canary:
  always:
    - {header: X-A, exact: "é"}
    - {cookie: B, regex: "^c"}
    - {query: d, present: true}
    - {client_ip: 192.0.2.7}
""")
    found = [(m.on, m.name, m.how, m.value, m.line) for m in made.canary.always]
    assert found == [
        (MatchOn.HEADER, "x-a", MatchHow.EXACT, "\u00c3\u00a9", 8),
        (MatchOn.COOKIE, "B", MatchHow.REGEX, "^c", 9),
        (MatchOn.QUERY, "d", MatchHow.PRESENT, "", 10),
        (MatchOn.CLIENT_IP, "", MatchHow.CIDR, "192.0.2.7/32", 11),
    ]
    assert made.canary.always[1].pattern is not None


def test_a_rule_in_utf8_matches_a_header_as_it_arrives() -> None:
    made = compiled('canary: {enabled: true, always: [{header: X, exact: "größe"}]}\n')
    head = SimpleHead.of("GET", "/", [("X", "größe".encode().decode("latin-1"))])
    assert decide(head, made, EvenDice()).upstream == "postgres"


def test_mirror_and_limits_arrive_in_seconds_and_bytes() -> None:
    made = compiled("""\
mirror:
  enabled: false
  writes: follow
  carry: [id]
  answer_timeout: 1.5s
  credentials: {Authorization: "Bearer x", X-Empty: ""}
  compare: {ignore: [etag]}
limits: {header_bytes: 16KiB, read_barrier: 0ms, response_timeout: 2m}
trusted_proxies: [10.0.0.0/8, "::1"]
""")
    assert made.mirror == MirrorSettings(
        enabled=False,
        writes_follow=True,
        carry=("id",),
        answer_timeout_s=1.5,
        credentials=(("Authorization", "Bearer x"),),
        ignore=frozenset({"etag"}),
    )
    assert (made.limits.header_bytes, made.limits.read_barrier_s, made.limits.response_timeout_s) == (
        16384,
        0,
        120,
    )
    assert made.trusted_proxies == ("10.0.0.0/8", "::1/128")
