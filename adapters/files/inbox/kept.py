"""What becomes of a folder's files afterwards: found again, brought back, removed when their time is over, acknowledged. Blocks."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapters.files.spec import FeedOptions

OVERSIZE: Final = 1_048_576
"""Of a file beyond the limit only so much is hashed."""
MOST_LOOKED_AT: Final = 20_000
"""Entries of the archive that one look for a name reads."""


@dataclass(frozen=True, slots=True)
class Look:
    """What stands in the inbox under a name, and whether the feed would take it."""

    folder: str
    pattern: str
    matches: bool
    there: bool = False
    refused: str = ""
    """What it is instead of a file."""
    size: int = 0
    changed: float = 0.0
    """Seconds since it last changed."""
    wants: str = ""
    """What is still missing until it is complete."""


def look(options: FeedOptions, pattern: re.Pattern[str], name: str) -> Look:
    """Raises OSError when the folder cannot be read."""
    found = Look(str(options.inbox_path), pattern.pattern, pattern.fullmatch(name) is not None)
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        return found
    options.inbox_path.stat()
    try:
        status = (options.inbox_path / name).lstat()
    except (FileNotFoundError, OSError):
        return found
    age = max(time.time() - status.st_mtime, 0.0)
    wants, refused = "", ""
    if not stat.S_ISREG(status.st_mode):
        refused = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "a folder" if stat.S_ISDIR(status.st_mode) else "a device or pipe"
    elif options.complete == "marker" and not os.path.lexists(options.inbox_path / (name + options.marker)):
        wants = f"its companion file {name}{options.marker}, which says that it is complete"
    elif options.complete == "quiet" and age < options.quiet:
        wants = f"{float(options.quiet):g} s without a change, and it changed {age:.1f} s ago"
    return Look(found.folder, found.pattern, found.matches, True, refused, status.st_size, age, wants)


def bring_back(options: FeedOptions, kept: str, names: list[str], digest: str, name: str) -> bool:
    """A file that was set aside stands in the inbox again, under its name and over no other (FileExistsError). False: it is nowhere."""
    place = _inside(options, kept) or find(options, names, digest)
    if place is None:
        return False
    target = options.inbox_path / name
    _linked(place, target)
    if options.complete == "marker":
        target.with_name(name + options.marker).touch()
    place.unlink()
    place.with_name(f"{place.name}.reason.txt").unlink(missing_ok=True)
    return True


def _linked(place: Path, target: Path) -> None:
    """Fails where there is a file already, which a rename would not. From another device it is copied first, under a hidden name."""
    try:
        os.link(place, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP):
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        part = target.with_name(f".{target.name}.part")
        shutil.copy2(place, part)
        part.rename(target)


def find(options: FeedOptions, names: list[str], digest: str) -> Path | None:
    """Where a file lies that was set aside, when the ledger does not say: under its own name, or with its digest in it."""
    for name in names:
        stem, dot, suffix = name.rpartition(".")
        named = f"{stem}.{digest[:12]}.{suffix}" if dot else f"{name}.{digest[:12]}"
        for candidate in (options.quarantine_path / named, options.quarantine_path / name):
            if candidate.is_file() and not candidate.is_symlink():
                return candidate
    return None


def _inside(options: FeedOptions, kept: str) -> Path | None:
    """The place that the ledger names, if it is one of this feed's own and holds a file."""
    place = Path(kept)
    own = any(place.is_relative_to(folder) for folder in (options.archive_path, options.quarantine_path))
    return place if kept and own and ".." not in place.parts and place.is_file() and not place.is_symlink() else None


def older(folder: Path, before: float, depth: int) -> Iterator[tuple[Path, os.stat_result]]:
    """Files that lie there since before that moment (seconds since 1970), `depth` folders down; hidden ones and notes left out."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name.endswith(".reason.txt"):
                continue
            with suppress(FileNotFoundError):
                if entry.is_dir(follow_symlinks=False):
                    if depth:
                        yield from older(Path(entry.path), before, depth - 1)
                elif entry.is_file(follow_symlinks=False) and (status := entry.stat(follow_symlinks=False)).st_ctime < before:
                    yield Path(entry.path), status


def digest_of(options: FeedOptions, place: Path) -> str | None:
    """As the inbox tells it: of what is beyond the limit only the beginning and the size count."""
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb", buffering=0) as source:
        size = os.fstat(descriptor).st_size
        if size <= options.max_bytes:
            return hashlib.file_digest(source, "sha256").hexdigest()
        return hashlib.sha256(f"{hashlib.sha256(source.read(OVERSIZE)).hexdigest()} {size}".encode()).hexdigest()


def remove(place: Path, top: Path) -> None:
    """With its note, and with the folders that it leaves empty."""
    place.unlink(missing_ok=True)
    place.with_name(f"{place.name}.reason.txt").unlink(missing_ok=True)
    here = place.parent
    with suppress(OSError):
        while here != top and here.is_relative_to(top):
            here.rmdir()
            here = here.parent


# ---- acknowledgements ---------------------------------------------------------------------------------------------


def written(folder: Path, name: str, token: str, body: bytes) -> None:
    """Whole, durable and hidden, until it is published under its name."""
    folder.mkdir(parents=True, exist_ok=True)
    with _part(folder, name, token).open("wb") as out:
        out.write(body)
        out.flush()
        os.fsync(out.fileno())
    _durable(folder)


def published(folder: Path, name: str, token: str, own: str) -> bool:
    """The one whose token counts gets its name, by whoever comes first: the hidden file goes with it, so it happens once. `own` is removed
    if it is another one. Tokens begin with the number of the claim under which the file ended, and a dash.
    """
    if own != token:
        _part(folder, name, own).unlink(missing_ok=True)
    try:
        _part(folder, name, token).rename(folder / name)
    except FileNotFoundError:
        return False
    _durable(folder)
    for left in folder.glob(f".{_literal(name)}.{token.partition('-')[0]}-*.part"):  # of workers that died before theirs could count
        left.unlink(missing_ok=True)
    return True


def _part(folder: Path, name: str, token: str) -> Path:
    return folder / f".{name}.{token}.part"


def _literal(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def _durable(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
