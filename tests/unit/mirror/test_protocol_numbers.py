"""Turnout-Version as an upstream says it: numbers that nobody could keep are no numbers."""

import pytest

from proxy.protocol import NUMBER_MAX, ReadVersion, WriteVersion, parse_read_version, parse_write_version


def test_the_largest_number_of_63_bits_is_one() -> None:
    assert parse_write_version(f"{NUMBER_MAX}; base=none") == WriteVersion(NUMBER_MAX, "none")
    assert parse_read_version(f"none; at={NUMBER_MAX}") == ReadVersion(None, NUMBER_MAX)


@pytest.mark.parametrize(
    "text", [f"{NUMBER_MAX + 1}; base=none", f"3; base={NUMBER_MAX + 1}", "9999999999999999999; base=1"]
)
def test_a_larger_one_is_malformed_so_that_the_write_is_repaired_and_the_journal_goes_on(text: str) -> None:
    assert parse_write_version(text) is None


@pytest.mark.parametrize("text", [f"{NUMBER_MAX + 1}; at=1", f"1; at={NUMBER_MAX + 1}"])
def test_a_read_with_a_larger_one_says_nothing(text: str) -> None:
    assert parse_read_version(text) is None
