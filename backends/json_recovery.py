"""How the JSON store starts: lock, state file, journal, data.json, and what to make of them together.

The state file and the segments after it are the truth. data.json is compared with what was last put there: an edit made
while the server was stopped is taken in; one that would undo acknowledged writes stops the start.
"""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backends.contract import canonical
from backends.errors import StartError
from backends.json_data_file import DataFile, Loaded, load
from backends.json_entries import Changed, Exported
from backends.json_ids import Naming
from backends.json_journal import Segment, create_segment, drop_segments, read_segment, segment_paths
from backends.json_snapshot import read_state, write_state
from backends.json_state import Memory
from backends.store import Role

NOTHING_YET = -1
"""Of ``Exported.changes``: the file is ours, but not what memory holds."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one store; all lie beside data.json."""

    data: Path
    state: Path
    journal: Path
    lock: Path

    @classmethod
    def beside(cls, data: Path) -> Files:
        data = data.resolve()
        return cls(data, *(data.with_name(data.name + suffix) for suffix in (".state", ".journal", ".lock")))


@dataclass(slots=True)
class Recovered:
    """A store ready to serve. ``segment`` is None where it was opened only to be read."""

    memory: Memory
    data: DataFile
    segment: Segment | None
    notes: list[tuple[str, dict[str, Any]]] = field(default_factory=list[tuple[str, dict[str, Any]]])
    """What the log must say, loudly."""


def take_lock(path: Path, *, is_shared: bool) -> int:
    """Lock a store against a second server; the lock goes with the process. StartError names who has it.

    To be read only, a store may also lie where nothing can be written; then there is no lock to take, and it is -1.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if not is_shared or error.errno not in (errno.EROFS, errno.EACCES):
            raise
        return -1
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(fd)
        raise StartError(
            f"{path.with_suffix('')} is served by another process already (pid {owner}).",
            "Stop that one first, or give this one a file of its own.",
        ) from None
    if not is_shared:
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def recover(files: Files, *, read_only: bool, id_field: str | None = None) -> Recovered:
    """Read what is there and bring it to one state. Blocks. StartError says what stands in the way and what to do."""
    data = DataFile(files.data)
    if not files.state.exists():
        return _first_start(files, data, read_only=read_only, id_field=id_field)
    memory, covered = read_state(files.state)
    recovered = Recovered(memory, data, None)
    current, last = _replay_segments(files, recovered, covered)
    is_edited = _compare_data_file(files, recovered, id_field)
    if read_only:
        return recovered
    if is_edited:
        write_state(files.state, memory, last)
        covered = last
    if current is not None and current.number <= covered:
        files.journal.rename(files.journal.with_name(f"{files.journal.name}.{current.number}"))
        current = None
    # a segment is there before older ones go: a state file without any means that somebody took the journal away
    recovered.segment = current or create_segment(files.journal, last + 1)
    _sweep_leftovers(files, covered)
    return recovered


def _first_start(files: Files, data: DataFile, *, read_only: bool, id_field: str | None) -> Recovered:
    if not _is_untouched(files.journal):
        raise StartError(
            f"{files.state} is gone, though {files.journal} is there: the journal alone does not say everything.",
            "Put the state file back; or, to go on with what data.json holds alone, move the .journal files away.",
        )
    if not files.data.exists():
        raise StartError(
            f"There is no file {files.data}.", f"To begin with nothing: echo '{{}}' > {files.data}"
        )
    loaded = load(files.data, Naming(id_field))
    memory = Memory()
    for name, is_singleton in loaded.names.items():
        memory.name(name, is_singleton=is_singleton)
    for name, bodies in loaded.collections.items():
        for record_id, body in bodies.items():
            memory.apply(Changed(name, record_id, body, None, 0, 0))
    memory.names = dict(loaded.names)
    memory.exports = [_content_of(loaded, memory)]
    data.is_one_of([loaded.digest])
    if read_only:
        return Recovered(memory, data, None, loaded.notes)
    _sweep_leftovers(files, 0)
    segment = create_segment(files.journal, 1)
    write_state(files.state, memory, 0)
    return Recovered(memory, data, segment, loaded.notes)


def _is_untouched(journal: Path) -> bool:
    """Whether there is no journal, or only the one that a first start made before it was killed."""
    paths = segment_paths(journal)
    if not paths:
        return True
    segment, entries = read_segment(paths[0], is_newest=True)
    return len(paths) == 1 and segment.number == 1 and next(entries, None) is None


def _replay_segments(files: Files, recovered: Recovered, covered: int) -> tuple[Segment | None, int]:
    """Apply the segments that the state file does not cover: the one that is written, if there is one, and the last number."""
    paths = segment_paths(files.journal)
    if not paths:
        raise StartError(
            f"{files.journal} is gone, though {files.state} is there: acknowledged writes were in it.",
            f"Put the journal back; or, to go on with what {files.data} holds alone, move {files.state} away too, start, "
            "and repair from the other upstream.",
        )
    current: Segment | None = None
    last = covered
    for path in paths:
        segment, entries = read_segment(path, is_newest=path == paths[-1])
        if segment.number > covered:
            if segment.number != last + 1:
                raise StartError(
                    f"The journal's segment {last + 1} is gone: {path} is segment {segment.number}.",
                    f"Put {files.journal}.{last + 1} back; acknowledged writes are in it.",
                )
            for entry in entries:
                recovered.memory.apply(entry)
            last = segment.number
        if segment.torn_bytes:
            recovered.notes.append(
                ("journal_tail_torn", {"path": str(path), "bytes_dropped": segment.torn_bytes})
            )
        if path == files.journal:
            current = segment
    return current, last


def _content_of(loaded: Loaded, memory: Memory) -> Exported:
    """What the file holds of the memory: not all of it where records were given ids, and then it is soon written anew."""
    return Exported(loaded.digest, NOTHING_YET if loaded.notes else memory.changes, is_installed=True)


def _compare_data_file(files: Files, recovered: Recovered, id_field: str | None) -> bool:
    """Whether data.json was edited while the server was stopped; then the edit is in memory now."""
    memory = recovered.memory
    if not files.data.exists():
        recovered.notes.append(
            ("data_file_missing", {"path": str(files.data), "action": "written again from the journal"})
        )
        memory.exports = []
        return False
    for export in memory.exports:
        if recovered.data.is_one_of([export.digest]):
            memory.exports = [Exported(export.digest, export.changes, is_installed=True)]
            return False
    installed = next((export for export in memory.exports if export.is_installed), None)
    if installed is None or installed.changes != memory.changes:
        raise StartError(
            f"{files.data} was edited by somebody while acknowledged writes were not in it yet; "
            "neither can be kept without losing the other.",
            f"Move the edited file away (mv {files.data} {files.data}.edited) and start again: the file is then written "
            "from the journal, and the edits can be sent through the API. Edit the file only while the server is stopped.",
        )
    loaded = load(files.data, Naming(id_field, memory.counters))
    recovered.notes += loaded.notes
    edits = take_in(memory, loaded)
    recovered.data.is_one_of([loaded.digest])
    recovered.notes.append(
        ("data_file_edited", {"path": str(files.data), "records_changed": edits, "action": "taken in"})
    )
    return True


def take_in(memory: Memory, loaded: Loaded) -> int:
    """Make memory equal to an edited file; how many records changed.

    They get no version, so their next write settles by repair, and a new number as ``at``; at a secondary they keep
    theirs, as after any write from elsewhere (W3).
    """
    edits: list[tuple[str, str, bytes | None]] = []
    for name, bodies in loaded.collections.items():
        for record_id, body in bodies.items():
            if not _is_same(memory.state(name, record_id).body, body):
                edits.append((name, record_id, body))
    for name, record_id, state in list(memory.records()):
        if state.body is not None and record_id not in loaded.collections.get(name, {}):
            edits.append((name, record_id, None))
    for name, record_id, body in edits:
        at = memory.state(name, record_id).at if memory.role is Role.SECONDARY else memory.number + 1
        memory.apply(Changed(name, record_id, body, None, at, max(memory.number, at)))
    for name, is_singleton in loaded.names.items():
        memory.name(name, is_singleton=is_singleton)
    memory.names = dict(loaded.names)
    for name, bodies in loaded.collections.items():
        live = memory.collections[name].live
        memory.collections[name].live = {record_id: live[record_id] for record_id in bodies}
    memory.exports = [_content_of(loaded, memory)]
    return len(edits)


def _is_same(kept: bytes | None, edited: bytes) -> bool:
    """A record that a repair brought is kept verbatim, and may be spelled in another way than ours."""
    if kept == edited or kept is None:
        return kept == edited
    value = canonical.parse_tolerant(kept)
    return canonical.encode(value) == edited or (
        "id" in value and canonical.encode_record(value["id"], value, value) == edited
    )


def _sweep_leftovers(files: Files, covered: int) -> None:
    """Temporary files of a process that was killed, and segments that the state file covers."""
    for path in (files.data, files.state, files.journal):
        for suffix in (".tmp", ".new"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    drop_segments(files.journal, covered)
