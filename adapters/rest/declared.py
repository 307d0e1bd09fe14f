"""Operations declared by hand, for a system without a document or beside one: a TOML file that says what a document would say.

document = "openapi.json"            # optional, of any version: what stands here is added to it

[operation.findStock]
method   = "GET"
path     = "/stock/{sku}"
query    = { warehouse = "string", limit = "integer" }       # header and cookie likewise; path parameters are texts unless said
required = ["warehouse"]
answer   = "find_stock.json"         # a sample, several samples, a JSON Schema (*.schema.json, *.schema.yaml), or a part of a
absent   = [404]                     # document (openapi.json#/components/schemas/Stock); absent: "there is no such thing"

[operation.createOrder]
method  = "POST"
path    = "/orders"
request = "order.schema.json"        # of the body; `form` instead of `request` for a form
answer  = ["created.json", "created_again.json"]

[operation.listProducts]             # an operation of the document, without method and path: what it forgot, or says wrongly
query   = { "filter[updated]" = "date" }
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from adapters.options import Options
from adapters.rest.document import Documents
from adapters.rest.schema import table
from contracts.errors import Finding, Findings

METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_KINDS: Final = ("string", "integer", "number", "boolean", "date", "date-time", "string[]", "integer[]")
_PLACES: Final = ("path", "query", "header", "cookie")
Files = str | tuple[str, ...]


class Declared(Options, frozen=True, kw_only=True):
    """One operation. Files are paths from this one."""

    method: str = ""
    path: Annotated[str, Meta(pattern=r"^(/[^\s?#]*)?$")] = ""
    doc: str = ""
    query: dict[str, str] = msgspec.field(default_factory=dict)
    header: dict[str, str] = msgspec.field(default_factory=dict)
    cookie: dict[str, str] = msgspec.field(default_factory=dict)
    parameters: dict[str, str] = msgspec.field(default_factory=dict)
    """Kinds of path parameters."""
    required: tuple[str, ...] = ()
    request: Files = ()
    form: Files = ()
    answer: Files = ()
    media: str = "application/json"
    """Of the answer."""
    absent: tuple[int, ...] = ()


def is_one(found: Any) -> bool:
    return isinstance(found, dict) and "operation" in found and not {"openapi", "swagger"} & found.keys()


@dataclass(frozen=True, slots=True)
class Addition:
    """An operation as OpenAPI 3 writes it. Without a path it adds to that of the document."""

    name: str
    method: str
    path: str
    node: dict[str, Any]


def opened(found: dict[str, Any], documents: Documents) -> tuple[Any, str, list[Addition]]:
    """The document that is added to, its file, and the additions. Raises Findings with every mistake at once."""
    unknown = sorted(found.keys() - {"document", "operation"})
    findings = [_finding(documents, f"unknown key {key}", "there is document and [operation.NAME]", key) for key in unknown]
    document: Any = {"openapi": "3.1.0"}
    name = found.get("document", "")
    if isinstance(name, str) and name:
        try:
            document = documents.load(name)
        except LookupError as exc:
            findings.append(_finding(documents, f"document {name!r} {exc.args[0]}", "write its path from this file", "document"))
    additions: list[Addition] = []
    for operation, raw in table(found["operation"]).items():
        try:
            said = msgspec.convert(raw, Declared)
            if bool(said.method) != bool(said.path):
                raise ValueError("method and path belong together; write both, or none to add to the document's operation")
            if said.method and said.method.lower() not in METHODS:
                raise ValueError(f"method {said.method!r} is none of {', '.join(METHODS).upper()}")
            additions.append(Addition(operation, said.method.lower(), said.path, _described(operation, said, documents)))
        except (msgspec.ValidationError, ValueError, LookupError) as exc:
            text = re.sub(r" - at `\$(.*?)`", r" (\1)", str(exc.args[0]))
            findings.append(_finding(documents, f"operation {operation}: {text}", "", "operation", operation))
        except Findings as exc:
            findings += exc.findings
    if findings:
        raise Findings(findings=tuple(findings))
    return document, name if isinstance(name, str) else "", additions


def _described(name: str, said: Declared, documents: Documents) -> dict[str, Any]:
    named = dict.fromkeys(re.findall(r"\{([^{}]+)\}", said.path), "string")
    given = {"path": {**named, **said.parameters}, "query": said.query, "header": said.header, "cookie": said.cookie}
    parameters = [
        {"name": n, "in": place, "required": place == "path" or n in said.required, "schema": _kind(kind, n)}
        for place in _PLACES
        for n, kind in given[place].items()
    ]
    if unknown := set(said.required) - {p["name"] for p in parameters}:
        raise ValueError(f"required names {', '.join(sorted(unknown))}, which is no parameter")
    made: dict[str, Any] = {"operationId": name, "parameters": parameters}
    if said.request or said.form:
        media = "application/json" if said.request else "application/x-www-form-urlencoded"
        made["requestBody"] = {"required": True, "content": {media: {"schema": described(said.request or said.form, documents)}}}
    answers: dict[str, Any] = {"200": {}} if said.path else {}
    if said.answer:
        answers["200"] = {"content": {said.media: {"schema": described(said.answer, documents)}}}
    made["responses"] = answers | {str(status): {"content": {"application/json": {}}} for status in said.absent}
    return made


def _kind(kind: str, name: str) -> dict[str, Any]:
    if kind not in _KINDS:
        raise ValueError(f"{name} is {kind!r}; write one of {', '.join(_KINDS)}")
    if kind.endswith("[]"):
        return {"type": "array", "items": {"type": kind.removesuffix("[]")}}
    return {"type": "string", "format": kind} if kind.startswith("date") else {"type": kind}


def described(files: Files, documents: Documents) -> dict[str, Any]:
    """The schema of what samples, a schema or a part of a document describe. Raises LookupError, Findings."""
    names = (files,) if isinstance(files, str) else files
    if len(names) == 1 and re.search(r"\.schema\.(json|ya?ml)$|#", names[0]):
        file, _, pointer = names[0].partition("#")
        documents.load(file)
        return {"$ref": f"{file}#{pointer}"}
    return schema_of([documents.load(name) for name in names])


def schema_of(samples: Iterable[Any]) -> dict[str, Any]:
    """What samples of one thing say of it. A sample proves no member to be required, and no number to be whole."""
    found = list(samples)
    values = [v for v in found if v is not None]
    schema: dict[str, Any] = {}
    if values and all(isinstance(v, dict) for v in values):
        names = dict.fromkeys(name for v in values for name in v)
        schema = {"type": "object", "properties": {n: schema_of(v[n] for v in values if n in v) for n in names}}
    elif values and all(isinstance(v, list) for v in values):
        schema = {"type": "array", "items": schema_of(item for v in values for item in v)}
    elif values:
        kinds = {_word(v) for v in values}
        schema = {"type": kinds.pop()} if len(kinds) == 1 else {}
    return schema | ({"nullable": True} if len(values) < len(found) else {})


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "object" if isinstance(value, dict) else "array" if isinstance(value, list) else "number"


def _finding(documents: Documents, message: str, suggestion: str, *at: str) -> Finding:
    return Finding(str(documents.root), documents.line("", *at), message, suggestion)
