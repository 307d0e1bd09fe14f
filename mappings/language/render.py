"""Turns a finished translation into Python text: fills in where records are read, per form, and remembers what each line is about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from mappings.language.build import Builder
from mappings.language.emit import Line, Part, Prelude, RecordNode, Remembered, Slot, Where
from mappings.language.query import Query
from mappings.language.rows import NotRegular, Rows, Way, may_be_empty
from mappings.language.shape import TEXT, Field, Leaf, Record
from mappings.language.source import record_of
from mappings.language.typed import UNTYPED, NotTyped, Typed

_LOOP = re.compile(r"for (\w+), \w+ in enumerate\((\w+)(, 1)?\):").fullmatch
_APPEND = re.compile(r"out\.append\(one\(.*\)\)").fullmatch
_FIELD = re.compile(r"(\w+) = record\.(\w+)").fullmatch
_GUARD = re.compile(r"if (\w+) not in (\w+) and not \2\(\1\):").fullmatch


class Renderer:
    """Variants, made when they are needed. `local`: match XML elements by local name where the contract names no namespace. `rows`: the
    records were cut out of the document and are tuples of texts, written in that way. `typed`: JSON objects are of the types made for them.
    `exact`: rows are what their layout says, made by its parser.
    """

    def __init__(
        self,
        builder: Builder,
        *,
        local: bool = False,
        rows: tuple[Rows, Way] | None = None,
        typed: Typed | None = None,
        exact: bool = False,
    ) -> None:
        self.builder, self.local, self.cut, self.typed, self.exact = builder, local, rows, typed, exact
        self.constants: dict[str, Any] = dict(builder.constants)
        self.taken = set(builder.taken)
        self.cut_rows = self.name("rows")

    def text(self) -> tuple[str, list[Where]]:
        """The source, and for each of its lines what it is about."""
        lines = [*self.functions(), *(line for part in self.builder.lines for line in self.expand(part))]
        if self.typed is not None or self.cut is not None:
            lines = _in_one(lines, typed=self.typed is not None)
        return "".join(f"{'    ' * line.indent}{line.text}\n" for line in lines), [line.where for line in lines]

    def functions(self) -> Iterator[Line]:
        for part, lines in self.builder.functions:
            yield Line(0, f"def {part.function}({', '.join(part.inputs)}):", part.where)
            for line in lines:
                yield from self.expand(line)
            yield Line(0, "", part.where)
            if self.remembers:
                make = part.function if len(part.inputs) == 1 else f"lambda key: {part.function}(*key)"
                yield Line(0, f"{part.table} = Memo({make}, MEMO_OF_ROWS)" if self.exact else f"{part.table} = {{}}", part.where)
                yield Line(0, "", part.where)

    @property
    def remembers(self) -> bool:
        """Texts are what they say; among plain JSON values, True equals 1."""
        return self.builder.form == "xml" or self.typed is not None or self.exact

    def expand(self, part: Part) -> Iterator[Line]:
        if isinstance(part, Line):
            if not part.plain or (self.typed is None and not self.exact):
                yield part
        elif isinstance(part, Remembered):
            yield from part.looked_up(exact=self.exact) if self.remembers else (Line(part.indent, part.text, part.where),)
        elif part.node.slots and part.node.optional:
            yield from self.unless_absent(part.node, part.indent, part.where)
        elif part.node.slots:
            yield from self.record(part.node, part.indent, part.where)
        elif part.node.record.fields and self.builder.form == "json" and self.typed is None:
            yield Line(part.indent, f"if {part.node.var}.__class__ is not dict:", part.where)
            yield Line(part.indent + 1, f"wrong('an object', {part.node.var})", part.where)

    def name(self, base: str) -> str:
        number, name = 1, base
        while name in self.taken:
            number += 1
            name = f"{base}_{number}"
        self.taken.add(name)
        return name

    def constant(self, base: str, value: Any) -> str:
        for known, held in self.constants.items():
            if isinstance(held, frozenset) and held == value:
                return known
        name = self.name(base)
        self.constants[name] = value
        return name

    def record(self, node: RecordNode, indent: int, where: Where) -> Iterator[Line]:
        where = Where(where.target, node.where, where.line)

        def line(text: str, deeper: int = 0) -> Line:
            return Line(indent + deeper, text, where)

        cut = self.cut is not None and self.cut[0].holds(node.path)
        reader = self.texts if cut else {"xml": self.xml, "json": self.json, "rows": self.rows, "struct": self.struct}[self.builder.form]
        for text, deeper, slot in reader(node):
            about = (
                where if slot is None else Where(where.target, self.builder.join(node, slot.field.name), where.line, slot.field.personal)
            )
            yield Line(indent + deeper, text, about)
        if self.builder.form != "struct" and not cut and self.typed is None and not self.exact:
            needed = [s for s in node.slots.values() if s.field.required and not s.field.nillable and not s.field.repeated]
            if needed:
                yield line(f"if {' or '.join(f'{s.var} is None' for s in needed)}:")
                yield line(f"missing({{{', '.join(f'{s.field.name!r}: {s.var}' for s in needed)}}})", 1)
        for slot in node.slots.values():
            if slot.node is None or not slot.node.slots:
                continue
            field = slot.field
            if field.nillable or (not field.required and self.builder.form != "struct"):
                yield from self.unless_absent(slot.node, indent, where)
            else:
                yield from self.record(slot.node, indent, where)

    def unless_absent(self, node: RecordNode, indent: int, where: Where) -> Iterator[Line]:
        """The fields of a record that may not be there."""
        if variables := [v for s in node.slots.values() for v in _all(s)]:
            yield Line(indent, f"{' = '.join(variables)} = None", where)
        if lists := _lists(node):
            yield Line(indent, f"{' = '.join(lists)} = ()", where)
        yield Line(indent, f"if {node.var} is not None:", where)
        yield from self.record(node, indent + 1, where)

    def xml(self, node: RecordNode) -> Iterator[tuple[str, int, Slot | None]]:
        """One pass over the children, dispatching on the tag."""
        if self.cut is not None and not node.path:
            yield f"{node.var}, {self.cut_rows} = {node.var}.payload, {node.var}.rows", 0, None
        for slot in node.slots.values():
            if slot.field.attribute:
                absent = "" if slot.field.default is None else f", {slot.field.default!r}"
                yield f"{slot.var} = {node.var}.get({_tag(slot.field)!r}{absent})", 0, slot
            elif slot.field.name == TEXT:
                yield f"{slot.var} = (not len({node.var}) and {node.var}.text) or odd({node.var})", 0, slot
        children = [s for s in node.slots.values() if not s.field.attribute and s.field.name != TEXT]
        if node.record.get(TEXT) is not None and not children:
            return
        if plain := [s.var for s in children if not s.field.repeated]:
            yield f"{' = '.join(plain)} = None", 0, None
        for slot in children:
            if slot.field.repeated:
                yield f"{slot.var} = []", 0, None
        child = self.name("child")
        elements = [f for f in node.record.fields if not f.attribute and f.name != TEXT]
        order = [f.name for f in elements]
        children.sort(key=lambda slot: order.index(slot.field.name.partition(":")[0]))  # as they mostly come
        full = any(f.required and not f.repeated for f in elements)
        yield f"for {child} in {node.var}{'' if full else f' if len({node.var}) else ()'}:", 0, None
        yield f"tag = {child}.tag", 1, None
        bare = frozenset(f.element for f in elements if f.namespace is None)
        if self.local and bare:
            yield f"tag = local_name(tag, {self.constant('LOCAL', bare)})", 1, None
        types, left = self.types(elements, node)
        if types:
            yield f"if tag in {(kinds := self.constant('TYPES', types))}:", 1, None
            yield f"tag = typed(context, {'/'.join(node.path)!r}, {child}, tag, {kinds})", 2, None
        word = "if"
        for slot in children:
            leaf = not isinstance(slot.field.shape, Record)
            value = f"(not len({child}) and {child}.text) or odd({child})" if leaf else child
            if slot.field.repeated:
                yield f"{word} tag == {_tag(slot.field)!r}:", 1, None
                yield f"{slot.var}.append({value})", 2, slot
            else:
                yield f"{word} tag == {_tag(slot.field)!r} and {slot.var} is None:", 1, None
                yield f"{slot.var} = {value}", 2, slot
            word = "elif"
        others = left.union(_tag(f) for f in elements if f.name not in node.slots)
        once = frozenset(_tag(s.field, plain=True) for s in children if not s.field.repeated)
        shown = "/".join(node.path)
        known = self.constant("ONCE", once), self.constant("LOCAL", frozenset() if self.local else bare)
        call = f"unknown(context, {shown!r}, {child}, {', '.join(known)})"
        if others:
            yield f"{word} tag not in {self.constant('OTHERS', others)}:", 1, None
            yield call, 2, None
        else:
            yield "else:" if word == "elif" else "if True:", 1, None
            yield call, 2, None
        if self.cut is not None:
            for slot in children:
                if self.cut[0].at((*node.path, slot.field.name)):
                    yield f"{slot.var} = {self.cut_rows}", 0, slot

    def texts(self, node: RecordNode) -> Iterator[tuple[str, int, Slot | None]]:
        """A row of texts that its contract's pattern matched: nothing is missing in it and nothing unknown."""
        assert self.cut is not None  # noqa: S101  # else nobody comes here
        (rows, way), names, empty = self.cut, list[str](), dict[str, str]()
        groups = list(rows.groups(node.record))
        sure = "" if all(rows.sure(f) for f, _ in groups) else None
        for field, told in groups:
            if (slot := node.slots.get(field.name)) is None:
                names.append("_")
            elif told:
                names.append(empty.setdefault(field.name, self.name(f"{slot.var}_empty")))
            else:
                names.append(slot.var)
        if names:
            yield f"{', '.join(names)}, = {node.var}", 0, None
        for name, slot in node.slots.items():
            field, var = slot.field, slot.var
            if all(name != f.name for f, _ in groups):
                yield f"{var} = {'()' if field.repeated else repr(field.default) if field.attribute else 'None'}", 0, slot
            elif field.repeated:
                if isinstance(field.shape, Record):
                    find = self.constant(f"{var.upper()}_ROWS", rows.row(field.shape, way, field.element).finditer)
                    yield f"{var} = [row.groups({rows.absent(field)!r}) for row in {find}({var})] if {var} else ()", 0, slot
                else:
                    find = self.constant(f"{var.upper()}_TEXTS", rows.leaf(field, way).findall)
                    yield f"{var} = {find}({var}) if {var} else ()", 0, slot
            else:
                if may_be_empty(field) and sure is None:
                    yield f"if {var} is None:", 0, None
                    yield f"{var} = {empty.get(name, repr(''))}", 1, slot
                if isinstance(field.shape, Record):
                    pattern, absent = rows.content(field.shape, way), rows.absent(field)
                    fields = f"{self.constant(f'{var.upper()}_FIELDS', pattern.match)}({var}).groups({absent!r})"
                    if nothing := pattern.match(""):
                        fields = f"{fields} if {var} else {nothing.groups(absent)!r}"
                    if not field.required:
                        yield f"if {var} is not None:", 0, None
                    yield f"{var} = {fields}", 0 if field.required else 1, slot

    def types(self, elements: list[Field], node: RecordNode) -> tuple[dict[str, dict[str, str]], frozenset[str]]:
        """Elements that derived types stand in for: tag -> xsi:type ("": none) -> tag to go on with; and the dropped ones of these."""
        found: dict[str, dict[str, str]] = {}
        left: set[str] = set()
        for field in elements:
            if not isinstance(field.shape, Record) or not field.shape.derived:
                continue
            own = (*node.path, field.name)
            dropped = [d[-1] for d in self.builder.drops if d[:-1] == node.path and d[-1].startswith(f"{field.name}:")]
            named = [s.field for n, s in node.slots.items() if n.startswith(f"{field.name}:")] + [
                f for n in dropped if (f := node.record.get(n))
            ]
            if field.name not in node.slots and not named:
                continue
            kinds = dict.fromkeys(("", field.shape.xsi_type), _tag(field)) if field.name in node.slots or own in self.builder.drops else {}
            for each in sorted(named, key=lambda f: -len(record_of(f).derived)):  # what is derived from another one counts more
                record = record_of(each)
                kinds |= dict.fromkeys((record.xsi_type, *(r.xsi_type for r in record.derived.values())), _tag(each))
            left.update(_tag(f) for f in named if f.name in dropped)
            found[_tag(field)] = kinds
        return found, frozenset(left)

    def json(self, node: RecordNode) -> Iterator[tuple[str, int, Slot | None]]:
        if self.typed is not None:
            for slot in node.slots.values():
                var = slot.var
                yield f"{var} = {node.var}.{self.typed.attribute(node.record, slot.field.name)}", 0, slot
                if isinstance(slot.field.shape, Leaf) and not slot.field.repeated and slot.field.shape.kind in UNTYPED:
                    test = "not (v is True or v is False or v is None)" if slot.field.shape.kind == "boolean" else "v is True or v is False"
                    if slot.field.required and not slot.field.nillable:
                        test = "not (v is True or v is False)" if slot.field.shape.kind == "boolean" else f"{test} or v is None"
                    yield f"if {test.replace('v ', f'{var} ')}:", 0, None
                    yield f"wrong({slot.field.shape.kind!r}, {var})", 1, slot
                if slot.field.repeated and (slot.field.nillable or not slot.field.required):
                    yield f"if {slot.var} is None:", 0, None
                    yield f"{slot.var} = ()", 1, None
            return
        yield f"if {node.var}.__class__ is not dict:", 0, None
        yield f"wrong('an object', {node.var})", 1, None
        own = {f.name for f in node.record.fields}
        for slot in node.slots.values():
            name = slot.field.name if slot.field.name in own else slot.field.name.partition(":")[0]
            yield f"{slot.var} = {node.var}.get({name!r})", 0, slot
            if slot.field.keyed:
                yield f"{slot.var} = entries({slot.var})", 0, slot
            if slot.field.repeated:
                yield f"if {slot.var} is None:", 0, None
                promised = slot.field.required and not slot.field.nillable
                yield f"missing({{{slot.field.name!r}: None}})" if promised else f"{slot.var} = ()", 1, slot if promised else None
                yield f"elif {slot.var}.__class__ is not list:", 0, None
                yield f"wrong('a list', {slot.var})", 1, slot
            if name != slot.field.name and (base := node.record.get(name)) is not None:
                kinds = self.constant("KINDS", _kinds(base, slot.field))
                yield f"{slot.var} = of_kind({slot.var}, {record_of(base).by!r}, {kinds})", 0, slot
        for field in node.record.fields:
            if isinstance(field.shape, Record) and field.shape.by and (*node.path, field.name) not in self.builder.drops:
                yield from self.kinds(node, field, field.shape)
        if not node.record.open:
            known = self.constant("KNOWN", frozenset(f.name for f in node.record.fields))
            yield f"if not {known}.issuperset({node.var}):", 0, None
            yield f"unknown_members(context, {'/'.join(node.path)!r}, {node.var}, {known})", 1, None

    def kinds(self, node: RecordNode, field: Field, shape: Record) -> Iterator[tuple[str, int, Slot | None]]:
        """A variant that is neither read nor dropped is drift."""
        named = [n for n in (*node.slots, *(d[-1] for d in self.builder.drops if d[:-1] == node.path)) if n.startswith(f"{field.name}:")]
        if field.name in node.slots or named:
            read = frozenset[str]().union(*(_kinds(field, found) for n in named if (found := node.record.get(n)) is not None))
            path = "/".join((*node.path, field.name, shape.by))
            yield f"other_kinds(context, {path!r}, {node.var}.get({field.name!r}), {shape.by!r}, {self.constant('KINDS', read)})", 0, None

    def rows(self, node: RecordNode) -> Iterator[tuple[str, int, Slot | None]]:
        places = {f.name: i for i, f in enumerate(node.record.fields)}
        if not self.exact:
            yield f"if {node.var}.__class__ is not tuple or len({node.var}) != {len(places)}:", 0, None
            yield f"wrong('a record of {len(places)} fields', {node.var})", 1, None
        if not node.slots:
            return
        names = ["_"] * len(places)
        for slot in node.slots.values():
            names[places[slot.field.name]] = slot.var
        yield f"{', '.join(names)}, = {node.var}", 0, None
        for slot in () if self.exact else node.slots.values():
            if slot.field.repeated:
                yield f"{slot.var} = {slot.var} or ()", 0, slot
            elif isinstance(slot.field.shape, Leaf) and slot.field.shape.kind == "decimal":
                yield f"if {slot.var}.__class__ is not str and {slot.var} is not None:", 0, None
                yield f"{slot.var} = string(decimal({slot.var}))", 1, slot

    def struct(self, node: RecordNode) -> Iterator[tuple[str, int, Slot | None]]:
        for slot in node.slots.values():
            yield f"{slot.var} = {node.var}.{slot.field.name}", 0, slot


def _tag(field: Field, *, plain: bool = False) -> str:
    """`plain`: the element's own tag, also for a field of one derived type."""
    name = field.element if plain else field.name.partition("~")[0]
    return f"{{{field.namespace}}}{name}" if field.namespace else name


def _kinds(base: Field, field: Field) -> frozenset[str]:
    """The values of the telling member that mean this variant, or one derived from it."""
    kind = field.name.removeprefix(f"{base.name}:")
    return frozenset(v for v, k in record_of(base).kinds.items() if k == kind).union(record_of(field).kinds)


def _all(slot: Slot) -> Iterator[str]:
    """Variables that stay None when the record above is absent."""
    if not slot.field.repeated:
        yield slot.var
        if slot.node is not None:
            for below in slot.node.slots.values():
                yield from _all(below)


def _lists(node: RecordNode) -> list[str]:
    found = []
    for slot in node.slots.values():
        if slot.field.repeated:
            found.append(slot.var)
        elif slot.node is not None:
            found += _lists(slot.node)
    return found


def typed_of(builder: Builder) -> Typed | None:
    """The types of a JSON answer; None where none can hold it."""
    if _asks_for_nil(builder) or _opaque(builder):  # to a type, null and missing are the same
        return None
    try:
        return Typed(builder.source.root, _read(builder)[1])
    except NotTyped:
        return None


def rows_of(builder: Builder) -> Rows | None:
    """How the longest list of an answer can be read from its text; None when it cannot."""
    path, record = list[Field](), builder.source.root
    for step in builder.steps:
        if (field := record.get(step)) is None or not isinstance(field.shape, Record):
            return None
        path.append(field)
        if field.repeated:
            break
        record = field.shape
    if not path or not path[-1].repeated or _opaque(builder):
        return None
    place, names = builder.root, tuple(field.name for field in path)
    for name in names[:-1]:
        if (below := place.slots[name].node) is None:
            return None
        place = below
    nodes, wanted = _read(builder)
    if any(n.path == place.path and n is not place and names[-1] in n.slots for n in nodes):  # the list is read in two places
        return None
    try:
        return Rows(tuple(path), wanted, nil=not _asks_for_nil(builder))
    except NotRegular:
        return None


def _read(builder: Builder) -> tuple[list[RecordNode], dict[int, set[str]]]:
    """All places where records are read; and per record, the fields that are."""
    nodes, wanted = [part.node for part in builder.lines if isinstance(part, Prelude)], dict[int, set[str]]()
    for node in nodes:
        wanted.setdefault(id(node.record), set()).update(node.slots)
        nodes += [slot.node for slot in node.slots.values() if slot.node is not None]
    return nodes, wanted


def _asks_for_nil(builder: Builder) -> bool:
    return any("nil(" in part.text for part in builder.lines if isinstance(part, Line))


def _opaque(builder: Builder) -> bool:
    """Whether a query looks at records as they were sent."""
    return any(isinstance(constant, Query) for constant in builder.constants.values())


def _in_one(lines: list[Line], *, typed: bool) -> list[Line]:
    """The loop that makes one target of each row, with what makes it in the loop: a call costs as much as several fields.

    `typed`: texts that only have to match are looked up for all rows at once; the plain reading says where one does not.
    """
    texts = [line.text for line in lines]
    head = next((at for at, text in enumerate(texts) if text.startswith("def one(")), None)
    call, loop = next(((at, loop) for at in range(1, len(lines)) if _APPEND(texts[at]) and (loop := _LOOP(texts[at - 1]))), (0, None))
    if head is None or loop is None or lines[call + 1].indent >= lines[call].indent:  # grouped, or other targets of the row follow
        return lines
    end, (index, rows, first) = texts.index("", head), loop.groups()
    *body, last = lines[head + 1 : end]
    if last.indent > 1 or any(line.text.startswith("return ") for line in body):  # some rows are left out
        return lines
    fields = {found[1]: found[2] for line in body if line.indent == 1 and (found := _FIELD(line.text))}
    indent, before, row, lines_of = lines[call - 1].indent, list[Line](), list[Line](), iter(body)
    for line in lines_of:
        guard = _GUARD(line.text) if typed and line.indent == 1 else None
        if guard and guard[1] in fields:
            before.append(Line(indent, f"matching({guard[2]}, [record.{fields[guard[1]]} for record in {rows}])", line.where))
            next(lines_of)  # what says that it does not
        else:
            row.append(replace(line, indent=line.indent + indent))
    row.append(Line(indent + 1, f"out.append({last.text.removeprefix('return ')})", last.where))
    over = f"for record in {rows}:" if typed else f"for {index}, record in enumerate({rows}{first or ''}):"
    return [*lines[:head], *lines[end + 1 : call - 1], *before, replace(lines[call - 1], text=over), *row, *lines[call + 1 :]]
