"""Telling the upstreams who is primary (docs/protocol.md, Epoch). Owns no state: the journal does."""

from __future__ import annotations

import json
from collections.abc import Mapping

import structlog

from proxy.errors import RefusedError, UpstreamError
from proxy.kinds import Kind, Kinds, kind_shown
from proxy.ports import Sender
from proxy.protocol import EPOCH_PATH, EpochAnswer, parse_code, parse_epoch

log = structlog.get_logger("control")

ANNOUNCE_TIMEOUT_S = 2.0


class ForeignJournalError(RefusedError):
    """An upstream belongs to another journal, or knows an epoch that this journal never burned."""

    code = "foreign-journal"


async def look(
    sender: Sender, upstream: str, kinds: Kinds, *, timeout_s: float = ANNOUNCE_TIMEOUT_S
) -> EpochAnswer | None:
    """What the upstream knows; None where it is plain. ``kinds`` learns which it is. UpstreamError where it does not say (5xx too)."""
    reply = await sender.send(upstream, "GET", EPOCH_PATH, timeout_s=timeout_s)
    was_versioned = kinds.is_versioned(upstream)
    kind, answer = kind_shown(reply.status, reply.body, was_versioned=was_versioned)
    kinds.shown(upstream, kind)
    if kind is Kind.PLAIN or answer is not None:
        return answer
    if reply.status in (401, 403, 407):
        hint = "give the proxy and the server the same TURNOUT_MIRROR_TOKEN"
        if not was_versioned and parse_code(reply.body) != "mirror-token":
            hint += f"; a server of your own lets GET {EPOCH_PATH} through, and answers 404"
        raise UpstreamError(f"{upstream} does not let the mirror in ({reply.status})", hint)
    if reply.status >= 500 or reply.status in (408, 421, 425, 429):
        raise UpstreamError(f"{upstream} answers {reply.status}", f"is {upstream}'s data store running?")
    raise UpstreamError(
        f"{upstream} kept the protocol before, and answers {reply.status} at {EPOCH_PATH} now",
        "is another server at its address? A move to a plain one begins with a new state folder",
    )


async def announce(
    sender: Sender,
    upstream: str,
    *,
    epoch: int,
    role: str,
    journal_id: str,
    counters: Mapping[str, int],
    adopt: bool = False,
    timeout_s: float = ANNOUNCE_TIMEOUT_S,
) -> EpochAnswer:
    """Durable there on return. ForeignJournalError where it refuses; UpstreamError where it does not answer."""
    body = {"epoch": epoch, "role": role, "journal": journal_id, "counters": dict(counters), "adopt": adopt}
    reply = await sender.send(
        upstream,
        "POST",
        EPOCH_PATH,
        [("Content-Type", "application/json")],
        json.dumps(body).encode(),
        timeout_s=timeout_s,
    )
    answer = parse_epoch(reply.body) if reply.status == 200 else None
    if answer is not None:
        log.info("epoch_announced", upstream=upstream, epoch=epoch, role=role)
        return answer
    if reply.status == 409:
        raise ForeignJournalError(
            f"{upstream} refuses epoch {epoch} of journal {journal_id}: {reply.body.decode(errors='replace')[:200]}",
            "another proxy speaks to it, or this state folder is not its own; `turnout proxy --adopt` takes it over",
        )
    raise UpstreamError(f"{upstream} answers {reply.status} to an announcement")


async def ensure(
    sender: Sender,
    upstream: str,
    kinds: Kinds,
    *,
    epoch: int,
    role: str,
    journal_id: str,
    burned: int,
    timeout_s: float = ANNOUNCE_TIMEOUT_S,
) -> EpochAnswer | None:
    """Tell the upstream the present epoch unless it knows it; a plain one is told nothing. ForeignJournalError where it knows what this journal never said."""
    known = await look(sender, upstream, kinds, timeout_s=timeout_s)
    if known is None:
        return None
    if known.journal not in (None, journal_id):
        raise ForeignJournalError(
            f"{upstream} belongs to journal {known.journal}, this one is {journal_id}",
            "use the state folder of the proxy that served it; `turnout proxy --adopt` takes it over and marks everything unproven",
        )
    if known.epoch > burned:
        raise ForeignJournalError(
            f"{upstream} knows epoch {known.epoch}; this journal never went beyond {burned}",
            "the journal was restored from an older copy? `turnout proxy --adopt` goes on and marks everything unproven",
        )
    if (known.epoch, known.role, known.journal) == (epoch, role, journal_id):
        return known
    return await announce(
        sender, upstream, epoch=epoch, role=role, journal_id=journal_id, counters={}, timeout_s=timeout_s
    )
