"""What the event loop asks of the journal, until the writer takes it; and for whom the writer waits before it takes it.

Those whom one commit has released come back soon with their next request: intents with the primary's answer, clients with their next
write. A commit that begins at once misses them all, and each waits for two commits where one would do. So the writer waits until as many
are there as were released or waited already, as long as that pays: while the event loop is at work on them anyway, and else for the
part of a commit's time that the next to come would save, shared by those who wait. It goes by what came of it the last times: where nobody
comes back (a slow primary, clients that are done) it hardly waits. A single client is never waited for: with it everybody is there.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from typing import Any, Final

ENOUGH: Final = 64
"""So many share a commit well: nobody waits for more."""

SHARE_MIN: Final = 1 / 64
"""What is left of a wait that did not pay, time after time."""

BUSY_S: Final = 0.0005
"""How often the writer looks whether the event loop is at work still."""

WAIT_S_MAX: Final = 0.004
"""Whoever comes, nobody waits for longer."""

NEVER: Final = 1 << 62

Item = tuple[str, Any, Any]
"""Kind (intent, outcome, work, lazy), what, and whom to tell."""


class Gathering:
    """``put`` and ``quiet`` are the event loop's, ``take`` and ``released`` the writer's."""

    def __init__(self, wait_s_max: float = WAIT_S_MAX) -> None:
        self._wait_s_max = wait_s_max
        self._items: deque[list[Item] | None] = deque()
        self._tokens: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._asked = 0
        """The event loop's: how many were asked for, ever."""
        self._taken = 0
        """The writer's: how many of them it took."""
        self._wake_at = NEVER
        """``_asked`` at which the writer wants to be woken. Whoever takes it away wakes it."""
        self._is_busy = False
        """The event loop is at work on those who were released, or who have just asked."""
        # the writer's
        self._wanted = 1
        self._commit_s = 0.0
        self._share = 1.0

    # -- the event loop's --------------------------------------------------------------------------

    def put(self, items: list[Item] | None) -> bool:
        """One step's requests, in their order; None: the last. True: the writer waits for more to come, and ``quiet`` is of use to it."""
        self._items.append(items)
        if items is None:
            self._tokens.put(None)
            return False
        self._is_busy = True
        self._asked += len(items)
        if self._asked >= self._wake_at:
            self._wake_at = NEVER
            self._tokens.put(None)
        return self._wake_at != NEVER

    def quiet(self) -> None:
        """A step of the event loop has brought nothing."""
        self._is_busy = False

    # -- the writer's ------------------------------------------------------------------------------

    def released(self, count: int, took_s: float) -> None:
        """A commit is over, which took so long, and so many are about to be told."""
        self._wanted = min(count + self._asked - self._taken, ENOUGH)
        self._commit_s = took_s
        self._is_busy = True

    def take(self, most: int) -> list[list[Item] | None]:
        """All that is there, about ``most`` requests at once; blocks until there is something. None among it: nothing follows."""
        if self._asked - self._taken < self._wanted > 1:
            self._wait()
        found: list[list[Item] | None] = []
        count = 0
        while True:
            while self._items and count < most:
                items = self._items.popleft()
                found.append(items)
                if items is None:
                    return found
                count += len(items)
            if found:
                self._taken += count
                self._wanted = 1
                return found
            self._wake_at = self._taken + 1
            if not self._items:
                self._tokens.get()
            self._wake_at = NEVER

    def _wait(self) -> None:
        """Until all are there, or it pays no longer."""
        began_s = now_s = time.monotonic()
        first = seen = self._asked - self._taken
        until_s = began_s + self._wait_s_max
        while now_s < until_s:
            self._wake_at = self._taken + self._wanted
            if self._asked >= self._wake_at or (self._items and self._items[-1] is None):
                break
            was_busy = self._is_busy
            wait_s = BUSY_S if was_busy else self._commit_s * self._share / max(1, seen)
            try:
                self._tokens.get(timeout=min(wait_s, until_s - now_s))
            except queue.Empty:
                if not (was_busy or self._is_busy) and self._asked - self._taken == seen:
                    break
            seen = self._asked - self._taken
            now_s = time.monotonic()
        self._wake_at = NEVER
        gained = self._asked - self._taken - first
        has_paid = gained * self._commit_s >= first * (time.monotonic() - began_s)
        self._share = min(1.0, self._share * 2) if has_paid else max(SHARE_MIN, self._share / 2)
