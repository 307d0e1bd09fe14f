"""What the chaos run is made of: tills that drop files without mercy, workers that are killed, and servers and disks that fail."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from random import Random

from contracts.events import Event
from sandbox.pos.damage import How
from sandbox.pos.till import Tills
from tests.products import ROOT

DAYS = (date(2026, 3, 11), date(2026, 3, 12), date(2026, 3, 13))
QUIET = 2.0
"""Seconds after which a file that does not change is complete."""
START = 60.0
"""Seconds within which a process has started, on a busy machine too."""
SPOILT: tuple[How, ...] = ("bad_line", "unknown_enum", "wrong_total", "truncated", "wrong_encoding")


# ---- disks --------------------------------------------------------------------------------------------------------


class Disk:
    """A file system of its own that can be filled and made read-only; `busy` is held by whoever must not meet that."""

    def __init__(self, path: Path) -> None:
        self.path, self.busy = path, asyncio.Lock()

    @contextmanager
    def full(self) -> Iterator[None]:
        """To the last byte."""
        ballast = self.path / ".ballast"
        descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT)
        try:
            for size in (1 << 20, 1 << 12, 1):
                with suppress(OSError):
                    while os.write(descriptor, bytes(size)):
                        pass
            os.close(descriptor)
            yield
        finally:
            ballast.unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        self._remount("ro")
        try:
            yield
        finally:
            self._remount("rw")

    def _remount(self, mode: str) -> None:
        """Refused as long as somebody writes to a file."""
        until = time.monotonic() + 10
        while subprocess.run(["mount", "-o", f"remount,{mode}", self.path], check=False, capture_output=True).returncode:
            if time.monotonic() > until:
                raise OSError(f"{self.path} cannot be remounted {mode}")
            time.sleep(0.01)


@contextmanager
def disk(path: Path, megabytes: int) -> Iterator[Disk | None]:
    """None where this machine does not let us mount."""
    path.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", path], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        yield None
        return
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


# ---- servers and workers ------------------------------------------------------------------------------------------


class Server:
    """A real server that is stopped and started on the same port and data. `run`: until the signal it will be stopped with."""

    def __init__(self, run: Callable[[signal.Signals], AbstractContextManager[str]]) -> None:
        self._run, self._held = run, ExitStack()
        self.url = ""

    async def start(self, ends_by: signal.Signals) -> None:
        self.url = await asyncio.to_thread(self._held.enter_context, self._run(ends_by))

    async def stop(self) -> None:
        await asyncio.to_thread(self._held.close)


class Worker:
    """`tillgate work`, killed and started again."""

    def __init__(self, estate: Path, data: Path, environment: Mapping[str, str]) -> None:
        self._command = [sys.executable, "-m", "gateway.cli", "--estate", str(estate), "--data", str(data), "work"]
        self._environment, self._log = environment, data.with_suffix(".log")
        self._process: asyncio.subprocess.Process | None = None
        self._from, self._started = 0, 0.0
        self.restarts = 0
        """After a start that found the store away: such a worker says so and ends, for whoever supervises it to start it again."""

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._from, self._started = log.tell(), time.monotonic()
            self._process = await asyncio.create_subprocess_exec(*self._command, env=self._environment, cwd=ROOT, stdout=log, stderr=log)

    async def works(self) -> None:
        async with asyncio.timeout(90):
            while "broker connected" not in self.said[self._from :] and not await self.ended():  # noqa: ASYNC110 - a process says it to its log
                await asyncio.sleep(0.1)

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Its exit code."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.send_signal(number)
        async with asyncio.timeout(30):
            return await self._process.wait()

    async def ended(self) -> str:
        """By itself, with these words; empty while it lives."""
        if self._process is None or self._process.returncode is None:
            return ""
        last = self.said.rstrip().rpartition("\n")[2]
        if self._process.returncode == 1 and last.startswith("store: the server ") and time.monotonic() - self._started < START:
            self.restarts += 1
            await self.start()
            return ""
        return f"ended with {self._process.returncode}:\n{self.said[-3000:]}"

    @property
    def said(self) -> str:
        return self._log.read_bytes().decode("ascii", "replace") if self._log.exists() else ""


# ---- tills --------------------------------------------------------------------------------------------------------


@dataclass
class Content:
    """What a file holds, and what must come of it."""

    name: str
    body: bytes
    rows: int
    lost: int = 0
    """Transactions that cannot be read from it."""
    conflicts: int = 0
    names: Counter[str] = field(default_factory=Counter)
    """Under which it was dropped, and how often."""

    @property
    def refused(self) -> bool:
        return self.lost == self.rows and self.lost > 0

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


@dataclass
class Parcel:
    content: Content
    name: str
    half: bool = False


class Trade:
    """Tills write in a place of their own, which is always there; carriers bring what they wrote into the inbox, sooner or later."""

    def __init__(self, tills: Tills, stores: list[str], inbox: Disk | Path, settled: Callable[[str], bool], chance: Random) -> None:
        self.tills, self._stores, self._settled, self._chance = tills, stores, settled, chance
        self._inbox = (inbox.path if isinstance(inbox, Disk) else inbox) / "inbox"
        self._busy = inbox.busy if isinstance(inbox, Disk) else asyncio.Lock()
        self.contents: dict[str, Content] = {}
        self.files = self.refused_by_disk = 0
        self.halves: set[str] = set()
        """Contents that stood there longer than a file may without being complete: the till was held up."""
        self._parcels: asyncio.Queue[Parcel] = asyncio.Queue()
        self._later: deque[tuple[str, str, Content]] = deque()
        self._carried = 0

    async def write(self, pause: float, stop: asyncio.Event) -> None:
        """Until `stop`; then what waits for files to be settled still comes, if that takes no more than half a minute."""
        while not stop.is_set():
            self._day()
            self._sequels(5)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._chance.uniform(0, 2 * pause))
        with suppress(TimeoutError):
            async with asyncio.timeout(30):
                while self._later:
                    self._sequels(100)
                    await asyncio.sleep(0.2)

    def _sequels(self, most: int) -> None:
        for _ in range(min(len(self._later), most)):
            self._sequel(*self._later.popleft())

    def _day(self) -> None:
        store, chance = self._chance.choice(self._stores), self._chance
        self.tills.random_day(store, chance.randint(2, 14), chance.choice(DAYS))
        how = chance.choice(SPOILT) if chance.random() < 0.2 else None
        try:
            path = self.tills.write_file(store, damage=how)
        except ValueError:  # nothing in it that could be spoilt
            path, how = self.tills.write_file(store), None
        content = self._drop(path, half=chance.random() < 0.2)
        match chance.random():
            case share if share < 0.06:
                again = self.tills.damage(path, "renamed").path
                self._drop(again, content=content)
            case share if share < 0.12:
                self._drop(self.tills.damage(path, "resent").path)
            case share if share < 0.18:
                self._later.append(("again", path.name, content))
            case share if share < 0.24 and how is None:
                self._later.append(("conflict", path.name, content))

    def _sequel(self, what: str, name: str, content: Content) -> None:
        if not self._settled(name):
            self._later.append((what, name, content))
        elif what == "again":
            self._send(Parcel(content, name))
        else:
            with suppress(ValueError):
                path = self.tills.damage(name, "conflict").path
                self._drop(path, content=self._known(Content(path.name, path.read_bytes(), 1, conflicts=1)))

    def _drop(self, path: Path, *, half: bool = False, content: Content | None = None) -> Content:
        if content is None:
            rows = self.tills._files[path.name]
            lost = sum(path.name in t.damaged for t in rows)
            content = self._known(Content(path.name, path.read_bytes(), len(rows), lost))
        self._send(Parcel(content, path.name, half))
        return content

    def _known(self, content: Content) -> Content:
        return self.contents.setdefault(content.digest, content)

    def _send(self, parcel: Parcel) -> None:
        parcel.content.names[parcel.name] += 1
        self.files += 1
        self._parcels.put_nowait(parcel)

    async def carry(self) -> None:
        while True:
            parcel = await self._parcels.get()
            while True:
                try:
                    if parcel.half:
                        async with self._busy:
                            await asyncio.to_thread(self._in_halves, parcel, self._chance.uniform(0.2, 0.6))
                    else:
                        await asyncio.to_thread(self._at_once, parcel)
                    break
                except OSError:
                    self.refused_by_disk += 1
                    await asyncio.sleep(0.1)
            self._carried += 1

    @property
    def carried(self) -> bool:
        return self._carried == self.files

    def _at_once(self, parcel: Parcel) -> None:
        part = self._inbox / f".{parcel.name}.till"
        try:
            part.write_bytes(parcel.content.body)
            part.rename(self._inbox / parcel.name)
        finally:
            part.unlink(missing_ok=True)

    def _in_halves(self, parcel: Parcel, pause: float) -> None:
        """As a till that copies in place."""
        body, path, began = parcel.content.body, self._inbox / parcel.name, time.monotonic()
        first, rest = body[: len(body) // 2], body[len(body) // 2 :]
        try:
            with path.open("xb", buffering=0) as out:
                out.write(first)
                time.sleep(pause)
                if time.monotonic() - began < QUIET / 2:
                    out.write(rest)
                    return
        except OSError:
            path.unlink(missing_ok=True)
            raise
        self.halves.add(hashlib.sha256(first).hexdigest())
        path.unlink(missing_ok=True)
        self._at_once(parcel)

    def finish(self) -> int:
        """What waits for something goes without it now. Returns how many did."""
        left = len(self._later)
        self._later.clear()
        return left


# ---- who listens --------------------------------------------------------------------------------------------------


class Listener:
    """Notes every event by its id."""

    def __init__(self) -> None:
        self.events: dict[str, Event] = {}
        self.repeats = 0

    async def hear(self, event: Event) -> None:
        before = self.events.setdefault(event.id, event)
        if before is not event:
            self.repeats += 1
            assert (before.type, before.subject, before.data) == (event.type, event.subject, event.data), (
                f"one id, two contents: {event.id}"
            )


def digests(folder: Path) -> Counter[str]:
    """Of the files below, notes and hidden ones left out."""
    return Counter(
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".") and not path.name.endswith(".reason.txt")
    )


# ---- faults -------------------------------------------------------------------------------------------------------


class Storm:
    """Faults, each for a while, several kinds at once."""

    def __init__(self, faults: Mapping[str, Callable[[], AbstractAsyncContextManager[None]]], chance: Random) -> None:
        self.faults, self._chance = faults, chance
        self._busy = {name: asyncio.Lock() for name in faults}
        self.happened: Counter[str] = Counter()

    async def blow(self, plan: Iterator[str], at_once: int, longest: float, seconds: float) -> None:
        async def one() -> None:
            for name in plan:
                async with self._busy[name], self.faults[name]():
                    self.happened[name] += 1
                    await asyncio.sleep(self._chance.uniform(0.1, longest))
                await asyncio.sleep(self._chance.uniform(0, longest))
                if time.monotonic() > until:
                    return

        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(one())
