"""The neutral description of a message: what a WSDL, an OpenAPI schema, a file layout or a canonical Struct says about its fields.

Drivers build shapes from the contracts of systems; the language checks and compiles mappings against them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Literal

TEXT: Final = "#text"
"""Name of the field that holds an element's own text where the element has attributes too (XSD simpleContent)."""

Kind = Literal["string", "integer", "decimal", "boolean", "date", "time", "datetime", "binary", "any"]
Form = Literal["xml", "json", "rows", "struct"]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A single value. Lengths in characters, `digits` as (total, fraction), `enum` as the complete list of its values.

    `pattern` is a regular expression as its standard means it: of the whole text in forms xml and rows, of any part in json and struct.
    """

    kind: Kind
    max_length: int | None = None
    digits: tuple[int, int] | None = None
    pattern: str | None = None
    enum: tuple[str, ...] | None = None
    minimum: str | None = None
    maximum: str | None = None
    min_length: int | None = None
    broken: str = field(default="", compare=False)
    """Why it is `any`, where the contract means to say more and does not hang together: a mapping neither reads nor fills it."""


@dataclass(slots=True, eq=False)
class Record:
    """Named fields. Not frozen, because types of real contracts are recursive. `open`: unknown fields are allowed by the contract.

    `xsi_type` is the XSD type as `{namespace}name`. `derived` holds the types that may stand in its place, told apart by xsi:type: a field
    `record` of this type is also there as `record:InventoryItem`, for elements of that type alone. A name with its namespace,
    `{urn:p}NAME`, finds the field of that namespace. In form json the member `by` tells them
    apart, and `kinds` says which of its values means which derived type.
    """

    name: str
    fields: list[Field] = field(default_factory=list)
    open: bool = False
    xsi_type: str = ""
    derived: dict[str, Record] = field(default_factory=dict)
    abstract: bool = False
    """No element is of this very type."""
    by: str = ""
    kinds: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> Field | None:
        found = next((f for f in self.fields if f.name == name), None)
        if found is not None or ":" not in name:
            return found
        if name.startswith("{"):
            namespace, _, local = name[1:].rpartition("}")
            return next((f for f in self.fields if f.namespace == namespace and f.element == local), None)
        base, _, kind = name.partition(":")
        found = self.get(base)
        shape = found.shape.derived.get(kind) if found is not None and isinstance(found.shape, Record) else None
        return replace(found, name=name, shape=shape, required=False) if found is not None and shape is not None else None


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record. In form `rows` a record's value is a tuple and a field's place in `Record.fields` is its index."""

    name: str
    shape: Leaf | Record
    required: bool = True
    repeated: bool = False
    nillable: bool = False
    attribute: bool = False
    namespace: str | None = None
    """Namespace of the XML element or attribute; None = match by local name only."""
    doc: str = ""
    personal: bool = False
    default: str | None = None
    """What an attribute that is absent is read as."""
    fixed: bool = False
    """A request that leaves it out says the default all the same."""
    keyed: bool = False
    """Form json: an object whose member names are data. It is read and written as rows of `key` and `value`; `repeated` is true."""
    embedded: bool = False
    """Form json: it travels as a text that is a JSON document of this shape."""

    @property
    def element(self) -> str:
        """The name in an XML document: without the number of a second field of that name (`NAME~2`, in another namespace or an attribute),
        and without the type that stands in.
        """
        return self.name.partition("~")[0].partition(":")[0]


@dataclass(frozen=True, slots=True)
class Message:
    """One direction of an operation: `erp.GetStock` asked, or answered. `source` is the contract file it was read from.

    xml: the value is the payload's lxml element. json: decoded JSON (object = dict). rows: nested tuples (a repeated child record is a
    list of tuples); a leaf is None when the source did not say, else text as written or already the Python value of its kind (int, Decimal,
    bool, date, time, datetime). struct: a msgspec Struct.
    """

    name: str
    form: Form
    root: Record
    source: str = ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What an operation is asked with and answers. A feed (files) has no request."""

    operation: str
    request: Message | None
    answer: Message | None


def tag(field: Field, name: str = "") -> str:
    """The element's name as lxml writes it. `name`: of another element in the same namespace."""
    name = name or field.name.partition("~")[0]
    return f"{{{field.namespace}}}{name}" if field.namespace else name
