"""Looks at the process once a second, and tells the log what a person should know (control/concerns.py decides what that is)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import structlog

from proxy.control.concerns import Concerns, Facts, Room
from proxy.control.health import HealthChecks
from proxy.ports import Clock, MirrorControl
from proxy.tls import Certificate

log = structlog.get_logger("control")

LOOK_S = 1.0


class Lookout:
    """One process's eyes. What it tells is in docs/operating/logs.md."""

    def __init__(
        self,
        *,
        mirror: MirrorControl,
        clock: Clock,
        room: Callable[[], Room],
        body_bytes_max: int,
        primary: Callable[[], str],
        health: HealthChecks,
        is_failing: Callable[[str], bool],
        certificate: Certificate | None,
    ) -> None:
        self._mirror = mirror
        self._clock = clock
        self._room = room
        self._body_bytes_max = body_bytes_max
        self._primary = primary
        self._health = health
        self._is_failing = is_failing
        self._certificate = certificate
        self._concerns = Concerns()
        self._fenced_since_s: float | None = None
        self._away_since_s: tuple[str, float] | None = None

    async def run(self) -> None:
        """Forever."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Once."""
        for line in self._concerns.news(self._facts()):
            log.log(logging.getLevelNamesMapping()[line.level.upper()], line.event, **line.told)

    def _facts(self) -> Facts:
        now_s, wall_s = self._clock.now(), self._clock.wall()
        primary = self._primary()
        reason = self._mirror.fence_reason()
        if not reason:
            self._fenced_since_s = None
        elif self._fenced_since_s is None:
            self._fenced_since_s = now_s
        if not self._is_away(primary):
            self._away_since_s = None
        elif self._away_since_s is None or self._away_since_s[0] != primary:
            self._away_since_s = primary, now_s
        in_doubt, since_wall_s = self._mirror.in_doubt()
        shown = self._certificate
        return Facts(
            room=self._room(),
            body_bytes=self._mirror.body_bytes(),
            body_bytes_max=self._body_bytes_max,
            in_doubt=in_doubt,
            in_doubt_s=wall_s - since_wall_s if in_doubt else None,
            fence_reason=reason,
            fenced_s=None if self._fenced_since_s is None else now_s - self._fenced_since_s,
            primary=primary,
            primary_away_s=None if self._away_since_s is None else now_s - self._away_since_s[1],
            certificate=shown.file if shown is not None else "",
            certificate_left_s=shown.ends_wall_s - wall_s
            if shown is not None and shown.ends_wall_s is not None
            else None,
        )

    def _is_away(self, upstream: str) -> bool:
        """What its checks say; where it has none, what its last requests met."""
        checked = [is_up for (name, _), is_up in self._health.up.items() if name == upstream]
        return not any(checked) if checked else self._is_failing(upstream)
