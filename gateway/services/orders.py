"""Taking, reading and cancelling orders. What is accepted is recorded first; the durable process then brings it to the systems."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import timedelta

import msgspec

from contracts import ports
from contracts.books import Books, Process, StepRecord, require_version
from contracts.call import Call
from contracts.canonical.amounts import Money
from contracts.canonical.base import Provenance
from contracts.canonical.order import Order, OrderDraft, OrderLine, StateQuantity
from contracts.errors import IdempotencyKeyReused, InsufficientStock, InvalidBody, NotFound, StateConflict, UpstreamError, UpstreamRejected
from contracts.ports import Systems
from gateway.services.clock import Now, new_id
from gateway.services.order_process import STEPS, OrderProcess
from gateway.services.reservations import check_quantity
from observability import current


class Orders:
    def __init__(self, systems: Systems, books: Books, process: OrderProcess, now: Now) -> None:
        self._systems = systems
        self._books = books
        self._process = process
        self._now = now

    async def accept(self, draft: OrderDraft, key: str, call: Call) -> Order:
        """Recorded before anything is sent; waits for the process as long as the caller's deadline allows.

        An order with `pendingWrite` is accepted, not yet complete. Raises InvalidBody, InsufficientStock, UpstreamRejected; NotFound where
        no system takes orders.
        """
        if not (self._systems.provides(ports.ORDER_CREATE) or self._systems.provides(ports.ORDER_BOOK)):
            raise NotFound(what="capability", key=ports.ORDER_CREATE.name)
        now = self._now()
        order = self._new(draft, call.channel)
        flight = current()
        process = Process(
            id=new_id("prc"),
            kind="order",
            subject=order.id,
            state="running",
            steps=tuple(StepRecord(name=name) for name in STEPS),
            due_at=now,
            owner=self._process.owner,
            lease_until=now + timedelta(seconds=self._process.rules.lease),
            traceparent=flight.traceparent if flight else "",
            channel=call.channel,
            client=call.client,
            api_version=call.api_version,
            created_at=now,
        )
        accepted = self._process.event("io.tillgate.order.accepted.v1", order)
        wanted = order.lines
        order, process, is_new = await self._books.orders.accept(order, process, call.client, key, (accepted,))
        if is_new:
            order = await self._process.start(process, order, call)
        elif not _same(order.lines, wanted):  # a key so old that the edge has forgotten it
            raise IdempotencyKeyReused(key=key)
        else:
            order = await self._follow(order, call)
        return _public(self._verdict(order, await self._books.orders.process_of(order.id)))

    async def _follow(self, order: Order, call: Call) -> Order:
        """While somebody is at work on it, wait for that; don't start another."""
        loop = asyncio.get_running_loop()
        while loop.time() < call.deadline - 0.2:
            process = await self._books.orders.process_of(order.id)
            if process is None or not process.owner:  # it rests
                break
            await asyncio.sleep(0.05)
        return await self._books.orders.get(order.id) or order

    @staticmethod
    def _verdict(order: Order, process: Process | None) -> Order:
        """A refused order is an error for its channel, although it stays on record."""
        if process is None or process.state not in ("compensating", "compensated"):
            return order
        refused = next((s for s in process.steps if s.state == "failed" and s.name in STEPS), None)
        if refused is None:
            return order
        data = {k: v for k, v in refused.refusal.items() if k != "code"}
        kind = next((k for k in (InsufficientStock, InvalidBody) if k.code == refused.refusal.get("code")), None)
        raise kind(**data) if kind else UpstreamRejected(system="", operation=refused.name, reason=refused.error)

    def _new(self, draft: OrderDraft, channel: str) -> Order:
        lines: list[OrderLine] = []
        currency = draft.lines[0].unit_price.currency_code
        total = Money.zero(currency)
        for i, line in enumerate(draft.lines):
            at = f"/lines/{i}"
            if line.unit_price.currency_code != currency:
                raise InvalidBody(where=f"{at}/unitPrice/currencyCode", expected=currency, got=line.unit_price.currency_code)
            if line.unit_price.cent_amount < 0:
                raise InvalidBody(where=f"{at}/unitPrice", expected="0 or more", got=str(line.unit_price))
            check_quantity(line.quantity, f"{at}/quantity/value")
            if line.line_number in {other.line_number for other in lines}:
                raise InvalidBody(where=f"{at}/lineNumber", expected="a number of its own for each line", got=str(line.line_number))
            try:
                price = line.unit_price.times(line.quantity.amount)
                total += price
            except ValueError as exc:
                raise InvalidBody(where=at, expected="an amount of moderate size", got=str(exc)[:100]) from exc
            lines.append(
                OrderLine(
                    line_number=line.line_number,
                    sku=line.sku,
                    quantity=line.quantity,
                    unit_price=line.unit_price,
                    total_price=price,
                    requested_location_id=line.requested_location_id,
                    fulfilment_method=line.fulfilment_method,
                    state_quantities=(StateQuantity(state="created", quantity=line.quantity),),
                )
            )
        self._check_payments(draft, total)
        number = new_id("").upper()
        return Order(
            id=new_id("ord"),
            order_number=f"{channel[:1].upper()}-{number[7:11]}-{number[-10:]}",
            channel=channel,
            placed_at=self._now(),
            lines=tuple(lines),
            total_price=total,
            order_state="open",
            shipment_state="pending",
            payment_state="pending" if draft.payments else "balance_due",
            export_state="not_exported",
            pending_write=True,
            version=1,
            customer=draft.customer,
            purchase_order_number=draft.purchase_order_number,
            shipping_address=draft.shipping_address,
            payments=draft.payments,
        )

    @staticmethod
    def _check_payments(draft: OrderDraft, total: Money) -> None:
        if not draft.payments:
            return
        for i, payment in enumerate(draft.payments):
            if payment.amount_planned.currency_code != total.currency_code or payment.amount_planned.cent_amount < 0:
                raise InvalidBody(
                    where=f"/payments/{i}/amountPlanned",
                    expected=f"0 or more in {total.currency_code}",
                    got=str(payment.amount_planned),
                )
        planned = sum(p.amount_planned.cent_amount * (1 if p.direction == "in" else -1) for p in draft.payments)
        if planned != total.cent_amount:
            raise InvalidBody(where="/payments", expected=f"payments of {total} in all", got=f"{planned} in the smallest unit")

    async def read(self, order_id: str, call: Call) -> tuple[Order, tuple[Provenance, ...]]:
        """The order on record, with its progress in the owning system when that can be had. Another channel's order is not found."""
        order = await self._stored(order_id, call)
        external = next((x.external_id for x in order.external_ids if x.system == "create"), None)
        if external is None or order.order_state in ("cancelled", "complete") or not self._systems.provides(ports.ORDER_PROGRESS):
            return _public(order), ()
        try:
            answer = await self._systems.ask(ports.ORDER_PROGRESS, ports.ExternalOrder(external_id=external), call)
        except UpstreamError:
            return _public(order), ()
        if not answer.items:
            return _public(order), answer.sources
        progress = answer.items[0]
        order = msgspec.structs.replace(
            order,
            order_state=progress.order_state if progress.order_state != "open" else order.order_state,
            shipment_state=progress.shipment_state,
            fulfilments=progress.fulfilments or order.fulfilments,
            provenance=answer.sources,
        )
        return _public(order), answer.sources

    async def list(self, call: Call, before: str | None, limit: int) -> Sequence[Order]:
        return [_public(o) for o in await self._books.orders.list(call.channel, before, limit)]

    async def cancel(
        self, order_id: str, reason: str, call: Call, *, expected: Collection[int] | None = None, repeated: bool = False
    ) -> Order:
        """Undoes every confirmed step. From one of the versions `expected`, if given; one that is known to be `repeated` may find its own
        cancellation instead (RFC 9110 §13.1.1). Raises NotFound, PreconditionFailed, StateConflict while a step is open or when goods have
        left.
        """
        order = await self._stored(order_id, call)
        process = await self._books.orders.process_of(order_id)
        begun = order.order_state == "cancelled" or (process is not None and process.state == "compensating")
        if not (repeated and begun):
            require_version(expected, order.version)
        if order.order_state == "cancelled":
            return _public(order)
        if process is not None and process.state == "compensating":  # it is being cancelled: a repeat waits for the same end
            order = await self._follow(order, call)
        elif process is None or process.state != "done":
            raise StateConflict(what="order", key=order_id, state="being processed", why="a step towards a system is still open")
        else:
            try:
                order = await self._process.cancel(process, order, reason, call)
            except StateConflict:  # somebody was faster
                require_version(expected, (await self._stored(order_id, call)).version)
                raise
        process = await self._books.orders.process_of(order_id)
        if order.order_state != "cancelled" and process is not None and process.state == "done":
            raise StateConflict(what="order", key=order_id, state=order.order_state, why="the system that owns it no longer lets go of it")
        return _public(order)

    async def _stored(self, order_id: str, call: Call) -> Order:
        order = await self._books.orders.get(order_id)
        if order is None or order.channel != call.channel:
            raise NotFound(what="order", key=order_id)
        return order


def _same(stored: Sequence[OrderLine], wanted: Sequence[OrderLine]) -> bool:
    def asked(line: OrderLine) -> tuple[object, ...]:
        return line.line_number, line.sku, line.quantity, line.unit_price, line.requested_location_id

    return [asked(x) for x in stored] == [asked(x) for x in wanted]


def _public(order: Order) -> Order:
    """External ids are named by the process's steps; systems are not a channel's business."""
    return msgspec.structs.replace(order, external_ids=())
