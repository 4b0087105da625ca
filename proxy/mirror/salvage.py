"""Without the primary: which state of a key the journal still holds, and what of it is lost (DESIGN section 5, "Primary dead").

Pure. Rules, by the names that docs/mirror.md uses: **salvage** (of the accepted entries of one key the one with the highest version is
the newest state that the primary showed; where the journal holds that record, a repair with that version brings it over: a true
state of the primary, so the rules of repair hold), **named-or-nothing** (where it does not, or where a write is in doubt, the
key is named, and counted), **learns-later** (the old primary is told the epoch when it returns, before anything else).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from proxy.journal.entry import Entry, EntryState
from proxy.model import segment_of_key
from proxy.protocol import ReadVersion, repair_version


@dataclass(frozen=True, slots=True)
class Kept:
    """A state of a key that the journal holds: the record, or None where it was deleted."""

    seq: int
    version: int
    body: bytes | None

    @property
    def turnout_version(self) -> str:
        """For M2: known to be as new as its own version, no newer."""
        return repair_version(ReadVersion(self.version, self.version))


@dataclass(frozen=True, slots=True)
class Salvage:
    """What can be done for one key without the primary."""

    key: str
    kept: Kept | None
    """The newest state that the journal holds; it is brought over also where a newer one is lost."""
    why_lost: str
    """Empty: nothing is lost with ``kept``."""


class _Record(msgspec.Struct):
    id: object = None


def salvage_of(key: str, entries: Iterable[Entry], answers: Mapping[int, bytes | None]) -> Salvage:
    """``entries`` are all unsettled ones of the key, ``answers`` the primary's answers as the journal holds them, by seq."""
    all_of = list(entries)
    accepted = sorted(
        (entry for entry in all_of if entry.state is EntryState.ACCEPTED),
        key=lambda entry: (entry.version or 0, entry.seq),
        reverse=True,
    )
    doubts = [entry for entry in all_of if entry.state is not EntryState.ACCEPTED]
    kept = next((found for entry in accepted if (found := kept_of(key, entry, answers.get(entry.seq)))), None)
    if accepted and (kept is None or kept.seq != accepted[0].seq):
        why = "an acknowledged write, of which the journal no longer holds the record"
    elif doubts:
        why = f"{doubts[0].method} in doubt: whether it took effect is not known"
    else:
        why = ""
    return Salvage(key, kept, why)


def kept_of(key: str, entry: Entry, answer: bytes | None) -> Kept | None:
    """The state after one accepted write; None where the journal cannot tell it."""
    if entry.version is None or not 200 <= entry.status < 300:
        return None
    if entry.method == "DELETE":
        return Kept(entry.seq, entry.version, None)
    if entry.method not in ("POST", "PUT", "PATCH") or not answer:
        return None
    try:
        record = msgspec.json.decode(answer, type=_Record)
    except msgspec.MsgspecError:
        return None
    # An item answers with its own id; a singleton (one segment below its prefix's parent) has none to compare.
    is_item = entry.prefix != key
    if is_item and _text(record.id) != segment_of_key(key.rpartition("/")[2]):
        return None
    return Kept(entry.seq, entry.version, answer)


def counters_of(keys: Iterable[str]) -> dict[str, int]:
    """The highest integer id that the keys show, by collection (protocol E2): no id is given twice, as far as the journal knows."""
    found: dict[str, int] = {}
    for key in keys:
        above, _, last = key.rpartition("/")
        collection = above.rpartition("/")[2]
        if collection and last.isascii() and last.isdigit() and len(last) <= 18:
            found[collection] = max(found.get(collection, 0), int(last))
    return found


def _text(value: object) -> str | None:
    """An id as the contract compares it: text as it is, an integer in decimal."""
    if isinstance(value, bool):
        return None
    return str(value) if isinstance(value, int | str) else None
