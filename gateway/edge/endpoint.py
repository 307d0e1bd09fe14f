"""How a route is declared: one value holds everything that the door, the published contract and the tests need to know about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import msgspec

from contracts.call import Call
from contracts.canonical.answers import NoParameters
from contracts.canonical.base import Provenance
from contracts.errors import TillgateError
from contracts.quota import RouteClass
from gateway.edge.identity.principal import Principal
from gateway.edge.selection import EXPAND, PARAMETER, Selection
from observability import FlightRecord
from observability.rootcause.model import Needs

P = TypeVar("P", bound=msgspec.Struct)
B = TypeVar("B", bound=msgspec.Struct | None)
S = TypeVar("S")

Method = Literal["GET", "POST", "PUT", "DELETE"]


@dataclass(frozen=True, slots=True)
class Ask(Generic[P, B]):
    """A request after the door: authenticated, within quota, decoded into the newest shapes."""

    client: Principal
    call: Call
    path: dict[str, str]
    parameters: P
    body: B
    flight: FlightRecord
    idempotency_key: str = ""
    selection: Selection | None = None
    """What of the answer it wants; None: all of it."""
    repeated: bool = False
    """Under its Idempotency-Key it began before and came to no answer: what it changes may be changed already."""
    if_match: tuple[str, ...] = ()
    if_none_match: tuple[str, ...] = ()
    expand: tuple[Expansion, ...] = ()
    """Parts that it wants along."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a handler answers: a value in the newest shape."""

    value: msgspec.Struct | None
    status: int = 200
    sources: tuple[Provenance, ...] = ()
    version: int | None = None
    """Becomes the ETag of the resource."""
    cursor: str | None = None
    """Position behind which the collection goes on. The Link header holds it signed; `parameters.cursor` is such a position again."""
    location: str | None = None
    retry_after: float | None = None
    repeat: TillgateError | None = None
    """What a repeat under the same Idempotency-Key is told, where the answer holds a secret and so must not be stored."""
    until: datetime | None = None
    """The first moment at which this may no longer be true, whatever its sources allow: the next change of a price."""
    parts: tuple[Part, ...] = ()
    """What was asked for along with it."""


class Question(NamedTuple):
    """What a part is asked with."""

    parameters: msgspec.Struct
    path: dict[str, str] = {}  # noqa: RUF012  # nobody writes into it


@dataclass(frozen=True, slots=True, eq=False)
class Expansion:
    """A part that an answer brings along: what another read would answer, so that its caller need not ask again."""

    name: str
    endpoint: AnyEndpoint
    question: Callable[[Ask[Any, Any], Any], Question | None]
    """Of a request, and of its answer if that is there already (else None). None: there is nothing to ask, or not yet. Raises
    InvalidRequest.
    """


@dataclass(frozen=True, slots=True)
class Part:
    """What came of an expansion: an outcome, or the code of the problem that stands in its place."""

    expansion: Expansion
    outcome: Outcome | None
    code: str = ""
    reached: bool = False
    """Whether a system was asked."""


@dataclass(frozen=True, slots=True)
class Link:
    """Where an answer leads: parameters of another operation, taken from this one by OpenAPI runtime expressions."""

    operation: str
    parameters: dict[str, str]


@dataclass(frozen=True)
class Endpoint(Generic[P, B, S]):
    """One route. `path` has `{name}` for path parameters. Without a scope the start fails: nothing is open by accident."""

    method: Method
    path: str
    name: str
    """operationId of the published contract."""
    summary: str
    scope: str
    answer: type[msgspec.Struct]
    handle: Callable[[Ask[P, B], S], Awaitable[Outcome]]
    parameters: type[P]
    body: type[B] | None = None
    statuses: tuple[int, ...] = (200,)
    errors: tuple[type[TillgateError], ...] = ()
    path_parameters: dict[str, Any] = field(default_factory=dict)
    idempotent_key: bool = False
    """Unsafe: needs an Idempotency-Key."""
    conditional: bool = False
    """Answers carry the resource's version as ETag; a change may send If-Match."""
    cache: float = 0.0
    """How many seconds a caller may keep an answer at most, where the estate allows longer; 0: not at all."""
    shared: bool = False
    """The answer depends on nothing but route, path, query (field selection too), version and whether the caller may see personal data."""
    tag: str = ""
    example: B | None = None
    """A body that the sample company accepts; each published version shows it in its own shape."""
    links: tuple[Link, ...] = ()
    capabilities: tuple[str, ...] = ()
    """What its handler may ask the systems (contracts.ports), feeds that it reads the books of among them."""
    needs: Needs = "answer"
    """What it does with what it asks, and so what its callers feel when a system is down."""
    expansions: tuple[Expansion, ...] = ()
    parts: type[msgspec.Struct] | None = None
    """The member `expanded` of its answer: a field for each expansion, and `missing`."""
    shows: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Fields of a capability's answer, by noun and name, that are seen under another name: InventoryLevel.on_hand -> items.available."""

    route_class: RouteClass = "read"
    """As what it counts in quotas; by default a GET is a read and all else a write."""

    def __post_init__(self) -> None:
        if self.method != "GET":
            object.__setattr__(self, "route_class", "write")

    @property
    def beside(self) -> tuple[str, ...]:
        """Query parameters that are no business of its handler."""
        return (PARAMETER, *((EXPAND,) if self.expansions else ())) if self.method == "GET" else ()

    @property
    def tagged(self) -> bool:
        return self.conditional or self.cache > 0

    @property
    def route(self) -> str:
        return f"{self.method} {self.path}"


AnyEndpoint = Endpoint[Any, Any, Any]


@dataclass(frozen=True)
class Subject:
    """Routes of the admin API about one thing: what is read takes `admin:read`, anything else `admin:write` and an Idempotency-Key."""

    tag: str
    path: str
    path_parameters: dict[str, Any]

    def __call__(
        self,
        method: Method,
        below: str,
        name: str,
        summary: str,
        answer: type[msgspec.Struct],
        handle: Callable[[Ask[Any, Any], Any], Awaitable[Outcome]],
        **more: Any,
    ) -> AnyEndpoint:
        """`more`: what else an endpoint says; without parameters it takes none."""
        path, reads = self.path + below, method == "GET"
        shared = {
            "scope": "admin:read" if reads else "admin:write",
            "parameters": NoParameters,
            "path_parameters": {name: kind for name, kind in self.path_parameters.items() if f"{{{name}}}" in path},
            "idempotent_key": not reads,
            "tag": self.tag,
        }
        return Endpoint(method=method, path=path, name=name, summary=summary, answer=answer, handle=handle, **{**shared, **more})


@dataclass(frozen=True)
class Control:
    """A route to one gateway itself: without versions and Idempotency-Key, and its handler answers, perhaps with a stream."""

    method: Literal["GET", "POST"]
    path: str
    name: str
    summary: str
    scope: str
    answer: Any
    """A type that msgspec has a schema of."""
    parameters: type[msgspec.Struct]
    tag: str = "Gateway"
    path_parameters: dict[str, Any] = field(default_factory=dict)
    errors: tuple[type[TillgateError], ...] = ()
    media_type: str = "application/json"

    @property
    def route(self) -> str:
        return f"{self.method} {self.path}"
