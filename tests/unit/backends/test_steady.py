"""Wall time that does not jump within one process."""

from backends.steady import SteadyWall


def test_it_goes_on_as_time_passes_whatever_the_clock_is_set_to() -> None:
    clock = {"wall": 1_000_000.0, "elapsed": 50.0}
    steady = SteadyWall(lambda: clock["wall"], lambda: clock["elapsed"])
    assert steady() == 1_000_000.0
    clock["wall"] += 3 * 86400
    clock["elapsed"] += 2.5
    assert steady() == 1_000_002.5
    clock["wall"] = 0.0
    assert steady() == 1_000_002.5
    assert SteadyWall(lambda: clock["wall"], lambda: clock["elapsed"])() == 0.0, (
        "a new start believes the clock"
    )
