"""The pages in a real Chromium, under the policy they are sent with."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page, sync_playwright

from observability.console.pages import CONTENT_SECURITY_POLICY, asset, render_map
from tests.unit.observability.console.sample import pages
from tests.unit.observability.console.troubles import SIGNED_IN, estate, incident

pytestmark = pytest.mark.browser


class Site:
    def __init__(self) -> None:
        self.pages = pages()
        self.broken = False
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, name = self.path.partition("?")[0], self.path.partition("?")[0].rpartition("/")[2]
                found = asset(name) if path.startswith("/console/static/") else None
                body = found.body if found else site.pages.get(name, "").encode()
                self.send_response(503 if site.broken else 200)
                self.send_header("content-type", found.media_type if found else "text/html; charset=utf-8")
                self.send_header("content-security-policy", CONTENT_SECURITY_POLICY)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/console/"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    it = Site()
    thread = threading.Thread(target=it.server.serve_forever, args=(0.05,))
    thread.start()
    yield it
    it.server.shutdown()
    thread.join()
    it.server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium, "these tests need Chromium: apt-get install --no-install-recommends chromium"
    with sync_playwright() as playwright:
        it = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield it
        it.close()


def opened(browser: Browser, site: Site, name: str, **options: Any) -> tuple[Page, list[str]]:
    page = browser.new_page(**options)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(site.url + name)
    return page, complaints


def test_every_page_fits_its_window_and_breaks_no_policy(browser: Browser, site: Site) -> None:
    page, complaints = opened(browser, site, "systems")
    for name in site.pages:
        page.goto(site.url + name)
        for width in (1280, 1000, 390):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width)
        assert page.evaluate("getComputedStyle(document.querySelector('.top')).position") == "sticky", "the style sheet is applied"
        assert complaints == [], name
    page.close()


def test_dark_and_light_follow_the_reader(browser: Browser, site: Site) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        page, _ = opened(browser, site, "systems", color_scheme=scheme)
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.close()
    assert len(grounds) == 2


def test_parts_refresh_in_place_keep_the_focus_and_say_when_they_are_not_fresh(browser: Browser, site: Site) -> None:
    page = browser.new_page()
    page.clock.install()
    page.goto(site.url + "flights")
    page.focus("#flights tbody a")
    site.pages["flights"] = site.pages["flights"].replace("timeout.read", "connect.reset")
    page.clock.run_for(4_100)
    page.wait_for_selector("#flights >> text=connect.reset")
    assert page.evaluate("document.activeElement.closest('#flights tbody') !== null")
    site.broken = True
    page.clock.run_for(4_100)
    page.wait_for_selector("#freshness.trouble >> text=the gateway answered 503")
    site.broken = False
    page.clock.run_for(4_100)
    page.wait_for_selector("#freshness:not(.trouble)")
    page.click("#pause")
    assert page.get_attribute("#pause", "aria-pressed") == "true"
    page.close()


def test_what_breaks_meanwhile_is_said_in_the_head_of_a_page_that_is_otherwise_still(browser: Browser, site: Site) -> None:
    site.pages["still"] = render_map(estate(), viewer=SIGNED_IN)
    page = browser.new_page()
    page.clock.install()
    page.goto(site.url + "still")
    assert page.inner_text("#broken") == ""
    site.pages["still"] = render_map(estate(), viewer=replace(SIGNED_IN, open=(incident(),)))
    page.clock.run_for(16_100)
    page.wait_for_selector("#broken >> text=open incident")
    assert page.title().startswith("(1) ")
    page.focus("#broken a")
    page.keyboard.press("Enter")
    page.wait_for_url("**/console/incidents/INC-20260311-0007")
    page.close()
    del site.pages["still"]


def test_a_bar_leads_to_its_details_by_keyboard(browser: Browser, site: Site) -> None:
    page, _ = opened(browser, site, "flight")
    page.focus(".fall .row:nth-of-type(3) a")
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('tr:target th').textContent").startswith("erp")
    page.close()
