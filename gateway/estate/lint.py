"""What must agree between the tables of an estate."""

from __future__ import annotations

import ipaddress
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfoNotFoundError

import msgspec

from contracts.errors import Finding
from contracts.ports import CAPABILITIES, FED, PUBLISHED, Capability
from contracts.suggestion import nearest
from contracts.versions import HISTORY
from gateway.edge.brown_out import LONGEST, BrownOut, overlap
from gateway.edge.identity.scopes import SCOPES
from gateway.estate.announced import brown_outs
from gateway.estate.source import Source
from gateway.estate.tables import CHANNELS, Edge, Estate, Identity, Operation, Quota, Versions

MOST_WINDOW = 31 * 86_400


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
        files, outbound = operation.mode in ("file", "outbound"), operation.mode == "outbound"
        if system_entry and files != (system_entry.protocol == "files"):
            yield source.finding(
                (*at, "mode"),
                f"operation {name}: mode {operation.mode!r} over protocol {system_entry.protocol!r}",
                'a files system has mode = "file" or "outbound", no other has',
            )
        if outbound != (operation.provides in PUBLISHED) and operation.provides in CAPABILITIES:
            hint = f'mode = "outbound" goes with {" or ".join(PUBLISHED)}'
            yield source.finding((*at, "mode"), f"operation {name}: mode {operation.mode!r} provides {operation.provides}", hint)
        if (operation.mode == "file") != (operation.provides in FED) and operation.provides in CAPABILITIES and not outbound:
            hint = f'mode = "file" goes with {" or ".join(FED)}'
            yield source.finding((*at, "mode"), f"operation {name}: mode {operation.mode!r} provides {operation.provides}", hint)
        if outbound and operation.answer:
            yield source.finding((*at, "answer"), f"operation {name}: what is written is not read", "remove answer")
        if not operation.answer and not outbound:
            yield source.finding(at, f"operation {name}: no answer mapping", 'add answer = "mappings/…toml"')
        provided = CAPABILITIES.get(operation.provides)
        if (outbound or not files) and not operation.requests and (provided is None or provided.request.__struct_fields__):
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
        through = {n for n, o in estate.operation.items() if o.provides in route.capabilities}
        for wrong in sorted({*through, *(n.partition(".")[0] for n in through)} & {*route.denied}):
            yield source.finding(
                ("route", name, "denied"),
                f"route {name}: {wrong!r} is denied, and provides what the route asks for",
                "take it out of `denied`, or out of what provides the capability",
            )
    yield from _lint_edge(estate.edge, source)
    yield from _lint_identity(estate.identity, source)
    yield from _lint_versions(estate, source)
    yield from _lint_webhooks(estate, source)
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
    try:
        _parts(edge.public_url)
    except ValueError as exc:
        yield source.finding(
            ("edge", "public_url"), f"edge.public_url: {exc}", "write how callers reach the gateway: https://api.example.com"
        )
    if edge.certificate_header and not edge.trusted_proxies:
        yield source.finding(("edge", "certificate_header"), "edge.certificate_header: nobody may send it", "add trusted_proxies")
    if edge.tls is not None and bool(edge.tls.client_ca) != (edge.tls.client_certificates != "off"):
        yield source.finding(
            ("edge", "tls"), "edge.tls: client_ca and client_certificates belong together", 'client_certificates = "optional" or "required"'
        )


def _parts(url: str) -> SplitResult:
    """Raises ValueError for a host or port that there cannot be."""
    parts = urlsplit(url)
    _ = parts.port
    return parts


def _lint_identity(identity: Identity, source: Source) -> Iterator[Finding]:
    for number, issuer in enumerate(identity.issuer):
        at = ("identity", "issuer", str(number))
        try:
            parts = _parts(issuer.url)
        except ValueError as exc:
            yield source.finding((*at, "url"), f"issuer {issuer.url}: {exc}", "write it as its tokens name it")
            continue
        local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if issuer.url.startswith("http://") and not (issuer.insecure and local):
            yield source.finding(
                (*at, "url"), f"issuer {issuer.url}: expected https", "http is for trials on this machine, with insecure = true"
            )
        if "?" in issuer.url or "#" in issuer.url or "@" in parts.netloc:
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


_ADDRESS = re.compile(r"(https?://|/)[!#-;=?-~]*")
"""It stands between < and > in a header."""


def _lint_webhooks(estate: Estate, source: Source) -> Iterator[Finding]:
    for at, network in enumerate(estate.webhooks.networks):
        try:
            ipaddress.ip_network(network)
        except ValueError as exc:
            yield source.finding(("webhooks", "networks", str(at)), f"[webhooks]: {exc}", "write it as 10.20.0.0/16")
    if float(estate.webhooks.limit) > 20:
        yield source.finding(("webhooks", "limit"), "[webhooks]: expected a limit of at most 20s", "another process takes over after 30 s")


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
        if version.sunset and version.retired(first.start):
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
    if operation.mode in ("file", "outbound"):
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
