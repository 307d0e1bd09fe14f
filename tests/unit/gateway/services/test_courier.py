"""Deliveries to receivers: in order per subject, at least once, each receiver for itself; what cannot be delivered is kept for a person."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from contracts.books import Books, Webhook
from contracts.errors import ConnectFailed, Forbidden, InvalidBody, NotFound, StateConflict
from contracts.events import Event
from contracts.ports import Answered
from contracts.versions import HISTORY
from contracts.webhooks import NewWebhook, SecretRotation, WebhookChange
from gateway.services.clients import Actor
from gateway.services.courier import REFUSALS, Courier, Fanout
from gateway.services.relay import Relay
from gateway.services.webhooks import WebhookDesk, secret_of
from observability import Recorder

ORDER = "io.tillgate.order.state_changed.v1"
GATEWAY = b"p" * 32


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2026, 3, 2, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def on(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class Sender:
    """Fulfils `WebhookSender`. `says` decides what an event is answered with: a status, an error, or `hang`."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.keys: list[Sequence[bytes]] = []
        self.says: Callable[[str, Event], int | str] = lambda name, event: 204
        self.retry_after: float | None = None

    def refusal(self, url: str) -> str:
        return "" if url.startswith("https://") else "expected https"

    async def send(self, name: str, url: str, event: Event, secrets: Sequence[bytes], at: datetime) -> Answered:
        said = self.says(name, event)
        if said == "hang":
            await asyncio.Event().wait()
        if isinstance(said, str):
            raise ConnectFailed(system=f"webhook {name}", operation="deliver", reason=said)
        self.told.append((name, event.id))
        self.keys.append(secrets)
        return Answered(said, self.retry_after)

    def ids(self, name: str) -> list[str]:
        return [event for told, event in self.told if told == name]


class House:
    def __init__(self, books: Books) -> None:
        self.books, self.now, self.sender = books, Clock(), Sender()
        self.desk = self.at_desk(Actor("me"))

    def at_desk(self, actor: Actor) -> WebhookDesk:
        versions = tuple(v.date for v in HISTORY.versions)
        return WebhookDesk(self.books.webhooks, self.books.audit, self.sender, GATEWAY, versions, "/test", actor, self.now)

    def courier(self) -> Courier:
        return Courier(
            self.books.webhooks,
            self.sender,
            HISTORY,
            GATEWAY,
            Recorder(),
            self.now,
            nudge=asyncio.Event(),
            keep=timedelta(days=3),
            every=0.02,
        )

    async def add(self, name: str, *types: str) -> None:
        await self.desk.add(NewWebhook(name=name, url=f"https://{name}.example/hook", types=types or ("io.tillgate.",)))

    async def happen(self, *events: tuple[str, str], kind: str = ORDER) -> None:
        """Subject and id of each; all of them reach the queues."""
        made = [Event(id=id_, source="/test", type=kind, time=self.now(), subject=subject, data={}) for subject, id_ in events]
        await self.books.outbox.put(made)
        relay = Relay(self.books.outbox, [Fanout(self.books.webhooks, self.now, 1000)], Recorder(), "r", self.now)
        while await relay.drain_once():
            pass

    async def deliver(self, name: str) -> int:
        webhook = await self.webhook(name)
        total = 0
        while count := await self.courier().deliver_once(webhook):
            total += count
        return total

    async def webhook(self, name: str) -> Webhook:
        return next(w for w in await self.books.webhooks.list() if w.name == name)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    books = open_store(StoreOptions(url=f"sqlite:///{tmp_path}/books.db", synchronous="normal"))
    await books.start()
    yield House(books)
    await books.close()


async def test_each_receiver_gets_the_types_it_asked_for_in_order_per_subject(house: House) -> None:
    await house.add("orders", "io.tillgate.order.")
    await house.add("all")
    await house.happen(*((f"s{s}", f"s{s}.{n}") for n in range(4) for s in range(12)))
    await house.happen(("r", "r.0"), kind="io.tillgate.reservation.state_changed.v1")
    assert await house.deliver("orders") == 48
    assert await house.deliver("all") == 49
    for s in range(12):
        assert [i for i in house.sender.ids("all") if i.startswith(f"s{s}.")] == [f"s{s}.{n}" for n in range(4)]
    assert "r.0" not in house.sender.ids("orders")
    view = await house.desk.show("all")
    assert (view.state, view.waiting, view.delivered, view.delivered_at) == ("active", 0, 49, house.now())


async def test_dead_receiver_is_probed_later_and_later_and_holds_up_nobody(house: House) -> None:
    for name in ("dead", "alive", "hangs"):
        await house.add(name)
    house.sender.says = lambda name, event: {"dead": "refused", "hangs": "hang"}.get(name, 204)
    await house.happen(*((f"s{n}", f"e{n}") for n in range(40)))
    stop = asyncio.Event()
    running = asyncio.create_task(house.courier().run(stop))
    async with asyncio.timeout(10):
        while len(house.sender.ids("alive")) < 40:  # noqa: ASYNC110  # seen from outside
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    view = await house.desk.show("dead")
    assert (view.state, view.waiting, view.dead) == ("failing", 40, 0)
    assert "refused" in view.reason
    assert view.tried_again_at is not None
    pauses = []
    for _ in range(8):
        house.now.at = (await house.desk.show("dead")).tried_again_at or house.now.at
        assert await house.deliver("dead") == 0
        pauses.append(((await house.desk.show("dead")).tried_again_at or house.now.at) - house.now.at)
    assert timedelta(seconds=1) < pauses[0] < pauses[3] < pauses[-1] < timedelta(seconds=90)
    assert (await house.desk.show("dead")).dead == 0, "a receiver that is away costs no event its life"
    house.sender.says = lambda name, event: 204
    house.now.on(3600)
    assert await house.deliver("dead") == 40
    assert (await house.desk.show("dead")).state == "active"


async def test_poison_steps_aside_becomes_a_dead_letter_and_comes_back_by_hand(house: House) -> None:
    await house.add("shop")
    house.sender.says = lambda name, event: 422 if event.id == "bad" else 204
    await house.happen(("a", "bad"), ("a", "next"), ("b", "good"))
    await house.deliver("shop")
    assert house.sender.ids("shop") == ["bad", "good"], "its subject waits, the others do not"
    for _ in range(REFUSALS - 1):
        house.now.on(3600)
        await house.deliver("shop")
    assert house.sender.ids("shop").count("bad") == REFUSALS
    assert house.sender.ids("shop")[-1] == "next"
    (letter,) = await house.desk.dead("shop", 0, 10)
    assert (letter.id, letter.subject, letter.attempts, letter.reason) == ("bad", "a", REFUSALS, "answered 422")
    house.sender.says = lambda name, event: 204
    with pytest.raises(NotFound):
        await house.desk.replay("shop", [letter.position + 1])
    assert await house.desk.replay("shop", [letter.position]) == 1
    assert await house.deliver("shop") == 1
    assert await house.desk.dead("shop", 0, 10) == []


async def test_server_error_of_one_event_among_good_ones_counts_against_the_event(house: House) -> None:
    await house.add("shop")
    house.sender.says = lambda name, event: 500 if event.id == "bad" else 204
    for n in range(REFUSALS):
        await house.happen(*((("a", "bad"),) if not n else ()), (f"s{n}", f"e{n}"))
        await house.deliver("shop")
        house.now.on(3600)
    assert (await house.desk.show("shop")).dead == 1


async def test_receiver_of_a_version_that_is_told_no_more_fails_with_the_reason_and_loses_nothing(house: House) -> None:
    await house.add("shop")
    await house.happen(("a", "a.0"), ("b", "b.0"))
    webhook = await house.webhook("shop")
    await house.books.webhooks.change(webhook, msgspec.structs.replace(webhook, api_version="2020-01-01"), [])
    assert await house.deliver("shop") == 0
    view = await house.desk.show("shop")
    assert (view.state, view.waiting, view.dead) == ("failing", 2, 0)
    assert "2020-01-01" in view.reason
    await house.desk.change("shop", WebhookChange(api_version=HISTORY.versions[0].date))
    house.now.on(3600)
    assert await house.deliver("shop") == 2


async def test_what_waited_too_long_is_a_dead_letter(house: House) -> None:
    await house.add("shop")
    house.sender.says = lambda name, event: "away"
    await house.happen(("a", "old"))
    house.now.on(3 * 86_400 + 1)
    await house.deliver("shop")
    assert [letter.id for letter in await house.desk.dead("shop", 0, 10)] == ["old"]


async def test_receiver_that_asks_for_time_gets_it_and_one_that_is_gone_is_suspended(house: House) -> None:
    await house.add("busy")
    await house.add("gone")
    await house.happen(("a", "a.0"))
    house.sender.says = lambda name, event: {"busy": 429}.get(name, 410)
    house.sender.retry_after = 600
    await house.deliver("busy")
    assert (await house.desk.show("busy")).tried_again_at == house.now() + timedelta(seconds=600)
    await house.deliver("gone")
    view = await house.desk.show("gone")
    assert (view.state, view.reason, view.waiting) == ("suspended", "it answered 410 Gone", 1)
    house.sender.says = lambda name, event: 204
    house.sender.retry_after = None
    await house.desk.change("gone", WebhookChange(suspended=False))
    house.now.on(3600)
    assert await house.deliver("gone") == 1
    assert {e.what for e in await house.books.audit.list(10)} == {"webhook.added", "webhook.changed"}


async def test_courier_that_dies_between_sending_and_noting_repeats_and_loses_nothing(house: House) -> None:
    await house.add("shop")
    await house.happen(("a", "a.0"), ("a", "a.1"))
    house.sender.says = lambda name, event: "hang"
    dying = asyncio.create_task(house.deliver("shop"))
    await asyncio.sleep(0.1)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    house.sender.says = lambda name, event: 204
    assert await house.deliver("shop") == 0, "the dead one's lease still runs"
    house.now.on(31)
    assert await house.deliver("shop") == 2
    assert house.sender.ids("shop") == ["a.0", "a.1"]


async def test_two_couriers_on_one_store_share_the_work_in_order(house: House) -> None:
    await house.add("shop")
    await house.happen(*((f"s{s}", f"s{s}.{n}") for n in range(3) for s in range(30)))
    webhook = await house.webhook("shop")

    async def work(courier: Courier) -> None:
        while (await house.books.webhooks.states())["shop"].waiting:
            await courier.deliver_once(webhook)

    await asyncio.gather(*(work(house.courier()) for _ in range(2)))
    assert len(house.sender.told) == len(set(house.sender.told)) == 90
    for s in range(30):
        assert [i for i in house.sender.ids("shop") if i.startswith(f"s{s}.")] == [f"s{s}.{n}" for n in range(3)]


async def test_deliveries_are_signed_with_old_and_new_secret_until_the_overlap_is_over(house: House) -> None:
    first = await house.desk.add(NewWebhook(name="shop", url="https://shop.example/"))
    second = await house.desk.rotate("shop", SecretRotation(overlap_hours=1))
    assert first.secret.startswith("whsec_")
    assert first.secret != second.secret
    for minutes, signatures in ((0, 2), (59, 2), (61, 1)):
        house.now.at = datetime(2026, 3, 2, 9, tzinfo=UTC) + timedelta(minutes=minutes)
        await house.happen((f"m{minutes}", f"m{minutes}"))
        assert await house.deliver("shop") == 1
        assert len(house.sender.keys[-1]) == signatures
    newest = (await house.webhook("shop")).secrets[0]
    assert house.sender.keys[-1] == [secret_of(GATEWAY, "shop", newest)]
    told = str([e.detail for e in await house.books.audit.list(10)]) + repr(await house.webhook("shop"))
    for issued in (first, second):
        assert issued.secret.removeprefix("whsec_") not in told


async def test_what_cannot_be_a_receiver_is_refused_by_its_place(house: House) -> None:
    for wanted, where in (
        (NewWebhook(name="shop", url="http://shop.example/"), "/url"),
        (NewWebhook(name="shop", url="https://shop.example/", types=("io.tillgate.ordr.",)), "/types/0"),
        (NewWebhook(name="shop", url="https://shop.example/", api_version="2020-01-01"), "/apiVersion"),
    ):
        with pytest.raises(InvalidBody) as caught:
            await house.desk.add(wanted)
        assert caught.value.where == where
    await house.add("shop")
    with pytest.raises(StateConflict):
        await house.add("shop")
    with pytest.raises(InvalidBody):
        await house.desk.change("shop", WebhookChange(url="http://10.0.0.1/"))
    bound = house.at_desk(Actor("store-admin", frozenset({"admin:write"}), frozenset({"0001"})))
    with pytest.raises(Forbidden):
        await bound.add(NewWebhook(name="other", url="https://shop.example/"))
    for forbidden in (bound.test("shop"), bound.remove("shop"), bound.dead("shop", 0, 9), bound.replay("shop", ())):
        with pytest.raises(Forbidden):
            await forbidden
    with pytest.raises(NotFound):
        await house.desk.test("nobody")


async def test_test_tells_what_came_of_it_and_is_in_the_audit_log(house: House) -> None:
    await house.add("shop")
    assert (await house.desk.test("shop")).status == 204
    house.sender.says = lambda name, event: 500
    assert "500" in (await house.desk.test("shop")).reason
    house.sender.says = lambda name, event: "nobody listens"
    tested = await house.desk.test("shop")
    assert (tested.delivered, tested.status) == (False, None)
    assert "nobody listens" in tested.reason
    assert sum(e.what == "webhook.tested" for e in await house.books.audit.list(10)) == 3
