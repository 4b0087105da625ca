"""What is actual, in memory and in the journal: primary, epoch, overrides, history. The only place that writes them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable

import msgspec
import structlog

from proxy.journal.store import GapMark, HistoryLine, JournalMeta, JournalStore, Override, Pause, Returning
from proxy.ports import Clock

log = structlog.get_logger("control")

HISTORY_LINES_MAX = 1000


class Actual:
    """One process's view of the journal's meta, changed only together with it."""

    def __init__(self, journal: JournalStore, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self.meta: JournalMeta = journal.recovered.meta
        self.overrides: dict[str, Override] = {one.path: one for one in journal.recovered.overrides}

    @property
    def is_new(self) -> bool:
        return not self.meta.primary

    async def begin(self, primary: str) -> None:
        """A new journal: who is primary, in epoch 1, with everything unproven."""
        wall_s = self._clock.wall()

        def work(db: sqlite3.Connection) -> None:
            _set(db, primary=primary, first_primary=primary, epoch="1", burned="1", since=str(wall_s))
            _gap(db, "", wall_s, "first start")

        await self._journal.transact(work)
        _told("", "first start")
        self.meta.primary = self.meta.first_primary = primary
        self.meta.epoch = self.meta.burned = 1
        self.meta.since_wall_s = wall_s

    async def burn(self, epoch: int) -> None:
        """From now on this epoch may have been announced."""
        assert epoch > self.meta.burned, "an epoch is burned once"
        await self._journal.transact(lambda db: _set(db, burned=str(epoch)))
        self.meta.burned = epoch

    async def commit(
        self,
        *,
        primary: str,
        epoch: int,
        overrides: Iterable[Override] | None,
        line: HistoryLine | None,
        returning: Returning | None = None,
        work: Callable[[object], None] | None = None,
    ) -> None:
        """One transaction: primary and epoch, the overrides of a switch (None: leave them), a line of history; and, where the old
        primary is left behind, what must happen when it returns, and ``work``."""
        assert epoch <= self.meta.burned, (
            "an epoch is burned before it is announced, and announced before it is committed"
        )
        new = None if overrides is None else list(overrides)

        def commit(db: sqlite3.Connection) -> None:
            _set(db, primary=primary, epoch=str(epoch))
            if new is not None:
                _set_overrides(db, new)
            if returning is not None:
                _set(db, returning=msgspec.json.encode(returning).decode())
            if work is not None:
                work(db)
            if line is not None:
                _line(db, line)

        await self._journal.transact(commit)
        self.meta.primary, self.meta.epoch = primary, epoch
        if returning is not None:
            self.meta.returning = returning
        if new is not None:
            self.overrides = {one.path: one for one in new}

    async def set_overrides(self, overrides: Iterable[Override], line: HistoryLine | None = None) -> None:
        """These and no others from now on, with a line of history, in one transaction."""
        new = list(overrides)

        def work(db: sqlite3.Connection) -> None:
            _set_overrides(db, new)
            if line is not None:
                _line(db, line)

        await self._journal.transact(work)
        self.overrides = {one.path: one for one in new}

    async def pause(self, pause: Pause | None, line: HistoryLine) -> None:
        """Whether the mirror sends anything; kept over a restart."""

        def work(db: sqlite3.Connection) -> None:
            _set(db, paused="" if pause is None else msgspec.json.encode(pause).decode())
            _line(db, line)

        await self._journal.transact(work)
        self.meta.paused = pause

    async def returned(self) -> None:
        """The upstream that was left behind may be mirrored to."""
        await self._journal.transact(lambda db: _set(db, returning=""))
        self.meta.returning = None

    async def validated(self, began_wall_s: float, last_gap: int) -> None:
        """A validation that began then, when ``last_gap`` was the last mark, found equal: the gaps up to it are cleared."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("delete from gaps where id <= ?", (last_gap,))
            _set(db, validated=str(began_wall_s))

        await self._journal.transact(work)
        self.meta.validated_wall_s = began_wall_s

    async def remember_kinds(self, versioned: frozenset[str]) -> None:
        """Upstreams that have shown to be versioned are never taken for plain again, also after a restart (never-plain-again)."""
        known = self.meta.versioned | versioned
        if known != self.meta.versioned:
            text = json.dumps(sorted(known))
            await self._journal.transact(lambda db: _set(db, versioned=text))
            self.meta.versioned = known

    async def adopt(self, epoch: int, primary: str) -> None:
        """Take over upstreams that another journal served: a higher epoch, and everything unproven."""
        wall_s = self._clock.wall()

        def work(db: sqlite3.Connection) -> None:
            _set(db, primary=primary, epoch=str(epoch), burned=str(epoch), validated="0")
            _gap(db, "", wall_s, "adopted from another journal")

        await self._journal.transact(work)
        _told("", "adopted from another journal")
        self.meta.primary, self.meta.epoch, self.meta.burned, self.meta.validated_wall_s = (
            primary,
            epoch,
            epoch,
            0.0,
        )

    async def gaps(self) -> list[GapMark]:
        """The marks as they are on disk now."""

        def read(db: sqlite3.Connection) -> list[GapMark]:
            return [
                GapMark(*row) for row in db.execute("select id, prefix, since, why from gaps order by id")
            ]

        return await self._journal.transact(read)

    async def mark_mirror_off(self) -> None:
        """A start with the mirror off: whatever is written from now on, the mirror does not carry."""
        marks = await self.gaps()
        if not any(mark.prefix == "" for mark in marks):
            wall_s = self._clock.wall()
            await self._journal.transact(lambda db: _gap(db, "", wall_s, "the mirror was off"))
            _told("", "the mirror was off")

    async def remember(self, actor: str, verb: str, detail: str, reason: str = "") -> None:
        line = self.line(actor, verb, detail, reason)
        await self._journal.transact(lambda db: _line(db, line))

    def line(self, actor: str, verb: str, detail: str, reason: str = "") -> HistoryLine:
        return HistoryLine(self._clock.wall(), actor, verb, detail, reason)

    async def history(self, count: int = 50) -> list[HistoryLine]:
        """Newest first."""

        def read(db: sqlite3.Connection) -> list[HistoryLine]:
            rows = db.execute(
                "select wall, actor, verb, detail, reason, id from history order by id desc limit ?", (count,)
            )
            return [HistoryLine(*row) for row in rows]

        return await self._journal.transact(read)


def _set(db: sqlite3.Connection, **values: str) -> None:
    db.executemany("update meta set value=? where name=?", [(value, name) for name, value in values.items()])


def _set_overrides(db: sqlite3.Connection, overrides: Iterable[Override]) -> None:
    db.execute("delete from overrides")
    db.executemany(
        "insert into overrides values (?, ?, ?)", [(o.path, o.value, o.file_value) for o in overrides]
    )


def _gap(db: sqlite3.Connection, prefix: str, wall_s: float, why: str) -> int:
    cursor = db.execute("insert into gaps (prefix, since, why) values (?, ?, ?)", (prefix, wall_s, why))
    return cursor.lastrowid or 0


def _told(prefix: str, why: str) -> None:
    log.warning("gap", prefix=prefix or "/", why=why, next="turnout validate")


def _line(db: sqlite3.Connection, line: HistoryLine) -> None:
    db.execute(
        "insert into history (wall, actor, verb, detail, reason) values (?, ?, ?, ?, ?)",
        (line.wall_s, line.actor, line.verb, line.detail, line.reason),
    )
    db.execute(
        "delete from history where id <= (select max(id) from history) - ?",
        (HISTORY_LINES_MAX,),
    )
