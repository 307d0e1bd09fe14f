"""An outcome as bytes and fields: what every caller of a version gets alike (the entity), and what one request adds to it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from contracts.canonical.base import Provenance
from contracts.errors import NotFound
from contracts.policy import Freshness
from contracts.versions import Version, VersionHistory
from gateway.edge import compression, personal, problems
from gateway.edge.endpoint import AnyEndpoint, Ask, Outcome, Part
from gateway.edge.expansion import gaps, least
from gateway.edge.identity.principal import Principal
from gateway.edge.life_cycle import VARY
from gateway.edge.paging import Cursors
from gateway.edge.preconditions import etag_of, matches_none, weak_etag_of
from gateway.edge.request import Answer, Request
from gateway.edge.selection import EXPANDED
from gateway.services.clock import Now
from observability import FlightRecord, Step, step

_NOT_KEPT = "no-store"


@dataclass(slots=True)
class Entity:
    """One representation, made once: depends on route, path, query, version and whether the caller may see personal data."""

    status: int
    body: bytes
    fields: dict[str, str]
    """The same in every answer with these bytes: content-type, cache-control, vary, etag, location, retry-after."""
    links: str = ""
    """RFC 8288, of the collection's pages."""
    etag: str = ""
    sources: tuple[Provenance, ...] = ()
    received: datetime | None = None
    """When the oldest of its sources was received, if one of them is not of this very moment."""
    cache_status: str = ""
    """RFC 9211. Empty for a hit: then the time to live is each answer's own."""
    fresh_until: datetime | None = None
    """Of an answer from cache: when its time is over, or was."""
    selected: frozenset[str] | None = None
    """Of a selection those fields that another version has otherwise (see Usage); None: everything was asked for."""
    kept: bool = False
    """Until `fresh_until` the same request may be answered with these bytes again."""


class Representation:
    def __init__(self, history: VersionHistory, now: Now, freshness: Mapping[str, Freshness], cursors: Cursors) -> None:
        """`freshness` by route: that of the operations behind it."""
        self._history = history
        self._now = now
        self._freshness = freshness
        self._cursors = cursors

    def entity(self, outcome: Outcome, endpoint: AnyEndpoint, request: Request, ask: Ask[Any, Any], version: Version) -> Entity:
        fields = {"content-type": "application/json"}
        links = self._cursors.links(request, endpoint, ask.parameters, outcome.cursor)
        with step(Step.MAP):
            value = self._veiled(outcome.value, endpoint, ask.client)
            shown = self._shaped(value, endpoint, ask, version, outcome.parts)
            entity = Entity(outcome.status, b"" if shown is None else msgspec.json.encode(shown), fields, links, sources=outcome.sources)
        if outcome.location is not None:
            fields["location"] = outcome.location
        if outcome.retry_after is not None:
            fields["retry-after"] = str(max(1, round(outcome.retry_after)))
        policy, cache = self._freshness.get(endpoint.route, _NEVER), endpoint.cache
        if ask.expand:
            policy, cache, outcome = least(self._freshness, endpoint, outcome)
            entity.sources = outcome.sources
        self._age(entity, outcome, policy, cache, ask.flight)
        if ask.expand:
            if fields["cache-control"] != _NOT_KEPT:
                parts = [weak_etag_of(p.outcome.value, p.expansion.name) for p in outcome.parts if p.outcome is not None]
                entity.etag = weak_etag_of(value, version.date, ask.selection.named if ask.selection else "", *parts)
        elif outcome.version is not None:
            entity.etag = etag_of(outcome.version)
        elif value is not None and fields["cache-control"] != _NOT_KEPT:
            entity.etag = (
                weak_etag_of(value, version.date, encoded=entity.body if shown is value else b"")
                if ask.selection is None
                else weak_etag_of(shown, version.date, ask.selection.named)
            )
        if entity.etag:
            fields["etag"] = entity.etag
        if ask.selection is not None:
            entity.selected = ask.selection.used
        if endpoint.cache:
            fields["vary"] = f"{VARY}, Accept-Encoding"
            if (packed := compression.packed(entity.body, request.headers.get("accept-encoding", ""))) is not None:
                entity.body = packed
                fields["content-encoding"] = "gzip"
        return entity

    def fields(self, entity: Entity, now: datetime) -> dict[str, str]:
        """Those of one answer: the entity's own, and what depends on the moment (Age, RFC 9111 §5.1; Cache-Status, RFC 9211)."""
        found = dict(entity.fields)
        if entity.received is not None:
            found["age"] = str(max(0, int((now - entity.received).total_seconds())))
        if entity.cache_status:
            found["cache-status"] = entity.cache_status
        elif entity.fresh_until is not None:
            found["cache-status"] = f"tillgate; hit; ttl={int((entity.fresh_until - now).total_seconds())}"
        return found

    def answer(self, entity: Entity, endpoint: AnyEndpoint, ask: Ask[Any, Any], extra: Mapping[str, str]) -> Answer:
        """`extra`: the fields that the request has earned before."""
        headers = {**extra, **self.fields(entity, self._now())}
        if entity.links:
            headers["link"] = f"{extra['link']}, {entity.links}" if "link" in extra else entity.links
        if entity.etag and endpoint.method == "GET" and matches_none(ask.if_none_match, entity.etag):
            headers = {name: value for name, value in headers.items() if name not in ("content-type", "content-encoding")}
            return Answer(304, b"", headers)
        return Answer(entity.status, entity.body, headers)

    def _age(self, entity: Entity, outcome: Outcome, policy: Freshness, cache: float, flight: FlightRecord) -> None:
        """How old it is and how long it may be kept. What is stale or incomplete is kept by no cache: the next answer may be better."""
        fields, sources = entity.fields, outcome.sources
        fields["cache-control"] = _NOT_KEPT
        if not sources:
            return
        cached, stale = [s.via for s in sources].count("cache"), True in [s.stale for s in sources]
        oldest = min([s.received_at for s in sources])
        if cached:
            entity.received = oldest
        if cached < len(sources) or stale:
            entity.cache_status = _forwarded(flight, policy, cached, stale)
        if not entity.cache_status:
            entity.fresh_until = oldest + timedelta(seconds=policy.max_age)
            if outcome.until is not None:
                entity.fresh_until = min(entity.fresh_until, outcome.until)
        values = [outcome.value, *(p.outcome.value for p in outcome.parts if p.outcome)] if outcome.parts else [outcome.value]
        missing = [m for value in values for m in getattr(value, "missing", ())] + [*gaps(outcome.parts)]
        if stale or any(part.code != NotFound.code for part in missing):  # that there is none is an answer
            return
        entity.kept = not entity.cache_status
        if cache:
            changes = math.inf if outcome.until is None else max((outcome.until - oldest).total_seconds(), 0)
            seconds = int(min(policy.max_age, changes, cache))
            allowed = {name: int(min(getattr(policy, name), changes)) - seconds for name in ("stale_while_revalidate", "stale_if_error")}
            fields["cache-control"] = ", ".join(  # those count from the end of max-age (RFC 5861), ours are ages
                [f"private, max-age={seconds}", *(f"{name.replace('_', '-')}={more}" for name, more in allowed.items() if more > 0)]
            )

    def _veiled(self, value: msgspec.Struct | None, endpoint: AnyEndpoint, principal: Principal) -> msgspec.Struct | None:
        if value is not None and personal.SCOPE not in principal.scopes and (hide := personal.veil(endpoint.answer)):
            found: msgspec.Struct = hide(value)
            return found
        return value

    def _shaped(
        self, value: msgspec.Struct | None, endpoint: AnyEndpoint, ask: Ask[Any, Any], version: Version, parts: tuple[Part, ...]
    ) -> Any:
        """In the caller's version, with what the caller has chosen of it."""
        differs = self._history.differs(endpoint.answer, version.date)
        if value is None or not (differs or ask.selection or ask.expand):
            return value
        plain = msgspec.to_builtins(value)
        if differs:
            plain = self._history.down(plain, endpoint.answer, version.date)
        if ask.expand:
            plain[EXPANDED] = self._parts(parts, ask, version)
        return ask.selection.of(plain) if ask.selection else plain

    def _parts(self, parts: tuple[Part, ...], ask: Ask[Any, Any], version: Version) -> dict[str, Any]:
        """Each as its own route would answer it."""
        whole: dict[str, Any] = {}
        for part in parts:
            if part.outcome is not None:
                endpoint = part.expansion.endpoint
                value = msgspec.to_builtins(self._veiled(part.outcome.value, endpoint, ask.client))
                whole[part.expansion.name] = self._history.down(value, endpoint.answer, version.date)
        return {**whole, **({"missing": msgspec.to_builtins(missing)} if (missing := gaps(parts)) else {})}


_NEVER = Freshness()


def _forwarded(flight: FlightRecord, policy: Freshness, cached: int, stale: bool) -> str:
    """Cache-Status of what was not answered from cache alone, by what the flight knows of its calls. Empty: it was, if past its time."""
    calls = [hop for hop in flight.hops if hop.kind is Step.CALL]
    if stale:
        failed = next((hop for hop in calls if hop.error_type), None)
        if failed is None and cached:
            return ""
        status = f"; fwd-status={problems.status_named(failed.error)}" if failed else ""
        return f"tillgate; fwd=stale{status}; detail=stale-if-error"
    joined = any(hop.attributes.get("cache") in ("collapsed", "batched") for hop in calls)
    kept = "; stored" if policy.max_age else ""
    return f"tillgate; fwd={'partial' if cached else 'miss'}{kept}{'; collapsed' if joined else ''}"
