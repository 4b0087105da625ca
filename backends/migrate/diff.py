"""The difference of two JSON values down to the field: where (a JSON pointer, RFC 6901) and of what kind. Pure.

The first value is the primary's, the second the secondary's. Numbers are compared by their text too, objects by the order of
their keys too, since records are equal only when their bytes are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import islice
from typing import Any, Final, TypeGuard

FIELDS_MAX: Final = 50
SHOWN_CHARS_MAX: Final = 200
SHOWN_LEVELS_MAX: Final = 6


class Kind(StrEnum):
    """What is different at a place."""

    VALUE = "value"
    """Both have one of the same type, and another value."""
    TYPE = "type"
    MISSING = "missing"
    """The secondary lacks the field or item."""
    EXTRA = "extra"
    """Only the secondary has it."""
    NULL_VS_MISSING = "null-vs-missing"
    """One has null where the other has no such field."""
    NUMBER_TEXT = "number-text"
    """The same number, written otherwise (1.0 and 1)."""
    KEY_ORDER = "key-order"
    ENCODING = "encoding"
    """The same value in other bytes: blanks, or escapes."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One place that differs. ``primary`` and ``secondary`` are JSON texts, cut at SHOWN_CHARS_MAX; None where there is nothing."""

    pointer: str
    kind: Kind
    primary: str | None = None
    secondary: str | None = None

    def as_json(self) -> dict[str, object]:
        """As reports show it."""
        told: dict[str, object] = {"pointer": self.pointer, "kind": self.kind.value}
        if self.primary is not None:
            told["primary"] = self.primary
        if self.secondary is not None:
            told["secondary"] = self.secondary
        return told


class _Number(str):
    """A JSON number as it is written."""

    __slots__ = ()


class _Nothing:
    """No value at all: not null."""


_NOTHING: Final = _Nothing()


def record_differences(primary: bytes, secondary: bytes, limit: int = FIELDS_MAX) -> list[Difference]:
    """At most ``limit`` differences of two bodies. None exactly where the bytes are equal. ValueError where one is no JSON."""
    if primary == secondary:
        return []
    kind = Kind.ENCODING
    try:
        found = list(islice(_walk(_parse(primary), _parse(secondary)), limit))
    except RecursionError:
        found, kind = [], Kind.VALUE
    whole = Difference("", kind, _cut(_lenient(primary)), _cut(_lenient(secondary)))
    return found or [whole][:limit]


def differences(primary: Any, secondary: Any, limit: int = FIELDS_MAX) -> list[Difference]:
    """At most ``limit`` differences of two parsed JSON values."""
    return list(islice(_walk(_texted(primary), _texted(secondary)), limit))


def _walk(primary: Any, secondary: Any) -> Iterator[Difference]:
    """Differences in the primary's order, without recursion: files may nest deeper than Python's stack."""
    waiting: list[tuple[str, Any, Any]] = [("", primary, secondary)]
    while waiting:
        pointer, left, right = waiting.pop()
        if _is_object(left) and _is_object(right):
            if _is_reordered(left, right):
                yield Difference(pointer, Kind.KEY_ORDER, _keys(left), _keys(right))
            names = [*left, *(name for name in right if name not in left)]
            waiting += [
                (f"{pointer}/{_escaped(name)}", left.get(name, _NOTHING), right.get(name, _NOTHING))
                for name in reversed(names)
            ]
        elif _is_array(left) and _is_array(right):
            longest = max(len(left), len(right))
            waiting += [
                (f"{pointer}/{place}", _item(left, place), _item(right, place))
                for place in reversed(range(longest))
            ]
        else:
            kind = _kind(left, right)
            if kind is not None:
                yield Difference(pointer, kind, _shown(left), _shown(right))


def _kind(left: Any, right: Any) -> Kind | None:
    """Of two values that are not both objects or both arrays."""
    if left is _NOTHING or right is _NOTHING:
        if left is None or right is None:
            return Kind.NULL_VS_MISSING
        return Kind.EXTRA if left is _NOTHING else Kind.MISSING
    if type(left) is not type(right):
        return Kind.TYPE
    if left == right:
        return None
    if isinstance(left, _Number):
        return Kind.NUMBER_TEXT if _is_same_number(left, str(right)) else Kind.VALUE
    return Kind.VALUE


def _is_same_number(left: str, right: str) -> bool:
    """Compared exactly, whatever the number of digits."""
    return Decimal(left) == Decimal(right)


def _is_reordered(left: dict[str, Any], right: dict[str, Any]) -> bool:
    """Whether the keys that both have come in another order."""
    return [name for name in left if name in right] != [name for name in right if name in left]


def _keys(value: dict[str, Any]) -> str:
    return _cut(json.dumps(list(value), ensure_ascii=False))


def _item(items: list[Any], place: int) -> Any:
    return items[place] if place < len(items) else _NOTHING


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_array(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _parse(body: bytes) -> Any:
    return json.loads(body, parse_int=_Number, parse_float=_Number, parse_constant=_Number)


def _texted(value: Any) -> Any:
    return _parse(json.dumps(value).encode())


def _shown(value: Any) -> str | None:
    return None if value is _NOTHING else _cut(_text(value, SHOWN_LEVELS_MAX))


def _text(value: Any, levels: int) -> str:
    """Compact JSON; numbers as they are written, deep levels left out."""
    if isinstance(value, _Number):
        return str(value)
    if value and not levels and (_is_object(value) or _is_array(value)):
        return "…"
    if _is_object(value):
        pairs = islice(value.items(), SHOWN_CHARS_MAX)
        return (
            "{"
            + ",".join(
                f"{json.dumps(name, ensure_ascii=False)}:{_text(item, levels - 1)}" for name, item in pairs
            )
            + "}"
        )
    if _is_array(value):
        return "[" + ",".join(_text(item, levels - 1) for item in islice(value, SHOWN_CHARS_MAX)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 1] + "…"


def _lenient(body: bytes) -> str:
    return body.decode("utf-8", "backslashreplace")
