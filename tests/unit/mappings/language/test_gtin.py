"""Numbers that may be a GTIN: what is none is left out and counted, in every form a system answers in."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from lxml import etree

from contracts.canonical.product import PackGtin
from mappings.language.mapping import load
from mappings.language.shape import Exchange, Field, Form, Leaf, Message, Record
from mappings.language.typed import DECODER
from tests.unit.mappings.language.shapes import context


class Article(msgspec.Struct):
    sku: str
    gtin: str | None = None
    gtins: tuple[PackGtin, ...] = ()


ROW = Record("Row", [Field("NO", Leaf("string")), Field("EAN", Leaf("string"), required=False)])
MAPPING = """target = "Article"
source = "x.list/ROW"
[fields]
sku = "NO"
gtin = "EAN | gtin"
[fields.gtins]
when = "(EAN | gtin) is not None"
gtin = "EAN | gtin | required"
"""
GIVEN = [("1", "4006381333931"), ("2", "4006381333932"), ("3", " 96385074 "), ("4", "n/a"), ("5", ""), ("6", None)]
EXPECTED = ["4006381333931", None, "96385074", None, None, None]


def shaped(form: Form) -> Exchange:
    return Exchange("list", None, Message("x.list", form, Record("A", [Field("ROW", ROW, repeated=True)])))


def document(form: Form) -> Any:
    if form == "xml":
        rows = "".join(f"<ROW><NO>{no}</NO>{'' if ean is None else f'<EAN>{ean}</EAN>'}</ROW>" for no, ean in GIVEN)
        return etree.fromstring(f"<A>{rows}</A>")
    rows_of = [{"NO": no} | ({} if ean is None else {"EAN": ean}) for no, ean in GIVEN]
    return DECODER.decode(msgspec.json.encode({"ROW": rows_of}))


@pytest.mark.parametrize("form", ["xml", "json"])
def test_what_is_no_gtin_is_absent_and_counted(form: Form) -> None:
    mapping, drift = load(MAPPING, "m.toml", lambda _: shaped(form), {"Article": Article}), list[tuple[str, str, str]]()
    found = mapping.read(document(form), context(drift))
    assert [a.gtin for a in found] == EXPECTED
    assert [a.gtins[0].gtin if a.gtins else None for a in found] == EXPECTED
    assert {value for _, _, value in drift} == {"4006381333932", "n/a"}
