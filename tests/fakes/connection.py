"""A connection that answers from a table and fails on command. Mirrors adapters.driver.Connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from adapters.driver import Reply
from contracts.call import Call
from contracts.errors import InvalidBody
from mappings.language import CompiledMapping, ReadContext, Shortcut
from observability import current_hop


class FakeConnection:
    """`answer(operation, request)` makes the document. Set `error` to fail, `seconds` to be slow, `gate` to hold every call until the
    event is set.
    """

    def __init__(self, answer: Callable[[str, Mapping[str, Any]], Any]) -> None:
        self.answer = answer
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.seconds = 0.0
        self.requests: list[Mapping[str, Any]] = []
        self.calls: list[Call] = []
        self.traceparents: list[str] = []
        self.in_flight = self.cancelled = 0

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    async def call(self, operation: str, request: Mapping[str, Any], call: Call, seconds: float, shortcut: Shortcut | None = None) -> Reply:
        self.requests.append(request)
        self.calls.append(call)
        hop = current_hop()
        self.traceparents.append(hop.traceparent if hop else "")
        self.in_flight += 1
        try:
            if self.gate:
                await self.gate.wait()
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1
        if self.error:
            raise self.error
        return Reply((self.answer(operation, request),))


class FakeMapping(CompiledMapping):
    """Reads what the fake connection answers, which is rows already; writes the request's fields. `refuses` names a sku it cannot write."""

    def __init__(self, refuses: str = "") -> None:
        self.name, self.version, self.refuses, self.reads = "fake", "v1", refuses, False

    def read(self, document: Any, context: ReadContext) -> list[Any]:
        rows = []
        for row in document:
            if isinstance(row, str):
                context.drift("value", "STAT", row)
            else:
                filled = getattr(row, "provenance", None) == ()
                rows.append(msgspec.structs.replace(row, provenance=context.provenance) if filled else row)
        return rows

    def write(self, source: Any, context: ReadContext) -> dict[str, Any]:
        if self.refuses and self.refuses in repr(source):
            raise InvalidBody(where="/pairs/0/sku", expected="at most 18 characters", got=self.refuses)
        return msgspec.structs.asdict(source)
