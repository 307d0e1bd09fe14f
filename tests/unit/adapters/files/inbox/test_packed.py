import gzip
import io
import re
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from adapters.files.driver import FileContract
from adapters.files.formats.reading import parsing
from adapters.files.inbox.packed import FLOOR, Limits, Members, Packing
from adapters.files.parsing import Ending, Parser, Refuse, Unit
from tests.unit.adapters.files.formats.test_delimited import HEAD, SALE

PATTERN = re.compile(r"S_(?P<store>\d{4})\.txt")
LIMITS = Limits(10**9, 200, 10)


class Lines:
    """A parser of lines: each is a transaction; `!` refuses the file, `?` is a finding."""

    def __init__(self, skim: int | None) -> None:
        self.skim = skim
        self.ending = Ending()

    def units(self, source: BinaryIO, name: str, facts: Mapping[str, str]) -> Iterator[Unit]:
        for number, line in enumerate(io.BufferedReader(source), 1):  # type: ignore[type-var]  # a raw stream behind a binary one's type
            if line.startswith(b"!"):
                raise Refuse("not like this", number)
            if line.startswith(b"?"):
                self.ending.find("odd")
            self.ending.units += 1
            self.ending.rows += 1
            yield Unit(number, number, (line.strip(), facts.get("store"), self.skim), None, lambda line=line: line, name)  # type: ignore[misc]  # a lambda with a default
        self.ending.store = facts.get("store", "")


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, body in members:
            archive.writestr(name, body)
    return out.getvalue()


def read(body: bytes, packing: Packing = "zip", limits: Limits = LIMITS, skim: int | None = None, **more: Any) -> tuple[list[Unit], Ending]:
    parser = Members(Lines, packing, PATTERN, limits, skim=skim, **more)
    units = list(parser.units(io.BytesIO(body), "outer", {"store": "outer"}))
    return units, parser.ending


def refused(body: bytes, packing: Packing = "zip", limits: Limits = LIMITS) -> str:
    with pytest.raises(Refuse) as error:
        read(body, packing, limits)
    return str(error.value)


def test_gzip_is_read_as_what_it_holds_also_when_it_was_written_in_parts() -> None:
    units, ending = read(gzip.compress(b"a\nb\n") + gzip.compress(b"c\n"), "gzip")
    assert [(u.position, u.row, u.file) for u in units] == [(n, (c, "outer", None), "outer") for n, c in ((1, b"a"), (2, b"b"), (3, b"c"))]
    assert ending.units == 3


def test_members_are_read_by_name_one_after_the_other_and_positions_count_on() -> None:
    units, ending = read(zipped(("S_0002.txt", b"c\n?\n"), ("folder/S_0001.txt", b"a\nb\n"), ("folder/", b"")))
    assert [(u.position, u.line, u.row and u.row[:2], u.file) for u in units] == [
        (1, 1, (b"c", "0002"), "outer/S_0002.txt"), (2, 2, (b"?", "0002"), "outer/S_0002.txt"),
        (3, 1, (b"a", "0001"), "outer/folder/S_0001.txt"), (4, 2, (b"b", "0001"), "outer/folder/S_0001.txt"),
    ]  # fmt: skip
    assert (ending.units, ending.rows, ending.findings, ending.store) == (4, 4, ["S_0002.txt: odd"], "")


def test_what_is_only_skimmed_begins_where_it_would_in_one_file() -> None:
    units, _ = read(zipped(("S_0001.txt", b"a\nb\nc\n"), ("S_0002.txt", b"d\n")), skim=2)
    assert [u.row and u.row[2] for u in units] == [2, 2, 2, 0]


def test_a_member_that_is_refused_is_named() -> None:
    assert refused(zipped(("S_0001.txt", b"a\n"), ("S_0002.txt", b"b\n!\n"))) == "line 2: S_0002.txt: not like this"
    assert refused(gzip.compress(b"!\n"), "gzip") == "line 1: not like this"


@pytest.mark.slow
def test_gzip_of_many_small_members_with_zeros_between_and_behind_them_is_read_to_its_end() -> None:
    member, pad = gzip.compress(b"a\n"), bytes(70_000)
    units, ending = read(b"".join(member + pad[: n % 3] for n in range(20_000)) + pad + member + bytes(20_000_000), "gzip")
    assert (len(units), ending.units) == (20_001, 20_001)


@pytest.mark.parametrize(
    "body",
    [bytes(8) + gzip.compress(b"a\n"), gzip.compress(b"a\n") + bytes(9) + b"x", gzip.compress(b"a\n") + b"\x1f"],
    ids=("begins", "goes on", "goes on with a byte"),
)
def test_gzip_that_begins_or_goes_on_with_something_else_is_refused(body: bytes) -> None:
    assert "cut off" in refused(body, "gzip") or "cannot be unpacked" in refused(body, "gzip")


@pytest.mark.parametrize("size", [1, 100, 16_383, 16_384, 16_385, 3_000_000])
def test_gzip_ends_exactly_where_its_content_does_whatever_its_size(size: int) -> None:
    body = b"x" * (size - 1) + b"\n"
    assert read(gzip.compress(body), "gzip")[1].units == 1
    assert "cut off" in refused(gzip.compress(body)[:-1], "gzip")


@pytest.mark.parametrize("packing", ["gzip", "zip"])
def test_what_is_cut_off_or_damaged_anywhere_gives_no_transaction_at_all(packing: Packing) -> None:
    text = b"".join(b"%d\n" % (n * 7919 % 100_003) for n in range(20_000))
    whole = gzip.compress(text) if packing == "gzip" else zipped(("S_0001.txt", text))
    for cut in (5, len(whole) // 2, len(whole) - 5):
        assert re.search(r"cut off|cannot be unpacked", refused(whole[:cut], packing))
    for at in range(100, len(whole) - 100, len(whole) // 25):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        parser = Members(Lines, packing, PATTERN, LIMITS)
        with pytest.raises(Refuse, match=r"cut off|cannot be unpacked"):
            next(parser.units(io.BytesIO(bytes(damaged)), "outer", {}))


def test_something_else_behind_the_name_says_what_it_is_not() -> None:
    assert "cannot be unpacked" in refused(b"a;b;c\n" * 100, "gzip")
    assert "cannot be unpacked" in refused(b"a;b;c\n" * 100, "zip")
    assert "cannot be unpacked" in refused(gzip.compress(b"a\n") + b"more", "gzip")


def test_a_bomb_is_refused_by_its_ratio_and_by_its_size_and_small_files_are_none() -> None:
    bomb = bytes(FLOOR + 1)
    for body, packing in ((gzip.compress(bomb), "gzip"), (zipped(("S_0001.txt", bomb)), "zip")):
        assert "200 times as large" in refused(body, packing)  # type: ignore[arg-type]  # a literal in a tuple
        assert "larger than 1000000 bytes" in refused(body, packing, Limits(10**6, 1100, 10))  # type: ignore[arg-type]  # a plain str
    assert read(gzip.compress(b"x" * 10_000_000 + b"\n"), "gzip")[1].units == 1


def test_members_that_share_their_bytes_count_each_time() -> None:
    """Overlapping entries: one packed stream of 10 MB behind ten names."""
    body = zipped(("S_0001.txt", bytes(10_000_000)))
    end = body.rindex(b"PK\x05\x06")
    start = body.index(b"PK\x01\x02")
    entry = body[start:end]
    entries = b"".join(entry.replace(b"S_0001", b"S_%04d" % n) for n in range(10))
    made = body[:start] + entries + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 10, 10, len(entries), start, 0)
    assert re.search(r"times as large|cannot be unpacked", refused(made))


def test_too_many_members_are_refused_before_their_directory_is_read() -> None:
    assert refused(zipped(*((f"S_{n:04d}.txt", b"") for n in range(11)))) == "the zip has 11 members, more than 10"
    many = zipped(*((f"S_{n:04d}.txt", b"") for n in range(3000)))
    assert "the zip's directory is larger than" in refused(many)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../S_0001.txt", "a path out of it"),
        ("/S_0001.txt", "a path out of it"),
        ("a/../../S_0001.txt", "a path out of it"),
        ("a\\S_0001.txt", "a path out of it"),
        ("C:S_0001.txt", "a path out of it"),
        ("S_0001.txt\x01", "a path out of it"),
        ("readme.md", "not named as this feed's files are"),
        ("S_0001.txt.gz", "an archive within an archive"),
        ("more.zip", "an archive within an archive"),
    ],
)
def test_members_with_other_names_are_refused_by_name(name: str, says: str) -> None:
    found = refused(zipped(("S_0001.txt", b"a\n"), (name, b"b\n")))
    assert says in found
    assert repr(name) in found


@pytest.mark.parametrize("inside", [gzip.compress(b"a\n"), zipped(("S_0001.txt", b"a\n"))], ids=("gzip", "zip"))
def test_an_archive_within_an_archive_is_refused_whatever_its_name(inside: bytes) -> None:
    assert "an archive within an archive is not read" in refused(gzip.compress(inside), "gzip")
    assert "an archive within an archive is not read" in refused(zipped(("S_0001.txt", inside)))


def patched(change: Callable[[bytearray, int], None]) -> bytes:
    body = bytearray(zipped(("S_0001.txt", b"a\n")))
    change(body, body.index(b"PK\x01\x02"))
    return bytes(body)


def test_encrypted_links_and_other_methods_are_refused_with_the_reason() -> None:
    def encrypted(body: bytearray, at: int) -> None:
        body[at + 8] |= 1

    def link(body: bytearray, at: int) -> None:
        body[at + 38 : at + 42] = struct.pack("<L", (stat.S_IFLNK | 0o777) << 16)

    assert "is encrypted: files are read without a password" in refused(patched(encrypted))
    assert "is a symbolic link" in refused(patched(link))
    assert "packed by method 14; stored and deflated ones are read" in refused(zipped(("S_0001.txt", b"a\n"), method=zipfile.ZIP_LZMA))


@pytest.mark.parametrize("start", [0, 4, 6])
def test_name_with_a_nul_in_it_is_refused_whatever_is_before_it(start: int) -> None:
    name = b"S_002/2.txt/"
    body = zipped((name.decode(), b""), ("S_0001.txt", b"a\n"))
    assert "path out of it" in refused(body.replace(name, name[:start] + b"\0" + name[start + 1 :]))


def test_folder_with_a_content_is_not_passed_over() -> None:
    body = bytearray(zipped(("folder/", b""), ("S_0001.txt", b"a\n")))
    body[body.index(b"PK\x01\x02") + 24] = 5
    assert "not named as this feed's files are" in refused(bytes(body))


def test_one_name_twice_and_nothing_at_all_are_refused() -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = zipped(("S_0001.txt", b"a\n"), ("S_0001.txt", b"b\n"))
    assert refused(twice) == "the zip holds 'S_0001.txt' twice"
    assert refused(zipped(("folder/", b""))) == "the zip holds no file"


@pytest.mark.parametrize("layout", ["tlog", "poslog"])
def test_the_parsers_of_the_product_read_packed_files(layout: str, root: Path, tmp_path: Path) -> None:
    contract = FileContract("pos", root / f"contracts/systems/pos/{layout}.toml")
    make: Callable[[int | None], Parser] = parsing(contract.layout)
    if layout == "tlog":
        name = "TLOG_0001_20260311_00001.tlog"
        body = HEAD + SALE + b"FT;1;1;500\n"
    else:
        name = "none"
        body = b"<x/>"
    plain = tmp_path / name
    plain.write_bytes(body)
    match = contract.layout.pattern.fullmatch(name)
    facts = match.groupdict(default="") if match else {}

    def outcome(parser: Parser, content: bytes) -> object:
        try:
            return [(u.position, u.line, u.row, u.raw()) for u in parser.units(io.BytesIO(content), name, facts)]
        except Refuse as error:
            return str(error)

    packed = Members(make, "gzip", contract.layout.pattern, LIMITS)
    assert outcome(packed, gzip.compress(body)) == outcome(make(None), body)
