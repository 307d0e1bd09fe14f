-- When what moved stock was over; nothing where that is not known: then its business day counts.
alter table stock_movement add column at {int};

-- Levels of stock as they were reported, with the moment that each is of. The last one counts.
create table stock_level (
  location {text} not null,
  sku {text} not null,
  at {int} not null,
  digest {blob} not null,
  body {blob} not null,
  primary key (location, sku, at)
) {clustered};
