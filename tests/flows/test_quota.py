"""Quotas that several processes grant from together are those of the policy: nothing lost, nothing granted twice."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import pytest

from tests.products import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.server]
PROCESSES, CLIENTS = 4, 64


@pytest.mark.timeout(900)
async def test_four_processes_grant_what_the_policy_says_to_sixty_four_clients_at_once(
    valkey_url: str, deep: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    requests = 10_000 if deep else 400
    burst = requests * 3 // 10
    window = burst / 3.0  # three more each second: what comes back while they ask counts, but is not most of it
    processes = [await worker(valkey_url, requests // PROCESSES, burst, window) for _ in range(PROCESSES)]
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
