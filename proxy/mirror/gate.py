"""The mirror as the hot path meets it (ports.MirrorPort): intents, outcomes, the fence, and what a reader must wait for.

Owns a write's passage until its outcome is on disk; what follows is the replayer's. Callbacks only: no future
and no task is made for a request.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from proxy.errors import TurnoutError, UpstreamError
from proxy.failpoints import hit
from proxy.journal.entry import Entry, EntryEvent
from proxy.journal.store import GapMark, JournalStore
from proxy.limits import (
    HELD_WRITES_MAX,
    MIRROR_BODIES_IN_MEMORY_BYTES_MAX,
    MIRROR_ENTRIES_IN_MEMORY_MAX,
    MIRROR_REPLAYS_PER_LANE_MAX,
)
from proxy.mirror import settle
from proxy.mirror.lanes import Replay
from proxy.mirror.state import MirrorState
from proxy.model import MirrorAnswer, Place, PrimaryAnswer, WriteHead
from proxy.ports import Answered, Clock, Done
from proxy.protocol import parse_write_version
from proxy.routing.made import key_of_answer
from proxy.routing.paths import covers

log = structlog.get_logger("mirror")

LAG_NOBODY_WAITS_S = 1.0
"""With the oldest entry older than this, no canary client waits for the secondary (DESIGN section 5)."""


class _Waiter:
    """Somebody who waits for some entries to settle."""

    __slots__ = ("done", "seqs", "timer")

    def __init__(
        self, seqs: set[int], done: Callable[[bool], None], timer: asyncio.TimerHandle | None
    ) -> None:
        self.seqs = seqs
        self.done = done
        self.timer = timer


class Gate:
    """A ports.MirrorPort over the journal and the lanes."""

    def __init__(
        self,
        state: MirrorState,
        journal: JournalStore,
        clock: Clock,
        *,
        wake: Callable[[], None],
        bodies_bytes_max: int,
        hold_timeout_s: float,
    ) -> None:
        # for the life of the process
        self._state = state
        self._lanes = state.lanes
        self._journal = journal
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._wake = wake
        self._bodies_bytes_max = bodies_bytes_max
        self.hold_timeout_s = hold_timeout_s
        # the fence
        self.is_fenced = False
        self.fence_reason = ""
        self._held: deque[_Held] = deque()
        # writes under way
        self._not_durable: dict[int, bool] = {}
        """Seqs whose intent is not on disk yet → whether they were given up meanwhile."""
        self._answers: dict[int, tuple[Callable[[MirrorAnswer | None], None], asyncio.TimerHandle]] = {}
        self._waiters: dict[int, list[_Waiter]] = {}
        self._pending_gaps: dict[str, list[Done]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        state.on_settled.append(self._on_settled)

    # -- the fence ---------------------------------------------------------------------------------

    def fence(self, reason: str) -> None:
        """New writes wait from now on."""
        self.is_fenced = True
        self.fence_reason = reason

    def release(self) -> None:
        """Held writes go on, each decided anew."""
        self.is_fenced = False
        self.fence_reason = ""
        held, self._held = self._held, deque()
        for one in held:
            one.finish(None)

    @property
    def held_writes(self) -> int:
        return len(self._held)

    def hold(self, resume: Done) -> Callable[[], None]:
        one = _Held(resume)
        if len(self._held) >= HELD_WRITES_MAX:
            self._loop.call_soon(one.finish, _held_too_long(self.fence_reason))
            return one.cancel
        one.timer = self._loop.call_later(self.hold_timeout_s, self._give_up, one)
        self._held.append(one)
        return one.cancel

    def _give_up(self, one: _Held) -> None:
        try:
            self._held.remove(one)
        except ValueError:
            return
        one.finish(_held_too_long(self.fence_reason))

    # -- a write's life ----------------------------------------------------------------------------

    def intend(self, write: WriteHead, durable: Done) -> int:
        assert not self.is_fenced, "fence check and intent are one step"
        seq = self._state.take_seq()
        entry = Entry(
            seq=seq,
            method=write.method,
            target=write.target,
            headers=write.headers,
            key=write.place.key,
            prefix=write.place.prefix,
            born_wall_s=self._clock.wall(),
            marks=write.marks,
            must_repair=write.is_state,
            can_learn_key=write.method == "POST" and write.place.is_collection,
        )
        self._lanes.intent(entry)
        self._not_durable[seq] = False

        def on_disk(error: TurnoutError | None) -> None:
            was_given_up = self._not_durable.pop(seq)
            if error is not None:
                self._lanes.ended(seq, EntryEvent.NEVER_SENT)
                self._lanes.end_durable((seq,))
                self._state.settled(seq)
            elif was_given_up:
                self._end(seq, EntryEvent.NEVER_SENT)
            hit("intent-durable")
            if not was_given_up:
                durable(error)

        self._journal.intent(entry, on_disk)
        hit("intent-queued")
        return seq

    def headers_for(self, seq: int) -> bytes:
        own = self.write_headers()
        if not own:
            return b""
        lowest_open = self._lanes.lowest_open()
        return b"Turnout-Request: %d; open=%d\r\n%b" % (
            seq,
            seq if lowest_open is None else lowest_open,
            own,
        )

    def write_headers(self) -> bytes:
        return self._state.write_headers

    def accepted(self, seq: int, answer: PrimaryAnswer, durable: Done) -> None:
        hit("primary-answered")
        entry = self._lanes.entries[seq]
        version = parse_write_version(settle.header(answer.headers, "turnout-version"))
        entry.status = answer.status
        if version is not None:
            entry.version, entry.base = version.version, version.base
        if entry.key is None and entry.can_learn_key:
            place = Place(None, entry.prefix, is_collection=True)
            entry.key = key_of_answer(place, settle.header(answer.headers, "location"), answer.body)
            if entry.key is None and entry.marks:
                self._lanes.add_mark(seq, entry.prefix)
        is_replayable = settle.is_replayable(
            entry,
            answer,
            is_exact=self._state.is_exact,
            is_numbered=self._state.is_numbered,
        )
        if entry.key is None and not entry.marks and not is_replayable:
            self._accepted_without_key(entry, durable)
            return
        entry.is_replayable = is_replayable
        if entry.is_replayable:
            entry.request_body = answer.request_body
        if entry.is_replayable or settle.is_record(answer):
            # What a repair from the journal needs, should the primary die (mirror/salvage.py).
            entry.answer_body = answer.body

        def on_disk(error: TurnoutError | None) -> None:
            if error is not None:
                # The primary has it, the journal could not say so: void will find it there.
                log.error("outcome_not_written", seq=seq, error=str(error))
                self._lanes.doubtful(seq, self._clock.now())
            else:
                self._lanes.accepted(seq)
                self._journal.ended((), self._state.stats.add("accepted"))
                self._state.accepted_rate.add(self._clock.now(), 1)
                self._keep_bounded(entry)
            hit("outcome-durable")
            self._wake()
            durable(error)
            hit("client-answered")

        # The row says accepted; the entry in memory becomes it only once that is on disk.
        self._journal.outcome(entry, on_disk)

    def rejected(self, seq: int) -> None:
        self._end(seq, EntryEvent.REJECTED, self._state.stats.add("rejected"))

    def doubtful(self, seq: int) -> None:
        self._lanes.doubtful(seq, self._clock.now())
        self._wake()

    def never_sent(self, seq: int) -> None:
        if seq in self._not_durable:
            self._not_durable[seq] = True
        else:
            self._end(seq, EntryEvent.NEVER_SENT)

    def _end(self, seq: int, event: EntryEvent, totals: dict[str, int] | None = None) -> None:
        self._lanes.ended(seq, event)
        self._journal.ended((seq,), totals, lambda _: self._lanes.end_durable((seq,)))
        self._state.settled(seq)

    def _accepted_without_key(self, entry: Entry, durable: Done) -> None:
        """The primary took a POST and named nothing: what it changed is not known, so its prefix is unproven from now on.

        One mark says as much as one for each such write. That it stands already is asked after the primary's answer, so that a validation
        which may clear it has not begun, or looks at what the write has changed.
        """

        def marked(error: TurnoutError | None) -> None:
            if error is None:
                self._end(entry.seq, EntryEvent.REJECTED)
            else:
                self._lanes.doubtful(entry.seq, self._clock.now())
            durable(error)

        if self._state.gaps.has(entry.prefix):
            marked(None)
            return
        log.warning("write_without_key", method=entry.method, prefix=entry.prefix, seq=entry.seq)
        self._mark_gap(entry.prefix, "a POST whose answer named no key", marked)

    def _keep_bounded(self, entry: Entry) -> None:
        """Beyond the bounds a key's waiting entries become one mark (collapse), and bodies leave memory: the journal has them.

        A lane of more than MIRROR_REPLAYS_PER_LANE_MAX is repaired once anyway, so one mark says as much as all of them.
        """
        lanes = self._lanes
        lane = None if entry.key is None else lanes.lanes.get(entry.key)
        if lane is not None and entry.key is not None:
            is_over = lanes.body_bytes > self._bodies_bytes_max
            is_long = (
                len(lane.entries) > MIRROR_REPLAYS_PER_LANE_MAX
                or len(lanes.entries) > MIRROR_ENTRIES_IN_MEMORY_MAX
            )
            if is_over or is_long:
                self._collapse(entry.key, keeps_newest=not is_over)
        if lanes.body_bytes > MIRROR_BODIES_IN_MEMORY_BYTES_MAX:
            entry.request_body = entry.answer_body = None

    def _collapse(self, key: str, *, keeps_newest: bool) -> None:
        collapsed = self._lanes.collapse(key, keeps_newest=keeps_newest)
        if collapsed is not None:
            mark, gone = collapsed
            self._journal.outcome(mark, _ignore)
            self._journal.ended([one.seq for one in gone])
            for one in gone:
                self._moved(one.seq, mark.seq)

    def _moved(self, seq: int, to: int) -> None:
        """Who waited for a collapsed entry waits for its mark."""
        for waiter in self._waiters.pop(seq, ()):
            waiter.seqs.discard(seq)
            waiter.seqs.add(to)
            self._waiters.setdefault(to, []).append(waiter)

    # -- canary writes -----------------------------------------------------------------------------

    def await_secondary(
        self, seq: int, timeout_s: float, done: Callable[[MirrorAnswer | None], None]
    ) -> None:
        if not self._may_wait(seq):
            done(None)
            return
        timer = self._loop.call_later(timeout_s, self.replayed, seq, None)
        self._answers[seq] = (done, timer)

    def _may_wait(self, seq: int) -> bool:
        lanes = self._lanes
        entry = lanes.entries.get(seq)
        if entry is None or entry.key is None or not entry.is_replayable or entry.must_repair:
            return False
        if (
            not lanes.is_secondary_up
            or lanes.is_paused
            or self._state.lag_seconds(self._clock.wall()) > LAG_NOBODY_WAITS_S
        ):
            return False
        if lanes.is_waiting(entry):
            return False
        lane = lanes.lanes[entry.key]
        is_busy = lane.working is not None and not (
            isinstance(lane.working, Replay) and lane.working.seq == seq
        )
        return not is_busy and len(lane.entries) == 1 and not lane.is_dead

    def replayed(self, seq: int, answer: Answered | None) -> None:
        """The replayer's word on a replay (None: not equal, or not in time)."""
        waiting = self._answers.pop(seq, None) if self._answers else None
        if waiting is not None:
            done, timer = waiting
            timer.cancel()
            done(None if answer is None else MirrorAnswer(answer.status, answer.headers, answer.body))

    # -- readers -----------------------------------------------------------------------------------

    def is_unproven(self, place: Place) -> bool:
        return bool(self._state.gaps.marks) and self._state.gaps.is_unproven(place.prefix, place.key)

    def is_settled(self, place: Place) -> bool:
        lanes = self._lanes
        if not lanes.entries:
            return True
        if place.key is not None:
            return lanes.is_key_settled(place.key)
        return not any(_touches(place.prefix, prefix) for prefix in lanes.by_prefix)

    def await_settled(self, place: Place, timeout_s: float, done: Callable[[bool], None]) -> None:
        prefixes = (
            None if place.key is not None else [p for p in self._lanes.by_prefix if _touches(place.prefix, p)]
        )
        seqs = set(self._lanes.unsettled_seqs(place.key, prefixes))
        if not seqs:
            done(True)
            return
        waiter = _Waiter(seqs, done, None)
        waiter.timer = self._loop.call_later(timeout_s, self._stop_waiting, waiter)
        for seq in seqs:
            self._waiters.setdefault(seq, []).append(waiter)

    def _stop_waiting(self, waiter: _Waiter) -> None:
        for seq in waiter.seqs:
            waiters = self._waiters.get(seq)
            if waiters is not None:
                waiters.remove(waiter)
                if not waiters:
                    del self._waiters[seq]
        waiter.seqs.clear()
        waiter.done(False)

    def _on_settled(self, seq: int) -> None:
        for waiter in self._waiters.pop(seq, ()):
            waiter.seqs.discard(seq)
            if not waiter.seqs:
                if waiter.timer is not None:
                    waiter.timer.cancel()
                waiter.done(True)
        if seq in self._answers:
            self.replayed(seq, None)

    # -- gaps --------------------------------------------------------------------------------------

    def note_unmirrored(self, place: Place, durable: Done) -> bool:
        if self._state.gaps.has(place.prefix):
            return True
        self._mark_gap(place.prefix, "a write whose route is not mirrored", durable)
        return False

    def _mark_gap(self, prefix: str, why: str, durable: Done) -> None:
        waiting = self._pending_gaps.get(prefix)
        if waiting is not None:
            waiting.append(durable)
            return
        self._pending_gaps[prefix] = [durable]
        task = self._loop.create_task(self._write_gap(prefix, why))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write_gap(self, prefix: str, why: str) -> None:
        error: TurnoutError | None = None
        try:
            await self.mark_gap(prefix, why)
        except TurnoutError as refused:
            error = refused
        for durable in self._pending_gaps.pop(prefix):
            durable(error)

    async def mark_gap(self, prefix: str, why: str) -> GapMark:
        """Durable on return; in force before that."""
        wall_s = self._clock.wall()
        provisional = GapMark(0, prefix, wall_s, why)
        self._state.gaps.add(provisional)
        try:
            number = await self._journal.transact(
                lambda db: (
                    db.execute(
                        "insert into gaps (prefix, since, why) values (?, ?, ?)", (prefix, wall_s, why)
                    ).lastrowid
                )
            )
        finally:
            self._state.gaps.marks.remove(provisional)
        mark = GapMark(number or 0, prefix, wall_s, why)
        self._state.gaps.add(mark)
        log.warning("gap", prefix=prefix or "/", why=why, next="turnout validate")
        return mark


class _Held:
    """One write that waits at the fence."""

    __slots__ = ("resume", "timer")

    def __init__(self, resume: Done) -> None:
        self.resume: Done | None = resume
        self.timer: asyncio.TimerHandle | None = None

    def finish(self, error: TurnoutError | None) -> None:
        resume, self.resume = self.resume, None
        if self.timer is not None:
            self.timer.cancel()
        if resume is not None:
            resume(error)

    def cancel(self) -> None:
        """Its client left: it is dropped without a trace."""
        self.resume = None
        if self.timer is not None:
            self.timer.cancel()


def _held_too_long(reason: str) -> UpstreamError:
    error = UpstreamError(f"writes wait: {reason or 'a switch is under way'}", "send it again in a second")
    error.status = 503
    error.code = "unavailable"
    return error


def _touches(prefix: str, other: str) -> bool:
    return covers(prefix, other) or covers(other, prefix)


def _ignore(_: TurnoutError | None) -> None:
    """A mark that is not written yet is written with the next change of its key."""
