"""Translates a mapping into Python text, and finds every mistake on the way: the check and the compiler are one pass."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from mappings.language.emit import Prelude, RecordNode, Slot, Where
from mappings.language.read import did_you_mean
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
