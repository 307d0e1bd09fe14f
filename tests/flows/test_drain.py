"""A rolling stop under load: a process with traffic on it gets SIGTERM, and no request that it was sent fails."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from contracts.books import Client
from contracts.versions import HISTORY
from gateway.bootstrap import pepper
from gateway.bootstrap.foundation import open_books
from gateway.cli.serving import sandbox_environment
from gateway.edge.identity.keys import new_key
from sandbox.faults import Rule
from sandbox.server import start as start_sandbox
from tests.products import EVERYTHING, LOCATION, ROOT, SKU, own_estate

pytestmark = [pytest.mark.slow, pytest.mark.alone]


class Connection:
    """One that is opened anew when an answer says that it was the last."""

    def __init__(self, port: int, key: str) -> None:
        self.port, self.key = port, key
        self.ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> tuple[int, bool]:
        """Status, and whether the connection ended with it. Raises OSError, IncompleteReadError."""
        self.ends = self.ends or await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.ends
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.key}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        if last := b"connection: close" in head:
            await self.close()
        return int(head.split()[1]), last

    async def close(self) -> None:
        if self.ends is not None:
            self.ends[1].close()
            self.ends = None


async def test_a_rolling_stop_fails_no_request(tmp_path: Path) -> None:
    estate = own_estate(tmp_path / "estate")
    text = (estate / "estate.toml").read_text(encoding="utf-8")
    (estate / "estate.toml").write_text(text.replace("[edge]\n", '[edge]\ndrain = "2s"\n'), encoding="utf-8")
    async with open_books(estate, tmp_path / "data") as books:
        await books.clients.put(Client(name="c", channel="web", scopes=EVERYTHING, api_version=HISTORY.newest.date))
        key, stored = new_key("c", await pepper(books))
        await books.clients.add_key(stored)
    sandbox = await start_sandbox(tmp_path / "sandbox", 1)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", "--estate", str(estate), "--data", str(tmp_path / "data"), "serve", "--port", "0"),
        env={**os.environ, **sandbox_environment(sandbox.describe())},
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            while b"listening on" not in (line := await process.stderr.readline()):
                assert line, "it ended before it listened"
            silent = asyncio.create_task(process.stderr.read())
            port = int(line.rpartition(b":")[2])
            ready, told, lasts = True, Counter[int](), 0

            async def shop(path: str) -> None:
                nonlocal lasts
                connection = Connection(port, key)
                while ready:
                    status, last = await connection.get(path)
                    told[status] += 1
                    lasts += last
                await connection.close()

            async def balance() -> None:
                nonlocal ready
                probe = Connection(port, key)
                while ready:
                    ready = (await probe.get("/health/ready"))[0] == 200
                    await asyncio.sleep(0.1)
                await asyncio.sleep(0.5)  # what balancers need to notice
                assert (await probe.get("/health/live")) == (200, True)

            sandbox.faults.add(Rule(system="erp", kind="slow", operation="GetStock", seconds=0.3))
            paths = [f"/products/{SKU}"] * 3 + [f"/inventory?sku={SKU}&location={LOCATION}"] * 3
            shoppers = [asyncio.create_task(shop(path)) for path in paths]
            balancer = asyncio.create_task(balance())
            await asyncio.sleep(1)
            process.send_signal(signal.SIGTERM)
            await balancer
            await asyncio.gather(*shoppers)
            assert set(told) == {200}
            assert lasts >= 1, "while it drains, an answer is the last of its connection"
            late = Connection(port, key)
            assert await late.get(f"/products/{SKU}") == (200, True), "who has not noticed yet is still answered"
            assert await process.wait() in (0, -signal.SIGTERM)
            with pytest.raises(OSError):
                await late.get(f"/products/{SKU}")
            await silent
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await sandbox.stop()
