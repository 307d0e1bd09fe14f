"""gzip where it is wanted, worth the while and without danger."""

import gzip
from datetime import timedelta
from typing import Any

import pytest

from contracts.canonical.base import Provenance
from contracts.canonical.order import OrderCustomer
from gateway.edge.compression import SMALLEST, packed
from gateway.edge.endpoint import Ask, Outcome

from .conftest import START, Bench, Thing

BODY = b'{"sku":"10000001","location":"0001"},' * 200


@pytest.mark.parametrize(
    ("accepted", "wanted"),
    [
        ("", False),
        ("gzip", True),
        ("gzip, deflate, br", True),
        ("br, GZIP;q=0.5", True),
        ("x-gzip", True),
        ("*", True),
        ("deflate, br, zstd", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000, *", False),
        ("gzip;q=0.2, identity", False),
        ("gzip;q=1.0, identity;q=0.5", True),
        ("identity;q=0", False),
        ("identity;q=0, gzip;q=0.001", True),
        ("*;q=0", False),
        ("gzip;q=2", False),
        ("gzip;q=nan", False),
        ("gzip;;;", False),
        ("gzip," * 100, False),
    ],
)
def test_weights_decide(accepted: str, wanted: bool) -> None:
    found = packed(BODY, accepted)
    assert (found is not None) is wanted
    assert found is None or gzip.decompress(found) == BODY


def test_little_is_packed_only_when_it_may_not_come_as_it_is() -> None:
    little = b"x" * (SMALLEST - 1)
    assert packed(little, "gzip") is None
    assert gzip.decompress(packed(little, "gzip, identity;q=0") or b"") == little


async def test_an_answer_that_may_be_kept_is_packed_and_says_what_it_depends_on(bench: Bench) -> None:
    moment = START - timedelta(seconds=5)
    source = Provenance(source_system="erp", as_of=moment, received_at=moment, via="cache")

    async def long(ask: Ask[Any, Any], runs: int) -> Outcome:
        return Outcome(Thing(key="k" * 3000), sources=(source,))

    bench.handle = long
    plain, small = await bench.get(accept_encoding="identity"), await bench.get(accept_encoding="gzip")
    assert "content-encoding" not in plain.headers
    assert small.headers["content-encoding"] == "gzip"
    assert int(small.headers["content-length"]) < int(plain.headers["content-length"])
    assert small.json() == plain.json()
    for answer in (plain, small):
        assert answer.headers["vary"] == "API-Version, Authorization, Accept-Encoding"
    assert plain.headers["etag"].startswith("W/"), "one tag for both: it is a weak one"
    assert plain.headers["etag"] == small.headers["etag"]
    unchanged = await bench.get(accept_encoding="gzip", if_none_match=small.headers["etag"])
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert "content-encoding" not in unchanged.headers


async def test_what_repeats_the_caller_or_names_a_person_is_never_packed(bench: Bench) -> None:
    async def long(ask: Ask[Any, Any], runs: int) -> Outcome:
        return Outcome(Thing(key="k" * 3000, seller=OrderCustomer(name="Ann")))

    bench.handle = long
    for answer in (await bench.post(accept_encoding="gzip"), await bench.get("/things", accept_encoding="gzip")):
        assert answer.status_code == 200
        assert "content-encoding" not in answer.headers
