"""What becomes of files afterwards: found, brought back, removed."""

import os
import time
from pathlib import PurePath

import pytest

from adapters.files.inbox import kept
from tests.conformance.files.conftest import NAME, PATTERN, Place, swept


def test_a_file_that_was_set_aside_stands_in_the_inbox_again_with_its_bytes_and_time(place: Place) -> None:
    path = place.drop(body=b"content")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    box = place.box()
    (file,) = swept(box)
    where = box.quarantine(file, "no trailer")
    assert where is not None
    assert not path.exists()
    assert kept.bring_back(box.storage, box.options, str(where), [NAME], file.digest, NAME)
    assert (path.read_bytes(), path.stat().st_mtime) == (b"content", 1_000_000_000)
    assert place.kept() == {}


def test_it_is_found_where_the_ledger_does_not_say_it_and_only_there(place: Place) -> None:
    place.drop(body=b"content")
    box = place.box()
    (file,) = swept(box)
    box.quarantine(file, "no trailer")
    for told in ("", "/etc/passwd", f"{box.options.quarantine_path}/../inbox/{NAME}", "elsewhere"):
        found = kept.find(box.storage, box.options, told, [NAME], file.digest)
        assert found == box.options.quarantine_path / NAME, told
        assert kept.find(box.storage, box.options, told, [], file.digest) is None, told
    assert kept.bring_back(box.storage, box.options, "/etc/passwd", [NAME], file.digest, NAME)
    assert not kept.bring_back(box.storage, box.options, "", [NAME], file.digest, NAME), "it is there no more"


def test_what_lies_in_its_place_with_another_content_is_left_there(place: Place) -> None:
    place.drop(body=b"content")
    box = place.box()
    (file,) = swept(box)
    where = box.quarantine(file, "no trailer")
    assert where is not None
    there = place.disk / "quarantine" / NAME
    there.write_bytes(b"other")
    assert not kept.bring_back(box.storage, box.options, str(where), [NAME], file.digest, NAME)
    assert there.read_bytes() == b"other"
    named = there.with_name(f"{NAME.removesuffix('.txt')}.{file.digest[:12]}.txt")
    named.write_bytes(b"content")
    assert kept.bring_back(box.storage, box.options, str(where), [NAME], file.digest, NAME)
    assert (place.disk / "inbox" / NAME).read_bytes() == b"content"
    assert there.read_bytes() == b"other"


def test_nothing_is_put_over_a_file_that_waits_in_the_inbox(place: Place) -> None:
    place.drop(body=b"old")
    box = place.box()
    (file,) = swept(box)
    where = box.quarantine(file, "no trailer")
    path = place.drop(body=b"new")
    with pytest.raises(FileExistsError):
        kept.bring_back(box.storage, box.options, str(where), [NAME], file.digest, NAME)
    assert path.read_bytes() == b"new"
    assert b"old" in place.kept().values()


def test_a_look_says_what_is_missing(place: Place) -> None:
    box = place.box(complete="marker")
    pattern = PATTERN.pattern

    def look(name: str) -> kept.Look:
        return kept.look(box.storage, box.options, pattern, box.matched(name) is not None, name)

    assert (look(NAME).matches, look(NAME).there) == (True, False)
    place.drop()
    assert NAME + ".done" in look(NAME).wants
    place.drop(NAME + ".done")
    assert (look(NAME).wants, look(NAME).there, look(NAME).size) == ("", True, 1)
    (place.disk / "inbox" / "S_0002_20260311.txt").symlink_to("/etc/passwd")
    assert look("S_0002_20260311.txt").refused == "a symbolic link"
    for odd in ("", "..", "../x", "a\0b", "x" * 300):
        assert not look(odd).there


def test_an_acknowledgement_gets_its_name_once_whoever_comes_first(place: Place) -> None:
    box, again = place.box(), place.box()
    folder = box.options.inbox_path.parent / "acks"
    for token in ("1-a", "1-b", "1-c"):
        kept.written(box.storage, folder, "f.ack", token, token.encode())
    assert kept.published(again.storage, folder, "f.ack", "1-a", "1-b")
    assert not kept.published(box.storage, folder, "f.ack", "1-a", "1-a")
    assert place.kept() == {"acks/f.ack": b"1-a"}, "what dead workers left is gone too"
    (place.disk / "acks/f.ack").unlink()
    kept.written(box.storage, folder, "f.ack", "1-d", b"d")
    assert not kept.published(box.storage, folder, "f.ack", "1-a", "1-d")
    assert place.kept() == {}
    for token in ("2-a", "3-a"):  # it ended anew
        kept.written(box.storage, folder, "f.ack", token, token.encode())
        assert kept.published(box.storage, folder, "f.ack", token, token)
    assert place.kept() == {"acks/f.ack": b"3-a"}


def test_old_files_are_found_by_their_content_and_removed_with_their_note(place: Place) -> None:
    place.drop(body=b"content")
    box = place.box()
    (file,) = swept(box)
    box.archive(file, "0001", "2026-03-11")
    top, late = box.options.archive_path, time.time() + 60
    ((where, _),) = kept.older(box.storage, top, late, 2)
    assert kept.digest_of(box.storage, box.options, where) == file.digest
    assert [*kept.older(box.storage, top, time.time() - 60, 2)] == []
    assert [*kept.older(box.storage, PurePath(top / "nowhere"), late, 2)] == []
    kept.remove(box.storage, where, top)
    assert place.kept() == {}
    assert kept.digest_of(box.storage, box.options, where) is None
    small = place.box(max_bytes=3)
    place.drop(body=b"content")
    (big,) = swept(small)
    where = small.quarantine(big, "too large")
    assert where is not None
    assert kept.digest_of(small.storage, small.options, where) == big.digest
