"""data.json itself: read with every fault named at its place, written whole by temp, fsync and rename.

Owns the file's form and the knowledge of whether somebody else edited it. Knows no numbers and no journal.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from backends.contract import canonical
from backends.contract.ids import is_usable_id
from backends.contract.problems import Problem
from backends.errors import StartError
from backends.json_ids import DEFAULT_NAMING, Naming, UnusableIdError, name_records
from backends.json_journal import removed_on_failure, sync_folder

_ROWS_AT_ONCE = 500
SCHEMA = "$schema"
"""json-server 1.x lets a file name its JSON Schema in such a line."""


@dataclass(slots=True)
class Loaded:
    """The content of a data.json: canonical bodies by name, in the file's order, and its SHA-256."""

    digest: str
    names: dict[str, bool] = field(default_factory=dict[str, bool])
    collections: dict[str, dict[str, bytes]] = field(default_factory=dict[str, dict[str, bytes]])
    """Singletons are the records of the collection ``""``."""
    notes: list[tuple[str, dict[str, Any]]] = field(default_factory=list[tuple[str, dict[str, Any]]])
    """What the log must say, loudly: where a record is not as the file has it."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A whole new data.json beside the old one, on disk but not yet in its place."""

    path: Path
    digest: str


def load(path: Path, naming: Naming = DEFAULT_NAMING) -> Loaded:
    """Parse a data.json, of ours or of json-server. StartError names the place of what cannot be taken."""
    raw = path.read_bytes()
    loaded = Loaded(digest_of(raw))
    try:
        content = canonical.parse_tolerant(raw.removeprefix(b"\xef\xbb\xbf"))
    except Problem as problem:
        raise StartError(f"{path}: {problem.detail.replace('The body', 'The file')}") from None
    if not isinstance(content, dict):
        raise StartError(f'{path} must hold a JSON object of collections, such as {{"orders": []}}.')
    tree = cast("dict[str, Any]", content)
    for name, value in tree.items():
        if not is_usable_id(name):
            raise StartError(
                f"{path}: the name {name!r} cannot be a collection's: 1–512 bytes, no dot segment."
            )
        if name == SCHEMA and isinstance(value, str):
            loaded.notes.append(("schema_line_left_out", {"path": str(path), "value": value}))
        elif isinstance(value, dict):
            loaded.names[name] = True
            loaded.collections.setdefault("", {})[name] = _encoded(path, name, cast("dict[str, Any]", value))
        elif isinstance(value, list):
            loaded.names[name] = False
            loaded.collections[name] = dict(_records(path, name, cast("list[Any]", value), naming, loaded))
        else:
            raise StartError(f"{path}: {name} must be an array of records or an object, not {_kind(value)}.")
    return loaded


def digest_of(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def render(
    names: Iterable[tuple[str, bool]], rows: Mapping[str, Sequence[bytes]], singletons: Mapping[str, bytes]
) -> Iterator[bytes]:
    """The bytes of a data.json in parts: a line for each record, each record's bytes as they are."""
    lead = b"{\n"
    for name, is_singleton in names:
        yield lead + b"  " + canonical.encode(name) + b": "
        lead = b",\n"
        if is_singleton:
            yield singletons[name]
            continue
        bodies = rows[name]
        if not bodies:
            yield b"[]"
            continue
        yield b"[\n    "
        for start in range(0, len(bodies), _ROWS_AT_ONCE):
            yield (b",\n    " if start else b"") + b",\n    ".join(bodies[start : start + _ROWS_AT_ONCE])
        yield b"\n  ]"
    yield b"{}\n" if lead == b"{\n" else b"\n}\n"


class DataFile:
    """The file on disk: what we last put there, and whether it is still that."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        """(mtime, size, inode) of the file when it was last known to be ours."""

    def stage(self, parts: Iterable[bytes]) -> Staged:
        """Write a new content beside the file and sync it. Blocks; OSError where it cannot."""
        staged = self.path.with_name(self.path.name + ".tmp")
        digest = hashlib.sha256()
        with removed_on_failure(staged), staged.open("wb") as file:
            if self.path.exists():
                os.fchmod(file.fileno(), self.path.stat().st_mode & 0o777)
            for part in parts:
                digest.update(part)
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        return Staged(staged, digest.hexdigest())

    def install(self, staged: Staged) -> None:
        """Put a staged content in the file's place, durably. Blocks."""
        staged.path.rename(self.path)
        sync_folder(self.path.parent)
        self._seen = self._look()

    def is_one_of(self, digests: Iterable[str]) -> bool:
        """Whether the file is absent or has one of these contents; it is only read if it looks touched. Blocks."""
        look = self._look()
        if look is None or look == self._seen:
            return True
        if digest_of(self.path.read_bytes()) not in set(digests):
            return False
        self._seen = look
        return True

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def _records(
    path: Path, name: str, items: list[Any], naming: Naming, loaded: Loaded
) -> Iterator[tuple[str, bytes]]:
    for place, item in enumerate(items):
        if not isinstance(item, dict):
            raise StartError(f"{path}: {name}[{place}] must be an object, not {_kind(item)}.")
    records = cast("list[dict[str, Any]]", items)
    try:
        named = name_records(name, records, naming)
    except UnusableIdError as error:
        raise StartError(
            f"{path}: {name}[{error.place}] has the id {error}; ids are integers or strings of 1–512 bytes.",
            "Change it, or take it out: a record without an id gets one.",
        ) from None
    if not named.is_as_written:
        facts = {"made": named.made, "from_field": named.from_field, "written_as_text": named.as_text}
        loaded.notes.append(
            ("ids_given", {"collection": name, **facts, "action": "data.json is written anew with them"})
        )
    seen: dict[str, int] = {}
    for place, (record, record_id) in enumerate(zip(records, named.ids, strict=True)):
        where, text = f"{name}[{place}]", str(record_id)
        if text in seen:
            raise StartError(
                f"{path}: {where} has the id {text!r} that {name}[{seen[text]}] has too.",
                'Ids are told apart as text, so 1 and "1" are the same one. Change or remove one of the two.',
            )
        seen[text] = place
        yield text, _encoded(path, where, record, record_id)


def _encoded(path: Path, where: str, record: dict[str, Any], record_id: str | int | None = None) -> bytes:
    try:
        body = (
            canonical.encode(record)
            if record_id is None
            else canonical.encode_record(record_id, record, record)
        )
        canonical.check_depth(body, record)
    except (ValueError, RecursionError, Problem) as error:
        raise StartError(f"{path}: {where} cannot be kept: {error}") from None
    return body


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    return "a string" if isinstance(value, str) else "an array" if isinstance(value, list) else "a number"
