"""What a person may decide about an order whose process waits for one; any running worker goes on from there."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from contracts.books import Books, Process, StepRecord
from contracts.canonical.order import Order
from contracts.errors import InvalidRequest, NotFound, StateConflict
from gateway.services.clock import Now
from gateway.services.order_process import FOR_A_PERSON, UNDO, WRITES, at_rest, with_external_id, with_step, with_undo
from observability import get_logger

log = get_logger(__name__)


class OrderDecisions:
    """`number`: order number or id. `who` and `reason` stay with the step. Each decision is one conditional commit that asks no system.

    All raise NotFound, InvalidRequest, and StateConflict when the order waits for nobody, or somebody else decided meanwhile.
    """

    def __init__(self, books: Books, now: Now) -> None:
        self._books = books
        self._now = now

    async def ask(self, number: str, who: str) -> Process:
        """A write is asked back before anything is sent again; anything else is safe to repeat. The patience of a step begins anew."""
        process, order, record = await self._waiting(number)
        record = msgspec.structs.replace(
            record,
            state="in_doubt" if record.name in WRITES else "prepared",
            attempts=min(record.attempts, 1),  # that it was sent before is never forgotten
            not_found=0,
            error=_noted("asked again", who, "", record),
        )
        return await self._decide("asked again", process, record, order, order, who)

    async def confirm(self, number: str, external_id: str, reason: str, who: str) -> Process:
        """A person has seen in the system that the write is done: the order is there, or, of an undo, cancelled."""
        _bounded("EXTERNAL_ID", external_id, 64)
        _bounded("reason", reason, 200)
        process, order, record = await self._waiting(number)
        if record.name not in WRITES:
            why = f"the step {record.name} leaves nothing in a system that could be confirmed; ask again or undo"
            raise StateConflict(what="order", key=number, state=process.state, why=why)
        record = msgspec.structs.replace(
            record, state="confirmed", external_id=external_id, not_found=0, error=_noted("confirmed", who, reason, record)
        )
        return await self._decide("confirmed", process, record, order, with_external_id(order, record.name, external_id), who)

    async def undo(self, number: str, reason: str, who: str) -> Process:
        """What is confirmed is compensated. The step that is given up may be in its system: that is asked, then cancelled there."""
        _bounded("reason", reason, 200)
        process, order, record = await self._waiting(number)
        if _being_undone(process.steps):
            raise StateConflict(what="order", key=number, state=process.state, why="it is being undone already; ask again or confirm")
        record = msgspec.structs.replace(record, error=_noted("given up", who, reason, record))
        changed = order if order.export_state == "exported" else msgspec.structs.replace(order, export_state="failed")
        return await self._decide("given up", msgspec.structs.replace(process, reason=reason), record, order, changed, who)

    async def _waiting(self, number: str) -> tuple[Process, Order, StepRecord]:
        order = await self._books.orders.by_number(number) or await self._books.orders.get(number)
        process = await self._books.orders.process_of(order.id) if order else None
        if order is None or process is None:
            raise NotFound(what="order", key=number)
        record = next((s for s in process.steps if s.state in FOR_A_PERSON), None)
        if process.state != "manual" or record is None:
            why = "a person decides only about an order in the state manual"
            raise StateConflict(what="order", key=number, state=process.state, why=why)
        return process, order, record

    async def _decide(self, what: str, process: Process, record: StepRecord, order: Order, changed: Order, who: str) -> Process:
        now = self._now()
        process = with_step(process, msgspec.structs.replace(record, at=now))
        if record.state in FOR_A_PERSON:
            process = with_undo(process)
        process = at_rest(process, "compensating" if _being_undone(process.steps) else "running")
        saved = await self._books.orders.save(msgspec.structs.replace(process, due_at=now), changed if changed is not order else None, ())
        log.warning("a person decided about an order", decision=what, order=order.order_number, step=record.name, by=who, note=record.error)
        return saved


def _being_undone(steps: Sequence[StepRecord]) -> bool:
    return any(s.name in UNDO.values() for s in steps)


def _noted(what: str, who: str, reason: str, record: StepRecord) -> str:
    """The decision, then as much of the evidence as has room."""
    return f"{what} by {who}{': ' + reason if reason else ''}; before: {record.error.rpartition('; before: ')[2]}"[:300]


def _bounded(where: str, text: str, most: int) -> None:
    if not text.strip() or len(text) > most or not text.isprintable():
        raise InvalidRequest(where=where, expected=f"1 to {most} printable characters", got=repr(text[:most]))
