"""The kinds of values that settings have, for pydantic: how each is checked, and what an editor is told of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from proxy.model import Endpoint, Sticky, StickyBy
from proxy.settings import scalars
from proxy.settings.faults import suggestion
from proxy.settings.scalars import refuse


@dataclass(frozen=True, slots=True)
class Duration:
    """Metadata of a ``float`` in seconds that is written as ``500ms``; both bounds are allowed."""

    least: str
    most: str

    def check(self, value: object) -> float:
        seconds = scalars.duration_s(value)
        if not scalars.duration_s(self.least) <= seconds <= scalars.duration_s(self.most):
            refuse(f"`{value}` is out of range: from {self.least} to {self.most}")
        return seconds

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {
            "type": "string",
            "pattern": scalars.DURATION_PATTERN,
            "description": f"A duration from {self.least} to {self.most}.",
        }


@dataclass(frozen=True, slots=True)
class Size:
    """Metadata of an ``int`` in bytes that is written as ``64KiB``; both bounds are allowed."""

    least: str
    most: str

    def check(self, value: object) -> int:
        octets = scalars.size_bytes(value)
        if not scalars.size_bytes(self.least) <= octets <= scalars.size_bytes(self.most):
            refuse(f"`{value}` is out of range: from {self.least} to {self.most}")
        return octets

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {
            "type": "string",
            "pattern": scalars.SIZE_PATTERN,
            "description": f"A size from {self.least} to {self.most}.",
        }


def _path(value: str) -> str:
    """A literal path, as people read it: decoded, absolute."""
    if not value.startswith("/"):
        refuse(f"`{value}` is no path: did you mean `/{value}`?")
    if any(character in value for character in "?#") or any(ord(c) <= 0x20 or ord(c) == 0x7F for c in value):
        refuse(f"`{value}` is more than a path: no query, fragment or space belongs here")
    return value


def _glob(value: str) -> str:
    _path(value)
    if "*" in value.removesuffix("/*"):
        refuse(f"`{value}`: a `*` may stand only at the end, as `/*`")
    if re.search(r"%[0-9A-Fa-f]{2}", value):
        refuse(f"`{value}`: paths are matched decoded; write the characters themselves")
    if "//" in value or any(segment in (".", "..") for segment in value.split("/")):
        refuse(f"`{value}` can never match: no path has `//`, `.` or `..` when it is looked at")
    return value


def _template(value: str) -> str:
    _path(value)
    segments = value.split("/")[1:]
    names = [segment for segment in segments if "{" in segment or "}" in segment]
    if (
        "*" in value
        or "" in segments
        or any(not re.fullmatch(r"\{[A-Za-z_][A-Za-z0-9_]*\}", name) for name in names)
    ):
        refuse(f"`{value}` is no key template: whole segments, such as `/api/{{collection}}/{{id}}`")
    if not names or segments[-1] != names[-1]:
        refuse(f"`{value}`: the last segment must be the record's own, such as `{{id}}`")
    if len(set(names)) != len(names):
        refuse(f"`{value}`: each placeholder needs a name of its own")
    return value


def _method(value: str) -> str:
    if not scalars.is_token(value):
        refuse(f"`{value}` is no method")
    if value != value.upper():
        refuse(f"`{value}`: methods are case-sensitive; did you mean `{value.upper()}`?")
    return value


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        refuse(f"`{value}` is no regular expression: {error}")
    return value


def _line(value: str) -> str:
    if any(ord(character) < 0x20 and character != "\t" for character in value) or "\x7f" in value:
        refuse("no request carries a value with line breaks or other control characters")
    return value


def _header_value(value: str) -> str:
    if any(ord(character) > 0xFF for character in _line(value)) or value != value.strip():
        refuse("a header's value has no space around it, and only characters up to ÿ")
    return value


def _sticky(value: object) -> Sticky:
    words = [by.value for by in StickyBy if by is not StickyBy.HEADER]
    if isinstance(value, dict):
        entries: dict[object, object] = {**value}
        if set(entries) != {"header"}:
            refuse("a sticky mapping has one key: `{header: X-User-Id}`")
        return Sticky(StickyBy.HEADER, scalars.token(entries["header"]).lower())
    if value == StickyBy.HEADER:
        refuse("which header? write it as `{header: X-User-Id}`")
    if not isinstance(value, str) or value not in words:
        refuse(f"`{value}` is no way to stick{suggestion(str(value), words)} Or `{{header: X-User-Id}}`")
    return Sticky(StickyBy(value))


def _present(value: object) -> bool:
    if value is not True:
        refuse("`present` can only be `true`; leave it out to test the value")
    return True


PathText = Annotated[str, AfterValidator(_path)]
Glob = Annotated[
    str, AfterValidator(_glob), WithJsonSchema({"type": "string", "pattern": r"^/([^*]*/\*|[^*]*)$"})
]
Template = Annotated[str, AfterValidator(_template)]
Method = Annotated[
    str, AfterValidator(_method), WithJsonSchema({"type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Z-]+$"})
]
Regex = Annotated[str, AfterValidator(_pattern), WithJsonSchema({"type": "string", "format": "regex"})]
LineText = Annotated[str, AfterValidator(_line)]
HeaderValue = Annotated[str, AfterValidator(_header_value)]
Token = Annotated[
    str, PlainValidator(scalars.token), WithJsonSchema({"type": "string", "pattern": scalars.TOKEN_PATTERN})
]
Cidr = Annotated[str, PlainValidator(scalars.cidr), WithJsonSchema({"type": "string"})]
EndpointUrl = Annotated[
    Endpoint,
    PlainValidator(scalars.endpoint),
    WithJsonSchema({"type": "string", "pattern": "^https?://[^/]+/?$"}),
]
Percent = Annotated[
    int,
    PlainValidator(scalars.percent_bp),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 100, "multipleOf": 0.01}),
]
"""Hundredths of a percent."""
Present = Annotated[bool, PlainValidator(_present), WithJsonSchema({"const": True})]
StickyKind = Annotated[
    Sticky,
    PlainValidator(_sticky),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["none", "cookie", "ip"]},
                {
                    "type": "object",
                    "properties": {"header": {"type": "string", "pattern": scalars.TOKEN_PATTERN}},
                    "required": ["header"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
