-- What is noticed about files and tills without being an error; `body` is all of it.
create table finding (
  id {id},
  kind {text} not null,
  subject {text} not null,
  state {text} not null,
  feed {text} not null,
  store {text} not null,
  changed_at {int} not null,
  body {blob} not null,
  unique (subject, kind)
) {strict};
create index finding_state on finding (state, changed_at);
create index finding_store on finding (store, id);

-- Complete files as they were first seen; `number` counts the files of a series, and goes on where the names begin again.
create table arrival (
  feed {text} not null,
  digest {text} not null,
  file {text} not null,
  at {int} not null,
  store {text} not null,
  business_date {text} not null,
  series {text} not null,
  number {int},
  primary key (feed, digest)
) {strict};
create index arrival_day on arrival (feed, business_date, store);
create index arrival_number on arrival (feed, series, number);
create index arrival_at on arrival (at);

-- What a till's day holds, so that numbers left out show without counting its sales: as many as there are from low to high, or not.
-- It is looked at again as soon as `booked` is not what it was at the last look.
alter table till_day add column low {int};
alter table till_day add column high {int};
alter table till_day add column booked {int} not null default 0;
alter table till_day add column looked {int} not null default 0;
alter table till_day add column touched_at {int} not null default 0;
alter table till_day add column file {text} not null default '';
create index till_day_touched on till_day (touched_at) where looked <> booked;
