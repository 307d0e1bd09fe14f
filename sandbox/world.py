"""The facts every sandbox system starts from: locations, products, prices, opening stock, customers.

Each item is computed from a hash of (seed, kind, key) when first asked for, so a world of any size is built at once and
two worlds of one seed agree on everything. Nothing here changes: what happens later is in each system's own books.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Literal, NamedTuple, TypeVar, overload

FIRST_SKU = 10_000_001
FIRST_CUSTOMER = 1_000_001
CENT = Decimal("0.01")
NEVER_ENDS = date(9999, 12, 31)

T = TypeVar("T")
Country = Literal["DE", "AT", "FR", "GB"]
Unit = Literal["EA", "KGM"]


@dataclass(frozen=True, slots=True)
class Store:
    number: str
    """Four digits, as the ERP's WERKS: "0001" upwards for stores, "9001" upwards for warehouses."""
    name: str
    kind: Literal["store", "warehouse"]
    street: str
    city: str
    postcode: str
    country: Country
    time_zone: str
    currency: str
    closed: bool = False
    """Given up for good: still listed by the systems, sells nothing."""


@dataclass(frozen=True, slots=True)
class Product:
    sku: str
    """Eight digits, no leading zeros: "10000001" upwards."""
    name_de: str
    name_en: str
    brand: str | None
    category: tuple[str, ...]
    category_code: str
    unit: Unit
    gtin: str
    """GTIN-13 with a valid check digit; weighed goods carry an in-store number (prefix 21)."""
    status: Literal["active", "discontinued", "new"]
    reduced_tax: bool

    @property
    def active(self) -> bool:
        return self.status != "discontinued"


@dataclass(frozen=True, slots=True)
class Price:
    amount: Decimal
    """Gross, two decimals, for `per` units."""
    currency: str
    per: int
    unit: Unit
    valid_from: date
    valid_to: date
    """Last day, included; NEVER_ENDS for no end."""

    @property
    def each(self) -> Decimal:
        """Gross price of one unit, in whole cents."""
        return (self.amount / self.per).quantize(CENT)

    def holds_on(self, day: date) -> bool:
        return self.valid_from <= day <= self.valid_to


class ShelfPrice(NamedTuple):
    regular: Price
    sale: Price | None

    def on(self, day: date) -> Price:
        """The price a till asks for on that business day."""
        return self.sale if self.sale is not None and self.sale.holds_on(day) else self.regular


class HeldStock(NamedTuple):
    """Stock a location has or awaits that is not free for use."""

    quality: Decimal
    blocked: Decimal
    restricted: Decimal
    in_transfer: Decimal


@dataclass(frozen=True, slots=True)
class Customer:
    number: str
    """Seven digits, no leading zeros: "1000001" upwards."""
    first_name: str
    last_name: str
    company: str | None
    email: str | None
    phone: str | None
    street: str
    city: str
    postcode: str
    country: Country
    language: Literal["de", "en", "fr"]
    blocked: bool


class World:
    """The whole sample company. Look-ups by key answer None for what does not exist."""

    def __init__(self, seed: int = 1, stores: int = 200, skus: int = 20_000, customers: int = 500) -> None:
        if not (1 <= stores <= 8_999 and 1 <= skus <= 80_000_000 and 0 <= customers <= 8_000_000):
            raise ValueError(f"a world needs 1-8999 stores, 1-80000000 skus, 0-8000000 customers; got {stores}, {skus}, {customers}")
        self.seed = seed
        self._repriced: dict[tuple[str, str], ShelfPrice] = {}
        self.skus = Lazy(skus, lambda n: str(FIRST_SKU + n))
        self.products: Sequence[Product] = Lazy(skus, lru_cache(maxsize=50_000)(self._product))
        self.customers: Sequence[Customer] = Lazy(customers, lru_cache(maxsize=10_000)(self._customer))
        self._store_count = stores

    @cached_property
    def stores(self) -> tuple[Store, ...]:
        return tuple(self._store(n) for n in range(1, self._store_count + 1))

    @cached_property
    def warehouses(self) -> tuple[Store, ...]:
        return tuple(
            Store(
                f"{9000 + n}",
                f"Zentrallager {city}",
                "warehouse",
                f"Logistikring {n}",
                city,
                code,
                country,
                zone,
                "EUR",
            )
            for n, (city, code, country, zone) in enumerate(WAREHOUSES, 1)
        )

    @cached_property
    def locations(self) -> tuple[Store, ...]:
        return self.stores + self.warehouses

    @cached_property
    def _by_number(self) -> dict[str, Store]:
        return {s.number: s for s in self.locations}

    def store(self, number: str) -> Store | None:
        """A store or warehouse by its four digits."""
        return self._by_number.get(number)

    def product(self, sku: str) -> Product | None:
        return _keyed(self.products, sku, FIRST_SKU, 8)

    def customer(self, number: str) -> Customer | None:
        return _keyed(self.customers, number, FIRST_CUSTOMER, 7)

    def product_by_gtin(self, gtin: str) -> Product | None:
        found = self.product(gtin[4:12])
        return found if found is not None and found.gtin == gtin else None

    def reprice(self, sku: str, country: str, cents: int) -> None:
        """From now on that is the regular price of one unit, and there is no other. KeyError for an unknown sku or country."""
        regular = self.price(sku, country).regular
        self._repriced[sku, country] = ShelfPrice(replace(regular, amount=Decimal(cents) / 100, per=1), None)

    def price(self, sku: str, country: str) -> ShelfPrice:
        """Shelf prices in that country's currency. KeyError for an unknown sku or country."""
        if (changed := self._repriced.get((sku, country))) is not None:
            return changed
        product = self.product(sku)
        if product is None:
            raise KeyError(sku)
        market = MARKETS[country]
        low, high = CATEGORIES[product.category_code].cents
        cents = low + self._pick("price", sku, high - low + 1)
        cents += {"DE": 0, "AT": cents // 50, "FR": cents // 25, "GB": -cents // 10}[country]
        cents = cents if cents < 100 else cents // 10 * 10 + 9
        per = 100 if cents < 10 and product.unit == "EA" else 1
        regular = Price(Decimal(cents * per) / 100, market.currency, per, product.unit, date(2024, 1, 1), NEVER_ENDS)
        mode = self._pick("sale", sku, 20)
        if mode >= len(SALES) or cents < 50:
            return ShelfPrice(_two_places(regular), None)
        since, until = SALES[mode]
        off = Decimal(cents * (90 - 10 * (self._pick("off", sku, 4))) // 100) / 100
        return ShelfPrice(_two_places(regular), _two_places(Price(off, market.currency, 1, product.unit, since, until)))

    def tax_rate(self, sku: str, country: str) -> Decimal:
        """Percent contained in the gross price: Decimal("19"). KeyError for an unknown sku or country."""
        product = self.product(sku)
        if product is None:
            raise KeyError(sku)
        return MARKETS[country].tax[product.reduced_tax]

    def opening_stock(self, sku: str, store: str) -> Decimal:
        """Unrestricted stock (LABST) before anything happened; whole pieces, or kilograms with three decimals."""
        product, place = self.product(sku), self.store(store)
        if product is None or place is None:
            raise KeyError(sku if product is None else store)
        roll = self._hash("stock", f"{sku}/{store}")
        if roll % 10 == 0 or (product.status == "discontinued" and roll % 3):
            return Decimal(0)
        top = 4_000 if place.kind == "warehouse" else 60
        if product.unit == "KGM":
            return Decimal(roll // 10 % (top * 1000)).scaleb(-3)
        return Decimal(roll // 10 % top + 1)

    def held_stock(self, sku: str, store: str) -> HeldStock:
        roll = self._hash("held", f"{sku}/{store}")
        nothing = Decimal(0)
        return HeldStock(
            quality=Decimal(roll % 4) if roll >> 8 & 15 == 0 else nothing,
            blocked=Decimal(roll % 3) if roll >> 12 & 15 == 0 else nothing,
            restricted=Decimal(roll % 2) if roll >> 16 & 31 == 0 else nothing,
            in_transfer=Decimal(roll % 25) if roll >> 20 & 7 == 0 else nothing,
        )

    def _hash(self, kind: str, key: object) -> int:
        return int.from_bytes(blake2b(f"{self.seed}/{kind}/{key}".encode(), digest_size=8).digest(), "big")

    def _pick(self, kind: str, key: object, ways: int) -> int:
        return self._hash(kind, key) % ways

    def _one(self, kind: str, key: object, of: Sequence[T]) -> T:
        return of[self._pick(kind, key, len(of))]

    def _store(self, n: int) -> Store:
        # The first four stores show one country each; the rest are spread as a German chain with neighbours would be.
        country = ("DE", "AT", "FR", "GB")[n - 1] if n <= 4 else self._one("country", n, SPREAD)
        market = MARKETS[country]
        city, postcode = self._one("city", n, market.cities)
        street = f"{self._one('street', n, market.streets)} {1 + self._pick('house', n, 180)}"
        closed = n > 20 and self._pick("closed", n, 60) == 0
        return Store(
            f"{n:04}",
            f"{market.shop} {city} {n}",
            "store",
            street,
            city,
            postcode,
            country,
            market.time_zone,
            market.currency,
            closed,
        )

    def _product(self, n: int) -> Product:
        sku = str(FIRST_SKU + n)
        code = self._one("category", n, tuple(CATEGORIES))
        category = CATEGORIES[code]
        de, en = self._one("noun", n, category.nouns)
        kind_de, kind_en = self._one("kind", n, category.kinds)
        size = self._one("size", n, category.sizes)
        brand = None if category.unit == "KGM" and self._pick("branded", n, 2) else self._one("brand", n, BRANDS)
        status = self._pick("status", n, 40)
        body = f"{'2100' if category.unit == 'KGM' else '4006'}{sku}"
        return Product(
            sku=sku,
            name_de=" ".join(filter(None, (brand, de, kind_de, size))),
            name_en=" ".join(filter(None, (brand, kind_en, en, size))),
            brand=brand,
            category=category.path,
            category_code=code,
            unit=category.unit,
            gtin=body + check_digit(body),
            # The first hundred are always for sale, so that a first try with any of them shows something.
            status="active" if n < 100 else "discontinued" if status < 2 else "new" if status == 2 else "active",
            reduced_tax=category.reduced_tax,
        )

    def _customer(self, n: int) -> Customer:
        country = self._one("customer country", n, SPREAD)
        market = MARKETS[country]
        first, last = self._one("first", n, FIRST_NAMES), self._one("last", n, LAST_NAMES)
        city, postcode = self._one("customer city", n, market.cities)
        company = f"{last} {self._one('trade', n, TRADES)}" if self._pick("company", n, 10) == 0 else None
        mail = None if self._pick("mail", n, 12) == 0 else f"{first}.{last}.{n + 1}@example.com".lower().translate(PLAIN)
        phone = None if self._pick("phone", n, 4) == 0 else f"{market.dialling}30{self._pick('line', n, 9_000_000) + 1_000_000}"
        language: Literal["de", "en", "fr"] = {"DE": "de", "AT": "de", "FR": "fr", "GB": "en"}[country]  # type: ignore[assignment]  # values of a literal dict widen to str
        return Customer(
            str(FIRST_CUSTOMER + n), first, last, company, mail, phone,
            f"{self._one('customer street', n, market.streets)} {1 + self._pick('customer house', n, 90)}",
            city, postcode, country, language, blocked=n >= 20 and self._pick("blocked", n, 40) == 0,
        )  # fmt: skip


class Lazy(Sequence[T]):
    """A sequence whose items are made when looked at."""

    def __init__(self, size: int, make: Callable[[int], T]) -> None:
        self._size, self._make = size, make

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> list[T]: ...
    def __getitem__(self, at: int | slice) -> T | list[T]:
        places = range(self._size)[at]
        return [self._make(n) for n in places] if isinstance(places, range) else self._make(places)


def check_digit(body: str) -> str:
    """GS1 check digit for the digits before it."""
    total = sum(int(d) * (3, 1)[i % 2] for i, d in enumerate(reversed(body)))
    return str(-total % 10)


def _keyed(items: Sequence[T], key: str, first: int, digits: int) -> T | None:
    if len(key) != digits or not (key.isascii() and key.isdigit()):
        return None
    place = int(key) - first
    return items[place] if 0 <= place < len(items) else None


def _two_places(price: Price) -> Price:
    return Price(price.amount.quantize(CENT), price.currency, price.per, price.unit, price.valid_from, price.valid_to)


@dataclass(frozen=True, slots=True)
class _Market:
    currency: str
    time_zone: str
    shop: str
    dialling: str
    tax: tuple[Decimal, Decimal]
    cities: tuple[tuple[str, str], ...]
    streets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Category:
    path: tuple[str, ...]
    cents: tuple[int, int]
    nouns: tuple[tuple[str, str], ...]
    kinds: tuple[tuple[str, str], ...]
    sizes: tuple[str, ...]
    unit: Unit = "EA"
    reduced_tax: bool = False


MARKETS: dict[str, _Market] = {
    "DE": _Market(
        "EUR", "Europe/Berlin", "Markt", "+49", (Decimal(19), Decimal(7)),
        (("Berlin", "10115"), ("Hamburg", "20095"), ("München", "80331"), ("Köln", "50667"), ("Dresden", "01067"),
         ("Leipzig", "04109"), ("Nürnberg", "90402"), ("Münster", "48143"), ("Freiburg im Breisgau", "79098")),
        ("Hauptstraße", "Bahnhofstraße", "Goethestraße", "Am Markt", "Industrieweg"),
    ),
    "AT": _Market(
        "EUR", "Europe/Vienna", "Markt", "+43", (Decimal(20), Decimal(10)),
        (("Wien", "1010"), ("Graz", "8010"), ("Linz", "4020"), ("Salzburg", "5020")),
        ("Ringstraße", "Mariahilfer Straße", "Schloßgasse"),
    ),
    "FR": _Market(
        "EUR", "Europe/Paris", "Marché", "+33", (Decimal(20), Decimal("5.5")),
        (("Paris", "75001"), ("Lyon", "69001"), ("Strasbourg", "67000"), ("Besançon", "25000"), ("Nîmes", "30000")),
        ("Rue de la République", "Avenue Foch", "Place de l'Hôtel de Ville"),
    ),
    "GB": _Market(
        "GBP", "Europe/London", "Market", "+44", (Decimal(20), Decimal(0)),
        (("London", "SW1A 1AA"), ("Manchester", "M1 1AE"), ("Leeds", "LS1 4AP")),
        ("High Street", "Station Road", "King's Parade"),
    ),
}  # fmt: skip
SPREAD: tuple[Country, ...] = ("DE",) * 12 + ("AT",) * 3 + ("FR",) * 3 + ("GB",) * 2
WAREHOUSES: tuple[tuple[str, str, Country, str], ...] = (
    ("Kassel", "34117", "DE", "Europe/Berlin"),
    ("Linz", "4020", "AT", "Europe/Vienna"),
    ("Metz", "57000", "FR", "Europe/Paris"),
)  # fmt: skip
# Windows far apart instead of relative to today: a running sale, one that is over, one still to come.
SALES = ((date(2026, 1, 1), date(2029, 12, 31)), (date(2025, 3, 1), date(2025, 3, 31)), (date(2031, 1, 1), NEVER_ENDS))
BRANDS = ("Almfrisch", "Nordkap", "Lindner & Söhne", "Valmy", "Kestrel", "Brightwater", "Ökohof", "Solano")
CATEGORIES: dict[str, _Category] = {
    "0101": _Category(
        ("Lebensmittel", "Grundnahrung"), (59, 599),
        (("Spaghetti", "spaghetti"), ("Langkornreis", "long grain rice"), ("Weizenmehl", "wheat flour"),
         ("Müsli", "muesli")),
        (("Bio", "organic"), ("klassisch", "classic"), ("Vollkorn", "wholegrain")), ("500 g", "1 kg", "250 g"),
        reduced_tax=True,
    ),
    "0102": _Category(
        ("Lebensmittel", "Obst & Gemüse"), (99, 1299),
        (("Äpfel", "apples"), ("Kartoffeln", "potatoes"), ("Tomaten", "tomatoes"), ("Trauben", "grapes")),
        (("lose", "loose"), ("Bio", "organic"), ("regional", "regional")), ("Kl. I", "Kl. II"), "KGM", reduced_tax=True,
    ),
    "0103": _Category(
        ("Lebensmittel", "Frischetheke"), (899, 3999),
        (("Bergkäse", "mountain cheese"), ("Kochschinken", "cooked ham"), ("Lachsfilet", "salmon fillet")),
        (("am Stück", "whole"), ("geschnitten", "sliced")), ("", "extra"), "KGM", reduced_tax=True,
    ),
    "0201": _Category(
        ("Getränke", "Alkoholfrei"), (49, 899),
        (("Mineralwasser", "mineral water"), ("Apfelschorle", "apple spritzer"), ("Kaffee", "coffee")),
        (("naturell", "natural"), ("medium", "medium"), ("intensiv", "intense")), ("0,5 l", "1 l", "6 x 1,5 l"),
    ),
    "0301": _Category(
        ("Haushalt", "Küche"), (299, 8999),
        (("Bratpfanne", "frying pan"), ("Kochtopf", "saucepan"), ("Schneidebrett", "chopping board"),
         ("Messer", "knife")),
        (("Edelstahl", "stainless steel"), ("beschichtet", "coated"), ("Buche", "beech")), ("klein", "24 cm", "28 cm"),
    ),
    "0302": _Category(
        ("Haushalt", "Reinigung"), (89, 1499),
        (("Spülmittel", "washing-up liquid"), ("Waschpulver", "washing powder"), ("Glasreiniger", "glass cleaner")),
        (("Zitrone", "lemon"), ("sensitiv", "sensitive")), ("500 ml", "1 l", "2,5 kg"),
    ),
    "0401": _Category(
        ("Heimwerken", "Befestigung"), (2, 9),
        (("Holzschraube", "wood screw"), ("Unterlegscheibe", "washer"), ("Nagel", "nail")),
        (("verzinkt", "galvanised"), ("rostfrei", "stainless")), ("3 x 20", "4 x 40", "5 x 60"),
    ),
    "0402": _Category(
        ("Heimwerken", "Werkzeug"), (499, 24999),
        (("Akkuschrauber", "cordless drill"), ("Hammer", "hammer"), ("Zangensatz", "set of pliers")),
        (("Profi", "professional"), ("kompakt", "compact")), ("12 V", "18 V", "3-tlg."),
    ),
    "0501": _Category(
        ("Mode", "Oberbekleidung"), (999, 19999),
        (("T-Shirt", "T-shirt"), ("Jacke", "jacket"), ("Hose", "trousers"), ("Pullover", "jumper")),
        (("blau", "blue"), ("grün", "green"), ("schwarz", "black")), ("S", "M", "L", "XL"),
    ),
    "0601": _Category(
        ("Elektronik", "Zubehör"), (399, 14999),
        (("Ladekabel", "charging cable"), ("Kopfhörer", "headphones"), ("Netzteil", "power supply")),
        (("schwarz", "black"), ("weiß", "white")), ("1 m", "2 m", "65 W"),
    ),
    "0701": _Category(
        ("Freizeit", "Bücher & Spiele"), (499, 4999),
        (("Brettspiel", "board game"), ("Puzzle", "jigsaw"), ("Malbuch", "colouring book")),
        (("Reise", "travel"), ("Familien", "family")), ("ab 3", "ab 8", "ab 12"), reduced_tax=True,
    ),
}  # fmt: skip
FIRST_NAMES = ("Anna", "Jürgen", "Zoë", "Mehmet", "Claire", "Oliver", "Małgorzata", "José", "Ingrid", "Noah")
LAST_NAMES = ("Müller", "Schmidt", "O'Brien", "Lefèvre", "Yılmaz", "Gruber", "Weiß", "Taylor", "Nowak", "García")
TRADES = ("Catering GmbH", "Bau KG", "Ltd", "SARL")
PLAIN = str.maketrans({"ü": "ue", "ö": "oe", "ä": "ae", "ß": "ss", "è": "e", "é": "e", "ë": "e", "ł": "l", "ı": "i", "í": "i", "'": ""})
