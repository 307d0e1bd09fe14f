"""Every test of this folder runs over folders of this machine and over an SFTP server."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adapters.files.inbox.folder import Folders
from adapters.files.inbox.incoming import Arrived, Inbox
from adapters.files.inbox.sftp import Sftp
from adapters.files.inbox.storage import Storage
from adapters.files.spec import Address, SftpOptions, options
from tests.servers.sftp import PASSWORD, USER, SftpHost

PATTERN = re.compile(r"S_(?P<store>\d{4})_(?P<business_date>\d{8})(_(?P<number>\d+))?\.txt")
NAME = "S_0001_20260311.txt"


@dataclass
class Place:
    """Where files lie: `disk` is what really holds them, `inbox` what the feed calls its inbox there."""

    disk: Path
    inbox: str
    storages: Callable[[], Storage]
    """Started ones."""
    make: Callable[[], Storage]
    host: SftpHost | None = None
    clock: float = 0.0

    def drop(self, name: str = NAME, body: bytes = b"x") -> Path:
        path = self.disk / "inbox" / name
        path.write_bytes(body)
        return path

    def box(self, **given: Any) -> Inbox:
        """As one process has it."""
        storage = self.storages()
        return Inbox(options(self.inbox, {"complete": "renamed", **given}), PATTERN, storage, lambda: self.clock)

    def kept(self) -> dict[str, bytes]:
        """What lies anywhere but in the inbox, by its path."""
        return {
            str(path.relative_to(self.disk)): path.read_bytes()
            for path in sorted(self.disk.rglob("*"))
            if path.is_file() and path.parent.name != "inbox"
        }


def swept(inbox: Inbox) -> list[Arrived]:
    return list(inbox.sweep())


@pytest.fixture(params=["folder", "sftp"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    disk = tmp_path / "server"
    (disk / "inbox").mkdir(parents=True)
    opened: list[Storage] = []

    def started(storage: Storage) -> Storage:
        storage.start()
        opened.append(storage)
        return storage

    try:
        if request.param == "folder":
            yield Place(disk, str(disk / "inbox"), lambda: started(Folders()), Folders)
        else:
            with SftpHost(disk) as host:
                try:
                    yield Place(disk, "/inbox", lambda: started(sftp(host)), lambda: sftp(host), host)
                finally:
                    for storage in opened:
                        storage.close()
    finally:
        for storage in opened:
            storage.close()


def sftp(host: SftpHost, *, copies: int = 1, **given: Any) -> Sftp:
    chosen = {"host_keys": (host.public_key,), "password": PASSWORD, **given}
    return Sftp("test", Address("127.0.0.1", host.port, USER, "/inbox"), SftpOptions(**chosen), copies=copies)
