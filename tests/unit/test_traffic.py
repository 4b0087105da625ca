"""What the hot path counts."""

from __future__ import annotations

from proxy.model import Reason
from proxy.traffic import DURATION_BUCKETS_S, Traffic


def test_a_duration_is_counted_under_the_first_bound_that_it_does_not_exceed() -> None:
    traffic = Traffic()
    for bound_s in DURATION_BUCKETS_S:
        traffic.add("json", Reason.PRIMARY, "GET", 200, bound_s)
    traffic.add("json", Reason.PRIMARY, "GET", 200, 0.0)
    traffic.add("json", Reason.PRIMARY, "GET", 200, DURATION_BUCKETS_S[-1] + 1)
    [(_, tally)] = traffic.tallies.values()
    assert tally.buckets == [2, *[1] * (len(DURATION_BUCKETS_S) - 1), 1]


def test_upstreams_and_reasons_in_turn_are_counted_apart() -> None:
    traffic = Traffic()
    for _ in range(3):
        traffic.add("json", Reason.PRIMARY, "GET", 200, 0.1)
        traffic.add("json", Reason.STICKY, "GET", 200, 0.1)
        traffic.add("postgres", Reason.STICKY, "GET", 200, 0.1)
    assert [tally.last.number for _, tally in traffic.tallies.values()] == [3, 3, 3]
    assert traffic.by_upstream() == {"json": 6, "postgres": 3}
