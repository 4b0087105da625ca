"""The reference pages say what the code does: every setting, verb, metric, admin path, error code and rule of the mirror."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from proxy.control.admin import make_admin
from proxy.control.guard import AdminTokens
from proxy.settings.shape import NOT_YET, SettingsShape

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"


def read(*parts: str) -> str:
    return DOCS.joinpath(*parts).read_text("utf-8")


def sources(*rooms: str) -> dict[str, str]:
    return {
        str(p.relative_to(ROOT)): p.read_text("utf-8")
        for room in rooms
        for p in sorted((ROOT / room).rglob("*.py"))
    }


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / ".ci" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["cli.md", "metrics.md"])
def test_generated_pages_are_those_that_the_code_makes_now(reference: ModuleType, tmp_path: Path, page: str):
    reference.main([str(tmp_path)])
    assert (tmp_path / page).read_text("utf-8") == (REFERENCE / page).read_text("utf-8"), "run `make docs`"


def test_every_metric_that_the_code_names_is_in_the_reference():
    named = {
        name
        for file, text in sources("proxy").items()
        if file in {"proxy/observe.py", "proxy/control/collector.py"}
        for name in re.findall(r'"(turnout_[a-z_]+)"', text)
    }
    listed = set(re.findall(r"^\| `(turnout_[a-z_]+)`", read("reference", "metrics.md"), re.MULTILINE))
    assert {name for name in named if name not in listed and f"{name}_total" not in listed} == set()


def keys_of(shape: type[BaseModel], prefix: str = "") -> set[str]:
    """Dotted names of every setting, lists as ``[]``, mappings by name as ``NAME``."""
    found: set[str] = set()
    for name, field in shape.model_fields.items():
        path = f"{prefix}{name}"
        found.add(path)
        inner = next((one for one in flattened(field.annotation) if is_shape(one)), None)
        if (
            inner is not None
            and path != "canary.never"
            and path != "canary.always"
            and path != "routes[].canary"
        ):
            nested = {"upstreams": "upstreams.NAME.", "routes": "routes[]."}.get(path, f"{path}.")
            found |= keys_of(inner, nested)
    return found


def flattened(annotation: Any) -> list[Any]:
    return [annotation, *(deep for one in get_args(annotation) for deep in flattened(one))]


def is_shape(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def test_every_setting_is_in_the_reference_and_no_other():
    groups = {"canary", "mirror", "mirror.compare", "limits", "shadow"}
    listed = set(
        re.findall(
            r"^\| `([A-Za-z_.\[\]]+)` \|",
            read("reference", "settings.md").partition("## Environment")[0],
            re.MULTILINE,
        )
    )
    assert listed == keys_of(SettingsShape) - groups


def test_every_default_in_the_reference_is_the_code_s():
    from proxy.settings.scalars import duration_s, size_bytes
    from proxy.settings.shape import LimitsShape

    told = dict(
        re.findall(r"^\| `limits\.(\w+)` \| `([^`]+)` \|", read("reference", "settings.md"), re.MULTILINE)
    )
    defaults = LimitsShape()
    for name, text in told.items():
        value = getattr(defaults, name)
        if isinstance(value, float):
            assert duration_s(text) == value, name
        else:
            assert (size_bytes(text) if text.endswith("B") else int(text)) == value, name
    assert told.keys() == LimitsShape.model_fields.keys()


def test_every_setting_that_is_not_yet_built_is_named():
    page = read("reference", "settings.md")
    assert [name for name in NOT_YET if f"`{name}`" not in page] == []


def test_every_variable_of_the_example_and_of_the_code_is_in_the_reference():
    example = set(
        re.findall(r"^#?([A-Z][A-Z_]+)=", (ROOT / "config" / "env.example").read_text("utf-8"), re.MULTILINE)
    )
    code = {
        name
        for text in sources("proxy", "backends").values()
        for name in re.findall(r'"((?:TURNOUT|DATABASE|JSON|POSTGRES)_[A-Z_]+)"', text)
    }
    private = {"TURNOUT_DEMO_PARENT", "TURNOUT_PARENT"}
    page = read("reference", "settings.md")
    assert [name for name in sorted(example | (code - private)) if f"`{name}`" not in page] == []


def test_every_admin_path_is_in_the_reference_and_no_other():
    panel = SimpleNamespace(controller=SimpleNamespace(on_publish=[]))
    app = make_admin(panel, AdminTokens({}))  # type: ignore[arg-type]  # only its routes are looked at
    served = {
        f"{route.method} {route.resource.canonical}"
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    listed = {
        f"{method} {path}"
        for method, path in re.findall(
            r"`(GET|POST|PATCH|PUT|DELETE) (/[^`?\s]*)[^`]*`", read("reference", "admin-api.md")
        )
    }
    assert listed - {"GET /api/v1/status"} == served - {"GET /api/v1/status"}
    assert "GET /api/v1/status" in served


def test_every_figure_of_the_mirror_is_in_the_reference_and_no_other():
    text = (ROOT / "proxy" / "mirror" / "handle.py").read_text("utf-8")
    told = set(re.findall(r'^            "(\w+)": ', text.partition("def stats")[2], re.MULTILINE))
    section = read("reference", "admin-api.md").partition("### The mirror's figures")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", section, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == told - {"since"}
    assert "`since`" in section


CODE = re.compile(
    r'(?:\bcode = |[Pp]roblem\(\s*[45]\d\d,\s*|return [45]\d\d,\s*|^\s+[45]\d\d: |^\s+[45]\d\d,\s+)"([a-z]+(?:-[a-z]+)*)"',
    re.MULTILINE,
)


def test_every_error_code_is_in_the_reference_and_no_other():
    used = {code for text in sources("proxy", "backends").values() for code in CODE.findall(text)}
    rows = re.findall(r"^\| ((?:`[a-z-]+`(?:, )?)+) \|", read("reference", "errors.md"), re.MULTILINE)
    listed = {code for row in rows for code in re.findall(r"`([a-z-]+)`", row)}
    assert listed == used


SAID = re.compile(
    r"""\blog\.(info|warning|error|critical|exception)\(\s*"([a-z_]+)"|\bLine\((?:Level\.)?(\w+)[^,]*, "([a-z_]+)\""""
)


def log_events() -> dict[str, set[str]]:
    """Event → the levels at which the code says it. The level of one that is said at several is worked out there."""
    found: dict[str, set[str]] = {}
    for file, text in sources("proxy").items():
        for level, event, computed, concern in SAID.findall(text):
            found.setdefault(event or concern, set()).add(level or computed.lower())
        if file == "proxy/cli/proxy.py":
            assert '"routing"' in text
            found["routing"] = {"info"}
    return found


def events_in(heading: str) -> set[str]:
    section = read("operating", "logs.md").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^(?:\| )?((?:`[a-z_]+`(?:, )?)+)(?: \||:)", section, re.MULTILINE)
    return {event for row in rows for event in re.findall(r"`([a-z_]+)`", row)}


def test_every_event_of_the_log_is_on_its_page_where_its_level_belongs():
    said = log_events()
    assert len(said) > 50
    ours = {event for event, levels in said.items() if "exception" in levels}
    record = {event for event, levels in said.items() if levels == {"info"}}
    assert events_in("A fault of ours") == ours
    assert events_in("For the record") == record
    assert events_in("What needs a person") == said.keys() - ours - record


@pytest.mark.parametrize("event", sorted(events_in("What needs a person")))
def test_a_line_of_the_log_that_needs_a_person_is_shown_by_a_test(event: str):
    tests = [path.read_text("utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py"))]
    assert any(f'"{event}"' in text for text in tests)


def rules_of_the_mirror() -> set[str]:
    return set(re.findall(r"^- \*\*([a-z-]+)\*\*", read("mirror.md"), re.MULTILINE))


def test_every_rule_of_the_mirror_is_told_by_its_name():
    rules = {
        name
        for file in ("lanes.py", "sweeps.py", "settle.py", "plain.py", "salvage.py")
        for name in re.findall(
            r"\*\*([a-z-]+)\*\*", (ROOT / "proxy" / "mirror" / file).read_text("utf-8").split('"""')[1]
        )
    }
    assert rules, "the modules name their rules"
    assert rules_of_the_mirror() == rules


@pytest.mark.parametrize("rule", sorted(rules_of_the_mirror()))
def test_a_rule_of_the_mirror_stands_where_it_acts_and_in_a_test(rule: str):
    """In the code beside the list at the head of its module, and in the name (or a word) of the test that breaks without it."""
    acts = [
        file
        for file, text in sources("proxy").items()
        if file.startswith(("proxy/mirror/", "proxy/control/", "proxy/kinds.py"))
        and re.search(rf"(?<![\w*-]){rule}(?![\w*-])", text)
    ]
    tested = [
        path.name
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if path.name != "test_docs.py"
        and re.search(rf"(?<![a-z]){rule.replace('-', '[_-]')}(?![a-z])", path.read_text("utf-8"))
    ]
    assert acts, "no line of proxy/mirror names it where it acts"
    assert tested, "no test names it"


def test_every_promise_has_its_heading():
    headings = re.findall(r"^## P(\d)", read("guarantees.md"), re.MULTILINE)
    assert headings == [str(number) for number in range(1, 10)]


def test_every_figure_in_the_guarantees_is_a_bound_of_the_code():
    from proxy import limits
    from proxy.control.switch import VALIDATION_AGE_S_MAX
    from proxy.mirror.gate import LAG_NOBODY_WAITS_S

    text = " ".join(read("guarantees.md").split()) + " ".join(read("mirror.md").split())
    for value, words in (
        (limits.JOURNAL_BODIES_BYTES_MAX == 256 << 20, "256 MiB"),
        (limits.JOURNAL_RESERVE_BYTES == 8 << 20, "less than 8 MiB is free"),
        (limits.KEPT_BODY_BYTES_MAX == limits.KEPT_ANSWER_BYTES_MAX == 1 << 20, "up to 1 MiB"),
        (limits.HELD_WRITES_MAX == 10_000, "10,000 of them at most"),
        (limits.MIRROR_LANES_AT_ONCE_MAX == 32, "side by side, 32 at most"),
        (limits.MIRROR_REPLAYS_PER_LANE_MAX == 16, "more than 16 accepted entries"),
        ((limits.MIRROR_BACKOFF_S_MIN, limits.MIRROR_BACKOFF_S_MAX) == (0.05, 2.0), "from 50 ms to 2 s"),
        (VALIDATION_AGE_S_MAX == 24 * 3600, "last 24 hours"),
        (LAG_NOBODY_WAITS_S == 1.0, "`lag_seconds` is above 1"),
    ):
        assert value, words
        assert words in text, words
