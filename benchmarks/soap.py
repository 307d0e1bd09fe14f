"""SOAP: a 500-row answer to Structs against the bare lxml parse, zeep and node's soap package, and a request envelope against zeep's."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import zeep
from lxml import etree

from adapters.soap.client import parse_xml, read_body
from adapters.soap.contract import SoapContract
from adapters.soap.envelope import EnvelopeWriter
from adapters.soap.rows import read_rows
from benchmarks.ratio import Ratio, Run, compare, compare_process, show
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
    name, bars = f"soap read {ROWS} rows", {"lxml parse": "<=3.0", "zeep": ">=12"}
    others = {"lxml parse": lambda: etree.fromstring(body), "lxml parse, hardened": lambda: parse_xml(body), "zeep": peer}
    return [*compare(name, ours, others, bars), node_soap(name, ours, body)]


def node_soap(name: str, ours: Run, body: bytes) -> Ratio:
    """Against node's soap package, which is installed into a folder of this run where node and npm are there."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return Ratio(name, "node soap", 0, (0, 0), 0, 0, note="not present: no node or no npm")
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer.xml")
        answer.write_bytes(body)
        install = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", folder, "soap"]
        try:
            subprocess.run(install, check=True, capture_output=True, timeout=120)  # a fixed command
        except (subprocess.SubprocessError, OSError) as error:
            return Ratio(name, "node soap", 0, (0, 0), 0, 0, note=f"not present: it cannot be installed ({type(error).__name__})")
        command = ["node", str(ROOT / "benchmarks/soap_peer.cjs"), str(WSDL), str(answer)]
        there = {**os.environ, "NODE_PATH": str(Path(folder, "node_modules"))}
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=there, text=True) as node:  # as above
            assert node.stdin is not None  # noqa: S101  # both are pipes
            assert node.stdout is not None  # noqa: S101  # as above
            asked, told = node.stdin, node.stdout
            assert int(told.readline()) == ROWS  # noqa: S101  # it has read all rows, too

            def theirs(times: int) -> float:
                print(times, file=asked, flush=True)
                return float(told.readline()) / 1e6

            ratio = compare_process(name, ours, "node soap", theirs, ">=4")
            asked.close()
            return ratio


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
