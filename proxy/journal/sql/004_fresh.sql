-- Format 4: what was committed of late, one row a commit. Its records move into `entries` when they have grown old, and before
-- anything else is done with entries; most never do, for a settled entry leaves with its row.
create table fresh (
    id   integer primary key,
    low  integer not null,      -- the rows below this tell of nothing that is still unsettled
    data blob not null          -- MessagePack: proxy/journal/fresh.py
);

create trigger fresh_grows after insert on fresh begin
    delete from fresh where id < new.low;
end;
