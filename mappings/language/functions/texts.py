"""Functions on texts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mappings.language import runtime
from mappings.language.emit import Problem, RecordNode
from mappings.language.expression import Call, Const
from mappings.language.functions.registry import Family, Parameter, back, length_of, over, same, short
from mappings.language.kinds import (
    LOCALIZED,
    STRING,
    Type,
    Value,
    lit,
)
from mappings.language.shape import Leaf
from mappings.language.source import Source

family = Family()


@family.function(
    "text", "string", "string", "Trimmed; empty, blank and the fillers `null`, `N/A` become absent.", inverse="itself", invert=same
)
def _text(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if value.raw is not None:
        value = b.native(value)
    known = None if value.type.values is None else tuple(v for v in value.type.values if runtime.text(v) is not None)
    return b.apply(
        value, "text($)", replace(value.type, leaf=replace(value.type.leaf or Leaf("string"), min_length=1), values=known), optional=True
    )


@family.function("strip", "string", "string", "Without blanks at both ends; empty stays empty.", loss="the blanks")
def _strip(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "$.strip()", replace(value.type, values=over(value, str.strip)))


@family.function("upper", "string", "string", "Capital letters.", loss="the case")
def _upper(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "$.upper()", replace(value.type, values=over(value, str.upper)))


@family.function("lower", "string", "string", "Small letters.", loss="the case")
def _lower(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, "$.lower()", replace(value.type, values=over(value, str.lower)))


@family.function(
    "strip_zeros",
    "string",
    "string",
    "Numeric keys without leading zeros; other keys stay as they are.",
    Parameter("width", "length of the padded key, needed to turn round", ("int",), "constant", None),
    example="strip_zeros(18)",
    inverse="pad_zeros(width), when width is given",
    invert=back("pad_zeros", "width"),
    loss="the width, unless given",
)
def _strip_zeros(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    leaf = value.type.leaf
    facets = Leaf("string", leaf.max_length, min_length=leaf.min_length) if leaf else None
    value = b.simple(value)
    return b.apply(value, "(($.lstrip('0') or '0') if $.isdigit() else $)", Type("string", facets, values=over(value, runtime.strip_zeros)))


@family.function(
    "pad_zeros",
    "string integer",
    "string",
    "Numeric keys with leading zeros up to the width (SAP's ALPHA conversion); other keys stay.",
    Parameter("width", "length of the padded key", ("int",), "constant"),
    example="pad_zeros(18)",
    inverse="strip_zeros(width)",
    invert=back("strip_zeros", "width"),
)
def _pad_zeros(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"pad_zeros($, {lit(args['width'])})", short(value, args["width"]))


@family.function(
    "pad",
    "string integer",
    "string",
    "Filled up on the left to the width; longer values are refused.",
    Parameter("width", "length of the result", ("int",), "constant"),
    Parameter("fill", "one character", ("str",), "constant", "0"),
    example="pad(6)",
    inverse="unpad(width, fill)",
    invert=back("unpad", "width", "fill?"),
)
def _pad(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if len(args["fill"]) != 1:
        raise Problem(f"pad fills with {lit(args['fill'])}", "one character fills")
    return b.apply(value, f"pad($, {lit(args['width'])}, {lit(args['fill'])})", short(value, args["width"]))


@family.function(
    "unpad",
    "string",
    "string",
    "Without the filler on the left; one character always stays.",
    Parameter("width", "length of the padded value, needed to turn round", ("int",), "constant", None),
    Parameter("fill", "one character", ("str",), "constant", "0"),
    example="unpad(6)",
    inverse="pad(width, fill), when width is given",
    invert=back("pad", "width", "fill?"),
    loss="the width, unless given",
)
def _unpad(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"(($).lstrip({lit(args['fill'])}) or $[-1:])", short(value, length_of(value)))


@family.function(
    "cut",
    "string",
    "string",
    "The first characters; the rest is lost.",
    Parameter("length", "how many stay", ("int",), "constant"),
    example="cut(40)",
    loss="what is longer",
)
def _cut(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    return b.apply(value, f"$[:{lit(args['length'])}]", short(value, args["length"]))


@family.function(
    "at_most",
    "string",
    "string",
    "Refuses longer texts.",
    Parameter("length", "how many characters are allowed", ("int",), "constant"),
    example="at_most(35)",
    inverse="itself",
    invert=same,
)
def _at_most(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    kept = replace(value.type.leaf or Leaf("string"), max_length=args["length"])
    return b.apply(value, f"at_most($, {lit(args['length'])})", replace(value.type, leaf=kept))


@family.function(
    "digest",
    "string",
    "string",
    "Hexadecimal digits made of a text (SHA-256), for the same text always the same: an id in the form that a system wants.",
    Parameter("length", "how many digits, 16 to 64", ("int",), "constant", default=32),
    example="digest(32)",
    loss="the text",
)
def _digest(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    length = args["length"]
    if not 16 <= length <= 64:
        raise Problem(f"digest of {length} digits", "write a length from 16 to 64")
    return b.apply(value, f"digest($, {length})", Type("string", Leaf("string", max_length=length)))


@family.function(
    "concat",
    "",
    "string",
    "Texts one after the other; absent ones are left out, and all absent is absent.",
    Parameter("parts", "texts", ("string", "integer"), many=True),
    example="concat(STICHTAG, UZEIT)",
    loss="where one part ends",
)
def _concat(b: Source, value: None, args: dict[str, Any], scope: RecordNode) -> Value:
    return _joined(b, args["parts"], "")


@family.function(
    "join",
    "any",
    "string",
    "The texts of a list with a separator between them; further texts may follow, absent ones are left out.",
    Parameter("between", "the separator", ("str",), "constant"),
    Parameter("more", "further texts", ("string", "integer"), default=(), many=True),
    Parameter("strict", "True refuses texts that would not be split the same again", ("bool",), "constant", False),
    example="join(' ', NAME2)",
    loss="where one text ends",
)
def _join(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    value = b.native(value)
    if value.type.kind != "list":
        return _joined(b, [value, *args["more"]], args["between"])
    if value.type.item is None or value.type.item.kind != "string":
        raise Problem(f"join takes texts, this is {value.type}", "name the field of the rows: ROWS.NAME | join(', ')")
    if args["strict"]:
        value = b.simple(value)
        test = f"tuple({value.code}) != split({lit(args['between'])}.join({value.code}), {lit(args['between'])})"
        with b.block(f"if {test}:"):
            b.emit(
                f"wrong({lit('trimmed texts without ' + repr(args['between']))}, repr({value.code}))", value.where, personal=value.personal
            )
    out = b.temporary(f"concat({value.code}, {lit(args['between'])})", value)
    return replace(value.with_(out, STRING, optional=True))


def _joined(b: Source, parts: list[Value], between: str) -> Value:
    texts = []
    lengths: list[int | None] = []
    for p in parts:
        if p.type.kind not in ("string", "integer"):
            raise Problem(f"texts are put together, this is {p.type}", "append | string")
        p = b.native(p)
        texts.append(b.simple(p if p.type.kind == "string" else b.apply(p, "string($)", STRING)))
        lengths.append(length_of(p) if p.type.kind == "string" else None)
    optional = all(p.optional for p in texts)
    first = next((p for p in texts if p.path), texts[0])
    longest = None if None in lengths else sum(n for n in lengths if n is not None) + len(between) * (len(lengths) - 1)
    code = f"concat(({', '.join(t.code for t in texts)},), {between!r})"
    if not between and not any(p.optional for p in texts):
        code = " + ".join(t.code for t in texts)
    return first.with_(b.temporary(code, first), short(first, longest), optional=optional)


@family.function(
    "split",
    "string",
    "list of string",
    "The parts between separators, trimmed, empty ones left out.",
    Parameter("between", "the separator", ("str",), "constant"),
    example="split('/')",
    inverse="join(between, strict=True)",
    invert=lambda v, c: Call("join", (v,), (*c.named, ("strict", Const(value=True)))),
    loss="blanks and empty parts",
)
def _split(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if not args["between"]:
        raise Problem("split has no separator", "write split('/')")
    if value.optional:
        value = b.simple(value)
        code = f"() if {value.code} is None else split({value.code}, {lit(args['between'])})"
    else:
        code = f"split({value.code}, {lit(args['between'])})"
    item = Type("string", replace(value.type.leaf or Leaf("string"), enum=None, pattern=None, min_length=1))
    return value.with_(b.temporary(code, value), Type("list", item=item), optional=False)


@family.function(
    "part",
    "string",
    "string",
    "One part between separators, counted from 0 (-1 is the last); not there is absent.",
    Parameter("between", "the separator", ("str",), "constant"),
    Parameter("position", "which part", ("int",), "constant"),
    example="part(' ', 0)",
    loss="the other parts",
)
def _part(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    leaf = Leaf("string", length_of(value), min_length=1)
    return b.apply(value, f"part($, {lit(args['between'])}, {lit(args['position'])})", Type("string", leaf), optional=True)


@family.function(
    "string",
    "string integer decimal boolean date time datetime any",
    "string",
    "Plain text of a number, date or truth value.",
    Parameter("scale", "digits after the point of a number", ("int",), "constant", None),
    example="string(2)",
    inverse="the conversion to the source's kind",
    invert=same,
)
def _string(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if args["scale"] is not None:
        if value.type.kind not in ("decimal", "integer"):
            raise Problem(f"string({args['scale']}) writes numbers, this is {value.type}", "append | decimal first")
        return b.apply(value, f"fixed($, {lit(args['scale'])})", STRING)
    plain = {"date": "$.isoformat()", "time": "$.isoformat()", "instant": "$.isoformat()", "integer": "str($)"}
    return value if value.type.kind == "string" else b.apply(value, plain.get(value.type.kind, "string($)"), STRING)


@family.function(
    "texts",
    "list",
    "localized",
    "Translated texts of a list: language tag to text. Rows without one of them are left out.",
    Parameter("language", "BCP 47 tag of the row", (), "row"),
    Parameter("text", "text of the row", (), "row"),
    example="texts(SPRAS | enum(D='de', E='en'), MAKTX | text)",
)
def _texts(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    out = b.name("texts")
    b.emit(f"{out} = {{}}")
    with b.rows(value, scope) as (node, _):
        found = [b.simple(b.native(b.translate(args[n], node))) for n in ("language", "text")]
        for f, name in zip(found, ("language", "text"), strict=True):
            if f.type.kind != "string":
                raise Problem(f"texts: {name} is {f.type}", "texts(SPRAS | enum(D='de'), MAKTX)")
        guards = [f"{f.code} is not None" for f in found if f.optional]
        with b.block(f"if {' and '.join(guards)}:" if guards else "if True:"):
            b.emit(f"{out}[{found[0].code}] = {found[1].code}", found[1].where)
    return value.with_(f"({out} or None)", LOCALIZED, optional=True)


@family.function(
    "localized",
    "string",
    "localized",
    "One text with its language.",
    Parameter("tag", "BCP 47 tag", ("string",)),
    example="localized('de')",
    inverse="in_language(tag)",
    invert=back("in_language", "tag"),
)
def _localized(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    if args["tag"].optional:
        raise Problem("the language may be absent", "append | default('und') to it")
    return b.apply(value, f"{{{args['tag'].code}: $}}", LOCALIZED)


@family.function(
    "in_language",
    "localized",
    "string",
    "The text in the first of the languages that is there, else any; none is absent.",
    Parameter("tags", "BCP 47 tags, best first", ("string",), many=True),
    example="in_language('de', 'en')",
    loss="the other languages",
)
def _in_language(b: Source, value: Value, args: dict[str, Any], scope: RecordNode) -> Value:
    tags = ", ".join(t.code for t in args["tags"])
    return b.apply(value, f"in_language($, ({tags},))", STRING, optional=True)
