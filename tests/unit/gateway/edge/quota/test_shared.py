"""What holds while processes cannot count together: the declared choice, from where the ledger was last seen."""

from __future__ import annotations

import pytest

from contracts.errors import QuotaExceeded, QuotaUnavailable
from contracts.quota import Costs, Limit, Quota
from gateway.edge import problems
from gateway.edge.quota import Quotas, SharedQuotas, Taken
from gateway.edge.quota.shared import REMEMBERED, WhenUnreachable
from tests.fakes.ledger import MemoryLedger

BURST = Limit("burst", 40, 40.0)


class Clock:
    def __init__(self) -> None:
        self.at = 1_000_000_000

    def __call__(self) -> int:
        return self.at


def shared(
    ledger: MemoryLedger,
    choice: WhenUnreachable = "local",
    *limits: Limit,
    clock: Clock | None = None,
    processes: int | None = None,
    before: SharedQuotas | None = None,
    costs: Costs = Costs(),  # noqa: B008 - a value
) -> SharedQuotas:
    return SharedQuotas({"q": Quota(limits or (BURST,), costs)}, ledger, choice, clock or Clock(), processes, before)


async def ask(quotas: Quotas, client: str = "shop", route_class: str = "read") -> Taken:
    return quotas.take_now("q", client, "", route_class) or await quotas.take("q", client, "", route_class)


async def granted(quotas: Quotas, calls: int, client: str = "shop") -> int:
    return sum([(await ask(quotas, client)).refusal is None for _ in range(calls)])


async def test_while_the_ledger_is_there_it_alone_decides() -> None:
    ledger = MemoryLedger(4)
    one, other = shared(ledger), shared(ledger)
    assert one.take_now("q", "shop", "", "read") is None
    assert await granted(one, 30) + await granted(other, 30) == 40
    assert one.notices() == ()
    assert one.alone == 0


async def test_alone_each_process_grants_its_share_and_says_so() -> None:
    ledger = MemoryLedger(4)
    ledger.there = False
    each = [shared(ledger) for _ in range(4)]
    assert [await granted(quotas, 30) for quotas in each] == [10, 10, 10, 10]
    assert (await ask(each[0], "other")).fields == {"ratelimit-policy": '"burst";q=10;w=40', "ratelimit": '"burst";r=9;t=4'}
    assert each[0].notices() == (
        "The shared store of quotas is away (told to be away): this process grants one part of 4 of each quota by itself.",
    )
    assert {gauge.name: gauge.value for gauge in each[0].gauges()} == {
        "tillgate_quota_refused": 20,
        "tillgate_quota_shared": False,
        "tillgate_quota_processes": 4,
        "tillgate_quota_lost": 0,
        "tillgate_quota_alone": 31,
    }


async def test_the_share_goes_on_where_the_ledger_was_last_seen() -> None:
    clock, ledger = Clock(), MemoryLedger(4)
    each = [shared(ledger, clock=clock) for _ in range(4)]
    assert [await granted(quotas, 7) for quotas in each] == [7, 7, 7, 7]
    ledger.there = False
    # of 40, 28 are used; each process knows how many had been when it asked last: 7, 14, 21, 28
    assert [await granted(quotas, 30) for quotas in each] == [8, 6, 4, 3]
    clock.at += 4_000_000
    assert [await granted(quotas, 30) for quotas in each] == [1, 1, 1, 1]


async def test_a_store_that_flickers_gives_nobody_a_fresh_share() -> None:
    ledger, clock = MemoryLedger(2), Clock()
    quotas = shared(ledger, clock=clock)
    ledger.there = False
    assert await granted(quotas, 50) == 20
    for _ in range(5):
        ledger.there, ledger.fails = True, True
        assert await granted(quotas, 5) == 0
        ledger.there, ledger.fails = False, False
        assert await granted(quotas, 5) == 0


async def test_what_another_class_of_routes_saw_earlier_takes_no_use_back() -> None:
    ledger = MemoryLedger(1)
    quotas = shared(ledger)
    assert (await ask(quotas, route_class="write")).refusal is None
    ledger.there = False
    assert await granted(quotas, 39) == 39
    assert (await ask(quotas, route_class="write")).refusal is not None


async def test_a_declared_number_of_processes_counts_more_than_the_one_that_was_seen() -> None:
    ledger = MemoryLedger(1)
    ledger.there = False
    assert await granted(shared(ledger, processes=8), 30) == 5
    assert await granted(shared(ledger, processes=1000), 30) == 1, "a share is one request at least"


async def test_a_call_that_finds_the_ledger_gone_is_decided_by_the_choice_all_the_same() -> None:
    ledger = MemoryLedger(4)
    ledger.fails = True
    assert await granted(shared(ledger), 30) == 10


async def test_open_lets_all_pass_and_tells_no_state_that_nobody_knows() -> None:
    ledger = MemoryLedger(4)
    ledger.there = False
    quotas = shared(ledger, "open")
    assert await granted(quotas, 100) == 100
    assert (await ask(quotas)).fields == {"ratelimit-policy": '"burst";q=40;w=40'}
    quotas.charge("q", "shop", "", "read", 5)
    ledger.there = True
    assert await granted(quotas, 50) == 40


async def test_closed_lets_none_pass_with_the_registered_problem() -> None:
    ledger = MemoryLedger(4)
    ledger.there = False
    refusal = (await ask(shared(ledger, "closed", BURST, Limit("next", 1, 60.0, enforce=False)))).refusal
    assert isinstance(refusal, QuotaUnavailable)
    told = problems.document(refusal, "0" * 32)
    assert told["type"] == "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
    assert told["status"] == 503
    assert list(told["violated-policies"]) == ["burst"]
    assert problems.headers(refusal)["retry-after"] == "2"


async def test_what_a_call_turns_out_to_cost_is_charged_where_it_is_counted() -> None:
    ledger = MemoryLedger(2)
    quotas = shared(ledger, costs=Costs(cached=1, upstream=20))
    quotas.charge("q", "shop", "", "read", quotas.rest("q", "read", reached=True))
    assert await granted(quotas, 50) == 21
    ledger.there = False
    assert await granted(quotas, 50, "other") == 20
    quotas.charge("q", "third", "", "read", quotas.rest("q", "read", reached=True))
    assert await granted(quotas, 50, "third") == 1


async def test_a_reload_forgets_no_use_while_the_ledger_is_away() -> None:
    ledger = MemoryLedger(4)
    ledger.there = False
    before = shared(ledger)
    assert await granted(before, 50) == 10
    after = shared(ledger, before=before)
    assert await granted(after, 50) == 0
    assert isinstance((await ask(after)).refusal, QuotaExceeded)
    assert after.alone == 101
    assert await granted(shared(ledger, "local", Limit("burst", 80, 40.0), before=before), 50) == 20


async def test_what_is_remembered_of_the_ledger_is_bounded() -> None:
    quotas = shared(MemoryLedger(4))
    for n in range(REMEMBERED + 10):
        await ask(quotas, f"{n}")
    assert len(quotas._seen) == REMEMBERED


@pytest.mark.parametrize("choice", ["local", "open", "closed"])
def test_what_is_not_declared_is_a_mistake_whoever_counts(choice: WhenUnreachable) -> None:
    ledger = MemoryLedger(1)
    ledger.there = False
    quotas = shared(ledger, choice)
    assert "q" in quotas
    assert "gold" not in quotas
    with pytest.raises(KeyError):
        quotas.take_now("gold", "shop", "", "read")
