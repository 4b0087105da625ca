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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

ROWS_MAX = 1000
"""Rows of one answer (DESIGN section 8)."""

MISSING: Final = object()
"""What a path finds where a record has no such field; unlike null."""

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
class Query:
    """A list's question. Without ``sort`` the order is that of creation; ties always go by id, ascending.

    ``text`` is ``q``; ``after`` the id that the rows come after in this order.
    """

    filters: tuple[Filter, ...] = ()
    sort: tuple[SortBy, ...] = ()
    text: str = ""
    offset: int = 0
    limit: int = ROWS_MAX
    after: str | None = None

    @property
    def is_plain(self) -> bool:
        """Only a window of the order of creation: no record needs to be read to answer it."""
        return not (self.filters or self.sort or self.text or self.after is not None)

    @property
    def selects_all(self) -> bool:
        """No record is left out (the window aside)."""
        return not (self.filters or self.text)


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
        elif isinstance(value, list) and part.isascii() and part.isdigit() and int(part) < len(value):  # pyright: ignore[reportUnknownArgumentType]
            value = value[int(part)]  # pyright: ignore[reportUnknownVariableType]
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


def matches(query: Query, record: Mapping[str, Any]) -> bool:
    """Whether the record is among those that the filters and ``q`` ask for."""
    return all(_fits(condition, record) for condition in query.filters) and (
        not query.text or _contains(record, query.text.casefold())
    )


class Selection:
    """Answers one query from records that are handed over in the order of creation.

    Without a sort only the window is kept, so a streamed scan needs no more memory than its answer.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
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
        parsed: Mapping[str, Any] = json.loads(body) if record is None else record
        is_match = matches(query, parsed)
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


def apply(query: Query, bodies: Iterable[bytes]) -> tuple[Sequence[bytes], int]:
    """:class:`Selection` over records that are all at hand, in the order of creation."""
    selection = Selection(query)
    for body in bodies:
        selection.add(body)
    return selection.page()


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


def _fits(condition: Filter, record: Mapping[str, Any]) -> bool:
    operator, value = condition.operator, MISSING
    if operator is not Operator.EQ:
        value = find(record, condition.name)
        if value is not MISSING:
            operator = Operator.EQ
    if value is MISSING:
        value = find(record, condition.field)
    if operator is Operator.EQ:
        return any(_equals(value, text) for text in condition.values)
    if operator is Operator.NE:
        return not any(_equals(value, text) for text in condition.values)
    if operator is Operator.IN:
        return any(_equals(value, text) for texts in condition.values for text in texts.split(","))
    if operator is Operator.LIKE:
        return isinstance(value, str) and any(
            text.casefold() in value.casefold() for text in condition.values
        )
    return all(_compares(value, operator, text) for text in condition.values)


def _equals(value: Any, text: str) -> bool:
    """By the stored type; an array is asked whether it holds such a value."""
    if isinstance(value, str):
        return value == text
    if value is MISSING or isinstance(value, dict):
        return False
    if isinstance(value, bool):
        return text == ("true" if value else "false")
    if value is None:
        return text == "null"
    if isinstance(value, list):
        return any(_equals(item, text) for item in value if not isinstance(item, list))  # pyright: ignore[reportUnknownVariableType]
    return value == number_of(text)


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
