"""How one entry comes to rest: what a replay sends, whether its answer is equal, what a repair's answer means. Pure.

Rules, by name: **replay-verbatim** (the client's bytes, with the carried fields spliced in),
**replay-undecided** (preconditions were decided at the primary and are not sent), **equal** (same status class, same
body but for ignored fields), **judge** (what an answer of the secondary says about the key, or about the secondary).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from proxy.journal.entry import BASE_NONE, BASE_UNKNOWN, Entry
from proxy.model import PrimaryAnswer

_DROPPED = frozenset(
    {
        "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range",
        "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect",
        "proxy-authorization", "proxy-connection", "host", "accept-encoding", "forwarded",
    }
)  # fmt: skip

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def header(headers: Iterable[tuple[str, str]], name: str) -> str | None:
    """The first value of a header, by lower-case name."""
    size = len(name)
    for key, value in headers:
        if len(key) == size and key.lower() == name:
            return value
    return None


def is_json(headers: Sequence[tuple[str, str]]) -> bool:
    media = (header(headers, "content-type") or "").split(";")[0].strip().lower()
    return (media == "application/json" or media.endswith("+json")) and header(
        headers, "content-encoding"
    ) is None


def carried(body: bytes | None, fields: Sequence[str]) -> dict[str, bytes]:
    """The raw JSON of each carried field that the primary's answer shows; {} where it is no object."""
    if not body:
        return {}
    try:
        answer = _OBJECT.decode(body)
    except msgspec.MsgspecError:
        return {}
    return {name: bytes(answer[name]) for name in fields if name in answer}


def splice(body: bytes, fields: dict[str, bytes]) -> bytes | None:
    """The client's JSON object with ``fields`` set; all other bytes stay. None where it is not an object that can be spliced.

    A field that the client sent with another value than the primary answered (an id in a PUT's body, a forged
    ``created_at``) is replaced: then the members are written anew from their raw text, in their order.
    """
    try:
        members = _OBJECT.decode(body)
    except msgspec.MsgspecError:
        return None
    clashing = {name for name, raw in fields.items() if name in members and bytes(members[name]) != raw}
    if clashing:
        merged = {name: bytes(raw) for name, raw in members.items()} | fields
        return b"{" + b",".join(msgspec.json.encode(name) + b":" + raw for name, raw in merged.items()) + b"}"
    missing = [(name, raw) for name, raw in fields.items() if name not in members]
    if not missing:
        return body
    tail = b",".join(msgspec.json.encode(name) + b":" + raw for name, raw in missing)
    end = body.rindex(b"}")
    return body[:end] + (b"," if members else b"") + tail + body[end:]


def is_replayable(entry: Entry, answer: PrimaryAnswer) -> bool:
    """Whether the entry may be replayed at a versioned secondary: its request and answer are kept whole, and the primary named version and base."""
    if answer.request_body is None or answer.body is None or not 200 <= answer.status < 300:
        return False
    if entry.version is None or entry.base == BASE_UNKNOWN:
        return False
    return not answer.request_body or is_json(entry.headers)


def replay_headers(entry: Entry, credentials: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """End-to-end headers of the replay, without those of the mirror itself (replay-undecided)."""
    replaced = {name.lower() for name, value in credentials if value}
    kept = [
        (name, value)
        for name, value in entry.headers
        if name.lower() not in _DROPPED
        and name.lower() not in replaced
        and not name.lower().startswith("turnout-")
    ]
    kept.extend((name, value) for name, value in credentials if value)
    if entry.method == "PUT" and entry.base == BASE_NONE:
        kept.append(("If-None-Match", "*"))
    return kept


def replay_body(entry: Entry, carry: Sequence[str]) -> bytes | None:
    """What the replay sends as its body (replay-verbatim); None where only a repair will do."""
    if not entry.request_body:
        return b""
    return splice(entry.request_body, carried(entry.answer_body, carry))


def is_equal(status: int, body: bytes, other_status: int, other_body: bytes, ignore: frozenset[str]) -> bool:
    """Same status class, and bodies equal byte for byte, or as JSON objects but for the ignored top-level fields (equal)."""
    if status // 100 != other_status // 100:
        return False
    if body == other_body:
        return True
    if not ignore:
        return False
    try:
        left, right = _OBJECT.decode(body), _OBJECT.decode(other_body)
    except msgspec.MsgspecError:
        return False
    return {n: bytes(v) for n, v in left.items() if n not in ignore} == {
        n: bytes(v) for n, v in right.items() if n not in ignore
    }


class Verdict(StrEnum):
    """What a secondary's answer to a repair says."""

    SETTLED = "settled"
    DEAD = "dead"
    """It refuses this key for good."""
    AGAIN = "again"
    """This key, later."""
    AWAY = "away"
    """The secondary itself cannot take writes now: wait for it, whatever the key."""


AWAY_CODES = frozenset({"stale-epoch", "mirror-token", "read-only"})


def judge_repair(status: int, code: str | None) -> Verdict:
    """By status and the problem's ``code``. A 4xx is final only if it speaks of the key: a wrong token or epoch stops them all."""
    if 200 <= status < 300:
        return Verdict.SETTLED
    if status in (401, 403, 407) or code in AWAY_CODES or status in (502, 503, 504, 507):
        return Verdict.AWAY
    if status in (408, 425, 429) or status >= 500:
        return Verdict.AGAIN
    return Verdict.DEAD


def problem_code(body: bytes) -> str | None:
    """The ``code`` of a problem+json body."""
    try:
        raw = _OBJECT.decode(body).get("code")
        return None if raw is None else msgspec.json.decode(raw, type=str)
    except msgspec.MsgspecError:
        return None
