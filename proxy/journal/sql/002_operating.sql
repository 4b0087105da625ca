-- Format 2: what an operator said of the mirror, and what stands behind a dead letter.
alter table dead add column answer_status integer not null default 0;
alter table dead add column answer_body blob;       -- what the secondary answered to the repair, its beginning

insert into meta (name, value) values
    ('paused', ''),        -- empty, or JSON: {"since", "actor", "reason"}
    ('returning', '');     -- empty, or JSON: what must happen before the old primary is mirrored to
