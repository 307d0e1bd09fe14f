"""What was called and nobody declared, out of counts."""

from observability.rootcause.model import Where
from observability.rootcause.online.edges import undeclared
from tests.unit.observability.rootcause.online.made import MAP, NOW, Counts, Made


def test_what_is_declared_is_no_news_and_calls_that_are_not_are_told_the_most_frequent_first() -> None:
    assert undeclared(Counts().rows(), MAP) == ()
    made = Made(minutes=1)
    assert undeclared(made.coarse.rows(), MAP) == ()
    for system, operation, n in (
        ("oms", "get", 3),
        ("tax", "Rate", 9),
        ("gateway", "worker", 99),
        ("client", "shop-app", 99),
        ("crm", "x", 2),
    ):
        for second in (NOW - 20, NOW - 10):
            made.coarse.add(second, Where(system, operation, "web", "GET /prices", "2026-01", "017"), n=n)
    assert undeclared(made.coarse.rows(), MAP) == (("GET /prices", "tax.Rate"), ("GET /prices", "oms.get"))
