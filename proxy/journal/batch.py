"""What the journal's writer commits together, and whom it tells then: plain data between the event loop and the writer's thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from proxy.errors import TurnoutError
from proxy.journal.gathering import Item
from proxy.journal.rows import IntentRow, OutcomeRow
from proxy.ports import Done

log = structlog.get_logger("journal")

Work = Callable[[sqlite3.Connection], Any]
Finish = Callable[[Any, Exception | None], None]
Told = tuple[Done, TurnoutError | None]


class Lazy:
    """Entries that go, and what is to be counted and told then: all of it may wait for somebody else's commit."""

    __slots__ = ("dones", "seqs", "totals")

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self.totals: dict[str, int] = {}
        self.dones: list[Done] = []

    def add(self, seqs: Sequence[int], totals: dict[str, int] | None, done: Done | None) -> None:
        self.seqs.extend(seqs)
        if totals is not None:
            _add_up(totals, self.totals)
        if done is not None:
            self.dones.append(done)


class Batch:
    """By kind; the kinds of one entry always run in this order: intents, outcomes, works, ends."""

    __slots__ = (
        "callbacks",
        "dones",
        "intent_dones",
        "intents",
        "outcome_dones",
        "outcomes",
        "seqs",
        "totals",
        "works",
    )

    def __init__(self) -> None:
        self.intents: list[IntentRow] = []
        self.intent_dones: list[Done] = []
        """Of each intent."""
        self.outcomes: list[OutcomeRow] = []
        self.outcome_dones: list[Done] = []
        """Of each outcome."""
        self.works: list[tuple[Work, Finish]] = []
        self.seqs: list[int] = []
        """Of entries that go."""
        self.totals: dict[str, int] = {}
        self.dones: list[Done] = []
        """Called once ``seqs`` are gone."""
        self.callbacks: list[Told] = []

    def take(self, items: list[Item]) -> None:
        """One step's requests, in their order."""
        for kind, what, done in items:
            if kind == "intent":
                self.intents.append(what)
                self.intent_dones.append(done)
            elif kind == "outcome":
                self.outcomes.append(what)
                self.outcome_dones.append(done)
            elif kind == "work":
                self.works.append((what, done))
            elif what is not None:
                self.add(what)

    def add(self, lazy: Lazy) -> None:
        self.seqs += lazy.seqs
        self.dones += lazy.dones
        _add_up(lazy.totals, self.totals)

    @property
    def has_rows(self) -> bool:
        return bool(self.intents or self.outcomes or self.seqs or self.totals)

    @property
    def waiting(self) -> int:
        """Writes that go on once it is committed."""
        return len(self.intents) + len(self.outcomes)

    @property
    def body_bytes(self) -> int:
        return sum(len(row[-2] or b"") + len(row[-1] or b"") for row in self.outcomes)

    def refuse_intents(self, error: TurnoutError) -> None:
        self.callbacks += [(done, error) for done in self.intent_dones]
        self.intents, self.intent_dones = [], []

    def refuse_outcomes(self, error: TurnoutError) -> None:
        self.callbacks += [(done, error) for done in self.outcome_dones]

    def committed(self, results: list[Told] | None = None) -> None:
        """It is on disk: everybody may be told, in the order of the kinds."""
        self.callbacks += [(done, None) for done in self.intent_dones]
        self.callbacks += [(done, None) for done in self.outcome_dones]
        if results:
            self.callbacks += results
        self.callbacks += [(done, None) for done in self.dones]


def call_all(callbacks: list[Told]) -> None:
    """On the event loop. One that fails keeps none of the others."""
    for done, error in callbacks:
        try:
            done(error)
        except Exception:
            log.exception("journal_callback_failed")


def _add_up(counts: dict[str, int], totals: dict[str, int]) -> None:
    for name, count in counts.items():
        totals[name] = totals.get(name, 0) + count
