"""The simulation fails on each planted fault within 2,000 seeds; without one it fails on none (test_simulation)."""

from __future__ import annotations

import pytest

from tests.simulation.mutations import MUTATIONS, Mutation
from tests.simulation.test_simulation import SEEDS
from tests.simulation.world import run_seed


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_simulation_fails_where(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation.plant(monkeypatch)
    seeds = [*([] if mutation.seed is None else [mutation.seed]), *range(SEEDS)]
    caught = next((seed for seed in seeds if run_seed(seed).faults), None)
    assert caught is not None, f"{mutation.name}: planted, and not caught by {SEEDS} seeds"


def test_at_least_twelve_faults_are_planted() -> None:
    assert len(MUTATIONS) >= 12
