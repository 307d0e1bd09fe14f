"""Pages for people outside the console: the sign-in form, the API reference of a version, where calls can be tried, a page per problem."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from markupsafe import Markup, escape

from observability.console.pages import BASE, _environment

_DEPTH: Final = 8
"""Objects within objects that a field tree opens and an example fills."""
_SAMPLES: Final = {
    "amount": "12.99", "email": "ada@example.com", "phone": "+493012345678", "name": "Ada Lovelace", "street": "Unter den Linden 1",
    "postalCode": "10117", "city": "Berlin", "locale": "de-DE", "channel": "web", "last4": "4242", "rate": "19", "gln": "4006381000000",
    "currency": "EUR", "currencyCode": "EUR",
}  # fmt: skip
_FORMATS: Final = {
    "date-time": "2026-10-01T09:30:00Z", "date": "2026-10-01", "email": "ada@example.com", "uri": "https://example.com/",
    "uuid": "0b8f5e1a-6f0e-4c6b-9a51-3d1f0c2b7e44",
}  # fmt: skip
_CANDIDATES: Final = ("10000001", "0017", "1", "12.99", "EUR", "DE", "4006381333931", "2026-10-01", "4bf92f3577b34da6a3ce929d0e0e4736")
_BOUNDS: Final = {
    "minimum": "≥ {}",
    "maximum": "≤ {}",
    "exclusiveMinimum": "> {}",
    "exclusiveMaximum": "< {}",
    "multipleOf": "in steps of {}",
}

_STRONG: Final = re.compile(r"\*\*([^*]+)\*\*")

_VALUES: Final = 1000
"""An example has no more."""

Schema = Mapping[str, Any]


class Field(NamedTuple):
    name: str
    type: str
    required: bool
    description: Markup
    limits: tuple[str, ...]
    pattern: str
    values: tuple[str, ...]
    """What an enumeration allows."""
    default: str
    example: str
    within: str
    """Name of the object type that it holds, empty for plain values."""
    anchor: str
    """Where the fields of a named type stand: here, or where it was opened before."""
    fields: tuple[Field, ...]
    sample: str = ""
    """What a form begins with, for a parameter that must be given."""


class Status(NamedTuple):
    status: str
    description: Markup
    codes: tuple[tuple[str, str], ...]
    """Problem codes with their titles."""
    headers: tuple[str, ...]


class Body(NamedTuple):
    type: str
    anchor: str
    description: Markup
    fields: tuple[Field, ...]
    example: str


class OperationView(NamedTuple):
    anchor: str
    method: str
    path: str
    summary: Markup
    description: Markup
    scope: str
    scope_meaning: str
    parameters: tuple[tuple[str, Field], ...]
    """Where each stands (path, query, header), and the parameter."""
    body: Body | None
    answer: Body | None
    statuses: tuple[Status, ...]
    curl: str


class ChangeView(NamedTuple):
    type: str
    sentence: Markup
    before: str
    after: str
    """The changelog's example in the version before and in this one: the fields that differ. Empty where it has none."""


class VersionView(NamedTuple):
    version: str
    state: str
    """`newest`, `current`, `deprecated` or `off`."""
    summary: Markup
    deprecated: str
    sunset: str
    changes: tuple[ChangeView, ...]
    brown_outs: tuple[str, ...] = ()
    """When it is switched off for announced minutes, before its sunset."""
    added: tuple[Markup, ...] = ()


class TagView(NamedTuple):
    name: str
    anchor: str
    operations: tuple[OperationView, ...]


def render_login(problem: str = "", csrf: str = "", to: str = "") -> str:
    """The sign-in form, and why the last attempt failed. `csrf` goes with the form's cookie; `to`: the page to go on to."""
    return _environment().get_template("login.html").render(problem=problem, csrf=csrf, to=to, action=f"{BASE}/login")


def render_again(to: str) -> str:
    """Asks for the page once more."""
    return _environment().get_template("again.html").render(to=to)


def render_reference(
    document: dict[str, Any],
    changelog: list[dict[str, Any]],
    problems: list[dict[str, Any]],
    *,
    today: date | None = None,
    demo_key: str = "",
) -> str:
    """The API reference of the version that `document` (OpenAPI 3.1) describes. `changelog`: all versions, newest first;
    `problems`: code, title, status, fault, retryable, advice of everything that can go wrong. `today` decides which versions are off.
    `demo_key` is offered to whoever reads: a demo's, nobody else's. All of it may hold hostile text.
    """
    info = document.get("info", {})
    version = str(info.get("version", ""))
    tags = tuple(_tags(document, _titles(problems)))
    operations = [o for tag in tags for o in tag.operations]
    easy = [o for o in operations if o.method == "GET" and not any(where != "header" and p.required for where, p in o.parameters)]
    versions = tuple(_versions(changelog, today or datetime.now(UTC).date()))
    return (
        _environment()
        .get_template("reference.html")
        .render(
            title=str(info.get("title", "API")),
            version=version,
            summary=_prose(str(info.get("description", "")).partition("\n\n")[0]),
            current=next((v for v in versions if v.version == version), None),
            versions=versions,
            problems=problems,
            tags=tags,
            scopes=tuple({o.scope: o.scope_meaning for o in operations if o.scope}.items()),
            first=next(iter(easy or operations), None),
            demo_key=demo_key,
            prose=_prose,
            anchor=_anchor,
            segment=_segment,
        )
    )


def render_problem(problem: Mapping[str, Any], document: dict[str, Any], problems: Sequence[Mapping[str, Any]]) -> str:
    """One problem of the catalogue: whose fault it is, what to do, which operations of `document` can answer it. Where its `type` leads."""
    code = str(problem.get("code", ""))
    operations = [o for tag in _tags(document, _titles(problems)) for o in tag.operations]
    shown = {
        "type": problem.get("type"), "title": problem.get("title"), "status": problem.get("status"), "detail": "…", "code": code,
        "fault": problem.get("fault"), "retryable": problem.get("retryable"), "advice": problem.get("advice"),
        "traceId": _CANDIDATES[-1],
    }  # fmt: skip
    return (
        _environment()
        .get_template("problem.html")
        .render(
            title=str(document.get("info", {}).get("title", "API")),
            problem=problem,
            example=json.dumps(shown, indent=2, ensure_ascii=False),
            operations=[o for o in operations if any(code == c for status in o.statuses for c, _ in status.codes)],
            everywhere=len(operations),
            others=[p for p in problems if p.get("status") == problem.get("status") and p.get("code") != code],
            prose=_prose,
            segment=_segment,
        )
    )


def _titles(problems: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {str(p.get("code", "")): str(p.get("title", "")) for p in problems}


def _versions(changelog: Sequence[Mapping[str, Any]], today: date) -> Iterator[VersionView]:
    for number, entry in enumerate(changelog):
        version, sunset, deprecated = (str(entry.get(k) or "") for k in ("version", "sunset", "deprecated"))
        off = bool(sunset) and sunset < today.isoformat()
        yield VersionView(
            version=version,
            state="off" if off else "deprecated" if deprecated or sunset else "current" if number else "newest",
            summary=_prose(entry.get("summary", "")),
            deprecated=deprecated,
            sunset=sunset,
            changes=tuple(map(_change, entry.get("changes", ()))),
            brown_outs=tuple(map(str, entry.get("brownOuts", ()))),
            added=tuple(map(_prose, entry.get("added", ()))),
        )


def _change(change: Mapping[str, Any]) -> ChangeView:
    before, after = change.get("before") or {}, change.get("after") or {}
    parts = [{k: v for k, v in one.items() if other.get(k) != v} for one, other in ((before, after), (after, before))]
    texts = [json.dumps(part, indent=2, ensure_ascii=False) if part else "" for part in parts]
    return ChangeView(str(change.get("type", "")), _prose(change.get("sentence", "")), *texts)


def _prose(text: object) -> Markup:
    """Escaped text in which `code` and **strong** are marked up."""
    parts = str(text).split("`")
    if len(parts) % 2 == 0:  # an odd backtick is only a backtick
        parts[-2:] = ["`".join(parts[-2:])]
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else _strong(part) for i, part in enumerate(parts))


def _strong(text: str) -> Markup:
    return Markup("").join(
        Markup("<strong>{}</strong>").format(part) if i % 2 else escape(part) for i, part in enumerate(_STRONG.split(text))
    )


def _anchor(*parts: str) -> str:
    return "-".join(re.sub(r"[^A-Za-z0-9_]+", "-", part).strip("-") for part in parts)


def _segment(text: object) -> str:
    return quote(str(text), safe="")


def _tags(document: dict[str, Any], titles: Mapping[str, str]) -> Iterator[TagView]:
    components = document.get("components", {})
    schemas = components.get("schemas", {})
    address = next((str(s.get("url", "")) for s in document.get("servers", ())), "/")
    base = "$URL" if address.startswith("/") else quote(address.rstrip("/"), safe=":/@[]")
    by_tag: dict[str, list[OperationView]] = {str(t.get("name", "")): [] for t in document.get("tags", ())}
    for path, item in document.get("paths", {}).items():
        for method, operation in item.items():
            if method in ("get", "put", "post", "delete", "patch", "head", "options"):
                tag = str(next(iter(operation.get("tags", ())), "Operations"))
                by_tag.setdefault(tag, []).append(_operation(method, path, operation, schemas, titles, base, document["info"]["version"]))
    for number, (name, found) in enumerate(by_tag.items()):
        if found:
            yield TagView(name, _anchor("tag", str(number), name), tuple(found))


def _operation(
    method: str, path: str, operation: Schema, schemas: Schema, titles: Mapping[str, str], base: str, version: str
) -> OperationView:
    anchor = _anchor("op", str(operation.get("operationId") or f"{method} {path}"))
    description = str(operation.get("description", ""))
    scope = re.search(r"Scope: `([^`]*)`(?: \((.*?)\))?\.?", description)
    given = operation.get("parameters", ())
    parameters = tuple((str(p.get("in", "")), _Shaper(schemas, anchor).parameter(p)) for p in given)
    body = _body(operation.get("requestBody", {}), _Shaper(schemas, f"{anchor}-in"), complete=False)
    responses = operation.get("responses", {})
    answered: Schema = next((r for status, r in responses.items() if str(status).startswith("2")), {})
    return OperationView(
        anchor=anchor,
        method=method.upper(),
        path=path,
        summary=_prose(operation.get("summary", "")),
        description=_prose((description.replace(scope[0], "") if scope else description).strip()),
        scope=scope[1] if scope else "",
        scope_meaning=(scope[2] or "") if scope else "",
        parameters=parameters,
        body=body,
        answer=_body(answered, _Shaper(schemas, f"{anchor}-out"), complete=True),
        statuses=tuple(_status(str(status), r, titles) for status, r in responses.items()),
        curl=_curl(method.upper(), path, given, body, base, version, schemas),
    )


def _text(parameter: Schema) -> dict[str, Any]:
    return {key: parameter[key] for key in ("description", "example", "examples") if isinstance(parameter.get(key), str | list)}


def _status(status: str, response: Schema, titles: Mapping[str, str]) -> Status:
    text = str(response.get("description", ""))
    codes = tuple((code, titles[code]) for code in re.findall(r"`([^`]*)`", text) if code in titles)
    return Status(status, Markup("") if codes else _prose(text), codes, tuple(map(str, response.get("headers", ()))))


def _body(holder: Schema, shaper: _Shaper, *, complete: bool) -> Body | None:
    media = next(iter(holder.get("content", {}).values()), None)
    if not media:
        return None
    schema = media.get("schema", {})
    example = shaper.example("", {**schema, **({"example": media["example"]} if "example" in media else {})}, complete=complete)
    fields = shaper.fields(schema)
    about = _prose(shaper.resolve(schema)[1].get("description", ""))
    return Body(shaper.type(schema), shaper.anchor(schema), about, fields, json.dumps(example, indent=2, ensure_ascii=False))


def _curl(method: str, path: str, given: Sequence[Schema], body: Body | None, base: str, version: str, schemas: Schema) -> str:
    shaper = _Shaper(schemas, "")
    query: list[tuple[str, str]] = []
    lines = ['-H "Authorization: Bearer $KEY"']
    for parameter in given:
        name, schema = str(parameter.get("name", "")), {**parameter.get("schema", {}), **_text(parameter)}
        if parameter.get("in") == "path":
            path = path.replace(f"{{{name}}}", _segment(_plain(shaper.example(name, schema))))
        elif parameter.get("in") == "query" and parameter.get("required"):
            values = shaper.example(name, schema)
            query += [(name, _plain(v)) for v in (values if isinstance(values, list) else [values])]
        elif name == "API-Version":
            lines.append(f"-H {_quoted(f'API-Version: {version}')}")
        elif name == "Idempotency-Key":
            lines.append('-H "Idempotency-Key: $(uuidgen)"')
    if body:
        lines += ["-H 'Content-Type: application/json'", f"-d {_quoted(body.example)}"]
    url = quote(path, safe="/%") + (f"?{urlencode(query)}" if query else "")
    first = f'curl -i{"" if method == "GET" else f" -X {method}"} "{base}{url}"'
    return " \\\n  ".join([first, *lines])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


class _Shaper:
    """Schemas as field trees and as examples. A tree opens each named type once, so a type inside itself ends."""

    def __init__(self, schemas: Schema, prefix: str) -> None:
        self._schemas = schemas
        self._prefix = prefix
        self._opened: set[str] = set()
        self._path: list[str] = []
        self._left = _VALUES

    def resolve(self, schema: Any) -> tuple[str, Schema]:
        """Name, if it has one, and the schema that it refers to."""
        name, seen = "", set()
        while isinstance(schema, dict):
            parts = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else schema.get("allOf", ())
            if not parts:
                return name, schema
            own = {k: v for k, v in schema.items() if k not in ("$ref", "allOf")}
            if isinstance(parts[0], str):
                name = parts[0].rpartition("/")[2]
                if name in seen or name not in self._schemas:
                    return name, own
                seen.add(name)
                schema = {**self._schemas[name], **own}
            else:
                merged: dict[str, Any] = {}
                for part in parts:
                    merged |= part
                schema = merged | own
        return name, {}

    def type(self, schema: Any, depth: int = 0) -> str:
        name, found = self.resolve(schema)
        kind = found.get("type")
        if isinstance(kind, list):
            return " or ".join(map(str, kind))
        if name and (found.get("properties") or not kind):
            return name
        if depth > _DEPTH:
            return "…"
        if options := found.get("anyOf") or found.get("oneOf"):
            return " or ".join(dict.fromkeys(self.type(o, depth + 1) for o in options))
        if kind == "array":
            return f"array of {self.type(found.get('items', {}), depth + 1)}"
        if kind == "object" and isinstance(found.get("additionalProperties"), dict):
            return f"map of {self.type(found['additionalProperties'], depth + 1)}"
        if kind is None:
            return "enum" if "enum" in found else "constant" if "const" in found else "any"
        return f"{kind}, {found['format']}" if "format" in found else str(kind)

    def fields(self, schema: Any, depth: int = 0) -> tuple[Field, ...]:
        """The fields of an object; of what an array, a map or a choice holds."""
        objects = list(self._objects(schema))
        if len(objects) != 1:
            choices = ((n, {"$ref": n} if n else found) for n, found in objects)
            return tuple(self.field(n or "one of", choice, required=False, depth=depth) for n, choice in choices)
        name, found = objects[0]
        self._opened.add(name)
        required = found.get("required", ())
        return tuple(self.field(n, s, required=n in required, depth=depth) for n, s in found.get("properties", {}).items())

    def anchor(self, schema: Any) -> str:
        names = [name for name, _ in self._objects(schema)]
        return _anchor(self._prefix, names[0]) if len(names) == 1 and names[0] else ""

    def parameter(self, given: Schema) -> Field:
        schema = {**given.get("schema", {}), **_text(given)}
        name, required = str(given.get("name", "")), bool(given.get("required"))
        found = self.field(name, schema, required=required)
        if required:
            values = self.example(name, schema)
            found = found._replace(sample=",".join(map(_plain, values if isinstance(values, list) else [values])))
        if given.get("in") == "query" and self.resolve(schema)[1].get("type") == "array":
            return found._replace(limits=("repeat it, or separate values by commas", *found.limits))
        return found

    def field(self, name: str, schema: Any, *, required: bool, depth: int = 0) -> Field:
        _, found = self.resolve(schema)
        _, inner = self.resolve(found["items"]) if found.get("type") == "array" and "items" in found else ("", found)
        objects = list(self._objects(schema))
        within = " or ".join(n or "object" for n, _ in objects)
        again = len(objects) == 1 and bool(objects[0][0]) and objects[0][0] in self._opened
        opened = () if again or depth >= _DEPTH or not objects else self.fields(schema, depth + 1)
        limits = [*_limits(found), *(_limits(inner) if inner is not found else ())]
        default = found.get("default")
        values = inner.get("enum", [inner["const"]] if "const" in inner else [])
        sample = next(iter(_listed(found) or _listed(inner)), None)
        return Field(
            name=name,
            type=self.type(schema),
            required=required,
            description=_prose((schema if again else found).get("description") or (not again and inner.get("description")) or ""),
            limits=tuple(limits),
            pattern=str(inner.get("pattern", "")).removesuffix(r"(?!\n)"),
            values=tuple(map(_plain, values)),
            default="" if default in (None, [], {}) else _plain(default),
            example="" if sample is None or isinstance(sample, dict | list) else _plain(sample),
            within=within,
            anchor=self.anchor(schema) if opened or again else "",
            fields=opened,
        )

    def _objects(self, schema: Any, within: tuple[str, ...] = ()) -> Iterator[tuple[str, Schema]]:
        name, found = self.resolve(schema)
        if found.get("properties"):
            yield name, found
        elif len(within) < _DEPTH and (not name or name not in within):
            within = (*within, name)
            for key in ("items", "additionalProperties"):
                if isinstance(found.get(key), dict):
                    yield from self._objects(found[key], within)
            for option in found.get("anyOf") or found.get("oneOf") or ():
                yield from self._objects(option, within)

    def example(self, name: str, schema: Any, *, complete: bool = False, depth: int = 0) -> Any:
        """A value that the schema allows. `complete`: optional fields too, where their type is not open already."""
        named, found = self.resolve(schema)
        kind = found.get("type")
        self._left -= 1
        if (usual := _SAMPLES.get(name)) in found.get("enum", ()) and "default" not in found:
            return usual
        for values in (_listed(found), [found["const"]] if "const" in found else [], [found.get("default")], found.get("enum", ())):
            if values and values[0] not in (None, [], {}):
                return values[0]
        if options := found.get("anyOf") or found.get("oneOf"):
            return self.example(name, options[0], complete=complete, depth=depth + 1) if depth < _DEPTH else None
        if kind == "array":
            item = self.resolve(found.get("items", {}))[0]
            full = depth < _DEPTH and item not in self._path and (complete or found.get("minItems"))
            return [self.example(name, found.get("items", {}), complete=complete, depth=depth + 1)] if full else []
        if kind == "object" or "properties" in found:
            if named in self._path or self._left < 0:
                return {}
            self._path += [named] if named else []
            value = self._object(found, complete=complete, depth=depth)
            del self._path[len(self._path) - bool(named) :]
            return value
        if kind == "boolean":
            return False
        if kind in ("integer", "number"):
            return min(max(1, found.get("minimum", 1)), found.get("maximum", 1))
        return _string(name, found) if kind in ("string", ["string", "null"]) else None

    def _object(self, schema: Schema, *, complete: bool, depth: int) -> dict[str, Any]:
        required = schema.get("required", ())
        properties = schema.get("properties", {})
        for quoted in re.findall(r"`(\{.*?\})`", str(schema.get("description", ""))):  # a description that quotes one knows best
            if (found := _decoded(quoted)) is not None and set(required) <= found.keys() <= properties.keys():
                return found
        if depth >= _DEPTH:
            return {}
        wanted = {
            name: field
            for name, field in properties.items()
            if name in required or (complete and (depth < 3 and not (depth and any(self._objects(field)))))
        }
        return {name: self.example(name, field, complete=complete, depth=depth + 1) for name, field in wanted.items()}


def _limits(schema: Schema) -> Iterator[str]:
    for least, most, what in (("minLength", "maxLength", "character"), ("minItems", "maxItems", "item")):
        low, high = schema.get(least) or 0, schema.get(most)
        if low or high is not None:
            span = f"at least {low}" if high is None else str(low) if low == high else f"{low} to {high}" if low else f"at most {high}"
            yield f"{span} {what}{'' if (low if high is None else high) == 1 else 's'}"
    yield from (text.format(schema[key]) for key, text in _BOUNDS.items() if key in schema)


def _listed(schema: Schema) -> list[Any]:
    examples = schema.get("examples")
    return examples if isinstance(examples, list) else [schema["example"]] if "example" in schema else []


def _decoded(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _string(name: str, schema: Schema) -> str:
    """The first candidate that the pattern and the length allow."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower() or "text"
    least, most = schema.get("minLength", 0), schema.get("maxLength", 10_000)
    chosen = [s for s in (_FORMATS.get(schema.get("format", "")), _SAMPLES.get(name)) if s]
    try:
        pattern = re.compile(schema.get("pattern", ""))
    except re.error:  # another dialect's pattern
        return words[:most]
    return next((s for s in (*chosen, words, *_CANDIDATES) if least <= len(s) <= most and pattern.search(s)), words[:most])
