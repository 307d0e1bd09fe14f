"""`tillgate impact` and `tillgate drift`: contracts that change, announced and unannounced."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import rich_click as click

from contracts.ports import CAPABILITIES
from contracts.versions import HISTORY
from gateway.api import ENDPOINTS
from gateway.bootstrap import check
from gateway.bootstrap.changing import OperationChange, Study, study, system_of
from gateway.cli.recording import asked, of_gateway
from gateway.cli.settings import Settings
from gateway.edge.reach import Reach
from mappings.language.change.difference import Difference
from mappings.language.change.impact import Impact
from observability.console.data import DriftView


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One API field in its versions."""

    route: str
    fields: dict[str, str]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One change of the contract that concerns a mapping. `path`: the contract's field. `fields`: canonical ones that depend on it."""

    kind: str
    path: str
    text: str
    now: str = ""
    fields: tuple[str, ...] = ()


class MappingReport(msgspec.Struct, frozen=True, kw_only=True):
    mapping: str
    direction: str
    breaks: tuple[str, ...]
    silent: tuple[Found, ...]
    possible: tuple[Found, ...]


class OperationReport(msgspec.Struct, frozen=True, kw_only=True):
    """`call`: its name in the contract, `now` in the new one. `routes`, `versions` and `channels`: who is hit when this operation fails
    or means something else."""

    operation: str
    call: str
    capability: str
    now: str | None
    mappings: tuple[MappingReport, ...]
    routes: tuple[str, ...]
    seen: tuple[Hit, ...]
    versions: tuple[str, ...]
    channels: tuple[str, ...]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    system: str
    contract: str
    impact: bool
    operations: tuple[OperationReport, ...]
    options: tuple[str, ...]
    gained: tuple[str, ...]
    patch: tuple[str, ...]
    """What the patch does, in sentences."""
    decisions: tuple[str, ...]
    left: tuple[str, ...]
    examples: tuple[str, ...]


@click.command("impact")
@click.argument("contract", type=click.Path(exists=True, path_type=Path))
@click.option("--system", default="", help="The system, or SYSTEM.OPERATION of a feed, when the file alone does not say it.")
@click.option("--patch", type=click.Path(path_type=Path), default=None, help="Write the proposed changes here; apply with `patch -p1`.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
@click.pass_obj
def impact(settings: Settings, contract: Path, system: str, patch: Path | None, as_json: bool) -> None:
    """What happens if a system ships this CONTRACT (WSDL or its folder, OpenAPI document, layout). Exit code 1: something is hit."""
    checked = check(settings.estate)
    found = study(checked, contract, system_of(checked, contract, system))
    reach = Reach(ENDPOINTS, HISTORY, checked.estate.channel)
    report = _report(found, reach)
    if patch is not None:
        patch.write_bytes(found.patch)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        for line in _lines(report, patch):
            click.echo(line)
    sys.exit(int(report.impact))


def _report(found: Study, reach: Reach) -> Report:
    return Report(
        system=found.system,
        contract=found.contract,
        impact=found.touched,
        operations=tuple(_operation(o, reach) for o in found.operations if o.touched),
        options=tuple(map(str, found.options)),
        gained=tuple(found.gained),
        patch=tuple(found.done),
        decisions=tuple(found.decisions),
        left=tuple(found.left),
        examples=tuple(found.examples),
    )


def _operation(changed: OperationChange, reach: Reach) -> OperationReport:
    capability = CAPABILITIES[changed.capability]
    fields = {
        f for i in changed.impacts if i.direction == "answer" for d in (*i.broken, *i.silent) for f in i.targets.get(".".join(d.path), ())
    }
    hits = [Hit(route=s.route, fields=s.fields) for f in sorted(fields) for s in reach.seen(changed.capability, capability.answer, f)]
    routes = reach.routes(changed.capability)
    return OperationReport(
        operation=changed.name,
        call=changed.call,
        capability=changed.capability,
        now=changed.now,
        mappings=tuple(_mapping(i) for i in changed.impacts if i.touched),
        routes=routes,
        seen=tuple({repr(h): h for h in hits}.values()),
        versions=reach.versions if routes else (),
        channels=reach.channels if routes else (),
    )


def _mapping(one: Impact) -> MappingReport:
    return MappingReport(
        mapping=one.mapping,
        direction=one.direction,
        breaks=tuple(map(str, one.breaks)),
        silent=tuple(_found(one, d) for d in one.silent),
        possible=tuple(_found(one, d) for d in one.possible),
    )


def _found(one: Impact, difference: Difference) -> Found:
    path = ".".join(difference.path)
    return Found(kind=difference.kind, path=path, text=difference.text, now=".".join(difference.now), fields=one.targets.get(path, ()))


def _lines(report: Report, patch: Path | None) -> Iterator[str]:
    yield f"{report.system}: {report.contract}"
    if not report.impact:
        yield "no impact: what the mappings use is as it was"
        yield from _titled("new operations", report.gained)
        return
    for operation in report.operations:
        yield ""
        name = "" if operation.now == operation.call else f", called {operation.now} now" if operation.now else ", gone"
        yield f"{operation.operation}{name}: {operation.capability}"
        for mapping in operation.mappings:
            yield from _titled(f"  breaks {mapping.mapping}", mapping.breaks)
            yield from _titled(f"  changes silently ({mapping.direction})", (_sentence(f) for f in mapping.silent))
            yield from _titled(f"  becomes possible ({mapping.direction})", (_sentence(f) for f in mapping.possible))
        if operation.routes:
            yield f"  reaches {', '.join(operation.routes)} in versions {', '.join(operation.versions)} for {', '.join(operation.channels)}"
        for hit in operation.seen:
            yield f"    {hit.route}: {_versions(hit.fields)}"
    yield from _titled("\nthe estate's options name what is not there", report.options)
    yield from _titled("\nnew operations", report.gained)
    yield from _titled("\nthe patch", report.patch)
    yield from _titled("\na person decides", report.decisions)
    yield from _titled("\nleft after the patch", (*report.left, *report.examples))
    where = f"written to {patch}; apply it with: patch -p1 < {patch}" if patch else "write it with --patch FILE"
    yield f"\n{'the check passes after the patch' if not report.left else 'the check does not pass after the patch yet'}: {where}"


def _titled(title: str, lines: Iterable[str]) -> Iterator[str]:
    for n, line in enumerate(lines):
        if not n:
            yield title
        yield f"    {line}"


def _sentence(found: Found) -> str:
    return f"{found.path} {found.text}" + (f"  [{', '.join(found.fields)}]" if found.fields else "")


def _versions(fields: dict[str, str]) -> str:
    """`items.onHand`, or the name per version where they differ."""
    if len(set(fields.values())) == 1:
        return next(iter(fields.values()))
    return ", ".join(f"{name} ({version})" for version, name in fields.items())


@click.command("drift")
@of_gateway
@click.option("--json", "as_json", is_flag=True, help="The counters as JSON.")
@click.pass_obj
def drift(settings: Settings, url: str | None, key: str, as_json: bool) -> None:
    """What answers held that their contract does not know, counted by the running gateway since its start; most frequent first."""

    async def ask() -> bytes:
        async with asked(settings, url, key, "/admin/drift", {}, "GET") as answer:
            return await answer.read()

    raw = asyncio.run(ask())
    if as_json:
        click.echo(msgspec.json.format(raw).decode())
        return
    found = msgspec.json.decode(raw, type=list[DriftView])
    for one in found:
        value = f" = {one.value!r}" if one.value else ""
        seen = f"{one.first_seen:%Y-%m-%d %H:%M} to {one.last_seen:%Y-%m-%d %H:%M}"
        click.echo(f"{one.count:>9}  {one.operation}  unknown {one.kind} {one.path}{value}  {seen}")
    if not found:
        click.echo("no drift: every answer held what its contract says")


COMMANDS: list[click.Command] = [impact, drift]
