"""Thousands of broken answers over real sockets: each is a complete and true reading or a typed error, soon, and nothing is kept of it."""

import asyncio
import gc
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from adapters.options import read
from adapters.soap.driver import SoapConnection, load
from adapters.soap.spec import SoapOptions
from contracts.canonical.inventory import InventoryLevel
from contracts.canonical.product import Product
from contracts.errors import UpstreamError
from mappings.language import CompiledMapping, ReadContext
from mappings.language import load as load_mapping
from tests.unit.adapters.soap.conftest import CALL, OPTIONS, envelope, scripted
from tests.unit.adapters.soap.mutations import Mutated, mutated
from tests.unit.adapters.soap.test_contract import described
from tests.unit.adapters.soap.test_derived_types import READ, SCHEMA
from tests.unit.adapters.soap.test_dialects import READ as ENCODED
from tests.unit.adapters.soap.test_dialects import answer as encoded_answer
from tests.unit.adapters.soap.test_dialects import encoded

FIGURES = ("LABST", "INSME", "SPEME", "EINME")
Rows = list[tuple[Any, ...]]


def stock(rows: int) -> bytes:
    figures = "".join(f"<{n}>{i}.500</{n}>" for i, n in enumerate((*FIGURES, "UMLME", "KWMENG_OPEN")))
    till = "<T_KASSE><item><KASSE>001</KASSE><BUDAT>20261120</BUDAT><BONNR>000123</BONNR></item></T_KASSE>"
    items = "".join(f"<item><MATNR>{n:018}</MATNR><WERKS>0001</WERKS>{figures}<MEINS>ST</MEINS>{till}</item>" for n in range(1, rows + 1))
    messages = "<T_RETURN><item><TYPE>E</TYPE><ID>M3</ID><NUMBER>305</NUMBER><MESSAGE>unknown</MESSAGE></item></T_RETURN>"
    return envelope(
        f"<n:GetStockResponse><STICHTAG>20261121</STICHTAG><UZEIT>101500</UZEIT><T_STOCK>{items}</T_STOCK>{messages}</n:GetStockResponse>"
    )


FAULT = envelope("<s:Fault><faultcode>s:Server</faultcode><faultstring>down</faultstring><detail><code>000</code></detail></s:Fault>")


def local(element: etree._Element) -> str:
    return etree.QName(element).localname


def rows_of(body: bytes, *path: str) -> list[dict[str, etree._Element]]:
    """What an independent reader finds: the rows at that path of local names, each with its children by local name."""
    parser = etree.XMLParser(remove_comments=True, remove_pis=True, resolve_entities=False)
    found = [e for e in etree.fromstring(body, parser).iter(etree.Element) if local(e) == path[-1]]
    rows = [e for e in found if [local(a) for a in e.iterancestors()][: len(path) - 1] == list(path[-2::-1])]
    return [{local(c): c for c in row} for row in rows]


def text(row: dict[str, etree._Element], name: str) -> str:
    return "".join(str(t) for t in row[name].itertext()) if name in row else ""


def key_of(number: str) -> str:
    """As strip_zeros has it: digits alone lose their zeros."""
    return (number.lstrip("0") or "0") if number.isdigit() else number


def levels(body: bytes) -> Rows:
    return [
        (key_of(text(r, "MATNR")), text(r, "WERKS"), sum((Decimal(text(r, n)) for n in FIGURES), Decimal()).normalize())
        for r in rows_of(body, "GetStockResponse", "T_STOCK", "item")
    ]


def items(body: bytes) -> Rows:
    """Of the two types that are asked for, in the contract's namespace: whatever else is there has to be told as drift."""
    found = []
    for row in rows_of(body, "Ask", "record"):
        above = next(iter(row.values())).getparent() if row else None
        said = "" if above is None or above.tag != "{urn:t}record" else above.get("{http://www.w3.org/2001/XMLSchema-instance}type", "")
        if said.strip().rpartition(":")[2] in ("InventoryItem", "LotItem"):
            found.append((text(row, "itemId"), text(row, "displayName")))
    return found


def encoded_levels(body: bytes) -> Rows:
    def depot(row: dict[str, etree._Element]) -> str:
        code = next((c for c in row["depot"] if local(c) == "code"), None) if "depot" in row else None
        return "0001" if code is None else "".join(str(t) for t in code.itertext())

    def figure(row: dict[str, etree._Element]) -> Decimal | None:
        if "qty" not in row:
            return None  # it may be nil: a missing one is absent too
        nil = row["qty"].get("{http://www.w3.org/2001/XMLSchema-instance}nil") in ("true", "1")
        return None if nil and not text(row, "qty") else Decimal(text(row, "qty")).normalize()

    return [(text(r, "sku"), depot(r), figure(r)) for r in rows_of(body, "result", "item")]  # a wrapper may have any name


def level_key(level: InventoryLevel) -> tuple[Any, ...]:
    return (level.sku, level.location_id, level.on_hand and Decimal(level.on_hand.value).normalize())


def product_key(product: Product) -> tuple[Any, ...]:
    return (product.sku, product.name["de"])


class Prober:
    """Sends one mutated answer after the other through a live connection and its mapping, and looks at what became of it."""

    def __init__(self, connection: SoapConnection, operation: str, request: dict[str, Any], mapping: CompiledMapping) -> None:
        self.connection, self.operation, self.request, self.mapping = connection, operation, request, mapping
        self.now = Mutated(200, "", b"", ())
        self.outcomes: Counter[str] = Counter()
        self.longest = 0
        self.path = {"GetStock": ("T_STOCK", "item"), "Ask": ("Ask", "record"), "stock": ("result", "item")}[operation]

    async def serve(self, head: bytes, body: bytes) -> tuple[int, str, bytes]:
        return self.now.status, self.now.content_type, self.now.body

    async def probe(self, case: Mutated, seed: int, wanted: Callable[[bytes], Rows], key: Callable[[Any], tuple[Any, ...]]) -> None:
        self.now = case
        drift: list[tuple[str, str, str]] = []
        context = ReadContext("erp", self.operation, drift=lambda *seen: drift.append(seen))
        try:
            async with asyncio.timeout(10):
                reply = await self.connection.call(self.operation, self.request, CALL, 8, self.mapping.shortcut)
            found = [key(row) for document in reply.documents for row in self.mapping.read(document, context)]
        except UpstreamError as exc:
            self.outcomes[type(exc).__name__] += 1
            self.longest = max(self.longest, len(str(exc)))
            return
        self.outcomes["read"] += 1
        if b"soap/encoding/" in case.body and b'="#' in case.body:
            return  # a value stands elsewhere: the independent reader does not follow references
        assert found == wanted(case.body), f"seed {seed}: {case.how}"
        if len(rows_of(case.body, *self.path)) > len(found):
            assert drift, f"seed {seed}: {case.how}: a row was left out without a word"


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.timeout(3600)
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stock", "types", "encoded"])
async def test_a_mutated_answer_is_read_wholly_and_truly_or_refused_with_a_typed_error(
    kind: str, root: Path, tmp_path: Path, deep: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    total = 34_000 if deep else 1_000
    if kind == "stock":
        wsdl, raw = root / "contracts/systems/erp/retail.wsdl", {k: v for k, v in OPTIONS.items() if k != "session"}
        source, operation, types = (root / "mappings/erp/get_stock.answer.toml").read_text(), "GetStock", {"InventoryLevel": InventoryLevel}
        request: dict[str, Any] = {"T_REQ": {"item": []}}
        answers, wanted = [stock(1), stock(3), stock(60), FAULT], levels
        key: Callable[[Any], tuple[Any, ...]] = level_key
    elif kind == "encoded":
        wsdl, raw, source, operation, types = encoded(tmp_path), {}, ENCODED, "stock", {"InventoryLevel": InventoryLevel}
        request, wanted = {"skus": {"item": ["A"]}}, encoded_levels
        rows = "".join(
            f'<item xsi:type="n:Level"><sku>S{n}</sku><qty>{n}</qty><depot><code>000{n}</code></depot></item>' for n in range(1, 7)
        )
        apart = '<r id="1"><item href="#2"/><item href="#2"/></r><r id="2"><sku>A</sku><qty>000</qty></r>'
        answers = [encoded_answer(f'<result e:arrayType="n:Level[6]">{rows}</result>'), encoded_answer('<result href="#1"/>', apart), FAULT]
        key = level_key
    else:
        described(tmp_path, SCHEMA)
        wsdl = tmp_path / "a.wsdl"
        one_way = '<input message="t:Ask"/></operation>'
        wsdl.write_text(wsdl.read_text().replace(one_way, '<input message="t:Ask"/><output message="t:Ask"/></operation>', 1))
        raw, source, operation, types, request = {}, READ, "Ask", {"Product": Product}, {"record:Order": [{"externalId": "1"}]}
        records = "".join(
            f'<record xsi:type="{t}"><itemId>I{n}</itemId><displayName>Name {n}</displayName></record>'
            for n, t in enumerate(("t:InventoryItem", "t:ServiceItem", "t:LotItem", "t:InventoryItem") * 3)
        )
        space = 'xmlns="urn:t" xmlns:t="urn:t" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
        answers, wanted = [envelope(f"<Ask {space}>{records}</Ask>"), FAULT], items
        key = product_key
    options = read(SoapOptions, raw)
    contract = load("erp", wsdl, options)
    mapping = load_mapping(source, "m.toml", lambda name: contract.exchange(name.partition(".")[2]), types)
    prober: Prober | None = None

    async def serve(head: bytes, body: bytes) -> tuple[int, str, bytes]:
        assert prober is not None
        return await prober.serve(head, body)

    held: list[int] = []
    async with scripted(serve) as url:
        connection = SoapConnection("erp", contract, url, options)
        await connection.start()
        prober = Prober(connection, operation, request, mapping)
        try:
            for seed in range(total):
                await prober.probe(mutated(seed, answers), seed, wanted, key)
                if seed % (total // 5) == 0:
                    gc.collect()
                    held.append(resident())
        finally:
            await connection.close()
    gc.collect()
    held.append(resident())
    with capsys.disabled():
        if deep:
            megabytes = ", ".join(f"{h / 1e6:.0f}" for h in held)
            print(f"\n{kind}: {total} answers, {dict(prober.outcomes)}, memory of the process {megabytes} MB")  # noqa: T201  # the report
    assert held[-1] - held[1] < 48_000_000
    assert prober.outcomes["read"] > total // 20
    assert sum(prober.outcomes.values()) == total
    assert prober.longest < 3000
