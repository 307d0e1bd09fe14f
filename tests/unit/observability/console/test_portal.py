import json
import re
import shlex
import threading
from collections.abc import Iterator
from datetime import date
from functools import cache
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import pytest
from playwright.async_api import async_playwright

from contracts.versions.history import HISTORY
from gateway.api import ENDPOINTS
from gateway.edge import openapi, problems, reading
from observability.console import pages, portal
from tests.servers import chromium

VERSIONS = [v.date for v in HISTORY.versions]
NEWEST, OLDEST = VERSIONS[0], VERSIONS[-1]
TODAY = date(2026, 11, 22)
VOID = {"meta", "link", "input", "img", "br"}
STATIC = files("observability.console").joinpath("static")


class Page(HTMLParser):
    """Reads a page strictly: every element must be closed by its own end tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.found: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.pre: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "pre":
            self.pre.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        self.text += data
        if "pre" in self.open:
            self.pre[-1] += data

    def attributes(self, name: str) -> list[str]:
        return [a[name] for _, a in self.found if name in a]


@cache
def document(version: str) -> dict[str, Any]:
    return openapi.document(ENDPOINTS, HISTORY, version, "Retail API")


@cache
def reference(version: str) -> Page:
    return Page(portal.render_reference(document(version), openapi.changelog(HISTORY), problems.catalogue(), today=TODAY))


def problem_page(code: str) -> Page:
    entry = next(p for p in problems.catalogue() if p["code"] == code)
    return Page(portal.render_problem(entry, document(NEWEST), problems.catalogue()))


def small(schemas: dict[str, Any], answer: Any, **operation: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": answer}}
    get = {"operationId": "see", "summary": "See", "responses": {"200": {"description": "Done", "content": content}}, **operation}
    return {"info": {"title": "T", "version": "1"}, "paths": {"/things": {"get": get}}, "components": {"schemas": schemas}}


def shown(page: Page, method: str = "GET") -> Any:
    """The example answer of a document with one operation."""
    return json.loads(page.pre[-1])


def test_login_form_posts_a_key_that_no_browser_stores() -> None:
    page = Page(portal.render_login())
    form = next(a for tag, a in page.found if tag == "form")
    field = next(a for tag, a in page.found if tag == "input")
    assert (form["method"], form["action"]) == ("post", "/console/login")
    assert (field["name"], field["type"], field["autocomplete"]) == ("key", "password", "off")
    assert field["id"] in page.attributes("for")
    assert "tillgate client add ops --channel store --scope admin:read" in page.text
    assert "alert" not in page.attributes("role")


def test_login_problem_is_announced_and_escaped() -> None:
    page = Page(portal.render_login("No <b>valid</b> credentials"))
    assert "No <b>valid</b> credentials" in page.text
    alert = next(a for _, a in page.found if a.get("role") == "alert")
    field = next(a for tag, a in page.found if tag == "input")
    assert alert["id"] in field["aria-describedby"].split()
    assert field["aria-invalid"] == "true"


@pytest.mark.parametrize("version", VERSIONS)
def test_reference_shows_every_operation_parameter_and_problem_of_its_version(version: str) -> None:
    page, ids = reference(version), reference(version).attributes("id")
    for path, item in document(version)["paths"].items():
        for method, operation in item.items():
            assert f"op-{operation['operationId']}" in ids
            assert f"{method.upper()} {path}" in page.html
            for parameter in operation["parameters"]:
                assert parameter["name"] in page.text
    for problem in problems.catalogue():
        assert f"problem-{problem['code']}" in ids
    for entry in openapi.changelog(HISTORY):
        assert f"/docs/{entry['version']}" in page.attributes("href")
    assert f"/openapi/{version}.json" in page.attributes("href")


@pytest.mark.parametrize("version", VERSIONS)
def test_reference_links_lead_somewhere_and_ids_are_unique(version: str) -> None:
    page = reference(version)
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert {h[1:] for h in page.attributes("href") if h.startswith("#")} <= set(ids)
    assert set(" ".join(page.attributes("aria-labelledby")).split()) <= set(ids)
    served = {urlsplit(u).path for u in (*page.attributes("src"), *page.attributes("href")) if "/static/" in u}
    assert {s.removeprefix("/console/static/") for s in served} <= {f.name for f in STATIC.iterdir()}


def test_deprecated_version_says_until_when_and_the_newest_does_not() -> None:
    assert "This version is deprecated and is switched off on 2027-09-30" in reference(OLDEST).text
    assert "This version is deprecated" not in reference(NEWEST).text
    current = next(a for _, a in reference(OLDEST).found if a.get("aria-current"))
    assert (current["href"], current["class"]) == (f"/docs/{OLDEST}", "deprecated")


@pytest.mark.parametrize("version", VERSIONS)
def test_curl_lines_pass_the_gateways_own_reading(version: str) -> None:
    """Path, query and body of each are decoded as the door would."""
    calls = {c.split("\n")[0].split('"')[1] + c.split('"')[0]: c for c in reference(version).pre if c.startswith("curl")}
    seen = 0
    for call in calls.values():
        words = shlex.split(call.replace("\\\n", " "))
        method = words[words.index("-X") + 1] if "-X" in words else "GET"
        url = urlsplit(next(w for w in words if w.startswith("$URL"))[4:])
        endpoint, values = next(
            (e, m.groupdict())
            for e in ENDPOINTS
            if e.method == method and (m := re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", e.path), url.path))
        )
        reading.path({k: unquote(v) for k, v in values.items()}, endpoint.path_parameters)
        reading.parameters(url.query.encode(), endpoint.parameters, endpoint.answer, version, HISTORY)
        if endpoint.body is not None:
            reading.body(words[words.index("-d") + 1].encode(), endpoint.body, version, HISTORY)
        assert f"API-Version: {version}" in words
        assert endpoint.idempotent_key == any(w.startswith("Idempotency-Key: ") for w in words)
        seen += 1
    assert seen == len(ENDPOINTS)


def test_example_answers_are_values_of_their_types() -> None:
    page = Page(portal.render_reference(document(NEWEST), [], problems.catalogue()))
    examples = [json.loads(p) for p in page.pre if p.startswith("{")]
    assert len(examples) == len(ENDPOINTS)
    by_path = [
        e
        for tag in dict.fromkeys(e.tag for e in ENDPOINTS)
        for path in document(NEWEST)["paths"]
        for e in ENDPOINTS
        if (e.tag, e.path) == (tag, path)
    ]
    for endpoint, example in zip(by_path, examples, strict=True):
        if endpoint.parts is not None:
            msgspec.convert(example.pop("expanded"), endpoint.parts)
        msgspec.convert(example, endpoint.answer)


def test_field_tree_opens_a_type_once_and_ends_at_itself() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/x/Node"}, "all": {"type": "array", "items": {"$ref": "#/x/Node"}}}}
    page = Page(portal.render_reference(small({"Node": node}, {"$ref": "#/x/Node"}), [], []))
    assert page.text.count("fields shown above") == 2
    assert {h for h in page.attributes("href") if h == "#op-see-out-Node"}
    assert shown(page) == {"next": {}, "all": []}


@pytest.mark.parametrize(
    "schemas",
    [
        {"A": {"$ref": "#/x/B"}, "B": {"$ref": "#/x/A"}},
        {"A": {"anyOf": [{"$ref": "#/x/A"}] * 9}},
        {"A": {"type": "array", "items": {"$ref": "#/x/A"}, "minItems": 1}},
        {"A": {"allOf": [{"$ref": "#/x/A"}]}},
        {"A": {"anyOf": [{"$ref": "#/x/B"}, {"$ref": "#/x/C"}]}}
        | {k: {"type": "object", "properties": {f"f{i}": {"$ref": "#/x/A"} for i in range(9)}} for k in "BC"},
        {
            k: {"type": "object", "required": ["f1"], "properties": {f"f{i}": {"$ref": f"#/x/{n}"} for i in range(20)}}
            for k, n in zip("ABCDEFGH", "BCDEFGHA", strict=True)
        },
        {},
    ],
    ids=["two references", "choice of itself", "list of itself", "all of itself", "choice of two", "wide and deep", "missing"],
)
def test_schemas_that_never_end_make_a_bounded_page(schemas: dict[str, Any]) -> None:
    assert len(portal.render_reference(small(schemas, {"$ref": "#/x/A"}), [], [])) < 200_000


def test_deep_nesting_without_names_is_cut() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(200):
        schema = {"type": "object", "properties": {"in": schema}, "required": ["in"]}
    assert "deeper than shown here" in Page(portal.render_reference(small({}, schema), [], [])).text


@pytest.mark.parametrize(
    ("schema", "example", "text"),
    [
        ({"type": "string", "examples": ["0017"]}, "0017", "e.g. 0017"),
        ({"type": "string", "pattern": "^[A-Z]{3}$"}, "EUR", "matches ^[A-Z]{3}$"),
        ({"type": "string", "pattern": "(?<broken"}, "of-what", "matches (?<broken"),
        ({"type": "string", "format": "date-time"}, "2026-10-01T09:30:00Z", "string, date-time"),
        ({"type": "string", "minLength": 1, "maxLength": 4}, "0017", "1 to 4 characters"),
        ({"enum": ["store", "web"]}, "store", "one of store web"),
        ({"const": 7}, 7, "one of 7"),
        ({"type": "integer", "minimum": 5, "maximum": 9}, 5, "≥ 5"),
        ({"type": "integer", "default": 900}, 900, "default 900"),
        ({"type": "boolean"}, False, "boolean"),
        ({"type": "array", "items": {"type": "string"}, "minItems": 2}, ["of-what"], "at least 2 items"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {}, "map of integer"),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, 1, "integer or string"),
        ({"$ref": "#/x/Money"}, {"amount": "5.00"}, "Money"),
    ],
)
def test_field_shows_its_type_limits_and_an_example(schema: dict[str, Any], example: object, text: str) -> None:
    money = {"type": "object", "description": 'Such as `{"amount": "5.00"}`.', "properties": {"amount": {"type": "string"}}}
    answer = {"type": "object", "properties": {"ofWhat": schema}, "required": ["ofWhat"]}
    page = Page(portal.render_reference(small({"Money": money}, answer), [], []))
    assert shown(page) == {"ofWhat": example}
    assert text in " ".join(page.text.split())


HOSTILE = "</code>`\"'><script>alert(1)</script><img src=x onerror=alert(1)>**<b>**`</pre>{{ 7 * 7 }} $(reboot) javascript:alert(1)"


def poisoned(value: Any) -> Any:
    """Every text of a document is hostile, and every key that a document chooses freely."""
    match value:
        case dict():
            kept = {"$ref", "in", "type", "required"}
            free = {"paths", "properties", "schemas"}
            return {
                k: v if k in kept else {f"{HOSTILE}{n}": poisoned(x) for n, x in v.items()} if k in free else poisoned(v)
                for k, v in value.items()
            }
        case list():
            return [poisoned(v) for v in value]
        case str():
            return f"{HOSTILE}{value}"
        case _:
            return value


def test_hostile_texts_stay_texts() -> None:
    page = Page(portal.render_reference(*(poisoned(x) for x in (document(OLDEST), openapi.changelog(HISTORY), problems.catalogue()))))
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    allowed = {tag for v in VERSIONS for tag, _ in reference(v).found}
    assert {tag for tag, _ in page.found} <= allowed | {"strong"}
    assert not {n for _, a in page.found for n in a if n.startswith("on") or n == "style"}
    assert all(h.startswith(("/", "#")) and "<" not in h for h in page.attributes("href"))
    assert all(s.startswith("/console/static/") for s in page.attributes("src"))
    calls = [c for c in page.pre if c.startswith("curl")]
    assert calls
    for call in calls:
        assert "$(reboot)" not in re.sub(r"'[^']*'", "", call.replace("'\\''", ""))  # only where a shell reads it as text
        shlex.split(call)


def test_pages_hold_nothing_that_the_content_security_policy_forbids() -> None:
    for html in (reference(NEWEST).html, portal.render_login("x"), problem_page("not_found").html):
        page = Page(html)
        assert not {"style", "iframe", "object"} & {tag for tag, _ in page.found}
        assert all(a["src"].startswith("/console/static/") for tag, a in page.found if tag == "script")
        assert re.search(r"<script[^>]*>[^<]", html) is None
        assert not page.attributes("style")


@pytest.fixture
def served() -> Iterator[str]:
    """The pages and their assets under the console's own policy, on a free port."""
    kinds = {"css": "text/css", "svg": "image/svg+xml", "js": "text/javascript"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path.startswith("/console/static/"):
                body, kind = STATIC.joinpath(path.rpartition("/")[2]).read_bytes(), kinds[path.rpartition(".")[2]]
            else:
                html = portal.render_login("No valid credentials") if path == "/console/login" else reference(OLDEST).html
                body, kind = html.encode(), "text/html; charset=utf-8"
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-security-policy", pages.CONTENT_SECURITY_POLICY)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_reference_works_in_a_browser_by_keyboard_wide_and_narrow(chromium_path: Path, served: str) -> None:
    async with async_playwright() as play:
        browser = await play.chromium.launch(executable_path=chromium_path, args=list(chromium.ARGS))
        page = await browser.new_page(viewport={"width": 1000, "height": 800})
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        await page.goto(f"{served}/docs")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to content"
        assert await page.locator(".side a", has_text="/inventory").is_visible()
        assert not await page.locator(".side summary").is_visible()
        again = page.locator(".op .again a").first
        target = page.locator(await again.get_attribute("href") or "")
        assert not await target.is_visible()
        await again.evaluate("link => link.click()")
        await target.wait_for(state="visible")
        for path in ("/docs", "/console/login"):
            for width in (1000, 360):
                await page.set_viewport_size({"width": width, "height": 800})
                await page.goto(served + path)
                assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (path, width)
        await page.goto(f"{served}/docs")
        menu = page.locator(".side summary")
        await menu.focus()
        await page.keyboard.press("Enter")
        assert await page.locator(".side a", has_text="/inventory").is_visible()
        await page.emulate_media(media="print")
        assert await target.is_visible()
        await browser.close()
    assert not complaints


def test_versions_show_what_a_change_made_of_a_type() -> None:
    page = reference(NEWEST)
    before = next(p for p in page.pre if '"amount": "12.99"' in p)
    after = page.pre[page.pre.index(before) + 1]
    assert json.loads(before) == {"amount": "12.99", "currency": "EUR"}
    assert json.loads(after) == {"centAmount": 1299, "currencyCode": "EUR", "fractionDigits": 2}
    moved = next(p for p in page.pre if "storeId" in p)
    assert set(json.loads(moved)) == {"storeId"}
    assert set(json.loads(page.pre[page.pre.index(moved) + 1])) == {"locationId"}


def test_a_version_after_its_last_day_is_shown_as_off() -> None:
    html = portal.render_reference(document(OLDEST), openapi.changelog(HISTORY), problems.catalogue(), today=date(2027, 10, 1))
    assert "This version is off since 2027-09-30: it is answered with 410" in Page(html).text
    on_its_last_day = portal.render_reference(document(OLDEST), openapi.changelog(HISTORY), problems.catalogue(), today=date(2027, 9, 30))
    assert "is switched off on 2027-09-30" in Page(on_its_last_day).text


@pytest.mark.parametrize("code", [p["code"] for p in problems.catalogue()])
def test_each_problem_has_a_page_that_says_whose_fault_it_is_and_what_to_do(code: str) -> None:
    entry = next(p for p in problems.catalogue() if p["code"] == code)
    page = problem_page(code)
    assert entry["title"] in page.text
    assert entry["advice"].replace("`", "") in page.text
    assert {"caller": "yours", "system": "a system behind", "gateway": "the gateway's"}[entry["fault"]] in page.text
    assert json.loads(page.pre[0])["type"] == entry["type"]
    ids = reference(NEWEST).attributes("id")
    assert {h.partition("#")[2] for h in page.attributes("href") if h.startswith("/docs#")} <= set(ids)


def test_every_operation_has_a_form_for_all_that_it_takes_and_no_form_has_the_key() -> None:
    page = reference(NEWEST)
    forms = [a for tag, a in page.found if tag == "form" and "data-path" in a]
    assert {(f["data-method"].lower(), f["data-path"]) for f in forms} == {
        (m, p) for p, item in document(NEWEST)["paths"].items() for m in item
    }
    assert not page.attributes("action")
    (home,) = [part for part in re.findall(r"<form.*?</form>", page.html, re.DOTALL) if "try-key" in part]
    assert 'method="dialog"' in home, "a form of that method is sent nowhere, with or without scripts"
    assert 'name="' not in home


def test_a_key_is_offered_by_a_demo_only() -> None:
    assert "data-key" not in reference(NEWEST).html
    offered = portal.render_reference(document(NEWEST), openapi.changelog(HISTORY), problems.catalogue(), demo_key='tg_"><script>')
    (button,) = [a for tag, a in Page(offered).found if "data-key" in a]
    assert button["data-key"] == 'tg_"><script>'


def test_brown_outs_stand_with_the_version_that_they_hit() -> None:
    hostile = "2026-11-24 09:00 to 09:15 UTC<script>"
    told = [{**v, "brownOuts": [hostile] if v["version"] == OLDEST else []} for v in openapi.changelog(HISTORY)]
    text = Page(portal.render_reference(document(NEWEST), told, problems.catalogue(), today=TODAY)).text
    assert text.count("answered with 503 in these minutes") == 1
    assert hostile in text
