"""Lists with filters and a sort, answered from columns: the values of the fields that lists ask for, kept parsed. Pure.

Made when the first such list of a collection is asked for, and followed lazily: a change only notes its record, and the
next list parses those anew. What a list means is said in backends.query alone. Here a filter is answered by asking
that module about a record of nothing but the fields in question; only where all values of a column are
strings, or all numbers, is it compared directly (tests/unit/backends/test_json_columns.py holds the two against each other).
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from backends.query import MISSING, Filter, Matcher, Operator, Query, SortBy, find, number_of, sort_key
from backends.store import State

FIELDS_MAX: Final = 16
"""Columns of one collection; the one asked for longest ago goes. Field names are the clients'."""
ORDERS_MAX: Final = 4
SHARED_MAX: Final = 10_000
"""Different strings of a column that are kept once only; one with more has few that are equal."""
DEAD_SHARE: Final = 4
"""Places of deleted records are closed up when they are more than one in this many."""


class _Column:
    """One field's value in each place, MISSING where the record has none. ``kind`` is what all of them are."""

    __slots__ = ("_shared", "is_numbers", "is_texts", "values")

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.is_numbers = True
        self.is_texts = True
        self._shared: dict[str, str] = {}

    def put(self, place: int, value: Any) -> None:
        kind = value.__class__
        if kind is str:
            self.is_numbers = False
            if len(self._shared) < SHARED_MAX:
                value = self._shared.setdefault(value, value)
        else:
            self.is_texts = False
            if kind is not int and kind is not float:
                self.is_numbers = False
        if place < len(self.values):
            self.values[place] = value
        else:
            self.values.append(value)


class Columns:
    """The columns of one collection. ``live`` is its dict of records in the order of creation, changed by its owner.

    Call :meth:`need`, then :meth:`catch_up` until it says that nothing is left, then :meth:`page` in the same step of the loop.
    """

    def __init__(self, live: Mapping[str, State]) -> None:
        self._live = live
        self._ids: list[str | None] = list(live)
        """The record's id in each place, ascending in the order of creation; None where it was deleted."""
        self._places = {record_id: place for place, record_id in enumerate(live)}
        self._stale: set[int] = set()
        self._columns: OrderedDict[str, _Column] = OrderedDict()
        self._filled = 0
        """Places below it have values in every column, but for the stale ones."""
        self._dead = 0
        self._orders: OrderedDict[tuple[SortBy, ...], list[int]] = OrderedDict()
        """Places of all live records in order, while nothing has changed."""

    @staticmethod
    def can_answer(query: Query) -> bool:
        """``q`` looks at whole records; going on after a record, and ``_embed``, are Selection's."""
        return not query.text and query.after is None and query.references is None

    def touch(self, record_id: str) -> None:
        """The record was made, changed or deleted; ``live`` says which."""
        self._orders.clear()
        place = self._places.get(record_id)
        if record_id not in self._live:
            if place is not None:
                del self._places[record_id]
                self._ids[place] = None
                self._stale.discard(place)
                self._dead += 1
        elif place is None:
            self._places[record_id] = len(self._ids)
            self._ids.append(record_id)
        elif place < self._filled:
            self._stale.add(place)

    def need(self, query: Query) -> None:
        """Have a column for every field that the query asks for."""
        fields = _fields(query)
        for field in fields:
            if field in self._columns:
                self._columns.move_to_end(field)
            else:
                self._columns[field] = _Column()
                self._filled = 0
                self._stale.clear()  # all are parsed anew
        while len(self._columns) > max(FIELDS_MAX, len(fields)):
            self._columns.popitem(last=False)

    def catch_up(self, records_max: int) -> bool:
        """Parse at most so many records; whether everything is known now."""
        if self._dead * DEAD_SHARE > len(self._ids) + 1000:
            self._close_up()
        while self._stale and records_max > 0:
            self._fill(self._stale.pop())
            records_max -= 1
        end = min(len(self._ids), self._filled + records_max)
        for place in range(self._filled, end):
            self._fill(place)
        self._filled = end
        return not self._stale and end == len(self._ids)

    def has(self, query: Query) -> bool:
        """Whether the columns of the query are there still (another list may have asked for others meanwhile)."""
        return all(field in self._columns for field in _fields(query))

    def page(self, query: Query) -> tuple[list[bytes], int]:
        """As Selection.page would answer it."""
        everything: Sequence[int] = range(len(self._ids))
        if self._dead:
            everything = [place for place, record_id in enumerate(self._ids) if record_id is not None]
        places = everything
        for condition in query.filters:
            places = self._fitting(condition, places)
        if query.sort:
            places = self._in_order(query.sort, places, is_all=places is everything)
        window = places[query.offset : query.offset + query.limit]
        return [self._live[self._ids[place] or ""].body or b"" for place in window], len(places)

    def _fill(self, place: int) -> None:
        record_id = self._ids[place]
        if record_id is None:
            for column in self._columns.values():
                # whatever it is, no list looks at it; the kinds of the column stay as they are
                if place >= len(column.values):
                    column.values.append(MISSING)
            return
        record: Mapping[str, Any] = json.loads(self._live[record_id].body or b"{}")
        for field, column in self._columns.items():
            column.put(place, find(record, field))

    def _close_up(self) -> None:
        keep = [place for place, record_id in enumerate(self._ids) if record_id is not None]
        new_place = {place: at for at, place in enumerate(keep)}
        self._ids = [self._ids[place] for place in keep]
        self._places = {
            record_id: place for place, record_id in enumerate(self._ids) if record_id is not None
        }
        filled = [place for place in keep if place < self._filled]
        for column in self._columns.values():
            column.values = [column.values[place] for place in filled]
        self._filled = len(filled)
        self._stale = {new_place[place] for place in self._stale}
        self._dead = 0

    def _fitting(self, condition: Filter, places: Sequence[int]) -> list[int]:
        column, whole = self._columns[condition.field], self._columns[condition.name]
        values = column.values
        test = None
        if condition.name == condition.field or not _holds_any(whole):
            test = _direct_test(condition, column)
        if test is not None:
            return [place for place in places if test(values[place])]
        matches = Matcher(Query(filters=(condition,)))
        known: dict[tuple[type, Any, type, Any], bool] = {}
        found: list[int] = []
        for place in places:
            value, other = values[place], whole.values[place]
            try:
                fits = known.get(key := (value.__class__, value, other.__class__, other))
                if fits is None:
                    fits = known[key] = _fits(matches, condition, value, other)
            except TypeError:  # arrays and objects have no hash
                fits = _fits(matches, condition, value, other)
            if fits:
                found.append(place)
        return found

    def _in_order(self, sort: tuple[SortBy, ...], places: Sequence[int], *, is_all: bool) -> Sequence[int]:
        known = self._orders.get(sort)
        if known is None:
            ordered = self._sorted(sort, places)
            if is_all:
                self._orders[sort] = ordered
                while len(self._orders) > ORDERS_MAX:
                    self._orders.popitem(last=False)
            return ordered
        self._orders.move_to_end(sort)
        if is_all:
            return known
        wanted = bytearray(len(self._ids))
        for place in places:
            wanted[place] = 1
        return [place for place in known if wanted[place]]

    def _sorted(self, sort: tuple[SortBy, ...], places: Sequence[int]) -> list[int]:
        """By the last key first, each sort stable; ties go by id, ascending (sort_key says what is less)."""
        ordered = sorted(places, key=_key_of(self._columns["id"]))
        for by in reversed(sort):
            ordered.sort(key=_key_of(self._columns[by.field]), reverse=by.descending)
        return ordered


def _fields(query: Query) -> dict[str, None]:
    """Every field that the query looks at, once; ties of a sort go by id."""
    names = [name for one in query.filters for name in (one.name, one.field)]
    if query.sort:
        names += ["id", *(by.field for by in query.sort)]
    return dict.fromkeys(names)


def _key_of(column: _Column) -> Callable[[int], Any]:
    """Strings alone, and numbers alone, are in order by themselves."""
    values = column.values
    if column.is_texts or column.is_numbers:
        return values.__getitem__
    return lambda place: sort_key(values[place])


def _holds_any(column: _Column) -> bool:
    """Whether any record has the field."""
    return any(value is not MISSING for value in column.values)


def _fits(matches: Matcher, condition: Filter, value: Any, other: Any) -> bool:
    record: dict[str, Any] = {}
    if value is not MISSING:
        record[condition.field] = value
    if other is not MISSING:
        record[condition.name] = other
    return matches(record)


def _direct_test(condition: Filter, column: _Column) -> Callable[[Any], bool] | None:
    """The condition on a column of strings alone or numbers alone; None where it has to be asked value by value."""
    if column.is_texts:
        bounds: list[Any] = list(condition.values)
    elif column.is_numbers:
        bounds = [number_of(text) for text in condition.values]
    else:
        return None
    match condition.operator:
        case Operator.EQ:
            return frozenset(bound for bound in bounds if bound is not None).__contains__
        case Operator.NE:
            unwanted = frozenset(bound for bound in bounds if bound is not None)
            return lambda value: value not in unwanted
        case Operator.GTE | Operator.GT | Operator.LTE | Operator.LT:
            if any(bound is None for bound in bounds):
                return lambda _value: False
            return _compare(condition.operator, bounds)
        case _:
            return None


def _compare(operator: Operator, bounds: list[Any]) -> Callable[[Any], bool]:
    """All of the bounds hold."""
    match operator:
        case Operator.GTE:
            bound = max(bounds)
            return lambda value: value >= bound
        case Operator.GT:
            bound = max(bounds)
            return lambda value: value > bound
        case Operator.LTE:
            bound = min(bounds)
            return lambda value: value <= bound
        case _:
            bound = min(bounds)
            return lambda value: value < bound
