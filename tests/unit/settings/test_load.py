"""load: every fault at once, each at its line and column, each saying what would be right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.limits import SETTINGS_BYTES_MAX
from proxy.model import Endpoint, Sticky, StickyBy
from proxy.settings.faults import BadSettingsError, Fault
from proxy.settings.load import Settings, load

HEAD = """\
version: 1
upstreams:
  json: {endpoints: ["http://127.0.0.1:3002"]}
  postgres: {endpoints: ["http://127.0.0.1:3003"]}
primary: json
"""


def faults_of(text: str, env: dict[str, str] | None = None) -> list[tuple[int, int, str]]:
    with pytest.raises(BadSettingsError) as caught:
        load(text, env or {}, "routing.yaml")
    return [(fault.line, fault.column, fault.message) for fault in caught.value.faults]


def fault_of(text: str, env: dict[str, str] | None = None) -> tuple[int, int, str]:
    faults = faults_of(text, env)
    assert len(faults) == 1, faults
    return faults[0]


def loaded(text: str, env: dict[str, str] | None = None) -> Settings:
    return load(text, env or {}, "routing.yaml")


def test_three_keys_are_enough() -> None:
    settings = loaded(HEAD)
    assert (settings.primary, settings.secondary, settings.canary_enabled) == ("json", "postgres", False)
    assert settings.shape.mirror.enabled
    assert settings.shape.upstreams["json"].health is None


def test_a_message_for_people_names_file_line_and_column() -> None:
    with pytest.raises(BadSettingsError) as caught:
        loaded(HEAD + "canary: {wieght: 10}\n")
    assert str(caught.value) == "routing.yaml:6:10: unknown key `wieght`; did you mean `weight`?"
    assert caught.value.faults == (Fault(6, 10, "unknown key `wieght`; did you mean `weight`?"),)
    assert caught.value.code == "bad-settings"


def test_all_faults_are_told_at_once_in_the_order_of_the_file() -> None:
    text = """\
version: 1
upstreams:
  json: {endpoints: ["127.0.0.1:3002"]}
  postgres: {endpoints: ["http://127.0.0.1:3003"], helth: {}}
primary: jsn
canary:
  weight: 101
  weight: 10
routes:
  - {path: "/a/*"}
  - {path: "/a/b"}
  - {path: "/c", upstream: redis, kind: 3}
  - {path: "/d", upstream: redis}
mirror: {answer_timeout: 5}
rollout: {steps: [1]}
"""
    found = faults_of(text)
    assert [(line, column) for line, column, _ in found] == [
        (3, 22), (4, 52), (5, 10), (7, 11), (8, 3), (11, 5), (12, 28), (12, 41), (13, 28), (14, 26), (15, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "column", "words"),
    [
        ("canary: {weight: 101}", 18, "from 0 to 100"),
        ("canary: {weight: -1}", 18, "from 0 to 100"),
        ("canary: {weight: 0.125}", 18, "at most two decimals"),
        ("canary: {weight: 10%}", 18, "the percent sign is not written here: `10`"),
        ("canary: {weight: ten}", 18, "a percentage from 0 to 100"),
        ("canary: {weight: .nan}", 18, "a percentage from 0 to 100"),
        ("canary: {enabled: 1}", 19, "`enabled` is `true` or `false`"),
        ("canary: {enabled: 'true'}", 19, "`enabled` is `true` or `false`"),
        ("canary: {sticky: cooky}", 18, "did you mean `cookie`?"),
        ("canary: {sticky: header}", 18, "which header?"),
        ("canary: {sticky: {header: 'a b'}}", 18, "no name"),
        ("canary: {sticky: {heder: a}}", 18, "`{header: X-User-Id}`"),
        ("canary: {always: {header: a, exact: b}}", 18, "`always` is a list"),
        ("canary: {always: [{header: a}]}", 19, "says how, once"),
        ("canary: {always: [{header: a, exact: b, prefix: c}]}", 19, "says how, once"),
        ("canary: {always: [{exact: b}]}", 19, "looks at one of"),
        ("canary: {always: [{header: a, cookie: b, exact: c}]}", 19, "looks at one of"),
        ("canary: {always: [{client_ip: 10.0.0.0/8, exact: c}]}", 19, "leave `exact` out"),
        ("canary: {always: [{client_ip: 10.1.0.0/8}]}", 31, "did you mean `10.0.0.0/8`?"),
        ("canary: {always: [{client_ip: 10.0.0.0/33}]}", 31, "is no address"),
        ("canary: {always: [{header: 'X Y', exact: b}]}", 28, "is no name"),
        ("canary: {always: [{header: a, exact: ' b'}]}", 19, "can never match"),
        ("canary: {always: [{header: a, exact: 10}]}", 38, 'put it in quotes, "10"'),
        ("canary: {always: [{header: a, exact: yes}]}", 38, 'put it in quotes, "true"'),
        ('canary: {always: [{header: a, exact: "b\\n"}]}', 38, "control characters"),
        ("canary: {always: [{header: a, regex: '('}]}", 38, "no regular expression"),
        ("canary: {always: [{header: a, contains: ''}]}", 41, "must not be empty"),
        ("canary: {always: [{header: a, present: false}]}", 40, "can only be `true`"),
        ("canary: {never: }", 10, "`never` is empty"),
        ("routes: [{path: api}]", 17, "did you mean `/api`?"),
        ("routes: [{path: '/a/*/b'}]", 17, "only at the end"),
        ("routes: [{path: '/a*'}]", 17, "only at the end"),
        ("routes: [{path: '/a?b=c'}]", 17, "no query"),
        ("routes: [{path: '/a%20b'}]", 17, "matched decoded"),
        ("routes: [{path: '/a/../b'}]", 17, "can never match"),
        ("routes: [{methods: [GET]}]", 10, "`path` is missing"),
        ("routes: [{path: /a, methods: []}]", 30, "at least one item"),
        ("routes: [{path: /a, methods: [get]}]", 31, "did you mean `GET`?"),
        ("routes: [{path: /a, methods: [GET, GET]}]", 30, "given twice"),
        ("routes: [{path: /a, kind: red}]", 27, "did you mean `read`?"),
        ("routes: [{path: /a, upstream: postgre}]", 31, "did you mean `postgres`?"),
        ("routes: [{path: /a, upstream: json, canary: {weight: 1}}]", 37, "never looks at its `canary`"),
        ("routes: [{path: /a, canary: {wight: 1}}]", 30, "did you mean `weight`?"),
        ("routes: [{path: /a, singletons: [b]}]", 21, "this route has none"),
        ("routes: [{path: /a/*, key: '/a/{id}', singletons: [b]}]", 39, "second last placeholder"),
        ("routes: [{path: /a/*, key: '/a/{id'}]", 28, "no key template"),
        ("routes: [{path: /a/*, key: '/a/x{id}'}]", 28, "no key template"),
        ("routes: [{path: /a/*, key: '/a/{id}/b'}]", 28, "the last segment"),
        ("routes: [{path: /a/*, key: '/a/{id}/{id}'}]", 28, "name of its own"),
        ("routes: [{path: /a/*, key: '/b/{id}'}]", 28, "no path of this route"),
        ("mirror: {answer_timeout: 500}", 26, "`500s` or `500ms`"),
        ("mirror: {answer_timeout: 1 day}", 26, "`500ms`, `2s`, `5m` or `1h`"),
        ("mirror: {answer_timeout: 5m}", 26, "from 0ms to 10s"),
        ("mirror: {writes: both}", 18, "one of `follow`, `primary`"),
        ("mirror: {carry: id}", 17, "`carry` is a list"),
        ("mirror: {credentials: {'A B': x}}", 24, "is no name"),
        ('mirror: {credentials: {A: "x\\r\\nB: c"}}', 27, "control characters"),
        ("limits: {header_bytes: 64KB}", 24, "did you mean `64KiB`?"),
        ("limits: {header_bytes: 64}", 24, "needs its unit"),
        ("limits: {header_bytes: 1GiB}", 24, "from 1KiB to 1MiB"),
        ("limits: {connections: 0}", 23, "at least 1"),
        ("limits: {connections: 1.5}", 23, "whole number"),
        ("trusted_proxies: [here]", 19, "is no address"),
        ("versoin: 1", 1, "did you mean `version`?"),
        ("canary: [1]", 9, "`canary` is a mapping"),
        ("canary: &a [*a]", 9, "contains itself"),
        ("canary: !!python/object:x {}", 9, "tag"),
        ("<<: {canary: {}}", 1, "`<<` is not read here"),
        ("? [a]\n: b", 3, "a key must be one word"),
    ],
)
def test_a_fault_is_told_at_its_column_with_what_would_be_right(line: str, column: int, words: str) -> None:
    found = [fault for fault in faults_of(HEAD + line + "\n") if words in fault[2]]
    assert [fault[:2] for fault in found] == [(6, column)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("shadow: {sample: 1}", "not yet: no reads are shadowed"),
        ("shadow: {ignore: [a]}", "not yet: no reads are shadowed"),
        ("rollout: {}", "not yet: `rollout`"),
        ("journal: {bodies_max: 1MiB}", "not yet: `journal`"),
    ],
)
def test_what_this_version_does_not_do_is_refused_with_not_yet(line: str, words: str) -> None:
    assert words in fault_of(HEAD + line + "\n")[2]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("routes: [{path: /a, affects: [/b/*]}]", "write the prefix itself"),
        ('routes: [{path: /a, affects: ["/b/{id}"]}]', "write the prefix itself"),
        ("routes: [{path: /a, affects: []}]", "`affects` needs at least one item"),
        ("routes: [{path: /a, affects: [b]}]", "did you mean `/b`?"),
        ("routes: [{path: /a, mirror: false, affects: [/b]}]", "`affects` says nothing here"),
        ("routes: [{path: /a, mirror: false, mode: state}]", "`mode` says nothing here"),
        ("mirror: {mode: stat}", "`mode` cannot be `stat`; did you mean `state`?"),
    ],
)
def test_affects_and_mode_say_something_or_are_refused(line: str, words: str) -> None:
    assert words in fault_of(f"{HEAD}{line}\n")[2]


def test_an_https_endpoint_has_port_443_where_none_is_said() -> None:
    settings = loaded(HEAD.replace("http://127.0.0.1:3002", "https://shop.internal"))
    assert settings.shape.upstreams["json"].endpoints == [Endpoint("shop.internal", 443, is_tls=True)]


def test_tls_of_an_upstream_without_https_endpoints_is_refused() -> None:
    text = HEAD.replace('3002"]}', '3002"], tls: {server_name: shop}}')
    assert fault_of(text) == (3, 9, "`tls` is for `https` endpoints, and this upstream has none")


def test_a_certificate_that_cannot_be_used_is_told_at_its_place() -> None:
    line, column, message = fault_of(HEAD + "tls: {certificate: /nowhere.pem, key: /nowhere.key}\n")
    assert (line, column) == (6, 6)
    assert (
        message == "certificate /nowhere.pem with key /nowhere.key cannot be used: No such file or directory"
    )


def test_a_ca_that_cannot_be_used_is_told_at_its_place() -> None:
    text = HEAD.replace('http://127.0.0.1:3002"]}', 'https://127.0.0.1:3002"], tls: {ca: /nowhere.pem}}')
    line, column, message = fault_of(text)
    assert (line, message) == (3, "the CA in /nowhere.pem cannot be used: No such file or directory")
    assert column == text.splitlines()[2].index("{ca") + 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("localhost:3002", "did you mean `http://localhost:3002`?"),
        ("ftp://a", "is not http"),
        ("http://a:99999", "is no URL"),
        ("http://a:0", "no host and port"),
        ("http://:1", "no host and port"),
        ("http://a b", "no host and port"),
        ("http://a/x", "more than a host and a port"),
        ("http://u:p@a", "more than a host and a port"),
        ("http://a?", "more than a host and a port"),
        ("http://[::g]", "is no URL"),
        ("", "an empty URL"),
    ],
)
def test_an_endpoint_that_is_no_url_of_a_host_and_port_is_refused(url: str, words: str) -> None:
    line, column, message = fault_of(HEAD.replace("http://127.0.0.1:3002", url))
    assert (line, column) == (3, 22)
    assert words in message


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://a", Endpoint("a", 80)),
        ("http://A.example:8080/", Endpoint("a.example", 8080)),
        ("http://[::1]:3002", Endpoint("::1", 3002)),
        ("HTTP://my_host-1:1", Endpoint("my_host-1", 1)),
    ],
)
def test_an_endpoint_is_a_host_and_a_port(url: str, endpoint: Endpoint) -> None:
    settings = loaded(HEAD.replace("http://127.0.0.1:3002", url))
    assert settings.shape.upstreams["json"].endpoints == [endpoint]


def test_there_are_exactly_two_upstreams() -> None:
    one = HEAD.replace('  postgres: {endpoints: ["http://127.0.0.1:3003"]}\n', "")
    three = HEAD.replace("primary:", '  redis: {endpoints: ["http://127.0.0.1:3004"]}\nprimary:')
    for text, count in ((one, 1), (three, 3)):
        line, column, message = fault_of(text)
        assert (line, column) == (2, 1)
        assert message.endswith(f"here: {count}")


def test_an_endpoint_belongs_to_one_upstream() -> None:
    line, column, message = fault_of(HEAD.replace("3003", "3002"))
    assert (line, column) == (4, 26)
    assert "of `json` already" in message


@pytest.mark.parametrize("name", ["primary", "secondary", "a b", "ä"])
def test_a_role_is_no_name_for_an_upstream(name: str) -> None:
    assert (3, 3) in [fault[:2] for fault in faults_of(HEAD.replace("json:", f"{name}:"))]


def test_a_primary_that_is_no_upstream_names_the_variable_that_said_so() -> None:
    text = HEAD.replace("primary: json", "primary: ${DATA_BACKEND:-json}")
    line, column, message = fault_of(text, {"DATA_BACKEND": "postgress"})
    assert (line, column) == (5, 10)
    assert message == "`postgress` (from DATA_BACKEND) is no upstream; did you mean `postgres`?"


@pytest.mark.parametrize(
    ("routes", "shadowed"),
    [
        ('["/a/*", "/a/b"]', [1]),
        ('["/a/*", "/a"]', [1]),
        ('["/a/*", "/a/b/*"]', [1]),
        ('["/*", "/a"]', [1]),
        ('["/a", "/a"]', [1]),
        ('["/a", "/a/*"]', []),
        ('["/a/*", "/ab"]', []),
        ('["/a/", "/a"]', []),
    ],
)
def test_a_route_that_can_never_match_is_refused(routes: str, shadowed: list[int]) -> None:
    paths = routes.strip("[]").replace('"', "").split(", ")
    lines = "".join(f"  - {{path: '{path}'}}\n" for path in paths)
    text = HEAD + "routes:\n" + lines
    if not shadowed:
        assert loaded(text)
        return
    found = faults_of(text)
    assert [line for line, _, _ in found] == [7 + index for index in shadowed]
    assert all("can never match: the one at line 7" in message for _, _, message in found)


def test_methods_of_several_routes_together_can_leave_nothing() -> None:
    routes = "routes:\n  - {path: /a/*, methods: [GET]}\n  - {path: /a/*, methods: [POST]}\n  - {path: /a/b, methods: [%s]}\n"
    assert fault_of(HEAD + routes % "POST, GET")[0] == 9
    assert loaded(HEAD + routes % "POST, PUT")


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("version: 1\n\tprimary: x\n", 2, 1),
        ("version: [1\n", 2, 1),
        ("version: 1\nprimary: a: b\n", 2, 11),
        ("version: *x\n", 1, 10),
        ("version: 1\n---\nversion: 1\n", 2, 1),
        ("version: 1\nprimary: \x01\n", 2, 10),
        ("", 1, 1),
        ("# nothing\n", 1, 1),
        ("[" * 5000, 1, 1),
        ("- 1\n", 1, 1),
        ("json\n", 1, 1),
    ],
)
def test_what_is_not_yaml_is_told_with_line_and_column(text: str, line: int, column: int) -> None:
    assert faults_of(text)[0][:2] == (line, column)


def test_bytes_that_are_not_utf8_are_a_fault_with_a_place() -> None:
    text = (HEAD + "# caf\udce9\n").replace("\udce9", b"\xe9".decode("utf-8", "surrogateescape"))
    line, column, message = fault_of(text)
    assert (line, column) == (6, 6)
    assert "UTF-8" in message


@pytest.mark.parametrize(
    "more",
    ['canary: {never: [{header: a, exact: "\\ud800"}]}', '"\\udcff": 1', 'canary: {weight: "${HALF}"}'],
)
def test_half_of_a_character_is_a_fault_that_can_be_told(more: str) -> None:
    """`turnout check` broke off over it, as the message itself could not be written."""
    with pytest.raises(BadSettingsError) as caught:
        load(HEAD + more + "\n", {"HALF": "\udcff"}, "routing.yaml")
    assert "lone surrogate" in str(caught.value)
    str(caught.value).encode()


def test_aliases_of_aliases_do_not_fill_the_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]" for i in range(1, 12)]
    assert any("too many values" in message for _, _, message in faults_of("\n".join(lines)))


def test_a_huge_file_is_refused_unread() -> None:
    assert "larger than" in fault_of("#" * (SETTINGS_BYTES_MAX + 1))[2]


def test_aliases_of_whole_values_are_read() -> None:
    text = HEAD.replace("{endpoints", "&a {health: {path: /ok}, endpoints", 1)
    assert (
        loaded(text + "canary: {never: &m [{header: a, exact: b}], always: *m}\n")
        .shape.canary.always[0]
        .header
        == "a"
    )


@pytest.mark.parametrize(
    ("scalar", "env", "value"),
    [
        ("${W}", {"W": "25"}, 2500),
        ("${W:-10}", {}, 1000),
        ("${W:-10}", {"W": ""}, 1000),
        ("${W:-10}", {"W": "0.5"}, 50),
        ("1${W:-0}", {"W": "2"}, 1200),
    ],
)
def test_a_plain_scalar_is_read_after_its_variables_are_filled_in(
    scalar: str, env: dict[str, str], value: int
) -> None:
    assert loaded(HEAD + f"canary:\n  weight: {scalar}\n", env).shape.canary.weight == value


def test_a_variables_value_is_never_read_as_yaml_structure() -> None:
    text = HEAD + 'canary:\n  always:\n    - {header: X, exact: "${V}"}\n'
    assert loaded(text, {"V": "a, b: [c]"}).shape.canary.always[0].exact == "a, b: [c]"


def test_dollars_can_be_written_as_themselves() -> None:
    text = HEAD + 'canary: {always: [{header: X, exact: "$${A}$5$"}]}\n'
    assert loaded(text).shape.canary.always[0].exact == "${A}$5$"


@pytest.mark.parametrize(
    ("scalar", "words"),
    [
        ("${W}", "the environment variable W is not set"),
        ("${W", "without its `}`"),
        ("${}", "write ${NAME}"),
        ("${1X:-2}", "write ${NAME}"),
    ],
)
def test_a_variable_that_cannot_be_filled_in_is_a_fault(scalar: str, words: str) -> None:
    found = fault_of(HEAD + f"canary:\n  weight: {scalar}\n")
    assert found[:2] == (7, 11)
    assert words in found[2]


def test_a_variable_in_a_flow_mapping_without_quotes_is_explained() -> None:
    line, column, message = fault_of(HEAD + "mirror: {enabled: ${DUAL_WRITE:-true}}\n")
    assert (line, column) == (6, 20)
    assert "must stand in quotes" in message


def test_a_setting_knows_where_it_comes_from() -> None:
    settings = loaded(
        HEAD.replace("primary: json", "primary: ${DATA_BACKEND:-json}") + "canary: {weight: 5}\n"
    )
    assert settings.origin("primary") == "environment: DATA_BACKEND"
    assert settings.origin("canary", "weight") == "file"
    assert settings.origin("canary", "enabled") == "default"


def test_every_way_to_stick_is_read() -> None:
    ways = {"none": Sticky(), "cookie": Sticky(StickyBy.COOKIE), "ip": Sticky(StickyBy.IP)}
    ways["{header: X-User-Id}"] = Sticky(StickyBy.HEADER, "x-user-id")
    for text, sticky in ways.items():
        assert loaded(HEAD + f"canary: {{sticky: {text}}}\n").shape.canary.sticky == sticky


YAMLISH = st.text(alphabet="abversion:123 -{}[]\"'\n,#&*!|>$%@`~/.\t", max_size=80)


@given(YAMLISH)
def test_no_text_ends_in_anything_but_settings_or_faults(text: str) -> None:
    for whole in (text, HEAD + text):
        lines = whole.count("\n") + 2
        faults = faults_or_none(whole)
        assert all(1 <= fault.line <= lines and fault.column >= 1 and fault.message for fault in faults)


def faults_or_none(text: str) -> tuple[Fault, ...]:
    try:
        load(text, {}, "routing.yaml")
    except BadSettingsError as error:
        return error.faults
    return ()
