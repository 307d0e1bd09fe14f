"""Orders, and the durable processes that carry them through the systems."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from contracts.canonical.order import Order
from contracts.events import Event

StepState = Literal["prepared", "sending", "confirmed", "failed", "in_doubt", "retry_scheduled", "manual", "conflict", "skipped"]
ProcessState = Literal["running", "waiting", "done", "failed", "manual", "compensating", "compensated"]


class StepRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One named step of a process (canonical model §7): its state is stored before and after every attempt."""

    name: str
    state: StepState = "prepared"
    attempts: int = 0
    not_found: int = 0
    """How many query-backs in a row found nothing."""
    external_id: str = ""
    error: str = ""
    refusal: dict[str, str] = {}
    """What a channel may be told about a clear no: `code` of the error tree and that error's data. `error` is for people inside."""
    at: datetime | None = None


class Process(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    kind: str
    subject: str
    """Id of the order."""
    state: ProcessState
    steps: tuple[StepRecord, ...]
    due_at: datetime
    reason: str = ""
    """Why it is being undone, in the words of whoever cancelled."""
    version: int = 1
    owner: str = ""
    lease_until: datetime | None = None
    traceparent: str = ""
    channel: str = ""
    client: str = ""
    api_version: str = ""
    created_at: datetime | None = None


class OrderBook(Protocol):
    async def accept(self, order: Order, process: Process, client: str, key: str, events: Sequence[Event]) -> tuple[Order, Process, bool]:
        """Order, process and events in one commit. A repeat with the same client and key returns what stands (False)."""
        ...

    async def get(self, order_id: str) -> Order | None: ...

    async def by_number(self, number: str) -> Order | None: ...

    async def list(self, channel: str, before: str | None, limit: int) -> Sequence[Order]:
        """Newest first, behind the order id `before`."""
        ...

    async def save(self, process: Process, order: Order | None, events: Sequence[Event]) -> Process:
        """Stores a step's outcome with the order and events it causes, if the process is still at `process.version` (and the order at
        `order.version`); both versions rise by one. Raises StateConflict otherwise."""
        ...

    async def due(self, owner: str, now: datetime, lease: float, limit: int) -> Sequence[Process]:
        """Leases processes that are running, waiting or compensating, due, and unowned (or whose owner's lease has ended). Leasing raises
        the version, which shuts an earlier owner out. A step found `sending` is the caller's to turn into `in_doubt`."""
        ...

    async def process_of(self, order_id: str) -> Process | None: ...

    async def processes(self, states: Sequence[ProcessState], limit: int) -> Sequence[Process]: ...

    async def all_orders(self) -> Sequence[Order]:
        """For reconciliation: every order, oldest first."""
        ...
