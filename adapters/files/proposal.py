"""A layout inferred from a sample file: record types, how they nest, fields and their types. What it cannot say stays a question."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Final

from lxml import etree

from adapters.files import inference, layout
from adapters.files.formats.columns import encoding_of
from adapters.files.formats.reading import parsing
from adapters.files.parsing import Refuse
from adapters.files.standards import Standard, recognised
from adapters.proposal import Proposal, chosen
from contracts.canonical.amounts import CURRENCIES
from contracts.errors import Finding, Findings
from mappings.language.draft.offers import Offer
from mappings.language.likeness import evidence
from mappings.language.shape import Exchange, Message, Record
from mappings.language.toml_text import comment, toml_key, toml_string

MAX_SAMPLE: Final = 64_000_000
ROWS: Final = 20_000
"""Rows that are looked at."""
FIELDS: Final = 200
_DATES: Final = (r"%Y%m%d", r"%Y-%m-%d", r"%d.%m.%Y")
_NAMES: Final = re.compile(r"(?i)(id|code|no|number|nr|ean|gtin|sku)$")
"""Fields whose digits are a name, not a number."""
_PERSONAL: Final = re.compile(r"(?i)operator|cashier|customer|email|phone|person|address")
_WIDE: Final = (b"\xff\xfe", b"\xfe\xff")
"""Byte order marks of UTF-16."""
_PACKED: Final = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"7z\xbc\xaf": "7z", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
_TIMES: Final = (r"%Y%m%d%H%M%S", r"%Y-%m-%d %H:%M:%S")


@dataclass(slots=True)
class _Kind:
    """One kind of row or element. `columns`: the values seen of each field, by its name; `paths` for XML."""

    name: str
    role: str = "detail"
    parent: str = ""
    counts: list[int] = field(default_factory=list)
    columns: dict[str, list[str]] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    path: str = ""
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def occurs(self) -> str:
        if self.role == "transaction":
            return "0..n"
        least, most = (min(self.counts), max(self.counts)) if self.counts else (0, 1)
        return ("1" if most <= 1 else "1..n") if least else ("0..1" if most <= 1 and self.role != "detail" else "0..n")


def propose(system: str, given: Path) -> Proposal:
    """Raises Findings for a sample that no layout can be made of."""
    sample = chosen(given, (".xml", ".csv", ".txt", ".log", ".tlog", ".dat", ".edi", ".x12", ".edifact"), "sample file")
    if sample.suffix == ".toml":
        return _given(system, sample)
    if (size := sample.stat().st_size) > MAX_SAMPLE:
        raise _finding(sample, 1, f"the sample has {size} bytes", f"at most {MAX_SAMPLE} are looked at; cut it")
    raw = sample.read_bytes()
    raw = raw.rstrip(b"\x00\x1a \t\r\n") + b"\n" if raw[-1:] in (b"\x00", b"\x1a") and not raw.startswith(_WIDE) else raw
    if not raw.strip():
        raise _finding(sample, 1, "the sample is empty")
    if packed := next((what for mark, what in _PACKED.items() if raw.startswith(mark)), ""):
        raise _finding(sample, 1, f"the sample is packed ({packed})", "unpack it; feeds read NAME.gz and NAME.zip as they are")
    if raw.startswith(_WIDE) and inference.edi_format(raw.decode("utf-16", "replace")[:400].encode("latin-1", "replace")):
        raise _finding(
            sample, 1, "an interchange in UTF-16: one byte a character is expected", "its sender has to write it in UTF-8 or ISO 8859"
        )
    if bare := re.match(rb"(?:\xef\xbb\xbf)?\s*(?:(ST)[^A-Za-z0-9 ]\d{3}[^A-Za-z0-9 ]|(UNH)\+)", raw):
        said = "ISA and GS in front of ST" if bare[1] else "UNB in front of UNH"
        raise _finding(sample, 1, f"a message without its envelope: expected {said}")
    if (standard := recognised(raw, _pattern(sample.name))) is not None:
        return _of_standard(system, sample, raw, standard)
    if (inferred := _partner(sample, raw)) is not None:
        return _of_text(system, sample, raw, *inferred)
    encoding = _encoding(raw)
    head, kinds = _xml(sample, raw) if raw.lstrip().startswith((b"<", b"\xef\xbb\xbf<")) else _rows(sample, raw.decode(encoding, "replace"))
    name = re.sub(r"[^a-z]+", "_", sample.stem.lower())[:30].strip("_") or "feed"
    text = _written(sample, {**head, "encoding": encoding}, kinds)
    made = layout.parse(text, f"{name}.toml", name)
    questions = [
        f"[file] name in {name}.toml: is {_pattern(sample.name)!r} the pattern of every file, and what do its numbers mean?",
        f"{name}.toml: fields that are called field_N have no name in the sample; give them one",
        f"{name}.toml: which totals prove a file? write a [[check]] for each",
        *_proven(made, raw, sample.name),
    ]
    if head["format"] != "xml":
        questions[1:1] = [f"{name}.toml: {made.transaction.name} begins a transaction, is it so? occurs is what this one sample showed"]
    else:
        del questions[1]
    feed = f"{system}.{name}"
    message = Message(feed, made.message.form, made.message.root, made.message.source)
    seen = {(*_at(kinds, k), column): values[:200] for k in kinds for column, values in k.columns.items()}
    offer = Offer(name, lambda: Exchange(name, None, message))
    questions += _commas(seen)
    return Proposal("files", {f"{name}.toml": text.encode()}, f"{name}.toml", [offer], questions=questions, samples={name: seen})


def _of_standard(system: str, sample: Path, raw: bytes, standard: Standard) -> Proposal:
    name, text, mappings = standard
    made = layout.parse(text, f"{name}.toml", name)
    message = Message(f"{system}.{name}", made.message.form, made.message.root, made.message.source)
    questions = [f"[file] name in {name}.toml: is {_pattern(sample.name)!r} the pattern of every file, and what do its numbers mean?"]
    if made.dialect:
        questions.append(f"[dialect] in {name}.toml: which of these does the vendor write? Transactions of another dialect do not add up")
    return Proposal(
        "files",
        {f"{name}.toml": text.encode()},
        f"{name}.toml",
        [Offer(name, lambda: Exchange(name, None, message))],
        questions=[*questions, *_proven(made, raw, sample.name)],
        ready={c: re.sub(r"(?m)^source = .*$", f'source = "{system}.{name}"', mapping, count=1) for c, mapping in mappings.items()},
        feeds=next(iter(mappings)),
    )


def infer(sample: Path) -> layout.Layout:
    """The layout of a sample, as far as it shows one. Raises Findings."""
    proposal = propose("sample", sample)
    return layout.parse(proposal.files[proposal.main].decode(), proposal.main, proposal.main.removesuffix(".toml"))


def _partner(sample: Path, raw: bytes) -> tuple[str, str] | None:
    """Text and name of the layout of an interchange, or of a table under column names."""
    if form := inference.edi_format(raw):
        try:
            text = inference.interchange(raw, form, _pattern(sample.name), sample.name, _named, _typed)
        except (Refuse, ValueError) as exc:
            raise _finding(sample, getattr(exc, "line", 1) or 1, f"no {form.upper()} interchange that can be read: {exc}") from exc
        kind = re.search(r"^# \S+ (\S+),", text)
        return text, re.sub(r"[^a-z0-9]+", "_", f"{form}_{kind[1] if kind else ''}".lower())[:30].strip("_")
    if raw.lstrip().startswith((b"<", b"\xef\xbb\xbf<")):
        return None
    encoding, skip = encoding_of(raw[:65_536], "auto")
    lines = [line for line in raw[skip:].decode(encoding, "replace").splitlines()[:ROWS] if line.strip()]
    delimiter = _delimiter(lines[:200])
    if delimiter is not None and len(lines) == 1 and not re.search(r"\d", lines[0]):
        raise _finding(sample, 1, "column names and no row below them: nothing shows what they hold", "take a sample with some rows")
    if delimiter is None or not inference.headed(lines, delimiter):
        return None
    try:
        text = inference.table(raw, delimiter, _pattern(sample.name), sample.name, _typed)
    except csv.Error as exc:
        raise _finding(sample, 1, f"not a table of fields between {delimiter!r}: {exc}", "is it the right file?") from exc
    return text, re.sub(r"[^a-z]+", "_", sample.stem.lower())[:30].strip("_") or "feed"


def _of_text(system: str, sample: Path, raw: bytes, text: str, name: str) -> Proposal:
    made = layout.parse(text, f"{name}.toml", name)
    questions = [
        f"[file] name in {name}.toml: is {_pattern(sample.name)!r} the pattern of every file, and what do its numbers mean?",
        f"{name}.toml: {made.transaction.name} is one transaction, is it so? occurs is what this one sample showed",
        f"{name}.toml: which totals prove a file? write a [[check]] for each",
        *_proven(made, raw, sample.name),
    ]
    if made.edi:
        booked = "of sales, of what moves stock, or of what there is (--capability sale.feed, movement.feed, level.feed)"
        questions.append(f"{name}: is it {booked}? Nothing else is booked")
    message = Message(f"{system}.{name}", made.message.form, made.message.root, made.message.source)
    seen: dict[tuple[str, ...], list[str]] = {}
    with suppress(Refuse):
        for unit in islice(parsing(made)(None).units(io.BytesIO(raw), sample.name, {}), 200):
            if unit.row is not None:
                _collect(made.message.root, unit.row, (), seen)
    samples = {name: {path: values[:200] for path, values in seen.items()}}
    questions += _commas(seen)
    return Proposal(
        "files",
        {f"{name}.toml": text.encode()},
        f"{name}.toml",
        [Offer(name, lambda: Exchange(name, None, message))],
        questions=questions,
        samples=samples,
        feeds="" if made.edi else "sale.feed",
    )


def _commas(seen: Mapping[tuple[str, ...], Sequence[str]]) -> Iterator[str]:
    """About numbers that a layout cannot read as such."""
    for path, values in seen.items():
        real = [value for value in values if value]
        field = path[-1]
        if real and all(re.fullmatch(r"[-+]?[$€£¥][-+]?[\d.,]{1,20}", value) for value in real):
            point = "','" if re.search(r",\d{1,2}$", real[0]) else "'.'"
            yield f"{field} has a currency sign, as in {real[0]}: write {field} | priced({point}, currency='USD'), or which it is"
        if any("," in value for value in real) and all(re.fullmatch(r"[-+]?\d{1,12}(,\d{1,6})?", value) for value in real):
            yield f"{field} has a decimal comma, as in {real[0]}? The layout keeps it a text: write {field} | number(',') in the mapping"


def _collect(record: Record, row: Sequence[Any], path: tuple[str, ...], seen: dict[tuple[str, ...], list[str]]) -> None:
    """Values of a row by the path of their field."""
    for f, value in zip(record.fields, row, strict=False):
        here = (*path, f.name)
        if not isinstance(f.shape, Record):
            if value is not None:
                seen.setdefault(here, []).append(str(value))
        elif value is not None:
            for each in value if f.repeated else (value,):
                _collect(f.shape, each, here, seen)


def _given(system: str, file: Path) -> Proposal:
    """A layout that somebody has written or corrected already."""
    made = layout.load(file)
    message = Message(f"{system}.{made.name}", made.message.form, made.message.root, made.message.source)
    return Proposal("files", {file.name: file.read_bytes()}, file.name, [Offer(made.name, lambda: Exchange(made.name, None, message))])


def _finding(sample: Path, line: int, text: str, hint: str = "") -> Findings:
    return Findings(findings=(Finding(str(sample), line, text, hint),))


def _encoding(raw: bytes) -> str:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _at(kinds: Sequence[_Kind], kind: _Kind) -> tuple[str, ...]:
    """Path of a kind's record from the transaction."""
    if kind.role != "detail":
        return () if kind.role == "transaction" else (kind.name,)
    above = next(k for k in kinds if k.name == kind.parent)
    return (*(() if above.role == "transaction" else _at(kinds, above)), kind.name)


# ---- rows -----------------------------------------------------------------------------------------------------------


def _rows(sample: Path, text: str) -> tuple[dict[str, object], list[_Kind]]:
    lines = [line for line in text.removeprefix("\ufeff").splitlines()[:ROWS] if line.strip()]
    if (delimiter := _delimiter(lines)) is not None:
        cells = _cells(sample, lines, delimiter)
        types = [c[0] for c in cells]
        width = 0
    else:
        width = _type_width(sample, lines)
        types = [line[:width] for line in lines]
        cells = []
    words = len(set(types)) < len(types) and all(re.fullmatch(r"[A-Z][A-Z0-9_]{0,9}", t) for t in types)
    rare = len(set(types)) > max(1, len(lines) // 3) and not (words and not width)
    if rare or any(not re.fullmatch(r"[A-Za-z0-9_-]{1,20}", t) for t in types):
        said = ", ".join(repr(t[:20]) for t in list(dict.fromkeys(types))[:4])
        raise _finding(
            sample, 1, f"rows do not begin with what they are: the first field holds {said}, …",
            "the layout tells rows apart by their first field; a table of one kind of row needs a column with a constant in front",
        )  # fmt: skip
    kinds = _nested(types)
    for kind in kinds.values():
        mine = [i for i, t in enumerate(types) if t == kind.name]
        if width:
            kind.spans = _columns([lines[i] for i in mine], width)
            kind.columns = {n: [lines[i][s : s + w].strip() for i in mine] for n, (s, w) in kind.spans.items()}
        else:
            most = min(FIELDS, max(len(cells[i]) for i in mine))
            values = [[cells[i][at] for i in mine if at < len(cells[i])] for at in range(1, most)]
            kind.columns = dict(zip(_named(values), values, strict=True))
        if width:
            names = _named(list(kind.columns.values()))
            kind.spans = dict(zip(names, kind.spans.values(), strict=True))
            kind.columns = dict(zip(names, kind.columns.values(), strict=True))
    transaction = next(k.name for k in kinds.values() if k.role == "transaction")
    head: dict[str, object] = {"format": "fixed" if width else "delimited", "transaction": transaction}
    head |= (
        {"record_type": {"start": 1, "width": width}} if width else {"delimiter": delimiter, "quote": '"', "record_type": {"position": 1}}
    )
    return head, list(kinds.values())


def _delimiter(lines: Sequence[str]) -> str | None:
    best = max(";|\t,^~", key=lambda d: min(line.count(d) for line in lines))
    return best if min(line.count(best) for line in lines) >= 1 else None


def _cells(sample: Path, lines: Sequence[str], delimiter: str) -> list[list[str]]:
    found: list[list[str]] = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(next(csv.reader([line], delimiter=delimiter)))
        except csv.Error as exc:
            raise _finding(sample, number, f"not a row of fields between {delimiter!r}: {exc}", "is it the right file?") from exc
    return found


def _type_width(sample: Path, lines: Sequence[str]) -> int:
    """How many characters in front say what a row is: the fewest that part rows of different length, letters before digits."""
    for width in (1, 2, 3, 4):
        types: dict[str, set[int]] = {}
        for line in lines:
            types.setdefault(line[:width], set()).add(len(line.rstrip()))
        if 1 < len(types) <= max(2, len(lines) // 3) and all(" " not in t and len(t) == width for t in types):
            return width
    if len(lines) > 1 and len({line[:2] for line in lines}) == 1 and lines[0][:2].strip():
        return 2
    raise _finding(
        sample,
        1,
        "neither a delimiter nor a record type in front of the rows was found",
        "write the layout by hand: see docs/connect-files.md",
    )


def _columns(lines: Sequence[str], start: int) -> dict[str, tuple[int, int]]:
    """Columns of fixed rows: where the kind of characters changes in all rows at once."""
    length = max(map(len, lines))
    padded = [line.ljust(length) for line in lines]

    def kind(at: int) -> str:
        found = {"d" if c.isdigit() else "s" if c == " " else "a" for c in (line[at] for line in padded)}
        return found.pop() if len(found) == 1 else "a"

    spans: dict[str, tuple[int, int]] = {}
    begin = start
    for at in range(start + 1, length + 1):
        before = kind(at - 1)
        if at == length or (kind(at) != before and not (before == "a" and kind(at) == "s") and (before in "ds" or kind(at) == "d")):
            spans[str(len(spans))] = (begin, at - begin)
            begin = at
        if len(spans) >= FIELDS:
            break
    return spans


def _nested(types: Sequence[str]) -> dict[str, _Kind]:
    """Roles and parents, from the order in which kinds of rows come."""
    counts = Counter(types)
    order = list(dict.fromkeys(types))
    kinds = {t: _Kind(t) for t in order}
    rest = list(order)
    if len(rest) > 1 and counts[types[0]] == 1:
        kinds[rest.pop(0)].role = "file_header"
    if len(rest) > 1 and counts[types[-1]] == 1 and types[-1] in rest:
        kinds[types[-1]].role = "file_trailer"
        rest.remove(types[-1])
    top = rest[0]
    kinds[top].role = "transaction"
    groups: list[list[str]] = []
    for t in types:
        if t == top:
            groups.append([])
        elif groups and kinds[t].role == "detail":
            groups[-1].append(t)
    for t in rest[1:]:
        kinds[t].parent = top
        for other in rest[1 : rest.index(t)]:
            if any(_between(g, other, t) for g in groups) and not any(_before(g, t, other) for g in groups):
                kinds[t].parent = other
    for kind in kinds.values():
        kind.counts = [1] if kind.role != "detail" else [g.count(kind.name) for g in groups] or [0]
        if kind.role == "detail" and kind.parent != top:
            kind.counts = [0, 2]
    return kinds


def _between(group: Sequence[str], outer: str, inner: str) -> bool:
    """Whether `inner` stands between two `outer`."""
    at = [i for i, t in enumerate(group) if t == outer]
    return any(inner in group[a:b] for a, b in pairwise(at))


def _before(group: Sequence[str], inner: str, outer: str) -> bool:
    return inner in group and (outer not in group or group.index(inner) < group.index(outer))


_SEEN_AS: Final = {"gtin": "gtin", "currency": "currency", "country": "country", "date": "date", "time": "time", "email": "email"}


def _named(columns: Sequence[Sequence[str]]) -> list[str]:
    """Names for fields that have none: what their values prove, else their number."""
    names: list[str] = []
    for number, values in enumerate(columns, 1):
        proven = _SEEN_AS.get(evidence(values), "")
        if proven == "currency" and not all(v in CURRENCIES for v in values if v):
            proven = ""
        names.append(proven if proven and proven not in names else f"{proven}_{number}" if proven else f"field_{number}")
    return names


# ---- XML ------------------------------------------------------------------------------------------------------------


def _xml(sample: Path, raw: bytes) -> tuple[dict[str, object], list[_Kind]]:
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(raw, parser)
    except (etree.XMLSyntaxError, ValueError) as exc:
        raise _finding(sample, getattr(exc, "lineno", 1) or 1, f"not well-formed XML: {exc}") from exc
    info: Any = root.getroottree().docinfo
    if info.doctype:
        raise _finding(sample, 1, "has a DOCTYPE", "remove it")
    path, elements = _transactions(root)
    if not elements:
        raise _finding(sample, 1, f"below {_local(root)} there is no element that could be a transaction")
    kinds: list[_Kind] = []
    _describe(kinds, "/".join(path), "transaction", "", elements, 0)
    head: dict[str, object] = {"format": "xml", "root": _local(root), "transaction": kinds[0].name, "namespaces": "any", "max_depth": 64}
    return head, kinds


def _local(node: etree._Element) -> str:
    return etree.QName(node).localname


def _transactions(root: etree._Element) -> tuple[list[str], list[etree._Element]]:
    """The elements that are one transaction each: the largest repeated ones near the root, or the largest one."""
    best: tuple[float, list[str], list[etree._Element]] = (0.0, [], [])
    level: list[tuple[list[str], list[etree._Element]]] = [([], [root])]
    for depth in range(4):
        following: list[tuple[list[str], list[etree._Element]]] = []
        for path, nodes in level:
            groups: dict[str, list[etree._Element]] = {}
            for node in nodes:
                for child in node.iterchildren("*"):
                    groups.setdefault(_local(child), []).append(child)
            for name, found in groups.items():
                content = sum(len(list(n.iter("*"))) for n in found[:200])
                known = 4.0 if re.search(r"(?i)transaction|sale_?event|receipt|bon|ticket", name) else 1.0
                score = content * known * (0.5**depth) * (1.5 if len(found) > 1 else 1.0)
                if content > len(found[:200]) * 4 and score > best[0]:
                    best = (score, [*path, name], found)
                following.append(([*path, name], found[:200]))
        level = following
    return best[1], best[2]


def _describe(kinds: list[_Kind], path: str, role: str, parent: str, elements: Sequence[etree._Element], depth: int) -> None:
    """A record of these elements: single values by their paths, what repeats as records of its own."""
    name = path.rpartition("/")[2]
    while any(k.name == name for k in kinds):
        name = f"{name}_{len(kinds)}"
    kind = _Kind(re.sub(r"[^A-Za-z0-9_]", "_", name)[:40], role, parent, [0, 2], path=path)
    kinds.append(kind)
    repeated: dict[str, list[etree._Element]] = {}
    sample = elements[:ROWS]
    many = _many(sample)
    for element in sample:
        for at, value in _values(element, "", many):
            column = re.sub(
                r"[^A-Za-z0-9_]",
                "_",
                at.replace("@", "").rpartition("/")[2] if "@" not in at else "_".join(at.replace("@", "").split("/")[-2:]),
            )[:38]
            column = column if column[:1].isalpha() else f"f_{column}"
            while kind.paths.get(column, at) != at:
                column += "_"
            if len(kind.paths) < FIELDS or column in kind.paths:
                kind.paths[column] = at
                kind.columns.setdefault(column, []).append(value)
        for at, child in _lists(element, "", many):
            repeated.setdefault(at, []).append(child)
    if depth < 4:
        for at, children in repeated.items():
            if len(kinds) < 60:
                _describe(kinds, at, "detail", kind.name, children, depth + 1)


def _many(elements: Sequence[etree._Element]) -> frozenset[str]:
    """Paths of elements that stand beside others of their name."""
    found: set[str] = set()
    for element in elements:
        stack = [(element, "")]
        while stack:
            node, path = stack.pop()
            counted = Counter(_local(c) for c in node.iterchildren("*"))
            for child in node.iterchildren("*"):
                at = f"{path}/{_local(child)}".lstrip("/")
                if counted[_local(child)] > 1:
                    found.add(at)
                else:
                    stack.append((child, at))
    return frozenset(found)


def _values(element: etree._Element, path: str, many: frozenset[str]) -> Iterator[tuple[str, str]]:
    for name, value in element.attrib.items():
        yield f"{path}/@{etree.QName(name).localname}".lstrip("/"), str(value)
    for child in element.iterchildren("*"):
        at = f"{path}/{_local(child)}".lstrip("/")
        if at in many or at.count("/") > 6:
            continue
        if len(child) == 0:
            yield at, (child.text or "").strip()
        yield from _values(child, at, many)


def _lists(element: etree._Element, path: str, many: frozenset[str]) -> Iterator[tuple[str, etree._Element]]:
    for child in element.iterchildren("*"):
        at = f"{path}/{_local(child)}".lstrip("/")
        if at in many:
            yield at, child
        elif at.count("/") <= 6:
            yield from _lists(child, at, many)


# ---- text -----------------------------------------------------------------------------------------------------------


def _pattern(name: str) -> str:
    """A file's name as a pattern: its numbers may change."""
    return re.sub(
        r"(?:\\?\d)+", lambda m: rf"\d{{{len(m[0])}}}" if len(m[0]) > 3 else r"\d+", re.escape(name).replace(r"\-", "-").replace("\\_", "_")
    )


def _typed(name: str, values: Sequence[str]) -> str:
    """The type of a field, as its table says it; what the sample does not prove is a text."""
    real = [v for v in values if v]
    personal = ", personal = true" if _PERSONAL.search(name) else ""
    if real and all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*", v) for v in real):
        return 'type = "datetime", format = "iso", zone = "iso"'
    for formats, kind in ((_TIMES, "datetime"), (_DATES, "date")):
        for written in formats:
            try:
                if real and all(1980 <= datetime.strptime(v, written).year < 2100 for v in real):  # noqa: DTZ007 - only looked at
                    return f'type = "{kind}", format = "{written}"' + (', zone = "store"' if kind == "datetime" else "")
            except ValueError:
                continue
    if any("." in v for v in real) and all(re.fullmatch(r"-?\d{1,12}(\.\d{1,6})?", v) for v in real):
        return 'type = "decimal", digits = 18, sign = "leading"'
    if real and not _NAMES.search(name) and all(re.fullmatch(r"0|-?[1-9]\d{0,9}", v) for v in real):
        return 'type = "integer", digits = 12' + (', sign = "leading"' if any(v[0] == "-" for v in real) else "")
    return f'type = "string"{personal}'


def _written(sample: Path, head: dict[str, object], kinds: Sequence[_Kind]) -> str:
    def inline(value: object) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{k} = {inline(v)}" for k, v in value.items()) + " }"
        return toml_string(value) if isinstance(value, str) else json.dumps(value)

    out = [
        f"# Inferred from one sample, {comment(sample.name)}: what it did not show cannot stand here.",
        "",
        "[file]",
        f"name        = {toml_string(_pattern(sample.name))}",
    ]
    out += [f"{key:11} = {inline(value)}" for key, value in head.items()]
    if head["format"] == "xml":
        out.append('extensions  = "report"')
        out.append("max_record  = 4_194_304")
    out.append('incomplete  = "refuse_file"')
    if head["format"] != "xml":
        out += ["", '[record."*"]', 'unknown = "bad"']
    for kind in kinds:
        out += ["", f"[record.{toml_key(kind.name)}]", f'role   = "{kind.role}"']
        if kind.parent:
            out.append(f"parent = {toml_string(kind.parent)}")
        if kind.path:
            out.append(f"path   = {toml_string(kind.path)}")
        out += [f'occurs = "{kind.occurs}"', "fields = ["]
        for column, values in kind.columns.items():
            place = f", path = {toml_string(kind.paths[column])}" if column in kind.paths else ""
            if column in kind.spans:
                place = f", start = {kind.spans[column][0] + 1}, width = {kind.spans[column][1]}"
            seen = " | ".join(dict.fromkeys(comment(v)[:20] for v in values[:50] if v))[:60]
            out.append(
                f"  {{ name = {toml_string(column)}, {_typed(column, values)}{place} }},"
                + (f"  # {seen}" if seen and len(set(values)) < 5 else "")
            )
        out.append("]")
    return "\n".join(out) + "\n"


def _proven(made: layout.Layout, raw: bytes, name: str) -> list[str]:
    """Reads the sample by the inferred layout: whatever it refuses is a question."""
    try:
        parser = parsing(made)(None)
        units = list(parser.units(io.BytesIO(raw), name, {}))
    except Exception as exc:  # noqa: BLE001 - a guess that does not read its own sample is said so, whatever went wrong
        return [f"{made.source}: the sample is not read by it: {str(exc)[:200]}"]
    bad = [u for u in units if u.bad is not None]
    if bad and (first := bad[0].bad) is not None:
        return [f"{made.source}: {len(bad)} of {len(units)} transactions of the sample are refused, the first: {str(first)[:200]}"]
    said = [] if units else [f"{made.source}: the sample holds no transaction by it"]
    return said + [f"{made.source}: the sample would be refused: {reason[:200]}" for reason in parser.ending.reasons[:5]]
