"""Logging, and every metric of the proxy (DESIGN section 7), declared in one list.

No label ever holds a path, a key or a client. What the hot path counts lies in proxy/traffic.py.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import TextIO

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from proxy.traffic import DURATION_BUCKETS_S, Traffic

FSYNC_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

Kind = type[Counter] | type[Gauge] | type[Histogram]
Declared = tuple[str, Kind, str, tuple[str, ...]]
"""Name, kind, help, labels."""

EVENT_METRICS: tuple[Declared, ...] = (
    ("turnout_upstream_errors_total", Counter, "Exchanges that an upstream failed: connect, tls, timeout, reset, protocol", ("upstream", "kind")),
    ("turnout_journal_fsync_duration_seconds", Histogram, "One commit of the journal, to disk", ()),
    ("turnout_shadow_comparisons_total", Counter, "Reads compared on both upstreams, by result; none in this version (shadow reads are not yet built)", ("result",)),
)  # fmt: skip
"""Counted where they happen."""

STATE_METRICS: tuple[Declared, ...] = (
    ("turnout_upstream_up", Gauge, "1 while the endpoint passes its checks", ("upstream", "endpoint")),
    ("turnout_canary_weight_percent", Gauge, "Percent of unmatched requests that the secondary answers; 0 with the canary off", ()),
    ("turnout_primary", Gauge, "1 for the upstream that orders writes", ("upstream",)),
    ("turnout_stage", Gauge, "1 for the stage of the whole move", ("stage",)),
    ("turnout_mirror_writes_total", Counter, "Mirrored writes by how they ended: replayed, repaired, rejected, dead", ("result",)),
    ("turnout_mirror_lag_entries", Gauge, "Unsettled entries and repair marks; without dead letters and gaps", ()),
    ("turnout_mirror_lag_seconds", Gauge, "Age of the oldest unsettled entry", ()),
    ("turnout_mirror_in_doubt", Gauge, "Entries whose outcome at the primary is not known", ()),
    ("turnout_dead_letters", Gauge, "Keys that repair could not settle: a person must look", ()),
    ("turnout_journal_bytes", Gauge, "Size of the journal on disk", ()),
    ("turnout_journal_free_bytes", Gauge, "Free on the journal's disk; new writes stop below 8 MiB, or a tenth of a smaller disk", ()),
    ("turnout_switches_total", Counter, "Switches by the upstream that became primary, and how they ended", ("to", "result")),
    ("turnout_switch_held_seconds", Histogram, "How long a switch held writes", ()),
    ("turnout_rollout_step", Gauge, "Step of the rollout that runs; 0 without one, as always in this version (rollouts are not yet built)", ()),
    ("turnout_config_reloads_total", Counter, "Readings of routing.yaml, by result", ("result",)),
    ("turnout_config_last_reload_successful", Gauge, "1 if the last reading of routing.yaml was good", ()),
    ("turnout_config_last_reload_success_timestamp_seconds", Gauge, "When routing.yaml was last read and good", ()),
    ("turnout_routing_override", Gauge, "Settings in force that the file does not say", ()),
    ("turnout_unproven", Gauge, "1 while a validation is due: reads under a gap stay with the primary", ()),
    ("turnout_build_info", Gauge, "Always 1; the version is in the label", ("version",)),
)  # fmt: skip
"""Read at the moment of the scrape from where they live (control.collector)."""

METRICS = EVENT_METRICS + STATE_METRICS
"""All beside the hot path's, which are in TRAFFIC_METRICS."""

TRAFFIC_METRICS = (
    ("turnout_requests_total", "Requests answered", ("upstream", "reason", "method", "code")),
    (
        "turnout_request_duration_seconds",
        "From a request's head to its answer's last byte",
        ("upstream", "reason"),
    ),
    ("turnout_requests_in_flight", "Requests under way", ("upstream",)),
)


class TrafficCollector(Collector):
    """The hot path's counts, as Prometheus wants them."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    def collect(self) -> Iterable[Metric]:
        (
            (total, total_help, total_labels),
            (duration, duration_help, duration_labels),
            (flight, flight_help, flight_labels),
        ) = TRAFFIC_METRICS
        requests = CounterMetricFamily(total, total_help, labels=total_labels)
        durations = HistogramMetricFamily(duration, duration_help, labels=duration_labels)
        in_flight = GaugeMetricFamily(flight, flight_help, labels=flight_labels)
        for (upstream, _), (reason, tally) in self._traffic.tallies.items():
            for count in tally.answers.values():
                requests.add_metric([upstream, reason.value, count.method, str(count.code)], count.number)
            cumulated, buckets = 0, list[tuple[str, float]]()
            for bound, number in zip((*DURATION_BUCKETS_S, "+Inf"), tally.buckets, strict=True):
                cumulated += number
                buckets.append((str(bound), cumulated))
            durations.add_metric([upstream, reason.value], buckets, sum_value=tally.total_s)
        for upstream, count in self._traffic.in_flight.items():
            in_flight.add_metric([upstream], count)
        return (requests, durations, in_flight)


class Metrics:
    """One registry with the hot path's metrics and the events; tests and processes make their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # a gauge beside each counter that says when it was made: nobody asked for it
        self.registry = CollectorRegistry()
        self.traffic = Traffic()
        self.registry.register(TrafficCollector(self.traffic))
        self._made: dict[str, Counter | Gauge | Histogram] = {}
        for name, kind, text, labels in EVENT_METRICS:
            if kind is Histogram:
                self._made[name] = Histogram(
                    name, text, labels, buckets=FSYNC_BUCKETS_S, registry=self.registry
                )
            else:
                self._made[name] = kind(name, text, labels, registry=self.registry)

    def gauge(self, name: str) -> Gauge:
        metric = self._made[name]
        assert isinstance(metric, Gauge), name
        return metric

    def counter(self, name: str) -> Counter:
        metric = self._made[name]
        assert isinstance(metric, Counter), name
        return metric

    def histogram(self, name: str) -> Histogram:
        metric = self._made[name]
        assert isinstance(metric, Histogram), name
        return metric


def is_worth_saying(failures: int) -> bool:
    """Of what is tried again and again: the first failure, the tenth, and each hundredth."""
    return failures in (1, 10) or failures % 100 == 0


def make_metrics() -> Metrics:
    """A fresh registry."""
    return Metrics()


def set_up_logging(level: str = "info", stream: TextIO | None = None) -> None:
    """JSON lines on stderr, one a line, with an ISO time in UTC."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
