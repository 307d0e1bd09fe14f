"""What becomes of a folder's files afterwards: found again, brought back, removed when their time is over, acknowledged. Blocks."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from adapters.files.inbox.folder import Folders, durable
from adapters.files.inbox.incoming import digested, unfit
from adapters.files.inbox.storage import Changed, Stamp, Storage
from adapters.files.spec import FeedOptions

LONGEST: Final = 255
"""Bytes of a name that a folder can hold (NAME_MAX)."""


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


def look(storage: Storage, options: FeedOptions, pattern: str, matches: bool, name: str) -> Look:
    """Raises OSError when the folder cannot be reached."""
    found = Look(str(options.inbox_path), pattern, matches)
    if name in ("", ".", "..") or "/" in name or "\0" in name or len(name.encode(errors="replace")) > LONGEST:
        return found
    next(storage.list(options.inbox_path), None)
    try:
        status = storage.status(options.inbox_path / name)
    except FileNotFoundError:
        return found
    age, wants = max(time.time() - status.stamp[3] / 1e9, 0.0), ""
    if options.complete == "marker" and not storage.exists(options.inbox_path / (name + options.marker)):
        wants = f"its companion file {name}{options.marker}, which says that it is complete"
    elif options.complete == "quiet" and age < options.quiet:
        wants = f"{float(options.quiet):g} s without a change, and it changed {age:.1f} s ago"
    refused = status.refused.removesuffix(", not a file") or unfit(name)
    return Look(found.folder, pattern, matches, True, refused, status.stamp[2], age, wants)


def bring_back(storage: Storage, options: FeedOptions, kept: str, names: list[str], digest: str, name: str) -> bool:
    """A file that was set aside stands in the inbox again, under its name and over no other (FileExistsError). False: it is nowhere; what
    lies in its place with another content is another file."""
    place = find(storage, options, kept, names, digest)
    if place is None:
        return False
    target = options.inbox_path / name
    if storage.local:
        _linked(Path(place), Path(target))
        storage.remove(place)
    else:
        if storage.exists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        storage.move(place, target, storage.status(place).stamp)
    if options.complete == "marker":
        storage.write(target.with_name(name + options.marker), b"")
    storage.remove(place.with_name(f"{place.name}.reason.txt"))
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
        here = Folders()
        here.across(place, target, here.status(place).stamp)


def find(storage: Storage, options: FeedOptions, kept: str, names: list[str], digest: str) -> PurePath | None:
    """Where the content lies that was set aside: where the ledger says (`kept`), else under its own name or with its digest in it."""
    for place in (*_inside(options, kept), *_named(options, names, digest)):
        if digest_of(storage, options, place) == digest:
            return place
    return None


def _named(options: FeedOptions, names: list[str], digest: str) -> Iterator[PurePath]:
    for name in names:
        stem, dot, suffix = name.rpartition(".")
        yield options.quarantine_path / (f"{stem}.{digest[:12]}.{suffix}" if dot else f"{name}.{digest[:12]}")
        yield options.quarantine_path / name


def _inside(options: FeedOptions, kept: str) -> Iterator[PurePath]:
    """The place that the ledger names, if it is one of this feed's own."""
    place = PurePath(kept)
    if kept and ".." not in place.parts and any(map(place.is_relative_to, (options.archive_path, options.quarantine_path))):
        yield place


def older(storage: Storage, folder: PurePath, before: float, depth: int) -> Iterator[tuple[PurePath, Stamp]]:
    """Files that were last changed before that moment (seconds since 1970), `depth` folders down; hidden ones and notes left out."""
    with suppress(FileNotFoundError):
        for name, status in storage.list(folder):
            if name.startswith(".") or name.endswith(".reason.txt"):
                continue
            if status.refused.startswith("a folder"):
                if depth:
                    yield from older(storage, folder / name, before, depth - 1)
            elif not status.refused and status.stamp[3] / 1e9 < before:
                yield folder / name, status.stamp


def digest_of(storage: Storage, options: FeedOptions, place: PurePath) -> str | None:
    """As the inbox tells it. None: it is gone."""
    try:
        status = storage.status(place)
        return None if status.refused else digested(storage, place, status.stamp, oversize=status.stamp[2] > options.max_bytes)
    except (FileNotFoundError, Changed):
        return None


def remove(storage: Storage, place: PurePath, top: PurePath) -> None:
    """With its note and, on this machine, with the folders that it leaves empty."""
    storage.remove(place)
    storage.remove(place.with_name(f"{place.name}.reason.txt"))
    here = Path(place).parent
    with suppress(OSError):
        while storage.local and here != top and here.is_relative_to(top):
            here.rmdir()
            here = here.parent


# ---- acknowledgements ---------------------------------------------------------------------------------------------


def written(storage: Storage, folder: PurePath, name: str, token: str, body: bytes) -> None:
    """Whole, durable and hidden, until it is published under its name."""
    storage.make(folder)
    part = _part(folder, name, token)
    storage.write(part, body)
    if storage.local:
        durable(Path(part))
        durable(Path(folder))


def published(storage: Storage, folder: PurePath, name: str, token: str, own: str, *, first: bool = False) -> bool:
    """The one whose token counts gets its name, by whoever comes first: the hidden file goes with it, so it happens once. `own` is removed
    if it is another one. Tokens begin with the number of the claim under which the file ended, and a dash. `first`: nobody has tried
    before, so the folder, which may hold many, is not searched for what workers left that died over it.
    """
    if own != token:
        storage.remove(_part(folder, name, own))
    part = _part(folder, name, token)
    try:
        stamp = storage.status(part).stamp
        if not storage.local:
            storage.remove(folder / name)  # of an earlier end of this file: a server does not rename over it
        storage.move(part, folder / name, stamp)
    except FileNotFoundError:
        return False
    if storage.local:
        durable(Path(folder))
    mine = f".{name}.{token.partition('-')[0]}-"
    for left in [] if first else [n for n, _ in storage.list(folder) if n.startswith((mine, f".{mine}")) and n.endswith(".part")]:
        storage.remove(folder / left)  # of workers that died before theirs could count, or before it was whole
    return True


def _part(folder: PurePath, name: str, token: str) -> PurePath:
    return folder / f".{name}.{token}.part"
