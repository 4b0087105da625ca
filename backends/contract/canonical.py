"""Canonical JSON: the first server that accepts a record parses, checks and encodes it once (DESIGN section 8).

From then on the bytes are opaque: kept, mirrored and hashed as they are. ``parse_object`` is strict, for clients'
writes; ``parse_tolerant`` takes what people's files already hold.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from backends.contract.problems import bad_json, unstorable

DEPTH_MAX: Final = 200
DIGITS_MAX: Final = 4300
"""Python's own bound on turning text into an integer."""

SERVER_FIELDS: Final = ("created_at", "updated_at")

_SURROGATE = re.compile("[\ud800-\udfff]")


class _TwiceError(ValueError):
    """A key given twice in one object."""


class _BeyondError(ValueError):
    """A number that no double holds."""


def parse_object(raw: bytes) -> dict[str, Any]:
    """A client's body. Problem bad-json (not JSON, not an object, a key twice) or unstorable."""
    value = _parse(raw, _no_twice)
    if not isinstance(value, dict):
        raise bad_json("The body must be a JSON object.")
    record: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
    _check_storable(raw, record)
    return record


def parse_tolerant(raw: bytes) -> Any:
    """A value that another file or server holds already: of a key given twice the last wins, odd strings stay.

    Raises Problem where it is no JSON or a number cannot be kept.
    """
    return _parse(raw, None)


def _parse(raw: bytes, pairs_hook: Any) -> Any:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise bad_json(f"The body is not UTF-8 (byte {error.start}).") from None
    try:
        return json.loads(text, object_pairs_hook=pairs_hook, parse_float=number, parse_constant=_no_constant)
    except _TwiceError as error:
        raise bad_json(f"The key {error.args[0]!r} is given twice in one object.") from None
    except _BeyondError as error:
        raise unstorable(f"The number {error.args[0][:40]} is beyond what a double holds.") from None
    except json.JSONDecodeError as error:
        raise bad_json(f"Not JSON: {error.msg}, line {error.lineno}, column {error.colno}.") from None
    except RecursionError:
        raise unstorable(f"Nested deeper than {DEPTH_MAX} levels.") from None
    except ValueError:
        raise unstorable(f"An integer has more than {DIGITS_MAX} digits.") from None


def check_depth(raw: bytes, value: object) -> None:
    """Problem unstorable where ``value``, written as ``raw``, is nested deeper than any part of a server will follow it.

    It needs a walk, which the brackets in ``raw`` spare nearly every body.
    """
    if raw.count(b"[") + raw.count(b"{") > DEPTH_MAX and _depth_exceeds(value, DEPTH_MAX):
        raise unstorable(f"Nested deeper than {DEPTH_MAX} levels.")


def encode(value: Any) -> bytes:
    """The one encoder. Code points that are no scalar value (only files can bring them) stay escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub(lambda found: f"\\u{ord(found.group()):04x}", text).encode()


def encode_record(record_id: str | int, fields: Mapping[str, Any], stamps: Mapping[str, Any]) -> bytes:
    """A record's body: ``id`` first, the fields in their order, then ``created_at`` and ``updated_at`` of ``stamps``.

    What ``fields`` says of these three does not count.
    """
    record: dict[str, Any] = {"id": record_id}
    record.update(
        (name, value) for name, value in fields.items() if name != "id" and name not in SERVER_FIELDS
    )
    for name in SERVER_FIELDS:
        if name in stamps:
            record[name] = stamps[name]
    return encode(record)


def number(text: str) -> float:
    """A JSON number with a fraction or exponent; -0.0 becomes 0.0. ValueError where it would be infinite."""
    value = float(text)
    if math.isinf(value):
        raise _BeyondError(text)
    return value + 0.0


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _TwiceError(name)
            seen.add(name)
    return record


def _no_constant(text: str) -> Any:
    raise json.JSONDecodeError(f"{text} is no JSON value", text, 0)


def _check_storable(raw: bytes, value: object) -> None:
    check_depth(raw, value)
    if b"\\u" in raw:  # only an escape brings an odd code point into UTF-8
        _check_strings(value)


def _depth_exceeds(value: Any, levels: int) -> bool:
    """Whether objects and arrays stand in each other more than ``levels`` deep."""
    layer = [value]
    for _ in range(levels):
        layer = [
            item
            for holder in layer
            for item in (holder.values() if isinstance(holder, dict) else holder)  # pyright: ignore[reportUnknownVariableType]
            if isinstance(item, dict | list)
        ]
        if not layer:
            return False
    return True


def _check_strings(value: Any) -> None:
    if isinstance(value, str):
        if "\x00" in value:
            raise unstorable("A string holds \\u0000, which PostgreSQL cannot store.")
        if _SURROGATE.search(value):
            raise unstorable("A string holds half of a surrogate pair, which UTF-8 cannot write.")
    elif isinstance(value, dict):
        for name, item in value.items():  # pyright: ignore[reportUnknownVariableType]
            _check_strings(name)
            _check_strings(item)
    elif isinstance(value, list):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            _check_strings(item)
