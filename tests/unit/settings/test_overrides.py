"""Overrides are laid over what the file says, and held to the same rules."""

import pytest

from proxy.settings.faults import BadSettingsError
from proxy.settings.load import load
from proxy.settings.overrides import heard, laid_over, said_at, spoken

TEXT = """\
version: 1
upstreams:
  json: {endpoints: ["http://127.0.0.1:3002"]}
  postgres: {endpoints: ["http://127.0.0.1:3003"]}
primary: ${DATA_BACKEND:-json}
canary: {weight: 10}
"""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (None, "null"),
        (10, "10"),
        (10.0, "10"),
        (2.5, "2.5"),
        ("json", "json"),
        ("true", '"true"'),
        ("10", '"10"'),
        ("[x", '"[x"'),
        ([{"header": "X", "exact": "1"}], '[{"exact": "1", "header": "X"}]'),
    ],
)
def test_a_value_and_its_text_are_the_same_thing(value: object, text: str) -> None:
    assert spoken(value) == text
    assert heard(text) == value


def test_what_a_file_leaves_out_is_its_default() -> None:
    assert said_at({}, "mirror.enabled") == "true"
    assert said_at({"mirror": {}}, "mirror.enabled") == "true"
    assert said_at({"mirror": {"enabled": False}}, "mirror.enabled") == "false"
    assert said_at({}, "limits.read_barrier") == "null"


def test_mappings_that_are_missing_are_made_and_the_original_stays() -> None:
    value = {"canary": {"weight": 10}}
    assert laid_over(value, {"mirror.enabled": "false", "canary.weight": "0"}) == {
        "canary": {"weight": 0},
        "mirror": {"enabled": False},
    }
    assert value == {"canary": {"weight": 10}}


def test_an_override_is_in_force_and_the_file_s_own_word_is_still_known() -> None:
    settings = load(TEXT, {}, "routing.yaml", {"primary": "postgres", "canary.weight": "0"})
    assert settings.primary == "postgres"
    assert settings.shape.canary.weight == 0
    assert settings.filed("primary") == "json"
    assert settings.filed("canary.weight") == "10"
    assert settings.origin("primary") == "override"
    assert settings.origin("canary", "enabled") == "default"
    assert load(TEXT, {}, "routing.yaml").origin("primary") == "environment: DATA_BACKEND"


def test_an_override_is_held_to_the_rules_of_the_file() -> None:
    with pytest.raises(BadSettingsError, match="101"):
        load(TEXT, {}, "routing.yaml", {"canary.weight": "101"})
