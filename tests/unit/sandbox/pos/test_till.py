import asyncio
import csv
from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest
from lxml import etree

from sandbox.faults import Faults, Rule
from sandbox.pos.damage import How
from sandbox.pos.receipt import Transaction
from sandbox.pos.till import Format, Item, TillOffline, Tills
from sandbox.world import World
from tests.unit.sandbox.pos.declared import Record, read

NOW = datetime(2026, 11, 21, 17, 30, tzinfo=UTC)
DAY = date(2026, 11, 20)
WORLD = World(stores=30, skus=300)
PIECE = next(p for p in WORLD.products if p.unit == "EA" and p.active)
WEIGHED = next(p for p in WORLD.products if p.unit == "KGM" and p.active)


@pytest.fixture
def faults() -> Faults:
    return Faults(seed=5, clock=lambda: NOW)


@pytest.fixture
def tills(tmp_path: Path, faults: Faults) -> Tills:
    return Tills(WORLD, faults, tmp_path)


def facts(t: Transaction) -> dict[str, Any]:
    """What the books say about a transaction, in the terms both formats share."""
    return {
        "key": (t.key.workstation, t.key.sequence),
        "grand": None if t.kind == "control" else Decimal(t.grand).scaleb(-2),
        "gross": None if t.kind == "control" else Decimal(t.gross).scaleb(-2),
        "tax": None if t.kind == "control" else Decimal(t.tax).scaleb(-2),
        "flags": t.flags,
        "begin": t.begin.replace(tzinfo=None),
        "lines": [
            (x.number, x.kind, x.sku, x.quantity, Decimal(x.unit_price).scaleb(-2), Decimal(x.extended).scaleb(-2), x.voided)
            for x in t.lines
        ],
        "discounts": [(x.number, Decimal(d.cents).scaleb(-2), d.reason or None) for x in t.lines for d in x.discounts],
        "paid": Decimal(sum(p.cents - p.change for p in t.tenders)).scaleb(-2),
        "links": [(link.kind, str(link.key)) for link in t.links],
    }


def tlog_facts(t: Record) -> dict[str, Any]:
    v, total = t.values, t.all("TF")[0].values
    control = v["type"] == "C"
    sign = -1 if v["type"] == "V" else 1
    words = {"T": "training", "C": "cancelled", "S": "suspended", "O": "offline"}
    links = {"V": "voids", "R": "return_of", "W": "resumes"}
    return {
        "key": (v["workstation"], int(v["sequence"])),
        **{name: None if control else total[name] for name in ("grand", "gross", "tax")},
        "flags": frozenset(words[f] for f in v["flags"]),
        "begin": v["begin"],
        "lines": [
            (
                int(r.values["line_no"]), "return" if r.values["kind"] == "R" else "sale", r.values["sku"].lstrip("0"),
                r.values["quantity"], r.values["unit_price"],
                r.values["extended"] * sign * (-1 if r.values["kind"] == "R" else 1), bool(r.values["void"]),
            )
            for r in t.all("TL")
        ],
        "discounts": [
            (int(r.values["line_no"]), r.values["amount"] * sign * (-1 if line.values["kind"] == "R" else 1), r.values["reason"])
            for line in t.all("TL")
            for r in line.all("TD")
        ],
        "paid": sum((r.values["amount"] * (-1 if r.values["change"] else 1) for r in t.all("TT")), Decimal(0)),
        "links": [(links[r.values["kind"]], _key(r)) for r in t.all("TK")],
    }  # fmt: skip


def poslog_facts(t: Record) -> dict[str, Any]:
    v = t.values
    links = {"Voided": "voids", "Return": "return_of", "Resume": "resumes"}
    return {
        "key": (v["workstation"], int(v["sequence"])),
        **{name: v[name] for name in ("grand", "gross", "tax")},
        "flags": frozenset(f for f in ("training", "cancelled", "suspended", "offline") if "true" in v[f]),
        "begin": v["begin"].replace(tzinfo=None),
        "lines": [
            (
                int(r.values["line_no"]), r.values["kind"].lower(), r.values["item_id"].lstrip("0"),
                r.values["quantity"], r.values["actual_price"], r.values["extended"], "true" in r.values["void"],
            )
            for r in t.all("LineItem")
        ],
        "discounts": [
            (int(r.parent.values["line_no"]), r.values["amount"], r.values["reason"]) for r in t.all("RetailPriceModifier") if r.parent
        ],
        "paid": sum((r.values["amount"] - (r.values["change"] or 0) for r in t.all("Tender")), Decimal(0)),
        "links": [(links[r.values["kind"]], _key(r)) for r in t.all("TransactionLink")],
    }  # fmt: skip


def _key(r: Record) -> str:
    v = r.values
    return f"{v['store']}/{v['workstation']}/{v['business_date']}/{v['sequence']}"


@pytest.mark.parametrize(("store", "format"), [("0001", "tlog"), ("0002", "poslog"), ("0003", "poslog"), ("0004", "tlog")])
def test_file_of_a_random_day_read_by_its_declared_layout_equals_the_books(tills: Tills, store: str, format: Format) -> None:
    rung = tills.random_day(store, 150, DAY)
    assert {t.kind for t in rung} == {"sale", "return", "exchange", "post_void", "control"}
    assert {f for t in rung for f in t.flags} == {"training", "cancelled", "suspended", "offline"}
    path = tills.write_file(store, format)
    root = read(path)
    found = [tlog_facts(t) for t in root.all("TH")] if format == "tlog" else [poslog_facts(t) for t in root.all("Transaction")]
    assert found == [facts(t) for t in rung]
    books: Any = tills.books(readable=True)["stores"]
    assert books[store]["counted"] == sum(t.counts for t in rung)
    assert books[store]["pending"] == 0


def test_poslog_has_the_namespace_or_none_by_store_and_offsets_only_with_it(tills: Tills) -> None:
    for store, prefix, offset in (("0002", "{http://www.nrf-arts.org/IXRetail/namespace/}", True), ("0003", "", False)):
        tills.sell(store, [(PIECE.sku, 1)])
        root = etree.parse(tills.write_file(store)).getroot()
        assert root.tag == f"{prefix}POSLog"
        begin = root.findtext(f"{prefix}Transaction/{prefix}BeginDateTime")
        assert begin is not None
        assert (datetime.fromisoformat(begin).tzinfo is not None) is offset


def test_trailer_states_what_plain_counting_finds(tills: Tills) -> None:
    rung = tills.random_day("0001", 80, DAY)
    rows = list(csv.reader(tills.write_file("0001").read_text("utf-8").splitlines(), delimiter=";"))
    kinds = Counter(row[0] for row in rows)
    cents = sum(t.grand for t in rung if t.counts)
    assert rows[-1] == ["FT", str(kinds["TH"]), str(kinds["TL"]), f"{-cents}-" if cents < 0 else str(cents)]


def test_one_seed_gives_one_history_to_the_byte(tmp_path: Path) -> None:
    def history(folder: str, seed: int) -> list[tuple[str, bytes]]:
        tills = Tills(World(seed=seed, stores=30, skus=300), Faults(clock=lambda: NOW), tmp_path / folder)
        for store in ("0001", "0002", "0003"):
            tills.random_day(store, 40, DAY)
        return [(p.name, p.read_bytes()) for p in tills.flush()]

    assert history("a", 7) == history("b", 7)
    assert history("c", 8) != history("a", 7)


def test_counters_survive_a_restart_so_that_no_key_comes_twice(tmp_path: Path, faults: Faults) -> None:
    first = Tills(WORLD, faults, tmp_path)
    keys = {t.key for t in first.random_day("0001", 30)}
    names = {p.name for p in first.flush()}
    second = Tills(WORLD, faults, tmp_path)
    assert not keys & {t.key for t in second.random_day("0001", 30)}
    assert not names & {p.name for p in second.flush()}


def test_sale_by_weight_in_cash_gives_change_and_contains_its_tax(tills: Tills) -> None:
    t = tills.sell("0001", [Item(WEIGHED.sku, Decimal("0.425"), cents=1999), {"sku": PIECE.sku, "quantity": 2, "cents": 150}])
    assert [line.extended for line in t.lines] == [850, 300]
    assert (t.gross, t.grand, t.net + t.tax) == (1150, 1150, 1150)
    assert (t.tenders[0].cents, t.tenders[0].change) == (1500, 350)
    assert t.units == {WEIGHED.sku: 425, PIECE.sku: 2000}
    read(tills.write_file("0001"))


def test_void_reverses_once_and_return_takes_goods_back(tills: Tills) -> None:
    sale = tills.sell("0001", [Item(PIECE.sku, Decimal(3), cents=500, discount=100)], tender="debit")
    void = tills.sell("0001", kind="void", of=str(sale.key), workstation="002")
    assert (void.grand, void.units, void.links[0].key) == (-1400, {PIECE.sku: -3000}, sale.key)
    with pytest.raises(ValueError, match="cannot be voided"):
        tills.sell("0001", kind="void", of=sale.key)
    back = tills.sell("0001", [Item(PIECE.sku, Decimal(1), cents=500)], kind="return", of=sale.key)
    assert (back.grand, back.tenders[0].cents) == (-500, -500)
    books: Any = tills.books()["stores"]
    assert (books["0001"]["grand"], books["0001"]["units"]) == (-500, {PIECE.sku: "-1.000"})
    for kind in get_args(Format):
        tills.sell("0004", [(PIECE.sku, 1)])
        read(tills.write_file("0004", kind))
    read(tills.write_file("0001"))


def test_training_cancelled_and_suspended_count_nothing(tills: Tills) -> None:
    for flag in ("training", "cancelled", "suspended"):
        tills.sell("0001", [(PIECE.sku, 1)], flags=[flag])
    tills.sell("0001", kind="control")
    tills.sell("0001", [Item(PIECE.sku, voided=True), Item(PIECE.sku, cents=100)])
    books: Any = tills.books()["stores"]
    assert (books["0001"]["counted"], books["0001"]["grand"], books["0001"]["units"]) == (1, 100, {PIECE.sku: "1.000"})
    read(tills.write_file("0001"))


@pytest.mark.parametrize(
    "how",
    [
        {"lines": [("99999999", 1)]}, {"lines": [(PIECE.sku, "0.5")]}, {"lines": [(PIECE.sku, -1)]},
        {"lines": [(PIECE.sku, "NaN")]}, {"lines": [(PIECE.sku, "1e99999")]}, {"lines": []}, {"store": "9999"},
        {"store": "9001"}, {"kind": "gift"}, {"kind": "void"}, {"flags": ["odd"]}, {"workstation": "../x"},
        {"of": "0001/001/2026-11-21/9"}, {"of": "x"}, {"tender": [("cash", 1)]}, {"tender": "shells"},
    ],
)  # fmt: skip
def test_what_no_till_does_is_refused_and_leaves_no_gap(tills: Tills, how: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError)):
        tills.sell(**{"store": "0001", "lines": [(PIECE.sku, 1)], **how})
    assert tills.transactions() == []
    assert tills.sell("0001", [(PIECE.sku, 1)]).key.sequence == 1


def test_nothing_pending_is_no_file(tills: Tills) -> None:
    with pytest.raises(ValueError, match="nothing to write"):
        tills.write_file("0001")
    assert list(tills.inbox.iterdir()) == []


def test_each_business_day_gets_its_own_file(tills: Tills) -> None:
    tills.sell("0001", [(PIECE.sku, 1)], business_date=date(2026, 11, 21))
    tills.sell("0001", [(PIECE.sku, 1)], business_date=date(2026, 11, 20))
    assert [p.name for p in tills.flush()] == ["TLOG_0001_20261120_00001.tlog", "TLOG_0001_20261121_00002.tlog"]


@pytest.mark.parametrize("store", ["0001", "0002", "0003"])
@pytest.mark.parametrize("how", ["bad_line", "unknown_enum", "wrong_total", "truncated", "wrong_encoding"])
def test_damaged_file_breaks_its_layout_and_costs_what_is_said(tills: Tills, store: str, how: How) -> None:
    rung = tills.random_day(store, 40, DAY)
    path = tills.write_file(store)
    done = tills.damage(path, how)
    with pytest.raises((ValueError, etree.XMLSyntaxError)):
        read(path)
    assert done.lost
    assert {t.key for t in rung if not t.readable_in} == set(done.lost)
    assert len(done.lost) == 1 or how in {"truncated", "wrong_encoding", "wrong_total"}
    if done.line is not None and how != "truncated":
        target = path.read_bytes().split(b"\n")[done.line - 1]
        assert target[:2] in {b"TL", b"TH", b"FT"}
    books: Any = tills.books(readable=True)["stores"]
    assert books.get(store, {"transactions": 0})["transactions"] == len(rung) - len(done.lost)


@pytest.mark.parametrize("store", ["0001", "0002"])
def test_repeats_and_contradictions_come_as_second_files(tills: Tills, store: str) -> None:
    tills.random_day(store, 20, DAY)
    path = tills.write_file(store)
    renamed, resent, conflict = (tills.damage(path, how) for how in ("renamed", "resent", "conflict"))
    assert renamed.path.read_bytes() == path.read_bytes()
    first = read(path)
    assert len(read(resent.path).children) == len(first.children)
    other = read(conflict.path)
    kind = "TH" if store == "0001" else "Transaction"
    assert len(other.all(kind)) == 1
    same = next(t for t in first.all(kind) if t.values["sequence"] == other.all(kind)[0].values["sequence"]
                and t.values["workstation"] == other.all(kind)[0].values["workstation"])  # fmt: skip
    assert same.all("TF" if kind == "TH" else kind)[0].values != other.all("TF" if kind == "TH" else kind)[0].values
    with pytest.raises(ValueError, match="no file of these tills"):
        tills.damage("/etc/passwd", "bad_line")
    path.unlink()
    with pytest.raises(FileNotFoundError):
        tills.damage(path, "bad_line")


async def test_files_appear_by_rename_or_grow_in_place(tills: Tills) -> None:
    tills.random_day("0001", 10, DAY)
    half = tills.write_file("0001", mode="half")
    with pytest.raises(ValueError, match=r"line|FT"):
        read(half)
    read(tills.complete(half))
    tills.random_day("0001", 10, DAY)
    slowly = asyncio.create_task(tills.trickle("0001", seconds=0.1))
    await asyncio.sleep(0.03)
    growing = [p for p in tills.inbox.iterdir() if p != half]
    size = growing[0].stat().st_size
    path = await slowly
    assert growing == [path]
    assert path.stat().st_size > size
    read(path)


async def test_rules_of_the_fault_table_hold_for_tills(tills: Tills, faults: Faults) -> None:
    def ring() -> None:
        tills.random_day("0001", 20, DAY)

    ring()
    faults.add(Rule("pos", "refuse", store="0001"))
    with pytest.raises(TillOffline):
        tills.write_file("0001")
    assert tills.pending("0001") >= 20
    faults.replace(Rule("pos", "hang"))
    path = tills.write_file("0001")
    await asyncio.sleep(0.01)
    assert not path.exists()
    faults.clear()
    await asyncio.sleep(0.01)
    read(path)
    faults.add(Rule("pos", "stale"))
    assert tills.write_file("0001").read_bytes() == path.read_bytes()
    for kind in ("error", "wrong_type", "unknown_enum", "truncate"):
        ring()
        faults.replace(Rule("pos", kind))
        with pytest.raises(ValueError, match=r"\w"):
            read(tills.write_file("0001"))
    ring()
    faults.replace(Rule("pos", "lost_answer"))
    before = len(list(tills.inbox.iterdir()))
    read(tills.write_file("0001"))
    assert len(list(tills.inbox.iterdir())) == before + 2
    ring()
    faults.replace(Rule("pos", "reset"))
    with pytest.raises(TillOffline):
        tills.write_file("0001")
    assert any(p.suffix == ".part" for p in tills.inbox.iterdir())
    faults.replace(Rule("pos", "slow", seconds=60))
    late = tills.write_file("0001")
    tills.release()
    read(late)
    await tills.stop()
