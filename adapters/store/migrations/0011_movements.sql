-- What moved stock without a receipt: lines of reports. They hang on a day of the store's till without a name, where their id takes the
-- place of a transaction's number among the stock movements.
create table movement (
  id {id},
  till_day {int} not null,
  reference {text} not null,
  digest {blob} not null,
  body {blob} not null,
  unique (till_day, reference)
) {strict};
