"""What the JSON store holds in memory: exactly what is durable. Entries are applied here once they are on disk.

Used the same way at run time and at recovery, so both come to the same state. Owns no disk and no lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from backends.contract.ids import integer_of
from backends.json_columns import Columns
from backends.json_entries import Announced, Changed, Decided, Entry, Exported, Floored, Voided
from backends.json_kept import KeptAnswers
from backends.store import Done, EpochState, KeptAnswer, Role, State


@dataclass(slots=True)
class Collection:
    """The records of one name: the live ones in the order of their creation, and the tombstones."""

    live: dict[str, State] = field(default_factory=dict[str, State])
    tombstones: dict[str, State] = field(default_factory=dict[str, State])
    floor: int = 0
    odd_ids: int = 0
    """Live ids that are no integers: with any, new ids are UUIDs."""
    columns: Columns | None = None
    """For lists with filters or a sort, once there was one."""

    def copy(self) -> Collection:
        return Collection(dict(self.live), dict(self.tombstones), self.floor, self.odd_ids)

    def state(self, record_id: str) -> State:
        found = self.live.get(record_id) or self.tombstones.get(record_id)
        return State(None, None, self.floor) if found is None else found


@dataclass(slots=True)
class Memory:
    """All that the store knows."""

    collections: dict[str, Collection] = field(default_factory=dict[str, Collection])
    """Singletons are the records of the collection ``""``."""
    names: dict[str, bool] = field(default_factory=dict[str, bool])
    """The names at the top level of data.json, in its order; True for a singleton."""
    counters: dict[str, int] = field(default_factory=dict[str, int])
    number: int = 0
    epoch: int = 0
    role: Role = Role.NONE
    journal: str | None = None
    requests: dict[int, Done | None] = field(default_factory=dict[int, Done | None])
    """Decided request ids: what an accepted one did; None for a rejected or voided one."""
    lowest_open: int = 0
    kept: KeptAnswers = field(default_factory=KeptAnswers)
    changes: int = 0
    """Changes of records ever applied: the measure of what an exported data.json holds."""
    exports: list[Exported] = field(default_factory=list[Exported])
    """The content that data.json has, and any announced since: what a file on disk may be if nobody edited it."""

    def copy(self) -> Memory:
        """A copy that later entries leave as it is; the states in it are shared (they never change)."""
        return replace(
            self,
            collections={name: collection.copy() for name, collection in self.collections.items()},
            names=dict(self.names),
            counters=dict(self.counters),
            requests=dict(self.requests),
            kept=self.kept.copy(),
            exports=list(self.exports),
        )

    def state(self, collection: str, record_id: str) -> State:
        found = self.collections.get(collection)
        return State(None, None, 0) if found is None else found.state(record_id)

    def epoch_state(self) -> EpochState:
        counters = {name: counter for name, counter in self.counters.items() if name}
        return EpochState(self.epoch, self.role, self.journal, self.number, counters)

    def has_integer_ids(self, collection: str) -> bool:
        """Whether new ids of the collection come from its counter."""
        found = self.collections.get(collection)
        return found is None or found.odd_ids == 0

    def apply(self, entry: Entry) -> None:
        """Let a durable entry be so."""
        match entry:
            case Changed():
                self._change(entry)
            case Decided(request, lowest_open, done):
                self.requests[request] = done
                self._forget_below(lowest_open)
            case Voided(request):
                self.requests[request] = None
            case KeptAnswer():
                self.kept.put(entry)
            case Announced():
                self._announce(entry)
            case Floored(collection, at):
                self._raise_floor(collection, at)
            case Exported():
                self._export(entry)

    def swept_by(self, collection: str, at: int) -> int:
        """How many live records a sweep below ``at`` would take."""
        found = self.collections.get(collection)
        return 0 if found is None else sum(1 for state in found.live.values() if state.at < at)

    def records(self) -> Iterator[tuple[str, str, State]]:
        """(collection, id, state) of all that is live or a tombstone."""
        for name, collection in self.collections.items():
            for states in (collection.live, collection.tombstones):
                for record_id, state in states.items():
                    yield name, record_id, state

    def name(self, name: str, *, is_singleton: bool) -> None:
        """A name at the top level of data.json."""
        self.names[name] = is_singleton
        if not is_singleton:
            self.collections.setdefault(name, Collection())

    def _export(self, entry: Exported) -> None:
        if entry.is_installed:
            self.exports = [entry]
        else:  # what was announced and failed is never on disk: a few suffice
            self.exports = [*self.exports[:1], *self.exports[1:][-3:], entry]

    def _change(self, entry: Changed) -> None:
        name, record_id = entry.collection, entry.id
        collection = self.collections.setdefault(name, Collection())
        state = State(entry.body, entry.version, entry.at)
        integer = integer_of(record_id)
        if entry.body is None:
            if collection.live.pop(record_id, None) is not None:
                collection.odd_ids -= integer is None
                if not name:
                    self.names.pop(record_id, None)
            collection.tombstones[record_id] = state
        else:
            if record_id not in collection.live:
                collection.odd_ids += integer is None
                collection.tombstones.pop(record_id, None)
                if name:
                    self.names.setdefault(name, False)
                else:
                    self.names[record_id] = True
            collection.live[record_id] = state
        if collection.columns is not None:
            collection.columns.touch(record_id)
        if integer is not None and integer > self.counters.get(name, 0):
            self.counters[name] = integer
        self.number = max(self.number, entry.number)
        self.changes += 1

    def _announce(self, entry: Announced) -> None:
        self.epoch, self.role, self.journal = entry.epoch, entry.role, entry.journal
        self.number = max(self.number, entry.number)
        for name, counter in entry.counters.items():
            self.counters[name] = max(counter, self.counters.get(name, 0))
        if entry.forgets_requests:
            self.requests.clear()
            self.lowest_open = 0

    def _raise_floor(self, name: str, at: int) -> None:
        """A swept record needs no tombstone of its own: an id that is not there has the floor as its ``at`` (N2)."""
        collection = self.collections.setdefault(name, Collection())
        collection.columns = None
        for record_id in [record_id for record_id, state in collection.live.items() if state.at < at]:
            del collection.live[record_id]
            collection.odd_ids -= integer_of(record_id) is None
            self.changes += 1
            if not name:
                self.names.pop(record_id, None)
        collection.floor = max(collection.floor, at)
        for record_id in [
            gone for gone, state in collection.tombstones.items() if state.at <= collection.floor
        ]:
            del collection.tombstones[record_id]

    def _forget_below(self, lowest_open: int) -> None:
        if lowest_open <= self.lowest_open:
            return
        self.lowest_open = lowest_open
        while self.requests:
            oldest = next(iter(self.requests))
            if oldest >= lowest_open:
                return  # one that came out of order waits behind it; ids below lowest_open are refused all the same
            del self.requests[oldest]
