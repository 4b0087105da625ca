"""A child of `turnout demo` ends with its parent, however that ends: the kernel sends it SIGTERM."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PARENT_VARIABLE = "TURNOUT_PARENT"
"""The parent's process id, in the environment of a child that must not outlive it."""

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Called before anything else is imported. Does nothing without the variable; only Linux has the means."""
    wanted = os.environ.pop(PARENT_VARIABLE, "")
    if not wanted or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    # It may have ended before the kernel was told.
    if os.getppid() != int(wanted):
        raise SystemExit(1)
