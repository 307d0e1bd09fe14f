"""Ports of the store: the books that the gateway keeps itself. Every method is one transaction, all of it or nothing.

Times are aware datetimes handed in by the caller, so that books hold no clock. Whatever is written together stands in one method.
"""

from __future__ import annotations

from typing import Any, Protocol

from contracts.books.audit import AuditBook, AuditEntry
from contracts.books.cells import CellBlob, CellBook
from contracts.books.clients import ApiKey, Client, ClientBook, ConsoleSession, KeyRecord, SessionBook
from contracts.books.dispatches import Dispatch, DispatchBook, DispatchState, Refusal, Verdict
from contracts.books.files import (
    Claim,
    Decision,
    Effect,
    FileBook,
    FileRecord,
    FileSeen,
    FileState,
    Original,
    Phase,
    Posting,
    QuarantineBook,
    Quarantined,
    Report,
    Reviewed,
)
from contracts.books.findings import Arrival, Finding, FindingBook, TillDay
from contracts.books.idempotency import Begun, IdempotencyBook, StoredAnswer
from contracts.books.incidents import IncidentBook, IncidentRecord, Label, Said, StoredTrace
from contracts.books.orders import OrderBook, Process, ProcessState, StepRecord, StepState
from contracts.books.outbox import Outbox, OutboxRow
from contracts.books.reservations import ReservationBook, require_version
from contracts.books.sales import BatchResult, PreparedSale, SaleBatch, SaleBook
from contracts.books.upkeep import LeaseBook, Meta
from contracts.books.usage import UsageBook, Used
from contracts.books.webhooks import Delivery, Failure, Webhook, WebhookBook, WebhookSecret, WebhookState

__all__ = [
    "ApiKey",
    "Arrival",
    "AuditBook",
    "AuditEntry",
    "BatchResult",
    "Begun",
    "Books",
    "CellBlob",
    "CellBook",
    "Claim",
    "Client",
    "ClientBook",
    "ConsoleSession",
    "Decision",
    "Delivery",
    "Dispatch",
    "DispatchBook",
    "DispatchState",
    "Effect",
    "Failure",
    "FileBook",
    "FileRecord",
    "FileSeen",
    "FileState",
    "Finding",
    "FindingBook",
    "IdempotencyBook",
    "IncidentBook",
    "IncidentRecord",
    "KeyRecord",
    "Label",
    "LeaseBook",
    "Meta",
    "OrderBook",
    "Original",
    "Outbox",
    "OutboxRow",
    "Phase",
    "Posting",
    "PreparedSale",
    "Process",
    "ProcessState",
    "QuarantineBook",
    "Quarantined",
    "Refusal",
    "Report",
    "ReservationBook",
    "Reviewed",
    "Said",
    "SaleBatch",
    "SaleBook",
    "SessionBook",
    "StepRecord",
    "StepState",
    "StoredAnswer",
    "StoredTrace",
    "TillDay",
    "UsageBook",
    "Used",
    "Verdict",
    "Webhook",
    "WebhookBook",
    "WebhookSecret",
    "WebhookState",
    "require_version",
]


class Books(Protocol):
    """The whole store."""

    clients: ClientBook
    audit: AuditBook
    sessions: SessionBook
    usage: UsageBook
    idempotency: IdempotencyBook
    reservations: ReservationBook
    sales: SaleBook
    files: FileBook
    findings: FindingBook
    quarantine: QuarantineBook
    dispatches: DispatchBook
    incidents: IncidentBook
    orders: OrderBook
    outbox: Outbox
    webhooks: WebhookBook
    leases: LeaseBook
    cells: CellBook
    """Of processes on several hosts; those of one host count in a file of their own."""
    meta: Meta

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def check(self) -> dict[str, Any]:
        """Answers quickly whether the store can write; raises StoreUnavailable."""
        ...
