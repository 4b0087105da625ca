"""Times for the sample data: drawn from a seed, never from the clock, so that the same seed gives the same file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

_FIRST: Final = datetime(2025, 1, 6, 6, 0, tzinfo=UTC)
_MILLISECONDS: Final = 500 * 24 * 3600 * 1000


class Calendar:
    """Moments within 500 days of January 2025."""

    def __init__(self, dice: Random) -> None:
        self._dice = dice

    def stamps(self) -> dict[str, str]:
        """``created_at`` and a later or equal ``updated_at``, RFC 3339 in UTC with milliseconds."""
        made = self._dice.randrange(_MILLISECONDS)
        touched = made + (self._dice.randrange(30 * 24 * 3600 * 1000) if self._dice.random() < 0.5 else 0)
        return {"created_at": _text(made), "updated_at": _text(touched)}

    def slot(self) -> str:
        """A local time with an offset: it looks like a date, and must stay the text that it is."""
        moment = _FIRST + timedelta(minutes=15 * self._dice.randrange(40_000))
        return moment.strftime("%Y-%m-%dT%H:%M:00+02:00")


def _text(milliseconds: int) -> str:
    moment = _FIRST + timedelta(milliseconds=milliseconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
