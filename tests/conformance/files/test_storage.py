import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import BinaryIO

import pytest

from adapters.files.inbox.folder import Folders
from adapters.files.inbox.incoming import Inbox
from adapters.files.inbox.storage import Changed, Stamp, Status
from adapters.files.spec import options
from tests.conformance.files.conftest import NAME, PATTERN, Place, swept


def test_a_quiet_file_is_complete_when_it_was_seen_unchanged_for_long_enough(place: Place) -> None:
    inbox = place.box(complete="quiet", quiet="5s")
    path = place.drop()
    assert swept(inbox) == []
    place.clock = 4
    with path.open("ab") as out:
        out.write(b"y")
    assert swept(inbox) == []
    place.clock = 8
    assert swept(inbox) == []
    assert inbox.waiting() == pytest.approx(1)
    place.clock = 9
    (found,) = swept(inbox)
    assert (found.size, found.facts["store"], len(found.digest)) == (2, "0001", 64)


def test_a_marked_file_is_complete_with_its_companion_which_goes_with_it(place: Place) -> None:
    inbox = place.box(complete="marker")
    place.drop()
    assert swept(inbox) == []
    place.drop(f"{NAME}.done", b"")
    (found,) = swept(inbox)
    assert inbox.archive(found, "0001", "2026-03-11") is not None
    assert place.kept() == {f"archive/2026-03-11/0001/{NAME}": b"x"}
    assert list((place.disk / "inbox").iterdir()) == []


def test_foreign_names_are_left_alone_and_links_folders_and_pipes_are_no_files(place: Place) -> None:
    inbox = place.box()
    secret = place.disk / "secret"
    secret.write_bytes(b"secret")
    for name in (".S_0001_20260311.txt.part", f"{NAME}\n", "S_0001_20260311.txt.bak", "S_..:1_20260311.txt"):
        place.drop(name)
    (place.disk / "inbox" / NAME).symlink_to(secret)
    (place.disk / "inbox" / "S_0002_20260311.txt").mkdir()
    os.mkfifo(place.disk / "inbox" / "S_0003_20260311.txt")
    assert swept(inbox) == []
    assert inbox.refused == {
        NAME: "a symbolic link, not a file",
        "S_0002_20260311.txt": "a folder, not a file",
        "S_0003_20260311.txt": "a pipe, not a file",
    }


def test_names_in_no_encoding_stop_nobody(place: Place) -> None:
    inbox = place.box()
    place.drop(os.fsdecode(b"S_\xff\xfe.txt"))
    place.drop()
    assert [file.name for file in swept(inbox)] == [NAME]


def test_a_name_whose_file_could_not_be_kept_is_no_name(place: Place) -> None:
    place.drop(f"S_0001_20260311_{'7' * 141}.txt")
    longest = place.drop(f"S_0001_20260311_{'7' * 140}.txt").name
    inbox = place.box()
    (file,) = swept(inbox)
    assert (file.name, [*inbox.refused.values()]) == (longest, ["longer than 160 bytes"])
    assert inbox.quarantine(file, "why") is not None


class Timeless(Folders):
    """A share whose times of change no calendar has."""

    def __init__(self, at: int) -> None:
        self.at = at

    def list(self, folder: PurePath) -> Iterator[tuple[str, Status]]:
        for name, status in super().list(folder):
            yield name, Status((*status.stamp[:3], self.at), status.refused)

    def open(self, path: PurePath, stamp: Stamp, *, digest: str = "", most: int | None = None) -> BinaryIO:
        return super().open(path, self.status(path).stamp)

    def unchanged(self, source: BinaryIO, stamp: Stamp) -> bool:
        return True


@pytest.mark.parametrize("at", [10**30, -(10**30)])
def test_a_time_of_change_that_no_calendar_has_becomes_one_that_it_has(tmp_path: Path, at: int) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / NAME).write_bytes(b"x")
    inbox = Inbox(options(str(tmp_path / "inbox"), {"complete": "renamed"}), PATTERN, Timeless(at))
    assert datetime.fromtimestamp(swept(inbox)[0].modified, UTC).year in (1970, 2242)


def test_the_content_is_the_one_that_was_seen_from_its_beginning_each_time(place: Place) -> None:
    body = os.urandom(3_000_000)
    place.drop(body=body)
    inbox = place.box()
    (found,) = swept(inbox)
    for _ in range(2):
        with inbox.open(found) as source:
            parts = [source.read(1_000_000), source.read(10)]
            assert b"".join(parts) == body[: sum(map(len, parts))]
            assert inbox.unchanged(source, found)


def test_another_process_reads_the_same_content_or_none(place: Place) -> None:
    path = place.drop(body=b"first")
    (found,) = swept(place.box())
    other = place.box()
    with other.open(found) as source:
        assert source.read() == b"first"
    status = path.stat()
    path.write_bytes(b"other")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    third = place.box()
    if place.host is None:  # here the file itself is read, known by its inode
        with third.open(found) as source:
            assert source.read() == b"other"
    else:
        with pytest.raises(Changed):
            third.open(found)


def test_a_file_swapped_for_a_link_or_changed_after_it_was_seen_is_not_opened_nor_moved(place: Place) -> None:
    path = place.drop()
    (found,) = swept(place.box())
    inbox = place.box()
    path.write_bytes(b"other")
    with pytest.raises(Changed):
        inbox.open(found)
    path.unlink()
    path.symlink_to("/etc/hostname")
    with pytest.raises(Changed):
        inbox.open(found)
    with pytest.raises(Changed):
        inbox.archive(found, "0001", "2026-03-11")
    assert place.kept() == {}


def test_a_file_that_somebody_took_away_is_none(place: Place) -> None:
    path = place.drop()
    inbox = place.box()
    (found,) = swept(inbox)
    path.unlink()
    assert inbox.archive(found, "0001", "2026-03-11") is None
    assert inbox.quarantine(found, "why") is None
    assert place.kept() == {}


def test_store_and_date_from_outside_never_become_a_path(place: Place) -> None:
    inbox = place.box()
    place.drop()
    (found,) = swept(inbox)
    inbox.archive(found, "../../etc", "/2026")
    assert place.kept() == {f"archive/unknown/unknown/{NAME}": b"x"}


def test_nothing_that_was_kept_is_overwritten(place: Place) -> None:
    inbox = place.box()
    for number, body in enumerate((b"one", b"two", b"two")):
        os.utime(place.drop(body=body), (1_000_000 + number, 1_000_000 + number))
        (found,) = swept(inbox)
        inbox.archive(found, "0001", "2026-03-11")
    assert sorted(place.kept().values()) == [b"one", b"two", b"two"]


def test_a_refused_file_lies_beside_its_reason(place: Place) -> None:
    inbox = place.box()
    place.drop()
    for _ in range(2):
        (found,) = swept(inbox)
        inbox.quarantine(found, "the file is cut off")
        place.drop()
    kept = place.kept()
    assert kept[f"quarantine/{NAME}"] == b"x"
    assert b"the file is cut off" in kept[f"quarantine/{NAME}.reason.txt"]
    assert len(kept) == 4


def test_an_oversize_file_is_known_without_being_read_whole(place: Place) -> None:
    inbox = place.box(max_bytes=10_000_000)
    os.truncate(place.drop(), 5_000_000_000)
    (found,) = swept(inbox)
    assert found.oversize


def test_the_files_of_a_store_come_in_the_order_of_their_numbers(place: Place) -> None:
    for name in ("S_0002_20260311_3.txt", "S_0001_20260311_10.txt", "S_0001_20260311_9.txt", "S_0001_20260312_2.txt"):
        place.drop(name)
    numbered = place.box(sequence={"group": "number"})
    assert [f.name for f in swept(numbered)] == [
        "S_0001_20260312_2.txt", "S_0001_20260311_9.txt", "S_0001_20260311_10.txt", "S_0002_20260311_3.txt",
    ]  # fmt: skip
    assert next(f.name for f in swept(place.box())) == "S_0001_20260311_10.txt"


def test_packed_files_bear_the_name_of_what_they_hold(place: Place) -> None:
    for name in (f"{NAME}.gz", f"{NAME}.zip", "STORE_0007.zip", "other.zip", f"{NAME}.gz.zip"):
        place.drop(name)
    found = swept(place.box(archives=r"STORE_(?P<store>\d{4})\.zip"))
    assert [(f.name, f.packed, f.facts.get("store")) for f in found] == [
        ("STORE_0007.zip", "zip", "0007"), (f"{NAME}.gz", "gzip", "0001"), (f"{NAME}.zip", "zip", "0001"),
    ]  # fmt: skip


def test_an_inbox_that_is_away_is_an_os_error_and_heals(place: Place) -> None:
    inbox = place.box()
    place.drop()
    (place.disk / "inbox").rename(place.disk / "away")
    with pytest.raises(FileNotFoundError):
        swept(inbox)
    (place.disk / "away").rename(place.disk / "inbox")
    assert len(swept(inbox)) == 1


def test_a_folder_that_may_not_be_written_says_so_and_the_file_stays(place: Place) -> None:
    inbox = place.box(archive=str(place.disk / "file") if place.host is None else "/file")
    (place.disk / "file").write_bytes(b"not a folder")
    place.drop()
    (found,) = swept(inbox)
    with pytest.raises(OSError):
        inbox.archive(found, "0001", "2026-03-11")
    assert len(swept(inbox)) == 1
