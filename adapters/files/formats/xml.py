"""XML files (POSLog and its kin): one transaction at a time, by the local names that the layout declares, bounded in size and depth."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, BinaryIO, Final

from lxml import etree

from adapters.files.generated import function
from adapters.files.layout import Layout, Record, Step, steps
from adapters.files.parsing import MOST_RAW, Ledger, Refuse, Unit
from adapters.files.values import Memo, Wrong, reader

CHUNK: Final = 65_536
_PROLOG: Final = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s|<\?.*?\?>|<!--.*?-->)*", re.DOTALL)

Element = Any
Kids = dict[str, list[Element]]
_NO_KIDS: Final[Kids] = {}
_NO_ATTRIBUTES: Final[dict[str, str]] = {}


class Names(dict[Any, str]):
    """Tag -> local name; empty for what lies in a namespace that the layout does not speak."""

    __slots__ = ("_allowed",)

    def __init__(self, allowed: frozenset[str] | None) -> None:
        super().__init__()
        self._allowed = allowed

    def __missing__(self, tag: Any) -> str:
        if not isinstance(tag, str):
            return ""
        namespace, _, name = tag.rpartition("}")
        if self._allowed is not None and namespace[1:] not in self._allowed:
            name = ""
        if len(self) >= 4096:
            self.clear()
        self[tag] = name
        return name


class Plan:
    """A layout, made ready to read elements. Immutable after construction; readers share it."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        spaces = layout.file.namespaces
        self.allowed = None if spaces == "any" else frozenset(spaces)
        self.readers = {record.name: _reader(record) for record in layout.records.values()}
        self.names = tuple(step.names for step in layout.transaction.steps)
        top = layout.transaction
        self.agreeing = tuple(i for i, f in enumerate(top.fields) if f.name in layout.file.agree)
        self.skim = _reader(Record(top.name, top.rule, tuple(top.fields[i] for i in self.agreeing)))
        self.skims = not any(c.scope == "file" for c in layout.checks)
        """Whether the end of a file can be reached without reading every row: nothing adds up over the file."""


class XmlParser:
    """Reads one file. A transaction's elements are freed before the next one is read."""

    def __init__(self, plan: Plan, skim: int | None = None) -> None:
        """Behind position `skim`, rows are not read, only what can refuse the file."""
        self._plan, self._skim = plan, skim if plan.skims else None
        self._layout = plan.layout
        self._names = Names(plan.allowed)
        self._kids: dict[Element, Kids] = {}
        self._too_deep = etree.XPath("boolean(" + "/".join(["*"] * plan.layout.file.max_depth) + ")")
        self._rows = 0

    def units(self, source: BinaryIO, name: str, facts: Mapping[str, str]) -> Iterator[Unit]:
        file = self._layout.file
        self._ledger = Ledger(self._layout, facts)
        self.ending = self._ledger.ending
        tags = [f"{{*}}{name}" for name in (*self._plan.names[-1],)]
        parser = etree.XMLPullParser(
            events=("end",), tag=tags, encoding=file.encoding, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False,
            remove_comments=True, remove_pis=True,
        )  # fmt: skip
        head, waiting, root = True, 0, None
        damage = ""
        while chunk := source.read(CHUNK):
            if head:
                head = False
                if chunk[_PROLOG.match(chunk).end() :].startswith(b"<!DOCTYPE"):  # type: ignore[union-attr]  # the pattern matches nothing too
                    raise Refuse("a DOCTYPE is not accepted", 1)
            try:
                parser.feed(chunk)
            except etree.XMLSyntaxError as error:
                damage = _syntax(error)
            waiting += len(chunk)
            for _, element in _ended(parser):
                if root is None:
                    root = self._checked_root(element.getroottree())
                if not self._is_transaction(element):
                    continue
                waiting = 0
                yield self._unit(element, name)
                self._kids.clear()
                _free(element)
            if damage:
                break
            if waiting > file.max_record + 2 * CHUNK:
                raise Refuse(f"more than {file.max_record} bytes without a complete {self._layout.transaction.name}")
        if head:
            raise Refuse("the file is empty")
        if not damage:
            try:
                closed = parser.close()
            except etree.XMLSyntaxError as error:
                damage = _syntax(error)
            else:
                self._checked_root(closed.getroottree())
        if root is None and damage:
            raise Refuse(f"the file is not the XML that was expected: {damage}")
        self.ending.rows = self._rows
        self._ledger.counts[self._layout.transaction.name] = self.ending.units
        self._ledger.end({}, damage and f"{damage}: the file is cut off or damaged")

    def _checked_root(self, tree: Any) -> Any:
        if tree.docinfo.doctype:
            raise Refuse("a DOCTYPE is not accepted", 1)
        root = tree.getroot()
        if self._names[root.tag] != self._layout.file.root:
            raise Refuse(f"expected the document element {self._layout.file.root}, got {str(root.tag)[:100]}", 1)
        return root

    def _is_transaction(self, element: Element) -> bool:
        """Right path from the root; a vendor may use the same name somewhere inside."""
        here: Any = element
        for names in reversed(self._plan.names):
            if here is None or self._names[here.tag] not in names:
                return False
            here = here.getparent()
        return here is not None and here.getparent() is None

    def _unit(self, element: Element, name: str) -> Unit:
        line = element.sourceline or 0
        if self._skim is not None and self.ending.units >= self._skim:
            self._skimmed(element, line)
            return Unit(self._ledger.pass_over(), line, None, None, bytes, name)
        raw = partial(_raw, element, self._layout.file.encoding)
        row: tuple[Any, ...] | None = None
        wrong: Wrong | None = None
        try:
            if self._too_deep(element):
                raise Wrong("", f"at most {self._layout.file.max_depth} levels of elements", "more", line)
            rows_before = self._rows
            row = self._read(self._layout.transaction, element)
            if self._rows - rows_before > self._layout.file.max_records:
                raise Wrong("", f"at most {self._layout.file.max_records} rows in a transaction", "more", line)
            self._ledger.agree(self._layout.transaction.name, row, line)
            wrong = self._ledger.prove(row)
        except Wrong as found:
            wrong = found
        if wrong is not None:
            wrong.line = wrong.line or line
            row = None
        return Unit(self._ledger.count(row), line, row, wrong, raw, name, partial(_around, element, self._layout.file.encoding))

    def _skimmed(self, element: Element, line: int) -> None:
        top = self._layout.transaction
        row: list[Any] = [None] * len(top.fields)
        try:
            for at, value in zip(self._plan.agreeing, self._plan.skim(element, self.kids, self.attributes, self._names), strict=True):
                row[at] = value
        except Wrong:
            return  # set aside when it is read
        self._ledger.agree(top.name, tuple(row), line)

    # ---- elements -------------------------------------------------------------------------------------------------

    def kids(self, element: Element) -> Kids:
        found = self._kids.get(element)
        if found is None:
            found = self._kids[element] = {}
            names = self._names
            for child in element:
                name = names[child.tag]
                if name in found:
                    found[name].append(child)
                else:
                    found[name] = [child]
        return found

    def attributes(self, element: Element) -> dict[str, str]:
        items = element.items()
        return {key.rpartition("}")[2] if key[0] == "{" else key: value for key, value in items} if items else _NO_ATTRIBUTES

    def _read(self, record: Record, element: Element) -> tuple[Any, ...]:
        self._rows += 1
        try:
            own: list[Any] = self._plan.readers[record.name](element, self.kids, self.attributes, self._names)
            own += [self._children(child, element) for child in record.children]
        except Wrong as wrong:
            if "." not in wrong.field:
                wrong.field = f"{record.name}.{wrong.field}".rstrip(".")
            wrong.line = wrong.line or element.sourceline or 0
            raise
        return tuple(own)

    def _children(self, record: Record, element: Element) -> Any:
        found = self._every(element, record.steps)
        if record.where:
            found = [e for e in found if self._exists(e, record.where)]
        if record.repeated:
            if not found and record.needed:
                raise Wrong(record.name, f"at least one {record.name}", "none")
            return [self._read(record, e) for e in found]
        if len(found) > 1:
            raise Wrong(record.name, f"one {record.name}", f"{len(found)}")
        if not found and record.needed:
            raise Wrong(record.name, f"one {record.name}", "none")
        return self._read(record, found[0]) if found else None

    def _every(self, element: Element, steps: Iterable[Step]) -> list[Element]:
        found = [element]
        for step in steps:
            found = [child for e in found for child in self._step(e, step)]
        return found

    def _step(self, element: Element, step: Step) -> list[Element]:
        if not step.names:
            parent = element.getparent() if step.up else element
            return [] if parent is None else [parent]
        kids = self.kids(element)
        for name in step.names:
            if rows := kids.get(name):
                if step.where is None:
                    return rows
                key, value = step.where
                return [e for e in rows if self.attributes(e).get(key) == value]
        return []

    def _exists(self, element: Element, steps: tuple[Step, ...]) -> bool:
        if steps[-1].attribute:
            return any(n in self.attributes(e) for e in self._every(element, steps[:-1]) for n in steps[-1].names)
        return bool(self._every(element, steps))


def _reader(record: Record) -> Callable[..., list[Any]]:
    """One function that reads a record's own fields; elements on the way to several fields are looked up once."""
    names: dict[str, Any] = {"text": _text, "pick": _pick, "none": _NO_KIDS, "bare": _NO_ATTRIBUTES}
    lines: list[str] = []
    known: dict[tuple[Step, ...], str] = {(): "e"}
    opened: dict[str, str] = {}
    attributed: dict[str, str] = {}

    def kids(variable: str) -> str:
        if variable not in opened:
            opened[variable] = f"k_{variable}"
            lines.append(f"k_{variable} = kids({variable})" + ("" if variable == "e" else f" if {variable} is not None else none"))
        return opened[variable]

    def attributes(variable: str) -> str:
        if variable not in attributed:
            attributed[variable] = f"a_{variable}"
            lines.append(f"a_{variable} = attributes({variable})" + ("" if variable == "e" else f" if {variable} is not None else bare"))
        return attributed[variable]

    def node(path: tuple[Step, ...]) -> str:
        if path in known:
            return known[path]
        above, step = node(path[:-1]), path[-1]
        variable = known[path] = f"x{len(known)}"
        if not step.names:
            lines.append(f"{variable} = {f'{above}.getparent()' if step.up else above}")
        elif step.where is not None:
            lines.append(f"{variable} = pick({kids(above)}, {step.names!r}, {step.where[0]!r}, {step.where[1]!r}, attributes)")
        else:
            chosen = " or ".join(f"{kids(above)}.get({name!r})" for name in step.names)
            lines.append(f"{variable} = {chosen}")
            lines.append(f"{variable} = {variable}[0] if {variable} else None")
        return variable

    values: list[str] = []
    for at, f in enumerate(record.fields):
        read, repeats = reader(f)
        names[f"c{at}"] = Memo(read) if repeats else read
        path = _path(f.path)
        if path[-1].attribute:
            source = attributes(node(path[:-1]))
            found = " or ".join(f"{source}.get({name!r})" for name in path[-1].names)
        else:
            variable = node(path)
            found = f"(local[{variable}.tag] if {variable} is not None else None)" if f.read == "name" else f"text({variable})"
        values.append(f"c{at}[{found}]" if repeats else f"c{at}({found})")
    body = "".join(f"    {line}\n" for line in [*lines, f"return [{', '.join(values)}]"])
    return function("read", f"def read(e, kids, attributes, local):\n{body}", names)


def _path(text: str | None) -> tuple[Step, ...]:
    return steps(text or ".")


def _text(element: Element) -> str | None:
    if element is None:
        return None
    text = element.text
    return text.strip() if text else None


def _pick(kids: Kids, names: tuple[str, ...], key: str, value: str, attributes: Callable[[Element], dict[str, str]]) -> Element:
    for name in names:
        for element in kids.get(name, ()):
            if attributes(element).get(key) == value:
                return element
    return None


def _raw(element: Element, encoding: str) -> bytes:
    text = etree.tostring(element, encoding=encoding, with_tail=False, xml_declaration=False)
    assert isinstance(text, bytes)  # noqa: S101  # the stubs do not look at the encoding
    return text[:MOST_RAW]


def _around(element: Element, encoding: str) -> tuple[bytes, bytes]:
    """The elements that it stands in, without their other content."""
    mark = "<!--here-->"
    inner: Any = etree.Comment("here")
    for outer in element.iterancestors():
        shell = etree.Element(outer.tag, dict(outer.attrib), nsmap=outer.nsmap)
        shell.append(inner)
        inner = shell
    before, _, behind = etree.tostring(inner, encoding="unicode").partition(mark)
    return before.encode(encoding), behind.encode(encoding)


def _free(element: Element) -> None:
    element.clear()
    parent = element.getparent()
    while parent is not None and (before := element.getprevious()) is not None:
        parent.remove(before)


def _ended(parser: Any) -> Iterator[tuple[str, Element]]:
    """What has been read completely; the stubs describe more kinds of events than are asked for."""
    yield from parser.read_events()


def _syntax(error: etree.XMLSyntaxError) -> str:
    return f"line {error.lineno or 0}: {error.msg}"[:300]
