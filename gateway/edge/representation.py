"""An outcome as the bytes and fields that one caller gets: version down, personal data veiled, provenance, ETag, links."""

from __future__ import annotations

from typing import Any

import msgspec

from contracts.versions import Version, VersionHistory
from gateway.edge import personal
from gateway.edge.endpoint import AnyEndpoint, Ask, Outcome
from gateway.edge.identity.principal import Principal
from gateway.edge.paging import next_link
from gateway.edge.preconditions import etag_of, matches_none
from gateway.edge.request import Answer, Request
from gateway.services.clock import Now
from observability import Step, step


class Representation:
    def __init__(self, history: VersionHistory, now: Now) -> None:
        self._history = history
        self._now = now

    def of(
        self,
        outcome: Outcome,
        endpoint: AnyEndpoint,
        request: Request,
        ask: Ask[Any, Any],
        version: Version,
        extra: dict[str, str],
    ) -> Answer:
        headers = {**extra, "content-type": "application/json", "cache-control": endpoint.cache}
        if outcome.sources:
            self._provenance(outcome, headers)
        if outcome.version is not None:
            headers["etag"] = etag = etag_of(outcome.version)
            if endpoint.method == "GET" and matches_none(ask.if_none_match, etag):
                del headers["content-type"]
                return Answer(304, b"", headers)
        if outcome.cursor is not None:
            headers["link"] = ", ".join(filter(None, (extra.get("link"), next_link(request, outcome.cursor))))
        if outcome.location is not None:
            headers["location"] = outcome.location
        if outcome.retry_after is not None:
            headers["retry-after"] = str(max(1, round(outcome.retry_after)))
        with step(Step.MAP):
            content = self._encode(outcome.value, endpoint, version, ask.client)
        return Answer(outcome.status, content, headers)

    def _provenance(self, outcome: Outcome, headers: dict[str, str]) -> None:
        """Cache-Status (RFC 9211) and Age. What is stale or incomplete is kept by no cache: the next answer may be better."""
        stale = any(s.stale for s in outcome.sources)
        cached = [s for s in outcome.sources if s.via == "cache"]
        if stale:
            headers["cache-status"] = "tillgate; fwd=stale; detail=stale-if-error"
        elif not cached:
            headers["cache-status"] = "tillgate; fwd=miss"
        else:
            headers["cache-status"] = "tillgate; hit" if len(cached) == len(outcome.sources) else "tillgate; fwd=partial"
        if stale or cached:
            oldest = min(s.received_at for s in outcome.sources)
            headers["age"] = str(max(0, int((self._now() - oldest).total_seconds())))
        if stale or bool(getattr(outcome.value, "missing", None)):
            headers["cache-control"] = "no-store"

    def _encode(self, value: msgspec.Struct | None, endpoint: AnyEndpoint, version: Version, principal: Principal) -> bytes:
        if value is None:
            return b""
        if personal.SCOPE not in principal.scopes and (hide := personal.veil(endpoint.answer)):
            value = hide(value)
        if not self._history.differs(endpoint.answer, version.date):
            return msgspec.json.encode(value)
        return msgspec.json.encode(self._history.down(msgspec.to_builtins(value), endpoint.answer, version.date))
