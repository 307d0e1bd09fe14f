"""Writes transactions as the delimited log that contracts/systems/pos/tlog.toml declares."""

import csv
from collections.abc import Iterable
from datetime import date, datetime
from typing import TextIO

from sandbox.pos.receipt import Transaction

TYPES = {"sale": "S", "return": "R", "exchange": "X", "post_void": "V", "control": "C"}
FLAGS = {"training": "T", "cancelled": "C", "suspended": "S", "offline": "O"}
LINKS = {"voids": "V", "return_of": "R", "resumes": "W"}
TENDERS = {
    "cash": "BAR", "debit": "EC", "credit": "KK", "gift_card": "GS", "voucher": "GU", "account": "HK", "wallet": "MW",
}  # fmt: skip
UNITS = {"EA": "ST", "KGM": "KG"}
VERSION = "2"


def write(out: TextIO, store: str, business_date: date, file_no: int, created: datetime, transactions: Iterable[Transaction]) -> None:
    rows = csv.writer(out, delimiter=";", lineterminator="\n")
    rows.writerow(("FH", VERSION, store, f"{business_date:%Y%m%d}", stamp(created), f"{file_no:05}"))
    count = lines = total = 0
    for t in transactions:
        count, lines = count + 1, lines + len(t.lines)
        total += t.grand if t.counts else 0
        rows.writerows(_rows(t))
    rows.writerow(("FT", count, lines, signed(total)))


def _rows(t: Transaction) -> Iterable[tuple[object, ...]]:
    key, sign = t.key, t.sign
    yield (
        "TH", key.workstation, f"{key.sequence:06}", TYPES[t.kind], stamp(t.begin), stamp(t.end), t.operator,
        t.receipt_no, t.currency, "".join(FLAGS[f] for f in sorted(t.flags)),
    )  # fmt: skip
    for kind, (store, workstation, day, sequence) in t.links:
        yield "TK", LINKS[kind], store, workstation, f"{day:%Y%m%d}", f"{sequence:06}"
    for line in t.lines:
        effect = sign * line.direction
        yield (
            "TL", line.number, "R" if line.kind == "return" else "S", f"{line.sku:>012}", line.gtin,
            int(line.quantity * 1000), UNITS[line.unit], line.unit_price, signed(effect * line.extended),
            "V" if line.voided else "", line.entry[0].upper(),
        )  # fmt: skip
        for promotion, cents, reason in line.discounts:
            yield "TD", line.number, promotion, signed(effect * cents), reason
    for rate, taxable, tax in t.taxes:
        yield "TX", int(rate * 100), signed(taxable), signed(tax)
    for tender in t.tenders:
        code = TENDERS[tender.kind]
        yield "TT", code, signed(tender.cents), "", tender.last4, tender.auth
        if tender.change:
            yield "TT", code, tender.change, "C", "", ""
    yield "TF", signed(t.gross), signed(t.net), signed(t.tax), signed(t.grand)


def signed(cents: int) -> str:
    return f"{-cents}-" if cents < 0 else str(cents)


def stamp(moment: datetime) -> str:
    return f"{moment:%Y%m%d%H%M%S}"
