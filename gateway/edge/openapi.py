"""The published contract: one OpenAPI 3.1 document per version, made from the route table, the types and the version changes."""

from __future__ import annotations

import typing
from collections.abc import Iterable
from typing import Any

import msgspec

from contracts import errors
from contracts.errors import TillgateError
from contracts.versions import VersionHistory
from gateway.edge import problems
from gateway.edge.auth import SCOPES
from gateway.edge.endpoint import AnyEndpoint

_EVERYWHERE: tuple[type[TillgateError], ...] = (
    errors.InvalidRequest,
    errors.Unauthenticated,
    errors.Forbidden,
    errors.NotAcceptable,
    errors.QuotaExceeded,
    errors.TillgateError,
    errors.UpstreamError,
    errors.Overloaded,
    errors.UpstreamTimeout,
)
_REF = "#/components/schemas/{name}"


def document(endpoints: Iterable[AnyEndpoint], history: VersionHistory, version: str, title: str) -> dict[str, Any]:
    """JSON-ready and stable: the same input gives the same document."""
    endpoints = tuple(endpoints)
    kinds = [k for e in endpoints for k in (e.answer, e.body, e.parameters) if k is not None]
    schemas = _schemas(kinds, history, version)
    schemas["Problem"] = _problem_schema()
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, history, version, schemas)
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
        "tags": [{"name": tag} for tag in dict.fromkeys(e.tag for e in endpoints)],
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
        lines.extend(f"- {change.sentence()}" for change in newer)
    return "\n\n".join(lines)


def changelog(history: VersionHistory) -> list[dict[str, Any]]:
    return [
        {
            "version": v.date,
            "summary": v.summary,
            "deprecated": v.deprecated.date().isoformat() if v.deprecated else None,
            "sunset": v.sunset.date().isoformat() if v.sunset else None,
            "changes": [{"name": c.__name__, "type": c.of.__name__, "sentence": c.sentence()} for c in v.changes],
        }
        for v in history.versions
    ]


def _schemas(kinds: list[type[msgspec.Struct]], history: VersionHistory, version: str) -> dict[str, Any]:
    changes = history.newer_than(version)
    _, components = msgspec.json.schema_components([*kinds, *(c.old for c in changes)], ref_template=_REF)
    for change in changes:
        old = components.pop(change.old.__name__)
        components[change.of.__name__] = {**old, "title": change.of.__name__}
    for schema in components.values():
        _tidy(schema)
    return components


def _tidy(schema: Any) -> None:
    if isinstance(schema, dict):
        if schema.get("default") is None and "default" in schema:
            del schema["default"]
        for value in schema.values():
            _tidy(value)
        if "anyOf" in schema:  # a missing value is absent, never null
            rest = [s for s in schema["anyOf"] if s != {"type": "null"}]
            if len(rest) == 1:
                del schema["anyOf"]
                schema.update({k: v for k, v in rest[0].items() if k not in schema})
            else:
                schema["anyOf"] = rest
        if "prefixItems" in schema and schema.get("items") is False:
            schema["items"] = schema.pop("prefixItems")[0]
    elif isinstance(schema, list):
        for value in schema:
            _tidy(value)


def _problem_schema() -> dict[str, Any]:
    return {
        "title": "Problem",
        "type": "object",
        "description": "RFC 9457. `code` is stable; nobody should parse `detail`.",
        "required": ["type", "title", "status", "detail", "code", "fault", "retryable", "advice", "traceId"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string", "examples": ["insufficient_stock"]},
            "fault": {"type": "string", "enum": ["caller", "system", "gateway"]},
            "retryable": {"type": "boolean"},
            "advice": {"type": "string"},
            "traceId": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"pointer": {"type": "string"}, "expected": {"type": "string"}, "got": {"type": "string"}},
                },
            },
        },
    }


def _operation(endpoint: AnyEndpoint, history: VersionHistory, version: str, schemas: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "description": f"Scope: `{endpoint.scope}` ({SCOPES[endpoint.scope]}).",
        "tags": [endpoint.tag],
        "parameters": list(_parameters(endpoint, history, version, schemas)),
        "responses": _responses(endpoint),
    }
    if endpoint.body is not None:
        found["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": _REF.format(name=endpoint.body.__name__)}}},
        }
    return found


def _parameters(endpoint: AnyEndpoint, history: VersionHistory, version: str, schemas: dict[str, Any]) -> Iterable[dict[str, Any]]:
    for name, kind in endpoint.path_parameters.items():
        yield {"name": name, "in": "path", "required": True, "schema": msgspec.json.schema(kind)}
    own = schemas[endpoint.parameters.__name__]
    for name, schema in own.get("properties", {}).items():
        public = history.parameter(name, endpoint.answer, version)
        required = name in own.get("required", ())
        yield {
            "name": public,
            "in": "query",
            "required": required,
            "schema": schema,
            **({"style": "form", "explode": True} if schema.get("type") == "array" else {}),
        }
    if endpoint.idempotent_key:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "required": True,
            "description": "Repeat it with every retry: the stored answer comes back, nothing happens twice.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": r"^[A-Za-z0-9._-]+$"},
        }
    yield {
        "name": "API-Version",
        "in": "header",
        "required": False,
        "description": "Another version than the client is pinned to.",
        "schema": {"type": "string", "enum": [version]},
    }


def _responses(endpoint: AnyEndpoint) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": _REF.format(name=endpoint.answer.__name__)}}}
    found: dict[str, Any] = {
        str(status): {"description": "Accepted, not yet complete" if status == 202 else "Done", "content": content}
        for status in endpoint.statuses
    }
    kinds = [*_EVERYWHERE, *endpoint.errors]
    if endpoint.body is not None:
        kinds += [errors.InvalidBody, errors.BodyTooLarge, errors.UnsupportedMediaType]
    if endpoint.idempotent_key:
        kinds += [errors.IdempotencyKeyMissing, errors.IdempotencyKeyReused, errors.RequestInProgress]
    by_status: dict[int, list[str]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, [])
        if kind.code not in by_status[kind.status]:
            by_status[kind.status].append(kind.code)
    for status, codes in sorted(by_status.items()):
        found[str(status)] = {
            "description": ", ".join(f"`{c}`" for c in codes),
            "content": {problems.MEDIA_TYPE: {"schema": {"$ref": _REF.format(name="Problem")}}},
        }
    return found


def _used(paths: dict[str, Any], schemas: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    waiting: list[Any] = [paths]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            reference = node.get("$ref")
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
    names = [e.name for e in endpoints]
    if len(set(names)) != len(names):
        raise ValueError("expected each operation name once")
    history.check(k for e in endpoints for k in typing.cast("tuple[Any, ...]", (e.answer, e.body)) if k is not None)
