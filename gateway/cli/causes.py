"""`causes`: what broke, from anyone's traces, without a running gateway."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import rich_click as click

if TYPE_CHECKING:
    from observability.rootcause.causes import Window
    from observability.rootcause.names import Renames

_MOST_NAMES = 1_000_000
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("causes")
@click.option(
    "--spans",
    "files",
    multiple=True,
    required=True,
    metavar="FILE",
    help="Spans as OTLP, Jaeger, Zipkin or flat JSON, or CSV, also gzip; a directory of such files; - is stdin.",
)
@click.option("--incident", metavar="FROM/TO", help="When it was bad: RFC 3339 times or epoch numbers.")
@click.option("--detect", is_flag=True, help="Find the incidents too, instead of being given one.")
@click.option("--baseline", "baselines", multiple=True, metavar="FROM/TO", help="When it was good. Default: what was before.")
@click.option(
    "--graph",
    "graph_file",
    type=_FILE,
    help="Who calls whom: JSON, CSV or an estate file.",
)
@click.option("--level", type=click.Choice(["system", "operation"]), default="system", show_default=True, help="What is ranked.")
@click.option(
    "--names",
    "names_file",
    type=_FILE,
    help="Lines `regular expression -> name`, first match counts.",
)
@click.option("--attribute", "attributes", multiple=True, metavar="KEY", help="Search this attribute for the scope of the cause.")
@click.option("--top", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many ranks are shown.")
@click.option("--table/--json", help="A table for people, or JSON, which is the default.")
def causes(
    files: tuple[str, ...], incident: str | None, detect: bool, baselines: tuple[str, ...], graph_file: Path | None, level: Any,
    names_file: Path | None, attributes: tuple[str, ...], top: int, table: bool,
) -> None:  # fmt: skip
    """Rank what caused an incident, from spans alone.

    Exit code 0 for any verdict, 2 for input that cannot be read, 3 when no trace began in the incident.
    """
    from observability.rootcause import causes as engine
    from observability.rootcause import detect as detection
    from observability.rootcause import forms, graph, spans

    if (incident is None) == (not detect):
        raise click.UsageError("expected either --incident FROM/TO or --detect")
    try:
        window = _window("--incident", incident) if incident else None
        before = [_window("--baseline", b) for b in baselines]
        renames = _names(names_file) if names_file else ()
        declared = graph.read(graph_file) if graph_file else None
        loaded = engine.load(spans.read(files, attributes=attributes, renames=renames), declared)
    except (forms.Unreadable, graph.Malformed, click.BadParameter, OSError) as exc:
        click.echo(f"{exc.filename}: {exc.strerror}" if isinstance(exc, OSError) and exc.filename else str(exc), err=True)
        sys.exit(2)
    if window:
        asked = [(window, before)]
    else:
        found = detection.incidents(loaded.structure)
        asked = [((f.begin, f.end), before or detection.before(found, f)) for f in found]
    answers = []
    for begin_end, good in asked:
        try:
            answers.append(engine.causes(loaded, begin_end, good, level=level, top=top, attributes=attributes))
        except engine.EmptyWindow:
            first, last = (engine.written(t) for t in loaded.window())
            click.echo(f"no trace began in the incident; the traces are from {first} to {last}", err=True)
            sys.exit(3)
    if table:
        for answer in answers:
            _show(answer)
        if not answers:
            click.echo("no incident found")
    else:
        whole = {"schema": engine.SCHEMA, "incidents": answers, "input": engine.described(loaded)} if detect else answers[0]
        click.echo(msgspec.json.format(msgspec.json.encode(whole), indent=1).decode())


def _window(option: str, text: str) -> Window:
    from observability.rootcause.spans import moment

    begin, slash, end = text.partition("/")
    if not slash:
        raise click.BadParameter(f"{option}: expected FROM/TO, got {text[:80]!r}")
    try:
        window = moment(begin), moment(end)
    except ValueError as exc:
        raise click.BadParameter(f"{option}: {exc}") from exc
    if window[1] <= window[0]:
        raise click.BadParameter(f"{option}: expected an end after the beginning, got {text[:80]!r}")
    return window


def _names(path: Path) -> Renames:
    if path.stat().st_size > _MOST_NAMES:
        raise click.BadParameter(f"{path.name}: expected at most {_MOST_NAMES} bytes")
    renames = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        pattern, arrow, name = line.partition("->")
        if not line.strip() or line.startswith("#"):
            continue
        try:
            if not arrow:
                raise re.error("no ->")
            renames.append((re.compile(pattern.strip()), name.strip()))
        except re.error as exc:
            raise click.BadParameter(f"{path.name}:{number}: expected `regular expression -> name`, got {line[:80]!r} ({exc})") from exc
    return tuple(renames)


def _show(answer: dict[str, Any]) -> None:
    window, onset = answer["window"], answer["onset"]
    click.secho(f"{answer['verdict']} ({answer['confidence']:.0%} sure), {window['from']} to {window['to']}", bold=True)
    if onset:
        click.echo(f"since {onset['at']} ({onset['low']} to {onset['high']})")
    for row in answer["ranking"]:
        where = f"{row['service']} {row['operation'] or ''}".strip()
        mark = "*" if row["rank"] in answer["culprits"] else " "
        explains = f"  explains {', '.join(row['explains'][:5])}" if row["explains"] else ""
        click.echo(
            f"{mark} {row['rank']:>2}  {where:<44} {row['evidence']:<10} score {row['score']:.2f}  covers {row['coverage']:.0%}{explains}"
        )
        for part in row.get("scope", ()):
            click.echo("        only " + " and ".join(f"{key} = {', '.join(values)}" for key, values in part.items()))
    for warning in answer["warnings"]:
        click.secho(f"  {warning}", fg="yellow")


COMMANDS = (causes,)
