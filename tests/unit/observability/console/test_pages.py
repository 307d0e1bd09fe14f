from __future__ import annotations

from html.parser import HTMLParser

import pytest

from observability.cells import Cells, RouteKey
from observability.console.data import routes_of
from observability.console.pages import CONTENT_SECURITY_POLICY, _duration, _percent, _size, asset
from tests.unit.observability.console.sample import pages

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(1)>{{ 733*991 }}'`</title>"
VOID = {"meta", "link", "br", "input", "img"}


class Checked(HTMLParser):
    """Balanced tags, ids used once, nothing inline, every local anchor has its target."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.anchors: list[str] = []
        self.trouble: list[str] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name == "style" or name.startswith("on") or (value or "").lower().lstrip().startswith("javascript:"):
                self.trouble.append(f"{tag} {name}={value}")
            if name == "href" and value and value.startswith("#"):
                self.anchors.append(value[1:])
        if tag == "script" and dict(attrs).get("type") != "module":
            self.trouble.append("inline or classic script")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.trouble.append(f"</{tag}> closes nothing")


@pytest.mark.parametrize("name", sorted(pages()))
def test_every_page_is_well_formed_and_has_nothing_inline(name: str) -> None:
    found = Checked(pages()[name])
    assert found.trouble == []
    assert found.open == []
    assert len(found.ids) == len(set(found.ids))
    assert set(found.anchors) <= set(found.ids)
    assert found.tags.count("h1") == 1


@pytest.mark.parametrize("name", sorted(pages()))
def test_hostile_text_is_shown_and_never_becomes_markup(name: str) -> None:
    page = pages(HOSTILE)[name]
    found = Checked(page)
    assert found.trouble == []
    assert found.tags.count("script") == 1
    assert "img" not in found.tags
    assert "<script>alert" not in page
    assert str(733 * 991) not in page


def test_empty_pages_say_what_would_appear_and_how() -> None:
    shown = pages()
    for name, words in {
        "systems-empty": "estate.toml",
        "flights-empty": "curl",
        "flights-none-match": "Loosen the filter",
        "files-empty": "drop folder",
        "files-none-match": "No file of this kind",
        "records-empty": "Nothing waits for a person",
        "orders-empty": "appears here",
        "clients-empty": "tillgate client add",
        "client-suspended": "tillgate client rotate",
        "audit-empty": "Every change",
        "audit-none-match": "Nothing of erp is in the log",
    }.items():
        assert words in shown[name]


def test_who_may_only_read_is_offered_no_change() -> None:
    shown = pages()
    assert 'action="/console/clients/erp/suspend"' in shown["client"]
    assert "Every key, token and certificate of erp" in shown["client"]
    assert shown["client"].count("/keys/erp/end") == 2, "a key that has ended cannot end"
    assert 'action="/console/clients/erp/resume"' in shown["client-suspended"]
    assert shown["client-reader"].count("<form") == 1, "signing out"
    for page in ("file-reader", "record-reader"):
        assert shown[page].count('method="post"') == 1, page
    assert {a for a in ("retry", "give-up") if f'action="/console/files/erp/{a}"' in shown["file-refused"]} == {"retry", "give-up"}
    for action in ("edit", "restore", "book", "dismiss"):
        assert f'action="/console/records/17/{action}"' in shown["record"]
    assert 'records/17/book"' not in shown["record-refused"] + shown["record-conflict"], "there is nothing to book"
    assert 'method="post" action="/console/records' not in shown["record-decided"]


def test_a_file_that_is_read_shows_how_far_and_how_fast() -> None:
    page = pages()["file-read"]
    assert 'aria-label="42 % read"' in page
    assert 'width="42.0%"' in page
    assert "234 transactions a second" in page
    assert "Take it from its worker" in page


def test_every_form_that_changes_something_carries_the_token_of_its_session() -> None:
    for name, page in pages().items():
        posts = page.split('method="post"')[1:]
        assert all('name="csrf" value="cccc' in post.partition("</form>")[0] for post in posts), name


def test_the_waterfall_tells_a_failed_attempt_apart_in_words_too() -> None:
    page = pages()["flight"]
    assert "attempt, failure, from" in page
    assert 'title="attempt 2"' in page
    assert "timeout.read" in page


def test_assets_are_known_by_name_only_and_named_by_content() -> None:
    style = asset("console.css")
    assert style is not None
    assert style.media_type == "text/css"
    assert f"/console/static/console.css?{style.etag[1:-1]}" in pages()["error"]
    for name in ("../pages.py", "..%2fpages.py", "", "base.html", "/etc/passwd"):
        assert asset(name) is None
    assert "unsafe" not in CONTENT_SECURITY_POLICY


def test_routes_of_two_snapshots_are_the_difference_with_the_troubled_first() -> None:
    before, now = Cells(), Cells()
    for cells, good, bad in ((before, 5, 1), (now, 25, 4)):
        cells.route(RouteKey("web", "GET /good", "v")).n = good
        cell = cells.route(RouteKey("web", "GET /bad", "v"))
        cell.n, cell.failures[0] = good, bad
    rows = routes_of(now, before)
    assert [(r.route, r.calls, r.failed) for r in rows] == [("GET /bad", 20, 3), ("GET /good", 20, 0)]
    assert routes_of(now, now) == []


def test_numbers_are_written_for_people() -> None:
    assert [_duration(ms) for ms in (0.03, 12.44, 99.97, 640, 1250, 200_000, 7_300_000)] == [
        "30 µs",
        "12.4 ms",
        "100 ms",
        "640 ms",
        "1.25 s",
        "3 min 20 s",
        "2 h 1 min",
    ]
    assert [_percent(x) for x in (0, 0.0004, 0.083, 0.31, 1)] == ["0 %", "<0.1 %", "8.3 %", "31 %", "100 %"]
    assert [_size(x) for x in (0, 999, 48_213, 3_000_000, 2_500_000_000)] == ["0 B", "999 B", "48.2 kB", "3 MB", "2.5 GB"]
