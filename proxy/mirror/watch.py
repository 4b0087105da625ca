"""What writes have begun to change since a moment: for who compares two upstreams while writes go on. Pure; the lanes tell it."""

from __future__ import annotations

from proxy.journal.entry import Entry
from proxy.routing.paths import covers


class Watch:
    """Told of each write when it begins, and of each key when it is learned, and keeps that while it ``is_on``: bounded by what is
    written meanwhile."""

    def __init__(self, *, is_on: bool = False) -> None:
        self.is_on = is_on
        self.count = 0
        """Rises with everything that it is told: a moment."""
        self._keys: dict[str, int] = {}
        self._prefixes: dict[str, int] = {}
        self._places: dict[str, int] = {}
        """Places of writes whose key was not known yet."""

    def begun(self, entry: Entry) -> None:
        """A write is about to be sent to the primary, or is known to change more than was thought."""
        if not self.is_on:
            return
        self.count += 1
        for prefix in entry.marks:
            self._prefixes[prefix] = self.count
        if entry.key is not None:
            self._keys[entry.key] = self.count
        elif not entry.marks and not entry.can_learn_key:
            self._prefixes[entry.prefix] = self.count
        self._places[entry.prefix] = self.count

    def learned(self, key: str) -> None:
        """What a write changed is known now."""
        if not self.is_on:
            return
        self.count += 1
        self._keys[key] = self.count

    def has_touched(self, key: str, since: int) -> bool:
        """Whether a write of the key, or one over it, has begun or become known since that moment."""
        return self._keys.get(key, 0) > since or any(
            at > since and covers(prefix, key) for prefix, at in self._prefixes.items()
        )

    def has_touched_under(self, path: str, since: int) -> bool:
        """The same for all that lies under a path: a list may have changed its pages."""
        return any(
            at > since and (covers(path, place) or covers(place, path))
            for places in (self._places, self._prefixes)
            for place, at in places.items()
        )
