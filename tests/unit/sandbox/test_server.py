import asyncio
import json
import signal
import socket
import sys
import urllib.request
from pathlib import Path

import pytest

from sandbox.faults import Rule
from sandbox.server import main, start


@pytest.mark.slow
async def test_the_command_prints_one_json_line_serves_and_stops_on_sigterm(tmp_path: Path, root: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-m", "sandbox", "--root", str(tmp_path / "new"), "--seed", "5", "--json",
        cwd=root, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        found = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
        assert found["seed"] == 5
        for url in (found["control"], found["erp"]["wsdl"], found["oms"]["openapi"]):
            answer = await asyncio.to_thread(urllib.request.urlopen, url, timeout=5)
            with answer:
                assert answer.status == 200
        assert found["pos"]["inbox"] == str(tmp_path / "new" / "pos" / "inbox")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert await process.stdout.read() == await process.stderr.read() == b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.slow
async def test_the_command_ends_with_the_process_that_holds_its_standard_input(tmp_path: Path, root: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sandbox", "--root", str(tmp_path), "--stores", "1", "--skus", "1", "--json", "--with-parent",
        cwd=root, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        await asyncio.wait_for(process.stdout.readline(), 20)
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_stopping_lets_go_of_callers_that_hang_and_leaves_no_task(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    sandbox = await start(tmp_path, stores=1, skus=1)
    sandbox.faults.add(Rule("oms", "hang"))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sandbox.oms.url.rpartition(":")[2]))
    writer.write(b"GET /v2/orders HTTP/1.1\r\nHost: x\r\nX-Oms-Key: oms-demo-key\r\n\r\n")
    await asyncio.sleep(0.05)
    async with asyncio.timeout(3):
        await sandbox.stop()
        await sandbox.stop()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    assert asyncio.all_tasks() == before


async def test_a_port_that_is_taken_stops_what_had_started(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        await start(tmp_path, stores=1, skus=1, oms_port=taken.getsockname()[1])
    assert asyncio.all_tasks() == before


def test_what_the_command_cannot_do_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--root", str(tmp_path), "--stores", "1", "--skus", "1", "--erp-port", str(port)]) == 1
    assert "the sandbox can't start" in capsys.readouterr().err
    assert main(["--root", str(tmp_path), "--stores", "0"]) == 1
    assert "1-8999 stores" in capsys.readouterr().err
