"""A record as people see and edit it: its bytes as text, its fields by name as the layout knows them, personal ones masked."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lxml import etree

from adapters.files.formats import columns, xml
from adapters.files.layout import FieldRule, Layout

MASK: Final = "•••"
MOST_ROWS: Final = 500
Around = tuple[bytes, bytes]
ALONE: Final[Around] = (b"", b"")
_ESCAPED: Final = re.compile(r"\\x([0-9a-f]{2})|\\u([0-9a-f]{4})")
_PROLOG: Final = re.compile(r"\A\ufeff?(?:<\?xml[^>]*>)?")
_HIDDEN: Final = re.compile(r"\\(?=x[0-9a-f]{2}|u[0-9a-f]{4})|[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\ufeff]")


@dataclass(frozen=True, slots=True)
class Cell:
    """`says`: what a code means in plain words."""

    name: str
    value: str
    says: str = ""
    personal: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One row or element. `record` is empty for one that the layout does not know."""

    record: str
    cells: tuple[Cell, ...]


def text_of(raw: bytes, encoding: str) -> str:
    r"""Line ends as \n; a byte that is no text in this encoding and a character that cannot be seen as \xNN or \uNNNN, as is a backslash
    that could be taken for the beginning of one. `bytes_of` turns it back to the same bytes.
    """
    encoding = _told(raw, encoding)
    text = raw.decode(encoding, "replace" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape")
    if _same_ends(text):
        text = text.replace("\r\n", "\n")
    return _HIDDEN.sub(lambda found: _escape(found[0]), text)


def _same_ends(text: str) -> bool:
    """Whether each line ends in the two characters; where ends are mixed, the first of the two is seen."""
    return 0 < text.count("\r\n") == text.count("\n")


def encoding_of(layout: Layout, around: Around) -> str:
    """Of a record: what the document that it stood in says, else the layout."""
    encoding = layout.file.encoding
    return xml.encoding_of(around[0], encoding, believe=True)[0] if layout.file.format == "xml" else encoding


def _told(raw: bytes, encoding: str) -> str:
    """Of a record whose file tells its own: what the record by itself would be read in."""
    return columns.encoding_of(raw, encoding)[0] if encoding == "auto" else encoding


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"


def bytes_of(text: str, like: bytes, encoding: str) -> bytes:
    r"""With line ends as `like` has them: forms of browsers turn every one to \r\n. Raises ValueError for what this encoding cannot say."""

    def plain(found: re.Match[str]) -> str:
        code = int(found[1] or found[2], 16)
        return chr(0xDC00 + code) if found[1] and code >= 0x80 else chr(code)

    encoding = _told(like, encoding)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if _same_ends(like.decode(encoding, "replace")):
        text = text.replace("\n", "\r\n")
    return _ESCAPED.sub(plain, text).encode(encoding, "surrogateescape")


def editable(raw: bytes, encoding: str) -> bool:
    """Whether it comes back the same: not what is no text in this encoding, or was cut."""
    try:
        return bytes_of(text_of(raw, encoding), raw, encoding) == raw
    except ValueError:
        return False


def personal(layout: Layout) -> frozenset[str]:
    """`RECORD.field` of those that are masked."""
    return frozenset(f"{record.name}.{f.name}" for record in layout.records.values() for f in record.fields if f.personal)


def masked(layout: Layout, raw: bytes, around: Around = ALONE) -> str | None:
    """The text without what is personal; None where that cannot be told apart."""
    encoding = encoding_of(layout, around)
    if not personal(layout):
        return text_of(raw, encoding)
    if layout.file.format == "xml":
        try:
            element = _parsed(raw, encoding, around)
        except ValueError:
            return None
        names = _personal_names(layout)
        for part in [*element.iter(etree.Element)]:
            whole = _local(part.tag) in names
            if whole and "".join(part.itertext()).strip():
                part[:] = []
                part.text = MASK
            for name in part.attrib:
                if whole or _local(name) in names:
                    part.set(name, MASK)
        return etree.tostring(element, encoding="unicode", with_tail=False)
    if layout.file.format not in ("delimited", "fixed"):
        return None
    if layout.file.quote and layout.file.quote in text_of(raw, encoding):
        return None  # a stray quote may put any text into any field
    lines = []
    for line in text_of(raw, encoding).split("\n"):
        name, values = _split(layout, line)
        record = layout.records.get(name)
        if record is None:
            if line.strip():
                return None
        else:
            for f, (start, end) in zip(reversed(record.fields), reversed(_places(layout, line, values, record.fields)), strict=True):
                if f.personal and line[start:end].strip():
                    line = line[:start] + MASK + line[end:]  # from its end to its beginning, so that places hold
        lines.append(line)
    return "\n".join(lines)


def rows(layout: Layout, raw: bytes, around: Around = ALONE) -> list[Row]:
    """As far as it can be taken apart, without a check; at most MOST_ROWS."""
    encoding = encoding_of(layout, around)
    if layout.file.format == "xml":
        try:
            return [*_elements(layout, _parsed(raw, encoding, around))][:MOST_ROWS]
        except ValueError:
            return []
    if layout.file.format not in ("delimited", "fixed"):
        return []
    found = []
    for line in text_of(raw, encoding).split("\n")[:MOST_ROWS]:
        if not line.strip():
            continue
        name, values = _split(layout, line)
        record = layout.records.get(name)
        if record is None:
            found.append(Row("", (Cell("", line),)))
            continue
        if layout.file.format == "fixed":
            values = [line[start:end] for start, end in _places(layout, line, values, record.fields)]
        cells = [_cell(f, values[at] if at < len(values) else "") for at, f in enumerate(record.fields)]
        cells += [Cell(f"field {at + 1}", value) for at, value in enumerate(values) if at >= len(record.fields)]
        found.append(Row(name, tuple(cells)))
    return found


def _cell(rule: FieldRule, value: str) -> Cell:
    shown = value.strip()
    says = rule.values.get(shown) or (", ".join(rule.values.get(c, c) for c in shown) if rule.type == "flags" else "")
    return Cell(rule.name, shown, says, rule.personal)


def _split(layout: Layout, line: str) -> tuple[str, list[str]]:
    """What kind of row it says it is, and its fields, as far as they are delimited."""
    file = layout.file
    if file.format == "fixed":
        start = (file.record_type.start or 1) - 1
        return line[start : start + (file.record_type.width or 0)].strip(), []
    try:
        values = next(csv.reader([line], delimiter=file.delimiter or ";", quotechar=file.quote or None, quoting=_quoting(file.quote)), [""])
    except csv.Error:
        values = line.split(file.delimiter or ";")
    return (values[0], values[1:]) if values else ("", [])


def _quoting(quote: str | None) -> Any:
    return csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE


def _places(layout: Layout, line: str, values: list[str], fields: tuple[FieldRule, ...]) -> list[tuple[int, int]]:
    """Where each field stands in the line."""
    if layout.file.format == "fixed":
        return [((f.start or 1) - 1, (f.start or 1) - 1 + (f.width or 0)) for f in fields]
    delimiter, places, at = layout.file.delimiter or ";", [], 0
    for part in line.split(delimiter):
        places.append((at, at + len(part)))
        at += len(part) + len(delimiter)
    return [places[n + 1] if n + 1 < len(places) else (len(line), len(line)) for n in range(len(fields))]


def _parsed(raw: bytes, encoding: str, around: Around) -> Any:
    """Without comments, which may say anything. Raises ValueError when it is not one element in those that it stood in."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    before, text, behind = (part.decode(encoding) for part in (around[0], raw, around[1]))
    before = _PROLOG.sub("", before)
    try:
        element = etree.fromstring(before + (text if before else _PROLOG.sub("", text)) + behind, parser)
    except etree.XMLSyntaxError as error:
        raise ValueError(str(error)) from error
    for _ in range(before.count("<")):
        (element,) = element
    return element


def _local(name: Any) -> str:
    return str(name).rpartition("}")[2]


def _personal_names(layout: Layout) -> frozenset[str]:
    """Last steps of their paths: an element of this name is masked wherever it stands, with all that is in it."""
    return frozenset(
        name.strip()
        for record in layout.records.values()
        for f in record.fields
        if f.personal
        for name in re.split(r"[|]", (f.path or "").rpartition("/")[2].partition("[")[0].removeprefix("@"))
    )


def _elements(layout: Layout, element: Any) -> Iterator[Row]:
    """Elements that hold elements, each with what stands in it directly."""
    names, says = _personal_names(layout), _codes(layout)
    for part in element.iter(etree.Element):
        if not len(part) and part is not element:
            continue
        whole = any(_local(each.tag) in names for each in (part, *part.iterancestors(etree.Element)))
        cells = [Cell(f"@{_local(k)}", v, says.get(v, ""), whole or _local(k) in names) for k, v in part.attrib.items()]
        for child in part.iterchildren(etree.Element):
            if not len(child) and (text := (child.text or "").strip()):
                name, veiled = _local(child.tag), whole or _local(child.tag) in names
                cells.append(Cell(name, text, says.get(text, ""), veiled))
                cells += [Cell(f"{name}@{_local(k)}", v, "", veiled or _local(k) in names) for k, v in child.attrib.items()]
        if cells:
            yield Row(_local(part.tag), tuple(cells))


def _codes(layout: Layout) -> Mapping[str, str]:
    return {code: says for record in layout.records.values() for f in record.fields for code, says in f.values.items() if says != code}
