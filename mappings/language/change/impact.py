"""What a new contract does to a mapping: what breaks, what changes silently, what becomes possible, and the text that fits it again.

Repairs are edits of the mapping's own text. Each is tried against the check before it is proposed; what no edit heals is left to a person.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from contracts.errors import Finding
from mappings.language.change.difference import Difference, Differences, compare
from mappings.language.change.repair import Repair
from mappings.language.change.uses import Shapes, concerns, targets_of
from mappings.language.mapping import CompiledMapping, attempt
from mappings.language.own import NO_OWN, Own
from mappings.language.shape import Exchange

Types = Mapping[str, type[msgspec.Struct]]


@dataclass(frozen=True, slots=True)
class Impact:
    """One mapping against the new contract. `text` is the mapping after the repairs; `left` is what the check still says about it."""

    mapping: str
    direction: str
    """answer or request"""
    breaks: tuple[Finding, ...]
    broken: tuple[Difference, ...]
    """What the findings are about."""
    silent: tuple[Difference, ...]
    possible: tuple[Difference, ...]
    targets: dict[str, tuple[str, ...]]
    """Changed path of the contract -> canonical fields that depend on it."""
    repairs: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    text: str = ""
    left: tuple[Finding, ...] = ()

    @property
    def touched(self) -> bool:
        return bool(self.breaks or self.silent or self.possible)


def impact(
    mapping: CompiledMapping, old: Exchange, new: Exchange | None, shapes: Shapes, types: Types, operation: str = "", own: Own = NO_OWN
) -> tuple[Impact, Differences]:
    """`shapes` gives the new contract; `operation`: the new `system.Operation` under another name; `own`: functions of the estate."""
    direction = "answer" if mapping.reads else "request"
    before, after = (getattr(e, direction).root if e and getattr(e, direction) else None for e in (old, new))
    changed = compare(before, after)
    relevant = [d for d in changed.found if concerns(mapping, d)]
    _, breaks = attempt(mapping.file.text, mapping.file.file, shapes, types, own)
    repair = Repair(mapping, changed, lambda text: attempt(text, mapping.file.file, shapes, types, own)[1], shapes, operation)
    if breaks:
        repair.run()
    broken = [d for d in relevant if breaks and (d.kind != "added" or _must_be_sent(mapping, d)) and any(_speaks_of(f, d) for f in breaks)]
    return (
        Impact(
            mapping.file.file,
            direction,
            tuple(breaks),
            tuple(broken),
            tuple(d for d in relevant if d not in broken and d.kind != "added"),
            tuple(d for d in relevant if d not in broken and d.kind == "added"),
            {".".join(d.path): targets_of(mapping, d.path) for d in relevant},
            tuple(repair.done),
            tuple(repair.decisions),
            repair.text,
            tuple(repair.left),
        ),
        changed,
    )


def _must_be_sent(mapping: CompiledMapping, difference: Difference) -> bool:
    return not mapping.reads and difference.field is not None and difference.field.required


def _speaks_of(finding: Finding, difference: Difference) -> bool:
    names = {difference.path[-1], *difference.now[-1:]}
    return any(re.search(rf"(?<![\w-]){re.escape(n)}(?![\w-])", finding.message) for n in names)
