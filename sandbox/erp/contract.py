"""The ERP's WSDL made usable for a server: requests read and checked, answers and faults written, by zeep's own messages."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import zeep
from lxml import etree
from zeep.helpers import serialize_object

WSDL = Path(__file__).resolve().parents[2] / "contracts" / "systems" / "erp" / "retail.wsdl"
NS = "urn:sap-com:document:sap:soap:functions:retail"
SESSION_NS = "urn:sap-com:document:sap:soap:session"
SOAP_NS = "http://schemas.xmlsoap.org/soap/envelope/"
XSD = "{http://www.w3.org/2001/XMLSchema}"
SOAP = f"{{{SOAP_NS}}}"
DEEPEST = 32
QUICK = frozenset({"GetStock", "GetPrices", "GetMaterials"})

Row = Mapping[str, "Value"]
Value = str | int | Decimal | None | Row | Sequence[Row]


class BadRequest(Exception):
    """A request the contract does not allow. The text says what and where."""


@dataclass(frozen=True, slots=True)
class SoapCall:
    operation: str
    session: str | None
    arguments: dict[str, Any]


class _Vendored(zeep.Transport):
    """Reads the one file and nothing else: no import of it may lead outside its folder."""

    def load(self, url: str) -> bytes:
        path = Path(url).resolve()
        if not path.is_relative_to(WSDL.parent):
            raise BadRequest(f"the contract refers to {url}, which lies outside its folder")
        return path.read_bytes()


class Contract:
    """Blocking to build (about 0.1 s): do it before serving."""

    def __init__(self) -> None:
        settings = zeep.Settings(strict=True, forbid_dtd=True, forbid_entities=True, forbid_external=True)
        client = zeep.Client(str(WSDL), transport=_Vendored(), settings=settings)  # type: ignore[no-untyped-call]  # zeep says it is typed and leaves these open
        self._binding = client.service._binding  # noqa: SLF001 - the way to a binding that zeep itself uses
        self._source = parse(WSDL.read_bytes())
        self.operations: tuple[str, ...] = tuple(self._binding._operations)  # noqa: SLF001 - same
        schemas = self._source.findall(f".//{XSD}schema")
        # Serialised and read again, because a copied element loses the prefixes it inherits from the WSDL.
        self.schema, self.session_schema = (
            etree.XMLSchema(parse(etree.tostring(next(s for s in schemas if s.get("targetNamespace") == ns)))) for ns in (NS, SESSION_NS)
        )

    def wsdl(self, address: str) -> bytes:
        """The contract with the address of whoever serves it."""
        root = deepcopy(self._source)
        for port in root.iter("{http://schemas.xmlsoap.org/wsdl/soap/}address"):
            port.set("location", address)
        return bytes(etree.tostring(root, xml_declaration=True, encoding="utf-8"))

    def read(self, body: bytes) -> SoapCall:
        """A request as operation, session and arguments. BadRequest names the place."""
        envelope = parse(body)
        if envelope.tag != f"{SOAP}Envelope":
            raise BadRequest(f"expected a SOAP 1.1 Envelope ({SOAP_NS}), got {envelope.tag}")
        soap_body = envelope.find(f"{SOAP}Body")
        requests = [] if soap_body is None else list(soap_body)
        if len(requests) != 1:
            raise BadRequest(f"the Body holds one request element, got {len(requests)}")
        request = requests[0]
        name = etree.QName(request)
        if name.namespace != NS or name.localname not in self.operations:
            raise BadRequest(f"there is no operation {request.tag}; known are {', '.join(self.operations)} in {NS}")
        try:
            self.schema.assertValid(request)
        except etree.DocumentInvalid as exc:
            raise BadRequest(str(exc)[:241]) from exc
        session = envelope.findtext(f"{SOAP}Header/{{{SESSION_NS}}}SessionHeader/{{{SESSION_NS}}}SESSION_ID")
        if name.localname == "GetStock":
            # 500 rows: reading them through zeep costs more than everything else this operation does.
            pairs = [{"MATNR": i.findtext("MATNR"), "WERKS": i.findtext("WERKS")} for i in request.iterfind("T_REQ/item")]
            return SoapCall(name.localname, session, {"T_REQ": {"item": pairs}})
        if len(request) == 0:
            return SoapCall(name.localname, session, {})
        # zeep answers the body's fields alone, or header and body where a header is declared and sent.
        header = envelope.find(f"{SOAP}Header")
        if header is not None:
            envelope.remove(header)
        message = self._binding.get(name.localname).input.deserialize(envelope)
        values = serialize_object(message, dict)  # type: ignore[no-untyped-call]  # same
        fields = values["body"] if "body" in values and "header" in values else values
        return SoapCall(name.localname, session, fields)

    def write(self, operation: str, answer: Row) -> etree._Element:
        """An answer as an envelope. Large lists are written directly, in the shape zeep gives them."""
        if operation in QUICK:
            envelope = etree.Element(f"{SOAP}Envelope", nsmap={"soap-env": SOAP_NS})
            body = etree.SubElement(envelope, f"{SOAP}Body")
            _fill(etree.SubElement(body, f"{{{NS}}}{operation}Response", nsmap={"n0": NS}), answer)
            return envelope
        written: etree._Element = self._binding.get(operation).output.serialize(**answer).content
        return written

    def fault(self, code: str, text: str, detail: str, fields: Row) -> bytes:
        """A SOAP fault: faultcode Client or Server, and SessionFault or RetailFault with its fields as detail."""
        envelope = etree.Element(f"{SOAP}Envelope", nsmap={"soap-env": SOAP_NS})
        fault = etree.SubElement(etree.SubElement(envelope, f"{SOAP}Body"), f"{SOAP}Fault")
        etree.SubElement(fault, "faultcode").text = f"soap-env:{code}"
        etree.SubElement(fault, "faultstring").text = text
        ns = SESSION_NS if detail == "SessionFault" else NS
        inner = etree.SubElement(etree.SubElement(fault, "detail"), f"{{{ns}}}{detail}", nsmap={"n0": ns})
        # The session's schema qualifies its elements, the functions' schema does not.
        _fill(inner, fields, f"{{{ns}}}" if ns == SESSION_NS else "")
        return as_bytes(envelope)


def parse(body: bytes) -> etree._Element:
    """XML from outside: no DOCTYPE, no entities, bounded depth. BadRequest otherwise."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError) as exc:
        raise BadRequest(f"not well-formed XML: {exc}"[:241]) from exc
    info: Any = root.getroottree().docinfo
    if info.doctype:
        raise BadRequest("a DOCTYPE is not accepted")
    depth = 0
    for event, _ in etree.iterwalk(root, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if depth > DEEPEST:
            raise BadRequest(f"elements are nested deeper than {DEEPEST}")
    return root


def as_bytes(envelope: etree._Element) -> bytes:
    return bytes(etree.tostring(envelope, xml_declaration=True, encoding="utf-8"))


def _fill(parent: etree._Element, row: Row, prefix: str = "") -> None:
    for name, value in row.items():
        if value is None:
            continue
        if isinstance(value, str | int | Decimal):
            etree.SubElement(parent, prefix + name).text = str(value)
        elif isinstance(value, Mapping):
            _fill(etree.SubElement(parent, prefix + name), value, prefix)
        else:
            for item in value:
                _fill(etree.SubElement(parent, prefix + name), item, prefix)
