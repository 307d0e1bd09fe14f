import os
import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePath

import msgspec
import pytest

from adapters.files.inbox.folder import Folders
from adapters.files.inbox.incoming import Arrived, Inbox
from adapters.files.inbox.storage import Changed, Stamp
from adapters.files.spec import FeedOptions, options

PATTERN = re.compile(r"S_(?P<store>\d{4})_(?P<business_date>\d{8})\.txt")
NAME = "S_0001_20260311.txt"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def box(tmp_path: Path, clock: Clock, **given: object) -> Inbox:
    (tmp_path / "inbox").mkdir(exist_ok=True)
    return Inbox(options(str(tmp_path / "inbox"), dict(given)), PATTERN, Folders(), clock)


def drop(inbox: Inbox, name: str = NAME, body: bytes = b"x") -> Path:
    path = inbox.options.inbox_path / name
    path.write_bytes(body)
    return path


def swept(inbox: Inbox) -> list[Arrived]:
    return list(inbox.sweep())


def test_a_quiet_file_is_complete_when_it_was_seen_unchanged_for_long_enough(tmp_path: Path, clock: Clock) -> None:
    inbox = box(tmp_path, clock, complete="quiet", quiet="5s")
    path = drop(inbox)
    assert swept(inbox) == []
    clock.now = 4
    with path.open("ab") as out:
        out.write(b"y")
    assert swept(inbox) == []
    clock.now = 8
    assert swept(inbox) == []
    assert inbox.waiting() == pytest.approx(1)
    clock.now = 9
    (found,) = swept(inbox)
    assert (found.size, found.facts["store"], len(found.digest)) == (2, "0001", 64)


def test_a_marked_file_is_complete_with_its_companion(tmp_path: Path, clock: Clock) -> None:
    inbox = box(tmp_path, clock, complete="marker")
    drop(inbox)
    assert swept(inbox) == []
    drop(inbox, f"{NAME}.done", b"")
    (found,) = swept(inbox)
    target = inbox.archive(found, "0001", "2026-03-11")
    assert target == tmp_path / "archive/2026-03-11/0001" / NAME
    assert list(inbox.options.inbox_path.iterdir()) == []


def test_foreign_names_are_left_alone_and_links_folders_and_pipes_are_no_files(tmp_path: Path, clock: Clock) -> None:
    inbox = box(tmp_path, clock, complete="renamed")
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    for name in (".S_0001_20260311.txt.part", f"{NAME}\n", "S_0001_20260311.txt.bak", "S_../1_20260311.txt".replace("/", ":")):
        drop(inbox, name)
    (inbox.options.inbox_path / NAME).symlink_to(secret)
    (inbox.options.inbox_path / "S_0002_20260311.txt").mkdir()
    os.mkfifo(inbox.options.inbox_path / "S_0003_20260311.txt")
    assert swept(inbox) == []
    assert inbox.refused == {
        NAME: "a symbolic link, not a file",
        "S_0002_20260311.txt": "a folder, not a file",
        "S_0003_20260311.txt": "a pipe, not a file",
    }


def test_a_file_swapped_for_a_link_or_changed_after_it_was_seen_is_not_opened(tmp_path: Path, clock: Clock) -> None:
    inbox = box(tmp_path, clock, complete="renamed")
    path = drop(inbox)
    (found,) = swept(inbox)
    path.write_bytes(b"other")
    with pytest.raises(Changed):
        inbox.open(found)
    path.unlink()
    path.symlink_to("/etc/hostname")
    with pytest.raises(Changed):
        inbox.open(found)
    with pytest.raises(Changed):
        inbox.archive(found, "0001", "2026-03-11")


def test_store_and_date_from_outside_never_become_a_path(tmp_path: Path, clock: Clock) -> None:
    inbox = box(tmp_path, clock, complete="renamed")
    drop(inbox)
    (found,) = swept(inbox)
    assert inbox.archive(found, "../../etc", "/2026") == tmp_path / "archive/unknown/unknown" / NAME


def test_nothing_that_was_kept_is_overwritten(tmp_path: Path, clock: Clock) -> None:
    inbox = box(tmp_path, clock, complete="renamed")
    kept = []
    for body in (b"one", b"two", b"two"):
        drop(inbox, body=body)
        (found,) = swept(inbox)
        kept.append(inbox.archive(found, "0001", "2026-03-11"))
    assert len(set(kept)) == 3
    assert sorted(p.read_bytes() for p in kept if p) == [b"one", b"two", b"two"]


def test_a_refused_file_lies_beside_its_reason(tmp_path: Path, clock: Clock) -> None:
    inbox = box(tmp_path, clock, complete="renamed")
    drop(inbox)
    (found,) = swept(inbox)
    target = inbox.quarantine(found, "the file is cut off")
    assert target is not None
    assert "the file is cut off" in target.with_name(f"{NAME}.reason.txt").read_text()


def test_to_another_device_a_file_is_copied_whole_and_only_then_removed(tmp_path: Path, clock: Clock) -> None:
    other = Path("/dev/shm")  # the one other file system that is always there
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        other = tmp_path
    folder = other / f"tillgate-{os.getpid()}"
    inbox = box(tmp_path, clock, complete="renamed", archive=str(folder))
    drop(inbox, body=b"z" * 3_000_000)
    (found,) = swept(inbox)
    try:
        target = inbox.archive(found, "0001", "2026-03-11")
        assert target is not None
        assert target.read_bytes() == b"z" * 3_000_000
        assert [p.name for p in target.parent.iterdir()] == [NAME]
        assert not found.path.exists()
        storage = Folders()  # both ways are the same whatever this machine's folders are
        storage.across(target, tmp_path / "copied", storage.status(target).stamp)
        assert (tmp_path / "copied").stat().st_size == 3_000_000
    finally:
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.rmdir()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another device, where there is one."""
    shared = Path("/dev/shm")  # the one other file system that is always there
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else tmp_path) as folder:
        yield Path(folder)


@pytest.mark.parametrize("kept", ["archive", "quarantine"])
def test_a_copy_on_another_device_whose_source_a_dead_worker_left_is_not_copied_again(
    tmp_path: Path, clock: Clock, elsewhere: Path, kept: str
) -> None:
    inbox = box(tmp_path, clock, complete="renamed", **{kept: str(elsewhere)})
    drop(inbox, body=b"one")
    (found,) = swept(inbox)

    def put_away() -> PurePath | None:
        return inbox.archive(found, "0001", "2026-03-11") if kept == "archive" else inbox.quarantine(found, "cut off")

    before = put_away()
    found.path.write_bytes(b"one")
    os.utime(found.path, ns=(found.stamp[3], found.stamp[3]))
    (found,) = swept(inbox)
    if found.path.stat().st_dev == elsewhere.stat().st_dev:
        assert put_away() != before  # a rename leaves no source: this is another file
        return
    assert put_away() == before
    assert not found.path.exists()
    assert [p.name for p in sorted(elsewhere.rglob("*.*"))] == [NAME, *([f"{NAME}.reason.txt"] if kept == "quarantine" else [])]


def test_the_same_file_sent_again_is_kept_beside_the_first_on_another_device_too(tmp_path: Path, clock: Clock, elsewhere: Path) -> None:
    inbox = box(tmp_path, clock, complete="renamed", archive=str(elsewhere))
    kept = []
    for seconds in (1_000, 2_000):
        os.utime(drop(inbox, body=b"one"), (seconds, seconds))
        (found,) = swept(inbox)
        kept.append(inbox.archive(found, "0001", "2026-03-11"))
    assert len(set(kept)) == 2


def test_of_many_workers_that_copy_one_file_at_once_one_copy_is_left_whole(tmp_path: Path, elsewhere: Path) -> None:
    path, target, storage = tmp_path / NAME, elsewhere / NAME, Folders()
    for n in range(20):
        path.write_bytes(b"z" * 300_000)
        stamp = storage.status(path).stamp

        def copy(stamp: Stamp = stamp) -> None:
            with suppress(FileNotFoundError):
                storage.across(path, target, stamp)

        with ThreadPoolExecutor(6) as workers:
            for done in [workers.submit(copy) for _ in range(6)]:
                done.result()
        assert [p.name for p in elsewhere.iterdir()] == [NAME], n
        assert target.read_bytes() == b"z" * 300_000
        assert not path.exists()
        target.unlink()


def test_a_file_of_the_same_name_that_came_while_the_first_was_copied_stays(tmp_path: Path, elsewhere: Path) -> None:
    path, target, storage = tmp_path / NAME, elsewhere / NAME, Folders()
    path.write_bytes(b"one")
    stamp = storage.status(path).stamp
    target.write_bytes(b"one")  # the copy stands; its source is to be removed next
    path.unlink()
    path.write_bytes(b"the next")
    storage.across(path, target, stamp)
    assert path.read_bytes() == b"the next"


def test_what_a_worker_that_died_while_copying_has_left_goes_with_the_next(tmp_path: Path, elsewhere: Path) -> None:
    path, target, storage = tmp_path / NAME, elsewhere / NAME, Folders()
    for begun in (True, False):
        path.write_bytes(b"one")
        (elsewhere / f".{NAME}.0123.part").write_bytes(b"o")
        if begun:
            target.write_bytes(b"one")
        storage.across(path, target, storage.status(path).stamp)
        assert [p.name for p in elsewhere.iterdir()] == [NAME]
        assert not path.exists()
        target.unlink()


def test_a_reason_stays_with_the_file_that_another_worker_has_set_aside(tmp_path: Path, clock: Clock) -> None:
    class Late(Folders):
        """Another worker is first, every time."""

        def move(self, path: PurePath, target: PurePath, stamp: Stamp) -> None:
            super().move(path, target, stamp)
            super().move(path, target, stamp)

    inbox = box(tmp_path, clock, complete="renamed")
    inbox.storage = Late()
    drop(inbox)
    (found,) = swept(inbox)
    assert inbox.quarantine(found, "cut off") is None
    assert {p.name for p in (tmp_path / "quarantine").iterdir()} == {NAME, f"{NAME}.reason.txt"}


def test_what_could_not_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        Folders().write(tmp_path / "taken", b"reason")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


def test_an_oversize_file_is_known_without_being_read_whole(tmp_path: Path, clock: Clock) -> None:
    inbox = box(tmp_path, clock, complete="renamed", max_bytes=10_000_000)
    path = drop(inbox)
    os.truncate(path, 5_000_000_000)
    (found,) = swept(inbox)
    assert found.oversize


@pytest.mark.parametrize(
    ("key", "value"), [("quiet", "5"), ("complete", "soon"), ("marker", "../x"), ("batch", 0), ("nonsense", 1), ("lease", "0s")]
)
def test_wrong_options_are_refused(key: str, value: object) -> None:
    with pytest.raises((msgspec.ValidationError, ValueError)):
        options("/inbox", {key: value})


def test_folders_stand_beside_the_inbox_unless_they_are_named() -> None:
    found = FeedOptions(inbox="/srv/pos/inbox")
    assert (str(found.archive_path), str(found.quarantine_path)) == ("/srv/pos/archive", "/srv/pos/quarantine")
