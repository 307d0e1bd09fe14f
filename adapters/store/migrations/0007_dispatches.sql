-- Files written for the tills, numbered by store without gaps; `body` is the file, `changes` the hash of every key in it. At most one
-- of a store has not ended, and its newest one stays for ever, since the next number comes from it.
create table dispatch (
  feed {text} not null,
  store {text} not null,
  number {int} not null,
  state {text} not null,
  name {text} not null,
  digest {text} not null,
  size {int} not null,
  items {int} not null,
  drafted_at {int} not null,
  written_at {int},
  ended_at {int},
  token {text} not null default '',
  reason {text} not null default '',
  refused {blob} not null,
  changes {blob} not null,
  body {blob} not null,
  primary key (feed, store, number)
) {strict};
create index dispatch_drafted on dispatch (drafted_at);
create index dispatch_ended on dispatch (ended_at);

-- What a store was told last of each key, as its hash; `refused` by the number of a dispatch: told, and not taken.
create table dispatched (
  feed {text} not null,
  store {text} not null,
  key {text} not null,
  hash {blob} not null,
  refused {int} not null default 0,
  primary key (feed, store, key)
) {clustered};
create index dispatched_refused on dispatched (feed, store, refused) where refused <> 0;
