"""Turns a reading mapping round: for each field line the expressions that give the source fields back, or a finding why not."""

from __future__ import annotations

from dataclasses import replace

from contracts.errors import Finding
from mappings.language.build import Builder
from mappings.language.expression import Call, Cases, Choice, Compare, Const, Logic, Node, Path, nodes
from mappings.language.functions import FUNCTIONS
from mappings.language.functions.registry import Function, by_name
from mappings.language.read import Group, MappingFile, Place, Rule
from mappings.language.runtime import UNIT_CODES
from mappings.language.shape import Leaf, Record


class NotInvertible(Exception):
    pass


def reversed_file(file: MappingFile, builder: Builder) -> tuple[MappingFile, list[Finding]]:
    """The mapping from the Struct to one source record."""
    turner = _Turner(file)
    for rule in (file.group, *(next(iter(also.rules.values()), None) for also in file.also)):
        if rule is not None:
            turner.find(rule.place, "one record that comes of several, or several of one, cannot be turned round", "remove reverse")
    made = Group(file.fields.place)
    turner.group(file.fields, (), (), builder.item_record(), made)
    for drop in file.drops:  # what was left out on purpose, and may hold nothing, holds nothing
        name = drop.path.removeprefix("root.") if not builder.steps else drop.path
        field = builder.item_record().get(name)
        if field is not None and field.required and isinstance(field.shape, Record) and not any(f.required for f in field.shape.fields):
            made.groups.setdefault(name, Group(drop.place))
    turned = MappingFile(file.file, file.text, file.source, file.target, fields=made, tables=dict(file.tables), parameters=file.parameters)
    turned.own, turned.own_digest = file.own, file.own_digest
    turned.places = file.places
    return turned, turner.findings


class _Turner:
    def __init__(self, file: MappingFile) -> None:
        self.file = file
        self.functions: dict[str, Function] = {**file.own, **FUNCTIONS}
        self.findings: list[Finding] = []
        self.known: dict[tuple[str, ...], Node] = {}
        """Source path -> the canonical field that holds it as it is, for expressions that name it beside their value."""

    def find(self, place: Place, message: str, suggestion: str) -> None:
        self.findings.append(Finding(self.file.file, place.line, message, suggestion, place.column))

    def group(self, group: Group, here: tuple[str, ...], at: tuple[str, ...], record: Record, made: Group) -> None:
        """`here`: the canonical record, `at`: the source record its paths start at, both from the record of the loop around them."""
        self.known |= {(*at, *r.node.steps): Path((*here, r.name)) for r in group.rules.values() if isinstance(r.node, Path)}
        for rule in group.rules.values():
            try:
                for steps, node in self.turn(rule.node, Path((*here, rule.name)), at, record):
                    _put(made, steps, node, rule)
            except NotInvertible as error:
                self.find(rule.place, f"{rule.name} cannot be turned round: {error}", "use functions that can be, or remove reverse")
        for name, nested in group.groups.items():
            source = nested.each or nested.of
            given = source.node if source is not None else Path(())
            below_here = given.steps if isinstance(given, Path) and not given.anchor else None
            if nested.rows or nested.where is not None or nested.when is not None or nested.group is not None or below_here is None:
                said = 'only each = "PATH" and of = "PATH" without a condition can'
                self.find(nested.place, f"{name} cannot be turned round: {said}", "remove reverse")
                continue
            path = (*at, *below_here)
            below = _shape(record, path)
            if not isinstance(below, Record):
                continue
            if nested.each is None:
                self.group(nested, (*here, name), path, record, made)
                continue
            inner = _group_at(made, path[:-1], nested.place).groups.setdefault(path[-1], Group(nested.place))
            inner.each = Rule("each", Path((*here, name)), name, nested.each.place)
            before, self.known = self.known, {}
            self.group(nested, (), (), below, inner)
            self.known = before

    def turn(self, node: Node, value: Node, at: tuple[str, ...], record: Record) -> list[tuple[tuple[str, ...], Node]]:
        """(source path, expression) pairs that make `node` give `value`."""
        match node:
            case Path(anchor="", steps=steps):
                return [((*at, *steps), value)]
            case Path():
                raise NotInvertible(f"{node} is not a field of the record")
            case Const():
                return []
            case Compare(operator="==" | "!=", left=left, right=Const(value=bool())):
                return self.turn(left, replace(node, left=value), at, record)
            case Logic(operator="not", parts=(part,)):
                return self.turn(part, replace(node, parts=(value,)), at, record)
            case Call(name="lookup"):
                word = dict(by_name(node, FUNCTIONS["lookup"]).named).get("table")
                table = self.file.tables.get(word.steps[0] if isinstance(word, Path) else "")
                if not table or len(set(table.values())) != len(table):
                    raise NotInvertible("values of the table have several codes")
                cases = Cases(tuple((v, k) for k, v in table.items()))
                return self.turn(node.arguments[0], Call("enum", (value, cases), (("otherwise", Path(("refuse",))),)), at, record)
            case Call(name=name) if name in self.functions and node.arguments:
                function = self.functions[name]
                call = by_name(node, function)
                if function.parts is not None:
                    return self.amount(call, function.parts, value, at, record)
                call = replace(call, named=tuple((k, self.beside(n, function, k, at)) for k, n in call.named))
                back = function.invert(value, call) if function.invert is not None else None
                if back is None:
                    raise NotInvertible(f"{name} loses {function.loss or 'something'}")
                if name == "text" and _may_be_empty(record, at, call.arguments[0]):
                    back = Call("default", (back, Const("")))  # what was empty is absent, so absent becomes empty
                return self.turn(node.arguments[0], back, at, record)
        raise NotInvertible("only pipes of functions can")

    def beside(self, node: Node, function: Function, name: str, at: tuple[str, ...]) -> Node:
        """What an argument is on the canonical side: a source field is the field that holds it."""
        if next((p.form for p in function.parameters if p.name == name), "word") != "value":
            return node
        return self.canonical(node, function, at)

    def canonical(self, node: Node, function: Function, at: tuple[str, ...]) -> Node:
        match node:
            case Path(anchor="", steps=steps) if (found := self.known.get((*at, *steps))) is not None:
                return found
            case Call(name=name) if name in self.functions and node.arguments:
                inner, call = self.functions[name], by_name(node, self.functions[name])
                value, *rest = call.arguments
                named = tuple((k, self.beside(n, inner, k, at)) for k, n in call.named)
                return replace(call, arguments=(self.canonical(value, inner, at), *rest), named=named)
            case Choice(test=test, then=then, otherwise=otherwise):
                test, then, otherwise = (self.canonical(n, function, at) for n in (test, then, otherwise))
                return replace(node, test=test, then=then, otherwise=otherwise)
            case Compare(left=left, right=right):
                return replace(node, left=self.canonical(left, function, at), right=self.canonical(right, function, at))
        if any(isinstance(n, Path) and n.anchor != "parameters" for n in nodes(node)):
            raise NotInvertible(
                f"{function.name} needs {node if isinstance(node, Path) else 'a source field'}, which no field holds as it is"
            )
        return node

    def amount(
        self, call: Call, parts: tuple[str, str], value: Node, at: tuple[str, ...], record: Record
    ) -> list[tuple[tuple[str, ...], Node]]:
        number, other = parts
        digits = tuple((k, n) for k, n in call.named if k == "digits")
        pairs = self.turn(call.arguments[0], Call(number, (value,), digits), at, record)
        second = dict(call.named).get(other)
        if second is None:
            raise NotInvertible(f"{call.name} names no {other}")
        back: Node = Call(other, (value,))
        leaf = _shape(record, (*at, *second.steps)) if isinstance(second, Path) else None
        listed = leaf.enum if isinstance(leaf, Leaf) else None
        if call.name == "quantity" and isinstance(second, Path):
            back = self.units(call, back, listed)
        elif listed is not None:
            back = Call("enum", (back, Cases(tuple((c, c) for c in listed))), (("otherwise", Path(("refuse",))),))
        return [*pairs, *self.turn(second, back, at, record)]

    def units(self, call: Call, unit: Node, listed: tuple[str, ...] | None) -> Node:
        """Canonical unit to the source's code: from the mapping's table, or the usual codes that the contract lists."""
        word = dict(call.named).get("table")
        table = self.file.tables.get(word.steps[0], {}) if isinstance(word, Path) else UNIT_CODES
        codes = [(v, k) for k, v in table.items() if listed is None or k in listed]
        if len({v for v, _ in codes}) != len(codes):
            raise NotInvertible("a unit has several codes; list one code per unit in a table")
        return Call("enum", (unit, Cases(tuple(codes))), (("otherwise", Path(("refuse",))),))


def _group_at(made: Group, steps: tuple[str, ...], place: Place) -> Group:
    for step in steps:
        made = made.groups.setdefault(step, Group(place))
    return made


def _put(made: Group, steps: tuple[str, ...], node: Node, rule: Rule) -> None:
    group = _group_at(made, steps[:-1], rule.place)
    before = group.rules.get(steps[-1])
    if before is not None and before.node != node:
        node = Call("coalesce", (before.node, node))
    group.rules[steps[-1]] = Rule(steps[-1], node, rule.text, rule.place)


def _may_be_empty(record: Record, at: tuple[str, ...], node: Node) -> bool:
    """Whether a field must be there, and may hold no text."""
    if not isinstance(node, Path) or node.anchor:
        return False
    above, leaf = _shape(record, (*at, *node.steps[:-1])), _shape(record, (*at, *node.steps))
    field = above.get(node.steps[-1]) if isinstance(above, Record) else None
    return field is not None and field.required and isinstance(leaf, Leaf) and not (leaf.min_length or leaf.pattern or leaf.enum)


def _shape(record: Record, steps: tuple[str, ...]) -> Record | Leaf | None:
    shape: Record | Leaf = record
    for step in steps:
        field = shape.get(step) if isinstance(shape, Record) else None
        if field is None:
            return None
        shape = field.shape
    return shape
