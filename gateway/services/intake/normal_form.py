"""The normal form of a sale: what the dialects of tills say differently, said in one way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from msgspec.structs import force_setattr, replace

from contracts.canonical.amounts import Quantity
from contracts.canonical.payment import Payment
from contracts.canonical.sale import PosSale, SaleLine


class NotNormal(Exception):
    """A transaction that its declared dialect does not allow."""

    def __init__(self, field: str, expected: str, got: str) -> None:
        super().__init__(field, expected, got)
        self.field, self.expected, self.got = field, expected, got


def normal_form(sale: PosSale, dialect: Mapping[str, str], zone: str | None) -> PosSale:
    """Positive quantities with the direction in the line's type, void lines paired, payments told apart. Raises NotNormal.

    `sale` is nobody else's: what is normal but for the zone is completed in place.
    """
    if _usual(sale):
        if sale.store_time_zone is None:
            force_setattr(sale, "store_time_zone", zone)
        return sale
    lines = sale.lines
    if any(map(_negative, lines)):
        if dialect.get("return_line") != "negative":
            raise NotNormal("lines", "quantities without a sign", "a negative quantity, which the declared dialect does not use")
        lines = tuple(_positive(line) if _negative(line) else line for line in lines)
    if dialect.get("void_line", "flag") != "flag" and any(line.voided for line in lines):
        lines = tuple(_paired(lines, flips=dialect["void_line"] == "flagged_reversing"))
    kind = sale.transaction_type
    if kind in ("sale", "return"):
        kinds = {line.line_type for line in lines if not line.voided and line.voids_line is None} & {"sale", "return"}
        if len(kinds) == 2:
            kind = "exchange"
        elif kinds == {"return"}:
            kind = "return"
    tenders = sale.tenders
    if len(tenders) > 1 and len({t.payment_id for t in tenders}) < len(tenders):
        tenders = tuple(_told_apart(tenders))
    return replace(sale, lines=lines, transaction_type=kind, tenders=tenders, store_time_zone=sale.store_time_zone or zone)


def _usual(sale: PosSale) -> bool:
    """Plain lines that all go the way of the transaction, and payments that differ: most are like that."""
    kind = sale.transaction_type
    for line in sale.lines:
        if line.line_type != kind or line.voided or line.voids_line is not None or _negative(line):
            return False
    tenders = sale.tenders
    return len(tenders) < 2 or len({t.payment_id for t in tenders}) == len(tenders)


def _negative(line: SaleLine) -> bool:
    units, measure = line.units, line.measure
    return (units is not None and units.value[0] == "-") or (measure is not None and measure.value[0] == "-")


def _positive(line: SaleLine) -> SaleLine:
    turned = {"sale": "return", "return": "sale"}
    return replace(
        line, line_type=turned.get(line.line_type, line.line_type), units=_magnitude(line.units), measure=_magnitude(line.measure)
    )


def _magnitude(quantity: Quantity | None) -> Quantity | None:
    return None if quantity is None else Quantity(quantity.value.removeprefix("-"), quantity.unit)


def _paired(lines: Sequence[SaleLine], *, flips: bool) -> Iterator[SaleLine]:
    """A flagged line takes an earlier one back: it counts against it, and names it."""
    open_lines: list[SaleLine] = []
    for line in lines:
        if not line.voided:
            open_lines.append(line)
            yield line
            continue
        wanted = line.line_type if flips else {"sale": "return", "return": "sale"}.get(line.line_type, line.line_type)
        target = next(
            (o for o in reversed(open_lines) if o.item_id == line.item_id and o.line_type == wanted and _count(o) == _count(line)), None
        )
        if target is None:
            raise NotNormal(f"lines/{line.line_number}", "an earlier line that this void line takes back", "none")
        open_lines.remove(target)
        kind = {"sale": "return", "return": "sale"}.get(line.line_type, line.line_type) if flips else line.line_type
        yield replace(line, voided=False, line_type=kind, voids_line=target.line_number)


def _count(line: SaleLine) -> Decimal | None:
    quantity = line.measure or line.units
    return None if quantity is None else quantity.amount


def _told_apart(tenders: Sequence[Payment]) -> Iterator[Payment]:
    """A second payment of one id gets a number: ids are unique within a sale."""
    seen: dict[str, int] = {}
    for tender in tenders:
        count = seen[tender.payment_id] = seen.get(tender.payment_id, 0) + 1
        yield tender if count == 1 else replace(tender, payment_id=f"{tender.payment_id[:90]}-{count}")
