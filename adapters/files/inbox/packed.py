"""Packed files, read as what they hold: one content of gzip, the members of a zip one after the other. Nothing is unpacked to a disk.

A packed file is one line of the ledger: it is booked or refused as a whole, its positions count on over its members, and before anything
of it is booked it is unpacked once to its end, so that what is cut off, damaged or a bomb never stands half in the books.
"""

from __future__ import annotations

import io
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Literal, cast

from adapters.files.inbox.storage import BLOCK
from adapters.files.parsing import MOST_EXTENSIONS, Ending, Parser, Refuse, Unit

Packing = Literal["", "gzip", "zip"]

FLOOR: Final = 16 * 1024**2
"""Whatever the ratio, so much may come out of any file: a day without sales packs well."""
_NESTED: Final = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zX": "xz", b"7z\xbc\xaf": "7z", b"Rar!": "rar"}
_PIECE: Final = 16_384
"""Bytes of a gzip file that are looked at once: what is behind a member is copied, and a file may be nothing but small ones."""
_READABLE: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_PER_ENTRY: Final = 1024
"""Bytes of a zip's directory that are read for each member that is allowed."""
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000


@dataclass(frozen=True, slots=True)
class Limits:
    size: int
    """Bytes that come out, of all members together."""
    ratio: int
    members: int


@dataclass(slots=True)
class _Unpacking:
    """What may still come out of one file."""

    packed: int
    limits: Limits
    left: int

    def took(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            limit = max(FLOOR, self.packed * self.limits.ratio)
            if limit < self.limits.size:
                raise Refuse(f"unpacked it is more than {self.limits.ratio} times as large as packed: a bomb")
            raise Refuse(f"unpacked it is larger than {self.limits.size} bytes")


class _Gzip(io.BufferedIOBase):
    """The members of a gzip file one behind the other (RFC 1952 §2.2), with the zeros that tapes and blocks pad them with. The standard
    library's reader takes those a byte at a time."""

    def __init__(self, source: io.BufferedReader[Any]) -> None:
        super().__init__()
        self._source, self._rest, self._began = source, b"", False
        self._member: Any = None

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Some of what is left, at most `size` bytes; nothing at its end. Raises EOFError, zlib.error."""
        while self._member is not None or self._next():
            member = self._member
            block = member.unconsumed_tail or self._rest or self._source.read(_PIECE)
            self._rest = b""
            found: bytes = member.decompress(block, size if size is not None and size > 0 else BLOCK)
            if member.eof:
                self._rest, self._member = member.unused_data, None
            elif not block and not found:
                raise EOFError
            if found:
                return found
        return b""

    def _next(self) -> bool:
        """Begins the next member; False at the end of the file."""
        while not (rest := self._rest.lstrip(b"\0") if self._began else self._rest):
            self._rest = self._source.read(_PIECE)
            if not self._rest:
                return False
        self._rest, self._began, self._member = rest, True, zlib.decompressobj(wbits=31)
        return True


class _Stream(io.RawIOBase):
    """One unpacked content, counted."""

    def __init__(self, inner: io.BufferedIOBase, unpacking: _Unpacking, name: str) -> None:
        super().__init__()
        self._inner, self._unpacking, self._name = inner, unpacking, name
        self._began = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # the base says any buffer
        with _readable(self._name):
            block = self._inner.read(len(buffer))
        if not self._began and block:
            self._began = True
            for magic, inside in _NESTED.items():
                if block.startswith(magic):
                    raise Refuse(f"{self._name} holds {inside}: an archive within an archive is not read")
        self._unpacking.took(len(block))
        buffer[: len(block)] = block
        return len(block)


class Members:
    """A parser of packed files. `make(skim)` gives the parser of one content; `matched` what the layout says of a member's name."""

    def __init__(
        self,
        make: Callable[[int | None], Parser],
        packing: Packing,
        pattern: re.Pattern[str],
        limits: Limits,
        *,
        skim: int | None = None,
        checked: bool = False,
    ) -> None:
        """`checked`: somebody has read this content to its end already."""
        self._make, self._packing, self._pattern, self._limits = make, packing, pattern, limits
        self._skim, self._checked = skim, checked
        self.ending = Ending()

    def units(self, source: BinaryIO, name: str, facts: Mapping[str, str]) -> Iterator[Unit]:
        if not self._checked:
            for _, stream, _ in self._contents(source, name):
                while stream.read(BLOCK):
                    pass
        ended: list[tuple[str, Ending]] = []
        before = 0
        for member, stream, said in self._contents(source, name):
            parser = self._make(None if self._skim is None else max(self._skim - before, 0))
            try:
                for unit in parser.units(stream, member, {**facts, **said}):
                    unit.position += before
                    yield unit
            except Refuse as error:
                if member == name:
                    raise
                raise Refuse(f"{member.removeprefix(name)[1:]}: {error.reason}", error.line) from error
            before += parser.ending.units
            ended.append((member.removeprefix(name)[1:], parser.ending))
        self.ending = _together(ended)

    def _contents(self, source: BinaryIO, name: str) -> Iterator[tuple[str, BinaryIO, Mapping[str, str]]]:
        """Name to report, content, and what the member's name says."""
        packed = source.seek(0, io.SEEK_END)
        source.seek(0)
        buffered = io.BufferedReader(cast("io.RawIOBase", source), BLOCK)
        unpacking = _Unpacking(packed, self._limits, min(self._limits.size, max(FLOOR, packed * self._limits.ratio)))
        try:
            if self._packing == "gzip":
                yield name, _content(_Gzip(buffered), unpacking, name), {}
            else:
                yield from self._zipped(buffered, name, unpacking)
        finally:
            buffered.detach()

    def _zipped(
        self, source: io.BufferedReader[Any], name: str, unpacking: _Unpacking
    ) -> Iterator[tuple[str, BinaryIO, Mapping[str, str]]]:
        guarded = _Guarded(source, self._limits.members * _PER_ENTRY + 65_536)
        with _readable(name):
            archive = zipfile.ZipFile(cast("BinaryIO", guarded))
        guarded.most = None
        with archive:
            entries = [(info, _matched(info, self._pattern)) for info in archive.infolist() if not _is_folder(info)]
            if len(entries) > self._limits.members:
                raise Refuse(f"the zip has {len(entries)} members, more than {self._limits.members}")
            if not entries:
                raise Refuse("the zip holds no file")
            names = [info.filename for info, _ in entries]
            if twice := next((each for each in names if names.count(each) > 1), None):
                raise Refuse(f"the zip holds {twice!r} twice")
            for info, facts in sorted(entries, key=lambda entry: entry[0].filename):
                with _readable(info.filename), archive.open(info) as inner:
                    yield f"{name}/{info.filename}", _content(inner, unpacking, info.filename), facts


def _content(inner: object, unpacking: _Unpacking, name: str) -> BinaryIO:
    return cast("BinaryIO", _Stream(cast("io.BufferedIOBase", inner), unpacking, name))


def _is_folder(info: zipfile.ZipInfo) -> bool:
    """By its whole name, which zipfile cuts at a NUL, and only without a content: else something would be passed over."""
    return info.orig_filename.endswith("/") and "\0" not in info.orig_filename and not info.file_size


def _matched(info: zipfile.ZipInfo, pattern: re.Pattern[str]) -> Mapping[str, str]:
    """What the name of a member says. Raises Refuse for one that is not to be read: what was passed over would be lost silently."""
    name = info.orig_filename
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in name or not name.isprintable():
        raise Refuse(f"the zip's member {name!r} has a name that is a path out of it")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise Refuse(f"the zip's member {name!r} is a symbolic link")
    if info.flag_bits & _ENCRYPTED:
        raise Refuse(f"the zip's member {name!r} is encrypted: files are read without a password")
    if info.compress_type not in _READABLE:
        raise Refuse(f"the zip's member {name!r} is packed by method {info.compress_type}; stored and deflated ones are read")
    if (found := pattern.fullmatch(parts[-1])) is None:
        inside = " (an archive within an archive is not read)" if parts[-1].endswith((".zip", ".gz", ".tar", ".7z", ".bz2", ".xz")) else ""
        raise Refuse(f"the zip's member {name!r} is not named as this feed's files are, {pattern.pattern}{inside}")
    return found.groupdict(default="")


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except Refuse:
        raise
    except EOFError as error:
        raise Refuse(f"{name} is cut off: what is packed ends too early") from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError) as error:
        raise Refuse(f"{name} cannot be unpacked: {str(error)[:200]}") from error


class _Guarded:
    """A zip's file whose directory cannot be read in pieces of any size: it is foreign, and says itself how large it is."""

    def __init__(self, source: io.BufferedReader[Any], most: int) -> None:
        self._source = source
        self.most: int | None = most

    def read(self, count: int = -1) -> bytes:
        if self.most is None:
            return self._source.read(count)
        found = self._source.read(self.most + 1 if count < 0 else min(count, self.most + 1))
        if len(found) > self.most:
            raise Refuse(f"the zip's directory is larger than {self.most} bytes: too many members")
        return found

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()

    def seekable(self) -> bool:
        return True


def _together(ended: list[tuple[str, Ending]]) -> Ending:
    if len(ended) == 1:
        return ended[0][1]
    whole = Ending()
    for member, each in ended:
        whole.units += each.units
        whole.set_aside += each.set_aside
        whole.rows += each.rows
        whole.reasons += [f"{member}: {reason}" for reason in each.reasons]
        whole.extensions = [*dict.fromkeys(whole.extensions + each.extensions)][:MOST_EXTENSIONS]
        for finding in each.findings:
            whole.find(f"{member}: {finding}")
    for name in ("store", "business_date"):
        said = {getattr(each, name) for _, each in ended}
        setattr(whole, name, said.pop() if len(said) == 1 else "")
    return whole
