"""How one entry comes to rest: what a replay sends, whether its answer is equal, what a repair's answer means. Pure.

Rules, by name: **replay-verbatim** (the client's bytes, with the carried fields spliced in),
**replay-undecided** (preconditions were decided at the primary and are not sent), **equal** (same status class, same
body but for ignored fields), **equal-value** (the same, as JSON values, where an upstream is plain), **repeat-repairs** (an answer that a
primary may have kept from before settles nothing by itself), **judge** (what an answer of the secondary says about the key, or about the secondary).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import cast

import msgspec

from proxy.journal.entry import BASE_NONE, BASE_UNKNOWN, Entry
from proxy.limits import HEADER_SETS_KEPT_MAX
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


@lru_cache(maxsize=HEADER_SETS_KEPT_MAX)
def is_json(headers: tuple[tuple[str, str], ...]) -> bool:
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


def is_replayable(
    entry: Entry, answer: PrimaryAnswer, *, is_exact: bool = True, is_numbered: bool = True
) -> bool:
    """Whether the entry may be replayed: its request and answer are kept whole, and nothing but one key is meant.

    ``is_exact``: between versioned upstreams the primary must have named version and base. Else a POST's answer must show
    the record's ``id``, or the secondary would choose another one; a POST that names no key at all is replayed as it is.
    ``is_numbered``: the primary is versioned. An answer of it without a base is one that it had kept for an Idempotency-Key:
    what it says may be older than what was mirrored since (repeat-repairs).
    """
    if entry.marks or entry.must_repair:
        return False
    if answer.request_body is None or answer.body is None or not 200 <= answer.status < 300:
        return False
    if answer.request_body and not is_json(entry.headers):
        return False
    if is_numbered and entry.key is not None and (entry.version is None or entry.base == BASE_UNKNOWN):
        return False
    if is_exact:
        return entry.key is not None
    if entry.key is None:
        return not entry.can_learn_key
    return not entry.can_learn_key or "id" in carried(answer.body, ("id",))


def may_be_repeated(entry: Entry) -> bool:
    """Whether the primary's answer may be one that it had kept for an Idempotency-Key (repeat-repairs)."""
    return entry.key is not None and header(entry.headers, "idempotency-key") is not None


def is_record(answer: PrimaryAnswer) -> bool:
    """Whether an accepted answer may show the record as the primary has it now."""
    return answer.body is not None and 200 <= answer.status < 300 and is_json(answer.headers)


@lru_cache(maxsize=HEADER_SETS_KEPT_MAX)
def repeated_lines(headers: tuple[tuple[str, str], ...], credentials: tuple[tuple[str, str], ...]) -> bytes:
    """Lines of the end-to-end headers of the replay, without those of the mirror itself (replay-undecided)."""
    replaced = {name.lower() for name, value in credentials if value}
    kept = [
        (name, value)
        for name, value in headers
        if name.lower() not in _DROPPED
        and name.lower() not in replaced
        and not name.lower().startswith("turnout-")
    ]
    kept.extend((name, value) for name, value in credentials if value)
    return "".join([f"{name}: {value}\r\n" for name, value in kept]).encode("latin-1")


def replay_lines(entry: Entry, credentials: tuple[tuple[str, str], ...]) -> bytes:
    """Header lines of a replay, but for the mirror's own. Clients say the same again and again: most are made once."""
    lines = repeated_lines(entry.headers, credentials)
    if entry.method == "PUT" and entry.base == BASE_NONE:
        return lines + b"If-None-Match: *\r\n"
    return lines


def replay_body(entry: Entry, carry: Sequence[str]) -> bytes | None:
    """What the replay sends as its body (replay-verbatim); None where only a repair will do."""
    if not entry.request_body:
        return b""
    return splice(entry.request_body, carried(entry.answer_body, carry))


def is_equal(
    status: int,
    body: bytes,
    other_status: int,
    other_body: bytes,
    ignore: frozenset[str],
    *,
    is_exact: bool = True,
) -> bool:
    """Same status class, and bodies equal byte for byte, or as JSON objects but for the ignored top-level fields (equal)."""
    if status // 100 != other_status // 100:
        return False
    if not is_exact:
        return is_same_value(body, other_body, ignore)
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


def is_same_value(left: bytes, right: bytes, ignore: frozenset[str]) -> bool:
    """Equal between servers that write JSON in their own ways (equal-value): the same value, but for the ignored top-level fields.

    What is no JSON is compared by its bytes. Numbers are equal when they are, whatever their form; true is not 1.
    """
    if left == right:
        return True
    try:
        one, other = _value(left), _value(right)
    except (ValueError, RecursionError):
        return False
    return _is_same(_without(one, ignore), _without(other, ignore))


def _value(body: bytes) -> object:
    return json.loads(body, parse_float=Decimal)


def _without(value: object, ignore: frozenset[str]) -> object:
    if not isinstance(value, dict):
        return value
    return {name: one for name, one in cast("dict[str, object]", value).items() if name not in ignore}


def _is_same(one: object, other: object) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        ours, theirs = cast("dict[str, object]", one), cast("dict[str, object]", other)
        return ours.keys() == theirs.keys() and all(_is_same(ours[name], theirs[name]) for name in ours)
    if isinstance(one, list) and isinstance(other, list):
        left, right = cast("list[object]", one), cast("list[object]", other)
        return len(left) == len(right) and all(map(_is_same, left, right))
    return one == other


def record_id(body: bytes) -> str | None:
    """The ``id`` of a JSON object, as a path names it."""
    try:
        raw = _OBJECT.decode(body).get("id")
        return None if raw is None else str(msgspec.json.decode(raw, type=int | str))
    except msgspec.MsgspecError:
        return None


class Verdict(StrEnum):
    """What a secondary's answer to a repair says."""

    SETTLED = "settled"
    DEAD = "dead"
    """It refuses this key for good."""
    AGAIN = "again"
    """This key, later."""
    WAIT = "wait"
    """Both are equal, and what was sent before may still arrive: look again later (late-look)."""
    AWAY = "away"
    """The secondary itself cannot take writes now: wait for it, whatever the key."""


AWAY_CODES = frozenset({"stale-epoch", "mirror-token", "read-only"})


def judge_repair(status: int, code: str | None) -> Verdict:
    """By status and the problem's ``code`` (judge). A 4xx is final only if it speaks of the key: a wrong token or epoch stops them all."""
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
