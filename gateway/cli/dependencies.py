"""`tillgate map estate`: the declared dependencies for a wiki, what is lost with a system, and what traces say against the map."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec
import rich_click as click

from contracts.policy import Duration
from contracts.suggestion import nearest
from gateway.bootstrap import check, trace_folder
from gateway.bootstrap.dependency import dependency_map
from gateway.cli.clients import Gateway, needed, through
from gateway.cli.settings import Settings
from gateway.cli.terminal import printable
from gateway.services.clock import utc_now
from gateway.services.incidents import EstateMap
from observability.dependencies import Seen, differences, document, fallen, losses, mermaid
from observability.ring import Ring
from observability.rootcause.model import DependencyMap

_FELT = {"fails": "FAILS", "degraded": "degraded", "none": "not at all"}


@click.command("estate")
@click.option("--format", "form", type=click.Choice(["table", "mermaid", "json"]), default="table", show_default=True)
@click.option("--down", metavar="SYSTEM", default="", help="What callers feel while this system does not answer.")
@click.option("--observed", is_flag=True, help="Compare with the kept flights of the data folder, or of the gateway asked.")
@click.option("--since", default="7d", show_default=True, help="How far back --observed looks, as far as flights are kept.")
@through
@click.pass_obj
def estate_map(settings: Settings, form: str, down: str, observed: bool, since: str, url: str | None, key: str | None) -> None:
    """Which route needs which system, whom to call, and what is lost with it."""
    begin = _begin(since) if observed else None
    if url:
        known = asyncio.run(_asked(Gateway(settings, url, needed(key)), begin))
    else:
        seen = asyncio.run(Ring(trace_folder(settings.books)).edges(begin)) if begin else None
        known = EstateMap(declared=dependency_map(check(settings.estate).estate), seen=seen)
    declared, seen = known.declared, known.seen
    if down and down not in declared.systems:
        raise click.ClickException(f"no system {down!r}; {nearest(down, declared.systems)}")
    if form == "mermaid":
        click.echo(mermaid(declared, down=down, seen=seen), nl=False)
    elif form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(document(declared, down=[down] if down else None, seen=seen))).decode())
    else:
        for line in (*_table(declared, down), *(_compared(declared, seen) if seen else ())):
            click.echo(printable(line))


def _begin(since: str) -> datetime:
    try:
        return utc_now() - timedelta(seconds=Duration.parse(since))
    except (ValueError, OverflowError) as exc:
        raise click.ClickException(f"--since: {exc}") from exc


async def _asked(gateway: Gateway, since: datetime | None) -> EstateMap:
    query = {"since": f"{since:%Y-%m-%dT%H:%M:%SZ}"} if since else {}
    async for page in gateway.pages("/admin/map", query, EstateMap):
        return page
    raise click.ClickException("the gateway said nothing")


def _table(declared: DependencyMap, down: str) -> Iterator[str]:
    for system in [down] if down else declared.systems:
        node = declared.systems[system]
        whom = ", ".join(filter(None, (node.owner, node.contact)))
        yield f"{system}  {node.criticality}, {whom}"
        if also := fallen(declared, system).keys() - {system}:
            yield f"  takes along: {', '.join(sorted(also))}"
        shared = [
            f"{key} {value} with {', '.join(others)}"
            for key, value in node.shares.items()
            if (others := [o for o, other in declared.systems.items() if o != system and other.shares.get(key) == value])
        ]
        if shared:
            yield f"  shares {'; '.join(shared)}"
        lost = losses(declared, system)
        yield f"  while it is down, for {', '.join(declared.channels)}:"
        for loss in lost:
            if loss.effect != "none":
                first, *others = loss.why
                yield f"    {_FELT[loss.effect]:10} {loss.route:28} {first}"
                yield from (f"{'':44}{why}" for why in others)
        untouched = [loss.route for loss in lost if loss.effect == "none"]
        if untouched:
            yield f"    {_FELT['none']:10} {', '.join(untouched)}"
        yield ""


def _compared(declared: DependencyMap, seen: Seen) -> Iterator[str]:
    base = f"{sum(seen.requests.values()):,} requests of the last {seen.hours:.2g} h"
    found = differences(declared, seen)
    yield f"against {base}, {len(seen.edges)} edges: {'no difference' if not found else f'{len(found)} differences'}"
    for each in found:
        name = f"{each.system}.{each.operation}".rstrip(".")
        where = f"{each.route} -> {name}" if each.route else name
        yield f"  {each.kind.replace('_', ' '):13} {where:48} {f'{each.n:,} times; ' if each.kind != 'unused' else ''}{each.advice}"
