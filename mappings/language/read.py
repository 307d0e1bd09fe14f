"""Mapping files: TOML text -> rules with their lines. Every mistake of form is a finding; meaning is checked in `build`."""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts.errors import Finding
from mappings.language.expression import Const, ExpressionError, Node, Sequence, parse

MAX_FILE = 1_000_000
TOP = (
    "target",
    "source",
    "asked",
    "where",
    "group",
    "also",
    "reverse",
    "doc",
    "fields",
    "drops",
    "tables",
    "parameters",
    "refuse",
    "example",
    "decide",
)
UNDECIDED = "not decided yet"
"""The reason of a drop that a draft wrote: the check asks for a better one."""
GUESS = re.compile(r"""("(?:[^"\\]|\\.)*"|'[^']*'|[^"'#\s]+)[ \t]*# likely \((\d\.\d\d)\): (.*)""")
"""A value and the remark that a draft writes behind a line which it only found likely."""
GROUP_WORDS = ("each", "of", "where", "when", "group")
"""Words inside [fields.x] that are no target fields. A target field of that name is written with a leading `=`: "=each"."""
EXAMPLE = ("name", "given", "expect", "error", "zone", "zones", "locations", "received_at", "parameters", "asked")


@dataclass(frozen=True, slots=True)
class Place:
    """Of a value; `quote` characters open its text, which starts on the next line when `below` is 1."""

    line: int
    column: int = 0
    quote: int = 1
    below: int = 0

    def within(self, text: str, column: int) -> tuple[int, int]:
        """Line and column in the file of a place in the value's text; `column` counts from 1 behind its leading blanks."""
        if not self.column:
            return self.line, 0
        offset = column - 1 + len(text) - len(text.lstrip())
        start = text.rfind("\n", 0, offset) + 1
        first = not start and not self.below
        return self.line + self.below + text.count("\n", 0, offset), offset - start + (self.column + self.quote if first else 1)


@dataclass(frozen=True, slots=True)
class Rule:
    """One field line."""

    name: str
    node: Node
    text: str
    place: Place


@dataclass(slots=True)
class Group:
    """The rules of one target record. `each`: the list it is repeated over; `of`: the nested source record its paths start at."""

    place: Place
    rules: dict[str, Rule] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    """Fields whose line could not be read, and what stands there."""
    each: Rule | None = None
    of: Rule | None = None
    where: Rule | None = None
    when: Rule | None = None
    group: Rule | None = None
    """What rows must share to become one record: `each` gives one for each value of it."""
    rows: list[Group] = field(default_factory=list)
    """Of a list that is written row by row ([[fields.x]]): the rules of each row, and none here."""


@dataclass(frozen=True, slots=True)
class Drop:
    path: str
    reason: str
    place: Place


@dataclass(frozen=True, slots=True)
class Refusal:
    """A business refusal that comes as a normal answer: `when` holds, `code` and `reason` say which."""

    when: Rule
    code: Rule | None
    reason: Rule | None


@dataclass(frozen=True, slots=True)
class Example:
    name: str
    given: Any
    expect: Any
    error: str | None
    zone: str
    zones: dict[str, str]
    received_at: str
    parameters: dict[str, Any]
    place: Place
    locations: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Number -> fields of the canonical location, for `location(…)`."""
    asked: Any = None
    """The request it answers, as canonical JSON."""


@dataclass(slots=True)
class MappingFile:
    file: str
    text: str
    target: str = ""
    source: str = ""
    asked: str = ""
    """The noun of the request that the answer belongs to, for `asked.FIELD`."""
    doc: str = ""
    reverse: bool = False
    where: Rule | None = None
    group: Rule | None = None
    """What source records must share to become one target."""
    also: list[Group] = field(default_factory=list)
    """Further targets of one source record: the fields of the first, with these in their place."""
    fields: Group = field(default_factory=lambda: Group(Place(1)))
    drops: list[Drop] = field(default_factory=list)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    undecided: set[str] = field(default_factory=set)
    """Target fields that a draft left to a person, in [decide]."""
    refusals: list[Refusal] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    places: dict[tuple[str | int, ...], Place] = field(default_factory=dict)
    own: Mapping[str, Any] = field(default_factory=dict)
    """Functions of the estate that expressions may call, see `own`."""
    own_digest: str = ""

    @property
    def name(self) -> str:
        return self.file.rpartition("/")[2].removesuffix(".toml")

    @property
    def version(self) -> str:
        return hashlib.sha256((self.text + self.own_digest).encode()).hexdigest()[:12]


def groups(group: Group) -> Iterator[Group]:
    """The group and all below it."""
    yield group
    for below in (*group.groups.values(), *group.rows):
        yield from groups(below)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean X?`, or the list of what there is."""
    names = sorted(set(known))
    if near := difflib.get_close_matches(word, names, 1, 0.6) or [n for n in names if n.casefold() == word.casefold()]:
        return f"did you mean {near[0]}?"
    return f"there is {', '.join(names[:12])}{', …' if len(names) > 12 else ''}" if names else "there is none"


def read(text: str, file: str) -> tuple[MappingFile, list[Finding]]:
    """All findings at once; with findings the file is as complete as it could be read."""
    result = MappingFile(file, text)
    if len(text) > MAX_FILE:
        return result, [Finding(file, 1, f"the file has {len(text)} characters", f"at most {MAX_FILE} are read")]
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        at = re.search(r"at line (\d+), column (\d+)", str(error))
        line, column = (int(at[1]), int(at[2])) if at else (text.count("\n") + 1, 0)
        said = re.sub(r" *[(]at .*", "", str(error))
        hint = 'an expression stands in quotes: name = "FIELD | text"' if said == "Invalid value" else "see https://toml.io"
        return result, [Finding(file, line, f"not TOML: {said}", hint, column)]
    result.places = _scan(text)
    reader = _Reader(result, data)
    reader.read()
    return result, sorted(reader.findings, key=lambda f: (f.line, f.column))


class _Reader:
    def __init__(self, result: MappingFile, data: dict[str, Any]) -> None:
        self.result, self.data, self.findings = result, data, list[Finding]()

    def place(self, *path: str | int) -> Place:
        while path:
            if found := self.result.places.get(path):
                return found
            path = path[:-1]
        return Place(1)

    def find(self, place: Place, message: str, suggestion: str = "", column: int = 0) -> None:
        self.findings.append(Finding(self.result.file, place.line, message, suggestion, column or place.column))

    def read(self) -> None:
        result, data = self.result, self.data
        for key in data.keys() - set(TOP):
            self.find(self.place(key), f"unknown key {key}", did_you_mean(key, TOP))
        result.target = self.text("target", required=True)
        result.source = self.text("source", required=True)
        result.asked = self.text("asked")
        result.doc = self.text("doc")
        result.reverse = self.typed("reverse", bool, "true or false") or False
        if "where" in data:
            result.where = self.rule("where", data["where"], ("where",))
        if "group" in data:
            result.group = self.rule("group", data["group"], ("group",))
        for i, row in self.rows("also"):
            result.also.append(self.group(row, ("also", i)))
        fields = self.typed("fields", dict, "a table [fields]")
        if fields:
            result.fields = self.group(fields, ("fields",))
        elif (fields is not None or "fields" not in data) and not data.get("decide") and not (data.get("drops") and "." in result.target):
            self.find(self.place("fields"), "the mapping fills no field", "write [fields] with one line per target field")
        for path, reason in (self.typed("drops", dict, "a table [drops]") or {}).items():
            if isinstance(reason, str) and reason.strip():
                result.drops.append(Drop(path, reason, self.place("drops", path)))
            else:
                self.find(self.place("drops", path), f"the drop of {path} gives no reason", f'write {path} = "why it is left out"')
        self.decisions()
        self.guesses()
        self.tables()
        result.parameters = self.typed("parameters", dict, "a table [parameters]") or {}
        for name, value in result.parameters.items():
            if not isinstance(value, str | int | bool):
                self.find(self.place("parameters", name), f"parameter {name} is no constant", "write a string, integer or boolean")
        self.refusals()
        self.examples()

    def text(self, key: str, *, required: bool = False) -> str:
        value = self.typed(key, str, "a string")
        if required and not value and (key not in self.data or value == ""):
            self.find(self.place(key), f"{key} is missing", f'write {key} = "…" at the top')
        return (value or "").strip()

    def typed(self, key: str, kind: type, what: str) -> Any:
        value = self.data.get(key)
        if value is None or isinstance(value, kind):
            return value
        self.find(self.place(key), f"{key} is {type(value).__name__}", f"write {what}")
        return None

    def rule(self, name: str, value: Any, path: tuple[str | int, ...]) -> Rule | None:
        place = self.place(*path)
        if isinstance(value, bool | int):
            return Rule(name, Const(value), str(value).lower(), place)
        if isinstance(value, list) and all(isinstance(v, str) for v in value):
            return Rule(name, Sequence(tuple(map(Const, value))), repr(value), place)
        if not isinstance(value, str):
            self.find(
                place, f"{name} is {type(value).__name__}", "write an expression in quotes, a table for a nested record, or a constant"
            )
            return None
        if not value.strip():
            self.find(
                place, f"{name} has an empty expression", f"write the source path, or leave the line out; empty text is {name} = \"''\""
            )
            return None
        try:
            return Rule(name, parse(value), value, place)
        except ExpressionError as error:
            line, column = place.within(value, error.column)
            self.find(Place(line), f"{name}: {error.message}", error.suggestion, column)
            return None

    def group(self, table: dict[str, Any], path: tuple[str | int, ...]) -> Group:
        group = Group(self.place(*path))
        if len(path) > 20:
            self.find(group.place, "the fields nest too deeply", "at most 20 levels are read")
            return group
        for key, value in table.items():
            here = (*path, key)
            if key in GROUP_WORDS and len(path) > 1:
                setattr(group, key, self.rule(key, value, here))
            elif isinstance(value, dict):
                group.groups[key.removeprefix("=")] = self.group(value, here)
            elif isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
                rows = [self.group(row, (*here, index)) for index, row in enumerate(value)]
                group.groups[key.removeprefix("=")] = Group(self.place(*here, 0), rows=rows)
            elif (rule := self.rule(key.removeprefix("="), value, here)) is not None:
                group.rules[rule.name] = rule
            else:
                group.broken[key.removeprefix("=")] = str(value)
        if path not in self.result.places:  # the table itself is not written
            places = [r.place for r in group.rules.values()] + [g.place for g in group.groups.values()]
            group.place = (places or [group.place])[0]
        if group.group and not group.each:
            self.find(group.group.place, "group stands without each", "group puts rows of a list together: name the list with `each`")
        if group.where and not group.each:
            self.find(group.where.place, "where stands without each", "where picks rows of a list; a condition on one record is `when`")
        return group

    def decisions(self) -> None:
        """What a draft leaves open is a finding each, until somebody has decided."""
        for target, question in (self.typed("decide", dict, "a table [decide]") or {}).items():
            self.result.undecided.add(target)
            self.find(
                self.place("decide", target), f"{target} is not decided: {question}", "write its line under [fields], then remove this one"
            )
        if waiting := [d for d in self.result.drops if d.reason == UNDECIDED]:
            names = ", ".join(d.path for d in waiting[:8]) + (", …" if len(waiting) > 8 else "")
            self.find(
                waiting[0].place, f"{len(waiting)} left out without a reason: {names}", "map what is needed; for the rest write why not"
            )

    def guesses(self) -> None:
        """What a draft only found likely is a finding each, until somebody has looked and taken the remark away."""
        lines = self.result.text.split("\n")
        placed = {p.line: (path, p) for path, p in self.result.places.items() if path[0] == "fields" and p.column and p.quote == 1}
        for path, place in placed.values():
            if found := GUESS.match(lines[place.line - 1], place.column - 1):
                name = ".".join(str(p).removeprefix("=") for p in path[1:])
                said = f"{name} is only likely ({found[2]}): {found[3].strip()}"
                self.find(place, said, "correct the line if it is wrong, then remove its remark")

    def tables(self) -> None:
        for name, table in (self.typed("tables", dict, "tables [tables.NAME]") or {}).items():
            if isinstance(table, dict) and all(isinstance(v, str | int | bool) for v in table.values()):
                self.result.tables[name] = table
            else:
                self.find(self.place("tables", name), f"table {name} is not flat", "write one line per case: code = constant")

    def rows(self, key: str) -> list[tuple[int, dict[str, Any]]]:
        rows = self.typed(key, list, f"[[{key}]]") or []
        good = [(i, row) for i, row in enumerate(rows) if isinstance(row, dict)]
        if len(good) != len(rows):
            self.find(self.place(key), f"{key} is no list of tables", f"write [[{key}]]")
        return good

    def refusals(self) -> None:
        for i, row in self.rows("refuse"):
            for key in row.keys() - {"when", "code", "reason"}:
                self.find(self.place("refuse", i, key), f"unknown key {key}", did_you_mean(key, ("when", "code", "reason")))
            rules = {k: self.rule(k, row[k], ("refuse", i, k)) for k in ("when", "code", "reason") if k in row}
            if (when := rules.get("when")) is not None:
                self.result.refusals.append(Refusal(when, rules.get("code"), rules.get("reason")))
            elif "when" not in row:
                self.find(self.place("refuse", i), "the refusal has no condition", "write when = \"TYPE == 'E'\"")

    def examples(self) -> None:
        for i, row in self.rows("example"):
            place = self.place("example", i)
            for key in row.keys() - set(EXAMPLE):
                self.find(self.place("example", i, key), f"unknown key {key}", did_you_mean(key, EXAMPLE))
            if "given" not in row or ("expect" in row) == ("error" in row):
                self.find(place, "an example has `given` and either `expect` or `error`", "write all that it needs")
                continue
            tables = [row.get(name, {}) for name in ("zones", "parameters", "locations")]
            if not isinstance(row.get("error", ""), str) or not all(isinstance(t, dict) for t in (*tables, *dict(tables[2]).values())):
                said = "the example's error, zones, parameters or locations have the wrong type"
                self.find(place, said, "error is text, the others are tables")
                continue
            zones, parameters, locations = tables
            self.result.examples.append(
                Example(
                    str(row.get("name", f"example {i + 1}")),
                    row["given"],
                    row.get("expect"),
                    row.get("error"),
                    str(row.get("zone", "UTC")),
                    {str(k): str(v) for k, v in zones.items()},
                    str(row.get("received_at", "2026-01-01T00:00:00Z")),
                    parameters,
                    place,
                    locations,
                    row.get("asked"),
                )
            )


_BARE = r"[A-Za-z0-9_-]+"
_KEY = re.compile(rf"""\s*(?:{_BARE}|"(?:[^"\\]|\\.)*"|'[^']*')(?:\s*\.\s*(?:{_BARE}|"(?:[^"\\]|\\.)*"|'[^']*'))*\s*""")
_PART = re.compile(rf"""{_BARE}|"(?:[^"\\]|\\.)*"|'[^']*'""")
_STRING = re.compile(r'''"""|\'\'\'|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|#[^\n]*|[\[\]{}\n]''')


def _scan(text: str) -> dict[tuple[str | int, ...], Place]:
    """Where each key of a valid TOML text stands: tomllib keeps no positions."""
    places: dict[tuple[str | int, ...], Place] = {}
    table: tuple[str | int, ...] = ()
    counts: dict[tuple[str | int, ...], int] = {}
    lines = [f"{line}\n" for line in text.split("\n")]
    at = 0
    starts: list[int] = []
    for line in lines:
        starts.append(at)
        at += len(line)
    number = 0
    while number < len(lines):
        line = lines[number]
        stripped = line.lstrip()
        if stripped.startswith("["):
            double = stripped.startswith("[[")
            if key := _KEY.match(stripped, 2 if double else 1):
                table = _indexed(_names(key[0]), counts)
                if double:
                    counts[table] = counts.get(table, -1) + 1
                    table = (*table, counts[table])
                places.setdefault(table, Place(number + 1))
        elif stripped and stripped[0] not in "#\r\n" and (key := _KEY.match(line)) and line[key.end() : key.end() + 1] == "=":
            path = (*table, *_names(key[0]))
            value = key.end() + 1 + len(line[key.end() + 1 :]) - len(line[key.end() + 1 :].lstrip())
            quote = 3 if line[value : value + 3] in ('"""', "'''") else 1
            place = Place(number + 1, value + 1, quote, int(quote == 3 and line[value + 3 :] in ("\n", "\r\n")))
            for end in range(len(table) + 1, len(path) + 1):
                places.setdefault(path[:end], place)
            if line[value : value + 1] == "{":
                _inline(line, value, path, number + 1, places)
            number = _after(text, starts[number] + value, number)
        number += 1
    return places


def _names(key: str) -> tuple[str, ...]:
    return tuple(tomllib.loads(f"k = {p}")["k"] if p[0] in "\"'" else p for p in _PART.findall(key))


def _indexed(names: tuple[str, ...], counts: dict[tuple[str | int, ...], int]) -> tuple[str | int, ...]:
    path: tuple[str | int, ...] = ()
    for i, name in enumerate(names):
        path = (*path, name)
        if path in counts and i < len(names) - 1:
            path = (*path, counts[path])
    return path


def _inline(line: str, start: int, path: tuple[str | int, ...], number: int, places: dict[tuple[str | int, ...], Place]) -> None:
    """Keys of a one-level inline table."""
    for part in re.finditer(rf"""[{{,]\s*({_BARE}|"(?:[^"\\]|\\.)*"|'[^']*')\s*=\s*""", line[start:]):
        places.setdefault((*path, *_names(part[1])), Place(number, start + part.end() + 1))


def _after(text: str, start: int, number: int) -> int:
    """The number of the line on which the value that starts at `start` ends."""
    depth, position = 0, start
    while found := _STRING.search(text, position):
        piece, position = found[0], found.end()
        if piece in ('"""', "'''"):
            end = re.compile(r'(?:[^\\]|\\.)*?"""' if piece == '"""' else r"[\s\S]*?'''", re.DOTALL).match(text, position)
            closed = end.end() if end else len(text)
            number += text.count("\n", position, closed)
            position = closed
        elif piece == "\n":
            if depth <= 0:
                return number
            number += 1
        elif piece in "[{":
            depth += 1
        elif piece in "]}":
            depth -= 1
    return number
