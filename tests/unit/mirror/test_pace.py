"""Catching up goes as fast as the primary stays quick."""

from proxy.limits import MIRROR_LANES_AT_ONCE_MAX, MIRROR_LANES_AT_ONCE_MIN
from proxy.mirror.pace import Pace


def test_a_primary_that_stays_quick_is_asked_by_as_many_lanes_as_there_may_be() -> None:
    pace = Pace()
    for _ in range(500):
        pace.seen(0.002)
    assert pace.at_once == MIRROR_LANES_AT_ONCE_MAX


def test_one_slow_read_costs_little_and_many_in_a_row_leave_the_least() -> None:
    pace = Pace()
    pace.seen(0.002)
    pace.seen(0.5)
    assert pace.at_once == int(MIRROR_LANES_AT_ONCE_MAX * 0.7)
    for _ in range(200):
        pace.seen(0.5)
    assert pace.at_once == MIRROR_LANES_AT_ONCE_MIN


def test_it_recovers_when_the_primary_does() -> None:
    pace = Pace()
    for _ in range(100):
        pace.seen(0.002)
    for _ in range(100):
        pace.seen(0.5)
    for _ in range(2000):
        pace.seen(0.002)
    assert pace.at_once == MIRROR_LANES_AT_ONCE_MAX


def test_reads_that_were_under_way_at_a_change_do_not_change_it_again() -> None:
    pace = Pace()
    pace.seen(0.002)
    for _ in range(10):
        pace.seen(0.5)
    assert pace.at_once == int(MIRROR_LANES_AT_ONCE_MAX * 0.7)
