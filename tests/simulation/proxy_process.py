"""One life of the proxy: the production rooms, joined as proxy/app.py joins them, over simulated ports."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from proxy import observe
from proxy.cli.tools import differ, validator
from proxy.control import startup
from proxy.control.actual import Actual
from proxy.control.controller import Controller, SnapshotBox
from proxy.control.mirroring import Mirroring
from proxy.control.plain_validation import PlainValidation
from proxy.control.pursuit import pursue
from proxy.control.returning import Returns
from proxy.control.validations import Validations
from proxy.errors import TurnoutError
from proxy.forward.forwarder import Forwarder
from proxy.kinds import Kinds
from proxy.limits import JOURNAL_BODIES_BYTES_MAX
from proxy.mirror.gate import Gate
from proxy.mirror.handle import MirrorHandle
from proxy.mirror.left_behind import LeftBehind
from proxy.mirror.replayer import Replayer
from proxy.mirror.state import MirrorState, Roles
from proxy.ports import Clock, Sender
from proxy.routing.dice import EvenDice
from proxy.settings.compile import compile_snapshot
from proxy.settings.load import Settings, load
from tests.simulation.disk import JournalDisk, SimulatedJournal
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.network import PORTS, Network, SimulatedSender

ROUTING = """\
version: 1
upstreams:
  json: {endpoints: ["http://127.0.0.1:3002"]}
  postgres: {endpoints: ["http://127.0.0.1:3003"]}
primary: ${PRIMARY:-json}
canary:
  enabled: true
  always:
    - {header: X-Canary, exact: always}
  weight: 0
routes:
__ROUTES__  - {path: "/api/*", key: "/api/{collection}/{id}"}
limits: {response_timeout: 2s, hold_timeout: 1s, read_barrier: 50ms}
"""

AFFECTING = """\
  - {path: "/api/restock", methods: [POST], affects: ["/api/items"]}
"""

BY_STATE = """\
  - {path: "/api/items/1", key: "/api/{collection}/{id}", mode: state}
"""

_METRICS = observe.make_metrics()


@lru_cache(maxsize=64)
def _loaded(text: str, overrides: tuple[tuple[str, str], ...]) -> Settings:
    return load(text, {}, "routing.yaml", dict(overrides))


def load_once(
    text: str,
    env: Mapping[str, str],
    source: str = "routing.yaml",
    overrides: Mapping[str, str] | None = None,
) -> Settings:
    """settings.load, remembered: the same few texts are read in every run."""
    assert not env, "the simulated proxy has no environment"
    return _loaded(text, tuple(sorted((overrides or {}).items())))


class SimulatedClock:
    """A ports.Clock; its wall can be set."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.wall_offset_s = 1_800_000_000.0

    def now(self) -> float:
        return self._loop.time()

    def wall(self) -> float:
        return self._loop.time() + self.wall_offset_s


class FileDisk:
    """routing.yaml; an edit is there whole or not at all."""

    def __init__(self, ignored: str = "", routes: str = "") -> None:
        self.text = ROUTING.replace("__ROUTES__", routes) + ignored


class SimulatedController(Controller):
    """The production controller, whose file lies on the simulated disk."""

    process: Process
    file: FileDisk

    async def _write(self, text: str) -> None:
        await asyncio.sleep(0.001)
        if self.process.step():
            self.file.text = text
            self.process.step()


class Proxy:
    """Everything of one life that the world may look at or order."""

    def __init__(
        self,
        process: Process,
        network: Network,
        journal_disk: JournalDisk,
        file: FileDisk,
        clock: Clock,
        dice: random.Random,
        *,
        sync_s: float,
        fails: object,
    ) -> None:
        self.process = process
        self.network = network
        self.file = file
        self.clock = clock
        self.sender: Sender = SimulatedSender(process, network)
        self.journal = SimulatedJournal(process, journal_disk, dice, sync_s=sync_s, fails=fails)  # type: ignore[arg-type]
        self.actual: Actual
        self.state: MirrorState
        self.controller: SimulatedController
        self.validations: Validations
        self.is_open = False

    async def run(self) -> None:
        """Serve until killed. TurnoutError where the start is refused."""
        settings = load_once(self.file.text, {})
        journal, sender, clock = self.journal, self.sender, self.clock
        actual = self.actual = Actual(journal, clock)
        kinds = Kinds(actual.meta.versioned)
        draft = compile_snapshot(settings, primary=actual.meta.primary or settings.primary)
        box = SnapshotBox(draft)
        names = (draft.upstreams[0].name, draft.upstreams[1].name)
        if actual.is_new:
            await startup.check_upstreams(sender, actual, names, kinds)
            await actual.begin(settings.primary)
        await startup.check_upstreams(sender, actual, names, kinds)
        journal.recovered.gaps[:] = await actual.gaps()
        meta = actual.meta
        primary = meta.primary
        secondary = names[1] if primary == names[0] else names[0]
        roles = Roles(primary, secondary, meta.epoch, meta.journal_id)
        state = self.state = MirrorState(
            journal.recovered,
            draft.mirror,
            roles,
            clock.now(),
            kinds=kinds,
            late_s=draft.limits.response_timeout_s,
        )
        replayer = Replayer(state, journal, sender, clock)
        gate = Gate(
            state,
            journal,
            clock,
            wake=replayer.wake,
            bodies_bytes_max=JOURNAL_BODIES_BYTES_MAX,
            hold_timeout_s=draft.limits.hold_timeout_s,
        )
        replayer.gate = gate
        mirror = self.mirror = MirrorHandle(state, gate, replayer, journal, clock)
        forwarder = Forwarder(snapshots=box, mirror=gate, dice=EvenDice(), clock=clock, metrics=_METRICS)
        mirroring = Mirroring(
            actual=actual,
            mirror=mirror,
            sender=sender,
            clock=clock,
            names=names,
            kinds=kinds,
            hold_timeout_s=lambda: box.current.limits.hold_timeout_s,
            give_writes=lambda _: None,
            writes_under_way=forwarder.writes_under_way,
            is_on=True,
        )
        salvager = LeftBehind(state, replayer, journal, sender, clock)
        controller = self.controller = SimulatedController(
            config=Path("/simulated/routing.yaml"),
            env={},
            settings=settings,
            actual=actual,
            mirror=mirror,
            sender=sender,
            clock=clock,
            box=box,
            mirroring=mirroring,
            salvager=salvager,
            kinds=kinds,
        )
        controller.process, controller.file = self.process, self.file
        await controller.begin()

        def url_of(name: str) -> str:
            return box.current.upstream(name).endpoints[0].url

        returns = Returns(
            actual=actual,
            mirror=mirror,
            salvager=salvager,
            sender=sender,
            differ=differ,
            url_of=url_of,
            secure=dict,
            token="",
        )

        async def ensure_announced(upstream: str) -> bool:
            if not await startup.ensure_secondary(sender, actual, upstream, kinds):
                return False
            await returns.settle(upstream)
            return True

        replayer.ensure_announced = ensure_announced
        self.validations = Validations(
            actual=actual,
            switching=controller.switching,
            sender=sender,
            validator=validator,
            clock=clock,
            url_of=url_of,
            secondary=lambda: box.current.secondary,
            secure=dict,
            look_begins=mirror.validation_begins,
            clear_gaps=mirror.cleared,
            is_mirror_on=lambda: mirroring.is_on,
            token="",
            plain=PlainValidation(
                None,
                clock=clock,
                kinds=kinds,
                snapshot=lambda: box.current,
                unmirrored_since_before=forwarder.unmirrored_since_before,
            ),
        )
        gate.fence(f"{primary} has not been told epoch {meta.epoch} yet")
        await forwarder.start("127.0.0.1", PORTS["proxy"])
        replayer.start()
        replayer.look_for_secondary("it has not answered yet")
        controller.switching.begin_opening(
            lambda: startup.open_for_writes(sender, actual, mirror, controller.switching, kinds)
        )
        self.is_open = True
        await pursue(controller, actual, clock, "routing.yaml")

    # -- an operator's wishes --------------------------------------------------------------------------

    async def validate(self) -> str:
        try:
            run = self.validations.begin("operator")
        except TurnoutError as error:
            return f"{error.code} {error}"
        await self.validations.wait()
        return f"{run.state} {run.error}"

    async def switch(self) -> str:
        """With a validation first, where one is wanted."""
        if self.state.gaps.marks:
            await self.validate()
        to = self.controller.other(self.controller.primary)
        try:
            done = await self.controller.switch(
                to, reason="simulated", actor="operator", force=True, wait_s=2.0
            )
        except TurnoutError as error:
            return f"{error.code} {error}"
        return f"done {done}"

    async def what_would_be_lost(self, to: str) -> list[tuple[str, str]] | None:
        """As `turnout switch TO --dry-run` shows it; None where the primary answers, or nothing can be said."""
        try:
            plan = await self.controller.switch(to, reason="it is dead", actor="operator", dry_run=True)
        except TurnoutError:
            return None
        return _names(plan["lost"]) if "lost" in plan else None

    async def leave(self, to: str, accept_loss: int) -> list[tuple[str, str]] | str:
        """Go on without the primary; what was left behind, by name and why, or why it was called off."""
        try:
            done = await self.controller.switch(
                to, reason="it is dead", actor="operator", wait_s=5.0, accept_loss=accept_loss
            )
        except TurnoutError as error:
            return f"{error.code} {error}"
        return _names(done["lost"]) if done["changed"] else f"unchanged {done}"

    async def retry_all(self) -> None:
        """A person keeps the primary's record of every dead letter."""
        for key in self.mirror.dead_keys():
            await self.mirror.retry(key)

    async def canary(self) -> str:
        try:
            await self.controller.canary(enabled=True, weight=None, match=None, force=True, actor="operator")
        except TurnoutError as error:
            return f"{error.code} {error}"
        return "enabled"


def _names(lost: Any) -> list[tuple[str, str]]:
    return [(one["name"], one["why"]) for one in lost]
