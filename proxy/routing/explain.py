"""The decision told in words, for ``turnout explain`` and the admin API. It asks the same ``decide`` and moves no dice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.model import Decision, HeadView, Kind, Match, MatchHow, MatchOn, Reason, Snapshot
from proxy.routing.decide import decide
from proxy.routing.match import test_of
from proxy.routing.place import place_of


@dataclass(frozen=True, slots=True)
class Explanation:
    """One request's way. ``line`` is that of the rule in the file, 0 where no line says it (a default)."""

    upstream: str
    """Who answers; where a weight decides for each request or new client, the primary."""
    reason: Reason
    rule: str
    line: int
    route: str
    route_line: int
    kind: Kind
    executed_by: str
    """Who executes it: the primary for a write that the mirror carries, else who answers."""
    is_mirrored: bool
    key: str | None
    prefix: str
    secondary_percent: float
    """How likely the secondary answers: 0 and 100 are certain."""


class _Probe:
    """Dice that always say no, and remember that they were asked."""

    def __init__(self) -> None:
        self.was_asked = False

    def take(self, sequence: int, weight_bp: int) -> bool:  # noqa: ARG002 - the port's signature
        self.was_asked = True
        return False

    def new_bucket(self) -> int:
        self.was_asked = True
        return 0


def explain(head: HeadView, snapshot: Snapshot) -> Explanation:
    """What ``decide`` would do with this head, and why."""
    probe = _Probe()
    decision = decide(head, snapshot, probe)
    route = decision.route
    place = place_of(route, head.path)
    is_mirrored = decision.is_write and snapshot.mirror.enabled and route.is_mirrored
    upstream = snapshot.primary if probe.was_asked else decision.upstream
    certain = 100.0 if upstream == snapshot.secondary else 0.0
    return Explanation(
        upstream=upstream,
        reason=decision.reason,
        rule=_rule(decision, head, snapshot, is_open=probe.was_asked),
        line=decision.line,
        route=route.path,
        route_line=route.line,
        kind=Kind.WRITE if decision.is_write else Kind.READ,
        executed_by=snapshot.primary if is_mirrored else upstream,
        is_mirrored=is_mirrored,
        key=place.key,
        prefix=place.prefix,
        secondary_percent=route.canary.weight_bp / 100 if probe.was_asked else certain,
    )


def _rule(decision: Decision, head: HeadView, snapshot: Snapshot, *, is_open: bool) -> str:
    canary = decision.route.canary
    percent = f"{canary.weight_bp / 100:g} %"
    match decision.reason:
        case Reason.ROUTE:
            return f"the route says `upstream: {decision.route.upstream}`"
        case Reason.NEVER:
            return f"canary.never: {_first(canary.never, head)}"
        case Reason.ALWAYS:
            return f"canary.always: {_first(canary.always, head)}"
        case Reason.STICKY if is_open:
            return f"a new client: it gets a bucket, and {percent} of the buckets go to {snapshot.secondary}"
        case Reason.STICKY:
            return f"the client's bucket against a weight of {percent}, sticky by {canary.sticky.by}"
        case Reason.WEIGHT:
            return f"a weight of {percent}"
        case _ if decision.is_write and canary.enabled:
            return "a write that the mirror does not carry goes to the primary (mirror.writes: primary)"
        case _:
            return "the canary is off"


def _first(matches: Sequence[Match], head: HeadView) -> str:
    return next((_words(match) for match in matches if test_of(match)(head)), "")


def _words(match: Match) -> str:
    if match.on is MatchOn.CLIENT_IP:
        return f"client_ip {match.value}"
    condition = "" if match.how is MatchHow.PRESENT else f" {match.value!r}"
    return f"{match.on} {match.name} {match.how}{condition}"
