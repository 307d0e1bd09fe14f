"""The generated client, used as its reader would: against the whole product, over a network that loses answers."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from contracts.policy import Duration
from docs.examples.python import retail_api
from docs.examples.python.retail_api import (
    Answer,
    Limits,
    Money,
    OrderDraft,
    OrderLineDraft,
    Quantity,
    ReservationDraft,
    ReservationOwner,
    RetailApi,
)
from gateway.estate import Estate, Quota, QuotaPolicy
from sandbox.faults import Rule
from tests.products import CUSTOMER, LOCATION, SKU, Live, no_limits, running

pytestmark = pytest.mark.slow

QUICK = Limits(first_wait=0.01)


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    async with running(tmp_path, change=no_limits) as found:
        yield found


@pytest.fixture
async def api(live: Live) -> AsyncIterator[RetailApi]:
    async with RetailApi(live.base, live.keys["web"], limits=QUICK) as client:
        yield client


class Road:
    """A network between client and product: hands everything on, and loses the next `losing` answers after the product has sent them."""

    def __init__(self, base: str) -> None:
        self._to = urlsplit(base)
        self.losing = 0
        self.requests: list[bytes] = []

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._to.hostname, self._to.port)

        async def out() -> None:
            while piece := await reader.read(65536):
                self.requests.append(piece)
                back.write(piece)

        async def home() -> None:
            while piece := await there.read(65536):
                if self.losing:
                    self.losing -= 1
                    break
                writer.write(piece)
            writer.close()
            back.close()

        await asyncio.gather(out(), home(), return_exceptions=True)


@asynccontextmanager
async def road(base: str) -> AsyncIterator[tuple[Road, str]]:
    it = Road(base)
    server = await asyncio.start_server(it.carry, "127.0.0.1", 0)
    yield it, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@contextmanager
def watching() -> Iterator[list[warnings.WarningMessage]]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield seen


def draft(quantity: str = "1", **more: Any) -> OrderDraft:
    line = OrderLineDraft(
        line_number=1,
        sku=SKU,
        quantity=Quantity(value=quantity, unit="EA"),
        unit_price=Money(cent_amount=379, currency_code="EUR", fraction_digits=2),
        requested_location_id=LOCATION,
    )
    return OrderDraft(lines=(line,), **more)


async def test_seconds_are_a_number_and_a_key_read_from_a_file_may_end_with_a_line_break(live: Live) -> None:
    async with RetailApi(live.base, live.keys["web"] + "\n", limits=QUICK) as api:
        assert (await api.get_product(SKU, request_timeout=5)).status == 200
        with pytest.raises(retail_api.DeadlineExceeded):
            await api.get_product(SKU, request_timeout=0.0001)


@pytest.mark.parametrize("address", ["localhost:8080", "api.example.com", "https://"])
def test_an_address_that_is_none_is_refused_before_any_call(address: str) -> None:
    with pytest.raises(ValueError, match=rf"such as https://api\.example\.com, got '{address}'"):
        RetailApi(address, "tg_x")


async def test_an_order_whose_answer_is_lost_twice_is_repeated_under_its_key_and_placed_once(live: Live) -> None:
    async with road(live.base) as (network, address), RetailApi(address, live.keys["web"], limits=QUICK) as api:
        network.losing = 2
        placed = await api.create_order(draft())
        assert placed.replayed
        assert placed.value.total_price == Money(cent_amount=379, currency_code="EUR", fraction_digits=2)
        keys = {line for sent in network.requests for line in sent.split(b"\r\n") if line.lower().startswith(b"idempotency-key:")}
        assert len(keys) == 1
        assert [o.id async for o in api.list_orders()] == [placed.value.id]


async def test_a_write_that_nobody_answers_hands_back_the_key_that_makes_it_safe_to_repeat(live: Live) -> None:
    async with (
        road(live.base) as (network, address),
        RetailApi(address, live.keys["web"], limits=Limits(first_wait=0.01, attempts=2)) as api,
    ):
        network.losing = 2
        with pytest.raises(retail_api.Unanswered, match=r"POST /orders: no answer in 2 attempts, the last: \w+") as lost:
            await api.create_order(draft())
        again = await api.create_order(draft(), idempotency_key=lost.value.idempotency_key)
        assert again.replayed
        assert len([o async for o in api.list_orders()]) == 1


async def test_pages_are_followed_to_the_end(api: RetailApi) -> None:
    placed = [(await api.create_order(draft())).value.id for _ in range(5)]
    assert [o.id async for o in api.list_orders(limit=2)] == placed[::-1]
    assert [len(page.value.items) async for page in api.list_orders(limit=2).pages()][:2] == [2, 2]


async def test_what_is_known_already_is_not_sent_again_and_a_change_names_what_it_was_meant_for(api: RetailApi) -> None:
    key = "cart-generated"
    hold = ReservationDraft(
        sku=SKU,
        location_id=LOCATION,
        quantity=Quantity(value="1", unit="EA"),
        reservation_key=key,
        owner=ReservationOwner(id="cart-1", type="cart"),
    )
    held = await api.create_reservation(hold)
    assert held.etag
    known: Answer[retail_api.Reservation] = await api.get_reservation(key)
    again = await api.get_reservation(key, known=known)
    assert (again.status, again.value, again.etag) == (304, known.value, known.etag)
    with pytest.raises(retail_api.PreconditionFailed):
        await api.release_reservation(key, retail_api.Release(), if_match='"v0"')
    released = await api.release_reservation(key, retail_api.Release(), if_match=again.etag)
    assert released.value.state == "released"
    fresh = await api.get_reservation(key, known=known)
    assert (fresh.status, fresh.value.state) == (200, "released")


async def test_a_problem_is_its_own_exception_and_says_what_to_do(api: RetailApi) -> None:
    with pytest.raises(retail_api.NotFound) as missing:
        await api.get_product("4711")
    assert (missing.value.status, missing.value.code, missing.value.fault, missing.value.retryable) == (404, "not_found", "caller", False)
    assert len(missing.value.trace_id) == 32
    with pytest.raises(retail_api.InsufficientStock) as short:
        await api.create_order(draft("100000"))
    assert short.value.idempotency_key
    with pytest.raises(retail_api.Unprocessable) as wrong:
        await api.create_order(draft("-1"))
    assert wrong.value.errors[0].pointer.startswith("/lines/0/quantity")


async def test_a_refusal_for_quota_is_waited_out_as_long_as_the_api_asks(tmp_path: Path) -> None:
    def narrow(estate: Estate) -> Estate:
        few = Quota(policies=(QuotaPolicy(name="few", requests=2, window=Duration(6)),))
        return msgspec.structs.replace(estate, quota={**estate.quota, "standard": few})

    async with running(tmp_path, change=narrow) as live, RetailApi(live.base, live.keys["web"]) as api:
        async with RetailApi(live.base, live.keys["web"], limits=Limits(attempts=1)) as hasty:
            answers = await asyncio.gather(*(hasty.list_locations() for _ in range(12)), return_exceptions=True)
        refused = [a for a in answers if isinstance(a, retail_api.QuotaExceeded)]
        assert refused
        assert all(r.retry_after is not None and r.retry_after >= 1 and r.retryable for r in refused)
        assert len((await api.list_locations()).value.items) > 1


async def test_a_system_that_is_down_is_tried_again_until_it_answers(live: Live, api: RetailApi) -> None:
    live.sandbox.faults.add(Rule(system="erp", kind="refuse"))
    live.sandbox.faults.add(Rule(system="oms", kind="refuse"))
    asking = asyncio.create_task(api.get_customer(CUSTOMER))
    await asyncio.sleep(0.3)
    live.sandbox.faults.clear()
    assert (await asking).value.customer_number == CUSTOMER


async def test_a_deprecated_version_warns_once_with_its_last_day(live: Live) -> None:
    async with RetailApi(live.base, live.keys["web"]) as api:
        api._transport.version = "2025-09-01"
        with watching() as seen, pytest.raises(retail_api.UnexpectedAnswer):  # the older shape of money is not this client's
            await api.list_prices(SKU, LOCATION)
        (warning,) = [w for w in seen if issubclass(w.category, retail_api.VersionDeprecated)]
        assert "2025-09-01 is deprecated since 2026-10-01; it is switched off on Thu, 30 Sep 2027" in str(warning.message)
        with watching() as seen:
            await api.list_locations()
        assert [w for w in seen if issubclass(w.category, retail_api.VersionDeprecated)] == []


async def test_a_credential_is_fetched_for_each_attempt_and_shown_nowhere(live: Live) -> None:
    asked = []

    async def fresh() -> str:
        asked.append(1)
        return live.keys["web"]

    async with RetailApi(live.base, fresh) as api:
        await api.list_locations()
        await api.list_locations()
        assert len(asked) == 2
    async with RetailApi(live.base, live.keys["web"]) as api:
        assert live.keys["web"] not in repr(api._transport)


@pytest.mark.parametrize(
    "link", ['<https://elsewhere.example/orders>; rel="next"', '<//elsewhere.example/>; rel="next"', "", '</x>; rel="prev"']
)
def test_a_link_that_leads_elsewhere_is_not_followed(link: str) -> None:
    assert retail_api.transport.next_of(link) is None
