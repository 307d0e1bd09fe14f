"""What is published is never broken unseen: the command says what breaks, for which version, and who uses it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from contracts.books import Client, Used
from contracts.versions import HISTORY
from gateway.bootstrap import open_books
from gateway.cli import main, publishing
from tests.products import ROOT

NEWEST, MIDDLE, OLDEST = (v.date for v in HISTORY.versions)
GENERATED = publishing.generated("Retail API")


def test_the_code_breaks_no_published_version() -> None:
    found = publishing.broken(ROOT, GENERATED)
    assert not found, "\n".join(["this breaks published versions (docs/versions.md says how to change them):", *map(str, found)])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What was published before; `edit` makes it promise something else than the code does."""
    for path, content in GENERATED.items():
        if path.startswith("contracts/published/"):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content)
    return tmp_path


def edit(checkout: Path, name: str, change: Callable[[dict[str, Any]], object]) -> Path:
    path = checkout / f"contracts/published/{name}.json"
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))
    return path


def availability(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"]["Availability"]
    return found


def promise(document: dict[str, Any]) -> None:
    """A field of an answer that the code does not give."""
    availability(document)["properties"]["aisle"] = {"type": "string"}


def run(capsys: pytest.CaptureFixture[str], data: Path, *arguments: str) -> tuple[int, str, str]:
    code = 0
    try:
        main(["--estate", str(ROOT), "--data", str(data), "publish", *arguments])
    except SystemExit as exc:
        code = int(exc.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


async def used(data: Path) -> None:
    now = datetime.now(UTC)
    async with open_books(ROOT, data, {}) as books:
        for name, route in (("shop", "GET /inventory"), ("app", "GET /inventory"), ("kiosk", "GET /products")):
            await books.clients.put(Client(name=name, channel="web", scopes=(), api_version=OLDEST))
            await books.usage.add(now.date(), [Used(version=OLDEST, client=name, channel="web", route=route, times=2, seen_at=now)])
        field = Used(version=OLDEST, client="app", channel="web", route="GET /inventory", field="query:store", times=1, seen_at=now)
        await books.usage.add(now.date(), [field])


@pytest.mark.parametrize("only_check", [True, False])
def test_a_break_is_red_and_says_what_broke_and_writes_nothing(
    only_check: bool, checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = edit(checkout, f"openapi-{MIDDLE}", promise)
    before = path.read_bytes()
    code, out, err = run(capsys, tmp_path / "none", "--into", str(checkout), *(["--check"] if only_check else []))
    assert code == 1
    assert f"clients of {MIDDLE}: GET /inventory: answer 200: /items/*/aisle is gone\n" in err
    assert "contracts/versions/history.py (docs/versions.md)" in err
    assert f"stale: contracts/published/openapi-{MIDDLE}.json" in out
    assert path.read_bytes() == before
    assert not (tmp_path / "none").exists()


def test_who_is_hit_is_counted_where_the_books_are_at_hand(checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(used(tmp_path / "data"))
    edit(checkout, f"openapi-{OLDEST}", promise)
    edit(checkout, f"openapi-{MIDDLE}", promise)
    _, _, err = run(capsys, tmp_path / "data", "--check", "--into", str(checkout))
    assert "/items/*/aisle is gone; 2 of 3 called it in the last 30 days: app, shop\n" in err
    assert f"clients of {MIDDLE}: GET /inventory: answer 200: /items/*/aisle is gone; 0 of 0 called it in the last 30 days\n" in err


def test_who_used_the_very_field_is_told_where_it_was_counted(checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def stricter(document: dict[str, Any]) -> None:
        next(p for p in document["paths"]["/inventory"]["get"]["parameters"] if p["name"] == "store")["required"] = False

    asyncio.run(used(tmp_path / "data"))
    edit(checkout, f"openapi-{OLDEST}", stricter)
    _, _, err = run(capsys, tmp_path / "data", "--check", "--into", str(checkout))
    assert f"clients of {OLDEST}: GET /inventory: query parameter store must be sent; 1 of 3 used it in the last 30 days: app\n" in err


def test_a_break_that_hits_nobody_yet_is_written_when_told_so(checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = edit(checkout, f"openapi-{NEWEST}", promise)
    code, out, err = run(capsys, tmp_path, "--into", str(checkout), "--breaking")
    assert (code, err) == (0, "")
    assert f"written: contracts/published/openapi-{NEWEST}.json" in out
    assert b"aisle" not in path.read_bytes()
    assert run(capsys, tmp_path, "--into", str(checkout), "--check") == (0, "", "")


def test_what_is_only_added_is_stale(checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(checkout, f"openapi-{MIDDLE}", lambda d: availability(d)["properties"].pop("safetyStock"))
    code, out, err = run(capsys, tmp_path, "--into", str(checkout), "--check")
    assert code == 1
    assert f"stale: contracts/published/openapi-{MIDDLE}.json\n" in out
    assert err == "write them anew: ./run publish\n"
    assert run(capsys, tmp_path, "--into", str(checkout))[0] == 0
    assert run(capsys, tmp_path, "--into", str(checkout), "--check") == (0, "", "")


def test_events_are_promised_as_well(checkout: Path) -> None:
    edit(checkout, f"asyncapi-{MIDDLE}", lambda d: d["components"]["schemas"]["InventoryChange"]["properties"].update(x={"type": "string"}))
    assert [(v, str(b)) for v, b in publishing.broken(checkout, GENERATED)] == [
        (MIDDLE, "io.tillgate.inventory.changed.v1: /data/x is gone")
    ]


@pytest.mark.parametrize(("sunset", "red"), [(None, True), ("2199-01-01", True), ("2025-01-01", False)])
def test_a_version_goes_after_its_sunset_only(sunset: str | None, red: bool, checkout: Path) -> None:
    info = {"version": "2020-01-01"} | ({"x-sunset": sunset} if sunset else {})
    (checkout / "contracts/published/openapi-2020-01-01.json").write_text(json.dumps({"info": info}))
    assert [str(b) for _, b in publishing.broken(checkout, GENERATED)] == (["openapi: is gone before its sunset"] if red else [])
