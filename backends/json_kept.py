"""The answers that the JSON store keeps under Idempotency-Keys: found by that key, by the record's key, and by their end. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from backends.store import ANSWER_BYTES_A_PAGE, ANSWERS_A_PAGE, KeptAnswer


@dataclass(slots=True)
class KeptAnswers:
    """Answers by Idempotency-Key."""

    _by_name: dict[str, KeptAnswer] = field(default_factory=dict[str, KeptAnswer])
    _names_of: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """The Idempotency-Keys of each record's key."""
    _ends: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    """A heap. What another server kept comes with an end of its own, so they do not come in the order of their ends."""

    def copy(self) -> KeptAnswers:
        """A copy that later changes leave as it is."""
        names_of = {key: set(names) for key, names in self._names_of.items()}
        return KeptAnswers(dict(self._by_name), names_of, list(self._ends))

    def __iter__(self) -> Iterator[KeptAnswer]:
        return iter(self._by_name.values())

    def get(self, name: str) -> KeptAnswer | None:
        return self._by_name.get(name)

    def put(self, kept: KeptAnswer) -> None:
        """Keep it, in the place of an earlier one under the same Idempotency-Key."""
        self._drop(kept.idempotency_key)
        self._by_name[kept.idempotency_key] = kept
        self._names_of.setdefault(kept.key, set()).add(kept.idempotency_key)
        heapq.heappush(self._ends, (kept.expires_ms, kept.idempotency_key))

    def expire(self, now_ms: int) -> None:
        """Drop what is over."""
        while self._ends and self._ends[0][0] <= now_ms:
            expires_ms, name = heapq.heappop(self._ends)
            kept = self._by_name.get(name)
            if kept is not None and kept.expires_ms == expires_ms:  # else it was replaced meanwhile
                self._drop(name)

    def page(self, key: str | None, after: str) -> tuple[list[KeptAnswer], bool]:
        """Store.answers, of what is here."""
        names = self._by_name.keys() if key is None else self._names_of.get(key, set[str]())
        first = heapq.nsmallest(ANSWERS_A_PAGE + 1, (name for name in names if name > after))
        found: list[KeptAnswer] = []
        size = 0
        for name in first[:ANSWERS_A_PAGE]:
            if size >= ANSWER_BYTES_A_PAGE:
                break
            found.append(self._by_name[name])
            size += len(found[-1].answer.body)
        return found, len(found) < len(first)

    def _drop(self, name: str) -> None:
        kept = self._by_name.pop(name, None)
        if kept is None:
            return
        names = self._names_of[kept.key]
        names.discard(name)
        if not names:
            del self._names_of[kept.key]
