"""A mapping that passed the check: compiled functions, and everything it can tell about itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from functools import cached_property
from types import CodeType, TracebackType
from typing import Any

import msgspec

from contracts.canonical.base import Provenance
from contracts.canonical.location import Location
from contracts.errors import ContractViolation, Finding, Findings, InvalidBody, UpstreamRejected
from mappings.language import runtime
from mappings.language.build import Builder
from mappings.language.check import translate
from mappings.language.emit import Lineage, Where
from mappings.language.own import NO_OWN, Own
from mappings.language.read import MappingFile, did_you_mean, read
from mappings.language.render import Renderer, rows_of, typed_of
from mappings.language.rows import Rows, Shortened, Way
from mappings.language.shape import Exchange, Message
from mappings.language.structs import message
from mappings.language.typed import DECODER, Decoded, Typed


def _nothing(kind: str, path: str, value: str) -> None:
    """Drift that nobody counts."""


def _no_zone(location: str) -> tzinfo | None:
    return None


def _no_location(number: str) -> Location | None:
    return None


@dataclass(slots=True)
class ReadContext:
    """What a mapping may know beside the document. `drift(kind, path, value)` counts: kind is element, member or value."""

    system: str
    operation: str
    received_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    provenance: tuple[Provenance, ...] = ()
    zone_of: Callable[[str], tzinfo | None] = _no_zone
    location_of: Callable[[str], Location | None] = _no_location
    drift: Callable[[str, str, str], None] = _nothing
    parameters: Mapping[str, Any] = field(default_factory=dict, repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of the operation, for requests."""
    asked: msgspec.Struct | None = field(default=None, repr=False)
    """The request that the answer belongs to."""


@dataclass(slots=True)
class _Code:
    """One generated module: its functions, and what each line is about."""

    text: str
    wheres: list[Where]
    filename: str
    functions: dict[str, Any]


Shortcut = Rows | Typed

_FOREIGN = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
_INDEX = re.compile(r"\[\{\w+\}\]|/\{\w+\}")


class CompiledMapping:
    """Reads documents into Structs, or writes Structs as request documents.

    Errors: ContractViolation for a document that breaks its contract (with place, expected, got), UpstreamRejected for a declared business
    refusal, InvalidBody for a canonical value that the system cannot take: that is the caller's to change, so its place is a JSON pointer
    into the canonical value and no field of the system is named.
    """

    def __init__(self, file: MappingFile, builder: Builder, inverse: Builder | None = None) -> None:
        self.file, self.builder, self.inverse = file, builder, inverse
        self.name, self.version = file.name, file.version
        self.reads = builder.target.form == "struct"
        self.source, self.target = builder.source, builder.target
        self.lineage: dict[str, Lineage] = builder.lineage
        self.secrets = frozenset(builder.secrets)
        """What the context must hold for a request to be written."""
        self._code = _compile(builder, self.name)
        self._local: _Code | None = None
        self._short: dict[Way | None, _Code] = {}
        self._inverse = _compile(inverse, f"{self.name} (reverse)") if inverse is not None else None
        if self.reads:
            self._one = self._code.functions["one"]
            self._outer = self._code.functions.get("outer")

    @cached_property
    def shortcut(self) -> Shortcut | None:
        """How an answer can be read without a document of all of it: what a driver makes with it goes to `read` in the document's place."""
        makers: dict[str, Callable[[Builder], Shortcut | None]] = {"xml": rows_of, "json": typed_of}
        return makers[self.source.form](self.builder) if self.reads and self.source.form in makers else None

    def read(self, document: Any, context: ReadContext) -> list[Any]:
        """All targets of one document; all or nothing."""
        found: list[Any]
        code = self._code
        if document.__class__ is Shortened:
            code = self._shorter(document.way)
        elif document.__class__ is Decoded:
            if document.typed is self.shortcut:
                if (rows := self._read_typed(document, context)) is not None:
                    return rows
                document.typed.failed()
            document = DECODER.decode(document.text)
        try:
            found = code.functions["read"](document, context)
        except runtime.Renamed:
            found = self._by_local_name("read", context, document)
        except runtime.Refused as refused:
            raise UpstreamRejected(
                system=context.system, operation=context.operation, reason=refused.reason or "refused", refusal=refused.code
            ) from refused
        except (runtime.Bad, *_FOREIGN) as error:
            raise self._violation(error, context, code) from error
        return found

    def read_one(self, record: Any, context: ReadContext, *ancestors: Any) -> Any:
        """One record of the source path, for streams: the caller sets aside only what fails.

        `ancestors`: the records above it, from the document down, when the mapping speaks of `root` or `parent`. None when `where` leaves
        the record out.
        """
        try:
            outer = self._outer(context, *ancestors) if self._outer is not None else ()
            return self._one(record, context, *outer)
        except runtime.Renamed:
            return self._by_local_name("one", context, record, *ancestors)
        except (runtime.Bad, *_FOREIGN) as error:
            raise self._violation(error, context, self._code) from error

    def row_reader(self, context: ReadContext) -> Callable[[Any], Any]:
        """`read_one` for rows that their layout's parser made, which are of the types that it says: quicker, with the same answer. What it
        refuses is read plainly, so that the error is the same too.
        """
        drift = list[tuple[str, str, str]]()
        buffered = replace(context, drift=lambda *what: drift.append(what))
        one: Callable[[Any, ReadContext], Any] = self._exact.functions["one"]

        def read(row: Any) -> Any:
            try:
                found = one(row, buffered)
            except (runtime.Bad, *_FOREIGN):
                drift.clear()
                return self.read_one(row, context)
            if drift:
                for what in drift:
                    context.drift(*what)
                drift.clear()
            return found

        return read

    @cached_property
    def _exact(self) -> _Code:
        return _compile(self.builder, f"{self.name} (exact)", exact=True)

    def write(self, source: Any, context: ReadContext) -> dict[str, Any]:
        """The request document. For a reading mapping with `reverse = true`: the source record that would be read as this Struct."""
        code = self._inverse if self.reads else self._code
        if code is None:
            raise TypeError(f"mapping {self.name} reads; write `reverse = true` to turn it round")
        try:
            written: dict[str, Any] = code.functions["write"](source, context)
            return written
        except (runtime.Bad, *_FOREIGN) as error:
            raise self._refusal(error, context, code) from error

    def source_code(self) -> str:
        parts = [self._code.text]
        if self._inverse is not None:
            parts.append(self._inverse.text)
        return "\n".join(parts)

    def explain(self) -> str:
        """One line per target field: where it comes from, and through which functions."""
        width = max((len(t) for t in self.lineage), default=0)
        return "\n".join(f"{t:{width}}  <-  {', '.join(x.sources) or 'a constant'}   {x.expression}" for t, x in self.lineage.items())

    @contextmanager
    def replaced(self, constants: Mapping[str, Any]) -> Iterator[None]:
        """Other values for named constants of the generated code, while a tool looks on (coverage). Not for running gateways."""
        before = {name: self._code.functions[name] for name in constants}
        for part, _ in self.builder.functions:
            self._code.functions.get(part.table, {}).clear()
        self._code.functions.update(constants)
        try:
            yield
        finally:
            self._code.functions.update(before)

    def _by_local_name(self, function: str, context: ReadContext, record: Any, *ancestors: Any) -> Any:
        if self._local is None:
            self._local = _compile(self.builder, f"{self.name} (local names)", local=True)
        functions = self._local.functions
        try:
            outer = functions["outer"](context, *ancestors) if function == "one" and "outer" in functions else ()
            return functions[function](record, context, *outer)
        except runtime.Refused as refused:
            raise UpstreamRejected(
                system=context.system, operation=context.operation, reason=refused.reason or "refused", refusal=refused.code
            ) from refused
        except (runtime.Bad, *_FOREIGN) as error:
            raise self._violation(error, context, self._local) from error

    def _shorter(self, way: Way | None) -> _Code:
        """The variant for what the shortcut made."""
        if (code := self._short.get(way)) is None:
            match self.shortcut:
                case Rows() as rows if way is not None:
                    code = _compile(self.builder, f"{self.name} (rows)", rows=(rows, way))
                case Typed() as typed:
                    code = _compile(self.builder, f"{self.name} (typed)", typed=typed)
                case _:
                    raise TypeError(f"mapping {self.name} has no such shortcut")
            self._short[way] = code
        return code

    def _read_typed(self, document: Decoded, context: ReadContext) -> list[Any] | None:
        """None where a value is not what its mapping needs: read plainly, it says so with the value as it was sent, and drifts once."""
        code, drift, buffered = self._shorter(None), list[tuple[str, str, str]](), context
        if "open_cases(" in code.text or "gtin(" in code.text:
            buffered = replace(context, drift=lambda kind, path, value: drift.append((kind, path, value)))
        try:
            found: list[Any] = code.functions["read"](document.value, buffered)
        except (runtime.Bad, runtime.Refused, *_FOREIGN):
            return None
        for what in drift:
            context.drift(*what)
        return found

    def _violation(self, error: Exception, context: ReadContext, code: _Code) -> ContractViolation:
        where, path = _place(error.__traceback__, code)
        expected, got, at = _parts(error, where)
        if at.startswith("../"):
            path = f"{path.rpartition('/')[0]}/{at[3:]}".lstrip("/")
        elif at and not path.endswith(at):
            path = f"{path}/{at}".lstrip("/")
        return ContractViolation(
            system=context.system,
            operation=context.operation,
            where=path or self.source.name,
            expected=expected,
            got=got,
        )

    def _refusal(self, error: Exception, context: ReadContext, code: _Code) -> ContractViolation | InvalidBody:
        where, path = _place(error.__traceback__, code)
        expected, got, _ = _parts(error, where)
        if not path:
            return ContractViolation(
                system=context.system,
                operation=context.operation,
                where=where.target or self.target.name,
                expected=expected,
                got=got,
                sent=False,
            )
        return InvalidBody(where=path, expected=expected, got=got)


def _compile(
    builder: Builder,
    name: str,
    *,
    local: bool = False,
    rows: tuple[Rows, Way] | None = None,
    typed: Typed | None = None,
    exact: bool = False,
) -> _Code:
    """Executes text that `build` and `render` made; see there why that is safe."""
    renderer = Renderer(builder, local=local, rows=rows, typed=typed, exact=exact)
    text, wheres = renderer.text()
    filename = f"<mapping {name} {builder.file.version}>"
    code: CodeType = compile(text, filename, "exec")
    names: dict[str, Any] = {n: getattr(runtime, n) for n in dir(runtime) if not n.startswith("_")}
    names.update(renderer.constants)
    exec(code, names)  # noqa: S102  # our own text
    return _Code(text, wheres, filename, names)


def _place(traceback: TracebackType | None, code: _Code) -> tuple[Where, str]:
    """The generated line that failed says what it is about; its variables say which row."""
    where, variables = Where(), dict[str, Any]()
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code.co_filename == code.filename:
            where = code.wheres[traceback.tb_lineno - 1]
            variables.update(frame.f_locals)
        traceback = traceback.tb_next

    def index(found: re.Match[str]) -> str:
        name = found[0].strip("[]/{}")
        return found[0].replace(f"{{{name}}}", str(variables[name])) if name in variables else ""

    return where, _INDEX.sub(index, where.path).replace("{{", "{").replace("}}", "}")


def _parts(error: Exception, where: Where) -> tuple[str, str, str]:
    """What was expected, what came, and where below. What is personal is in neither the message nor its cause."""
    expected, got, at = "a value that fits its type", f"{type(error).__name__}: {error}"[:80], ""
    if isinstance(error, runtime.Bad):
        got = error.got if isinstance(error.got, str) else repr(error.got)
        plain = got in ("nothing", "another one")
        expected, got, at = error.expected, got[:80] if plain else repr(got[:78]) if isinstance(error.got, str) else got[:80], error.at
    if where.personal:
        got = got if got == "nothing" else f"*** ({max(len(got) - 2, 0)} characters)" if where.path else "***"
        error.args, error.__cause__, error.__context__ = (expected, got), None, None
        if isinstance(error, runtime.Bad):
            error.got = got
    return expected, got, at


def load(
    text: str, file: str, shapes: Callable[[str], Exchange], types: Mapping[str, type[msgspec.Struct]], own: Own = NO_OWN
) -> CompiledMapping:
    """Reads, checks and compiles one mapping. `shapes` gives the Exchange of `system.Operation`, or raises LookupError. `own`: functions
    of the estate that it may call.

    Raises Findings with every mistake at once.
    """
    compiled, findings = attempt(text, file, shapes, types, own)
    if compiled is None:
        raise Findings(findings=tuple(findings))
    return compiled


def attempt(
    text: str,
    file: str,
    shapes: Callable[[str], Exchange],
    types: Mapping[str, type[msgspec.Struct]],
    own: Own = NO_OWN,
    *,
    partial: bool = False,
) -> tuple[CompiledMapping | None, list[Finding]]:
    """`partial`: what the source holds besides needs no reason."""
    parsed, findings = read(text, file)
    parsed.own, parsed.own_digest = own.functions, own.digest
    if not parsed.target or not parsed.source or (findings and not (parsed.fields.rules or parsed.fields.groups or parsed.fields.broken)):
        return None, findings
    sides = _sides(parsed, shapes, types, findings)
    if sides is None:
        return None, findings
    source, target, steps = sides
    asked = _asked(parsed, types, findings)
    builder, inverse, more = translate(parsed, source, target, steps, partial=partial, asked=asked)
    if found := [*findings, *more]:
        return None, sorted(found, key=lambda f: (f.line, f.column))
    return CompiledMapping(parsed, builder, inverse), []


def _asked(parsed: MappingFile, types: Mapping[str, type[msgspec.Struct]], findings: list[Finding]) -> Message | None:
    """What `asked.FIELD` speaks of."""
    if not parsed.asked:
        return None
    place = parsed.places[("asked",)]
    if parsed.asked not in types:
        said, hint = f"unknown noun {parsed.asked}", did_you_mean(parsed.asked, types)
    elif parsed.source in types:
        said, hint = "a request is made of its source alone", "remove asked; its fields are named as they are"
    else:
        return message(types[parsed.asked])
    findings.append(Finding(parsed.file, place.line, said, hint, place.column))
    return None


def _sides(
    parsed: MappingFile, shapes: Callable[[str], Exchange], types: Mapping[str, type[msgspec.Struct]], findings: list[Finding]
) -> tuple[Message, Message, tuple[str, ...]] | None:
    """Source and target as messages, and the path to the records of the source."""
    writes = parsed.source in types
    struct_key, message_key = ("source", "target") if writes else ("target", "source")
    struct_name, message_name = (parsed.source, parsed.target) if writes else (parsed.target, parsed.source)

    def find(key: str, text: str, suggestion: str) -> None:
        place = parsed.places.get((key,))
        findings.append(Finding(parsed.file, place.line if place else 1, text, suggestion, place.column if place else 0))

    if struct_name not in types:
        find(struct_key, f"unknown {struct_key} {struct_name}", did_you_mean(struct_name, types))
    operation, *steps = message_name.split("/")
    found: Message | None = None
    if "." not in operation:
        find(message_key, f"{message_key} {message_name} names no operation", 'write "system.Operation", and /PATH to the repeated records')
    else:
        try:
            exchange = shapes(operation)
        except LookupError as error:
            find(
                message_key,
                f"unknown operation {operation}",
                str(error.args[0]) if error.args and " " in str(error.args[0]) else "see the system's contract",
            )
        else:
            found = exchange.request if writes else exchange.answer
            if found is None:
                find(message_key, f"{operation} has no {'request' if writes else 'answer'}", "map the other direction")
            elif writes and steps:
                find(message_key, "a request has no path", f'write target = "{operation}"')
    if found is None or struct_name not in types:
        return None
    canonical = message(types[struct_name])
    return (canonical, found, ()) if writes else (found, canonical, tuple(steps))
