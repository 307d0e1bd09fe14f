-- Whose turn it is in the outbox: 0 not looked at yet, 1 waits behind another event of its subject, 2 is the next of its subject,
-- 3 delivered.
alter table outbox add column turn {int} not null default 0;
update outbox set turn = 3 where delivered = 1;
drop index outbox_open;
alter table outbox drop column delivered;
create index outbox_new on outbox (position) where turn = 0;
create index outbox_next on outbox (ready_at, position) where turn = 2;
create index outbox_waiting on outbox (subject, position) where turn in (1, 2);
