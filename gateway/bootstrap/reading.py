"""What a file holds, for whoever has it in the hand: read by a layout of the estate, by one that is given, or by what it shows itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from adapters.files.driver import FileContract
from adapters.files.formats.reading import parsing
from adapters.files.layout import Layout, load
from adapters.files.parsing import Refuse
from adapters.files.proposal import infer
from adapters.files.standards import HEAD, shipped
from contracts.errors import BadRecord, Finding, Findings, TillgateError
from gateway.bootstrap.checking import contract_files, types
from gateway.estate import Estate
from mappings.language import CompiledMapping, ReadContext
from mappings.language import load as load_mapping
from mappings.language.shape import Record

MASK: Final = "•••"


@dataclass(frozen=True, slots=True)
class Held:
    """One transaction: its values by name, personal ones masked, or what is wrong with it. `row` is what a mapping reads."""

    position: int
    line: int
    value: Mapping[str, Any] | None
    bad: BadRecord | None
    row: tuple[Any, ...] | None


@dataclass(slots=True)
class Look:
    """A file and its layout. `transactions` may be read once; the rest is known behind it."""

    layout: Layout
    file: Path
    inferred: bool
    refused: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    good: int = 0
    bad: int = 0

    def transactions(self) -> Iterator[Held]:
        """As they come; nothing of a finished one is kept."""
        match = self.layout.pattern.fullmatch(self.file.name)
        parser = parsing(self.layout)(None)
        root = self.layout.message.root
        with self.file.open("rb") as source:
            try:
                for unit in parser.units(source, self.file.name, match.groupdict(default="") if match else {}):
                    self.good += unit.row is not None
                    self.bad += unit.row is None
                    yield Held(unit.position, unit.line, None if unit.row is None else named(root, unit.row), unit.bad, unit.row)
            except Refuse as refusal:
                self.refused.append(str(refusal))
        self.refused += parser.ending.reasons
        self.findings += parser.ending.findings
        if match is None and not self.inferred and self.layout.file.agree:
            self.findings.append(
                f"the name {self.file.name} is not one of the layout's, {self.layout.file.name}: what it says is not compared"
            )


def look(file: Path, given: Path | None, root: Path = Path(), estate: Estate | None = None) -> Look:
    """`given` names a layout; without it the estate's layout whose pattern matches the name is taken, else the one that ships for a message
    of a standard, else the file has to show one itself. Raises Findings.
    """
    if not file.is_file():
        raise Findings(findings=(Finding(str(file), 1, "there is no such file"),))
    if given is not None:
        return Look(load(given), file, inferred=False)
    for key, _, path, _ in contract_files(estate) if estate is not None else ():
        if "." in key and (layout := load(root / path)).pattern.fullmatch(file.name):
            return Look(layout, file, inferred=False)
    with file.open("rb") as source:
        standard = shipped(source.read(HEAD))
    return Look(infer(file) if standard is None else load(standard), file, inferred=standard is None)


def named(record: Record, row: Sequence[Any]) -> dict[str, Any]:
    """Values by name; what is absent is left out."""
    found: dict[str, Any] = {}
    for f, value in zip(record.fields, row, strict=False):
        if value is None:
            continue
        if isinstance(f.shape, Record):
            found[f.name] = [named(f.shape, each) for each in value] if f.repeated else named(f.shape, value)
        else:
            found[f.name] = MASK if f.personal else value
    return {name: value for name, value in found.items() if value not in ([], {})}


def mapping_over(mapping: Path, layout: Path) -> CompiledMapping:
    """A mapping that no operation of an estate names, over the layout that it reads. Raises Findings."""
    try:
        text = mapping.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Findings(findings=(Finding(str(mapping), 1, f"cannot be read: {error}"),)) from error
    contract = FileContract(mapping.parent.name, layout)
    return load_mapping(text, str(mapping), lambda reference: contract.exchange(reference.partition(".")[2]), types())


def mapped(chosen: CompiledMapping, look_at: Look, context: ReadContext) -> Iterator[tuple[Held, Any]]:
    """Each transaction with what comes of it: canonical values, or the error that refuses it; None for one that could not be read."""
    for held in look_at.transactions():
        made: Any = None
        if held.row is not None:
            try:
                made = chosen.read(held.row, context)
            except TillgateError as error:
                made = error
        yield held, made
