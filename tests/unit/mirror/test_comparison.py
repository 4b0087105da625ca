"""When a plain upstream's list counts as whole, and what a comparison says."""

import pytest

from proxy.mirror.comparison import Collection, Findings, UnprovedError, checked
from proxy.mirror.listing import Listed


def listed(*ids: str, rows: int | None = None, total: int | None = None, pages: int = 1) -> Listed:
    return Listed(dict.fromkeys(ids), pages, len(ids) if rows is None else rows, total)


def test_a_list_is_whole_where_nothing_says_otherwise() -> None:
    assert checked(listed("1", "2"), "old", "/items") == ("1", "2")
    assert checked(listed("1", "2", total=2), "old", "/items") == ("1", "2")


def test_a_path_that_is_not_there_is_none() -> None:
    assert checked(Listed(None, 1, status=404), "old", "/items") is None


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (Listed(None, 1, status=200), "is no list"),
        (Listed(None, 2, status=404), "is no list"),
        (listed("1", rows=2), "an id twice"),
        (listed("1", total=50), "X-Total-Count: 50"),
        (listed("a/b"), "a slash"),
    ],
)
def test_whole_list_what_cannot_be_taken_for_whole_is_not_proved(what: Listed, words: str) -> None:
    with pytest.raises(UnprovedError, match=words):
        checked(what, "old", "/items")


def test_equal_is_said_only_where_each_collection_was_compared_whole_and_none_differs() -> None:
    def of(*collections: Collection) -> object:
        return Findings(list(collections)).report()["equal"]

    fine = Collection("/a", is_single=False, compared=3)
    assert of(fine) is True
    assert of(fine, Collection("/b", is_single=False, different=1)) is False
    assert of(fine, Collection("/b", is_single=False, not_looked_at=1)) is False
    assert of(fine, Collection("/b", is_single=False, why="it is no list")) is False


def test_what_was_not_proved_is_named_with_why() -> None:
    report = Findings([Collection("/b", is_single=False, why="it is no list")]).report()
    assert report["not_proved"] == [{"collection": "/b", "why": "it is no list"}]
