from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from adapters import recording
from adapters.masking import Masking
from adapters.recording import Capture, Captures, Recorded
from adapters.wire import TAP, WireAnswer, WireRequest
from contracts.errors import Findings, StateConflict
from contracts.ports import LevelQuery, SkuAt


def exchange(**more: object) -> Recorded:
    fields = {"system": "erp", "operation": "GetStock", "at": datetime(2026, 5, 4, tzinfo=UTC), "seconds": 0.1, "method": "POST"}
    return msgspec.structs.replace(Recorded(**fields, path="/erp", status=200), **more)  # type: ignore[arg-type]  # a table of fields


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    text = exchange(asked={"pairs": []}, rows=[], **recording.bodies(b"<a/>", "<ä/>".encode()))
    binary = exchange(**recording.bodies(b"\xff", b"\x00\xfe"))
    file = recording.path(tmp_path, "erp")
    recording.write(file, [text, binary])
    found = list(recording.read(file))
    assert found == [text, binary]
    assert (found[0].answer_bytes, found[1].request_bytes, found[1].answer_bytes) == ("<ä/>".encode(), b"\xff", b"\x00\xfe")
    assert [f.name for f in file.parent.iterdir()] == ["erp.jsonl"]


@pytest.mark.parametrize("line", [b"{}", b"\xff", b"[" * 100_000, b"nonsense", b'{"system":1}'])
def test_a_line_that_is_no_exchange_is_named(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "erp.jsonl"
    recording.write(file, [exchange()])
    with file.open("ab") as out:
        out.write(line + b"\n")
    with pytest.raises(Findings) as refused:
        list(recording.read(file))
    assert str(refused.value).startswith(f"{file}:2: not a recorded exchange")


def test_bodies_that_are_no_base64_are_refused_when_read(tmp_path: Path) -> None:
    file = tmp_path / "erp.jsonl"
    recording.write(file, [exchange(binary=True, answer="*")])
    with pytest.raises(Findings):
        list(recording.read(file))


# ---- capturing


class Sent:
    """The wire behind a tap."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []

    async def __call__(self, headers: Mapping[str, str]) -> WireAnswer:
        self.headers.append(dict(headers))
        return WireAnswer(200, {"content-type": "application/json"}, b'{"said": "x"}', "application/json")


async def attempt(capture: Capture, operation: str, sent: Sent) -> None:
    query = LevelQuery(pairs=(SkuAt(sku="1", location_id="2"),))
    async with capture.listening("erp.Stock", "inventory.levels", {"GetStock": Masking(None, clear=frozenset({"said"}))}, query):
        tap = TAP.get()
        assert tap
        await tap.exchange(WireRequest(operation, "GET", "/s", {"If-None-Match": '"1"', "Authorization": "k"}, None), sent)


async def taken(capture: Capture) -> list[Recorded]:
    return [r async for found in capture.exchanges(asyncio.Event()) for r in found]


async def test_a_capture_hears_its_operation_whole_and_no_login() -> None:
    sent, captures = Sent(), Captures()
    with captures.begin("erp", 1, 60) as capture:
        await attempt(capture, "Login", sent)
        await attempt(capture, "GetStock", sent)
        (found,) = await taken(capture)
    assert sent.headers == [{"If-None-Match": '"1"', "Authorization": "k"}, {"Authorization": "k"}]  # 304 would say nothing
    assert (found.provides, found.capability, found.operation) == ("erp.Stock", "inventory.levels", "GetStock")
    assert found.asked == {"pairs": ({"sku": "1", "locationId": "2"},)}
    assert (found.answer, found.request, found.request_headers) == ('{"said":"x"}', "", {})
    assert TAP.get() is None
    assert captures.running == {}


async def test_a_listener_that_is_too_slow_misses_some_and_holds_nobody_up() -> None:
    sent = Sent()
    with Captures().begin("erp", 1000, 60) as capture:
        for _ in range(100):
            await attempt(capture, "GetStock", sent)
        assert len(sent.headers) == 100
        assert 0 < capture.missed < 100


async def test_a_system_is_recorded_by_one_at_a_time_and_no_longer_than_asked() -> None:
    captures = Captures()
    with captures.begin("erp", 10, 0.05) as capture:
        with pytest.raises(StateConflict), captures.begin("erp", 10, 1):
            pass
        assert await taken(capture) == []
    with captures.begin("erp", 10, 60) as capture:
        stop = asyncio.Event()
        stop.set()
        assert [found async for found in capture.exchanges(stop)] == []


async def test_an_answer_too_large_for_a_line_is_left_out_and_told() -> None:
    async def large(headers: Mapping[str, str]) -> WireAnswer:
        return WireAnswer(200, {}, b"x" * (recording.ANSWER_LIMIT + 1), "text/plain")

    with Captures().begin("erp", 1, 0.2) as capture:
        await attempt(capture, "GetStock", large)  # type: ignore[arg-type]  # answers like Sent
        assert await taken(capture) == []
    assert capture.left_out == {f"erp.Stock: an answer of more than {recording.ANSWER_LIMIT} bytes": 1}


def test_a_file_keeps_the_newest_whole_calls_that_it_may_hold() -> None:
    pages = [exchange(call="first"), exchange(call="first")]
    others = [exchange(call=str(number)) for number in range(recording.EXCHANGES - 1)]
    assert recording.newest([*pages, *others]) == others
    assert recording.newest([*pages, *others[1:-1]]) == [*pages, *others[1:-1]]
