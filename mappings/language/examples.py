"""Runs the examples that stand in a mapping: what is given, what must come of it, or which error."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from contracts.canonical.location import Location
from contracts.errors import Finding, TillgateError
from mappings.language.mapping import CompiledMapping, ReadContext
from mappings.language.read import Example
from mappings.language.shape import Field, Form, Leaf, Message, Record, tag
from mappings.language.structs import StructRecord

ParseXml = Callable[[bytes], Any]
"""XML text -> root element, refusing entities and DTDs. Handed in: mappings know no parser."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`finding` is None when the example holds. `drift`: what was counted, as (kind, path, value)."""

    name: str
    finding: Finding | None
    drift: tuple[tuple[str, str, str], ...] = ()


def run(mapping: CompiledMapping, parse_xml: ParseXml) -> list[Outcome]:
    return [_run(mapping, example, parse_xml) for example in mapping.file.examples]


_LOCATION = {"type": "store", "name": "of an example", "active": True}


class _Any(dict[str, str]):
    """Every secret of an example is its own name."""

    def __missing__(self, name: str) -> str:
        return name


def _run(mapping: CompiledMapping, example: Example, parse_xml: ParseXml) -> Outcome:
    drift: list[tuple[str, str, str]] = []

    def finding(message: str, suggestion: str = "") -> Outcome:
        return Outcome(example.name, Finding(mapping.file.file, example.place.line, f"{example.name}: {message}", suggestion), tuple(drift))

    try:
        context = example_context(mapping, example, drift)
        document = given(mapping.source, example.given, parse_xml)
    except (ValueError, TypeError, KeyError, msgspec.ValidationError) as error:
        return finding(f"what is given cannot be read: {error}", "correct the example")
    try:
        found = mapping.read(document, context) if mapping.reads else mapping.write(document, context)
    except TillgateError as error:
        if example.error is not None and example.error in str(error):
            return Outcome(example.name, None, tuple(drift))
        wanted = "" if example.error is None else f", expected an error with {example.error!r}"
        return finding(f"it is refused: {error}{wanted}", "correct the example or the mapping")
    if example.error is not None:
        return finding(f"expected an error with {example.error!r}, it gives {_shown(found)[:200]}", "correct the example or the mapping")
    expect = plain(_loaded(example.expect))
    came = plain(msgspec.to_builtins(found, str_keys=True) if mapping.reads else found)
    if isinstance(expect, dict) and isinstance(came, list) and len(came) == 1:
        came = came[0]
    if came != expect:
        return finding("it gives something else", _difference(expect, came))
    return Outcome(example.name, None, tuple(drift))


def example_context(mapping: CompiledMapping, example: Example, drift: list[tuple[str, str, str]]) -> ReadContext:
    zones = {k: ZoneInfo(v) for k, v in example.zones.items()}
    locations = {k: msgspec.convert({**_LOCATION, "number": k, **v}, Location) for k, v in example.locations.items()}
    default: tzinfo = ZoneInfo(example.zone)
    system, _, operation = (mapping.source if mapping.reads else mapping.target).name.partition(".")
    return ReadContext(
        system,
        operation,
        datetime.fromisoformat(example.received_at),
        zone_of=lambda location: zones.get(location, default),
        location_of=locations.get,
        secrets=_Any(),
        drift=lambda *what: drift.append(what),
        parameters=example.parameters,
        asked=question(mapping, example),
    )


def question(mapping: CompiledMapping, example: Example) -> Any:
    """The request that an example's answer belongs to, None when it names none. Raises ValueError."""
    noun = mapping.builder.asked
    return None if example.asked is None or noun is None else given(noun, example.asked, _no_xml)


def _no_xml(text: bytes) -> Any:
    raise ValueError("a request noun is JSON")


def given(message: Message, literal: Any, parse_xml: ParseXml) -> Any:
    """The source document of an example: XML text, JSON text or tables, rows as lists or by field name, a canonical value as JSON."""
    if message.form == "xml":
        return parse_xml(str(literal).strip().encode())
    value = _loaded(literal)
    if message.form == "rows":
        return rows(message.root, value)
    if message.form == "struct":
        return msgspec.convert(plain(value), message.root.type if isinstance(message.root, StructRecord) else Any)
    return value


def _loaded(literal: Any) -> Any:
    return json.loads(literal, parse_float=Decimal) if isinstance(literal, str) else literal


def plain(value: Any) -> Any:
    """Comparable: tuples as lists, numbers with a point as text."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, Decimal | float):
        text = f"{Decimal(str(value)):f}"
        return (text.rstrip("0").rstrip(".") or "0") if "." in text else text
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def rows(record: Record, value: Any) -> Any:
    """Nested tuples, from lists by position or objects by name."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        if strange := value.keys() - {f.name for f in record.fields}:
            raise ValueError(f"{record.name} has no field {', '.join(sorted(strange))}")
        value = [value.get(f.name) for f in record.fields]
    if not isinstance(value, list | tuple) or len(value) > len(record.fields):
        raise ValueError(f"{record.name} is a list of {len(record.fields)} fields")
    filled = [*value, *([None] * (len(record.fields) - len(value)))]
    return tuple(_row(f, v) for f, v in zip(record.fields, filled, strict=True))


def _row(field: Field, value: Any) -> Any:
    if isinstance(field.shape, Leaf):
        return list(value or ()) if field.repeated else value
    if field.repeated:
        return [rows(field.shape, v) for v in value or ()]
    return rows(field.shape, value)


def document(form: Form, record: Record, written: Mapping[str, Any], element: Callable[[str], Any] | None = None) -> Any:
    """A written document in the form a reader takes: the way back of a round trip. `element` makes an XML element by tag."""
    if form == "json":
        return dict(written)
    if form == "rows":
        return rows(record, written)
    if element is None:
        raise ValueError("XML is built with the element factory that is handed in")
    return _element(record, record.name, written, element)


def _element(record: Record, name: str, written: Mapping[str, Any], element: Callable[[str], Any]) -> Any:
    made = element(name)
    for field in record.fields:
        if field.name not in written:
            continue
        value = written[field.name]
        name = tag(field)
        if field.attribute:
            made.set(name, str(value))
            continue
        for one in value if field.repeated else (value,):
            if isinstance(field.shape, Record):
                made.append(_element(field.shape, name, one, element))
            else:
                child = element(name)
                child.text = {True: "true", False: "false"}.get(one, str(one)) if isinstance(one, bool) else str(one)
                made.append(child)
    return made


def _shown(value: Any) -> str:
    return json.dumps(plain(msgspec.to_builtins(value, str_keys=True)), ensure_ascii=False)


def _difference(expect: Any, came: Any) -> str:
    old, new = (json.dumps(v, indent=1, ensure_ascii=False, sort_keys=True).splitlines() for v in (expect, came))
    changed = [d for d in difflib.unified_diff(old, new, lineterm="", n=0) if not d.startswith(("---", "+++", "@@"))]
    return "expected -, came +: " + " ".join(part[0] + part[1:].strip() for part in changed[:12])
