"""Swagger 2.0 operations written as OpenAPI 3 writes them, so that one reader is enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adapters.rest.schema import items, table

_FORM = "application/x-www-form-urlencoded"
_STYLES = {"csv": ("", False), "multi": ("form", True), "ssv": ("spaceDelimited", False), "pipes": ("pipeDelimited", False)}
_PARAMETER = ("name", "in", "required", "description")


def lifted(raw: dict[str, Any], shared: list[Any], document: dict[str, Any], resolved: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """`shared`: parameters of the path. An operation's own parameter replaces the path's; there is one body, or form members."""
    found = {(p.get("in"), p.get("name")): p for p in (resolved(e) for e in [*shared, *items(raw.get("parameters"))])}
    consumes = _media(raw.get("consumes", document.get("consumes")))
    parameters = [_parameter(p) for (place, _), p in found.items() if place in ("path", "query", "header")]
    body = next((p for (place, _), p in found.items() if place == "body"), None)
    form = [p for (place, _), p in found.items() if place == "formData" and isinstance(p.get("name"), str)]
    request: dict[str, Any] = {}
    if body is not None:
        schema = {"schema": body.get("schema")}
        request = {"required": body.get("required"), "content": dict.fromkeys(consumes or ["application/json"], schema)}
    elif form:
        files = any(p.get("type") == "file" for p in form)
        required = [p["name"] for p in form if p.get("required") is True]
        members = {p["name"]: _schema(p) for p in form}
        encoding = {p["name"]: dict(zip(("style", "explode"), _style(p), strict=True)) for p in form if p.get("type") == "array"}
        content = {"schema": {"type": "object", "properties": members, "required": required}, "encoding": encoding}
        media = "multipart/form-data" if files or ("multipart/form-data" in consumes and _FORM not in consumes) else _FORM
        request = {"required": bool(required), "content": {media: content}}
    produces = _media(raw.get("produces", document.get("produces"))) or ["application/json"]
    responses = {
        status: {"content": {media: {"schema": answer["schema"]} for media in produces}} if "schema" in answer else {}
        for status, answer in ((s, resolved(a)) for s, a in table(raw.get("responses")).items())
    }
    return {**raw, "parameters": parameters, "requestBody": request, "responses": responses}


def _parameter(raw: dict[str, Any]) -> dict[str, Any]:
    style, explode = _style(raw)
    made = {k: raw[k] for k in _PARAMETER if k in raw} | {"schema": _schema(raw), "explode": explode}
    return made | ({"style": style} if style else {})


def _style(raw: dict[str, Any]) -> tuple[str, bool]:
    return _STYLES.get(str(raw.get("collectionFormat", "csv")), ("", False))


def _schema(raw: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in raw.items() if k not in (*_PARAMETER[:3], "collectionFormat")}
    return kept | {"type": "string", "format": "binary"} if raw.get("type") == "file" else kept


def _media(value: Any) -> list[str]:
    return [m for m in items(value) if isinstance(m, str)]
