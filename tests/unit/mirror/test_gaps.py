"""Which gap marks a validation clears."""

from proxy.journal.store import GapMark
from proxy.mirror.gaps import Gaps


def test_a_mark_made_after_a_validation_began_stays_although_the_clock_was_set_back_since() -> None:
    gaps = Gaps([GapMark(1, "", 1000.0, "first start")])
    last_id = 1  # a validation begins, at 1000 s; then the clock goes back by 100 s
    gaps.add(GapMark(2, "/api/orders", 905.0, "a write whose route is not mirrored"))
    assert [mark.id for mark in gaps.clear_upto(last_id)] == [1]
    assert [mark.id for mark in gaps.marks] == [2]


def test_a_mark_that_is_not_on_disk_yet_is_never_cleared() -> None:
    gaps = Gaps([GapMark(0, "/api/orders", 1.0, "being written")])
    assert gaps.clear_upto(7) == []
    assert len(gaps.marks) == 1


def test_a_write_beside_a_validation_is_marked_anew_since_the_mark_before_it_may_be_cleared() -> None:
    gaps = Gaps([GapMark(1, "", 1.0, "first start")])
    assert gaps.has("/legacy")
    gaps.validation_begins(1)  # it may have passed /legacy already
    assert not gaps.has("/legacy")
    gaps.add(GapMark(2, "/legacy", 2.0, "a write whose route is not mirrored"))
    assert gaps.has("/legacy")
    gaps.clear_upto(1)
    assert gaps.is_unproven("/legacy", None)


def test_a_mark_that_is_not_on_disk_yet_lets_no_other_write_pass() -> None:
    gaps = Gaps([GapMark(0, "/legacy", 1.0, "being written")])
    assert not gaps.has("/legacy")
    assert gaps.is_unproven("/legacy", None), "its readers wait all the same"
