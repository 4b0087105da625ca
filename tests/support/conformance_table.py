"""Writes the table of docs/conformance.md from what the suite found: `python -m tests.support.conformance_table FOLDER`.

FOLDER holds turnout.json, haproxy.json and nginx.json, as `pytest tests/conformance --gateway NAME --outcomes FILE` wrote them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

NAMES = ("turnout", "haproxy", "nginx")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"
BEGIN, END = "<!-- table: make conformance-peers -->", "<!-- /table -->"
_CASE = re.compile(r"::test_(?:(\d{4}))?_?((?:\d+_)*)(\w+?)(?:\[(.*)\])?$")


def case_of(node: str) -> tuple[str, str, str]:
    """RFC and section, the case in words, and which of its inputs."""
    match = _CASE.search(node)
    assert match is not None, node
    rfc, section, words, which = match.groups()
    place = f"{rfc} {section.strip('_').replace('_', '.')}".strip() if rfc else ""
    return place, words.replace("_", " "), which or ""


def rows(outcomes: dict[str, dict[str, str]]) -> Iterable[str]:
    """One a case: a plain yes or no, or how many of its inputs."""
    cases: dict[tuple[str, str], list[str]] = {}
    for node in outcomes["haproxy"]:  # what a peer can be asked
        place, words, _ = case_of(node)
        cases.setdefault((place, words), []).append(node)
    for (place, words), nodes in sorted(cases.items(), key=lambda item: (numbers(item[0][0]), item[0][1])):
        cells = [cell([outcomes[name].get(node, "missing") for node in nodes]) for name in NAMES]
        yield f"| {place} | {words} | " + " | ".join(cells) + " |"


def numbers(place: str) -> list[int]:
    """9110 7.6.1 comes before 9110 15; what has no section comes last."""
    return [int(number) for number in re.findall(r"\d+", place)] or [99999]


def cell(found: list[str]) -> str:
    good = found.count("passed")
    if len(found) == 1:
        return "yes" if good else "**no**"
    return f"{good}" if good == len(found) else f"**{good} of {len(found)}**"


def main(folder: Path) -> None:
    outcomes = {name: json.loads((folder / f"{name}.json").read_text()) for name in NAMES}
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    asked = {name: [outcomes[name].get(node) for node in outcomes["haproxy"]] for name in NAMES}
    totals = " | ".join(f"{asked[name].count('passed')} of {len(asked[name])}" for name in NAMES)
    table = [
        "| RFC, section | case | Turnout | HAProxy | nginx |",
        "|---|---|---|---|---|",
        *rows(outcomes),
        f"| | **all inputs of all cases** | {totals} |",
    ]
    PAGE.write_text(f"{before}{BEGIN}\n" + "\n".join(table) + f"\n{END}{after}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
