"""Where files lie, here or on a server: what an inbox needs of it. Blocks; used from named threads."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import BinaryIO, Final, Protocol

BLOCK: Final = 1_048_576

Stamp = tuple[int, int, int, int]
"""Device, inode, size and time of change in nanoseconds: another stamp is another file. Servers tell no device and no inode (0)."""


class Changed(Exception):
    """The file is not the one that was seen complete: somebody writes to it still."""


@dataclass(frozen=True, slots=True)
class Status:
    """Of an entry itself; no link is followed."""

    stamp: Stamp
    refused: str = ""
    """What it is instead of a file."""


class Storage(Protocol):
    """Raises OSError, FileNotFoundError for what is not there. Nothing here follows a link or waits for a device."""

    local: bool
    """Whether its folders are this machine's: made at the start, and watched."""

    def start(self) -> None:
        """Before anything else; asks nothing of the outside."""
        ...

    def close(self) -> None:
        """What is under way ends with an OSError."""
        ...

    def make(self, folder: PurePath) -> None:
        """With those above it; what stands already is right."""
        ...

    def list(self, folder: PurePath) -> Iterator[tuple[str, Status]]: ...

    def status(self, path: PurePath) -> Status: ...

    def exists(self, path: PurePath) -> bool: ...

    def open(self, path: PurePath, stamp: Stamp, *, digest: str = "", most: int | None = None) -> BinaryIO:
        """The file that was seen, or Changed. `digest`: of its content, where it is known; `most`: bytes of it that are enough."""
        ...

    def unchanged(self, source: BinaryIO, stamp: Stamp) -> bool:
        """Whether what was read is what was seen."""
        ...

    def move(self, path: PurePath, target: PurePath, stamp: Stamp) -> None:
        """Raises Changed for another file than the one that was seen."""
        ...

    def write(self, path: PurePath, body: bytes) -> None:
        """Whole or not at all, over what was there."""
        ...

    def remove(self, path: PurePath) -> None:
        """What is not there is removed."""
        ...


def kind(mode: int) -> str:
    """What is no regular file, in words; empty for one that is."""
    for test, name in (
        (stat.S_ISREG, ""), (stat.S_ISLNK, "a symbolic link"), (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
    ):  # fmt: skip
        if test(mode):
            return f"{name}, not a file" if name else ""
    return "not a regular file"
