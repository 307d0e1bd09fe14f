create table client (
  name {text} primary key,
  body {blob} not null
) {strict};

create table api_key (
  prefix {text} primary key,
  client {text} not null references client (name),
  digest {blob} not null,
  expires_at {int}
) {strict};
create index api_key_client on api_key (client);

create table idempotency (
  scope {text} not null,
  key {text} not null,
  fingerprint {blob} not null,
  lease_until {int} not null,
  touched_at {int} not null,
  answer {blob},
  primary key (scope, key)
) {strict};
create index idempotency_touched on idempotency (touched_at);

create table reservation (
  key {text} primary key,
  sku {text} not null,
  location {text} not null,
  millionths {int} not null,
  state {text} not null,
  expires_at {int} not null,
  changed_at {int} not null,
  owner_type {text} not null,
  owner_id {text} not null,
  body {blob} not null
) {strict};
create index reservation_pair on reservation (sku, location, state);
create index reservation_owner on reservation (owner_type, owner_id);
create index reservation_overdue on reservation (expires_at) where state = 'active';

-- What one till wrote in one business day. Sales and stock movements hang on it: what is booked today lies close together, however
-- many years lie before it.
create table till_day (
  id {id},
  store {text} not null,
  workstation {text} not null,
  business_date {text} not null,
  unique (store, workstation, business_date)
) {strict};

-- Sales as JSON, one a line, some dozens together; a sale is line `place` (from 0) of its chunk.
create table sale_chunk (
  id {id},
  body {blob} not null
) {strict};

create table sale (
  till_day {int} not null,
  sequence {int} not null,
  digest {blob} not null,
  chunk {int} not null,
  place {int} not null,
  primary key (till_day, sequence)
) {clustered};

create table sale_link (
  target {text} not null,
  type {text} not null,
  source {text} not null,
  primary key (target, type, source)
) {strict};

create table stock_movement (
  till_day {int} not null,
  sku {text} not null,
  sequence {int} not null,
  millionths {int} not null,
  primary key (till_day, sku, sequence)
) {clustered};

create table store_total (
  store {text} primary key,
  sales {int} not null,
  cents {int} not null,
  millionths {int} not null
) {strict};

create table file (
  digest {text} primary key,
  feed {text} not null,
  name {text} not null,
  size {int} not null,
  state {text} not null,
  first_seen {int} not null,
  position {int} not null default 0,
  booked {int} not null default 0,
  repeated {int} not null default 0,
  conflicts {int} not null default 0,
  quarantined {int} not null default 0,
  reason {text} not null default '',
  attempts {int} not null default 1,
  owner {text} not null,
  fence {int} not null default 1,
  lease_until {int},
  finished_at {int},
  trace_id {text} not null,
  seen_as {blob} not null
) {strict};
create index file_seen on file (first_seen);

create table quarantine (
  id {id},
  digest {text} not null,
  mark {blob} not null,
  body {blob} not null,
  unique (digest, mark)
) {strict};

create table customer_order (
  place {id},
  id {text} not null unique,
  number {text} not null unique,
  channel {text} not null,
  client {text} not null,
  key {text} not null,
  version {int} not null,
  body {blob} not null,
  unique (client, key)
) {strict};
create index customer_order_channel on customer_order (channel, place);

create table process (
  id {text} primary key,
  order_id {text} not null,
  state {text} not null,
  due_at {int} not null,
  lease_until {int},
  version {int} not null,
  body {blob} not null
) {strict};
create index process_order on process (order_id);
create index process_due on process (state, due_at);

-- Where positions come from: base * 2^20 leaves room for the events of one batch.
create table outbox_base (
  base {serial}
) {strict};

create table outbox (
  position {int} primary key,
  subject {text} not null,
  kind {int} not null,
  number {int},
  at {int} not null,
  body {blob},
  ready_at {int} not null default 0,
  attempts {int} not null default 0,
  delivered {int} not null default 0,
  error {text}
) {strict};
create index outbox_open on outbox (position) where delivered = 0;

create table lease (
  name {text} primary key,
  owner {text} not null,
  until {int} not null
) {strict};

create table meta (
  key {text} primary key,
  value {blob} not null
) {strict};
