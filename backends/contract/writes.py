"""What a write makes of a record: the rules of POST, PUT, PATCH and DELETE, and whose numbers it gets.

A :class:`Write` is handed to Store.change as its ``decide``. It joins a *rule* (what becomes of the body)
with a *numbering* (ordinary, foreign, replay), and remembers what it answered. A :class:`RepairWrite` has no rule:
it brings bytes and numbers along.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from backends.contract import problems
from backends.contract.canonical import SERVER_FIELDS, encode, encode_record, number
from backends.contract.conditions import Conditions
from backends.contract.ids import id_of_text, id_text
from backends.contract.numbers import Repair, Replay
from backends.contract.problems import Problem
from backends.store import Keep, Put, Remove, Stamp, State, Verdict

RECORD_BYTES_MAX: Final = 16 << 20
"""Of a record that a client's write makes: above the limit of a body, as one encoder may write more than was sent, and below
what a repair and a batch bring to the other server."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The server's time (RFC 3339), and whether ``created_at`` and ``updated_at`` of a body count (a replay)."""

    now: str
    is_replay: bool = False

    def stamps(self, sent: Mapping[str, Any], existing: Mapping[str, Any] | None) -> dict[str, Any]:
        """``created_at`` and ``updated_at`` of the record to be; a record that never had a created_at gets none."""
        stamps: dict[str, Any] = {"created_at": self.now, "updated_at": self.now}
        if existing is not None:
            stamps = {name: existing[name] for name in SERVER_FIELDS if name in existing}
            stamps["updated_at"] = self.now
        if self.is_replay:
            stamps.update((name, sent[name]) for name in SERVER_FIELDS if name in sent)
        return stamps


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule makes of a record: the status, and the body to be (None: a tombstone)."""

    status: int
    body: bytes | None


Rule = Callable[[str, bytes | None], Outcome]
"""(id, present body) → what becomes of it. Raises Problem to reject."""


def create(fields: Mapping[str, Any], moment: Moment, conditions: Conditions) -> Rule:
    """POST to a collection. Its conditions are asked of the record that it is to make, not of the list."""

    def rule(record_id: str, current: bytes | None) -> Outcome:
        if current is not None:
            conditions.check_write(current)
            raise problems.conflict(record_id)
        conditions.check_create()
        return Outcome(201, encode_record(_own_id(record_id, fields), fields, moment.stamps(fields, None)))

    return rule


def replace(fields: Mapping[str, Any], moment: Moment, conditions: Conditions) -> Rule:
    """PUT of a record: replaces; creates only with ``If-None-Match: *``. The id is the URL's, in its stored type."""

    def rule(record_id: str, current: bytes | None) -> Outcome:
        if current is None:
            if not conditions.creates:
                raise problems.not_found(
                    f"There is no record {record_id!r}; PUT creates it with If-None-Match: *."
                )
            conditions.check_create()
            return Outcome(
                201, encode_record(_own_id(record_id, fields), fields, moment.stamps(fields, None))
            )
        conditions.check_write(current)
        existing = _load(current)
        return Outcome(200, encode_record(existing["id"], fields, moment.stamps(fields, existing)))

    return rule


def patch(fields: Mapping[str, Any], moment: Moment, conditions: Conditions, *, is_merge_patch: bool) -> Rule:
    """PATCH of a record: a shallow merge that stores null, or RFC 7396."""

    def rule(record_id: str, current: bytes | None) -> Outcome:
        if current is None:
            raise problems.not_found(f"There is no record {record_id!r}.")
        conditions.check_write(current)
        existing = _load(current)
        merged = _merge_patch(existing, fields) if is_merge_patch else {**existing, **fields}
        return Outcome(200, encode_record(existing["id"], merged, moment.stamps(fields, existing)))

    return rule


def remove(conditions: Conditions) -> Rule:
    """DELETE of a record; no cascade."""

    def rule(record_id: str, current: bytes | None) -> Outcome:
        if current is None:
            raise problems.not_found(f"There is no record {record_id!r}.")
        conditions.check_write(current)
        return Outcome(200, None)

    return rule


def replace_singleton(fields: Mapping[str, Any], conditions: Conditions) -> Rule:
    """PUT of a singleton: the object as sent; it has no fields of the server's."""

    def rule(_name: str, current: bytes | None) -> Outcome:
        if current is None:
            raise problems.method_not_allowed("GET, HEAD, POST, OPTIONS")
        conditions.check_write(current)
        return Outcome(200, encode(fields))

    return rule


def patch_singleton(fields: Mapping[str, Any], conditions: Conditions, *, is_merge_patch: bool) -> Rule:
    """PATCH of a singleton."""

    def rule(_name: str, current: bytes | None) -> Outcome:
        if current is None:
            raise problems.method_not_allowed("GET, HEAD, POST, OPTIONS")
        conditions.check_write(current)
        existing = _load(current)
        return Outcome(
            200, encode(_merge_patch(existing, fields) if is_merge_patch else {**existing, **fields})
        )

    return rule


@dataclass(frozen=True, slots=True)
class Numbering:
    """Whose numbers a write gets: ``replay`` brings them (M1), a foreign write takes none (W3), else the store's next."""

    replay: Replay | None = None
    is_foreign: bool = False

    def admit(self, state: State) -> None:
        """Problem version-conflict where a replay does not stand on the state that is there (M1)."""
        replay = self.replay
        if replay is None:
            return
        if not replay.has_base:
            raise problems.version_conflict("A write of unknown base never applies as a replay.")
        if replay.base is None:
            if state.body is not None or state.at >= replay.version:
                raise problems.version_conflict(f"There is something as new as {replay.version} already.")
        elif state.body is None or state.version != replay.base:
            raise problems.version_conflict(f"The record is not at version {replay.base}.")

    def stamp(self, state: State) -> Stamp | None:
        if self.replay is not None:
            return Stamp(self.replay.version, self.replay.version)
        return Stamp(None, state.at) if self.is_foreign else None


class Write:
    """One write as Store.change runs it, and what it came to. The last run counts."""

    def __init__(self, rule: Rule, numbering: Numbering) -> None:
        self._rule = rule
        self._numbering = numbering
        self.problem: Problem | None = None
        self.status = 0

    def __call__(self, record_id: str, state: State, /) -> Verdict:
        self.problem = None
        try:
            self._numbering.admit(state)
            outcome = self._rule(record_id, state.body)
            if outcome.body is not None and len(outcome.body) > RECORD_BYTES_MAX:
                raise problems.too_large_record(RECORD_BYTES_MAX)
        except Problem as problem:
            self.problem = problem
            return Keep()
        self.status = outcome.status
        stamp = self._numbering.stamp(state)
        return Remove(stamp) if outcome.body is None else Put(outcome.body, stamp)


class RepairWrite:
    """A repair (M2): the bytes as sent, or a tombstone, if it is not older than what is there."""

    def __init__(self, body: bytes | None, repair: Repair) -> None:
        self._body = body
        self._repair = repair
        self.has_applied = False

    def __call__(self, _record_id: str, state: State, /) -> Verdict:
        self.has_applied = self._repair.at >= state.at
        if not self.has_applied:
            return Keep()
        stamp = Stamp(self._repair.version, self._repair.at)
        return Remove(stamp) if self._body is None else Put(self._body, stamp)


def _own_id(record_id: str, fields: Mapping[str, Any]) -> str | int:
    """The id of a new record: as it was sent if it means this one, else made from the text."""
    sent: str | int = fields.get("id", record_id)
    return sent if "id" in fields and id_text(sent) == record_id else id_of_text(record_id)


def _load(body: bytes) -> dict[str, Any]:
    """A kept record, to be written anew: what an old file may hold (-0.0) becomes what the one encoder writes."""
    record: dict[str, Any] = json.loads(body, parse_float=number)
    return record


def _merge_patch(target: Any, change: Any) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(change, Mapping):
        return change
    merged: dict[str, Any] = dict(target) if isinstance(target, dict) else {}  # pyright: ignore[reportUnknownArgumentType]
    for name, value in change.items():  # pyright: ignore[reportUnknownVariableType]
        if value is None:
            merged.pop(name, None)  # pyright: ignore[reportUnknownArgumentType]
        else:
            merged[name] = _merge_patch(merged.get(name), value)  # pyright: ignore[reportUnknownArgumentType]
    return merged
