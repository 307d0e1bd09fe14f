"""One folder as a source of files: what is complete, what its bytes are, and where it goes afterwards. Blocks; used from named threads."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from adapters.files.spec import FeedOptions

HASH_BLOCK: Final = 1_048_576
OVERSIZE: Final = 1_048_576
"""Of a file beyond the limit only so much is hashed: it is refused anyway, and must cost nothing."""
MOST_SEEN: Final = 100_000
_PART: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")

Stamp = tuple[int, int, int, int]
"""Device, inode, size and time of change: another stamp is another file."""


class Changed(Exception):
    """The file is not the one that was seen complete: somebody writes to it still."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A complete file. `facts` are the named groups of its name."""

    path: Path
    name: str
    size: int
    digest: str
    stamp: Stamp
    modified: float
    facts: Mapping[str, str]
    oversize: bool = False


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
    clock: Callable[[], float] = time.monotonic
    refused: dict[str, str] = field(default_factory=dict)
    """Entries that bear the right name and are no files to read: name -> why."""
    _watched: dict[str, _Watched] = field(default_factory=dict)

    def sweep(self) -> Iterator[Arrived]:
        """Complete files by name. Raises OSError when the folder cannot be read."""
        found: dict[str, os.stat_result] = {}
        names: set[str] = set()
        refused: dict[str, str] = {}
        with os.scandir(self.options.inbox_path) as entries:
            for entry in entries:
                names.add(entry.name)
                if len(found) >= MOST_SEEN or self.pattern.fullmatch(entry.name) is None:
                    continue
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        found[entry.name] = status
                    else:
                        refused[entry.name] = _kind(status.st_mode)
        self.refused = refused
        self._watched = {name: seen for name, seen in self._watched.items() if name in found}
        for name in sorted(found):
            if self._complete(name, found[name], names):
                with suppress(FileNotFoundError, Changed):
                    yield self._arrived(name)

    def _complete(self, name: str, status: os.stat_result, names: set[str]) -> bool:
        now, stamp = self.clock(), _stamp(status)
        seen = self._watched.get(name)
        if seen is None or seen.stamp != stamp:
            seen = self._watched[name] = _Watched(stamp, now)
        match self.options.complete:
            case "renamed":
                return True
            case "marker":
                return name + self.options.marker in names
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
        match = self.pattern.fullmatch(name)
        assert match is not None  # noqa: S101  # swept names match
        size, digest = seen.stamp[2], seen.digest
        oversize = size > self.options.max_bytes
        if not digest:
            with opened(path, seen.stamp) as source:
                digest = _digest(source, OVERSIZE if oversize else None)
                if _stamp(os.fstat(source.fileno())) != seen.stamp:
                    raise Changed(name)
            if oversize:
                digest = hashlib.sha256(f"{digest} {size}".encode()).hexdigest()
            seen.digest = digest
        return Arrived(path, name, size, digest, seen.stamp, seen.stamp[3] / 1e9, match.groupdict(default=""), oversize)

    # ---- afterwards -----------------------------------------------------------------------------------------------

    def archive(self, file: Arrived, store: str, business_date: str) -> Path | None:
        """Moves the file to archive/<business date>/<store>/. None when it is not there any more."""
        return self._move(file, self.options.archive_path / _part(business_date) / _part(store))

    def quarantine(self, file: Arrived, reason: str) -> Path | None:
        """Moves the file aside, with a text beside it that says why."""
        target = self._move(file, self.options.quarantine_path)
        if target is not None:
            _write_whole(target.with_name(f"{target.name}.reason.txt"), f"{file.name}\nsha256 {file.digest}\n{reason}\n".encode())
        return target

    def _move(self, file: Arrived, folder: Path) -> Path | None:
        folder.mkdir(parents=True, exist_ok=True)
        target = _free(folder, file)
        try:
            if _stamp(file.path.lstat()) != file.stamp:
                raise Changed(file.name)
            try:
                file.path.replace(target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                _across(file, target)
        except FileNotFoundError:
            return None
        file.path.with_name(file.name + self.options.marker).unlink(missing_ok=True)
        return target


def opened(path: Path, stamp: Stamp) -> BinaryIO:
    """The file that was seen, or Changed: no link is followed, no device is waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Changed(path.name) from error
        raise
    source = os.fdopen(descriptor, "rb", buffering=0)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or _stamp(status) != stamp:
        source.close()
        raise Changed(path.name)
    return source


def unchanged(source: BinaryIO, stamp: Stamp) -> bool:
    return _stamp(os.fstat(source.fileno())) == stamp


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _kind(mode: int) -> str:
    for test, name in (
        (stat.S_ISLNK, "a symbolic link"), (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
    ):  # fmt: skip
        if test(mode):
            return f"{name}, not a file"
    return "not a regular file"


def _digest(source: BinaryIO, limit: int | None) -> str:
    digest, left = hashlib.sha256(), limit
    while block := source.read(HASH_BLOCK if left is None else min(HASH_BLOCK, left)):
        digest.update(block)
        if left is not None and (left := left - len(block)) <= 0:
            break
    return digest.hexdigest()


def _part(text: str) -> str:
    """A folder name from foreign text: never a path."""
    return text if _PART.fullmatch(text) and not text.endswith(".") else "unknown"


def _free(folder: Path, file: Arrived) -> Path:
    """The file's own name, unless another file has it already: nothing that was kept is ever overwritten."""
    target = folder / file.name
    if not os.path.lexists(target):
        return target
    stem, dot, suffix = file.name.rpartition(".")
    named = f"{stem}.{file.digest[:12]}.{suffix}" if dot else f"{file.name}.{file.digest[:12]}"
    candidate, count = folder / named, 1
    while os.path.lexists(candidate):
        count += 1
        candidate = folder / f"{named}.{count}"
    return candidate


def _across(file: Arrived, target: Path) -> None:
    """To another device: copied whole under a hidden name, made durable, renamed; only then is the source removed."""
    part = target.with_name(f".{target.name}.part")
    try:
        with opened(file.path, file.stamp) as source, part.open("wb") as copy:
            while block := source.read(HASH_BLOCK):
                copy.write(block)
            copy.flush()
            os.fsync(copy.fileno())
            if not unchanged(source, file.stamp):
                raise Changed(file.name)
        os.utime(part, ns=(file.stamp[3], file.stamp[3]))
        part.replace(target)
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        file.path.unlink()
    finally:
        part.unlink(missing_ok=True)


def _write_whole(path: Path, body: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(body)
    part.replace(path)
