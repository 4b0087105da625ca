"""Even sequences in place of coins: integers only, so that no share drifts however long the process runs."""

from __future__ import annotations

from proxy.model import BUCKETS

WEIGHT_ALL = 10_000
"""Weights are in hundredths of a percent."""

BUCKET_STEP = 6181
"""Coprime with 10,000, so that it visits every bucket once in 10,000 steps; near 10,000 divided by the golden ratio,
so that the first few clients are already spread (the three-distance theorem)."""


class EvenDice:
    """``ports.Dice`` by error diffusion: a debt grows by the weight and each request that goes over pays it off.

    The debt stays below one request whatever the weights were, so over any n requests of one sequence the secondary
    answers the sum of the weights, to within one, also when the weight changes in between.
    """

    __slots__ = ("_bucket", "_debts")

    def __init__(self, first_bucket: int = 0) -> None:
        """``first_bucket``: where the buckets begin; another number after each start spares the same first clients."""
        # Lives as long as the process: a reload must not start a sequence anew.
        self._debts: dict[int, int] = {}
        self._bucket = first_bucket % BUCKETS

    def take(self, sequence: int, weight_bp: int) -> bool:
        """Whether the next request of ``sequence`` goes to the secondary."""
        # Half a request of debt at the start: the first shares are rounded, not cut off.
        debt = self._debts.get(sequence, WEIGHT_ALL // 2) + weight_bp
        if debt >= WEIGHT_ALL:
            self._debts[sequence] = debt - WEIGHT_ALL
            return True
        self._debts[sequence] = debt
        return False

    def new_bucket(self) -> int:
        """The next bucket; after any 10,000 calls each was given once."""
        bucket = self._bucket
        self._bucket = (bucket + BUCKET_STEP) % BUCKETS
        return bucket
