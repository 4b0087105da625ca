"""A primary and its secondary, as two servers of one epoch and journal; and what happens when the epoch rises under a tool.

A validation, a switch called off or a restarted proxy take a new epoch and keep the roles. All that a backfill does is guarded
by numbers of the same primary, so it goes on in the new epoch; where the roles have changed it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from backends.migrate.client import Standing, VersionedUpstream
from backends.migrate.faults import NotPairedError, StaleEpochError
from backends.store import EPOCH_SHIFT

_T = TypeVar("_T")

RENEWALS_MAX: Final = 100
LOOKS_MAX: Final = 75
LOOK_S: Final = 0.2
"""The secondary may learn of a new epoch a little later: 15 s are waited for it."""


class Pair:
    """``source`` is the primary, ``target`` the secondary; both carry the shared epoch."""

    def __init__(self, source: VersionedUpstream, target: VersionedUpstream) -> None:
        self.source = source
        self.target = target
        self._journal: str | None = None
        self._epoch = 0
        self._renewals = 0

    async def meet(self) -> None:
        """Take the epoch that both are in. NotPairedError says why there is none, and what to do."""
        left, right = await asyncio.gather(self.source.standing(), self.target.standing())
        trouble = _trouble(self.source.url, left, self.target.url, right)
        if trouble is not None:
            raise trouble
        if self._journal is not None and left.journal != self._journal:
            raise NotPairedError(
                f"both servers belong to another proxy's journal now ({left.journal})",
                "run it again from the start",
            )
        self._journal, self._epoch = left.journal, left.epoch
        self.source.epoch = self.target.epoch = left.header

    def demand_number(self, watermark: int) -> None:
        """S0 must be above all that earlier epochs left at the secondary, and numbers of an epoch start at its own (N1)."""
        if watermark < self._epoch << EPOCH_SHIFT:
            raise NotPairedError(
                f"{self.source.url} has the watermark {watermark}, which is below the numbers of its epoch {self._epoch}",
                "it does not keep rule N1 of docs/protocol.md; nothing was changed",
            )

    async def in_epoch(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask, and ask again in the next epoch where the roles are still the same. Only for what may be done twice."""
        while True:
            try:
                return await ask()
            except StaleEpochError:
                self._renewals += 1
                if self._renewals > RENEWALS_MAX:
                    raise
                await self._meet_again()

    async def _meet_again(self) -> None:
        for look in range(1, LOOKS_MAX + 1):
            try:
                await self.meet()
            except NotPairedError:
                if look == LOOKS_MAX:
                    raise
                await asyncio.sleep(LOOK_S)
            else:
                return


def _trouble(source_url: str, source: Standing, target_url: str, target: Standing) -> NotPairedError | None:
    start = (
        "start the proxy with both servers first: it tells them their roles (turnout proxy, or turnout demo)"
    )
    if target.role == "primary":
        return NotPairedError(
            f"{target_url} is the primary: nothing is ever backfilled into it",
            f"the direction is from the primary to the secondary; {source_url} is {source.role}",
        )
    if target.role != "secondary":
        return NotPairedError(f"{target_url} is no secondary (its role is {target.role})", start)
    if source.role != "primary":
        return NotPairedError(f"{source_url} is not the primary (its role is {source.role})", start)
    if source.journal != target.journal:
        return NotPairedError(
            f"the two servers belong to two proxies: {source_url} to journal {source.journal}, {target_url} to {target.journal}",
            start,
        )
    if source.epoch != target.epoch:
        return NotPairedError(
            f"{source_url} is in epoch {source.epoch}, {target_url} in epoch {target.epoch}",
            "the proxy tells the secondary as soon as it reaches it: look at `turnout status`, then run it again",
        )
    return None
