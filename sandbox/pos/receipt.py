"""What a till rang up: transactions with lines, discounts and tenders, and the arithmetic that joins them."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal, NamedTuple

Kind = Literal["sale", "return", "exchange", "post_void", "control"]
LineKind = Literal["sale", "return"]
Flag = Literal["training", "cancelled", "suspended", "offline"]
LinkKind = Literal["voids", "return_of", "resumes"]
TenderKind = Literal["cash", "debit", "credit", "gift_card", "voucher", "account", "wallet"]
Entry = Literal["scanned", "keyed", "weighed"]


class Key(NamedTuple):
    """What makes a transaction unique."""

    store: str
    workstation: str
    business_date: date
    sequence: int

    def __str__(self) -> str:
        return f"{self.store}/{self.workstation}/{self.business_date}/{self.sequence}"


class Link(NamedTuple):
    kind: LinkKind
    key: Key


class Discount(NamedTuple):
    promotion: str
    cents: int
    reason: str


class TaxRow(NamedTuple):
    rate: Decimal
    taxable: int
    tax: int


@dataclass(frozen=True, slots=True)
class Line:
    """`extended` is quantity x unit price in cents before discounts, without a sign. A voided line counts nothing."""

    number: int
    kind: LineKind
    sku: str
    name: str
    gtin: str
    quantity: Decimal
    unit: Literal["EA", "KGM"]
    unit_price: int
    extended: int
    tax_rate: Decimal
    discounts: tuple[Discount, ...] = ()
    voided: bool = False
    entry: Entry = "scanned"

    @property
    def direction(self) -> int:
        return -1 if self.kind == "return" else 1

    @property
    def payable(self) -> int:
        return 0 if self.voided else self.direction * (self.extended - sum(d.cents for d in self.discounts))


@dataclass(frozen=True, slots=True)
class Tender:
    """Cents handed over (minus: paid out), of which `change` came back to the customer."""

    kind: TenderKind
    cents: int
    change: int = 0
    last4: str = ""
    auth: str = ""


@dataclass(slots=True)
class Transaction:
    """One transaction. All totals are cents, signed by their effect on revenue: a post-void counts against."""

    key: Key
    kind: Kind
    begin: datetime
    end: datetime
    operator: str
    receipt_no: str
    currency: str
    flags: frozenset[Flag] = frozenset()
    lines: tuple[Line, ...] = ()
    tenders: tuple[Tender, ...] = ()
    links: tuple[Link, ...] = ()
    files: list[str] = field(default_factory=list)
    """Names of the files that hold it."""
    damaged: dict[str, str] = field(default_factory=dict)
    """File -> why it cannot be read, or not be trusted, in that file."""

    @property
    def sign(self) -> int:
        return -1 if self.kind == "post_void" else 1

    @property
    def gross(self) -> int:
        return self.sign * sum(line.direction * line.extended for line in self.lines if not line.voided)

    @property
    def grand(self) -> int:
        return self.sign * sum(line.payable for line in self.lines)

    @property
    def taxes(self) -> tuple[TaxRow, ...]:
        by_rate: dict[Decimal, int] = defaultdict(int)
        for line in self.lines:
            by_rate[line.tax_rate] += self.sign * line.payable
        return tuple(TaxRow(rate, net := net_of(gross, rate), gross - net) for rate, gross in sorted(by_rate.items()))

    @property
    def tax(self) -> int:
        return sum(row.tax for row in self.taxes)

    @property
    def net(self) -> int:
        return self.grand - self.tax

    @property
    def counts(self) -> bool:
        """Whether this is revenue: a retail transaction that was neither training nor cancelled nor suspended."""
        return self.kind != "control" and not self.flags & {"training", "cancelled", "suspended"}

    @property
    def units(self) -> Counter[str]:
        """sku -> thousandths of its unit that left the store; nothing if the transaction does not count."""
        moved: Counter[str] = Counter()
        if self.counts:
            for line in self.lines:
                if not line.voided:
                    moved[line.sku] += self.sign * line.direction * int(line.quantity * 1000)
        return moved

    @property
    def readable_in(self) -> list[str]:
        return [name for name in self.files if name not in self.damaged]

    def as_dict(self) -> dict[str, object]:
        """JSON-like; amounts in cents, quantities as decimal strings."""
        return {
            "key": str(self.key),
            "store": self.key.store,
            "workstation": self.key.workstation,
            "businessDate": self.key.business_date.isoformat(),
            "sequence": self.key.sequence,
            "kind": self.kind,
            "begin": self.begin.isoformat(),
            "end": self.end.isoformat(),
            "currency": self.currency,
            "flags": sorted(self.flags),
            "counts": self.counts,
            "gross": self.gross,
            "net": self.net,
            "tax": self.tax,
            "grand": self.grand,
            "lines": [
                {
                    "line": line.number,
                    "kind": line.kind,
                    "sku": line.sku,
                    "quantity": str(line.quantity),
                    "unit": line.unit,
                    "unitPrice": line.unit_price,
                    "extended": line.extended,
                    "discount": sum(d.cents for d in line.discounts),
                    "voided": line.voided,
                }
                for line in self.lines
            ],
            "tenders": [{"kind": t.kind, "cents": t.cents, "change": t.change} for t in self.tenders],
            "links": [{"kind": link.kind, "key": str(link.key)} for link in self.links],
            "files": list(self.files),
            "damaged": dict(self.damaged),
        }


def extended(quantity: Decimal, unit_price: int) -> int:
    """Cents for a quantity at cents per unit, rounded half up as tills do."""
    return int((quantity * unit_price).quantize(Decimal(1), ROUND_HALF_UP))


def net_of(gross: int, rate: Decimal) -> int:
    """The net part of a gross amount in cents; symmetric, so that a return takes back exactly what the sale booked."""
    part = int((abs(gross) * 100 / (100 + rate)).quantize(Decimal(1), ROUND_HALF_UP))
    return part if gross >= 0 else -part
