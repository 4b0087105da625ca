-- What a Turnout store keeps in PostgreSQL, beside one table for each collection (see collection_table in
-- backends/postgres_statements.py). Everything lies in a schema of its own.

-- One row: the counters, and what the last announced epoch said (docs/protocol.md, N1, E1).
create table meta (
    is_only     boolean primary key default true check (is_only),
    number      bigint not null default 0,      -- the last number taken and committed
    newest      bigint not null default 0,      -- the highest number ever seen, of whichever server
    arrival     bigint not null default 0,      -- the last place given in the order of arrival
    lowest_open bigint not null default 0,      -- request ids below it are refused and forgotten (W1)
    epoch       bigint not null default 0,
    role        text   not null default 'none',
    journal     text
);
insert into meta default values;

-- The registry: which table holds a collection. Names are the clients', so they never become part of an identifier.
-- Singletons are the records of the collection ''.
create table collections (
    name       text collate "C" primary key,
    slot       integer generated always as identity,
    table_name text,                            -- null until a first record is written: a counter or nothing yet
    counter    bigint not null default 0,       -- the highest integer id ever seen
    floor      bigint not null default 0,       -- the `at` of an id never seen (N2)
    live       bigint not null default 0,       -- live records
    odd        bigint not null default 0        -- live records whose id is no integer: with any, new ids are UUIDs
);

-- Decided request ids (W1): what an accepted one did; only the id of a rejected or voided one.
create table requests (
    id         bigint primary key,
    collection text,
    record_id  text,
    version    bigint
);

-- Answers kept under an Idempotency-Key.
create table answers (
    key         text collate "C" primary key,
    fingerprint bytea  not null,
    expires_ms  bigint not null,                -- since 1970
    status      integer not null,
    headers     text   not null,                -- a JSON array of [name, value]
    body        bytea  not null
);
create index answers_by_end on answers (expires_ms);
