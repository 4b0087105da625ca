"""The routes under /api: collections, records and singletons (DESIGN section 8), for clients and for the mirror alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from backends.calls import Call, Protocol, ServerOptions
from backends.contract import answers, canonical, problems, writes
from backends.contract.ids import id_text, is_usable_id
from backends.contract.numbers import Repair
from backends.contract.querystring import parse_listing, parse_relations
from backends.contract.relations import NO_RELATIONS, Relations
from backends.contract.writes import Moment, Numbering, RepairWrite, Rule, Write
from backends.query import Query
from backends.related import join
from backends.store import Answer, Changed, Epoch, EpochState, Role, StaleEpochError, Store

Rules = Callable[[Moment], Rule]
"""The rule of a write, once its time is known."""

NAMES_KNOWN_MAX = 4096
PINNED_TRIES_MAX = 5
REPAIR_BYTES_MAX = 64 << 20
"""A record as it is kept is longer than the body that made it; what an old file holds may be longer still."""

ALLOW_COLLECTION = "GET, HEAD, POST, OPTIONS"
ALLOW_RECORD = "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"
ALLOW_SINGLETON = "GET, HEAD, PUT, PATCH, OPTIONS"


class Names:
    """Which names are singletons: a fact of the store, remembered, as every request to ``/api/{name}`` asks for it.

    Only a repair, a batch or a floor changes it; they call :meth:`forget`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, bool] = {}

    async def is_singleton(self, name: str) -> bool:
        known = self._known.get(name)
        if known is None:
            state, _ = await self._store.get("", name)
            known = state.body is not None
            if len(self._known) >= NAMES_KNOWN_MAX:
                self._known.clear()
            self._known[name] = known
        return known

    async def demand_free(self, name: str, *, for_singleton: bool) -> None:
        """Problem conflict where the name is one of the other kind already: data.json can hold only one of the two."""
        if for_singleton:
            page = await self._store.page(name, Query(limit=1))
            if page.total:
                raise problems.Problem(409, "conflict", f"{name!r} is a collection with records in it.")
        elif await self.is_singleton(name):
            raise problems.Problem(409, "conflict", f"{name!r} is a singleton.")

    def forget(self) -> None:
        self._known.clear()


class Resources:
    """Answers requests to ``/api/{name}`` and ``/api/{collection}/{id}``."""

    def __init__(self, store: Store, options: ServerOptions, names: Names) -> None:
        self._store = store
        self._options = options
        self._names = names

    async def answer(self, call: Call, segments: list[str]) -> Answer:
        """Problems and the store's errors go to the caller."""
        if len(segments) == 2:
            return await self._record(call, segments[0], segments[1])
        name = segments[0]
        protocol = call.protocol()
        if isinstance(protocol.mirror, Repair) and call.method in ("PUT", "DELETE"):
            return await self._repair(call, protocol, protocol.mirror, "", name)
        if await self._names.is_singleton(name):
            return await self._singleton(call, protocol, name)
        return await self._collection(call, protocol, name)

    async def _collection(self, call: Call, protocol: Protocol, collection: str) -> Answer:
        if call.method in ("GET", "HEAD"):
            await self._check_read(protocol)
            return await self._list(call, collection)
        if call.method != "POST":
            return _other_method(call, ALLOW_COLLECTION)
        _no_query(call)
        conditions = call.conditions()
        fields, _ = await call.fields()
        record_id: str | None = None
        if "id" not in fields:
            conditions.check_create()  # before an id is made: none is spent on what cannot be
        else:
            record_id = id_text(fields["id"])
            if record_id is None or not is_usable_id(record_id):
                raise problems.bad_json(
                    "An id is an integer, or a string of 1–512 bytes that is no dot segment."
                )
        return await self._write(
            call,
            protocol,
            collection,
            record_id,
            lambda moment: writes.create(fields, moment, conditions),
            fields,
        )

    async def _record(self, call: Call, collection: str, record_id: str) -> Answer:
        protocol = call.protocol()
        method = call.method
        if method in ("GET", "HEAD"):
            await self._check_read(protocol)
            relations = parse_relations(call.query) if call.query else NO_RELATIONS
            return await self._read(call, collection, record_id, relations)
        if method not in ("PUT", "PATCH", "DELETE"):
            return _other_method(call, ALLOW_RECORD)
        if isinstance(protocol.mirror, Repair) and method != "PATCH":
            return await self._repair(call, protocol, protocol.mirror, collection, record_id)
        _no_query(call)
        conditions = call.conditions()
        if method == "DELETE":
            return await self._write(
                call, protocol, collection, record_id, lambda _: writes.remove(conditions), None
            )
        fields, is_merge = await call.fields()
        if method == "PUT":
            if conditions.creates:
                await self._names.demand_free(collection, for_singleton=False)
            return await self._write(
                call,
                protocol,
                collection,
                record_id,
                lambda moment: writes.replace(fields, moment, conditions),
                fields,
            )
        return await self._write(
            call,
            protocol,
            collection,
            record_id,
            lambda moment: writes.patch(fields, moment, conditions, is_merge_patch=is_merge),
            fields,
        )

    async def _singleton(self, call: Call, protocol: Protocol, name: str) -> Answer:
        method = call.method
        _no_query(call)
        if method in ("GET", "HEAD"):
            await self._check_read(protocol)
            return await self._read(call, "", name, NO_RELATIONS)
        if method not in ("PUT", "PATCH"):
            return _other_method(call, ALLOW_SINGLETON)
        conditions = call.conditions()
        fields, is_merge = await call.fields()
        if method == "PUT":
            rule = writes.replace_singleton(fields, conditions)
        else:
            rule = writes.patch_singleton(fields, conditions, is_merge_patch=is_merge)
        return await self._write(call, protocol, "", name, lambda _: rule, fields)

    async def _read(self, call: Call, collection: str, record_id: str, relations: Relations) -> Answer:
        state, watermark = await self._store.get(collection, record_id)
        role = (await self._store.epoch()).role
        at = state.at if role is Role.SECONDARY else max(state.at, watermark)
        if relations and state.body is not None:
            bodies = await join(self._store, collection, [state.body], relations)
            state = replace(state, body=bodies[0])
        return answers.read_answer(state, at, call.conditions())

    async def _list(self, call: Call, collection: str) -> Answer:
        listing = parse_listing(call.query)
        page = await self._store.page(collection, listing.query)
        last_id = None
        if listing.unit == "_after" and page.bodies:
            last_id = id_text(json.loads(page.bodies[-1])["id"])
        link = listing.link(call.path, page.total, len(page.bodies), last_id)
        bodies = page.bodies
        if listing.relations:
            bodies = await join(self._store, collection, bodies, listing.relations)
        return answers.list_answer(bodies, page.total, link, call.conditions())

    async def _check_read(self, protocol: Protocol) -> None:
        """E3 holds for reads too; what only writes may carry is refused."""
        if protocol.mirror is not None or protocol.request is not None:
            raise problems.bad_header("Turnout-Mirror and Turnout-Request are for writes.")
        if protocol.epoch is not None:
            known = await self._store.epoch()
            if protocol.epoch != _pinned(known):
                raise StaleEpochError(known)

    async def _write(
        self,
        call: Call,
        protocol: Protocol,
        collection: str,
        record_id: str | None,
        rule_at: Rules,
        fields: Mapping[str, Any] | None,
    ) -> Answer:
        """A client's write or a replay of one, at whatever role this server has at the moment of the decision."""
        self._demand_writable()
        replay = protocol.mirror
        if isinstance(replay, Repair):
            raise problems.bad_header("A repair is a PUT or a DELETE.")
        key_path = answers.key_of(collection, "" if record_id is None or call.method == "POST" else record_id)
        idempotency = call.idempotency(key_path, fields, only_kept=replay is not None)
        rule = rule_at(Moment(answers.timestamp(self._options.wall()), is_replay=replay is not None))
        for _ in range(PINNED_TRIES_MAX):
            known = await self._store.epoch()
            if replay is not None and known.role is not Role.SECONDARY:
                raise _not_secondary(known)
            is_foreign = replay is None and known.role is Role.SECONDARY
            write = Write(rule, Numbering(replay, is_foreign))
            try:
                changed = await self._store.change(
                    collection,
                    record_id,
                    write,
                    # where the client names no epoch, the one that its role was read from: a switch in between decides anew
                    epoch=protocol.epoch or _pinned(known),
                    request=protocol.request,
                    idempotency=idempotency,
                    answer=lambda changed, write=write: answers.write_answer(write, collection, changed),
                )
            except StaleEpochError:
                if protocol.epoch is not None:
                    raise
                continue
            if isinstance(changed, Changed):
                return answers.write_answer(write, collection, changed)
            _demand_same_id(changed, collection, record_id if call.method == "POST" else None)
            return changed
        raise problems.unavailable("The epoch changes too often.")

    async def _repair(
        self, call: Call, protocol: Protocol, repair: Repair, collection: str, record_id: str
    ) -> Answer:
        """M2: the bytes as sent, or a tombstone."""
        self._demand_writable()
        body: bytes | None = None
        if call.method == "PUT":
            body = await call.body(REPAIR_BYTES_MAX)
            record = canonical.parse_tolerant(body)
            canonical.check_depth(body, record)
            if not isinstance(record, dict) or (collection and id_text(record.get("id")) != record_id):  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
                raise problems.bad_json("A repair brings the record that its path names.")
            await self._names.demand_free(collection or record_id, for_singleton=not collection)
        known = await self._store.epoch()
        if known.role is not Role.SECONDARY:
            raise _not_secondary(known)
        write = RepairWrite(body, repair)
        changed = await self._store.change(
            collection, record_id, write, epoch=protocol.epoch or _pinned(known), request=protocol.request
        )
        if not collection:
            self._names.forget()
        assert isinstance(changed, Changed), "a repair keeps no answer under a key"
        return answers.repair_answer(write, collection, changed)

    def _demand_writable(self) -> None:
        if self._options.read_only:
            raise problems.read_only()


def _other_method(call: Call, allow: str) -> Answer:
    if call.method == "OPTIONS":
        return Answer(204, (("Allow", allow),), b"")
    raise problems.method_not_allowed(allow)


def _no_query(call: Call) -> None:
    """A parameter that means nothing here is refused, as everywhere."""
    if call.query:
        raise problems.bad_query("Parameters belong to reads of collections and records.")


def _pinned(known: EpochState) -> Epoch | None:
    return None if known.journal is None else Epoch(known.epoch, known.journal)


def _not_secondary(known: EpochState) -> problems.Problem:
    return problems.stale_epoch(
        known.epoch,
        known.journal,
        f"Replay and repair are for a secondary; this server's role is {known.role}.",
    )


def _demand_same_id(kept: Answer, collection: str, record_id: str | None) -> None:
    """The fingerprint leaves the id out; a POST that names another one than the kept answer is another request."""
    location = next((value for name, value in kept.headers if name == "Location"), None)
    if record_id is not None and location is not None and location != answers.path_of(collection, record_id):
        raise problems.idempotency_mismatch()
