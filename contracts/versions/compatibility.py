"""What breaks whom: a published contract compared with the one that the code would publish now.

A caller may send whatever the published contract allows, and expects nothing but what it promises. So requests may only be widened, and
answers and events only be narrowed; members may be added to answers, since readers ignore what they do not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

from contracts.pointer import pointer_of

Document = Mapping[str, Any]
_METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
_SCOPE = re.compile(r"Scope: `([^`]*)`")
_CODE = re.compile(r"`([a-z0-9_]+)`")
_LEAST = {"minimum": -inf, "exclusiveMinimum": -inf, "minLength": 0, "minItems": 0, "minProperties": 0}
"""Lower bounds, and what holds without them."""
_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


EVERYWHERE = "every operation"


@dataclass(frozen=True)
class Break:
    """`operation` as `GET /inventory`, or an event's type. `field` as usage counts it (`answer:/items/*/storeId`), empty for the whole."""

    operation: str
    what: str
    field: str = ""

    def __str__(self) -> str:
        return f"{self.operation}: {self.what}"


def breaks(published: Document, now: Document) -> list[Break]:
    """Between two OpenAPI documents of one version. Nothing: whoever kept to the first may go on."""
    return list(dict.fromkeys(_Apis(published, now).found()))


def event_breaks(published: Document, now: Document) -> list[Break]:
    """Between two AsyncAPI documents of one version."""
    return list(dict.fromkeys(_events(published, now)))


Direction = Literal["request", "answer"]


class _Schemas:
    """Two schemas at a time, each with the document in which its references lead."""

    def __init__(self, old: Document, new: Document) -> None:
        self._old, self._new = old, new

    def compare(self, old: Any, new: Any, way: Direction, place: str = "", seen: frozenset[tuple[str, str]] = frozenset()) -> Iterator[str]:
        """Sentences; `place` is a pointer with `*`."""
        names = (str(old.get("$ref", "")), str(new.get("$ref", "")))
        if all(names):
            if names in seen:
                return
            seen |= {names}
        old, new = _resolved(old, self._old), _resolved(new, self._new)
        if _choices(old) or _choices(new):
            yield from self._alternatives(old, new, way, place, seen)
            return
        yield from _values(old, new, way, place or "the whole")
        yield from self._members(old, new, way, place, seen)
        for word, step in (("items", "*"), ("additionalProperties", "*")):
            if isinstance(old.get(word), dict) and isinstance(new.get(word), dict):
                yield from self.compare(old[word], new[word], way, f"{place}/{step}", seen)

    def _alternatives(self, old: Document, new: Document, way: Direction, place: str, seen: frozenset[tuple[str, str]]) -> Iterator[str]:
        """Each that may be sent must be taken by one; each that may come must be one that was known."""
        before, after = _choices(old) or [old], _choices(new) or [new]
        given, taking = (before, after) if way == "request" else (after, before)
        for each in given:
            tried = [
                list(self.compare(each, other, way, place, seen) if way == "request" else self.compare(other, each, way, place, seen))
                for other in taking
            ]
            if all(tried):
                yield from min(tried, key=len)

    def _members(self, old: Document, new: Document, way: Direction, place: str, seen: frozenset[tuple[str, str]]) -> Iterator[str]:
        had, has = old.get("properties", {}), new.get("properties", {})
        needed, needs = set(old.get("required", ())), set(new.get("required", ()))
        for name in had:
            at = place + pointer_of([name])
            if name not in has:
                yield f"{at} is gone" if way == "answer" else f"{at} is no longer taken"
                continue
            yield from self.compare(had[name], has[name], way, at, seen)
            if way == "answer" and name in needed - needs:
                yield f"{at} may be missing"
            if way == "request" and name in needs - needed:
                yield f"{at} must be sent"
        if way == "request":
            for name in sorted(needs - needed - had.keys()):
                yield f"{place}{pointer_of([name])} must be sent"
            if had and old.get("additionalProperties", True) is not False and new.get("additionalProperties", True) is False:
                yield f"{place or 'the whole'} takes no further members"


def _values(old: Document, new: Document, way: Direction, place: str) -> Iterator[str]:
    """What a value itself may be."""
    before, after = _types(old), _types(new)
    given, taken = (before, after) if way == "request" else (after, before)
    if taken and (not given or any(t not in taken and not (t == "integer" and "number" in taken) for t in given)):
        yield f"{place} was {_said(before)}, is {_said(after)}"
        return
    had, has = _listed(old), _listed(new)
    if way == "request":
        if has is not None and had is None:
            yield f"{place} takes only {', '.join(map(repr, has))}"
        elif had is not None and has is not None and (lost := [v for v in had if v not in has]):
            yield f"{place} no longer takes {', '.join(map(repr, lost))}"
        if "pattern" in new and new["pattern"] != old.get("pattern"):
            yield f"{place} must match {new['pattern']}"
        if "format" in new and new["format"] != old.get("format"):
            yield f"{place} must be a {new['format']}"
        for word, without in _LEAST.items():
            if new.get(word, without) > old.get(word, without):
                yield f"{place} has {word} {new[word]}, had {old.get(word, 'none')}"
        for word in _MOST:
            if new.get(word, inf) < old.get(word, inf):
                yield f"{place} has {word} {new[word]}, had {old.get(word, 'none')}"
    else:
        if had is not None and has is None:
            yield f"{place} may be something else than {', '.join(map(repr, had))}"
        elif had is not None and has is not None and (more := [v for v in has if v not in had]):
            yield f"{place} may be {', '.join(map(repr, more))}, which nobody knows"
        if "format" in old and old["format"] != new.get("format"):
            yield f"{place} was a {old['format']}, is {new.get('format', 'any text')}"


class _Apis:
    def __init__(self, old: Document, new: Document) -> None:
        self._old, self._new = old, new
        self._schemas = _Schemas(old, new)

    def found(self) -> Iterator[Break]:
        before, after = _operations(self._old), _operations(self._new)
        for key, (name, old) in before.items():
            if key not in after:
                yield Break(name, "is gone")
                continue
            new = after[key][1]
            for said in self._operation(old, new):
                yield Break(name, said)
            yield from self._parameters(name, old, new)
            yield from self._body(name, old, new)
            yield from self._answers(name, old, new)
        ways = self._new.get("security", [])
        for way in self._old.get("security", []):
            if ways and way not in ways:
                yield Break(EVERYWHERE, f"credentials of the kind {', '.join(way)} are no longer enough")

    def _operation(self, old: Document, new: Document) -> Iterator[str]:
        if old.get("operationId") != new.get("operationId"):
            yield f"is called {new.get('operationId')} in generated clients, was {old.get('operationId')}"
        scopes = [m[1] if (m := _SCOPE.search(str(o.get("description", "")))) else "" for o in (old, new)]
        if scopes[0] != scopes[1]:
            yield f"needs the scope {scopes[1] or 'none'}, was {scopes[0] or 'none'}"

    def _parameters(self, operation: str, old: Document, new: Document) -> Iterator[Break]:
        had, has = _parameters(old), _parameters(new)
        for key, parameter in had.items():
            where = "" if key[0] == "path" else f"{key[0]}:{parameter['name']}"
            title = f"{key[0]} parameter {parameter['name']}" if key[0] != "header" else f"header {parameter['name']}"
            if key not in has:
                yield Break(operation, f"{title} is no longer taken", where)
                continue
            if has[key].get("required") and not parameter.get("required"):
                yield Break(operation, f"{title} must be sent", where)
            for said in self._schemas.compare(parameter.get("schema", {}), has[key].get("schema", {}), "request"):
                yield Break(operation, f"{title}: {said.replace('the whole ', 'it ')}", where)
        for key in has.keys() - had.keys():
            if has[key].get("required"):
                yield Break(operation, f"{key[0]} parameter {has[key]['name']} must be sent", "")

    def _body(self, operation: str, old: Document, new: Document) -> Iterator[Break]:
        had, has = old.get("requestBody", {}), new.get("requestBody", {})
        if had and not has:
            yield Break(operation, "takes no body any more", "body:")
        if has.get("required") and not had.get("required"):
            yield Break(operation, "needs a body", "body:")
        if had and has:
            for said in self._contents(had, has, "request"):
                yield Break(operation, f"body: {said}", _field("body", said))

    def _answers(self, operation: str, old: Document, new: Document) -> Iterator[Break]:
        had, has = old.get("responses", {}), new.get("responses", {})
        for status in had:
            if status not in has:
                if _good(status):
                    yield Break(operation, f"never answers {status} any more")
                continue
            for said in self._contents(had[status], has[status], "answer"):
                yield Break(operation, f"answer {status}: {said}", _field("answer", said) if _good(status) else "")
            known = {h.lower() for h in has[status].get("headers", {})}
            for name in had[status].get("headers", {}):
                if name.lower() not in known:
                    yield Break(operation, f"answer {status}: the header {name} is gone")
        for status in has:
            if status.startswith("2") and status not in had:
                yield Break(operation, f"answers {status}, which nobody expects")
        before, after = _problem_codes(had), _problem_codes(has)
        for code in before.keys() & after.keys():
            if lost := before[code] - after[code]:
                yield Break(operation, f"`{code}` is answered with {', '.join(sorted(after[code]))}, was {', '.join(sorted(lost))}")

    def _contents(self, old: Document, new: Document, way: Direction) -> Iterator[str]:
        for media, content in old.get("content", {}).items():
            if media not in new.get("content", {}):
                yield f"{media} is no longer {'taken' if way == 'request' else 'answered'}"
            else:
                yield from self._schemas.compare(content.get("schema", {}), new["content"][media].get("schema", {}), way)


def _events(old: Document, new: Document) -> Iterator[Break]:
    schemas = _Schemas(old, new)
    before, after = (d.get("components", {}).get("messages", {}) for d in (old, new))
    addresses = [{c.get("address") for c in d.get("channels", {}).values()} for d in (old, new)]
    for address in sorted(addresses[0] - addresses[1], key=str):
        yield Break(str(address), "is announced no more")
    for name, message in before.items():
        if name in after:
            for said in schemas.compare(_merged(message["payload"], old), _merged(after[name]["payload"], new), "answer"):
                yield Break(str(message.get("name", name)), said, _field("event", said))


def _merged(payload: Document, document: Document) -> Document:
    """`allOf` of objects, as one."""
    parts = [_resolved(p, document) for p in payload.get("allOf", [payload])]
    properties = {name: each for part in parts for name, each in part.get("properties", {}).items()}
    return {"type": "object", "properties": properties, "required": [r for part in parts for r in part.get("required", ())]}


def _operations(document: Document) -> dict[tuple[str, str], tuple[str, Document]]:
    """By method and path, whatever path parameters are called."""
    return {
        (method, re.sub(r"\{[^}]*\}", "{}", path)): (f"{method.upper()} {path}", operation)
        for path, item in document.get("paths", {}).items()
        for method, operation in item.items()
        if method in _METHODS
    }


def _parameters(operation: Document) -> dict[tuple[str, str], Document]:
    """By place and name; those in the path by their order."""
    found: dict[tuple[str, str], Document] = {}
    for number, each in enumerate(operation.get("parameters", ())):
        where = str(each["in"])
        name = str(number) if where == "path" else str(each["name"]).lower() if where == "header" else str(each["name"])
        found[where, name] = each
    return found


def _problem_codes(responses: Document) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for status, response in responses.items():
        if not _good(status):
            for code in _CODE.findall(str(response.get("description", ""))):
                found.setdefault(code, set()).add(status)
    return found


def _good(status: str) -> bool:
    return status.startswith(("2", "3"))


def _field(way: str, said: str) -> str:
    place = said.partition(" ")[0]
    return f"{way}:{place}" if place.startswith("/") else f"{way}:"


def _resolved(schema: Any, document: Document) -> Document:
    while isinstance(schema, dict) and (reference := schema.get("$ref")):
        found: Any = document
        for step in str(reference).removeprefix("#/").split("/"):
            found = found[step]
        schema = {**found, **{k: v for k, v in schema.items() if k != "$ref"}}
    return schema if isinstance(schema, dict) else {}


def _choices(schema: Document) -> list[Any]:
    return list(schema.get("anyOf") or schema.get("oneOf") or ())


def _types(schema: Document) -> tuple[str, ...]:
    kind = schema.get("type")
    if kind is None:
        values = _listed(schema) or ()
        return tuple(dict.fromkeys(_NAMES[type(v)] for v in values if type(v) in _NAMES))
    return tuple(kind) if isinstance(kind, list) else (str(kind),)


_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def _listed(schema: Document) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _said(types: tuple[str, ...]) -> str:
    return " or ".join(types) or "anything"
