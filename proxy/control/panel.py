"""Everything that the admin API, the page and Prometheus may see of one process, gathered from where it lives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from proxy.control import epochs
from proxy.control.actual import Actual
from proxy.control.controller import Controller
from proxy.control.health import HealthChecks
from proxy.control.letters import Letters
from proxy.control.operating import Operating
from proxy.control.told import time_text
from proxy.control.validations import Validations
from proxy.errors import TurnoutError
from proxy.journal.store import HistoryLine
from proxy.model import COOKIE_NAME, Match, StickyBy
from proxy.ports import MirrorControl, Sender
from proxy.routing.explain import explain
from proxy.routing.head import SimpleHead

LETTERS_SHOWN = 20
"""Dead letters that are shown among the mirror's figures; the list has them all."""

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
        operating: Operating,
        letters: Letters,
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
        self.operating = operating
        self.letters = letters
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
            await epochs.look(self._sender, self.controller.primary, self.controller.kinds, timeout_s=1.0)
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
                    "kind": str(controller.kinds.of(upstream.name)),
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
            "sources": controller.sources(),
            "overrides": controller.overrides(),
            "pending": controller.pending(),
            "mirror": {
                "enabled": snapshot.mirror.enabled,
                "writes_held": self._held(),
                "secondary_trouble": self._mirror.secondary_trouble(),
                "paused": self._paused(),
                "returning": self._returning(),
                "unproven": [prefix or "/" for prefix in self._mirror.unproven()],
                **stats,
            },
            "validated": time_text(self._actual.meta.validated_wall_s)
            if self._actual.meta.validated_wall_s
            else None,
            "routing": {
                "revision": snapshot.revision,
                "etag": controller.etag,
                "faults": list(controller.faults),
                "reloaded": time_text(controller.reloaded_wall_s),
            },
            "history": await self.history(20),
        }

    def _paused(self) -> dict[str, object] | None:
        """Who paused the mirror, when and why; None while it runs."""
        pause = self._actual.meta.paused
        if pause is None:
            return None
        return {"since": time_text(pause.since_wall_s), "actor": pause.actor, "reason": pause.reason}

    def _returning(self) -> dict[str, object] | None:
        """The upstream that was left behind dead, while it is not mirrored to yet."""
        returning = self._actual.meta.returning
        if returning is None:
            return None
        return {
            "upstream": returning.upstream,
            "since": time_text(returning.since_wall_s),
            "keys": list(returning.keys),
            "in_doubt": len(returning.doubts),
        }

    def _held(self) -> str:
        """Why writes wait now; empty when they do not."""
        return self._mirror.fence_reason()

    async def history(self, count: int) -> list[dict[str, object]]:
        return [_line(line) for line in await self._actual.history(count)]

    def mirror(self) -> dict[str, object]:
        return {
            **self.stats(),
            "enabled": self.controller.box.current.mirror.enabled,
            "paused": self._paused(),
            "returning": self._returning(),
            "writes_held": self._held(),
            "secondary_trouble": self._mirror.secondary_trouble(),
            "unproven": [prefix or "/" for prefix in self._mirror.unproven()],
            "gaps": [
                {"prefix": prefix or "/", "since": time_text(since_s), "why": why}
                for prefix, since_s, why in self._mirror.gaps()
            ],
            "letters": self.letters.first(LETTERS_SHOWN),
        }

    def stats(self) -> dict[str, object]:
        return dict(self._mirror.stats())

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
        "time": time_text(line.wall_s),
        "actor": line.actor,
        "verb": line.verb,
        "detail": line.detail,
        "reason": line.reason,
    }
