"""The text of a list's URL as a Query, and the Link header that leads to its neighbours.

Strict: a parameter that this contract does not know, or that means nothing here, is 400 bad-query, for an
ignored filter would answer with the wrong records.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode

from backends.contract.ids import is_usable_id
from backends.contract.problems import bad_query
from backends.contract.relations import NO_RELATIONS, RELATIONS_MAX, Relations
from backends.query import ROWS_MAX, Filter, Operator, Query, SortBy

PAGE_ROWS_DEFAULT = 10
"""Rows of ``_page`` without ``_per_page``, as json-server has it."""

PARAMETERS_MAX = 100
NUMBER_MAX = (1 << 53) - 1

SORT_FIELDS_MAX = 10

_PATH = "/%:@!$&'()*+,;=~-._"
"""What stands in a path as it was sent; anything else would end the link's target."""
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SINGLE = ("_sort", "_order", "_page", "_per_page", "_limit", "_start", "_end", "_after", "q")
_RELATIONS = ("_embed", "_expand")
_SUFFIXES = {f"_{operator}": operator for operator in Operator if operator is not Operator.EQ}


@dataclass(frozen=True, slots=True)
class Listing:
    """A parsed list request: the query, and how its Link header is made from (total, last id shown)."""

    query: Query
    kept: tuple[tuple[str, str], ...]
    """The parameters that the neighbours share."""
    unit: str
    """Which parameter moves on: ``_page``, ``_start`` or ``_after``."""
    relations: Relations = NO_RELATIONS

    def link(self, path: str, total: int, shown: int, last_id: str | None) -> str:
        """RFC 8288 links first, prev, next, last; "" where the answer is all there is. ``path`` is sent as it is."""
        query = self.query
        if self.unit == "_after":
            if shown < query.limit or last_id is None:
                return ""
            return _link(path, "next", [*self.kept, ("_limit", str(query.limit)), ("_after", last_id)])
        if query.limit == 0 or (query.offset == 0 and total <= query.limit):
            return ""
        step = query.limit
        last = max((total - 1) // step * step, 0) if query.offset % step == 0 else max(total - step, 0)
        places = [("first", 0), ("prev", query.offset - step), ("next", query.offset + step), ("last", last)]
        return ", ".join(
            _link(path, name, [*self.kept, *self._window(max(offset, 0))])
            for name, offset in places
            if (name != "prev" or query.offset > 0) and (name != "next" or offset < total)
        )

    def _window(self, offset: int) -> list[tuple[str, str]]:
        step = self.query.limit
        if self.unit == "_page":
            return [("_page", str(offset // step + 1)), ("_per_page", str(step))]
        return [("_start", str(offset)), ("_limit", str(step))]


def parse_listing(raw_query: str) -> Listing:
    """From the raw query of a URL. Problem bad-query."""
    pairs = parse_pairs(raw_query)
    single: dict[str, str] = {}
    filters: dict[str, list[str]] = {}
    for name, value in pairs:
        if name in _SINGLE:
            if name in single:
                raise bad_query(f"{name} is given twice.")
            single[name] = value
        elif name.startswith("_") or not name:
            if name not in _RELATIONS:
                raise bad_query(
                    f"Unknown parameter {name!r}; known are {', '.join((*_SINGLE, *_RELATIONS))}."
                )
        else:
            filters.setdefault(name, []).append(value)
    offset, limit, unit = _window(single)
    after = single.get("_after")
    query = Query(
        filters=tuple(_filter(name, values) for name, values in filters.items()),
        sort=_sort(single) or ((SortBy("id"),) if after is not None else ()),
        text=single.get("q", ""),
        offset=offset,
        limit=limit,
        after=after,
    )
    moving = ("_page", "_per_page", "_limit", "_start", "_end", "_after")
    kept = tuple((name, value) for name, value in pairs if name not in moving)
    return Listing(query, kept, unit, _relations(pairs))


def parse_relations(raw_query: str) -> Relations:
    """What a single record is to be joined with, the only thing that its URL may ask for. Problem bad-query."""
    pairs = parse_pairs(raw_query)
    for name, _ in pairs:
        if name not in _RELATIONS:
            raise bad_query(f"Unknown parameter {name!r}; a single record knows {' and '.join(_RELATIONS)}.")
    return _relations(pairs)


def parse_pairs(raw_query: str) -> list[tuple[str, str]]:
    """The parameters in their order. Problem bad-query where they do not decode, or are too many."""
    if _BAD_PERCENT.search(raw_query):
        raise bad_query("The query has a % that is no escape; write %25.")
    try:
        raw_query.encode()
        return parse_qsl(raw_query, keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_MAX)
    except UnicodeError:
        raise bad_query("The query does not decode to UTF-8.") from None
    except ValueError:
        raise bad_query(f"More than {PARAMETERS_MAX} parameters.") from None


def _relations(pairs: Sequence[tuple[str, str]]) -> Relations:
    named: dict[str, tuple[str, ...]] = {}
    for wanted in _RELATIONS:
        texts = [text for name, value in pairs if name == wanted for text in value.split(",")]
        if not all(map(is_usable_id, texts)):
            raise bad_query(f"{wanted} is a list of names, such as {wanted}=orders.")
        named[wanted] = tuple(dict.fromkeys(texts))
    relations = Relations(named["_embed"], named["_expand"])
    if len(relations.embeds) + len(relations.expands) > RELATIONS_MAX:
        raise bad_query(f"_embed and _expand name at most {RELATIONS_MAX} collections.")
    if not set(relations.embeds).isdisjoint(relations.expands):
        raise bad_query("A name is either embedded or expanded.")
    return relations or NO_RELATIONS


def _filter(name: str, values: Sequence[str]) -> Filter:
    for suffix, operator in _SUFFIXES.items():
        if name.endswith(suffix) and len(name) > len(suffix):
            return Filter(name, name.removesuffix(suffix), operator, tuple(values))
    return Filter(name, name, Operator.EQ, tuple(values))


def _sort(single: dict[str, str]) -> tuple[SortBy, ...]:
    if "_sort" not in single:
        if "_order" in single:
            raise bad_query("_order needs _sort.")
        return ()
    fields = single["_sort"].split(",")
    orders = single["_order"].lower().split(",") if "_order" in single else []
    if len(fields) > SORT_FIELDS_MAX:
        raise bad_query(f"_sort has at most {SORT_FIELDS_MAX} fields.")
    if any(field in ("", "-") for field in fields):
        raise bad_query("_sort is a list of fields, such as _sort=name,-price.")
    if len(orders) > len(fields) or any(order not in ("asc", "desc") for order in orders):
        raise bad_query("_order says asc or desc for each field of _sort.")
    if orders and any(field.startswith("-") for field in fields):
        raise bad_query("Say the order either by a - before the field or by _order.")
    return tuple(
        SortBy(field.removeprefix("-"), descending=field.startswith("-") or orders[at : at + 1] == ["desc"])
        for at, field in enumerate(fields)
    )


def _window(single: dict[str, str]) -> tuple[int, int, str]:
    """(offset, limit, the unit that moves on)."""
    given = {name for name in ("_page", "_per_page", "_limit", "_start", "_end", "_after") if name in single}
    _exclude(given, "_per_page", "_limit")
    _exclude(given, "_page", "_start")
    _exclude(given, "_page", "_end")
    _exclude(given, "_page", "_after")
    _exclude(given, "_after", "_start")
    _exclude(given, "_after", "_end")
    _exclude(given, "_end", "_limit")
    _exclude(given, "_end", "_per_page")
    read: Callable[[str, int], int] = lambda name, least: _number(single, name, least)  # noqa: E731 - one line, used six times
    size = next((read(name, 0) for name in ("_per_page", "_limit") if name in given), None)
    if "_page" in given:
        page = read("_page", 1)
        rows = PAGE_ROWS_DEFAULT if size is None else size
        if rows == 0:
            raise bad_query("A page has at least one row.")
        return (page - 1) * rows, rows, "_page"
    if "_after" in given:
        return 0, ROWS_MAX if size is None else size, "_after"
    start = read("_start", 0) if "_start" in given else 0
    if "_end" in given:
        end = read("_end", 0)
        if end < start or end - start > ROWS_MAX:
            raise bad_query(f"_end lies at most {ROWS_MAX} behind _start.")
        return start, end - start, "_start"
    if "_start" in given:
        return start, ROWS_MAX if size is None else size, "_start"
    return 0, ROWS_MAX if size is None else size, "_page"


def _exclude(given: set[str], one: str, other: str) -> None:
    if one in given and other in given:
        raise bad_query(f"{one} and {other} exclude each other.")


def _number(single: dict[str, str], name: str, least: int) -> int:
    text = single[name]
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and least <= int(text) <= NUMBER_MAX):
        raise bad_query(f"{name} is a whole number from {least}.")
    value = int(text)
    if name in ("_per_page", "_limit") and value > ROWS_MAX:
        raise bad_query(f"{name} is at most {ROWS_MAX}.")
    return value


def _link(path: str, name: str, pairs: Sequence[tuple[str, str]]) -> str:
    return f'<{quote(path, safe=_PATH)}?{urlencode(pairs, quote_via=quote)}>; rel="{name}"'
