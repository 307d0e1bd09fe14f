"""A REST system's contract: its operations, how each travels, and the shapes of what is asked and answered.

It is an OpenAPI 2.0 (Swagger), 3.0 or 3.1 document, or a file of operations declared by hand (adapters.rest.declared), or both.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args
from urllib.parse import urlsplit

from adapters.rest import declared
from adapters.rest.document import Documents
from adapters.rest.schema import Schemas, holding, items, on_wire, records, table, unfolded
from adapters.rest.swagger import lifted
from contracts.errors import Finding, Findings
from mappings.language.shape import Exchange, Field, Leaf, Message, Record

MAX_NOTES = 1_000
_OWN_HEADERS = frozenset({"accept", "content-type", "authorization", "if-none-match", "if-modified-since", "cookie", "host"})
"""Headers that the driver itself speaks; they are no fields of a request."""
_JSON = re.compile(r"application/(?:[\w.+-]+\+)?json|text/json")
_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/json-seq")
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_UNNAMED = re.compile(r"[^\w.-]+", re.ASCII)

_PLAIN = Record("")
Place = Literal["path", "query", "header", "cookie"]
Answers = Literal["json", "lines", "text", ""]
_PLACES = get_args(Place)
_USUAL = {"path": "simple", "query": "form", "header": "simple", "cookie": "form"}
_KNOWN_STYLES = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}


def is_json(media_type: str) -> bool:
    return _JSON.fullmatch(media_type) is not None


def is_lines(media_type: str) -> bool:
    """One JSON document per line."""
    return media_type in _LINES


@dataclass(frozen=True, slots=True)
class Parameter:
    """`field` is its name in the request document, `name` the one on the wire; `style` and `explode` as in OpenAPI 3."""

    field: str
    name: str
    place: Place
    explode: bool
    style: str = "form"
    json: bool = False
    """The value travels as one JSON text."""


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
    encoding: dict[str, Parameter]
    """How members of a form are written that are lists or objects."""
    answers: Answers
    """What a successful answer's body is; empty: it has none."""
    wraps: str
    declared: dict[str, bool]
    """Statuses in the contract (`404`, `4XX`, `default`) -> whether they carry JSON."""
    exchange: Exchange

    def declares(self, status: int) -> bool | None:
        """None: the contract does not name this status (`default` names none); else whether it promises JSON with it."""
        for key in (str(status), f"{status // 100}XX", f"{status // 100}xx"):
            if key in self.declared:
                return self.declared[key]
        return None


@dataclass(frozen=True, slots=True)
class _Raw:
    """An operation as it stands in the document; described when it is asked for."""

    path: str
    method: str
    node: dict[str, Any]
    shared: list[Any]
    added: dict[str, Any]
    """What was declared by hand for it, as OpenAPI 3 writes it."""


class RestContract:
    """Reads the document at once (do it in a thread) and raises Findings if it is none. Operations are described when asked for.

    What does not hang together (a reference that leads nowhere or to the network) is noted in `notes` and described as `any`. The
    security schemes of the document are not used, the estate's options count. `base`: the path of the document's first server, for an
    endpoint that has none.
    """

    def __init__(self, system: str, document: Path, content: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """`content`: operation -> path -> file beside the document that describes what a text holds."""
        self.system, self.file, self._content = system, str(document), content or {}
        self.notes: list[Finding] = []
        self._documents = Documents(document)
        self._document, file, additions = self._opened()
        self._schemas = Schemas(self._documents, self._document, file, self._note)
        self._swagger = "swagger" in self._document
        self.base = self._base()
        self._raw: dict[str, _Raw] = {}
        self._described: dict[str, Operation] = {}
        self._special: dict[str, Record] = {}
        self._texts: dict[str, Record | None] = {}
        for raw in self._listed():
            self._raw[self._name(raw)] = raw
        self._add(additions)

    def operations(self) -> tuple[str, ...]:
        return tuple(self._raw)

    def operation(self, name: str) -> Operation:
        """Raises KeyError, naming the nearest operation, for an unknown one."""
        if (known := self._described.get(name)) is not None:
            return known
        if (raw := self._raw.get(name)) is None:
            lower = {known.lower(): known for known in self._raw}
            near = difflib.get_close_matches(_cleaned(name).lower(), lower, 1, 0.5)
            raise KeyError(f"{self.file} has no operation {name!r}" + (f"; did you mean {lower[near[0]]!r}?" if near else ""))
        return self._described.setdefault(name, self._operation(name, raw))

    def exchange(self, operation: str) -> Exchange:
        return self.operation(operation).exchange

    def on_wire(self, operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """A request document as it travels: maps and variants are written differently there."""
        if (root := self._special.get(operation)) is None:
            asked = self.operation(operation).exchange.request
            special = asked is not None and any(r.derived or any(f.keyed or f.embedded for f in r.fields) for r in records(asked.root))
            root = self._special[operation] = asked.root if asked is not None and special else _PLAIN
        return request if root is _PLAIN else cast("Mapping[str, Any]", on_wire(root, request))

    def unfolded(self, operation: str, document: Any) -> Any:
        """An answer with the documents that travel as texts. Raises ValueError(path, reason)."""
        if operation not in self._texts:
            told = self.operation(operation).exchange.answer
            self._texts[operation] = told.root if told and any(f.embedded for r in records(told.root) for f in r.fields) else None
        return document if (root := self._texts[operation]) is None else unfolded(root, document)

    # ---- the document -------------------------------------------------------------------------------------------------

    def _opened(self) -> tuple[dict[str, Any], str, list[declared.Addition]]:
        found, file, additions = self._documents.load(), "", list[declared.Addition]()
        if declared.is_one(found):
            found, file, additions = declared.opened(found, self._documents)
        version = str(found.get("openapi", found.get("swagger", ""))) if isinstance(found, dict) else ""
        if not version.startswith("3.") and version != "2.0":
            what = f"its version is {version[:20]!r}" if version else "this is no OpenAPI document"
            hint = 'expected a document with "openapi": "3.x" or "swagger": "2.0", or a file of operations with [operation.NAME]'
            raise Findings(findings=(Finding(self.file, self._documents.line("", "openapi"), what, hint),))
        return cast("dict[str, Any]", found), file, additions

    def _add(self, additions: list[declared.Addition]) -> None:
        """Operations declared by hand are new, take the place of one of the same name, or add to it. Raises Findings."""
        findings = []
        for addition in additions:
            name = _cleaned(addition.name)
            if addition.path:
                self._raw[name] = _Raw(addition.path, addition.method, {}, [], addition.node)
            elif (known := self._raw.get(name)) is not None:
                self._raw[name] = replace(known, added=addition.node)
            else:
                near = difflib.get_close_matches(name, self._raw, 1, 0.6)
                hint = f"did you mean {near[0]}?" if near else "write its method and path"
                line = self._documents.line("", "operation", addition.name)
                findings.append(Finding(self.file, line, f"operation {addition.name} is not in the document", hint))
        if findings:
            raise Findings(findings=tuple(findings))

    def _base(self) -> str:
        if self._swagger:
            path = self._document.get("basePath")
        else:
            server = table(next(iter(items(self._document.get("servers"))), None))
            path = server.get("url")
            for name, variable in table(server.get("variables")).items():
                if isinstance(path, str) and (value := table(variable).get("default")) is not None:
                    path = path.replace(f"{{{name}}}", str(value))
            if isinstance(path, str):
                path = urlsplit(path).path if "://" in path[:100] and "[" not in path else path if path.startswith("/") else ""
        fits = isinstance(path, str) and re.fullmatch(r"(/[\w.~%:@!$&'()*+,;=-]+)*/?", path, re.ASCII)
        return cast("str", path).rstrip("/") if fits else ""

    def _listed(self) -> Iterator[_Raw]:
        for path, item in table(self._document.get("paths")).items():
            if not path.startswith("/"):
                if not path.startswith("x-"):
                    self._note(f"path {path[:100]!r} does not begin with /; left out", path)
                continue
            item = self._schemas.resolved(item)[0]
            for method in declared.METHODS:
                if isinstance(node := item.get(method), dict):
                    yield _Raw(path, method, node, items(item.get("parameters")), {})

    def _name(self, raw: _Raw) -> str:
        """The document's own, in letters that every file of an estate can hold; else made of method and path, which is stable."""
        said = raw.node.get("operationId")
        given = _cleaned(said) if isinstance(said, str) else ""
        derived = _cleaned(f"{raw.method}_" + re.sub(r"\{([^}]*)\}", r"by_\1", raw.path.strip("/")))
        name, number = given or derived, 2
        if given and given in self._raw:
            self._note(f"operationId {given!r} is used twice; {raw.method.upper()} {raw.path} is called {derived!r}", str(said))
            name = derived
        while name in self._raw:
            name, number = f"{derived}_{number}", number + 1
        return name

    # ---- one operation ------------------------------------------------------------------------------------------------

    def _operation(self, name: str, raw: _Raw) -> Operation:
        node, shared = raw.node, raw.shared
        if self._swagger:
            node, shared = lifted(node, shared, self._document, lambda n: self._schemas.resolved(n)[0]), []
        if node.get("servers") and not self._swagger:
            self._note(f"operation {name} names a server of its own; the estate's endpoint counts for all", name)
        node = {
            **node,
            **({"requestBody": raw.added["requestBody"]} if "requestBody" in raw.added else {}),
            "responses": {**table(node.get("responses")), **table(raw.added.get("responses"))},
        }
        described = [*shared, *items(node.get("parameters")), *items(raw.added.get("parameters"))]
        parameters, fields = self._parameters(name, raw.path, described)
        media, required, encoding = "", False, dict[str, Parameter]()
        if body := self._schemas.resolved(node.get("requestBody"))[0]:
            media, chosen = _content(body)
            required = body.get("required") is True
            if media:
                fields.append(self._schemas.field("body", chosen.get("schema"), required=required, asked=True, about=f"{name} body"))
                encoding = _encoding(chosen)
        statuses, answers, answer = self._responses(table(node.get("responses")))
        root, wraps = self._answer_root(answer, answers, name) if answers else (None, "")
        asked, root = self._holding(name, Record(name, fields), root)
        request = Message(f"{self.system}.{name}", "json", asked, self.file)
        reply = Message(f"{self.system}.{name}", "json", root, self.file) if root else None
        return Operation(
            name,
            raw.method.upper(),
            raw.path,
            parameters,
            media,
            required,
            encoding,
            answers,
            wraps,
            statuses,
            Exchange(name, request, reply),
        )

    def _holding(self, name: str, asked: Record, told: Record | None) -> tuple[Record, Record | None]:
        """Request and answer with what their texts really hold."""
        for path, file in self._content.get(name, {}).items():
            try:
                schema = declared.described(file, self._documents)
            except LookupError as exc:
                raise self._no_content(name, f"{file!r} {exc.args[0]}") from exc
            text = {"type": "string", "contentMediaType": "application/json", "contentSchema": schema}
            sides = [
                (s, self._schemas.field(path, text, required=False, asked=s is asked, about=f"{name} {path}")) for s in (asked, told) if s
            ]
            held = [holding(side, path, content) for side, content in sides]
            if not any(held):
                raise self._no_content(name, f"neither request nor answer has a text at {path!r}")
            asked, told = held[0] or asked, (held[1] if told and held[1] else told)
        return asked, told

    def _no_content(self, name: str, message: str) -> Findings:
        return Findings(findings=(Finding(self.file, 1, f"options of {self.system}: operation {name!r}: content: {message}"),))

    def _parameters(self, operation: str, path: str, raw: list[Any]) -> tuple[tuple[Parameter, ...], list[Field]]:
        known: dict[tuple[str, Place], dict[str, Any]] = {}
        for entry in raw:
            entry = self._schemas.resolved(entry)[0]
            name, place = entry.get("name"), cast("Place", entry.get("in"))
            if isinstance(name, str) and name and place in _PLACES and not (place == "header" and name.lower() in _OWN_HEADERS):
                known[name, place] = entry  # an operation's own parameter replaces the path's
        for name in re.findall(r"\{([^{}]+)\}", path):
            if (name, "path") not in known:
                self._note(f"operation {operation}: its path needs {name}, which is no parameter; taken as a text", path)
                known[name, "path"] = {"schema": {"type": "string"}}
        parameters: list[Parameter] = []
        fields: list[Field] = []
        for (name, place), entry in known.items():
            if place == "path" and f"{{{name}}}" not in path:
                self._note(f"operation {operation}: its path has no {{{name}}}; the parameter is left out", path)
                continue
            taken = {p.field for p in parameters} | {"body"}
            media, chosen = _content(entry)
            style = entry.get("style")
            if style not in _KNOWN_STYLES[place]:
                style = _USUAL[place]
            explode = entry.get("explode")
            explode = explode if isinstance(explode, bool) else style == "form"
            called = f"{place}_{name}" if name in taken else name
            parameter = Parameter(called, name, place, explode, style, is_json(media))
            schema = entry.get("schema", chosen.get("schema"))
            required = place == "path" or entry.get("required") is True
            doc = str(entry.get("description") or "")[:500]
            parameters.append(parameter)
            fields.append(self._schemas.field(called, schema, required=required, asked=True, about=name, doc=doc))
        return tuple(parameters), fields

    def _responses(self, responses: dict[str, Any]) -> tuple[dict[str, bool], Answers, Any]:
        """The declared statuses, what the first successful answer with a body is (JSON before text), and its schema."""
        statuses: dict[str, bool] = {}
        found: dict[Answers, Any] = {}
        for status in sorted(responses, key=lambda s: (s == "default", s)):
            response = self._schemas.resolved(responses[status])[0]
            kind, schema = _answer(table(response.get("content")))
            statuses[status] = kind in ("json", "lines")
            success = status.startswith("2") or (status == "default" and not any(s.startswith("2") for s in responses))
            if kind and success:
                found.setdefault(kind, schema)
        for kind in ("json", "lines", "text"):
            if kind in found:
                return statuses, kind, found[kind]
        return statuses, "", None

    def _answer_root(self, schema: Any, kind: Answers, name: str) -> tuple[Record, str]:
        if kind == "text":
            return Record(name, [Field("value", Leaf("string"))]), "value"
        shape = self._schemas.field("", schema, required=True, asked=False, about=name)
        if kind == "lines" and not shape.repeated:
            return Record(name, [Field("items", shape.shape, repeated=True)]), "items"
        if isinstance(shape.shape, Record) and not shape.repeated:
            return shape.shape, ""
        wraps = "items" if shape.repeated else "value"
        return Record(name, [Field(wraps, shape.shape, repeated=shape.repeated, nillable=shape.nillable, keyed=shape.keyed)]), wraps

    def _note(self, message: str, near: str) -> None:
        if len(self.notes) < MAX_NOTES and all(n.message != message for n in self.notes):
            self.notes.append(Finding(self.file, self._documents.line_of("", near) if near else 1, message))


def _cleaned(name: str) -> str:
    return _UNNAMED.sub("_", name[:200]).strip("_")


def _encoding(chosen: dict[str, Any]) -> dict[str, Parameter]:
    found = {}
    for name, entry in table(chosen.get("encoding")).items():
        style, explode = table(entry).get("style"), table(entry).get("explode")
        style = style if style in _KNOWN_STYLES["query"] else "form"
        json = is_json(str(table(entry).get("contentType", "")))
        found[name] = Parameter(name, name, "query", explode if isinstance(explode, bool) else style == "form", cast("str", style), json)
    return found


def _media(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {media.partition(";")[0].strip().lower(): table(entry) for media, entry in content.items()}


def _content(node: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Media type and description of a request body: JSON if it may be, else a form, else the first."""
    kinds = _media(table(node.get("content")))
    for fits in (is_json, _FORMS.__contains__, {"*/*", "application/*"}.__contains__, lambda _: True):
        for kind, entry in kinds.items():
            if fits(kind):
                return ("application/json" if "*" in kind else kind), entry
    return "", {}


def _answer(content: dict[str, Any]) -> tuple[Answers, Any]:
    kinds = _media(content)
    wanted: tuple[tuple[Answers, Callable[[str], bool]], ...] = (
        ("json", lambda k: is_json(k) or "*" in k),
        ("lines", is_lines),
        ("text", lambda k: k.startswith("text/")),
    )
    for answers, fits in wanted:
        for kind, entry in kinds.items():
            if fits(kind):
                return answers, entry.get("schema")
    return "", None
