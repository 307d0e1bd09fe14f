"""Incidents, the map and the overview: what stands on them, and that no telemetry can do anything to them."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from observability.console import drawing
from observability.console.incident import attributes, comparison
from observability.console.pages import render_incident, render_map, render_overview
from observability.rootcause.model import DependencyMap, RouteNode
from tests.unit.observability.console.test_pages import Checked
from tests.unit.observability.console.troubles import NOW, SIGNED_IN, TRACES, at, bare, estate, full, incident, pages, trace

PARTS = ["verdict", "impact", "timeline", "map", "special-part", "traces-part", "whynot", "notseen", "right"]
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("name", ["incident", "incident-full", "incident-bare", "incident-broken"])
def test_the_page_of_an_incident_has_its_nine_parts_in_order_however_little_is_known(name: str) -> None:
    found = Checked(pages()[name])
    assert [i for i in found.ids if i in PARTS] == PARTS


def test_no_figure_stands_without_its_base() -> None:
    page = pages()["incident"]
    for figure in (
        "412 <small>of 6\u202f210",
        "1\u202f804 of 4\u202f000",
        "1\u202f290 of 2\u202f342 bad",
        "120 of 48\u202f211 lost",
        "57 <small>of 6\u202f210",
    ):
        assert figure in page, figure
    bars, more = attributes(full())
    assert more > 200
    assert all(0 < a.bad <= a.all_bad and 0 <= a.good <= a.all_good for a in bars)


def test_a_trace_that_is_gone_is_said_to_be_gone_and_the_others_are_compared() -> None:
    page = pages()["incident-broken"]
    assert page.count("no longer kept") == 3
    assert "timeout.read" in page


def test_steps_are_aligned_with_the_twin_and_the_blamed_hop_is_marked() -> None:
    found = comparison(incident().culprits[0], TRACES)
    assert [c.title for c in found.columns] == ["earliest", "median", "worst", "healthy twin"]
    names = [s.name for s in found.steps]
    assert names == ["GET /inventory", "auth", "call erp.GetStock", "StockService/GetStock", "StockService/GetStock"]
    assert [s.blamed for s in found.steps] == [False, False, True, True, True]
    assert [c is not None for c in found.steps[-1].cells] == [True, True, True, False], "the twin was not tried again"
    shared = replace(incident().culprits[0], kind="shared", operation="", members=("oms", "crm"))
    assert not any(s.blamed for s in comparison(shared, TRACES).steps)
    assert any(s.blamed for s in comparison(shared, {"a" * 32: trace("a", 800, "crm")}).steps)


def test_the_map_shows_culprits_hits_risks_and_what_nobody_declared() -> None:
    plan = drawing.plan(estate(), incident())
    assert {r.name: r.ink for r in plan.routes} == {"GET /inventory": "hit", "POST /reservations": "risk", "POST /orders": "risk"}
    assert [o.name for s in plan.systems for o in s.operations if o.ink == "culprit"] == ["erp.GetStock"]
    assert [c.what for c in plan.curves if not c.declared] == ["oms was seen to call crm.FindCustomer, which nobody declared"]
    assert {c.what for c in plan.curves if c.ink == "culprit"} == {"GET /inventory needs erp"}
    assert any(c.mode == "depends" for c in plan.curves)
    assert any(s.box.name == "gateway" for s in drawing.plan(estate(), full()).systems)


@pytest.mark.parametrize(("systems", "operations"), [(1, 1), (8, 30), (8, 240)])
def test_no_box_of_the_map_lies_on_another(systems: int, operations: int) -> None:
    plan = drawing.plan(estate(systems, operations))
    for boxes in (plan.channels, plan.routes, [s.box for s in plan.systems], [o for s in plan.systems for o in s.operations]):
        for i, one in enumerate(boxes):
            assert 0 <= one.x < one.x + one.width <= plan.width
            assert 0 <= one.y < one.y + one.height <= plan.height
            for other in boxes[i + 1 :]:
                apart = (
                    one.x + one.width <= other.x
                    or other.x + other.width <= one.x
                    or one.y + one.height <= other.y
                    or other.y + other.height <= one.y
                )
                assert apart, (one.name, other.name)
    for system in plan.systems:
        for o in system.operations:
            assert system.box.y < o.y
            assert o.y + o.height < system.box.y + system.box.height


def test_who_may_only_read_is_not_asked_whether_it_was_right() -> None:
    assert "/label" not in render_incident(incident(), declared=estate(), viewer=replace(SIGNED_IN, may_change=False))
    assert "/label" not in render_incident(replace(incident(), id=""), declared=estate(), viewer=SIGNED_IN)
    asked = render_incident(incident(), declared=estate(), viewer=SIGNED_IN)
    assert re.search(
        rf'action="/console/incidents/INC-20260311-0007/label"><input type="hidden" name="csrf" value="{SIGNED_IN.csrf}"', asked
    )


def test_what_is_over_says_since_when_and_one_without_anything_stays_readable() -> None:
    page = render_incident(bare(), declared=DependencyMap(), now=NOW)
    assert "over since 10:50:11" in page
    assert "Nothing is known to be missing" in page


def test_the_head_of_every_page_says_what_is_broken_but_not_of_stores_that_the_viewer_may_not_see() -> None:
    there = replace(SIGNED_IN, open=(incident(), full()))
    head = render_map(estate(), viewer=there).partition("<main")[0]
    assert "<title>(2) " in head
    assert "2 open incidents" in head
    assert 'href="/console/incidents/INC-20260311-0007"' in head
    assert "and 1 more" in head
    own = render_incident(full(), declared=estate(), viewer=there).partition("<main")[0]
    assert "incidents/INC-20260311-0008" not in own, "the page says it itself"
    bound = render_map(estate(), viewer=replace(SIGNED_IN, stores=frozenset({"0001"}))).partition("<main")[0]
    assert 'id="broken"' not in bound


def test_that_nothing_is_broken_is_only_said_by_whoever_has_looked() -> None:
    assert "Nothing is broken" in pages()["overview-calm"]
    assert "This gateway has not looked yet" in pages()["overview-empty"]
    assert "Nobody looks for what is broken" in render_overview(looked_at=at(-90), now=NOW, viewer=SIGNED_IN)


NASTY = st.one_of(
    st.text(min_size=1, max_size=40),
    st.text(st.sampled_from("<>&\"'`{}%\x00\x07\x1b\u202e\u2066\u200f\u2028אب\ud7ff"), min_size=1, max_size=30),
    st.sampled_from(
        [
            "<script>alert(1)</script>",
            "\u202egnp.exe",
            "a" * 50_000,
            "javascript:alert(1)",
            "'--",
            "{{7*7}}",
            "\x9b31m",
            "]]>",
            "</svg><img src=x>",
        ]
    ),
)


@pytest.mark.slow
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(NASTY)
def test_no_text_becomes_markup_reorders_a_page_or_makes_it_long(text: str) -> None:
    usual = {name: len(page) for name, page in pages("x").items()}
    for name, page in pages(text).items():
        found = Checked(page)
        assert found.trouble == [], name
        assert found.open == [], name
        assert "img" not in found.tags, name
        assert found.tags.count("script") == 1, name
        assert not FORBIDDEN.search(page), name
        assert len(page) < usual[name] + 400_000, name
        page.encode()


def test_a_foreign_name_goes_into_a_link_as_one_value() -> None:
    declared = DependencyMap(routes={"GET /a&outcome=x#y": RouteNode()})
    assert 'href="/console/flights?route=GET+%2Fa%26outcome%3Dx%23y"' in render_map(replace(declared, systems=estate().systems))
