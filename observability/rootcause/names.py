"""Names in foreign telemetry, brought to what they name: replicas become their service, numbers in operations become `{}`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

Renames = Sequence[tuple[re.Pattern[str], str]]

_REPLICA = re.compile(
    r"(?<=[a-z0-9])(?:"
    r"-[a-f0-9]{7,10}-[a-z0-9]{5}"  # a pod of a deployment
    r"|-[a-z0-9]{5}(?<=[0-9][a-z]{4}|[a-z][0-9][a-z]{3}|[a-z]{2}[0-9][a-z]{2}|[a-z]{3}[0-9][a-z]|[a-z]{4}[0-9])"  # of a daemon set
    r"|[-_.@][a-f0-9]{12,64}"  # a container
    r")$",
    re.IGNORECASE,
)
_ORDINAL = re.compile(r"(?<=[a-z0-9])[-_.](?:instance|replica|pod)?[-_.]?[0-9]{1,3}$", re.IGNORECASE)
"""Of a stateful set, unless it numbers services."""
_PADDED = re.compile(r"[-_.]0[0-9]+$")
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_IDENTIFIER = re.compile(r"(?<![A-Za-z0-9])(?=[0-9a-zA-Z]*[0-9])[0-9a-fA-F]{6,}(?![A-Za-z0-9])|(?<![A-Za-z])[0-9]+(?![A-Za-z])")
_SPLIT = re.compile(r"^(.+?)(?:_|/|:)(.+)$")
_PARTS = frozenset((
    "api", "app", "backend", "cache", "client", "consumer", "database", "db", "frontend", "gateway", "kafka", "mariadb", "memcached",
    "mongo", "mongodb", "mysql", "postgres", "postgresql", "producer", "proxy", "queue", "rabbitmq", "redis", "server", "service", "svc",
    "web", "worker",
))  # fmt: skip
"""Endings that belong to a service's own name: `user_db` is no operation of `user`."""


def services(
    found: Iterable[str], renames: Renames = (), peers: Iterable[str] = (), *, calls: Iterable[tuple[str, str]] = ()
) -> dict[str, tuple[str, str]]:
    """Name as written -> (service, operation that was part of the name or ""), for services and for peers that only calls name.

    `renames` decide first; a name that none of them matches loses the suffix of its replica, and is split at `_`, `/` or `:` when what
    stands before is a service itself or has at least two endings. Numbers tell replicas apart only when these do not call each other
    (`calls`, names as written) and are not all there is.
    """
    written = sorted({*found, *peers})
    renamed = {name: new for name in written if (new := _renamed(name, renames)) is not None}
    plain = {name: renamed.get(name) or _REPLICA.sub("", name.strip()) or name for name in written}
    base = {name: _ORDINAL.sub("", plain[name]) or plain[name] for name in written if name not in renamed}
    numbered = {base[a] for a, b in calls if a in base and b in base and base[a] == base[b] and plain[a] != plain[b]}
    if len(base) > 1 and len(set(base.values())) == 1:
        numbered.update(base.values())
    padded = {base[name] for name in base if _PADDED.search(plain[name])}
    if numbered & padded:  # who numbers services like that numbers all of them: docker_001, db_003
        numbered |= padded
    plain |= {name: whole for name, whole in base.items() if whole not in numbered}
    known = set(plain.values())
    endings: defaultdict[str, set[str]] = defaultdict(set)
    for name in known:
        if match := _SPLIT.match(name):
            endings[match[1]].add(match[2])
    prefixes = {prefix for prefix, several in endings.items() if len(several) >= 2 and not any(map(_of_a_name, several))}
    if len({match[1] if (match := _SPLIT.match(name)) and match[1] in prefixes else name for name in known}) < 3:
        prefixes = set()  # what nearly all names begin with is the name of the estate
    result = {}
    for name in written:
        match = _SPLIT.match(plain[name])
        split = match and name not in renamed and not _of_a_name(match[2]) and (match[1] in known or match[1] in prefixes)
        result[name] = (match[1], match[2]) if match and split else (plain[name], "")
    return result


def _of_a_name(ending: str) -> bool:
    """Whether what stands behind the `_` is more of a service's name (`user_db`, `ts_order_service`, `node_17`) and no operation."""
    return ending.isdecimal() or re.split(r"[-_/:.]", ending.casefold())[-1] in _PARTS


def operation(name: str, renames: Renames = ()) -> str:
    """An operation without what changes from call to call: query strings, numbers, UUIDs and hexadecimal identifiers."""
    renamed = _renamed(name, renames)
    if renamed is not None:
        return renamed
    return _IDENTIFIER.sub("{}", _UUID.sub("{}", name.partition("?")[0][:200].strip()))


def _renamed(name: str, renames: Renames) -> str | None:
    for pattern, replacement in renames:
        if pattern.search(name):
            return pattern.sub(replacement, name)
    return None
