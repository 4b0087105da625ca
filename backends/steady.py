"""Wall time that does not jump within one process: what was kept for a day is kept for a day, whoever sets the clock.

A clock that is set ahead by more than that would let every kept answer expire at once, and a write that is repeated just then
would be done twice. Over a restart only the clock of the machine tells how long it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final


def _elapsed_s() -> float:
    """Seconds since some moment; the time in which the machine was suspended counts, where the system can tell."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class SteadyWall:
    """Seconds since 1970: what the clock said at the start, and what has passed since."""

    def __init__(
        self, wall: Callable[[], float] = time.time, elapsed_s: Callable[[], float] = _elapsed_s
    ) -> None:
        self._elapsed_s = elapsed_s
        self._offset_s = wall() - elapsed_s()

    def __call__(self) -> float:
        return self._offset_s + self._elapsed_s()


STEADY: Final = SteadyWall()
"""This process's."""
