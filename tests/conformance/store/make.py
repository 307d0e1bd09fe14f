"""Nouns as the suite needs them, each call the same for the same arguments."""

from datetime import UTC, datetime, timedelta
from typing import Any

from contracts.books import AuditEntry, FileSeen, Process, SaleBatch, StepRecord
from contracts.canonical.amounts import Money, Quantity
from contracts.canonical.base import Provenance
from contracts.canonical.order import Order, OrderLine
from contracts.canonical.reservation import Reservation, ReservationOwner
from contracts.canonical.sale import PosSale, SaleKey, SaleLine, SaleTotals
from contracts.events import Event

NOW = datetime(2026, 3, 11, 12, 0, 0, 123456, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def event(id: str, subject: str = "s", at: datetime = NOW) -> Event:
    return Event(id=id, source="/test", type="io.tillgate.order.state_changed.v1", time=at, subject=subject, data={"n": id})


def entry(id: str, what: str, subject: str, actor: str = "anna") -> AuditEntry:
    return AuditEntry(id=id, at=NOW, actor=actor, what=what, subject=subject)


def reservation(key: str, quantity: str = "1", sku: str = "10000001", location: str = "0017", expires: float = 900) -> Reservation:
    return Reservation(
        reservation_key=key,
        sku=sku,
        location_id=location,
        quantity=Quantity(quantity, "EA"),
        owner=ReservationOwner(type="cart", id="cart-1"),
        expires_at=later(expires),
        state="active",
    )


def key(sequence: int, store: str = "0017", till: str = "3", day: str = "2026-03-11") -> SaleKey:
    return SaleKey(store_number=store, workstation_id=till, business_date=day, sequence_number=sequence)


def line(sku: str, units: str = "1", cents: int = 100, number: int = 1, **more: Any) -> SaleLine:
    return SaleLine(
        line_number=number,
        **{"line_type": "sale", "extended_amount": Money(cents, "EUR", 2), "item_id": sku, "units": Quantity(units, "EA"), **more},
    )


def sale(sequence: int, *lines: SaleLine, cents: int = 100, kind: str = "sale", **more: Any) -> PosSale:
    return PosSale(
        **{
            "key": key(sequence),
            "transaction_type": kind,
            "begin_at": NOW,
            "currency_code": "EUR",
            "lines": lines or (line("10000001"),),
            "totals": SaleTotals(grand=Money(cents, "EUR", 2)),
            "provenance": (Provenance(source_system="pos", as_of=NOW, received_at=NOW, via="file", source_record=f"row {sequence}"),),
            **more,
        }
    )


def seen(digest: str = "d1", name: str = "TLOG_0017_20260311_00001.tlog") -> FileSeen:
    return FileSeen(digest=digest, feed="pos.sales", name=name, size=1000, store="0017")


def batch(*sales: PosSale, position: int = 1, fence: int = 1, digest: str = "d1", **more: Any) -> SaleBatch:
    return SaleBatch(digest=digest, fence=fence, position=position, sales=sales, **more)


def order(id: str, number: str = "", channel: str = "web") -> Order:
    price = Money(1299, "EUR", 2)
    return Order(
        id=id,
        order_number=number or f"N-{id}",
        channel=channel,
        placed_at=NOW,
        lines=(
            OrderLine(
                line_number=1,
                sku="10000001",
                quantity=Quantity("1", "EA"),
                unit_price=price,
                total_price=price,
                requested_location_id="0017",
                fulfilment_method="delivery",
            ),
        ),
        total_price=price,
        order_state="open",
        shipment_state="pending",
        payment_state="pending",
        export_state="not_exported",
        pending_write=True,
        version=1,
    )


def process(order_id: str, due: float = 0, state: str = "running") -> Process:
    return Process(
        id=f"p-{order_id}",
        kind="order",
        subject=order_id,
        state=state,  # type: ignore[arg-type]  # a state as a test names it
        steps=(StepRecord(name="reserve"), StepRecord(name="oms")),
        due_at=later(due),
        created_at=NOW,
    )
