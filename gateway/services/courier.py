"""Deliveries over HTTP: events from the outbox into the queue of each receiver that asked for them, and from there to the receiver."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from contracts.books import Delivery, Failure, Webhook, WebhookBook
from contracts.errors import StateConflict, TillgateError, UpstreamError, UpstreamFault
from contracts.events import Event
from contracts.ports import Answered, WebhookSender
from contracts.versions import VersionHistory
from gateway.services.clock import Now
from gateway.services.trail import entry_of, tell
from gateway.services.webhooks import secret_of, valid
from observability import Recorder, get_logger

log = get_logger(__name__)

EVERY = 1.0
"""Seconds after which a new or changed receiver is known to every process."""
AT_ONCE = 8
LEASE = 30.0
"""Seconds; a sender's own time limit is shorter."""
REFUSALS = 10
"""After so many of one event it is a dead letter: about a quarter of an hour."""
BACKOFF_MAX = 3600.0
PAUSE_MAX = 60.0
"""A receiver that fails as a whole is probed so often."""
_OF_THE_RECEIVER = frozenset((401, 403, 404, 408, 410, 429))
"""Of the 4xx, those that say nothing about the event."""


class Fanout:
    """A publisher: an event is safe when it stands in the queue of every receiver that asks for its type."""

    name = "webhooks"

    def __init__(self, book: WebhookBook, now: Now, most: int) -> None:
        """`most` events wait for a receiver."""
        self._book, self._now, self._most = book, now, most
        self._known: Sequence[Webhook] = ()
        self._until = 0.0
        self.nudge = asyncio.Event()
        """Set when something was queued."""

    async def publish(self, events: Sequence[Event]) -> Sequence[TillgateError | None]:
        try:
            if time.monotonic() > self._until:
                self._known, self._until = await self._book.list(), time.monotonic() + EVERY
            offered = {
                webhook.name: found
                for webhook in self._known
                if (found := [(int(e.sequence or 0), e.subject) for e in events if e.type.startswith(webhook.types)])
            }
            if offered:
                await self._book.offer(offered, self._now(), self._most)
                self.nudge.set()
        except TillgateError as error:
            return [error] * len(events)
        return [None] * len(events)


class Courier:
    """One of any number that share a store. Each receiver has a task of its own, so that one that is slow or away delays nobody else."""

    def __init__(
        self,
        book: WebhookBook,
        sender: WebhookSender,
        history: VersionHistory,
        gateway: bytes,
        recorder: Recorder,
        now: Now,
        *,
        nudge: asyncio.Event,
        keep: timedelta,
        every: float = EVERY,
    ) -> None:
        """`keep`: what waits for longer is a dead letter. `gateway`: its own secret."""
        self._book, self._sender, self._history, self._gateway = book, sender, history, gateway
        self._recorder, self._now, self._nudge, self._keep, self._every = recorder, now, nudge, keep, every
        self._serving: dict[str, asyncio.Task[None]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; deliveries under way then are finished."""
        try:
            while not stop.is_set():
                self._nudge.clear()
                await self._look(stop)
                waits = [asyncio.ensure_future(event.wait()) for event in (stop, self._nudge)]
                try:
                    await asyncio.wait(waits, timeout=self._every, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for wait in waits:
                        wait.cancel()
            if self._serving:
                await asyncio.wait(self._serving.values())
        finally:
            for task in self._serving.values():
                task.cancel()

    async def _look(self, stop: asyncio.Event) -> None:
        webhooks, states, now = await self._book.list(), await self._book.states(), self._now()
        for webhook in webhooks:
            state = states.get(webhook.name)
            if webhook.suspended or state is None or not state.waiting or (state.ready_at and state.ready_at > now):
                continue
            if webhook.name not in self._serving:
                task = asyncio.create_task(self._serve(webhook, stop), name=f"webhook {webhook.name}")
                self._serving[webhook.name] = task
                task.add_done_callback(lambda _, name=webhook.name: self._serving.pop(name, None))  # type: ignore[misc]  # the default binds

    async def _serve(self, webhook: Webhook, stop: asyncio.Event) -> None:
        """As long as something goes through. A receiver that changes meanwhile is looked at again soon."""
        until = time.monotonic() + 2 * self._every
        try:
            while not stop.is_set() and time.monotonic() < until and await self.deliver_once(webhook):
                pass
        except TillgateError as error:
            log.warning("deliveries stumbled", webhook=webhook.name, error=str(error)[:300])
        except Exception:
            log.exception("deliveries failed", webhook=webhook.name)

    async def deliver_once(self, webhook: Webhook) -> int:
        """What is next, at most one event of each subject. Returns how many it was, none when the receiver fails as a whole."""
        due = await self._book.due(webhook.name, self._now(), LEASE, AT_ONCE)
        if not due:
            return 0
        outcomes = await asyncio.gather(*(self._send(webhook, delivery.event) for delivery in due))
        now = self._now()
        delivered = [d.position for d, outcome in zip(due, outcomes, strict=True) if _good(outcome)]
        bad = [(d, outcome) for d, outcome in zip(due, outcomes, strict=True) if not _good(outcome)]
        failed = [self._failure(d, outcome, now, healthy=bool(delivered)) for d, outcome in bad]
        pause = None
        if bad and not delivered and not all(_of_the_event(outcome) for _, outcome in bad):
            failures = (await self._book.states())[webhook.name].failures
            pause = now + timedelta(seconds=_pause(failures, [outcome for _, outcome in bad])), _words(bad[0][1])
            log.warning("receiver fails", webhook=webhook.name, failures=failures + 1, error=pause[1], until=str(pause[0]))
        await self._book.settle(webhook.name, delivered, failed, now, pause)
        if any(isinstance(outcome, Answered) and outcome.status == 410 for _, outcome in bad):
            await self._gone(webhook)
        return 0 if pause else len(due)

    async def _send(self, webhook: Webhook, event: Event) -> Answered | UpstreamError:
        now = self._now()
        keys = [secret_of(self._gateway, webhook.name, secret) for secret in valid(webhook, now)]
        try:
            with self._recorder.flight("task", f"webhook {webhook.name}", parent=event.traceparent, trusted=True) as record:
                record.set(message_id=event.id[:200], event_type=event.type)
                told = self._history.down_event(event, webhook.api_version)
                return await self._sender.send(webhook.name, webhook.url, told, keys, now)
        except UpstreamError as error:
            return error
        except Exception as error:
            log.exception("event cannot be told", webhook=webhook.name, event_id=event.id[:200], event_type=event.type)
            why = f"{event.type} cannot be told in API version {webhook.api_version}: {type(error).__name__}"
            return UpstreamFault(system=f"webhook {webhook.name}", operation="deliver", reason=why, sent=False)

    def _failure(self, delivery: Delivery, outcome: Answered | UpstreamError, now: datetime, *, healthy: bool) -> Failure:
        refused = _of_the_event(outcome) or (healthy and isinstance(outcome, Answered) and outcome.status >= 500)
        dead = (refused and delivery.refusals + 1 >= REFUSALS) or now - delivery.at > self._keep
        wait = 2.0**delivery.refusals if refused else min(2.0 ** min(delivery.attempts, 16), PAUSE_MAX)
        wait *= random.uniform(0.8, 1.2)  # noqa: S311 - spreads, hides nothing
        return Failure(delivery.position, _words(outcome), None if dead else now + timedelta(seconds=wait), refused)

    async def _gone(self, webhook: Webhook) -> None:
        """The receiver has said that it is there no more (410): nothing is sent until a person resumes it."""
        after = msgspec.structs.replace(webhook, suspended="it answered 410 Gone")
        entry = entry_of(self._now, "tillgate", "webhook.changed", webhook.name, {"suspended": f"no -> {after.suspended}"})
        try:
            await self._book.change(webhook, after, [entry])
            tell(entry)
        except StateConflict:
            log.info("receiver was changed meanwhile", webhook=webhook.name)


def _good(outcome: Answered | UpstreamError) -> bool:
    return isinstance(outcome, Answered) and 200 <= outcome.status < 300


def _of_the_event(outcome: Answered | UpstreamError) -> bool:
    return isinstance(outcome, Answered) and 400 <= outcome.status < 500 and outcome.status not in _OF_THE_RECEIVER


def _words(outcome: Answered | UpstreamError) -> str:
    return f"answered {outcome.status}" if isinstance(outcome, Answered) else str(outcome)[:500]


def _pause(failures: int, outcomes: Sequence[Answered | UpstreamError]) -> float:
    """Seconds; what the receiver itself asks for counts, up to an hour."""
    asked = max((outcome.retry_after or 0 for outcome in outcomes if isinstance(outcome, Answered)), default=0)
    return max(min(asked, BACKOFF_MAX), min(2.0 ** min(failures, 16), PAUSE_MAX) * random.uniform(0.8, 1.2))  # noqa: S311 - likewise
