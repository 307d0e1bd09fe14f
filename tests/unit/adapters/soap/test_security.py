"""WS-Security against a counterpart that was written from the standards, and against everything an attacker may do to a signed answer."""

import base64
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from lxml import etree
from zeep.wsse import UsernameToken as ZeepToken

from adapters.options import read
from adapters.soap.errors import SOAP12, Unusable
from adapters.soap.security import MessageSecurity, Sealed, Untrusted, username_token
from adapters.soap.spec import Security, SoapOptions, UsernameToken
from contracts.errors import ContractViolation, Findings, UpstreamError, UpstreamFault
from tests.unit.adapters.soap.conftest import CALL, NS, connected, envelope, scripted
from tests.unit.adapters.soap.counterpart import (
    EXCLUSIVE,
    NAMES,
    NOW,
    OASIS,
    RSA_SHA1,
    SHA1,
    SOAP,
    Answer,
    Identity,
    identity,
    qualified,
    signed_by,
)

PLANTS = "<n:GetPlantsResponse><T_PLANTS><item><WERKS>0001</WERKS></item></T_PLANTS></n:GetPlantsResponse>"
OTHER = PLANTS.replace("0001", "6666")


@pytest.fixture(scope="module")
def server() -> Identity:
    return identity("erp.example")


@pytest.fixture(scope="module")
def client() -> Identity:
    return identity("tillgate.example", key=rsa.generate_private_key(65537, 2048))


def security(clock: Any = lambda: NOW, **options: Any) -> MessageSecurity:
    return MessageSecurity("erp", read(Security, options), clock=clock)


# ---- UsernameToken and Timestamp ------------------------------------------------------------------------------------


def test_the_digest_of_a_published_example_is_reproduced() -> None:
    """Nonce, time, password and digest of the example in ONVIF's Application Programmer's Guide."""
    options = UsernameToken(user="user", password="userpassword", digest=True)
    moment = NOW.replace(year=2010, month=9, day=16, hour=7, minute=50, second=45)
    token = username_token(options, base64.b64decode("LKqI6G/AikKCQrN0zqZFlg=="), moment)
    assert "<wsu:Created>2010-09-16T07:50:45Z</wsu:Created>" in token
    assert ">tuOSpGlFlIXsozq4HFNeeGeFLEI=</wsse:Password>" in token


def test_zeep_makes_the_same_digest_of_the_same_nonce_and_time() -> None:
    options = UsernameToken(user="NNK", password="pass&<wörd>", digest=True)
    text = username_token(options, b"0123456789abcdef", NOW)
    ours = etree.fromstring(f'<x xmlns:wsse="{NAMES["wsse"]}" xmlns:wsu="{NAMES["wsu"]}">{text}</x>')
    zeep = ZeepToken("NNK", "pass&<wörd>", use_digest=True, nonce="0123456789abcdef", created=NOW, zulu_timestamp=True)
    theirs, _ = zeep.apply(etree.fromstring(f'<s:Envelope xmlns:s="{SOAP}"/>'), {})
    for name in ("wsse:Username", "wsse:Password", "wsse:Nonce", "wsu:Created"):
        (mine,), (other,) = ours.iter(qualified(name)), theirs.iter(qualified(name))
        assert (mine.text, dict(mine.attrib)) == (other.text, dict(other.attrib))


async def sent(wsdl: Path, **options: Any) -> bytes:
    got = []

    async def answer(head: bytes, body: bytes) -> tuple[int, str, bytes]:
        got.append(body)
        return 200, "text/xml", envelope(PLANTS)

    async with scripted(answer) as url, connected(wsdl, url, {"session": None, "security": options}) as live:
        await live.call("GetPlants", {}, CALL, 5)
    return got[0]


async def test_user_and_password_travel_as_text_with_a_timestamp_where_declared(wsdl: Path) -> None:
    root = etree.fromstring(await sent(wsdl, username={"user": "A&B", "password": "p<w"}, timestamp={"valid": "1m"}))
    (header,) = root.iterfind("s:Header/wsse:Security", NAMES)
    assert header.get(qualified("s:mustUnderstand")) == "1"
    assert header.findtext("wsse:UsernameToken/wsse:Username", namespaces=NAMES) == "A&B"
    password = header.find("wsse:UsernameToken/wsse:Password", NAMES)
    assert password is not None
    assert (password.text, password.get("Type")) == ("p<w", f"{OASIS}username-token-profile-1.0#PasswordText")
    assert header.find("wsse:UsernameToken/wsse:Nonce", NAMES) is None
    created, expires = (header.findtext(f"wsu:Timestamp/wsu:{n}", "", NAMES) for n in ("Created", "Expires"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", created)
    assert created < expires


async def test_a_digest_is_new_in_every_request_and_the_password_is_in_none(wsdl: Path) -> None:
    user = {"user": "NNK", "password": "never-on-the-wire", "digest": True}
    first, second = await sent(wsdl, username=user), await sent(wsdl, username=user)
    nonces = {etree.fromstring(t).findtext(".//wsse:Nonce", "", NAMES) for t in (first, second)}
    assert len(nonces - {""}) == 2
    assert b"never-on-the-wire" not in first + second


def test_the_header_of_soap_1_2_names_its_role_in_that_versions_words() -> None:
    guard = security(timestamp={}, actor="urn:door")
    text = f'<soap:Envelope xmlns:soap="{SOAP12}"><soap:Header>{guard.block(SOAP12)}</soap:Header></soap:Envelope>'
    (header,) = etree.fromstring(text).iter(qualified("wsse:Security"))
    assert dict(header.attrib) == {f"{{{SOAP12}}}mustUnderstand": "true", f"{{{SOAP12}}}role": "urn:door"}


async def test_the_header_names_its_actor_and_need_not_be_understood(wsdl: Path) -> None:
    text = await sent(wsdl, timestamp={}, actor="urn:door", must_understand=False)
    (header,) = etree.fromstring(text).iterfind("s:Header/wsse:Security", NAMES)
    assert dict(header.attrib) == {qualified("s:actor"): "urn:door"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"verify": {}}, "exactly one of certificate and ca"),
        ({"verify": {"ca": "a", "certificate": "b"}}, "exactly one"),
        ({"verify": {"certificate": "b", "subject": "x"}}, "subject goes with ca"),
        ({"verify": {"ca": "a", "confirmation": True}}, "needs sign"),
    ],
)
def test_options_that_contradict_each_other_are_findings(options: dict[str, Any], text: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=text):
        read(Security, options)


def test_secrets_are_in_no_text_of_the_options() -> None:
    given = {"username": {"user": "hidden-user", "password": "hidden-1"}, "sign": {"certificate": "c", "key": "k", "password": "hidden-2"}}
    assert "hidden" not in repr(read(SoapOptions, {"security": given}))


# ---- signing requests -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rsa", "ec"])
async def test_a_request_is_signed_over_body_timestamp_token_and_declared_headers(
    wsdl: Path, tmp_path: Path, client: Identity, server: Identity, kind: str
) -> None:
    own = client if kind == "rsa" else server
    files = own.files(tmp_path, "own", "opens-the-key")
    options = {"username": {"user": "u", "password": "p"}, "timestamp": {}, "sign": {**files, "headers": ["SessionHeader"]}}
    got: list[bytes] = []

    async def answer(head: bytes, body: bytes) -> tuple[int, str, bytes]:
        got.append(body)
        inner = "<n:LoginResponse><SESSION_ID>s-1</SESSION_ID></n:LoginResponse>" if b"Login" in body else PLANTS
        return 200, "text/xml", envelope(inner)

    async with scripted(answer) as url, connected(wsdl, url, {"security": options}) as live:
        await live.call("GetPlants", {}, CALL, 5)
    names = {etree.QName(e).localname for e in signed_by(got[-1], own.certificate)}
    assert names == {"Body", "Timestamp", "UsernameToken", "SessionHeader"}
    token = etree.fromstring(got[-1]).find(".//wsse:BinarySecurityToken", NAMES)
    assert token is not None
    assert token.text == own.der
    with pytest.raises(InvalidSignature):
        signed_by(got[-1], identity("other", key=rsa.generate_private_key(65537, 2048) if kind == "rsa" else None).certificate)
    with pytest.raises(AssertionError):
        signed_by(got[-1].replace(b"s-1", b"s-2"), own.certificate)


def test_a_certificate_may_be_named_by_issuer_and_serial_number(tmp_path: Path, client: Identity) -> None:
    guard = security(sign={**client.files(tmp_path, "own"), "token": "issuer_serial"})
    text = f'<soap:Envelope xmlns:soap="{SOAP}"><soap:Header>{guard.block(SOAP)}</soap:Header><soap:Body><a/></soap:Body></soap:Envelope>'
    root = etree.fromstring(guard.sealed(text.encode()).envelope)
    assert root.find(".//wsse:BinarySecurityToken", NAMES) is None
    assert root.findtext(".//ds:X509SerialNumber", namespaces=NAMES) == str(client.certificate.serial_number)
    assert len(signed_by(etree.tostring(root), client.certificate)) == 1


def wrong_key(folder: Path) -> dict[str, Any]:
    identity("a").files(folder, "a")
    identity("b").files(folder, "b")
    return {"certificate": str(folder / "a.pem"), "key": str(folder / "b.key")}


def small_key(folder: Path) -> dict[str, Any]:
    return identity("small", key=rsa.generate_private_key(65537, 1024)).files(folder, "small")  # noqa: S505  # small on purpose


def locked_key(folder: Path) -> dict[str, Any]:
    return {**identity("a").files(folder, "a", "secret"), "password": "guessed"}


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda folder: {"certificate": str(folder / "none.pem"), "key": "k"}, "sign.certificate: .*none.pem: No such file"),
        (lambda folder: {"certificate": __file__, "key": "k"}, "no certificate in PEM form"),
        (wrong_key, "is not the key of"),
        (small_key, "at least 2048 bits"),
        (locked_key, "no private key in PEM form that its password opens"),
    ],
)
def test_key_files_that_cannot_be_used_are_findings_that_name_the_option(
    tmp_path: Path, make: Callable[[Path], dict[str, Any]], text: str
) -> None:
    with pytest.raises(Findings, match=text) as caught:
        security(sign=make(tmp_path))
    assert "guessed" not in str(caught.value)


def test_certificates_that_end_soon_are_told_and_others_are_not(tmp_path: Path) -> None:
    soon, later = identity("soon.example", ends=NOW + timedelta(days=29)), identity("later.example")
    guard = security(sign=soon.files(tmp_path, "soon"), verify={"certificate": later.files(tmp_path, "later")["certificate"]})
    assert guard.notices("erp") == ["erp: the certificate of soon.example ends 2026-03-30."]


# ---- verifying answers ----------------------------------------------------------------------------------------------


@pytest.fixture
def pinned(tmp_path: Path, server: Identity) -> MessageSecurity:
    return security(verify={"certificate": server.files(tmp_path, "server")["certificate"]}, timestamp={})


def plant(body: etree._Element) -> str | None:
    return body.findtext(".//WERKS")


def test_a_signed_answer_is_read(pinned: MessageSecurity, server: Identity) -> None:
    assert plant(pinned.opened(Answer(PLANTS, server).written(), Sealed(b""))) == "0001"


def test_comments_and_instructions_in_a_signed_value_neither_break_nor_cut_it(pinned: MessageSecurity, server: Identity) -> None:
    document = Answer(PLANTS.replace("0001", "00<?p q?>01"), server).written()
    assert plant(pinned.opened(document.replace(b"<WERKS>0", b"<WERKS><!--6-->0"), Sealed(b""))) == "0001"


@pytest.mark.parametrize("where", ["on the element", "around it"])
def test_types_that_values_name_keep_their_namespace_in_signed_answers(pinned: MessageSecurity, server: Identity, where: str) -> None:
    kind = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="k:Small"'
    inner = f'<n:GetPlantsResponse><a xmlns:k="urn:kinds" {kind}/><b/></n:GetPlantsResponse>'
    if where == "around it":
        inner = inner.replace(' xmlns:k="urn:kinds"', "").replace("<n:GetPlantsResponse>", '<n:GetPlantsResponse xmlns:k="urn:kinds">')
    body = pinned.opened(Answer(inner, server).written(), Sealed(b""))
    element = body.find(".//a")
    assert element is not None
    prefix, _, name = element.get("{http://www.w3.org/2001/XMLSchema-instance}type", "").partition(":")
    assert (element.nsmap[prefix], name) == ("urn:kinds", "Small")
    assert [etree.QName(e).localname for e in body.iter()] == ["Body", "GetPlantsResponse", "a", "b"]


def moved(document: bytes, wrap: Callable[[etree._Element, etree._Element], None]) -> bytes:
    """The signed Body put elsewhere by `wrap`, another in its place."""
    root = etree.fromstring(document)
    body = root.find(qualified("s:Body"))
    assert body is not None
    other = etree.fromstring(f'<s:Body xmlns:s="{SOAP}" xmlns:n="{NS}">{OTHER}</s:Body>')
    root.replace(body, other)
    wrap(root, body)
    return etree.tostring(root)


def into_header(root: etree._Element, body: etree._Element) -> None:
    etree.SubElement(root[0], "Wrapper").append(body)


def into_body(root: etree._Element, body: etree._Element) -> None:
    root[1][0].append(body)


def into_security(root: etree._Element, body: etree._Element) -> None:
    etree.SubElement(root[0][0][-1], qualified("ds:Object")).append(body)


def with_the_same_id(name: str) -> Callable[[etree._Element, etree._Element], None]:
    def wrap(root: etree._Element, body: etree._Element) -> None:
        root[1].set(name, "B")
        etree.SubElement(root[0], "Wrapper").append(body)

    return wrap


def beside(root: etree._Element, body: etree._Element) -> None:
    root.append(body)


@pytest.mark.parametrize(
    "wrap",
    [into_header, into_body, into_security, beside, *(with_the_same_id(n) for n in (qualified("wsu:Id"), "Id", "ID", "id"))],
)
def test_a_signed_body_that_was_moved_and_replaced_is_refused(
    pinned: MessageSecurity, server: Identity, wrap: Callable[[etree._Element, etree._Element], None]
) -> None:
    with pytest.raises(Unusable, match=r"Security|Envelope"):
        pinned.opened(moved(Answer(PLANTS, server).written(), wrap), Sealed(b""))


def altered(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda document: document.replace(old, new)


def two_signatures(document: bytes) -> bytes:
    root = etree.fromstring(document)
    root[0][0].append(etree.fromstring(etree.tostring(root[0][0][-1])))
    return etree.tostring(root)


def second_header(document: bytes) -> bytes:
    root = etree.fromstring(document)
    root[0].insert(0, etree.Element(qualified("wsse:Security")))
    return etree.tostring(root)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (altered(b"0001", b"6666"), "Digest mismatch"),
        (altered(b'URI="#B"', b'URI="#T"'), "Signature verification failed"),
        (altered(b'URI="#B"', b'URI=""'), "verification failed"),
        (lambda d: re.sub(rb"(<ds:SignatureValue>)(.)", lambda m: m[1] + (b"B" if m[2] == b"A" else b"A"), d), "verification failed"),
        (lambda d: re.sub(rb"<ds:SignatureValue>[^<]*", b"<ds:SignatureValue>", d), "valid signature"),
        (lambda d: re.sub(rb"<ds:Signature>.*</ds:Signature>", b"", d), "one signature, 0"),
        (lambda d: re.sub(rb"<s:Header>.*</s:Header>", b"", d), "one signature, 0"),
        (two_signatures, "one signature, 2"),
        (second_header, "one Security header, 2"),
        (altered(b"<ds:Signature>", b"<!DOCTYPE x><ds:Signature>"), "well-formed"),
        (altered(b"<s:Envelope", b"<!DOCTYPE x><s:Envelope"), "DOCTYPE"),
        (lambda d: d[:-20], "well-formed"),
    ],
)
def test_an_answer_that_was_changed_after_signing_is_refused_with_the_reason(
    pinned: MessageSecurity, server: Identity, change: Callable[[bytes], bytes], text: str
) -> None:
    with pytest.raises(Unusable) as caught:
        pinned.opened(change(Answer(PLANTS, server).written()), Sealed(b""))
    assert re.search(text, f"{caught.value.expected}, {caught.value.got}")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"signs": ("T",)}, "a signed Body, a signature of something else"),
        ({"signs": ("B",)}, "a signed Timestamp, one that is not signed"),
        ({"method": RSA_SHA1}, "RSA_SHA1 forbidden"),
        ({"digest": SHA1}, "SHA1 forbidden"),
        ({"transform": "http://www.w3.org/TR/1999/REC-xslt-19991116"}, "no transform but canonicalization"),
        ({"created": NOW - timedelta(hours=1), "expires": NOW - timedelta(minutes=2)}, "expired 2026-03-01T11:58"),
        ({"created": NOW + timedelta(minutes=2)}, "created 2026-03-01T12:02"),
        ({"created": NOW, "expires": NOW - timedelta(seconds=1)}, "Expires before Created"),
        ({"created": NOW - timedelta(minutes=7), "expires": None}, "expired 2026-03-01T11:58"),
        ({"token": "bm9uZQ=="}, "an X.509 certificate"),
    ],
)
def test_a_signature_that_says_too_little_or_says_it_weakly_is_refused(
    tmp_path: Path, client: Identity, changes: dict[str, Any], text: str
) -> None:
    guard = security(verify={"certificate": client.files(tmp_path, "server")["certificate"]}, timestamp={})
    with pytest.raises(Unusable) as caught:
        guard.opened(Answer(PLANTS, client, **changes).written(), Sealed(b""))
    assert text in f"{caught.value.expected}, {caught.value.got}"


def test_clocks_may_differ_by_the_declared_skew(pinned: MessageSecurity, server: Identity) -> None:
    document = Answer(PLANTS, server, created=NOW + timedelta(seconds=50)).written()
    assert plant(pinned.opened(document, Sealed(b""))) == "0001"


def test_an_answer_of_a_foreign_certificate_is_refused_by_name(pinned: MessageSecurity, server: Identity) -> None:
    for token in (None, server.der):
        with pytest.raises(Unusable) as caught:
            pinned.opened(Answer(PLANTS, identity("mallory"), token=token).written(), Sealed(b""))
        assert token is not None or caught.value.got == "one by mallory"


def test_a_declared_authority_decides_who_may_sign(tmp_path: Path) -> None:
    authority, foreign = identity("Example CA", authority=True), identity("Other CA", authority=True)
    (tmp_path / "ca").mkdir()
    ca = authority.files(tmp_path, "ca")["certificate"]
    trusting = security(verify={"ca": ca})
    for_one = security(verify={"ca": ca, "subject": "erp.example"})
    good = Answer(PLANTS, identity("erp.example", authority)).written()
    assert plant(trusting.opened(good, Sealed(b""))) == plant(for_one.opened(good, Sealed(b""))) == "0001"
    named = Answer(PLANTS, identity("crm.example", authority)).written()
    assert plant(trusting.opened(named, Sealed(b""))) == "0001"
    for guard, document, text in (
        (for_one, named, "one for crm.example"),
        (trusting, Answer(PLANTS, identity("erp.example", foreign)).written(), "erp.example"),
        (trusting, Answer(PLANTS, identity("erp.example")).written(), "erp.example"),
        (trusting, Answer(PLANTS, identity("erp.example", identity("leaf", authority))).written(), "erp.example"),
        (trusting, Answer(PLANTS, identity("erp.example", authority, ends=NOW - timedelta(days=1))).written(), "erp.example"),
    ):
        with pytest.raises(Unusable) as caught:
            guard.opened(document, Sealed(b""))
        assert text in caught.value.got


def test_an_answer_that_must_confirm_its_request_is_refused_for_another(tmp_path: Path, client: Identity, server: Identity) -> None:
    trusted = {"certificate": server.files(tmp_path, "s")["certificate"], "confirmation": True}
    guard = security(sign=client.files(tmp_path, "own"), verify=trusted)
    good = Answer(PLANTS, server, confirms="q1", signs=("B", "T", "C")).written()
    assert plant(guard.opened(good, Sealed(b"", "q1"))) == "0001"
    unsigned = Answer(PLANTS, server, confirms="q1").written()
    for document, asked in ((good, "q2"), (good, ""), (unsigned, "q1"), (Answer(PLANTS, server).written(), "q1")):
        with pytest.raises(Unusable) as caught:
            guard.opened(document, Sealed(b"", asked))
        assert "confirmation" in caught.value.expected


def test_mutated_signed_answers_are_refused_or_say_what_was_signed(tmp_path: Path, client: Identity) -> None:
    guard = security(verify={"certificate": client.files(tmp_path, "server")["certificate"]}, timestamp={})
    document, chance, read_ = Answer(PLANTS, client).written(), random.Random(7), 0
    pieces = [
        b"#B",
        b"#T",
        b"wsu:Id",
        b"Id",
        b"ds:",
        b"<",
        b">",
        b"/",
        b'"',
        b"&amp;",
        b"&#0;",
        b"<!--x-->",
        b"<?x?>",
        b"xmlns",
        EXCLUSIVE.encode(),
    ]
    for _ in range(1500):
        changed = bytearray(document)
        for _ in range(chance.randint(1, 3)):
            at, end = chance.randrange(len(changed)), chance.randint(1, 60)
            match chance.randint(0, 3):
                case 0:
                    del changed[at : at + end]
                case 1:
                    changed[at:at] = chance.choice(pieces)
                case 2:
                    changed[at] = chance.randrange(256)
                case _:
                    changed[at:at] = changed[at : at + end]
        try:
            assert plant(guard.opened(bytes(changed), Sealed(b""))) == "0001"
            read_ += 1
        except (Unusable, Untrusted):
            continue
    assert read_ > 0


async def test_answers_over_the_wire_are_verified_in_the_same_call(wsdl: Path, tmp_path: Path) -> None:
    """With real clocks: a good answer is read, a changed one is a violation of the contract, an unsigned fault never a refusal."""
    now = datetime.now(UTC)
    server = identity("erp.example", ends=now + timedelta(days=5))
    options = {"verify": {"certificate": server.files(tmp_path, "server")["certificate"]}}
    good = Answer(PLANTS, server, created=now, expires=now + timedelta(minutes=1)).written()
    fault = envelope("<s:Fault><faultcode>s:Client</faultcode><faultstring>nothing was done, believe me</faultstring></s:Fault>")
    said = [good, good.replace(b"0001", b"6666"), fault]

    async def answer(head: bytes, body: bytes) -> tuple[int, str, bytes]:
        return 200, "text/xml", said.pop(0)

    async with scripted(answer) as url, connected(wsdl, url, {"session": None, "security": options}) as live:
        (document,) = (await live.call("GetPlants", {}, CALL, 5)).documents
        assert plant(document) == "0001"
        for error in (ContractViolation, UpstreamFault):
            with pytest.raises(UpstreamError) as caught:
                await live.call("GetPlants", {}, CALL, 5)
            assert (type(caught.value), caught.value.sent) == (error, True)
