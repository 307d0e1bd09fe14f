"""XML files (POSLog and its kin): one transaction at a time, by the local names that the layout declares, bounded in size and depth."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import islice
from typing import Any, BinaryIO, Final

from lxml import etree

from adapters.files.formats.regular import MAX_SPACES, Cut, Grammar, Marked, NotRegular, Shapes, marked, sign
from adapters.files.generated import function
from adapters.files.layout import Layout, Record, Step, steps
from adapters.files.parsing import MOST_EXTENSIONS, MOST_RAW, Ledger, Refuse, Unit
from adapters.files.values import Memo, Wrong, reader
from adapters.files.written import Written

CHUNK: Final = 131_072
HELD: Final = 4 * CHUNK
"""Characters of an unfinished transaction that wait for its end before the parser gets them."""
_PROLOG: Final = re.compile(r"(?:\s|<\?.*?\?>|<!--.*?-->)*", re.DOTALL)
_DECLARED: Final = re.compile(rb"""\s*<\?xml[^>]{0,100}?\sencoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]{0,39})["']""")
_MARKS: Final = {
    codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be", codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}  # fmt: skip
_BEGINS: Final = {b"<\0?\0": "utf-16-le", b"\0<\0?": "utf-16-be"}
_MARKED: Final = {name: mark for mark, name in _MARKS.items()}
_BARE: Final = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}
"""What is read without a byte order mark by codecs that write one."""
_MARKUP: Final = re.compile(
    r"""<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>|<(/?)(?:[^\s<>/:]+:)?([^\s<>/:!?]+)(?:[^<>"']|"[^"<]*"|'[^'<]*')*?(/?)>""", re.DOTALL
)
_LONG: Final = (("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>"))
_KNOWN: Final = ("utf-8", "ascii", "iso8859", "cp125", "cp437", "cp85", "koi8", "shift_jis", "euc", "gb", "big5", "mac")

_XML: Final = "http://www.w3.org/XML/1998/namespace"
_QUOTED: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"})
MOST_TAGS: Final = 4096

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


def _spoken(layout: Layout) -> frozenset[str]:
    """Every name that a path of the layout goes by."""
    paths = [step for record in layout.records.values() for step in record.steps]
    paths += [step for record in layout.records.values() for f in record.fields if f.path for step in steps(f.path)]
    return frozenset(name for step in paths for name in step.names)


class _Fed:
    """Text that the parser was given since a transaction ended, in which what it told of last is found again: only when that is asked for,
    and from where the last search ended.
    """

    def __init__(self, names: tuple[str, ...], most: int) -> None:
        """`names`: of the elements whose ends the parser tells. `most`: characters that are kept."""
        self._names, self._most = frozenset(names), most
        self.clear()

    def clear(self) -> None:
        """The text stands behind a transaction."""
        self._pieces: list[str] = []
        self._size = self._at = self._told = self._seen = 0
        self._open: list[int] = []
        """Where elements begin that have not ended; -1 for those of other names."""
        self._lost = False
        self._span: tuple[int, int] | None = None

    def add(self, text: str) -> None:
        self._pieces.append(text)
        self._size += len(text)

    def ended(self) -> None:
        self._told += 1

    def last(self) -> str | None:
        """The element that has ended last, as it was written; None when it is not to be found."""
        if self._lost:
            return None
        text = self._whole()
        while self._seen < self._told:
            begin = text.find("<", self._at)
            found = _MARKUP.match(text, begin) if begin >= 0 else None
            if found is None:
                self._lost = True
                return None
            self._at = found.end()
            closes, name, alone = found.groups()
            if name is None:
                continue
            if not closes:
                self._open.append(begin if name in self._names else -1)
            if closes or alone:
                begin = self._open.pop() if self._open else -1
                if name in self._names:
                    self._seen += 1
                    self._span = (begin, self._at) if begin >= 0 else None
        return text[slice(*self._span)] if self._span else None

    def trim(self) -> None:
        """Lets go what has ended, where the end of a transaction could not be known by itself."""
        if self._size <= HELD or not self._told:
            return
        self.last()
        if not self._lost:
            begin = min((at for at in self._open if at >= 0), default=self._at)
            self._pieces = [self._whole()[begin:]]
            self._size, self._at, self._span = self._size - begin, self._at - begin, None
            self._told = self._seen = 0
            self._open = [at - begin if at >= 0 else -1 for at in self._open]
        if self._lost or self._size > self._most:
            self.clear()
            self._lost = True

    def _whole(self) -> str:
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""


class Plan:
    """A layout, made ready to read elements. Readers share it, one after the other what was learned."""

    def __init__(self, layout: Layout, *, short: bool = True) -> None:
        """Not `short`: every transaction is read element by element."""
        self.layout, self.short = layout, short
        spaces = layout.file.namespaces
        self.allowed = None if spaces == "any" else frozenset(spaces)
        self.readers = {record.name: _reader(record) for record in layout.records.values()}
        self.bare = {record.name: _reader(record, bare=True) for record in layout.records.values()}
        self.names = tuple(step.names for step in layout.transaction.steps)
        top = layout.transaction
        self.agreeing = tuple(i for i, f in enumerate(top.fields) if f.name in layout.file.agree)
        self.skim = _reader(Record(top.name, top.rule, tuple(top.fields[i] for i in self.agreeing)))
        self.skims = not any(c.scope == "file" for c in layout.checks)
        """Whether the end of a file can be reached without reading every row: nothing adds up over the file."""
        self.end = re.compile(rf"</(?:[^\s<>/:]+:)?(?:{'|'.join(map(re.escape, self.names[-1]))})[ \t\r\n]*>").search
        self.grammar = Grammar(layout)
        self.positions = {r.name: [at for at, f in enumerate(r.fields) if f.read == "position"] for r in layout.records.values()}
        self.spoken = _spoken(layout) if layout.file.extensions == "report" else None
        self._learned: list[dict[object, Shapes]] = []

    def borrow(self) -> dict[object, Shapes]:
        """What earlier readers have learned; of several at a time only one gets it."""
        try:
            return self._learned.pop()
        except IndexError:
            return {}

    def give_back(self, learned: dict[object, Shapes]) -> None:
        if not self._learned:
            self._learned.append(learned)


class XmlParser:
    """Reads one file. A transaction's elements are freed before the next one is read."""

    def __init__(self, plan: Plan, skim: int | None = None) -> None:
        """Behind position `skim`, rows are not read, only what can refuse the file."""
        self._plan, self._skim = plan, skim if plan.skims else None
        self._layout = plan.layout
        self._names = Names(plan.allowed)
        self._readers = plan.readers
        self._kids: dict[Element, Kids] = {}
        self._tags: set[str] = set()
        self._too_deep = etree.XPath("boolean(" + "/".join(["*"] * plan.layout.file.max_depth) + ")")
        self._parser = etree.XMLPullParser(
            events=("end",), tag=[f"{{*}}{name}" for name in plan.names[-1]], encoding="utf-8", resolve_entities=False, no_network=True,
            load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True,
        )  # fmt: skip
        self._root: Element = None
        self._above: Element = None
        self._learned: dict[object, Shapes] = {}
        self._shapes: Shapes | None = None
        """Known while the text stands between two transactions of one element; then the next one may be read from its text."""
        self._matched = False
        self._agreed: tuple[Any, ...] | None = None
        self._heads: tuple[Any, ...] = ()
        self._rows = self._waiting = self._line = self._skipped = self._at = 0
        self._damage = self._name = ""
        self._open = False
        """The damage is that the file ends where something has not ended."""
        self._fed = _Fed(plan.names[-1], plan.layout.file.max_record + 2 * CHUNK)
        self._encoding, self._exact, self._noted = plan.layout.file.encoding, True, False
        self.written: Written | None = None
        """What is known of how transactions are written."""

    def units(self, source: BinaryIO, name: str, facts: Mapping[str, str]) -> Iterator[Unit]:
        self._ledger = Ledger(self._layout, facts)
        self.ending, self._name = self._ledger.ending, name
        self._learned = self._plan.borrow() if self._plan.short else {}
        if self.written is not None:
            self.written.begin()
            self.written.marked = self._marked
        try:
            yield from self._units(source)
        finally:
            self._plan.give_back(self._learned)
        if self._root is None and self._damage:
            cut = "the file ends before the first transaction does: it was cut off, or is other XML than expected"
            raise Refuse(f"{cut if self._open else 'the file is not the XML that was expected'}: {self._damage}")
        self.ending.rows = self._rows
        self._ledger.counts[self._layout.transaction.name] = self.ending.units
        if self.written is not None:
            self._ledger.checks.add_sums(self.written.ended()[1])
        self._ledger.end({}, self._damage and f"{self._damage}: the file is cut off or damaged")

    def _units(self, source: BinaryIO) -> Iterator[Unit]:
        """Transactions that are written as one before are read from their text; everything else goes through the parser."""
        rest, head = "", True
        for piece in self._texts(source):
            if head:
                head = False
                if piece[_PROLOG.match(piece).end() :].startswith("<!DOCTYPE"):  # type: ignore[union-attr]  # the pattern matches nothing too
                    raise Refuse("a DOCTYPE is not accepted", 1)
            text, at = rest + piece, 0
            while not self._damage:
                if (unit := self._from_text(text, at)) is not None:
                    at = self._at
                    yield unit
                elif (found := self._plan.end(text, at)) is not None:
                    yield from self._parsed(text[at : found.end()], whole=True)
                    at = found.end()
                else:
                    break
            rest = text[at:]
            if len(rest) > HELD and not self._damage:
                yield from self._parsed(rest)
                rest = ""
        if head and not self._damage:
            raise Refuse("the file is empty")
        if not self._damage:
            yield from self._parsed(rest)
        if not self._damage:
            try:
                closed = self._parser.close()
            except etree.XMLSyntaxError as error:
                self._damage, self._open = self._syntax(error), True
            else:
                self._checked_root(closed.getroottree())

    def _texts(self, source: BinaryIO) -> Iterator[str]:
        """The file as text. What is not in its encoding ends it, as damage."""
        block = source.read(CHUNK)
        encoding, skipped = encoding_of(block, self._layout.file.encoding, self._layout.file.declaration == "believe")
        encoding = self._encoding = _BARE.get(codecs.lookup(encoding).name, encoding)
        decoder = codecs.getincrementaldecoder(encoding)()
        block, line, ambiguous = block[skipped:], 1, not _one_to_one(encoding)
        while block or not skipped:
            held = decoder.getstate()[0] if ambiguous else b""
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                good = error.object[: error.start].decode(encoding)
                yield good
                found = error.object[error.start]
                self._damage = self._damage or f"line {line + good.count(chr(10))}: byte 0x{found:02X} is no text in {encoding}"
                return
            if ambiguous and self._exact:
                self._exact = text.encode(encoding, "xmlcharrefreplace") + decoder.getstate()[0] == held + block
            if text:
                yield text
                line += text.count("\n")
            if not block:
                return
            block = source.read(CHUNK)

    # ---- from the text --------------------------------------------------------------------------------------------

    def _from_text(self, text: str, at: int) -> Unit | None:
        """The transaction that comes next, when it is written as one before; `_at` is then its end."""
        shapes = self._shapes
        if shapes is None or (start := text.find("<", at)) < 0 or (start > at and text[at:start].strip(" \t\r\n")):
            return None
        skims = self._skim is not None and self.ending.units >= self._skim
        file = self._layout.file
        self._matched = False
        written = None if skims else self.written
        if written is not None and (taken := written.take_element(text, start, file.max_record)) is not None:
            made, end, rows = taken
            self._rows += rows
            line = self._line + 1 + text.count("\n", at, start) + text.count("\n", start, text.index(">", start))
            unit = Unit(self._ledger.pass_over(), line, None, None, bytes, self._name, made=(made,))
            self._passed(text, at, end)
            return unit
        try:
            found = shapes.read(text, start, file.max_record, self._heads, skim=skims)
        except Wrong:
            self._matched = True
            return None
        if found is None:
            return None
        row, end = found.row, found.end
        if row is None or found.rows > file.max_records:
            self._matched = True
            return None
        line = self._line + 1 + text.count("\n", at, start) + found.tags
        self._agree(row, line)
        if skims:
            unit = Unit(self._ledger.pass_over(), line, None, None, bytes, self._name)
        else:
            self._rows += found.rows
            raw = partial(self._as_written, text, start, end, line)
            unit = self._judged(row, line, raw, partial(_around, self._above, self._encoding, self._layout))
            if written is not None and written.wants(text[start:end], 0):
                unit.text = text[start:end]
        self._passed(text, at, end)
        return unit

    def _passed(self, text: str, at: int, end: int) -> None:
        breaks = text.count("\n", at, end)
        self._line += breaks
        self._skipped += breaks
        self._at, self._waiting = end, 0

    def _marked(self, text: str) -> Marked:
        """A transaction that was read from its text, for learning how others are written. Raises NotRegular."""
        rows = self._rows
        self._kids.clear()
        self._readers = self._plan.bare
        try:
            return marked(text, _element(text, self._above), self, self._layout)
        except etree.XMLSyntaxError:
            raise NotRegular from None
        finally:
            self._kids.clear()
            self._readers, self._rows = self._plan.readers, rows

    def _as_written(self, text: str, start: int, end: int, line: int) -> bytes:
        if not self._exact:
            self._note(line)
        return text[start:end].encode(self._encoding, "xmlcharrefreplace")[:MOST_RAW]

    def _original(self, element: Element, line: int) -> bytes:
        """The bytes of a transaction, if its text is found and says just this; else as the parser would write it."""
        text = self._fed.last()
        if text is not None:
            try:
                if etree.tostring(_element(text, element.getparent())) == etree.tostring(element, with_tail=False):
                    return self._as_written(text, 0, len(text), line)
            except etree.XMLSyntaxError:
                pass
        self._note(line)
        return _raw(element, self._encoding)

    def _note(self, line: int) -> None:
        if not self._noted:
            self._noted = True
            self.ending.find(f"line {line}: from here on, what is set aside is kept as it was understood, not byte by byte")

    def _agree(self, row: tuple[Any, ...], line: int) -> None:
        said = tuple([row[at] for at in self._plan.agreeing])
        if said != self._agreed:
            self._ledger.agree(self._layout.transaction.name, row, line)
            self._agreed = said

    def _judged(self, row: tuple[Any, ...], line: int, raw: Callable[[], bytes], around: Callable[[], tuple[bytes, bytes]]) -> Unit:
        wrong = self._ledger.prove(row)
        if wrong is None:
            return Unit(self._ledger.count(row), line, row, None, raw, self._name, around)
        wrong.line = wrong.line or line
        return Unit(self._ledger.count(None), line, None, wrong, raw, self._name, around)

    # ---- from elements --------------------------------------------------------------------------------------------

    def _parsed(self, text: str, *, whole: bool = False) -> Iterator[Unit]:
        """What the parser makes of the next part of the file. `whole`: it ends where a transaction seems to end."""
        matched, self._matched, self._shapes = self._matched, False, None
        try:
            self._parser.feed(text.encode())
        except etree.XMLSyntaxError as error:
            self._damage = self._syntax(error)
        self._waiting += len(text)
        self._fed.add(text)
        last: Element = None
        count = 0
        for _, element in _ended(self._parser):
            if self._root is None:
                self._root = self._checked_root(element.getroottree())
            last, count = None, count + 1
            self._fed.ended()
            if not self._is_transaction(element):
                continue
            last, self._waiting = element, 0
            if self._above is None or element.getparent() is not self._above:
                self._heads = tuple([self._head(record, element) for record in self._layout.headers])
                self._kids.clear()
                if self.written is not None:
                    self.written.forget()
            yield self._unit(element)
            if whole and count == 1 and not matched and self._plan.short and not self._damage:
                self._learn(text, element)
            self._kids.clear()
            self._above = element.getparent()
            _free(element)
        self._line += text.count("\n")
        if whole and last is not None and not self._damage and "<!" not in text and "<?" not in text:  # its last tag has closed `last`
            self._shapes = self._learned_below(self._above)
        if whole and last is not None and all(text.find(ends, text.rfind(begins)) >= 0 for begins, ends in _LONG if begins in text):
            self._fed.clear()
        else:
            self._fed.trim()
        if self._waiting > self._layout.file.max_record + 2 * CHUNK:
            raise Refuse(f"more than {self._layout.file.max_record} bytes without a complete {self._layout.transaction.name}")

    def _head(self, record: Record, element: Element) -> tuple[Any, ...] | None:
        """What stands around a transaction: as far as the paths of both are the same, in the elements that it stands in itself."""
        path, mine = record.steps, self._layout.transaction.steps[:-1]
        same = next((at for at, (a, b) in enumerate(zip(path[:-1], mine, strict=False)) if a != b), min(len(path) - 1, len(mine)))
        above = [*element.iterancestors()][::-1]
        found = self._every(above[same], path[same:])
        if len(found) > 1 or (not found and record.needed):
            raise Refuse(f"expected one {record.name} before the first {self._layout.transaction.name}, got {len(found) or 'none'}")
        if not found:
            return None
        line = self._place(found[0])
        try:
            row = self._read(record, found[0])
        except Wrong as wrong:
            raise Refuse(f"{wrong.field}: expected {wrong.expected}, got {wrong.got}", wrong.line or line) from None
        self._ledger.agree(record.name, row, line)
        return row

    def _learned_below(self, above: Element) -> Shapes | None:
        if not self._plan.short:
            return None
        space = frozenset(above.nsmap.items())
        if space not in self._learned and len(self._learned) < MAX_SPACES:
            self._learned[space] = Shapes(self._plan.grammar)
        return self._learned.get(space)

    def _learn(self, text: str, element: Element) -> None:
        text = text.lstrip(" \t\r\n")
        tag = f"<{element.prefix}:" if element.prefix else "<"
        shapes = self._learned_below(element.getparent())
        if shapes is None or not text.startswith(tag + etree.QName(element).localname) or self._too_deep(element):
            return
        rows = self._rows
        self._kids.clear()
        self._readers = self._plan.bare
        shapes.learn(text, element, self)
        self._readers, self._rows = self._plan.readers, rows

    def lines(self, element: Element, cut: Cut) -> tuple[Element | None, list[Element]]:
        """The element that holds lines, and these in their order. Raises NotRegular when there are several such elements."""
        holders = self._every(element, cut.path)
        if len(holders) > 1:
            raise NotRegular
        return (holders[0], [e for e in holders[0] if self._names[e.tag] in cut.names]) if holders else (None, [])

    def marked(self, element: Element, without: Sequence[Record]) -> tuple[Any, ...]:
        """A transaction as it stands, its values not converted, `without` some of its child records."""
        top = self._layout.transaction
        own: list[Any] = self._readers[top.name](element, self.kids, self.attributes, self._names)
        return (*own, *(() if child in without else self._children(child, element) for child in top.children))

    def within(self, record: Record, line: Element, above: int) -> list[tuple[Any, ...]]:
        """Its rows of one kind within a line, to which the first `above` + 1 steps of the record's path lead."""
        step = record.steps[above]
        if self._names[line.tag] not in step.names or (step.where and self.attributes(line).get(step.where[0]) != step.where[1]):
            return []
        found = self._every(line, record.steps[above + 1 :])
        return [self._read(record, e) for e in found if not record.where or self._exists(e, record.where)]

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

    def _unit(self, element: Element) -> Unit:
        line = self._place(element)
        if self._skim is not None and self.ending.units >= self._skim:
            self._skimmed(element, line)
            return Unit(self._ledger.pass_over(), line, None, None, bytes, self._name)
        raw = partial(self._original, element, line)
        around = partial(_around, element.getparent(), self._encoding, self._layout)
        try:
            if self._too_deep(element):
                raise Wrong("", f"at most {self._layout.file.max_depth} levels of elements", "more", line)
            if self._plan.spoken is not None and not (tags := {e.tag for e in element.iter("*")}) <= self._tags:
                self._noticed(element, tags, self._plan.spoken)
            rows_before = self._rows
            row = self._read(self._layout.transaction, element)
            if self._rows - rows_before > self._layout.file.max_records:
                raise Wrong("", f"at most {self._layout.file.max_records} rows in a transaction", "more", line)
        except Wrong as wrong:
            wrong.line = wrong.line or line
            return Unit(self._ledger.count(None), line, None, wrong, raw, self._name, around)
        self._agree(row, line)
        return self._judged(row, line, raw, around)

    def _noticed(self, element: Element, tags: set[str], spoken: frozenset[str]) -> None:
        """What a vendor has added: elements of another namespace than the transaction's that no path names, and that stand in none of
        their kind. Their tags are looked at once in a file; what is read from its text is written as something that was looked at.
        """
        own, allowed = element.tag.rpartition("}")[0], self._plan.allowed

        def theirs(tag: str) -> bool:
            space, _, name = tag.rpartition("}")
            return space[1:] not in allowed if allowed is not None else space not in ("", own) and name not in spoken

        for tag in sorted(tags - self._tags):
            outermost = theirs(tag) and not all(theirs(each.getparent().tag) for each in islice(element.iter(tag), MOST_EXTENSIONS))
            if outermost and len(self.ending.extensions) < MOST_EXTENSIONS:
                space, _, name = tag.rpartition("}")
                self.ending.extensions.append(f"{name[:100]} of {space[1:200] or 'no namespace'}")
            if len(self._tags) < MOST_TAGS:
                self._tags.add(tag)

    def _skimmed(self, element: Element, line: int) -> None:
        top = self._layout.transaction
        row: list[Any] = [None] * len(top.fields)
        try:
            for at, value in zip(self._plan.agreeing, self._plan.skim(element, self.kids, self.attributes, self._names), strict=True):
                row[at] = value
        except Wrong:
            return  # set aside when it is read
        self._agree(tuple(row), line)

    def _place(self, element: Element) -> int:
        """The line of an element: the parser has not seen what was read from its text."""
        return (element.sourceline or 0) + self._skipped

    def _syntax(self, error: etree.XMLSyntaxError) -> str:
        """Lines that the message itself speaks of are those that the parser has seen, and are left out."""
        said = re.sub(r",? line \d+(?:, column \d+)?", "", " ".join((error.msg or "not well-formed").split()))
        return f"line {(error.lineno or 0) + self._skipped}: {said}"[:300]

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
            own: list[Any] = self._readers[record.name](element, self.kids, self.attributes, self._names)
            if record is self._layout.transaction:
                own += self._heads
            own += [self._children(child, element) for child in record.children]
        except Wrong as wrong:
            if "." not in wrong.field:
                rule = next((f for f in record.fields if f.name == wrong.field), None)
                if wrong.got == "nothing" and rule is not None and rule.path not in (None, "."):
                    wrong.got = f"nothing at {rule.path}"
                wrong.field = f"{record.name}.{wrong.field}".rstrip(".")
            wrong.line = wrong.line or self._place(element)
            raise
        return tuple(own)

    def _children(self, record: Record, element: Element) -> Any:
        found = self._every(element, record.steps)
        if record.where:
            found = [e for e in found if self._exists(e, record.where)]
        if record.repeated:
            if not found and record.needed:
                raise Wrong(record.name, f"at least one {record.name}", "none")
            rows = [self._read(record, e) for e in found]
            for at in self._plan.positions[record.name]:
                rows = [(*row[:at], number, *row[at + 1 :]) for number, row in enumerate(rows, 1)]
            return rows
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


def _reader(record: Record, *, bare: bool = False) -> Callable[..., list[Any]]:
    """One function that reads a record's own fields; elements on the way to several fields are looked up once. `bare`: their texts."""
    names: dict[str, Any] = {"text": _text, "pick": _pick, "none": _NO_KIDS, "bare": _NO_ATTRIBUTES, "sign": sign}
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
        if f.read == "position":
            values.append("1")
            continue
        read, repeats = (_as_it_is, False) if bare else reader(f)
        names[f"c{at}"] = Memo(read) if repeats else read
        ways = []
        for path in map(steps, (f.path or ".", *f.otherwise)):
            if path[-1].attribute:
                source = attributes(node(path[:-1]))
                ways += [f"{source}.get({name!r})" for name in path[-1].names]
            else:
                variable = node(path)
                ways.append(f"(local[{variable}.tag] if {variable} is not None else None)" if f.read == "name" else f"text({variable})")
        found = " or ".join(ways)
        if f.read == "sign" and not bare:
            found = f"sign({found})"
        values.append(f"c{at}[{found}]" if repeats else f"c{at}({found})")
    body = "".join(f"    {line}\n" for line in [*lines, f"return [{', '.join(values)}]"])
    return function("read", f"def read(e, kids, attributes, local):\n{body}", names)


def _text(element: Element) -> str | None:
    if element is None:
        return None
    text = element.text
    return text.strip() if text else None


def _as_it_is(raw: str | None) -> str | None:
    return raw


def _pick(kids: Kids, names: tuple[str, ...], key: str, value: str, attributes: Callable[[Element], dict[str, str]]) -> Element:
    for name in names:
        for element in kids.get(name, ()):
            if attributes(element).get(key) == value:
                return element
    return None


def _raw(element: Element, encoding: str) -> bytes:
    return etree.tostring(element, encoding="unicode", with_tail=False).encode(encoding, "xmlcharrefreplace")[:MOST_RAW]


def _element(text: str, above: Element) -> Element:
    """A transaction of which only the text is known, in elements like those that it stood in."""
    before, behind = _shells(above)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True)
    element = etree.fromstring(f"{before}{text}{behind}", parser)
    for _ in above.iterancestors():
        element = element[0]
    return element[0]


def _around(above: Element, encoding: str, layout: Layout) -> tuple[bytes, bytes]:
    """The elements that a transaction stands in, without their other content, and what says its encoding, if the layout does not."""
    before, behind = (shell.encode(encoding, "xmlcharrefreplace") for shell in _shells(above))
    if codecs.lookup(encoding).name != codecs.lookup(layout.file.encoding).name:
        before = _MARKED.get(encoding, f'<?xml version="1.0" encoding="{encoding}"?>'.encode(encoding)) + before
    return before, behind


def _shells(above: Element) -> tuple[str, str]:
    """By hand, since parsers accept namespaces that no element can be made in."""
    before = behind = ""
    known: dict[str | None, str] = {}
    for outer in [above, *above.iterancestors()][::-1]:
        spaces: dict[str | None, str] = {prefix: uri or "" for prefix, uri in outer.nsmap.items()}
        prefixes = {uri: f"{prefix}:" for prefix, uri in spaces.items() if prefix} | {_XML: "xml:"}
        said = [(f"xmlns:{p}" if p else "xmlns", uri) for p, uri in spaces.items() if known.get(p) != uri]
        for key, value in outer.attrib.items():
            space, _, name = key.rpartition("}")
            said.append((f"{prefixes[space[1:]]}{name}" if space else name, value))
        name = f"{outer.prefix}:" * bool(outer.prefix) + etree.QName(outer).localname
        before += " ".join([f"<{name}", *(f'{key}="{value.translate(_QUOTED)}"' for key, value in said)]) + ">"
        behind = f"</{name}>{behind}"
        known = spaces
    return before, behind


def _free(element: Element) -> None:
    element.clear()
    parent = element.getparent()
    while parent is not None and (before := element.getprevious()) is not None:
        parent.remove(before)


def _ended(parser: Any) -> Iterator[tuple[str, Element]]:
    """What has been read completely; the stubs describe more kinds of events than are asked for."""
    yield from parser.read_events()


@cache
def _one_to_one(encoding: str) -> bool:
    """Whether text in it can be written in one way alone."""
    if encoding.startswith(("utf-8", "utf-16", "utf-32")):
        return True
    each = [bytes([byte]).decode(encoding, "ignore") for byte in range(256)]
    known = [char for char in each if char]
    return len(known) == len({*known}) and len(known) > 200


def encoding_of(head: bytes, expected: str, believe: bool) -> tuple[str, int]:
    """What a document is written in, and the length of its byte order mark: the mark says it, else the declaration, if that is believed,
    else it is what is expected. Raises Refuse for an encoding that is not read.
    """
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return name, len(mark)
    for begin, name in _BEGINS.items():
        if head.startswith(begin):
            return name, 0
    said = _DECLARED.match(head)
    if said is None or not believe:
        return expected, 0
    try:
        codec = codecs.lookup(said[1].decode()).name
    except LookupError:
        codec = ""
    if codec.startswith(("utf-16", "utf-32")):
        return "utf-8", 0  # what could be read up to here is neither: a writer declared how it held the text in memory
    if not codec.startswith(_KNOWN):
        raise Refuse(f"the file says that it is written in {said[1].decode()}, which is not read", 1)
    return codec, 0
