"""The life of incidents over scripted looks: the books are real, only what the engine says is written here."""

import asyncio
from array import array
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from contracts.books import Books, Finding, IncidentRecord, Label
from contracts.books.incidents import LEASE
from contracts.errors import InvalidRequest, Overloaded, UpstreamError
from gateway.services import incidents as service
from gateway.services.evidence import Estate, GuardLog, Watched, Witness
from gateway.services.incidents import MOST_ASKED, Detective, view
from observability import Recorder, Step, step
from observability.ring import Ring
from observability.rootcause.model import COUNTERS, Change, Culprit, DependencyMap, Evidence, Impact, Incident, Onset, Rows

NOON = datetime(2026, 3, 11, 12, tzinfo=UTC)


@dataclass
class Clock:
    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def after(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Script:
    """An engine that says what it is told to."""

    says: list[Incident] = field(default_factory=list)
    seen: list[Evidence] = field(default_factory=list)
    held: Event | None = None
    """Questions wait for it."""

    def look(self, evidence: Evidence) -> list[Incident]:
        self.seen.append(evidence)
        return self.says

    def explain(self, evidence: Evidence, begin: float, end: float | None = None) -> Incident:
        if self.held is not None:
            assert self.held.wait(30)
        return seen_now("oms", at=datetime.fromtimestamp(begin, UTC))


def seen_now(*named: str, at: datetime = NOON, channels: tuple[str, ...] = ("web",), **more: Any) -> Incident:
    culprits = tuple(
        Culprit(
            rank=rank, kind="operation", system=name.partition(".")[0], operation=name.partition(".")[2], failure="down", owner="its-owner"
        )
        for rank, name in enumerate(named, 1)
    )
    said: dict[str, Any] = {
        "verdict": "cause" if named else "unsure",
        "confidence": 0.9,
        "sentence": f"{', '.join(named) or 'somebody'} is down",
        "onset": Onset(at=at, low=at, high=at),
        "detected_at": at,
        "answered_at": at,
        "culprits": culprits,
        "impact": Impact(requests=10, failed=5, hit={"channel": dict.fromkeys(channels, 5), "route": {"GET /inventory": 5}}),
    }
    return Incident(**{**said, **more})


@dataclass
class Case:
    books: Books
    clock: Clock
    script: Script
    recorder: Recorder
    ring: Ring
    detective: Detective

    def another(self, owner: str) -> Detective:
        witness = Witness(self.books, self.recorder, GuardLog(self.clock), self.clock)
        return detective(self.books, witness, self.script, self.recorder, self.ring, owner, self.clock)

    async def look(self, *says: Incident, seconds: float = 10, by: Detective | None = None) -> list[IncidentRecord]:
        """One round later; returns all incidents, oldest first."""
        self.clock.after(seconds)
        self.script.says = list(says)
        await (by or self.detective).round()
        return list(reversed(await self.books.incidents.list(99)))

    def calls(self, good: int = 0, bad: int = 0) -> None:
        """Of erp.GetStock, lately: counted as if they were made at the clock's time."""
        for number in range(good + bad):
            with self.recorder.flight("request", "GET /inventory", channel="web") as flight:
                try:
                    with (
                        step(Step.CALL, system="erp", operation="GetStock"),
                        step(Step.ATTEMPT, system="erp", operation="GetStock", attempt=1),
                    ):
                        if number >= good:
                            raise UpstreamError(system="erp", operation="GetStock", reason="down")
                except UpstreamError as error:
                    flight.failed(error)

    async def announced(self) -> list[tuple[str, str]]:
        found = []
        while due := await self.books.outbox.due("relay", self.clock.now + timedelta(days=1), 60, 100):
            found += [(row.event.type.split(".")[-2], row.event.subject[-1]) for row in due if ".incident." in row.event.type]
            await self.books.outbox.delivered([row.position for row in due])
        return found


def detective(books: Books, witness: Witness, script: Script, recorder: Recorder, ring: Ring, owner: str, clock: Clock) -> Detective:
    keep = {"keep": timedelta(days=400), "keep_evidence": timedelta(days=90)}
    return Detective(books, witness, lambda: script, recorder, ring, owner, clock, **keep)


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[Case]:
    books = open_store(StoreOptions(url=f"sqlite:///{tmp_path}/books.db"))
    await books.start()
    clock, script, ring = Clock(datetime.now(UTC)), Script(), Ring(tmp_path / "ring")
    ring.start()
    recorder = Recorder(sinks=[ring])
    witness = Witness(books, recorder, GuardLog(clock), clock)
    found = Case(books, clock, script, recorder, ring, detective(books, witness, script, recorder, ring, "one", clock))
    yield found
    found.detective.close()
    await recorder.close()
    await books.close()


async def test_incident_keeps_its_id_over_looks_and_says_only_what_is_new(case: Case) -> None:
    at = case.clock.now
    await case.look(seen_now("erp.GetStock", at=at))
    await case.look(seen_now("erp.GetStock", at=at, sentence="further figures", impact=Impact(failed=90, hit={"channel": {"web": 90}})))
    (record,) = await case.look(seen_now("erp.GetStock", at=at, channels=("web", "mobile")))
    assert record.id == f"INC-{at:%Y%m%d}-0001"
    assert (record.revision, record.version, record.subjects) == (2, 3, ("erp.GetStock",))
    assert len(await case.books.incidents.history(record.id)) == 2
    said = msgspec.json.decode(record.body, type=Incident)
    assert (said.id, said.state, said.detected_at) == (record.id, "open", at)
    assert await case.announced() == [("opened", "1"), ("updated", "1")]


async def test_what_is_told_names_the_owner_of_the_culprit_and_who_is_hit(case: Case) -> None:
    await case.look(seen_now("erp.GetStock", at=case.clock.now))
    (row,) = await case.books.outbox.due("relay", case.clock.now + timedelta(hours=1), 60, 9)
    told = row.event.data
    assert told["suspects"] == [{"kind": "operation", "system": "erp", "operation": "GetStock", "failure": "down", "owner": "its-owner"}]
    assert (told["channels"], told["routes"], told["failed"]) == (["web"], ["GET /inventory"], 5)


async def test_it_is_over_only_when_what_was_named_is_seen_to_be_well(case: Case) -> None:
    bad = seen_now("erp.GetStock", at=case.clock.now)
    await case.look(bad, seconds=0)
    case.calls(bad=20)
    for _ in range(4):
        (record,) = await case.look(seconds=1)
        assert record.state == "open", "its last calls were bad"
    case.clock.after(120)
    for _ in range(4):
        (record,) = await case.look(seconds=1)
        assert record.state == "open", "nobody has asked it since"
    (record,) = await case.look(bad, seconds=1)
    case.clock.now = datetime.now(UTC) + timedelta(seconds=61)
    case.calls(good=40)
    case.clock.now = datetime.now(UTC) + timedelta(seconds=1)
    for _ in range(3):
        (record,) = await case.look(seconds=1)
    assert record.state == "open", "half of the last minute was bad"


async def test_it_is_over_after_three_looks_at_good_calls_and_the_same_one_when_it_comes_back(case: Case) -> None:
    bad = seen_now("erp.GetStock", at=case.clock.now)
    await case.look(bad, seconds=0)
    case.calls(good=40)
    states = [(await case.look(seconds=1))[0].state for _ in range(3)]
    assert states == ["open", "open", "recovered"]
    (record,) = await case.look(seen_now("erp.GetStock", at=case.clock.now), seconds=60)
    assert (record.state, record.ended_at) == ("open", None)
    assert await case.announced() == [("opened", "1"), ("recovered", "1"), ("updated", "1")]


async def test_what_the_engine_says_is_over_is_over_and_stays_one_incident(case: Case) -> None:
    at = case.clock.now
    await case.look(seen_now("erp.GetStock", at=at))
    over = seen_now("erp.GetStock", at=at, state="recovered", recovered_at=at + timedelta(seconds=15))
    for _ in range(3):
        (record,) = await case.look(over)
    assert (record.state, record.ended_at) == ("recovered", at + timedelta(seconds=15))
    assert await case.announced() == [("opened", "1"), ("recovered", "1")]


async def test_short_one_that_was_over_before_anybody_looked_is_written_down_once(case: Case) -> None:
    at = case.clock.now
    over = seen_now("erp.GetStock", at=at, state="recovered", recovered_at=at + timedelta(seconds=15))
    for _ in range(3):
        (record,) = await case.look(over)
    assert record.state == "recovered"
    assert await case.announced() == [("opened", "1"), ("recovered", "1")]


async def test_nobody_is_named_later_than_something_was_seen_and_it_is_the_same_incident(case: Case) -> None:
    at = case.clock.now
    await case.look(seen_now(at=at))
    (record,) = await case.look(seen_now("oms.createOrder", at=at + timedelta(seconds=10)))
    assert (record.verdict, record.subjects, record.revision) == ("cause", ("oms.createOrder",), 2)


async def test_two_faults_are_two_incidents_and_become_one_when_one_is_behind_both(case: Case) -> None:
    at = case.clock.now
    stock, order = seen_now("erp.GetStock", at=at), seen_now("oms.createOrder", at=at + timedelta(minutes=5))
    await case.look(stock)
    assert len(await case.look(stock, order)) == 2
    first, second = await case.look(seen_now("erp.GetStock", "oms.createOrder", at=at))
    assert (first.state, second.state, second.into) == ("open", "merged", first.id)
    assert msgspec.json.decode(first.body, type=Incident).merged == (second.id,)
    assert await case.announced() == [("opened", "1"), ("opened", "2"), ("updated", "1"), ("updated", "2")]


async def test_started_anew_a_gateway_goes_on_with_what_the_books_say(case: Case) -> None:
    at = case.clock.now
    await case.look(seen_now("erp.GetStock", at=at))
    await case.books.leases.release(LEASE, "one")
    case.recorder.suspected = frozenset()
    case.calls(bad=30)  # to whoever has just started they are usual
    other = case.another("two")
    for _ in range(4):
        (record,) = await case.look(by=other, seconds=1)
    assert (record.state, other.watch.decides) == ("open", True)
    assert ("erp", "GetStock") in case.recorder.suspected
    (record,) = await case.look(seen_now("erp.GetStock", at=at + timedelta(minutes=1)), by=other)
    assert record.revision == 1
    other.close()


async def test_one_process_decides_and_the_next_takes_over_when_its_lease_ends(case: Case) -> None:
    other = case.another("two")
    bad = seen_now("erp.GetStock", at=case.clock.now)
    await case.look(bad)
    await case.look(seen_now("oms.createOrder"), by=other)
    assert (case.detective.watch.decides, other.watch.decides) == (True, False)
    assert [r.subjects for r in await case.books.incidents.list(9)] == [("erp.GetStock",)]
    assert ("erp", "GetStock") in case.recorder.suspected
    await case.look(bad, by=other, seconds=60)
    assert other.watch.decides
    assert len(await case.books.incidents.list(9)) == 1
    other.close()


async def test_traces_are_copied_out_of_the_ring_and_read_again(case: Case) -> None:
    case.calls(bad=1)
    (flight,) = await case.ring.recent(9)
    bad = seen_now("erp.GetStock", at=case.clock.now)
    shown = replace(bad, culprits=(replace(bad.culprits[0], bad_traces=(flight.trace_id,), twin="f" * 32),))
    (record,) = await case.look(shown)
    (stored,) = await case.books.incidents.traces(record.id)
    assert (stored.trace_id, stored.role) == (flight.trace_id, "bad")
    spans = await service.evidence_trace(case.books, flight.trace_id)
    assert spans == await case.ring.trace(flight.trace_id)


async def test_stock_that_stands_still_hits_whoever_was_told_it_although_nothing_failed(case: Case) -> None:
    case.calls(good=5)
    bad = seen_now("erp.GetStock", at=case.clock.now - timedelta(minutes=2))
    still = replace(bad, culprits=(replace(bad.culprits[0], kind="feed", failure="stale"),), impact=Impact())
    (record,) = await case.look(still)
    impact = msgspec.json.decode(record.body, type=Incident).impact
    assert (impact.requests, impact.failed) == (5, 0)
    assert impact.hit == impact.of == {"channel": {"web": 5}, "route": {"GET /inventory": 5}}


async def test_engine_that_fails_is_said_and_what_is_open_stays_so(case: Case) -> None:
    bad = seen_now("erp.GetStock", at=case.clock.now)
    await case.look(bad)

    class Broken(Script):
        def look(self, evidence: Evidence) -> list[Incident]:
            raise ZeroDivisionError("no")

    witness = Witness(case.books, case.recorder, GuardLog(case.clock), case.clock)
    await case.books.leases.release(LEASE, "one")
    broken = detective(case.books, witness, Broken(), case.recorder, case.ring, "two", case.clock)
    assert [r.state for r in await broken.round()] == ["open"]
    assert broken.watch.trouble == "ZeroDivisionError: no"
    broken.close()


async def test_no_look_waits_behind_a_question(case: Case) -> None:
    case.script.held = Event()
    question = asyncio.create_task(case.detective.explain(case.clock() - timedelta(minutes=10), None))
    await asyncio.sleep(0)
    (incident,) = await case.look(seen_now("erp.GetStock"))
    assert (incident.state, question.done()) == ("open", False)
    case.script.held.set()
    assert (await question).sentence == "oms is down"


async def test_who_asks_while_many_questions_wait_is_told_to_come_again(case: Case) -> None:
    case.script.held = Event()
    began = case.clock() - timedelta(minutes=10)
    questions = [asyncio.create_task(case.detective.explain(began, None)) for _ in range(MOST_ASKED)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await case.detective.explain(began, None)
    case.script.held.set()
    assert len(await asyncio.gather(*questions)) == MOST_ASKED
    assert (await case.detective.explain(began, None)).sentence == "oms is down"


async def test_edges_that_nobody_declared_stand_on_the_incident(case: Case) -> None:
    case.calls(good=9)
    (record,) = await case.look(seen_now("erp.GetStock", at=case.clock.now), seconds=20)
    assert view(record).incident.undeclared == (("GET /inventory", "erp.GetStock"),)


async def test_a_week_ago_is_evidence_read_once_in_five_minutes_unless_something_was_wrong_then(case: Case) -> None:
    asked: list[tuple[int, int]] = []
    rows = Rows((), array("q"), array("q", [1]), ())

    async def history(since: int, before: int) -> Rows:
        asked.append((since, before))
        return rows

    witness = case.detective.witness
    witness.history = history
    case.clock.now = datetime.fromtimestamp(case.clock.now.timestamp() // 300 * 300 + 60, UTC)
    for _ in range(2):
        assert (await witness.beside()).week is rows
    assert asked == [(int(case.clock.now.timestamp()) - 60 - 7 * 86_400 - 600, int(case.clock.now.timestamp()) - 60 - 7 * 86_400 + 600)]
    await case.look(seen_now("erp.GetStock", at=case.clock.now))
    case.clock.after(7 * 86_400)
    assert (await witness.beside()).week is None


async def test_what_nobody_says_more_of_was_over_when_its_last_bad_calls_were(case: Case) -> None:
    now = int(case.clock.now.timestamp()) // 10 * 10
    await case.look(seen_now("erp.GetStock", at=datetime.fromtimestamp(now - 200, UTC)), seconds=0)
    for age, failed in ((160, 9), (150, 9), (20, 0)):
        counters = [9, *(failed if name == "timeout" else 0 for name in COUNTERS[1:])]
        case.recorder.rings.restore(10, now - age, {}, {("erp", "GetStock", "web", "GET /inventory", "", ""): counters})
    for _ in range(3):
        (record,) = await case.look(seconds=1)
    assert (record.state, record.ended_at) == ("recovered", datetime.fromtimestamp(now - 140, UTC))


async def test_window_of_the_last_90_minutes_is_explained_and_no_other(case: Case) -> None:
    now = case.clock.now
    said = await case.detective.explain(now - timedelta(minutes=10), None)
    assert said.sentence == "oms is down"
    assert await case.books.incidents.list(9) == []
    for begin, end in ((100, None), (10, 20), (80, 10)):
        with pytest.raises(InvalidRequest):
            await case.detective.explain(now - timedelta(minutes=begin), now - timedelta(minutes=end) if end is not None else None)


async def test_label_is_kept_and_audited(case: Case) -> None:
    (record,) = await case.look(seen_now("erp.GetStock", at=case.clock.now))
    await service.label(case.books, record.id, Label(at=case.clock.now, by="anna", right="no", culprit="oms"), case.clock)
    detail = await service.detail(case.books, record.id)
    assert [(label.by, label.right, label.culprit) for label in detail.labels] == [("anna", "no", "oms")]
    (entry,) = await case.books.audit.list(9)
    assert (entry.what, entry.subject, entry.detail) == ("incident.labelled", record.id, {"right": "no", "culprit": "oms"})


# ---- what the engine is told besides counts


@dataclass
class Still:
    as_of: datetime
    store: str = ""
    answers: int = 12
    usual: timedelta = timedelta(seconds=1)


async def test_feeds_queues_and_standing_stock_are_evidence(case: Case) -> None:
    now, witness = case.clock.now, case.detective.witness
    late = Finding(kind="file_late", subject="pos.tlog/0017/d", feed="pos.tlog", detail="late", store="0017", missing=1)
    early = Finding(kind="file_early", subject="pos.tlog/0018/d", feed="pos.tlog", detail="early", state="noted")
    await case.books.findings.record([late, early], now - timedelta(minutes=2))
    frozen = Watched("erp", "GetStock", lambda: [Still(now - timedelta(seconds=40))], list)
    witness.estate = Estate(map=DependencyMap(), operations=(frozen,), published="rabbitmq")
    found = {(f.system, f.operation, f.store, f.what) for f in (await witness.beside()).feeds}
    assert found == {("pos", "tlog", "0017", "late"), ("erp", "GetStock", "", "stale"), ("events", "rabbitmq", "", "lagging")}


async def test_changes_come_from_the_audit_log_whoever_made_them_and_from_what_is_planned(case: Case) -> None:
    from gateway.services.evidence import CHANGED, RELEASED
    from gateway.services.trail import entry_of

    now = case.clock.now
    batch = Change(at=now - timedelta(minutes=1), what="nightly batch of erp", kind="maintenance", scope={"system": "erp"})
    entries = [
        entry_of(case.clock, "tillgate", CHANGED, "mapping stock 2", {"system": "erp", "operation": "GetStock", "kind": "mapping"}),
        entry_of(case.clock, "tillgate", RELEASED, "0.2.0", {}),
        entry_of(case.clock, "anna", "client.changed", "shop", {"quota": "a -> b"}),
        entry_of(case.clock, "10.0.0.1", "denied", "", {"code": "unauthenticated"}),
    ]
    await case.books.audit.add(entries)
    case.clock.after(20)  # the same reload, by another gateway
    await case.books.audit.add([entry_of(case.clock, "tillgate", CHANGED, "mapping stock 2", dict(entries[0].detail))])
    case.detective.witness.estate = Estate(planned=lambda since, until: [batch])
    changes = (await case.detective.witness.beside()).changes
    assert [c.at for c in changes if c.kind == "mapping"] == [now]
    assert {(c.what, c.kind, tuple(c.scope.items())) for c in changes} == {
        ("mapping stock 2", "mapping", (("system", "erp"), ("operation", "GetStock"))),
        ("release 0.2.0", "release", ()),
        ("client.changed shop", "client", (("client", "shop"),)),
        ("nightly batch of erp", "maintenance", (("system", "erp"),)),
    }


async def test_one_that_another_release_wrote_keeps_no_look_from_the_others(case: Case) -> None:
    (record,) = await case.look(seen_now("erp.GetStock", at=case.clock.now))
    await case.books.incidents.save(replace(record, body=b'{"verdict":"certain"}'), None, None, "one", case.clock.now)
    unread, second = await case.look(seen_now("oms.findOrders", at=case.clock.now))
    assert (unread.body, second.subjects) == (b'{"verdict":"certain"}', ("oms.findOrders",))
    assert case.detective.watch.trouble is None
