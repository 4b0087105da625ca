"""The rare changes that concern more than records: an epoch's announcement and a sweep. Each in a transaction of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from backends import postgres_statements as statements
from backends.postgres_connection import Connection
from backends.postgres_ledger import Ledger, Shelf
from backends.postgres_writer import Alone, make_table
from backends.store import EPOCH_SHIFT, Epoch, EpochState, Role, StaleEpochError

SWEEP_TIMEOUT_S = 600.0
"""A sweep may have to look at millions of rows."""


def announcement(
    epoch: int, role: Role, journal: str, counters: Mapping[str, int], *, adopt: bool
) -> Alone[EpochState]:
    """Store.announce (E2)."""

    async def run(connection: Connection, ledger: Ledger) -> tuple[EpochState, Callable[[Ledger], None]]:
        is_other_journal = ledger.journal is not None and ledger.journal != journal
        is_same_epoch = epoch == ledger.epoch and ledger.journal is not None
        if (
            epoch < ledger.epoch
            or (is_other_journal and not adopt)
            or (is_same_epoch and (is_other_journal or role is not ledger.role))
        ):
            raise StaleEpochError(ledger.epoch_state())
        number = max(ledger.number, epoch << EPOCH_SHIFT)
        lowest_open = 0 if is_other_journal else ledger.lowest_open
        await connection.execute(statements.ANNOUNCE, epoch, role.value, journal, number, lowest_open)
        if is_other_journal:
            await connection.execute(statements.FORGET_ALL_REQUESTS)
        if counters:
            await connection.execute(statements.RAISE_COUNTERS, list(counters), list(counters.values()))

        def apply(to: Ledger) -> None:
            to.epoch, to.role, to.journal = epoch, role, journal
            to.number, to.newest = number, max(to.newest, number)
            if is_other_journal:
                to.requests.clear()
                to.lowest_open = 0
            for name, counter in counters.items():
                shelf = to.shelves.setdefault(name, Shelf(name))
                shelf.counter = max(shelf.counter, counter)

        after = ledger.copy()
        apply(after)
        return after.epoch_state(), apply

    return run


def sweep(epoch: Epoch | None, collection: str, at: int) -> Alone[int]:
    """Store.raise_floor (B3)."""

    async def run(connection: Connection, ledger: Ledger) -> tuple[int, Callable[[Ledger], None]]:
        ledger.check_epoch(epoch)
        table = await make_table(connection, ledger, collection)
        await connection.execute(f"set local statement_timeout = '{SWEEP_TIMEOUT_S:.0f}s'")
        gone = await connection.fetchrow(statements.sweep(table), at, timeout=SWEEP_TIMEOUT_S)
        swept, odd, floor = gone["swept"], gone["odd"], max(at, ledger.floor(collection))
        await connection.execute(statements.RAISE_FLOOR, collection, floor, swept, odd)

        def apply(to: Ledger) -> None:
            shelf = to.shelves[collection]
            shelf.floor = floor
            shelf.live -= swept
            shelf.odd -= odd

        return swept, apply

    return run
