"""Settings that an act put in place of the file's: one value each, by its dotted path (DESIGN section 4, "Who decides").

An override is text, as the file would say it: ``true``, ``10``, ``json``, or JSON for lists. It is laid over what the file
says before anything is checked, so it is held to the same rules as the file. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from proxy.settings.document import resolved

DEFAULTS: Mapping[str, object] = {
    "canary.enabled": False,
    "canary.weight": 0,
    "canary.always": [],
    "mirror.enabled": True,
}
"""What a file means that does not say it, for the settings that have verbs of their own."""

ABSENT = "null"
"""Of any other setting that the file does not say."""


def spoken(value: object) -> str:
    """A value as text; equal values have equal texts."""
    if isinstance(value, str):
        return value if resolved(value) == value and value[:1] not in '[{"' else json.dumps(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def heard(text: str) -> object:
    """The value that a text speaks of."""
    if text[:1] in ("[", "{", '"'):
        return json.loads(text)
    return resolved(text)


def said_at(value: object, path: str) -> str:
    """What the values of a file say at a dotted path, as text; the default where they say nothing."""
    here = value
    for name in path.split("."):
        if not isinstance(here, dict) or name not in here:
            return spoken(DEFAULTS[path]) if path in DEFAULTS else ABSENT
        here = cast("dict[str, object]", here)[name]
    return spoken(here)


def laid_over(value: object, overrides: Mapping[str, str]) -> object:
    """The values with each override in its place; mappings on the way are made where they are missing."""
    for path, text in overrides.items():
        value = _with(value, path.split("."), heard(text))
    return value


def _with(value: object, names: list[str], new: object) -> object:
    if not names:
        return new
    mapping = dict(cast("dict[str, object]", value)) if isinstance(value, dict) else {}
    mapping[names[0]] = _with(mapping.get(names[0]), names[1:], new)
    return mapping
