"""One run: a world from one seed, first under faults, then healed; then the checker.

begin ─► faulty half: clients write and read, the plan's faults and orders happen ─► heal: no new fault,
every program runs ─► converge: the mirror settles all within CONVERGE_S ─► what is late arrives ─► check
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from dataclasses import dataclass, field

import structlog

from backends.contract.canonical import encode
from backends.migrate.backfill import backfill
from backends.migrate.faults import ToolError
from proxy.errors import TurnoutError, UpstreamError
from proxy.limits import MIRROR_REPLAYS_PER_LANE_MAX
from tests.simulation.checker import IGNORED, Checker
from tests.simulation.clients import Client, Said
from tests.simulation.disk import JournalDisk, StoreDisk
from tests.simulation.leaving import Operator
from tests.simulation.loop import CALLBACKS_MAX, PROCESS, EndlessError, NothingToDoError, Process, VirtualLoop
from tests.simulation.network import PORTS, Network, Request
from tests.simulation.plan import HOUR_S, UPSTREAMS, Event, Kind, Plan, What, draw
from tests.simulation.proxy_process import AFFECTING, BY_STATE, FileDisk, Proxy, SimulatedClock
from tests.simulation.tools import simulated_tools
from tests.simulation.upstream import Upstream, seed_records

CONVERGE_S = 120.0
LATE_S = 30.0
RESTART_S = 0.3
UNNAMED_SHARE = 0.3
"""Of the keyless writes of a run that has such: those that leave a gap."""
CALLBACKS_OUTAGE_MAX = 4_000_000
ORDERS_MAX = 8
"""How often an operator asks again for what was refused or called off."""


@dataclass(slots=True)
class Result:
    """What came of a seed."""

    plan: Plan
    faults: list[str]
    trace: list[str] = field(default_factory=list[str])
    marks: Counter[str] = field(default_factory=Counter[str])


class World:
    def __init__(self, plan: Plan, *, is_traced: bool = False) -> None:
        self.plan = plan
        self.loop = VirtualLoop(CALLBACKS_OUTAGE_MAX if plan.kind is Kind.OUTAGE else CALLBACKS_MAX)
        self.faults: list[str] = []
        self.trace: list[str] = []
        self._is_traced = is_traced
        self.is_healed = False
        self._is_over = False
        """Nothing more can come of it: the proxy does not start."""
        self._dice = {
            name: random.Random(f"{name} {plan.seed}") for name in ("network", "disks", "clients", "world")
        }
        self.network = Network(self.loop, self._dice["network"], plan, self.note)
        self.clock = SimulatedClock(self.loop)
        self._journal_disk = JournalDisk()
        self._file = FileDisk(
            f"mirror: {{compare: {{ignore: [{', '.join(IGNORED)}]}}}}\n" if plan.plain else "",
            (AFFECTING if plan.keyless else "") + (BY_STATE if plan.has_state_route else ""),
        )
        self.disks = {name: StoreDisk() for name in UPSTREAMS}
        self.processes: list[Process] = []
        self.upstreams: dict[str, Upstream] = {}
        self.proxy: Proxy | None = None
        self._crashes = list(plan.crashes)
        self._clients: list[Client] = []
        self._ids = [str(number) for number in range(1, plan.hot_keys + 1)]
        self._alive = set(self._ids) if plan.has_seeded_records else set[str]()
        """Records that are there as far as clients were told: so that most writes are sensible ones."""
        self._back_at_s: dict[str, float] = {}
        self._operator = Operator(self)
        self._is_backfilled = False
        """A backfill has come to a clean end: from then on the mirror alone keeps the two equal."""
        self.marks: Counter[str] = Counter()
        """What happened, counted: a run in which nothing happens proves nothing."""
        if plan.has_seeded_records:
            records = {record_id: encode({"id": int(record_id), "by": "seed"}) for record_id in self._ids}
            seed_records(self.disks["json"], records)
            if plan.lags_behind:
                records = {one: encode({"id": int(one), "by": "long ago"}) for one in [*self._ids[1:], "77"]}
            seed_records(self.disks["postgres"], records)

    def note(self, text: str) -> None:
        if self._is_traced:
            self.trace.append(f"{self.loop.time():9.4f}  {text}")

    # -- programs ----------------------------------------------------------------------------------------

    def _process(self, name: str) -> Process:
        process = Process(name, self._on_kill)
        self.processes.append(process)
        return process

    def _on_kill(self, process: Process) -> None:
        self.marks[f"kill {process.name}"] += 1
        self.note(f"{process.name} is killed at its step {process.steps}")
        if process.name in UPSTREAMS:
            self.network.died(process.name)
        back_s = (
            RESTART_S
            if self.is_healed
            else max(RESTART_S, self._back_at_s.get(process.name, 0.0) - self.loop.time())
        )
        start = self._start_proxy if process.name == "proxy" else self._start_upstream
        self.loop.call_later(back_s, start, process.name, context=_nobodys())

    def _start_upstream(self, name: str) -> None:
        host = self.network.hosts[name]
        if host.process is not None and not host.process.is_dead:
            return
        if not self.is_healed and self._back_at_s.get(name, 0.0) > self.loop.time() + 1e-6:
            return
        process = self._process(name)
        self.note(f"{name} starts")
        disk, dice, plan = self.disks[name], self._dice["disks"], self.plan

        def is_full() -> bool:
            return not self.is_healed and plan.store_full > 0 and dice.random() < plan.store_full

        def make() -> Upstream:
            return Upstream(
                process,
                disk,
                dice,
                self.clock.wall,
                sync_s=plan.sync_s,
                is_full=is_full,
                is_plain=name in plan.plain,
            )

        self.upstreams[name] = process.context.run(make)
        host.process, host.serve = process, self.upstreams[name].serve

    def _start_proxy(self, name: str = "proxy") -> None:
        if self.proxy is not None and not self.proxy.process.is_dead:
            return
        process = self._process(name)
        if self._crashes and not self.is_healed:
            process.dies_at_step = self._crashes.pop(0)
        self.note(f"{name} starts")
        plan, dice = self.plan, self._dice["disks"]

        def fails() -> bool:
            return not self.is_healed and plan.sync_fails > 0 and dice.random() < plan.sync_fails

        def make() -> Proxy:
            return Proxy(
                process, self.network, self._journal_disk, self._file, self.clock, dice,
                sync_s=plan.sync_s, fails=fails,
            )  # fmt: skip

        self.proxy = process.context.run(make)
        process.spawn(self._run_proxy(self.proxy))

    async def _run_proxy(self, proxy: Proxy) -> None:
        try:
            await proxy.run()
        except TurnoutError as error:
            self.note(f"the proxy refuses to start: {error}")
            if self.is_healed and not isinstance(error, UpstreamError):
                self.faults.append(f"the proxy refuses to start: {error}")
                self._is_over = True
                return
            proxy.process.kill()

    # -- events ------------------------------------------------------------------------------------------

    def _happen(self, event: Event) -> None:
        if self.is_healed:
            return
        self.note(f"{event.what} {event.target} {event.length_s:.3f}")
        match event.what:
            case What.KILL:
                self._back_at_s[event.target] = self.loop.time() + event.length_s
                if event.length_s >= HOUR_S:
                    self.loop.call_later(event.length_s - 1.0, self._look_at_lanes, context=_nobodys())
                process = (
                    self.network.hosts[event.target].process
                    if event.target in UPSTREAMS
                    else (self.proxy and self.proxy.process)
                )
                if process:
                    process.kill()
            case What.PART:
                host = self.network.hosts[event.target]
                host.is_parted = True
                self.loop.call_later(event.length_s, setattr, host, "is_parted", False)
            case What.STRAY:
                headers = (
                    ("Turnout-Epoch", "1 another"),
                    ("Content-Type", "application/json"),
                )
                body = json.dumps({"by": "stray"}).encode()
                self.network.post(event.target, Request("PUT", "/api/items/1", headers, body), lambda _: None)
            case What.CLOCK_BACK:
                self.clock.wall_offset_s -= event.length_s
            case What.DISK_FULL:
                self._journal_disk.is_full = True
                self.loop.call_later(event.length_s, setattr, self._journal_disk, "is_full", False)
            case What.VALIDATE | What.SWITCH | What.CANARY:
                self._order(event.what)
            case What.LEAVE:
                self._leave(event)
            case What.BACKFILL:
                tool = Process("tool")
                self.processes.append(tool)
                tool.spawn(self._backfill())
                self.loop.call_later(event.length_s, tool.kill)

    def _leave(self, event: Event) -> None:
        proxy = self.proxy
        if proxy is None or not proxy.is_open:
            self.loop.call_later(0.1, self._happen, event, context=_nobodys())
            return
        host = self.network.hosts[proxy.controller.primary]
        if event.target == "parted":
            host.is_parted = True
            self.loop.call_later(event.length_s, setattr, host, "is_parted", False)
        else:
            self._back_at_s[host.name] = self.loop.time() + event.length_s
            if host.process is not None:
                host.process.kill()
        self.loop.create_task(self._operator.leave(self.loop.time() + event.length_s))

    async def _backfill(self) -> bool:
        """The tool, from whoever is primary to the other; whether it came to a clean end."""
        proxy = self.proxy
        if proxy is None or not proxy.is_open:
            return False
        primary = proxy.controller.primary
        urls = [f"http://127.0.0.1:{PORTS[name]}" for name in (primary, proxy.controller.other(primary))]
        try:
            report = await backfill(None, *urls)
        except ToolError as error:
            self.note(f"backfill: {error}")
            return False
        self.note(f"backfill: {report.as_json()}")
        self.marks["backfill"] += 1
        self._is_backfilled = self._is_backfilled or report.is_clean
        return report.is_clean

    def _order(self, what: What) -> None:
        """An operator's wish; it dies with the proxy."""
        proxy = self.proxy
        if proxy is None or proxy.process.is_dead or not proxy.is_open:
            if not self.is_healed:
                self.loop.call_later(0.1, self._order, what)  # an operator tries again until it is there
            return

        async def run() -> None:
            wish = {What.VALIDATE: proxy.validate, What.SWITCH: proxy.switch, What.CANARY: proxy.canary}[what]
            for _ in range(ORDERS_MAX):
                said = await wish()
                self.note(f"{what}: {said}")
                result = said.partition(" ")[0]
                self.marks[f"{what} {result}"] += 1
                if result not in ("failed", "refused"):
                    return
                await asyncio.sleep(0.5)

        proxy.process.spawn(run())

    # -- a run -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        self.loop.call_soon(self._start_proxy, "proxy", context=_nobodys())
        for name in UPSTREAMS:
            self._start_upstream(name)
        for event in self.plan.events:
            self.loop.call_at(event.at_s, self._happen, event, context=_nobodys())
        await asyncio.sleep(0.2)
        self._clients = [
            Client(number, self.loop, random.Random(f"client {number} {self.plan.seed}"), self.note)
            for number in range(self.plan.clients)
        ]
        await asyncio.gather(*(self._live(client) for client in self._clients))
        await self._heal()
        await self._converge()
        await asyncio.sleep(LATE_S)
        await self._converge()
        if not self.plan.plain and not self._is_over:
            await self._prove()

    async def _live(self, client: Client) -> None:
        plan, dice = self.plan, client._dice
        for _ in range(plan.writes_each):
            if plan.keyless and dice.random() < plan.keyless:
                await client.write_bulk(
                    self._alive, is_unnamed=plan.unnamed and dice.random() < UNNAMED_SHARE
                )
            else:
                await client.write(
                    self._ids, self._alive, retries=plan.retries, canary_share=plan.canary_share
                )
            while dice.random() < 0.4:
                await client.read(self._ids, canary_share=0.8)
            await asyncio.sleep(dice.expovariate(1 / plan.think_s))

    async def _heal(self) -> None:
        self.note("healed")
        self.is_healed = True
        self._crashes = []
        self.network.heal()
        self._journal_disk.is_full = False
        for process in self.processes:
            process.dies_at_step = None
        for name in UPSTREAMS:
            self._start_upstream(name)
        self._start_proxy()

    def _look_at_lanes(self) -> None:
        """P6: what waits is bounded by the keys, however long an upstream was away."""
        proxy = self.proxy
        if proxy is None or not proxy.is_open:
            return
        most = MIRROR_REPLAYS_PER_LANE_MAX + len(self._clients) + 1
        for key, lane in proxy.state.lanes.lanes.items():
            if len(lane.entries) > most:
                self.faults.append(f"{len(lane.entries)} entries wait for {key}: its lane does not collapse")
        self.marks["writes in marks"] += sum(
            one.writes for one in proxy.state.lanes.entries.values() if one.writes > 1
        )

    async def _converge(self) -> None:
        """Writes are taken again, and all that was ever accepted is settled."""
        end_s = self.loop.time() + CONVERGE_S
        prober = Client(len(self._clients), self.loop, random.Random("prober"), self.note)
        self._clients.append(prober)
        while (
            not 0
            < (
                await prober.ask(
                    "PUT",
                    "/api/items/1",
                    {"by": prober.label()},
                    creates=True,
                    label=f"{prober.name}-{prober._count}",
                )
            ).status
            < 500
        ):
            if self._is_over:
                return
            if self.loop.time() > end_s:
                self.faults.append(f"no write is taken {CONVERGE_S:.0f} s after the healing")
                return
            await asyncio.sleep(0.5)
        while not self._is_at_rest() and not self._is_over:
            await self._operator.choose()
            if self.loop.time() > end_s:
                lanes = self.proxy.state.lanes if self.proxy is not None else None
                left = (
                    []
                    if lanes is None
                    else [f"{one.seq} {one.key} {one.state}" for one in lanes.entries.values()]
                )
                self.faults.append(f"not settled {CONVERGE_S:.0f} s after the healing: {left}")
                return
            await asyncio.sleep(0.25)

    async def _prove(self) -> None:
        """P9: a validation says equal; where the secondary began with an old copy, after a backfill."""
        assert self.proxy is not None
        tool = Process("tool")
        self.processes.append(tool)
        proxy = self.proxy
        # What a backfill and the mirror have made equal stays so without another one.
        must_backfill = self.plan.unnamed or (self.plan.lags_behind and not self._is_backfilled)
        if must_backfill and not await tool.spawn(self._backfill()):
            self.faults.append("a backfill of two healthy upstreams did not come to a clean end")
        said = await proxy.process.spawn(proxy.validate())
        self.note(f"validate: {said}")
        if said != "equal ":
            self.faults.append(f"a validation at rest says: {said}")
        if proxy.state.gaps.marks:
            self.faults.append(f"gaps are left: {proxy.state.gaps.marks}")
        await self._converge()

    def _is_at_rest(self) -> bool:
        proxy = self.proxy
        return proxy is not None and proxy.is_open and not proxy.state.lanes.entries

    def end(self) -> None:
        self.loop.end(self.processes)

    def judge(self) -> Result:
        log: list[Said] = [said for client in self._clients for said in client.log]
        entries = {name: disk.entries() for name, disk in self.disks.items()}
        checker = Checker(
            entries,
            log,
            lags_behind=self.plan.needs_backfill,
            plain=self.plan.plain,
            left=self._operator.left,
        )
        faults = [*self.faults, *self.loop.faults, *checker.check()]
        marks = self.marks + self.network.marks
        for said in log:
            if said.is_bulk:
                marks["keyless writes acknowledged"] += said.status == 200
            if said.is_write:
                marks[
                    "writes acknowledged"
                    if 200 <= said.status < 300
                    else "writes refused"
                    if 400 <= said.status < 500
                    else "writes unknown"
                ] += 1
            elif said.status in (200, 404):
                marks[f"reads by {said.served_by}"] += 1
        return Result(self.plan, faults, self.trace, marks)


def run_seed(seed: int, *, is_traced: bool = False, plan: Plan | None = None) -> Result:
    """Everything from the seed: the same seed gives the same run."""
    random.seed(seed)  # production jitter
    world = World(plan or draw(seed), is_traced=is_traced)
    log = _Log(world)
    structlog.configure(
        processors=[log],
        wrapper_class=structlog.make_filtering_bound_logger(0 if is_traced else 40),
        cache_logger_on_first_use=False,
    )
    try:
        with simulated_tools(world.network, is_long=world.plan.kind is Kind.OUTAGE):
            world.loop.run_until_complete(world.run())
    except NothingToDoError:
        world.faults.append("everybody waits, and nothing will ever happen")
    except EndlessError:
        world.faults.append(
            f"more than {world.loop.callbacks_max:,} callbacks: something goes round for ever"
        )
    finally:
        world.end()
        structlog.reset_defaults()
    return world.judge()


class _Log:
    """The programs' own log: into the trace; an exception in it is a fault."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __call__(self, _logger: object, level: str, event: dict[str, object]) -> str:
        process = PROCESS.get()
        name = process.name if process is not None else "?"
        if process is None or not process.is_dead:
            self._world.note(f"{name} {level}: {event}")
            if event.get("exc_info"):
                self._world.faults.append(f"{name} logged an exception: {event} {sys.exc_info()[1]!r}")
        raise structlog.DropEvent


def _nobodys() -> object:
    import contextvars

    return contextvars.Context()
