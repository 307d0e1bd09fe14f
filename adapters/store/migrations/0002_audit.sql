alter table api_key add column created_at {int};
alter table api_key add column used_at {int};

create table audit (
  id {text} primary key,
  at {int} not null,
  actor {text} not null,
  what {text} not null,
  subject {text} not null,
  detail {blob} not null,
  times {int} not null,
  trace_id {text} not null
) {strict};
create index audit_at on audit (at, id);
create index audit_actor on audit (actor, at, id);
create index audit_subject on audit (subject, at, id);

create table console_session (
  mark {text} primary key,
  client {text} not null,
  prefix {text} not null,
  scopes {blob} not null,
  opened_at {int} not null,
  seen_at {int} not null
) {strict};
create index console_session_client on console_session (client, opened_at);
