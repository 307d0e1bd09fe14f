"""An estate is read with all its contracts and mappings, and every mistake in any of them is found, before anything is built."""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from adapters.driver import Contract
from adapters.files import spec as files_spec
from adapters.files.driver import FileContract
from adapters.files.outlet import unwritable
from adapters.rest import spec as rest_spec
from adapters.rest.contract import RestContract
from adapters.rest.spec import SessionLogin
from adapters.soap import driver as soap
from adapters.soap import spec as soap_spec
from adapters.soap.client import parse_xml as parse_envelope
from adapters.soap.client import read_body
from adapters.soap.contract import SoapContract
from adapters.soap.errors import Unusable, read_fault
from contracts import canonical, ports
from contracts.errors import Finding, Findings
from contracts.ports import CAPABILITIES, LEVEL_FEED
from contracts.suggestion import nearest
from gateway import estate as estates
from gateway.bootstrap.keeping import keeping
from gateway.bootstrap.own import OwnFunctions
from gateway.estate import Estate, System
from mappings.language import CompiledMapping, did_you_mean, load
from mappings.language.shape import Exchange, Record


@dataclass(frozen=True)
class Checked:
    """An estate without a mistake: its contracts are read, its mappings compiled."""

    root: Path
    estate: Estate
    contracts: dict[str, Contract]
    """By system; of files systems by operation, since each feed has a layout of its own."""
    mappings: dict[str, CompiledMapping]
    """By path, as the estate names them."""
    options: dict[str, Any]
    """Per system, typed; references are not yet replaced."""
    digests: dict[str, str] = field(default_factory=dict)
    """Of every contract and mapping by its path, with all that may be read along with it: what tells a reload that nothing has changed."""
    kept: dict[tuple[str, int], CompiledMapping] = field(default_factory=dict)
    """By operation and number of the step: reads what that call's answer leaves to those that follow."""

    @property
    def notes(self) -> list[str]:
        """What is odd and stops nothing: issuers for trials; in contracts, as far as used operations have been described, what no mapping
        touches.
        """
        found = ((name, c.notes) for name, c in self.contracts.items() if isinstance(c, SoapContract | RestContract))
        trials = [
            f"issuer {i.url}: insecure, whoever is on this machine may read and change its keys"
            for i in self.estate.identity.issuer
            if i.insecure
        ]
        return [*trials, *(f"{name}: {note}" for name, notes in found for note in notes)]


@cache
def types() -> Mapping[str, type[msgspec.Struct]]:
    """Every canonical type that a mapping may name."""
    modules = [importlib.import_module(f"{canonical.__name__}.{info.name}") for info in pkgutil.iter_modules(canonical.__path__)]
    return {
        name: value
        for module in (*modules, ports)
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, msgspec.Struct)
    }


def parse_xml(text: bytes) -> Any:
    """The root of a document that a person gives, as strictly as a system's answer is read; of a whole SOAP envelope what stands in its
    Body. Raises ValueError with line and reason.
    """
    try:
        root = parse_envelope(text)
        if not str(root.tag).endswith("}Envelope"):
            return root
        body = read_body(text)
    except Unusable as exc:
        raise ValueError(f"{exc.where}: expected {exc.expected}, got {exc.got}") from exc
    held = list(body.iterchildren("*"))
    if held and str(held[0].tag).endswith("}Fault"):
        fault = read_fault(held[0])
        raise ValueError(f"Body: expected an answer, got the fault {fault.code}: {fault.reason}")
    return held[0] if len(held) == 1 else body


SPECS: dict[str, type[msgspec.Struct]] = {
    "soap": soap_spec.SoapOptions,
    "rest": rest_spec.RestOptions,
    "files": files_spec.FilesOptions,
}


_ONE_AT_A_TIME = threading.Lock()
"""Python 3.11 counts how deep its parser is for the process, not for the thread: two that parse at once can end in a SystemError."""


def goes_by(name: str, path: str) -> bool:
    """Whether a person means the mapping of this path: by the path, or by its last part without .toml."""
    return name in (path, Path(path).stem, path.removeprefix("mappings/").removesuffix(".toml"))


def check(root: Path, only: str = "") -> Checked:
    """Reads estate, contracts and mappings together. Blocks for a second or so. Raises Findings with every mistake in all of them; with
    the name of `only` one mapping, those of its file, and none when it is right whatever the others are.
    """
    with _ONE_AT_A_TIME:
        return _check(root, only)


def _check(root: Path, only: str) -> Checked:
    estate, source, found = estates.examine(root)
    folder = root if root.is_dir() else root.parent
    options = {n: estates.decode(SPECS[s.protocol], s.options, ("system", n, "options"), source, found) for n, s in estate.system.items()}
    paths = {p for _, _, p, _ in contract_files(estate)} | {p for o in estate.operation.values() for p in (o.answer, *o.requests)}
    digests = {p: _digest(folder, p, paths - {p}) for p in paths if p}  # before reading: what changes meanwhile is new to the next reload
    contracts: dict[str, Contract] = {}
    for key, name, path, place in contract_files(estate):
        try:
            outbound = key in estate.operation and estate.operation[key].mode == "outbound"
            contracts[key] = load_contract(name, estate.system[name], folder / path, options[name], outbound=outbound)
        except Findings as exc:
            found.extend(at_home(f, name, options[name], source) for f in exc.findings)
        except (OSError, ValueError) as exc:
            found.append(source.finding(place, f"{path}: cannot be read: {(isinstance(exc, OSError) and exc.strerror) or exc}"))
    mappings: dict[str, CompiledMapping] = {}
    kept: dict[tuple[str, int], CompiledMapping] = {}
    own = OwnFunctions(folder)
    for name, operation in estate.operation.items():
        contract = contracts.get(name) or contracts.get(name.partition(".")[0])
        if contract is None:  # what is wrong with it is said above; every field of its mappings would be unknown
            continue
        for call, place, _ in _calls(name, operation):
            found.extend(_known((*place, "calls"), call, contract, source))
        for path, place in _paths(name, operation):
            if path not in mappings:
                try:
                    mappings[path] = load(
                        (folder / path).read_text(encoding="utf-8"), path, shapes(estate, contracts), types(), own.of(path)
                    )
                except Findings as exc:
                    found.extend(exc.findings)
                except (OSError, UnicodeDecodeError) as exc:
                    found.append(source.finding(place, f"{path}: cannot be read: {exc}"))
        found.extend(_fits(name, operation, mappings, source))
        for number in range(len(operation.steps)):
            reads, more = keeping(name, operation, number, shapes(estate, contracts), mappings, source)
            found.extend(more)
            if reads is not None:
                kept[name, number] = reads
        if operation.mode == "outbound" and isinstance(contract, FileContract):
            found.extend(_written(name, operation, contract, source))
        if operation.mode == "file":
            feed = estates.decode(files_spec.FeedOptions, {"inbox": "-", **operation.feed}, ("operation", name, "feed"), source, found)
            if isinstance(contract, FileContract) and feed is not None and (group := feed.sequence.group):
                groups = contract.layout.pattern.groupindex
                if group not in groups:
                    says = f"the layout's name pattern has no group {group!r}, it has {', '.join(groups) or 'none'}"
                    found.append(source.finding(("operation", name, "feed", "sequence", "group"), says))
    found.extend(own.findings)
    found.extend(_reached(estate, options, source))
    found.extend(_recorded(estate, contracts, source))
    for name, given in options.items():
        if isinstance(rest_contract := contracts.get(name), RestContract) and given is not None:
            if isinstance(given.auth, SessionLogin):
                found.extend(_known(("system", name, "options", "auth"), given.auth.operation, rest_contract, source))
            for operation_name in given.operations:
                found.extend(_known(("system", name, "options", "operations", operation_name), operation_name, rest_contract, source))
    if only:
        found = [] if any(goes_by(only, p) for p in mappings) else [f for f in found if goes_by(only, f.file)] or found
    if found:
        raise Findings(findings=tuple(sorted(set(found), key=lambda f: (f.file, f.line, f.column, f.message))))
    return Checked(folder, estate, contracts, mappings, options, digests, kept)


def _written(name: str, operation: estates.Operation, contract: FileContract, source: estates.Source) -> list[Finding]:
    """Whether files of this layout can be written, under names that it would read."""
    at, found = ("operation", name, "outbound"), list[Finding]()
    given = estates.decode(files_spec.OutletOptions, operation.outbound, at, source, found)
    if why := unwritable(contract.layout):
        found.append(source.finding(("operation", name), f"{contract.layout.source}: {why}"))
    if given is not None:
        made = given.named((given.stores or ("1",))[0], 1, datetime(2026, 1, 15, tzinfo=UTC))
        if contract.layout.pattern.fullmatch(made) is None:
            says = f"{made} is no name of the layout, whose pattern is {contract.layout.pattern.pattern}"
            found.append(source.finding((*at, "name"), says))
    return found


def _recorded(estate: Estate, contracts: Mapping[str, Contract], source: estates.Source) -> Iterator[Finding]:
    """Whether there are fields that recordings are to mask or keep: a name with a mistake would mask nothing."""
    for name, system in estate.system.items():
        rules, contract, known = system.recording, contracts.get(name), set[str]()
        if contract is None or not (rules.mask or rules.keep):
            continue
        for full, operation in estate.operation.items():
            if full.partition(".")[0] == name:
                for call in operation.called(full):
                    with suppress(KeyError, Findings):  # told elsewhere
                        exchange = contract.exchange(call)
                        for side in filter(None, (exchange.request, exchange.answer)):
                            known |= _names(side.root, set())
        for key, rule in [*(("mask", r) for r in rules.mask), *(("keep", r) for r in rules.keep)]:
            if (last := rule.rpartition(".")[2]) not in known:
                message = f"{rule}: no operation that is used has a field {last!r}"
                yield source.finding(("system", name, "recording", key), message, nearest(last, known))


def _names(record: Record, seen: set[int]) -> set[str]:
    if id(record) in seen:
        return set()
    seen.add(id(record))
    found = {f.name for f in record.fields}
    return found.union(*(_names(f.shape, seen) for f in record.fields if isinstance(f.shape, Record)))


def _reached(estate: Estate, options: Mapping[str, Any], source: estates.Source) -> Iterator[Finding]:
    """Where files lie: a folder, or a server that is known."""
    for name, system in estate.system.items():
        if system.protocol != "files" or system.endpoint.startswith("env:"):
            continue
        try:
            away = files_spec.address(system.endpoint)
        except ValueError as error:
            yield source.finding(("system", name, "endpoint"), f"{error}, got {system.endpoint!r}")
            continue
        if away is not None and getattr(options[name], "sftp", None) is None:
            yield source.finding(
                ("system", name, "endpoint"), f"an SFTP server needs a table [system.{name}.options.sftp] that says its key"
            )


def _digest(root: Path, path: str, others: Iterable[str]) -> str:
    """Of the file and its neighbours, as far as they are not `others`: imported schemas, tables and own functions lie there."""
    file, found = root / path, hashlib.sha256()
    near = file.parent.glob(f"*{file.suffix}") if file.parent == root else file.parent.rglob("*")
    for each in sorted({file, *near, *root.glob("mappings/*.py")} - {root / other for other in others if other}):
        if each.is_file() and each.suffix != ".pyc":
            found.update(f"{each}\0{each.stat().st_size}\0".encode() + each.read_bytes())
    return found.hexdigest()


def contract_files(estate: Estate) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """(key of Checked.contracts, system, path, place in the estate)."""
    for name, system in estate.system.items():
        if system.protocol != "files":
            yield name, name, system.contract, ("system", name, "contract")
    for name, operation in estate.operation.items():
        owner = name.partition(".")[0]
        if owner in estate.system and estate.system[owner].protocol == "files":
            yield name, owner, operation.contract or estate.system[owner].contract, ("operation", name)


def load_contract(name: str, system: System, path: Path, options: Any, *, outbound: bool = False) -> Contract:
    if system.protocol == "soap":
        return soap.load(name, path, options or soap_spec.SoapOptions())
    if system.protocol == "rest":
        return RestContract(name, path, {n: o.content for n, o in options.operations.items() if o.content} if options else {})
    return FileContract(name, path, outbound=outbound)


def at_home(finding: Finding, system: str, options: Any, source: estates.Source) -> Finding:
    """A driver does not know where its options stand; the estate does."""
    about, prefix = finding.message, f"options of {system}: "
    if not about.startswith(prefix):
        return finding
    option = about.removeprefix(prefix).partition(":")[0]
    named = re.search(r"operation '([^']+)'", about)
    below: tuple[str, ...] = tuple(option.split("."))
    if named:
        below = ("operations", named[1]) if named[1] in options.operations else ("session", "operation")
    return source.finding(("system", system, "options", *below), about, finding.suggestion)


def _known(place: tuple[str, ...], operation: str, contract: Contract, source: estates.Source) -> Iterator[Finding]:
    try:
        contract.exchange(operation)
    except KeyError as exc:
        said = str(exc.args[0])
        yield source.finding(place, said if said != operation else f"its contract describes no {operation!r}")
    except Findings as exc:
        yield from exc.findings


def shapes(estate: Estate, contracts: Mapping[str, Contract]) -> Callable[[str], Exchange]:
    """`erp.GetStock` to its shapes. Raises KeyError for what no contract describes."""

    def exchange(reference: str) -> Exchange:
        system, _, operation = reference.partition(".")
        if (contract := contracts.get(reference) or contracts.get(system)) is None:
            raise KeyError(reference)
        return contract.exchange(operation)

    return exchange


def _calls(name: str, operation: estates.Operation) -> Iterator[tuple[str, tuple[str, ...], int]]:
    """(name in the contract, place in the estate, number)."""
    for number, call in enumerate(operation.called(name)):
        yield call, ("operation", name, *(("steps", str(number)) if operation.steps else ())), number


def _paths(name: str, operation: estates.Operation) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(mapping, place in the estate)."""
    if operation.answer:
        yield operation.answer, ("operation", name, "answer")
    for path, (_, place, _) in zip(operation.requests, _calls(name, operation), strict=False):
        yield path, (*place, "request")


def _fits(name: str, operation: estates.Operation, mappings: Mapping[str, CompiledMapping], source: estates.Source) -> Iterator[Finding]:
    """Whether an operation's mappings are about its capability and its call."""
    capability = CAPABILITIES.get(operation.provides)
    if capability is None:
        return
    system = name.partition(".")[0]
    for call, place, number in _calls(name, operation):
        each = operation.steps[number].each if operation.steps else ""
        asked = estates.element(capability, each) or capability.request if each else capability.request
        told = (operation.answer, capability.answer, ("operation", name, "answer")) if call == operation.called(name)[-1] else None
        request = operation.requests[number] if operation.requests else ""
        for path, noun, at in filter(None, (told, (request, asked, (*place, "request")))):
            if (mapping := mappings.get(path)) is None:
                continue
            canonical_side, system_side = mapping.file.target, mapping.file.source
            if at[-1] == "request":
                canonical_side, system_side = system_side, canonical_side
            if at[-1] == "answer" and mapping.file.asked not in ("", asked.__name__):
                said = f"operation {name}: {path} says asked = {mapping.file.asked!r}"
                yield source.finding(at, said, f"{operation.provides} is asked with {asked.__name__}")
            through, most = f"asked.{capability.keys}.", operation.policy.batch.size
            if at[-1] == "answer" and most > 1 and any(s.startswith(through) for fed in mapping.lineage.values() for s in fed.sources):
                said = f"operation {name}: {path} takes {through}… from the request, which may ask for {most} at once"
                yield source.finding(at, said, "write batch = { size = 1 }, or take it from the answer")
            if canonical_side != noun.__name__ or system_side.partition("/")[0] != f"{system}.{call}":
                yield source.finding(
                    at,
                    f"operation {name}: {path} is between {canonical_side} and {system_side}",
                    f"{operation.provides} needs a mapping between {noun.__name__} and {system}.{call}",
                )
    if capability.name == LEVEL_FEED.name and (level := mappings.get(operation.answer)) is not None:
        for needed in (("as_of",), ("on_hand", "available")):
            if level.file.target == LEVEL_FEED.answer.__name__ and not level.lineage.keys() & {*needed}:
                said = f"operation {name}: {operation.answer} fills no {' or '.join(needed)}"
                yield source.finding(("operation", name, "answer"), said, "a reported level is a figure and the moment that it is of")
    paths = {path for path, _ in _paths(name, operation)}
    known = [m for p in paths if (m := mappings.get(p))]
    if len(known) < len(paths):
        return  # what is wrong with one of them is said above
    secrets, parameters = {n for m in known for n in m.secrets}, {n: v for m in known for n, v in m.file.parameters.items()}
    for missing in sorted(secrets - operation.secrets.keys()):
        yield source.finding(
            ("operation", name),
            f"operation {name}: {', '.join(operation.requests)} names secrets.{missing}, which is not given",
            f'add secrets = {{ {missing} = "env:…" }}',
        )
    for key, given, wanted in (("secrets", operation.secrets, secrets), ("parameters", operation.parameters, parameters)):
        for extra in sorted(given.keys() - wanted):
            yield source.finding(
                ("operation", name, key, extra), f"operation {name}: no mapping of it names {key}.{extra}", did_you_mean(extra, wanted)
            )
    for parameter, value in operation.parameters.items():
        if parameter in parameters and type(value) is not type(parameters[parameter]):
            kind = {bool: "true or false", int: "a number"}.get(type(parameters[parameter]), "text")
            yield source.finding(
                ("operation", name, "parameters", parameter), f"operation {name}: parameters.{parameter} is {value!r}", f"it is {kind}"
            )
