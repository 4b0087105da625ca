"""EvenDice: shares that are exact, not likely."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import BUCKETS
from proxy.routing.dice import EvenDice


@given(st.integers(1, 9999), st.integers(1, 3000))
def test_after_any_number_of_requests_the_share_is_within_one(weight_bp: int, requests: int) -> None:
    dice = EvenDice()
    taken = sum(dice.take(0, weight_bp) for _ in range(requests))
    assert abs(taken * 10_000 - requests * weight_bp) < 10_000


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 200)), max_size=20))
def test_the_share_is_within_one_also_when_the_weight_changes(changes: list[tuple[int, int]]) -> None:
    dice = EvenDice()
    taken = sum(dice.take(0, weight) for weight, requests in changes for _ in range(requests))
    assert abs(taken * 10_000 - sum(weight * requests for weight, requests in changes)) < 10_000


def test_sequences_do_not_disturb_each_other() -> None:
    alone, mixed = EvenDice(), EvenDice()
    wanted = [alone.take(0, 3300) for _ in range(300)]
    found: list[bool] = []
    for turn in range(300):
        found.append(mixed.take(0, 3300))
        mixed.take(1, 100 + turn)
    assert found == wanted


def test_ten_thousand_new_clients_get_every_bucket_once() -> None:
    dice = EvenDice(first_turn=777)
    assert sorted(dice.new_bucket() for _ in range(BUCKETS)) == list(range(BUCKETS))


@given(st.integers(0, BUCKETS - 1), st.integers(0, 100))
def test_of_any_hundred_new_clients_a_weight_takes_exactly_its_percent(first_turn: int, percent: int) -> None:
    dice = EvenDice(first_turn)
    assert sum(dice.new_bucket() < percent * 100 for _ in range(100)) == percent


@pytest.mark.parametrize("percent", [10, 20, 50])
def test_of_any_ten_new_clients_a_weight_takes_its_tenth(percent: int) -> None:
    dice = EvenDice()
    buckets = [dice.new_bucket() for _ in range(1000)]
    tens = [sum(bucket < percent * 100 for bucket in buckets[at : at + 10]) for at in range(990)]
    assert set(tens) == {percent // 10}
