"""Changes that are decided together and committed in one statement. Pure: what they read was fetched before.

A :class:`Batch` lies over the ledger and the fetched rows: each change sees those before it in the same batch, and
nothing outside sees any of them before the commit. So a record's lock is the writer's turn, no answer shows a state
that is not durable (N3), and the watermark is simply the last number committed (N4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backends.contract.ids import integer_of
from backends.postgres_ledger import Ledger, Shelf
from backends.store import (
    Done,
    Epoch,
    KeptAnswer,
    Put,
    Remove,
    StaleRequestError,
    Stamp,
    State,
)

Key = tuple[str, str]
"""(collection, id)"""


@dataclass(frozen=True, slots=True)
class Row:
    """A record as its table holds it. ``created`` and ``arrival`` are its place in the order of creation, while it lives."""

    body: str | None
    version: int | None
    at: int
    created: int | None
    arrival: int


@dataclass(frozen=True, slots=True)
class Step:
    """One change, weighed but not yet made: what it becomes, and the numbers that it would take."""

    key: Key
    after: State
    row: Row
    number: int


class Batch:
    """What the changes so far have made of the ledger. ``fetched`` holds the rows of all ids that they ask for."""

    def __init__(
        self, ledger: Ledger, fetched: Mapping[Key, Row], answers: Mapping[str, KeptAnswer], now_ms: int
    ) -> None:
        self.ledger = ledger
        self.now_ms = now_ms
        self._fetched = fetched
        self._kept = answers
        # what is to be written
        self.number = ledger.number
        self.newest = ledger.newest
        self.arrival = ledger.arrival
        self.lowest_open = ledger.lowest_open
        self.rows: dict[str, dict[str, Row]] = {}
        self.shelves: dict[str, Shelf] = {}
        self.requests: dict[int, Done | None] = {}
        self.answers: dict[str, KeptAnswer] = {}
        self.body_chars = 0

    @property
    def is_empty(self) -> bool:
        """Nothing is to be written (a higher ``lowest_open`` alone can wait)."""
        return not (self.rows or self.requests or self.answers)

    def check_epoch(self, epoch: Epoch | None) -> None:
        """E3."""
        self.ledger.check_epoch(epoch)

    def check_request(self, request: int) -> None:
        """W1."""
        if request < self.lowest_open or request in self.requests or request in self.ledger.requests:
            raise StaleRequestError(f"request {request} was decided before")

    def decided(self, request: int) -> tuple[bool, Done | None]:
        """Whether the id is known to be decided, and what it did."""
        for known in (self.requests, self.ledger.requests):
            if request in known:
                return True, known[request]
        return False, None

    def decide(self, request: int, lowest_open: int, done: Done | None) -> None:
        self.lowest_open = max(self.lowest_open, lowest_open)
        self.requests[request] = done

    def kept(self, key: str) -> KeptAnswer | None:
        found = self.answers.get(key) or self._kept.get(key)
        return found if found is not None and found.expires_ms > self.now_ms else None

    def keep(self, kept: KeptAnswer) -> None:
        """Keep an answer, in the place of an earlier one; one that is over leaves no trace."""
        if kept.expires_ms > self.now_ms:
            self.answers[kept.idempotency_key] = kept
            self.body_chars += len(kept.answer.body)

    def shelf(self, collection: str) -> Shelf:
        """The collection as it would be; to be changed through :meth:`make` only."""
        known = self.shelves.get(collection) or self.ledger.shelves.get(collection)
        return Shelf(collection) if known is None else known

    def state(self, key: Key) -> State:
        row, floor = self._row(key), self.shelf(key[0]).floor
        if row is None:
            return State(None, None, floor)
        return State(None if row.body is None else row.body.encode(), row.version, max(row.at, floor))

    def weigh(self, key: Key, before: State, verdict: Put | Remove) -> Step:
        """What the verdict would make of the record. ValueError for a body that is not UTF-8; nothing has changed then."""
        stamp, number = verdict.stamp, self.number
        if stamp is None:
            number += 1
            stamp = Stamp(number, number)
        body = verdict.body if isinstance(verdict, Put) else None
        existing = self._row(key)
        created, arrival = None, 0
        if body is not None:
            if existing is not None and existing.created is not None:
                created, arrival = existing.created, existing.arrival
            else:
                created, arrival = self._created(stamp, before), self.arrival + 1
        row = Row(None if body is None else body.decode(), stamp.version, stamp.at, created, arrival)
        return Step(key, State(body, stamp.version, stamp.at), row, number)

    def make(self, step: Step) -> None:
        """Let the step be so."""
        (collection, record_id), row = step.key, step.row
        existing = self._row(step.key)
        was_live = existing is not None and existing.body is not None
        is_live, integer = row.body is not None, integer_of(record_id)
        shelf = self.shelf(collection)
        odd = integer is None
        if is_live != was_live or (integer or 0) > shelf.counter:
            shelf = self.shelves.setdefault(collection, shelf.copy())
            shelf.live += is_live - was_live
            shelf.odd += odd * (is_live - was_live)
            shelf.counter = max(shelf.counter, integer or 0)
        self.rows.setdefault(collection, {})[record_id] = row
        self.number = step.number
        self.newest = max(self.newest, self.number, row.version or 0, row.at)
        self.arrival = max(self.arrival, row.arrival)
        self.body_chars += len(row.body or "")

    def commit(self) -> int:
        """Bring the ledger up to date, once all is durable; how many request ids were forgotten."""
        ledger = self.ledger
        ledger.number, ledger.newest, ledger.arrival = self.number, self.newest, self.arrival
        ledger.shelves.update(self.shelves)
        ledger.requests.update(self.requests)
        return ledger.forget_below(self.lowest_open)

    def _row(self, key: Key) -> Row | None:
        changed = self.rows.get(key[0], {}).get(key[1])
        return self._fetched.get(key) if changed is None else changed

    def _created(self, stamp: Stamp, before: State) -> int:
        """A new record's place among others: by the number of its creation, where it is known, so that both servers list alike.

        What a backfill brings (newer than what is there, no version) stands at its ``at``; a foreign write, which keeps
        the ``at`` that was there, comes last.
        """
        if stamp.version is not None:
            return stamp.version
        return stamp.at if stamp.at > before.at else self.newest
