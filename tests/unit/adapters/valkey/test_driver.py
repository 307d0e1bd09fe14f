"""The ledger against a real server that is flushed, held up, cut off, full of conditions, or not there."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
import trustme

from adapters.options import Tls
from adapters.valkey.driver import ValkeyLedger, _within
from adapters.valkey.spec import ValkeyOptions
from contracts.policy import Duration
from contracts.quota import LedgerAway, Limit, Plan, Quota, plans
from tests.servers import valkey
from tests.servers.process import free_port
from tests.unit.adapters.broker.proxy import Proxy, proxied

pytestmark = pytest.mark.server
PLAN = plans({"q": Quota((Limit("burst", 100, 10.0), Limit("day", 1000, 86_400.0)))})["q"]["read"]
_names = (f"driver {n}" for n in count())


@asynccontextmanager
async def ledger(url: str, estate: str = "", limit: float = 5.0, **options: Any) -> AsyncIterator[ValkeyLedger]:
    patient = {"connect_limit": Duration(10), "backoff": Duration(0.02), "backoff_max": Duration(0.1)}
    made = ValkeyLedger(ValkeyOptions(url=url, limit=Duration(limit), **{**patient, **options}), estate or next(_names))
    await made.start()
    try:
        yield made
    finally:
        await made.close()


def through(proxy: Proxy) -> str:
    return f"redis://127.0.0.1:{urlsplit(proxy.url).port}/0"


async def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what others do is seen, not told
            await asyncio.sleep(0.01)


async def take(made: ValkeyLedger, plan: Plan = PLAN, client: str = "shop", cost: int = 1) -> bool:
    return (await made.take(plan, client, "", cost)).granted


async def test_calls_that_are_ready_together_travel_together_and_get_exactly_the_quota(valkey_url: str) -> None:
    with closing(redis.Redis.from_url(valkey_url)) as control:
        async with ledger(valkey_url) as made:
            before = control.info("stats")["total_reads_processed"]
            granted = await asyncio.gather(*(take(made) for _ in range(240)))
            reads = control.info("stats")["total_reads_processed"] - before
    assert sum(granted) == 100
    assert reads < 24


async def test_keys_name_no_client_lie_together_and_expire_by_themselves(valkey_url: str) -> None:
    estate, plan = (
        next(_names),
        plans({"q": Quota((Limit("a", 100, 1.0), Limit("b", 100, 200.0, per="store"), Limit("c", 1, 60.0)))})["q"]["read"],
    )
    with closing(redis.Redis.from_url(valkey_url, decode_responses=True)) as control:
        async with ledger(valkey_url, estate) as made:
            await made.take(plan, "Köln {x}\r\n *", "0001", 1)
            keys = control.keys(f"tillgate:{estate.replace(' ', '_')}:quota:*")
            assert len(keys) == 2
            assert len({key.partition("{")[2].partition("}")[0] for key in keys}) == 1
            assert not any("ln" in key for key in keys)
            lasts = sorted(control.pttl(key) for key in keys)
            assert 0 < lasts[0] <= 2_010
            assert 55_000 < lasts[1] <= 60_010
            await until(lambda: len(control.keys(f"tillgate:{estate.replace(' ', '_')}:quota:*")) == 1)


async def test_what_comes_back_with_time_is_told_by_the_clock_of_the_store(valkey_url: str) -> None:
    plan = plans({"q": Quota((Limit("a", 2, 1.6),))})["q"]["read"]
    async with ledger(valkey_url) as made:
        assert [await take(made, plan) for _ in range(2)] == [True, True]
        began = time.monotonic()
        while not await take(made, plan):  # noqa: ASYNC110 - the store's clock is waited for
            await asyncio.sleep(0.005)
        assert time.monotonic() - began > 0.05


async def test_a_server_that_forgot_the_scripts_gets_them_again(valkey_url: str) -> None:
    with closing(redis.Redis.from_url(valkey_url)) as control:
        async with ledger(valkey_url) as made:
            assert await take(made)
            control.script_flush()
            assert all(await asyncio.gather(*(take(made) for _ in range(20))))
            assert made.reachable


async def test_processes_are_counted_and_forgotten_when_they_say_nothing_any_more(valkey_url: str) -> None:
    estate, beat = next(_names), Duration(0.05)
    async with ledger(valkey_url, estate, beat=beat) as one:
        async with ledger(valkey_url, estate, beat=beat):
            await until(lambda: one.processes == 2)
        await until(lambda: one.processes == 1)


async def test_a_store_that_hangs_costs_its_limit_once_and_nothing_from_then_on(valkey_url: str) -> None:
    async with proxied(valkey_url) as proxy, ledger(through(proxy), limit=0.2, connect_limit=Duration(0.3)) as made:
        assert await take(made)
        proxy.hold()
        outcomes = await asyncio.gather(*(take(made) for _ in range(50)), return_exceptions=True)
        assert all(isinstance(outcome, LedgerAway) for outcome in outcomes)
        await until(lambda: not made.reachable)
        assert made.trouble == "no answer in time"
        with pytest.raises(LedgerAway, match="no answer in time"):
            await take(made)
        made.charge(PLAN, "shop", "", 5)
        assert made.lost == 1
        proxy.release()
        await until(lambda: made.reachable)
        assert await take(made)


async def test_time_in_which_our_own_loop_was_held_up_is_not_held_against_the_store(valkey_url: str) -> None:
    async with ledger(valkey_url, limit=0.25) as made:
        await take(made)

        async def hold_up() -> None:
            await asyncio.sleep(0)
            time.sleep(0.6)  # noqa: ASYNC251 - this is what is tested

        for _ in range(2):
            assert (await asyncio.gather(take(made), hold_up()))[0]


async def test_a_connection_that_was_lost_while_nobody_looked_is_no_outage(valkey_url: str) -> None:
    async with proxied(valkey_url) as proxy, ledger(through(proxy)) as made:
        for _ in range(3):
            proxy.cut()
            await asyncio.sleep(0.02)
            assert await take(made)


async def test_a_store_that_is_not_there_is_no_reason_not_to_start_and_is_found_when_it_comes(tmp_path: Path) -> None:
    port = free_port()
    async with ledger(f"redis://127.0.0.1:{port}/0", beat=Duration(0.05)) as made:
        assert not made.reachable
        assert made.trouble == "nobody listens there"
        with pytest.raises(LedgerAway):
            await take(made)
        for run in range(2):
            (folder := tmp_path / str(run)).mkdir()
            with valkey.running(folder, port=port):
                await until(lambda: made.reachable)
                assert await take(made)
            await until(lambda: not made.reachable)


async def test_more_calls_than_may_wait_are_told_at_once(valkey_url: str) -> None:
    async with proxied(valkey_url) as proxy, ledger(through(proxy), limit=0.3, waiting=10, batch=5, connections=1) as made:
        proxy.hold()
        outcomes = await asyncio.gather(*(take(made) for _ in range(40)), return_exceptions=True)
        told = [str(outcome) for outcome in outcomes if isinstance(outcome, LedgerAway)]
        assert told.count("too many calls wait for it") >= 20
        assert len(told) == 40


async def test_user_and_password_are_needed_where_the_store_wants_them_and_are_told_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with valkey.running(tmp_path, "--user", "till", "on", ">geheim", "~*", "+@all", "--user", "default", "off", answer=b"-NOAUTH") as url:
        host = urlsplit(url).netloc
        async with ledger(f"redis://till:geheim@{host}/0") as made:
            assert await take(made)
        async with ledger(f"redis://till:geheimer@{host}/0") as made:
            assert made.trouble == "user or password not accepted"
    said = capsys.readouterr()
    assert "geheim" not in said.out + said.err


async def test_a_replica_is_no_ledger(tmp_path: Path) -> None:
    with valkey.running(tmp_path, "--replicaof", "127.0.0.1", str(free_port())) as url:
        async with ledger(url) as made:
            assert made.trouble == "this server is a replica: it takes no writes"


async def test_tls_is_spoken_with_authorities_that_are_declared_and_no_others(valkey_url: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    at = urlsplit(valkey_url)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(at.hostname, at.port)
        await asyncio.gather(carry(reader, back), carry(there, writer), return_exceptions=True)

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        url = f"rediss://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        async with ledger(url, tls=Tls(ca=str(tmp_path / "ca.pem"))) as made:
            assert await take(made)
        async with ledger(url) as made:
            assert made.trouble == "no TLS connection: its certificate, or ours, is not accepted"


async def test_who_is_cancelled_while_its_time_runs_out_is_cancelled_and_does_not_go_on() -> None:
    ending = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ending.set()
            await asyncio.sleep(60)

    waiting = asyncio.create_task(_within(work(), asyncio.get_running_loop().time(), 0.02))
    await ending.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
