"""Traces, files and orders as an operator sees them, from books and ring that somebody else has written."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from contracts.books import Quarantined, StepRecord
from contracts.errors import UpstreamTimeout
from gateway.bootstrap import open_books, trace_folder
from gateway.cli import main
from observability import Recorder, Step, step
from observability.ring import Ring
from observability.rootcause.spans import read as read_spans
from tests.conformance.store.make import NOW, batch, order, process, sale, seen

ROOT = Path(__file__).resolve().parents[4]
BAD = Quarantined(
    digest="d1", file="x", position=2, line=17, field="extended", expected="a decimal number", got="1,\x1b[2J9", reason="bad_record",
    raw=b"raw", key="0017/3/8",
)  # fmt: skip


def said(data: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(["--estate", str(ROOT), "--data", str(data), *arguments])
    return capsys.readouterr().out


async def written(data: Path) -> None:
    async with open_books(ROOT, data, {}) as books:
        await books.files.claim(seen(name="TLOG_\x1b]0;x\x07.tlog"), "w", NOW, 30, "")
        await books.sales.commit(batch(sale(7), quarantined=[BAD]), NOW)
        await books.files.finish("d1", 1, "done", "", NOW, ())
        await books.files.claim(seen("e2", "half.tlog"), "w", NOW, 30, "")
        await books.files.finish("e2", 1, "refused", "control total", NOW, ())
        await books.orders.accept(order("ord_1"), process("ord_1"), "shop", "k1", ())
        done, record, _ = await books.orders.accept(order("ord_2"), process("ord_2", state="manual"), "shop", "k2", ())
        assert (done.id, record.state) == ("ord_2", "manual")


def test_files_and_their_bad_records_are_listed_and_nothing_in_them_reaches_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(written(tmp_path))
    listed = said(tmp_path, capsys, "files", "list")
    assert re.search(r"d1 +done +1 booked +1 quarantined +TLOG_·]0;x·.tlog", listed)
    assert "control total" in listed
    assert said(tmp_path, capsys, "files", "list", "--limit", "1").count("\n") == 1
    shown = said(tmp_path, capsys, "files", "show", "d1")
    assert "1 booked, 0 repeated, 0 in conflict, 1 quarantined" in shown
    assert "line 17: extended: expected a decimal number, got 1,·[2J9  0017/3/8" in shown
    assert "\x1b" not in listed + shown


def test_open_orders_are_listed_with_their_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(written(tmp_path))
    listed = said(tmp_path, capsys, "orders")
    assert "ord_1 running: reserve prepared, oms prepared" in listed
    assert "ord_2 manual" in listed


@pytest.mark.slow
async def test_a_decision_made_beside_a_running_gateway_is_there_for_its_workers(tmp_path: Path) -> None:
    async def tillgate(*arguments: str) -> tuple[int | None, str]:
        command = [sys.executable, "-m", "gateway.cli", "--estate", str(ROOT), "--data", str(tmp_path), "orders", *arguments]
        child = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=PIPE, stderr=STDOUT)
        said, _ = await child.communicate()
        return child.returncode, said.decode()

    await written(tmp_path)
    async with open_books(ROOT, tmp_path, {}) as books:
        book = StepRecord(name="book", state="manual", attempts=50, error="no answer")
        stuck = msgspec.structs.replace(process("ord_3", state="manual"), steps=(book, StepRecord(name="announce")))
        await books.orders.accept(order("ord_3", "W-1"), stuck, "shop", "k3", ())
        code, told = await tillgate("confirm", "W-1", "0005000017", "--reason", "seen in VA03")
        assert re.search(r"ord_3 running: book confirmed \(confirmed by \S+: seen in VA03; before: no answer\), announce prepared", told)
        assert (code, "a person decided about an order" in told) == (0, True)
        taken = {p.subject: p.owner for p in await books.orders.due("worker", datetime.now(UTC), 10, 10)}
        assert taken["ord_3"] == "worker"
        assert await tillgate("undo", "ord_3", "--reason", "too late") == (
            1,
            "order 'ord_3' is running: a person decides only about an order in the state manual\n",
        )
        assert await tillgate("ask", "W-2") == (1, "no order 'W-2'\n")


def test_a_trace_is_drawn_with_its_steps_and_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def flown() -> str:
        ring = Ring(trace_folder(tmp_path))
        ring.start()
        recorder = Recorder(sinks=[ring])
        with recorder.flight("request", "GET /prices", channel="web") as flight:
            with step(Step.CALL, system="erp", operation="GetPrices") as hop:
                hop.failed(UpstreamTimeout(system="erp", operation="GetPrices"))
            flight.failed(UpstreamTimeout(system="erp", operation="GetPrices"))
            trace_id = flight.traceparent.split("-")[1]
        await recorder.close()
        return trace_id

    trace_id = asyncio.run(flown())
    drawn = said(tmp_path, capsys, "trace", trace_id)
    assert drawn.startswith(f"trace {trace_id}, ")
    assert drawn.count("█") >= 2
    assert "timeout" in drawn
    spans = json.loads(said(tmp_path, capsys, "trace", trace_id, "--json"))
    assert len(spans) == sum("█" in line for line in drawn.splitlines())
    assert "call erp.GetPrices: reason: " in drawn

    exported = [json.loads(line) for line in said(tmp_path, capsys, "spans", "--since", "5m").splitlines()]
    (first, *_) = exported[0]["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert (first["traceId"], first["name"], first["kind"], first["status"]) == (trace_id, "GET /prices", 2, {"code": 2})
    (tmp_path / "spans.jsonl").write_text("\n".join(json.dumps(line) for line in exported))
    read = read_spans([str(tmp_path / "spans.jsonl")])
    assert len(read) == len(spans)
    assert sorted(read.operations) == sorted({span["name"] for span in spans})
    with pytest.raises(SystemExit):
        said(tmp_path, capsys, "spans", "--since", "soon")
    assert "expected a duration such as 30m, 2h or 1d, got 'soon'" in capsys.readouterr().err
