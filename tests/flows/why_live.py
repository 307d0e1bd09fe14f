"""Live: real gateways under load, their systems broken by the sandbox's control endpoint or killed, and what `why` says of it and when.

.venv/bin/python -m tests.flows.why_live                             # all kinds, then the table
.venv/bin/python -m tests.flows.why_live --kinds "429,stale GetStock"  # those with these words in their names
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any

import httpx

from sandbox.faults import Kind, Rule
from tests.products import Live, no_limits, running

SKUS = 3_000
WARM = 25.0
"""Seconds of better days."""
LIMIT = 60.0
"""Seconds from the fault to the verdict."""
AT_ONCE = 3
"""Gateways side by side."""
ASKS: dict[str, tuple[str, ...]] = {
    "web": ("inventory", "product", "price", "order"),
    "mobile": ("inventory", "price"),
    "store": ("inventory", "product"),
    "call_centre": ("product", "price", "order"),
}
"""What the clients of each channel ask for."""


@dataclass(frozen=True)
class Case:
    """`system`, `operation`: what has to be named, no system: nobody; `channels`: who has to be hit, at least and at most. Without rules
    the system is a process of its own and is killed.
    """

    name: str
    rules: tuple[Rule, ...]
    system: str
    operation: str
    channels: frozenset[str]


def _asking(*routes: str) -> frozenset[str]:
    return frozenset(channel for channel, asked in ASKS.items() if {*asked} & {*routes})


def _erp(kind: Kind, operation: str, seconds: float = 0.0, store: str = "*", share: float = 1.0) -> Rule:
    return Rule(system="erp", kind=kind, operation=operation, seconds=seconds, store=store, share=share)


def _oms(kind: Kind, operation: str, seconds: float = 0.0) -> Rule:
    return Rule(system="oms", kind=kind, operation=operation, seconds=seconds)


_ERP = _asking("inventory", "product", "price")


_OF = {"GetStock": "inventory", "GetMaterials": "product", "GetPrices": "price"}
CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case("refuse whole erp", (_erp("refuse", "*"),), "erp", "", _ERP),
        Case("hang whole erp", (_erp("hang", "*"),), "erp", "", _ERP),
        *(
            Case(f"{kind} {operation}", (_erp(kind, operation, seconds),), "erp", operation, _asking(_OF[operation]))
            for kind, operation, seconds in (
                ("refuse", "GetStock", 0.0),
                ("hang", "GetPrices", 0.0),
                ("slow", "GetMaterials", 1.2),
                ("error", "GetStock", 0.0),
                ("fault_in_200", "GetPrices", 0.0),
                ("reset", "GetMaterials", 0.0),
                ("truncate", "GetStock", 0.0),
                ("wrong_type", "GetPrices", 0.0),
                ("unknown_enum", "GetMaterials", 0.0),
                ("lost_answer", "GetStock", 0.0),
                ("429", "GetPrices", 1.0),
            )
        ),
        Case("stale GetStock", (_erp("stale", "GetStock"),), "erp", "GetStock", _asking("inventory", "order")),
        Case("error one store", (_erp("error", "GetStock", store="0002"),), "erp", "GetStock", _asking("inventory")),
        Case("error one in four", (_erp("error", "GetPrices", share=0.25),), "", "", frozenset()),  # three attempts: 1 in 64 is felt
        Case("error three in four", (_erp("error", "GetPrices", share=0.75),), "erp", "GetPrices", _asking("price")),
        *(
            Case(f"{kind} createOrder", (_oms(kind, "createOrder", seconds),), "oms", "createOrder", _asking("order"))
            for kind, seconds in (("error", 0.0), ("hang", 0.0), ("slow", 3.5), ("lost_answer", 0.0))
        ),
        Case("refuse whole oms", (_oms("refuse", "*"),), "oms", "createOrder", _asking("order")),  # nothing else of it is asked
        Case("kill erp", (), "erp", "", _ERP),
        Case("kill oms", (), "oms", "createOrder", _asking("order")),
    )
}


@dataclass
class Verdict:
    case: Case
    before: str = ""
    """What was said before anything was broken."""
    seconds: float = 0.0
    """From the fault to the first verdict that is right; 0: there was none."""
    sentence: str = ""
    confidence: float = 0.0
    named: str = ""
    """What was named first."""
    channels: frozenset[str] = frozenset()
    answers: Counter[str] = field(default_factory=Counter)

    @property
    def right(self) -> bool:
        return self.seconds > 0 and not self.before


@asynccontextmanager
async def load(live: Live, *, per_second: float = 3.0, seed: int = 1, answers: Counter[str] | None = None) -> AsyncIterator[None]:
    """Every channel asks for its routes, irregularly, with at most 60 questions under way; who finds no room is a customer less."""
    chance, stop, under_way = random.Random(seed), asyncio.Event(), set[asyncio.Task[None]]()
    keys = {channel: await live.client(f"load-{channel}", channel=channel) for channel in ASKS}

    async def ask(channel: str, route: str) -> None:
        with contextlib.suppress(httpx.HTTPError):
            answer = await _ask(live, keys[channel], route, chance)
            if answers is not None:
                answers[f"{route} {answer.status_code}"] += 1

    async def customers(channel: str) -> None:
        while not stop.is_set():
            if len(under_way) < 60:
                task = asyncio.create_task(ask(channel, chance.choice(ASKS[channel])))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.sleep(chance.expovariate(per_second))

    going = [asyncio.create_task(customers(channel)) for channel in ASKS]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*going)
        await asyncio.gather(*under_way, return_exceptions=True)


async def _ask(live: Live, headers: dict[str, str], route: str, chance: random.Random) -> httpx.Response:
    sku, location = str(10_000_001 + chance.randrange(SKUS)), chance.choice(("0001", "0002"))
    match route:
        case "inventory":
            return await live.http.get("/inventory", params={"sku": sku, "location": location}, headers=headers)
        case "product":
            return await live.http.get(f"/products/{sku}", headers=headers)
        case "price":
            return await live.http.get("/prices", params={"sku": sku, "location": location}, headers=headers)
        case _:
            return await live.http.post(
                "/orders", json=order(sku), headers={**headers, "Idempotency-Key": f"why-{chance.getrandbits(64):x}"}
            )


def order(sku: str) -> dict[str, Any]:
    """One piece of an article."""
    price = {"centAmount": 1295, "currencyCode": "EUR", "fractionDigits": 2}
    quantity = {"value": "1", "unit": "EA"}
    return {"lines": [{"lineNumber": 1, "sku": sku, "quantity": quantity, "unitPrice": price, "requestedLocationId": "0001"}]}


async def open_incidents(live: Live) -> list[dict[str, Any]]:
    answer = await live.http.get("/admin/incidents", params={"state": "open"}, headers=live.auth("operator"))
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


async def until(true: Callable[[], Awaitable[bool]], seconds: float, every: float = 0.5) -> bool:
    deadline = monotonic() + seconds
    while not await true():
        if monotonic() >= deadline:
            return False
        await asyncio.sleep(every)
    return True


def names(incident: dict[str, Any], case: Case) -> bool:
    """Surely enough to name somebody, and nobody else."""
    culprits = incident["incident"]["culprits"]
    named = {(c["system"], c.get("operation", "")) for c in culprits if c["kind"] != "unknown"}
    return incident["verdict"] in ("cause", "likely") and named == {(case.system, case.operation)}


def hit(incident: dict[str, Any]) -> frozenset[str]:
    return frozenset(incident["incident"]["impact"]["hit"].get("channel", {}))


@asynccontextmanager
async def apart(folder: Path, system: str) -> AsyncIterator[tuple[dict[str, object], Process]]:
    """A system as a process of its own: how it is described, and the process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sandbox", "--root", str(folder), "--skus", str(SKUS), "--json", "--with-parent"), stdin=PIPE, stdout=PIPE
    )
    try:
        assert process.stdout is not None
        yield {system: json.loads(await process.stdout.readline())[system]}, process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def tried(
    case: Case, folder: Path, *, warm: float = WARM, limit: float = LIMIT, then: Callable[[Live], Awaitable[None]] | None = None
) -> Verdict:
    """One gateway from its start to the verdict; `then` is called while it is broken."""
    verdict = Verdict(case)
    async with AsyncExitStack() as stack:
        elsewhere, process = ({}, None) if case.rules else await stack.enter_async_context(apart(folder / "apart", case.system))
        live = await stack.enter_async_context(running(folder, change=no_limits, skus=SKUS, work=True, systems=elsewhere))
        await stack.enter_async_context(load(live, answers=verdict.answers))
        await asyncio.sleep(warm)
        verdict.before = "; ".join(i["incident"]["sentence"] for i in await open_incidents(live))
        live.sandbox.faults.add(*case.rules)
        if process is not None:
            process.send_signal(signal.SIGKILL)
        began = monotonic()

        async def right() -> bool:
            for incident in await open_incidents(live):
                said = incident["incident"]
                verdict.sentence, verdict.confidence = said["sentence"], said["confidence"]
                verdict.channels = hit(incident)
                if not verdict.named and said["culprits"] and incident["verdict"] in ("cause", "likely"):
                    first = said["culprits"][0]
                    verdict.named = f"{first['system']} {first.get('operation', '')}".strip()
                if names(incident, case) and verdict.channels == case.channels:
                    return True
            return False

        if await until(right, limit) or not (case.system or verdict.named):
            verdict.seconds = monotonic() - began
        if then is not None:
            await then(live)
    return verdict


async def all_of(
    cases: Sequence[Case],
    folder: Path,
    told: Callable[[Verdict], None] = lambda verdict: None,
    then: Mapping[str, Callable[[Live], Awaitable[None]]] = MappingProxyType({}),
    at_once: int = AT_ONCE,
) -> list[Verdict]:
    """Some gateways at a time. `then`: by name of the case, see `tried`."""
    room = asyncio.Semaphore(at_once)

    async def one(case: Case) -> Verdict:
        own = folder / case.name.replace(" ", "-")
        own.mkdir(parents=True)
        async with room:
            verdict = await tried(case, own, then=then.get(case.name))
        told(verdict)
        return verdict

    return await asyncio.gather(*map(one, cases))


def line(verdict: Verdict) -> str:
    seconds = f"{verdict.seconds:5.1f} s" if verdict.seconds else "  none "
    channels = ",".join(sorted(verdict.channels)) + ("" if verdict.channels == verdict.case.channels else " (not as asked)")
    before = f" BEFORE: {verdict.before}" if verdict.before else ""
    right = "right" if verdict.right else "WRONG"
    before += "" if verdict.right else f" ANSWERS: {dict(sorted(verdict.answers.items()))}"
    return f"{right} {verdict.case.name:22} {seconds}  {verdict.named or '-':18} {verdict.sentence or '-'}  [{channels}]{before}"


async def main(arguments: Sequence[str]) -> int:
    from observability.logs import configure

    parser = argparse.ArgumentParser(prog="python -m tests.flows.why_live", description=__doc__.partition("\n")[0])
    parser.add_argument("--kinds", default="", metavar="WORD,...", help=f"of: {', '.join(CASES)}")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help=f"gateways side by side (default {AT_ONCE})")
    asked = parser.parse_args(arguments)
    configure(level="error")
    wanted = [word.strip() for word in asked.kinds.split(",") if word.strip()]
    cases = [case for name, case in CASES.items() if not wanted or any(word in name for word in wanted)]
    began, done = monotonic(), 0

    def told(verdict: Verdict) -> None:
        nonlocal done
        done += 1
        print(f"{done} of {len(cases)} after {monotonic() - began:.0f} s: {line(verdict)}", file=sys.stderr, flush=True)  # noqa: T201 - progress

    with tempfile.TemporaryDirectory() as folder:
        verdicts = await all_of(cases, Path(folder), told, at_once=asked.at_once)
    right = sum(v.right for v in verdicts)
    print(*map(line, verdicts), f"{right} of {len(verdicts)} named rightly within {LIMIT:.0f} s", sep="\n")  # noqa: T201 - what was asked for
    return right != len(verdicts)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
