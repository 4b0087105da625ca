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
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from proxy.journal.entry import BASE_UNKNOWN, Entry, EntryEvent, EntryState, after
from proxy.limits import (
    MIRROR_BACKOFF_S_MAX,
    MIRROR_BACKOFF_S_MIN,
    MIRROR_LANES_AT_ONCE_MAX,
    MIRROR_REPLAYS_PER_LANE_MAX,
)


@dataclass(frozen=True, slots=True)
class Void:
    """Ask the primary what became of this entry; it is refused for good if nothing did."""

    seq: int


@dataclass(frozen=True, slots=True)
class Replay:
    """Send the entry's request to the secondary, once."""

    seq: int


@dataclass(frozen=True, slots=True)
class Repair:
    """Make the secondary's key equal to the primary's present one; ``covers`` are settled by it."""

    key: str
    covers: tuple[int, ...]


Command = Void | Replay | Repair


class Settled(StrEnum):
    """How an entry came to rest at the secondary (metric label ``result``)."""

    REPLAYED = "replayed"
    REPAIRED = "repaired"


@dataclass(slots=True)
class Lane:
    """The unsettled entries of one key."""

    key: str
    entries: dict[int, Entry] = field(default_factory=dict[int, Entry])
    working: Command | None = None
    needs_repair: bool = False
    is_dead: bool = False
    failures: int = 0
    not_before_s: float = 0.0

    def accepted(self) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.state is EntryState.ACCEPTED]


def backoff_s(failures: int) -> float:
    """The wait after so many failures in a row: doubled each time, at most MIRROR_BACKOFF_S_MAX."""
    return min(MIRROR_BACKOFF_S_MIN * 2 ** min(failures - 1, 16), MIRROR_BACKOFF_S_MAX)


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
        self._writes = 0
        self.is_paused = False
        """An operator's pause: entries are journaled, nothing is sent."""
        self.is_halted = False
        """The primary is dead, and what is unsettled is being settled without it: nothing is begun, not even a void."""
        self.is_secondary_up = True
        self.is_primary_up = True
        self._lanes_at_once_max = lanes_at_once_max
        self._working = 0
        self._ready: deque[str] = deque()
        self._waiting: dict[str, None] = {}
        """Lanes in ``_ready``, so that none stands there twice."""
        self._delayed: dict[str, float] = {}
        self._doubts: dict[int, float] = {}
        """Entries in doubt that nobody asks after now, and when to."""
        self._voiding: set[int] = set()
        self._dead: dict[str, None] = {}

    # -- events of the hot path ------------------------------------------------------------------

    def intent(self, entry: Entry) -> None:
        """A write is about to be sent to the primary."""
        self.entries[entry.seq] = entry
        self._writes += entry.writes
        self._open[entry.seq] = None
        self._asked[entry.seq] = None
        self.by_prefix.setdefault(entry.prefix, {})[entry.seq] = None
        if entry.key is not None:
            self._lane(entry.key).entries[entry.seq] = entry

    def accepted(self, seq: int) -> None:
        """The outcome is durable; ``entry`` already holds key, version, base and bodies."""
        entry = self.entries[seq]
        entry.state = after(entry.state, EntryEvent.ACCEPTED)
        del self._open[seq]
        self._asked.pop(seq, None)
        entry.kept_bytes = len(entry.request_body or b"") + len(entry.answer_body or b"")
        self.body_bytes += entry.kept_bytes
        self._to_lane(entry)

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
            self._to_lane(entry)

    # -- events of the driver --------------------------------------------------------------------

    def voided_done(self, seq: int, key: str, version: int | None) -> None:
        """The primary did it, and the journal says so; only a repair may settle it, for the answer is not known."""
        entry = self.entries[seq]
        self._voiding.discard(seq)
        entry.state = after(entry.state, EntryEvent.VOID_DONE)
        self._open.pop(seq, None)
        self._asked.pop(seq, None)
        if entry.key is None:
            entry.key = key
        entry.version = version
        entry.base = BASE_UNKNOWN
        entry.is_replayable = False
        self._to_lane(entry)

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
        assert entry.key is not None
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
        self._offer(lane)
        return settled

    def repair_failed(self, key: str, now_s: float) -> None:
        """Either upstream did not answer: again, later."""
        lane = self._finish(key)
        lane.needs_repair = True
        lane.failures += 1
        lane.not_before_s = now_s + backoff_s(lane.failures)
        self._offer(lane)

    def dead(self, key: str) -> None:
        """The secondary refuses the key's repair for good; only a person can go on."""
        lane = self._finish(key)
        lane.needs_repair = True
        lane.is_dead = True
        self._dead[key] = None

    def bury(self, key: str) -> None:
        """A start finds a key that was dead before."""
        lane = self.lanes.get(key)
        if lane is not None and not lane.is_dead:
            lane.needs_repair = lane.is_dead = True
            self._dead[key] = None

    def revive(self, key: str) -> None:
        """A person says: try again."""
        lane = self.lanes.get(key)
        if lane is not None and lane.is_dead:
            lane.is_dead = False
            del self._dead[key]
            lane.failures = 0
            lane.not_before_s = 0.0
            self._offer(lane)

    def drop(self, key: str) -> list[Entry]:
        """A person gives a dead key up; returns the entries that go (a gap mark takes their place)."""
        lane = self.lanes.get(key)
        if lane is None or not lane.is_dead:
            return []
        lane.is_dead = False
        del self._dead[key]
        gone = lane.accepted()
        for entry in gone:
            self._settle(entry)
        return gone

    def give_up_all(self) -> list[int]:
        """The roles have changed without the primary: every entry ends, settled from the journal or named; returns their seqs."""
        assert self.is_still(), "nothing is under way"
        seqs = list(self.entries)
        for seq in seqs:
            entry = self.entries[seq]
            entry.state = after(entry.state, EntryEvent.GIVEN_UP)
            self.body_bytes -= entry.kept_bytes
            self._forget(entry)
        for waiting in (self._asked, self._doubts, self._dead, self._delayed, self._waiting):
            waiting.clear()
        self._ready.clear()
        return seqs

    def secondary_up(self) -> None:
        """Its health has returned: waits are over at once."""
        self.is_secondary_up = True
        self._wake()

    def primary_up(self) -> None:
        self.is_primary_up = True
        self._doubts = dict.fromkeys(self._doubts, 0.0)
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
        if self.is_paused or not self.is_secondary_up:
            return
        for key in [key for key, at_s in self._delayed.items() if at_s <= now_s]:
            del self._delayed[key]
            if key in self.lanes:
                self._offer(self.lanes[key])
        while self._ready and self._working < self._lanes_at_once_max:
            key = self._ready.popleft()
            self._waiting.pop(key, None)
            lane = self.lanes.get(key)
            if lane is None or lane.working is not None or lane.is_dead:
                continue
            if lane.not_before_s > now_s:
                self._delayed[key] = lane.not_before_s
                continue
            command = next_command(lane)
            if command is None:
                continue
            lane.working = command
            if isinstance(command, Repair):
                lane.needs_repair = False
            self._working += 1
            yield command

    def next_at_s(self) -> float | None:
        """When `commands` will have something that it has not now; None: only after an event."""
        if self.is_halted:
            return None
        times = list(self._doubts.values())
        if not self.is_paused and self.is_secondary_up:
            times.extend(self._delayed.values())
        return min(times, default=None)

    # -- questions -------------------------------------------------------------------------------

    def unsettled_writes(self) -> int:
        """``lag_entries`` (dead ones apart)."""
        return self._writes - sum(entry.writes for lane in self.dead_lanes() for entry in lane.accepted())

    def oldest_unsettled_s(self) -> float | None:
        """Wall time of the oldest unsettled entry, dead ones apart."""
        for entry in self.entries.values():
            if not self._is_dead(entry):
                return entry.born_wall_s
        return None

    def in_flight(self) -> int:
        """Entries whose primary has not answered yet."""
        return len(self._open) - self.in_doubt()

    def in_doubt(self) -> int:
        return len(self._doubts) + len(self._voiding)

    def lowest_open(self) -> int | None:
        """The lowest seq whose outcome or end is not durable: what ``Turnout-Request: …; open=`` says (asked-until-durable)."""
        return next(iter(self._asked), None)

    def dead_lanes(self) -> list[Lane]:
        return [self.lanes[key] for key in self._dead]

    def is_still(self) -> bool:
        """No command is under way."""
        return not self._working and not self._voiding

    def is_idle(self) -> bool:
        """Drained: nothing unsettled but dead keys."""
        return self.unsettled_writes() == 0

    def is_key_settled(self, key: str) -> bool:
        return key not in self.lanes

    def unsettled_seqs(self, key: str | None, prefixes: list[str] | None) -> Iterator[int]:
        """Seqs of one key, or of all entries under the given prefixes."""
        if key is not None:
            lane = self.lanes.get(key)
            if lane is not None:
                yield from lane.entries
            return
        for prefix in self.by_prefix if prefixes is None else prefixes:
            yield from self.by_prefix.get(prefix, ())

    def collapsible(self, key: str) -> list[Entry]:
        """The lane's accepted entries that wait, oldest first, if there are several: they may become one mark."""
        lane = self.lanes.get(key)
        if lane is None:
            return []
        busy = set(lane.working.covers) if isinstance(lane.working, Repair) else set[int]()
        if isinstance(lane.working, Replay):
            busy.add(lane.working.seq)
        return [entry for entry in lane.accepted() if entry.seq not in busy]

    def collapse(self, key: str) -> tuple[Entry, list[Entry]] | None:
        """Make the waiting entries of a key one mark: (the entry that stands for all, those that go). None: nothing to gain."""
        waiting = self.collapsible(key)
        if not waiting or (len(waiting) == 1 and waiting[0].kept_bytes == 0):
            return None
        mark, gone = waiting[-1], waiting[:-1]
        self.body_bytes -= mark.kept_bytes
        mark.kept_bytes = 0
        mark.request_body = mark.answer_body = None
        mark.is_replayable = False
        for entry in gone:
            mark.writes += entry.writes
            self._writes += entry.writes
            mark.born_wall_s = min(mark.born_wall_s, entry.born_wall_s)
            self._settle(entry)
        lane = self.lanes[key]
        lane.needs_repair = True
        return mark, gone

    # -- inside ----------------------------------------------------------------------------------

    def _is_dead(self, entry: Entry) -> bool:
        lane = self.lanes.get(entry.key) if entry.key is not None else None
        return lane is not None and lane.is_dead and entry.state is EntryState.ACCEPTED

    def _lane(self, key: str) -> Lane:
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = Lane(key)
        return lane

    def _to_lane(self, entry: Entry) -> None:
        assert entry.key is not None, "an accepted entry has a key"
        lane = self._lane(entry.key)
        lane.entries[entry.seq] = entry
        self._offer(lane)

    def _offer(self, lane: Lane) -> None:
        """Put the lane in line if it may begin something."""
        if not lane.entries:
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
        self._writes -= entry.writes
        self._open.pop(entry.seq, None)
        under = self.by_prefix[entry.prefix]
        del under[entry.seq]
        if not under:
            del self.by_prefix[entry.prefix]
        if entry.key is not None:
            lane = self.lanes.get(entry.key)
            if lane is not None:
                lane.entries.pop(entry.seq, None)
                if not lane.entries and lane.working is None:
                    del self.lanes[entry.key]

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


def next_command(lane: Lane) -> Command | None:
    """What a free, living lane does next (version-order, replay-once, repair-covers)."""
    accepted = lane.accepted()
    if not accepted:
        return None
    first = min(accepted, key=_order)
    if lane.needs_repair or len(accepted) > MIRROR_REPLAYS_PER_LANE_MAX or not first.is_replayable:
        return Repair(lane.key, tuple(entry.seq for entry in accepted))
    return Replay(first.seq)


def _order(entry: Entry) -> tuple[int, int]:
    """By the primary's version where it gave one, else by seq."""
    return (entry.version if entry.version is not None else 0, entry.seq)
