"""Every name that a flight may carry: steps, attributes, error types, links, outcomes. Nothing else accepts a free string.

OpenTelemetry names are literals here, because conventions still move (RPC is a release candidate; messaging, files and peer names
are in development) and the constants of the Python package lag behind them. Own names start with `tillgate.`.
"""

from __future__ import annotations

import asyncio
from difflib import get_close_matches
from enum import Enum
from typing import Annotated, Final, Literal, TypedDict, get_args, get_type_hints

from contracts.errors import TillgateError, UpstreamFault


class Step(Enum):
    """What one hop of a flight does."""

    REQUEST = "request"
    AUTH = "auth"
    QUOTA = "quota"
    CALL = "call"
    """A logical call to a system, over all its attempts."""
    ATTEMPT = "attempt"
    """One try on the wire."""
    GUARD = "guard"
    """A refusal only; an allowed call carries the guard's state on its attempt."""
    WAIT = "wait"
    """Waiting for a pool, lock or slot."""
    MAP = "map"
    CACHE = "cache"
    STORE = "store"
    PUBLISH = "publish"
    CONSUME = "consume"
    FILE_RECEIVE = "file.receive"
    FILE_PARSE = "file.parse"
    FILE_COMMIT = "file.publish"
    PROCESS_STEP = "process.step"

    __hash__ = object.__hash__  # members are singletons; the inherited hash of the name costs a Python call per look-up


FlightKind = Literal["request", "process", "message", "file", "task"]
ROOT_STEP: Final[dict[FlightKind, Step]] = {
    "request": Step.REQUEST,
    "process": Step.PROCESS_STEP,
    "message": Step.CONSUME,
    "file": Step.FILE_RECEIVE,
    "task": Step.PROCESS_STEP,
}

Outcome = Literal["success", "degraded", "failure", "rejected", "caller", "cancelled", "unfinished"]
"""degraded: answered, but stale or in part. rejected: our guard or our limit said no. caller: the caller's mistake, or a business
refusal. cancelled: the caller went away. unfinished: still running when its flight ended."""

GuardKind = Literal["breaker", "bulkhead", "limit", "budget"]
GuardState = Literal["closed", "open", "half_open"]
GuardOutcome = Literal["success", "failure", "rejected"]
CacheResult = Literal["hit", "miss", "stale", "collapsed", "batched", "bypass"]
LinkKind = Literal["opened_by", "caused_by_message", "from_file", "retry_of_job", "joined_call", "caller_trace"]
LINK_KINDS: Final = frozenset[str](get_args(LinkKind))

FailureClass = Literal["timeout", "connect", "upstream_error", "contract", "data", "rejected", "caller", "gateway"]
FAILURE_CLASSES: Final[tuple[FailureClass, ...]] = get_args(FailureClass)

CLASS_OF: Final[dict[str, FailureClass]] = {
    "timeout.connect": "timeout",
    "timeout.read": "timeout",
    "timeout.deadline": "timeout",
    "overdue": "timeout",
    "connect.refused": "connect",
    "connect.reset": "connect",
    "dns": "connect",
    "tls": "connect",
    "soap.fault.Client": "upstream_error",
    "soap.fault.Server": "upstream_error",
    "upstream_error": "upstream_error",
    "contract_invalid": "contract",
    "data_invalid": "data",
    "guard.rejected": "rejected",
    "caller": "caller",
    "gateway": "gateway",
}
"""`error.type` -> failure class. Besides these, `error.type` is an HTTP status code."""

OUTCOME_OF: Final[dict[FailureClass, Outcome]] = {"caller": "caller", "rejected": "rejected"}
"""Failure classes whose outcome is not `failure`."""


def failure_class(error_type: str) -> FailureClass:
    """The cells' class of an `error.type`; a status code of an upstream is its error, an unknown word is our own fault."""
    if error_type.isdecimal():
        return "upstream_error"
    return CLASS_OF.get(error_type, "gateway")


def error_type(error: BaseException) -> str:
    """The `error.type` of what passed through a step. A cancellation has none: it is no error."""
    if isinstance(error, TillgateError):
        if isinstance(error, UpstreamFault):
            return error.fault_code if error.fault_code.isdecimal() else f"soap.fault.{_side(error.fault_code)}"
        return error.error_type
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return ""
    return "timeout.deadline" if isinstance(error, TimeoutError) else "gateway"


def _side(fault_code: str) -> str:
    return "Client" if fault_code.rpartition(":")[2].split(".")[0] in {"Client", "Sender"} else "Server"


class Attributes(TypedDict, total=False):
    """What a step may say about itself: key in code, type, name in telemetry. Secrets and personal data have no place here."""

    # the request
    method: Annotated[str, "http.request.method"]
    route: Annotated[str, "http.route"]
    """The template, never the path."""
    status: Annotated[int, "http.response.status_code"]
    client: Annotated[str, "tillgate.client"]
    correlation_id: Annotated[str, "tillgate.correlation.id"]
    problem: Annotated[str, "tillgate.problem"]
    """The code of the answered problem document."""
    replayed: Annotated[bool, "tillgate.idempotency.replayed"]
    quota: Annotated[str, "tillgate.quota.policy"]
    quota_left: Annotated[int, "tillgate.quota.left"]
    # a system
    protocol: Annotated[str, "tillgate.protocol"]
    capability: Annotated[str, "tillgate.capability"]
    criticality: Annotated[str, "service.criticality"]
    url_template: Annotated[str, "url.template"]
    host: Annotated[str, "server.address"]
    port: Annotated[int, "server.port"]
    rpc_method: Annotated[str, "rpc.method"]
    fault_code: Annotated[str, "rpc.status_code"]
    """Client or Server (1.2 Sender and Receiver), from the parsed envelope."""
    attempts: Annotated[int, "tillgate.attempts"]
    request_bytes: Annotated[int, "http.request.body.size"]
    response_bytes: Annotated[int, "http.response.body.size"]
    rows: Annotated[int, "tillgate.rows"]
    keys: Annotated[int, "tillgate.keys"]
    stale: Annotated[bool, "tillgate.stale"]
    age_s: Annotated[float, "tillgate.age"]
    drift: Annotated[int, "tillgate.drift"]
    """Elements and enumeration values that the contract does not know."""
    in_doubt: Annotated[bool, "tillgate.in_doubt"]
    # the guard
    guard: Annotated[GuardKind, "tillgate.guard.kind"]
    guard_name: Annotated[str, "tillgate.guard.name"]
    guard_state: Annotated[GuardState, "tillgate.guard.state"]
    guard_outcome: Annotated[GuardOutcome, "tillgate.guard.outcome"]
    probe: Annotated[bool, "tillgate.guard.probe"]
    resource: Annotated[str, "tillgate.resource"]
    waiters: Annotated[int, "tillgate.waiters"]
    holders: Annotated[str, "tillgate.holders"]
    """Who holds the resource: `erp:12 oms:3`."""
    # inside the gateway
    mapping: Annotated[str, "tillgate.mapping"]
    mapping_version: Annotated[str, "tillgate.mapping.version"]
    cache: Annotated[CacheResult, "tillgate.cache"]
    joined: Annotated[int, "tillgate.joined"]
    """How many callers share this call."""
    unit: Annotated[str, "tillgate.store.unit"]
    process: Annotated[str, "tillgate.process"]
    process_id: Annotated[str, "tillgate.process.id"]
    process_step: Annotated[str, "tillgate.process.step"]
    order: Annotated[str, "tillgate.order"]
    """Our order number: an identifier that may be kept."""
    # messages
    messaging_system: Annotated[str, "messaging.system"]
    destination: Annotated[str, "messaging.destination.name"]
    routing_key: Annotated[str, "messaging.rabbitmq.destination.routing_key"]
    message_id: Annotated[str, "messaging.message.id"]
    batch_count: Annotated[int, "messaging.batch.message_count"]
    event_type: Annotated[str, "cloudevents.event_type"]
    # files
    file: Annotated[str, "file.name"]
    file_bytes: Annotated[int, "file.size"]
    feed: Annotated[str, "tillgate.feed"]
    batch_id: Annotated[str, "tillgate.batch.id"]
    line: Annotated[int, "tillgate.line"]
    records_ok: Annotated[int, "tillgate.records.ok"]
    records_quarantined: Annotated[int, "tillgate.records.quarantined"]


def _telemetry_names() -> dict[str, str]:
    return {key: hint.__metadata__[0] for key, hint in get_type_hints(Attributes, include_extras=True).items()}


NAMES: Final[dict[str, str]] = _telemetry_names()
"""Key in code -> name in telemetry."""
_KEYS: Final = NAMES.keys()


def refuse_unknown(keys: set[str]) -> TypeError:
    """The error for attribute keys outside the vocabulary, with the nearest right ones."""
    parts = []
    for key in sorted(keys):
        near = get_close_matches(key, _KEYS, 1)
        parts.append(f"{key!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
    return TypeError(f"not in the vocabulary of steps: {', '.join(parts)}")


UNMATCHED: Final = "unmatched"
"""The route of a request that no route is for; its span is named by the method alone."""
OTHER_METHOD: Final = "HTTP"
"""A method that nobody knows, in names."""

# Names that the record writes by itself.
PEER: Final = "service.peer.name"
OPERATION: Final = "tillgate.operation"
RESEND_COUNT: Final = "http.request.resend_count"
RPC_SYSTEM: Final = "rpc.system.name"
OPERATION_NAME: Final = "messaging.operation.name"
OPERATION_TYPE: Final = "messaging.operation.type"
ERROR_TYPE: Final = "error.type"
ERROR_DETAIL: Final = "tillgate.error.detail"
EXCEPTION: Final = "exception.type"
CHANNEL: Final = "tillgate.channel"
STORE: Final = "tillgate.store"
API_VERSION: Final = "tillgate.api.version"
CLIENT: Final = "tillgate.client"
FLIGHT_KIND: Final = "tillgate.flight"
STEP: Final = "tillgate.step"
OUTCOME: Final = "tillgate.outcome"
DEGRADED: Final = "tillgate.degraded"
LINK: Final = "tillgate.link"
LOST_HOPS: Final = "tillgate.lost_hops"
SAMPLE_WEIGHT: Final = "tillgate.sample.weight"
SAMPLE_REASON: Final = "tillgate.sample.reason"
SERVICE_NAME: Final = "service.name"
SERVICE_VERSION: Final = "service.version"
SERVICE_INSTANCE: Final = "service.instance.id"

SampleReason = Literal["failed", "rejected", "guard", "degraded", "quarantine", "retried", "late", "suspected", "propagated", "baseline"]
"""Why a flight is kept. `propagated`: it left with the sampled flag, so a foreign trace may point at it."""
