"""Writes that name no single record, as an upstream executes them: all that one changes is in one commit, with its request id.

    PATCH  /api/items         every record's log gets the write's name
    DELETE /api/items         every record with an odd id goes
    POST   /api/restock       records with even ids get the name, and record 50 is made where it was not; its route says `affects:`
    POST   /api/items?each    like PATCH; but the proxy cannot know: the answer names no key, and no route says what it affects

The answer says what changed (id → number), which the proxy does not understand and the checker does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from backends.calls import Call
from backends.contract.answers import timestamp
from backends.contract.canonical import encode_record
from backends.contract.ids import integer_of
from backends.contract.problems import stale_epoch
from backends.contract.writes import Moment
from backends.json_changes import Changes
from backends.json_entries import Changed, Decided, Entry
from backends.json_state import Memory
from backends.protocol_routes import ProtocolRoutes
from backends.store import Answer, Done, Epoch, RequestId, Role

COLLECTION = "items"
RESTOCKED = "50"
NO_KEY = f"/api/{COLLECTION}/"
"""What the store's void would say of a write that changed no single record."""


def is_bulk(call: Call, segments: list[str]) -> bool:
    return (call.method, segments, call.query) in (
        ("PATCH", [COLLECTION], ""),
        ("DELETE", [COLLECTION], ""),
        ("POST", ["restock"], ""),
        ("POST", [COLLECTION], "each"),
    )


async def bulk(call: Call, segments: list[str], memory: Memory, changes: Changes, wall: float) -> Answer:
    """Execute it as a client's write at a primary; a secondary refuses it."""
    protocol = call.protocol()
    if memory.role is Role.SECONDARY or protocol.mirror is not None:
        raise stale_epoch(memory.epoch, memory.journal, "A write without a key is for a primary.")
    fields: Mapping[str, Any] = {} if call.method == "DELETE" else (await call.fields())[0]
    stamp = Moment(timestamp(wall), is_replay=False)

    def decide() -> Iterator[tuple[str, bytes | None]]:
        live = memory.collections[COLLECTION].live if COLLECTION in memory.collections else {}
        for record_id, state in sorted(live.items()):
            is_odd = (integer_of(record_id) or 0) % 2 == 1
            if call.method == "DELETE" and is_odd:
                yield record_id, None
            elif call.method != "DELETE" and not (segments == ["restock"] and is_odd):
                assert state.body is not None
                yield record_id, _named(state.body, fields, stamp)
        if segments == ["restock"] and RESTOCKED not in live:
            made = encode_record(int(RESTOCKED), {"by": fields["by"]}, stamp.stamps(fields, None))
            yield RESTOCKED, made

    numbers = await _change_all(changes, decide, protocol.epoch, protocol.request)
    return Answer(200, (("Content-Type", "application/json"),), json.dumps({"changed": numbers}).encode())


def _named(body: bytes, fields: Mapping[str, Any], moment: Moment) -> bytes:
    there = json.loads(body)
    log = [*there.get("log", []), fields["by"]]
    return encode_record(there["id"], {**there, "by": fields["by"], "log": log}, moment.stamps(fields, there))


async def _change_all(
    changes: Changes, decide: Any, epoch: Epoch | None, request: RequestId | None
) -> dict[str, int]:
    """As Changes.change does it for one record: decided alone, durable together, the request id with it."""
    changes._check(epoch)
    if request is not None:
        changes._check_request(request.id)
    turn = changes._begin(request, None)
    numbers: dict[str, int] = {}
    try:
        async with changes._gate.alone():
            changes._check(epoch)
            entries: list[Entry] = []
            for record_id, body in decide():
                number = changes._number = changes._number + 1
                numbers[record_id] = number
                changes._count(COLLECTION, record_id)
                entries.append(Changed(COLLECTION, record_id, body, number, number, number))
            if request is not None:
                last = max(numbers.values(), default=None)
                entries.append(Decided(request.id, request.lowest_open, Done(COLLECTION, "", last)))
            if entries:
                await changes._settled(changes._submit(entries, turn, min(numbers.values(), default=None)))
        return numbers
    finally:
        if not turn.is_committing:
            changes._end(turn)


class BulkRoutes(ProtocolRoutes):
    """A void says of a write that changed no single record that it is done, and names no key (V1)."""

    async def _void(self, call: Call, epoch: Epoch | None) -> Answer:
        answer = await super()._void(call, epoch)
        said = json.loads(answer.body)
        if said.get("key") != NO_KEY:
            return answer
        return Answer(answer.status, answer.headers, json.dumps({**said, "key": ""}).encode())
