"""What a watch has seen written since a moment."""

from proxy.journal.entry import Entry
from proxy.mirror.comparison import is_quiet
from proxy.mirror.lanes import Lanes
from proxy.mirror.watch import Watch


def entry(seq: int, key: str | None, prefix: str = "/items", **more: object) -> Entry:
    return Entry(seq, "PUT", key or prefix, (), key, prefix, 0.0, **more)  # pyright: ignore[reportArgumentType]


def test_a_write_touches_its_key_from_the_moment_before_it_and_no_other() -> None:
    watch = Watch(is_on=True)
    before = watch.count
    watch.begun(entry(1, "/items/1"))
    assert watch.has_touched("/items/1", before)
    assert not watch.has_touched("/items/1", watch.count)
    assert not watch.has_touched("/items/11", before)


def test_nothing_is_kept_while_nobody_compares() -> None:
    watch = Watch()
    watch.begun(entry(1, "/items/1"))
    watch.learned("/items/1")
    assert (watch.count, watch.has_touched("/items/1", 0), watch.has_touched_under("/items", 0)) == (
        0,
        False,
        False,
    )


def test_a_mark_touches_every_key_under_it() -> None:
    watch = Watch(is_on=True)
    watch.begun(entry(1, None, marks=("/items",)))
    assert watch.has_touched("/items/1", 0)
    assert not watch.has_touched("/itemsmore/1", 0)


def test_a_post_touches_a_key_only_once_it_is_learned_and_the_list_at_once() -> None:
    watch = Watch(is_on=True)
    post = entry(1, None, can_learn_key=True)
    watch.begun(post)
    assert not watch.has_touched("/items/1", 0)
    assert watch.has_touched_under("/items", 0)
    since = watch.count
    watch.learned("/items/1")
    assert watch.has_touched("/items/1", since)


def test_a_write_that_names_nothing_touches_all_under_its_place() -> None:
    watch = Watch(is_on=True)
    watch.begun(entry(1, None, prefix="/rpc"))
    assert watch.has_touched("/rpc/1", 0)


def test_a_list_is_touched_by_what_lies_under_it_or_over_it_and_by_no_neighbour() -> None:
    watch = Watch(is_on=True)
    watch.begun(entry(1, "/items/1"))
    assert watch.has_touched_under("/items", 0)
    assert not watch.has_touched_under("/others", 0)
    watch.begun(entry(2, None, prefix="", marks=("",)))
    assert watch.has_touched_under("/others", 0)


def test_the_lanes_tell_the_watch_of_each_write_and_of_what_is_learned_later() -> None:
    lanes = Lanes()
    watch = lanes.watch = Watch(is_on=True)
    post = entry(1, None, can_learn_key=True)
    lanes.intent(post)
    assert watch.has_touched_under("/items", 0)
    since = watch.count
    post.key, post.request_body, post.answer_body = "/items/7", b"{}", b"{}"
    lanes.accepted(1)
    assert watch.has_touched("/items/7", since)
    since = watch.count
    lanes.intent(entry(2, None))
    lanes.add_mark(2, "/others")
    assert watch.has_touched("/others/1", since)


def test_a_path_is_quiet_while_nothing_under_it_is_unsettled() -> None:
    lanes = Lanes()
    assert is_quiet(lanes, "/items")
    lanes.intent(entry(1, "/items/1"))
    assert not is_quiet(lanes, "/items")
    assert is_quiet(lanes, "/others")
    lanes.intent(entry(2, None, prefix="", marks=("",)))
    assert not is_quiet(lanes, "/others"), "a mark lies over it"
