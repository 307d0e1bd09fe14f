"""What `why` says of real gateways under load whose systems are broken by the sandbox; of one that is started again while they are, and of
two that share a store.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from gateway.estate import Estate
from gateway.estate.tables import Store
from gateway.services.incidents import IncidentDetail, Incidents
from tests.flows.why_live import CASES, LIMIT, SKUS, WARM, all_of, line, load, names, open_incidents, until
from tests.products import ROOT, Live, no_limits, running

pytestmark = pytest.mark.slow
USUAL = ("error GetStock", "refuse whole erp", "hang GetPrices")
CASE = CASES["error GetStock"]
OVER = 210.0
"""Seconds from the end of a fault to the end of its incident: two and a half minutes without it, and those in which breakers close."""


async def why(live: Live, *arguments: str, url: bool = True) -> tuple[int, bytes]:
    """The command as people give it: its exit code and what it says."""
    environment = {**os.environ, "TILLGATE_KEY": live.keys["operator"], **({"TILLGATE_URL": live.base} if url else {})}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", "--estate", str(ROOT), "--data", str(live.data), "why", *arguments),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said


async def told_by_command(live: Live) -> None:
    """While stock cannot be read."""
    code, text = await why(live)
    assert (code, b"ERP GetStock" in text, b"owner finance-it" in text, b"Watched: " in text) == (3, True, True, True), text
    code, said = await why(live, "--json")
    (incident,) = msgspec.json.decode(said, type=Incidents).items
    code, said = await why(live, "--id", incident.id, "--right", "yes", "--note", "it was", "--json")
    detail = msgspec.json.decode(said, type=IncidentDetail)
    assert (code, [label.right for label in detail.labels], bool(detail.history)) == (3, ["yes"], True)
    assert detail.traces, "bad traces are kept with it"
    for url in (True, False):  # asked of the gateway, and of what it has written down
        code, said = await why(live, "--explain", f"{incident.incident.onset.at:%Y-%m-%dT%H:%M:%SZ}/", url=url)
        assert (code, b"GetStock" in said) == (0, True), said


def named(*gateways: Live) -> Callable[[], Awaitable[bool]]:
    async def by_all() -> bool:
        return all([any(names(i, CASE) for i in await open_incidents(live)) for live in gateways])

    return by_all


async def recovers(live: Live) -> None:
    """What is over is told to be over, and nothing else is made of it."""
    (before,) = await open_incidents(live)
    live.sandbox.faults.clear()

    async def over() -> bool:
        return not await open_incidents(live)

    assert await until(over, OVER)
    answer = await live.http.get("/admin/incidents", headers=live.auth("operator"))
    assert [(i["id"], i["state"]) for i in answer.json()["items"]] == [(before["id"], "recovered")]


async def started_again(folder: Path) -> None:
    async with running(folder, change=no_limits, skus=SKUS, work=True) as live:
        async with load(live):
            await asyncio.sleep(WARM)
            live.sandbox.faults.add(*CASE.rules)
            assert await until(named(live), LIMIT)
        (before,) = await open_incidents(live)
    async with running(folder, change=no_limits, skus=SKUS, work=True) as live:
        live.sandbox.faults.add(*CASE.rules)
        looked = live.product.detective
        async with load(live):

            async def often() -> bool:
                return looked.watch.looks >= 5

            assert await until(often, 2 * LIMIT)
            assert [i["id"] for i in await open_incidents(live)] == [before["id"]]
            await recovers(live)


async def two_with_one_store(folder: Path, dsn: str) -> None:
    def shared(estate: Estate) -> Estate:
        return msgspec.structs.replace(no_limits(estate), store=Store(url=dsn))

    for part in ("one", "two"):
        (folder / part).mkdir(parents=True)
    async with (
        running(folder / "one", change=shared, skus=SKUS, work=True) as one,
        running(folder / "two", change=shared, skus=SKUS, work=True) as two,
        load(one),
        load(two, seed=2),
    ):
        one.keys |= two.keys  # the second has made the same clients anew
        await asyncio.sleep(WARM)
        for live in (one, two):
            live.sandbox.faults.add(*CASE.rules)
        assert await until(named(one, two), LIMIT)
        assert sum(live.product.detective.watch.decides for live in (one, two)) == 1

        async def suspected() -> bool:
            return all(("erp", "GetStock") in live.product.recorder.suspected for live in (one, two))

        assert await until(suspected, LIMIT)
        assert [i["id"] for i in await open_incidents(one)] == [i["id"] for i in await open_incidents(two)]


async def test_faults_are_named_with_the_channels_they_hit_and_nobody_is_named_before(
    tmp_path: Path, deep: bool, request: pytest.FixtureRequest
) -> None:
    """Three kinds in a usual run, all of them in a nightly one, which also starts a gateway again and lets two share a store."""
    then = {CASE.name: told_by_command, **({"refuse whole erp": recovers, "hang whole erp": recovers} if deep else {})}
    verdicts = await all_of([CASES[name] for name in (CASES if deep else USUAL)], tmp_path, then=then)
    assert [v.case.name for v in verdicts if not v.right] == [], "\n" + "\n".join(map(line, verdicts))
    if deep:
        (tmp_path / "again").mkdir()
        await started_again(tmp_path / "again")
        await two_with_one_store(tmp_path / "shared", request.getfixturevalue("postgres_dsn"))
