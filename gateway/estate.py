"""The estate: one retailer's channels, systems, operations, capabilities, routes and limits, read from `estate.toml`.

It is configuration and, at the same time, the documentation of integration dependencies that is used in an outage. Reading collects
every mistake with file, line and a suggestion; a bad estate never starts.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from adapters.options import Tls
from contracts.errors import Finding, Findings
from contracts.policy import Duration, Policy
from contracts.ports import CAPABILITIES, Capability
from contracts.quota import Per, RouteClass
from contracts.versions import HISTORY
from gateway.edge.brown_out import LONGEST, BrownOut, Weekly, overlap
from gateway.edge.identity.scopes import SCOPES

MAX_ESTATE_BYTES = 1_000_000
MAX_SECRET_BYTES = 64_000
MOST_WINDOW = 31 * 86_400


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
    mode: Literal["sync", "async", "file"] = "sync"
    policy: Policy = Policy()
    parameters: dict[str, str | int | bool] = {}
    """Values for what its mappings declare under `[parameters]`."""
    secrets: dict[str, Reference] = {}
    """What its request mapping names as `secrets.NAME`: `secrets = { PIN = "env:ERP_PIN" }`."""
    feed: dict[str, Any] = {}
    """For files: options of the intake (docs/reference)."""
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
    shared: Shared = Shared()
    telemetry: Telemetry = Telemetry()
    audit: AuditLog = AuditLog()
    versions: Versions = Versions()
    edge: Edge = Edge()
    identity: Identity = Identity()


CHANNELS = ("web", "mobile", "store", "call_centre", "marketplace")


# ---- reading ------------------------------------------------------------------------------------------------------


class Source:
    """Where each key and each item of a TOML text stands; tomllib does not say. The text has been read by tomllib: it is TOML."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self._lines = places(text)

    def line(self, path: tuple[str, ...]) -> int:
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def finding(self, path: tuple[str, ...], message: str, suggestion: str = "") -> Finding:
        return Finding(self.file, self.line(path), message, suggestion)


_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[ \t]*([A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')[ \t]*""")
_TEXT = re.compile(r"""\"{3}(?:[^\\]|\\.)*?\"{3,5}|'{3}.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^,\]}#\n]+""", re.DOTALL)


def places(text: str) -> dict[tuple[str, ...], int]:
    """Path of each table, key and item (by its index) -> line, counted from 1."""
    found: dict[tuple[str, ...], int] = {}
    counts: dict[tuple[str, ...], int] = {}
    number, seen = 1, 0

    def note(path: tuple[str, ...], at: int) -> None:
        nonlocal number, seen
        number, seen = number + text.count("\n", seen, at), at
        for n in range(1, len(path) + 1):
            found.setdefault(path[:n], number)

    def blank(at: int) -> int:
        return typing.cast("re.Match[str]", _BLANK.match(text, at)).end()

    def key(at: int) -> tuple[tuple[str, ...], int]:
        parts: list[str] = []
        while part := _KEY.match(text, at):
            parts.append(_unquoted(part[1]))
            at = part.end()
            if text[at : at + 1] != ".":
                break
            at += 1
        return tuple(parts), at

    def pair(table: tuple[str, ...], at: int) -> int:
        parts, end = key(at)
        note((*table, *parts), at)
        return value((*table, *parts), blank(end + 1))

    def value(path: tuple[str, ...], at: int) -> int:
        closing = {"[": "]", "{": "}"}.get(text[at])
        if closing is None:
            return typing.cast("re.Match[str]", _TEXT.match(text, at)).end()
        items, at = 0, blank(at + 1)
        while text[at] != closing:
            if closing == "}":
                at = pair(path, at)
            else:
                note((*path, str(items)), at)
                at = value((*path, str(items)), at)
            items, at = items + 1, blank(at)
            if text[at] == ",":
                at = blank(at + 1)
        return at + 1

    table: tuple[str, ...] = ()
    at = blank(0)
    while at < len(text):
        if text[at] == "[":
            many = text.startswith("[[", at)
            parts, end = key(at + 1 + many)
            table = ()
            for n, part in enumerate(parts, 1):
                table = (*table, part)
                if n < len(parts) and table in counts:
                    table = (*table, str(counts[table]))
            if many:
                counts[table] = counts.get(table, -1) + 1
                table = (*table, str(counts[table]))
            note(table, at)
            at = blank(end + 1 + many)
        else:
            at = blank(pair(table, at))
    return found


def _unquoted(part: str) -> str:
    return str(tomllib.loads(f"key = {part}")["key"]) if part[0] in "\"'" else part


def nearest(word: str, words: typing.Iterable[str]) -> str:
    """`did you mean …?`, or what is allowed."""
    words = list(words)
    if close := difflib.get_close_matches(word, words, 1, 0.5):
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(sorted(words)[:12])}" if words else ""


def decode(kind: Any, value: Any, path: tuple[str, ...], source: Source, found: list[Finding]) -> Any:
    """Like msgspec.convert, but goes on after a mistake, so that all findings show at once. Returns None where one was found."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated and isinstance(args[0], type) is False and get_origin(args[0]) in (tuple, dict):
        _bounds(kind, value, path, source, found)
        return decode(args[0], value, path, source, found)
    if origin in (Union, types.UnionType):
        chosen = None if value is None else _choice(args, value, path, source, found)
        if chosen is None or get_origin(chosen) is not Union:
            return None if chosen is None else decode(chosen, value, path, source, found)
        kind = chosen
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct(kind, value, path, source, found)
    secret = origin is Annotated and _is_secret(args)
    if isinstance(value, str) and _reveals(value, path, secret=secret):
        found.append(source.finding(path, f"{_dotted(path)}: a secret must not stand here", "write env:NAME or file:PATH"))
        return None
    if origin is dict and args[1] is not Any:
        if not isinstance(value, dict):
            found.append(source.finding(path, f"{_dotted(path)}: expected a table, got {value!r}"))
            return None
        return {k: decode(args[1], v, (*path, k), source, found) for k, v in value.items()}
    if origin is tuple and isinstance(value, list):
        return tuple(decode(args[0], v, (*path, str(i)), source, found) for i, v in enumerate(value))
    try:
        return msgspec.convert(value, kind, dec_hook=_hook)
    except (msgspec.ValidationError, ValueError) as exc:
        hint = ""
        choices = get_args(kind) if origin is Literal else ()
        if choices:
            hint = nearest(str(value), [str(c) for c in choices])
        got = "" if secret or "got" in str(exc) else f", got {value!r:.80}"
        found.append(source.finding(path, f"{_dotted(path)}: {str(exc)[:300]}{got}", hint))
        return None


_PASSWORD_IN_URL = re.compile(r"://[^/\s:@]*:[^/\s@]+@")
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})


def _reveals(value: str, path: tuple[str, ...], *, secret: bool) -> bool:
    """Whether a secret itself stands where only a reference to it may: also in a URL, and in a header."""
    if not value or (value.startswith(("env:", "file:")) and "|" not in value):
        return False
    named = len(path) > 1 and path[-2] == "headers" and path[-1].lower() in _SECRET_HEADERS
    return secret or named or _PASSWORD_IN_URL.search(value) is not None


def _is_secret(args: tuple[Any, ...]) -> bool:
    return any(isinstance(a, Meta) and a.extra is not None and bool(a.extra.get("secret")) for a in args)


def _choice(args: tuple[Any, ...], value: Any, path: tuple[str, ...], source: Source, found: list[Finding]) -> Any:
    """The member of a union that a value means: tables are told apart by their tag."""
    real = [a for a in args if a is not type(None)]
    if len(real) == 1:
        return real[0]
    tagged = {a.__struct_config__.tag: a for a in real if isinstance(a, type) and issubclass(a, msgspec.Struct)}
    if not tagged or not isinstance(value, dict):
        return Union[tuple(real)]  # noqa: UP007  # built at run time
    tag_field = next(iter(tagged.values())).__struct_config__.tag_field
    tag = value.get(tag_field)
    if not isinstance(tag, str) or (chosen := tagged.get(tag)) is None:
        known = [str(t) for t in tagged]
        found.append(source.finding((*path, str(tag_field)), f"{_dotted(path)}: unknown {tag_field} {tag!r:.80}", nearest(str(tag), known)))
        return dict[str, Any]
    return chosen


def _bounds(kind: Any, value: Any, path: tuple[str, ...], source: Source, found: list[Finding]) -> None:
    for meta in get_args(kind)[1:]:
        if isinstance(meta, Meta) and meta.min_length and isinstance(value, list) and len(value) < meta.min_length:
            found += [source.finding(path, f"{_dotted(path)}: expected at least {meta.min_length} entry, got none")]


def _struct(kind: type[msgspec.Struct], value: Any, path: tuple[str, ...], source: Source, found: list[Finding]) -> Any:
    if not isinstance(value, dict):
        found.append(source.finding(path, f"{_dotted(path)}: expected a table, got {value!r:.80}"))
        return None
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {f.encode_name: f for f in msgspec.structs.fields(kind)}
    if tag_field := kind.__struct_config__.tag_field:
        value = {k: v for k, v in value.items() if k != tag_field}
    before = len(found)
    found.extend(
        source.finding((*path, key), f"{_dotted(path)}: unknown key {key!r}", nearest(key, fields)) for key in value.keys() - fields.keys()
    )
    decoded = {}
    for name, f in fields.items():
        if name in value:
            decoded[f.name] = decode(hints[f.name], value[name], (*path, name), source, found)
        elif f.required:
            found.append(source.finding(path, f"{_dotted(path) or 'the estate'}: {name!r} is missing", f"add {name} = …"))
    if len(found) != before:
        return None
    try:
        return kind(**decoded)
    except ValueError as exc:
        found.append(source.finding(path, f"{_dotted(path)}: {exc}"))
        return None


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(f'"{p}"' if re.search(r"[^A-Za-z0-9_-]", p) else p for p in path)


def _hook(kind: type, value: Any) -> Any:
    if kind is Duration:
        return Duration.parse(value)
    raise NotImplementedError(kind)


def read(path: Path) -> tuple[Estate, Source]:
    """The estate in `path` (a folder, or its estate.toml), typed and checked within itself. Raises Findings with every mistake."""
    estate, source, found = examine(path)
    if found:
        raise Findings(findings=tuple(sorted(found, key=lambda f: (f.file, f.line))))
    return estate, source


def examine(path: Path) -> tuple[Estate, Source, list[Finding]]:
    """As much of it as can be understood, and what is wrong with the rest. Raises Findings for what is no TOML document at all."""
    file = path / "estate.toml" if path.is_dir() else path
    name = file.name
    try:
        raw = file.read_bytes()
    except OSError as exc:
        raise Findings(findings=(Finding(str(file), 1, f"cannot be read: {exc.strerror}", "tillgate new estate DIR writes one"),)) from exc
    if len(raw) > MAX_ESTATE_BYTES:
        raise Findings(findings=(Finding(name, 1, f"larger than {MAX_ESTATE_BYTES} bytes"),))
    try:
        text = raw.decode("utf-8")
        document = tomllib.loads(text)
    except UnicodeDecodeError as exc:
        raise Findings(findings=(Finding(name, raw[: exc.start].count(b"\n") + 1, "not UTF-8"),)) from exc
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        place = re.search(r"line (\d+), column (\d+)", str(exc))
        line, column = (int(place[1]), int(place[2])) if place else (1, 0)
        raise Findings(findings=(Finding(name, line, f"not TOML: {exc}", column=column),)) from exc
    source = Source(name, text)
    found: list[Finding] = []
    estate = _estate(document, source, found)
    found.extend(lint(estate, source, {table: set(entries) for table, entries in document.items() if isinstance(entries, dict)}))
    return estate, source, found


def _estate(document: dict[str, Any], source: Source, found: list[Finding]) -> Estate:
    """The estate as far as it can be understood: entries with findings are left out, so that the rest is still checked."""
    hints = typing.get_type_hints(Estate, include_extras=True)
    fields = {f.encode_name: f for f in msgspec.structs.fields(Estate)}
    found.extend(source.finding((name,), f"unknown table {name!r}", nearest(name, fields)) for name in document.keys() - fields.keys())
    decoded: dict[str, Any] = {"estate": Header(name="", owner=""), "channel": {}, "system": {}, "operation": {}}
    for name, f in fields.items():
        if name in document:
            value = decode(hints[f.name], document[name], (name,), source, found)
            if value is not None:
                decoded[name] = {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value
        elif f.required:
            found.append(source.finding((), f"table [{name}] is missing", f"add [{name}]"))
    return Estate(**decoded)


def lint(estate: Estate, source: Source, names: Mapping[str, set[str]]) -> Iterator[Finding]:
    """What must agree between the tables of an estate. `names` holds every name that is written, also of entries with findings."""
    systems, operations = names.get("system", set()), names.get("operation", set())
    if estate.channel and all(channel.priority == "critical" for channel in estate.channel.values()):
        yield source.finding(("channel",), "every channel is critical: nothing could go without first", 'say priority = "normal" of most')
    for name in estate.channel:
        if name not in CHANNELS:
            yield source.finding(("channel", name), f"unknown channel {name!r}", nearest(name, CHANNELS))
    for name, system in estate.system.items():
        if system.owner == "?":
            yield source.finding(("system", name, "owner"), f"system {name}: nobody owns it yet", "write who is called when it fails")
        for other in system.depends_on:
            if other not in systems:
                yield source.finding(
                    ("system", name, "depends_on"), f"system {name}: depends on unknown {other!r}", nearest(other, systems)
                )
    for name, operation in estate.operation.items():
        at = ("operation", name)
        system_name, _, short = name.partition(".")
        if not short or system_name not in systems:
            yield source.finding(at, f"operation {name!r}: expected SYSTEM.OPERATION", nearest(system_name, systems))
            continue
        if operation.provides not in CAPABILITIES:
            yield source.finding(
                (*at, "provides"), f"operation {name}: unknown capability {operation.provides!r}", nearest(operation.provides, CAPABILITIES)
            )
        system_entry = estate.system.get(system_name)
        files = operation.mode == "file"
        if system_entry and files != (system_entry.protocol == "files"):
            yield source.finding(
                (*at, "mode"),
                f"operation {name}: mode {operation.mode!r} over protocol {system_entry.protocol!r}",
                'a files system has mode = "file", no other has',
            )
        if not operation.answer:
            yield source.finding(at, f"operation {name}: no answer mapping", 'add answer = "mappings/…toml"')
        provided = CAPABILITIES.get(operation.provides)
        if not files and not operation.requests and (provided is None or provided.request.__struct_fields__):
            yield source.finding(at, f"operation {name}: no request mapping", 'add request = "mappings/…toml"')
        yield from _lint_steps(name, operation, provided, source)
        yield from _lint_freshness(name, operation, source)
        if provided is not None:
            yield from _lint_batch(name, operation, provided, source)
    for name, operation in estate.operation.items():
        listed = estate.capability.get(operation.provides)
        if listed is not None and name not in listed.operations:
            yield source.finding(
                ("operation", name, "provides"),
                f'operation {name}: is never used, [capability."{operation.provides}"] does not list it',
                "add it there, or remove it",
            )
    for name, rule in estate.capability.items():
        if name not in CAPABILITIES:
            yield source.finding(("capability", name), f"unknown capability {name!r}", nearest(name, CAPABILITIES))
        elif CAPABILITIES[name].writes and rule.combine == "all":
            yield source.finding(
                ("capability", name, "combine"),
                f'capability {name}: a write goes to one system, combine = "all" would do it several times',
                "remove combine",
            )
        if rule.partial and rule.combine == "first":
            yield source.finding(
                ("capability", name, "partial"),
                f"capability {name}: partial says nothing without parts",
                'add combine = "all", or remove it',
            )
        for operation_name in rule.operations:
            if operation_name not in operations:
                yield source.finding(
                    ("capability", name, "operations"),
                    f"capability {name}: unknown operation {operation_name!r}",
                    nearest(operation_name, operations),
                )
            elif (known := estate.operation.get(operation_name)) and known.provides != name:
                yield source.finding(
                    ("capability", name, "operations"),
                    f"capability {name}: {operation_name} provides {known.provides!r}",
                )
    for verb in CAPABILITIES.values():
        providers = [n for n, o in estate.operation.items() if verb.writes and o.provides == verb.name]
        for extra in providers[1:]:
            yield source.finding(
                ("operation", extra, "provides"),
                f"operation {extra}: {verb.name} is a write and {providers[0]} provides it already; only one system may",
                "keep one of them",
            )
    offered = {o.provides for o in estate.operation.values()}
    for name, route in estate.route.items():
        for capability in route.capabilities:
            if capability not in offered and len(estate.operation) == len(operations):
                yield source.finding(
                    ("route", name, "capabilities"),
                    f"route {name}: nothing provides {capability!r}",
                    nearest(capability, offered),
                )
    yield from _lint_edge(estate.edge, source)
    yield from _lint_identity(estate.identity, source)
    yield from _lint_versions(estate, source)
    for name, quota in estate.quota.items():
        yield from _lint_quota(name, quota, source)
    if "standard" not in names.get("quota", set()):
        yield source.finding(
            ("quota",), 'no quota "standard"', 'add [quota.standard] policies = [{ name = "burst", requests = 50, window = "1s" }]'
        )


def _lint_edge(edge: Edge, source: Source) -> Iterator[Finding]:
    for number, proxy in enumerate(edge.trusted_proxies):
        try:
            ipaddress.ip_network(proxy)
        except ValueError as exc:
            yield source.finding(
                ("edge", "trusted_proxies", str(number)), f"edge.trusted_proxies: {exc}", 'write an address or a network: "10.1.0.0/16"'
            )
    if edge.certificate_header and not edge.trusted_proxies:
        yield source.finding(("edge", "certificate_header"), "edge.certificate_header: nobody may send it", "add trusted_proxies")
    if edge.tls is not None and bool(edge.tls.client_ca) != (edge.tls.client_certificates != "off"):
        yield source.finding(
            ("edge", "tls"), "edge.tls: client_ca and client_certificates belong together", 'client_certificates = "optional" or "required"'
        )


def _lint_identity(identity: Identity, source: Source) -> Iterator[Finding]:
    for number, issuer in enumerate(identity.issuer):
        at = ("identity", "issuer", str(number))
        local = urlsplit(issuer.url).hostname in ("localhost", "127.0.0.1", "::1")
        if issuer.url.startswith("http://") and not (issuer.insecure and local):
            yield source.finding(
                (*at, "url"), f"issuer {issuer.url}: expected https", "http is for trials on this machine, with insecure = true"
            )
        if "?" in issuer.url or "#" in issuer.url or "@" in urlsplit(issuer.url).netloc:
            yield source.finding((*at, "url"), f"issuer {issuer.url}: a user, query or fragment", "write its name and nothing else")
        if issuer.leeway > 300:
            yield source.finding((*at, "leeway"), f"issuer {issuer.url}: expected at most 5m, got more", "let its clock be set")
        if issuer.refresh < 10:
            yield source.finding((*at, "refresh"), f"issuer {issuer.url}: expected at least 10s, got less", 'write refresh = "10m"')
        if any(other.url == issuer.url for other in identity.issuer[:number]):
            yield source.finding((*at, "url"), f"issuer {issuer.url}: a second table for it", "keep one of them")
        if len(identity.issuer) > 1 and "*" in issuer.clients:
            yield source.finding(
                (*at, "clients"),
                f"issuer {issuer.url}: speaks for every client, although there are several issuers",
                'say which ones: clients = ["partner-*"]',
            )
        for word, scopes in issuer.scopes.items():
            for unknown in set(scopes) - SCOPES.keys():
                yield source.finding((*at, "scopes", word), f"issuer {issuer.url}: unknown scope {unknown!r}", nearest(unknown, SCOPES))


def brown_outs(estate: Estate) -> tuple[BrownOut, ...]:
    """As they are written. Raises ValueError for a rule that is none, ZoneInfoNotFoundError."""
    zone = ZoneInfo(estate.estate.time_zone)

    def moment(at: datetime | None) -> datetime | None:
        return at.replace(tzinfo=zone) if at is not None and at.tzinfo is None else at

    return tuple(
        BrownOut(b.version, zone, moment(b.from_), moment(b.until), Weekly.parse(b.every) if b.every else None, b.announcement)
        for b in estate.versions.brown_out
    )


def past_brown_outs(estate: Estate, now: datetime) -> Iterator[str]:
    """Entries that do nothing any more, as sentences."""
    for one in brown_outs(estate):
        if next(one.windows(now), None) is None:
            yield f"[[versions.brown_out]] of {one.version}: it is over, the entry may go"


_ADDRESS = re.compile(r"(https?://|/)[!#-;=?-~]*")
"""It stands between < and > in a header."""


def _lint_versions(estate: Estate, source: Source) -> Iterator[Finding]:
    """Whether a window is over already is no mistake: the estate must still start."""
    if estate.events.version and estate.events.version not in HISTORY.by_date:
        hint = nearest(estate.events.version, HISTORY.by_date)
        yield source.finding(("events", "version"), f"[events]: no API version {estate.events.version!r}", hint)
    known: list[BrownOut] = []
    for number, entry in enumerate(estate.versions.brown_out):
        at, who = ("versions", "brown_out", str(number)), f"brown-out of {entry.version}"
        version = HISTORY.by_date.get(entry.version)
        if version is None:
            yield source.finding((*at, "version"), f"{who}: no such API version", nearest(entry.version, HISTORY.by_date))
            continue
        if version.deprecated is None:
            hint = "deprecate it first"
            yield source.finding((*at, "version"), f"{who}: the version is not deprecated, nobody was told to leave it", hint)
            continue
        try:
            (one,) = brown_outs(msgspec.structs.replace(estate, versions=Versions(brown_out=(entry,))))
        except ValueError as exc:
            yield source.finding((*at, "every"), f"{who}: {exc}")
            continue
        except ZoneInfoNotFoundError:
            return
        if one.weekly is None and (one.since is None or one.until is None):
            yield source.finding(at, f"{who}: it has no time", 'write from and until, or every = "tue 10:00-10:15"')
            continue
        if one.since and one.until and one.since >= one.until:
            yield source.finding((*at, "until"), f"{who}: it ends before it begins")
            continue
        if one.announcement and not _ADDRESS.fullmatch(one.announcement):
            yield source.finding((*at, "announcement"), f"{who}: expected an address such as https://…, got {one.announcement!r:.60}")
        first = next(one.windows(one.since or version.deprecated), None)
        if first is None:
            yield source.finding(at, f"{who}: no window is in its time", "widen from and until, or change every")
            continue
        if first.end - first.start > LONGEST:
            yield source.finding(at, f"{who}: {first} is longer than a day", "several short ones are noticed as well and hurt less")
        if one.since and first.start < version.deprecated:
            hint = f"it may begin on {version.deprecated:%Y-%m-%d}"
            yield source.finding(at, f"{who}: {first} is before its deprecation, nobody was told", hint)
        if version.sunset and first.start >= version.sunset:
            yield source.finding(at, f"{who}: {first} is after its sunset, it is off by then", f"before {version.sunset:%Y-%m-%d %H:%M}")
        for other in known:
            if other.version == one.version and (shared := overlap(one, other, one.since or version.deprecated)):
                yield source.finding(at, f"{who}: {shared} overlaps another one", "keep one of them")
        known.append(one)


def _lint_quota(name: str, quota: Quota, source: Source) -> Iterator[Finding]:
    costs = quota.costs
    if (dearest := max(costs.upstream, costs.write)) and costs.cached > min(costs.upstream, costs.write):
        at, hint = ("quota", name, "costs", "cached"), "an answer from memory is the cheapest"
        yield source.finding(at, f"quota {name}: an answer from memory costs {costs.cached}, more than a call of a system", hint)
    for number, policy in enumerate(quota.policies):
        at, who = ("quota", name, "policies", str(number)), f"quota {name}: policy {policy.name!r}"
        if policy.name in [p.name for p in quota.policies[:number]]:
            yield source.finding(at, f"{who} is declared twice", "callers tell policies apart by their names")
        if policy.window < 1:
            hint = f'requests = {max(1, round(policy.requests / policy.window))}, window = "1s"'
            yield source.finding(at, f"{who}: a window shorter than a second cannot be told to callers", hint)
        elif policy.window > MOST_WINDOW:
            yield source.finding(at, f"{who}: a window longer than 31 days", "several policies may hold at once: a daily one, for example")
        if policy.requests < dearest:
            hint = f"requests = {dearest} or more, or a smaller cost"
            yield source.finding(at, f"{who}: a call may cost {dearest}, more than the {policy.requests} that it allows at once", hint)
        if name == "anonymous" and "store" in policy.per:
            yield source.finding(at, f"{who}: callers without credentials act for no store", 'per = "client" counts by address')
        for other in quota.policies:
            same = (policy.per, policy.routes, policy.enforce) == (other.per, other.routes, other.enforce)
            if same and policy.requests > other.requests and policy.requests * other.window > other.requests * policy.window:
                hint = f"{other.name!r} allows less at once and less in the long run: change one of them, or remove this"
                yield source.finding(at, f"{who} is never reached", hint)
    if name != "anonymous" and all("store" in p.per for p in quota.policies):
        hint = 'add a policy with per = "client": who names another store with each call would have no limit'
        yield source.finding(("quota", name), f"quota {name}: all its policies count by store", hint)


def _lint_steps(name: str, operation: Operation, capability: Capability[Any, Any] | None, source: Source) -> Iterator[Finding]:
    at, calls = ("operation", name), operation.called(name)
    if not operation.steps:
        if operation.commits:
            yield source.finding((*at, "commits"), f"operation {name}: commits says nothing without steps", "remove it")
        return
    if operation.mode == "file":
        yield source.finding((*at, "steps"), f"operation {name}: a feed calls nothing", "remove steps")
    for key in ("calls", "request"):
        if getattr(operation, key):
            yield source.finding((*at, key), f"operation {name}: {key} beside steps", f"each step has {key} of its own")
    if operation.commits and capability is not None and not capability.writes:
        yield source.finding((*at, "commits"), f"operation {name}: {capability.name} only reads, nothing is committed", "remove commits")
    elif operation.commits and operation.commits not in calls:
        hint = nearest(operation.commits, calls)
        yield source.finding((*at, "commits"), f"operation {name}: commits names no step: {operation.commits!r}", hint)
    for number, step in enumerate(operation.steps):
        place = (*at, "steps", str(number))
        if step.calls in calls[:number]:
            hint = "each = … makes one call for every element of a list"
            yield source.finding((*place, "calls"), f"operation {name}: a second step calls {step.calls}", hint)
        if step.each and capability is not None and element(capability, step.each) is None:
            lists = [f for f in capability.request.__struct_fields__ if element(capability, f)]
            message = f"operation {name}: {capability.request.__name__} has no list {step.each!r}"
            yield source.finding((*place, "each"), message, nearest(step.each, lists) or "it has none")
        if step.each and step.keep:
            yield source.finding(
                (*place, "keep"), f"operation {name}: of a call for each of several nothing is kept", "remove keep or each"
            )
        if step.each and number == len(calls) - 1:
            yield source.finding(
                (*place, "each"), f"operation {name}: the last call is made once, its answer is the operation's", "move it up"
            )


def element(capability: Capability[Any, Any], name: str) -> type[msgspec.Struct] | None:
    """What a list of the capability's request holds."""
    hint = typing.get_type_hints(capability.request).get(name)
    held = get_args(hint)[0] if get_origin(hint) is tuple else None
    return held if isinstance(held, type) and issubclass(held, msgspec.Struct) else None


def _lint_freshness(name: str, operation: Operation, source: Source) -> Iterator[Finding]:
    freshness, at = operation.policy.freshness, ("operation", name, "policy", "freshness")
    for key in ("stale_while_revalidate", "stale_if_error"):
        if 0 < getattr(freshness, key) <= freshness.max_age:
            message = f"operation {name}: {key} says nothing, for it ends before max_age does"
            yield source.finding((*at, key), message, "both count from when an answer was read: make it longer, or remove it")


def _lint_batch(name: str, operation: Operation, capability: Capability[Any, Any], source: Source) -> Iterator[Finding]:
    batch, at = operation.policy.batch, ("operation", name, "policy", "batch")
    if capability.keys is None:
        if batch.size > 1:
            yield source.finding(
                at, f"operation {name}: {capability.name} is not asked by keys: nothing can travel together", "remove batch"
            )
        return
    key = get_args(typing.get_type_hints(capability.request)[capability.keys])[0]
    fields = key.__struct_fields__ if isinstance(key, type) and issubclass(key, msgspec.Struct) else ()
    if batch.same and batch.same not in fields:
        hint = nearest(batch.same, fields) or "remove same: its keys are single values"
        yield source.finding((*at, "same"), f"operation {name}: the keys of {capability.name} have no field {batch.same!r}", hint)


def resolve(value: str, environment: Mapping[str, str] = os.environ) -> str:
    """A setting or reference to its value: `env:NAME`, `env:NAME|default`, `file:PATH`, or itself. Raises LookupError."""
    if value.startswith("env:"):
        name, bar, default = value[4:].partition("|")
        if name in environment:
            return environment[name]
        if bar:
            return default
        raise LookupError(f"environment variable {name} is not set")
    if value.startswith("file:"):
        try:
            with Path(value[5:]).open("rb") as file:
                raw = file.read(MAX_SECRET_BYTES + 1)
            text = raw.decode("utf-8").strip()
        except (OSError, ValueError) as exc:
            raise LookupError(f"{value}: {exc.strerror if isinstance(exc, OSError) else 'not UTF-8 text'}") from exc
        if len(raw) > MAX_SECRET_BYTES:
            raise LookupError(f"{value}: longer than {MAX_SECRET_BYTES} bytes")
        return text
    return value


def schema() -> dict[str, Any]:
    """JSON Schema of estate.toml, so that editors complete it."""
    made = msgspec.json.schema(_written(Estate, {}))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "estate.toml"}


_WRITTEN_DURATION = Annotated[str, Meta(pattern=r"^[0-9]+(\.[0-9]{1,3})?(ms|s|m|h|d)$", examples=["800ms", "30s", "15m"])]


def _written(kind: Any, made: dict[Any, Any]) -> Any:
    """A type as it is written in TOML: durations are text, and a default that is no plain value is left out."""
    if kind is Duration:
        return _WRITTEN_DURATION
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if kind not in made:
            hints = typing.get_type_hints(kind, include_extras=True)
            fields: list[Any] = []
            for f in msgspec.structs.fields(kind):
                hint = _written(hints[f.name], made)
                if f.required:
                    fields.append((f.name, hint))
                elif isinstance(f.default, str | int):
                    fields.append((f.name, hint, f.default))
                else:
                    fields.append((f.name, hint | msgspec.UnsetType, msgspec.UNSET))
            made[kind] = msgspec.defstruct(
                kind.__name__, fields, kw_only=True, forbid_unknown_fields=True, namespace={"__doc__": kind.__doc__}
            )
        return made[kind]
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return Annotated[(_written(args[0], made), *args[1:])]
    if origin is Literal or not args:
        return kind
    inner = tuple(_written(a, made) for a in args)
    return Union[inner] if origin in (Union, types.UnionType) else origin[inner]  # noqa: UP007  # built at run time
