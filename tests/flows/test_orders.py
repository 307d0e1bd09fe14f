"""Orders over the real sandbox, whatever breaks: one order in each system, or a clean no, or a person's case with evidence."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from contracts.books import Process, StepRecord
from contracts.canonical.order import Order, OrderDraft
from contracts.policy import Breaker, Duration
from gateway.estate import Estate, OrderRules
from gateway.services.order_process import STEPS, OrderProcess, Rules
from sandbox.erp.books import OrderItem, SalesOrder
from sandbox.faults import Kind, Rule, System
from sandbox.world import World
from tests.products import CUSTOMER, LOCATION, Live, no_limits, running

pytestmark = pytest.mark.slow

SYSTEMS: dict[System, str] = {"oms": "createOrder", "erp": "CreateSalesOrder"}
FIND: dict[System, str] = {"oms": "findOrders", "erp": "FindSalesOrder"}
CANCEL: dict[System, str] = {"oms": "cancelOrder", "erp": "CancelSalesOrder"}
EXECUTED: set[Kind] = {"slow", "reset", "truncate", "lost_answer", "wrong_type", "unknown_enum"}
"""Faults under which the system does what was asked."""
WORLD = World(1)
SKU = max((s for s in WORLD.skus[:400] if WORLD.product(s).unit == "EA"), key=lambda sku: WORLD.opening_stock(sku, LOCATION))
"""Goods that are there in plenty."""
SECRET = "Zebulon Quastenflosse"
MAIL = "zebulon.quastenflosse@example.test"
STREET = "Geheimgasse 77"


def hasty(estate: Estate) -> Estate:
    """Breakers that never open, writes that wait half a second, and little patience between attempts."""
    calm = Breaker(minimum_calls=1_000_000)
    operations = {
        name: msgspec.structs.replace(
            o, policy=msgspec.structs.replace(o.policy, breaker=calm, deadline=Duration(0.5 if "rder" in name else o.policy.deadline))
        )
        for name, o in no_limits(estate).operation.items()
    }
    rules = OrderRules(settle=Duration(0.15), retry=Duration(0.05), retry_max=Duration(0.1), attempts=20)
    return msgspec.structs.replace(no_limits(estate), operation=operations, orders=rules)


def without(*operations: str) -> Callable[[Estate], Estate]:
    def change(estate: Estate) -> Estate:
        kept = {name: o for name, o in hasty(estate).operation.items() if name not in operations}
        return msgspec.structs.replace(hasty(estate), operation=kept)

    return change


def line(sku: str = SKU, quantity: str = "2", cents: int = 1295, unit: str = "EA", number: int = 1) -> dict[str, Any]:
    return {
        "lineNumber": number,
        "sku": sku,
        "quantity": {"value": quantity, "unit": unit},
        "unitPrice": {"centAmount": cents, "currencyCode": "EUR", "fractionDigits": 2},
        "requestedLocationId": LOCATION,
    }


def draft(*lines: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"lines": list(lines) or [line()], **changes}


async def post(live: Live, body: dict[str, Any] | None = None, key: str = "", path: str = "/orders") -> httpx.Response:
    headers = {**live.auth(), "Idempotency-Key": key or uuid.uuid4().hex}
    return await live.http.post(path, json=body or draft(), headers=headers)


async def cancel(live: Live, order: str, key: str = "") -> httpx.Response:
    return await post(live, {"reason": "changed my mind"}, key, f"/orders/{order}/cancel")


def held_by(live: Live, system: System, number: str) -> list[tuple[str, bool]]:
    """Total and whether it stands, of each order that the system holds under our number."""
    if system == "oms":
        rows = [o for o in live.sandbox.oms.books()["orders"] if o["clientRef"] == number]  # type: ignore[attr-defined]  # plain data
        return [(str(Decimal(o["total"])), o["state"] != "CANCELLED") for o in rows]
    rows = [o for o in live.sandbox.erp.books()["orders"] if o["BSTNK"] == number]  # type: ignore[attr-defined]  # plain data
    total = [sum(Decimal(i["KWMENG"]) * Decimal(i["NETPR"]) for i in o["items"]).quantize(Decimal("0.01")) for o in rows]
    return [(str(t), o["GBSTK"] != "C") for t, o in zip(total, rows, strict=True)]


async def until(what: Callable[[], Awaitable[Any]], seconds: float = 15) -> Any:
    end = asyncio.get_running_loop().time() + seconds
    while not (found := await what()):  # what is waited for lies behind sockets and a store
        assert asyncio.get_running_loop().time() < end, f"not within {seconds:g} s"
        await asyncio.sleep(0.02)
    return found


async def settled(live: Live, order_id: str) -> tuple[Order, Process]:
    """Works on what is due until this order rests for good."""

    async def done() -> Process | None:
        await live.product.process.run_due()
        process = await live.product.books.orders.process_of(order_id)
        return process if process and process.state in ("done", "compensated", "manual") else None

    process = await until(done)
    order = await live.product.books.orders.get(order_id)
    assert order is not None
    return order, process


async def one_of_each(live: Live, order_id: str) -> None:
    order, process = await settled(live, order_id)
    assert (process.state, order.order_state, order.pending_write) == ("done", "confirmed", False), process
    total = str(order.total_price.amount)
    assert {s: held_by(live, s, order.order_number) for s in SYSTEMS} == {s: [(total, True)] for s in SYSTEMS}
    assert {r.state for r in await live.product.books.reservations.of_owner("order", order.id)} == {"committed"}


async def nothing_left(live: Live, order: Order) -> None:
    """Undone: cancelled here, standing nowhere, and no stock held."""
    assert (order.order_state, order.pending_write) == ("cancelled", False)
    assert not any(stands for s in SYSTEMS for _, stands in held_by(live, s, order.order_number))
    assert {r.state for r in await live.product.books.reservations.of_owner("order", order.id)} <= {"released", "committed"}


async def latest(live: Live) -> Order:
    return (await live.product.books.orders.all_orders())[-1]


async def state_of(live: Live, answer: httpx.Response, system: System) -> str:
    """Of the step that writes to this system."""
    process = await live.product.books.orders.process_of(answer.json()["id"])
    assert process is not None
    return step(process, "create" if system == "oms" else "book").state


async def outcomes(live: Live, answer: httpx.Response) -> set[tuple[str, str, str]]:
    """Of the steps, as the trace shows them: name, outcome, and what makes it less than a success without being a failure."""
    live.product.ring.flush()
    spans = await live.product.ring.trace(answer.headers["traceresponse"][3:35]) or []
    return {(name, s.text("tillgate.outcome"), s.text("tillgate.degraded")) for s in spans if (name := s.text("tillgate.process.step"))}


def step(process: Process, name: str) -> StepRecord:
    return next(s for s in process.steps if s.name == name)


# ---- every fault, at each of the two systems


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["refuse", "hang", "slow", "error", "fault_in_200", "reset", "truncate", "lost_answer", "429", "wrong_type", "unknown_enum"]
)
async def test_an_order_under_every_fault_is_in_each_system_exactly_once(tmp_path: Path, kind: Kind) -> None:
    async with running(tmp_path, change=hasty) as live:
        for system, operation in SYSTEMS.items():
            if kind == "fault_in_200" and system == "oms":
                continue
            fault = Rule(system=system, kind=kind, operation=operation, seconds={"slow": 0.7, "429": 0.1}.get(kind, 0.0))
            live.sandbox.faults.add(msgspec.structs.replace(fault, count=1))
            once = await post(live)
            live.sandbox.faults.replace(fault)
            broken = [await post(live), await post(live)]
            await live.product.process.run_due()
            live.sandbox.faults.clear()
            healed = await post(live)
            assert {a.status_code for a in (once, *broken)} <= {201, 202}, [a.text for a in (once, *broken)]
            assert healed.status_code == 201
            for answer in (once, *broken, healed):
                await one_of_each(live, answer.json()["id"])


async def test_a_lost_answer_is_in_doubt_then_found_and_never_sent_again(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty) as live:
        for system, operation in SYSTEMS.items():
            live.sandbox.faults.add(Rule(system=system, kind="lost_answer", operation=operation))
            answer = await post(live)
            assert (answer.status_code, answer.json()["pendingWrite"], answer.headers["retry-after"]) == (202, True, "2")
            assert await state_of(live, answer, system) == "in_doubt"
            await one_of_each(live, answer.json()["id"])
            calls = live.sandbox.oms.calls if system == "oms" else live.sandbox.erp.calls
            assert calls[operation] == (1 if system == "oms" else 2)  # the second round's order of the OMS came from the first
            live.sandbox.faults.clear()


@pytest.mark.slow
async def test_while_nobody_can_be_asked_a_doubt_stays_a_doubt(tmp_path: Path) -> None:
    """Asking back fails before it is sent, is refused, and hangs: none of it is an answer, so nothing is sent again."""
    async with running(tmp_path, change=hasty) as live:
        for system, operation in SYSTEMS.items():
            live.sandbox.faults.add(Rule(system=system, kind="lost_answer", operation=operation, count=1))
            answer = await post(live)
            for kind in ("429", "error", "refuse"):
                live.sandbox.faults.replace(Rule(system=system, kind=kind, operation=FIND[system], seconds=0.1))
                await asyncio.sleep(0.3)
                await live.product.process.run_due()
                assert await state_of(live, answer, system) == "in_doubt", kind
            live.sandbox.faults.clear()
            await one_of_each(live, answer.json()["id"])


async def test_not_found_counts_only_twice_after_settling_then_it_is_sent_again(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty) as live:
        live.sandbox.faults.add(Rule(system="oms", kind="hang", operation="createOrder", count=1))
        live.product.recorder.head_share = 1.0
        answer = await post(live)
        before = live.sandbox.oms.calls["findOrders"]
        await one_of_each(live, answer.json()["id"])
        assert {("create", "failure", ""), ("create", "degraded", "in_doubt"), ("create", "success", "")} <= await outcomes(live, answer)
        assert live.sandbox.oms.calls["findOrders"] - before == 2
        assert live.sandbox.oms.calls["createOrder"] == 2


async def test_an_erp_that_is_away_gives_202_and_completes_when_it_is_back(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty) as live:
        await live.http.get("/inventory", params={"sku": SKU, "location": LOCATION}, headers=live.auth())
        live.sandbox.faults.add(Rule(system="erp", kind="refuse"))
        await asyncio.sleep(0.05)
        answers = [await post(live) for _ in range(3)]
        assert [a.status_code for a in answers] == [202] * 3
        for _ in range(30):  # many rounds of a system that is away are no person's case
            await live.product.process.run_due()
            await asyncio.sleep(0.02)
        live.sandbox.faults.clear()
        for answer in answers:
            await one_of_each(live, answer.json()["id"])
        assert {("reserve", "degraded", "stale"), ("book", "failure", "")} <= await outcomes(live, answers[0])


# ---- a clear no


async def test_too_little_stock_is_a_409_before_anything_is_sent_and_holds_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty) as live:
        body = draft(line(), line(number=2, quantity="1000000"))
        refused = await post(live, body, "too-many")
        assert (refused.status_code, refused.json()["code"]) == (409, "insufficient_stock")
        assert "1000000 requested" in refused.json()["detail"]
        again = await post(live, body, "too-many")
        assert (again.content, again.headers["idempotency-replayed"]) == (refused.content, "true")
        order, _ = await settled(live, (await latest(live)).id)
        await nothing_left(live, order)
        assert live.sandbox.oms.calls["createOrder"] == 0


async def test_a_refusal_of_the_erp_cancels_in_the_oms_and_is_a_422_without_its_words(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty) as live:
        blocked = next(c.number for n in range(1_000_001, 1_010_000) if (c := live.sandbox.world.customer(str(n))) and c.blocked)
        refused = await post(live, draft(customer={"customerNumber": blocked}), "blocked")
        assert (refused.status_code, refused.json()["code"]) == (422, "rejected_by_system")
        assert not [word for word in ("is blocked", "VP/", "erp", "oms", "Customer") if word in refused.text]
        again = await post(live, draft(customer={"customerNumber": blocked}), "blocked")
        assert (again.content, again.headers["idempotency-replayed"]) == (refused.content, "true")
        order, process = await settled(live, (await latest(live)).id)
        await nothing_left(live, order)
        assert [held_by(live, s, order.order_number) for s in SYSTEMS] == [[("25.90", False)], []]
        assert {s.name: s.state for s in process.steps} == {
            "reserve": "confirmed", "create": "confirmed", "book": "failed", "announce": "skipped",
            "cancel_order": "confirmed", "release": "confirmed",
        }  # fmt: skip
        assert {r.state for r in await live.product.books.reservations.of_owner("order", order.id)} == {"released"}


async def test_a_refusal_is_told_although_undoing_it_still_waits(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty) as live:
        blocked = next(c.number for n in range(1_000_001, 1_010_000) if (c := live.sandbox.world.customer(str(n))) and c.blocked)
        live.sandbox.faults.add(Rule(system="oms", kind="lost_answer", operation="cancelOrder", count=1))
        live.sandbox.faults.add(Rule(system="oms", kind="429", operation="cancelOrder", seconds=0.1))
        refused = await post(live, draft(customer={"customerNumber": blocked}))
        assert refused.status_code == 422
        await asyncio.sleep(0.3)
        await live.product.process.run_due()
        live.sandbox.faults.clear()
        order, process = await settled(live, (await latest(live)).id)
        assert process.state == "compensated"
        await nothing_left(live, order)


async def test_what_a_mapping_cannot_say_is_refused_with_its_place_and_undone(tmp_path: Path) -> None:
    """A unit that the owning system does not sell in never leaves the gateway."""
    async with running(tmp_path, change=hasty) as live:
        answer = await post(live, draft(line(quantity="2", unit="PR")))
        assert (answer.status_code, answer.json()["code"]) == (422, "unprocessable")
        assert answer.json()["errors"][0]["pointer"] == "/lines/0/quantity/unit"
        half = await post(live, draft(line(quantity="0.5")))
        assert (half.status_code, half.json()["errors"][0]["expected"]) == (422, "a whole number of pieces")
        far = {"street": "1", "city": "Berlin", "postalCode": "1", "country": "DE", "phone": "0" * 40}
        phone = await post(live, draft(shippingAddress=far))
        position = await post(live, draft(line(number=10_000)))
        for told in (phone, position):
            assert (told.status_code, told.json()["code"]) == (422, "unprocessable")
            assert told.json()["errors"][0]["pointer"] in ("/shippingAddress/phone", "/lines/0/lineNumber")
        assert live.sandbox.oms.calls["createOrder"] == 0
        for order in await live.product.books.orders.all_orders():
            await nothing_left(live, (await settled(live, order.id))[0])


async def test_unknown_goods_are_insufficient_stock_and_nothing_is_sent(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty) as live:
        answer = await post(live, draft(line(), line("99999999", number=2)))
        assert (answer.status_code, answer.json()["code"]) == (409, "insufficient_stock")
        assert live.sandbox.oms.calls["createOrder"] == 0
        order, _ = await settled(live, (await latest(live)).id)
        await nothing_left(live, order)


# ---- the same order again


async def test_the_same_order_racing_twenty_times_with_one_key_is_one_order(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty) as live:
        answers = await asyncio.gather(*(post(live, key="race") for _ in range(20)))
        assert {a.status_code for a in answers} <= {201, 409}
        assert {a.json()["code"] for a in answers if a.status_code == 409} <= {"request_in_progress"}
        taken = {a.json()["id"] for a in answers if a.status_code == 201}
        assert len(taken) == 1
        assert len(await live.product.books.orders.all_orders()) == 1
        await one_of_each(live, taken.pop())


async def test_a_repeat_behind_the_edge_follows_the_first_and_starts_nothing(tmp_path: Path) -> None:
    """What a repeat after the end of the key's lease does: the service itself knows the key."""
    async with running(tmp_path, change=hasty) as live:
        orders, call = live.product.services.orders, live.product.task(10)
        wanted = msgspec.convert(draft(), OrderDraft)
        got = await asyncio.gather(*(orders.accept(wanted, "same", call) for _ in range(8)))
        assert len({o.id for o in got}) == 1
        assert {o.order_state for o in got} == {"confirmed"}
        await one_of_each(live, got[0].id)


# ---- cancelling


async def test_a_confirmed_order_is_cancelled_in_both_systems_and_again_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty) as live:
        order_id = (await post(live)).json()["id"]
        answer = await cancel(live, order_id)
        assert (answer.status_code, answer.json()["orderState"], answer.json()["pendingWrite"]) == (200, "cancelled", False)
        order, process = await settled(live, order_id)
        await nothing_left(live, order)
        assert [s.name for s in process.steps] == [*STEPS, "cancel_order", "cancel_booking", "release"]
        assert (await cancel(live, order_id)).status_code == 200
        assert live.sandbox.oms.calls["cancelOrder"] == 1


async def test_an_order_with_an_open_step_cannot_be_cancelled_yet(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty) as live:
        live.sandbox.faults.add(Rule(system="oms", kind="429", operation="createOrder"))
        order_id = (await post(live)).json()["id"]
        answer = await cancel(live, order_id)
        assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")
        live.sandbox.faults.clear()
        await one_of_each(live, order_id)
        assert (await cancel(live, order_id)).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lost_answer", "hang", "error", "reset", "429"])
async def test_a_cancellation_under_faults_ends_cancelled_everywhere(tmp_path: Path, kind: Kind) -> None:
    async with running(tmp_path, change=hasty) as live:
        for system, operation in CANCEL.items():
            order_id = (await post(live)).json()["id"]
            live.sandbox.faults.add(Rule(system=system, kind=kind, operation=operation, seconds=0.1 if kind == "429" else 0))
            answer = await cancel(live, order_id)
            assert (answer.status_code, answer.json()["pendingWrite"]) == (202, True)
            repeat = await cancel(live, order_id)
            assert repeat.status_code == 202  # it is being cancelled: a further wish for the same is no conflict
            live.sandbox.faults.clear()
            order, process = await settled(live, order_id)
            assert process.state == "compensated"
            await nothing_left(live, order)


async def test_goods_that_have_left_cannot_be_cancelled_and_everything_stays(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty) as live:
        placed = (await post(live)).json()
        number = placed["orderNumber"]
        live.sandbox.oms.advance(live.sandbox.oms.books()["orders"][0]["orderNo"], "DISPATCHED")  # type: ignore[index]  # plain data
        for _ in range(2):
            answer = await cancel(live, placed["id"])
            assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")
            order, process = await settled(live, placed["id"])
            assert (process.state, order.order_state, order.pending_write) == ("done", "confirmed", False)
            assert [held_by(live, s, number) for s in SYSTEMS] == [[("25.90", True)]] * 2


# ---- what a person has to decide


async def test_found_with_another_total_is_a_conflict_for_a_person(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty) as live:
        live.sandbox.faults.add(Rule(system="erp", kind="hang", operation="CreateSalesOrder"))
        answer = await post(live)
        number = answer.json()["orderNumber"]
        live.sandbox.erp.book.create(
            SalesOrder(
                document="", reference=number, kind="ZWEB", currency="EUR", customer=None, plant=LOCATION, wanted_on="20260101",
                created_at=datetime.now(UTC), items=[OrderItem("000001", SKU, Decimal(2), "ST", Decimal("13.95"), LOCATION)],
            )
        )  # fmt: skip
        live.sandbox.faults.clear()
        order, process = await settled(live, answer.json()["id"])
        found = step(process, "book")
        assert (process.state, found.state, order.pending_write) == ("manual", "conflict", True)
        assert "27.90 EUR instead of 25.90 EUR" in found.error
        assert (await cancel(live, order.id)).status_code == 409
        assert live.sandbox.erp.calls["CreateSalesOrder"] == 1


async def test_a_system_that_cannot_be_asked_back_is_a_persons_case(tmp_path: Path) -> None:
    async with running(tmp_path, change=without("erp.FindSalesOrder")) as live:
        live.sandbox.faults.add(Rule(system="erp", kind="lost_answer", operation="CreateSalesOrder"))
        answer = await post(live)
        _, process = await settled(live, answer.json()["id"])
        assert (process.state, step(process, "book").state) == ("manual", "manual")
        assert "cannot be asked back" in step(process, "book").error
        assert live.sandbox.erp.calls["CreateSalesOrder"] == 1


async def test_a_system_that_cannot_cancel_is_a_persons_case_not_a_success(tmp_path: Path) -> None:
    async with running(tmp_path, change=without("erp.CancelSalesOrder")) as live:
        order_id = (await post(live)).json()["id"]
        assert (await cancel(live, order_id)).status_code == 202
        order, process = await settled(live, order_id)
        assert (process.state, step(process, "cancel_booking").state, order.pending_write) == ("manual", "manual", True)


@pytest.mark.slow
async def test_a_write_that_never_gives_an_answer_ends_with_a_person(tmp_path: Path) -> None:
    def impatient(estate: Estate) -> Estate:
        estate = hasty(estate)
        return msgspec.structs.replace(estate, orders=msgspec.structs.replace(estate.orders, attempts=3))

    async with running(tmp_path, change=impatient) as live:
        live.sandbox.faults.add(Rule(system="oms", kind="hang", operation="createOrder"))
        answer = await post(live)
        _, process = await settled(live, answer.json()["id"])
        assert (process.state, step(process, "create").attempts) == ("manual", 3)
        assert "0.5 s" in step(process, "create").error


# ---- workers


def another(live: Live, rules: Rules | None = None) -> OrderProcess:
    """A further gateway on the same books and systems."""
    p = live.product
    return OrderProcess(p.systems, p.books, p.services.availability, p.recorder, "/other", rules or p.process.rules, p.now)


async def dead(live: Live, *, arrived: bool) -> str:
    """An order whose gateway died while it was sending to the OMS; `arrived`: the OMS has it."""
    live.sandbox.faults.add(Rule(system="oms", kind="lost_answer" if arrived else "hang", operation="createOrder", count=1))
    order_id: str = (await post(live)).json()["id"]
    live.sandbox.faults.clear()
    process = await live.product.books.orders.process_of(order_id)
    assert process is not None
    steps = tuple(msgspec.structs.replace(s, state="sending", error="") if s.name == "create" else s for s in process.steps)
    ended = datetime.now(UTC) - timedelta(seconds=1)
    gone = msgspec.structs.replace(process, state="running", steps=steps, owner="own_dead", lease_until=ended, due_at=ended)
    await live.product.books.orders.save(gone, None, ())
    return order_id


@pytest.mark.parametrize("arrived", [True, False])
async def test_a_step_whose_worker_died_is_taken_over_in_doubt(tmp_path: Path, arrived: bool) -> None:
    async with running(tmp_path, change=hasty) as live:
        order_id = await dead(live, arrived=arrived)
        await one_of_each(live, order_id)
        assert live.sandbox.oms.calls["createOrder"] == (1 if arrived else 2)


async def test_two_workers_never_run_one_step_twice(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty) as live:
        live.sandbox.faults.add(Rule(system="oms", kind="429", operation="createOrder"))
        ids = [a.json()["id"] for a in await asyncio.gather(*(post(live) for _ in range(20)))]
        live.sandbox.faults.clear()
        before = live.sandbox.oms.calls["createOrder"]
        workers = [live.product.process, another(live), another(live)]
        await asyncio.sleep(0.2)

        async def all_done() -> bool:
            await asyncio.gather(*(w.run_due() for w in workers))
            return all(o.order_state == "confirmed" for o in await live.product.books.orders.all_orders())

        await until(all_done)
        assert live.sandbox.oms.calls["createOrder"] - before == 20
        assert live.sandbox.erp.calls["CreateSalesOrder"] == 20
        for order_id in ids:
            await one_of_each(live, order_id)


@pytest.mark.slow
async def test_a_step_longer_than_the_lease_stays_with_its_worker(tmp_path: Path) -> None:
    def patient(estate: Estate) -> Estate:
        estate = hasty(estate)
        slow = msgspec.structs.replace(estate.operation["erp.CreateSalesOrder"].policy, deadline=Duration(5))
        operation = msgspec.structs.replace(estate.operation["erp.CreateSalesOrder"], policy=slow)
        return msgspec.structs.replace(estate, operation={**estate.operation, "erp.CreateSalesOrder": operation})

    async with running(tmp_path, change=patient) as live:
        rules = Rules(settle=0.15, retry=0.05, retry_max=0.1, lease=0.3)
        workers = [another(live, rules), another(live, rules)]
        live.sandbox.faults.add(Rule(system="erp", kind="429", operation="CreateSalesOrder", seconds=0.1))
        order_id = (await post(live)).json()["id"]
        live.sandbox.faults.replace(Rule(system="erp", kind="slow", operation="CreateSalesOrder", seconds=1.2))
        before = live.sandbox.erp.calls["CreateSalesOrder"]
        await asyncio.sleep(0.15)
        first = asyncio.create_task(workers[0].run_due())
        await asyncio.sleep(0.1)
        while not first.done():
            assert await workers[1].run_due() == 0
            await asyncio.sleep(0.05)
        assert await first == 1
        await one_of_each(live, order_id)
        assert live.sandbox.erp.calls["CreateSalesOrder"] - before == 1


async def test_a_gateway_that_closes_lets_go_at_once(tmp_path: Path) -> None:
    """Whoever comes next need not wait for a lease to end: a write under way is in doubt, and asked back."""
    async with running(tmp_path, change=hasty) as live:
        live.sandbox.faults.add(Rule(system="oms", kind="429", operation="createOrder"))
        order_id = (await post(live)).json()["id"]
        live.sandbox.faults.replace(Rule(system="oms", kind="hang", operation="createOrder"))
        leaving = another(live, Rules(settle=0.1, lease=600))
        await asyncio.sleep(0.15)
        running_ = asyncio.create_task(leaving.run_due())
        await until(lambda: _is(live, order_id, "sending"))
        for task in leaving._resumed:
            task.cancel()
        await running_
        process = await live.product.books.orders.process_of(order_id)
        assert process is not None
        assert (process.state, process.owner, step(process, "create").state) == ("waiting", "", "in_doubt")
        live.sandbox.faults.clear()
        await one_of_each(live, order_id)


async def _is(live: Live, order_id: str, state: str) -> bool:
    process = await live.product.books.orders.process_of(order_id)
    return process is not None and any(s.state == state for s in process.steps)


@pytest.mark.slow
async def test_a_storm_against_a_hanging_erp_stays_bounded_and_completes(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty, work=True) as live:
        live.product.process._places = asyncio.Semaphore(8)  # as if only so many were allowed
        await live.http.get("/inventory", params={"sku": SKU, "location": LOCATION}, headers=live.auth())
        live.sandbox.faults.add(Rule(system="erp", kind="hang", operation="CreateSalesOrder"))
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, len(live.product.process._tasks))
                await asyncio.sleep(0.005)

        watching = asyncio.create_task(watch())
        answers = await asyncio.gather(*(post(live, draft(line(quantity="1"))) for _ in range(40)))
        watching.cancel()
        assert {a.status_code for a in answers} == {202}, {a.text for a in answers if a.status_code != 202}
        assert most <= 8
        live.sandbox.faults.clear()

        async def all_done() -> bool:
            return all(o.order_state == "confirmed" for o in await live.product.books.orders.all_orders())

        await until(all_done, 30)
        for answer in answers:
            await one_of_each(live, answer.json()["id"])


# ---- what is told


async def test_events_come_exactly_with_the_changes_and_carry_the_stored_version(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty) as live:
        stream = live.product.subscribers.subscribe("io.tillgate.order.")
        live.sandbox.faults.add(Rule(system="erp", kind="lost_answer", operation="CreateSalesOrder", count=1))
        order_id = (await post(live)).json()["id"]
        await settled(live, order_id)
        stored = await live.product.books.orders.get(order_id)
        await cancel(live, order_id)
        gone = await live.product.books.orders.get(order_id)
        while await live.product.relay.drain_once():
            pass
        stream.close()
        got = [(e.type.split(".")[3], e.data["orderState"], e.data["version"]) async for e in stream]  # type: ignore[union-attr]  # no loss
        assert stored is not None
        assert gone is not None
        versions = [("accepted", "open", 1), ("state_changed", "confirmed", stored.version), ("state_changed", "cancelled", gone.version)]
        assert got == versions


async def test_every_step_is_in_the_trace_and_no_personal_data(tmp_path: Path) -> None:
    async with running(tmp_path, change=hasty) as live:
        live.sandbox.faults.add(Rule(system="erp", kind="lost_answer", operation="CreateSalesOrder", count=1))
        address = {"name": SECRET, "street": STREET, "postalCode": "10115", "city": "Berlin", "country": "DE", "phone": "+49 30 7777777"}
        body = draft(customer={"customerNumber": CUSTOMER, "email": MAIL, "name": SECRET}, shippingAddress=address)
        answer = await post(live, body)
        assert answer.status_code == 202
        trace_id = answer.headers["traceresponse"][3:35]
        await one_of_each(live, answer.json()["id"])
        live.product.ring.flush()
        spans = await live.product.ring.trace(trace_id)
        assert spans
        steps = {s.text("tillgate.process.step") for s in spans} - {""}
        assert steps == {"reserve", "create", "book", "announce"}
        assert {s.text("tillgate.order") for s in spans} - {""} == {answer.json()["orderNumber"]}
        remembered = msgspec.json.encode(spans).decode()
        for personal in (SECRET, MAIL, STREET, "7777777"):
            assert personal not in remembered


async def test_steps_after_the_answer_have_a_flight_of_their_own_in_the_same_trace(tmp_path: Path) -> None:
    def short(estate: Estate) -> Estate:
        estate = hasty(estate)
        route = msgspec.structs.replace(estate.route["POST /orders"], deadline=Duration(1))
        policy = msgspec.structs.replace(estate.operation["oms.createOrder"].policy, deadline=Duration(5))
        slow = msgspec.structs.replace(estate.operation["oms.createOrder"], policy=policy)
        return msgspec.structs.replace(
            estate, route={**estate.route, "POST /orders": route}, operation={**estate.operation, "oms.createOrder": slow}
        )

    async with running(tmp_path, change=short) as live:
        live.product.recorder.head_share = 1.0
        live.sandbox.faults.add(Rule(system="oms", kind="slow", operation="createOrder", seconds=1.5))
        answer = await post(live)
        assert (answer.status_code, answer.json()["pendingWrite"]) == (202, True)
        await one_of_each(live, answer.json()["id"])
        live.product.ring.flush()
        spans = await live.product.ring.trace(answer.headers["traceresponse"][3:35])
        assert spans
        assert {"book", "announce"} <= {s.text("tillgate.process.step") for s in spans}
