"""What the PostgreSQL store knows without asking: the numbers, the epoch, the collections, the open request ids.

One server process owns a database (see postgres_owner), and one writer changes it, so what is read at the start and
followed at each commit is exactly what is durable. Pure: no connection, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from backends.store import Done, Epoch, EpochState, Role, StaleEpochError


@dataclass(slots=True)
class Shelf:
    """One collection: the table that holds it (None until a first record), and what is counted of it."""

    name: str
    slot: int | None = None
    table: str | None = None
    counter: int = 0
    floor: int = 0
    live: int = 0
    odd: int = 0
    """Live records whose id is no integer: with any, new ids are UUIDs."""

    def copy(self) -> Shelf:
        return replace(self)


@dataclass(slots=True)
class Ledger:
    """Exactly what is committed."""

    number: int = 0
    """The last number taken: the watermark (N4), since numbers are committed in the order in which they are taken."""
    newest: int = 0
    arrival: int = 0
    lowest_open: int = 0
    epoch: int = 0
    role: Role = Role.NONE
    journal: str | None = None
    shelves: dict[str, Shelf] = field(default_factory=dict[str, Shelf])
    requests: dict[int, Done | None] = field(default_factory=dict[int, Done | None])
    """Decided ids that are not below ``lowest_open``; None for a rejected or voided one."""

    def copy(self) -> Ledger:
        """A copy that later changes leave as it is."""
        shelves = {name: shelf.copy() for name, shelf in self.shelves.items()}
        return replace(self, shelves=shelves, requests=dict(self.requests))

    def check_epoch(self, epoch: Epoch | None) -> None:
        """E3."""
        if epoch is not None and (epoch.epoch, epoch.journal) != (self.epoch, self.journal):
            raise StaleEpochError(self.epoch_state())

    def epoch_state(self) -> EpochState:
        counters = {name: shelf.counter for name, shelf in self.shelves.items() if name and shelf.counter}
        return EpochState(self.epoch, self.role, self.journal, self.number, counters)

    def table(self, collection: str) -> str | None:
        shelf = self.shelves.get(collection)
        return None if shelf is None else shelf.table

    def floor(self, collection: str) -> int:
        shelf = self.shelves.get(collection)
        return 0 if shelf is None else shelf.floor

    def forget_below(self, lowest_open: int) -> int:
        """Forget request ids that are refused anyway; how many were."""
        if lowest_open <= self.lowest_open:
            return 0
        few = lowest_open - self.lowest_open <= len(self.requests)
        ids = range(self.lowest_open, lowest_open) if few else list(self.requests)
        gone = [request for request in ids if request < lowest_open and request in self.requests]
        for request in gone:
            del self.requests[request]
        self.lowest_open = lowest_open
        return len(gone)
