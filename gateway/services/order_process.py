"""The durable process of an order: reserve, create (order management), book (ERP), announce; each step's state is stored around it.

A write whose answer was lost is in doubt: the process asks the system before it tries again (canonical model §7). Compensation is
explicit: undo steps are appended for every confirmed one, in reverse. What can't be decided goes to a person, with the evidence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import msgspec
import structlog

from contracts import ports
from contracts.books import Books, Process, ProcessState, StepRecord, StepState
from contracts.call import Call
from contracts.canonical.base import ExternalId
from contracts.canonical.order import Order, OrderReceipt, StateQuantity
from contracts.canonical.reservation import Reservation, ReservationOwner
from contracts.errors import (
    InsufficientStock,
    NotFound,
    OutcomeUnknown,
    StateConflict,
    StoreUnavailable,
    UpstreamError,
    UpstreamRejected,
)
from contracts.events import Event
from contracts.ports import Capability, SkuAt, Systems
from gateway.services.availability import AvailabilityReader
from gateway.services.clock import Now, new_id
from observability import Recorder, Step, current, step

STEPS = ("reserve", "create", "book", "announce")
UNDO = {"book": "cancel_booking", "create": "cancel_order", "reserve": "release"}
LEASE = 30.0
"""Seconds a process stays with its owner without a sign of life."""
STEP_LIMIT = 20.0
HOLD_DAYS = 30

log = structlog.get_logger("orders")


@dataclass(frozen=True)
class Rules:
    """Seconds. `settle`: how long a system may take until a written order can be found."""

    settle: float = 5.0
    retry: float = 2.0
    retry_max: float = 60.0
    attempts: int = 50


@dataclass
class _Run:
    process: Process
    order: Order
    call: Call


class OrderProcess:
    """Runs processes: at once for the request that brought the order, later for whatever is due. `owner` is unique per running gateway."""

    def __init__(
        self, systems: Systems, books: Books, availability: AvailabilityReader, recorder: Recorder, source: str, rules: Rules, now: Now
    ) -> None:
        self.owner = new_id("own")
        self._systems = systems
        self._books = books
        self._availability = availability
        self._recorder = recorder
        self._source = source
        self._rules = rules
        self._now = now
        self._tasks: set[asyncio.Task[Order]] = set()

    # ---- entries

    async def start(self, process: Process, order: Order, call: Call) -> Order:
        """Runs in a task of its own, so that a caller who goes away doesn't tear a step in two; waits until the caller's deadline."""
        task = asyncio.create_task(self._finish(_Run(process, order, call)), name=f"order {order.id}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        left = call.deadline - asyncio.get_running_loop().time() - 0.2
        await asyncio.wait({task}, timeout=max(0.0, left))
        if task.done() and not task.cancelled() and task.exception() is None:
            return task.result()
        return await self._books.orders.get(order.id) or order

    def _ended(self, task: asyncio.Task[Order]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("order process stopped", error=str(error)[:500])

    async def cancel(self, process: Process, order: Order, reason: str, call: Call) -> Order:
        process = msgspec.structs.replace(
            _with_undo(process, reason),
            state="compensating",
            owner=self.owner,
            lease_until=self._now() + timedelta(seconds=LEASE),
            due_at=self._now(),
        )
        order = msgspec.structs.replace(order, pending_write=True)
        process = await self._books.orders.save(process, order, ())
        return await self.start(process, msgspec.structs.replace(order, version=order.version + 1), call)

    async def run_due(self, limit: int = 20) -> int:
        """For the worker: takes what is due, also from gateways that died. Returns how many were worked on."""
        due = await self._books.orders.due(self.owner, self._now(), LEASE, limit)
        for process in due:
            order = await self._books.orders.get(process.subject)
            if order is None:
                continue
            deadline = asyncio.get_running_loop().time() + STEP_LIMIT
            call = Call(channel=process.channel, client=process.client, deadline=deadline, api_version=process.api_version)
            with self._recorder.flight(
                "process",
                "order",
                channel=process.channel,
                client=process.client,
                api_version=process.api_version,
                parent=process.traceparent,
                trusted=True,
            ):
                try:
                    await self._finish(_Run(_doubt_what_was_sending(process), order, call))
                except (StateConflict, StoreUnavailable) as error:
                    log.warning("order process yields", process=process.id, reason=str(error))
        return len(due)

    async def close(self) -> None:
        """Waits shortly for running steps, then lets go: their leases end and another worker goes on."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- the machine

    async def _finish(self, run: _Run) -> Order:
        """Steps until nothing is left, or something has to wait."""
        while True:
            record = next((s for s in run.process.steps if s.state not in ("confirmed", "skipped", "failed")), None)
            if record is None:
                return await self._close(run, "compensated" if run.process.state == "compensating" else "done")
            if record.state in ("manual", "conflict"):
                return await self._close(run, "manual")
            with step(Step.PROCESS_STEP, operation=record.name):
                goes_on = await self._step(run, record)
            if not goes_on:
                return run.order

    async def _step(self, run: _Run, record: StepRecord) -> bool:
        """One attempt or query-back of one step. True: go on with the next."""
        action = {
            "reserve": self._reserve,
            "create": self._create,
            "book": self._book,
            "announce": self._announce,
            "release": self._release,
            "cancel_order": self._cancel_order,
            "cancel_booking": self._cancel_booking,
        }[record.name]
        try:
            if record.state == "in_doubt":
                return await self._settle(run, record)
            return await action(run, record)
        except InsufficientStock as error:
            text = f"{error.sku}|{error.location}|{error.requested}|{error.available}"
            return await self._refused(run, record, text)
        except UpstreamRejected as error:
            return await self._refused(run, record, error.reason)
        except OutcomeUnknown as error:
            return await self._wait(run, record, "in_doubt", str(error), self._rules.settle)
        except UpstreamError as error:
            if error.sent and record.name in ("create", "book", "cancel_order", "cancel_booking"):
                return await self._wait(run, record, "in_doubt", str(error), self._rules.settle)
            return await self._wait(run, record, "retry_scheduled", str(error), error.retry_after or 0)

    async def _refused(self, run: _Run, record: StepRecord, why: str) -> bool:
        """A clear no. Forward: undo what was done. While undoing: a person decides."""
        if record.name in UNDO.values():
            await self._save(run, record, "manual", error=why, state="manual")
            return False
        failed = _replace_step(run.process, msgspec.structs.replace(record, state="failed", error=why[:300], at=self._now()))
        run.process = msgspec.structs.replace(_with_undo(failed, "rejected"), state="compensating")
        await self._store(run, msgspec.structs.replace(run.order, export_state="failed"))
        return True

    async def _wait(self, run: _Run, record: StepRecord, state: StepState, why: str, at_least: float) -> bool:
        attempts = record.attempts + 1
        if attempts >= self._rules.attempts:
            await self._save(run, record, "manual", error=why, state="manual", attempts=attempts)
            return False
        pause = max(at_least, min(self._rules.retry * 2 ** min(attempts - 1, 10), self._rules.retry_max))
        kept: ProcessState = "compensating" if run.process.state == "compensating" else "waiting"
        await self._save(run, record, state, error=why, state=kept, attempts=attempts, due_in=pause)
        if flight := current():
            flight.degraded(f"order step {record.name} {state}")
        return False

    # ---- steps

    async def _reserve(self, run: _Run, record: StepRecord) -> bool:
        now = self._now()
        wanted: dict[SkuAt, list[tuple[int, Reservation]]] = {}
        for line in run.order.lines:
            reservation = Reservation(
                reservation_key=f"{run.order.id}-{line.line_number}",
                sku=line.sku,
                location_id=line.requested_location_id,
                quantity=line.quantity,
                owner=ReservationOwner(type="order", id=run.order.id),
                expires_at=now + timedelta(days=HOLD_DAYS),
                state="active",
            )
            wanted.setdefault(SkuAt(sku=line.sku, location_id=line.requested_location_id), []).append((line.line_number, reservation))
        call = msgspec.structs.replace(run.call, fresh=True, deadline=asyncio.get_running_loop().time() + STEP_LIMIT)
        try:
            stocks, _ = await self._availability.stock(list(wanted), call)
        except UpstreamError:  # what was last known is better than turning the customer away
            stocks, _ = await self._availability.stock(list(wanted), msgspec.structs.replace(call, fresh=False))
        for pair, reservations in wanted.items():
            stock = stocks.get(pair)
            if stock is None:
                raise InsufficientStock(sku=pair.sku, location=pair.location_id, requested="some", available="none known")
            for _, reservation in reservations:
                await self._books.reservations.hold(reservation, stock.free_before_holds, stock.as_of, now, ())
        await self._save(run, record, "confirmed")
        return True

    async def _release(self, run: _Run, record: StepRecord) -> bool:
        for reservation in await self._books.reservations.of_owner("order", run.order.id):
            if reservation.state in ("active", "committed"):
                try:
                    await self._books.reservations.change(
                        reservation.reservation_key, "released", self._now(), (), reason="order_cancelled"
                    )
                except (NotFound, StateConflict):
                    continue  # expired in the meantime: nothing is held any more
        await self._save(run, record, "confirmed")
        return True

    async def _create(self, run: _Run, record: StepRecord) -> bool:
        return await self._write(run, record, ports.ORDER_CREATE, lambda: run.order)

    async def _book(self, run: _Run, record: StepRecord) -> bool:
        return await self._write(run, record, ports.ORDER_BOOK, lambda: run.order)

    async def _cancel_order(self, run: _Run, record: StepRecord) -> bool:
        return await self._write(run, record, ports.ORDER_CANCEL, lambda: self._cancellation(run, "create"))

    async def _cancel_booking(self, run: _Run, record: StepRecord) -> bool:
        return await self._write(run, record, ports.ORDER_CANCEL_BOOKING, lambda: self._cancellation(run, "book"))

    @staticmethod
    def _cancellation(run: _Run, name: str) -> ports.OrderCancellation:
        external = next(s.external_id for s in run.process.steps if s.name == name)
        reason = next((s.error for s in run.process.steps if s.name == "announce_cancel"), "") or "cancelled"
        return ports.OrderCancellation(external_id=external, reason=reason[:40])

    async def _write(
        self, run: _Run, record: StepRecord, capability: Capability[ports.Q, OrderReceipt], request: Callable[[], ports.Q]
    ) -> bool:
        """Stored as `sending` before the first byte leaves, so that a crash leaves a doubt and never a guess."""
        if not self._systems.provides(capability):
            await self._save(run, record, "skipped")
            return True
        record = await self._save(run, record, "sending", attempts=record.attempts + 1)
        call = msgspec.structs.replace(
            run.call, fresh=True, reference=run.order.order_number, deadline=asyncio.get_running_loop().time() + STEP_LIMIT
        )
        answer = await self._systems.ask(capability, request(), call)
        receipt = answer.items[0] if answer.items else None
        if receipt is None:
            raise OutcomeUnknown(system="", operation=capability.name, reason="the answer names no order")
        await self._confirmed(run, record, receipt.external_id)
        return True

    async def _settle(self, run: _Run, record: StepRecord) -> bool:
        """Query back. Found and equal: done. Found otherwise: a person. Not found, twice, after the settling time: not done, try again."""
        undo = record.name in UNDO.values()
        capability = ports.ORDER_FIND if record.name in ("create", "cancel_order") else ports.ORDER_FIND_BOOKING
        if not self._systems.provides(capability):
            await self._save(run, record, "manual", error="this system cannot be asked back", state="manual")
            return False
        call = msgspec.structs.replace(run.call, fresh=True, deadline=asyncio.get_running_loop().time() + STEP_LIMIT)
        answer = await self._systems.ask(capability, ports.OrderReference(order_number=run.order.order_number), call)
        found = [r for r in answer.items if r.order_number in (None, run.order.order_number)]
        if undo:
            if all(r.state == "cancelled" for r in found):
                await self._confirmed(run, record, record.external_id)
            else:
                await self._save(run, record, "prepared")
            return True
        if len(found) > 1 or (found and found[0].total_price is not None and found[0].total_price != run.order.total_price):
            what = f"{len(found)} orders" if len(found) > 1 else f"a total of {found[0].total_price} instead of {run.order.total_price}"
            await self._save(run, record, "conflict", error=f"asked back and found {what}", state="manual")
            return False
        if found:
            await self._confirmed(run, record, found[0].external_id)
            return True
        if record.not_found + 1 < 2:
            await self._save(
                run, record, "in_doubt", error=record.error, state="waiting", due_in=self._rules.settle, not_found=record.not_found + 1
            )
            return False
        await self._save(run, record, "prepared", not_found=0)
        return True

    async def _confirmed(self, run: _Run, record: StepRecord, external_id: str) -> None:
        order = run.order
        if record.name in ("create", "book"):
            ids = (*(x for x in order.external_ids if x.system != record.name), ExternalId(system=record.name, external_id=external_id))
            order = msgspec.structs.replace(
                order, external_ids=ids, export_state="exported" if record.name == "book" else order.export_state
            )
        record = msgspec.structs.replace(record, state="confirmed", external_id=external_id, error="", at=self._now())
        run.process = _replace_step(run.process, record)
        await self._store(run, order)

    async def _announce(self, run: _Run, record: StepRecord) -> bool:
        now = self._now()
        for reservation in await self._books.reservations.of_owner("order", run.order.id):
            if reservation.state == "active":
                await self._books.reservations.change(reservation.reservation_key, "committed", now, ())
        lines = tuple(
            msgspec.structs.replace(x, state_quantities=(StateQuantity(state="approved", quantity=x.quantity),)) for x in run.order.lines
        )
        order = msgspec.structs.replace(run.order, order_state="confirmed", pending_write=False, lines=lines)
        run.process = _replace_step(run.process, msgspec.structs.replace(record, state="confirmed", at=now))
        await self._store(run, order, (self.event("io.tillgate.order.state_changed.v1", order),))
        return True

    # ---- storing

    async def _close(self, run: _Run, state: ProcessState) -> Order:
        order = run.order
        events: tuple[Event, ...] = ()
        if state == "compensated":
            lines = tuple(
                msgspec.structs.replace(x, state_quantities=(StateQuantity(state="cancelled", quantity=x.quantity),)) for x in order.lines
            )
            order = msgspec.structs.replace(order, order_state="cancelled", shipment_state="cancelled", pending_write=False, lines=lines)
            events = (self.event("io.tillgate.order.state_changed.v1", order),)
        run.process = msgspec.structs.replace(run.process, state=state, owner="", lease_until=None)
        await self._store(run, order, events)
        return run.order

    async def _save(
        self,
        run: _Run,
        record: StepRecord,
        to: StepState,
        *,
        error: str = "",
        state: ProcessState | None = None,
        attempts: int | None = None,
        not_found: int | None = None,
        due_in: float = 0.0,
    ) -> StepRecord:
        now = self._now()
        record = msgspec.structs.replace(
            record,
            state=to,
            error=error[:300],
            attempts=record.attempts if attempts is None else attempts,
            not_found=record.not_found if not_found is None else not_found,
            at=now,
        )
        resting = state is not None and state != "running"
        process = _replace_step(run.process, record)
        run.process = msgspec.structs.replace(
            process,
            state=state or ("compensating" if process.state == "compensating" else "running"),
            due_at=now + timedelta(seconds=due_in),
            owner="" if resting else self.owner,
            lease_until=None if resting else now + timedelta(seconds=LEASE),
        )
        await self._store(run, run.order)
        return record

    async def _store(self, run: _Run, order: Order, events: Sequence[Event] = ()) -> None:
        changed = order is not run.order
        run.process = await self._books.orders.save(run.process, order if changed else None, events)
        run.order = msgspec.structs.replace(order, version=order.version + 1) if changed else order

    def event(self, kind: str, order: Order) -> Event:
        flight = current()
        return Event(
            id=new_id("evt"),
            source=self._source,
            type=kind,
            time=self._now(),
            subject=f"orders/{order.id}",
            data=msgspec.to_builtins(msgspec.structs.replace(order, external_ids=())),
            traceparent=flight.traceparent if flight else None,
        )


def _replace_step(process: Process, record: StepRecord) -> Process:
    return msgspec.structs.replace(process, steps=tuple(record if s.name == record.name else s for s in process.steps))


def _with_undo(process: Process, reason: str) -> Process:
    """Steps not yet taken are skipped; each confirmed one gets its undo, last first."""
    steps = [msgspec.structs.replace(s, state="skipped") if s.state in ("prepared", "retry_scheduled") else s for s in process.steps]
    undo = [
        StepRecord(name=UNDO[s.name], external_id=s.external_id)
        for s in reversed(steps)
        if s.name in UNDO and (s.state == "confirmed" or (s.name == "reserve" and s.state == "failed"))
    ]
    return msgspec.structs.replace(process, steps=(*steps, *undo, StepRecord(name="announce_cancel", state="skipped", error=reason[:100])))


def _doubt_what_was_sending(process: Process) -> Process:
    """Its owner is gone; nobody knows whether the last byte arrived."""
    steps = tuple(msgspec.structs.replace(s, state="in_doubt") if s.state == "sending" else s for s in process.steps)
    return msgspec.structs.replace(process, steps=steps)
