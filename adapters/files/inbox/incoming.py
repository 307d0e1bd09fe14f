"""An inbox: which of its files are complete, in which order, what their bytes are, and where they go afterwards. Blocks."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import BinaryIO, Final

from adapters.files.inbox.packed import Packing
from adapters.files.inbox.storage import BLOCK, Changed, Stamp, Status, Storage
from adapters.files.spec import FeedOptions

OVERSIZE: Final = 1_048_576
"""Of a file beyond the limit only so much is hashed: it is refused anyway, and must cost nothing."""
MOST_SEEN: Final = 100_000
MOST_DIGITS: Final = 15
LATEST: Final = 2.0**33
"""Seconds since 1970: servers and folders tell times of change that no calendar has."""
MOST_NAME: Final = 160
"""Bytes of a name: folders hold 255, and what stands beside a file has its name and more."""
_PART: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


@dataclass(frozen=True, slots=True)
class Arrived:
    """A complete file. `facts` are the named groups of its name."""

    path: PurePath
    name: str
    """As text, whatever bytes stand in the folder: what is no UTF-8 is escaped."""
    size: int
    digest: str
    stamp: Stamp
    modified: float
    facts: Mapping[str, str]
    oversize: bool = False
    packed: Packing = ""


@dataclass(slots=True)
class _Watched:
    stamp: Stamp
    since: float
    digest: str = ""


@dataclass(slots=True)
class Inbox:
    """Remembers what it saw between sweeps, so that quiet times are its own observation and nothing is hashed twice."""

    options: FeedOptions
    pattern: re.Pattern[str]
    storage: Storage
    clock: Callable[[], float] = time.monotonic
    refused: dict[str, str] = field(default_factory=dict)
    """Entries that bear the right name and are no files to read: name -> why."""
    _watched: dict[str, _Watched] = field(default_factory=dict)

    def matched(self, name: str) -> tuple[re.Match[str], Packing] | None:
        """What the layout says of a name, packed or not; None for the name of another feed."""
        if (found := self.pattern.fullmatch(name)) is not None:
            return found, ""
        stem, _, suffix = name.rpartition(".")
        if suffix == "gz" and (found := self.pattern.fullmatch(stem)) is not None:
            return found, "gzip"
        if suffix == "zip" and (found := self.pattern.fullmatch(stem)) is not None:
            return found, "zip"
        if self.options.archives and (found := re.fullmatch(self.options.archives, name)) is not None:
            return found, "zip"
        return None

    def sweep(self) -> Iterator[Arrived]:
        """Complete files in their order. Raises OSError when the folder cannot be read."""
        found: dict[str, Status] = {}
        marked: set[str] = set()
        refused: dict[str, str] = {}
        for name, status in self.storage.list(self.options.inbox_path):
            if self.options.complete == "marker" and name.endswith(self.options.marker) and len(marked) < MOST_SEEN:
                marked.add(name)
            if len(found) >= MOST_SEEN or self.matched(name) is None:
                continue
            if (why := status.refused or unfit(name)) or "/" in name or "\0" in name:
                if len(refused) < MOST_SEEN:
                    refused[name] = why or "a path, not a name"
            else:
                found[name] = status
        self.refused = refused
        self._watched = {name: seen for name, seen in self._watched.items() if name in found}
        for name in sorted(found, key=self._order):
            if self._complete(name, found[name].stamp, marked):
                with suppress(FileNotFoundError, Changed):
                    yield self._arrived(name)

    def _order(self, name: str) -> tuple[str, int, str]:
        """By name; where the name counts files, by store and number."""
        if not self.options.sequence.group or (found := self.matched(name)) is None:
            return "", 0, name
        facts = found[0].groupdict(default="")
        number = facts.get(self.options.sequence.group, "")
        return facts.get("store", ""), int(number) if number.isdecimal() and len(number) <= MOST_DIGITS else 0, name

    def _complete(self, name: str, stamp: Stamp, marked: set[str]) -> bool:
        now = self.clock()
        seen = self._watched.get(name)
        if seen is None or seen.stamp != stamp:
            seen = self._watched[name] = _Watched(stamp, now)
        match self.options.complete:
            case "renamed":
                return True
            case "marker":
                return name + self.options.marker in marked
            case "quiet":
                return now - seen.since >= self.options.quiet

    def waiting(self) -> float | None:
        """Seconds until the next file can have been quiet long enough; None when none is waiting."""
        if self.options.complete != "quiet":
            return None
        now = self.clock()
        due = [left for seen in self._watched.values() if (left := self.options.quiet - (now - seen.since)) > 0]
        return min(due) if due else None

    def _arrived(self, name: str) -> Arrived:
        path = self.options.inbox_path / name
        seen = self._watched[name]
        matched = self.matched(name)
        assert matched is not None  # noqa: S101  # swept names match
        size, digest = seen.stamp[2], seen.digest
        oversize = size > self.options.max_bytes
        if not digest:
            digest = seen.digest = digested(self.storage, path, seen.stamp, oversize=oversize)
        facts = {key: shown(value) for key, value in matched[0].groupdict(default="").items()}
        modified = min(max(seen.stamp[3] / 1e9, 0.0), LATEST)
        return Arrived(path, shown(name), size, digest, seen.stamp, modified, facts, oversize, matched[1])

    def open(self, file: Arrived) -> BinaryIO:
        """The content that was seen complete, or Changed."""
        return self.storage.open(file.path, file.stamp, digest=file.digest)

    def unchanged(self, source: BinaryIO, file: Arrived) -> bool:
        return self.storage.unchanged(source, file.stamp)

    # ---- afterwards -----------------------------------------------------------------------------------------------

    def archive(self, file: Arrived, store: str, business_date: str) -> PurePath | None:
        """Moves the file to archive/<business date>/<store>/. None when it is not there any more."""
        return self._move(file, self.options.archive_path / _part(business_date) / _part(store))

    def quarantine(self, file: Arrived, reason: str) -> PurePath | None:
        """Moves the file aside, with a text beside it that says why."""
        return self._move(file, self.options.quarantine_path, f"{file.name}\nsha256 {file.digest}\n{reason}\n")

    def _move(self, file: Arrived, folder: PurePath, note: str = "") -> PurePath | None:
        """The note is there before the file: whoever dies in between leaves a file that is moved again, never one without its reason."""
        self.storage.make(folder)
        target = self._free(folder, file)
        beside = target.with_name(f"{target.name}.reason.txt")
        if note:
            self.storage.write(beside, note.encode("utf-8", "backslashreplace"))
        try:
            self.storage.move(file.path, target, file.stamp)
        except (FileNotFoundError, Changed) as error:
            if note and not self.storage.exists(target):  # else another worker has just moved it there: the reason is that one's
                self.storage.remove(beside)
            if isinstance(error, Changed):
                raise
            return None
        self.storage.remove(file.path.with_name(file.path.name + self.options.marker))
        return target

    def _free(self, folder: PurePath, file: Arrived) -> PurePath:
        """The file's own name, unless another file has it already: nothing that was kept is ever overwritten."""
        target = folder / file.name
        if self._takes(target, file):
            return target
        stem, dot, suffix = file.name.rpartition(".")
        named = f"{stem}.{file.digest[:12]}.{suffix}" if dot else f"{file.name}.{file.digest[:12]}"
        candidate, count = folder / named, 1
        while not self._takes(candidate, file):
            count += 1
            candidate = folder / f"{named}.{count}"
        return candidate

    def _takes(self, candidate: PurePath, file: Arrived) -> bool:
        """Free, or the copy of this very file on another device: who made it has died before it removed the file here, or is about to."""
        if not self.storage.exists(candidate):
            return True
        try:
            there = self.storage.status(candidate)
            if there.refused or there.stamp[0] == file.stamp[0] or there.stamp[2:] != file.stamp[2:]:
                return False
            return digested(self.storage, candidate, there.stamp, oversize=file.oversize) == file.digest
        except (FileNotFoundError, Changed):
            return False


def shown(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def unfit(name: str) -> str:
    """What is wrong with a name whose file could not be kept, beside its reason and its acknowledgement."""
    return "" if len(shown(name).encode()) <= MOST_NAME else f"longer than {MOST_NAME} bytes"


def digested(storage: Storage, path: PurePath, stamp: Stamp, *, oversize: bool) -> str:
    """What identifies a content: its SHA-256; of what is beyond the limit only the beginning and the size count. Raises Changed."""
    left = most = OVERSIZE if oversize else None
    digest = hashlib.sha256()
    with storage.open(path, stamp, most=most) as source:
        while left != 0 and (block := source.read(BLOCK if left is None else min(BLOCK, left))):
            digest.update(block)
            left = None if left is None else left - len(block)
        if not storage.unchanged(source, stamp):
            raise Changed(path.name)
    return hashlib.sha256(f"{digest.hexdigest()} {stamp[2]}".encode()).hexdigest() if oversize else digest.hexdigest()


def _part(text: str) -> str:
    """A folder name from foreign text: never a path."""
    return text if _PART.fullmatch(text) and not text.endswith(".") else "unknown"
