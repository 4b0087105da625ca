"""Named places where a test may have the process killed, as by kill -9. Costs one call of nothing where none is set.

``TURNOUT_FAILPOINT=outcome-durable`` kills at the first pass, ``outcome-durable:3`` at the third. The names are
those of the steps of a write's life and of a switch; tests/faults walks through all of them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

NAMES = (
    "intent-queued",
    "intent-durable",
    "primary-answered",
    "outcome-durable",
    "client-answered",
    "replay-sent",
    "replay-answered",
    "repair-read",
    "prefix-listed",
    "gap-marked",
    "repair-answered",
    "void-answered",
    "switch-burned",
    "switch-announced",
    "switch-committed",
    "salvaged",
    "returned-voided",
    "mirror-gap-marked",
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
    wanted, _, passes = os.environ.get("TURNOUT_FAILPOINT", "").partition(":")
    if not wanted:
        return _nothing
    if wanted not in NAMES:
        raise SystemExit(f"TURNOUT_FAILPOINT: there is no {wanted!r}; there are {', '.join(NAMES)}")
    return _armed(wanted, int(passes or 1))


hit = _from_environment()
"""Called with the name of the place that is being passed."""
