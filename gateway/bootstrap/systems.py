"""Systems as an estate declares them: connections with their guards, wired to capabilities. What a new estate leaves as it was lives on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import msgspec

from adapters.driver import Connection
from adapters.files import spec as files_spec
from adapters.files.driver import FileContract, FileFeed
from adapters.files.inbox.storage import Storage
from adapters.files.outlet import FileOutlet
from adapters.guard import Bulkhead, Guard, RetryBudget
from adapters.guard.breaker import State
from adapters.operation import Operation as WiredOperation
from adapters.operation import Part
from adapters.recording import Captures
from adapters.rest import driver as rest
from adapters.rest.contract import RestContract
from adapters.soap import driver as soap
from adapters.soap.contract import SoapContract
from adapters.switchboard import Route, Switchboard
from contracts.ports import CAPABILITIES
from gateway import estate as estates
from gateway.bootstrap.checking import Checked
from gateway.bootstrap.masks import masking, parts, texts
from gateway.estate import System
from gateway.services.catalogue import Zones
from gateway.services.evidence import GuardLog
from mappings.language import CompiledMapping
from observability import Recorder


@dataclass(frozen=True)
class _Kept:
    """A part, and everything that it was made of: equal makings, same part."""

    part: Any
    made_of: tuple[Any, ...] = field(repr=False)


@dataclass(frozen=True)
class Wiring:
    """The systems of one estate, started."""

    switchboard: Switchboard
    held: Mapping[str, _Kept]
    """By system: its connection, and what its guards share."""
    guards: Mapping[str, _Kept]
    operations: Mapping[str, _Kept]

    def notices(self) -> list[str]:
        """What an operator should know of the connections, in sentences."""
        connections = (kept.part[0] for kept in self.held.values())
        return [notice for c in connections if isinstance(c, soap.SoapConnection) for notice in c.notices()]

    async def close(self, others: Iterable[Wiring] = ()) -> None:
        """All that no other wiring uses."""
        used = tuple(others)
        await self.switchboard.close(w.switchboard for w in used)
        alive = {id(kept.part[0]) for w in used for kept in w.held.values()}
        for kept in self.held.values():
            if id(kept.part[0]) not in alive:
                await kept.part[0].close()


async def wire(
    checked: Checked,
    environment: Mapping[str, str],
    connections: Mapping[str, Connection],
    zones: Zones,
    before: Wiring | None = None,
    captures: Captures | None = None,
    recorder: Recorder | None = None,
    moves: GuardLog | None = None,
) -> Wiring:
    """`connections`: other ones for some systems. Of `before` goes on what is made of the same: connections with their logins, breakers,
    retry budgets, what caches hold. Raises LookupError, OSError, ValueError, TillgateError; then nothing that is new stays open.
    """
    estate = checked.estate
    held, guards, operations = dict[str, _Kept](), dict[str, _Kept](), dict[str, _Kept]()
    made_of: tuple[Any, ...]
    async with AsyncExitStack() as new:
        for name, system in estate.system.items():
            if system.protocol == "files":
                continue
            options, endpoint = resolved(checked.options[name], environment), estates.resolve(system.endpoint, environment)
            made_of = (
                system.protocol,
                system.concurrency,
                endpoint,
                options,
                checked.digests.get(system.contract),
                connections.get(name),
                _files(options),
            )
            known = before and before.held.get(name)
            if known and known.made_of == made_of:
                held[name] = known
                continue
            connection = connections.get(name) or _connect(name, system, checked, endpoint, options)
            await connection.start()
            new.push_async_callback(connection.close)
            held[name] = _Kept((connection, RetryBudget(), Bulkhead(system.concurrency, 8 * system.concurrency)), made_of)
        for full, declared in estate.operation.items():
            if declared.mode in ("file", "outbound"):
                continue
            system_name, _, short = full.partition(".")
            capability = CAPABILITIES[declared.provides]
            connection, budget, places = held[system_name].part
            made_of = (connection, declared.policy, declared.provides)
            known = before and before.guards.get(full)
            guards[full] = (
                known
                if known and known.made_of == made_of
                else _Kept(
                    Guard(
                        system_name,
                        short,
                        declared.policy,
                        writes=capability.writes,
                        budget=budget,
                        shared=places,
                        changed=_told(moves) if moves else None,
                    ),
                    made_of,
                )
            )
            secrets = resolved(declared.secrets, environment)
            rules = estate.system[system_name].recording
            made_of = (
                guards[full].part,
                declared,
                secrets,
                rules,
                *(checked.digests.get(path) for path in (*declared.requests, declared.answer)),
            )
            known = before and before.operations.get(full)
            operations[full] = (
                known
                if known and known.made_of == made_of
                else _Kept(
                    WiredOperation(
                        system=system_name,
                        name=short,
                        capability=capability,
                        connection=connection,
                        guard=guards[full].part,
                        request=checked.mappings.get(declared.request),
                        answer=checked.mappings.get(declared.answer),
                        policy=declared.policy,
                        call=declared.called(full)[0],
                        parts=_parts(checked, full, declared),
                        commits=declared.called(full).index(declared.commits) if declared.commits else 0,
                        parameters=declared.parameters,
                        secrets=secrets,
                        zone_of=zones.of,
                        location_of=zones.location,
                        captures=captures,
                        masking=masking(checked, full, declared, held[system_name].made_of[3], secrets),
                    ),
                    made_of,
                )
            )
        switchboard = Switchboard(
            _routes(checked, {n: k.part for n, k in operations.items()}),
            before=before.switchboard if before else None,
            recorder=recorder,
        )
        new.pop_all()
    return Wiring(switchboard, held, guards, operations)


def _told(moves: GuardLog) -> Callable[[Guard, State, State], None]:
    return lambda guard, _, new: moves.moved(guard.system, guard.operation, new, guard.state().opened_by)


def _parts(checked: Checked, full: str, declared: estates.Operation) -> tuple[Part, ...]:
    return tuple(
        Part(s.calls, checked.mappings[s.request], checked.kept.get((full, number)), s.each) for number, s in enumerate(declared.steps)
    )


def _routes(checked: Checked, operations: Mapping[str, WiredOperation]) -> Iterator[Route]:
    for name in dict.fromkeys(o.capability.name for o in operations.values()):
        rule = checked.estate.capability.get(name)
        names = rule.operations if rule else tuple(n for n, o in operations.items() if o.capability.name == name)
        chosen = tuple(operations[n] for n in names)
        yield Route(CAPABILITIES[name], chosen, rule.combine if rule else "first", rule.partial if rule else False)


def feeds(checked: Checked, environment: Mapping[str, str]) -> Iterator[tuple[FileFeed, CompiledMapping]]:
    for full, declared in checked.estate.operation.items():
        contract = checked.contracts.get(full)
        if declared.mode == "file" and isinstance(contract, FileContract):
            system, _, feed = full.partition(".")
            inbox = estates.resolve(checked.estate.system[system].endpoint, environment)
            away = files_spec.address(inbox)
            options = files_spec.options(away.folder if away else inbox, declared.feed)
            storage = _server(full, away, resolved(checked.options[system], environment), options.parallel) if away else None
            yield FileFeed(system, feed, contract, options, declared.parameters, storage), checked.mappings[declared.answer]


def outlets(checked: Checked, environment: Mapping[str, str]) -> Iterator[tuple[FileOutlet, str, CompiledMapping]]:
    """With what each provides. Raises as `feeds` does."""
    for full, declared in checked.estate.operation.items():
        contract = checked.contracts.get(full)
        if declared.mode == "outbound" and isinstance(contract, FileContract):
            system, _, name = full.partition(".")
            endpoint = estates.resolve(checked.estate.system[system].endpoint, environment)
            away = files_spec.address(endpoint)
            options = files_spec.outlet_options(declared.outbound)
            folder = PurePath(estates.resolve(options.folder, environment) if options.folder else (away.folder if away else endpoint))
            storage = _server(full, away, resolved(checked.options[system], environment), 1) if away else None
            outlet = FileOutlet(system, name, contract, options, folder, declared.parameters, storage)
            yield outlet, declared.provides, checked.mappings[declared.request]


def _server(feed: str, away: files_spec.Address, options: Any, copies: int) -> Storage:
    """Raises ValueError for a server that is not declared, LookupError without the library that speaks to it."""
    known = getattr(options, "sftp", None)
    if known is None:
        raise ValueError(f"{feed}: an SFTP server needs a table [system.{feed.partition('.')[0]}.options.sftp] that says its key")
    try:
        from adapters.files.inbox.sftp import Sftp
    except ImportError as error:
        raise LookupError("SFTP needs the extra `sftp`: pip install 'tillgate[sftp]'") from error
    return Sftp(feed, away, known, copies=copies)


def _connect(name: str, system: System, checked: Checked, endpoint: str, options: Any) -> Connection:
    """Raises LookupError for a protocol that is not called, ValueError for an endpoint that is none, OSError for files of TLS."""
    contract = checked.contracts[name]
    if isinstance(contract, SoapContract):
        return soap.SoapConnection(name, contract, endpoint, options, connections=system.concurrency)
    if isinstance(contract, RestContract):
        return rest.RestConnection(name, endpoint, contract, options, connections=system.concurrency)
    raise LookupError(f"system {name}: {system.protocol} systems are not called")


def _files(options: Any) -> list[bytes]:
    """Certificates and keys are renewed in files of the same name."""
    named = (getattr(part, use, None) for part in parts(options) for use in ("ca", "certificate", "key"))
    return [path.read_bytes() for name in named if isinstance(name, str) and (path := Path(name)).is_file()]


def missing(checked: Checked, environment: Mapping[str, str]) -> list[str]:
    """Every env:NAME of the estate that is not set and has no default, so that all can be named at once."""
    estate = checked.estate
    settings = [
        estate.store.url,
        estate.events.rabbitmq,
        estate.shared.url,
        estate.telemetry.otlp,
        estate.edge.host,
        *(s.endpoint for s in estate.system.values()),
        *(str(o.outbound.get("folder", "")) for o in estate.operation.values()),
        *(reference for o in estate.operation.values() for reference in o.secrets.values()),
    ]
    references = {t for t in [*settings, *texts(list(checked.options.values()))] if t and t.startswith("env:") and "|" not in t}
    return sorted(r[4:] for r in references if r[4:] not in environment)


def resolved(value: Any, environment: Mapping[str, str]) -> Any:
    """Options with every env: and file: reference replaced by its value."""
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **{f: resolved(getattr(value, f), environment) for f in value.__struct_fields__})
    if isinstance(value, dict):
        return {k: resolved(v, environment) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(resolved(v, environment) for v in value)
    return estates.resolve(value, environment) if isinstance(value, str) and value.startswith(("env:", "file:")) else value
