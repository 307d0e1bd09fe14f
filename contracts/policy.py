"""The limits around one operation: deadline, attempts, breaker, concurrency, freshness, batching. All times are seconds."""

from __future__ import annotations

import re

import msgspec

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)")


class Duration(float):
    """Seconds, written in the estate as `800ms`, `30s`, `15m`, `24h` or `7d`."""

    @classmethod
    def parse(cls, text: object) -> Duration:
        found = _DURATION.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise ValueError(f"expected a duration such as 800ms, 30s, 15m, 24h or 7d, got {text!r}")
        return cls(float(found[1]) * _UNITS[found[2]])


class Breaker(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Opens when, of at least `minimum_calls` in `window`, the share of failed or of slow calls reaches its rate; or when the last
    `minimum_calls` (10 at least) all failed.
    """

    window: Duration = Duration(30)
    minimum_calls: int = 10
    failure_rate: float = 0.5
    slow_call: Duration = Duration(5)
    slow_call_rate: float = 0.9
    open_for: Duration = Duration(10)
    trials: int = 1


class Retry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """At most `attempts` in all; `budget` is the share of extra calls that retries may cause per system."""

    attempts: int = 3
    backoff: Duration = Duration(0.05)
    backoff_max: Duration = Duration(2)
    budget: float = 0.2


class Freshness(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How old an answer may be: served from cache up to `max_age`; up to `stale_while_revalidate` served too, and read again behind the
    answer's back; instead of an error up to `stale_if_error`. Of a feed of levels: a report is stale beyond `max_age`, if that is declared.
    """

    max_age: Duration = Duration(0)
    stale_while_revalidate: Duration = Duration(0)
    stale_if_error: Duration = Duration(0)


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keyed reads that arrive within `linger` travel as one call of at most `size` keys.

    `same`: a field of the key, where one call takes many keys but only one value of that field (prices of one location).
    """

    size: int = 1
    linger: Duration = Duration(0.002)
    same: str = ""


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    deadline: Duration = Duration(5)
    """Limit of one attempt; the caller's own deadline may be shorter."""
    idempotent: bool | None = None
    """Whether the system may receive the call twice without harm; only then is it retried. Unsaid: reads may, writes may not."""
    concurrency: int = 32
    queue: int = 256
    retry: Retry = Retry()
    breaker: Breaker = Breaker()
    freshness: Freshness = Freshness()
    batch: Batch = Batch()
