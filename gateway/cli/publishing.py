"""`tillgate publish`: what is generated and committed (contracts per version, problem catalogue, references)."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import rich_click as click

from contracts.versions import HISTORY
from gateway import estate
from gateway.api import ADMIN, ENDPOINTS
from gateway.cli import generating
from gateway.cli.settings import Settings
from gateway.edge import asyncapi, openapi, problems


def generated(title: str) -> dict[str, bytes]:
    """Path in the repository -> content. The same source gives the same bytes."""
    from gateway.cli import estate_reference, noun_reference  # they know every driver's options, every noun
    from gateway.proof import report

    found = {
        f"contracts/published/openapi-{v.date}.json": _pretty(openapi.document(ENDPOINTS, HISTORY, v.date, title)) for v in HISTORY.versions
    }
    admin = openapi.document(ADMIN, HISTORY, HISTORY.newest.date, "Tillgate for operators")
    admin["info"]["description"] = "Clients, their keys and the audit log. Channels never meet it."
    found["contracts/published/openapi-admin.json"] = _pretty(admin)
    found["contracts/published/problems.json"] = _pretty(problems.catalogue())
    found["contracts/published/changelog.json"] = _pretty(openapi.changelog(HISTORY))
    for v in HISTORY.versions:
        found[f"contracts/published/asyncapi-{v.date}.json"] = _pretty(asyncapi.document(HISTORY, v.date))
    found["docs/reference/estate.schema.json"] = _pretty(estate.schema())
    found["docs/estate.md"] = estate_reference.text().encode()
    found["docs/reference/nouns.md"] = noun_reference.text().encode()
    found["docs/reference/cases.md"] = report.reference().encode()
    found |= {path: text.encode() for path, text in generating.example()}
    return found


def _pretty(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


@click.command("publish")
@click.option("--check", "only_check", is_flag=True, help="Change nothing; fail if something is stale.")
@click.pass_obj
def publish(settings: Settings, only_check: bool) -> None:
    """Write the generated documents of this checkout anew."""
    root = Path(__file__).resolve().parents[2]
    stale = [p for p, content in generated("Retail API").items() if not (root / p).is_file() or (root / p).read_bytes() != content]
    for path in stale:
        click.echo(f"{'stale' if only_check else 'written'}: {path}")
        if not only_check:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(generated("Retail API")[path])
    if only_check and stale:
        click.echo("write them anew: ./run publish", err=True)
        sys.exit(1)


COMMANDS: list[click.Command] = [publish, generating.generate]
