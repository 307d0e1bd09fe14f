"""RabbitMQ: Debian's server as a node of its own, with its own port mapper, never the packaged service."""

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.servers.process import ServerMissing, accepts, child, free_port

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the one on PATH insists on root or the rabbitmq user


@contextlib.contextmanager
def running(scratch: Path, port: int = 0, stop: signal.Signals = signal.SIGTERM) -> Iterator[str]:
    """Yields the URL of a broker, guest on the vhost /. It is empty, unless the one that was here on the same port has ended."""
    epmd = shutil.which("epmd")
    if not SERVER.exists() or not epmd:
        raise ServerMissing(
            "RabbitMQ is missing: run ./test as root, or install it:  sudo apt-get install --no-install-recommends rabbitmq-server"
        )
    port, distribution, mapper = port or free_port(), free_port(), free_port()
    (scratch / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\ndisk_free_limit.absolute = 1MB\n")
    (scratch / "enabled_plugins").write_text("[].\n")
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(scratch),
        "LANG": "C.UTF-8",
        "ERL_EPMD_PORT": str(mapper),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"tillgate{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(scratch / "mnesia"),
        "RABBITMQ_LOG_BASE": str(scratch / "logs"),
        "RABBITMQ_CONFIG_FILE": str(scratch / "rabbitmq"),
        "RABBITMQ_CONF_ENV_FILE": str(scratch / "no-env.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(scratch / "enabled_plugins"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}",
    }
    with (
        child("epmd", [epmd], ready=lambda: accepts(mapper), log=scratch / "epmd.log", seconds=10, env=env),
        child(
            "RabbitMQ",
            [SERVER],
            ready=lambda: accepts(port, b"AMQP\x00\x00\x09\x01", b"\x01\x00\x00"),
            log=scratch / "log",
            seconds=90,
            env=env,
            stop=stop,
        ),
    ):
        yield f"amqp://guest:guest@127.0.0.1:{port}/%2F"
