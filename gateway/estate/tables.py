"""The tables of an estate, typed: the only source of their keys, defaults and bounds."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from adapters.options import Tls
from contracts import call
from contracts.policy import Duration, Policy
from contracts.quota import Per, RouteClass


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the estate; unknown keys are refused."""


Reference = Annotated[
    str,
    Meta(
        pattern=r"^(env:[A-Z][A-Z0-9_]*|file:.+)$",
        description="A secret by reference: env:NAME or file:PATH, never its value",
        extra={"secret": True},
    ),
]
Setting = Annotated[str, Meta(min_length=1, description="A value, or env:NAME, or env:NAME|default")]


class Header(Entry, frozen=True, kw_only=True):
    name: str
    owner: str
    api_title: str = "Retail API"
    time_zone: str = "Europe/Berlin"


class Channel(Entry, frozen=True, kw_only=True):
    """A way customers shop. `safety_stock` is kept back from what this channel may promise."""

    description: str
    safety_stock: Annotated[int, Meta(ge=0)] = 0
    owner: str = ""
    priority: Literal["critical", "high", "normal", "low"] = "normal"
    """When there is too much to do, `low` goes without first. Changes are at least `high` from every channel, unless their route says
    otherwise.
    """


class QuotaPolicy(Entry, frozen=True, kw_only=True):
    """`requests` per `window`, as many at once: what was used comes back evenly (GCRA). All policies of a quota hold at once."""

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    requests: Annotated[int, Meta(ge=1, le=10_000_000)]
    window: Duration
    per: Per = "client"
    """What counts for itself, always within one client: each of its stores, each class of routes, or both."""
    routes: tuple[RouteClass, ...] = ()
    """Only calls of these classes: `read`, `personal` (reads that name a person), `write`. None: all."""
    enforce: bool = True
    """`false`: counted, and what it would have refused is in log and metrics; nobody is refused, and callers are not told of it."""


class QuotaCosts(Entry, frozen=True, kw_only=True):
    """What a call takes of every policy. It is admitted at `cached`; what it costs beyond that is charged once it has reached a system."""

    cached: Annotated[int, Meta(ge=1)] = 1
    upstream: Annotated[int, Meta(ge=1)] = 1
    write: Annotated[int, Meta(ge=1)] = 1


class Quota(Entry, frozen=True, kw_only=True):
    """Limits of the clients that have it. `anonymous` is the one of callers without valid credentials, by address (of IPv6 by /64)."""

    policies: Annotated[tuple[QuotaPolicy, ...], Meta(min_length=1)]
    costs: QuotaCosts = QuotaCosts()


class Shares(Entry, frozen=True, kw_only=True):
    """What a system has in common with others; one cause behind several systems is looked for here."""

    segment: str = ""
    ca: str = ""
    dns_zone: str = ""
    vendor: str = ""


class Recording(Entry, frozen=True, kw_only=True):
    """What `tillgate record` masks of this system. Credentials it always masks, and all but what mappings read into fields that are not
    personal.

    Fields by name or by the end of their path: `KUNNR`, `T_ADDR.item.NAME1`.
    """

    mask: tuple[str, ...] = ()
    """Although a mapping reads it into a field that is not personal: a customer's number, for example."""
    keep: tuple[str, ...] = ()
    """In clear although a personal field is fed by it, or nothing is: a code that says person or company, for example."""


class System(Entry, frozen=True, kw_only=True):
    """A legacy system. `options` are the driver's own (docs/reference); credentials in them are references."""

    protocol: Literal["soap", "rest", "files"]
    contract: str
    owner: str
    criticality: Literal["critical", "high", "medium", "low"]
    endpoint: Setting
    description: str = ""
    contact: str = ""
    depends_on: tuple[str, ...] = ()
    shares: Shares = Shares()
    concurrency: Annotated[int, Meta(ge=1, le=10_000)] = 64
    batch_window: str = ""
    """Nightly hours in which the system is known to be slow or closed, as text for people: `02:00-04:00`."""
    recording: Recording = Recording()
    options: dict[str, Any] = {}


class Refuse(Entry, frozen=True, kw_only=True):
    """A business refusal that comes as a normal answer, in words of the mapping language, over the fields of the answer."""

    when: str
    code: str = ""
    reason: str = ""


class OperationStep(Entry, frozen=True, kw_only=True):
    """One call of several that are made one after the other, in one attempt and within one deadline; each is a hop of its own.

    The session, what faults mean and everything else of the driver's options hold for every call. A refusal ends them. Of a write, a call
    must answer what is to be kept; of a read, an answer without it (or one that means `absent`) has found nothing.
    """

    calls: str
    """Its name in the system's contract; each call is named once."""
    request: str
    """A mapping from the capability's request (with `each`: from one element of it) to this call."""
    keep: dict[str, str] = {}
    """Parameter -> where this call's answer says it: `keep = { cart = "quoteId" }`. What follows names it as `parameters.cart`."""
    each: str = ""
    """The call is made for every element of this list of the request, such as `lines`."""
    refuse: Refuse | None = None


class Operation(Entry, frozen=True, kw_only=True):
    """One call or feed of a system, or several calls one after the other; it provides a capability through its mappings."""

    provides: str
    answer: str = ""
    request: str = ""
    calls: str = ""
    """The operation's name in the system's contract, when it differs from the one here (one call that provides two capabilities)."""
    contract: str = ""
    """When it differs from the system's: each feed of a files system has a layout of its own."""
    mode: Literal["sync", "async", "file", "outbound"] = "sync"
    policy: Policy = Policy()
    parameters: dict[str, str | int | bool] = {}
    """Values for what its mappings declare under `[parameters]`."""
    secrets: dict[str, Reference] = {}
    """What its request mapping names as `secrets.NAME`: `secrets = { PIN = "env:ERP_PIN" }`."""
    feed: dict[str, Any] = {}
    """For files: options of the intake (docs/reference)."""
    outbound: dict[str, Any] = {}
    """For files that the tills are sent: name, when and how they are answered (docs/reference)."""
    steps: tuple[OperationStep, ...] = ()
    """Instead of `calls` and `request`: several calls; `answer` reads that of the last one."""
    commits: str = ""
    """Of a write in steps: the call that makes it count. Before it is sent a failure leaves nothing behind that matters, and all is tried
    again from the first call; from then on a lost answer is a doubt. Without it every call counts, from the first.
    """

    def called(self, name: str) -> tuple[str, ...]:
        """What it calls, in this order, by the names in the system's contract. `name`: of this operation in the estate."""
        return tuple(s.calls for s in self.steps) or (self.calls or name.partition(".")[2],)

    @property
    def requests(self) -> tuple[str, ...]:
        """Paths of its request mappings."""
        return tuple(s.request for s in self.steps) or ((self.request,) if self.request else ())


class CapabilityRule(Entry, frozen=True, kw_only=True):
    """How a capability is answered. `first`: the next operation stands in when one fails. `all`: parts are merged by natural key."""

    operations: Annotated[tuple[str, ...], Meta(min_length=1)]
    combine: Literal["first", "all"] = "first"
    partial: bool = False
    """With `all`: whether an answer may lack the part of a system that failed (and says so)."""


class Objective(Entry, frozen=True, kw_only=True):
    p99: Duration = Duration(1)
    ok: Annotated[float, Meta(ge=0, le=1)] = 0.99


class Route(Entry, frozen=True, kw_only=True):
    capabilities: tuple[str, ...]
    denied: tuple[str, ...] = ()
    """Systems, or operations as `system.operation`, that it was seen to reach and does not depend on: the map draws and warns of none."""
    objective: Objective = Objective()
    deadline: Duration = Duration(10)
    priority: Literal["critical", "high", "normal", "low"] | None = None
    """Of this route from every channel, instead of what their own say."""


class Store(Entry, frozen=True, kw_only=True):
    """`sqlite:PATH` (relative to the data folder) or a reference to a PostgreSQL URL."""

    url: Setting = "sqlite:tillgate.db"
    connections: Annotated[int, Meta(ge=1, le=500, description="PostgreSQL: most connections of one process")] = 10
    statement_cache: Annotated[
        int,
        Meta(ge=0, le=10_000, description="PostgreSQL: statements kept prepared per connection; 0 behind PgBouncer in transaction mode"),
    ] = 200


class OrderRules(Entry, frozen=True, kw_only=True):
    """`settle`: the longest time a system may take until a written order can be found; a query-back that finds nothing counts only then."""

    settle: Duration = Duration(5)
    retry: Duration = Duration(2)
    retry_max: Duration = Duration(60)
    attempts: Annotated[int, Meta(ge=1)] = 50
    """Attempts of one step before a person has to decide."""


class Events(Entry, frozen=True, kw_only=True):
    """Where events go besides the in-process subscribers."""

    rabbitmq: Setting | None = None
    """`amqp(s)://user:password@host:port/vhost`, by reference."""
    exchange: str = "tillgate.events"
    version: str = ""
    """The API version in whose shapes consumers outside get events; none: the newest."""
    unroutable: Literal["accept", "refuse"] = "accept"
    """An event that no queue asked for: fine, or held back until one does."""
    tls: Tls = Tls()


class Webhooks(Entry, frozen=True, kw_only=True):
    """Receivers of events over HTTP; who they are is looked after by command or over the admin API, not here."""

    networks: tuple[str, ...] = ()
    """Networks that are not public and may hold receivers all the same, as `10.20.0.0/16`; `127.0.0.1/32` allows this machine, also by
    http."""
    queue: Annotated[int, Meta(ge=1, le=10_000_000)] = 100_000
    """Most events that wait for one receiver; what comes on top is counted as missed."""
    limit: Duration = Duration(10)
    """Within which a receiver has answered; at most 20 s."""
    keep: Duration = Duration(3 * 86_400)
    """An event that could not be delivered for so long is a dead letter."""
    keep_dead: Duration = Duration(30 * 86_400)
    """After that dead letters go, and what waits for a suspended receiver."""
    tls: Tls = Tls()


class Shared(Entry, frozen=True, kw_only=True):
    """Where the processes of an estate count its quotas together. Without it each process counts for itself."""

    url: Setting | None = None
    """`redis(s)://user:password@host:port/database`, by reference: Valkey, or Redis from 6.2."""
    when_unreachable: Literal["local", "open", "closed"] = "local"
    """While it is away: each process grants its share of every quota, or calls pass uncounted, or none passes (503)."""
    processes: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    """Among how many a quota is shared out meanwhile; none: as many as were last seen."""
    limit: Duration = Duration(0.05)
    """Within which it has decided about a call; else it counts as away, and is looked for again at once."""
    tls: Tls = Tls()


class Telemetry(Entry, frozen=True, kw_only=True):
    otlp: Setting | None = None
    """OTLP/HTTP endpoint, for example http://collector:4318."""
    keep_for: Duration = Duration(86_400)
    keep_bytes: Annotated[int, Meta(ge=1_000_000)] = 2_000_000_000


class BrownOutEntry(Entry, frozen=True, kw_only=True):
    """Announced minutes in which a deprecated version answers 503, so that whoever still uses it notices before its sunset.

    Times without an offset are local ones of the estate (`time_zone`).
    """

    version: str
    from_: datetime | None = msgspec.field(default=None, name="from")
    """When it begins; with `every`: from when on the rule holds."""
    until: datetime | None = None
    """When it ends; with `every`: no window begins from then on."""
    every: str = ""
    """`"tue 10:00-10:15"`, `"mon,thu 23:50-00:10"`, `"day 06:00-06:05"`."""
    announcement: str = ""
    """A page for people, which answers link to."""


class Versions(Entry, frozen=True, kw_only=True):
    """How old API versions end."""

    brown_out: tuple[BrownOutEntry, ...] = ()


class AuditLog(Entry, frozen=True, kw_only=True):
    """Who changed what, and who was denied."""

    keep_for: Duration = Duration(365 * 86_400)
    """Older entries are removed by housekeeping."""


class Incidents(Entry, frozen=True, kw_only=True):
    """How long it is remembered what was broken."""

    keep_for: Duration = Duration(400 * 86_400)
    keep_evidence: Duration = Duration(90 * 86_400)
    """Their traces, which outlive the ring that they were copied from."""


Signature = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"]


class ClaimNames(Entry, frozen=True, kw_only=True):
    """Which claims of a token say what the books would say of a registered client."""

    channel: str = ""
    """With it clients need not be registered; what only tokens describe is never granted administration."""
    quota: str = ""
    api_version: str = ""
    stores: str = ""
    """Narrows registered clients too: a list, or words with blanks between. A token without it is refused."""


class Issuer(Entry, frozen=True, kw_only=True):
    """An issuer of access tokens (OAuth 2.0, OpenID Connect). Its metadata and keys are read from its own well-known addresses."""

    url: Annotated[str, Meta(pattern=r"^https?://[!-~]+$", max_length=500)]
    """Character for character as its tokens name it (`iss`)."""
    audiences: Annotated[tuple[str, ...], Meta(min_length=1)]
    """A token must be meant for one of them (`aud`)."""
    algorithms: Annotated[tuple[Signature, ...], Meta(min_length=1)] = ("RS256", "ES256")
    """With which its tokens may be signed."""
    type: Literal["at+jwt", "JWT"] = "at+jwt"
    """`JWT` for issuers that do not mark access tokens (RFC 9068): their audience must then be no client's own name."""
    leeway: Duration = Duration(30)
    """By how much its clock may be off: five minutes at most."""
    client: str = "client_id"
    """The claim that names the client: `azp` with some."""
    clients: Annotated[tuple[str, ...], Meta(min_length=1)] = ("*",)
    """For which clients it speaks, `*` standing for any text."""
    scope: str = "scope"
    """The claim that lists what the token grants: `scp` or `roles` with some."""
    scopes: dict[str, tuple[str, ...]] = {}
    """Its words for our scopes. Without the table it uses ours; a registered client never gets more than its own scopes."""
    claims: ClaimNames = ClaimNames()
    bound: bool = False
    """Only tokens that are bound to a client certificate (RFC 8705)."""
    refresh: Duration = Duration(600)
    """How long its keys are used before they are read again: ten seconds at least."""
    ca: str = ""
    """A file with the authority of its certificate, instead of the machine's."""
    insecure: bool = False
    """http on this machine, for trials."""


class Identity(Entry, frozen=True, kw_only=True):
    """Who may say who a caller is, besides the books of clients: `[[identity.issuer]]`, one table for each."""

    issuer: tuple[Issuer, ...] = ()


class EdgeTls(Entry, frozen=True, kw_only=True):
    """TLS at the gateway's own port. Files in PEM form; renewed ones are taken over by a reload, connections stay."""

    certificate: str
    """The gateway's own, with the authorities between."""
    key: str
    password: Reference | None = None
    client_ca: str = ""
    """Authorities whose client certificates are accepted."""
    client_certificates: Literal["off", "optional", "required"] = "off"
    """`required`: a connection without one is not made."""
    minimum: Literal["1.2", "1.3"] = "1.2"


class Edge(Entry, frozen=True, kw_only=True):
    host: Setting = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080
    max_body_bytes: Annotated[int, Meta(ge=1_000, le=100_000_000)] = 1_000_000
    max_connections: Annotated[int, Meta(ge=1)] = 1_000
    max_connections_per_address: Annotated[int, Meta(ge=1)] = 500
    """Those of `trusted_proxies` are not counted."""
    max_requests: Annotated[int, Meta(ge=1)] = 500
    """Requests let in at once, with those that wait for a system. How many of them are worked on at once adapts to the machine; beyond
    either, requests wait by priority.
    """
    max_waiting: Annotated[int, Meta(ge=0)] = 200
    """Requests that may wait, for two seconds at most; beyond that 503 with Retry-After, the least important first."""
    drain: Duration = Duration(0)
    """On SIGTERM: how long requests are still taken after readiness went off; longer than a balancer needs to notice."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks (`10.1.0.0/16`) whose `X-Forwarded-For`, trace context and certificate header are believed."""
    certificate_header: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]*$", max_length=100)] = ""
    """Where trusted proxies write the caller's certificate: `Client-Cert` (RFC 9440), or a header with it as escaped PEM."""
    public_url: Annotated[str, Meta(pattern=r"^(https?://[!-~]+)?$", max_length=500)] = ""
    """How callers reach the gateway, without a slash at the end: the name of this resource towards issuers of tokens (RFC 9728)."""
    tls: EdgeTls | None = None
    https: bool = False
    """Whether people reach the gateway by https (TLS ends at a proxy): the console's cookie then travels by https only."""
    idempotency_retention: Duration = Duration(7 * 86_400)


class Estate(Entry, frozen=True, kw_only=True):
    estate: Header
    channel: dict[str, Channel]
    system: dict[str, System]
    operation: dict[str, Operation]
    capability: dict[str, CapabilityRule] = {}
    route: dict[str, Route] = {}
    quota: dict[str, Quota] = {}
    store: Store = Store()
    orders: OrderRules = OrderRules()
    events: Events = Events()
    webhooks: Webhooks = Webhooks()
    shared: Shared = Shared()
    telemetry: Telemetry = Telemetry()
    audit: AuditLog = AuditLog()
    incidents: Incidents = Incidents()
    versions: Versions = Versions()
    edge: Edge = Edge()
    identity: Identity = Identity()


CHANNELS: tuple[str, ...] = get_args(call.Channel)
