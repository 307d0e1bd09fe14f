"""A ledger of quotas in Redis or Valkey: one script decides about all policies of a call, by the server's clock."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import re
import secrets
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from adapters.valkey.client import Line
from adapters.valkey.errors import away
from adapters.valkey.spec import ValkeyOptions
from contracts.quota import Decision, LedgerAway, Plan
from observability import get_logger

log = get_logger(__name__)

TAKE, BEAT = (Path(__file__).with_name(f"{name}.lua").read_text("utf-8") for name in ("take", "beat"))
_LATE = 0.005
"""Seconds by which a timer may ring late before we say that it was us who were not listening."""


class _Ask(NamedTuple):
    command: bytes
    answer: asyncio.Future[Any] | None
    """None: nobody waits for it."""
    by: float
    """Time of the loop."""


class ValkeyLedger:
    """Fulfils `contracts.quota.Ledger`. Calls that are ready in one turn of the loop, or while a batch is under way, travel together."""

    def __init__(self, options: ValkeyOptions, estate: str, take: str = TAKE) -> None:
        """`take`: the script that decides (tests give it another clock)."""
        self._options = options
        self._limit = float(options.limit)
        self._space = f"tillgate:{re.sub(r'[^A-Za-z0-9_-]', '_', estate)[:60]}"
        lives = round(5000 * options.beat)
        self._beat = _packed("EVALSHA", _sha(BEAT), 1, f"{self._space}:processes", secrets.token_hex(8), lives)
        self._take = take
        self._queue: deque[_Ask] = deque()
        self._wake = asyncio.Event()
        self._open = 0
        """Lines that stand."""
        self._tasks: list[asyncio.Task[None]] = []
        self._told: str | None = "not connected yet"
        self.lost = 0
        """Charges that nobody could be told."""
        self._processes = 1
        self._command = functools.lru_cache(maxsize=16_384)(self._written)

    # ---- the port

    @property
    def reachable(self) -> bool:
        return self._open > 0

    @property
    def processes(self) -> int:
        return self._processes

    @property
    def trouble(self) -> str:
        return self._told or ""

    async def take(self, plan: Plan, client: str, store: str, cost: int) -> Decision:
        granted, *levels = await self._ask(self._command(plan, client, store, cost, 0))
        if granted and min(levels, default=0) < 0:
            surpassed = tuple(i for i, level in enumerate(levels) if level < 0)
            return Decision(True, [-1 - level if level < 0 else level for level in levels], surpassed)
        return Decision(bool(granted), levels)

    def charge(self, plan: Plan, client: str, store: str, cost: int) -> None:
        if self._open and len(self._queue) < self._options.waiting:
            self._queue.append(_Ask(self._command(plan, client, store, cost, 1), None, asyncio.get_running_loop().time() + self._limit))
            self._wake.set()
        else:
            self.lost += 1

    # ---- life

    async def start(self) -> None:
        """A server that is away is no reason not to start; it is looked for at once and from then on. Raises OSError for bad TLS files."""
        first = asyncio.Event()
        lines = range(self._options.connections)
        self._tasks = [asyncio.create_task(self._serve(first), name=f"quota ledger {n}") for n in lines]
        with suppress(TimeoutError):
            async with asyncio.timeout(float(self._options.connect_limit)):
                await first.wait()
        self._tasks.append(asyncio.create_task(self._live(), name="quota ledger beat"))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._fail(self._queue, LedgerAway("shutting down"))
        self._queue.clear()

    # ---- inside

    async def _ask(self, command: bytes) -> Any:
        if not self._open:
            raise LedgerAway(self.trouble)
        if len(self._queue) >= self._options.waiting:
            raise LedgerAway("too many calls wait for it")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._queue.append(_Ask(command, answer, loop.time() + self._limit))
        self._wake.set()
        return await answer

    async def _serve(self, first: asyncio.Event) -> None:
        """One line: it opens, carries batches until it breaks, and opens again; the sooner it breaks, the later."""
        loop, pause, longest = asyncio.get_running_loop(), float(self._options.backoff), float(self._options.backoff_max)
        while True:
            line, opened, reason = Line(self._options, (self._take, BEAT), self._beat), 0.0, ""
            try:
                await line.open()
                opened = loop.time()
                self._open += 1
                self._say("")
                first.set()
                while True:
                    await self._wake.wait()
                    await self._carry(line)
            except Exception as exc:  # noqa: BLE001 - whatever has broken this line, another one is opened
                reason = str(away(exc))
            finally:
                self._open -= bool(opened)
                with suppress(Exception):
                    await line.close()
            if not self._open:
                self._say(reason)
                self._fail(self._queue, LedgerAway(reason))
                self._queue.clear()
            first.set()
            if opened and loop.time() - opened > longest:
                pause = float(self._options.backoff)
            await asyncio.sleep(pause * (0.5 + secrets.randbelow(1000) / 1000))
            pause = min(2 * pause, longest)

    def _say(self, reason: str) -> None:
        """Why it is away, or "": into the log when that has changed."""
        if reason and reason != self._told:
            log.error("the shared store is away", store=repr(self._options), reason=reason)
        elif not reason and self._told is not None:
            log.info("the shared store is there", store=repr(self._options))
        self._told = reason or None

    async def _carry(self, line: Line) -> None:
        queue = self._queue
        batch = [queue.popleft() for _ in range(min(len(queue), self._options.batch))]
        if not queue:
            self._wake.clear()
        if not batch:
            return
        try:
            answers = await _within(line.exchange([ask.command for ask in batch]), batch[0].by, self._limit)
        except BaseException as exc:
            self._fail(batch, away(exc))
            raise
        for ask, answer in zip(batch, answers, strict=True):
            if ask.answer is not None and not ask.answer.done():
                if isinstance(answer, ResponseError):
                    ask.answer.set_exception(away(answer))
                else:
                    ask.answer.set_result(answer)
        if all(isinstance(answer, ResponseError) for answer in answers):  # such a server is no ledger (any more): it is looked for again
            raise answers[0]

    def _fail(self, asks: Iterable[_Ask], reason: LedgerAway) -> None:
        for ask in asks:
            if ask.answer is None:
                self.lost += 1
            elif not ask.answer.done():
                ask.answer.set_exception(reason)

    async def _live(self) -> None:
        while True:
            with suppress(LedgerAway):
                self._processes = max(1, await self._ask(self._beat))
            await asyncio.sleep(float(self._options.beat))

    def _written(self, plan: Plan, client: str, store: str, cost: int, charge: int) -> bytes:
        """A client's keys have one hash tag: in a cluster they lie together. Names of clients may be anything: keys carry digests."""
        tag = f"{self._space}:quota:{{{_digest(client)}}}:"
        keys = [tag + _digest(plan.quota, count, *key[1:]) for count, key in zip(plan.counts, plan.keys(client, store), strict=True)]
        rules: list[int] = []
        each = iter(plan.rules)
        for count in plan.counts:
            rules.append(len(count.limits))
            for weight, leak, capacity, applies, enforce in (next(each) for _ in count.limits):
                rules += (weight, leak, capacity, (1 if enforce else 2) if applies else 0)
        return _packed("EVALSHA", _sha(self._take), len(keys), *keys, cost, charge, *rules)


async def _within(work: Any, by: float, limit: float) -> Any:
    """Like asyncio.timeout_at; but where our own loop was held up, the server gets `limit` anew: its answer may lie there already."""
    loop, task, caller = asyncio.get_running_loop(), asyncio.ensure_future(work), asyncio.current_task()
    expired, timer = False, loop.call_at(by, lambda: ring(by))

    def ring(due: float) -> None:
        nonlocal timer, expired
        now = loop.time()
        if now - due > _LATE:
            timer = loop.call_at(now + limit, ring, now + limit)
        else:
            expired = True
            task.cancel()

    try:
        return await task
    except asyncio.CancelledError:
        if expired and not (caller and caller.cancelling()):
            raise TimeoutError from None
        task.cancel()
        raise
    finally:
        timer.cancel()


def _packed(*words: str | int) -> bytes:
    """A command in the protocol's form (RESP: an array of strings with their lengths)."""
    parts = [str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def _sha(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def _digest(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()
