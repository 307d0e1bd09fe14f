"""Attachments as other stacks write them, as a hostile one would, and requests that carry them."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from adapters.options import read
from adapters.soap.client import parse_xml
from adapters.soap.driver import SoapConnection, load
from adapters.soap.errors import Unusable
from adapters.soap.mtom import INCLUDE, read_package
from adapters.soap.spec import SoapOptions
from contracts.errors import ContractViolation, UpstreamRejected
from tests.unit.adapters.soap.conftest import CALL, scripted
from tests.unit.adapters.soap.counterpart import Answer, identity, signed_by

XOP = 'xmlns:xop="http://www.w3.org/2004/08/xop/include"'
PHOTO = bytes(range(256)) * 8 + b"\r\n--b\r\n\n\n"
WSDL = """<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:s="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:t="urn:media"
 xmlns:x="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:media"><types><x:schema targetNamespace="urn:media">
<x:element name="Put"><x:complexType><x:sequence><x:element name="name" type="x:string"/><x:element name="photo" type="x:base64Binary"/>
<x:element name="mark" type="x:hexBinary" minOccurs="0"/></x:sequence></x:complexType></x:element>
<x:element name="PutResponse"><x:complexType><x:sequence><x:element name="photo" type="x:base64Binary" maxOccurs="unbounded"/></x:sequence>
</x:complexType></x:element></x:schema></types><message name="i"><part name="p" element="t:Put"/></message>
<message name="o"><part name="p" element="t:PutResponse"/></message><portType name="M"><operation name="Put"><input message="t:i"/>
<output message="t:o"/></operation></portType><binding name="B" type="t:M"><s:binding style="document"
 transport="http://schemas.xmlsoap.org/soap/http"/><operation name="Put"><s:operation soapAction="put"/>
<input><s:body use="literal"/></input><output><s:body use="literal"/></output></operation></binding>
<service name="S"><port name="P" binding="t:B"><s:address location="http://x/"/>
</port></service></definitions>"""
TYPE = 'multipart/related; type="application/xop+xml"; start="<r>"; start-info="text/xml"; boundary=b0'


def include(cid: str) -> str:
    return f'<photo><xop:Include {XOP} href="cid:{cid}"/></photo>'


def answered(inner: str) -> bytes:
    soap = "http://schemas.xmlsoap.org/soap/envelope/"
    return f'<s:Envelope xmlns:s="{soap}"><s:Body><t:PutResponse xmlns:t="urn:media">{inner}</t:PutResponse></s:Body></s:Envelope>'.encode()


def part(kind: str, name: str, content: bytes, more: str = "") -> bytes:
    return f"--b0\r\nContent-Type: {kind}\r\nContent-ID: <{name}>\r\n{more}\r\n".encode() + content + b"\r\n"


def root_part(inner: str) -> bytes:
    return part('application/xop+xml; charset=UTF-8; type="text/xml"', "r", answered(inner))


def package(*parts: bytes) -> bytes:
    return b"preamble\r\n" + b"".join(parts) + b"--b0--\r\nepilogue"


def photos(body: bytes, kind: str = TYPE, limit: int = 100_000) -> list[bytes]:
    return [base64.b64decode(e.text or "") for e in read_package(kind, body, limit, parse_xml).iter("photo")]


def test_references_are_replaced_by_what_they_stand_for() -> None:
    body = package(root_part(include("a%40x.example") + include("b")), part("image/png", "a@x.example", PHOTO), part("image/png", "b", b""))
    assert photos(body) == [PHOTO, b""]


@pytest.mark.parametrize(
    ("encoding", "content"),
    [("base64", base64.encodebytes(PHOTO)), ("quoted-printable", b"=".join([b"", *(f"{b:02X}".encode() for b in PHOTO)])), ("8bit", PHOTO)],
)
def test_transfer_encodings_of_attachments_are_undone(encoding: str, content: bytes) -> None:
    attachment = part("image/png", "a", content, f"Content-Transfer-Encoding: {encoding}\r\n")
    assert photos(package(root_part(include("a")), attachment)) == [PHOTO]


def test_lines_that_end_with_a_line_feed_alone_and_folded_headers_are_read() -> None:
    body = package(root_part(include("a")), part("image/png;\r\n name=x", "a", b"abc")).replace(b"\r\n", b"\n")
    assert photos(body) == [b"abc"]


def test_an_envelope_that_is_not_first_is_found_by_start() -> None:
    assert photos(package(part("image/png", "a", PHOTO), root_part(include("a")))) == [PHOTO]


def test_soap_with_attachments_is_read_and_its_references_stay() -> None:
    root = part("text/xml; charset=UTF-8", "r", answered('<photo href="cid:a"/>'))
    found = read_package('multipart/related; type="text/xml"; boundary="b0"', package(root, part("image/png", "a", PHOTO)), 1000, parse_xml)
    assert [e.get("href") for e in found.iter("photo")] == ["cid:a"]


TWO = include("a") + include("a")


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (package(root_part(include("a"))), TYPE, "an attachment for each reference"),
        (package(root_part(include("r"))), TYPE, "an attachment for each reference"),
        (package(root_part('<photo><xop:Include href="file:///etc/passwd" ' + XOP + "/></photo>")), TYPE, "none for 'file:///etc/passwd'"),
        (package(root_part(include("a")), part("x/y", "a", b"1"), part("x/y", "a", b"2")), TYPE, "'a' twice"),
        (package(root_part(include("a") * 60), part("x/y", "a", PHOTO)), TYPE, "within the limit"),
        (package(root_part(include("a").replace("<xop", "text<xop")), part("x/y", "a", b"1")), TYPE, "alone in its element"),
        (package(root_part(include("a").replace("</photo>", "<b/></photo>")), part("x/y", "a", b"1")), TYPE, "alone in its element"),
        (package(root_part("")), TYPE.replace("<r>", "<q>"), "'q' that `start` names"),
        (package(root_part("")), TYPE.replace("application/xop+xml", "text/xml"), "the declared type text/xml"),
        (package(root_part("")), TYPE.replace("boundary=b0", "boundary="), "1 to 70"),
        (package(root_part("")), TYPE.replace("boundary=b0", ""), "1 to 70"),
        (package(root_part("")), TYPE.replace("b0", "b" * 71), "1 to 70"),
        (package(root_part(""))[:-18], TYPE, "a closing boundary"),
        (package(), TYPE, "at least one part"),
        (package(part("text/html", "r", b"<html/>")), "multipart/related; boundary=b0", "text/html"),
        (package(part('application/xop+xml; type="image/png"', "r", answered(""))), TYPE, "image/png"),
        (package(root_part(""), b"--b0\r\nno headers end\r\n"), TYPE, "a blank line"),
        (package(root_part(""), part("x/y", "a", b"1", "Content-Transfer-Encoding: x-zip\r\n")), TYPE, "x-zip"),
        (package(root_part(""), part("x/y", "a", b"?", "Content-Transfer-Encoding: base64\r\n")), TYPE, "base64 in a part"),
        (package(root_part(""), *(part("x/y", str(n), b"") for n in range(500))), TYPE, "at most 500 parts"),
        (package(part("application/xop+xml", "r", b"<!DOCTYPE x>" + answered(""))), TYPE, "DOCTYPE"),
    ],
)
def test_a_package_that_does_not_hang_together_is_refused_with_the_reason(body: bytes, kind: str, text: str) -> None:
    with pytest.raises(Unusable) as caught:
        photos(body, kind)
    assert text in f"{caught.value.expected}, {caught.value.got}"


# ---- over the wire --------------------------------------------------------------------------------------------------


async def put(folder: Path, request: dict[str, Any], said: bytes, kind: str = TYPE, **options: Any) -> tuple[bytes, bytes, Any]:
    """What the server saw (head, body), and the payload that we read."""
    wsdl, got = folder / "media.wsdl", []
    wsdl.write_text(WSDL)

    async def answer(head: bytes, body: bytes) -> tuple[int, str, bytes]:
        got.append((head, body))
        return 200, kind, said

    chosen = read(SoapOptions, options)
    async with scripted(answer) as url:
        live = SoapConnection("media", load("media", wsdl, chosen), url, chosen)
        await live.start()
        try:
            reply = await live.call("Put", request, CALL, 5)
        finally:
            await live.close()
    return (*got[0], reply.documents[0])


def unpacked(head: bytes, body: bytes) -> tuple[etree._Element, dict[str, bytes]]:
    """The standard library's reading of what we sent."""
    kind = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-type"))
    root, *rest = message_from_bytes(kind + b"\r\n\r\n" + body).get_payload()
    assert (root.get_content_type(), root["Content-ID"]) == (
        "application/xop+xml",
        message_from_bytes(kind + b"\r\n\r\n").get_param("start"),
    )
    return etree.fromstring(root.get_payload(decode=True)), {p["Content-ID"]: p.get_payload(decode=True) for p in rest}


async def test_an_answer_with_attachments_is_read_where_nothing_is_declared(tmp_path: Path) -> None:
    said = package(root_part(include("a")), part("image/png", "a", PHOTO))
    _, sent, payload = await put(tmp_path, {"name": "n", "photo": PHOTO}, said)
    assert base64.b64decode(payload.findtext("photo")) == PHOTO
    assert base64.b64encode(PHOTO) in sent


@pytest.mark.parametrize("form", [bytes, lambda b: base64.b64encode(b).decode()])
async def test_binary_fields_from_the_threshold_on_travel_as_attachments(tmp_path: Path, form: Callable[[bytes], Any]) -> None:
    photo = bytes(range(256)) * 5
    said = answered("<photo>AA==</photo>")
    request = {"name": "n", "photo": form(photo), "mark": "CAFE" * 2000}
    head, body, _ = await put(tmp_path, request, said, "text/xml", mtom={"threshold": 1280})
    envelope, parts = unpacked(head, body)
    (reference,) = envelope.iter(INCLUDE)
    assert parts == {f"<{reference.get('href', '')[4:]}>": photo}
    assert envelope.findtext(".//mark") == "CAFE" * 2000
    head, body, _ = await put(tmp_path, request, said, "text/xml", mtom={"threshold": 1281})
    assert b"text/xml" in head
    assert base64.b64encode(photo) in body


async def test_a_package_without_attachments_is_sent_where_always_is_declared(tmp_path: Path) -> None:
    head, body, _ = await put(tmp_path, {"name": "n", "photo": b"x"}, answered("<photo/>"), "text/xml", mtom={"always": True})
    envelope, parts = unpacked(head, body)
    assert (envelope.findtext(".//photo"), parts) == ("eA==", {})


async def test_text_that_is_no_base64_is_the_askers_mistake(tmp_path: Path) -> None:
    with pytest.raises(UpstreamRejected, match="photo: expected base64"):
        await put(tmp_path, {"name": "n", "photo": "?" * 3000}, b"", mtom={})


async def test_what_is_signed_is_the_message_without_its_packaging(tmp_path: Path) -> None:
    own, photo = identity("tillgate.example"), PHOTO
    options = {"mtom": {}, "security": {"sign": own.files(tmp_path, "own")}}
    head, body, _ = await put(tmp_path, {"name": "n", "photo": photo}, answered("<photo/>"), "text/xml", **options)
    envelope, parts = unpacked(head, body)
    (reference,) = envelope.iter(INCLUDE)
    holder = reference.getparent()
    assert holder is not None
    holder.remove(reference)
    holder.text = base64.b64encode(parts[f"<{reference.get('href', '')[4:]}>"]).decode()
    (covered,) = signed_by(etree.tostring(envelope), own.certificate)
    assert etree.QName(covered).localname == "Body"


async def test_a_signed_answer_with_attachments_is_verified_with_them(tmp_path: Path) -> None:
    now, server = datetime.now(UTC), identity("erp.example")
    text = base64.b64encode(PHOTO).decode()
    signed = Answer(
        f'<t:PutResponse xmlns:t="urn:media"><photo>{text}</photo></t:PutResponse>', server, created=now, expires=now + timedelta(minutes=1)
    ).written()
    envelope = signed.replace(text.encode(), f'<xop:Include {XOP} href="cid:a"/>'.encode())
    options = {"security": {"verify": {"certificate": server.files(tmp_path, "server")["certificate"]}}}
    packed = partial(part, 'application/xop+xml; type="text/xml"', "r")
    _, _, payload = await put(tmp_path, {"name": "n", "photo": b""}, package(packed(envelope), part("x/y", "a", PHOTO)), **options)
    assert base64.b64decode(payload.findtext("photo")) == PHOTO
    with pytest.raises(ContractViolation, match="Digest mismatch"):
        await put(tmp_path, {"name": "n", "photo": b""}, package(packed(envelope), part("x/y", "a", PHOTO[1:])), **options)
