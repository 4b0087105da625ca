"""Which writes of one key were under way together, where a plain upstream leaves nothing else to go by (overlap-plain). Pure."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.journal.entry import Entry
from proxy.mirror.lane import Lane

KEPT_BESIDE_OPEN_MAX = 64


class Overlaps:
    """Marks entries that overlapped as ``must_repair``: the primary's order of them is not known."""

    def __init__(self) -> None:
        self._begun: dict[str, int] = {}
        """Of each key the youngest seq that named it at its intent, while older writes are open."""

    def begun(self, entry: Entry, lane: Lane, open_seqs: Mapping[int, None]) -> None:
        """A write that names its key is about to be sent; ``open_seqs`` have no outcome yet, this one among them."""
        assert entry.key is not None
        for other in lane.entries.values():
            if other.seq in open_seqs:
                other.must_repair = entry.must_repair = True
        self._begun[entry.key] = entry.seq
        if len(self._begun) > 2 * len(open_seqs) + KEPT_BESIDE_OPEN_MAX:
            lowest = next(iter(open_seqs))
            self._begun = {key: seq for key, seq in self._begun.items() if seq >= lowest}

    def learned(self, entry: Entry, lane: Lane, open_seqs: Mapping[int, None]) -> None:
        """A POST, whose key is known only now: whatever named the key since its intent overlapped it."""
        assert entry.key is not None
        if self._begun.get(entry.key, 0) > entry.seq:
            entry.must_repair = True
        for other in lane.entries.values():
            if other.seq > entry.seq or other.seq in open_seqs:
                other.must_repair = entry.must_repair = True
