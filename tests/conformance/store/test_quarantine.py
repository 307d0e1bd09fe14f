import asyncio

import pytest

from contracts.books import Books, Decision, Quarantined, Reviewed
from contracts.canonical.sale import SaleLink
from contracts.errors import InvalidBody, NotFound, StateConflict
from tests.conformance.store.conftest import Open
from tests.conformance.store.make import NOW, batch, entry, key, later, line, sale, seen


def aside(position: int, raw: bytes = b"TH;\xff\n") -> Quarantined:
    return Quarantined(
        digest="d1",
        file="",
        position=position,
        line=10 * position,
        field="TL.sku",
        expected="12 digits",
        got="x",
        reason="TL.sku: expected 12 digits, got x",
        raw=raw,
        around=(b"FH;1\n", b""),
    )


def decided(who: str, what: str = "booked") -> Decision:
    return Decision(by=who, at=later(9), what=what, reason="asked the store")  # type: ignore[arg-type]  # one of its words


@pytest.fixture
async def open_(books: Books) -> Reviewed:
    """One record of a file that is done otherwise."""
    await books.files.claim(seen(), "w1", NOW, 60, "t1")
    await books.sales.commit(batch(sale(1), position=2, quarantined=[aside(2)]), NOW)
    await books.files.finish("d1", 1, "done", "", later(1), [])
    (found,) = await books.quarantine.list(10)
    return found


async def test_a_record_is_kept_with_its_bytes_its_surroundings_and_its_file(books: Books, open_: Reviewed) -> None:
    assert (open_.state, open_.version, open_.feed, open_.store, open_.text) == ("open", 0, "pos.sales", "0017", b"TH;\xff\n")
    assert (open_.record.around, open_.record.line, open_.record.file) == ((b"FH;1\n", b""), 20, seen().name)
    assert await books.quarantine.get(open_.record.id) == open_
    assert await books.quarantine.get(999) is None
    assert await books.quarantine.list(10, stores=("0099",)) == []
    assert await books.quarantine.list(10, after=open_.record.id) == []
    assert await books.quarantine.list(10, digest="d1", state="open", feed="pos.sales", stores=("0017",)) == [open_]


async def test_a_revision_keeps_the_original_and_is_made_on_what_was_seen(books: Books, open_: Reviewed) -> None:
    number = open_.record.id
    revised = await books.quarantine.revise(number, 0, b"TH;1\n", [entry("a1", "record.edited", str(number))])
    assert (revised.version, revised.text, revised.record.raw) == (1, b"TH;1\n", b"TH;\xff\n")
    with pytest.raises(StateConflict, match="changed it since you looked"):
        await books.quarantine.revise(number, 0, b"TH;2\n", [entry("a2", "record.edited", str(number))])
    assert len(await books.audit.list(10)) == 1
    assert (await books.quarantine.revise(number, 1, None, [])).text == b"TH;\xff\n"
    with pytest.raises(NotFound):
        await books.quarantine.revise(999, 0, b"", [])


async def test_two_people_book_at_once_one_wins_and_the_other_is_told(books: Books, another: Open, open_: Reviewed) -> None:
    stores, number = [books, await another()], open_.record.id
    before = await books.outbox.depth()
    booking = [
        stores[n % 2].quarantine.book(number, 0, sale(2), decided(f"p{n}"), [entry(f"a{n}", "record.booked", str(number), f"p{n}")])
        for n in range(6)
    ]
    results = await asyncio.gather(*booking, return_exceptions=True)
    (won,) = [r for r in results if isinstance(r, Reviewed)]
    assert won.decision is not None
    assert (won.state, won.decision.what, won.decision.key, won.decision.reason) == ("booked", "booked", str(key(2)), "asked the store")
    lost = [r for r in results if not isinstance(r, Reviewed)]
    assert all(isinstance(r, StateConflict) and f"{won.decision.by} decided this" in str(r) for r in lost), lost
    assert [e.actor for e in await books.audit.list(10)] == [won.decision.by]
    assert (await books.sales.totals())["0017"] == {"sales": 2, "cents": 200, "units_milli": 2000}
    assert await books.outbox.depth() == before + 2  # the sale, and the stock that it moved
    assert (record := await books.files.get("d1")) is not None
    assert (record.booked, record.quarantined, record.decided) == (2, 1, 1)


async def test_an_edit_that_hits_a_booked_key_with_other_content_writes_nothing_over(books: Books, open_: Reviewed) -> None:
    number, before = open_.record.id, await books.outbox.depth()
    with pytest.raises(StateConflict, match="the first one stands"):
        await books.quarantine.book(number, 0, sale(1, line("10000002", "5")), decided("p"), [entry("a1", "record.booked", "")])
    assert await books.sales.get(key(1)) == sale(1)
    assert await books.quarantine.get(number) == open_
    assert (await books.audit.list(10), await books.outbox.depth()) == ([], before)
    repeated = await books.quarantine.book(number, 0, sale(1, provenance=()), decided("p"), [])
    assert repeated.decision is not None
    assert (repeated.state, repeated.decision.what) == ("booked", "repeated")
    assert (await books.sales.totals())["0017"]["sales"] == 1


async def test_a_dismissed_record_is_never_booked(books: Books, open_: Reviewed) -> None:
    number = open_.record.id
    gone = await books.quarantine.dismiss(number, 0, decided("p", "dismissed"), [entry("a1", "record.dismissed", str(number))])
    assert (gone.state, gone.decision) == ("dismissed", decided("p", "dismissed"))
    for attempt in (
        books.quarantine.book(number, 1, sale(2), decided("q"), []),
        books.quarantine.dismiss(number, 1, decided("q", "dismissed"), []),
        books.quarantine.revise(number, 1, b"", []),
    ):
        with pytest.raises(StateConflict, match="p decided this"):
            await attempt
    assert await books.sales.get(key(2)) is None
    with pytest.raises(NotFound):
        await books.quarantine.dismiss(999, 0, decided("p", "dismissed"), [])


async def test_what_a_booking_would_do_is_told_before_it_is_done(books: Books, open_: Reviewed) -> None:
    back = sale(
        7,
        line("10000001", "2", 300, line_type="return"),
        cents=300,
        kind="return",
        links=(SaleLink(type="return_of", sale_key=key(1)), SaleLink(type="return_of", sale_key=key(99))),
    )
    effect = await books.quarantine.weigh(back)
    assert (effect.outcome, effect.cents, effect.stock) == ("books", -300, {"10000001": "2"})
    assert (effect.found, effect.missing) == ((f"return_of {key(1)}",), (f"return_of {key(99)}",))
    assert (await books.quarantine.weigh(sale(1, provenance=()))).outcome == "repeats"
    other = await books.quarantine.weigh(sale(1, line("10000002")))
    assert (other.outcome, other.standing, other.stock, other.cents) == ("conflict", sale(1), {}, 0)
    huge = sale(8, line("10000001", "9999999999"))
    assert (await books.quarantine.weigh(huge)).outcome == "uncountable"
    with pytest.raises(InvalidBody, match="a quantity that a shelf can hold"):
        await books.quarantine.book(open_.record.id, 0, huge, decided("p"), [])
