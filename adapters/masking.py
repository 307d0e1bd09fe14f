"""Masks what a recording must not hold: secrets always, personal data by declared rules. Masked values keep their shape."""

from __future__ import annotations

import hmac
import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from typing import Any, cast
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import msgspec
from lxml import etree

from mappings.language import CompiledMapping
from mappings.language.shape import TEXT, Leaf, Message, Record
from mappings.language.structs import record

Path = tuple[str, ...]
_SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"
_SHORTEST = 4
"""Characters of a credential that is looked for; below `_LONG` only as a whole value, else parts of other values would be hit."""
_LONG = 6
_DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)(-?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d)")
_TIME = re.compile(r"(?:[T ]\d\d:?\d\d(?::?\d\d(?:[.,]\d{1,9})?)?)?(?:Z|[+-]\d\d:?\d\d)?")
_HEADERS = ("content-type", "retry-after", "age", "link")
"""What reading an answer depends on; all other headers are left out."""
_FORMAL = frozenset({"type", "nil", "id", "href", "ref", "arrayType", "encodingStyle", "itemType", "arraySize", "mustUnderstand"})
"""Attributes that say how to read an element, not what it says."""
_PLAIN = frozenset({"content-type", "accept", "soapaction", "accept-encoding", "user-agent", "if-none-match", "prefer", "traceparent"})
_LINK = re.compile(r"<([^>]*)>")
_WORD = re.compile(r"[A-Za-z_.~-]*|v\d{1,3}")
"""A step of an address that names a kind of thing, not one of them."""


class Mask:
    """Equal values stay equal, whatever their case and leading zeros; which value became which cannot be told without the key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def text(self, value: str) -> str:
        """As long, digits for digits, letters for letters of the same case; never the same. A date becomes another date."""
        if found := _DATE.match(value):
            rest = value[found.end() :]
            return self._day(found) + (rest if _TIME.fullmatch(rest) else self.text(rest))
        core = value.strip().lstrip("0").casefold()
        stream = self._stream(core)
        out, started = [], False
        for char in value:
            if char.isdecimal():
                if not started and char == "0":
                    out.append(char)  # padding is shape
                    continue
                shift = next(stream) % (9 if started else 8) + 1
                digit = int(char)
                out.append(str((digit + shift) % 10 if started else (digit - 1 + shift) % 9 + 1))
                started = True
            elif char.isalpha():
                shift, started = next(stream) % 25 + 1, True
                base = ord(char.casefold()[0]) - 97
                letter = chr((base + shift) % 26 + 97)
                out.append(letter.upper() if char.isupper() else letter)
            else:
                out.append(char)
        return "".join(out)

    def digits(self, value: str) -> str:
        """A number: its digits, nothing else."""
        found = iter(self.text("".join(c for c in value if c.isdecimal())))
        return "".join(next(found) if c.isdecimal() else c for c in value)

    def one_of(self, value: str, choices: Sequence[str]) -> str:
        return choices[next(self._stream(value)) % len(choices)] if choices else value

    def _day(self, found: re.Match[str]) -> str:
        year, dash, month, day = found.groups()
        days = next(self._stream(f"{year}{month}{day}")) * 256 + 1
        moved = date(1950, 1, 1) + timedelta(days=days % 20_000)
        if moved.isoformat() == f"{year}-{month}-{day}":
            moved = date(1949, 12, 31)
        return moved.isoformat().replace("-", dash)

    def _stream(self, core: str) -> Iterator[int]:
        number = 0
        while True:
            yield from hmac.digest(self._key, f"{number} {core}".encode(errors="replace"), "sha256")
            number += 1


class Unmaskable(ValueError):
    """A body that cannot be taken apart, or a value whose mask its type refuses: such an exchange is not recorded."""


@dataclass(frozen=True)
class Masking:
    """What is masked in the exchanges of one operation: all but what a mapping reads into fields that are not personal."""

    answer: Message | None
    reads: CompiledMapping | None = None
    writes: Sequence[CompiledMapping] = ()
    mask: tuple[str, ...] = ()
    """Declared, by name or by the end of the path, such as `KUNNR` or `T_ADDR.item.NAME1`."""
    keep: tuple[str, ...] = ()
    """Likewise; in clear, although a personal field is fed by it: a code that says person or company, for example."""
    secret: frozenset[str] = frozenset()
    """Names of fields that carry tokens or keys, by the system's options."""
    secret_values: frozenset[str] = field(default=frozenset(), repr=False)
    """Credentials, which an answer might repeat."""
    clear: frozenset[str] = frozenset()
    """Names of fields that the driver itself reads: result codes, when the answer was true."""
    clear_at: frozenset[Path] = frozenset()
    """Likewise, by the whole path from the document's root."""
    addresses: frozenset[str] = frozenset()
    """Names of fields that hold the next page's address."""

    def headers(self, headers: Mapping[str, str], mask: Mask) -> dict[str, str]:
        kept = {name.lower(): value for name, value in headers.items() if name.lower() in _HEADERS}
        if "link" in kept:
            kept["link"] = _LINK.sub(lambda m: f"<{self._address(m[1], mask)}>", kept["link"])
        return kept

    def request(self, asked: msgspec.Struct, mask: Mask) -> msgspec.Struct:
        """What was asked, masked. Raises Unmaskable."""
        try:
            return cast("msgspec.Struct", self._struct(asked, record(type(asked)), mask))
        except (ValueError, TypeError, msgspec.ValidationError) as exc:
            raise Unmaskable(str(exc)) from exc

    def body(self, body: bytes, content_type: str, mask: Mask, sent: Mapping[str, str]) -> bytes:
        """An answer, masked. What is neither XML nor JSON is masked as a whole. `sent`: the headers of the request, whose credentials an
        answer might repeat. Raises Unmaskable.
        """
        found = self._body(body, content_type, mask)
        given = {part for name, value in sent.items() if name.lower() not in _PLAIN for part in re.split(r"[\s;=]+", value)}
        for value in self.secret_values | given:
            for written in (str, _in_json, _in_text, _in_attribute) if len(value) >= _LONG else ():
                found = found.replace(written(value).encode(errors="replace"), written(mask.text(value)).encode(errors="replace"))
        for value in self.secret_values:
            if _SHORTEST <= len(value) < _LONG:
                whole = rb'(?<=[>"])%b(?=<|"(?!:))' % re.escape(value.encode(errors="replace"))
                found = re.sub(whole, mask.text(value).encode(errors="replace").replace(b"\\", rb"\\"), found)
        return found

    def _body(self, body: bytes, content_type: str, mask: Mask) -> bytes:
        kind = content_type.partition(";")[0].strip().lower()
        try:
            if not body:
                return body
            if kind.startswith("multipart/"):
                raise Unmaskable("attachments cannot be masked")
            if kind.endswith(("/json", "+json")):
                return self._json(body, mask)
            if kind.endswith(("/xml", "+xml")):
                return self._xml(body, mask)
        except (ValueError, RecursionError, etree.XMLSyntaxError) as exc:
            if isinstance(exc, Unmaskable):
                raise
        return mask.text(body.decode("utf-8", "replace")).encode()

    # ---- what is personal

    @cached_property
    def _feeds(self) -> dict[Path, bool]:
        """Source paths that feed canonical fields: True if one of them is personal."""
        found: dict[Path, bool] = {}
        if self.reads is not None:
            for target, lineage in self.reads.lineage.items():
                personal = _marked(self.reads.target.root, target.split("."))
                for source in lineage.sources:
                    path = self._plain(source.split("."))
                    found[path] = found.get(path, False) or personal
        return found

    @cached_property
    def _used(self) -> frozenset[Path]:
        return frozenset(self._plain(path) for path in self.reads.builder.used) if self.reads is not None else frozenset()

    @cached_property
    def _asked_for(self) -> frozenset[str]:
        """Canonical fields that declared masks reach through the mappings: the same value must not stand in clear in the request."""
        found = set()
        for writes in self.writes:
            for target, lineage in writes.lineage.items():
                if _ends(self._plain(target.split(".")), self.mask):
                    found |= {source.rpartition(".")[2] for source in lineage.sources}
        if self.reads is not None:
            for target, lineage in self.reads.lineage.items():
                if any(_ends(self._plain(source.split(".")), self.mask) for source in lineage.sources):
                    found.add(target.rpartition(".")[2])
        return frozenset(found)

    def _plain(self, path: Sequence[str]) -> Path:
        """`record:Type` is the element `record`."""
        xml = self.answer is not None and self.answer.form == "xml"
        return tuple(step.partition(":")[0] for step in path) if xml else tuple(path)

    def _masks(self, path: Path) -> bool:
        if path and path[-1] == TEXT and path not in self._feeds:
            path = path[:-1]
        name = path[-1] if path else ""
        if name in self.secret:
            return True
        if _ends(path, self.keep):
            return False
        if _ends(path, self.mask):
            return True
        if path in self._feeds:
            return self._feeds[path]
        if any(self._feeds.get(path[:i], False) for i in range(1, len(path))):
            return True
        vouched = name in self.clear or path in self.clear_at or path in self._used
        return not vouched  # what is dropped may be a person's: a stock answer can name its buyer

    def _keyed(self, path: Path) -> bool:
        """Whether the names of this object are data."""
        shape: Record | Leaf | None = self.answer.root if self.answer is not None else None
        keyed = False
        for name in path:
            found = shape.get(name) if isinstance(shape, Record) else None
            if found is None:
                return False
            shape, keyed = found.shape, found.keyed
        return keyed

    # ---- walking

    def _value(self, path: Path, text: str, mask: Mask) -> str:
        if path and path[-1] in self.addresses:
            return self._address(text, mask)
        if not self._masks(path):
            return text
        leaf = _leaf(self.answer.root, path) if self.answer is not None else None
        if leaf is not None and leaf.kind == "boolean" and len(text) <= len("false"):
            return text
        return mask.one_of(text, leaf.enum) if leaf is not None and leaf.enum and text in leaf.enum else mask.text(text)

    def _address(self, url: str, mask: Mask) -> str:
        try:
            parts = urlsplit(url)
        except ValueError:
            return mask.text(url)
        path = "/".join(step if _WORD.fullmatch(step) else mask.text(unquote(step)) for step in parts.path.split("/"))
        query = [(name, mask.text(value)) for name, value in parse_qsl(parts.query, keep_blank_values=True)]
        return quote(path) + (f"?{urlencode(query)}" if query else "")

    def _struct(self, value: Any, shape: Leaf | Record, mask: Mask, *, masked: bool = False) -> Any:
        if isinstance(value, tuple | list):
            return type(value)(self._struct(each, shape, mask, masked=masked) for each in value)
        if isinstance(value, msgspec.Struct):
            fields = record(type(value)).fields
            changed = {
                f.name: self._struct(getattr(value, f.name), f.shape, mask, masked=masked or f.personal or f.name in self._asked_for)
                for f in fields
            }
            return msgspec.convert(msgspec.to_builtins(msgspec.structs.replace(value, **changed)), type(value))
        if not masked or not isinstance(value, str | date):
            return value
        if isinstance(value, str):
            return mask.one_of(value, shape.enum) if isinstance(shape, Leaf) and shape.enum else mask.text(value)
        return type(value).fromisoformat(mask.text(value.isoformat()))

    def _json(self, body: bytes, mask: Mask) -> bytes:
        document = json.loads(body, parse_float=_Number, parse_int=_Number, parse_constant=_Number)
        top: Path = ()
        first = next(iter(self.answer.root.fields), None) if self.answer is not None else None
        if first is not None and (isinstance(document, list) or (first.keyed and first.name not in document)):
            top = (first.name,)  # the contract's list or map without a name

        def walk(value: Any, path: Path) -> str:
            match value:
                case dict() if self._keyed(path):
                    hidden = self._masks((*path, "key"))
                    entries = ((mask.text(k) if hidden else k, walk(v, (*path, "value"))) for k, v in value.items())
                    return "{" + ",".join(f"{json.dumps(k)}:{v}" for k, v in entries) + "}"
                case dict():
                    return "{" + ",".join(f"{json.dumps(k)}:{walk(v, (*path, k))}" for k, v in value.items()) + "}"
                case list():
                    return "[" + ",".join(walk(v, path) for v in value) + "]"
                case _Number():
                    return mask.digits(value) if self._masks(path) else value
                case str():
                    return json.dumps(self._value(path, value, mask), ensure_ascii=False)
                case _:
                    return json.dumps(value)

        return walk(document, top).encode("utf-8", "replace")

    def _xml(self, body: bytes, mask: Mask) -> bytes:
        parser = etree.XMLParser(
            resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
        )
        root = etree.fromstring(body, parser)
        if cast("Any", root.getroottree().docinfo).doctype:
            raise ValueError("a DOCTYPE")
        inner = next((e for e in root.iterchildren(etree.Element) if etree.QName(e).localname == "Body"), root)
        for beside in root.iterchildren(etree.Element) if inner is not root else ():
            if beside is not inner:  # headers: credentials, sessions, signatures; nothing that is read again
                root.remove(beside)
        payload = next(inner.iterchildren(etree.Element), None)
        for frame in (root, inner):  # what stands around the payload is nobody's field
            for name, text in frame.attrib.items():
                if etree.QName(name).localname not in _FORMAL:
                    frame.set(name, mask.text(str(text)))
        if inner is not root:
            root.text = inner.tail = None
        named = {f.name for f in self.answer.root.fields} if self.answer is not None else set()
        at_body = inner is root or payload is None or etree.QName(payload).localname in named
        targets = {i: e for e in inner.iter(etree.Element) if (i := e.get("id"))}
        seen: set[etree._Element] = set()

        def walk(element: etree._Element, path: Path) -> None:
            seen.add(element)
            for name, text in element.attrib.items():
                local = etree.QName(name).localname
                if local not in _FORMAL:
                    element.set(name, self._value((*path, local), str(text), mask))
            below = list(element.iterchildren(etree.Element))
            if element.text and (element.text.strip() or not below):
                element.text = element.text if _fault_code(element) else self._value((*path, TEXT), element.text, mask)
            for child in below:
                child.tail = None if not (child.tail or "").strip() else mask.text(child.tail or "")
                if child not in seen:
                    walk(child, (*path, etree.QName(child).localname))
            reference = (element.get("href") or "").removeprefix("#")
            if reference in targets and targets[reference] not in seen:
                walk(targets[reference], path)

        if payload is not None:
            walk(inner if at_body else payload, ())
        if not at_body:
            inner.text = None
        for element in list(inner.iterchildren(etree.Element)):
            if element not in seen:  # referred to by nobody
                walk(element, (etree.QName(element).localname,))
            if not at_body:
                element.tail = None
        return etree.tostring(root, encoding="utf-8", xml_declaration=True)


def _fault_code(element: etree._Element) -> bool:
    """SOAP 1.1 §4.4, SOAP 1.2 part 1 §5.4.6: says what kind of error it is."""
    tag, above = etree.QName(element), element.getparent()
    if tag.localname == "faultcode":
        return above is not None and etree.QName(above).localname == "Fault"
    return tag.localname == "Value" and tag.namespace == _SOAP_12


def _in_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _in_text(text: str) -> str:
    return html.escape(text, quote=False)


def _in_attribute(text: str) -> str:
    return _in_text(text).replace('"', "&quot;")


class _Number(str):
    """A JSON number as it was written."""

    __slots__ = ()


def _ends(path: Path, rules: Sequence[str]) -> bool:
    return any(path[-len(steps) :] == steps for steps in (tuple(rule.split(".")) for rule in rules))


def _leaf(shape: Record | Leaf, path: Path) -> Leaf | None:
    for name in path:
        found = shape.get(name) if isinstance(shape, Record) else None
        if found is None:
            return shape if isinstance(shape, Leaf) and name == TEXT else None
        shape = found.shape
    return shape if isinstance(shape, Leaf) else None


def _personal(shape: Record | Leaf, known: tuple[Record | Leaf, ...] = ()) -> bool:
    """Whether anything below is personal."""
    return (
        isinstance(shape, Record)
        and not any(shape is k for k in known)
        and any(f.personal or _personal(f.shape, (*known, shape)) for f in shape.fields)
    )


def _marked(shape: Record | Leaf, path: Sequence[str]) -> bool:
    for name in path:
        found = shape.get(name) if isinstance(shape, Record) else None
        if found is None:
            return False
        if found.personal:
            return True
        shape = found.shape
    return _personal(shape)
