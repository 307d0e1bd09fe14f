"""Writing envelopes: a request document becomes text by writers compiled from its shape, in the contract's order and namespaces."""

from __future__ import annotations

import base64
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Self

from lxml import etree

from adapters.soap.contract import Operation, Payload
from adapters.soap.errors import SOAP11, SOAP12
from adapters.soap.mtom import Attaching
from adapters.soap.schema import HEXADECIMAL, Name, Schemas
from mappings.language.shape import TEXT, Field, Leaf, Record

XSI = "http://www.w3.org/2001/XMLSchema-instance"
_ENCODING = {"1.1": "http://schemas.xmlsoap.org/soap/encoding/", "1.2": "http://www.w3.org/2003/05/soap-encoding"}
_SPECIAL = re.compile("[^\\t\\n -%'-;=?-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NEVER = re.compile("[^\\t\\n\\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_IN_TEXT = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord("\r"): "&#13;"}
_IN_ATTRIBUTE = {**_IN_TEXT, ord('"'): "&quot;", ord("\n"): "&#10;", ord("\t"): "&#9;"}

Write = Callable[[Any, list[str]], None]


class Unwritable(Exception):
    """A request document that its contract does not allow. `fits`: the structure is right, a value is too long or not in the list."""

    def __init__(self, expected: str, got: str, *, fits: bool = False) -> None:
        super().__init__(expected, got)
        self.expected, self.got, self.fits = expected, got, fits
        self.path: list[str] = []

    def at(self, step: str) -> Self:
        self.path.insert(0, step)
        return self

    @property
    def where(self) -> str:
        return "".join(part if part.startswith("[") or not n else f".{part}" for n, part in enumerate(self.path)) or "the request"


class EnvelopeWriter:
    """The envelope of one operation. `headers`: header blocks that may be written, by name. Raises Unwritable."""

    def __init__(self, operation: Operation, schemas: Schemas, headers: Iterable[Field] = ()) -> None:
        self._operation, self._encoded, self._schemas, self._version = operation, operation.encoded, schemas, operation.version
        self._prefixes: dict[str, str] = {}
        self._records: dict[int, _Record] = {}
        self._waiting: list[tuple[_Record, Record]] = []
        soap = SOAP11 if operation.version == "1.1" else SOAP12
        style = f' soap:encodingStyle="{_ENCODING[self._version]}"' if self._encoded else ""
        name = self._named(operation.request.element) if operation.request.element else ""
        self._open, self._close = (f"<{name}{style}", f"</{name}>") if name else ("", "")
        self._body = self._record(operation.request.record)
        self._headers = {header.name: self._element(header).write for header in headers}
        while self._waiting:
            self._fill(*self._waiting.pop())
        self._lead = f'<?xml version="1.0" encoding="UTF-8"?>\n<soap:Envelope xmlns:soap="{soap}" xmlns:xsi="{XSI}"'
        self._start = self._declared()

    def write(
        self, request: Mapping[str, Any], headers: Mapping[str, Any] | None = None, block: str = "", out: list[str] | None = None
    ) -> bytes:
        """`headers`: values of header blocks by name. `block`: one that is written already. `out`: takes the text, and maybe binary values
        aside (mtom.Attaching).
        """
        out = [] if out is None else out
        start = len(out)
        out.append("")
        if headers or block:
            out.append(f"<soap:Header>{block}")
            for name, value in (headers or {}).items():
                self._headers[name](value, out)
            out.append("</soap:Header>")
        out.append("<soap:Body>")
        if self._open:
            self._body.write(request, out, self._open, self._close)
        else:
            self._body.check(request)
            self._body.children(request, out)
        out.append("</soap:Body></soap:Envelope>")
        out[start] = self._start  # known only now: the body may have named types that nobody named before
        return "".join(out).encode()

    def document(self, value: Any) -> str:
        """The one element of a request without wrapper, as a document of its own."""
        out: list[str] = []
        self._body.check(value)
        self._body.children(value, out)
        text = "".join(out)
        name = re.match("<[^ />]+", text)
        declared = self._declared().removeprefix(self._lead)[:-1] + (f' xmlns:xsi="{XSI}"' if "xsi:" in text else "")
        return text[: name.end()] + declared + text[name.end() :] if name else text

    def _named(self, name: Name) -> str:
        return f"{self._prefixes.setdefault(name[0], f'n{len(self._prefixes)}')}:{name[1]}" if name[0] else name[1]

    def _record(self, record: Record) -> _Record:
        """The writer of a record. It is filled later, because types may contain themselves."""
        if id(record) not in self._records:
            self._records[id(record)] = writer = _Record()
            self._waiting.append((writer, record))
        return self._records[id(record)]

    def _declared(self) -> str:
        return self._lead + "".join(f' xmlns:{prefix}="{_escaped(ns, _IN_ATTRIBUTE)}"' for ns, prefix in self._prefixes.items()) + ">"

    def _fill(self, writer: _Record, record: Record) -> None:
        def typed(name: str) -> _Element | None:
            """A field of one derived type: compiled when a request first has it, since there may be hundreds."""
            if (field := record.get(name)) is None:
                return None
            element = self._element(field)
            while self._waiting:
                self._fill(*self._waiting.pop())
            self._start = self._declared()
            return element

        fields = [(f, self._named((f.namespace or "", f.name.partition("~")[0])), self._element(f)) for f in record.fields]
        writer.fill(record, fields, typed)

    def _element(self, field: Field) -> _Element:
        base, _, stands_in = field.name.partition(":")
        name = self._named((field.namespace or "", base.partition("~")[0]))
        nil = f'<{name} xsi:nil="true"/>' if field.nillable else ""
        declared = self._schemas.type_names.get(id(field)) if self._encoded else None
        if stands_in and isinstance(field.shape, Record):
            namespace, _, local = field.shape.xsi_type.rpartition("}")
            declared = (namespace[1:], local)
        start, end = f"<{name}" + (f' xsi:type="{self._named(declared)}"' if declared else ""), f"</{name}>"
        if isinstance(field.shape, Leaf):
            fixed = field.default if field.fixed else None
            return _Element(field.name, field.required, field.repeated, nil, _leaf_writer(field.shape, start + ">", end), fixed)
        if (embedded := self._schemas.embedded.get(id(field.shape))) is not None:
            inner = EnvelopeWriter(replace(self._operation, encoded=False, request=Payload(None, embedded[0])), embedded[1])

            def embed(value: Any, out: list[str]) -> None:
                out.append(f"{start}>{_escaped(inner.document(value))}{end}")

            return _Element(field.name, field.required, field.repeated, nil, embed)
        if field.shape.abstract and field.shape.derived:
            names = ", ".join(f"{base}:{kind}" for kind in list(field.shape.derived)[:5])

            def refuse(value: Any, out: list[str]) -> None:
                raise Unwritable(f"one of the types that stand in for {base} ({names}, …)", f"the abstract {field.name}")

            return _Element(field.name, field.required, field.repeated, nil, refuse)
        record, item = (
            self._record(field.shape),
            self._schemas.arrays.get(id(field.shape)) if self._encoded and field.shape.fields else None,
        )
        write: Write = lambda value, out: record.write(value, out, start, end)  # noqa: E731  # the array below is the same with one more mark
        if item is not None:
            items, old = field.shape.fields[0].name, self._version == "1.1"
            kind, of = self._named((_ENCODING[self._version], "arrayType" if old else "itemType")), self._named(item)
            extent = self._named((_ENCODING[self._version], "arraySize"))

            def write(value: Any, out: list[str]) -> None:
                rows = value.get(items) if isinstance(value, Mapping) else None
                size = len(rows) if isinstance(rows, list | tuple) else 0
                mark = f' {kind}="{of}[{size}]"' if old else f' {kind}="{of}" {extent}="{size}"'
                record.write(value, out, start + mark, end)

        return _Element(field.name, field.required, field.repeated, nil, write)


@dataclass(frozen=True, slots=True)
class _Element:
    name: str
    required: bool
    repeated: bool
    nil: str
    write: Write
    fixed: str | None = None


class _Record:
    """Writes the fields of one record in the contract's order."""

    __slots__ = ("_attributes", "_elements", "_known", "_text", "_typed")

    def __init__(self) -> None:
        self._elements: list[_Element] = []
        self._attributes: list[tuple[Field, str]] = []
        self._known: frozenset[str] = frozenset()
        self._text: Leaf | None = None
        self._typed: Callable[[str], _Element | None] = lambda _: None

    def fill(self, record: Record, fields: list[tuple[Field, str, _Element]], typed: Callable[[str], _Element | None]) -> None:
        self._known, self._typed = frozenset(f.name for f in record.fields), typed
        self._attributes = [(f, name) for f, name, _ in fields if f.attribute]
        self._elements = [element for f, _, element in fields if not f.attribute and f.name != TEXT]
        text = record.get(TEXT)
        self._text = text.shape if text is not None and isinstance(text.shape, Leaf) else None

    def check(self, value: Any) -> None:
        if type(value) is not dict and not isinstance(value, Mapping):  # the first is most of them, and asked for a tenth
            raise Unwritable(f"a table with {', '.join(sorted(self._known)[:8]) or 'no fields'}", type(value).__name__)
        for name in () if value.keys() <= self._known else sorted(map(str, value.keys() - self._known)):
            base = name.partition(":")[0]
            if ":" in name and (element := self._typed(name)) is not None:
                self._elements.insert(next(n for n, e in enumerate(self._elements, 1) if e.name == base), element)
                self._known |= {name}
                continue
            near = difflib.get_close_matches(name, self._known, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise Unwritable(f"only {', '.join(sorted(self._known)[:12]) or 'no fields'}", f"{name!r}{hint}")

    def write(self, value: Any, out: list[str], start: str, end: str) -> None:
        if type(value) is not dict or not value.keys() <= self._known:
            self.check(value)
        for field, name in self._attributes:
            given = value.get(field.name, field.default if field.fixed else None)
            if given is not None and isinstance(field.shape, Leaf):
                start += f' {name}="{_escaped(_checked(given, field.shape), _IN_ATTRIBUTE)}"'
            elif field.required:
                raise Unwritable("a value", "nothing").at(field.name)
        out.append(start + ">")
        if self._text is not None and (text := value.get(TEXT)) is not None:
            out.append(_escaped(_checked(text, self._text)))
        self.children(value, out)
        out.append(end)

    def children(self, value: Mapping[str, Any], out: list[str]) -> None:
        for element in self._elements:
            given = value.get(element.name, element.fixed)
            if given is None:
                if element.required and not any(name.startswith(f"{element.name}:") for name in value):
                    if not element.nil or element.name not in value:
                        raise Unwritable("a value", "nothing").at(element.name)
                    out.append(element.nil)
            elif element.repeated:
                self._rows(element, given, out)
            else:
                try:
                    element.write(given, out)
                except Unwritable as exc:
                    raise exc.at(element.name)  # noqa: B904  # the same exception, with one more step of its path

    @staticmethod
    def _rows(element: _Element, given: Any, out: list[str]) -> None:
        if not isinstance(given, list | tuple):
            raise Unwritable("a list", type(given).__name__).at(element.name)
        if element.required and not given:
            raise Unwritable("at least one entry", "an empty list").at(element.name)
        done = 0
        try:
            for row in given:
                if row is None and element.nil:
                    out.append(element.nil)
                else:
                    element.write(row, out)
                done += 1
        except Unwritable as exc:
            raise exc.at(f"[{done}]").at(element.name)  # noqa: B904  # as above


def _leaf_writer(leaf: Leaf, start: str, end: str) -> Write:
    if leaf.kind == "binary":
        return _binary_writer(leaf, start, end)
    longest = 1 << 30 if leaf.max_length is None else leaf.max_length
    plain = leaf.kind == "string" and leaf.enum is None and not leaf.min_length
    special = _SPECIAL.search

    def write(value: Any, out: list[str]) -> None:
        if plain and type(value) is str and len(value) <= longest and not special(value):
            out.append(f"{start}{value}{end}")
        elif isinstance(value, etree._Element) and leaf.kind == "any":  # noqa: SLF001  # the class of every element has no other name
            out.append(start + etree.tostring(value, encoding="unicode", with_tail=False) + end)
        else:
            out.append(start + _escaped(_checked(value, leaf)) + end)

    return write


def _binary_writer(leaf: Leaf, start: str, end: str) -> Write:
    def write(value: Any, out: list[str]) -> None:
        aside = None
        if isinstance(out, Attaching) and isinstance(value, str | bytes) and leaf.pattern != HEXADECIMAL:
            try:
                aside = out.element(start, value, end)
            except ValueError as exc:
                raise Unwritable("base64", "something else", fits=True) from exc
        out.append(start + _escaped(_checked(value, leaf)) + end if aside is None else aside)

    return write


def _checked(value: Any, leaf: Leaf) -> str:
    """The lexical form of a value, within what the contract allows."""
    text = _lexical(value, leaf)
    if leaf.max_length is not None and len(text) > leaf.max_length and leaf.kind != "binary":
        raise Unwritable(f"at most {leaf.max_length} characters", f"{len(text)}", fits=True)
    if leaf.min_length and len(text) < leaf.min_length and leaf.kind != "binary":
        raise Unwritable(f"at least {leaf.min_length} characters", f"{len(text)}", fits=True)
    if leaf.enum is not None and text not in leaf.enum:
        raise Unwritable(f"one of {', '.join(leaf.enum[:20])}", repr(text[:40]), fits=True)
    return text


def _lexical(value: Any, leaf: Leaf) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal():
            return _decimal(value, leaf)
        case datetime() | date() | time():
            return value.isoformat()
        case bytes():
            return value.hex().upper() if leaf.pattern == HEXADECIMAL else base64.b64encode(value).decode()
        case _:
            raise Unwritable(f"a single value ({leaf.kind})", type(value).__name__)


def _decimal(value: Decimal, leaf: Leaf) -> str:
    if not value.is_finite() or abs(value.adjusted()) > 50:
        raise Unwritable("a finite number", str(value)[:40], fits=True)
    text = f"{value:f}"
    if leaf.digits is not None:
        whole, _, fraction = text.lstrip("-").partition(".")
        fraction = fraction.rstrip("0")
        total, most = leaf.digits
        if len(fraction) > most or len(whole.lstrip("0")) + len(fraction) > total:
            raise Unwritable(f"at most {total} digits, {most} of them decimals", text[:60], fits=True)
        text = text.rstrip("0").rstrip(".") if "." in text and len(text.partition(".")[2]) > most else text
    if leaf.kind == "integer":
        if value != value.to_integral_value():
            raise Unwritable("a whole number", text[:60], fits=True)
        text = text.partition(".")[0]
    return text


def _escaped(text: str, table: dict[int, str] = _IN_TEXT) -> str:
    if _NEVER.search(text):
        raise Unwritable("characters that XML can carry", "a control character", fits=True)
    return text.translate(table) if _SPECIAL.search(text) or table is _IN_ATTRIBUTE else text
