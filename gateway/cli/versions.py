"""`tillgate versions`: who speaks which API version, what of it newer ones have otherwise, and who blocks a sunset."""

from __future__ import annotations

import os
import sys
from datetime import datetime

import msgspec
import rich_click as click

from contracts.adoption import ClientUseView, VersionsView, VersionView
from contracts.books import Books
from contracts.errors import TillgateError
from contracts.policy import Duration
from contracts.versions import HISTORY
from gateway.api import ADMIN, ENDPOINTS
from gateway.bootstrap import store_options
from gateway.cli.clients import in_books
from gateway.cli.settings import Settings
from gateway.edge.adoption import Adoption
from gateway.estate import brown_outs, read
from gateway.services.clock import utc_now

DAY = 86_400


class _Since(click.ParamType):  # type: ignore[type-arg]  # generic in the stubs only
    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, context: click.Context | None) -> int:
        """Days, today among them."""
        if isinstance(value, int):
            return value
        try:
            days = -(-Duration.parse(value) // DAY)
        except ValueError as exc:
            self.fail(str(exc), param, context)
        if not 1 <= days <= 400:
            self.fail(f"expected 1d to 400d, got {value!r}", param, context)
        return int(days)


_since = click.option("--since", type=_Since(), default="30d", show_default=True, help="Only what was seen in this time, in whole days.")
_json = click.option("--json", "as_json", is_flag=True)


@click.group("versions", invoke_without_command=True)
@_since
@_json
@click.pass_context
def versions(context: click.Context, since: int, as_json: bool) -> None:
    """Requests by API version and client, and what of it a newer version has otherwise."""
    if context.invoked_subcommand is None:
        found = view(context.obj, since)
        click.echo(_encoded(found) if as_json else "\n\n".join(shown(each) for each in found.items))


@versions.command("blockers")
@click.argument("version", type=click.Choice(sorted(HISTORY.by_date)))
@_since
@_json
@click.pass_obj
def blockers(settings: Settings, version: str, since: int, as_json: bool) -> None:
    """Who would be refused if VERSION were switched off now. Exit code 0: nobody; 1: somebody."""
    found = next(v for v in view(settings, since).items if v.version == version)
    if found.state == "current":
        raise click.BadParameter(f"{version} is the current version: there is none to move its clients to", param_hint="VERSION")
    click.echo(_encoded(found.blockers) if as_json else verdict(found))
    sys.exit(1 if found.blockers else 0)


def view(settings: Settings, days: int) -> VersionsView:
    """From the books; a running gateway adds to them every few seconds."""
    estate, _ = read(settings.estate)

    async def job(books: Books) -> VersionsView:
        return await Adoption(books, HISTORY, (*ENDPOINTS, *ADMIN), brown_outs(estate), utc_now).read(days)

    return in_books(settings, job)


def at_hand(settings: Settings, days: int = 30) -> VersionsView | None:
    """The same where books can be read that are there already; nothing is made, and nobody is troubled."""
    try:
        estate, _ = read(settings.estate)
        path = store_options(estate, settings.books, os.environ).path
        return view(settings, days) if path is None or path.is_file() else None
    except (TillgateError, LookupError, OSError):
        return None


def _encoded(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value)).decode()


def shown(version: VersionView) -> str:
    requests = f"{version.requests:,} request{'s' if version.requests != 1 else ''}"
    lines = [f"{version.version}  {_state(version)}  {requests} of {_clients(len(version.clients))}"]
    for client in version.clients:
        lines.append(
            f"  {client.client:24} {client.channel:12} {client.requests:>10,}  last {_day(client.last_seen)}  {_pinned(client, version)}"
        )
        lines.extend(f"    {use.field} on {use.route}: {use.times:,}, last {_day(use.last_seen)}  ({use.change})" for use in client.uses)
    if version.pinned_unseen:
        lines.append(f"  pinned and not seen: {', '.join(version.pinned_unseen)}")
    for change in version.changes:
        who = ", ".join(change.clients) or "nobody uses what it touched"
        lines.append(f"  {change.version} {change.name}: {who}")
    lines.extend(f"  brown-out {b.start:%Y-%m-%d %H:%M} to {b.end:%H:%M} UTC" for b in version.brown_outs)
    if version.state != "current":
        lines.append(f"  {verdict(version).splitlines()[0]}")
    return "\n".join(lines)


def verdict(version: VersionView) -> str:
    """Who blocks the sunset, what each must change, and who only has to be pinned anew."""
    end = f" on {_day(version.sunset)}" if version.sunset else ""
    what = f"the end of {version.version}{end}"
    lines = [
        f"{_clients(len(version.blockers))} {'blocks' if len(version.blockers) == 1 else 'block'} {what}"
        if version.blockers
        else f"nobody blocks {what}"
    ]
    for client in version.blockers:
        lines.append(f"  {client.client} ({client.channel}): {client.requests:,} requests, last {_day(client.last_seen)}")
        lines.extend(f"    uses {use.field} on {use.route} ({use.change})" for use in client.uses)
        if not client.uses:
            move = (
                f"tillgate client pin {client.client} {HISTORY.newest.date}"
                if client.pinned == version.version
                else "it asks for it by API-Version"
            )
            lines.append(f"    uses nothing that changed since: {move}")
    if version.pinned_unseen:
        lines.append(f"  pinned to it and not seen: {', '.join(version.pinned_unseen)}")
    return "\n".join(lines)


def _state(version: VersionView) -> str:
    if version.state == "retired":
        return f"switched off since {_day(version.sunset)}"
    if version.deprecated is None:
        return version.state
    said = (
        f"{version.state} since {_day(version.deprecated)}"
        if version.state == "deprecated"
        else f"deprecated from {_day(version.deprecated)}"
    )
    return said + (f", switched off on {_day(version.sunset)}" if version.sunset else "")


def _pinned(client: ClientUseView, version: VersionView) -> str:
    if client.pinned is None:
        return "no client any more"
    said = "pinned" if client.pinned == version.version else f"asks for it, pinned to {client.pinned}"
    return said + (", suspended" if client.suspended else "")


def _clients(count: int) -> str:
    return f"{count} client{'s' if count != 1 else ''}"


def _day(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d}" if at else ""


COMMANDS: list[click.Command] = [versions]
