"""Consumers outside get events in the version that they are pinned to; readers in the process in the newest."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import pytest

from contracts.canonical.amounts import Money
from contracts.errors import ConnectFailed
from contracts.events import Event
from contracts.versions import HISTORY
from gateway.services.relay import Subscribers, Versioned

NEWEST, MIDDLE, OLDEST = (v.date for v in HISTORY.versions)
TOLD = Event(
    id="e1",
    source="/t",
    type="io.tillgate.order.accepted.v1",
    time=datetime(2026, 3, 2, tzinfo=UTC),
    subject="orders/1",
    data={"totalPrice": msgspec.to_builtins(Money(379, "EUR", 2))},
    sequence="000001",
)


class Broker:
    name = "broker"

    def __init__(self, *, away: bool = False) -> None:
        self.away = away
        self.heard: list[Event] = []

    async def publish(self, events: Sequence[Event]) -> Sequence[ConnectFailed | None]:
        if self.away:
            return [ConnectFailed(system="broker", operation="publish") for _ in events]
        self.heard += events
        return [None] * len(events)


@pytest.mark.parametrize(
    ("version", "price"),
    [(NEWEST, {"centAmount": 379, "currencyCode": "EUR", "fractionDigits": 2}), (MIDDLE, {"amount": "3.79", "currency": "EUR"})],
)
async def test_an_event_goes_out_in_the_version_of_its_consumers(version: str, price: object) -> None:
    broker = Broker()
    await Versioned(broker, HISTORY, version).publish([TOLD])
    (heard,) = broker.heard
    assert heard.data == {"totalPrice": price}
    assert heard.dataschema == f"tag:tillgate.io,{version}:Order"
    assert (heard.id, heard.sequence, heard.subject) == (TOLD.id, TOLD.sequence, TOLD.subject)
    assert msgspec.json.decode(heard.encode())["dataschema"] == heard.dataschema


async def test_a_broker_that_is_away_is_told_under_its_own_name() -> None:
    versioned = Versioned(Broker(away=True), HISTORY, OLDEST)
    assert versioned.name == "broker"
    assert [type(error) for error in await versioned.publish([TOLD])] == [ConnectFailed]


async def test_readers_in_the_process_get_the_newest_shape() -> None:
    subscribers = Subscribers()
    with subscribers.subscribe("io.tillgate.order.") as stream:
        await subscribers.publish([TOLD])
    assert [each async for each in stream] == [TOLD]
