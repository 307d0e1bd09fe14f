"""One operation of one system, ready to be performed: request mapping, guarded call, answer mapping, provenance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any

import msgspec

from adapters.cache import Rows
from adapters.drift import Drift
from adapters.driver import Connection, Reply
from adapters.guard import Guard
from adapters.masking import Masking
from adapters.recording import Captures, Recorded, Replayed, Replaying, volatile
from adapters.wire import TAP, WireAnswer, WireRequest
from contracts.call import Call
from contracts.canonical.base import Provenance
from contracts.canonical.location import Location
from contracts.errors import TillgateError
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
    captures: Captures | None = None
    """Who records exchanges now."""
    masking: Masking | None = None
    """Without it an operation is not recorded."""

    async def perform(self, request: msgspec.Struct, call: Call) -> tuple[Rows, Provenance]:
        """One guarded call. An answer that cannot be read fails the attempt: the breaker counts it, and a write is in doubt.

        Raises InvalidBody when the system cannot take what is asked; nothing was sent then.
        """
        document = self._written(request, datetime.now(UTC))

        async def attempt(seconds: float) -> tuple[Rows, Provenance]:
            if self.captures is None or (capture := self.captures.running.get(self.system)) is None or self.masking is None:
                return await self._attempt(document, call, seconds)
            async with capture.listening(f"{self.system}.{self.name}", self.capability.name, self.called, self.masking, request):
                return await self._attempt(document, call, seconds)

        return await self.guard.run(attempt, call)

    async def replay(
        self, request: msgspec.Struct, exchanges: Sequence[Recorded], login: Callable[[WireRequest], WireAnswer], call: Call
    ) -> Replayed:
        """What driver and mappings make of recorded exchanges, without guard and network, at the time of the recording."""
        tap = Replaying(self.called, exchanges, login)
        around = TAP.set(tap)
        try:
            rows, _ = await self._attempt(self._written(request, exchanges[0].at), call, call.deadline, exchanges[0].at)
            return Replayed(tuple(tap.asked), [volatile(row) for row in rows])
        except TillgateError as exc:
            return Replayed(tuple(tap.asked), None, f"{exc.code}: {exc}")
        finally:
            TAP.reset(around)

    @property
    def called(self) -> str:
        """Its name in the system's contract."""
        return self.call or self.name

    def _written(self, request: msgspec.Struct, at: datetime) -> Mapping[str, Any]:
        return self.request.write(request, self._context(at)) if self.request else {}

    async def _attempt(
        self, document: Mapping[str, Any], call: Call, seconds: float, received: datetime | None = None
    ) -> tuple[Rows, Provenance]:
        shortcut = self.answer.shortcut if self.answer else None
        reply = await self.connection.call(self.called, document, call, seconds, shortcut)
        if reply.absent is not None and self.capability.writes:
            raise reply.absent
        return self._read(reply, received or datetime.now(UTC))

    def _context(self, received: datetime, source: Provenance | None = None) -> ReadContext:
        return ReadContext(
            self.system,
            self.name,
            received_at=received,
            provenance=(source,) if source else (),
            zone_of=self.zone_of,
            location_of=self.location_of,
            drift=self.drift.count,
            parameters=self.parameters,
            secrets=self.secrets,
        )

    def _read(self, reply: Reply, received: datetime) -> tuple[Rows, Provenance]:
        mapping = self.answer
        source = Provenance(
            source_system=self.system,
            as_of=reply.as_of or received,
            received_at=received,
            via="live",
            mapping_version=mapping.version if mapping else None,
        )
        if mapping is None:
            return (), source
        context, drifted = self._context(received, source), self.drift.total
        with step(Step.MAP, system=self.system, operation=self.name, mapping=mapping.name, mapping_version=mapping.version) as hop:
            rows = tuple(row for document in reply.documents for row in mapping.read(document, context))
            hop.set(rows=len(rows), drift=self.drift.total - drifted)
        return rows, source
