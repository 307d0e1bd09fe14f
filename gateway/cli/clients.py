"""`tillgate client …` and `audit`: applications that may call, their keys, and who changed what; in the books or through a gateway."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
import rich_click as click

from contracts.admin import AuditLog, ClientChange, Clients, ClientView, Fingerprint, IssuedKey, NewClient, Rotation
from contracts.books import AuditEntry, Books
from contracts.canonical.base import Key, LocationId
from contracts.versions import HISTORY
from gateway.bootstrap import client_desk, open_books, pepper
from gateway.cli.settings import Settings
from gateway.cli.terminal import printable, who
from gateway.edge.identity.certificates import thumbprint
from gateway.edge.identity.scopes import SCOPES
from gateway.estate import CHANNELS, read
from gateway.services.clients import Actor, Desk
from observability.logs import configure

D = TypeVar("D")
T = TypeVar("T")
K = TypeVar("K", bound=msgspec.Struct)


def in_books(settings: Settings, job: Callable[[Books], Awaitable[T]]) -> T:
    async def run() -> T:
        async with open_books(settings.estate, settings.books) as books:
            return await job(books)

    return asyncio.run(run())


class Gateway:
    """Fulfils `Desk` through the admin API of a running gateway. Raises ClickException with its words."""

    def __init__(self, settings: Settings, url: str, key: str) -> None:
        self._settings, self._url, self._key = settings, url, key

    async def list(self) -> Sequence[ClientView]:
        return [client async for page in self.pages("/admin/clients", {}, Clients) for client in page.items]

    async def show(self, name: str) -> ClientView:
        return await self.ask("GET", _of(name), ClientView)

    async def add(self, wanted: NewClient) -> IssuedKey:
        return await self.ask("POST", "/admin/clients", IssuedKey, wanted)

    async def change(self, name: str, change: ClientChange) -> ClientView:
        return await self.ask("POST", _of(name), ClientView, change)

    async def rotate(self, name: str, rotation: Rotation) -> IssuedKey:
        return await self.ask("POST", f"{_of(name)}/keys", IssuedKey, rotation)

    async def end_key(self, name: str, prefix: str) -> ClientView:
        return await self.ask("DELETE", f"{_of(name)}/keys/{quote(prefix, safe='')}", ClientView)

    async def remove(self, name: str) -> None:
        await self.ask("DELETE", _of(name), ClientView)

    async def pages(self, path: str, query: dict[str, str], kind: type[K]) -> AsyncIterator[K]:
        """Along the links to the next page."""
        from gateway.cli.client_transport import next_of
        from gateway.cli.recording import asked

        following: str | None = path
        while following:
            async with asked(self._settings, self._url, self._key, following, query, "GET") as answer:
                following, query = next_of(answer.headers.get("Link", "")), {}
                yield msgspec.json.decode(await answer.read(), type=kind)

    async def ask(self, method: str, path: str, kind: type[K], body: msgspec.Struct | None = None) -> K:
        from gateway.cli.recording import asked

        content = msgspec.json.encode(body) if body is not None else None
        async with asked(self._settings, self._url, self._key, path, {}, method, content) as answer:
            return msgspec.json.decode(await answer.read(), type=kind)


def _of(name: str) -> str:
    return f"/admin/clients/{quote(name, safe='')}"


@asynccontextmanager
async def _in_books(settings: Settings, actor: Actor) -> AsyncIterator[Desk]:
    estate, _ = read(settings.estate)
    async with open_books(settings.estate, settings.books) as books:
        yield client_desk(books.clients, await pepper(books), estate, actor)


def at_desk(
    settings: Settings,
    url: str | None,
    key: str | None,
    through_gateway: Callable[[Gateway], D],
    in_books: Callable[[Settings, Actor], AbstractAsyncContextManager[D]],
    job: Callable[[D], Awaitable[T]],
) -> T:
    """Does the job at a running gateway where one is named, else in the books at hand."""
    configure(level="warning")  # what was done is in the audit log

    async def run() -> T:
        if url:
            return await job(through_gateway(Gateway(settings, url, needed(key))))
        async with in_books(settings, Actor(f"command line: {who()}")) as desk:
            return await job(desk)

    return asyncio.run(run())


def needed(key: str | None) -> str:
    if not key:
        raise click.BadParameter("a gateway wants the key of an operator; better in TILLGATE_KEY", param_hint="--key")
    return key


def through(command: Any) -> Any:
    """Options of a command that works on the books at hand, or through a gateway."""
    command = click.option("--key", envvar="TILLGATE_KEY", default=None, help="Of an operator; better in TILLGATE_KEY.")(command)
    where = "A running gateway, which is asked instead of the books at hand."
    return click.option("--url", envvar="TILLGATE_URL", default=None, help=where)(command)


def _at(settings: Settings, url: str | None, key: str | None, job: Callable[[Desk], Awaitable[T]]) -> T:
    return at_desk(settings, url, key, lambda gateway: gateway, _in_books, job)


def fits(value: str, kind: object, where: str, expected: str) -> None:
    """Raises BadParameter, in words instead of a pattern."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        raise click.BadParameter(f"expected {expected}, got {value!r}", param_hint=where) from None


def _locations(stores: Sequence[str]) -> tuple[str, ...]:
    for store in stores:
        fits(store, LocationId, "--store", "a location such as 0017")
    return tuple(stores)


def _end(days: int | None) -> datetime | None:
    return datetime.now(UTC) + timedelta(days=days) if days else None


def _fingerprints(given: Sequence[str]) -> tuple[str, ...]:
    """Of certificates in PEM files, or as they are."""
    found = []
    for each in given:
        if Path(each).is_file():
            try:
                found.append(thumbprint(ssl.PEM_cert_to_DER_cert(Path(each).read_text("ascii"))))
            except ValueError:  # also UnicodeDecodeError
                raise click.BadParameter(f"{each}: expected a certificate in PEM", param_hint="--certificate") from None
        else:
            fits(each, Fingerprint, "--certificate", "a PEM file or a fingerprint (x5t#S256)")
            found.append(each)
    return tuple(found)


_CERTIFICATE = click.option("--certificate", "certificates", multiple=True, help="Repeatable: PEM file or fingerprint that stands for it.")
_EXPIRES = click.option("--expires", "days", type=click.IntRange(1, 36_500), default=None, help="Days after which the new key ends.")
_SCOPE = click.Choice(sorted(SCOPES))
_VERSION = click.Choice(sorted(HISTORY.by_date))


@click.group("client")
def clients() -> None:
    """Applications of a channel, their scopes and keys."""


@clients.command("add")
@click.argument("name")
@click.option("--channel", type=click.Choice(CHANNELS), required=True)
@click.option("--scope", "scopes", type=_SCOPE, multiple=True, required=True, help="What it may do; repeatable.")
@click.option("--version", "api_version", type=_VERSION, default=HISTORY.newest.date, show_default=True)
@click.option("--quota", default="standard", show_default=True)
@click.option("--store", "stores", multiple=True, help="Bound to these locations. Default: all.")
@_CERTIFICATE
@_EXPIRES
@through
@click.pass_obj
def add(
    settings: Settings,
    name: str,
    channel: str,
    scopes: tuple[str, ...],
    api_version: str,
    quota: str,
    stores: tuple[str, ...],
    certificates: tuple[str, ...],
    days: int | None,
    url: str | None,
    key: str | None,
) -> None:
    """Add a client and show its key: once, now."""
    fits(name, Key, "NAME", "2 to 256 letters, digits, _ and -")
    wanted = NewClient(
        name=name,
        channel=channel,
        scopes=scopes,
        stores=_locations(stores),
        certificates=_fingerprints(certificates),
        quota=quota,
        api_version=api_version,
        key_expires_at=_end(days),
    )
    click.echo(_at(settings, url, key, lambda desk: desk.add(wanted)).key)


@clients.command("rotate")
@click.argument("name")
@click.option("--overlap", type=click.IntRange(0, 8760), default=24, show_default=True, help="Hours for which older keys still work.")
@_EXPIRES
@through
@click.pass_obj
def rotate(settings: Settings, name: str, overlap: int, days: int | None, url: str | None, key: str | None) -> None:
    """A new key; older ones end after the overlap."""
    rotation = Rotation(overlap_hours=overlap, key_expires_at=_end(days))
    click.echo(_at(settings, url, key, lambda desk: desk.rotate(name, rotation)).key)


@clients.command("revoke")
@click.argument("name")
@click.argument("prefix")
@through
@click.pass_obj
def revoke(settings: Settings, name: str, prefix: str, url: str | None, key: str | None) -> None:
    """End one key now (within two seconds). PREFIX: what stands between the first two _ of the key."""
    _at(settings, url, key, lambda desk: desk.end_key(name, prefix.removeprefix("tg_").partition("_")[0]))


@clients.command("pin")
@click.argument("name")
@click.argument("version", type=_VERSION)
@through
@click.pass_obj
def pin(settings: Settings, name: str, version: str, url: str | None, key: str | None) -> None:
    """Pin a client to an API version."""
    _at(settings, url, key, lambda desk: desk.change(name, ClientChange(api_version=version)))


@clients.command("change")
@click.argument("name")
@click.option("--scope", "scopes", type=_SCOPE, multiple=True, help="Repeatable: all that it has from now on.")
@click.option("--store", "stores", multiple=True, help="Repeatable: all that it is bound to from now on.")
@click.option("--all-stores", is_flag=True, help="Bound to none any more.")
@_CERTIFICATE
@click.option("--no-certificates", is_flag=True, help="None stands for it any more.")
@click.option("--quota", default=None)
@through
@click.pass_obj
def change(
    settings: Settings,
    name: str,
    scopes: tuple[str, ...],
    stores: tuple[str, ...],
    all_stores: bool,
    certificates: tuple[str, ...],
    no_certificates: bool,
    quota: str | None,
    url: str | None,
    key: str | None,
) -> None:
    """Other scopes, stores, certificates or quota; what is not named stays."""
    if (stores and all_stores) or (certificates and no_certificates):
        raise click.UsageError("say which ones, or none of them; not both")
    wanted = ClientChange(
        scopes=scopes or None,
        stores=() if all_stores else _locations(stores) or None,
        certificates=() if no_certificates else _fingerprints(certificates) or None,
        quota=quota,
    )
    if wanted == ClientChange():
        raise click.UsageError("say what changes, for example --scope or --quota")
    _at(settings, url, key, lambda desk: desk.change(name, wanted))


@clients.command("suspend")
@click.argument("name")
@through
@click.pass_obj
def suspend(settings: Settings, name: str, url: str | None, key: str | None) -> None:
    """Refuse a client from now on (within two seconds)."""
    _at(settings, url, key, lambda desk: desk.change(name, ClientChange(suspended=True)))


@clients.command("resume")
@click.argument("name")
@through
@click.pass_obj
def resume(settings: Settings, name: str, url: str | None, key: str | None) -> None:
    """Let a suspended client in again."""
    _at(settings, url, key, lambda desk: desk.change(name, ClientChange(suspended=False)))


@clients.command("remove")
@click.argument("name")
@through
@click.pass_obj
def remove(settings: Settings, name: str, url: str | None, key: str | None) -> None:
    """Remove a client with its keys. What it ordered stays."""
    _at(settings, url, key, lambda desk: desk.remove(name))


@clients.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True)
@through
@click.pass_obj
def show(settings: Settings, name: str, as_json: bool, url: str | None, key: str | None) -> None:
    """One client with all its keys, ended ones too."""
    client = _at(settings, url, key, lambda desk: desk.show(name))
    click.echo(msgspec.json.encode(client).decode() if as_json else "\n".join(_lines(client, ended=True)))


@clients.command("list")
@click.option("--json", "as_json", is_flag=True, help="One line per client.")
@through
@click.pass_obj
def list_(settings: Settings, as_json: bool, url: str | None, key: str | None) -> None:
    """All clients, each with the keys that work."""
    for client in _at(settings, url, key, lambda desk: desk.list()):
        click.echo(msgspec.json.encode(client).decode() if as_json else "\n".join(_lines(client, ended=False)))


def _lines(client: ClientView, *, ended: bool) -> list[str]:
    bound = f"  only {' '.join(client.stores)}" if client.stores else ""
    head = f"{client.name:24} {client.channel:12} {client.api_version}  {client.quota:10} {client.state:10} {' '.join(client.scopes)}"
    held = [f"  certificate {fingerprint}" for fingerprint in client.certificates]
    return [
        head + bound,
        *held,
        *(
            f"  tg_{key.prefix}_…  {key.state:7} made {_day(key.created_at)}  ends {_moment(key.expires_at)}  used {_moment(key.used_at)}"
            for key in client.keys
            if ended or key.state != "ended"
        ),
    ]


def _day(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d}" if at else "earlier"


def _moment(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}" if at else "never"


# ---- audit


@click.command("audit")
@click.option("--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]), default=None, help="In UTC.")
@click.option("--client", default=None, help="What it changed or tried, and what concerns it.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=200, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One line per entry.")
@through
@click.pass_obj
def audit(
    settings: Settings, since: datetime | None, client: str | None, limit: int, as_json: bool, url: str | None, key: str | None
) -> None:
    """Who changed what and who was denied, newest first. Denied attempts are counted per minute."""
    after = since.replace(tzinfo=UTC) if since else None

    async def of_gateway() -> list[AuditEntry]:
        query = {"limit": str(min(limit, 200)), **({"client": client} if client else {}), **({"since": after.isoformat()} if after else {})}
        found: list[AuditEntry] = []
        async for page in Gateway(settings, url or "", needed(key)).pages("/admin/audit", query, AuditLog):
            found += page.items
            if len(found) >= limit:
                break
        return found[:limit]

    async def of_books(books: Books) -> Sequence[AuditEntry]:
        return await books.audit.list(limit, since=after, client=client)

    for entry in asyncio.run(of_gateway()) if url else in_books(settings, of_books):
        click.echo(msgspec.json.encode(entry).decode() if as_json else _line(entry))


def _line(entry: AuditEntry) -> str:
    detail = ", ".join(f"{name} {value}" for name, value in entry.detail.items())
    times = f"{entry.count} times " if entry.count > 1 else ""
    return printable(f"{entry.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}  {entry.actor:24} {times}{entry.what} {entry.subject or '-'}  {detail}")


COMMANDS = [clients, audit]
