"""Coverage by field on both sides, the enumeration cases that examples exercise, and lineage: which source fields feed a target field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from contracts.errors import TillgateError
from mappings.language.emit import Lineage
from mappings.language.examples import ParseXml, example_context, given
from mappings.language.kinds import AMOUNTS
from mappings.language.mapping import CompiledMapping
from mappings.language.shape import Record
from mappings.language.structs import GATEWAY_FILLED, GATEWAY_KEPT

SourceUse = Literal["used", "dropped", "unused"]
TargetUse = Literal["filled", "gateway", "unfilled"]


@dataclass(frozen=True, slots=True)
class Case:
    """One case of an enumeration: its code, and whether an example holds it."""

    target: str
    code: str
    exercised: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    mapping: str
    source: dict[str, SourceUse]
    target: dict[str, TargetUse]
    cases: tuple[Case, ...]

    def share(self) -> tuple[float, float, float]:
        """Parts of source fields used or dropped, of target fields filled, of cases exercised: each 0 to 1."""
        return (
            _share(sum(u != "unused" for u in self.source.values()), len(self.source)),
            _share(sum(u != "unfilled" for u in self.target.values()), len(self.target)),
            _share(sum(c.exercised for c in self.cases), len(self.cases)),
        )

    def __str__(self) -> str:
        source, target, cases = (f"{part:.0%}" for part in self.share())
        lines = [f"{self.mapping}: source {source}, target {target}, cases {cases}"]
        lines += [f"  source {p}: {u}" for p, u in self.source.items() if u != "used"]
        lines += [f"  target {p}: {u}" for p, u in self.target.items() if u == "unfilled"]
        lines += [f"  case {c.code} of {c.target}: no example" for c in self.cases if not c.exercised]
        return "\n".join(lines)


def summary(several: Iterable[Coverage]) -> str:
    """Fields and cases of many mappings together."""
    source: Counter[str] = Counter()
    target: Counter[str] = Counter()
    cases: Counter[bool] = Counter()
    for one in several:
        source.update(one.source.values())
        target.update(one.target.values())
        cases.update(c.exercised for c in one.cases)
    return (
        f"source fields: {source['used']} used, {source['dropped']} dropped, {source['unused']} unknown; "
        f"target fields: {target['filled']} filled, {target['gateway']} by the gateway, {target['unfilled']} not; "
        f"cases: {cases[True]} in examples, {cases[False]} in none"
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


class _Traced(dict[Any, Any]):
    """A table of cases that remembers which were asked for."""

    def __init__(self, table: dict[Any, Any]) -> None:
        super().__init__(table)
        self.asked: set[Any] = set()

    def __getitem__(self, code: Any) -> Any:
        self.asked.add(code)
        return super().__getitem__(code)


def coverage(mapping: CompiledMapping, parse_xml: ParseXml) -> Coverage:
    """Runs the mapping's examples to see which cases they hold."""
    builder = mapping.builder
    source: dict[str, SourceUse] = {}
    _source(mapping, builder.source.root, (), source, dropped=False)
    target: dict[str, TargetUse] = {}
    _target(mapping, builder.target.root, "", target, 0)
    traced = {name: _Traced(builder.constants[name]) for name in builder.enumerations}
    if traced:
        with mapping.replaced(traced):
            for example in mapping.file.examples:
                try:
                    context = example_context(mapping, example, [])
                    document = given(mapping.source, example.given, parse_xml)
                    if mapping.reads:
                        mapping.read(document, context)
                    else:
                        mapping.write(document, context)
                except (TillgateError, ValueError, TypeError, KeyError):  # an example that fails is reported where examples are run
                    continue
    cases = tuple(Case(builder.enumerations[name], repr(code), code in table.asked) for name, table in traced.items() for code in table)
    return Coverage(mapping.name, source, target, cases)


def _source(mapping: CompiledMapping, record: Record, at: tuple[str, ...], found: dict[str, SourceUse], *, dropped: bool) -> None:
    builder = mapping.builder
    for field in record.fields:
        path = (*at, field.name)
        gone = dropped or path in builder.drops
        below = [u for u in (*builder.used, *builder.drops) if len(u) > len(path) and u[: len(path)] == path]
        if isinstance(field.shape, Record) and below and not gone:
            _source(mapping, field.shape, path, found, dropped=gone)
        elif path in builder.used:
            found[".".join(path)] = "used"
        elif not (builder.source.form == "struct" and field.name in GATEWAY_KEPT):
            found[".".join(path)] = "dropped" if gone else "unused"


def _target(mapping: CompiledMapping, record: Record, prefix: str, found: dict[str, TargetUse], depth: int) -> None:
    filled = set(mapping.builder.filled)
    for field in record.fields:
        path = f"{prefix}{field.name}"
        if (
            path in filled
            and isinstance(field.shape, Record)
            and field.shape.name not in AMOUNTS
            and path not in mapping.lineage
            and depth < 20
        ):
            _target(mapping, field.shape, f"{path}.", found, depth + 1)
        else:
            found[path] = "filled" if path in filled else "gateway" if field.name in GATEWAY_FILLED and not prefix else "unfilled"


def lineage(mapping: CompiledMapping, target: str) -> list[Lineage]:
    """Where a target field comes from: itself, or all fields below it."""
    return [x for t, x in mapping.lineage.items() if t == target or t.startswith(f"{target}.")]
