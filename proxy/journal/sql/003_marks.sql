-- Format 3: writes without a key. A JSON list of the prefixes that the entry marks; empty for all others.
alter table entries add column marks text not null default '[]';
