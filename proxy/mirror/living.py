"""How much is unsettled, and since when, without what waits for a person: kept along, so that no question looks at every entry. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.journal.entry import Entry


class Living:
    """All entries but the accepted ones of dead keys."""

    __slots__ = ("_entries", "_has_revived", "writes")

    def __init__(self) -> None:
        self.writes = 0
        """What they stand for: ``lag_entries``."""
        self._entries: dict[int, Entry] = {}
        """By seq: in order, unless some came back to life."""
        self._has_revived = False

    def __contains__(self, seq: int) -> bool:
        return seq in self._entries

    def add(self, entry: Entry) -> None:
        self._entries[entry.seq] = entry
        self.writes += entry.writes

    def leave(self, *entries: Entry) -> None:
        """They are over, or wait for a person now."""
        for entry in entries:
            if self._entries.pop(entry.seq, None) is not None:
                self.writes -= entry.writes

    def revive(self, entries: Iterable[Entry]) -> None:
        """A person has said: try again."""
        for entry in entries:
            self.add(entry)
            self._has_revived = True

    def stands_for_more(self, mark: Entry, writes: int) -> None:
        """Entries of so many writes become part of the mark; they leave as any."""
        mark.writes += writes
        if mark.seq in self._entries:
            self.writes += writes

    def oldest_s(self) -> float | None:
        """Wall time of the oldest."""
        if self._has_revived:
            self._entries = dict(sorted(self._entries.items()))
            self._has_revived = False
        for entry in self._entries.values():
            return entry.born_wall_s
        return None
