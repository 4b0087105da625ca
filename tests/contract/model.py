"""The contract once more, written plainly over a dict and independently of the servers' code: what the state machine compares with."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass, field
from typing import Any

NOW = "2025-11-24T10:26:40.000Z"


COUNTED = re.compile(r"(0|[1-9][0-9]*)\Z")
"""An id of the kind that a server makes."""


def text_of(record_id: Any) -> str:
    return record_id if isinstance(record_id, str) else str(record_id)


def bytes_of(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass
class Model:
    """Collections of records as Python values, in the order of creation."""

    collections: dict[str, dict[str, dict]] = field(default_factory=dict)
    highest: dict[str, int] = field(default_factory=dict)

    def collection(self, name: str) -> dict[str, dict]:
        return self.collections.setdefault(name, {})

    def makes_integers(self, name: str) -> bool:
        return all(COUNTED.match(text) for text in self.collection(name))

    # -- writes: (status, body); a body of None is an error ----------------------------------------

    def post(self, name: str, fields: dict) -> tuple[int, bytes | None]:
        rows = self.collection(name)
        record_id = fields.get("id", self.highest.get(name, 0) + 1)
        if text_of(record_id) in rows:
            return 409, None
        return 201, self._keep(name, record_id, fields, created=NOW)

    def put(self, name: str, key: str, fields: dict, *, creates: bool = False) -> tuple[int, bytes | None]:
        old = self.collection(name).get(key)
        if old is None and not creates:
            return 404, None
        if old is not None and creates:
            return 412, None
        if old is None:
            sent = fields.get("id")
            same = isinstance(sent, int | str) and not isinstance(sent, bool) and text_of(sent) == key
            record_id = sent if same else int(key) if COUNTED.match(key.removeprefix("-")) else key
            return 201, self._keep(name, record_id, fields, created=NOW)
        return 200, self._keep(name, old["id"], fields, created=old.get("created_at"))

    def patch(self, name: str, key: str, fields: dict, *, merge: bool) -> tuple[int, bytes | None]:
        old = self.collection(name).get(key)
        if old is None:
            return 404, None
        new = merged(old, fields) if merge else {**old, **fields}
        return 200, self._keep(name, old["id"], new, created=old.get("created_at"))

    def delete(self, name: str, key: str) -> tuple[int, bytes | None]:
        old = self.collection(name).pop(key, None)
        return (404, None) if old is None else (200, bytes_of(old))

    def _keep(self, name: str, record_id: Any, fields: dict, created: str | None) -> bytes:
        own = {k: v for k, v in fields.items() if k not in ("id", "created_at", "updated_at")}
        record = {"id": record_id, **copy.deepcopy(own), "created_at": created, "updated_at": NOW}
        key = text_of(record_id)
        self.collection(name)[key] = record
        if COUNTED.match(key):
            self.highest[name] = max(self.highest.get(name, 0), int(key))
        return bytes_of(record)

    # -- reads --------------------------------------------------------------------------------------

    def get(self, name: str, key: str) -> tuple[int, bytes | None]:
        row = self.collection(name).get(key)
        return (404, None) if row is None else (200, bytes_of(row))

    def find(
        self, name: str, filters: list[tuple[str, str, str]], sort: list[tuple[str, bool]]
    ) -> list[dict]:
        """All records that fit the filters (field, operator, text), in order; (field, is descending) sorts."""
        rows = [row for row in self.collection(name).values() if all(fits(row, *one) for one in filters)]
        if sort:
            rows.sort(key=lambda row: rank(row["id"]))
            for at, descending in reversed(sort):
                rows.sort(key=lambda row: rank(row[at]) if at in row else (-1,), reverse=descending)
        return rows


def merged(target: Any, change: Any) -> Any:
    """RFC 7396, its pseudocode."""
    if not isinstance(change, dict):
        return change
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def rank(value: Any) -> tuple:
    """missing (-1) < null < false < true < number < string < array < object."""
    kinds = {type(None): 0, int: 3, float: 3, str: 4}
    if isinstance(value, bool):
        return (2,) if value else (1,)
    if isinstance(value, list):
        return 5, [rank(one) for one in value]
    if isinstance(value, dict):
        return 6, [(key, rank(one)) for key, one in sorted(value.items())]
    return kinds[type(value)], value


def fits(row: dict, at: str, operator: str, text: str) -> bool:
    value = row.get(at, ...)
    if operator == "ne":
        return not same(value, text)
    if operator == "in":
        return any(same(value, one) for one in text.split(","))
    if operator == "like":
        return isinstance(value, str) and text.casefold() in value.casefold()
    if operator == "eq":
        return same(value, text)
    if isinstance(value, str):
        bound: Any = text
    elif isinstance(value, int | float) and not isinstance(value, bool):
        bound = numeric(text)
    else:
        bound = None
    if bound is None:
        return False
    return {"gte": value >= bound, "lte": value <= bound, "gt": value > bound, "lt": value < bound}[operator]


def same(value: Any, text: str) -> bool:
    if isinstance(value, list):
        return any(same(one, text) for one in value if not isinstance(one, list))
    if isinstance(value, str):
        return value == text
    if value is ... or isinstance(value, dict):
        return False
    if value is None or isinstance(value, bool):
        return text == json.dumps(value)
    return numeric(text) is not None and numeric(text) == value


def numeric(text: str) -> int | float | None:
    """The number that a JSON text means."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and text == text.strip() else None
