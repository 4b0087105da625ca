"""The system's clock: a ports.Clock."""

from __future__ import annotations

import time


class SystemClock:
    """Read twice a request, so without a Python call around it."""

    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
