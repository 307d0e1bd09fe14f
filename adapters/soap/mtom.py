"""Attachments: packages of SOAP answers read back into one envelope (MTOM/XOP, SOAP with Attachments), and requests written as packages."""

from __future__ import annotations

import base64
import binascii
import quopri
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from urllib.parse import unquote

from lxml import etree

from adapters.soap.errors import Unusable

PACKAGE = "multipart/related"
XOP_TYPE = "application/xop+xml"
INCLUDE = "{http://www.w3.org/2004/08/xop/include}Include"
ENVELOPE_TYPES = frozenset({"text/xml", "application/soap+xml", "application/xml"})
MAX_PARTS = 500
MAX_HEADERS = 16 * 1024
_ROOT_ID = "envelope@tillgate"


@dataclass(frozen=True, slots=True)
class _Part:
    headers: Message
    content: bytes

    @property
    def id(self) -> str:
        return (self.headers["Content-ID"] or "").strip().removeprefix("<").removesuffix(">")


class Attaching(list[str]):
    """The text of a request in the making, which takes binary values of at least `threshold` bytes aside."""

    def __init__(self, threshold: int) -> None:
        super().__init__()
        self._threshold = threshold
        self.parts: dict[str, bytes] = {}

    def element(self, start: str, value: str | bytes, end: str) -> str | None:
        """The element with a reference in place of its value; None for one that stays inline. Raises ValueError for what is no base64."""
        size = len(value) if isinstance(value, bytes) else len(value) * 3 // 4 - value[-2:].count("=")
        if size < self._threshold:
            return None
        name = f"{len(self.parts)}.{secrets.token_hex(8)}@tillgate"
        self.parts[name] = value if isinstance(value, bytes) else base64.b64decode("".join(value.split()), validate=True)
        return f'{start}<xop:Include xmlns:xop="{INCLUDE[1:].partition("}")[0]}" href="cid:{name}"/>{end}'


# ---- answers --------------------------------------------------------------------------------------------------------


def read_package(content_type: str, body: bytes, limit: int, parse: Callable[[bytes], etree._Element]) -> etree._Element:
    """The envelope of a package with every `xop:Include` replaced by the base64 text that it stands for. `limit`: bytes that may be put in
    the place of references, together. `parse` reads the envelope. Raises Unusable.
    """
    declared = _parameters(content_type)
    parts = _split(body, declared.get("boundary", ""))
    named: dict[str, bytes] = {}
    for part in parts:
        if part.id in named:
            raise Unusable(PACKAGE, "each Content-ID once", f"{part.id[:100]!r} twice")
        if part.id:
            named[part.id] = part.content
    root = _root(declared, parts)
    inner = root.headers.get_content_type()
    if (wanted := declared.get("type", inner).lower()) != inner:
        raise Unusable(PACKAGE, f"an envelope of the declared type {wanted[:60]}", inner[:60])
    if inner == XOP_TYPE:
        inner = str(root.headers.get_param("type") or "text/xml").partition(";")[0].strip().lower()
    if inner not in ENVELOPE_TYPES:
        raise Unusable(PACKAGE, f"{XOP_TYPE}, text/xml or application/soap+xml first", inner[:60])
    named.pop(root.id, None)
    envelope = parse(root.content)
    for include in list(envelope.iter(INCLUDE)):
        holder = include.getparent()
        if holder is None or len(holder) != 1 or (holder.text or "").strip() or (include.tail or "").strip():
            raise Unusable(PACKAGE, "xop:Include alone in its element", "something beside it")
        content = named.get(_cid(include.get("href", "")))
        if content is None:
            raise Unusable(PACKAGE, "an attachment for each reference", f"none for {include.get('href', 'no href')[:100]!r}")
        limit -= len(content)
        if limit < 0:
            raise Unusable(PACKAGE, "attachments within the limit of an answer", "references that ask for more")
        holder.remove(include)
        holder.text = base64.b64encode(content).decode()
    return envelope


def _cid(href: str) -> str:
    return unquote(href[4:]) if href[:4].lower() == "cid:" else ""


def _parameters(content_type: str) -> dict[str, str]:
    header = Message()
    header["Content-Type"] = " ".join(content_type[:2000].split())
    return {name.lower(): value for name, value in header.get_params([])}


def _root(declared: dict[str, str], parts: list[_Part]) -> _Part:
    if start := declared.get("start"):
        wanted = start.strip().removeprefix("<").removesuffix(">")
        found = next((p for p in parts if p.id == wanted), None)
        if found is None:
            raise Unusable(PACKAGE, f"the part {wanted[:100]!r} that `start` names", "no such part")
        return found
    return parts[0]


def _split(body: bytes, boundary: str) -> list[_Part]:
    """RFC 2046 §5.1.1: what stands between the boundaries; what is before the first and after the last is no part."""
    if not 1 <= len(boundary) <= 70:
        raise Unusable(PACKAGE, "a boundary of 1 to 70 characters", f"{len(boundary)}")
    mark = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary.encode()) + rb"(--)?[ \t]*(?=\r?\n|\Z)")
    parts: list[_Part] = []
    begin: int | None = None
    for found in mark.finditer(body):
        if begin is not None:
            parts.append(_part(body[begin : found.start()]))
            if len(parts) > MAX_PARTS:
                raise Unusable(PACKAGE, f"at most {MAX_PARTS} parts", "more")
        if found[1]:
            break
        begin = found.end()
    else:
        raise Unusable(PACKAGE, "a closing boundary", "the end of the answer")
    if not parts:
        raise Unusable(PACKAGE, "at least one part", "none")
    return parts


def _part(text: bytes) -> _Part:
    text = text.removeprefix(b"\r").removeprefix(b"\n")
    if text.startswith((b"\r\n", b"\n")):
        head, content = b"", text.removeprefix(b"\r").removeprefix(b"\n")
    else:
        end = re.search(rb"\r?\n\r?\n", text[:MAX_HEADERS])
        if end is None:
            raise Unusable(PACKAGE, "a blank line after the headers of a part", "none")
        head, content = text[: end.start()], text[end.end() :]
    headers = Message()
    for line in re.sub(rb"\r?\n[ \t]+", b" ", head).decode("latin-1").splitlines():
        name, _, value = line.partition(":")
        if name.strip() and name.strip() not in headers:
            headers[name.strip()] = value.strip()
    match (headers["Content-Transfer-Encoding"] or "binary").lower():
        case "binary" | "8bit" | "7bit":
            return _Part(headers, content)
        case "base64":
            try:
                return _Part(headers, base64.b64decode(b"".join(content.split()), validate=True))
            except binascii.Error as exc:
                raise Unusable(PACKAGE, "base64 in a part that says so", "something else") from exc
        case "quoted-printable":
            return _Part(headers, quopri.decodestring(content))
        case other:
            raise Unusable(PACKAGE, "a known Content-Transfer-Encoding", other[:40])


# ---- requests -------------------------------------------------------------------------------------------------------


def write_package(envelope: bytes, envelope_type: str, action: str, parts: Mapping[str, bytes]) -> tuple[str, bytes]:
    """Content-Type and body. `envelope_type` is text/xml or application/soap+xml; `action` is told with the latter only."""
    boundary = f"tillgate-{secrets.token_hex(16)}"
    named = f'; action="{action}"' if action and envelope_type != "text/xml" else ""
    out = [
        f'--{boundary}\r\nContent-Type: {XOP_TYPE}; charset=UTF-8; type="{envelope_type}"{named}\r\n'
        f"Content-Transfer-Encoding: binary\r\nContent-ID: <{_ROOT_ID}>\r\n\r\n".encode(),
        envelope,
    ]
    for name, content in parts.items():
        out += [
            f"\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n"
            f"Content-Transfer-Encoding: binary\r\nContent-ID: <{name}>\r\n\r\n".encode(),
            content,
        ]
    out.append(f"\r\n--{boundary}--\r\n".encode())
    kind = f'{PACKAGE}; type="{XOP_TYPE}"; start="<{_ROOT_ID}>"; start-info="{envelope_type}"{named}; boundary="{boundary}"'
    return kind, b"".join(out)
