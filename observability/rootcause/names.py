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
    r"|[-_.](?:instance|replica|pod)?[-_.]?[0-9]{1,3}"  # of a stateful set
    r")$",
    re.IGNORECASE,
)
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_IDENTIFIER = re.compile(r"(?<![A-Za-z0-9])(?=[0-9a-zA-Z]*[0-9])[0-9a-fA-F]{6,}(?![A-Za-z0-9])|(?<![A-Za-z])[0-9]+(?![A-Za-z])")
_SPLIT = re.compile(r"^(.+?)(?:_|/|:)(.+)$")
_PARTS = frozenset((
    "api", "app", "backend", "cache", "client", "consumer", "database", "db", "frontend", "gateway", "kafka", "mariadb", "memcached",
    "mongo", "mongodb", "mysql", "postgres", "postgresql", "producer", "proxy", "queue", "rabbitmq", "redis", "server", "service", "svc",
    "web", "worker",
))  # fmt: skip
"""Endings that belong to a service's own name: `user_db` is no operation of `user`."""


def services(found: Iterable[str], renames: Renames = ()) -> dict[str, tuple[str, str]]:
    """Name as written -> (service, operation that was part of the name or "").

    `renames` decide first; a name that none of them matches loses the suffix of its replica, and is split at `_`, `/` or `:` when what
    stands before is a service itself or has at least two endings.
    """
    written = sorted(set(found))
    plain = {name: _renamed(name, renames) or _REPLICA.sub("", name.strip()) or name for name in written}
    known = set(plain.values())
    endings: defaultdict[str, set[str]] = defaultdict(set)
    for name in known:
        if match := _SPLIT.match(name):
            endings[match[1]].add(match[2])
    result = {}
    for name in written:
        match = _SPLIT.match(plain[name])
        if match and _renamed(name, renames) is None and match[2].casefold() not in _PARTS and _is_service(match[1], known, endings):
            result[name] = (match[1], match[2])
        else:
            result[name] = (plain[name], "")
    return result


def _is_service(prefix: str, known: set[str], endings: dict[str, set[str]]) -> bool:
    return prefix in known or (len(endings[prefix]) >= 2 and not any(e.casefold() in _PARTS for e in endings[prefix]))


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
