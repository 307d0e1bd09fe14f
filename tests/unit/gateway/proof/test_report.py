from datetime import UTC, datetime

import pytest
from lxml import html as parser

from contracts.policy import Breaker, Duration, Freshness, Policy, Retry
from gateway.bootstrap import check
from gateway.proof import report
from gateway.proof.case import Tier
from gateway.proof.lab import Lab, shortened
from gateway.proof.run import Proof, Result, Verdict, awarded
from tests.docs.demo import ROOT


def result(case: str, tier: Tier, verdict: Verdict = "pass", came: str = "5 rows") -> Result:
    return Result(case=case, tier=tier, did="this", expected="that", verdict=verdict, came=came, calls=3, seconds=0.1)


def proof(*results: Result, complete: bool = True) -> Proof:
    return Proof(
        estate="shop",
        system="crm",
        protocol="rest",
        at=datetime(2026, 1, 15, 12, tzinfo=UTC),
        seconds=9.0,
        tier=awarded(results) if complete else "none",
        complete=complete,
        results=list(results),
        sources={"crm.getPerson": "example 'a | guest'"},
        notes=["without TLS"],
    )


@pytest.mark.parametrize(
    ("results", "tier"),
    [
        ([result("a", "bronze"), result("b", "silver"), result("c", "gold")], "gold"),
        ([result("a", "bronze"), result("b", "silver"), result("c", "gold", "fail")], "silver"),
        ([result("a", "bronze"), result("b", "silver", "fail"), result("c", "gold")], "bronze"),
        ([result("a", "bronze", "fail"), result("b", "silver"), result("c", "gold")], "none"),
        ([result("a", "bronze"), result("b", "silver"), result("c", "gold"), result("d", "gold", "not applicable")], "gold"),
        ([result("a", "bronze", "not applicable"), result("b", "silver"), result("c", "gold")], "none"),
        ([], "none"),
    ],
)
def test_a_tier_comes_from_the_results_alone(results: list[Result], tier: str) -> None:
    assert awarded(results) == tier


HOSTILE = result("a", "bronze", "fail", "<script>alert(1)</script> | `x`\nnext")


def test_the_page_shows_every_case_and_runs_nothing_that_a_system_said() -> None:
    page = report.html(proof(HOSTILE, result("b", "silver")))
    tree = parser.fromstring(page)
    assert tree.xpath("count(//tbody/tr)") == 3
    assert not tree.xpath("//script")
    assert tree.xpath("string(//tr[@class='fail']/td[4])") == HOSTILE.came
    assert "color-scheme: light dark" in page
    assert not tree.xpath("//@src | //link/@href"), "it needs nothing else"


def test_markdown_keeps_its_table_whatever_a_system_said() -> None:
    text = report.markdown(proof(HOSTILE))
    [row] = [line for line in text.splitlines() if line.startswith("| `a`")]
    assert "\\|" in row
    assert "<script>" not in text
    assert row.endswith("| FAIL |")


def test_chosen_cases_award_no_tier() -> None:
    chosen = proof(result("a", "bronze"), complete=False)
    assert "a tier needs all" in report.headline(chosen)
    assert "tier" not in report.markdown(chosen).splitlines()[0]


def test_a_proof_names_every_time_and_size_that_it_shortens() -> None:
    limits = Policy(
        deadline=Duration(30.0),
        retry=Retry(backoff=Duration(2.0), backoff_max=Duration(9.0)),
        breaker=Breaker(open_for=Duration(60.0)),
        freshness=Freshness(max_age=Duration(600.0)),
    )
    assert [n.partition(" ")[0] for n in shortened(limits)] == ["deadline", "open_for", "backoff", "backoff_max", "max_age"]
    assert "max_age 600 s shortened to 0.05 s" in shortened(limits)
    checked = check(ROOT)
    lab = Lab(checked, "oms", {})
    assert f"body_limit {checked.options['oms'].body_limit} bytes shortened to 1000000 where an answer has no end" in lab.notes
    assert "stand-in" not in repr(lab).partition("subjects=")[0]
