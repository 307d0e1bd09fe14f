"""Functions on money, quantities and prices."""

from __future__ import annotations

from typing import Any

from contracts.canonical.amounts import CURRENCIES, UNITS
from mappings.language import numerals, runtime
from mappings.language.emit import Problem, RecordNode
from mappings.language.functions.numbers import SEPARATORS, separators
from mappings.language.functions.registry import Family, Parameter, back
from mappings.language.kinds import (
    DECIMAL,
    INTEGER,
    NO_CONST,
    STRING,
    Type,
    Value,
    lit,
)
from mappings.language.shape import Leaf
from mappings.language.source import Source

family = Family()


@family.function(
    "quantity",
    "decimal integer string",
    "quantity",
    "A quantity with its unit (UN/ECE Recommendation 20). An unknown unit is refused.",
    Parameter("unit", "code of the unit: a field or a constant", ("string",)),
    Parameter("table", "name of a table [tables.NAME] of unit codes; without it the usual codes are known", (), "word", None),
    example="quantity(MEINS)",
    inverse="amount; the unit's field is filled from the table turned round",
    parts=("amount", "unit"),
    raw=True,
)
def _quantity(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    unit: Value = args["unit"]
    table: dict[str, Any] = runtime.UNIT_CODES
    if args["table"] is not None:
        if (named := b.file.tables.get(args["table"])) is None:
            raise Problem(f"unknown table {args['table']}", f'write [tables.{args["table"]}] with one line per unit: ST = "EA"')
        if strange := [v for v in named.values() if v not in UNITS]:
            raise Problem(f"table {args['table']} gives {strange[0]!r}", f"units are {', '.join(UNITS)}")
        table = named
    if unit.type.values is not None and (without := [u for u in unit.type.values if u not in table]):
        raise Problem(f"unit {without[0]!r} is not known", "write a table: quantity(UNIT, table=units) and [tables.units]")
    digits = value.type.leaf.digits if value.type.leaf else None
    if digits is not None and digits[1] > 6:
        raise Problem(
            f"a quantity has at most 6 digits after the point, {'.'.join(value.path)} has {digits[1]}", "append | decimal(6, 'half_even')"
        )
    if unit.optional:
        raise Problem(f"the unit {'.'.join(unit.path)} may be absent", "append | default('EA') or | required to it")
    name = b.constant("units", table)
    canonical = unit.type.values is not None and all(table[u] == u for u in unit.type.values)
    if unit.const is not NO_CONST:
        code = repr(table[unit.const])
    else:
        unit = b.simple(unit)
        at = f"../{unit.path[-1]}" if unit.path else ""
        if value.raw == "xml" and unit.path and not canonical:
            memo = b.memo("quantities", f"{name} {at}", lambda key: runtime.quantity(key[0], runtime.unit(key[1], table, at)))
            return b.apply(value, f"{memo}[$, {unit.code}]", Type("quantity"))
        known = b.memo("unit", name, lambda code: runtime.unit(code, table))
        code = unit.code if canonical else b.temporary(f"{known}[{unit.code}]", unit)
    memo = b.memo("quantities", "", lambda key: runtime.quantity(*key))
    return b.apply(value, f"{memo}[{_digits(value)}, {code}]", Type("quantity"))


def _digits(value: Value) -> str:
    """Template of a number's text, under which amounts are remembered: hashing a Decimal costs more than writing it."""
    text = (
        value.raw == "xml" or (value.type.kind == "string" and value.raw is None) or (value.type.kind == "decimal" and value.raw == "rows")
    )
    return "$" if text else "str($)"


def _currency(b: Source, currency: Value) -> Value:
    if currency.optional:
        raise Problem(f"the currency {'.'.join(currency.path)} may be absent", "append | default('EUR') or | required to it")
    if currency.type.values is not None and (strange := [c for c in currency.type.values if c not in CURRENCIES]):
        raise Problem(f"{strange[0]!r} is no ISO 4217 currency", "map it: CODE | enum(EURO='EUR')")
    return b.simple(currency)


@family.function(
    "money",
    "decimal integer string",
    "money",
    "An amount in whole units of its currency; more digits than the currency has are refused, or rounded.",
    Parameter("currency", "ISO 4217 code: a field or a constant", ("string",)),
    Parameter("digits", "decimals that the source stores whatever the currency (SAP: 2)", ("int",), "constant", None),
    Parameter("rounding", "refuse or half_even: for what was worked out, such as a tax", ("str",), "constant", "refuse"),
    example="money(KONWA)",
    inverse="amount; the currency's field is filled too",
    parts=("amount", "currency"),
    raw=True,
)
def _money(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    currency, digits, rounding = _currency(b, args["currency"]), args["digits"], args["rounding"]
    if rounding not in ("refuse", "half_even"):
        raise Problem(f"money rounds by {lit(rounding)}", "refuse and half_even are known")
    rounds = rounding == "half_even"
    at = f"../{currency.path[-1]}" if currency.path and value.raw == "xml" else ""
    memo = b.memo("amounts", f"{digits} {at} {rounding}", lambda key: runtime.money(key[0], key[1], digits, at, rounds=rounds))
    return b.apply(value, f"{memo}[{_digits(value)}, {currency.code}]", Type("money"))


@family.function(
    "cents",
    "integer string",
    "money",
    "An amount in the smallest unit of its currency.",
    Parameter("currency", "ISO 4217 code", ("string",)),
    example="cents('EUR')",
    inverse="minor_units; the currency's field is filled too",
    parts=("minor_units", "currency"),
    raw=True,
)
def _cents(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"cents($, {_currency(b, args['currency']).code})", Type("money"))


@family.function(
    "priced",
    "string",
    "money",
    "An amount as people write it, with its currency's code or sign: `12,99 €`, `EUR 1.299,00`, `$1,299.00`. A sign that several "
    "currencies share ($, ¥, kr) needs the currency named; one that disagrees with it is refused.",
    *SEPARATORS,
    Parameter("currency", "ISO 4217 code, where the text has none or a shared sign", ("string",), default=None),
    example="priced(',', '.')",
    samples=("12,99 EUR", "1.299,00 €", "-5,00 CHF"),
    inverse="write_price(point, grouping)",
    invert=back("write_price", "point?", "grouping?"),
    loss="the sign or code it was written with",
)
def _priced(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    currency = "None" if args["currency"] is None else _currency(b, args["currency"]).code
    return b.apply(value, f"{b.constant('priced', numerals.priced)}($, {separators(args)}, {currency})", Type("money"))


@family.function(
    "write_price",
    "money",
    "string",
    "An amount as people write it, with its currency's code: `1.299,00 EUR`.",
    *SEPARATORS,
    example="money('EUR') | write_price(',', '.')",
    inverse="priced(point, grouping)",
    invert=back("priced", "point?", "grouping?"),
)
def _write_price(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"{b.constant('write_price', numerals.marked)}($, {separators(args)})", STRING)


@family.function(
    "unit_price",
    "decimal integer string",
    "unit_price",
    "A price that may have more digits than its currency.",
    Parameter("currency", "ISO 4217 code", ("string",)),
    example="unit_price(currency)",
    inverse="amount; the currency's field is filled too",
    parts=("amount", "currency"),
    raw=True,
)
def _unit_price(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    memo = b.memo("prices", "", lambda key: runtime.unit_price(*key))
    return b.apply(value, f"{memo}[{_digits(value)}, {_currency(b, args['currency']).code}]", Type("unit_price"))


@family.function(
    "amount",
    "money quantity unit_price",
    "decimal",
    "The number of an amount, in whole units.",
    Parameter("digits", "decimals that the target stores whatever the currency (SAP: 2)", ("int",), "constant", None),
    loss="currency or unit, which are fields of their own",
)
def _amount(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if args["digits"] is None:
        return b.apply(value, "$.amount", DECIMAL)
    if value.type.kind != "money":
        raise Problem(f"only money is stored with digits of its own, this is {value.type}", "write amount")
    return b.apply(value, f"implied($.cent_amount, {lit(args['digits'])})", DECIMAL)


@family.function(
    "minor_units", "money", "integer", "The number of the smallest units of an amount.", loss="the currency, which is a field of its own"
)
def _minor_units(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "$.cent_amount", INTEGER)


@family.function("currency", "money unit_price", "string", "The currency of an amount.", loss="the number")
def _currency_of(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "$.currency_code", Type("string", Leaf("string", 3, min_length=3)))


@family.function("unit", "quantity", "string", "The unit of a quantity, UN/ECE Recommendation 20.", loss="the number")
def _unit_of(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "$.unit", Type("string", values=UNITS))
