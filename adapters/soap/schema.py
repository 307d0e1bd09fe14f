"""XML Schema as shapes: what an element may hold, with lengths, digits, patterns and values that other readers of schemas lose."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lxml import etree

from adapters.soap.documents import XSD, Documents
from mappings.language.shape import TEXT, Field, Kind, Leaf, Record

WSDL = "http://schemas.xmlsoap.org/wsdl/"
ENCODINGS = frozenset({"http://schemas.xmlsoap.org/soap/encoding/", "http://www.w3.org/2003/05/soap-encoding"})
BUILT_IN = ENCODINGS | {XSD, "http://www.w3.org/XML/1998/namespace"}
REDEFINED = "~"
"""After the name of a component that another one of its name redefines; no XML name holds it."""
MAX_FIELDS = 2000
MAX_STEPS = 20_000
"""Particles of one type, groups unfolded."""
MAX_TOTAL = 500_000
"""Particles of a contract."""

Name = tuple[str, str]
"""Namespace and local name."""

_S = f"{{{XSD}}}"
_INTEGERS = {
    "byte": ("-128", "127"),
    "short": ("-32768", "32767"),
    "int": ("-2147483648", "2147483647"),
    "long": ("-9223372036854775808", "9223372036854775807"),
    "unsignedByte": ("0", "255"),
    "unsignedShort": ("0", "65535"),
    "unsignedInt": ("0", "4294967295"),
    "unsignedLong": ("0", "18446744073709551615"),
    "integer": (None, None),
    "nonNegativeInteger": ("0", None),
    "positiveInteger": ("1", None),
    "nonPositiveInteger": (None, "0"),
    "negativeInteger": (None, "-1"),
}
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("string", "normalizedString", "token", "language", "Name", "NCName", "NMTOKEN", "NMTOKENS", "anyURI"), "string"),
    **dict.fromkeys(("ID", "IDREF", "IDREFS", "ENTITY", "ENTITIES", "QName", "NOTATION", "duration", "dayTimeDuration"), "string"),
    **dict.fromkeys(("yearMonthDuration", "gYear", "gYearMonth", "gMonth", "gMonthDay", "gDay"), "string"),
    **dict.fromkeys(("decimal", "float", "double"), "decimal"),
    **dict.fromkeys(("dateTime", "dateTimeStamp"), "datetime"),
    **dict.fromkeys(("base64Binary", "base64"), "binary"),
    **dict.fromkeys(("anyType", "anySimpleType", "anyAtomicType", "ur-type"), "any"),
    "boolean": "boolean",
    "date": "date",
    "time": "time",
}
ANY = Leaf("any")
HEXADECIMAL = "([0-9a-fA-F]{2})*"
"""Pattern by which a binary value is told from base64."""
_LEAVES = (
    {"hexBinary": Leaf("binary", pattern=HEXADECIMAL)}
    | {name: Leaf(kind) for name, kind in _KINDS.items()}
    | {name: Leaf("integer", minimum=low, maximum=high) for name, (low, high) in _INTEGERS.items()}
)


@dataclass(frozen=True, slots=True)
class Schema:
    """What a schema document says about all its components."""

    target: str
    qualified: bool
    attributes_qualified: bool
    file: Path


@dataclass(frozen=True, slots=True)
class _Component:
    node: etree._Element
    schema: Schema


class Schemas:
    """All components of a contract. Shapes are built when asked for; a name that leads nowhere becomes `any` and a note."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._components: dict[str, dict[Name, _Component]] = {}
        self._members: dict[Name, list[Name]] = {}
        self._bases: dict[Name, list[Name]] = {}
        """Type -> the types that extend or restrict it."""
        self._loaded: set[tuple[Path, str]] = set()
        self._targets: set[str] = set()
        self._redefined: set[tuple[str, str, str]] = set()
        self._wanted: dict[str, tuple[etree._Element, Schema, str]] = {}
        """Namespaces that are imported, without a document that could be found by its name: the import, and what it says of the place."""
        self._shapes: dict[Name, Leaf | Record] = {}
        self._elements: dict[Name, Field] = {}
        self._pending: dict[int, tuple[Record, _Component]] = {}
        self._underived: list[tuple[Record, Name]] = []
        self._resolving: set[Name] = set()
        self._steps = self._total = 0
        self.type_names: dict[int, Name] = {}
        """id of a Field -> the name of its declared type, for encodings that write it down."""
        self.arrays: dict[int, Name] = {}
        """id of a Record -> the type of its items, for arrays of the SOAP encoding."""
        self.embedded: dict[int, tuple[Record, Schemas]] = {}
        """id of a Record that travels as the text of a document of its own -> itself, and where its types are from."""

    # ---- collecting components ----------------------------------------------------------------------------------------

    def add(self, node: etree._Element, file: Path, chameleon: str = "") -> None:
        """Take up a schema element and all it includes and imports. `chameleon`: the namespace of whoever includes it."""
        stack = [(node, file, chameleon)]
        while stack:
            node, file, chameleon = stack.pop()
            schema = Schema(
                node.get("targetNamespace", chameleon),
                node.get("elementFormDefault") == "qualified",
                node.get("attributeFormDefault") == "qualified",
                file,
            )
            self._targets.add(schema.target)
            for child in node.iterchildren(f"{_S}*"):
                kind = etree.QName(child).localname
                if kind in {"import", "include", "redefine", "override"}:
                    stack += self._include(child, schema, kind)
                self._collect(child, schema)
                if kind in {"redefine", "override"}:
                    for inner in child.iterchildren(f"{_S}*"):
                        self._replace(inner, schema)

    def complete(self) -> None:
        """Take up what was imported by namespace alone, or under a name that no file has."""
        while self._wanted:
            namespace, (node, schema, location) = self._wanted.popitem()
            if namespace in self._targets:
                continue
            found = self._documents.of_namespace(namespace)
            for path in found:
                if (path, "") not in self._loaded:
                    self._loaded.add((path, ""))
                    self.add(self._documents.read(path), path)
            if not found:
                what = f"import of {location!r}" if location else f"import of namespace {namespace!r}"
                self._note(node, schema, f"{what}, which is not in the contract folder", "save that document beside this file")

    def _collect(self, node: etree._Element, schema: Schema) -> None:
        kind, local = etree.QName(node).localname, node.get("name")
        if local is None:
            return
        table = self._components.setdefault({"simpleType": "type", "complexType": "type"}.get(kind, kind), {})
        if (schema.target, local) in table and (kind, schema.target, local) in self._redefined:  # the redefinition came first
            table.setdefault((schema.target, local + REDEFINED), _Component(node, schema))
            return
        known = table.setdefault((schema.target, local), _Component(node, schema)).node
        if known is not node and etree.tostring(known, with_tail=False) != etree.tostring(node, with_tail=False):
            self._note(node, schema, f"{kind} {local!r} is declared twice, differently; the one in line {line(known)} counts")
        if kind == "element" and (head := node.get("substitutionGroup")):
            self._members.setdefault(self.name(node, head, schema), []).append((schema.target, local))
        if kind == "complexType" and (derived := node.find(f"{_S}complexContent/*[@base]")) is not None:
            self._bases.setdefault(self.name(derived, derived.get("base", ""), schema), []).append((schema.target, local))

    def _replace(self, node: etree._Element, schema: Schema) -> None:
        """A component that redefines one of its own name: it refers to the former one, which goes on under another name."""
        kind, local = etree.QName(node).localname, node.get("name")
        table = self._components.setdefault({"simpleType": "type", "complexType": "type"}.get(kind, kind), {})
        if local is None:
            return
        own = (schema.target, local)
        former = table.pop(own, None)
        for inner in node.iter(f"{_S}extension", f"{_S}restriction", f"{_S}group", f"{_S}attributeGroup"):
            for attribute in ("base", "ref"):
                said = inner.get(attribute)
                if said and self.name(inner, said, schema) == own:
                    inner.set(attribute, said + REDEFINED)
                    self._redefined.add((kind, *own))
        if former is not None:
            table[schema.target, local + REDEFINED] = former
        self._collect(node, schema)

    def _include(self, node: etree._Element, schema: Schema, kind: str) -> Iterator[tuple[etree._Element, Path, str]]:
        location, namespace = node.get("schemaLocation"), node.get("namespace", "")
        if namespace in BUILT_IN:
            return
        path = self._documents.beside(schema.file, location) if location else None
        if path is None and kind == "import":
            self._wanted.setdefault(namespace, (node, schema, location or ""))
            return
        if path is None:
            self._note(node, schema, f"{kind} of {location!r}, which is not in the contract folder", "save that document beside this file")
            return
        target = "" if kind == "import" else schema.target
        if (path, target) not in self._loaded:
            self._loaded.add((path, target))
            root = self._documents.read(path)
            if root.tag == f"{_S}schema":
                yield root, path, target
            else:
                for inner in root.iter(f"{_S}schema"):
                    yield inner, path, target

    # ---- names --------------------------------------------------------------------------------------------------------

    def name(self, node: etree._Element, text: str, schema: Schema) -> Name:
        prefix, _, local = text.strip().rpartition(":")
        namespace = node.nsmap.get(prefix or None)
        if namespace is None:
            if prefix:
                self._note(node, schema, f"{text!r}: prefix {prefix!r} is not declared")
            return (schema.target, local)
        return (namespace, local)

    def _find(self, kind: str, name: Name) -> _Component | None:
        return self._components.get(kind, {}).get(name)

    def _note(self, node: etree._Element, schema: Schema, message: str, suggestion: str = "") -> None:
        self._documents.note(schema.file, line(node), message, suggestion)

    def _broken(self, at: _Component | None, message: str) -> Leaf:
        if at is None:
            return Leaf("any", broken=message)
        self._note(at.node, at.schema, message)
        return Leaf("any", broken=f"{message} ({self._documents.name(at.schema.file)}:{line(at.node)})")

    def globals(self, local: str) -> list[Name]:
        """The global elements of that local name."""
        return [name for name in self._components.get("element", {}) if name[1] == local]

    def names(self) -> list[str]:
        """The global elements, as they stand in the files."""
        return [name[1] for name in self._components.get("element", {})]

    def holding(self, record: Record, path: str, content: Field | Record, schemas: Schemas) -> Record | None:
        """The record with a described content at that path: a document in the place of a text, or further fields of a record; None: it has
        no such path.
        """
        name, _, rest = path.partition(".")
        found = record.get(name)
        if found is None:
            return None
        shape: Leaf | Record | None
        if rest:
            shape = self.holding(found.shape, rest, content, schemas) if isinstance(found.shape, Record) else None
        elif isinstance(found.shape, Leaf):
            shape = Record(name, [content if isinstance(content, Field) else Field(content.name, content)])
            self.embedded[id(shape)] = shape, schemas
        else:
            more = content.shape if isinstance(content, Field) else content
            shape = replace(found.shape, fields=[*found.shape.fields, *(more.fields if isinstance(more, Record) else ())])
        if shape is None:
            return None
        changed = replace(found, shape=shape)
        if id(found) in self.type_names:
            self.type_names[id(changed)] = self.type_names[id(found)]
        return replace(record, fields=[changed if f is found else f for f in record.fields])

    # ---- shapes ---------------------------------------------------------------------------------------------------------

    def element(self, name: Name) -> Field | None:
        """A global element as a field, complete with all below it; None if the contract has none of that name."""
        if name not in self._elements:
            component = self._find("element", name)
            if component is None:
                return None
            self._elements[name] = self._declared(component.node, component.schema, name[1], name[0] or None)
        self._drain()
        return self._elements[name]

    def type(self, name: Name) -> Leaf | Record:
        """A named type, complete with all below it."""
        shape = self._type(name, None)
        self._drain()
        return shape

    def _drain(self) -> None:
        while self._pending or self._underived:
            while self._underived:
                self._derive(*self._underived.pop())
            if self._pending:
                self._fill(*self._pending.pop(next(iter(self._pending))))

    def _type(self, name: Name, at: _Component | None) -> Leaf | Record:
        namespace, local = name
        if namespace == XSD or namespace in ENCODINGS:
            return _LEAVES.get(local) or Record(local, open=True)
        if name in self._shapes:
            return self._shapes[name]
        component = self._find("type", name)
        if component is None or name in self._resolving:
            why = "is defined by itself" if component else "is not in the contract"
            return self._broken(at, f"type {local!r} of namespace {namespace!r} {why}")
        self._resolving.add(name)
        shape = self._shapes[name] = self._anonymous(component, local)
        self._resolving.discard(name)
        if isinstance(shape, Record):
            shape.xsi_type = f"{{{namespace}}}{local}" if namespace else local
            self._underived.append((shape, name))
        return shape

    def _derive(self, shape: Record, name: Name) -> None:
        """Give the record the types that may stand in its place, with those that may stand in theirs."""
        waiting, seen = list(self._bases.get(name, ())), {name}
        while waiting:
            kind = waiting.pop(0)
            if kind in seen:
                continue
            seen.add(kind)
            self._total += 1
            if len(seen) > MAX_FIELDS or self._total > MAX_TOTAL:
                component = self._components["type"][name]
                message = f"more than {MAX_FIELDS} types (all: {MAX_TOTAL}) are derived from {name[1]}; the rest is not described"
                self._note(component.node, component.schema, message)
                return
            record = self._type(kind, None)
            if isinstance(record, Record):
                shape.derived[kind[1] if kind[1] not in shape.derived else f"{{{kind[0]}}}{kind[1]}"] = record
            waiting += self._bases.get(kind, ())

    def _anonymous(self, component: _Component, name: str) -> Leaf | Record:
        if component.node.tag == f"{_S}simpleType":
            return self._simple(component)
        content = component.node.find(f"{_S}simpleContent")
        if content is not None and len(content):
            derived = _Component(content[0], component.schema)
            if not any(True for _ in self._attributes(derived, set())):
                base = self._type(self.name(derived.node, derived.node.get("base", ""), derived.schema), derived)
                if isinstance(base, Leaf):
                    return self._restricted(base, derived)
        record = Record(name)
        self._pending[id(record)] = (record, component)
        return record

    def _filled(self, shape: Leaf | Record) -> Leaf | Record:
        if isinstance(shape, Record) and (waiting := self._pending.pop(id(shape), None)):
            self._fill(*waiting)
        return shape

    def _fill(self, record: Record, component: _Component) -> None:
        node, schema = component.node, component.schema
        self._steps = 0
        record.abstract = node.get("abstract") == "true"
        record.open = record.abstract and (schema.target, node.get("name", "")) not in self._bases
        if node.get("mixed") == "true":
            record.fields.append(Field(TEXT, Leaf("string"), required=False))
        content = node.find(f"{_S}complexContent")
        content = node.find(f"{_S}simpleContent") if content is None else content
        if content is not None and len(content):
            component = self._derived(record, _Component(content[-1], schema))
            node = component.node
        for field in self._particles(component, optional=False, repeated=False, groups=frozenset()):
            self._put(record, field)
        for field in self._attributes(component, set()):
            self._put(record, field)
        record.open |= next(node.iter(f"{_S}any"), None) is not None or node.find(f"{_S}anyAttribute") is not None

    def _derived(self, record: Record, component: _Component) -> _Component:
        """Put what the base brings into the record; answer where the type's own particles stand."""
        node, schema = component.node, component.schema
        base_name = self.name(node, node.get("base", ""), schema)
        extends = node.tag == f"{_S}extension"
        if base_name[0] in ENCODINGS and base_name[1] == "Array":
            self._array(record, component)
            return component
        base = self._filled(self._type(base_name, component))
        if isinstance(base, Leaf):
            if base_name != (XSD, "anyType"):
                record.fields.append(Field(TEXT, self._restricted(base, component), required=False))
            record.open |= base.kind == "any" and extends
        elif extends:
            record.fields += base.fields
            record.open |= base.open
        else:  # a restriction repeats the elements it keeps and inherits the attributes
            text = next((f for f in base.fields if f.name == TEXT), None)
            if text and isinstance(text.shape, Leaf):
                record.fields.append(replace(text, shape=self._restricted(text.shape, component)))
            own = {a.get("name") for a in node.iterchildren(f"{_S}attribute")}
            record.fields += [f for f in base.fields if f.attribute and f.name not in own]
        return component

    def _array(self, record: Record, component: _Component) -> None:
        for attribute in component.node.iter(f"{_S}attribute"):
            if kind := attribute.get(f"{{{WSDL}}}arrayType"):
                item = self.name(attribute, re.sub(r"(\[[\d,]*\])+$", "", kind), component.schema)
                self.arrays[id(record)] = item
                if component.node.find(f".//{_S}element") is None:
                    field = Field("item", self._type(item, component), required=False, repeated=True)
                    self.type_names[id(field)] = item
                    record.fields.append(field)

    def _put(self, record: Record, field: Field) -> None:
        if len(record.fields) >= MAX_FIELDS:
            record.open = True
            return
        for i, known in enumerate(record.fields):
            if (known.element, known.namespace, known.attribute) == (field.name, field.namespace, field.attribute):
                twice = known.required and field.required and not field.attribute
                merged = replace(known, repeated=known.repeated or field.repeated or twice, required=known.required and field.required)
                if id(known) in self.type_names:
                    self.type_names[id(merged)] = self.type_names[id(known)]
                record.fields[i] = merged
                return
        if number := sum(known.element == field.name for known in record.fields):  # of another namespace, or an attribute
            named = replace(field, name=f"{field.name}~{number + 1}")
            if id(field) in self.type_names:
                self.type_names[id(named)] = self.type_names[id(field)]
            field = named
        record.fields.append(field)

    def _particles(self, component: _Component, *, optional: bool, repeated: bool, groups: frozenset[Name]) -> Iterator[Field]:
        schema = component.schema
        for node in component.node.iterchildren(f"{_S}*"):
            kind = etree.QName(node).localname
            if kind not in {"element", "sequence", "all", "choice", "group"}:
                continue
            self._steps += 1
            self._total += 1
            if self._steps > MAX_STEPS or self._total > MAX_TOTAL:
                self._note(node, schema, f"types unfold into more than {MAX_STEPS} (all: {MAX_TOTAL}) particles; the rest is not described")
                return
            absent = optional or node.get("minOccurs") == "0"
            many = repeated or node.get("maxOccurs", "1") not in {"0", "1"}
            inner = _Component(node, schema)
            if kind == "element":
                if node.get("maxOccurs") != "0":
                    yield from self._element_field(inner, optional=absent, repeated=many)
            elif kind == "group":
                name = self.name(node, node.get("ref", ""), schema)
                group = self._find("group", name)
                if group is None or name in groups:
                    self._note(node, schema, f"group {name[1]!r} " + ("holds itself" if group else "is not in the contract"))
                else:
                    yield from self._particles(group, optional=absent, repeated=many, groups=groups | {name})
            else:
                chosen = kind == "choice" and sum(1 for _ in node.iterchildren(f"{_S}*")) > 1
                yield from self._particles(inner, optional=absent or chosen, repeated=many, groups=groups)

    def _element_field(self, component: _Component, *, optional: bool, repeated: bool) -> Iterator[Field]:
        node, schema = component.node, component.schema
        if not (ref := node.get("ref")):
            form = node.get("form")
            namespace = schema.target or None if (form == "qualified" or (form is None and schema.qualified)) else None
            yield self._declared(node, schema, node.get("name", ""), namespace, required=not optional, repeated=repeated)
            return
        name = self.name(node, ref, schema)
        target = self._find("element", name)
        if target is None:
            what = f"element {name[1]!r} of namespace {name[0]!r} is not in the contract"
            shape = ANY if name[0] == XSD else self._broken(component, what)
            yield Field(name[1], shape, not optional, repeated, namespace=name[0] or None, doc=_doc(node))
            return
        names = self._substitutes(name)
        for each in names:
            member = self._find("element", each)
            if member is not None and (len(names) == 1 or member.node.get("abstract") != "true"):
                required = not optional and len(names) == 1
                yield self._declared(member.node, member.schema, each[1], each[0] or None, required=required, repeated=repeated, ref=node)

    def _substitutes(self, head: Name) -> list[Name]:
        found = [head]
        for name in found:
            found += [m for m in self._members.get(name, ()) if m not in found]
        return found

    def _declared(
        self,
        node: etree._Element,
        schema: Schema,
        name: str,
        namespace: str | None,
        *,
        required: bool = True,
        repeated: bool = False,
        ref: etree._Element | None = None,
    ) -> Field:
        component = _Component(node, schema)
        inline = node.find(f"{_S}complexType")
        inline = node.find(f"{_S}simpleType") if inline is None else inline
        declared: Name | None = None
        shape: Leaf | Record = ANY
        if kind := node.get("type"):
            declared = self.name(node, kind, schema)
            shape = self._type(declared, component)
        elif inline is not None:
            shape = self._anonymous(_Component(inline, schema), name)
        elif head := node.get("substitutionGroup"):
            target = self._find("element", self.name(node, head, schema))
            if target is not None and (kind := target.node.get("type")):
                shape = self._type(self.name(target.node, kind, target.schema), component)
        typed = self._find("type", declared) if declared else None
        doc = (_doc(ref) if ref is not None else "") or _doc(node) or (_doc(typed.node) if typed else "")
        nillable = node.get("nillable") == "true"
        fixed = node.get("fixed") if required and not repeated and isinstance(shape, Leaf) else None
        only = fixed is not None
        field = Field(name, shape, required, repeated, nillable, namespace=namespace, doc=doc, default=fixed, fixed=only)
        if declared:
            self.type_names[id(field)] = declared
        return field

    def _attributes(self, component: _Component, groups: set[Name]) -> Iterator[Field]:
        schema = component.schema
        for node in component.node.iterchildren(f"{_S}attribute", f"{_S}attributeGroup"):
            if ref := node.get("ref"):
                name = self.name(node, ref, schema)
                if node.tag == f"{_S}attributeGroup":
                    group = self._find("attributeGroup", name)
                    if group is not None and name not in groups:
                        yield from self._attributes(group, groups | {name})
                    continue
                if name[0] in ENCODINGS:
                    continue
                target = self._find("attribute", name)
                shape = self._attribute_shape(target) if target else Leaf("string")
                yield self._attribute(node, name[1], name[0], shape)
            elif node.get("use") != "prohibited" and (local := node.get("name")):
                form = node.get("form")
                qualified = form == "qualified" or (form is None and schema.attributes_qualified)
                yield self._attribute(node, local, schema.target if qualified else "", self._attribute_shape(_Component(node, schema)))

    @staticmethod
    def _attribute(node: etree._Element, name: str, namespace: str, shape: Leaf) -> Field:
        fixed, required = node.get("fixed"), node.get("use") == "required"
        only = fixed is not None and required
        default = fixed if fixed is not None else node.get("default")
        return Field(name, shape, required, attribute=True, namespace=namespace or None, doc=_doc(node), default=default, fixed=only)

    def _attribute_shape(self, component: _Component) -> Leaf:
        node = component.node
        inline = node.find(f"{_S}simpleType")
        if inline is not None:
            return self._simple(_Component(inline, component.schema))
        kind = node.get("type")
        shape = self._type(self.name(node, kind, component.schema), component) if kind else Leaf("string")
        return shape if isinstance(shape, Leaf) else ANY

    # ---- simple types ---------------------------------------------------------------------------------------------------

    def _simple(self, component: _Component) -> Leaf:
        node, schema = component.node, component.schema
        restriction = node.find(f"{_S}restriction")
        if restriction is not None:
            return self._restricted(self._base(_Component(restriction, schema)), _Component(restriction, schema))
        union = node.find(f"{_S}union")
        if union is None:
            return Leaf("string")  # a list: its items, separated by blanks
        members = [self._type(self.name(union, name, schema), component) for name in union.get("memberTypes", "").split()]
        leaves = [m for m in members if isinstance(m, Leaf)]
        leaves += [self._simple(_Component(n, schema)) for n in union.iterchildren(f"{_S}simpleType")]
        if leaves and all(leaf.enum for leaf in leaves):
            return Leaf(leaves[0].kind, enum=tuple(value for leaf in leaves for value in leaf.enum or ()))
        kinds = {leaf.kind for leaf in leaves}
        return Leaf(kinds.pop()) if len(kinds) == 1 else Leaf("string")

    def _base(self, component: _Component) -> Leaf:
        node = component.node
        inline = node.find(f"{_S}simpleType")
        if inline is not None:
            return self._simple(_Component(inline, component.schema))
        shape = self._type(self.name(node, node.get("base", ""), component.schema), component)
        return shape if isinstance(shape, Leaf) else Leaf("string")

    def _restricted(self, base: Leaf, component: _Component) -> Leaf:
        """`base` narrowed by the facets of a restriction (an extension has none)."""
        facets: dict[str, list[str]] = {}
        for node in component.node.iterchildren(f"{_S}*"):
            if (value := node.get("value")) is not None:
                facets.setdefault(etree.QName(node).localname, []).append(value)
        if not facets:
            return base
        one = {name: values[0] for name, values in facets.items()}
        patterns = facets.get("pattern", [])
        low, high = one.get("minInclusive", base.minimum), one.get("maxInclusive", base.maximum)
        if base.kind == "integer":
            low = _shifted(one["minExclusive"], 1) if "minExclusive" in one else low
            high = _shifted(one["maxExclusive"], -1) if "maxExclusive" in one else high
        return replace(
            base,
            min_length=_number(one.get("minLength") or one.get("length"), base.min_length),
            max_length=_number(one.get("maxLength") or one.get("length"), base.max_length),
            digits=_digits(base, one),
            pattern="|".join(f"({p})" for p in patterns) if len(patterns) > 1 else (patterns[0] if patterns else base.pattern),
            enum=tuple(facets["enumeration"]) if "enumeration" in facets else base.enum,
            minimum=low,
            maximum=high,
        )


def _digits(base: Leaf, facets: dict[str, str]) -> tuple[int, int] | None:
    total, fraction = _number(facets.get("totalDigits"), None), _number(facets.get("fractionDigits"), None)
    if total is None and fraction is None:
        return base.digits
    known_total, known_fraction = base.digits or (38, 0 if base.kind == "integer" else 38)
    total = min(known_total, 38) if total is None else total
    return (total, min(known_fraction if fraction is None else fraction, total))


def _number(text: str | None, otherwise: int | None) -> int | None:
    return int(text) if text and len(text) < 10 and text.isascii() and text.isdigit() else otherwise


def _shifted(text: str, by: int) -> str | None:
    return str(int(text) + by) if re.fullmatch(r"[+-]?\d{1,30}", text.strip()) else None


def line(node: etree._Element) -> int:
    """Where a node stands in its file (the stubs of lxml leave its type open)."""
    found: Any = node.sourceline
    return found or 1


def documentation(node: etree._Element, tag: str) -> str:
    """The text of a node's documentation elements, blanks folded, at most 1000 characters."""
    texts = (" ".join(str(etree.tostring(d, method="text", encoding="unicode", with_tail=False)).split()) for d in node.iterfind(tag))
    return " ".join(filter(None, texts))[:1000]


def _doc(node: etree._Element) -> str:
    return documentation(node, f"{_S}annotation/{_S}documentation")
