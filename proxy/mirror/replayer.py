"""The loop that carries entries to the secondary: it executes what the lanes command, and reports what came of it.

Owns the sending and its clock; which entry goes when is the lanes' to say, and what an answer means settle's.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import astuple, replace
from functools import partial

import structlog

from proxy.errors import TurnoutError, UpstreamError
from proxy.failpoints import hit
from proxy.journal.entry import BASE_UNKNOWN, Entry, EntryState
from proxy.journal.store import DeadLetter, JournalStore
from proxy.limits import DEAD_ANSWER_BYTES_MAX, MIRROR_BACKOFF_S_MAX, MIRROR_REQUEST_TIMEOUT_S
from proxy.mirror import answers, settle
from proxy.mirror.gate import Gate
from proxy.mirror.lanes import Command, Gap, List, Repair, Replay, Settled, Void, backoff_s
from proxy.mirror.pace import Pace
from proxy.mirror.plain import PlainRepair
from proxy.mirror.settle import Verdict
from proxy.mirror.state import MirrorState
from proxy.mirror.unkeyed import Unkeyed
from proxy.model import Reply
from proxy.observe import is_worth_saying
from proxy.ports import Answered, Clock, ReplaySender
from proxy.protocol import (
    MIRROR,
    VERSION,
    VOID_PATH,
    parse_read_version,
    parse_stale,
    parse_void,
    path_of,
    repair_version,
    replay_version,
)

log = structlog.get_logger("mirror")

_MIRROR_REPLAY = f"{MIRROR}: replay\r\n".encode()

EnsureAnnounced = Callable[[str], Awaitable[bool]]
"""Whether that upstream answers and knows the present epoch, telling it if it does not."""


class Replayer:
    """Runs from `start` to `stop`. `wake` may be called at any time from the event loop."""

    def __init__(self, state: MirrorState, journal: JournalStore, sender: ReplaySender, clock: Clock) -> None:
        self._state = state
        self._lanes = state.lanes
        self._journal = journal
        self._sender = sender
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._unkeyed = Unkeyed(state, journal, sender, clock, self._away)
        self._plain = PlainRepair(state, sender, clock)
        self.gate: Gate | None = None
        self.ensure_announced: EnsureAnnounced = _always
        self._is_running = False
        self._is_woken = False
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked: dict[int, Callable[[], None]] = {}
        """Replays under way: how each is given up."""
        self._probe: asyncio.Task[None] | None = None
        self._void_failures: dict[int, int] = {}
        self._away_failures = 0
        self._pace = Pace()
        self._idle = asyncio.Event()
        self._is_drain_awaited = False
        """Somebody has waited for the end of all entries since the start: who never does, pays nothing for it."""
        state.on_settled.append(self._look_idle)

    # -- running -----------------------------------------------------------------------------------

    def start(self) -> None:
        self._is_running = True
        self.wake()

    async def stop(self) -> None:
        """What is under way is given up: the journal has it."""
        self._is_running = False
        if self._timer is not None:
            self._timer.cancel()
        asked, self._asked = self._asked, {}
        for cancel in asked.values():
            cancel()
        tasks = [*self._tasks, *([self._probe] if self._probe else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        """Something may have become possible."""
        if self._is_running and not self._is_woken:
            self._is_woken = True
            self._loop.call_soon(self._pump)

    async def drained(self, timeout_s: float) -> bool:
        """Wait until nothing is unsettled (dead keys apart); False after the timeout."""
        deadline_s = self._clock.now() + timeout_s
        while not self._lanes.is_idle():
            left_s = deadline_s - self._clock.now()
            if left_s <= 0:
                return False
            self._idle.clear()
            self._is_drain_awaited = True
            try:
                await asyncio.wait_for(self._idle.wait(), left_s)
            except TimeoutError:
                return self._lanes.is_idle()
        return True

    def _pump(self) -> None:
        self._is_woken = False
        if not self._is_running:
            return
        for command in list(self._lanes.commands(self._clock.now())):
            if isinstance(command, Replay):
                try:
                    self._replay(command.seq)
                except Exception as error:  # noqa: BLE001 - told in _fault
                    self._fault(command, error)
            else:
                self._begin(partial(self._execute, command), command)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at_s = self._lanes.next_at_s()
        if at_s is not None:
            self._timer = self._loop.call_later(max(0.0, at_s - self._clock.now()), self.wake)

    def _begin(self, work: Callable[[], Awaitable[None]], command: Command) -> None:
        task = self._loop.create_task(self._guarded(work, command))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Callable[[], Awaitable[None]], command: Command) -> None:
        try:
            await work()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - told in _fault
            self._fault(command, error)
        self.wake()

    async def _execute(self, command: Command) -> None:
        match command:
            case Void(seq):
                await self._void(seq)
            case Replay():
                raise AssertionError("a replay has no task")
            case Repair(key, covers):
                await self._repair(key, covers)
            case List(seq):
                self._settle(await self._unkeyed.list_(seq), Settled.REPAIRED)
            case Gap(seq, prefixes):
                assert self.gate is not None
                self._settle(await self._unkeyed.gap(seq, prefixes, self.gate.mark_gap), None)

    def _fault(self, command: Command, error: Exception) -> None:
        """A fault of ours must not strand the key: say so, and settle it by repair."""
        log.exception("mirror_command_failed", command=repr(command), exc_info=error)  # noqa: LOG004 - its handlers call this
        self._failed(command)
        self.wake()

    def _failed(self, command: Command) -> None:
        now_s = self._clock.now()
        match command:
            case Void(seq):
                self._lanes.void_failed(seq, now_s, 8)
            case Replay(seq):
                self._lanes.replayed(seq, is_equal=False)
            case Repair(key, _):
                self._lanes.repair_failed(key, now_s)
            case List(seq):
                self._lanes.list_failed(seq, now_s)
            case Gap(seq, _):
                self._loop.call_later(MIRROR_BACKOFF_S_MAX, self._gap_again, seq)

    def _gap_again(self, seq: int) -> None:
        self._lanes.needs_gap(seq)
        self.wake()

    # -- in doubt ----------------------------------------------------------------------------------

    async def _void(self, seq: int) -> None:
        roles = self._state.roles
        if not self._state.kinds.is_known(roles.primary):
            self._lanes.void_failed(seq, self._clock.now(), 1)
            return
        if not self._state.kinds.is_versioned(roles.primary):
            self._unkeyed.presume(seq)
            return
        try:
            reply = await self._sender.send(
                roles.primary,
                "POST",
                VOID_PATH,
                [roles.epoch_header, ("Content-Type", "application/json")],
                b'{"request":%d}' % seq,
                timeout_s=MIRROR_REQUEST_TIMEOUT_S,
            )
            answer = parse_void(reply.body) if reply.status == 200 else None
            trouble = f"{roles.primary} answers {reply.status}"
        except UpstreamError as error:
            answer, trouble = None, str(error)
        if answer is None:
            failures = self._void_again(seq)
            if is_worth_saying(failures):
                log.warning("void_failed", seq=seq, failures=failures, error=trouble)
            return
        hit("void-answered")
        entry = self._lanes.entries[seq]
        if answer.state == "never":
            self._void_failures.pop(seq, None)
            self._lanes.voided_never(seq)
            self._settle([entry], None)
            return
        row = replace(
            entry, key=entry.key or answer.key or None, version=answer.version, base=BASE_UNKNOWN, state=EntryState.ACCEPTED,
            is_replayable=False,
        )  # fmt: skip

        def on_disk(error: TurnoutError | None) -> None:
            _logged(error)
            if error is not None:
                self._void_again(seq)
            else:
                self._void_failures.pop(seq, None)
                self._lanes.voided_done(seq, answer.key, answer.version)
                self._journal.ended((), self._state.stats.add("accepted"))
            self.wake()

        # Only once it is on disk may the primary forget the id: a crash before that asks after it again.
        self._journal.outcome(row, on_disk)

    def _void_again(self, seq: int) -> int:
        """Ask again later; how often it has failed by now."""
        failures = self._void_failures[seq] = self._void_failures.get(seq, 0) + 1
        self._lanes.void_failed(seq, self._clock.now(), failures)
        return failures

    # -- replay ------------------------------------------------------------------------------------

    def _replay(self, seq: int) -> None:
        """Without a task: most replays are one request, on a connection that is there, with bodies still in memory."""
        entry = self._lanes.entries[seq]
        hit("replay-sent")
        if entry.kept_bytes and entry.request_body is None and entry.answer_body is None:
            self._begin(partial(self._replay_read_back, entry), Replay(seq))
        else:
            self._send_replay(entry, partial(self._replayed, entry))

    async def _replay_read_back(self, entry: Entry) -> None:
        entry.request_body, entry.answer_body = await self._journal.bodies(entry.seq)
        if entry.request_body is None and entry.answer_body is None:
            self._replayed(entry, None)  # a nearly full disk had no room for them
        else:
            self._send_replay(entry, partial(self._replayed, entry))

    def _replayed(self, entry: Entry, answer: Answered | None) -> None:
        hit("replay-answered")
        seq = entry.seq
        if answer is None and entry.key is not None and self._lanes.is_plain:
            self._lanes.doubtful_at(entry.key, self._clock.now())
        # Where numbers guard nothing, what may be an old answer said again is looked at (repeat-repairs).
        is_settled = answer is not None and (self._state.is_exact or not settle.may_be_repeated(entry))
        settled = self._lanes.replayed(seq, is_equal=is_settled)
        if self.gate is not None:
            self.gate.replayed(seq, answer)
        self._settle(settled, Settled.REPLAYED)
        self.wake()

    def _send_replay(self, entry: Entry, done: Callable[[Answered | None], None]) -> None:
        """``done`` gets the secondary's answer if it is equal, else None."""
        settings, state = self._state.settings, self._state
        secondary, is_exact = state.roles.secondary, state.is_exact
        is_versioned = is_exact or state.kinds.is_versioned(secondary)
        body = settle.replay_body(entry, settings.carry)
        if body is None or (is_exact and (entry.version is None or entry.base == BASE_UNKNOWN)):
            done(None)
            return
        lines = settle.replay_lines(entry, settings.credentials)
        if is_versioned:
            lines += state.epoch_line
        if is_exact and entry.version is not None:
            lines += f"{VERSION}: {replay_version(entry.version, entry.base)}\r\n".encode()
        if is_exact or not is_versioned:
            # A versioned secondary takes the header with numbers only; without them it is a client's write there (protocol W3).
            lines += _MIRROR_REPLAY
        seq = entry.seq

        def on_answer(answer: Answered | UpstreamError) -> None:
            self._asked.pop(seq, None)
            try:
                if isinstance(answer, UpstreamError):
                    self._away(str(answer))
                    done(None)
                elif is_exact:
                    self._judge_replay(entry, answer, done)
                else:
                    self._begin(partial(self._judge_plain, entry, answer, done), Replay(seq))
            except Exception as error:  # noqa: BLE001 - told in _fault
                self._fault(Replay(seq), error)

        self._asked[seq] = self._sender.ask(
            secondary,
            entry.method,
            entry.target,
            lines,
            body,
            timeout_s=MIRROR_REQUEST_TIMEOUT_S,
            done=on_answer,
        )

    async def _judge_plain(
        self, entry: Entry, answer: Answered, done: Callable[[Answered | None], None]
    ) -> None:
        await self._unkeyed.mend_stray(entry, Reply(answer.status, answer.headers, answer.body))
        self._judge_replay(entry, answer, done)

    def _judge_replay(self, entry: Entry, answer: Answered, done: Callable[[Answered | None], None]) -> None:
        ignore, is_exact = self._state.settings.ignore, self._state.is_exact
        kept = entry.answer_body or b""
        if settle.is_equal(entry.status, kept, answer.status, answer.body, ignore, is_exact=is_exact):
            self._away_failures = 0
            done(answer)
            return
        self._judge_away(answer)
        log.info(
            "replay_differs",
            seq=entry.seq,
            status=answer.status,
            expected=entry.status,
            code=settle.problem_code(answer.body),
        )
        done(None)

    # -- repair ------------------------------------------------------------------------------------

    async def _repair(self, key: str, covers: tuple[int, ...]) -> None:
        if self._state.is_exact:
            verdict, detail, reply = await self._send_repair(key)
        else:
            came = await self._plain.run(key)
            verdict, detail, reply = came.verdict, came.detail, came.reply
        hit("repair-answered")
        now_s = self._clock.now()
        match verdict:
            case Verdict.SETTLED:
                self._away_failures = 0
                self._settle(self._lanes.repaired(key, covers), Settled.REPAIRED)
                if self._state.dead.pop(key, None) is not None:
                    await self._journal.transact(
                        lambda db: db.execute("delete from dead where key=?", (key,))
                    )
            case Verdict.DEAD:
                if not self._lanes.lanes[key].accepted():
                    await self._unkeyed.stand_in(key)
                freed = self._lanes.dead(key)
                self._look_idle(0)
                await self._bury(key, detail, reply)
                self._settle(freed, Settled.REPAIRED)
            case Verdict.WAIT:
                self._away_failures = 0
                self._lanes.repair_waits(key)
            case Verdict.AWAY:
                self._lanes.repair_failed(key, now_s)
                self._away(detail)
            case Verdict.AGAIN:
                self._lanes.repair_failed(key, now_s)

    async def _send_repair(self, key: str) -> tuple[Verdict, str, Reply | None]:
        """Read the key at the primary, make the secondary's equal; what came of it, in words and as the secondary said it."""
        roles = self._state.roles
        target = path_of(key)
        credentials = self._state.settings.given_credentials
        began_s = self._clock.now()
        try:
            look = await self._sender.send(
                roles.primary,
                "GET",
                target,
                [roles.epoch_header, *credentials],
                timeout_s=MIRROR_REQUEST_TIMEOUT_S,
            )
        except UpstreamError as error:
            return Verdict.AGAIN, str(error), None
        read = parse_read_version(look.header("turnout-version"))
        if look.status not in (200, 404, 410) or read is None:
            return Verdict.AGAIN, f"{roles.primary} answers {look.status} to a look at {key}", None
        self._pace.seen(self._clock.now() - began_s)
        self._lanes.lanes_at_once_max = self._pace.at_once
        hit("repair-read")
        spot = answers.spot_of(key)
        if spot is not None:
            try:
                kept = await answers.kept_answers(self._sender, roles.primary, roles.epoch_header, key)
            except UpstreamError as error:
                return Verdict.AGAIN, str(error), None
            record = look.body if look.status == 200 else None
            line = answers.batch_line(spot, read, record, kept) if kept else None
            if line is not None:
                try:
                    return await answers.repair_with(
                        self._sender, roles.secondary, [roles.epoch_header], spot, line
                    )
                except UpstreamError as error:
                    return Verdict.AWAY, str(error), None
        headers = [
            roles.epoch_header,
            ("Turnout-Mirror", "repair"),
            ("Turnout-Version", repair_version(read)),
        ]
        if look.status == 200:
            headers.append(("Content-Type", look.header("content-type") or "application/json"))
            method, body = "PUT", look.body
        else:
            method, body = "DELETE", b""
        headers += credentials
        try:
            reply = await self._sender.send(
                roles.secondary, method, target, headers, body, timeout_s=MIRROR_REQUEST_TIMEOUT_S
            )
        except UpstreamError as error:
            return Verdict.AWAY, str(error), None
        detail = f"{roles.secondary} answers {reply.status} {settle.problem_code(reply.body) or ''}".rstrip()
        return settle.judge_repair(reply.status, settle.problem_code(reply.body)), detail, reply

    async def _bury(self, key: str, detail: str, reply: Reply | None) -> None:
        letter = DeadLetter(
            key,
            self._clock.wall(),
            "repair-refused",
            detail,
            0 if reply is None else reply.status,
            None if reply is None else reply.body[:DEAD_ANSWER_BYTES_MAX],
        )
        self._state.dead[key] = letter
        log.error("dead_letter", key=key, detail=detail, next=f"turnout dead-letters show {key}")
        self._journal.ended((), self._state.stats.add("dead"))
        await self._journal.transact(
            lambda db: db.execute(
                "insert or replace into dead (key, since, cause, detail, answer_status, answer_body) values (?, ?, ?, ?, ?, ?)",
                astuple(letter),
            )
        )

    # -- the secondary away ------------------------------------------------------------------------

    def _judge_away(self, reply: Answered) -> None:
        code = settle.problem_code(reply.body)
        if settle.judge_repair(reply.status, code) is Verdict.AWAY:
            self._away(f"{self._state.roles.secondary} answers {reply.status} {code or ''}".rstrip())
        elif parse_stale(reply.body) is not None:
            self._away(f"{self._state.roles.secondary} is in another epoch")

    def _away(self, why: str) -> None:
        """Stop sending; look for it until it answers."""
        if not self._state.secondary_trouble:
            log.warning("secondary_away", upstream=self._state.roles.secondary, why=why)
        self._state.secondary_trouble = why
        self._lanes.is_secondary_up = False
        if self._is_running and (self._probe is None or self._probe.done()):
            self._probe = self._loop.create_task(self._look_for_secondary())

    async def _look_for_secondary(self) -> None:
        while True:
            if self._away_failures:
                await asyncio.sleep(backoff_s(self._away_failures) * (0.5 + random.random() / 2))  # noqa: S311 - jitter
            self._away_failures += 1
            roles = self._state.roles
            try:
                is_there = await self.ensure_announced(roles.secondary)
            except TurnoutError as error:
                is_there = False
                self._state.secondary_trouble = str(error)
            if is_there and self._state.roles == roles:  # else what it was told is out of date by now
                self.secondary_is_back()
                return

    def look_for_secondary(self, why: str) -> None:
        """Believe the secondary away until it has answered (a start, a change of roles)."""
        self._away_failures = 0
        self._away(why)

    def secondary_is_back(self) -> None:
        if self._state.secondary_trouble:
            log.info(
                "secondary_back",
                upstream=self._state.roles.secondary,
                lag_entries=self._lanes.unsettled_writes(),
            )
        self._state.secondary_trouble = ""
        self._lanes.secondary_up()
        self.wake()

    # -- settling ----------------------------------------------------------------------------------

    def _settle(self, entries: list[Entry], how: Settled | None) -> None:
        if not entries:
            return
        writes = entries[0].writes if len(entries) == 1 else sum(entry.writes for entry in entries)
        totals = self._state.stats.add(str(how), writes) if how else None
        if how:
            self._state.settled_rate.add(self._clock.now(), writes)
        seqs = [entry.seq for entry in entries]
        self._journal.ended(seqs, totals, lambda _: self._lanes.end_durable(seqs))
        for seq in seqs:
            self._state.settled(seq)

    def _look_idle(self, _: int) -> None:
        if self._is_drain_awaited and self._lanes.is_idle():
            self._idle.set()


def _logged(error: TurnoutError | None) -> None:
    if error is not None:
        log.error("outcome_not_written", error=str(error))


async def _always(_: str) -> bool:
    return True
