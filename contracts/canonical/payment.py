"""Payments of orders and tenders of sales (canonical model §2; commercetools Payment, POSLog Tender)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from contracts.canonical.amounts import Money
from contracts.canonical.base import Noun

TenderType = Literal[
    "cash",
    "card_credit",
    "card_debit",
    "gift_card",
    "voucher",
    "store_credit",
    "loyalty_points",
    "wallet",
    "cheque",
    "account",
    "other",
]
"""Open: an unknown source code becomes `other` and keeps its `sourceCode`."""


class Payment(Noun, frozen=True, kw_only=True):
    """Card numbers never enter: the last four digits and a token survive."""

    payment_id: Annotated[str, Meta(min_length=1, max_length=100)]
    tender_type: TenderType
    amount_planned: Money
    direction: Literal["in", "out"] = "in"
    is_change: bool = False
    last4: Annotated[str, Meta(pattern=r"^[0-9]{4}$(?!\n)")] | None = None
    token: Annotated[str, Meta(max_length=200)] | None = None
    psp_reference: Annotated[str, Meta(max_length=100)] | None = None
    source_code: Annotated[str, Meta(max_length=40)] | None = None
