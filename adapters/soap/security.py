"""WS-Security 1.1: the header of a request (UsernameToken, Timestamp, X.509 signature), and what a signed answer is trusted for."""

from __future__ import annotations

import base64
import hashlib
import html
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store, VerificationError
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureConstructionMethod, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.signer import XMLSigner
from signxml.verifier import SignatureConfiguration, VerifyResult, XMLVerifier

from adapters.soap.client import parse_xml, xml_parser
from adapters.soap.errors import SOAP11, SOAP12, SoapFault, Unusable, read_fault
from adapters.soap.mtom import INCLUDE
from adapters.soap.spec import Security, Sign, UsernameToken, Verify
from contracts.errors import Finding, Findings
from observability import get_logger

_OASIS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
WSSE: Final = f"{_OASIS}wssecurity-secext-1.0.xsd"
WSU: Final = f"{_OASIS}wssecurity-utility-1.0.xsd"
WSSE11: Final = "http://docs.oasis-open.org/wss/oasis-wss-wssecurity-secext-1.1.xsd"
DS: Final = "http://www.w3.org/2000/09/xmldsig#"
_USERNAME = f"{_OASIS}username-token-profile-1.0"
_X509V3 = f"{_OASIS}x509-token-profile-1.0#X509v3"
_BASE64 = f"{_OASIS}soap-message-security-1.0#Base64Binary"
_ID = f"{{{WSU}}}Id"
_XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
_EXCLUSIVE = CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0
_TRANSFORMS = frozenset(m.value for m in CanonicalizationMethod)
_TRUSTED = SignatureConfiguration(
    expect_references=True,
    signature_methods=frozenset(
        m for m in SignatureMethod if re.fullmatch(r"(RSA|ECDSA)_SHA(256|384|512)|SHA(256|384|512)_RSA_MGF1", m.name)
    ),
    digest_algorithms=frozenset({DigestAlgorithm.SHA256, DigestAlgorithm.SHA384, DigestAlgorithm.SHA512}),
    default_reference_c14n_method=CanonicalizationMethod.CANONICAL_XML_1_0,
)
MAX_REFERENCES = 16
"""Each costs a copy of the answer."""
SOON = timedelta(days=30)
"""Certificates that end within this time are told about: in the log at start, and on the console."""
_SMALLEST_RSA = 2048

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
Clock = Callable[[], datetime]


class Untrusted(Exception):
    """A fault that nobody signed, where answers must be signed: news of a failure, never a reason to believe that nothing was done."""

    def __init__(self, fault: SoapFault) -> None:
        super().__init__(fault)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Sealed:
    """A request as it travels. `signature` is what a SignatureConfirmation of its answer repeats."""

    envelope: bytes
    signature: str = ""


class MessageSecurity:
    """What one system's `security` options ask for. Reads its files at once; raises Findings that name the option."""

    def __init__(self, system: str, options: Security, *, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self.options, self._clock = options, clock
        try:
            self._signer = _Signer(options.sign) if options.sign else None
            self._verifier = _Verifier(options.verify, clock) if options.verify else None
        except _Unfit as exc:
            place = Finding("estate.toml", 1, f"options of {system}: security.{exc}")
            raise Findings(findings=(place,)) from exc
        for notice in self.notices(system):
            get_logger(__name__).warning("certificate_ends", system=system, notice=notice)

    @property
    def checks(self) -> bool:
        """Whether anything of an answer is looked at."""
        return self._verifier is not None or self.options.timestamp is not None

    @property
    def signs(self) -> bool:
        return self._signer is not None

    def certificates(self) -> list[x509.Certificate]:
        """The certificates of the options: our own, then those that answers are trusted for."""
        return [*([self._signer.certificate] if self._signer else ()), *(self._verifier.certificates if self._verifier else ())]

    def notices(self, system: str) -> list[str]:
        """A sentence for each certificate that ends soon, or has ended."""
        found = ((c, c.not_valid_after_utc) for c in self.certificates())
        return [f"{system}: the certificate of {_subject(c)} ends {ends:%Y-%m-%d}." for c, ends in found if ends < self._clock() + SOON]

    # ---- requests ---------------------------------------------------------------------------------------------------

    def block(self, soap: str) -> str:
        """The header block of one request in the SOAP namespace `soap`, without the signature, which needs the whole envelope."""
        now, inner = self._clock(), ""
        if timestamp := self.options.timestamp:
            inner += f'<wsu:Timestamp wsu:Id="{_new_id("TS")}">{_created(now)}'
            inner += f"<wsu:Expires>{_written(now + timedelta(seconds=timestamp.valid))}</wsu:Expires></wsu:Timestamp>"
        if self._signer is not None:
            inner += self._signer.token()
        if user := self.options.username:
            inner += username_token(user, os.urandom(16), now)
        marks = ""
        if self.options.must_understand:
            marks += f' soap:mustUnderstand="{"1" if soap == SOAP11 else "true"}"'
        if self.options.actor:
            marks += f' soap:{"actor" if soap == SOAP11 else "role"}="{html.escape(self.options.actor)}"'
        return f'<wsse:Security xmlns:wsse="{WSSE}" xmlns:wsu="{WSU}"{marks}>{inner}</wsse:Security>'

    def sealed(self, envelope: bytes, attachments: dict[str, bytes] | None = None) -> Sealed:
        """The envelope with its signature, where requests are signed. Costs CPU: not on the event loop."""
        return self._signer.sealed(envelope, attachments or {}) if self._signer is not None else Sealed(envelope)

    # ---- answers ----------------------------------------------------------------------------------------------------

    def opened(self, document: bytes, sealed: Sealed) -> etree._Element:
        """The Body of an answer: of a signed one the very bytes that were signed. Costs CPU: not on the event loop.

        Raises Unusable for what must not be trusted, and Untrusted for a fault without signature.
        """
        root = parse_xml(document)
        soap = _soap(root)
        if self._verifier is not None:
            body, timestamp = self._verifier.opened(document, soap, self.options.actor, sealed)
        else:
            found = root.find(f"{{{soap}}}Body")
            if found is None:
                raise Unusable("Envelope", "a Body", "none")
            body, timestamp = found, root.find(f"{{{soap}}}Header/{{{WSSE}}}Security/{{{WSU}}}Timestamp")
        if timestamp is not None and (self.options.timestamp is not None or self._verifier is not None):
            self._in_time(timestamp)
        return body

    def _in_time(self, timestamp: etree._Element) -> None:
        declared = self.options.timestamp
        skew = timedelta(seconds=declared.skew if declared else 60)
        now = self._clock()
        created, expires = (_read(timestamp, name) for name in ("Created", "Expires"))
        if created is not None and created - skew > now:
            raise Unusable("Security/Timestamp", f"a time that has come ({_written(now)})", f"created {_written(created)}")
        if expires is None and created is not None:
            expires = created + timedelta(seconds=declared.valid if declared else 300)
        if expires is None or (created is not None and expires < created):
            raise Unusable(
                "Security/Timestamp", "Created, and Expires after it", "neither" if expires is None else "Expires before Created"
            )
        if expires + skew < now:
            raise Unusable(
                "Security/Timestamp", f"an answer that is still good at {_written(now)}", f"one that expired {_written(expires)}"
            )


def username_token(options: UsernameToken, nonce: bytes, now: datetime) -> str:
    """UsernameToken Profile 1.1 §3.1: `Password_Digest = Base64(SHA-1(nonce + created + password))`."""
    created, password, kind = _written(now), options.password, "PasswordText"
    if options.digest:
        digest = hashlib.sha1(nonce + created.encode() + password.encode()).digest()  # noqa: S324  # the profile knows no other
        password, kind = base64.b64encode(digest).decode(), "PasswordDigest"
    inner = f"<wsse:Username>{html.escape(options.user)}</wsse:Username>"
    inner += f'<wsse:Password Type="{_USERNAME}#{kind}">{html.escape(password)}</wsse:Password>'
    if options.digest or options.nonce:
        inner += f'<wsse:Nonce EncodingType="{_BASE64}">{base64.b64encode(nonce).decode()}</wsse:Nonce>{_created(now)}'
    return f'<wsse:UsernameToken wsu:Id="{_new_id("UT")}">{inner}</wsse:UsernameToken>'


class _Unfit(Exception):
    """A file of the options that cannot be used; says which option and why."""


class _Signer:
    def __init__(self, options: Sign) -> None:
        self.certificate = _certificates("sign.certificate", options.certificate)[0]
        self._key = _private_key(options)
        if self._key.public_key() != self.certificate.public_key():
            raise _Unfit(f"sign.key: {options.key} is not the key of {options.certificate}")
        method = "RSA_SHA256" if isinstance(self._key, rsa.RSAPrivateKey) else f"ECDSA_SHA{_ec_hash(self._key)}"
        self._method, self._headers, self._names_only = SignatureMethod[method], options.headers, options.token != "message"  # noqa: S105  # where it stands

    def token(self) -> str:
        if self._names_only:
            return ""
        text = base64.b64encode(self.certificate.public_bytes(Encoding.DER)).decode()
        kinds = f'ValueType="{_X509V3}" EncodingType="{_BASE64}"'
        return f'<wsse:BinarySecurityToken wsu:Id="{_new_id("X509")}" {kinds}>{text}</wsse:BinarySecurityToken>'

    def sealed(self, envelope: bytes, attachments: dict[str, bytes]) -> Sealed:
        root = etree.fromstring(envelope, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True))  # our own text
        aside = _inlined(root, attachments)
        soap = _soap(root)
        header, body = root.find(f"{{{soap}}}Header"), root.find(f"{{{soap}}}Body")
        security = header.find(f"{{{WSSE}}}Security") if header is not None else None
        assert header is not None and security is not None and body is not None  # noqa: S101, PT018  # our own text
        parts = [body, *(e for name in ("Timestamp", "UsernameToken") for e in security.iterchildren(f"{{*}}{name}"))]
        parts += [e for e in header if etree.QName(e).localname in self._headers]
        for part in parts:
            if _ID not in part.attrib:
                part.set(_ID, _new_id("P"))
        token = security.find(f"{{{WSSE}}}BinarySecurityToken")
        signer = XMLSigner(SignatureConstructionMethod.detached, self._method, DigestAlgorithm.SHA256, _EXCLUSIVE)
        signature = signer.sign(root, key=self._key, key_info=self._key_info(token), reference_uri=[f"#{p.get(_ID)}" for p in parts])
        security.append(signature)
        for holder, include in aside:
            holder.text = None
            holder.append(include)
        return Sealed(etree.tostring(root, encoding="UTF-8", xml_declaration=True), signature.findtext(f"{{{DS}}}SignatureValue") or "")

    def _key_info(self, token: etree._Element | None) -> etree._Element:
        info = etree.Element(f"{{{DS}}}KeyInfo", nsmap={"ds": DS})
        reference = etree.SubElement(info, f"{{{WSSE}}}SecurityTokenReference", nsmap={"wsse": WSSE})
        if token is not None:
            etree.SubElement(reference, f"{{{WSSE}}}Reference", URI=f"#{token.get(_ID)}", ValueType=_X509V3)
            return info
        issuer = etree.SubElement(etree.SubElement(reference, f"{{{DS}}}X509Data"), f"{{{DS}}}X509IssuerSerial")
        etree.SubElement(issuer, f"{{{DS}}}X509IssuerName").text = self.certificate.issuer.rfc4514_string()
        etree.SubElement(issuer, f"{{{DS}}}X509SerialNumber").text = str(self.certificate.serial_number)
        return info


class _Verifier:
    def __init__(self, options: Verify, clock: Clock) -> None:
        self._options, self._clock = options, clock
        name = "certificate" if options.certificate else "ca"
        self.certificates = _certificates(f"verify.{name}", options.certificate or options.ca or "")
        self._pinned = self.certificates[0] if options.certificate else None

    def opened(self, document: bytes, soap: str, actor: str, sealed: Sealed) -> tuple[etree._Element, etree._Element | None]:
        """The Body and the Timestamp as they were signed: parsed from the signed bytes, at the place where they count."""
        root = parse_xml(document, comments=True)  # some ways of signing cover them
        bodies = root.findall(f"{{{soap}}}Body")
        if len(bodies) != 1:
            raise Unusable("Envelope", "one Body", f"{len(bodies)}")
        body, security, place = bodies[0], *self._security(root, soap, actor)
        signatures = security.findall(f"{{{DS}}}Signature") if security is not None else []
        if security is None or len(signatures) != 1:
            fault = body.find(f"{{{soap}}}Fault")
            if fault is not None and not signatures:
                raise Untrusted(read_fault(fault))
            raise Unusable("Security", "an answer with one signature", f"{len(signatures)}")
        certificate = self._trusted(root, security, signatures[0])
        self._readable(signatures[0])
        signed = {_named(root, uri): data for uri, data in self._verified(document, certificate, place, soap)}
        if body not in signed:
            raise Unusable("Security/Signature", "a signed Body", "a signature of something else")
        timestamp = security.find(f"{{{WSU}}}Timestamp")
        if self._options.timestamp and (timestamp is None or timestamp not in signed):
            raise Unusable("Security/Timestamp", "a signed Timestamp", "none" if timestamp is None else "one that is not signed")
        if self._options.confirmation:
            self._confirmed(security, signed, sealed)
        return _typed(parse_xml(signed[body]), body), parse_xml(signed[timestamp]) if timestamp in signed else timestamp

    @staticmethod
    def _security(root: etree._Element, soap: str, actor: str) -> tuple[etree._Element | None, int]:
        """The header that is for us, and its place among all of its name, counted from 1."""
        found = root.findall(f"{{{soap}}}Header/{{{WSSE}}}Security")
        named = [(e, n) for n, e in enumerate(found, 1) if (e.get(f"{{{soap}}}actor") or e.get(f"{{{soap}}}role") or "") in {"", actor}]
        if len(named) > 1:
            raise Unusable("Header", "one Security header", f"{len(named)}")
        return named[0] if named else (None, 0)

    def _trusted(self, root: etree._Element, security: etree._Element, signature: etree._Element) -> x509.Certificate:
        sent = self._sent(root, security, signature)
        if self._pinned is not None:
            if sent is not None and sent != self._pinned:
                raise Unusable("Security/Signature", f"a signature by {_subject(self._pinned)}", f"one by {_subject(sent)}")
            return self._pinned
        if sent is None:
            raise Unusable("Security/Signature", "an X.509 certificate in the message", "only a name of one; declare verify.certificate")
        _strong(sent.public_key(), "Security/Signature")
        policy = PolicyBuilder().store(Store(self.certificates)).time(self._clock())
        usage = ExtensionPolicy.permit_all().may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_sign)
        issuing = ExtensionPolicy.permit_all().require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _may_issue)
        try:
            policy.extension_policies(ee_policy=usage, ca_policy=issuing).build_client_verifier().verify(sent, [])
        except (VerificationError, ValueError) as exc:
            raise Unusable("Security/Signature", "a certificate of the declared authority", f"{_subject(sent)}: {str(exc)[:150]}") from exc
        if self._options.subject not in {"", _subject(sent), sent.subject.rfc4514_string()}:
            raise Unusable("Security/Signature", f"a certificate for {self._options.subject}", f"one for {_subject(sent)}")
        return sent

    @staticmethod
    def _sent(root: etree._Element, security: etree._Element, signature: etree._Element) -> x509.Certificate | None:
        """The certificate that the message carries for its signature, if it does."""
        info = f"{{{DS}}}KeyInfo/"
        text = signature.findtext(f"{info}{{{DS}}}X509Data/{{{DS}}}X509Certificate") or signature.findtext(
            f"{info}{{{WSSE}}}SecurityTokenReference/{{{DS}}}X509Data/{{{DS}}}X509Certificate"
        )
        reference = signature.find(f"{info}{{{WSSE}}}SecurityTokenReference/{{{WSSE}}}Reference")
        if text is None and reference is not None:
            token = _named(root, reference.get("URI", ""))
            if token.tag != f"{{{WSSE}}}BinarySecurityToken" or token.getparent() is not security:
                raise Unusable("Security/Signature", "a reference to a BinarySecurityToken", etree.QName(token).localname[:60])
            if (kind := token.get("ValueType", _X509V3)) != _X509V3:
                raise Unusable("Security/BinarySecurityToken", "an X509v3 certificate", kind.rpartition("#")[2][:60])
            text = token.text or ""
        if text is None:
            return None
        try:
            return x509.load_der_x509_certificate(base64.b64decode("".join(text.split()), validate=True))
        except ValueError as exc:
            raise Unusable("Security/BinarySecurityToken", "an X.509 certificate", "something that is none") from exc

    @staticmethod
    def _readable(signature: etree._Element) -> None:
        """No more references than are worth their copies, and no transform but canonicalization: nothing is computed for others."""
        references = list(signature.iter(f"{{{DS}}}Reference"))
        if not 1 <= len(references) <= MAX_REFERENCES:
            raise Unusable("Security/Signature", f"1 to {MAX_REFERENCES} references", f"{len(references)}")
        for transform in signature.iter(f"{{{DS}}}Transform"):
            if (algorithm := transform.get("Algorithm", "")) not in _TRANSFORMS:
                raise Unusable("Security/Signature", "no transform but canonicalization", algorithm[:100])

    @staticmethod
    def _verified(document: bytes, certificate: x509.Certificate, place: int, soap: str) -> list[tuple[str, bytes]]:
        """(URI, signed bytes) of each reference of the signature in the header at `place`."""
        at = f"./{{{soap}}}Header/{{{WSSE}}}Security[{place}]/"
        try:
            results = XMLVerifier().verify(
                document, x509_cert=certificate, expect_config=replace(_TRUSTED, location=at), parser=xml_parser(comments=True)
            )
        except (SignXMLException, etree.LxmlError, ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise Unusable("Security/Signature", "a valid signature with strong algorithms", _short(exc)) from exc
        found: list[VerifyResult] = results if isinstance(results, list) else [results]
        uris = [r.get("URI", "") for r in found[0].signature_xml.iterfind(f"{{{DS}}}SignedInfo/{{{DS}}}Reference")] if found else []
        return [(uri, result.signed_data) for uri, result in zip(uris, found, strict=True)]

    def _confirmed(self, security: etree._Element, signed: dict[etree._Element, bytes], sealed: Sealed) -> None:
        wanted = "".join(sealed.signature.split())
        for each in security.findall(f"{{{WSSE11}}}SignatureConfirmation"):
            if each in signed and secrets.compare_digest("".join((each.get("Value") or "").split()).encode(), wanted.encode()):
                return
        raise Unusable("Security/SignatureConfirmation", "a signed confirmation of this request's signature", "none")


def _typed(signed: etree._Element, sent: etree._Element) -> etree._Element:
    """The signed element, in which names in `xsi:type` mean what they meant where they were sent: exclusive canonicalization leaves out
    the namespaces that only such values use. The name itself is signed.
    """
    lost: list[tuple[etree._Element, str, str]] = []
    for mine, theirs in zip(signed.iter(etree.Element), sent.iter(etree.Element), strict=False):
        prefix, colon, name = (mine.get(_XSI_TYPE) or "").strip().rpartition(":")
        if colon and prefix not in mine.nsmap and (space := theirs.nsmap.get(prefix)):
            lost.append((mine, space, name))
    if lost:
        prefixes = {space: f"signed{n}" for n, space in enumerate(dict.fromkeys(s for _, s, _ in lost))}
        etree.Element("signed", nsmap={p: s for s, p in prefixes.items()}).append(signed)
        for element, space, name in lost:
            element.set(_XSI_TYPE, f"{prefixes[space]}:{name}")
    return signed


def _named(root: etree._Element, uri: str) -> etree._Element:
    """The one element of that Id. Ids of any spelling count, so that no two readers of the message can mean different elements."""
    wanted = uri.removeprefix("#")
    if not wanted or not uri.startswith("#"):
        raise Unusable("Security/Signature", "references to elements by their Id", repr(uri[:60]))
    alike: Any = root.xpath("//*[@*=$wanted]", wanted=wanted)
    found: list[etree._Element] = [
        e for e in alike if any(v == wanted and etree.QName(k).localname.lower() == "id" for k, v in e.attrib.items())
    ]
    if len(found) != 1:
        raise Unusable("Security/Signature", f"one element with the Id {wanted[:60]!r}", f"{len(found)}")
    return found[0]


def _inlined(root: etree._Element, attachments: dict[str, bytes]) -> list[tuple[etree._Element, etree._Element]]:
    """Put attachments back as base64: what is signed is the message without packaging (XOP 1.0 §1). Gives what has to be undone after."""
    aside = []
    for include in list(root.iter(INCLUDE)) if attachments else ():
        holder = include.getparent()
        if holder is not None:
            holder.remove(include)
            holder.text = base64.b64encode(attachments[include.get("href", "")[4:]]).decode()
            aside.append((holder, include))
    return aside


def _soap(root: etree._Element) -> str:
    name = etree.QName(root)
    if name.localname != "Envelope" or name.namespace not in {SOAP11, SOAP12}:
        raise Unusable("line 1", "a SOAP 1.1 or 1.2 Envelope", str(root.tag)[:200])
    return str(name.namespace)


def _certificates(option: str, file: str) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(Path(file).read_bytes())
    except OSError as exc:
        raise _Unfit(f"{option}: {file}: {exc.strerror or exc}") from exc
    except ValueError as exc:
        raise _Unfit(f"{option}: {file} holds no certificate in PEM form") from exc
    for certificate in found:
        try:
            _strong(certificate.public_key(), option)
        except Unusable as exc:
            raise _Unfit(f"{option}: {file}: expected {exc.expected}, got {exc.got}") from exc
    return found


def _private_key(options: Sign) -> Key:
    try:
        key = load_pem_private_key(Path(options.key).read_bytes(), options.password.encode() or None)
    except OSError as exc:
        raise _Unfit(f"sign.key: {options.key}: {exc.strerror or exc}") from exc
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise _Unfit(f"sign.key: {options.key} holds no private key in PEM form that its password opens") from exc
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise _Unfit(f"sign.key: {options.key}: expected an RSA or an elliptic curve key, got {type(key).__name__}")
    return key


def _ec_hash(key: ec.EllipticCurvePrivateKey) -> int:
    return 512 if key.key_size > 384 else 384 if key.key_size > 256 else 256  # sizes of curves and hashes (RFC 5656)


def _strong(key: object, where: str) -> None:
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _SMALLEST_RSA:
        return
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size >= 256:  # P-256
        return
    got = f"{type(key).__name__.lstrip('_')} of {getattr(key, 'key_size', '?')}"
    raise Unusable(where, f"an RSA key of at least {_SMALLEST_RSA} bits or an elliptic curve key of at least 256", got)


def _may_sign(_policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.digital_signature:
        raise ValueError("its key may not be used for signatures")


def _may_issue(_policy: Policy, _certificate: x509.Certificate, constraints: x509.BasicConstraints) -> None:
    if not constraints.ca:
        raise ValueError("its issuer is no authority")


def _subject(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value)[:100] if names else certificate.subject.rfc4514_string()[:100]


def _new_id(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(8)}"


def _written(moment: datetime) -> str:
    millis = f".{moment.microsecond // 1000:03}" if moment.microsecond else ""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}{millis}Z"


def _created(now: datetime) -> str:
    return f"<wsu:Created>{_written(now)}</wsu:Created>"


def _read(timestamp: etree._Element, name: str) -> datetime | None:
    text = (timestamp.findtext(f"{{{WSU}}}{name}") or "").strip()
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text[:40]))
    except ValueError as exc:
        raise Unusable(f"Security/Timestamp/{name}", "a date and time", repr(text[:40])) from exc
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _short(exc: Exception) -> str:
    return re.sub(r"\s+", " ", str(exc) or type(exc).__name__)[:200]
