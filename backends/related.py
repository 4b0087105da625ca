"""Answers ``_embed`` and ``_expand``: looks up the records that belong to those of an answer, in the same order on both stores.

Each collection is read at its own moment: a write in between may show in one and not yet in the other.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from backends.contract import problems
from backends.contract.ids import id_text, is_usable_id
from backends.contract.relations import (
    EMBEDDED_MAX,
    Relations,
    joined,
    keys_to,
    plurals_of,
    singulars_of,
)
from backends.query import Query, References
from backends.store import Store

LOOKUPS_AT_ONCE_MAX = 16


async def join(store: Store, collection: str, bodies: Sequence[bytes], relations: Relations) -> list[bytes]:
    """The bodies of records of ``collection`` with what they are to be joined with. Problem bad-query where that is too much."""
    records: list[dict[str, Any]] = [json.loads(body) for body in bodies]
    members: list[dict[str, bytes]] = [{} for _ in bodies]
    for name in relations.embeds:
        embedded = await _embedded(store, collection, name, records)
        for record, added in zip(records, members, strict=True):
            added[name] = b"[" + b",".join(embedded.get(id_text(record["id"]) or "", ())) + b"]"
    for name in relations.expands:
        references = References(keys_to([name]))
        wanted = [references.of(record) for record in records]
        found = await _expanded(store, name, {text for text in wanted if text is not None})
        for text, added in zip(wanted, members, strict=True):
            added[name] = b"null" if text is None else found.get(text, b"null")
    return [joined(body, added) for body, added in zip(bodies, members, strict=True)]


async def _embedded(
    store: Store, collection: str, name: str, records: Sequence[Mapping[str, Any]]
) -> dict[str, list[bytes]]:
    """The records of ``name`` by the id of the record that they refer to, in the order of creation."""
    ids = frozenset(text for record in records if (text := id_text(record["id"])) is not None)
    if not ids:
        return {}
    references = References(keys_to(singulars_of(collection)), ids)
    page = await store.page(name, Query(references=references, limit=EMBEDDED_MAX + 1))
    if len(page.bodies) > EMBEDDED_MAX:
        raise problems.bad_query(
            f"_embed={name} would bring more than {EMBEDDED_MAX} records; ask for fewer rows (_limit)."
        )
    found: dict[str, list[bytes]] = {}
    for body in page.bodies:
        owner = references.of(json.loads(body))
        assert owner is not None, "the query asked for those that refer"
        found.setdefault(owner, []).append(body)
    return found


async def _expanded(store: Store, name: str, ids: set[str]) -> dict[str, bytes]:
    """The records that ``name`` refers to, by id. Of the collections that it may mean, the first that holds any record."""
    counts = await store.collections()
    collection = next((form for form in plurals_of(name) if counts.get(form)), None)
    if collection is None:
        return {}
    gate = asyncio.Semaphore(LOOKUPS_AT_ONCE_MAX)

    async def look(record_id: str) -> tuple[str, bytes | None]:
        async with gate:
            state, _ = await store.get(collection, record_id)
            return record_id, state.body

    found = await asyncio.gather(*(look(text) for text in ids if is_usable_id(text)))
    return {record_id: body for record_id, body in found if body is not None}
