"""Which entry goes when: the mirror's core. Pure: events with time go in, commands come out.

Owns the order of writes, nothing else: it reads no clock, keeps no bodies and speaks to nobody. The driver
(mirror/replayer.py) executes the commands and reports what came of them; the simulation does the same.

Rules, by the names that docs/mirror.md and the tests use:
- **one-at-a-time**: a lane has at most one command under way.
- **version-order**: of a lane's accepted entries the one with the lowest version is replayed first.
- **replay-once**: an entry is replayed at most once; whatever is not an equal answer makes the lane *need repair*.
- **repair-covers**: a repair settles the entries that were accepted before its read of the primary began, no others.
- **dead-waits**: a dead key starts nothing until a person says so; all others go on.
- **collapse**: beyond the bound on bodies, a lane's waiting entries become one mark that stands for them.
- **barrier**: an entry counts from its intent until it is settled.
- **asked-until-durable**: a start asks the primary after each entry that it finds without an outcome, so the primary may forget
  none whose outcome or end is not on disk yet.

Rules for writes without a key are in proxy/mirror/sweeps.py, those for plain upstreams in plain.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from proxy.journal.entry import BASE_UNKNOWN, Entry, EntryEvent, EntryState, after
from proxy.limits import MIRROR_LANES_AT_ONCE_MAX
from proxy.mirror.lane import (
    Command,
    Gap,
    Lane,
    List,
    Repair,
    Replay,
    Settled,
    Void,
    backoff_s,
    next_command,
)
from proxy.mirror.living import Living
from proxy.mirror.overlap import Overlaps
from proxy.mirror.sweeps import Sweep, Sweeps, index, keys_at_begin, overlapping, unindex
from proxy.mirror.watch import Watch

__all__ = ["Command", "Gap", "Lane", "Lanes", "List", "Repair", "Replay", "Settled", "Void", "backoff_s"]


class Lanes:
    """All unsettled entries, in lanes by key. See the module for the rules."""

    def __init__(self, *, lanes_at_once_max: int = MIRROR_LANES_AT_ONCE_MAX) -> None:
        self.entries: dict[int, Entry] = {}
        self.lanes: dict[str, Lane] = {}
        self.by_prefix: dict[str, dict[int, None]] = {}
        self.body_bytes = 0
        """Bodies that the journal keeps for unsettled entries."""
        self._open: dict[int, None] = {}
        """Seqs without a durable outcome, in order."""
        self._asked: dict[int, None] = {}
        """Seqs that a start might find without an outcome, in order: the primary must remember what became of them."""
        self.living = Living()
        self.is_paused = False
        """An operator's pause: entries are journaled, nothing is sent."""
        self.is_halted = False
        """The primary is dead, and what is unsettled is being settled without it: nothing is begun, not even a void."""
        self.is_secondary_up = True
        self.lanes_at_once_max = lanes_at_once_max
        self._working = 0
        self._ready: deque[str] = deque()
        self._waiting: dict[str, None] = {}
        """Lanes in ``_ready``, so that none stands there twice."""
        self._delayed: dict[str, float] = {}
        self._doubts: dict[int, float] = {}
        """Entries in doubt that nobody asks after now, and when to."""
        self._voiding: set[int] = set()
        self.sweeps = Sweeps()
        self._unnamed_ready: deque[int] = deque()
        """Accepted POSTs without a key, to be replayed."""
        self._gaps_ready: deque[int] = deque()
        self._behind_marks: dict[str, None] = {}
        """Lanes that wait for a mark to settle (younger-wait)."""
        self.is_plain = False
        """At least one upstream is plain: what is exact by version numbers elsewhere goes by overlap and time."""
        self.late_s = 60.0
        """How long a doubtful request may still arrive at a plain upstream (``limits.response_timeout``)."""
        self._overlaps = Overlaps()
        self.watch = Watch()

    # -- events of the hot path ------------------------------------------------------------------

    def intent(self, entry: Entry) -> None:
        """A write is about to be sent to the primary."""
        self.entries[entry.seq] = entry
        self.living.add(entry)
        self._open[entry.seq] = None
        self._asked[entry.seq] = None
        index(self.by_prefix, entry, self.watch)
        if entry.marks:
            self.sweeps.marked[entry.seq] = entry
        elif entry.key is not None:
            lane = self._lane(entry.key)
            if self.is_plain:
                self._overlaps.begun(entry, lane, self._open)
            lane.entries[entry.seq] = entry
        elif not entry.can_learn_key:
            self.sweeps.unnamed[entry.seq] = entry

    def add_mark(self, seq: int, prefix: str) -> None:
        """What the entry changed is not known more closely than by this prefix."""
        entry = self.entries[seq]
        if prefix not in entry.marks:
            entry.marks = (*entry.marks, prefix)
            index(self.by_prefix, entry, self.watch)
        self.sweeps.unnamed.pop(seq, None)
        self.sweeps.marked[seq] = entry
        self.sweeps.marked = dict(sorted(self.sweeps.marked.items()))

    def accepted(self, seq: int) -> None:
        """The outcome is durable; ``entry`` already holds key, marks, version, base and bodies."""
        entry = self.entries[seq]
        entry.state = after(entry.state, EntryEvent.ACCEPTED)
        del self._open[seq]
        self._asked.pop(seq, None)
        entry.kept_bytes = len(entry.request_body or b"") + len(entry.answer_body or b"")
        self.body_bytes += entry.kept_bytes
        self._place(entry)

    def ended(self, seq: int, event: EntryEvent) -> None:
        """Rejected, or never sent: it changes nothing anywhere."""
        entry = self.entries[seq]
        entry.state = after(entry.state, event)
        self._forget(entry)

    def doubtful(self, seq: int, now_s: float) -> None:
        """The primary was asked and did not say."""
        entry = self.entries[seq]
        entry.state = after(entry.state, EntryEvent.DOUBTFUL)
        self._doubts[seq] = now_s

    def recovered(self, entry: Entry, now_s: float) -> None:
        """An entry that a start found: one without an outcome is in doubt, one with it settles by repair."""
        entry.is_replayable = False
        self.intent(entry)
        if entry.state is EntryState.INTENT:
            self.doubtful(entry.seq, now_s)
        elif entry.state is EntryState.DOUBT:
            self._doubts[entry.seq] = now_s
        else:
            del self._open[entry.seq]
            del self._asked[entry.seq]
            self._place(entry)
        # What the process before had sent may still arrive.
        if entry.key is not None and entry.key in self.lanes:
            self.doubtful_at(entry.key, now_s)
        if entry.seq in self.sweeps.running:
            self.sweeps.running[entry.seq].look_from_s = now_s + self.late_s

    def doubtful_at(self, key: str, now_s: float) -> None:
        """A request that may have changed the key at a plain upstream had no answer: it may still arrive (late-look)."""
        lane = self.lanes.get(key)
        if lane is not None:
            lane.look_from_s = max(lane.look_from_s, now_s + self.late_s)

    # -- events of the driver --------------------------------------------------------------------

    def voided_done(self, seq: int, key: str, version: int | None) -> None:
        """The primary did it, and the journal says so; only a repair may settle it, for the answer is not known."""
        entry = self.entries[seq]
        self._voiding.discard(seq)
        entry.state = after(entry.state, EntryEvent.VOID_DONE)
        self._open.pop(seq, None)
        self._asked.pop(seq, None)
        if entry.key is None:
            entry.key = key or None
        entry.version = version
        entry.base = BASE_UNKNOWN
        entry.is_replayable = False
        self._place(entry)

    def presumed_done(self, seq: int, now_s: float) -> None:
        """A plain primary cannot say what became of it: a key is repaired, a POST marks its collection (presumed-done)."""
        entry = self.entries[seq]
        if entry.key is None and entry.prefix not in entry.marks:
            self.add_mark(seq, entry.prefix)
        self.voided_done(seq, entry.key or "", None)
        if entry.key is not None:
            self.doubtful_at(entry.key, now_s)
        if seq in self.sweeps.running:
            self.sweeps.running[seq].look_from_s = now_s + self.late_s

    def voided_never(self, seq: int) -> None:
        """The primary never did, and never will."""
        self._voiding.discard(seq)
        entry = self.entries[seq]
        entry.state = after(entry.state, EntryEvent.VOID_NEVER)
        self._forget(entry)

    def end_durable(self, seqs: Iterable[int]) -> None:
        """The journal has forgotten these: nobody will ask the primary after them any more (**asked-until-durable**)."""
        for seq in seqs:
            self._asked.pop(seq, None)

    def void_failed(self, seq: int, now_s: float, failures: int) -> None:
        """The primary could not be asked; ask again later."""
        self._voiding.discard(seq)
        self._doubts[seq] = now_s + backoff_s(failures)

    def replayed(self, seq: int, *, is_equal: bool) -> list[Entry]:
        """What came of a replay; returns the entries that are settled by it."""
        entry = self.entries[seq]
        if entry.key is None:
            self._working -= 1
            if is_equal:
                self._settle(entry)
                return [entry]
            self._gaps_ready.append(seq)
            return []
        lane = self._finish(entry.key)
        if not is_equal:
            entry.is_replayable = False
            lane.needs_repair = True
            self._offer(lane)
            return []
        lane.failures = 0
        self._settle(entry)
        self._offer(lane)
        return [entry]

    def repaired(self, key: str, covers: tuple[int, ...]) -> list[Entry]:
        """The secondary's key equals what the primary's was when it was read."""
        lane = self._finish(key)
        lane.failures = 0
        settled = [lane.entries[seq] for seq in covers]
        for entry in settled:
            self._settle(entry)
        served, lane.sweeping = lane.sweeping, set()
        self._offer(lane)
        return settled + self._swept(key, served)

    def repair_failed(self, key: str, now_s: float) -> None:
        """Either upstream did not answer: again, later."""
        lane = self._unserved(key)
        lane.failures += 1
        lane.not_before_s = now_s + backoff_s(lane.failures)
        self._offer(lane)

    def repair_waits(self, key: str) -> None:
        """Both are equal, and a doubtful request may still arrive: look again when it cannot any more (late-look)."""
        lane = self._unserved(key)
        lane.failures = 0
        lane.not_before_s = lane.look_from_s
        self._offer(lane)

    def dead(self, key: str) -> list[Entry]:
        """The secondary refuses the key's repair for good; only a person can go on. Returns the marks that waited for nothing else.

        The lane has an entry that outlives this process (the driver makes one where a mark alone asked for the repair).
        """
        lane = self._unserved(key)
        assert lane.entries, f"{key}: a dead letter is durable by its entries"
        self._lay_down(lane)
        served, lane.swept_by = lane.swept_by, set()
        return self._swept(key, served)

    def listed(self, seq: int, keys: Iterable[str]) -> list[Entry]:
        """Every key under the entry's marks, as both upstreams list them; returns the entry if that is all."""
        sweep = self.sweeps.running[seq]
        sweep.is_listing, sweep.is_listed = False, True
        for key in keys:
            if key not in sweep.under_way:
                sweep.todo[key] = None
        return self._feed(sweep)

    def list_failed(self, seq: int, now_s: float) -> int:
        """An upstream did not answer: again, later. How often it has failed by now."""
        sweep = self.sweeps.running[seq]
        sweep.is_listing = False
        sweep.failures += 1
        sweep.not_before_s = now_s + backoff_s(sweep.failures)
        return sweep.failures

    def needs_gap(self, seq: int) -> None:
        """What lies under its marks cannot be listed (unlistable-gap), or the mark could not be written yet."""
        self._gaps_ready.append(seq)

    def gapped(self, seq: int) -> list[Entry]:
        """Its gap marks are durable: a validation takes its place."""
        entry = self.entries[seq]
        self._settle(entry)
        return [entry]

    def bury(self, key: str) -> None:
        """A start finds a key that was dead before."""
        lane = self.lanes.get(key)
        if lane is not None and not lane.is_dead:
            lane.needs_repair = True
            self._lay_down(lane)

    def revive(self, key: str) -> None:
        """A person says: try again."""
        lane = self.lanes.get(key)
        if lane is not None and lane.is_dead:
            self._raise_up(lane)
            lane.failures = 0
            lane.not_before_s = 0.0
            self._offer(lane)

    def drop(self, key: str) -> list[Entry]:
        """A person gives a dead key up; returns the entries that go (a gap mark takes their place)."""
        lane = self.lanes.get(key)
        if lane is None or not lane.is_dead:
            return []
        self._raise_up(lane)
        gone = lane.accepted()
        for entry in gone:
            self._settle(entry)
        return gone

    def give_up_all(self) -> list[int]:
        """The roles have changed without the primary: every entry ends, settled from the journal or named; returns their seqs."""
        assert self.is_still(), "nothing is under way"
        seqs = list(self.entries)
        for entry in self.entries.values():
            entry.state = after(entry.state, EntryEvent.GIVEN_UP)
        was_paused, was_up = self.is_paused, self.is_secondary_up
        is_plain, late_s, at_once = self.is_plain, self.late_s, self.lanes_at_once_max
        Lanes.__init__(self, lanes_at_once_max=at_once)
        self.is_halted, self.is_paused, self.is_secondary_up = True, was_paused, was_up
        self.is_plain, self.late_s = is_plain, late_s
        return seqs

    def secondary_up(self) -> None:
        """Its health has returned: waits are over at once."""
        self.is_secondary_up = True
        self._wake()

    # -- commands --------------------------------------------------------------------------------

    def commands(self, now_s: float) -> Iterator[Command]:
        """What to begin now. Each command is reported back by exactly one event."""
        if self.is_halted:
            return
        for seq in [seq for seq, at_s in self._doubts.items() if at_s <= now_s]:
            del self._doubts[seq]
            self._voiding.add(seq)
            yield Void(seq)
        while self._gaps_ready:
            entry = self.entries[self._gaps_ready.popleft()]
            yield Gap(entry.seq, entry.marks or (entry.prefix,))
        if self.is_paused or not self.is_secondary_up:
            return
        for key in [key for key, at_s in self._delayed.items() if at_s <= now_s]:
            del self._delayed[key]
            if key in self.lanes:
                self._offer(self.lanes[key])
        yield from self._mark_commands(now_s)
        while self._ready and self._working < self.lanes_at_once_max:
            key = self._ready.popleft()
            self._waiting.pop(key, None)
            lane = self.lanes.get(key)
            if lane is None or lane.working is not None or lane.is_dead:  # one-at-a-time, dead-waits
                continue
            if lane.not_before_s > now_s:
                self._delayed[key] = lane.not_before_s
                continue
            command = next_command(lane)
            if command is None or self._must_wait(lane, command):
                continue
            lane.working = command
            if isinstance(command, Repair):
                lane.needs_repair = False
                lane.sweeping, lane.swept_by = lane.swept_by, set()
            self._working += 1
            yield command

    def next_at_s(self) -> float | None:
        """When `commands` will have something that it has not now; None: only after an event."""
        if self.is_halted:
            return None
        times = list(self._doubts.values())
        if not self.is_paused and self.is_secondary_up:
            times.extend(self._delayed.values())
            times.extend(self.sweeps.next_at_s(is_plain=self.is_plain))
        return min(times, default=None)

    # -- questions -------------------------------------------------------------------------------

    def unsettled_writes(self) -> int:
        """``lag_entries`` (dead ones apart)."""
        return self.living.writes

    def oldest_unsettled_s(self) -> float | None:
        """Wall time of the oldest unsettled entry, dead ones apart."""
        return self.living.oldest_s()

    def in_flight(self) -> int:
        """Entries whose primary has not answered yet."""
        return len(self._open) - self.in_doubt()

    def in_doubt(self) -> int:
        return len(self._doubts) + len(self._voiding)

    def oldest_in_doubt_s(self) -> float | None:
        """Wall time at which the oldest of them was begun."""
        oldest = min((*self._doubts, *self._voiding), default=None)
        return None if oldest is None else self.entries[oldest].born_wall_s

    def lowest_open(self) -> int | None:
        """The lowest seq whose outcome or end is not durable: what ``Turnout-Request: …; open=`` says (asked-until-durable)."""
        return next(iter(self._asked), None)

    def is_still(self) -> bool:
        """No command is under way."""
        return not (
            self._working or self._voiding or any(one.is_listing for one in self.sweeps.running.values())
        )

    def is_idle(self) -> bool:
        return self.unsettled_writes() == 0  # drained: nothing unsettled but dead keys

    def is_key_settled(self, key: str) -> bool:
        """For a reader: nothing of the key's own is under way, and no mark lies over it (barrier)."""
        return key not in self.lanes and next(self.sweeps.covering(key), None) is None

    def is_waiting(self, entry: Entry) -> bool:
        """Whether it may not begin yet, for an older mark lies over it."""
        return entry.key is not None and self.sweeps.is_waiting(entry.key, entry.seq)

    def unsettled_seqs(self, key: str | None, prefixes: list[str] | None) -> Iterator[int]:
        """Seqs of one key, or of all entries under the given prefixes."""
        if key is not None:
            lane = self.lanes.get(key)
            if lane is not None:
                yield from lane.entries
            yield from self.sweeps.covering(key)
            return
        for prefix in self.by_prefix if prefixes is None else prefixes:
            yield from self.by_prefix.get(prefix, ())

    def collapse(self, key: str, *, keeps_newest: bool = False) -> tuple[Entry, list[Entry]] | None:
        """Make the waiting entries of a key one mark: (the entry that stands for all, those that go). None: nothing to gain.

        ``keeps_newest``: the record as it was last answered stays, for a move away from a dead primary (salvage).
        """
        lane = self.lanes.get(key)
        waiting = [] if lane is None else lane.waiting()
        if (
            lane is None
            or not waiting
            or (len(waiting) == 1 and (keeps_newest or waiting[0].kept_bytes == 0))
        ):
            return None
        mark = max(waiting, key=lambda entry: (entry.version or 0, entry.seq))
        gone = [entry for entry in waiting if entry is not mark]
        self.body_bytes -= mark.kept_bytes
        mark.request_body = None
        if not keeps_newest:
            mark.answer_body = None
        mark.kept_bytes = len(mark.answer_body or b"")
        self.body_bytes += mark.kept_bytes
        mark.headers = ()
        mark.is_replayable = False
        for entry in gone:
            self.living.stands_for_more(mark, entry.writes)
            mark.born_wall_s = min(mark.born_wall_s, entry.born_wall_s)
            self._settle(entry)
        lane.needs_repair = True
        return mark, gone

    # -- inside ----------------------------------------------------------------------------------

    def _lay_down(self, lane: Lane) -> None:
        """It waits for a person now; what the primary has yet to answer still counts."""
        lane.is_dead = True
        self.living.leave(*lane.accepted())

    def _raise_up(self, lane: Lane) -> None:
        lane.is_dead = False
        self.living.revive(lane.accepted())

    def _lane(self, key: str) -> Lane:
        if key not in self.lanes:
            self.lanes[key] = Lane(key)
        return self.lanes[key]

    def _place(self, entry: Entry) -> None:
        """Where an accepted entry goes on: its key's lane, a sweep, a replay without a lane, or a gap mark."""
        if entry.marks:
            self._begin_sweep(entry)
        elif entry.key is not None:
            self._to_lane(entry)
        elif entry.is_replayable:
            self.sweeps.unnamed[entry.seq] = entry
            self._unnamed_ready.append(entry.seq)
        else:
            self.sweeps.unnamed[entry.seq] = entry
            self._gaps_ready.append(entry.seq)

    def _to_lane(self, entry: Entry) -> None:
        assert entry.key is not None
        lane = self._lane(entry.key)
        self.watch.learned(entry.key)
        if self.is_plain and entry.seq not in lane.entries:
            self._overlaps.learned(entry, lane, self._open)
        lane.entries[entry.seq] = entry
        if lane.is_dead:
            self.living.leave(entry)
        self._offer(lane)

    # -- marks -----------------------------------------------------------------------------------

    def _begin_sweep(self, entry: Entry) -> None:
        self.sweeps.marked[entry.seq] = entry
        self.sweeps.running[entry.seq] = Sweep(entry)  # mark-sweeps
        for other in overlapping(entry, self.entries, self._open):
            other.must_repair = True  # overlap-repairs

    def _mark_commands(self, now_s: float) -> Iterator[Command]:
        for sweep in self.sweeps.to_list(now_s, is_plain=self.is_plain):
            sweep.is_listing = True
            for key in keys_at_begin(sweep.entry, self.entries, self.by_prefix):
                sweep.todo[key] = None
            self._feed(sweep)
            yield List(sweep.entry.seq)
        while self._unnamed_ready and self._working < self.lanes_at_once_max:
            self._working += 1
            yield Replay(self._unnamed_ready.popleft())

    def _feed(self, sweep: Sweep) -> list[Entry]:
        """Let the next keys of a sweep be repaired; the entry, if nothing is left."""
        while True:
            skipped = False
            for key in sweep.take():
                lane = self._lane(key)
                if lane.is_dead:
                    sweep.under_way.discard(key)  # a person's; its repair brings this write too (dead-waits)
                    skipped = True
                    continue
                lane.swept_by.add(sweep.entry.seq)
                lane.look_from_s = max(lane.look_from_s, sweep.look_from_s)
                self._offer(lane)
            if not skipped:
                break
        if not sweep.is_done:
            return []
        self._settle(sweep.entry)
        return [sweep.entry]

    def _swept(self, key: str, marks: set[int]) -> list[Entry]:
        """A key of these marks is done."""
        settled: list[Entry] = []
        for seq in sorted(marks):
            sweep = self.sweeps.running.get(seq)
            if sweep is not None:
                sweep.under_way.discard(key)
                settled += self._feed(sweep)
        return settled

    def _unserved(self, key: str) -> Lane:
        """The repair did not come to its end: its marks wait for another."""
        lane = self._finish(key)
        lane.needs_repair = True
        lane.swept_by |= lane.sweeping
        lane.sweeping = set()
        return lane

    def _must_wait(self, lane: Lane, command: Repair | Replay) -> bool:
        """younger-wait; a repair that a mark itself asks for does not wait for it."""
        if not self.sweeps.marked or lane.swept_by:
            return False
        oldest = min(command.covers) if isinstance(command, Repair) else command.seq
        if not self.sweeps.is_waiting(lane.key, oldest):
            return False
        self._behind_marks[lane.key] = None
        return True

    def _offer(self, lane: Lane) -> None:
        """Put the lane in line if it may begin something."""
        if not lane.entries and not lane.swept_by:
            if lane.working is None:
                self.lanes.pop(lane.key, None)
            return
        if lane.working is None and not lane.is_dead and lane.key not in self._waiting:
            self._waiting[lane.key] = None
            self._ready.append(lane.key)

    def _finish(self, key: str) -> Lane:
        lane = self.lanes[key]
        assert lane.working is not None, f"{key}: a report without a command"
        lane.working = None
        self._working -= 1
        return lane

    def _settle(self, entry: Entry) -> None:
        entry.state = after(entry.state, EntryEvent.SETTLED)
        self.body_bytes -= entry.kept_bytes
        self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        del self.entries[entry.seq]
        self.living.leave(entry)
        self._open.pop(entry.seq, None)
        unindex(self.by_prefix, entry)
        if entry.seq in self.sweeps.marked:
            self._unmark(entry)
            return
        self.sweeps.unnamed.pop(entry.seq, None)
        if entry.key is not None:
            lane = self.lanes.get(entry.key)
            if lane is not None:
                lane.entries.pop(entry.seq, None)
                if lane.is_empty:
                    del self.lanes[entry.key]

    def _unmark(self, entry: Entry) -> None:
        """It is over: what waited for it may go on."""
        sweep = self.sweeps.running.get(entry.seq)
        self.sweeps.forget(entry.seq)
        for key in sweep.under_way if sweep is not None else ():
            self.lanes[key].swept_by.discard(entry.seq)
            if self.lanes[key].is_empty:
                del self.lanes[key]
        waiting, self._behind_marks = self._behind_marks, {}
        for key in waiting:
            lane = self.lanes.get(key)
            if lane is not None:
                self._offer(lane)

    def _wake(self) -> None:
        for key in list(self._delayed):
            lane = self.lanes.get(key)
            if lane is not None:
                lane.not_before_s = 0.0
                lane.failures = 0
                self._offer(lane)
        self._delayed.clear()
        for lane in self.lanes.values():
            lane.not_before_s = 0.0
        for sweep in self.sweeps.running.values():
            sweep.not_before_s = 0.0
            sweep.failures = 0
