"""Functions on lists."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mappings.language.emit import Problem, RecordNode
from mappings.language.expression import Node
from mappings.language.functions.registry import Family, Parameter
from mappings.language.kinds import (
    BOOLEAN,
    INTEGER,
    NO_CONST,
    NOTHING,
    Type,
    Value,
)
from mappings.language.source import Source

family = Family()


@family.function("first", "list", "the item", "The first row; none is absent.", loss="the other rows")
def _first(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    value = b.simple(value)
    item = value.type.item or NOTHING
    code = b.temporary(f"{value.code}[0] if {value.code} else None", value)
    raw = value.raw if item.kind != "record" and b.form != "struct" else None
    return replace(value, code=code, type=item, optional=True, raw=raw, const=NO_CONST)


@family.function(
    "where",
    "list",
    "the same list",
    "The rows for which the condition holds. Names in it are fields of the row.",
    Parameter("condition", "a condition on one row", (), "row"),
    example="where(SPRAS == 'D')",
    loss="the other rows",
)
def _where(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    out = b.name("rows")
    b.emit(f"{out} = []")
    with b.rows(value, scope) as (node, row), b.block(f"if {b.condition(args['condition'], node)}:"):
        b.emit(f"{out}.append({row.code})")
    return replace(value, code=out, const=NO_CONST)


@family.function(
    "each",
    "list",
    "list",
    "One value per row; absent ones are left out.",
    Parameter("value", "an expression on one row", (), "row"),
    example="each(MAKTX | text)",
    loss="rows without a value",
)
def _each(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    out, item = _collect(b, value, args["value"], scope)
    return replace(value, code=out, type=Type("list", item=item), raw=None, const=NO_CONST)


def _collect(b: Source, rows: Value, expression: Node, scope: RecordNode) -> tuple[str, Type]:
    out = b.name("values")
    b.emit(f"{out} = []")
    with b.rows(rows, scope) as (node, _):
        found = b.native(b.translate(expression, node))
        if found.type.kind in ("list", "nothing"):
            raise Problem(f"one value per row is wanted, this is {found.type}", "name one field of the row")
        found = b.simple(found)
        if found.optional:
            with b.block(f"if {found.code} is not None:"):
                b.emit(f"{out}.append({found.code})", found.where)
        else:
            b.emit(f"{out}.append({found.code})", found.where)
    return out, found.type


@family.function(
    "sum_of",
    "list",
    "integer, decimal, money or quantity",
    "The sum over the rows; no rows is absent. Different currencies or units are refused.",
    Parameter("value", "an expression on one row", (), "row"),
    example="sum_of(AMOUNT)",
    loss="the rows",
)
def _sum_of(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    out, item = _collect(b, value, args["value"], scope)
    if item.kind not in ("integer", "decimal", "money", "quantity"):
        raise Problem(f"{item} cannot be added up", "integers, decimals, money and quantities can")
    return value.with_(b.temporary(f"total({out})", value), Type(item.kind), optional=True)


@family.function("count", "list", "integer", "How many rows there are.", loss="the rows")
def _count(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return value.with_(f"len({value.code})", INTEGER)


@family.function(
    "any_row",
    "list",
    "boolean",
    "Whether the condition holds for a row.",
    Parameter("condition", "a condition on one row", (), "row"),
    example="any_row(TYPE in ('E', 'A'))",
    loss="the rows",
)
def _any_row(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return value.with_(f"bool({_where(b, value, args, scope).code})", BOOLEAN)


@family.function("as_list", "any", "list", "A list of that one value; absent is an empty list.")
def _as_list(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    value = b.simple(b.native(value))
    code = f"(() if {value.code} is None else ({value.code},))" if value.optional else f"({value.code},)"
    return value.with_(code, Type("list", item=value.type), optional=False)
