"""Declared layouts: the TOML text that says what a file looks like -> typed layout and the shape of its transactions; all mistakes at once.

The grammar is described at the top of contracts/systems/pos/tlog.toml and poslog.toml.
"""

from __future__ import annotations

import codecs
import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from contracts.errors import Finding, Findings
from contracts.suggestion import nearest
from mappings.language.shape import Field as ShapeField
from mappings.language.shape import Kind, Leaf, Message
from mappings.language.shape import Record as ShapeRecord

MAX_LAYOUT_BYTES: Final = 1_000_000
MAX_DIGITS: Final = 30
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
EDI: Final = ("x12", "edifact")
ENVELOPES: Final = {"x12": ("ISA", "GS", "DXS"), "edifact": ("UNB", "UNG")}
MESSAGES: Final = {"x12": "ST", "edifact": "UNH"}
_ELEMENT: Final = re.compile(r"[1-9][0-9]{0,2}(?:\.[1-9][0-9]?)?")
_STEP: Final = re.compile(r"(?P<attribute>@)?(?P<names>[\w.-]+(?:\|[\w.-]+)*)(?:\[@(?P<key>[\w.-]+)='(?P<value>[^']*)'\])?")
_ASCII_LIKE: Final = ("utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252", "cp1250", "cp850", "cp437")
"""Encodings in which every byte below 128 is that character: rows can be cut before they are decoded."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the layout."""


class Where(Entry, frozen=True, kw_only=True):
    """`position` counts fields (only the first), `start` and `width` characters, both from 1."""

    position: Annotated[int, Meta(ge=1, le=1)] | None = None
    start: Annotated[int, Meta(ge=1)] | None = None
    width: Annotated[int, Meta(ge=1, le=20)] | None = None


class FileRule(Entry, frozen=True, kw_only=True):
    format: Literal["delimited", "fixed", "xml", "x12", "edifact"]
    name: str
    transaction: str
    agree: tuple[str, ...] = ()
    encoding: str = "utf-8"
    incomplete: Literal["refuse_file", "book_complete"] = "refuse_file"
    max_record: Annotated[int, Meta(ge=16, le=16_777_216)] = 65_536
    max_records: Annotated[int, Meta(ge=1, le=1_000_000)] = 5000
    delimiter: str = ""
    quote: str = ""
    record_type: Where = Where()
    record_length: Annotated[int, Meta(ge=1, le=1_048_576)] | None = None
    columns: bool = False
    key: tuple[str, ...] = ()
    root: str = ""
    declaration: Literal["believe", "ignore"] = "believe"
    namespaces: Literal["any"] | tuple[str, ...] = "any"
    extensions: Literal["report", "drop"] = "report"
    max_depth: Annotated[int, Meta(ge=2, le=200)] = 32
    control: Literal["refuse", "report"] = "refuse"
    split: str = ""


class Dialect(Entry, frozen=True, kw_only=True):
    """What the POSLog standard leaves to the vendor."""

    missing_flag: Literal["false", "unknown"]
    void_line: Literal["flag", "reversing", "flagged_reversing"]
    post_void: Literal["transaction", "resend"]
    return_line: Literal["element", "negative"]
    return_amount: Literal["positive", "negative"]
    total_amount: Literal["effect", "positive"]
    extended_amount: Literal["before_modifiers", "after_modifiers"]
    price_per: Literal["measure", "units"]
    change: Literal["inside_tender", "own_row"]
    prices: Literal["tax_included", "tax_excluded"]


class FieldRule(Entry, frozen=True, kw_only=True):
    name: str
    type: Literal["string", "integer", "decimal", "date", "time", "datetime", "boolean", "enum", "flags"]
    values: dict[str, str] = {}
    closed: bool = True
    required: bool = False
    default: str | None = None
    digits: Annotated[int, Meta(ge=1, le=MAX_DIGITS)] | None = None
    decimals: Annotated[int, Meta(ge=0, le=12)] | None = None
    sign: Literal["none", "leading", "trailing", "overpunch", "overpunch_leading"] = "none"
    pad: str | None = None
    min: Annotated[int, Meta(ge=0)] | None = None
    max: Annotated[int, Meta(ge=1)] | None = None
    pattern: str | None = None
    format: str | None = None
    zone: Literal["store", "iso"] | None = None
    personal: bool = False
    start: Annotated[int, Meta(ge=1)] | None = None
    width: Annotated[int, Meta(ge=1)] | None = None
    stored: Literal["text", "zoned", "packed", "binary", "binary_little"] = "text"
    column: str | None = None
    at: str | None = None
    path: str | None = None
    otherwise: tuple[str, ...] = ()
    read: Literal["text", "name", "sign", "position"] = "text"


class RecordRule(Entry, frozen=True, kw_only=True):
    role: Literal["file_header", "file_trailer", "message", "transaction", "detail"]
    occurs: Literal["1", "0..1", "0..n", "1..n"]
    fields: list[dict[str, Any]] = []
    parent: str = ""
    closes: bool = False
    path: str = ""
    where: str = ""
    segment: str = ""
    when: dict[str, list[str]] = {}
    first: Annotated[int, Meta(ge=1, le=200)] | None = None
    each: Annotated[int, Meta(ge=1, le=100)] = 1
    id: Annotated[int, Meta(ge=1, le=100)] | None = None
    of: Annotated[int, Meta(ge=1, le=100)] | None = None


class Term(Entry, frozen=True, kw_only=True):
    count: str | None = None
    sum: str | None = None
    field: str | None = None
    sign: Literal[-1, 1] = 1
    where: dict[str, list[str]] = {}
    unless: dict[str, list[str]] = {}
    dialect: dict[str, list[str]] = {}


class CheckRule(Entry, frozen=True, kw_only=True):
    name: str
    says: str
    scope: str
    expect: str
    equals: Annotated[list[Term], Meta(min_length=1)]
    on_failure: Literal["refuse_file", "quarantine", "report"]
    skip: dict[str, list[str]] = {}
    dialect: dict[str, list[str]] = {}
    tolerance: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an XML path. No names: `.` (up = False) or `..`."""

    names: tuple[str, ...] = ()
    attribute: bool = False
    up: bool = False
    where: tuple[str, str] | None = None


@dataclass(slots=True, eq=False)
class Record:
    """A kind of record in its place. `index` is the place of its value in the parent's tuple (own fields come first)."""

    name: str
    rule: RecordRule
    fields: tuple[FieldRule, ...]
    parent: Record | None = None
    children: list[Record] = field(default_factory=list)
    index: int = 0
    steps: tuple[Step, ...] = ()
    where: tuple[Step, ...] = ()
    leads: bool = False
    """It is the transaction and hangs under a message, or one of the records between the two."""

    @property
    def repeated(self) -> bool:
        return self.rule.occurs.endswith("n")

    @property
    def above(self) -> tuple[Record, ...]:
        """The records it hangs under, outermost first."""
        return () if self.parent is None else (*self.parent.above, self.parent)

    def holds(self, child: Record) -> bool:
        """Whether a mapping finds `child` in it. Around a transaction that is a loop: only what was read before the loop."""
        inner = next((c for c in self.children if c.leads), None)
        return inner is None or self.children.index(child) < self.children.index(inner)

    @property
    def needed(self) -> bool:
        return self.rule.occurs.startswith("1")

    def at(self, name: str) -> int | None:
        """Index of a field in the record's tuple."""
        return next((i for i, f in enumerate(self.fields) if f.name == name), None)

    def field(self, name: str) -> FieldRule | None:
        return next((f for f in self.fields if f.name == name), None)


@dataclass(slots=True, eq=False)
class Layout:
    """`records` in their declared order. The row of a transaction: its own fields, the file headers, then its children."""

    name: str
    source: str
    version: str
    file: FileRule
    records: dict[str, Record]
    transaction: Record
    checks: tuple[CheckRule, ...]
    dialect: Mapping[str, str]
    unknown: Literal["bad", "skip"]
    message: Message
    pattern: re.Pattern[str]
    headers: tuple[Record, ...] = ()
    """What stands around a transaction: file headers, envelopes, and the records of a message that it is a loop of."""
    trailers: tuple[Record, ...] = ()

    @property
    def edi(self) -> bool:
        return self.file.format in EDI

    @property
    def proves_file(self) -> bool:
        """Whether something at the end of a file can refuse all of it: then it is read once before anything is booked."""
        return (
            self.file.incomplete == "refuse_file"
            or (self.edi and self.file.control == "refuse")
            or (bool(self.file.agree) and not self.headers)
            or any(c.on_failure == "refuse_file" for c in self.checks)
        )

    def record(self, name: str) -> Record | None:
        return self.records.get(name)


def load(path: Path) -> Layout:
    """Raises Findings. The layout is named after its file."""
    try:
        with path.open("rb") as source:
            body = source.read(MAX_LAYOUT_BYTES + 1)
    except OSError as error:
        raise Findings(findings=(Finding(str(path), 1, f"the layout cannot be read: {error.strerror}"),)) from error
    if len(body) > MAX_LAYOUT_BYTES:
        raise Findings(findings=(Finding(str(path), 1, f"the layout is larger than {MAX_LAYOUT_BYTES} bytes"),))
    return parse(body.decode("utf-8", "replace"), str(path), path.stem)


def parse(text: str, file: str, name: str) -> Layout:
    """Raises Findings with every mistake."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = int(found[1]) if (found := re.search(r"line (\d+)", str(error))) else 1
        raise Findings(findings=(Finding(file, line, f"not TOML: {error}"),)) from error
    return _Reader(text, data, file, name).read()


def steps(path: str) -> tuple[Step, ...]:
    """An XML path. Raises ValueError."""
    found: list[Step] = []
    parts = path.split("/")
    for at, part in enumerate(parts):
        if part in (".", ".."):
            found.append(Step(up=part == ".."))
            continue
        match = _STEP.fullmatch(part)
        if match is None or (match["attribute"] and (at < len(parts) - 1 or match["key"])):
            raise ValueError(f"{part!r} is no step of a path")
        where = (match["key"], match["value"]) if match["key"] else None
        found.append(Step(tuple(match["names"].split("|")), bool(match["attribute"]), where=where))
    return tuple(found)


class _Places:
    """Lines of tables and fields: tomllib keeps no positions."""

    def __init__(self, text: str) -> None:
        self._lines: dict[str, int] = {}
        table, number_of = "", {"[[check]]": -1}
        for number, line in enumerate(text.splitlines(), 1):
            bare = line.strip()
            if header := re.match(r"\[\[?\s*[^\]]+\]\]?", bare):
                table = header[0].replace('"', "").replace("'", "")
                if table == "[[check]]":
                    number_of[table] += 1
                    table = f"[[check]]{number_of[table]}"
                self._lines.setdefault(table, number)
            elif named := re.match(r"""\{\s*name\s*=\s*["']([^"']*)["']""", bare):
                self._lines.setdefault(f"{table}/{named[1]}", number)
            elif key := re.match(r"([A-Za-z_]+)\s*=", bare):
                self._lines.setdefault(f"{table}.{key[1]}", number)

    def line(self, *places: str) -> int:
        return next((self._lines[p] for p in places if p in self._lines), 1)


class _Reader:
    def __init__(self, text: str, data: dict[str, Any], file: str, name: str) -> None:
        self.text, self.data, self.source, self.name = text, data, file, name
        self.places = _Places(text)
        self.findings: list[Finding] = []
        self.records: dict[str, Record] = {}
        self.xml = self.edi = False

    def find(self, place: str | tuple[str, ...], message: str, suggestion: str = "") -> None:
        line = self.places.line(*((place,) if isinstance(place, str) else place))
        self.findings.append(Finding(self.source, line, message, suggestion))

    def convert(self, value: object, kind: type[Any], place: str | tuple[str, ...]) -> Any:
        """None, with findings, when the table is wrong: one for every unknown key, else what the first wrong value is."""
        if not isinstance(value, dict):
            self.find(place, f"expected a table, got {type(value).__name__}")
            return None
        known = kind.__struct_encode_fields__
        bad = [key for key in value if key not in known]
        for key in bad:
            self.find(place, f"unknown key {key!r}", nearest(key, known))
        try:
            return msgspec.convert({k: v for k, v in value.items() if k not in bad}, kind)
        except msgspec.ValidationError as error:
            self.find(place, str(error))
            return None

    def read(self) -> Layout:
        for key in self.data.keys() - {"file", "record", "check", "dialect"}:
            self.find(f"[{key}]", f"unknown table {key!r}", nearest(key, ("file", "record", "check", "dialect")))
        file = self.convert(self.data.get("file", {}), FileRule, "[file]")
        if file is None:
            raise Findings(findings=tuple(self.findings))
        self.xml, self.edi = file.format == "xml", file.format in EDI
        pattern = self.file(file)
        unknown = self.unknown()
        self.read_records(file)
        transaction = self.hang(file)
        dialect: dict[str, str] = {}
        if "dialect" in self.data and (found := self.convert(self.data["dialect"], Dialect, "[dialect]")) is not None:
            dialect = msgspec.structs.asdict(found)
        checks = self.spoken(self.checks(), dialect)
        if self.findings or transaction is None or pattern is None:
            raise Findings(findings=tuple(sorted(self.findings, key=lambda f: f.line)))
        headers = self.headers(transaction)
        version = hashlib.sha256(self.text.encode()).hexdigest()[:12]
        return Layout(
            name=self.name,
            source=self.source,
            version=version,
            file=file,
            records=self.records,
            transaction=transaction,
            checks=tuple(checks),
            dialect=dialect,
            unknown=unknown,
            message=Message(self.name, "rows", _shape(transaction, headers), self.source),
            pattern=pattern,
            headers=headers,
            trailers=tuple(r for r in self.records.values() if r.rule.role == "file_trailer"),
        )

    # ---- [file] ---------------------------------------------------------------------------------------------------

    def file(self, file: FileRule) -> re.Pattern[str] | None:
        pattern = self.regex(file.name, "[file].name", "[file]")
        try:
            codec = codecs.lookup("utf-8" if file.encoding == "auto" and file.columns else file.encoding).name
        except LookupError:
            self.find(("[file].encoding", "[file]"), f"unknown encoding {file.encoding!r}", "for example utf-8, cp1252, iso-8859-1")
        else:
            if file.format in ("delimited", "fixed") and codec not in _ASCII_LIKE and not (file.record_length or file.columns):
                self.find(("[file].encoding", "[file]"), f"rows in {file.encoding} are not read", f"read: {', '.join(_ASCII_LIKE)}")
        if file.format == "delimited":
            for key, value in (("delimiter", file.delimiter), ("quote", file.quote)):
                if not (len(value) == 1 and value.isascii() and value not in "\r\n\0") and not (key == "quote" and not value):
                    self.find((f"[file].{key}", "[file]"), f"{key} is {value!r}", "write one ASCII character")
            if file.columns:
                if file.record_type != Where():
                    self.find("[file]", "rows under column names are all of one kind", "leave record_type away")
            elif file.record_type.position is None:
                self.find("[file]", "record_type does not say where a row says what it is", "write record_type = { position = 1 }")
        elif file.format == "fixed" and not file.record_length and (file.record_type.start is None or file.record_type.width is None):
            self.find("[file]", "record_type does not say where a row says what it is", "write record_type = { start = 1, width = 2 }")
        elif file.format == "xml" and not file.root:
            self.find("[file]", "root is missing", "write the local name of the document element")
        if file.columns and file.format != "delimited":
            self.find("[file]", "a line of column names belongs to delimited files")
        if file.key and not file.columns:
            self.find("[file]", "key names columns", "write columns = true")
        if file.record_length and file.format != "fixed":
            self.find("[file]", "record_length belongs to fixed columns", 'write format = "fixed"')
        if pattern is not None:
            for group in file.agree:
                if group not in pattern.groupindex:
                    self.find(("[file].agree", "[file]"), f"the name has no group {group!r}", nearest(group, pattern.groupindex))
        return pattern

    def regex(self, text: str, *places: str) -> re.Pattern[str] | None:
        try:
            return re.compile(text)
        except re.error as error:
            self.find(places, f"not a regular expression: {error}")
            return None

    # ---- [record.NAME] --------------------------------------------------------------------------------------------

    def unknown(self) -> Literal["bad", "skip"]:
        rule = self.data.get("record", {}).get("*", {"unknown": "bad"})
        if not isinstance(rule, dict) or rule.keys() != {"unknown"} or rule["unknown"] not in ("bad", "skip"):
            self.find("[record.*]", 'the record "*" says nothing but unknown = "bad" or "skip"')
            return "bad"
        return "skip" if rule["unknown"] == "skip" else "bad"

    def read_records(self, file: FileRule) -> None:
        for name, table in self.data.get("record", {}).items():
            place = f"[record.{name}]"
            if name == "*" or (rule := self.convert(table, RecordRule, place)) is None:
                continue
            if self.xml and not _NAME.fullmatch(name):
                self.find(place, f"{name!r} is no name for a record", "letters, digits and underscores")
            fields: list[FieldRule] = []
            for row in rule.fields:
                at = (f"{place}/{row.get('name')}", place)
                if (made := self.convert(row, FieldRule, at)) is None:
                    continue
                if any(f.name == made.name for f in fields):
                    self.find(at, f"field {made.name!r} stands twice in {name}")
                for message in _field_mistakes(made, file):
                    self.find(at, f"field {made.name}: {message}")
                fields.append(made)
            record = self.records[name] = Record(name, rule, tuple(fields))
            if self.xml:
                self.paths(record, place)
            elif rule.path or rule.where:
                self.find(place, f"path and where belong to XML; {name} is a row")
            if self.edi:
                self.segment(record, place)
            elif rule.segment or rule.when or rule.first or rule.id or rule.of or rule.role == "message":
                self.find(place, f"segment, when, first, id, of and messages belong to X12 and EDIFACT; {name} is none")

    def paths(self, record: Record, place: str) -> None:
        for key, text in (("path", record.rule.path), ("where", record.rule.where)):
            if not text and key == "where":
                continue
            try:
                found = steps(text)
            except ValueError as error:
                self.find(place, f"{key}: {error}", "NAME, A|B, NAME[@KEY='value'], .. or @NAME at the end, joined by /")
                continue
            if key == "path" and (found[-1].attribute or any(s.up for s in found)):
                self.find(place, "path leads from the parent down to an element")
            setattr(record, "steps" if key == "path" else "where", found)
        for f in record.fields:
            if f.path is None:
                continue
            try:
                found, *_ = (steps(path) for path in (f.path, *f.otherwise))
            except ValueError as error:
                self.find((f"{place}/{f.name}", place), f"field {f.name}: {error}")
                continue
            if f.read == "name" and found[-1].attribute:
                self.find((f"{place}/{f.name}", place), f"field {f.name}: an attribute has no name to read", "lead the path to an element")
            if any(s.up for s in found[1:]) or (found[0].up and record.parent is None and record.rule.role == "transaction"):
                self.find((f"{place}/{f.name}", place), f"field {f.name}: .. stands only at the start, below the transaction")

    def segment(self, record: Record, place: str) -> None:
        rule = record.rule
        if rule.first is None and not re.fullmatch(r"[A-Z][A-Z0-9]{1,2}", rule.segment or record.name):
            self.find(place, f"{rule.segment or record.name!r} is no segment", 'two or three capitals and digits: segment = "N1"')
        for element in rule.when:
            if not _ELEMENT.fullmatch(element):
                self.find(place, f"when: {element!r} is no element", 'its number, or "ELEMENT.COMPONENT"')
        if (rule.id is None) != (rule.of is None):
            self.find(place, "a record is told apart by id and of together", "id = 1, of = 2")
        if rule.closes or rule.role == "file_trailer":
            self.find(place, f"{record.name}: what closes a message, a group and an interchange is known of {self.data['file']['format']}")

    def headers(self, transaction: Record | None) -> tuple[Record, ...]:
        return tuple(r for r in self.records.values() if r.rule.role == "file_header") + (transaction.above if transaction else ())

    def hang(self, file: FileRule) -> Record | None:
        """Parents, children and the index of each record in its parent's tuple."""
        transaction = self.records.get(file.transaction)
        if transaction is None or transaction.rule.role != "transaction":
            self.find(
                ("[file].transaction", "[file]"),
                f"no record {file.transaction!r} of role transaction",
                nearest(file.transaction, self.records),
            )
            return None
        for record in self.records.values():
            place = f"[record.{record.name}]"
            rule = record.rule
            if rule.role == "transaction" and record is not transaction:
                self.find(
                    place,
                    f"{record.name} has role transaction, but {transaction.name} is the transaction",
                    "a layout has one kind of transaction",
                )
            if rule.role == "detail" or (self.edi and record is transaction and rule.parent):
                record.parent = self.records.get(rule.parent)
                if record.parent is None:
                    self.find(place, f"no record {rule.parent!r} to hang {record.name} under", nearest(rule.parent, self.records))
                elif record.parent.rule.role not in ("transaction", "detail", "message"):
                    self.find(place, f"{record.name} hangs under {rule.parent}, which is no part of a transaction")
                    record.parent = None
                else:
                    record.parent.children.append(record)
            elif rule.parent:
                self.find(place, f"{record.name} has role {rule.role} and no parent")
            if rule.role in ("file_header", "file_trailer") and record.repeated:
                self.find(place, f"{record.name}: a {rule.role} occurs once", 'write occurs = "1" or "0..1"')
            if rule.role == "file_trailer" and self.xml:
                self.find(place, f"{record.name}: an XML document has no trailer", "its last end tag says that it is whole")
            if self.edi and rule.role == "file_header" and (rule.segment or record.name) not in ENVELOPES[file.format]:
                self.find(place, f"{record.name} is no envelope", f"a file_header is one of {', '.join(ENVELOPES[file.format])}")
            if rule.closes and rule.role != "detail":
                self.find(place, f"{record.name}: only a detail closes its parent")
        for record in self.records.values():
            seen, above = {record.name}, record.parent
            while above is not None:
                if above.name in seen:
                    self.find(f"[record.{record.name}]", f"{record.name} hangs under itself")
                    return None
                seen.add(above.name)
                above = above.parent
        if self.edi and not self.opens_message(transaction, file):
            return None
        if file.columns:
            self.one_kind(transaction, file)
        headers = self.headers(transaction)
        for record in self.records.values():
            start = len(record.fields) + (len(headers) if record is transaction else 0)
            for at, child in enumerate(record.children):
                child.index = start + at
        for at, header in enumerate(headers):
            header.index = len(transaction.fields) + at
        for group in file.agree:
            if not any(r.at(group) is not None for r in (*headers, *([transaction] if self.xml or not headers else []))):
                self.find(("[file].agree", "[file]"), f"no field {group!r} to agree with the name")
        if file.split:
            self.splits(transaction, file)
        return transaction

    def splits(self, transaction: Record, file: FileRule) -> None:
        """Whether a field below the transaction of an interchange can divide it."""
        name, _, told = file.split.partition(".")
        record, place = self.records.get(name), ("[file].split", "[file]")
        if not self.edi or record is None or transaction not in record.above:
            below = [r.name for r in self.records.values() if transaction in r.above] if self.edi else []
            self.find(place, f"split: no record {name!r} below the transaction of an interchange", nearest(name, below))
        elif (field := record.field(told)) is None or field.type != "string":
            self.find(place, f"split: {name} has no text {told!r}", nearest(told, [f.name for f in record.fields if f.type == "string"]))
        elif record.rule.first is not None and record.parent is transaction:
            self.find(place, f"split: {name} is a part of {transaction.name} itself", "name a field of a segment below it")

    def one_kind(self, transaction: Record, file: FileRule) -> None:
        """Under column names: a transaction, and at most one kind of detail, which every row is one of."""
        others = [r for r in self.records.values() if r is not transaction]
        if len(others) > 1 or any(r.rule.role != "detail" for r in others):
            self.find("[file].columns", "rows under column names are a transaction and at most one kind of detail")
        columns = {f.column or f.name for f in transaction.fields}
        for column in file.key:
            if column not in columns:
                self.find(("[file].key", "[file]"), f"key: {transaction.name} has no column {column!r}", nearest(column, columns))
        if others and not file.key:
            self.find("[file]", "key does not say which rows belong together", "write key = [columns]")

    def opens_message(self, transaction: Record, file: FileRule) -> bool:
        """Whether the transaction is a message or a loop of one; marks the way from the message down to it."""
        top = (*transaction.above, transaction)[0]
        opening = MESSAGES[file.format]
        if (top.rule.segment or top.name) != opening or (top is not transaction and top.rule.role != "message"):
            said = f"{transaction.name} is neither a message ({opening}) nor a loop of one"
            hint = f'write segment = "{opening}", or a parent that leads to a record of role message'
            self.find(f"[record.{transaction.name}]", said, hint)
            return False
        for record in self.records.values():
            if record.rule.role == "message" and record is not top:
                self.find(f"[record.{record.name}]", f"{transaction.name} is no loop of the message {record.name}")
            if record.rule.first is not None and (record.children or record.rule.role != "detail"):
                self.find(f"[record.{record.name}]", f"{record.name} is a part of a segment: a detail with nothing below it")
        for record in (*transaction.above[1:], transaction):
            record.leads = record is not top
        if transaction is not top and not all(r.repeated for r in (*transaction.above[1:], transaction)):
            said = f"what leads from {top.name} to {transaction.name} may repeat"
            self.find(f"[record.{transaction.name}]", said, 'write occurs = "0..n" or "1..n"')
        return True

    # ---- [[check]] ------------------------------------------------------------------------------------------------

    def checks(self) -> list[CheckRule]:
        good: list[CheckRule] = []
        for at, table in enumerate(self.data.get("check", [])):
            place = f"[[check]]{at}"
            if (rule := self.convert(table, CheckRule, place)) is None:
                continue
            good.append(rule)
            scope = self.records.get(rule.scope)
            whole = rule.scope == "file" or (scope is not None and scope.rule.role == "message")
            if not whole and (scope is None or scope.rule.role != "transaction"):
                self.find(place, f"scope {rule.scope!r} is neither file nor the transaction")
            if whole and rule.on_failure == "quarantine":
                self.find(place, f"a check of the whole {rule.scope} sets no transaction aside", 'write "refuse_file" or "report"')
            if not whole and rule.on_failure == "refuse_file":
                self.find(place, "a check of one transaction does not refuse the file", 'write "quarantine" or "report"')
            self.number(place, rule.expect)
            for term in rule.equals:
                said = [t for t in (term.count, term.sum, term.field) if t is not None]
                if len(said) != 1:
                    self.find(place, "a term is one of count, sum or field")
                elif term.count is not None:
                    if term.count not in self.records:
                        self.find(place, f"no record {term.count!r} to count", nearest(term.count, self.records))
                else:
                    self.number(place, said[0])
                    if whole and term.field is not None:
                        self.find(place, f"a check of the whole {rule.scope} adds up counts and sums", "write { sum = … } or { count = … }")
                for condition in (term.where, term.unless):
                    self.condition(place, condition)
                self.spelled(place, term.dialect)
            self.condition(place, rule.skip)
            self.spelled(place, rule.dialect)
        return good

    def spelled(self, place: str, condition: Mapping[str, list[str]]) -> None:
        for key, codes in condition.items():
            if key not in (known := {f.name: get_args(f.type) for f in msgspec.structs.fields(Dialect)}):
                self.find(place, f"the dialect has no key {key!r}", nearest(key, known))
            for code in codes:
                if key in known and code not in known[key]:
                    self.find(place, f"{key} is never {code!r}", nearest(code, known[key]))

    def spoken(self, rules: list[CheckRule], dialect: Mapping[str, str]) -> list[CheckRule]:
        """The checks, and the terms of each, that hold in this dialect."""

        def holds(condition: Mapping[str, list[str]]) -> bool:
            return all(dialect.get(key) in codes for key, codes in condition.items())

        asked = [replace(rule, equals=[t for t in rule.equals if holds(t.dialect)]) for rule in rules if holds(rule.dialect)]
        return [rule for rule in asked if rule.equals]

    def resolve(self, place: str, name: str) -> FieldRule | None:
        record_name, _, field_name = name.rpartition(".")
        record = self.records.get(record_name)
        found = record.field(field_name) if record else None
        if found is None:
            known = [f"{r.name}.{f.name}" for r in self.records.values() for f in r.fields]
            self.find(place, f"no field {name!r}", nearest(name, known))
        return found

    def number(self, place: str, name: str) -> None:
        found = self.resolve(place, name)
        if found is not None and found.type not in ("integer", "decimal"):
            self.find(place, f"{name} is a {found.type}, not a number")

    def condition(self, place: str, condition: Mapping[str, list[str]]) -> None:
        for name, codes in condition.items():
            if (found := self.resolve(place, name)) is None:
                continue
            if found.type not in ("enum", "flags", "boolean"):
                self.find(place, f"{name} is a {found.type}; a condition asks for codes")
            known = ["true", "false"] if found.type == "boolean" else list(found.values)
            for code in codes:
                if code not in known and found.closed:
                    self.find(place, f"{name} has no code {code!r}", nearest(code, known))


def _field_mistakes(f: FieldRule, file: FileRule) -> Iterator[str]:
    form = file.format
    if not _NAME.fullmatch(f.name):
        yield "a name is letters, digits and underscores"
    if f.type in ("integer", "decimal") and f.digits is None:
        yield f"{f.type} needs digits, the most it may have"
    if f.decimals is not None and (f.type != "decimal" or f.decimals > (f.digits or 0)):
        yield "decimals are the implied decimals of a decimal, at most its digits"
    if f.sign != "none" and f.type not in ("integer", "decimal"):
        yield "only a number has a sign"
    if f.type in ("enum", "flags") and not f.values:
        yield f"{f.type} needs values"
    if f.type not in ("enum", "flags") and f.values:
        yield "values belong to enum and flags"
    if f.type == "flags" and any(len(code) != 1 for code in f.values):
        yield "the codes of flags are one letter each"
    if f.type in ("date", "time", "datetime"):
        if not f.format:
            yield 'a date or time needs a format, strptime\'s or "iso"'
        elif f.format == "dtm":
            if form != "edifact":
                yield 'format "dtm" reads a composite of EDIFACT that says its own format'
        elif f.format != "iso" and not re.fullmatch(r"(?:%[YymdHMS]|[^%])+", f.format):
            yield f"format {f.format!r} uses more than %Y %y %m %d %H %M %S"
    elif f.format or f.zone:
        yield "format and zone belong to dates and times"
    if f.type == "datetime" and f.zone is None:
        yield 'say which zone a datetime has: zone = "store" or "iso"'
    if (f.min is not None or f.max is not None) and f.type not in ("string", "enum"):
        yield "min and max are lengths of a string"
    if f.pad is not None and len(f.pad) != 1:
        yield "pad is one character"
    if f.pattern is not None:
        if f.type != "string":
            yield "a pattern belongs to a string"
        try:
            re.compile(f.pattern)
        except re.error as error:
            yield f"the pattern is no regular expression: {error}"
    if (form == "xml") != (f.path is not None):
        yield "a path belongs to XML, and there it is needed"
    if (form == "fixed") != (f.start is not None and f.width is not None):
        yield "start and width belong to fixed columns, and there they are needed"
    if f.stored != "text":
        if not file.record_length or f.type not in ("integer", "decimal"):
            yield "stored says how a number lies in a record of fixed length: record_length = …"
        elif f.sign in ("overpunch", "overpunch_leading", "trailing") and f.stored != "zoned":
            yield 'a stored number is signed by its form; sign = "leading" says of a zoned one that the first byte is'
        elif f.stored in ("binary", "binary_little") and (f.width or 0) > 16:
            yield "a binary integer has at most 16 bytes"
    if f.column is not None and not file.columns:
        yield "column belongs to rows under column names: columns = true"
    if (form in EDI) != (f.at is not None) or (f.at is not None and not _ELEMENT.fullmatch(f.at)):
        yield 'at = "ELEMENT" or "ELEMENT.COMPONENT" belongs to segments, and there it is needed'
    if (f.read != "text" or f.otherwise) and form != "xml":
        yield "read and otherwise belong to XML"
    if f.read == "position" and f.type != "integer":
        yield "a position is an integer"
    if f.read != "text" and f.otherwise:
        yield "otherwise leads to other texts"


_KINDS: Final[dict[str, Kind]] = {
    "string": "string", "integer": "integer", "decimal": "decimal", "date": "date", "time": "time", "datetime": "datetime",
    "boolean": "boolean", "enum": "string",
}  # fmt: skip


def _shape(record: Record, headers: tuple[Record, ...] = ()) -> ShapeRecord:
    """What mappings see: fields, then (for the transaction) the file's headers, then child records. Flags are a record of booleans."""
    made = ShapeRecord(record.name)
    for f in record.fields:
        required = f.required or f.default is not None or f.type == "flags"
        shape: Leaf | ShapeRecord
        if f.type == "flags":
            shape = ShapeRecord(f.name, [ShapeField(code, Leaf("boolean"), doc=says) for code, says in f.values.items()])
        else:
            digits = None
            if f.type == "decimal" and f.digits is not None:
                digits = (f.digits, f.decimals) if f.decimals is not None else None
            values = tuple(f.values) if f.type == "enum" and f.closed else None
            longest = f.max if f.type in ("string", "enum") else None
            shape = Leaf(_KINDS[f.type], longest, digits, f.pattern, values, min_length=f.min or (1 if f.type == "string" else None))
        made.fields.append(ShapeField(f.name, shape, required=required, personal=f.personal))
    for header in headers:
        made.fields.append(ShapeField(header.name, _shape(header), required=header.needed or header.rule.role != "file_header"))
    for child in filter(record.holds, record.children):
        made.fields.append(ShapeField(child.name, _shape(child), required=child.needed, repeated=child.repeated))
    return made
