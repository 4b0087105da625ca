"""Which id each record of a file gets that was not written by us: files for json-server hold ids of any kind, or none. Pure.

A record keeps the id that it has. One without gets it from the field that ``--id-field`` names, else one is made. What
was done is told, so that nobody is surprised by it: the ids stand in data.json from then on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backends.contract.ids import id_text, integer_of, is_usable_id, uuid7


@dataclass(frozen=True, slots=True)
class Naming:
    """How ids are found: the field to look in where there is no ``id``, and the highest integer id ever seen by collection."""

    id_field: str | None = None
    counters: Mapping[str, int] = field(default_factory=dict[str, int])


DEFAULT_NAMING = Naming()


@dataclass(slots=True)
class Named:
    """The ids of one collection's records, in order, and how many came from where."""

    ids: list[str | int]
    from_field: int = 0
    as_text: int = 0
    made: int = 0

    @property
    def is_as_written(self) -> bool:
        """Whether each record had its id."""
        return not (self.from_field or self.as_text or self.made)


class UnusableIdError(ValueError):
    """A record's id can be none: too long, a dot segment, an array or object. ``place`` is the record's."""

    def __init__(self, place: int, value: object) -> None:
        super().__init__(json.dumps(value)[:80])
        self.place = place


def name_records(collection: str, records: Sequence[Mapping[str, Any]], naming: Naming) -> Named:
    """An id for each record. UnusableIdError where one has what can be none; twins are the caller's to find."""
    named = Named([])
    lacking: list[int] = []
    for place, record in enumerate(records):
        value = record.get("id")
        came_from_field = False
        if value in (None, "") and naming.id_field is not None:
            value = record.get(naming.id_field)
            came_from_field = value not in (None, "")
        if value in (None, ""):
            lacking.append(place)
            named.ids.append("")
            continue
        if isinstance(value, float | bool):
            value = json.dumps(value)
            named.as_text += 1
        text = id_text(value)
        if text is None or not is_usable_id(text):
            raise UnusableIdError(place, value)
        named.from_field += came_from_field
        named.ids.append(value)
    _make(collection, named, lacking, naming)
    return named


def _make(collection: str, named: Named, lacking: list[int], naming: Naming) -> None:
    """As the store makes them: a counter where all ids are integers, else UUIDs; the same ones at each look at the same file."""
    unnamed = set(lacking)
    given = [str(value) for place, value in enumerate(named.ids) if place not in unnamed]
    integers = [integer_of(text) for text in given]
    highest = max([naming.counters.get(collection, 0), *(one or 0 for one in integers)])
    for count, place in enumerate(lacking, 1):
        if None in integers:
            digest = hashlib.sha256(json.dumps([collection, place]).encode()).digest()
            named.ids[place] = uuid7(0, digest)
        else:
            named.ids[place] = highest + count
    named.made = len(lacking)
