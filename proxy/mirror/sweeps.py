"""Writes that name no single key: what each marks, what waits for it, and which keys are still to repair. Pure.

A part of the lanes (proxy/mirror/lanes.py), which own every key's order; here lies only what spans keys.

Rules, by the names that docs/mirror.md and the tests use:
- **mark-sweeps**: a write without a key is never replayed; once accepted it is a mark on its prefixes, and settles when every key
  of both listings, and of every older unsettled entry there, has been repaired.
- **younger-wait**: what is younger than a mark, and under it, starts nothing until the mark is settled.
- **overlap-repairs**: an entry that was under way together with a mark over it settles by repair, never by replay.
- **unlistable-gap**: a prefix that cannot be listed is left to a gap mark.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from proxy.journal.entry import Entry
from proxy.limits import MIRROR_SWEEP_KEYS_AT_ONCE_MAX
from proxy.mirror.watch import Watch
from proxy.routing.paths import covers


@dataclass(slots=True)
class Sweep:
    """An accepted write without a key, on its way to be settled."""

    entry: Entry
    is_listing: bool = False
    is_listed: bool = False
    todo: dict[str, None] = field(default_factory=dict[str, None])
    """Keys whose repair has not begun."""
    under_way: set[str] = field(default_factory=set[str])
    failures: int = 0
    not_before_s: float = 0.0
    look_from_s: float = 0.0
    """At a plain upstream no look that began before this settles a key of it (late-look)."""

    @property
    def is_done(self) -> bool:
        return self.is_listed and not self.todo and not self.under_way

    def take(self) -> Iterator[str]:
        """The next keys to repair, so that only a bounded number is under way."""
        while self.todo and len(self.under_way) < MIRROR_SWEEP_KEYS_AT_ONCE_MAX:
            key = next(iter(self.todo))
            del self.todo[key]
            self.under_way.add(key)
            yield key


def scope_of(entry: Entry) -> tuple[str, ...]:
    """What a marked entry may have changed: its prefixes, and its own key where it has one."""
    return entry.marks if entry.key is None else (*entry.marks, entry.key)


def is_under(scope: Iterable[str], path: str) -> bool:
    return any(covers(prefix, path) for prefix in scope)


def touch(scope: Iterable[str], other: Iterable[str]) -> bool:
    """Whether two scopes have a path in common."""
    others = tuple(other)
    return any(covers(one, two) or covers(two, one) for one in scope for two in others)


ByPrefix = dict[str, dict[int, None]]
"""Seqs of unsettled entries, in order, under the prefix of their place and those that they mark."""


def index(by_prefix: ByPrefix, entry: Entry, watch: Watch) -> None:
    watch.begun(entry)
    for prefix in (entry.prefix, *entry.marks):
        by_prefix.setdefault(prefix, {})[entry.seq] = None


def unindex(by_prefix: ByPrefix, entry: Entry) -> None:
    for prefix in (entry.prefix, *entry.marks):
        under = by_prefix.get(prefix, {})
        under.pop(entry.seq, None)
        if not under:
            by_prefix.pop(prefix, None)


def overlapping(mark: Entry, entries: dict[int, Entry], open_seqs: Iterable[int]) -> Iterator[Entry]:
    """Unsettled entries under a mark that were under way together with it: open now, or begun after it. ``entries`` are in order of seq."""
    scope = scope_of(mark)

    def met(entry: Entry) -> bool:
        if entry.key is not None:
            return is_under(scope, entry.key)
        return touch(scope, (entry.prefix,))

    yield from (entries[seq] for seq in open_seqs if met(entries[seq]))
    for seq in reversed(entries):
        if seq <= mark.seq:
            return
        if met(entries[seq]):
            yield entries[seq]


def keys_at_begin(mark: Entry, entries: dict[int, Entry], by_prefix: ByPrefix) -> Iterator[str]:
    """Keys that a sweep repairs whatever the listings say: its own, and those of older unsettled entries under it."""
    scope = scope_of(mark)
    if mark.key is not None:
        yield mark.key
    for prefix, seqs in by_prefix.items():
        if touch((prefix,), scope):
            for seq in seqs:
                key = entries[seq].key
                if seq < mark.seq and key is not None and is_under(scope, key):
                    yield key


class Sweeps:
    """All unsettled writes without a key. Empty in most moments, and then every question costs nothing."""

    def __init__(self) -> None:
        self.marked: dict[int, Entry] = {}
        """Entries with marks, from their intent until they are settled, in order."""
        self.unnamed: dict[int, Entry] = {}
        """POSTs that name no key and mark nothing: readers wait for them, writes do not."""
        self.running: dict[int, Sweep] = {}
        """The accepted ones among ``marked``."""

    def forget(self, seq: int) -> None:
        self.marked.pop(seq, None)
        self.unnamed.pop(seq, None)
        self.running.pop(seq, None)

    def covering(self, key: str) -> Iterator[int]:
        """Seqs that a reader of the key must wait for, beside those of its lane (barrier)."""
        for seq, entry in self.marked.items():
            if is_under(scope_of(entry), key):
                yield seq
        for seq, entry in self.unnamed.items():
            if covers(entry.prefix, key):
                yield seq

    def is_waiting(self, key: str, seq: int) -> bool:
        """Whether this entry of the key is younger than an unsettled mark over it (younger-wait)."""
        return any(older < seq and is_under(scope_of(entry), key) for older, entry in self.marked.items())

    def to_list(self, now_s: float, *, is_plain: bool) -> list[Sweep]:
        """Sweeps that may look for their keys now."""
        return [sweep for sweep, at_s in self._next(is_plain=is_plain) if at_s <= now_s]

    def next_at_s(self, *, is_plain: bool) -> Iterator[float]:
        """When sweeps that wait for nothing but a time may go on."""
        return (at_s for _, at_s in self._next(is_plain=is_plain))

    def _next(self, *, is_plain: bool) -> Iterator[tuple[Sweep, float]]:
        """Sweeps whose listing is next, and from when: no older mark touches them."""
        for seq, sweep in self.running.items():
            if sweep.is_listed or sweep.is_listing:
                continue
            scope = scope_of(sweep.entry)
            if not any(older < seq and touch(scope_of(entry), scope) for older, entry in self.marked.items()):
                yield sweep, max(sweep.not_before_s, sweep.look_from_s if is_plain else 0.0)
