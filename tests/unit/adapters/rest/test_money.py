"""Money in the shapes that REST systems give it, from the bytes of an answer to the canonical value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters.rest.client import decoded
from adapters.rest.contract import RestContract
from contracts.canonical.amounts import Money
from contracts.errors import ContractViolation
from mappings.language.mapping import CompiledMapping, ReadContext, load

NUMBER, TEXT, WHOLE = {"type": "number"}, {"type": "string"}, {"type": "integer"}


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    price: Money


def compiled(folder: Path, expression: str, **members: Any) -> CompiledMapping:
    schema = {"type": "object", "required": list(members), "properties": members}
    answers = {"200": {"description": "", "content": {"application/json": {"schema": schema}}}}
    paths = {"/a": {"get": {"operationId": "a", "responses": answers}}}
    (folder / "openapi.json").write_text(json.dumps({"openapi": "3.1.0", "paths": paths}))
    contract = RestContract("shop", folder / "openapi.json")
    text = f'target = "Thing"\nsource = "shop.a"\n[fields]\nprice = "{expression}"\n'
    return load(text, "m.toml", lambda name: contract.exchange(name.partition(".")[2]), {"Thing": Thing})


def obj(**members: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(members), "properties": members}


SHAPES: tuple[tuple[str, dict[str, Any], bytes], ...] = (
    ("cents | cents(currency | required)", {"cents": WHOLE, "currency": TEXT}, b'{"cents": 129900, "currency": "EUR"}'),
    ("price | money('EUR')", {"price": NUMBER}, b'{"price": 1299.00}'),
    ("price | money(currency)", {"price": TEXT, "currency": TEXT}, b'{"price": "1299.00", "currency": "EUR"}'),
    ("price.sum | money(price.ccy)", {"price": obj(sum=TEXT, ccy=TEXT)}, b'{"price": {"sum": "1299.00", "ccy": "EUR"}}'),
    ("price | priced(',', '.')", {"price": TEXT}, '{"price": "1.299,00 €"}'.encode()),
)  # fmt: skip


@pytest.mark.parametrize(("expression", "members", "answer"), SHAPES)
def test_money_is_the_same_in_each_of_its_shapes(tmp_path: Path, expression: str, members: dict[str, Any], answer: bytes) -> None:
    mapping = compiled(tmp_path, expression, **members)
    (thing,) = mapping.read(decoded(answer, "application/json"), ReadContext("shop", "a"))
    assert thing.price == Money(cent_amount=129_900, currency_code="EUR", fraction_digits=2)


@pytest.mark.parametrize(
    "answer", [b'{"price": 1299.005}', b'{"price": "12,99"}', b'{"price": 1e40}', b'{"price": true}', b'{"price": null}']
)
def test_an_amount_that_is_none_is_refused_with_its_place(tmp_path: Path, answer: bytes) -> None:
    mapping = compiled(tmp_path, "price | money('EUR')", price=NUMBER)
    with pytest.raises(ContractViolation) as caught:
        mapping.read(decoded(answer, "application/json"), ReadContext("shop", "a"))
    assert caught.value.where == "price"
