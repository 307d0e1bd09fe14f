"""Functions on numbers, and on the forms that legacy systems write them in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mappings.language.emit import Problem, RecordNode
from mappings.language.expression import Call
from mappings.language.functions.registry import Family, Parameter, back, same
from mappings.language.kinds import (
    DECIMAL,
    INTEGER,
    STRING,
    Type,
    Value,
    lit,
)
from mappings.language.shape import Leaf
from mappings.language.source import Source

family = Family()


@family.function(
    "integer",
    "string decimal integer",
    "integer",
    "A whole number; a fraction is refused.",
    inverse="string",
    invert=same,
    loss="leading zeros",
    raw=True,
)
def _integer(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if value.type.kind == "integer" and value.raw is None:
        return value
    return b.apply(value, "integer($)", INTEGER)


@family.function(
    "decimal",
    "string decimal integer",
    "decimal",
    "A decimal number; with a scale, digits beyond it are refused or rounded.",
    Parameter("scale", "digits after the point", ("int",), "constant", None),
    Parameter("rounding", "refuse, half_even, half_up or cut", ("str",), "constant", "refuse"),
    example="decimal(3)",
    inverse="string",
    invert=same,
    loss="what is rounded away",
    raw=True,
)
def _decimal(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if value.type.kind != "decimal" or value.raw is not None:
        leaf = value.type.leaf if value.type.kind == "decimal" else None
        value = b.simple(value)
        value = b.apply(value, b.conversion(replace(value, type=DECIMAL)), replace(DECIMAL, leaf=leaf))
    if args["scale"] is None:
        return value
    if args["rounding"] not in ("refuse", "half_even", "half_up", "cut"):
        raise Problem(f"decimal rounds by {lit(args['rounding'])}", "refuse, half_even, half_up and cut are known")
    whole = value.type.leaf.digits[0] if value.type.leaf and value.type.leaf.digits else 30
    return b.apply(
        value,
        f"scaled($, {lit(args['scale'])}, {lit(args['rounding'])})",
        replace(DECIMAL, leaf=Leaf("decimal", digits=(whole, args["scale"]))),
    )


@family.function(
    "implied",
    "string integer",
    "decimal",
    "Digits with a decimal point that is not written: 1299 is 12.99 with 2.",
    Parameter("digits", "digits after the point", ("int",), "constant"),
    example="implied(2)",
    inverse="unimplied(digits)",
    invert=back("unimplied", "digits"),
    raw=True,
)
def _implied(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"implied($, {lit(args['digits'])})", replace(DECIMAL, leaf=Leaf("decimal", digits=(30, args["digits"]))))


@family.function(
    "unimplied",
    "decimal integer",
    "integer",
    "The digits without the point: 12.99 is 1299 with 2.",
    Parameter("digits", "digits after the point", ("int",), "constant"),
    example="unimplied(2)",
    inverse="implied(digits)",
    invert=back("implied", "digits"),
)
def _unimplied(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"unimplied($, {lit(args['digits'])})", INTEGER)


@family.function(
    "sign_trailing",
    "string",
    "string",
    "A number whose minus stands at the end: `302.35-` is -302.35.",
    inverse="trailing_sign",
    invert=back("trailing_sign"),
)
def _sign_trailing(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "sign_trailing($)", STRING)


@family.function(
    "trailing_sign",
    "string decimal integer",
    "string",
    "A number with its minus at the end.",
    inverse="sign_trailing",
    invert=back("sign_trailing"),
)
def _trailing_sign(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "trailing_sign($)" if value.type.kind == "string" else "trailing_sign(string($))", STRING)


@family.function(
    "overpunch", "string", "string", "COBOL's signed last digit: `12C` is 123, `12L` is -123.", example="overpunch | implied(2)"
)
def _overpunch(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "overpunch($)", STRING)


@family.function(
    "negative",
    "integer decimal",
    "the same",
    "The number with its sign turned.",
    inverse="itself",
    invert=lambda v, c: Call("negative", (v,)),
)
def _negative(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "(-$)", Type(value.type.kind, value.type.leaf))


@family.function("magnitude", "integer decimal", "the same", "The number without its sign.", loss="the sign")
def _magnitude(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "abs($)", Type(value.type.kind, value.type.leaf))
