"""`tillgate new system`: from a WSDL, an OpenAPI document or a sample file to an estate entry, draft mappings and a list of decisions."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec
import rich_click as click

from contracts.errors import Finding, Findings, TillgateError
from contracts.ports import CAPABILITIES, FED
from contracts.suggestion import nearest
from gateway import estate as estates
from gateway.bootstrap import check, parse_xml, types
from gateway.bootstrap.proposing import Proposal, propose
from gateway.cli.checking import new
from gateway.cli.settings import Settings, reference_estate
from gateway.estate import Estate
from mappings.language import ReadContext, load
from mappings.language.draft.answers import draft_answer
from mappings.language.draft.offers import Ranked, rank
from mappings.language.draft.requests import draft_request
from mappings.language.draft.text import Draft, Line
from mappings.language.examples import given as document_of
from mappings.language.examples import plain
from mappings.language.read import GUESS, UNDECIDED
from mappings.language.sample import document
from mappings.language.shape import Exchange, Message
from mappings.language.toml_text import comment, toml_key, toml_string

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,30}")
SURE: Final = 0.6
"""Rank from which an operation is taken without being named; it must also be ahead of the next by `AHEAD`."""
AHEAD: Final = 0.02
UNASKED: Final = (
    "product.read",
    "inventory.levels",
    "price.read",
    "customer.read",
    "location.list",
    "order.create",
    "order.find",
    "order.progress",
    "order.cancel",
)
"""Capabilities that are looked for when none is named."""
_POLICIES: Final = {
    "location.list": '{ deadline = "5s", freshness = { max_age = "10m", stale_if_error = "7d" } }',
    "product.list": '{ deadline = "5s", freshness = { max_age = "5m", stale_if_error = "1d" } }',
    "product.read": '{ deadline = "3s", freshness = { max_age = "5m", stale_if_error = "1d" }BATCH }',
    "price.read": '{ deadline = "3s", freshness = { max_age = "1m", stale_if_error = "4h" }BATCH }',
    "inventory.levels": '{ deadline = "2s", freshness = { max_age = "2s", stale_if_error = "1h" }BATCH }',
    "customer.read": '{ deadline = "3s", freshness = { max_age = "30s", stale_if_error = "1h" } }',
    "order.progress": '{ deadline = "3s", freshness = { max_age = "2s", stale_if_error = "1h" } }',
}
_NOT_LITERAL: Final = re.compile("'''|[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""What a multi-line literal of TOML cannot hold."""
_ASKED_BACK: Final = {"order.create": "order.find", "order.book": "order.find_booking"}


@dataclass(slots=True)
class Chosen:
    """One operation for one capability, with its drafts."""

    capability: str
    operation: str
    entry: str
    """Name in the estate: differs when one call provides two capabilities."""
    ranked: list[Ranked]
    answer: Draft | None = None
    request: Draft | None = None
    paths: dict[str, str] = field(default_factory=dict)
    batch: bool = False


@dataclass(slots=True)
class Plan:
    """Everything that will be written. `files`: path from the estate's folder -> content."""

    files: dict[str, bytes]
    estate: str
    """The whole new text of estate.toml."""
    appended: str
    chosen: list[Chosen]
    open: list[str]
    unsure: list[tuple[str, list[Ranked]]]


@new.command("system")
@click.argument("name")
@click.option("--wsdl", type=click.Path(path_type=Path), help="WSDL, or the folder that holds it and what it imports.")
@click.option("--openapi", type=click.Path(path_type=Path), help="OpenAPI document (JSON or YAML), or its folder.")
@click.option("--sample", type=click.Path(path_type=Path), help="A file as the tills write it: rows with record types, or XML.")
@click.option(
    "--capability",
    "capabilities",
    multiple=True,
    metavar="CAPABILITY[=OPERATION]",
    help="What to draft; repeat it. Default: whatever is clear.",
)
@click.option("--owner", default="?", help="Who is called when the system fails.")
@click.option(
    "--estate", "folder", type=click.Path(path_type=Path), default=None, help="Folder of the estate; instead of the option of `tillgate`."
)
@click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
@click.pass_obj
def new_system(
    settings: Settings,
    name: str,
    wsdl: Path | None,
    openapi: Path | None,
    sample: Path | None,
    capabilities: tuple[str, ...],
    owner: str,
    folder: Path | None,
    dry_run: bool,
) -> None:
    """Connect NAME: copy its contract, add it to the estate, and draft a mapping for each capability."""
    given = {kind: path for kind, path in (("soap", wsdl), ("rest", openapi), ("files", sample)) if path is not None}
    if len(given) != 1:
        raise click.UsageError("name the contract: one of --wsdl, --openapi and --sample")
    root = folder or settings.estate
    if (root / "estate.toml").resolve() == (reference_estate() / "estate.toml").resolve():
        raise click.ClickException(
            "this is the reference estate; begin one of your own with `tillgate new estate DIR`, then name it with --estate DIR"
        )
    protocol, path = next(iter(given.items()))
    asked = _asked(capabilities, protocol)
    before, estate = _room(root, name)
    proposal = propose(protocol, name, path)  # type: ignore[arg-type]  # the keys of `given`
    plan = _plan(name, owner, proposal, asked, before, estate)
    _tell(name, plan, proposal)
    if dry_run:
        click.echo("")
        for line in _difference(root, before, plan):
            click.echo(line)
        return
    _write(root, before, plan)
    click.echo("")
    click.echo(
        f"{len(plan.files)} files written, {root / 'estate.toml'} extended; what to decide: {root / 'mappings' / name / 'DECISIONS.md'}"
    )
    try:
        check(root)
        click.echo(f"no finding. next: tillgate --estate {root} map list")
    except Findings as exc:
        click.echo(f"{len(exc.findings)} findings lead through the decisions. next: tillgate --estate {root} check")


def _asked(given: Sequence[str], protocol: str) -> dict[str, str]:
    """Capability -> operation that was named for it, or nothing."""
    found: dict[str, str] = {}
    for each in given:
        capability, _, operation = each.partition("=")
        if capability not in CAPABILITIES:
            raise click.BadParameter(f"unknown capability {capability!r}; {nearest(capability, CAPABILITIES)}", param_hint="--capability")
        if (capability in FED) != (protocol == "files"):
            raise click.BadParameter(
                f"{capability} is not provided by {protocol}; files provide {', '.join(FED)} alone", param_hint="--capability"
            )
        found[capability] = operation
    return found


def _room(root: Path, name: str) -> tuple[str, Estate]:
    """The estate and its text. Refuses a name that is no name, and whatever is there already."""
    if not NAME.fullmatch(name):
        raise click.ClickException(f"{name[:60]!r} is no name for a system: small letters, digits and _, at most 31, a letter first")
    estate, _, _ = estates.examine(root)
    text = (root / "estate.toml").read_text(encoding="utf-8")
    there = [f"[system.{name}]"] if name in estate.system or re.search(rf"(?m)^\s*\[\s*system\s*\.\s*{name}\b", text) else []
    there += [p for p in (f"contracts/systems/{name}", f"mappings/{name}") if os.path.lexists(root / p)]
    if there:
        raise click.ClickException(f"{there[0]} is there already; nothing is overwritten: choose another name, or remove it")
    return text, estate


# ---- what to write ---------------------------------------------------------------------------------------------------


def _plan(name: str, owner: str, proposal: Proposal, asked: Mapping[str, str], before: str, estate: Estate) -> Plan:
    offers = {o.name: o for o in proposal.offers}
    if not offers:
        raise Findings(findings=(Finding(proposal.main, 1, "the contract describes no operation", "is it the right file?"),))
    chosen: list[Chosen] = []
    unsure: list[tuple[str, list[Ranked]]] = []
    unasked = UNASKED if proposal.protocol != "files" else (proposal.feeds,) if proposal.feeds else ()
    wanted = asked or dict.fromkeys(unasked, "")
    taken: dict[str, int] = {}
    for capability, named in wanted.items():
        if proposal.protocol == "files":
            ranked = [Ranked(o, 1.0, "the sample") for o in offers]
        elif named and named not in offers:
            raise click.BadParameter(f"{name} has no operation {named!r}; {nearest(named, offers)}", param_hint="--capability")
        else:
            ranked = [Ranked(named, 1.0, "as named")] if named else rank(capability, name, proposal.offers)
        clear = bool(ranked) and ranked[0].score >= SURE and _ahead(ranked)
        if not ranked or not (clear or asked):
            unsure.append((capability, ranked[:3]))
            continue
        best = ranked[0].name
        taken[best] = taken.get(best, 0) + 1
        entry = best if taken[best] == 1 else f"{best}_{capability.replace('.', '_')}"
        chosen.append(_drafted(name, capability, best, entry, ranked, proposal, offers[best].exchange()))
    files = {f"contracts/systems/{name}/{path}": raw for path, raw in proposal.files.items()}
    for each in chosen:
        for use, draft in (("answer", each.answer), ("request", each.request)):
            if draft is not None:
                each.paths[use] = _free(f"mappings/{name}/{_snake(each.entry)}", "" if proposal.protocol == "files" else f".{use}", files)
                files[each.paths[use]] = draft.text.encode()
    appended = _entries(name, owner, proposal, chosen)
    text = before.rstrip("\n") + "\n" + appended
    opened = _open(name, owner, proposal, chosen, estate)
    files[f"mappings/{name}/DECISIONS.md"] = _decisions(name, opened, chosen, unsure, proposal).encode()
    return Plan(files, text, appended, chosen, opened, unsure)


def _ahead(ranked: Sequence[Ranked]) -> bool:
    """Whether the best is clear of the next that is about something else."""
    other = next((r for r in ranked[1:] if r.about != ranked[0].about or r.score == ranked[0].score), None)
    return other is None or ranked[0].score - other.score >= AHEAD


def _drafted(
    name: str, capability: str, operation: str, entry: str, ranked: list[Ranked], proposal: Proposal, exchange: Exchange
) -> Chosen:
    made = Chosen(capability, operation, entry, ranked)
    full = f"{name}.{operation}"
    intro = f"Drafted from {comment(proposal.main)} for {capability}. A line without a remark is certain; confirm each that is likely."
    if exchange.answer is not None:
        if (ready := proposal.ready.get(capability)) is not None:
            said = re.findall(r'(?m)^(\w+) *= "(.*)"', ready.partition("[fields]")[2].partition("[drops]")[0])
            lines = [Line(path, expression, 1, certain=True) for path, expression in said]
            made.answer = Draft(CAPABILITIES[capability].answer.__name__, full, lines, [], [], ready)
        else:
            samples = proposal.samples.get(operation)
            made.answer = draft_answer(capability, full, exchange.answer, intro=intro, samples=samples)
            _add_example(made.answer, full, exchange)
    if exchange.request is not None:
        request = draft_request(capability, full, exchange.request, intro=intro, filled=proposal.filled)
        if CAPABILITIES[capability].request.__struct_fields__ or request.lines or request.decisions:
            made.request = request
            _add_example(request, full, exchange)
        keys = CAPABILITIES[capability].keys
        made.batch = keys is not None and re.search(rf'= "{keys}(?:"| \| each)', request.text) is not None
    return made


def _add_example(draft: Draft, operation: str, exchange: Exchange) -> None:
    """One made-up document and what comes of it, when the draft is complete enough to run."""
    if draft.decisions:
        return
    text = GUESS.sub(r"\1", draft.text.replace(toml_string(UNDECIDED), '"-"'))
    reads = draft.target in types()
    message: Message | None = exchange.answer if reads else exchange.request
    assert message is not None  # noqa: S101 - it was drafted from it
    try:
        mapping = load(text, "draft", lambda _: exchange, types())
        given: Any = document(mapping.source)
        shown = (
            given.decode()
            if isinstance(given, bytes)
            else json.dumps(plain(msgspec.to_builtins(given, str_keys=True)), ensure_ascii=False, indent=2)
        )
        if mapping.source.form in ("rows", "struct"):
            return
        context = ReadContext(operation.partition(".")[0], operation.partition(".")[2])
        made = mapping.read(document_of(mapping.source, shown, parse_xml), context)
    except (Findings, TillgateError, ValueError, TypeError, KeyError, LookupError):
        return  # a made-up document need not be one that means anything; a recorded one will be
    expect = json.dumps(plain(msgspec.to_builtins(made, str_keys=True)), ensure_ascii=False, indent=2)
    if len(shown) + len(expect) < 20_000 and not _NOT_LITERAL.search(shown + expect):
        name = "made up from the contract: replace it by a recorded one"
        draft.text += f"\n[[example]]\nname   = \"{name}\"\ngiven  = '''\n{shown}\n'''\nexpect = '''\n{expect}\n'''\n"


def _snake(name: str) -> str:
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:80] or "operation"


def _free(stem: str, use: str, taken: Mapping[str, Any]) -> str:
    """A path that no other mapping has: what two operations are called may come to the same."""
    return next(p for n in count(1) if (p := f"{stem}{'' if n == 1 else f'_{n}'}{use}.toml") not in taken)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{toml_key(k)} = {_toml(v)}" for k, v in value.items()) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return toml_string(value) if isinstance(value, str) else json.dumps(value)


def _entries(name: str, owner: str, proposal: Proposal, chosen: Sequence[Chosen]) -> str:
    """What is added to estate.toml."""
    contract = f"contracts/systems/{name}/{proposal.main}"
    variable = f"{name.upper()}_{'INBOX' if proposal.protocol == 'files' else 'URL'}"
    out = [
        "",
        f"[system.{name}]",
        f'protocol    = "{proposal.protocol}"',
        f"contract    = {toml_string(contract)}",
    ]
    said, title = comment(proposal.endpoint)[:120], proposal.title[:120]
    out.append(f'endpoint    = "env:{variable}"' + (f"  # the contract says {said}" if said else ""))
    out.append(f"owner       = {toml_string(owner)}" + ("  # who is called when it fails?" if owner == "?" else ""))
    out.append('criticality = "medium"')
    if title:
        out.append(f"description = {toml_string(title)}")
    if proposal.options:
        out += ["", f"[system.{name}.options]", *(f"{toml_key(k)} = {_toml(v)}" for k, v in proposal.options.items())]
    for each in chosen:
        out += ["", f"[operation.{toml_key(f'{name}.{each.entry}')}]"]
        if each.entry != each.operation:
            out.append(f"calls    = {toml_string(each.operation)}")
        out.append(f'provides = "{each.capability}"')
        if proposal.protocol == "files":
            out.append('mode     = "file"')
        out += [f"{use:8} = {toml_string(path)}" for use, path in sorted(each.paths.items(), reverse=True)]
        policy = _POLICIES.get(each.capability, '{ deadline = "5s" }').replace("BATCH", ", batch = { size = 50 }" if each.batch else "")
        if proposal.protocol != "files":
            out.append(f"policy   = {policy}")
    return "\n".join(out) + "\n"


def _open(name: str, owner: str, proposal: Proposal, chosen: Sequence[Chosen], estate: Estate) -> list[str]:
    """Questions about the system itself."""
    found = [f"[system.{name}] owner: who is called when it fails?"] if owner == "?" else []
    found.append(f"[system.{name}] criticality: what stops when it fails? critical, high, medium or low")
    found += proposal.questions
    provided = {c.capability for c in chosen}
    for write, back in _ASKED_BACK.items():
        if write in provided and back not in provided:
            found.append(f"{write} without {back}: how is {name} asked whether it took an order whose answer was lost?")
    for each in chosen:
        others = [n for n, o in estate.operation.items() if o.provides == each.capability]
        if others and CAPABILITIES[each.capability].writes:
            found.append(f"{each.capability} is a write, and {others[0]} provides it already: which of them stays?")
        elif others:
            found.append(
                f'{each.capability} is provided by {", ".join(others)} already: say in [capability."{each.capability}"] who is asked first'
            )
    found += [f"contract: {f}" for f in proposal.notes[:20]]
    return found


def _decisions(
    name: str, opened: Sequence[str], chosen: Sequence[Chosen], unsure: Sequence[tuple[str, list[Ranked]]], proposal: Proposal
) -> str:
    """The list for a person; the check asks for the same, one by one."""
    out = [
        f"# What to decide about {name}",
        "",
        "`tillgate check` asks for each of these with file and line. Remove this file when nothing is left.",
        "",
    ]
    out += ["## The system", "", *(f"- [ ] {q}" for q in opened), ""]
    for each in chosen:
        out += [f"## {each.capability}: {each.operation}", "", f"Chosen because: {each.ranked[0].why} ({each.ranked[0].score:.2f})."]
        if len(each.ranked) > 1:
            out.append("Others: " + "; ".join(f"{r.name} ({r.score:.2f}: {r.why})" for r in each.ranked[1:4]) + ".")
        out.append("")
        for use, draft in (("request", each.request), ("answer", each.answer)):
            if draft is None:
                continue
            sure = len(draft.lines) - len(draft.confirm)
            out += [f"### {each.paths[use]}: {sure} of {len(draft.lines)} lines certain", ""]
            out += [f"- [ ] decide `{d.path}`: {d.question}" for d in draft.decisions]
            out += [f"- [ ] confirm `{line.path} = {line.expression}`: {line.guess}" for line in draft.confirm]
            if draft.unused:
                names = ", ".join(draft.unused[:12]) + (", …" if len(draft.unused) > 12 else "")
                out.append(f"- [ ] {len(draft.unused)} fields are not used: {names}")
            out.append("")
    if unsure:
        out += ["## Not drafted", ""]
        for capability, ranked in unsure:
            near = "; ".join(f"{r.name} ({r.score:.2f}: {r.why})" for r in ranked) or "no operation looks like it"
            out.append(f"- {capability}: {near}")
        out += [
            "",
            f"To add one, `tillgate new system` with `--capability CAPABILITY={'OPERATION'}` into a fresh name shows a draft to copy from.",
            "",
        ]
    return "\n".join(out)


# ---- telling and writing ---------------------------------------------------------------------------------------------


def _tell(name: str, plan: Plan, proposal: Proposal) -> None:
    click.echo(
        f"{name}: {proposal.protocol}, {len(proposal.offers)} operation{'s' if len(proposal.offers) != 1 else ''} in {proposal.main}"
    )
    for each in plan.chosen:
        drafts = [d for d in (each.request, each.answer) if d is not None]
        lines, confirm = sum(len(d.lines) for d in drafts), sum(len(d.confirm) for d in drafts)
        decide, unused = sum(len(d.decisions) for d in drafts), sum(len(d.unused) for d in drafts)
        click.echo(f"  {each.capability:18} {each.operation} ({each.ranked[0].score:.2f}: {each.ranked[0].why})")
        click.echo(f"  {'':18} {lines - confirm} lines certain, {confirm} to confirm, {decide} to decide, {unused} fields not used")
    for capability, ranked in plan.unsure:
        near = ", ".join(f"{r.name} ({r.score:.2f})" for r in ranked) or "nothing"
        click.echo(f"  {capability:18} not drafted; nearest: {near}")
    click.echo(f"  {len(plan.open)} questions about the system itself")


def _difference(root: Path, before: str, plan: Plan) -> Iterator[str]:
    yield from difflib.unified_diff(
        before.splitlines(), plan.estate.splitlines(), str(root / "estate.toml"), str(root / "estate.toml"), lineterm="", n=1
    )
    for path, raw in plan.files.items():
        if path.startswith("contracts/") and not path.endswith(".toml"):
            yield f"+++ {root / path} ({len(raw)} bytes, copied)"
            continue
        yield from difflib.unified_diff([], raw.decode("utf-8", "replace").splitlines(), "/dev/null", str(root / path), lineterm="")


def _write(root: Path, before: str, plan: Plan) -> None:
    """New files first, each only where there is none; the estate last and at once. Takes everything back when one cannot be written."""
    try:
        tomllib.loads(plan.estate)
    except tomllib.TOMLDecodeError as exc:  # such as tables below `system = {…}`
        raise click.ClickException(f"{root / 'estate.toml'} cannot be extended as it is written: {exc}; nothing was written") from exc
    made: list[Path] = []
    folders: list[Path] = []
    try:
        for path, raw in plan.files.items():
            target = root / path
            folders += [p for p in reversed(target.parents) if p.is_relative_to(root) and not p.exists() and p not in folders]
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as out:
                made.append(target)
                out.write(raw)
        if (root / "estate.toml").read_text(encoding="utf-8") != before:
            raise click.ClickException(f"{root / 'estate.toml'} was changed meanwhile; nothing was written")
        part = root / ".estate.toml.part"
        part.write_text(plan.estate, encoding="utf-8")
        part.replace((root / "estate.toml").resolve())
    except BaseException:
        for target in made:
            target.unlink(missing_ok=True)
        for folder in reversed(folders):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise


COMMANDS: list[click.Command] = []
