"""A journal on a disk that fills can always fold its log, and settle: proxy/journal/room.py, against SQLite's ways with its files."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from proxy.journal.room import LOG_BYTES_MIN, PAGE_BYTES, Room, must_fold

FRAME_BYTES = PAGE_BYTES + 24


@dataclass
class Disk:
    """What a journal has of it, as SQLite and the journal's writer take and give it."""

    free: int
    reserve: int
    pages: int
    ballast: int = 0
    database: int = field(init=False)
    log: int = 0
    frames: int = 0
    was_roomy: bool = False
    """The last commit was one without a limit."""

    def __post_init__(self) -> None:
        self.database = self.pages * PAGE_BYTES
        self.free -= self.database + self.reserve
        self.ballast = self.reserve

    def room(self) -> Room:
        return Room(self.free, self.reserve, self.ballast, self.database, self.pages, self.log)

    def commit(self, new: int, changed: int, body_bytes: int, *, is_lean: bool = False) -> bool:
        """One that fails leaves what it had written behind it in the log's file."""
        room = self.room()
        self.was_roomy = room.is_roomy(body_bytes)
        pages_max = 1 << 30 if self.was_roomy else max(self.pages, room.pages_max(is_lean=is_lean))
        if self.pages + new > pages_max:
            return False
        end = (self.frames + new + changed) * FRAME_BYTES
        takes = max(0, end - self.log)
        self.log += min(takes, self.free)
        self.free -= min(takes, self.free)
        if self.log < end:
            return False
        self.frames += new + changed
        self.pages += new
        return True

    def fold(self) -> bool:
        growth = self.room().growth_bytes
        if self.frames and growth > self.free:
            self.free += self.ballast
            self.ballast = 0
        if growth > self.free:
            return False
        self.free += self.log - growth
        self.database += growth
        self.log = self.frames = 0
        if self.free >= self.reserve and not self.ballast:
            self.free -= self.reserve
            self.ballast = self.reserve
        return True


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("commit"),
            st.integers(0, 1 << 14),
            st.integers(0, 1 << 14),
            st.integers(0, 8000 * PAGE_BYTES),
        ),
        st.tuples(st.just("others"), st.integers(0, 1 << 24), st.just(0), st.just(0)),
        st.tuples(st.just("fold"), st.just(0), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@given(st.integers(1 << 18, 1 << 25), steps)
def test_p3_whatever_is_written_and_whatever_others_take_the_log_can_be_folded(
    disk_bytes: int, steps: list[tuple[str, int, int, int]]
) -> None:
    disk = Disk(free=disk_bytes, reserve=disk_bytes // 10, pages=12)
    for what, one, other, body_bytes in steps:
        if what == "commit":
            if must_fold(disk.room().growth_bytes, disk.reserve):
                assert disk.fold()
            # what a commit needs beside its bodies is bounded by the reserve
            new = min(one, (disk.reserve + body_bytes) // PAGE_BYTES)
            changed = min(other, (disk.reserve + body_bytes) // PAGE_BYTES)
            disk.commit(new, changed, body_bytes)
        elif what == "others":  # all there is, for good
            if disk.was_roomy and must_fold(disk.room().growth_bytes, disk.reserve):
                assert disk.fold()  # eight reserves were free: nobody takes them all before the next commit
            disk.free -= min(disk.free, one)
        else:
            assert disk.fold()
        room = disk.room()
        assert room.ballast_bytes == disk.reserve, "it is laid in again after each fold"
        assert room.growth_bytes <= room.free_bytes + room.ballast_bytes, "there is room to fold"


@given(st.integers(1 << 18, 1 << 21), st.integers(1, 6), st.integers(0, 3), st.booleans())
def test_p3_the_database_never_takes_what_new_writes_need_once_all_is_settled(
    disk_bytes: int, new: int, changed: int, is_lean: bool
) -> None:
    disk = Disk(free=disk_bytes, reserve=disk_bytes // 10, pages=12)
    in_a_row = 0
    while in_a_row < 2:
        has_failed = not disk.commit(new, changed, 0, is_lean=is_lean)
        in_a_row = in_a_row + 1 if has_failed else 0
        if has_failed:
            assert disk.fold()
    kept = disk.reserve // 2
    if is_lean:
        kept = min(kept, disk.reserve // 4 + LOG_BYTES_MIN + 2 * PAGE_BYTES)
    assert disk.free >= kept


def test_on_a_disk_with_much_room_nothing_is_folded_early_and_the_database_may_grow() -> None:
    room = Room(1 << 30, 8 << 20, 8 << 20, 1 << 20, 1 << 10, 16 << 20)
    assert room.is_roomy(16 << 20)
    assert not must_fold(room.growth_bytes, room.reserve_bytes)
