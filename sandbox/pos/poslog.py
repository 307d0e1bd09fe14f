"""Writes transactions as ARTS POSLog 2.x, in the dialect that contracts/systems/pos/poslog.toml declares."""

from collections.abc import Iterable
from datetime import datetime
from itertools import count
from typing import BinaryIO

from lxml import etree

from sandbox.pos.receipt import Line, Tender, Transaction

NAMESPACE = "http://www.nrf-arts.org/IXRetail/namespace/"
TYPES = {"sale": "Sale", "return": "Return", "exchange": "Exchange", "post_void": "PostVoid"}
LINKS = {"voids": "Voided", "return_of": "Return", "resumes": "Resume"}
TENDERS = {
    "cash": "Cash", "debit": "Debit", "credit": "CreditDebit", "gift_card": "GiftCard", "voucher": "Voucher",
    "account": "AccountsReceivable", "wallet": "MobileWallet",
}  # fmt: skip
FLAGS = {
    "training": "TrainingModeFlag", "cancelled": "CancelFlag", "suspended": "SuspendFlag", "offline": "OfflineFlag",
}  # fmt: skip


def write(out: BinaryIO, transactions: Iterable[Transaction], *, namespace: bool) -> None:
    """A till that knows the namespace also knows its offset from UTC; one that does not writes bare local times."""
    # Written as text around namespace-less elements: they inherit the default namespace, as if printed by a till.
    declaration = f' xmlns="{NAMESPACE}"' if namespace else ""
    out.write(f'<?xml version="1.0" encoding="utf-8"?>\n<POSLog{declaration}>\n'.encode())
    elements = (_Writer(transaction, offset=namespace).element() for transaction in transactions)
    out.writelines(etree.tostring(element, encoding="utf-8") + b"\n" for element in elements)
    out.write(b"</POSLog>\n")


class _Writer:
    def __init__(self, transaction: Transaction, *, offset: bool) -> None:
        self._t, self._offset = transaction, offset

    def element(self) -> etree._Element:
        t = self._t
        root = etree.Element("Transaction", {FLAGS[flag]: "true" for flag in sorted(t.flags)})
        self._add(root, "RetailStoreID", t.key.store)
        self._add(root, "WorkstationID", t.key.workstation)
        self._add(root, "SequenceNumber", t.key.sequence)
        self._add(root, "BusinessDayDate", t.key.business_date.isoformat())
        self._add(root, "BeginDateTime", self._time(t.begin))
        self._add(root, "EndDateTime", self._time(t.end))
        self._add(root, "OperatorID", t.operator)
        self._add(root, "CurrencyCode", t.currency)
        if t.kind == "control":
            self._add(self._add(root, "ControlTransaction", Version="2.1"), "ReasonCode", "NoSale")
            return root
        retail = self._add(root, "RetailTransaction", Version="2.1", TransactionStatus=self._status())
        retail.set("TypeCode", TYPES[t.kind])
        self._add(retail, "ReceiptDateTime", self._time(t.end))
        self._add(retail, "ReceiptNumber", t.receipt_no)
        for kind, key in t.links:
            link = self._add(retail, "TransactionLink", ReasonCode=LINKS[kind])
            self._add(link, "RetailStoreID", key.store)
            self._add(link, "WorkstationID", key.workstation)
            self._add(link, "BusinessDayDate", key.business_date.isoformat())
            self._add(link, "SequenceNumber", key.sequence)
        for line in t.lines:
            self._line(retail, line)
        numbers = count(1 + max((line.number for line in t.lines), default=0))
        for rate, taxable, cents in t.taxes:
            tax = self._add(self._row(retail, next(numbers)), "Tax")
            self._add(tax, "TaxableAmount", amount(taxable))
            self._add(tax, "Amount", amount(cents))
            self._add(tax, "Percent", f"{rate:.2f}")
        for tender in t.tenders:
            self._tender(self._row(retail, next(numbers)), tender)
        for name, cents in (("Gross", t.gross), ("Net", t.net), ("Tax", t.tax), ("Grand", t.grand)):
            self._add(retail, "Total", amount(cents), TotalType=f"Transaction{name}Amount")
        return root

    def _status(self) -> str:
        t = self._t
        if "suspended" in t.flags:
            return "Suspended"
        if t.kind == "post_void":
            return "PostVoided"
        return "SuspendedRetrieved" if any(link.kind == "resumes" for link in t.links) else "Totaled"

    def _line(self, retail: etree._Element, line: Line) -> None:
        row = self._row(retail, line.number)
        row.set("EntryMethod", line.entry.capitalize())
        if line.voided:
            row.set("VoidFlag", "true")
        item = self._add(row, line.kind.capitalize(), ItemType="Stock")
        self._add(self._add(item, "POSIdentity", POSIDType="GTIN"), "POSItemID", f"{line.gtin:>014}")
        self._add(item, "ItemID", f"{line.sku:>014}")
        self._add(item, "Description", line.name)
        self._add(item, "RegularSalesUnitPrice", amount(line.unit_price))
        self._add(item, "ActualSalesUnitPrice", amount(line.unit_price))
        self._add(item, "ExtendedAmount", amount(line.extended))
        weighed = line.unit == "KGM"
        units = "1" if weighed else str(int(line.quantity))
        self._add(item, "Quantity", line.quantity if weighed else units, Units=units, UnitOfMeasureCode=line.unit)
        for promotion, cents, reason in line.discounts:
            modifier = self._add(item, "RetailPriceModifier", MethodCode="Promotion")
            self._add(modifier, "Amount", amount(cents), Action="Subtract")
            self._add(modifier, "PromotionID", promotion)
            self._add(modifier, "ReasonCode", reason)

    def _tender(self, row: etree._Element, tender: Tender) -> None:
        element = self._add(row, "Tender", TenderType=TENDERS[tender.kind], TypeCode="Refund" if tender.cents < 0 else "Sale")
        self._add(element, "Amount", amount(tender.cents))
        if tender.auth:
            self._add(self._add(element, "Authorization"), "AuthorizationCode", tender.auth)
        if tender.last4:
            self._add(self._add(element, "CreditDebit"), "AccountNumberSuffix", tender.last4)
        if tender.change:
            self._add(self._add(element, "TenderChange"), "Amount", amount(tender.change))

    def _row(self, retail: etree._Element, number: int) -> etree._Element:
        row = self._add(retail, "LineItem")
        self._add(row, "SequenceNumber", number)
        return row

    def _add(self, parent: etree._Element, name: str, text: object = None, **attributes: str) -> etree._Element:
        child = etree.SubElement(parent, name, attributes)
        if text is not None:
            child.text = str(text)
        return child

    def _time(self, moment: datetime) -> str:
        return (moment if self._offset else moment.replace(tzinfo=None)).isoformat(timespec="seconds")


def amount(cents: int) -> str:
    whole, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}{whole}.{rest:02}"
