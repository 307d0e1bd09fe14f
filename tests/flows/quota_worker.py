"""One process of several that grant from the same quotas: every client asks it so many times, as fast as it answers.

`python quota_worker.py URL ESTATE CLIENTS REQUESTS BURST WINDOW`; says `ready`, waits for a line, and tells what it granted as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop

from adapters.valkey.driver import ValkeyLedger
from adapters.valkey.spec import ValkeyOptions
from contracts.policy import Duration
from contracts.quota import Limit, Quota
from gateway.edge.quota import SharedQuotas


async def main(url: str, estate: str, clients: int, requests: int, burst: int, window: float) -> None:
    ledger = ValkeyLedger(ValkeyOptions(url=url, limit=Duration(60)), estate)
    await ledger.start()
    limits = Limit("burst", burst, window), Limit("day", 1_000_000, 86_400.0)
    quotas = SharedQuotas({"standard": Quota(limits)}, ledger, "closed", lambda: time.monotonic_ns() // 1000)
    granted, last = [0] * clients, [0.0] * clients

    async def client(number: int) -> None:
        for _ in range(requests):
            taken = quotas.take_now("standard", f"client {number}", "", "read")
            taken = taken or await quotas.take("standard", f"client {number}", "", "read")
            granted[number] += taken.refusal is None
        last[number] = time.time()

    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    began, cpu = time.time(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(client(number))
    cost = (time.process_time() - cpu) / (clients * requests)
    await ledger.close()
    sys.stdout.write(json.dumps({"granted": granted, "began": began, "last": last, "alone": quotas.alone, "cpu": cost}))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6]), float(sys.argv[6])))
