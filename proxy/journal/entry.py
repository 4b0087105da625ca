"""The life of one entry, as data: intent → outcome → settled (DESIGN section 5).

Everything that moves an entry lives in TRANSITIONS; an absent pair is illegal, and asking for it raises.
The table does not know who asks: the hot path, recovery and the mirror all pass through it.

    intent ──accepted──► accepted ──settled──► settled
       │ ╲                  ▲
       │  ╲──doubtful──► in doubt ──never───► ended
       └──rejected / never sent ────────────► ended

A crash adds nothing: what the journal shows as ``intent`` after one is in doubt, and what it shows as
``accepted`` may or may not have reached the secondary, so it is repaired, never replayed (``is_recovered``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

BASE_NONE = "none"
"""The write created the record (protocol W2)."""

BASE_UNKNOWN = "unknown"
"""The record had no version before the write: the first one after a backfill."""


class EntryState(StrEnum):
    INTENT = "intent"
    """On disk; the primary may or may not have been asked."""
    ACCEPTED = "accepted"
    """The primary has it; the secondary does not, as far as is known."""
    DOUBT = "doubt"
    """The primary was asked and did not say: only it can tell (void)."""
    SETTLED = "settled"
    """The secondary has it, or a later state of its key."""
    ENDED = "ended"
    """The primary never took it."""


class EntryEvent(StrEnum):
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NEVER_SENT = "never-sent"
    DOUBTFUL = "doubtful"
    VOID_DONE = "void-done"
    VOID_NEVER = "void-never"
    SETTLED = "settled"
    GIVEN_UP = "given-up"
    """The primary is dead, and the move goes on without it: settled from the journal, or named as lost."""


TRANSITIONS: dict[EntryState, dict[EntryEvent, EntryState]] = {
    EntryState.INTENT: {
        EntryEvent.ACCEPTED: EntryState.ACCEPTED,
        EntryEvent.REJECTED: EntryState.ENDED,
        EntryEvent.NEVER_SENT: EntryState.ENDED,
        EntryEvent.DOUBTFUL: EntryState.DOUBT,
    },
    EntryState.DOUBT: {
        EntryEvent.VOID_DONE: EntryState.ACCEPTED,
        EntryEvent.VOID_NEVER: EntryState.ENDED,
        EntryEvent.GIVEN_UP: EntryState.ENDED,
    },
    EntryState.ACCEPTED: {
        EntryEvent.SETTLED: EntryState.SETTLED,
        EntryEvent.GIVEN_UP: EntryState.ENDED,
    },
    EntryState.SETTLED: {},
    EntryState.ENDED: {},
}

TERMINAL = frozenset(state for state, events in TRANSITIONS.items() if not events)


class IllegalEventError(Exception):
    """An event that the entry's state does not know: a fault in the proxy, never in its input."""


def after(state: EntryState, event: EntryEvent) -> EntryState:
    """The state that ``event`` leads to; IllegalEventError where the table has none."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalEventError(f"an entry that is {state} cannot be {event}") from None


@dataclass(slots=True)
class Entry:
    """One write under way. ``key`` is None until the primary has named it (a POST to a collection)."""

    seq: int
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    key: str | None
    prefix: str
    born_wall_s: float
    state: EntryState = EntryState.INTENT
    status: int = 0
    version: int | None = None
    base: str = BASE_UNKNOWN
    """A decimal number, BASE_NONE or BASE_UNKNOWN."""
    request_body: bytes | None = None
    answer_body: bytes | None = None
    is_replayable: bool = False
    """False: only a repair may settle it (too large, not JSON, base unknown, found after a crash)."""
    writes: int = 1
    """How many writes this entry stands for: more than one once its key was collapsed to a mark."""
    marks: tuple[str, ...] = ()
    """Prefixes that a write without a key (or with ``affects``) may have changed; once it is accepted they are repaired whole."""
    must_repair: bool = False
    """Never replayed, whatever is known of it: ``mode: state``, or it overlapped another write."""
    can_learn_key: bool = False
    """A POST to a collection: its answer may name the key."""
    kept_bytes: int = 0
    """What the journal keeps of its bodies; they may be absent here, and are read back when needed."""
