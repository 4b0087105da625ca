"""The one-scalar edit: what was asked is there, and every other byte is where it was."""

from __future__ import annotations

from typing import cast

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from proxy.settings.default import default_text
from proxy.settings.edit import put_always, set_scalar
from proxy.settings.load import load
from proxy.settings.tree import CannotEditError

TEXT = """\
# ahead
version: 1   # one
upstreams:
  json: {endpoints: ["http://127.0.0.1:3002"]}
  postgres:
    endpoints:
    - http://127.0.0.1:3003
primary: json # who

canary:
    # inside
    enabled: false   # off
    always:
    # before the first
    - {header: X-A, exact: b}

    weight: 10
# behind
mirror:
  answer_timeout: "500ms"
  enabled: ${DUAL_WRITE:-true}
"""


@pytest.mark.parametrize(
    ("path", "value", "before", "after"),
    [
        (("primary",), "postgres", "primary: json # who", "primary: postgres # who"),
        (("canary", "enabled"), "true", "enabled: false   # off", "enabled: true   # off"),
        (("canary", "weight"), "2.5", "    weight: 10\n", "    weight: 2.5\n"),
        (("mirror", "answer_timeout"), "1s", '"500ms"', "1s"),
        (("canary", "sticky"), "cookie", "    weight: 10\n", "    weight: 10\n    sticky: cookie\n"),
        (("canary", "x", "y"), "1", "    weight: 10\n", "    weight: 10\n    x: {y: 1}\n"),
        (("upstreams", "json", "health", "path"), "/ok", '3002"]}', '3002"], health: {path: /ok}}'),
        (("upstreams", "postgres", "x"), "1", "3003\n", "3003\n    x: 1\n"),
        (("shadow", "sample"), "0", ":-true}\n", ":-true}\nshadow: {sample: 0}\n"),
        (("primary",), "a: b # c", "primary: json # who", 'primary: "a: b # c" # who'),
        (("primary",), "${X}", "primary: json # who", 'primary: "$${X}" # who'),
        (("primary",), "a\nb", "primary: json # who", 'primary: "a\\nb" # who'),
        (("primary",), "", "primary: json # who", 'primary: "" # who'),
    ],
)
def test_an_edit_changes_its_own_bytes_only(
    path: tuple[str, ...], value: str, before: str, after: str
) -> None:
    assert TEXT.count(before) == 1
    assert set_scalar(TEXT, path, value) == TEXT.replace(before, after)


def test_windows_line_ends_stay() -> None:
    text = TEXT.replace("\n", "\r\n")
    assert set_scalar(text, ("canary", "sticky"), "ip") == text.replace(
        "weight: 10\r\n", "weight: 10\r\n    sticky: ip\r\n"
    )
    assert put_always(text, "X-B", "c").count("\n") == text.count("\n") + 1


def test_a_file_without_a_last_line_end_gets_its_new_line_all_the_same() -> None:
    assert set_scalar("version: 1\nprimary: a", ("canary", "enabled"), "true") == (
        "version: 1\nprimary: a\ncanary: {enabled: true}"
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("canary:\n  always:\n  - {a: b}\n", 'canary:\n  always:\n  - ITEM\n  - {a: b}\n'),
        ("canary:\n  always:\n    # c\n    - a: b\n", "canary:\n  always:\n    # c\n    - ITEM\n    - a: b\n"),
        ("canary:\n  always: []\n", "canary:\n  always: [ITEM]\n"),
        ("canary:\n  always: [ {a: b} ]\n", "canary:\n  always: [ITEM,  {a: b} ]\n"),
        ("canary:\n  always:   # none\n", "canary:\n  always: [ITEM]   # none\n"),
        ("canary:\n  always: ~\n", "canary:\n  always: [ITEM]\n"),
        ("canary:\n  weight: 1 # x\n", "canary:\n  weight: 1 # x\n  always: [ITEM]\n"),
        ("canary: {weight: 1}\n", "canary: {weight: 1, always: [ITEM]}\n"),
        ("canary: {}\n", "canary: {always: [ITEM]}\n"),
        ("version: 1\n", "version: 1\ncanary: {always: [ITEM]}\n"),
    ],
)  # fmt: skip
def test_a_match_is_put_first_whatever_the_layout(before: str, after: str) -> None:
    item = '{header: X-Canary, exact: "canary=true"}'
    assert put_always(before, "X-Canary", "canary=true") == after.replace("ITEM", item)


def test_a_match_that_is_there_already_changes_nothing() -> None:
    assert put_always(TEXT, "x-a", "b") == TEXT
    text = default_text()
    assert put_always(text, "X-Canary", "canary=true") == text


def test_the_three_edits_of_canary_enable_leave_a_file_that_loads() -> None:
    text = put_always(default_text(), "X-Tester", "on")
    text = set_scalar(set_scalar(text, ("canary", "enabled"), "true"), ("canary", "weight"), "25")
    canary = load(text, {}, "x").shape.canary
    assert (canary.enabled, canary.weight, canary.always[0].header, canary.always[0].exact) == (
        True,
        2500,
        "X-Tester",
        "on",
    )
    kept = [line for line in text.splitlines() if line in default_text().splitlines()]
    assert len(kept) == len(default_text().splitlines()) - 2


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        (TEXT, ("mirror", "enabled"), "from the environment"),
        ("a: &x 1\nb: *x\n", ("a",), "shared by an anchor"),
        ("a: &x 1\nb: *x\n", ("b",), "shared by an anchor"),
        ("a: &x {c: 1}\nb: *x\n", ("b", "c"), "shared by an anchor"),
        ("a: &x {c: 1}\nb: *x\n", ("b", "d"), "shared by an anchor"),
        ("a: !!str 1\n", ("a",), "tag"),
        ("a: |\n  x\n", ("a",), "a block of text"),
        ("a: [1]\n", ("a",), "not a single value"),
        ("a: 1\n", ("a", "b"), "not a mapping"),
        ("a: 1\na: 2\n", ("a",), "given twice"),
        ("a: [\n", ("a",), "not YAML"),
        ("- 1\n", ("a",), "no settings"),
        ("", ("a",), "no settings"),
    ],
)
def test_what_cannot_be_edited_in_place_is_refused(text: str, path: tuple[str, ...], words: str) -> None:
    with pytest.raises(CannotEditError, match=words):
        set_scalar(text, path, "true")


@pytest.mark.parametrize(
    "text",
    ["canary: {always: 1}\n", "canary: {always: &x []}\n", 'canary: {always: "${X}"}\n', "canary: [\n"],
)
def test_a_match_is_not_put_where_the_list_is_not_the_files_own(text: str) -> None:
    with pytest.raises(CannotEditError):
        put_always(text, "X", "y")


# -- any text: what comes back says what was asked, and the old bytes around the change are all there -----------------

WORDS = st.text(
    alphabet=st.characters(
        exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029\ufeff\ufffe\uffff"
    ),
    max_size=12,
)
KEYS = st.sampled_from(["canary", "enabled", "weight", "x"])
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-5, 500),
    WORDS.filter(lambda word: "${" not in word and ".nan" not in word.lower()),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.dictionaries(KEYS, inner, max_size=4), st.lists(inner, max_size=3)),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(KEYS, TREES, min_size=1, max_size=4)
COMMENTS = st.sampled_from(["", "# c", "#: {", "# 'x"])


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A YAML text in one of the layouts that people write, with comments and empty lines strewn in where they may be."""
    flow = draw(st.sampled_from([None, False, True]))
    dumped = yaml.safe_dump(
        draw(MAPPINGS),
        default_flow_style=flow,
        allow_unicode=True,
        indent=draw(st.integers(2, 4)),
        width=10_000,
    )
    lines: list[str] = []
    for line in dumped.splitlines():
        comment = draw(COMMENTS)
        lines.append(f"{line}  {comment}" if comment and draw(st.booleans()) else line)
        if draw(st.integers(0, 4)) == 0:
            lines += ["", comment]
    end = draw(st.sampled_from(["\n", "\r\n"]))
    return end.join(lines) + draw(st.sampled_from(["", end]))


def replaced(before: str, after: str) -> str:
    """What of ``before`` is not in ``after``: between the start that both share and the end that both share."""
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    return before[start : len(before) - end]


def at(value: object, path: tuple[str, ...]) -> object:
    """What is there; None where nothing is, and ... where something else than a mapping is in the way."""
    for name in path:
        if not isinstance(value, dict):
            return ...
        if name not in value:
            return None
        value = cast("dict[str, object]", value)[name]
    return value


def put(value: object, path: tuple[str, ...], new: object) -> object:
    if not path:
        return new
    mapping = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    return {**mapping, path[0]: put(mapping.get(path[0]), path[1:], new)}


def plain(word: str) -> object:
    try:
        return yaml.safe_load(f"- {word}")[0]
    except (yaml.YAMLError, ValueError):
        return None


@settings(max_examples=60, deadline=None)
@given(texts(), st.lists(KEYS, min_size=1, max_size=3), SCALARS)
def test_an_edit_of_any_text_says_what_was_asked_and_keeps_the_rest(
    text: str, keys: list[str], value: object
) -> None:
    path = tuple(keys)
    old = yaml.safe_load(text)
    there = at(old, path)
    assume("${" not in text and there is not ... and not isinstance(there, dict | list))
    word = str(value).lower() if isinstance(value, bool) else str(value)
    after = set_scalar(text, path, word)
    new = yaml.safe_load(after)
    found = at(new, path)
    assert found in ((value, plain(value)) if isinstance(value, str) else (value,))
    assert put(old, path, found) == new
    gone = replaced(text, after)
    assert "\n" not in gone
    assert gone == "" or there is not None


@pytest.mark.parametrize("sign", ["=", "<<"])
def test_a_sign_that_yaml_takes_for_no_value_is_put_in_quotes(sign: str) -> None:
    assert yaml.safe_load(set_scalar("canary: 1\n", ("canary",), sign)) == {"canary": sign}
    assert yaml.safe_load(set_scalar("a: 1\n", ("canary", "sticky"), sign)) == {
        "a": 1,
        "canary": {"sticky": sign},
    }


@settings(max_examples=60, deadline=None)
@given(texts(), WORDS.filter(bool), WORDS)
def test_a_match_put_into_any_text_is_first_and_read_as_it_was_typed(
    text: str, header: str, value: str
) -> None:
    old = yaml.safe_load(text)
    there = at(old, ("canary", "always"))
    assume("${" not in text and "${" not in header + value and there is not ...)
    after = put_always(text, header, value)
    new = yaml.safe_load(after)
    assert new["canary"]["always"][0] == {"header": header, "exact": value}
    assert put(old, ("canary", "always"), new["canary"]["always"]) == new
    assert replaced(text, after) == ""
