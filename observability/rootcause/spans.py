"""Spans of other makers, read into columns: members by any of their usual names, times in any usual unit."""

from __future__ import annotations

import binascii
import hashlib
import math
import re
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from observability.rootcause import forms, names
from observability.rootcause.forms import Unreadable

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Unit = Literal["s", "ms", "us", "ns"]

NANOSECONDS: Final[dict[Unit, int]] = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_ORDER: Final[tuple[Unit, ...]] = tuple(NANOSECONDS)
_DECADE: Final = 10 * 365 * 86_400 * 1_000_000_000
MAX_SPANS: Final = 12_000_000
MAX_NAMES: Final = 100_000
"""Different services, operations or attribute values; what comes after them is `(other)`."""
UNKNOWN, INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = range(6)
_KINDS: Final = {name: i for i, name in enumerate(("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"))}
NO_STATUS, GOOD, FAILED = range(3)


@dataclass(slots=True)
class Troubles:
    """What was odd in the input, counted."""

    duplicates: int = 0
    negative: int = 0
    without_id: int = 0
    folded: int = 0
    """Names beyond the limit, kept as `(other)`."""


@dataclass(slots=True)
class Spans:
    """One row per span, in the order of the files. Times in nanoseconds since 1970; -1 where a number says "none".

    `parent_key` and `key` identify spans (hashes of trace and span id); `trace` is -1 throughout when no span has a trace id.
    """

    key: NDArray[np.uint64]
    parent_key: NDArray[np.uint64]
    parent: Ints
    """Row of the parent; nobody is above itself."""
    trace: Ints
    """Consecutive numbers."""
    service: Ints
    operation: Ints
    start: Ints
    duration: Ints
    status: NDArray[np.int8]
    kind: NDArray[np.int8]
    peer: Ints
    weight: Floats
    services: list[str]
    operations: list[str]
    attributes: dict[str, tuple[Ints, list[str]]]
    """Key -> (index of the value per span, values)."""
    units: tuple[Unit, Unit]
    """Of start and duration, as detected."""
    troubles: Troubles = field(default_factory=Troubles)

    def __len__(self) -> int:
        return len(self.key)


# ---- lines -------------------------------------------------------------------------------------------------------------


_MEMBERS: Final[dict[str, tuple[str, ...]]] = {
    "trace": ("traceid", "trace"),
    "span": ("spanid", "transactionid", "id", "span"),
    "parent": ("parentspanid", "parentid", "parentspan", "parent", "pid"),
    "service": ("cmdbid", "servicename", "service", "podname", "application", "app"),
    "name": ("operationname", "spanname", "transactionname", "name", "operation", "resourcename", "methodname", "interface", "url"),
    "start": ("starttimeunixnano", "startnanos", "startns", "starttimens", "starttimemicros", "starttimeus", "startus", "starttime",
              "start", "starttimestamp", "timestampmicros", "timestampus", "timestamp", "starttimemillis", "starttimems", "startms",
              "time"),
    "duration": ("duration", "durationnano", "durationnanos", "durationns", "durationmicros", "durationus", "durationmillis",
                 "durationms", "durationseconds", "durations", "spandurationus", "transactiondurationus", "elapsedtime", "elapsed",
                 "latency", "rt"),
    "end": ("endtimeunixnano", "endnanos", "endtime", "end", "endtimestamp", "endtimemillis"),
    "status": ("statuscode", "statusstatuscode", "status", "success", "eventoutcome"),
    "kind": ("spankind", "kind"),
}  # fmt: skip
"""What foreign writers call the members of a flat span, without case and punctuation; the first one that is there counts."""
_LASTING: Final = re.compile(r"([0-9.]+)\s*(ns|us|µs|μs|ms|s)")
_UNITS: Final[tuple[tuple[str, Unit], ...]] = (
    ("durations", "s"), ("nano", "ns"), ("nanos", "ns"), ("ns", "ns"), ("micros", "us"), ("us", "us"), ("millis", "ms"), ("ms", "ms"),
    ("seconds", "s"),
)  # fmt: skip
_HEADERS: Final = frozenset(n for member in ("span", "service") for n in _MEMBERS[member] if n not in ("id", "app", "application"))
_PUNCTUATION: Final = str.maketrans("", "", "_-.@ ")
_WORDS: Final = dict.fromkeys(("OK", "SUCCESS", "TRUE"), GOOD) | dict.fromkeys((
    "ERROR", "FAILED", "FAILURE", "FALSE", "EXCEPTION", "TIMEOUT", "UNKNOWN", "DEADLINE_EXCEEDED", "DEADLINEEXCEEDED",
    "RESOURCE_EXHAUSTED", "RESOURCEEXHAUSTED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "DATALOSS",
), FAILED)  # fmt: skip
"""Of statuses that are written as words, those of gRPC among them that blame a server."""
_INNER: Final = ("attributes", "tags", "resource", "process", "localEndpoint", "meta")
_AROUND: Final = frozenset((*_INNER, "context", "custom", "fields"))
"""Members that hold others whose names need no more words."""
_NO_ERROR: Final = frozenset(("", "0", "false", "none", "null", "nan", "no"))
_NO_PARENT: Final = frozenset(("", "root", "none", "null", "nan", "-1"))
_PEERS: Final = (
    "service.peer.name",
    "peer.service",
    "dsName",
    "server.address",
    "net.peer.name",
    "db.system.name",
    "db.system",
    "messaging.system",
)
_PEER_KEYS: Final = frozenset(_PEERS)
_CALLING: Final = frozenset((UNKNOWN, INTERNAL, CLIENT, PRODUCER))
_CODES: Final = ("http.response.status_code", "http.status_code", "rpc.grpc.status_code", "rpc.status_code", "rpc.response.status_code")
_SAYING: Final = frozenset((*_CODES, "error", "error.type", "otel.status_code"))
_WEIGHT: Final = "tillgate.sample.weight"
_OWN_MISTAKE: Final = "gateway"
"""Error type of what went wrong in the gateway itself, whoever it was dealing with."""


class _Names:
    """Text -> index, bounded."""

    def __init__(self, troubles: Troubles) -> None:
        self.index: dict[str, int] = {}
        self._troubles = troubles

    def __call__(self, text: str) -> int:
        found = self.index.get(text)
        if found is not None:
            return found
        if len(self.index) >= MAX_NAMES:
            self._troubles.folded += 1
            text = "(other)"
        return self.index.setdefault(text[:300], len(self.index))

    def list(self) -> list[str]:
        return list(self.index)


class _Columns:
    def __init__(self, attributes: Sequence[str]) -> None:
        self.troubles = Troubles()
        self.key, self.parent = array("Q"), array("Q")
        self.trace, self.service, self.operation, self.peer = array("q"), array("q"), array("q"), array("q")
        self.start, self.duration, self.weight = array("d"), array("d"), array("d")
        self.whole = array("q")
        self.status, self.kind = array("b"), array("b")
        self.traces: dict[str, int] = {}
        self.services, self.operations, self.peers = (_Names(self.troubles) for _ in range(3))
        self.attributes = {key: (_Names(self.troubles), array("q")) for key in attributes}
        self.with_trace = 0
        self.as_text = False
        self.shapes: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.said = ["", ""]
        """Units of start and duration that the names of their members tell; "=": a duration is an end less a start."""

    def otlp(self, request: forms.Request) -> None:
        for resource in request.resource_spans:
            of_resource = {a.key: a.value.text() for a in resource.resource.attributes} if resource.resource else {}
            service = of_resource.get("service.name", "")
            for scope in resource.scope_spans:
                for span in scope.spans:
                    own = {a.key: a.value.text() for a in span.attributes}
                    start, end = int(span.start_time_unix_nano or 0), int(span.end_time_unix_nano or 0)
                    status = _code(span.status.code if span.status else 0)
                    if status == NO_STATUS:
                        status = _said(own, span.events)
                    trace, own_id, parent = map(_hex, (span.trace_id, span.span_id, span.parent_span_id or ""))
                    self.add(trace, own_id, parent, service, span.name, start, end - start, status,
                             _kind(span.kind), {**of_resource, **own} if self.attributes else own)  # fmt: skip

    def flat(self, line: dict[str, Any]) -> None:
        shape = tuple(line)
        keys = self.shapes.get(shape)
        if keys is None:  # lines of one writer mostly have the same members
            keys = self._keys(shape)
            if len(self.shapes) < 1_000:
                self.shapes[shape] = keys
        trace, span, parent, service, name, start, duration, end, status, kind = map(line.get, keys)
        if span is None or start is None or isinstance(span, dict) or isinstance(start, dict):  # what names it lies deeper
            line = dict(_flattened(line))
            trace, span, parent, service, name, start, duration, end, status, kind = map(line.get, self._keys(tuple(line)))
        for key in _INNER:
            if key in line:
                line = line | _inner(line[key])
        service = service if isinstance(service, str) else line.get("serviceName") or line.get("service.name") or service
        if isinstance(other := line.get("remoteEndpoint"), dict) and other.get("serviceName"):
            line = line | {"peer.service": other["serviceName"]}
        if span in (None, "", 0) and service is None:
            raise ValueError(f"a span with span_id and service; its members are {', '.join(line)[:160]}")
        if isinstance(start, str):
            self.as_text |= not start.strip().replace(".", "", 1).isdecimal()
            start = _moment(start)
        if end is not None and isinstance(start, int | float) and (duration is None or self.said[1] in ("", "=")):
            end = _moment(end) if isinstance(end, str) else end
            if isinstance(end, int | float):
                duration = end - start
                self.said[1] = "="
        elif isinstance(duration, str):
            duration = self._lasting(duration)
        if not isinstance(start, int | float) or not isinstance(duration, int | float):
            raise ValueError(f"start and duration as numbers; the span's members are {', '.join(line)[:160]}")
        if parent is None and "references" in line:
            parent = _referred(line["references"])
        code = _code(status)
        self.add(str(trace or ""), _id(span), "" if parent == span else _id(parent), str(service or ""), str(name or ""), start, duration,
                 code if code != NO_STATUS else _said(line, ()), _kind(line.get("span.kind") if kind is None else kind), line)  # fmt: skip

    def _lasting(self, text: str) -> float:
        """A number, or one with its unit."""
        try:
            return float(text)
        except ValueError:
            match = _LASTING.fullmatch(text.strip())
            if match is None:
                raise ValueError(f"a duration, got {text[:40]!r}") from None
        self.said[1] = "ns"
        return float(match[1]) * next(f for unit, f in NANOSECONDS.items() if unit == match[2].replace("µ", "u").replace("μ", "u"))

    def _keys(self, shape: tuple[str, ...]) -> tuple[str, ...]:
        plain: dict[str, str] = {}
        for key in shape:
            plain.setdefault(key.translate(_PUNCTUATION).casefold(), key)
        if "cmdbid" in plain and "servicename" in plain:  # what runs, and what it does
            plain.setdefault("operationname", plain["servicename"])
        found = {member: next((n for n in names if n in plain), "") for member, names in _MEMBERS.items()}
        for index, member in enumerate(("start", "duration")):
            unit = next((u for suffix, u in _UNITS if found[member].endswith(suffix) and found[member] != "elapsed"), "")
            self.said[index] = unit or self.said[index]
        if found["start"] == "starttimemillis" and found["duration"] == "duration":
            self.said[1] = "us"  # Jaeger writes milliseconds beside, but never instead of microseconds
        return tuple(plain.get(name, "") for name in found.values())

    def add(
        self, trace: str, span: str, parent: str, service: str, name: str, start: float, duration: float, status: int, kind: int,
        attributes: dict[str, Any],
    ) -> None:  # fmt: skip
        if not span or not span.strip("0"):
            self.troubles.without_id += 1
            return
        if not (math.isfinite(start) and math.isfinite(duration) and abs(start) < 1e19 and abs(duration) < 1e19):
            self.troubles.negative += 1
            return
        if trace.strip("0"):
            self.with_trace += 1
        number = self.traces.setdefault(trace, len(self.traces))
        self.trace.append(number)
        self.key.append(_hash(span))
        self.parent.append(_hash(parent) if parent.strip("0") else 0)
        self.service.append(self.services(service))
        self.operation.append(self.operations(name))
        self.start.append(start)
        self.whole.append(int(start))
        self.duration.append(duration)
        self.status.append(status)
        self.kind.append(kind)
        peer = ""
        if kind in _CALLING and not _PEER_KEYS.isdisjoint(attributes) and attributes.get("error.type") != _OWN_MISTAKE:
            peer = next(str(attributes[k]) for k in _PEERS if k in attributes)
        self.peer.append(self.peers(peer) if peer else -1)
        self.weight.append(_weight(attributes.get(_WEIGHT)))
        for key, (values, column) in self.attributes.items():
            column.append(values(str(attributes[key])) if key in attributes else -1)


def _hash(identifier: str) -> int:
    if len(identifier) <= 16:
        try:
            return int(identifier, 16)
        except ValueError:
            pass
    return int.from_bytes(hashlib.blake2b(identifier.encode(), digest_size=8).digest(), "big")


def _hex(identifier: str) -> str:
    """Protocol Buffers' own JSON writes bytes in base64."""
    if identifier.endswith("="):
        try:
            return binascii.a2b_base64(identifier).hex()
        except binascii.Error:
            pass
    return identifier


def _id(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else str(value)
    return "" if len(text) < 5 and text.casefold() in _NO_PARENT else text


def _flattened(value: dict[str, Any], prefix: str = "", deep: int = 4) -> Iterable[tuple[str, Any]]:
    """Members of members, their names joined by dots, without those that say nothing."""
    for key, inner in value.items():
        if isinstance(inner, dict) and deep:
            yield from _flattened(inner, prefix if key in _AROUND else f"{prefix}{key}.", deep - 1)
        elif isinstance(inner, list) and key in _AROUND:
            yield from _inner(inner).items()
        else:
            yield f"{prefix}{key}", inner


def _inner(value: Any) -> dict[str, Any]:
    """What a writer keeps one level down: Jaeger's process and tags, Zipkin's endpoint, OpenTelemetry's attributes."""
    if isinstance(value, dict):
        return {**value, **_inner(value.get("attributes"))} if "attributes" in value else value
    if not isinstance(value, list):
        return {}
    pairs = [v for v in value[:200] if isinstance(v, dict) and "key" in v]
    return {str(v["key"]): next(iter(w.values()), "") if isinstance(w := v.get("value", ""), dict) else w for v in pairs}


def _referred(value: Any) -> Any:
    found = value[0] if isinstance(value, list) and value else {}
    return next((found[k] for k in ("spanID", "spanId", "span_id") if k in found), None) if isinstance(found, dict) else None


def _kind(value: Any) -> int:
    if isinstance(value, int):
        return value if 0 <= value <= CONSUMER else UNKNOWN
    return _KINDS.get(str(value).upper().removeprefix("SPAN_KIND_").removeprefix("SPANKIND."), UNKNOWN)


def _code(value: Any) -> int:
    """OpenTelemetry's status, an HTTP or gRPC code, or a word."""
    if value is None or value == "":
        return NO_STATUS
    if isinstance(value, bool):
        return GOOD if value else FAILED
    if isinstance(value, dict):
        return _code(value.get("code"))
    if isinstance(value, str):
        word = value.strip().upper().removeprefix("STATUS_CODE_")
        if word in _WORDS:
            return _WORDS[word]
        try:
            value = float(word[:20])
        except ValueError:
            return NO_STATUS
    if not isinstance(value, int | float):
        return NO_STATUS
    value = int(value) if math.isfinite(value) else 0
    if value >= 100:
        return FAILED if value >= 500 else GOOD
    return (NO_STATUS, GOOD, FAILED)[value] if 0 <= value <= 2 else FAILED


def _said(attributes: dict[str, Any], events: Iterable[forms.Event]) -> int:
    """What else a span says about its success, where it has no status."""
    if len(attributes) < 10 and not events and _SAYING.isdisjoint(attributes):
        return NO_STATUS
    if (
        str(attributes.get("error") or "").casefold() not in _NO_ERROR
        or attributes.get("error.type")
        or any(e.name == "exception" for e in events)
    ):
        return FAILED
    if (word := attributes.get("otel.status_code")) and (code := _code(word)) != NO_STATUS:
        return code
    for key in _CODES:
        if (value := attributes.get(key)) not in (None, ""):
            text = str(value)
            if text.isdecimal():
                number = int(text[:9])
                return FAILED if number >= 500 or (0 < number < 100 and "grpc" in key) else GOOD
    return NO_STATUS


def _weight(value: Any) -> float:
    if value is None:
        return 1.0
    try:
        weight = float(value)
    except (TypeError, ValueError):
        return 1.0
    return weight if 0 < weight < 1e9 else 1.0


def _moment(text: str) -> float:
    """RFC 3339, or a number in quotes."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return int(moment(text))


def moment(text: str) -> int:
    """RFC 3339 or an epoch number in s, ms, us or ns -> nanoseconds since 1970. Raises ValueError with what was expected."""
    try:
        number = float(text)
    except ValueError:
        try:
            found = datetime.fromisoformat(text.strip().replace("/", "-").replace(" ", "T", 1))
        except ValueError as exc:
            raise ValueError(f"expected an RFC 3339 time or an epoch number, got {text[:60]!r}") from exc
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        whole = int(found.replace(microsecond=0).timestamp())
        return whole * 1_000_000_000 + found.microsecond * 1_000
    return (
        int(text) * NANOSECONDS[unit_of(number)]
        if text.strip().removeprefix("-").isdecimal()
        else int(number * NANOSECONDS[unit_of(number)])
    )


def unit_of(moment: float) -> Unit:
    """The unit that puts an epoch number between 1973 and 5138."""
    size = abs(moment)
    return "s" if size < 1e11 else "ms" if size < 1e14 else "us" if size < 1e17 else "ns"


# ---- files -------------------------------------------------------------------------------------------------------------


def read(files: Sequence[str], *, attributes: Sequence[str] = (), renames: names.Renames = ()) -> Spans:
    """All spans of the files, or of those in a directory (`-` is standard input). Raises Unreadable, OSError."""
    columns = _Columns(attributes)
    for file in forms.files(files):
        _file(file, columns)
    return _spans(columns, renames)


def _file(file: str, columns: _Columns) -> None:
    number = 0
    try:
        for number, record in forms.records(file, _HEADERS):
            if len(columns.key) >= MAX_SPANS:
                raise Unreadable(file, number, f"at most {MAX_SPANS} spans (some minutes, or a sample of traces, are enough)", "more")
            if isinstance(record, forms.Request):
                columns.otlp(record)
            else:
                columns.flat(record)
    except (msgspec.MsgspecError, ValueError, OverflowError) as exc:
        raise Unreadable(file, number, "one span per line as a JSON object, OTLP, Jaeger or Zipkin JSON", str(exc)) from exc


def _spans(columns: _Columns, renames: names.Renames) -> Spans:
    keys, parents, trace = _uints(columns.key), _uints(columns.parent), _ints(columns.trace)
    if columns.with_trace:
        salt = (trace.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        keys, parents = keys ^ salt, np.where(parents == 0, np.uint64(0), parents ^ salt)
    else:
        trace = np.full(len(keys), -1, np.int64)
    keys, parents = _apart(keys, parents, _ints(columns.service), np.frombuffer(columns.kind, np.int8))
    above = _parents(keys, parents)
    known = names.services(columns.services.list(), renames, columns.peers.list(), calls=_calls(columns, above))
    service_of, operation_of = _Names(columns.troubles), _Names(columns.troubles)
    written, operations = columns.services.list(), columns.operations.list()
    to_service = np.array([service_of(known[s][0]) for s in written] or [0], np.int64)
    prefix = [known[s][1] for s in written]
    to_operation = np.array([operation_of(names.operation(o, renames)) for o in operations] or [0], np.int64)
    service_raw, operation_raw = _ints(columns.service), _ints(columns.operation)
    operation = to_operation[operation_raw] if len(operation_raw) else operation_raw
    for index, part in enumerate(prefix):
        if part:
            operation[(service_raw == index) & (operation == operation_of.index.get("", -1))] = operation_of(names.operation(part, renames))
    peers = columns.peers.list()
    to_peer = np.array([service_of(known[p][0]) for p in peers] or [-1], np.int64)
    peer_raw = _ints(columns.peer)
    start, duration, units = _times(columns, above)
    spans = Spans(
        keys, parents, above, trace, to_service[service_raw] if len(service_raw) else service_raw, operation, start,
        duration, np.frombuffer(columns.status, np.int8) if len(keys) else np.zeros(0, np.int8),
        np.frombuffer(columns.kind, np.int8) if len(keys) else np.zeros(0, np.int8),
        np.where(peer_raw < 0, -1, to_peer[np.maximum(peer_raw, 0)]) if len(keys) else peer_raw,
        np.frombuffer(columns.weight, np.float64) if len(keys) else np.zeros(0),
        service_of.list(), operation_of.list(),
        {key: (_ints(column), values.list()) for key, (values, column) in columns.attributes.items()},
        units, columns.troubles,
    )  # fmt: skip
    return _clean(spans)


def _apart(
    keys: NDArray[np.uint64], parents: NDArray[np.uint64], service: Ints, kind: NDArray[np.int8]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Where a call and what it called share an id, as Zipkin's writers let them: the latter gets one of its own, below the call, and those
    of its service that name the id as their parent are below it.
    """
    if not ((kind == CLIENT).any() and (kind == SERVER).any()):
        return keys, parents
    calls, served = np.flatnonzero(kind == CLIENT), np.flatnonzero(kind == SERVER)
    order = calls[np.argsort(keys[calls], kind="stable")]
    at = np.minimum(np.searchsorted(keys[order], keys[served]), len(order) - 1)
    shared = served[(keys[order[at]] == keys[served]) & (service[order[at]] != service[served])]
    if not len(shared):
        return keys, parents
    own, salt = keys.copy(), np.uint64(0xA0761D6478BD642F)
    own[shared] = keys[shared] ^ salt
    above = parents.copy()
    above[shared] = keys[shared]
    order = shared[np.argsort(keys[shared], kind="stable")]
    at = np.minimum(np.searchsorted(keys[order], parents), len(order) - 1)
    below = (keys[order[at]] == parents) & (service[order[at]] == service) & (parents != 0)
    below[shared] = False
    above[below] = parents[below] ^ salt
    return own, above


def _parents(keys: NDArray[np.uint64], parents: NDArray[np.uint64]) -> Ints:
    """Row of each span's parent, -1 when it has none or that is not here; of several with one key the first."""
    found = np.full(len(keys), -1, np.int64)
    named = np.flatnonzero(parents != 0)
    if len(named):
        order, wanted = np.argsort(keys, kind="stable"), named[np.argsort(parents[named])]  # sorted, they are found much faster
        ordered = keys[order]
        at = np.minimum(np.searchsorted(ordered, parents[wanted]), len(keys) - 1)
        found[wanted] = np.where(ordered[at] == parents[wanted], order[at], -1)
    return found


def _ints(column: array[int]) -> Ints:
    return np.frombuffer(column, np.int64) if len(column) else np.zeros(0, np.int64)


def _uints(column: array[int]) -> NDArray[np.uint64]:
    return np.frombuffer(column, np.uint64) if len(column) else np.zeros(0, np.uint64)


def _calls(columns: _Columns, above: Ints) -> set[tuple[str, str]]:
    """Pairs of names, as written, of services whose spans stand directly above one another."""
    written, service = columns.services.list(), _ints(columns.service)
    below = np.flatnonzero(above >= 0)
    pairs = np.unique(service[above[below]] * len(written) + service[below])
    return {(written[p // len(written)], written[p % len(written)]) for p in pairs.tolist()}


def _times(columns: _Columns, above: Ints) -> tuple[Ints, Ints, tuple[Unit, Unit]]:
    """Starts and durations in nanoseconds. Writers of several units are told apart by the size of their starts, as long as those lie
    within ten years of each other. Whole numbers keep every nanosecond; a float would lose some beyond 2^53.
    """
    if not len(columns.start):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), ("ns", "ns")
    raw, whole = np.frombuffer(columns.start, np.float64), _ints(columns.whole)
    usual = unit_of(float(np.median(raw)))
    if columns.said[0] in NANOSECONDS and not columns.as_text:
        sizes = np.full(len(raw), _ORDER.index(columns.said[0]))
    else:
        sizes = np.searchsorted(np.array([1e11, 1e14, 1e17]), np.abs(raw), side="right")
        middles = [float(np.median(raw[sizes == i])) * NANOSECONDS[u] for i, u in enumerate(_ORDER) if (sizes == i).any()]
        if max(middles) - min(middles) > _DECADE:
            sizes[:] = _ORDER.index(usual)
    factor = np.array([NANOSECONDS[u] for u in _ORDER])[sizes]
    with np.errstate(over="ignore", invalid="ignore"):
        start = whole * factor + np.where(factor > 1, (raw - whole) * factor, 0).astype(np.int64)
    length = np.frombuffer(columns.duration, np.float64)
    duration, units = np.zeros(len(raw), np.int64), (usual, usual)
    most = int(np.bincount(sizes, minlength=len(_ORDER)).argmax())
    for index, unit in enumerate(_ORDER):
        mine = sizes == index
        if mine.any():
            chosen = _duration_unit(columns.said[1], length, start, np.where(mine, above, -1), unit, exact=not columns.as_text)
            duration[mine] = np.minimum(length[mine] * NANOSECONDS[chosen], 9e18).astype(np.int64)
            if index == most:
                units = (unit, chosen)
    return start, duration, units


def _duration_unit(said: str, raw: Floats, start: Ints, above: Ints, unit: Unit, *, exact: bool) -> Unit:
    """The unit of durations: what their name says; else that of the starts, unless calls then do not fit into their callers, or fit a
    thousand times smaller too while spans would mostly last for seconds. Starts written as text name no unit: the smallest one that fits.
    """
    if said == "=":
        return unit
    if said in NANOSECONDS:
        return next(u for u in _ORDER if u == said)
    child = np.flatnonzero(above >= 0)[:200_000]
    if len(child) < 20:
        return unit if exact else "ms"
    caller = above[child]
    offset, room = (start[child] - start[caller]).astype(np.float64), raw[caller] - raw[child]
    told = (offset >= 0) & (room > 0)  # neither by a clock that is wrong nor by a call that outlives its caller

    def fits(candidate: Unit) -> float:
        rounding = NANOSECONDS[unit] if exact else 1_000
        return float(np.mean(offset[told] <= room[told] * NANOSECONDS[candidate] + rounding)) if told.any() else 1.0

    best = max(fits("s"), 1e-9)
    if not exact:
        return next((u for u in reversed(_ORDER) if fits(u) >= 0.95 * best), "s")
    here = _ORDER.index(unit)
    if fits(unit) < 0.5 * best:
        return next((u for u in reversed(_ORDER[:here]) if fits(u) >= 0.9 * best), unit)
    while here < len(_ORDER) - 1 and float(np.median(raw)) * NANOSECONDS[_ORDER[here]] > 1e9 and fits(_ORDER[here + 1]) >= 0.9 * best:
        here += 1
    return _ORDER[here]


def _clean(spans: Spans) -> Spans:
    """Without negative durations, and only the first span of each id."""
    keep = spans.duration >= 0
    spans.troubles.negative += int(len(spans) - keep.sum())
    again = np.zeros(len(spans), bool)
    order = np.argsort(spans.key, kind="stable")
    ordered = spans.key[order]
    again[order[1:]] = ordered[1:] == ordered[:-1]
    spans.troubles.duplicates = int((again & keep).sum())
    keep &= ~again
    if not keep.all():
        spans = select(spans, keep)
    spans.parent, ring = _without_rings(spans.parent)
    spans.parent_key[ring] = 0
    return spans


def _without_rings(parent: Ints) -> tuple[Ints, Ints]:
    """The parents, and the rows that have none because they were above themselves."""
    parent, own = parent.copy(), np.arange(len(parent))
    alone = np.flatnonzero(parent == own)
    parent[alone] = -1
    up = ends(np.where(parent < 0, own, parent))
    ring = np.unique(up[parent[up] >= 0])  # who ends at no root ends on a ring: it is opened there
    parent[ring] = -1
    return parent, np.concatenate((alone, ring))


def ends(up: Ints) -> Ints:
    """Where each row ends that goes on to the row which is named there, and from that to the next."""
    up, above = up.copy(), np.empty_like(up)
    for _ in range(40):
        np.take(up, up, out=above, mode="clip")
        if np.array_equal(above, up):
            break
        up, above = above, up
    return up


def select(spans: Spans, keep: Flags) -> Spans:
    """The rows that `keep` marks."""
    row = np.append(np.where(keep, np.cumsum(keep) - 1, -1), -1)
    columns = {
        name: getattr(spans, name)[keep]
        for name in ("key", "parent_key", "trace", "service", "operation", "start", "duration", "status", "kind", "peer", "weight")
    }
    attributes = {key: (column[keep], values) for key, (column, values) in spans.attributes.items()}
    if (columns["trace"] >= 0).any():
        columns["trace"] = np.unique(columns["trace"], return_inverse=True)[1]
    return Spans(
        **columns,
        parent=row[spans.parent[keep]],
        services=spans.services,
        operations=spans.operations,
        attributes=attributes,
        units=spans.units,
        troubles=spans.troubles,
    )
