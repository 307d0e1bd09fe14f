"""`tillgate publish`: what is generated and committed (contracts per version, problem catalogue, references)."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec
import rich_click as click

from contracts.adoption import VersionsView
from contracts.versions import HISTORY
from contracts.versions.compatibility import EVERYWHERE, Break, breaks, event_breaks
from gateway import estate
from gateway.api import ADMIN, ENDPOINTS
from gateway.api.admin import CONTROLS
from gateway.cli import generating
from gateway.cli.settings import Settings
from gateway.cli.versions import at_hand
from gateway.edge import asyncapi, openapi, problems
from gateway.services.clock import utc_now
from observability import dashboards


@cache
def generated(title: str) -> Mapping[str, bytes]:
    """Path in the repository -> content. The same source gives the same bytes."""
    from gateway.cli import estate_reference, noun_reference  # they know every driver's options, every noun
    from gateway.proof import report
    from observability.rootcause import answer

    found = {
        f"contracts/published/openapi-{v.date}.json": _pretty(openapi.document(ENDPOINTS, HISTORY, v.date, title)) for v in HISTORY.versions
    }
    admin = openapi.document(ADMIN, HISTORY, HISTORY.newest.date, "Tillgate for operators", CONTROLS)
    admin["info"]["description"] = (
        "Clients, their keys, the audit log, files and quarantine, incidents, webhooks, and the gateway itself. Channels never meet it."
    )
    found["contracts/published/openapi-admin.json"] = _pretty(admin)
    found["contracts/published/problems.json"] = _pretty([*problems.catalogue(), *problems.former(HISTORY)])
    found["contracts/published/changelog.json"] = _pretty(openapi.changelog(HISTORY))
    for v in HISTORY.versions:
        found[f"contracts/published/asyncapi-{v.date}.json"] = _pretty(asyncapi.document(HISTORY, v.date))
    found["docs/reference/estate.schema.json"] = _pretty(estate.schema())
    found["docs/estate.md"] = estate_reference.text().encode()
    found["docs/reference/nouns.md"] = noun_reference.text().encode()
    found["docs/reference/causes.schema.json"] = _pretty(answer.published())
    found["docs/reference/grafana-dashboard.json"] = dashboards.dashboard()
    found["docs/reference/alert-rules.yml"] = dashboards.rules()
    found["docs/reference/cases.md"] = report.reference().encode()
    found |= {path: text.encode() for path, text in generating.example()}
    return found


def _pretty(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


_PROMISES = re.compile(r"contracts/published/(openapi|asyncapi)-(\d{4}-\d\d-\d\d)\.json")


def broken(root: Path, documents: Mapping[str, bytes]) -> list[tuple[str, Break]]:
    """Version and break: what whoever kept to the contracts under `root` would lose by these documents."""
    found: list[tuple[str, Break]] = []
    for path in sorted((root / "contracts/published").glob("*.json")):
        promise = _PROMISES.fullmatch(name := path.relative_to(root).as_posix())
        if promise is None:
            continue
        published = msgspec.json.decode(path.read_bytes())
        if name not in documents:
            if (end := published["info"].get("x-sunset")) is None or end >= utc_now().date().isoformat():
                found.append((promise[2], Break(promise[1], "is gone before its sunset")))
            continue
        compare = breaks if promise[1] == "openapi" else event_breaks
        found += [(promise[2], each) for each in compare(published, msgspec.json.decode(documents[name]))]
    return found


def told(version: str, found: Break, seen: VersionsView | None) -> str:
    """What broke for whom: counted where the books are at hand."""
    sentence = f"clients of {version}: {found}"
    view = next((v for v in seen.items if v.version == version), None) if seen else None
    if view is None or " " not in found.operation:
        return sentence
    who = [c.client for c in view.clients if any((u.route, u.field) == (found.operation, found.field) for u in c.uses)]
    did = "used it"
    if not who:
        who, did = [c.client for c in view.clients if found.operation in c.routes or found.operation == EVERYWHERE], "called it"
    days = (utc_now().date() - seen.since).days + 1 if seen else 0
    named = f": {', '.join(who[:10])}{', …' if len(who) > 10 else ''}" if who else ""
    return f"{sentence}; {len(who)} of {len(view.clients)} {did} in the last {days} days{named}"


@click.command("publish")
@click.option("--check", "only_check", is_flag=True, help="Change nothing; fail if something is stale or would break a published version.")
@click.option("--breaking", is_flag=True, help="Write also what breaks a published version: nobody has it yet.")
@click.option("--into", type=click.Path(path_type=Path, file_okay=False), default=None, help="Another folder than this checkout.")
@click.pass_obj
def publish(settings: Settings, only_check: bool, breaking: bool, into: Path | None) -> None:
    """Write the generated documents of this checkout anew. A published version is never broken by that: what would is told, with whom it
    hits.
    """
    root, documents = into or Path(__file__).resolve().parents[2], generated("Retail API")
    found = [] if breaking else broken(root, documents)
    seen = at_hand(settings) if found else None
    for version, each in found:
        click.secho(told(version, each, seen), fg="red", err=True)
    if found:
        click.echo("keep the old shape by a class in contracts/versions/history.py (docs/versions.md)", err=True)
        click.echo("or, if nobody has the published version yet: ./run publish --breaking", err=True)
    stale = [p for p, content in documents.items() if not (root / p).is_file() or (root / p).read_bytes() != content]
    for path in stale:
        click.echo(f"{'stale' if only_check or found else 'written'}: {path}")
        if not only_check and not found:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(documents[path])
    if only_check and stale and not found:
        click.echo("write them anew: ./run publish", err=True)
    if found or (only_check and stale):
        sys.exit(1)


COMMANDS: list[click.Command] = [publish, generating.generate]
