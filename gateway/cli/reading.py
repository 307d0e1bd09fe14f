"""`tillgate files read`: what a file holds and what is wrong with it, before any feed has seen it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from gateway import estate as estates
from gateway.bootstrap.reading import Held, Look, look
from gateway.cli.files import files
from gateway.cli.settings import Settings
from gateway.cli.terminal import printable

_WIDE = 600


@files.command("read")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--layout",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=None,
    help="The layout. Default: the estate's whose pattern matches the name, else what the file itself shows.",
)
@click.option("--limit", type=click.IntRange(0, 1_000_000), default=20, show_default=True, help="Good transactions that are shown.")
@click.option("--bad", "only_bad", is_flag=True, help="Show those alone that are not read.")
@click.option("--json", "as_json", is_flag=True, help="One line per transaction, then one for the file.")
@click.pass_obj
def read_file(settings: Settings, file: Path, layout: Path | None, limit: int, only_bad: bool, as_json: bool) -> None:
    """What FILE holds: transactions by name of their fields, what is wrong with line, segment and field, and what would refuse all of it.

    Nothing is booked. The exit code is 1 when the file would be refused, or holds a transaction that cannot be read.
    """
    estate, _, _ = estates.examine(settings.estate)
    seen = look(file, layout, settings.estate, estate)
    if not as_json:
        how = "inferred from it" if seen.inferred else f"{seen.layout.source}"
        click.echo(printable(f"{file.name}: {seen.layout.file.format}, layout {seen.layout.name} ({how})"))
    shown = left = 0
    for held in seen.transactions():
        if held.bad is None and (only_bad or shown >= limit):
            left += 1
            continue
        shown += held.bad is None
        click.echo(_json(held) if as_json else _line(held))
    click.echo(_json_end(seen) if as_json else _end(seen, left))
    sys.exit(bool(seen.refused or seen.bad))


def _line(held: Held) -> str:
    if held.bad is not None:
        bad = held.bad
        return printable(f"{held.position:>6}  line {bad.line}  BAD  {bad.field or '(the row)'}: expected {bad.expected}, got {bad.got}")
    text = msgspec.json.encode(held.value).decode()
    return printable(f"{held.position:>6}  line {held.line}  {text[:_WIDE]}{' …' if len(text) > _WIDE else ''}")


def _json(held: Held) -> str:
    said: dict[str, Any] = {"position": held.position, "line": held.line}
    if held.bad is not None:
        bad = held.bad
        said |= {"bad": {"line": bad.line, "field": bad.field, "expected": bad.expected, "got": bad.got}}
    else:
        said["value"] = held.value
    return msgspec.json.encode(said).decode()


def _json_end(seen: Look) -> str:
    said = {
        "layout": seen.layout.name, "format": seen.layout.file.format, "inferred": seen.inferred, "good": seen.good, "bad": seen.bad,
        "refused": seen.refused, "findings": seen.findings,
    }  # fmt: skip
    return msgspec.json.encode(said).decode()


def _end(seen: Look, left: int) -> str:
    lines = [f"        … {left} more that are read"] if left else []
    lines += [f"would be refused: {reason}" for reason in seen.refused]
    lines += [f"finding: {finding}" for finding in seen.findings]
    lines.append(f"{seen.good} read, {seen.bad} bad" + (", nothing of it would be booked" if seen.refused else ""))
    return "\n".join(printable(line) for line in lines)


COMMANDS: list[click.Command] = []
"""The command hangs in the group of `gateway.cli.files`."""
