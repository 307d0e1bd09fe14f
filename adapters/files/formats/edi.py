"""X12 and EDIFACT by declared layout: segments into the records of a message, loops by order, qualifier or HL number, envelopes proven."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, BinaryIO, Final

from msgspec.structs import replace as replaced

from adapters.files.checks import Checks
from adapters.files.formats.dividing import MOST_PARTS, Division, Level
from adapters.files.formats.interchange import BLANK, Interchanges, Syntax
from adapters.files.generated import function
from adapters.files.layout import CheckRule, FieldRule, Layout, Record
from adapters.files.parsing import MOST_RAW, Ledger, Refuse, Unit
from adapters.files.values import SHOWN, Memo, Raw, Read, Wrong, reader, shown

_CONTROLS: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TAG: Final = re.compile("[A-Z][A-Z0-9]{1,2}")
_DATES: Final = {
    "101": "%y%m%d", "102": "%Y%m%d", "201": "%y%m%d%H%M", "202": "%y%m%d%H%M%S", "203": "%Y%m%d%H%M", "204": "%Y%m%d%H%M%S",
    "718": "%Y%m%d",
}  # fmt: skip
"""UN/EDIFACT code list 2379. Of a period of days (718) the last one is meant."""
_PARTED: Final = "\ue100"
_NUMBER: Final = re.compile(r"(-?)([0-9]*)(?:[.,]([0-9]*))?")


@dataclass(frozen=True, slots=True)
class Control:
    """A segment of an envelope: what closes it, and the elements of number and reference there, of the reference here."""

    closes: str
    level: int
    reference: int
    counts: int = 1
    repeats: int = 2


INTERCHANGE, GROUP, MESSAGE = range(3)
CONTROLS: Final[dict[str, dict[str, Control]]] = {
    "x12": {
        "ISA": Control("IEA", INTERCHANGE, 13),
        "DXS": Control("DXE", INTERCHANGE, 4, counts=2, repeats=1),
        "GS": Control("GE", GROUP, 6),
        "ST": Control("SE", MESSAGE, 2),
    },
    "edifact": {
        "UNB": Control("UNZ", INTERCHANGE, 5),
        "UNG": Control("UNE", GROUP, 5),
        "UNH": Control("UNT", MESSAGE, 1),
    },
}
MOST_AROUND: Final = 500
"""Segments around transactions that are kept, so that one of them can be read by itself."""
_PASSED_OVER: Final = ("TA1", "ISB", "ISE", "UGH", "UGT")
"""Service segments that say nothing about what is carried."""


class Kind:
    """A record, made ready: how its segment is told apart and read, and which segments may follow inside it."""

    __slots__ = (
        "after", "blank", "children", "deep", "index", "linked", "name", "needs", "options", "order", "parts", "read", "record", "repeated",
        "steps", "tag", "tests", "width",
    )  # fmt: skip

    def __init__(self, record: Record, headers: int, format: str) -> None:
        self.record, self.index, self.name, self.repeated = record, record.index, record.name, record.repeated
        self.tag = record.rule.segment or record.name
        self.tests = [(*_place(at), frozenset(codes)) for at, codes in record.rule.when.items()]
        self.linked = record.rule.id is not None
        self.order = 0
        self.options: dict[str, list[Kind]] = {}
        self.children: list[Kind] = []
        self.parts: list[Kind] = []
        self.needs: list[Record] = []
        self.after: list[Record] = []
        """Children that must be there before the loop that is the transaction, and behind it."""
        self.deep: list[Kind] = []
        """Children with something below them, but for what leads to the transaction."""
        self.blank: list[Any] = [None] * headers
        self.steps: dict[str, tuple[int, Kind]] = {}
        """Inside a transaction: where a segment goes that can be only one, by its tag: how many records up, and what it is."""
        self.read = _reader(record, headers, format)
        self.width = len(record.fields) + sum(record.holds(child) for child in record.children)
        """Values that a mapping sees of what stands around a transaction."""

    def empty(self) -> list[Any]:
        """What stands behind a row's own fields before anything was read."""
        return [[] if b is not None else None for b in self.blank]

    def fits(self, elements: list[str], syntax: Syntax) -> bool:
        for element, component, codes in self.tests:
            if element >= len(elements):
                return False
            text = elements[element]
            if component:
                text = (text.split(syntax.component) + [""] * component)[component - 1]
            if text.strip() not in codes:
                return False
        return True


_UNDIVIDED: Final[dict[str | None, tuple[Any, ...]]] = {}


class Plan:
    """A layout, made ready to read segments. Immutable after construction; readers share it."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        file = layout.file
        self.controls = CONTROLS[file.format]
        self.closing = {control.closes: tag for tag, control in self.controls.items()}
        transaction = layout.transaction
        kinds = {r.name: Kind(r, len(layout.headers) if r is transaction else 0, file.format) for r in layout.records.values()}
        for kind in kinds.values():
            order, tag, behind = 0, "", False
            for child in kind.record.children:
                below = kinds[child.name]
                if child.rule.first is not None:
                    kind.parts.append(below)
                else:
                    order += below.tag != tag
                    tag, below.order = below.tag, order
                    kind.options.setdefault(below.tag, []).append(below)
                kind.children.append(below)
                kind.blank.append([] if child.repeated else None)
                behind = behind or child.leads
                if child.needed and not child.leads:
                    (kind.after if behind else kind.needs).append(child)
        for kind in kinds.values():
            kind.deep = [child for child in kind.children if child.children and not child.record.leads]
            kind.steps = _steps(kind, kinds[transaction.name], kinds)
        self.envelopes = {kinds[r.name].tag: kinds[r.name] for r in layout.headers if r.rule.role == "file_header"}
        self.transaction = kinds[transaction.name]
        self.top = kinds[(*transaction.above, transaction)[0].name]
        self.ancestors = [kinds[r.name] for r in transaction.above]
        whole = self.top.record.name
        self.own = replace(layout, checks=tuple(c for c in layout.checks if c.scope != whole or self.top is self.transaction))
        """The layout without those checks that a message has to pass as a whole."""
        self.message = None
        if self.top is not self.transaction and (rules := [c for c in layout.checks if c.scope == whole]):
            self.message = replace(layout, checks=tuple(_file_wide(c) for c in rules))
            self.ends = {c.expect.rpartition(".")[0] for c in rules}
        self.division: Division | None = None
        if file.split:
            name, _, told = file.split.partition(".")
            record = layout.records[name]
            way = [kinds[r.name] for r in (*record.above[len(transaction.above) + 1 :], record)]
            levels = [Level(kind.record, kind.tag, kind.fits, frozenset(_tags(kind))) for kind in way]
            self.division = Division(levels, told, _place(next(f.at for f in record.fields if f.name == told) or ""))

    def numbered(self, tag: str, at: str) -> str:
        """An element as people of that standard call it: PO102, SVC01-2; QTY 1.2."""
        element, dot, component = at.partition(".")
        return f"{tag}{element:0>2}{dot and '-'}{component}" if self.layout.file.format == "x12" else f"{tag} {at}"


def _steps(kind: Kind, transaction: Kind, kinds: Mapping[str, Kind]) -> dict[str, tuple[int, Kind]]:
    found: dict[str, tuple[int, Kind] | None] = {}
    here, ups = kind, 0
    while True:
        for tag, options in here.options.items():
            only = options[0] if len(options) == 1 else None
            sure = only is not None and not (only.tests or only.linked or only.parts)
            found.setdefault(tag, (ups, only) if sure and only is not None else None)
        if here is transaction:
            up = kinds[here.record.parent.name].options[here.tag] if here.record.parent is not None else []
            if up == [here] and not (here.tests or here.linked or here.parts):
                found.setdefault(here.tag, (ups + 1, here))
            return {tag: step for tag, step in found.items() if step is not None}
        if here.record.parent is None:
            return {}
        here, ups = kinds[here.record.parent.name], ups + 1


def _tags(kind: Kind) -> Iterator[str]:
    """Of the segments that hang under it."""
    for child in kind.children:
        if child not in kind.parts:
            yield child.tag
            yield from _tags(child)


def _file_wide(check: CheckRule) -> CheckRule:
    return replaced(check, scope="file")


class Frame:
    """An open record: its values, where it is, and how far its children have come."""

    __slots__ = ("at", "frozen", "kind", "number", "row", "texts", "up", "wanted")

    def __init__(self, kind: Kind, row: list[Any], up: Frame | None, number: int, *, wanted: bool = True) -> None:
        self.kind, self.row, self.up, self.number, self.wanted = kind, row, up, number, wanted
        self.at = 0
        self.frozen: tuple[Any, ...] | None = None
        self.texts: list[str] | None = None
        """Of a record around transactions: its segments, so that one of them can be read by itself."""


@dataclass(slots=True)
class Open:
    """An envelope that is open: its segment, and what was counted in it."""

    tag: str
    control: Control
    reference: str
    number: int
    text: str = ""
    groups: int = 0
    messages: int = 0


@dataclass(slots=True)
class Held:
    """A transaction under way. `texts` are its segments as they stand."""

    frame: Frame | None
    number: int
    line: int
    wrong: Wrong | None = None
    texts: list[str] = field(default_factory=list)
    bytes: int = 0
    segments: int = 0
    frames: list[Frame] = field(default_factory=list)


class EdiParser:
    """Reads one file. A generator over blocks; nothing of a finished transaction is kept."""

    def __init__(self, plan: Plan, skim: int | None = None) -> None:
        """`skim` changes nothing here: what proves an envelope is read in any case."""
        self._plan = plan
        self._strict = plan.layout.file.control == "refuse"
        self._open: list[Open] = []
        self._heads: dict[str, tuple[Any, ...]] = {}
        self._here: Frame | None = None
        self._held: Held | None = None
        self._head_wrong: Wrong | None = None
        self._ids: dict[str, Frame] = {}
        self._number = self._began = 0
        self._texts: list[str] = []
        self._index = self._counted = 0
        self._lines = 1
        self._newline = False
        self._given = 0
        self._damage = self._name = ""
        self._opening: Open | None = None
        self._around_now: tuple[list[Open], Open | None, list[str]] | None = None
        self._around_of: Frame | None = None
        self._repeated: tuple[int, ...] = ()
        self._others: dict[str, int] = {}
        self._late: tuple[Frame, int] | None = None
        """Where a segment was taken behind its place: more of its tag may follow it there."""
        self._counts = dict.fromkeys(plan.layout.records, 0)
        self._before: dict[str, int] = {}
        self._ends: dict[str, tuple[Any, ...]] = {}
        self._aside = 0

    def units(self, source: BinaryIO, name: str, facts: Mapping[str, str]) -> Iterator[Unit]:
        file = self._plan.layout.file
        self._ledger = Ledger(self._plan.own, facts)
        self._message = Checks(self._plan.message) if self._plan.message is not None else None
        self.ending, self._name = self._ledger.ending, name
        agreeing = {n for n in self._plan.layout.records if any(self._plan.layout.records[n].at(g) is not None for g in file.agree)}
        self._agreeing = agreeing & {h.name for h in self._plan.layout.headers} or (agreeing & {self._plan.transaction.record.name})
        segments = Interchanges(source, file.format, file.encoding, file.max_record)
        syntax: Syntax | None = None
        counts, most, transaction = self._counts, file.max_records, self._plan.transaction
        agrees = transaction.name in self._agreeing
        for syntax, texts, clean in segments.blocks():
            self._texts, self._index, self._counted, self._lines = texts, 0, 0, segments.line
            self._newline = syntax.terminator == "\n"
            element, component, repetition = syntax.element, syntax.component or "\0", syntax.repetition
            broken = not self._newline and any("\n" in t or "\r" in t for t in texts)
            number, held, here = self._number, self._held, self._here
            for index, text in enumerate(texts):
                if not (bare := text.strip()):
                    continue
                number += 1
                fine = clean and not (broken and ("\n" in bare or "\r" in bare)) and not (repetition and repetition in bare)
                if fine and held is not None and here is not None and held.segments < most:  # the short way of what goes well
                    elements = bare.split(element)
                    if (step := here.kind.steps.get(elements[0])) is not None:
                        ups, kind = step
                        where: Any = here
                        while ups:
                            where = where.up
                            ups -= 1
                        place, at = where.at, kind.order
                        next_ = kind is transaction
                        if where.wanted and (at > place or (at == place and (next_ or kind.repeated or where.row[kind.index] is None))):
                            try:
                                row = kind.read(elements, component)
                            except Wrong:
                                row = None
                            if row is None or (next_ and (where is not self._around_of or self._head_wrong is not None or agrees)):
                                pass  # the long way says what is wrong, and where
                            elif next_:
                                self._number, self._index = number, index
                                yield from self._close(syntax)
                                counts[kind.name] += 1
                                held, here = self._follow(kind, row, where, text)
                                continue
                            else:
                                counts[kind.name] += 1
                                where.at = at
                                if kind.children:
                                    row = Frame(kind, row, where, number)
                                    if kind.needs or kind.after:
                                        held.frames.append(row)
                                    here = row if kind.options else where
                                else:
                                    here = where
                                self._here = here
                                if kind.repeated:
                                    where.row[kind.index].append(row)
                                else:
                                    where.row[kind.index] = row
                                held.segments += 1
                                if held.bytes < MOST_RAW:
                                    held.bytes += len(text) + 1
                                    held.texts.append(text)
                                continue
                self._number, self._index = number, index
                yield from self._segment(text, bare, syntax, fine=fine)
                number, held, here = self._number, self._held, self._here
            self._number = number
        if syntax is None:
            raise Refuse("the file is empty")
        if self._open:
            self._damage = self._damage or f"the file ends without {self._open[-1].control.closes}: it is cut off, or still being written"
            yield from self._end_message(syntax, "the end of the file")
        self.ending.rows = self._number
        self._ledger.counts = self._counts
        for finding in segments.findings:
            self.ending.find(finding)
        for other, times in self._others.items():
            self.ending.find(f"{times} messages of another kind, {other}, are passed over")
        self._ledger.end({}, self._damage)

    # ---- envelopes ------------------------------------------------------------------------------------------------

    @property
    def _line(self) -> int:
        """Of the segment that is looked at: lines are counted only when somebody asks."""
        for text in self._texts[self._counted : self._index]:
            self._lines += text.count("\n") + self._newline
        self._counted = self._index
        text = self._texts[self._index] if self._index < len(self._texts) else ""
        return self._lines + text.count("\n", 0, len(text) - len(text.lstrip()))

    def _segment(self, text: str, bare: str, syntax: Syntax, *, fine: bool) -> Iterator[Unit]:
        if not fine and not (bare := bare.strip(BLANK)):
            self._number -= 1
            return
        elements = bare.split(syntax.element)
        tag = elements[0]
        damaged = None
        self._repeated = ()
        if syntax.repetition and syntax.repetition in bare:
            self._repeated = tuple(at for at, cell in enumerate(elements) if syntax.repetition in cell)
        if not fine and (not bare.isascii() or "\n" in bare or "\r" in bare or _CONTROLS.search(bare)):
            elements, damaged, syntax = self._mended(bare, syntax)
        if (control := self._plan.controls.get(tag)) is not None:
            yield from self._opened(tag, control, elements, text, syntax, damaged)
        elif (opens := self._plan.closing.get(tag)) is not None:
            yield from self._closed(tag, self._plan.controls[opens], elements, text, syntax)
        elif self._open and self._open[-1].control.level == MESSAGE:
            if self._here is not None:
                yield from self._placed(tag, elements, text, syntax, damaged)
        elif tag not in _PASSED_OVER:
            may = self._may_open()
            raise Refuse(f"segment {self._number}: expected {may}, got {shown(tag)}", self._line)

    def _may_open(self) -> str:
        if not self._open:
            return " or ".join(t for t, c in self._plan.controls.items() if c.level == INTERCHANGE)
        level = self._open[-1].control.level
        inner = [t for t, c in self._plan.controls.items() if c.level > level]
        if level == INTERCHANGE and self._open[-1].tag == "ISA":
            inner = ["GS"]
        return " or ".join([*inner, self._open[-1].control.closes])

    def _follow(self, kind: Kind, row: list[Any], up: Frame, text: str) -> tuple[Held, Frame]:
        """A transaction right behind another: what stands around them is the same."""
        first = len(kind.record.fields)
        for at, header in enumerate(self._plan.layout.headers, first):
            row[at] = self._heads.get(header.name)
        frame = self._here = Frame(kind, row, up, self._number)
        self._held = Held(frame, self._number, self._line, None, [text], len(text) + 1, 1, [frame] if kind.needs or kind.after else [])
        return self._held, frame

    def _opened(self, tag: str, control: Control, elements: list[str], text: str, syntax: Syntax, damaged: Wrong | None) -> Iterator[Unit]:
        if self._open and self._open[-1].control.level >= control.level:
            last = self._open[-1]
            said = f"segment {self._number}: expected {last.control.closes} of {last.tag} {last.reference[:SHOWN]}, got {tag}"
            while self._open and self._open[-1].control.level >= control.level:
                if self._open[-1].control.level == MESSAGE:
                    self._spoil(Wrong(last.control.closes, last.control.closes, tag), head=True)
                    yield from self._end_message(syntax, tag)
                else:
                    self._envelope(said)
                self._open.pop()
        elif control.level > INTERCHANGE and (not self._open or (control.level == MESSAGE and self._open[-1].tag == "ISA")):
            raise Refuse(f"segment {self._number}: expected {self._may_open()}, got {tag}", self._line)
        for outer in self._open:
            outer.groups += control.level == GROUP
            outer.messages += control.level == MESSAGE
        reference = elements[control.reference].split(syntax.component or "\0")[0].strip() if len(elements) > control.reference else ""
        self._around_now = None
        self._open.append(Open(tag, control, reference, self._number, text))
        for closed in [t for t, k in self._plan.envelopes.items() if self._plan.controls[t].level >= control.level]:
            self._heads.pop(self._plan.envelopes[closed].record.name, None)
        if control.level == MESSAGE:
            self._begin_message(elements, text, syntax, damaged)
        elif (kind := self._plan.envelopes.get(tag)) is not None:
            name = kind.record.name
            self._counts[name] += 1
            try:
                if damaged is not None:
                    raise damaged
                self._heads[name] = row = tuple(kind.read([e.strip() for e in elements], syntax.component or "\0"))
            except Wrong as wrong:
                raise Refuse(
                    f"segment {self._number}: {self._named(kind, wrong)}: expected {wrong.expected}, got {wrong.got}", self._line
                ) from None
            if name in self._agreeing:
                self._ledger.agree(name, row, self._line)

    def _closed(self, tag: str, control: Control, elements: list[str], text: str, syntax: Syntax) -> Iterator[Unit]:
        if control.level == MESSAGE and self._open and self._open[-1].control is control:
            last = self._open.pop()
            self._prove(last, tag, elements, self._number - last.number + 1, "segments")
            if self._held is not None and self._plan.top is self._plan.transaction:
                self._hold(text)
            yield from self._end_message(syntax, "")
            return
        if not self._open or not any(o.control is control for o in self._open):
            raise Refuse(f"segment {self._number}: {tag} closes what was not opened", self._line)
        while self._open[-1].control is not control:
            last = self._open.pop()
            if last.control.level == MESSAGE:
                self._spoil(Wrong(last.control.closes, last.control.closes, tag), head=True)
                yield from self._end_message(syntax, tag)
            else:
                self._envelope(f"segment {self._number}: expected {last.control.closes} of {last.tag} {last.reference[:SHOWN]}, got {tag}")
        last = self._open.pop()
        count, what = (last.groups, "groups") if control.level == INTERCHANGE and last.groups else (last.messages, "messages")
        self._prove(last, tag, elements, count, what)

    def _prove(self, last: Open, tag: str, elements: list[str], count: int, what: str) -> None:
        """Number and reference that the closing segment states."""
        control = last.control
        for at, expected, said in (
            (control.counts, str(count), f"{count} {what}"),
            (control.repeats, last.reference, last.reference[:SHOWN]),
        ):
            stated = elements[at].strip() if at < len(elements) else ""
            if stated != expected and not (stated.isdecimal() and expected.isdecimal() and int(stated[-18:]) == int(expected[-18:])):
                place = self._plan.numbered(tag, str(at))
                if control.level == MESSAGE and self._strict and self._held is not None and self._plan.top is self._plan.transaction:
                    whole = (
                        f"the number of segments, {said}" if at == control.counts else f"the reference of {last.tag}, {said or 'nothing'}"
                    )
                    self._spoil(Wrong(f"{tag} ({self._where()}, {place})", whole, shown(stated) if stated else "nothing"), head=True)
                else:
                    whole = f"holds {said}" if at == control.counts else f"has the reference {said or '(none)'}"
                    self._envelope(
                        f"segment {self._number}: {place} states {stated or 'nothing'}, {last.tag} in segment {last.number} {whole}"
                    )

    def _envelope(self, text: str) -> None:
        if self._strict:
            if len(self.ending.reasons) < 20:
                self.ending.reasons.append(text)
        else:
            self.ending.find(text)

    # ---- messages -------------------------------------------------------------------------------------------------

    def _begin_message(self, elements: list[str], text: str, syntax: Syntax, damaged: Wrong | None) -> None:
        plan = self._plan
        self._began, self._given, self._head_wrong, self._opening = self._number, 0, None, self._open[-1]
        self._ids, self._ends, self._here, self._held = {}, {}, None, None
        self._before = dict(self._counts)
        if self._message is not None:
            self._message.begin()
            self._aside = self.ending.set_aside
        if not plan.top.fits(elements, syntax):
            at = next(iter(plan.top.tests))[0]
            other = elements[at].split(syntax.component or "\0")[0][:20] if at < len(elements) else ""
            if plan.layout.unknown == "skip":
                if len(self._others) < 20 or other in self._others:
                    self._others[other] = self._others.get(other, 0) + 1
                return
            codes = ", ".join(sorted(plan.top.tests[0][2]))
            self._held = Held(None, self._number, self._line)
            self._spoil(Wrong(f"{plan.top.record.name} ({self._where()})", f"a message {codes}", shown(other)))
            self._hold(text)
            return
        frame = self._made(plan.top, elements, None, syntax, damaged)
        if plan.top.linked:
            self._link(plan.top, elements, frame)
        self._here = frame
        self._keep(text)

    def _placed(self, tag: str, elements: list[str], text: str, syntax: Syntax, damaged: Wrong | None) -> Iterator[Unit]:
        """A segment inside a message: where it belongs, from the innermost open record outwards. One that comes behind its place is taken
        where no loop is open that it may be part of, and none of its tag came before; so what belongs together is never torn apart.
        """
        start = self._here
        kind: Kind | None = None
        where = shadow = None
        behind: Kind | None = None
        second: Kind | None = None
        linked = known = late = False
        here = start
        while here is not None:
            if (options := here.kind.options.get(tag)) is not None:
                known = True
                for option in options:
                    if option.linked:
                        linked = True
                    elif option.fits(elements, syntax):
                        if not option.record.repeated and here.wanted and here.row[option.index] is not None:
                            late, second = True, second or option
                            continue
                        if option.order < here.at:
                            late = True
                            first = self._late == (here, option.order) or not any(here.row[o.index] for o in options)
                            if first and here is start and option is not self._plan.transaction:  # of those there is always another
                                behind = behind or option
                            continue
                        kind, where = option, here
                        break
                if kind is not None:
                    break
                if shadow is None and not (linked or late) and options[0].order >= here.at:
                    shadow = (here, options[0])
            here = here.up
        if kind is None and linked:
            kind, where = self._by_number(tag, elements, syntax)
        if kind is None and behind is not None and start is not None:
            kind, where, self._late = behind, start, (start, behind.order)
        if kind is None or where is None:
            self._stray(tag, elements, text, shadow, known=known, damaged=damaged, second=second)
            return
        if start is not where and self._held is not None and self._held.frame is not None and not _inside(where, self._held.frame):
            yield from self._close(syntax)
        where.at = max(where.at, kind.order)
        opens = kind is self._plan.transaction
        if opens and where.wanted:
            self._around(where)
        frame = self._made(kind, elements, where, syntax, damaged)
        self._here = frame if kind.options or opens else where
        self._keep(text)
        if kind.linked:
            self._link(kind, elements, frame)

    def _made(self, kind: Kind, elements: list[str], up: Frame | None, syntax: Syntax, damaged: Wrong | None) -> Frame:
        """Reads the segment and hangs its row. One that cannot be read has an empty row: what stands below it still finds its place."""
        plan = self._plan
        wanted = up is None or up.wanted
        if kind is plan.transaction and wanted:
            self._held = Held(None, self._number, self._line)
            if self._head_wrong is not None:
                self._held.wrong = self._head_wrong
        row: list[Any]
        name = kind.record.name
        self._counts[name] += wanted
        try:
            if damaged is not None:
                raise damaged
            if self._repeated and (f := next((f for f in kind.record.fields if _place(f.at or "")[0] in self._repeated), None)):
                raise Wrong(f.name, "one value", f"{elements[_place(f.at or '')[0]].count(syntax.repetition) + 1} repetitions")
            row = list(kind.read(elements, syntax.component or "\0"))
            for part in kind.parts:
                self._divide(part, elements, row, syntax)
            if name in self._agreeing:
                self._ledger.agree(name, tuple(row), self._line)
        except Wrong as wrong:
            wrong.field = self._named(kind, wrong)
            self._spoil(wrong)
            row = [*([None] * len(kind.record.fields)), *kind.empty()]
        frame = Frame(kind, row, up, self._number, wanted=wanted)
        if kind is plan.transaction and self._held is not None and wanted:
            self._held.frame = frame
            for at, header in enumerate(plan.layout.headers):
                row[len(kind.record.fields) + at] = self._heads.get(header.name)
        elif up is not None and wanted and not kind.record.leads:
            if kind.record.repeated:
                up.row[kind.index].append(frame if kind.children else tuple(row))
            else:
                up.row[kind.index] = frame if kind.children else tuple(row)
            if self._message is not None and name in plan.ends:
                self._ends[name] = tuple(row)
        if (kind.needs or kind.after) and self._held is not None and wanted:
            self._held.frames.append(frame)
        return frame

    def _divide(self, part: Kind, elements: list[str], row: list[Any], syntax: Syntax) -> None:
        first, each = part.record.rule.first or 1, part.record.rule.each
        for at in range(first, len(elements), each):
            cells = elements[at : at + each]
            if not any(cells):
                continue
            self._counts[part.record.name] += 1
            try:
                made = tuple(part.read(["", *cells], syntax.component or "\0"))
            except Wrong as wrong:
                wrong.field = f"{wrong.field} of group {(at - first) // each + 1}"
                raise
            if part.record.repeated:
                row[part.index].append(made)
            elif row[part.index] is None:
                row[part.index] = made
            else:
                raise Wrong(part.record.name, f"one {part.record.name}", "more")

    def _link(self, kind: Kind, elements: list[str], frame: Frame) -> None:
        at = kind.record.rule.id or 1
        number = elements[at] if at < len(elements) else ""
        if not number or number in self._ids:
            self._spoil(
                Wrong(
                    f"{kind.record.name} ({self._where()}, {self._plan.numbered(kind.tag, str(at))})", "a number of its own", shown(number)
                )
            )
        elif len(self._ids) < self._plan.layout.file.max_records:
            self._ids[number] = frame

    def _by_number(self, tag: str, elements: list[str], syntax: Syntax) -> tuple[Kind | None, Frame | None]:
        """A segment that names the one it hangs under (HL02), wherever that stands."""
        here = self._here
        while here is not None:
            for option in here.kind.options.get(tag, ()):
                rule = option.record.rule
                of = elements[rule.of] if rule.of is not None and rule.of < len(elements) else ""
                under = self._ids.get(of) if of else self._top()
                if under is not None:
                    found = next((k for k in under.kind.options.get(tag, ()) if k.linked and k.fits(elements, syntax)), None)
                    if found is not None:
                        return found, under
            here = here.up
        return None, None

    def _top(self) -> Frame | None:
        here = self._here
        while here is not None and here.up is not None:
            here = here.up
        return here

    def _stray(
        self,
        tag: str,
        elements: list[str],
        text: str,
        shadow: tuple[Frame, Kind] | None,
        *,
        known: bool,
        damaged: Wrong | None,
        second: Kind | None,
    ) -> None:
        """A segment that no record of the layout is waiting for. `second`: of those that there may be one of."""
        self._keep(text)
        if shadow is not None and self._plan.layout.unknown == "skip" and damaged is None:
            here, kind = shadow
            here.at = max(here.at, kind.order)
            if kind.options:  # what stands below an undeclared loop belongs to it, not to the one before
                self._here = Frame(kind, [*([None] * len(kind.record.fields)), *kind.empty()], here, self._number, wanted=False)
            return
        lost = tag == self._plan.transaction.tag and not known
        if damaged is None and not known and not lost and self._plan.layout.unknown == "skip" and _TAG.fullmatch(tag):
            return
        if damaged is not None:
            damaged.field = f"{tag[:3]} ({self._where()})"
            self._spoil(damaged)
            return
        if second is not None:
            said = " ".join(elements[:2])[:30]
            self._spoil(Wrong(f"{second.name} ({self._where()})", f"one {second.name}", f"a second, {said}"))
            return
        expected = list(dict.fromkeys(t for f in _path(self._here) for t, ways in f.kind.options.items() if _may_come(f, ways)))
        may = ", ".join(expected[:12]) + (", …" if len(expected) > 12 else "")
        got = (
            f"{tag}, which {'cannot stand here' if known or lost else 'the layout does not declare'}"
            if _TAG.fullmatch(tag)
            else f"{shown(tag)}, which is no segment"
        )
        if (known or lost) and len(elements) > 1:
            got = f"{tag} {shown(elements[1][:20])}, which cannot stand here"
        self._spoil(Wrong(f"{tag[:3]} ({self._where()})", may or "the end of the message", got))

    def _around(self, where: Frame) -> None:
        """What stands around a transaction is complete when the first one begins."""
        if where is self._around_of:
            return
        self._around_of, self._around_now = where, None
        for frame in reversed(list(_path(where))):
            if frame.frozen is None:
                try:
                    for child in frame.kind.needs:
                        if not frame.row[child.index]:
                            raise Wrong(f"{frame.kind.record.name} ({self._where()})", child.name, "none before the first transaction")
                    frame.frozen = self._frozen(frame)[: frame.kind.width]
                except Wrong as wrong:
                    self._spoil(wrong, head=True)
                    frame.frozen = ()
            self._heads[frame.kind.record.name] = frame.frozen

    def _end_message(self, syntax: Syntax, got: str) -> Iterator[Unit]:
        """The message is over, complete or not. `got`: what came in place of its closing segment."""
        if self._held is not None:
            if got:
                self._spoil(Wrong(f"{self._plan.top.record.name} ({self._where()})", "the end of the message", got))
            yield from self._close(syntax)
        elif self._head_wrong is not None and not self._given and self._here is not None:
            self._held = Held(None, self._began, self._line, self._head_wrong)
            yield from self._close(syntax)
        if self._here is not None and self._plan.top is not self._plan.transaction:
            if self._head_wrong is not None and self._given and self._strict:
                wrong = self._head_wrong
                self._envelope(f"line {wrong.line}: {wrong.field}: expected {wrong.expected}, got {wrong.got}")
            top = self._top()
            if not got and top is not None:
                for child in top.kind.after:
                    if not top.row[child.index]:
                        self._envelope(f"segment {self._number}: the message ends without {child.name}")
                for lead in (*self._plan.ancestors[1:], self._plan.transaction):
                    if lead.record.needed and self._counts[lead.name] == self._before[lead.name] and self._head_wrong is None:
                        self._envelope(f"segment {self._number}: the message ends without {lead.name}")
                        break
            if self._message is not None and not got:
                counts = {n: c - self._before.get(n, 0) for n, c in self._counts.items()}
                reasons, findings = self._message.file(self._ends, counts, self.ending.set_aside - self._aside)
                self.ending.reasons += [f"segment {self._number}: {r}" for r in reasons][: 20 - len(self.ending.reasons)]
                for finding in findings:
                    self.ending.find(f"segment {self._number}: {finding}")
            for kind in self._plan.ancestors:
                self._heads.pop(kind.record.name, None)
        self._here = self._head_wrong = self._around_of = None

    def _close(self, syntax: Syntax) -> Iterator[Unit]:
        """The transaction ends. Its row is complete, or what is wrong is known."""
        held = self._held
        assert held is not None  # noqa: S101  # whoever closes has looked
        self._held = None
        row: tuple[Any, ...] | None = None
        wrong, division, parts = held.wrong, self._plan.division, _UNDIVIDED
        if wrong is None and held.frame is not None:
            try:
                for frame in held.frames:
                    for child in (*frame.kind.needs, *frame.kind.after):
                        if not frame.row[child.index]:
                            raise Wrong(f"{frame.kind.record.name} (segment {frame.number})", child.name, "none")
                row = self._frozen(held.frame)
                wrong = self._ledger.prove(row)
                if wrong is None and division is not None and division.divides(row) and len(parts := division.rows(row)) > MOST_PARTS:
                    raise Wrong(self._plan.layout.file.split, f"at most {MOST_PARTS} in a transaction", str(len(parts)))
            except Wrong as found:
                wrong = found
        if wrong is not None:
            wrong.line = wrong.line or held.line
            row = None
        self._given += 1
        if row is not None and self._message is not None:
            self._message.add(row)
        position = self._ledger.count(row)
        if row is None or division is None or len(parts) < 2:
            yield Unit(position, held.line, row, wrong, partial(_raw, syntax, held.texts), self._name, self._around_it(held, syntax))
            return
        for number, (value, part) in enumerate(parts.items()):

            def own(value: str | None = value) -> Held:
                texts = division.texts(held.texts, syntax, value)
                return replace(held, texts=texts, segments=len(texts))

            position = self._ledger.pass_over() if number else position
            around = partial(lambda own: self._around_it(own(), syntax)(), own)
            yield Unit(position, held.line, part, None, partial(lambda own: _raw(syntax, own().texts), own), self._name, around)

    def _frozen(self, frame: Frame) -> tuple[Any, ...]:
        made = frame.row
        for child in frame.kind.deep:
            below = made[child.index]
            if child.repeated:
                made[child.index] = [self._frozen(f) if child.deep else tuple(f.row) for f in below]
            elif below is not None:
                made[child.index] = self._frozen(below)
        return tuple(made)

    # ---- what is wrong, and where ---------------------------------------------------------------------------------

    def _spoil(self, wrong: Wrong, *, head: bool = False) -> None:
        """The transaction is set aside; what is wrong around it sets aside all that follow in the message."""
        wrong.line = wrong.line or self._line
        held = self._held
        if held is not None and (not head or self._plan.top is self._plan.transaction):
            held.wrong = held.wrong or wrong
        elif self._head_wrong is None:
            self._head_wrong = wrong
            if held is not None:
                held.wrong = held.wrong or wrong

    def _where(self) -> str:
        """A segment's number in the file and in its message, as acknowledgements count it: the message's first segment is 1."""
        inside = (
            f", {self._number - self._began + 1} of message {self._open[-1].reference[:20]}"
            if self._open and self._open[-1].control.level == MESSAGE
            else ""
        )
        return f"segment {self._number}{inside}"

    def _named(self, kind: Kind, wrong: Wrong) -> str:
        name, _, group = wrong.field.partition(" of group ")
        rule = next((f for k in (kind, *kind.parts) for f in k.record.fields if f.name == name), None)
        place = f", {self._plan.numbered(kind.tag, rule.at)}" if rule is not None and rule.at and not group else ""
        return f"{kind.record.name}.{wrong.field}".rstrip(".") + f" ({self._where()}{place})"

    def _hold(self, text: str) -> None:
        held = self._held
        if held is None:
            return
        held.segments += 1
        if held.segments > self._plan.layout.file.max_records:
            most = self._plan.layout.file.max_records
            self._spoil(Wrong(f"({self._where()})", f"at most {most} segments in a transaction", "more"))
        elif held.bytes < MOST_RAW:
            held.bytes += len(text) + 1
            held.texts.append(text)

    def _keep(self, text: str) -> None:
        """Segments as they stand: of a transaction, or of what stands around those that follow."""
        if self._held is not None:
            self._hold(text)
            return
        around = next((f for f in _path(self._here) if f.kind is self._plan.top or f.kind.record.leads), None)
        if around is None:
            return
        if around.texts is None:
            around.texts = []
        if len(around.texts) < MOST_AROUND:
            around.texts.append(text)
            self._around_now = None

    def _around_it(self, held: Held, syntax: Syntax) -> Callable[[], tuple[bytes, bytes]]:
        """The envelopes, and of a loop the segments of its message in front of it; with counts that hold for this one."""
        if self._around_now is None:
            frames = [] if self._plan.top is self._plan.transaction else [f.texts for f in reversed(list(_path(self._here))) if f.texts]
            envelopes = [o for o in self._open if o.control.level != MESSAGE]
            self._around_now = envelopes, self._opening if frames else None, [text for texts in frames for text in texts]
        return partial(_stands_around, syntax, *self._around_now, held)

    def _mended(self, bare: str, syntax: Syntax) -> tuple[list[str], Wrong | None, Syntax]:
        """Elements of a segment that is not plain ASCII on one line, with components parted by a sign that no text holds: a released one
        may be the component separator. Lines that were broken at a fixed width are one.
        """
        if "\n" in bare or "\r" in bare:
            bare = bare.replace("\r", "").replace("\n", "")
        separators = syntax.element + syntax.component + syntax.repetition
        cells = bare.split(syntax.element)
        parted = replace(syntax, component=_PARTED)
        for at, cell in enumerate(cells):
            place = self._plan.numbered(cells[0][:3], str(at))
            if (odd := next((c for c in _CONTROLS.findall(cell) if c not in separators), None)) is not None:
                return cells, Wrong(place, "printable text", f"control character 0x{ord(odd):02X}"), syntax
            try:
                cells[at] = _PARTED.join(syntax.plain(part) for part in cell.split(syntax.component or "\0"))
            except UnicodeDecodeError as error:
                return cells, Wrong(place, f"text in {syntax.encoding}", f"byte 0x{error.object[error.start]:02X}"), syntax
        return cells, None, parted


def _may_come(frame: Frame, ways: list[Kind]) -> bool:
    return any(k.order > frame.at or (k.order == frame.at and (k.record.repeated or frame.row[k.index] is None)) for k in ways)


def _inside(frame: Frame, outer: Frame) -> bool:
    return any(f is outer for f in _path(frame))


def _path(frame: Frame | None) -> Iterator[Frame]:
    while frame is not None:
        yield frame
        frame = frame.up


def _stands_around(syntax: Syntax, envelopes: list[Open], message: Open | None, front: list[str], held: Held) -> tuple[bytes, bytes]:
    before = [text.lstrip(BLANK) for text in (*(o.text for o in envelopes), *front)]
    behind = []
    for each in reversed([*envelopes, *([message] if message is not None else [])]):
        control = each.control
        count = len(front) + held.segments + 1 if control.level == MESSAGE else 1
        stated = [str(count), each.reference] if control.counts == 1 else [each.reference, str(count)]
        behind.append(syntax.element.join([control.closes, *stated]))
    return syntax.advice.encode("latin-1") + (syntax.raw(before) if before else b""), syntax.raw(behind) if behind else b""


def _raw(syntax: Syntax, texts: list[str]) -> bytes:
    return syntax.raw(texts).lstrip(b" \t\r\n")[:MOST_RAW]


@functools.cache
def _place(at: str) -> tuple[int, int]:
    """Element and component, 0 for the whole element."""
    element, _, component = at.partition(".")
    return int(element or 0), int(component or 0)


# ---- fields ---------------------------------------------------------------------------------------------------------


def _reader(record: Record, headers: int, format: str) -> Callable[[list[str], str], Any]:
    """One function that reads a segment's declared elements (`r`, the tag first; `c`, the component separator): a tuple, or a list where
    something may come to stand below it. Raises Wrong.
    """
    names: dict[str, Any] = {"blank": [""] * 100}
    parts: dict[int, int] = {}
    cells: list[tuple[int, int, FieldRule]] = []
    for f in record.fields:
        element, component = _place(f.at or "1")
        if f.format == "dtm":
            component = 3
        elif format == "edifact":
            component = component or 1
        if component:
            parts[element] = max(parts.get(element, 0), component)
        cells.append((element, component, f))
    most = max([element for element, _, _ in cells], default=0)
    lines = [f"if len(r) <= {most}:", f"    r = r + blank[: {most + 1} - len(r)]"] if most else []
    for element, count in parts.items():
        lines += [f"p{element} = r[{element}].split(c)", f"if len(p{element}) < {count}:"]
        lines.append(f"    p{element} += blank[: {count} - len(p{element})]")
    values = []
    for at, (element, component, f) in enumerate(cells):
        read, repeats = _field(f, format)
        names[f"f{at}"] = Memo(read) if repeats else read
        cell = f"p{element}[{component - 1}]" if component else f"r[{element}]"
        if f.format == "dtm":
            cell = f"p{element}[1] + ':' + p{element}[2]"
        values.append(f"f{at}[{cell}]" if repeats else f"f{at}({cell})")
    values += ["None"] * headers + ["[]" if child.repeated else "None" for child in record.children]
    made = f"[{', '.join(values)}]" if headers or record.children else f"({', '.join(values)}{',' if values else ''})"
    body = "".join(f"    {line}\n" for line in [*lines, f"return {made}"])
    return function("read", f"def read(r, c):\n{body}", names)


def _field(f: FieldRule, format: str) -> tuple[Read, bool]:
    """As in every file, but for numbers (a minus in front, either decimal mark, no zero before it) and dates that say their own form."""
    if f.format == "dtm":
        return _dated(f), True
    if f.type not in ("integer", "decimal"):
        return reader(f)
    read, _ = reader(replaced(f, sign="leading") if f.sign == "none" else f)
    if f.decimals is not None:
        return read, True

    def number(raw: Raw) -> Any:
        if raw and not raw.isdigit() and (found := _NUMBER.fullmatch(raw)) is not None and (found[2] or found[3]):
            raw = f"{found[1]}{found[2].lstrip('0') or '0'}" + (f".{found[3]}" if found[3] else "")
        return read(raw)

    return number, True


def _dated(f: FieldRule) -> Read:
    """Of `VALUE:CODE`. A moment that is only a day begins it."""
    readers: dict[str, Read] = {}
    for code, form in _DATES.items():
        clock = "%H%M" if f.type == "datetime" and "%H" not in form else ""
        readers[code] = reader(replaced(f, format=(form if f.type == "datetime" else form.partition("%H")[0]) + clock))[0]
    plain = reader(replaced(f, format="%Y%m%d"))[0]

    def dated(raw: Raw) -> Any:
        value, _, code = (raw or "").partition(":")
        if not value:
            return plain(None)
        if (read := readers.get(code)) is None:
            raise Wrong(f.name, f"a date in a format of code {', '.join(readers)}", shown(raw or "", f.personal))
        form = _DATES[code]
        if code == "718":
            value = value[-8:]
        if f.type == "datetime" and "%H" not in form:
            value += "0000"
        elif f.type == "date":
            value = value if len(value) < 6 else value[: 8 if form.startswith("%Y") else 6]
        return read(value)

    return dated
