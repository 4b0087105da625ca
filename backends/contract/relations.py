"""How records of two collections belong together (`_embed`, `_expand`): the fields that refer, and joined bodies. Pure.

By name alone, as json-server has it: a record of ``lines`` with ``order_id`` (or ``orderId``) 7 belongs to the record 7 of
``orders``. Bodies are joined as bytes, so that each stands in the answer exactly as it is kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from backends.contract.canonical import encode

RELATIONS_MAX: Final = 10
"""Names in the ``_embed`` and ``_expand`` of one request."""

EMBEDDED_MAX: Final = 10_000
"""Records embedded in one answer, for each name."""

_IRREGULAR: Final = {"person": "people", "child": "children", "man": "men", "woman": "women", "datum": "data"}
_KEY_SUFFIXES: Final = ("_id", "Id")


@dataclass(frozen=True, slots=True)
class Relations:
    """What is to be joined: collections whose records refer to these, and names that these refer to."""

    embeds: tuple[str, ...] = ()
    expands: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.embeds or self.expands)


NO_RELATIONS: Final = Relations()


def plurals_of(name: str) -> list[str]:
    """The collections that a reference ``{name}_id`` may lead to, the likeliest first."""
    forms = [_IRREGULAR[name]] if name in _IRREGULAR else []
    if name.endswith("y"):
        forms.append(name[:-1] + "ies")
    if name.endswith(("s", "x", "z", "ch", "sh")):
        forms.append(name + "es")
    return list(dict.fromkeys([*forms, name + "s", name + "es", name]))


def singulars_of(collection: str) -> list[str]:
    """What one record of a collection may be called, the likeliest first."""
    forms = [one for one, many in _IRREGULAR.items() if many == collection]
    for ending, one in (("ies", "y"), ("es", ""), ("s", "")):
        if collection.endswith(ending) and len(collection) > len(ending):
            forms.append(collection.removesuffix(ending) + one)
    return list(dict.fromkeys([*forms, collection]))


def keys_to(singulars: Sequence[str]) -> tuple[str, ...]:
    """The fields that may hold the id of a record so called."""
    return tuple(name + suffix for name in singulars for suffix in _KEY_SUFFIXES)


def joined(body: bytes, members: Mapping[str, bytes]) -> bytes:
    """The record with further members at its end; a field of the same name gives way."""
    record: dict[str, Any] = json.loads(body)
    if not members.keys().isdisjoint(record):
        body = encode({name: value for name, value in record.items() if name not in members})
    added = b"".join(b",%b:%b" % (encode(name), value) for name, value in members.items())
    head = body.rstrip().removesuffix(b"}").rstrip()
    return b"%b%b}" % (head, added if head != b"{" else added[1:])
