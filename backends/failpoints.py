"""Named places where a test may have a server killed, as by kill -9. Costs one call of nothing where none is set.

``TURNOUT_STORE_FAILPOINT=journal-synced`` kills at the first pass, ``journal-synced:3`` at the third. The names are the
steps by which the JSON store brings something to disk; tests/faults walks through all of them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

NAMES = (
    "journal-append",
    "journal-written",
    "journal-synced",
    "journal-applied",
    "segment-closed",
    "segment-created",
    "data-staged",
    "data-announced",
    "data-installed",
    "state-staged",
    "state-installed",
    "segments-dropped",
)


def _nothing(_: str) -> None:
    """No failpoint is set."""


def _armed(wanted: str, passes: int) -> Callable[[str], None]:
    left = passes

    def hit(name: str) -> None:
        nonlocal left
        if name == wanted:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return hit


def _from_environment() -> Callable[[str], None]:
    wanted, _, passes = os.environ.get("TURNOUT_STORE_FAILPOINT", "").partition(":")
    if not wanted:
        return _nothing
    if wanted not in NAMES:
        raise SystemExit(f"TURNOUT_STORE_FAILPOINT: there is no {wanted!r}; there are {', '.join(NAMES)}")
    return _armed(wanted, int(passes or 1))


hit = _from_environment()
"""Called with the name of the place that is being passed."""
