"""`tillgate record` and `replay`: what a running gateway exchanges with its systems, kept masked, and read again by another estate."""

from __future__ import annotations

import asyncio
import shutil
import signal
import ssl
import sys
import tempfile
import tomllib
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import rich_click as click

from adapters import recording
from adapters.recording import Recorded
from contracts.errors import Finding, Findings
from gateway.api.admin import RecordingEnded, Reloaded
from gateway.bootstrap import Checked, check
from gateway.bootstrap.replaying import Comparison, replayer
from gateway.cli.settings import Settings
from gateway.estate import read, resolve

_LINE = recording.LINE_LIMIT


def of_gateway(command: Any) -> Any:
    """Options of a command that speaks to a running gateway."""
    address = "Where the gateway listens. Default: the estate's host and port."
    key = "Key of a client with a scope for operators (admin:read, admin:write); better in TILLGATE_KEY. `client add` makes one."
    command = click.option("--key", envvar="TILLGATE_KEY", required=True, help=key)(command)
    return click.option("--url", envvar="TILLGATE_URL", default=None, help=address)(command)


@asynccontextmanager
async def asked(
    settings: Settings, url: str | None, key: str, path: str, query: Mapping[str, str], method: str = "POST", content: bytes | None = None
) -> AsyncIterator[aiohttp.ClientResponse]:
    """A request to the gateway, each change under a key of its own. Raises ClickException with its own words when it refuses."""
    if url is None:
        estate, _ = read(settings.estate)
        host = resolve(estate.edge.host)
        url = f"{'https' if estate.edge.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{estate.edge.port}"
    limits = aiohttp.ClientTimeout(total=None, connect=5)
    headers = {"Authorization": f"Bearer {key}"}
    if method != "GET":
        headers |= {"Idempotency-Key": uuid.uuid4().hex, "Content-Type": "application/json"}
    try:
        async with (
            aiohttp.ClientSession(timeout=limits, cookie_jar=aiohttp.DummyCookieJar(), read_bufsize=2 * _LINE) as session,
            session.request(method, url.rstrip("/") + path, params=query, headers=headers, data=content) as answer,
        ):
            if answer.status not in (200, 201):
                problem = msgspec.json.decode(await answer.read() or b"{}", type=dict[str, Any])
                raise click.ClickException(problem.get("detail") or problem.get("title") or f"{url}{path}: HTTP {answer.status}")
            yield answer
    except aiohttp.ClientConnectorCertificateError as exc:
        error = exc.certificate_error
        why = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error
        advice = "name its authority in SSL_CERT_FILE, and the gateway as its certificate does in --url"
        raise click.ClickException(f"{url}: the gateway's certificate is not trusted here ({why}): {advice}") from exc
    except (aiohttp.ClientError, ValueError) as exc:
        raise click.ClickException(f"{url}: no gateway answers there: {exc}") from exc


# ---- reload


@click.command("reload")
@of_gateway
@click.pass_obj
def reload(settings: Settings, url: str | None, key: str) -> None:
    """Make a running gateway read its estate again. With findings the estate before serves on, and this ends with 1."""

    async def ask() -> Reloaded:
        async with asked(settings, url, key, "/admin/reload", {}) as answer:
            return msgspec.json.decode(await answer.read(), type=Reloaded)

    told = asyncio.run(ask())
    for finding in told.findings:
        click.echo(finding, err=True)
    if told.restart:
        click.echo(f"waits for a restart: {', '.join(told.restart)}")
    if not told.applied:
        click.secho(f"refused; generation {told.generation} serves on", fg="red", err=True)
        sys.exit(1)
    click.echo(f"generation {told.generation} serves")


# ---- record


@dataclass
class _Taken:
    exchanges: list[Recorded] = field(default_factory=list)
    ended: RecordingEnded | None = None


@click.command("record")
@click.option("--system", "systems", multiple=True, help="Repeatable. Default: every system that is called.")
@click.option(
    "--exchanges",
    type=click.IntRange(1, recording.EXCHANGES),
    default=100,
    show_default=True,
    help="Of each system; ends when all have so many.",
)
@click.option("--minutes", type=click.IntRange(1, 60), default=5, show_default=True, help="Ends after so long; Ctrl-C ends it at once.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=None, help="Default: recordings/ of the estate.")
@click.option("--add", is_flag=True, help="To what is recorded already, instead of replacing it.")
@of_gateway
@click.pass_obj
def record(
    settings: Settings, systems: tuple[str, ...], exchanges: int, minutes: int, out: Path | None, add: bool, url: str | None, key: str
) -> None:
    """Keep what a running gateway exchanges with its systems, one file per system.

    Credentials and personal data are masked before anything leaves the gateway: see [system.NAME.recording] in docs/estate.md.
    """
    checked = check(settings.estate)
    known = [name for name, system in checked.estate.system.items() if system.protocol != "files"]
    if unknown := sorted(set(systems) - set(known)):
        raise click.BadParameter(f"no system that is called: {', '.join(unknown)}; there are {', '.join(known)}", param_hint="--system")
    query = {"exchanges": str(exchanges), "seconds": str(minutes * 60)}
    taken = asyncio.run(_listened(settings, systems or tuple(known), query, url, key))
    asyncio.run(_kept(checked, taken, out or checked.root / recording.FOLDER, add))


async def _listened(settings: Settings, systems: Sequence[str], query: Mapping[str, str], url: str | None, key: str) -> dict[str, _Taken]:
    taken = {name: _Taken() for name in systems}

    async def listen(name: str) -> None:
        async with asked(settings, url, key, f"/admin/recordings/{name}", query) as answer:
            click.echo(f"recording {name}", err=True)
            try:
                while line := await answer.content.readline():
                    if line.startswith(b'{"ended"'):
                        taken[name].ended = msgspec.json.decode(line, type=dict[str, RecordingEnded])["ended"]
                    else:
                        taken[name].exchanges.append(msgspec.json.decode(line, type=Recorded))
            except (aiohttp.ClientError, ValueError) as exc:  # the gateway went away; what it said until then is kept
                click.echo(f"recording {name} ended early: {exc}", err=True)

    listening = asyncio.ensure_future(asyncio.gather(*(listen(name) for name in systems)))
    for stop in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(stop, listening.cancel)
    try:
        await listening
    except asyncio.CancelledError:
        click.echo("stopped", err=True)
    return taken


async def _kept(checked: Checked, taken: Mapping[str, _Taken], out: Path, add: bool) -> None:
    """Writes each system's file: requests and rows as the estate makes them of what is masked."""
    async with replayer(checked) as now:
        for name, found in taken.items():
            sealed = [r async for one in now.sealed(found.exchanges) for r in one]
            file = out / f"{name}.jsonl"
            before = list(recording.read(file)) if add and file.exists() else []
            if sealed:
                kept = recording.newest([*before, *sealed])
                await asyncio.to_thread(recording.write, file, kept)
                if dropped := len(before) + len(sealed) - len(kept):
                    click.echo(f"  {dropped} older ones left out: a file holds at most {recording.EXCHANGES}")
            click.echo(f"{name}: {len(sealed)} exchanges{f' in {file}' if sealed else ''}")
            for reason in sorted({f"{r.provides}: {r.failed}" for r in sealed if r.failed}):
                click.echo(f"  without rows: {reason[:300]}")
            if found.ended and found.ended.missed:
                click.echo(f"  {found.ended.missed} missed, because they came too fast")
            for reason, count in found.ended.left_out.items() if found.ended else ():
                click.echo(f"  {count} left out: {reason}")


# ---- replay

_PATH = click.Path(path_type=Path, exists=True)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("replay")
@click.argument("recordings", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--estate", "other", type=_PATH, default=None, help="Read by this estate. Default: the one at hand.")
@click.option("--mapping", "mappings", type=_FILE, multiple=True, help="Instead of the one with the same source and target. Repeatable.")
@click.option("--contract", type=_FILE, default=None, help="Instead of a system's contract.")
@click.option("--system", default=None, help="Whose contract --contract is. Default: the one system of which there are recordings.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line per difference.")
@click.pass_obj
def replay(
    settings: Settings,
    recordings: tuple[Path, ...],
    other: Path | None,
    mappings: tuple[Path, ...],
    contract: Path | None,
    system: str | None,
    as_json: bool,
) -> None:
    """Read recorded exchanges again and show which canonical answers and which requests change, field by field. Ends with 1 if any do.

    RECORDINGS are files or folders. Default: recordings/ of the estate.
    """
    files = sorted(_files(recordings or (settings.estate / recording.FOLDER,)))
    if not files:
        raise click.ClickException(f"nothing is recorded in {settings.estate / recording.FOLDER}; begin with `tillgate record`")
    exchanges = [r for file in files for r in recording.read(file)]
    checked = _checked(other or settings.estate, mappings, contract, system or _only({r.system for r in exchanges}, contract))
    found = asyncio.run(_compared(checked, exchanges))
    if as_json:
        for difference in found.found.values():
            click.echo(msgspec.json.encode(difference).decode())
    else:
        for operation in dict.fromkeys(d.operation for d in found.found.values()):
            click.echo(operation)
            for d in found.found.values():
                if d.operation == operation:
                    click.echo(f"  {d.part} {d.pointer or '/'}: {d.count} times, for example {_short(d.before)} -> {_short(d.after)}")
        click.echo(f"{found.calls} calls: {found.calls - found.changed} as recorded, {found.changed} changed")
    sys.exit(1 if found.changed else 0)


def _short(value: Any) -> str:
    plain = isinstance(value, str) and value.isprintable()  # else a recording could steer the terminal
    text = "nothing" if value is None else value if plain else ascii(msgspec.json.encode(value).decode())[1:-1]
    return text if len(text) <= 200 else f"{text[:200]}…"


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        yield from place.glob("*.jsonl") if place.is_dir() else (place,) if place.exists() else ()


def _only(systems: set[str], contract: Path | None) -> str:
    if contract is not None and len(systems) != 1:
        raise click.UsageError(f"--contract: of which system? --system with one of {', '.join(sorted(systems))}")
    return next(iter(systems), "")


async def _compared(checked: Checked, exchanges: Sequence[Recorded]) -> Comparison:
    found = Comparison()
    async with replayer(checked) as now:
        for one in now.in_order(exchanges):
            await found.add(now, one)
    return found


def _checked(root: Path, mappings: Sequence[Path], contract: Path | None, system: str) -> Checked:
    """The estate, or a copy of it in which some files are replaced. Raises Findings."""
    if not mappings and contract is None:
        return check(root)
    estate, _ = read(root)
    folder = root if root.is_dir() else root.parent
    used = {p for o in estate.operation.values() for p in (o.answer, *o.requests, o.contract) if p}
    used |= {s.contract for s in estate.system.values()}
    given = {_stands_for(mapping, folder, sorted(used)): mapping for mapping in mappings}
    with tempfile.TemporaryDirectory(prefix="tillgate-replay-") as made:
        copy = Path(made)
        shutil.copy(root / "estate.toml" if root.is_dir() else root, copy / "estate.toml")
        for top in {Path(p).parts[0] for p in used} | {"mappings"}:
            if (folder / top).is_dir():
                shutil.copytree(folder / top, copy / top, ignore=shutil.ignore_patterns("__pycache__"))
            elif (folder / top).exists():
                shutil.copy(folder / top, copy / top)
        if contract is not None:
            if system not in estate.system:
                raise click.BadParameter(f"no system {system!r}; there are {', '.join(estate.system)}", param_hint="--system")
            given[estate.system[system].contract] = contract
            for beside in contract.parent.iterdir():  # imported schemas
                if beside.is_file() and beside.suffix in (".xsd", ".wsdl", ".json", ".yaml", ".yml"):
                    shutil.copy(beside, copy / Path(estate.system[system].contract).parent / beside.name)
        for path, file in given.items():
            shutil.copy(file, copy / path)
        try:
            return check(copy)
        except Findings as exc:
            raise Findings(findings=tuple(replace(f, file=str(given.get(f.file, f.file))) for f in exc.findings)) from exc


def _stands_for(mapping: Path, folder: Path, used: Sequence[str]) -> str:
    """The estate's mapping with the same source and target; of several the one with the same name. Raises Findings."""

    def between(file: Path) -> tuple[str, str]:
        with file.open("rb") as opened:
            read = tomllib.load(opened)
        return str(read.get("source", "")), str(read.get("target", ""))

    try:
        wanted = between(mapping)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise Findings(findings=(Finding(str(mapping), 1, f"cannot be read: {exc}"),)) from exc
    same = [p for p in used if p.endswith(".toml") and (folder / p).is_file() and between(folder / p) == wanted]
    chosen = [p for p in same if Path(p).name == mapping.name] or same
    if len(chosen) != 1:
        message = f"the estate has {len(chosen) or 'no'} mapping{'s' * (len(chosen) > 1)} from {wanted[0]!r} to {wanted[1]!r}"
        raise Findings(findings=(Finding(str(mapping), 1, message, "name the file as the one that it replaces" if chosen else ""),))
    return chosen[0]


COMMANDS: list[click.Command] = [record, replay, reload]
