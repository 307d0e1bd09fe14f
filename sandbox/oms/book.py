"""The orders an order management system holds: taken, advanced, cancelled, and every earlier revision of them."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b

import msgspec
from msgspec import UNSET

from sandbox.oms.model import (
    Address,
    CancelReason,
    Customer,
    Error,
    HoldReason,
    NewOrder,
    OptIn,
    Order,
    PackedPosition,
    Parcel,
    PersonName,
    Shipments,
    State,
    UsedAddress,
)
from sandbox.world import World, check_digit

PATH: tuple[State, ...] = ("NEW", "ACCEPTED", "PICKING", "PACKED", "DISPATCHED", "DONE")
MAY_HOLD: tuple[State, ...] = ("NEW", "ACCEPTED")
LEFT: tuple[State, ...] = ("DISPATCHED", "DONE")
CARRIERS = ("DHL", "DPD", "GLS")
SIZE = 500_000


class Refused(Exception):
    """A request that is understood and not carried out. `status` is its HTTP status."""

    def __init__(self, status: int, error: Error) -> None:
        super().__init__(error.message)
        self.status, self.error = status, error


class Book:
    """All orders in the order they came, each as the list of its revisions, oldest first."""

    def __init__(self, world: World, clock: Callable[[], datetime]) -> None:
        self._world, self._clock = world, clock
        self._revisions: list[list[Order]] = []
        self._by_ref: dict[str, str] = {}

    def take(self, new: NewOrder) -> Order:
        """The order, in state NEW. Refused for a repeated clientRef and for what the company does not have."""
        if (existing := self._by_ref.get(new.client_ref)) is not None:
            raise Refused(
                409,
                Error(
                    code="DUPLICATE_REF",
                    message=f"clientRef {new.client_ref} was taken as {existing}",
                    field="clientRef",
                    order_no=existing,
                ),
            )
        if len(self._revisions) >= SIZE:
            raise Refused(503, Error(code="UNAVAILABLE", message=f"the book is full at {SIZE} orders"))
        self._check(new)
        order = Order(
            **{name: getattr(new, name) for name in NewOrder.__struct_fields__},
            order_no=f"SO-{len(self._revisions) + 1:06}",
            state="NEW",
            changed_utc=self._now(),
            rev=1,
        )
        self._revisions.append([order])
        self._by_ref[new.client_ref] = order.order_no
        return order

    def get(self, order_no: str, as_of: datetime | None = None) -> Order:
        """The order now, or as it was at `as_of`. Refused with 404 when there is (or was) none."""
        revisions = self._history(order_no)
        order = revisions[-1] if as_of is None else _at(revisions, as_of)
        if order is None:
            raise self._unknown(order_no)
        return order

    def find(self, client_ref: str | None, state: str | None, after: int, as_of: datetime | None = None) -> Iterator[tuple[int, Order]]:
        """(place, order) of the orders behind place `after` that match, oldest first."""
        if client_ref is not None:
            number = self._by_ref.get(client_ref)
            places: range = range(0) if number is None else range(int(number[3:]), int(number[3:]) + 1)
        else:
            places = range(after + 1, len(self._revisions) + 1)
        for place in places:
            revisions = self._revisions[place - 1]
            order = revisions[-1] if as_of is None else _at(revisions, as_of)
            if place > after and order is not None and state in (None, order.state):
                yield place, order

    def cancel(self, order_no: str, reason: CancelReason) -> Order:
        """The cancelled order; one that is cancelled already is answered as it is. Refused with 409 once it left."""
        order = self.get(order_no)
        if order.state in LEFT:
            raise Refused(
                409,
                Error(code="ALREADY_DISPATCHED", message=f"{order_no} is {order.state}: it has left", order_no=order_no),
            )
        return order if order.state == "CANCELLED" else self._revise(order, "CANCELLED", cancel_reason=reason)

    def advance(self, order_no: str, to: State | None = None, hold: HoldReason = "MANUAL") -> Order:
        """Move an order on: one step along NEW … DONE, or as far as `to`; ON_HOLD parks it with reason `hold`, and the
        next step releases it to ACCEPTED. KeyError for no such order, ValueError for a way that does not exist."""
        try:
            order = self.get(order_no)
        except Refused as exc:
            raise KeyError(order_no) from exc
        if to == "ON_HOLD" and order.state in MAY_HOLD:
            return self._revise(order, "ON_HOLD", hold_reason=hold)
        if to == "CANCELLED" and order.state not in (*LEFT, "CANCELLED"):
            return self._revise(order, "CANCELLED", cancel_reason="OTHER")
        at = PATH.index("NEW") if order.state == "ON_HOLD" else PATH.index(order.state) if order.state in PATH else -1
        end = at + 1 if to is None else PATH.index(to) if to in PATH else -1
        if at < 0 or not at < end < len(PATH):
            raise ValueError(f"{order_no} is {order.state}; from there it cannot become {to or 'anything further'}")
        for state in PATH[at + 1 : end + 1]:
            order = self._revise(order, state)
        return order

    def shipments(self, order_no: str, as_of: datetime | None = None) -> Shipments:
        """One parcel per site once the order is packed."""
        order = self.get(order_no, as_of)
        revisions = [r for r in self._history(order_no) if r.rev <= order.rev]
        when = {r.state: r.changed_utc for r in revisions}
        if "PACKED" not in when or order.state == "CANCELLED":
            return Shipments(order_no=order_no, parcels=[])
        by_site: dict[str, list[PackedPosition]] = {}
        for position in order.positions:
            site = order.delivery.site if order.delivery.mode == "CLICK_COLLECT" else position.site
            by_site.setdefault(site or "9001", []).append(PackedPosition(pos=position.pos, qty=position.qty))
        return Shipments(
            order_no=order_no,
            parcels=[self._parcel(order, n, site, when, rows) for n, (site, rows) in enumerate(by_site.items(), 1)],
        )

    def customer(self, number: str) -> Customer:
        who = self._world.customer(number)
        if who is None:
            raise Refused(404, Error(code="NOT_FOUND", message=f"no customer {number}"))
        name = f"{who.first_name} {who.last_name}"
        home = Address(name=who.company or name, street=who.street, post_code=who.postcode, city=who.city, country_code=who.country)
        return Customer(
            no=who.number,
            mail=who.email or UNSET,
            name=PersonName(first=who.first_name, last=who.last_name),
            phone=who.phone or UNSET,
            lang=who.language,
            group="TRADE" if who.company else UNSET,
            addresses=[UsedAddress(use="BILL", address=home), UsedAddress(use="SHIP", address=home)],
            opt_ins=[OptIn(purpose="NEWSLETTER", granted=self._number("optin", number) % 2 == 0, since_utc=1735689600000)],
        )

    def account(self) -> dict[str, object]:
        """The books: every order with its reference, way through the states, total and positions; totals per currency
        without cancelled orders. Amounts are strings with two decimals."""
        totals: dict[str, Decimal] = {}
        orders: list[dict[str, object]] = []
        for revisions in self._revisions:
            order = revisions[-1]
            if order.state != "CANCELLED":
                total = order.grand_total
                totals[total.ccy] = totals.get(total.ccy, Decimal(0)) + Decimal(total.amount)
            orders.append(
                {
                    "orderNo": order.order_no,
                    "clientRef": order.client_ref,
                    "salesChannel": order.sales_channel,
                    "state": order.state,
                    "states": [[r.state, r.changed_utc] for r in revisions],
                    "total": order.grand_total.amount,
                    "ccy": order.grand_total.ccy,
                    "positions": [
                        {
                            "pos": p.pos,
                            "articleNo": p.article_no,
                            "qty": str(p.qty),
                            "uom": p.uom,
                            "lineTotal": p.line_total.amount,
                            "site": p.site or None,
                        }
                        for p in order.positions
                    ],
                }
            )
        return {
            "orders": orders,
            "totals": {ccy: str(total) for ccy, total in sorted(totals.items())},
        }

    def _check(self, new: NewOrder) -> None:
        for at, position in enumerate(new.positions):
            where = f"positions[{at}]"
            product = self._world.product(position.article_no)
            if product is None:
                raise Refused(
                    422,
                    Error(code="UNKNOWN_ARTICLE", message=f"no article {position.article_no}", field=f"{where}.articleNo"),
                )
            if (position.uom == "KGM") != (product.unit == "KGM"):
                raise self._invalid(f"{where}.uom", f"article {product.sku} is not sold by {position.uom}")
            if position.line_total.ccy != new.grand_total.ccy or position.unit_price.ccy != new.grand_total.ccy:
                raise self._invalid(f"{where}.lineTotal.ccy", "an order has one currency")
        if len({p.pos for p in new.positions}) < len(new.positions):
            raise self._invalid("positions", "position numbers are unique in an order")
        for site in sorted(new.sites):
            if self._world.store(site) is None:
                raise self._invalid("site", f"no site {site}")
        if new.delivery.mode == "CLICK_COLLECT" and not new.delivery.site:
            raise self._invalid("delivery.site", "goods to be collected need a site")
        lines = sum(Decimal(p.line_total.amount) for p in new.positions)
        if lines != Decimal(new.grand_total.amount):
            raise self._invalid("grandTotal", f"the positions come to {lines}, not {new.grand_total.amount}")

    def _parcel(self, order: Order, n: int, site: str, when: dict[State, int], rows: list[PackedPosition]) -> Parcel:
        serial = self._number("parcel", f"{order.order_no}/{n}")
        body = f"3{4006381:07}{serial % 10**9:09}"
        collected = order.delivery.mode == "CLICK_COLLECT"
        return Parcel(
            parcel_no=f"{order.order_no}/{n}",
            carrier="STORE" if collected else CARRIERS[serial % len(CARRIERS)],
            tracking_no=f"{serial % 10**14:014}",
            sscc=body + check_digit(body),
            state="DELIVERED" if "DONE" in when else "HANDED_OVER" if "DISPATCHED" in when else "LABELLED",
            site=site,
            dispatched_utc=when.get("DISPATCHED", UNSET),
            delivered_utc=when.get("DONE", UNSET),
            positions=rows,
        )

    def _revise(
        self, order: Order, state: State, *, hold_reason: HoldReason | None = None, cancel_reason: CancelReason | None = None
    ) -> Order:
        revised = msgspec.structs.replace(
            order,
            state=state,
            changed_utc=self._now(),
            rev=order.rev + 1,
            hold_reason=hold_reason or UNSET,
            cancel_reason=cancel_reason or UNSET,
        )
        self._history(order.order_no).append(revised)
        return revised

    def _history(self, order_no: str) -> list[Order]:
        digits = order_no[3:]
        if order_no[:3] == "SO-" and digits.isascii() and digits.isdigit() and len(digits) <= 9:
            place = int(digits)
            if 1 <= place <= len(self._revisions) and self._revisions[place - 1][0].order_no == order_no:
                return self._revisions[place - 1]
        raise self._unknown(order_no)

    def _unknown(self, order_no: str) -> Refused:
        return Refused(404, Error(code="NOT_FOUND", message=f"no order {order_no[:20]}"))

    def _invalid(self, field: str, message: str) -> Refused:
        return Refused(422, Error(code="INVALID", message=message, field=field))

    def _now(self) -> int:
        return int(self._clock().timestamp() * 1000)

    def _number(self, kind: str, key: str) -> int:
        return int.from_bytes(blake2b(f"{self._world.seed}/oms {kind}/{key}".encode(), digest_size=8).digest(), "big")


def _at(revisions: list[Order], moment: datetime) -> Order | None:
    limit = moment.astimezone(UTC).timestamp() * 1000
    return next((r for r in reversed(revisions) if r.changed_utc <= limit), None)
