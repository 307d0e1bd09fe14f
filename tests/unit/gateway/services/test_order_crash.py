"""A gateway that dies at any commit and any call of an order's life, before or after it: the next one ends what it began, once."""

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from contracts import ports
from contracts.books import Books
from contracts.call import Call
from contracts.canonical.order import Order, OrderReceipt
from contracts.ports import Answer, Capability
from gateway.services.availability import AvailabilityReader
from gateway.services.order_process import OrderProcess, Rules
from gateway.services.orders import Orders
from observability import Recorder
from tests.unit.gateway.services.estate import Clock, Estate, asking, books_in
from tests.unit.gateway.services.test_order_process import DRAFT

SYSTEM_OF = {"order.create": "oms", "order.find": "oms", "order.cancel": "oms"}


class Killed(BaseException):
    """The process is gone; nothing of it runs any further."""


@dataclass
class Life:
    """Dies at the `ends`-th outside act, before or after it is done."""

    ends: int
    after: bool
    acts: int = 0
    over: bool = False

    async def act(self, work: Callable[[], Awaitable[Any]]) -> Any:
        self.acts += 1
        if self.over or (self.acts == self.ends and not self.after):
            self.over = True
            raise Killed
        done = await work()
        if self.acts == self.ends:
            self.over = True
            raise Killed
        return done


@dataclass
class Mortal:
    """Whatever is done through it is an act of that life."""

    part: Any
    life: Life

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.part, name)
        if name in ("orders", "reservations"):
            return Mortal(found, self.life)
        if name in ("save", "accept", "hold", "change", "ask"):
            return lambda *a, **k: self.life.act(lambda: found(*a, **k))
        if self.life.over:
            raise Killed
        return found


@dataclass
class Held:
    written: Counter[str] = field(default_factory=Counter)
    cancelled: Counter[str] = field(default_factory=Counter)


class Keeping(Estate):
    """Two systems that keep what they are told, refuse nothing, and would take an order twice."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.held = {"oms": Held(), "erp": Held()}
        self.total: Any = None

    def provides(self, capability: Capability[Any, Any]) -> bool:
        return True

    async def ask(self, capability: Capability[Any, Any], request: Any, call: Call) -> Answer[Any]:
        held = self.held[SYSTEM_OF.get(capability.name, "erp")]
        match request:
            case Order():
                held.written[request.order_number] += 1
                self.total = request.total_price
                return Answer((OrderReceipt(external_id=request.order_number),))
            case ports.OrderCancellation():
                held.cancelled[request.external_id] += 1
                return Answer((OrderReceipt(external_id=request.external_id),))
            case ports.OrderReference(order_number=number):
                state: Any = "cancelled" if held.cancelled[number] else "confirmed"
                found = OrderReceipt(external_id=number, order_number=number, state=state, total_price=self.total)
                return Answer((found,) * held.written[number])
            case _:
                return Answer((self.level("10", on_hand=10),), (self.source(),))


def gateway(estate: Any, books: Any, clock: Clock) -> tuple[OrderProcess, Orders]:
    process = OrderProcess(estate, books, AvailabilityReader(estate, books, {}, clock), Recorder(), "/test", Rules(), clock)
    return process, Orders(estate, books, process, clock)


async def live(orders: Orders, *, cancels: bool) -> Order:
    order = await orders.accept(DRAFT, "k", asking())
    return await orders.cancel(order.id, "customer", asking()) if cancels else order


async def one_life(folder: Path, life: Life, *, cancels: bool) -> bool:
    """Answers whether it died."""
    clock = Clock()
    estate = Keeping(clock)
    async with books_in(folder) as books:
        _, first = gateway(Mortal(estate, life), Mortal(books, life), clock)
        with suppress(Killed):
            await live(first, cancels=cancels)
        heir, orders = gateway(estate, books, clock)
        for _ in range(6):  # first the lease ends, then what is in doubt settles
            clock.on(11)
            await heir.run_due()
        order = await live(orders, cancels=False)
        if cancels and order.order_state != "cancelled":
            order = await orders.cancel(order.id, "customer", asking())
        await agree(books, estate, order, cancels=cancels, where=f"{life}")
    return life.over


async def agree(books: Books, estate: Keeping, order: Order, *, cancels: bool, where: str) -> None:
    assert (order.order_state, order.pending_write) == ("cancelled" if cancels else "confirmed", False), where
    assert [o.id for o in await books.orders.all_orders()] == [order.id], where
    for held in estate.held.values():
        assert held.written == {order.order_number: 1}, where
        assert set(held.cancelled) - {order.order_number} == set(), where
        assert (held.cancelled[order.order_number] > 0) == cancels, where
    held_here = {r.state for r in await books.reservations.of_owner("order", order.id)}
    assert held_here == {"committed"}, where
    told: Counter[tuple[str, str]] = Counter()
    while rows := await books.outbox.due("t", estate.clock(), 60, 10):
        told.update((r.event.type.split(".")[3], r.event.data["orderState"]) for r in rows)
        await books.outbox.delivered([r.position for r in rows])
    wanted = [("accepted", "open"), ("state_changed", "confirmed"), *([("state_changed", "cancelled")] if cancels else [])]
    assert told == Counter(wanted), where


@pytest.mark.slow
@pytest.mark.parametrize("cancels", [False, True])
@pytest.mark.parametrize("after", [False, True])
async def test_death_at_any_act_leaves_one_order_with_each_change_told_once(tmp_path: Path, after: bool, cancels: bool) -> None:
    deaths = 0
    for n in range(1, 100):
        folder = tmp_path / str(n)
        folder.mkdir()
        if not await one_life(folder, Life(n, after), cancels=cancels):
            break
        deaths += 1
    assert deaths >= (18 if cancels else 9)


async def test_the_mortal_parts_die_as_told() -> None:
    life = Life(2, after=False)
    estate = Mortal(Keeping(Clock()), life)
    await estate.ask(ports.LEVELS, ports.LevelQuery(pairs=()), asking())
    for _ in range(2):
        with pytest.raises(Killed):
            await estate.ask(ports.LEVELS, ports.LevelQuery(pairs=()), asking())
