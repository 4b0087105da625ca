"""The decision: a route's ``upstream``, then ``never``, ``always``, sticky and weight. The hot path.

What a snapshot says is turned into a table once, when the first request meets it; after that an ordinary request
costs a scan of the routes and one look at each header that a rule names.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Final

from proxy.model import BUCKETS, COOKIE_NAME, Decision, HeadView, Kind, Reason, Snapshot, StickyBy
from proxy.ports import Dice
from proxy.routing.dice import WEIGHT_ALL
from proxy.routing.match import cookie_value
from proxy.routing.paths import decoded
from proxy.routing.table import READ_METHODS, Plan, Row, Table

_READ: Final = Kind.READ
_BY_COOKIE: Final = StickyBy.COOKIE
_BY_IP: Final = StickyBy.IP
_BY_HEADER: Final = StickyBy.HEADER
"""An enum's member is looked up by two Python dicts and a descriptor each time it is named."""

_table: Table | None = None
"""The table of the snapshot seen last: a memo of a pure function. One entry is enough, as a process has one routing."""


def decide(head: HeadView, snapshot: Snapshot, dice: Dice) -> Decision:
    """Where one request goes, and which rule said so.

    With the mirror on, a write's decision names who *answers* it; it is executed at the primary in any case.
    """
    row = row_of(head, snapshot)
    if row.kind is None:
        rule = row.read if head.method in READ_METHODS else row.write
    else:
        rule = row.read if row.kind is _READ else row.write
    return rule if isinstance(rule, Decision) else _by_canary(rule, head, dice)


def row_of(head: HeadView, snapshot: Snapshot) -> Row:
    """The first row that matches the decoded path and the method."""
    global _table
    table = _table
    if table is None or table.snapshot is not snapshot:
        _table = table = Table(snapshot)
    path = head.path if head.is_ordinary else decoded(head.path)[0]
    rows = table.rows
    for row in rows:
        if (path == row.exact or (row.below and path.startswith(row.below))) and (
            row.methods is None or head.method in row.methods
        ):
            return row
    return rows[-1]  # a target without a leading slash, such as `*`


def _by_canary(plan: Plan, head: HeadView, dice: Dice) -> Decision:
    if _may_match(plan, head):
        for test, decision in plan.never:
            if test(head):
                return decision
        for test, decision in plan.always:
            if test(head):
                return decision
    weight = plan.weight_bp
    if weight <= 0:
        return plan.weighed.primary
    if weight >= WEIGHT_ALL:
        return plan.weighed.secondary
    by = plan.by
    if by is _BY_COOKIE:
        bucket = bucket_of_cookie(head.header("cookie"))
        return _new_client(plan, dice.new_bucket()) if bucket is None else _stuck(plan, bucket)
    if by is _BY_IP:
        return _stuck(plan, bucket_of(head.client_ip))
    if by is _BY_HEADER:
        value = head.header(plan.sticky_header)
        if value is not None:
            return _stuck(plan, bucket_of(value))
    return plan.weighed.secondary if dice.take(plan.sequence, weight) else plan.weighed.primary


def _may_match(plan: Plan, head: HeadView) -> bool:
    watched = plan.watched
    if watched is None:
        return True
    for name in watched:  # noqa: SIM110 - any() would make a generator for each request
        if head.header(name) is not None:
            return True
    return False


def _stuck(plan: Plan, bucket: int) -> Decision:
    return plan.stuck.secondary if bucket < plan.weight_bp else plan.stuck.primary


def _new_client(plan: Plan, bucket: int) -> Decision:
    """Made once for each bucket of a plan: there are BUCKETS of them at most."""
    made = plan.new_clients.get(bucket)
    if made is None:
        known = _stuck(plan, bucket)
        made = Decision(known.upstream, Reason.STICKY, known.route, known.is_write, bucket, known.line)
        plan.new_clients[bucket] = made
    return made


def bucket_of_cookie(header: str | None) -> int | None:
    """The bucket that a client brings; None where it brings none, or one that we never gave: it then gets a new one."""
    text = cookie_value(header, COOKIE_NAME)
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > len(str(BUCKETS - 1)):
        return None
    bucket = int(text)
    return bucket if str(bucket) == text else None


@lru_cache(maxsize=8192)
def bucket_of(text: str) -> int:
    """A bucket that is the same in every process and on every machine: never Python's own, salted hash."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % BUCKETS
