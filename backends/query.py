"""What a list asks for, and how it is answered: filters, order and window over records, pure.

Both stores evaluate a Query with :class:`Selection` (or push down only what is provably the same), so
that a list gives the same rows in the same order on both. The text of a URL becomes a Query in
backends/contract/querystring.py.

Values are compared by the *stored* type (DESIGN section 8): ``price=10`` finds the number 10 in one
record and the string "10" in another. The total order is
missing < null < false < true < number < string (code points) < array < object, then id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

ROWS_MAX = 1000
"""Rows of one answer (DESIGN section 8)."""

MISSING: Final = object()
"""What a path finds where a record has no such field; unlike null."""

INDEX_DIGITS_MAX = 9
"""Of a place in an array, in a dotted path."""

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,4299})\Z")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\Z")


class QueryError(Exception):
    """The query cannot be answered as it was asked (400 bad-query); the message names the parameter."""


class Operator(StrEnum):
    """How a filter compares; the suffixes of DESIGN section 8."""

    EQ = "eq"
    NE = "ne"
    GTE = "gte"
    LTE = "lte"
    GT = "gt"
    LT = "lt"
    LIKE = "like"
    IN = "in"


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition. EQ, LIKE and IN hold if any of ``values`` fits, the others only if all do.

    ``name`` is the parameter as written, ``field`` what it names without the operator's suffix: a record
    that has a field of the whole name (``checked_in``) is compared with that one, by EQ.
    """

    name: str
    field: str
    operator: Operator
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SortBy:
    """One key of the order; a dotted path."""

    field: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class References:
    """Records that refer to one of ``ids``. The first of ``fields`` that a record has is the one that refers."""

    fields: tuple[str, ...]
    ids: frozenset[str] = frozenset()

    def of(self, record: Mapping[str, Any]) -> str | None:
        """The id that the record refers to; None where it has none of the fields, or no id in it."""
        return next((id_text(record[field]) for field in self.fields if field in record), None)


@dataclass(frozen=True, slots=True)
class Query:
    """A list's question. Without ``sort`` the order is that of creation; ties always go by id, ascending.

    ``text`` is ``q``; ``after`` the id that the rows come after in this order; ``references`` is for what the server
    looks up itself (``_embed``).
    """

    filters: tuple[Filter, ...] = ()
    sort: tuple[SortBy, ...] = ()
    text: str = ""
    offset: int = 0
    limit: int = ROWS_MAX
    after: str | None = None
    references: References | None = None

    @property
    def is_plain(self) -> bool:
        """Only a window of the order of creation: no record needs to be read to answer it."""
        return self.selects_all and not self.sort and self.after is None

    @property
    def selects_all(self) -> bool:
        """No record is left out (the window aside)."""
        return not (self.filters or self.text or self.references is not None)


def id_text(value: object) -> str | None:
    """The text that tells a record's id apart; None where the value can be no id (only strings and integers can)."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def find(record: Mapping[str, Any], path: str) -> Any:
    """The value under a dotted path, or MISSING. A field that has the whole path as its name comes first."""
    value: Any = record.get(path, MISSING)
    if value is not MISSING or "." not in path:
        return value
    value = record
    for part in path.split("."):
        if isinstance(value, dict):
            value = value.get(part, MISSING)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        elif isinstance(value, list) and (place := _index(part)) < len(value):  # pyright: ignore[reportUnknownArgumentType]
            value = value[place]  # pyright: ignore[reportUnknownVariableType]
        else:
            return MISSING
        if value is MISSING:
            return MISSING
    return value  # pyright: ignore[reportUnknownVariableType]


def sort_key(value: Any) -> tuple[Any, ...]:
    """A key for Python's sort that gives the total order of DESIGN section 8 (the id aside)."""
    if value is MISSING:
        return (0,)
    if value is None:
        return (1,)
    if value is False:
        return (2,)
    if value is True:
        return (3,)
    if isinstance(value, int | float):
        return (4, value)
    if isinstance(value, str):
        return (5, value)
    if isinstance(value, list):
        return (6, tuple(sort_key(item) for item in value))  # pyright: ignore[reportUnknownVariableType]
    return (7, tuple(sorted((key, sort_key(item)) for key, item in value.items())))


class Matcher:
    """Whether a record is among those that the filters, ``q`` and the references of a query ask for."""

    def __init__(self, query: Query) -> None:
        self._tests = [_test_of(condition) for condition in query.filters]
        if query.text:
            folded = query.text.casefold()
            self._tests.append(lambda record: _contains(record, folded))
        references = query.references
        if references is not None:
            self._tests.append(lambda record: references.of(record) in references.ids)
        self._needles = [
            needles for condition in query.filters if (needles := _needles(condition)) is not None
        ]
        if references is not None and all(map(_is_plain_name, references.fields)):
            self._needles.append(tuple(_quoted(field) for field in references.fields))

    def may_match(self, body: bytes) -> bool:
        """False only where the record cannot match, judged by its bytes alone: it has none of the names that are asked for."""
        return all(any(needle in body for needle in needles) for needles in self._needles) or b"\\" in body

    def __call__(self, record: Mapping[str, Any]) -> bool:
        return all(test(record) for test in self._tests)


class Selection:
    """Answers one query from records that are handed over in the order of creation.

    Without a sort only the window is kept, so a streamed scan needs no more memory than its answer.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self._matches = Matcher(query)
        self._total = 0
        self._window: list[bytes] = []
        self._rows: list[_Row] = []
        self._is_streamed = not query.sort and query.after is None

    def add(self, body: bytes, record: Mapping[str, Any] | None = None) -> None:
        """One more record; ``record`` is its parsed form where the caller has it already."""
        query = self._query
        if query.is_plain:
            self._count(body)
            return
        if self._is_streamed and not self._matches.may_match(body):
            return
        parsed: Mapping[str, Any] = json.loads(body) if record is None else record
        is_match = self._matches(parsed)
        if self._is_streamed:
            if is_match:
                self._count(body)
            return
        identity = parsed.get("id", MISSING)
        is_anchor = query.after is not None and id_text(identity) == query.after
        if is_match or is_anchor:
            keys = tuple(sort_key(find(parsed, by.field)) for by in query.sort)
            self._rows.append(_Row(keys, sort_key(identity), body, is_match, is_anchor))
            self._total += is_match

    def page(self) -> tuple[Sequence[bytes], int]:
        """The rows of the window, and how many match in all. QueryError where ``after`` names nothing to go on after."""
        if self._is_streamed:
            return self._window, self._total
        query = self._query
        rows = sorted(self._rows, key=lambda row: row.identity) if query.sort else self._rows
        for place in reversed(range(len(query.sort))):
            rows = sorted(rows, key=lambda row, at=place: row.keys[at], reverse=query.sort[place].descending)
        if query.after is not None:
            rows = _after(rows, query)
        bodies = [row.body for row in rows if row.is_match]
        return bodies[query.offset : query.offset + query.limit], self._total

    def _count(self, body: bytes) -> None:
        if self._query.offset <= self._total < self._query.offset + self._query.limit:
            self._window.append(body)
        self._total += 1


@dataclass(frozen=True, slots=True)
class _Row:
    keys: tuple[tuple[Any, ...], ...]
    identity: tuple[Any, ...]
    body: bytes
    is_match: bool
    is_anchor: bool


def _after(rows: list[_Row], query: Query) -> list[_Row]:
    """The rows behind the anchor. One that is gone still has a place where the order is that of the ids alone."""
    for place, row in enumerate(rows):
        if row.is_anchor:
            return rows[place + 1 :]
    text = query.after or ""
    if len(query.sort) != 1 or query.sort[0].field != "id":
        raise QueryError(
            f"_after: no record with the id {text!r} is there to go on after; sort by id, or use _page."
        )
    gone = sort_key(int(text) if _INTEGER.match(text) else text)
    if query.sort[0].descending:
        return [row for row in rows if row.identity < gone]
    return [row for row in rows if row.identity > gone]


Test = Callable[[Mapping[str, Any]], bool]


def _test_of(condition: Filter) -> Test:
    """A filter, made ready once for many records."""
    name, field, operator = condition.name, condition.field, condition.operator
    is_wanted = _Wanted(condition.values)
    if operator is Operator.EQ:
        return lambda record: is_wanted(find(record, field))
    holds = _holds(operator, condition.values)

    def test(record: Mapping[str, Any]) -> bool:
        literal = find(record, name)
        return holds(find(record, field)) if literal is MISSING else is_wanted(literal)

    return test


def _holds(operator: Operator, values: tuple[str, ...]) -> Callable[[Any], bool]:
    """The comparison of one value."""
    if operator is Operator.NE:
        is_unwanted = _Wanted(values)
        return lambda value: not is_unwanted(value)
    if operator is Operator.IN:
        return _Wanted(tuple(text for texts in values for text in texts.split(",")))
    if operator is Operator.LIKE:
        folded = [text.casefold() for text in values]
        return lambda value: isinstance(value, str) and any(text in value.casefold() for text in folded)
    return lambda value: all(_compares(value, operator, text) for text in values)


class _Wanted:
    """Whether a value is one of those that the texts mean, by the *stored* type; an array is asked whether it holds one."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        self._texts = frozenset(texts)
        self._numbers = frozenset(number for text in texts if (number := number_of(text)) is not None)

    def __call__(self, value: Any) -> bool:
        if isinstance(value, str):
            return value in self._texts
        if value is MISSING or isinstance(value, dict):
            return False
        if isinstance(value, bool):
            return ("true" if value else "false") in self._texts
        if value is None:
            return "null" in self._texts
        if isinstance(value, list):
            return any(self(item) for item in value if not isinstance(item, list))  # pyright: ignore[reportUnknownVariableType]
        return value in self._numbers


def _needles(condition: Filter) -> tuple[bytes, ...] | None:
    """Names of which a body that fits holds one, where that can be said: a field that is missing fits no filter but NE."""
    if condition.operator is Operator.NE:
        return None
    names = {condition.name, condition.field}
    return tuple(_quoted(name) for name in sorted(names)) if all(map(_is_plain_name, names)) else None


def _is_plain_name(name: str) -> bool:
    """Whether a JSON text without backslashes writes the name as itself, and it is no path."""
    return name.isascii() and name.isprintable() and not any(char in name for char in '."\\')


def _quoted(name: str) -> bytes:
    return b'"%b"' % name.encode()


def _index(part: str) -> int:
    """The place in an array that a part of a path names; beyond every array where it names none."""
    if part.isascii() and part.isdigit() and len(part) <= INDEX_DIGITS_MAX:
        return int(part)
    return 10**INDEX_DIGITS_MAX


def _compares(value: Any, operator: Operator, text: str) -> bool:
    bound: Any
    if isinstance(value, str):
        bound = text
    elif isinstance(value, int | float) and not isinstance(value, bool):
        bound = number_of(text)
        if bound is None:
            return False
    else:
        return False
    match operator:
        case Operator.GTE:
            return bool(value >= bound)
        case Operator.LTE:
            return bool(value <= bound)
        case Operator.GT:
            return bool(value > bound)
        case _:
            return bool(value < bound)


def number_of(text: str) -> int | float | None:
    """The number that a JSON text would mean, or None. Integers are exact."""
    if _INTEGER.match(text):
        return int(text)
    return float(text) if _NUMBER.match(text) else None


def _contains(value: Any, folded: str) -> bool:
    """Whether any string or number in it, at any depth, has the text (case folded) in it."""
    if isinstance(value, str):
        return folded in value.casefold()
    if isinstance(value, dict):
        return any(_contains(item, folded) for item in value.values())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list):
        return any(_contains(item, folded) for item in value)  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return folded in json.dumps(value)
    return False
