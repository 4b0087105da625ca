"""What the mirror did not carry: gap marks, and which paths they make unproven. Pure."""

from __future__ import annotations

from proxy.journal.store import GapMark
from proxy.routing.paths import covers


class Gaps:
    """The marks that no validation has cleared yet. ``""`` is everything."""

    def __init__(self, marks: list[GapMark]) -> None:
        self.marks = list(marks)
        self._looked_upto = 0
        """A validation may clear the marks up to this number: they say nothing of what comes from now on."""

    def has(self, prefix: str) -> bool:
        """Whether a mark already covers what comes now, so that another one would add nothing.

        Not one without a number, which is not on disk yet; nor one that a validation under way may clear, for this
        may have passed the place that the write is about to change.
        """
        return any(mark.id > self._looked_upto and covers(mark.prefix, prefix) for mark in self.marks)

    def validation_begins(self, last_id: int) -> None:
        """The marks up to ``last_id`` are what it may clear."""
        self._looked_upto = last_id

    def is_unproven(self, prefix: str, key: str | None) -> bool:
        """Whether a read there could meet what the mirror did not carry: a mark above it, or below the list it reads."""
        path = prefix if key is None else key
        return any(
            covers(mark.prefix, path) or (key is None and covers(path, mark.prefix)) for mark in self.marks
        )

    def add(self, mark: GapMark) -> None:
        self.marks.append(mark)

    def clear_upto(self, last_id: int) -> list[GapMark]:
        """A validation that began when ``last_id`` was the last mark found equal: those up to it go; returns them.

        By number, never by time: a clock that is set back would make a later mark look older. A mark without a number is not on disk yet.
        """
        gone = [mark for mark in self.marks if 0 < mark.id <= last_id]
        self.marks = [mark for mark in self.marks if not 0 < mark.id <= last_id]
        return gone
