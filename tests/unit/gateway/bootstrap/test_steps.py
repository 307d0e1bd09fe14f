"""The check of an operation in steps: every mistake with its place in the estate and what to write instead."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from contracts.errors import Findings
from gateway.bootstrap import check
from gateway.bootstrap.changing import study
from tests.flows.test_carts import with_shop

pytestmark = pytest.mark.slow

NAME = "operation shop.placeOrder"


@pytest.fixture
def estate(tmp_path: Path) -> Path:
    return with_shop(tmp_path / "estate", "http://127.0.0.1:1/api")


def changed(file: Path, old: str, new: str) -> int:
    """The line of the change."""
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1


def findings(folder: Path) -> list[str]:
    with pytest.raises(Findings) as found:
        check(folder)
    return [str(f) for f in found.value.findings]


def test_steps_without_a_mistake_are_an_estate(estate: Path) -> None:
    checked = check(estate)
    assert set(checked.kept) == {("shop.placeOrder", 0), ("shop.placeOrder", 1)}
    assert checked.kept["shop.placeOrder", 0].lineage["quote"].sources == ["quoteId"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('calls   = "cartReferenceSet"', 'calls   = "cartReferencSet"', "cartReferenceSet"),
        ('commits  = "cartOrder"', 'commits  = "cartOrders"', f"{NAME}: commits names no step: 'cartOrders'; did you mean 'cartOrder'?"),
        ('keep    = { quote = "quoteId" }', 'keep    = { quote = "quotId" }', f"{NAME}: quote: unknown source field quotId"),
        ('{ quote = "quoteId" }', '{ quote = "quoteId | text" }', f"{NAME}: quote: "),
        ('{ quote = "quoteId" }', '{ quote = "quoteId", qoute = "quoteId" }', f"{NAME}: keeps qoute, and no mapping after it names"),
        ('when = "not result"', 'when = "not reslt"', f"{NAME}: when: unknown source field reslt"),
        ('each    = "lines"', 'each    = "line"', f"{NAME}: Order has no list 'line'; did you mean 'lines'?"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_step_is_told_at_its_line(estate: Path, old: str, new: str, said: str) -> None:
    line = changed(estate / "estate.toml", old, new)
    found = findings(estate)
    assert any(f.startswith(f"estate.toml:{line}: ") and said in f for f in found), found


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('each    = "lines"', 'each    = "payments"', "needs a mapping between Payment and shop.cartProductAdd"),
        ("shop/reference.request.toml", "shop/order.request.toml", "needs a mapping between Order and shop.cartReferenceSet"),
    ],
)  # fmt: skip
def test_a_mapping_between_other_things_is_told_where_the_step_names_it(estate: Path, old: str, new: str, said: str) -> None:
    changed(estate / "estate.toml", old, new)
    (found,) = [f for f in findings(estate) if said in f]
    line = int(found.split(":")[1])
    assert (estate / "estate.toml").read_text(encoding="utf-8").splitlines()[line - 1].startswith("request = ")


def test_a_value_that_is_a_list_is_not_kept(estate: Path) -> None:
    calls = '[[operation."shop.placeOrder".steps]]\ncalls = "orderList"\nrequest = "mappings/shop/list.request.toml"\n'
    last = '[[operation."shop.placeOrder".steps]]\ncalls   = "cartOrder"'
    line = changed(estate / "estate.toml", last, f'{calls}keep = {{ other = "result.item" }}\n\n{last}') + 3
    text = (estate / "mappings/shop/reference.request.toml").read_text(encoding="utf-8")
    text = (
        text.replace("cartReferenceSet", "orderList").replace('quoteId = "parameters.quote"\n', "").replace("[parameters]\nquote = 0\n", "")
    )
    (estate / "mappings/shop/list.request.toml").write_text(text, encoding="utf-8")
    order = estate / "mappings/shop/order.answer.toml"
    order.write_text(
        order.read_text(encoding="utf-8").replace("[fields]", "[parameters]\nother = ''\n\n[fields]\norder_number = \"parameters.other\""),
        encoding="utf-8",
    )
    (found,) = findings(estate)
    assert found.startswith(f"estate.toml:{line}: {NAME}: other: ")


def test_a_parameter_that_is_kept_only_later_is_told(estate: Path) -> None:
    text = (estate / "estate.toml").read_text(encoding="utf-8")
    keep = 'keep    = { quote = "quoteId" }\n'
    assert keep in text
    text = text.replace(keep, "").replace('calls   = "cartReferenceSet"\n', 'calls   = "cartReferenceSet"\nkeep = { quote = "3" }\n')
    (estate / "estate.toml").write_text(text, encoding="utf-8")
    assert sum("names parameters.quote before it is kept; keep it in an earlier step" in f for f in findings(estate)) >= 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('commits  = "cartOrder"', 'calls = "cartOrder"', "calls beside steps; each step has calls of its own"),
        ('commits  = "cartOrder"', 'request = "mappings/shop/order.request.toml"', "request beside steps; each step has"),
        ('calls   = "cartOrder"', 'each = "lines"\ncalls   = "cartOrder"', "the last call is made once, its answer is the operation's"),
        ('calls   = "cartReferenceSet"', 'calls   = "cartCreate"', "a second step calls cartCreate"),
        ("refuse  = { when", 'keep = { quote = "3" }\nrefuse  = { when', "of a call for each of several nothing is kept"),
        ('provides = "order.book"\n', 'provides = "order.find_booking"\n', "order.find_booking only reads, nothing is committed"),
    ],
)  # fmt: skip
def test_what_contradicts_steps_is_told(estate: Path, old: str, new: str, said: str) -> None:
    changed(estate / "estate.toml", old, new)
    assert any(f"{NAME}: {said}" in f for f in findings(estate)), findings(estate)


def test_a_call_that_is_named_otherwise_in_a_new_contract_is_patched_in_its_step(estate: Path, tmp_path: Path) -> None:
    new = tmp_path / "shop.wsdl"
    new.write_text(
        (estate / "contracts/systems/shop/shop.wsdl").read_text(encoding="utf-8").replace("cartOrder", "cartOrders"), encoding="utf-8"
    )
    found = study(check(estate), new, "shop")
    assert (found.decisions, found.left) == ([], [])
    assert b'+commits  = "cartOrders"' in found.patch
    assert b'+calls   = "cartOrders"' in found.patch


def test_the_manuals_order_fits_the_contract_of_a_shop_in_use(estate: Path, samples: Path, root: Path) -> None:
    shutil.copy(samples / "wsdl/shop-rpc-encoded.wsdl", estate / "contracts/systems/shop/shop.wsdl")
    manual = (root / "docs/connect-soap.md").read_text(encoding="utf-8").partition("## An order that takes several calls")[2]
    operation, add = re.findall(r"```toml\n(.*?)```", manual, re.DOTALL)[:2]
    text = (estate / "estate.toml").read_text(encoding="utf-8").partition('[operation."shop.placeOrder"]')[0]
    (estate / "estate.toml").write_text(text + operation.replace("order.create", "order.book"), encoding="utf-8")
    (estate / "mappings/shop/add.request.toml").write_text(add, encoding="utf-8")
    changed(estate / "mappings/shop/create.request.toml", "shop.cartCreate", "shop.shoppingCartCreate")
    changed(estate / "mappings/shop/create.request.toml", "store =", "storeId =")
    for name in ("order.request", "order.answer"):
        changed(estate / f"mappings/shop/{name}.toml", "shop.cartOrder", "shop.shoppingCartOrder")
    assert set(check(estate).kept) == {("shop.placeOrder", 0), ("shop.placeOrder", 1)}
