"""The flight record: what the gateway remembers of one request, process, message or file, at about 2 µs a step."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextvars import ContextVar
from random import getrandbits
from time import monotonic_ns, time_ns
from types import TracebackType
from typing import Final, NamedTuple, Protocol, Self, Unpack

from contracts.errors import TillgateError
from observability.vocabulary import (
    LINK_KINDS,
    NAMES,
    OUTCOME_OF,
    ROOT_STEP,
    Attributes,
    FailureClass,
    FlightKind,
    LinkKind,
    Outcome,
    Step,
    error_type,
    failure_class,
    refuse_unknown,
)

HOP_LIMIT: Final = 64
LINK_LIMIT: Final = 128
SAMPLED: Final = 0x01
RANDOM_ID: Final = 0x02
"""Level 2 flag: the trace id is random in its last 7 bytes, as ours are."""
_KNOWN: Final = NAMES.keys()
_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[^\s]*)?")
_TRACESTATE_MEMBER: Final = re.compile(r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,256}")
_DETAILS: Final = ("reason", "refusal", "where", "expected", "file", "line", "field", "state", "policy")
"""Fields of our errors that say what is wrong without quoting what a customer wrote (`got` and `key` may)."""


class SpanContext(NamedTuple):
    """A place in somebody's trace: 128 and 64 bit ids, flags as sent."""

    trace_id: int
    span_id: int
    flags: int


class Link(NamedTuple):
    kind: LinkKind
    trace_id: int
    span_id: int


def parse_traceparent(text: str | None) -> SpanContext | None:
    """W3C Trace Context Level 2. None for anything invalid; a higher version is read as 00, as far as 00 reaches."""
    found = _TRACEPARENT.fullmatch(text) if text and len(text) <= 512 else None
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5] is not None):
        return None
    trace_id, span_id = int(found[2], 16), int(found[3], 16)
    if not trace_id or not span_id:
        return None
    return SpanContext(trace_id, span_id, int(found[4], 16) & (SAMPLED | RANDOM_ID))


def format_traceparent(trace_id: int, span_id: int, flags: int) -> str:
    return f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"


def _tracestate(text: str) -> str:
    """The caller's members as they came, or nothing if one of them is malformed."""
    members = [m.strip(" \t") for m in text.split(",")] if len(text) <= 8192 else [""]
    members = [m for m in members if m]
    good = 0 < len(members) <= 32 and all(_TRACESTATE_MEMBER.fullmatch(m) for m in members)
    return ",".join(members) if good else ""


def _detail(error: BaseException) -> str:
    if not isinstance(error, TillgateError):
        return ""
    data = error.data
    return "; ".join(f"{name}: {data[name]}" for name in _DETAILS if data.get(name) not in (None, ""))[:400]


class Hop:
    """One step of a flight, used as a plain `with` block; its times are readings of the monotonic clock in ns.

    An exception that passes through is recorded and goes on. Without a current flight a hop records nothing, but its `traceparent`
    is still valid (a fresh trace, not sampled).
    """

    __slots__ = (
        "attempt",
        "attributes",
        "bits",
        "degraded_by",
        "detail",
        "error",
        "error_type",
        "kind",
        "links",
        "operation",
        "outcome",
        "outer",
        "parent_id",
        "record",
        "system",
        "t0",
        "t1",
    )

    record: FlightRecord | None
    outer: Hop | None
    links: list[Link] | None

    def __init__(self, kind: Step, *, system: str = "", operation: str = "", attempt: int = 0, **attributes: Unpack[Attributes]) -> None:
        """`attempt` counts from 1. Raises TypeError for an attribute outside the vocabulary."""
        if attributes and not attributes.keys() <= _KNOWN:
            raise refuse_unknown(attributes.keys() - _KNOWN)
        self.kind = kind
        self.system = system
        self.operation = operation
        self.attempt = attempt
        self.attributes = attributes
        self.outcome: Outcome = "unfinished"
        self.error_type = self.degraded_by = self.detail = self.error = ""
        self.links = self.record = self.outer = None
        self.t1 = 0

    def __enter__(self) -> Self:
        self.bits = getrandbits(64) or 1
        outer = _here.get()
        if outer is not None and (record := outer.record) is not None and not record.t1:
            self.outer = outer
            self.parent_id = outer.bits
            self.record = record
            if len(record.hops) < HOP_LIMIT:
                record.hops.append(self)
            else:
                record.lost += 1
            if self.attempt > 1:
                record.retried = True
            if self.kind is Step.GUARD:
                record.guarded = True
            _here.set(self)
        else:
            self.parent_id = 0
        self.t0 = monotonic_ns()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.t1 = monotonic_ns()
        if error is not None:
            self.failed(error)
        elif self.outcome == "unfinished":
            self.outcome = "success"
        if self.outer is not None:
            _here.set(self.outer)

    def set(self, **attributes: Unpack[Attributes]) -> None:
        """Add facts that were not known at the start. Raises TypeError for an attribute outside the vocabulary."""
        if not attributes.keys() <= _KNOWN:
            raise refuse_unknown(attributes.keys() - _KNOWN)
        self.attributes.update(attributes)

    def failed(self, error: BaseException) -> None:
        """Record a failure that does not pass through as an exception. The first one said wins."""
        if self.error_type or self.outcome == "cancelled":
            return
        found = error_type(error)
        if not found:
            self.outcome = "cancelled"
            return
        self.error_type = found
        self.outcome = OUTCOME_OF.get(failure_class(found), "failure")
        self.error = type(error).__qualname__
        self.detail = _detail(error)

    def degraded(self, reason: str) -> None:
        """The answer is stale or lacks a part; `reason` is a short word such as `stale` or the error code of the missing part."""
        if not self.error_type:
            self.outcome = "degraded"
        self.degraded_by = reason
        if self.record is not None:
            self.record.mark_degraded(reason)

    def link(self, kind: LinkKind, trace_id: str | int, span_id: str | int) -> None:
        """Point at another trace's span (hex or int ids), at most 128 times; broken ids are ignored, as foreign data may hold them."""
        if kind not in LINK_KINDS:
            raise TypeError(f"{kind!r} is no kind of link; expected one of {', '.join(sorted(LINK_KINDS))}")
        try:
            trace = trace_id if isinstance(trace_id, int) else int(trace_id, 16)
            span = span_id if isinstance(span_id, int) else int(span_id, 16)
        except ValueError:
            return
        if not (0 < trace < 1 << 128 and 0 < span < 1 << 64):
            return
        if self.links is None:
            self.links = []
        if len(self.links) < LINK_LIMIT:
            self.links.append(Link(kind, trace, span))

    def link_to(self, kind: LinkKind, traceparent: str | None) -> None:
        """The same for a stored `traceparent`; nothing happens when it is absent or invalid."""
        if (there := parse_traceparent(traceparent)) is not None:
            self.link(kind, there.trace_id, there.span_id)

    @property
    def span_id(self) -> str:
        """16 hex digits."""
        return f"{self.bits:016x}"

    @property
    def trace_id(self) -> str:
        """32 hex digits, empty without a flight."""
        return self.record.trace_id if self.record is not None else ""

    @property
    def traceparent(self) -> str:
        """The header to send upstream, or to store with work that continues this trace."""
        if self.record is None:
            return format_traceparent(getrandbits(128) or 1, self.bits, RANDOM_ID)
        return format_traceparent(self.record.trace, self.bits, self.record.trace_flags)

    @property
    def failure(self) -> FailureClass | None:
        return failure_class(self.error_type) if self.error_type else None

    @property
    def seconds(self) -> float:
        """How long it took; for a running hop, so far."""
        return ((self.t1 or monotonic_ns()) - self.t0) / 1e9


step = Hop
"""`with step(Step.ATTEMPT, system="erp", operation="GetStock", attempt=1) as hop:` — the only instrumentation there is."""

_here: ContextVar[Hop | None] = ContextVar("tillgate_hop", default=None)


class Keeper(Protocol):
    """Who is told when a flight begins and ends."""

    def begin(self, record: FlightRecord) -> None: ...

    def end(self, record: FlightRecord) -> None: ...


class FlightRecord:
    """All that is remembered of one flight. Opened by `Recorder.flight(...)`, used as a plain `with` block.

    `name`, `channel`, `api_version`, `store` and `client` may be assigned once they are known, at the latest before the end.
    Wall clock and monotonic clock are read once together; every time is that anchor plus a monotonic difference.
    """

    __slots__ = (
        "_keeper",
        "api_version",
        "channel",
        "client",
        "guarded",
        "hops",
        "kind",
        "lost",
        "name",
        "objective",
        "quarantined",
        "retried",
        "root",
        "sample_reason",
        "sample_weight",
        "store",
        "t0",
        "t1",
        "trace",
        "trace_flags",
        "tracestate",
        "wall",
    )

    def __init__(
        self,
        keeper: Keeper,
        kind: FlightKind,
        name: str,
        *,
        channel: str = "",
        api_version: str = "",
        store: str = "",
        client: str = "",
        parent: str | None = None,
        tracestate: str = "",
        trusted: bool = False,
        head_share: float = 0.0,
        system: str = "",
        operation: str = "",
    ) -> None:
        """As for Recorder.flight. `head_share` is the share of new traces that leave with the sampled flag."""
        self._keeper = keeper
        self.kind: FlightKind = kind
        self.name = name
        self.channel, self.api_version, self.store, self.client = channel, api_version, store, client
        self.objective = 0.0
        """Seconds beyond which this flight is late; 0 = the recorder's."""
        self.retried = self.guarded = self.quarantined = False
        self.lost = self.t0 = self.t1 = self.wall = 0
        self.sample_reason, self.sample_weight = "", 0
        self.tracestate = ""
        self.root = root = Hop(ROOT_STEP[kind], system=system, operation=operation)
        root.bits = getrandbits(64) or 1
        root.parent_id = 0
        root.record = self
        caller = parse_traceparent(parent) if parent else None
        if caller is not None and trusted:
            self.trace, root.parent_id, self.trace_flags = caller
            self.tracestate = _tracestate(tracestate) if tracestate else ""
        else:
            self.trace = getrandbits(128) or 1
            self.trace_flags = RANDOM_ID | ((self.trace & 0xFFFFFFFF) < head_share * 0x100000000)
            if caller is not None:
                root.link("caller_trace", caller.trace_id, caller.span_id)
        self.hops = [root]

    def __enter__(self) -> Self:
        self.root.outer = _here.get()
        _here.set(self.root)
        self.wall = time_ns()
        self.t0 = self.root.t0 = monotonic_ns()
        self._keeper.begin(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        root = self.root
        _here.set(root.outer)
        root.outer = None
        if error is not None:
            root.failed(error)
        status = root.attributes.get("status", 0)
        if not root.error_type and root.outcome != "cancelled" and status >= 400:
            root.error_type = "caller" if status < 500 else "gateway"
            root.outcome = "caller" if status < 500 else "failure"
        elif root.outcome == "unfinished":
            root.outcome = "success"
        self.t1 = root.t1 = monotonic_ns()
        self._keeper.end(self)
        for hop in self.hops:  # without the circle the memory is free at once, and late steps see that the flight is over
            hop.record = hop.outer = None

    def ended(self, began: int, steps: Sequence[Hop] = ()) -> None:
        """In place of a `with` block, for what was answered in one go: it began then (monotonic, ns), ends now with success, and so do its
        steps.
        """
        root = self.root
        self.t0 = root.t0 = began
        self.t1 = root.t1 = monotonic_ns()
        self.wall = time_ns() - (self.t1 - began)
        root.outcome = "success"
        for hop in steps:
            hop.bits, hop.parent_id, hop.record = getrandbits(64) or 1, root.bits, self
            hop.t0, hop.t1, hop.outcome = began, self.t1, "success"
            self.hops.append(hop)
        self._keeper.end(self)
        for hop in self.hops:
            hop.record = None

    def set(self, **attributes: Unpack[Attributes]) -> None:
        """Facts about the flight as a whole, such as `status`. From 400 on, a status is an outcome of its own."""
        self.root.set(**attributes)

    def failed(self, error: BaseException) -> None:
        """For an error that was turned into an answer and therefore does not pass through."""
        self.root.failed(error)

    def degraded(self, reason: str) -> None:
        self.root.degraded(reason)

    def mark_degraded(self, reason: str) -> None:
        root = self.root
        if root.outcome == "unfinished":
            root.outcome, root.degraded_by = "degraded", reason

    def link(self, kind: LinkKind, trace_id: str | int, span_id: str | int) -> None:
        self.root.link(kind, trace_id, span_id)

    def link_to(self, kind: LinkKind, traceparent: str | None) -> None:
        self.root.link_to(kind, traceparent)

    @property
    def trace_id(self) -> str:
        """32 hex digits."""
        return f"{self.trace:032x}"

    @property
    def span_id(self) -> str:
        """16 hex digits, the flight's own span."""
        return self.root.span_id

    @property
    def traceparent(self) -> str:
        """To store with work that goes on after this flight. Inside a step use the hop's own."""
        return format_traceparent(self.trace, self.root.bits, self.trace_flags)

    @property
    def sampled(self) -> bool:
        """Whether it leaves with the sampled flag, and is therefore always kept."""
        return bool(self.trace_flags & SAMPLED)

    @property
    def response_headers(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """The trace response, in both spellings that drafts have given it."""
        here = self.traceparent
        return ("traceresponse", here), ("server-timing", f"trace;desc={here}")

    @property
    def outcome(self) -> Outcome:
        return self.root.outcome

    @property
    def error_type(self) -> str:
        return self.root.error_type

    @property
    def failure(self) -> FailureClass | None:
        return self.root.failure

    @property
    def seconds(self) -> float:
        """How long it took; for a running flight, so far."""
        return self.root.seconds


def current() -> FlightRecord | None:
    """The flight this code runs in; tasks inherit it from the code that started them."""
    hop = _here.get()
    return hop.record if hop is not None else None


def current_hop() -> Hop | None:
    return _here.get()
