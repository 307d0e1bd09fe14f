"""Files of rows, delimited or in fixed columns: record types, nesting and control totals as the layout declares them, read in blocks."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, BinaryIO, Final

from msgspec.structs import replace

from adapters.files.formats.padding import Unpadded, told
from adapters.files.formats.skimming import Stretch, skim_of
from adapters.files.generated import function
from adapters.files.layout import Layout, Record
from adapters.files.parsing import MOST_RAW, Ledger, Refuse, Unit
from adapters.files.values import Memo, Wrong, reader, shown
from adapters.files.written import Written

BLOCK: Final = 262_144
ROOM: Final = 1000
"""Transactions that are taken from their text at once."""
MOST_JOINED: Final = 100
"""Lines of one row whose quoted text holds line ends."""
_CONTROLS: Final = bytes([*range(9), 11, 12, *range(14, 32), 127])
_ODD: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_NEVER: Final[Mapping[str, Kind]] = {}
MISFIT: Final = "? "
"""In front of the reason, in the place of a record type: a row that a table's reader could not take apart."""


class Kind:
    """A kind of row: how it is read, where its value goes and what may follow it."""

    __slots__ = ("after", "allowed", "end", "index", "opens", "owner", "parent", "plain", "read", "record", "repeated", "role", "slot")

    def __init__(self, record: Record, slot: int, read: Callable[[Any], Any]) -> None:
        self.record, self.slot, self.read = record, slot, read
        self.role = record.rule.role
        self.allowed: dict[str, Kind] = {}
        self.end = ""
        """What is missing if the transaction ended after this row."""
        self.opens = self.role == "transaction"
        self.plain = self.role == "detail"
        self.owner, self.index, self.repeated = 0, record.index, record.repeated
        """The slot of the row that it hangs under, and its place there."""
        self.parent = bool(record.children)
        self.after = False
        """The transaction is complete after this row."""


class Plan:
    """A layout, made ready to read rows. Immutable after construction; readers share it."""

    def __init__(self, layout: Layout, *, whole: bool = True) -> None:
        """Not `whole`: of transactions only those fields are read that can refuse the file."""
        self.layout, self.whole = layout, whole
        self.proof = Plan(layout, whole=False) if whole else self
        file = layout.file
        self.fixed = file.format == "fixed"
        records = list(layout.records.values())
        memos: dict[str, Memo] = {}
        self.kinds = {r.name: Kind(r, at, _reader(r, layout, memos, whole=whole)) for at, r in enumerate(records)}
        self.top = [r for r in records if r.parent is None]
        for kind in self.kinds.values():
            if kind.record.parent is not None:
                kind.owner = self.kinds[kind.record.parent.name].slot
        for kind in self.kinds.values():
            kind.allowed = {other.record.name: other for other in self.kinds.values() if self._follows(kind.record, other.record)}
            kind.after = kind.record.rule.closes and kind.record.parent is layout.transaction
            kind.end = self._missing(kind.record)
        self.first = {r.name: self.kinds[r.name] for at, r in enumerate(self.top) if not any(x.needed for x in self.top[:at])}
        self.between = {r.name: self.kinds[r.name] for r in self._later(layout.transaction)}
        """What may come behind a transaction."""
        self.loose = any(k.plain and _holds_one(k.record) for k in self.kinds.values())
        """Whether details are held as lists until the transaction is complete: they wait for a child that occurs once."""
        self.skim = skim_of(layout) if whole else None
        self.start = (file.record_type.start or 1) - 1
        self.stop = self.start + (file.record_type.width or 0)

    def _open(self, record: Record) -> list[Record]:
        """Records still open after a row of this kind, innermost first; none below the file when the transaction is complete."""
        here: Record | None = record
        if record.rule.closes and record.parent is not None:
            here = record.parent.parent
        path = []
        while here is not None and here.rule.role in ("transaction", "detail"):
            path.append(here)
            here = here.parent
        return path

    def _later(self, record: Record) -> list[Record]:
        at = self.top.index(record)
        found = [record] if record.repeated else []
        for other in self.top[at + 1 :]:
            found.append(other)
            if other.needed:
                break
        return found

    def _follows(self, record: Record, other: Record) -> bool:
        path = self._open(record)
        below: Record | None = None
        if record.rule.closes and record.parent is not None and record.parent is not self.layout.transaction:
            below = record.parent
        for here in path:
            if other.parent is here:
                return _in_order(here.children, below, other)
            if _lacks(here.children, below):
                return False
            below = here
        top = record if record.parent is None else self.layout.transaction
        return other.parent is None and other in self._later(top)

    def _missing(self, record: Record) -> str:
        below: Record | None = record.parent if record.rule.closes else None
        for here in self._open(record):
            if lacking := _lacks(here.children, below):
                return lacking
            below = here
        return ""

    def name(self, fields: Any) -> str:
        return str(fields[self.start : self.stop].strip() if self.fixed else fields[0])


def _holds_one(record: Record) -> bool:
    return not all(child.repeated for child in record.children)


def _in_order(siblings: list[Record], last: Record | None, next_: Record) -> bool:
    at = siblings.index(last) if last is not None else -1
    to = siblings.index(next_)
    return (to > at or (to == at and next_.repeated)) and not any(s.needed for s in siblings[at + 1 : to])


def _lacks(siblings: list[Record], last: Record | None) -> str:
    at = siblings.index(last) if last is not None else -1
    return next((s.name for s in siblings[at + 1 :] if s.needed), "")


def _proving(layout: Layout) -> set[str]:
    """Fields of transactions that decide about the whole file."""
    terms = [term for check in layout.checks if check.scope == "file" for term in check.equals]
    found = {name for t in terms for name in (t.sum, t.field, *t.where, *t.unless) if name}
    return found | (set() if layout.headers else {f"{layout.transaction.name}.{name}" for name in layout.file.agree})


def _reader(record: Record, layout: Layout, memos: dict[str, Memo], *, whole: bool) -> Callable[[Any], tuple[Any, ...]]:
    """One function that turns the cells of a row into its tuple. `memos`: fields of one rule share what they remember."""
    whole = whole or record.rule.role in ("file_header", "file_trailer")
    skipped = set() if whole else {f.name for f in record.fields if f"{record.name}.{f.name}" not in _proving(layout)}
    names: dict[str, Any] = {}
    values: list[str] = []
    blamed: list[str] = []
    for at, f in enumerate(record.fields):
        if f.name in skipped:
            values.append("None")
            continue
        read, repeats = reader(f)
        names[f"c{at}"] = names[f"f{at}"] = read
        if repeats:
            names[f"c{at}"] = memos.setdefault(repr(replace(f, name="", personal=False, start=None, width=None)), Memo(read))
        cell = f"v{at}"
        if layout.file.format == "fixed":
            start = (f.start or 1) - 1
            strip = "strip()" if f.type in ("integer", "decimal") else "rstrip()"
            cell = f"r[{start}:{start + (f.width or 0)}].{strip}"
        values.append(f"c{at}[{cell}]" if repeats else f"c{at}({cell})")
        blamed.append(f"f{at}({cell})")
    opens = record.rule.role == "transaction"
    if opens:
        values += ["None" for _ in layout.headers]
    values += ["[]" if child.repeated else "None" for child in record.children]
    made = f"[{', '.join(values)}]" if opens or _holds_one(record) else f"({', '.join(values)}{',' if values else ''})"
    if skipped and len(skipped) == len(record.fields):
        return function("read", f"def read(r):\n    return {made}\n", names)
    names["Wrong"] = Wrong
    made = (
        f"    try:\n        return {made}\n    except Wrong:\n        {'; '.join(blamed)}\n        raise\n"
        if blamed
        else f"    return {made}\n"
    )
    if layout.file.format == "fixed":
        end = max([(f.start or 1) - 1 + (f.width or 0) for f in record.fields], default=0)
        names["long"] = partial(_too_long, record, end)
        return function("read", f"def read(r):\n    if len(r) > {end} and r[{end}:].strip():\n        long(r)\n{made}", names)
    names["fit"] = partial(_fit, record)
    cells = "".join(f", v{at}" for at in range(len(record.fields)))
    unpack = f"_{cells}{'' if cells else ','}"
    return function(
        "read", f"def read(r):\n    try:\n        {unpack} = r\n    except ValueError:\n        {unpack} = fit(r)\n{made}", names
    )


def _too_long(record: Record, end: int, row: str) -> None:
    raise Wrong(record.name, f"a row of {end} characters", f"{len(row)} characters")


def _fit(record: Record, cells: list[str]) -> list[str]:
    if len(cells) > (count := len(record.fields) + 1):
        raise Wrong(record.name, f"at most {count - 1} fields", f"{len(cells) - 1} fields")
    return [*cells, *[""] * (count - len(cells))]


class RowParser:
    """Reads one file. A generator over blocks; nothing of a finished transaction is kept."""

    def __init__(self, plan: Plan, skim: int | None = None, block: int = BLOCK) -> None:
        """Behind position `skim`, only what can refuse the file is read. `block`: bytes that are read at once."""
        self._plan, self._skim, self._block = plan, skim, block
        layout = plan.layout
        self._encoding = layout.file.encoding
        self._rows: list[Any] = [None] * len(plan.kinds)
        """The last row of each kind, to hang others under."""
        self._seen = [0] * len(plan.kinds)
        self._headers: dict[str, tuple[Any, ...]] = {}
        self._ends: dict[str, tuple[Any, ...]] = {}
        self._heads: list[tuple[Any, ...] | None] = [None] * len(plan.layout.headers)
        self._first = len(plan.layout.transaction.fields)
        """Where they stand in the row of a transaction."""
        self._allowed: Mapping[str, Kind] = plan.first
        self._last: Kind | None = None
        self._row: list[Any] | None = None
        self._wrong: Wrong | None = None
        self._held: list[str] = []
        self._heading: list[str] = []
        """Rows of the file's headers."""
        self._cut = False
        self._line = 0
        self._rest: list[tuple[int, str]] = []
        self._damage = self._name = self._piece = ""
        self.written: Written | None = None
        """What is known of how transactions are written."""

    def units(self, source: BinaryIO, name: str, facts: Mapping[str, str]) -> Iterator[Unit]:
        """Rows in their place go the short way here; everything else is looked at in `_take`."""
        plan, layout = self._plan, self._plan.layout
        self._ledger = ledger = Ledger(layout, facts)
        self.ending, self._name = ledger.ending, name
        delimiter, quote, fixed, most = layout.file.delimiter, layout.file.quote or "\0", plan.fixed, layout.file.max_records
        start, stop = plan.start, plan.stop
        seen, number, limit = self._seen, 0, layout.file.max_record
        agrees = bool(layout.file.agree) and not layout.headers
        written, transaction = self.written, plan.kinds[layout.transaction.name]
        if written is not None:
            written.begin()
        for text, clean, crlf in self._texts(source):
            quoted = not fixed and quote in text
            parts, stretch = [text], None
            if clean and not quoted and self._skims and plan.skim is not None:
                stretch = plan.skim.look(text.replace("\r", "") if crlf else text)
                if stretch is not None:
                    parts, crlf = [stretch.before, stretch.behind], False
            for part in parts if stretch is not None or written is None else self._pieces(parts[0], written, plain=clean and not crlf):
                if part.__class__ is tuple:
                    made, count = part
                    position = ledger.pass_over(len(made))
                    self._allowed, self._last = plan.between, transaction
                    if position == self._skim:
                        self._plan = plan.proof
                    yield Unit(position, number + 1, None, None, bytes, name, made=made)
                    number += count
                    continue
                rows = part.split("\n") if part or stretch is None else []
                short = clean and max(map(len, rows), default=0) * 4 <= limit
                for whole in rows:
                    number += 1
                    if short and not (quoted and quote in whole) and not self._rest:
                        line = whole[:-1] if crlf else whole
                        cells: Any = line if fixed else line.split(delimiter)
                        kind = self._allowed.get(line[start:stop].strip() if fixed else cells[0])
                        if kind is not None and kind.plain and self._wrong is None:
                            seen[kind.slot] += 1
                            try:
                                row = kind.read(cells)
                            except Wrong as wrong:
                                self._spoil(wrong, number, kind)
                            else:
                                self._place(kind, row)
                            held = self._held
                            held.append(whole)
                            if kind.after:
                                closed = self._close("", number)
                                closed.text, self._piece = self._piece, ""
                                yield closed
                            elif len(held) > most:
                                self._too_many(number)
                            continue
                        if kind is not None and kind.opens and self._row is None and self._wrong is None and not agrees:
                            seen[kind.slot] += 1
                            try:
                                self._open(kind, kind.read(cells), whole, number)
                            except Wrong as wrong:
                                self._begun_badly(kind, wrong, whole, number)
                            continue
                        if line and (unit := self._take(cells, whole, number)) is not None:
                            yield unit
                        continue
                    for at, row_text, assembled in self._assemble(whole, number):
                        if (unit := self._take(assembled, row_text, at)) is not None:
                            yield unit
                if stretch is not None:
                    if self._row is not None or self._wrong is not None:
                        yield self._close(layout.transaction.name, number + 1)
                    number += stretch.rows
                    yield self._skimmed(stretch, number)
                    stretch = None
        while self._rest:
            for at, text, assembled in self._give_up():
                if (unit := self._take(assembled, text, at)) is not None:
                    yield unit
        if (unit := self._finish()) is not None:
            yield unit
        ledger.ending.rows = number
        ledger.counts = {kind.record.name: seen[kind.slot] for kind in plan.kinds.values()}
        if written is not None:
            counts, sums = written.ended()
            ledger.counts |= {record: ledger.counts[record] + count for record, count in counts.items()}
            ledger.checks.add_sums(sums)
        ledger.end({**self._headers, **self._ends}, self._damage)

    def _pieces(self, text: str, written: Written, *, plain: bool) -> Iterator[Any]:
        """A block in pieces: text whose rows are looked at one by one, or sales with the number of their rows."""
        mark, transaction = written.mark, self._plan.layout.transaction.name
        most = self._plan.layout.file.max_record // 4
        start = 0 if text.startswith(mark[1:]) else text.find(mark) + 1 or -1
        if not plain or not self._plan.whole or start < 0:
            yield text
            return
        if start:
            yield text[: start - 1]
        while self._plan.whole:
            begins = text.startswith(mark[1:], start)
            quick = begins and self._row is None and self._wrong is None and not self._rest and transaction in self._allowed
            if quick:
                units, skim = self._ledger.ending.units, self._skim
                room = skim - units if skim is not None and skim > units else ROOM
                sales, end, rows = written.take(text, start, most, room)
                if sales:
                    yield sales, rows
                    start = end
                    continue
            following = text.find(mark, start)
            if following < 0:
                break
            piece = text[start:following]
            self._piece = piece if quick and len(piece) <= most and written.wants(piece, piece.count("\n") + 1) else ""
            yield piece
            start = following + 1
        self._piece = ""
        yield text[start:]

    # ---- blocks and rows ------------------------------------------------------------------------------------------

    @property
    def _skims(self) -> bool:
        return not self._plan.whole and not self._rest and not self._ends

    def _skimmed(self, stretch: Stretch, line: int) -> Unit:
        """One unit stands for all of them."""
        for name, count in stretch.counts.items():
            self._seen[self._plan.kinds[name].slot] += count
        transaction = self._plan.kinds[self._plan.layout.transaction.name]
        self._ledger.pass_over(stretch.counts[transaction.record.name], stretch.sums)
        self._allowed, self._last = self._plan.between, transaction
        return Unit(self._ledger.ending.units, line, None, None, bytes, self._name)

    def _texts(self, source: BinaryIO) -> Iterator[tuple[str, bool, bool]]:
        """Blocks of rows; whether they hold nothing that needs a closer look; whether every row ends in CR."""
        limit, rest, first, dropping = self._plan.layout.file.max_record, b"", True, False
        unpadded = Unpadded(source)
        while block := unpadded.read(self._block):
            if first:
                first = False
                if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise Refuse(f"the file is UTF-16, expected {self._encoding}", 1)
                if self._encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
                    block = block.removeprefix(codecs.BOM_UTF8)
            if dropping:
                end = block.find(b"\n")
                if end < 0:
                    continue
                block, dropping = rest + block[end:], False  # what is left of the long row is too long still, and says so
                rest = b""
            elif rest:
                block, rest = rest + block, b""
            cut = block.rfind(b"\n")
            if cut < 0 and len(block) > limit:
                rest, dropping = block[: limit + 1], True
                continue
            block, rest = block[: max(cut, 0)], block[cut + 1 :]
            if len(rest) > limit:
                rest, dropping = rest[: limit + 1], True
            if cut >= 0:
                yield self._text(block)
        if rest:
            yield self._text(rest)
        if unpadded.left_out:
            self._ledger.ending.find(told(unpadded.left_out))

    def _text(self, block: bytes) -> tuple[str, bool, bool]:
        clean = len(block.translate(None, _CONTROLS)) == len(block)
        try:
            text = block.decode(self._encoding)
        except UnicodeDecodeError:
            text, clean = block.decode(self._encoding, "surrogateescape"), False
        crlf = False
        if "\r" in text:
            crlf = text.count("\r") == text.count("\r\n") + text.endswith("\r") == text.count("\n") + 1
            clean = clean and crlf
        return text, clean, crlf

    def _assemble(self, whole: str, number: int) -> list[tuple[int, str, Any]]:
        """Rows that are complete with this line: (line, text, cells or what is wrong). A quoted line end joins lines, within max_record."""
        file = self._plan.layout.file
        line = whole.removesuffix("\r")
        if not line and not self._rest:
            return []
        if self._plan.fixed or not file.quote or (file.quote not in line and not self._rest):
            return [(number, whole, self._odd(line, line if self._plan.fixed else line.split(file.delimiter)))]
        self._rest.append((number, whole))
        if len(self._rest) > 1 and file.quote not in line and len(self._rest) <= MOST_JOINED:
            return []  # only a row with a quote can close one
        joined = "\n".join(text for _, text in self._rest)
        row = joined.removesuffix("\r")
        cells = self._quoted(row)
        if cells is None and len(joined) <= file.max_record and len(self._rest) <= MOST_JOINED:
            return []  # the quote is still open
        if len(self._rest) > 1 and (cells is None or isinstance(cells, Wrong) or len(cells) - 1 > self._most(cells[0])):
            return self._give_up()
        at = self._rest[0][0]
        self._rest = []
        if cells is None:
            cells = Wrong("", "a closing quote in the row", shown(line), at)
        return [(at, joined, cells if isinstance(cells, Wrong) else self._odd(row, cells))]

    def _give_up(self) -> list[tuple[int, str, Any]]:
        """A stray quote must not swallow the rows behind it: only the row that opened it is bad."""
        ((at, text), *others), self._rest = self._rest, []
        rows: list[tuple[int, str, Any]] = [(at, text, Wrong("", "a closing quote in the row", shown(text), at))]
        for number, whole in others:
            rows += self._assemble(whole, number)
        return rows

    def _most(self, name: str) -> int:
        kind = self._plan.kinds.get(name)
        return len(kind.record.fields) if kind else 0

    def _quoted(self, text: str) -> list[str] | Wrong | None:
        file = self._plan.layout.file
        try:
            return next(csv.reader(text.splitlines(keepends=True), delimiter=file.delimiter, quotechar=file.quote, strict=True))
        except csv.Error as error:
            if "unexpected end" in str(error):
                return None
            return Wrong("", "quotes around a whole field", shown(text))

    def _odd(self, line: str, cells: Any) -> Any:
        """The cells, unless the row is too long or holds what no text holds."""
        if len(line.encode(self._encoding, "surrogateescape")) > (limit := self._plan.layout.file.max_record):
            return Wrong("", f"a row of at most {limit} bytes", "a longer one")
        bad = _ODD.search(line.replace("\r\n", "\n"))
        if bad is None:
            return cells
        code = ord(bad[0])
        name = line.split(self._plan.layout.file.delimiter, 1)[0] if not self._plan.fixed else ""
        place = self._field_at(line, bad.start()) if name else ""
        if code >= 0xD800:
            return Wrong(place, f"text in {self._encoding}", f"byte 0x{code & 0xFF:02X}")
        return Wrong(place, "printable text", f"control character 0x{code:02X}")

    def _field_at(self, line: str, index: int) -> str:
        cells = line[:index].split(self._plan.layout.file.delimiter)
        kind = self._plan.kinds.get(cells[0])
        at = len(cells) - 2
        return kind.record.fields[at].name if kind is not None and 0 <= at < len(kind.record.fields) else ""

    # ---- transactions ---------------------------------------------------------------------------------------------

    def _take(self, cells: Any, text: str, line: int) -> Unit | None:
        """One row; returns the transaction that it completes."""
        plan = self._plan
        damaged = cells if isinstance(cells, Wrong) else None
        name = plan.name(cells if damaged is None else (text if plan.fixed else text.split(plan.layout.file.delimiter, 1)))
        known = plan.kinds.get(name)
        if known is not None:
            self._seen[known.slot] += 1
        elif damaged is None and plan.layout.unknown == "skip":
            return None
        boundary = known is not None and known.role != "detail"
        unit = None
        if boundary and (self._row is not None or self._wrong is not None):
            unit = self._close(name, line)
        kind = self._allowed.get(name) if self._wrong is None else None
        if boundary and known is not None:
            self._begin(known, kind, cells, damaged, text, line)
            return unit
        if self._wrong is None:
            if kind is None or damaged is not None:
                self._stray(name, known, damaged, line)
            else:
                try:
                    self._place(kind, kind.read(cells))
                except Wrong as wrong:
                    self._spoil(wrong, line, kind)
        self._hold(text)
        if not self._line:
            self._line = line
        if len(self._held) > plan.layout.file.max_records:
            self._too_many(line)
        if known is not None and known.after:
            return self._close("", line)
        return unit

    def _stray(self, name: str, known: Kind | None, damaged: Wrong | None, line: int) -> None:
        """A row that cannot stand here."""
        if self._row is None and self._last is None and not self._headers and any(r.needed for r in self._plan.layout.headers):
            raise Refuse(f"expected the file header {self._plan.layout.headers[0].name}, got {shown(name)}", line)
        expected = " or ".join(self._allowed) or "nothing behind the end of the file"
        if damaged is None and name.startswith(MISFIT):
            damaged = Wrong("", "a row that fits its columns", name.removeprefix(MISFIT))
        wrong = damaged or Wrong("", expected, name if known else f"{shown(name)}, which is no declared record")
        self._spoil(wrong, line)
        if self._ends and not self._damage:
            self._damage = f"line {line}: the file goes on behind its trailer"

    def _begin(self, known: Kind, kind: Kind | None, cells: Any, damaged: Wrong | None, text: str, line: int) -> None:
        """A header, a trailer, or the first row of a transaction."""
        role = known.role
        try:
            if damaged is not None:
                raise damaged
            if kind is None:
                raise Wrong("", " or ".join(self._allowed) or "nothing behind the end of the file", known.record.name)
            row = kind.read(cells)
        except Wrong as wrong:
            place = f"{known.record.name}.{wrong.field}" if wrong.field else known.record.name
            if role == "file_header" and self._last is not None:
                self._damage = self._damage or f"line {line}: a second {known.record.name}"
                return
            if role == "file_header" or (kind is None and not self._headers and self._last is None and self._plan.layout.headers):
                raise Refuse(f"{place}: expected {wrong.expected}, got {wrong.got}", line) from None
            if role == "file_trailer":
                self._damage = self._damage or f"line {line}: {place}: expected {wrong.expected}, got {wrong.got}"
                self._allowed = _NEVER
                return
            if self._ends and not self._damage:
                self._damage = f"line {line}: the file goes on behind its trailer"
            self._begun_badly(known, wrong, text, line)
            return
        self._allowed, self._last = known.allowed, known
        if role == "file_header":
            self._headers[known.record.name] = row
            self._heading.append(text)
            if self.written is not None:
                self.written.forget()
            self._heads = [self._headers.get(h.name) for h in self._plan.layout.headers]
            self._ledger.agree(known.record.name, row, line)
            return
        if role == "file_trailer":
            self._ends[known.record.name] = row
            return
        if not self._headers and self._plan.layout.file.agree:
            self._ledger.agree(known.record.name, row, line)
        self._open(known, row, text, line)

    def _open(self, kind: Kind, row: list[Any], text: str, line: int) -> None:
        self._allowed, self._last = kind.allowed, kind
        self._line = line
        self._held.append(text)
        if self._heads:
            row[self._first : self._first + len(self._heads)] = self._heads
        self._row = self._rows[kind.slot] = row

    def _begun_badly(self, kind: Kind, wrong: Wrong, text: str, line: int) -> None:
        self._row = None
        self._spoil(wrong, line, kind)
        self._hold(text)
        self._line = line

    def _place(self, kind: Kind, row: Any) -> None:
        """Below the last row of the kind that it hangs under."""
        if kind.repeated:
            self._rows[kind.owner][kind.index].append(row)
        else:
            self._rows[kind.owner][kind.index] = row
        if kind.parent:
            self._rows[kind.slot] = row
        self._allowed, self._last = kind.allowed, kind

    def _hold(self, text: str) -> None:
        if not self._cut:
            self._held.append(text)

    def _spoil(self, wrong: Wrong, line: int, kind: Kind | None = None) -> None:
        if self._wrong is None:
            wrong.line = wrong.line or line
            if kind is not None and "." not in wrong.field and wrong.field != kind.record.name:
                wrong.field = f"{kind.record.name}.{wrong.field}".rstrip(".")
            self._wrong = wrong

    def _too_many(self, line: int) -> None:
        self._spoil(Wrong("", f"at most {self._plan.layout.file.max_records} rows in a transaction", "more"), line)
        self._cut = True

    def _close(self, next_: str, line: int) -> Unit:
        """The transaction ends, complete or not."""
        wrong = self._wrong
        if wrong is None and self._last is not None and (missing := self._last.end):
            wrong = Wrong("", missing, next_ or "the end of the file", line)
        row = tuple(self._row) if self._row is not None and wrong is None else None
        if row is not None and self._plan.loose:
            row = _frozen(self._plan.layout.transaction, row)
        whole = self._plan.whole
        if row is not None and whole and (wrong := self._ledger.prove(row)) is not None:
            wrong.line = self._line_of(wrong.field.partition(".")[0])
            row = None
        position = self._ledger.count(row)
        if not whole:
            row = wrong = None
        unit = Unit(position, self._line, row, wrong, partial(_raw, self._held, self._encoding), self._name, self._around)
        if position == self._skim:
            self._plan = self._plan.proof
        self._row = self._wrong = None
        self._held, self._cut, self._line = [], False, 0
        self._last = self._plan.kinds[self._plan.layout.transaction.name]
        self._allowed = self._plan.between if not self._ends else _NEVER
        return unit

    def _around(self) -> tuple[bytes, bytes]:
        return (_raw(self._heading, self._encoding) if self._heading else b""), b""

    def _line_of(self, record: str) -> int:
        line = self._line
        for text in self._held:
            if self._plan.name(text if self._plan.fixed else text.split(self._plan.layout.file.delimiter, 1)) == record:
                return line
            line += 1 + text.count("\n")
        return self._line

    def _finish(self) -> Unit | None:
        unit = None
        if self._row is not None or self._wrong is not None:
            unit = self._close("", 0)
            if unit.wrong is not None and not unit.wrong.line:
                unit.wrong.line = unit.line
        lacking = [t.name for t in self._plan.layout.trailers if t.needed and t.name not in self._ends]
        if not self._headers and any(h.needed for h in self._plan.layout.headers):
            raise Refuse("the file has no header")
        if lacking and not self._damage:
            self._damage = f"the file ends without its trailer {lacking[0]}: it is cut off, or still being written"
        return unit


def _frozen(record: Record, row: Sequence[Any]) -> tuple[Any, ...]:
    made = list(row)
    for child in record.children:
        below = made[child.index]
        if child.repeated:
            made[child.index] = [_frozen(child, r) for r in below]
        elif below is not None:
            made[child.index] = _frozen(child, below)
    return tuple(made)


def _raw(held: list[str], encoding: str) -> bytes:
    return ("\n".join(held) + "\n").encode(encoding, "surrogateescape")[:MOST_RAW]
