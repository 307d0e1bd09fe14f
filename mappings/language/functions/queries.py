"""The escape hatch: an expression in JSONata, with a declared result."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mappings.language import query
from mappings.language.emit import Problem, RecordNode
from mappings.language.functions.registry import Family, Parameter
from mappings.language.kinds import STRING, Type, Value
from mappings.language.read import did_you_mean
from mappings.language.shape import Record
from mappings.language.source import Source

family = Family()


@family.function(
    "jsonata",
    "record list",
    "what is declared",
    "An expression of https://jsonata.org on a record or a list, for what paths and functions cannot say. Decimal numbers are texts in it: "
    "`$number(x)` calculates with them as floats. Nothing is absent. Bounded in time (200 ms), depth and size; each call costs about a "
    "hundred times what a path does.",
    Parameter("expression", "the JSONata text", ("str",), "constant"),
    Parameter("gives", f"what it gives: {', '.join(query.KINDS)} (a list of string)", ("str",), "constant"),
    example="jsonata('$sum(LINES.($number(QTY) * $number(PRICE)))', 'decimal')",
    loss="all that it does not give",
)
def _jsonata(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    gives = args["gives"]
    if gives not in query.KINDS:
        raise Problem(f"jsonata gives {gives!r}", did_you_mean(gives, query.KINDS))
    item = (value.type.item or value.type) if value.type.kind == "list" else value.type
    try:
        made = query.Query(args["expression"], gives, b.form, item.record)
    except query.NotAQuery as error:
        raise Problem(f"jsonata: {error.message} (at its character {error.column})", error.suggestion) from None
    personal = False
    if item.record is not None:
        known: dict[str, bool] = {}
        personal = _mark(b, item.record, value.path, made, known, 0)
        if not made.all and (strange := [n for n in made.names if n not in known]):
            raise Problem(f"jsonata: no field {strange[0]} below {'.'.join(value.path) or b.source.name}", did_you_mean(strange[0], known))
    value = replace(value, personal=personal or value.personal)
    if gives != "texts":
        return b.apply(value, f"{b.constant('query', made)}($)", Type(gives), optional=True)
    found = b.simple(b.apply(value, f"{b.constant('query', made)}($)", STRING, optional=True))
    return found.with_(f"({found.code} or ())", Type("list", item=STRING), optional=False)


def _mark(b: Source, record: Record, path: tuple[str, ...], made: query.Query, known: dict[str, bool], depth: int) -> bool:
    """Fields that the expression names are used; whether one of them is personal."""
    personal = False
    for field in record.fields:
        known[field.name] = True
        here = (*path, field.name)
        below = isinstance(field.shape, Record) and depth < 20 and field.shape is not record
        if made.all or field.name in made.names:
            b.used.add(here)
            personal = personal or field.personal
            if b.current is not None and (text := ".".join(here)) not in b.current.sources:
                b.current.sources.append(text)
        if below and isinstance(field.shape, Record) and (made.all or field.name in made.names):
            personal = _mark(b, field.shape, here, made, known, depth + 1) or personal
    return personal
