"""JSON Schema as OpenAPI 2.0, 3.0 and 3.1 speak it, read into shapes: references, compositions, variants, maps and facets."""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import chain
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from adapters.rest.document import Documents, schema_reference
from mappings.language.shape import Field, Kind, Leaf, Record
from mappings.language.typed import DECODER

MAX_RECORDS: Final = 20_000
MAX_DEPTH: Final = 60
_MAX_MERGES: Final = 200_000
"""Compositions unfolded for one contract; a document of real use needs a few thousand."""
_STRINGS: Final[dict[str, Kind]] = {"date": "date", "date-time": "datetime", "time": "time", "byte": "binary", "binary": "binary"}
_BESIDE: Final = ("description", "nullable", "x-nullable", "x-personal", "readOnly", "writeOnly")
"""What may stand beside a reference, and what is kept of an alternative that is the only one."""
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
_BROKEN: Final = "\0broken"
"""Why nothing stands where a reference leads; no member of a schema is called so."""

Note = Callable[[str, str], None]
"""A remark on what does not hang together: the message, and a text by which its line is found."""


@dataclass(frozen=True, slots=True)
class Flat:
    """A schema without references, `allOf`, and the null among its alternatives."""

    node: dict[str, Any] = field(default_factory=dict)
    pointer: str = ""
    nillable: bool = False
    choices: tuple[Flat, ...] = ()
    """Alternatives that differ: records, or values of different kinds."""
    by: str = ""
    kinds: tuple[tuple[str, str], ...] = ()
    """Value of the member `by` -> pointer of the choice it means."""


class Schemas:
    """Shapes are made when they are asked for, each schema with a name once. What leads nowhere is noted and described as `any`."""

    def __init__(self, documents: Documents, document: dict[str, Any], file: str, note: Note) -> None:
        """`document`: where the schemas with a name stand, `file` its name in the folder (empty for the root)."""
        self._documents, self._document, self._file, self._note = documents, document, file, note
        self._records: dict[tuple[str | int, bool], tuple[dict[str, Any], Record]] = {}
        self._flats: dict[str | int, tuple[dict[str, Any], Flat]] = {}
        self._found: dict[str, Any] = {}
        self._children: dict[str, list[str]] | None = None
        self._count = self._merges = 0

    # ---- references -------------------------------------------------------------------------------------------------

    def resolved(self, node: Any) -> tuple[dict[str, Any], str]:
        """Follows references; the last one names what was found. What stands beside a reference is laid over it."""
        pointer, seen, beside = "", set[str](), dict[str, Any]()
        while isinstance(node, dict) and isinstance(ref := node.get("$ref"), str):
            if ref in seen:
                return self._broken(ref, "leads in a circle")
            seen.add(ref)
            beside = {k: v for k, v in node.items() if k in _BESIDE} | beside
            try:
                pointer, node = ref, self._at(ref)
            except LookupError as exc:
                return self._broken(ref, str(exc.args[0]))
        if not isinstance(node, dict):
            return {}, ""
        return ({**node, **beside}, pointer) if beside else (node, pointer)

    def _broken(self, ref: str, why: str) -> tuple[dict[str, Any], str]:
        message = f"$ref {ref[:200]!r} {why}"
        self._note(f"{message}; described as any", ref)
        return {_BROKEN: message}, ""

    def _at(self, ref: str) -> Any:
        """Raises LookupError, saying where the reference leads."""
        if ref in self._found:
            return self._found[ref]
        name, _, pointer = ref.partition("#")
        if "://" in name or name.startswith("//"):
            raise LookupError("leads to the network, nothing is fetched: save that document in the contract's folder and refer to its file")
        name = posixpath.normpath(unquote(name)) if name else ""
        if name == self._documents.root.name:
            name = ""
        found = self._documents.load(name)
        if pointer and not pointer.startswith("/"):
            raise LookupError("is no path from the document's root (#/…)")
        for token in pointer.split("/")[1:]:
            key = unquote(token).replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and key.isdecimal() and int(key[:9]) < len(found):
                found = found[int(key)]
            elif isinstance(found, dict) and key in found:
                found = found[key]
            else:
                near = difflib.get_close_matches(key, map(str, found), 1, 0.6) if isinstance(found, dict) else []
                raise LookupError("leads nowhere" + (f", did you mean {near[0]}?" if near else ""))
        self._found[ref] = found
        return found

    # ---- shapes -----------------------------------------------------------------------------------------------------

    def field(self, name: str, schema: Any, *, required: bool, asked: bool, about: str, doc: str = "", depth: int = 0) -> Field:
        """`about`: what a record is called that has no name of its own. `asked`: for a request, where the choice is ours."""
        flat = self._picked(self.flat(schema, depth) if depth <= MAX_DEPTH else Flat(), asked=asked)
        node, keyed = flat.node, False
        shape: Leaf | Record
        if repeated := is_list(node):
            inner = self.field("", node.get("items"), required=True, asked=asked, about=about, depth=depth + 1)
            shape = Leaf("any") if inner.repeated else inner.shape
        elif keyed := _is_map(node) and depth < MAX_DEPTH:
            repeated, shape = True, self._entry(flat, asked=asked, about=about, depth=depth)
        else:
            shape = self._shape(flat, asked=asked, about=about, depth=depth)
        held = node.get("contentSchema") if "json" in str(node.get("contentMediaType")) else None  # JSON Schema 2020-12, Validation 8
        if held is not None and isinstance(shape, Leaf) and not repeated and depth < MAX_DEPTH:
            inner = self.field(name, held, required=required, asked=asked, about=about, doc=doc, depth=depth + 1)
            return replace(inner, nillable=inner.nillable or flat.nillable, embedded=True)
        personal = node.get("x-personal") is True or node.get("format") == "email"
        doc = doc or str(node.get("description") or "")[:500]
        return Field(name, shape, required, repeated, flat.nillable, doc=doc, personal=personal, keyed=keyed)

    def _picked(self, flat: Flat, *, asked: bool) -> Flat:
        """Of values that may be of several kinds a request takes the richest: an object, else a list."""
        if asked and flat.choices and not types_of(flat.node) and not table(flat.node.get("properties")):
            objects = [c for c in flat.choices if types_of(c.node) == ["object"]]
            if found := objects or [c for c in flat.choices if is_list(c.node)]:
                merged = _merged({}, [], [c.node for c in objects]) if len(objects) > 1 else found[0].node
                return Flat(merged, "" if len(objects) > 1 else found[0].pointer, flat.nillable)
        return flat

    def _entry(self, flat: Flat, *, asked: bool, about: str, depth: int) -> Record:
        """One member of an object whose names are data: its key, and what stands there."""
        key = flat.pointer or id(flat.node), asked
        if (known := self._records.get(key)) is not None:
            return known[1]
        record = Record(flat.pointer.rpartition("/")[2] or about)
        self._records[key] = flat.node, record
        more = next((v for k in ("additionalProperties", "patternProperties") if isinstance(v := flat.node.get(k), dict)), {})
        if "additionalProperties" not in flat.node and more:
            more = next(iter(more.values()), {})
        record.fields.append(Field("key", Leaf("string")))
        record.fields.append(self.field("value", more, required=False, asked=asked, about=f"{about} value", depth=depth + 1))
        return record

    def _shape(self, flat: Flat, *, asked: bool, about: str, depth: int) -> Leaf | Record:
        node = flat.node
        properties = table(node.get("properties"))
        if not properties:
            return leaf(node)
        key = flat.pointer or id(flat.node), asked
        if (known := self._records.get(key)) is not None:
            return known[1]
        if self._count >= MAX_RECORDS or depth >= MAX_DEPTH:
            self._note(f"{about}: more than {MAX_RECORDS} records or {MAX_DEPTH} levels; described as any", about.partition(".")[0])
            return Leaf("any")
        self._count += 1
        record = Record(flat.pointer.rpartition("/")[2] or about, open=bool(node.get("additionalProperties", False)))
        self._records[key] = flat.node, record
        needed = {name for name in items(node.get("required")) if isinstance(name, str)}
        for member, schema in properties.items():
            below = self.flat(schema, depth)
            if below.node.get("readOnly" if asked else "writeOnly") is not True:
                inside = f"{record.name}.{member}"
                record.fields.append(self.field(member, schema, required=member in needed, asked=asked, about=inside, depth=depth + 1))
        by, kinds, choices = (flat.by, flat.kinds, flat.choices) if flat.by else self._inherited(flat, depth)
        for value, pointer in kinds:
            choice = next(c for c in choices if c.pointer == pointer)
            kind = pointer.rpartition("/")[2]
            shape = record.derived.get(kind) or self._shape(choice, asked=asked, about=kind, depth=depth + 1)
            if isinstance(shape, Record) and shape is not record:
                record.by, record.derived[kind], record.kinds[value] = by, shape, kind
        return record

    # ---- flattening -------------------------------------------------------------------------------------------------

    def flat(self, schema: Any, depth: int = 0) -> Flat:
        node, pointer = self.resolved(schema)
        key: str | int = pointer if pointer and len(schema) == 1 else id(node)
        if isinstance(key, int) and not any(word in node for word in ("allOf", "oneOf", "anyOf")):
            return self._flattened(node, pointer, depth)
        if key not in self._flats:
            self._flats[key] = node, Flat()  # what a circle of compositions finds of itself; the node is kept, its id is the key
            self._flats[key] = node, self._flattened(node, pointer, depth)
        return self._flats[key][1]

    def _flattened(self, node: dict[str, Any], pointer: str, depth: int) -> Flat:
        listed = items(node.get("enum"))
        nillable = (
            any(node.get(w) is True for w in ("nullable", "x-nullable")) or "null" in types_of(node, keep_null=True) or None in listed
        )
        self._merges += 1
        if depth > MAX_DEPTH or self._merges > _MAX_MERGES:
            self._note(f"{pointer or 'a schema'}: composed of too much; described as any", pointer)
            return Flat({}, "", nillable)
        parts = [self.flat(part, depth + 1) for part in items(node.get("allOf"))]
        choices = [self.flat(part, depth + 1) for word in ("oneOf", "anyOf") for part in items(node.get(word))]
        real = [c for c in choices if types_of(c.node, keep_null=True) != ["null"]]
        nillable |= len(real) < len(choices) or any(c.nillable for c in real) or any(p.nillable for p in parts)
        if len(parts) + len(real) == 1 and not node.get("properties"):  # a reference with a remark or a null beside it
            only = (parts or real)[0]
            beside = {k: v for k, v in node.items() if k in _BESIDE}
            return Flat({**only.node, **beside}, only.pointer, nillable, only.choices, only.by, only.kinds)
        by, kinds = self._told_apart(node, real)
        if parts or real:
            # of variants that are told apart, the record itself holds what all have; the rest is found in each
            node = _merged(node, [p.node for p in parts], [_common([c.node for c in real])] if by else [c.node for c in real])
        mixed = [c.choices if c.choices and not types_of(c.node) else (c,) for c in real]  # alternatives of alternatives
        return Flat(node, pointer, nillable, tuple(chain.from_iterable(mixed)), by, kinds)

    def _told_apart(self, node: dict[str, Any], choices: list[Flat]) -> tuple[str, tuple[tuple[str, str], ...]]:
        """The member that tells alternatives apart, and which of its values means which: declared by `discriminator`, or recognised where
        each alternative has constants of its own in the same member.
        """
        if len(choices) < 2 or not all(c.pointer and types_of(c.node) == ["object"] for c in choices):
            return "", ()
        by, mapped = _discriminator(node)
        if by:
            return by, _kinds(by, mapped, choices)
        for name in table(choices[0].node.get("properties")):
            values = [_constants(c.node, name) for c in choices]
            if all(values) and len(set(chain(*values))) == sum(map(len, values)):
                return name, tuple((v, c.pointer) for c, found in zip(choices, values, strict=True) for v in found)
        return "", ()

    def _inherited(self, flat: Flat, depth: int) -> tuple[str, tuple[tuple[str, str], ...], tuple[Flat, ...]]:
        """The variants of a type that declares a discriminator: the types that extend it by `allOf`, and those that its mapping names."""
        by, mapped = _discriminator(flat.node)
        if not by or not flat.pointer:
            return "", (), ()
        pointers = dict.fromkeys(self._heirs(flat.pointer))
        if flat.pointer not in mapped.values():  # else the discriminator is that of the type above
            pointers |= dict.fromkeys(mapped.values())
        choices = [c for p in pointers if (c := self.flat({"$ref": p}, depth + 1)).node and c.pointer]
        return by, _kinds(by, mapped, choices), tuple(choices)

    def _heirs(self, pointer: str) -> Iterable[str]:
        """Schemas with a name that extend this one by allOf."""
        if self._children is None:
            self._children = {}
            for path, schemas in (
                ("#/components/schemas/", table(table(self._document.get("components")).get("schemas"))),
                ("#/definitions/", table(self._document.get("definitions"))),
            ):
                for name, schema in schemas.items():
                    pointer_to = f"{self._file}{path}{name.replace('~', '~0').replace('/', '~1')}"
                    for part in items(table(schema).get("allOf")):
                        if isinstance(ref := table(part).get("$ref"), str):
                            self._children.setdefault(ref, []).append(pointer_to)
        return self._children.get(pointer, [])


def _discriminator(node: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """The member's name (in 2.0 the whole of it), and value -> reference."""
    declared = node.get("discriminator")
    by = declared if isinstance(declared, str) else table(declared).get("propertyName")
    mapping = {v: schema_reference(p) for v, p in table(table(declared).get("mapping")).items() if isinstance(p, str)}
    return (by, mapping) if isinstance(by, str) else ("", {})


def _kinds(by: str, mapped: dict[str, str], choices: list[Flat]) -> tuple[tuple[str, str], ...]:
    """A variant's value: as mapped, else its constants, else its name."""
    known = {c.pointer for c in choices}
    kinds = {v: p for v, p in mapped.items() if p in known}
    for c in choices:
        if c.pointer not in kinds.values():
            kinds |= {v: c.pointer for v in _constants(c.node, by) or (c.pointer.rpartition("/")[2],) if v not in kinds}
    return tuple(kinds.items())


def _common(choices: list[dict[str, Any]]) -> dict[str, Any]:
    """The members that each of the alternatives has."""
    first, *others = choices
    names = set(table(first.get("properties"))).intersection(*(table(c.get("properties")) for c in others))
    properties = {n: schema for n, schema in _united(choices).items() if n in names}
    required = set.intersection(*({n for n in items(c.get("required")) if isinstance(n, str)} for c in choices))
    return {"type": "object", "properties": properties, "required": sorted(required & names), "additionalProperties": True}


def _united(choices: list[dict[str, Any]]) -> dict[str, Any]:
    """The members of all alternatives; one that they describe differently may be any of it."""
    found: dict[str, list[Any]] = {}
    for choice in choices:
        for name, schema in table(choice.get("properties")).items():
            known = found.setdefault(name, [])
            if schema not in known:
                known.append(schema)
    return {name: known[0] if len(known) == 1 else {"anyOf": known} for name, known in found.items()}


def _constants(node: dict[str, Any], name: str) -> list[str]:
    member = table(table(node.get("properties")).get(name))
    if alternatives := items(member.get("anyOf")):
        found = [_constants({"properties": {name: each}}, name) for each in alternatives]
        return list(dict.fromkeys(chain(*found))) if all(found) else []
    if "const" in member:
        return [member["const"]] if isinstance(member["const"], str) else []
    values = items(member.get("enum"))
    return list(values) if values and all(isinstance(v, str) for v in values) else []


def _merged(node: dict[str, Any], parts: list[dict[str, Any]], choices: list[dict[str, Any]]) -> dict[str, Any]:
    """All of `parts`, and what any of `choices` may hold: their members are optional unless every choice requires them."""
    whole: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    required: set[str] = set()
    for part in (*parts, node):
        whole |= {k: v for k, v in part.items() if k not in ("allOf", "oneOf", "anyOf", "properties", "required")}
        properties |= table(part.get("properties"))
        required |= {name for name in items(part.get("required")) if isinstance(name, str)}
    if choices:
        kinds = {tuple(types_of(c)) for c in choices}
        if len(kinds) == 1 and "properties" not in choices[0] and not properties:
            whole |= choices[0] if len(choices) == 1 else {"type": choices[0].get("type"), **_common_enum(choices)}
        elif kinds <= {("object",), ()}:
            properties = _united(choices) | properties
            for choice in choices:
                if choice.get("additionalProperties") is True:
                    whole["additionalProperties"] = True
            required |= set.intersection(*({n for n in items(c.get("required")) if isinstance(n, str)} for c in choices))
        else:
            whole.pop("type", None)
    if properties:
        whole |= {"type": "object", "properties": properties, "required": sorted(required)}
    return whole


def _common_enum(choices: list[dict[str, Any]]) -> dict[str, Any]:
    values = [v for c in choices for v in ([c["const"]] if "const" in c else items(c.get("enum")))]
    return {"enum": values} if all("enum" in c or "const" in c for c in choices) else {}


# ---- single values ----------------------------------------------------------------------------------------------------


def leaf(node: dict[str, Any]) -> Leaf:
    types = types_of(node)
    values = [node["const"]] if "const" in node else [v for v in items(node.get("enum")) if v is not None]
    if not types and values and all(isinstance(v, str) for v in values):
        types = ["string"]
    if len(types) != 1 or types[0] not in ("string", "integer", "number", "boolean"):
        return Leaf("any", broken=str(node.get(_BROKEN, "")))
    if types[0] in ("integer", "number"):
        values = [v for v in values if isinstance(v, int | Decimal) and not isinstance(v, bool)]
    enum = tuple(dict.fromkeys(_word(v) for v in values)) or None
    low, high = _bound(node, "minimum", "exclusiveMinimum"), _bound(node, "maximum", "exclusiveMaximum")
    match types[0]:
        case "boolean":
            return Leaf("boolean")
        case "integer":
            return Leaf("integer", enum=enum, minimum=low, maximum=high)
        case "number":
            return Leaf("decimal", digits=_digits(node), enum=enum, minimum=low, maximum=high)
        case _:
            pattern = node.get("pattern")
            encoded = node.get("contentEncoding") in ("base64", "base64url")
            return Leaf(
                "binary" if encoded else _STRINGS.get(str(node.get("format")), "string"),
                max_length=_size(node.get("maxLength")),
                min_length=_size(node.get("minLength")),
                pattern=pattern if isinstance(pattern, str) and len(pattern) <= 2_000 else None,
                enum=enum,
            )


def _bound(node: dict[str, Any], *words: str) -> str | None:
    numbers = (v for w in words if isinstance(v := node.get(w), int | Decimal) and not isinstance(v, bool))
    return next((str(v) for v in numbers), None)


def _digits(node: dict[str, Any]) -> tuple[int, int] | None:
    """`multipleOf` 0.001 and `maximum` 99999 are eight digits, three after the point."""
    unit, most = node.get("multipleOf"), node.get("maximum")
    if isinstance(unit, bool) or not isinstance(unit, int | Decimal) or isinstance(most, bool) or not isinstance(most, int | Decimal):
        return None
    if not -20 <= Decimal(unit).adjusted() <= 20 or not 0 <= Decimal(most).adjusted() < 30 or not unit:
        return None
    exponent = Decimal(unit).normalize().as_tuple().exponent
    if not isinstance(exponent, int) or not -20 <= exponent <= 0:
        return None
    return Decimal(most).adjusted() + 1 - exponent, -exponent


def types_of(node: dict[str, Any], *, keep_null: bool = False) -> list[str]:
    kinds = node.get("type")
    found = [kinds] if isinstance(kinds, str) else [k for k in kinds if isinstance(k, str)] if isinstance(kinds, list) else []
    if not found and "properties" in node:
        found = ["object"]
    return found if keep_null else [k for k in found if k != "null"]


def is_list(node: dict[str, Any]) -> bool:
    return types_of(node) == ["array"] or ("items" in node and not types_of(node))


def _is_map(node: dict[str, Any]) -> bool:
    """An object whose names are data: no member is known."""
    if table(node.get("properties")) or node.get("oneOf") or node.get("anyOf"):
        return False
    more = isinstance(node.get("additionalProperties"), dict) or isinstance(node.get("patternProperties"), dict)
    return types_of(node) == ["object"] or (more and not types_of(node))


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)[:1_000]


def _size(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def records(root: Record) -> Iterator[Record]:
    """The record and all below it, each once."""
    left, seen = [root], set[int]()
    while left:
        record = left.pop()
        if id(record) not in seen:
            seen.add(id(record))
            yield record
            left += [f.shape for f in record.fields if isinstance(f.shape, Record)]
            left += record.derived.values()


def on_wire(record: Record, value: Any) -> Any:
    """A request as it travels: rows of key and value become an object, a variant its plain member with the value that tells it apart."""
    if isinstance(value, list | tuple):
        return [on_wire(record, row) for row in value]
    if not isinstance(value, dict):
        return value
    made: dict[str, Any] = {}
    for name, inner in value.items():
        each = record.get(name)
        if each is None:
            made[name] = inner
            continue
        if isinstance(each.shape, Record):
            inner = on_wire(each.shape, inner)
        if each.keyed and isinstance(inner, list):
            inner = {str(row["key"]): row.get("value") for row in inner if isinstance(row, dict) and row.get("key") is not None}
        plain = name.partition(":")[0]
        if all(own.name != name for own in record.fields) and isinstance(base := each.shape, Record):
            whole = record.get(plain)
            base = whole.shape if whole is not None and isinstance(whole.shape, Record) else base
            kind = next((v for v, k in base.kinds.items() if k == name[len(plain) + 1 :]), None)
            for row in inner if isinstance(inner, list) else (inner,):
                if isinstance(row, dict) and kind is not None:
                    row.setdefault(base.by, kind)
            if isinstance(inner, list):
                inner = [*made.get(plain, ()), *inner]
            name = plain
        made[name] = _ENCODER.encode(inner).decode() if each.embedded and inner is not None else inner
    return made


def unfolded(record: Record, value: Any, path: str = "") -> Any:
    """An answer whose texts that are documents have become what they say. Raises ValueError(path, reason) for one that is none."""
    if isinstance(value, list):
        return [unfolded(record, row, f"{path}[{n}]") for n, row in enumerate(value)]
    if not isinstance(value, dict):
        return value
    made = dict(value)
    for each in record.fields:
        inner, at = value.get(each.name), f"{path}.{each.name}".lstrip(".")
        if each.embedded and isinstance(inner, str):
            try:
                inner = DECODER.decode(inner) if inner.strip() else None
            except (msgspec.DecodeError, ValueError, RecursionError) as exc:
                raise ValueError(at, str(exc)[:100]) from exc
        if isinstance(each.shape, Record) and inner is not None:
            if each.keyed and isinstance(inner, dict):
                inner = {key: unfolded(each.shape, {"value": row}, f"{at}.{key}")["value"] for key, row in inner.items()}
            else:
                inner = unfolded(each.shape, inner, at)
        if each.name in value:
            made[each.name] = inner
    return made


def holding(record: Record, path: str, content: Field) -> Record | None:
    """The record with a document in the place of the text at that path; None: it has no such text."""
    name, _, rest = path.partition(".")
    found = record.get(name)
    if found is None:
        return None
    if rest:
        inner = holding(found.shape, rest, content) if isinstance(found.shape, Record) else None
        changed = replace(found, shape=inner) if inner is not None else None
    else:
        changed = replace(content, name=name, required=found.required, nillable=found.nillable) if isinstance(found.shape, Leaf) else None
    return replace(record, fields=[changed if f is found else f for f in record.fields]) if changed is not None else None
