"""Folders of this machine as a storage, network shares among them. Blocks."""

from __future__ import annotations

import errno
import filecmp
import glob
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePath
from typing import BinaryIO

from adapters.files.inbox.storage import BLOCK, Changed, Stamp, Status, kind


class Folders:
    """Fulfils `Storage`."""

    local = True

    def start(self) -> None: ...

    def close(self) -> None: ...

    def make(self, folder: PurePath) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)

    def list(self, folder: PurePath) -> Iterator[tuple[str, Status]]:
        with os.scandir(folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    yield entry.name, _status(entry.stat(follow_symlinks=False))

    def status(self, path: PurePath) -> Status:
        return _status(os.lstat(path))

    def exists(self, path: PurePath) -> bool:
        return os.path.lexists(path)

    def open(self, path: PurePath, stamp: Stamp, *, digest: str = "", most: int | None = None) -> BinaryIO:
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

    def unchanged(self, source: BinaryIO, stamp: Stamp) -> bool:
        return _stamp(os.fstat(source.fileno())) == stamp

    def move(self, path: PurePath, target: PurePath, stamp: Stamp) -> None:
        if _stamp(os.lstat(path)) != stamp:
            raise Changed(path.name)
        try:
            Path(path).replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self.across(Path(path), Path(target), stamp)

    def across(self, path: Path, target: Path, stamp: Stamp) -> None:
        """To another device: copied whole under a hidden name of one's own and made durable; then it gets its name, which is given once
        however many workers copy, and only then the source is removed. A copy that has its name already is not made again.
        """
        if not os.path.lexists(target):
            self._copied(path, target, stamp)
        for left in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
            left.unlink(missing_ok=True)  # of workers that died over it, or of one that finds the copy in its place
        durable(target.parent)
        if _stamp(os.lstat(path)) != stamp:  # the next one of this name has come meanwhile
            return
        path.unlink()

    def _copied(self, path: Path, target: Path, stamp: Stamp) -> None:
        """Raises FileExistsError when another file has got the name meanwhile."""
        part = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
        try:
            with self.open(path, stamp) as source, part.open("xb") as copy:
                while block := source.read(BLOCK):
                    copy.write(block)
                copy.flush()
                os.fsync(copy.fileno())
                if not self.unchanged(source, stamp):
                    raise Changed(path.name)
            os.utime(part, ns=(stamp[3], stamp[3]))
            try:
                os.link(part, target)
            except FileExistsError:
                if not filecmp.cmp(part, target, shallow=False):
                    raise
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP):
                    raise
                part.replace(target)  # of a device without hard links
        finally:
            part.unlink(missing_ok=True)

    def write(self, path: PurePath, body: bytes) -> None:
        part = Path(path.with_name(f".{path.name}.part"))
        try:
            part.write_bytes(body)
            part.replace(path)
        except OSError:
            with suppress(OSError):  # a disk that is full keeps what was begun
                part.unlink()
            raise

    def remove(self, path: PurePath) -> None:
        Path(path).unlink(missing_ok=True)


def durable(path: Path) -> None:
    """A file's content, or the names that a folder holds."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _status(status: os.stat_result) -> Status:
    return Status(_stamp(status), kind(status.st_mode))
