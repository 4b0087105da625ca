"""How many keys are brought up to date at once, so that catching up does not slow the primary down. Pure; latencies are handed in.

Each repair begins with a read of the primary. While such reads take about as long as the quickest of late did, one more key at a time
is taken on, as far as the bound; when they take clearly longer the primary (or this process) is loaded, and it is fewer.
"""

from __future__ import annotations

from proxy.limits import MIRROR_LANES_AT_ONCE_MAX, MIRROR_LANES_AT_ONCE_MIN

SLOWER = 3.0
SLACK_S = 0.005
"""A read is slow if it took this many times the quickest, and this much more."""

DRIFT = 1.01
"""The quickest of late is forgotten slowly: each read lets it rise by this much."""

FEWER = 0.7


class Pace:
    """Starts at the bound: what is wrong with that shows within as many reads."""

    def __init__(self) -> None:
        self._at_once = float(MIRROR_LANES_AT_ONCE_MAX)
        self._quickest_s: float | None = None
        self._to_wait = 0
        """Reads that were begun before the last change, and say nothing of it."""

    @property
    def at_once(self) -> int:
        return int(self._at_once)

    def seen(self, latency_s: float) -> None:
        """One read of the primary took so long."""
        quickest_s = latency_s if self._quickest_s is None else min(latency_s, self._quickest_s * DRIFT)
        self._quickest_s = quickest_s
        if latency_s > quickest_s * SLOWER + SLACK_S:
            if self._to_wait <= 0:
                self._to_wait = self.at_once
                self._at_once = max(MIRROR_LANES_AT_ONCE_MIN, self._at_once * FEWER)
        else:
            self._at_once = min(MIRROR_LANES_AT_ONCE_MAX, self._at_once + 1 / self._at_once)
        self._to_wait -= 1
