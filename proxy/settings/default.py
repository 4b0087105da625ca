"""The routing.yaml that Turnout ships, and the environment that its ``${…}`` are filled from."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

_PACKAGED = Path(__file__).parent.parent / "assets" / "routing.yaml"
_IN_REPOSITORY = Path(__file__).parent.parent.parent / "config" / "routing.yaml"

ENV_FILE = ".env.local"
_ASSIGNMENT = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)\Z")


def default_text() -> str:
    """The default routing.yaml, with its comments: from the installed package, or from a checkout."""
    found = _PACKAGED if _PACKAGED.exists() else _IN_REPOSITORY
    return found.read_text("utf-8")


def environment(folder: Path, real: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables of ``.env.local`` in a folder, where it is there, and the real ones, which win."""
    try:
        text = (folder / ENV_FILE).read_text("utf-8")
    except FileNotFoundError:
        return dict(real)
    return {**parse_env(text), **real}


def parse_env(text: str) -> dict[str, str]:
    """``NAME=value`` lines as compose reads them: ``#`` comments, ``export``, quotes taken off. Other lines are passed over."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        assignment = _ASSIGNMENT.match(line.strip())
        if assignment is None:
            continue
        name, value = assignment[1], assignment[2].strip()
        quote = value[:1]
        if quote in ("'", '"') and value.find(quote, 1) > 0:
            value = value[1 : value.find(quote, 1)]
        else:
            value = re.split(r"(?:^|\s)#", value, maxsplit=1)[0].rstrip()
        found[name] = value
    return found
