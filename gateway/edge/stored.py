"""Answers of shared routes as bytes: what a cached read is answered with, without building the answer again."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from gateway.edge import reading
from gateway.edge.endpoint import AnyEndpoint, Expansion
from gateway.edge.identity.authenticator import digest
from gateway.edge.identity.principal import Principal
from gateway.edge.preconditions import entity_tags
from gateway.edge.representation import Entity, Representation
from gateway.edge.request import Answer
from observability import FlightRecord, Step

MOST_BYTES = 64 * 1024 * 1024
LARGEST = 256 * 1024
"""A larger answer costs so much to send that building it hardly counts."""
READ_HERE = frozenset(("accept", "accept-encoding", "api-version", "authorization", "if-none-match", "traceparent", "tracestate"))
READ_ELSEWHERE = frozenset(
    ("content-encoding", "content-length", "content-type", "expect", "idempotency-key", "if-match", "request-timeout")
) | {"transfer-encoding", "upgrade"}
"""Whoever sends one of these goes the long way. Together with those above: all that the door reads."""
QUOTA = ("ratelimit-policy", "ratelimit")
_FRAMED = ("content-type", "content-encoding")
_UNFIT = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
_SECOND = timedelta(seconds=1)
_NEVER = datetime.min.replace(tzinfo=UTC)


class Said(NamedTuple):
    """What the header fields of a read mean to stored answers."""

    headers: Mapping[str, str]
    authorization: str
    credentials: bytes
    """See Authenticator.known."""
    tags: tuple[str, ...]
    """If-None-Match."""
    accept: str
    encoding: str


class Fields:
    """Header fields of a request, as they came. A connection whose next request has the same ones need not have them read again."""

    __slots__ = ("_said", "raw")

    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        self.raw = raw
        self._said: Said | None = None

    def said(self) -> Said | None:
        """None: somebody else must read them. Raises InvalidHeader."""
        if self._said is None:
            headers = reading.fields(self.raw)
            if READ_ELSEWHERE.isdisjoint(headers):
                authorization = headers.get("authorization", "")
                accepted = headers.get("accept", ""), headers.get("accept-encoding", "")
                self._said = Said(headers, authorization, digest(authorization), entity_tags(headers, "if-none-match"), *accepted)
        return self._said


class Variant(NamedTuple):
    """What the bytes depend on besides path and query. Accept fields count as they were written, so that no choice is made here."""

    version: str
    personal: bool
    accept: str
    encoding: str


class Hit(NamedTuple):
    """A read that was answered from cache, as its flight knows it."""

    system: str
    operation: str
    keys: int


@dataclass(slots=True)
class Kept:
    """One answer. `fields` are without those of the quota, which are each request's own."""

    endpoint: AnyEndpoint
    entity: Entity
    life_cycle: Mapping[str, str]
    """What the version's life cycle said then: another word of it is another answer."""
    fields: dict[str, str]
    body: bytes
    used: frozenset[str]
    """Fields that the request used, see Usage."""
    hits: tuple[Hit, ...]
    parts: tuple[AnyEndpoint, ...] = ()
    """What it brings along: counts as often as these were asked, too."""
    head: bytes = b""
    """Fields as they are written until `again`, when its age or time to live is another second."""
    head_unchanged: bytes = b""
    """Likewise, of a 304."""
    again: datetime = _NEVER
    route: str = ""

    def __post_init__(self) -> None:
        self.route = self.endpoint.route

    @property
    def weight(self) -> int:
        return len(self.body) + 4 * sum(map(len, self.fields.values())) + 2_000

    def fresh(self, now: datetime, representation: Representation) -> bool:
        """Whether it may still be answered; if so, its heads are of this second."""
        received, until = self.entity.received, self.entity.fresh_until
        if received is None or until is None or now >= until:
            return False
        if now >= self.again:
            moment = representation.fields(self.entity, now)
            fields = self.fields | {name: moment[name] for name in ("age", "cache-status") if name in moment}
            self.head = written({**fields, "content-length": str(len(self.body))})
            self.head_unchanged = written({name: value for name, value in fields.items() if name not in _FRAMED})
            age, left = max(now - received, timedelta()), until - now
            self.again = now + min(_SECOND - age % _SECOND, left % _SECOND or _SECOND)
        return True


def written(fields: Mapping[str, str]) -> bytes:
    return "".join([f"{name}: {value}\r\n" for name, value in fields.items()]).encode("latin-1")


class Stored:
    """Least recently asked first out, by path and query with all their variants. Nothing in it outlives the estate it was made under."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most, self.weight = most_bytes, 0
        self._targets: OrderedDict[bytes, dict[Variant, Kept]] = OrderedDict()

    def __contains__(self, target: bytes) -> bool:
        return target in self._targets

    def __len__(self) -> int:
        return sum(map(len, self._targets.values()))

    def get(self, target: bytes, variant: Variant) -> Kept | None:
        variants = self._targets.get(target)
        if variants is None:
            return None
        self._targets.move_to_end(target)
        return variants.get(variant)

    def put(self, target: bytes, variant: Variant, kept: Kept) -> None:
        variants = self._targets.setdefault(target, {})
        if known := variants.get(variant):
            self.weight -= _weight(target, variant, known)
        variants[variant] = kept
        self.weight += _weight(target, variant, kept)
        self._targets.move_to_end(target)
        while self.weight > self._most:
            target, gone = self._targets.popitem(last=False)
            self.weight -= sum(_weight(target, *each) for each in gone.items())

    def drop(self, target: bytes, variant: Variant) -> None:
        variants = self._targets.get(target, {})
        if known := variants.pop(variant, None):
            self.weight -= _weight(target, variant, known)
            if not variants:
                del self._targets[target]


def _weight(target: bytes, variant: Variant, kept: Kept) -> int:
    """With what the caller wrote, which may be longer than the answer."""
    return len(target) + len(variant.accept) + len(variant.encoding) + kept.weight


def kept(
    endpoint: AnyEndpoint,
    entity: Entity,
    answer: Answer,
    life_cycle: Mapping[str, str],
    used: frozenset[str],
    flight: FlightRecord,
    expand: tuple[Expansion, ...] = (),
) -> Kept | None:
    """The answer to keep, or None: only what came whole and fresh from cache is answered a second time, and parts only where whoever may
    see the answer may see them.
    """
    parts = tuple(e.endpoint for e in expand)
    if any(not part.shared or part.scope != endpoint.scope or part.route_class != endpoint.route_class for part in parts):
        return None
    if not (endpoint.shared and entity.kept and answer.status == 200 and len(answer.body) <= LARGEST and not flight.lost):
        return None
    fields = {name: value for name, value in answer.headers.items() if name not in QUOTA}
    if any(_UNFIT.search(name + value) for name, value in fields.items()):
        return None
    hits = tuple(
        Hit(hop.system, hop.operation, hop.attributes.get("keys", 0))
        for hop in flight.hops
        if hop.kind is Step.CACHE and hop.attributes.get("cache") == "hit"
    )
    return Kept(endpoint, entity, life_cycle, fields, answer.body, used, hits, parts)


class AtOnce(NamedTuple):
    """What one request is answered with from stored bytes: it has passed all that it would have passed on the long way."""

    kept: Kept
    principal: Principal
    version: str
    unchanged: bool
    """The caller has it already: 304."""
    quota: Mapping[str, str]
    headers: Mapping[str, str]
    """Of the request."""
