"""Rules that all nouns keep: naming, closedness, personal data marks, the one place that says what counts as a sale."""

import importlib
import pkgutil
import typing
from datetime import UTC, datetime

import msgspec
import pytest

from contracts import canonical
from contracts.canonical.base import Noun, Sku, SkuInPath, gtin_is_valid
from contracts.canonical.product import PackGtin
from contracts.canonical.sale import PosSale, SaleFlags, SaleKey
from contracts.events import Event

NOUNS = sorted(
    {
        value
        for info in pkgutil.iter_modules(canonical.__path__)
        for value in vars(importlib.import_module(f"contracts.canonical.{info.name}")).values()
        if isinstance(value, type) and issubclass(value, Noun) and value is not Noun
    },
    key=lambda n: n.__name__,
)


@pytest.mark.parametrize("noun", NOUNS, ids=lambda n: n.__name__)
def test_a_noun_is_frozen_camel_case_in_json_and_refuses_unknown_members(noun):
    assert noun.__struct_config__.frozen
    assert noun.__struct_config__.forbid_unknown_fields
    assert all("_" not in name for name in noun.__struct_encode_fields__)


@pytest.mark.parametrize("name", ["first_name", "last_name", "company_name", "email", "phone"])
def test_personal_data_carries_its_mark(name):
    from contracts.canonical.customer import Customer

    hint = typing.get_type_hints(Customer, include_extras=True)[name]
    marks = [m for part in typing.get_args(hint) for m in getattr(part, "__metadata__", ())]
    assert any(m.extra and m.extra.get("personal") for m in marks)


@pytest.mark.parametrize("gtin", ["4006381333931", "96385074", "036000291452", "10614141000415"])
def test_a_check_digit_that_is_right_is_accepted(gtin):
    assert gtin_is_valid(gtin)
    assert PackGtin(gtin=gtin).gtin == gtin


@pytest.mark.parametrize("gtin", ["4006381333932", "4006381333", "", "٤006381333931", "400638133393a"])
def test_a_check_digit_that_is_wrong_is_refused(gtin):
    assert not gtin_is_valid(gtin)
    with pytest.raises(ValueError, match="check digit"):
        PackGtin(gtin=gtin)


def sale(**changes):
    key = SaleKey(store_number="0001", workstation_id="1", business_date="2026-03-11", sequence_number=1)
    return PosSale(
        key=key, begin_at=datetime(2026, 3, 11, tzinfo=UTC), currency_code="EUR", lines=(), **{"transaction_type": "sale", **changes}
    )


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, True),
        ({"transaction_type": "return"}, True),
        ({"transaction_type": "exchange"}, True),
        ({"transaction_type": "post_void"}, True),
        ({"transaction_type": "control"}, False),
        ({"transaction_type": "tender_control"}, False),
        ({"flags": SaleFlags(training=True)}, False),
        ({"flags": SaleFlags(cancelled=True)}, False),
        ({"flags": SaleFlags(suspended=True)}, False),
        ({"flags": SaleFlags(offline=True)}, True),
    ],
)
def test_only_completed_retail_transactions_count_as_sales(changes, counts):
    assert sale(**changes).counts_as_sale is counts


def test_an_event_is_a_cloudevent_in_structured_mode():
    event = Event(
        id="e1", source="/tillgate/x", type="io.tillgate.order.accepted.v1", time=datetime(2026, 3, 11, tzinfo=UTC), subject="o", data={}
    )
    document = msgspec.json.decode(event.encode())
    assert document["specversion"] == "1.0"
    assert {"id", "source", "type", "time", "subject", "data", "datacontenttype"} <= document.keys()
    assert all(name.isalnum() and name.islower() for name in document)
    assert msgspec.json.decode(event.encode(), type=Event) == event


@pytest.mark.parametrize("sku", ["10000001", "MA464LL/A", "Rebel XT", "n2610-slider", "A+B (2)", "x" * 64])
def test_skus_are_taken_as_systems_write_them(sku):
    assert msgspec.convert(sku, Sku) == sku


@pytest.mark.parametrize("sku", ["", " a", "a ", "a,b", "a\n", "../x", "x" * 65])
def test_what_would_not_survive_an_address_is_no_sku(sku):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(sku, Sku)


def test_a_sku_with_a_slash_stands_in_a_query_not_in_a_path():
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert("MA464LL/A", SkuInPath)
