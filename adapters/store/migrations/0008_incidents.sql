-- What was broken; `body` is the published form. `version` grows with every writing, so that of two deciders one is told so.
create table incident (
  place {id},
  id {text} not null unique,
  state {text} not null,
  verdict {text} not null,
  opened_at {int} not null,
  changed_at {int} not null,
  ended_at {int},
  into_id {text} not null,
  revision {int} not null,
  version {int} not null,
  subjects {blob} not null,
  body {blob} not null
) {strict};
create index incident_open on incident (place) where ended_at is null;
create index incident_ended on incident (ended_at);

-- The newest number of a day.
create table incident_day (
  day {text} primary key,
  number {int} not null
) {strict};

-- What was said of it, one line for each revision.
create table incident_said (
  incident {text} not null,
  revision {int} not null,
  body {blob} not null,
  primary key (incident, revision)
) {clustered};

-- Traces that show it, copied out of the ring, which forgets them sooner.
create table incident_trace (
  incident {text} not null,
  trace_id {text} not null,
  role {text} not null,
  stored_at {int} not null,
  body {blob} not null,
  primary key (incident, trace_id)
) {strict};
create index incident_trace_id on incident_trace (trace_id);
create index incident_trace_at on incident_trace (stored_at);

-- Whether it was right, by whoever says so.
create table incident_label (
  incident {text} not null,
  who {text} not null,
  at {int} not null,
  body {blob} not null,
  primary key (incident, who)
) {strict};
