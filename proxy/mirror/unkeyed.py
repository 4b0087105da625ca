"""What the replayer does for entries that name no key of their own: listings, gap marks, presumptions, stand-ins.

Executes and reports, like the replayer; the rules are in sweeps.py, lanes.py and plain.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from proxy.errors import TurnoutError, UpstreamError
from proxy.failpoints import hit
from proxy.journal.entry import Entry, EntryEvent, EntryState
from proxy.journal.store import GapMark, JournalStore
from proxy.mirror.listing import Listing, SecondaryStaleError, UnlistableError
from proxy.mirror.state import MirrorState
from proxy.mirror.sweeps import scope_of
from proxy.model import Place, Reply
from proxy.observe import is_worth_saying
from proxy.ports import Clock, Sender
from proxy.protocol import path_of
from proxy.routing.made import key_of_answer

log = structlog.get_logger("mirror")

MarkGap = Callable[[str, str], Awaitable[GapMark]]
"""Prefix and why; durable on return."""


class Unkeyed:
    """One process's. Each method ends with one event for the lanes; what is settled by it goes back to the caller."""

    def __init__(
        self,
        state: MirrorState,
        journal: JournalStore,
        sender: Sender,
        clock: Clock,
        away: Callable[[str], None],
    ) -> None:
        self._away = away
        """Says why the secondary takes nothing now; it is looked for, and told the epoch, until it does."""
        self._state = state
        self._lanes = state.lanes
        self._journal = journal
        self._clock = clock
        self._listing = Listing(state, sender)

    async def list_(self, seq: int) -> list[Entry]:
        """Every key under its marks, at both upstreams."""
        entry = self._lanes.entries[seq]
        try:
            keys = await self._listing.keys(entry.marks)
        except UpstreamError as error:
            if isinstance(error, SecondaryStaleError):
                self._away(str(error))
            failures = self._lanes.list_failed(seq, self._clock.now())
            if is_worth_saying(failures):
                log.warning(
                    "listing_failed", seq=seq, prefixes=list(entry.marks), failures=failures, error=str(error)
                )
            return []
        except UnlistableError as error:
            log.warning(
                "unlistable", seq=seq, prefixes=list(entry.marks), error=str(error), next="turnout validate"
            )
            self._lanes.needs_gap(seq)
            return []
        hit("prefix-listed")
        log.info("mark_listed", seq=seq, prefixes=list(entry.marks), keys=len(keys))
        return self._lanes.listed(seq, keys)

    async def gap(self, seq: int, prefixes: tuple[str, ...], mark_gap: MarkGap) -> list[Entry]:
        """Leave it to a validation: the gap marks are durable before the entry goes (unlistable-gap)."""
        method = self._lanes.entries[seq].method
        for prefix in prefixes:
            if not self._state.gaps.has(prefix):
                await mark_gap(prefix, f"a {method} that named no key and could not be repaired")
        hit("gap-marked")
        return self._lanes.gapped(seq)

    def presume(self, seq: int) -> None:
        """A plain primary cannot be asked: it may have done it, or may yet (presumed-done)."""
        entry = self._lanes.entries[seq]
        self._lanes.presumed_done(seq, self._clock.now())
        log.warning(
            "in_doubt_at_plain",
            seq=seq,
            method=entry.method,
            repairs=list(scope_of(entry)),
            settles_in_s=self._lanes.late_s,
        )
        self._journal.outcome(replace(entry), _logged)
        self._journal.ended((), self._state.stats.add("accepted"))

    async def mend_stray(self, entry: Entry, reply: Reply) -> None:
        """A plain secondary made the record under another id than the primary: that one is repaired, too (stray-mended)."""
        if entry.key is None or not entry.can_learn_key or not 200 <= reply.status < 300:
            return
        place = Place(None, entry.prefix, is_collection=True)
        made = key_of_answer(place, reply.header("location"), reply.body)
        if made is not None and made != entry.key:
            log.warning("secondary_renumbers", asked=entry.key, made=made)
            await self.stand_in(made)

    async def stand_in(self, key: str) -> None:
        """A durable entry for a key that must be repaired and has none of its own. TurnoutError where it cannot be written."""
        seq = self._state.take_seq()
        entry = Entry(
            seq, "PUT", path_of(key), (), key, key.rpartition("/")[0], self._clock.wall(), must_repair=True
        )
        self._lanes.intent(entry)
        durable: asyncio.Future[TurnoutError | None] = asyncio.get_running_loop().create_future()
        self._journal.intent(entry, _logged)
        self._journal.outcome(replace(entry, state=EntryState.ACCEPTED), durable.set_result)
        error = await durable
        if error is not None:
            self._lanes.ended(seq, EntryEvent.NEVER_SENT)
            self._state.settled(seq)
            raise error
        self._lanes.accepted(seq)
        self._journal.ended((), self._state.stats.add("accepted"))


def _logged(error: TurnoutError | None) -> None:
    if error is not None:
        log.error("outcome_not_written", error=str(error))
