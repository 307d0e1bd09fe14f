"""An operator's day on the running product: sign in, see what breaks, open the evidence. In a real browser, over `./run demo`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from observability.dashboards import metrics
from tests.docs.demo import Demo, checkout, demo
from tests.products import CUSTOMER, LOCATION, SKU
from tests.servers import chromium

pytestmark = pytest.mark.slow
PAGES = (
    *("overview", "incidents", "map", "map?down=erp&observed=1", "systems", "flights"),
    *("files", "records", "orders", "clients", "clients/demo-web", "versions", "audit"),
)


@dataclass
class Watched:
    """A browser session, and everything it complained about or asked elsewhere."""

    it: Demo
    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        self.page.goto(self.it.base + path)
        return self.page

    def sign_in(self, key: str) -> Page:
        page = self.open("/console")
        page.fill("input[name=key]", key)
        page.click("button[type=submit]")
        return page


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with demo(checkout(tmp_path_factory.mktemp("console"))) as it:
        yield it


@pytest.fixture(scope="module")
def browser(chromium_path: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        it = playwright.chromium.launch(executable_path=chromium_path, args=list(chromium.ARGS))
        yield it
        it.close()


@contextmanager
def watched(running: Demo, browser: Browser, **options: Any) -> Iterator[Watched]:
    context = browser.new_context(**options)
    context.set_default_timeout(15_000)
    session = Watched(running, context, context.new_page())
    session.page.on("console", lambda m: session.complaints.append(m.text) if m.type in ("error", "warning") else None)
    session.page.on("pageerror", lambda error: session.complaints.append(str(error)))
    session.page.on("request", lambda r: None if r.url.startswith(running.base) else session.elsewhere.append(r.url))
    try:
        yield session
    finally:
        context.close()
    assert session.elsewhere == []
    assert [c for c in session.complaints if "the server responded with a status of" not in c] == []


@pytest.fixture
def operator(running: Demo, browser: Browser) -> Iterator[Watched]:
    with watched(running, browser, viewport={"width": 1400, "height": 900}) as session:
        session.sign_in(running.keys["operator"]).wait_for_url("**/console")
        yield session
        assert session.complaints == []


@pytest.fixture
def api(running: Demo) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {running.keys['web']}"}
    with httpx.Client(base_url=running.base, headers=headers, timeout=30) as client:
        yield client
    httpx.delete(f"{running.control}/faults")


def broken(running: Demo, *rules: dict[str, object]) -> None:
    httpx.put(f"{running.control}/faults", content=json.dumps(rules)).raise_for_status()


def row(page: Page, text: str) -> Any:
    return page.locator("tr", has_text=text).first


def until(page: Page, shown: Callable[[], bool]) -> None:
    """Pages refresh themselves every few seconds."""
    for _ in range(60):
        if shown():
            return
        page.wait_for_timeout(250)
    raise AssertionError(f"never shown on {page.url}:\n{page.inner_text('main')}")


@pytest.mark.parametrize("key", ["", "nonsense", "web"])
def test_nobody_gets_in_without_an_operators_key(key: str, running: Demo, browser: Browser) -> None:
    with watched(running, browser) as session:
        page = session.sign_in(running.keys.get(key, key))
        page.wait_for_selector("input[name=key]")
        assert [c["name"] for c in session.context.cookies()] == ["tillgate_sign_in"]
        for name in PAGES:
            assert session.open(f"/console/{name}").url.endswith("/console/login?to=%2Fconsole%2F" + quote(name, safe=""))


def test_a_session_cannot_be_read_by_scripts_or_sent_from_elsewhere(operator: Watched) -> None:
    (cookie,) = [c for c in operator.context.cookies() if c["name"] == "tillgate_session"]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/console")
    assert operator.it.keys["operator"] not in json.dumps(cookie)


def test_every_page_is_sent_under_a_policy_that_allows_nothing_inline(operator: Watched) -> None:
    for path in (*(f"/console/{name}" for name in PAGES), "/docs", "/docs/2025-09-01"):
        answer = operator.page.goto(operator.it.base + path)
        assert answer
        assert answer.status == 200, path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy, path


def test_every_metric_of_dashboard_and_rules_is_printed(running: Demo, api: httpx.Client) -> None:
    api.get(f"/products/{SKU}").raise_for_status()
    told = httpx.get(f"{running.base}/metrics", headers={"Authorization": f"Bearer {running.keys['operator']}"}).text
    printed = {re.split(r"[ {]", line, maxsplit=1)[0] for line in told.splitlines() if not line.startswith("#")}
    assert metrics() - printed <= {"tillgate_blamed_total"}, "nothing need have gone wrong"


def test_a_channel_leads_from_the_overview_to_its_flights_and_the_map_says_what_is_lost(operator: Watched, api: httpx.Client) -> None:
    api.get(f"/products/{SKU}").raise_for_status()
    page = operator.open("/console/overview")
    until(page, lambda: page.locator("#by-channel a", has_text="web").count() > 0)
    page.locator("#by-channel a", has_text="web").first.click()
    page.wait_for_url("**/console/flights?channel=web&outcome=bad")
    page = operator.open("/console/map")
    page.select_option("select[name=down]", "erp")
    page.click("main button[type=submit]")
    page.wait_for_url("**/console/map?down=erp*")
    assert "nothing stands in for erp.GetStock" in row(page, "POST /reservations").inner_text()
    page.locator("svg.plan a", has_text="GetStock").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/console/flights?operation=erp.GetStock")
    assert page.input_value("input[name=operation]") == "erp.GetStock"
    declared = page.evaluate("fetch('/console/map/json').then((answer) => answer.json())")
    assert declared["schema"] == "tillgate.map/1"


def test_a_search_that_cannot_be_read_says_what_is_expected(operator: Watched) -> None:
    for query in ("slower=fast", "since=yesterday", "until=9999-99-99"):
        assert "such as" in operator.open(f"/console/flights?{query}").inner_text("main")
    assert all("400" in each for each in operator.complaints)
    operator.complaints.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_every_page_fits_its_window_in_both_schemes(scheme: Any, width: int, running: Demo, browser: Browser, api: httpx.Client) -> None:
    api.get(f"/products/{SKU}").raise_for_status()
    with watched(running, browser, color_scheme=scheme, viewport={"width": width, "height": 900}) as session:
        session.sign_in(running.keys["operator"]).wait_for_url("**/console")
        for path in (*(f"/console/{name}" for name in PAGES), "/docs"):
            page = session.open(path)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def test_systems_show_the_breaker_that_opened_and_why_leads_to_the_flight(operator: Watched, api: httpx.Client) -> None:
    broken(
        operator.it,
        {"system": "erp", "kind": "error", "operation": "GetCustomer"},
        {"system": "oms", "kind": "error", "operation": "getCustomer"},
    )
    answers = [api.get(f"/customers/{int(CUSTOMER) + n}") for n in range(12)]
    assert {a.status_code for a in answers} <= {502, 503}
    page = operator.open("/console/systems")
    oms = page.locator("tr", has=page.get_by_text("getCustomer", exact=True))
    until(page, lambda: "open" in oms.inner_text())
    expect(row(page, "GetStock")).to_contain_text("closed")
    oms.get_by_role("link", name="why").click()
    expect(page.locator("main")).to_contain_text("GET /customers/{number}")
    expect(page.locator(".fall")).to_contain_text("getCustomer")


def test_a_failed_call_is_found_and_opens_as_a_waterfall(operator: Watched, api: httpx.Client) -> None:
    broken(operator.it, {"system": "erp", "kind": "fault_in_200", "operation": "GetPrices"})
    answer = api.get("/prices", params={"sku": SKU, "location": "0007"})
    trace = answer.json()["traceId"]
    assert answer.status_code == 502
    page = operator.open("/console/flights?outcome=failure&channel=web&system=erp")
    link = page.locator(f"#flights tbody th a[href*='{trace}']")
    until(page, lambda: link.count() == 1)
    link.click()
    fall = page.locator(".fall")
    expect(fall).to_contain_text("GET /prices")
    expect(fall).to_contain_text("call erp.GetPrices")
    expect(fall).to_contain_text("soap.fault.Server")
    expect(page.locator(".crumbs")).to_contain_text(trace)
    assert operator.it.keys["web"].split("_", 2)[2] not in page.content(), "no key is ever shown"


def test_an_order_in_doubt_is_shown_until_the_doubt_is_gone(operator: Watched, api: httpx.Client) -> None:
    broken(
        operator.it,
        {"system": "erp", "kind": "lost_answer", "operation": "CreateSalesOrder"},
        {"system": "erp", "kind": "error", "operation": "FindSalesOrder"},
    )
    line = {
        "lineNumber": 1,
        "sku": SKU,
        "requestedLocationId": LOCATION,
        "quantity": {"value": "1", "unit": "EA"},
        "unitPrice": {"centAmount": 379, "currencyCode": "EUR", "fractionDigits": 2},
    }
    placed = api.post("/orders", json={"lines": [line]}, headers={"Idempotency-Key": "console-1"})
    assert placed.status_code == 202, placed.text
    number = placed.json()["orderNumber"]
    page = operator.open("/console/orders")
    card = page.locator("section.order", has_text=number)
    until(page, lambda: card.count() == 1)
    expect(card).to_contain_text("in doubt")
    expect(card.locator("li.s-done")).to_have_count(2)
    httpx.delete(f"{operator.it.control}/faults").raise_for_status()
    card.wait_for(state="detached", timeout=60_000)
    assert api.get(f"/orders/{placed.json()['id']}").json()["pendingWrite"] is False


def test_a_damaged_file_shows_its_record_with_line_and_reason(operator: Watched) -> None:
    control = operator.it.control
    httpx.post(f"{control}/pos/random-day", json={"store": "0003", "transactions": 8}).raise_for_status()
    dropped = httpx.post(f"{control}/pos/write", json={"store": "0003", "format": "tlog", "damage": "bad_line"}).raise_for_status()
    name = Path(dropped.json()["file"]).name
    page = operator.open("/console/files")
    line = page.locator("tr", has_text=name)
    until(page, lambda: line.count() == 1 and "partly" in line.inner_text())
    line.get_by_role("link", name=name).click()
    aside = page.locator("section", has_text="Records set aside").locator("tbody tr")
    expect(aside).to_have_count(1)
    expect(aside).to_contain_text("quantity")


def test_what_does_not_exist_is_said_and_signing_out_ends_the_session(operator: Watched) -> None:
    page = operator.page
    for path in ("/console/flights/00000000000000000000000000000000", "/console/files/none"):
        answer = page.goto(operator.it.base + path)
        assert answer
        assert answer.status == 404
        expect(page.locator("main")).to_contain_text("404")
    operator.complaints.clear()  # Chromium reports a 404 as an error of its own
    operator.open("/console/flights")
    page.evaluate("document.querySelector('form.leave').target = 'elsewhere'")
    with page.context.expect_page():
        page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#freshness")).to_contain_text("signed out", timeout=10_000)
    page.reload()
    assert page.url.endswith("/console/login?to=%2Fconsole%2Fflights")
