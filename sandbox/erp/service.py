"""What the ERP's operations do, in the ERP's own form: padded numbers, YYYYMMDD, T_RETURN rows for business errors."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sandbox.erp.books import Books, OrderItem, SalesOrder
from sandbox.erp.contract import Row, SoapCall
from sandbox.erp.sessions import Sessions
from sandbox.world import MARKETS, NEVER_ENDS, Price, Product, World

UNITS = {"EA": "ST", "KGM": "KG"}
LANGUAGES = {"de": "D", "en": "E", "fr": "F"}
STATUSES = {"active": "A", "discontinued": "X", "new": "N"}
CONDITIONS = ("VKP0", "VKA0")


class RetailFault(Exception):
    """Answered as a SOAP fault with this detail."""

    def __init__(self, detail: str, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.detail, self.code, self.message, self.field = detail, code, message, field


@dataclass(slots=True)
class Retail:
    """All operations. `as_of` makes GetStock answer as it would have at that moment; other operations never look back."""

    world: World
    books: Books
    sessions: Sessions
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def answer(self, call: SoapCall, as_of: datetime | None = None) -> Row:
        """The answer's fields. RetailFault for what this ERP answers with a fault."""
        if call.operation != "Login":
            if call.session is None:
                raise RetailFault("SessionFault", "SESSION_MISSING", "no SessionHeader: call Login first")
            if not self.sessions.holds(call.session):
                raise RetailFault("SessionFault", "SESSION_EXPIRED", "the session is unknown or has expired: log in again")
        given = call.arguments
        match call.operation:
            case "Login":
                return self._login(given["USER"], given["PASSWORD"])
            case "GetPlants":
                return self._plants()
            case "GetMaterials":
                return self._materials(given["T_MATNR"], given["I_FROM"], int(given["I_MAX"]))
            case "GetPrices":
                return self._prices(_column(given["T_MATNR"], "MATNR"), given["WERKS"])
            case "GetStock":
                return self._stock([(row["MATNR"], row["WERKS"]) for row in _rows(given["T_REQ"])], as_of)
            case "CreateSalesOrder":
                return self._create(given["HEADER"], _rows(given["T_ITEMS"]))
            case "FindSalesOrder":
                order = self.books.find(given["BSTNK"])
                return {"T_ORDERS": {"item": [] if order is None else [_order(order)]}}
            case "CancelSalesOrder":
                return self._cancel(given["VBELN"], given["ABGRU"])
            case _:
                return self._customer(given["KUNNR"])

    def plants(self, call: SoapCall) -> set[str]:
        """The locations a call is about, for faults that hit one store only."""
        given = call.arguments
        match call.operation:
            case "GetStock":
                return {row["WERKS"] for row in _rows(given["T_REQ"])}
            case "GetPrices":
                return {given["WERKS"]} if given["WERKS"] else set()
            case "CreateSalesOrder":
                return {given["HEADER"]["WERKS"], *_column(given["T_ITEMS"], "WERKS")}
            case "FindSalesOrder" | "CancelSalesOrder":
                found = self.books.find(given["BSTNK"]) if "BSTNK" in given else self.books.order(given["VBELN"])
                return found.plants if found else set()
            case _:
                return set()

    def _login(self, user: str, password: str) -> Row:
        session = self.sessions.open(user, password)
        if session is None:
            raise RetailFault("SessionFault", "LOGIN_FAILED", "name or password is incorrect")
        return {"SESSION_ID": session, "VALID_SECONDS": self.sessions.seconds}

    def _plants(self) -> Row:
        return {
            "T_PLANTS": {
                "item": [
                    {
                        "WERKS": s.number, "NAME1": s.name, "STRAS": s.street, "ORT01": s.city, "PSTLZ": s.postcode,
                        "LAND1": s.country, "TIMEZONE": s.time_zone, "WAERS": s.currency,
                        "VLFKZ": "A" if s.kind == "store" else "B", "LOEVM": "X" if s.closed else None,
                    }
                    for s in self.world.locations
                ]
            }
        }  # fmt: skip

    def _materials(self, wanted: Any, start: str | None, most: int) -> Row:
        if wanted is not None:
            if start is not None:
                raise RetailFault(
                    "RetailFault", "INVALID_REQUEST", "I_FROM pages through all materials, T_MATNR names some: not both", "I_FROM"
                )
            found, unknown = self._known(_column(wanted, "MATNR"))
            if len(found) > most:
                raise RetailFault("RetailFault", "LIMIT_EXCEEDED", f"{len(found)} materials are asked for, I_MAX is {most}", "I_MAX")
            return {"T_MATERIALS": {"item": [_material(p) for p in found]}, "T_RETURN": unknown}
        at = 0
        if start is not None:
            first = self.world.product(_sku(start))
            if first is None:
                raise RetailFault("RetailFault", "INVALID_REQUEST", f"I_FROM {start} is not a material", "I_FROM")
            at = int(first.sku) - int(self.world.skus[0])
        page = self.world.products[at : at + most]
        after = at + len(page)
        following = _matnr(self.world.skus[after]) if after < len(self.world.skus) else None
        return {"T_MATERIALS": {"item": [_material(p) for p in page]}, "E_NEXT": following}

    def _prices(self, wanted: list[str], plant: str | None) -> Row:
        store = self.world.store(plant) if plant else None
        if plant and store is None:
            return {"T_PRICES": {"item": []}, "T_RETURN": {"item": [_message("E", "M3", 305, f"Plant {plant} does not exist", plant)]}}
        found, unknown = self._known(wanted)
        rows = []
        for product in found:
            for country in (store.country,) if store else MARKETS:
                tax = self.world.tax_rate(product.sku, country)
                code = "A0" if not tax else "A2" if product.reduced_tax else "A1"
                for condition, price in zip(CONDITIONS, self.world.price(product.sku, country), strict=True):
                    if price is not None:
                        rows.append(_price(product, plant, country, condition, price, code))
        return {"T_PRICES": {"item": rows}, "T_RETURN": unknown}

    def _stock(self, wanted: list[tuple[str, str]], as_of: datetime | None) -> Row:
        moment = as_of or self.clock()
        rows: list[Row] = []
        messages: list[Row] = []
        tills: dict[str, Row] = {}
        for matnr, plant in dict.fromkeys(wanted):
            sku = _sku(matnr)
            product, store = self.world.product(sku), self.world.store(plant)
            if product is None:
                messages.append(_message("E", "M3", 305, f"Material {matnr} does not exist", matnr))
                continue
            if store is None:
                messages.append(_message("E", "M3", 351, f"Plant {plant} does not exist", plant))
                continue
            figures, held = self.books.stock(sku, plant, as_of), self.world.held_stock(sku, plant)
            if plant not in tills:
                tills[plant] = {
                    "item": [
                        {"KASSE": till, "BUDAT": f"{last.business_day:%Y%m%d}", "BONNR": f"{last.sequence:06}"}
                        for till, last in self.books.posted_through(plant, as_of).items()
                    ]
                }
            rows.append(
                {
                    "MATNR": _matnr(sku), "WERKS": plant, "LABST": _quantity(figures.on_hand),
                    "INSME": _quantity(held.quality), "SPEME": _quantity(held.blocked),
                    "EINME": _quantity(held.restricted), "UMLME": _quantity(held.in_transfer),
                    "KWMENG_OPEN": _quantity(figures.committed), "MEINS": UNITS[product.unit], "T_KASSE": tills[plant],
                }
            )  # fmt: skip
        return {
            "STICHTAG": f"{moment:%Y%m%d}", "UZEIT": f"{moment:%H%M%S}", "T_STOCK": {"item": rows},
            "T_RETURN": {"item": messages} if messages else None,
        }  # fmt: skip

    def _create(self, header: dict[str, Any], items: list[dict[str, Any]]) -> Row:
        messages = [*self._header_errors(header), *self._item_errors(header, items)]
        if messages:
            return {"T_RETURN": {"item": messages}}
        customer = header["KUNNR"] and header["KUNNR"].lstrip("0")
        order = self.books.create(
            SalesOrder(
                document="", reference=header["BSTNK"], kind=header["AUART"], currency=header["WAERK"],
                customer=customer, plant=header["WERKS"], wanted_on=header["EDATU"], created_at=self.clock(),
                items=[
                    OrderItem(i["POSNR"], _sku(i["MATNR"]), i["KWMENG"], i["VRKME"], i["NETPR"], i["WERKS"]) for i in items
                ],
            )
        )  # fmt: skip
        messages = [_message("S", "V1", 311, f"Standard order {order.document} has been saved", order.document)]
        for item in order.items:
            figures = self.books.stock(item.sku, item.plant)
            free = figures.on_hand - figures.committed
            if free < 0:
                text = f"Item {item.number}: {-free} {item.unit} of {item.sku} not available in plant {item.plant}"
                messages.append(_message("W", "VV", 747, text, item.number))
        return {"VBELN": order.document, "T_RETURN": {"item": messages}}

    def _header_errors(self, header: dict[str, Any]) -> Iterable[Row]:
        if (double := self.books.find(header["BSTNK"])) is not None:
            text = f"Purchase order number {header['BSTNK']} already exists in document {double.document}"
            yield _message("E", "V4", 115, text, double.document)
        plant = self.world.store(header["WERKS"])
        if plant is None or plant.closed:
            yield _message("E", "M3", 351, f"Plant {header['WERKS']} {'is closed' if plant else 'does not exist'}", header["WERKS"])
        elif header["WAERK"] != plant.currency:
            yield _message("E", "V1", 201, f"Currency {header['WAERK']} is not kept in plant {plant.number}: {plant.currency}", "WAERK")
        if header["KUNNR"] is not None:
            customer = self.world.customer(header["KUNNR"].lstrip("0"))
            if customer is None:
                yield _message("E", "VP", 199, f"Customer {header['KUNNR']} does not exist", header["KUNNR"])
            elif customer.blocked:
                yield _message("E", "VP", 170, f"Customer {header['KUNNR']} is blocked for sales orders", header["KUNNR"])
        try:
            date.fromisoformat(f"{header['EDATU'][:4]}-{header['EDATU'][4:6]}-{header['EDATU'][6:]}")
        except ValueError:
            yield _message("E", "00", 65, f"{header['EDATU']} is not a date YYYYMMDD", "EDATU")

    def _item_errors(self, header: dict[str, Any], items: list[dict[str, Any]]) -> Iterable[Row]:
        if not items:
            yield _message("E", "V1", 380, "A document needs at least one item", "T_ITEMS")
        seen: set[str] = set()
        for item in items:
            number = item["POSNR"]
            if number in seen:
                yield _message("E", "V1", 384, f"Item number {number} occurs more than once", number)
            seen.add(number)
            product = self.world.product(_sku(item["MATNR"]))
            if product is None:
                yield _message("E", "V1", 382, f"Item {number}: material {item['MATNR']} is not defined", item["MATNR"])
            elif item["VRKME"] != UNITS[product.unit]:
                text = f"Item {number}: {item['MATNR']} is sold in {UNITS[product.unit]}, not {item['VRKME']}"
                yield _message("E", "V1", 463, text, item["MATNR"])
            elif product.unit == "EA" and item["KWMENG"] % 1:
                yield _message("E", "V1", 464, f"Item {number}: {item['KWMENG']} is not a whole number of pieces", number)
            if item["KWMENG"] <= 0:
                yield _message("E", "V1", 461, f"Item {number}: the quantity must be above zero", number)
            if item["NETPR"] < 0:
                yield _message("E", "V1", 462, f"Item {number}: the price must not be negative", number)
            if self.world.store(item["WERKS"]) is None:
                yield _message("E", "M3", 351, f"Item {number}: plant {item['WERKS']} does not exist", item["WERKS"])

    def _cancel(self, document: str, reason: str) -> Row:
        order = self.books.order(document)
        if order is None:
            return {"T_RETURN": {"item": [_message("E", "V1", 302, f"SD document {document} is not in the database", document)]}}
        if order.status == "C":
            return {"T_RETURN": {"item": [_message("W", "V1", 316, f"Document {document} was rejected before", document)]}}
        self.books.cancel(order, reason)
        return {"T_RETURN": {"item": [_message("S", "V1", 312, f"All items of document {document} are rejected", document)]}}

    def _customer(self, number: str) -> Row:
        one = self.world.customer(number.lstrip("0"))
        if one is None:
            return {"T_RETURN": {"item": [_message("E", "VP", 199, f"Customer {number} does not exist", number)]}}
        person = f"{one.first_name} {one.last_name}"
        return {
            "CUSTOMER": {
                "KUNNR": one.number.zfill(10), "NAME1": one.company or person, "NAME2": person if one.company else None,
                "SMTP_ADDR": one.email, "TELF1": one.phone, "STRAS": one.street, "ORT01": one.city,
                "PSTLZ": one.postcode, "LAND1": one.country, "SPRAS": LANGUAGES[one.language],
                "KTOKD": "0001" if one.company else "KUNA",
            }
        }  # fmt: skip

    def _known(self, wanted: list[str]) -> tuple[list[Product], Row | None]:
        found = {matnr: self.world.product(_sku(matnr)) for matnr in dict.fromkeys(wanted)}
        unknown = [_message("E", "M3", 305, f"Material {m} does not exist", m) for m, product in found.items() if product is None]
        return list(dict.fromkeys(p for p in found.values() if p is not None)), {"item": unknown} if unknown else None


def _rows(table: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The rows of a table parameter; an empty element is read as None, or as no item."""
    return (table or {}).get("item") or []


def _column(table: dict[str, Any] | None, name: str) -> list[str]:
    return [row[name] for row in _rows(table)]


def _sku(matnr: str) -> str:
    return matnr.lstrip("0") if matnr.isdigit() else matnr


def _matnr(sku: str) -> str:
    return sku.zfill(18)


def _quantity(value: Decimal) -> str:
    return f"{value:.3f}"


def _message(kind: str, id: str, number: int, text: str, field: str) -> Row:
    return {"TYPE": kind, "ID": id, "NUMBER": f"{number:03}", "MESSAGE": text, "FIELD": field}


def _material(product: Product) -> Row:
    return {
        "MATNR": _matnr(product.sku),
        # In-store numbers (prefix 2) mean nothing outside the store that printed them: not master data.
        "EAN11": None if product.gtin.startswith("2") else product.gtin,
        "T_MAKT": {"item": [{"SPRAS": "D", "MAKTX": product.name_de}, {"SPRAS": "E", "MAKTX": product.name_en}]},
        "MEINS": UNITS[product.unit], "MATKL": product.category_code, "WGBEZ": " / ".join(product.category),
        "BRAND": product.brand, "MSTAE": STATUSES[product.status],
        "LVORM": "X" if product.status == "discontinued" else None,
    }  # fmt: skip


def _price(product: Product, plant: str | None, country: str, condition: str, price: Price, tax: str) -> Row:
    return {
        "MATNR": _matnr(product.sku), "WERKS": plant, "LAND1": country, "KSCHL": condition, "KBETR": f"{price.amount:.2f}",
        "KONWA": price.currency, "KPEIN": price.per, "KMEIN": UNITS[price.unit], "DATAB": f"{price.valid_from:%Y%m%d}",
        "DATBI": "99991231" if price.valid_to == NEVER_ENDS else f"{price.valid_to:%Y%m%d}", "MWSKZ": tax,
    }  # fmt: skip


def _order(order: SalesOrder) -> Row:
    return {
        "VBELN": order.document, "BSTNK": order.reference, "GBSTK": order.status, "NETWR": f"{order.net:.2f}",
        "WAERK": order.currency, "ERDAT": f"{order.created_at:%Y%m%d}", "ERZET": f"{order.created_at:%H%M%S}",
        "KUNNR": order.customer and order.customer.zfill(10),
        "T_ITEMS": {
            "item": [
                {"POSNR": i.number, "MATNR": _matnr(i.sku), "KWMENG": _quantity(i.quantity), "VRKME": i.unit,
                 "NETPR": f"{i.price:.2f}", "WERKS": i.plant, "ABGRU": i.rejected}
                for i in order.items
            ]
        },
    }  # fmt: skip
