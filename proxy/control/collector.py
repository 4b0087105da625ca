"""What Prometheus sees of the move: gauges and counters read at the moment of the scrape, from where they live."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy.control.controller import Controller
from proxy.control.health import HealthChecks
from proxy.journal.sqlite import SqliteJournal
from proxy.model import Stage
from proxy.ports import MirrorControl

HELD_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class MoveCollector(Collector):
    """Registered once; yields every metric of DESIGN section 7 that is a state rather than an event of the hot path."""

    def __init__(
        self,
        controller: Controller,
        mirror: MirrorControl,
        health: HealthChecks,
        journal: SqliteJournal,
        version: str,
    ) -> None:
        self._controller = controller
        self._mirror = mirror
        self._health = health
        self._journal = journal
        self._version = version

    def describe(self) -> list[Metric]:
        """Nothing is promised before the first scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        controller, snapshot = self._controller, self._controller.box.current
        stats = self._mirror.stats()

        def number(name: str) -> float:
            value = stats[name]
            assert isinstance(value, int | float)
            return float(value)

        yield _by_label(
            "turnout_upstream_up", "1 while the endpoint's health check succeeds.", ["upstream", "endpoint"],
            {(name, str(endpoint)): float(up) for (name, endpoint), up in self._health.up.items()},
        )  # fmt: skip
        weight = snapshot.canary.weight_bp / 100 if snapshot.canary.enabled else 0.0
        yield GaugeMetricFamily(
            "turnout_canary_weight_percent", "Share of the rest that the secondary answers now.", weight
        )
        yield _by_label(
            "turnout_primary", "1 for the upstream that orders writes.", ["upstream"],
            {(name,): float(name == controller.primary) for name in controller.names},
        )  # fmt: skip
        yield _by_label(
            "turnout_stage", "1 for the stage that the move is in.", ["stage"],
            {(str(stage),): float(stage is controller.stage) for stage in Stage},
        )  # fmt: skip
        writes = CounterMetricFamily(
            "turnout_mirror_writes", "Writes that the mirror is done with.", labels=["result"]
        )
        for result, count in (
            ("replayed", number("replayed")), ("repaired", number("repaired")),
            ("rejected", number("rejected")), ("dead", number("dead_letters")),
        ):  # fmt: skip
            writes.add_metric([result], count)
        yield writes
        yield GaugeMetricFamily(
            "turnout_mirror_lag_entries", "Unsettled entries and repair marks.", number("lag_entries")
        )
        yield GaugeMetricFamily(
            "turnout_mirror_lag_seconds", "Age of the oldest unsettled entry.", number("lag_seconds")
        )
        yield GaugeMetricFamily(
            "turnout_mirror_in_doubt", "Writes that the primary did not answer.", number("in_doubt")
        )
        yield GaugeMetricFamily(
            "turnout_dead_letters", "Keys that wait for a person.", number("dead_letters")
        )
        yield GaugeMetricFamily(
            "turnout_journal_bytes", "Size of the journal on disk.", float(self._journal.size_bytes())
        )
        switches = CounterMetricFamily("turnout_switches", "Switches and rollbacks.", labels=["to", "result"])
        for (to, result), count in controller.switches.items():
            switches.add_metric([to, result], float(count))
        yield switches
        yield _histogram("turnout_switch_held_seconds", "How long a switch held writes.", controller.held_s)
        reloads = CounterMetricFamily(
            "turnout_config_reloads", "Times that the routing file was read.", labels=["result"]
        )
        for result, count in controller.reloads.items():
            reloads.add_metric([result], float(count))
        yield reloads
        yield GaugeMetricFamily(
            "turnout_config_last_reload_successful",
            "0 while a bad edit waits to be mended.",
            float(not controller.faults),
        )
        yield GaugeMetricFamily(
            "turnout_config_last_reload_success_timestamp_seconds",
            "When the routing was last taken in.",
            controller.reloaded_wall_s,
        )
        yield GaugeMetricFamily(
            "turnout_routing_override",
            "Settings in force that the file does not say.",
            float(controller.override_count),
        )
        yield GaugeMetricFamily(
            "turnout_unproven", "1 while a gap waits for a validation.", float(bool(self._mirror.unproven()))
        )
        build = GaugeMetricFamily("turnout_build_info", "Always 1.", labels=["version"])
        build.add_metric([self._version], 1.0)
        yield build


def _by_label(
    name: str, text: str, labels: list[str], values: dict[tuple[str, ...], float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(list(key), value)
    return family


def _histogram(name: str, text: str, seen_s: list[float]) -> HistogramMetricFamily:
    buckets = [(str(bound), float(sum(one <= bound for one in seen_s))) for bound in HELD_BUCKETS_S]
    return HistogramMetricFamily(
        name, text, buckets=[*buckets, ("+Inf", float(len(seen_s)))], sum_value=sum(seen_s)
    )
