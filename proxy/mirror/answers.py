"""A repair that brings along the answers kept under Idempotency-Keys (docs/protocol.md, A2 and A3).

A client that repeats a write after a switch must find the answer of the first one. A replay leaves it at the secondary by itself; a
repair goes by the record's state, so the answers of that key travel with it, in the same request and the same transaction.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import quote

import msgspec

from proxy.errors import UpstreamError
from proxy.limits import MIRROR_REQUEST_TIMEOUT_S
from proxy.mirror import settle
from proxy.mirror.settle import Verdict
from proxy.model import Reply, segment_of_key
from proxy.ports import Sender
from proxy.protocol import ANSWERS_PATH, APPLY_PATH, ReadVersion, parse_answers

PAGES_MAX = 100
"""Of the answers of one key; a server that goes on for longer is not believed."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a key lies for a batch: an item of a collection, or (``collection`` empty) a singleton."""

    collection: str
    id: str

    @property
    def query(self) -> str:
        name, value = ("collection", self.collection) if self.collection else ("name", self.id)
        return f"{name}={quote(value, safe='')}"


def spot_of(key: str) -> Spot | None:
    """None for a key of another form than the protocol's (V1): it has no place in a batch."""
    parts = key.split("/")
    if len(parts) == 4 and parts[1] == "api":
        return Spot(segment_of_key(parts[2]), segment_of_key(parts[3]))
    return Spot("", segment_of_key(parts[2])) if len(parts) == 3 and parts[1] == "api" else None


async def kept_answers(sender: Sender, upstream: str, epoch: tuple[str, str], key: str) -> list[msgspec.Raw]:
    """Every unexpired answer of a key at its primary, verbatim. UpstreamError where it does not say."""
    found: list[msgspec.Raw] = []
    target = f"{ANSWERS_PATH}?key={quote(key, safe='')}"
    after = ""
    for _ in range(PAGES_MAX):
        reply = await sender.send(
            upstream, "GET", target + after, [epoch], timeout_s=MIRROR_REQUEST_TIMEOUT_S
        )
        if reply.status == 404:
            return []  # a server of ours from before it kept any for the mirror
        page = parse_answers(reply.body) if reply.status == 200 else None
        if page is None:
            raise UpstreamError(
                f"{upstream} answers {reply.status} when it is asked for the answers of {key}"
            )
        found += page.answers
        if not page.next:
            break
        after = f"&after={quote(page.next, safe='')}"
    return found


def batch_line(spot: Spot, read: ReadVersion, body: bytes | None, answers: list[msgspec.Raw]) -> bytes | None:
    """One line of B2, the record's and the answers' bytes verbatim; None where they hold a line feed, which would end the line."""
    head: dict[str, object] = {"id": spot.id, "at": read.at}
    if read.version is not None:
        head["version"] = read.version
    if body is None:
        head["deleted"] = True
    start = json.dumps(head).encode()[:-1]
    record = b"" if body is None else b',"body":' + body
    line = start + record + b',"answers":' + msgspec.json.encode(answers) + b"}"
    return None if b"\n" in line else line + b"\n"


async def repair_with(
    sender: Sender,
    upstream: str,
    headers: list[tuple[str, str]],
    spot: Spot,
    line: bytes,
) -> tuple[Verdict, str, Reply]:
    """Send it; what came of it. UpstreamError where there is no answer."""
    reply = await sender.send(
        upstream,
        "POST",
        f"{APPLY_PATH}?{spot.query}",
        [*headers, ("Content-Type", "application/x-ndjson")],
        line,
        timeout_s=MIRROR_REQUEST_TIMEOUT_S,
    )
    code = settle.problem_code(reply.body)
    if reply.status == 200 and (why := _rejected(reply.body)):
        return Verdict.DEAD, f"{upstream} rejects it: {why}", reply
    return (
        settle.judge_repair(reply.status, code),
        f"{upstream} answers {reply.status} {code or ''}".rstrip(),
        reply,
    )


class _Line(msgspec.Struct):
    reason: str = ""


class _Applied(msgspec.Struct):
    rejected: list[_Line] = []


def _rejected(body: bytes) -> str:
    """Why the one line cannot be kept; empty where it was, or something newer is there."""
    try:
        rejected = msgspec.json.decode(body, type=_Applied).rejected
    except msgspec.MsgspecError:
        return "its answer is not understood"
    return rejected[0].reason or "no reason given" if rejected else ""
