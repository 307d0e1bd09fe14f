"""What the gateway shows to the network: its routes, verbs and fields, and that nothing in a request makes it call anybody."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest
from litestar import Litestar

from contracts.versions import HISTORY
from gateway.api import ADMIN, ENDPOINTS
from gateway.edge.identity.scopes import SCOPES
from tests.products import CUSTOMER, SKU, Live, threaded

OPEN = {"/", "/openapi/{}", "/asyncapi/{}", "/problems", "/problems/{}", "/changelog", "/docs", "/docs/{}", "/health/live", "/health/ready"}
"""For everybody; they hold nothing of a retailer's data."""
BEHIND_A_KEY = {"/metrics"}
CONSOLE = "/console"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with threaded(tmp_path_factory.mktemp("surface")) as found:
        yield found


@pytest.fixture(scope="module")
def http(live: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.base, timeout=30) as client:
        yield client


def routes(live: Live) -> dict[str, set[str]]:
    """Path, its parameters as `{}` -> methods, as the web framework serves them."""
    app: Any = live.product.current.app
    while not isinstance(app, Litestar):
        app = app._app
    return {
        "/".join("{}" if part.startswith("{") else part for part in route.path_format.split("/")): set(route.methods) - {"OPTIONS"}
        for route in app.routes
    }


def shape(path: str) -> str:
    return "/".join("{}" if part.startswith("{") else part for part in path.split("/"))


def test_every_route_is_published_or_listed_here(live: Live, root: Path) -> None:
    published: dict[str, set[str]] = {}
    for file in (root / "contracts/published").glob("openapi-*.json"):
        for path, item in json.loads(file.read_bytes())["paths"].items():
            published.setdefault(shape(path), set()).update(m.upper() for m in item)
    for endpoint in ADMIN:
        published.setdefault(shape(endpoint.path), set()).add(endpoint.method)
    served = routes(live)
    console = {path for path in served if path == CONSOLE or path.startswith(f"{CONSOLE}/")}
    assert served.keys() == published.keys() | OPEN | BEHIND_A_KEY | console
    for path, methods in published.items():
        assert served[path] - {"HEAD"} == methods, path


def test_every_version_that_is_answered_is_published_and_each_old_one_has_its_last_day(live: Live, http: httpx.Client, root: Path) -> None:
    files = {f.stem.removeprefix("openapi-") for f in (root / "contracts/published").glob("openapi-2*.json")}
    assert files == set(HISTORY.by_date)
    assert all(v.sunset for v in HISTORY.versions if v.deprecated)
    for version in (*files, "2020-01-01"):
        answer = http.get("/locations", headers={**live.auth(), "API-Version": version})
        assert answer.status_code == (200 if version in files else 400), version


def test_nothing_but_the_listed_documents_is_answered_without_credentials(live: Live, http: httpx.Client) -> None:
    for path, methods in routes(live).items():
        for method in methods - {"HEAD"}:
            answer = http.request(method, path.format(*["x"] * path.count("{}")), json={} if method != "GET" else None)
            if path in OPEN:
                assert answer.status_code in (200, 303, 404), path
            elif path == CONSOLE or path.startswith(f"{CONSOLE}/"):
                sent_to_sign_in = answer.headers.get("location", "").partition("?")[0] == "/console/login"
                assert sent_to_sign_in or answer.status_code in (401, 403, 404) or path == "/console/login", path
            else:
                assert answer.status_code == 401, (method, path)
                assert answer.json()["code"] == "unauthenticated"


def test_pages_of_frameworks_and_well_known_probes_are_not_there(live: Live, http: httpx.Client) -> None:
    for path in (
        "/schema",
        "/schema/openapi.json",
        "/schema/swagger",
        "/.env",
        "/.git/config",
        "/debug",
        "/server-status",
        "/actuator",
        "/graphql",
    ):
        assert http.get(path).status_code == 404, path
    for path in ("/%2e%2e/estate.toml", "/docs/..%2f..%2festate.toml", "/console/static/..%2fportal.py", "/openapi/..%2fproblems.json"):
        assert http.get(path).status_code == 404, path


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PUT", "PATCH", "DELETE", "PROPFIND"])
def test_a_verb_that_is_not_offered_is_405_and_says_which_are(method: str, live: Live) -> None:
    with socket.create_connection(("127.0.0.1", int(live.base.rpartition(":")[2])), timeout=10) as speaking:
        key = live.keys["web"]
        speaking.sendall(f"{method} /orders HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
        with speaking.makefile("rb") as hearing:
            head = hearing.read().decode("latin-1")
    assert head.split()[1] in ("405", "400"), head
    assert key not in head, "TRACE would send it back"
    if "405" in head:
        assert "allow: " in head.lower()


def test_no_other_origin_may_read_answers_or_send_credentials(live: Live, http: httpx.Client) -> None:
    for path in ("/orders", "/products", "/docs", "/console/login", "/health/live"):
        elsewhere = {
            "Origin": "https://elsewhere.example",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization",
        }
        for method in ("GET", "OPTIONS"):
            answer = http.request(method, path, headers={**elsewhere, **live.auth()})
            assert not [name for name in answer.headers if name.startswith("access-control-")], (method, path)


def test_each_answer_is_guarded_by_fields_and_tells_nothing_of_what_serves_it(live: Live, http: httpx.Client) -> None:
    for path, auth in (
        ("/products/" + SKU, True),
        ("/products/4711", True),
        ("/orders", False),
        ("/nowhere", False),
        ("/docs", False),
        ("/health/live", False),
    ):
        answer = http.get(path, headers=live.auth() if auth else {})
        assert answer.headers["x-content-type-options"] == "nosniff", path
        assert answer.headers["referrer-policy"] == "no-referrer", path
        assert not {"server", "x-powered-by", "via"} & set(answer.headers), path
    for path in (f"/customers/{CUSTOMER}", "/orders", "/sales?location=0001&businessDate=2026-03-11"):
        answer = http.get(path, headers=live.auth())
        assert answer.status_code == 200, path
        assert "no-store" in answer.headers["cache-control"], path
        assert "public" not in answer.headers["cache-control"], path


def test_no_route_lacks_a_declared_scope_and_admin_routes_have_admin_scopes() -> None:
    assert {e.scope for e in ENDPOINTS} <= {s for s in SCOPES if not s.startswith("admin:")}
    assert {e.scope for e in ADMIN} <= {s for s in SCOPES if s.startswith("admin:")}


def test_no_text_of_a_request_makes_the_gateway_call_an_address(live: Live, http: httpx.Client, root: Path) -> None:
    """Every text that a contract lets a caller send becomes an address that listens; nobody comes."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        address = f"http://127.0.0.1:{trap.getsockname()[1]}/latest/meta-data"
        document = json.loads((root / f"contracts/published/openapi-{HISTORY.newest.date}.json").read_bytes())
        fields = {
            **live.auth(), "Content-Type": "application/json", "Referer": address, "Origin": address, "X-Original-URL": address,
            "X-Forwarded-Host": address.split("//")[1], "Forwarded": f"host={address}", "WebHook-Request-Callback": address,
            "Link": f'<{address}>; rel="next"',
        }  # fmt: skip
        sent = 0
        for path, item in document["paths"].items():
            for method, operation in item.items():
                example = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example", {})
                bodies = [*_with(example, address), address] if "requestBody" in operation else [None]
                query = {p["name"]: address for p in operation["parameters"] if p["in"] == "query"}
                where = re.sub(r"\{\w+\}", quote(address, safe=""), path)
                for body in bodies:
                    fields["Idempotency-Key"] = f"trap-{sent}"
                    content = None if body is None else msgspec.json.encode(body)
                    answer = http.request(method, where, params=query, content=content, headers=fields)
                    sent += 1
                    assert answer.status_code < 500, (method, where, answer.text)
                    assert not answer.headers.get("location", "/").startswith("http"), "an address that a caller named comes back"
        assert sent > len(ENDPOINTS)
        with pytest.raises(BlockingIOError):
            trap.accept()


def _with(example: Any, text: str) -> list[Any]:
    """The example, with each of its texts replaced in turn."""
    found: list[Any] = []

    def walk(value: Any, rebuilt: Any) -> None:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
            if isinstance(inner, str):
                copy = json.loads(json.dumps(example))
                target = copy
                for step in rebuilt:
                    target = target[step]
                target[key] = text
                found.append(copy)
            else:
                walk(inner, [*rebuilt, key])

    walk(example, [])
    return found


def test_what_the_gateway_decides_cannot_be_set_by_a_caller(live: Live, http: httpx.Client, root: Path) -> None:
    """Every member of an answer that its request does not have is refused by name, and so is one that nobody knows."""
    document = json.loads((root / f"contracts/published/openapi-{HISTORY.newest.date}.json").read_bytes())
    schemas = document["components"]["schemas"]
    tried = 0
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if "requestBody" not in operation:
                continue
            content = operation["requestBody"]["content"]["application/json"]
            draft = schemas[content["schema"]["$ref"].rpartition("/")[2]]
            answered = next(r for status, r in operation["responses"].items() if status[0] == "2")["content"]["application/json"]["schema"]
            for member in {*schemas[answered["$ref"].rpartition("/")[2]]["properties"], "isAdmin"} - draft["properties"].keys():
                tried += 1
                answer = http.request(
                    method, re.sub(r"\{\w+\}", "x-1", path), json={**content.get("example", {}), member: "x"},
                    headers={**live.auth(), "Idempotency-Key": f"set-{tried}"},
                )  # fmt: skip
                assert answer.status_code == 422, (path, member, answer.text)
                assert member in answer.json()["detail"], (path, member)
    assert tried > 20


@pytest.mark.parametrize(
    ("path", "version", "pointer"),
    [
        ("/prices?sku=10000001&location=0", "2026-10-01", "query:location"),
        ("/inventory?sku=10000001&location=0", "2026-10-01", "query:location"),
        ("/inventory?sku=10000001&store=0", "2025-09-01", "query:store"),
        ("/products?sku=10000001&sku=a%3D", "2026-10-01", "query:sku"),
        ("/products/a%3D", "2026-10-01", "path:sku"),
        ("/customers/a_b", "2026-10-01", "path:number"),
    ],
)
def test_what_a_system_cannot_take_points_to_the_parameter_that_the_caller_sent(
    path: str, version: str, pointer: str, live: Live, http: httpx.Client
) -> None:
    answer = http.get(path, headers={**live.auth(), "API-Version": version})
    assert (answer.status_code, [e["pointer"] for e in answer.json()["errors"]]) == (422, [pointer])


@pytest.mark.parametrize("day", ["2026-13-45", "2026-02-29", "0000-01-01", "\u0662\u0660\u0662\u0666-01-01"])
def test_sales_of_a_day_that_no_calendar_has_are_refused_with_the_place(day: str, live: Live, http: httpx.Client) -> None:
    answer = http.get("/sales", params={"location": "0001", "businessDate": day}, headers=live.auth())
    assert (answer.status_code, [e["pointer"] for e in answer.json()["errors"]]) == (400, ["query:businessDate"])
