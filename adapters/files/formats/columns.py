"""Delimited tables of one kind of row under column names: a transaction is each row, or rows with the same key in sequence."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import BinaryIO, Final

from adapters.files.formats.delimited import Plan
from adapters.files.formats.padding import PADS, Unpadded, told
from adapters.files.formats.reshaped import ReshapedParser, Rewritten, as_rows, misfit, row
from adapters.files.layout import Layout, Record
from adapters.files.parsing import Parser, Refuse
from adapters.files.values import shown

LONGEST: Final = 1_048_576
BLOCK: Final = 65_536
MOST_JOINED: Final = 1000
_CUT: Final = "the file ends within a row: it is cut off, or still being written"
_END: Final = re.compile("\r\n|\r|\n")
_BOMS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def parsing(layout: Layout) -> Callable[[int | None], Parser]:
    rows = as_rows(layout)
    rows.unknown = "bad"
    plan = Plan(rows)
    return lambda skim: ReshapedParser(plan, Columns(layout), skim)


def encoding_of(head: bytes, declared: str) -> tuple[str, int]:
    """The encoding of a file and the length of its byte order mark; a mark decides, then what is declared. `auto`: UTF-8, else cp1252."""
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return encoding, len(bom)
    if declared != "auto":
        return declared, 0
    if len(head) >= 4 and head[1::2].count(0) > len(head) // 3:
        return "utf-16-le", 0
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252", 0
    return "utf-8", 0


class Columns:
    """Rows of a table to rows with a record type."""

    def __init__(self, layout: Layout) -> None:
        self._layout, self._file = layout, layout.file
        self.damage, self.findings = "", list[str]()
        self._details = [r for r in layout.records.values() if r.rule.role == "detail"]

    def rows(self, source: BinaryIO) -> Iterator[Rewritten]:
        lines = _Lines(source, self._file.encoding, min(self._file.max_record, LONGEST))
        quote = self._file.quote
        table = csv.reader(
            lines,
            delimiter=self._file.delimiter,
            quotechar=quote or None,
            quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
            strict=True,
        )
        names: list[str] | None = None
        places: dict[str, list[int]] = {}
        keys: list[int] = []
        before: list[str] | None = None
        first, begun = list[str](), 0
        while True:
            line, wrong = lines.number + 1, ""
            try:
                cells = next(table)
            except StopIteration:
                break
            except csv.Error as error:
                raw = lines.taken()
                if names is None:
                    raise Refuse(f"the line of column names is not read: {error}", line) from error
                if lines.ended:
                    self.damage = _CUT
                wrong, cells = str(error), self._forgiven(raw.decode(lines.encoding, "surrogateescape"))
            else:
                raw = lines.taken()
            if not wrong and not any(c.strip() for c in cells):
                continue
            if names is None:
                names = [c.strip() for c in cells]
                places, keys = self._placed(names, line)
                yield Rewritten((), raw, line)
                continue
            if len(cells) > len(names):
                wrong = wrong or f"{len(cells)} columns under {len(names)} names"
            elif len(cells) < len(names) and lines.ended and lines.open:
                self.damage = _CUT
            known = bool(cells) or before is None
            cells = [c.strip() for c in cells] + [""] * (len(names) - len(cells))
            key = [cells[at] for at in keys] if known else before
            head = [cells[at] if at >= 0 else "" for at in places[self._layout.transaction.name]]
            made = []
            if before is None or key != before or not keys:
                made.append(row(self._layout.transaction.name, head))
                before, first, begun = key, head, line
            elif head != first and not wrong:
                fields = zip(self._layout.transaction.fields, head, first, strict=True)
                other = next((f.column or f.name for f, mine, theirs in fields if mine not in ("", theirs)), "")
                wrong = other and f"another {shown(other)} than line {begun}, with which it has the key in common"
            if wrong:
                made.append(misfit(wrong))
            else:
                made += [row(r.name, [cells[at] if at >= 0 else "" for at in places[r.name]]) for r in self._details]
            yield Rewritten(tuple(made), raw, line)
        if lines.padding:
            self.findings.append(told(lines.padding))
        if names is None:
            raise Refuse("the file is empty, not even a line of column names")

    def _forgiven(self, text: str) -> list[str]:
        """The cells of a row that breaks the rules of quoting, as far as they can be told: whose row it is must not be lost."""
        try:
            return next(csv.reader(io.StringIO(text, newline=""), delimiter=self._file.delimiter, quotechar=self._file.quote or None), [])
        except csv.Error:
            return []

    def _placed(self, names: list[str], line: int) -> tuple[dict[str, list[int]], list[int]]:
        """Where the columns stand. A missing column that something needs refuses the file; others stay empty."""
        twice = next((n for n in names if n and names.count(n) > 1), None)
        if twice is not None:
            raise Refuse(f"two columns are called {shown(twice)}", line)

        def place(record: Record) -> Iterator[int]:
            for f in record.fields:
                column = f.column or f.name
                if column not in names and (f.required or column in self._file.key):
                    raise Refuse(f"expected a column {column}, got {', '.join(names)[:300]}", line)
                yield names.index(column) if column in names else -1

        records = [self._layout.transaction, *self._details]
        found = {record.name: list(place(record)) for record in records}
        declared = {f.column or f.name for record in records for f in record.fields}
        if unknown := [n for n in names if n not in declared]:
            self.findings.append(f"columns that the layout does not declare: {', '.join(unknown)[:300]}")
        return found, [names.index(column) for column in self._file.key]


class _Lines:
    """Lines of text with what they were made of. Lines end with LF, CR LF or CR, mixed as they come."""

    def __init__(self, source: BinaryIO, encoding: str, most: int) -> None:
        head = source.read(BLOCK)
        self.encoding, skip = encoding_of(head.rstrip(PADS), encoding)
        self._source: BinaryIO | Unpadded = source
        if not self.encoding.startswith("utf-16"):
            self._source = Unpadded(source, head)
            head = self._source.read(BLOCK)
        self._decoder = codecs.getincrementaldecoder(self.encoding)(
            "surrogateescape" if not self.encoding.startswith("utf-16") else "replace"
        )
        self._most, self._ended = most, not head
        self._waiting: deque[str] = deque()
        self._rest = ""
        self.open = False
        """Whether the last line has no end."""
        self._split(self._decoder.decode(head[skip:]))
        self.number = 0
        self._given: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        while not self._waiting and not self._ended:
            if len(self._rest) > self._most:
                raise Refuse(f"a line of more than {self._most} characters", self.number + 1)
            block = self._source.read(BLOCK)
            self._ended = not block
            self._split(self._decoder.decode(block, not block))
        if not self._waiting:
            raise StopIteration
        line = self._waiting.popleft()
        self.number += 1
        self._given.append(line)
        if len(self._given) > MOST_JOINED or sum(map(len, self._given)) > self._most:
            raise Refuse(f"a row of more than {self._most} characters or {MOST_JOINED} lines: is a quote left open?", self.number)
        return line

    def _split(self, text: str) -> None:
        text = self._rest + text
        lines = [text[a:b] for a, b in pairwise((0, *(end.end() for end in _END.finditer(text))))]
        if lines and lines[-1].endswith("\r") and not self._ended:
            lines.pop()  # its LF may come
        self._rest = text[sum(map(len, lines)) :]
        self._waiting += lines
        if self._ended and self._rest:
            self._waiting.append(self._rest)
            self._rest, self.open = "", True

    @property
    def padding(self) -> int:
        return self._source.left_out if isinstance(self._source, Unpadded) else 0

    @property
    def ended(self) -> bool:
        """Whether nothing comes behind the row that was given last."""
        return self._ended and not self._waiting

    def taken(self) -> bytes:
        """The bytes of what was given since last time."""
        text, self._given = "".join(self._given), []
        return text.encode(self.encoding, "surrogateescape" if not self.encoding.startswith("utf-16") else "replace")
