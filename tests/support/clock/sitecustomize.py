"""In a process that a test starts with this folder first on PYTHONPATH: a wall clock that a file sets back or ahead.

``TURNOUT_TEST_CLOCK`` names the file; it holds seconds to add. The monotonic clock is left alone, as the kernel does.
"""

import os
import time
from pathlib import Path

_offset = Path(os.environ["TURNOUT_TEST_CLOCK"])
_time = time.time


def _moved() -> float:
    return _time() + float(_offset.read_text() or 0)


time.time = _moved
