"""Traces of a made-up estate of services, with one fault in it: what the tests of root cause look at."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Literal

Fault = Literal["none", "slow", "network", "errors", "dead"]
BEGIN = 1_700_000_000.0


@dataclass
class Estate:
    """Twelve services that call each other downwards. `calls`: (service, operation) -> callees with their probability, seconds of own work,
    whether it calls them all at once.
    """

    seed: int
    order: list[str] = field(default_factory=list)
    operations: dict[str, list[str]] = field(default_factory=dict)
    calls: dict[tuple[str, str], tuple[list[tuple[str, str, float]], float, bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        r = random.Random(self.seed)
        self.order = r.sample([f"service-{chr(97 + i)}" for i in range(12)], 12)
        self.operations = {s: [f"op{j}" for j in range(r.randint(1, 3))] for s in self.order}
        for i, service in enumerate(self.order):
            for operation in self.operations[service]:
                below = self.order[i + 1 : i + 6]
                picked = [r.choice(below) for _ in range(r.randint(0, 3) if i else r.randint(2, 4))] if below else []
                targets = [(t, r.choice(self.operations[t]), r.choice([1, 1, 1, 0.5])) for t in picked]
                self.calls[service, operation] = (targets, r.uniform(0.0005, 0.015), r.random() < 0.3)

    def reached(self) -> list[str]:
        """What the first service calls, directly or not."""
        found: set[str] = set()
        waiting = [(self.order[0], o) for o in self.operations[self.order[0]]]
        while waiting:
            for service, _, _ in self.calls[waiting.pop()][0]:
                if service not in found:
                    found.add(service)
                    waiting += [(service, o) for o in self.operations[service]]
        return [s for s in self.order[1:] if s in found]


@dataclass
class Recorder:
    """Writes flat spans. `client`: calls have spans of their own; `status`, `kind`: spans say so; `skew`: seconds per service."""

    estate: Estate
    client: bool = True
    status: bool = True
    kind: bool = True
    loss: float = 0.0
    skew: dict[str, float] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    ids: int = 0

    def __post_init__(self) -> None:
        self.r = random.Random(self.estate.seed + 1)

    def emit(self, trace: str, span: str, parent: str, service: str, name: str, start: float, seconds: float, ok: bool, kind: str) -> None:
        if self.r.random() < self.loss:
            return
        row = {
            "trace_id": trace, "span_id": span, "parent_id": parent, "service": service, "name": name,
            "start": int((start + self.skew.get(service, 0.0)) * 1e6), "duration": int(seconds * 1e6),
        }  # fmt: skip
        self.rows.append(row | ({"status": "OK" if ok else "ERROR"} if self.status else {}) | ({"kind": kind} if self.kind else {}))

    def request(
        self, trace: str, parent: str, service: str, operation: str, at: float, fault: Fault, culprit: str, size: float
    ) -> tuple[float, bool]:
        """(end, whether it went well)."""
        r, self.ids = self.r, self.ids + 1
        span, start = f"{self.ids:016x}", at
        targets, work, parallel = self.estate.calls[service, operation]
        own = r.lognormvariate(0, 0.35) * work * (size if fault == "slow" and service == culprit else 1)
        if fault == "errors" and service == culprit and r.random() < size:
            self.emit(trace, span, parent, service, operation, start, own * 0.3, ok=False, kind="SERVER")
            return start + own * 0.3, False
        at, ok = at + own / 2, True
        for callee, its, share in targets:
            if r.random() > share:
                continue
            begin = start + own / 2 if parallel else at
            way = r.lognormvariate(0, 0.3) * 0.0006
            if fault == "network" and culprit in (service, callee):
                way += size * r.uniform(0.8, 1.2)
            call = span
            if self.client:
                self.ids += 1
                call = f"{self.ids:016x}"
            if fault == "dead" and callee == culprit:
                end, good = begin + way + size, False
            else:
                end, good = self.request(trace, call, callee, its, begin + way / 2, fault, culprit, size)
                end += way / 2
            if self.client:
                self.emit(trace, call, span, service, f"call {callee}", begin, end - begin, good, "CLIENT")
            at = max(at, end)
            if not good:
                ok = False
                break
        at += own / 2
        self.emit(trace, span, parent, service, operation, start, at - start, ok, "SERVER")
        return at, ok


SIZES: dict[Fault, float] = {"none": 0.0, "slow": 4.0, "network": 0.05, "errors": 0.5, "dead": 0.5}


def incident(
    estate: Estate, culprit: str, fault: Fault, *, before: float = 300.0, during: float = 150.0, rate: float = 3.0, **how: Any
) -> tuple[list[dict[str, Any]], tuple[int, int]]:
    """Spans of `before` good seconds and `during` bad ones, and the incident's window in nanoseconds."""
    recorder = Recorder(estate, **how)
    at, end, number = BEGIN, BEGIN + before + during, 0
    first = estate.order[0]
    while (at := at + recorder.r.expovariate(rate)) < end:
        number += 1
        now: Fault = fault if at >= BEGIN + before else "none"
        recorder.request(f"{number:032x}", "", first, recorder.r.choice(estate.operations[first]), at, now, culprit, SIZES[fault])
    return recorder.rows, (int((BEGIN + before) * 1e9), int(end * 1e9))
