"""How fast things happen now: counts in slices of a second, over the last few. Pure; the time is handed in."""

from __future__ import annotations

from collections import deque

WINDOW_S = 10.0
SLICE_S = 0.5


class Meter:
    """A count over a sliding window. Holds WINDOW_S / SLICE_S slices at most."""

    def __init__(self) -> None:
        self._slices: deque[list[float]] = deque()
        """Of each slice: when it began, and how many."""

    def add(self, now_s: float, count: int) -> None:
        if self._slices and now_s - self._slices[-1][0] < SLICE_S:
            self._slices[-1][1] += count
        else:
            self._slices.append([now_s, count])
            self._forget(now_s)

    def per_second(self, now_s: float) -> float:
        """Over the window, or over what has passed of it since the first count."""
        self._forget(now_s)
        if not self._slices:
            return 0.0
        passed_s = min(WINDOW_S, max(SLICE_S, now_s - self._slices[0][0]))
        return sum(count for _, count in self._slices) / passed_s

    def _forget(self, now_s: float) -> None:
        while self._slices and now_s - self._slices[0][0] > WINDOW_S:
            self._slices.popleft()


def expected_end_s(lag: int, settled_per_s: float, accepted_per_s: float) -> float | None:
    """Seconds until nothing is left at these rates; 0 where nothing is, None where the lag does not shrink."""
    if lag == 0:
        return 0.0
    shrinks_per_s = settled_per_s - accepted_per_s
    return lag / shrinks_per_s if shrinks_per_s > 0 else None
