"""The other side of WS-Security, written from the standards with lxml and cryptography alone: checks requests and signs answers."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from lxml import etree

from tests.unit.adapters.soap.conftest import NS

SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
OASIS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
NAMES = {
    "s": SOAP,
    "wsse": f"{OASIS}wssecurity-secext-1.0.xsd",
    "wsu": f"{OASIS}wssecurity-utility-1.0.xsd",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
}
WSSE11 = "http://docs.oasis-open.org/wss/oasis-wss-wssecurity-secext-1.1.xsd"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
RSA_SHA1 = "http://www.w3.org/2000/09/xmldsig#rsa-sha1"
SHA1 = "http://www.w3.org/2000/09/xmldsig#sha1"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def qualified(name: str) -> str:
    prefix, _, local = name.partition(":")
    return f"{{{NAMES[prefix]}}}{local}"


@dataclass(frozen=True)
class Identity:
    key: Key
    certificate: x509.Certificate

    @property
    def der(self) -> str:
        return base64.b64encode(self.certificate.public_bytes(Encoding.DER)).decode()

    def files(self, folder: Path, name: str, password: str = "") -> dict[str, str]:
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        locked = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        key.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
        return {"certificate": str(certificate), "key": str(key), **({"password": password} if password else {})}


def identity(
    name: str,
    issuer: Identity | None = None,
    *,
    key: Key | None = None,
    authority: bool = False,
    ends: datetime = NOW + timedelta(days=900),
) -> Identity:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=100))
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(issuer.key if issuer else key, hashes.SHA256())
    )
    return Identity(key, certificate)


# ---- checking requests ----------------------------------------------------------------------------------------------


def canonical(element: etree._Element) -> bytes:
    return etree.tostring(etree.fromstring(etree.tostring(element, with_tail=False)), method="c14n", exclusive=True)


def signed_by(envelope: bytes, certificate: x509.Certificate) -> list[etree._Element]:
    """The elements that a request's signature covers. Raises if a digest or the signature is wrong."""
    root = etree.fromstring(envelope)
    (signature,) = root.iterfind("s:Header/wsse:Security/ds:Signature", NAMES)
    info = signature.find("ds:SignedInfo", NAMES)
    assert info is not None
    covered = []
    for reference in info.iterfind("ds:Reference", NAMES):
        (element,) = root.xpath("//*[@wsu:Id=$i]", i=reference.get("URI", "")[1:], namespaces=NAMES)
        assert reference.find("ds:DigestMethod", NAMES).get("Algorithm") == SHA256
        assert [t.get("Algorithm") for t in reference.iterfind("ds:Transforms/ds:Transform", NAMES)] == [EXCLUSIVE]
        assert reference.findtext("ds:DigestValue", "", NAMES) == base64.b64encode(hashlib.sha256(canonical(element)).digest()).decode()
        covered.append(element)
    value = base64.b64decode(signature.findtext("ds:SignatureValue", "", NAMES))
    data, key = canonical(info), certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(value, data, padding.PKCS1v15(), hashes.SHA256())
    else:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        half = len(value) // 2
        der = encode_dss_signature(int.from_bytes(value[:half], "big"), int.from_bytes(value[half:], "big"))
        key.verify(der, data, ec.ECDSA(hashes.SHA256()))
    return covered


# ---- signing answers ------------------------------------------------------------------------------------------------


@dataclass
class Answer:
    """A signed answer. `signs`: ids that are signed; the other fields are what a wrong answer differs in."""

    inner: str
    by: Identity
    signs: tuple[str, ...] = ("B", "T")
    created: datetime = NOW
    expires: datetime | None = NOW + timedelta(minutes=5)
    method: str = ""
    digest: str = SHA256
    transform: str = EXCLUSIVE
    header: str = ""
    confirms: str = ""
    """Value of a SignatureConfirmation with the id C."""
    token: str | None = None
    """Content of the BinarySecurityToken; by default the signer's own certificate."""

    def written(self) -> bytes:
        times = f"<wsu:Created>{self.created.isoformat().replace('+00:00', 'Z')}</wsu:Created>"
        if self.expires:
            times += f"<wsu:Expires>{self.expires.isoformat().replace('+00:00', 'Z')}</wsu:Expires>"
        space = " ".join(f'xmlns:{p}="{ns}"' for p, ns in NAMES.items())
        root = etree.fromstring(
            f'<s:Envelope {space} xmlns:n="{NS}"><s:Header><wsse:Security>'
            f'<wsse:BinarySecurityToken wsu:Id="X" ValueType="{OASIS}x509-token-profile-1.0#X509v3" '
            f'EncodingType="{OASIS}soap-message-security-1.0#Base64Binary">{self.by.der if self.token is None else self.token}'
            f'</wsse:BinarySecurityToken><wsu:Timestamp wsu:Id="T">{times}</wsu:Timestamp></wsse:Security>{self.header}</s:Header>'
            f'<s:Body wsu:Id="B">{self.inner}</s:Body></s:Envelope>'
        )
        if self.confirms:
            etree.SubElement(root[0][0], f"{{{WSSE11}}}SignatureConfirmation", {qualified("wsu:Id"): "C", "Value": self.confirms})
        method = self.method or (RSA_SHA256 if isinstance(self.by.key, rsa.RSAPrivateKey) else RSA_SHA256.replace("rsa", "ecdsa"))
        references = "".join(self._reference(root, i) for i in self.signs)
        signature = etree.fromstring(
            f'<ds:Signature xmlns:ds="{NAMES["ds"]}"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{EXCLUSIVE}"/>'
            f'<ds:SignatureMethod Algorithm="{method}"/>{references}</ds:SignedInfo><ds:SignatureValue/><ds:KeyInfo>'
            f'<wsse:SecurityTokenReference xmlns:wsse="{NAMES["wsse"]}"><wsse:Reference URI="#X"/></wsse:SecurityTokenReference>'
            "</ds:KeyInfo></ds:Signature>"
        )
        signature[1].text = self._value(canonical(signature[0]), method)
        root[0][0].append(signature)
        return etree.tostring(root)

    def _reference(self, root: etree._Element, name: str) -> str:
        (element,) = root.xpath("//*[@wsu:Id=$i or @Id=$i]", i=name, namespaces=NAMES)
        hashed = (hashlib.sha1 if self.digest == SHA1 else hashlib.sha256)(canonical(element)).digest()  # a weak one on purpose
        return (
            f'<ds:Reference URI="#{name}"><ds:Transforms><ds:Transform Algorithm="{self.transform}"/></ds:Transforms>'
            f'<ds:DigestMethod Algorithm="{self.digest}"/><ds:DigestValue>{base64.b64encode(hashed).decode()}</ds:DigestValue>'
            "</ds:Reference>"
        )

    def _value(self, data: bytes, method: str) -> str:
        if isinstance(self.by.key, rsa.RSAPrivateKey):
            used = hashes.SHA1() if method == RSA_SHA1 else hashes.SHA256()  # noqa: S303  # a weak one on purpose
            return base64.b64encode(self.by.key.sign(data, padding.PKCS1v15(), used)).decode()
        r, s = decode_dss_signature(self.by.key.sign(data, ec.ECDSA(hashes.SHA256())))
        return base64.b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).decode()
