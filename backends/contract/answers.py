"""Answers as values: what a read, a write or a repair says, headers included. The HTTP layer only sends them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from backends.contract.conditions import Conditions, etag
from backends.contract.numbers import read_version, write_version
from backends.contract.problems import Problem, not_found
from backends.contract.writes import RepairWrite, Write
from backends.store import Answer, Changed, State

JSON_TYPE: tuple[str, str] = ("Content-Type", "application/json; charset=utf-8")


def timestamp(wall_s: float) -> str:
    """Seconds since 1970 as RFC 3339 UTC with milliseconds."""
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def path_of(collection: str, record_id: str) -> str:
    """The path of a record (Location), each segment encoded."""
    return f"/api/{quote(collection, safe='')}/{quote(record_id, safe='')}"


def key_of(collection: str, record_id: str) -> str:
    """The key of a record or singleton as the proxy writes it: each segment decoded, one with a slash made sure (V1)."""
    return (
        f"/api/{_segment(collection)}/{_segment(record_id)}" if collection else f"/api/{_segment(record_id)}"
    )


_HARD = re.compile(r"/|%2[5Ff]")


def _segment(decoded: str) -> str:
    return decoded if _HARD.search(decoded) is None else decoded.replace("%", "%25").replace("/", "%2F")


def write_answer(write: Write, collection: str, changed: Changed) -> Answer:
    """What a client's write or a replay is answered with. A DELETE answers the record that was."""
    if write.problem is not None:
        return write.problem.answer()
    after = changed.after.body
    headers = [JSON_TYPE]
    if after is not None:
        headers.append(("ETag", etag(after)))
    if write.status == 201:
        headers.append(("Location", path_of(collection, changed.id)))
    if changed.after.version is not None:
        headers.append(("Turnout-Version", write_version(changed.before, changed.after)))
    return Answer(write.status, tuple(headers), (after if after is not None else changed.before.body) or b"")


def repair_answer(repair: RepairWrite, collection: str, changed: Changed) -> Answer:
    """200 with what is there now, whether it applied or not (M2); 201 where it created."""
    after = changed.after
    version = ("Turnout-Version", read_version(after, after.at))
    if after.body is None:
        return Answer(200, (JSON_TYPE, version), b"null")
    if repair.has_applied and changed.before.body is None:
        headers = (JSON_TYPE, ("ETag", etag(after.body)), version)
        return Answer(201, (*headers, ("Location", path_of(collection, changed.id))), after.body)
    return Answer(200, (JSON_TYPE, ("ETag", etag(after.body)), version), after.body)


def read_answer(state: State, at: int, conditions: Conditions) -> Answer:
    """GET of a record or singleton; the version is said also where nothing is (R1)."""
    version = ("Turnout-Version", read_version(state, at))
    if state.body is None:
        return _with(not_found(), version)
    tag = etag(state.body)
    try:
        if conditions.check_read(tag):
            return Answer(304, (("ETag", tag), version), b"")
    except Problem as problem:
        return _with(problem, version)
    return Answer(200, (JSON_TYPE, ("ETag", tag), version), state.body)


def list_answer(bodies: Sequence[bytes], total: int, link: str, conditions: Conditions) -> Answer:
    """GET of a collection: a bare array."""
    body = b"[" + b",".join(bodies) + b"]"
    tag = etag(body)
    headers = [("ETag", tag), ("X-Total-Count", str(total))]
    if link:
        headers.append(("Link", link))
    if conditions.check_read(tag):
        return Answer(304, tuple(headers), b"")
    return Answer(200, (JSON_TYPE, *headers), body)


def _with(problem: Problem, header: tuple[str, str]) -> Answer:
    answer = problem.answer()
    return Answer(answer.status, (*answer.headers, header), answer.body)
