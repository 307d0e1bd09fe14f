"""Quotas that several processes grant from together are those of the policy: nothing lost, nothing granted twice."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from contracts.policy import Duration
from gateway.edge.quota.shared import WhenUnreachable
from gateway.estate import Estate, Quota, QuotaPolicy, Shared
from tests.products import ROOT, Live, running
from tests.servers import valkey
from tests.servers.process import free_port

pytestmark = [pytest.mark.slow, pytest.mark.server]
PROCESSES, CLIENTS = 4, 64


@pytest.mark.timeout(900)
async def test_four_processes_grant_what_the_policy_says_to_sixty_four_clients_at_once(
    valkey_url: str, deep: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    requests = 10_000 if deep else 400
    burst = requests * 3 // 10
    window = burst / 3.0  # three more each second: what comes back while they ask counts, but is not most of it
    processes = await asyncio.gather(*(worker(valkey_url, requests // PROCESSES, burst, window) for _ in range(PROCESSES)))
    for process in processes:
        assert process.stdin
        process.stdin.write(b"go\n")
    began = time.time()
    told = [json.loads(out.splitlines()[-1]) for out, _ in await asyncio.gather(*(process.communicate() for process in processes))]
    seconds, granted, allowed = time.time() - began, [], []
    for number in range(CLIENTS):
        granted.append(sum(each["granted"][number] for each in told))
        allowed.append(burst + 3 * (max(each["last"][number] for each in told) - min(each["began"] for each in told)))
    off = [have / may - 1 for have, may in zip(granted, allowed, strict=True)]
    with capsys.disabled():
        calls, cpu = CLIENTS * requests, sum(each["cpu"] for each in told) / PROCESSES * 1e6
        sys.stdout.write(f"\n{calls} calls in {seconds:.1f} s, {cpu:.1f} us of CPU each; granted {min(off):+.3%} to {max(off):+.3%}\n")
    assert sum(each["alone"] for each in told) == 0
    assert all(have <= may + PROCESSES for have, may in zip(granted, allowed, strict=True))
    assert all(have >= may * 0.995 - 1 for have, may in zip(granted, allowed, strict=True))


async def worker(url: str, requests: int, burst: int, window: float) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        Path(__file__).with_name("quota_worker.py"),
        *(url, f"flow {requests} {os.getpid()}", str(CLIENTS), str(requests), str(burst), str(window)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout
    while (said := await process.stdout.readline()) != b"ready\n":
        assert said, "it ended before it was ready"
    return process


@pytest.mark.parametrize(
    ("choice", "meanwhile", "told"),
    [
        # two of six were used: of a share of three one is, and two are left
        ("local", {200: 2, 429: 6}, "this process grants one part of 2 of each quota by itself"),
        ("open", {200: 8}, "calls pass uncounted"),
        ("closed", {503: 8}, "no call passes"),
    ],
)
async def test_while_the_store_is_killed_the_declared_choice_holds_and_operators_are_told(
    tmp_path: Path, choice: WhenUnreachable, meanwhile: dict[int, int], told: str
) -> None:
    port = free_port()
    shared = Shared(url=f"redis://127.0.0.1:{port}/0", when_unreachable=choice, processes=2, limit=Duration(2))
    six = Quota(policies=(QuotaPolicy(name="hourly", requests=6, window=Duration(3600)),))

    def declared(estate: Estate) -> Estate:
        return msgspec.structs.replace(estate, shared=shared, quota={**dict.fromkeys(estate.quota, six)})

    with ExitStack() as first, ExitStack() as second:
        first.enter_context(valkey.running(folder(tmp_path, "first"), port=port))
        async with running(folder(tmp_path, "product"), change=declared) as live:
            assert await asked(live, 2) == {200: 2}
            assert await gauge(live, "tillgate_quota_shared") == 1
            first.close()
            assert await asked(live, 8) == meanwhile
            assert await gauge(live, "tillgate_quota_shared") == 0
            assert await gauge(live, "tillgate_quota_alone") >= 8
            seen = (await live.http.get("/admin/quotas", headers=live.auth("operator"))).json()
            assert told in seen["notices"][0]
            assert [(each["client"], each["left"]) for each in seen["near"]] == ([("demo-web", 0)] if choice == "local" else [])
            assert (await live.http.get("/health/ready")).status_code == 200
            assert (await live.http.get("/admin/clients", headers=live.auth("operator"))).status_code == 200, "whatever the choice"
            second.enter_context(valkey.running(folder(tmp_path, "second"), port=port))
            async with asyncio.timeout(20):
                while not await gauge(live, "tillgate_quota_shared"):  # noqa: ASYNC110 - seen as operators see it
                    await asyncio.sleep(0.05)
            assert await asked(live, 8) == {200: 6, 429: 2}


async def test_two_gateways_grant_together_what_one_client_may_ask(tmp_path: Path, valkey_url: str) -> None:
    shared = Shared(url=valkey_url, when_unreachable="closed", limit=Duration(5))
    forty = Quota(policies=(QuotaPolicy(name="hourly", requests=40, window=Duration(3600)),))

    def declared(estate: Estate) -> Estate:
        named = msgspec.structs.replace(estate.estate, name=f"two gateways {os.getpid()}")
        return msgspec.structs.replace(estate, estate=named, shared=shared, quota=dict.fromkeys(estate.quota, forty))

    async with (
        running(folder(tmp_path, "one"), change=declared) as one,
        running(folder(tmp_path, "other"), change=declared) as other,
    ):
        assert Counter(await asked(one, 1)) + Counter(await asked(other, 1)) == {200: 2}
        both = await asyncio.gather(*(asked(each, 10) for each in (one, other) * 4))
        assert sum(map(Counter, both), Counter()) == {200: 38, 429: 42}
        refused = await other.http.get("/locations", headers=other.auth("web"))
        assert refused.json()["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
        assert refused.headers["ratelimit-policy"] == '"hourly";q=40;w=3600'
        assert refused.headers["ratelimit"].startswith('"hourly";r=0;t=')
        assert 0 < int(refused.headers["retry-after"]) <= 90


def folder(parent: Path, name: str) -> Path:
    (made := parent / name).mkdir()
    return made


async def asked(live: Live, calls: int) -> dict[int, int]:
    """Status -> answers."""
    path = "/locations"
    return dict(Counter([(await live.http.get(path, headers=live.auth("web"))).status_code for _ in range(calls)]))


async def gauge(live: Live, name: str) -> float:
    text = (await live.http.get("/metrics", headers=live.auth("operator"))).text
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])
