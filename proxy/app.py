"""The composition root: builds the rooms, joins them, runs them until told to stop. The system's clock and dice live here."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import structlog
from aiohttp import web

from proxy import observe
from proxy.clock import SystemClock
from proxy.control import startup
from proxy.control.actual import Actual
from proxy.control.admin import make_admin
from proxy.control.admin_connection import listen
from proxy.control.collector import MoveCollector
from proxy.control.concerns import Room
from proxy.control.controller import Controller, SnapshotBox
from proxy.control.filing import in_force
from proxy.control.guard import AdminTokens, check_listen
from proxy.control.health import HealthChecks
from proxy.control.letters import Letters
from proxy.control.lookout import Lookout
from proxy.control.mirroring import Mirroring
from proxy.control.operating import Operating
from proxy.control.panel import Panel
from proxy.control.plain_validation import PlainValidation
from proxy.control.pursuit import pursue
from proxy.control.renewals import follow_certificate
from proxy.control.returning import Returns
from proxy.control.validations import Validations
from proxy.errors import UsageError
from proxy.forward.forwarder import Forwarder
from proxy.forward.no_mirror import NoMirror
from proxy.forward.sending import PoolSender
from proxy.forward.sockets import raise_open_files
from proxy.journal.sqlite import SqliteJournal
from proxy.kinds import Kinds
from proxy.limits import JOURNAL_BODIES_BYTES_MAX, SHUTDOWN_S_MAX, YOUNG_OBJECTS_MAX
from proxy.mirror.comparison import PlainComparison
from proxy.mirror.gate import Gate
from proxy.mirror.handle import MirrorHandle
from proxy.mirror.left_behind import LeftBehind
from proxy.mirror.replayer import Replayer
from proxy.mirror.state import MirrorState, Roles
from proxy.model import Snapshot
from proxy.ports import Tools
from proxy.routing.dice import EvenDice
from proxy.sender import HttpSender
from proxy.settings.compile import compile_snapshot
from proxy.settings.load import load
from proxy.settings.watch import watch
from proxy.tls import Certificate, Secure, secure_for

log = structlog.get_logger("proxy")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line and the environment say."""

    config: Path
    state: Path
    listen: tuple[str, int]
    admin: tuple[str, int]
    env: Mapping[str, str]
    adopt: bool = False
    must_be_validated: bool = False
    """`/readyz` waits for the backfill and a validation (the demo)."""


async def run(
    options: Options,
    tools: Tools,
    *,
    on_ready: Callable[[int, int], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. TurnoutError where the start is refused."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        await _serve(options, tools, stack, stop, on_ready)
    log.info("stopped")


async def _serve(
    options: Options,
    tools: Tools,
    stack: contextlib.AsyncExitStack,
    stop: asyncio.Event,
    on_ready: Callable[[int, int], None] | None,
) -> None:
    clock = SystemClock()
    tokens = _admin_tokens(options.env)
    check_listen(options.admin[0], tokens)
    text = _read(options.config)
    load(text, options.env, str(options.config))  # a bad file is told before anything is opened
    token = options.env.get("TURNOUT_MIRROR_TOKEN", "")

    journal = SqliteJournal(options.state)
    stack.push_async_callback(journal.close)
    actual = Actual(journal, clock)
    settings, _ = in_force(text, options.env, str(options.config), actual.overrides.values())
    draft = compile_snapshot(settings, primary=actual.meta.primary or settings.primary)
    box = SnapshotBox(draft)
    names = (draft.upstreams[0].name, draft.upstreams[1].name)
    kinds = Kinds(actual.meta.versioned)
    sender = HttpSender(
        lambda name: box.current.upstream(name),  # noqa: PLW0108 - the current one, each time
        token=token,
        is_plain=kinds.is_plain,
    )
    stack.push_async_callback(sender.close)
    is_mirrored = draft.mirror.enabled

    if is_mirrored:
        if actual.is_new and not options.adopt:
            await startup.check_upstreams(sender, actual, names, kinds)
        if actual.is_new:
            await actual.begin(settings.primary)
        if options.adopt:
            await startup.adopt(sender, actual, names, kinds)
        await startup.check_upstreams(sender, actual, names, kinds)
    elif actual.is_new:
        await actual.begin(settings.primary)
    if not is_mirrored:
        await actual.mark_mirror_off()
    journal.recovered.gaps[:] = await actual.gaps()

    meta = actual.meta
    primary = meta.primary
    secondary = names[1] if primary == names[0] else names[0]
    roles = Roles(primary, secondary, meta.epoch, meta.journal_id, token)
    state = MirrorState(
        journal.recovered,
        draft.mirror,
        roles,
        clock.now(),
        kinds=kinds,
        late_s=draft.limits.response_timeout_s,
    )
    replays = PoolSender(token=token)
    replayer = Replayer(state, journal, replays, clock)
    gate = Gate(
        state,
        journal,
        clock,
        wake=replayer.wake,
        bodies_bytes_max=JOURNAL_BODIES_BYTES_MAX,
        hold_timeout_s=draft.limits.hold_timeout_s,
    )
    replayer.gate = gate
    mirror = MirrorHandle(state, gate, replayer, journal, clock)

    metrics = observe.make_metrics()
    journal.fsync_observe = metrics.histogram("turnout_journal_fsync_duration_seconds").observe
    forwarder = Forwarder(
        snapshots=box,
        mirror=gate if is_mirrored else NoMirror(),
        dice=EvenDice(),
        clock=clock,
        metrics=metrics,
        open_files=raise_open_files(),
    )

    def give_writes(to_mirror: bool) -> None:
        forwarder.mirror = gate if to_mirror else NoMirror(gate.write_headers)

    salvager = LeftBehind(state, replayer, journal, sender, clock)
    mirroring = Mirroring(
        actual=actual,
        mirror=mirror,
        sender=sender,
        clock=clock,
        names=names,
        kinds=kinds,
        hold_timeout_s=lambda: box.current.limits.hold_timeout_s,
        give_writes=give_writes,
        writes_under_way=forwarder.writes_under_way,
        is_on=is_mirrored,
    )
    controller = Controller(
        config=options.config,
        env=options.env,
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
    await controller.begin()
    health = HealthChecks(forwarder.pools.set_up)
    stack.push_async_callback(health.stop)

    replays.pools = forwarder.pools

    def follow(_: object) -> None:
        state.settings = box.current.mirror
        gate.hold_timeout_s = box.current.limits.hold_timeout_s
        state.lanes.late_s = box.current.limits.response_timeout_s
        health.follow(box.current)
        forwarder.pools.follow(box.current)

    controller.on_publish.append(follow)
    follow(box.current)

    def url_of(name: str) -> str:
        return box.current.upstream(name).endpoints[0].url

    returns = Returns(
        actual=actual,
        mirror=mirror,
        salvager=salvager,
        sender=sender,
        differ=tools.differ,
        url_of=url_of,
        secure=lambda: _secure(box.current),
        token=token,
    )

    async def ensure_announced(upstream: str) -> bool:
        if not await startup.ensure_secondary(sender, actual, upstream, kinds):
            return False
        await returns.settle(upstream)
        return True

    replayer.ensure_announced = ensure_announced
    still, describe = controller.switching.still, tools.describe
    plain = PlainValidation(
        PlainComparison(state, sender, clock, still=still, describe=describe) if describe else None,
        clock=clock, kinds=kinds, snapshot=lambda: box.current, unmirrored_since_before=forwarder.unmirrored_since_before,
    )  # fmt: skip
    validations = Validations(
        actual=actual,
        switching=controller.switching,
        sender=sender,
        validator=tools.validator,
        clock=clock,
        url_of=url_of,
        secondary=lambda: box.current.secondary,
        secure=lambda: _secure(box.current),
        look_begins=mirror.validation_begins,
        clear_gaps=mirror.cleared,
        is_mirror_on=lambda: mirroring.is_on,
        token=token,
        plain=plain,
    )
    stack.push_async_callback(validations.stop)

    if is_mirrored:
        gate.fence(f"{primary} has not been told epoch {meta.epoch} yet")
    certificate = Certificate(draft.tls) if draft.tls is not None else None
    entrance = certificate.entrance if certificate is not None else None
    port = await _listen("--listen", options.listen, lambda host, port: forwarder.start(host, port, entrance))
    stack.push_async_callback(forwarder.stop, SHUTDOWN_S_MAX)

    metrics.registry.register(
        MoveCollector(controller, mirror, health, journal.size_bytes, lambda: journal.room()[0], version())
    )
    operating = Operating(mirror=mirror, actual=actual, clock=clock, is_on=lambda: mirroring.is_on)
    letters = Letters(
        mirror=mirror,
        actual=actual,
        sender=sender,
        clock=clock,
        state_folder=options.state,
        credentials=lambda: box.current.mirror.given_credentials,
    )
    panel = Panel(
        version=version(),
        controller=controller,
        actual=actual,
        mirror=mirror,
        validations=validations,
        operating=operating,
        letters=letters,
        health=health,
        sender=sender,
        registry=metrics.registry,
        shares=metrics.traffic.by_upstream,
        is_accepting=lambda: not stop.is_set(),
        must_be_validated=options.must_be_validated,
        addresses={"proxy": f"{forwarder.proto.decode()}://{_shown(options.listen[0])}:{port}"},
    )
    runner = web.AppRunner(make_admin(panel, tokens), shutdown_timeout=2.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)

    async def start_admin(host: str, wanted: int) -> int:
        return await listen(runner, host, wanted, stack)

    admin_port = await _listen("--admin", options.admin, start_admin)

    lookout = Lookout(
        mirror=mirror,
        clock=clock,
        room=lambda: Room(*journal.room(), str(options.state)),
        body_bytes_max=JOURNAL_BODIES_BYTES_MAX,
        primary=lambda: controller.primary,
        health=health,
        is_failing=lambda name: forwarder.pools.named(name).is_failing,
        certificate=certificate,
    )
    tasks = [
        asyncio.create_task(lookout.run()),
        asyncio.create_task(controller.follow(watch(options.config))),
        asyncio.create_task(pursue(controller, actual, clock, options.config.name)),
    ]
    stack.push_async_callback(replayer.stop)
    stack.push_async_callback(controller.switching.stop)
    if certificate is not None:
        tasks.append(asyncio.create_task(follow_certificate(certificate, box)))
    if is_mirrored:
        replayer.start()
        replayer.look_for_secondary("it has not answered yet")
        controller.switching.begin_opening(
            lambda: startup.open_for_writes(sender, actual, mirror, controller.switching, kinds)
        )
    stack.push_async_callback(_end_tasks, tasks)
    # What the start has made stays: never looked at again, so that a full collection does not stop the loop (decision 6).
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS_MAX)
    log.info(
        "ready",
        proxy=f"{options.listen[0]}:{port}",
        admin=f"{options.admin[0]}:{admin_port}",
        primary=primary,
        epoch=meta.epoch,
        stage=str(controller.stage),
    )
    if on_ready is not None:
        on_ready(port, admin_port)
    await stop.wait()
    log.info("stopping", in_flight=forwarder.in_flight)
    await forwarder.stop(SHUTDOWN_S_MAX)  # first of all: what runs needs all the rest until it has ended


def _secure(snapshot: Snapshot) -> dict[str, Secure]:
    """By URL, how each https endpoint is verified."""
    found = (
        (endpoint.url, secure_for(upstream, endpoint))
        for upstream in snapshot.upstreams
        for endpoint in upstream.endpoints
    )
    return {url: secure for url, secure in found if secure is not None}


async def _end_tasks(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _listen(option: str, address: tuple[str, int], start: Callable[[str, int], Awaitable[int]]) -> int:
    host, port = address
    try:
        return await start(host, port)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}:{port}: {os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error}",
            f"stop what uses the port, or give another address with {option}",
        ) from error


def _admin_tokens(env: Mapping[str, str]) -> AdminTokens:
    path = env.get("TURNOUT_ADMIN_TOKENS", "")
    return AdminTokens.of(env.get("TURNOUT_ADMIN_TOKEN", ""), _read(Path(path)) if path else "")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}", "give a readable file") from error


def _shown(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - shown, not bound


def version() -> str:
    try:
        return metadata.version("turnout")
    except metadata.PackageNotFoundError:
        return "0.0.0+source"
