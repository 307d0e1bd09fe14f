from __future__ import annotations

import json
import re

import pytest
from lxml import etree

from adapters.masking import Mask, Masking, Unmaskable
from contracts.canonical.customer import Customer
from mappings.language.shape import Field, Leaf, Message, Record

MASK = Mask(b"a key of a test")
TEXT = Leaf("string")
PERSON = Message(
    "crm.Read",
    "xml",
    Record("Read", [Field("NAME", TEXT), Field("SEX", Leaf("string", enum=("M", "F", "X"))), Field("OK", Leaf("boolean"))]),
)


def masking(message: Message = PERSON, **more: object) -> Masking:
    return Masking(message, **more)  # type: ignore[arg-type]  # a table of fields


def goods(**more: object) -> Masking:
    return Masking(None, clear=frozenset({"sku", "qty", "big", "b", "c", "echo", "said"}), **more)  # type: ignore[arg-type]  # likewise


@pytest.mark.parametrize(
    "value", ["Anna Muster", "MÜLLER & Söhne", "a.muster@example.test", "+49 30 123456", "0000004711", "1980-02-29", "Ω7"]
)
def test_a_mask_keeps_shape_and_no_letter_or_digit(value: str) -> None:
    masked = MASK.text(value)
    assert len(masked) == len(value)
    for was, now in zip(value, masked, strict=True):
        assert was.isdecimal() == now.isdecimal()
        assert was.isalpha() == now.isalpha()
        assert was.isupper() == now.isupper()
        if not was.isalnum():
            assert was == now
    assert masked != value
    assert MASK.text(value) == masked != Mask(b"another key").text(value)


def test_equal_values_stay_equal_whatever_their_padding_and_case() -> None:
    assert MASK.text("0000004711").lstrip("0") == MASK.text("4711")
    assert MASK.text("ANNA").lower() == MASK.text("anna") == MASK.text("Anna").lower()
    assert MASK.text("anna") != MASK.text("anne")


@pytest.mark.parametrize("day", ["1980-02-29", "19800229", "1980-02-29T10:00:00Z"])
def test_a_day_becomes_another_day_that_exists(day: str) -> None:
    masked = MASK.text(day)
    assert masked != day
    assert re.fullmatch(r"(19|20)\d\d(-?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(T10:00:00Z)?", masked)


def test_what_no_mapping_vouches_for_is_masked() -> None:
    person = "<Read><NAME a='Anna'>Anna</NAME><SEX>M</SEX><OK>true</OK><NEW>Anna</NEW></Read>"
    body = f"<e:Envelope xmlns:e='urn:e'><e:Header><Token>abcdef</Token></e:Header><e:Body>{person}</e:Body></e:Envelope>".encode()
    masked = masking().body(body, "text/xml", MASK, {})
    assert b"Anna" not in masked
    assert b"abcdef" not in masked
    root = etree.fromstring(masked)
    assert root.findtext(".//SEX") in ("M", "F", "X")
    assert root.findtext(".//OK") == "true"
    assert root.findtext(".//NAME") == MASK.text("Anna") == root.findtext(".//NEW")


def test_what_is_vouched_for_stays_but_for_credentials() -> None:
    body = b'{"sku": "1001", "qty": 5.50, "session_id": "s3cr3t-1", "echo": "Bearer k3y-k3y-k3y", "big": 1e5}'
    masked = goods(secret_values=frozenset({"k3y-k3y-k3y"})).body(body, "application/json", MASK, {})
    found = json.loads(masked)
    assert (found["sku"], found["qty"], found["big"]) == ("1001", 5.5, 1e5)
    assert b"5.50" in masked
    assert b"s3cr3t" not in masked
    assert b"k3y-k3y" not in masked


def test_credentials_of_the_request_are_masked_where_the_answer_repeats_them() -> None:
    masked = goods().body(b'{"said": "tok-123456"}', "application/json", MASK, {"Authorization": "Bearer tok-123456"})
    assert b"tok-123456" not in masked


def test_declared_fields_are_masked_and_kept_by_the_end_of_their_path() -> None:
    body = b'{"a": {"b": "code"}, "b": "code", "c": "code"}'
    assert json.loads(goods(mask=("a.b",)).body(body, "application/json", MASK, {})) == {
        "a": {"b": MASK.text("code")},
        "b": "code",
        "c": "code",
    }
    kept = json.loads(masking(keep=("b",)).body(body, "application/json", MASK, {}))
    assert kept == {"a": {"b": "code"}, "b": "code", "c": MASK.text("code")}


def test_values_behind_references_are_masked_by_where_they_are_referred_to() -> None:
    body = b"<e:Envelope xmlns:e='urn:e'><e:Body><Read><NAME href='#1'/></Read><m id='1'>Anna</m><m id='2'>Otto</m></e:Body></e:Envelope>"
    masked = masking().body(body, "text/xml", MASK, {})
    assert b"Anna" not in masked
    assert b"Otto" not in masked
    assert b'href="#1"' in masked


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>Anna", "text/html"),
        (b"<a>Anna", "text/xml"),
        (b'{"name": "Anna"', "application/json"),
        (b"<!DOCTYPE a [<!ENTITY x 'Anna'>]><a>&x;</a>", "text/xml"),
        (b"[" * 100_000 + b'"Anna"', "application/json"),
        (b"\xff\xfeAnna", "application/octet-stream"),
    ],
)
def test_what_cannot_be_taken_apart_is_masked_as_a_whole(body: bytes, kind: str) -> None:
    assert b"Anna" not in masking().body(body, kind, MASK, {})


def test_the_address_of_the_next_page_stays_one_without_its_host() -> None:
    body = b'{"next": "https://crm.internal/people?after=Anna&n=5"}'
    masked = json.loads(masking(addresses=frozenset({"next"})).body(body, "application/json", MASK, {}))
    assert masked == {"next": f"/people?after={MASK.text('Anna')}&n={MASK.text('5')}"}


def test_attachments_are_not_recorded() -> None:
    with pytest.raises(Unmaskable):
        masking().body(b"--x\r\n", "multipart/related; boundary=x", MASK, {})


def test_headers_are_left_out_but_for_what_reading_depends_on() -> None:
    headers = {
        "Content-Type": "application/json",
        "Set-Cookie": "sid=1",
        "Link": '<https://crm.internal/p?cursor=Anna>; rel="next"',
        "Age": "3",
    }
    assert masking().headers(headers, MASK) == {
        "content-type": "application/json",
        "link": f'</p?cursor={MASK.text("Anna")}>; rel="next"',
        "age": "3",
    }


def test_personal_fields_of_the_question_are_masked_and_it_stays_what_it_is() -> None:
    asked = Customer(customer_number="4711", email="anna@example.test", first_name="Anna")
    masked = masking().request(asked, MASK)
    assert isinstance(masked, Customer)
    assert (masked.customer_number, masked.email, masked.first_name) == ("4711", MASK.text("anna@example.test"), MASK.text("Anna"))


@pytest.mark.parametrize("text", ["2024-05-01 12:00:00 Anna Muster called", "20240501 Anna", "2024-05-01T10:00 a.muster@example.test"])
def test_a_text_that_begins_with_a_day_is_masked_to_its_end(text: str) -> None:
    masked = MASK.text(text)
    assert len(masked) == len(text)
    assert not any(word in masked for word in re.findall(r"[A-Za-z]{2,}", text))


def test_an_element_called_value_is_only_clear_where_it_is_a_code_of_a_fault() -> None:
    masked = masking().body(b"<Read><Name>mail</Name><Value>Anna</Value><faultcode>Anna</faultcode></Read>", "text/xml", MASK, {})
    assert b"Anna" not in masked
    soap = "http://www.w3.org/2003/05/soap-envelope"
    fault = f"<e:Fault xmlns:e='{soap}'><e:Code><e:Value>e:Sender</e:Value></e:Code><e:Detail><Value>Anna</Value></e:Detail></e:Fault>"
    masked = masking().body(f"<e:Envelope xmlns:e='{soap}'><e:Body>{fault}</e:Body></e:Envelope>".encode(), "text/xml", MASK, {})
    assert b">e:Sender<" in masked
    assert b"Anna" not in masked


def test_nothing_stands_in_clear_around_the_payload_of_an_envelope() -> None:
    body = b"<e:Envelope xmlns:e='urn:e' by='Anna'>Anna<e:Body for='Anna'>Anna<Read>x</Read>Anna</e:Body>Anna</e:Envelope>"
    assert b"Anna" not in masking().body(body, "text/xml", MASK, {})


def test_names_that_are_data_are_masked_unless_a_mapping_vouches_for_them() -> None:
    entry = Record("entry", [Field("key", TEXT), Field("value", TEXT)])
    message = Message("crm.get", "json", Record("get", [Field("people", entry, repeated=True, keyed=True), Field("name", TEXT)]))
    body = b'{"people": {"Anna": "x"}, "name": "y"}'
    assert json.loads(masking(message).body(body, "application/json", MASK, {})).keys() == {"people", "name"}
    assert json.loads(masking(message).body(body, "application/json", MASK, {}))["people"].keys() == {MASK.text("Anna")}
    assert json.loads(masking(message, keep=("people.key",)).body(body, "application/json", MASK, {}))["people"].keys() == {"Anna"}


def test_a_credential_is_found_in_every_way_that_an_answer_can_write_it() -> None:
    hidden = goods(secret_values=frozenset({'p&"ss<w0rd', "7391"}))
    text = hidden.body(json.dumps({"said": 'no: p&"ss<w0rd', "b": "7391", "c": "17391"}).encode(), "application/json", MASK, {})
    assert json.loads(text) == {"said": "no: " + MASK.text('p&"ss<w0rd'), "b": MASK.text("7391"), "c": "17391"}
    xml = b'<r><said b="p&amp;&quot;ss&lt;w0rd">p&amp;"ss&lt;w0rd</said><c b="7391">7391</c></r>'
    root = etree.fromstring(hidden.body(xml, "text/xml", MASK, {}))
    assert root.findtext("said") == root[0].get("b") == MASK.text('p&"ss<w0rd')
    assert root.findtext("c") == root[1].get("b") == MASK.text("7391")


def test_addresses_name_no_one_and_what_is_no_address_is_masked() -> None:
    found = masking().headers({"Link": '</v2/customers/4711/orders?n=1>; rel="next", <http://[Anna>; rel="last"'}, MASK)["link"]
    assert found.startswith(f"</v2/customers/{MASK.text('4711')}/orders?")
    assert "Anna" not in found


def test_what_the_driver_reads_is_clear_at_its_own_place_only() -> None:
    found = masking(clear_at=frozenset({("code",)})).body(b'{"code": "E1", "voucher": {"code": "E1"}}', "application/json", MASK, {})
    assert json.loads(found) == {"code": "E1", "voucher": {"code": MASK.text("E1")}}
