"""Functions on what may not be there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mappings.language.emit import Problem, RecordNode
from mappings.language.functions.registry import Family, Parameter, back
from mappings.language.kinds import (
    BOOLEAN,
    Value,
    either,
)
from mappings.language.source import Source

family = Family()


@family.function(
    "default",
    "any",
    "the same",
    "A constant in place of absent.",
    Parameter("value", "the constant", (), "constant"),
    example="default('EA')",
    loss="whether it was absent",
)
def _default(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return _first_of(b, [value, b.literal(args["value"])])


@family.function(
    "coalesce",
    "",
    "the same",
    "The first that is not absent.",
    Parameter("values", "expressions of one type", many=True),
    example="coalesce(A, B, 'x')",
    loss="which one it was",
)
def _coalesce(b: Source, value: None, args: dict[str, Any], scope: RecordNode) -> Value:
    if len(args["values"]) < 2:
        raise Problem("coalesce chooses between values", "write coalesce(A, B)")
    return _first_of(b, args["values"])


def _first_of(b: Source, values: list[Value]) -> Value:
    natives = [b.simple(b.native(v)) for v in values]
    found = natives[-1]
    for v in reversed(natives[:-1]):
        both = either(v.type, found.type)
        if both is None:
            raise Problem(f"{v.type} and {found.type} stand for each other", "give all the same type")
        if not v.optional:
            found = replace(v, type=both)
            continue
        code = b.temporary(f"{found.code} if {v.code} is None else {v.code}", v)
        found = v.with_(code, both, optional=found.optional)
    return found


@family.function("required", "any", "the same", "Absent refuses the record.", inverse="itself", invert=back("required"))
def _required(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    value = b.native(value)
    return value.with_(f"required({value.code})", value.type, optional=False) if value.optional else value


@family.function("missing", "any", "boolean", "True when the field is not there at all.")
def _missing(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return value.with_(f"({value.code} is None and not {_nil_code(b, value, scope)})", BOOLEAN, optional=False)


@family.function("nil", "any", "boolean", "True when the field is said to be empty: xsi:nil, JSON null.")
def _nil(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return value.with_(_nil_code(b, value, scope), BOOLEAN, optional=False)


def _nil_code(b: Source, value: Value, scope: RecordNode) -> str:
    if value.path[:-1] != scope.path:
        raise Problem("only a field of the current record can be asked for nil", "write the condition where the record is current")
    return f"nil({scope.var}, {value.path[-1]!r}, {b.form!r})"


@family.function("empty", "string", "boolean", "True when the field is there and holds no text.")
def _empty(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return value.with_(f"({value.code} == '')", BOOLEAN, optional=False)
