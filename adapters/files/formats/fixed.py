"""Records of a fixed length in bytes, as mainframes write them: any code page, zoned and packed decimals, binary integers, no line ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import BinaryIO, Final

from msgspec.structs import replace

from adapters.files.formats.delimited import Plan
from adapters.files.formats.padding import MOST_PADDING, PADS, told
from adapters.files.formats.reshaped import ReshapedParser, Rewritten, as_rows, row
from adapters.files.layout import FieldRule, Layout
from adapters.files.parsing import Parser

BLOCK: Final = 262_144
_MINUS: Final = frozenset({0xB, 0xD})
_SIGNS: Final = frozenset(range(0xA, 0x10))
Cell = Callable[[bytes], str]


def parsing(layout: Layout) -> Callable[[int | None], Parser]:
    plan = Plan(as_rows(layout, _as_text))
    return lambda skim: ReshapedParser(plan, Records(layout), skim)


def _as_text(f: FieldRule) -> FieldRule:
    if f.stored == "text":
        return f
    return replace(f, stored="text", sign="leading", pad=None)


class Records:
    """Bytes to rows of text. What is no number keeps its bytes, as X'…', so that whoever reads it can say what came."""

    def __init__(self, layout: Layout) -> None:
        file = layout.file
        self.damage, self.findings = "", list[str]()
        self._length, self._encoding = file.record_length or 1, file.encoding
        self._start = (file.record_type.start or 1) - 1
        self._stop = self._start + (file.record_type.width or 0)
        self._only = "" if file.record_type.width else layout.transaction.name
        self._cells = {
            record.name: [((f.start or 1) - 1, (f.start or 1) - 1 + (f.width or 0), _cell(f, file.encoding)) for f in record.fields]
            for record in layout.records.values()
        }

    def rows(self, source: BinaryIO) -> Iterator[Rewritten]:
        length, rest, number, padding = self._length, b"", 0, list[bytes]()
        while block := source.read(BLOCK):
            block = rest + block
            whole = len(block) - len(block) % length
            for at in range(0, whole, length):
                record = block[at : at + length]
                if not self._only and not record.strip(PADS) and len(padding) * length < MOST_PADDING:
                    padding.append(record)
                    continue
                for each in (*padding, record):
                    number += 1
                    yield Rewritten((self._row(each),), each, number)
                padding.clear()
            rest = block[whole:]
        if rest.strip(b"\0\x1a\r\n"):
            for each in padding:
                number += 1
                yield Rewritten((self._row(each),), each, number)
            self.damage = f"record {number + 1} has {len(rest)} of {length} bytes: the file is cut off, or its records have another length"
        elif left_out := len(padding) * length + len(rest.strip(b"\r\n")):
            self.findings.append(told(left_out))

    def _row(self, record: bytes) -> str:
        name = self._only or record[self._start : self._stop].decode(self._encoding, "replace").strip()
        if (cells := self._cells.get(name)) is None:
            return row("".join(c if c.isprintable() else "?" for c in name) or "?", [])
        return row(name, [cell(record[start:stop]) for start, stop, cell in cells])


def _cell(f: FieldRule, encoding: str) -> Cell:
    match f.stored:
        case "packed":
            return _packed
        case "zoned":
            return partial(_zoned, leading=f.sign == "leading")
        case "binary" | "binary_little":
            return partial(_binary, order="big" if f.stored == "binary" else "little", signed=f.sign != "none")
        case "text":
            return partial(_text, encoding=encoding, number=f.type in ("integer", "decimal"))


def _text(raw: bytes, *, encoding: str, number: bool) -> str:
    """A byte that is no character of the code page stays a byte that nobody reads."""
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        text = raw.decode("ascii", "surrogateescape")
    return text.strip(" \0") if number else text.rstrip(" \0")


def _odd(raw: bytes) -> str:
    return f"X'{raw[:20].hex().upper()}'"


def _blank(raw: bytes) -> bool:
    """Filled with blanks, low or high values: nothing was written."""
    return bool(raw) and len(set(raw)) == 1 and raw[0] in (0x00, 0x40, 0x20, 0xFF)


def _packed(raw: bytes) -> str:
    """COMP-3: two digits a byte, the sign in the last half (D and B are minus)."""
    if _blank(raw):
        return ""
    digits = raw.hex()
    if not digits or not digits[:-1].isdigit() or int(digits[-1], 16) not in _SIGNS:
        return _odd(raw)
    return ("-" if int(digits[-1], 16) in _MINUS else "") + digits[:-1]


def _zoned(raw: bytes, *, leading: bool) -> str:
    """A digit a byte; in the last one (or the first) the upper half is the sign: D and B minus, in ASCII 7."""
    if _blank(raw) and raw[0] != 0:
        return ""
    at = 0 if leading else len(raw) - 1
    digits = [b & 0xF for b in raw]
    zones = {b >> 4 for n, b in enumerate(raw) if n != at}
    zone = raw[at] >> 4 if raw else 0
    if not raw or max(digits) > 9 or not (zones <= {0xF} or zones <= {0x3}) or zone not in {0x3, 0x7, *_SIGNS}:
        return _odd(raw)
    return ("-" if zone in _MINUS or zone == 0x7 else "") + "".join(map(str, digits))


def _binary(raw: bytes, *, order: str, signed: bool) -> str:
    return str(int.from_bytes(raw, "big" if order == "big" else "little", signed=signed))
