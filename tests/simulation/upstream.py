"""An upstream: the production application and the production JSON store over a simulated disk.

Beside the contract it has one operation that is not idempotent, `PATCH …?append`: it adds the write's name to the
record's log. Executed twice, or in another order, it shows. A *plain* one is the same without a word of the protocol.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from aiohttp import HttpVersion11
from multidict import CIMultiDict

from backends.app import Front, ServerOptions
from backends.calls import Call
from backends.contract.canonical import encode_record
from backends.contract.problems import not_found
from backends.contract.writes import Moment, Outcome, Rule
from backends.json_changes import Changes
from backends.json_entries import Changed, pack
from backends.json_state import Memory
from backends.json_store import JsonStore
from backends.resources import Resources
from backends.store import Answer
from proxy.model import Reply
from tests.simulation.bulk import BulkRoutes, bulk, is_bulk
from tests.simulation.disk import StoreDisk, StoreJournal
from tests.simulation.loop import Process
from tests.simulation.network import Request


class StoreInMemory(JsonStore):
    """The JSON store without data.json: what is on the simulated disk is all that there is."""

    def __init__(self, memory: Memory, changes: Changes) -> None:
        self._memory = memory
        self._changes = changes
        self._journal = changes.journal
        self._exporter = None


class Appending(Resources):
    """The contract, `PATCH …?append`, and writes that name no single record (bulk.py)."""

    memory: Memory
    changes: Changes

    async def answer(self, call: Call, segments: list[str]) -> Answer:
        if is_bulk(call, segments):
            return await bulk(call, segments, self.memory, self.changes, self._options.wall())
        return await super().answer(call, segments)

    async def _record(self, call: Call, collection: str, record_id: str) -> Answer:
        if call.method != "PATCH" or call.query != "append":
            return await super()._record(call, collection, record_id)
        fields, _ = await call.fields()
        return await self._write(
            call, call.protocol(), collection, record_id, lambda moment: _append(fields, moment), fields
        )


def _append(fields: Mapping[str, Any], moment: Moment) -> Rule:
    def rule(record_id: str, current: bytes | None) -> Outcome:
        if current is None:
            raise not_found(f"There is no record {record_id!r}.")
        there = json.loads(current)
        log = [*there.get("log", []), fields["by"]]
        return Outcome(
            200,
            encode_record(
                there["id"], {**there, "by": fields["by"], "log": log}, moment.stamps(fields, there)
            ),
        )

    return rule


class FakeRequest:
    """What backends.calls.Call asks of an aiohttp request."""

    def __init__(self, request: Request) -> None:
        self.version = HttpVersion11
        self.method = request.method
        self.raw_path = request.target
        self.headers = CIMultiDict(request.headers)
        self.headers.setdefault("Host", "simulated")
        self.content_length = len(request.body)
        self.content = self
        self.transport = self
        self._body = request.body

    async def iter_any(self) -> Any:
        if self._body:
            yield self._body

    def get_extra_info(self, _name: str) -> tuple[str, int]:
        return ("127.0.0.1", 40000)


class Upstream:
    """One life of one upstream."""

    def __init__(
        self,
        process: Process,
        disk: StoreDisk,
        dice: random.Random,
        wall: Callable[[], float],
        *,
        sync_s: float,
        is_full: Callable[[], bool],
        is_plain: bool = False,
    ) -> None:
        self._is_plain = is_plain
        self.memory = remember(disk)
        changes = Changes(
            self.memory,
            lambda changes: StoreJournal(process, disk, changes.wake, dice, sync_s=sync_s, is_full=is_full),  # type: ignore[arg-type, return-value]
            wall,
        )
        self._front = Front(StoreInMemory(self.memory, changes), ServerOptions(process.name, wall=wall))
        names = self._front._resources._names
        store, options = self._front._store, self._front._options
        resources = self._front._resources = Appending(store, options, names)
        resources.memory, resources.changes = self.memory, changes
        self._front._protocol = BulkRoutes(store, options, names)

    async def serve(self, request: Request) -> Reply:
        if self._is_plain:
            if request.target.startswith("/_turnout"):
                return Reply(404, (("Content-Type", "text/plain"),), b"not here")
            kept = tuple(one for one in request.headers if not one[0].lower().startswith("turnout-"))
            request = replace(request, headers=kept)
        response = await self._front.serve(FakeRequest(request))  # type: ignore[arg-type]
        headers = tuple(
            (name, value)
            for name, value in response.headers.items()
            if not (self._is_plain and name.lower().startswith("turnout-"))
        )
        return Reply(response.status, headers, response.body or b"")  # type: ignore[attr-defined, arg-type]


def remember(disk: StoreDisk) -> Memory:
    """A start's recovery."""
    memory = Memory()
    for entry in disk.entries():
        memory.apply(entry)
    return memory


def seed_records(disk: StoreDisk, records: Mapping[str, bytes]) -> None:
    """What data.json held before anybody heard of Turnout: records without a version."""
    for record_id, body in records.items():
        disk.append(pack([Changed("items", record_id, body, None, 0, 0)]))
