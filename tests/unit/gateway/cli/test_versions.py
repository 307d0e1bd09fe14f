"""Who speaks which version and who blocks its end: from the books, by command."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.books import Client, Used
from contracts.versions import HISTORY
from gateway.bootstrap import open_books
from gateway.cli import main
from gateway.edge.usage import SELECTED
from tests.products import ROOT

NEWEST, MIDDLE, OLDEST = (v.date for v in HISTORY.versions)
NOW = datetime.now(UTC)
INVENTORY, ORDERS, PRODUCTS = "GET /inventory", "POST /orders", "GET /products"


def client(name: str, version: str, *, suspended: bool = False) -> Client:
    return Client(name=name, channel="web", scopes=(), api_version=version, suspended=suspended)


def used(name: str, version: str, route: str, times: int, field: str = "") -> Used:
    return Used(version=version, client=name, channel="web", route=route, field=field, times=times, seen_at=NOW)


async def written(data: Path) -> None:
    async with open_books(ROOT, data, {}) as books:
        for one in (
            client("shop", OLDEST),
            client("kiosk", OLDEST),
            client("asks", MIDDLE),
            client("asleep", OLDEST),
            client("stopped", OLDEST, suspended=True),
            client("modern", NEWEST),
        ):
            await books.clients.put(one)
        await books.usage.add(
            NOW.date(),
            [
                used("shop", OLDEST, INVENTORY, 1200),
                used("shop", OLDEST, INVENTORY, 1150, "query:store"),
                used("shop", OLDEST, ORDERS, 7),
                used("shop", OLDEST, ORDERS, 5, "body:/lines/*/unitPrice"),
                used("kiosk", OLDEST, PRODUCTS, 10),
                used("asks", OLDEST, INVENTORY, 3),
                used("asks", OLDEST, INVENTORY, 3, SELECTED),
                used("asks", OLDEST, INVENTORY, 1, "answer:/items/*/storeId"),
                used("stopped", OLDEST, PRODUCTS, 4),
                used("gone", OLDEST, PRODUCTS, 2),
                used("modern", NEWEST, INVENTORY, 99),
            ],
        )
        await books.usage.add((NOW - timedelta(days=40)).date(), [used("asleep", OLDEST, PRODUCTS, 1)])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    asyncio.run(written(tmp_path))
    return tmp_path


def run(data: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = 0
    try:
        main(["--estate", str(ROOT), "--data", str(data), "versions", *arguments])
    except SystemExit as exc:
        code = int(exc.code or 0)
    return code, capsys.readouterr().out


def test_versions_are_shown_with_who_speaks_them_and_what_they_use(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(data, capsys)
    assert code == 0
    newest, middle, oldest = text.split("\n\n")
    assert newest.startswith(f"{NEWEST}  current  99 requests of 1 client\n  modern ")
    assert middle == f"{MIDDLE}  supported  0 requests of 0 clients\n  pinned and not seen: asks\n" + "\n".join(
        (
            f"  {NEWEST} MoneyInTheSmallestUnit: nobody uses what it touched",
            f"  {NEWEST} EachMistakeIsAProblemOfItsOwn: nobody uses what it touched",
            f"  nobody blocks the end of {MIDDLE}",
        )
    )
    for line in (
        f"{OLDEST}  deprecated since 2026-10-01, switched off on 2027-09-30  1,226 requests of 5 clients",
        f"query:store on GET /inventory: 1,150, last {NOW:%Y-%m-%d}  (StockLivesAtLocations)",
        f"answer:/items/*/storeId on GET /inventory: 1,200, last {NOW:%Y-%m-%d}  (StockLivesAtLocations)",
        f"body:/lines/*/unitPrice on POST /orders: 5, last {NOW:%Y-%m-%d}  (MoneyInTheSmallestUnit)",
        f"asks it, pinned to {MIDDLE}".replace("asks it", "asks for it"),
        "no client any more",
        "pinned, suspended",
        "pinned and not seen: asleep",
        f"{MIDDLE} StockLivesAtLocations: shop, asks",
        f"{NEWEST} MoneyInTheSmallestUnit: shop",
        "3 clients block the end of 2025-09-01 on 2027-09-30",
    ):
        assert line in oldest, line


def test_who_names_the_fields_it_wants_uses_only_those(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, text = run(data, capsys, "--json")
    oldest: dict[str, Any] = json.loads(text)["items"][2]
    uses = {(c["client"], u["field"]): u["times"] for c in oldest["clients"] for u in c.get("uses", ())}
    assert uses["asks", "answer:/items/*/storeId"] == 1
    assert uses["shop", "answer:/items/*/storeId"] == 1200


@pytest.mark.parametrize(("since", "asleep"), [("60d", True), ("30d", False), ("1h", False)])
def test_only_what_was_seen_in_the_time_counts(since: str, asleep: bool, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, text = run(data, capsys, "--since", since, "--json")
    oldest = json.loads(text)["items"][2]
    assert ("asleep" in [c["client"] for c in oldest["clients"]]) is asleep
    assert ("asleep" in oldest.get("pinnedUnseen", [])) is not asleep


def test_blockers_are_told_with_what_each_has_to_change(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(data, capsys, "blockers", OLDEST)
    assert code == 1
    assert text.splitlines()[0] == "3 clients block the end of 2025-09-01 on 2027-09-30"
    for line in (
        "  shop (web): 1,207 requests",
        "    uses query:store on GET /inventory (StockLivesAtLocations)",
        f"    uses nothing that changed since: tillgate client pin kiosk {NEWEST}",
        "  pinned to it and not seen: asleep",
    ):
        assert line in text, line
    assert "stopped" not in text
    assert "gone" not in text


def test_a_version_that_nobody_speaks_can_go(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data, capsys, "blockers", MIDDLE) == (0, f"nobody blocks the end of {MIDDLE}\n  pinned to it and not seen: asks\n")
    assert run(data, capsys, "blockers", MIDDLE, "--json")[1] == "[]\n"


@pytest.mark.parametrize(
    "arguments", [("blockers", NEWEST), ("blockers", "2025-09-02"), ("--since", "soon"), ("--since", "500d"), ("--since", "0s")]
)
def test_a_wrong_word_is_no_verdict(arguments: tuple[str, ...], data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data, capsys, *arguments)[0] == 2
