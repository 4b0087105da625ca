-- Answers are asked for by the key of the record that they speak of (docs/protocol.md, A2). Those kept before this
-- step do not know it: they are found by their Idempotency-Key, and among all.
alter table answers add column record_key text collate "C" not null default '';
create index answers_by_record on answers (record_key, key);
