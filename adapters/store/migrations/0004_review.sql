-- What people see of a file while it is read and afterwards, and what they decide about what was set aside.
alter table file add column store {text} not null default '';
alter table file add column claimed_at {int};
alter table file add column claimed_position {int} not null default 0;
-- Of the pass under way: which one, and how much of the file it has read, in thousandths.
alter table file add column phase {text} not null default '';
alter table file add column share {int} not null default 0;
alter table file add column decided {int} not null default 0;
alter table file add column kept {text} not null default '';
alter table file add column removed_at {int};
alter table file add column given_up {blob};
create index file_feed on file (feed, first_seen);

create table file_name (
  name {text} not null,
  digest {text} not null,
  primary key (name, digest)
) {clustered};

-- A file that is acknowledged: `token` names the text that is written for it, once for each name and each time it ended.
create table acknowledgement (
  digest {text} not null,
  name {text} not null,
  fence {int} not null,
  token {text} not null,
  primary key (digest, name, fence)
) {clustered};

alter table quarantine add column state {text} not null default 'open';
alter table quarantine add column version {int} not null default 0;
alter table quarantine add column revised {blob};
alter table quarantine add column decision {blob};
create index quarantine_state on quarantine (state, id);
