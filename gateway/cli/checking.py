"""`tillgate check` and `tillgate new estate`: is the estate sound, and where does one begin."""

from __future__ import annotations

import json
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import rich_click as click

from gateway.bootstrap import check as check_estate
from gateway.cli.settings import Settings, reference_estate
from gateway.estate import past_brown_outs

MAX_NOTES = 20


@click.command("check")
@click.pass_obj
def check(settings: Settings) -> None:
    """Read estate, contracts and mappings; show every mistake with file, line and what to write instead, then what is odd but harmless."""
    began = time.monotonic()
    checked = check_estate(settings.estate)
    estate = checked.estate
    click.echo(
        f"{estate.estate.name}: {len(estate.system)} systems, {len(estate.operation)} operations, "
        f"{len(checked.mappings)} mappings, {len(estate.channel)} channels, {len(estate.route)} routes: no finding "
        f"({time.monotonic() - began:.1f} s)"
    )
    notes = [*past_brown_outs(estate, datetime.now(UTC)), *checked.notes]
    for note in notes[:MAX_NOTES]:
        click.echo(f"note: {note}")
    if (more := len(notes) - MAX_NOTES) > 0:
        click.echo(f"note: {more} more of this kind")


_EMPTY = """\
# Who calls, what stands behind, what they can do. `tillgate check` reads it with every contract and mapping.

[estate]
name  = {name}
owner = "who answers for this estate?"

[channel]
web         = {{ description = "Web shop" }}
mobile      = {{ description = "Mobile app" }}
store       = {{ description = "Store staff devices" }}
call_centre = {{ description = "Call centre desktop" }}
marketplace = {{ description = "Marketplace connectors" }}

[quota.standard]
policies = [{{ name = "burst", requests = 100, window = "1s" }}]

[system]

[operation]
"""


@click.group("new")
def new() -> None:
    """Begin something."""


@new.command("estate")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--empty", is_flag=True, help="Without any system: `tillgate new system` adds one after the other.")
def new_estate(folder: Path, empty: bool) -> None:
    """Write a complete estate into FOLDER: a copy of the reference estate to change step by step."""
    if folder.exists() and any(folder.iterdir()):
        raise click.ClickException(f"{folder} is not empty; name a new folder")
    if empty:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "estate.toml").write_text(_EMPTY.format(name=json.dumps(folder.resolve().name, ensure_ascii=False)), encoding="utf-8")
        click.echo(f"{folder}: estate.toml, without a system")
        click.echo(f"next: tillgate --estate {folder} new system NAME --wsdl FILE (or --openapi, --sample)")
        return
    source = reference_estate()
    (folder / "contracts").mkdir(parents=True)
    shutil.copy(source / "estate.toml", folder / "estate.toml")
    shutil.copytree(source / "contracts" / "systems", folder / "contracts" / "systems")
    for part in sorted((source / "mappings").iterdir()):
        if part.is_dir() and any(part.glob("*.toml")):
            shutil.copytree(part, folder / "mappings" / part.name, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    click.echo(f"{folder}: estate.toml, contracts/systems, mappings")
    click.echo(f"next: tillgate --estate {folder} check")


COMMANDS = [check, new]
