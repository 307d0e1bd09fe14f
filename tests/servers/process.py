"""What all test servers share: a free port, a child that leaves nothing behind, and a sentence when it cannot start."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path


class ServerMissing(RuntimeError):
    """The server is not installed, or did not come up; the message says what to install or shows its log."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def accepts(port: int, hello: bytes = b"", answer: bytes = b"") -> bool:
    """Whether a listener takes `hello` and begins its reply with `answer`."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as talk:
        talk.sendall(hello)
        return not answer or talk.recv(len(answer)) == answer
    return False


@contextlib.contextmanager
def child(
    name: str,
    command: Sequence[str | Path],
    *,
    ready: Callable[[], bool],
    log: Path,
    seconds: float,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs `command` in a process group of its own until the block ends; raises ServerMissing with the log's end."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            env=env,
            cwd=log.parent,
            start_new_session=True,
            user=user,
            group=user and _group(user),
            extra_groups=[] if user else None,
        )
    try:
        until = time.monotonic() + seconds
        while not ready():
            if process.poll() is not None or time.monotonic() > until:
                tail = log.read_text(errors="replace")[-2000:]
                state = "is not ready" if process.poll() is None else f"ended with {process.returncode}"
                raise ServerMissing(f"{name} {state} after {seconds:g} s at most; the end of its log:\n{tail}")
            time.sleep(0.05)
        yield process
    finally:
        for sign in (stop, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
                break


def _group(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid
