"""The text that a translation writes: lines, names, constants, temporaries, and the findings on the way.

The text is made from our own nodes and templates only; what a mapping's author writes enters it as names made here (`Emitter.name`) or
through `repr()` of constants. That is why executing it is safe: no expression of a file is ever evaluated as Python.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from contracts.errors import Finding
from mappings.language import runtime
from mappings.language.expression import Choice
from mappings.language.kinds import NOTHING, Type, Value
from mappings.language.read import MappingFile, Place, Rule
from mappings.language.shape import Field, Form, Message, Record

_WORDS: Final = frozenset(
    {*keyword.kwlist, *dir(builtins), *(n for n in dir(runtime) if not n.startswith("_")), "context", "document", "record", "tag", "source"}
)
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|-?[0-9]+|'[^'\\{}]*'|None|True|False").fullmatch


class Problem(Exception):  # becomes a Finding with the place of the rule
    def __init__(self, message: str, suggestion: str = "", column: int = 0) -> None:
        super().__init__(message)
        self.message, self.suggestion, self.column = message, suggestion, column


@dataclass(frozen=True, slots=True)
class Where:
    """What a line of generated code is about. `path` has a `{name}` for each row index."""

    target: str = ""
    path: str = ""
    line: int = 0
    personal: bool = False
    constant: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    indent: int
    text: str
    where: Where
    plain: bool = False
    """Needed where JSON values are plain objects, not of types made for them."""


@dataclass(slots=True, eq=False)
class Slot:
    field: Field
    var: str
    node: RecordNode | None = None


@dataclass(slots=True, eq=False)
class RecordNode:
    """A source record that is being read: the variable that holds it, and the fields of it that somebody asked for."""

    record: Record
    var: str
    path: tuple[str, ...]
    where: str
    outer: RecordNode | None = None
    optional: bool = False
    function: str = ""
    rows: str = ""
    """Where records are grouped and this is the first of its group: the variable that holds all of them."""
    slots: dict[str, Slot] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prelude:
    """The place in the code where a record's fields are read; filled in when it is known which."""

    indent: int
    node: RecordNode
    where: Where


@dataclass(frozen=True, slots=True)
class Remembered:
    """`out` is what the function makes of the inputs, which are texts of one record: made once for equal ones where that is safe."""

    indent: int
    out: str
    function: str
    table: str
    inputs: tuple[str, ...]
    code: str
    """The one of two inputs that has few values, if one has."""
    where: Where

    @property
    def text(self) -> str:
        return f"{self.out} = {self.function}({', '.join(self.inputs)})"

    def looked_up(self, *, exact: bool = False) -> Iterator[Line]:
        """`exact`: values of rows differ more, so that what is not in the table matters."""
        inputs = ", ".join(self.inputs)
        key = next(i for i in self.inputs if i != self.code) if self.code else inputs if len(self.inputs) == 1 else f"({inputs})"
        found, made = f"{self.table}[{key}]", f"remember({self.table}, {key}, {self.function}, {inputs})"
        if self.code:
            found, made = f"{self.table}[{self.code}][{key}]", f"remember_by({self.table}, {self.code}, {key}, {self.function}, {inputs})"
        if exact:
            yield Line(self.indent, f"{self.out} = {self.table}[{inputs if len(self.inputs) == 1 else f'({inputs})'}]", self.where)
            return
        for deeper, text in ((0, "try:"), (1, f"{self.out} = {found}"), (0, "except KeyError:"), (1, f"{self.out} = {made}")):
            yield Line(self.indent + deeper, text, self.where)


Part = Line | Prelude | Remembered


@dataclass(slots=True)
class Lineage:
    """One target field: its expression, the source paths it is made from and the functions on the way."""

    target: str
    expression: str
    line: int
    sources: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)


class Emitter:
    """One translation of one mapping in one direction. `findings` holds what is wrong; the text is only good when it is empty."""

    def __init__(self, file: MappingFile, source: Message, target: Message, steps: tuple[str, ...] = ()) -> None:
        self.file, self.source, self.target, self.steps = file, source, target, steps
        self.form: Form = source.form
        self.findings: list[Finding] = []
        self._told: set[Finding] = set()
        self.lines: list[Part] = []
        self.functions: list[tuple[Remembered, list[Part]]] = []
        """What values are made by, and their lines."""
        self.leaves: dict[str, Field] = {}
        """Variables that hold single values of the source."""
        self.constants: dict[str, Any] = {}
        self.enumerations: dict[str, str] = {}
        """Constant that holds a table of cases -> target field."""
        self.used: set[tuple[str, ...]] = set()
        self.filled: list[str] = []
        self.lineage: dict[str, Lineage] = {}
        self.parameters_used: set[str] = set()
        self.secrets: set[str] = set()
        """Names of the secrets that a request needs."""
        self.asked: Message | None = None
        """The request that an answer belongs to, where the mapping names its noun."""
        self.hoisted: list[Part] = []
        self.memos: dict[tuple[str, str], str] = {}
        self.blocks: list[int] = []
        self.known: dict[str, tuple[str, tuple[int, ...], str]] = {}
        """Code that was computed -> function, blocks around it, variable: the same expression is computed once."""
        self.indexed: dict[str, str] = {}
        """Variable of rows that were grouped -> the one that holds them with their places in the document."""
        self.source_is_unknown = False
        """The path to the source's records leads nowhere: nothing can be said of their fields."""
        self.failed: list[Rule] = []
        """Lines with a mistake in them: what they name is not missed besides."""
        self.outer: list[str] = []
        self.levels: list[RecordNode] = []
        self.drops: set[tuple[str, ...]] = set()
        self.optional_target = False
        self.this: Value | None = None
        self.indent = 0
        self.taken: set[str] = set(_WORDS)
        self.rule: Rule | None = None
        self.target_path = ""
        self.current: Lineage | None = None
        self.function = ""
        self.turned = False
        """A mapping turned round writes numbers into text fields as text, as the forward direction read them from there."""
        self.root = RecordNode(source.root, "document", (), "")

    # ---- findings and text ----

    def find(self, message: str, suggestion: str = "", *, place: Place | None = None, column: int = 0) -> None:
        rule = self.rule
        if place is None:
            place = rule.place if rule else self.file.fields.place
            if column and rule:
                place = Place(*place.within(rule.text, column))
                column = 0
        finding = Finding(self.file.file, place.line, message, suggestion, column or place.column)
        if finding not in self._told:
            self._told.add(finding)
            self.findings.append(finding)

    @contextmanager
    def about(self, rule: Rule, target: str = "") -> Iterator[None]:
        """Findings in here belong to that rule."""
        before = self.rule, self.current
        self.rule = rule
        if target:
            self.current = self.lineage.setdefault(target, Lineage(target, rule.text, rule.place.line))
        try:
            yield
        except Problem as problem:
            self.failed.append(rule)
            hint = problem.suggestion
            if isinstance(rule.node, Choice) and hint.startswith("append |") and not problem.column:
                hint = f"put brackets round the choice, (… if … else …), then {hint}"
            self.find(f"{target or rule.name}: {problem.message}", hint, column=problem.column)
        finally:
            self.rule, self.current = before

    def emit(self, text: str, where: str = "", *, personal: bool = False, constant: bool = False, plain: bool = False) -> None:
        line = self.rule.place.line if self.rule else 0
        self.lines.append(Line(self.indent, text, Where(self.target_path, where, line, personal, constant), plain))

    @contextmanager
    def block(self, head: str, where: str = "", *, plain: bool = False) -> Iterator[None]:
        self.emit(head, where, plain=plain)
        self.indent += 1
        self.blocks.append(len(self.lines))
        try:
            yield
        finally:
            self.indent -= 1
            self.blocks.pop()

    def name(self, base: str) -> str:
        """A variable that nothing else uses."""
        stem = re.sub(r"\W", "_", base, flags=re.ASCII)[:40].strip("_") or "x"
        if stem[0].isdigit():
            stem = f"x{stem}"
        name, number = stem, 1
        while name in self.taken:
            number += 1
            name = f"{stem}_{number}"
        self.taken.add(name)
        return name

    def constant(self, base: str, value: Any) -> str:
        for name, known in self.constants.items():
            if type(known) is type(value) and known is value:
                return name
        name = self.name(base.upper())
        self.constants[name] = value
        return name

    def memo(self, base: str, key: str, convert: Callable[[Any], Any]) -> str:
        """A bounded table that converts what it does not hold; one per `key` in a mapping."""
        most = runtime.MEMO_OF_ROWS if self.form == "rows" else runtime.MEMO
        return self.memos.get((base, key)) or self.memos.setdefault((base, key), self.constant(base, runtime.Memo(convert, most)))

    def holds(self, code: str) -> str:
        """The variable of what was computed in this scope already, or nothing."""
        function, blocks, name = self.known.get(code, ("", (), ""))
        return name if function == self.function and tuple(self.blocks[: len(blocks)]) == blocks else ""

    def temporary(self, code: str, value: Value) -> str:
        if name := self.holds(code):
            return name
        name = self.name(self.target_path.rpartition(".")[2] or "value")
        self.emit(f"{name} = {code}", value.where, personal=value.personal)
        self.known[code] = self.function, tuple(self.blocks), name
        return name

    def simple(self, value: Value) -> Value:
        """The value in a variable, so that it can be named twice."""
        return value if IDENTIFIER(value.code) else replace(value, code=self.temporary(value.code, value))

    def apply(self, value: Value, template: str, type: Type, *, optional: bool | None = None) -> Value:
        """`template` with the value in place of `$`; absent stays absent."""
        if not value.optional:
            code = f"({value.code})" if value.code.isdigit() else value.code  # 7.__class__ is no Python
            return value.with_(template.replace("$", code), type, optional=optional)
        value = self.simple(value)
        code = self.temporary(f"None if {value.code} is None else {template.replace('$', value.code)}", value)
        return value.with_(code, type, optional=True)

    def native(self, value: Value) -> Value:
        """The value as the Python object of its kind."""
        if value.raw is None or value.type.kind in ("record", "list", "any"):
            return value
        if value.type.kind in ("string", "binary"):
            return replace(value if value.raw == "xml" else self.text(value), raw=None)
        return self.simple(self.apply(value, self.conversion(value), value.type))

    def conversion(self, value: Value) -> str:
        """Template that turns what the form delivers into its kind. A value that is of the kind already costs no call."""
        function = runtime.NATIVE[value.type.kind].__name__
        if value.type.kind == "decimal" and value.raw in ("xml", "rows"):
            return f"{self.memo('decimals', '', runtime.decimal)}[$]"
        if value.raw == "xml":
            return f"{function}($)"
        if value.type.kind == "decimal":
            return f"({self.memo('decimals', '', runtime.decimal)}[$] if $.__class__ is str else decimal($))"
        own = {"integer": "int", "boolean": "bool", "date": "date", "time": "time", "datetime": "datetime"}.get(value.type.kind)
        return f"($ if $.__class__ is {own} else {function}($))" if own else f"{function}($)"

    def text(self, value: Value) -> Value:
        """Proven to be text, once per scope."""
        value = self.simple(value)
        if not self.holds(proof := f"{value.code} is text"):
            guard = f"{value.code} is not None and " if value.optional else ""
            with self.block(f"if {guard}{value.code}.__class__ is not str:", plain=True):
                self.emit(f"wrong('text', {value.code})", value.where, personal=value.personal, plain=True)
            self.known[proof] = self.function, tuple(self.blocks), value.code
        return value

    def literal(self, value: Any) -> Value:
        if value is None:
            return Value("None", NOTHING, optional=True, const=None)
        kind = "boolean" if isinstance(value, bool) else "integer" if isinstance(value, int) else "string"
        return Value(repr(value), Type(kind, values=(value,)), const=value)
