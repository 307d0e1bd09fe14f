"""Who keeps the quotas that an estate declares."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from contracts.policy import Duration
from gateway.bootstrap.foundation import needs_restart
from gateway.bootstrap.quotas import declared, open_ledger, quotas_of
from gateway.edge.quota import MemoryQuotas, SharedQuotas
from gateway.estate import Estate, Quota, QuotaCosts, QuotaPolicy, Shared, read
from tests.fakes.ledger import MemoryLedger

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def estate() -> Estate:
    return read(ROOT)[0]


def test_a_quota_is_what_the_estate_says(estate: Estate) -> None:
    policy = QuotaPolicy(name="till", requests=5, window=Duration(60), per="store+route", routes=("write",), enforce=False)
    made = declared(replace(estate, quota={"standard": Quota(policies=(policy,), costs=QuotaCosts(cached=1, upstream=3, write=5))}))
    limit = made["standard"].limits[0]
    assert (limit.name, limit.requests, limit.window, limit.per, limit.routes, limit.enforce) == (
        *("till", 5, 60.0, "store+route"),
        ("write",),
        False,
    )
    assert (made["standard"].costs.cached, made["standard"].costs.upstream, made["standard"].costs.write) == (1, 3, 5)


def test_callers_without_credentials_have_a_limit_without_a_word_and_the_declared_one_else(estate: Estate) -> None:
    assert [(x.requests, x.window) for x in declared(estate)["anonymous"].limits] == [(60, 60.0)]
    own = Quota(policies=(QuotaPolicy(name="few", requests=5, window=Duration(60)),))
    assert [x.name for x in declared(replace(estate, quota={**estate.quota, "anonymous": own}))["anonymous"].limits] == ["few"]


def test_who_counts_stays_used_over_a_reload_also_where_a_store_is_shared(estate: Estate) -> None:
    alone = quotas_of(estate, None)
    assert isinstance(alone, MemoryQuotas)
    assert quotas_of(estate, None, alone).telling is alone.telling  # type: ignore[attr-defined]  # both are in memory
    together = quotas_of(estate, MemoryLedger(), alone)
    assert isinstance(together, SharedQuotas)
    assert together.take_now("standard", "shop", "", "read") is None


async def test_without_a_shared_store_there_is_no_ledger(estate: Estate) -> None:
    async with open_ledger(estate, {}) as ledger:
        assert ledger is None


@pytest.mark.parametrize(
    ("url", "environment", "says"),
    [
        ("env:STORE", {}, "environment variable STORE is not set"),
        ("env:STORE", {"STORE": "http://:geheim@h"}, "expected redis"),
    ],
)
async def test_a_shared_store_that_cannot_be_meant_is_told_without_its_secret(
    estate: Estate, url: str, environment: dict[str, str], says: str
) -> None:
    with pytest.raises(LookupError, match=says) as caught:
        async with open_ledger(replace(estate, shared=Shared(url=url)), environment):
            pass
    assert "geheim" not in str(caught.value)


def test_another_shared_store_waits_for_a_restart(estate: Estate) -> None:
    assert needs_restart(estate, replace(estate, shared=Shared(url="redis://there"))) == ("[shared]",)
