"""Functions on codes: enumerations, tables, flags and constants."""

from __future__ import annotations

from typing import Any, Final

from contracts.canonical.location import Location
from mappings.language.emit import Problem, RecordNode
from mappings.language.expression import Call, Cases, Const, Node, Path
from mappings.language.functions.registry import Family, Parameter
from mappings.language.kinds import (
    BOOLEAN,
    NO_CONST,
    NOTHING,
    REFUSE,
    STRING,
    Type,
    Value,
    either,
    leaf_type,
    lit,
)
from mappings.language.read import did_you_mean
from mappings.language.shape import Leaf
from mappings.language.source import Source
from mappings.language.structs import message

family = Family()

_REFUSE_WORD: Final = Path(("refuse",))


def _turned(value: Node, call: Call) -> Node | None:
    pairs = [(k, n.value) for k, n in call.named if isinstance(n, Const) and k != "otherwise"]
    pairs += [pair for _, n in call.named if isinstance(n, Cases) for pair in n.items]
    if len({v for _, v in pairs}) != len(pairs) or any(v is None for _, v in pairs):
        return None
    return Call("enum", (value, Cases(tuple((v, k) for k, v in pairs))), (("otherwise", _REFUSE_WORD),))


def _flag_back(value: Node, call: Call) -> Node | None:
    given = dict(call.named)
    true, false = given.get("true"), given.get("false", Const(""))
    if isinstance(true, Const) and isinstance(false, Const):
        return Call("enum", (value, Cases(((True, true.value), (False, false.value)))))
    return None


@family.function(
    "enum",
    "string integer boolean",
    "what the cases hold",
    "Codes to values. Closed: a code without a case is refused. With `otherwise` open: it becomes that and is counted as drift; "
    "`otherwise=refuse` leaves known codes out on purpose.",
    Parameter("table", "cases whose codes are no names: {'01': 'a'}", (), "cases", None),
    Parameter("otherwise", "value of an unknown code, or refuse", (), "answer", NO_CONST),
    example="enum(A='active', X='discontinued', otherwise=refuse)",
    samples=("A", "X"),
    inverse="the cases turned round, when each value has one code",
    invert=_turned,
    loss="codes that share a value",
    cases=True,
)
def _enum(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return _cases(b, value, args["cases"], args["otherwise"])


@family.function(
    "lookup",
    "string integer",
    "what the table holds",
    "As enum, with the cases in [tables.NAME].",
    Parameter("table", "name of the table", (), "word"),
    Parameter("otherwise", "value of an unknown code, or refuse", (), "answer", NO_CONST),
    example="lookup(carriers, otherwise='other')",
)
def _lookup(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    table = b.file.tables.get(args["table"])
    if table is None:
        raise Problem(
            f"unknown table {args['table']}", f"write [tables.{args['table']}]; {did_you_mean(str(args['table']), b.file.tables)}"
        )
    try:
        keyed = {int(k): v for k, v in table.items()} if value.type.kind == "integer" else dict(table)
    except ValueError:
        raise Problem(f"table {args['table']} has codes that are no integers", "append | string before | lookup") from None
    return _cases(b, value, keyed, args["otherwise"])


def _cases(b: Source, value: Value, table: dict[Any, Any], otherwise: Any) -> Value:
    if not table:
        raise Problem("there are no cases", "write enum(A='active')")
    kinds = {type(k).__name__ for k in table} - {"NoneType"}
    wanted = {"string": "str", "integer": "int", "boolean": "bool"}[value.type.kind]
    if kinds != {wanted}:
        raise Problem(f"the codes are {', '.join(sorted(kinds))}, the value is {value.type}", "write them as the value's kind")
    known = value.type.values if value.type.kind != "boolean" else (True, False)
    if known is not None:
        for code in table:
            if code not in known and code is not None:
                b.find(f"the code {code!r} never comes: it is {value.type}", did_you_mean(str(code), map(str, known)))
        if otherwise is NO_CONST and (without := [k for k in known if k not in table]):
            raise Problem(
                f"no case for {', '.join(map(repr, without))}",
                f"add {', '.join(f'{k}=…' if str(k).isidentifier() else f'{{{k!r}: …}}' for k in without)}, or otherwise=refuse",
            )
    results = [*table.values(), *(() if otherwise in (NO_CONST, REFUSE) else (otherwise,))]
    result = NOTHING
    for r in results:
        kind = "nothing" if r is None else {"str": "string", "int": "integer", "bool": "boolean"}[r.__class__.__name__]
        joined = either(result, Type(kind, values=None if r is None else (r,)))
        if joined is None:
            raise Problem(f"the cases hold {result} and {kind}", "let all cases give the same type")
        result = joined
    absent = table.pop(None, NO_CONST) if None in table else NO_CONST
    name = b.constant("cases", table)
    b.enumerations[name] = b.target_path
    closed = otherwise in (NO_CONST, REFUSE)
    template = (
        f"cases($, {name})"
        if closed
        else f"open_cases($, {name}, {lit(otherwise)}, context, {lit('/'.join(value.path))}{', personal=True' if value.personal else ''})"
    )
    if absent is not NO_CONST and value.optional:
        value = b.simple(value)
        code = b.temporary(f"{lit(absent)} if {value.code} is None else {template.replace('$', value.code)}", value)
        return value.with_(code, result, optional=None in results)
    return b.apply(value, template, result, optional=value.optional or None in results)


@family.function(
    "gtin",
    "string",
    "string",
    "A GTIN (EAN, UPC) whose check digit is right, without blanks around it. Anything else becomes absent and is counted as drift.",
    loss="what is no GTIN",
)
def _gtin(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    template = f"gtin($, context, {lit('/'.join(value.path))})"
    return b.apply(value, template, Type("string", Leaf("string", max_length=14, min_length=8)), optional=True)


_LOCATION = {f.name: f for f in message(Location).root.fields if isinstance(f.shape, Leaf) and not f.repeated}


@family.function(
    "location",
    "string",
    "what the field holds",
    f"A field of the canonical location of that number, as the gateway knows it: {', '.join(_LOCATION)}. An unknown location is refused.",
    Parameter("field", "name of the field", ("str",), "constant"),
    example="location('currency_code')",
    loss="which location it was",
)
def _location(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    field = _LOCATION.get(args["field"])
    if field is None or not isinstance(field.shape, Leaf):
        raise Problem(f"a location has no {args['field']}", did_you_mean(args["field"], _LOCATION))
    found = b.apply(value, "location_of(context, $)", STRING)
    return b.apply(found, f"$.{field.name}", leaf_type(field.shape), optional=value.optional or field.nillable)


@family.function(
    "boolean",
    "string",
    "boolean",
    "True for the named code; absent, blank or the `false` code is false; anything else is refused.",
    Parameter("true", "code, or list of codes"),
    Parameter("false", "code, or list of codes", default=None),
    example="boolean(true='X')",
    samples=("X", ""),
    inverse="enum({True: 'X', False: ''})",
    invert=_flag_back,
)
def _boolean(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    codes = []
    for name in ("true", "false"):
        given = args[name]
        found = () if given is None else given.const if isinstance(given.const, tuple) else (given.const,)
        if any(not isinstance(c, str) for c in found):
            raise Problem(f"boolean: {name} is a code or a list of codes", "write boolean(true='X', false='N')")
        codes.append(tuple(found))
    if value.type.values is not None:
        known = {*codes[0], *codes[1], ""}
        if without := [v for v in value.type.values if v not in known]:
            raise Problem(f"no answer for {', '.join(map(repr, without))}", f"add false={without[0]!r}")
        for code in (*codes[0], *codes[1]):
            if code not in value.type.values:
                b.find(f"the code {code!r} never comes: it is {value.type}", "remove it")
    true, false = (b.constant("codes", frozenset(c)) for c in codes)
    return value.with_(f"flag({value.code}, {true}, {false})", BOOLEAN, optional=False)


@family.function(
    "contains",
    "string",
    "boolean",
    "Whether the text holds the letters; absent holds nothing.",
    Parameter("letters", "what is looked for", ("str",), "constant"),
    example="contains('T')",
)
def _contains(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    value = b.simple(value)
    guard = f"{value.code} is not None and " if value.optional else ""
    return value.with_(f"({guard}{lit(args['letters'])} in {value.code})", BOOLEAN, optional=False)


@family.function(
    "constant",
    "",
    "the same",
    "A constant; the same as writing it alone.",
    Parameter("value", "the constant", (), "constant"),
    example="constant('EUR')",
)
def _constant(b: Source, value: None, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.literal(args["value"])
