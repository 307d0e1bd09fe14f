"""A worker that takes files in and sends their events, forked anew for every job so that it can be killed at its Nth call to the outside.

`python -m tests.flows.crash_child ESTATE INBOX` reads jobs as JSON lines and answers each: `{"ended": 0 | -9, "at": "…", "calls": n}`.
A *call to the outside* is a file-system call, a statement for the store, or something sent to or received from a server; with `database`
a change that SQLite makes to its files. With `bound` the process kills itself without warning before that call; `later` sets its clock
on, so that the claims of a dead one have ended. Without `all` those calls are not counted that leave what is outside as it is, so that a
death before them is a death before the next one: those that only look, those of SQLite until they are committed (its commits are counted
in their place), and those that only a power cut would tell.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import BuiltinFunctionType, FrameType
from typing import Any
from zoneinfo import ZoneInfo

import apsw

from adapters.broker.driver import RabbitPublisher
from adapters.broker.spec import BrokerOptions
from adapters.files.driver import FileFeed
from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from contracts.canonical.location import Location
from gateway.bootstrap import check
from gateway.bootstrap.systems import feeds
from gateway.services.clock import utc_now
from gateway.services.intake.intake import Intake
from gateway.services.relay import Relay
from mappings.language import CompiledMapping
from observability import Recorder

FILES = frozenset({
    "open", "stat", "lstat", "rename", "replace", "link", "unlink", "remove", "mkdir", "rmdir", "scandir", "listdir", "fsync",
    "fdatasync", "truncate", "ftruncate", "utime", "chmod", "write", "read", "close", "fstat", "symlink", "readlink",
})  # fmt: skip
UNSEEN = frozenset({
    "stat", "lstat", "fstat", "scandir", "listdir", "readlink", "read", "readinto", "readline", "recv", "recv_into", "recvfrom",
    "execute", "executemany", "fsync", "fdatasync",
})  # fmt: skip
OF_THE_LOOP = frozenset({"_write_to_self", "_read_from_self", "_process_self_data", "__init__"})
LIMIT = 60.0


Feed = tuple[FileFeed, CompiledMapping]


class Zones:
    known = 1

    def of(self, location: str) -> ZoneInfo | None:
        return ZoneInfo("Europe/Berlin")

    def location(self, number: str) -> Location | None:
        return None


def outside(frame: FrameType, called: Any) -> str:
    """What kind of call to the outside this is; empty: none."""
    if not isinstance(called, BuiltinFunctionType) or frame.f_code.co_filename.startswith("<frozen"):
        return ""
    name, owner = called.__name__, called.__self__
    if isinstance(owner, io.FileIO | io.BufferedReader | io.BufferedWriter):
        return f"file {name}" if name in FILES or name in ("readinto", "flush", "readline") else ""
    if isinstance(owner, socket.socket):
        return f"network {name}" if name.startswith(("send", "recv", "connect")) and frame.f_code.co_name not in OF_THE_LOOP else ""
    if isinstance(owner, apsw.Connection):
        return f"store {name}" if name in ("execute", "executemany", "close") else ""
    if getattr(owner, "__name__", "") in ("posix", "_io"):
        return f"file {name}" if name in FILES else ""
    return ""


class Watched:
    """Counts, and kills at `bound`; before that it writes to `tell` where that was."""

    def __init__(self, bound: int, tell: int) -> None:
        self._bound, self._tell, self._reached = bound, tell, 0
        self._lock = threading.RLock()  # a commit is met inside what Python calls

    def python(self, *, every: bool) -> None:
        """Counts what Python calls."""
        if not every:
            apsw.connection_hooks.append(lambda connection: connection.set_commit_hook(self.commit))

        def count(frame: FrameType, event: str, argument: object) -> None:
            if event == "c_call" and (kind := outside(frame, argument)) and (every or kind.partition(" ")[2] not in UNSEEN):
                self.point(kind)

        threading.setprofile(count)
        sys.setprofile(count)

    def commit(self) -> bool:
        self.point("store commit")
        return False

    def database(self) -> None:
        """Counts what SQLite does to its files."""
        self._disk = Disk(self.point)  # SQLite forgets a file system that nobody holds

    def point(self, kind: str) -> None:
        with self._lock:
            self._reached += 1
            if self._reached == self._bound:
                os.write(self._tell, json.dumps({"at": kind, "calls": self._reached}).encode())
                os.kill(os.getpid(), signal.SIGKILL)


class Disk(apsw.VFS):
    """The file system as SQLite sees it, with a word before everything that changes it."""

    def __init__(self, point: Callable[[str], None]) -> None:
        super().__init__("watched", "", makedefault=True)
        self.point = point

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        return Opened(self.point, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's form
        self.point("database delete")
        super().xDelete(filename, syncdir)


class Opened(apsw.VFSFile):
    def __init__(self, point: Callable[[str], None], name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        self.point = point

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802 - SQLite's name
        self.point("database write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        self.point("database sync")
        super().xSync(flags)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        self.point("database truncate")
        super().xTruncate(newsize)


async def work(inbox: Path, read: list[Feed], job: dict[str, Any]) -> None:
    """Until the inbox is empty and every event is with the broker."""
    ahead = timedelta(seconds=job["later"])

    def now() -> datetime:
        return utc_now() + ahead

    books, recorder = open_store(StoreOptions(url=job["store"])), Recorder()
    publisher = RabbitPublisher(BrokerOptions(url=job["broker"], exchange=job["exchange"]))
    await books.start()
    await publisher.start()
    intakes = []
    for feed, mapping in read:
        await feed.start()
        intakes.append((feed, Intake(feed, mapping, books, recorder, Zones(), "/crash", now=now, owner=f"worker {job['later']}")))
    relay = Relay(books.outbox, [publisher], recorder, f"relay {job['later']}", now)
    async with asyncio.timeout(LIMIT):
        swept = False
        while not swept or os.listdir(inbox):  # noqa: PTH208 - nobody else runs in this loop
            swept = True
            for _, intake in intakes:
                await intake.sweep_once()
        while await books.outbox.depth():
            await relay.drain_once()
    for feed, _ in intakes:
        await feed.close()
    await publisher.close()
    await books.close()


def child(inbox: Path, read: list[Feed], job: dict[str, Any], tell: int) -> int:
    os.dup2(2, 1)  # answers are the parent's to give
    if job["bound"]:
        watched = Watched(job["bound"], tell)
        watched.database() if job["database"] else watched.python(every=job["all"])
    try:
        asyncio.run(work(inbox, read, job))
    except BaseException:
        sys.setprofile(None)
        os.write(tell, json.dumps({"at": traceback.format_exc()[-4000:], "calls": 0}).encode())
        return 1
    return 0


def main(estate: Path, inbox: Path) -> None:
    read = list(feeds(check(estate), {"TILLGATE_POS_INBOX": str(inbox)}))
    for line in sys.stdin:
        hear, tell = os.pipe()
        if not (pid := os.fork()):
            os._exit(child(inbox, read, json.loads(line), tell))
        os.close(tell)
        _, status = os.waitpid(pid, 0)
        with os.fdopen(hear, "rb") as said:
            told = said.read()
        found = {"ended": os.waitstatus_to_exitcode(status), **(json.loads(told) if told else {"at": "", "calls": 0})}
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
