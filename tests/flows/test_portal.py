"""A channel developer's first minutes on the reference page, in a real browser: take the demo's key, send calls, read what came."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from tests.docs.demo import Demo, checkout, demo
from tests.products import SKU
from tests.servers import chromium

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with demo(checkout(tmp_path_factory.mktemp("portal"))) as it:
        yield it


@pytest.fixture(scope="module")
def browser(chromium_path: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        it = playwright.chromium.launch(executable_path=chromium_path, args=list(chromium.ARGS))
        yield it
        it.close()


@pytest.fixture
def reader(running: Demo, browser: Browser) -> Iterator[Page]:
    """The reference, opened. Whatever the page asks elsewhere or complains about fails the test."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.set_default_timeout(15_000)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda m: wrong.append(m.text) if "the server responded with a status of" not in m.text else None)
    page.on("request", lambda r: None if r.url.startswith(running.base) else wrong.append(r.url))
    page.goto(f"{running.base}/docs")
    yield page
    context.close()
    assert [w for w in wrong if "ERR_FAILED" not in w] == []


def sent(page: Page, operation: str, **fields: str) -> Any:
    """The outcome of a call sent from an operation's form."""
    part = page.locator(f"#op-{operation} .trying")
    if part.get_attribute("open") is None:
        part.locator("summary").click()
    for name, value in fields.items():
        part.locator(f"[name={name}]").fill(value)
    part.locator("[type=submit]").click()
    outcome = part.locator(".outcome")
    expect(outcome.locator(".answered")).to_be_visible()
    return outcome


def test_the_demos_key_answers_a_first_call_and_its_headers_are_explained(reader: Page, running: Demo) -> None:
    reader.click("#try-demo")
    outcome = sent(reader, "getProduct", sku=SKU)
    expect(outcome.locator(".answered")).to_contain_text("200 OK")
    assert json.loads(outcome.locator("pre").last.inner_text())["sku"] == SKU
    quota = outcome.locator("tr", has=reader.locator("th", has_text=re.compile("^ratelimit$")))
    expect(quota).to_contain_text("what is left")
    curl = outcome.locator("pre").first.inner_text()
    assert f"{running.base}/products/{SKU}" in curl
    assert 'Authorization: Bearer $KEY"' in curl
    assert running.keys["web"] not in reader.locator("main").inner_text()


def test_an_order_sent_twice_under_one_key_is_replayed(reader: Page) -> None:
    reader.click("#try-demo")
    expect(sent(reader, "createOrder").locator(".answered")).to_contain_text("201")
    first = reader.locator("#op-createOrder .outcome pre").last.inner_text()
    again = sent(reader, "createOrder").locator("tr", has_text="idempotency-replayed")
    expect(again).to_be_visible()
    assert reader.locator("#op-createOrder .outcome pre").last.inner_text() == first


def test_a_problem_leads_to_its_page(reader: Page) -> None:
    reader.click("#try-demo")
    outcome = sent(reader, "getProduct", sku="4711")
    expect(outcome.locator(".answered")).to_contain_text("404")
    outcome.get_by_text("what not_found means").click()
    expect(reader.locator("h1")).to_have_text("There is nothing here")


def test_a_key_is_asked_for_and_lives_in_its_field_only(reader: Page, running: Demo) -> None:
    asked: list[str] = []
    reader.on("request", lambda r: asked.append(r.url))
    reader.locator("#op-listLocations .trying summary").click()
    reader.locator("#op-listLocations [type=submit]").click()
    expect(reader.locator("#op-listLocations .outcome")).to_contain_text("Give a key first")
    for no_key in ("tg_…", "tg_a b"):
        reader.fill("#try-key", no_key)
        reader.locator("#op-listLocations [type=submit]").click()
        expect(reader.locator("#op-listLocations .outcome")).to_contain_text("This is no key")
    assert not [url for url in asked if "/locations" in url]
    expect(reader.locator("[data-origin]")).to_have_text(running.base)
    key = running.keys["web"]
    reader.fill("#try-key", key)
    reader.locator("#try-key").press("Enter")
    sent(reader, "listLocations")
    assert not [url for url in asked if key in url]
    assert reader.evaluate("[localStorage.length, sessionStorage.length, document.cookie, location.href]") == [
        0,
        0,
        "",
        f"{running.base}/docs",
    ]
    reader.goto(f"{running.base}/problems/not_found")
    reader.go_back()
    expect(reader.locator("#try-key")).to_have_value("")


def test_when_nobody_answers_the_page_says_so_and_what_to_do_with_a_write(reader: Page) -> None:
    def lost(route: Route) -> None:
        route.abort()

    reader.route("**/orders", lost)
    reader.click("#try-demo")
    outcome = sent(reader, "createOrder")
    expect(outcome.locator(".answered")).to_contain_text("Send it again with the same Idempotency-Key")


def test_the_reference_reads_without_scripts(running: Demo, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{running.base}/docs")
    expect(page.get_by_text("Trying from this page needs JavaScript")).to_be_visible()
    expect(page.locator("#try-key")).to_be_hidden()
    expect(page.locator("#op-createOrder pre").first).to_contain_text("curl -i -X POST")
    context.close()
