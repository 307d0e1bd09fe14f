"""The switchboard: answers capabilities with the operations that provide them, combined, cached, or stale when nothing better is left."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

import msgspec

from adapters.cache import Entry, Rows
from adapters.operation import Operation
from adapters.reads import Findings, Reads
from contracts.call import Call
from contracts.canonical.base import Provenance
from contracts.errors import NotFound, OutcomeUnknown, UpstreamError, UpstreamRejected
from contracts.policy import Freshness
from contracts.ports import Answer, Capability, Gap
from observability import Recorder, Step, current, step

Q = TypeVar("Q", bound=msgspec.Struct)
A = TypeVar("A", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Route:
    """How one capability is answered. `first`: the next operation stands in when one fails. `all`: rows of the same natural key are
    merged, what one leaves out is filled from the next. `partial`: the answer may lack what failed, and says so by gaps.
    """

    capability: Capability[Any, Any]
    operations: tuple[Operation, ...]
    combine: Literal["first", "all"] = "first"
    partial: bool = False


@dataclass(frozen=True, slots=True)
class _Part:
    operation: Operation
    reads: Reads


@dataclass(slots=True)
class _Taken:
    """What is taken for one key: the rows, and from where."""

    rows: Rows
    """As the entry holds them: shared rows are the same objects."""
    shown: Rows
    source: Provenance


class Switchboard:
    """Implements contracts.ports.Systems.

    Rows carry the provenance of their own reading; from cache they, too, say `via="cache"`. `Answer.sources` has one line per system and
    kind of reading, with the oldest times in it.
    """

    def __init__(
        self, routes: Iterable[Route], *, cache_rows: int = 50_000, before: Switchboard | None = None, recorder: Recorder | None = None
    ) -> None:
        """`recorder` keeps the flights of what no caller waits for. Operations that are the same objects as those of `before` go on with
        its caches and its calls under way.
        """
        self._routes: dict[str, tuple[Route, tuple[_Part, ...]]] = {}
        known = {id(part.operation): part for part in before.parts} if before else {}
        for route in routes:
            parts = tuple(known.get(id(op)) or _Part(op, _reads(op, route.capability, cache_rows, recorder)) for op in route.operations)
            self._routes[route.capability.name] = route, parts

    @property
    def parts(self) -> Iterator[_Part]:
        return (part for _, parts in self._routes.values() for part in parts)

    @property
    def operations(self) -> tuple[Operation, ...]:
        """Each with its `guard.state()` and its `drift`."""
        return tuple(part.operation for part in self.parts)

    async def close(self, others: Iterable[Switchboard] = ()) -> None:
        """Ends the calls under way that no other switchboard goes on with."""
        alive = {id(part) for other in others for part in other.parts}
        await asyncio.gather(*(part.reads.close() for part in self.parts if id(part) not in alive))

    def provides(self, capability: Capability[Q, A]) -> bool:
        return capability.name in self._routes

    def freshness(self, capabilities: Iterable[str]) -> Freshness:
        """What the shortest-lived of the operations behind these capabilities allows."""
        found = [part.operation.policy.freshness for name in capabilities if name in self._routes for part in self._routes[name][1]]
        names = Freshness.__struct_fields__
        return Freshness(**{name: min(getattr(each, name) for each in found) for name in names}) if found else Freshness()

    async def ask(self, capability: Capability[Q, A], request: Q, call: Call) -> Answer[A]:
        """See contracts.ports.Systems. Raises NotFound for a capability that nothing provides."""
        if capability.name not in self._routes:
            raise NotFound(what="capability", key=capability.name)
        route, parts = self._routes[capability.name]
        if capability.writes:
            return cast("Answer[A]", await _write(route.operations[0], request, call))
        keys: Sequence[Hashable] = tuple(dict.fromkeys(getattr(request, capability.keys))) if capability.keys else (request,)
        if not keys:
            return Answer(items=())
        answer = await (_all if route.combine == "all" and len(parts) > 1 else _first)(route, parts, keys, call)
        return cast("Answer[A]", answer)


def _reads(operation: Operation, capability: Capability[Any, Any], cache_rows: int, recorder: Recorder | None) -> Reads:
    keyed = capability.keys

    async def ask(keys: tuple[Hashable, ...], call: Call) -> tuple[Rows, Provenance]:
        request: Any = capability.request(**{keyed: keys}) if keyed else keys[0]
        return await operation.perform(request, call)

    return Reads(
        operation.system,
        operation.name,
        operation.policy,
        ask,
        key_of=capability.key_of if keyed else None,
        cache_rows=cache_rows,
        spend=operation.guard.budget.spend,
        recorder=recorder,
    )


async def _write(operation: Operation, request: msgspec.Struct, call: Call) -> Answer[Any]:
    with step(Step.CALL, system=operation.system, operation=operation.name) as hop:
        try:
            with call.waiting:
                rows, source = await operation.perform(request, call)
        except OutcomeUnknown:
            hop.set(in_doubt=True)
            raise
    return Answer(items=rows, sources=(source,))


async def _first(route: Route, parts: Sequence[_Part], keys: Sequence[Hashable], call: Call) -> Answer[Any]:
    taken: dict[Hashable, _Taken] = {}
    failed: dict[Hashable, Exception] = {}
    systems: dict[Hashable, str] = {}
    open_keys = keys
    for part in parts:
        found = await part.reads.read(open_keys, call)
        taken |= _taken(found)
        for key, error in found.errors.items():
            failed.setdefault(key, error)
            systems.setdefault(key, part.operation.system)
        open_keys = [key for key, error in found.errors.items() if _may_stand_in(error)]
        if not open_keys:
            break
    for key in open_keys:  # nobody could say it live
        for part in parts:
            if not call.fresh and (entry := part.reads.stale(key)):
                taken[key] = _stale(part, entry)
                break
    gaps = _gaps({key: error for key, error in failed.items() if key not in taken}, systems, route.partial and bool(taken))
    return _answer([[taken[key] for key in keys if key in taken]], None, gaps)


async def _all(route: Route, parts: Sequence[_Part], keys: Sequence[Hashable], call: Call) -> Answer[Any]:
    answers = await asyncio.gather(*(part.reads.read(keys, call) for part in parts))
    layers: list[list[_Taken]] = []
    gaps: list[Gap] = []
    partial = route.partial and any(found.entries for found in answers)
    for part, found in zip(parts, answers, strict=True):
        taken, failed = _taken(found), dict(found.errors)
        for key, error in found.errors.items():
            if _may_stand_in(error) and not call.fresh and (entry := part.reads.stale(key)):
                taken[key] = _stale(part, entry)
                del failed[key]
        gaps += _gaps(failed, dict.fromkeys(failed, part.operation.system), partial)
        layers.append([taken[key] for key in keys if key in taken])
    return _answer(layers, route.capability, tuple(gaps))


def _taken(found: Findings) -> dict[Hashable, _Taken]:
    return {
        key: _Taken(entry.rows, *entry.aged(stale=key in found.stale))
        if key in found.cached
        else _Taken(entry.rows, entry.rows, entry.source)
        for key, entry in found.entries.items()
    }


def _stale(part: _Part, entry: Entry) -> _Taken:
    age = asyncio.get_running_loop().time() - entry.received
    with step(Step.CACHE, system=part.operation.system, operation=part.operation.name, cache="stale", stale=True, age_s=age) as hop:
        hop.degraded("stale")
    return _Taken(entry.rows, *entry.aged(stale=True))


def _may_stand_in(error: Exception) -> bool:
    """Whether another answer may replace the error: a refusal is an answer, and our own mistakes are not hidden."""
    return isinstance(error, UpstreamError) and not isinstance(error, UpstreamRejected)


def _gaps(failed: dict[Hashable, Exception], systems: dict[Hashable, str], partial: bool) -> tuple[Gap, ...]:
    """Raises the first error unless the answer may be partial."""
    gaps: dict[tuple[str, str], list[str]] = {}
    for key, error in failed.items():
        if not partial or not isinstance(error, UpstreamError):
            raise error
        gaps.setdefault((systems[key], error.code), []).append(_text(key))
    if gaps and (flight := current()):
        flight.degraded(next(iter(gaps))[1])
    return tuple(Gap(system, code, tuple(keys)) for (system, code), keys in gaps.items())


def _text(key: Hashable) -> str:
    return "/".join(str(v) for v in msgspec.structs.astuple(key)) if isinstance(key, msgspec.Struct) else str(key)


def _answer(layers: Sequence[Sequence[_Taken]], merge_as: Capability[Any, Any] | None, gaps: tuple[Gap, ...]) -> Answer[Any]:
    rows: dict[Hashable, msgspec.Struct] = {}
    natural = merge_as.natural_key if merge_as else None
    for layer in layers:
        for taken in layer:
            for row, shown in zip(taken.rows, taken.shown, strict=True):
                if natural is None:
                    rows.setdefault(id(row), shown)  # a row that answers several keys is said once
                else:
                    name = natural(shown)
                    rows[name] = _filled(rows[name], shown) if name in rows else shown
    return Answer(items=tuple(rows.values()), sources=_sources(t.source for layer in layers for t in layer), gaps=gaps)


def _filled(row: msgspec.Struct, other: msgspec.Struct) -> msgspec.Struct:
    """`row`, with what it leaves out taken from `other`; the provenance names the part that came from there."""
    fills = {
        name: value
        for name in row.__struct_fields__
        if name != "provenance" and getattr(row, name) in (None, (), {}) and (value := getattr(other, name)) not in (None, (), {})
    }
    if not fills:
        return row
    known: tuple[Provenance, ...] | None = getattr(row, "provenance", None)
    if known is not None:
        part = ",".join(fills)
        fills["provenance"] = known + tuple(msgspec.structs.replace(p, part=part) for p in cast("Any", other).provenance)
    return msgspec.structs.replace(row, **fills)


def _sources(sources: Iterable[Provenance]) -> tuple[Provenance, ...]:
    merged: dict[tuple[object, ...], Provenance] = {}
    for source in {id(each): each for each in sources}.values():  # keys that travelled together share theirs
        kind = (source.source_system, source.via, source.stale, source.mapping_version)
        known = merged.get(kind)
        if known is not source:
            merged[kind] = source if known is None else _oldest(known, source)
    return tuple(merged.values())


def _oldest(one: Provenance, two: Provenance) -> Provenance:
    return msgspec.structs.replace(one, as_of=min(one.as_of, two.as_of), received_at=min(one.received_at, two.received_at))
