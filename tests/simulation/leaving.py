"""An operator whose primary is dead: what would be lost is read, counted, accepted; and what is left to choose in the end.

Writes down what was told (`Left`), which the checker holds against the two disks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.simulation.upstream import remember

if TYPE_CHECKING:
    from tests.simulation.proxy_process import Proxy
    from tests.simulation.world import World

TRY_S = 0.3
PATIENCE_S = 15.0


@dataclass(slots=True)
class Left:
    """One primary that was left behind, as the operator saw it."""

    upstream: str
    to: str
    epoch: int
    """The last one of the old primary."""
    began_s: float
    names: list[tuple[str, str]]
    """What was named as lost, and why."""
    letters: dict[str, bytes | None] | None = None
    """When the old one had returned and before anything was chosen: the dead letters, each with what the old one holds."""

    is_salvaged_to: bool = False
    """Before anything was chosen an operator tried to leave the other one behind too: the journal's states win then."""

    @property
    def names_everything(self) -> bool:
        return any(name == "/" for name, _ in self.names)

    def is_named(self, key: str, *, as_acknowledged: bool = False) -> bool:
        """``as_acknowledged``: by a name that says that an acknowledged write may be gone."""
        for name, why in self.names:
            if as_acknowledged and "in doubt" in why:
                continue
            where = name.partition(" (")[0]
            if where in (key, "/") or (key + "/").startswith(where.rstrip("/") + "/"):
                return True
        return False


@dataclass(slots=True)
class Operator:
    """Of one world."""

    world: World
    left: list[Left] = field(default_factory=list[Left])

    async def leave(self, until_s: float) -> None:
        """Until the primary has been left behind, or it is back."""
        world = self.world
        while (proxy := world.proxy) is None or not proxy.is_open:
            await asyncio.sleep(TRY_S)
        old = proxy.controller.primary
        to = proxy.controller.other(old)
        planned: list[tuple[str, str]] = []
        began_s = world.loop.time()
        while world.loop.time() < until_s and not world.is_healed:
            await asyncio.sleep(TRY_S)
            proxy = world.proxy
            if proxy is None or proxy.process.is_dead or not proxy.is_open:
                continue
            if proxy.controller.primary != old:
                returning = proxy.actual.meta.returning
                if returning is not None:  # the last try went through, though its proxy died
                    self._has_left(old, to, proxy, began_s, planned, returning.epoch)
                return
            said = await self._ask(proxy, lambda proxy=proxy: proxy.what_would_be_lost(to))
            if said is None:
                continue
            planned, began_s = said, world.loop.time()
            world.note(f"the operator reads what would be lost without {old}: {planned}")
            epoch = proxy.actual.meta.epoch
            for left in self.left[-1:]:
                left.is_salvaged_to |= left.upstream == to and left.letters is None
            done = await self._ask(proxy, lambda proxy=proxy, names=planned: proxy.leave(to, len(names)))
            world.note(f"the operator is told: {done}")
            if isinstance(done, list):
                self._has_left(old, to, proxy, began_s, done, epoch)
                return

    def _has_left(
        self, old: str, to: str, proxy: Proxy, began_s: float, names: list[tuple[str, str]], epoch: int
    ) -> None:
        """``epoch``: the last one of the old primary, which may be back and compared before the operator's answer is."""
        returning = proxy.actual.meta.returning
        world = self.world
        world.marks["left behind"] += 1
        world.marks["named as lost"] += len(names)
        keys = () if returning is None else returning.keys
        named = [*names, *((key, "as the journal says") for key in keys)]
        self.left.append(Left(old, to, epoch, began_s, named))

    async def choose(self) -> None:
        """Once the old one is back and compared: look at the dead letters, then keep the primary's records."""
        proxy = self.world.proxy
        if proxy is None or proxy.process.is_dead or not proxy.is_open or not proxy.mirror.dead_keys():
            return
        if proxy.actual.meta.returning is not None:
            return
        for left in self.left[-1:]:
            if left.letters is None:
                there = remember(self.world.disks[left.upstream]).collections
                left.letters = {}
                for key in proxy.mirror.dead_keys():
                    collection, record_id = key.split("/")[2:4]
                    live = there[collection].live if collection in there else {}
                    left.letters[key] = live[record_id].body if record_id in live else None
        self.world.marks["dead letters"] += len(proxy.mirror.dead_keys())
        await self._ask(proxy, proxy.retry_all)

    async def _ask(self, proxy: Proxy, ask: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """None where the proxy dies over it."""
        task = proxy.process.spawn(ask())
        end_s = self.world.loop.time() + PATIENCE_S
        while not task.done() and not proxy.process.is_dead and self.world.loop.time() < end_s:
            await asyncio.sleep(0.05)
        return task.result() if task.done() and not proxy.process.is_dead else None
