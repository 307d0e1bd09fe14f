"""`tillgate client …`: applications that may call, and their keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec
import rich_click as click

from contracts.books import Books, Client
from contracts.canonical.base import Key, LocationId
from contracts.errors import NotFound
from contracts.versions import HISTORY
from gateway.bootstrap import open_books, pepper
from gateway.cli.settings import Settings
from gateway.edge.identity.keys import new_key
from gateway.edge.identity.scopes import SCOPES
from gateway.estate import CHANNELS, nearest, read

T = TypeVar("T")


def in_books(settings: Settings, job: Callable[[Books], Awaitable[T]]) -> T:
    async def run() -> T:
        async with open_books(settings.estate, settings.books) as books:
            return await job(books)

    return asyncio.run(run())


@click.group("client")
def clients() -> None:
    """Applications of a channel, their scopes and keys."""


def _fits(value: str, kind: object, where: str, expected: str) -> None:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        raise click.BadParameter(f"expected {expected}, got {value!r}", param_hint=where) from None


@clients.command("add")
@click.argument("name")
@click.option("--channel", type=click.Choice(CHANNELS), required=True)
@click.option("--scope", "scopes", type=click.Choice(sorted(SCOPES)), multiple=True, help="Repeatable. Default: all but admin.")
@click.option("--version", "api_version", type=click.Choice(sorted(HISTORY.by_date)), default=HISTORY.newest.date, show_default=True)
@click.option("--quota", default="standard", show_default=True)
@click.option("--store", "stores", multiple=True, help="Bound to these locations. Default: all.")
@click.pass_obj
def add(
    settings: Settings, name: str, channel: str, scopes: tuple[str, ...], api_version: str, quota: str, stores: tuple[str, ...]
) -> None:
    """Add a client and show its key: once, now."""
    estate, _ = read(settings.estate)
    _fits(name, Key, "NAME", "2 to 256 letters, digits, _ and -")
    for store in stores:
        _fits(store, LocationId, "--store", "a location such as 0017")
    if quota not in estate.quota:
        raise click.BadParameter(f"no quota {quota!r}; {nearest(quota, estate.quota)}", param_hint="--quota")
    if channel not in estate.channel:
        raise click.BadParameter(f"the estate has no channel {channel!r}; {nearest(channel, estate.channel)}", param_hint="--channel")
    granted = scopes or tuple(s for s in SCOPES if not s.startswith("admin:"))

    async def job(books: Books) -> str:
        if await books.clients.get(name) is not None:
            raise click.ClickException(f"there is a client {name!r} already; tillgate client rotate {name} gives it a new key")
        client = Client(name=name, channel=channel, scopes=tuple(granted), api_version=api_version, quota=quota, stores=stores)
        await books.clients.put(client)
        key, stored = new_key(name, await pepper(books))
        await books.clients.add_key(stored)
        return key

    click.echo(in_books(settings, job))


@clients.command("rotate")
@click.argument("name")
@click.option("--overlap", type=click.IntRange(0, 8760), default=24, show_default=True, help="Hours for which older keys still work.")
@click.pass_obj
def rotate(settings: Settings, name: str, overlap: int) -> None:
    """A new key; older ones end after the overlap."""

    async def job(books: Books) -> str:
        await _existing(books, name)
        await books.clients.expire_keys(name, datetime.now(UTC) + timedelta(hours=overlap))
        key, stored = new_key(name, await pepper(books))
        await books.clients.add_key(stored)
        return key

    click.echo(in_books(settings, job))


@clients.command("pin")
@click.argument("name")
@click.argument("version", type=click.Choice(sorted(HISTORY.by_date)))
@click.pass_obj
def pin(settings: Settings, name: str, version: str) -> None:
    """Pin a client to an API version."""
    _change(settings, name, api_version=version)


@clients.command("suspend")
@click.argument("name")
@click.option("--resume", is_flag=True, help="Let it in again.")
@click.pass_obj
def suspend(settings: Settings, name: str, resume: bool) -> None:
    """Refuse a client from now on (within two seconds)."""
    _change(settings, name, suspended=not resume)


@clients.command("list")
@click.pass_obj
def show(settings: Settings) -> None:
    """All clients."""

    async def job(books: Books) -> list[Client]:
        return list(await books.clients.list())

    for client in in_books(settings, job):
        state = "suspended" if client.suspended else "active"
        click.echo(f"{client.name:24} {client.channel:12} {client.api_version}  {client.quota:10} {state:10} {' '.join(client.scopes)}")


def _change(settings: Settings, name: str, **changes: object) -> None:
    async def job(books: Books) -> None:
        client = await _existing(books, name)
        await books.clients.put(msgspec.structs.replace(client, **changes))

    in_books(settings, job)


async def _existing(books: Books, name: str) -> Client:
    client = await books.clients.get(name)
    if client is None:
        raise NotFound(what="client", key=name)
    return client


COMMANDS = [clients]
