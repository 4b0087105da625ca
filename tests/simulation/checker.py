"""Judges a run by the clients' logs and the two disks alone; knows nothing of lanes, journal or proxy.

The disks of the upstreams are journals of all that was ever durable there, epochs included. From them comes, for
each key, the one order of the primary's states: those that the primary of each epoch made in it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from backends.json_entries import Announced, Changed, Entry, Floored
from backends.json_state import Memory
from backends.store import Role
from tests.simulation.clients import Said
from tests.simulation.leaving import Left

FIRST_PRIMARY = "json"
IGNORED = ("created_at", "updated_at")
"""As the simulated routing.yaml says for plain upstreams."""


@dataclass(slots=True)
class Key:
    """What one key was: at the primary, in its order, from before the first write on; and at each upstream."""

    states: list[bytes | None] = field(default_factory=lambda: [None])
    by: dict[str, int] = field(default_factory=dict[str, int])
    """Label of a write → the place of the state that it made."""
    deletes: list[int] = field(default_factory=list[int])
    numbers: dict[int, int] = field(default_factory=dict[int, int])
    """Number of a state → its place."""
    lost: dict[int, Left] = field(default_factory=dict[int, Left])
    """Places of states that were left behind with a dead primary."""


class Checker:
    """``faults`` is empty where every promise was kept."""

    def __init__(
        self,
        disks: dict[str, list[Entry]],
        log: list[Said],
        *,
        lags_behind: bool,
        plain: tuple[str, ...] = (),
        left: Sequence[Left] = (),
    ) -> None:
        self.faults: list[str] = []
        self._left = left
        self._bulk = {said.label for said in log if said.is_bulk}
        self._disks = disks
        self._log = log
        self._lags_behind = lags_behind
        """The secondary began with an older copy: a backfill may step a record back until it ends (P4)."""
        self._plain = plain
        """A plain primary says nothing of epochs: all that it did is the primary's. With either of them plain the two only have to end equal."""
        self._keys: dict[str, Key] = {}
        self._executed: dict[str, list[tuple[str, str, int]]] = {}
        """Label of a write → the key, the upstream and the era where it was executed as a primary's. An era ends with a primary left behind."""
        self._era = 0
        self._final: dict[str, dict[str, bytes | None]] = {name: {} for name in disks}
        self._learn_order()

    def check(self) -> list[str]:
        self._secondary_follows()
        self._acknowledged_is_there_once()
        self._nothing_unnamed_is_lost()
        self._what_the_primary_never_had_is_shown()
        self._reads_see_what_was_acknowledged()
        self._nobody_is_told_of_epochs()
        self._both_are_equal()
        return self.faults

    # -- the primary's order ---------------------------------------------------------------------------

    def _learn_order(self) -> None:
        made: dict[int, list[tuple[str, list[Changed]]]] = {}
        for name, entries in self._disks.items():
            epoch, role, mine = 0, Role.NONE, list[Changed]()
            for entry in entries:
                if isinstance(entry, Announced):
                    epoch, role, mine = entry.epoch, entry.role, []
                    if role is Role.PRIMARY:
                        made.setdefault(epoch, []).append((name, mine))
                elif isinstance(entry, Changed):
                    key = _key(entry)
                    if role is Role.NONE and name == FIRST_PRIMARY and name in self._plain and entry.number:
                        made.setdefault(0, [(name, [])])[0][1].append(entry)
                    elif role is Role.NONE:
                        if name == FIRST_PRIMARY:
                            self._key(key).states = [entry.body]
                    elif role is Role.PRIMARY:
                        mine.append(entry)
        coming = [(left, *self._base(left)) for left in self._left]
        for epoch in sorted(made):
            while coming and coming[0][1] <= epoch:
                left, _, base = coming.pop(0)
                self._leave(left, base)
            writers = [(name, mine) for name, mine in made[epoch] if mine]
            if len({name for name, _ in writers}) > 1:
                self.faults.append(f"two primaries wrote in epoch {epoch}")
            for name, mine in writers:
                for entry in mine:
                    self._learn(name, self._key(_key(entry)), entry)

    def _base(self, left: Left) -> tuple[int, dict[str, bytes | None]]:
        """The epoch in which the other upstream went on alone, and all that it had then."""
        memory = Memory()
        epoch = 0
        for entry in self._disks[left.to]:
            if isinstance(entry, Announced) and entry.role is Role.PRIMARY and entry.epoch > left.epoch:
                epoch = entry.epoch
                break
            memory.apply(entry)
        return epoch, {
            f"/api/{collection}/{one}": state.body
            for collection, there in memory.collections.items()
            for one, state in there.live.items()
        }

    def _leave(self, left: Left, base: dict[str, bytes | None]) -> None:
        """From here on the other upstream's states are the primary's; what it lacked is lost."""
        self._era += 1
        for path in {*self._keys, *base}:
            key, body = self._key(path), base.get(path)
            if body == key.states[-1]:
                continue
            kept = max((n for n, state in enumerate(key.states) if state == body), default=-1)
            for place in range(kept + 1, len(key.states)):
                key.lost.setdefault(place, left)
            if kept < 0 and not left.names_everything:
                self.faults.append(
                    f"{path}: {left.to} went on alone with {_shown(body)}, which the primary never had"
                )
            key.states.append(body)

    def _learn(self, name: str, key: Key, entry: Changed) -> None:
        key.states.append(entry.body)
        place = len(key.states) - 1
        key.numbers[entry.number] = place
        if entry.body is None:
            key.deletes.append(place)
            return
        label = _label(entry.body)
        self._executed.setdefault(label, []).append((_key(entry), name, self._era))
        key.by[label] = place

    def _key(self, key: str) -> Key:
        return self._keys.setdefault(key, Key())

    # -- P4: the secondary passes through the primary's states, in their order --------------------------

    def _secondary_follows(self) -> None:
        for name, entries in self._disks.items():
            at: dict[str, int] = {}
            role = Role.NONE
            memory = Memory()
            is_backfilling = False
            floors: dict[str, int] = {}
            for entry in entries:
                if isinstance(entry, Announced):
                    role = entry.role
                elif isinstance(entry, Floored):
                    is_backfilling = False
                    floors[entry.collection] = max(entry.at, floors.get(entry.collection, 0))
                    there = memory.collections.get(entry.collection)
                    for record_id, state in list(there.live.items()) if there is not None else ():
                        if state.at < entry.at:
                            self._step(
                                name, role, Changed(entry.collection, record_id, None, None, entry.at, 0), at
                            )
                elif isinstance(entry, Changed) and role is not Role.NONE:
                    if entry.at < floors.get(entry.collection, 0):
                        self.faults.append(
                            f"{_key(entry)}: {name} took {_shown(entry.body)} at {entry.at}, from before the end of a backfill"
                        )
                    if self._lags_behind and role is Role.SECONDARY and entry.version is None:
                        is_backfilling = True
                    if is_backfilling or (
                        self._lags_behind and memory.state(entry.collection, entry.id).version is None
                    ):
                        # What a backfill brought may be newer than its S0: a repair from S0's time may still follow it.
                        at.pop(_key(entry), None)
                    if not self._plain:
                        self._step(name, role, entry, at)
                memory.apply(entry)
            for collection, there in memory.collections.items():
                self._final[name].update(
                    {f"/api/{collection}/{one}": state.body for one, state in there.live.items()}
                )

    def _step(self, name: str, role: Role, entry: Changed, at: dict[str, int]) -> None:
        path = _key(entry)
        key = self._key(path)
        last = at.get(path, 0)
        place = next((n for n in range(last, len(key.states)) if key.states[n] == entry.body), None)
        if place is not None:
            at[path] = place
            return
        what = "stepped back to" if entry.body in key.states else "has a state that the primary never had:"
        self.faults.append(
            f"{path}: {name} ({role}) {what} {_shown(entry.body)} version {entry.version} at {entry.at}"
        )

    # -- P3, P4: acknowledged writes are there, once ------------------------------------------------------

    def _acknowledged_is_there_once(self) -> None:
        places = self._executed
        accepted = {said.label for said in self._log if said.is_write and 200 <= said.status < 300}
        attempts = Counter(said.label for said in self._log if said.is_write)
        for label, where in places.items():
            # A dead primary takes along the answers under Idempotency-Keys: a second try may run at the next one (docs/guarantees.md, P7).
            places_once = {
                (path if label in self._bulk else "", era if attempts[label] > 1 else 0)
                for path, _, era in where
            }
            if len(where) > len(places_once):
                shown = ", ".join(f"{path} at {name}" for path, name, _ in where)
                self.faults.append(f"the write {label} was executed {len(where)} times: {shown}")
        for said in self._log:
            if not said.is_write:
                continue
            for path, number in said.changed.items():
                if number not in self._key(path).numbers:
                    self.faults.append(
                        f"lost: what the acknowledged write {said.label} did to {path}: {said}"
                    )
            if said.method == "DELETE" or (said.is_bulk and said.status == 200):
                continue
            if 200 <= said.status < 300 and said.label not in places:
                self.faults.append(f"lost: the acknowledged write {said.label}: {said}")
            elif (
                400 <= said.status < 500
                and said.status != 408
                and said.label in places
                and attempts[said.label] == 1
                and said.label not in accepted
            ):
                self.faults.append(f"the rejected write {said.label} was executed: {said}")
        for path, key in self._keys.items():
            self._deletes_of(path, key)

    def _deletes_of(self, path: str, key: Key) -> None:
        asked = [said for said in self._log if said.method == "DELETE" and (said.key == path or said.is_bulk)]
        done = [said for said in asked if said.status == 200 and (said.key == path or path in said.changed)]
        not_refused = [said for said in asked if not 400 <= said.status < 500]
        if not len(done) <= len(key.deletes) <= len(not_refused):
            self.faults.append(
                f"{path}: {len(key.deletes)} deletions, {len(done)} acknowledged, {len(not_refused)} possible"
            )
        done = [said for said in done if not said.is_bulk]
        for said in done:
            before = [
                n - 1 for n in key.deletes if self._compared(key.states[n - 1]) == self._compared(said.answer)
            ]
            if not before:
                self.faults.append(f"lost: the acknowledged deletion of {path}: {said}")

    # -- P7: a dead primary takes along what was named, and nothing else ---------------------------------

    def _nothing_unnamed_is_lost(self) -> None:
        for path, key in self._keys.items():
            for left in {id(left): left for left in key.lost.values()}.values():
                if not left.is_named(path):
                    gone = [_shown(key.states[n]) for n, of in key.lost.items() if of is left]
                    self.faults.append(
                        f"{path}: lost with {left.upstream}, and not named: {gone}; named: {left.names}"
                    )
        for said in self._log:
            if not said.is_write or not 200 <= said.status < 300:
                continue
            for path, place in self._places(said):
                lost = self._key(path).lost
                if any(other not in lost for other in self._deleted_so(path, said)):
                    continue  # the other one of the same state was somebody's without an answer
                left = lost.get(place)
                if left is not None and not left.is_named(path, as_acknowledged=True):
                    self.faults.append(
                        f"{path}: the acknowledged write {said.label} is lost, and named only as in doubt"
                    )

    def _what_the_primary_never_had_is_shown(self) -> None:
        """What the old primary holds beyond what was brought over stays until a person has seen its dead letter."""
        for left in self._left[-1:]:
            for path, key in self._keys.items() if left.letters is not None else ():
                lost = [place for place, of in key.lost.items() if of is left]
                held = key.states[max(lost)] if lost else None
                if not lost or held in key.states[max(lost) + 1 :] or left.is_salvaged_to:
                    continue
                assert left.letters is not None
                if path not in left.letters:
                    self.faults.append(
                        f"{path}: {left.upstream} returned with {_shown(held)}, and no dead letter says so"
                    )
                elif left.letters[path] != held:
                    self.faults.append(
                        f"{path}: {left.upstream} returned with {_shown(held)}, overwritten before anybody chose: {_shown(left.letters[path])}"
                    )

    # -- P5: a read sees every write acknowledged before it began ----------------------------------------

    def _reads_see_what_was_acknowledged(self) -> None:
        writes = sorted(
            (said for said in self._log if said.is_write and 200 <= said.status < 300),
            key=lambda one: one.ended_s,
        )
        for said in self._log:
            if said.is_write or said.status not in (200, 404):
                continue
            due: dict[str, int] = {}
            for write in writes:
                if write.ended_s >= said.began_s:
                    break
                for path, place in self._places(write):
                    left = self._key(path).lost.get(place)
                    if left is None or said.ended_s < left.began_s:
                        due[path] = max(due.get(path, 0), place)
            if said.path != "/api/items":
                self._read_of(
                    said, said.path, said.answer if said.status == 200 else None, due.get(said.path, 0)
                )
                continue
            rows = {f"/api/items/{json.loads(row)['id']}": row for row in _rows(said.answer)}
            for path in {*rows, *due}:
                self._read_of(said, path, rows.get(path), due.get(path, 0))

    def _places(self, write: Said) -> list[tuple[str, int]]:
        """The keys that an acknowledged write changed, with the place of the state that it made."""
        if write.is_bulk:
            return [(path, self._key(path).numbers.get(number, 0)) for path, number in write.changed.items()]
        return [] if write.key is None else [(write.key, self._place_of(write.key, write))]

    def _place_of(self, path: str, write: Said) -> int:
        key = self._key(path)
        if write.method != "DELETE":
            return key.by.get(write.label, 0)
        return next(iter(self._deleted_so(path, write)), 0)

    def _deleted_so(self, path: str, write: Said) -> list[int]:
        """Every deletion that this one may have been: they have no label, only the record that they answered with."""
        key = self._key(path)
        if write.method != "DELETE":
            return []
        return [n for n in key.deletes if key.states[n - 1] == write.answer]

    def _read_of(self, said: Said, path: str, body: bytes | None, due: int) -> None:
        states = self._key(path).states
        if body in states[due:]:
            return
        what = "missed an acknowledged write" if body in states else "saw what the primary never had"
        self.faults.append(f"{path}: a read {what} ({_shown(states[due])}): {said}")

    # -- P7: epochs are the proxy's own affair -------------------------------------------------------------

    def _nobody_is_told_of_epochs(self) -> None:
        """What passed the fence goes to the primary of the present epoch: a client's write is never refused as one of another epoch."""
        for said in self._log:
            if said.status == 409 and b'"stale-epoch"' in said.answer:
                self.faults.append(f"a client was told of epochs: {said}")

    def _compared(self, body: bytes | None) -> object:
        """With a plain upstream as JSON, but for the fields in mirror.compare.ignore."""
        if body is None or not self._plain:
            return body
        return {name: value for name, value in json.loads(body).items() if name not in IGNORED}

    # -- the end -------------------------------------------------------------------------------------------

    def _both_are_equal(self) -> None:
        for path in sorted({*self._keys, *(path for final in self._final.values() for path in final)}):
            there = {name: final.get(path) for name, final in self._final.items()}
            last = self._key(path).states[-1]
            if any(self._compared(body) != self._compared(last) for body in there.values()):
                shown = ", ".join(f"{name} {_shown(body)}" for name, body in there.items())
                self.faults.append(f"{path}: unequal in the end: {shown}; the last state was {_shown(last)}")


def _key(entry: Changed) -> str:
    return f"/api/{entry.collection}/{entry.id}"


def _label(body: bytes) -> str:
    label: str = json.loads(body).get("by", "")
    return label


def _rows(answer: bytes) -> list[bytes]:
    """The records of a list as their bytes: one encoder writes them alone and in a list."""
    return [json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() for row in json.loads(answer)]


def _shown(body: bytes | None) -> str:
    if body is None:
        return "nothing"
    record = json.loads(body)
    return f"by {record.get('by')} log {record.get('log', [])}"
