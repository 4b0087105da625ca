"""Snapshots and heads for tests of routing: short to say, complete in themselves."""

from __future__ import annotations

import re
from dataclasses import replace

from proxy.model import (
    Canary,
    KeyTemplate,
    Limits,
    Match,
    MatchHow,
    MatchOn,
    MirrorSettings,
    Route,
    Snapshot,
    Sticky,
    StickyBy,
    Upstream,
)

OFF = Canary()
TEMPLATE = KeyTemplate("/api/{collection}/{id}", ("api", None, None), frozenset({"settings"}))
COOKIE = Sticky(StickyBy.COOKIE)


class ForbiddenDice:
    """Dice that nobody may touch."""

    def take(self, sequence: int, weight_bp: int) -> bool:
        raise AssertionError("the dice were asked")

    def new_bucket(self) -> int:
        raise AssertionError("a bucket was taken")


class FixedDice:
    """Dice with one answer, that remember what they were asked."""

    def __init__(self, answer: bool = False, bucket: int = 0) -> None:
        self.answer = answer
        self.bucket = bucket
        self.asked: list[tuple[int, int]] = []
        self.buckets = 0

    def take(self, sequence: int, weight_bp: int) -> bool:
        self.asked.append((sequence, weight_bp))
        return self.answer

    def new_bucket(self) -> int:
        self.buckets += 1
        return self.bucket


def match(
    name: str, value: str = "", how: MatchHow = MatchHow.EXACT, on: MatchOn = MatchOn.HEADER, line: int = 0
) -> Match:
    pattern = re.compile(value) if how is MatchHow.REGEX else None
    return Match(on, name, how, value, line, pattern)


def canary(weight_bp: int = 0, **rest: object) -> Canary:
    return replace(Canary(enabled=True, weight_bp=weight_bp), **rest)  # type: ignore[arg-type]


def route(path: str = "/*", canary: Canary = OFF, **rest: object) -> Route:
    made = Route(
        path=path,
        prefix=path.removesuffix("/*").rstrip("/"),
        is_exact=not path.endswith("/*"),
        methods=None,
        kind=None,
        upstream=None,
        canary=canary,
        template=None,
        is_mirrored=True,
    )
    return replace(made, **rest)  # type: ignore[arg-type]


def snapshot(canary: Canary = OFF, *routes: Route, mirror: MirrorSettings | None = None) -> Snapshot:
    return Snapshot(
        upstreams=(Upstream("json", ()), Upstream("postgres", ())),
        primary="json",
        secondary="postgres",
        canary=canary,
        routes=(*routes, route(canary=canary)),
        mirror=mirror or MirrorSettings(),
        limits=Limits(),
    )
