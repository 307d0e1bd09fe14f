"""SOAP: a 500-row answer to Structs against the bare lxml parse and against zeep, and a request envelope against zeep's."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import zeep
from lxml import etree

from adapters.soap.client import parse_xml, read_body, read_rows
from adapters.soap.contract import SoapContract
from adapters.soap.envelope import EnvelopeWriter
from benchmarks.ratio import Ratio, compare, show
from contracts.canonical.inventory import InventoryLevel
from mappings.language import ReadContext, load
from mappings.language.rows import Rows
from sandbox.erp.books import Books, TillTransaction
from sandbox.erp.contract import Contract, SoapCall, as_bytes
from sandbox.erp.service import Retail
from sandbox.erp.sessions import Sessions
from sandbox.world import World

ROOT = Path(__file__).resolve().parents[1]
WSDL = ROOT / "contracts/systems/erp/retail.wsdl"
MAPPING = "mappings/erp/get_stock.answer.toml"
ROWS = 500
DAY = date(2026, 3, 11)
ADDRESS = "http://127.0.0.1:1/"


def stock_answer(pairs: list[dict[str, str]]) -> bytes:
    """What the sandbox ERP answers, as bytes on the wire. Most pairs were sold; each store has two tills."""
    world, sessions = World(), Sessions()
    books = Books(world)
    books.post(
        TillTransaction(pair["WERKS"], f"00{n // 50 % 2 + 1}", DAY, n, ((pair["MATNR"].lstrip("0"), Decimal(n % 3)),) if n % 3 else ())
        for n, pair in enumerate(pairs, 1)
    )
    session = sessions.open(sessions.user, sessions.password)
    call = SoapCall("GetStock", session, {"T_REQ": {"item": pairs}})
    return as_bytes(Contract().write("GetStock", Retail(world, books, sessions).answer(call)))


def reading(body: bytes, contract: SoapContract, client: Any) -> list[Ratio]:
    mapping = load(
        (ROOT / MAPPING).read_text(encoding="utf-8"), MAPPING, lambda _: contract.exchange("GetStock"), {"InventoryLevel": InventoryLevel}
    )
    binding = client.service._binding  # noqa: SLF001  # the way to a binding that zeep itself uses
    operation = binding.get("GetStock")
    reply = SimpleNamespace(status_code=200, content=body, headers={"Content-Type": "text/xml"}, encoding="utf-8")
    context = ReadContext(system="erp", operation="GetStock")

    shortcut = mapping.shortcut
    assert isinstance(shortcut, Rows)  # noqa: S101  # a list of plain rows has one

    def ours() -> list[Any]:
        short = read_rows(body, shortcut)
        return mapping.read(short[1] if short else read_body(body)[0], context)

    def peer() -> Any:
        return binding.process_reply(client, operation, reply)

    assert ours() == mapping.read(read_body(body)[0], context)  # noqa: S101  # the short way reads the same
    assert len(ours()) == ROWS == len(peer().T_STOCK.item)  # noqa: S101  # both have read all rows, else nothing is compared
    others = {"lxml parse": lambda: etree.fromstring(body), "lxml parse, hardened": lambda: parse_xml(body), "zeep": peer}
    return compare(f"soap read {ROWS} rows", ours, others, {"lxml parse": "<=3.0", "zeep": ">=12"})


def writing(name: str, operation: str, request: dict[str, Any], contract: SoapContract, client: Any) -> list[Ratio]:
    writer = EnvelopeWriter(contract.operation(operation), contract.schemas)
    binding = client.service._binding  # noqa: SLF001  # as above
    options = {"address": ADDRESS}

    def peer() -> bytes:
        envelope, _ = binding._create(operation, (), request, client=client, options=options)  # noqa: SLF001  # as above
        return bytes(etree.tostring(envelope, xml_declaration=True, encoding="utf-8"))

    def said(document: bytes) -> list[tuple[str, str | None]]:
        return [(e.tag, e.text) for e in etree.fromstring(document).iter()]

    assert said(writer.write(request)) == said(peer())  # noqa: S101  # both have written the same, else nothing is compared
    return compare(name, lambda: writer.write(request), {"zeep": peer}, {"zeep": ">=5"})


def main() -> None:
    world = World()
    pairs = [{"MATNR": world.products[n].sku.zfill(18), "WERKS": world.stores[n % 50].number} for n in range(ROWS)]
    contract = SoapContract("erp", WSDL)
    client = cast("Any", zeep).Client(str(WSDL))
    show(
        [
            *reading(stock_answer(pairs), contract, client),
            *writing(f"soap request {ROWS} rows", "GetStock", {"T_REQ": {"item": pairs}}, contract, client),
            *writing("soap request 1 row", "GetStock", {"T_REQ": {"item": pairs[:1]}}, contract, client),
        ]
    )


if __name__ == "__main__":
    main()
