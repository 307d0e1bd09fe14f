"""Five times as much as the gateway can do, for a minute, while an operation of the ERP hangs: what the most important requests notice.

The gateway has one processor, the load and the legacy systems another. First its capacity is measured with everybody asking as fast as
answers come; then the most important requests alone, at a tenth of that; then the same with all the others besides, at a fixed rate that
does not wait for answers. Times count from when a request was due. `--seconds N` takes less time.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from statistics import mean, quantiles

import msgspec
import uvloop

from benchmarks.ratio import Ratio, show
from contracts.policy import Duration
from gateway.bootstrap import check, product
from gateway.cli.serving import demo_keys, listening, run, sandbox, sandbox_environment
from gateway.estate import Quota, QuotaPolicy

ROOT = Path(__file__).resolve().parents[1]
HANGS = "GetPrices"
SEED = random.Random(1)

# ---- the gateway, in a process of its own ---------------------------------------------------------------------------


async def serve(folder: Path) -> None:
    """Prints where it is and the keys, and ends with its standard input."""
    wide = Quota(policies=(QuotaPolicy(name="burst", requests=10_000_000, window=Duration(1)),))
    checked = await asyncio.to_thread(check, ROOT)
    routes = dict(checked.estate.route)
    routes[CUSTOMER] = msgspec.structs.replace(routes[CUSTOMER], priority="critical")
    edge = msgspec.structs.replace(checked.estate.edge, max_connections_per_address=1000)
    estate = msgspec.structs.replace(checked.estate, quota=dict.fromkeys(checked.estate.quota, wide), route=routes, edge=edge)
    _pin(-1)
    async with sandbox(folder / "sandbox", "--seed", "1") as found:
        _pin(0)
        with listening("127.0.0.1", 0) as door:
            async with product(replace(checked, estate=estate), folder / "data", environment=sandbox_environment(found)) as running:
                keys = await demo_keys(running)
                print(json.dumps({"port": door.getsockname()[1], "keys": keys, "control": found["control"]}), flush=True)
                server = asyncio.create_task(run(running, door))
                await asyncio.to_thread(sys.stdin.read)
                running.stop.set()
                await server


CUSTOMER = "GET /customers/{number}"


def _pin(which: int) -> None:
    """To the first or the last processor, where there are several."""
    known = sorted(os.sched_getaffinity(0) if which == 0 else range(os.cpu_count() or 1))
    os.sched_setaffinity(0, {known[which]})


@dataclass
class Gateway:
    port: int
    keys: dict[str, str]
    control: str
    pid: int

    def fault(self, kind: str, operation: str) -> None:
        rule = json.dumps({"system": "erp", "kind": kind, "operation": operation}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.control}/faults", rule, method="PUT"), timeout=10).close()  # noqa: S310 - our own

    def resident(self) -> int:
        """Bytes of memory."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def gateway(folder: Path) -> Iterator[Gateway]:
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.overload", "--serve", str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        line = child.stdout.readline() if child.stdout else b""
        if not line:
            raise RuntimeError("the gateway did not start; see the lines above")
        yield Gateway(**json.loads(line), pid=child.pid)
    finally:
        if child.stdin:
            child.stdin.close()
        try:
            child.wait(40)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


# ---- who asks -------------------------------------------------------------------------------------------------------


@dataclass
class Group:
    """One kind of request. `next` gives its bytes; `share` is its part of the load."""

    name: str
    share: float
    next: Callable[[], bytes]
    good: tuple[int, ...] = (200,)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    """From when it was due to its answer, of good ones."""
    due: int = 0
    late: int = 0
    """Not sent, since no connection was free for it."""

    def clear(self) -> None:
        self.statuses, self.seconds, self.due, self.late = Counter(), [], 0, 0

    @property
    def fine(self) -> int:
        return sum(self.statuses[status] for status in self.good)

    def p99(self) -> float:
        return quantiles(self.seconds, n=100)[98] if len(self.seconds) > 1 else float("inf")


def groups(keys: dict[str, str]) -> list[Group]:
    """In the order of their importance: 10 % critical, of which a twentieth are orders; then staff, shop and marketplace. What shop and
    marketplace ask for is mostly in memory; a tenth needs the operation that hangs.
    """
    numbers = count(1)

    def get(path: Callable[[], str], channel: str) -> Callable[[], bytes]:
        fields = f" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {keys[channel]}\r\nRequest-Timeout: 5\r\n\r\n".encode()
        return lambda: b"".join((b"GET ", path().encode(), fields))

    def browse() -> str:
        if SEED.random() < 0.1:
            return f"/prices?sku={SEED.randrange(10_000_001, 10_002_000)}&location={SEED.randrange(1, 100):04}"
        return f"/products/{SEED.randrange(10_000_001, 10_000_050)}"

    def order() -> bytes:
        body = (
            f'{{"lines":[{{"lineNumber":1,"sku":"{10_000_001 + next(numbers) % 500}","quantity":{{"value":"1","unit":"EA"}},'
            '"unitPrice":{"centAmount":379,"currencyCode":"EUR","fractionDigits":2},"requestedLocationId":"0001"}]}'
        )
        return (
            f"POST /orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {keys['web']}\r\nContent-Type: application/json\r\n"
            f"Idempotency-Key: k{next(numbers)}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    return [
        Group("critical", 0.095, get(lambda: f"/customers/{1_000_001 + next(numbers) % 300}", "call_centre"), (200, 404)),
        Group("critical orders", 0.005, order, (201, 202, 409, 422)),
        Group("high", 0.1, get(lambda: f"/inventory?sku={SEED.randrange(10_000_001, 10_000_011)}&location=0001", "store")),
        Group("normal", 0.4, get(browse, "web")),
        Group("low", 0.4, get(browse, "marketplace")),
    ]


class Caller(asyncio.Protocol):
    """A connection that is kept, with one request at a time."""

    def __init__(self, port: int, free: Callable[[Caller], None]) -> None:
        self._port, self._free = port, free
        self._buffer = b""
        self._group: Group | None = None
        self._due = 0.0
        self._told: asyncio.Future[None] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's

    def ask(self, group: Group, due: float) -> None:
        """On a new connection, if the gateway has closed this one for lying idle."""
        self._group, self._due, self._buffer = group, due, b""
        if self.transport is None or self.transport.is_closing():
            self._opening = asyncio.ensure_future(self._again())
        else:
            self.transport.write(group.next())

    async def answered(self) -> None:
        if self._group is not None:
            self._told = asyncio.get_running_loop().create_future()
            await self._told

    async def _again(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)
        except OSError:
            self._done(0)
        else:
            if self._group is not None and self.transport is not None:
                self.transport.write(self._group.next())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        at = self._buffer.find(b"content-length: ")
        size = int(self._buffer[at + 16 : self._buffer.find(b"\r", at)]) if 0 <= at < end else 0
        if len(self._buffer) >= end + 4 + size:
            self._done(int(self._buffer[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._group is not None:
            self._done(0)

    def _done(self, status: int) -> None:
        group, self._group = self._group, None
        if group is not None:
            group.statuses[status] += 1
            if status in group.good:
                group.seconds.append(time.monotonic() - self._due)
            self._free(self)
            if self._told is not None:
                self._told.set_result(None)
                self._told = None


class Load:
    """`connections` for each group, so that nobody waits behind a less important one before the gateway has seen him."""

    def __init__(self, port: int, connections: int) -> None:
        self._port, self._connections = port, connections
        self._idle: dict[str, deque[Caller]] = {}
        self._waiting: dict[str, deque[float]] = {}
        self._open: list[Caller] = []

    async def connect(self, found: list[Group]) -> None:
        loop = asyncio.get_running_loop()
        for group in found:
            idle = self._idle[group.name] = deque()
            for _ in range(self._connections):
                _, caller = await loop.create_connection(lambda idle=idle: Caller(self._port, idle.append), "127.0.0.1", self._port)  # type: ignore[misc]  # the default binds
                idle.append(caller)
                self._open.append(caller)

    def close(self) -> None:
        for caller in self._open:
            if caller.transport is not None:
                caller.transport.abort()

    async def as_fast_as_answers_come(self, found: list[Group], callers: int, seconds: float) -> float:
        """Answers a second, good ones only."""
        weights = [g.share for g in found]
        end = time.monotonic() + seconds
        began = time.monotonic()

        async def one() -> None:
            while time.monotonic() < end:
                group = SEED.choices(found, weights)[0]
                idle = self._idle[group.name]
                if not idle:
                    await asyncio.sleep(0.001)
                    continue
                caller = idle.popleft()
                caller.ask(group, time.monotonic())
                await caller.answered()

        await asyncio.gather(*(one() for _ in range(callers)))
        return sum(g.fine for g in found) / (time.monotonic() - began)

    async def at_rates(self, rates: dict[str, float], found: list[Group], seconds: float, each_second: Callable[[], None]) -> None:
        """Requests are due at random times of these mean rates, whatever became of those before."""
        began = time.monotonic()
        chosen = [g for g in found if rates.get(g.name)]
        following = {g.name: began + SEED.expovariate(rates[g.name]) for g in chosen}
        tick = began + 1
        while (now := time.monotonic()) < began + seconds:
            for group in chosen:
                idle = self._idle[group.name]
                while following[group.name] <= now:
                    due = following[group.name]
                    following[group.name] += SEED.expovariate(rates[group.name])
                    group.due += 1
                    if idle:
                        idle.popleft().ask(group, due)
                    else:
                        group.late += 1
            if now >= tick:
                tick += 1
                each_second()
            await asyncio.sleep(0.001)
        await asyncio.sleep(2)


# ---- what it comes to -----------------------------------------------------------------------------------------------


async def measure(at: Gateway, seconds: float, told: Callable[[str], None]) -> list[Ratio]:
    found = groups(at.keys)
    load = Load(at.port, 150)
    await load.connect(found)
    try:
        await load.as_fast_as_answers_come(found, 16, 2)  # everything gets warm
        for group in found:
            group.clear()
        capacity = await load.as_fast_as_answers_come(found, 48, min(8, seconds))
        told(f"capacity {capacity:.0f} requests/s")
        rates = {g.name: g.share * capacity for g in found}
        important = {name: rate for name, rate in rates.items() if name.startswith("critical")}
        for group in found:
            group.clear()
        alone = min(20, seconds)
        await load.at_rates(important, found, alone, lambda: None)
        unloaded = {g.name: (g.fine / max(1, g.due), g.p99()) for g in found if g.name in important}
        told(_lines(found))
        for group in found:
            group.clear()
        at.fault("hang", HANGS)
        memory: list[int] = []
        others = {name: rate * (5 - 0.1) / 0.9 for name, rate in rates.items() if name not in important}
        before = at.cpu()
        await load.at_rates(important | others, found, seconds, lambda: memory.append(at.resident()))
        told(f"{sum(important.values()) + sum(others.values()):.0f} requests/s were due; the gateway used {at.cpu() - before:.0f} s of CPU")
        told(_lines(found))
    finally:
        load.close()
    ratios = []
    for group in found:
        if group.name in unloaded:
            good, p99 = unloaded[group.name]
            ratios.append(_ratio(f"overload goodput {group.name}", "unloaded", group.fine / max(1, group.due), good, ">=0.9"))
            ratios.append(_ratio(f"overload p99 {group.name}", "unloaded", group.p99(), p99, "<=3.0"))
    third = max(1, len(memory) // 3)
    ratios.append(_ratio("overload memory", "its first third", mean(memory[-third:]), mean(memory[:third]), "<=1.1"))
    return ratios


def _lines(found: list[Group]) -> str:
    return "\n".join(
        f"  {g.name:16} due {g.due:6} not sent {g.late:6} good {g.fine:6} p99 {1000 * g.p99():7.1f} ms  {dict(g.statuses)}"
        for g in found
        if g.due
    )


def _ratio(name: str, against: str, ours: float, theirs: float, bar: str) -> Ratio:
    value = ours / theirs if theirs else float("inf")
    holds = value >= float(bar[2:]) if bar.startswith(">=") else value <= float(bar[2:])
    return Ratio(name, against, round(value, 3), (round(value, 3), round(value, 3)), ours * 1e6, theirs * 1e6, bar, holds)


def main() -> None:
    if "--serve" in sys.argv:
        uvloop.run(serve(Path(sys.argv[-1])))
        return
    seconds = float(sys.argv[sys.argv.index("--seconds") + 1]) if "--seconds" in sys.argv else 60.0
    with tempfile.TemporaryDirectory(prefix="tillgate-overload-") as folder, gateway(Path(folder)) as at:
        _pin(-1)
        ratios = uvloop.run(measure(at, seconds, lambda line: print(line, file=sys.stderr)))
    show(ratios)
    sys.exit(not all(r.holds for r in ratios))


if __name__ == "__main__":
    main()
