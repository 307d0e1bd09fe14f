"""What the door asks about quotas, whoever keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from contracts.errors import TillgateError

ANONYMOUS = "anonymous"
"""The quota of callers without valid credentials, by address. Always declared."""


class Taken(msgspec.Struct, frozen=True, gc=False):
    """`fields`: RateLimit and RateLimit-Policy, for the answer."""

    fields: dict[str, str]
    refusal: TillgateError | None = None
    """QuotaExceeded; or, where nobody can say what is left and the estate wants it so, that."""


class Near(msgspec.Struct, frozen=True):
    """A client that has little left, or nothing."""

    quota: str
    client: str
    policy: str
    left: int
    requests: int
    refused: int
    """Of its calls, since it is watched."""
    seconds_ago: float


class Gauge(NamedTuple):
    name: str
    help: str
    labels: dict[str, str]
    value: float


class Quotas(Protocol):
    def __contains__(self, quota: str) -> bool: ...

    def take_now(
        self, quota: str, client: str, store: str, route_class: str, cost: int | None = None, *, final: bool = True
    ) -> Taken | None:
        """At once; None: the shared store has to be asked, by `take`. `cost`: else what the quota declares for an answer from memory.

        `final`: a refusal is one; else whoever asks will ask again, and it is not counted twice.
        `store`: the one that the call is about, as far as policies count by store, else "". Raises KeyError for an undeclared quota.
        """
        ...

    async def take(self, quota: str, client: str, store: str, route_class: str, cost: int | None = None) -> Taken:
        """The same, and waits for the shared store as long as the estate lets it."""
        ...

    def charge(self, quota: str, client: str, store: str, route_class: str, cost: int) -> None:
        """What a call turned out to cost beyond what was taken. Never refuses: a client in debt waits longer, by one window at most."""
        ...

    def rest(self, quota: str, route_class: str, *, reached: bool) -> int:
        """What a call costs beyond what was taken: it reached a system, or did not."""
        ...

    def cached(self, quota: str) -> int:
        """What an answer from memory costs."""
        ...

    def by_store(self, quota: str) -> bool:
        """Whether it matters which store a call is about."""
        ...

    def near(self, most: int) -> Sequence[Near]:
        """Who has least left, of those that this process has seen lately."""
        ...

    def gauges(self) -> Sequence[Gauge]:
        """Of this moment, for operators."""
        ...

    def notices(self) -> Sequence[str]:
        """What an operator should know, in sentences."""
        ...
