-- Whose turn it is in the outbox: 0 not looked at yet, 1 waits behind another event of its subject, 2 is the next of its subject,
-- 3 delivered.
alter table outbox add column turn {int} not null default 0;
update outbox set turn = 3 where delivered = 1;
drop index outbox_open;
alter table outbox drop column delivered;
create index outbox_new on outbox (position) where turn = 0;
create index outbox_next on outbox (ready_at, position) where turn = 2;
create index outbox_waiting on outbox (subject, position) where turn in (1, 2);

-- Receivers of events over HTTP, and what each of them has still to be told: turns as above, but 3 is a dead letter; what was delivered
-- goes. `ready_at` of a receiver: it is left alone until then.
create table webhook (
  name {text} primary key,
  body {blob} not null,
  ready_at {int} not null default 0,
  failures {int} not null default 0,
  error {text} not null default '',
  waiting {int} not null default 0,
  delivered {int} not null default 0,
  delivered_at {int},
  missed {int} not null default 0
) {strict};

create table webhook_delivery (
  webhook {text} not null,
  position {int} not null,
  subject {text} not null,
  at {int} not null,
  turn {int} not null,
  ready_at {int} not null,
  attempts {int} not null default 0,
  refusals {int} not null default 0,
  error {text} not null default '',
  primary key (webhook, position)
) {clustered};
create index webhook_delivery_next on webhook_delivery (webhook, ready_at, position) where turn = 2;
create index webhook_delivery_waiting on webhook_delivery (webhook, subject, position) where turn in (1, 2);
create index webhook_delivery_position on webhook_delivery (position);
