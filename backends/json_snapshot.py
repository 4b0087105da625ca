"""The state file, ``data.json.state``: all that the store knows, bodies included, up to the end of one journal segment.

Recovery is this file and the segments after it; data.json is never the source of numbers. Written whole by temp, fsync and rename.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backends.errors import StartError
from backends.failpoints import hit
from backends.json_entries import Changed, Decided, Entry, Exported, pack
from backends.json_frames import DamageError, frame, frames
from backends.json_journal import known_entries, removed_on_failure, sync_folder
from backends.json_state import Collection, Memory
from backends.store import Role

_FRAME_BYTES = 1 << 20
_END = b"end"


def write_state(path: Path, memory: Memory, segment: int) -> int:
    """Write ``memory`` (a copy that nobody changes) as what holds up to the end of ``segment``; the file's size. Blocks; OSError where it cannot."""
    fresh = path.with_name(path.name + ".tmp")
    with removed_on_failure(fresh), fresh.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        for place, payload in enumerate(_payloads(memory, segment)):
            file.write(frame(place, payload))
        file.flush()
        os.fsync(file.fileno())
        size = file.tell()
    hit("state-staged")
    fresh.rename(path)
    sync_folder(path.parent)
    hit("state-installed")
    return size


def read_state(path: Path) -> tuple[Memory, int]:
    """The memory and the segment that it covers. StartError where the file is not whole."""
    try:
        payloads = _whole_payloads(path.read_bytes())
    except DamageError as damage:
        raise StartError(
            f"{path} is damaged at byte {damage.offset}.",
            "Nothing was changed. Put back a good copy of it and of the files beside it; or, to go on with what data.json "
            "holds alone, move it and the .journal files beside it away, start, and repair from the other upstream.",
        ) from None
    head: dict[str, Any] = json.loads(payloads[0])
    if head.get("turnout_state") != 1:
        raise StartError(f"{path} was written by another version of this server.")
    memory = Memory()
    for payload in payloads[1:-1]:
        for entry in known_entries(path, payload):
            memory.apply(entry)
    _restore(memory, head)
    return memory, int(head["segment"])


def _whole_payloads(data: bytes) -> list[bytes]:
    payloads = [part.payload for part in frames(data)]
    if len(payloads) < 2 or payloads[-1] != _END:
        raise DamageError(0)
    return payloads


def _restore(memory: Memory, head: dict[str, Any]) -> None:
    """The facts that no entry of a record says."""
    memory.names = dict(head["names"])
    for name, is_singleton in memory.names.items():
        if not is_singleton:
            memory.collections.setdefault(name, Collection())
    for name, floor in head["floors"].items():
        memory.collections.setdefault(name, Collection()).floor = floor
    memory.counters = dict(head["counters"])
    memory.number, memory.changes = head["number"], head["changes"]
    memory.epoch, memory.role, memory.journal = head["epoch"], Role(head["role"]), head["journal"]
    memory.lowest_open = head["lowest_open"]
    memory.exports = [Exported(*facts) for facts in head["exports"]]


def _payloads(memory: Memory, segment: int) -> Iterator[bytes]:
    head = {
        "turnout_state": 1,
        "segment": segment,
        "names": list(memory.names.items()),
        "floors": {
            name: collection.floor for name, collection in memory.collections.items() if collection.floor
        },
        "counters": memory.counters,
        "number": memory.number,
        "changes": memory.changes,
        "epoch": memory.epoch,
        "role": memory.role,
        "journal": memory.journal,
        "lowest_open": memory.lowest_open,
        "exports": [(export.digest, export.changes, export.is_installed) for export in memory.exports],
    }
    yield json.dumps(head).encode()
    waiting: list[Entry] = []
    size = 0
    for entry in _entries(memory):
        waiting.append(entry)
        size += 128 + (len(entry.body or b"") if isinstance(entry, Changed) else 0)
        if size >= _FRAME_BYTES:
            yield pack(waiting)
            waiting, size = [], 0
    yield pack(waiting)
    yield _END


def _entries(memory: Memory) -> Iterator[Entry]:
    for name, record_id, state in memory.records():
        yield Changed(name, record_id, state.body, state.version, state.at, 0)
    for request, done in memory.requests.items():
        yield Decided(request, 0, done)
    yield from memory.kept
