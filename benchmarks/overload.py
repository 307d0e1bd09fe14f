"""Five times as much as the gateway can do, for a minute, while an operation of the ERP hangs: what the most important requests notice.

The gateway has one processor; load and legacy systems share another. First its capacity is measured with everybody asking as fast as
answers come; then the most important requests alone, at a tenth of that, before and after the storm; in the storm all the others besides,
from a process of its own, at a rate that does not wait for answers: five times the capacity is due in all. Of the ERP one operation hangs,
the prices: the most important requests (customers, read from the ERP each time, and some orders) do not need it, but share its system, its
places and this process with those who do.

Times count from when a request was due, whatever kept the load itself: by how much it was late is printed beside (`lag`), and a run in
which that comes to a third of what is allowed (as much as an answer takes without a storm) proves nothing and fails. The storm has nearly
all connections that a gateway takes by default, and each carries one request at a time: a request that finds none free is not sent, since
those before wait in line, or for being listened to again. How many were sent is printed. `waited`: for how long the gateway could have gone
on, but the processor was taken by somebody else. `--seconds N` takes less time.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count, cycle
from pathlib import Path
from statistics import mean
from typing import Any

import msgspec
import uvloop

from benchmarks.ratio import Ratio, show
from contracts.policy import Duration, Freshness
from gateway.bootstrap import check, product
from gateway.cli.serving import demo_keys, listening, run, sandbox, sandbox_environment
from gateway.estate import Quota, QuotaPolicy

ROOT = Path(__file__).resolve().parents[1]
HANGS = "GetPrices"
STORM = 290
"""Connections for each of the three kinds of requests that are not critical: with those of the others nearly all that are taken."""
ALLOWED = sorted(os.sched_getaffinity(0))
SEED = random.Random(1)

# ---- the gateway, in a process of its own ---------------------------------------------------------------------------


async def serve(folder: Path) -> None:
    """Prints where it is and the keys, and ends with its standard input."""
    wide = Quota(policies=(QuotaPolicy(name="burst", requests=10_000_000, window=Duration(1)),))
    checked = await asyncio.to_thread(check, ROOT)
    changed, declared = msgspec.structs.replace, checked.estate
    route, operation, capability = dict(declared.route), dict(declared.operation), dict(declared.capability)
    route[CUSTOMER] = changed(route[CUSTOMER], priority="critical")
    read = operation["erp.GetCustomer"]
    operation["erp.GetCustomer"] = changed(read, policy=changed(read.policy, freshness=Freshness()))  # else memory would answer mostly
    capability["customer.read"] = changed(capability["customer.read"], operations=("erp.GetCustomer", "oms.getCustomer"))
    edge = changed(declared.edge, max_connections_per_address=declared.edge.max_connections)  # they all come from one here
    quota = dict.fromkeys(declared.quota, wide)
    estate = changed(declared, quota=quota, route=route, operation=operation, capability=capability, edge=edge)
    _pin(-1)
    async with sandbox(folder / "sandbox", "--seed", "1") as found:
        _pin(0)
        with listening("127.0.0.1", 0) as door:
            async with product(replace(checked, estate=estate), folder / "data", environment=sandbox_environment(found)) as running:
                keys = await demo_keys(running)
                print(json.dumps({"port": door.getsockname()[1], "keys": keys, "control": found["control"]}), flush=True)
                os.dup2(2, 1)  # nobody reads on
                server = asyncio.create_task(run(running, door))
                await asyncio.to_thread(sys.stdin.read)
                running.stop.set()
                await server


CUSTOMER = "GET /customers/{number}"


def _first() -> None:
    """This thread goes before all others on its processor, where that is permitted: it measures, and has little to do. Children do not."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def _pin(which: int) -> None:
    """This thread, and those it starts, to the first or the last processor."""
    os.sched_setaffinity(0, {ALLOWED[which]})


@dataclass
class Gateway:
    port: int
    keys: dict[str, str]
    control: str
    pid: int

    def fault(self, kind: str, operation: str) -> None:
        rule = json.dumps({"system": "erp", "kind": kind, "operation": operation}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.control}/faults", rule, method="PUT"), timeout=10).close()  # noqa: S310 - our own

    def healed(self) -> None:
        urllib.request.urlopen(urllib.request.Request(f"{self.control}/faults", method="DELETE"), timeout=10).close()  # noqa: S310 - our own

    def resident(self) -> int:
        """Bytes of memory."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def waited(self) -> float:
        """Seconds for which it was ready to go on, and had no processor."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9


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
    lags: list[float] = field(default_factory=list)
    """By how much it was sent after it was due."""

    def clear(self) -> None:
        self.statuses, self.seconds, self.due, self.late, self.lags = Counter(), [], 0, 0, []

    @property
    def fine(self) -> int:
        return sum(self.statuses[status] for status in self.good)

    def p99(self) -> float:
        return _p99(self.seconds)


def _p99(values: list[float]) -> float:
    """The nearest rank: nothing is made up beyond the slowest."""
    return sorted(values)[math.ceil(0.99 * len(values)) - 1] if values else math.inf


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
        Group("critical", 0.09, get(lambda: f"/customers/{1_000_001 + next(numbers) % 300}", "call_centre"), (200, 404)),
        Group("critical orders", 0.01, order, (201, 202, 409, 422)),
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
                        group.lags.append(time.monotonic() - due)
                        idle.popleft().ask(group, due)
                    else:
                        group.late += 1
            if now >= tick:
                tick += 1
                each_second()
            await asyncio.sleep(0.001)
        await asyncio.sleep(2)


# ---- what it comes to -----------------------------------------------------------------------------------------------


async def flood(at: dict[str, Any]) -> None:
    """What is not important, in a process of its own, so that it holds up nobody who measures. Prints what became of it."""
    _pin(-1)
    os.nice(19)
    found = [g for g in groups(at["keys"]) if g.name in at["rates"]]
    for group in found:
        group.next = cycle([group.next() for _ in range(5000)]).__next__
    load = Load(at["port"], STORM)
    await load.connect(found)
    await asyncio.sleep(3)  # a connection stands before the gateway has taken it
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await load.at_rates(at["rates"], found, at["seconds"], lambda: None)
    load.close()
    due, sent = sum(g.due for g in found), sum(g.due - g.late for g in found)
    print(f"{_lines(found)}\n{due / at['seconds']:.0f} requests/s of these were due, {sent / at['seconds']:.0f} found a free connection")


@contextmanager
def flooding(at: Gateway, rates: dict[str, float], seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Ready to begin, when it is told a line."""
    told = json.dumps({"port": at.port, "keys": at.keys, "rates": rates, "seconds": seconds})
    command = [sys.executable, "-m", "benchmarks.overload", "--flood", told]
    child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if not child.stdout or child.stdout.readline() != "ready\n":
            raise RuntimeError("the load did not start; see the lines above")
        yield child
    finally:
        child.kill()
        child.wait()


async def measure(at: Gateway, seconds: float, told: Callable[[str], None]) -> list[Ratio]:
    found = groups(at.keys)
    load = Load(at.port, 48)
    await load.connect(found)
    await load.as_fast_as_answers_come(found, 16, 2)  # everything gets warm
    for group in found:
        group.clear()
    cpu, waited = at.cpu(), at.waited()
    capacity = await load.as_fast_as_answers_come(found, 48, lasting := min(8, seconds))
    used = (at.cpu() - cpu) / lasting
    told(f"capacity {capacity:.0f} requests/s with {used:.0%} of a processor, waited {at.waited() - waited:.1f} s")
    capacity /= min(1.0, used)  # some of it is kept free for what matters, which is no reason to ask for less
    load.close()
    critical = [g for g in found if g.name.startswith("critical")]
    _taken(found)
    rates = {g.name: g.share * capacity for g in found}
    important = {g.name: rates.pop(g.name) for g in critical}
    others = {name: rate * (5 - 0.1) / 0.9 for name, rate in rates.items()}
    memory: list[int] = []
    alone = min(15, seconds / 2)
    load = Load(at.port, 50)
    await load.connect(critical)
    _first()
    await _quiet(at, load, critical, important, alone, told)
    before = _taken(critical)
    with flooding(at, others, seconds + 1) as storm:
        at.fault("hang", HANGS)
        print("now", file=storm.stdin, flush=True)
        cpu, waited = at.cpu(), at.waited()
        await load.at_rates(important, critical, seconds, lambda: memory.append(at.resident()))
        told(
            f"{sum(important.values()) + sum(others.values()):.0f} requests/s were due; "
            f"the gateway used {at.cpu() - cpu:.0f} s of CPU, waited {at.waited() - waited:.1f} s"
        )
        told(_lines(critical))
        during = _taken(critical)
        told((await asyncio.to_thread(storm.communicate))[0].rstrip())
    at.healed()
    await asyncio.sleep(3)
    await _quiet(at, load, critical, important, alone, told)
    after = _taken(critical)
    load.close()
    ratios = []
    for name in before:
        unloaded = Group(name, 0, bytes)
        unloaded.seconds, unloaded.due = before[name].seconds + after[name].seconds, before[name].due + after[name].due
        unloaded.statuses, unloaded.good = before[name].statuses + after[name].statuses, before[name].good
        stormy = during[name]
        good, usual = stormy.fine / max(1, stormy.due), unloaded.fine / max(1, unloaded.due)
        ratios.append(_ratio(f"overload goodput {name}", "unloaded", good, usual, ">=0.9"))
        ratios.append(_ratio(f"overload p99 {name}", "unloaded", stormy.p99(), unloaded.p99(), "<=3.0"))
        ratios.append(_ratio(f"overload lag {name}", "unloaded p99", _p99(stormy.lags), unloaded.p99(), "<=1.0"))
    third = max(1, len(memory) // 3)
    ratios.append(_ratio("overload memory", "its first third", mean(memory[-third:]), mean(memory[:third]), "<=1.1"))
    return ratios


async def _quiet(
    at: Gateway, load: Load, critical: list[Group], rates: dict[str, float], seconds: float, told: Callable[[str], None]
) -> None:
    waited = at.waited()
    await load.at_rates(rates, critical, seconds, lambda: None)
    told(f"alone; the gateway waited {at.waited() - waited:.1f} s\n{_lines(critical)}")


def _taken(found: list[Group]) -> dict[str, Group]:
    """What was measured so far; the groups begin anew."""
    taken = {g.name: replace(g) for g in found}
    for group in found:
        group.clear()
    return taken


def _lines(found: list[Group]) -> str:
    return "\n".join(
        f"  {g.name:16} due {g.due:6} not sent {g.late:6} good {g.fine:6} p99 {1000 * g.p99():7.1f} ms"
        f"  lag {1000 * _p99(g.lags):5.1f} ms  {dict(g.statuses)}"
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
    if "--flood" in sys.argv:
        uvloop.run(flood(json.loads(sys.argv[-1])))
        return
    seconds = float(sys.argv[sys.argv.index("--seconds") + 1]) if "--seconds" in sys.argv else 60.0
    with tempfile.TemporaryDirectory(prefix="tillgate-overload-") as folder, gateway(Path(folder)) as at:
        _pin(-1)
        ratios = uvloop.run(measure(at, seconds, lambda line: print(line, file=sys.stderr)))
    show(ratios)
    sys.exit(not all(r.holds for r in ratios))


if __name__ == "__main__":
    main()
