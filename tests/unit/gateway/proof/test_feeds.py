"""Feeds that are declared badly, and books that keep badly, do not hold their cases."""

from collections.abc import Callable
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from adapters.files.driver import FileContract
from contracts.books import Books
from gateway.bootstrap import Checked, types
from gateway.bootstrap.proving import books
from gateway.proof.feeds import CASES, FileLab
from gateway.proof.run import Result, prove
from mappings.language import load

pytestmark = pytest.mark.slow


async def case(checked: Checked, name: str, keep: Callable[[Path], Books] = books) -> Result:
    lab = FileLab(checked, "pos", keep=keep)
    [result] = (await prove(checked, "pos", environment={}, only=[name], lab=lab)).results
    return result


def declared(reference: Checked, **feed: Any) -> Checked:
    """The delimited feed alone, with another table."""
    operation = replace(reference.estate.operation["pos.tlog"], feed=feed)
    return changed(reference, estate=replace(reference.estate, operation={"pos.tlog": operation}))


async def test_a_feed_that_waits_for_nothing_takes_half_files(reference: Checked) -> None:
    result = await case(declared(reference, complete="quiet", quiet="0s"), "half_written")
    assert result.verdict == "fail"
    assert "half a file was taken" in result.came


@pytest.mark.parametrize("rule", [{"complete": "renamed"}, {"complete": "marker", "marker": ".ok"}, {"complete": "quiet", "quiet": "10m"}])
async def test_every_rule_of_completeness_holds_without_waiting_for_it(reference: Checked, rule: dict[str, str]) -> None:
    result = await case(declared(reference, **rule), "half_written")
    assert (result.verdict, rule["complete"] in result.came) == ("pass", True)


def without_examples(reference: Checked, old: str = "", new: str = "") -> Checked:
    path = "mappings/pos/tlog.toml"
    text = (reference.root / path).read_text(encoding="utf-8")
    text = text[: text.index("[[example]]")].replace(old, new) if old else text[: text.index("[[example]]")]
    mapping = load(text, path, lambda _: reference.contracts["pos.tlog"].exchange("tlog"), types())
    return declared(changed(reference, mappings={**reference.mappings, path: mapping}))


async def test_a_feed_without_examples_is_proven_with_what_its_layout_says(reference: Checked) -> None:
    assert (await case(without_examples(reference), "whole")).verdict == "pass"


async def test_a_mapping_that_books_nothing_fails_and_says_what_to_add(reference: Checked) -> None:
    leaving_out = without_examples(reference, 'source = "pos.tlog"', 'source = "pos.tlog"\nwhere = "sequence > 999998"')
    result = await case(leaving_out, "whole")
    assert result.verdict == "fail"
    assert "give the mapping an example" in result.came


async def test_a_feed_that_refuses_a_file_for_one_bad_transaction_does_so_as_declared(reference: Checked) -> None:
    result = await case(declared(reference, refuse_share=0.1), "bad_transaction")
    assert (result.verdict, result.came) == ("pass", "1 feed: the file is refused, as refuse_share declares")


STOCK = """\
[file]
format      = "xml"
name        = 'stock_(?P<number>\\d+)\\.xml'
root        = "Stock"
transaction = "Level"

[record.Level]
role   = "transaction"
occurs = "0..n"
path   = "Level"
fields = [
  { name = "place", type = "string", path = "Place", required = true },
  { name = "item", type = "string", path = "Item", required = true },
  { name = "left", type = "integer", digits = 9, path = "Left", required = true },
  { name = "at", type = "datetime", format = "iso", zone = "iso", path = "At", required = true },
]
"""
LEVELS = """\
target = "InventoryLevel"
source = "pos.stock"
[fields]
sku         = "item"
location_id = "place"
on_hand     = "left | quantity('EA')"
as_of       = "at | local_datetime('UTC')"
"""


async def test_a_feed_of_levels_is_proven_item_by_item(reference: Checked, tmp_path: Path) -> None:
    (tmp_path / "stock.toml").write_text(STOCK, encoding="utf-8")
    contract = FileContract("pos", tmp_path / "stock.toml")
    mapping = load(LEVELS, "stock.toml", lambda _: contract.exchange("stock"), types())
    operation = replace(reference.estate.operation["pos.tlog"], provides="level.feed", answer="stock.toml", feed={})
    checked = changed(
        reference,
        estate=replace(reference.estate, operation={"pos.stock": operation}),
        contracts={**reference.contracts, "pos.stock": contract},
        mappings={"stock.toml": mapping},
    )
    assert (await case(checked, "overlap")).came == "1 feed: each transaction once, by its number"
    assert (await case(checked, "crash")).verdict == "pass"


class Amnesia:
    """Books that know no file again, and no transaction."""

    def __init__(self, folder: Path) -> None:
        self._real = books(folder)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def start(self) -> None:
        await self._real.start()
        self.files, self.sales = ForgetfulFiles(self._real.files), ForgetfulSales(self._real.sales)


class ForgetfulFiles:
    def __init__(self, real: Any) -> None:
        self._real, self._number = real, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def get(self, digest: str) -> None:
        return None

    async def claim(self, seen: Any, *more: Any) -> Any:
        self._number += 1
        return await self._real.claim(changed(seen, digest=f"{self._number:064}"), *more)

    async def finish(self, digest: str, *more: Any) -> Any:
        return await self._real.finish(f"{self._number:064}", *more)


class ForgetfulSales:
    def __init__(self, real: Any) -> None:
        self._real, self._number = real, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def commit(self, batch: Any, now: Any) -> Any:
        self._number += 1
        sales = [replace(s, key=replace(s.key, workstation_id=f"w{self._number}")) for s in batch.sales]
        return await self._real.commit(changed(batch, sales=sales), now)


@pytest.mark.parametrize(("name", "said"), [("resent", "came three times"), ("renamed", "came under two names"), ("overlap", "are booked")])
async def test_books_that_know_nothing_again_fail(reference: Checked, name: str, said: str) -> None:
    result = await case(declared(reference), name, Amnesia)  # type: ignore[arg-type]  # it stands in for them
    assert result.verdict == "fail"
    assert said in result.came


def test_the_catalogue_says_what_each_tier_needs() -> None:
    assert {c.tier for c in CASES} == {"bronze", "silver", "gold"}
    assert len({c.name for c in CASES}) == len(CASES)
