"""Before a gap is cleared, the secondary gets every kept answer that it lacks (docs/protocol.md, A2 and A4; DESIGN section 9, Idempotency)."""

from __future__ import annotations

from urllib.parse import quote

import msgspec
import structlog

from proxy.errors import UpstreamError
from proxy.ports import Sender
from proxy.protocol import ANSWERS_PATH, parse_answers

log = structlog.get_logger("control")

TIMEOUT_S = 10.0


async def copy_answers(sender: Sender, primary: str, secondary: str, epoch: tuple[str, str]) -> int:
    """How many were offered. Those that the secondary has stay as they are. UpstreamError where one of the two does not go along."""
    after, copied = "", 0
    while True:
        target = f"{ANSWERS_PATH}?after={quote(after, safe='')}" if after else ANSWERS_PATH
        reply = await sender.send(primary, "GET", target, [epoch], timeout_s=TIMEOUT_S)
        if reply.status == 404:
            return copied  # it keeps none for others
        page = parse_answers(reply.body) if reply.status == 200 else None
        if page is None:
            raise UpstreamError(
                f"{primary} answers {reply.status} when it is asked for the answers that it keeps"
            )
        if page.answers:
            kept = await sender.send(
                secondary,
                "POST",
                ANSWERS_PATH,
                [epoch, ("Content-Type", "application/json")],
                msgspec.json.encode({"answers": page.answers}),
                timeout_s=TIMEOUT_S,
            )
            if kept.status == 404:
                return copied
            if kept.status != 200:
                raise UpstreamError(f"{secondary} answers {kept.status} to the answers of {primary}")
            copied += len(page.answers)
        if not page.next:
            log.info("answers_copied", upstream=secondary, count=copied)
            return copied
        after = page.next
