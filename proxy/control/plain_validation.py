"""A validation where an upstream is plain: what it compares, and from when on its looks count. It reports, and clears nothing.

A plain upstream knows no epoch, so what was sent to it before the validation began may still arrive. What the mirror sent is waited
for by its own rules (late-look); what it did not carry, by **late-start**: nothing is read before all such writes that had begun
earlier have ended, and ``limits.response_timeout`` has passed since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from proxy.control.places import place_of_path
from proxy.errors import RefusedError
from proxy.kinds import Kinds
from proxy.model import Snapshot
from proxy.ports import Clock, Comparer

LOOK_S = 0.05
PROBE_ID = "0"

NOTE = "where an upstream is plain, gaps stay in this version: canary reads and a switch still wait"

HINT = "write in routing.yaml: mirror: {compare: {collections: [/api/orders]}}, with every path under which records lie"


class PlainValidation:
    """What is asked of it is decided anew for each validation, by the routing of that moment."""

    def __init__(
        self,
        comparer: Comparer | None,
        *,
        clock: Clock,
        kinds: Kinds,
        snapshot: Callable[[], Snapshot],
        unmirrored_since_before: Callable[[float], int],
    ) -> None:
        self._comparer = comparer
        self._clock = clock
        self._kinds = kinds
        self._snapshot = snapshot
        self._unmirrored_since_before = unmirrored_since_before

    def is_needed(self) -> bool:
        """Whether one of the two is plain."""
        return self._kinds.has_plain

    def late_s(self) -> float:
        """How long what was sent to a plain upstream may still arrive."""
        return self._snapshot().limits.response_timeout_s

    def check(self) -> dict[str, bool]:
        """What the operator names, each with whether it is a single key. RefusedError where that cannot be compared."""
        if self._comparer is None:
            raise RefusedError(
                "this proxy was started without the tools that compare", "start it with `turnout proxy`"
            )
        snapshot = self._snapshot()
        named = snapshot.mirror.collections
        if not named and not any(self._kinds.is_versioned(one.name) for one in snapshot.upstreams):
            raise RefusedError(
                "both upstreams are plain: neither can say which collections it has, and routing.yaml names none",
                HINT,
            )
        return {path: _is_single(path, snapshot) for path in named}

    async def compare(self, began_s: float) -> Mapping[str, object]:
        """The report of a validation that began then."""
        named = self.check()
        assert self._comparer is not None, "checked"
        await self._late_start(began_s)
        return await self._comparer(named)

    async def _late_start(self, began_s: float) -> None:
        since_s = began_s
        while self._unmirrored_since_before(began_s):
            await asyncio.sleep(LOOK_S)
            since_s = self._clock.now()
        left_s = since_s + self.late_s() - self._clock.now()
        if left_s > 0:
            await asyncio.sleep(left_s)


def _is_single(path: str, snapshot: Snapshot) -> bool:
    """Whether a named path is a single key; RefusedError where no route's template says what its records' keys are."""
    place = place_of_path(path, snapshot)
    if place.key == path:
        return True
    record = f"{path}/{PROBE_ID}"
    if not place.is_collection or place_of_path(record, snapshot).key != record:
        raise RefusedError(
            f"{path} is named in mirror.compare.collections, and no route says by `key` which paths are its records",
            f'give it one, such as {{path: "{path}/*", key: "{path}/{{id}}"}}, or leave it out',
        )
    return False
