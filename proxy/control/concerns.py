"""What a person should hear of before, or while, it stops something: once when it begins, once when it is over. Pure: facts go in,
lines of the log come out. Every one of them is explained in docs/operating/logs.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

ROOM_LOW_RESERVES = 16
ROOM_VERY_LOW_RESERVES = 4
"""Told when so many times the reserve is left on the journal's disk (128 and 32 MiB of 8); below the reserve itself new writes stop."""

ROOM_LOW_PART = 4
ROOM_VERY_LOW_PART = 6
"""On a small disk: when less than one in so many bytes of it is left. (The reserve is one in ten there.)"""

ROOM_AGAIN = 1.25
"""A bound is behind us only when there is so much more than it: nothing is told twice for a file that comes and goes."""

BODIES_NEARLY_FULL = 0.8
BODIES_AGAIN = 0.6
"""Of the bound on kept bodies."""

IN_DOUBT_S = 10.0
FENCE_STUCK_S = 5.0
"""Writes that are held time out after ``limits.hold_timeout``, a second by default: so long a fence is an outage."""

PRIMARY_AWAY_S = 1.0
"""One check that failed is no outage."""

DAY_S = 24 * 3600.0
CERTIFICATE_DAYS = (30, 14, 7, 3, 1, 0)
"""Told when so many days are left of the clients' certificate, the last time when it has ended."""


class Level(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the log."""

    level: Level
    event: str
    told: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True)
class Room:
    """Of the journal's disk."""

    free_bytes: int
    reserve_bytes: int
    """With less than this free no new write is taken."""
    disk_bytes: int
    folder: str


@dataclass(frozen=True, slots=True)
class Facts:
    """One look at the process."""

    room: Room
    body_bytes: int
    body_bytes_max: int
    in_doubt: int
    in_doubt_s: float | None
    """Age of the oldest; None where there is none. So below."""
    fence_reason: str
    fenced_s: float | None
    primary: str
    primary_away_s: float | None
    """How long none of its endpoints has answered."""
    certificate: str
    certificate_left_s: float | None
    """None where clients come over plain TCP."""


class RoomLevel(IntEnum):
    """How much room is left, best first."""

    ENOUGH = 0
    LOW = 1
    VERY_LOW = 2
    FULL = 3


def room_level(room: Room, was: RoomLevel) -> RoomLevel:
    """It falls at a bound, and rises only clearly above it."""
    bounds = (
        min(ROOM_LOW_RESERVES * room.reserve_bytes, room.disk_bytes // ROOM_LOW_PART),
        min(ROOM_VERY_LOW_RESERVES * room.reserve_bytes, room.disk_bytes // ROOM_VERY_LOW_PART),
        room.reserve_bytes,
    )
    now = sum(room.free_bytes < bound for bound in bounds)
    held = sum(room.free_bytes < bound * ROOM_AGAIN for bound in bounds)
    return RoomLevel(max(now, min(was, held)))


class Concerns:
    """Remembers what has been told."""

    def __init__(self) -> None:
        self._room = RoomLevel.ENOUGH
        self._certificate: tuple[str, int | None] = ("", None)
        """The file, and the last number of days that was told of it."""
        self._standing: set[str] = set()

    def news(self, facts: Facts) -> list[Line]:
        """What is to be told now, in the order in which it should be read."""
        return [
            *self._of_room(facts.room),
            *self._of_bodies(facts),
            *self._of_primary(facts),
            *self._of_fence(facts),
            *self._of_doubts(facts),
            *self._of_certificate(facts),
        ]

    def _lasts(self, name: str, s: float | None, least_s: float) -> bool | None:
        """As ``_turned``, for what has lasted so long, and is over when it is no more."""
        return self._turned(name, begins=s is not None and s >= least_s, ends=s is None)

    def _turned(self, name: str, *, begins: bool, ends: bool) -> bool | None:
        """True when the concern begins now, False when it is over now, None where nothing is new."""
        if name not in self._standing:
            if begins:
                self._standing.add(name)
                return True
        elif ends:
            self._standing.discard(name)
            return False
        return None

    def _of_room(self, room: Room) -> list[Line]:
        was, self._room = self._room, room_level(room, self._room)
        if self._room == was:
            return []
        told = {
            "free_bytes": room.free_bytes,
            "stops_below_bytes": room.reserve_bytes,
            "folder": room.folder,
        }
        if self._room < was:
            return [Line(Level.INFO, "journal_has_room", told)]
        if self._room is RoomLevel.FULL:
            said = "new writes are answered 503 until there is more; free space there, or mend the secondary"
            return [Line(Level.ERROR, "journal_full", {**told, "next": said})]
        level = Level.WARNING if self._room is RoomLevel.LOW else Level.ERROR
        said = "free space there, or mend the secondary (turnout mirror status); never delete files of that folder"
        return [Line(level, "journal_nearly_full", {**told, "next": said})]

    def _of_bodies(self, facts: Facts) -> list[Line]:
        turned = self._turned(
            "bodies",
            begins=facts.body_bytes >= BODIES_NEARLY_FULL * facts.body_bytes_max,
            ends=facts.body_bytes < BODIES_AGAIN * facts.body_bytes_max,
        )
        if turned is not True:
            return []
        said = "mend the secondary; beyond the bound a key keeps a mark in place of its record, which is lost with a primary that dies"
        told = {"body_bytes": facts.body_bytes, "bound_bytes": facts.body_bytes_max, "next": said}
        return [Line(Level.WARNING, "journal_bodies_nearly_full", told)]

    def _of_primary(self, facts: Facts) -> list[Line]:
        match self._lasts("primary", facts.primary_away_s, PRIMARY_AWAY_S):
            case True:
                said = f"start {facts.primary} again; only if it is lost: docs/operating/runbook.md#a-primary-that-is-lost"
                return [Line(Level.ERROR, "primary_away", {"upstream": facts.primary, "next": said})]
            case False:
                return [Line(Level.INFO, "primary_back", {"upstream": facts.primary})]
            case None:
                return []

    def _of_fence(self, facts: Facts) -> list[Line]:
        match self._lasts("fence", facts.fenced_s, FENCE_STUCK_S):
            case True:
                told = {
                    "why": facts.fence_reason,
                    "held_s": round(facts.fenced_s or 0, 1),
                    "next": "clients' writes are answered 503; turnout status says what is waited for",
                }
                return [Line(Level.ERROR, "fence_stuck", told)]
            case False:
                return [Line(Level.INFO, "fence_open")]
            case None:
                return []

    def _of_doubts(self, facts: Facts) -> list[Line]:
        match self._lasts("doubt", facts.in_doubt_s, IN_DOUBT_S):
            case True:
                told = {
                    "entries": facts.in_doubt,
                    "oldest_s": round(facts.in_doubt_s or 0, 1),
                    "next": f"{facts.primary} cannot be asked what became of them: is it running?",
                }
                return [Line(Level.ERROR, "in_doubt", told)]
            case False:
                return [Line(Level.INFO, "in_doubt_over")]
            case None:
                return []

    def _of_certificate(self, facts: Facts) -> list[Line]:
        left_s, (file, last) = facts.certificate_left_s, self._certificate
        if left_s is None:
            return []
        due = [days for days in CERTIFICATE_DAYS if left_s <= days * DAY_S]
        days = due[-1] if due else None
        self._certificate = facts.certificate, days
        if days is None or (file == facts.certificate and last is not None and days >= last):
            return []
        told = {
            "file": facts.certificate,
            "days_left": round(left_s / DAY_S, 1),
            "next": "renew it; the new file is shown to the next client, without a restart",
        }
        return [Line(Level.ERROR if days <= 1 else Level.WARNING, "certificate_expires", told)]
