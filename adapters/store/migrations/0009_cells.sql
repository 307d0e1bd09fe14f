-- Counted flights, packed, in bins of `width` seconds; several of one bin add up.
create table cell (
  number {serial},
  width {int} not null,
  begin {int} not null,
  source {text} not null,
  size {int} not null,
  body {blob} not null
) {strict};
create index cell_bin on cell (width, begin);
