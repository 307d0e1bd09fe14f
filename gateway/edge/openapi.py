"""The published contract: one OpenAPI 3.1 document per version, made from the route table, the types and the version changes."""

from __future__ import annotations

import typing
from collections.abc import Iterable
from typing import Any

import msgspec

from contracts import errors
from contracts.errors import TillgateError
from contracts.events import DATA
from contracts.problem import Problem
from contracts.versions import Change, VersionHistory
from gateway.edge import deadline, personal, preconditions, problems, protocol, reading, selection
from gateway.edge.endpoint import AnyEndpoint, Control
from gateway.edge.idempotency import KEY
from gateway.edge.identity.scopes import SCOPES
from gateway.edge.schemas import REF, component_schemas, tidy

_ASKED: tuple[type[TillgateError], ...] = (
    errors.InvalidRequest,
    errors.InvalidHeader,
    errors.MalformedQuery,
    errors.UnknownParameter,
    errors.InvalidParameter,
)

_EVERYWHERE: tuple[type[TillgateError], ...] = (
    *_ASKED,
    errors.UnknownVersion,
    errors.Unauthenticated,
    errors.Forbidden,
    errors.NotAcceptable,
    errors.RetiredVersion,
    errors.UpstreamRejected,
    errors.QuotaExceeded,
    errors.AbnormalUsage,
    protocol.HeadTooLarge,
    errors.TillgateError,
    errors.UpstreamError,
    errors.ContractViolation,
    errors.ConnectFailed,
    errors.UpstreamBusy,
    errors.GuardRefused,
    errors.Overloaded,
    errors.StoreUnavailable,
    errors.QuotaUnavailable,
    errors.UpstreamTimeout,
    errors.DeadlineExceeded,
)


_OF_A_CONTROL: tuple[type[TillgateError], ...] = (
    *_ASKED,
    errors.Unauthenticated,
    errors.Forbidden,
    errors.QuotaExceeded,
    errors.AbnormalUsage,
    errors.TillgateError,
    errors.StoreUnavailable,
)


def document(
    endpoints: Iterable[AnyEndpoint], history: VersionHistory, version: str, title: str, controls: Iterable[Control] = ()
) -> dict[str, Any]:
    """JSON-ready and stable: the same input gives the same document."""
    endpoints, controls = tuple(endpoints), tuple(controls)
    kinds = [k for e in endpoints for k in (e.answer, e.body, e.parameters) if k is not None]
    kinds += [e.parts for e in endpoints if e.parts is not None]
    kinds += [k for c in controls for k in (c.answer, c.parameters)]
    schemas = component_schemas([*kinds, Problem], history, version)
    for name in _used([{"$ref": REF.format(name=e.body.__name__)} for e in endpoints if e.body is not None], schemas):
        _fit(schemas[name])
    for endpoint in endpoints:
        if endpoint.parts is not None:
            schemas[_answered(endpoint)] = _expanded(endpoint.answer.__name__, endpoint.parts.__name__, schemas)
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, history, version, schemas)
    for control in controls:
        paths.setdefault(control.path, {})[control.method.lower()] = _control(control, history, version, schemas)
    used = _used(paths, schemas)
    this = history.by_date[version]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version,
            "description": _description(history, version),
            **({"x-sunset": this.sunset.date().isoformat()} if this.sunset else {}),
        },
        "servers": [{"url": "/"}],
        "security": [{"apiKey": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys([e.tag for e in endpoints] + [c.tag for c in controls])],
        "paths": paths,
        "components": {
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer tg_…`"}},
            "schemas": {name: schemas[name] for name in sorted(used)},
        },
    }


def _description(history: VersionHistory, version: str) -> str:
    this = history.by_date[version]
    lines = [this.summary]
    if this.deprecated and this.sunset:
        lines.append(f"**Deprecated**; it is switched off on {this.sunset.date().isoformat()}.")
    newer = history.newer_than(version)
    if newer:
        lines.append("Newer versions changed:")
        lines.extend(f"- {change.sentence()}{_example_of(change)}" for change in newer)
    return "\n\n".join(lines)


def changelog(history: VersionHistory) -> list[dict[str, Any]]:
    return [
        {
            "version": v.date,
            "summary": v.summary,
            "deprecated": v.deprecated.date().isoformat() if v.deprecated else None,
            "sunset": v.sunset.date().isoformat() if v.sunset else None,
            "changes": [_change(c) for c in v.changes],
            **({"added": list(v.added)} if v.added else {}),
        }
        for v in history.versions
    ]


def _change(change: type[Change]) -> dict[str, Any]:
    shown = change.shown()
    return {
        "name": change.__name__,
        "type": change.of.__name__,
        "sentence": change.sentence(),
        **({"parameters": {old: new for new, old in change.parameters.items()}} if change.parameters else {}),
        **({"before": shown[0], "after": shown[1]} if shown else {}),
    }


def _example_of(change: type[Change]) -> str:
    shown = change.shown()
    if shown is None:
        return ""
    before, after = (msgspec.json.encode(each).decode() for each in shown)
    return f" Before: `{before}`, after: `{after}`."


def _fit(schema: Any) -> None:
    """What the door refuses in any text, said in the contract of every text that a caller may send."""
    if isinstance(schema, dict):
        if schema.get("type") == "string" and not schema.keys() & {"pattern", "enum", "format"}:
            schema["pattern"] = f"^[^{reading.UNFIT}]*$"
        for value in schema.values():
            _fit(value)
    elif isinstance(schema, list):
        for value in schema:
            _fit(value)


def _answered(endpoint: AnyEndpoint) -> str:
    """The schema of its answer."""
    return f"Expanded{endpoint.answer.__name__}" if endpoint.parts is not None else endpoint.answer.__name__


def _expanded(name: str, parts: str, schemas: dict[str, Any]) -> dict[str, Any]:
    """`x-extends` names the schema whose members it has, so that a generated type can be that one and more."""
    whole, said = schemas[name], "Only where `expand` asks for it."
    properties = {**whole["properties"], selection.EXPANDED: {"$ref": REF.format(name=parts), "description": said}}
    return {**whole, "title": f"Expanded{name}", "x-extends": name, "properties": properties}


def _operation(endpoint: AnyEndpoint, history: VersionHistory, version: str, schemas: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "description": f"Scope: `{endpoint.scope}` ({SCOPES[endpoint.scope]}).",
        "tags": [endpoint.tag],
        "parameters": list(_parameters(endpoint, history, version, schemas)),
        "responses": _responses(endpoint, history, version),
    }
    if endpoint.body is not None:
        content: dict[str, Any] = {"schema": {"$ref": REF.format(name=endpoint.body.__name__)}}
        if endpoint.example is not None:
            content["example"] = history.down(msgspec.to_builtins(endpoint.example), endpoint.body, version)
        found["requestBody"] = {"required": True, "content": {"application/json": content}}
    if version != history.newest.date and history.by_date[version].deprecated:
        found["deprecated"] = True
    return found


def _control(control: Control, history: VersionHistory, version: str, schemas: dict[str, Any]) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([control.answer], ref_template=REF)
    tidy(schema)
    return {
        "operationId": control.name,
        "summary": control.summary,
        "description": f"Scope: `{control.scope}` ({SCOPES[control.scope]}).",
        "tags": [control.tag],
        "parameters": list(_own_parameters(control, history, version, schemas)),
        "responses": {
            "200": {"description": "Done", "content": {control.media_type: {"schema": schema}}},
            **_problems((*_OF_A_CONTROL, *control.errors), history, version),
        },
    }


def _parameters(endpoint: AnyEndpoint, history: VersionHistory, version: str, schemas: dict[str, Any]) -> Iterable[dict[str, Any]]:
    yield from _own_parameters(endpoint, history, version, schemas)
    yield from _beside(endpoint, version, schemas)


def _own_parameters(
    endpoint: AnyEndpoint | Control, history: VersionHistory, version: str, schemas: dict[str, Any]
) -> Iterable[dict[str, Any]]:
    for name, kind in endpoint.path_parameters.items():
        schema = msgspec.json.schema(kind)
        tidy(schema)
        yield {"name": name, "in": "path", "required": True, "schema": schema, **_example(schema)}
    own = schemas[endpoint.parameters.__name__]
    for name, schema in own.get("properties", {}).items():
        yield {
            "name": history.parameter(name, endpoint.answer, version),
            "in": "query",
            "required": name in own.get("required", ()),
            "schema": schema,
            **({"style": "form", "explode": True} if schema.get("type") == "array" else {}),
            **_example(schema),
        }


def _beside(endpoint: AnyEndpoint, version: str, schemas: dict[str, Any]) -> Iterable[dict[str, Any]]:
    if errors.PreconditionFailed in endpoint.errors:
        yield {
            "name": "If-Match",
            "in": "header",
            "required": False,
            "description": "The ETag that the change is meant for; 412 when the resource has moved on.",
            "schema": {"type": "string", "pattern": f"^{preconditions.TAGS}$"},
        }
    if endpoint.method == "GET":
        yield {
            "name": selection.PARAMETER,
            "in": "query",
            "required": False,
            "description": "Leaves only these fields in the answer, by their dotted names in this version, without numbers for what stands"
            " in an array; of an object all of it. What is not named is absent then, required or not; only `missing`, which tells of"
            " gaps, stays.",
            "schema": {
                "type": "array",
                "minItems": 1,
                "maxItems": selection.MOST_FIELDS,
                "items": {"type": "string", "pattern": r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$"},
            },
            "style": "form",
            "explode": False,
            "example": selection.some(endpoint.answer.__name__, schemas),
        }
    if endpoint.expansions:
        parts = "; ".join(f"`{e.name}` as {e.endpoint.route} answers it (scope `{e.endpoint.scope}`)" for e in endpoint.expansions)
        yield {
            "name": selection.EXPAND,
            "in": "query",
            "required": False,
            "description": f"Brings parts along in `{selection.EXPANDED}`: {parts}. Each counts in quotas as a request of its own; one that"
            f" cannot be had is named in `{selection.EXPANDED}.missing`.",
            "schema": {"type": "array", "minItems": 1, "items": {"type": "string", "enum": [e.name for e in endpoint.expansions]}},
            "style": "form",
            "explode": False,
            "example": [endpoint.expansions[0].name],
        }
    if endpoint.tagged and endpoint.method == "GET":
        yield {
            "name": "If-None-Match",
            "in": "header",
            "required": False,
            "description": "An ETag that you have; 304 when nothing is new.",
            "schema": {"type": "string", "pattern": f"^{preconditions.TAGS}$"},
        }
    if endpoint.idempotent_key:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "required": True,
            "description": "Repeat it with every retry: the stored answer comes back, success or error, and nothing happens twice. Kept as"
            " long as Idempotency-Retention says, per client and path; another payload under it is refused.",
            "schema": {"type": "string", "pattern": f'^({KEY}|"{KEY}")$'},
        }
    yield {
        "name": deadline.FIELD,
        "in": "header",
        "required": False,
        "description": "Seconds that you wait for the answer, when that is shorter than this API would take; then 504 or what is known.",
        "schema": {"type": "string", "pattern": f"^{deadline.PATTERN}$", "examples": ["2.5"]},
    }
    yield {
        "name": "API-Version",
        "in": "header",
        "required": False,
        "description": "Another version than the client is pinned to.",
        "schema": {"type": "string", "enum": [version]},
    }


def _example(schema: dict[str, Any]) -> dict[str, Any]:
    if "items" in schema:
        return {"example": found[:1]} if (found := schema["items"].get("examples")) else {}
    return {"example": found[0]} if (found := schema.get("examples")) else {}


_FIELDS: dict[str, Any] = {
    "RateLimit": {"description": "What is left: `r` requests, more after `t` seconds.", "schema": {"type": "string"}},
    "RateLimit-Policy": {"description": "The quotas: `q` requests in `w` seconds.", "schema": {"type": "string"}},
}
_ETAG = {"ETag": {"description": "The resource's version, or of what was read.", "schema": {"type": "string"}}}
_LOCATION = {"Location": {"description": "Where it stands.", "schema": {"type": "string"}}}
_LINK = {"Link": {"description": "RFC 8288: `next` leads on, `first` back; no `next` is the last page.", "schema": {"type": "string"}}}
_ORIGIN: dict[str, Any] = {
    "Age": {"description": "Seconds since the oldest part was read from its system; absent if just now.", "schema": {"type": "integer"}},
    "Cache-Status": {
        "description": "RFC 9211: from our cache (`hit`, with the seconds left in `ttl`, negative when past them), or asked (`fwd`)."
        " `fwd=stale` is an old answer in place of the failure `fwd-status`. Which system said what is in `provenance`.",
        "schema": {"type": "string"},
    },
    "Cache-Control": {"description": "How long you may keep it; `no-store` when stale or with gaps.", "schema": {"type": "string"}},
}
_KEPT_KEY: dict[str, Any] = {
    "Idempotency-Retention": {"description": "How long the key and its answer are kept.", "schema": {"type": "string"}},
    "Idempotency-Replayed": {"description": "`true`: the first answer, again.", "schema": {"type": "string", "enum": ["true"]}},
}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "required": True, "schema": {"type": "integer"}}}
_DESCRIPTIONS = {202: "Accepted, not yet complete", 201: "Created"}


def _responses(endpoint: AnyEndpoint, history: VersionHistory, version: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": REF.format(name=_answered(endpoint))}}}
    links = {"links": {x.operation: {"operationId": x.operation, "parameters": x.parameters} for x in endpoint.links}}
    found: dict[str, Any] = {
        str(status): {
            "description": _DESCRIPTIONS.get(status, "Done"),
            "headers": {
                **_FIELDS,
                **(_ETAG if endpoint.tagged else {}),
                **(_ORIGIN if endpoint.cache else {}),
                **(_LINK if "cursor" in endpoint.parameters.__struct_fields__ else {}),
                **(_KEPT_KEY if endpoint.idempotent_key else {}),
                **(_LOCATION if status in (201, 202) else {}),
            },
            "content": content,
            **(links if endpoint.links else {}),
        }
        for status in endpoint.statuses
    }
    if endpoint.tagged and endpoint.method == "GET":
        found["304"] = {"description": "Nothing is new", "headers": {**_FIELDS, **_ETAG}}
    kinds = [*_EVERYWHERE, *endpoint.errors]
    if endpoint.body is not None:
        kinds += [
            errors.MalformedJson,
            errors.InvalidMember,
            errors.InvalidBody,
            errors.BodyTooLarge,
            errors.UnsupportedMediaType,
            reading.RequestTooSlow,
        ]
    if "cursor" in endpoint.parameters.__struct_encode_fields__:
        kinds.append(errors.InvalidCursor)
    if endpoint.idempotent_key:
        kinds += [errors.IdempotencyKeyMissing, errors.IdempotencyKeyReused, errors.RequestInProgress]
    return found | _problems(kinds, history, version)


def _problems(kinds: Iterable[type[TillgateError]], history: VersionHistory, version: str) -> dict[str, Any]:
    by_status: dict[int, dict[str, None]] = {}
    for kind in kinds:
        told = problems.told_as(kind, history, version)
        by_status.setdefault(told["status"], {})[told["code"]] = None
    return {
        str(status): {
            "description": ", ".join(f"`{c}`" for c in codes),
            **({"headers": _RETRY_AFTER} if status in (429, 503) else {}),
            "content": {problems.MEDIA_TYPE: {"schema": {"$ref": REF.format(name="Problem")}}},
        }
        for status, codes in sorted(by_status.items())
    }


def _used(paths: Any, schemas: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    waiting: list[Any] = [paths]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            reference = node.get("$ref") or node.get("x-extends")
            if isinstance(reference, str) and (name := reference.rpartition("/")[2]) not in found:
                found.add(name)
                waiting.append(schemas[name])
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
    return found


def check(endpoints: Iterable[AnyEndpoint], history: VersionHistory) -> None:
    """Nothing is open by accident, and no change is without effect. Raises ValueError at start."""
    endpoints = tuple(endpoints)
    for endpoint in endpoints:
        if endpoint.scope not in SCOPES:
            raise ValueError(f"{endpoint.route}: expected a declared scope, got {endpoint.scope!r}")
        if (endpoint.method == "GET") == endpoint.idempotent_key:
            raise ValueError(f"{endpoint.route}: expected an Idempotency-Key on every unsafe route and on no other")
        if endpoint.scope != personal.SCOPE:
            personal.veil(endpoint.answer)
        if {e.name for e in endpoint.expansions} - {*getattr(endpoint.parts, "__struct_fields__", ())}:
            raise ValueError(f"{endpoint.route}: expected a field of `parts` for each expansion")
    names = [e.name for e in endpoints]
    if len(set(names)) != len(names):
        raise ValueError("expected each operation name once")
    if lost := [x.operation for e in endpoints for x in e.links if x.operation not in names]:
        raise ValueError(f"links lead to {lost[0]!r}, which is no operation")
    kinds = (k for e in endpoints for k in typing.cast("tuple[Any, ...]", (e.answer, e.body)) if k is not None)
    history.check([*kinds, *DATA.values(), Problem])
    problems.check(history)
