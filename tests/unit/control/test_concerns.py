"""What needs a person is told once when it begins, and once when it is over."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.control.concerns import DAY_S, Concerns, Facts, Level, Room, RoomLevel, room_level

MIB = 1 << 20
WIDE = Room(free_bytes=10_000 * MIB, reserve_bytes=8 * MIB, disk_bytes=20_000 * MIB, folder="state")
QUIET = Facts(
    room=WIDE, body_bytes=0, body_bytes_max=256 * MIB, in_doubt=0, in_doubt_s=None, fence_reason="", fenced_s=None,
    primary="json", primary_away_s=None, certificate="", certificate_left_s=None,
)  # fmt: skip


def told(concerns: Concerns, facts: Facts) -> list[tuple[str, str]]:
    return [(str(line.level), line.event) for line in concerns.news(facts)]


def with_free(free_mib: float) -> Facts:
    return replace(QUIET, room=replace(WIDE, free_bytes=int(free_mib * MIB)))


def test_a_quiet_process_says_nothing():
    concerns = Concerns()
    assert [told(concerns, QUIET) for _ in range(3)] == [[], [], []]


def test_a_disk_that_fills_is_told_at_each_bound_and_once():
    concerns = Concerns()
    said = [told(concerns, with_free(mib)) for mib in (200, 127, 126, 33, 31, 30, 9, 7.9, 1, 0)]
    assert said == [
        [],
        [("warning", "journal_nearly_full")],
        [],
        [],
        [("error", "journal_nearly_full")],
        [],
        [],
        [("error", "journal_full")],
        [],
        [],
    ]


def test_a_disk_that_fills_at_once_is_told_at_its_worst():
    (line,) = Concerns().news(with_free(0))
    assert (line.level, line.event) == (Level.ERROR, "journal_full")
    assert line.told["free_bytes"] == 0
    assert line.told["stops_below_bytes"] == 8 * MIB
    assert "free space" in str(line.told["next"])


def test_room_is_told_again_only_clearly_above_a_bound():
    concerns = Concerns()
    said = [told(concerns, with_free(mib)) for mib in (127, 129, 127, 159, 161, 127)]
    assert said == [
        [("warning", "journal_nearly_full")],
        [],
        [],
        [],
        [("info", "journal_has_room")],
        [("warning", "journal_nearly_full")],
    ]


def test_a_small_disk_has_bounds_of_its_own_size():
    small = Room(free_bytes=MIB, reserve_bytes=MIB // 10, disk_bytes=MIB, folder="state")
    levels = [
        room_level(replace(small, free_bytes=int(MIB * share)), RoomLevel.ENOUGH)
        for share in (1.0, 0.26, 0.24, 0.16, 0.09)
    ]
    assert levels == [
        RoomLevel.ENOUGH,
        RoomLevel.ENOUGH,
        RoomLevel.LOW,
        RoomLevel.VERY_LOW,
        RoomLevel.FULL,
    ]


@given(st.integers(0, 300 * MIB), st.sampled_from(RoomLevel))
def test_whatever_was_before_room_is_never_thought_better_than_it_is(free: int, was: RoomLevel):
    room = replace(WIDE, free_bytes=free)
    truth = room_level(room, RoomLevel.ENOUGH)
    assert truth <= room_level(room, was) <= max(truth, was)


def test_bodies_are_told_before_records_must_go():
    concerns = Concerns()
    said = [
        told(concerns, replace(QUIET, body_bytes=int(256 * MIB * share)))
        for share in (0.79, 0.81, 0.7, 0.9, 0.5, 0.85)
    ]
    once = [("warning", "journal_bodies_nearly_full")]
    assert said == [[], once, [], [], [], once]


@pytest.mark.parametrize(
    ("field", "least_s", "begins", "ends"),
    [
        ("primary_away_s", 1.0, "primary_away", "primary_back"),
        ("fenced_s", 5.0, "fence_stuck", "fence_open"),
        ("in_doubt_s", 10.0, "in_doubt", "in_doubt_over"),
    ],
)
def test_what_lasts_is_told_when_it_has_lasted_and_when_it_is_over(
    field: str, least_s: float, begins: str, ends: str
):
    concerns = Concerns()
    facts = replace(QUIET, in_doubt=1)
    lasting = [0.0, least_s - 0.1, least_s, least_s + 1, least_s + 1000]
    said = [told(concerns, replace(facts, **{field: s})) for s in lasting]
    assert said == [[], [], [("error", begins)], [], []]
    assert told(concerns, QUIET) == [("info", ends)]
    assert told(concerns, QUIET) == []
    # What is over before anybody was told is never told.
    assert told(concerns, replace(facts, **{field: least_s / 2})) == []
    assert told(concerns, QUIET) == []


def test_a_certificate_is_told_once_for_each_bound_and_anew_after_a_renewal():
    concerns = Concerns()

    def with_days(days: float, file: str = "a.pem") -> list[tuple[str, str]]:
        return told(concerns, replace(QUIET, certificate=file, certificate_left_s=days * DAY_S))

    warning, error = [("warning", "certificate_expires")], [("error", "certificate_expires")]
    assert [with_days(days) for days in (31, 29, 28, 13, 13, 2.9, 0.9, 0.8, -0.1, -1)] == [
        [], warning, [], warning, [], warning, error, [], error, [],
    ]  # fmt: skip
    assert with_days(90) == []
    assert with_days(20) == warning
    assert with_days(20, "b.pem") == warning
