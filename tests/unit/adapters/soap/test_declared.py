"""What an estate declares about a SOAP system: meanings, sessions of all kinds, header blocks, constants, documents inside texts."""

import asyncio
import base64
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from lxml import etree

from adapters.login import CredentialsRefused
from adapters.options import read
from adapters.soap.driver import SoapConnection, load
from adapters.soap.spec import SoapOptions
from contracts.errors import Findings, OutcomeUnknown, UpstreamBusy, UpstreamError, UpstreamFault, UpstreamRejected
from mappings.language.shape import Record
from tests.unit.adapters.soap.conftest import CALL, Answer, scripted

SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
SCHEMA = """
<xs:element name="Find"><xs:complexType><xs:sequence><xs:element name="context" type="t:Context"/>
  <xs:element name="sku" type="xs:string" minOccurs="0"/></xs:sequence></xs:complexType></xs:element>
<xs:complexType name="Context"><xs:sequence><xs:element name="company" type="xs:string"/><xs:element name="pool" type="xs:string"/>
  <xs:element name="ticket" type="xs:string" minOccurs="0"/></xs:sequence></xs:complexType>
<xs:element name="FindResponse"><xs:complexType><xs:sequence><xs:element name="status" minOccurs="0"><xs:complexType><xs:sequence>
  <xs:element name="code" type="xs:string" minOccurs="0"/><xs:element name="message" type="xs:string" minOccurs="0"/></xs:sequence>
  <xs:attribute name="ok" type="xs:boolean"/></xs:complexType></xs:element><xs:element name="name" type="xs:string" minOccurs="0"/>
  </xs:sequence></xs:complexType></xs:element>
<xs:element name="Login"><xs:complexType><xs:sequence><xs:element name="user" type="xs:string"/>
  <xs:element name="password" type="xs:string"/>
  <xs:element name="company" type="xs:string" minOccurs="0"/><xs:element name="language" type="xs:string" minOccurs="0"/>
  <xs:element name="agreement" type="xs:string" minOccurs="0"/></xs:sequence></xs:complexType></xs:element>
<xs:element name="LoginResponse"><xs:complexType><xs:sequence><xs:element name="ticket" type="xs:string" minOccurs="0"/>
  <xs:element name="number" type="xs:int" minOccurs="0"/></xs:sequence></xs:complexType></xs:element>
<xs:element name="Logout"><xs:complexType/></xs:element><xs:element name="LogoutResponse"><xs:complexType/></xs:element>
<xs:element name="Session"><xs:complexType><xs:sequence><xs:element name="ticket" type="xs:string" minOccurs="0"/>
  <xs:element name="number" type="xs:string" minOccurs="0"/><xs:element name="device" type="xs:string" minOccurs="0"/></xs:sequence>
  </xs:complexType></xs:element>
<xs:element name="passport"><xs:complexType><xs:sequence><xs:element name="account" type="xs:string"/>
  <xs:element name="nonce" type="xs:string" minOccurs="0"/><xs:element name="timestamp" type="xs:long" minOccurs="0"/>
  <xs:element name="signature" minOccurs="0"><xs:complexType><xs:simpleContent><xs:extension base="xs:string">
  <xs:attribute name="algorithm" type="xs:string"/></xs:extension></xs:simpleContent></xs:complexType></xs:element></xs:sequence>
  </xs:complexType></xs:element>
<xs:element name="ApiFault"><xs:complexType><xs:sequence><xs:element name="code" type="xs:string"/><xs:element name="key" type="xs:string"/>
  </xs:sequence></xs:complexType></xs:element>"""
OPERATIONS = ("Find", "Login", "Logout")


def contract(folder: Path, *, headers: bool = True) -> Path:
    messages = "".join(
        f'<message name="{n}"><part name="p" element="t:{n}"/></message>' for o in OPERATIONS for n in (o, f"{o}Response")
    ) + "".join(f'<message name="{n}"><part name="p" element="t:{n}"/></message>' for n in ("Session", "passport", "ApiFault"))
    types = "".join(
        f'<operation name="{o}"><input message="t:{o}"/><output message="t:{o}Response"/><fault name="f" message="t:ApiFault"/></operation>'
        for o in OPERATIONS
    )
    answered = '<soap:header message="t:Session" part="p" use="literal"/>'
    head = '<soap:header message="t:passport" part="p" use="literal"/>' if headers else ""
    bound = "".join(
        f'<operation name="{o}"><soap:operation soapAction="urn:{o}"/><input>{head if o == "Find" else ""}<soap:body use="literal"/>'
        f'</input><output>{answered if o == "Login" else ""}<soap:body use="literal"/></output></operation>'
        for o in OPERATIONS
    )
    path = folder / "erp.wsdl"
    path.write_text(
        f"""<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:t="urn:t"
        targetNamespace="urn:t"><types><xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:t"
        elementFormDefault="qualified">{SCHEMA}</xs:schema></types>{messages}<portType name="P">{types}</portType>
        <binding name="B" type="t:P"><soap:binding transport="http://schemas.xmlsoap.org/soap/http"/>{bound}</binding></definitions>"""
    )
    return path


def envelope(inner: str, header: str = "") -> bytes:
    head = f"<s:Header>{header}</s:Header>" if header else ""
    return f'<s:Envelope xmlns:s="{SOAP}" xmlns="urn:t">{head}<s:Body>{inner}</s:Body></s:Envelope>'.encode()


def fault(code: str, text: str = "no", detail: str = "") -> bytes:
    return envelope(f'<s:Fault><faultcode xmlns="">{code}</faultcode><faultstring xmlns="">{text}</faultstring>{detail}</s:Fault>')


def apart(fault_detail: str) -> str:
    return f'<detail xmlns="">{fault_detail}</detail>'


FOUND = envelope('<FindResponse><status ok="true"/><name>Hose</name></FindResponse>')
LOGGED_IN = envelope("<LoginResponse><ticket>T1</ticket><number>7</number></LoginResponse>")
Serve = Callable[[bytes, bytes], Awaitable[Answer | bytes]]


@asynccontextmanager
async def live(folder: Path, serve: Serve, *, headers: bool = True, **options: Any) -> AsyncIterator[SoapConnection]:
    wsdl = contract(folder, headers=headers)
    async with scripted(serve) as url:
        given = {k: (v.replace("HERE", url) if isinstance(v, str) else v) for k, v in options.get("session", {}).items()}
        chosen = read(SoapOptions, {**options, **({"session": given} if given else {})})
        connection = SoapConnection("erp", load("erp", wsdl, chosen), url, chosen)
        await connection.start()
        try:
            yield connection
        finally:
            await connection.close()


async def asked(folder: Path, said: Answer | bytes, **options: Any) -> Any:
    async def serve(head: bytes, body: bytes) -> Answer | bytes:
        return said

    async with live(folder, serve, **options) as connection:
        return await connection.call("Find", {"context": {"company": "1", "pool": "P"}}, CALL, 5)


# ---- meanings -----------------------------------------------------------------------------------------------------------

API_FAULT = apart('<ApiFault xmlns="urn:t"><code>LOCKED</code><key>K9</key></ApiFault>')
RESULT = {"results": {"path": "status", "type": "ok", "errors": ["false"], "code": ["code"], "text": "message"}}


def refusing(code: str, text: str = "no") -> bytes:
    return envelope(f'<FindResponse><status ok="false"><code>{code}</code><message>{text}</message></status></FindResponse>')


@pytest.mark.parametrize(
    ("said", "meaning", "error"),
    [
        ((500, "text/xml", fault("s:Server", detail=API_FAULT)), {}, UpstreamFault),
        ((500, "text/xml", fault("s:Server", detail=API_FAULT)), {"code": "LOCKED", "means": "busy"}, UpstreamBusy),
        ((200, "text/xml", fault("s:Server", detail=API_FAULT)), {"code": "ApiFault", "means": "rejected"}, UpstreamRejected),
        (
            (500, "text/xml", fault("s:Server", detail=API_FAULT)),
            {"code": "LOCKED", "field": "ApiFault.code", "means": "busy"},
            UpstreamBusy,
        ),
        ((500, "text/xml", fault("s:Server", detail=API_FAULT)), {"code": "K9", "field": "ApiFault.code", "means": "busy"}, UpstreamFault),
        (
            (500, "text/xml", fault("s:Server", detail=API_FAULT)),
            {"code": "K9", "field": "ApiFault.key", "means": "in_doubt"},
            OutcomeUnknown,
        ),
        ((500, "text/xml", fault("s:Client.Order.Twice")), {"code": "Client.Order*", "means": "in_doubt"}, OutcomeUnknown),
        ((500, "text/xml", fault("s:Client", "Deadlock victim, rerun")), {"text": "deadlock", "means": "busy"}, UpstreamBusy),
        ((500, "text/xml", fault("s:Client", "no")), {"text": "deadlock", "means": "busy"}, UpstreamRejected),
        ((404, "text/html", b"<html/>"), {"status": 404, "means": "rejected"}, UpstreamRejected),
        ((404, "text/html", b"<html/>"), {"status": 500, "means": "rejected"}, UpstreamFault),
        ((500, "text/xml", fault("s:Client")), {"status": 500, "code": "Client", "means": "failed"}, UpstreamFault),
        ((200, "text/xml", refusing("E7")), {}, UpstreamRejected),
        ((200, "text/xml", refusing("E7")), {"code": "E7", "means": "failed"}, UpstreamFault),
        ((200, "text/xml", refusing("E7", "is locked by X")), {"text": "locked", "means": "busy"}, UpstreamBusy),
        ((200, "text/xml", refusing("E7")), {"code": "E*", "means": "in_doubt"}, OutcomeUnknown),
        ((404, "text/xml", refusing("E7")), {"code": "E7", "means": "in_doubt"}, UpstreamFault),  # an error page, whatever it looks like
        ((429, "text/xml", b""), {"status": 429, "means": "failed"}, UpstreamFault),
        ((429, "text/xml", b""), {}, UpstreamBusy),
        ((500, "text/xml", fault("s:Server")), {"code": "*", "means": "tolerated"}, UpstreamFault),  # that is for result rows alone
        ((500, "text/xml", fault("s:Client")), {"code": "Client", "means": "expired"}, UpstreamRejected),  # there is no session
    ],
)
async def test_what_an_answer_means_is_what_the_estate_says(
    tmp_path: Path, said: Answer, meaning: dict[str, Any], error: type[UpstreamError]
) -> None:
    with pytest.raises(UpstreamError) as caught:
        await asked(tmp_path, said, **RESULT, meanings=[meaning] if meaning else [])
    assert type(caught.value) is error, caught.value


@pytest.mark.parametrize(
    "said", [(404, "text/html", b""), (500, "text/xml", fault("s:Client", detail=API_FAULT)), (200, "text/xml", refusing("NONE"))]
)
async def test_absent_is_an_empty_answer_that_carries_the_refusal_for_a_write(tmp_path: Path, said: Answer) -> None:
    meanings = [{"code": ["LOCKED", "NONE"], "means": "absent"}, {"status": 404, "means": "absent"}]
    reply = await asked(tmp_path, said, **RESULT, meanings=meanings)
    assert reply.documents == ()
    assert isinstance(reply.absent, UpstreamRejected)


async def test_an_operation_own_meaning_comes_first_and_a_tolerated_row_leaves_the_answer(tmp_path: Path) -> None:
    own = {"Find": {"meanings": [{"code": "E7", "means": "tolerated"}]}}
    reply = await asked(tmp_path, (200, "text/xml", refusing("E7")), **RESULT, meanings=[{"code": "E7", "means": "busy"}], operations=own)
    assert len(reply.documents) == 1


@pytest.mark.parametrize(
    ("kind", "fine", "fails"), [("0", ["0", ""], False), ("3", ["0", ""], True), ("", ["0", ""], False), ("", ["0"], True)]
)
async def test_results_may_name_what_is_fine_instead_of_what_is_not(tmp_path: Path, kind: str, fine: list[str], fails: bool) -> None:
    body = envelope(f"<FindResponse><status>{f'<code>{kind}</code>' if kind else ''}</status></FindResponse>")
    results = {"path": "", "type": "status.code", "fine": fine, "code": ["status.code"], "text": "status.message"}
    if fails:
        with pytest.raises(UpstreamRejected):
            await asked(tmp_path, (200, "text/xml", body), results=results)
    else:
        assert (await asked(tmp_path, (200, "text/xml", body), results=results)).documents


# ---- sessions -----------------------------------------------------------------------------------------------------------

SESSION: dict[str, Any] = {"operation": "Login", "user": "u", "password": "p", "token": "ticket", "header": "Session.ticket"}


def recording(seen: list[tuple[str, etree._Element, bytes]], *, login: bytes = LOGGED_IN, header: str = "") -> Serve:
    async def serve(head: bytes, body: bytes) -> Answer | bytes:
        root = etree.fromstring(body)
        name = etree.QName(root.find("{*}Body")[0]).localname  # type: ignore[index]  # each request has one
        seen.append((name, root, head))
        if name == "Login" and header:
            return f"HTTP/1.1 200 X\r\nContent-Type: text/xml\r\n{header}\r\nContent-Length: {len(login)}\r\n\r\n".encode() + login
        if name == "Login":
            await asyncio.sleep(0.01)
        return (200, "text/xml", {"Login": login, "Find": FOUND}.get(name, envelope(f"<{name}Response/>")))

    return serve


FIND = {"context": {"company": "1", "pool": "P"}}


async def test_a_login_takes_company_language_and_agreement_and_serves_a_hundred_calls(tmp_path: Path) -> None:
    seen: list[tuple[str, etree._Element, bytes]] = []
    session = {**SESSION, "request": {"company": "900", "language": "DE"}, "secrets": {"agreement": "A-77"}}
    async with live(tmp_path, recording(seen), session=session) as connection:
        await asyncio.gather(*(connection.call("Find", FIND, CALL, 10) for _ in range(100)))
    names = [name for name, *_ in seen]
    assert (names.count("Login"), names.count("Find")) == (1, 100)
    login = seen[0][1].find(".//{urn:t}Login")
    assert login is not None
    assert [e.text for e in login] == ["u", "p", "900", "DE", "A-77"]
    assert {root.findtext(".//{urn:t}Session/{urn:t}ticket") for name, root, _ in seen if name == "Find"} == {"T1"}


async def test_token_pairs_travel_each_in_its_place_and_the_session_is_ended_on_close(tmp_path: Path) -> None:
    seen: list[tuple[str, etree._Element, bytes]] = []
    also = [{"token": "number", "field": "context.ticket"}, {"cookie": "SID"}]
    session = {**SESSION, "also": also, "logout": "Logout"}
    async with live(tmp_path, recording(seen, header="Set-Cookie: SID=c3; Path=/"), session=session) as connection:
        await connection.call("Find", FIND, CALL, 5)
    (_, find, head), (last, out, _) = seen[1:]
    assert (find.findtext(".//{urn:t}Session/{urn:t}ticket"), find.findtext(".//{urn:t}context/{urn:t}ticket")) == ("T1", "7")
    assert b"Cookie: SID=c3" in head
    assert (last, out.findtext(".//{urn:t}Session/{urn:t}ticket")) == ("Logout", "T1")


async def test_a_connection_that_never_logged_in_does_not_log_out(tmp_path: Path) -> None:
    seen: list[tuple[str, etree._Element, bytes]] = []
    async with live(tmp_path, recording(seen), session={**SESSION, "logout": "Logout"}):
        pass
    assert seen == []


async def test_a_token_may_stand_in_a_header_of_the_answer_and_the_login_elsewhere(tmp_path: Path) -> None:
    here: list[tuple[str, etree._Element, bytes]] = []
    there: list[tuple[str, etree._Element, bytes]] = []
    login = envelope("<LoginResponse/>", "<Session><ticket>H1</ticket></Session>")
    async with scripted(recording(there, login=login)) as elsewhere:
        session = {**SESSION, "token": "Session.ticket", "found_in": "header", "endpoint": elsewhere}
        async with live(tmp_path, recording(here), session=session) as connection:
            await connection.call("Find", FIND, CALL, 5)
    assert ([n for n, *_ in here], [n for n, *_ in there]) == (["Find"], ["Login"])
    assert here[0][1].findtext(".//{urn:t}Session/{urn:t}ticket") == "H1"


async def test_a_login_that_is_answered_by_a_result_code_is_refused_once_for_all(tmp_path: Path) -> None:
    logins = 0

    async def serve(head: bytes, body: bytes) -> Answer:
        nonlocal logins
        logins += 1
        return (200, "text/xml", envelope("<LoginResponse><number>4</number></LoginResponse>"))

    results = {"Login": {"results": {"path": "", "type": "number", "fine": ["0"], "code": ["number"], "text": ""}}}
    async with live(tmp_path, serve, session=SESSION, operations=results) as connection:
        for _ in range(3):
            with pytest.raises(CredentialsRefused, match="login refused"):
                await connection.call("Find", FIND, CALL, 5)
    assert logins == 1


# ---- header blocks, constants, documents --------------------------------------------------------------------------------


async def test_header_blocks_and_constant_fields_come_from_the_estate_and_signatures_are_computed(tmp_path: Path) -> None:
    seen: list[tuple[str, etree._Element, bytes]] = []
    options = {
        "blocks": {
            "passport": {"account": "A1", "nonce": "{nonce}", "timestamp": "{timestamp}", "signature.algorithm": "HMAC-SHA256"},
            "Session": {"device": "tillgate"},
        },
        "signed_blocks": {"passport": {"field": "signature", "of": ["account", "nonce", "timestamp"], "key": ["consumer", "token"]}},
        "constants": {"context.company": "900"},
        "secrets": {"context.pool": "LIVE"},
    }
    async with live(tmp_path, recording(seen), session=SESSION, **options) as connection:
        await connection.call("Find", {"sku": "1"}, CALL, 5)
        await connection.call("Find", {"context": {"company": "own"}}, CALL, 5)
    (_, login, _), (_, first, _), (_, second, _) = seen
    assert login.find(".//{urn:t}passport") is None  # the binding declares it for Find alone
    assert login.findtext(".//{urn:t}device") == "tillgate"  # and this one for nobody
    passport = [first.findtext(f".//{{urn:t}}passport/{{urn:t}}{n}") or "" for n in ("account", "nonce", "timestamp")]
    signature = first.find(".//{urn:t}signature")
    assert signature is not None
    assert signature.get("algorithm") == "HMAC-SHA256"
    assert signature.text == base64.b64encode(hmac.digest(b"consumer&token", "&".join(passport).encode(), "sha256")).decode()
    assert passport[1] != second.findtext(".//{urn:t}nonce")
    assert [first.findtext(f".//{{urn:t}}context/{{urn:t}}{n}") for n in ("company", "pool")] == ["900", "LIVE"]
    assert second.findtext(".//{urn:t}context/{urn:t}company") == "own"


def test_fields_that_the_driver_fills_are_optional_for_a_mapping(tmp_path: Path) -> None:
    wsdl, raw = contract(tmp_path), {"constants": {"context.company": "1", "context.pool": "2"}}
    request = load("erp", wsdl, read(SoapOptions, raw)).exchange("Find").request
    assert request is not None
    context = request.root.get("context")
    assert context is not None
    assert isinstance(context.shape, Record)
    assert (context.required, [f.name for f in context.shape.fields if f.required]) == (False, [])


async def test_a_text_that_holds_a_document_is_written_and_read_as_the_schema_beside_says(tmp_path: Path) -> None:
    (tmp_path / "x3.xsd").write_text(
        """<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:x" elementFormDefault="qualified">
        <xs:element name="PARAM"><xs:complexType><xs:sequence><xs:element name="ITEM" maxOccurs="9"><xs:complexType>
        <xs:attribute name="SKU" type="xs:string"/></xs:complexType></xs:element></xs:sequence></xs:complexType></xs:element></xs:schema>"""
    )
    seen: list[tuple[str, etree._Element, bytes]] = []
    inner = "<?xml version='1.0' encoding='ISO-8859-1'?>\n<PARAM xmlns='urn:x'><ITEM SKU='Ä&amp;1'/></PARAM>"
    text = inner.replace("&", "&amp;").replace("<", "&lt;")
    answers = [
        f"<name>{text}</name>",
        f"<name><![CDATA[{inner}]]></name>",
        "<name/>",
        "<name>&lt;a</name>",
        "<name>&lt;!DOCTYPE a>&lt;a/></name>",
    ]

    async def serve(head: bytes, body: bytes) -> Answer:
        seen.append(("", etree.fromstring(body), head))
        return (200, "text/xml", envelope(f"<FindResponse>{answers[len(seen) - 1]}</FindResponse>"))

    content = {"name": "x3.xsd#PARAM", "sku": "x3.xsd#PARAM"}
    async with live(tmp_path, serve, operations={"Find": {"content": content}}) as connection:
        exchange = connection.contract.exchange("Find")
        assert exchange.answer is not None
        assert exchange.answer.root.get("name").shape.get("PARAM").namespace == "urn:x"  # type: ignore[union-attr]  # both are there
        for _ in range(2):
            reply = await connection.call("Find", {**FIND, "sku": {"PARAM": {"ITEM": [{"SKU": 'a<&"b'}]}}}, CALL, 5)
            item = reply.documents[0].find("{urn:t}name/{urn:x}PARAM/{urn:x}ITEM")
            assert item.get("SKU") == "Ä&1"
        assert (await connection.call("Find", FIND, CALL, 5)).documents
        for says in ("well-formed XML", "without DOCTYPE"):
            with pytest.raises(UpstreamError, match=f"name, line 1: expected .*{says}"):
                await connection.call("Find", FIND, CALL, 5)
    asked_for = etree.fromstring(seen[0][1].findtext(".//{urn:t}sku") or "")
    assert [e.get("SKU") for e in asked_for] == ['a<&"b']


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"blocks": {"pasport": {"account": "1"}}}, "there is no element 'pasport'"),
        ({"blocks": {"passport": {"acount": "1"}}}, "there is no 'acount' in"),
        ({"constants": {"context.pol": "1"}}, "no request has a field 'context.pol'"),
        ({"operations": {"Find": {"content": {"nam": "x.xsd#A"}}}}, "there is no 'x.xsd' beside it"),
        ({"operations": {"Find": {"content": {"nam": "erp.wsdl#A"}}}}, "no element or record 'A'"),
        ({"operations": {"Find": {"meanings": [{"code": "1", "field": "ApiFalt.code", "means": "busy"}]}}}, "did you mean ApiFault"),
        ({"operations": {"Find": {"meanings": [{"code": "1", "field": "ApiFault.cod", "means": "busy"}]}}}, "there is no 'cod' in"),
        ({"operations": {"Find": {"results": {"path": "stat"}}}}, "there is no 'stat' in FindResponse"),
        ({"operations": {"Find": {"results": {"path": "status", "type": "okay"}}}}, "there is no 'okay'"),
        ({"session": {**SESSION, "request": {"firm": "1"}}}, "session.request: there is no 'firm' in Login"),
        ({"session": {**SESSION, "logout": "Logoff"}}, "did you mean 'Logout'"),
        ({"session": {**SESSION, "found_in": "header", "token": "Sesion.ticket"}}, "no header block 'Sesion'; did you mean Session"),
        ({"session": {**SESSION, "found_in": "header", "token": "Session.tiket"}}, "there is no 'tiket' in Session"),
        ({"session": {**SESSION, "also": [{"token": "nummer", "cookie": "c"}]}}, "there is no 'nummer' in LoginResponse"),
    ],
)
def test_what_the_contract_does_not_have_is_a_finding_with_what_it_has(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(Findings, match=says):
        load("erp", contract(tmp_path), read(SoapOptions, options))


@pytest.mark.parametrize(
    ("meaning", "says"),
    [
        ({"means": "busy"}, "needs a code, a text or a status"),
        ({"means": "bussy", "code": "1"}, "bussy"),
        ({"means": "busy", "field": "a", "status": 500}, "field goes with code"),
    ],
)
def test_a_meaning_that_says_nothing_is_refused(meaning: dict[str, Any], says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        read(SoapOptions, {"meanings": [meaning]})
