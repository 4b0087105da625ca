"""What Prometheus sees of the move: gauges and counters read at the moment of the scrape, from where they live."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import Counter, Histogram
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from proxy.control.controller import Controller
from proxy.control.health import HealthChecks
from proxy.model import Stage
from proxy.observe import STATE_METRICS
from proxy.ports import MirrorControl

HELD_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

Values = Mapping[tuple[str, ...], float] | list[float]
"""By label values; of a histogram all that was seen."""


class MoveCollector(Collector):
    """Registered once; yields every metric of observe.STATE_METRICS."""

    def __init__(
        self,
        controller: Controller,
        mirror: MirrorControl,
        health: HealthChecks,
        journal_bytes: Callable[[], int],
        free_bytes: Callable[[], int],
        version: str,
    ) -> None:
        self._controller = controller
        self._mirror = mirror
        self._health = health
        self._journal_bytes = journal_bytes
        self._free_bytes = free_bytes
        self._version = version

    def describe(self) -> list[Metric]:
        """Nothing is promised before the first scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        values = self._values()
        for name, kind, text, labels in STATE_METRICS:
            found = values[name]
            if kind is Histogram:
                assert isinstance(found, list)
                yield _histogram(name, text, found)
                continue
            assert not isinstance(found, list)
            family = (CounterMetricFamily if kind is Counter else GaugeMetricFamily)(
                name, text, labels=labels
            )
            for key, value in found.items():
                family.add_metric(list(key), value)
            yield family

    def _values(self) -> dict[str, Values]:
        controller, snapshot = self._controller, self._controller.box.current
        stats = self._mirror.stats()
        canary = snapshot.canary

        def counted(name: str) -> float:
            value = stats[name]
            assert isinstance(value, int | float)
            return float(value)

        return {
            "turnout_upstream_up": {
                (name, str(endpoint)): float(up) for (name, endpoint), up in self._health.up.items()
            },
            "turnout_canary_weight_percent": {(): canary.weight_bp / 100 if canary.enabled else 0.0},
            "turnout_primary": {(name,): float(name == controller.primary) for name in controller.names},
            "turnout_stage": {(str(stage),): float(stage is controller.stage) for stage in Stage},
            "turnout_mirror_writes_total": {
                ("replayed",): counted("replayed"),
                ("repaired",): counted("repaired"),
                ("rejected",): counted("rejected"),
                ("dead",): counted("dead"),
            },
            "turnout_mirror_lag_entries": {(): counted("lag_entries")},
            "turnout_mirror_lag_seconds": {(): counted("lag_seconds")},
            "turnout_mirror_in_doubt": {(): counted("in_doubt")},
            "turnout_dead_letters": {(): counted("dead_letters")},
            "turnout_journal_bytes": {(): float(self._journal_bytes())},
            "turnout_journal_free_bytes": {(): float(self._free_bytes())},
            "turnout_switches_total": {key: float(count) for key, count in controller.switches.items()},
            "turnout_switch_held_seconds": controller.held_s,
            "turnout_rollout_step": {(): 0.0},
            "turnout_config_reloads_total": {(key,): float(n) for key, n in controller.reloads.items()},
            "turnout_config_last_reload_successful": {(): float(not controller.faults)},
            "turnout_config_last_reload_success_timestamp_seconds": {(): controller.reloaded_wall_s},
            "turnout_routing_override": {(): float(controller.override_count)},
            "turnout_unproven": {(): float(bool(self._mirror.unproven()))},
            "turnout_build_info": {(self._version,): 1.0},
        }


def _histogram(name: str, text: str, seen_s: list[float]) -> HistogramMetricFamily:
    buckets = [(str(bound), float(sum(one <= bound for one in seen_s))) for bound in HELD_BUCKETS_S]
    return HistogramMetricFamily(
        name, text, buckets=[*buckets, ("+Inf", float(len(seen_s)))], sum_value=sum(seen_s)
    )
