"""`tillgate prove` and `tillgate stand-in`: a system proven against a stand-in that breaks on purpose, and that stand-in by itself."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import rich_click as click

from adapters import recording
from adapters.recording import Recorded
from contracts.suggestion import nearest
from gateway.bootstrap import Checked, check
from gateway.bootstrap.proving import options_of, references, speaker
from gateway.cli.settings import Settings
from gateway.cli.terminal import printable
from gateway.proof import report
from gateway.proof.documents import answers, subjects
from gateway.proof.feeds import FileLab
from gateway.proof.run import Proof, Result, cases
from gateway.proof.run import prove as run_catalogue
from gateway.proof.stand_in import KINDS, Fault, Seen, StandIn
from observability.logs import configure

_COLOURS = {"pass": "green", "fail": "red", "not applicable": "bright_black"}
_WORDS = {"pass": "pass", "fail": "FAIL", "not applicable": "n/a"}


@click.command("prove")
@click.argument("system")
@click.option("--case", "only", multiple=True, metavar="NAME", help="Only this case; may be repeated. A tier needs all of them.")
@click.option("--report", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the results to FILE: .html or .md.")
@click.option("--json", "as_json", is_flag=True, help="The results as JSON instead of a table.")
@click.option("--list", "listed", is_flag=True, help="Only say which cases there are for this system.")
@click.pass_obj
def prove(settings: Settings, system: str, only: tuple[str, ...], file: Path | None, as_json: bool, listed: bool) -> None:
    """Put a stand-in in the place of SYSTEM, break it in every known way, and award a tier from what came.

    The stand-in speaks from the system's contract, its recordings and the examples of its mappings; in front of it stand the real
    driver, guard, mappings and limits of the estate. Ends with 1 when a case fails.
    """
    if file is not None and file.suffix not in (".html", ".md"):
        raise click.ClickException(f"{file}: a report is written as .html or .md")
    configure(level="critical")
    checked = check(settings.estate)
    if listed:
        for case in cases(_protocol(checked, system)):
            click.echo(f"{case.tier:7} {case.name:17} {case.did}: {case.expected}")
        return
    progress = _Progress(quiet=as_json)
    proof = asyncio.run(
        run_catalogue(checked, system, environment=os.environ, recordings=_recordings(checked, system), only=only, told=progress)
    )
    progress.clear()
    if file is not None:
        file.write_text(report.html(proof) if file.suffix == ".html" else report.markdown(proof), encoding="utf-8")
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(proof)).decode())
    else:
        _show(proof)
    sys.exit(bool(proof.failed))


class _Progress:
    """One line on a terminal that changes, nothing elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._shown = not quiet and sys.stderr.isatty()

    def __call__(self, result: Result, done: int, of: int) -> None:
        if self._shown:
            said = f"{done}/{of}  {_WORDS[result.verdict]:4}  {result.case}"
            click.echo(f"\r\033[K{said}", nl=False, err=True)

    def clear(self) -> None:
        if self._shown:
            click.echo("\r\033[K", nl=False, err=True)


def _show(proof: Proof) -> None:
    width = max(60, min(shutil.get_terminal_size((140, 40)).columns, 200))
    tier = ""
    for r in proof.results:
        if r.tier != tier:
            tier = r.tier
            click.secho(tier, bold=True)
        room = width - 42
        came = printable(r.came)
        came = came if r.verdict == "fail" or len(came) <= room else came[: room - 1] + "…"
        click.echo(f"  {click.style(f'{_WORDS[r.verdict]:4}', fg=_COLOURS[r.verdict])}  {r.case:17}{r.calls:5}{r.seconds:7.2f} s  {came}")
    for note in proof.notes:
        click.secho(f"  {note}", fg="bright_black")
    click.secho(f"{proof.system}: {report.headline(proof)} ({proof.seconds:.0f} s)", bold=True)


def _protocol(checked: Checked, system: str) -> str:
    if system not in checked.estate.system:
        raise LookupError(f"the estate has no system {system!r}; {nearest(system, checked.estate.system)}")
    return checked.estate.system[system].protocol


def _recordings(checked: Checked, system: str) -> Sequence[Recorded]:
    file = recording.path(checked.root, system)
    return list(recording.read(file)) if file.is_file() else ()


# ---- by hand ----------------------------------------------------------------------------------------------------------


@click.command("stand-in")
@click.argument("system")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Port on 127.0.0.1. Default: any free one.")
@click.option("--fault", "kind", type=click.Choice(KINDS), default=None, help="What is broken, for every call.")
@click.option("--operation", default="*", help="With --fault: only this operation, by its name in the contract.")
@click.option("--seconds", type=click.FloatRange(0, 3600), default=0.0, help="With --fault: how slow, or when to come again.")
@click.option("--into", type=click.Path(path_type=Path, file_okay=False), help="For systems that drop files: write one of each feed here.")
@click.pass_obj
def stand_in(settings: Settings, system: str, port: int, kind: str | None, operation: str, seconds: float, into: Path | None) -> None:
    """Answer in the place of SYSTEM on a local port, from its contract, recordings and mapping examples, until Ctrl-C."""
    configure(level="critical")
    checked = check(settings.estate)
    if _protocol(checked, system) == "files":
        if into is None:
            raise click.ClickException(f"{system} drops files; say where with --into FOLDER")
        asyncio.run(_drop(checked, system, into))
        return
    fault = [Fault(kind, operation, seconds)] if kind else []  # type: ignore[arg-type]  # click has looked it up among the kinds
    asyncio.run(_serve(checked, system, port, fault))


async def _drop(checked: Checked, system: str, into: Path) -> None:
    lab = FileLab(checked, system)
    await lab.prepare()
    await asyncio.to_thread(into.mkdir, parents=True, exist_ok=True)
    for feed in lab.feeds:
        if feed.problem:
            click.echo(f"{feed.full}: {feed.problem}", err=True)
            continue
        written = feed.writer.file(feed.transactions(5))
        await asyncio.to_thread((into / written.name).write_bytes, written.body)
        click.echo(f"{feed.full}: {into / written.name}")


async def _serve(checked: Checked, system: str, port: int, faults: list[Fault]) -> None:
    options, notes = options_of(checked, system, os.environ)
    spoken, kept = speaker(checked, system, options), _recordings(checked, system)
    made = subjects(checked, system, spoken, kept)
    stand = StandIn(spoken, answers(checked, system, made, spoken, kept), faults=faults, watcher=_called)
    await stand.start(port)
    try:
        endpoint = checked.estate.system[system].endpoint
        click.echo(f"{system}: {stand.url}   Ctrl-C stops it")
        if endpoint.startswith("env:"):
            click.echo(f"  {endpoint[4:].partition('|')[0]}={stand.url}")
        for name in references(checked, system):
            if name not in os.environ:
                click.echo(f"  {name}=stand-in")
        for each in made:
            click.echo(f"  {each.full}: {each.problem or each.source}")
        for note in notes:
            click.echo(f"  {note}")
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        if any(f.kind == "refuse" and f.operation == "*" for f in faults):
            await stand.refuse()
        await stop.wait()
    finally:
        await stand.close()


def _called(seen: Seen, outcome: str) -> None:
    click.echo(f"{seen.asked.method} {seen.asked.path}  {seen.operation or '-'}: {outcome}")


COMMANDS: list[click.Command] = [prove, stand_in]
