"""What the pages show: plain values, filled by whoever knows them."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

import msgspec

from observability.cells import Cells
from observability.rootcause.model import Incident
from observability.vocabulary import GuardState


class Viewer(msgspec.Struct, frozen=True, kw_only=True):
    """Who looks at a page."""

    name: str
    csrf: str
    """Sent along with every form."""
    may_change: bool = False
    scopes: frozenset[str] = frozenset()
    stores: frozenset[str] = frozenset()
    """Bound to these, if there are any."""
    open: tuple[Incident, ...] = ()
    """What is broken, the newest first: in the head of every page, for whoever may see all stores."""


class OperationView(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of a system. Rates are shares (0 to 1) of `calls`, all over `window_s` of the page; times are milliseconds."""

    name: str
    provides: tuple[str, ...] = ()
    mode: Literal["sync", "async", "file"] = "sync"
    breaker: GuardState | Literal[""] = ""
    opened_by: str = ""
    """Trace id of the flight that opened the breaker."""
    opened_at: datetime | None = None
    calls: int = 0
    failure_rate: float = 0.0
    slow_rate: float = 0.0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    objective_ms: float = 0.0
    in_flight: int = 0
    limit: int = 0
    waiting: int = 0
    last_error: str = ""
    last_error_at: datetime | None = None
    last_error_trace: str = ""
    drift: int = 0
    """Elements and enumeration values seen that the contract does not know."""


class DriftView(msgspec.Struct, frozen=True, kw_only=True):
    """Something that answers hold and the contract does not know; `value` is that of an unknown enumeration value."""

    operation: str
    kind: str
    path: str
    value: str = ""
    count: int
    first_seen: datetime
    last_seen: datetime


class SystemView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    protocol: str
    owner: str = ""
    criticality: str = ""
    title: str = ""
    note: str = ""
    """Something to know in an outage, such as a nightly batch window."""
    operations: tuple[OperationView, ...] = ()


class RouteView(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel feels of one route, over `window_s` of the page."""

    channel: str
    route: str
    api_version: str
    calls: int
    failed: int
    late: int
    degraded: int
    p50_ms: float
    p95_ms: float


MINUTES: Final = 60
"""That the overview shows."""


class Pulse(msgspec.Struct, frozen=True, kw_only=True):
    """Of one channel or system; `n`, `bad` (failed or late) and `degraded` (less than was asked for) by minute, the oldest first."""

    name: str
    n: tuple[int, ...]
    bad: tuple[int, ...]
    degraded: tuple[int, ...] = ()
    p95_ms: float = 0.0
    """Of the last five minutes; 0: nothing ended in them."""

    @property
    def lately(self) -> tuple[int, int, int]:
        """Bad, degraded and all of the last five minutes."""
        return sum(self.bad[-5:]), sum(self.degraded[-5:]), sum(self.n[-5:])


class FlightFilter(msgspec.Struct, frozen=True, kw_only=True):
    """The filters as they were asked for; empty = all."""

    channel: str = ""
    route: str = ""
    system: str = ""
    operation: str = ""
    """`system.operation`."""
    store: str = ""
    outcome: str = ""
    kind: str = ""
    trace: str = ""
    """The beginning of an id."""
    slower: str = ""
    """Milliseconds, or a duration such as 2s."""
    since: str = ""
    until: str = ""

    @property
    def active(self) -> bool:
        return any(msgspec.structs.astuple(self))


class FileFilter(msgspec.Struct, frozen=True, kw_only=True):
    """As it was asked for; empty = all."""

    state: str = ""
    feed: str = ""
    store: str = ""

    @property
    def active(self) -> bool:
        return any((self.state, self.feed, self.store))


StepState = Literal["pending", "running", "done", "in_doubt", "failed", "compensated", "skipped"]


class StepView(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    system: str = ""
    state: str
    """One of StepState."""
    attempts: int = 0
    at: datetime | None = None
    detail: str = ""


class ProcessView(msgspec.Struct, frozen=True, kw_only=True):
    """An order whose process is not finished."""

    order_number: str
    process_id: str
    state: Literal["open", "in_doubt", "needs_person"]
    channel: str = ""
    since: datetime
    next_try: datetime | None = None
    steps: tuple[StepView, ...] = ()
    evidence: str = ""
    """What is known about the doubt: what was sent, what came back, what the query said."""
    trace_id: str = ""


def routes_of(now: Cells, earlier: Cells | None = None) -> list[RouteView]:
    """What channels were answered, over the time between two snapshots (or since the start), the most troubled first.

    Flights of no channel (these pages, events, housekeeping) are nobody's experience and stay out.
    """
    rows = []
    for key, cell in now.routes.items():
        if not key.channel:
            continue
        window = cell.since(earlier.routes.get(key) if earlier is not None else None)
        if window.n:
            rows.append(
                RouteView(
                    channel=key.channel,
                    route=key.route,
                    api_version=key.api_version,
                    calls=window.n,
                    failed=window.failed,
                    late=window.late,
                    degraded=window.degraded,
                    p50_ms=window.quantile(0.5) * 1000,
                    p95_ms=window.quantile(0.95) * 1000,
                )
            )
    return sorted(rows, key=lambda r: (-r.failed - r.late, -r.calls, r.route, r.channel))
