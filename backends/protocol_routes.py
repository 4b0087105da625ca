"""The routes under /_turnout (docs/protocol.md): epochs, void, and moving the data. For the proxy and the tools only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from backends.calls import Call, ServerOptions
from backends.contract import canonical, problems
from backends.contract.answers import JSON_TYPE, key_of
from backends.contract.batches import BUCKETS, Buckets, bucket_of, parse_batch, record_hash
from backends.contract.ids import is_usable_id
from backends.contract.kept import answers_json, parse_answers
from backends.contract.numbers import NUMBER_MAX
from backends.resources import Names
from backends.store import Answer, Epoch, EpochState, Role, StaleEpochError, Store

BATCH_BYTES_MAX = 64 << 20
"""Of POST /_turnout/apply."""

ROWS_A_STEP = 500
EPOCH_MAX = NUMBER_MAX >> 41
"""So that the numbers of an epoch stay below 2^63."""

_T = TypeVar("_T")


class _EpochBody(msgspec.Struct, forbid_unknown_fields=True):
    epoch: int
    role: Role
    journal: str
    counters: dict[str, int] = {}
    adopt: bool = False


class _VoidBody(msgspec.Struct, forbid_unknown_fields=True):
    request: int


class _FloorBody(msgspec.Struct, forbid_unknown_fields=True):
    collection: str
    at: int


class ProtocolRoutes:
    """Answers requests to ``/_turnout/{what}``."""

    def __init__(self, store: Store, options: ServerOptions, names: Names) -> None:
        self._store = store
        self._options = options
        self._names = names
        self._routes: dict[str, dict[str, Callable[[Call, Epoch | None], Awaitable[Answer]]]] = {
            "epoch": {"GET": self._epoch, "POST": self._announce},
            "void": {"POST": self._void},
            "checkpoint": {"POST": self._checkpoint},
            "apply": {"POST": self._apply},
            "floor": {"POST": self._floor},
            "collections": {"GET": self._collections},
            "buckets": {"GET": self._buckets},
            "ids": {"GET": self._ids},
            "answers": {"GET": self._answers, "POST": self._keep_answers},
        }

    async def answer(self, call: Call, segments: list[str]) -> Answer:
        call.demand_token()
        if call.header("Origin") is not None:
            raise problems.mirror_token()  # a page in somebody's browser is on the loopback interface, too
        routes = self._routes.get(segments[0]) if len(segments) == 1 else None
        if routes is None:
            raise problems.not_found()
        route = routes.get(call.method)
        if route is None:
            raise problems.method_not_allowed(", ".join(routes))
        protocol = call.protocol()
        if protocol.mirror is not None or protocol.request is not None:
            raise problems.bad_header("Turnout-Mirror and Turnout-Request are for writes under /api.")
        if call.method == "POST" and self._options.read_only:
            raise problems.read_only()
        if protocol.epoch is not None and call.method == "GET":
            await self._demand_epoch(protocol.epoch)
        return await route(call, protocol.epoch)

    async def _epoch(self, _call: Call, _epoch: Epoch | None) -> Answer:
        return _epoch_answer(await self._store.epoch())

    async def _announce(self, call: Call, _epoch: Epoch | None) -> Answer:
        """The body says which epoch; a header could only say the one before."""
        body = _decoded(await call.body(), _EpochBody)
        if not 1 <= body.epoch <= EPOCH_MAX or not 1 <= len(body.journal) <= 128 or body.role is Role.NONE:
            raise problems.bad_json(
                f"An announcement has an epoch of 1–{EPOCH_MAX}, role primary or secondary, a journal of 1–128 characters."
            )
        if any(not 0 <= counter < 10**18 for counter in body.counters.values()):
            raise problems.bad_json("A counter has at most 18 digits.")
        return _epoch_answer(
            await self._store.announce(body.epoch, body.role, body.journal, body.counters, adopt=body.adopt)
        )

    async def _void(self, call: Call, epoch: Epoch | None) -> Answer:
        body = _decoded(await call.body(), _VoidBody)
        if not 0 <= body.request <= NUMBER_MAX:
            raise problems.bad_json("A request id is a number from 0 to 2^63 - 1.")
        done = await self._store.void(epoch, body.request)
        if done is None:
            return _json({"state": "never"})
        return _json({"state": "done", "key": key_of(done.collection, done.id), "version": done.version})

    async def _checkpoint(self, _call: Call, epoch: Epoch | None) -> Answer:
        if epoch is not None:
            await self._demand_epoch(epoch)
        return _json({"watermark": await self._store.checkpoint()})

    async def _apply(self, call: Call, epoch: Epoch | None) -> Answer:
        query = _query(call, "collection", "name")
        collection = query.get("collection", "")
        if ("name" in query) == ("collection" in query) or (
            "collection" in query and not is_usable_id(collection)
        ):
            raise problems.bad_query("Say either collection=<name> or name=<singleton>.")
        pinned = await self._demand_no_primary(epoch)
        lines, rejected = parse_batch(await call.body(BATCH_BYTES_MAX), is_singleton=not collection)
        if "name" in query and any(line.id != query["name"] for line in lines):
            raise problems.bad_json("Each line's id is the singleton's name.")
        await self._names.demand_free(collection or query["name"], for_singleton=not collection)
        applied = await self._store.apply(pinned, collection, lines)
        self._names.forget()
        return _json(
            {
                "applied": applied.applied,
                "kept": applied.kept,
                "rejected": [asdict(line) for line in rejected],
            }
        )

    async def _floor(self, call: Call, epoch: Epoch | None) -> Answer:
        body = _decoded(await call.body(), _FloorBody)
        if not 0 <= body.at <= NUMBER_MAX:
            raise problems.bad_json("at is a number from 0 to 2^63 - 1.")
        pinned = await self._demand_no_primary(epoch)
        swept = await self._store.raise_floor(pinned, body.collection, body.at)
        self._names.forget()
        return _json({"swept": swept})

    async def _collections(self, _call: Call, _epoch: Epoch | None) -> Answer:
        counts = {name: count for name, count in (await self._store.collections()).items() if name}
        singletons = [record_id async for record_id, _ in self._store.scan("")]
        return _json({"collections": counts, "singletons": singletons})

    async def _buckets(self, call: Call, _epoch: Epoch | None) -> Answer:
        query = _query(call, "collection", "name")
        buckets = Buckets()
        if "name" in query:
            state, _ = await self._store.get("", query["name"])
            if state.body is not None:
                buckets.add("", state.body)
            return _json(buckets.as_json())
        seen = 0
        async for record_id, body in self._store.scan(_required(query, "collection")):
            buckets.add(record_id, body)
            seen += 1
            if seen % ROWS_A_STEP == 0:
                await asyncio.sleep(0)
        return _json(buckets.as_json())

    async def _ids(self, call: Call, _epoch: Epoch | None) -> Answer:
        query = _query(call, "collection", "bucket")
        wanted = _buckets_of(query["bucket"]) if "bucket" in query else None
        found: dict[str, str] = {}
        seen = 0
        async for record_id, body in self._store.scan(_required(query, "collection")):
            if wanted is None or bucket_of(record_id) in wanted:
                found[record_id] = f"{record_hash(record_id, body):016x}"
            seen += 1
            if seen % ROWS_A_STEP == 0:
                await asyncio.sleep(0)
        return _json({"ids": found})

    async def _answers(self, call: Call, _epoch: Epoch | None) -> Answer:
        query = _query(call, "key", "after")
        found, has_more = await self._store.answers(query.get("key"), query.get("after", ""))
        page: dict[str, Any] = {"answers": answers_json(found)}
        if has_more:
            page["next"] = found[-1].idempotency_key
        return _json(page)

    async def _keep_answers(self, call: Call, epoch: Epoch | None) -> Answer:
        answers = parse_answers(await call.body(BATCH_BYTES_MAX))
        pinned = await self._demand_no_primary(epoch)
        return _json({"stored": await self._store.keep_answers(pinned, answers)})

    async def _demand_epoch(self, epoch: Epoch) -> EpochState:
        known = await self._store.epoch()
        if (epoch.epoch, epoch.journal) != (known.epoch, known.journal):
            raise StaleEpochError(known)
        return known

    async def _demand_no_primary(self, epoch: Epoch | None) -> Epoch | None:
        """Data moves into a secondary, or a server that was never told (M4); the epoch to hold the store to."""
        known = await self._store.epoch()
        if known.role is Role.PRIMARY:
            raise problems.stale_epoch(
                known.epoch, known.journal, "This server is the primary; data moves to the other."
            )
        return epoch or (None if known.journal is None else Epoch(known.epoch, known.journal))


def _epoch_answer(state: EpochState) -> Answer:
    return _json(
        {
            "turnout": 1,
            "epoch": state.epoch,
            "role": state.role,
            "journal": state.journal,
            "number": state.number,
            "counters": dict(state.counters),
        }
    )


def _json(value: Any) -> Answer:
    return Answer(200, (JSON_TYPE,), json.dumps(value, separators=(",", ":")).encode())


def _decoded(raw: bytes, shape: type[_T]) -> _T:
    canonical.parse_object(raw)
    try:
        return msgspec.json.decode(raw, type=shape)
    except msgspec.MsgspecError as error:
        raise problems.bad_json(f"{error}.") from None


def _query(call: Call, *known: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(call.query, keep_blank_values=True, errors="strict", max_num_fields=8)
    except ValueError:
        raise problems.bad_query("The query does not decode.") from None
    if len(dict(pairs)) != len(pairs) or any(name not in known for name, _ in pairs):
        raise problems.bad_query(f"Known parameters, each once: {', '.join(known)}.")
    if any("\x00" in value for _, value in pairs):
        raise problems.bad_query("No name holds a NUL.")
    return dict(pairs)


def _buckets_of(text: str) -> frozenset[int]:
    """``17`` or ``17,18``. Problem bad-query."""
    parts = text.split(",")
    if not all(
        part.isascii() and part.isdigit() and len(part) <= 4 and int(part) < BUCKETS for part in parts
    ):
        raise problems.bad_query(f"bucket is a number below {BUCKETS}, or several with commas between them.")
    return frozenset(map(int, parts))


def _required(query: dict[str, str], name: str) -> str:
    if name not in query:
        raise problems.bad_query(f"{name} is missing.")
    return query[name]
