"""What the JSON store's journal says, one entry for one fact, and its bytes. Pure.

An entry is a JSON head (its kind and facts) and raw blobs (bodies, kept verbatim). Entries of one commit stand in one frame.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from backends.store import Answer, Done, KeptAnswer, Role

_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Changed:
    """A record became ``body`` (None: a tombstone). ``number`` is the last number taken by then."""

    collection: str
    id: str
    body: bytes | None
    version: int | None
    at: int
    number: int


@dataclass(frozen=True, slots=True)
class Decided:
    """A request id was decided: ``done`` if it was accepted. Ids below ``lowest_open`` may be forgotten."""

    request: int
    lowest_open: int
    done: Done | None


@dataclass(frozen=True, slots=True)
class Voided:
    """A request id that never was, and never will be."""

    request: int


@dataclass(frozen=True, slots=True)
class Announced:
    """An epoch as it was announced (E2), with ``number`` and ``counters`` raised already."""

    epoch: int
    role: Role
    journal: str
    number: int
    counters: dict[str, int]
    forgets_requests: bool


@dataclass(frozen=True, slots=True)
class Floored:
    """Live records of a collection below ``at`` went, and its floor rose (B3)."""

    collection: str
    at: int


@dataclass(frozen=True, slots=True)
class Exported:
    """data.json gets (``is_installed``: has) this content, which holds the first ``changes`` changes."""

    digest: str
    changes: int
    is_installed: bool


Entry = Changed | Decided | Voided | KeptAnswer | Announced | Floored | Exported


def pack(entries: Iterable[Entry]) -> bytes:
    """The payload of one commit."""
    parts: list[bytes] = []
    for entry in entries:
        head, blobs = _to_head(entry)
        text = json.dumps([len(blobs), *head], ensure_ascii=True, separators=(",", ":")).encode()
        parts.extend((_LENGTH.pack(len(text)), text))
        for blob in blobs:
            parts.extend((_LENGTH.pack(len(blob)), blob))
    return b"".join(parts)


def unpack(payload: bytes) -> Iterator[Entry]:
    """The entries of a commit, in order. ValueError or KeyError where a newer version wrote them."""
    offset = 0
    while offset < len(payload):
        head_bytes, offset = _cut(payload, offset)
        count, kind, *facts = json.loads(head_bytes)
        blobs: list[bytes] = []
        for _ in range(count):
            blob, offset = _cut(payload, offset)
            blobs.append(blob)
        yield _from_head(kind, facts, blobs)


def _cut(payload: bytes, offset: int) -> tuple[bytes, int]:
    (length,) = _LENGTH.unpack_from(payload, offset)
    start = offset + _LENGTH.size
    return payload[start : start + length], start + length


def _to_head(entry: Entry) -> tuple[list[Any], list[bytes]]:
    match entry:
        case Changed():
            blobs = [] if entry.body is None else [entry.body]
            return ["change", entry.collection, entry.id, entry.version, entry.at, entry.number], blobs
        case Decided(request, lowest_open, done):
            facts = None if done is None else [done.collection, done.id, done.version]
            return ["decide", request, lowest_open, facts], []
        case Voided(request):
            return ["void", request], []
        case KeptAnswer(idempotency_key, fingerprint, key, expires_ms, answer):
            facts = [idempotency_key, fingerprint.hex(), key, expires_ms, answer.status, answer.headers]
            return ["keep", *facts], [answer.body]
        case Announced():
            facts = [
                entry.epoch,
                entry.role,
                entry.journal,
                entry.number,
                entry.counters,
                entry.forgets_requests,
            ]
            return ["announce", *facts], []
        case Floored(collection, at):
            return ["floor", collection, at], []
        case Exported(digest, changes, is_installed):
            return ["export", digest, changes, is_installed], []


def _from_head(kind: str, facts: list[Any], blobs: list[bytes]) -> Entry:
    match kind:
        case "change":
            collection, record_id, version, at, number = facts
            return Changed(collection, record_id, blobs[0] if blobs else None, version, at, number)
        case "decide":
            request, lowest_open, done = facts
            return Decided(request, lowest_open, None if done is None else Done(*done))
        case "void":
            return Voided(*facts)
        case "keep":
            idempotency_key, fingerprint, key, expires_ms, status, headers = facts
            answer = Answer(status, tuple((name, value) for name, value in headers), blobs[0])
            return KeptAnswer(idempotency_key, bytes.fromhex(fingerprint), key, expires_ms, answer)
        case "announce":
            epoch, role, journal, number, counters, forgets = facts
            return Announced(epoch, Role(role), journal, number, counters, forgets)
        case "floor":
            return Floored(*facts)
        case "export":
            return Exported(*facts)
        case _:
            raise ValueError(f"an entry of unknown kind {kind!r}")
