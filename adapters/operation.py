"""One operation of one system, ready to be performed: request mapping, guarded call (or several), answer mapping, provenance."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from typing import Any

import msgspec

from adapters.cache import Rows
from adapters.drift import Drift
from adapters.driver import Connection, Reply
from adapters.freshness import Freshness
from adapters.guard import Guard
from adapters.masking import Masking
from adapters.recording import Captures, Recorded, Replayed, Replaying, volatile
from adapters.wire import TAP, WireAnswer, WireRequest
from contracts.call import Call
from contracts.canonical.base import Provenance
from contracts.canonical.location import Location
from contracts.errors import ContractViolation, OutcomeUnknown, TillgateError, UpstreamError, UpstreamTimeout
from contracts.policy import Policy
from contracts.ports import Capability
from mappings.language import CompiledMapping, ReadContext
from observability import Step, step


def no_zone(location: str) -> tzinfo | None:
    """For mappings that read no local times."""
    return None


def no_location(number: str) -> Location | None:
    """For mappings that look no location up."""
    return None


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One call of an operation that takes several. `keep` reads its answer into one record, whose values are parameters of what follows;
    `each` is a list of the capability's request, for every element of which the call is made.
    """

    call: str
    request: CompiledMapping
    keep: CompiledMapping | None = None
    each: str = ""


Asking = Callable[[Call, float], Awaitable[tuple[Rows, Provenance]]]


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """`name` is the estate's word for it, `call` the operation in the system's contract (mostly the same)."""

    system: str
    name: str
    capability: Capability[Any, Any]
    connection: Connection
    guard: Guard
    request: CompiledMapping | None = None
    answer: CompiledMapping | None = None
    policy: Policy = field(default_factory=Policy)
    call: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Values of the estate for the parameters that its mappings declare."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What its request mapping names as `secrets.NAME`."""
    zone_of: Callable[[str], tzinfo | None] = no_zone
    """Time zone of a location."""
    location_of: Callable[[str], Location | None] = no_location
    drift: Drift = field(default_factory=Drift)
    freshness: Freshness = field(default_factory=Freshness)
    captures: Captures | None = None
    """Who records exchanges now."""
    masking: Mapping[str, Masking] = field(default_factory=dict)
    """By call. Without it an operation is not recorded."""
    parts: tuple[Part, ...] = ()
    """Several calls instead of `call` and `request`; the last one's answer is the operation's."""
    commits: int = 0
    """Of a write in parts: the one that makes it count. What fails before it is sent has changed nothing that matters."""

    async def perform(self, request: msgspec.Struct, call: Call) -> tuple[Rows, Provenance]:
        """One guarded attempt. An answer that cannot be read fails it: the breaker counts it, and a write is in doubt.

        Raises InvalidBody when the system cannot take what is asked; nothing was sent then, or nothing that counts.
        """
        asking = self._asking(request)

        async def attempt(seconds: float) -> tuple[Rows, Provenance]:
            if self.captures is None or (capture := self.captures.running.get(self.system)) is None or not self.masking:
                return await asking(call, seconds)
            async with capture.listening(f"{self.system}.{self.name}", self.capability.name, self.masking, request):
                return await asking(call, seconds)

        return await self.guard.run(attempt, call)

    async def replay(
        self, request: msgspec.Struct, exchanges: Sequence[Recorded], login: Callable[[WireRequest], WireAnswer], call: Call
    ) -> Replayed:
        """What driver and mappings make of recorded exchanges, without guard and network, at the time of the recording."""
        tap = Replaying(self.called, exchanges, login)
        around = TAP.set(tap)
        try:
            rows, _ = await self._asking(request, exchanges[0].at)(call, call.deadline)
            return Replayed(tuple(tap.asked), [volatile(row) for row in rows])
        except TillgateError as exc:
            return Replayed(tuple(tap.asked), None, f"{exc.code}: {exc}")
        finally:
            TAP.reset(around)

    @property
    def called(self) -> tuple[str, ...]:
        """Their names in the system's contract."""
        return tuple(part.call for part in self.parts) or (self.call or self.name,)

    def _asking(self, request: msgspec.Struct, at: datetime | None = None) -> Asking:
        """`at`: when it is taken to happen, if not now. The request of a single call is written before anything is tried."""
        if self.parts:
            return lambda call, seconds: self._in_parts(request, call, seconds, at)
        document = self.request.write(request, self._context(at or datetime.now(UTC))) if self.request else {}

        async def once(call: Call, seconds: float) -> tuple[Rows, Provenance]:
            reply = await self._ask(self.called[0], document, call, seconds, last=True)
            return self._read(reply, request, at or datetime.now(UTC))

        return once

    async def _ask(self, name: str, document: Mapping[str, Any], call: Call, seconds: float, *, last: bool) -> Reply:
        reply = await self.connection.call(name, document, call, seconds, self.answer.shortcut if last and self.answer else None)
        if reply.absent is not None and self.capability.writes:
            raise reply.absent
        return reply

    async def _in_parts(self, request: msgspec.Struct, call: Call, seconds: float, at: datetime | None) -> tuple[Rows, Provenance]:
        """One attempt: all its calls, from the first, within the same seconds. A read ends where a call finds nothing."""
        loop, kept = asyncio.get_running_loop(), dict[str, Any]()
        until = loop.time() + seconds
        begun = False
        for number, part in enumerate(self.parts):
            last = number == len(self.parts) - 1
            for source in getattr(request, part.each) if part.each else (request,):
                with self._counting(before=number < self.commits, after=begun):
                    document = part.request.write(source, self._context(at or datetime.now(UTC), kept=kept))
                    if (left := until - loop.time()) <= 0:
                        raise UpstreamTimeout(system=self.system, operation=part.call, reason="no time left for this call", sent=False)
                    with step(Step.ATTEMPT, system=self.system, operation=part.call):
                        # the driver keeps to its time and knows what it sent; but what does not count yet must not end in the guard's doubt
                        async with asyncio.timeout_at(until if number < self.commits else None):
                            reply = await self._ask(part.call, document, call, left, last=last)
                    now = at or datetime.now(UTC)
                    found = True
                    if part.keep is not None:
                        found = self._keep(part.keep, reply, self._context(now, kept=kept), kept)
                    if last:
                        return self._read(reply, request, now, kept)
                    if not found:
                        return self._read(replace(reply, documents=()), request, now, kept)
                begun = begun or number >= self.commits
        raise AssertionError("an operation in parts has a last one")

    @contextmanager
    def _counting(self, *, before: bool, after: bool) -> Iterator[None]:
        """Of a write: what fails before the call that counts was not sent, whatever the system got; behind it everything is a doubt."""
        try:
            yield
        except TimeoutError as exc:
            raise UpstreamTimeout(system=self.system, operation=self.name, reason="no answer within its time", sent=False) from exc
        except OutcomeUnknown as exc:
            if self.capability.writes and before:
                raise UpstreamError(system=exc.system, operation=exc.operation, reason=exc.reason, sent=False) from exc
            raise
        except TillgateError as exc:
            if self.capability.writes and after:
                raise OutcomeUnknown(system=self.system, operation=self.name, reason=f"it was sent, then {exc}") from exc
            if self.capability.writes and before and isinstance(exc, UpstreamError):
                exc.sent = False
            raise

    def _keep(self, mapping: CompiledMapping, reply: Reply, context: ReadContext, kept: dict[str, Any]) -> bool:
        """Puts what a call's answer says to what is kept. False: a read has found nothing."""
        rows = [row for document in reply.documents[:1] for row in mapping.read(document, context)]
        found = msgspec.structs.asdict(rows[0]) if rows else {}
        lacks = next((name for name, value in found.items() if value is None), "" if rows else "an answer")
        if lacks and self.capability.writes:
            where, expected = mapping.source.name, f"a value of {lacks} that later calls need" if rows else lacks
            raise ContractViolation(system=self.system, operation=self.name, where=where, expected=expected, got="nothing")
        kept.update(found)
        return not lacks

    def _context(
        self,
        received: datetime,
        source: Provenance | None = None,
        kept: Mapping[str, Any] | None = None,
        asked: msgspec.Struct | None = None,
    ) -> ReadContext:
        return ReadContext(
            self.system,
            self.name,
            received_at=received,
            provenance=(source,) if source else (),
            zone_of=self.zone_of,
            location_of=self.location_of,
            drift=self.drift.count,
            parameters={**self.parameters, **kept} if kept else self.parameters,
            secrets=self.secrets,
            asked=asked,
        )

    def _read(
        self, reply: Reply, request: msgspec.Struct, received: datetime, kept: Mapping[str, Any] | None = None
    ) -> tuple[Rows, Provenance]:
        mapping = self.answer
        if reply.as_of is not None:
            self.freshness.seen(reply.as_of, received, _store_of(request))
        source = Provenance(
            source_system=self.system,
            as_of=reply.as_of or received,
            received_at=received,
            via="live",
            mapping_version=mapping.version if mapping else None,
        )
        if mapping is None:
            return (), source
        context, drifted = self._context(received, source, kept, request), self.drift.total
        with step(Step.MAP, system=self.system, operation=self.name, mapping=mapping.name, mapping_version=mapping.version) as hop:
            rows = tuple(row for document in reply.documents for row in mapping.read(document, context))
            hop.set(rows=len(rows), drift=self.drift.total - drifted)
        return rows, source


def _store_of(request: msgspec.Struct) -> str:
    """Of a question about one location."""
    found = {pair.location_id for pair in getattr(request, "pairs", ())}
    return found.pop() if len(found) == 1 else ""
