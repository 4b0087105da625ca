"""pydantic's errors in our words, at their place in the text: what is wrong, and what would be right."""

from __future__ import annotations

import types
from collections.abc import Set as AbstractSet
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from proxy.settings.document import Document, Path
from proxy.settings.faults import Fault, suggestion
from proxy.settings.shape import NOT_YET, SettingsShape

Places = AbstractSet[tuple[int, int]]
"""Lines and columns."""


def shape_faults(error: ValidationError, document: Document, told: Places) -> list[Fault]:
    """Every fault that pydantic saw, but those of values whose fault has been told already."""
    found: list[Fault] = []
    for detail in error.errors(include_url=False):
        spot = document.spots.get(_path(detail))
        is_told = spot is not None and not told.isdisjoint(
            {(spot.line, spot.column), (spot.key_line, spot.key_column)}
        )
        if not is_told or detail["type"] == "extra_forbidden":
            found.append(_fault(detail, document))
    return found


def _path(detail: ErrorDetails) -> Path:
    """pydantic's location without what it adds for keys of mappings."""
    return tuple(part for part in detail["loc"] if part != "[key]")


def _fault(detail: ErrorDetails, document: Document) -> Fault:
    path = _path(detail)
    spot = document.nearest(path)
    name = str(path[-1]) if path else ""
    match detail["type"]:
        case "extra_forbidden":
            return Fault(spot.key_line, spot.key_column, _unknown(path))
        case "missing":
            inside = f" in `{path[-2]}`" if len(path) > 1 and isinstance(path[-2], str) else ""
            return Fault(spot.key_line, spot.key_column, f"`{name}` is missing{inside}")
        case _:
            is_name = detail["loc"] != path
            line, column = (spot.key_line, spot.key_column) if is_name else (spot.line, spot.column)
            return Fault(line, column, _wrong(detail, name) + _variables(document, path))


def _variables(document: Document, path: Path) -> str:
    spot = document.spots.get(path)
    return f" (from {', '.join(spot.variables)})" if spot is not None and spot.variables else ""


def _unknown(path: Path) -> str:
    name = str(path[-1])
    if name in NOT_YET:
        return f"not yet: `{name}`: {NOT_YET[name]}"
    return f"unknown key `{name}`{suggestion(name, _keys_at(path[:-1]))}"


def _wrong(detail: ErrorDetails, name: str) -> str:
    given: object = detail["input"]
    context = detail.get("ctx", {})
    subject = f"`{name}`" if name and not name.isdigit() else "this value"
    match detail["type"]:
        case "turnout":
            return detail["msg"]
        case "bool_type":
            return f"{subject} is `true` or `false`"
        case "string_type":
            if isinstance(given, dict | list):
                return f"{subject} is text, not {'a mapping' if isinstance(given, dict) else 'a list'}"
            return f'{subject} is text: put it in quotes, "{_yaml_word(given)}"'
        case "string_too_short":
            return f"{subject} must not be empty"
        case "int_type" | "int_from_float":
            return f"{subject} is a whole number"
        case "greater_than_equal":
            return f"{subject} is at least {context.get('ge')}"
        case "less_than_equal":
            return f"{subject} is at most {context.get('le')}"
        case "list_type":
            return f"{subject} is a list: write it as `[…]`"
        case "too_short":
            return f"{subject} needs at least one item"
        case "dict_type" | "model_type":
            return (
                f"{subject} is a mapping: `key: value`"
                if name
                else "the file is a mapping: `version: 1` and so on"
            )
        case "literal_error":
            return _not_literal(subject, given, str(context.get("expected", "")))
        case _:
            return f"{subject}: {detail['msg'].lower()}"


def _not_literal(subject: str, given: object, expected: str) -> str:
    words = expected.replace("'", "").replace(" or ", ", ").split(", ")
    if isinstance(given, str):
        return f"{subject} cannot be `{given}`{suggestion(given, words)}"
    return f"{subject} is {' or '.join(f'`{word}`' for word in words)}"


def _yaml_word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _keys_at(path: Path) -> list[str]:
    """The keys that the mapping at a path may have, from the shapes themselves."""
    kind: Any = SettingsShape
    for part in path:
        kind = _plain_type(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(part))
            if field is None:
                return []
            kind = field.annotation
        elif get_origin(kind) in (list, dict):
            kind = get_args(kind)[-1]
        else:
            return []
    kind = _plain_type(kind)
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def _plain_type(kind: Any) -> Any:
    """Without ``Annotated`` and ``| None`` around it."""
    while True:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        elif get_origin(kind) in (Union, types.UnionType):
            kind = next(arg for arg in get_args(kind) if arg is not type(None))
        else:
            return kind
