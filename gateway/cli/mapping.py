"""`tillgate map …` and `tillgate lineage`: look into mappings, try them on a document, run their examples, see what they cover."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from zoneinfo import ZoneInfo

import msgspec
import rich_click as click

from gateway.bootstrap import Checked, check, parse_xml, types
from gateway.cli.settings import Settings
from gateway.estate import nearest
from mappings.language import CompiledMapping, ReadContext
from mappings.language.coverage import coverage, lineage
from mappings.language.examples import given, run

MAX_DOCUMENT = 16_000_000


@click.group("map")
def mapping() -> None:
    """Mappings of the estate."""


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
    chosen = _chosen(check(settings.estate), path)
    click.echo(chosen.source_code() if code else chosen.explain())


@mapping.command("try")
@click.argument("path")
@click.argument("document", type=click.File("rb"), required=False)
@click.option("--zone", default="Europe/Berlin", show_default=True, help="Time zone of every location.")
@click.pass_obj
def try_mapping(settings: Settings, path: str, document: IO[bytes] | None, zone: str) -> None:
    """Run a mapping on DOCUMENT (XML, JSON, rows; - for standard input), or run its own examples."""
    chosen = _chosen(check(settings.estate), path)
    if document is None:
        outcomes = run(chosen, parse_xml)
        for outcome in outcomes:
            click.echo(f"{'ok   ' if outcome.finding is None else 'wrong'} {outcome.finding or outcome.name}")
        if not outcomes:
            click.echo("this mapping has no example; write [[example]] with given and expect")
        sys.exit(any(o.finding for o in outcomes))
    raw = document.read(MAX_DOCUMENT + 1)
    if len(raw) > MAX_DOCUMENT:
        raise click.ClickException(f"the document is larger than {MAX_DOCUMENT} bytes")
    drift: list[tuple[str, str, str]] = []
    system, _, operation = (chosen.source if chosen.reads else chosen.target).name.partition(".")
    context = ReadContext(system, operation, datetime.now(UTC), zone_of=lambda _: ZoneInfo(zone), drift=lambda *what: drift.append(what))
    try:
        source = given(chosen.source, raw.decode("utf-8"), parse_xml)
    except (ValueError, TypeError, KeyError, SyntaxError, RecursionError) as exc:
        wanted = {"xml": "XML", "json": "JSON", "rows": "rows in JSON, as lists or by field name", "struct": "a canonical value in JSON"}
        raise click.ClickException(
            f"the document cannot be read as {wanted[chosen.source.form]} of {chosen.source.name}: {str(exc)[:300]}"
        ) from exc
    result = chosen.read(source, context) if chosen.reads else chosen.write(source, context)
    click.echo(msgspec.json.format(msgspec.json.encode(result)).decode())
    for kind, where, value in drift:
        click.echo(f"drift: unknown {kind} {where} {value}".rstrip(), err=True)


@mapping.command("coverage")
@click.argument("path", required=False)
@click.pass_obj
def show_coverage(settings: Settings, path: str | None) -> None:
    """By field, on both sides: used, dropped, filled; and which enumeration cases an example exercises."""
    checked = check(settings.estate)
    paths = {id(m): p for p, m in checked.mappings.items()}
    for name in [path] if path else sorted(checked.mappings):
        chosen = _chosen(checked, name)
        click.echo(str(replace(coverage(chosen, parse_xml), mapping=paths[id(chosen)])))


@click.command("lineage")
@click.argument("field")
@click.pass_obj
def show_lineage(settings: Settings, field: str) -> None:
    """Which system fields feed a canonical FIELD, such as InventoryLevel.on_hand; inventory.onHand will do."""
    checked = check(settings.estate)
    said, _, name = field.partition(".")
    nouns = sorted({m.file.target for m in checked.mappings.values() if m.reads})
    meant = [n for n in nouns if n == said] or [n for n in nouns if n.lower().startswith(said.lower().removesuffix("s"))]
    if not said or len(meant) != 1:
        raise click.ClickException(f"no noun {said!r}; {nearest(said, nouns)}")
    name = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()
    found = False
    for path, each in sorted(checked.mappings.items()):
        if each.reads and each.file.target == meant[0]:
            for line in lineage(each, name) if name else each.lineage.values():
                found = True
                sources = ", ".join(line.sources) or "a constant"
                click.echo(f"{meant[0]}.{line.target}  <-  {each.file.source}: {sources}   {line.expression}   ({path})")
    if not found:
        fields = types()[meant[0]].__struct_fields__
        hint = nearest(name, fields) if name.partition(".")[0] not in fields else "no system says it"
        raise click.ClickException(f"nothing feeds {meant[0]}.{name}; {hint}")


def _chosen(checked: Checked, path: str) -> CompiledMapping:
    """By path, or by its last part without .toml."""
    known = {p: m for p, m in checked.mappings.items() if path in (p, Path(p).stem, p.removeprefix("mappings/").removesuffix(".toml"))}
    if len(known) != 1:
        raise click.ClickException(f"no mapping {path!r}; {nearest(path, checked.mappings)}")
    return next(iter(known.values()))


COMMANDS: list[click.Command] = [mapping, show_lineage]
