from typing import Any

import pytest
from msgspec.structs import replace

from contracts.books import Books, IncidentRecord, Label, Said, StoredTrace
from contracts.books.incidents import LEASE, MOST_SAID, MOST_TRACE_BYTES, MOST_TRACES
from contracts.canonical.incident import IncidentNotice, Suspect
from contracts.errors import NotFound, StateConflict
from tests.conformance.store.conftest import Open
from tests.conformance.store.make import NOW, entry, later

ID = "INC-20260311-0001"


def record(id: str = ID, **more: Any) -> IncidentRecord:
    said = {
        "state": "open",
        "verdict": "cause",
        "opened_at": NOW,
        "changed_at": NOW,
        "subjects": ("erp.GetStock",),
        "body": b'{"a":"\\u0000"}',
    }
    return IncidentRecord(id=id, **{**said, **more})


def said(revision: int = 1, sentence: str = "erp is slow") -> Said:
    return Said(at=NOW, revision=revision, state="open", verdict="cause", confidence=0.9, sentence=sentence)


def notice(id: str = ID, **more: Any) -> IncidentNotice:
    whom = Suspect(kind="operation", system="erp", operation="GetStock", failure="slow", owner="finance-it", contact="duty")
    told = {"state": "open", "verdict": "cause", "confidence": 0.9, "sentence": "erp is slow", "since": NOW, "detected_at": NOW}
    return IncidentNotice(id=id, **{**told, "suspects": (whom,), "channels": ("web",), **more})


async def hold(books: Books, owner: str = "a", seconds: float = 30) -> None:
    assert await books.leases.acquire(LEASE, owner, NOW, seconds)


async def opened(books: Books, id: str = ID, **more: Any) -> IncidentRecord:
    return await books.incidents.save(record(id, **more), said(), notice(id), "a", NOW)


def traces(*ids: str, body: bytes = b"spans", after: float = 0) -> list[StoredTrace]:
    return [StoredTrace(trace_id=one, role="bad", stored_at=later(after), body=body) for one in ids]


async def announced(books: Books) -> list[tuple[str, str, Any]]:
    found = []
    while due := await books.outbox.due("relay", later(9999), 60, 100):
        found += [(row.event.type.removeprefix("io.tillgate.incident."), row.event.id, row.event.data["state"]) for row in due]
        await books.outbox.delivered([row.position for row in due])
    return found


async def test_numbers_of_a_day_are_given_once_over_all_processes(books: Books, another: Open) -> None:
    other = await another()
    assert [await b.incidents.number("20260311") for b in (books, other, books)] == [1, 2, 3]
    assert await books.incidents.number("20260312") == 1


async def test_life_of_an_incident_is_kept_and_each_new_word_leaves_as_one_event(books: Books) -> None:
    await hold(books)
    first = await opened(books)
    assert (first.version, first.place > 0) == (1, True)
    figures = await books.incidents.save(replace(first, body=b"{}"), None, None, "a", NOW)
    worse = await books.incidents.save(replace(figures, revision=2), said(2, "erp is down"), notice(sentence="erp is down"), "a", NOW)
    over = replace(worse, revision=3, state="recovered", ended_at=later(9), changed_at=later(9))
    last = await books.incidents.save(over, replace(said(3, "over"), state="recovered"), notice(state="recovered"), "a", NOW)
    assert await books.incidents.get(ID) == last
    assert [(s.revision, s.state, s.sentence) for s in await books.incidents.history(ID)] == [
        (1, "open", "erp is slow"), (2, "open", "erp is down"), (3, "recovered", "over"),
    ]  # fmt: skip
    assert await announced(books) == [
        ("opened.v1", f"{ID}-1", "open"), ("updated.v1", f"{ID}-2", "open"), ("recovered.v1", f"{ID}-3", "recovered"),
    ]  # fmt: skip


async def test_only_the_holder_of_the_lease_writes_and_nothing_of_a_refused_writing_stays(books: Books, another: Open) -> None:
    other = await another()
    with pytest.raises(StateConflict, match="another process decides"):
        await opened(books)
    await hold(other, "b")
    with pytest.raises(StateConflict, match="another process decides"):
        await opened(books)
    with pytest.raises(StateConflict):
        await other.incidents.save(record(), said(), notice(), "b", later(31))  # its lease has ended
    assert await books.incidents.list(9) == []
    assert await books.incidents.history(ID) == []
    assert await announced(books) == []
    assert (await other.incidents.save(record(), said(), notice(), "b", NOW)).version == 1


async def test_version_that_somebody_else_has_written_is_refused(books: Books) -> None:
    await hold(books)
    first = await opened(books)
    await books.incidents.save(replace(first, revision=2), said(2), notice(), "a", NOW)
    with pytest.raises(StateConflict, match="just written"):
        await books.incidents.save(replace(first, revision=2), said(2, "mine"), notice(), "a", NOW)
    with pytest.raises(StateConflict, match="just written"):
        await opened(books)
    assert [s.sentence for s in await books.incidents.history(ID)] == ["erp is slow", "erp is slow"]


async def test_list_is_newest_first_by_state_by_time_and_page(books: Books) -> None:
    await hold(books)
    for n, ended in enumerate((10, 60, None), 1):
        state = "recovered" if ended else "open"
        await opened(books, f"INC-20260311-000{n}", state=state, ended_at=ended and later(ended))
    first, second, third = reversed(await books.incidents.list(9))
    assert [r.id[-1] for r in (first, second, third)] == ["1", "2", "3"]
    assert await books.incidents.list(9, state="open") == [third]
    assert await books.incidents.list(9, since=later(30)) == [third, second]
    assert await books.incidents.list(1, before=third.place) == [second]
    with pytest.raises(NotFound):
        await books.incidents.get("INC-19990101-0001")


async def test_evidence_is_bounded_in_number_and_size_and_is_attached_once(books: Books) -> None:
    await hold(books)
    await opened(books)
    assert await books.incidents.attach(ID, traces("a" * 32, "b" * 32)) == 2
    assert await books.incidents.attach(ID, traces("b" * 32, "c" * 32, body=b"\0" * (MOST_TRACE_BYTES + 1))) == 0
    assert await books.incidents.lacking(ID, ["b" * 32, "c" * 32]) == ["c" * 32]
    many = [f"{n:032x}" for n in range(MOST_TRACES + 5)]
    assert await books.incidents.attach(ID, traces(*many)) == MOST_TRACES - 2
    assert len(await books.incidents.traces(ID)) == MOST_TRACES
    assert await books.incidents.lacking(ID, ["c" * 32]) == []
    found = await books.incidents.trace("a" * 32)
    assert found
    assert found.body == b"spans"
    assert await books.incidents.trace("f" * 32) is None
    assert await books.incidents.attach("INC-19990101-0001", traces("a" * 32)) == 0


async def test_what_a_person_said_last_counts_and_is_in_the_audit_log(books: Books) -> None:
    await hold(books)
    await opened(books)
    for by, right, note in (("anna", "no", "it was oms"), ("ben", "yes", ""), ("anna", "partly", "x\0y")):
        await books.incidents.label(ID, Label(at=NOW, by=by, right=right, note=note), [entry(f"{by}{right}", "incident.labelled", ID, by)])  # type: ignore[arg-type]  # one of the three
    assert [(label.by, label.right, label.note) for label in await books.incidents.labels(ID)] == [
        ("anna", "partly", r"x\x00y"),
        ("ben", "yes", ""),
    ]
    assert len(await books.audit.list(9)) == 3
    with pytest.raises(NotFound):
        await books.incidents.label("INC-19990101-0001", Label(at=NOW, by="anna", right="yes"), [entry("z", "incident.labelled", "")])
    assert len(await books.audit.list(9)) == 3


@pytest.mark.slow
async def test_history_keeps_how_it_began_and_how_it_is_now(books: Books) -> None:
    await hold(books)
    at = await opened(books)
    for revision in range(2, MOST_SAID + 21):
        at = await books.incidents.save(replace(at, revision=revision), said(revision), None, "a", NOW)
    kept = [s.revision for s in await books.incidents.history(ID)]
    assert len(kept) == MOST_SAID
    assert (kept[0], kept[MOST_SAID // 2 - 1], kept[MOST_SAID // 2], kept[-1]) == (1, MOST_SAID // 2, MOST_SAID // 2 + 21, MOST_SAID + 20)


async def test_purge_takes_ended_ones_with_all_they_have_and_evidence_sooner(books: Books) -> None:
    await hold(books)
    for n, ended in enumerate((10, 60, None), 1):
        number = f"INC-20260311-000{n}"
        await opened(books, number, state="recovered" if ended else "open", ended_at=ended and later(ended))
        await books.incidents.attach(number, traces(f"{n:032x}", after=n))
        await books.incidents.label(number, Label(at=NOW, by="anna", right="yes"), [])
    assert await books.incidents.purge(later(30), later(3)) == 1
    assert [r.id[-1] for r in await books.incidents.list(9)] == ["3", "2"]
    kept = [f"INC-20260311-000{n}" for n in (1, 2, 3)]
    assert [len(await books.incidents.traces(one)) for one in kept] == [0, 0, 1]
    assert [len(await books.incidents.history(one)) for one in kept] == [0, 1, 1]
    assert [len(await books.incidents.labels(one)) for one in kept] == [0, 1, 1]
