"""Functions on numbers, and on the forms that legacy systems write them in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mappings.language import numerals
from mappings.language.emit import Problem, RecordNode
from mappings.language.expression import Call
from mappings.language.functions.registry import Family, Parameter, back, length_of, same, short
from mappings.language.kinds import (
    DECIMAL,
    INTEGER,
    STRING,
    Type,
    Value,
    lit,
)
from mappings.language.read import did_you_mean
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
    samples=("12.99", "-5"),
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
    "overpunch",
    "string",
    "string",
    "COBOL's signed last digit: `12C` is 123, `12L` is -123.",
    example="overpunch | implied(2)",
    samples=("12C", "12L", "0}"),
    inverse="punch",
    invert=back("punch"),
)
def _overpunch(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "overpunch($)", STRING)


@family.function(
    "punch",
    "integer string",
    "string",
    "A whole number with its sign in the last digit: -123 is `12L`.",
    example="unimplied(2) | punch | pad(7)",
    inverse="overpunch",
    invert=back("overpunch"),
)
def _punch(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"{b.constant('punch', numerals.punch)}($)", STRING)


_DIGITS = Parameter("digits", "digits after the point", ("int",), "constant", 0)
_ENCODING = Parameter("encoding", "how the bytes are text: hex, latin-1 or base64", ("str",), "constant", "hex")


def _packing(args: dict[str, Any], *, size: int | None) -> None:
    if args["encoding"] not in numerals.ENCODINGS:
        raise Problem(f"packed bytes as {args['encoding']!r}", did_you_mean(args["encoding"], numerals.ENCODINGS))
    if size is not None and not 1 <= size <= numerals.MOST_BYTES:
        raise Problem(f"a packed decimal of {size} bytes", f"1 to {numerals.MOST_BYTES} can be: PIC S9(n) has n // 2 + 1")


@family.function(
    "packed",
    "string binary",
    "decimal",
    "A packed decimal (COMP-3): `00129C` is 12.9 with one digit after the point, D at its end is minus.",
    _DIGITS,
    _ENCODING,
    Parameter("size", "length in bytes, needed to turn round", ("int",), "constant", None),
    example="packed(2, size=4)",
    samples=("0012999C", "0012999D", "0000000F"),
    inverse="pack(size, digits), when size is given",
    invert=back("pack", "size", "digits?", "encoding?"),
    loss="its length, unless given",
)
def _packed(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    _packing(args, size=args["size"])
    encoding = "base64" if value.type.kind == "binary" else args["encoding"]
    code = f"{b.constant('packed', numerals.packed)}($, {lit(args['digits'])}, {lit(encoding)})"
    return b.apply(value, code, replace(DECIMAL, leaf=Leaf("decimal", digits=(31, args["digits"]))))


@family.function(
    "pack",
    "decimal integer",
    "string",
    "A packed decimal (COMP-3) of so many bytes; what it cannot hold is refused.",
    Parameter("size", "length in bytes", ("int",), "constant"),
    _DIGITS,
    _ENCODING,
    example="pack(4, 2)",
    samples=("129.99", "-5", "0"),
    inverse="packed(digits, size=size)",
    invert=back("packed", "digits?", "encoding?", "size?"),
)
def _pack(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    _packing(args, size=args["size"])
    code = f"{b.constant('pack', numerals.pack)}($, {lit(args['size'])}, {lit(args['digits'])}, {lit(args['encoding'])})"
    return b.apply(value, code, short(value, {"hex": 2 * args["size"], "latin-1": args["size"]}.get(args["encoding"])))


@family.function(
    "zero_padded",
    "string",
    "string",
    "A number with zeros in front and its sign before them: `-0012` is `-12`.",
    Parameter("width", "length with sign and zeros, needed to turn round", ("int",), "constant", None),
    example="zero_padded(9) | decimal",
    samples=("000012.50", "-00012.50", "000000000"),
    inverse="pad_number(width), when width is given",
    invert=back("pad_number", "width"),
    loss="the width, unless given",
)
def _zero_padded(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"{b.constant('zero_padded', numerals.unsigned_zeros)}($)", short(value, length_of(value)))


@family.function(
    "pad_number",
    "string integer decimal",
    "string",
    "A number with zeros in front up to the width, its sign before them: -12 is `-0012` with 5. Longer ones are refused.",
    Parameter("width", "length of the result", ("int",), "constant"),
    example="pad_number(9)",
    samples=("12", "-7"),
    inverse="zero_padded(width)",
    invert=back("zero_padded", "width"),
)
def _pad_number(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"{b.constant('pad_number', numerals.signed_pad)}($, {lit(args['width'])})", short(value, args["width"]))


SEPARATORS = (
    Parameter("point", "what stands before the decimals", ("str",), "constant", "."),
    Parameter("grouping", "what may stand between groups of three digits", ("str",), "constant", ""),
)


def separators(args: dict[str, Any]) -> str:
    """Both as arguments of generated code."""
    if len(args["point"]) != 1 or len(args["grouping"]) > 1 or args["point"] == args["grouping"] or args["point"].isalnum():
        raise Problem(f"the decimal point is {args['point']!r}, the grouping {args['grouping']!r}", "write for example number(',', '.')")
    return f"{lit(args['point'])}, {lit(args['grouping'])}"


@family.function(
    "number",
    "string",
    "decimal",
    "A number as people write it: `1.299,00` with point `,` and grouping `.`. Blanks and apostrophes between the digits are fine, a minus "
    "may stand at the end.",
    *SEPARATORS,
    Parameter("digits", "digits after the point, needed to turn round", ("int",), "constant", None),
    example="number(',', '.', 2)",
    samples=("1.299,00", "-12,50", "7"),
    inverse="write_number(digits, point, grouping), when digits is given",
    invert=back("write_number", "digits", "point?", "grouping?"),
    loss="blanks, and how many decimals were written",
)
def _number(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    digits = args["digits"]
    leaf = Leaf("decimal", digits=(30, digits)) if digits is not None else None
    value = b.apply(value, f"{b.constant('number', numerals.number)}($, {separators(args)})", replace(DECIMAL, leaf=None))
    return value if digits is None else b.apply(value, f"scaled($, {lit(digits)}, 'refuse')", replace(DECIMAL, leaf=leaf))


@family.function(
    "write_number",
    "decimal integer",
    "string",
    "A number as people write it; more digits than asked for are refused.",
    Parameter("digits", "digits after the point", ("int",), "constant"),
    *SEPARATORS,
    example="write_number(2, ',', '.')",
    samples=("1299", "-12.5"),
    inverse="number(point, grouping, digits)",
    invert=back("number", "point?", "grouping?", "digits?"),
)
def _write_number(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"{b.constant('write_number', numerals.written)}($, {separators(args)}, {lit(args['digits'])})", STRING)


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


@family.function("magnitude", "integer decimal", "the same", "The number without its sign.", loss="the sign", raw=True)
def _magnitude(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if value.raw == "rows" and value.type.kind == "decimal":
        return replace(b.apply(value, "$.removeprefix('-')", value.type), raw=value.raw)
    return b.apply(b.native(value), "abs($)", Type(value.type.kind, value.type.leaf))
