"""What is answered from stored bytes is what the long way answers, and it is refused by nobody but the long way."""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

import gateway.edge
from contracts.canonical.base import Provenance
from contracts.canonical.order import OrderCustomer
from contracts.errors import NotFound
from gateway.edge import deadline, stored
from gateway.edge.brown_out import BrownOut
from gateway.edge.endpoint import Ask, Outcome
from gateway.edge.stored import Fields, Kept, Stored, Variant
from observability import Step
from tests.unit.gateway.edge.conftest import START, Bench, Thing, make

NEW, OLD = "2026-10-01", "2026-01-01"
OWN_FIELDS = {"traceresponse", "server-timing"}
"""Each answer has its own."""


def cached(bench: Bench, **changes: Any) -> Callable[[Ask[Any, Any], int], Awaitable[Outcome]]:
    """Every route answers what a cache has since the start."""

    async def handle(ask: Ask[Any, Any], runs: int) -> Outcome:
        source = Provenance(source_system="erp", as_of=START, received_at=START, via="cache")
        thing = Thing(key=ask.path.get("key", "k"), seller=OrderCustomer(customer_number="1", name="Ada"))
        return Outcome(**{"value": thing, "sources": (source,), **changes})

    return handle


def at_once(bench: Bench, target: str = "/things/aa", method: str = "GET", **headers: str | None) -> httpx.Response | None:
    """As the protocol asks: the head of a message, and nothing that waits."""
    fields = {**bench.auth, **{k.replace("_", "-"): v for k, v in headers.items()}}
    raw = [(k.lower().encode(), v.encode("latin-1")) for k, v in fields.items() if v is not None]
    written = bench.app.at_once(method == "HEAD", target.encode(), Fields(raw), "192.0.2.1", b"")
    if written is None:
        return None
    head, _, body = written.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    found = httpx.Response(int(status.split(" ")[1]), headers=[tuple(line.split(": ", 1)) for line in lines], content=b"")
    found._content = body  # as it stood on the wire, also after a HEAD
    return found


def said(answer: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    return answer.status_code, {k: v for k, v in answer.headers.items() if k not in OWN_FIELDS}, answer.content


@pytest.fixture
async def primed(bench: Bench) -> Bench:
    bench.handle = cached(bench)
    for version in (NEW, OLD):
        assert (await bench.get(API_Version=version)).status_code == 200
    return bench


@pytest.mark.parametrize("version", [NEW, OLD])
@pytest.mark.parametrize("seconds", [0.0, 0.4, 7.0, 59.9])
async def test_both_ways_give_the_same_status_fields_and_body(primed: Bench, version: str, seconds: float) -> None:
    primed.now += timedelta(seconds=seconds)
    primed.seconds += 10
    short = at_once(primed, API_Version=version)
    primed.seconds += 10
    long = await primed.get(API_Version=version, Accept="application/json")
    assert short is None  # httpx asks for what it likes to accept, the bytes above for nothing: another variant
    fields = {k: v for k, v in long.request.headers.items() if k in ("accept", "accept-encoding")}
    primed.seconds += 10
    short = at_once(primed, API_Version=version, **fields)
    assert short is not None
    assert said(short) == said(long)


async def test_a_head_and_an_unchanged_answer_are_the_same_both_ways(primed: Bench) -> None:
    accepted = {"Accept": "*/*", "Accept_Encoding": "identity"}
    etag = (await primed.get(**accepted)).headers["etag"]
    for method, more in (("HEAD", {}), ("GET", {"If_None_Match": etag}), ("GET", {"If_None_Match": f'"x", {etag}'})):
        headers = {**primed.auth, **{k.replace("_", "-"): v for k, v in {**accepted, **more}.items()}}
        primed.seconds += 10
        long = await primed.http.request(method, "/things/aa", headers=headers)
        primed.seconds += 10
        short = at_once(primed, method=method, **accepted, **more)
        assert short is not None
        assert said(short)[:2] == said(long)[:2]
        assert short.content == b""
    other = at_once(primed, If_None_Match='"other"', **accepted)
    assert other is not None
    assert other.status_code == 200


REFUSED: list[tuple[str, dict[str, str | None]]] = [
    ("/things/aa", {"Authorization": None}),
    ("/things/aa", {"Authorization": "Bearer tg_aaaaaaaa_" + "x" * 43}),
    ("/things/aa", {"Authorization": "Basic abc"}),
    ("/things/aa", {"API_Version": "2020-01-01"}),
    ("/things/aa", {"Accept": "text/html"}),
    ("/things/aa", {"If_None_Match": "no tag"}),
    ("/things/aa", {"If_Match": "no tag"}),
    ("/things/aa", {"Request_Timeout": "soon"}),
    ("/things/aa?colour=red", {}),
    ("/things/aa?", {}),
    ("/things/aa%2f", {}),
    ("/things/aa/", {}),
    ("/nothing", {}),
]


ODD = ("/things/aa?", "/things/aa%2f", "/things/aa/")
"""Not refused, and not the same request either."""


@pytest.mark.parametrize(("target", "headers"), REFUSED)
async def test_what_the_long_way_refuses_is_never_answered_from_bytes(
    primed: Bench, build: type[make], tmp_path: Path, target: str, headers: dict[str, str | None]
) -> None:
    assert at_once(primed, target, **headers) is None
    (tmp_path / "other").mkdir()
    async with build(tmp_path / "other") as fresh:
        fresh.handle = cached(fresh)
        for each in (primed, fresh):
            each.seconds += 10
        mine, theirs = [
            await each.http.get(target, headers={k.replace("_", "-"): v for k, v in {**each.auth, **headers}.items() if v is not None})
            for each in (primed, fresh)
        ]
        assert mine.status_code == theirs.status_code
        assert mine.status_code >= 400 or target in ODD
        own = OWN_FIELDS | {"content-length"}
        assert {k: v for k, v in mine.headers.items() if k not in own} == {k: v for k, v in theirs.headers.items() if k not in own}


async def test_a_repeated_field_a_body_or_an_upgrade_goes_the_long_way(primed: Bench) -> None:
    twice = [(b"authorization", primed.auth["Authorization"].encode())] * 2
    assert primed.app.at_once(False, b"/things/aa", Fields(twice), "192.0.2.1", b"") is None
    for field in ("Content_Length", "Transfer_Encoding", "Upgrade", "Expect", "Idempotency_Key"):
        assert at_once(primed, Accept="*/*", Accept_Encoding="gzip, deflate", **{field: "1"}) is None


async def known(bench: Bench, name: str, **changes: Any) -> dict[str, str]:
    """A client that was let in a moment ago, with what it needs to be answered from bytes."""
    auth = await bench.client(name, **changes)
    await bench.http.get("/things", headers=auth)
    return {**auth, "Accept": "*/*", "Accept_Encoding": "identity"}


async def test_only_who_has_the_scope_and_may_see_persons_gets_those_bytes(primed: Bench) -> None:
    accepted = {"Accept": "*/*", "Accept_Encoding": "identity"}
    await primed.get(**accepted)
    full = at_once(primed, **accepted)
    assert full is not None
    assert "Ada" in full.text
    assert at_once(primed, **await known(primed, "no-scope", scopes=("customers:read",))) is None
    masked = await known(primed, "masked", scopes=("orders:read",))
    assert at_once(primed, **masked) is None
    long = await primed.http.get("/things/aa", headers={k.replace("_", "-"): v for k, v in masked.items()})
    short = at_once(primed, **masked)
    assert short is not None
    assert "Ada" not in long.text
    assert short.content == long.content


async def test_a_suspended_client_and_an_expired_key_are_out_as_soon_as_they_are_on_the_long_way(primed: Bench) -> None:
    for auth in (
        await primed.client("gone", suspended=True),
        await primed.client("late", expires_at=START - timedelta(days=1)),
    ):
        assert (await primed.http.get("/things/aa", headers=auth)).status_code in (401, 403)
        assert at_once(primed, **auth, Accept="*/*", Accept_Encoding="gzip, deflate") is None


async def test_the_quota_counts_both_ways_and_ends_both(primed: Bench) -> None:
    await primed.get(Accept="*/*", Accept_Encoding="identity")
    small = await known(primed, "small", quota="small")
    assert at_once(primed, **small) is not None
    assert at_once(primed, **small) is None
    long = await primed.http.get("/things/aa", headers={k.replace("_", "-"): v for k, v in small.items()})
    assert long.status_code == 429
    primed.seconds += 5.0
    assert at_once(primed, **small) is not None


async def test_a_retired_version_and_a_brown_out_end_it_at_their_minute(build: type[make], tmp_path: Path) -> None:
    begin = START + timedelta(seconds=30)
    async with build(tmp_path, brown_outs=(BrownOut(OLD, ZoneInfo("UTC"), begin, begin + timedelta(seconds=10)),)) as bench:
        bench.handle = cached(bench)
        accepted = {"Accept": "*/*", "Accept_Encoding": "identity", "API_Version": OLD}
        for seconds, answered in ((0, True), (29, True), (30, False), (39, False)):
            bench.now = START + timedelta(seconds=seconds)
            if answered:
                await bench.get(**accepted)
            assert (at_once(bench, **accepted) is not None) is answered
        bench.now = START + timedelta(seconds=41)
        assert at_once(bench, **accepted) is None  # the next brown-out is another announcement: its fields have changed
        assert (await bench.get(**accepted)).status_code == 200
        assert at_once(bench, **accepted) is not None


async def test_bytes_end_with_the_freshness_of_what_they_were_made_of(primed: Bench) -> None:
    accepted = {"Accept": "*/*", "Accept_Encoding": "identity"}
    await primed.get(**accepted)
    primed.now = START + timedelta(seconds=59, milliseconds=999)
    assert at_once(primed, **accepted) is not None
    primed.now = START + timedelta(seconds=60)
    assert at_once(primed, **accepted) is None
    primed.now = START
    primed.handle = cached(primed, until=START + timedelta(seconds=5))
    await primed.get(**accepted)
    primed.now = START + timedelta(seconds=4)
    assert at_once(primed, **accepted) is not None
    primed.now = START + timedelta(seconds=5)
    assert at_once(primed, **accepted) is None


async def test_only_what_came_whole_and_fresh_from_cache_of_a_shared_route_is_kept(bench: Bench) -> None:
    source = Provenance(source_system="erp", as_of=START, received_at=START, via="cache")
    stale = Provenance(source_system="erp", as_of=START, received_at=START, via="cache", stale=True)
    live = Provenance(source_system="erp", as_of=START, received_at=START, via="live")
    accepted = {"Accept": "*/*", "Accept_Encoding": "identity"}

    async def refuses(ask: Ask[Any, Any], runs: int) -> Outcome:
        raise NotFound(what="thing", key="aa")

    handlers = [cached(bench, sources=found) for found in ((), (live,), (stale,), (source, live))]
    for handle in (*handlers, cached(bench, status=202), refuses):
        bench.handle = handle
        await bench.get(**accepted)
        assert at_once(bench, **accepted) is None
    bench.handle = cached(bench)
    await bench.get("/things", **accepted)
    assert at_once(bench, "/things", **accepted) is None


async def test_what_is_answered_from_bytes_is_counted_and_remembered(primed: Bench) -> None:
    accepted = {"Accept": "*/*", "Accept_Encoding": "identity"}
    kept: list[Any] = []
    primed.recorder.sinks = (type("Kept", (), {"put": lambda self, record: kept.append((record, list(record.hops)))})(),)
    before = sum(cell.n for cell in primed.recorder.snapshot().routes.values())
    await primed.get(**accepted)
    for _ in range(50):
        assert at_once(primed, **accepted) is not None
    cells = primed.recorder.snapshot().routes
    assert sum(cell.n for cell in cells.values()) == before + 51
    assert sum(sum(cell.durations) for cell in cells.values()) == before + 51
    assert primed.recorder.keep.seen == before + 51
    parent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    primed.recorder.head_share = 1.0
    assert at_once(primed, **accepted, Traceparent=parent) is not None
    ((record, hops),) = kept[-1:]
    assert (record.name, record.client, record.channel, record.api_version) == ("GET /things/{key}", "shop", "web", NEW)
    assert record.root.attributes["status"] == 200
    assert record.root.links[0].kind == "caller_trace"
    assert record.t1 > record.t0
    assert {hop.kind for hop in hops[1:]} <= {Step.CACHE}
    await primed.usage.flush()
    assert primed.recorder.faults == 0


async def test_used_versions_are_counted_as_on_the_long_way(primed: Bench) -> None:
    accepted = {"Accept": "*/*", "Accept_Encoding": "identity", "API_Version": OLD}

    async def counted() -> int:
        await primed.usage.flush()
        return sum(used.times for used in await primed.books.usage.since(START.date()) if used.version == OLD and not used.field)

    await primed.get(**accepted)
    before = await counted()
    for _ in range(3):
        assert at_once(primed, **accepted) is not None
    assert await counted() == before + 3


def test_every_field_that_the_door_reads_is_known_to_the_short_way() -> None:
    folder = Path(gateway.edge.__file__).parent
    texts = [path.read_text(encoding="utf-8") for path in (*folder.rglob("*.py"), folder.parent / "app.py")]
    read = {name for text in texts for name in re.findall(r'(?:headers(?:\.get\(|\[)|entity_tags\([\w.]*headers, )"([a-z-]+)"', text)}
    made = {"cache-control", "content-type", "etag", "location", "retry-after", "www-authenticate", "allow", "link", "vary"}  # of answers
    assert {"accept", "api-version", "authorization", "if-none-match", "if-match"} <= read
    nameless = {"sec-fetch-site"}  # read where no credentials stand in the head; who has none goes the long way
    assert read - made - nameless <= stored.READ_HERE | stored.READ_ELSEWHERE
    assert deadline.FIELD.lower() in stored.READ_ELSEWHERE


def test_the_least_recently_asked_goes_first_with_all_its_variants() -> None:
    class Thousand(Kept):
        weight = 1_000

        def __init__(self) -> None: ...

    kept, one, two = Stored(most_bytes=3_006), Variant(NEW, False, "", ""), Variant(OLD, False, "", "")
    kept.put(b"/a", one, Thousand())
    kept.put(b"/a", two, Thousand())
    kept.put(b"/b", one, Thousand())
    assert kept.get(b"/a", one)
    kept.put(b"/c", one, Thousand())
    assert (b"/a" in kept, b"/b" in kept, b"/c" in kept, kept.weight) == (True, False, True, 3_006)
    kept.put(b"/c", one, Thousand())
    assert kept.weight == 3_006
    kept.drop(b"/a", two)
    kept.drop(b"/a", one)
    assert (b"/a" in kept, kept.weight, len(kept)) == (False, 1_002, 1)


def test_what_a_caller_wrote_weighs_as_well_so_that_long_fields_and_targets_take_no_more_memory_than_is_allowed() -> None:
    class Small(Kept):
        weight = 2_000

        def __init__(self) -> None: ...

    kept = Stored(most_bytes=1_000_000)
    for n in range(200):
        kept.put(b"/a", Variant(NEW, False, f"application/json;n={n};" + "x" * 30_000, f"gzip;{n}"), Small())
        kept.put(b"/%d?" % n + b"x" * 16_000, Variant(NEW, False, "", ""), Small())
    assert 10 < len(kept) < 50
    assert 500_000 < kept.weight <= 1_000_000
