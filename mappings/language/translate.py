"""Expressions to typed code: what each gives, and every mistake in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mappings.language.emit import Prelude, Problem, RecordNode, Where
from mappings.language.expression import Arithmetic, Call, Cases, Choice, Compare, Const, Logic, Member, Node, Path, Sequence
from mappings.language.functions import FUNCTIONS
from mappings.language.functions.registry import Function, Parameter
from mappings.language.kinds import BOOLEAN, CONVERT, DECIMAL, INTEGER, NO_CONST, NUMBERS, REFUSE, Type, Value, either
from mappings.language.read import did_you_mean
from mappings.language.source import Source


class Translator(Source):
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
        if left.raw == "rows" and left.type.kind == "decimal" and node.operator == "<" and _zero(node.right) and not left.optional:
            left = self.simple(left)
            return Value(f"({left.code}.startswith('-') and {self.conversion(left).replace('$', left.code)} < 0)", BOOLEAN)
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
        function: Function | None = FUNCTIONS.get(node.name) or self.file.own.get(node.name)
        if function is None:
            raise Problem(f"unknown function {node.name}", did_you_mean(node.name, {**FUNCTIONS, **self.file.own}), node.column)
        if self.current is not None and node.name not in self.current.functions:
            self.current.functions.append(node.name)
        arguments = list(node.arguments)
        value: Value | None = None
        if function.takes:
            if not arguments:
                raise Problem(f"{node.name} needs a value", f"write FIELD | {function.example or node.name}", node.column)
            value = self.input(function, self.translate(arguments.pop(0), scope), node)
        bound = self.bind(function, arguments, node, scope)
        try:
            return function.build(self, value, bound, scope)
        except Problem as problem:
            problem.column = problem.column or node.column
            raise

    def input(self, function: Function, value: Value, node: Call) -> Value:
        if value.type.kind == "nothing" and "any" not in function.takes:
            raise Problem(f"{node.name} is given None", "leave the field out instead", node.column)
        if value.raw is not None and value.type.kind == "any":
            value = replace(value, type=Type("string" if "string" in function.takes else function.takes[0]))
        if not _accepts(function.takes, value.type.kind):
            hint = CONVERT.get((value.type.kind, function.takes[0]), f"{node.name} takes {' or '.join(function.takes)}")
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


def _zero(node: Node) -> bool:
    return isinstance(node, Const) and node.value.__class__ is int and node.value == 0


def _accepts(kinds: tuple[str, ...], kind: str) -> bool:
    return "any" in kinds or kind in kinds or (kind == "integer" and "decimal" in kinds) or (kind == "instant" and "datetime" in kinds)
