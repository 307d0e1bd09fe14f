"""`tillgate files …`: what the tills dropped, why it is where it is, and what people do about it; in the books or through a gateway."""

from __future__ import annotations

import asyncio
import sys
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar, get_args

import msgspec
import rich_click as click

from contracts.admin import (
    Booking,
    Dismissal,
    DispatchContent,
    DispatchEnd,
    Dispatches,
    DispatchesParameters,
    DispatchView,
    Edit,
    Explanation,
    FileDetail,
    FileRetry,
    Files,
    FilesParameters,
    FileView,
    Findings,
    FindingsParameters,
    FindingView,
    GivingUp,
    Preview,
    RecordDetail,
    Records,
    RecordsParameters,
    RecordStatus,
    RecordView,
    Retried,
)
from contracts.books import DispatchState
from gateway.bootstrap import open_books, open_review
from gateway.cli.clients import Gateway, at_desk, through
from gateway.cli.settings import Settings
from gateway.cli.terminal import printable
from gateway.services.clients import Actor
from gateway.services.clock import utc_now
from gateway.services.dispatches import DispatchDesk, DispatchKey, DispatchReview
from gateway.services.intake.review import FileDesk

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)
_PAGE = 200


async def listed(gateway: Gateway, path: str, wanted: msgspec.Struct, kind: type[Any], limit: int) -> Sequence[Any]:
    """The first so many of a list, over as many pages as it takes."""
    query = {name: str(value) for name, value in msgspec.to_builtins(wanted, str_keys=True).items()} | {"limit": str(min(limit, _PAGE))}
    found: list[Any] = []
    async for page in gateway.pages(path, query, kind):
        found += page.items
        if len(found) >= limit:
            break
    return found[:limit]


class RunningGateway:
    """Fulfils `FileDesk` through the admin API of a running gateway. Raises ClickException with its words."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def list(self, wanted: FilesParameters) -> Sequence[FileView]:
        return await listed(self._gateway, "/admin/files", wanted, Files, wanted.limit)

    async def show(self, digest: str) -> FileDetail:
        return await self._gateway.ask("GET", f"/admin/files/{await self._digest(digest)}", FileDetail)

    async def explain(self, name: str) -> Explanation:
        async for page in self._gateway.pages("/admin/explanations", {"name": name}, Explanation):
            return page
        raise click.ClickException("the gateway said nothing")

    async def retry(self, digest: str, wanted: FileRetry) -> Retried:
        return await self._gateway.ask("POST", f"/admin/files/{await self._digest(digest)}/retry", Retried, wanted)

    async def give_up(self, digest: str, wanted: GivingUp) -> FileView:
        return await self._gateway.ask("POST", f"/admin/files/{await self._digest(digest)}/give-up", FileView, wanted)

    async def records(self, wanted: RecordsParameters) -> Sequence[RecordView]:
        return await listed(self._gateway, "/admin/records", wanted, Records, wanted.limit)

    async def record(self, id: int) -> RecordDetail:
        return await self._gateway.ask("GET", f"/admin/records/{id}", RecordDetail)

    async def edit(self, id: int, wanted: Edit) -> RecordDetail:
        return await self._gateway.ask("POST", f"/admin/records/{id}", RecordDetail, wanted)

    async def book(self, id: int, wanted: Booking) -> RecordView:
        return await self._gateway.ask("POST", f"/admin/records/{id}/book", RecordView, wanted)

    async def dismiss(self, id: int, wanted: Dismissal) -> RecordView:
        return await self._gateway.ask("POST", f"/admin/records/{id}/dismiss", RecordView, wanted)

    async def findings(self, wanted: FindingsParameters) -> Sequence[FindingView]:
        return await listed(self._gateway, "/admin/findings", wanted, Findings, wanted.limit)

    async def _digest(self, said: str) -> str:
        """A name is looked up first."""
        if 6 <= len(said) <= 64 and not set(said) - set("0123456789abcdef"):
            return said
        files = (await self.explain(said)).files
        if len(files) != 1:
            raise click.ClickException(f"{len(files)} files came as {said!r}" + "".join(f"\n  {f.digest}" for f in files))
        return files[0].digest


def _at(settings: Settings, url: str | None, key: str | None, job: Callable[[FileDesk], Awaitable[T]]) -> T:
    def in_books(at: Settings, actor: Actor) -> AbstractAsyncContextManager[FileDesk]:
        return open_review(at.estate, at.books, actor)

    return at_desk(settings, url, key, RunningGateway, in_books, job)


def _said(text: str) -> None:
    click.echo(printable(text))


def _json(value: msgspec.Struct) -> None:
    click.echo(msgspec.json.encode(value).decode())


def _each(found: Sequence[S], as_json: bool, line: Callable[[S], str], nothing: str) -> None:
    """A line each; that there are none is said to people only."""
    for each in found:
        _json(each) if as_json else _said(line(each))
    if not found and not as_json and sys.stdout.isatty():
        click.echo(nothing)


_JSON = click.option("--json", "as_json", is_flag=True, help="One line per item.")
_REASON = click.option("--reason", required=True, help="Kept with the decision, and in the audit log.")


@click.group("files")
def files() -> None:
    """What the tills dropped, why it is where it is, and what to do about it."""


@files.command("list")
@click.option("--state", type=click.Choice(["claimed", "done", "refused"]), default=None)
@click.option("--feed", default=None, help="Such as pos.tlog.")
@click.option("--store", default=None)
@click.option("--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]), default=None, help="In UTC.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@_JSON
@through
@click.pass_obj
def list_files(
    settings: Settings,
    state: Any,
    feed: str | None,
    store: str | None,
    since: datetime | None,
    limit: int,
    as_json: bool,
    url: str | None,
    key: str | None,
) -> None:
    """The newest files, with progress and rate of those that are read now."""
    wanted = FilesParameters(state=state, feed=feed, store=store, since=since.replace(tzinfo=UTC) if since else None, limit=limit)
    _each(_at(settings, url, key, lambda desk: desk.list(wanted)), as_json, _line, "no such files")


@files.command("show")
@click.argument("file")
@_JSON
@through
@click.pass_obj
def show(settings: Settings, file: str, as_json: bool, url: str | None, key: str | None) -> None:
    """One file and the records that were set aside. FILE: its digest, the beginning of it, or its name."""
    found = _at(settings, url, key, lambda desk: desk.show(file))
    if as_json:
        _json(found)
        return
    f = found.file
    counts = f"{f.booked} booked, {f.repeated} repeated, {f.conflicts} in conflict, {f.quarantined} quarantined"
    _said(f"{f.name}: {_status(f)}, {counts}  {f.reason}".rstrip())
    for sentence in found.told:
        _said(f"  {sentence}")
    for finding in found.findings:
        _said(f"  noticed: {finding.detail}")
    for record in found.records:
        _said("  " + _record(record))
    if f.quarantined > len(found.records):
        _said(f"  … and {f.quarantined - len(found.records)} more")


@files.command("explain")
@click.argument("name")
@_JSON
@through
@click.pass_obj
def explain(settings: Settings, name: str, as_json: bool, url: str | None, key: str | None) -> None:
    """Why a file is where it is, or is not there, and what to do next. NAME: of the file, or the beginning of its digest."""
    found = _at(settings, url, key, lambda desk: desk.explain(name))
    if as_json:
        _json(found)
        return
    for sentence in found.told:
        _said(sentence)
    for sentence in found.advice:
        _said(f"→ {sentence}")


@files.command("retry")
@click.argument("file")
@through
@click.pass_obj
def retry(settings: Settings, file: str, url: str | None, key: str | None) -> None:
    """A refused file goes back to the inbox, a dead worker's claim is released, open records of a done file are read again."""
    _said(_at(settings, url, key, lambda desk: desk.retry(file, FileRetry())).told)


@files.command("give-up")
@click.argument("file")
@_REASON
@through
@click.pass_obj
def give_up(settings: Settings, file: str, reason: str, url: str | None, key: str | None) -> None:
    """A refused file will not be needed any more."""
    _said(_line(_at(settings, url, key, lambda desk: desk.give_up(file, GivingUp(reason=reason)))))


@files.command("findings")
@click.option("--state", type=click.Choice(["open", "noted", "closed"]), default="open", show_default=True)
@click.option("--feed", default=None)
@click.option("--limit", type=click.IntRange(1, _PAGE), default=50, show_default=True)
@_JSON
@through
@click.pass_obj
def findings(settings: Settings, state: Any, feed: str | None, limit: int, as_json: bool, url: str | None, key: str | None) -> None:
    """What is late, missing, early or left out, without being an error."""
    found = _at(settings, url, key, lambda desk: desk.findings(FindingsParameters(state=state, feed=feed, limit=limit)))
    _each(found, as_json, lambda f: f"{f.kind:20} {f.state:6}  {f.feed}  {f.store}  {f.detail}", "nothing noticed")


# ---- files for the tills


@files.group("out")
def out() -> None:
    """Files for the tills: one at a time for each store, the next when the one before was answered, or by a person's decision."""


class DispatchesThrough:
    """Fulfils `DispatchDesk` through the admin API of a running gateway. Raises ClickException with its words."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def list(self, wanted: DispatchesParameters) -> Sequence[DispatchView]:
        return await listed(self._gateway, "/admin/dispatches", wanted, Dispatches, wanted.limit)

    async def show(self, key: DispatchKey) -> DispatchView:
        return await self._gateway.ask("GET", f"/admin/dispatches/{key}", DispatchView)

    async def content(self, key: DispatchKey) -> DispatchContent:
        return await self._gateway.ask("GET", f"/admin/dispatches/{key}/content", DispatchContent)

    async def resend(self, key: DispatchKey) -> DispatchView:
        return await self._gateway.ask("POST", f"/admin/dispatches/{key}/resend", DispatchView)

    async def give_up(self, key: DispatchKey, wanted: DispatchEnd) -> DispatchView:
        return await self._gateway.ask("POST", f"/admin/dispatches/{key}/give-up", DispatchView, wanted)


@asynccontextmanager
async def _dispatches_in_books(settings: Settings, actor: Actor) -> AsyncIterator[DispatchDesk]:
    async with open_books(settings.estate, settings.books) as books:
        yield DispatchReview(books, actor, utc_now)


def _out(settings: Settings, url: str | None, key: str | None, job: Callable[[DispatchDesk], Awaitable[T]]) -> T:
    return at_desk(settings, url, key, DispatchesThrough, _dispatches_in_books, job)


def _parsed(context: click.Context, parameter: click.Parameter, said: str) -> DispatchKey:
    feed, _, rest = said.partition("/")
    store, _, number = rest.partition("/")
    if not (feed and store and "/" not in number and number.isascii() and number.isdigit() and len(number) < 19):
        raise click.BadParameter(f"expected FEED/STORE/NUMBER, such as pos.prices/0001/7, got {said!r}")
    return DispatchKey(feed, store, int(number))


_FILE = click.argument("file", callback=_parsed)


def _dispatch_line(d: DispatchView) -> str:
    refused = f" {len(d.refused)} refused" if d.refused else ""
    return f"{d.feed}/{d.store}/{d.number}  {d.state.replace('_', ' '):9} {d.items:6} articles{refused}  {d.name}  {d.reason}".rstrip()


@out.command("list")
@click.option("--feed", default=None, help="Such as pos.prices.")
@click.option("--store", default=None)
@click.option("--state", type=click.Choice(get_args(DispatchState)), default=None)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@_JSON
@through
@click.pass_obj
def list_out(
    settings: Settings, feed: str | None, store: str | None, state: Any, limit: int, as_json: bool, url: str | None, key: str | None
) -> None:
    """The newest files, and how the tills answered them."""
    wanted = DispatchesParameters(feed=feed, store=store, state=state, limit=limit)
    _each(_out(settings, url, key, lambda desk: desk.list(wanted)), as_json, _dispatch_line, "no such files")


@out.command("show")
@_FILE
@click.option("--content", is_flag=True, help="The file itself instead.")
@_JSON
@through
@click.pass_obj
def show_out(settings: Settings, file: DispatchKey, content: bool, as_json: bool, url: str | None, key: str | None) -> None:
    """One file and what the tills refused of it. FILE: feed/store/number."""
    if content:
        click.echo(b64decode(_out(settings, url, key, lambda desk: desk.content(file)).content), nl=False)
        return
    found = _out(settings, url, key, lambda desk: desk.show(file))
    if as_json:
        _json(found)
        return
    _said(_dispatch_line(found))
    for refusal in found.refused:
        _said(f"  {refusal.key}: {refusal.reason}")


@out.command("resend")
@_FILE
@through
@click.pass_obj
def resend_out(settings: Settings, file: DispatchKey, url: str | None, key: str | None) -> None:
    """Without an answer: the same file once more, under its number. Answered: what was refused is told again with the next number."""
    _said(_dispatch_line(_out(settings, url, key, lambda desk: desk.resend(file))))


@out.command("give-up")
@_FILE
@_REASON
@through
@click.pass_obj
def give_up_out(settings: Settings, file: DispatchKey, reason: str, url: str | None, key: str | None) -> None:
    """Wait no longer for an answer: what the file says is told again with the next number."""
    _said(_dispatch_line(_out(settings, url, key, lambda desk: desk.give_up(file, DispatchEnd(reason=reason)))))


# ---- quarantine


@files.group("quarantine")
def quarantine() -> None:
    """Records that were set aside: see, change, book or dismiss them."""


@quarantine.command("list")
@click.option("--file", "digest", default=None, help="Digest, the beginning of it, or name.")
@click.option("--state", "status", type=click.Choice([*get_args(RecordStatus), "all"]), default="open", show_default=True)
@click.option("--feed", default=None)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@_JSON
@through
@click.pass_obj
def list_records(
    settings: Settings, digest: str | None, status: Any, feed: str | None, limit: int, as_json: bool, url: str | None, key: str | None
) -> None:
    """Records in the order in which they came."""

    async def job(desk: FileDesk) -> Sequence[RecordView]:
        file = (await desk.show(digest)).file.digest if digest else None
        return await desk.records(RecordsParameters(file=file, status=None if status == "all" else status, feed=feed, limit=limit))

    _each(_at(settings, url, key, job), as_json, lambda record: f"{_record(record)}  in {record.file}", "no such records")


@quarantine.command("show")
@click.argument("id", type=click.IntRange(1))
@_JSON
@through
@click.pass_obj
def show_record(settings: Settings, id: int, as_json: bool, url: str | None, key: str | None) -> None:
    """One record: its text, its fields, and what booking it would do now."""
    found = _at(settings, url, key, lambda desk: desk.record(id))
    _json(found) if as_json else _shown(found)


@quarantine.command("edit")
@click.argument("id", type=click.IntRange(1))
@click.option(
    "--text", "source", type=click.File("r", "utf-8"), default=None, help="The new text, - for the standard input. Default: an editor."
)
@click.option("--restore", is_flag=True, help="The text that it came with.")
@through
@click.pass_obj
def edit(settings: Settings, id: int, source: Any, restore: bool, url: str | None, key: str | None) -> None:
    """Change the text of a record and see what booking it would do. Nothing is booked by it."""

    async def job(desk: FileDesk) -> RecordDetail:
        before = await desk.record(id)
        if before.locked:
            raise click.ClickException(f"record {id} cannot be changed: {before.locked}")
        text = (
            None if restore else source.read() if source is not None else await asyncio.to_thread(click.edit, before.text, extension=".txt")
        )
        if text is None and not restore:
            raise click.ClickException("nothing was changed")
        return await desk.edit(id, Edit(version=before.record.version, text=text))

    _shown(_at(settings, url, key, job))


@quarantine.command("book")
@click.argument("id", type=click.IntRange(1))
@click.option("--reason", default="", help="Kept with the decision, and in the audit log.")
@click.option("--yes", is_flag=True, help="Without asking.")
@through
@click.pass_obj
def book(settings: Settings, id: int, reason: str, yes: bool, url: str | None, key: str | None) -> None:
    """Book a record as it stands, once what that does was seen and confirmed."""

    async def job(desk: FileDesk) -> RecordView:
        found = await desk.record(id)
        if not yes:
            _shown(found)
            if not sys.stdin.isatty() or not await asyncio.to_thread(click.confirm, "Book it?"):
                raise click.ClickException("nothing was booked; --yes books without asking")
        return await desk.book(id, Booking(version=found.record.version, reason=reason))

    _said(_record(_at(settings, url, key, job)))


@quarantine.command("dismiss")
@click.argument("id", type=click.IntRange(1))
@_REASON
@through
@click.pass_obj
def dismiss(settings: Settings, id: int, reason: str, url: str | None, key: str | None) -> None:
    """A record will never be booked."""

    async def job(desk: FileDesk) -> RecordView:
        return await desk.dismiss(id, Dismissal(version=(await desk.record(id)).record.version, reason=reason))

    _said(_record(_at(settings, url, key, job)))


# ---- what is printed


def _status(f: FileView) -> str:
    return "done" if f.status == "partly" else f.status.replace("_", " ")


def _line(f: FileView) -> str:
    running = ""
    if f.progress is not None:
        done = round(f.progress.share * 20)
        running = f"  {'█' * done}{'░' * (20 - done)} {f.progress.share:4.0%}, {f.progress.rate:g}/s"
    waits = f"  ({f.open or 'none'} open)" if f.open != f.quarantined else ""
    more = "".join(f"  {count} {what}" for count, what in ((f.repeated, "repeated"), (f.conflicts, "in conflict")) if count)
    counts = f"{f.booked:7} booked {f.quarantined:5} quarantined"
    return f"{f.digest[:12]}  {_status(f):8} {counts}  {f.name}{more}{waits}{running}  {f.reason}".rstrip()


def _record(r: RecordView) -> str:
    place = f"line {r.line}: {r.field}" if r.line else r.field
    what = "conflict" if r.conflict else f"expected {r.expected}, got {r.got}"
    if (made := r.decision) is not None:
        what += f"  {made.what} by {made.by}" + (f" as {made.key}" if made.key else "") + (f": {made.reason}" if made.reason else "")
    return f"{r.id:6}  {r.status:9} {place}: {what}  {r.key}".rstrip() + ("  (changed)" if r.revised else "")


def _shown(found: RecordDetail) -> None:
    _said(_record(found.record))
    click.echo()
    for line in found.text.splitlines():
        _said(f"    {line}")
    if found.masked:
        _said("    (personal fields are masked)")
    click.echo()
    if found.preview is not None:
        for line in _effect(found.preview):
            _said(line)


def _effect(preview: Preview) -> list[str]:
    conflict = preview.outcome == "conflict"
    lines = [] if conflict else [preview.told]
    if preview.outcome == "books":
        lines.append(f"  total of the store: {preview.cents / 100:+.2f} {preview.currency}")
        lines += [f"  stock of {change.sku}: {change.change}" for change in preview.stock]
    for change in preview.changes:
        lines += [f"  - {change.path} {change.before}"] if change.before is not None else []
        lines += [f"  + {change.path} {change.after}"] if change.after is not None else []
    lines += [preview.told] if conflict else []
    lines += [f"  its original is booked: {link}" for link in preview.found]
    lines += [f"  its original is not booked here: {link}" for link in preview.missing]
    return lines


COMMANDS: list[click.Command] = [files]
