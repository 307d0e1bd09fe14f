"""Translates a mapping into Python text, and finds every mistake on the way: the check and the compiler are one pass.

The text is made from our own nodes and templates only; what a mapping's author writes enters it as names made here (`Builder.name`) or
through `repr()` of constants. That is why executing it is safe: no expression of a file is ever evaluated as Python.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from contracts.errors import Finding
from mappings.language import runtime
from mappings.language.expression import (
    Arithmetic,
    Call,
    Cases,
    Choice,
    Compare,
    Const,
    Logic,
    Member,
    Node,
    Path,
    Sequence,
    nodes,
)
from mappings.language.functions import FUNCTIONS, Function, Parameter
from mappings.language.kinds import (
    AMOUNTS,
    BOOLEAN,
    DECIMAL,
    INSTANT,
    INTEGER,
    NO_CONST,
    NOTHING,
    NUMBERS,
    REFUSE,
    STRING,
    Type,
    Value,
    either,
    leaf_type,
)
from mappings.language.read import Drop, Group, MappingFile, Place, Rule, did_you_mean
from mappings.language.shape import TEXT, Field, Form, Leaf, Message, Record
from mappings.language.structs import GATEWAY_FILLED, GATEWAY_KEPT, StructRecord

_WORDS: Final = frozenset(
    {*keyword.kwlist, *dir(builtins), *(n for n in dir(runtime) if not n.startswith("_")), "context", "document", "record", "tag", "source"}
)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|-?[0-9]+|'[^'\\{}]*'|None|True|False").fullmatch
CONTEXT: Final = {"received_at": INSTANT, "system": STRING, "operation": STRING}


class Problem(Exception):  # becomes a Finding with the place of the rule
    def __init__(self, message: str, suggestion: str = "", column: int = 0) -> None:
        super().__init__(message)
        self.message, self.suggestion, self.column = message, suggestion, column


@dataclass(frozen=True, slots=True)
class Where:
    """What a line of generated code is about. `path` has a `{name}` for each row index."""

    target: str = ""
    path: str = ""
    line: int = 0
    personal: bool = False
    constant: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    indent: int
    text: str
    where: Where


@dataclass(slots=True, eq=False)
class Slot:
    field: Field
    var: str
    node: RecordNode | None = None


@dataclass(slots=True, eq=False)
class RecordNode:
    """A source record that is being read: the variable that holds it, and the fields of it that somebody asked for."""

    record: Record
    var: str
    path: tuple[str, ...]
    where: str
    outer: RecordNode | None = None
    optional: bool = False
    function: str = ""
    slots: dict[str, Slot] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prelude:
    """The place in the code where a record's fields are read; filled in when it is known which."""

    indent: int
    node: RecordNode
    where: Where


@dataclass(slots=True)
class Lineage:
    """One target field: its expression, the source paths it is made from and the functions on the way."""

    target: str
    expression: str
    line: int
    sources: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)


class Builder:
    """One translation of one mapping in one direction. `findings` holds what is wrong; the text is only good when it is empty."""

    def __init__(self, file: MappingFile, source: Message, target: Message, steps: tuple[str, ...] = ()) -> None:
        self.file, self.source, self.target, self.steps = file, source, target, steps
        self.form: Form = source.form
        self.findings: list[Finding] = []
        self.lines: list[Line | Prelude] = []
        self.constants: dict[str, Any] = {}
        self.enumerations: dict[str, str] = {}
        """Constant that holds a table of cases -> target field."""
        self.used: set[tuple[str, ...]] = set()
        self.filled: list[str] = []
        self.lineage: dict[str, Lineage] = {}
        self.parameters_used: set[str] = set()
        self.hoisted: list[Line | Prelude] = []
        self.memos: dict[tuple[str, str], str] = {}
        self.blocks: list[int] = []
        self.known: dict[str, tuple[str, tuple[int, ...], str]] = {}
        """Code that was computed -> function, blocks around it, variable: the same expression is computed once."""
        self.outer: list[str] = []
        self.levels: list[RecordNode] = []
        self.drops: set[tuple[str, ...]] = set()
        self.optional_target = False
        self.this: Value | None = None
        self.indent = 0
        self.taken: set[str] = set(_WORDS)
        self.rule: Rule | None = None
        self.target_path = ""
        self.current: Lineage | None = None
        self.function = ""
        self.turned = False
        """A mapping turned round writes numbers into text fields as text, as the forward direction read them from there."""
        self.root = RecordNode(source.root, "document", (), "")

    # ---- findings and text ----

    def find(self, message: str, suggestion: str = "", *, place: Place | None = None, column: int = 0) -> None:
        rule = self.rule
        if place is None:
            place = rule.place if rule else self.file.fields.place
            if column and rule and place.column:
                column += place.column + len(rule.text) - len(rule.text.lstrip())
        finding = Finding(self.file.file, place.line, message, suggestion, column or place.column)
        if finding not in self.findings:
            self.findings.append(finding)

    @contextmanager
    def about(self, rule: Rule, target: str = "") -> Iterator[None]:
        """Findings in here belong to that rule."""
        before = self.rule, self.current
        self.rule = rule
        if target:
            self.current = self.lineage.setdefault(target, Lineage(target, rule.text, rule.place.line))
        try:
            yield
        except Problem as problem:
            self.find(f"{target or rule.name}: {problem.message}", problem.suggestion, column=problem.column)
        finally:
            self.rule, self.current = before

    def emit(self, text: str, where: str = "", *, personal: bool = False, constant: bool = False) -> None:
        line = self.rule.place.line if self.rule else 0
        self.lines.append(Line(self.indent, text, Where(self.target_path, where, line, personal, constant)))

    @contextmanager
    def block(self, head: str, where: str = "") -> Iterator[None]:
        self.emit(head, where)
        self.indent += 1
        self.blocks.append(len(self.lines))
        try:
            yield
        finally:
            self.indent -= 1
            self.blocks.pop()

    def name(self, base: str) -> str:
        """A variable that nothing else uses."""
        stem = re.sub(r"\W", "_", base, flags=re.ASCII)[:40].strip("_") or "x"
        if stem[0].isdigit():
            stem = f"x{stem}"
        name, number = stem, 1
        while name in self.taken:
            number += 1
            name = f"{stem}_{number}"
        self.taken.add(name)
        return name

    def constant(self, base: str, value: Any) -> str:
        for name, known in self.constants.items():
            if type(known) is type(value) and known is value:
                return name
        name = self.name(base.upper())
        self.constants[name] = value
        return name

    def memo(self, base: str, key: str, convert: Callable[[Any], Any]) -> str:
        """A bounded table that converts what it does not hold; one per `key` in a mapping."""
        return self.memos.get((base, key)) or self.memos.setdefault((base, key), self.constant(base, runtime.Memo(convert)))

    def holds(self, code: str) -> str:
        """The variable of what was computed in this scope already, or nothing."""
        function, blocks, name = self.known.get(code, ("", (), ""))
        return name if function == self.function and tuple(self.blocks[: len(blocks)]) == blocks else ""

    def temporary(self, code: str, value: Value) -> str:
        if name := self.holds(code):
            return name
        name = self.name(self.target_path.rpartition(".")[2] or "value")
        self.emit(f"{name} = {code}", value.where, personal=value.personal)
        self.known[code] = self.function, tuple(self.blocks), name
        return name

    def simple(self, value: Value) -> Value:
        """The value in a variable, so that it can be named twice."""
        return value if _IDENTIFIER(value.code) else replace(value, code=self.temporary(value.code, value))

    def apply(self, value: Value, template: str, type: Type, *, optional: bool | None = None) -> Value:
        """`template` with the value in place of `$`; absent stays absent."""
        if not value.optional:
            return value.with_(template.replace("$", value.code), type, optional=optional)
        value = self.simple(value)
        code = self.temporary(f"None if {value.code} is None else {template.replace('$', value.code)}", value)
        return value.with_(code, type, optional=True)

    def native(self, value: Value) -> Value:
        """The value as the Python object of its kind."""
        if value.raw is None or value.type.kind in ("record", "list", "any"):
            return value
        if value.type.kind in ("string", "binary"):
            return replace(value if value.raw == "xml" else self.text(value), raw=None)
        return self.simple(self.apply(value, self.conversion(value), value.type))

    def conversion(self, value: Value) -> str:
        """Template that turns what the form delivers into its kind. A value that is of the kind already costs no call."""
        function = runtime.NATIVE[value.type.kind].__name__
        if value.raw == "xml":
            return f"{self.memo('decimals', '', runtime.decimal)}[$]" if value.type.kind == "decimal" else f"{function}($)"
        if value.type.kind == "decimal":
            return f"({self.memo('decimals', '', runtime.decimal)}[$] if $.__class__ is str else decimal($))"
        own = {"integer": "int", "boolean": "bool", "date": "date", "time": "time", "datetime": "datetime"}.get(value.type.kind)
        return f"($ if $.__class__ is {own} else {function}($))" if own else f"{function}($)"

    def text(self, value: Value) -> Value:
        """Proven to be text, once per scope."""
        value = self.simple(value)
        if not self.holds(proof := f"{value.code} is text"):
            guard = f"{value.code} is not None and " if value.optional else ""
            with self.block(f"if {guard}{value.code}.__class__ is not str:"):
                self.emit(f"wrong('text', {value.code})", value.where, personal=value.personal)
            self.known[proof] = self.function, tuple(self.blocks), value.code
        return value

    # ---- source ----

    def resolve(self, path: Path, scope: RecordNode) -> Value:
        match path.anchor:
            case "parameters":
                return self.parameter(path)
            case "context":
                if len(path.steps) != 1 or path.steps[0] not in CONTEXT:
                    raise Problem(f"context holds no {'.'.join(path.steps)}", did_you_mean(".".join(path.steps), CONTEXT), path.column)
                return Value(f"context.{path.steps[0]}", CONTEXT[path.steps[0]])
            case "root":
                scope = self.root
            case "parent":
                for _ in range(path.up):
                    if scope.outer is None:
                        raise Problem(f"{path}: there is no record above {self.at(scope)}", "remove one `parent`", path.column)
                    scope = scope.outer
            case _:
                pass
        return self.walk(scope, path.steps, path.column)

    def at(self, node: RecordNode) -> str:
        return ".".join(node.path) or self.source.name

    def parameter(self, path: Path) -> Value:
        name = ".".join(path.steps)
        if name not in self.file.parameters:
            raise Problem(
                f"unknown parameter {name}", f"declare it under [parameters], or {did_you_mean(name, self.file.parameters)}", path.column
            )
        self.parameters_used.add(name)
        value = self.file.parameters[name]
        kind = "boolean" if isinstance(value, bool) else "integer" if isinstance(value, int) else "string"
        return Value(f"context.parameters.get({name!r}, {value!r})", Type(kind))

    def walk(self, node: RecordNode, steps: tuple[str, ...], column: int = 0, *, optional: bool = False) -> Value:
        start = node
        if not steps:
            return Value(node.var, Type("record", record=node.record), path=node.path, where=node.where, node=node)
        for i, step in enumerate(steps):
            field = self.field(node, step, column)
            slot = self.slot(node, field)
            path, where = (*node.path, step), self.join(node, step)
            # a Struct always holds its fields: only None can be missing
            optional = optional or node.optional or field.nillable or (not field.required and self.form != "struct")
            rest = steps[i + 1 :]
            if field.repeated:
                self.use(path, start, slot)
                item = Type("record", record=field.shape) if isinstance(field.shape, Record) else leaf_type(field.shape)
                rows = Value(slot.var, Type("list", item=item), path=path, where=where, raw=self.form, personal=field.personal)
                return self.project(rows, rest, column) if rest else rows
            if isinstance(field.shape, Leaf):
                if rest:
                    raise Problem(f"{'.'.join(path)} is a single value and holds no {rest[0]}", f"write {'.'.join(steps[: i + 1])}", column)
                self.use(path, start, slot)
                given = leaf_type(field.shape)
                if self.form == "struct" and given.kind == "datetime":
                    given = replace(given, kind="instant")
                raw = None if self.form == "struct" else self.form
                return Value(slot.var, given, optional, raw, path, where=where, personal=field.personal)
            if not rest and field.shape.get(TEXT) is not None:
                self.use(path, start, slot)
                return self.walk(self.nested(node, slot, optional=optional), (TEXT,), column, optional=optional)
            if not rest:
                self.use(path, start, slot)
                kind = AMOUNTS.get(field.shape.name) if self.form == "struct" else None
                if kind or (self.form == "struct" and field.shape.name == "Localized"):
                    self.used.update((*path, f.name) for f in field.shape.fields)
                    return Value(slot.var, Type(kind or "localized"), optional, None, path, where=where)
                return Value(
                    slot.var,
                    Type("record", record=field.shape),
                    optional,
                    path=path,
                    where=where,
                    node=self.nested(node, slot, optional=optional),
                )
            node = self.nested(node, slot, optional=optional)
        raise AssertionError("a path ends at a field")

    def use(self, path: tuple[str, ...], start: RecordNode, slot: Slot) -> None:
        self.used.add(path)
        if self.current is not None and (text := ".".join(path)) not in self.current.sources:
            self.current.sources.append(text)
        if start.function != self.function and slot.var not in self.outer:
            self.outer.append(slot.var)

    def field(self, node: RecordNode, name: str, column: int) -> Field:
        if (found := node.record.get(name)) is not None:
            return found
        known = [f.name for f in node.record.fields]
        hint = did_you_mean(name, known)
        if not hint.startswith("did") and (deeper := _search(node.record, name)):
            hint = f"did you mean {deeper}?"
        raise Problem(f"unknown source field {name} in {self.at(node)}", hint, column)

    def slot(self, node: RecordNode, field: Field) -> Slot:
        if (slot := node.slots.get(field.name)) is None:
            slot = node.slots[field.name] = Slot(field, self.name(field.name))
        return slot

    def nested(self, node: RecordNode, slot: Slot, *, optional: bool) -> RecordNode:
        if slot.node is None:
            slot.node = RecordNode(
                _record(slot.field),
                slot.var,
                (*node.path, slot.field.name),
                self.join(node, slot.field.name),
                node,
                optional,
                node.function,
            )
        return slot.node

    def join(self, node: RecordNode, step: str) -> str:
        if isinstance(node.record, StructRecord):
            return f"{node.where}/{(node.record.wire or {}).get(step, step)}"
        return f"{node.where}/{step.replace('{', '{{').replace('}', '}}')}".lstrip("/")

    @contextmanager
    def rows(self, value: Value, scope: RecordNode) -> Iterator[tuple[RecordNode, Value]]:
        """A loop over a list: the row's record to read from, and the row as a value."""
        item = value.type.item or NOTHING
        index, var = self.name("i"), self.name(value.path[-1] if value.path else "row")
        start = ", 1" if self.form == "xml" else ""
        where = f"{value.where}/{{{index}}}" if self.form == "struct" else f"{value.where}[{{{index}}}]"
        listed = self.simple(value).code
        with self.block(f"for {index}, {var} in enumerate({listed}{start}) if {listed} else ():", value.where):
            record = item.record or Record("")
            node = RecordNode(record, var, value.path, where, scope, function=self.function)
            if item.kind == "record":
                self.lines.append(Prelude(self.indent, node, Where(self.target_path, where, self.rule.place.line if self.rule else 0)))
                row = Value(var, item, path=value.path, where=where, node=node)
            else:
                row = Value(
                    var, item, raw=value.raw if self.form != "struct" else None, path=value.path, where=where, personal=value.personal
                )
            before, self.this = self.this, row
            try:
                yield node, row
            finally:
                self.this = before

    def project(self, rows: Value, steps: tuple[str, ...], column: int) -> Value:
        """`ITEMS.NAME`: the names of all items."""
        out = self.name(steps[-1])
        self.emit(f"{out} = []")
        with self.rows(rows, self.root) as (node, _):
            value = self.walk(node, steps, column)
            if value.type.kind == "list":
                self.emit(f"{out}.extend({value.code})")
                item = value.type.item
            else:
                item = value.type
                if value.optional:
                    with self.block(f"if {value.code} is not None:"):
                        self.emit(f"{out}.append({value.code})")
                else:
                    self.emit(f"{out}.append({value.code})")
        return Value(out, Type("list", item=item), raw=value.raw, path=value.path, where=value.where, personal=value.personal)

    # ---- expressions ----

    def translate(self, node: Node, scope: RecordNode) -> Value:
        match node:
            case Path():
                if node.anchor == "this" and not node.steps and self.this is not None:
                    return self.this
                return self.resolve(node, scope)
            case Const(value=value):
                return self.literal(value)
            case Call():
                return self.call(node, scope)
            case Member(base=base, steps=steps):
                return self.member(self.translate(base, scope), steps, node.column, scope)
            case Choice():
                return self.choice(node, scope)
            case Compare():
                return self.compare(node, scope)
            case Logic(operator=operator, parts=parts):
                codes = [f"({self.condition(p, scope)})" for p in parts]
                return Value(f"(not {codes[0]})" if operator == "not" else f"({f' {operator} '.join(codes)})", BOOLEAN)
            case Arithmetic():
                return self.arithmetic(node, scope)
            case Sequence(items=items):
                values = [i.value if isinstance(i, Const) else None for i in items]
                if any(not isinstance(v, str) for v in values):
                    raise Problem("a list in an expression holds texts only", "write ('a', 'b')", node.column)
                item = Type("string", values=tuple(values))
                return Value(repr(tuple(values)), Type("list", item=item), const=tuple(values))
            case Cases():
                raise Problem("a table of cases stands alone", "write CODE | enum({'01': 'x'})", node.column)

    def literal(self, value: Any) -> Value:
        if value is None:
            return Value("None", NOTHING, optional=True, const=None)
        kind = "boolean" if isinstance(value, bool) else "integer" if isinstance(value, int) else "string"
        return Value(repr(value), Type(kind, values=(value,)), const=value)

    def member(self, base: Value, steps: tuple[str, ...], column: int, scope: RecordNode) -> Value:
        if base.type.kind != "record" or base.type.record is None:
            raise Problem(f".{steps[0]} follows {base.type}", "only a record has members", column)
        if base.node is not None:
            return self.walk(base.node, steps, column)
        record = base.type.record
        base = self.simple(base)
        node = RecordNode(record, base.code, base.path, base.where, scope, base.optional, self.function)
        self.lines.append(Prelude(self.indent, node, Where(self.target_path, base.where, self.rule.place.line if self.rule else 0)))
        return self.walk(node, steps, column)

    def condition(self, node: Node, scope: RecordNode) -> str:
        value = self.native(self.translate(node, scope))
        if value.type.kind != "boolean":
            raise Problem(f"a condition is needed, this is {value.type}", "compare it: FIELD == 'X', FIELD is not None", node.column)
        return value.code if value.code.startswith("(") else self.simple(value).code

    def choice(self, node: Choice, scope: RecordNode) -> Value:
        test = self.condition(node.test, scope)
        out = self.name(self.target_path.rpartition(".")[2] or "value")
        with self.block(f"if {test}:"):
            then = self.native(self.translate(node.then, scope))
            self.emit(f"{out} = {then.code}", then.where)
        with self.block("else:"):
            other = self.native(self.translate(node.otherwise, scope))
            self.emit(f"{out} = {other.code}", other.where)
        if (both := either(then.type, other.type)) is None:
            raise Problem(f"the two sides are {then.type} and {other.type}", "both sides of a choice give the same type", node.column)
        origin = then if then.path else other
        return replace(origin, code=out, type=both, optional=then.optional or other.optional, raw=None, const=NO_CONST, node=None)

    def compare(self, node: Compare, scope: RecordNode) -> Value:
        left = self.translate(node.left, scope)
        if node.operator in ("is", "is not"):
            if not isinstance(node.right, Const) or node.right.value is not None:
                raise Problem("`is` compares with None only", "write FIELD == 'X'", node.column)
            return Value(f"({left.code} {node.operator} None)", BOOLEAN)
        left = self.simple(self.native(left))
        if node.operator in ("in", "not in"):
            if not isinstance(node.right, Sequence) or not all(isinstance(i, Const) for i in node.right.items):
                raise Problem(f"`{node.operator}` needs a list of constants", f"write FIELD {node.operator} ('A', 'B')", node.column)
            values = tuple(i.value for i in node.right.items if isinstance(i, Const))
            for value in values:
                self.possible(left.type, value, node.column)
            return Value(f"({left.code} {node.operator} {values!r})", BOOLEAN)
        right = self.simple(self.native(self.translate(node.right, scope)))
        for one, other in ((left, right), (right, left)):
            if other.const is not NO_CONST and one.const is NO_CONST:
                self.possible(one.type, other.const, node.column)
        if either(left.type, right.type) is None:
            raise Problem(f"{left.type} is compared with {right.type}", "convert one of them", node.column)
        if node.operator in ("==", "!="):
            return Value(f"({left.code} {node.operator} {right.code})", BOOLEAN)
        guards = [f"{v.code} is not None" for v in (left, right) if v.optional]
        return Value(f"({' and '.join((*guards, f'{left.code} {node.operator} {right.code}'))})", BOOLEAN)

    def possible(self, type: Type, value: Any, column: int) -> None:
        """A comparison with a value that can never come is a mistake."""
        kind = "boolean" if isinstance(value, bool) else "integer" if isinstance(value, int) else "string"
        if value is not None and kind != type.kind and not (kind == "integer" and type.kind == "decimal"):
            raise Problem(f"{type} is compared with {value!r}", "convert one of them", column)
        if type.values is not None and value not in type.values:
            self.find(f"the value {value!r} never comes: it is {type}", did_you_mean(str(value), map(str, type.values)), column=column)

    def arithmetic(self, node: Arithmetic, scope: RecordNode) -> Value:
        left, right = (self.simple(self.native(self.translate(n, scope))) for n in (node.left, node.right))
        for side in (left, right):
            if side.type.kind not in NUMBERS:
                raise Problem(f"{node.operator} calculates with {side.type}", "convert it: FIELD | decimal", node.column)
        guards = [f"{v.code} is None" for v in (left, right) if v.optional]
        code = f"{left.code} {node.operator} {right.code}"
        result = INTEGER if left.type.kind == right.type.kind == "integer" else DECIMAL
        out = self.temporary(f"None if {' or '.join(guards)} else {code}" if guards else code, left)
        return Value(out, result, bool(guards), path=left.path or right.path, where=left.where or right.where)

    def call(self, node: Call, scope: RecordNode) -> Value:
        function = FUNCTIONS.get(node.name)
        if function is None:
            raise Problem(f"unknown function {node.name}", did_you_mean(node.name, FUNCTIONS), node.column)
        if self.current is not None and node.name not in self.current.functions:
            self.current.functions.append(node.name)
        arguments = list(node.arguments)
        value: Value | None = None
        if function.takes:
            if not arguments:
                raise Problem(f"{node.name} needs a value", f"write FIELD | {function.example or node.name}", node.column)
            value = self.input(function, self.translate(arguments.pop(0), scope), node)
        return function.build(self, value, self.bind(function, arguments, node, scope), scope)

    def input(self, function: Function, value: Value, node: Call) -> Value:
        if value.type.kind == "nothing" and "any" not in function.takes:
            raise Problem(f"{node.name} is given None", "leave the field out instead", node.column)
        if value.raw is not None and value.type.kind == "any":
            value = replace(value, type=Type("string" if "string" in function.takes else function.takes[0]))
        if not _accepts(function.takes, value.type.kind):
            hint = _CONVERT.get((value.type.kind, function.takes[0]), f"{node.name} takes {' or '.join(function.takes)}")
            raise Problem(f"{node.name} is given {value.type}, it takes {' or '.join(function.takes)}", hint, node.column)
        return value if function.raw else self.native(value)

    def bind(self, function: Function, arguments: list[Node], node: Call, scope: RecordNode) -> dict[str, Any]:
        bound: dict[str, Any] = {}
        named = dict(node.named)
        rest: list[Node] = []
        for parameter in function.parameters:
            if parameter.many:
                rest, arguments = arguments, []
                bound[parameter.name] = [self.argument(parameter, a, function, scope) for a in rest]
            elif arguments:
                if parameter.name in named:
                    raise Problem(f"{node.name} is given {parameter.name} twice", "give it once", node.column)
                bound[parameter.name] = self.argument(parameter, arguments.pop(0), function, scope)
            elif parameter.name in named:
                bound[parameter.name] = self.argument(parameter, named.pop(parameter.name), function, scope)
            elif parameter.required:
                raise Problem(f"{node.name} needs {parameter.name}", f"write {function.example}: {parameter.doc}", node.column)
            else:
                bound[parameter.name] = parameter.default
        if arguments:
            raise Problem(f"{node.name} is given too many values", f"write {function.example or node.name}", node.column)
        if function.cases:
            bound["cases"] = {**(bound.pop("table", None) or {}), **{k: self.case(n, node) for k, n in named.items()}}
        elif named:
            unknown = next(iter(named))
            raise Problem(f"{node.name} has no {unknown}", did_you_mean(unknown, [p.name for p in function.parameters]), node.column)
        return bound

    def case(self, node: Node, call: Call) -> Any:
        if not isinstance(node, Const):
            raise Problem(f"{call.name} turns codes into constants", f"write {call.name}(A='active')", node.column)
        return node.value

    def argument(self, parameter: Parameter, node: Node, function: Function, scope: RecordNode) -> Any:
        place = f"{function.name}: {parameter.name}"
        match parameter.form:
            case "constant":
                if not isinstance(node, Const) or not isinstance(node.value, str | int | bool):
                    raise Problem(f"{place} is a constant", f"write {function.example}", node.column)
                if parameter.kinds and type(node.value).__name__ not in parameter.kinds:
                    raise Problem(f"{place} is {node.value!r}", f"it is {' or '.join(parameter.kinds)}: {parameter.doc}", node.column)
                return node.value
            case "word":
                if isinstance(node, Path) and len(node.steps) == 1 and not node.anchor:
                    return node.steps[0]
                if isinstance(node, Const):
                    return node.value
                raise Problem(f"{place} is a name", f"write {function.example}", node.column)
            case "answer":
                if isinstance(node, Path) and node.steps == ("refuse",) and not node.anchor:
                    return REFUSE
                if isinstance(node, Const):
                    return node.value
                raise Problem(f"{place} is a constant, or refuse", f"write {function.example}", node.column)
            case "cases":
                if isinstance(node, Cases):
                    return dict(node.items)
                raise Problem(f"{place} is a table of cases", "write {'01': 'cancelled'}", node.column)
            case "row":
                return node
            case _:
                value = self.translate(node, scope)
                if parameter.kinds and not _accepts(parameter.kinds, value.type.kind):
                    raise Problem(f"{place} is {value.type}, it takes {' or '.join(parameter.kinds)}", parameter.doc, node.column)
                return value if parameter.raw else self.native(value)

    # ---- target ----

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
        kind = "instant" if leaf.kind == "datetime" else leaf.kind
        if kind == "any":
            return value if value.type.kind in ("string", "integer", "boolean", "any") else self.apply(value, "string($)", STRING)
        if value.type.kind != kind and not (kind == "decimal" and value.type.kind == "integer") and value.type.kind != "any":
            hint = _CONVERT.get((value.type.kind, kind), "") or f"convert it to {kind}"
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
                text = (
                    "'…'" if len(strange) > 1 else repr(did_you_mean(str(strange[0]), leaf.enum).removeprefix("did you mean ").rstrip("?"))
                )
                raise Problem(
                    f"{', '.join(map(repr, strange))} is none of {', '.join(map(repr, leaf.enum))}", f"append | enum({strange[0]}={text})"
                )
            return self.believed(value)
        if leaf.max_length is not None:
            if known is not None and (long := [v for v in known if len(v) > leaf.max_length]):
                raise Problem(f"{long[0]!r} is longer than {leaf.max_length}", "shorten it")
            if known is None and source is not None and source.max_length is not None and source.max_length > leaf.max_length:
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
            )
            with self.block(f"if {lead}{test}:"):
                self.emit(f"wrong({says!r}, {value.code})", value.where, personal=value.personal)
        if match is not None and leaf.pattern is not None:
            proof = self.memo("pattern", leaf.pattern, lambda text: match(text) is not None)
            with self.block(f"if {lead}not {proof}[{value.code}]:"):
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
        parts: list[tuple[str, Rule | Group]] = [*group.rules.items(), *group.groups.items()]
        for name, part in parts:
            path = f"{prefix}{name}"
            field = known.get(name)
            rule = part if isinstance(part, Rule) else Rule(name, Const(None), "", part.place)
            if field is None:
                if not record.open:
                    self.find(f"unknown target field {path}", did_you_mean(name, known), place=rule.place)
                continue
            before, self.target_path = self.target_path, path
            with self.about(rule, path if isinstance(part, Rule) else ""):
                self.filled.append(path)
                self.optional_target = not field.required
                if isinstance(part, Group):
                    value = self.group(part, field, scope)
                elif not prefix and self.function == "one" and _invariant(part.node):
                    value = self.once(part, field, record)
                else:
                    value = self.scalar(part, field, record, scope)
                if not _IDENTIFIER(value.code) and not value.code.startswith("context."):
                    value = self.simple(value)
                found[name] = field, value
            self.target_path = before
        for field in record.fields:
            if field.required and field.name not in group.rules and field.name not in group.groups:
                hint = (
                    f'write {field.name} = "…"'
                    if isinstance(field.shape, Leaf) or field.shape.name in AMOUNTS
                    else f"write [fields.{prefix}{field.name}]"
                )
                self.find(f"required target field {prefix}{field.name} ({_wanted(field)}) is not filled", hint, place=group.place)
        return [found[f.name] for f in record.fields if f.name in found]

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
            return value
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
        if group.each is not None:
            with self.about(group.each):
                value = self.translate(group.each.node, scope)
                if value.type.kind != "list":
                    raise Problem(f"each needs a list, this is {value.type}", "for one nested record write `of`")
                self.emit(f"{out} = []")
                with self.rows(value, scope) as (node, row):
                    if group.where is not None:
                        with self.about(group.where), self.block(f"if not {self.condition(group.where.node, node)}:"):
                            self.emit("continue")
                    self.emit(f"{out}.append({self.record(group, shape, node, prefix)[0]})", row.where)
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
        if absent and not field.required and not may_lack:
            code, may_lack = f"None if {absent} else {code}", True
        if field.repeated:
            code = f"({code},)" if self.target.form == "struct" else f"[{code}]"
        self.emit(f"{out} = {code}")
        if conditions:
            self.indent -= 1
            self.blocks.pop()
        return Value(out, Type("list" if field.repeated else "record", record=shape), optional=may_lack and not field.repeated)

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

    # ---- whole functions ----

    def build_read(self) -> None:
        """`one(record, context, …)` makes one target; `read(document, context)` walks to the records and makes all."""
        nodes, item, required = self.route()
        if item is None:
            return
        self.function = "one"
        item.function = "one"
        item.var = "record"
        body, self.lines = self.lines, []
        self.indent = 1
        self.lines.append(Prelude(1, item, Where("", item.where)))
        if self.file.where is not None:
            with self.about(self.file.where), self.block(f"if not ({self.condition(self.file.where.node, item)}):"):
                self.emit("return None")
        code, _ = self.record(self.file.fields, self.target.root, item)
        self.emit(f"return {code}", item.where)
        one, self.lines = self.lines, body
        self.indent, self.function = 0, "read"
        parameters = "".join(f", {v}" for v in self.outer)
        self.emit(f"def one(record, context{parameters}):")
        self.lines += one
        self.emit("")
        self.walk_all(nodes, item, parameters, required=required)
        if self.outer:
            self.emit("")
            self.emit(f"def outer(context, {', '.join(n.var for n in self.levels)}):")
            for level in self.levels:
                self.lines.append(Prelude(1, level, Where("", level.where)))
            self.lines += self.hoisted
            self.indent = 1
            self.emit(f"return {', '.join(self.outer)},")
            self.indent = 0

    def route(self) -> tuple[list[RecordNode], RecordNode | None, bool]:
        """The records from the document down to the one that becomes a target."""
        node = self.root
        node.function = "read"
        self.levels = [node]
        if not self.steps:
            return [node], replace(node, slots={}, outer=None), True
        nodes, required = [node], True
        for number, step in enumerate(self.steps):
            field = node.record.get(step)
            if field is None or isinstance(field.shape, Leaf):
                names = [f.name for f in node.record.fields if isinstance(f.shape, Record)]
                what = "is a single value" if field else f"is not in {self.at(node)}"
                self.find(f"source: {step} {what}", did_you_mean(step, names), place=self.file.places.get(("source",)))
                return nodes, None, False
            slot = self.slot(node, field)
            path, where = (*node.path, step), self.join(node, step)
            self.used.add(path)
            last = number == len(self.steps) - 1
            shape = _record(field)
            if field.repeated:
                index = self.name("i")
                child = RecordNode(shape, self.name(step), path, f"{where}[{{{index}}}]", node, function="read")
                child.slots["\0index"] = Slot(field, index)
                if not last:
                    self.levels.append(child)
            elif last:
                child = RecordNode(shape, slot.var, path, where, node, function="read")
            else:
                child = self.nested(node, slot, optional=not field.required or node.optional)
            required = required and field.required and not field.repeated
            nodes.append(child)
            node = child
        item = replace(node, slots={})
        return nodes, item, required

    def walk_all(self, nodes: list[RecordNode], item: RecordNode, parameters: str, *, required: bool) -> None:
        self.emit("def read(document, context):")
        self.indent = 1
        self.emit("out = []")
        self.lines.append(Prelude(1, self.root, Where()))
        for refusal in self.file.refusals:
            with self.about(refusal.when), self.block(f"if {self.condition(refusal.when.node, self.root)}:"):
                texts = []
                for rule in (refusal.code, refusal.reason):
                    texts.append("''")
                    if rule is not None:
                        with self.about(rule):
                            value = self.simple(self.native(self.translate(rule.node, self.root)))
                            texts[-1] = f"string({value.code})" if not value.optional else f"string({value.code} or '')"
                self.emit(f"raise Refused({', '.join(texts)})")
        self.lines += self.hoisted
        skips = self.file.where is not None
        for number, (node, child) in enumerate(pairwise(nodes)):
            slot = node.slots[child.path[-1]]
            last = number == len(nodes) - 2
            if (index := child.slots.pop("\0index", None)) is not None:
                self.emit(f"for {index.var}, {child.var} in enumerate({slot.var}{', 1' if self.form == 'xml' else ''}):")
                self.indent += 1
                if not last:
                    self.lines.append(Prelude(self.indent, child, Where("", child.where)))
            elif last and not required:
                self.emit(f"if {slot.var} is not None:")
                self.indent += 1
        var = nodes[-1].var if len(nodes) > 1 else "document"
        if skips:
            self.emit(f"found = one({var}, context{parameters})", item.where)
            with self.block("if found is not None:"):
                self.emit("out.append(found)")
        else:
            self.emit(f"out.append(one({var}, context{parameters}))", item.where)
        self.indent = 1
        self.emit("return out")
        self.indent = 0

    def item_record(self) -> Record:
        """The record that becomes one target."""
        record = self.source.root
        for step in self.steps:
            record = _record(self.field(RecordNode(record, "", (), ""), step, 0))
        return record

    def build_write(self) -> None:
        self.function = self.root.function = "write"
        self.root.var = "source"
        self.emit("def write(source, context):")
        self.indent = 1
        self.lines.append(Prelude(1, self.root, Where()))
        code, _ = self.record(self.file.fields, self.target.root, self.root)
        self.emit(f"return {code}")
        self.indent = 0

    # ---- what is left ----

    def leftovers(self) -> None:
        """Source fields neither used nor dropped, and drops that drop nothing or too much."""
        dropped: set[tuple[str, ...]] = set()
        anchor = self.steps if self.target.form == "struct" else ()
        for drop in self.file.drops:
            if (path := self.dropped(drop, anchor)) is not None:
                if path in self.used or any(u[: len(path)] == path for u in self.used):
                    self.find(f"{drop.path} is dropped, and used", "remove the drop or the field", place=drop.place)
                dropped.add(path)
        self.drops = dropped
        record, at = self.source.root, ()
        self.unused(record, at, dropped, 0)
        for name in self.file.parameters.keys() - self.parameters_used:
            self.find(f"parameter {name} is not used", "remove it", place=self.file.places.get(("parameters", name)))

    def dropped(self, drop: Drop, anchor: tuple[str, ...]) -> tuple[str, ...] | None:
        steps = tuple(drop.path.split("."))
        full = steps[1:] if steps[0] == "root" else (*anchor, *steps)
        record: Record | Leaf = self.source.root
        for i, step in enumerate(full):
            field = record.get(step) if isinstance(record, Record) else None
            if field is None:
                names = [f.name for f in record.fields] if isinstance(record, Record) else []
                place = ".".join(full[:i]) or self.source.name
                self.find(f"drop of an unknown field: {step} is not in {place}", did_you_mean(step, names), place=drop.place)
                return None
            record = field.shape
        return full

    def unused(self, record: Record, at: tuple[str, ...], dropped: set[tuple[str, ...]], depth: int) -> None:
        kept = GATEWAY_KEPT if self.form == "struct" else frozenset()
        for part in record.fields:
            path = (*at, part.name)
            if path in dropped or part.name in kept:
                continue
            below = any(len(u) > len(path) and u[: len(path)] == path for u in self.used)
            if path not in self.used and not below and not any(d[: len(path)] == path for d in dropped):
                anchor = len(self.steps)
                inside = path[:anchor] == self.steps and self.target.form == "struct"
                shown = ".".join(path[anchor:] if inside else path if not anchor or self.target.form != "struct" else ("root", *path))
                self.find(
                    f"source field {shown} is neither used nor dropped",
                    f'map it, or write {_toml_key(shown)} = "why" under [drops]',
                    place=self.file.places.get(("drops",)) or self.file.fields.place,
                )
            elif (
                isinstance(part.shape, Record)
                and (below or path in self.used or any(d[: len(path)] == path for d in dropped))
                and depth < 40
            ):
                if self.form == "struct" and part.shape.name in (*AMOUNTS, "Localized") and path in self.used:
                    continue
                if below or any(len(d) > len(path) and d[: len(path)] == path for d in dropped) or path == self.steps[: len(path)]:
                    self.unused(part.shape, path, dropped, depth + 1)


_MAKE: Final = {
    "money": "append | money(CURRENCY)",
    "quantity": "append | quantity(UNIT)",
    "unit_price": "append | unit_price(CURRENCY)",
    "localized": "append | localized('de'), or | texts(LANGUAGE, TEXT) to a list",
}
_CONVERT: Final = {
    ("string", "integer"): "append | integer",
    ("string", "decimal"): "append | decimal",
    ("string", "boolean"): "append | boolean(true='X')",
    ("string", "date"): "append | date('YYYYMMDD')",
    ("string", "datetime"): "append | local_datetime(LOCATION, 'YYYYMMDDhhmmss')",
    ("string", "instant"): "append | local_datetime(LOCATION, 'YYYYMMDDhhmmss'), or | instant for RFC 3339",
    ("integer", "instant"): "append | epoch_millis",
    ("date", "instant"): "append | start_of_day(LOCATION) or | end_of_day(LOCATION)",
    ("datetime", "instant"): "append | local_datetime(LOCATION)",
    ("integer", "string"): "append | string",
    ("decimal", "string"): "append | string",
    ("decimal", "integer"): "append | integer: a fraction is refused",
    ("boolean", "string"): "append | enum({True: 'X', False: ''})",
    ("date", "string"): "append | format('YYYYMMDD')",
    ("instant", "string"): "append | format('YYYYMMDDhhmmss', 'UTC')",
    ("time", "string"): "append | format('hhmmss')",
    ("money", "decimal"): "append | amount",
    ("quantity", "decimal"): "append | amount",
    ("money", "string"): "append | amount | string(2)",
    ("quantity", "string"): "append | amount | string",
    ("instant", "integer"): "append | epoch_millis",
    ("instant", "date"): "append | day(LOCATION)",
    ("list", "string"): "append | first or | join(', ')",
}


def _accepts(kinds: tuple[str, ...], kind: str) -> bool:
    return "any" in kinds or kind in kinds or (kind == "integer" and "decimal" in kinds) or (kind == "instant" and "datetime" in kinds)


def _record(field: Field) -> Record:
    if isinstance(field.shape, Record):
        return field.shape
    raise Problem(f"{field.name} is a single value, not a record")


def _invariant(node: Node) -> bool:
    """Whether an expression speaks of the whole document only, and of something in it."""
    anchors = [n.anchor for n in nodes(node) if isinstance(n, Path)]
    return "root" in anchors and all(a in ("root", "parameters", "context") for a in anchors)


def _search(record: Record, name: str, depth: int = 0, seen: tuple[Record, ...] = ()) -> str:
    """The path of a field of that name somewhere below."""
    if depth > 4:
        return ""
    for f in record.fields:
        if f.name == name:
            return name
    for f in record.fields:
        if isinstance(f.shape, Record) and f.shape not in seen and (found := _search(f.shape, name, depth + 1, (*seen, record))):
            return f"{f.name}.{found}"
    return ""


def _wanted(field: Field) -> str:
    what = field.shape.name if isinstance(field.shape, Record) else str(leaf_type(field.shape))
    return f"list of {what}" if field.repeated else what


def _toml_key(path: str) -> str:
    return path if re.fullmatch(r"[A-Za-z0-9_-]+", path) else f'"{path}"'


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
