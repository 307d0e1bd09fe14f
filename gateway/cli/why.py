"""`tillgate why`: what is broken, since when, for whom, and how sure that is; from a running gateway, or the books of a stopped one."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import rich_click as click

from contracts.books import Label
from contracts.books.incidents import Right
from contracts.canonical.base import Instant
from gateway.bootstrap import open_books
from gateway.bootstrap.explaining import explain_window
from gateway.cli.clients import Gateway, needed, through
from gateway.cli.settings import Settings
from gateway.cli.terminal import printable, who
from gateway.services import incidents as service
from gateway.services.clock import utc_now
from gateway.services.incidents import IncidentDetail, Incidents, IncidentView, Watch, Window
from observability.logs import configure
from observability.rootcause.felt import base, felt
from observability.rootcause.model import Culprit, Incident, WhyNot
from observability.rootcause.online.sentence import why_not

OPEN, WRONG = 3, 2
"""Exit codes: an incident is open; the command could not be carried out. 0: nothing is broken."""
_SPAN = re.compile(r"([0-9]{1,5})(s|m|h|d)")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class _Span(click.ParamType[timedelta]):
    name = "SPAN"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        if not (found := _SPAN.fullmatch(str(value))):
            self.fail(f"expected a span such as 30m, 2h or 7d, got {value!r}", param, ctx)
        return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


@click.command("why")
@click.option("--since", type=_Span(), default=None, help="Also what was over within this span: 1h, 2d. Default: what is open alone.")
@click.option("--id", "number", default=None, help="One incident, with its history: INC-20260311-0007.")
@click.option("--explain", "window", default=None, metavar="FROM/TO", help="A window that was no incident, in RFC 3339; no TO: until now.")
@click.option("--right", type=click.Choice(("yes", "partly", "no")), default=None, help="With --id: was the verdict right?")
@click.option("--culprit", default="", help="With --right: what it was, if the verdict was wrong: erp.GetStock.")
@click.option("--note", default="", help="With --right.")
@click.option("--json", "as_json", is_flag=True, help="As the admin API answers.")
@through
@click.pass_obj
def why(
    settings: Settings,
    since: timedelta | None,
    number: str | None,
    window: str | None,
    right: Right | None,
    culprit: str,
    note: str,
    as_json: bool,
    url: str | None,
    key: str | None,
) -> None:
    """What is broken, since when, for whom, and how sure that is.

    The exit code is 0 when nothing is broken, 3 while an incident is open, 2 when the question cannot be answered. With --id it is
    that of this incident.
    """
    configure(level="warning")
    if right and not number:
        raise click.UsageError("--right says of which incident: --id INC-…")
    gateway = Gateway(settings, url, needed(key)) if url else None
    if window:
        _show(asyncio.run(_explained(settings, gateway, window)), as_json)
        return
    if number:
        found = asyncio.run(_one(settings, gateway, number, right, culprit, note))
        _show(found, as_json)
        sys.exit(OPEN if found.view.state == "open" else 0)
    listed = asyncio.run(_listed(settings, gateway, since))
    _show(listed, as_json)
    sys.exit(OPEN if any(i.state == "open" for i in listed.items) else 0)


async def _listed(settings: Settings, gateway: Gateway | None, since: timedelta | None) -> Incidents:
    query = {"since": f"{utc_now() - since:%Y-%m-%dT%H:%M:%SZ}"} if since else {"state": "open"}
    if gateway is not None:
        async for page in gateway.pages("/admin/incidents", query, Incidents):
            return page
    async with open_books(settings.estate, settings.books) as books:
        found = await books.incidents.list(50, since=utc_now() - since) if since else await books.incidents.list(50, state="open")
        return Incidents(items=tuple(map(service.view, found)))


async def _one(settings: Settings, gateway: Gateway | None, number: str, right: Right | None, culprit: str, note: str) -> IncidentDetail:
    if gateway is not None:
        if right:
            from gateway.api.incidents import NewLabel

            body = NewLabel(right=right, culprit=culprit, note=note)
            return await gateway.ask("POST", f"/admin/incidents/{number}/label", IncidentDetail, body)
        return await gateway.ask("GET", f"/admin/incidents/{number}", IncidentDetail)
    async with open_books(settings.estate, settings.books) as books:
        if right:
            label = Label(at=utc_now(), by=f"command line: {who()}", right=right, culprit=culprit, note=note)
            await service.label(books, number, label, utc_now)
        return await service.detail(books, number)


async def _explained(settings: Settings, gateway: Gateway | None, window: str) -> Window:
    begin, _, end = window.partition("/")
    if gateway is None:
        return Window(incident=await explain_window(settings.estate, settings.books, _moment(begin), _moment(end) if end else None))
    query = {"begin": begin, **({"end": end} if end else {})}
    async for page in gateway.pages("/admin/windows", query, Window):
        return page
    raise click.ClickException("the gateway said nothing")


def _moment(text: str) -> datetime:
    try:
        return msgspec.convert(text, Instant)
    except msgspec.ValidationError:
        raise click.BadParameter(f"expected RFC 3339 with an offset, got {text!r}", param_hint="--explain") from None


def _show(found: Incidents | IncidentDetail | Window, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    lines: Iterator[str]
    match found:
        case Incidents():
            lines = _all(found)
        case IncidentDetail():
            lines = _detail(found)
        case Window():
            lines = _incident(found.incident)
    for line in lines:
        click.echo(printable(line))


def _all(found: Incidents) -> Iterator[str]:
    if not any(i.state == "open" for i in found.items):
        yield "Nothing is broken." if found.watch is None or found.watch.looked_at else "Nothing was looked at yet."
    for each in found.items:
        yield from _headed(each)
        yield from _incident(each.incident)
        yield ""
    if found.watch is not None:
        yield from _watched(found.watch)
    else:
        yield "From the books; no gateway was asked (--url)."


def _headed(each: IncidentView) -> Iterator[str]:
    over = f", {each.state} {_at(each.ended_at)}" if each.ended_at else ""
    into = f" into {each.into}" if each.into else ""
    yield f"{each.id}  {each.state if not over else ''}{over.removeprefix(', ')}{into}"


def _incident(said: Incident) -> Iterator[str]:
    yield said.sentence
    for c in said.culprits:
        yield from _culprit(c)
    yield from _impact(said)
    if said.changes_before:
        yield "before it: " + "; ".join(f"{c.what} {_at(c.at)}{' (the cause)' if c.role == 'cause' else ''}" for c in said.changes_before)
    for other in said.why_not:
        yield f"not {_name(other)}: {_reason(other, said.culprits)} (score {other.score:.2f}, covers {other.coverage:.0%})"
    unseen = [f"{n.what}{f': {n.why}' if n.why else ''}{f', {n.dropped} of {n.of}' if n.dropped else ''}" for n in said.not_seen]
    if unseen:
        yield "could not be seen: " + "; ".join(unseen)


def _culprit(c: Culprit) -> Iterator[str]:
    whom = f", owner {c.owner}{f' ({c.contact})' if c.contact else ''}" if c.owner else ""
    yield f"  {c.rank}. {_name(c)}: {c.kind.replace('_', ' ')}, {c.failure}; covers {c.coverage:.0%}, {c.lift:.1f} times the usual{whom}"
    if c.detail:
        yield f"     {c.detail}"
    for part in c.scope:
        yield "     only " + ", ".join(f"{attribute} {' '.join(values)}" for attribute, values in part.items())
    if c.bad_traces:
        yield f"     traces {' '.join(c.bad_traces)}{f'; a good one beside them {c.twin}' if c.twin else ''}"


def _impact(said: Incident) -> Iterator[str]:
    impact = said.impact
    if impact.requests:
        orders = f", {impact.orders} orders" if impact.orders else ""
        hit = " and ".join(f"{n} {word}" for n, word in felt(said))
        yield f"hit: {hit} of {impact.requests} {base(said)}{orders}"
    for attribute, values in impact.hit.items():
        of = impact.of.get(attribute, {})
        shown = sorted(values.items(), key=lambda v: (-v[1], v[0]))[:8]
        more = f" and {len(values) - 8} more" if len(values) > 8 else ""
        yield f"  {attribute.replace('_', ' ')}: " + ", ".join(f"{v} {n}{f' of {of[v]}' if v in of else ''}" for v, n in shown) + more
    for attribute, names in impact.at_risk.items():
        yield f"  at risk, {attribute}: {', '.join(names)}"


def _detail(found: IncidentDetail) -> Iterator[str]:
    yield from _headed(found.view)
    yield from _incident(found.view.incident)
    for line in found.history:
        yield f"{_at(line.at)}  {line.state}, {line.verdict} {line.confidence:.0%}: {line.sentence}"
    for label in found.labels:
        culprit = f", it was {label.culprit}" if label.culprit else ""
        yield f"{_at(label.at)}  {label.by} says it was right: {label.right}{culprit}{f' ({label.note})' if label.note else ''}"
    if found.traces:
        yield f"kept with it: {len(found.traces)} traces"


def _watched(watch: Watch) -> Iterator[str]:
    looked = (
        f"looked {watch.looks} times since {_at(watch.since)}, last {_at(watch.looked_at)}" if watch.looked_at else "has not looked yet"
    )
    yield (
        f"Watched: {watch.flights} flights over {watch.routes} routes and {watch.operations} operations of {', '.join(watch.systems)};"
        f" {looked}{'' if watch.decides else '; another process decides'}."
    )
    if watch.trouble:
        yield f"The last look failed: {watch.trouble}"


def _name(c: Culprit | WhyNot) -> str:
    return f"{c.system} {c.operation}".strip()


def _reason(other: WhyNot, culprits: Sequence[Culprit]) -> str:
    by = next((_name(c) for c in culprits if c.rank == other.by), f"rank {other.by}")
    return why_not(other, by)


def _at(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}" if at else "never"


COMMANDS: list[click.Command] = [why]
