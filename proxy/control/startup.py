"""What a start does before the first write: the journal's roles are made known, or the start is refused.

Writes are fenced until the primary has durably taken the present epoch; reads pass from the first moment.
"""

from __future__ import annotations

import asyncio

import structlog

from proxy.control import epochs
from proxy.control.actual import Actual
from proxy.control.switching import Switching
from proxy.errors import TurnoutError
from proxy.kinds import Kinds
from proxy.ports import MirrorControl, Sender

log = structlog.get_logger("control")

AGAIN_S = 0.2
LOOK_TIMEOUT_S = 2.0


async def check_upstreams(sender: Sender, actual: Actual, names: tuple[str, str], kinds: Kinds) -> None:
    """Before the listeners open: learn who is versioned, refuse upstreams of another journal. One that is away is not judged yet."""
    meta = actual.meta
    for name in names:
        try:
            known = await epochs.look(sender, name, kinds, timeout_s=LOOK_TIMEOUT_S)
        except TurnoutError as error:
            log.warning("upstream_away", upstream=name, error=str(error))
            continue
        if known is None:
            log.warning("upstream_plain", upstream=name, next="docs/guarantees.md says what it gets")
            continue
        if known.journal not in (None, meta.journal_id):
            raise epochs.ForeignJournalError(
                f"{name} belongs to journal {known.journal}, the journal here is {meta.journal_id}",
                "use the state folder of the proxy that served it; `turnout proxy --adopt` takes it over and marks everything unproven",
            )
        if known.epoch > meta.burned:
            raise epochs.ForeignJournalError(
                f"{name} knows epoch {known.epoch}; the journal here never went beyond {meta.burned}",
                "was the journal restored from an older copy? `turnout proxy --adopt` goes on and marks everything unproven",
            )


async def adopt(sender: Sender, actual: Actual, names: tuple[str, str], kinds: Kinds) -> None:
    """``--adopt``: the highest epoch known + 1, the announced primary kept, everything a gap. Both upstreams must answer."""
    looks = {name: await epochs.look(sender, name, kinds, timeout_s=LOOK_TIMEOUT_S) for name in names}
    known = {name: answer for name, answer in looks.items() if answer is not None}
    primary = next((name for name, answer in known.items() if answer.role == "primary"), actual.meta.primary)
    epoch = max(actual.meta.burned, *(answer.epoch for answer in known.values())) + 1
    await actual.adopt(epoch, primary)
    counters: dict[str, int] = {}
    for answer in known.values():
        for collection, value in answer.counters.items():
            counters[collection] = max(value, counters.get(collection, 0))
    for name in sorted(known, key=lambda name: name != primary):
        await epochs.announce(
            sender,
            name,
            epoch=epoch,
            role="primary" if name == primary else "secondary",
            journal_id=actual.meta.journal_id,
            counters=counters,
            adopt=True,
        )
    log.warning("adopted", primary=primary, epoch=epoch, next="turnout validate")


async def open_for_writes(
    sender: Sender, actual: Actual, mirror: MirrorControl, switching: Switching, kinds: Kinds
) -> None:
    """Until the primary has taken the present epoch (the next one, if one was burned and never committed); then the fence opens."""
    meta = actual.meta
    has_failed = False
    while True:
        try:
            if meta.burned > meta.epoch:
                await switching.renew()
            else:
                await epochs.ensure(
                    sender,
                    meta.primary,
                    kinds,
                    epoch=meta.epoch,
                    role="primary",
                    journal_id=meta.journal_id,
                    burned=meta.burned,
                )
        except TurnoutError as error:
            if not has_failed:
                log.error(
                    "writes_wait",
                    primary=meta.primary,
                    error=str(error),
                    next="they go on as soon as it answers",
                )
            has_failed = True
            await asyncio.sleep(AGAIN_S)
        else:
            switching.is_open = True
            mirror.release()
            log.info("writes_open", primary=meta.primary, epoch=meta.epoch)
            return


async def ensure_secondary(sender: Sender, actual: Actual, upstream: str, kinds: Kinds) -> bool:
    """Whether the upstream answers and knows the present epoch as secondary; tells it. TurnoutError says what stands against it."""
    meta = actual.meta
    if meta.burned > meta.epoch:
        return False
    if not kinds.is_known(meta.primary):
        # Not having heard of it yet makes it no plain one: what is mirrored from a plain primary gets numbers of our own making.
        await epochs.look(sender, meta.primary, kinds)
    await epochs.ensure(
        sender,
        upstream,
        kinds,
        epoch=meta.epoch,
        role="secondary",
        journal_id=meta.journal_id,
        burned=meta.burned,
    )
    await actual.remember_kinds(kinds.versioned)
    return True
