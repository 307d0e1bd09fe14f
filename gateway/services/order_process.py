"""The durable process of an order: reserve, create (order management), book (ERP), announce; each step's state is stored around it.

A write whose answer was lost is in doubt: the process asks the system before it tries again (canonical model §7). Compensation is
explicit: undo steps are appended for every confirmed one. What can't be decided goes to a person, with the evidence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import msgspec

from contracts import ports
from contracts.books import Books, Process, ProcessState, StepRecord, StepState
from contracts.call import Call
from contracts.canonical.base import ExternalId
from contracts.canonical.order import Order, OrderReceipt, StateQuantity
from contracts.canonical.reservation import Reservation, ReservationOwner
from contracts.errors import (
    CallerError,
    InsufficientStock,
    InvalidBody,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    StateConflict,
    StoreUnavailable,
    TillgateError,
    UpstreamError,
    UpstreamRejected,
)
from contracts.events import Event
from contracts.ports import Capability, SkuAt, Systems
from gateway.services.availability import AvailabilityReader
from gateway.services.clock import Now, new_id
from observability import Hop, Recorder, Step, current, current_hop, get_logger, step
from observability.redaction import redact

T = TypeVar("T")

STEPS = ("reserve", "create", "book", "announce")
UNDO = {"create": "cancel_order", "book": "cancel_booking", "reserve": "release"}
"""In the order of undoing: the system that owns the order is asked first, as it alone knows whether goods have left."""
FORWARD_WRITES = ("create", "book")
WRITES = (*FORWARD_WRITES, "cancel_order", "cancel_booking")
FOR_A_PERSON = ("manual", "conflict")
OPEN_ENDS = ("in_doubt", "retry_scheduled", *FOR_A_PERSON)
STEP_LIMIT = 20.0
STOCK_LIMIT = 5.0
"""Seconds for a fresh stock figure; after that what was last known is better than turning the customer away."""
ANSWER_IN = 0.2
"""Seconds before the caller's deadline that are kept for answering."""
HOLD_DAYS = 30

log = get_logger(__name__)


@dataclass(frozen=True)
class Rules:
    """Seconds. `settle`: how long a system may take until a written order can be found. `attempts`: how often a step may leave a doubt
    before a person decides; a system that is away takes no request, so it uses up at most half of them. `lease`: how long a process stays
    with its owner without a sign of life; renewed at every stored state and while a system is thinking. `at_once`: processes that
    requests may run at the same time (those beyond wait a little, then are left to the workers), `resumed_at_once`: that a worker may.
    """

    settle: float = 5.0
    retry: float = 2.0
    retry_max: float = 60.0
    attempts: int = 50
    lease: float = 10.0
    at_once: int = 64
    resumed_at_once: int = 16


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
        self.rules = rules
        self._now = now
        self._places = asyncio.Semaphore(rules.at_once)
        self._tasks: set[asyncio.Task[Order]] = set()
        self._resumed: set[asyncio.Task[Order]] = set()

    # ---- entries

    async def start(self, process: Process, order: Order, call: Call) -> Order:
        """Runs in a task of its own, so that a caller who goes away doesn't tear a step in two; waits until the caller's deadline."""
        loop = asyncio.get_running_loop()
        answer_at = call.deadline - ANSWER_IN
        try:
            async with asyncio.timeout(min((answer_at - loop.time()) / 2, self.rules.lease / 2)):
                await self._places.acquire()
        except TimeoutError:
            with suppress(StateConflict):  # its lease ended while it waited here: a worker has it already
                await self._books.orders.save(self._let_go(process), None, ())
            return await self._books.orders.get(order.id) or order
        task = self._task(_Run(process, order, call), self._tasks)
        task.add_done_callback(lambda _: self._places.release())
        await asyncio.wait({task}, timeout=max(0.0, answer_at - loop.time()))
        if task.done() and not task.cancelled() and task.exception() is None:
            return task.result()
        return await self._books.orders.get(order.id) or order

    async def cancel(self, process: Process, order: Order, reason: str, call: Call) -> Order:
        """Raises StateConflict when somebody else changed the order meanwhile."""
        process = msgspec.structs.replace(
            with_undo(process),
            state="compensating",
            reason=reason,
            owner=self.owner,
            lease_until=self._now() + timedelta(seconds=self.rules.lease),
            due_at=self._now(),
        )
        run = _Run(process, order, call)
        await self._store(run, msgspec.structs.replace(order, pending_write=True))
        return await self.start(run.process, run.order, call)

    async def run(self, stop: asyncio.Event) -> None:
        """For the worker, until `stop`: whatever is due, several at once, so that a slow system holds up only its own orders."""
        while not stop.is_set():
            room = self.rules.resumed_at_once - len(self._resumed)
            taken = await self._take(room) if room else ()
            if room and len(taken) == room:
                continue  # there may be more
            stopped = asyncio.ensure_future(stop.wait())
            try:
                await asyncio.wait({stopped, *(() if room else self._resumed)}, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopped.cancel()

    async def run_due(self) -> int:
        """One round: what is due, to its next rest. Returns how many were worked on."""
        taken = await self._take(self.rules.resumed_at_once)
        await asyncio.gather(*taken, return_exceptions=True)
        return len(taken)

    async def _take(self, limit: int) -> Sequence[asyncio.Task[Order]]:
        """Also from gateways that died."""
        tasks = []
        for process in await self._books.orders.due(self.owner, self._now(), self.rules.lease, limit):
            order = await self._books.orders.get(process.subject)
            if order is not None:
                call = Call(channel=process.channel, client=process.client, deadline=0, api_version=process.api_version)
                tasks.append(self._task(_Run(_in_doubt(process), order, call), self._resumed))
        return tasks

    def _task(self, run: _Run, among: set[asyncio.Task[Order]]) -> asyncio.Task[Order]:
        task = asyncio.create_task(self._finish(run), name=f"order {run.order.id}")
        among.add(task)

        def ended(task: asyncio.Task[Order]) -> None:
            among.discard(task)
            error = None if task.cancelled() else task.exception()
            if isinstance(error, StateConflict):
                log.info("order process is with somebody else", process=run.process.id)
            elif error is not None:
                log.error("order process stopped", process=run.process.id, error=str(error)[:500])

        task.add_done_callback(ended)
        return task

    @property
    def under_way(self) -> frozenset[asyncio.Task[Order]]:
        return frozenset(self._tasks | self._resumed)

    async def close(self) -> None:
        """Waits shortly for running steps, then lets go: another gateway goes on at once, asking back where a write was under way."""
        tasks = self._tasks | self._resumed
        if tasks:
            _, tasks = await asyncio.wait(tasks, timeout=5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- the machine

    async def _finish(self, run: _Run) -> Order:
        """Steps until nothing is left, or something has to wait. What goes on after its request was answered gets a flight of its own."""
        try:
            if current() is not None and await self._steps(run, inherited=True):
                return run.order
            process = run.process
            with self._recorder.flight(
                "process",
                "order",
                channel=process.channel,
                client=process.client,
                api_version=process.api_version,
                parent=process.traceparent,
                trusted=True,
            ):
                await self._steps(run)
        except asyncio.CancelledError:
            with suppress(StateConflict, StoreUnavailable):
                await self._books.orders.save(self._let_go(run.process), None, ())
            raise
        return run.order

    async def _steps(self, run: _Run, *, inherited: bool = False) -> bool:
        """False: the inherited flight is over, and there is more to do."""
        while True:
            record = next((s for s in run.process.steps if s.state not in ("confirmed", "skipped", "failed")), None)
            if record is None:
                await self._close(run, "compensated" if run.process.state == "compensating" else "done")
                return True
            if record.state in FOR_A_PERSON:
                await self._close(run, "manual")
                return True
            if inherited and current() is None:
                return False
            with step(
                Step.PROCESS_STEP,
                operation=record.name,
                process="order",
                process_id=run.process.id,
                process_step=record.name,
                order=run.order.order_number,
            ) as hop:
                goes_on = await self._step(run, record, hop)
                now = next(s.state for s in run.process.steps if s.name == record.name)
                if now in OPEN_ENDS and not hop.error_type:  # asked back without an answer that decides
                    hop.degraded(now)
            if not goes_on or run.process.state in ("done", "manual"):
                return True

    async def _step(self, run: _Run, record: StepRecord, hop: Hop) -> bool:
        """One attempt or query-back of one step. True: go on with the next. Raises StateConflict when the process is somebody else's
        by now, and StoreUnavailable: then its lease ends and another attempt begins from what is stored.
        """
        writes = record.name in WRITES
        try:
            if record.state == "in_doubt":
                return await self._settle(run, record, hop)
            return await getattr(self, f"_{record.name}")(run, record)  # type: ignore[no-any-return]  # one method per step name
        except (StateConflict, StoreUnavailable):
            raise
        except (UpstreamRejected, CallerError) as error:  # a CallerError: our mapping says that the system cannot take this
            hop.failed(error)
            if isinstance(error, UpstreamRejected) and record.attempts and record.name in FORWARD_WRITES:
                # It was sent before: "refused" may mean "I have that already".
                return await self._settle(run, record, hop, refused=error)
            return await self._refused(run, record, error)
        except UpstreamError as error:
            hop.failed(error)
            doubtful = writes and (error.sent or isinstance(error, OutcomeUnknown))
            return await self._wait(run, record, "in_doubt" if doubtful else "retry_scheduled", error)
        except Exception as error:
            log.exception("order step failed", process=run.process.id, step=record.name)
            hop.failed(error)
            return await self._wait(run, record, "in_doubt" if writes else "retry_scheduled", error)

    async def _refused(self, run: _Run, record: StepRecord, error: UpstreamRejected | CallerError) -> bool:
        """A clear no. Forward: undo what was done. To a cancellation of which nothing is done yet: everything stays as it was. To any
        other undoing: a person decides.
        """
        why = _why(error)
        record = msgspec.structs.replace(record, error=why[:300], refusal=_refusal(error), at=self._now())
        if record.name in UNDO.values():
            undone = any(s.state == "confirmed" for s in run.process.steps if s.name in UNDO.values())
            asked_for = not any(s.state == "failed" for s in run.process.steps if s.name in STEPS)
            if undone or not asked_for:
                await self._save(run, record, "manual", error=why, state="manual")
                return False
            steps = tuple(
                msgspec.structs.replace(record, state="failed")
                if s.name == record.name
                else msgspec.structs.replace(s, state="skipped")
                if s.name in UNDO.values()
                else s
                for s in run.process.steps
            )
            run.process = at_rest(msgspec.structs.replace(run.process, steps=steps), "done")
            await self._store(run, msgspec.structs.replace(run.order, pending_write=False))
            return False
        failed = with_step(run.process, msgspec.structs.replace(record, state="failed"))
        run.process = msgspec.structs.replace(with_undo(failed), state="compensating", reason="rejected", **self._leased())
        await self._store(run, msgspec.structs.replace(run.order, export_state="failed"))
        return True

    async def _wait(self, run: _Run, record: StepRecord, state: StepState, error: Exception) -> bool:
        """Tries again later. Only what may have been sent counts towards a person's decision: there is nothing to decide about a system
        that is simply away.
        """
        most = self.rules.attempts
        attempts = record.attempts + 1
        if isinstance(error, UpstreamError) and not error.sent:
            attempts = min(attempts, max(most // 2, record.attempts))
        if attempts >= most:
            await self._save(run, record, "manual", error=_why(error), state="manual", attempts=attempts)
            return False
        backoff = min(self.rules.retry * 2 ** min(max(attempts - 1, 0), 10), self.rules.retry_max)
        at_least = self.rules.settle if state == "in_doubt" else getattr(error, "retry_after", None) or 0.0
        await self._save(run, record, state, error=_why(error), state=self._resting(run), attempts=attempts, due_in=max(at_least, backoff))
        if flight := current():
            flight.degraded(state)
        return False

    # ---- steps

    async def _reserve(self, run: _Run, record: StepRecord) -> bool:
        now = self._now()
        wanted: dict[SkuAt, list[Reservation]] = {}
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
            wanted.setdefault(SkuAt(sku=line.sku, location_id=line.requested_location_id), []).append(reservation)
        pairs = list(wanted)
        try:
            stocks, _ = await self._alive(run, self._availability.stock(pairs, self._call(run, STOCK_LIMIT)))
        except UpstreamRejected:
            raise
        except UpstreamError:
            if hop := current_hop():
                hop.degraded("stale")
            last_known = msgspec.structs.replace(self._call(run, 1.0), fresh=False)
            stocks, _ = await self._alive(run, self._availability.stock(pairs, last_known))
        for pair, reservations in wanted.items():
            stock = stocks.get(pair)
            if stock is None:
                asked = f"{sum(r.quantity.amount for r in reservations):f}"
                raise InsufficientStock(sku=pair.sku, location=pair.location_id, requested=asked, available="none known")
            for reservation in reservations:
                if reservation.quantity.unit != stock.unit:
                    at = next(i for i, x in enumerate(run.order.lines) if f"{run.order.id}-{x.line_number}" == reservation.reservation_key)
                    raise InvalidBody(where=f"/lines/{at}/quantity/unit", expected=stock.unit, got=reservation.quantity.unit)
                await self._books.reservations.hold(reservation, stock.free_before_holds, stock.counted_since, now, ())
        await self._save(run, record, "confirmed")
        return True

    async def _release(self, run: _Run, record: StepRecord) -> bool:
        """What the stock-owning system held is free in its next figure; a hold that still counts here is given back."""
        for reservation in await self._books.reservations.of_owner("order", run.order.id):
            if reservation.state == "active":
                with suppress(NotFound, StateConflict):  # expired in the meantime: nothing is held any more
                    await self._books.reservations.change(
                        reservation.reservation_key, "released", self._now(), (), reason="order_cancelled"
                    )
        await self._save(run, record, "confirmed")
        return True

    async def _create(self, run: _Run, record: StepRecord) -> bool:
        return await self._write(run, record, ports.ORDER_CREATE, lambda: run.order)

    async def _book(self, run: _Run, record: StepRecord) -> bool:
        return await self._write(run, record, ports.ORDER_BOOK, lambda: run.order)

    async def _cancel_order(self, run: _Run, record: StepRecord) -> bool:
        return await self._write(run, record, ports.ORDER_CANCEL, lambda: _cancellation(run, record))

    async def _cancel_booking(self, run: _Run, record: StepRecord) -> bool:
        return await self._write(run, record, ports.ORDER_CANCEL_BOOKING, lambda: _cancellation(run, record))

    async def _write(
        self, run: _Run, record: StepRecord, capability: Capability[ports.Q, OrderReceipt], request: Callable[[], ports.Q]
    ) -> bool:
        """Stored as `sending` before the first byte leaves, so that a crash leaves a doubt and never a guess."""
        undo = record.name in UNDO.values()
        if not self._systems.provides(capability):
            if undo:
                await self._save(run, record, "manual", error=f"nothing provides {capability.name}", state="manual")
            else:
                await self._save(run, record, "skipped")
            return not undo
        record = await self._save(run, record, "sending", attempts=record.attempts + 1)
        call = msgspec.structs.replace(self._call(run, STEP_LIMIT), reference=run.order.order_number)
        answer = await self._alive(run, self._systems.ask(capability, request(), call))
        receipt = answer.items[0] if answer.items else None
        if receipt is None:
            raise OutcomeUnknown(system="", operation=capability.name, reason="the answer names no order")
        await self._confirmed(run, record, record.external_id if undo else receipt.external_id)
        return True

    async def _settle(self, run: _Run, record: StepRecord, hop: Hop, refused: UpstreamRejected | None = None) -> bool:
        """Query back. Found and equal: done. Found otherwise: a person. Not found, twice, after the settling time: not done, try again.
        While nobody can be asked the doubt stays. `refused`: the repeated write was refused, so one query decides.
        """
        undo = record.name in UNDO.values()
        capability = ports.ORDER_FIND if record.name in ("create", "cancel_order") else ports.ORDER_FIND_BOOKING
        if not self._systems.provides(capability):
            if refused:  # a doubt would have gone to a person at once, so nothing was sent before
                return await self._refused(run, record, refused)
            await self._save(run, record, "manual", error=f"this system cannot be asked back: {record.error}", state="manual")
            return False
        try:
            reference = ports.OrderReference(order_number=run.order.order_number)
            answer = await self._alive(run, self._systems.ask(capability, reference, self._call(run, STEP_LIMIT)))
        except StateConflict:
            raise
        except (UpstreamError, CallerError) as error:  # a refusal too: a question that isn't answered decides nothing
            hop.failed(error)
            return await self._wait(run, msgspec.structs.replace(record, state="in_doubt"), "in_doubt", error)
        found = [r for r in answer.items if r.order_number in (None, run.order.order_number)]
        if not found:
            if refused:
                return await self._refused(run, record, refused)
            return await self._not_found(run, record)
        if undo:
            live = [r.external_id for r in found if r.state != "cancelled"]
            if not live:
                await self._confirmed(run, record, record.external_id)
                return True
            if not record.external_id and len(live) > 1:
                await self._save(run, record, "conflict", error=f"asked back and found {len(live)} orders", state="manual")
                return False
            await self._save(run, msgspec.structs.replace(record, external_id=record.external_id or live[0]), "prepared", not_found=0)
            return True
        if different := _different(run.order, found):
            await self._save(run, record, "conflict", error=f"asked back and found {different}", state="manual")
            return False
        await self._confirmed(run, record, found[0].external_id)
        return True

    async def _not_found(self, run: _Run, record: StepRecord) -> bool:
        """Counts only after the settling time, and only the second time."""
        settled = self._now() - (record.at or self._now()) >= timedelta(seconds=self.rules.settle)
        if record.not_found + settled < 2:
            await self._save(
                run,
                record,
                "in_doubt",
                error=record.error,
                state=self._resting(run),
                due_in=self.rules.settle,
                not_found=record.not_found + settled,
            )
            return False
        if record.name in UNDO.values():
            if not record.external_id:  # it was never known to be there
                await self._confirmed(run, record, "")
                return True
            await self._save(run, record, "conflict", error="asked back and found nothing that could be cancelled", state="manual")
            return False
        await self._save(run, record, "prepared", not_found=0)
        return True

    async def _confirmed(self, run: _Run, record: StepRecord, external_id: str) -> None:
        order = with_external_id(run.order, record.name, external_id)
        await self._save(run, msgspec.structs.replace(record, external_id=external_id), "confirmed", order=order)

    async def _announce(self, run: _Run, record: StepRecord) -> bool:
        """The last step: its outcome and the end of the process are one commit."""
        now = self._now()
        for reservation in await self._books.reservations.of_owner("order", run.order.id):
            if reservation.state == "active":
                with suppress(StateConflict):  # it took longer than the hold lasted; the order stands all the same
                    await self._books.reservations.change(reservation.reservation_key, "committed", now, ())
        order = msgspec.structs.replace(run.order, order_state="confirmed", pending_write=False, lines=_lines(run.order, "approved"))
        run.process = at_rest(with_step(run.process, msgspec.structs.replace(record, state="confirmed", at=now)), "done")
        await self._store(run, order, announce=True)
        return True

    # ---- calling

    def _call(self, run: _Run, seconds: float) -> Call:
        return msgspec.structs.replace(run.call, fresh=True, deadline=asyncio.get_running_loop().time() + seconds)

    async def _alive(self, run: _Run, work: Coroutine[Any, Any, T]) -> T:
        """Renews the lease while a system takes its time. Raises StateConflict when it was lost all the same."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=self.rules.lease / 3))[0]:
                with suppress(StoreUnavailable):
                    run.process = await self._books.orders.save(msgspec.structs.replace(run.process, **self._leased()), None, ())
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    # ---- storing

    def _leased(self) -> dict[str, Any]:
        return {"owner": self.owner, "lease_until": self._now() + timedelta(seconds=self.rules.lease)}

    def _let_go(self, process: Process) -> Process:
        """For whoever comes next."""
        process = _in_doubt(process)
        state: ProcessState = "compensating" if process.state == "compensating" else "waiting"
        return msgspec.structs.replace(at_rest(process, state), due_at=self._now())

    @staticmethod
    def _resting(run: _Run) -> ProcessState:
        return "compensating" if run.process.state == "compensating" else "waiting"

    async def _close(self, run: _Run, state: ProcessState) -> None:
        order = run.order
        if state == "compensated":
            lines = _lines(order, "cancelled")
            order = msgspec.structs.replace(order, order_state="cancelled", shipment_state="cancelled", pending_write=False, lines=lines)
        run.process = at_rest(run.process, state)
        await self._store(run, order, announce=state == "compensated")

    async def _save(
        self,
        run: _Run,
        record: StepRecord,
        to: StepState,
        *,
        order: Order | None = None,
        error: str = "",
        state: ProcessState | None = None,
        attempts: int | None = None,
        not_found: int | None = None,
        due_in: float = 0.0,
    ) -> StepRecord:
        """`state`: the process rests with it; None: it goes on."""
        now = self._now()
        record = msgspec.structs.replace(
            record,
            state=to,
            error=error[:300],
            attempts=record.attempts if attempts is None else attempts,
            not_found=record.not_found if not_found is None else not_found,
            at=now,
        )
        process = with_step(run.process, record)
        if state is None:
            going: ProcessState = "compensating" if process.state == "compensating" else "running"
            process = msgspec.structs.replace(process, state=going, **self._leased())
        else:
            process = at_rest(process, state)
        run.process = msgspec.structs.replace(process, due_at=now + timedelta(seconds=due_in))
        if state == "manual":
            log.warning("an order needs a person", process=process.id, order=run.order.order_number, step=record.name, step_state=to)
        await self._store(run, order or run.order)
        return record

    async def _store(self, run: _Run, order: Order, *, announce: bool = False) -> None:
        """Process, order and event in one commit."""
        changed = order is not run.order
        saved = msgspec.structs.replace(order, version=order.version + 1) if changed else order
        events = (self.event("io.tillgate.order.state_changed.v1", saved),) if announce else ()
        run.process = await self._books.orders.save(run.process, order if changed else None, events)
        run.order = saved

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


def with_step(process: Process, record: StepRecord) -> Process:
    return msgspec.structs.replace(process, steps=tuple(record if s.name == record.name else s for s in process.steps))


def at_rest(process: Process, state: ProcessState) -> Process:
    return msgspec.structs.replace(process, state=state, owner="", lease_until=None)


def with_undo(process: Process) -> Process:
    """Steps not yet taken are skipped; each confirmed one gets its undo. Reserving in part counts as reserving. What a person gives up
    has failed; a system may have got it all the same, so its undo begins in doubt.
    """
    given_up = {s.name: s for s in process.steps if s.name in STEPS and s.state in FOR_A_PERSON}
    ends: dict[str, StepState] = {"prepared": "skipped", "retry_scheduled": "skipped", "manual": "failed", "conflict": "failed"}
    steps = {s.name: msgspec.structs.replace(s, state=ends.get(s.state, s.state)) for s in process.steps if s.name in STEPS}
    undo = tuple(
        StepRecord(name=undo, state="in_doubt", error=given_up[done].error)
        if done in given_up and done in FORWARD_WRITES
        else StepRecord(name=undo, external_id=steps[done].external_id)
        for done, undo in UNDO.items()
        if done in steps
        and (steps[done].state == "confirmed" or (steps[done].state == "failed" and (done == "reserve" or done in given_up)))
    )
    return msgspec.structs.replace(process, steps=(*steps.values(), *undo))


def with_external_id(order: Order, name: str, external_id: str) -> Order:
    """What the write of that name makes of the order; an undo changes nothing of it."""
    if name not in FORWARD_WRITES:
        return order
    ids = (*(x for x in order.external_ids if x.system != name), ExternalId(system=name, external_id=external_id))
    return msgspec.structs.replace(order, external_ids=ids, export_state="exported" if name == "book" else order.export_state)


def _in_doubt(process: Process) -> Process:
    """Its owner is gone; nobody knows whether the last byte arrived."""
    steps = tuple(
        msgspec.structs.replace(s, state="in_doubt", error="whoever was sending it is gone") if s.state == "sending" else s
        for s in process.steps
    )
    return msgspec.structs.replace(process, steps=steps)


def _cancellation(run: _Run, record: StepRecord) -> ports.OrderCancellation:
    return ports.OrderCancellation(external_id=record.external_id, reason=run.process.reason[:40] or "cancelled")


def _lines(order: Order, state: str) -> tuple[Any, ...]:
    return tuple(
        msgspec.structs.replace(x, state_quantities=(StateQuantity(state=state, quantity=x.quantity),))  # type: ignore[arg-type]  # two of its words
        for x in order.lines
    )


def _different(order: Order, found: Sequence[OrderReceipt]) -> str:
    """What is not as it should be, empty when it is. Systems that multiply themselves may round each line of a part of a unit otherwise."""
    if len(found) > 1:
        return f"{len(found)} orders"
    total = found[0].total_price
    if found[0].state == "cancelled":
        return "it cancelled"
    if total is None or total == order.total_price:
        return ""
    slack = sum(line.quantity.amount % 1 != 0 for line in order.lines)
    if total.currency_code == order.total_price.currency_code and abs(total.cent_amount - order.total_price.cent_amount) <= slack:
        return ""
    return f"a total of {total} instead of {order.total_price}"


def _why(error: Exception) -> str:
    """For people inside; what a customer wrote is not repeated."""
    if isinstance(error, InvalidRequest):
        return f"{error.where}: expected {error.expected}"
    return redact(error.reason if isinstance(error, UpstreamRejected) else str(error))


def _refusal(error: TillgateError) -> dict[str, str]:
    """What may be told: our own errors with their data, of a system's only that it refuses."""
    return {"code": error.code, **({k: str(v) for k, v in error.data.items()} if isinstance(error, CallerError) else {})}
