"""Addresses, percentages and durations as people type them."""

from __future__ import annotations

import pytest
import typer

from proxy.cli.arguments import ANY_HOST, LOOPBACK, address, percent, seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:3000", ("127.0.0.1", 3000)),
        (":3000", ("0.0.0.0", 3000)),
        ("3000", ("0.0.0.0", 3000)),
        ("[::1]:3000", ("::1", 3000)),
        ("shop.example:0", ("shop.example", 0)),
    ],
)
def test_an_address_without_a_host_means_every_interface(text: str, expected: tuple[str, int]) -> None:
    assert address(text, no_host=ANY_HOST) == expected


def test_an_admin_address_without_a_host_stays_on_loopback() -> None:
    assert address(":3001", no_host=LOOPBACK) == ("127.0.0.1", 3001)


@pytest.mark.parametrize("text", ["", "localhost", "localhost:", ":65536", ":-1", ":٣", "::1:3000", "a:b"])
def test_what_is_no_address_is_wrong_use(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        address(text, no_host=ANY_HOST)


@pytest.mark.parametrize(
    ("text", "expected"), [("0", 0), ("10", 10), ("0.25", 0.25), ("12.5%", 12.5), ("100", 100)]
)
def test_a_percentage_has_at_most_two_decimals(text: str, expected: float) -> None:
    assert percent(text) == expected


@pytest.mark.parametrize("text", ["", "ten", "101", "-1", "0.001", "nan", "inf", "1e999", "10 %%"])
def test_what_is_no_percentage_is_wrong_use(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        percent(text)


@pytest.mark.parametrize(("text", "expected"), [("30s", 30), ("500ms", 0.5), ("1m", 60)])
def test_a_duration_has_a_unit(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "1d"])
def test_what_is_no_duration_is_wrong_use(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        seconds(text)
