from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from sandbox.erp.books import Books, Figures, OrderItem, Posted, SalesOrder, TillTransaction
from sandbox.world import World

WORLD = World(stores=2, skus=5)
SKU, DAY = "10000001", date(2026, 3, 1)


def sale(sequence: int, quantity: str = "1", till: str = "001", day: date = DAY) -> TillTransaction:
    return TillTransaction("0001", till, day, sequence, ((SKU, Decimal(quantity)),))


def order(reference: str, quantity: str = "2", kind: str = "ZWEB") -> SalesOrder:
    item = OrderItem("000010", SKU, Decimal(quantity), "ST", Decimal("3.79"), "0001")
    return SalesOrder("", reference, kind, "EUR", None, "0001", "20260401", datetime.min.replace(tzinfo=UTC), [item])


def test_sales_lower_stock_returns_raise_it_and_the_till_moves_on() -> None:
    books = Books(WORLD)
    assert books.post([sale(1, "3"), sale(2, "-1"), TillTransaction("0001", "002", DAY, 9, ())]) == 3
    assert books.stock(SKU, "0001").on_hand == WORLD.opening_stock(SKU, "0001") - 2
    assert books.posted_through("0001") == {"001": Posted(DAY, 2), "002": Posted(DAY, 9)}
    assert books.posted_through("0002") == {}


def test_a_day_close_repeated_or_overlapping_books_nothing_twice() -> None:
    books = Books(WORLD)
    books.post([sale(1), sale(2)])
    assert books.post([sale(2), sale(1), sale(3)]) == 1
    assert books.stock(SKU, "0001").on_hand == WORLD.opening_stock(SKU, "0001") - 3


def test_a_late_transaction_of_an_earlier_day_counts_and_does_not_turn_the_till_back() -> None:
    books = Books(WORLD)
    books.post([sale(5)])
    assert books.post([sale(6, day=DAY - timedelta(days=1))]) == 1
    assert books.stock(SKU, "0001").on_hand == WORLD.opening_stock(SKU, "0001") - 2
    assert books.posted_through("0001") == {"001": Posted(DAY, 5)}


def test_a_new_business_day_may_begin_at_one_again() -> None:
    books = Books(WORLD)
    books.post([sale(88)])
    assert books.post([sale(1, day=DAY + timedelta(days=1))]) == 1


def test_a_return_order_promises_nothing() -> None:
    books = Books(WORLD)
    books.cancel(books.create(order("r", kind="RE")), "03")
    assert books.stock(SKU, "0001").committed == 0


def test_history_reaches_back_to_the_moment_it_was_asked_for_and_not_further() -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    since: datetime | None = None
    books = Books(WORLD, keep_since=lambda: since, clock=lambda: now)
    for n in range(1, 50):
        books.post([sale(n)])
    since = now = now + timedelta(hours=1)
    now += timedelta(hours=1)
    books.post([sale(50)])
    books.create(order("a"))
    opening = WORLD.opening_stock(SKU, "0001")
    assert books.stock(SKU, "0001", since) == Figures(opening - 49, Decimal(0))
    assert books.stock(SKU, "0001") == Figures(opening - 50, Decimal(2))
    assert books.posted_through("0001", since) == {"001": Posted(DAY, 49)}
    since = None
    books.post([sale(51)])
    assert len(books._stock[SKU, "0001"]) == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=30))
def test_the_account_adds_up_whatever_happened(steps: list[tuple[bool, int]]) -> None:
    books = Books(WORLD)
    sold = promised = 0
    for n, (is_sale, quantity) in enumerate(steps, 1):
        if is_sale:
            books.post([sale(n, str(quantity))])
            sold += quantity
        else:
            made = books.create(order(str(n), str(quantity)))
            promised += quantity
            if quantity % 3 == 0:
                books.cancel(made, "03")
                promised -= quantity
    account = books.account()
    rows = account["stock"]
    assert isinstance(rows, list)
    for row in rows:
        assert Decimal(row["opening"]) - Decimal(row["posted_sales"]) == Decimal(row["on_hand"])
        assert (Decimal(row["posted_sales"]), Decimal(row["committed"])) == (Decimal(sold), Decimal(promised))
    orders = account["orders"]
    assert isinstance(orders, list)
    assert sum(Decimal(i["KWMENG"]) for o in orders for i in o["items"] if i["ABGRU"] is None) == promised
