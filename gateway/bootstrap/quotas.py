"""The estate's quotas, and who keeps them."""

from __future__ import annotations

import time

from gateway.edge.quota import ANONYMOUS, Costs, Limit, Quota
from gateway.estate import Estate


def declared(estate: Estate) -> dict[str, Quota]:
    """Without a word about callers that have no credentials, an address may ask once a second, and 60 times at once."""
    quotas = {
        name: Quota(
            tuple(Limit(p.name, p.requests, float(p.window), p.per, p.routes, p.enforce) for p in quota.policies),
            Costs(quota.costs.cached, quota.costs.upstream, quota.costs.write),
        )
        for name, quota in estate.quota.items()
    }
    return {ANONYMOUS: Quota((Limit(ANONYMOUS, 60, 60.0),)), **quotas}


def microseconds() -> int:
    """Never goes back."""
    return time.monotonic_ns() // 1000
