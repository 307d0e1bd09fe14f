"""What a verdict is made from (cells, the declared map, feeds, changes, losses) and what it says: the incident."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple

import msgspec

from observability.vocabulary import FAILURE_CLASSES

SCHEMA: Final = "tillgate.incident/1"
GATEWAY: Final = "gateway"
"""The system of rows that blame a part of the gateway; its operation is the part: `mapping erp.GetStock`, `pool erp`, `store`."""
CLIENT: Final = "client"
"""The system of rows that count a client's requests, `caller` those that were its own mistake; its operation is the client."""
COUNTERS: Final = ("n", *FAILURE_CLASSES, "late", "degraded", "blamed", "excess_ms")
"""Columns of a cell. `blamed` is in thousandths of a bad request, `excess_ms` in milliseconds above what is usual."""


class Where(NamedTuple):
    """The key of a cell. A row without system counts whole requests; one with a system counts those that met it, and its blame."""

    system: str = ""
    operation: str = ""
    channel: str = ""
    route: str = ""
    """Name of the flight: `GET /inventory`, a feed, a queue."""
    api_version: str = ""
    store: str = ""


class Rows(NamedTuple):
    """Cells over time, one row per bin and key. A column holds 64 bit integers."""

    keys: Sequence[Where]
    key: array[int]
    """Index into `keys`."""
    bin: array[int]
    """Seconds since 1970, when it began."""
    counters: tuple[array[int], ...]
    """In the order of COUNTERS."""


class Exemplar(NamedTuple):
    """A bad request that blames a cell."""

    trace_id: str
    at: float
    """Seconds since 1970."""
    seconds: float


class FeedTrouble(msgspec.Struct, frozen=True, kw_only=True):
    """A feed that failed without statistics: late or missing files, bad ones, a queue that nobody drains, stock that went stale."""

    system: str
    operation: str
    store: str = ""
    what: Literal["late", "missing", "refused", "gap", "duplicate", "quarantined", "lagging", "stale", "truncated"]
    since: datetime
    detail: str = ""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A release, a reload, a setting. `scope`: what it touched, by attribute (system, operation, api_version, store, channel)."""

    at: datetime
    what: str
    kind: Literal["release", "estate", "mapping", "adapter", "api_version", "maintenance", "client"] = "estate"
    scope: dict[str, str] = {}
    until: datetime | None = None
    """When a declared maintenance or brown-out ends: what it touches is no incident until then."""


class GuardChange(msgspec.Struct, frozen=True, kw_only=True):
    """A breaker that opened, half opened or closed."""

    at: datetime
    system: str
    operation: str
    state: Literal["closed", "open", "half_open"]
    trace_id: str = ""
    probes_ok: int = 0
    """Trials that succeeded since it opened."""


class SystemNode(msgspec.Struct, frozen=True, kw_only=True):
    owner: str = ""
    contact: str = ""
    criticality: str = ""
    depends_on: tuple[str, ...] = ()
    shares: dict[str, str] = {}
    """segment, ca, dns_zone, vendor: what it has in common with others."""


class OperationNode(msgspec.Struct, frozen=True, kw_only=True):
    provides: str
    mode: Literal["sync", "async", "file", "outbound"] = "sync"
    objective_s: float = 0.0
    stale_s: float = 0.0
    """How old an answer may stand in when it fails; 0: none may."""


Needs = Literal["answer", "fresh", "later", "aside"]
"""What a route does with what it asks: it needs an answer, an old one will do; only a fresh one will do; it is recorded and asks again
later; it has an answer of its own that this only adds to."""


class RouteNode(msgspec.Struct, frozen=True, kw_only=True):
    capabilities: tuple[str, ...] = ()
    objective_s: float = 0.0
    """0: late is what takes longer than max(q99, 1.5 x median) of its past."""
    needs: Needs = "answer"
    denied: tuple[str, ...] = ()
    """Systems and `system.operation`s that it may be seen to reach without depending on them."""


class CapabilityNode(msgspec.Struct, frozen=True, kw_only=True):
    operations: tuple[str, ...]
    """`system.operation`."""
    combine: Literal["all", "any", "first"] = "all"
    partial: bool = False
    """With `all`: an answer may lack the part of an operation that failed."""


class DependencyMap(msgspec.Struct, frozen=True, kw_only=True):
    """Declared: route -> capability -> `system.operation` -> system (-> system). Observed edges come beside it."""

    systems: dict[str, SystemNode] = {}
    operations: dict[str, OperationNode] = {}
    capabilities: dict[str, CapabilityNode] = {}
    routes: dict[str, RouteNode] = {}
    channels: tuple[str, ...] = ()


class NotSeen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    what: str
    why: str = ""
    dropped: int = 0
    of: int = 0


class Losses(msgspec.Struct, frozen=True, kw_only=True):
    """What could not be seen; every figure since the window began."""

    seen: int = 0
    lost: int = 0
    unseen: tuple[NotSeen, ...] = ()


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that one look at the estate knows."""

    now: float
    """Seconds since 1970; bins that end later are not complete."""
    coarse: Rows
    """Bins of 10 s, over the trailing 60 minutes and more."""
    fine: Rows
    """Bins of 1 s over the last 15 minutes, keys without API version and store: (channel, route) and (system, operation)."""
    map: DependencyMap
    feeds: tuple[FeedTrouble, ...] = ()
    changes: tuple[Change, ...] = ()
    guards: tuple[GuardChange, ...] = ()
    losses: Losses = Losses()
    edges: tuple[tuple[str, str], ...] = ()
    """Seen, not declared: (caller, callee) by system or `system.operation`."""
    exemplars: dict[Where, tuple[Exemplar, ...]] = {}
    """Earliest and slowest of a cell."""
    twins: dict[tuple[str, str, str], str] = {}
    """(route, channel, store) -> trace id of the last good one that is kept."""
    week: Rows | None = None
    """These minutes a week ago, in bins of any width, if nothing was wrong then; None: not known."""


# ---- the answer ----------------------------------------------------------------------------------------------------------


Kind = Literal["system", "operation", "edge", "gateway_part", "version", "client", "feed", "data_quality", "shared", "unknown"]
Verdict = Literal["cause", "likely", "unsure", "none"]
WhyNotReason = Literal[
    "explained_by", "started_later", "normal_for_load", "too_few_requests", "only_retries", "only_waiting", "no_path", "caller_fault"
]
Failure = Literal[
    "down", "timeout", "slow", "errors", "faults", "contract", "data", "refused", "late", "missing", "stale", "lagging", "mixed"
]
"""How it fails, in a word."""
State = Literal["open", "recovered"]


class Onset(msgspec.Struct, frozen=True, kw_only=True):
    """With its 95 % band."""

    at: datetime
    low: datetime
    high: datetime


class Culprit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    rank: int
    kind: Kind
    system: str
    operation: str = ""
    failure: Failure = "mixed"
    score: float = 0.0
    coverage: float = 0.0
    lift: float = 0.0
    p: float = 1.0
    onset: Onset | None = None
    scope: tuple[dict[str, tuple[str, ...]], ...] = ()
    """Each a conjunction of attributes (channel, route, api_version, store) with their values; none: everywhere."""
    owner: str = ""
    contact: str = ""
    shared: str = ""
    """What several systems have in common: `segment dc1`."""
    members: tuple[str, ...] = ()
    """The systems behind a shared cause."""
    bad_traces: tuple[str, ...] = ()
    """Earliest, median, worst."""
    twin: str = ""
    detail: str = ""


class WhyNot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    rank: int
    kind: Kind
    system: str
    operation: str = ""
    score: float = 0.0
    coverage: float = 0.0
    lift: float = 0.0
    reason: WhyNotReason
    by: int = 0
    """Rank of what explains it."""
    by_s: float = 0.0
    """Seconds by which it started later."""


class Impact(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of requests in excess of what is usual; `requests` is the base."""

    requests: int = 0
    failed: int = 0
    late: int = 0
    degraded: int = 0
    """Got less than they asked for: older, in part, or recorded and not carried out yet."""
    orders: int = 0
    stores: int = 0
    """That asked for anything on what was hit."""
    hit: dict[str, dict[str, int]] = {}
    """Attribute (channel, route, api_version, store) -> value -> bad requests in excess."""
    of: dict[str, dict[str, int]] = {}
    """The same -> all requests: the base of each figure."""
    at_risk: dict[str, tuple[str, ...]] = {}
    """Declared dependants that are not hit yet: `route`, `channel`."""


class CoincidentChange(msgspec.Struct, frozen=True, kw_only=True):
    at: datetime
    what: str
    role: Literal["coincidence", "cause"] = "coincidence"


class TimelineRow(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of a channel on a route, step by step: all, and how many of them failed or were late."""

    channel: str
    route: str
    n: tuple[int, ...]
    bad: tuple[int, ...]


class TimelineMark(msgspec.Struct, frozen=True, kw_only=True):
    at: datetime
    kind: Literal["change", "breaker", "file"]
    what: str


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """What was hit most, from before the onset on, and what happened meanwhile."""

    begin: datetime
    step_s: int
    rows: tuple[TimelineRow, ...] = ()
    marks: tuple[TimelineMark, ...] = ()


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """The published form, schema tillgate.incident/1: the page is drawn from it and shows nothing else."""

    schema: str = SCHEMA
    id: str = ""
    """Empty until it is recorded."""
    state: State = "open"
    verdict: Verdict
    confidence: float
    sentence: str
    onset: Onset
    detected_at: datetime
    answered_at: datetime
    recovered_at: datetime | msgspec.UnsetType | None = msgspec.UNSET
    culprits: tuple[Culprit, ...] = ()
    why_not: tuple[WhyNot, ...] = ()
    impact: Impact = Impact()
    changes_before: tuple[CoincidentChange, ...] = ()
    not_seen: tuple[NotSeen, ...] = ()
    confidence_inputs: dict[str, float] = {}
    merged: tuple[str, ...] = ()
    """Incidents that turned out to be this one."""
    timeline: Timeline | msgspec.UnsetType | None = msgspec.UNSET
    undeclared: tuple[tuple[str, str], ...] = ()
    """Edges that were seen, from caller to callee, and that the map does not hold."""
