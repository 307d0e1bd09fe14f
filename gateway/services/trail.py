"""How a change is written down: the entry in the audit log, and its line in the log."""

from __future__ import annotations

from collections.abc import Mapping

from contracts.books import AuditEntry
from gateway.services.clock import Now, new_id
from observability import current, get_logger

log = get_logger(__name__)


def entry_of(now: Now, actor: str, what: str, subject: str, detail: Mapping[str, str]) -> AuditEntry:
    flight = current()
    return AuditEntry(
        id=new_id("aud"),
        at=now(),
        actor=actor,
        what=what,
        subject=subject,
        detail=dict(detail),
        trace_id=flight.trace_id if flight else "",
    )


def tell(entry: AuditEntry) -> None:
    """Once the books have it."""
    log.info("changed", actor=entry.actor, what=entry.what, subject=entry.subject, detail=entry.detail)
