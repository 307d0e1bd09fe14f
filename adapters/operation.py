"""One operation of one system, ready to be performed: request mapping, guarded call, answer mapping, provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from adapters.cache import Rows, stamp
from adapters.driver import Connection, Reply
from adapters.guard import Guard
from contracts.call import Call
from contracts.canonical.base import Provenance
from contracts.policy import Policy
from contracts.ports import Capability
from observability import Step, step


class CompiledMapping(Protocol):
    """What the switchboard needs of a compiled mapping (mappings.language)."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def read(self, document: Any, context: Any) -> list[msgspec.Struct]: ...

    def write(self, struct: msgspec.Struct, context: Any) -> Mapping[str, Any]: ...


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

    async def perform(self, request: msgspec.Struct, call: Call) -> tuple[Rows, Provenance]:
        """One guarded call. An answer that cannot be read fails the attempt: the breaker counts it, and a write is in doubt."""
        document = self.request.write(request, None) if self.request else {}

        async def attempt(seconds: float) -> tuple[Reply, Rows]:
            reply = await self.connection.call(self.call or self.name, document, call, seconds)
            return reply, self._read(reply)

        reply, rows = await self.guard.run(attempt, call)
        received = datetime.now(UTC)
        source = Provenance(
            source_system=self.system,
            as_of=reply.as_of or received,
            received_at=received,
            via="live",
            mapping_version=self.answer.version if self.answer else None,
        )
        return tuple(stamp(row, source) for row in rows), source

    def _read(self, reply: Reply) -> Rows:
        mapping = self.answer
        if mapping is None:
            return ()
        with step(Step.MAP, system=self.system, operation=self.name, mapping=mapping.name, mapping_version=mapping.version) as hop:
            rows = tuple(row for document in reply.documents for row in mapping.read(document, None))
            hop.set(rows=len(rows))
        return rows
