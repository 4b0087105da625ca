"""Reads fields out of the admin API's answers: typed, with a default, so that an older or newer proxy still shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast


def text(source: Mapping[str, object], name: str, default: str = "") -> str:
    value = source.get(name)
    return default if value is None else str(value)


def number(source: Mapping[str, object], name: str) -> float:
    value = source.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def flag(source: Mapping[str, object], name: str) -> bool:
    return source.get(name) is True


def mapping(source: Mapping[str, object], name: str) -> dict[str, object]:
    value = source.get(name)
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def items(source: Mapping[str, object], name: str) -> list[object]:
    value = source.get(name)
    return cast("list[object]", value) if isinstance(value, list) else []


def mappings(source: Mapping[str, object], name: str) -> list[dict[str, object]]:
    return [cast("dict[str, object]", value) for value in items(source, name) if isinstance(value, dict)]


def words(source: Mapping[str, object], name: str) -> list[str]:
    return [str(value) for value in items(source, name)]
