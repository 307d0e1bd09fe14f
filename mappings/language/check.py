"""The check: a mapping against the shapes of both sides. Translating it is checking it; see `build`."""

from __future__ import annotations

import msgspec

from contracts.errors import Finding
from mappings.language.build import Builder
from mappings.language.read import MappingFile
from mappings.language.reverse import reversed_file
from mappings.language.shape import Message
from mappings.language.structs import message
from mappings.language.unused import leftovers


def check(
    mapping: MappingFile, source: Message | type[msgspec.Struct], target: Message | type[msgspec.Struct], steps: tuple[str, ...] = ()
) -> list[Finding]:
    """Everything that is wrong with it, each with its line and what to write instead. `steps`: path to the records of the source."""
    return translate(mapping, source, target, steps)[2]


def translate(
    mapping: MappingFile,
    source: Message | type[msgspec.Struct],
    target: Message | type[msgspec.Struct],
    steps: tuple[str, ...] = (),
    *,
    partial: bool = False,
    asked: Message | None = None,
) -> tuple[Builder, Builder | None, list[Finding]]:
    """The translation, the one of the other direction when `reverse = true`, and what is wrong. `partial`: it may leave out anything.
    `asked`: the request that an answer belongs to.
    """
    source, target = (side if isinstance(side, Message) else message(side) for side in (source, target))
    builder = Builder(mapping, source, target, steps)
    builder.asked = asked
    if target.form == "struct":
        builder.build_read()
    else:
        builder.build_write()
    if not partial:
        leftovers(builder)
    findings = list(builder.findings)
    inverse: Builder | None = None
    if mapping.reverse and target.form != "struct":
        place = mapping.places.get(("reverse",))
        findings.append(Finding(mapping.file, place.line if place else 1, "only a reading mapping is turned round", "remove reverse"))
    elif mapping.reverse and not findings:
        turned, findings = reversed_file(mapping, builder)
        if not findings:
            inverse = Builder(turned, target, Message(source.name, source.form, builder.item_record(), source.source))
            inverse.turned = True
            inverse.build_write()
            findings = [Finding(f.file, f.line, f"turned round: {f.message}", f.suggestion, f.column) for f in inverse.findings]
    return builder, inverse, sorted(findings, key=lambda f: (f.line, f.column))
