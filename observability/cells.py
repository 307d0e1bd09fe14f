"""Cells: counters of all flights, before any sampling. Integers only, merged by addition, bounded in number."""

from __future__ import annotations

from time import monotonic_ns
from typing import Final, NamedTuple

import msgspec

from observability.baseline import BUCKETS, bucket, upper_bound
from observability.blame import Counted
from observability.flight import FlightRecord, Hop
from observability.vocabulary import FAILURE_CLASSES, FailureClass, Step

SHOWN: Final = range(4, BUCKETS - 1, 4)
"""Buckets that are shown, every fourth: bounds a factor of 2 apart, 0.2 ms to about 105 s."""
OTHER: Final = "other"
_CLASS_INDEX: Final[dict[FailureClass, int]] = {name: i for i, name in enumerate(FAILURE_CLASSES)}
_ATTEMPT: Final = Step.ATTEMPT
_COUNTED: Final = frozenset({Step.CALL, Step.FILE_RECEIVE, Step.ATTEMPT})


class RouteKey(NamedTuple):
    channel: str
    route: str
    api_version: str


class OperationKey(NamedTuple):
    system: str
    operation: str


class Cell(msgspec.Struct):
    """`failures` are in the order of FAILURE_CLASSES; `attempts` are load, only logical outcomes count as failures."""

    n: int = 0
    failures: list[int] = msgspec.field(default_factory=lambda: [0] * len(FAILURE_CLASSES))
    late: int = 0
    degraded: int = 0
    attempts: int = 0
    cancelled: int = 0
    total_us: int = 0
    durations: list[int] = msgspec.field(default_factory=lambda: [0] * BUCKETS)
    last_error: str = ""
    """`error.type` of the latest failure that was not the caller's, when it began (ns since the epoch) and in which trace."""
    last_error_at: int = 0
    last_trace: str = ""
    exemplars: dict[int, tuple[str, float, float]] = {}
    """By shown bucket: trace id of the latest flight that was kept, how long this took and when it began (seconds)."""

    def exemplify(self, hop: Hop) -> None:
        if (record := hop.record) is not None:
            index = bucket(hop.seconds)
            shown = min(SHOWN.start + max(0, -(-(index - SHOWN.start) // SHOWN.step)) * SHOWN.step, BUCKETS - 1)
            self.exemplars[shown] = (record.trace_id, hop.seconds, (record.wall + hop.t0 - record.t0) / 1e9)

    def add(self, hop: Hop, *, late: bool) -> None:
        self.n += 1
        ns = (hop.t1 or monotonic_ns()) - hop.t0
        self.total_us += ns // 1000
        self.durations[bucket(ns * 1e-9)] += 1
        self.late += late
        if hop.outcome == "success":
            return
        if (failure := hop.failure) is not None:
            self.failures[_CLASS_INDEX[failure]] += 1
            if failure != "caller" and (record := hop.record) is not None:
                self.last_error, self.last_trace = hop.error_type, record.trace_id
                self.last_error_at = record.wall + hop.t0 - record.t0
        elif hop.outcome == "cancelled":
            self.cancelled += 1
        elif hop.outcome == "degraded":
            self.degraded += 1

    def merge(self, other: Cell) -> None:
        self.n += other.n
        self.late += other.late
        self.degraded += other.degraded
        self.attempts += other.attempts
        self.cancelled += other.cancelled
        self.total_us += other.total_us
        self.failures = [a + b for a, b in zip(self.failures, other.failures, strict=True)]
        self.durations = [a + b for a, b in zip(self.durations, other.durations, strict=True)]
        if other.last_error_at > self.last_error_at:
            self.last_error, self.last_error_at, self.last_trace = other.last_error, other.last_error_at, other.last_trace
        self.exemplars |= other.exemplars

    def since(self, earlier: Cell | None) -> Cell:
        """What was added after `earlier`, a copy of this cell taken before: for rates over a window."""
        if earlier is None:
            return self
        return Cell(
            n=self.n - earlier.n,
            failures=[a - b for a, b in zip(self.failures, earlier.failures, strict=True)],
            late=self.late - earlier.late,
            degraded=self.degraded - earlier.degraded,
            attempts=self.attempts - earlier.attempts,
            cancelled=self.cancelled - earlier.cancelled,
            total_us=self.total_us - earlier.total_us,
            durations=[a - b for a, b in zip(self.durations, earlier.durations, strict=True)],
            last_error=self.last_error,
            last_error_at=self.last_error_at,
            last_trace=self.last_trace,
        )

    def count(self, failure: FailureClass) -> int:
        return self.failures[_CLASS_INDEX[failure]]

    @property
    def failed(self) -> int:
        """Failures of all classes except the caller's own mistakes."""
        return sum(self.failures) - self.count("caller")

    def quantile(self, q: float) -> float:
        """Seconds at or below which the share `q` of the durations lies, to within a bucket (19 %); 0 when nothing was counted."""
        rank, seen = q * self.n, 0
        for index, count in enumerate(self.durations):
            seen += count
            if count and seen >= rank:
                return upper_bound(min(index, BUCKETS - 2))
        return 0.0


class Cells(msgspec.Struct):
    """Cells by (channel, route, API version) and by (system, operation). Beyond `limit` of a kind the rest is counted as `other`."""

    limit: int = 5_000
    routes: dict[RouteKey, Cell] = {}
    operations: dict[OperationKey, Cell] = {}
    blamed: dict[OperationKey, float] = {}
    """Bad requests by whose doing they were, in shares that add up; nobody's has neither system nor operation."""
    folded: int = 0
    """How often a flight or call went to `other`: a loss of detail."""

    def route(self, key: RouteKey) -> Cell:
        return self.routes.get(key) or self._new_route(key)

    def operation(self, key: OperationKey) -> Cell:
        return self.operations.get(key) or self._new_operation(key)

    def add(self, record: FlightRecord, counted: Counted) -> None:
        """Count one ended flight."""
        self.route(RouteKey(record.channel, record.name, record.api_version)).add(record.root, late=counted.late)
        calls = [hop for hop in record.hops if hop.system and hop.kind in _COUNTED]
        called = {(hop.system, hop.operation) for hop in calls if hop.kind is not _ATTEMPT}
        for hop in calls:
            at = (hop.system, hop.operation)
            cell = self.operations.get(at) or self._new_operation(OperationKey(*at))  # type: ignore[call-overload]  # equal keys
            if hop.kind is _ATTEMPT:
                cell.attempts += 1
                if at in called:
                    continue
            cell.add(hop, late=at in counted.slow)
        for part, share in counted.shares.items():
            if part in self.blamed:
                self.blamed[part] += share
                continue
            key = OperationKey(*part) if len(self.blamed) < self.limit else OperationKey(OTHER, OTHER)
            self.blamed[key] = self.blamed.get(key, 0.0) + share

    def exemplify(self, record: FlightRecord) -> None:
        """A flight that is kept stands for others of its cells."""
        if cell := self.routes.get((record.channel, record.name, record.api_version)):  # type: ignore[call-overload]  # equal keys
            cell.exemplify(record.root)
        for hop in record.hops:
            if hop.system and hop.kind is not _ATTEMPT:
                found = self.operations.get((hop.system, hop.operation))  # type: ignore[call-overload]  # equal keys
                if found is not None:
                    found.exemplify(hop)

    def merge(self, other: Cells) -> None:
        for route, cell in other.routes.items():
            self.route(route).merge(cell)
        for operation, cell in other.operations.items():
            self.operation(operation).merge(cell)
        for part, share in other.blamed.items():
            self.blamed[part] = self.blamed.get(part, 0.0) + share
        self.folded += other.folded

    def copy(self) -> Cells:
        return msgspec.msgpack.decode(_ENCODER.encode(self), type=Cells)

    def _new_route(self, key: RouteKey) -> Cell:
        if len(self.routes) >= self.limit:
            self.folded += 1
            key = RouteKey(OTHER, OTHER, OTHER)
        return self.routes.setdefault(key, Cell())

    def _new_operation(self, key: OperationKey) -> Cell:
        if len(self.operations) >= self.limit:
            self.folded += 1
            key = OperationKey(OTHER, OTHER)
        return self.operations.setdefault(key, Cell())


_ENCODER: Final = msgspec.msgpack.Encoder()
