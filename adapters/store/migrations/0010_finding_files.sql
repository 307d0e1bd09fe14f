-- What was noticed about one file is found by its content.
alter table finding add column digest {text} not null default '';
create index finding_digest on finding (digest, id);
