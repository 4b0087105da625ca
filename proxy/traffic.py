"""What the hot path counts: plain numbers, read by the registry when it is scraped (proxy/observe.py).

A prometheus-client counter takes a lock and three calls for each step.
"""

from __future__ import annotations

from typing import Final

from proxy.model import Reason

DURATION_BUCKETS_S: Final[tuple[float, ...]] = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)

KNOWN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
"""Any other method is counted as ``other``: a label must not grow with what clients make up."""


class Count:
    """Answers of one method and code."""

    __slots__ = ("code", "method", "number")

    def __init__(self, method: str, code: int) -> None:
        self.method = method
        self.code = code
        self.number = 0


class Tally:
    """What is counted for one (upstream, reason)."""

    __slots__ = ("answers", "buckets", "last", "total_s")

    def __init__(self) -> None:
        self.answers: dict[tuple[str, int], Count] = {}
        """By (method, code)."""
        self.last = Count("", -1)
        """What was counted last: most often it is counted again."""
        self.buckets = [0] * (len(DURATION_BUCKETS_S) + 1)
        self.total_s = 0.0

    def count(self, method: str, code: int) -> Count:
        known = method if method in KNOWN_METHODS else "other"
        found = self.answers.get((known, code))
        if found is None:
            found = self.answers[known, code] = Count(known, code)
        self.last = found
        return found


class Traffic:
    """Counts of the hot path."""

    def __init__(self) -> None:
        self.tallies: dict[tuple[str, int], tuple[Reason, Tally]] = {}
        """By upstream and the reason's identity: an enum member's own hash is a Python call."""
        self.in_flight: dict[str, int] = {}
        # What was counted last: most often it is counted again.
        self._upstream = ""
        self._reason = Reason.PRIMARY
        self._tally: Tally | None = None

    def add(self, upstream: str, reason: Reason, method: str, code: int, duration_s: float) -> None:
        """Count one answered request."""
        tally = self._tally
        if tally is None or reason is not self._reason or upstream != self._upstream:
            tally = self._other(upstream, reason)
        count = tally.last
        if count.code != code or count.method != method:
            count = tally.count(method, code)
        count.number += 1
        place = 0
        for bound_s in (
            DURATION_BUCKETS_S
        ):  # most end at one of the first; bisect_left would make objects of the numbers
            if duration_s <= bound_s:
                break
            place += 1
        tally.buckets[place] += 1
        tally.total_s += duration_s

    def _other(self, upstream: str, reason: Reason) -> Tally:
        found = self.tallies.get((upstream, id(reason)))
        if found is None:
            found = self.tallies[upstream, id(reason)] = (reason, Tally())
        self._upstream, self._reason, self._tally = upstream, reason, found[1]
        return found[1]

    def by_upstream(self) -> dict[str, int]:
        """Requests answered so far."""
        totals: dict[str, int] = {}
        for (upstream, _), (_, tally) in self.tallies.items():
            totals[upstream] = totals.get(upstream, 0) + sum(count.number for count in tally.answers.values())
        return totals
