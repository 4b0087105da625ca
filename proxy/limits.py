"""Every bound that is not a setting, with its unit, and how they relate."""

from __future__ import annotations

from typing import Final

KEPT_BODY_BYTES_MAX: Final = 1 << 20
"""A mirrored body up to this is kept beside the stream; a larger one settles by repair (DESIGN section 5)."""

KEPT_ANSWER_BYTES_MAX: Final = 1 << 20
"""A mirrored answer is held up to this until its outcome is durable; a larger one streams after its head."""

BUFFER_HIGH_BYTES: Final = 256 << 10
"""A side that has this much unsent stops the other side's reading; it goes on below BUFFER_LOW_BYTES."""

BUFFER_LOW_BYTES: Final = 64 << 10

HEAD_BYTES_DEFAULT: Final = 64 << 10
HEAD_COUNT_DEFAULT: Final = 200

POOL_IDLE_PER_ENDPOINT_MAX: Final = 256
POOL_IDLE_S_MAX: Final = 30.0
"""Idle connections to an upstream are not used when older: below every common keep-alive timeout."""

HELD_WRITES_MAX: Final = 10_000
"""Writes waiting at a fence; one more gets 503 with Retry-After."""

PIPELINED_BYTES_MAX: Final = 256 << 10
"""Bytes of pipelined requests kept while one is being answered; then reading stops."""

JOURNAL_BODIES_BYTES_MAX: Final = 256 << 20
"""Bodies kept for unsettled entries; beyond it a key's entries collapse to one mark (``journal.bodies_max``)."""

JOURNAL_BATCH_MAX: Final = 512
JOURNAL_RESERVE_BYTES: Final = 8 << 20
"""Free space on the journal's disk below which no new intent is taken; outcomes and settling may use it."""

MIRROR_REQUEST_TIMEOUT_S: Final = 10.0
MIRROR_LANES_AT_ONCE_MAX: Final = 32
MIRROR_LANES_AT_ONCE_MIN: Final = 2
"""While the primary is loaded, so few keys are caught up at once (mirror/pace.py)."""
MIRROR_ENTRIES_IN_MEMORY_MAX: Final = 20_000
"""With more unsettled entries than this every key's waiting ones become one mark: what a process holds is bounded by its keys."""
MIRROR_BACKOFF_S_MIN: Final = 0.05
MIRROR_BACKOFF_S_MAX: Final = 2.0
MIRROR_REPLAYS_PER_LANE_MAX: Final = 16
"""A key with more unsettled entries than this is repaired once instead of replayed one by one."""

MIRROR_SWEEP_KEYS_AT_ONCE_MAX: Final = 32
"""Keys that a write without a key has under repair at once."""

MIRROR_LISTING_KEYS_MAX: Final = 10_000_000
"""Keys under one prefix; beyond it the prefix is left to a gap mark and a validation."""

MIRROR_LISTING_PAGES_MAX: Final = 100_000
MIRROR_LISTING_TIMEOUT_S: Final = 60.0
"""Of one request of a listing: a versioned upstream reads a whole collection for it."""

MIRROR_SAME_DIFFERENCE_MAX: Final = 3
"""Repairs of a key at a plain secondary that were taken and left the same difference; then it is a dead letter."""

MIRROR_BODIES_IN_MEMORY_BYTES_MAX: Final = 32 << 20
"""Bodies of unsettled entries kept in memory; beyond it they are read back from the journal."""

DEAD_ANSWER_BYTES_MAX: Final = 64 << 10
"""What is kept of the secondary's answer to a repair that it refused."""

REGEX_VALUE_CHARS_MAX: Final = 4096
"""A header, cookie or query value longer than this matches no regex of a canary rule."""

SETTINGS_BYTES_MAX: Final = 256 << 10
"""A routing.yaml larger than this is refused: it is read whole, on the event loop's machine, at each change."""

EPOCH_SHIFT: Final = 40

SHUTDOWN_S_MAX: Final = 10.0

HEADER_SETS_KEPT_MAX: Final = 128
"""Clients say the same headers again and again: what is made of them for a mirrored write is kept for so many."""

YOUNG_OBJECTS_MAX: Final = 50_000
"""So many more objects made than freed before the collector looks for cycles among them: above all that is under way at once."""

assert BUFFER_LOW_BYTES < BUFFER_HIGH_BYTES
assert KEPT_BODY_BYTES_MAX >= BUFFER_HIGH_BYTES, (
    "a kept body must be able to hold what back-pressure lets through"
)
assert MIRROR_BACKOFF_S_MIN < MIRROR_BACKOFF_S_MAX < MIRROR_REQUEST_TIMEOUT_S
