"""What goes wrong in one run, as data: drawn from the seed before anything happens."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace
from enum import StrEnum


class What(StrEnum):
    """One thing that happens to the world at a moment."""

    KILL = "kill"
    """A program is killed and comes back after ``length_s``."""
    PART = "part"
    """Messages to an upstream vanish for ``length_s``."""
    VALIDATE = "validate"
    SWITCH = "switch"
    CANARY = "canary"
    BACKFILL = "backfill"
    """The tool is run; ``length_s`` is how long it lives at most."""
    STRAY = "stray"
    """A second proxy, with a journal of its own, sends a write to an upstream."""
    CLOCK_BACK = "clock-back"
    """The wall clock is set back by ``length_s``."""
    DISK_FULL = "disk-full"
    """The journal takes no intent for ``length_s``."""
    LEAVE = "leave"
    """The primary dies, or cannot be reached, for ``length_s``; an operator goes on without it (--accept-loss)."""


class Kind(StrEnum):
    """What a run is mostly about. Most are about nothing; the others bring together what seldom meets by chance."""

    ANY = "any"
    SWITCHES = "switches"
    """Busy clients, a quiet network, one switch after another."""
    BACKFILLS = "backfills"
    """Several backfills, messages that come twice and late, no validation that would refuse them."""
    DOUBTS = "doubts"
    """Answers that are lost, slow disks, a proxy that is killed often."""
    STARTS = "starts"
    """Validations and kills, one upon the other."""
    LEAVING = "leaving"
    """The primary is left behind."""
    OUTAGE = "outage"
    """An upstream is away for hours, while writes go on now and then."""


@dataclass(frozen=True, slots=True)
class Event:
    at_s: float
    what: What
    target: str = ""
    length_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. Rates are shares of messages or syncs; a rate of 0 leaves that fault out of the run."""

    seed: int
    clients: int
    writes_each: int
    think_s: float
    latency_s: float
    sync_s: float
    has_seeded_records: bool
    lags_behind: bool
    """The secondary begins with an older copy of the records, and one that the primary never had: only a backfill helps."""
    plain: tuple[str, ...]
    """Upstreams that do not keep the protocol. To them nothing lives longer than ``response_timeout`` or comes twice: a stated limit."""
    hot_keys: int
    retries: bool
    """Clients send a write again, with the same Idempotency-Key, when they do not know what became of it."""
    canary_share: float
    refused: float
    lost: float
    unanswered: float
    reset: float
    error_500: float
    slow: float
    late: float
    doubled: float
    sync_fails: float
    store_full: float
    crashes: tuple[int, ...]
    """At which of its steps each life of the proxy ends."""
    events: tuple[Event, ...]
    kind: Kind = Kind.ANY
    keyless: float = 0.0
    """The share of writes that name no single key: bulk ones, and one whose route says what it affects."""
    unnamed: bool = False
    """Among them are some whose answer names no key, and that no mark covers: a gap mark, and in the end a backfill."""
    has_state_route: bool = False
    """One key's route says ``mode: state``."""

    @property
    def needs_backfill(self) -> bool:
        """Not the mirror alone makes the two equal."""
        return self.lags_behind or self.unnamed

    def __str__(self) -> str:
        shown = [f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.name != "events"]
        return " ".join(shown) + "".join(
            f"\n  {event.at_s:8.3f} {event.what} {event.target} {event.length_s:.3f}" for event in self.events
        )


UPSTREAMS = ("json", "postgres")
PLAIN_SHARE = 0.15
KEYLESS_SHARE = 0.25
HOUR_S = 3600.0
KINDS = (
    (Kind.SWITCHES, 0.03),
    (Kind.BACKFILLS, 0.05),
    (Kind.DOUBTS, 0.05),
    (Kind.STARTS, 0.05),
    (Kind.LEAVING, 0.08),
    (Kind.OUTAGE, 0.006),
)
"""The share of seeds that each has; the rest is about nothing."""
FAULTY_S = 8.0
"""Events fall into this first stretch."""


def draw(seed: int) -> Plan:
    """Each run leaves most kinds of fault out: what every run contains hides what needs quiet to show.

    What was added to the world later is drawn by dice of its own, so that a run without it is what it was before.
    """
    return _with_keyless(_of_kind(_draw(seed)))


def _draw(seed: int) -> Plan:
    dice = random.Random(f"plan {seed}")

    def rate(most: float, share: float = 0.4) -> float:
        return round(dice.uniform(0.0, most), 3) if dice.random() < share else 0.0

    events: list[Event] = []

    def happen(what: What, share: float, most: int, target: str = "", *, length_s: float = 0.0) -> None:
        if dice.random() < share:
            for _ in range(dice.randint(1, most)):
                length = 0.0 if not length_s else min(length_s, dice.expovariate(3.0 / length_s) + 0.01)
                events.append(Event(round(dice.uniform(0.0, FAULTY_S), 3), what, target, round(length, 3)))

    if dice.random() < 0.85:
        events.append(Event(0.05, What.VALIDATE))
    happen(What.VALIDATE, 0.2, 2)
    happen(What.SWITCH, 0.35, 3)
    lags_behind = dice.random() < 0.2
    if lags_behind:
        happen(What.BACKFILL, 0.9, 2, length_s=5.0)
    happen(What.CANARY, 0.25, 1)
    happen(What.KILL, 0.3, 2, "proxy", length_s=1.0)
    for name in UPSTREAMS:
        happen(What.KILL, 0.2, 2, name, length_s=dice.choice((1.0, 1.0, 15.0)))
        happen(What.PART, 0.15, 2, name, length_s=dice.choice((0.5, 5.0)))
    happen(What.STRAY, 0.1, 2, dice.choice(UPSTREAMS))
    happen(What.CLOCK_BACK, 0.05, 1, length_s=100.0)
    happen(What.DISK_FULL, 0.07, 1, length_s=2.0)
    plain: tuple[str, ...] = ()
    if random.Random(f"plain {seed}").random() < PLAIN_SHARE:
        plain = random.Random(f"which {seed}").choice((("json",), ("postgres",), UPSTREAMS))
        events = [event for event in events if event.what not in (What.BACKFILL, What.STRAY)]
        lags_behind = False
    return Plan(
        seed=seed,
        plain=plain,
        clients=dice.randint(1, 4),
        writes_each=dice.randint(4, 12),
        think_s=dice.choice((0.01, 0.1, 0.5)),
        latency_s=dice.choice((0.0005, 0.002, 0.02)),
        sync_s=dice.choice((0.0005, 0.003, 0.05)),
        has_seeded_records=lags_behind or dice.random() < 0.3,
        lags_behind=lags_behind,
        hot_keys=dice.randint(1, 3),
        retries=dice.random() < 0.4,
        canary_share=dice.choice((0.0, 0.3, 0.8)),
        refused=rate(0.1, 0.2),
        lost=rate(0.1),
        unanswered=rate(0.15),
        reset=rate(0.15),
        error_500=rate(0.1, 0.25),
        slow=rate(0.3),
        late=rate(0.15),
        doubled=rate(0.2),
        sync_fails=rate(0.02, 0.1),
        store_full=rate(0.05, 0.1),
        crashes=tuple(int(dice.expovariate(1 / 150)) + 1 for _ in range(dice.randint(1, 3)))
        if dice.random() < 0.5
        else (),
        events=tuple(sorted(events, key=lambda one: one.at_s)),
    )


def _kind_of(seed: int) -> Kind:
    at = random.Random(f"manner {seed}").random()
    for kind, share in KINDS:
        if at < share:
            return kind
        at -= share
    return Kind.ANY


def _of_kind(plan: Plan) -> Plan:
    kind = _kind_of(plan.seed)
    if kind is Kind.ANY:
        return plan
    plan, dice = replace(plan, kind=kind), random.Random(f"{kind} {plan.seed}")
    if kind is not Kind.OUTAGE:
        plan = replace(plan, plain=())
    make = {
        Kind.SWITCHES: _switches, Kind.BACKFILLS: _backfills, Kind.DOUBTS: _doubts, Kind.STARTS: _starts,
        Kind.LEAVING: _leaving, Kind.OUTAGE: _outage,
    }  # fmt: skip
    return make[kind](plan, dice)


def _quiet(plan: Plan) -> Plan:
    """No fault of the network or the disks, no crash, no event."""
    return replace(
        plan, refused=0.0, lost=0.0, unanswered=0.0, reset=0.0, error_500=0.0, slow=0.0, late=0.0, doubled=0.0,
        sync_fails=0.0, store_full=0.0, crashes=(), events=(), lags_behind=False,
    )  # fmt: skip


def _in_order(*events: Event) -> tuple[Event, ...]:
    return tuple(sorted(events, key=lambda one: one.at_s))


def _some(
    dice: random.Random, what: What, count: int, target: str = "", length_s: float = 0.0
) -> list[Event]:
    """That many, anywhere in the faulty half."""
    return [
        Event(round(dice.uniform(0.3, FAULTY_S), 3), what, target, round(length_s * dice.random(), 3))
        for _ in range(count)
    ]


def _switches(plan: Plan, dice: random.Random) -> Plan:
    return replace(
        _quiet(plan),
        clients=4,
        writes_each=dice.randint(12, 24),
        think_s=dice.choice((0.01, 0.03, 0.1)),
        sync_s=dice.choice((0.003, 0.05)),
        late=dice.choice((0.0, 0.02)),
        events=_in_order(Event(0.05, What.VALIDATE), *_some(dice, What.SWITCH, dice.randint(3, 6))),
    )


def _backfills(plan: Plan, dice: random.Random) -> Plan:
    first = round(dice.uniform(0.2, 1.0), 3)
    again = [round(first + dice.uniform(0.1, 6.0), 3) for _ in range(dice.randint(1, 4))]
    return replace(
        _quiet(plan),
        clients=dice.randint(2, 4),
        writes_each=dice.randint(10, 20),
        think_s=dice.choice((0.1, 0.3, 0.6)),
        hot_keys=dice.randint(2, 6),
        has_seeded_records=True,
        lags_behind=True,
        doubled=dice.choice((0.3, 0.6)),
        late=dice.choice((0.0, 0.1)),
        slow=dice.choice((0.0, 0.3)),
        events=_in_order(*(Event(at_s, What.BACKFILL, "", 5.0) for at_s in (first, *again))),
    )


def _doubts(plan: Plan, dice: random.Random) -> Plan:
    return replace(
        _quiet(plan),
        clients=4,
        writes_each=dice.randint(10, 25),
        think_s=dice.choice((0.01, 0.05)),
        latency_s=0.0005,
        sync_s=dice.choice((0.02, 0.05)),
        unanswered=0.1,
        reset=dice.choice((0.2, 0.35)),
        crashes=tuple(int(dice.expovariate(1 / 120)) + 20 for _ in range(dice.randint(4, 8))),
        events=_in_order(Event(0.05, What.VALIDATE)),
    )


def _starts(plan: Plan, dice: random.Random) -> Plan:
    quiet = _quiet(plan) if dice.random() < 0.7 else replace(plan, lags_behind=False)
    return replace(
        quiet,
        clients=dice.randint(1, 2),
        writes_each=dice.randint(6, 12),
        think_s=dice.choice((0.3, 0.8)),
        crashes=tuple(int(dice.expovariate(1 / 40)) + 5 for _ in range(dice.randint(5, 9))),
        unanswered=dice.choice((0.0, 0.2)),
        slow=dice.choice((0.2, 0.5)),
        events=_in_order(
            *_some(dice, What.VALIDATE, dice.randint(12, 24)),
            *_some(dice, What.SWITCH, dice.randint(0, 3)),
        ),
    )


def _leaving(plan: Plan, dice: random.Random) -> Plan:
    """One dead primary, sometimes a second one after it; most of the other faults as drawn."""
    leave = Event(
        round(dice.uniform(0.5, 5.0), 3),
        What.LEAVE,
        dice.choice(("dead", "dead", "parted")),
        dice.choice((3.0, 8.0, 30.0)),
    )
    events = [leave]
    if dice.random() < 0.25:
        events.append(Event(leave.at_s + leave.length_s + 2.0, What.LEAVE, "dead", 5.0))
    kept = [
        one
        for one in plan.events
        if one.what in (What.KILL, What.PART, What.CANARY, What.DISK_FULL) and dice.random() < 0.5
    ]
    calm = _quiet(plan) if dice.random() < 0.4 else replace(plan, lags_behind=False)
    return replace(
        calm,
        clients=dice.randint(2, 4),
        writes_each=dice.randint(8, 25),
        think_s=dice.choice((0.05, 0.2, 0.5)),
        events=_in_order(Event(0.05, What.VALIDATE), *events, *kept),
    )


def _outage(plan: Plan, dice: random.Random) -> Plan:
    length_s = HOUR_S * min(6.0, 1.0 + dice.expovariate(1.0))
    away = Event(
        round(dice.uniform(0.5, 5.0), 3),
        What.KILL,
        dice.choice(("postgres", "postgres", "postgres", "json")),
        round(length_s, 3),
    )
    writes_each = dice.randint(30, 60)
    if dice.random() < 0.6:
        plan = _quiet(plan)
    return replace(
        plan,
        clients=dice.randint(2, 4),
        writes_each=writes_each,
        hot_keys=dice.randint(1, 2),
        think_s=round(length_s / writes_each, 3),
        lags_behind=False,
        crashes=plan.crashes[:1],
        events=_in_order(Event(0.05, What.VALIDATE), away, *_some(dice, What.KILL, 1, "proxy", 1.0)),
    )


def _with_keyless(plan: Plan) -> Plan:
    dice = random.Random(f"unnamed {plan.seed}")
    if dice.random() >= KEYLESS_SHARE:
        return plan
    can_gap = not plan.plain and plan.kind in (Kind.ANY, Kind.DOUBTS, Kind.OUTAGE)
    return replace(
        plan,
        keyless=dice.choice((0.1, 0.3)),
        unnamed=can_gap and dice.random() < 0.3,
        has_state_route=dice.random() < 0.3,
    )
