"""One key's lane, what it may be told to do, and what it does next. Pure; a part of the lanes (proxy/mirror/lanes.py)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from proxy.journal.entry import Entry, EntryState
from proxy.limits import MIRROR_BACKOFF_S_MAX, MIRROR_BACKOFF_S_MIN, MIRROR_REPLAYS_PER_LANE_MAX


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


@dataclass(frozen=True, slots=True)
class List:
    """Find every key under the entry's marks at both upstreams, to repair them."""

    seq: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Nothing can settle the entry here: leave a gap mark on each of ``prefixes``, then it is settled."""

    seq: int
    prefixes: tuple[str, ...]


Command = Void | Replay | Repair | List | Gap


class Settled(StrEnum):
    """How an entry came to rest at the secondary (metric label ``result``)."""

    REPLAYED = "replayed"
    REPAIRED = "repaired"


class Lane:
    """The unsettled entries of one key. Made for nearly every write: by hand, for a dataclass takes four times as long."""

    __slots__ = (
        "entries", "failures", "is_dead", "key", "look_from_s", "needs_repair", "not_before_s", "sweeping", "swept_by", "working",
    )  # fmt: skip

    def __init__(self, key: str) -> None:
        self.key = key
        self.entries: dict[int, Entry] = {}
        self.working: Command | None = None
        self.needs_repair = False
        self.is_dead = False
        self.failures = 0
        self.not_before_s = 0.0
        self.look_from_s = 0.0
        """No look that began before this settles the key at a plain upstream (late-look)."""
        self.swept_by: set[int] = set()
        """Marks that wait for a repair of this key which has yet to begin."""
        self.sweeping: set[int] = set()
        """Marks that the repair under way serves."""

    @property
    def is_empty(self) -> bool:
        return not self.entries and not self.swept_by and self.working is None

    def accepted(self) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.state is EntryState.ACCEPTED]

    def waiting(self) -> list[Entry]:
        """The accepted entries that no command works on, oldest first: they may become one mark (collapse)."""
        busy = set(self.working.covers) if isinstance(self.working, Repair) else set[int]()
        if isinstance(self.working, Replay):
            busy.add(self.working.seq)
        return [entry for entry in self.accepted() if entry.seq not in busy]


def backoff_s(failures: int) -> float:
    """The wait after so many failures in a row: doubled each time, at most MIRROR_BACKOFF_S_MAX."""
    return min(MIRROR_BACKOFF_S_MIN * 2 ** min(failures - 1, 16), MIRROR_BACKOFF_S_MAX)


def next_command(lane: Lane) -> Repair | Replay | None:
    """What a free, living lane does next (version-order, replay-once, repair-covers)."""
    accepted = lane.accepted()
    if lane.swept_by:
        return Repair(lane.key, tuple(entry.seq for entry in accepted))
    if not accepted:
        return None
    first = min(accepted, key=_order)
    if (
        lane.needs_repair
        or len(accepted) > MIRROR_REPLAYS_PER_LANE_MAX
        or first.must_repair
        or not first.is_replayable
    ):
        return Repair(lane.key, tuple(entry.seq for entry in accepted))
    return Replay(first.seq)


def _order(entry: Entry) -> tuple[int, int]:
    """By the primary's version where it gave one, else by seq."""
    return (entry.version if entry.version is not None else 0, entry.seq)
