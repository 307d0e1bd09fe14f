-- What clients ask for, per day (UTC, counted from 1970-01-01). `field` is empty for the request itself.
create table usage (
  day {int} not null,
  version {text} not null,
  client {text} not null,
  channel {text} not null,
  route {text} not null,
  field {text} not null,
  times {int} not null,
  seen_at {int} not null,
  primary key (day, version, client, channel, route, field)
) {clustered};
