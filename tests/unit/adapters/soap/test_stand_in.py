"""What the stand-in says, the driver's own reader reads; what the driver's writer writes, the stand-in knows again."""

from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from adapters.options import read
from adapters.soap.client import read_body
from adapters.soap.contract import SoapContract
from adapters.soap.spec import SoapOptions
from adapters.soap.stand_in import SoapSpeaker
from adapters.speaker import Asked
from mappings.language.sample import document

WSDL = Path(__file__).parents[4] / "contracts/systems/erp/retail.wsdl"
SESSION = {"operation": "Login", "user": "u", "password": "p", "user_field": "USER", "password_field": "PASSWORD", "token": "SESSION_ID"}


def speaker(**options: Any) -> SoapSpeaker:
    return SoapSpeaker(SoapContract("erp", WSDL), read(SoapOptions, options))


def envelope(body: bytes, header: bytes = b"") -> bytes:
    head = b"<s:Header>" + header + b"</s:Header>" if header else b""
    return b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">' + head + b"<s:Body>" + body + b"</s:Body></s:Envelope>"


def asked(contract: SoapContract, operation: str, header: bytes = b"", **values: str) -> Asked:
    message = contract.exchange(operation).request
    assert message is not None
    described = contract.operation(operation)
    body = document(message, values=values, element=described.request.element)
    return Asked("POST", "/", {"soapaction": f'"{described.action}"'}, envelope(body, header))


def test_every_operation_is_known_by_what_it_is_asked_with_and_answers_what_its_contract_says() -> None:
    contract, spoken = SoapContract("erp", WSDL), speaker()
    for name in contract.operations():
        question = asked(contract, name)
        assert spoken.operation(question) == name
        assert spoken.operation(Asked("POST", "/", {}, question.body)) == name
        message, answer = contract.exchange(name).answer, contract.operation(name).answer
        assert message is not None
        assert answer is not None
        plain = document(message, element=("", "whatever"))
        said = spoken.answer(name, spoken.prepared(name, plain), question)
        payload = next(iter(read_body(said.body)))
        assert (etree.QName(payload).namespace, etree.QName(payload).localname) == answer.element


def test_what_is_no_envelope_of_this_contract_is_nobodys_operation() -> None:
    for body in (b"", b"<a/>", envelope(b""), envelope(b"<Unknown/>"), b"<!DOCTYPE a><a/>"):
        assert speaker().operation(Asked("POST", "/", {}, body)) is None


def test_a_login_with_our_name_gives_the_token_that_lets_calls_in() -> None:
    contract = SoapContract("erp", WSDL)
    spoken = speaker(session={**SESSION, "header": "SessionHeader.SESSION_ID"}, meanings=[{"code": "SESSION_EXPIRED", "means": "expired"}])
    login = asked(contract, "Login", USER="u", PASSWORD="p")
    assert spoken.logs_in("Login")
    assert spoken.admitted("Login", login, frozenset()) is None
    assert spoken.admitted("Login", asked(contract, "Login", USER="u", PASSWORD="x"), frozenset()) == "credentials"
    said = spoken.session("Login", login, "t-1")
    assert next(iter(read_body(said.body))).findtext("{*}SESSION_ID") == "t-1"
    header = b"<SessionHeader><SESSION_ID>t-1</SESSION_ID></SessionHeader>"
    call = asked(contract, "GetStock", header)
    assert spoken.admitted("GetStock", call, frozenset({"t-1"})) is None
    assert spoken.admitted("GetStock", call, frozenset({"t-2"})) == "session"
    assert spoken.admitted("GetStock", asked(contract, "GetStock"), frozenset({"t-1"})) == "session"


def test_an_ended_session_is_said_as_the_options_declare_it() -> None:
    session = {**SESSION, "header": "SessionHeader.SESSION_ID"}
    for rule, status, part in (
        ({"code": "GONE*"}, 500, b"<code>GONE</code>"),
        ({"text": "log in first"}, 500, b"log in first"),
        ({"status": 401}, 401, b""),
    ):
        said = speaker(session=session, meanings=[{**rule, "means": "expired"}]).expired("GetStock")
        assert said is not None
        assert said.status == status
        assert part in said.body
    assert speaker(session=session).expired("GetStock") is None


@pytest.mark.parametrize("results", [{}, {"results": {"path": "T_RETURN.item"}}])
def test_a_refusal_has_the_systems_own_form(results: dict[str, Any]) -> None:
    said = speaker(**results).refusal("CreateSalesOrder")
    assert (b"Fault" in said.body) is not bool(results)
    assert b"this is not possible" in said.body


def test_a_document_with_other_namespaces_is_put_into_the_contracts() -> None:
    spoken = speaker()
    made = spoken.prepared(
        "GetStock", b'<x:Anything xmlns:x="urn:x"><x:T_STOCK><x:item><x:MATNR>1</x:MATNR></x:item></x:T_STOCK></x:Anything>'
    )
    assert etree.QName(made).localname == "GetStockResponse"
    assert made.findtext("T_STOCK/item/MATNR") == "1"
    with pytest.raises(ValueError, match="well-formed"):
        spoken.prepared("GetStock", b"<a>")
