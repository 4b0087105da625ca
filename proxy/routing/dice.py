"""Even sequences in place of coins: integers only, so that no share drifts however long the process runs."""

from __future__ import annotations

from typing import Final

from proxy.model import BUCKETS

WEIGHT_ALL: Final = 10_000
"""Weights are in hundredths of a percent."""

_DIGITS: Final = (4, 9, 1, 6, 3, 8, 0, 5, 2, 7)
"""Which digit comes after which: below any bound they are as evenly spread as ten digits can be."""

_BUCKETS: Final = tuple(
    int("".join(str(_DIGITS[int(digit)]) for digit in reversed(f"{turn:04}"))) for turn in range(BUCKETS)
)
"""The turn's digits backwards (van der Corput): every bucket once in 10,000 turns, each tenth of them once in any 10
turns, each hundredth once in any 100. So of any 100 new clients, a weight of 10 % takes exactly 10. (A constant step,
such as 10,000 over the golden ratio, is off by up to 2 there.)"""


class EvenDice:
    """``ports.Dice`` by error diffusion: a debt grows by the weight and each request that goes over pays it off.

    The debt stays below one request whatever the weights were, so over any n requests of one sequence the secondary
    answers the sum of the weights, to within one, also when the weight changes in between.
    """

    __slots__ = ("_debts", "_turn")

    def __init__(self, first_turn: int = 0) -> None:
        """``first_turn``: where the buckets begin; another number after each start spares the same first clients."""
        # Lives as long as the process: a reload must not start a sequence anew.
        self._debts: dict[int, int] = {}
        self._turn = first_turn % BUCKETS

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
        turn = self._turn
        self._turn = (turn + 1) % BUCKETS
        return _BUCKETS[turn]
