"""The tills of all stores: they ring up transactions, drop them as files into one folder, and keep books about both."""

import asyncio
import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Annotated, Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from sandbox.faults import Fault, Faults
from sandbox.pos import poslog, tlog
from sandbox.pos.damage import IN_PLACE, WAYS, How, Spoilt, spoil_poslog, spoil_tlog
from sandbox.pos.receipt import (
    Discount,
    Entry,
    Flag,
    Key,
    Kind,
    Line,
    LineKind,
    Link,
    Tender,
    TenderKind,
    Transaction,
    extended,
)
from sandbox.world import Store, World

Format = Literal["tlog", "poslog"]
Mode = Literal["rename", "half"]
MAX_PENDING = 500_000
MAX_LINES = 999
LAST_SEQUENCE = 999_999
REASONS = ("2 für 1", "Treue; 10 %", 'Aktion "Herbst"', "MHD", "")
KEY = re.compile(r"(\w{1,10})/(\w{1,10})/(\d{4}-\d{2}-\d{2})/(\d{1,6})")
AS_CONTENT: dict[str, How] = {
    "error": "wrong_total", "wrong_type": "bad_line", "unknown_enum": "unknown_enum", "truncate": "truncated",
}  # fmt: skip


class Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line to ring up. Without `cents` (per unit) the shelf price holds; without `kind` that of the transaction."""

    sku: str
    quantity: Decimal = Decimal(1)
    kind: LineKind | None = None
    cents: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    discount: Annotated[int, Meta(ge=0)] = 0
    voided: bool = False
    entry: Entry | None = None


Lines = Iterable[Item | tuple[str, Decimal | int | str] | Mapping[str, object]]


class ToldPrice(NamedTuple):
    """A row of a file that a till has read, for one unit; days as YYYYMMDD, none where it was empty."""

    type: str
    cents: Decimal
    since: str
    until: str


class TillOffline(RuntimeError):
    """The till could not drop its file; what it rang up stays pending."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What was done to a file, and the keys of the transactions that cannot be booked from it."""

    path: Path
    how: How
    line: int | None
    field: str | None
    reason: str
    lost: list[Key]


class Tills:
    """`sell` and `random_day` ring up; `write_file` drops what is pending of one store; `books` says what is true.

    Files go to `inbox` below root: under a temporary name first, then renamed. Counters survive a restart in the same
    root, as those of real tills do, so that a key is never used twice; with a fresh root, one seed gives one history.
    """

    def __init__(self, world: World, faults: Faults, root: Path | str) -> None:
        self.inbox = Path(root) / "pos" / "inbox"
        self.inbox.mkdir(parents=True, exist_ok=True)
        self.changes = self.inbox.parent / "changes"
        self.changes.mkdir(exist_ok=True)
        self._told: dict[tuple[str, str], list[ToldPrice]] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        self._world, self._faults = world, faults
        self._counters_file = self.inbox.parent / "counters.json"
        counters = self._counters_file.read_bytes() if self._counters_file.exists() else b"{}"
        self._counters: Counter[str] = Counter(msgspec.json.decode(counters, type=dict[str, int]))
        self._book: dict[Key, Transaction] = {}
        self._pending: dict[str, list[Transaction]] = defaultdict(list)
        self._files: dict[str, list[Transaction]] = {}
        self._latest: dict[str, Path] = {}
        self._unfinished: dict[Path, bytes] = {}
        self._held: dict[Path, Path] = {}
        self._arriving: set[asyncio.Task[None]] = set()
        self._reversed: set[Key] = set()
        self._shelf_price = lru_cache(maxsize=50_000)(self._price)
        faults.know("pos", ("drop",))

    def dialect(self, store: str) -> Format:
        """What the tills of a store write; the first stores show each kind in turn."""
        return ("tlog", "poslog", "poslog")[self._kind_of(store)]

    def namespace(self, store: str) -> bool:
        """Whether a store's POSLog declares the ARTS namespace."""
        return self._kind_of(store) != 2

    def sell(
        self,
        store: str,
        lines: Lines = (),
        *,
        workstation: str = "001",
        kind: Kind | Literal["void"] = "sale",
        tender: TenderKind | Sequence[tuple[TenderKind, int]] = "cash",
        flags: Iterable[Flag] = (),
        of: Key | str | None = None,
        at: datetime | None = None,
        business_date: date | None = None,
    ) -> Transaction:
        """Ring up one transaction; it is pending until `write_file`. `of` names an earlier one: that a return takes
        goods back from, that a void reverses (its lines are taken from there), or that a sale resumes.

        `tender`: how all of it is paid, or (kind, cents) rows that add up. `at`: with offset, default now. Raises
        ValueError or KeyError for what a till would not do: unknown store, item or transaction, a closed store.
        """
        place, flagged = self._open_store(store), frozenset(flags)
        kind = "post_void" if kind == "void" else kind
        if kind not in get_args(Kind) or not flagged <= set(get_args(Flag)):
            raise ValueError(f"kinds are {', '.join(get_args(Kind))}; flags are {', '.join(get_args(Flag))}")
        if not re.fullmatch(r"[0-9A-Z]{1,10}", workstation):
            raise ValueError(f"workstation is 1 to 10 digits or capitals; got {workstation[:20]!r}")
        if len(self._pending[store]) >= MAX_PENDING:
            raise ValueError(f"store {store} has {MAX_PENDING} transactions pending: write them first")
        original = self._original(of, kind)
        moment = (at or self._faults.clock()).astimezone(ZoneInfo(place.time_zone))
        day = business_date or moment.date()
        if kind == "post_void":
            if original is None:
                raise ValueError("a void needs `of`: the transaction it reverses")
            rung = original.lines
            tenders = tuple(Tender(t.kind, -(t.cents - t.change), last4=t.last4) for t in original.tenders)
        else:
            rung = tuple(self._line(n, item, kind, place, day) for n, item in enumerate(_items(lines), 1))
            tenders = ()
        if (kind != "control") != bool(rung):
            raise ValueError(f"a {kind} {'needs lines' if kind != 'control' else 'has no lines'}")
        counter = f"{store}/{workstation}"
        key = Key(store, workstation, day, self._counters[counter] % LAST_SEQUENCE + 1)
        link = "voids" if kind == "post_void" else "return_of" if kind in {"return", "exchange"} else "resumes"
        draft = Transaction(
            key=key,
            kind=kind,
            begin=moment,
            end=(moment.astimezone(UTC) + timedelta(seconds=8 + 4 * len(rung))).astimezone(moment.tzinfo),
            operator=f"{self._number('operator', f'{store}/{workstation}/{day}') % 40 + 1:04}",
            receipt_no=f"{workstation}-{key.sequence:06}",
            currency=place.currency,
            flags=flagged,
            lines=rung,
            tenders=tenders,
            links=(Link(link, original.key),) if original is not None else (),  # type: ignore[arg-type]  # literals above
        )
        if kind not in {"control", "post_void"} and not flagged & {"cancelled", "suspended"}:
            draft.tenders = self._paid(draft, tender)
        if kind == "post_void" and draft.counts and original is not None:
            self._reversed.add(original.key)
        self._counters[counter] = key.sequence
        self._book[key] = draft
        self._pending[store].append(draft)
        return draft

    def random_day(self, store: str, transactions: int, business_date: date | None = None) -> list[Transaction]:
        """A day's trade with everything that happens at tills: at least that many transactions (a suspended one brings
        the one that resumes it), spread from 8:00 to 20:00, on the current day up to now. One seed, one day."""
        place = self._open_store(store)
        zone = ZoneInfo(place.time_zone)
        now = self._faults.clock().astimezone(zone)
        day = business_date or now.date()
        begin = datetime.combine(day, time(8), zone).astimezone(UTC)
        end = begin + timedelta(hours=12)
        if day == now.date() and now < end:
            end = now.astimezone(UTC)
            begin = min(begin, datetime.combine(day, time(0), zone).astimezone(UTC)) if end <= begin else begin
        chance = Random(f"{self._world.seed}/pos/{store}/{day}/{self._next(f'day/{store}/{day}', 10**9)}")
        rung: list[Transaction] = []
        for n in range(transactions):
            at = begin + (end - begin) * n / max(1, transactions)
            rung += self._happening(store, at, day, chance, rung)
        return rung

    def pending(self, store: str | None = None) -> int:
        """How many transactions are rung up and not written yet."""
        return sum(len(rows) for number, rows in self._pending.items() if store in {None, number})

    def write_file(self, store: str, format: Format | None = None, *, damage: How | None = None, mode: Mode = "rename") -> Path:
        """Drop the pending transactions of the store's oldest pending business day as one file and name it.

        `damage` spoils it before it appears. `mode` "half" writes half of it under its final name, as a till that
        copies in place: `complete` adds the rest. Rules of the fault table for pos hold: `refuse`, `reset` and `429`
        raise TillOffline and leave everything pending; with `hang` and `slow` the file stays under its temporary name
        for that long; `stale` drops the bytes of the file before under a new name; `lost_answer` drops it twice.
        """
        self._open_store(store)
        fault = self._faults.draw("pos", "drop", store)
        if fault is not None and fault.kind == "stale" and store in self._latest:
            latest = self._latest[store]
            return self.damage(latest, "renamed" if latest.exists() else "resent").path
        day = min((t.key.business_date for t in self._pending[store]), default=None)
        if day is None:
            raise ValueError(f"store {store} has nothing to write: ring something up first")
        rows = [t for t in self._pending[store] if t.key.business_date == day]
        if fault is not None and fault.kind in {"refuse", "reset", "429"}:
            if fault.kind == "reset":
                half = self._render(rows, store, day, 0, format or self.dialect(store))
                (self.inbox / f".{store}-interrupted.part").write_bytes(half[: len(half) // 2])
            raise TillOffline(f"the till of store {store} cannot reach its drop folder ({fault.kind})")
        how = damage or (AS_CONTENT.get(fault.kind) if fault is not None else None)
        if how is not None:
            _target(rows)  # asked before anything changes: a file with nothing to spoil is refused
        path, content = self._next_file(rows, store, day, format or self.dialect(store))
        if how in IN_PLACE:
            content = self._spoil(path, content, how).content
        self._pending[store] = [t for t in self._pending[store] if t.key.business_date != day]
        self._latest[store] = path
        if mode == "half":
            path.write_bytes(content[: len(content) // 2])
            self._unfinished[path] = content[len(content) // 2 :]
            return path
        self._drop(path, content, fault)
        if how is not None and how not in IN_PLACE:
            return self.damage(path, how).path
        if fault is not None and fault.kind == "lost_answer":
            self.damage(path, "resent")
        return path

    def flush(self, store: str | None = None, format: Format | None = None) -> list[Path]:
        """Write all that is pending, of one store or of all, a file per store and business day."""
        stores = [store] if store is not None else sorted(s for s, rows in self._pending.items() if rows)
        written: list[Path] = []
        for number in stores:
            while self._pending[number]:
                written.append(self.write_file(number, format))
        return written

    def complete(self, path: Path | str) -> Path:
        """Append what `mode="half"` held back."""
        path = self._known(path)
        with path.open("ab") as out:
            out.write(self._unfinished.pop(path, b""))
        return path

    async def trickle(self, store: str, format: Format | None = None, *, seconds: float = 1.0, pieces: int = 20) -> Path:
        """Write a file piece by piece under its final name over `seconds`."""
        path = self.write_file(store, format, mode="half")
        rest = self._unfinished.pop(path)
        with path.open("ab") as out:
            size = max(1, -(-len(rest) // pieces))
            for at in range(0, len(rest), size):
                await asyncio.sleep(seconds / pieces)
                out.write(rest[at : at + size])
                out.flush()
        return path

    def damage(self, path: Path | str, how: How) -> Damage:
        """Spoil a file that lies in the inbox, in place, or add a second one that repeats or contradicts it.

        FileNotFoundError when somebody took the file already: use `write_file(damage=…)` to be first.
        """
        if how not in WAYS:
            raise ValueError(f"ways to damage a file are {', '.join(WAYS)}; got {how!r}")
        path = self._known(path)
        rows = self._files[path.name]
        if how in IN_PLACE:
            spoilt = self._spoil(path, path.read_bytes(), how)
            self._place(path, spoilt.content)
            lost = [rows[n].key for n in spoilt.hit]
            return Damage(path, how, spoilt.line, spoilt.field, spoilt.reason, lost)
        store, day, written = rows[0].key.store, rows[0].key.business_date, _format_of(path)
        if how == "renamed":
            content, again = path.read_bytes(), self._named(store, day, written)
            self._files[again.name] = rows
            self._place(again, content)
            return Damage(again, how, None, None, f"the same bytes as {path.name}", [])
        if how == "resent":
            again, content = self._next_file(rows, store, day, written)
            self._place(again, content)
            return Damage(again, how, None, None, f"the same transactions as {path.name}", [])
        target = rows[_target(rows)]
        again = self._named(store, day, written)
        self._files[again.name] = []
        self._place(again, self._render([_other_content(target)], store, day, _file_no(again), written))
        return Damage(again, how, None, None, f"other content for {target.key}", [target.key])

    def release(self) -> None:
        """Let files that a hanging till holds back appear now."""
        for part, path in list(self._held.items()):
            self._appear(part, path)

    async def stop(self) -> None:
        """Let go of everything that still waits; held files keep their temporary names."""
        for task in self._arriving:
            task.cancel()
        await asyncio.gather(*self._arriving, return_exceptions=True)

    def transactions(self, store: str | None = None) -> list[Transaction]:
        """All transactions in the order they were rung up."""
        return [t for t in self._book.values() if store in {None, t.key.store}]

    def books(self, *, readable: bool = False, detail: bool = True) -> dict[str, object]:
        """What was rung up: per store the counted revenue in cents and units sold per sku, and each transaction.

        `readable`: only what stands in at least one undamaged file, which is what a reader can have booked.
        """
        stores: dict[str, dict[str, object]] = {}
        by_store: dict[str, list[Transaction]] = defaultdict(list)
        for t in self._book.values():
            if not readable or t.readable_in:
                by_store[t.key.store].append(t)
        for number, rows in sorted(by_store.items()):
            units: Counter[str] = Counter()
            for t in rows:
                units.update(t.units)
            stores[number] = {
                "currency": rows[0].currency,
                "transactions": len(rows),
                "counted": sum(t.counts for t in rows),
                "grand": sum(t.grand for t in rows if t.counts),
                "tax": sum(t.tax for t in rows if t.counts),
                "units": {sku: str(Decimal(n).scaleb(-3)) for sku, n in sorted(units.items()) if n},
                "pending": self.pending(number),
            }
        found: dict[str, object] = {"stores": stores}
        if detail:
            found["transactions"] = [t.as_dict() for rows in by_store.values() for t in rows]
        return found

    def _happening(self, store: str, at: datetime, day: date, chance: Random, before: Sequence[Transaction]) -> list[Transaction]:
        """One thing that happens at a till, with its sequel if it has one."""
        workstation = f"{chance.randrange(1, 5):03}"
        tender = chance.choices(
            get_args(TenderKind), (40, 30, 15, 4, 3, 3, 5)
        )[0]  # fmt: skip

        def ring(lines: Lines, **how: object) -> Transaction:
            return self.sell(store, lines, **{"workstation": workstation, "tender": tender, "at": at, "business_date": day, **how})

        def basket() -> list[Item]:
            return [self._random_item(chance) for _ in range(min(12, 1 + int(chance.expovariate(0.4))))]

        earlier = [t for t in before[-40:] if t.kind == "sale" and t.counts and t.key not in self._reversed]
        untouched = [(t, line) for t in earlier for line in t.lines if not (line.voided or line.discounts)]
        what = chance.random()
        if what < 0.05 and untouched:
            t, line = chance.choice(untouched)
            back = Item(line.sku, line.quantity, "return", line.unit_price)
            self._reversed.add(t.key)
            if what < 0.015:
                return [ring([back, *basket()], kind="exchange", of=t.key)]
            return [ring([back], kind="return", of=t.key)]
        if what < 0.07 and earlier:
            return [ring((), kind="void", of=chance.choice(earlier).key)]
        if what < 0.09:
            return [ring((), kind="control")]
        if what < 0.11:
            return [ring(basket(), flags=("training",))]
        if what < 0.13:
            return [ring(basket(), flags=("cancelled",))]
        if what < 0.15:
            items = basket()
            parked = ring(items, flags=("suspended",))
            return [parked, ring([*items, self._random_item(chance)], of=parked.key, workstation="005")]
        return [ring(basket(), flags=("offline",) if what < 0.18 else ())]

    def _random_item(self, chance: Random) -> Item:
        while True:
            known = min(200, len(self._world.skus))
            product = self._world.products[chance.randrange(known if chance.random() < 0.5 else len(self._world.skus))]
            if product.active:
                break
        if product.unit == "KGM":
            quantity = Decimal(chance.randrange(80, 2500)).scaleb(-3)
            return Item(product.sku, quantity, entry="weighed", voided=chance.random() < 0.02)
        return Item(
            product.sku,
            Decimal(chance.choice((1, 1, 1, 1, 2, 2, 3, 6))),
            discount=chance.randrange(1, 40) if chance.random() < 0.12 else 0,
            voided=chance.random() < 0.04,
            entry="keyed" if chance.random() < 0.05 else None,
        )

    def _line(self, number: int, item: Item, kind: Kind, place: Store, day: date) -> Line:
        product = self._world.product(item.sku)
        if product is None:
            raise KeyError(f"no item {item.sku[:20]!r}")
        if number > MAX_LINES:
            raise ValueError(f"a receipt has at most {MAX_LINES} lines")
        quantity = item.quantity
        if not quantity.is_finite() or not Decimal("0.001") <= quantity <= 9999 or quantity % Decimal("0.001"):
            raise ValueError(f"a quantity lies between 0.001 and 9999, with at most three decimals; got {quantity:.6g}")
        if product.unit == "EA" and quantity % 1:
            raise ValueError(f"item {item.sku} is sold by the piece; got {quantity}")
        cents = item.cents if item.cents is not None else self._asked(item.sku, place, day)
        amount = extended(quantity, cents)
        off = min(item.discount, amount)
        promotion = f"PR-{self._number('promotion', item.sku) % 900 + 100}"
        reason = REASONS[self._number("reason", item.sku) % len(REASONS)]
        return Line(
            number=number,
            kind=item.kind or ("return" if kind == "return" else "sale"),
            sku=item.sku,
            name=product.name_de,
            gtin=product.gtin,
            quantity=quantity.quantize(Decimal("0.001")),
            unit=product.unit,
            unit_price=cents,
            extended=amount,
            tax_rate=self._world.tax_rate(item.sku, place.country),
            discounts=(Discount(promotion, off, reason),) if off else (),
            voided=item.voided,
            entry=item.entry or ("weighed" if product.unit == "KGM" else "scanned"),
        )

    def _paid(self, draft: Transaction, tender: TenderKind | Sequence[tuple[TenderKind, int]]) -> tuple[Tender, ...]:
        due = draft.grand
        if not isinstance(tender, str):
            if sum(cents for _, cents in tender) != due:
                raise ValueError(f"tenders come to {sum(cents for _, cents in tender)}, the receipt to {due}")
            return tuple(self._tender(draft, kind, cents) for kind, cents in tender)
        if tender == "cash" and due > 0:
            handed = -(-due // 500) * 500
            return (Tender("cash", handed, handed - due),)
        return (self._tender(draft, tender, due),) if due else ()

    def _tender(self, draft: Transaction, kind: TenderKind, cents: int) -> Tender:
        if kind not in get_args(TenderKind):
            raise ValueError(f"tenders are {', '.join(get_args(TenderKind))}; got {kind!r}")
        if kind not in {"debit", "credit"}:
            return Tender(kind, cents)
        number = self._number("card", str(draft.key))
        return Tender(kind, cents, last4=f"{number % 10_000:04}", auth=f"{number // 10_000 % 10**6:06}")

    def _original(self, of: Key | str | None, kind: Kind) -> Transaction | None:
        if of is None:
            return None
        if isinstance(of, str):
            parts = KEY.fullmatch(of)
            if parts is None:
                raise ValueError(f"a transaction is named store/workstation/business date/sequence; got {of[:60]!r}")
            of = Key(parts[1], parts[2], date.fromisoformat(parts[3]), int(parts[4]))
        original = self._book.get(of)
        if original is None:
            raise KeyError(f"no transaction {of}")
        if kind == "post_void" and (not original.counts or original.kind == "post_void" or of in self._reversed):
            raise ValueError(f"{of} cannot be voided: it counts nothing, or was voided or taken back already")
        return original

    def _open_store(self, number: str) -> Store:
        place = self._world.store(number)
        if place is None or place.kind != "store":
            raise KeyError(f"no store {number[:20]!r}")
        if place.closed:
            raise ValueError(f"store {number} was given up: it sells nothing")
        return place

    def take_changes(self, *, refuse: Mapping[str, str] | None = None) -> list[str]:
        """Read what lies in `changes`, answer each file and take it away: names in the order of their numbers. A number that a store has
        had is answered and not read again; one that leaves others out is rejected. `refuse`: sku -> why it is not taken."""
        taken = []
        for path in sorted(self.changes.glob("*_*_*.csv")):
            kind, store, digits = path.stem.split("_")
            number = int(digits)
            before, said = self._numbers.get((kind, store), number - 1), {"state": "accepted"}
            if number > before + 1:
                said = {"state": "rejected", "reason": f"expected number {before + 1}"}
            elif number == before + 1:
                told: dict[tuple[str, str], list[ToldPrice]] = defaultdict(list)
                for row in csv.reader(path.read_text(encoding="utf-8").splitlines(), delimiter=";"):
                    if row[0] == "PR":
                        price = ToldPrice(row[2], Decimal(row[3]) / int(row[5]), row[7], row[8])
                        told[store, row[1].lstrip("0")].append(price)
                    elif row[0] == "AR":
                        told[store, row[1].lstrip("0")] = []
                refused = {sku: why for sku, why in (refuse or {}).items() if (store, sku) in told}
                self._told.update({key: rows for key, rows in told.items() if rows and key[1] not in refused})
                self._numbers[kind, store] = number
                said |= {"rejections": [{"key": sku, "reason": why} for sku, why in refused.items()]}  # type: ignore[dict-item]  # JSON
            part = path.with_name(f".{path.name}.answer")
            part.write_bytes(msgspec.json.encode(said))
            part.rename(path.with_name(f"{path.name}.ack"))
            path.unlink()
            taken.append(path.name)
        return taken

    def _asked(self, sku: str, place: Store, day: date) -> int:
        """What the till asks for a unit: as the files that it has read say it, else what stands on the shelf."""
        rows = self._told.get((place.number, sku), ())
        on = f"{day:%Y%m%d}"
        valid = [p for p in rows if p.since <= on and (not p.until or on < p.until)]
        best = max(valid, key=lambda p: (p.type == "S", p.since), default=None)
        return round(best.cents) if best else self._shelf_price(sku, place.country, day)

    def _price(self, sku: str, country: str, day: date) -> int:
        return int(self._world.price(sku, country).on(day).each * 100)

    def _next_file(self, rows: list[Transaction], store: str, day: date, format: Format) -> tuple[Path, bytes]:
        path = self._named(store, day, format)
        self._files[path.name] = rows
        for t in rows:
            t.files.append(path.name)
        return path, self._render(rows, store, day, _file_no(path), format)

    def _named(self, store: str, day: date, format: Format) -> Path:
        number = self._next(f"file/{store}", 99_999)
        self._save_counters()
        stem = f"{store}_{day:%Y%m%d}_{number:05}"
        return self.inbox / (f"TLOG_{stem}.tlog" if format == "tlog" else f"POSLOG_{stem}.xml")

    def _render(self, rows: list[Transaction], store: str, day: date, file_no: int, format: Format) -> bytes:
        if format == "poslog":
            out = io.BytesIO()
            poslog.write(out, rows, namespace=self.namespace(store))
            return out.getvalue()
        if format != "tlog":
            raise ValueError(f"formats are {', '.join(get_args(Format))}; got {format!r}")
        text = io.StringIO(newline="")
        created = self._faults.clock().astimezone(ZoneInfo(self._open_store(store).time_zone))
        tlog.write(text, store, day, file_no, created, rows)
        return text.getvalue().encode()

    def _spoil(self, path: Path, content: bytes, how: How) -> Spoilt:
        rows = self._files[path.name]
        spoil: Callable[[bytes, How, int], Spoilt] = spoil_tlog if _format_of(path) == "tlog" else spoil_poslog
        spoilt = spoil(content, how, _target(rows))
        for n in spoilt.hit:
            rows[n].damaged[path.name] = how
        return spoilt

    def _drop(self, path: Path, content: bytes, fault: Fault | None) -> None:
        if fault is None or fault.kind not in {"hang", "slow"}:
            self._place(path, content)
            return
        part = _part(path)
        part.write_bytes(content)
        self._held[part] = path
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # nobody to wait: it stays until `release`
        task = loop.create_task(self._later(part, path, fault))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    async def _later(self, part: Path, path: Path, fault: Fault) -> None:
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        else:
            await self._faults.hang(fault)
        self._appear(part, path)

    def _appear(self, part: Path, path: Path) -> None:
        if self._held.pop(part, None) is not None:
            part.replace(path)

    def _place(self, path: Path, content: bytes) -> None:
        part = _part(path)
        part.write_bytes(content)
        part.replace(path)

    def _known(self, path: Path | str) -> Path:
        path = self.inbox / Path(path).name
        if path.name not in self._files:
            raise ValueError(f"{path.name} is no file of these tills")
        return path

    def _next(self, counter: str, last: int) -> int:
        self._counters[counter] = self._counters[counter] % last + 1
        return self._counters[counter]

    def _save_counters(self) -> None:
        part = self._counters_file.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(self._counters))
        part.replace(self._counters_file)

    def _kind_of(self, store: str) -> int:
        return (int(store) - 1) % 3 if store in {"0001", "0002", "0003"} else self._number("dialect", store) % 5 % 3

    def _number(self, kind: str, key: str) -> int:
        return int.from_bytes(blake2b(f"{self._world.seed}/pos {kind}/{key}".encode(), digest_size=8).digest(), "big")


def _items(lines: Lines) -> Iterable[Item]:
    for line in lines:
        if isinstance(line, Item):
            yield line
        elif isinstance(line, Mapping):
            yield msgspec.convert(line, Item)
        else:
            yield Item(line[0], Decimal(line[1]))


def _target(rows: Sequence[Transaction]) -> int:
    """The transaction to spoil: the middle one of those that count, so that there are good ones before and after."""
    counted = [n for n, t in enumerate(rows) if t.counts and t.lines]
    if not counted:
        raise ValueError("the file has no transaction that counts: nothing to spoil")
    return counted[len(counted) // 2]


def _other_content(t: Transaction) -> Transaction:
    first = t.lines[0]
    quantity = first.quantity + 1
    changed = replace(
        t,
        lines=(replace(first, quantity=quantity, extended=extended(quantity, first.unit_price)), *t.lines[1:]),
        files=[],
        damaged={},
    )
    changed.tenders = (Tender("cash", changed.grand),)
    return changed


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _format_of(path: Path) -> Format:
    return "tlog" if path.suffix == ".tlog" else "poslog"


def _file_no(path: Path) -> int:
    return int(path.stem.rpartition("_")[2])
