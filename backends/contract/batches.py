"""The texts of moving data: batches of records (B2), and the hashes that two servers are compared by (B5, B6)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from backends.contract import canonical
from backends.contract.ids import id_text, is_usable_id
from backends.contract.kept import AnswerText
from backends.contract.numbers import NUMBER_MAX
from backends.contract.problems import Problem
from backends.store import ApplyLine, Stamp

BUCKETS = 4096
_MASK = (1 << 64) - 1


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    at: int
    body: msgspec.Raw = msgspec.Raw(b"")
    """Empty where it was not given: msgspec takes a Raw in no union."""
    deleted: bool = False
    version: int | None = None
    answers: list[AnswerText] = []


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line of a batch that cannot be kept, and why. ``line`` counts from 1."""

    line: int
    id: str | None
    reason: str


def parse_batch(raw: bytes, *, is_singleton: bool) -> tuple[list[ApplyLine], list[Rejected]]:
    """NDJSON to lines. A line's body is taken byte for byte; what cannot be kept is told apart, not thrown away silently."""
    lines: list[ApplyLine] = []
    rejected: list[Rejected] = []
    for place, text in enumerate(raw.split(b"\n"), 1):
        if not text.strip():
            continue
        try:
            line = _parse_line(text)
            reason = _fault(line, is_singleton=is_singleton)
            answers = tuple(answer.kept() for answer in line.answers)
        except (msgspec.MsgspecError, Problem, TypeError, ValueError) as error:
            rejected.append(Rejected(place, None, str(error)))
            continue
        if reason is not None:
            rejected.append(Rejected(place, line.id, reason))
            continue
        lines.append(ApplyLine(line.id, _body(line), Stamp(line.version, line.at), answers))
    return lines, rejected


def _parse_line(text: bytes) -> _Line:
    try:
        return msgspec.json.decode(text, type=_Line)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # half a surrogate pair, say: old files hold it, and only the standard library reads it
        value: dict[str, Any] = canonical.parse_tolerant(text)
        body = value.pop("body", None)
        return msgspec.convert({**value, "body": msgspec.Raw(canonical.encode(body))}, _Line)


def _body(line: _Line) -> bytes | None:
    body = bytes(line.body)
    return None if body in (b"", b"null") else body


def _fault(line: _Line, *, is_singleton: bool) -> str | None:
    if not is_usable_id(line.id):
        return "the id must have 1–512 bytes, and be no dot segment"
    if not 0 <= line.at <= NUMBER_MAX or not 0 <= (line.version or 0) <= NUMBER_MAX:
        return "at and version are numbers from 0 to 2^63 - 1"
    body = _body(line)
    if line.deleted == (body is not None):
        return "give either a body or deleted: true"
    if body is None:
        return None
    value = canonical.parse_tolerant(body)
    canonical.check_depth(body, value)
    if not isinstance(value, dict):
        return "the body must be an object"
    record = cast("dict[str, Any]", value)
    if not is_singleton and id_text(record.get("id")) != line.id:
        return "the body's id is another one than the line's"
    return None


def bucket_of(record_id: str) -> int:
    """The first 12 bits of SHA-256(id)."""
    return int.from_bytes(hashlib.sha256(record_id.encode()).digest()[:2], "big") >> 4


def record_hash(record_id: str, body: bytes) -> int:
    """The first 8 bytes, big-endian, of SHA-256(id, 0x00, body)."""
    return int.from_bytes(hashlib.sha256(record_id.encode() + b"\x00" + body).digest()[:8], "big")


class Buckets:
    """Counts, xors and sums of hashes, by bucket."""

    def __init__(self) -> None:
        self.count = 0
        self._buckets: dict[int, list[int]] = {}

    def add(self, record_id: str, body: bytes) -> None:
        digest = record_hash(record_id, body)
        sums = self._buckets.setdefault(bucket_of(record_id), [0, 0, 0])
        sums[0] += 1
        sums[1] ^= digest
        sums[2] = (sums[2] + digest) & _MASK
        self.count += 1

    def as_json(self) -> dict[str, Any]:
        """The form of B5."""
        rows = {
            str(at): [n, f"{xor:016x}", f"{total:016x}"]
            for at, (n, xor, total) in sorted(self._buckets.items())
        }
        return {"count": self.count, "buckets": rows}
