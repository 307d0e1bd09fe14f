"""A WSDL as a contract: its operations, how each travels, and the shapes of what is asked and answered."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from lxml import etree

from adapters.soap.documents import XSD, Documents
from adapters.soap.schema import ANY, WSDL, Name, Schema, Schemas, documentation, line
from contracts.errors import Finding, Findings
from mappings.language.shape import TEXT, Exchange, Field, Leaf, Message, Record

_W = f"{{{WSDL}}}"
_BINDINGS: dict[str, Version] = {"http://schemas.xmlsoap.org/wsdl/soap/": "1.1", "http://schemas.xmlsoap.org/wsdl/soap12/": "1.2"}

Version = Literal["1.1", "1.2"]


@dataclass(frozen=True, slots=True)
class Payload:
    """What stands in a Body. `element`: the one element around the record's fields; None: the fields are the Body's own children."""

    element: Name | None
    record: Record


@dataclass(frozen=True, slots=True)
class Operation:
    """How one operation travels. `headers` are the header blocks that the binding declares, by element name."""

    name: str
    version: Version
    action: str
    style: Literal["document", "rpc"]
    encoded: bool
    request: Payload
    answer: Payload | None
    headers: dict[Name, Field]
    doc: str
    line: int
    interface: str = ""
    """Local name of the portType, for `rpc.method`."""
    answer_headers: dict[Name, Field] = field(default_factory=dict)
    faults: dict[str, Field] = field(default_factory=dict)
    """What the detail of a fault may hold, by element name."""


@dataclass(frozen=True, slots=True)
class _Bound:
    """An operation's element in a chosen binding, that binding, and its file."""

    node: etree._Element
    binding: etree._Element
    file: Path


class SoapContract:
    """Reads the files at once (up to a second for several MB: do it in a thread) and shapes when asked for; safe across threads.

    `port` or `binding` chooses by local name among several. Without a choice the operations of all interfaces are there, each through
    its first binding of SOAP 1.1, else of 1.2. What does not hang together is noted in `notes` and described as `any`; only what cannot
    be read at all raises Findings. `provided`: paths of request fields that the driver fills, which a mapping therefore may leave out.
    `content`: operation -> path -> `file.xsd#Name`, what a text or a wildcard really holds.
    """

    def __init__(
        self,
        system: str,
        wsdl: Path,
        *,
        folder: Path | None = None,
        port: str = "",
        binding: str = "",
        provided: Iterable[str] = (),
        content: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.system, self.wsdl = system, wsdl.resolve()
        self._lock = threading.RLock()
        self._documents = Documents(folder or wsdl.parent)
        self.schemas = Schemas(self._documents)
        self._tables: dict[str, dict[Name, tuple[etree._Element, Path]]] = {}
        self._operations: dict[str, Operation] = {}
        self._exchanges: dict[str, Exchange] = {}
        self._described: dict[etree._Element, dict[str, tuple[etree._Element, Path]]] = {}
        self._provided, self._content = tuple(provided), content or {}
        self._others: dict[str, Schemas] = {}
        self.endpoint = ""
        """The address in the file, for information: the estate's endpoint counts."""
        self._collect(self.wsdl)
        self.schemas.complete()
        self._nodes = self._choose(port, binding)

    @property
    def notes(self) -> tuple[Finding, ...]:
        """What is odd in the files, as far as they have been read."""
        return tuple(self._documents.notes)

    def operations(self) -> tuple[str, ...]:
        return tuple(self._nodes)

    def operation(self, name: str) -> Operation:
        """Raises KeyError, naming the nearest operation, for one the chosen binding does not have."""
        with self._lock:
            if name not in self._operations:
                if name not in self._nodes:
                    near = difflib.get_close_matches(name, self._nodes, 1, 0.4)
                    hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(list(self._nodes)[:12])}"
                    raise KeyError(f"{self.system} has no operation {name!r}{hint}")
                try:
                    self._operations[name] = self._operation(name)
                except RecursionError as exc:
                    raise Findings(
                        findings=(Finding(self._documents.name(self.wsdl), 1, f"operation {name}: its types nest too deeply to be read"),)
                    ) from exc
            return self._operations[name]

    def exchange(self, operation: str) -> Exchange:
        with self._lock:
            if operation not in self._exchanges:
                how, source = self.operation(operation), self._documents.name(self.wsdl)
                name = f"{self.system}.{operation}"
                self._exchanges[operation] = Exchange(
                    operation,
                    Message(name, "xml", relaxed(how.request.record, self._provided), source),
                    Message(name, "xml", how.answer.record, source) if how.answer else None,
                )
            return self._exchanges[operation]

    # ---- reading --------------------------------------------------------------------------------------------------------

    def _collect(self, path: Path) -> None:
        waiting, seen = [path], set[Path]()
        while waiting:
            path = waiting.pop()
            if path in seen:
                continue
            seen.add(path)
            root = self._documents.read(path)
            if root.tag == f"{{{XSD}}}schema":
                self.schemas.add(root, path)
                continue
            if root.tag != f"{_W}definitions":
                hint = "ask for its WSDL 1.1 form" if etree.QName(root).localname == "description" else "expected the text behind ?wsdl"
                raise Findings(
                    findings=(Finding(self._documents.name(path), line(root), f"not a WSDL 1.1 document: its root is {root.tag}", hint),)
                )
            target = root.get("targetNamespace", "")
            for node in root.iterchildren(f"{_W}*"):
                kind = etree.QName(node).localname
                if kind == "types":
                    for schema in node.iterchildren(f"{{{XSD}}}schema"):
                        self.schemas.add(schema, path)
                elif kind == "import":
                    found = self._documents.beside(path, node.get("location", ""))
                    if found:
                        waiting.append(found)
                    elif alike := self._documents.of_namespace(node.get("namespace", ""), f"{_W}definitions"):
                        waiting += alike
                    else:
                        self._note(node, path, f"import of {node.get('location')!r}, which is not in the contract folder")
                elif name := node.get("name"):
                    self._tables.setdefault(kind, {}).setdefault((target, name), (node, path))

    def _note(self, node: etree._Element, path: Path, message: str) -> None:
        self._documents.note(path, line(node), message)

    def _name(self, node: etree._Element, text: str | None, path: Path) -> Name:
        root = node.getroottree().getroot()
        return self.schemas.name(
            node, text or "", Schema(root.get("targetNamespace", ""), qualified=False, attributes_qualified=False, file=path)
        )

    def _find(self, kind: str, node: etree._Element, text: str | None, path: Path) -> tuple[etree._Element, Path] | None:
        name, table = self._name(node, text, path), self._tables.get(kind, {})
        if name in table:
            return table[name]
        alike = [found for (_, local), found in table.items() if local == name[1]]
        self._note(
            node, path, f"{kind} {name[1]!r} is not in namespace {name[0]!r}" + (", but in another one" if alike else " or any other")
        )
        return alike[0] if len(alike) == 1 else None

    def _choose(self, port: str, binding: str) -> dict[str, _Bound]:
        candidates = list(self._candidates())
        chosen = [c for c in candidates if (not port or c[0] == port) and (not binding or c[1] == binding)]
        if (port or binding) and not chosen:
            known = "; ".join(f"port {p or '-'} of binding {b}" for p, b, *_ in candidates)
            what = " ".join(filter(None, (port and f"port {port!r}", binding and f"binding {binding!r}")))
            raise Findings(
                findings=(Finding(self._documents.name(self.wsdl), 1, f"there is no {what} of SOAP", f"there are: {known or 'none'}"),)
            )
        if not chosen:
            self._documents.note(self.wsdl, 1, "no SOAP binding: there is no operation that could be called")
            return {}
        chosen.sort(key=lambda c: (c[2] != "1.1", not c[0]))
        self.endpoint = chosen[0][3]
        nodes: dict[str, _Bound] = {}
        interfaces: dict[Name | str, str] = {}
        for _, own, _, _, node, path in chosen:
            interface = self._name(node, node.get("type"), path) if node.get("type") else own
            if interfaces.setdefault(interface, own) != own:
                continue  # the same interface through another binding
            for operation in node.iterchildren(f"{_W}operation"):
                name = operation.get("name", "")
                if name not in nodes:
                    nodes[name] = _Bound(operation, node, path)
                elif nodes[name].binding is node:
                    self._note(operation, path, f"operation {name!r} is overloaded; only its first form is used")
                else:
                    first = nodes[name].binding.get("name")
                    message = f"operation {name!r} of binding {own} is hidden by that of {first}"
                    self._documents.note(path, line(operation), message, "choose a binding")
        return nodes

    def _candidates(self) -> Iterator[tuple[str, str, Version, str, etree._Element, Path]]:
        """(port, binding, version, address, binding's element, file) of every SOAP binding; port is "" for one without a port."""
        soap = {
            name: (version, node, path)
            for name, (node, path) in self._tables.get("binding", {}).items()
            for namespace, version in _BINDINGS.items()
            if node.find(f"{{{namespace}}}binding") is not None
        }
        served = set()
        for service, path in self._tables.get("service", {}).values():
            for port in service.iterchildren(f"{_W}port"):
                found = self._name(port, port.get("binding"), path)
                if found in soap:
                    served.add(found)
                    version, node, file = soap[found]
                    address = next((a.get("location", "") for ns in _BINDINGS for a in port.iterchildren(f"{{{ns}}}address")), "")
                    yield port.get("name", ""), found[1], version, address, node, file
        for name, (version, node, path) in soap.items():
            if name not in served:
                yield "", name[1], version, "", node, path

    # ---- operations -----------------------------------------------------------------------------------------------------

    def _operation(self, name: str) -> Operation:
        bound = self._nodes[name]
        node, binding, path = bound.node, bound.binding, bound.file
        version: Version = next(v for ns, v in _BINDINGS.items() if binding.find(f"{{{ns}}}binding") is not None)
        soap = f"{{{next(ns for ns, v in _BINDINGS.items() if v == version)}}}"
        general, own = binding.find(f"{soap}binding"), node.find(f"{soap}operation")
        style = (own.get("style") if own is not None else None) or (general.get("style") if general is not None else None)
        abstract, at = self._abstract(binding, path).get(name, (None, path))
        if abstract is None:
            self._note(node, path, f"operation {name!r} has no description in its portType")
        rpc = style == "rpc"
        request, headers, encoded = self._payload(abstract, at, node, path, "input", soap, rpc=rpc)
        answer, answer_headers, _ = self._payload(abstract, at, node, path, "output", soap, rpc=rpc)
        request, answer = self._holding(name, request, answer)
        return Operation(
            name=name,
            version=version,
            action=own.get("soapAction", "") if own is not None else "",
            style="rpc" if rpc else "document",
            encoded=encoded,
            request=request or Payload(None, Record(name, open=abstract is None)),
            answer=answer or (Payload(None, Record(name, open=True)) if abstract is None else None),
            headers=headers,
            doc=documentation(abstract, f"{_W}documentation") if abstract is not None else "",
            line=line(node),
            interface=binding.get("type", "").rpartition(":")[2] or binding.get("name", ""),
            answer_headers=answer_headers,
            faults=dict(self._faults(abstract, at)) if abstract is not None else {},
        )

    def _holding(self, name: str, *payloads: Payload | None) -> Iterator[Payload | None]:
        """The payloads of an operation with what its texts really hold."""
        found = list(payloads)
        for path, reference in self._content.get(name, {}).items():
            content, schemas = self._described_elsewhere(reference)
            held = [self.schemas.holding(p.record, path, content, schemas) if p else None for p in found]
            if not any(held):
                raise self._no_content(self.wsdl, f"operation {name}: neither request nor answer has a field {path!r}")
            found = [Payload(p.element, record) if p and record else p for p, record in zip(found, held, strict=True)]
        yield from found

    def _described_elsewhere(self, reference: str) -> tuple[Field | Record, Schemas]:
        """An element, or a type, of another schema document: `file.xsd#Name`."""
        file, _, local = reference.partition("#")
        path = self._documents.beside(self.wsdl, file)
        if path is None:
            raise self._no_content(self.wsdl, f"there is no {file!r} beside it")
        root = self._documents.read(path)
        target = root.get("targetNamespace", "")
        if file not in self._others:
            self._others[file] = Schemas(self._documents)
            self._others[file].add(root, path)
            self._others[file].complete()
        schemas = self._others[file]
        found = schemas.element((target, local)) or schemas.type((target, local))
        if isinstance(found, Leaf):
            raise self._no_content(path, f"there is no element or record {local!r}", f"it has {', '.join(schemas.names()[:12])}")
        return found, schemas

    def _no_content(self, path: Path, message: str, suggestion: str = "") -> Findings:
        finding = Finding(self._documents.name(path), 1, f"options of {self.system}: content: {message}", suggestion)
        return Findings(findings=(finding,))

    def _faults(self, abstract: etree._Element, at: Path) -> Iterator[tuple[str, Field]]:
        for fault in abstract.iterchildren(f"{_W}fault"):
            message = self._find("message", fault, fault.get("message"), at)
            if message is not None:
                for part in message[0].iterchildren(f"{_W}part"):
                    field = self._part(part, message[1])
                    yield field.name, field

    def _abstract(self, binding: etree._Element, path: Path) -> dict[str, tuple[etree._Element, Path]]:
        """The operations of the portType that a binding is for."""
        if binding not in self._described:
            found = self._find("portType", binding, binding.get("type"), path) if binding.get("type") else None
            nodes = list(found[0].iterchildren(f"{_W}operation")) if found else []
            self._described[binding] = {n.get("name", ""): (n, found[1]) for n in reversed(nodes)} if found else {}
        return self._described[binding]

    def _payload(
        self,
        abstract: etree._Element | None,
        at: Path,
        node: etree._Element,
        path: Path,
        direction: Literal["input", "output"],
        soap: str,
        *,
        rpc: bool,
    ) -> tuple[Payload | None, dict[Name, Field], bool]:
        side = abstract.find(f"{_W}{direction}") if abstract is not None else None
        if side is None:
            return None, {}, False
        bound = node.find(f"{_W}{direction}")
        message = self._find("message", side, side.get("message"), at)
        headers: dict[Name, Field] = {}
        taken: set[str | None] = set()
        for header in bound.iter(f"{soap}header") if bound is not None else ():
            declared = self._find("message", header, header.get("message"), path)
            part = (
                next((p for p in declared[0].iterchildren(f"{_W}part") if p.get("name") == header.get("part")), None) if declared else None
            )
            if declared is not None and part is not None and part.get("element"):
                name = self._name(part, part.get("element"), declared[1])
                headers[name] = self.schemas.element(name) or Field(name[1], ANY, namespace=name[0] or None)
            if declared is not None and message is not None and declared[0] is message[0]:
                taken.add(header.get("part"))
        body = next(bound.iter(f"{soap}body"), None) if bound is not None else None
        named = body.get("parts") if body is not None else None
        wanted = named.split() if named is not None else None
        parts = [] if message is None else list(message[0].iterchildren(f"{_W}part"))
        parts = [p for p in parts if (p.get("name") in wanted if wanted is not None else p.get("name") not in taken)]
        fields = [self._part(p, message[1]) for p in parts] if message else []
        encoded = body is not None and body.get("use") == "encoded"
        operation = node.get("name", "")
        if rpc:
            wrapper = operation if direction == "input" else f"{operation}Response"
            namespace = (body.get("namespace") if body is not None else None) or ""
            return Payload((namespace, wrapper), Record(wrapper, fields, open=message is None)), headers, encoded
        if len(fields) == 1 and parts[0].get("element"):
            field = fields[0]
            element = (field.namespace or "", field.name)
            if isinstance(field.shape, Record):
                return Payload(element, field.shape), headers, encoded
            return (
                Payload(element, Record(field.name, [Field(TEXT, field.shape, required=False)], open=field.shape.kind == "any")),
                headers,
                encoded,
            )
        if len(fields) == 1 and isinstance(fields[0].shape, Record):  # document style with a typed part: the Body is of that type
            return Payload(None, fields[0].shape), headers, encoded
        return Payload(None, Record(operation, fields, open=message is None)), headers, encoded

    def _part(self, part: etree._Element, path: Path) -> Field:
        if element := part.get("element"):
            name = self._name(part, element, path)
            field = self.schemas.element(name)
            if field is not None:
                return field
            self._note(part, path, message := f"element {name[1]!r} of namespace {name[0]!r} is not in the contract")
            return Field(name[1], Leaf("any", broken=f"{message} ({self._documents.name(path)}:{line(part)})"), namespace=name[0] or None)
        kind = self._name(part, part.get("type"), path) if part.get("type") else None
        shape: Leaf | Record = self.schemas.type(kind) if kind else ANY
        if isinstance(shape, Leaf) and shape.broken:
            self._note(part, path, shape.broken)
        field = Field(part.get("name", ""), shape, required=False, nillable=True, doc=documentation(part, f"{_W}documentation"))
        if kind:
            self.schemas.type_names[id(field)] = kind
        return field


def relaxed(record: Record, paths: Iterable[str]) -> Record:
    """The record with these fields optional, and all that leads to them; as it is where it has none of them."""
    for path in paths:
        name, _, rest = path.partition(".")
        fields = [
            replace(f, required=False, shape=relaxed(f.shape, (rest,)) if rest and isinstance(f.shape, Record) else f.shape)
            if f.name == name
            else f
            for f in record.fields
        ]
        if any(f.name == name for f in fields):
            record = replace(record, fields=fields)
    return record
