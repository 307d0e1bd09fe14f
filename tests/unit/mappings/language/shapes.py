"""Small contracts in all three forms, and a context that remembers what drifted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from lxml import etree

from contracts.canonical.customer import Customer
from contracts.canonical.inventory import InventoryLevel
from contracts.canonical.order import OrderProgress, OrderReceipt
from contracts.canonical.price import Price
from contracts.canonical.product import Product
from contracts.canonical.sale import PosSale
from contracts.errors import Findings
from contracts.ports import LevelQuery, OrderReference
from mappings.language import CompiledMapping, ReadContext, load
from mappings.language.shape import TEXT, Exchange, Field, Leaf, Message, Record


def text(most: int | None = None, **facets: Any) -> Leaf:
    return Leaf("string", most, **facets)


DECIMAL = Leaf("decimal", digits=(13, 3))
TILL = Record("S_KASSE", [Field("KASSE", text(3)), Field("BUDAT", text(8)), Field("BONNR", text(6))])
STOCK = Record(
    "S_STOCK",
    [
        Field("MATNR", text(18)),
        Field("WERKS", text(4)),
        Field("LABST", DECIMAL),
        Field("INSME", DECIMAL, required=False),
        Field("MEINS", text(enum=("ST", "KG"))),
        Field("T_KASSE", Record("T_KASSE", [Field("item", TILL, required=False, repeated=True)])),
    ],
)
STOCK_ANSWER = Record(
    "GetStockResponse",
    [
        Field("STICHTAG", text(8)),
        Field("UZEIT", text(6)),
        Field("T_STOCK", Record("T_STOCK", [Field("item", STOCK, required=False, repeated=True)])),
        Field(
            "T_RETURN",
            Record(
                "T_RETURN", [Field("item", Record("R", [Field("TYPE", text(enum=("S", "E"))), Field("MESSAGE", text(241))]), False, True)]
            ),
            required=False,
        ),
    ],
)
STOCK_REQUEST = Record(
    "GetStock",
    [
        Field(
            "T_REQ",
            Record(
                "T_REQ",
                [
                    Field(
                        "item",
                        Record("S", [Field("MATNR", text(18, pattern="[0-9A-Z-]{1,18}")), Field("WERKS", text(4, min_length=4))]),
                        False,
                        True,
                    )
                ],
            ),
        )
    ],
)
PRICE = Record(
    "S_PRICE",
    [
        Field("MATNR", text(18)),
        Field("WERKS", text(4), required=False, nillable=True),
        Field("KBETR", Record("AMOUNT", [Field(TEXT, Leaf("decimal", digits=(11, 2))), Field("cur-id", text(3), attribute=True)])),
        Field("DATAB", text(8)),
        Field("DATBI", text(8)),
        Field("KSCHL", text(enum=("VKP0", "VKA0")), namespace="urn:p"),
    ],
)
PRICES = Record("GetPricesResponse", [Field("PRICE", PRICE, required=False, repeated=True)])
PARCEL = Record(
    "Parcel", [Field("no", text()), Field("weight", Leaf("decimal"), required=False), Field("state", text(enum=("NEW", "SENT")))]
)
ORDER = Record(
    "Order",
    [
        Field("orderNo", text(20)),
        Field("ref", text(64), required=False, nillable=True),
        Field("state", text(enum=("NEW", "PACKED", "DONE", "LOST"))),
        Field("total", Record("Money", [Field("amount", text(pattern=r"^-?\d+\.\d{2}$")), Field("ccy", text(3))]), required=False),
        Field("changed", Leaf("integer")),
        Field("parcels", PARCEL, required=False, repeated=True),
    ],
)
ORDER_PAGE = Record("Page", [Field("items", ORDER, repeated=True), Field("next", text(), required=False)])
LINE = Record(
    "TL", [Field("line_no", Leaf("integer")), Field("sku", text(12)), Field("extended", text(13)), Field("void", text(1), required=False)]
)
SALE = Record(
    "TH",
    [
        Field("workstation", text(10)),
        Field("sequence", Leaf("integer")),
        Field("type", text(enum=("S", "R"))),
        Field("begin", text(14)),
        Field("currency", text(3, min_length=3)),
        Field("operator", text(20), required=False, personal=True),
        Field("FH", Record("FH", [Field("store", text(10)), Field("business_date", Leaf("date"))])),
        Field("TL", LINE, required=False, repeated=True),
    ],
)
EXCHANGES = {
    "erp.GetStock": Exchange("GetStock", Message("erp.GetStock", "xml", STOCK_REQUEST), Message("erp.GetStock", "xml", STOCK_ANSWER)),
    "erp.GetPrices": Exchange("GetPrices", None, Message("erp.GetPrices", "xml", PRICES)),
    "oms.orders": Exchange(
        "orders", Message("oms.orders", "json", Record("Ask", [Field("ref", text(20))])), Message("oms.orders", "json", ORDER_PAGE)
    ),
    "oms.order": Exchange("order", None, Message("oms.order", "json", ORDER)),
    "pos.sale": Exchange("sale", None, Message("pos.sale", "rows", SALE)),
}
TYPES = {
    t.__name__: t for t in (InventoryLevel, LevelQuery, OrderProgress, OrderReceipt, OrderReference, PosSale, Price, Product, Customer)
}


def shapes(name: str) -> Exchange:
    return EXCHANGES[name]


def compiled(source: str, file: str = "mappings/test.toml") -> CompiledMapping:
    return load(source, file, shapes, TYPES)


def findings(source: str) -> list[str]:
    """What the check says, one line each; empty when the mapping is good."""
    try:
        compiled(source)
    except Findings as found:
        return [str(f) for f in found.findings]
    return []


def context(drift: list[tuple[str, str, str]] | None = None, **parameters: Any) -> ReadContext:
    seen = [] if drift is None else drift
    zones = {"0017": ZoneInfo("Europe/Berlin")}
    return ReadContext(
        "erp",
        "GetStock",
        datetime(2026, 11, 1, 12, tzinfo=UTC),
        zone_of=zones.get,
        drift=lambda *what: seen.append(what),
        parameters=parameters,
    )


def xml(source: str | bytes) -> Any:
    return etree.fromstring(source)
