"""How much the journal may write, so that its log can always be folded into its database: arithmetic on bytes, no I/O.

The log makes room only once all of it is in the database, and the database has to grow for that first: by its *growth*, the pages
that it has as of its last commit and its file has not yet. Were there no room for that, neither could be made smaller any more, what
is journaled could not be settled, and the mirror would stand still until somebody frees space.

So room is kept for it, the *ballast*: a file that is given back when there is nothing else. No commit makes the growth larger than
the ballast (SQLite keeps to ``pages_max``: such a commit fails whole). Whatever the log, a commit that failed, or somebody else takes
of the disk: with the ballast given back the log can be folded, and what it gives back then (no less than the growth: each page that
the database grows by is in the log) is room for the ballast again. (Only a commit for which ``ROOMY`` reserves are free has no such bound:
somebody else would have to take all of them before the next one, which folds first.)

A fold leaves an empty log, and settling needs some pages of it (rows are deleted, the database does not grow): these are free, or the
ballast's again. And the database never takes what it would never give back: it leaves half the reserve, or a quarter where outcomes without
bodies need the rest, which is enough for new writes once what it holds is settled. Holes in the database's file are not counted; a quarter of the ballast is for them, and for the file system itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PAGE_BYTES: Final = 4096

ROOMY: Final = 8
"""With less than so many times the reserve free, SQLite is told how far it may grow, and every commit goes straight into ``entries``,
from which few bytes are deleted with few. More than any commit needs beside its bodies."""

BODIES: Final = 4
"""A body may lie in the log and in the database, in pages that it does not fill."""

LOG_BYTES_MIN: Final = 16 << 10
"""On a nearly full disk a log is folded that is longer."""


def growth_bytes(pages: int, database_bytes: int) -> int:
    """What the file has to grow by for the pages that the database has as of its last commit."""
    return max(0, pages * PAGE_BYTES - database_bytes)


def must_fold(growth: int, reserve_bytes: int) -> bool:
    """Whether it is time: with the growth that one more commit may bring it stays within the ballast."""
    return growth > reserve_bytes // 2


@dataclass(frozen=True, slots=True)
class Room:
    """A disk as it is now."""

    free_bytes: int
    reserve_bytes: int
    ballast_bytes: int
    """As large as the reserve; 0 while it is not there."""
    database_bytes: int
    """The file, without what its log holds."""
    pages: int
    """Of the database, as of its last commit."""
    log_bytes: int
    """The log's file, with what is of no use in it."""

    @property
    def growth_bytes(self) -> int:
        return growth_bytes(self.pages, self.database_bytes)

    def is_roomy(self, commit_bytes: int) -> bool:
        """Whether a commit with such bodies leaves room to fold the log, whatever it needs beside them."""
        wanted = ROOMY * self.reserve_bytes + BODIES * commit_bytes + self.growth_bytes
        return self.free_bytes >= wanted

    def pages_max(self, *, is_lean: bool = False) -> int:
        """How many pages the database may have after a commit that cannot be sure of its room. ``is_lean``: one without bodies."""
        kept_bytes = self.reserve_bytes // 2
        if is_lean:
            kept_bytes = min(kept_bytes, self.reserve_bytes // 4 + LOG_BYTES_MIN + 2 * PAGE_BYTES)
        folded_bytes = self.free_bytes + self.log_bytes - kept_bytes
        growth = max(0, min(self.ballast_bytes * 3 // 4, folded_bytes))
        return (self.database_bytes + growth) // PAGE_BYTES
