"""Reading a source: the fields that paths name, found in the shape and remembered as used."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from mappings.language.emit import Emitter, Prelude, Problem, RecordNode, Slot, Where
from mappings.language.expression import Node, Path
from mappings.language.kinds import AMOUNTS, INSTANT, NOTHING, STRING, Type, Value, leaf_type
from mappings.language.read import Rule, did_you_mean
from mappings.language.shape import TEXT, Field, Leaf, Record
from mappings.language.structs import StructRecord

CONTEXT: Final = {"received_at": INSTANT, "system": STRING, "operation": STRING}


class Source(Emitter, ABC):
    """What functions of the language build with."""

    @abstractmethod
    def translate(self, node: Node, scope: RecordNode) -> Value:
        """The value of an expression where `scope` is the current record."""

    def condition(self, node: Node, scope: RecordNode) -> str:
        value = self.native(self.translate(node, scope))
        if value.type.kind != "boolean":
            raise Problem(f"a condition is needed, this is {value.type}", "compare it: FIELD == 'X', FIELD is not None", node.column)
        return value.code if value.code.startswith("(") else self.simple(value).code

    def resolve(self, path: Path, scope: RecordNode) -> Value:
        match path.anchor:
            case "parameters":
                return self.parameter(path)
            case "secrets":
                return self.secret(path)
            case "asked":
                return self.of_request(path)
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
        if path.steps[:1] == ("rows",) and scope.rows and scope.record.get("rows") is None:
            item = Type("record", record=scope.record)
            rows = Value(scope.rows, Type("list", item=item), path=scope.path, where=scope.where.rpartition("[")[0], raw=self.form)
            return self.project(rows, path.steps[1:], path.column) if path.steps[1:] else rows
        return self.walk(scope, path.steps, path.column)

    def at(self, node: RecordNode) -> str:
        return ".".join(node.path) or self.source.name

    def secret(self, path: Path) -> Value:
        name = ".".join(path.steps)
        if self.target.form == "struct":
            raise Problem("secrets are for requests, this mapping reads answers", "use a parameter: parameters.NAME", path.column)
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", name):
            raise Problem(
                f"{name or 'secrets'} names no secret", "write secrets.NAME, and NAME under `secrets` of the operation", path.column
            )
        self.secrets.add(name)
        if self.current is not None and (source := f"secrets.{name}") not in self.current.sources:
            self.current.sources.append(source)
        return Value(f"secret(context, {name!r})", STRING, personal=True)

    def of_request(self, path: Path) -> Value:
        """A single value of the request; a list on the way to it must hold one element when it runs."""
        if self.asked is None:
            known = "it is a request itself" if self.target.form != "struct" else "the mapping does not say what is asked"
            raise Problem(f"{path}: {known}", 'write asked = "NOUN" at the top, the noun of the request', path.column)
        shape: Record | Leaf = self.asked.root
        optional, personal = False, False
        for step in path.steps:
            field = shape.get(step) if isinstance(shape, Record) else None
            if field is None:
                names = [f.name for f in shape.fields] if isinstance(shape, Record) else []
                raise Problem(f"{path}: what is asked holds no {step}", did_you_mean(step, names), path.column)
            shape, optional, personal = field.shape, optional or field.nillable, personal or field.personal
        if isinstance(shape, Record):
            raise Problem(f"{path} is no single value", did_you_mean("", [f"{path}.{f.name}" for f in shape.fields]), path.column)
        if self.current is not None and (source := str(path)) not in self.current.sources:
            self.current.sources.append(source)
        steps = ", ".join(map(repr, path.steps))
        return Value(f"question(context, {steps})", leaf_type(shape), optional=optional, personal=personal)

    def parameter(self, path: Path) -> Value:
        name = ".".join(path.steps)
        if name not in self.file.parameters:
            raise Problem(f"unknown parameter {name}", _or("declare it under [parameters]", name, self.file.parameters), path.column)
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
            step = field.name  # a name with its namespace is that of the field
            path, where = (*node.path, step), self.join(node, step)
            # a Struct always holds its fields: only None can be missing
            absent = not field.required and not (field.attribute and field.default is not None)
            optional = optional or node.optional or field.nillable or (absent and self.form != "struct")
            rest = steps[i + 1 :]
            if field.repeated:
                self.use(path, start, slot)
                self.whole(field, column)
                item = Type("record", record=field.shape) if isinstance(field.shape, Record) else leaf_type(field.shape)
                rows = Value(slot.var, Type("list", item=item), path=path, where=where, raw=self.form, personal=field.personal)
                return self.project(rows, rest, column) if rest else rows
            if isinstance(field.shape, Leaf):
                if rest:
                    self.whole(field, column)
                    raise Problem(f"{'.'.join(path)} is a single value and holds no {rest[0]}", f"write {'.'.join(steps[: i + 1])}", column)
                self.use(path, start, slot)
                self.whole(field, column)
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
        if isinstance(slot.field.shape, Leaf) and not slot.field.repeated:
            self.leaves[slot.var] = slot.field
        if self.current is not None and (text := ".".join(path)) not in self.current.sources:
            self.current.sources.append(text)
        if start.function != self.function and slot.var not in self.outer:
            self.outer.append(slot.var)

    def field(self, node: RecordNode, name: str, column: int) -> Field:
        if (found := node.record.get(name)) is not None:
            return found
        base, colon, kind = name.partition(":")
        shape = found.shape if colon and (found := node.record.get(base)) is not None else None
        if isinstance(shape, Record):
            hint = did_you_mean(kind, shape.derived) if shape.derived else f"no type is derived from {shape.name}: write {base}"
            raise Problem(f"no {kind} stands in for {base} in {self.at(node)}", hint, column)
        if (text := node.record.get(TEXT)) is not None:  # a base that is not in the contract has fields nobody knows
            self.whole(replace(text, name=self.at(node)), column)
        known = [f.name for f in node.record.fields]
        hint = did_you_mean(name, known)
        if not hint.startswith("did") and (deeper := _search(node.record, name)):
            hint = f"did you mean {deeper}?"
        raise Problem(f"unknown source field {name} in {self.at(node)}", hint, column)

    @staticmethod
    def whole(field: Field, column: int = 0) -> None:
        """What the contract leaves open by mistake is not taken for anything."""
        if isinstance(field.shape, Leaf) and field.shape.broken:
            raise Problem(f"the contract does not say what {field.name} is: {field.shape.broken}", "complete the contract", column)

    def slot(self, node: RecordNode, field: Field) -> Slot:
        if (slot := node.slots.get(field.name)) is None:
            slot = node.slots[field.name] = Slot(field, self.name(field.name))
        return slot

    def nested(self, node: RecordNode, slot: Slot, *, optional: bool) -> RecordNode:
        if slot.node is None:
            slot.node = RecordNode(
                record_of(slot.field),
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
        over = self.indexed.get(listed) or f"enumerate({listed}{start}) if {listed} else ()"
        with self.block(f"for {index}, {var} in {over}:", value.where):
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

    def grouped(self, node: RecordNode, rule: Rule) -> str:
        """The value that records of one group share, as code where `node` is the record."""
        code = "None"
        with self.about(rule):
            value = self.simple(self.native(self.translate(rule.node, node)))
            if value.type.kind not in ("string", "integer", "date", "boolean"):
                raise Problem(f"records are grouped by {value.type}", "group by a text, an integer or a day")
            if value.optional:
                raise Problem(f"{'.'.join(value.path)} may be absent", "append | required or | default('…')")
            code = value.code
        return code  # noqa: RET504 - a finding ends the block before it is set

    def opened(self, node: RecordNode, pairs: str) -> None:
        """`pairs` holds a group's records with their places; `node` is the first of them."""
        node.rows = self.name("rows")
        self.indexed[node.rows] = pairs
        self.emit(f"{node.rows} = [row for _, row in {pairs}]")

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


def _or(first: str, name: str, known: Iterable[str]) -> str:
    hint = did_you_mean(name, known)
    return f"{hint.removesuffix('?')}, or {first}?" if hint.startswith("did") else first


def record_of(field: Field) -> Record:
    if isinstance(field.shape, Record):
        return field.shape
    raise Problem(f"{field.name} is a single value, not a record")


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
