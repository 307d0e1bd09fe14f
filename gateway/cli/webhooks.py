"""`tillgate webhook …`: receivers of events over HTTP, their secrets and their dead letters; in the books or through a gateway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Protocol, TypeVar
from urllib.parse import quote

import msgspec
import rich_click as click

from contracts.versions import HISTORY
from contracts.webhooks import (
    DeadLetter,
    DeadLetters,
    IssuedSecret,
    Name,
    NewWebhook,
    Replay,
    Replayed,
    Resend,
    SecretRotation,
    Url,
    WebhookChange,
    Webhooks,
    WebhookTested,
    WebhookView,
)
from gateway.bootstrap import open_webhook_desk
from gateway.cli.clients import Gateway, at_desk, fits, through
from gateway.cli.settings import Settings
from gateway.cli.terminal import printable
from gateway.services.clients import Actor

T = TypeVar("T")


class Desk(Protocol):
    """Where receivers are looked after: in the books, or through a running gateway."""

    async def list(self) -> Sequence[WebhookView]: ...

    async def show(self, name: str) -> WebhookView: ...

    async def add(self, wanted: NewWebhook) -> IssuedSecret: ...

    async def change(self, name: str, change: WebhookChange) -> WebhookView: ...

    async def rotate(self, name: str, rotation: SecretRotation) -> IssuedSecret: ...

    async def test(self, name: str) -> WebhookTested: ...

    async def remove(self, name: str) -> None: ...

    async def dead(self, name: str, after: int, limit: int) -> Sequence[DeadLetter]: ...

    async def replay(self, name: str, positions: Sequence[int]) -> int: ...

    async def resend(self, name: str, wanted: Resend) -> int: ...


class RunningGateway:
    """Fulfils `Desk` through the admin API. Raises ClickException with its words."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def list(self) -> Sequence[WebhookView]:
        return [webhook async for page in self._gateway.pages("/admin/webhooks", {}, Webhooks) for webhook in page.items]

    async def show(self, name: str) -> WebhookView:
        return await self._gateway.ask("GET", _of(name), WebhookView)

    async def add(self, wanted: NewWebhook) -> IssuedSecret:
        return await self._gateway.ask("POST", "/admin/webhooks", IssuedSecret, wanted)

    async def change(self, name: str, change: WebhookChange) -> WebhookView:
        return await self._gateway.ask("POST", _of(name), WebhookView, change)

    async def rotate(self, name: str, rotation: SecretRotation) -> IssuedSecret:
        return await self._gateway.ask("POST", f"{_of(name)}/secrets", IssuedSecret, rotation)

    async def test(self, name: str) -> WebhookTested:
        return await self._gateway.ask("POST", f"{_of(name)}/test", WebhookTested)

    async def remove(self, name: str) -> None:
        await self._gateway.ask("DELETE", _of(name), WebhookView)

    async def dead(self, name: str, after: int, limit: int) -> Sequence[DeadLetter]:
        found: list[DeadLetter] = []
        async for page in self._gateway.pages(f"{_of(name)}/dead-letters", {"limit": str(min(limit, 200))}, DeadLetters):
            found += [letter for letter in page.items if letter.position > after]
            if len(found) >= limit:
                break
        return found[:limit]

    async def replay(self, name: str, positions: Sequence[int]) -> int:
        return (await self._gateway.ask("POST", f"{_of(name)}/replay", Replayed, Replay(positions=tuple(positions)))).queued

    async def resend(self, name: str, wanted: Resend) -> int:
        return (await self._gateway.ask("POST", f"{_of(name)}/resend", Replayed, wanted)).queued


def _of(name: str) -> str:
    return f"/admin/webhooks/{quote(name, safe='')}"


def _at(settings: Settings, url: str | None, key: str | None, job: Callable[[Desk], Awaitable[T]]) -> T:
    def in_books(at: Settings, actor: Actor) -> AbstractAsyncContextManager[Desk]:
        return open_webhook_desk(at.estate, at.books, actor)

    return at_desk(settings, url, key, RunningGateway, in_books, job)


_VERSION = click.Choice(sorted(HISTORY.by_date))
_JSON = click.option("--json", "as_json", is_flag=True, help="One line each.")


@click.group("webhook")
def webhooks() -> None:
    """Receivers of events over HTTP."""


@webhooks.command("add")
@click.argument("name")
@click.argument("webhook_url", metavar="URL")
@click.option("--type", "types", multiple=True, default=("io.tillgate.",), show_default=True, help="Repeatable: how its event types begin.")
@click.option("--version", "api_version", type=_VERSION, default=HISTORY.newest.date, show_default=True, help="In whose shapes it is told.")
@through
@click.pass_obj
def add(
    settings: Settings, name: str, webhook_url: str, types: tuple[str, ...], api_version: str, url: str | None, key: str | None
) -> None:
    """Add a receiver and show its secret: once, now."""
    fits(name, Name, "NAME", "2 to 64 letters, digits, _ and -")
    fits(webhook_url, Url, "URL", "an address such as https://shop.example.com/hooks/tillgate")
    try:
        wanted = msgspec.convert({"name": name, "url": webhook_url, "types": types, "apiVersion": api_version}, NewWebhook)
    except msgspec.ValidationError as exc:
        raise click.BadParameter(str(exc)) from None
    click.echo(_at(settings, url, key, lambda desk: desk.add(wanted)).secret)


@webhooks.command("list")
@_JSON
@through
@click.pass_obj
def list_(settings: Settings, as_json: bool, url: str | None, key: str | None) -> None:
    """All receivers, and how each gets on."""
    for webhook in _at(settings, url, key, lambda desk: desk.list()):
        click.echo(msgspec.json.encode(webhook).decode() if as_json else _line(webhook))


@webhooks.command("change")
@click.argument("name")
@click.option("--to", default=None, help="Another URL.")
@click.option("--type", "types", multiple=True, help="Repeatable: how all its event types begin from now on.")
@click.option("--version", "api_version", type=_VERSION, default=None)
@through
@click.pass_obj
def change(
    settings: Settings, name: str, to: str | None, types: tuple[str, ...], api_version: str | None, url: str | None, key: str | None
) -> None:
    """Another URL, other types or version; what is not named stays."""
    wanted = WebhookChange(url=to, types=types or None, api_version=api_version)
    if wanted == WebhookChange():
        raise click.UsageError("say what changes, for example --to or --type")
    _at(settings, url, key, lambda desk: desk.change(name, wanted))


@webhooks.command("rotate")
@click.argument("name")
@click.option("--overlap", type=click.IntRange(0, 8760), default=24, show_default=True, help="Hours for which older secrets sign too.")
@through
@click.pass_obj
def rotate(settings: Settings, name: str, overlap: int, url: str | None, key: str | None) -> None:
    """A new secret; deliveries carry a signature of each until the overlap is over."""
    click.echo(_at(settings, url, key, lambda desk: desk.rotate(name, SecretRotation(overlap_hours=overlap))).secret)


@webhooks.command("suspend")
@click.argument("name")
@through
@click.pass_obj
def suspend(settings: Settings, name: str, url: str | None, key: str | None) -> None:
    """Send nothing from now on (within some seconds); events wait."""
    _at(settings, url, key, lambda desk: desk.change(name, WebhookChange(suspended=True)))


@webhooks.command("resume")
@click.argument("name")
@through
@click.pass_obj
def resume(settings: Settings, name: str, url: str | None, key: str | None) -> None:
    """Deliver again, beginning with what has waited."""
    _at(settings, url, key, lambda desk: desk.change(name, WebhookChange(suspended=False)))


@webhooks.command("test")
@click.argument("name")
@through
@click.pass_obj
def test(settings: Settings, name: str, url: str | None, key: str | None) -> None:
    """Send one event now, past the queue."""
    tested = _at(settings, url, key, lambda desk: desk.test(name))
    if not tested.delivered:
        raise click.ClickException(printable(f"not delivered: {tested.reason}"))
    click.echo(f"delivered: answered {tested.status} after {tested.milliseconds} ms")


@webhooks.command("dead")
@click.argument("name")
@click.option("-n", "limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@_JSON
@through
@click.pass_obj
def dead(settings: Settings, name: str, limit: int, as_json: bool, url: str | None, key: str | None) -> None:
    """Events that could not be delivered, oldest first."""
    for letter in _at(settings, url, key, lambda desk: desk.dead(name, 0, limit)):
        if as_json:
            click.echo(msgspec.json.encode(letter).decode())
        else:
            queued = f"{letter.queued_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
            click.echo(
                printable(f"{letter.position:<18} {queued}  {letter.type}  {letter.subject}  {letter.attempts} times: {letter.reason}")
            )


@webhooks.command("replay")
@click.argument("name")
@click.argument("positions", type=click.IntRange(0), nargs=-1)
@through
@click.pass_obj
def replay(settings: Settings, name: str, positions: tuple[int, ...], url: str | None, key: str | None) -> None:
    """Queue dead letters again: those at POSITIONS, or all."""
    click.echo(f"{_at(settings, url, key, lambda desk: desk.replay(name, positions))} queued again")


_MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])


@webhooks.command("resend")
@click.argument("name")
@click.option("--since", type=_MOMENT, required=True, help="In UTC.")
@click.option("--until", type=_MOMENT, default=None, help="In UTC; without it until now.")
@through
@click.pass_obj
def resend(settings: Settings, name: str, since: datetime, until: datetime | None, url: str | None, key: str | None) -> None:
    """Queue again what happened in a time, delivered or missed, as far as it is kept."""
    wanted = Resend(since=since.replace(tzinfo=UTC), until=until and until.replace(tzinfo=UTC))
    click.echo(f"{_at(settings, url, key, lambda desk: desk.resend(name, wanted))} queued again")


@webhooks.command("remove")
@click.argument("name")
@through
@click.pass_obj
def remove(settings: Settings, name: str, url: str | None, key: str | None) -> None:
    """Remove a receiver with all that waits for it."""
    _at(settings, url, key, lambda desk: desk.remove(name))


def _line(webhook: WebhookView) -> str:
    counts = f"{webhook.waiting} waiting, {webhook.dead} dead, {webhook.delivered} delivered, {webhook.missed} missed"
    why = f"  {webhook.reason}" if webhook.reason else ""
    return printable(f"{webhook.name:24} {webhook.state:10} {webhook.api_version}  {' '.join(webhook.types)}  {webhook.url}  {counts}{why}")


COMMANDS = [webhooks]
