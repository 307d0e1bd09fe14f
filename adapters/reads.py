"""Reads of one operation, per key: answered from cache, joined while under way, gathered into batches."""

from __future__ import annotations

import asyncio
import contextvars
import re
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import msgspec

from adapters.cache import Cache, Entry, Rows
from contracts.call import Call
from contracts.canonical.base import Provenance
from contracts.errors import (
    CallerError,
    ContractViolation,
    DeadlineExceeded,
    InvalidRequest,
    TillgateError,
    UpstreamError,
    UpstreamRejected,
)
from contracts.policy import Policy
from contracts.ports import SkuAt
from observability import Hop, Recorder, Step, current_hop, get_logger, step

log = get_logger(__name__)

RENEWALS = 8
"""Readings behind the back of answers that one operation has under way at most."""
_INDEX = re.compile(r"/\d+")

Ask = Callable[[tuple[Hashable, ...], Call], Awaitable[tuple[Rows, Provenance]]]
"""Performs one guarded call for these keys."""


@dataclass(slots=True, eq=False)
class _Shared:
    """One upstream call and the keys it asks for. It belongs to all who wait for it and ends with the last of them."""

    group: Hashable
    """What its keys have in common, by `batch.same`."""
    call: Call
    context: contextvars.Context
    origin: str
    """traceparent of the step that opened it; empty outside a flight."""
    done: asyncio.Future[None]
    keys: list[Hashable] = field(default_factory=list)
    waiters: int = 0
    joined: int = 0
    timer: asyncio.TimerHandle | None = None
    task: asyncio.Task[None] | None = None
    entries: dict[Hashable, Entry] = field(default_factory=dict)
    errors: dict[Hashable, Exception] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Findings:
    """What a read brought: an entry or an error for every key. `cached`: which entries were there before; `stale`: which of those are
    past their time and are being read again."""

    entries: dict[Hashable, Entry]
    errors: dict[Hashable, Exception]
    cached: frozenset[Hashable] = frozenset()
    stale: frozenset[Hashable] = frozenset()


class Reads:
    """A hundred callers of one key cause one call; keys that arrive within `batch.linger` travel together, up to `batch.size`, and with
    `batch.same` only with those that agree in that field.

    `key_of` tells whose answer a row is; None: a key is a whole request and all rows are its answer. A row of no asked key is left
    out. `spend` says whether the system's retry budget allows the further calls that find the one bad key of a batch.
    """

    def __init__(
        self,
        system: str,
        operation: str,
        policy: Policy,
        ask: Ask,
        *,
        key_of: Callable[[msgspec.Struct], Hashable] | None,
        cache_rows: int,
        spend: Callable[[], bool],
        recorder: Recorder | None = None,
    ) -> None:
        self._system, self._operation, self._policy, self._ask = system, operation, policy, ask
        self._key_of, self._spend = key_of, spend
        self._size = policy.batch.size if key_of else 1
        self._recorder = recorder
        freshness = policy.freshness
        self._served = max(freshness.max_age, freshness.stale_while_revalidate)
        """Age up to which a cached answer is one at once."""
        self._keep = max(self._served, freshness.stale_if_error)
        self.cache = Cache(cache_rows)
        self._flying: dict[Hashable, _Shared] = {}
        self._open: dict[Hashable, _Shared] = {}
        """Calls that still take keys, by group; each has a waiter, and departs or is left within `linger`."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._renewed: set[Hashable] = set()
        self._renewals: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        tasks = [*self._tasks, *self._renewals]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def stale(self, key: Hashable) -> Entry | None:
        """What may stand in for an error."""
        return self.cache.get(key, asyncio.get_running_loop().time() - self._policy.freshness.stale_if_error)

    async def read(self, keys: Sequence[Hashable], call: Call) -> Findings:
        """Raises nothing of the system's: errors are returned by key, so that the other keys keep their answers."""
        entries: dict[Hashable, Entry] = {}
        missing: Iterable[Hashable] = dict.fromkeys(keys)
        stale: list[Hashable] = []
        if self._served and not call.fresh:
            now = asyncio.get_running_loop().time()
            entries = {key: entry for key in missing if (entry := self.cache.get(key, now - self._served))}
            missing = [key for key in missing if key not in entries]
            if self._served > (max_age := self._policy.freshness.max_age):
                stale = [key for key, entry in entries.items() if entry.received < now - max_age]
            if len(stale) < len(entries):
                with step(Step.CACHE, system=self._system, operation=self._operation, cache="hit", keys=len(entries) - len(stale)):
                    pass
            if stale:
                age = now - min(entries[key].received for key in stale)
                with step(
                    Step.CACHE, system=self._system, operation=self._operation, cache="stale", stale=True, age_s=age, keys=len(stale)
                ) as hop:
                    self._renew([key for key in stale if key not in self._renewed], call, hop.traceparent if hop.record else None)
        cached = frozenset(entries)
        errors: dict[Hashable, Exception] = {}
        if missing:
            with step(Step.CALL, system=self._system, operation=self._operation) as hop:
                await self._fetch(missing, call, hop, entries, errors)
                if errors:
                    hop.failed(next(iter(errors.values())))
            for key, error in errors.items():
                if isinstance(error, InvalidRequest):  # its place counts within the batch that travelled, not within what was asked here
                    error.where = _INDEX.sub(f"/{list(dict.fromkeys(keys)).index(key)}", error.where, count=1)
        return Findings(entries, errors, cached, frozenset(stale))

    def _renew(self, keys: Sequence[Hashable], call: Call, origin: str | None) -> None:
        """Reads them again for whoever asks next, each once at a time. With too many such reads under way it is left to a later caller."""
        if not keys or len(self._renewals) >= RENEWALS:
            return
        self._renewed.update(keys)
        # In a context of its own: the flight that asked goes on without it.
        task = asyncio.get_running_loop().create_task(self._read_again(keys, call, origin), context=contextvars.Context())
        self._renewals.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._renewals.discard(task)
            self._renewed.difference_update(keys)
            if not task.cancelled() and (error := task.exception()):
                log.error("reading again failed", operation=f"{self._system}.{self._operation}", exc_info=error)

        task.add_done_callback(ended)

    async def _read_again(self, keys: Sequence[Hashable], call: Call, origin: str | None) -> None:
        """A flight of its own, linked to the one that was answered with what was there."""
        deadline = asyncio.get_running_loop().time() + self._policy.deadline
        call = msgspec.structs.replace(call, deadline=deadline)
        name = f"renew {self._system}.{self._operation}"
        recorder, errors = self._recorder, dict[Hashable, Exception]()
        with (
            recorder.flight("task", name, channel=call.channel, client=call.client, parent=origin) if recorder else nullcontext(),
            step(Step.CALL, system=self._system, operation=self._operation) as hop,
        ):
            await self._fetch(keys, call, hop, {}, errors)
            if errors:
                hop.failed(next(iter(errors.values())))

    async def _fetch(
        self, keys: Iterable[Hashable], call: Call, hop: Hop, entries: dict[Hashable, Entry], errors: dict[Hashable, Exception]
    ) -> None:
        trips: dict[_Shared, list[Hashable]] = {}
        try:
            for key in keys:
                shared = self._flying.get(key)
                if shared is None or (call.fresh and shared.task):  # what is under way may have been read before now
                    shared = self._board(key, call)
                if shared not in trips:
                    shared.waiters += 1
                    shared.joined += 1
                    trips[shared] = []
                trips[shared].append(key)
                if self._open.get(shared.group) is shared and len(shared.keys) >= self._size:
                    self._depart(shared)
            left = call.deadline - asyncio.get_running_loop().time()
            with call.waiting:
                await asyncio.wait([shared.done for shared in trips], timeout=max(left, 0))
            for shared, wanted in trips.items():
                self._tell(shared, hop)
                for key in wanted:
                    if entry := shared.entries.get(key):
                        entries[key] = entry
                    else:
                        errors[key] = _own(shared.errors[key]) if key in shared.errors else self._too_late()
        finally:
            for shared in trips:
                self._leave(shared)

    def _tell(self, shared: _Shared, hop: Hop) -> None:
        if hop.record is not None and shared.origin == hop.traceparent:
            hop.set(joined=shared.joined)
        else:
            hop.link_to("joined_call", shared.origin)
            hop.set(cache="batched" if len(shared.keys) > 1 else "collapsed")

    def _board(self, key: Hashable, call: Call) -> _Shared:
        group = getattr(key, self._policy.batch.same) if self._policy.batch.same else None
        shared = self._open.get(group)
        if shared is None:
            loop, hop = asyncio.get_running_loop(), current_hop()
            origin = hop.traceparent if hop and hop.record else ""
            shared = self._open[group] = _Shared(group, call, contextvars.copy_context(), origin, loop.create_future())
            if self._size > 1:
                shared.timer = loop.call_later(self._policy.batch.linger, self._depart, shared)
        shared.keys.append(key)
        self._flying[key] = shared
        return shared

    def _depart(self, shared: _Shared) -> None:
        self._shut(shared)
        task = asyncio.get_running_loop().create_task(self._travel(shared), context=shared.context)
        shared.task = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._land(shared))

    async def _travel(self, shared: _Shared) -> None:
        now = asyncio.get_running_loop().time()
        longest = max(shared.call.deadline, now + self._policy.deadline)  # who joins late is not cut short by who came first
        await self._perform(tuple(shared.keys), msgspec.structs.replace(shared.call, deadline=longest), shared)

    async def _perform(self, keys: tuple[Hashable, ...], call: Call, shared: _Shared) -> None:
        asked = asyncio.get_running_loop().time()
        try:
            rows, source = await self._ask(keys, call)
            received = asyncio.get_running_loop().time()
            entries = {key: Entry(tuple(own), source, asked, received) for key, own in self._sorted(keys, rows).items()}
        except (CallerError, UpstreamRejected, ContractViolation) as exc:
            # One bad key must not spoil its neighbours' answers. What our own mapping refuses costs the system nothing.
            if len(keys) > 1 and (isinstance(exc, CallerError) or self._spend()):
                await self._perform(keys[: len(keys) // 2], call, shared)
                await self._perform(keys[len(keys) // 2 :], call, shared)
            else:
                shared.errors.update(dict.fromkeys(keys, exc))
        except Exception as exc:  # noqa: BLE001  # handed to everyone who waits
            shared.errors.update(dict.fromkeys(keys, exc))
        else:
            shared.entries.update(entries)
            if self._keep:
                for key, entry in entries.items():
                    self.cache.put(key, entry)

    def _sorted(self, keys: tuple[Hashable, ...], rows: Rows) -> Mapping[Hashable, Sequence[msgspec.Struct]]:
        if self._key_of is None:
            return {keys[0]: rows}
        own: dict[Hashable, list[msgspec.Struct]] = {key: [] for key in keys}
        everywhere: dict[str, list[SkuAt]] | None = None
        for row in rows:
            key = self._key_of(row)
            if isinstance(key, SkuAt) and not key.location_id:  # said without a location: true at all that were asked for
                if everywhere is None:
                    everywhere = {}
                    for asked in keys:
                        if isinstance(asked, SkuAt):
                            everywhere.setdefault(asked.sku, []).append(asked)
                targets: Sequence[Hashable] = everywhere.get(key.sku, ())
            else:
                targets = (key,) if key in own else ()
            for target in targets:
                own[target].append(row)
        return own

    def _land(self, shared: _Shared) -> None:
        for key in shared.keys:
            if self._flying.get(key) is shared:
                del self._flying[key]
        if not shared.done.done():
            shared.done.set_result(None)

    def _leave(self, shared: _Shared) -> None:
        shared.waiters -= 1
        if shared.waiters or shared.done.done():
            return
        self._shut(shared)
        if shared.task:
            shared.task.cancel()
        self._land(shared)

    def _shut(self, shared: _Shared) -> None:
        if self._open.get(shared.group) is shared:
            del self._open[shared.group]
        if shared.timer:
            shared.timer.cancel()

    def _too_late(self) -> UpstreamError:
        return DeadlineExceeded(system=self._system, operation=self._operation, reason="no answer before the caller's deadline")


def _own(error: Exception) -> Exception:
    """Every waiter raises its own copy: one shared exception would collect the tracebacks of all."""
    if not isinstance(error, TillgateError):
        return error
    copy = type(error)(**error.data)
    copy.__cause__ = error
    return copy
