"""Everything that the admin API, the page and Prometheus may see of one process, gathered from where it lives."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import asdict

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from proxy.control import epochs
from proxy.control.actual import Actual
from proxy.control.controller import CANARY_ENABLED, PRIMARY, Controller
from proxy.control.health import HealthChecks
from proxy.control.validations import Validations
from proxy.errors import TurnoutError
from proxy.journal.store import HistoryLine
from proxy.model import COOKIE_NAME, Match, StickyBy
from proxy.ports import MirrorControl, Sender
from proxy.routing.explain import explain
from proxy.routing.head import SimpleHead

Shares = Callable[[], Mapping[str, int]]
"""Requests answered so far, by upstream."""


class Panel:
    """Reads all rooms of control and the mirror; changes nothing but through them."""

    def __init__(
        self,
        *,
        version: str,
        controller: Controller,
        actual: Actual,
        mirror: MirrorControl,
        validations: Validations,
        health: HealthChecks,
        sender: Sender,
        registry: CollectorRegistry,
        shares: Shares,
        is_accepting: Callable[[], bool],
        must_be_validated: bool,
        addresses: Mapping[str, str],
    ) -> None:
        self._version = version
        self.controller = controller
        self._actual = actual
        self._mirror = mirror
        self.validations = validations
        self._health = health
        self._sender = sender
        self._registry = registry
        self._shares = shares
        self._is_accepting = is_accepting
        self._must_be_validated = must_be_validated
        self._addresses = dict(addresses)

    async def readiness(self) -> str:
        """Why it is not ready; empty when it is."""
        if not self._is_accepting():
            return "the listeners are not open yet"
        if not self.controller.box.current.mirror.enabled:
            return ""
        try:
            await epochs.look(self._sender, self.controller.primary, timeout_s=1.0)
        except TurnoutError as error:
            return str(error)
        if self._must_be_validated and self._mirror.unproven():
            return "the data is not backfilled and validated yet"
        return ""

    def metrics(self) -> tuple[bytes, str]:
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    async def status(self) -> dict[str, object]:
        """The whole state in one object: what `turnout status`, the page and the events show."""
        controller, snapshot = self.controller, self.controller.box.current
        canary = snapshot.canary
        stats = self.stats()
        return {
            "version": self._version,
            "stage": str(controller.stage),
            "primary": controller.primary,
            "secondary": snapshot.secondary,
            "epoch": self._actual.meta.epoch,
            "journal": self._actual.meta.journal_id,
            "addresses": self._addresses,
            "upstreams": {
                upstream.name: {
                    "role": "primary" if upstream.name == controller.primary else "secondary",
                    "endpoints": [
                        {"url": endpoint.url, "up": self._health.up.get((upstream.name, endpoint))}
                        for endpoint in upstream.endpoints
                    ],
                    "requests": self._shares().get(upstream.name, 0),
                }
                for upstream in snapshot.upstreams
            },
            "canary": {
                "enabled": canary.enabled,
                "weight": canary.weight_bp / 100,
                "sticky": f"header {canary.sticky.header}"
                if canary.sticky.by is StickyBy.HEADER
                else str(canary.sticky.by),
                "cookie": COOKIE_NAME,
                "always": [_match_text(match) for match in canary.always],
                "never": [_match_text(match) for match in canary.never],
            },
            "sources": {path: controller.source_of(path) for path in (PRIMARY, CANARY_ENABLED)},
            "pending": controller.pending(),
            "mirror": {
                "enabled": snapshot.mirror.enabled,
                "writes_held": self._held(),
                "secondary_trouble": self._mirror.secondary_trouble(),
                "unproven": [prefix or "/" for prefix in self._mirror.unproven()],
                **stats,
            },
            "validated": _time(self._actual.meta.validated_wall_s)
            if self._actual.meta.validated_wall_s
            else None,
            "routing": {
                "revision": snapshot.revision,
                "etag": controller.etag,
                "faults": list(controller.faults),
                "reloaded": _time(controller.reloaded_wall_s),
            },
            "history": await self.history(20),
        }

    def _held(self) -> str:
        """Why writes wait now; empty when they do not."""
        return self._mirror.fence_reason()

    async def history(self, count: int) -> list[dict[str, object]]:
        return [_line(line) for line in await self._actual.history(count)]

    def mirror(self) -> dict[str, object]:
        return {
            **self.stats(),
            "secondary_trouble": self._mirror.secondary_trouble(),
            "unproven": [prefix or "/" for prefix in self._mirror.unproven()],
            "dead": self.dead_letters(),
        }

    def stats(self) -> dict[str, object]:
        return dict(self._mirror.stats())

    def dead_letters(self) -> list[dict[str, object]]:
        return [
            {"key": letter.key, "since": _time(letter.since_wall_s), "cause": letter.cause, "detail": letter.detail,
             "next": f"turnout dead-letters retry {letter.key}"}
            for letter in self._mirror.dead_letters()
        ]  # fmt: skip

    async def retry(self, key: str, actor: str) -> None:
        await self._mirror.retry(key)
        await self._actual.remember(actor, "dead-letter retry", key)

    async def drop(self, key: str, reason: str, actor: str) -> None:
        await self._mirror.drop(key, reason)
        await self._actual.remember(actor, "dead-letter drop", key, reason)

    def explain(
        self, method: str, target: str, headers: Mapping[str, str], client_ip: str
    ) -> dict[str, object]:
        head = SimpleHead.of(method, target, headers.items(), client_ip)
        return asdict(explain(head, self.controller.box.current))


def _match_text(match: Match) -> str:
    return f"{match.on} {match.name} {match.how} {match.value}".replace("  ", " ").strip()


def _line(line: HistoryLine) -> dict[str, object]:
    return {
        "id": line.id,
        "time": _time(line.wall_s),
        "actor": line.actor,
        "verb": line.verb,
        "detail": line.detail,
        "reason": line.reason,
    }


def _time(wall_s: float) -> str:
    """RFC 3339, UTC, to the millisecond."""
    moment = datetime.datetime.fromtimestamp(wall_s, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
