"""Files for the tills, on folders of this machine and on a server: whole under their names, once, and answered."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from adapters.files.driver import FileContract
from adapters.files.outlet import FileOutlet
from adapters.files.spec import outlet_options
from contracts.errors import BadFile, UpstreamError
from tests.conformance.files.conftest import Place

ROOT = Path(__file__).resolve().parents[3]
NAME = "PRICES_0001_000001.csv"


def outlet(place: Place) -> FileOutlet:
    contract = FileContract("pos", ROOT / "contracts/systems/tills/prices.toml", outbound=True)
    options = outlet_options({"name": "PRICES_{store}_{number:06}.csv"})
    return FileOutlet("pos", "prices", contract, options, PurePath(place.inbox), storage=place.make())


def there(place: Place) -> list[str]:
    return sorted(p.name for p in (place.disk / "inbox").iterdir())


async def test_file_appears_under_its_name_once_however_many_hid_a_copy(place: Place) -> None:
    first, second = outlet(place), outlet(place)
    await first.hide(NAME, "1-a", b"prices\n")
    await second.hide(NAME, "1-b", b"prices\n")
    assert all(name.startswith(".") for name in there(place))
    assert [await o.publish(NAME, "1-a", own) for o, own in ((second, "1-b"), (first, "1-a"))] == [True, False]
    assert there(place) == [NAME]
    assert (place.disk / "inbox" / NAME).read_bytes() == b"prices\n"
    for each in (first, second):
        await each.close()


async def test_file_that_is_written_again_stands_in_for_the_one_that_lies_there(place: Place) -> None:
    tills = outlet(place)
    for token in ("1-a", "1-b"):
        await tills.hide(NAME, token, b"prices\n")
        assert await tills.publish(NAME, token, token)
    assert there(place) == [NAME]
    await tills.close()


async def test_answer_counts_when_it_is_whole_and_is_forgotten_once_it_is_booked(place: Place) -> None:
    tills = outlet(place)
    assert await tills.answer(NAME, "d1") is None
    place.drop(f"{NAME}.ack", b'{"state": "accepted", "digest": "d1", "rejections": [{"key": "10000001", "reason": "unknown"}]}')
    said = await tills.answer(NAME, "d1")
    assert said is not None
    assert (said.state, [(r.key, r.reason) for r in said.refused]) == ("accepted", [("10000001", "unknown")])
    with pytest.raises(BadFile, match="another content"):
        await tills.answer(NAME, "d2")
    await tills.forget(NAME)
    assert there(place) == []
    await tills.forget(NAME)
    place.drop("elsewhere", b"STATE=accepted")
    (place.disk / "inbox" / f"{NAME}.ack").symlink_to(place.disk / "inbox/elsewhere")
    with pytest.raises(BadFile):
        await tills.answer(NAME, "d1")
    await tills.close()


async def test_folder_that_cannot_be_written_is_a_system_that_cannot_be_reached(place: Place) -> None:
    (place.disk / "inbox").rmdir()
    (place.disk / "inbox").write_bytes(b"a file where the folder was")
    tills = outlet(place)
    with pytest.raises(UpstreamError, match="cannot be written"):
        await tills.hide(NAME, "1-a", b"prices\n")
    await tills.close()
