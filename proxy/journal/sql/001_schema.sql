-- The journal, format 1. Opened with journal_mode=WAL, synchronous=FULL.
create table meta (
    name  text primary key,
    value text not null
) without rowid;

-- Unsettled entries only: one row from its intent until it is settled.
create table entries (
    seq          integer primary key,
    method       text not null,
    target       text not null,
    headers      text not null,            -- JSON list of [name, value]
    key          text,
    prefix       text not null,
    born         real not null,            -- seconds since 1970
    state        text not null,
    status       integer not null default 0,
    version      integer,
    base         text not null default 'unknown',
    replayable   integer not null default 0,
    writes       integer not null default 1,
    request_body blob,
    answer_body  blob
);

create table gaps (
    id     integer primary key autoincrement,
    prefix text not null,
    since  real not null,
    why    text not null
);

create table dead (
    key    text primary key,
    since  real not null,
    cause  text not null,
    detail text not null
) without rowid;

create table overrides (
    path       text primary key,
    value      text not null,
    file_value text not null
) without rowid;

create table history (
    id     integer primary key autoincrement,
    wall   real not null,
    actor  text not null,
    verb   text not null,
    detail text not null,
    reason text not null
);
