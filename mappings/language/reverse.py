"""Turns a reading mapping round: for each field line the expressions that give the source fields back, or a finding why not."""

from __future__ import annotations

from contracts.errors import Finding
from mappings.language.build import Builder
from mappings.language.expression import Call, Cases, Const, Node, Path
from mappings.language.functions import FUNCTIONS
from mappings.language.functions.registry import by_name
from mappings.language.read import Group, MappingFile, Place, Rule
from mappings.language.runtime import UNIT_CODES
from mappings.language.shape import Leaf, Record


class NotInvertible(Exception):
    pass


def reversed_file(file: MappingFile, builder: Builder) -> tuple[MappingFile, list[Finding]]:
    """The mapping from the Struct to one source record."""
    findings: list[Finding] = []
    made = Group(file.fields.place)
    _group(file, file.fields, builder.item_record(), made, findings)
    turned = MappingFile(file.file, file.text, file.source, file.target, fields=made, tables=dict(file.tables), parameters=file.parameters)
    turned.places = file.places
    return turned, findings


def _group(file: MappingFile, group: Group, record: Record, made: Group, findings: list[Finding]) -> None:
    for rule in group.rules.values():
        try:
            for steps, node in _turn(file, rule.node, Path((rule.name,)), record):
                _put(made, steps, node, rule)
        except NotInvertible as error:
            findings.append(
                Finding(
                    file.file,
                    rule.place.line,
                    f"{rule.name} cannot be turned round: {error}",
                    "use functions that can be, or remove reverse",
                    rule.place.column,
                )
            )
    for name, nested in group.groups.items():
        if nested.each is None or nested.where is not None or not isinstance(nested.each.node, Path) or nested.each.node.anchor:
            findings.append(
                Finding(
                    file.file,
                    nested.place.line,
                    f'{name} cannot be turned round: only each = "PATH" without a condition can',
                    "remove reverse",
                )
            )
            continue
        steps = nested.each.node.steps
        inner = _leaf_group(made, steps[:-1], nested.place).groups.setdefault(steps[-1], Group(nested.place))
        inner.each = Rule("each", Path((name,)), name, nested.each.place)
        below: Record | Leaf = record
        for step in steps:
            field = below.get(step) if isinstance(below, Record) else None
            if field is None:
                return
            below = field.shape
        if isinstance(below, Record):
            _group(file, nested, below, inner, findings)


def _leaf_group(made: Group, steps: tuple[str, ...], place: Place) -> Group:
    for step in steps:
        made = made.groups.setdefault(step, Group(place))
    return made


def _put(made: Group, steps: tuple[str, ...], node: Node, rule: Rule) -> None:
    group = _leaf_group(made, steps[:-1], rule.place)
    before = group.rules.get(steps[-1])
    if before is not None:
        node = Call("coalesce", (before.node, node))
    group.rules[steps[-1]] = Rule(steps[-1], node, rule.text, rule.place)


def _turn(file: MappingFile, node: Node, value: Node, record: Record) -> list[tuple[tuple[str, ...], Node]]:
    """(source path, expression) pairs that make `node` give `value`."""
    match node:
        case Path(anchor="", steps=steps):
            return [(steps, value)]
        case Path():
            raise NotInvertible(f"{node} is not a field of the record")
        case Const():
            return []
        case Call(name=name, arguments=arguments) if name in FUNCTIONS and (parts := FUNCTIONS[name].parts):
            number, other = parts
            pairs = _turn(file, arguments[0], Call(number, (value,)), record)
            second = dict(by_name(node, FUNCTIONS[name]).named).get(other)
            if second is None:
                raise NotInvertible(f"{name} names no {other}")
            back: Node = Call(other, (value,))
            if name == "quantity" and isinstance(second, Path):
                back = _units(file, node, back, record, second)
            return [*pairs, *_turn(file, second, back, record)]
        case Call(name="lookup", arguments=arguments):
            word = dict(by_name(node, FUNCTIONS["lookup"]).named).get("table")
            table = file.tables.get(word.steps[0] if isinstance(word, Path) else "")
            if not table or len(set(table.values())) != len(table):
                raise NotInvertible("values of the table have several codes")
            return _turn(
                file,
                arguments[0],
                Call("enum", (value, Cases(tuple((v, k) for k, v in table.items()))), (("otherwise", Path(("refuse",))),)),
                record,
            )
        case Call(name=name, arguments=arguments) if name in FUNCTIONS and arguments:
            invert = FUNCTIONS[name].invert
            back_node = invert(value, by_name(node, FUNCTIONS[name])) if invert is not None else None
            if back_node is None:
                raise NotInvertible(f"{name} loses {FUNCTIONS[name].loss or 'something'}")
            return _turn(file, arguments[0], back_node, record)
    raise NotInvertible("only pipes of functions can")


def _units(file: MappingFile, call: Call, unit: Node, record: Record, path: Path) -> Node:
    """Canonical unit to the source's code: from the mapping's table, or the usual codes that the contract lists."""
    word = dict(call.named).get("table") or (call.arguments[2] if len(call.arguments) > 2 else None)
    table = file.tables.get(word.steps[0], {}) if isinstance(word, Path) else UNIT_CODES
    leaf = _leaf(record, path.steps)
    codes = [(v, k) for k, v in table.items() if leaf is None or leaf.enum is None or k in leaf.enum]
    if len({v for v, _ in codes}) != len(codes):
        raise NotInvertible("a unit has several codes; list one code per unit in a table")
    return Call("enum", (unit, Cases(tuple(codes))), (("otherwise", Path(("refuse",))),))


def _leaf(record: Record, steps: tuple[str, ...]) -> Leaf | None:
    shape: Record | Leaf = record
    for step in steps:
        field = shape.get(step) if isinstance(shape, Record) else None
        if field is None:
            return None
        shape = field.shape
    return shape if isinstance(shape, Leaf) else None
