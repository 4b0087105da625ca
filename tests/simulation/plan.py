"""What goes wrong in one run, as data: drawn from the seed before anything happens."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
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

    def __str__(self) -> str:
        shown = [f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.name != "events"]
        return " ".join(shown) + "".join(
            f"\n  {event.at_s:8.3f} {event.what} {event.target} {event.length_s:.3f}" for event in self.events
        )


UPSTREAMS = ("json", "postgres")
PLAIN_SHARE = 0.15
FAULTY_S = 8.0
"""Events fall into this first stretch."""


def draw(seed: int) -> Plan:
    """Each run leaves most kinds of fault out: what every run contains hides what needs quiet to show."""
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
