"""The functions of the language: for each what it takes and gives, how it compiles, how it turns round and what it loses.

A function is one entry of `FUNCTIONS`; the reference page and the check are made from the entries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from contracts.canonical.amounts import CURRENCIES, UNITS
from mappings.language import runtime
from mappings.language.expression import Call, Cases, Const, Node, Path
from mappings.language.kinds import (
    BOOLEAN,
    DATE,
    DECIMAL,
    INSTANT,
    INTEGER,
    LOCALIZED,
    NO_CONST,
    NOTHING,
    REFUSE,
    STRING,
    TIME,
    ZONE,
    Type,
    Value,
    either,
    lit,
)
from mappings.language.read import did_you_mean
from mappings.language.shape import Leaf

if TYPE_CHECKING:
    from mappings.language.build import Builder, RecordNode

ParameterForm = Literal["value", "constant", "word", "answer", "cases", "row"]
_REQUIRED: Final = object()
_REFUSE_WORD: Final = Path(("refuse",))


@dataclass(frozen=True, slots=True)
class Parameter:
    """`form`: value = an expression; word = a bare name; answer = a constant or refuse; cases = a table; row = an expression per row."""

    name: str
    doc: str
    kinds: tuple[str, ...] = ()
    form: ParameterForm = "value"
    default: Any = _REQUIRED
    many: bool = False
    raw: bool = False

    @property
    def required(self) -> bool:
        return self.default is _REQUIRED


Build = Callable[["Builder", Any, dict[str, Any], "RecordNode"], Value]
Invert = Callable[[Node, "Call"], Node | None]


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    takes: tuple[str, ...]
    gives: str
    doc: str
    example: str
    build: Build
    parameters: tuple[Parameter, ...] = ()
    inverse: str = ""
    invert: Invert | None = None
    """(the target's value, the call) -> the expression that gives the source value; None when this call cannot be turned round."""
    loss: str = ""
    raw: bool = False
    cases: bool = False


FUNCTIONS: Final[dict[str, Function]] = {}


def function(
    name: str,
    takes: str,
    gives: str,
    doc: str,
    *parameters: Parameter,
    example: str = "",
    inverse: str = "",
    invert: Invert | None = None,
    loss: str = "",
    raw: bool = False,
    cases: bool = False,
) -> Callable[[Build], Build]:
    def register(build: Build) -> Build:
        FUNCTIONS[name] = Function(
            name, tuple(takes.split()), gives, doc, example or name, build, parameters, inverse, invert, loss, raw, cases
        )
        return build

    return register


def _back(name: str, *arguments: str) -> Invert:
    """Turn round by one function; `arguments` are the parameters that both share, by position."""

    def invert(value: Node, call: Call) -> Node | None:
        given = call.arguments[1:]
        return Call(name, (value, *given[: len(arguments)])) if len(given) >= len(arguments) or not arguments else None

    return invert


def _same(value: Node, call: Call) -> Node | None:
    return value


def _turned(value: Node, call: Call) -> Node | None:
    pairs = [(k, n.value) for k, n in call.named if isinstance(n, Const) and k != "otherwise"]
    for argument in call.arguments[1:]:
        if isinstance(argument, Cases):
            pairs += argument.items
    if len({v for _, v in pairs}) != len(pairs) or any(v is None for _, v in pairs):
        return None
    return Call("enum", (value, Cases(tuple((v, k) for k, v in pairs))), (("otherwise", _REFUSE_WORD),))


def _flag_back(value: Node, call: Call) -> Node | None:
    given = dict(call.named)
    true = given.get("true") or (call.arguments[1] if len(call.arguments) > 1 else None)
    false = given.get("false", Const(""))
    if isinstance(true, Const) and isinstance(false, Const):
        return Call("enum", (value, Cases(((True, true.value), (False, false.value)))))
    return None


def _unformat(value: Node, call: Call) -> Node | None:
    if len(call.arguments) == 3:
        return Call("local_datetime", (value, call.arguments[2], call.arguments[1]))
    spec = call.arguments[1] if len(call.arguments) > 1 else None
    return Call("time" if isinstance(spec, Const) and "Y" not in str(spec.value) else "date", (value, *call.arguments[1:2]))


def problem(message: str, suggestion: str = "") -> Exception:
    from mappings.language.build import Problem

    return Problem(message, suggestion)


def _short(value: Value, length: int | None) -> Type:
    return replace(STRING, leaf=Leaf("string", length)) if length is not None else STRING


def _length(value: Value) -> int | None:
    if value.type.values:
        return max(len(str(v)) for v in value.type.values)
    return value.type.leaf.max_length if value.type.leaf is not None else None


def _over(value: Value, change: Callable[[Any], Any]) -> tuple[Any, ...] | None:
    return None if value.type.values is None else tuple(change(v) for v in value.type.values)


# ---- text ---------------------------------------------------------------------------------------------------------


@function("text", "string", "string", "Trimmed; empty, blank and the fillers `null`, `N/A` become absent.", inverse="itself", invert=_same)
def _text(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if value.raw is not None:
        value = b.native(value)
    known = None if value.type.values is None else tuple(v for v in value.type.values if runtime.text(v) is not None)
    return b.apply(
        value, "text($)", replace(value.type, leaf=replace(value.type.leaf or Leaf("string"), min_length=1), values=known), optional=True
    )


@function("strip", "string", "string", "Without blanks at both ends; empty stays empty.", loss="the blanks")
def _strip(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "$.strip()", replace(value.type, values=_over(value, str.strip)))


@function("upper", "string", "string", "Capital letters.", loss="the case")
def _upper(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "$.upper()", replace(value.type, values=_over(value, str.upper)))


@function("lower", "string", "string", "Small letters.", loss="the case")
def _lower(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "$.lower()", replace(value.type, values=_over(value, str.lower)))


@function(
    "strip_zeros",
    "string",
    "string",
    "Numeric keys without leading zeros; other keys stay as they are.",
    Parameter("width", "length of the padded key, needed to turn round", ("int",), "constant", None),
    example="strip_zeros(18)",
    inverse="pad_zeros(width), when width is given",
    invert=_back("pad_zeros", "width"),
    loss="the width, unless given",
)
def _strip_zeros(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    leaf = value.type.leaf
    facets = Leaf("string", leaf.max_length, min_length=leaf.min_length) if leaf else None
    value = b.simple(value)
    return b.apply(
        value, "(($.lstrip('0') or '0') if $.isdigit() else $)", Type("string", facets, values=_over(value, runtime.strip_zeros))
    )


@function(
    "pad_zeros",
    "string integer",
    "string",
    "Numeric keys with leading zeros up to the width (SAP's ALPHA conversion); other keys stay.",
    Parameter("width", "length of the padded key", ("int",), "constant"),
    example="pad_zeros(18)",
    inverse="strip_zeros(width)",
    invert=_back("strip_zeros", "width"),
)
def _pad_zeros(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"pad_zeros($, {lit(args['width'])})", _short(value, args["width"]))


@function(
    "pad",
    "string integer",
    "string",
    "Filled up on the left to the width; longer values are refused.",
    Parameter("width", "length of the result", ("int",), "constant"),
    Parameter("fill", "one character", ("str",), "constant", "0"),
    example="pad(6)",
    inverse="unpad(width, fill)",
    invert=lambda v, c: Call("unpad", (v, *c.arguments[1:]), c.named),
)
def _pad(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if len(args["fill"]) != 1:
        raise problem(f"pad fills with {lit(args['fill'])}", "one character fills")
    return b.apply(value, f"pad($, {lit(args['width'])}, {lit(args['fill'])})", _short(value, args["width"]))


@function(
    "unpad",
    "string",
    "string",
    "Without the filler on the left; one character always stays.",
    Parameter("width", "length of the padded value, needed to turn round", ("int",), "constant", None),
    Parameter("fill", "one character", ("str",), "constant", "0"),
    example="unpad(6)",
    inverse="pad(width, fill), when width is given",
    invert=_back("pad", "width"),
    loss="the width, unless given",
)
def _unpad(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"(($).lstrip({lit(args['fill'])}) or $[-1:])", _short(value, _length(value)))


@function(
    "cut",
    "string",
    "string",
    "The first characters; the rest is lost.",
    Parameter("length", "how many stay", ("int",), "constant"),
    example="cut(40)",
    loss="what is longer",
)
def _cut(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"$[:{lit(args['length'])}]", _short(value, args["length"]))


@function(
    "at_most",
    "string",
    "string",
    "Refuses longer texts.",
    Parameter("length", "how many characters are allowed", ("int",), "constant"),
    example="at_most(35)",
    inverse="itself",
    invert=_same,
)
def _at_most(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    kept = replace(value.type.leaf or Leaf("string"), max_length=args["length"])
    return b.apply(value, f"at_most($, {lit(args['length'])})", replace(value.type, leaf=kept))


@function(
    "concat",
    "",
    "string",
    "Texts one after the other; absent ones are left out, and all absent is absent.",
    Parameter("parts", "texts", ("string", "integer"), many=True),
    example="concat(STICHTAG, UZEIT)",
    loss="where one part ends",
)
def _concat(b: Builder, value: None, args: dict[str, Any], scope: RecordNode) -> Value:
    return _joined(b, args["parts"], "")


@function(
    "join",
    "any",
    "string",
    "The texts of a list with a separator between them; further texts may follow, absent ones are left out.",
    Parameter("between", "the separator", ("str",), "constant"),
    Parameter("more", "further texts", ("string", "integer"), default=(), many=True),
    example="join(' ', NAME2)",
    inverse="split(between), for a list alone",
    invert=lambda v, c: Call("split", (v, c.arguments[1])) if len(c.arguments) == 2 else None,
    loss="the separator inside a text",
)
def _join(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    value = b.native(value)
    if value.type.kind != "list":
        return _joined(b, [value, *args["more"]], args["between"])
    if value.type.item is None or value.type.item.kind != "string":
        raise problem(f"join takes texts, this is {value.type}", "name the field of the rows: ROWS.NAME | join(', ')")
    out = b.temporary(f"concat({value.code}, {lit(args['between'])})", value)
    return replace(value.with_(out, STRING, optional=True))


def _joined(b: Builder, parts: list[Value], between: str) -> Value:
    texts = []
    lengths: list[int | None] = []
    for p in parts:
        if p.type.kind not in ("string", "integer"):
            raise problem(f"texts are put together, this is {p.type}", "append | string")
        p = b.native(p)
        texts.append(b.simple(p if p.type.kind == "string" else b.apply(p, "string($)", STRING)))
        lengths.append(_length(p) if p.type.kind == "string" else None)
    optional = all(p.optional for p in texts)
    first = next((p for p in texts if p.path), texts[0])
    longest = None if None in lengths else sum(n for n in lengths if n is not None) + len(between) * (len(lengths) - 1)
    code = f"concat(({', '.join(t.code for t in texts)},), {between!r})"
    if not between and not any(p.optional for p in texts):
        code = " + ".join(t.code for t in texts)
    return first.with_(b.temporary(code, first), _short(first, longest), optional=optional)


@function(
    "split",
    "string",
    "list of string",
    "The parts between separators, trimmed, empty ones left out.",
    Parameter("between", "the separator", ("str",), "constant"),
    example="split('/')",
    inverse="join(between)",
    invert=_back("join", "between"),
    loss="blanks and empty parts",
)
def _split(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if not args["between"]:
        raise problem("split has no separator", "write split('/')")
    if value.optional:
        value = b.simple(value)
        code = f"() if {value.code} is None else split({value.code}, {lit(args['between'])})"
    else:
        code = f"split({value.code}, {lit(args['between'])})"
    item = Type("string", replace(value.type.leaf or Leaf("string"), enum=None, pattern=None, min_length=1))
    return value.with_(b.temporary(code, value), Type("list", item=item), optional=False)


@function(
    "part",
    "string",
    "string",
    "One part between separators, counted from 0 (-1 is the last); not there is absent.",
    Parameter("between", "the separator", ("str",), "constant"),
    Parameter("position", "which part", ("int",), "constant"),
    example="part(' ', 0)",
    loss="the other parts",
)
def _part(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    leaf = Leaf("string", _length(value), min_length=1)
    return b.apply(value, f"part($, {lit(args['between'])}, {lit(args['position'])})", Type("string", leaf), optional=True)


@function(
    "string",
    "string integer decimal boolean date time datetime any",
    "string",
    "Plain text of a number, date or truth value.",
    Parameter("scale", "digits after the point of a number", ("int",), "constant", None),
    example="string(2)",
    inverse="the conversion to the source's kind",
    invert=_same,
)
def _string(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if args["scale"] is not None:
        if value.type.kind not in ("decimal", "integer"):
            raise problem(f"string({args['scale']}) writes numbers, this is {value.type}", "append | decimal first")
        return b.apply(value, f"fixed($, {lit(args['scale'])})", STRING)
    plain = {"date": "$.isoformat()", "time": "$.isoformat()", "instant": "$.isoformat()", "integer": "str($)"}
    return value if value.type.kind == "string" else b.apply(value, plain.get(value.type.kind, "string($)"), STRING)


# ---- numbers ------------------------------------------------------------------------------------------------------


@function(
    "integer",
    "string decimal integer",
    "integer",
    "A whole number; a fraction is refused.",
    inverse="string",
    invert=_same,
    loss="leading zeros",
    raw=True,
)
def _integer(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if value.type.kind == "integer" and value.raw is None:
        return value
    return b.apply(value, "integer($)", INTEGER)


@function(
    "decimal",
    "string decimal integer",
    "decimal",
    "A decimal number; with a scale, digits beyond it are refused or rounded.",
    Parameter("scale", "digits after the point", ("int",), "constant", None),
    Parameter("rounding", "refuse, half_even, half_up or cut", ("str",), "constant", "refuse"),
    example="decimal(3)",
    inverse="string",
    invert=_same,
    loss="what is rounded away",
    raw=True,
)
def _decimal(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if value.type.kind != "decimal" or value.raw is not None:
        leaf = value.type.leaf if value.type.kind == "decimal" else None
        value = b.simple(value)
        value = b.apply(value, b.conversion(replace(value, type=DECIMAL)), replace(DECIMAL, leaf=leaf))
    if args["scale"] is None:
        return value
    if args["rounding"] not in ("refuse", "half_even", "half_up", "cut"):
        raise problem(f"decimal rounds by {lit(args['rounding'])}", "refuse, half_even, half_up and cut are known")
    whole = value.type.leaf.digits[0] if value.type.leaf and value.type.leaf.digits else 30
    return b.apply(
        value,
        f"scaled($, {lit(args['scale'])}, {lit(args['rounding'])})",
        replace(DECIMAL, leaf=Leaf("decimal", digits=(whole, args["scale"]))),
    )


@function(
    "implied",
    "string integer",
    "decimal",
    "Digits with a decimal point that is not written: 1299 is 12.99 with 2.",
    Parameter("digits", "digits after the point", ("int",), "constant"),
    example="implied(2)",
    inverse="unimplied(digits)",
    invert=_back("unimplied", "digits"),
    raw=True,
)
def _implied(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"implied($, {lit(args['digits'])})", replace(DECIMAL, leaf=Leaf("decimal", digits=(30, args["digits"]))))


@function(
    "unimplied",
    "decimal integer",
    "integer",
    "The digits without the point: 12.99 is 1299 with 2.",
    Parameter("digits", "digits after the point", ("int",), "constant"),
    example="unimplied(2)",
    inverse="implied(digits)",
    invert=_back("implied", "digits"),
)
def _unimplied(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"unimplied($, {lit(args['digits'])})", INTEGER)


@function(
    "sign_trailing",
    "string",
    "string",
    "A number whose minus stands at the end: `302.35-` is -302.35.",
    inverse="trailing_sign",
    invert=_back("trailing_sign"),
)
def _sign_trailing(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "sign_trailing($)", STRING)


@function(
    "trailing_sign",
    "string decimal integer",
    "string",
    "A number with its minus at the end.",
    inverse="sign_trailing",
    invert=_back("sign_trailing"),
)
def _trailing_sign(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "trailing_sign($)" if value.type.kind == "string" else "trailing_sign(string($))", STRING)


@function("overpunch", "string", "string", "COBOL's signed last digit: `12C` is 123, `12L` is -123.", example="overpunch | implied(2)")
def _overpunch(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "overpunch($)", STRING)


@function(
    "negative",
    "integer decimal",
    "the same",
    "The number with its sign turned.",
    inverse="itself",
    invert=lambda v, c: Call("negative", (v,)),
)
def _negative(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "(-$)", Type(value.type.kind, value.type.leaf))


@function("magnitude", "integer decimal", "the same", "The number without its sign.", loss="the sign")
def _magnitude(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "abs($)", Type(value.type.kind, value.type.leaf))


# ---- codes --------------------------------------------------------------------------------------------------------


@function(
    "enum",
    "string integer boolean",
    "what the cases hold",
    "Codes to values. Closed: a code without a case is refused. With `otherwise` open: it becomes that and is counted as drift; "
    "`otherwise=refuse` leaves known codes out on purpose.",
    Parameter("table", "cases whose codes are no names: {'01': 'a'}", (), "cases", None),
    Parameter("otherwise", "value of an unknown code, or refuse", (), "answer", NO_CONST),
    example="enum(A='active', X='discontinued', otherwise=refuse)",
    inverse="the cases turned round, when each value has one code",
    invert=_turned,
    loss="codes that share a value",
    cases=True,
)
def _enum(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return _cases(b, value, args["cases"], args["otherwise"])


@function(
    "lookup",
    "string integer",
    "what the table holds",
    "As enum, with the cases in [tables.NAME].",
    Parameter("table", "name of the table", (), "word"),
    Parameter("otherwise", "value of an unknown code, or refuse", (), "answer", NO_CONST),
    example="lookup(carriers, otherwise='other')",
)
def _lookup(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    table = b.file.tables.get(args["table"])
    if table is None:
        raise problem(
            f"unknown table {args['table']}", f"write [tables.{args['table']}], or {did_you_mean(str(args['table']), b.file.tables)}"
        )
    try:
        keyed = {int(k): v for k, v in table.items()} if value.type.kind == "integer" else dict(table)
    except ValueError:
        raise problem(f"table {args['table']} has codes that are no integers", "append | string before | lookup") from None
    return _cases(b, value, keyed, args["otherwise"])


def _cases(b: Builder, value: Value, table: dict[Any, Any], otherwise: Any) -> Value:
    if not table:
        raise problem("there are no cases", "write enum(A='active')")
    kinds = {type(k).__name__ for k in table} - {"NoneType"}
    wanted = {"string": "str", "integer": "int", "boolean": "bool"}[value.type.kind]
    if kinds != {wanted}:
        raise problem(f"the codes are {', '.join(sorted(kinds))}, the value is {value.type}", "write them as the value's kind")
    known = value.type.values if value.type.kind != "boolean" else (True, False)
    if known is not None:
        for code in table:
            if code not in known and code is not None:
                b.find(f"the code {code!r} never comes: it is {value.type}", did_you_mean(str(code), map(str, known)))
        if otherwise is NO_CONST and (without := [k for k in known if k not in table]):
            raise problem(
                f"no case for {', '.join(map(repr, without))}",
                f"add {', '.join(f'{k}=…' if str(k).isidentifier() else f'{{{k!r}: …}}' for k in without)}, or otherwise=refuse",
            )
    results = [*table.values(), *(() if otherwise in (NO_CONST, REFUSE) else (otherwise,))]
    result = NOTHING
    for r in results:
        kind = "nothing" if r is None else {"str": "string", "int": "integer", "bool": "boolean"}[r.__class__.__name__]
        joined = either(result, Type(kind, values=None if r is None else (r,)))
        if joined is None:
            raise problem(f"the cases hold {result} and {kind}", "let all cases give the same type")
        result = joined
    absent = table.pop(None, NO_CONST) if None in table else NO_CONST
    name = b.constant("cases", table)
    b.enumerations[name] = b.target_path
    closed = otherwise in (NO_CONST, REFUSE)
    template = f"cases($, {name})" if closed else f"open_cases($, {name}, {lit(otherwise)}, context, {lit('/'.join(value.path))})"
    if absent is not NO_CONST and value.optional:
        value = b.simple(value)
        code = b.temporary(f"{lit(absent)} if {value.code} is None else {template.replace('$', value.code)}", value)
        return value.with_(code, result, optional=None in results)
    return b.apply(value, template, result, optional=value.optional or None in results)


@function(
    "boolean",
    "string",
    "boolean",
    "True for the named code; absent, blank or the `false` code is false; anything else is refused.",
    Parameter("true", "code, or list of codes"),
    Parameter("false", "code, or list of codes", default=None),
    example="boolean(true='X')",
    inverse="enum({True: 'X', False: ''})",
    invert=_flag_back,
)
def _boolean(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    codes = []
    for name in ("true", "false"):
        given = args[name]
        found = () if given is None else given.const if isinstance(given.const, tuple) else (given.const,)
        if any(not isinstance(c, str) for c in found):
            raise problem(f"boolean: {name} is a code or a list of codes", "write boolean(true='X', false='N')")
        codes.append(tuple(found))
    if value.type.values is not None:
        known = {*codes[0], *codes[1], ""}
        if without := [v for v in value.type.values if v not in known]:
            raise problem(f"no answer for {', '.join(map(repr, without))}", f"add false={without[0]!r}")
        for code in (*codes[0], *codes[1]):
            if code not in value.type.values:
                b.find(f"the code {code!r} never comes: it is {value.type}", "remove it")
    true, false = (b.constant("codes", frozenset(c)) for c in codes)
    return value.with_(f"flag({value.code}, {true}, {false})", BOOLEAN, optional=False)


@function(
    "contains",
    "string",
    "boolean",
    "Whether the text holds the letters; absent holds nothing.",
    Parameter("letters", "what is looked for", ("str",), "constant"),
    example="contains('T')",
)
def _contains(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    value = b.simple(value)
    guard = f"{value.code} is not None and " if value.optional else ""
    return value.with_(f"({guard}{lit(args['letters'])} in {value.code})", BOOLEAN, optional=False)


# ---- amounts ------------------------------------------------------------------------------------------------------


@function(
    "quantity",
    "decimal integer string",
    "quantity",
    "A quantity with its unit (UN/ECE Recommendation 20). An unknown unit is refused.",
    Parameter("unit", "code of the unit: a field or a constant", ("string",)),
    Parameter("table", "name of a table [tables.NAME] of unit codes; without it the usual codes are known", (), "word", None),
    example="quantity(MEINS)",
    inverse="amount; the unit's field is filled from the table turned round",
    raw=True,
)
def _quantity(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    unit: Value = args["unit"]
    table: dict[str, Any] = runtime.UNIT_CODES
    if args["table"] is not None:
        if (named := b.file.tables.get(args["table"])) is None:
            raise problem(f"unknown table {args['table']}", f'write [tables.{args["table"]}] with one line per unit: ST = "EA"')
        if strange := [v for v in named.values() if v not in UNITS]:
            raise problem(f"table {args['table']} gives {strange[0]!r}", f"units are {', '.join(UNITS)}")
        table = named
    if unit.type.values is not None and (without := [u for u in unit.type.values if u not in table]):
        raise problem(f"unit {without[0]!r} is not known", "write a table: quantity(UNIT, table=units) and [tables.units]")
    digits = value.type.leaf.digits if value.type.leaf else None
    if digits is not None and digits[1] > 6:
        raise problem(
            f"a quantity has at most 6 digits after the point, {'.'.join(value.path)} has {digits[1]}", "append | decimal(6, 'half_even')"
        )
    if unit.optional:
        raise problem(f"the unit {'.'.join(unit.path)} may be absent", "append | default('EA') or | required to it")
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
    return "$" if value.raw == "xml" or (value.type.kind == "string" and value.raw is None) else "str($)"


def _currency(b: Builder, currency: Value) -> Value:
    if currency.optional:
        raise problem(f"the currency {'.'.join(currency.path)} may be absent", "append | default('EUR') or | required to it")
    if currency.type.values is not None and (strange := [c for c in currency.type.values if c not in CURRENCIES]):
        raise problem(f"{strange[0]!r} is no ISO 4217 currency", "map it: CODE | enum(EURO='EUR')")
    return b.simple(currency)


@function(
    "money",
    "decimal integer string",
    "money",
    "An amount in whole units of its currency; more digits than the currency has are refused.",
    Parameter("currency", "ISO 4217 code: a field or a constant", ("string",)),
    Parameter("digits", "decimals that the source stores whatever the currency (SAP: 2)", ("int",), "constant", None),
    example="money(KONWA)",
    inverse="amount; the currency's field is filled too",
    raw=True,
)
def _money(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    currency, digits = _currency(b, args["currency"]), args["digits"]
    at = f"../{currency.path[-1]}" if currency.path and value.raw == "xml" else ""
    memo = b.memo("amounts", f"{digits} {at}", lambda key: runtime.money(key[0], key[1], digits, at))
    return b.apply(value, f"{memo}[{_digits(value)}, {currency.code}]", Type("money"))


@function(
    "cents",
    "integer string",
    "money",
    "An amount in the smallest unit of its currency.",
    Parameter("currency", "ISO 4217 code", ("string",)),
    example="cents('EUR')",
    inverse="minor_units; the currency's field is filled too",
    raw=True,
)
def _cents(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"cents($, {_currency(b, args['currency']).code})", Type("money"))


@function(
    "unit_price",
    "decimal integer string",
    "unit_price",
    "A price that may have more digits than its currency.",
    Parameter("currency", "ISO 4217 code", ("string",)),
    example="unit_price(currency)",
    inverse="amount; the currency's field is filled too",
    raw=True,
)
def _unit_price(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    memo = b.memo("prices", "", lambda key: runtime.unit_price(*key))
    return b.apply(value, f"{memo}[{_digits(value)}, {_currency(b, args['currency']).code}]", Type("unit_price"))


@function(
    "amount",
    "money quantity unit_price",
    "decimal",
    "The number of an amount, in whole units.",
    loss="currency or unit, which are fields of their own",
)
def _amount(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "$.amount", DECIMAL)


@function(
    "minor_units", "money", "integer", "The number of the smallest units of an amount.", loss="the currency, which is a field of its own"
)
def _minor_units(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "$.cent_amount", INTEGER)


@function("currency", "money unit_price", "string", "The currency of an amount.", loss="the number")
def _currency_of(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "$.currency_code", Type("string", Leaf("string", 3, min_length=3)))


@function("unit", "quantity", "string", "The unit of a quantity, UN/ECE Recommendation 20.", loss="the number")
def _unit_of(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "$.unit", Type("string", values=UNITS))


# ---- time ---------------------------------------------------------------------------------------------------------

_ZONE = Parameter("zone", "a location (its zone is asked for), 'UTC' or an IANA name in quotes, or zone(…)", ("string", "zone"))


def _zone(b: Builder, value: Value) -> Value:
    if value.type.kind == "zone":
        return value
    if value.const is not NO_CONST:
        return replace(value, code=b.constant("zone", _zone_named(value.const)), type=ZONE, const=NO_CONST)
    if value.optional:
        raise problem(f"the location {'.'.join(value.path)} may be absent", "append | default('…') or | required to it, or name a zone")
    return value.with_(b.temporary(f"zone_of(context, {value.code})", value), ZONE)


def _zone_named(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise problem(f"{name!r} is no time zone", "write an IANA name such as 'Europe/Berlin', or a field that holds a location") from None


def _format(b: Builder, spec: str | None, needs: str) -> str:
    if spec is None:
        return "None"
    letters = runtime.TOKENS.findall(spec)
    if len(set(letters)) != len(letters) or not all(n in letters or (n == "YYYY" and "YY" in letters) for n in needs.split()):
        raise problem(
            f"{spec!r} is no format for this", "formats are made of YYYY YY MM DD hh mm ss fff, each once: 'YYYYMMDD', 'DD.MM.YYYY hh:mm'"
        )
    for known, value in b.constants.items():
        if isinstance(value, runtime.Format) and value.spec == spec:
            return known
    return b.constant("format", runtime.Format(spec))


_FORMAT = Parameter("format", "made of YYYY YY MM DD hh mm ss fff", ("str",), "constant")


@function(
    "date",
    "string date integer",
    "date",
    "A day. Fillers (blank, zeros) and 9999-12-31 (no end) become absent. Without a format: YYYY-MM-DD.",
    replace(_FORMAT, default=None),
    example="date('YYYYMMDD')",
    inverse="format(format)",
    invert=lambda v, c: Call("format", (v, *(c.arguments[1:] or (Const("YYYY-MM-DD"),)))),
    loss="which filler it was",
    raw=True,
)
def _date(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if args["format"] is None:
        return b.apply(value, "filled_iso_date($)", DATE, optional=True)
    name = _format(b, args["format"], "YYYY MM DD")
    if value.raw == "xml":
        form = b.constants[name]
        return b.apply(value, f"{b.memo('days', name, lambda text: runtime.formatted_date(text, form))}[$]", DATE, optional=True)
    return b.apply(value, f"formatted_date($, {name})", DATE, optional=True)


@function(
    "time",
    "string time",
    "time",
    "A time of the day.",
    _FORMAT,
    example="time('hhmmss')",
    inverse="format(format)",
    invert=_back("format", "format"),
    raw=True,
)
def _time(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"formatted_time($, {_format(b, args['format'], 'hh mm')})", TIME)


@function(
    "instant",
    "string datetime",
    "instant",
    "A date and time that carries its offset (RFC 3339); without offset it is refused.",
    inverse="utc text",
    invert=_same,
    raw=True,
    loss="the offset it was written with",
)
def _instant(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return value if value.type.kind == "instant" and value.raw is None else b.apply(value, "instant($)", INSTANT)


@function(
    "local_datetime",
    "string datetime",
    "instant",
    "Local time to a point in time. An offset in the text wins; the repeated hour of autumn takes the first offset; an hour that spring "
    "skips is refused. Fillers become absent.",
    _ZONE,
    replace(_FORMAT, default=None),
    example="local_datetime(WERKS, 'YYYYMMDDhhmmss')",
    inverse="format(format, zone)",
    invert=lambda v, c: Call("format", (v, c.arguments[2], c.arguments[1])) if len(c.arguments) == 3 else None,
    loss="which of two equal hours of autumn it was",
    raw=True,
)
def _local_datetime(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    value = _local(b, value, args)
    return b.apply(value, f"local_datetime($, {_zone(b, args['zone']).code})", INSTANT)


def _local(b: Builder, value: Value, args: dict[str, Any]) -> Value:
    form = _format(b, args["format"], "YYYY MM DD")
    if value.type.kind == "datetime" and form == "None":
        return b.native(value)
    return b.apply(value, f"formatted_datetime($, {form})", Type("datetime"), optional=True)


@function(
    "time_quality",
    "string datetime",
    "as_sent, from_store_zone or ambiguous",
    "How sure the offset of a local time is; see local_datetime.",
    _ZONE,
    replace(_FORMAT, default=None),
    example="time_quality(WERKS, 'YYYYMMDDhhmmss')",
    loss="the time",
    raw=True,
)
def _time_quality(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    value = _local(b, value, args)
    return b.apply(
        value, f"time_quality($, {_zone(b, args['zone']).code})", Type("string", values=("as_sent", "from_store_zone", "ambiguous"))
    )


@function(
    "start_of_day",
    "date",
    "instant",
    "Local midnight at the start of a day.",
    _ZONE,
    example="date('YYYYMMDD') | start_of_day(WERKS)",
    inverse="day(zone)",
    invert=_back("day", "zone"),
)
def _start_of_day(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"start_of_day($, {_zone(b, args['zone']).code})", INSTANT)


@function(
    "end_of_day",
    "date",
    "instant",
    "An inclusive last day becomes the next local midnight.",
    _ZONE,
    example="date('YYYYMMDD') | end_of_day(WERKS)",
    inverse="last_day(zone)",
    invert=_back("last_day", "zone"),
)
def _end_of_day(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"end_of_day($, {_zone(b, args['zone']).code})", INSTANT)


@function("day", "instant", "date", "The local day of a point in time.", _ZONE, example="day(WERKS)", loss="the time of the day")
def _day(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"$.astimezone({_zone(b, args['zone']).code}).date()", DATE)


@function(
    "last_day",
    "instant",
    "date",
    "The last local day before a point in time: the inclusive form of an end.",
    _ZONE,
    example="last_day(WERKS)",
    loss="the time of the day",
)
def _last_day(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"last_day($, {_zone(b, args['zone']).code})", DATE)


@function(
    "epoch_millis",
    "integer string instant",
    "instant, or integer from an instant",
    "Milliseconds since 1970, UTC, in both directions.",
    inverse="itself",
    invert=_back("epoch_millis"),
    raw=True,
)
def _epoch_millis(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if value.type.kind == "instant":
        return b.apply(value, "to_millis($)", INTEGER)
    return b.apply(value, "from_millis($)", INSTANT)


@function(
    "format",
    "date time instant",
    "string",
    "Date or time as text; a point in time needs a zone.",
    _FORMAT,
    replace(_ZONE, default=None),
    example="format('YYYYMMDD')",
    inverse="date, time or local_datetime with the same format",
    invert=_unformat,
)
def _write_format(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if value.type.kind == "instant" and args["zone"] is None:
        raise problem("a point in time has no day without a zone", "write format('YYYYMMDD', 'UTC') or format('YYYYMMDD', LOCATION)")
    zone = "None" if args["zone"] is None else _zone(b, args["zone"]).code
    return b.apply(value, f"write_time($, {_format(b, args['format'], '')}, {zone})", _short(value, len(args["format"])))


@function("zone_of", "string", "zone", "The time zone of a location; an unknown one is refused.", example="zone_of(WERKS)")
def _zone_of(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.simple(b.apply(value, "zone_of(context, $)", ZONE))


@function(
    "zone",
    "string",
    "zone",
    "A time zone by name. The names are known when the mapping is loaded: a constant, or the values of an enum.",
    example="LAND1 | enum(DE='Europe/Berlin', AT='Europe/Vienna') | zone",
)
def _zone_by_name(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if value.type.values is None:
        raise problem("zone needs names that are known now", "write CODE | enum(DE='Europe/Berlin') | zone, or zone_of(LOCATION)")
    zones = {n: _zone_named(n) for n in value.type.values}
    return b.apply(value, f"zone_named({b.constant('zones', zones)}, $)", ZONE)


# ---- absence ------------------------------------------------------------------------------------------------------


@function(
    "default",
    "any",
    "the same",
    "A constant in place of absent.",
    Parameter("value", "the constant", (), "constant"),
    example="default('EA')",
    loss="whether it was absent",
)
def _default(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return _first_of(b, [value, b.literal(args["value"])])


@function(
    "coalesce",
    "",
    "the same",
    "The first that is not absent.",
    Parameter("values", "expressions of one type", many=True),
    example="coalesce(A, B, 'x')",
    loss="which one it was",
)
def _coalesce(b: Builder, value: None, args: dict[str, Any], scope: RecordNode) -> Value:
    if len(args["values"]) < 2:
        raise problem("coalesce chooses between values", "write coalesce(A, B)")
    return _first_of(b, args["values"])


def _first_of(b: Builder, values: list[Value]) -> Value:
    natives = [b.simple(b.native(v)) for v in values]
    found = natives[-1]
    for v in reversed(natives[:-1]):
        both = either(v.type, found.type)
        if both is None:
            raise problem(f"{v.type} and {found.type} stand for each other", "give all the same type")
        if not v.optional:
            found = replace(v, type=both)
            continue
        code = b.temporary(f"{found.code} if {v.code} is None else {v.code}", v)
        found = v.with_(code, both, optional=found.optional)
    return found


@function("required", "any", "the same", "Absent refuses the record.", inverse="itself", invert=_same)
def _required(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    value = b.native(value)
    return value.with_(f"required({value.code})", value.type, optional=False) if value.optional else value


@function("missing", "any", "boolean", "True when the field is not there at all.")
def _missing(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return value.with_(f"({value.code} is None and not {_nil_code(b, value, scope)})", BOOLEAN, optional=False)


@function("nil", "any", "boolean", "True when the field is said to be empty: xsi:nil, JSON null.")
def _nil(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return value.with_(_nil_code(b, value, scope), BOOLEAN, optional=False)


def _nil_code(b: Builder, value: Value, scope: RecordNode) -> str:
    if value.path[:-1] != scope.path:
        raise problem("only a field of the current record can be asked for nil", "write the condition where the record is current")
    return f"nil({scope.var}, {value.path[-1]!r}, {b.form!r})"


@function("empty", "string", "boolean", "True when the field is there and holds no text.")
def _empty(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return value.with_(f"({value.code} == '')", BOOLEAN, optional=False)


# ---- lists --------------------------------------------------------------------------------------------------------


@function("first", "list", "the item", "The first row; none is absent.", loss="the other rows")
def _first(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    value = b.simple(value)
    item = value.type.item or NOTHING
    code = b.temporary(f"{value.code}[0] if {value.code} else None", value)
    raw = value.raw if item.kind != "record" and b.form != "struct" else None
    return replace(value, code=code, type=item, optional=True, raw=raw, const=NO_CONST)


@function(
    "where",
    "list",
    "the same list",
    "The rows for which the condition holds. Names in it are fields of the row.",
    Parameter("condition", "a condition on one row", (), "row"),
    example="where(SPRAS == 'D')",
    loss="the other rows",
)
def _where(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    out = b.name("rows")
    b.emit(f"{out} = []")
    with b.rows(value, scope) as (node, row), b.block(f"if {b.condition(args['condition'], node)}:"):
        b.emit(f"{out}.append({row.code})")
    return replace(value, code=out, const=NO_CONST)


@function(
    "each",
    "list",
    "list",
    "One value per row; absent ones are left out.",
    Parameter("value", "an expression on one row", (), "row"),
    example="each(MAKTX | text)",
    loss="rows without a value",
)
def _each(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    out, item = _collect(b, value, args["value"], scope)
    return replace(value, code=out, type=Type("list", item=item), raw=None, const=NO_CONST)


def _collect(b: Builder, rows: Value, expression: Node, scope: RecordNode) -> tuple[str, Type]:
    out = b.name("values")
    b.emit(f"{out} = []")
    with b.rows(rows, scope) as (node, _):
        found = b.native(b.translate(expression, node))
        if found.type.kind in ("list", "nothing"):
            raise problem(f"one value per row is wanted, this is {found.type}", "name one field of the row")
        found = b.simple(found)
        if found.optional:
            with b.block(f"if {found.code} is not None:"):
                b.emit(f"{out}.append({found.code})", found.where)
        else:
            b.emit(f"{out}.append({found.code})", found.where)
    return out, found.type


@function(
    "sum_of",
    "list",
    "integer, decimal, money or quantity",
    "The sum over the rows; no rows is absent. Different currencies are refused.",
    Parameter("value", "an expression on one row", (), "row"),
    example="sum_of(AMOUNT)",
    loss="the rows",
)
def _sum_of(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    out, item = _collect(b, value, args["value"], scope)
    if item.kind not in ("integer", "decimal", "money"):
        raise problem(f"{item} cannot be added up", "integers, decimals and money can")
    return value.with_(b.temporary(f"total({out})", value), Type(item.kind), optional=True)


@function("count", "list", "integer", "How many rows there are.", loss="the rows")
def _count(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return value.with_(f"len({value.code})", INTEGER)


@function(
    "any_row",
    "list",
    "boolean",
    "Whether the condition holds for a row.",
    Parameter("condition", "a condition on one row", (), "row"),
    example="any_row(TYPE in ('E', 'A'))",
    loss="the rows",
)
def _any_row(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return value.with_(f"bool({_where(b, value, args, scope).code})", BOOLEAN)


@function("as_list", "any", "list", "A list of that one value; absent is an empty list.")
def _as_list(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    value = b.simple(b.native(value))
    code = f"(() if {value.code} is None else ({value.code},))" if value.optional else f"({value.code},)"
    return value.with_(code, Type("list", item=value.type), optional=False)


@function(
    "texts",
    "list",
    "localized",
    "Translated texts of a list: language tag to text. Rows without one of them are left out.",
    Parameter("language", "BCP 47 tag of the row", (), "row"),
    Parameter("text", "text of the row", (), "row"),
    example="texts(SPRAS | enum(D='de', E='en'), MAKTX | text)",
)
def _texts(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    out = b.name("texts")
    b.emit(f"{out} = {{}}")
    with b.rows(value, scope) as (node, _):
        found = [b.simple(b.native(b.translate(args[n], node))) for n in ("language", "text")]
        for f, name in zip(found, ("language", "text"), strict=True):
            if f.type.kind != "string":
                raise problem(f"texts: {name} is {f.type}", "texts(SPRAS | enum(D='de'), MAKTX)")
        guards = [f"{f.code} is not None" for f in found if f.optional]
        with b.block(f"if {' and '.join(guards)}:" if guards else "if True:"):
            b.emit(f"{out}[{found[0].code}] = {found[1].code}", found[1].where)
    return value.with_(f"({out} or None)", LOCALIZED, optional=True)


@function(
    "localized",
    "string",
    "localized",
    "One text with its language.",
    Parameter("tag", "BCP 47 tag", ("string",)),
    example="localized('de')",
    inverse="in_language(tag)",
    invert=_back("in_language", "tag"),
)
def _localized(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if args["tag"].optional:
        raise problem("the language may be absent", "append | default('und') to it")
    return b.apply(value, f"{{{args['tag'].code}: $}}", LOCALIZED)


@function(
    "in_language",
    "localized",
    "string",
    "The text in the first of the languages that is there, else any; none is absent.",
    Parameter("tags", "BCP 47 tags, best first", ("string",), many=True),
    example="in_language('de', 'en')",
    loss="the other languages",
)
def _in_language(b: Builder, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    tags = ", ".join(t.code for t in args["tags"])
    return b.apply(value, f"in_language($, ({tags},))", STRING, optional=True)


@function(
    "constant",
    "",
    "the same",
    "A constant; the same as writing it alone.",
    Parameter("value", "the constant", (), "constant"),
    example="constant('EUR')",
)
def _constant(b: Builder, value: None, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.literal(args["value"])


def reference() -> str:
    """The table of functions for the manual, generated from the registry."""
    rows = ["| function | takes | gives | what it does | turned round | lost |", "|---|---|---|---|---|---|"]
    for f in FUNCTIONS.values():
        call = f.name
        if f.parameters:
            names = [
                p.name + ("…" if p.many else "") + ("" if p.required or p.many else "=")
                for p in f.parameters
                if not (f.cases and p.name == "table")
            ]
            call += f"({', '.join([*(['CODE=value…'] if f.cases else []), *names])})"
        parameters = "; ".join(f"`{p.name}`: {p.doc}" for p in f.parameters)
        doc = f.doc + (f" {parameters}." if parameters else "") + (f" Example: `{f.example}`." if f.example != f.name else "")
        takes = " or ".join(f.takes) or "–"
        rows.append(f"| `{call}` | {takes} | {f.gives} | {doc.replace('|', chr(92) + '|')} | {f.inverse or '–'} | {f.loss or '–'} |")
    return "\n".join(rows) + "\n"
