"""POSLog as vendors write it: what a document shows is read without a word; what it cannot show is declared, and has to add up."""

import io
import re
from pathlib import Path
from typing import Any

import pytest

from adapters.files.formats.xml import Plan, XmlParser
from adapters.files.layout import Layout, parse
from contracts.errors import Findings

TEXT = (Path(__file__).parents[5] / "contracts/systems/pos/poslog.toml").read_text(encoding="utf-8")


def layout(**dialect: str) -> Layout:
    text = re.sub(r"(?m)^agree .*\n", "", TEXT)
    for key, value in dialect.items():
        text = re.sub(rf"(?m)^{key} +=.*$", f'{key} = "{value}"', text)
    return parse(text, "poslog.toml", "poslog")


def line(inside: str, number: int = 1, kind: str = "Sale", attributes: str = "", price: str = "5.00", quantity: str = "1") -> str:
    return (
        f"<LineItem{attributes}><{kind}><ItemID>7</ItemID><ExtendedAmount>{price}</ExtendedAmount>"
        f"<Quantity>{quantity}</Quantity>{inside}</{kind}><SequenceNumber>{number}</SequenceNumber></LineItem>"
    )


def cash(amount: str, inside: str = "", attributes: str = "") -> str:
    tender = f'<Tender TenderType="Cash"{inside}<Amount>{amount}</Amount></Tender>'
    return f"<LineItem{attributes}><SequenceNumber>9</SequenceNumber>{tender}</LineItem>"


def document(body: str, grand: str, *, head: str = "", kind: str = "", more: str = "") -> str:
    head = head or "<RetailStoreID>2</RetailStoreID>"
    return (
        f"<POSLog><Transaction>{head}<WorkstationID>1</WorkstationID><SequenceNumber>1</SequenceNumber><BusinessDayDate>2026-03-11"
        f"</BusinessDayDate><CurrencyCode>EUR</CurrencyCode><RetailTransaction{kind}>{body}"
        f'<Total TotalType="TransactionGrandAmount">{grand}</Total>{more}</RetailTransaction>'
        "<EndDateTime>2026-03-11T09:00:00.4509505+01:00</EndDateTime></Transaction></POSLog>"
    )


def read(made: Layout, text: str) -> Any:
    (unit,) = XmlParser(Plan(made)).units(io.BytesIO(text.encode()), "f", {})
    return unit


def values(made: Layout, row: tuple[Any, ...], record: str, *fields: str) -> list[tuple[Any, ...]]:
    declared = made.records[record]
    return [tuple(each[declared.at(name) or 0] for name in fields) for each in row[declared.index]]


VOID = ' VoidFlag="true"'
SOLD, BACK = line("", 1), line("", 2, "Return", price="2.00")


@pytest.mark.parametrize(
    ("text", "record", "fields", "expected"),
    [
        (document(SOLD + cash("5.00", ">"), "5.00", head='<BusinessUnit><UnitID TypeCode="RetailStore">2</UnitID></BusinessUnit>'),
         "Transaction", ("store",), ("2",)),
        (document(SOLD + cash("5.00", ">"), "5.00", head="<BusinessUnit><UnitID>2</UnitID></BusinessUnit>"),
         "Transaction", ("store",), ("2",)),
        (document(SOLD + cash("5.00", ">"), "5.00", kind=' TransactionStatus="Finished" TypeCode="SaleTransaction"'),
         "Transaction", ("type", "status"), ("SaleTransaction", "Finished")),
        (document(line('<Quantity UnitOfMeasureCode="KGM">0.42</Quantity>') + cash("5.00", ">"), "5.00"),
         "LineItem", ("quantity", "unit", "weight"), ("1", "EA", "0.42")),
        (document(line("").replace("<Quantity>1", '<Quantity UnitOfMeasureCode="KGM">0.42</Quantity><Quantity UnitOfMeasureCode="EA">3')
                  + cash("5.00", ">"), "5.00"), "LineItem", ("quantity", "units", "weight", "unit"), ("0.42", "3", "0.42", "KGM")),
        (document(line('<POSIdentity POSIDType="EAN"><POSItemID>4711</POSItemID></POSIdentity>') + cash("5.00", ">"), "5.00"),
         "LineItem", ("pos_item_id",), ("4711",)),
        (document(SOLD + line("", 2, attributes=' VoidedFlag="true"') + cash("5.00", ">"), "5.00"), "LineItem", ("void",), (False,)),
        (document(SOLD + "<LineItem><Own/></LineItem>" + cash("5.00", ' TypeCode="Sale">') + cash("1.00", ">", ' VoidFlag="true"'), "5.00"),
         "Tender", ("amount", "void"), ("5.00", False)),
        (document(SOLD + cash("10.00", ">") + cash("-5.00", ' TypeCode="Change">'), "5.00"), "Tender", ("amount",), ("10.00",)),
        (document(SOLD + cash("10.00", ">") + cash("5.00", ' TypeCode="Change">'), "5.00"), "Tender", ("amount",), ("10.00",)),
        (document(SOLD + cash("10.00", "><TenderChange><Amount>5.00</Amount></TenderChange>"), "5.00"), "Tender", ("change",), ("5.00",)),
        (document(line("<Tax><Amount>0.80</Amount><Percent>19.0000</Percent></Tax>") + cash("5.00", ">"), "5.00"),
         "LineTax", ("rate", "tax"), ("19.0000", "0.80")),
        (document(SOLD + BACK + cash("3.00", ">"), "3.00"), "LineItem", ("kind",), ("Sale",)),
        (document(BACK + cash("-2.00", ' TypeCode="Refund">'), "-2.00"), "LineItem", ("kind",), ("Return",)),
        (document(SOLD + cash("4.98", ">"), "4.98", more='<Total TotalType="RoundingAmount">-0.02</Total>'),
         "Transaction", ("rounding",), ("-0.02",)),
        (document(line('<RetailPriceModifier><Amount Action="Replace">5.00</Amount></RetailPriceModifier>') + cash("5.00", ">"), "5.00"),
         "LineItem", ("extended",), ("5.00",)),
        (document(line('<Quantity UnitOfMeasureCode="Kg">0.127</Quantity>') + cash("5.00", ">"), "5.00"),
         "LineItem", ("quantity", "weight"), ("1", "0.127")),
        (document(SOLD + cash("5.00", ">"), "5.00").replace("<CurrencyCode>EUR</CurrencyCode>", "")
         .replace('<Total TotalType="TransactionGrandAmount"', '<Total TotalType="TransactionGrandAmount" CurrencyCode="GBP"'),
         "Transaction", ("currency",), ("GBP",)),
        (document(SOLD + cash("5.00", ">"), "5.00").replace("EndDateTime", "ReceiptDateTime"), "Transaction", ("grand",), ("5.00",)),
    ],
)  # fmt: skip
def test_what_a_document_shows_is_read_without_a_word(text: str, record: str, fields: tuple[str, ...], expected: tuple[Any, ...]) -> None:
    for spelled in (text, text.replace("<POSLog>", '<POSLog xmlns="http://www.nrf-arts.org/IXRetail/v6.0.0/poslog">')):
        made = layout()
        unit = read(made, spelled)
        assert unit.wrong is None
        top = tuple(unit.row[made.transaction.at(name) or 0] for name in fields) if record == "Transaction" else None
        assert (top or values(made, unit.row, record, *fields)[0]) == expected


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        (document(SOLD + line("", 2, attributes=VOID), "0.00"), {"void_line": "flagged_reversing"}),
        (document(SOLD + line("", 2, attributes=VOID) + line("", 3, "Return") + cash("5.00", ">"), "5.00"), {"void_line": "reversing"}),
        (document(SOLD + line("", 2, price="2.00", quantity="-1") + cash("3.00", ">"), "3.00"), {"return_line": "negative"}),
        (document(SOLD + line("", 2, "Return", price="-2.00") + cash("3.00", ">"), "3.00"), {"return_amount": "negative"}),
        (document(BACK + cash("2.00", ' TypeCode="Refund">'), "2.00", kind=' TypeCode="Return"'), {"total_amount": "positive"}),
        (document(line('<RetailPriceModifier><Amount Action="Subtract">1.00</Amount></RetailPriceModifier>') + cash("5.00", ">"), "5.00"),
         {"extended_amount": "after_modifiers"}),
        (document(SOLD + cash("5.95", ">"), "5.95", more='<Total TotalType="TransactionTaxAmount">0.95</Total>'),
         {"prices": "tax_excluded"}),
    ],
    ids=lambda each: ", ".join(each) if isinstance(each, dict) else "",
)  # fmt: skip
def test_what_it_cannot_show_adds_up_in_the_declared_dialect_alone(text: str, dialect: dict[str, str]) -> None:
    text = text if "Tender" in text else text.replace("<Total ", cash("0.00", ">") + "<Total ", 1)
    assert read(layout(**dialect), text).wrong is None
    wrong = read(layout(), text).wrong
    assert wrong is not None
    assert wrong.field == "Transaction.grand"


def test_a_return_by_sign_of_quantity_and_amount_adds_up() -> None:
    text = document(SOLD + line("", 2, price="-2.00", quantity="-1") + cash("3.00", ">"), "3.00")
    made = layout(return_line="negative", return_amount="negative")
    unit = read(made, text)
    assert unit.wrong is None
    assert values(made, unit.row, "LineItem", "quantity", "direction") == [("1", "+"), ("-1", "-")]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('dialect = { return_line = ["element"] }', 'dialect = { return_lin = ["element"] }', "the dialect has no key 'return_lin'"),
        ('dialect = { return_line = ["element"] }', 'dialect = { return_line = ["elements"] }', "return_line is never 'elements'"),
        ('otherwise = ["ReceiptNumber"]', 'otherwise = ["Receipt Number"]', "is no step of a path"),
        ('read = "sign", type', 'otherwise = ["x"], read = "sign", type', "otherwise leads to other texts"),
    ],
)
def test_mistakes_in_a_dialect_are_found(old: str, new: str, says: str) -> None:
    assert old in TEXT
    with pytest.raises(Findings, match=says):
        parse(TEXT.replace(old, new), "poslog.toml", "poslog")
