"""The estate's addresses of servers: PostgreSQL and RabbitMQ come by reference, and every mistake is a sentence."""

from pathlib import Path

import pytest

from contracts.errors import Findings
from gateway.bootstrap import open_books, store_options
from gateway.estate import Estate, read

ROOT = Path(__file__).resolve().parents[3]


def estate(folder: Path, store: str = "env:STORE", events: str = "") -> Estate:
    text = (ROOT / "estate.toml").read_text(encoding="utf-8")
    text = text.replace('"env:TILLGATE_STORE|sqlite:tillgate.db"', f'"{store}"').replace("[events]\n", f"[events]\n{events}\n")
    (folder / "estate.toml").write_text(text, encoding="utf-8")
    return read(folder)[0]


def test_events_to_rabbitmq_take_tls_files_and_refuse_what_nobody_asked_for(tmp_path: Path) -> None:
    tls = '{ ca = "ca.pem", certificate = "c.pem", key = "k.pem", password = "env:KEY_PASSWORD" }'
    events = estate(tmp_path, events=f'rabbitmq = "env:AMQP"\nunroutable = "refuse"\ntls = {tls}').events
    assert (events.rabbitmq, events.unroutable, events.tls.ca) == ("env:AMQP", "refuse", "ca.pem")


@pytest.mark.parametrize(
    ("store", "events", "wanted"),
    [
        ("postgresql://tillgate:hunter2@db/tillgate", "", "store.url: a secret must not stand here"),
        ("env:STORE", 'rabbitmq = "amqp://tillgate:hunter2@mq/shop"', "events.rabbitmq: a secret must not stand here"),
        ("env:STORE", 'rabbitmq = "env:AMQP"\ntls = { password = "hunter2" }', "events.tls.password: a secret must not stand here"),
        ("env:STORE", 'unroutable = "drop"', "events.unroutable"),
    ],
)
def test_passwords_and_unknown_words_are_findings_that_do_not_repeat_them(tmp_path: Path, store: str, events: str, wanted: str) -> None:
    with pytest.raises(Findings) as caught:
        estate(tmp_path, store, events)
    text = " ".join(map(str, caught.value.findings))
    assert wanted in text
    assert "hunter2" not in text


def test_store_takes_what_a_pooler_in_front_of_postgresql_needs(tmp_path: Path) -> None:
    found = estate(tmp_path, 'env:STORE"\nconnections = 4\nstatement_cache = 0 #"')
    options = store_options(found, tmp_path, {"STORE": "postgresql://tillgate@db/tillgate"})
    assert (options.connections, options.statement_cache) == (4, 0)


async def test_address_that_is_none_is_a_sentence_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match=r"\[store\] url: expected sqlite:///path or postgresql://") as caught:
        store_options(estate(tmp_path), tmp_path, {"STORE": "mysql://tillgate:hunter2@db/tillgate"})
    assert "hunter2" not in str(caught.value)
    with pytest.raises(LookupError, match="STORE is not set"):
        async with open_books(tmp_path, tmp_path / "data", {}):
            pass
