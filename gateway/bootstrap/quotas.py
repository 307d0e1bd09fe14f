"""The estate's quotas, and who keeps them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from contracts.quota import Ledger
from gateway import estate as estates
from gateway.bootstrap.systems import resolved
from gateway.edge.quota import ANONYMOUS, Costs, Limit, MemoryQuotas, Quota, Quotas, SharedQuotas
from gateway.estate import Estate


@asynccontextmanager
async def open_ledger(estate: Estate, environment: Mapping[str, str]) -> AsyncIterator[Ledger | None]:
    """None where the estate declares no shared store; one that is away is no reason not to start. Raises LookupError, OSError."""
    shared = estate.shared
    if shared.url is None:
        yield None
        return
    try:
        from adapters.valkey.driver import ValkeyLedger
        from adapters.valkey.spec import ValkeyOptions
    except ModuleNotFoundError as exc:
        raise LookupError(f"[shared] url: {exc.name} is not installed; it comes with tillgate[redis]") from exc
    try:
        options = ValkeyOptions(url=estates.resolve(shared.url, environment), limit=shared.limit, tls=resolved(shared.tls, environment))
    except ValueError as exc:
        raise LookupError(f"[shared] {exc}") from exc
    ledger = ValkeyLedger(options, estate.estate.name)
    await ledger.start()
    try:
        yield ledger
    finally:
        await ledger.close()


def quotas_of(estate: Estate, ledger: Ledger | None, before: Quotas | None = None) -> Quotas:
    """What was used of `before` stays used, as far as the limits are the same."""
    quotas = declared(estate)
    if ledger is None:
        return MemoryQuotas(quotas, microseconds, before=before if isinstance(before, MemoryQuotas) else None)
    shared, same = estate.shared, before if isinstance(before, SharedQuotas) else None
    return SharedQuotas(quotas, ledger, shared.when_unreachable, microseconds, shared.processes, same)


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
