"""Each server answers in its own language: what the other tests build on."""

import asyncio
from pathlib import Path

import asyncpg
import pika
import pytest
import redis.asyncio
from pika.adapters.asyncio_connection import AsyncioConnection
from playwright.async_api import async_playwright

from tests.servers import chromium
from tests.servers.process import ServerMissing, child, free_port


async def test_postgres_answers_a_query_in_utc_capable_utf8(postgres_dsn: str) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    try:
        assert await connection.fetchval("select 'Grüße ' || (6 * 7)") == "Grüße 42"
        assert connection.get_server_version().major >= 15
    finally:
        await connection.close()


async def test_fresh_postgres_database_is_empty_and_its_own(fresh_postgres_dsn: str, postgres_dsn: str) -> None:
    assert fresh_postgres_dsn != postgres_dsn
    connection = await asyncpg.connect(fresh_postgres_dsn)
    try:
        assert await connection.fetchval("select count(*) from pg_tables where schemaname = 'public'") == 0
    finally:
        await connection.close()


async def test_valkey_runs_a_script(valkey_url: str) -> None:
    async with redis.asyncio.from_url(valkey_url) as client:
        assert await client.eval("return redis.call('INCR', KEYS[1]) + 41", 1, "servers:n") == 42


async def test_rabbitmq_opens_a_connection_and_declares_a_quorum_queue(amqp_url: str) -> None:
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[AsyncioConnection] = loop.create_future()
    declared: asyncio.Future[object] = loop.create_future()
    closed: asyncio.Future[object] = loop.create_future()
    connection = AsyncioConnection(
        pika.URLParameters(amqp_url),
        custom_ioloop=loop,
        on_open_callback=opened.set_result,
        on_open_error_callback=lambda _, error: opened.set_exception(RuntimeError(repr(error))),
        on_close_callback=lambda _, reason: closed.set_result(reason),
    )
    async with asyncio.timeout(20):
        await opened
        channel = connection.channel(
            on_open_callback=lambda ch: ch.queue_declare(
                "servers", durable=True, arguments={"x-queue-type": "quorum"}, callback=declared.set_result
            )
        )
        await declared
        channel.queue_delete("servers")
        connection.close()
        await closed


async def test_chromium_renders_a_page(chromium_path: Path) -> None:
    async with async_playwright() as play:
        browser = await play.chromium.launch(executable_path=chromium_path, args=list(chromium.ARGS))
        page = await browser.new_page()
        await page.goto("data:text/html,<h1>till</h1><script>document.title = 6 * 7</script>")
        assert await page.title() == "42"
        await browser.close()


def test_a_server_that_ends_at_once_says_so_with_its_log(tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", "echo no licence >&2; exit 3"]
    with (
        pytest.raises(ServerMissing, match=r"(?s)Till ended with 3.*no licence"),
        child("Till", command, ready=lambda: False, log=tmp_path / "log", seconds=10),
    ):
        raise AssertionError("it never became ready")


def test_free_ports_are_free() -> None:
    assert free_port() > 1024
