"""What every request passes, in this order: identity, place, quota, version, decoding, idempotency, handler, representation."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from contracts import errors
from contracts.books import Books
from contracts.call import Call
from contracts.errors import TillgateError
from contracts.policy import Freshness
from contracts.versions import VersionHistory
from gateway.edge import deadline, expansion, personal, reading, selection, stored
from gateway.edge.brown_out import BrownOut
from gateway.edge.endpoint import AnyEndpoint, Ask, Expansion
from gateway.edge.idempotency import Once, key_of
from gateway.edge.identity import scopes
from gateway.edge.identity.authenticator import Authenticator
from gateway.edge.identity.keys import prefix_of
from gateway.edge.identity.principal import Principal
from gateway.edge.life_cycle import LifeCycle, spoken
from gateway.edge.paging import Cursors
from gateway.edge.preconditions import entity_tags, matches_none
from gateway.edge.pressure import PAUSE, Held, Importance, Pressure
from gateway.edge.problems import Problems
from gateway.edge.quota import ANONYMOUS, Quotas, Taken, about, address, unwelcome
from gateway.edge.quota import parameters as store_parameters
from gateway.edge.quota import store as store_of
from gateway.edge.representation import Representation
from gateway.edge.request import Answer, Request
from gateway.edge.stored import AtOnce, Fields, Stored, Variant
from gateway.edge.usage import Usage
from gateway.services.clock import Now, utc_now
from observability import FlightRecord, Step, step

BODY_SECONDS = 10.0

DEADLINE = 10.0
"""Seconds, for routes that declare none."""
GRACE = 2.0
"""Seconds that a handler may take beyond the deadline of its calls; one that only reads at most a fifth of its time."""


class Door:
    """Holds what all routes share. One per process."""

    def __init__(
        self,
        *,
        books: Books,
        authenticator: Authenticator,
        quotas: Quotas,
        history: VersionHistory,
        usage: Usage,
        services: Any,
        secret: bytes,
        max_body: int,
        deadlines: Mapping[str, float],
        freshness: Mapping[str, Freshness],
        retention_days: float,
        now: Now = utc_now,
        body_seconds: float = BODY_SECONDS,
        denied: Callable[[str, str, str, str], None] = lambda code, claimed, address, route: None,
        brown_outs: Sequence[BrownOut] = (),
        pressure: Pressure | None = None,
        importance: Importance | None = None,
    ) -> None:
        """`secret`: the same in all processes, for cursors; `deadlines` in seconds and `freshness` of what stands behind it by route;
        `body_seconds`: how long a body may take to arrive; `denied` is told of each attempt that is not let in (see Audit), and must return
        at once.
        """
        self.pressure = pressure or Pressure(500, 200)
        self._importance = importance or Importance({}, {})
        self._authenticator = authenticator
        self._denied = denied
        self._quotas = quotas
        self._history = history
        self._usage = usage
        self._services = services
        self._deadlines = deadlines
        self._store_parameters = store_parameters(history)
        self._life_cycle = LifeCycle(history, now, brown_outs)
        self._cursors = Cursors(secret)
        self._representation = Representation(history, now, freshness, self._cursors)
        self._stored = Stored()
        self._now = now
        self.problems = Problems(history, self._usage)
        self._once = Once(books.idempotency, self.problems, grace=GRACE, retention_days=retention_days, now=now)
        self.max_body = max_body
        self.body_seconds = body_seconds

    async def answer(self, endpoint: AnyEndpoint, request: Request, flight: FlightRecord) -> Answer:
        """Never raises a TillgateError: each becomes its problem document."""
        extra: dict[str, str] = {}
        place: Held | None = None
        principal: Principal | None = None
        arrived = asyncio.get_running_loop().time()
        try:
            principal = await self._identified(endpoint, request, flight)
            try:
                seconds = deadline.seconds(request.headers, self._deadlines.get(endpoint.route, DEADLINE))
            except errors.InvalidRequest:
                await self._allowed(endpoint, request, principal, extra)  # a mistake counts like any other
                raise
            priority = self._importance.of(endpoint.route, principal.channel)
            place = self.pressure.enter_now(priority)
            if place is None:
                with step(Step.WAIT, resource="requests", waiters=self.pressure.waiting):
                    place = await self.pressure.enter(priority, principal.channel, principal.name, arrived + seconds)
            call = Call(channel=principal.channel, client=principal.name, deadline=arrived + seconds, priority=priority, waiting=place)
            answer = await self._answer(endpoint, request, flight, extra, principal, call, seconds)
            if answer.status == errors.Forbidden.status:  # one that is kept under its Idempotency-Key, which nobody raises
                self._denied(errors.Forbidden.code, principal.name, request.peer, endpoint.route)
            return answer
        except TillgateError as error:
            self._tell(error, flight.client, request.headers, request.peer, endpoint.route)
            return self.problems.answer(error, flight, principal, spoken(request.headers, principal) if principal else "", extra)
        finally:
            if place is not None:
                place.leave()

    async def admitted(self, route: str, scope: str, headers: Mapping[str, str], certificate: bytes | None, peer: str) -> Principal:
        """Who asks for a route that is no endpoint, if it may. Raises Unauthenticated, Forbidden, QuotaExceeded, KeysUnavailable."""
        name = ""
        try:
            principal = await self._known(headers, certificate, peer, "read")
            name = principal.name
            if scope not in principal.scopes and (refusal := (await self._take(*self._counted(b"", principal), "read")).refusal):
                raise refusal
            scopes.require(principal, scope)
        except TillgateError as error:
            self._tell(error, name, headers, peer, route)
            raise
        return principal

    def _tell(self, error: TillgateError, name: str, headers: Mapping[str, str], peer: str, route: str) -> None:
        if error.status in (401, 403) or (error.status == 429 and not name):
            name = name or (error.client if isinstance(error, errors.Forbidden) else "")
            claimed = name or prefix_of(headers.get("authorization", "").rpartition(" ")[2])
            self._denied(error.code, claimed, peer, route)

    def shed(self, route: str, fields: Iterable[tuple[bytes, bytes]]) -> tuple[errors.Overloaded, Principal, str] | None:
        """Whether a request of this route is refused before anything is spent on it, for want of room; who asks, and the version that they
        speak (empty: none that there is). Whoever is not known at once goes the long way.
        """
        said = [value for name, value in fields if name == b"authorization"]
        if len(said) != 1 or (principal := self._authenticator.known(said[0].decode("latin-1"))) is None:
            return None
        error = self.pressure.shed(self._importance.of(route, principal.channel), principal.channel, principal.name)
        if not error:
            return None
        wanted = next((value.decode("latin-1") for name, value in fields if name == b"api-version"), "")
        version = spoken({"api-version": wanted}, principal)
        return error, principal, version if version in self._history.by_date else ""

    def critical(self, route: str, channel: str) -> bool:
        return not self._importance.of(route, channel)

    def pause(self, route: str, principal: Principal) -> float:
        """Seconds for which who was answered at once need not be listened to, since others have too little of the loop's time."""
        rest = self.pressure.rest
        return rest * PAUSE if rest and not self.critical(route, principal.channel) else 0.0

    def at_once(self, target: bytes, fields: Fields) -> AtOnce | None:
        """What a GET or HEAD without a body is answered from stored bytes. None: it goes the long way, which alone refuses; nothing was
        counted then, except what a refused quota does not count either.
        """
        if target not in self._stored:
            return None
        life_cycle: dict[str, str] = {}
        try:
            said = fields.said()
            if said is None or (principal := self._authenticator.known(said.authorization, said.credentials)) is None:
                return None
            version = self._life_cycle.version(said.headers, principal, life_cycle)
        except TillgateError:
            return None
        variant = Variant(version.date, personal.SCOPE in principal.scopes, said.accept, said.encoding)
        kept = self._stored.get(target, variant)
        if kept is None or kept.life_cycle != life_cycle or kept.endpoint.scope not in principal.scopes:
            return None
        if not kept.fresh(self._now(), self._representation):
            self._stored.drop(target, variant)
            return None
        counted = self._counted(target.partition(b"?")[2], principal)
        cost = self._quotas.cached(counted[0]) * (1 + len(kept.parts)) if kept.parts else None
        taken = self._quotas.take_now(*counted, kept.endpoint.route_class, cost, final=False)
        if taken is None or taken.refusal:
            return None
        self._usage.seen(version.date, principal, kept.route, kept.used, kept.entity.selected)
        for part in kept.parts:
            self._usage.seen(version.date, principal, part.route)
        unchanged = bool(said.tags) and matches_none(said.tags, kept.fields.get("etag", ""))
        return AtOnce(kept, principal, version.date, unchanged, taken.fields, said.headers)

    async def _answer(
        self,
        endpoint: AnyEndpoint,
        request: Request,
        flight: FlightRecord,
        extra: dict[str, str],
        principal: Principal,
        call: Call,
        seconds: float,
    ) -> Answer:
        await self._allowed(endpoint, request, principal, extra)
        try:
            version = self._life_cycle.version(request.headers, principal, extra)
        except (errors.RetiredVersion, errors.VersionBrownOut) as exc:
            self._usage.seen(exc.version, principal, endpoint.route)
            raise
        flight.api_version = version.date
        reading.check_accept(request.headers.get("accept", ""))
        raw, body, used, wanted = b"", None, set[str](), None
        parts: tuple[Expansion, ...] = ()
        try:
            parameters = reading.parameters(
                request.query, endpoint.parameters, endpoint.answer, version.date, self._history, used, endpoint.beside
            )
            parameters = self._cursors.opened(parameters, endpoint)
            if endpoint.beside:
                parts = expansion.of(request.query, endpoint, principal)
                wanted = selection.of(request.query, endpoint.answer, version.date, self._history, endpoint.parts if parts else None)
            path = reading.path(request.path_values, endpoint.path_parameters)
            if endpoint.body is not None:
                reading.check_media(request.headers)
                with call.waiting:  # for the caller's line
                    raw = await request.read()
                body = reading.body(raw, endpoint.body, version.date, self._history, used)
        finally:
            self._usage.seen(version.date, principal, endpoint.route, used, wanted.used if wanted else None)
        flight.store = about(principal, parameters, body)
        ask = Ask(
            client=principal,
            call=msgspec.structs.replace(call, api_version=version.date),
            path=path,
            parameters=parameters,
            body=body,
            flight=flight,
            selection=wanted,
            idempotency_key=key_of(request) if endpoint.idempotent_key else "",
            if_match=entity_tags(request.headers, "if-match"),
            if_none_match=entity_tags(request.headers, "if-none-match"),
            expand=parts,
        )
        if asyncio.get_running_loop().time() >= ask.call.deadline:
            raise errors.DeadlineExceeded(system="", operation=endpoint.name, reason="it passed before anything was done", sent=False)

        async def perform(ask: Ask[Any, Any], fields: dict[str, str]) -> Answer:
            try:
                try:
                    async with asyncio.timeout_at(ask.call.deadline + (GRACE if endpoint.idempotent_key else min(GRACE, seconds / 5))):
                        if parts:
                            admit = functools.partial(self._admit, request=request, principal=principal, version=version.date, extra=fields)
                            outcome = await expansion.handled(endpoint, ask, self._services, admit)
                        else:
                            outcome = await endpoint.handle(ask, self._services)
                except BaseException as exc:  # a no, a mistake, or a caller who went away: what was asked for it is paid
                    sent = exc.sent if isinstance(exc, errors.UpstreamError) else any(hop.kind is Step.CALL for hop in flight.hops)
                    self._charge(endpoint, request, principal, reached=sent)
                    raise
            except TimeoutError as exc:
                raise errors.DeadlineExceeded(system="", operation=endpoint.name) from exc
            except errors.InvalidRequest as exc:
                raise replace(exc, where=self._life_cycle.as_sent(exc.where, endpoint, version)) from exc
            reached = endpoint.route_class == "write" or any(s.via == "live" for s in outcome.sources)
            self._charge(endpoint, request, principal, reached=reached)
            for part in outcome.parts:
                self._charge(part.expansion.endpoint, request, principal, reached=part.reached)
            entity = self._representation.entity(outcome, endpoint, request, ask, version)
            answer = self._representation.answer(entity, endpoint, ask, fields)
            answer.repeat = outcome.repeat
            life_cycle = {name: value for name, value in fields.items() if name not in stored.QUOTA}
            if request.target and (kept := stored.kept(endpoint, entity, answer, life_cycle, frozenset(used), flight, parts)):
                self._stored.put(request.target, _variant(request.headers, principal, version.date), kept)
            return answer

        if endpoint.idempotent_key:
            return await self._once.answer(request, raw, ask, extra, perform)
        return await perform(ask, extra)

    async def _identified(self, endpoint: AnyEndpoint, request: Request, flight: FlightRecord) -> Principal:
        principal = await self._known(request.headers, request.certificate, request.peer, endpoint.route_class)
        flight.channel, flight.client = principal.channel, principal.name
        return principal

    async def _known(self, headers: Mapping[str, str], certificate: bytes | None, peer: str, route_class: str) -> Principal:
        """Whoever is not let in is limited by its address."""
        try:
            return await self._authenticator.principal(headers, certificate)
        except (errors.Unauthenticated, errors.Forbidden):
            if refusal := (await self._take(ANONYMOUS, address(peer), "", route_class)).refusal:
                raise unwelcome(refusal) from None
            raise

    async def _allowed(self, endpoint: AnyEndpoint, request: Request, principal: Principal, extra: dict[str, str]) -> None:
        taken = await self._take(*self._counted(request.query, principal), endpoint.route_class)
        extra.update(taken.fields)
        # Operators must get in to mend it.
        uncounted = isinstance(taken.refusal, errors.QuotaUnavailable) and endpoint.scope.startswith("admin:")
        if taken.refusal and not uncounted:
            with step(Step.QUOTA, quota=getattr(taken.refusal, "policy", ""), quota_left=0):
                raise taken.refusal
        scopes.require(principal, endpoint.scope)

    async def _admit(self, endpoint: AnyEndpoint, request: Request, principal: Principal, version: str, extra: dict[str, str]) -> None:
        """A part counts as its own route does. Raises QuotaExceeded."""
        self._usage.seen(version, principal, endpoint.route)
        taken = await self._take(*self._counted(request.query, principal), endpoint.route_class)
        extra.update(taken.fields)
        if taken.refusal:
            raise taken.refusal

    def _counted(self, query: bytes, principal: Principal) -> tuple[str, str, str]:
        """Quota, client and store. A quota that the estate has dropped: the narrowest."""
        quota = principal.quota if principal.quota in self._quotas else ANONYMOUS
        return quota, principal.name, store_of(principal, query, self._store_parameters) if self._quotas.by_store(quota) else ""

    async def _take(self, quota: str, client: str, store: str, route_class: str) -> Taken:
        if taken := self._quotas.take_now(quota, client, store, route_class):
            return taken
        with step(Step.QUOTA, quota=quota):
            return await self._quotas.take(quota, client, store, route_class)

    def _charge(self, endpoint: AnyEndpoint, request: Request, principal: Principal, *, reached: bool) -> None:
        """What the call costs beyond an answer from memory."""
        quota, client, store = self._counted(request.query, principal)
        if rest := self._quotas.rest(quota, endpoint.route_class, reached=reached):
            self._quotas.charge(quota, client, store, endpoint.route_class, rest)


def _variant(headers: Mapping[str, str], principal: Principal, version: str) -> Variant:
    return Variant(version, personal.SCOPE in principal.scopes, headers.get("accept", ""), headers.get("accept-encoding", ""))
