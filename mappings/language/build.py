"""Translates a mapping into Python text, and finds every mistake on the way: the check and the compiler are one pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise

from mappings.language.emit import Part, Prelude, RecordNode, Slot, Where
from mappings.language.read import Group, Rule, did_you_mean
from mappings.language.shape import Leaf, Record
from mappings.language.source import record_of
from mappings.language.target import Target


class Builder(Target):
    """One translation of one mapping in one direction. `findings` holds what is wrong; the text is only good when it is empty."""

    def build_read(self) -> None:
        """`one(record, context, …)` makes one target; `read(document, context)` walks to the records and makes all."""
        nodes, item, required = self.route()
        if item is None:
            return
        for rule in (self.file.group, *(a.when or a.rules.get(next(iter(a.rules), "")) for a in self.file.also)):
            if rule is not None and self.form == "rows":
                self.find("a feed is read one record at a time", "give one target per record: group rows in the layout", place=rule.place)
        if self.file.group is not None and "\0index" not in nodes[-1].slots:
            self.find(
                "one record cannot be grouped",
                'name the repeated records in the source: "system.Operation/ROWS"',
                place=self.file.group.place,
            )
            return
        body, group, fields = self.lines, self.file.group, self.file.fields
        made = {"one": self.of_record(item, lambda node: self.returned(fields, node), where=group is None)}
        if group is not None:
            made["key"] = self.of_record(item, lambda node: self.emit(f"return {self.grouped(node, group)}"))
        for number, also in enumerate(self.file.also, 1):
            all_of_it = replace(fields, rules=fields.rules | also.rules, groups=fields.groups | also.groups)
            body_of = partial(self.returned, all_of_it, when=also.when)
            made[f"also_{number}"] = self.of_record(item, body_of, where=False)
        self.indent, self.function, self.lines = 0, "read", body
        parameters = "".join(f", {v}" for v in self.outer)
        for name, lines in made.items():
            grouped = ", pairs" if self.file.group is not None and name != "key" else ""
            self.emit(f"def {name}(record, context{grouped}{parameters}):")
            self.lines += lines
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

    def of_record(self, item: RecordNode, body: Callable[[RecordNode], None], *, where: bool = True) -> list[Part]:
        """The lines of one function of a source record."""
        self.function, self.indent, self.lines = "one", 1, []
        self.known.clear()
        node = replace(item, slots={}, function="one", var="record")
        if self.file.group is not None and not where:
            self.opened(node, "pairs")
        self.lines.append(Prelude(1, node, Where("", node.where)))
        if where and self.file.where is not None:
            with self.about(self.file.where), self.block(f"if not ({self.condition(self.file.where.node, node)}):"):
                self.emit("return None")
        body(node)
        return self.lines

    def returned(self, fields: Group, node: RecordNode, when: Rule | None = None) -> None:
        if when is not None:
            with self.about(when), self.block(f"if not ({self.condition(when.node, node)}):"):
                self.emit("return None")
        code, _ = self.record(fields, self.target.root, node)
        self.emit(f"return {code}", node.where)

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
                self.source_is_unknown = True
                return nodes, None, False
            slot = self.slot(node, field)
            path, where = (*node.path, step), self.join(node, step)
            self.used.add(path)
            last = number == len(self.steps) - 1
            shape = record_of(field)
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
        where, groups = self.file.where, self.name("groups") if self.file.group is not None else ""
        if groups:
            self.emit(f"{groups} = {{}}")
        place = "0"
        for number, (node, child) in enumerate(pairwise(nodes)):
            slot = node.slots[child.path[-1]]
            last = number == len(nodes) - 2
            if (index := child.slots.pop("\0index", None)) is not None:
                self.emit(f"for {index.var}, {child.var} in enumerate({slot.var}{', 1' if self.form == 'xml' else ''}):")
                self.indent += 1
                place = index.var
                if not last:
                    self.lines.append(Prelude(self.indent, child, Where("", child.where)))
            elif last and not required:
                self.emit(f"if {slot.var} is not None:")
                self.indent += 1
        var = nodes[-1].var if len(nodes) > 1 else "document"
        if groups:
            self.emit(f"found = key({var}, context{parameters})", item.where)
            if where is not None:
                with self.block("if found is None:"):
                    self.emit("continue")
            self.emit(f"{groups}.setdefault(found, []).append(({place}, {var}))", item.where)
            self.indent = 1
            self.emit(f"for pairs in {groups}.values():")
            self.indent = 2
            self.emit(f"{place}, {var} = pairs[0]")
            parameters, where = f", pairs{parameters}", None
        if where is None:
            self.emit(f"out.append(one({var}, context{parameters}))", item.where)
        else:
            self.emit(f"found = one({var}, context{parameters})", item.where)
            self.emit("if found is not None:")
            self.indent += 1
            self.emit("out.append(found)")
        for number in range(1, len(self.file.also) + 1):
            self.emit(f"found = also_{number}({var}, context{parameters})", item.where)
            with self.block("if found is not None:"):
                self.emit("out.append(found)")
        self.indent = 1
        self.emit("return out")
        self.indent = 0

    def item_record(self) -> Record:
        """The record that becomes one target."""
        record = self.source.root
        for step in self.steps:
            record = record_of(self.field(RecordNode(record, "", (), ""), step, 0))
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
