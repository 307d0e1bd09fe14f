"""One operation of one system, ready to be performed: request mapping, guarded call, answer mapping, provenance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any

import msgspec

from adapters.cache import Rows
from adapters.drift import Drift
from adapters.driver import Connection, Reply
from adapters.guard import Guard
from contracts.call import Call
from contracts.canonical.base import Provenance
from contracts.policy import Policy
from contracts.ports import Capability
from mappings.language import CompiledMapping, ReadContext
from observability import Step, step


def no_zone(location: str) -> tzinfo | None:
    """For mappings that read no local times."""
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
    drift: Drift = field(default_factory=Drift)

    async def perform(self, request: msgspec.Struct, call: Call) -> tuple[Rows, Provenance]:
        """One guarded call. An answer that cannot be read fails the attempt: the breaker counts it, and a write is in doubt.

        Raises InvalidBody when the system cannot take what is asked; nothing was sent then.
        """
        document = self.request.write(request, self._context()) if self.request else {}

        async def attempt(seconds: float) -> tuple[Rows, Provenance]:
            shortcut = self.answer.shortcut if self.answer else None
            reply = await self.connection.call(self.call or self.name, document, call, seconds, shortcut)
            if reply.absent is not None and self.capability.writes:
                raise reply.absent
            return self._read(reply)

        return await self.guard.run(attempt, call)

    def _context(self, source: Provenance | None = None) -> ReadContext:
        return ReadContext(
            self.system,
            self.name,
            received_at=source.received_at if source else datetime.now(UTC),
            provenance=(source,) if source else (),
            zone_of=self.zone_of,
            drift=self.drift.count,
            parameters=self.parameters,
            secrets=self.secrets,
        )

    def _read(self, reply: Reply) -> tuple[Rows, Provenance]:
        mapping, received = self.answer, datetime.now(UTC)
        source = Provenance(
            source_system=self.system,
            as_of=reply.as_of or received,
            received_at=received,
            via="live",
            mapping_version=mapping.version if mapping else None,
        )
        if mapping is None:
            return (), source
        context, drifted = self._context(source), self.drift.total
        with step(Step.MAP, system=self.system, operation=self.name, mapping=mapping.name, mapping_version=mapping.version) as hop:
            rows = tuple(row for document in reply.documents for row in mapping.read(document, context))
            hop.set(rows=len(rows), drift=self.drift.total - drifted)
        return rows, source
