"""Each rule of docs/protocol.md has a test that bears its name, and no test names a rule that is not there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
RULES = set(
    re.findall(r"^- \*\*([A-Z][0-9]+)\*\*", (ROOT / "docs/protocol.md").read_text("utf-8"), re.MULTILINE)
)
TESTS = [
    name
    for file in (ROOT / "tests/protocol").glob("test_*.py")
    for name in re.findall(r"def test_([a-z0-9]+)_", file.read_text("utf-8"))
]


def test_each_rule_has_a_test():
    assert len(RULES) > 20
    assert {rule.lower() for rule in RULES} - set(TESTS) == set()


def test_each_test_names_a_rule():
    assert {name.upper() for name in TESTS} - RULES == set()
