"""Rates over a sliding window, and when the catching up will be over."""

from proxy.mirror.meter import WINDOW_S, Meter, expected_end_s


def test_a_steady_rate_is_told_as_it_is() -> None:
    meter = Meter()
    for tick in range(100):
        meter.add(tick * 0.1, 5)
    assert 45 <= meter.per_second(10.0) <= 55


def test_what_is_older_than_the_window_is_forgotten() -> None:
    meter = Meter()
    meter.add(0.0, 1000)
    assert meter.per_second(WINDOW_S + 1) == 0.0


def test_the_end_is_known_only_while_the_lag_shrinks() -> None:
    assert expected_end_s(0, 0.0, 5.0) == 0.0
    assert expected_end_s(100, 30.0, 10.0) == 5.0
    assert expected_end_s(100, 10.0, 10.0) is None
