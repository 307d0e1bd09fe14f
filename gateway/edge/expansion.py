"""Expansion: `?expand=prices,inventory` brings along what other routes would answer, each part through its own route's read."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

from contracts import errors
from contracts.canonical.answers import Missing
from contracts.errors import InvalidParameter, NotFound, TillgateError
from contracts.policy import Duration, Freshness
from gateway.edge.endpoint import AnyEndpoint, Ask, Expansion, Outcome, Part, Question
from gateway.edge.identity import scopes
from gateway.edge.identity.principal import Principal
from gateway.edge.selection import EXPAND
from observability import Step, step

Admit = Callable[[AnyEndpoint], Awaitable[None]]
"""Counts a part against its client's quota. Raises QuotaExceeded."""


def of(query: bytes, endpoint: AnyEndpoint, principal: Principal) -> tuple[Expansion, ...]:
    """The parts that a query string asks for, in the order of the route's own. Raises InvalidParameter for one that there is not, with the
    nearest right name, and Forbidden for one whose scope the client lacks.
    """
    if not endpoint.expansions or (EXPAND.encode() not in query and b"%" not in query):
        return ()
    wanted = {name for key, value in parse_qsl(query.decode("ascii"), keep_blank_values=True) if key == EXPAND for name in value.split(",")}
    known = {e.name: e for e in endpoint.expansions}
    for name in sorted(wanted - known.keys()):
        near = difflib.get_close_matches(name[:80], known, 1, 0.5) or known
        raise InvalidParameter(where=f"query:{EXPAND}", expected=f"a part of this answer: {' or '.join(near)}", got=repr(name[:80]))
    found = tuple(known[name] for name in known if name in wanted)
    for expansion in found:
        scopes.require(principal, expansion.endpoint.scope, f"query:{EXPAND}")
    return found


async def handled(endpoint: AnyEndpoint, ask: Ask[Any, Any], services: Any, admit: Admit) -> Outcome:
    """The outcome with its parts, which are asked for at the same time as far as they need nothing of it. What goes wrong with a part is
    said in its place; what goes wrong with the answer itself is raised.
    """
    asked: dict[Expansion, asyncio.Task[Part]] = {}

    def begin(answer: Any) -> None:
        for expansion in ask.expand:
            if expansion not in asked and (question := expansion.question(ask, answer)) is not None:
                asked[expansion] = asyncio.create_task(_part(expansion, question, ask, services, admit), name=f"expand {expansion.name}")

    try:
        begin(None)
        outcome = await endpoint.handle(ask, services)
        begin(outcome.value)
        parts = tuple(await asyncio.gather(*asked.values()))
    finally:
        for task in asked.values():
            task.cancel()
        await asyncio.gather(*asked.values(), return_exceptions=True)
    if any(part.outcome is None and part.code != NotFound.code for part in parts):
        ask.flight.degraded("partial")
    return replace(outcome, parts=parts)


async def _part(expansion: Expansion, question: Question, ask: Ask[Any, Any], services: Any, admit: Admit) -> Part:
    own = replace(ask, path=question.path, parameters=question.parameters, expand=(), selection=None, if_none_match=())
    try:
        with step(Step.PROCESS_STEP, process="expand", process_step=expansion.name):
            await admit(expansion.endpoint)
            async with asyncio.timeout_at(ask.call.deadline):
                outcome = await expansion.endpoint.handle(own, services)
                return Part(expansion, outcome, reached=any(s.via == "live" for s in outcome.sources))
    except TimeoutError:
        return Part(expansion, None, errors.DeadlineExceeded.code, reached=True)
    except TillgateError as error:
        return Part(expansion, None, error.code, isinstance(error, errors.UpstreamError) and error.sent)


def gaps(parts: tuple[Part, ...]) -> tuple[Missing, ...]:
    """Parts that are not there, as an answer names what is missing."""
    return tuple(Missing(code=part.code, keys=(part.expansion.name,)) for part in parts if part.outcome is None)


def least(freshness: Mapping[str, Freshness], endpoint: AnyEndpoint, outcome: Outcome) -> tuple[Freshness, float, Outcome]:
    """How long an answer with its parts may be kept: as long as that of them which ends first, counted from when the oldest was read.

    The freshness, the most seconds that a caller may keep it, and the outcome with the sources and the end of them all.
    """
    each = [(endpoint, outcome), *((p.expansion.endpoint, p.outcome) for p in outcome.parts if p.outcome is not None)]
    sources = tuple(s for _, o in each for s in o.sources)
    oldest = min((s.received_at for s in sources), default=None)
    late = [(min((s.received_at for s in o.sources), default=oldest) or oldest) for _, o in each]
    shifts = [(at - oldest) if at and oldest else timedelta() for at in late]
    policies = [freshness.get(e.route, Freshness()) for e, _ in each]
    shortest = {
        name: Duration(min(max(p.max_age, getattr(p, name)) + shift.total_seconds() for p, shift in zip(policies, shifts, strict=True)))
        for name in Freshness.__struct_fields__
    }
    caches = [e.cache + shift.total_seconds() if e.cache else 0.0 for (e, _), shift in zip(each, shifts, strict=True)]
    until = min((o.until for _, o in each if o.until is not None), default=None)
    return Freshness(**shortest), min(caches), replace(outcome, sources=sources, until=until)
