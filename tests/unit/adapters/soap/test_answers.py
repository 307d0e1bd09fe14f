"""What the driver makes of answers that no well-behaved system gives, each served by a scripted socket."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from adapters.options import read
from adapters.soap.client import read_body
from adapters.soap.driver import SoapConnection
from adapters.soap.errors import SOAP12, Unusable, read_fault
from adapters.soap.spec import SoapOptions
from contracts.errors import (
    ConnectionLost,
    ContractViolation,
    Findings,
    UpstreamBusy,
    UpstreamError,
    UpstreamFault,
    UpstreamRejected,
)
from tests.unit.adapters.soap.conftest import CALL, OPTIONS, Answer, connected, envelope, scripted
from tests.unit.adapters.soap.test_contract import described

PLANTS = "<n:GetPlantsResponse><T_PLANTS/></n:GetPlantsResponse>"
NO_SESSION: dict[str, Any] = {"session": None}


def always(*said: Answer | bytes) -> Callable[[bytes, bytes], Awaitable[Answer | bytes]]:
    left = list(said)

    async def answer(head: bytes, body: bytes) -> Answer | bytes:
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


def fault11(code: str, text: str, detail: str = "") -> str:
    return f"<s:Fault><faultcode>{code}</faultcode><faultstring>{text}</faultstring><detail>{detail}</detail></s:Fault>"


def fault12(code: str, sub: str, text: str) -> bytes:
    inner = (
        f"<s:Fault><s:Code><s:Value>{code}</s:Value><s:Subcode><s:Value>{sub}</s:Value></s:Subcode></s:Code>"
        f'<s:Reason><s:Text xml:lang="en">{text}</s:Text></s:Reason></s:Fault>'
    )
    return envelope(inner, SOAP12)


async def plants(wsdl: Path, *said: Answer | bytes, **changes: Any) -> Any:
    async with scripted(always(*said)) as url, connected(wsdl, url, {**NO_SESSION, **changes}) as live:
        return await live.call("GetPlants", {}, CALL, 5)


async def refusal(wsdl: Path, *said: Answer | bytes, **changes: Any) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await plants(wsdl, *said, **changes)
    return caught.value


@pytest.mark.parametrize("kind", ["text/xml", "text/xml; charset=utf-8", "application/soap+xml", "APPLICATION/XML"])
async def test_the_payload_is_answered_under_every_soap_type(wsdl: Path, kind: str) -> None:
    (document,) = (await plants(wsdl, (200, kind, envelope(PLANTS)))).documents
    assert etree.QName(document).localname == "GetPlantsResponse"


async def test_comments_and_instructions_inside_a_value_do_not_cut_it(wsdl: Path) -> None:
    inner = "<n:GetPlantsResponse><T_PLANTS><item><NAME1>one<!-- x --> two<?p?> three</NAME1></item></T_PLANTS></n:GetPlantsResponse>"
    (document,) = (await plants(wsdl, (200, "text/xml", envelope(inner)))).documents
    assert document.findtext("T_PLANTS/item/NAME1") == "one two three"


async def test_a_body_in_another_encoding_is_read_as_it_declares(wsdl: Path) -> None:
    inner = PLANTS.replace("<T_PLANTS/>", "<T_PLANTS><item><NAME1>Köln</NAME1></item></T_PLANTS>")
    body = b"<?xml version='1.0' encoding='ISO-8859-1'?>" + envelope(inner).decode().encode("latin-1")
    (document,) = (await plants(wsdl, (200, "text/xml", body))).documents
    assert document.findtext("T_PLANTS/item/NAME1") == "Köln"


@pytest.mark.parametrize(
    ("status", "body", "error", "fault_code"),
    [
        (200, envelope(fault11("s:Server", "boom")), UpstreamFault, "Server"),
        (500, envelope(fault11("s:Server.userException", "boom")), UpstreamFault, "Server"),
        (500, envelope(fault11("s:Client", "boom")), UpstreamRejected, None),
        (200, envelope(fault11("soap:Client.Validation", "boom")), UpstreamRejected, None),
        (500, envelope(fault11("102", "boom")), UpstreamFault, "Server"),
        (500, envelope(fault11("s:MustUnderstand", "boom")), UpstreamFault, "MustUnderstand"),
        (500, fault12("s:Receiver", "x:Busy", "boom"), UpstreamFault, "Server"),
        (400, fault12("s:Sender", "x:NoStock", "boom"), UpstreamRejected, None),
        (200, envelope("<s:Fault/>"), UpstreamFault, "Server"),
    ],
)
async def test_faults_of_both_versions_under_any_status_say_whose_fault_it_is(
    wsdl: Path, status: int, body: bytes, error: type[UpstreamError], fault_code: str | None
) -> None:
    caught = await refusal(wsdl, (status, "text/xml", body))
    assert type(caught) is error
    if isinstance(caught, UpstreamFault):
        assert (caught.fault_code, caught.sent) == (fault_code, fault_code != "MustUnderstand")
        assert caught.error_type == "upstream_error"
    assert "boom" in caught.reason or "Fault/" in body.decode()
    assert "boom" not in caught.public


async def test_a_declared_fault_code_is_a_refusal_though_the_fault_does_not_blame_the_client(wsdl: Path) -> None:
    meanings = [{"code": "101", "means": "rejected"}]
    caught = await refusal(wsdl, (200, "text/xml", envelope(fault11("101", "Product not exists."))), meanings=meanings)
    assert type(caught) is UpstreamRejected
    assert caught.refusal == "101"


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        ((200, "text/html", b"<html>Welcome</html>"), ContractViolation, "text/html"),
        ((200, "application/json", b"{}"), ContractViolation, "application/json"),
        ((200, "", envelope(PLANTS)), ContractViolation, "no Content-Type"),
        ((200, "multipart/related; boundary=x", b"--x"), ContractViolation, "multipart/related"),
        ((200, "text/xml", b""), ContractViolation, "well-formed XML"),
        ((200, "text/xml", envelope(PLANTS)[:-30]), ContractViolation, "well-formed XML"),
        ((200, "text/xml", b"\xff\xfe\x00garbage"), ContractViolation, "well-formed XML"),
        ((200, "text/xml", b"<html/>"), ContractViolation, "Envelope"),
        ((200, "text/xml", b'<Envelope xmlns="urn:other"/>'), ContractViolation, "Envelope"),
        ((200, "text/xml", b'<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"/>'), ContractViolation, "Body"),
        ((200, "text/xml", envelope("")), ContractViolation, "GetPlantsResponse"),
        ((200, "text/xml", envelope("<n:GetStockResponse/>")), ContractViolation, "GetPlantsResponse"),
        ((500, "text/html", b"<html>Internal Server Error</html>"), UpstreamFault, "HTTP 500"),
        ((502, "text/xml", b"<half"), UpstreamFault, "HTTP 502"),
        ((404, "text/html", b"not here"), UpstreamFault, "HTTP 404"),
        ((302, "text/html", b""), UpstreamFault, "HTTP 302"),
        ((500, "text/xml", envelope(PLANTS)), UpstreamFault, "HTTP 500"),
    ],
)
async def test_an_answer_that_is_no_answer_names_what_came_instead(
    wsdl: Path, answer: Answer, error: type[UpstreamError], text: str
) -> None:
    caught = await refusal(wsdl, answer)
    assert type(caught) is error
    assert text in str(caught)
    assert caught.sent is (answer[0] < 300 or answer[0] >= 500)
    if isinstance(caught, UpstreamFault):
        assert caught.fault_code == str(answer[0])


@pytest.mark.parametrize(
    "document",
    [
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + envelope("<a>&x;</a>"),
        b'<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]>' + envelope("<a>&y;</a>"),
        b'<!DOCTYPE s SYSTEM "http://example.test/x.dtd">' + envelope(PLANTS),
        b"<!DOCTYPE s>" + envelope(PLANTS),
        envelope("<a>" * 400 + "</a>" * 400),
        envelope("<a>&unknown;</a>"),
        envelope("<a>" + "x" * 11_000_000 + "</a>"),
    ],
    ids=["external entity", "entity bomb", "external DTD", "DOCTYPE", "depth", "unknown entity", "long text"],
)
async def test_hostile_xml_is_refused_quickly(wsdl: Path, document: bytes) -> None:
    started = time.process_time()
    assert type(await refusal(wsdl, (200, "text/xml", document))) is ContractViolation
    assert time.process_time() - started < 1


async def test_an_answer_over_the_limit_is_refused(wsdl: Path) -> None:
    caught = await refusal(wsdl, (200, "text/xml", envelope(PLANTS + " " * 5000)), body_limit=2000)
    assert type(caught) is ContractViolation
    assert "2000 bytes" in caught.expected


async def test_a_large_answer_is_parsed_beside_the_event_loop(wsdl: Path) -> None:
    rows = "".join(f"<item><NAME1>{n}</NAME1></item>" for n in range(60_000))
    body = envelope(f"<n:GetPlantsResponse><T_PLANTS>{rows}</T_PLANTS></n:GetPlantsResponse>")
    (document,) = (await plants(wsdl, (200, "text/xml", body))).documents
    assert len(document[0]) == 60_000


@pytest.mark.parametrize(("status", "head"), [(429, ""), (429, "Retry-After: 7\r\n"), (503, "Retry-After: 7\r\n")])
async def test_a_busy_system_says_how_long_to_wait_and_did_nothing(wsdl: Path, status: int, head: str) -> None:
    caught = await refusal(wsdl, f"HTTP/1.1 {status} X\r\n{head}Content-Length: 0\r\n\r\n".encode())
    assert type(caught) is UpstreamBusy
    assert (caught.sent, caught.retry_after) == (False, 7.0 if head else None)


async def test_a_connection_that_ends_in_the_answer_is_lost(wsdl: Path) -> None:
    caught = await refusal(wsdl, b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 900\r\n\r\n" + envelope(PLANTS)[:50])
    assert (type(caught), caught.sent) == (ConnectionLost, True)


async def test_codes_declared_as_busy_are_not_refusals(wsdl: Path) -> None:
    rows = "<T_RETURN><item><TYPE>E</TYPE><ID>V1</ID><NUMBER>042</NUMBER><MESSAGE>locked</MESSAGE></item></T_RETURN>"
    body = envelope(f"<n:GetPlantsResponse><T_PLANTS/>{rows}</n:GetPlantsResponse>")
    changes = {"results": {"path": "T_RETURN.item"}, "meanings": [{"code": "V1/042", "means": "busy"}]}
    assert type(await refusal(wsdl, (200, "text/xml", body), **changes)) is UpstreamBusy
    assert type(await refusal(wsdl, (200, "text/xml", body), results={"path": "T_RETURN.item"})) is UpstreamRejected
    assert (await plants(wsdl, (200, "text/xml", body), results={"path": "T_RETURN.item", "errors": ["A"]})).documents


async def test_a_statement_of_time_that_is_none_breaks_the_contract(wsdl: Path) -> None:
    body = envelope("<n:GetStockResponse><STICHTAG>2026-1</STICHTAG><UZEIT>10</UZEIT><T_STOCK/></n:GetStockResponse>")
    async with scripted(always((200, "text/xml", body))) as url, connected(wsdl, url, NO_SESSION) as live:
        with pytest.raises(ContractViolation, match="STICHTAG and UZEIT: expected a moment written as %Y%m%d%H%M%S"):
            await live.call("GetStock", {"T_REQ": {"item": []}}, CALL, 5)


# ---- sessions that travel otherwise -------------------------------------------------------------------------------------


LOGIN = envelope("<n:LoginResponse><SESSION_ID>T{}</SESSION_ID><VALID_SECONDS>9</VALID_SECONDS></n:LoginResponse>").decode()


async def test_a_session_in_a_cookie_is_sent_and_renewed(wsdl: Path) -> None:
    cookies: list[str] = []

    async def answer(head: bytes, body: bytes) -> Answer | bytes:
        lines = head.decode().split("\r\n")
        cookies.append(next((line for line in lines if line.startswith("Cookie")), ""))
        if b"Login" in body:
            said = LOGIN.format("").encode()
            set_cookie = f"Set-Cookie: SID=s{cookies.count('')}; Path=/; HttpOnly\r\n"
            return f"HTTP/1.1 200 X\r\nContent-Type: text/xml\r\n{set_cookie}Content-Length: {len(said)}\r\n\r\n".encode() + said
        return (401, "text/html", b"") if "s1" in cookies[-1] else (200, "text/xml", envelope(PLANTS))

    session = {k: v for k, v in OPTIONS["session"].items() if k not in {"token", "header"}} | {"cookie": "SID"}
    changes = {"session": session, "meanings": [{"status": 401, "means": "expired"}]}
    async with scripted(answer) as url, connected(wsdl, url, changes) as live:
        assert (await live.call("GetPlants", {}, CALL, 5)).documents
    assert cookies == ["", "Cookie: SID=s1", "", "Cookie: SID=s2"]


async def test_a_session_that_stays_expired_after_one_renewal_is_a_failure_and_not_a_loop(wsdl: Path) -> None:
    bodies: list[bytes] = []

    async def answer(head: bytes, body: bytes) -> Answer:
        bodies.append(body)
        if b"Login" in body:
            return (200, "text/xml", LOGIN.format(len(bodies)).encode())
        return (200, "text/xml", envelope(fault11("5", "Session  expired. Try to relogin.")))

    async with scripted(answer) as url, connected(wsdl, url, {"meanings": [{"text": "session expired", "means": "expired"}]}) as live:
        with pytest.raises(UpstreamFault) as caught:
            await live.call("GetPlants", {}, CALL, 5)
    assert caught.value.sent is False
    assert [b"Login" in body for body in bodies] == [True, False, True, False]
    assert b"SESSION_ID>T1<" in bodies[1]
    assert b"SESSION_ID>T3<" in bodies[3]


async def test_a_login_answer_without_a_token_leaves_the_call_unsent(wsdl: Path) -> None:
    said = (200, "text/xml", envelope("<n:LoginResponse><VALID_SECONDS>9</VALID_SECONDS></n:LoginResponse>"))
    caught = await refusal(wsdl, said, session=OPTIONS["session"])
    assert (type(caught), caught.sent) == (ContractViolation, False)
    assert "SESSION_ID: expected a session token, got nothing" in str(caught)


async def test_a_session_in_a_request_field_is_written_into_every_request(samples: Path) -> None:
    exchanges = samples / "soap-exchanges"
    sent: list[bytes] = []

    async def answer(head: bytes, body: bytes) -> Answer:
        sent.append(body)
        name = "01-login-received.xml" if b":login" in body else "02-catalogProductList-received.xml"
        return (200, "text/xml", (exchanges / name).read_bytes())

    session = {
        "operation": "login",
        "user": "u",
        "password": "p",
        "user_field": "username",
        "password_field": "apiKey",
        "token": "loginReturn",
        "field": "sessionId",
    }
    wsdl = samples / "wsdl/shop-rpc-encoded.wsdl"
    async with scripted(answer) as url, connected(wsdl, url, {"session": session, "results": None, "operations": {}}) as live:
        (document,) = (await live.call("catalogProductList", {}, CALL, 5)).documents
    token = etree.fromstring((exchanges / "01-login-received.xml").read_bytes()).findtext(".//loginReturn")
    assert f">{token}</sessionId>".encode() in sent[1]
    assert len(document.findall("storeView/item")) == 120


async def test_soap_12_names_its_action_in_the_content_type(tmp_path: Path) -> None:
    described(tmp_path, '<xs:element name="Ask"/>')
    text = (tmp_path / "a.wsdl").read_text().replace("schemas.xmlsoap.org/wsdl/soap/", "schemas.xmlsoap.org/wsdl/soap12/")
    (tmp_path / "a.wsdl").write_text(text)
    heads: list[bytes] = []

    async def answer(head: bytes, body: bytes) -> Answer:
        heads.append(head + body)
        return (202, "", b"")

    async with scripted(answer) as url, connected(tmp_path / "a.wsdl", url, {"session": None, "results": None, "operations": {}}) as live:
        assert (await live.call("Ask", {}, CALL, 5)).documents == ()
    assert b'Content-Type: application/soap+xml; charset=utf-8; action="urn:ask"' in heads[0]
    assert SOAP12.encode() in heads[0]
    assert b"SOAPAction" not in heads[0]


# ---- options that name what is not there --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"operations": {"GetStok": {}}}, "did you mean 'GetStock'"),
        ({"session": {**OPTIONS["session"], "operation": "Logon"}}, "did you mean 'Login'"),
        ({"session": {**OPTIONS["session"], "header": "SessionHeader.SID"}}, "there is no 'SID' in SessionHeader; it has SESSION_ID"),
        ({"session": {**OPTIONS["session"], "header": "Session.SID"}}, "there is no element 'Session'"),
        ({"session": {**OPTIONS["session"], "user_field": "LOGIN"}}, "there is no 'LOGIN' in Login; it has USER, PASSWORD"),
        ({"session": {**OPTIONS["session"], "token": "TOKEN"}}, "there is no 'TOKEN' in LoginResponse"),
        ({"operations": {"GetStock": {"as_of": {"fields": ["X"], "format": "%Y"}}}}, "there is no 'X' in GetStockResponse"),
    ],
)
async def test_options_that_name_what_the_contract_does_not_have_are_findings(wsdl: Path, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(Findings, match=text):
        async with connected(wsdl, "http://127.0.0.1:1/", changes):
            pass


@pytest.mark.parametrize(
    ("session", "text"),
    [
        ({"header": "A.B", "field": "c"}, "exactly one of header, field and cookie"),
        ({}, "exactly one of header, field and cookie"),
        ({"header": "A"}, "names a block and its field"),
        ({"header": "A.B", "token": None}, "token is missing"),
        ({"header": "A.B", "tokn": "x"}, "tokn"),
    ],
)
def test_a_session_that_cannot_work_is_refused_when_it_is_read(session: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        read(SoapOptions, {"session": {"operation": "Login", "user": "u", "password": "p", "token": "T", **session}})


def test_secrets_never_show_in_a_repr() -> None:
    shown = read(SoapOptions, {**OPTIONS, "basic": {"user": "u", "password": "hidden-1"}, "tls": {"ca": "x", "password": "hidden-2"}})
    assert "retail-sandbox" not in repr(shown)
    assert "hidden" not in repr(shown)


# ---- references of encoded answers --------------------------------------------------------------------------------------


def encoded(inner: str) -> bytes:
    return (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:e="http://schemas.xmlsoap.org/soap/encoding/">'
        f"<s:Body>{inner}</s:Body></s:Envelope>"
    ).encode()


def test_multi_reference_values_stand_where_they_are_referred_to() -> None:
    body = read_body(
        encoded(
            '<r><list><item href="#a"/><item href="#b"/><item href="#a"/></list></r>'
            '<multiRef id="a" e:root="0"><name>one</name><child href="#b"/></multiRef><multiRef id="b" e:root="0">two</multiRef>'
        )
    )
    assert len(body) == 1
    items = body[0][0]
    assert [(i.findtext("name"), i.findtext("child"), i.text) for i in items] == [
        ("one", "two", None),
        (None, None, "two"),
        ("one", "two", None),
    ]


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        ('<r><a href="#x"/></r><m id="y"/>', "not there"),
        ('<r><a href="#x"/></r><m id="x"><b href="#x"/></m>', "contains itself"),
        ('<r><a href="#x"/></r><m id="x"><b href="#y"/></m><m id="y"><b href="#x"/></m>', "contains itself"),
        (
            '<r><a href="#m0"/></r>'
            + "".join(f'<m id="m{n}">' + f'<b href="#m{n + 1}"/>' * 10 + "</m>" for n in range(20))
            + '<m id="m20"/>',
            "elements behind references",
        ),
    ],
)
def test_references_that_lead_nowhere_or_never_end_are_refused(inner: str, text: str) -> None:
    with pytest.raises(Unusable) as caught:
        read_body(encoded(inner))
    assert text in f"{caught.value.expected} {caught.value.got}"


async def test_a_thousand_callers_of_a_dead_system_leave_no_task_behind(wsdl: Path, unused_tcp_port: int) -> None:
    before = len(asyncio.all_tasks())
    async with connected(wsdl, f"http://127.0.0.1:{unused_tcp_port}/") as live:
        done = await asyncio.gather(*(live.call("GetPlants", {}, CALL, 5) for _ in range(1000)), return_exceptions=True)
        assert {type(d).__name__ for d in done} == {"ConnectFailed"}
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == before
    assert isinstance(live, SoapConnection)


@given(st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=12), st.integers(0, 12)), min_size=1, max_size=6))
def test_a_mutated_answer_is_a_body_or_unusable_and_nothing_else(changes: list[tuple[int, bytes, int]]) -> None:
    inner = '<r><a href="#i">&lt;x</a></r><m id="i">y</m>' + fault11("s:Client", "boom", "<n:d><CODE>x</CODE></n:d>")
    document = encoded(inner).replace(b"<s:Body>", b'<s:Body xmlns:n="urn:n">')
    for place, inserted, removed in changes:
        document = document[:place] + inserted + document[place + removed :]
    try:
        body = read_body(document)
    except Unusable:
        return
    for element in body:
        read_fault(element)
