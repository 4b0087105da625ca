# ruff: noqa: S608 - the texts are put together from tables that table_name made, and from nothing else
"""The SQL of the PostgreSQL store, as text and arguments. Pure.

Table names are made here from a number and at most forty harmless letters, and are the only names ever put into a text;
all else travels as arguments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backends.postgres_batch import Batch, Key, Row
from backends.store import ANSWER_BYTES_A_PAGE, ANSWERS_A_PAGE, Answer, Done, KeptAnswer

TABLE = re.compile(r"r[0-9]+(?:_[a-z0-9_]{1,40})?\Z")
SLUG_CHARS_MAX = 40

ROW_COLUMNS = "body, version, at, created, arrival"

LOAD_META = "select number, newest, arrival, lowest_open, epoch, role, journal from meta"
LOAD_SHELVES = "select name, slot, table_name, counter, floor, live, odd from collections order by slot"
LOAD_REQUESTS = "select id, collection, record_id, version from requests where id >= $1 order by id"

_ANSWER_COLUMNS = "key, fingerprint, record_key, expires_ms, status, headers, body"
ANSWERS = f"select {_ANSWER_COLUMNS} from answers where key = any($1::text[])"
EXPIRE_ANSWERS = "delete from answers where expires_ms <= $1"
FORGET_REQUESTS = "delete from requests where id < $1"
FORGET_ALL_REQUESTS = "delete from requests"

NEW_SHELF = "insert into collections (name) values ($1) on conflict (name) do update set name = excluded.name returning slot"
NAME_TABLE = "update collections set table_name = $2 where name = $1"

ANNOUNCE = "update meta set epoch = $1, role = $2, journal = $3, number = $4, newest = greatest(newest, $4), lowest_open = $5"
RAISE_COUNTERS = (
    "insert into collections (name, counter) select * from unnest($1::text[], $2::bigint[])"
    " on conflict (name) do update set counter = greatest(collections.counter, excluded.counter)"
)
RAISE_FLOOR = "update collections set floor = $2, live = live - $3, odd = odd - $4 where name = $1"


def table_name(slot: int, collection: str) -> str:
    """A name that tells a person what is in it, unique by its number, never a reserved word."""
    slug = re.sub(r"[^a-z0-9]+", "_", collection.lower())[:SLUG_CHARS_MAX].strip("_") or (
        "" if collection else "singletons"
    )
    return f"r{slot}_{slug}" if slug else f"r{slot}"


def create_table(table: str) -> str:
    """A collection's table, its order of creation, and a view for people. ``body`` is the truth, and is null in a tombstone."""
    assert TABLE.match(table)
    return (
        f'create table {table} (id text collate "C" primary key, body text, version bigint, at bigint not null,'
        f" created bigint, arrival bigint not null, check ((body is null) = (created is null))) with (fillfactor = 90);"
        f"create index {table}_order on {table} (created, arrival) where created is not null;"
        f"create view {table}_json as select id, body::json as record, version, at from {table} where body is not null"
    )


def get_many(table: str) -> str:
    return f"select id, body, version, at from {_safe(table)} where id = any($1::text[])"


def page(table: str) -> str:
    """A window of the order of creation and the number of live records, of one moment: offset, limit, collection."""
    rows = f"select body from {_safe(table)} where created is not null order by created, arrival offset $1 limit $2"
    return f"select array({rows}) as bodies, (select live from collections where name = $3) as total"


def in_order(table: str, condition: str = "true") -> str:
    """The bodies of all live records, in the order of creation."""
    return f"select body from {_safe(table)} where created is not null and ({condition}) order by created, arrival"


def everything(table: str) -> str:
    return f"select id, body from {_safe(table)} where created is not null"


def sweep(table: str) -> str:
    """Live records below a number go, and tombstones not above it: an id that is not there has the floor as its ``at``."""
    return (
        f"with gone as (delete from {_safe(table)} where at < $1 or (body is null and at <= $1)"
        " returning id, body is not null as was_live)"
        " select count(*) filter (where was_live) as swept,"
        " count(*) filter (where was_live and id !~ '^(0|[1-9][0-9]{0,17})$') as odd from gone"
    )


def fetch_rows(tables: Mapping[str, str], keys: Iterable[Key]) -> tuple[str, list[list[str]], list[str]]:
    """The rows of many ids in one statement: text, arguments, and the collections in the order of their numbers in it."""
    wanted: dict[str, dict[str, None]] = {}
    for collection, record_id in keys:
        if collection in tables:
            wanted.setdefault(collection, {})[record_id] = None
    order = sorted(wanted)
    parts = [
        f"select {place} as place, id, {ROW_COLUMNS} from {_safe(tables[name])} where id = any(${place + 1}::text[])"
        for place, name in enumerate(order)
    ]
    return " union all ".join(parts), [list(wanted[name]) for name in order], order


def answers_page(*, of_key: bool) -> str:
    """A page of answers by their Idempotency-Keys: after, now, and the record's key if it is asked for.

    One more than a page holds, so that it is known whether there are more; what lies beyond the bound on bytes stays out.
    """
    condition = " and record_key = $3" if of_key else ""
    first = (
        f"select {_ANSWER_COLUMNS} from answers where key > $1 and expires_ms > $2{condition}"
        f" order by key limit {ANSWERS_A_PAGE + 1}"
    )
    sums = (
        "coalesce(sum(octet_length(body)) over (order by key rows between unbounded preceding and 1 preceding), 0) as before,"
        " count(*) over () as found"
    )
    return (
        f"select {_ANSWER_COLUMNS}, found from (select *, {sums} from ({first}) as first) as summed"
        f" where before < {ANSWER_BYTES_A_PAGE} order by key limit {ANSWERS_A_PAGE}"
    )


def row_of(record: Any) -> Row:
    return Row(record["body"], record["version"], record["at"], record["created"], record["arrival"])


def kept_of(record: Any) -> KeptAnswer:
    headers = tuple((name, value) for name, value in json.loads(record["headers"]))
    answer = Answer(record["status"], headers, record["body"])
    return KeptAnswer(
        record["key"], record["fingerprint"], record["record_key"], record["expires_ms"], answer
    )


def done_of(record: Any) -> Done | None:
    if record["collection"] is None:
        return None
    return Done(record["collection"], record["record_id"], record["version"])


@dataclass(slots=True)
class _Text:
    """A statement in the making: parts that each write one table, run as one."""

    parts: list[str] = field(default_factory=list[str])
    arguments: list[object] = field(default_factory=list[object])

    def arrays(self, types: Sequence[str], columns: Sequence[list[Any]]) -> str:
        """``unnest`` of the columns as arguments."""
        first = len(self.arguments) + 1
        self.arguments.extend(columns)
        places = (f"${first + place}::{name}[]" for place, name in enumerate(types))
        return f"unnest({', '.join(places)})"

    def add(self, part: str) -> None:
        self.parts.append(f"w{len(self.parts)} as ({part})")


def write(batch: Batch, tables: Mapping[str, str]) -> tuple[str, list[object]]:
    """All that a batch changes, as one statement: it commits whole, in one round trip."""
    text = _Text()
    for collection in sorted(batch.rows):
        _write_rows(text, tables[collection], batch.rows[collection])
    if batch.shelves:
        shelves = [batch.shelves[name] for name in sorted(batch.shelves)]
        source = text.arrays(
            ("text", "bigint", "bigint", "bigint"),
            (
                [s.name for s in shelves],
                [s.counter for s in shelves],
                [s.live for s in shelves],
                [s.odd for s in shelves],
            ),
        )
        text.add(
            "update collections set counter = new.counter, live = new.live, odd = new.odd"
            f" from {source} as new (name, counter, live, odd) where collections.name = new.name"
        )
    if batch.requests:
        done = list(batch.requests.values())
        source = text.arrays(
            ("bigint", "text", "text", "bigint"),
            (
                list(batch.requests),
                [None if one is None else one.collection for one in done],
                [None if one is None else one.id for one in done],
                [None if one is None else one.version for one in done],
            ),
        )
        text.add(f"insert into requests (id, collection, record_id, version) select * from {source}")
    if batch.answers:
        _write_answers(text, batch.answers)
    first = len(text.arguments) + 1
    text.arguments.extend((batch.number, batch.newest, batch.arrival, batch.lowest_open))
    meta = f"update meta set number = ${first}, newest = ${first + 1}, arrival = ${first + 2}, lowest_open = ${first + 3}"
    return (f"with {', '.join(text.parts)} {meta}" if text.parts else meta), text.arguments


def _write_rows(text: _Text, table: str, rows: Mapping[str, Row]) -> None:
    source = text.arrays(
        ("text", "text", "bigint", "bigint", "bigint", "bigint"),
        (
            list(rows),
            [row.body for row in rows.values()],
            [row.version for row in rows.values()],
            [row.at for row in rows.values()],
            [row.created for row in rows.values()],
            [row.arrival for row in rows.values()],
        ),
    )
    text.add(
        f"insert into {_safe(table)} (id, {ROW_COLUMNS}) select * from {source}"
        " on conflict (id) do update set body = excluded.body, version = excluded.version, at = excluded.at,"
        " created = excluded.created, arrival = excluded.arrival"
    )


def _write_answers(text: _Text, answers: Mapping[str, KeptAnswer]) -> None:
    kept = list(answers.values())
    source = text.arrays(
        ("text", "bytea", "text", "bigint", "integer", "text", "bytea"),
        (
            list(answers),
            [one.fingerprint for one in kept],
            [one.key for one in kept],
            [one.expires_ms for one in kept],
            [one.answer.status for one in kept],
            [json.dumps(one.answer.headers) for one in kept],
            [one.answer.body for one in kept],
        ),
    )
    text.add(
        f"insert into answers ({_ANSWER_COLUMNS}) select * from {source}"
        " on conflict (key) do update set fingerprint = excluded.fingerprint, record_key = excluded.record_key,"
        " expires_ms = excluded.expires_ms, status = excluded.status, headers = excluded.headers, body = excluded.body"
    )


def _safe(table: str) -> str:
    assert TABLE.match(table), "only names made by table_name reach a statement"
    return table
