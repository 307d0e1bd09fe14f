"""Commands for whoever runs a gateway: traces, open orders, benchmarks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import rich_click as click

from contracts.books import Books, Process
from contracts.errors import NotFound
from contracts.policy import Duration
from gateway.bootstrap import trace_folder
from gateway.cli.clients import in_books
from gateway.cli.settings import Settings
from gateway.cli.terminal import printable, who
from gateway.services.clock import utc_now
from gateway.services.order_decisions import OrderDecisions
from observability.logs import configure
from observability.ring import Ring
from observability.spans import Span, otlp
from observability.vocabulary import ERROR_DETAIL

_BAR = 36


@click.command("trace")
@click.argument("trace_id")
@click.option("--json", "as_json", is_flag=True, help="The spans as JSON.")
@click.pass_obj
def trace(settings: Settings, trace_id: str, as_json: bool) -> None:
    """The steps of one request, process or file, as they happened."""

    async def read() -> list[Span] | None:
        return await Ring(trace_folder(settings.books)).trace(trace_id)

    spans = asyncio.run(read())
    if not spans:
        raise NotFound(what="kept trace", key=trace_id)
    click.echo(msgspec.json.format(msgspec.json.encode(spans)).decode() if as_json else drawn(spans))


def drawn(spans: list[Span]) -> str:
    """A waterfall in text, one line per span; below, what failed there, each said once, by the innermost span that says it."""
    start, end = min(s.start for s in spans), max(s.end for s in spans)
    depth: dict[str, int] = {}
    lines = [f"trace {spans[0].trace_id}, {(end - start) / 1e6:.1f} ms"]
    for span in spans:
        depth[span.span_id] = depth.get(span.parent_id, -1) + 1
        left = round((span.start - start) / max(1, end - start) * _BAR)
        bar = " " * min(left, _BAR - 1) + "█" * max(1, round((span.end - span.start) / max(1, end - start) * _BAR))
        label = "  " * depth[span.span_id] + span.name
        trouble = f"  {span.text('error.type') or 'error'}" if span.status == "error" else ""
        lines.append(f"{label:46.46} {bar[:_BAR]:{_BAR}} {span.milliseconds:9.2f} ms{trouble}")
    said = {detail: span.name for span in spans if (detail := span.text(ERROR_DETAIL))}
    return "\n".join([*lines, *(printable(f"{name}: {detail}") for detail, name in said.items())])


@click.command("spans")
@click.option("--since", default="1h", show_default=True, help="How far back: 30m, 2h, 1d; as far as flights are kept.")
@click.pass_obj
def spans(settings: Settings, since: str) -> None:
    """The kept flights of the data folder as OTLP JSON lines, one flight a line: what `tillgate causes` and trace stores read."""
    try:
        begin = utc_now() - timedelta(seconds=Duration.parse(since))
    except (ValueError, OverflowError) as exc:
        raise click.BadParameter(f"expected a duration such as 30m, 2h or 1d, got {since!r}", param_hint="--since") from exc
    ring = Ring(trace_folder(settings.books))
    for flight in ring.flights(begin, utc_now()):
        click.echo(msgspec.json.encode(otlp(flight)))
    if ring.unreadable:
        click.echo(f"{ring.unreadable} flights or files of them could not be read", err=True)


@click.group("orders", invoke_without_command=True)
@click.pass_context
def orders(context: click.Context) -> None:
    """Orders whose process is open, in doubt, or waits for a person; and what that person decides."""
    if context.invoked_subcommand is not None:
        return

    async def job(books: Books) -> list[Process]:
        return list(await books.orders.processes(("running", "waiting", "compensating", "manual"), 500))

    for process in in_books(context.obj, job):
        click.echo(_steps(process))


@orders.command("ask")
@click.argument("number")
@click.pass_obj
def ask(settings: Settings, number: str) -> None:
    """Ask the system again, now. NUMBER is an order's number or id."""
    _decide(settings, lambda d: d.ask(number, who()))


@orders.command("confirm")
@click.argument("number")
@click.argument("external_id")
@click.option("--reason", required=True, help="Kept with the step.")
@click.pass_obj
def confirm(settings: Settings, number: str, external_id: str, reason: str) -> None:
    """The open step is done: somebody has seen EXTERNAL_ID in the system (cancelled there, if the order is being undone)."""
    _decide(settings, lambda d: d.confirm(number, external_id, reason, who()))


@orders.command("undo")
@click.argument("number")
@click.option("--reason", required=True, help="Kept with the step, and told to the systems.")
@click.pass_obj
def undo(settings: Settings, number: str, reason: str) -> None:
    """Give the open step up and cancel whatever the systems have of the order."""
    _decide(settings, lambda d: d.undo(number, reason, who()))


def _decide(settings: Settings, decision: Callable[[OrderDecisions], Awaitable[Process]]) -> None:
    configure()

    async def job(books: Books) -> Process:
        return await decision(OrderDecisions(books, utc_now))

    click.echo(_steps(in_books(settings, job)))


def _steps(process: Process) -> str:
    steps = ", ".join(f"{s.name} {s.state}" + (f" ({s.error})" if s.error else "") for s in process.steps)
    return printable(f"{process.subject} {process.state}: {steps}")


@click.command("bench", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(name: str, arguments: tuple[str, ...]) -> None:
    """Print the ratios of one benchmark (soap, rest, edge, files, events, rootcause, …); --json for JSON lines. Needs a checkout."""
    folder = Path(__file__).resolve().parents[2]
    found = [*(folder / "benchmarks").glob("*.py"), *(p.parent for p in (folder / "benchmarks").glob("*/__main__.py"))]
    known = sorted(p.stem for p in found if p.stem not in ("__init__", "ratio"))
    if name not in known:
        raise click.ClickException(f"no benchmark {name!r}; there are {', '.join(known) or 'none here: benchmarks come with a checkout'}")
    sys.exit(subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments], cwd=folder, check=False).returncode)  # noqa: S603 - our own module


COMMANDS: list[click.Command] = [trace, spans, orders, bench]
