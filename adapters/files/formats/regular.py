"""XML transactions written as earlier ones were, read from their text: the markup is the same, only the values in it are others.

A till writes the same few elements in the same order, over and over. The parser proves a transaction once; its markup then becomes
patterns with a group for each value: one for what stands before its lines, one for each kind of line, one for what comes behind them. A
text that matches them from its first to its last character is well-formed and means the same elements, so that its values go straight into
the row. What does not match is read element by element, which is also where whatever is wrong gets its name and its line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Protocol

from adapters.files.generated import function
from adapters.files.layout import Layout, Record, Step, steps
from adapters.files.values import Memo, Wrong, reader

Element = Any
Raw = tuple[Any, ...]
"""A record with marks, constants and None in the place of values."""

MAX_SHAPES: Final = 400
MAX_SPACES: Final = 8
"""Sets of namespace declarations around transactions that are known at a time."""
MAX_FRAGMENT: Final = 32_768
"""Characters of markup that become a pattern."""
FREE: Final = 60
"""Patterns that are made at once; each further one has to be earned by transactions that matched."""
PRICE: Final = 25

_MARK: Final = "\ue000"
_TAG: Final = re.compile(r"""<(/?)([^\s/>]+)((?:[^>"'/]|"[^"]*"|'[^']*'|/(?!>))*+)(/?)>""")
_ATTRIBUTE: Final = re.compile(r"""([^\s=]+)(\s*=\s*)("[^"]*"|'[^']*')""")
_TEXT: Final = r"([^<\]\x00-\x08\x0b-\x1f\ufffe\uffff]++)"
_VALUES: Final = {'"': r'"([^"<\x00-\x1f\ufffe\uffff]++)"', "'": r"'([^'<\x00-\x1f\ufffe\uffff]++)'"}
VALUES: Final = frozenset({_TEXT, *_VALUES.values()})
"""What a pattern holds in the place of a value."""
_ENTITIES: Final = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'"}
_ENTITY: Final = re.compile("|".join(_ENTITIES))
_OTHER_ENTITY: Final = re.compile(r"&(?!(?:amp|lt|gt|quot|apos);)")


class NotRegular(Exception):
    """A transaction that patterns cannot describe."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Where transactions are cut into lines: at the elements `names` right below the one element that `path` leads to."""

    path: tuple[Step, ...]
    names: frozenset[str]
    records: tuple[Record, ...]
    """Child records of the transaction that are read of its lines alone."""


class Shape:
    """Markup that was read once. `line` of a line, `frames` of what stands before the lines (by what comes behind them, None: nothing)."""

    __slots__ = ("first", "frames", "line", "match", "next", "rows", "tags", "whole")

    def __init__(self, pattern: str, tags: int) -> None:
        self.match = re.compile(pattern).match
        self.tags = tags
        """Line ends in the first tag: the parser counts them before it tells where an element begins."""
        self.first: Shape | None = None
        self.next: Shape | None = None
        """What stood behind it last."""
        self.whole = False
        """Whether a transaction ends with it."""
        self.line: Callable[..., None] | None = None
        self.rows = 0
        self.frames: dict[Shape | None, Frame] = {}


@dataclass(slots=True)
class Frame:
    """Row of a transaction from the values around its lines; `rows`: how many records that is."""

    read: Callable[..., Raw]
    skim: Callable[..., Raw]
    rows: int


@dataclass(slots=True)
class Read:
    """What was read of a text that ends at `end`. `row` is None when the transaction has to be read element by element."""

    row: Raw | None
    end: int
    rows: int
    tags: int


@dataclass(slots=True)
class _Fragment:
    """A part of a transaction. `marks`: the value that each group of the pattern holds."""

    parts: list[str]
    marks: list[str]
    tags: int

    @property
    def pattern(self) -> str:
        return "".join(self.parts)


@dataclass(frozen=True, slots=True)
class Marked:
    """A whole transaction: the parts of its pattern, its values by mark in their order, and its records with marks in their place."""

    parts: Sequence[str]
    values: Mapping[str, str]
    raw: Raw


class Grammar:
    """What a layout says of every transaction. Immutable after construction."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.cut = _cut(layout)
        top = layout.transaction
        self.deciding = _deciding(layout)
        self.lined = () if self.cut is None else self.cut.records
        self.needed = tuple(at for at, r in enumerate(self.lined) if r.needed)
        self.agreeing = frozenset(i for i, f in enumerate(top.fields) if f.name in layout.file.agree)
        self._converters: dict[tuple[str, int], tuple[Callable[[str | None], Any], Any, Any]] = {}
        for record in layout.records.values():
            for at, f in enumerate(record.fields):
                read, repeats = reader(f)
                if f.read == "sign":
                    read = _of_sign(read)
                self._converters[record.name, at] = (read, Memo(read), Memo(_stripped(read))) if repeats else (read, read, read)

    def value(self, record: Record, at: int, raw: str | None, groups: dict[str, str], names: dict[str, Any], place: str) -> str:
        """Source of a field's value. `groups`: where a mark is found. Raises Wrong when a constant is none of the field."""
        if record.fields[at].read == "position":
            return place
        read, quick, stripped = self._converters[record.name, at]
        if raw is not None and raw.startswith(_MARK):
            chosen, name = (stripped, f"s_{record.name}_{at}") if raw[1] == "t" else (quick, f"q_{record.name}_{at}")
            names[name], names["blank"] = chosen, _blank
            if (group := groups.get(raw)) is None:
                raise NotRegular
            return f"{name}[{group}]" if isinstance(chosen, Memo) else f"{name}({group}{'.strip() or blank()' if raw[1] == 't' else ''})"
        if raw is not None and _MARK in raw:
            raise NotRegular
        name = f"k{len(names)}"
        names[name] = read(raw)
        return name

    def row(self, record: Record, raw: Raw, groups: dict[str, str], names: dict[str, Any], place: str = "1") -> str:
        """Source of a record's tuple; child records that stand in lines are the lists that the function is given. `place`: its position."""
        top = record is self.layout.transaction
        values = [self.value(record, at, raw[at], groups, names, place) for at in range(len(record.fields))]
        values += [f"heads[{at}]" for at in range(len(self.layout.headers))] if top else []
        for child, below in zip(record.children, raw[len(record.fields) :], strict=True):
            if top and child in self.lined:
                values.append(f"lists[{self.lined.index(child)}]")
            elif child.repeated:
                values.append("[" + ", ".join(self.row(child, each, groups, names, str(n)) for n, each in enumerate(below, 1)) + "]")
            else:
                values.append("None" if below is None else self.row(child, below, groups, names))
        return f"({', '.join(values)}{',' if values else ''})"

    def skimmed(self, raw: Raw, groups: dict[str, str], names: dict[str, Any]) -> str:
        """Source of the transaction's tuple with nothing but what has to agree with the file's name."""
        top = self.layout.transaction
        values = [self.value(top, at, raw[at], groups, names, "1") if at in self.agreeing else "None" for at in range(len(top.fields))]
        return f"({', '.join(values)}{',' if values else ''})"


def sign(raw: str | None) -> str | None:
    """What a number begins with, for layouts that ask which way an amount goes."""
    text = raw.strip() if raw else ""
    return (text and ("-" if text[0] == "-" else "+")) or None


def _of_sign(read: Callable[[str | None], Any]) -> Callable[[str | None], Any]:
    return lambda raw: read(sign(raw))


def _blank() -> str:
    """A value that is nothing but blanks is looked at element by element: it may stand for another one."""
    raise Wrong("", "a value", "blanks")


def _stripped(read: Callable[[str | None], Any]) -> Callable[[str | None], Any]:
    def stripped(raw: str | None) -> Any:
        return read(raw and (raw.strip() or _blank()))

    return stripped


class Shapes:
    """What has been learned of one layout's transactions below one set of namespace declarations."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._known: dict[tuple[str, str, object], Shape] = {}
        self._heads: list[Shape] = []
        self._behind: dict[object, list[Shape]] = {}
        self._spaces: dict[Shape, object] = {}
        self._head: Shape | None = None
        self._hits = self._learned = 0

    # ---- reading --------------------------------------------------------------------------------------------------

    def read(self, text: str, at: int, most: int, heads: Raw, *, skim: bool = False) -> Read | None:
        """The transaction that begins there, at most `most` characters; None when it is not written as one before. `heads`: records of
        what stands around it. Raises Wrong.
        """
        head = self._head
        found = head.match(text, at) if head is not None else None
        if found is None:
            for head in self._heads:
                if (found := head.match(text, at)) is not None:
                    self._head = head
                    break
        if found is None or head is None:
            return None
        values, end, lines = found.groups(), found.end(), []
        tail: Shape | None = None
        last: tuple[str, ...] = ()
        if not head.whole:
            before, others = head, self._behind[self._spaces[head]]
            while True:
                shape = before.next
                found = shape.match(text, end) if shape is not None else None
                if found is None:
                    for shape in others:
                        if (found := shape.match(text, end)) is not None:
                            before.next = shape
                            others.remove(shape)
                            others.insert(0, shape)
                            break
                    if found is None:
                        return None
                end = found.end()
                if shape.whole:  # type: ignore[union-attr]  # whose pattern matched
                    tail, last = shape, found.groups()
                    break
                before = shape  # type: ignore[assignment]  # as above
                lines.append((before, found.groups()))
        frame = head.frames.get(tail)
        if frame is None:
            return None
        self._hits += 1
        if end - at > most:
            return Read(None, end, 0, head.tags)
        if text.find("&", at, end) >= 0:
            if _OTHER_ENTITY.search(text, at, end):
                return Read(None, end, 0, head.tags)
            values, last = _plain(values), _plain(last)
            lines = [(shape, _plain(each)) for shape, each in lines]
        if skim:
            return Read(frame.skim(values, last), end, 0, head.tags)
        rows = frame.rows
        lists: list[list[Raw]] = [[] for _ in self._grammar.lined]
        for shape, each in lines:
            shape.line(each, lists)  # type: ignore[misc]  # only lines stand between head and tail
            rows += shape.rows
        for needed in self._grammar.needed:
            if not lists[needed]:
                return Read(None, end, 0, head.tags)
        return Read(frame.read(values, last, lists, heads), end, rows, head.tags)

    # ---- learning -------------------------------------------------------------------------------------------------

    def learn(self, text: str, element: Element, tree: Tree) -> None:
        """From a transaction that the parser has read. `text` is all of it; the element is written into, and of no use afterwards."""
        if self._learned >= min(MAX_SHAPES, FREE + self._hits // PRICE) or "<!" in text or "<?" in text or _MARK in text:
            return
        try:
            self._learn(text, element, tree)
        except (NotRegular, Wrong):
            self._learned += 1

    def _learn(self, text: str, element: Element, tree: Tree) -> None:
        cut, grammar = self._grammar.cut, self._grammar
        tags = list(_TAG.finditer(text))
        starts = [tag for tag in tags if not tag[1]]
        elements = list(element.iter())
        if len(starts) != len(elements):
            raise NotRegular
        container, lines = tree.lines(element, cut) if cut is not None else (None, [])
        depth = len(cut.path) if cut is not None else 0
        place = {id(e): tag.start() for e, tag in zip(elements, starts, strict=True)}
        ends = _ends(tags)
        spans = [(place[id(line)], ends[place[id(line)]]) for line in lines]
        for (_, end), (start, _) in pairwise(spans):
            if text[end:start].strip():
                raise NotRegular
        bounds = [start for start, _ in spans]
        if spans:
            rest = text[spans[-1][1] :]
            bounds.append(len(text) - len(rest.lstrip(" \t\r\n")))
        bounds = [0, *bounds, len(text)]
        marker = _Marker(text, tags, dict(zip((t.start() for t in starts), elements, strict=True)), grammar.deciding)
        parts = [marker.fragment(a, b) for a, b in pairwise(bounds)]
        space: object = frozenset((container if container is not None else element).nsmap.items())
        head = self._shape("head", parts[0], space if lines else None)
        if not lines:
            head.whole = True
            head.frames[None] = self._frame(tree.marked(element, grammar.lined), parts[0], None)
            return
        tail = self._shape("tail", parts[-1], space)
        tail.whole = True
        if tail not in head.frames:
            head.frames[tail] = self._frame(tree.marked(element, grammar.lined), parts[0], parts[-1])
        for line, part in zip(lines, parts[1:-1], strict=True):
            shape = self._shape("line", part, space)
            if shape.line is None:
                self._line(shape, part, [tree.within(record, line, depth) for record in grammar.lined])

    def _shape(self, place: str, part: _Fragment, space: object) -> Shape:
        key = (place, part.pattern, space)
        shape = self._known.get(key)
        if shape is None:
            shape = self._known[key] = Shape(part.pattern, part.tags)
            self._learned += 1
            self._spaces[shape] = space
            if place == "head":
                self._heads.append(shape)
                self._behind.setdefault(space, [])
            else:
                self._behind.setdefault(space, []).append(shape)
        return shape

    def _frame(self, raw: Raw, head: _Fragment, tail: _Fragment | None) -> Frame:
        grammar, top = self._grammar, self._grammar.layout.transaction
        groups = {mark: f"h[{at}]" for at, mark in enumerate(head.marks)}
        groups |= {mark: f"t[{at}]" for at, mark in enumerate(tail.marks)} if tail is not None else {}
        names: dict[str, Any] = {}
        source = f"def read(h, t, lists, heads):\n    return {grammar.row(top, raw, groups, names)}\n"
        skim = f"def skim(h, t):\n    return {grammar.skimmed(raw, groups, names)}\n"
        rows = 1 + sum(_rows(child, below) for child, below in _below(top, raw) if child not in grammar.lined)
        self._learned += 1
        return Frame(function("read", source, names), function("skim", skim, names), rows)

    def _line(self, shape: Shape, part: _Fragment, found: Sequence[list[Raw]]) -> None:
        groups = {mark: f"v[{at}]" for at, mark in enumerate(part.marks)}
        names: dict[str, Any] = {}
        lines = ["    pass"]
        for at, (record, raws) in enumerate(zip(self._grammar.lined, found, strict=True)):
            for raw in raws:
                lines.append(f"    lists[{at}].append({self._grammar.row(record, raw, groups, names, f'len(lists[{at}]) + 1')})")
                shape.rows += 1 + sum(_rows(child, below) for child, below in _below(record, raw))
        shape.line = function("line", "def line(v, lists):\n" + "\n".join(lines) + "\n", names)


class Tree(Protocol):
    """What a parser of elements lends to learning: rows of marks, and where lines stand."""

    def lines(self, element: Element, cut: Cut) -> tuple[Element | None, list[Element]]:
        """The one element that holds lines, and these in their order. Raises NotRegular when there are several such elements."""
        ...

    def marked(self, element: Element, without: Sequence[Record]) -> Raw:
        """The transaction's values as they stand, `without` some of its child records."""
        ...

    def within(self, record: Record, line: Element, above: int) -> list[Raw]:
        """The records of one kind within a line, to which the first `above` + 1 steps of their path lead."""
        ...


def marked(text: str, element: Element, tree: Tree, layout: Layout) -> Marked:
    """A transaction that was matched before. The element is written into. Raises NotRegular."""
    tags = list(_TAG.finditer(text))
    starts, elements = [tag.start() for tag in tags if not tag[1]], list(element.iter())
    if len(starts) != len(elements) or "<!" in text or "<?" in text:
        raise NotRegular
    whole = _Marker(text, tags, dict(zip(starts, elements, strict=True)), _deciding(layout)).fragment(0, len(text))
    found = re.fullmatch(whole.pattern, text)
    if found is None:
        raise NotRegular
    return Marked(whole.parts, dict(zip(whole.marks, found.groups(), strict=True)), tree.marked(element, ()))


class _Marker:
    """Writes a mark in the place of each value, in the elements as in the patterns."""

    def __init__(self, text: str, tags: list[re.Match[str]], elements: dict[int, Element], deciding: frozenset[str]) -> None:
        self._text, self._tags, self._elements, self._deciding = text, tags, elements, deciding
        self._count = 0

    def fragment(self, start: int, end: int) -> _Fragment:
        if end - start > MAX_FRAGMENT:
            raise NotRegular
        pattern: list[str] = []
        marks: list[str] = []
        at, opened = start, None
        for tag in self._tags:
            if tag.start() < start or tag.start() >= end:
                continue
            self._between(self._text[at : tag.start()], opened if tag[1] else None, pattern, marks)
            pattern.append(f"<{tag[1]}{re.escape(tag[2])}")
            element = None if tag[1] else self._elements[tag.start()]
            if element is not None:
                self._attributes(tag[3], element, pattern, marks)
            else:
                pattern.append(re.escape(tag[3]))
            pattern.append(f"{tag[4]}>")
            opened = element if not tag[4] else None
            at = tag.end()
        self._between(self._text[at:end], None, pattern, marks)
        first = next(iter(self._tags)) if start == 0 else None
        return _Fragment(pattern, marks, first[0].count("\n") if first is not None else 0)

    def _mark(self, kind: str, marks: list[str]) -> str:
        self._count += 1
        marks.append(f"{_MARK}{kind}{self._count}")
        return marks[-1]

    def _between(self, text: str, leaf: Element | None, pattern: list[str], marks: list[str]) -> None:
        if not text:
            return
        if not text.strip(" \t\r\n"):
            pattern.append(r"[ \t\r\n]*+")
        elif leaf is None or not text.strip():
            raise NotRegular
        else:
            leaf.text = self._mark("t", marks)
            pattern.append(_TEXT)

    def _attributes(self, text: str, element: Element, pattern: list[str], marks: list[str]) -> None:
        at, keys = 0, iter(element.keys())
        for found in _ATTRIBUTE.finditer(text):
            name = found[1]
            key = None if name == "xmlns" or name.startswith("xmlns:") else next(keys)
            pattern.append(re.escape(text[at : found.start(3)]))
            at = found.end()
            if key is None or name.startswith("xml") or name.rpartition(":")[2] in self._deciding or len(found[3]) == 2:
                if "&" in found[3] or "\r" in found[3]:
                    raise NotRegular
                pattern.append(re.escape(found[3]))
            else:
                element.set(key, self._mark("a", marks))
                pattern.append(_VALUES[found[3][0]])
        pattern.append(re.escape(text[at:]))


def _ends(tags: Iterable[re.Match[str]]) -> dict[int, int]:
    """Where the elements end that begin at each place."""
    ends: dict[int, int] = {}
    open_: list[int] = []
    for tag in tags:
        if not tag[1]:
            open_.append(tag.start())
        if tag[1] or tag[4]:
            ends[open_.pop()] = tag.end()
    return ends


def _plain(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple([_ENTITY.sub(lambda found: _ENTITIES[found[0]], v) if "&" in v else v for v in values])


def _below(record: Record, raw: Raw) -> Iterator[tuple[Record, Any]]:
    return zip(record.children, raw[len(record.fields) :], strict=True)


def _rows(record: Record, below: Any) -> int:
    rows = below if record.repeated else [] if below is None else [below]
    return sum(1 + sum(_rows(child, each) for child, each in _below(record, row)) for row in rows)


def _deciding(layout: Layout) -> frozenset[str]:
    """Attributes whose values say which element a path leads to: they belong to the markup."""
    return frozenset(step.where[0] for path, _ in _paths(layout.transaction, ()) for step in path if step.where is not None)


def _paths(record: Record, base: tuple[Step, ...]) -> Iterator[tuple[tuple[Step, ...], int]]:
    """Every path of a record and what hangs under it, from the transaction down, each with how deep it begins."""
    for path in (record.where, *(steps(path) for f in record.fields for path in (f.path or ".", *f.otherwise))):
        start = base[:-1] if path and path[0].up else base
        yield (*start, *(step for step in path if step.names)), len(start)
    for child in record.children:
        yield (*base, *child.steps), len(base)
        yield from _paths(child, (*base, *child.steps))


def _cut(layout: Layout) -> Cut | None:
    """Where the most kinds of rows can be cut out; None where no element stands apart from the rest of the transaction."""
    top = layout.transaction
    repeated = [child for child in top.children if child.repeated]
    found: list[tuple[int, int, Cut]] = []
    for path in {child.steps[:at] for child in repeated for at in range(len(child.steps))}:
        mine = tuple(c for c in repeated if c.steps[: len(path)] == path and len(c.steps) > len(path))
        heads = [c.steps[len(path)] for c in mine]
        names = frozenset(name for head in heads for name in head.names)
        if all(len(head.names) == 1 for head in heads) and _stands_apart(top, mine, len(path), names):
            found.append((len(mine), len(path), Cut(path, names, mine)))
    return max(found, key=lambda each: each[:2])[2] if found else None


def _stands_apart(top: Record, mine: Sequence[Record], depth: int, names: frozenset[str]) -> bool:
    """Whether lines say all of these records, and nothing of the others."""
    for record in mine:
        if any(start <= depth for _, start in _paths(record, record.steps)):
            return False
    others = Record(top.name, top.rule, top.fields, children=[child for child in top.children if child not in mine])
    return not any(len(path) > depth and names & set(path[depth].names) for path, _ in _paths(others, ()))
