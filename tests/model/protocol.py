"""The protocol and the mirror's rules as a state machine: one key, two upstreams, one proxy, a network that keeps every message.

Small enough to be walked through whole, and written apart from production code: what is checked here are the rules of
docs/protocol.md and docs/mirror.md themselves. Each rule can be left out (`Rules.without`), and must then be missed.

A message that was sent may arrive at any time, any number of times, or never. Whoever waits for an answer may hear it at
the first arrival, or give up at any moment. So late, lost and doubled messages need no further words.

A value is the tuple of the writes that made it; None: nothing there. A patch adds itself to what it finds, a put
replaces, a del removes. So a write executed twice, on another base or in another order shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

EPOCH_NUMBERS = 10
"""Numbers of epoch e start above e times this (N1; 2**40 in production)."""

FOREIGN = 90
"""The write from elsewhere, in values."""

STRAY = 50
"""The write that another proxy sends, in values."""

Value = tuple[int, ...] | None


class Up(NamedTuple):
    """One upstream."""

    value: Value = None
    version: int | None = None
    at: int = 0
    floor: int = 0
    epoch: int = 1
    is_primary: bool = False
    number: int = EPOCH_NUMBERS
    decided: tuple[tuple[int, int], ...] = ()
    """(request id, the version that it made; 0: never)."""
    pending: tuple[int, Value, int, int | None] | None = None
    """A write whose number is taken and which is not durable: id, value, number, base. It holds the record's lock."""
    seen: int = 0
    """The place in the order of the primary's states that it has come to (a ghost: only the properties look at it)."""


class Entry(NamedTuple):
    """One write in the proxy's journal."""

    id: int
    state: str
    """intent, doubt or accepted; settled and ended ones are gone."""
    version: int | None = None
    base: int | None = None
    """0: it created."""
    is_replayable: bool = False


class Message(NamedTuple):
    """What is on its way."""

    kind: str
    to: int
    epoch: int
    id: int = 0
    value: Value = None
    version: int | None = None
    base: int | None = None
    at: int = 0
    is_primary: bool = False


class Work(NamedTuple):
    """What the key's lane has under way: one command at a time."""

    kind: str
    """replay, read or repair."""
    covers: tuple[int, ...]
    message: Message | None = None


class State(NamedTuple):
    """The whole world."""

    ups: tuple[Up, Up]
    net: frozenset[Message] = frozenset()
    # the proxy's journal
    primary: int = 0
    epoch: int = 1
    burned: int = 1
    entries: tuple[Entry, ...] = ()
    # the proxy's memory
    work: Work | None = None
    step: str = ""
    """Of a change of primary: fence, announce or renew; "" outside one."""
    heard: tuple[int, ...] = ()
    """Upstreams that have taken the burned epoch, as far as the proxy was told."""
    told: bool = True
    """The secondary knows the present epoch."""
    backfill: str = ""
    """wanted, reading, sent, done; "" where none is wanted."""
    s0: int = 0
    is_dirty: bool = False
    """A write from elsewhere has not been mended yet."""
    # what is left to happen
    writes: int = 0
    """How many have begun."""
    crashes: int = 0
    switches: int = 0
    foreigns: int = 0
    strays: int = 0
    # ghosts
    order: tuple[Value, ...] = (None,)
    """The primary's states, in its order."""
    executed: tuple[int, ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules but those left out."""

    without: frozenset[str] = frozenset()

    def __contains__(self, rule: str) -> bool:
        assert rule in RULES, rule
        return rule not in self.without


RULES = {
    "N1": "numbers of an epoch start above those of all earlier ones",
    "N4": "the watermark is below every number that is not durable",
    "R1": "a read's at is the watermark taken before it, if that is newer than the record's",
    "W1": "a request id is decided once",
    "V1": "what was voided as never is refused ever after",
    "void": "a write in doubt is asked after, not taken for one that never was",
    "M1": "a replay applies only on its base",
    "M1-create": "a replayed create applies only where at is below its version",
    "M2": "a repair applies only if it is not older than what is there",
    "M2-at": "an applied repair sets at",
    "W3": "a write from elsewhere clears the version",
    "W3-number": "a write from elsewhere takes no number",
    "B2": "a backfill's record has no version",
    "S0": "a backfill takes S0 before it reads",
    "sweep": "what a clean backfill did not find goes",
    "floor": "nothing below the floor applies",
    "E3": "a request of another epoch is refused",
    "E2-both": "an epoch is announced to both upstreams before a switch commits",
    "burn": "an epoch is burned before it is announced",
    "renew": "a called-off switch announces the next epoch before writes go on",
    "fence": "new writes wait during a switch",
    "drain": "a switch waits until nothing is unsettled",
    "repair-covers": "a repair settles only what was accepted before its read",
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much happens at most."""

    writes: tuple[str, ...]
    """The kinds of the writes, in their order: patch, put, del."""
    crashes: int = 0
    switches: int = 0
    foreigns: int = 0
    strays: int = 0
    """Writes of a second proxy, whose journal and epoch are others."""
    backfill: bool = False
    begins_with: Value = None
    """A record from before anybody heard of Turnout: at both, or with a backfill wanted at the first one only."""


def first(bounds: Bounds) -> State:
    old = Up(value=bounds.begins_with, is_primary=True)
    other = Up(value=None if bounds.backfill else bounds.begins_with)
    if bounds.backfill:
        other = Up(value=(99,))  # an older copy: the source has had it and lost it
    return State(
        (old, other), order=(bounds.begins_with,), backfill="wanted" if bounds.backfill else "",
    )  # fmt: skip


# -- what an upstream does ---------------------------------------------------------------------------------


def watermark(up: Up, rules: Rules) -> int:
    if up.pending is not None and "N4" in rules:
        return up.pending[2] - 1
    return up.number


def effective_at(up: Up, rules: Rules) -> int:
    """Of the record or tombstone: at least the floor."""
    return max(up.at, up.floor) if "floor" in rules else up.at


def made(kind: str, write: int, there: Value) -> Value:
    if kind == "del":
        return None
    return (write,) if kind == "put" or there is None else (*there, write)


def arrives(state: State, message: Message, rules: Rules, bounds: Bounds) -> tuple[State, str]:
    """A message reaches its upstream: the world after it, and the answer (applied, refused, wait)."""
    up = state.ups[message.to]
    if message.kind == "announce":
        if message.epoch < up.epoch or (message.epoch == up.epoch and message.is_primary != up.is_primary):
            return state, "refused"
        number = max(up.number, message.epoch * EPOCH_NUMBERS) if "N1" in rules else up.number
        return _with(
            state, message.to, up._replace(epoch=message.epoch, is_primary=message.is_primary, number=number)
        ), "applied"
    if message.epoch != up.epoch and "E3" in rules:
        return state, "refused"
    if up.pending is not None:
        return state, "wait"
    match message.kind:
        case "write":
            return _write(state, message, rules, bounds)
        case "replay":
            return _replay(state, message, rules, bounds)
        case "repair":
            return _repair(state, message, rules)
        case _:
            return _apply(state, message, rules)


def _write(state: State, message: Message, rules: Rules, bounds: Bounds) -> tuple[State, str]:
    up = state.ups[message.to]
    if "W1" in rules and any(message.id == known for known, _ in up.decided):
        return state, "refused"
    if "W1" not in rules and any(message.id == known and version == 0 for known, version in up.decided):
        return state, "refused"
    kind = "put" if message.id == STRAY else bounds.writes[message.id - 1]
    value = made(kind, message.id, up.value)
    number = up.number + 1
    base = 0 if up.value is None else up.version
    return _with(
        state, message.to, up._replace(number=number, pending=(message.id, value, number, base))
    ), "wait"


def commits(state: State, name: int) -> State:
    """The pending write is durable: it is a state of the primary from now on."""
    up = state.ups[name]
    assert up.pending is not None
    write, value, number, _ = up.pending
    order = (*state.order, value)
    up = up._replace(
        value=value,
        version=number,
        at=number,
        pending=None,
        decided=(*up.decided, (write, number)),
        seen=len(order) - 1,
    )
    fault = f"write {write} is executed twice" if write in state.executed else state.fault
    if name != state.primary and state.step != "announce":
        fault = f"write {write} is executed at {name}, which is not the primary"
    return _with(state, name, up)._replace(order=order, executed=(*state.executed, write), fault=fault)


def _replay(state: State, message: Message, rules: Rules, bounds: Bounds) -> tuple[State, str]:
    up = state.ups[message.to]
    assert message.version is not None
    if message.base == 0:
        fits = up.value is None or "M1" not in rules
        if "M1-create" in rules:
            fits = fits and effective_at(up, rules) < message.version
    else:
        fits = (up.value is not None and up.version == message.base) or "M1" not in rules
    if not fits:
        return state, "refused"
    value = made(bounds.writes[message.id - 1], message.id, up.value)
    return _becomes(
        state, message.to, up._replace(value=value, version=message.version, at=message.version)
    ), "applied"


def _repair(state: State, message: Message, rules: Rules) -> tuple[State, str]:
    up = state.ups[message.to]
    if message.at < effective_at(up, rules) and "M2" in rules:
        return state, "applied"  # settled by what is there
    at = message.at if "M2-at" in rules else up.at
    return _becomes(
        state, message.to, up._replace(value=message.value, version=message.version, at=at)
    ), "applied"


def _apply(state: State, message: Message, rules: Rules) -> tuple[State, str]:
    """A line of a backfill, or its end."""
    up = state.ups[message.to]
    if message.kind == "floor":
        if up.value is not None and up.at < message.at and "sweep" in rules:
            up = up._replace(value=None, version=None, at=message.at)
        up = up._replace(floor=max(up.floor, message.at))
        if up.value is None and up.at <= up.floor:
            up = up._replace(at=0, version=None)  # the tombstone may go: the floor stands for it
        return _becomes(state, message.to, up), "applied"
    if message.at < effective_at(up, rules):
        return state, "applied"
    version = None if "B2" in rules else message.version
    return _becomes(
        state, message.to, up._replace(value=message.value, version=version, at=message.at)
    ), "applied"


def _becomes(state: State, name: int, up: Up) -> State:
    """The secondary has another state: is it one of the primary's, and not an earlier one than it had?"""
    before = state.ups[name]
    state = _with(state, name, up)
    if state.is_dirty or state.backfill not in ("", "done"):
        return state  # until it is mended, or the backfill has ended, anything may show
    # What a backfill brought has no version. It may be newer than S0, so a repair from S0's time may still follow it.
    since = 0 if state.backfill == "done" and before.version is None else up.seen
    place = next((n for n in range(since, len(state.order)) if state.order[n] == up.value), None)
    if place is None:
        back = "an earlier state again" if up.value in state.order else "a state that the primary never had"
        return state._replace(fault=f"{name} has {back}: {up.value}")
    return _with(state, name, up._replace(seen=place))


def _with(state: State, name: int, up: Up) -> State:
    ups = (up, state.ups[1]) if name == 0 else (state.ups[0], up)
    return state._replace(ups=ups)
