"""What `why` says of the books of a gateway that does not run, to people and to programs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from contracts.books import IncidentRecord, Said
from contracts.books.incidents import LEASE
from gateway.bootstrap import open_books
from gateway.cli import main
from gateway.services.incidents import IncidentDetail, Incidents
from observability.rootcause.model import CoincidentChange, Culprit, Impact, Incident, NotSeen, Onset, WhyNot

ROOT = Path(__file__).resolve().parents[4]
NUMBER = "INC-20260311-0007"
AT = datetime(2026, 3, 11, 10, 42, 10, tzinfo=UTC)


def incident() -> Incident:
    return Incident(
        id=NUMBER,
        verdict="cause",
        confidence=0.93,
        sentence="ERP GetStock slow since 10:42:10 (±8 s), 93 % sure",
        onset=Onset(at=AT, low=AT, high=AT),
        detected_at=AT,
        answered_at=AT,
        culprits=(
            Culprit(
                rank=1, kind="operation", system="erp", operation="GetStock", failure="slow", coverage=0.94, lift=11.2,
                owner="finance-it", contact="+49 30", scope=({"store": ("0017", "0018")},), bad_traces=("4b" * 16,), twin="77" * 16,
                detail="\x1b[2J",
            ),
        ),
        why_not=(WhyNot(rank=2, kind="system", system="oms", score=0.1, coverage=0.13, reason="started_later", by_s=41),),
        impact=Impact(
            requests=6210, failed=412, late=1930, orders=57, hit={"channel": {"web": 538, "mobile": 1804}},
            of={"channel": {"mobile": 3000, "web": 3210}}, at_risk={"route": ("POST /orders",)},
        ),
        changes_before=(CoincidentChange(at=AT - timedelta(minutes=4), what="mapping 2026.3.1"),),
        not_seen=(NotSeen(what="erp server spans", why="not instrumented"), NotSeen(what="spans", dropped=120, of=48211)),
    )  # fmt: skip


async def written(data: Path, *, over: bool, body: bytes | None = None) -> None:
    said = incident()
    now = datetime.now(UTC)
    record = IncidentRecord(
        id=NUMBER,
        state="recovered" if over else "open",
        verdict="cause",
        opened_at=now,
        changed_at=now,
        ended_at=now if over else None,
        subjects=("erp.GetStock",),
        body=body or msgspec.json.encode(said),
    )
    line = Said(at=AT, revision=1, state="open", verdict="cause", confidence=0.93, sentence=said.sentence)
    async with open_books(ROOT, data, {}) as books:
        assert await books.leases.acquire(LEASE, "test", now, 30)
        await books.incidents.save(record, line, None, "test", now)


def why(data: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = 0
    try:
        main(["--estate", str(ROOT), "--data", str(data), "why", *arguments])
    except SystemExit as end:
        code = int(end.code or 0)
    found = capsys.readouterr()
    return code, found.out + found.err


def test_nothing_is_broken_in_empty_books(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert why(tmp_path, capsys) == (0, "Nothing is broken.\nFrom the books; no gateway was asked (--url).\n")


def test_sentence_comes_first_then_culprits_impact_with_bases_why_not_changes_and_what_was_not_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(written(tmp_path, over=False))
    code, said = why(tmp_path, capsys)
    assert code == 3
    assert said.splitlines() == [
        f"{NUMBER}  open",
        "ERP GetStock slow since 10:42:10 (±8 s), 93 % sure",
        "  1. erp GetStock: operation, slow; covers 94%, 11.2 times the usual, owner finance-it (+49 30)",
        "     ·[2J",
        "     only store 0017 0018",
        f"     traces {'4b' * 16}; a good one beside them {'77' * 16}",
        "hit: 412 failed and 1930 late of 6210 requests, 57 orders",
        "  channel: mobile 1804 of 3000, web 538 of 3210",
        "  at risk, route: POST /orders",
        "before it: mapping 2026.3.1 2026-03-11 10:38:10Z",
        "not oms: started 41 s later (score 0.10, covers 13%)",
        "could not be seen: erp server spans: not instrumented; spans, 120 of 48211",
        "",
        "From the books; no gateway was asked (--url).",
    ]


def test_what_another_release_wrote_is_told_as_far_as_the_book_knows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(written(tmp_path, over=False, body=b'{"verdict": "beyond doubt"}'))
    code, said = why(tmp_path, capsys)
    assert code == 3
    assert said.startswith(f"{NUMBER}  open\nerp.GetStock: written by another release, which can tell it\n")


def test_what_is_over_is_told_when_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(written(tmp_path, over=True))
    assert why(tmp_path, capsys)[1].startswith("Nothing is broken.\nFrom")
    code, said = why(tmp_path, capsys, "--since", "1h", "--json")
    (item,) = msgspec.json.decode(said, type=Incidents).items
    assert (code, item.id, item.state, item.incident) == (0, NUMBER, "recovered", incident())


def test_one_incident_is_told_with_its_history_and_takes_a_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(written(tmp_path, over=True))
    code, said = why(tmp_path, capsys, "--id", NUMBER, "--right", "no", "--culprit", "oms", "--note", "segment")
    assert code == 0
    assert "2026-03-11 10:42:10Z  open, cause 93%: ERP GetStock slow" in said
    assert "says it was right: no, it was oms (segment)" in said
    _, told = why(tmp_path, capsys, "--id", NUMBER, "--json")
    (label,) = msgspec.json.decode(told, type=IncidentDetail).labels
    assert (label.right, label.culprit, label.note) == ("no", "oms", "segment")


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("--id", "INC-19990101-0001"), 1, "no incident 'INC-19990101-0001'"),
        (("--since", "soon"), 2, "expected a span such as 30m, 2h or 7d"),
        (("--explain", "yesterday/"), 2, "expected RFC 3339 with an offset"),
        (("--explain", "2026-03-11T10:00:00Z/"), 1, "a window of at most 60 minutes that began within the last 90"),
        (("--right", "yes"), 2, "--right says of which incident"),
        (("--url", "http://127.0.0.1:1"), 2, "a gateway wants the key"),
    ],
)
def test_question_that_cannot_be_answered_says_what_was_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, expected: str
) -> None:
    found, said = why(tmp_path, capsys, *arguments)
    assert (found, expected in said) == (code, True), said


def test_window_in_which_nobody_asked_anything_names_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(written(tmp_path, over=True))
    begin = datetime.now(UTC) - timedelta(minutes=5)
    code, said = why(tmp_path, capsys, "--explain", f"{begin:%Y-%m-%dT%H:%M:%SZ}/", "--json")
    (found,) = msgspec.json.decode(said).values()
    assert (code, found["id"], [c for c in found["culprits"] if c["kind"] != "unknown"]) == (0, "", [])
