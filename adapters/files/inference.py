"""Layouts guessed from a sample interchange (X12, EDIFACT) or a table under column names: what was seen, as the standards name it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from adapters.files.formats.columns import encoding_of
from adapters.files.formats.interchange import BLANK, Interchanges
from adapters.files.parsing import Refuse
from adapters.files.values import shown
from mappings.language.toml_text import comment, toml_key, toml_string

SEGMENTS: Final = 20_000
ELEMENTS: Final = 40
_ITEMS: Final = {"x12": ("PO1", "IT1", "LIN", "G83", "AK2"), "edifact": ("LIN",)}
"""Segments that begin a line of a message: what follows hangs under it, up to the summary."""
_SUMMARY: Final = {"x12": ("CTT", "TDS", "LE", "G84", "AK9"), "edifact": ("UNS", "CNT")}
_AROUND_ITEMS: Final = {"x12": (), "edifact": ("LOC", "PGI", "CPS")}
"""Loops that hold lines, where they stand right before one."""
_BELOW: Final = {
    "x12": {
        "N1": ("N2", "N3", "N4", "PER", "REF"), "N9": ("MSG",), "ZA": ("SDQ", "DTM"), "ACK": ("DTM",), "CTT": ("AMT",), "G83": ("G72",),
        "AK2": ("AK3", "AK5"), "AK3": ("AK4",),
    },
    "edifact": {
        "NAD": ("RFF", "CTA", "COM", "LOC"), "RFF": ("DTM",), "CTA": ("COM",), "CUX": ("DTM",), "QTY": ("DTM", "LOC"), "TAX": ("MOA",),
        "PRI": ("RNG", "CUX", "DTM"), "ALC": ("PCD", "MOA", "RNG", "QTY"), "PAC": ("MEA", "PCI", "GIN"), "LOC": ("DTM",), "PCD": ("RNG",),
    },
}  # fmt: skip
_PAIRS: Final = {"PO1": 6, "IT1": 6, "LIN": 2, "SDQ": 3}
"""X12: from which element on qualifiers and numbers come in pairs."""
_TAG: Final = re.compile("[A-Z][A-Z0-9]{1,2}")
_DTM: Final = {"101", "102", "201", "202", "203", "204"}
_WHOSE: Final = re.compile(
    r"(?i)^(business|trans(action)?|sales?|pos)?[ _-]*"
    r"(store|shop|branch|site|outlet|filiale|register|till|kasse|terminal|workstation|lane|date|day)[ _-]*(id|no|num|nr|number|code)?$"
)
"""Columns that a number of a receipt begins anew for."""
_TOGETHER: Final = re.compile(
    r"(?i)(po|order|receipt|transaction|invoice|bon|beleg|ticket|document|sequence)[ _-]?(id|no|num|nr|number|key)?$"
)

_OF_A_LINE: Final = re.compile(
    r"(?i)(^|[ _-])(qty|quantity|menge|anzahl|quantidade|cantidad"
    r"|unit[ _-]?price|sku|plu|ean|gtin|upc|barcode|item|article|artikel)([ _-]|$)"
)
"""Columns of a line, though a sample may show them equal in every line of its receipts."""

Typed = Callable[[str, Sequence[str]], str]
Named = Callable[[Sequence[Sequence[str]]], list[str]]


@dataclass(slots=True, eq=False)
class Seen:
    """A kind of segment in its place. `rows`: elements of each; `most`: how many there were under one of those above."""

    name: str
    tag: str
    above: Seen | None
    level: str = ""
    children: list[Seen] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    most: int = 0


def edi_format(raw: bytes) -> str:
    """`x12`, `edifact`, or nothing."""
    head = raw[:400].removeprefix(b"\xef\xbb\xbf").lstrip()
    if re.match(rb"ISA[^A-Za-z0-9 ]|DXS[^A-Za-z0-9 ]|GS\*[A-Z]{2}\*", head):
        return "x12"
    return "edifact" if re.match(rb"UNA.{6}\s*UNB|UNB[^A-Za-z0-9 ]UNO[A-Z]", head, re.DOTALL) else ""


def interchange(raw: bytes, format: str, pattern: str, sample: str, named: Named, typed: Typed) -> str:
    """The text of a layout. Raises Refuse for what is no interchange, ValueError where it holds no message."""
    messages, component = _messages(raw, format)
    if not messages:
        raise ValueError("the interchange holds no message")
    kinds = Counter(kind for kind, _ in messages)
    kind, _ = kinds.most_common(1)[0]
    opening = "ST" if format == "x12" else "UNH"
    top = Seen(opening, opening, None)
    for other, segments in messages:
        if other == kind:
            _grow(top, segments, format)
    names: set[str] = set()
    _name(top, names)
    out = [
        f"# {'X12' if format == 'x12' else 'EDIFACT'} {comment(kind)}, inferred from one sample, {comment(sample)}:",
        "# what it did not show cannot stand here.",
        *([f"# It holds other messages too: {', '.join(comment(k) for k in kinds if k != kind)}."] if len(kinds) > 1 else []),
        "", "[file]", f"name        = {toml_string(pattern)}", f'format      = "{format}"', f'transaction = "{opening}"',
        'incomplete  = "refuse_file"', 'control     = "refuse"', "", '[record."*"]', 'unknown = "bad"', "",
    ]  # fmt: skip
    envelopes = (("ISA", "6", "8", "13"), ("GS", "2", "3", "6")) if format == "x12" else (("UNB", "2.1", "3.1", "5"),)
    if format == "x12" and raw.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"DXS"):
        envelopes = (("DXS", "1", "5", "4"),)
    for tag, sender, receiver, control in envelopes:
        rows = [
            f'{{ name = "{n}", type = "string", at = "{at}" }}'
            for n, at in zip(("sender", "receiver", "control"), (sender, receiver, control), strict=True)
        ]
        out += [f"[record.{tag}]", 'role   = "file_header"', 'occurs = "1"', f"fields = [{', '.join(rows)}]", ""]
    for seen in _all(top):
        out += _record(seen, kind, format, component, named, typed)
    return "\n".join(out).rstrip("\n") + "\n"


def first_message(raw: bytes, format: str) -> str:
    """Its kind, such as 850 or INVRPT, from the beginning of an interchange; empty where none begins. Raises Refuse."""
    for syntax, texts, _ in Interchanges(io.BytesIO(raw), format, "utf-8", 65_536).blocks():
        for text in texts:
            elements = text.strip(BLANK).split(syntax.element)
            if elements[0] in ("ST", "UNH"):
                return _kind(elements, format, syntax.component or "\0")
    return ""


def _kind(opening: Sequence[str], format: str, component: str) -> str:
    at = opening[1:2] if format == "x12" else opening[2:3]
    return (at or [""])[0].split(component)[0][:20]


def _messages(raw: bytes, format: str) -> tuple[list[tuple[str, list[list[str]]]], str]:
    opening, closing = ("ST", "SE") if format == "x12" else ("UNH", "UNT")
    found: list[tuple[str, list[list[str]]]] = []
    current: list[list[str]] | None = None
    component, count = "", 0
    for syntax, texts, _ in Interchanges(io.BytesIO(raw), format, "utf-8", 65_536).blocks():
        component = syntax.component or "\0"
        for text in texts:
            elements = [syntax.plain(e) if not e.isascii() else e for e in text.strip(BLANK).split(syntax.element)]
            count += 1
            if elements[0] == opening:
                current = [elements]
                found.append((_kind(elements, format, component), current))
            elif elements[0] == closing:
                current = None
            elif current is not None and not _TAG.fullmatch(elements[0]):
                raise Refuse(f"segment {count}: expected a segment, got {shown(elements[0])}")
            elif current is not None:
                current.append(elements)
        if count > SEGMENTS:
            break
    return found, component


@dataclass(slots=True, eq=False)
class Node:
    """One segment in its place."""

    elements: list[str]
    above: Node | None = None
    children: list[Node] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, str]:
        level = self.elements[3] if self.elements[0] == "HL" and len(self.elements) > 3 else ""
        return self.elements[0], level


def _grow(top: Seen, segments: Sequence[list[str]], format: str) -> None:
    """Adds one message to what was seen."""
    root = here = Node(segments[0])
    numbers: dict[str, Node] = {}
    for at, elements in enumerate(segments[1:], 1):
        if elements[0] == "HL" and format == "x12":
            parent = numbers.get(elements[2] if len(elements) > 2 else "", root)
        else:
            parent = _parent(here, elements[0], segments[at + 1][0] if at + 1 < len(segments) else "", format)
        here = Node(elements, parent)
        parent.children.append(here)
        if elements[0] == "HL" and len(elements) > 1:
            numbers[elements[1]] = here
    _merge(top, root)


def _merge(seen: Seen, node: Node) -> None:
    seen.rows.append(node.elements)
    keys = [child.key for child in node.children]
    known = [(c.tag, c.level) for c in seen.children]
    for at, key in enumerate(keys):
        if key not in known:
            before = next((known.index(k) for k in keys[at + 1 :] if k in known), len(known))
            known.insert(before, key)
            seen.children.insert(before, Seen("", key[0], seen, key[1]))
    for child, (tag, level) in zip(node.children, keys, strict=True):
        below = next(c for c in seen.children if (c.tag, c.level) == (tag, level))
        below.most = max(below.most, keys.count((tag, level)))
        _merge(below, child)


def _parent(here: Node, tag: str, following: str, format: str) -> Node:
    """Where a segment hangs: under the innermost one that holds such segments."""
    items, around, below = _ITEMS[format], _AROUND_ITEMS[format], _BELOW[format]
    path = [here]
    while path[-1].above is not None:
        path.append(path[-1].above)
    top = path[-1]
    if tag in _SUMMARY[format] or tag in ("CPS", "PGI") or (tag in around and following in (*items, "DTM")):
        return top
    for node in path:
        name = node.elements[0]
        if tag in below.get(name, ()):
            return node
        if tag in items:
            if name in around or name == "HL":
                return node
        elif name in {*items, "HL", "CPS"}:
            return node
    return top


def _name(seen: Seen, names: set[str]) -> None:
    base = f"{seen.tag}_{re.sub('[^A-Za-z0-9]', '', seen.level)}" if seen.level else seen.tag
    name = base
    if name in names and seen.above is not None:
        name = f"{seen.above.name}_{base}"
    while name in names:
        name += "_"
    seen.name = name[:38]
    names.add(seen.name)
    for child in seen.children:
        _name(child, names)


def _all(seen: Seen) -> Iterator[Seen]:
    yield seen
    for child in seen.children:
        yield from _all(child)


def _record(seen: Seen, kind: str, format: str, component: str, named: Named, typed: Typed) -> Iterator[str]:
    yield f"[record.{toml_key(seen.name)}]"
    if seen.above is None:
        yield 'role    = "transaction"'
        yield f'when    = {{ "{"1" if format == "x12" else "2.1"}" = [{toml_string(kind)}] }}'
        yield 'occurs  = "0..n"'
    else:
        yield f'role    = "detail"\nparent  = {toml_string(seen.above.name)}'
        if seen.name != seen.tag:
            yield f'segment = "{seen.tag}"'
        if seen.level:
            yield f'when    = {{ "3" = [{toml_string(seen.level)}] }}\nid      = 1\nof      = 2'
        yield f'occurs  = "{"0..n" if seen.most > 1 or seen.level else "0..1"}"'
    pairs = _PAIRS.get(seen.tag, 0) if format == "x12" else 0
    places = [p for p in _places(seen.rows, component, format) if not pairs or p[0] < pairs]
    if format == "edifact" and seen.tag == "DTM" and all(_code(r, component) in _DTM for r in seen.rows):
        yield 'fields  = [\n  { name = "qualifier", type = "string", at = "1.1" },'
        yield '  { name = "at", type = "datetime", format = "dtm", zone = "store", at = "1" },\n]'
    else:
        columns = [[_cell(r, e, c, component) for r in seen.rows] for e, c in places]
        yield "fields  = ["
        for (element, part), name, values in zip(places, named(columns), columns, strict=True):
            place = f"{element}.{part}" if part else str(element)
            called = (
                f"e{place.replace('.', '_')}"
                if name.startswith("field_")
                else f"{name}_{place.replace('.', '_')}"
                if name[-1:].isdigit()
                else name
            )
            said = (
                typed(called, values)
                .replace('type = "integer", digits = 12', 'type = "decimal", digits = 18')
                .replace(', sign = "leading"', "")
            )
            shown = " | ".join(dict.fromkeys(comment(v)[:20] for v in values[:50] if v))[:60]
            yield f"  {{ name = {toml_string(called)}, {said}, at = {json.dumps(place)} }}," + (
                f"  # {shown}" if shown and len(set(values)) < 5 else ""
            )
        yield "]"
    if pairs and any(len(r) > pairs for r in seen.rows):
        yield f'\n[record.{toml_key(seen.name)}_ids]\nrole    = "detail"\nparent  = {toml_string(seen.name)}'
        yield f'segment = "{seen.tag}"\nfirst   = {pairs}\neach    = 2'
        yield 'occurs  = "0..n"\nfields  = [{ name = "qualifier", type = "string", at = "1" }, { name = "id", type = "string", at = "2" }]'
    yield ""


def _places(rows: Sequence[Sequence[str]], component: str, format: str) -> list[tuple[int, int]]:
    """Elements that hold something, by component where there is more than one."""
    found: list[tuple[int, int]] = []
    for element in range(1, min(ELEMENTS, max(map(len, rows)))):
        texts = [r[element] for r in rows if element < len(r) and r[element]]
        parts = max((t.count(component) for t in texts), default=0) + 1
        if not texts:
            continue
        if parts == 1:
            found.append((element, 1 if format == "edifact" else 0))
        else:
            found += [
                (element, c) for c in range(1, min(parts, 20) + 1) if any(t.split(component)[c - 1 : c] not in ([], [""]) for t in texts)
            ]
    return found


def _cell(row: Sequence[str], element: int, part: int, component: str) -> str:
    text = row[element] if element < len(row) else ""
    return text if not part else (text.split(component)[part - 1 : part] or [""])[0]


def _code(row: Sequence[str], component: str) -> str:
    return _cell(row, 1, 3, component)


# ---- tables under column names --------------------------------------------------------------------------------------


def headed(lines: Sequence[str], delimiter: str) -> bool:
    """Whether the first line names the columns of the others."""
    try:
        names, *rows = [next(csv.reader([line], delimiter=delimiter)) for line in lines[:50]]
    except csv.Error:
        return False
    plain = all(re.fullmatch(r"[^\W\d][\w .()/#%-]{0,60}", n.strip()) for n in names) and len({n.strip() for n in names}) == len(names)
    return plain and bool(rows) and all(len(r) <= len(names) for r in rows) and any(re.search(r"\d", c) for r in rows for c in r)


def table(raw: bytes, delimiter: str, pattern: str, sample: str, typed: Typed) -> str:
    """The text of a layout: what is the same in all rows of a key belongs to the transaction, the rest to its lines. Raises csv.Error."""
    encoding, skip = encoding_of(raw, "auto")
    text = raw[skip:].decode(encoding, "replace")
    names, *rows = [r for r in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(r)][:SEGMENTS]
    names = [n.strip() for n in names]
    columns = {n: [r[at].strip() if at < len(r) else "" for r in rows] for at, n in enumerate(names)}
    key = next((n for n in names if _TOGETHER.search(n) and len(set(columns[n])) < len(rows)), "")
    same = [n for n in names if key and (n == key or not _OF_A_LINE.search(n)) and _constant(columns[key], columns[n])]
    keys = [n for n in same if n == key or _WHOSE.search(n)]
    out = [
        f"# Inferred from one sample, {comment(sample)}: what it did not show cannot stand here.",
        "", "[file]", f"name        = {toml_string(pattern)}", 'format      = "delimited"', f"delimiter   = {json.dumps(delimiter)}",
        "quote       = '\"'",
        'encoding    = "auto"', "columns     = true", *([f"key         = [{', '.join(map(toml_string, keys))}]"] if key else []),
        'transaction = "document"' if key else 'transaction = "row"', 'incomplete  = "refuse_file"', "",
    ]  # fmt: skip

    def fields(chosen: Sequence[str]) -> Iterator[str]:
        yield "fields = ["
        taken: set[str] = set()
        for column in chosen:
            name = re.sub(r"\W", "_", column.lower())[:38].strip("_") or "column"
            while name in taken or not name[:1].isalpha():
                name = f"c_{name}"[:39]
            taken.add(name)
            yield f"  {{ name = {toml_string(name)}, {typed(column, columns[column])}, column = {toml_string(column)} }},"
        yield "]"

    if not key:
        return "\n".join([*out, "[record.row]", 'role   = "transaction"', 'occurs = "0..n"', *fields(names), ""])
    lines = [n for n in names if n not in same]
    out += ["[record.document]", 'role   = "transaction"', 'occurs = "0..n"', *fields(same), ""]
    return "\n".join([*out, "[record.line]", 'role   = "detail"', 'parent = "document"', 'occurs = "1..n"', *fields(lines), ""])


def _constant(keys: Sequence[str], values: Sequence[str]) -> bool:
    """Whether a column has one value for each key."""
    seen: dict[str, str] = {}
    return all(seen.setdefault(k, v) == v for k, v in zip(keys, values, strict=True))
