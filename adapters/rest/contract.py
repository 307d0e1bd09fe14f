"""An OpenAPI 3 document as a contract: its operations, how each travels, and the shapes of what is asked and answered."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, cast, get_args
from urllib.parse import unquote

import msgspec

from contracts.errors import Finding, Findings
from mappings.language.shape import Exchange, Field, Kind, Leaf, Message, Record

MAX_BYTES = 32 * 1024 * 1024
MAX_RECORDS = 20_000
MAX_DEPTH = 60
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_OWN_HEADERS = frozenset({"accept", "content-type", "authorization", "if-none-match", "if-modified-since"})
"""Headers that the driver itself speaks; they are no fields of a request."""
_STRINGS: dict[str, Kind] = {"date": "date", "date-time": "datetime", "time": "time", "byte": "binary", "binary": "binary"}
_JSON = re.compile(r"application/(?:[\w.+-]+\+)?json|text/json")

Place = Literal["path", "query", "header", "cookie"]
_PLACES = get_args(Place)


def is_json(media_type: str) -> bool:
    return _JSON.fullmatch(media_type) is not None


@dataclass(frozen=True, slots=True)
class Parameter:
    """`field` is its name in the request document, `name` the one on the wire."""

    field: str
    name: str
    place: Place
    explode: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """How one operation travels. `wraps`: the answer is no object; its value stands in this member of the document."""

    name: str
    method: str
    path: str
    parameters: tuple[Parameter, ...]
    body: str
    """Media type of the request body; empty if there is none."""
    body_required: bool
    answers: bool
    """Whether a successful answer has a body."""
    wraps: str
    declared: dict[str, bool]
    """Statuses in the contract (`404`, `4XX`, `default`) -> whether they carry JSON."""
    exchange: Exchange

    def declares(self, status: int) -> bool | None:
        """None: the contract does not know this status; else whether it promises JSON with it."""
        for key in (str(status), f"{status // 100}XX", f"{status // 100}xx", "default"):
            if key in self.declared:
                return self.declared[key]
        return None


class RestContract:
    """Reads the document at once (do it in a thread) and raises Findings if it is none; pure afterwards.

    What does not hang together (a reference that leads nowhere or outside) is noted in `notes` and described as `any`. The servers and
    the security schemes of the document are not used: the estate's endpoint and options count.
    """

    def __init__(self, system: str, document: Path) -> None:
        self.system, self.file = system, str(document)
        self.notes: list[Finding] = []
        self._document = self._load(document)
        self._records: dict[tuple[str, bool], Record] = {}
        self._flats: dict[str, _Flat] = {}
        self._count = 0
        self._operations: dict[str, Operation] = {}
        for path, method, raw, shared in self._described():
            operation = self._operation(path, method, raw, shared)
            if operation.name in self._operations:
                raise Findings(findings=(self._finding(f"operationId {operation.name!r} is used twice", "give each operation its own"),))
            self._operations[operation.name] = operation

    def operations(self) -> tuple[str, ...]:
        return tuple(self._operations)

    def operation(self, name: str) -> Operation:
        """Raises KeyError, naming the nearest operation, for an unknown one."""
        try:
            return self._operations[name]
        except KeyError:
            near = difflib.get_close_matches(name, self._operations, 1, 0.5)
            raise KeyError(f"{self.file} has no operation {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")) from None

    def exchange(self, operation: str) -> Exchange:
        return self.operation(operation).exchange

    def _load(self, document: Path) -> dict[str, Any]:
        raw = document.read_bytes()
        if len(raw) > MAX_BYTES:
            raise Findings(findings=(self._finding(f"the document has {len(raw)} bytes", f"at most {MAX_BYTES} are read"),))
        try:
            found = msgspec.json.Decoder(float_hook=Decimal).decode(raw.removeprefix(b"\xef\xbb\xbf"))
        except (msgspec.DecodeError, RecursionError) as exc:
            raise Findings(findings=(self._finding(f"not readable as JSON: {exc}", "an OpenAPI document in JSON is expected"),)) from exc
        version = str(found.get("openapi", "")) if isinstance(found, dict) else ""
        if not version.startswith("3."):
            raise Findings(findings=(self._finding(f"openapi is {version!r}", 'expected a document with "openapi": "3.x"'),))
        return found  # type: ignore[no-any-return]  # a dict, as just seen

    def _described(self) -> Iterator[tuple[str, str, dict[str, Any], list[Any]]]:
        for path, item in _table(self._document.get("paths")).items():
            item = self._resolved(item)[0]
            for method in METHODS:
                if isinstance(raw := item.get(method), dict):
                    yield path, method, raw, _list(item.get("parameters"))

    def _operation(self, path: str, method: str, raw: dict[str, Any], shared: list[Any]) -> Operation:
        name = str(raw.get("operationId") or f"{method.upper()} {path}")
        parameters, fields = self._parameters([*shared, *_list(raw.get("parameters"))])
        media, required = "", False
        if body := self._resolved(raw.get("requestBody"))[0]:
            media, schema = _content(body)
            required = bool(body.get("required"))
            if media:
                fields.append(self._field("body", schema, required=required, asked=True, name=f"{name} body"))
        declared, answer = self._responses(_table(raw.get("responses")))
        root, wraps = self._answer_root(answer, name) if answer is not None else (None, "")
        request = Message(f"{self.system}.{name}", "json", Record(name, fields), self.file)
        reply = Message(f"{self.system}.{name}", "json", root, self.file) if root else None
        exchange = Exchange(name, request, reply)
        return Operation(name, method.upper(), path, parameters, media, required, answer is not None, wraps, declared, exchange)

    def _parameters(self, raw: list[Any]) -> tuple[tuple[Parameter, ...], list[Field]]:
        known: dict[tuple[str, Place], dict[str, Any]] = {}
        for entry in raw:
            entry = self._resolved(entry)[0]
            name, place = entry.get("name"), cast("Place", entry.get("in"))
            if isinstance(name, str) and place in _PLACES and not (place == "header" and name.lower() in _OWN_HEADERS):
                known[name, place] = entry  # an operation's own parameter replaces the path's
        parameters: list[Parameter] = []
        fields: list[Field] = []
        for (name, place), entry in known.items():
            taken = {p.field for p in parameters} | {"body"}
            parameter = Parameter(f"{place}_{name}" if name in taken else name, name, place, bool(entry.get("explode", True)))
            schema = entry.get("schema", _content(entry)[1])
            required = place == "path" or bool(entry.get("required"))
            doc = str(entry.get("description", ""))
            parameters.append(parameter)
            fields.append(self._field(parameter.field, schema, required=required, asked=True, name=name, doc=doc))
        return tuple(parameters), fields

    def _responses(self, responses: dict[str, Any]) -> tuple[dict[str, bool], Any]:
        """The declared statuses, and the schema of the first successful answer that has JSON (None: no body)."""
        declared: dict[str, bool] = {}
        answer: Any = None
        for status in sorted(responses):
            response = self._resolved(responses[status])[0]
            media, schema = _content(response, json_only=True)
            declared[status] = bool(media)
            if answer is None and status.startswith("2") and media:
                answer = schema if isinstance(schema, dict) else {}
        return declared, answer

    def _answer_root(self, schema: dict[str, Any], name: str) -> tuple[Record, str]:
        shape = self._field("", schema, required=True, asked=False, name=name)
        if isinstance(shape.shape, Record) and not shape.repeated:
            return shape.shape, ""
        wraps = "items" if shape.repeated else "value"
        return Record(name, [Field(wraps, shape.shape, repeated=shape.repeated, nillable=shape.nillable)]), wraps

    # ---- schemas --------------------------------------------------------------------------------------------------

    def _field(self, field: str, schema: Any, *, required: bool, asked: bool, name: str, doc: str = "", depth: int = 0) -> Field:
        flat = self._flat(schema, depth)
        node = flat.node
        repeated = _types(node) == ["array"] or ("items" in node and not _types(node))
        shape: Leaf | Record
        if repeated:
            inner = self._field("", node.get("items"), required=True, asked=asked, name=name, depth=depth + 1)
            shape = Leaf("any") if inner.repeated else inner.shape
        else:
            shape = self._shape(flat, asked=asked, name=name, depth=depth)
        return Field(
            field,
            shape,
            required=required,
            repeated=repeated,
            nillable=flat.nillable,
            doc=doc or str(node.get("description", ""))[:500],
            personal=node.get("x-personal") is True or node.get("format") == "email",
        )

    def _shape(self, flat: _Flat, *, asked: bool, name: str, depth: int) -> Leaf | Record:
        node = flat.node
        properties = _table(node.get("properties"))
        if not properties:
            return Leaf("any") if _types(node) == ["object"] else _leaf(node)
        if flat.pointer and (known := self._records.get((flat.pointer, asked))):
            return known
        if self._count >= MAX_RECORDS or depth >= MAX_DEPTH:
            self._note(f"{name}: more than {MAX_RECORDS} records or {MAX_DEPTH} levels; described as any")
            return Leaf("any")
        self._count += 1
        record = Record(flat.pointer.rpartition("/")[2] or name, open=bool(node.get("additionalProperties", False)))
        if flat.pointer:
            self._records[flat.pointer, asked] = record
        needed = set(map(str, _list(node.get("required"))))
        for member, schema in properties.items():
            hidden = self._flat(schema, depth).node.get("readOnly" if asked else "writeOnly")
            if hidden is not True:
                record.fields.append(
                    self._field(member, schema, required=member in needed, asked=asked, name=f"{record.name}.{member}", depth=depth + 1)
                )
        return record

    def _flat(self, schema: Any, depth: int = 0) -> _Flat:
        """The schema without references, `allOf`, and the null among alternatives. Alternatives that differ keep what all may have."""
        node, pointer = self._resolved(schema)
        if not (pointer and len(schema) == 1):
            return self._flattened(node, pointer, depth)
        if pointer not in self._flats:
            self._flats[pointer] = _Flat()  # what a circle of allOf finds of itself
            self._flats[pointer] = self._flattened(node, pointer, depth)
        return self._flats[pointer]

    def _flattened(self, node: dict[str, Any], pointer: str, depth: int) -> _Flat:
        nillable = node.get("nullable") is True or "null" in _types(node, keep_null=True) or None in _list(node.get("enum"))
        if depth > MAX_DEPTH:
            return _Flat({}, "", nillable)
        parts = [self._flat(part, depth + 1) for part in _list(node.get("allOf"))]
        choices = [self._flat(part, depth + 1) for word in ("oneOf", "anyOf") for part in _list(node.get(word))]
        real = [c for c in choices if _types(c.node, keep_null=True) != ["null"]]
        nillable |= len(real) < len(choices) or any(c.nillable for c in real) or any(p.nillable for p in parts)
        if len(parts) + len(real) == 1 and not node.get("properties"):  # a reference with a remark or a null beside it
            only = (parts or real)[0]
            return _Flat({**only.node, **{k: v for k, v in node.items() if k in ("description", "x-personal")}}, only.pointer, nillable)
        if parts or real:
            node = _merged(node, [p.node for p in parts], [c.node for c in real])
        return _Flat(node, pointer, nillable)

    def _resolved(self, node: Any) -> tuple[dict[str, Any], str]:
        """Follows references inside the document; the last pointer names what was found."""
        pointer, seen = "", set[str]()
        while isinstance(node, dict) and isinstance(ref := node.get("$ref"), str):
            if ref in seen or not ref.startswith("#/"):
                self._note(f"$ref {ref[:200]!r} leads " + ("in a circle" if ref in seen else "outside the document") + "; described as any")
                return {}, ""
            seen.add(ref)
            beside = {k: v for k, v in node.items() if k != "$ref"}
            pointer, node = ref, self._document
            for token in unquote(ref[2:]).split("/"):
                token = token.replace("~1", "/").replace("~0", "~")
                if isinstance(node, list) and token.isdigit() and int(token) < len(node):
                    node = node[int(token)]
                elif isinstance(node, dict) and token in node:
                    node = node[token]
                else:
                    self._note(f"$ref {ref[:200]!r} leads nowhere; described as any")
                    return {}, ""
            if beside and isinstance(node, dict) and "$ref" not in node:
                node = {**node, **{k: v for k, v in beside.items() if k in ("description", "nullable", "x-personal")}}
        return (node, pointer) if isinstance(node, dict) else ({}, "")

    def _note(self, message: str) -> None:
        if len(self.notes) < 1_000 and all(n.message != message for n in self.notes):
            self.notes.append(self._finding(message))

    def _finding(self, message: str, suggestion: str = "") -> Finding:
        return Finding(self.file, 1, message, suggestion)


@dataclass(frozen=True, slots=True)
class _Flat:
    node: dict[str, Any] = field(default_factory=dict)
    pointer: str = ""
    nillable: bool = False


def _merged(node: dict[str, Any], parts: list[dict[str, Any]], choices: list[dict[str, Any]]) -> dict[str, Any]:
    """All of `parts`, and what any of `choices` may hold: their members are optional unless every choice requires them."""
    whole: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    required: set[str] = set()
    for part in (*parts, node):
        whole |= {k: v for k, v in part.items() if k not in ("allOf", "oneOf", "anyOf", "properties", "required")}
        properties |= _table(part.get("properties"))
        required |= set(map(str, _list(part.get("required"))))
    if choices:
        kinds = {tuple(_types(c)) for c in choices}
        if len(kinds) == 1 and "properties" not in choices[0]:
            whole |= choices[0] if len(choices) == 1 else {"type": choices[0].get("type"), **_common_enum(choices)}
        elif kinds <= {("object",), ()}:
            for choice in choices:
                for name, schema in _table(choice.get("properties")).items():
                    properties.setdefault(name, schema)
            required |= set.intersection(*(set(map(str, _list(c.get("required")))) for c in choices))
        else:
            whole.pop("type", None)
    if properties:
        whole |= {"type": "object", "properties": properties, "required": sorted(required)}
    return whole


def _common_enum(choices: list[dict[str, Any]]) -> dict[str, Any]:
    values = [v for c in choices for v in ([c["const"]] if "const" in c else _list(c.get("enum")))]
    return {"enum": values} if all("enum" in c or "const" in c for c in choices) else {}


def _leaf(node: dict[str, Any]) -> Leaf:
    types = _types(node)
    values = [node["const"]] if "const" in node else [v for v in _list(node.get("enum")) if v is not None]
    if not types and values and all(isinstance(v, str) for v in values):
        types = ["string"]
    if len(types) != 1 or types[0] not in ("string", "integer", "number", "boolean"):
        return Leaf("any")
    enum = tuple(_word(v) for v in values) or None
    low, high = node.get("minimum", node.get("exclusiveMinimum")), node.get("maximum", node.get("exclusiveMaximum"))
    minimum, maximum = (str(v) if isinstance(v, int | Decimal) and not isinstance(v, bool) else None for v in (low, high))
    match types[0]:
        case "boolean":
            return Leaf("boolean")
        case "integer":
            return Leaf("integer", enum=enum, minimum=minimum, maximum=maximum)
        case "number":
            return Leaf("decimal", digits=_digits(node), enum=enum, minimum=minimum, maximum=maximum)
        case _:
            pattern = node.get("pattern")
            return Leaf(
                _STRINGS.get(str(node.get("format")), "string"),
                max_length=_size(node.get("maxLength")),
                min_length=_size(node.get("minLength")),
                pattern=pattern if isinstance(pattern, str) else None,
                enum=enum,
            )


def _digits(node: dict[str, Any]) -> tuple[int, int] | None:
    """`multipleOf` 0.001 and `maximum` 99999 are eight digits, three after the point."""
    unit, most = node.get("multipleOf"), node.get("maximum")
    if not isinstance(unit, int | Decimal) or isinstance(most, bool) or not isinstance(most, int | Decimal):
        return None
    exponent = Decimal(unit).normalize().as_tuple().exponent
    if not isinstance(exponent, int) or not -20 <= exponent <= 0 or not 0 <= Decimal(most).adjusted() < 30:
        return None
    return Decimal(most).adjusted() + 1 - exponent, -exponent


def _types(node: dict[str, Any], *, keep_null: bool = False) -> list[str]:
    kinds = node.get("type")
    found = [kinds] if isinstance(kinds, str) else [k for k in kinds if isinstance(k, str)] if isinstance(kinds, list) else []
    if not found and "properties" in node:
        found = ["object"]
    return found if keep_null else [k for k in found if k != "null"]


def _content(node: dict[str, Any], *, json_only: bool = False) -> tuple[str, Any]:
    """Media type and schema of a body: JSON if it is offered, else a form, else the first."""
    content = _table(node.get("content"))
    kinds = {media.partition(";")[0].strip().lower(): media for media in content}
    chosen = next((k for k in kinds if is_json(k)), None)
    if chosen is None and json_only:
        return ("application/json", None) if "*/*" in kinds else ("", None)
    if chosen is None:
        chosen = "application/x-www-form-urlencoded" if "application/x-www-form-urlencoded" in kinds else next(iter(kinds), "")
    return chosen, _table(content.get(kinds.get(chosen, ""))).get("schema")


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _size(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
