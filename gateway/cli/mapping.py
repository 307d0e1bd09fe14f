"""`tillgate map …` and `tillgate lineage`: look into mappings, try them on a document, run their examples, see what they cover."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from zoneinfo import ZoneInfo

import msgspec
import rich_click as click

from contracts.errors import TillgateError
from contracts.ports import CAPABILITIES
from contracts.suggestion import nearest
from contracts.versions import HISTORY
from gateway.api import ENDPOINTS
from gateway.bootstrap import Checked, check, goes_by, parse_xml, types
from gateway.bootstrap.reading import look, mapped, mapping_over
from gateway.cli.dependencies import estate_map
from gateway.cli.settings import Settings
from gateway.cli.terminal import printable
from gateway.edge.reach import Reach
from mappings.language import CompiledMapping, ReadContext
from mappings.language.coverage import coverage, lineage, summary
from mappings.language.examples import given, run

MAX_DOCUMENT = 16_000_000


@click.group("map")
def mapping() -> None:
    """Mappings of the estate, and the map of the estate itself."""


mapping.add_command(estate_map)


@mapping.command("list")
@click.pass_obj
def list_mappings(settings: Settings) -> None:
    """All mappings: between what and what."""
    for path, each in sorted(check(settings.estate).mappings.items()):
        click.echo(f"{path:48} {each.file.source} -> {each.file.target}")


@mapping.command("show")
@click.argument("path")
@click.option("--code", is_flag=True, help="The generated Python instead of the table of fields.")
@click.pass_obj
def show(settings: Settings, path: str, code: bool) -> None:
    """Where each target field comes from; with --code, the function that runs."""
    chosen = _chosen(check(settings.estate, only=path), path)
    click.echo(chosen.source_code() if code else chosen.explain())


@mapping.command("try")
@click.argument("path")
@click.argument("document", type=click.File("rb"), required=False)
@click.option("--zone", default="Europe/Berlin", show_default=True, help="Time zone of every location.")
@click.option("--asked", help="What was asked, as canonical JSON, for an answer mapping that speaks of it.")
@click.option(
    "--layout",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The layout of the files that PATH reads; PATH may then be a mapping that no operation names, and DOCUMENT is such a file.",
)
@click.pass_obj
def try_mapping(settings: Settings, path: str, document: IO[bytes] | None, zone: str, asked: str | None, layout: Path | None) -> None:
    """Run a mapping on DOCUMENT (XML, JSON, rows; - for standard input), or run its own examples."""
    chosen = mapping_over(Path(path), layout) if layout is not None else _chosen(check(settings.estate, only=path), path)
    if document is None:
        outcomes = run(chosen, parse_xml)
        for outcome in outcomes:
            click.echo(f"{'ok   ' if outcome.finding is None else 'wrong'} {outcome.finding or outcome.name}")
        if not outcomes:
            click.echo("this mapping has no example; write [[example]] with given and expect")
        sys.exit(any(o.finding for o in outcomes))
    if layout is not None:
        _try_file(chosen, Path(document.name), layout, zone)
        return
    raw = document.read(MAX_DOCUMENT + 1)
    if len(raw) > MAX_DOCUMENT:
        raise click.ClickException(f"the document is larger than {MAX_DOCUMENT} bytes")
    drift: list[tuple[str, str, str]] = []
    system, _, operation = (chosen.source if chosen.reads else chosen.target).name.partition(".")
    context = ReadContext(system, operation, datetime.now(UTC), zone_of=lambda _: ZoneInfo(zone), drift=lambda *what: drift.append(what))
    if asked is not None:
        if chosen.builder.asked is None:
            raise click.ClickException('this mapping does not speak of what was asked; write asked = "NOUN" at its top')
        try:
            context.asked = given(chosen.builder.asked, asked, parse_xml)
        except ValueError as exc:
            raise click.ClickException(f"--asked: expected a {chosen.file.asked} in JSON: {str(exc)[:300]}") from exc
    try:
        source = given(chosen.source, raw.decode("utf-8"), parse_xml)
    except (ValueError, TypeError, KeyError, SyntaxError, RecursionError) as exc:
        wanted = {"xml": "XML", "json": "JSON", "rows": "rows in JSON, as lists or by field name", "struct": "a canonical value in JSON"}
        file = "; a file as its sender writes it wants --layout" if chosen.source.form == "rows" else ""
        raise click.ClickException(
            f"the document cannot be read as {wanted[chosen.source.form]} of {chosen.source.name}: {str(exc)[:300]}{file}"
        ) from exc
    result = chosen.read(source, context) if chosen.reads else chosen.write(source, context)
    click.echo(msgspec.json.format(msgspec.json.encode(result)).decode())
    for kind, where, value in drift:
        click.echo(f"drift: unknown {kind} {where} {value}".rstrip(), err=True)


def _try_file(chosen: CompiledMapping, file: Path, layout: Path, zone: str) -> None:
    """A line of canonical JSON for each transaction, or why there is none."""
    system, _, operation = chosen.source.name.partition(".")
    context = ReadContext(system, operation, datetime.now(UTC), zone_of=lambda _: ZoneInfo(zone))
    seen = look(file, layout)
    wrong = 0
    for held, made in mapped(chosen, seen, context):
        if held.bad is not None or isinstance(made, TillgateError):
            wrong += 1
            click.echo(printable(f"line {held.line}: {held.bad or made}"), err=True)
        else:
            click.echo(msgspec.json.encode(made).decode())
    for reason in seen.refused:
        click.echo(printable(f"would be refused: {reason}"), err=True)
    sys.exit(bool(wrong or seen.refused))


@mapping.command("coverage")
@click.argument("path", required=False)
@click.pass_obj
def show_coverage(settings: Settings, path: str | None) -> None:
    """By field, on both sides: used, dropped, filled; and which enumeration cases an example exercises. Then the whole estate's."""
    checked = check(settings.estate)
    paths = {id(m): p for p, m in checked.mappings.items()}
    found = []
    for name in [path] if path else sorted(checked.mappings):
        chosen = _chosen(checked, name)
        found.append(replace(coverage(chosen, parse_xml), mapping=paths[id(chosen)]))
        click.echo(str(found[-1]))
    if path is None:
        click.echo(f"\n{summary(found)}")
        for operation in _uncalled(checked):
            click.echo(f"  not called: {operation}")


def _uncalled(checked: Checked) -> list[str]:
    """Operations that contracts describe and the estate does not use."""
    used = {f"{name.partition('.')[0]}.{call}" for name, o in checked.estate.operation.items() for call in o.called(name)}
    return sorted(
        f"{k}.{o}" for k, c in checked.contracts.items() if k in checked.estate.system for o in c.operations() if f"{k}.{o}" not in used
    )


@click.command("lineage")
@click.argument("field")
@click.pass_obj
def show_lineage(settings: Settings, field: str) -> None:
    """Which system fields feed a canonical FIELD (InventoryLevel.on_hand; inventory.onHand will do), where the API shows it in each
    version, and to whom. The other way round: what hangs on a field of a system, such as erp.GetStock.LABST.
    """
    checked = check(settings.estate)
    lines = list(_of_system(checked, field) if field.partition(".")[0] in checked.estate.system else _of_noun(checked, field))
    for line in lines:
        click.echo(line)


def _of_noun(checked: Checked, field: str) -> Iterator[str]:
    said, _, name = field.partition(".")
    nouns = sorted({m.file.target if m.reads else m.file.source for m in checked.mappings.values()})
    answered = sorted({m.file.target for m in checked.mappings.values() if m.reads})
    meant = [n for n in nouns if n == said] or [n for n in answered if n.lower().startswith(said.lower().removesuffix("s"))]
    if not said or len(meant) != 1:
        raise click.ClickException(f"no noun {said!r}; {nearest(said, [*nouns, *checked.estate.system])}")
    noun, name = meant[0], re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()
    fields = types()[noun].__struct_fields__
    if name and name.partition(".")[0] not in fields:
        raise click.ClickException(f"nothing feeds {noun}.{name}; {nearest(name, fields)}")
    found = False
    for path, each in sorted(checked.mappings.items()):
        if each.reads and each.file.target == noun:
            for line in lineage(each, name) if name else each.lineage.values():
                found = True
                sources = ", ".join(line.sources) or "a constant"
                yield f"{noun}.{line.target}  <-  {each.file.source}: {sources}   {line.expression}   ({path})"
        elif not each.reads and each.file.source == noun:
            for line in each.lineage.values():
                if fed := [s for s in line.sources if not name or s == name or s.startswith(f"{name}.")]:
                    found = True
                    yield f"{noun}.{', '.join(fed)}  ->  {each.file.target}: {line.target}   {line.expression}   ({path})"
    if not found:
        raise click.ClickException(f"nothing feeds {noun}.{name}; no system says it")
    yield from _shown(checked, noun, name)


def _of_system(checked: Checked, field: str) -> Iterator[str]:
    """What hangs on a field of a system's contract. The path may leave out the records around the field."""
    steps = [s for s in re.split(r"[./]", field) if s]
    known = sorted({m.source.name if m.reads else m.target.name for m in (*checked.mappings.values(), *checked.kept.values())})
    operation, wanted = ".".join(steps[:2]), tuple(steps[2:])
    if operation not in known:
        raise click.ClickException(f"no mapped operation {operation!r}; {nearest(operation, known)}")
    feeds: list[tuple[str, str]] = []
    names: set[str] = set()
    for path, each in sorted(checked.mappings.items()):
        if (each.source if each.reads else each.target).name != operation:
            continue
        for line in each.lineage.values():
            for contract in line.sources if each.reads else [line.target]:
                names.add(contract.rpartition(".")[2])
                if wanted and not _ends(tuple(contract.split(".")), wanted):
                    continue
                if each.reads:
                    feeds.append((each.file.target, line.target))
                    yield f"{operation}: {contract}  ->  {each.file.target}.{line.target}   {line.expression}   ({path})"
                else:
                    fed = ", ".join(line.sources) or "a constant"
                    yield f"{operation}: {contract}  <-  {each.file.source}.{fed}   {line.expression}   ({path})"
        for dropped in sorted(each.builder.drops if each.reads else ()):
            names.add(dropped[-1])
            if wanted and _ends(dropped, wanted):
                yield f"{operation}: {'.'.join(dropped)}  is dropped   ({path})"
    for (full, _), each in checked.kept.items():
        for line in each.lineage.values() if each.source.name == operation else ():
            for contract in line.sources:
                names.add(contract.rpartition(".")[2])
                if not wanted or _ends(tuple(contract.split(".")), wanted):
                    yield f"{operation}: {contract}  ->  parameters.{line.target}   {line.expression}   (estate.toml, {full})"
    if wanted and not any(_ends((n,), wanted[-1:]) for n in names):
        raise click.ClickException(f"no mapping speaks of {'.'.join(wanted)} of {operation}; {nearest(wanted[-1], names)}")
    for noun, target in dict.fromkeys(feeds):
        yield from _shown(checked, noun, target)


def _ends(path: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Whether the wanted names come in this order, the last one at the end or the path below it."""
    at = 0
    for name in path:
        at += at < len(wanted) and name == wanted[at]
    return at == len(wanted)


def _shown(checked: Checked, noun: str, name: str) -> Iterator[str]:
    """Where the API shows a canonical field: routes, its name in each version, channels."""
    reach = Reach(ENDPOINTS, HISTORY, checked.estate.channel)
    provided = {o.provides for o in checked.estate.operation.values() if CAPABILITIES[o.provides].answer.__name__ == noun}
    for capability in sorted(provided):
        for seen in reach.seen(capability, CAPABILITIES[capability].answer, name) if name else ():
            versions = ", ".join(f"{version}: {text}" for version, text in seen.fields.items())
            yield f"  {capability}: {seen.route}   {versions}"
        if others := set(reach.routes(capability)) - {
            s.route for s in reach.seen(capability, CAPABILITIES[capability].answer, name or "-")
        }:
            yield f"  {capability}: {', '.join(sorted(others))}"
    if provided:
        yield f"  channels: {', '.join(reach.channels)}"


def _chosen(checked: Checked, path: str) -> CompiledMapping:
    """By path, or by its last part without .toml."""
    known = {p: m for p, m in checked.mappings.items() if goes_by(path, p)}
    if len(known) != 1:
        raise click.ClickException(f"no mapping {path!r}; {nearest(path, checked.mappings)}")
    return next(iter(known.values()))


COMMANDS: list[click.Command] = [mapping, show_lineage]
