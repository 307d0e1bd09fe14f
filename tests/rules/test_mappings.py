"""The mappings of the reference estate: their examples run, nothing is left out without a word, and they read the sandbox's books right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.canonical.amounts import Money, Quantity
from contracts.canonical.order import Order, OrderLine, OrderReceipt
from contracts.ports import LevelQuery, OrderReference, PriceQuery, ProductQuery, SkuAt
from gateway.bootstrap import Checked, check, parse_xml
from mappings.language import CompiledMapping, ReadContext
from mappings.language.coverage import coverage
from mappings.language.examples import run
from sandbox.erp.books import Books
from sandbox.erp.contract import Contract, SoapCall
from sandbox.erp.service import Retail
from sandbox.erp.sessions import Sessions
from sandbox.oms.book import Book
from sandbox.oms.model import NewOrder
from sandbox.world import World

ROOT = Path(__file__).resolve().parents[2]
UNFILLED: dict[str, dict[str, str]] = {
    "mappings/erp/cancel_order.answer.toml": {
        "order_number": "the answer names the document only",
        "total_price": "the answer names the document only",
    },
    "mappings/erp/create_order.answer.toml": {
        "order_number": "the answer names the document only",
        "state": "the answer names the document only",
        "total_price": "the answer names the document only",
    },
    "mappings/erp/get_customer.answer.toml": {
        "first_name": "the ERP keeps a person's name in one field",
        "addresses.region": "not kept",
        "addresses.email": "the customer's own mail is mapped",
        "addresses.phone": "the customer's own phone is mapped",
        "is_guest": "guests have no number",
        "merged_into": "the ERP merges no customers",
        "external_ids": "the customer number is the ERP's",
    },
    "mappings/erp/get_materials.answer.toml": {
        "description": "not kept",
        "gtins.base_quantity": "the base unit's own number: one",
        "tax_class": "depends on the country and comes with the price",
        "restrictions": "not kept",
    },
    "mappings/erp/get_materials.request.toml": {"I_FROM": "named materials are not paged"},
    "mappings/erp/list_materials.request.toml": {"T_MATNR": "all materials"},
    "mappings/erp/get_plants.answer.toml": {
        "address.name": "the plant's own name is mapped",
        "address.region": "not kept",
        "address.email": "not kept",
        "address.phone": "not kept",
        "gln": "not kept",
        "capabilities": "not kept",
    },
    "mappings/erp/get_prices.answer.toml": {"channel": "prices hold for every channel"},
    "mappings/erp/get_stock.answer.toml": {
        "available": "LABST still holds promised units: what is available is computed",
        "reserved": "carts are not known there",
        "damaged": "blocked stock is not told apart: it is in qualityControl",
        "safety_stock": "kept back by the gateway, per channel",
        "display_only": "not kept",
        "net_of": "the figures are gross",
    },
    "mappings/oms/create_order.request.toml": {"body.shipTo.street2": "the canonical address has one street line"},
    "mappings/oms/find_orders.request.toml": {
        "state": "in every state",
        "limit": "our number is unique there: one at most",
        "cursor": "pages are followed by the driver",
    },
    "mappings/oms/get_customer.answer.toml": {
        "company_name": "not kept; a company is the name of its address",
        "addresses.region": "not kept",
        "addresses.email": "the customer's own mail is mapped",
        "is_guest": "guests have no number",
        "merged_into": "the OMS merges no customers",
        "external_ids": "the customer number is the OMS's",
    },
    "mappings/oms/get_order.answer.toml": {
        "fulfilments.lines": "one delivery of the whole order",
        "fulfilments.carrier": "parcels are another call",
        "fulfilments.tracking_number": "parcels are another call",
    },
    "mappings/pos/poslog.toml": {
        "lines.voids_line": "a voided line is marked itself",
        "tenders.token": "not logged",
        "tenders.psp_reference": "not logged",
        "tax.included": "told by the totals",
        "store_time_zone": "known from the location",
        "flags.post_voided": "set when the voiding transaction arrives",
        "links.line_number": "whole transactions are linked",
    },
    "mappings/pos/tlog.toml": {
        "lines.item_type": "not logged",
        "lines.regular_unit_price": "not logged",
        "lines.voids_line": "a voided line is marked itself",
        "totals.rounding": "the tills round no cash",
        "tenders.token": "not logged",
        "tenders.psp_reference": "not logged",
        "tax.included": "told by the totals",
        "store_time_zone": "known from the location",
        "flags.post_voided": "set when the voiding transaction arrives",
        "links.line_number": "whole transactions are linked",
    },
}
"""Target fields that stay empty, and why. The check of a mapping sees to it that none of them is required."""


@cache
def checked() -> Checked:
    return check(ROOT)


BESIDE = ("edi", "journals", "tills")


def files() -> list[str]:
    """Of the reference estate; those BESIDE it are proven in test_partner_messages.py, test_journals.py and test_tills.py."""
    found = (ROOT / "mappings").rglob("*.toml")
    return sorted(str(p.relative_to(ROOT)) for p in found if p.parent.name not in BESIDE)


@pytest.fixture(params=files())
def mapping(request: pytest.FixtureRequest) -> tuple[str, CompiledMapping]:
    return request.param, checked().mappings[request.param]


def test_every_mapping_file_is_used_by_the_estate() -> None:
    assert files() == sorted(name for name in checked().mappings if Path(name).parent.name not in BESIDE)


def test_every_example_holds_and_each_mapping_has_one_that_is_read(mapping: tuple[str, CompiledMapping]) -> None:
    outcomes = run(mapping[1], parse_xml)
    assert [str(o.finding) for o in outcomes if o.finding] == []
    assert any(e.error is None for e in mapping[1].file.examples)


def test_a_mapping_that_translates_has_an_example_of_what_it_refuses(mapping: tuple[str, CompiledMapping]) -> None:
    harmless = {
        "mappings/oms/find_orders.request.toml",
        "mappings/pos/poslog.toml",
        "mappings/pos/tlog.toml",
    }  # our own number; whole files
    assert mapping[0] in harmless or any(e.error for e in mapping[1].file.examples)


def test_nothing_is_left_out_without_a_word(mapping: tuple[str, CompiledMapping], capsys: pytest.CaptureFixture[str]) -> None:
    found = coverage(mapping[1], parse_xml)
    source, target, cases = found.share()
    with capsys.disabled():
        print(f"\n{mapping[0]:46} source {source:.0%}, target {target:.0%}, cases {cases:.0%}", end="")  # noqa: T201  # for the log of the run
    assert [p for p, use in found.source.items() if use == "unused"] == []
    assert {p for p, use in found.target.items() if use == "unfilled"} == set(UNFILLED.get(mapping[0], ()))
    assert [f"{c.target}: {c.code}" for c in found.cases if not c.exercised] == []


def test_every_drop_and_every_empty_target_has_a_reason(mapping: tuple[str, CompiledMapping]) -> None:
    reasons = [d.reason for d in mapping[1].file.drops] + list(UNFILLED.get(mapping[0], {}).values())
    assert [r for r in reasons if len(r.split()) < 2] == []


# ---- against the sandbox's own books ------------------------------------------------------------------------------

WORLD = World()
NOW = datetime(2026, 11, 21, 10, 15, tzinfo=UTC)
NUMBERS = count(1)
OMS = Book(WORLD, lambda: NOW)
skus = st.sampled_from(WORLD.skus)
places = st.sampled_from([s.number for s in WORLD.locations])


@cache
def erp() -> tuple[Retail, Contract, str]:
    sessions = Sessions("u", "p")
    retail = Retail(WORLD, Books(WORLD, clock=lambda: NOW), sessions, clock=lambda: NOW)
    return retail, Contract(), str(sessions.open("u", "p"))


def context(drift: list[Any]) -> ReadContext:
    def zone_of(location: str) -> ZoneInfo | None:
        store = WORLD.store(location)
        return ZoneInfo(store.time_zone) if store else None

    return ReadContext("erp", "x", NOW, zone_of=zone_of, drift=lambda *what: drift.append(what))


def asked(operation: str, request: Any = None) -> Iterator[Any]:
    """What an operation of the ERP says about a canonical question, through both mappings and the contract's own schema."""
    retail, contract, session = erp()
    declared = checked().estate.operation[f"erp.{operation}"]
    drift: list[Any] = []
    arguments: dict[str, Any] = {"T_MATNR": None, "I_FROM": None, "WERKS": None}
    if declared.request:
        arguments |= checked().mappings[declared.request].write(request, context(drift))
    answer = retail.answer(SoapCall(declared.calls or operation, session, arguments))
    body = contract.write(declared.calls or operation, answer)[0][0]
    contract.schema.assertValid(body)
    yield from checked().mappings[declared.answer].read(body, context(drift))
    assert drift == []


def test_locations_are_read_as_they_are() -> None:
    found = {x.number: x for x in asked("GetPlants")}
    assert len(found) == len(WORLD.locations)
    for place in WORLD.locations:
        read = found[place.number]
        assert (read.name, read.type, read.active, read.time_zone, read.currency_code, read.address.city, read.address.country) == (
            place.name, place.kind, not place.closed, place.time_zone, place.currency, place.city, place.country,
        )  # fmt: skip


@given(st.lists(skus, min_size=1, max_size=5, unique=True))
def test_products_are_read_as_they_are(wanted: list[str]) -> None:
    found = list(asked("GetMaterials", ProductQuery(skus=tuple(wanted))))
    assert [p.sku for p in found] == wanted
    for read in found:
        product = WORLD.product(read.sku)
        assert product
        weighed = product.unit == "KGM"
        assert (read.name["de"], read.name["en"], read.brand, read.category_path, read.base_unit, read.active) == (
            product.name_de, product.name_en, product.brand, product.category, product.unit, product.active,
        )  # fmt: skip
        assert [g.gtin for g in read.gtins] == ([] if weighed else [product.gtin])
        assert read.sold_by == ("weight" if weighed else "each")


@given(st.lists(skus, min_size=1, max_size=5, unique=True), places)
def test_prices_are_read_as_they_are_in_the_time_of_their_store(wanted: list[str], place: str) -> None:
    store = WORLD.store(place)
    assert store
    zone = ZoneInfo(store.time_zone)
    read = list(asked("GetPrices", PriceQuery(pairs=tuple(SkuAt(sku=s, location_id=place) for s in wanted))))
    expected = [(s, kind, p) for s in wanted for kind, p in zip(("regular", "sale"), WORLD.price(s, store.country), strict=True) if p]
    assert len(read) == len(expected)
    for row, (sku, kind, price) in zip(read, expected, strict=True):
        assert (row.sku, row.price_type, row.value, row.location_id) == (sku, kind, Money.of(price.amount, price.currency), place)
        assert row.per == Quantity.of(Decimal(price.per), price.unit)
        assert row.valid_from == datetime.combine(price.valid_from, datetime.min.time(), zone)
        if price.valid_to.year == 9999:
            assert row.valid_until is None
        else:
            assert row.valid_until == datetime.combine(price.valid_to + timedelta(days=1), datetime.min.time(), zone)


@given(st.lists(st.tuples(skus, places), min_size=1, max_size=5, unique=True))
def test_levels_are_read_as_they_are(wanted: list[tuple[str, str]]) -> None:
    read = list(asked("GetStock", LevelQuery(pairs=tuple(SkuAt(sku=s, location_id=p) for s, p in wanted))))
    assert [(x.sku, x.location_id) for x in read] == wanted
    for row in read:
        held, figures = WORLD.held_stock(row.sku, row.location_id), erp()[0].books.stock(row.sku, row.location_id)
        blocked = held.quality + held.blocked + held.restricted
        assert row.on_hand.amount == figures.on_hand + blocked
        assert (row.quality_control.amount, row.incoming.amount, row.committed.amount) == (blocked, held.in_transfer, figures.committed)
        assert row.as_of == NOW


lines = st.lists(st.tuples(skus, places, st.integers(1, 9), st.integers(0, 99_999)), min_size=1, max_size=4)


@settings(max_examples=40)
@given(lines)
def test_an_order_that_is_written_is_found_in_both_systems_under_its_number_with_its_total(drawn: list[Any]) -> None:
    """The way there and back: what either system took is, canonically, what was ordered."""
    store = WORLD.store(drawn[0][1])
    assert store
    order = _order([d for d in drawn if WORLD.store(d[1]).currency == store.currency], store.currency, f"W-{next(NUMBERS)}")  # type: ignore[union-attr]  # drawn from there
    reference, mappings, drift = OrderReference(order_number=order.order_number), checked().mappings, list[Any]()

    written = mappings["mappings/erp/create_order.request.toml"].write(order, context(drift))
    answer = erp()[0].answer(SoapCall("CreateSalesOrder", erp()[2], {**written, "HEADER": {"KUNNR": None, **written["HEADER"]}}))
    if store.closed:
        assert "VBELN" not in answer
    else:
        (receipt,) = asked("FindSalesOrder", reference)
        assert receipt == OrderReceipt(
            external_id=str(answer["VBELN"]), order_number=order.order_number, state="confirmed", total_price=order.total_price
        )

    written = mappings["mappings/oms/create_order.request.toml"].write(order, context(drift))
    taken = OMS.take(msgspec.json.decode(json.dumps(written["body"], default=float), type=NewOrder))
    sent = json.loads(msgspec.json.Encoder(decimal_format="number").encode(taken))
    for mapping, document in (("create_order", sent), ("find_orders", {"items": [sent]})):
        (receipt,) = mappings[f"mappings/oms/{mapping}.answer.toml"].read(document, context(drift))
        assert receipt == OrderReceipt(
            external_id=taken.order_no, order_number=order.order_number, state="open", total_price=order.total_price
        )
    assert drift == []


def _order(drawn: list[tuple[str, str, int, int]], currency: str, number: str) -> Order:
    made = tuple(
        OrderLine(
            line_number=n,
            sku=sku,
            quantity=Quantity.of(Decimal(pieces), WORLD.product(sku).unit),  # type: ignore[union-attr]  # drawn from there
            unit_price=Money(cents, currency, 2),
            total_price=Money(cents * pieces, currency, 2),
            requested_location_id=place,
            fulfilment_method="delivery",
        )
        for n, (sku, place, pieces, cents) in enumerate(drawn, 1)
    )
    total = sum((line.total_price for line in made), Money.zero(currency))
    return Order(
        id="ord_1", order_number=number, channel="web", placed_at=NOW, lines=made, total_price=total, order_state="open",
        shipment_state="pending", payment_state="pending", export_state="not_exported", pending_write=True, version=1,
    )  # fmt: skip
