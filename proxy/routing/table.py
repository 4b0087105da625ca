"""A snapshot made quick to ask: routes as rows, and every decision that needs no dice made beforehand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from proxy.model import Canary, Decision, Kind, Match, MatchOn, Reason, Route, Snapshot, StickyBy
from proxy.routing.match import Test, test_of

READ_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Safe methods (RFC 9110 section 9.2.1); every other one writes, unknown ones too."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The two ends of one rule."""

    primary: Decision
    secondary: Decision


@dataclass(frozen=True, slots=True)
class Plan:
    """A canary that is on: what it takes to decide, in the order of precedence."""

    watched: tuple[str, ...] | None
    """Headers of which one must be there for any match to hold; None: always look."""
    never: tuple[tuple[Test, Decision], ...]
    always: tuple[tuple[Test, Decision], ...]
    weight_bp: int
    sequence: int
    by: StickyBy
    sticky_header: str
    weighed: Pair
    stuck: Pair
    new_clients: dict[int, Decision] = field(default_factory=dict[int, Decision], compare=False)
    """The decision that hands out each bucket, once it was made: a memo, not a part of the plan."""


@dataclass(frozen=True, slots=True)
class Row:
    """One route. ``below`` is "" for an exact path; ``read`` and ``write`` are plans, or decisions made already."""

    exact: str
    below: str
    methods: frozenset[str] | None
    kind: Kind | None
    read: Plan | Decision
    write: Plan | Decision


class Table:
    """The rows of one snapshot, in its order; the last one matches everything."""

    __slots__ = ("rows", "snapshot")

    def __init__(self, snapshot: Snapshot) -> None:
        assert snapshot.routes, "the default route is always there"
        self.snapshot = snapshot
        self.rows = tuple(_row(snapshot, route) for route in snapshot.routes)


def _row(snapshot: Snapshot, route: Route) -> Row:
    return Row(
        exact=route.path if route.is_exact else route.prefix,
        below="" if route.is_exact else route.prefix + "/",
        methods=route.methods,
        kind=route.kind,
        read=_rule(snapshot, route, is_write=False),
        write=_write_rule(snapshot, route),
    )


def _write_rule(snapshot: Snapshot, route: Route) -> Plan | Decision:
    """What the mirror does not carry must not be split: half of the writes would be missing on either side."""
    mirror = snapshot.mirror
    is_carried = mirror.enabled and route.is_mirrored
    # `mirror: false` beside `upstream:` is an operator's word that the path lives over there, writes and all.
    is_placed = route.upstream is not None and not route.is_mirrored
    if is_carried or is_placed or mirror.writes_follow:
        return _rule(snapshot, route, is_write=True)
    return Decision(snapshot.primary, Reason.PRIMARY, route, is_write=True, line=route.line)


def _rule(snapshot: Snapshot, route: Route, *, is_write: bool) -> Plan | Decision:
    def end(upstream: str, reason: Reason, line: int) -> Decision:
        return Decision(upstream, reason, route, is_write, line=line)

    primary, secondary = snapshot.primary, snapshot.secondary
    if route.upstream is not None:
        named = {"primary": primary, "secondary": secondary}.get(route.upstream, route.upstream)
        return end(named, Reason.ROUTE, route.line)
    canary = route.canary
    if not canary.enabled:
        return end(primary, Reason.PRIMARY, canary.line)

    def pair(reason: Reason) -> Pair:
        line = canary.weight_line or canary.line
        return Pair(end(primary, reason, line), end(secondary, reason, line))

    return Plan(
        watched=_watched(canary),
        never=tuple((test_of(match), end(primary, Reason.NEVER, match.line)) for match in canary.never),
        always=tuple((test_of(match), end(secondary, Reason.ALWAYS, match.line)) for match in canary.always),
        weight_bp=canary.weight_bp,
        sequence=canary.sequence,
        by=canary.sticky.by,
        sticky_header=canary.sticky.header,
        weighed=pair(Reason.WEIGHT),
        stuck=pair(Reason.STICKY),
    )


def _watched(canary: Canary) -> tuple[str, ...] | None:
    names: dict[str, None] = {}
    for match in (*canary.never, *canary.always):
        name = _header_of(match)
        if name is None:
            return None
        names[name] = None
    return tuple(names)


def _header_of(match: Match) -> str | None:
    if match.on is MatchOn.COOKIE:
        return "cookie"
    return match.name if match.on is MatchOn.HEADER else None
