"""The schema for editors, the shipped routing.yaml and env.example: each is what the code says."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from proxy.model import MirrorSettings
from proxy.routing.place import place_of
from proxy.settings.compile import compile_snapshot
from proxy.settings.default import default_text, environment, parse_env
from proxy.settings.load import load
from proxy.settings.schema import json_schema, rendered

CONFIG = Path(__file__).parents[3] / "config"


def test_the_schema_in_config_is_made_from_the_shapes() -> None:
    written = (CONFIG / "routing.schema.json").read_text("utf-8")
    assert written == rendered(), "python -m proxy.settings.schema > config/routing.schema.json"


def test_the_schema_takes_the_default_routing_and_refuses_what_the_loader_refuses() -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.check_schema(json_schema())
    good = yaml.safe_load(default_text())
    assert list(validator.iter_errors(good)) == []
    for path, bad in (
        (("canary", "weight"), 101),
        (("canary", "wieght"), 1),
        (("canary", "sticky"), "cooky"),
        (("limits", "header_bytes"), "64KB"),
        (("mirror", "answer_timeout"), 5),
        (("routes",), [{"path": "/a*b"}]),
        (("routes",), [{"path": "/a", "kind": None}]),
        (("version",), 2),
    ):
        changed = json.loads(json.dumps(good))
        place = changed
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = bad
        assert list(validator.iter_errors(changed)), path


def test_the_schema_lets_every_value_come_from_the_environment() -> None:
    good = yaml.safe_load(default_text())
    good["canary"] |= {"weight": "${WEIGHT:-10}", "enabled": "${ON}"}
    good["limits"]["connections"] = "${CONNECTIONS:-1}"
    assert list(jsonschema.Draft202012Validator(json_schema()).iter_errors(good)) == []


def test_the_default_routing_is_right_and_says_what_the_code_defaults_to() -> None:
    settings = load(default_text(), {}, "config/routing.yaml")
    made = compile_snapshot(settings, primary=settings.primary)
    bare = compile_snapshot(
        load(
            "version: 1\nprimary: json\nupstreams:\n"
            "  json: {endpoints: ['http://a:1']}\n  postgres: {endpoints: ['http://a:2']}\n",
            {},
            "bare",
        ),
        primary="json",
    )
    assert (made.primary, made.secondary, made.canary.enabled, made.canary.weight_bp) == (
        "json",
        "postgres",
        False,
        1000,
    )
    assert (made.limits, made.mirror) == (bare.limits, bare.mirror)
    assert made.mirror == MirrorSettings()
    assert place_of(made.routes[0], "/api/orders/17").key == "/api/orders/17"
    assert place_of(made.routes[0], "/api/settings").key == "/api/settings"


def test_the_default_routing_follows_its_environment() -> None:
    env = {
        "DATA_BACKEND": "postgres",
        "DUAL_WRITE": "false",
        "JSON_URL": "http://json:80",
        "MIRROR_AUTHORIZATION": "Bearer x",
    }
    settings = load(default_text(), env, "config/routing.yaml")
    made = compile_snapshot(settings, primary=settings.primary)
    assert (made.primary, made.mirror.enabled, made.upstream("json").endpoints[0].host) == (
        "postgres",
        False,
        "json",
    )
    assert made.mirror.credentials == (("Authorization", "Bearer x"),)


def test_the_shipped_file_is_the_one_in_config() -> None:
    assert default_text() == (CONFIG / "routing.yaml").read_text("utf-8")


def test_the_environments_example_has_every_variable_and_loads() -> None:
    text = (CONFIG / "env.example").read_text("utf-8")
    for name in (
        "DATA_BACKEND", "DUAL_WRITE", "JSON_URL", "POSTGRES_URL", "DATABASE_URL", "TURNOUT_ADMIN", "TURNOUT_ADMIN_TOKEN",
        "TURNOUT_ADMIN_TOKENS", "TURNOUT_MIRROR_TOKEN", "MIRROR_AUTHORIZATION",
    ):  # fmt: skip
        assert f"\n{name}=" in text or f"\n#{name}=" in text
    load(default_text(), parse_env(text), "config/routing.yaml")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"), ("export A=b", "b"), ("A = b ", "b"), ('A="b # c"', "b # c"), ("A='b' # c", "b"), ("A=b # c", "b"),
        ("A=b#c", "b#c"), ("A=", ""), ("A= # c", ""), ("A=b=c", "b=c"), ("#A=b", None), ("A", None), ("1A=b", None),
    ],
)  # fmt: skip
def test_a_line_of_env_local_is_read_as_compose_reads_it(line: str, value: str | None) -> None:
    assert parse_env(line).get("A") == value


def test_the_real_environment_wins_over_env_local(tmp_path: Path) -> None:
    assert environment(tmp_path, {"A": "1"}) == {"A": "1"}
    (tmp_path / ".env.local").write_text("A=file\nB=file\n")
    assert environment(tmp_path, {"A": "real"}) == {"A": "real", "B": "file"}
