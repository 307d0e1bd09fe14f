"""Filling a target: each value proven to be of the kind, length and pattern that its field wants."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import tzinfo
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Final

from mappings.language import dates, numerals, runtime
from mappings.language.emit import IDENTIFIER, Line, Part, Prelude, Problem, RecordNode, Remembered, Where
from mappings.language.expression import Const, Node, Path, nodes
from mappings.language.kinds import AMOUNTS, CONVERT, DECIMAL, INSTANT, NO_CONST, NOTHING, NUMBERS, STRING, Type, Value, leaf_type
from mappings.language.read import Group, Rule, did_you_mean
from mappings.language.shape import Field, Form, Leaf, Record
from mappings.language.structs import GATEWAY_FILLED, StructRecord
from mappings.language.translate import Translator

MOST_INPUTS: Final = 3
_NATIVE: Final = frozenset(function.__name__ for function in runtime.NATIVE.values())
_MAKE: Final = {
    "money": "append | money(CURRENCY)",
    "quantity": "append | quantity(UNIT)",
    "unit_price": "append | unit_price(CURRENCY)",
    "localized": "append | localized('de'), or | texts(LANGUAGE, TEXT) to a list",
}


class Target(Translator):
    def assign(self, value: Value, field: Field, record: Record, *, item: bool = False) -> Value:
        """The value as the target wants it: its type proven, its facets checked when it runs."""
        required = field.required and not field.nillable and not item
        if isinstance(field.shape, Record) and value.type.kind != "nothing":
            value = self.assign_record(value, field.shape)
        elif isinstance(field.shape, Leaf) and value.type.kind != "nothing":
            value = self.assign_leaf(value, field.shape)
        if value.optional and required:
            if value.type.kind == "nothing":
                raise Problem("a required field is given nothing", "fill it, or leave the record out with `when`")
            default = (record.defaults or {}).get(field.name) if isinstance(record, StructRecord) else None
            if default is None:
                origin = ".".join(value.path) or "the value"
                raise Problem(
                    f"{origin} may be absent, but {field.name} is required", "append | required (absent refuses the record) or | default(…)"
                )
        return value

    def assign_record(self, value: Value, shape: Record) -> Value:
        wanted = AMOUNTS.get(shape.name) or ("localized" if shape.name == "Localized" else None)
        if wanted is None or self.target.form != "struct":
            raise Problem(
                f"a record {shape.name} is wanted, the expression gives {value.type}", "write a table [fields.….NAME] with its fields"
            )
        if value.type.kind != wanted:
            raise Problem(f"{shape.name} is wanted, the expression gives {value.type}", _MAKE[wanted])
        return value

    def assign_leaf(self, value: Value, leaf: Leaf) -> Value:
        value = self.native(value)
        if value.type.kind == "datetime" and (leaf.kind == "datetime"):
            value = self.apply(value, "instant($)", INSTANT)
        if self.target.form == "struct" and leaf.kind == "string" and value.type.kind in ("date", "instant"):
            value = self.apply(value, "$.isoformat()", STRING)
        if self.turned and leaf.kind == "string" and value.type.kind in ("integer", "decimal", "date", "instant"):
            value = self.apply(value, "utc($)" if value.type.kind == "instant" else "string($)", STRING)
        if self.turned and value.type.kind == "string" and leaf.kind not in ("string", "any", "binary"):
            value = self.apply(value, f"{runtime.NATIVE[leaf.kind].__name__}($)", leaf_type(leaf))
        if self.turned and value.type.kind == "decimal" and leaf.kind == "integer":
            value = self.apply(value, "integer($)", leaf_type(leaf))
        kind = "instant" if leaf.kind == "datetime" else leaf.kind
        if kind == "any":
            return value if value.type.kind in ("string", "integer", "boolean", "any") else self.apply(value, "string($)", STRING)
        if value.type.kind != kind and not (kind == "decimal" and value.type.kind == "integer") and value.type.kind != "any":
            hint = CONVERT.get((value.type.kind, kind), "") or f"convert it to {kind}"
            if value.type.record is not None:
                hint = f"name one of its fields: {', '.join(f.name for f in value.type.record.fields[:8])}"
            raise Problem(f"{leaf_type(leaf)} is wanted, the expression gives {value.type}", hint)
        if value.type.kind == "any":
            value = self.apply(value, f"{runtime.NATIVE[leaf.kind].__name__}($)", leaf_type(leaf))
        if kind == "string":
            return self.facets(value, leaf)
        if kind in NUMBERS:
            return self.numeric(value, leaf)
        if self.target.form != "struct":
            template = {"instant": "utc($)", "date": "$.isoformat()", "time": "$.isoformat()"}.get(kind)
            return self.apply(value, template, STRING) if template else value
        return value

    def facets(self, value: Value, leaf: Leaf) -> Value:
        known, source = value.type.values, value.type.leaf
        if leaf.enum is not None:
            if known is None:
                raise Problem(
                    f"one of {', '.join(map(repr, leaf.enum))} is wanted, the expression gives any text", "append | enum(CODE='…', …)"
                )
            if strange := [v for v in known if v not in leaf.enum]:
                near = did_you_mean(str(strange[0]), leaf.enum)
                text = repr(near[13:-1]) if len(strange) == 1 and near.startswith("did you mean ") else "'…'"
                raise Problem(
                    f"{', '.join(map(repr, strange))} is none of {', '.join(map(repr, leaf.enum))}", f"append | enum({strange[0]}={text})"
                )
            return self.believed(value)
        if leaf.max_length is not None:
            if known is not None and (long := [v for v in known if len(v) > leaf.max_length]):
                raise Problem(f"{long[0]!r} is longer than {leaf.max_length}", "shorten it")
            longer = source is not None and source.max_length is not None and source.max_length > leaf.max_length
            if known is None and source is not None and longer and not self.turned:  # turned round, what is longer is refused
                raise Problem(
                    f"at most {leaf.max_length} characters are wanted, {'.'.join(value.path)} has up to {source.max_length}",
                    f"append | cut({leaf.max_length}) to lose the rest, or | at_most({leaf.max_length}) to refuse longer ones",
                )
        if leaf.min_length and known is None:
            lenient = value.optional or (self.target.form == "struct" and self.optional_target)
            if lenient and source is not None and _may_be_empty(source, self.form) and self.form != "struct":
                raise Problem(f"{'.'.join(value.path)} may be empty, the target is never empty", "append | text: empty becomes absent")
        match = _matcher(leaf.pattern, self.target.form) if leaf.pattern else None
        if known is not None:
            if match and (wrong := [v for v in known if match(v) is None]):
                raise Problem(f"{wrong[0]!r} does not match {leaf.pattern}", "correct it")
            return self.believed(value)
        return self.guarded(value, leaf, match)

    def believed(self, value: Value) -> Value:
        """A code that the contract lists is looked up in that list when it runs; canonical ones and those of functions are sure."""
        if self.form == "struct" or value.const is not NO_CONST or value.type.leaf is None or value.type.leaf.enum is None:
            return value
        return self.apply(value, f"one_of($, {self.constant('values', frozenset(value.type.values or ()))})", value.type)

    def guarded(self, value: Value, leaf: Leaf, match: Callable[[str], object] | None) -> Value:
        """Length and pattern, proven when it runs: no source is believed. A canonical source was proven when it was made."""
        proven = value.type.leaf if self.form == "struct" else None
        most, least = leaf.max_length, leaf.min_length or None
        if proven is not None:
            most = None if proven.max_length is not None and most is not None and proven.max_length <= most else most
            least = None if (proven.min_length or 0) >= (least or 0) else least
        if most is None and least is None and match is None:
            return value
        value = self.simple(value)
        lead = f"{value.code} is not None and " if value.optional else ""
        if most is not None or least is not None:
            size = f"len({value.code})"
            test = f"{size} > {most}" if least is None else f"{size} < {least}" if most is None else f"not {least} <= {size} <= {most}"
            says = (
                f"at most {most} characters"
                if least is None
                else f"at least {least} characters"
                if most is None
                else f"{least} to {most} characters"
                if least < most
                else f"{most} characters"
            )
            with self.block(f"if {lead}{test}:"):
                self.emit(f"wrong({says!r}, {value.code})", value.where, personal=value.personal)
        if match is not None and leaf.pattern is not None:
            kind = "pattern", leaf.pattern
            known = self.memos.get(kind) or self.memos.setdefault(kind, self.constant("pattern", runtime.Pattern(match)))
            with self.block(f"if {lead}{value.code} not in {known} and not {known}({value.code}):"):
                self.emit(f"wrong({_readable(leaf.pattern)!r}, {value.code})", value.where, personal=value.personal)
        return replace(value, type=replace(value.type, leaf=leaf))

    def numeric(self, value: Value, leaf: Leaf) -> Value:
        source = value.type.leaf
        low, high = (Decimal(t) if t is not None and _number(t) else None for t in (leaf.minimum, leaf.maximum))
        known = value.type.values
        if known is not None and (wrong := [v for v in known if (low is not None and v < low) or (high is not None and v > high)]):
            raise Problem(f"{wrong[0]} is not within {leaf.minimum} to {leaf.maximum}", "correct it")
        if leaf.digits is not None and leaf.kind == "decimal":
            total, fraction = leaf.digits
            if source is not None and source.digits is not None and source.digits[1] > fraction:
                raise Problem(
                    f"{fraction} digits after the point are wanted, {'.'.join(value.path)} has {source.digits[1]}",
                    f"append | decimal({fraction}) to refuse more, or | decimal({fraction}, 'half_even') to round",
                )
            if value.type.kind == "decimal" and not (source and source.digits == leaf.digits and self.form == "struct"):
                value = self.apply(value, f"in_digits($, {total}, {fraction})", replace(DECIMAL, leaf=leaf))
        if (low is not None or high is not None) and known is None:
            value = self.simple(value)
            least, most = (None if b is None else str(int(b)) if b == int(b) else self.constant("bound", b) for b in (low, high))
            test = f"{f'{least} <= ' if least else ''}{value.code}{f' <= {most}' if most else ''}"
            with self.block(f"if {f'{value.code} is not None and ' if value.optional else ''}not {test}:"):
                says = f"{'' if low is None else low} to {'' if high is None else high}"
                self.emit(f"wrong({says!r}, {value.code})", value.where, personal=value.personal)
        return value

    def fields(self, group: Group, record: Record, scope: RecordNode, prefix: str) -> list[tuple[Field, Value]]:
        """Every filled field of one target record, in the order of the record."""
        found: dict[str, tuple[Field, Value]] = {}
        known = {f.name: f for f in record.fields}
        typed: set[str] = set()
        parts: list[tuple[str, Rule | Group]] = [*group.rules.items(), *group.groups.items()]
        for name, part in parts:
            path = f"{prefix}{name}"
            field = known.get(name)
            if field is None and (field := record.get(name)) is not None:  # one of the types that may stand in
                known[name] = field
                typed.add(name.partition(":")[0])
            rule = part if isinstance(part, Rule) else Rule(name, Const(None), "", part.place)
            if field is None:
                self.failed.append(rule)
                if not record.open:
                    self.find(f"unknown target field {path}", did_you_mean(name, known), place=rule.place)
                continue
            before, self.target_path = self.target_path, path
            with self.about(rule, path if isinstance(part, Rule) else ""):
                self.filled.append(path)
                self.optional_target = not field.required
                self.whole(field)
                if isinstance(part, Group):
                    value = self.group(part, field, scope)
                elif not prefix and self.function == "one" and _invariant(part.node):
                    value = self.once(part, field, record)
                else:
                    with self.remembering(field) as made:
                        value = self.scalar(part, field, record, scope)
                        value = made(value if value.code.startswith("context.") else self.simple(value))
                if not IDENTIFIER(value.code) and not value.code.startswith("context."):
                    value = self.simple(value)
                found[name] = field, value
            self.target_path = before
        strange = [name for name, _ in parts if name not in known]
        for field in record.fields:
            if f"{prefix}{field.name}" in self.file.undecided or field.name in group.broken or get_close_matches(field.name, strange, 1):
                continue
            given = field.fixed or field.name in group.rules or field.name in group.groups or field.name in typed
            if field.required and not given:
                hint = (
                    f'write {field.name} = "…"'
                    if isinstance(field.shape, Leaf) or field.shape.name in AMOUNTS
                    else f"write [fields.{prefix}{field.name}]"
                )
                self.find(f"required target field {prefix}{field.name} ({_wanted(field)}) is not filled", hint, place=group.place)
        return [found[n] for n in known if n in found]

    @contextmanager
    def remembering(self, field: Field) -> Iterator[Callable[[Value], Value]]:
        """What is made in here of texts of the current record alone, by several steps, becomes a function of its own (see Remembered)."""
        start, known, leaves, finished = len(self.lines), self.known, self.leaves, list[Value]()
        self.known, self.leaves = {code: found for code, found in known.items() if "context" in code}, {}

        def made(value: Value) -> Value:
            finished.append(value)
            return value

        try:
            yield made
        finally:
            mine, used = self.known, self.leaves
            self.known, self.leaves = known, leaves | used
        lines = self.lines[start:]
        personal = field.personal or any(leaf.personal for leaf in used.values())
        inputs = () if personal or self.form == "struct" or self.function != "one" else self.inputs(lines, used)
        if len(inputs) > MOST_INPUTS and self.form == "rows":  # of rows that are cut already, making one costs less than so long a key
            inputs = ()
        if not inputs or not finished or not IDENTIFIER(out := finished[0].code):
            known.update(mine)
            return
        name = self.name(f"{field.name}_of")
        where = Where(self.target_path, finished[0].where, self.rule.place.line if self.rule else 0)
        codes = [name for name in inputs if isinstance(leaf := used[name].shape, Leaf) and leaf.enum]
        code = codes[0] if len(inputs) == 2 and codes else ""
        part = Remembered(self.indent, out, name, self.name(name.upper()), inputs, code, where)
        body = [replace(line, indent=line.indent - self.indent + 1) for line in lines]
        self.functions.append((part, [*body, Line(1, f"return {out}", where)]))
        self.lines[start:] = [part]

    def inputs(self, lines: list[Part], leaves: Mapping[str, Field]) -> tuple[str, ...]:
        """The source values that lines are made of, in their order; none where they need anything else, or are one step of any cost."""
        if any(isinstance(line, Prelude) for line in lines):
            return ()
        tree = ast.parse("\n".join(f"{'    ' * (line.indent - self.indent)}{line.text}" for line in lines if not isinstance(line, Prelude)))
        parts = list(ast.walk(tree))
        names = [node for node in parts if isinstance(node, ast.Name)]
        stored = {n.id for n in names if isinstance(n.ctx, ast.Store)}
        loaded = {n.id for n in names if isinstance(n.ctx, ast.Load)} - stored
        functions = {part.function for part, _ in self.functions}
        found = [name for name in leaves if name in loaded]
        for name in loaded.difference(found, functions, dir(builtins)):
            if not hasattr(runtime, name) and not _repeatable(self.constants.get(name)):
                return ()
        steps = sum(isinstance(node, (ast.Call, ast.Subscript, ast.BinOp)) for node in parts)
        steps -= sum(isinstance(node, ast.Call) and self.trifling(node.func) for node in parts)
        return tuple(found) if steps > 1 else ()

    def trifling(self, function: ast.expr) -> bool:
        """A refusal, a method that costs no more than a look into a table, or what rows of the right types never come to."""
        if isinstance(function, ast.Attribute):
            return function.attr in ("removeprefix", "startswith")
        return isinstance(function, ast.Name) and (function.id == "wrong" or (self.form == "rows" and function.id in _NATIVE))

    def once(self, rule: Rule, field: Field, record: Record) -> Value:
        """A value that only the document decides is made once, not for each of its records."""
        lines, indent, self.lines, self.indent, self.function = self.lines, self.indent, self.hoisted, 1, "hoisted"
        self.root.function = "hoisted"
        try:
            value = self.simple(self.scalar(rule, field, record, self.root))
        finally:
            self.lines, self.indent, self.function = lines, indent, "one"
            self.root.function = "read"
        self.outer.append(value.code)
        return value

    def scalar(self, rule: Rule, field: Field, record: Record, scope: RecordNode) -> Value:
        value = self.translate(rule.node, scope)
        if not field.repeated:
            if value.const == () and isinstance(field.shape, Record):
                raise Problem(f"{field.name} is one record, not a list", f"write {field.name} = {{}}")
            if value.type.kind == "list":
                raise Problem(
                    f"one value is wanted, the expression gives {value.type}", "append | first, | join(', ') or | where(…) | first"
                )
            return self.assign(value, field, record)
        if value.type.kind != "list":
            raise Problem(f"a list is wanted, the expression gives {value.type}", 'append | as_list, or write a table with each = "…"')
        if value.const is not NO_CONST:
            for v in value.const:
                self.assign(self.literal(v), field, record, item=True)
            if not value.const and field.required and self.target.form == "xml":
                raise Problem(f"at least one {field.name} is wanted", "an empty list is no element at all")
            return value if self.target.form == "struct" else replace(value, code=repr(list(value.const)))
        out = self.name(field.name)
        self.emit(f"{out} = []")
        with self.rows(value, scope) as (_, row):
            self.emit(f"{out}.append({self.assign(row, field, record, item=True).code})", row.where)
        code = f"tuple({out})" if self.target.form == "struct" else out
        return Value(code, Type("list"), path=value.path, where=value.where)

    def group(self, group: Group, field: Field, scope: RecordNode) -> Value:
        """A nested record, or a list of them."""
        if isinstance(field.shape, Leaf):
            raise Problem(f"{field.name} is {_wanted(field)}, not a record", f'write {field.name} = "…"')
        if group.each is not None and not field.repeated:
            raise Problem(f"{field.name} is one record, not a list", "write `of` instead of `each`")
        shape, prefix = field.shape, f"{self.target_path}."
        out = self.name(field.name)
        if group.rows:
            if not field.repeated:
                raise Problem(f"{field.name} is one record, not a list", f"write [fields.{self.target_path}] once, with single brackets")
            self.emit(f"{out} = []")
            for each in group.rows:
                self.emit(f"{out}.extend({self.group(each, field, scope).code})")
            return Value(f"tuple({out})" if self.target.form == "struct" else out, Type("list"))
        if group.each is not None:
            with self.about(group.each):
                value = self.translate(group.each.node, scope)
                if value.type.kind != "list":
                    raise Problem(f"each needs a list, this is {value.type}", "for one nested record write `of`")
                self.emit(f"{out} = []")
                if group.when is None:
                    self.repeated(group, field, shape, scope, value, out)
                else:
                    with self.about(group.when):
                        condition = self.condition(group.when.node, scope)
                    with self.block(f"if {condition}:"):
                        self.repeated(group, field, shape, scope, value, out)
            return Value(f"tuple({out})" if self.target.form == "struct" else out, Type("list"))
        conditions: list[str] = []
        if group.when is not None:
            with self.about(group.when):
                conditions.append(f"({self.condition(group.when.node, scope)})")
        inner = scope
        if group.of is not None:
            known = len(self.findings)
            with self.about(group.of):
                value = self.translate(group.of.node, scope)
                if value.type.kind != "record" or value.type.record is None:
                    raise Problem(f"`of` needs a record, this is {value.type}", "for a list write `each`")
                below, value = value.type.record, self.simple(value)
                if value.optional:
                    conditions.append(f"{value.code} is not None")
                inner = RecordNode(below, value.code, value.path, value.where, scope, function=self.function)
            if len(self.findings) > known:
                return Value(out, NOTHING, optional=True)
        may_lack = bool(conditions)
        if may_lack:
            if field.required and not field.repeated:
                raise Problem(
                    f"{field.name} is required, but its record is conditional", "remove `when`, or take `of` from a required record"
                )
            self.emit(f"{out} = {'()' if self.target.form == 'struct' else '[]'}" if field.repeated else f"{out} = None")
            self.emit(f"if {' and '.join(conditions)}:")
            self.indent += 1
            self.blocks.append(len(self.lines))
        if inner is not scope:
            self.lines.append(Prelude(self.indent, inner, Where(self.target_path, inner.where, group.place.line)))
        code, absent = self.record(group, shape, inner, prefix)
        if field.repeated:
            none, code = ("()", f"({code},)") if self.target.form == "struct" else ("[]", f"[{code}]")
            code = f"{none} if {absent} else {code}" if absent else code
        elif absent and not field.required and not may_lack:
            code, may_lack = f"None if {absent} else {code}", True
        self.emit(f"{out} = {code}")
        if conditions:
            self.indent -= 1
            self.blocks.pop()
        return Value(out, Type("list" if field.repeated else "record", record=shape), optional=may_lack and not field.repeated)

    def repeated(self, group: Group, field: Field, shape: Record, scope: RecordNode, value: Value, out: str) -> None:
        """One record for each row of a list, or for each group of its rows."""
        prefix = f"{self.target_path}."
        groups = self.name("groups") if group.group is not None else ""
        if groups:
            self.emit(f"{groups} = {{}}")
        with self.rows(value, scope) as (node, row):
            if group.where is not None:
                with self.about(group.where), self.block(f"if not {self.condition(group.where.node, node)}:"):
                    self.emit("continue")
            if group.group is None:
                with self.remembering(field) as made:
                    item = made(self.simple(Value(self.record(group, shape, node, prefix)[0], Type("record"), where=row.where)))
                self.emit(f"{out}.append({item.code})", row.where)
            else:
                place = f"({node.where.rpartition('{')[2].partition('}')[0]}, {node.var})"
                self.emit(f"{groups}.setdefault({self.grouped(node, group.group)}, []).append({place})", row.where)
        if groups:
            pairs, index, var = self.name("pairs"), self.name("i"), self.name(node.var)
            with self.block(f"for {pairs} in {groups}.values():"):
                self.emit(f"{index}, {var} = {pairs}[0]")
                where = f"{node.where.rpartition('{')[0]}{{{index}}}{node.where.rpartition('}')[2]}"
                first = RecordNode(node.record, var, node.path, where, scope, function=self.function)
                self.opened(first, pairs)
                self.lines.append(Prelude(self.indent, first, Where(self.target_path, where, group.place.line)))
                self.emit(f"{out}.append({self.record(group, shape, first, prefix)[0]})", where)

    def record(self, group: Group, shape: Record, scope: RecordNode, prefix: str = "") -> tuple[str, str]:
        """Code that makes one target record, and the condition under which all of it is absent."""
        filled = self.fields(group, shape, scope, prefix)
        sourced = [v for _, v in filled if v.const is NO_CONST and v.path]
        absent = " and ".join(f"{v.code} is None" for v in sourced) if sourced and all(v.optional for v in sourced) else ""
        if isinstance(shape, StructRecord):
            arguments = [f"{f.name}={self.defaulted(v, f, shape)}" for f, v in filled]
            names = {f.name for f, _ in filled}
            arguments += [f"{n}=context.{n}" for n in sorted(GATEWAY_FILLED - names) if shape.get(n) is not None and not prefix]
            return f"{self.constant(shape.name.lower(), shape.type)}({', '.join(arguments)})", absent
        always = ", ".join(f"{f.name!r}: {v.code}" for f, v in filled if not v.optional or (f.required and f.nillable))
        some = [(f, v) for f, v in filled if v.optional and not (f.required and f.nillable)]
        if not some:
            return f"{{{always}}}", absent
        out = self.name("record")
        self.emit(f"{out} = {{{always}}}")
        for f, v in some:
            with self.block(f"if {v.code} is not None:"):
                self.emit(f"{out}[{f.name!r}] = {v.code}")
        return out, absent

    def defaulted(self, value: Value, field: Field, record: StructRecord) -> str:
        default = (record.defaults or {}).get(field.name)
        if not value.optional or default is None or field.nillable:
            return value.code
        fallback = repr(default) if isinstance(default, str | int | bool) or default == () else self.constant("default", default)
        return f"{fallback} if {value.code} is None else {value.code}"


def _repeatable(constant: Any) -> bool:
    """Whether a constant gives the same for the same inputs: an estate's own function need not."""
    known = runtime.Memo, runtime.Pattern, dict, frozenset, tuple, str, Decimal, dates.Format, tzinfo, type
    return isinstance(constant, known) or getattr(constant, "__module__", "") in (dates.__name__, numerals.__name__)


def _invariant(node: Node) -> bool:
    """Whether an expression speaks of the whole document only, and of something in it."""
    anchors = [n.anchor for n in nodes(node) if isinstance(n, Path)]
    return "root" in anchors and all(a in ("root", "parameters", "context") for a in anchors)


def _wanted(field: Field) -> str:
    what = field.shape.name if isinstance(field.shape, Record) else str(leaf_type(field.shape))
    return f"list of {what}" if field.repeated else what


def _matcher(pattern: str, form: Form) -> Callable[[str], object] | None:
    """XSD facets and file layouts speak of the whole text, JSON Schema and msgspec of any part. None: not a pattern that Python knows."""
    try:
        compiled = re.compile(pattern)
    except re.error:
        return None
    return compiled.fullmatch if form in ("xml", "rows") else compiled.search


def _may_be_empty(leaf: Leaf, form: Form) -> bool:
    if leaf.min_length or (leaf.enum is not None and "" not in leaf.enum):
        return False
    return not (leaf.pattern and (match := _matcher(leaf.pattern, form)) and match("") is None)


def _readable(pattern: str) -> str:
    return f"text like {pattern.removesuffix('(?!' + chr(92) + 'n)').removeprefix('^').removesuffix('$')}"


def _number(text: str) -> bool:
    return re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text) is not None
