"""From a flight record to spans with its true times and ids: names, kinds and attributes of telemetry are decided here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from observability import vocabulary as names
from observability.flight import SAMPLED, FlightRecord, Hop
from observability.redaction import redact
from observability.vocabulary import OTHER_METHOD, UNMATCHED, Step

Value = str | bool | int | float
Kind = Literal["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]
WAIT_SHOWN_NS: Final = 5_000_000
INTERNAL_EXPORTED: Final = 2
_DETAIL_LIMIT: Final = 256


class SpanLink(msgspec.Struct, frozen=True):
    trace_id: str
    span_id: str
    kind: str


class Span(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One span as it is stored and shown. Ids are lower case hex, times are ns since the epoch, `status` is "" or "error"."""

    trace_id: str
    span_id: str
    parent_id: str = ""
    name: str
    kind: Kind = "INTERNAL"
    start: int
    end: int
    status: str = ""
    attributes: dict[str, Value] = {}
    links: tuple[SpanLink, ...] = ()

    @property
    def milliseconds(self) -> float:
        return (self.end - self.start) / 1e6

    def text(self, name: str) -> str:
        """An attribute as text, empty when absent."""
        return str(self.attributes.get(name, ""))


class FlightSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a list of flights shows of each. `systems` are those it called; `weight` flights of its stratum are represented by it."""

    trace_id: str
    span_id: str
    kind: str
    name: str
    channel: str
    api_version: str
    store: str
    client: str
    start: datetime
    milliseconds: float
    outcome: str
    error_type: str
    status: int
    systems: tuple[str, ...]
    degraded: str
    hops: int
    reason: str
    weight: int


def instant(ns: int) -> datetime:
    """Nanoseconds since the epoch as a time, cut to microseconds (never rounded up, so that it can be compared)."""
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).replace(microsecond=ns % 1_000_000_000 // 1_000)


def summary_of(record: FlightRecord) -> FlightSummary:
    root = record.root
    return FlightSummary(
        trace_id=record.trace_id,
        span_id=record.span_id,
        kind=record.kind,
        name=redact(record.name, 120),
        channel=redact(record.channel, 64),
        api_version=redact(record.api_version, 32),
        store=redact(record.store, 32),
        client=redact(record.client, 64),
        start=instant(record.wall),
        milliseconds=(record.t1 - record.t0) / 1e6,
        outcome=record.outcome,
        error_type=root.error_type or next((h.error_type for h in record.hops if h.error_type), ""),
        status=root.attributes.get("status", 0),
        systems=tuple(dict.fromkeys(h.system for h in record.hops if h.system)),
        degraded=redact(root.degraded_by, 64),
        hops=len(record.hops) + record.lost,
        reason=record.sample_reason,
        weight=record.sample_weight,
    )


def spans_of(record: FlightRecord, *, lean: bool = False) -> list[Span]:
    """All hops as spans, the flight itself first. `lean` keeps to the span budget of foreign trace stores: attempts, refusals, files,
    messages, waits above 5 ms, and two of the other internal steps, what failed before what lasted longest; children of what is left out
    move up to its parent.
    """
    hops = record.hops
    if lean:
        hops = _lean(record)
    kept = {hop.bits for hop in hops}
    parents = {hop.bits: hop.parent_id for hop in record.hops}
    return [_span(record, hop, _ancestor(hop, parents, kept) if lean else hop.parent_id) for hop in hops]


def _ancestor(hop: Hop, parents: dict[int, int], kept: set[int]) -> int:
    parent = hop.parent_id
    while parent in parents and parent not in kept:
        parent = parents[parent]
    return parent


_BAD: Final = frozenset({"failure", "rejected"})
_ALWAYS: Final = frozenset(
    {
        Step.ATTEMPT,
        Step.GUARD,
        Step.PUBLISH,
        Step.CONSUME,
        Step.FILE_RECEIVE,
        Step.FILE_PARSE,
        Step.FILE_COMMIT,
        Step.PROCESS_STEP,
    }
)


def _lean(record: FlightRecord) -> list[Hop]:
    always, other = [record.root], []
    for hop in record.hops[1:]:
        if hop.kind in _ALWAYS or (hop.kind is Step.CALL and (record.retried or hop.outcome != "success")):
            always.append(hop)
        elif hop.kind is not Step.WAIT or hop.t1 - hop.t0 > WAIT_SHOWN_NS:
            other.append(hop)
    other.sort(key=lambda h: (h.outcome not in _BAD, h.t0 - h.t1))
    chosen = {hop.bits for hop in (*always, *other[:INTERNAL_EXPORTED])}
    return [hop for hop in record.hops if hop.bits in chosen]


def _span(record: FlightRecord, hop: Hop, parent: int) -> Span:
    root = hop is record.root
    kind, name = _root_title(record) if root else _title(hop)
    anchor = record.wall - record.t0
    return Span(
        trace_id=record.trace_id,
        span_id=hop.span_id,
        parent_id=f"{parent:016x}" if parent else "",
        name=redact(name, 160),
        kind=kind,
        start=anchor + hop.t0,
        end=anchor + max(hop.t0, hop.t1 or record.t1),
        status="error" if _is_error(hop, kind) else "",
        attributes=_attributes(record, hop, kind, root=root),
        links=tuple(SpanLink(f"{link.trace_id:032x}", f"{link.span_id:016x}", link.kind) for link in hop.links or ()),
    )


def _is_error(hop: Hop, kind: Kind) -> bool:
    if hop.outcome in {"failure", "rejected"}:
        return True
    return kind == "CLIENT" and hop.attributes.get("status", 0) >= 400  # a server's 4xx is the caller's, a client's is an error


def _root_title(record: FlightRecord) -> tuple[Kind, str]:
    match record.kind:
        case "request":
            return "SERVER", record.name.removesuffix(f" {UNMATCHED}")
        case "message":
            return "CONSUMER", f"process {record.name}"
        case "file":
            return "CONSUMER", "file.receive"
        case _:
            return "INTERNAL", record.name


def _title(hop: Hop) -> tuple[Kind, str]:
    said = hop.attributes
    target = f"{hop.system}.{hop.operation}".strip(".")
    match hop.kind:
        case Step.ATTEMPT:
            if "rpc_method" in said:
                return "CLIENT", said["rpc_method"]
            if "url_template" in said:
                return "CLIENT", f"{said.get('method', 'HTTP')} {said['url_template']}"
            return "CLIENT", target or "attempt"
        case Step.PUBLISH:
            return "PRODUCER", f"publish {said.get('destination', 'amq.default')}"
        case Step.CONSUME:
            return "CONSUMER", f"process {said.get('destination', target)}".rstrip()
        case Step.FILE_RECEIVE | Step.FILE_PARSE | Step.FILE_COMMIT:
            return "INTERNAL", hop.kind.value
        case Step.GUARD:
            detail = said.get("guard_name", target)
        case Step.WAIT:
            detail = said.get("resource", target)
        case Step.MAP:
            detail = said.get("mapping", target)
        case Step.STORE:
            detail = said.get("unit", "")
        case Step.QUOTA:
            detail = said.get("quota", "")
        case Step.CACHE:
            detail = said.get("capability", target)
        case Step.PROCESS_STEP:
            return "INTERNAL", f"{said.get('process', '')}.{said.get('process_step', '')}".strip(".") or target or "step"
        case _:
            detail = target
    return "INTERNAL", f"{hop.kind.value} {detail}".rstrip()


def _attributes(record: FlightRecord, hop: Hop, kind: Kind, *, root: bool) -> dict[str, Value]:
    said = dict(hop.attributes)
    out: dict[str, Value] = {
        names.NAMES[key]: value if isinstance(value, bool | int | float) else redact(str(value), _DETAIL_LIMIT)
        for key, value in said.items()
    }
    out[names.STEP] = hop.kind.value
    out[names.OUTCOME] = hop.outcome
    if hop.system:
        out[names.PEER] = hop.system
    if hop.operation:
        out[names.OPERATION] = hop.operation
    if hop.attempt:
        out["tillgate.attempt"] = hop.attempt
        if hop.attempt > 1:
            out[names.RESEND_COUNT] = hop.attempt - 1
    if said.get("protocol") == "soap":
        out[names.RPC_SYSTEM] = "soap"
    if kind in {"PRODUCER", "CONSUMER"} and hop.kind is not Step.FILE_RECEIVE:
        out[names.OPERATION_NAME] = "publish" if kind == "PRODUCER" else "process"
        out[names.OPERATION_TYPE] = "send" if kind == "PRODUCER" else "process"
    if hop.error_type:
        if told := _error_type(hop, root=root):
            out[names.ERROR_TYPE] = told
        if hop.error:
            out[names.EXCEPTION] = hop.error
        if hop.detail:
            out[names.ERROR_DETAIL] = redact(hop.detail)
    if hop.degraded_by:
        out[names.DEGRADED] = redact(hop.degraded_by, 64)
    if root:
        out.update(_flight_attributes(record))
    return out


def _error_type(hop: Hop, *, root: bool) -> str:
    """A caller's mistake is no error of the server; one that has no better word is the status (HTTP conventions)."""
    status = hop.attributes.get("status", 0)
    if not (root and status):
        return hop.error_type
    if status < 500:
        return ""
    return str(status) if hop.error_type == "gateway" else hop.error_type


def _flight_attributes(record: FlightRecord) -> dict[str, Value]:
    out: dict[str, Value] = {
        names.FLIGHT_KIND: record.kind,
        names.CHANNEL: record.channel,
        names.STORE: record.store,
        names.API_VERSION: record.api_version,
        names.CLIENT: record.client,
        names.SAMPLE_REASON: record.sample_reason,
        names.SAMPLE_WEIGHT: record.sample_weight,
        names.LOST_HOPS: record.lost,
    }
    if record.kind == "request":
        method, _, route = record.name.partition(" ")
        out["http.request.method"] = "_OTHER" if method == OTHER_METHOD else method
        out["http.route"] = "" if route == UNMATCHED else route
    return {name: redact(value, 120) if isinstance(value, str) else value for name, value in out.items() if value}


def resource(version: str, instance: str) -> Resource:
    """The gateway as OpenTelemetry sees it; `instance` is unique per worker process."""
    return Resource(
        {
            names.SERVICE_NAME: "tillgate",
            names.SERVICE_VERSION: version,
            names.SERVICE_INSTANCE: instance,
        }
    )


_SCOPE: Final = InstrumentationScope("tillgate")
_FLAGS: Final = TraceFlags(SAMPLED)
_STATUS: Final = {"": Status(StatusCode.UNSET), "error": Status(StatusCode.ERROR)}


_KIND_NUMBERS: Final[dict[Kind, int]] = {"INTERNAL": 1, "SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}


def otlp(spans: Sequence[Span], service: str = "tillgate") -> dict[str, Any]:
    """An export request as OTLP/JSON writes it (OTLP 1.x, JSON Protobuf encoding): ids in hex, 64 bit integers as strings."""
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": [_attribute(names.SERVICE_NAME, service)]},
                "scopeSpans": [{"scope": {"name": "tillgate"}, "spans": [_otlp_span(span) for span in spans]}],
            }
        ]
    }


def _otlp_span(span: Span) -> dict[str, Any]:
    links = [{"traceId": x.trace_id, "spanId": x.span_id, "attributes": [_attribute(names.LINK, x.kind)]} for x in span.links]
    return {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        **({"parentSpanId": span.parent_id} if span.parent_id else {}),
        "name": span.name,
        "kind": _KIND_NUMBERS[span.kind],
        "startTimeUnixNano": str(span.start),
        "endTimeUnixNano": str(span.end),
        "attributes": [_attribute(key, value) for key, value in span.attributes.items()],
        **({"links": links} if links else {}),
        "status": {"code": 2} if span.status == "error" else {},
    }


def _attribute(key: str, value: Value) -> dict[str, Any]:
    match value:
        case bool():
            written: dict[str, Any] = {"boolValue": value}
        case int():
            written = {"intValue": str(value)}
        case float():
            written = {"doubleValue": value}
        case _:
            written = {"stringValue": value}
    return {"key": key, "value": written}


def readable(span: Span, of: Resource) -> ReadableSpan:
    """The SDK's span. Its context carries the sampled flag: without it the batch processor discards the span silently."""
    trace_id = int(span.trace_id, 16)
    return ReadableSpan(
        name=span.name,
        context=SpanContext(trace_id, int(span.span_id, 16), is_remote=False, trace_flags=_FLAGS),
        parent=SpanContext(trace_id, int(span.parent_id, 16), is_remote=False, trace_flags=_FLAGS) if span.parent_id else None,
        resource=of,
        attributes=span.attributes,
        links=[
            Link(SpanContext(int(link.trace_id, 16), int(link.span_id, 16), is_remote=True), {names.LINK: link.kind}) for link in span.links
        ],
        kind=SpanKind[span.kind],
        status=_STATUS[span.status],
        start_time=span.start,
        end_time=span.end,
        instrumentation_scope=_SCOPE,
    )
