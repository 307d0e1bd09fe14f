"""Made-up estates of other makers, in five styles, with faults and what telemetry does to them; shares no code with what is judged."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

BEGIN: Final = 1_718_000_000
"""Seconds since 1970."""
BEFORE, DURING = 240.0, 120.0
"""Seconds of usual life, and of the fault after it."""
HELD_OUT: Final = 10_000
"""Seeds above are for figures, those below for tuning and for the table of confidence."""


class Style(NamedTuple):
    """`deep`: layers of services; `fan`: how many calls an operation makes; the shares say how many calls, or services, are so."""

    services: int
    deep: int
    fan: tuple[int, ...]
    beside: float
    """Calls that run at the same time as the one before."""
    later: float
    """Messages, for which nobody waits."""
    stores: float
    """Operations that ask a data store."""
    local: bool
    """Stores show as spans of their owner; else only the call does."""
    calls: bool
    """There are spans of calls, not only of what was called."""
    kinds: bool
    status: bool
    milliseconds: bool
    rate: float
    """Requests per second."""
    ms: tuple[float, float]
    names: tuple[str, str]


STYLES: Final = {
    "shop": Style(12, 3, (1, 2, 3), 0.4, 0.0, 0.3, False, True, True, True, False, 4.0, (0.5, 8), ("", "service")),
    "tickets": Style(38, 5, (1, 1, 2, 2, 3), 0.2, 0.0, 0.5, False, True, True, True, False, 2.5, (1, 12), ("ts-", "-service")),
    "social": Style(16, 4, (1, 2, 3), 0.5, 0.1, 0.8, True, True, False, False, False, 4.0, (0.4, 4), ("", "-service")),
    "queues": Style(22, 4, (1, 2, 2, 3), 0.3, 0.25, 0.5, False, True, True, True, False, 4.0, (1, 20), ("", "")),
    "wide": Style(110, 4, (0, 1, 1, 2, 3), 0.4, 0.0, 0.0, False, False, False, False, True, 12.0, (3, 40), ("MS_", "")),
}  # fmt: skip
FAULTS: Final = (
    "cpu", "memory", "network", "loss", "crash", "hang", "errors", "quiet errors", "early", "store", "operation", "instance", "cascade",
    "two",
)  # fmt: skip
CONTROLS: Final = ("nothing", "load", "collector")
DAMAGES: Final = (
    "native", "no status", "stripped", "10 % sampled", "20 % of spans lost", "clocks 2 s apart", "servers only", "clients only",
    "parents missing", "hint 60 s late", "hint 60 s early", "stripped, clocks apart, spans lost",
)  # fmt: skip
_WORDS: Final = (
    "account", "admin", "ads", "assurance", "auth", "basket", "billing", "booking", "cancel", "card", "catalog", "checkout",
    "comment", "consign", "contact", "coupon", "currency", "customer", "delivery", "discount", "email", "export", "feature",
    "food", "fraud", "gift", "graph", "history", "image", "import", "index", "inventory", "invoice", "ledger", "loyalty", "mail",
    "media", "mention", "menu", "news", "notify", "offer", "order", "partner", "payment", "picture", "plan", "post", "preserve",
    "price", "product", "profile", "promo", "quote", "rank", "rebook", "recommend", "refund", "report", "review", "route",
    "search", "seat", "security", "session", "shipping", "shorten", "social", "station", "stock", "store", "survey", "tag", "tax",
    "text", "ticket", "timeline", "token", "track", "train", "travel", "upload", "url", "user", "vendor", "verify", "video",
    "voucher", "wallet", "warehouse", "wish", "zone",
)  # fmt: skip


@dataclass(slots=True, eq=False)
class Operation:
    service: str
    name: str
    ms: float
    calls: list[Call] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Call:
    """`unseen`: whom it calls leaves no spans; `local`: it is a span of the caller's own."""

    to: Operation
    share: float = 1.0
    mode: Literal["next", "beside", "later"] = "next"
    again: int = 0
    optional: bool = False
    unseen: bool = False
    local: bool = False


class Span(NamedTuple):
    trace: int
    id: int
    parent: int
    service: str
    name: str
    kind: str
    start: float
    seconds: float
    good: bool
    instance: int
    peer: str


class Case(NamedTuple):
    """`blame`: services any of which is right; for two faults, both. `window` in seconds after BEGIN."""

    style: str
    seed: int
    fault: str
    spans: list[Span]
    blame: frozenset[str]
    services: int
    window: tuple[float, float]
    edges: frozenset[tuple[str, str]]


class Estate:
    """Services in layers that call those below them; some are popular; one answers the door."""

    def __init__(self, style: str, seed: int) -> None:
        self.style = STYLES[style]
        self.r = r = random.Random(f"{style} {seed}")
        before, after = self.style.names
        words = (
            [str(n) for n in r.sample(range(10_000, 80_000), self.style.services)]
            if style == "wide"
            else r.sample(_WORDS, self.style.services)
        )
        names = [f"{before}{w}{after}" for w in words]
        cuts = sorted(r.sample(range(2, len(names)), self.style.deep - 1))
        self.layers = [names[a:b] for a, b in zip([0, *cuts], [*cuts, len(names)], strict=True)]
        self._made: dict[tuple[str, int], Operation] = {}
        door = r.choice(("gateway", "frontend", "web-server", "ui-dashboard"))
        self.roots = [
            (min(r.paretovariate(1.1), 8.0), Operation(door, f"{verb} /{word}", self._ms(), self._calls(-1, r.choice((1, 2, 3)))))
            for word, verb in ((w, r.choice(("GET", "POST"))) for w in r.sample(_WORDS, r.choice((4, 6, 9))))
        ]
        self.replicas: defaultdict[str, int] = defaultdict(lambda: r.choice((1, 2, 3)))

    def _ms(self) -> float:
        low, high = self.style.ms
        return math.exp(self.r.uniform(math.log(low), math.log(high)))

    def _calls(self, layer: int, many: int) -> list[Call]:
        r, style, found = self.r, self.style, []
        for _ in range(many):
            below = layer + r.choice((1, 1, 1, 2))
            if below < len(self.layers):
                names = self.layers[below]
                to = self._operation(below, names[min(int(r.expovariate(3 / len(names))), len(names) - 1)])
                draw = r.random()
                mode: Any = "later" if draw < style.later else "beside" if draw < style.later + style.beside else "next"
                found.append(Call(to, r.choice((1, 1, 0.8, 0.4)), mode, int(r.random() < 0.15), r.random() < 0.12))
        return found

    def _operation(self, layer: int, service: str) -> Operation:
        r, style = self.r, self.style
        key = service, r.randrange(2)
        if key not in self._made:
            verb, noun = r.choice(("get", "list", "update", "check")), r.choice(_WORDS)
            made = self._made[key] = Operation(service, f"{verb}{noun.title()}", self._ms())
            made.calls = self._calls(layer, r.choice(style.fan))
            if r.random() < style.stores:
                store = Operation(
                    service if style.local else f"{service}-{r.choice(('mongo', 'mysql', 'redis'))}", f"find {noun}", self._ms() / 3
                )
                made.calls.insert(0, Call(store, r.choice((1, 0.5)), unseen=not style.local, local=style.local))
        return self._made[key]

    def operations(self) -> list[Operation]:
        seen: dict[int, Operation] = {}
        waiting = [o for _, o in self.roots]
        while waiting:
            each = waiting.pop()
            if id(each) not in seen:
                seen[id(each)] = each
                waiting += [c.to for c in each.calls]
        return list(seen.values())

    def rates(self) -> dict[str, float]:
        """Calls of each service per second."""
        found: defaultdict[str, float] = defaultdict(float)
        total = sum(w for w, _ in self.roots)
        waiting = [(o, self.style.rate * w / total) for w, o in self.roots]
        while waiting:
            each, rate = waiting.pop()
            found[each.service] += rate
            waiting += [(c.to, rate * c.share) for c in each.calls if rate * c.share > 1e-3]
        return found

    def edges(self) -> frozenset[tuple[str, str]]:
        return frozenset((o.service, c.to.service) for o in self.operations() for c in o.calls if c.to.service != o.service)


class Life:
    """Requests of an estate, second by second, and the fault among them. `met` holds the traces that the fault touched."""

    def __init__(self, estate: Estate, fault: str, r: random.Random) -> None:
        self.estate, self.fault, self.r = estate, fault, r
        self.spans: list[Span] = []
        self.met: set[int] = set()
        self.trace = self._ids = 0
        self.on = False
        operations = estate.operations()
        calls = [c for o in operations for c in o.calls]
        doors, unseen = {o.service for _, o in estate.roots}, {c.to.service for c in calls if c.unseen}
        able = sorted(s for s, rate in estate.rates().items() if s not in doors | unseen and rate * DURING >= 40)
        if fault in ("hang", "quiet errors"):  # what nobody waits for fails without a sound
            able = [s for s in able if s not in {c.to.service for c in calls if c.mode == "later"}] or able
        if fault == "store":
            able = [s for s in able if any(c.unseen or c.local for o in operations if o.service == s for c in o.calls)] or able
        self.targets = r.sample(able, min(2, len(able))) if fault == "two" else [r.choice(able)]
        self.kinds = dict(zip(self.targets, r.sample(("cpu", "errors", "network"), 2), strict=False)) if fault == "two" else {}
        mine = [o for o in operations if o.service == self.targets[0]]
        self.slow_operation = r.choice(mine)
        self.stores = {id(c.to) for o in mine for c in o.calls if c.unseen or c.local}
        self.pools = {o.service for o in operations if any(c.to.service == self.targets[0] for c in o.calls)}
        self.blame = frozenset(self.targets) | ({c.to.service for o in mine for c in o.calls if c.unseen} if fault == "store" else set())
        usual = sum(w * _typical(o) for w, o in estate.roots) / sum(w for w, _ in estate.roots)
        self.size, self.share = usual * r.uniform(0.6, 2.5), r.uniform(0.25, 0.9)

    def live(self) -> None:
        r, t, phase = self.r, 0.0, self.r.uniform(0, 6)
        weights, operations = zip(*self.estate.roots, strict=True)
        while True:
            self.on = t >= BEFORE
            rate = self.estate.style.rate * (1 + 0.25 * math.sin(phase + t / 100)) * (4 if self.fault == "load" and self.on else 1)
            t += r.expovariate(rate)
            if t >= BEFORE + DURING:
                return
            self.on = t >= BEFORE
            self.trace += 1
            self._serve(r.choices(operations, weights)[0], 0, t)

    def _id(self) -> int:
        self._ids += 1
        return self._ids * 0xD1342543DE82EF95 & (1 << 64) - 1

    def _is(self, service: str, *faults: str) -> bool:
        """Whether the service has one of the faults now; it is taken down that the request met it."""
        if not self.on or service not in self.targets or self.kinds.get(service, self.fault) not in faults:
            return False
        self.met.add(self.trace)
        return True

    def _own(self, o: Operation, instance: int) -> float:
        """Milliseconds of work."""
        r = self.r
        ms, more = o.ms * math.exp(r.gauss(0, 0.4)), self.size * math.exp(r.gauss(0, 0.5))
        if r.random() < 0.01:
            ms += o.ms * r.paretovariate(1.3)
        if r.random() < (0.006 if self.on and self.fault == "collector" else 0.002):
            ms += r.uniform(20, 120)
        if id(o) in self.stores:
            return ms + more * self._is(self.targets[0], "store")
        if self.on and self.fault == "cascade" and o.service in self.pools and r.random() < 0.6:
            ms += r.expovariate(2 / self.size)
        if self._is(o.service, "cpu"):
            return ms * r.uniform(1.5, 3) + more
        if r.random() < 0.3 and self._is(o.service, "memory"):
            return ms + 2.5 * more
        if (o is self.slow_operation and self._is(o.service, "operation")) or self._is(o.service, "cascade"):
            return ms + 1.5 * more
        return ms + 2 * more * (instance == 0 and self._is(o.service, "instance"))

    def _way(self, a: str, b: str) -> float:
        """Seconds from one service to the other."""
        r = self.r
        seconds = 0.0003 * math.exp(r.gauss(0, 0.4))
        for end in (a, b):
            if self._is(end, "network"):
                seconds += self.size / 2_000 * r.uniform(0.85, 1.15)
            elif r.random() < 0.12 and self._is(end, "loss"):
                seconds += 0.2 * 2 ** min(4, int(r.expovariate(1)))
        return seconds

    def _serve(self, o: Operation, parent: int, t: float, *, local: bool = False) -> tuple[float, bool]:
        """When it ends, and whether it went well."""
        r, span, instance = self.r, self._id(), self.r.randrange(self.estate.replicas[o.service])
        own = self._own(o, instance) / 1_000
        kind = "INTERNAL" if local else "SERVER"

        def end(at: float, *, good: bool, shown: bool) -> tuple[float, bool]:
            self.spans.append(Span(self.trace, span, parent, o.service, o.name, kind, t, at - t, shown, instance, ""))
            return at, good

        if not local and self._is(o.service, "early"):
            return end(t + 0.15 * own, good=True, shown=True)
        quiet = not local and r.random() < self.share and self._is(o.service, "quiet errors")
        fails = quiet or r.random() < 0.0005 or (not local and r.random() < self.share and self._is(o.service, "errors"))
        if fails and (not o.calls or r.random() < 0.7):
            return end(t + own * r.uniform(0.1, 0.6), good=False, shown=quiet)
        at, good, step = t + own * 0.4, True, own * 0.6 / (len(o.calls) + 1)
        together = at
        for call in o.calls:
            if call.mode != "beside":
                if not good:
                    break
                together = at
            if r.random() < call.share:
                if call.mode == "later":
                    at = self._send(o, call, span, at, instance)
                    continue
                ends, well = self._call(o, call, span, together if call.mode == "beside" else at, instance)
                at = max(at, ends)
                good &= well or call.optional
            at += step
        return end(max(at, t + own) + step, good=good and not fails, shown=good and (quiet or not fails))

    def _send(self, o: Operation, call: Call, span: int, t: float, instance: int) -> float:
        seconds = 0.0005 * math.exp(self.r.gauss(0, 0.4))
        above = span
        if self.estate.style.calls:
            above = self._id()
            self.spans.append(
                Span(self.trace, above, span, o.service, f"publish {call.to.name}", "PRODUCER", t, seconds, True, instance, "queue")
            )
        if not self._is(call.to.service, "crash", "hang"):
            self._serve(call.to, above, t + seconds + self.r.expovariate(50))
        return t + seconds

    def _call(self, o: Operation, call: Call, span: int, t: float, instance: int) -> tuple[float, bool]:
        if call.local:
            return self._serve(call.to, span, t, local=True)
        r, to = self.r, call.to
        good = False
        for attempt in range(1 + call.again):
            above = self._id() if self.estate.style.calls or call.unseen else span
            there, back = self._way(o.service, to.service), self._way(o.service, to.service)
            if self._is(to.service, "crash"):
                ends = t + there + 0.0005 * math.exp(r.gauss(0, 0.5))
            elif self._is(to.service, "hang"):
                ends = t + max(1.0, self.size / 200)
            elif call.unseen:
                ends, good = t + there + back + self._own(to, 0) / 1_000, True
            else:
                ends, good = self._serve(to, above, t + there)
                ends += back
            if above != span:
                self.spans.append(Span(self.trace, above, span, o.service, to.name, "CLIENT", t, ends - t, good, instance, to.service))
            t = ends
            if good:
                break
            t += 0.002 * (attempt + 1)
        return t, good


def _typical(o: Operation) -> float:
    return o.ms + sum(_typical(c.to) * c.share for c in o.calls if c.mode != "later")


def case(style: str, seed: int, fault: str) -> Case | None:
    """None when no fault of the kind is felt by at least one request in forty."""
    estate = Estate(style, seed)
    for again in range(6):
        life = Life(estate, fault, random.Random(f"{style} {seed} {fault} {again}"))
        life.live()
        if fault in CONTROLS or len(life.met) >= max(15, 0.025 * sum(s.parent == 0 and s.start >= BEFORE for s in life.spans)):
            seen = {s.service for s in life.spans}
            blame = frozenset() if fault in CONTROLS else life.blame
            return Case(style, seed, fault, life.spans, blame, len(seen), (BEFORE, BEFORE + DURING), estate.edges())
    return None


def hint(damage: str, window: tuple[float, float]) -> tuple[float, float]:
    """The window that is given to whoever has to answer."""
    return window[0] + {"hint 60 s late": 60.0, "hint 60 s early": -60.0}.get(damage, 0.0), window[1]


def damaged(found: Case, damage: str) -> Iterator[dict[str, Any]]:
    """Flat lines, as another maker's exporter would leave them."""
    r, style = random.Random(f"{found.style} {found.seed} {found.fault} {damage}"), STYLES[found.style]
    stripped, skew = damage.startswith("stripped"), defaultdict[str, float](lambda: r.uniform(-2, 2) if "clocks" in damage else 0.0)
    servers, clients = damage == "servers only", damage == "clients only" and style.calls
    kept = {s.id: s for s in found.spans} if servers or clients else {}

    def gone(span: Span) -> bool:
        if servers:
            return span.kind in ("CLIENT", "PRODUCER")
        return clients and span.kind in ("SERVER", "INTERNAL") and span.parent != 0

    for span in found.spans:
        if (
            (damage == "10 % sampled" and span.trace * 0x9E3779B1 % 1_000 >= 100)
            or ("spans lost" in damage and r.random() < 0.2)
            or gone(span)
        ):  # fmt: skip
            continue
        parent = span.parent
        while parent in kept and gone(kept[parent]):
            parent = kept[parent].parent
        if damage == "parents missing" and r.random() < 0.12:
            parent = 0
        start, unit = BEGIN + span.start + skew[span.service], 1_000 if style.milliseconds else 1_000_000
        row = {
            "service": span.service, "span_id": f"{span.id:016x}", "parent_id": f"{parent:016x}" if parent else "",
            "start": int(start * unit), "duration": round(span.seconds * unit),
        }  # fmt: skip
        if not stripped:
            row |= {"trace_id": f"{span.trace:032x}", "name": span.name, "instance": f"{span.service}-{span.instance}"}
            if style.status and damage != "no status":
                row["status"] = "OK" if span.good else "ERROR"
            if style.kinds or clients:
                row |= {"kind": span.kind} | ({"peer.service": span.peer} if span.peer else {})
        yield row
